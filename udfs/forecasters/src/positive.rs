//! Paths of a series that was always positive stay so.
//!
//! A model with additive errors gives some probability to values below zero however far above it the
//! series lies; on a short or a steep history, that is one path in a few. What lies below half of the
//! least value ever observed, b, is bent: y becomes b / (2 - y / b), which meets y smoothly at b, keeps
//! the order of paths, and comes near zero but never there. Point forecasts are bent as paths are. All
//! above is as the model has it.

use crate::{outlook::Outlook, paths::Paths, rng::Rng, wide::wide};

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

    /// What is not finite stays so.
    fn bent(&self, value: f64) -> f64 {
        if value < self.bend && value.is_finite() {
            (self.bend / (2.0 - value / self.bend)).max(f64::MIN_POSITIVE)
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
        let mut point = self.inner.point();
        self.bend(&mut point);
        point
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
                let expected = 4.0 / (4.0 - plain);
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
        assert_eq!(Positive::new(linear(6.0), 40.0).point(), [400.0 / 30.0; 3]);
        assert_eq!(positive.bent(f64::NEG_INFINITY), f64::NEG_INFINITY);
    }

    #[test]
    fn the_least_value_is_that_of_all_observations_so_far() {
        let dates: Vec<i32> = (0..12).collect();
        let values = [5.0, 4.0, 6.0, 3.0, 5.0, 7.0, 2.5, 6.0, 2.0, 4.0, 0.0, 3.0];
        let part = |range: std::ops::Range<usize>| Series {
            dates: &dates[range.clone()],
            values: &values[range],
            regressors: &[],
        };
        let naive = crate::family("naive").unwrap();
        let fit = |end: usize| {
            naive
                .fit(part(0..end), &Params::default(), None)
                .unwrap()
                .state
        };
        let condition = |state: &crate::State, from: usize, to: usize| {
            naive.condition(state, part(from..to)).unwrap()
        };
        let least = |state: &crate::State| {
            let (_, rest) = state.as_str().split_once("\"least\":")?;
            rest.split(',').next()?.parse::<f64>().ok()
        };
        let state = fit(6);
        assert_eq!(least(&state), Some(3.0));
        let state = condition(&state, 6, 8);
        assert_eq!(least(&state), Some(2.5));
        let state = condition(&condition(&state, 8, 9), 9, 10);
        assert_eq!(least(&state), Some(2.0));
        assert_eq!(least(&fit(10)), Some(2.0));
        // From a zero on, all is possible.
        let state = condition(&state, 10, 11);
        assert_eq!(least(&state), None);
        assert_eq!(least(&condition(&state, 11, 12)), None);
        assert_eq!(least(&fit(12)), None);
        let arima = crate::family("arima").unwrap();
        let state = arima
            .fit(part(0..10), &Params::default(), None)
            .unwrap()
            .state;
        let gap = Series {
            dates: &[12, 13],
            values: &[f64::NAN, 1.5],
            regressors: &[],
        };
        assert_eq!(least(&arima.condition(&state, gap).unwrap()), Some(1.5));
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
            // As they are stored, too.
            let least = paths
                .values
                .iter()
                .map(|value| *value as f32)
                .fold(f32::INFINITY, f32::min);
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
