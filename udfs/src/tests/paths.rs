//! Origins expanded to paths, and stored paths summarised again.

use arrow::array::{Float32Array, Int32Array, Int64Array, StructArray, UInt32Array};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::{Float32Type, Int64Type, Schema};
use serde_json::json;

use super::*;
use crate::assign::{SCANNED_NEWEST, SCANNED_ROWS};
use crate::draw::day_column;
use crate::expand::{ExpandPaths, ORIGINS, PATHS, POINTS};
use crate::forecast::HORIZON;
use crate::summarize::SummarizePaths;

/// 2024-01-15, a Monday.
const MONDAY: Day = 19_737;
const KEYS: usize = 8;

async fn run<T: RowOperator>(operator: &T, batches: Vec<RecordBatch>) -> Vec<RecordBatch> {
    try_run(operator, batches).await.unwrap()
}

async fn try_run<T: RowOperator>(
    operator: &T,
    batches: Vec<RecordBatch>,
) -> datafusion::error::Result<Vec<RecordBatch>> {
    let made = operate(operator, batches, PLENTY).await?;
    Ok(made.into_iter().map(|(batch, _)| batch).collect())
}

/// One aggregated unit: its names and what `forecast` gave for it.
struct Unit {
    commodity: &'static str,
    model_name: &'static str,
    model_version: &'static str,
    origins: ScalarValue,
}

fn unit(commodity: &'static str, spec: &ModelSpec, wanted: &[Day]) -> Unit {
    let history = weekdays_before(MONDAY);
    let state = state_of(spec, &history);
    let mut rows = vec![forecast_header(spec, &state, wanted, &[])];
    rows.extend(history);
    Unit {
        commodity,
        model_name: "model",
        model_version: "v1",
        origins: one_pass(&forecast(), &rows),
    }
}

fn random_walk(commodity: &'static str) -> Unit {
    unit(commodity, &ModelSpec::of_family("random_walk"), &[MONDAY])
}

fn drill(mode: &str) -> Unit {
    let mut spec = ModelSpec::of_family("drill");
    spec.params = json!({ "mode": mode }).as_object().unwrap().clone();
    unit("drill", &spec, &[MONDAY])
}

fn input(units: &[Unit]) -> RecordBatch {
    let texts = |of: fn(&Unit) -> &'static str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(units.iter().map(of)))
    };
    let slice: ArrayRef = Arc::new(Int32Array::from(vec![3; units.len()]));
    let bucket: ArrayRef = Arc::new(Int32Array::from(vec![None::<i32>; units.len()]));
    let origins = ScalarValue::iter_to_array(units.iter().map(|unit| unit.origins.clone()));
    let scanned = (0..units.len()).map(|row| (row == 1).then_some(77));
    let newest = (0..units.len()).map(|row| (row == 1).then_some(MONDAY - 3));
    RecordBatch::try_from_iter_with_nullable([
        ("slice", slice, false),
        ("series_bucket", bucket, true),
        ("commodity", texts(|unit| unit.commodity), false),
        ("model_name", texts(|unit| unit.model_name), false),
        ("model_version", texts(|unit| unit.model_version), false),
        (ORIGINS, origins.unwrap(), true),
        (
            "scanned_rows",
            Arc::new(scanned.collect::<Int64Array>()),
            true,
        ),
        (
            "scanned_newest",
            Arc::new(newest.collect::<Date32Array>()),
            true,
        ),
    ])
    .unwrap()
}

async fn expand(units: &[Unit], paths: usize, horizon: usize) -> Vec<RecordBatch> {
    run(&ExpandPaths { paths, horizon }, vec![input(units)]).await
}

/// The paths of the one forecast of a batch; `None` if it failed.
fn paths(batch: &RecordBatch) -> Option<StructArray> {
    let lists = batch.column_by_name(PATHS).unwrap().as_list::<i32>();
    assert_eq!(lists.len(), 1);
    lists
        .is_valid(0)
        .then(|| lists.value(0).as_struct().clone())
}

