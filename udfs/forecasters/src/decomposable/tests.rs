use super::{fit::Found, posterior::Posterior, settings::Residuals, setup::Setup, *};
use crate::{
    Digest, Fitted, Forecaster, Rng, Streams,
    calendar::us_exchange_holidays,
    date::{from_civil, weekday},
    paths::check_moments,
};

#[derive(Deserialize)]
struct Golden {
    loss_tolerance: f64,
    dates: Vec<Day>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    relative_tolerance: f64,
    parameters: serde_json::Map<String, serde_json::Value>,
    values: Vec<f64>,
    regressors: Vec<Vec<Option<f64>>>,
    ahead: Vec<Vec<f64>>,
    found: Reference,
}

#[derive(Deserialize)]
struct Reference {
    loss: f64,
    variance: f64,
    correlation: Option<f64>,
    changes: Option<Vec<f64>>,
    means: Vec<f64>,
}

#[derive(Deserialize)]
struct Prophet {
    cases: Vec<OfProphet>,
}

#[derive(Deserialize)]
struct OfProphet {
    case: usize,
    relative_tolerance: f64,
    means: Vec<f64>,
}

#[test]
fn with_independent_residuals_forecasts_are_those_of_prophet() {
    let golden: Golden =
        serde_json::from_str(include_str!("../../golden/decomposable.json")).unwrap();
    let prophet: Prophet = serde_json::from_str(include_str!("../../golden/prophet.json")).unwrap();
    assert_eq!(prophet.cases.len(), 3);
    for expected in prophet.cases {
        let case = &golden.cases[expected.case];
        let (dates, ahead) = golden.dates.split_at(case.values.len());
        let history = Series {
            dates,
            values: &case.values,
            regressors: &[],
        };
        let options = Params::from(case.parameters.clone());
        let body = learn(history, &options, Start::Cold).learned.body;
        let ahead = Ahead {
            steps: ahead.len(),
            dates: ahead,
            regressors: &[],
        };
        let point = Decomposable::expect(body, ahead).unwrap().point();
        assert_eq!(point.len(), expected.means.len());
        for (found, mean) in point.iter().zip(&expected.means) {
            let off = (found / mean - 1.0).abs();
            assert!(off < expected.relative_tolerance, "{found} {mean}");
        }
    }
}

fn learn(history: Series<'_>, params: &Params, start: Start<'_, Body>) -> Found {
    fit::fit(history, &Settings::read(params).unwrap(), start).unwrap()
}

#[test]
fn figures_agree_with_the_reference() {
    let golden: Golden =
        serde_json::from_str(include_str!("../../golden/decomposable.json")).unwrap();
    let near = |found: f64, expected: f64, tolerance: f64| {
        assert!(
            (found / expected - 1.0).abs() < tolerance,
            "{found} {expected}"
        );
    };
    for case in golden.cases {
        let regressors: Vec<Vec<f64>> = case
            .regressors
            .iter()
            .map(|column| {
                column
                    .iter()
                    .map(|value| value.unwrap_or(f64::NAN))
                    .collect()
            })
            .collect();
        let (dates, ahead) = golden.dates.split_at(case.values.len());
        let history = Series {
            dates,
            values: &case.values,
            regressors: &regressors,
        };
        let found = learn(history, &Params::from(case.parameters), Start::Cold);
        let body = found.learned.body;
        near(found.loss, case.found.loss, golden.loss_tolerance);
        near(body.variance, case.found.variance, case.relative_tolerance);
        let off = body.correlation - case.found.correlation.unwrap_or(0.0);
        assert!(off.abs() < case.relative_tolerance, "{off}");
        if let Some(changes) = &case.found.changes {
            // Bounds of the dual problem are met to a few digits less than ours.
            let large = |by: &f64| by.abs() > 1e-6;
            let expected: Vec<f64> = changes.iter().copied().filter(large).collect();
            let found = body.changes.iter().map(|change| change.by);
            let found: Vec<f64> = found.filter(large).collect();
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                let off = (found - expected).abs();
                assert!(off < 10.0 * case.relative_tolerance, "{found} {expected}");
            }
        }
        let ahead = Ahead {
            steps: ahead.len(),
            dates: ahead,
            regressors: &case.ahead,
        };
        let outlook = Decomposable::expect(body, ahead).unwrap();
        for (found, expected) in outlook.point().iter().zip(&case.found.means) {
            near(*found, *expected, case.relative_tolerance);
        }
    }
}

