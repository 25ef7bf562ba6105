//! What happened after the origins along a history.

use super::{
    Calibration, HORIZONS, Measure, Observed, Wanted, curve::Curve, spread, volatility::Volatility,
};
use crate::{Digest, Streams, math::ln, outlook::Outlook};

/// As many of the newest observations serve as the past.
const MOST_OBSERVATIONS: usize = 2_000;

/// As few do not.
const LEAST_OBSERVATIONS: usize = 10;

/// As many origins are looked ahead from at most.
const ORIGINS: usize = 300;

/// At one origin in so many, paths are drawn to be compared: the first step is compared with many
/// more errors that are independent than later ones, so what is drawn for it has to be more exact.
const DRAWN: usize = 6;
const NEAR: usize = 768;
const FAR: usize = 128;

/// A model of the older part whose errors in the newer one are so many times those of the model of
/// the whole did not see what happened there, and tells nothing of the other.
const BLIND: f64 = 3.0;

/// By how much the errors have to be likelier, in all, for the model's own deviation: the other will
/// follow a spell of a kind that did not happen yet.
const LIKELIER: f64 = 2.0;

/// How many of the newest observations serve as the past; `None` if there are too few of them, or
/// before them.
pub(crate) fn window(length: usize, least_before: usize) -> Option<usize> {
    let window = (length / 2)
        .min(MOST_OBSERVATIONS)
        .min(length.saturating_sub(least_before));
    (window >= LEAST_OBSERVATIONS).then_some(window)
}

/// Errors by horizon, each over its deviation.
#[derive(Default)]
struct Errors {
    ratios: [Vec<f64>; HORIZONS.len()],
    /// The sums of the logarithms of the deviations.
    levels: [f64; HORIZONS.len()],
}

impl Errors {
    fn push(&mut self, index: usize, error: f64, deviation: f64) {
        let ratio = error / deviation;
        if ratio.is_finite() && deviation.is_normal() {
            self.ratios[index].push(ratio);
            self.levels[index] += ln(deviation);
        }
    }

    /// The mean loss of an error of a horizon under Laplace's distribution with these deviations,
    /// but for a constant factor.
    fn loss(&self, index: usize) -> f64 {
        let ratios = &self.ratios[index];
        let count = ratios.len() as f64;
        ln(ratios.iter().sum::<f64>() / count) + self.levels[index] / count
    }
}

