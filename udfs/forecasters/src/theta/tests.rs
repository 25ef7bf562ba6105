use super::*;
use crate::{Digest, Forecaster, Streams, paths::check_moments};

const FORMS: [Form; 4] = [
    Form::Standard,
    Form::Optimized,
    Form::Dynamic,
    Form::DynamicOptimized,
];

/// A wandering level with a trend and a slow wave; no two steps alike.
fn prices(length: usize) -> Vec<f64> {
    let value = |t: f64| {
        180.0 + 25.0 * sin(t / 37.0) + 4.0 * sin(t / 3.1) + 3.0 * sin(t * t / 11.0) + 0.3 * t
    };
    (0..length).map(|index| value(index as f64)).collect()
}

/// The same with a season that multiplies.
fn seasonal(length: usize, season_length: usize) -> Vec<f64> {
    let factor =
        |index: usize| 1.0 + 0.4 * ((index % season_length) as f64 / season_length as f64 - 0.5);
    let values = prices(length).into_iter().enumerate();
    values.map(|(index, value)| value * factor(index)).collect()
}

fn sin(value: f64) -> f64 {
    libm::sin(value)
}

fn params(text: &str) -> Params {
    Params::parse(text).unwrap()
}

fn learn(values: &[f64], text: &str, start: Start<'_, Body>) -> Result<Learned<Body>, FitError> {
    let dates: Vec<i32> = (0..values.len() as i32).collect();
    let history = Series {
        dates: &dates,
        values,
        regressors: &[],
    };
    Theta::learn(history, &params(text), start)
}

fn fit(values: &[f64], text: &str) -> Learned<Body> {
    learn(values, text, Start::Cold).unwrap()
}

fn advance(body: &mut Body, values: &[f64]) -> Vec<f64> {
    let dates: Vec<i32> = (0..values.len() as i32).collect();
    let recent = Series {
        dates: &dates,
        values,
        regressors: &[],
    };
    let mut predictions = vec![];
    Theta::advance(body, recent, &mut |predicted| predictions.push(predicted)).unwrap();
    predictions
}

fn outlook(body: &Body, steps: usize) -> outlook::Theta {
    outlook::Theta::new(body.model, body.season.as_ref(), body.noise.clone(), steps)
}

fn shifted(values: &[f64]) -> Vec<f64> {
    values.iter().map(|value| value - values[0]).collect()
}

fn text(form: Form) -> String {
    format!("{{\"form\":{}}}", serde_json::to_string(&form).unwrap())
}

#[test]
fn the_moving_line_is_the_least_squares_line_over_what_was_seen() {
    let values = shifted(&prices(40));
    let mut line = Line::MOVING;
    for (index, value) in values.iter().enumerate() {
        line.take_in(*value);
        let count = index as f64 + 1.0;
        let (center, mean) = ((count + 1.0) / 2.0, crate::moments::mean(&values[..=index]));
        let times = (1..=index + 1).map(|time| time as f64 - center);
        let product: f64 = times
            .clone()
            .zip(&values)
            .map(|(t, y)| t * (y - mean))
            .sum();
        let square: f64 = times.map(|t| t * t).sum();
        let slope = if index == 0 { 0.0 } else { product / square };
        let (found_intercept, found_slope) = line.coefficients();
        assert!(
            (found_slope - slope).abs() < 1e-12 * slope.abs().max(1.0),
            "{index}"
        );
        let intercept = mean - center * slope;
        assert!((found_intercept - intercept).abs() < 1e-11, "{index}");
    }
}

#[test]
fn three_values_worked_by_hand() {
    // From the origin 10: 0, 2, 6. alpha = weight = 1/2, first level 0, no line yet.
    let values = [0.0, 2.0, 6.0];
    let found = Problem::new(&values, Line::MOVING, Some(0.5)).found(0.5, 0.0, 0.5, 1);
    // Predictions: 0; then 0, as the line is level; then level 1 and half of
    // A_2 / 4 + 7/4 B_2 with B_2 = 2, A_2 = -2: 1 + (3.5 - 0.5) / 2 = 2.5.
    assert_eq!(found.loss, 4.0 + 3.5 * 3.5);
    let mut model = found.model;
    values.iter().for_each(|value| model.take_in(*value));
    // Level (1 + 6) / 2; B_3 = 3, A_3 = 8/3 - 6; decay 1/8, gain 2 - 1/8.
    let expected = 3.5 + 0.5 * ((8.0 / 3.0 - 6.0) / 8.0 + 1.875 * 3.0);
    assert!((model.next() - expected).abs() < 1e-14);
    // A fixed line through them: slope 3, at time 1 at -1/3.
    let line = Line::fixed(&values);
    let (intercept, slope) = line.coefficients();
    assert!((slope - 3.0).abs() < 1e-14 && (intercept + 10.0 / 3.0).abs() < 1e-14);
}

