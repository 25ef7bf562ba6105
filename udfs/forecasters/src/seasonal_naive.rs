//! The value of one season ago.
//!
//! Assumes that every season repeats the one before it plus independent Gaussian errors, so that
//! the deviation grows with the square root of the number of seasons begun. The default season of
//! 5 steps is a trading week. The wrong choice where the level moves within a season: it forgets
//! everything newer than one season.
//!
//! Hyndman and Athanasopoulos, *Forecasting: Principles and Practice* (3rd edition), sections 5.2
//! and 5.5: the error deviation is the root mean square of the seasonal differences; h steps ahead
//! it is that times sqrt(k + 1), k the integer part of (h - 1) / season.

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

/// The seasonal naive model.
pub struct SeasonalNaive;

const NAME: &str = "seasonal_naive";
const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    season_length: usize,
    /// The last season.
    window: Window,
    /// The deviation from one season to the next, frozen as fitted.
    deviation: f64,
}

impl SeasonalNaive {
    fn season_length(params: &Params) -> Result<usize, FitError> {
        match params.usize_or("season_length", 5)? {
            0 => Err(params.out_of_range("season_length", "at least 1")),
            season_length => Ok(season_length),
        }
    }

    fn decode(state: &State) -> Result<Body, StateError> {
        let body: Body = state.decode(NAME, FORMAT)?;
        if body.season_length == 0 || body.deviation < 0.0 {
            return Err(corrupt("the season is empty or the deviation negative"));
        }
        body.window.check(body.season_length)?;
        Ok(body)
    }
}

impl Forecaster for SeasonalNaive {
    fn name(&self) -> &'static str {
        NAME
    }

    fn summary(&self) -> &'static str {
        "the value of one season ago"
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[Parameter {
            name: "season_length",
            default: "5",
            help: "steps in a season, from 1",
        }]
    }

    fn minimum_observations(&self, params: &Params) -> Result<usize, FitError> {
        Ok(SeasonalNaive::season_length(params)?.saturating_add(1))
    }

    fn fit(&self, history: Series<'_>, params: &Params) -> Result<Fitted, FitError> {
        self.validate(params)?;
        history.check()?;
        let season_length = SeasonalNaive::season_length(params)?;
        let needed = self.minimum_observations(params)?;
        let deviation = root_mean_square(errors(history.values, season_length, season_length))
            .ok_or(FitError::TooShort {
                needed,
                found: history.len(),
            })?;
        let deviation = finite("deviation", deviation)?;
        let body = Body {
            season_length,
            window: Window::of(history, season_length)?,
            deviation,
        };
        Ok(Fitted {
            state: State::encode(NAME, FORMAT, &body),
            loss: Some(deviation),
            validation_loss: split(history.len())
                .filter(|first| *first >= season_length)
                .and_then(|first| root_mean_square(errors(history.values, season_length, first))),
        })
    }

    fn condition(&self, state: &State, recent: Series<'_>) -> Result<State, StateError> {
        let mut body = SeasonalNaive::decode(state)?;
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
        let body = SeasonalNaive::decode(state)?;
        let season = body.window.values();
        Ok(Paths::draw(ahead.steps, paths, streams, |rng, path| {
            for step in 0..path.len() {
                let season_ago = if step < season.len() {
                    season[step]
                } else {
                    path[step - season.len()]
                };
                path[step] = season_ago + body.deviation * rng.normal();
            }
        }))
    }
}

/// The one-step errors from index `first` on.
fn errors(values: &[f64], season_length: usize, first: usize) -> impl Iterator<Item = f64> {
    (first..values.len()).map(move |index| values[index] - values[index - season_length])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::check_moments;

    #[test]
    fn a_repeating_season_goes_on_repeating() {
        let values = [1.0, 5.0, 3.0, 1.0, 5.0, 3.0, 1.0];
        let history = Series {
            dates: &[1, 2, 3, 4, 5, 6, 7],
            values: &values,
            regressors: &[],
        };
        let params = Params::parse(r#"{"season_length":3}"#).unwrap();
        let fitted = SeasonalNaive.fit(history, &params).unwrap();
        let ahead = Ahead {
            steps: 5,
            regressors: &[],
        };
        let streams = Streams::new(&crate::Digest::new());
        let paths = SeasonalNaive
            .simulate(&fitted.state, ahead, 1, &streams)
            .unwrap();
        assert_eq!(paths.values, [5.0, 3.0, 1.0, 5.0, 3.0]);
        assert_eq!(fitted.loss, Some(0.0));
    }

    #[derive(Deserialize)]
    struct Golden {
        relative_tolerance: f64,
        values: Vec<f64>,
        deviation: f64,
        means: Vec<f64>,
        deviations: Vec<f64>,
    }

    #[test]
    fn figures_agree_with_the_reference() {
        let golden: Golden =
            serde_json::from_str(include_str!("../golden/seasonal_naive.json")).unwrap();
        let dates: Vec<i32> = (0..golden.values.len() as i32).collect();
        let history = Series {
            dates: &dates,
            values: &golden.values,
            regressors: &[],
        };
        let fitted = SeasonalNaive.fit(history, &Params::default()).unwrap();
        let body = SeasonalNaive::decode(&fitted.state).unwrap();
        let ratio = body.deviation / golden.deviation;
        assert!((ratio - 1.0).abs() < golden.relative_tolerance, "{ratio}");

        let ahead = Ahead {
            steps: golden.means.len(),
            regressors: &[],
        };
        let streams = Streams::new(&crate::Digest::new());
        let paths = SeasonalNaive
            .simulate(&fitted.state, ahead, 40_000, &streams)
            .unwrap();
        check_moments(&paths, &golden.means, &golden.deviations);
    }
}
