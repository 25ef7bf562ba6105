use super::{
    estimate::{Estimated, Likelihood, Sample},
    form::Kind,
    numbers::Numbers,
    *,
};
use crate::{
    Digest, Forecaster, Rng, Streams,
    math::{exp, ln},
    moments::{deviation, mean},
    paths::check_moments,
};

fn dates(length: usize) -> Vec<i32> {
    (0..length as i32).collect()
}

fn form(values: &[f64], params: &str) -> Form {
    Form::read(&Params::parse(params).unwrap(), values).unwrap()
}

fn fitted(values: &[f64], params: &str, from: Option<&Body>) -> Estimated {
    let dates = dates(values.len());
    let history = Series {
        dates: &dates,
        values,
        regressors: &[],
    };
    estimate(form(values, params), history, from).unwrap()
}

fn rng(name: &str) -> Rng {
    let mut key = Digest::new();
    key.add_str(name);
    Streams::new(&key).path(1)
}

/// Prices whose returns follow GARCH(1,1) with these numbers.
fn prices(length: usize, [constant, effect, carry]: [f64; 3]) -> Vec<f64> {
    let mut rng = rng("garch");
    let mut variance = constant / (1.0 - effect - carry);
    let mut price = 100.0;
    (0..length)
        .map(|_| {
            let error = variance.sqrt() * rng.normal();
            variance = constant + effect * error * error + carry * variance;
            price *= exp(error);
            price
        })
        .collect()
}

const DAILY: [f64; 3] = [4e-6, 0.08, 0.9];

#[derive(Deserialize)]
struct Golden {
    relative_tolerance: f64,
    values: Vec<f64>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    params: serde_json::Value,
    names: Vec<String>,
    parameters: Vec<f64>,
    log_likelihood: f64,
    deviations: Vec<f64>,
    variances: Option<Vec<f64>>,
}

impl Case {
    /// The reference's numbers, in a unit that is so many percent.
    fn numbers(&self, form: &Form, percent: f64) -> Numbers {
        let all = |prefix: &str| -> Vec<f64> {
            let named = self.names.iter().zip(&self.parameters);
            named
                .filter(|(name, _)| name.starts_with(prefix))
                .map(|(_, value)| *value)
                .collect()
        };
        let first = |prefix: &str| all(prefix).first().copied();
        let carry = all("beta");
        let constant = first("omega").unwrap();
        Numbers {
            mean: first("mu").or(first("Const")).unwrap_or(0.0) / percent,
            terms: all("y["),
            constant: match form.kind {
                Kind::Egarch => constant - (1.0 - carry.iter().sum::<f64>()) * 2.0 * ln(percent),
                _ => constant / (percent * percent),
            },
            size: all("alpha"),
            sign: all("gamma"),
            carry,
            degrees: first("nu").unwrap_or(f64::INFINITY),
        }
    }
}

#[test]
fn likelihoods_and_optima_agree_with_the_reference() {
    let golden: Golden = serde_json::from_str(include_str!("../../golden/garch.json")).unwrap();
    let values = &golden.values;
    let dates = dates(values.len());
    let history = Series {
        dates: &dates,
        values,
        regressors: &[],
    };
    for case in &golden.cases {
        let params = case.params.to_string();
        let form = form(values, &params);
        let sample = Sample::new(&form, history).unwrap();
        let percent = 100.0 * sample.unit;
        let count = (sample.returns.len() - form.reach()) as f64;
        let mut likelihood = Likelihood::new(&form, &sample.returns, sample.backcast.unwrap());
        let log_likelihood = |loss: f64| -count * (loss + ln(percent));
        let theirs = log_likelihood(likelihood.loss(&case.numbers(&form, percent)));
        // The reference backcasts an autoregression from the errors of a first regression.
        let tolerance = if form.lags.is_empty() { 1e-8 } else { 1e-5 };
        let off = theirs / case.log_likelihood - 1.0;
        assert!(off.abs() < tolerance, "{params}: {theirs} {off}");
        let last = likelihood.deviations().map(|deviation| deviation * percent);
        let last: Vec<f64> = last.collect();
        for (found, expected) in last[last.len() - 5..].iter().zip(&case.deviations) {
            assert!(
                (found / expected - 1.0).abs() < 1e-6,
                "{params}: {found} {expected}"
            );
        }

        let body = fitted(values, &params, None).learned.body;
        let ours = log_likelihood(likelihood.loss(&numbers_of(&body)));
        assert!(
            ours > theirs - 1e-5,
            "{params}: {ours}, the reference {theirs}"
        );
        let Some(variances) = &case.variances else {
            continue;
        };
        for (found, expected) in variances_ahead(&body, variances.len())
            .iter()
            .zip(variances)
        {
            let found = found * percent * percent;
            let off = found / expected - 1.0;
            assert!(
                off.abs() < golden.relative_tolerance,
                "{params}: {found} {expected}"
            );
        }
    }
}