fn day(paths: &StructArray, day: usize) -> &Float32Array {
    let column = paths.column_by_name(&day_column(day)).unwrap();
    column.as_primitive::<Float32Type>()
}

fn values(batch: &RecordBatch, number: usize) -> Vec<Option<u32>> {
    let paths = paths(batch).unwrap();
    let values = day(&paths, number).iter();
    values.map(|value| value.map(f32::to_bits)).collect()
}

/// A forecast as the rows that its table holds.
fn rows(batch: &RecordBatch) -> RecordBatch {
    let paths = paths(batch).unwrap();
    let first = UInt32Array::from(vec![0; paths.len()]);
    let (mut fields, mut columns) = (vec![], vec![]);
    for (field, column) in batch
        .schema()
        .fields()
        .iter()
        .zip(batch.columns())
        .take(KEYS)
    {
        fields.push(Arc::clone(field));
        columns.push(take(column, &first, None).unwrap());
    }
    fields.extend(paths.fields().iter().cloned());
    columns.extend(paths.columns().iter().cloned());
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn text<'a>(batch: &'a RecordBatch, name: &str, row: usize) -> Option<&'a str> {
    let column = batch.column_by_name(name).unwrap().as_string::<i32>();
    column.is_valid(row).then(|| column.value(row))
}

#[tokio::test]
async fn a_path_depends_neither_on_their_number_nor_on_the_horizon() {
    for key in [
        "naive",
        "random_walk",
        "seasonal_naive",
        "window_mean",
        "linear_regression",
    ] {
        let units = [unit("coffee", &ModelSpec::of_family(key), &[MONDAY])];
        let few = &expand(&units, 3, HORIZON).await[0];
        let many = &expand(&units, 300, 5).await[0];
        for day in 1..=5 {
            assert_eq!(values(few, day), values(many, day)[..3], "{key}, day {day}");
        }
        for day in 6..=HORIZON {
            assert!(values(few, day).iter().all(Option::is_some));
            assert_eq!(values(many, day), [None; 300]);
        }
    }
}

#[tokio::test]
async fn a_stream_is_keyed_by_its_key_and_the_seed_alone() {
    let spec = ModelSpec::of_family("random_walk");
    let seeded = ModelSpec {
        seed: 1,
        ..spec.clone()
    };
    let plain = values(&expand(&[random_walk("coffee")], 5, 2).await[0], 1);
    let units = [
        random_walk("sugar"),
        random_walk("coffee"),
        random_walk("cocoa"),
    ];
    let coffee = expand(&units, 5, 2)
        .await
        .into_iter()
        .find(|batch| text(batch, "commodity", 0) == Some("coffee"))
        .unwrap();
    assert_eq!(values(&coffee, 1), plain);
    let renamed = [
        random_walk("cocoa"),
        Unit {
            model_name: "other",
            ..random_walk("coffee")
        },
        Unit {
            model_version: "v2",
            ..random_walk("coffee")
        },
        unit("coffee", &seeded, &[MONDAY]),
        unit("coffee", &spec, &[MONDAY + 1]),
    ];
    for other in renamed {
        assert_ne!(values(&expand(&[other], 5, 2).await[0], 1), plain);
    }
}

