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
    paths::Paths,
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
    /// Turns the errors of some paths, each in a lane of its own, into their values.
    #[inline(always)]
    fn run<const L: usize>(&self, lanes: &mut [[f64; L]]) {
        let states = &self.states;
        let reached = states.season.iter().take(lanes.len());
        let mut season: Vec<[f64; L]> = reached.map(|own| [*own; L]).collect();
        by_form!(
            self.form,
            walk[_](
                &self.smoothing,
                states.level,
                states.growth,
                &mut season,
                lanes
            )
        );
    }

    fn path(&self, errors: &[f64]) -> Vec<f64> {
        let mut lanes: Vec<[f64; 1]> = errors.iter().map(|error| [*error]).collect();
        self.run(&mut lanes);
        lanes.into_iter().map(|[value]| value).collect()
    }
}

impl Outlook for Future {
    /// The path without errors, which is what Hyndman, Koehler, Ord and Snyder (section 6.3) use in
    /// place of means that have no formula.
    fn point(&self) -> Vec<f64> {
        self.path(&vec![0.0; self.steps])
    }

    fn draw(&self, rng: &mut Rng, path: &mut [f64]) {
        self.noise.fill(rng, path);
        let drawn = self.path(path);
        path.copy_from_slice(&drawn);
    }

    fn deviations(&self) -> Option<Vec<f64>> {
        Some(first_order(
            self.steps,
            self.noise.deviation(),
            #[inline(always)]
            |lanes| self.run(lanes),
        ))
    }

    fn draw_all(&self, steps: usize, rngs: &[Rng]) -> Paths {
        Paths::from_errors(
            steps,
            rngs,
            &self.noise,
            #[inline(always)]
            |lanes| self.run(lanes),
        )
    }
}

#[inline(always)]
fn walk<const E: bool, const T: u8, const S: u8, const L: usize>(
    smoothing: &Smoothing,
    level: f64,
    growth: f64,
    season: &mut [[f64; L]],
    lanes: &mut [[f64; L]],
) {
    let (mut level, mut growth) = ([level; L], [growth; L]);
    let mut last = level;
    let mut none = [[0.0; L]];
    let season = if S == NONE { &mut none[..] } else { season };
    for cycle in lanes.chunks_mut(season.len().max(1)) {
        for (values, season) in cycle.iter_mut().zip(season.iter_mut()) {
            for lane in 0..L {
                let damped = damp::<T>(growth[lane], smoothing.phi);
                let expected = grown::<T>(level[lane], damped);
                let predicted = seasoned::<S>(expected, season[lane]);
                let error = if E {
                    values[lane].max(LEAST_ERROR) * predicted
                } else {
                    values[lane]
                };
                // Additive errors can bring a factor to zero or below, and factors can leave the
                // range of a double. There a path stays where it was.
                let value = kept(predicted + error, last[lane]);
                values[lane] = value;
                last[lane] = value;
                let surprise = if S == MULTIPLICATIVE {
                    kept(error / season[lane], 0.0)
                } else {
                    error
                };
                match T {
                    NONE => {}
                    ADDITIVE => growth[lane] = damped + smoothing.beta * surprise,
                    _ => {
                        let next = damped + smoothing.beta * (surprise / level[lane]);
                        growth[lane] = if next > 0.0 {
                            kept(next, damped)
                        } else {
                            damped
                        };
                    }
                }
                let next = expected + smoothing.alpha * surprise;
                level[lane] = if T == MULTIPLICATIVE && next <= 0.0 {
                    expected
                } else {
                    kept(next, level[lane])
                };
                match S {
                    NONE => {}
                    ADDITIVE => season[lane] += smoothing.gamma * error,
                    _ => {
                        let next = season[lane] + smoothing.gamma * (error / expected);
                        season[lane] = if next > 0.0 {
                            kept(next, season[lane])
                        } else {
                            season[lane]
                        };
                    }
                }
            }
        }
    }
}

/// A number, or another where it is not finite.
#[inline(always)]
fn kept(number: f64, otherwise: f64) -> f64 {
    if number.is_finite() {
        number
    } else {
        otherwise
    }
}
