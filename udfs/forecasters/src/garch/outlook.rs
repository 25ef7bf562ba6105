//! Paths of returns whose variance follows from the path itself.

use super::{Body, recursion::Variance};
use crate::{outlook::Outlook, paths::Paths, rng::Rng};

/// What a GARCH model expects.
pub(super) struct Volatile {
    body: Body,
    point: Vec<f64>,
}

impl Volatile {
    pub(super) fn new(body: Body, steps: usize) -> Volatile {
        let mut mean = body.mean.clone();
        let mut sum = 0.0;
        let point = (0..steps)
            .map(|_| {
                let change = mean.next();
                mean.push(change);
                sum += body.unit * change;
                body.form.returns.after(body.last, sum)
            })
            .collect();
        Volatile { body, point }
    }

    fn fill(&self, rng: &mut Rng, path: &mut [f64], variance: &mut Variance) {
        let body = &self.body;
        body.shocks.fill(rng, path);
        if body.mean.terms.is_empty() {
            let mut sum = 0.0;
            for value in path {
                let change = body.mean.constant + variance.drive(*value);
                sum += body.unit * change;
                *value = body.form.returns.after(body.last, sum);
            }
        } else {
            let mut mean = body.mean.clone();
            let mut sum = 0.0;
            for value in path {
                let change = mean.next() + variance.drive(*value);
                mean.push(change);
                sum += body.unit * change;
                *value = body.form.returns.after(body.last, sum);
            }
        }
    }
}

impl Outlook for Volatile {
    fn point(&self) -> Vec<f64> {
        self.point.clone()
    }

    fn draw(&self, rng: &mut Rng, path: &mut [f64]) {
        self.fill(rng, path, &mut self.body.variance.clone());
    }

    fn draw_all(&self, steps: usize, rngs: &[Rng]) -> Paths {
        let mut variance = self.body.variance.clone();
        Paths::draw(steps, rngs, |rng, path| {
            variance.clone_from(&self.body.variance);
            self.fill(rng, path, &mut variance);
        })
    }
}
