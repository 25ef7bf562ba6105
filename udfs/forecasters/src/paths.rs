//! Simulated futures.

use crate::rng::{Rng, Streams};

/// Simulated futures of one series, all paths of a step together.
#[derive(Clone, Debug, PartialEq)]
pub struct Paths {
    /// The number of steps.
    pub steps: usize,
    /// The number of paths.
    pub count: usize,
    /// `values[step * count + path]`, both counted from 0.
    pub values: Vec<f64>,
}

impl Paths {
    /// The values of all paths at a step, counted from 0.
    pub fn step(&self, step: usize) -> &[f64] {
        &self.values[step * self.count..(step + 1) * self.count]
    }

    /// Draws every path from its own stream (path ids count from 1). `draw` fills one path, oldest
    /// step first, reading nothing but its random numbers and what it has filled itself.
    pub(crate) fn draw(
        steps: usize,
        count: usize,
        streams: &Streams,
        mut draw: impl FnMut(&mut Rng, &mut [f64]),
    ) -> Paths {
        let mut values = vec![0.0; steps * count];
        let mut path = vec![0.0; steps];
        for index in 0..count {
            draw(&mut streams.path(index as u64 + 1), &mut path);
            for (step, value) in path.iter().enumerate() {
                values[step * count + index] = *value;
            }
        }
        Paths {
            steps,
            count,
            values,
        }
    }
}

/// Holds every step of many paths against its expected mean and deviation, to within five standard
/// errors.
#[cfg(test)]
pub(crate) fn check_moments(paths: &Paths, means: &[f64], deviations: &[f64]) {
    let count = paths.count as f64;
    for (step, (mean, deviation)) in means.iter().zip(deviations).enumerate() {
        let values = paths.step(step);
        let off = (crate::moments::mean(values) - mean) / (deviation / count.sqrt());
        assert!(
            off.abs() < 5.0,
            "mean of step {step} is {off} standard errors off"
        );
        let ratio = crate::moments::deviation(values) / deviation;
        assert!(
            (ratio - 1.0).abs() < 5.0 / (2.0 * count).sqrt(),
            "deviation of step {step}: {ratio}"
        );
    }
}
