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
    Parameter, Params,
    errors::{FitError, StateError},
    family::{Family, Learned, Start},
    fitted::finite,
    moments::root_mean_square,
    noise::{self, Noise},
    outlook::{Linear, Outlook},
    seasons,
    series::{Ahead, Series},
    state::corrupt,
    window::Window,
};

/// The seasonal naive model.
pub struct SeasonalNaive;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body {
    /// The last season.
    season: Window,
    /// The errors from one season to the next, frozen as fitted.
    noise: Noise,
}

impl SeasonalNaive {
    fn season_length(params: &Params) -> Result<usize, FitError> {
        seasons::length(params, 5)
    }
}

impl Family for SeasonalNaive {
    type Body = Body;
    const NAME: &'static str = "seasonal_naive";
    const FORMAT: u32 = 1;
    const SUMMARY: &'static str = "the value of one season ago";
    const PARAMETERS: &'static [Parameter] = &[
        Parameter {
            name: "season_length",
            default: "5",
            help: "steps in a season, from 1",
        },
        noise::ERRORS,
    ];

    fn minimum(params: &Params) -> Result<usize, FitError> {
        noise::Kind::read(params)?;
        Ok(SeasonalNaive::season_length(params)?.saturating_add(1))
    }

    fn learn(
        history: Series<'_>,
        params: &Params,
        _start: Start<'_, Body>,
    ) -> Result<Learned<Body>, FitError> {
        let season_length = SeasonalNaive::season_length(params)?;
        let values = history.values;
        let before = &values[..values.len() - season_length];
        let errors: Vec<f64> = values[season_length..]
            .iter()
            .zip(before)
            .map(|(value, before)| value - before)
            .collect();
        let deviation = root_mean_square(errors.iter().copied()).unwrap_or(f64::NAN);
        let deviation = finite("deviation", deviation)?;
        Ok(Learned {
            body: Body {
                season: Window::of(values, season_length),
                noise: Noise::fit(noise::Kind::read(params)?, &errors, deviation)?,
            },
            predictions: [&vec![f64::NAN; season_length], before].concat(),
            aicc: None,
        })
    }

    fn check(body: &Body) -> Result<(), StateError> {
        if body.season.values().is_empty() {
            return Err(corrupt("the season is empty"));
        }
        body.season.check(body.season.values().len())?;
        body.noise.check()
    }

    fn advance(
        body: &mut Body,
        recent: Series<'_>,
        predicted: &mut dyn FnMut(f64),
    ) -> Result<(), StateError> {
        for value in recent.values {
            predicted(body.season.values()[0]);
            body.season.push(*value);
        }
        Ok(())
    }

    fn expect(body: Body, ahead: Ahead<'_>) -> Result<Box<dyn Outlook>, StateError> {
        let season = body.season.values();
        let same_season = |lag: usize| f64::from(u8::from(lag.is_multiple_of(season.len())));
        Ok(Box::new(Linear {
            mean: (0..ahead.steps)
                .map(|step| season[step % season.len()])
                .collect(),
            weights: (0..ahead.steps).map(same_season).collect(),
            noise: body.noise,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Forecaster, Streams, paths::check_moments};

    #[test]
    fn a_repeating_season_goes_on_repeating() {
        let values = [1.0, 5.0, 3.0, 1.0, 5.0, 3.0, 1.0];
        let history = Series {
            dates: &[1, 2, 3, 4, 5, 6, 7],
            values: &values,
            regressors: &[],
        };
        let params = Params::parse(r#"{"season_length":3}"#).unwrap();
        let fitted = SeasonalNaive.fit(history, &params, None).unwrap();
        let ahead = Ahead {
            steps: 5,
            dates: &[],
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
        let fitted = SeasonalNaive
            .fit(history, &Params::default(), None)
            .unwrap();
        let ratio = fitted.loss.unwrap() / golden.deviation;
        assert!((ratio - 1.0).abs() < golden.relative_tolerance, "{ratio}");

        let ahead = Ahead {
            steps: golden.means.len(),
            dates: &[],
            regressors: &[],
        };
        let streams = Streams::new(&crate::Digest::new());
        let paths = SeasonalNaive
            .simulate(&fitted.state, ahead, 40_000, &streams)
            .unwrap();
        check_moments(&paths, &golden.means, &golden.deviations);
    }
}
