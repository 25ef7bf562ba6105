//! The parameters with the least sum of squared one-step errors.
//!
//! For a given smoothing parameter the errors are linear in the initial level and in the line's
//! weight, so that those two have a closed solution and the search runs in one dimension. Losses
//! of several smoothing parameters are computed side by side.

use super::model::{LEAST_DECAY, Line, Model};

/// Smoothing parameters whose losses are computed together.
const LANES: usize = 8;
/// The bounds of the smoothing parameter.
const LOWEST: f64 = 0.1;
const HIGHEST: f64 = 0.99;
/// Batches of smoothing parameters between the bounds in which the valley is looked for: the loss
/// may have more than one.
const COARSE: usize = 3;
/// How far from an earlier smoothing parameter a warm search looks first.
const NEAR: f64 = 0.04;
/// The distance of the last points; the vertex of the parabola through them is the end.
const SPACING: f64 = 5e-4;

/// What is minimised.
pub(crate) struct Problem<'a> {
    /// The values without their season, from the first of them, of a size near one.
    values: &'a [f64],
    /// A_{t-1} and B_{t-1} for the t-th value.
    lines: Vec<(f64, f64)>,
    /// The line before the first value.
    start: Line,
    /// The line's weight where it is not estimated.
    weight: Option<f64>,
}

/// Where the search ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    /// The model before the first value, its origin at zero.
    pub(crate) model: Model,
    /// The sum of squared errors.
    pub(crate) loss: f64,
    /// How many smoothing parameters were tried.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "tests hold warm searches to it")
    )]
    pub(crate) calls: usize,
}

/// Sums of products of what an error is made of: the error with initial level and weight zero (e),
/// the powers of 1 - alpha (p), and the effect of the line (d).
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    ee: f64,
    ep: f64,
    ed: f64,
    pp: f64,
    pd: f64,
    dd: f64,
}

impl Sums {
    /// The initial level and weight with the least sum of squares. Squares are convex in the two,
    /// so that the best weight within its bounds is the best one moved to the nearest bound. The
    /// first of the powers is 1, so that their sum of squares never vanishes.
    fn solve(&self, weight: Option<f64>) -> (f64, f64) {
        let weight = weight.unwrap_or_else(|| {
            let share = self.pd / self.pp;
            let spread = self.dd - share * self.pd;
            let product = self.ed - share * self.ep;
            if spread > 1e-12 * self.dd {
                (product / spread).clamp(0.0, 1.0)
            } else {
                0.5
            }
        });
        ((self.ep - weight * self.pd) / self.pp, weight)
    }

    fn loss(&self, weight: Option<f64>) -> f64 {
        let (level, weight) = self.solve(weight);
        self.ee - 2.0 * (level * self.ep + weight * self.ed)
            + level * level * self.pp
            + 2.0 * level * weight * self.pd
            + weight * weight * self.dd
    }
}