#[test]
fn the_standard_form_is_exponential_smoothing_with_half_the_slope_as_drift() {
    // Hyndman and Billah, equation 5: far from the beginning the drift is half the slope, on
    // top of a level that lags by 1 / alpha.
    let values = prices(300);
    let body = fit(&values, r#"{"form":"standard"}"#).body;
    let (_, slope) = body.model.line.coefficients();
    let point = outlook(&body, 6).point();
    let mut level = values[0];
    for value in &values {
        level += body.model.alpha * (value - level);
    }
    for (step, value) in point.iter().enumerate() {
        let expected = level + 0.5 * slope * (step as f64 + 1.0 / body.model.alpha);
        assert!((value - expected).abs() < 1e-9, "{step}");
    }
}

#[test]
fn no_other_parameters_have_a_smaller_loss() {
    let mut rng = Streams::new(&Digest::new()).path(1);
    for values in [
        prices(15),
        prices(90),
        prices(90)
            .into_iter()
            .map(|v| v + 8.0 * rng.normal())
            .collect(),
    ] {
        let values = shifted(&values);
        for form in FORMS {
            let best = form.fit(&values, None);
            let line = best.model.line;
            let problem = Problem::new(&values, line, form.weight());
            let mut least = f64::INFINITY;
            for step in 0..=890 {
                least = least.min(problem.at(0.1 + 0.001 * f64::from(step), 0).loss);
            }
            assert!(
                best.loss <= least * (1.0 + 1e-9),
                "{form:?} {} {least}",
                best.loss
            );
            for _ in 0..500 {
                let mut near = |value: f64, size: f64| value + size * (rng.uniform() - 0.5);
                let alpha = near(best.model.alpha, 0.02).clamp(0.1, 0.99);
                let level = near(best.model.level, 0.5);
                let weight = form
                    .weight()
                    .unwrap_or_else(|| near(best.model.weight, 0.1).clamp(0.0, 1.0));
                let other = problem.found(alpha, level, weight, 1);
                assert!(best.loss <= other.loss * (1.0 + 1e-7), "{form:?}");
            }
        }
    }
}

#[test]
fn advancing_is_filtering_from_the_beginning() {
    let values = prices(180);
    for form in FORMS {
        let mut body = fit(&values[..120], &text(form)).body;
        let mut model = form.fit(&shifted(&values[..120]), None).model;
        model.origin = values[0];
        let scratch: Vec<f64> = values
            .iter()
            .map(|value| {
                let predicted = model.next();
                model.take_in(*value);
                predicted
            })
            .collect();
        let predictions = advance(&mut body, &values[120..]);
        for (found, expected) in predictions.iter().zip(&scratch[120..]) {
            assert!((found / expected - 1.0).abs() < 1e-9, "{form:?}");
        }
        assert!(
            (body.model.next() / model.next() - 1.0).abs() < 1e-9,
            "{form:?}"
        );
    }
}

#[test]
fn a_season_goes_on_where_the_history_ended() {
    let values = seasonal(130, 12);
    for cut in [100, 103, 108] {
        let text = r#"{"form":"dynamic_optimized","season_length":12}"#;
        let learned = fit(&values[..cut], text);
        let season = learned.body.season.clone().unwrap();
        assert_eq!(season.kind, Kind::Multiplicative);
        let mut body = learned.body;
        let predictions = advance(&mut body, &values[cut..]);
        for (predicted, value) in predictions.iter().zip(&values[cut..]) {
            assert!(
                (predicted / value - 1.0).abs() < 0.06,
                "{cut} {predicted} {value}"
            );
        }
        assert_eq!(body.season.unwrap().ahead(0), season.ahead(130 - cut));
    }
}

#[test]
fn in_sample_predictions_and_deviation_are_those_of_the_recursion() {
    let values = prices(60);
    for form in FORMS {
        let learned = fit(&values, &text(form));
        let squares: f64 = learned
            .predictions
            .iter()
            .zip(&values)
            .map(|(predicted, value)| (predicted - value).powi(2))
            .sum();
        let found = form.fit(&shifted(&values), None);
        assert!((squares / found.loss - 1.0).abs() < 1e-9, "{form:?}");
        let parameters = [4, 5, 2, 3][FORMS.iter().position(|f| *f == form).unwrap()];
        let deviation = (squares / (60.0 - f64::from(parameters))).sqrt();
        assert!((learned.body.noise.deviation() / deviation - 1.0).abs() < 1e-9);
    }
}

#[test]
fn the_criterion_moves_with_the_unit_only() {
    let values = seasonal(120, 12);
    let text = r#"{"season_length":12}"#;
    let unit = fit(&values, text).aicc.unwrap();
    let cents: Vec<f64> = values.iter().map(|value| 100.0 * value).collect();
    let moved = fit(&cents, text).aicc.unwrap() - unit;
    assert!((moved - 240.0 * ln(100.0)).abs() < 1e-6, "{moved}");
    // Without a season: n ln(2 pi e s / n) + 2 k n / (n - k - 1), deviation counted.
    let values = prices(60);
    let learned = fit(&values, r#"{"form":"optimized"}"#);
    let squares = 55.0 * learned.body.noise.deviation().powi(2);
    let expected = 60.0 * (ln(2.0 * std::f64::consts::PI * squares / 60.0) + 1.0) + 720.0 / 53.0;
    assert!((learned.aicc.unwrap() - expected).abs() < 1e-6);
}

#[test]
fn auto_is_the_better_of_the_optimised_forms() {
    for values in [prices(40), prices(200), seasonal(120, 12)] {
        let season = |form: &str| format!(r#"{{"form":"{form}","season_length":12}}"#);
        let aicc = |form: &str| fit(&values, &season(form)).aicc.unwrap();
        let least = aicc("optimized").min(aicc("dynamic_optimized"));
        assert_eq!(aicc("auto"), least);
    }
}

#[test]
fn a_warm_search_ends_where_a_cold_one_does_and_sooner() {
    let values = shifted(&prices(200));
    for form in FORMS {
        let earlier = form.fit(&values[..180], None);
        let cold = form.fit(&values, None);
        let warm = form.fit(&values, Some(earlier.model.alpha));
        assert!((warm.loss / cold.loss - 1.0).abs() < 1e-9, "{form:?}");
        assert!(
            (warm.model.alpha - cold.model.alpha).abs() < 1e-4,
            "{form:?}"
        );
        assert!(
            warm.calls < cold.calls,
            "{form:?} {} {}",
            warm.calls,
            cold.calls
        );
        // A guess that is far off costs time and nothing else.
        let lost = form.fit(&values, Some(0.15));
        assert!((lost.loss / cold.loss - 1.0).abs() < 1e-9, "{form:?}");
    }
}

#[test]
fn a_kept_model_keeps_its_form_and_season() {
    let values = seasonal(120, 12);
    let text = r#"{"season_length":12}"#;
    for form in FORMS {
        let mut whole = fit(&values, text).body;
        whole.form = form;
        let kept = learn(&values[..90], text, Start::Keep(&whole))
            .unwrap()
            .body;
        assert_eq!(kept.form, form);
        assert_eq!(kept.season.unwrap().kind, Kind::Multiplicative);
        assert_eq!(
            form.is_dynamic(),
            matches!(kept.model.line, Line::Moving { .. })
        );
        whole.season = None;
        let kept = learn(&values[..90], text, Start::Keep(&whole))
            .unwrap()
            .body;
        assert!(kept.season.is_none());
    }
    let near = learn(&values, text, Start::Near(&fit(&values[..100], text).body)).unwrap();
    let cold = fit(&values, text);
    assert_eq!(near.body.form, cold.body.form);
    let (near, cold) = (
        outlook(&near.body, 9).point(),
        outlook(&cold.body, 9).point(),
    );
    for (near, cold) in near.iter().zip(&cold) {
        assert!((near / cold - 1.0).abs() < 1e-4);
    }
}

#[test]
fn the_kind_of_season_follows_the_values() {
    let positive = seasonal(96, 12);
    let negative: Vec<f64> = positive.iter().map(|value| value - 300.0).collect();
    let kind = |values: &[f64], decomposition: &str| {
        let text = format!(r#"{{"season_length":12,"decomposition":"{decomposition}"}}"#);
        let season = learn(values, &text, Start::Cold).map(|learned| learned.body.season);
        season.map(|season| season.map(|season| season.kind))
    };
    assert_eq!(kind(&positive, "auto"), Ok(Some(Kind::Multiplicative)));
    assert_eq!(kind(&positive, "additive"), Ok(Some(Kind::Additive)));
    assert_eq!(kind(&negative, "auto"), Ok(Some(Kind::Additive)));
    assert_eq!(kind(&prices(96), "multiplicative"), Ok(None));
    let error = kind(&negative, "multiplicative").unwrap_err();
    assert_eq!(error.class(), "domain");
}

#[test]
fn paths_drawn_together_are_those_drawn_one_by_one() {
    let values = seasonal(96, 12);
    let streams = Streams::new(&Digest::new());
    for form in FORMS {
        let mut body = fit(&values, r#"{"season_length":12,"errors":"bootstrap"}"#).body;
        body.form = form;
        let outlook = outlook(&body, 15);
        let together = outlook.simulate(15, 21, &streams);
        for path in 0..21 {
            let mut alone = [0.0; 15];
            outlook.draw(&mut streams.path(path as u64 + 1), &mut alone);
            for (step, value) in alone.iter().enumerate() {
                assert_eq!(*value, together.step(step)[path]);
            }
        }
    }
}

#[test]
fn paths_have_the_moments_of_the_recursion() {
    let (values, steps) = (prices(25), 14);
    let streams = Streams::new(&Digest::new());
    for form in FORMS {
        let body = fit(&values, &text(form)).body;
        let outlook = outlook(&body, steps);
        let means = outlook.point();
        // The effect of an error at each step on each later one: the recursion, observation by
        // observation, with and without it.
        let future = |disturbed: usize| {
            let mut model = body.model;
            let values = (0..steps).map(|step| {
                let value = model.next() + f64::from(step == disturbed);
                model.take_in(value);
                value
            });
            values.collect::<Vec<f64>>()
        };
        let calm = future(steps);
        for (value, mean) in calm.iter().zip(&means) {
            assert!((value / mean - 1.0).abs() < 1e-12, "{form:?}");
        }
        let mut variances = vec![0.0; steps];
        for disturbed in 0..steps {
            for ((variance, with), without) in
                variances.iter_mut().zip(future(disturbed)).zip(&calm)
            {
                *variance += (with - without) * (with - without);
            }
        }
        let deviations: Vec<f64> = variances
            .iter()
            .map(|variance| body.noise.deviation() * variance.sqrt())
            .collect();
        check_moments(
            &outlook.simulate(steps, 20_000, &streams),
            &means,
            &deviations,
        );
        if !form.is_dynamic() {
            // An error stays in the level with weight alpha.
            let alpha = body.model.alpha;
            let last = (1.0 + 13.0 * alpha * alpha).sqrt() * body.noise.deviation();
            assert!((deviations[13] / last - 1.0).abs() < 1e-9);
        }
    }
}

#[test]
fn a_season_that_multiplies_multiplies_its_errors() {
    let values = seasonal(96, 12);
    let body = fit(&values, r#"{"form":"standard","season_length":12}"#).body;
    let paths = outlook(&body, 12).simulate(12, 20_000, &Streams::new(&Digest::new()));
    let season = body.season.clone().unwrap();
    let deviations: Vec<f64> = (0..12)
        .map(|step| {
            let alpha = body.model.alpha;
            let spread = (1.0 + step as f64 * alpha * alpha).sqrt();
            spread * body.noise.deviation() * season.ahead(step)
        })
        .collect();
    check_moments(&paths, &outlook(&body, 12).point(), &deviations);
}

#[test]
fn short_and_awkward_series_are_forecast() {
    let mut outlier = prices(60);
    outlier[30] = 1e12;
    let mut shift = prices(60);
    shift[40..].iter_mut().for_each(|value| *value += 1e4);
    let zigzag: Vec<f64> = (0..60).map(|index| f64::from(index % 2)).collect();
    let line: Vec<f64> = (0..60).map(|index| 3.0 + 2.0 * f64::from(index)).collect();
    let mut series: Vec<Vec<f64>> = (2..10).map(prices).collect();
    series.extend([outlier, shift, zigzag, line]);
    for values in series {
        for form in [
            "standard",
            "optimized",
            "dynamic",
            "dynamic_optimized",
            "auto",
        ] {
            let text = format!(r#"{{"form":"{form}","season_length":2}}"#);
            let learned = fit(&values, &text);
            Theta::check(&learned.body).unwrap();
            assert_eq!(learned.predictions.len(), values.len());
            assert!(learned.predictions.iter().all(|value| value.is_finite()));
            let point = outlook(&learned.body, 10).point();
            assert!(
                point.iter().all(|value| value.is_finite()),
                "{form} {}",
                values.len()
            );
        }
    }
}

#[test]
fn a_straight_line_is_continued_by_the_fixed_line_with_an_estimated_weight() {
    let line: Vec<f64> = (0..60).map(|index| 3.0 + 2.0 * f64::from(index)).collect();
    for form in ["optimized", "auto"] {
        let body = fit(&line, &format!(r#"{{"form":"{form}"}}"#)).body;
        for (step, value) in outlook(&body, 8).point().iter().enumerate() {
            let expected = 123.0 + 2.0 * step as f64;
            assert!((value - expected).abs() < 1e-6, "{form} {value} {expected}");
        }
    }
}

#[test]
fn values_out_of_range_are_refused() {
    for text in [
        r#"{"form":"static"}"#,
        r#"{"season_length":0}"#,
        r#"{"decomposition":"loess"}"#,
        r#"{"errors":"cauchy"}"#,
    ] {
        assert_eq!(
            Theta.validate(&params(text)).unwrap_err().class(),
            "parameter"
        );
    }
}

#[derive(Deserialize)]
struct Golden {
    relative_tolerance: f64,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    series: String,
    values: Vec<f64>,
    season_length: usize,
    decomposition: Kind,
    forms: std::collections::BTreeMap<String, Reference>,
}

#[derive(Deserialize)]
struct Reference {
    alpha: f64,
    theta: f64,
    level: f64,
    fitted: Vec<f64>,
    forecast: Vec<f64>,
}

#[test]
fn figures_agree_with_the_reference_and_the_optimum_is_no_worse() {
    let golden: Golden = serde_json::from_str(include_str!("../../golden/theta.json")).unwrap();
    for case in &golden.cases {
        let season = (case.season_length > 1)
            .then(|| Season::of(&case.values, case.season_length, case.decomposition));
        let index = |step: usize| season.as_ref().map_or(0.0, |season| season.ahead(step));
        let kind = season.as_ref().map_or(Kind::Additive, |season| season.kind);
        let values: Vec<f64> = case
            .values
            .iter()
            .enumerate()
            .map(|(step, value)| kind.remove(*value, index(step)))
            .collect();
        let from_origin = shifted(&values);
        for (name, reference) in &case.forms {
            let form: Form = serde_json::from_str(&format!("\"{name}\"")).unwrap();
            let near = |found: f64, expected: f64| {
                let off = (found / expected - 1.0).abs();
                assert!(
                    off < golden.relative_tolerance,
                    "{} {name}: {found} {expected}",
                    case.series
                );
            };
            let line = if form.is_dynamic() {
                Line::MOVING
            } else {
                Line::fixed(&from_origin)
            };
            let problem = Problem::new(&from_origin, line, form.weight());
            let weight = 1.0 - 1.0 / reference.theta;
            // The level as if zero lay at the first value.
            let level = reference.level + weight * values[0] - values[0];
            let theirs = problem.found(reference.alpha, level, weight, 1);
            let ours = form.fit(&from_origin, None);
            assert!(
                ours.loss <= theirs.loss * (1.0 + 1e-12),
                "{} {name}",
                case.series
            );
            let mut model = theirs.model;
            model.origin = values[0];
            for (step, value) in values.iter().enumerate() {
                // Theirs sets the first prediction of a moving line to the value itself.
                // Its fitted values lack the season where that is added.
                if step > 0 || !form.is_dynamic() {
                    let next = model.next();
                    let fitted = match kind {
                        Kind::Additive => next,
                        Kind::Multiplicative => kind.restore(next, index(step)),
                    };
                    near(fitted, reference.fitted[step]);
                }
                model.take_in(*value);
            }
            let mut ahead = season.clone();
            if let Some(season) = &mut ahead {
                season.pass(values.len());
            }
            let steps = reference.forecast.len();
            let outlook = outlook::Theta::new(model, ahead.as_ref(), Noise::gaussian(0.0), steps);
            for (found, expected) in outlook.point().iter().zip(&reference.forecast) {
                near(*found, *expected);
            }
        }
    }
}
