//! Splitting the input into batches, merging partial states and shuffling rows give the answer of
//! one pass.

use std::collections::BTreeMap;

use almanac_forecasters::catalog;
use datafusion::datasource::MemTable;
use datafusion::physical_plan::displayable;
use datafusion::prelude::{SessionConfig, SessionContext};
use proptest::prelude::*;

use super::*;
use crate::region_mean::region_mean;

const FIRST: Day = 19_000;

/// A close and a covariate, either of which may be missing, for each of some days.
fn days() -> impl Strategy<Value = Vec<(Option<f64>, Option<f64>)>> {
    let close = proptest::option::weighted(0.8, 20.0..200.0);
    let covariate = proptest::option::weighted(0.6, -5.0..40.0);
    proptest::collection::vec((close, covariate), 40..120)
}

/// For each of `count` rows the part that it falls into and whether a batch ends behind it, and the
/// order in which rows come.
fn deal(count: usize) -> impl Strategy<Value = (Vec<usize>, Vec<(usize, bool)>)> {
    (
        Just((0..count).collect::<Vec<_>>()).prop_shuffle(),
        proptest::collection::vec((0..4_usize, any::<bool>()), count),
    )
}

fn dealt(rows: &[Row], order: &[usize], deal: &[(usize, bool)]) -> Vec<Vec<Vec<Row>>> {
    let mut parts = vec![vec![vec![]]; 4];
    for (index, (part, ends)) in order.iter().zip(deal) {
        let batches = &mut parts[*part];
        batches.last_mut().unwrap().push(rows[*index].clone());
        if *ends {
            batches.push(vec![]);
        }
    }
    parts
}

/// A model of the catalog; those that take covariates get one.
fn model(index: usize) -> ModelSpec {
    let mut spec = ModelSpec::parse(catalog()[index].key).unwrap();
    if spec.family == "linear_regression" {
        spec.covariates = vec!["vix".to_owned()];
    }
    spec
}

fn rows_of(spec: &ModelSpec, days: &[(Option<f64>, Option<f64>)]) -> Vec<Row> {
    (FIRST..)
        .zip(days)
        .map(|(date, (close, covariate))| {
            let mut row = with_covariate(date, *close, *covariate);
            row.covariates = row.covariates.filter(|_| !spec.covariates.is_empty());
            row
        })
        .collect()
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 96,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn train_in_parts_is_train_in_one_pass(
        (days, (order, deal)) in days()
            .prop_flat_map(|days| { let deal = deal(days.len() + 1); (Just(days), deal) }),
        index in 0..catalog().len(),
    ) {
        let spec = model(index);
        let mut rows = vec![header(&spec)];
        rows.extend(rows_of(&spec, &days));
        let whole = Trained::of(&one_pass(&train(), &rows));
        let parts = Trained::of(&in_parts(&train(), &dealt(&rows, &order, &deal)));
        prop_assert_eq!(whole, parts);
    }

    #[test]
    fn forecast_in_parts_is_forecast_in_one_pass(
        (days, (order, deal)) in days()
            .prop_flat_map(|days| { let deal = deal(days.len() + 1); (Just(days), deal) }),
        index in 0..catalog().len(),
        wanted in proptest::collection::vec(FIRST + 30..FIRST + 130, 1..6),
    ) {
        let spec = model(index);
        let trained = weekdays_before(FIRST).into_iter().map(|row| Row {
            covariates: (!spec.covariates.is_empty()).then(|| vec![row.close]),
            ..row
        });
        let state = state_of(&spec, &trained.collect::<Vec<_>>());
        let mut rows = vec![forecast_header(&spec, &state, &wanted, &[FIRST + 50])];
        rows.extend(rows_of(&spec, &days));
        let whole = Forecast::all(&one_pass(&forecast(), &rows));
        let parts = Forecast::all(&in_parts(&forecast(), &dealt(&rows, &order, &deal)));
        prop_assert_eq!(whole, parts);
    }

    #[test]
    fn region_mean_in_parts_is_region_mean_in_one_pass(
        (values, (order, deal)) in proptest::collection::vec(
            proptest::option::weighted(0.8, -1e9..1e9), 1..40)
            .prop_flat_map(|values| { let deal = deal(values.len()); (Just(values), deal) }),
    ) {
        let rows: Vec<Row> = values
            .iter()
            .map(|close| Row { close: *close, ..Row::default() })
            .collect();
        let bits = |mean: ScalarValue| match mean {
            ScalarValue::Float64(mean) => mean.map(f64::to_bits),
            other => panic!("{other:?}"),
        };
        let whole = bits(one_pass(&region_mean(), &rows));
        let parts = bits(in_parts(&region_mean(), &dealt(&rows, &order, &deal)));
        prop_assert_eq!(whole, parts);
    }
}

