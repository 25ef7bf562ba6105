//! The last value, again and again.
//!
//! Assumes a random walk without drift: the best forecast of every coming step is the newest
//! observation, and each step adds an independent error. Hard to beat on prices; the
//! wrong choice for anything with a trend or a season.
//!
//! Hyndman and Athanasopoulos, *Forecasting: Principles and Practice* (3rd edition), sections 5.2
//! and 5.5: the error deviation is the root mean square of the first differences (the mean of the
//! errors is zero by assumption, not estimated), and the deviation h steps ahead is sqrt(h) times
//! that.

use serde::{Deserialize, Serialize};

use crate::{
    Parameter, Params,
    errors::{FitError, StateError},
    family::{Family, Learned, Start},
    fitted::finite,
    moments::root_mean_square,
    noise::{self, Noise},
    outlook::{Linear, Outlook},
    series::{Ahead, Series},
};

/// The naive model.
pub struct Naive;

/// The last value and the errors: what the naive model's own state holds, and the drill's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body {
    last: f64,
    /// The errors of one step, frozen as fitted.
    noise: Noise,
}

impl Family for Naive {
    type Body = Body;
    const NAME: &'static str = "naive";
    const FORMAT: u32 = 1;
    const SUMMARY: &'static str = "the last value, with independent steps as large as those seen";
    const PARAMETERS: &'static [Parameter] = &[noise::ERRORS];

    fn minimum(params: &Params) -> Result<usize, FitError> {
        noise::Kind::read(params)?;
        Ok(2)
    }

    fn learn(
        history: Series<'_>,
        params: &Params,
        _start: Start<'_, Body>,
    ) -> Result<Learned<Body>, FitError> {
        let values = history.values;
        let steps: Vec<f64> = values.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let deviation = root_mean_square(steps.iter().copied()).unwrap_or(f64::NAN);
        let deviation = finite("deviation", deviation)?;
        Ok(Learned {
            body: Body {
                last: values[values.len() - 1],
                noise: Noise::fit(noise::Kind::read(params)?, &steps, deviation)?,
            },
            predictions: [&[f64::NAN], &values[..values.len() - 1]].concat(),
            aicc: None,
        })
    }

    fn check(body: &Body) -> Result<(), StateError> {
        body.noise.check()
    }

    fn advance(
        body: &mut Body,
        recent: Series<'_>,
        predicted: &mut dyn FnMut(f64),
    ) -> Result<(), StateError> {
        for value in recent.values {
            predicted(body.last);
            body.last = *value;
        }
        Ok(())
    }

    fn expect(body: Body, ahead: Ahead<'_>) -> Result<Box<dyn Outlook>, StateError> {
        Ok(Box::new(Linear {
            mean: vec![body.last; ahead.steps],
            weights: vec![1.0; ahead.steps],
            noise: body.noise,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HISTORY: Series<'_> = Series {
        dates: &[1, 2, 3],
        values: &[1.0, 4.0, 0.0],
        regressors: &[],
    };

    fn fitted() -> Body {
        Naive::learn(HISTORY, &Params::default(), Start::Cold)
            .unwrap()
            .body
    }

    #[test]
    fn the_deviation_is_the_root_mean_square_of_the_steps() {
        assert_eq!(
            (fitted().last, fitted().noise.deviation()),
            (0.0, 12.5f64.sqrt())
        );
    }

    #[test]
    fn conditioning_moves_the_level_and_freezes_the_deviation() {
        let mut body = fitted();
        let recent = Series {
            dates: &[4],
            values: &[100.0],
            regressors: &[],
        };
        Naive::advance(&mut body, recent, &mut |_| {}).unwrap();
        assert_eq!((body.last, body.noise.deviation()), (100.0, 12.5f64.sqrt()));
    }
}