/// A series with all that the model knows.
struct Sample {
    dates: Vec<Day>,
    values: Vec<f64>,
    regressors: Vec<Vec<f64>>,
}

impl Sample {
    /// Weekdays from a Monday on, errors that pass the share `passed` on.
    fn new(length: usize, passed: f64) -> Sample {
        let mut rng = streams().path(7);
        let mut sample = Sample {
            dates: (0..length as Day)
                .map(|t| 18_267 + 7 * (t / 5) + t % 5)
                .collect(),
            values: vec![],
            regressors: vec![vec![]],
        };
        let mut residual = 0.0;
        for (t, day) in sample.dates.iter().enumerate() {
            let warm = rng.normal();
            residual = passed * residual + 0.5 * rng.normal();
            let year = 4.0 * crate::math::sin(std::f64::consts::TAU * f64::from(*day) / 365.25);
            let bend = 0.05 * (t as f64 - 400.0).max(0.0);
            let friday = if weekday(*day) == 4 { 1.5 } else { 0.0 };
            sample
                .values
                .push(60.0 + 0.02 * t as f64 - bend + year + friday + 0.8 * warm + residual);
            sample.regressors[0].push(warm);
        }
        sample
    }

    fn series(&self) -> Series<'_> {
        Series {
            dates: &self.dates,
            values: &self.values,
            regressors: &self.regressors,
        }
    }

    fn bare(&self) -> Series<'_> {
        Series {
            regressors: &[],
            ..self.series()
        }
    }
}

fn streams() -> Streams {
    Streams::new(&Digest::new())
}

fn params(text: &str) -> Params {
    Params::parse(text).unwrap()
}

const NOTHING: Ahead<'_> = Ahead {
    steps: 0,
    dates: &[],
    regressors: &[],
};

/// Modes by which everything below is tried.
const MODES: [&str; 7] = [
    "{}",
    r#"{"residuals":"independent"}"#,
    r#"{"residuals":"random_walk"}"#,
    r#"{"growth":"flat"}"#,
    r#"{"seasonality_mode":"multiplicative"}"#,
    r#"{"seasonality_mode":"multiplicative","residuals":"independent"}"#,
    r#"{"growth":"logistic","cap":200,"floor":0}"#,
];

#[test]
fn the_gradient_vanishes_where_a_fit_ends() {
    let sample = Sample::new(600, 0.6);
    for mode in MODES {
        let settings = Settings::read(&params(mode)).unwrap();
        let setup = Setup::of(sample.series(), &settings, &Start::Cold).unwrap();
        let (point, _, _) = fit::find(&setup, &Start::Cold).unwrap();
        let (coefficients, variance) = (&point.coefficients, point.variance);
        let linearised = fit::linearise(&setup.rows, setup.model, coefficients);
        let posterior = Posterior::new(&setup.rows, &setup.prior, &linearised);
        let gradient = posterior.half_gradient(coefficients, point.correlation);
        let precisions = &setup.prior.precisions;
        let free = precisions.len();
        // In units of the loss: half the squares over the variance, and the priors.
        for index in 0..free {
            let slope = gradient[index] / variance + precisions[index] * coefficients[index];
            assert!(slope.abs() < 2e-2, "{mode} {index}: {slope}");
        }
        let changes: Vec<f64> = gradient[free..]
            .iter()
            .map(|slope| slope / variance)
            .collect();
        let off = lasso::violation(&changes, &coefficients[free..], 1.0 / settings.change_scale);
        assert!(off < 2e-3, "{mode}: {off}");
    }
}

