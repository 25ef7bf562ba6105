//! What a conditioned model expects: a point forecast, and futures to draw.

use crate::{
    noise::Noise,
    paths::{LANES, Paths},
    rng::{Rng, Streams},
    wide::wide,
};

/// What a model expects of the steps to come.
pub trait Outlook: Send {
    /// The point forecast of each step: the middle of the distribution, which for a model without
    /// transformation is its mean.
    fn point(&self) -> Vec<f64>;

    /// Fills one path, first step first. Reads nothing but the random numbers, in step order, so a
    /// shorter path is the beginning of a longer one.
    fn draw(&self, rng: &mut Rng, path: &mut [f64]);

    /// The standard deviation of paths around the point forecast at each step, where there is a
    /// formula for it or one that is right to first order.
    fn deviations(&self) -> Option<Vec<f64>> {
        None
    }

    /// Draws a path from each of these random numbers: the same as [`Outlook::draw`] does.
    fn draw_all(&self, steps: usize, rngs: &[Rng]) -> Paths {
        Paths::draw(steps, rngs, |rng, path| self.draw(rng, path))
    }

    /// Draws paths 1 … `count`, each from its own stream.
    fn simulate(&self, steps: usize, count: usize, streams: &Streams) -> Paths {
        let rngs: Vec<Rng> = (1..=count as u64).map(|path| streams.path(path)).collect();
        self.draw_all(steps, &rngs)
    }
}

/// The deviations of paths, to first order in their errors: `run` turns the errors of some paths,
/// `errors[step][lane]`, into their values. An error of one deviation at each step alone, either way,
/// tells the effect of that on all steps.
pub(crate) fn first_order(
    steps: usize,
    deviation: f64,
    run: impl Fn(&mut [[f64; LANES]]),
) -> Vec<f64> {
    const PAIRS: usize = LANES / 2;
    let mut squares = vec![0.0; steps];
    let mut lanes = vec![[0.0; LANES]; steps];
    for first in (0..steps).step_by(PAIRS) {
        lanes.fill([0.0; LANES]);
        for (pair, errors) in lanes[first..].iter_mut().take(PAIRS).enumerate() {
            errors[pair] = deviation;
            errors[PAIRS + pair] = -deviation;
        }
        wide(
            #[inline(always)]
            || run(&mut lanes),
        );
        for (square, values) in squares.iter_mut().zip(&lanes) {
            for pair in 0..PAIRS {
                let effect = 0.5 * (values[pair] - values[PAIRS + pair]);
                *square += effect * effect;
            }
        }
    }
    squares.into_iter().map(f64::sqrt).collect()
}

/// An outlook in which every step is its mean plus a moving average of independent errors: what
/// every linear model with additive errors comes down to.
pub(crate) struct Linear {
    /// The mean of each step.
    pub(crate) mean: Vec<f64>,
    /// `weights[k]` is the effect of an error k steps later; as many as there are steps, the first
    /// of them 1 where the error is one of the observation.
    pub(crate) weights: Vec<f64>,
    /// The errors.
    pub(crate) noise: Noise,
}

impl Outlook for Linear {
    fn point(&self) -> Vec<f64> {
        self.mean.clone()
    }

    fn draw(&self, rng: &mut Rng, path: &mut [f64]) {
        let mut errors = vec![0.0; path.len()];
        self.noise.fill(rng, &mut errors);
        for (step, value) in path.iter_mut().enumerate() {
            let mut sum = self.mean[step];
            for (error, weight) in errors[..=step]
                .iter()
                .zip(self.weights[..=step].iter().rev())
            {
                sum += weight * error;
            }
            *value = sum;
        }
    }

    fn deviations(&self) -> Option<Vec<f64>> {
        let deviation = self.noise.deviation();
        let mut squares = 0.0;
        let deviations = self.weights.iter().map(|weight| {
            squares += weight * weight;
            deviation * squares.sqrt()
        });
        Some(deviations.collect())
    }

