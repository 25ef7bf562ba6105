//! The last value, again and again.
//!
//! Assumes a random walk without drift: the best forecast of every coming step is the newest
//! observation, and each step adds an independent Gaussian error. Hard to beat on prices; the
//! wrong choice for anything with a trend or a season.
//!
//! Hyndman and Athanasopoulos, *Forecasting: Principles and Practice* (3rd edition), sections 5.2
//! and 5.5: the error deviation is the root mean square of the first differences (the mean of the
//! errors is zero by assumption, not estimated), and the deviation h steps ahead is sqrt(h) times
//! that.

use serde::{Deserialize, Serialize};

use crate::{
    Fitted, Forecaster, Parameter, Params,
    errors::{FitError, StateError},
    fitted::{finite, split},
    moments::root_mean_square,
    paths::Paths,
    rng::Streams,
    series::{Ahead, Series},
    state::{State, corrupt},
    window::Window,
};

/// The naive model.
pub struct Naive;

const NAME: &str = "naive";
const FORMAT: u32 = 1;
const MINIMUM: usize = 2;

/// The fitted naive model: what its own state holds, and the drill's within its.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body {
    window: Window,
    /// The deviation of one step, frozen as fitted.
    deviation: f64,
}

impl Body {
    pub(crate) fn fit(history: Series<'_>) -> Result<Body, FitError> {
        history.check()?;
        let deviation =
            root_mean_square(differences(history.values)).ok_or(FitError::TooShort {
                needed: MINIMUM,
                found: history.len(),
            })?;
        Ok(Body {
            window: Window::of(history, 1)?,
            deviation: finite("deviation", deviation)?,
        })
    }

    pub(crate) fn check(&self) -> Result<(), StateError> {
        if self.deviation < 0.0 {
            return Err(corrupt("the deviation is negative"));
        }
        self.window.check(1)
    }

    pub(crate) fn advance(&mut self, recent: Series<'_>) -> Result<(), StateError> {
        self.window.advance(recent)
    }

    pub(crate) fn simulate(&self, steps: usize, paths: usize, streams: &Streams) -> Paths {
        let last = self.window.last();
        Paths::draw(steps, paths, streams, |rng, path| {
            let mut level = last;
            for value in path {
                level += self.deviation * rng.normal();
                *value = level;
            }
        })
    }
}

impl Naive {
    fn decode(state: &State) -> Result<Body, StateError> {
        let body: Body = state.decode(NAME, FORMAT)?;
        body.check()?;
        Ok(body)
    }
}

impl Forecaster for Naive {
    fn name(&self) -> &'static str {
        NAME
    }

    fn summary(&self) -> &'static str {
        "the last value, with Gaussian steps as large as those seen"
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[]
    }

    fn minimum_observations(&self, _params: &Params) -> Result<usize, FitError> {
        Ok(MINIMUM)
    }

    fn fit(&self, history: Series<'_>, params: &Params) -> Result<Fitted, FitError> {
        self.validate(params)?;
        let body = Body::fit(history)?;
        let held_out = split(history.len()).filter(|first| *first >= 1);
        Ok(Fitted {
            state: State::encode(NAME, FORMAT, &body),
            loss: Some(body.deviation),
            validation_loss: held_out
                .and_then(|first| root_mean_square(differences(&history.values[first - 1..]))),
        })
    }

    fn condition(&self, state: &State, recent: Series<'_>) -> Result<State, StateError> {
        let mut body = Naive::decode(state)?;
        body.advance(recent)?;
        Ok(State::encode(NAME, FORMAT, &body))
    }

    fn simulate(
        &self,
        state: &State,
        ahead: Ahead<'_>,
        paths: usize,
        streams: &Streams,
    ) -> Result<Paths, StateError> {
        Ok(Naive::decode(state)?.simulate(ahead.steps, paths, streams))
    }
}

fn differences(values: &[f64]) -> impl Iterator<Item = f64> {
    values.windows(2).map(|pair| pair[1] - pair[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deviation_is_the_root_mean_square_of_the_steps() {
        let history = Series {
            dates: &[1, 2, 3],
            values: &[1.0, 4.0, 0.0],
            regressors: &[],
        };
        let fitted = Naive.fit(history, &Params::default()).unwrap();
        assert_eq!(fitted.loss, Some(12.5f64.sqrt()));
        let body = Naive::decode(&fitted.state).unwrap();
        assert_eq!((body.window.last(), body.deviation), (0.0, 12.5f64.sqrt()));
    }

    #[test]
    fn conditioning_moves_the_level_and_freezes_the_deviation() {
        let history = Series {
            dates: &[1, 2, 3],
            values: &[1.0, 4.0, 0.0],
            regressors: &[],
        };
        let fitted = Naive.fit(history, &Params::default()).unwrap();
        let recent = Series {
            dates: &[4],
            values: &[100.0],
            regressors: &[],
        };
        let body = Naive::decode(&Naive.condition(&fitted.state, recent).unwrap()).unwrap();
        assert_eq!(
            (body.window.last(), body.deviation),
            (100.0, 12.5f64.sqrt())
        );
    }
}
