//! Widths that hold: paths stretched around the point forecast until as many observations lie
//! within as the paths say.
//!
//! A model is fitted to the earlier part of its history and run over the rest, parameters frozen.
//! At origins along the way its errors some steps ahead are divided by the deviation it gave for
//! them. Their quantiles over the model's own (of the same kind) say how much too wide or narrow
//! the model is, in the middle and in the tails, and paths are stretched by that: split conformal
//! prediction with errors that are normalised (Lei, G'Sell, Rinaldo, Tibshirani and Wasserman 2018,
//! section 5.2), turned from intervals into paths.
//!
//! | `calibrate` | errors are divided by |
//! | --- | --- |
//! | `conformal` | the deviation the model gives for them |
//! | `volatility` | the deviation of the newest errors, times the model's own growth from the first step to theirs |
//! | `auto` | what makes those errors likelier, over all horizons |
//!
//! `volatility` replaces the model's width by one that follows the spells of its errors (see
//! `volatility.rs`): right for models of constant width on prices; the wrong choice for a model whose
//! width follows spells by itself, and where the size of errors depends on the season.
//!
//! Errors of both signs count together, so the shape that the model gives its distribution stays. A
//! quantile needs some errors beyond it (see `curve.rs`); a history that is too short for any leaves
//! widths as they are. Errors of many steps overlap, so there are fewer of them than it seems: each
//! horizon leans on the one before it, and the first on the model, by as much as errors are few.

mod curve;
mod experience;
mod volatility;

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::{
    Digest, Parameter, Params, Paths,
    errors::{FitError, StateError},
    math::exp,
    outlook::Outlook,
    rng::{Rng, Streams},
    state::corrupt,
    wide::wide,
};
use curve::Curve;
pub(crate) use experience::{Experience, window};
pub(crate) use volatility::Observed;
use volatility::Volatility;

/// The parameter by which any family lets its users choose.
pub(crate) const PARAMETER: Parameter = Parameter {
    name: "calibrate",
    default: "\"none\"",
    help: "stretch paths to the errors of the past: none, conformal, volatility (of the newest errors), or auto (the better)",
};

/// The horizons that have a curve of their own, as far as paths are compared.
const HORIZONS: [usize; 7] = [1, 2, 4, 7, 10, 14, 20];

/// Paths that tell how far they lie apart.
const PATHS: usize = 64;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// By the measure that fits the errors better.
    Auto,
    /// By this one.
    Only(Measure),
}

/// What errors are divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// The model's own deviation.
    Own,
    /// That of the newest errors.
    Volatility,
}

impl Wanted {
    /// Reads the parameter; `None` if paths stay as they are.
    pub(crate) fn read(params: &Params) -> Result<Option<Wanted>, FitError> {
        match params.str_or(PARAMETER.name, "none")? {
            "none" => Ok(None),
            "auto" => Ok(Some(Wanted::Auto)),
            "conformal" => Ok(Some(Wanted::Only(Measure::Own))),
            "volatility" => Ok(Some(Wanted::Only(Measure::Volatility))),
            _ => Err(params.out_of_range(PARAMETER.name, "none, auto, conformal or volatility")),
        }
    }

    fn takes(self, measure: Measure) -> bool {
        self == Wanted::Auto || self == Wanted::Only(measure)
    }
}

/// How paths are stretched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Calibration {
    /// The deviation of the newest errors, where it is the measure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    volatility: Option<Volatility>,
    /// One curve for each of the first of [`HORIZONS`].
    curves: Vec<Curve>,
    /// How many observations came since the curves were learned.
    newer: u32,
}

impl Calibration {
    /// How many observations came since it was learned.
    pub(crate) fn newer(&self) -> u32 {
        self.newer
    }

    /// Whether it is what is asked for.
    pub(crate) fn is(&self, wanted: Wanted) -> bool {
        wanted.takes(match self.volatility {
            None => Measure::Own,
            Some(_) => Measure::Volatility,
        })
    }