impl<'a> Problem<'a> {
    /// The problem of fitting a model with this line, fixed or moving.
    pub(crate) fn new(values: &'a [f64], start: Line, weight: Option<f64>) -> Problem<'a> {
        let mut line = start;
        let lines = values
            .iter()
            .map(|value| {
                let before = line.coefficients();
                line.take_in(*value);
                before
            })
            .collect();
        Problem {
            values,
            lines,
            start,
            weight,
        }
    }

    /// The best model, searched for near an earlier smoothing parameter if there is one.
    pub(crate) fn solve(&self, guess: Option<f64>) -> Found {
        let mut calls = 0;
        let near = guess.and_then(|guess| {
            let guess = guess.clamp(LOWEST, HIGHEST);
            let (low, high) = ((guess - NEAR).max(LOWEST), (guess + NEAR).min(HIGHEST));
            self.bracket(low, high, 1, &mut calls)
        });
        let (low, high) = near
            .or_else(|| self.bracket(LOWEST, HIGHEST, COARSE, &mut calls))
            .unwrap_or((LOWEST, HIGHEST));
        let alpha = self.narrow(low, high, &mut calls);
        self.at(alpha, calls)
    }

    /// The model with this smoothing parameter.
    pub(crate) fn at(&self, alpha: f64, calls: usize) -> Found {
        let [sums] = self.sums([alpha]);
        let (level, weight) = sums.solve(self.weight);
        self.found(alpha, level, weight, calls + 1)
    }

    /// The model with these parameters.
    pub(crate) fn found(&self, alpha: f64, level: f64, weight: f64, calls: usize) -> Found {
        let model = Model {
            origin: 0.0,
            alpha,
            weight,
            level,
            decay: 1.0,
            line: self.start,
        };
        let mut filter = model;
        let mut loss = 0.0;
        for value in self.values {
            let error = value - filter.next();
            loss += error * error;
            filter.take_in(*value);
        }
        Found { model, loss, calls }
    }

    /// The neighbours of the point of least loss among evenly spaced ones, `None` where that is an
    /// end which is no bound: the loss still falls there.
    fn bracket(
        &self,
        low: f64,
        high: f64,
        batches: usize,
        calls: &mut usize,
    ) -> Option<(f64, f64)> {
        let count = batches * LANES;
        let spacing = (high - low) / (count - 1) as f64;
        let at = |index: usize| (low + spacing * index as f64).min(high);
        let mut least = (0, f64::INFINITY);
        for batch in 0..batches {
            let losses = self.losses(|lane| at(batch * LANES + lane), calls);
            for (lane, loss) in losses.into_iter().enumerate() {
                if loss < least.1 {
                    least = (batch * LANES + lane, loss);
                }
            }
        }
        let best = least.0;
        let falls = (best == 0 && low > LOWEST) || (best == count - 1 && high < HIGHEST);
        (!falls).then(|| (at(best.saturating_sub(1)), at((best + 1).min(count - 1))))
    }

    /// The smoothing parameter of least loss between two.
    fn narrow(&self, mut low: f64, mut high: f64, calls: &mut usize) -> f64 {
        loop {
            let spacing = (high - low) / (LANES - 1) as f64;
            let at = |lane: usize| (low + spacing * lane as f64).min(high);
            let losses = self.losses(at, calls);
            let best = (0..LANES)
                .min_by(|left, right| losses[*left].total_cmp(&losses[*right]))
                .unwrap_or(0);
            if spacing < SPACING {
                return if 0 < best && best < LANES - 1 {
                    at(best) + spacing * vertex(losses[best - 1], losses[best], losses[best + 1])
                } else {
                    at(best)
                };
            }
            (low, high) = (at(best.saturating_sub(1)), at((best + 1).min(LANES - 1)));
        }
    }

    /// The losses of some smoothing parameters.
    fn losses(&self, alpha: impl Fn(usize) -> f64, calls: &mut usize) -> [f64; LANES] {
        *calls += LANES;
        self.sums(std::array::from_fn(alpha))
            .map(|sums| sums.loss(self.weight))
    }

    /// The sums for several smoothing parameters.
    fn sums<const L: usize>(&self, alphas: [f64; L]) -> [Sums; L] {
        let mut sums = Running::new(alphas);
        for (value, line) in self.values.iter().zip(&self.lines) {
            sums.step(*value, *line);
        }
        std::array::from_fn(|lane| Sums {
            ee: sums.ee[lane],
            ep: sums.ep[lane],
            ed: sums.ed[lane],
            pp: sums.pp[lane],
            pd: sums.pd[lane],
            dd: sums.dd[lane],
        })
    }
}

/// The sums in the making, one lane a smoothing parameter.
struct Running<const L: usize> {
    alpha: [f64; L],
    inverse: [f64; L],
    level: [f64; L],
    decay: [f64; L],
    ee: [f64; L],
    ep: [f64; L],
    ed: [f64; L],
    pp: [f64; L],
    pd: [f64; L],
    dd: [f64; L],
}

impl<const L: usize> Running<L> {
    fn new(alpha: [f64; L]) -> Self {
        Running {
            alpha,
            inverse: alpha.map(|alpha| 1.0 / alpha),
            level: [0.0; L],
            decay: [1.0; L],
            ee: [0.0; L],
            ep: [0.0; L],
            ed: [0.0; L],
            pp: [0.0; L],
            pd: [0.0; L],
            dd: [0.0; L],
        }
    }

    #[inline(always)]
    fn step(&mut self, value: f64, (intercept, slope): (f64, f64)) {
        for lane in 0..L {
            let error = value - self.level[lane];
            let decay = self.decay[lane];
            let next = decay * (1.0 - self.alpha[lane]);
            let drift = decay * intercept + (1.0 - next) * self.inverse[lane] * slope;
            self.ee[lane] += error * error;
            self.ep[lane] += error * decay;
            self.ed[lane] += error * drift;
            self.pp[lane] += decay * decay;
            self.pd[lane] += decay * drift;
            self.dd[lane] += drift * drift;
            self.level[lane] += self.alpha[lane] * error;
            self.decay[lane] = if next < LEAST_DECAY { 0.0 } else { next };
        }
    }
}

/// Where the parabola through three losses one apart has its vertex, from the middle one.
fn vertex(left: f64, middle: f64, right: f64) -> f64 {
    let bend = left - 2.0 * middle + right;
    if bend > 0.0 {
        (0.5 * (left - right) / bend).clamp(-1.0, 1.0)
    } else {
        0.0
    }
}
