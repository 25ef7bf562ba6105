//! Which step each day of the horizon shows.

use almanac_forecasters::{Ahead, Calendar, family};
use serde_json::Map;

use super::*;

/// 2024-01-15, a Monday.
const MONDAY: Day = 19_737;

/// Weekdays before `until`, without those in `missing`.
fn history(until: Day, missing: &[Day]) -> Vec<Row> {
    weekdays_before(until)
        .into_iter()
        .filter(|row| !missing.contains(&row.date.unwrap()))
        .collect()
}

fn steps(calendar: Calendar, rows: &[Row], start: Day, closed: &[Day]) -> Vec<u16> {
    let mut spec = ModelSpec::of_family("naive");
    spec.calendar = calendar;
    let state = state_of(&spec, &rows[..rows.len() - 10]);
    forecasts_with_holidays(&spec, &state, rows, &[start], closed)[0]
        .origin()
        .steps
}

#[test]
fn closed_days_show_the_step_before_them() {
    assert_eq!(day("2024-01-15"), MONDAY);
    let found = steps(Calendar::Trading, &history(MONDAY, &[]), MONDAY, &[]);
    assert_eq!(found, [1, 2, 3, 4, 5, 5, 5, 6, 7, 8, 9, 10, 10, 10]);
    // From a Saturday the first two days show the last close.
    let saturday = MONDAY - 2;
    let found = steps(Calendar::Trading, &history(saturday, &[]), saturday, &[]);
    assert_eq!(found, [0, 0, 1, 2, 3, 4, 5, 5, 5, 6, 7, 8, 9, 10]);
}

#[test]
fn a_missing_close_is_a_step_of_its_own() {
    let wednesday = MONDAY + 2;
    let late = history(wednesday, &[MONDAY + 1]);
    let found = steps(Calendar::Trading, &late, wednesday, &[]);
    assert_eq!(found, [2, 3, 4, 4, 4, 5, 6, 7, 8, 9, 9, 9, 10, 11]);
    // A missing day before the newest close is history, not a step.
    let filled = history(wednesday, &[MONDAY]);
    let found = steps(Calendar::Trading, &filled, wednesday, &[]);
    assert_eq!(found[..5], [1, 2, 3, 3, 3]);
}

#[test]
fn a_holiday_is_no_step() {
    let wednesday = MONDAY + 2;
    let late = history(wednesday, &[MONDAY + 1]);
    let found = steps(Calendar::Trading, &late, wednesday, &[MONDAY + 1]);
    assert_eq!(found, [1, 2, 3, 3, 3, 4, 5, 6, 7, 8, 8, 8, 9, 10]);
    let found = steps(
        Calendar::Trading,
        &history(wednesday, &[]),
        wednesday,
        &[MONDAY + 3, MONDAY + 8],
    );
    assert_eq!(found, [1, 1, 2, 2, 2, 3, 3, 4, 5, 6, 6, 6, 7, 8]);
}

#[test]
fn every_day_is_a_step_on_the_daily_calendar() {
    let rows = history(MONDAY, &[]);
    let found = steps(Calendar::Daily, &rows, MONDAY, &[MONDAY + 1]);
    // Saturday and Sunday lie between the last close and the start.
    assert_eq!(found, (3..17).collect::<Vec<u16>>());
}

#[test]
fn observed_steps_have_no_dates_and_do_not_age() {
    let rows = history(MONDAY - 400, &[]);
    let mut spec = ModelSpec::of_family("naive");
    spec.calendar = Calendar::Observed;
    let state = state_of(&spec, &rows);
    let origin = forecasts(&spec, &state, &rows, &[MONDAY])[0].origin();
    assert_eq!(origin.steps, (1..15).collect::<Vec<u16>>());
    assert!(!origin.dated);
}

#[test]
fn an_old_close_is_stale() {
    let mut spec = ModelSpec::of_family("naive");
    let rows = history(MONDAY, &[]);
    let friday = MONDAY - 3;
    let state = state_of(&spec, &rows);
    let wanted = [friday + 10, friday + 11];
    let found = forecasts(&spec, &state, &rows, &wanted);
    assert_eq!(found[0].class, None);
    assert_eq!(found[1].class.as_deref(), Some("stale"));
    assert_eq!(
        found[1].message.as_deref(),
        Some("the newest observation is of 2024-01-12, 11 days before; at most 10 are allowed")
    );
    spec.stale_after_days = 11;
    assert_eq!(forecasts(&spec, &state, &rows, &wanted)[1].class, None);
    spec.calendar = Calendar::Daily;
    spec.stale_after_days = 10;
    let found = forecasts(&spec, &state, &rows, &wanted);
    assert_eq!(found[1].class.as_deref(), Some("stale"));
}

#[test]
fn a_series_that_trades_every_day_has_a_step_every_day() {
    let rows: Vec<Row> = (MONDAY - 400..MONDAY)
        .map(|date| observed(date, close(date)))
        .collect();
    let found = steps(Calendar::Trading, &rows, MONDAY, &[]);
    assert_eq!(found, (1..15).collect::<Vec<u16>>());
}

/// A week whose days differ.
fn weekly(date: Day) -> f64 {
    100.0 + 10.0 * f64::from(date.rem_euclid(7))
}

/// What a model that was trained before `trained` expects of the two weeks from `start` on; how far
/// that is off at the most.
fn off(spec: &ModelSpec, rows: &[Row], trained: Day, start: Day) -> f64 {
    let before = rows.partition_point(|row| row.date < Some(trained));
    let state = state_of(spec, &rows[..before]);
    let forecast = &forecasts(spec, &state, rows, &[start])[0];
    let origin = forecast.origin();
    assert_eq!(origin.steps, (1..15).collect::<Vec<u16>>());
    let (_, state) = Origin::from_json(forecast.origin.as_deref().unwrap()).unwrap();
    let ahead = Ahead {
        steps: 14,
        dates: &origin.dates,
        regressors: &[],
    };
    let outlook = family(&spec.family).unwrap().outlook(&state, ahead);
    let point = outlook.unwrap().point();
    let errors = point.iter().zip(start..);
    errors.fold(0.0, |most, (point, day)| {
        (point - weekly(day)).abs().max(most)
    })
}

#[test]
fn on_the_daily_calendar_a_missing_day_keeps_its_place_for_models_that_take_missing_values() {
    let start = MONDAY - 5;
    // Every ninth day is missing, the newest of them the fourth before the start; and a week.
    let missing = |date: Day| (start - 4 - date) % 9 == 0 || (100..107).contains(&(start - date));
    let rows: Vec<Row> = (start - 550..start)
        .filter(|date| !missing(*date))
        .map(|date| observed(date, weekly(date)))
        .collect();
    for family in ["arima", "auto_arima"] {
        let mut spec = ModelSpec::of_family(family);
        spec.params = Map::from_iter([("season_length".to_owned(), 7.into())]);
        if family == "arima" {
            let orders = [("order", [0, 0, 0]), ("seasonal_order", [0, 1, 0])];
            let orders = orders.map(|(name, order)| (name.to_owned(), order.to_vec().into()));
            spec.params.extend(orders);
        }
        // Trained long before the start, or with everything there is.
        for trained in [start - 200, start] {
            spec.calendar = Calendar::Daily;
            let daily = off(&spec, &rows, trained, start);
            assert!(daily < 0.2, "{family}: {daily}");
            spec.calendar = Calendar::Observed;
            let observed = off(&spec, &rows, trained, start);
            assert!(observed > 9.0, "{family}: {observed}");
        }
    }
}
