//! A unit that cannot be trained or forecast is a row that says why, never a failed query.

use serde_json::json;

use super::*;

const TODAY: Day = 19_723;

fn drill(params: serde_json::Value) -> ModelSpec {
    let mut spec = ModelSpec::of_family("drill");
    spec.params = params.as_object().unwrap().clone();
    spec
}

fn trained(rows: &[Row]) -> Trained {
    Trained::of(&one_pass(&train(), rows))
}

fn trained_on(spec: &ModelSpec, history: &[Row]) -> Trained {
    let mut rows = vec![header(spec)];
    rows.extend_from_slice(history);
    trained(&rows)
}

#[test]
fn a_group_without_rows_or_specification_is_a_failure_row() {
    for rows in [vec![], weekdays_before(TODAY)] {
        let found = trained(&rows);
        assert_eq!(found.failure(), ("parameter", "no model specification"));
    }
    let spec = ModelSpec::of_family("naive");
    assert_eq!(trained_on(&spec, &[]).failure().0, "too_short");
    assert_eq!(
        trained_on(&spec, &[with_covariate(5, None, Some(1.0))])
            .failure()
            .0,
        "too_short"
    );
    assert_eq!(Forecast::all(&one_pass(&forecast(), &[])), []);
}

#[test]
fn what_cannot_be_understood_is_named() {
    let history = weekdays_before(TODAY);
    for (spec, class, message) in [
        ("magic", "parameter", "no model family `magic`"),
        (
            "{\"family\":\"magic\"}",
            "parameter",
            "no model family `magic`",
        ),
        ("{\"family\":", "parameter", "model specification: EOF"),
        (
            "{\"family\":\"naive\",\"colour\":1}",
            "parameter",
            "unknown field `colour`",
        ),
        (
            "{\"family\":\"naive\",\"params\":{\"x\":1}}",
            "parameter",
            "x",
        ),
    ] {
        let mut rows = vec![Row {
            spec: Some(spec.to_owned()),
            ..Row::default()
        }];
        rows.extend(history.clone());
        let found = trained(&rows);
        assert_eq!(found.failure().0, class, "{spec}");
        assert!(found.failure().1.contains(message), "{found:?}");
    }
}

#[test]
fn a_covariate_may_not_look_ahead() {
    for (field, value) in [("lag_days", -1), ("carry_days", -1)] {
        let mut spec = serde_json::to_value(ModelSpec::of_family("naive")).unwrap();
        spec[field] = json!(value);
        let mut rows = vec![Row {
            spec: Some(spec.to_string()),
            ..Row::default()
        }];
        rows.extend(weekdays_before(TODAY));
        let found = trained(&rows);
        assert_eq!(found.failure().0, "parameter");
        assert!(found.failure().1.contains(field), "{found:?}");
    }
}

#[test]
fn a_date_that_stands_twice_is_refused() {
    let mut history = weekdays_before(TODAY);
    history.push(observed(day("2023-06-01"), 1.0));
    let spec = ModelSpec::of_family("naive");
    let expected = ("duplicate_date", "2023-06-01 stands twice in the history");
    assert_eq!(trained_on(&spec, &history).failure(), expected);

    let state = state_of(&spec, &weekdays_before(TODAY - 100));
    let found = forecasts(&spec, &state, &history, &[TODAY, TODAY + 1]);
    assert_eq!(found.len(), 2);
    for forecast in found {
        assert_eq!(forecast.class.as_deref(), Some(expected.0));
        assert_eq!(forecast.message.as_deref(), Some(expected.1));
        assert_eq!((forecast.origin, forecast.cutoff), (None, None));
    }
}

#[test]
fn too_short_a_history_says_how_short() {
    let mut spec = ModelSpec::of_family("naive");
    spec.minimum_history_days = 730;
    let history = [observed(10, 1.0), observed(20, 2.0), observed(738, 3.0)];
    let found = trained_on(&spec, &history);
    assert_eq!(
        found.failure(),
        (
            "history",
            "729 calendar days of history from 1970-01-11, needs 730"
        )
    );
    spec.minimum_history_days = 729;
    assert_eq!(trained_on(&spec, &history).samples, Some(3));
    spec.minimum_history_days = 730;
    spec.calendar = almanac_forecasters::Calendar::Observed;
    assert_eq!(trained_on(&spec, &history).samples, Some(3));
}

#[test]
fn values_that_are_no_numbers_are_missing_or_refused() {
    let spec = ModelSpec::of_family("naive");
    let clean = weekdays_before(TODAY);
    let mut gaps = clean.clone();
    gaps[100].close = Some(f64::NAN);
    let mut holes = clean.clone();
    holes[100].close = None;
    assert_eq!(trained_on(&spec, &gaps), trained_on(&spec, &holes));
    let mut infinite = clean;
    infinite[100].close = Some(f64::INFINITY);
    assert_eq!(trained_on(&spec, &infinite).failure().0, "not_finite");
}

