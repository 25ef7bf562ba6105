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
mod volatility;

use serde::{Deserialize, Serialize};

use crate::{
    Digest, Parameter, Params, Paths,
    errors::{FitError, StateError},
    math::exp,
    outlook::Outlook,
    rng::{Rng, Streams},
    state::corrupt,
};
use curve::Curve;
pub(crate) use volatility::Observed;
use volatility::Volatility;

/// The parameter by which any family lets its users choose.
pub(crate) const PARAMETER: Parameter = Parameter {
    name: "calibrate",
    default: "\"none\"",
    help: "stretch paths to the errors of the past: none, conformal, or volatility (of the newest errors)",
};

/// The horizons that have a curve of their own, as far as paths are compared.
const HORIZONS: [usize; 7] = [1, 2, 4, 7, 10, 14, 20];

/// As many of the newest observations serve as the past.
const MOST_OBSERVATIONS: usize = 2_000;

/// As few do not.
const LEAST_OBSERVATIONS: usize = 40;

/// About as many origins are looked far ahead from.
const ORIGINS: usize = 500;

/// Paths drawn at each, and how many of them are looked at one by one.
const PATHS: usize = 64;
const COMPARED: usize = 16;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// By the model's own deviation.
    Conformal,
    /// By that of the newest errors.
    Volatility,
}

impl Wanted {
    /// Reads the parameter; `None` if paths stay as they are.
    pub(crate) fn read(params: &Params) -> Result<Option<Wanted>, FitError> {
        match params.str_or(PARAMETER.name, "none")? {
            "none" => Ok(None),
            "conformal" => Ok(Some(Wanted::Conformal)),
            "volatility" => Ok(Some(Wanted::Volatility)),
            _ => Err(params.out_of_range(PARAMETER.name, "none, conformal or volatility")),
        }
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
}

impl Calibration {
    /// Takes in a one-step prediction and what came.
    pub(crate) fn observe(&mut self, observed: Observed) {
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
    /// The distances at the knots, from the first after zero.
    from: Vec<f64>,
    /// Where they go.
    to: Vec<f64>,
    /// The slopes before each knot, and after the last.
    slopes: Vec<f64>,
}

impl Stretch {
    fn new(curve: &Curve, spread: f64, factor: f64) -> Stretch {
        let scaled = |scale: f64| move |knot: &f64| knot * scale;
        let from: Vec<f64> = curve.expected().iter().map(scaled(spread)).collect();
        let to: Vec<f64> = curve.found().iter().map(scaled(spread * factor)).collect();
        let slopes = curve.slopes().map(|slope| slope * factor).collect();
        Stretch { from, to, slopes }
    }

    #[inline]
    fn distance(&self, distance: f64) -> f64 {
        let knot = self
            .from
            .iter()
            .take_while(|from| distance > **from)
            .count();
        let (from, to) = match knot.checked_sub(1) {
            Some(before) => (self.from[before], self.to[before]),
            None => (0.0, 0.0),
        };
        to + (distance - from) * self.slopes[knot]
    }

    /// Where a value goes. One that is positive stays so.
    #[inline]
    fn value(&self, point: f64, value: f64) -> f64 {
        if value >= point {
            return (point + self.distance(value - point)).min(f64::MAX);
        }
        let moved = (point - self.distance(point - value)).max(-f64::MAX);
        let half = 0.5 * point;
        if value > 0.0 && moved < half {
            (half * exp((moved - half) / half)).max(f64::MIN_POSITIVE)
        } else {
            moved
        }
    }
}

/// What a model expects, stretched.
pub(crate) struct Calibrated {
    inner: Box<dyn Outlook>,
    point: Vec<f64>,
    stretches: Vec<Stretch>,
}

impl Calibrated {
    fn stretch(&self, step: usize, values: &mut [f64]) {
        let (point, stretch) = (self.point[step], &self.stretches[step]);
        for value in values {
            *value = stretch.value(point, *value);
        }
    }
}

impl Outlook for Calibrated {
    fn point(&self) -> Vec<f64> {
        self.point.clone()
    }

    fn draw(&self, rng: &mut Rng, path: &mut [f64]) {
        self.inner.draw(rng, path);
        for (step, value) in path.iter_mut().enumerate() {
            self.stretch(step, std::slice::from_mut(value));
        }
    }