#[test]
fn what_was_put_in_is_found() {
    let sample = Sample::new(800, 0.0);
    let options = params(r#"{"residuals":"independent","changepoint_prior_scale":0.5}"#);
    let body = learn(sample.series(), &options, Start::Cold).learned.body;
    let scale = body.unit.scale;
    // The covariate, in its own unit.
    let term = body.features.regressors[0];
    let effect = body.effects[body.effects.len() - 1] * scale / term.scale;
    assert!((effect - 0.8).abs() < 0.06, "{effect}");
    // Friday against Monday.
    let at = |day: Day| {
        let mut columns = vec![0.0; body.features.count()];
        body.features
            .fill(day, 0, |_| Some(term.center), &mut columns);
        body.effect(&columns) * scale
    };
    let (monday, year) = (from_civil(2021, 6, 7), 365);
    assert!((at(monday + 4) - at(monday) - 1.5).abs() < 0.3);
    // The year: its highest days against its lowest, averaged over weekdays.
    let week = |first: Day| (0..5).map(|day| at(first + day)).sum::<f64>() / 5.0;
    let wave = week(18_628 + year / 4) - week(18_628 + 3 * year / 4);
    assert!((wave - 8.0).abs() < 1.0, "{wave}");
    // The slope at the end, per observation: 0.02 - 0.05.
    let slope = body.slope + body.changes.iter().map(|change| change.by).sum::<f64>();
    let slope = slope * scale / 800.0;
    assert!((slope + 0.03).abs() < 0.004, "{slope}");
    assert!((body.noise.deviation() - 0.5).abs() < 0.05);
}

#[test]
fn the_correlation_put_in_is_found() {
    for passed in [0.0, 0.5, 0.9] {
        let sample = Sample::new(1_500, passed);
        let options = params(r#"{"changepoint_prior_scale":0.5}"#);
        let body = learn(sample.series(), &options, Start::Cold).learned.body;
        assert!(
            (body.correlation - passed).abs() < 0.08,
            "{}",
            body.correlation
        );
        assert!((body.noise.deviation() - 0.5).abs() < 0.03);
    }
}

#[test]
fn a_random_walk_is_taken_for_one() {
    let mut rng = streams().path(3);
    let dates: Vec<Day> = (0..1_000).map(|t| 18_267 + 7 * (t / 5) + t % 5).collect();
    let mut level = 100.0;
    let values: Vec<f64> = dates
        .iter()
        .map(|_| {
            level += rng.normal();
            level
        })
        .collect();
    let history = Series {
        dates: &dates,
        values: &values,
        regressors: &[],
    };
    let body = learn(history, &Params::default(), Start::Cold).learned.body;
    assert!(body.correlation > 0.99, "{}", body.correlation);
    let ahead = Ahead {
        steps: 1,
        ..NOTHING
    };
    let next = Decomposable::expect(body, ahead).unwrap().point()[0];
    assert!((next - level).abs() < 1.5, "{next} {level}");
}

#[test]
fn advancing_is_filtering_from_scratch() {
    let sample = Sample::new(700, 0.7);
    for mode in MODES {
        let whole = learn(sample.series(), &params(mode), Start::Cold).learned;
        // The same model as it was after the first 600 observations.
        let mut body = whole.body.clone();
        let first = sample.series().part(0..600);
        let settled = Clock {
            newest: sample.dates[599],
            observations: 600,
            ..body.clock
        };
        body.clock = settled;
        let mut columns = vec![0.0; body.features.count()];
        body.features.fill(
            sample.dates[599],
            599,
            |_| Some(sample.regressors[0][599]),
            &mut columns,
        );
        let mean = body
            .track()
            .mean(body.clock.time(sample.dates[599]), body.effect(&columns));
        body.residual = body.in_units(first.values[599]) - mean;
        let rest = sample.series().part(600..700);
        let mut predictions = vec![];
        Decomposable::advance(&mut body, rest.series(), &mut |next| predictions.push(next))
            .unwrap();
        for (found, expected) in predictions.iter().zip(&whole.predictions[600..]) {
            assert!(
                (found / expected - 1.0).abs() < 1e-9,
                "{mode} {found} {expected}"
            );
        }
        assert!((body.residual - whole.body.residual).abs() < 1e-9);
        assert_eq!(body.clock, whole.body.clock);
    }
}

#[test]
fn a_forecast_starts_at_the_newest_value() {
    let sample = Sample::new(600, 0.0);
    let options = params(r#"{"residuals":"random_walk","yearly_order":0,"weekly_order":0}"#);
    let fitted = Decomposable.fit(sample.bare(), &options, None).unwrap();
    let recent = Series {
        dates: &[sample.dates[599] + 3],
        values: &[500.0],
        regressors: &[],
    };
    let state = Decomposable.condition(&fitted.state, recent).unwrap();
    let ahead = Ahead {
        steps: 1,
        ..NOTHING
    };
    let next = Decomposable.outlook(&state, ahead).unwrap().point()[0];
    assert!((next - 500.0).abs() < 1.0, "{next}");
}

#[test]
fn simulated_moments_are_those_of_trend_changes_and_errors() {
    let sample = Sample::new(600, 0.7);
    let options = params(r#"{"changepoint_prior_scale":0.5}"#);
    let body = learn(sample.bare(), &options, Start::Cold).learned.body;
    assert!(body.change_scale > 0.0);
    let dates: Vec<Day> = (1..=40).map(|step| body.clock.newest + 7 * step).collect();
    let ahead = Ahead {
        steps: dates.len(),
        dates: &dates,
        regressors: &[],
    };
    let (newest, phi) = (body.clock.time(body.clock.newest), body.correlation);
    let (scale, error) = (body.unit.scale, body.noise.deviation());
    // A change of variance 2 b² at u adds 2 b² (h − u)²; at a rate they come to rate 2 b² h³ / 3.
    let deviations: Vec<f64> = (0..40)
        .map(|step| {
            let passed = body.clock.time(dates[step]) - newest;
            let size = body.change_scale * scale;
            let bent =
                body.change_points as f64 * 2.0 * size * size * passed * passed * passed / 3.0;
            let errors: f64 = (0..=step)
                .map(|lag| crate::math::exp(2.0 * lag as f64 * crate::math::ln(phi)))
                .sum();
            (bent + error * error * errors).sqrt()
        })
        .collect();
    let outlook = Decomposable::expect(body, ahead).unwrap();
    let paths = outlook.simulate(40, 20_000, &streams());
    let means = outlook.point();
    // The slope changes have heavy tails, so the deviation is held to less than five of the normal's
    // standard errors allow.
    for (step, deviation) in deviations.iter().enumerate() {
        let values = paths.step(step);
        let off = (crate::moments::mean(values) - means[step]) / deviation * 20_000f64.sqrt();
        assert!(off.abs() < 5.0, "{step}: {off}");
        let ratio = crate::moments::deviation(values) / deviation;
        assert!((ratio - 1.0).abs() < 0.06, "{step}: {ratio}");
    }
    check_moments(&short(&paths, 1), &means[..1], &deviations[..1]);
    assert!(deviations[39] > 1.5 * deviations[5]);
}

fn short(paths: &crate::Paths, steps: usize) -> crate::Paths {
    crate::Paths {
        steps,
        count: paths.count,
        values: paths.values[..steps * paths.count].to_vec(),
    }
}

#[test]
fn a_warm_start_finds_the_same_with_fewer_equations() {
    let sample = Sample::new(800, 0.7);
    let earlier = sample.series().part(0..760);
    for mode in MODES {
        let options = params(mode);
        let before = learn(earlier.series(), &options, Start::Cold).learned.body;
        let cold = learn(sample.series(), &options, Start::Cold);
        let ahead = Ahead {
            steps: 10,
            dates: &[],
            regressors: &[vec![0.1; 10]],
        };
        let forecast = |found: &Found| {
            Decomposable::expect(found.learned.body.clone(), ahead)
                .unwrap()
                .point()
        };
        for start in [Start::Near(&before), Start::Keep(&before)] {
            let warm = learn(sample.series(), &options, start);
            for (warm, cold) in forecast(&warm).iter().zip(forecast(&cold)) {
                assert!((warm / cold - 1.0).abs() < 1e-6, "{mode} {warm} {cold}");
            }
            // A search for the variance alone is short from anywhere.
            let short = cold.calls <= 6 && warm.calls <= cold.calls;
            assert!(
                short || warm.calls < cold.calls,
                "{mode}: {} {}",
                warm.calls,
                cold.calls
            );
        }
    }
}

#[test]
fn a_kept_form_keeps_its_seasons_on_a_shorter_history() {
    let sample = Sample::new(600, 0.5);
    let whole = learn(sample.bare(), &Params::default(), Start::Cold)
        .learned
        .body;
    assert_eq!((whole.features.yearly, whole.features.weekly), (10, 2));
    let shorter = sample.bare().part(0..480);
    let chosen = learn(shorter.series(), &Params::default(), Start::Near(&whole))
        .learned
        .body;
    assert_eq!(chosen.features.yearly, 0);
    let kept = learn(shorter.series(), &Params::default(), Start::Keep(&whole))
        .learned
        .body;
    assert_eq!(kept.features, whole.features);
}

#[test]
fn seasons_are_left_out_where_dates_leave_no_room() {
    let features = |dates: &[Day], options: &str| {
        let values: Vec<f64> = (0..dates.len()).map(|t| (t * t % 7) as f64).collect();
        let history = Series {
            dates,
            values: &values,
            regressors: &[],
        };
        learn(history, &params(options), Start::Cold)
            .learned
            .body
            .features
    };
    let monthly: Vec<Day> = (0..60)
        .map(|t| from_civil(2010 + t / 12, 1 + t as u32 % 12, 1))
        .collect();
    let found = features(&monthly, r#"{"season_length":12}"#);
    assert_eq!((found.yearly, found.weekly, found.season), (6, 0, None));
    let found = features(&monthly, r#"{"season_length":4,"yearly_order":0}"#);
    assert_eq!((found.yearly, found.season), (0, Some((4, 2))));
    assert_eq!(features(&monthly[..24], "{}").yearly, 0);
    let weekly: Vec<Day> = (0..200).map(|t| 7 * t).collect();
    let found = features(&weekly, "{}");
    assert_eq!((found.yearly, found.weekly), (10, 0));
    let daily: Vec<Day> = (0..100).collect();
    let found = features(&daily, r#"{"season_length":7}"#);
    assert_eq!((found.yearly, found.weekly, found.season), (0, 3, None));
    assert_eq!(features(&daily[..14], "{}").weekly, 0);
}

#[test]
fn holidays_have_effects_of_their_own() {
    let mut rng = streams().path(5);
    let first = from_civil(2018, 1, 1);
    let holidays = us_exchange_holidays(2018, 2024);
    let dates: Vec<Day> = (first..first + 2_500).collect();
    let values: Vec<f64> = dates
        .iter()
        .map(|day| {
            let christmas =
                holidays.binary_search(day).is_ok() && crate::date::to_civil(*day).1 == 12;
            50.0 + if christmas { 6.0 } else { 0.0 } + 0.3 * rng.normal()
        })
        .collect();
    let history = Series {
        dates: &dates,
        values: &values,
        regressors: &[],
    };
    let options = params(r#"{"holidays":"us","holiday_window":[1,0],"yearly_order":0}"#);
    let body = learn(history, &options, Start::Cold).learned.body;
    let day = from_civil(2025, 12, 25);
    let ahead = Ahead {
        steps: 4,
        dates: &[day - 2, day - 1, day, day + 1],
        regressors: &[],
    };
    let point = Decomposable::expect(body, ahead).unwrap().point();
    assert!((point[2] - point[0] - 6.0).abs() < 0.6, "{point:?}");
    assert!((point[1] - point[0]).abs() < 0.6 && (point[3] - point[0]).abs() < 0.6);
}

#[test]
fn logistic_growth_levels_off_at_its_cap() {
    let mut rng = streams().path(9);
    let dates: Vec<Day> = (0..500).collect();
    let values: Vec<f64> = dates
        .iter()
        .map(|day| {
            20.0 + 60.0 / (1.0 + crate::math::exp(4.0 - f64::from(*day) / 60.0))
                + 0.5 * rng.normal()
        })
        .collect();
    let history = Series {
        dates: &dates[..300],
        values: &values[..300],
        regressors: &[],
    };
    let options = params(r#"{"growth":"logistic","cap":80,"floor":20,"weekly_order":0}"#);
    let body = learn(history, &options, Start::Cold).learned.body;
    let ahead = Ahead {
        steps: 200,
        dates: &dates[300..],
        regressors: &[],
    };
    let outlook = Decomposable::expect(body, ahead).unwrap();
    for (found, expected) in outlook.point().iter().zip(&values[300..]) {
        assert!((found - expected).abs() < 2.5, "{found} {expected}");
    }
    let error = Settings::read(&params(r#"{"growth":"logistic","cap":3,"floor":3}"#)).unwrap_err();
    assert_eq!(error.class(), "parameter");
}

#[test]
fn missing_regressors_leave_rows_out_and_are_named_ahead() {
    let mut sample = Sample::new(300, 0.5);
    let complete = learn(sample.series(), &Params::default(), Start::Cold).learned;
    for row in (3..300).step_by(11) {
        sample.regressors[0][row] = f64::NAN;
    }
    let fitted = Decomposable
        .fit(sample.series(), &Params::default(), None)
        .unwrap();
    for (row, prediction) in fitted.predictions.iter().enumerate() {
        assert_eq!(prediction.is_nan(), row == 0 || row % 11 == 3, "{row}");
    }
    let body = learn(sample.series(), &Params::default(), Start::Cold)
        .learned
        .body;
    let last = |body: &Body| body.effects[body.effects.len() - 1];
    assert!((last(&body) / last(&complete.body) - 1.0).abs() < 0.1);

    let outlook = |regressors: &[Vec<f64>]| {
        let ahead = Ahead {
            steps: 2,
            dates: &[],
            regressors,
        };
        Decomposable
            .outlook(&fitted.state, ahead)
            .map(|outlook| outlook.point())
    };
    assert!(outlook(&[vec![1.0; 2]]).is_ok());
    let missing = |step| Err(StateError::MissingRegressor { index: 0, step });
    assert_eq!(outlook(&[]), missing(1));
    assert_eq!(outlook(&[vec![1.0, f64::NAN]]), missing(2));
    assert_eq!(
        outlook(&[vec![1.0; 2], vec![1.0; 2]]),
        Err(StateError::SurplusRegressors {
            needed: 1,
            found: 2
        })
    );

    let mut hardly = Sample::new(300, 0.5);
    hardly.regressors[0][2..].fill(f64::NAN);
    hardly.regressors.push(vec![f64::NAN; 300]);
    hardly.regressors[1][7..10].copy_from_slice(&[1.0, 2.0, 0.0]);
    let error = Decomposable
        .fit(hardly.series(), &Params::default(), None)
        .unwrap_err();
    assert_eq!(
        error,
        FitError::MissingRegressor {
            index: 0,
            date: hardly.dates[2]
        }
    );
}

#[test]
fn awkward_series_give_a_finite_forecast_or_a_named_error() {
    let mut rng = streams().path(11);
    let makers: [fn(usize, &mut Rng) -> f64; 9] = [
        |t, _| if t == 40 { 1e9 } else { 3.0 + (t % 7) as f64 },
        |t, _| if t < 50 { 1.0 } else { 1e6 },
        |t, _| 5.0 + 0.25 * t as f64,
        |t, _| (t % 2) as f64,
        |t, rng| 1e-12 * (5.0 + rng.normal() + 0.01 * t as f64),
        |t, rng| 1e12 * (5.0 + rng.normal() - 0.01 * t as f64),
        |_, rng| rng.normal(),
        |t, _| if t == 0 { 1.0 } else { 0.0 },
        |_, rng| 1e9 + rng.normal(),
    ];
    for make in makers {
        for length in [2, 3, 4, 5, 8, 9, 10, 11, 13, 20, 30, 61, 120, 900] {
            let dates: Vec<Day> = (0..length as Day).collect();
            let values: Vec<f64> = (0..length).map(|t| make(t, &mut rng)).collect();
            let history = Series {
                dates: &dates,
                values: &values,
                regressors: &[],
            };
            for mode in MODES {
                let fitted = match Decomposable.fit(history, &params(mode), None) {
                    Ok(fitted) => fitted,
                    Err(error) => panic!("{mode} {length} {}: {error}", values[0]),
                };
                check_finite(&fitted, mode);
            }
        }
    }
}

fn check_finite(fitted: &Fitted, mode: &str) {
    let ahead = Ahead {
        steps: 30,
        ..NOTHING
    };
    let outlook = Decomposable.outlook(&fitted.state, ahead).unwrap();
    let paths = outlook.simulate(30, 5, &streams());
    let all = outlook.point().into_iter().chain(paths.values);
    assert!(
        all.into_iter().all(f64::is_finite),
        "{mode} {}",
        fitted.state.as_str()
    );
}

#[test]
fn a_straight_line_goes_on_straight() {
    let dates: Vec<Day> = (0..200).collect();
    let values: Vec<f64> = dates
        .iter()
        .map(|day| 3.0 + 0.5 * f64::from(*day))
        .collect();
    let history = Series {
        dates: &dates,
        values: &values,
        regressors: &[],
    };
    for mode in &MODES[..3] {
        let body = learn(history, &params(mode), Start::Cold).learned.body;
        let ahead = Ahead {
            steps: 30,
            ..NOTHING
        };
        let point = Decomposable::expect(body, ahead).unwrap().point();
        for (step, found) in point.iter().enumerate() {
            let expected = 103.0 + 0.5 * step as f64;
            assert!((found - expected).abs() < 0.01, "{mode} {found} {expected}");
        }
    }
}

#[test]
fn coming_dates_that_are_not_given_fall_on_weekdays_seen() {
    let sample = Sample::new(100, 0.5);
    let body = learn(sample.bare(), &Params::default(), Start::Cold)
        .learned
        .body;
    let friday = sample.dates[99];
    assert_eq!(weekday(friday), 4);
    let ahead = Ahead {
        steps: 6,
        dates: &[friday + 3],
        regressors: &[],
    };
    let expected: Vec<Day> = [3, 4, 5, 6, 7, 10]
        .iter()
        .map(|after| friday + after)
        .collect();
    assert_eq!(body.clock.dates(ahead), expected);
}

#[test]
fn below_ten_observations_the_newest_value_is_forecast() {
    let values = [4.0, 9.0, 2.0];
    let history = Series {
        dates: &[1, 2, 3],
        values: &values,
        regressors: &[],
    };
    let body = learn(history, &Params::default(), Start::Cold).learned.body;
    let ahead = Ahead {
        steps: 2,
        ..NOTHING
    };
    for found in Decomposable::expect(body, ahead).unwrap().point() {
        assert!((found - 2.0).abs() < 1e-9, "{found}");
    }
    assert_eq!(
        Settings::read(&Params::default()).unwrap().residuals,
        Residuals::Autoregressive
    );
}