/// The numbers of a fitted model.
fn numbers_of(body: &Body) -> Numbers {
    Numbers {
        mean: body.mean.constant,
        terms: body.mean.terms.iter().map(|(_, term)| *term).collect(),
        constant: body.variance.constant,
        size: body.variance.size.clone(),
        sign: body.variance.sign.clone(),
        carry: body.variance.carry.clone(),
        degrees: match body.shocks {
            Noise::StudentT { degrees, .. } => degrees,
            _ => f64::INFINITY,
        },
    }
}

/// The expected variances of the coming steps, in the body's unit; not for egarch.
fn variances_ahead(body: &Body, steps: usize) -> Vec<f64> {
    let mut variance = body.variance.clone();
    (0..steps)
        .map(|_| {
            let expected = variance.level();
            variance.take(expected, expected, 0.5 * expected);
            expected
        })
        .collect()
}

#[test]
fn conditioning_equals_filtering_from_the_first_observation() {
    let values = prices(900, DAILY);
    for params in [
        "{}",
        r#"{"variance":"gjr","p":2,"o":1,"q":2,"errors":"student_t"}"#,
        r#"{"variance":"egarch","p":1,"o":2,"q":1,"mean":"ar","lags":[1,4]}"#,
        r#"{"returns":"difference","mean":"ar","errors":"bootstrap"}"#,
    ] {
        let form = form(&values, params);
        let dates = dates(values.len());
        let history = Series {
            dates: &dates,
            values: &values,
            regressors: &[],
        };
        let mut body = fitted(&values[..600], params, None).learned.body;
        let numbers = numbers_of(&body);
        let sample = Sample::new(&form, history).unwrap();
        let before = Sample::new(
            &form,
            Series {
                dates: &dates[..600],
                values: &values[..600],
                regressors: &[],
            },
        )
        .unwrap();
        // All returns in the unit of those the model was fitted to.
        let ratio = sample.unit / before.unit;
        let returns: Vec<f64> = sample.returns.iter().map(|r| r * ratio).collect();
        let mut likelihood = Likelihood::new(&form, &returns, before.backcast.unwrap());
        likelihood.loss(&numbers);
        let expected = likelihood.variance(&numbers);

        let recent = Series {
            dates: &dates[600..],
            values: &values[600..],
            regressors: &[],
        };
        let mut predictions = vec![];
        Garch::advance(&mut body, recent, &mut |value| predictions.push(value)).unwrap();
        let found = &body.variance;
        let near = |found: &[f64], expected: &[f64]| {
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                let off = (found - expected).abs();
                assert!(
                    off <= 1e-9 * expected.abs().max(1.0),
                    "{params}: {found} {expected}"
                );
            }
        };
        near(&found.sizes, &expected.sizes);
        near(&found.signs, &expected.signs);
        near(&found.levels, &expected.levels);
        let last = numbers.mean_of(&form, &returns, returns.len() - 1);
        let last = form.returns.after(values[898], before.unit * last);
        near(&predictions[299..], &[last]);
    }
}

