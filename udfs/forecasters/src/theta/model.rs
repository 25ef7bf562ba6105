//! The recursion all forms share, in the scale of the series without its season.
//!
//! Everything is measured from `origin`, the first value: the model is the same wherever zero
//! lies, once its initial level has moved with it, and a constant series stays exactly constant.

use serde::{Deserialize, Serialize};

use crate::{errors::StateError, fitted::finite, state::corrupt};

/// The straight line whose slope is continued.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case", tag = "kind")]
pub(crate) enum Line {
    /// Least squares over the history, frozen: A_n + B_n t.
    Fixed {
        /// A_n.
        intercept: f64,
        /// B_n.
        slope: f64,
    },
    /// Least squares over the observations so far.
    Moving {
        /// Their number, t.
        count: u32,
        /// Their mean.
        mean: f64,
        /// B_t.
        slope: f64,
    },
}

impl Line {
    /// The least-squares line over all values, the first of them at time 1.
    pub(crate) fn fixed(values: &[f64]) -> Line {
        let mut line = Line::MOVING;
        values.iter().for_each(|value| line.take_in(*value));
        let (intercept, slope) = line.coefficients();
        Line::Fixed { intercept, slope }
    }

    /// The line over no values yet.
    pub(crate) const MOVING: Line = Line::Moving {
        count: 0,
        mean: 0.0,
        slope: 0.0,
    };

    /// A_t and B_t.
    #[inline]
    pub(crate) fn coefficients(&self) -> (f64, f64) {
        match *self {
            Line::Fixed { intercept, slope } => (intercept, slope),
            Line::Moving { count, mean, slope } => {
                (mean - 0.5 * (f64::from(count) + 1.0) * slope, slope)
            }
        }
    }

    /// Updates mean and slope where they move (Fiorucci et al., equations for B_t and the mean).
    #[inline]
    pub(crate) fn take_in(&mut self, value: f64) {
        if let Line::Moving { count, mean, slope } = self {
            *count = count.saturating_add(1);
            let growth = Growth::at(*count);
            let error = value - *mean;
            *slope = growth.kept * *slope + growth.gained * error;
            *mean += growth.share * error;
        }
    }
}

/// What the t-th observation does to a moving line: B_t = kept B_{t-1} + gained (Y_t - mean), and
/// the mean gains `share` of the same difference.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Growth {
    pub(crate) kept: f64,
    pub(crate) gained: f64,
    pub(crate) share: f64,
}

impl Growth {
    #[inline]
    pub(crate) fn at(count: u32) -> Growth {
        let t = f64::from(count);
        // The first observation is at the origin and has no slope.
        Growth {
            kept: (t - 2.0).max(0.0) / (t + 1.0),
            gained: if count < 2 {
                0.0
            } else {
                6.0 / (t * (t + 1.0))
            },
            share: 1.0 / t,
        }
    }
}

/// A theta model brought up to its newest observation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Model {
    /// The first value of the history.
    pub(crate) origin: f64,
    /// The smoothing parameter.
    pub(crate) alpha: f64,
    /// The share of the line, 1 - 1 / theta.
    pub(crate) weight: f64,
    /// The smoothed level, from the origin.
    pub(crate) level: f64,
    /// (1 - alpha)^t after t observations.
    pub(crate) decay: f64,
    /// The line, from the origin.
    pub(crate) line: Line,
}

/// Powers of 1 - alpha below this are zero: they are far below what a double adds to a level, and
/// the processor is slow on still smaller ones.
pub(crate) const LEAST_DECAY: f64 = 1e-100;

impl Model {
    /// The one-step prediction: level + weight {(1 - alpha)^{t-1} A + [1 - (1 - alpha)^t] / alpha B}.
    #[inline]
    pub(crate) fn next(&self) -> f64 {
        let (intercept, slope) = self.line.coefficients();
        let gain = (1.0 - (1.0 - self.alpha) * self.decay) / self.alpha;
        self.origin + (self.level + self.weight * (self.decay * intercept + gain * slope))
    }

    /// Takes in an observation.
    #[inline]
    pub(crate) fn take_in(&mut self, value: f64) {
        let value = value - self.origin;
        self.level += self.alpha * (value - self.level);
        self.decay = next_decay(self.decay, self.alpha);
        self.line.take_in(value);
    }

    /// Refuses numbers beyond a double.
    pub(crate) fn finite(&self) -> Result<(), StateError> {
        let (intercept, slope) = self.line.coefficients();
        finite("level", self.origin + self.level)?;
        finite("slope", intercept + slope)?;
        Ok(())
    }

    /// Checks what was decoded.
    pub(crate) fn check(&self) -> Result<(), StateError> {
        let share = |number: f64| (0.0..=1.0).contains(&number);
        let (intercept, slope) = self.line.coefficients();
        let numbers = [self.origin, self.level, intercept, slope];
        if self.alpha > 0.0
            && share(self.alpha)
            && share(self.weight)
            && share(self.decay)
            && numbers.iter().all(|number| number.is_finite())
            && !matches!(
                self.line,
                Line::Moving {
                    count: 0 | u32::MAX,
                    ..
                }
            )
        {
            Ok(())
        } else {
            Err(corrupt("the theta model has a number out of range"))
        }
    }
}

/// The power of 1 - alpha after this one.
#[inline]
pub(crate) fn next_decay(decay: f64, alpha: f64) -> f64 {
    let next = decay * (1.0 - alpha);
    if next < LEAST_DECAY { 0.0 } else { next }
}
