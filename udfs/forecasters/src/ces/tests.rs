use super::*;
use crate::{Digest, Forecaster, Rng, Streams, paths::check_moments};

const FORMS: [&str; 4] = ["none", "simple", "partial", "full"];

fn params(text: &str) -> Params {
    Params::parse(text).unwrap()
}

fn of_form(form: &str, season_length: usize) -> Params {
    params(&format!(
        r#"{{"form":"{form}","season_length":{season_length}}}"#
    ))
}

fn days(count: usize) -> Vec<i32> {
    (0..count as i32).collect()
}

fn try_learn(
    values: &[f64],
    params: &Params,
    start: Start<'_, Body>,
) -> Result<Learned<Body>, FitError> {
    let history = Series {
        dates: &days(values.len()),
        values,
        regressors: &[],
    };
    Ces::learn(history, params, start)
}

fn learn(values: &[f64], params: &Params) -> Learned<Body> {
    try_learn(values, params, Start::Cold).unwrap()
}

fn ahead(steps: usize) -> Ahead<'static> {
    Ahead {
        steps,
        dates: &[],
        regressors: &[],
    }
}

fn forecasts(body: &Body, steps: usize) -> Vec<f64> {
    Ces::expect(body.clone(), ahead(steps)).unwrap().point()
}

fn sum_of_squares(values: &[f64], predictions: &[f64]) -> f64 {
    let errors = values
        .iter()
        .zip(predictions)
        .map(|(y, p)| (y - p) * (y - p));
    errors.sum()
}

/// A growing level with a season and noise, from closed formulas.
fn sales(length: usize, season_length: usize) -> Vec<f64> {
    (0..length)
        .map(|t| {
            let time = t as f64;
            let angle = 2.0 * std::f64::consts::PI * time / season_length as f64;
            200.0 * crate::math::exp(0.003 * time)
                + 20.0 * libm::sin(angle)
                + 4.0 * libm::sin(0.9 * time * time)
                + 3.0 * libm::cos(0.13 * time * time + 1.0)
        })
        .collect()
}

fn walk(length: usize) -> Vec<f64> {
    let mut rng = Streams::new(&Digest::new()).path(7);
    let mut level = 100.0;
    let mut step = || {
        level += rng.normal();
        level
    };
    (0..length).map(|_| step()).collect()
}

#[derive(Deserialize)]
struct Golden {
    relative_tolerance: f64,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    form: Form,
    season_length: usize,
    values: Vec<f64>,
    weights: Vec<f64>,
    level: Option<[f64; 2]>,
    season: Vec<[f64; 2]>,
    predictions: Vec<f64>,
    sum_of_squares: f64,
    forecasts: Vec<f64>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../golden/ces.json")).unwrap()
}

fn near(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found / expected - 1.0).abs() < tolerance,
            "{found} {expected}"
        );
    }
}

#[test]
fn the_recursions_are_those_of_the_reference() {
    let golden = golden();
    for case in golden.cases {
        let mut body = Body {
            form: case.form,
            weights: case.weights,
            level: case.level,
            season: case.season,
            noise: Noise::gaussian(1.0),
        };
        let recent = Series {
            dates: &days(case.values.len()),
            values: &case.values,
            regressors: &[],
        };
        let mut predictions = vec![];
        Ces::advance(&mut body, recent, &mut |p| predictions.push(p)).unwrap();
        near(&predictions, &case.predictions, golden.relative_tolerance);
        let found = forecasts(&body, case.forecasts.len());
        near(&found, &case.forecasts, golden.relative_tolerance);
    }
}

/// Both backcast, but not from the same rough states, and the reference's simplex stops early and its
/// seasonal weights end at 0.01 and 1.5: so the fit has to be as good, and where no bound interferes
/// the forecasts have to be alike.
#[test]
fn fits_are_as_good_as_those_of_the_reference() {
    for case in golden().cases {
        let form = serde_json::to_string(&case.form).unwrap();
        let fitted = learn(
            &case.values,
            &of_form(form.trim_matches('"'), case.season_length),
        );
        let sum = sum_of_squares(&case.values, &fitted.predictions);
        assert!(sum < case.sum_of_squares, "{form}: {sum}");
        if case.form == Form::None {
            near(&forecasts(&fitted.body, 24), &case.forecasts, 2e-3);
        }
    }
}

#[test]
fn catching_up_equals_filtering_from_scratch() {
    let values = sales(140, 7);
    for form in FORMS {
        let fitted = learn(&values, &of_form(form, 7)).body;
        let model = fitted.model();
        let mut states = model.backcast::<0>(&values, 7);
        let mut scratch = fitted.clone();
        let more = sales(171, 7);
        let mut expected = vec![];
        model.filter(&mut states, &more, |forecast, _, _| expected.push(forecast));
        scratch.store(&states, more.len());
        let mut caught_up = fitted.clone();
        let recent = Series {
            dates: &days(31),
            values: &more[140..],
            regressors: &[],
        };
        let mut predictions = vec![];
        Ces::advance(&mut caught_up, recent, &mut |p| predictions.push(p)).unwrap();
        near(&predictions, &expected[140..], 1e-9);
        near(&forecasts(&caught_up, 15), &forecasts(&scratch, 15), 1e-9);
    }
}

