//! The mean of the newest values.
//!
//! Each coming step is the mean of the last `window` values, observed ones first and then
//! simulated ones, plus an independent error. Assumes a level that moves slowly and noise around it;
//! the wrong choice for prices, whose noise stays in the level, and for anything with a trend.
//!
//! The error deviation is the root mean square of the one-step errors within the history.

use serde::{Deserialize, Serialize};

use crate::{
    Parameter, Params,
    errors::{FitError, StateError},
    family::{Family, Learned, Start},
    fitted::finite,
    moments::{mean, root_mean_square},
    noise::{self, Noise},
    outlook::{Linear, Outlook},
    series::{Ahead, Series},
    state::corrupt,
    window::Window,
};

/// The mean of a moving window.
pub struct WindowMean;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body {
    window: Window,
    /// The one-step errors, frozen as fitted.
    noise: Noise,
}

impl WindowMean {
    fn window(params: &Params) -> Result<usize, FitError> {
        match params.usize_or("window", 30)? {
            0 => Err(params.out_of_range("window", "at least 1")),
            window => Ok(window),
        }
    }
}

impl Family for WindowMean {
    type Body = Body;
    const NAME: &'static str = "window_mean";
    const FORMAT: u32 = 1;
    const SUMMARY: &'static str = "the mean of the newest values";
    const PARAMETERS: &'static [Parameter] = &[
        Parameter {
            name: "window",
            default: "30",
            help: "how many values are averaged, from 1",
        },
        noise::ERRORS,
    ];

    fn minimum(params: &Params) -> Result<usize, FitError> {
        noise::Kind::read(params)?;
        Ok(WindowMean::window(params)?.saturating_add(1))
    }

    fn learn(
        history: Series<'_>,
        params: &Params,
        _start: Start<'_, Body>,
    ) -> Result<Learned<Body>, FitError> {
        let window = WindowMean::window(params)?;
        let values = history.values;
        let mut predictions = vec![f64::NAN; window];
        predictions.extend(values[..values.len() - 1].windows(window).map(mean));
        let errors: Vec<f64> = values
            .iter()
            .zip(&predictions)
            .skip(window)
            .map(|(value, mean)| value - mean)
            .collect();
        let deviation = root_mean_square(errors.iter().copied()).unwrap_or(f64::NAN);
        let deviation = finite("deviation", deviation)?;
        Ok(Learned {
            body: Body {
                window: Window::of(values, window),
                noise: Noise::fit(noise::Kind::read(params)?, &errors, deviation)?,
            },
            predictions,
            aicc: None,
        })
    }

    fn check(body: &Body) -> Result<(), StateError> {
        if body.window.values().is_empty() {
            return Err(corrupt("the window is empty"));
        }
        body.window.check(body.window.values().len())?;
        body.noise.check()
    }

    fn advance(
        body: &mut Body,
        recent: Series<'_>,
        predicted: &mut dyn FnMut(f64),
    ) -> Result<(), StateError> {
        for value in recent.values {
            predicted(mean(body.window.values()));
            body.window.push(*value);
        }
        Ok(())
    }

    fn expect(body: Body, ahead: Ahead<'_>) -> Result<Box<dyn Outlook>, StateError> {
        let mut values = body.window.values().to_vec();
        let length = values.len();
        // An error is part of its own step, and of the windows that hold that step.
        let mut weights = vec![0.0; length];
        for step in 0..ahead.steps {
            values.push(mean(&values[step..]));
            let entered = &weights[step..];
            weights.push(if step == 0 {
                1.0
            } else {
                entered.iter().sum::<f64>() / length as f64
            });
        }
        Ok(Box::new(Linear {
            mean: values.split_off(length),
            weights: weights.split_off(length),
            noise: body.noise,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, Forecaster, Streams};

    #[test]
    fn simulated_values_enter_the_mean() {
        let body = Body {
            window: Window::of(&[1.0, 2.0, 6.0], 3),
            noise: Noise::gaussian(1.0),
        };
        let ahead = Ahead {
            steps: 5,
            dates: &[],
            regressors: &[],
        };
        let outlook = WindowMean::expect(body, ahead).unwrap();
        let near = |found: &[f64], expected: &[f64]| {
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-14, "{found} {expected}");
            }
        };
        let third = (2.0 + 6.0 + 3.0) / 3.0;
        let fourth = (6.0 + 3.0 + third) / 3.0;
        near(
            &outlook.point(),
            &[3.0, third, fourth, (3.0 + third + fourth) / 3.0],
        );
        // An error of the first step reaches the three after it, and what they pass on.
        let paths = outlook.simulate(5, 1, &Streams::new(&Digest::new()));
        let mut rng = Streams::new(&Digest::new()).path(1);
        let mut values = vec![1.0, 2.0, 6.0];
        for step in 0..5 {
            let next = (values[step] + values[step + 1] + values[step + 2]) / 3.0 + rng.normal();
            values.push(next);
        }
        near(&paths.values, &values[3..]);
    }

    #[test]
    fn the_deviation_is_that_of_the_one_step_errors() {
        let history = Series {
            dates: &[1, 2, 3, 4],
            values: &[1.0, 3.0, 5.0, 1.0],
            regressors: &[],
        };
        let params = Params::parse(r#"{"window":2}"#).unwrap();
        // Errors: 5 - 2 and 1 - 4.
        assert_eq!(
            WindowMean.fit(history, &params, None).unwrap().loss,
            Some(3.0)
        );
    }
}
