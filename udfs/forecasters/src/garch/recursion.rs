//! The mean and the variance of the next return, and how both take in the return itself.

use serde::{Deserialize, Serialize};

use super::form::Kind;
use crate::{
    errors::StateError,
    math::{exp, ln},
    sizes::dot,
    state::corrupt,
    window::Window,
};

/// The least variance, as a multiple of the mean square of the returns.
pub(super) const LEAST: f64 = 1e-6;
/// The largest.
pub(super) const MOST: f64 = 1e6;
/// The largest error that is told from larger ones.
const MOST_ERROR: f64 = 1e9;
/// The mean of the size of a standard normal number, sqrt(2 / pi).
const MEAN_SIZE: f64 = 0.797_884_560_802_865_4;

/// The mean of the returns: a constant and autoregressive terms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mean {
    pub(super) constant: f64,
    /// The lag and the coefficient of each term.
    pub(super) terms: Vec<(usize, f64)>,
    /// The newest returns, as many as the longest lag.
    pub(super) recent: Window,
}

impl Mean {
    /// The mean of the next return.
    pub(super) fn next(&self) -> f64 {
        let recent = self.recent.values();
        self.terms
            .iter()
            .fold(self.constant, |sum, (lag, coefficient)| {
                sum + coefficient * recent[recent.len() - lag]
            })
    }

    /// Takes in a return.
    #[inline]
    pub(super) fn push(&mut self, change: f64) {
        if !self.terms.is_empty() {
            self.recent.push(change);
        }
    }

    pub(super) fn check(&self) -> Result<(), StateError> {
        let reach = self.recent.values().len();
        let sound = |(lag, coefficient): &(usize, f64)| {
            (1..=reach).contains(lag) && coefficient.is_finite()
        };
        if !(self.constant.is_finite() && self.terms.iter().all(sound)) {
            return Err(corrupt("the mean reaches beyond the state"));
        }
        self.recent.check(reach)
    }
}

/// The variance of the errors: `level = constant + sum size + sum sign + sum carry`, each sum over
/// coefficients times what was lagged values ago. The level is the variance, or its logarithm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Variance {
    pub(super) kind: Kind,
    pub(super) constant: f64,
    /// The effects of the sizes of errors, newest first.
    pub(super) size: Vec<f64>,
    /// The effects of their signs.
    pub(super) sign: Vec<f64>,
    /// The effects of the levels before.
    pub(super) carry: Vec<f64>,
    /// What the effects belong to, newest first.
    pub(super) sizes: Vec<f64>,
    pub(super) signs: Vec<f64>,
    pub(super) levels: Vec<f64>,
}

impl Variance {
    /// The level of the next step.
    #[inline]
    pub(super) fn level(&self) -> f64 {
        let level = self.constant
            + dot(&self.size, &self.sizes)
            + dot(&self.sign, &self.signs)
            + dot(&self.carry, &self.levels);
        self.kind.within(level)
    }

    /// Takes in an error.
    pub(super) fn push(&mut self, error: f64) {
        let level = self.level();
        let error = error.clamp(-MOST_ERROR, MOST_ERROR);
        let shock = error / self.kind.deviation(level);
        let (size, sign) = self.kind.effects(error, shock);
        self.take(level, size, sign);
    }

    /// Takes in a standardised error, and gives the error.
    #[inline]
    pub(super) fn drive(&mut self, shock: f64) -> f64 {
        let level = self.level();
        let error = shock * self.kind.deviation(level);
        let error = error.clamp(-MOST_ERROR, MOST_ERROR);
        let (size, sign) = self.kind.effects(error, shock);
        self.take(level, size, sign);
        error
    }

    #[inline]
    pub(super) fn take(&mut self, level: f64, size: f64, sign: f64) {
        shift(&mut self.sizes, size);
        shift(&mut self.signs, sign);
        shift(&mut self.levels, level);
    }

    pub(super) fn check(&self) -> Result<(), StateError> {
        let lengths = [
            (&self.size, &self.sizes),
            (&self.sign, &self.signs),
            (&self.carry, &self.levels),
        ];
        let sound = |(effects, lagged): &(&Vec<f64>, &Vec<f64>)| {
            effects.len() == lagged.len()
                && effects.iter().chain(*lagged).all(|value| value.is_finite())
        };
        if self.constant.is_finite() && lengths.iter().all(sound) {
            Ok(())
        } else {
            Err(corrupt("the variance has no such recursion"))
        }
    }
}

impl Kind {
    /// Keeps a level within what is computed with.
    #[inline]
    pub(super) fn within(self, level: f64) -> f64 {
        match self {
            Kind::Garch | Kind::Gjr => level.clamp(LEAST, MOST),
            Kind::Egarch => {
                const LOW: f64 = -13.815_510_557_964_274;
                level.clamp(LOW, -LOW)
            }
        }
    }

    /// The deviation at a level.
    #[inline]
    pub(super) fn deviation(self, level: f64) -> f64 {
        match self {
            Kind::Garch | Kind::Gjr => level.sqrt(),
            Kind::Egarch => exp(0.5 * level),
        }
    }

    /// The level of a variance.
    pub(super) fn level(self, variance: f64) -> f64 {
        match self {
            Kind::Garch | Kind::Gjr => variance,
            Kind::Egarch => ln(variance),
        }
    }

    /// What an error adds to later levels, by its size and by its sign.
    #[inline]
    pub(super) fn effects(self, error: f64, shock: f64) -> (f64, f64) {
        match self {
            Kind::Garch | Kind::Gjr => {
                let square = error * error;
                (square, if error < 0.0 { square } else { 0.0 })
            }
            Kind::Egarch => (shock.abs() - MEAN_SIZE, shock),
        }
    }

    /// The effects of the errors before the first, given their mean square.
    pub(super) fn effects_before(self, mean_square: f64) -> (f64, f64) {
        match self {
            Kind::Garch | Kind::Gjr => (mean_square, 0.5 * mean_square),
            Kind::Egarch => (0.0, 0.0),
        }
    }
}

#[inline]
fn shift(lagged: &mut [f64], newest: f64) {
    if lagged.len() > 1 {
        lagged.rotate_right(1);
    }
    if let Some(first) = lagged.first_mut() {
        *first = newest;
    }
}