#[test]
fn a_panic_in_a_fit_is_that_units_failure() {
    let spec = drill(json!({"mode": "panic", "stage": "fit"}));
    let found = trained_on(&spec, &weekdays_before(TODAY));
    assert_eq!(
        found.failure(),
        ("panic", "drill: this panic was asked for")
    );
}

#[test]
fn a_panic_in_conditioning_fails_the_dates_behind_it_and_no_others() {
    let spec = drill(json!({"mode": "panic", "stage": "condition"}));
    let monday = day("2024-01-01");
    let history = weekdays_before(monday);
    let state = state_of(&spec, &history);
    let mut rows = history;
    rows.push(observed(monday, close(monday)));
    let wanted = [monday, monday + 1, monday + 2];
    let found = forecasts(&spec, &state, &rows, &wanted);
    let classes: Vec<_> = found.iter().map(|one| one.class.as_deref()).collect();
    assert_eq!(classes, [None, Some("panic"), Some("panic")]);
}

#[test]
fn a_forecast_without_a_usable_state_says_what_is_wrong_with_it() {
    let spec = ModelSpec::of_family("naive");
    let history = weekdays_before(TODAY);
    let mut rows = vec![Row {
        wanted: Some(vec![TODAY]),
        ..header(&spec)
    }];
    rows.extend(history.clone());
    let found = Forecast::all(&one_pass(&forecast(), &rows));
    assert_eq!(found[0].class.as_deref(), Some("no_model"));

    let good = state_of(&spec, &weekdays_before(TODAY - 30));
    let other = state_of(
        &ModelSpec::of_family("random_walk"),
        &weekdays_before(TODAY - 30),
    );
    for (state, class) in [
        ("", "state_corrupt"),
        (&good[..good.len() / 2], "state_corrupt"),
        (
            &good.replacen("\"format\":1", "\"format\":9", 1),
            "state_format",
        ),
        (&other, "state_model"),
    ] {
        let found = forecasts(&spec, state, &history, &[TODAY]);
        assert_eq!(found[0].class.as_deref(), Some(class), "{state}");
    }
}

/// The rows in one pass, and each as a partial state of its own.
fn trained_both_ways(rows: &[Row]) -> [Trained; 2] {
    let parts: Vec<_> = rows.iter().map(|row| vec![vec![row.clone()]]).collect();
    [one_pass(&train(), rows), in_parts(&train(), &parts)].map(|result| Trained::of(&result))
}

#[test]
fn two_specifications_in_one_group_are_its_failure() {
    let mut rows = vec![
        header(&ModelSpec::of_family("naive")),
        header(&ModelSpec::of_family("random_walk")),
    ];
    rows.extend(weekdays_before(TODAY));
    for trained in trained_both_ways(&rows) {
        let (class, message) = trained.failure();
        assert_eq!(class, "input");
        assert!(
            message.contains("two values of `spec`; group by it"),
            "{message}"
        );
    }
}

#[test]
fn covariates_that_do_not_fit_together_are_a_groups_failure() {
    let spec = header(&ModelSpec::of_family("naive"));
    let [one, none, two] = [Some(vec![Some(1.0)]), None, Some(vec![Some(1.0), None])];
    let pairs = [
        (&one, &none),
        (&none, &one),
        (&one, &two),
        (&two, &one),
        (&none, &two),
    ];
    for (first, second) in pairs {
        let row = |date, covariates: &Option<Vec<Option<f64>>>| Row {
            covariates: covariates.clone(),
            ..observed(date, 1.0)
        };
        let rows = [spec.clone(), row(1, first), row(2, second)];
        for trained in trained_both_ways(&rows) {
            let (class, message) = trained.failure();
            assert_eq!(class, "input");
            assert!(message.contains("covariates"), "{message}");
        }
    }
}

#[test]
fn two_lists_of_wanted_dates_in_one_group_fail_each_of_the_dates() {
    let spec = ModelSpec::of_family("naive");
    let state = state_of(&spec, &weekdays_before(TODAY - 30));
    let mut rows = vec![
        forecast_header(&spec, &state, &[TODAY, TODAY + 2], &[]),
        forecast_header(&spec, &state, &[TODAY + 1], &[]),
    ];
    rows.extend(weekdays_before(TODAY));
    let parts: Vec<_> = rows.iter().map(|row| vec![vec![row.clone()]]).collect();
    for result in [one_pass(&forecast(), &rows), in_parts(&forecast(), &parts)] {
        let found: Vec<_> = Forecast::all(&result)
            .into_iter()
            .map(|one| (one.start, one.class.unwrap(), one.origin))
            .collect();
        let failed = |day| (day, "input".to_owned(), None);
        assert_eq!(found, [TODAY, TODAY + 1, TODAY + 2].map(failed));
    }
}
