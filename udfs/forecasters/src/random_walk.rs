//! A random walk with drift, both drift and deviation taken from the newest steps.
//!
//! Each coming step has the mean and the standard deviation (divisor n - 1) of the
//! last `lookback` first differences. They are rolling statistics: conditioning on new
//! observations moves them, for the model's one parameter is the lookback. Good where volatility
//! comes and goes; the wrong choice where steps return to a level or a season. A short lookback
//! makes the drift noisy, and the drift is extrapolated over the whole horizon.
//!
//! Hyndman and Athanasopoulos, *Forecasting: Principles and Practice* (3rd edition), section 5.2
//! (drift method), over a moving window. The uncertainty of the drift itself is not simulated.

use serde::{Deserialize, Serialize};

use crate::{
    Parameter, Params,
    errors::{FitError, StateError},
    family::{Family, Learned, Start},
    fitted::finite,
    moments::{deviation, mean},
    noise::{self, Noise},
    outlook::{Linear, Outlook},
    series::{Ahead, Series},
    state::corrupt,
    window::Window,
};

/// The random walk with drift.
pub struct RandomWalk;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body {
    /// One value more than the lookback.
    window: Window,
    errors: noise::Kind,
}

impl Body {
    fn steps(&self) -> Vec<f64> {
        self.window
            .values()
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .collect()
    }

    /// The value expected next. The mean of consecutive differences is that of their ends.
    fn next(&self) -> f64 {
        let values = self.window.values();
        let last = self.window.last();
        last + (last - values[0]) / (values.len() - 1) as f64
    }
}

impl RandomWalk {
    fn lookback(params: &Params) -> Result<usize, FitError> {
        match params.usize_or("lookback", 30)? {
            0 | 1 => Err(params.out_of_range("lookback", "at least 2")),
            lookback => Ok(lookback),
        }
    }
}

impl Family for RandomWalk {
    type Body = Body;
    const NAME: &'static str = "random_walk";
    const FORMAT: u32 = 1;
    const SUMMARY: &'static str = "random walk with the drift and deviation of the newest steps";
    const PARAMETERS: &'static [Parameter] = &[
        Parameter {
            name: "lookback",
            default: "30",
            help: "how many of the newest steps give drift and deviation, from 2",
        },
        noise::ERRORS,
    ];

    fn minimum(params: &Params) -> Result<usize, FitError> {
        noise::Kind::read(params)?;
        Ok(RandomWalk::lookback(params)?.saturating_add(1))
    }

    fn learn(
        history: Series<'_>,
        params: &Params,
        _start: Start<'_, Body>,
    ) -> Result<Learned<Body>, FitError> {
        let lookback = RandomWalk::lookback(params)?;
        let values = history.values;
        let body = Body {
            window: Window::of(values, lookback + 1),
            errors: noise::Kind::read(params)?,
        };
        finite("drift", mean(&body.steps()))?;
        finite("deviation", deviation(&body.steps()))?;
        let mut predictions = vec![f64::NAN; lookback + 1];
        predictions.extend(
            values[..values.len() - 1]
                .windows(lookback + 1)
                .map(|window| {
                    let last = window[lookback];
                    last + (last - window[0]) / lookback as f64
                }),
        );
        Ok(Learned {
            body,
            predictions,
            aicc: None,
        })
    }

    fn check(body: &Body) -> Result<(), StateError> {
        if body.window.values().len() < 3 {
            return Err(corrupt("the lookback is below 2"));
        }
        body.window.check(body.window.values().len())
    }

    fn advance(
        body: &mut Body,
        recent: Series<'_>,
        predicted: &mut dyn FnMut(f64),
    ) -> Result<(), StateError> {
        for value in recent.values {
            predicted(body.next());
            body.window.push(*value);
        }
        Ok(())
    }

    fn expect(body: Body, ahead: Ahead<'_>) -> Result<Box<dyn Outlook>, StateError> {
        let steps = body.steps();
        let drift = mean(&steps);
        let last = body.window.last();
        Ok(Box::new(Linear {
            mean: (1..=ahead.steps)
                .map(|step| last + step as f64 * drift)
                .collect(),
            weights: vec![1.0; ahead.steps],
            noise: Noise::fit(body.errors, &steps, deviation(&steps))?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Forecaster, Streams, paths::check_moments};

    fn fitted(values: &[f64], params: &str) -> Learned<Body> {
        let dates: Vec<i32> = (0..values.len() as i32).collect();
        let history = Series {
            dates: &dates,
            values,
            regressors: &[],
        };
        RandomWalk::learn(history, &Params::parse(params).unwrap(), Start::Cold).unwrap()
    }

    #[test]
    fn drift_and_deviation_are_those_of_the_newest_steps() {
        let fitted = fitted(&[50.0, 10.0, 11.0, 14.0], r#"{"lookback":2}"#);
        let steps = fitted.body.steps();
        assert_eq!((mean(&steps), deviation(&steps)), (2.0, 2f64.sqrt()));
        // 14 was forecast as 11 + (11 - 50) / 2.
        assert_eq!(fitted.predictions[3], -8.5);
    }

    #[test]
    fn conditioning_moves_drift_and_deviation() {
        let mut body = fitted(&[10.0, 11.0, 14.0], r#"{"lookback":2}"#).body;
        let recent = Series {
            dates: &[4, 5],
            values: &[14.0, 20.0],
            regressors: &[],
        };
        RandomWalk::advance(&mut body, recent, &mut |_| {}).unwrap();
        assert_eq!(
            (mean(&body.steps()), deviation(&body.steps())),
            (3.0, 18f64.sqrt())
        );
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
        let body = fitted(&golden.values, "{}").body;
        let near = |found: f64, expected: f64| {
            let ratio = found / expected;
            assert!(
                (ratio - 1.0).abs() < golden.relative_tolerance,
                "{found} {expected}"
            );
        };
        near(mean(&body.steps()), golden.drift);
        near(deviation(&body.steps()), golden.deviation);
        let ahead = Ahead {
            steps: golden.means.len(),
            dates: &[],
            regressors: &[],
        };
        let outlook = RandomWalk::expect(body, ahead).unwrap();
        let paths = outlook.simulate(ahead.steps, 40_000, &Streams::new(&crate::Digest::new()));
        check_moments(&paths, &golden.means, &golden.deviations);
    }
}