#[tokio::test]
async fn forecasts_come_out_whole_in_key_order() {
    let spec = ModelSpec::of_family("naive");
    let wanted = [MONDAY, MONDAY + 1];
    let named = |commodity, model_name, model_version| Unit {
        model_name,
        model_version,
        ..unit(commodity, &spec, &wanted)
    };
    let units = [
        named("sugar", "a", "v1"),
        named("coffee", "b", "v2"),
        named("coffee", "b", "v1"),
        named("coffee", "a", "v1"),
    ];
    let found = expand(&units, 4, HORIZON).await;
    let keys: Vec<String> = found
        .iter()
        .map(|batch| {
            // One batch is one forecast: nothing more is held.
            let paths = paths(batch).unwrap();
            let ids = paths.column_by_name("path_id").unwrap();
            let ids = ids.as_primitive::<Int32Type>();
            assert_eq!(ids.values().to_vec(), [1, 2, 3, 4]);
            let starts = batch
                .column_by_name("forecast_start_date")
                .unwrap()
                .as_primitive::<Date32Type>();
            format!(
                "{} {} {} {}",
                text(batch, "model_version", 0).unwrap(),
                text(batch, "commodity", 0).unwrap(),
                text(batch, "model_name", 0).unwrap(),
                starts.value(0) - MONDAY
            )
        })
        .collect();
    assert_eq!(
        keys,
        [
            "v1 coffee a 0",
            "v1 coffee a 1",
            "v1 coffee b 0",
            "v1 coffee b 1",
            "v1 sugar a 0",
            "v1 sugar a 1",
            "v2 coffee b 0",
            "v2 coffee b 1",
        ]
    );
    for batch in &found {
        let rows = batch.column_by_name("scanned_rows").unwrap();
        assert_eq!(rows.as_ref(), &Int64Array::from(vec![77]));
        let newest = batch.column_by_name("scanned_newest").unwrap();
        assert_eq!(newest.as_ref(), &Date32Array::from(vec![MONDAY - 3]));
    }
}

#[tokio::test]
async fn a_closed_day_repeats_the_day_before_it() {
    let saturday = MONDAY + 5;
    let units = [unit(
        "coffee",
        &ModelSpec::of_family("naive"),
        &[MONDAY, saturday],
    )];
    let found = expand(&units, 50, HORIZON).await;
    let (monday, saturday) = (&found[0], &found[1]);
    for (day, same) in [(6, 5), (7, 5), (13, 12), (14, 12)] {
        assert_eq!(values(monday, day), values(monday, same));
    }
    assert_ne!(values(monday, 8), values(monday, 5));
    // Missing weekdays before the start are simulated: not even the first day is the last close.
    #[expect(clippy::cast_possible_truncation, reason = "paths are stored as FLOAT")]
    let last = Some((close(MONDAY - 3) as f32).to_bits());
    assert!(values(saturday, 1).iter().any(|value| *value != last));
}