    fn draw_all(&self, steps: usize, rngs: &[Rng]) -> Paths {
        if self.is_flat() {
            Paths::from_errors(
                steps,
                rngs,
                &self.noise,
                #[inline(always)]
                |lanes| self.sum_flat(lanes),
            )
        } else {
            Paths::from_errors(
                steps,
                rngs,
                &self.noise,
                #[inline(always)]
                |lanes| self.sum(lanes),
            )
        }
    }
}

impl Linear {
    /// Whether every step has the same mean, and every error the same effect on all later ones.
    fn is_flat(&self) -> bool {
        let same = |values: &[f64]| values.windows(2).all(|pair| pair[0] == pair[1]);
        same(&self.mean) && same(self.weights.get(1..).unwrap_or_default())
    }

    /// Turns errors into values, each lane on its own: the additions of [`Outlook::draw`], in its
    /// order.
    #[inline(always)]
    fn sum(&self, lanes: &mut [[f64; LANES]]) {
        // The newest first, which no other step needs.
        for step in (0..lanes.len()).rev() {
            let mut sum = [self.mean[step]; LANES];
            for (error, weight) in lanes[..=step]
                .iter()
                .zip(self.weights[..=step].iter().rev())
            {
                for lane in 0..LANES {
                    sum[lane] += weight * error[lane];
                }
            }
            lanes[step] = sum;
        }
    }

    /// The same additions where the outlook is flat: the sums of a step begin with those of the step
    /// before.
    #[inline(always)]
    fn sum_flat(&self, lanes: &mut [[f64; LANES]]) {
        let Some((first, mean)) = self.weights.first().zip(self.mean.first()) else {
            return;
        };
        let later = self.weights.get(1).unwrap_or(first);
        let mut sum = [*mean; LANES];
        for errors in lanes {
            for lane in 0..LANES {
                let error = errors[lane];
                errors[lane] = sum[lane] + first * error;
                sum[lane] += later * error;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, paths::check_moments};

    fn linear() -> Linear {
        Linear {
            mean: (0..14).map(|step| 10.0 + f64::from(step)).collect(),
            weights: (0..14).map(|lag| 1.0 / f64::from(lag + 1)).collect(),
            noise: Noise::gaussian(0.5),
        }
    }

    #[test]
    fn paths_drawn_together_are_those_drawn_one_by_one() {
        let streams = Streams::new(&Digest::new());
        let flat = || Linear {
            mean: vec![10.0; 14],
            weights: [vec![1.0], vec![0.3; 13]].concat(),
            ..linear()
        };
        let student = Noise::StudentT {
            deviation: 2.0,
            degrees: 5.0,
        };
        let outlooks = [
            linear(),
            flat(),
            Linear {
                noise: student,
                ..linear()
            },
        ];
        assert_eq!(
            outlooks.each_ref().map(Linear::is_flat),
            [false, true, false]
        );
        for outlook in outlooks {
            for (steps, count) in [(14, 2 * LANES + 5), (14, LANES), (3, 2), (1, 1), (0, 4)] {
                let together = outlook.simulate(steps, count, &streams);
                for path in 0..count {
                    let mut alone = vec![0.0; steps];
                    outlook.draw(&mut streams.path(path as u64 + 1), &mut alone);
                    for (step, value) in alone.iter().enumerate() {
                        assert_eq!(*value, together.step(step)[path]);
                    }
                }
            }
        }
    }

    #[test]
    fn the_moments_are_those_of_the_moving_average() {
        let outlook = linear();
        let streams = Streams::new(&Digest::new());
        let deviations: Vec<f64> = (1..=14)
            .map(|steps| {
                let squares = outlook.weights[..steps]
                    .iter()
                    .map(|weight| weight * weight);
                0.5 * squares.sum::<f64>().sqrt()
            })
            .collect();
        check_moments(
            &outlook.simulate(14, 40_000, &streams),
            &outlook.mean,
            &deviations,
        );
    }
}
