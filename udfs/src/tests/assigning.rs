//! Units carried to the rows of their slice.

use arrow::array::{Int32Array, Int64Array};
use arrow::compute::concat_batches;
use arrow::datatypes::Int64Type;

use super::*;
use crate::assign::{AssignUnits, Unit};

fn unit(slice: i32, commodity: &str, model_name: &str) -> Unit {
    Unit {
        slice,
        series_bucket: None,
        commodity: commodity.to_owned(),
        model_name: model_name.to_owned(),
        model_version: "v1".to_owned(),
        training_date: 100,
        spec: format!("{model_name}'s spec"),
        state: None,
        wanted: vec![],
        covariates: vec![],
        from: Day::MIN,
        until: 100,
    }
}

/// Rows of (slice, commodity, date, close, vix, rows behind it).
type History<'a> = &'a [(i32, &'a str, Day, Option<f64>, Option<f64>, i64)];

fn history(rows: History<'_>) -> RecordBatch {
    let columns: [(&str, ArrayRef); 7] = [
        (
            "slice",
            Arc::new(rows.iter().map(|row| Some(row.0)).collect::<Int32Array>()),
        ),
        (
            "commodity",
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1))),
        ),
        (
            "date",
            Arc::new(rows.iter().map(|row| Some(row.2)).collect::<Date32Array>()),
        ),
        (
            "close",
            Arc::new(rows.iter().map(|row| row.3).collect::<Float64Array>()),
        ),
        (
            "vix",
            Arc::new(rows.iter().map(|row| row.4).collect::<Float64Array>()),
        ),
        (
            "cop_usd",
            Arc::new(
                rows.iter()
                    .map(|row| row.4.map(|value| -value))
                    .collect::<Float64Array>(),
            ),
        ),
        (
            "table_rows",
            Arc::new(rows.iter().map(|row| Some(row.5)).collect::<Int64Array>()),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(
        columns.map(|(name, column)| (name, column, !["slice"].contains(&name))),
    )
    .unwrap()
}

async fn assign(
    units: Vec<Unit>,
    batches: Vec<RecordBatch>,
) -> datafusion::error::Result<RecordBatch> {
    let operator = AssignUnits {
        units: Arc::new(units),
        closed: Arc::new(vec![7, 8]),
    };
    let output = Arc::new(operator.output_schema(&batches[0].schema())?);
    let made = operate(&operator, batches, PLENTY).await?;
    let found: Vec<RecordBatch> = made.into_iter().map(|(batch, _)| batch).collect();
    Ok(concat_batches(&output, &found)?)
}

fn texts<'a>(batch: &'a RecordBatch, name: &str) -> Vec<Option<&'a str>> {
    batch
        .column_by_name(name)
        .unwrap()
        .as_string::<i32>()
        .iter()
        .collect()
}

fn dates(batch: &RecordBatch, name: &str) -> Vec<Option<Day>> {
    batch
        .column_by_name(name)
        .unwrap()
        .as_primitive::<Date32Type>()
        .iter()
        .collect()
}

/// The dated rows, as "model date".
fn given(batch: &RecordBatch) -> Vec<String> {
    let models = texts(batch, "model_name");
    let mut given: Vec<String> = dates(batch, "date")
        .into_iter()
        .zip(models)
        .filter_map(|(date, model)| Some(format!("{} {}", model?, date?)))
        .collect();
    given.sort();
    given
}

#[tokio::test]
async fn every_unit_has_one_header_and_sees_its_own_days() {
    let mut early = unit(2, "coffee", "early");
    (early.from, early.until) = (10, 12);
    let units = vec![
        early,
        unit(2, "coffee", "late"),
        unit(2, "tea", "lonely"),
        unit(3, "coffee", "elsewhere"),
    ];
    let rows = history(&[
        (2, "coffee", 9, Some(1.0), None, 1),
        (2, "coffee", 10, Some(1.0), None, 1),
        (2, "coffee", 11, None, Some(1.0), 1),
        (2, "coffee", 12, Some(1.0), None, 3),
        (2, "sugar", 99, Some(1.0), None, 1),
        (2, "coffee", 100, Some(1.0), None, 1),
    ]);
    let found = assign(units, vec![rows.slice(0, 3), rows.slice(3, 3)])
        .await
        .unwrap();
    assert_eq!(given(&found), ["early 10", "late 10", "late 12", "late 9"]);
    let headers: Vec<_> = texts(&found, "spec").into_iter().flatten().collect();
    assert_eq!(headers, ["early's spec", "late's spec", "lonely's spec"]);
    // Headers come first, in the order of the payload.
    assert_eq!(texts(&found, "spec")[..3].iter().flatten().count(), 3);
    assert_eq!(dates(&found, "date")[..3], [None; 3]);
}

#[tokio::test]
async fn what_the_slice_read_is_told_once() {
    let units = vec![unit(2, "coffee", "a"), unit(2, "coffee", "b")];
    let rows = history(&[
        (2, "coffee", 9, Some(1.0), None, 4),
        (2, "sugar", 50, None, None, 2),
    ]);
    let found = assign(units, vec![rows.slice(0, 1), rows.slice(1, 1)])
        .await
        .unwrap();
    let rows = found
        .column_by_name("scanned_rows")
        .unwrap()
        .as_primitive::<Int64Type>();
    assert_eq!(rows.iter().flatten().collect::<Vec<_>>(), [6]);
    assert_eq!(
        dates(&found, "scanned_newest")
            .into_iter()
            .flatten()
            .collect::<Vec<_>>(),
        [50]
    );
}

