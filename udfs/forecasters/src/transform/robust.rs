//! Centering and scaling by medians, with outliers moved in.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::Refused;
use crate::moments::median;

/// As many observations have a running median in common.
const WINDOW: usize = 9;
/// How many robust deviations an observation may be away from its running median.
const MOST_DEVIATIONS: f64 = 5.0;
/// A normal distribution's standard deviation over its median and its mean absolute deviation.
const PER_MEDIAN_DEVIATION: f64 = 1.482_602_218_505_602;
const PER_MEAN_DEVIATION: f64 = 1.253_314_137_315_500_3;

/// A fitted center and scale, and what the next observation is compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Robust {
    center: f64,
    scale: f64,
    /// The farthest an observation may be from its running median, if there is a limit.
    limit: Option<f64>,
    /// The newest observations as they were, all but one of a window.
    recent: VecDeque<f64>,
}

impl Robust {
    /// Fits to a history, and stands before its first observation.
    pub(crate) fn fit(history: &[f64]) -> Result<Robust, Refused> {
        let center = median(&mut history.to_vec());
        let mut from_center: Vec<f64> =
            history.iter().map(|value| (value - center).abs()).collect();
        let mut scale = PER_MEDIAN_DEVIATION * median(&mut from_center);
        if scale == 0.0 {
            scale = PER_MEAN_DEVIATION * crate::moments::mean(&from_center);
        }
        let mut robust = Robust {
            center,
            scale: if scale == 0.0 { 1.0 } else { scale },
            limit: None,
            recent: VecDeque::with_capacity(WINDOW),
        };
        let mut passing = robust.clone();
        let mut from_running: Vec<f64> = history
            .iter()
            .map(|value| {
                let distance = (value - passing.running_median(*value)).abs();
                passing.pass(*value);
                distance
            })
            .collect();
        let limit = MOST_DEVIATIONS * PER_MEDIAN_DEVIATION * median(&mut from_running);
        robust.limit = (limit > 0.0).then_some(limit);
        if robust.is_sound() {
            Ok(robust)
        } else {
            Err(Refused::TooLarge)
        }
    }

    /// What one robust deviation is.
    pub(crate) fn scale(&self) -> f64 {
        self.scale
    }

    /// The next observation, moved in if need be, centered and scaled.
    pub(crate) fn forward(&self, value: f64) -> f64 {
        let value = match self.limit {
            None => value,
            Some(limit) => {
                let middle = self.running_median(value);
                value.clamp(middle - limit, middle + limit)
            }
        };
        (value - self.center) / self.scale
    }

    /// A value neither scaled nor centered.
    pub(crate) fn back(&self, value: f64) -> f64 {
        self.center + self.scale * value
    }

    /// Lets an observation pass.
    pub(crate) fn pass(&mut self, value: f64) {
        if self.recent.len() == WINDOW - 1 {
            self.recent.pop_front();
        }
        self.recent.push_back(value);
    }

    /// Whether its numbers are what a fit could have given.
    pub(crate) fn is_sound(&self) -> bool {
        self.center.is_finite()
            && self.scale.is_finite()
            && self.scale > 0.0
            && self
                .limit
                .is_none_or(|limit| limit.is_finite() && limit > 0.0)
            && self.recent.len() < WINDOW
            && self.recent.iter().all(|value| value.is_finite())
    }

    /// The median of the next observation and those before it.
    fn running_median(&self, next: f64) -> f64 {
        let mut window = [next; WINDOW];
        for (place, value) in window[1..].iter_mut().zip(&self.recent) {
            *place = *value;
        }
        median(&mut window[..=self.recent.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A zigzag of deviation one around 100, with a slow drift.
    fn zigzag(length: usize) -> Vec<f64> {
        (0..length)
            .map(|index| 100.0 + [0.0, 1.0, -1.0, 0.5, -0.5][index % 5] + 0.01 * index as f64)
            .collect()
    }

    fn seen(robust: &mut Robust, values: &[f64]) -> Vec<f64> {
        values
            .iter()
            .map(|value| {
                let seen = robust.back(robust.forward(*value));
                robust.pass(*value);
                seen
            })
            .collect()
    }

    #[test]
    fn a_spike_is_cut_down_and_nothing_else() {
        let mut values = zigzag(120);
        values[60..64]
            .iter_mut()
            .for_each(|value| *value += 1_000.0);
        let mut robust = Robust::fit(&values).unwrap();
        let limit = robust.limit.unwrap();
        assert!((3.0..5.0).contains(&limit), "{limit}");
        for (index, (seen, value)) in seen(&mut robust, &values).iter().zip(&values).enumerate() {
            if (60..64).contains(&index) {
                assert!((seen - 101.0).abs() < limit + 1.0, "{index} {seen}");
            } else {
                assert!((seen - value).abs() < 1e-12, "{index} {seen} {value}");
            }
        }
    }

    #[test]
    fn a_new_level_is_believed_from_the_fifth_observation() {
        let mut values = zigzag(120);
        values[80..].iter_mut().for_each(|value| *value += 1_000.0);
        let mut robust = Robust::fit(&values).unwrap();
        let seen = seen(&mut robust, &values);
        for (index, value) in seen.iter().enumerate().skip(80) {
            assert_eq!(*value > 1_000.0, index >= 84, "{index} {value}");
        }
    }

    #[test]
    fn series_that_hardly_vary_are_not_limited() {
        let mut values = vec![5.0; 60];
        assert_eq!(Robust::fit(&values).unwrap().scale, 1.0);
        for index in [10, 30, 50] {
            values[index] = 8.0;
        }
        let mut robust = Robust::fit(&values).unwrap();
        assert_eq!(robust.limit, None);
        assert!((robust.scale - PER_MEAN_DEVIATION * 0.15).abs() < 1e-12);
        for (seen, value) in seen(&mut robust, &values).iter().zip(&values) {
            assert!((seen - value).abs() < 1e-12);
        }
        assert_eq!(robust.recent.len(), WINDOW - 1);
        assert!(Robust::fit(&[1.7e308, -1.7e308, 1.7e308, -1.7e308]).is_err());
    }
}
