//! Classical decomposition: a season that never changes, taken off a history and put back on its
//! forecast.
//!
//! Hyndman and Athanasopoulos, *Forecasting: Principles and Practice* (3rd edition), section 3.4.

use serde::{Deserialize, Serialize};

use crate::{errors::StateError, moments::mean, state::corrupt};

/// How a season joins the rest of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// It is added.
    Additive,
    /// It multiplies.
    Multiplicative,
}

impl Kind {
    /// A value without its season.
    #[inline]
    pub(crate) fn remove(self, value: f64, index: f64) -> f64 {
        match self {
            Kind::Additive => value - index,
            Kind::Multiplicative => value / index,
        }
    }

    /// A value with its season.
    #[inline]
    pub(crate) fn restore(self, value: f64, index: f64) -> f64 {
        match self {
            Kind::Additive => value + index,
            Kind::Multiplicative => value * index,
        }
    }
}

/// A season and where in it the next observation falls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Season {
    /// How it joins the rest.
    pub(crate) kind: Kind,
    /// The index of the next observation.
    phase: usize,
    /// One number per phase: summands with mean zero, or factors with mean one.
    indices: Vec<f64>,
}

impl Season {
    /// The season of a history of two seasons at least; its phase is that of the history's first
    /// observation.
    pub(crate) fn of(history: &[f64], season_length: usize, kind: Kind) -> Season {
        Season {
            kind,
            phase: 0,
            indices: indices(history, season_length, kind),
        }
    }

    /// The numbers, first phase first.
    pub(crate) fn indices(&self) -> &[f64] {
        &self.indices
    }

    /// The number that belongs to the observation this many steps after the next one.
    #[inline]
    pub(crate) fn ahead(&self, steps: usize) -> f64 {
        self.indices[(self.phase + steps) % self.indices.len()]
    }

    /// Lets this many observations pass.
    pub(crate) fn pass(&mut self, observations: usize) {
        self.phase = (self.phase + observations) % self.indices.len();
    }

    /// Checks what was decoded.
    pub(crate) fn check(&self) -> Result<(), StateError> {
        let sound =
            |index: &f64| index.is_finite() && (self.kind == Kind::Additive || *index > 0.0);
        if self.indices.len() < 2 || self.phase >= self.indices.len() {
            return Err(corrupt("the season has no such phase"));
        }
        if !self.indices.iter().all(sound) {
            return Err(corrupt("a seasonal index is out of range"));
        }
        Ok(())
    }
}

/// The number of each phase in the classical decomposition: the mean difference or ratio of its
/// values to a centered moving average, all of them shifted to a mean of zero or scaled to a mean
/// of one. A phase that no moving average is centered on is NaN, which takes less than two seasons.
pub(crate) fn indices(history: &[f64], season_length: usize, kind: Kind) -> Vec<f64> {
    let half = season_length / 2;
    let mut sums = vec![0.0; season_length];
    let mut counts = vec![0.0; season_length];
    let totals = window_sums(history, season_length);
    let centered = half..history.len().saturating_sub(half);
    for (index, phase) in centered.zip((0..season_length).cycle().skip(half)) {
        let first = totals[index - half];
        let total = if season_length.is_multiple_of(2) {
            0.5 * (first + totals[index - half + 1])
        } else {
            first
        };
        sums[phase] += kind.remove(history[index], total / season_length as f64);
        counts[phase] += 1.0;
    }
    let mut indices = sums;
    for (index, count) in indices.iter_mut().zip(counts) {
        *index /= count;
    }
    let center = mean(&indices);
    indices
        .iter_mut()
        .for_each(|index| *index = kind.remove(*index, center));
    indices
}

/// The sum of every window of this length, without subtractions that would lose small values
/// beside large ones: the end of one block and the beginning of the next.
fn window_sums(values: &[f64], length: usize) -> Vec<f64> {
    if values.len() < length {
        return vec![];
    }
    let mut ends = values.to_vec();
    for block in ends.chunks_mut(length) {
        for index in (1..block.len()).rev() {
            block[index - 1] += block[index];
        }
    }
    let mut begins = values.to_vec();
    for block in begins.chunks_mut(length) {
        for index in 1..block.len() {
            block[index] += block[index - 1];
        }
    }
    (0..=values.len() - length)
        .map(|first| {
            if first % length == 0 {
                ends[first]
            } else {
                ends[first] + begins[first + length - 1]
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_summed_across_blocks() {
        let values: Vec<f64> = (0..17).map(|index| f64::from(index * index)).collect();
        for length in 1..=17 {
            let expected: Vec<f64> = values
                .windows(length)
                .map(|window| window.iter().sum())
                .collect();
            assert_eq!(window_sums(&values, length), expected, "{length}");
        }
        assert!(window_sums(&values, 18).is_empty());
    }

    #[test]
    fn a_season_on_a_line_is_found_again() {
        // A line's moving average is the line, so that the season is what was put on it.
        for (length, pattern) in [(4, vec![-3.0, 1.0, 2.5, -0.5]), (3, vec![2.0, -3.0, 1.0])] {
            let history: Vec<f64> = (0..31)
                .map(|index| 50.0 + 0.5 * index as f64 + pattern[index % length])
                .collect();
            let found = indices(&history, length, Kind::Additive);
            for (found, expected) in found.iter().zip(&pattern) {
                assert!((found - expected).abs() < 1e-12, "{found} {expected}");
            }
        }
        let factors = [0.8, 1.0, 1.4, 0.8];
        let history: Vec<f64> = (0..31).map(|index| 50.0 * factors[index % 4]).collect();
        for (found, expected) in indices(&history, 4, Kind::Multiplicative)
            .iter()
            .zip(factors)
        {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
    }

    #[test]
    fn two_seasons_do_and_less_does_not() {
        let history: Vec<f64> = (1..=12).map(f64::from).collect();
        for length in [5, 6] {
            let found = indices(&history[..2 * length], length, Kind::Additive);
            assert!(found.iter().all(|index| index.is_finite()), "{length}");
            let found = indices(&history[..length], length, Kind::Additive);
            assert!(found.iter().any(|index| index.is_nan()), "{length}");
        }
    }

    #[test]
    fn phases_follow_the_observations() {
        let mut season = Season::of(&[1.0, 2.0, 4.0, 1.0, 2.0, 4.0, 1.0], 3, Kind::Additive);
        assert_eq!(season.ahead(4), season.indices()[1]);
        season.pass(7);
        assert_eq!(season.ahead(0), season.indices()[1]);
        assert!(season.check().is_ok());
        season.phase = 3;
        assert!(season.check().is_err());
    }
}