/// What happened after the origins along a history.
pub(crate) struct Experience {
    wanted: Wanted,
    volatility: Volatility,
    by_own: Errors,
    by_volatility: Errors,
    /// Distances that the model drew, by horizon, over its own deviation.
    drawn: [Vec<f64>; HORIZONS.len()],
    origins: usize,
    /// The model's own deviation of one step at the newest origin, which stands for those until the
    /// next.
    own: f64,
    /// How many of the newest observations serve as the past.
    window: usize,
    /// Origins are so many observations apart, on average.
    stride: usize,
    /// The sum of the distances of observations from what was predicted of them.
    errors: f64,
    /// The same of the model that was fitted to all of the history.
    fitted_errors: f64,
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
        let distances = all[all.len() - window..].iter().map(Observed::distance);
        Experience {
            wanted,
            volatility: Volatility::learn(all).over(before),
            by_own: Errors::default(),
            by_volatility: Errors::default(),
            drawn: Default::default(),
            origins: 0,
            own: f64::NAN,
            window,
            stride: window.div_ceil(ORIGINS),
            errors: 0.0,
            fitted_errors: distances.filter(|distance| distance.is_finite()).sum(),
        }
    }

    /// The places of the origins in the window: one in every stretch of equal length, not always at
    /// the same place of it, which could be the same day of a week every time.
    pub(crate) fn places(&self) -> impl Iterator<Item = usize> + use<> {
        let stride = self.stride;
        (0..self.window / stride).map(move |stretch| {
            // Multiples of the golden ratio leave no gaps.
            let share = (stretch as f64 * 0.618_033_988_749_895).fract();
            stretch * stride + (share * stride as f64) as usize
        })
    }

    /// Compares what is expected with what came.
    pub(crate) fn compare(&mut self, outlook: &dyn Outlook, actual: &[f64]) {
        let steps = actual.len();
        let point = outlook.point();
        let spread = spread(outlook, steps);
        let first = self.volatility.deviation(point[0]) / spread[0];
        self.own = spread[0];
        // The errors of one step are taken as they come, at every observation.
        let horizons = HORIZONS.iter().enumerate().skip(1);
        for (index, horizon) in horizons.take_while(|h| *h.1 <= steps) {
            let step = horizon - 1;
            let (own, error) = (spread[step], (actual[step] - point[step]).abs());
            let given = first * self.volatility.growth(*horizon) * own;
            self.push(index, error, own, given);
        }
        if self.origins.is_multiple_of(DRAWN) {
            self.draw(outlook, &point, &spread);
        }
        self.origins += 1;
    }

    fn draw(&mut self, outlook: &dyn Outlook, point: &[f64], spread: &[f64]) {
        let mut key = Digest::new();
        key.add_u64(self.origins as u64);
        let streams = Streams::new(&key);
        let near = outlook.simulate(1, NEAR, &streams);
        let far = outlook.simulate(spread.len(), FAR, &streams);
        for (index, horizon) in HORIZONS.iter().enumerate() {
            let step = horizon - 1;
            if step >= spread.len() || spread[step] <= 0.0 {
                continue;
            }
            let drawn = if index == 0 { &near } else { &far };
            let drawn = drawn.step(step).iter();
            self.drawn[index].extend(drawn.map(|value| (value - point[step]).abs() / spread[step]));
        }
    }

    /// Takes in a one-step prediction and what came.
    pub(crate) fn observe(&mut self, observed: Observed) {
        let error = observed.distance();
        if error.is_finite() {
            self.errors += error;
        }
        let deviation = self.volatility.deviation(observed.predicted);
        self.push(0, error, self.own, deviation);
        self.volatility.observe(observed);
    }

    fn push(&mut self, index: usize, error: f64, own: f64, by_volatility: f64) {
        if self.wanted.takes(Measure::Own) {
            self.by_own.push(index, error, own);
        }
        if self.wanted.takes(Measure::Volatility) {
            self.by_volatility.push(index, error, by_volatility);
        }
    }

    /// What was learned. Where the newer observations changed what the model thinks of its width,
    /// its own deviation is now another: told by what the model that was fitted to all of the history
    /// and the one that was looked at expect after it. `None` where the errors of the one are no
    /// errors of the other.
    pub(crate) fn calibration(
        mut self,
        whole: &dyn Outlook,
        part: &dyn Outlook,
    ) -> Option<Calibration> {
        if self.errors > BLIND * self.fitted_errors {
            return None;
        }
        let measure = self.measure();
        let overlaps = HORIZONS.map(|horizon| self.overlap(horizon));
        let mut ratios = match measure {
            Measure::Volatility => self.by_volatility.ratios,
            Measure::Own => {
                let (now, then) = (spread(whole, Self::STEPS), spread(part, Self::STEPS));
                let mut ratios = self.by_own.ratios;
                for (horizon, ratios) in HORIZONS.iter().zip(&mut ratios) {
                    let change = then[horizon - 1] / now[horizon - 1];
                    if change.is_normal() {
                        ratios.iter_mut().for_each(|ratio| *ratio *= change);
                    }
                }
                ratios
            }
        };
        let mut curves: Vec<Curve> = vec![];
        for (index, overlap) in overlaps.into_iter().enumerate() {
            let straight = Curve::straight();
            let before = curves.last().unwrap_or(&straight);
            let (errors, drawn) = (&mut ratios[index], &mut self.drawn[index]);
            match Curve::learn(errors, drawn, overlap, before) {
                Some(curve) => curves.push(curve),
                None => break,
            }
        }
        Some(Calibration {
            volatility: (measure == Measure::Volatility).then_some(self.volatility),
            curves,
            newer: 0,
        })
    }

    /// Of so many errors of a horizon one is independent.
    fn overlap(&self, horizon: usize) -> usize {
        // Those of one step do not overlap.
        (horizon / self.stride).max(1)
    }

    /// What errors are divided by.
    fn measure(&self) -> Measure {
        if let Wanted::Only(measure) = self.wanted {
            return measure;
        }
        let gains = HORIZONS.iter().enumerate().map(|(index, horizon)| {
            let gain = self.by_own.loss(index) - self.by_volatility.loss(index);
            let errors = self.by_volatility.ratios[index].len();
            gain * errors as f64 / self.overlap(*horizon) as f64
        });
        if gains.take_while(|gain| gain.is_finite()).sum::<f64>() < -LIKELIER {
            Measure::Own
        } else {
            Measure::Volatility
        }
    }
}