#[tokio::test]
async fn covariates_come_in_the_order_of_the_specification() {
    let mut both = unit(0, "coffee", "both");
    both.covariates = vec!["cop_usd".to_owned(), "vix".to_owned()];
    let units = vec![both, unit(0, "coffee", "none")];
    let rows = history(&[
        (0, "coffee", 9, None, Some(2.0), 1),
        (0, "coffee", 10, Some(1.0), None, 1),
    ]);
    let found = assign(units, vec![rows]).await.unwrap();
    // A day without a close is there for its covariates only.
    assert_eq!(given(&found), ["both 10", "both 9", "none 10"]);
    let lists = found.column_by_name("covariates").unwrap().as_list::<i32>();
    for (row, (model, date)) in texts(&found, "model_name")
        .into_iter()
        .zip(dates(&found, "date"))
        .enumerate()
    {
        let expected = match (model, date) {
            (Some("both"), Some(9)) => Some(vec![Some(-2.0), Some(2.0)]),
            (Some("both"), Some(10)) => Some(vec![None, None]),
            _ => None,
        };
        let list = lists.is_valid(row).then(|| {
            lists
                .value(row)
                .as_primitive::<Float64Type>()
                .iter()
                .collect::<Vec<_>>()
        });
        assert_eq!(list, expected, "{model:?} {date:?}");
    }
}

#[tokio::test]
async fn a_forecast_is_given_its_state_its_dates_and_the_holidays() {
    let mut forecast = unit(0, "coffee", "f");
    forecast.state = Some("state".to_owned());
    forecast.wanted = vec![20, 21];
    let rows = history(&[(0, "coffee", 9, Some(1.0), None, 1)]);
    let found = assign(vec![forecast, unit(0, "coffee", "t")], vec![rows])
        .await
        .unwrap();
    let list = |name: &str, row: usize| {
        let lists = found.column_by_name(name).unwrap().as_list::<i32>();
        lists.is_valid(row).then(|| {
            lists
                .value(row)
                .as_primitive::<Date32Type>()
                .values()
                .to_vec()
        })
    };
    assert_eq!(texts(&found, "state")[..2], [Some("state"), None]);
    assert_eq!(list("wanted", 0), Some(vec![20, 21]));
    assert_eq!(list("wanted", 1), Some(vec![]));
    assert_eq!(list("closed", 0), Some(vec![7, 8]));
    assert_eq!(list("closed", 1), None);
    assert_eq!((list("wanted", 2), list("closed", 2)), (None, None));
}

#[tokio::test]
async fn rows_of_two_slices_in_one_partition_are_refused() {
    let units = vec![unit(0, "coffee", "a"), unit(1, "coffee", "a")];
    let rows = history(&[
        (0, "coffee", 9, Some(1.0), None, 1),
        (1, "coffee", 9, Some(1.0), None, 1),
    ]);
    for batches in [vec![rows.clone()], vec![rows.slice(0, 1), rows.slice(1, 1)]] {
        let error = assign(units.clone(), batches).await.unwrap_err();
        assert!(error.to_string().contains("two slices"), "{error}");
    }
    let error = assign(units[..1].to_vec(), vec![rows.slice(1, 1)])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no units"), "{error}");
}

#[test]
fn a_missing_column_is_named_when_the_plan_is_made() {
    let mut needs = unit(0, "coffee", "a");
    needs.covariates = vec!["rain".to_owned()];
    let operator = AssignUnits {
        units: Arc::new(vec![needs]),
        closed: Arc::default(),
    };
    let rows = history(&[]);
    let error = operator.output_schema(&rows.schema()).unwrap_err();
    assert!(error.to_string().contains("rain"), "{error}");
}

#[tokio::test]
async fn states_are_reserved_while_they_enter_and_pairs_while_they_leave() {
    const STATE: usize = 1 << 20;
    let units: Vec<Unit> = (0..40)
        .map(|model| Unit {
            state: (model < 3).then(|| "s".repeat(STATE)),
            until: 20_000,
            ..unit(1, "coffee", &format!("model {model}"))
        })
        .collect();
    let rows: Vec<_> = (0..1000)
        .map(|date| (1, "coffee", date, Some(1.0), None, 1))
        .collect();
    let operator = AssignUnits {
        units: Arc::new(units),
        closed: Arc::default(),
    };
    let batches = vec![history(&rows)];
    let made = operate(&operator, batches.clone(), PLENTY).await.unwrap();
    let reserved: Vec<usize> = made.iter().map(|(_, reserved)| *reserved).collect();
    assert!(reserved[0] > 3 * STATE, "{reserved:?}");
    let (pairs, trailer) = (
        &reserved[1..reserved.len() - 1],
        reserved[reserved.len() - 1],
    );
    assert_eq!(pairs.len(), 5, "40 units × 1000 rows");
    let paired = 40 * 1000 * 2 * size_of::<u32>();
    assert!(
        pairs
            .iter()
            .all(|reserved| *reserved > trailer + paired && *reserved < STATE),
        "{reserved:?}"
    );
    assert_refused(&operator, batches.clone(), 2 * STATE).await;

    let stateless = AssignUnits {
        units: Arc::new(
            operator
                .units
                .iter()
                .map(|unit| Unit {
                    state: None,
                    ..unit.clone()
                })
                .collect(),
        ),
        closed: Arc::default(),
    };
    assert_refused(&stateless, batches, paired).await;
}
