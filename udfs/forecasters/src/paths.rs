//! Simulated futures.

use crate::{noise::Noise, rng::Rng, wide::wide};

/// Paths made together, so that the numbers of a step lie side by side.
pub(crate) const LANES: usize = 16;

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

    /// The values of each step, to be changed.
    pub(crate) fn rows(&mut self) -> impl Iterator<Item = &mut [f64]> {
        self.values.chunks_exact_mut(self.count.max(1))
    }

    /// Draws every path from its own random numbers. `draw` fills one path, oldest step first, reading
    /// nothing but its random numbers and what it has filled itself.
    pub(crate) fn draw(
        steps: usize,
        rngs: &[Rng],
        mut draw: impl FnMut(&mut Rng, &mut [f64]),
    ) -> Paths {
        let count = rngs.len();
        let mut values = vec![0.0; steps * count];
        let mut path = vec![0.0; steps];
        for (index, rng) in rngs.iter().enumerate() {
            draw(&mut rng.clone(), &mut path);
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

    /// Draws every path from errors that are independent of it: `run` turns those of some paths,
    /// `errors[step][lane]`, into their values.
    pub(crate) fn from_errors(
        steps: usize,
        rngs: &[Rng],
        noise: &Noise,
        run: impl Fn(&mut [[f64; LANES]]),
    ) -> Paths {
        let count = rngs.len();
        let mut values = vec![0.0; steps * count];
        let mut lanes = vec![[0.0; LANES]; steps];
        for (rngs, first) in rngs.chunks(LANES).zip((0..).step_by(LANES)) {
            for (lane, rng) in rngs.iter().enumerate() {
                noise.fill_lane(rng.clone(), &mut lanes, lane);
            }
            wide(
                #[inline(always)]
                || run(&mut lanes),
            );
            for (row, lanes) in values.chunks_exact_mut(count).zip(&lanes) {
                match row[first..].first_chunk_mut::<LANES>() {
                    Some(row) => *row = *lanes,
                    None => row[first..].copy_from_slice(&lanes[..rngs.len()]),
                }
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