    /// Takes in a one-step prediction and what came.
    pub(crate) fn observe(&mut self, observed: Observed) {
        self.newer = self.newer.saturating_add(1);
        if let Some(volatility) = &mut self.volatility {
            volatility.observe(observed);
        }
    }

    pub(crate) fn check(&self) -> Result<(), StateError> {
        if self.curves.len() > HORIZONS.len() {
            return Err(corrupt("there are more curves than horizons"));
        }
        self.curves.iter().try_for_each(Curve::check)?;
        self.volatility.as_ref().map_or(Ok(()), Volatility::check)
    }

    /// The curves around a step, counted from 1, and how much of the second there is in between.
    fn curves(&self, step: usize) -> Option<(&Curve, &Curve, f64)> {
        let last = self.curves.last()?;
        let after = HORIZONS[..self.curves.len()]
            .iter()
            .position(|horizon| *horizon >= step);
        Some(match after {
            None => (last, last, 0.0),
            Some(0) => (&self.curves[0], &self.curves[0], 0.0),
            Some(after) => {
                let (from, to) = (HORIZONS[after - 1] as f64, HORIZONS[after] as f64);
                let share = (step as f64 - from) / (to - from);
                (&self.curves[after - 1], &self.curves[after], share)
            }
        })
    }

    /// Stretches what a model expects.
    pub(crate) fn apply(&self, inner: Box<dyn Outlook>, steps: usize) -> Calibrated {
        let point = inner.point();
        let spread = spread(inner.as_ref(), steps);
        let factor = |step: usize| match (&self.volatility, spread.first()) {
            (Some(volatility), Some(first)) => {
                let factor = volatility.deviation(point[0]) / first * volatility.growth(step + 1);
                // Without errors so far, or without width, there is nothing to go by.
                if factor.is_normal() { factor } else { 1.0 }
            }
            _ => 1.0,
        };
        let stretches = (0..steps)
            .map(|step| match self.curves(step + 1) {
                Some((before, after, share)) => {
                    let curve = before.between(after, share);
                    Stretch::new(&curve, spread[step], factor(step))
                }
                None => Stretch::new(&Curve::straight(), spread[step], factor(step)),
            })
            .collect();
        Calibrated {
            inner,
            point,
            stretches,
        }
    }
}

/// Where distances from the point forecast go at one step: along straight lines between knots.
struct Stretch {
    /// The slope before the first knot.
    slope: f64,
    /// The distances at the knots, and by how much the slope grows there; places that the curve has
    /// no use for change nothing.
    knots: [(f64, f64); curve::MOST_KNOTS],
    /// The greatest slope.
    steepest: f64,
}

/// Values stretched together.
const LANES: usize = 16;

impl Stretch {
    fn new(curve: &Curve, spread: f64, factor: f64) -> Stretch {
        let slopes: Vec<f64> = curve.slopes().map(|slope| slope * factor).collect();
        let from = curve.expected().iter().map(|knot| knot * spread);
        let growths = slopes.windows(2).map(|pair| pair[1] - pair[0]);
        Stretch::along(slopes[0], from.zip(growths))
    }

    fn along(slope: f64, bends: impl IntoIterator<Item = (f64, f64)>) -> Stretch {
        let mut knots = [(0.0, 0.0); curve::MOST_KNOTS];
        let (mut now, mut steepest) = (slope, slope);
        for (place, bend) in knots.iter_mut().zip(bends) {
            *place = bend;
            now += bend.1;
            steepest = steepest.max(now);
        }
        Stretch {
            slope,
            knots,
            steepest,
        }
    }

    /// Stretches values of one step.
    fn all(&self, point: f64, values: &mut [f64]) {
        wide(
            #[inline(always)]
            || {
                let plain = self.none_is_kept(point, values);
                let (chunks, rest) = values.as_chunks_mut::<LANES>();
                for values in chunks {
                    self.each(point, plain, values);
                }
                for value in rest {
                    self.each(point, plain, std::array::from_mut(value));
                }
            },
        );
    }

