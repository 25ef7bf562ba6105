//! Lag, carrying and projection of covariates, worked by hand.

use super::*;
use crate::observations::Observations;
use crate::spec::Projection;

/// 2024-01-12 is a Friday.
const FRIDAY: Day = 19_734;

fn rows(values: &[(Day, f64)]) -> Observations {
    Observations {
        dates: values.iter().map(|(date, _)| *date).collect(),
        closes: vec![f64::NAN; values.len()],
        covariates: vec![values.iter().map(|(_, value)| *value).collect()],
        unfit: None,
    }
}

fn known(values: &[(Day, f64)], day: Day, spec: &ModelSpec) -> Option<f64> {
    let rows = rows(values);
    let known = rows.known_covariates(day, rows.dates.len(), spec)[0];
    (!known.is_nan()).then_some(known)
}

#[test]
fn a_value_is_known_the_day_after() {
    let spec = ModelSpec::of_family("naive");
    assert_eq!(day("2024-01-12"), FRIDAY);
    let values = [(FRIDAY - 1, 13.0), (FRIDAY, 14.0)];
    assert_eq!(known(&values, FRIDAY, &spec), Some(13.0));
    assert_eq!(known(&values, FRIDAY + 1, &spec), Some(14.0));
    assert_eq!(known(&values, FRIDAY - 1, &spec), None);
}

#[test]
fn mondays_value_is_fridays() {
    let spec = ModelSpec::of_family("naive");
    let monday = FRIDAY + 3;
    let values = [(FRIDAY - 1, 13.0), (FRIDAY, 14.0), (monday, 15.0)];
    assert_eq!(known(&values, monday, &spec), Some(14.0));
}

#[test]
fn a_value_is_carried_for_seven_days_beyond_its_lag() {
    let spec = ModelSpec::of_family("naive");
    let values = [(FRIDAY, 14.0)];
    assert_eq!(known(&values, FRIDAY + 8, &spec), Some(14.0));
    assert_eq!(known(&values, FRIDAY + 9, &spec), None);
}

#[test]
fn a_missing_value_is_passed_over_and_never_zero() {
    let spec = ModelSpec::of_family("naive");
    let values = [
        (FRIDAY - 2, 12.0),
        (FRIDAY - 1, f64::NAN),
        (FRIDAY, f64::NAN),
    ];
    assert_eq!(known(&values, FRIDAY + 1, &spec), Some(12.0));
    assert_eq!(known(&values[1..], FRIDAY + 1, &spec), None);
}

#[test]
fn lag_and_carry_are_the_specifications() {
    let mut spec = ModelSpec::of_family("naive");
    (spec.lag_days, spec.carry_days) = (3, 1);
    let values = [(FRIDAY, 14.0), (FRIDAY + 1, 15.0)];
    assert_eq!(known(&values, FRIDAY + 2, &spec), None);
    assert_eq!(known(&values, FRIDAY + 3, &spec), Some(14.0));
    assert_eq!(known(&values, FRIDAY + 5, &spec), Some(15.0));
    assert_eq!(known(&values, FRIDAY + 6, &spec), None);
    spec.lag_days = 0;
    assert_eq!(known(&values, FRIDAY, &spec), Some(14.0));
}

#[test]
fn rows_from_the_end_on_are_not_looked_at() {
    let mut spec = ModelSpec::of_family("naive");
    spec.lag_days = 0;
    let rows = rows(&[(FRIDAY - 1, 13.0), (FRIDAY, 14.0)]);
    assert_eq!(rows.known_covariates(FRIDAY, 1, &spec), [13.0]);
}

/// What the horizon of a forecast for `FRIDAY` shows of a covariate with these values. Every
/// calendar day is a step.
fn projected(projection: Projection, values: impl Fn(Day) -> Option<f64>) -> Vec<Option<f64>> {
    let mut spec = ModelSpec::of_family("naive");
    spec.covariates = vec!["x".to_owned()];
    spec.projection = projection;
    spec.calendar = almanac_forecasters::Calendar::Daily;
    let history: Vec<Row> = (FRIDAY - 5 * 366..FRIDAY)
        .map(|date| with_covariate(date, Some(close(date)), values(date)))
        .collect();
    let state = state_of(&spec, &history[..history.len() - 2]);
    let mut regressors = forecasts(&spec, &state, &history, &[FRIDAY])[0]
        .origin()
        .regressors;
    assert_eq!(regressors.len(), 1);
    regressors.remove(0)
}

#[test]
fn nothing_is_projected_when_nothing_is_asked_for() {
    assert_eq!(projected(Projection::None, |_| Some(1.0)), [None; 14]);
}

#[test]
fn the_newest_known_value_persists() {
    let newest = |date| Some(f64::from(date));
    assert_eq!(
        projected(Projection::Persist, newest),
        [Some(f64::from(FRIDAY - 1)); 14]
    );
    let old = |age: Day| move |date| (date == FRIDAY - age).then_some(3.0);
    assert_eq!(projected(Projection::Persist, old(8)), [Some(3.0); 14]);
    assert_eq!(projected(Projection::Persist, old(9)), [None; 14]);
}

#[test]
fn a_season_is_the_mean_of_the_same_day_in_the_last_three_years() {
    // Steps are 2024-01-12 … 2024-01-25.
    let on = |text: &str, value: f64| (day(text), value);
    let values = [
        on("2023-01-12", 1.0),
        on("2022-01-12", 2.0),
        on("2021-01-12", 6.0),
        on("2020-01-12", 100.0),
        on("2023-01-13", 4.0),
        on("2021-01-13", 5.0),
        on("2020-01-14", 100.0),
    ];
    let found = projected(Projection::Seasonal, |date| {
        values
            .iter()
            .find(|(known, _)| *known == date)
            .map(|(_, value)| *value)
    });
    assert_eq!(found[..3], [Some(3.0), Some(4.5), None]);
    assert_eq!(found[3..], [None; 11]);
}

#[test]
fn a_trend_is_the_line_through_thirty_days() {
    // Older than 30 days is far off the line.
    let line = |date: Day| {
        Some(if date > FRIDAY - 1 - 30 {
            2.0 * f64::from(date - FRIDAY) + 7.0
        } else {
            1e6
        })
    };
    let found = projected(Projection::Linear, line);
    for (step, value) in (0..).zip(found) {
        assert!((value.unwrap() - (2.0 * f64::from(step) + 7.0)).abs() < 1e-9);
    }
    let lone = |date: Day| (date == FRIDAY - 1).then_some(3.0);
    assert_eq!(projected(Projection::Linear, lone), [None; 14]);
    // Two points, four days apart: 1 and 3 make half a unit a day.
    let pair = |date: Day| match FRIDAY - date {
        5 => Some(1.0),
        1 => Some(3.0),
        _ => None,
    };
    let found = projected(Projection::Linear, pair);
    assert_eq!(found[..3], [Some(3.5), Some(4.0), Some(4.5)]);
}