#[tokio::test]
async fn points_summarise_the_paths_beside_them() {
    let found = expand(&[random_walk("coffee")], 200, 6).await;
    let paths = paths(&found[0]).unwrap();
    let lists = found[0].column_by_name(POINTS).unwrap().as_list::<i32>();
    let points = lists.value(0);
    let points = points.as_struct();
    assert_eq!((paths.len(), points.len()), (200, 6));
    let number = |name: &str, row: usize| {
        points
            .column_by_name(name)
            .unwrap()
            .as_primitive::<Float64Type>()
            .value(row)
    };
    let dates = points
        .column_by_name("forecast_date")
        .unwrap()
        .as_primitive::<Date32Type>();
    for row in 0..6 {
        let mean = day(&paths, row + 1)
            .values()
            .iter()
            .map(|value| f64::from(*value))
            .sum::<f64>()
            / 200.0;
        assert!((number("forecast_mean", row) / mean - 1.0).abs() < 1e-12);
        assert_eq!(dates.value(row), MONDAY + Day::try_from(row).unwrap());
        let ladder = [
            "q01",
            "lower_95",
            "q05",
            "q10",
            "lower_80",
            "q25",
            "forecast_median",
            "q75",
            "upper_80",
            "q90",
            "q95",
            "upper_95",
            "q99",
        ];
        assert!(ladder.map(|name| number(name, row)).is_sorted());
    }
    let ahead = points
        .column_by_name("day_ahead")
        .unwrap()
        .as_primitive::<Int32Type>();
    assert_eq!(ahead.values().to_vec(), [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn what_fails_is_one_row_and_leaves_its_neighbours_alone() {
    let mut panics = drill("panic");
    panics.commodity = "panics";
    let mut nan = drill("nan");
    nan.commodity = "nan";
    let mut explodes = drill("explode");
    explodes.commodity = "explodes";
    let mut negative = drill("negative");
    negative.commodity = "negative";
    let units = [panics, nan, explodes, negative, random_walk("sound")];
    let found = expand(&units, 10, HORIZON).await;
    let expected = [
        ("explodes", "absurd", "largest move"),
        ("nan", "absurd", "not finite"),
        ("negative", "absurd", "every observation is positive"),
        ("panics", "panic", "asked for"),
    ];
    for (batch, (commodity, class, message)) in found.iter().zip(expected) {
        assert_eq!(batch.num_rows(), 1);
        assert_eq!(text(batch, "commodity", 0), Some(commodity));
        assert_eq!(text(batch, "error_class", 0), Some(class));
        let found = text(batch, "error_message", 0).unwrap();
        assert!(found.contains(message), "{found}");
        assert!(paths(batch).is_none());
        assert!(batch.column_by_name(POINTS).unwrap().is_null(0));
        assert!(batch.column_by_name("scanned_rows").unwrap().is_valid(0));
    }
    assert_eq!((found.len(), values(&found[4], 1).len()), (5, 10));
    assert_eq!(text(&found[4], "error_class", 0), None);
    let alone = expand(&[random_walk("sound")], 10, HORIZON).await;
    for day in 1..=HORIZON {
        assert_eq!(values(&found[4], day), values(&alone[0], day));
    }
}

#[tokio::test]
async fn a_failed_origin_passes_through() {
    let late = unit(
        "coffee",
        &ModelSpec::of_family("naive"),
        &[MONDAY, MONDAY + 30],
    );
    let found = expand(&[late], 10, HORIZON).await;
    let drawn: Vec<Option<usize>> = found
        .iter()
        .map(|batch| paths(batch).map(|paths| paths.len()))
        .collect();
    assert_eq!(drawn, [Some(10), None]);
    assert_eq!(text(&found[1], "error_class", 0), Some("stale"));
}

/// Forecasts of several keys.
async fn drawn(horizon: usize) -> Vec<RecordBatch> {
    let wanted: Vec<Day> = (MONDAY..MONDAY + 4).collect();
    let units = [
        unit("coffee", &ModelSpec::of_family("random_walk"), &wanted),
        unit("sugar", &ModelSpec::of_family("naive"), &wanted),
    ];
    expand(&units, 37, horizon).await
}

/// Their paths as the table holds them.
fn stored(drawn: &[RecordBatch]) -> RecordBatch {
    let rows: Vec<RecordBatch> = drawn.iter().map(rows).collect();
    concat_batches(&rows[0].schema(), &rows).unwrap()
}

#[tokio::test]
async fn points_of_stored_paths_are_the_points_drawn_with_them() {
    for horizon in [HORIZON, 5] {
        let drawn = drawn(horizon).await;
        let table = stored(&drawn);
        // However the batches cut the keys.
        for size in [1, 2, 36, 37, 38, 100, table.num_rows()] {
            let batches: Vec<RecordBatch> = (0..table.num_rows())
                .step_by(size)
                .map(|start| table.slice(start, size.min(table.num_rows() - start)))
                .collect();
            let found = run(&SummarizePaths { dated: true }, batches).await;
            assert_eq!(found.len(), drawn.len());
            // What was read stands beside the last key, and nowhere else.
            let (last, others) = found.split_last().unwrap();
            let of = |batch: &RecordBatch, name| Arc::clone(batch.column_by_name(name).unwrap());
            let rows = of(last, SCANNED_ROWS);
            assert_eq!(
                rows.as_primitive::<Int64Type>().values(),
                &[table.num_rows() as i64]
            );
            let newest = of(last, SCANNED_NEWEST);
            assert_eq!(newest.as_primitive::<Date32Type>().values(), &[MONDAY + 3]);
            for name in [SCANNED_ROWS, SCANNED_NEWEST] {
                assert!(others.iter().all(|batch| of(batch, name).is_null(0)));
            }
            for (batch, drawn) in found.iter().zip(&drawn) {
                assert_eq!(
                    batch.column_by_name(POINTS).unwrap(),
                    drawn.column_by_name(POINTS).unwrap()
                );
                assert_eq!(batch.columns()[..KEYS], drawn.columns()[..KEYS]);
            }
        }
    }
}

#[tokio::test]
async fn paths_that_are_not_whole_are_not_summarised() {
    let table = stored(&drawn(HORIZON).await);
    let gap = vec![table.slice(0, 10), table.slice(11, 26)];
    let headless = vec![table.slice(1, 36)];
    for batches in [gap, headless] {
        let error = try_run(&SummarizePaths { dated: true }, batches)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("in order"), "{error}");
    }
}

#[tokio::test]
async fn points_without_dates_stay_without_dates() {
    let table = stored(&drawn(HORIZON).await);
    let found = run(&SummarizePaths { dated: false }, vec![table]).await;
    let points = found[0].column_by_name(POINTS).unwrap().as_list::<i32>();
    let points = points.value(0);
    let dates = points.as_struct().column_by_name("forecast_date").unwrap();
    assert_eq!(dates.null_count(), HORIZON);
}

#[tokio::test]
async fn origins_are_reserved_until_they_are_drawn() {
    let wanted: Vec<Day> = (MONDAY..MONDAY + 5).collect();
    let spec = ModelSpec::of_family("linear_regression");
    let units = [unit("coffee", &spec, &wanted), unit("tea", &spec, &wanted)];
    let payload: usize = units
        .iter()
        .flat_map(|unit| Forecast::all(&unit.origins))
        .map(|forecast| forecast.origin.unwrap().len())
        .sum();
    let operator = ExpandPaths {
        paths: 50,
        horizon: HORIZON,
    };
    // A second batch with the same names stands for other units.
    let batches = vec![input(&units), input(&units)];
    let drawn = operate(&operator, batches.clone(), PLENTY).await.unwrap();
    let reserved: Vec<usize> = drawn.iter().map(|(_, reserved)| *reserved).collect();
    assert_eq!(reserved.len(), 20);
    assert!(reserved[0] > 2 * payload, "{} of {payload}", reserved[0]);
    assert!(
        reserved.is_sorted_by(|before, after| before > after),
        "{reserved:?}"
    );
    assert!(reserved[0] - reserved[19] > 2 * payload * 19 / 20);
    assert_refused(&operator, batches, payload).await;
}

#[tokio::test]
async fn the_paths_of_one_forecast_are_reserved_while_it_is_drawn() {
    let reserved = async |paths: usize| {
        let operator = ExpandPaths {
            paths,
            horizon: HORIZON,
        };
        let batches = vec![input(&[random_walk("coffee")])];
        operate(&operator, batches, PLENTY).await.unwrap()[0].1
    };
    let (few, many) = (reserved(10).await, reserved(1010).await);
    assert!(
        many - few >= 1000 * HORIZON * size_of::<f64>(),
        "{few}, {many}"
    );
}

#[tokio::test]
async fn stored_paths_are_reserved_while_their_key_is_open() {
    let table = stored(&drawn(HORIZON).await);
    let size = table.get_array_memory_size();
    let operator = SummarizePaths { dated: true };
    let summarised = operate(&operator, vec![table.clone()], PLENTY)
        .await
        .unwrap();
    assert!(
        summarised.iter().all(|(_, reserved)| *reserved >= size),
        "{summarised:?} of {size}"
    );
    assert_refused(&operator, vec![table], size / 2).await;
}
