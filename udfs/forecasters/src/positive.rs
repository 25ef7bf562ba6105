//! Paths of a series that was always positive stay so.
//!
//! A model with additive errors gives some probability to values below zero however far above it the
//! series lies; on a short or a steep history, that is one path in a few. What a path has below half
//! of the least value ever observed is bent: y becomes b exp(y / b - 1), which meets y smoothly at
//! b, keeps the order of paths, and never reaches zero. All above is as the model has it, and so is
//! the point forecast.

use crate::{math::exp, outlook::Outlook, paths::Paths, rng::Rng, wide::wide};

/// What a model expects of a series that was always positive.
pub(crate) struct Positive {
    inner: Box<dyn Outlook>,
    /// Below this, paths are bent.
    bend: f64,
}

impl Positive {
    /// For a series whose least value so far is this.
    pub(crate) fn new(inner: Box<dyn Outlook>, least: f64) -> Positive {
        let bend = (0.5 * least).max(f64::MIN_POSITIVE);
        Positive { inner, bend }
    }

    fn bent(&self, value: f64) -> f64 {
        if value < self.bend {
            (self.bend * exp(value / self.bend - 1.0)).max(f64::MIN_POSITIVE)
        } else {
            value
        }
    }

    /// Bends values, if one of them is to be bent.
    fn bend(&self, values: &mut [f64]) {
        // A sum is a vector where comparisons are not.
        let below = wide(
            #[inline(always)]
            || {
                let mut sums = [0.0; 16];
                let (chunks, rest) = values.as_chunks::<16>();
                for values in chunks {
                    for (sum, value) in sums.iter_mut().zip(values) {
                        *sum += (self.bend - value).max(0.0);
                    }
                }
                let rest = rest.iter().map(|value| (self.bend - value).max(0.0));
                rest.sum::<f64>() + sums.iter().sum::<f64>()
            },
        );
        if below > 0.0 {
            values
                .iter_mut()
                .for_each(|value| *value = self.bent(*value));
        }
    }
}

impl Outlook for Positive {
    fn point(&self) -> Vec<f64> {
        self.inner.point()
    }

    fn draw(&self, rng: &mut Rng, path: &mut [f64]) {
        self.inner.draw(rng, path);
        self.bend(path);
    }

    fn deviations(&self) -> Option<Vec<f64>> {
        self.inner.deviations()
    }

    fn draw_all(&self, steps: usize, rngs: &[Rng]) -> Paths {
        let mut paths = self.inner.draw_all(steps, rngs);
        paths.rows().for_each(|values| self.bend(values));
        paths
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ahead, Digest, Params, Series, Streams, catalog, noise::Noise, outlook::Linear};

    fn linear(noise: f64) -> Box<dyn Outlook> {
        Box::new(Linear {
            mean: vec![10.0; 3],
            weights: vec![1.0; 3],
            noise: Noise::gaussian(noise),
        })
    }

    #[test]
    fn paths_are_bent_below_half_of_the_least_value_and_nowhere_else() {
        let streams = Streams::new(&Digest::new());
        let plain = linear(6.0).simulate(3, 4_003, &streams);
        let positive = Positive::new(linear(6.0), 4.0);
        let bent = positive.simulate(3, 4_003, &streams);
        let below = |paths: &Paths| paths.values.iter().filter(|value| **value < 2.0).count();
        assert!(below(&plain) > 500, "{}", below(&plain));
        assert_eq!(below(&plain), below(&bent));
        for (plain, bent) in plain.values.iter().zip(&bent.values) {
            if *plain < 2.0 {
                let expected = 2.0 * libm::exp(plain / 2.0 - 1.0);
                assert!((bent / expected - 1.0).abs() < 1e-14 && *bent > 0.0);
            } else {
                assert_eq!(plain, bent);
            }
        }
        let mut alone = [0.0; 3];
        for path in 0..4_003 {
            positive.draw(&mut streams.path(path as u64 + 1), &mut alone);
            let together = [0, 1, 2].map(|step| bent.step(step)[path]);
            assert_eq!(alone, together);
        }
        assert_eq!(positive.point(), [10.0; 3]);
    }

    #[test]
    fn no_model_goes_below_zero_where_the_series_never_was() {
        // A steep fall towards zero, with errors as large as what is left.
        let values: Vec<f64> = (0..30)
            .map(|t| 32.0 - f64::from(t) + f64::from(t * 7 % 5) * 0.4)
            .collect();
        let dates: Vec<i32> = (0..30).collect();
        let part = |range: std::ops::Range<usize>| Series {
            dates: &dates[range.clone()],
            values: &values[range],
            regressors: &[],
        };
        let steps: Vec<i32> = (30..44).collect();
        let ahead = Ahead {
            steps: 14,
            dates: &steps,
            regressors: &[],
        };
        let mut drawn = 0;
        for entry in catalog() {
            let params = Params::parse(entry.params).unwrap();
            let Ok(fitted) = entry.family.fit(part(0..25), &params, None) else {
                continue;
            };
            let state = entry.family.condition(&fitted.state, part(25..30)).unwrap();
            let streams = Streams::new(&Digest::new());
            let paths = entry.family.simulate(&state, ahead, 500, &streams).unwrap();
            let least = paths.values.iter().copied().fold(f64::INFINITY, f64::min);
            assert!(least > 0.0, "{}: {least}", entry.key);
            drawn += 1;
            // From a negative value on, all is possible.
            let low = Series {
                dates: &[30],
                values: &[-3.0],
                regressors: &[],
            };
            if let ("holt", Ok(state)) = (entry.key, entry.family.condition(&state, low)) {
                let paths = entry.family.simulate(&state, ahead, 500, &streams).unwrap();
                assert!(paths.values.iter().any(|value| *value < 0.0));
            }
        }
        assert!(drawn > 20, "{drawn}");
    }
}
