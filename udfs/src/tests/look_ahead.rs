//! What is dated on or after a forecast's start changes nothing of it.

use proptest::prelude::*;

use super::*;
use crate::spec::Projection;

const TRAINED: Day = 19_000;
const WANTED: Day = TRAINED + 12;

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn anything() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        Just(None),
        Just(Some(f64::INFINITY)),
        Just(Some(f64::NAN)),
        any::<f64>().prop_map(Some),
        (1.0..200.0).prop_map(Some),
    ]
}

fn future() -> impl Strategy<Value = Vec<Row>> {
    proptest::collection::vec((any::<bool>(), anything(), anything()), 0..30).prop_map(|days| {
        (WANTED..)
            .zip(days)
            .filter(|(_, (there, _, _))| *there)
            .map(|(date, (_, close, covariate))| with_covariate(date, close, covariate))
            .collect()
    })
}

fn past() -> Vec<Row> {
    (TRAINED - 1200..WANTED)
        .filter(|date| is_weekday(*date))
        .map(|date| with_covariate(date, Some(close(date)), Some(close(date + 5))))
        .collect()
}

fn spec(family: &str, projection: Projection) -> ModelSpec {
    let mut spec = ModelSpec::of_family(family);
    spec.covariates = vec!["vix".to_owned()];
    spec.projection = projection;
    spec
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_future_changes_no_byte_of_an_origin(
        future in future(),
        family in prop_oneof![Just("random_walk"), Just("linear_regression")],
        projection in prop_oneof![
            Just(Projection::None), Just(Projection::Persist),
            Just(Projection::Seasonal), Just(Projection::Linear)],
    ) {
        let spec = spec(family, projection);
        let past = past();
        let before: Vec<Row> =
            past.iter().filter(|row| row.date < Some(TRAINED)).cloned().collect();
        let state = state_of(&spec, &before);
        let alone = forecasts(&spec, &state, &past, &[WANTED]);
        prop_assert_eq!(&alone[0].class, &None);
        let mut rows = past;
        rows.extend(future);
        let found = forecasts(&spec, &state, &rows, &[WANTED, WANTED + 20]);
        prop_assert_eq!(&found[0], &alone[0]);
    }
}

#[test]
fn all_dates_of_a_model_come_out_as_each_would_alone() {
    let history = past();
    let wanted: Vec<Day> = (TRAINED..WANTED).collect();
    for projection in [
        Projection::Persist,
        Projection::Seasonal,
        Projection::Linear,
    ] {
        let spec = spec("linear_regression", projection);
        let before: Vec<Row> = history
            .iter()
            .filter(|row| row.date < Some(TRAINED))
            .cloned()
            .collect();
        let state = state_of(&spec, &before);
        let together = forecasts(&spec, &state, &history, &wanted);
        assert_eq!(together.len(), wanted.len());
        for (date, found) in wanted.iter().zip(together) {
            assert_eq!(found.class, None);
            assert_eq!(vec![found], forecasts(&spec, &state, &history, &[*date]));
        }
    }
}

#[test]
fn wanted_dates_come_out_once_and_in_order() {
    let spec = ModelSpec::of_family("naive");
    let history = weekdays_before(TRAINED);
    let state = state_of(&spec, &history);
    let wanted = [TRAINED + 3, TRAINED, TRAINED + 3, TRAINED + 1];
    let starts: Vec<Day> = forecasts(&spec, &state, &history, &wanted)
        .iter()
        .map(|forecast| forecast.start)
        .collect();
    assert_eq!(starts, [TRAINED, TRAINED + 1, TRAINED + 3]);
}

#[test]
fn the_newest_close_is_the_origin_and_its_date_the_cutoff() {
    let spec = ModelSpec::of_family("naive");
    let monday = day("2024-01-08");
    let history = weekdays_before(monday + 5);
    let state = state_of(&spec, &weekdays_before(monday));
    let found = forecasts(&spec, &state, &history, &[monday, monday + 1, monday + 4]);
    for (forecast, last) in found.iter().zip([monday - 3, monday, monday + 3]) {
        assert_eq!(forecast.cutoff, Some(last));
        assert_eq!(forecast.origin().range.last(), Some(close(last)));
    }
    assert_ne!(found[0].digest, found[1].digest);
}

#[test]
fn a_covariate_dated_after_the_last_close_moves_the_cutoff() {
    let spec = spec("random_walk", Projection::Persist);
    let (monday, sunday) = (day("2024-01-08"), day("2024-01-07"));
    let mut history: Vec<Row> = weekdays_before(monday)
        .into_iter()
        .map(|row| Row {
            covariates: Some(vec![None]),
            ..row
        })
        .collect();
    let state = state_of(&spec, &history);
    let without = forecasts(&spec, &state, &history, &[monday]);
    assert_eq!(without[0].cutoff, Some(monday - 3));
    history.push(with_covariate(sunday, None, Some(1.0)));
    let with = forecasts(&spec, &state, &history, &[monday]);
    assert_eq!(with[0].cutoff, Some(sunday));
    assert_ne!(with[0].digest, without[0].digest);
    history.push(with_covariate(monday, None, Some(2.0)));
    assert_eq!(with, forecasts(&spec, &state, &history, &[monday]));
}