#[test]
fn the_numbers_of_a_simulated_series_are_found_again() {
    let body = fitted(&prices(40_000, DAILY), r#"{"mean":"zero"}"#, None)
        .learned
        .body;
    let numbers = numbers_of(&body);
    assert!((numbers.size[0] - 0.08).abs() < 0.01, "{numbers:?}");
    assert!((numbers.carry[0] - 0.9).abs() < 0.015, "{numbers:?}");
    let constant = numbers.constant * body.unit * body.unit;
    assert!((constant / 4e-6 - 1.0).abs() < 0.2, "{numbers:?}");
}

/// A body with GARCH numbers by hand, of differences.
fn by_hand(shocks: Noise) -> Body {
    Body {
        form: form(&[-1.0], "{}"),
        unit: 2.0,
        last: 50.0,
        mean: Mean {
            constant: 0.25,
            terms: vec![],
            recent: crate::window::Window::of(&[], 0),
        },
        variance: Variance {
            kind: Kind::Garch,
            constant: 0.1,
            size: vec![0.15],
            sign: vec![],
            carry: vec![0.8],
            sizes: vec![4.0],
            signs: vec![],
            levels: vec![3.0],
        },
        shocks,
    }
}

#[test]
fn simulated_moments_are_those_of_the_recursion() {
    let student = Noise::StudentT {
        deviation: 1.0,
        degrees: 12.0,
    };
    for shocks in [Noise::gaussian(1.0), student] {
        let steps = 14;
        // The first variance is 0.1 + 0.15 * 4 + 0.8 * 3 = 3.1 squared units of 4; from there on it
        // goes to 0.1 / (1 - 0.95) = 2 by a twentieth a step.
        let (mut variance, mut sum) = (3.1, 0.0);
        let (mut means, mut deviations) = (vec![], vec![]);
        for step in 1..=steps {
            sum += 4.0 * variance;
            means.push(50.0 + 0.5 * f64::from(step));
            deviations.push(f64::sqrt(sum));
            variance = 0.1 + 0.95 * variance;
        }
        let ahead = Ahead {
            steps: means.len(),
            dates: &[],
            regressors: &[],
        };
        let outlook = Garch::expect(by_hand(shocks), ahead).unwrap();
        assert_eq!(outlook.point(), means);
        let paths = outlook.simulate(ahead.steps, 60_000, &Streams::new(&Digest::new()));
        // The sample deviation of heavy tails is less sure than `check_moments` allows at five
        // standard errors of a normal one: half of the paths are enough for it.
        check_moments(&few(&paths, 20_000), &means, &deviations);
    }
}

fn few(paths: &crate::Paths, count: usize) -> crate::Paths {
    crate::Paths {
        steps: paths.steps,
        count,
        values: (0..paths.steps)
            .flat_map(|step| paths.step(step)[..count].to_vec())
            .collect(),
    }
}

#[test]
fn an_error_raises_the_variance_of_the_next_step() {
    let mut body = by_hand(Noise::gaussian(1.0));
    let recent = Series {
        dates: &[1],
        values: &[54.5],
        regressors: &[],
    };
    let mut predicted = vec![];
    Garch::advance(&mut body, recent, &mut |value| predicted.push(value)).unwrap();
    assert_eq!(predicted, [50.5]);
    // The error is (4.5 - 0.5) / 2 = 2, the variance was 3.1.
    assert_eq!(body.variance.level(), 0.1 + 0.15 * 4.0 + 0.8 * 3.1);
    assert_eq!(body.last, 54.5);
}

#[test]
fn a_warm_start_finds_the_same_optimum_with_fewer_evaluations() {
    let values = prices(1_600, DAILY);
    for params in [
        r#"{"errors":"student_t"}"#,
        r#"{"variance":"gjr"}"#,
        r#"{"variance":"egarch","errors":"student_t"}"#,
    ] {
        let before = fitted(&values[..1_500], params, None).learned.body;
        let cold = fitted(&values, params, None);
        let warm = fitted(&values, params, Some(&before));

        assert!(
            warm.calls * 3 < cold.calls * 2,
            "{} {}",
            warm.calls,
            cold.calls
        );
        let (cold, warm) = (cold.learned, warm.learned);
        let off = cold.aicc.unwrap() - warm.aicc.unwrap();
        assert!(off.abs() < 1e-3, "{params}: {off}");
    }
}

#[test]
fn the_form_is_kept_where_it_should_be() {
    let values = prices(400, DAILY);
    let body = fitted(&values, r#"{"variance":"gjr"}"#, None).learned.body;
    let dates = dates(values.len());
    let history = Series {
        dates: &dates,
        values: &values,
        regressors: &[],
    };
    let learn = |start| {
        let learned = Garch::learn(history, &Params::default(), start).unwrap();
        learned.body.form.kind
    };
    assert_eq!(learn(Start::Keep(&body)), Kind::Gjr);
    assert_eq!(learn(Start::Near(&body)), Kind::Garch);
}

#[test]
fn paths_of_logarithmic_returns_stay_positive_and_differences_may_not() {
    let mut values = prices(300, [4e-3, 0.08, 0.9]);
    let negative = |values: &[f64]| {
        let body = fitted(values, r#"{"errors":"student_t"}"#, None)
            .learned
            .body;
        let ahead = Ahead {
            steps: 200,
            dates: &[],
            regressors: &[],
        };
        let outlook = Garch::expect(body, ahead).unwrap();
        let paths = outlook.simulate(200, 200, &Streams::new(&Digest::new()));
        paths.values.iter().any(|value| *value <= 0.0)
    };
    assert!(!negative(&values));
    values[150] = -1.0;
    assert!(negative(&values));
}

#[test]
fn a_value_that_has_no_logarithm_is_named() {
    let mut values = prices(100, DAILY);
    let state = Garch
        .fit(series(&dates(100), &values), &Params::default(), None)
        .unwrap()
        .state;
    let error = Garch.condition(&state, series(&[200], &[0.0])).unwrap_err();
    assert_eq!(error.class(), "domain");
    values[99] = -2.0;
    let params = Params::parse(r#"{"returns":"log"}"#).unwrap();
    let error = Garch
        .fit(series(&dates(100), &values), &params, None)
        .unwrap_err();
    assert_eq!(
        error,
        FitError::Domain {
            value: -2.0,
            date: 99,
            needed: "positive values"
        }
    );
}

fn series<'a>(dates: &'a [i32], values: &'a [f64]) -> Series<'a> {
    Series {
        dates,
        values,
        regressors: &[],
    }
}

#[test]
fn awkward_series_give_a_forecast_or_a_named_error() {
    let calm = prices(200, DAILY);
    let mut outlier = calm.clone();
    outlier[100] *= 1e6;
    let mut shifted = calm.clone();
    shifted[120..].iter_mut().for_each(|value| *value += 1e5);
    let mut flat = vec![7.0; 200];
    flat[150] = 8.0;
    let line: Vec<f64> = (0..200).map(|day| f64::from(day) * 3.0 - 100.0).collect();
    let tiny: Vec<f64> = calm.iter().map(|value| value * 1e-300).collect();
    let large: Vec<f64> = calm.iter().map(|value| value * 1e300).collect();
    let wild: Vec<f64> = (0..200)
        .map(|day| if day % 2 == 0 { 1e-300 } else { 1e300 })
        .collect();
    for values in [outlier, shifted, flat, line, tiny, large, wild] {
        for variance in ["garch", "gjr", "egarch"] {
            for errors in ["gaussian", "student_t", "bootstrap"] {
                for mean in ["zero", "constant", "ar"] {
                    let params = format!(
                        r#"{{"variance":"{variance}","errors":"{errors}","mean":"{mean}"}}"#
                    );
                    let params = Params::parse(&params).unwrap();
                    let dates = dates(200);
                    let fitted = Garch.fit(series(&dates, &values), &params, None);
                    let state = match fitted {
                        Ok(fitted) => fitted.state,
                        Err(error) => {
                            assert_eq!(error.class(), "overflow", "{params:?}");
                            continue;
                        }
                    };
                    let newer = [values[7], values[150]];
                    let after = series(&[300, 301], &newer);
                    let state = Garch.condition(&state, after).unwrap();
                    let ahead = Ahead {
                        steps: 20,
                        dates: &[],
                        regressors: &[],
                    };
                    let streams = Streams::new(&Digest::new());
                    let paths = Garch.simulate(&state, ahead, 50, &streams).unwrap();
                    assert!(
                        paths.values.iter().all(|value| value.is_finite()),
                        "{params:?} {:?}",
                        &values[..3]
                    );
                }
            }
        }
    }
}

#[test]
fn residuals_drawn_again_have_their_deviation() {
    let values = prices(800, DAILY);
    let body = fitted(&values, r#"{"errors":"bootstrap"}"#, None)
        .learned
        .body;
    let Noise::Bootstrap { residuals } = &body.shocks else {
        panic!("another kind");
    };
    assert_eq!(residuals.len(), 500);
    assert!(mean(residuals).abs() < 0.1);
    assert!((deviation(residuals) - 1.0).abs() < 0.05);
}