/// The paths that the state equations give when their errors are these random numbers.
fn recursion(body: &Body, rng: &mut Rng, steps: usize) -> Vec<f64> {
    let model = body.model();
    let mut states = body.states();
    let season_length = states.season.len().max(1);
    (0..steps)
        .map(|step| {
            let error = body.noise.draw(rng);
            let place = step % season_length;
            let value = model.forecast(&states, place).0 + error;
            model.update(&mut states, place, error, &[]);
            value
        })
        .collect()
}

#[test]
fn paths_are_those_of_the_state_equations() {
    let values = sales(120, 5);
    for form in FORMS {
        for errors in ["gaussian", "student_t", "bootstrap"] {
            let params = params(&format!(
                r#"{{"form":"{form}","season_length":5,"errors":"{errors}"}}"#
            ));
            let body = learn(&values, &params).body;
            let streams = Streams::new(&Digest::new());
            let outlook = Ces::expect(body.clone(), ahead(17)).unwrap();
            let paths = outlook.simulate(17, 3, &streams);
            for path in 0..3 {
                let expected = recursion(&body, &mut streams.path(path as u64 + 1), 17);
                let found: Vec<f64> = (0..17).map(|step| paths.step(step)[path]).collect();
                near(&found, &expected, 1e-10);
            }
        }
    }
}

#[test]
fn moments_are_those_of_the_matrix_powers() {
    let (a, b, deviation) = (1.4, 1.03, 2.5);
    let body = Body {
        form: Form::None,
        weights: vec![a, b],
        level: Some([100.0, 60.0]),
        season: vec![],
        noise: Noise::gaussian(deviation),
    };
    // Means and effects by multiplying with the transition matrix [[1, b - 1], [1, 1 - a]].
    let next = |[l, c]: [f64; 2]| [l + (b - 1.0) * c, l + (1.0 - a) * c];
    let (mut state, mut effect) = ([100.0, 60.0], [a - b, a + b]);
    let (mut means, mut deviations, mut variance) = (vec![], vec![], 1.0f64);
    for _ in 0..12 {
        means.push(state[0]);
        deviations.push(deviation * variance.sqrt());
        state = next(state);
        variance += effect[0] * effect[0];
        effect = next(effect);
    }
    let outlook = Ces::expect(body, ahead(12)).unwrap();
    near(&outlook.point(), &means, 1e-13);
    let paths = outlook.simulate(12, 40_000, &Streams::new(&Digest::new()));
    check_moments(&paths, &means, &deviations);
}

#[test]
fn a_warm_start_finds_the_same_weights_in_fewer_passes() {
    let values = sales(200, 7);
    let task = |length: usize| Task {
        values: &values[..length],
        season_length: 7,
    };
    for form in Form::ALL {
        let before = task(190).estimate(form, None).unwrap();
        let cold = task(200).estimate(form, None).unwrap();
        let warm = task(200)
            .estimate(form, Some(before.model.weights))
            .unwrap();
        let ratio = warm.sum_of_squares / cold.sum_of_squares;
        assert!(ratio < 1.0 + 1e-4, "{form:?} {ratio}");
        assert!(
            2 * warm.passes < cold.passes,
            "{form:?} {} {}",
            warm.passes,
            cold.passes
        );
    }
}

