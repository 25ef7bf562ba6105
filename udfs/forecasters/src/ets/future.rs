//! Futures of the forms in which some component is a factor: no formulas, so paths are walked.

use super::{
    form::Form,
    recursion::{
        ADDITIVE, MULTIPLICATIVE, NONE, Smoothing, States, by_form, damp, grown, seasoned,
    },
};
use crate::{
    noise::Noise,
    outlook::{Outlook, first_order},
    rng::Rng,
};

/// What such a form expects.
pub(crate) struct Future {
    pub(crate) form: Form,
    pub(crate) smoothing: Smoothing,
    pub(crate) states: States,
    pub(crate) noise: Noise,
    pub(crate) steps: usize,
}

/// Relative errors end here: a value does not fall below zero.
const LEAST_ERROR: f64 = -0.999_999;

impl Future {
    fn walk(&self, errors: &mut dyn FnMut() -> f64, path: &mut [f64]) {
        let mut season = self.states.season.clone();
        by_form!(
            self.form,
            walk(
                &self.smoothing,
                self.states.level,
                self.states.growth,
                &mut season,
                errors,
                path
            )
        );
    }
}

impl Outlook for Future {
    /// The path without errors, which is what Hyndman, Koehler, Ord and Snyder (section 6.3) use in
    /// place of means that have no formula.
    fn point(&self) -> Vec<f64> {
        let mut path = vec![0.0; self.steps];
        self.walk(&mut || 0.0, &mut path);
        path
    }

    fn draw(&self, rng: &mut Rng, path: &mut [f64]) {
        if self.form.relative {
            self.walk(&mut || self.noise.draw(rng).max(LEAST_ERROR), path);
        } else {
            self.walk(&mut || self.noise.draw(rng), path);
        }
    }

    fn deviations(&self) -> Option<Vec<f64>> {
        let path = |errors: &[f64]| {
            let mut path = vec![0.0; self.steps];
            let mut errors = errors.iter();
            let least = if self.form.relative {
                LEAST_ERROR
            } else {
                f64::MIN
            };
            self.walk(
                &mut || errors.next().map_or(0.0, |error| error.max(least)),
                &mut path,
            );
            path
        };
        Some(first_order(self.steps, self.noise.deviation(), path))
    }
}

fn walk<const E: bool, const T: u8, const S: u8>(
    smoothing: &Smoothing,
    mut level: f64,
    mut growth: f64,
    season: &mut [f64],
    errors: &mut dyn FnMut() -> f64,
    path: &mut [f64],
) {
    let mut none = [0.0];
    let season = if S == NONE { &mut none[..] } else { season };
    let mut last = level;
    for cycle in path.chunks_mut(season.len()) {
        for (value, season) in cycle.iter_mut().zip(season.iter_mut()) {
            let damped = damp::<T>(growth, smoothing.phi);
            let expected = grown::<T>(level, damped);
            let predicted = seasoned::<S>(expected, *season);
            let error = errors() * if E { predicted } else { 1.0 };
            *value = predicted + error;
            // Additive errors can bring a factor to zero or below, and factors can leave the range
            // of a double. There a path stays where it was.
            if !value.is_finite() {
                *value = last;
            }
            last = *value;
            let surprise = if S == MULTIPLICATIVE {
                kept(error / *season, 0.0)
            } else {
                error
            };
            match T {
                NONE => {}
                ADDITIVE => growth = damped + smoothing.beta * surprise,
                _ => {
                    let next = damped + smoothing.beta * (surprise / level);
                    growth = if next > 0.0 {
                        kept(next, damped)
                    } else {
                        damped
                    };
                }
            }
            let next = expected + smoothing.alpha * surprise;
            level = if T == MULTIPLICATIVE && next <= 0.0 {
                expected
            } else {
                kept(next, level)
            };
            match S {
                NONE => {}
                ADDITIVE => *season += smoothing.gamma * error,
                _ => {
                    let next = *season + smoothing.gamma * (error / expected);
                    *season = if next > 0.0 {
                        kept(next, *season)
                    } else {
                        *season
                    };
                }
            }
        }
    }
}

/// A number, or another where it is not finite.
fn kept(number: f64, otherwise: f64) -> f64 {
    if number.is_finite() {
        number
    } else {
        otherwise
    }
}
