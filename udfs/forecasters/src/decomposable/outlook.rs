//! The futures of a decomposable model.

use super::model::{Model, Unit};
use crate::{math::ln, noise::Noise, outlook::Outlook, rng::Rng};

/// A coming step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) time: f64,
    /// The argument of the trend, if no slope changes any more.
    pub(crate) trend: f64,
    pub(crate) effects: f64,
}

/// Trend, effects and the newest residual, which fades; errors that are passed on as it is; and slope
/// changes that arrive at random, as many in a time as there might have been in the history, with a
/// Laplace distribution as wide as those were large.
pub(crate) struct Decomposed {
    /// The time of the newest observation.
    pub(crate) newest: f64,
    pub(crate) steps: Vec<Step>,
    pub(crate) model: Model,
    pub(crate) unit: Unit,
    pub(crate) correlation: f64,
    /// In the unit of the values.
    pub(crate) residual: f64,
    pub(crate) noise: Noise,
    /// How many changes are expected while time goes on by 1.
    pub(crate) change_rate: f64,
    pub(crate) change_scale: f64,
}

impl Decomposed {
    fn value(&self, step: &Step, bent: f64) -> f64 {
        self.unit.level + self.unit.scale * self.model.value(step.trend + bent, step.effects)
    }

    fn changes(&self) -> bool {
        self.change_rate > 0.0 && self.change_scale > 0.0
    }

    /// The time until the next change.
    fn wait(&self, rng: &mut Rng) -> f64 {
        -ln(1.0 - rng.uniform()) / self.change_rate
    }
}

impl Outlook for Decomposed {
    fn point(&self) -> Vec<f64> {
        let mut residual = self.residual;
        self.steps
            .iter()
            .map(|step| {
                residual *= self.correlation;
                self.value(step, 0.0) + residual
            })
            .collect()
    }

    fn draw(&self, rng: &mut Rng, path: &mut [f64]) {
        let mut residual = self.residual;
        let (mut bent, mut slope, mut now) = (0.0, 0.0, self.newest);
        let mut next = if self.changes() {
            now + self.wait(rng)
        } else {
            f64::INFINITY
        };
        for (step, value) in self.steps.iter().zip(path) {
            while next <= step.time {
                bent += slope * (next - now);
                now = next;
                slope += self.change_scale * laplace(rng);
                next += self.wait(rng);
            }
            bent += slope * (step.time - now);
            now = step.time;
            residual = self.correlation * residual + self.noise.draw(rng);
            *value = self.value(step, bent) + residual;
        }
    }
}

/// A number from the Laplace distribution of mean absolute value 1.
fn laplace(rng: &mut Rng) -> f64 {
    let (sign, size) = (rng.uniform() - 0.5, -ln(1.0 - rng.uniform()));
    if sign < 0.0 { -size } else { size }
}