#[test]
fn an_earlier_state_is_where_the_search_begins() {
    let values = sales(200, 7);
    let auto = params(r#"{"season_length":7}"#);
    let before = learn(&values[..180], &auto).body;
    let near_it = try_learn(&values, &auto, Start::Near(&before))
        .unwrap()
        .body;
    let cold = learn(&values, &auto).body;
    assert_eq!(near_it.form, cold.form);
    near(&forecasts(&near_it, 14), &forecasts(&cold, 14), 1e-3);
    // Where the season appears later, it is found from the level alone.
    let plain = learn(&values[..9], &auto).body;
    assert_eq!(plain.form, Form::None);
    let found = try_learn(&values, &auto, Start::Near(&plain)).unwrap();
    assert!(found.body.form.has_season());
    // To keep a form is to keep it even where another would be better.
    let plain = learn(&values[..180], &of_form("none", 7)).body;
    let kept = try_learn(&values, &auto, Start::Keep(&plain)).unwrap().body;
    assert_eq!(kept.form, Form::None);
    assert_ne!(kept.weights, plain.weights);
    // A history that is too short for the form kept is an error, not another form.
    let error = try_learn(&values[..9], &auto, Start::Keep(&before)).unwrap_err();
    assert_eq!(
        error,
        FitError::TooShort {
            needed: 14,
            found: 9
        }
    );
}

#[test]
fn a_state_with_another_season_is_no_place_to_begin() {
    let values = sales(200, 7);
    let before = learn(&values, &of_form("full", 5)).body;
    let after = try_learn(&values, &of_form("full", 7), Start::Near(&before)).unwrap();
    assert_eq!(after.body, learn(&values, &of_form("full", 7)).body);
}

#[test]
fn the_season_is_found_where_there_is_one() {
    let auto = params(r#"{"season_length":7}"#);
    assert_ne!(learn(&sales(200, 7), &auto).body.form, Form::None);
    assert_eq!(learn(&walk(200), &auto).body.form, Form::None);
    let fits = FORMS.map(|form| learn(&sales(200, 7), &of_form(form, 7)).aicc.unwrap());
    let least = fits.into_iter().fold(f64::INFINITY, f64::min);
    assert_eq!(learn(&sales(200, 7), &auto).aicc, Some(least));
}

#[test]
fn the_criterion_is_that_of_gaussian_errors() {
    let values: Vec<f64> = walk(80).iter().map(|value| value * 1e6).collect();
    let fitted = learn(&values, &Params::default());
    let variance = sum_of_squares(&values, &fitted.predictions) / 80.0;
    let likelihood: f64 = values
        .iter()
        .zip(&fitted.predictions)
        .map(|(y, p)| {
            -0.5 * (ln(2.0 * std::f64::consts::PI * variance) + (y - p) * (y - p) / variance)
        })
        .sum();
    // Two weights and a variance.
    let expected = -2.0 * likelihood + 6.0 + 2.0 * 3.0 * 4.0 / (80.0 - 4.0);
    assert!((fitted.aicc.unwrap() - expected).abs() < 1e-8);
}

#[test]
fn a_repeated_pattern_goes_on() {
    let pattern = [3.0, 9.0, 4.0, 6.0];
    let values: Vec<f64> = pattern.iter().copied().cycle().take(40).collect();
    let body = learn(&values, &params(r#"{"season_length":4}"#)).body;
    for (found, expected) in forecasts(&body, 12).iter().zip(pattern.iter().cycle()) {
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }
}

#[test]
fn weights_stay_within_the_stable_region() {
    for form in Form::ALL {
        for values in [sales(90, 6), walk(90)] {
            let task = Task {
                values: &values,
                season_length: 6,
            };
            let model = task.estimate(form, None).unwrap().model;
            let region = region::Region::new(form, 6, 90);
            assert!(region.is_stable(&model, 6), "{model:?}");
            assert_eq!(region.clamp(model.weights), model.weights);
        }
    }
}

#[test]
fn long_seasons_are_modelled() {
    let wave = |t: usize| {
        let angle = 2.0 * std::f64::consts::PI * t as f64 / 168.0;
        300.0 + 40.0 * libm::sin(angle) + 25.0 * libm::cos(7.0 * angle) + libm::sin((t * t) as f64)
    };
    let values: Vec<f64> = (0..1_000).map(wave).collect();
    let body = learn(&values, &params(r#"{"season_length":168}"#)).body;
    assert_eq!(body.season.len(), 168);
    let expected: Vec<f64> = (1_000..1_168).map(wave).collect();
    near(&forecasts(&body, 168), &expected, 0.02);
    // A season beyond all histories leaves the level.
    let params = params(r#"{"season_length":100000}"#);
    assert_eq!(learn(&values, &params).body.form, Form::None);
}

#[test]
fn short_and_awkward_histories_are_forecast() {
    let auto = params(r#"{"season_length":4}"#);
    for length in 3..30 {
        let values = sales(length, 4);
        let fitted = learn(&values, &auto);
        assert!(
            forecasts(&fitted.body, 8)
                .iter()
                .all(|f| f.is_finite() && f.abs() < 1e4)
        );
    }
    let mut outlier = walk(60);
    outlier[30] = 1e9;
    let mut shifted = walk(60);
    shifted[40..].iter_mut().for_each(|value| *value += 1e6);
    let zeros: Vec<f64> = (0..60)
        .map(|t| if t % 9 == 4 { 1.0 } else { 0.0 })
        .collect();
    let tiny: Vec<f64> = walk(60).iter().map(|value| value * 1e-310).collect();
    for values in [outlier, shifted, zeros, tiny] {
        for form in FORMS {
            let body = learn(&values, &of_form(form, 4)).body;
            assert!(Ces::check(&body).is_ok());
            assert!(forecasts(&body, 20).iter().all(|f| f.is_finite()));
        }
    }
}

#[test]
fn a_season_that_cannot_be_is_refused() {
    for text in [
        r#"{"form":"full"}"#,
        r#"{"form":"quarterly","season_length":4}"#,
        r#"{"season_length":0}"#,
    ] {
        assert_eq!(
            Ces.validate(&params(text)).unwrap_err().class(),
            "parameter"
        );
    }
    assert_eq!(Ces.minimum_observations(&of_form("full", 12)), Ok(24));
}