#[test]
fn region_mean_leaves_out_what_is_missing() {
    let rows = [Some(1.0), None, Some(4.0)].map(|close| Row {
        close,
        ..Row::default()
    });
    assert_eq!(
        one_pass(&region_mean(), &rows),
        ScalarValue::Float64(Some(2.5))
    );
    assert_eq!(
        one_pass(&region_mean(), &rows[1..2]),
        ScalarValue::Float64(None)
    );
    assert_eq!(one_pass(&region_mean(), &[]), ScalarValue::Float64(None));
}

#[test]
fn every_model_of_the_catalog_trains_and_forecasts() {
    for index in 0..catalog().len() {
        let spec = model(index);
        let history: Vec<Row> = weekdays_before(FIRST)
            .into_iter()
            .map(|row| Row {
                covariates: (!spec.covariates.is_empty()).then(|| vec![row.close]),
                ..row
            })
            .collect();
        let state = state_of(&spec, &history);
        assert_eq!(
            forecasts(&spec, &state, &history, &[FIRST])[0].class,
            None,
            "{}",
            spec.family
        );
    }
}

#[test]
fn held_bytes_are_owned_up_to() {
    let spec = ModelSpec::of_family("naive");
    let rows: Vec<Row> = (0..1000)
        .map(|date| with_covariate(date, Some(1.0), Some(2.0)))
        .collect();
    for aggregate in [train(), forecast(), region_mean()] {
        let mut group = accumulator(&aggregate);
        let empty = group.size();
        let start = forecast_header(&spec, "state", &[1; 500], &[]);
        group
            .update_batch(&arguments(&aggregate, &[start]))
            .unwrap();
        assert!(group.size() >= empty, "{}", aggregate.name());
        let row_bytes = if aggregate.name() == "region_mean" {
            8
        } else {
            4 + 8 + 8
        };
        for (chunk, taken) in rows.chunks(250).zip(1..) {
            group.update_batch(&arguments(&aggregate, chunk)).unwrap();
            assert!(
                group.size() >= taken * 250 * row_bytes,
                "{}",
                aggregate.name()
            );
        }
        assert!(group.size() < 100_000, "{}", aggregate.name());
    }
    let mut group = accumulator(&forecast());
    let small = group.size();
    let big = forecast_header(&spec, &"x".repeat(1 << 20), &[1; 500], &[2; 1000]);
    group.update_batch(&arguments(&forecast(), &[big])).unwrap();
    assert!(group.size() - small >= (1 << 20) + 4 * 1500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partial_and_final_phases_of_a_query_give_the_answer_of_one_pass() {
    let wanted = [FIRST, FIRST + 8, FIRST + 40];
    let mut groups: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for index in 0..catalog().len() {
        let spec = model(index);
        let history: Vec<Row> = (FIRST - 400..FIRST + 50)
            .filter(|date| date % 7 != 0)
            .map(|date| {
                let mut row = with_covariate(date, Some(close(date)), Some(close(date + 3)));
                row.covariates = row.covariates.filter(|_| !spec.covariates.is_empty());
                row
            })
            .collect();
        let trained = history.iter().filter(|row| row.date < Some(FIRST - 20));
        let state = state_of(&spec, &trained.cloned().collect::<Vec<_>>());
        let mut rows = vec![forecast_header(&spec, &state, &wanted, &[FIRST + 1])];
        rows.extend(history);
        groups.insert(catalog()[index].key.to_owned(), rows);
    }

    // The rows of all groups, in an order that mixes them, in seven partitions of small batches.
    let all: Vec<(&String, &Row)> = groups
        .iter()
        .flat_map(|(name, rows)| rows.iter().map(move |row| (name, row)))
        .collect();
    let mixed: Vec<(&String, &Row)> = (0..all.len()).map(|i| all[i * 1009 % all.len()]).collect();
    assert_ne!(all.len() % 1009, 0);
    let named = |rows: &[(&String, &Row)]| {
        let names: ArrayRef = Arc::new(StringArray::from_iter_values(
            rows.iter().map(|(name, _)| name.as_str()),
        ));
        let rows: Vec<Row> = rows.iter().map(|(_, row)| (*row).clone()).collect();
        let rows = batch(&rows);
        let mut columns = vec![("model", names)];
        for (name, column) in COLUMNS.iter().zip(rows.columns()) {
            columns.push((name, Arc::clone(column)));
        }
        RecordBatch::try_from_iter_with_nullable(
            columns
                .into_iter()
                .map(|(name, column)| (name, column, true)),
        )
        .unwrap()
    };
    let partitions: Vec<Vec<RecordBatch>> = mixed
        .chunks(mixed.len().div_ceil(7))
        .map(|partition| partition.chunks(53).map(&named).collect())
        .collect();
    let schema = partitions[0][0].schema();
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(4));
    for aggregate in crate::aggregates() {
        context.register_udaf(aggregate.as_ref().clone());
    }
    let table = MemTable::try_new(schema, partitions).unwrap();
    context.register_table("rows", Arc::new(table)).unwrap();
    let frame = context
        .sql(
            "SELECT model, train(spec, date, close, covariates) AS trained, \
                    forecast(spec, state, date, close, covariates, wanted, closed) AS origins \
             FROM rows GROUP BY model",
        )
        .await
        .unwrap();
    let plan = frame.clone().create_physical_plan().await.unwrap();
    let plan = displayable(plan.as_ref()).indent(false).to_string();
    assert!(
        plan.contains("mode=Partial") && plan.contains("mode=FinalPartitioned"),
        "{plan}"
    );
    let mut seen = 0;
    for result in frame.collect().await.unwrap() {
        for row in 0..result.num_rows() {
            let name = result.column(0).as_string::<i32>().value(row);
            let own = &groups[name];
            assert_eq!(
                Trained::at(result.column(1).as_struct(), row),
                Trained::of(&one_pass(&train(), own)),
                "{name}"
            );
            let found = Forecast::list(result.column(2).as_list::<i32>(), row);
            assert_eq!(found, Forecast::all(&one_pass(&forecast(), own)), "{name}");
            assert!(found.iter().all(|forecast| forecast.class.is_none()));
            seen += 1;
        }
    }
    assert_eq!(seen, groups.len());
}

#[tokio::test]
async fn train_is_a_function_that_a_user_can_call() {
    let context = SessionContext::new();
    context.register_udaf(train().as_ref().clone());
    let rows = batch(&weekdays_before(FIRST));
    context.register_batch("prices", rows).unwrap();
    let found = context
        .sql("SELECT train('random_walk', date, close) AS trained FROM prices")
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    let trained = Trained::at(found[0].column(0).as_struct(), 0);
    let spec = ModelSpec::parse("random_walk").unwrap();
    assert_eq!(
        trained.state,
        Some(state_of(&spec, &weekdays_before(FIRST)))
    );
}