    #[inline(always)]
    fn each<const L: usize>(&self, point: f64, plain: bool, values: &mut [f64; L]) {
        let moved = self.moved(point, values);
        if plain {
            *values = moved;
        } else {
            for (value, moved) in values.iter_mut().zip(moved) {
                *value = kept(point, *value, moved);
            }
        }
    }

    /// Whether values lie so close that [`kept`] has nothing to do for any.
    #[inline(always)]
    fn none_is_kept(&self, point: f64, values: &[f64]) -> bool {
        let close = if point > 0.0 { 0.499 * point } else { f64::MAX };
        let limit = close.min(1e300) / self.steepest;
        // Sums of what distances are in excess, for they are vectors where comparisons are not.
        let mut excess = [0.0; LANES];
        let (chunks, rest) = values.as_chunks::<LANES>();
        for values in chunks {
            for lane in 0..LANES {
                excess[lane] += ((values[lane] - point).abs() - limit).max(0.0);
            }
        }
        let near = |value: &f64| (value - point).abs() <= limit;
        excess.iter().sum::<f64>() == 0.0 && rest.iter().all(near)
    }

    #[inline(always)]
    fn moved<const L: usize>(&self, point: f64, values: &[f64; L]) -> [f64; L] {
        let mut sides = [0.0; L];
        let mut distances = [0.0; L];
        let mut moved = [0.0; L];
        for lane in 0..L {
            sides[lane] = values[lane] - point;
            distances[lane] = sides[lane].abs();
            moved[lane] = self.slope * distances[lane];
        }
        for (from, growth) in &self.knots {
            for lane in 0..L {
                moved[lane] += growth * (distances[lane] - from).max(0.0);
            }
        }
        for lane in 0..L {
            moved[lane] = point + moved[lane].copysign(sides[lane]);
        }
        moved
    }
}

/// A moved value that is finite, and positive where it was before.
fn kept(point: f64, value: f64, moved: f64) -> f64 {
    let half = 0.5 * point;
    if !moved.is_finite() {
        // Beyond all numbers, lines say nothing.
        value
    } else if value > 0.0 && point > 0.0 && moved < half {
        (half * exp((moved - half) / half)).max(f64::MIN_POSITIVE)
    } else {
        moved
    }
}

/// What a model expects, stretched.
pub(crate) struct Calibrated {
    inner: Box<dyn Outlook>,
    point: Vec<f64>,
    stretches: Vec<Stretch>,
}

impl Outlook for Calibrated {
    fn point(&self) -> Vec<f64> {
        self.point.clone()
    }

    fn draw(&self, rng: &mut Rng, path: &mut [f64]) {
        self.inner.draw(rng, path);
        for (step, value) in path.iter_mut().enumerate() {
            self.stretches[step].all(self.point[step], std::slice::from_mut(value));
        }
    }

    fn draw_all(&self, steps: usize, rngs: &[Rng]) -> Paths {
        let mut paths = self.inner.draw_all(steps, rngs);
        let expected = self.stretches.iter().zip(&self.point);
        for (values, (stretch, point)) in paths.rows().zip(expected) {
            stretch.all(*point, values);
        }
        paths
    }
}

/// How far paths lie from the point forecast at each step. Where that has to be drawn, it is with
/// the same random numbers every time: what they are off by is the same in what was learned and
/// where it is applied, and cancels.
fn spread(outlook: &dyn Outlook, steps: usize) -> Vec<f64> {
    outlook.deviations().unwrap_or_else(|| {
        let streams = Streams::new(&Digest::new());
        deviations(&outlook.simulate(steps, PATHS, &streams), &outlook.point())
    })
}

/// The deviation that the mean distance of paths from the point forecast tells: steadier than that
/// of the paths themselves, and the same where they are normally distributed.
fn deviations(paths: &Paths, point: &[f64]) -> Vec<f64> {
    let deviation = |step: usize| {
        let values = paths.step(step).iter();
        let distances: f64 = values.map(|value| (value - point[step]).abs()).sum();
        distances / paths.count as f64 * (PI / 2.0).sqrt()
    };
    (0..paths.steps).map(deviation).collect()
}

#[cfg(test)]
mod tests;
