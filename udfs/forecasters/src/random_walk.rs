//! A random walk with drift, both drift and deviation taken from the newest steps.
//!
//! Each coming step is Gaussian with the mean and the standard deviation (divisor n - 1) of the
//! last `lookback` first differences. They are rolling statistics: conditioning on new
//! observations moves them, for the model's one parameter is the lookback. Good where volatility
//! comes and goes; the wrong choice where steps return to a level or a season. A short lookback
//! makes the drift noisy, and the drift is extrapolated over the whole horizon.
//!
//! Hyndman and Athanasopoulos, *Forecasting: Principles and Practice* (3rd edition), section 5.2
//! (drift method), over a moving window. The uncertainty of the drift itself is not simulated.

use serde::{Deserialize, Serialize};

use crate::{
    Fitted, Forecaster, Parameter, Params,
    errors::{FitError, StateError},
    fitted::{finite, split},
    moments::{deviation, mean, root_mean_square},
    paths::Paths,
    rng::Streams,
    series::{Ahead, Series},
    state::{State, corrupt},
    window::Window,
};

/// The random walk with drift.
pub struct RandomWalk;

const NAME: &str = "random_walk";
const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    lookback: usize,
    /// The last `lookback` + 1 values.
    window: Window,
}

struct Step {
    drift: f64,
    deviation: f64,
}

impl Body {
    fn step(&self) -> Step {
        let differences: Vec<f64> = self
            .window
            .values()
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .collect();
        Step {
            drift: mean(&differences),
            deviation: deviation(&differences),
        }
    }
}

impl RandomWalk {
    fn lookback(params: &Params) -> Result<usize, FitError> {
        match params.usize_or("lookback", 30)? {
            0 | 1 => Err(params.out_of_range("lookback", "at least 2")),
            lookback => Ok(lookback),
        }
    }

    fn decode(state: &State) -> Result<Body, StateError> {
        let body: Body = state.decode(NAME, FORMAT)?;
        if body.lookback < 2 {
            return Err(corrupt("the lookback is below 2"));
        }
        body.window.check(body.lookback.saturating_add(1))?;
        Ok(body)
    }
}

impl Forecaster for RandomWalk {
    fn name(&self) -> &'static str {
        NAME
    }

    fn summary(&self) -> &'static str {
        "random walk with the drift and deviation of the newest steps"
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[Parameter {
            name: "lookback",
            default: "30",
            help: "how many of the newest steps give drift and deviation, from 2",
        }]
    }

    fn minimum_observations(&self, params: &Params) -> Result<usize, FitError> {
        Ok(RandomWalk::lookback(params)?.saturating_add(1))
    }

    fn fit(&self, history: Series<'_>, params: &Params) -> Result<Fitted, FitError> {
        self.validate(params)?;
        history.check()?;
        let lookback = RandomWalk::lookback(params)?;
        let body = Body {
            lookback,
            window: Window::of(history, lookback.saturating_add(1))?,
        };
        let step = body.step();
        finite("drift", step.drift)?;
        finite("deviation", step.deviation)?;
        let first_forecast = lookback + 1;
        Ok(Fitted {
            state: State::encode(NAME, FORMAT, &body),
            loss: root_mean_square(errors(history.values, lookback, first_forecast)),
            validation_loss: split(history.len())
                .filter(|first| *first >= first_forecast)
                .and_then(|first| root_mean_square(errors(history.values, lookback, first))),
        })
    }

    fn condition(&self, state: &State, recent: Series<'_>) -> Result<State, StateError> {
        let mut body = RandomWalk::decode(state)?;
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
        let body = RandomWalk::decode(state)?;
        let Step { drift, deviation } = body.step();
        let last = body.window.last();
        Ok(Paths::draw(ahead.steps, paths, streams, |rng, path| {
            let mut level = last;
            for value in path {
                level += drift + deviation * rng.normal();
                *value = level;
            }
        }))
    }
}

/// The one-step errors from index `first` on. The mean of consecutive differences is that of their
/// ends.
fn errors(values: &[f64], lookback: usize, first: usize) -> impl Iterator<Item = f64> {
    (first..values.len()).map(move |index| {
        let last = values[index - 1];
        let drift = (last - values[index - 1 - lookback]) / lookback as f64;
        values[index] - (last + drift)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::check_moments;

    const DATES: [i32; 6] = [1, 2, 3, 4, 5, 6];

    fn params() -> Params {
        Params::parse(r#"{"lookback":2}"#).unwrap()
    }

    #[test]
    fn drift_and_deviation_are_those_of_the_newest_steps() {
        let values = [50.0, 10.0, 11.0, 14.0];
        let history = Series {
            dates: &DATES[..4],
            values: &values,
            regressors: &[],
        };
        let fitted = RandomWalk.fit(history, &params()).unwrap();
        let step = RandomWalk::decode(&fitted.state).unwrap().step();
        assert_eq!((step.drift, step.deviation), (2.0, 2f64.sqrt()));
        // One error: 14 was forecast as 11 + (11 - 50) / 2.
        assert_eq!(fitted.loss, Some(22.5));
    }

    #[test]
    fn conditioning_moves_drift_and_deviation() {
        let history = Series {
            dates: &DATES[..3],
            values: &[10.0, 11.0, 14.0],
            regressors: &[],
        };
        let fitted = RandomWalk.fit(history, &params()).unwrap();
        let recent = Series {
            dates: &DATES[3..5],
            values: &[14.0, 20.0],
            regressors: &[],
        };
        let state = RandomWalk.condition(&fitted.state, recent).unwrap();
        let step = RandomWalk::decode(&state).unwrap().step();
        assert_eq!((step.drift, step.deviation), (3.0, 18f64.sqrt()));
    }

    #[test]
    fn a_lookback_below_two_is_refused() {
        let params = Params::parse(r#"{"lookback":1}"#).unwrap();
        assert_eq!(
            RandomWalk.validate(&params).unwrap_err().class(),
            "parameter"
        );
    }

    #[derive(Deserialize)]
    struct Golden {
        relative_tolerance: f64,
        values: Vec<f64>,
        drift: f64,
        deviation: f64,
        means: Vec<f64>,
        deviations: Vec<f64>,
    }

    #[test]
    fn figures_agree_with_the_reference() {
        let golden: Golden =
            serde_json::from_str(include_str!("../golden/random_walk.json")).unwrap();
        let dates: Vec<i32> = (0..golden.values.len() as i32).collect();
        let history = Series {
            dates: &dates,
            values: &golden.values,
            regressors: &[],
        };
        let fitted = RandomWalk.fit(history, &Params::default()).unwrap();
        let step = RandomWalk::decode(&fitted.state).unwrap().step();
        let near = |found: f64, expected: f64| {
            assert!(
                (found / expected - 1.0).abs() < golden.relative_tolerance,
                "{found} {expected}"
            );
        };
        near(step.drift, golden.drift);
        near(step.deviation, golden.deviation);

        let ahead = Ahead {
            steps: golden.means.len(),
            regressors: &[],
        };
        let streams = Streams::new(&crate::Digest::new());
        let paths = RandomWalk
            .simulate(&fitted.state, ahead, 40_000, &streams)
            .unwrap();
        check_moments(&paths, &golden.means, &golden.deviations);
    }
}