    fn simulate(&self, steps: usize, count: usize, streams: &Streams) -> Paths {
        let mut paths = self.inner.simulate(steps, count, streams);
        if count > 0 {
            for (step, values) in paths.values.chunks_exact_mut(count).enumerate() {
                self.stretch(step, values);
            }
        }
        paths
    }
}

/// How far paths lie from the point forecast at each step.
fn spread(outlook: &dyn Outlook, steps: usize) -> Vec<f64> {
    const PATHS: usize = 500;
    outlook.deviations().unwrap_or_else(|| {
        let streams = Streams::new(&Digest::new());
        mean_distances(&outlook.simulate(steps, PATHS, &streams), &outlook.point())
    })
}

/// The mean distance of paths from the point forecast: as a measure of their spread steadier than
/// their deviation.
fn mean_distances(paths: &Paths, point: &[f64]) -> Vec<f64> {
    let distance = |step: usize| {
        let values = paths.step(step).iter();
        values.map(|value| (value - point[step]).abs()).sum::<f64>() / paths.count as f64
    };
    (0..paths.steps).map(distance).collect()
}

/// What happened after the origins along a history.
pub(crate) struct Experience {
    wanted: Wanted,
    volatility: Volatility,
    /// Errors by horizon, each over its deviation.
    errors: Vec<Vec<f64>>,
    /// The same of what the model drew.
    drawn: Vec<Vec<f64>>,
    observed: usize,
    /// Origins that are looked far ahead from are so many observations apart.
    stride: usize,
}

/// How many of the newest observations serve as the past; `None` if there are too few of them, or
/// before them.
pub(crate) fn window(length: usize, least_before: usize) -> Option<usize> {
    let window = (length / 2)
        .min(MOST_OBSERVATIONS)
        .min(length.saturating_sub(least_before));
    (window >= LEAST_OBSERVATIONS).then_some(window)
}

impl Experience {
    /// How many steps are looked ahead at most.
    pub(crate) const STEPS: usize = HORIZONS[HORIZONS.len() - 1];

    /// From the one-step predictions (NaN where there are none) of a model that was fitted to all of
    /// the history, and from those before the window by one that was fitted there.
    pub(crate) fn new(
        wanted: Wanted,
        all: &[Observed],
        before: &[Observed],
        window: usize,
    ) -> Experience {
        Experience {
            wanted,
            volatility: Volatility::learn(all).over(before),
            errors: vec![vec![]; HORIZONS.len()],
            drawn: vec![vec![]; HORIZONS.len()],
            observed: 0,
            stride: (window / ORIGINS).max(1),
        }
    }

    /// How many steps are to be looked ahead from the next observation.
    pub(crate) fn steps(&self) -> usize {
        if self.observed.is_multiple_of(self.stride) {
            Self::STEPS
        } else if self.wanted == Wanted::Conformal {
            1
        } else {
            0
        }
    }

    /// Compares what is expected with what came.
    pub(crate) fn compare(&mut self, outlook: &dyn Outlook, actual: &[f64]) {
        let steps = actual.len();
        let point = outlook.point();
        let mut key = Digest::new();
        key.add_u64(self.observed as u64);
        let known = outlook.deviations();
        let count = if known.is_some() { COMPARED } else { PATHS };
        let paths = outlook.simulate(steps, count, &Streams::new(&key));
        let spread = known.unwrap_or_else(|| mean_distances(&paths, &point));
        for (index, horizon) in HORIZONS.iter().enumerate().take_while(|h| *h.1 <= steps) {
            let step = horizon - 1;
            let own = spread[step];
            let given = match self.wanted {
                Wanted::Conformal => own,
                Wanted::Volatility => {
                    let first = self.volatility.deviation(point[0]) / spread[0];
                    first * self.volatility.growth(*horizon) * own
                }
            };
            let error = (actual[step] - point[step]).abs() / given;
            if !(own > 0.0 && error.is_finite()) {
                continue;
            }
            // The first of `volatility` are taken as they come, at every observation.
            if index > 0 || self.wanted == Wanted::Conformal {
                self.errors[index].push(error);
            }
            let drawn = paths.step(step).iter().take(COMPARED);
            self.drawn[index].extend(drawn.map(|value| (value - point[step]).abs() / own));
        }
    }

    /// Takes in a one-step prediction and what came.
    pub(crate) fn observe(&mut self, observed: Observed) {
        self.observed += 1;
        let deviation = self.volatility.deviation(observed.predicted);
        let error = (observed.value - observed.predicted).abs() / deviation;
        if self.wanted == Wanted::Volatility && error.is_finite() {
            self.errors[0].push(error);
        }
        self.volatility.observe(observed);
    }

    /// Where the newer observations changed what the model thinks of its width, errors are to be
    /// measured by the width it has now. Told by what the model that was fitted to all of the history
    /// and the one that was looked at expect after it.
    pub(crate) fn measure(&mut self, whole: &dyn Outlook, part: &dyn Outlook) {
        if self.wanted == Wanted::Volatility {
            return;
        }
        let (now, then) = (spread(whole, Self::STEPS), spread(part, Self::STEPS));
        for (horizon, errors) in HORIZONS.iter().zip(&mut self.errors) {
            let ratio = then[horizon - 1] / now[horizon - 1];
            if ratio.is_normal() {
                errors.iter_mut().for_each(|error| *error *= ratio);
            }
        }
    }

    /// What was learned.
    pub(crate) fn calibration(mut self) -> Calibration {
        let mut curves: Vec<Curve> = vec![];
        for (index, horizon) in HORIZONS.iter().enumerate() {
            let overlap = (horizon / self.stride).max(1);
            let straight = Curve::straight();
            let before = curves.last().unwrap_or(&straight);
            let (errors, drawn) = (&mut self.errors[index], &mut self.drawn[index]);
            match Curve::learn(errors, drawn, overlap, before) {
                Some(curve) => curves.push(curve),
                None => break,
            }
        }
        Calibration {
            volatility: (self.wanted == Wanted::Volatility).then_some(self.volatility),
            curves,
        }
    }
}

#[cfg(test)]
mod tests;
