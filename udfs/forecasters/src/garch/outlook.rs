//! Paths of returns whose variance follows from the path itself.

use super::{Body, recursion::Variance};
use crate::{outlook::Outlook, paths::Paths, rng::Rng, wide::wide};

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

    /// Fills a path with the sums of its changes.
    fn sums(&self, rng: &mut Rng, path: &mut [f64], variance: &mut Variance) {
        let body = &self.body;
        body.shocks.fill(rng, path);
        let mut sum = 0.0;
        if body.mean.terms.is_empty() {
            for value in path {
                sum += body.unit * (body.mean.constant + variance.drive(*value));
                *value = sum;
            }
        } else {
            let mut mean = body.mean.clone();
            for value in path {
                let change = mean.next() + variance.drive(*value);
                mean.push(change);
                sum += body.unit * change;
                *value = sum;
            }
        }
    }

    /// Turns sums of changes into values.
    fn restore(&self, sums: &mut [f64]) {
        let (returns, last) = (self.body.form.returns, self.body.last);
        wide(
            #[inline(always)]
            || {
                for sum in sums {
                    *sum = returns.after(last, *sum);
                }
            },
        );
    }
}

impl Outlook for Volatile {
    fn point(&self) -> Vec<f64> {
        self.point.clone()
    }

    fn draw(&self, rng: &mut Rng, path: &mut [f64]) {
        self.sums(rng, path, &mut self.body.variance.clone());
        self.restore(path);
    }

    fn draw_all(&self, steps: usize, rngs: &[Rng]) -> Paths {
        let mut variance = self.body.variance.clone();
        let mut paths = Paths::draw(steps, rngs, |rng, path| {
            variance.clone_from(&self.body.variance);
            self.sums(rng, path, &mut variance);
        });
        self.restore(&mut paths.values);
        paths
    }
}
