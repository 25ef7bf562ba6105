//! The mean of the newest values.
//!
//! Each coming step is the mean of the last `window` values, observed ones first and then
//! simulated ones, plus a Gaussian error. Assumes a level that moves slowly and noise around it;
//! the wrong choice for prices, whose noise stays in the level, and for anything with a trend.
//!
//! The error deviation is the root mean square of the one-step errors within the history.

use serde::{Deserialize, Serialize};

use crate::{
    Fitted, Forecaster, Parameter, Params,
    errors::{FitError, StateError},
    fitted::{finite, split},
    moments::{mean, root_mean_square},
    paths::Paths,
    rng::Streams,
    series::{Ahead, Series},
    state::{State, corrupt},
    window::Window,
};

/// The mean of a moving window.
pub struct WindowMean;

const NAME: &str = "window_mean";
const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    window: Window,
    /// The deviation of the one-step errors, frozen as fitted.
    deviation: f64,
}

impl WindowMean {
    fn window(params: &Params) -> Result<usize, FitError> {
        match params.usize_or("window", 30)? {
            0 => Err(params.out_of_range("window", "at least 1")),
            window => Ok(window),
        }
    }

    fn decode(state: &State) -> Result<Body, StateError> {
        let body: Body = state.decode(NAME, FORMAT)?;
        if body.window.values().is_empty() || body.deviation < 0.0 {
            return Err(corrupt("the window is empty or the deviation negative"));
        }
        body.window.check(body.window.values().len())?;
        Ok(body)
    }
}

impl Forecaster for WindowMean {
    fn name(&self) -> &'static str {
        NAME
    }

    fn summary(&self) -> &'static str {
        "the mean of the newest values"
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[Parameter {
            name: "window",
            default: "30",
            help: "how many values are averaged, from 1",
        }]
    }

    fn minimum_observations(&self, params: &Params) -> Result<usize, FitError> {
        Ok(WindowMean::window(params)?.saturating_add(1))
    }

    fn fit(&self, history: Series<'_>, params: &Params) -> Result<Fitted, FitError> {
        self.validate(params)?;
        history.check()?;
        let window = WindowMean::window(params)?;
        let needed = self.minimum_observations(params)?;
        let deviation =
            root_mean_square(errors(history.values, window, window)).ok_or(FitError::TooShort {
                needed,
                found: history.len(),
            })?;
        let deviation = finite("deviation", deviation)?;
        let body = Body {
            window: Window::of(history, window)?,
            deviation,
        };
        Ok(Fitted {
            state: State::encode(NAME, FORMAT, &body),
            loss: Some(deviation),
            validation_loss: split(history.len())
                .filter(|first| *first >= window)
                .and_then(|first| root_mean_square(errors(history.values, window, first))),
        })
    }

    fn condition(&self, state: &State, recent: Series<'_>) -> Result<State, StateError> {
        let mut body = WindowMean::decode(state)?;
        body.window.advance(recent)?;
        Ok(State::encode(NAME, FORMAT, &body))
    }

    fn simulate(
        &self,
        state: &State,
        ahead: Ahead<'_>,
        paths: usize,
        streams: &Streams,
    ) -> Result<Paths, StateError> {
        let body = WindowMean::decode(state)?;
        let observed = body.window.values();
        // Sums are taken around the newest value, so equal values have exactly their own mean.
        let origin = body.window.last();
        let weight = 1.0 / observed.len() as f64;
        let observed_sum: f64 = observed.iter().map(|value| value - origin).sum();
        Ok(Paths::draw(ahead.steps, paths, streams, |rng, path| {
            let mut sum = observed_sum;
            for step in 0..path.len() {
                let mean = origin + sum * weight;
                let drawn = mean + body.deviation * rng.normal();
                path[step] = drawn;
                let leaving = if step < observed.len() {
                    observed[step]
                } else {
                    path[step - observed.len()]
                };
                sum += drawn - leaving;
            }
        }))
    }
}

/// The one-step errors from index `first` on.
fn errors(values: &[f64], window: usize, first: usize) -> impl Iterator<Item = f64> {
    (first..values.len()).map(move |index| values[index] - mean(&values[index - window..index]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simulated_values_enter_the_mean() {
        let window = Window::of(
            Series {
                dates: &[1, 2, 3],
                values: &[1.0, 2.0, 6.0],
                regressors: &[],
            },
            3,
        );
        let body = Body {
            window: window.unwrap(),
            deviation: 0.0,
        };
        let state = State::encode(NAME, FORMAT, &body);
        let ahead = Ahead {
            steps: 4,
            regressors: &[],
        };
        let streams = Streams::new(&crate::Digest::new());
        let paths = WindowMean.simulate(&state, ahead, 1, &streams).unwrap();
        let third = (2.0 + 6.0 + 3.0) / 3.0;
        let fourth = (6.0 + 3.0 + third) / 3.0;
        let expected = [3.0, third, fourth, (3.0 + third + fourth) / 3.0];
        for (drawn, expected) in paths.values.iter().zip(expected) {
            assert!((drawn - expected).abs() < 1e-14, "{drawn} {expected}");
        }
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
        assert_eq!(WindowMean.fit(history, &params).unwrap().loss, Some(3.0));
    }
}
