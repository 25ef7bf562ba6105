//! Futures of a theta model, each error fed back through the recursion.

use super::model::{Growth, Line, Model, next_decay};
use crate::{
    noise::Noise,
    outlook::{Outlook, first_order},
    paths::Paths,
    rng::Rng,
    seasonal::{Kind, Season},
};

/// What one step does, the same on every path.
struct Step {
    /// The line's share in the prediction, where the line is fixed.
    fixed: f64,
    /// What the mean and the slope so far contribute to the prediction, where the line moves.
    mean: f64,
    slope: f64,
    /// What the step's own value does to the line.
    growth: Growth,
    /// The season.
    index: f64,
}

/// The steps to come.
pub(crate) struct Theta {
    model: Model,
    steps: Vec<Step>,
    season: Option<Kind>,
    noise: Noise,
}

impl Theta {
    /// The steps after the newest observation of a model.
    pub(crate) fn new(model: Model, season: Option<&Season>, noise: Noise, steps: usize) -> Theta {
        let mut decay = model.decay;
        let steps = (0..steps)
            .map(|step| {
                let next = next_decay(decay, model.alpha);
                let gain = (1.0 - (1.0 - model.alpha) * decay) / model.alpha;
                let mut planned = Step {
                    fixed: 0.0,
                    mean: 0.0,
                    slope: 0.0,
                    growth: Growth::at(1),
                    index: season.map_or(0.0, |season| season.ahead(step)),
                };
                match model.line {
                    Line::Fixed { intercept, slope } => {
                        planned.fixed = model.weight * (decay * intercept + gain * slope);
                    }
                    Line::Moving { count, .. } => {
                        let count = count.saturating_add(u32::try_from(step).unwrap_or(u32::MAX));
                        let middle = 0.5 * (f64::from(count) + 1.0);
                        planned.mean = model.weight * decay;
                        planned.slope = model.weight * (gain - decay * middle);
                        planned.growth = Growth::at(count.saturating_add(1));
                    }
                }
                decay = next;
                planned
            })
            .collect();
        Theta {
            model,
            steps,
            season: season.map(|season| season.kind),
            noise,
        }
    }

    /// Turns the errors of some paths into their values.
    #[inline(always)]
    fn run<const L: usize>(&self, errors: &mut [[f64; L]]) {
        let (first_mean, first_slope) = match self.model.line {
            Line::Fixed { .. } => (0.0, 0.0),
            Line::Moving { mean, slope, .. } => (mean, slope),
        };
        let (origin, alpha) = (self.model.origin, self.model.alpha);
        let mut level = [self.model.level; L];
        let mut mean = [first_mean; L];
        let mut slope = [first_slope; L];
        for (errors, step) in errors.iter_mut().zip(&self.steps) {
            for lane in 0..L {
                let drift = step.fixed + (step.mean * mean[lane] + step.slope * slope[lane]);
                let value = level[lane] + drift + errors[lane];
                level[lane] += alpha * (value - level[lane]);
                let error = value - mean[lane];
                slope[lane] = step.growth.kept * slope[lane] + step.growth.gained * error;
                mean[lane] += step.growth.share * error;
                errors[lane] = origin + value;
            }
            if let Some(kind) = self.season {
                errors
                    .iter_mut()
                    .for_each(|value| *value = kind.restore(*value, step.index));
            }
        }
    }
}

impl Outlook for Theta {
    fn point(&self) -> Vec<f64> {
        let mut values = vec![[0.0]; self.steps.len()];
        self.run(&mut values);
        values.into_iter().map(|[value]| value).collect()
    }

    fn draw(&self, rng: &mut Rng, path: &mut [f64]) {
        self.noise.fill(rng, path);
        let mut values: Vec<[f64; 1]> = path.iter().map(|error| [*error]).collect();
        self.run(&mut values);
        for (value, [drawn]) in path.iter_mut().zip(values) {
            *value = drawn;
        }
    }

    fn deviations(&self) -> Option<Vec<f64>> {
        Some(first_order(
            self.steps.len(),
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
