//! How often a series has to be differenced: the test of Kwiatkowski, Phillips, Schmidt and Shin
//! (1992) for ordinary differences, the strength of the season for a seasonal one (Wang, Smith and
//! Hyndman 2006; Hyndman and Athanasopoulos, *Forecasting: Principles and Practice*, 4.3 and 9.1).

use super::strength::seasonal_strength;
use crate::moments::mean;

/// The 10 %, 5 % and 1 % points of the test for a stationary level (table 1 of the paper).
const CRITICAL: [f64; 3] = [0.347, 0.463, 0.739];
/// From this strength on, a season is differenced away; where an earlier fit did so, and where it
/// did not.
const STRONG: [f64; 3] = [0.59, 0.64, 0.69];

/// Which of three edges to hold against: the middle one, or where an earlier fit is gone on from,
/// the one on the other side of what it decided, so that what is close to the edge stays as it is.
fn edge(edges: [f64; 3], earlier: Option<bool>) -> f64 {
    match earlier {
        Some(true) => edges[0],
        None => edges[1],
        Some(false) => edges[2],
    }
}

/// The statistic of the test that a series is stationary around a level, with Bartlett's weights
/// on autocovariances up to lag 3 sqrt(n) / 13. Zero for a constant.
pub(crate) fn kpss(values: &[f64]) -> f64 {
    let count = values.len();
    let mean = mean(values);
    let deviations: Vec<f64> = values.iter().map(|value| value - mean).collect();
    let covariance = |lag: usize| -> f64 {
        deviations[lag..]
            .iter()
            .zip(&deviations)
            .map(|(left, right)| left * right)
            .sum()
    };
    let lags = (3.0 * (count as f64).sqrt() / 13.0) as usize;
    let mut long_run = covariance(0);
    for lag in 1..=lags.min(count.saturating_sub(1)) {
        long_run += 2.0 * (1.0 - lag as f64 / (lags as f64 + 1.0)) * covariance(lag);
    }
    let (mut sum, mut squares) = (0.0, 0.0);
    for deviation in &deviations {
        sum += deviation;
        squares += sum * sum;
    }
    let statistic = squares / (count as f64 * long_run);
    if statistic.is_finite() {
        statistic
    } else {
        0.0
    }
}

/// How many ordinary differences make a series stationary, at most two; `earlier` is what an
/// earlier fit took.
pub(crate) fn ordinary_differences(values: &[f64], earlier: Option<usize>) -> usize {
    let mut values = values.to_vec();
    for differences in 0..2 {
        // Too few to tell, or nothing left to tell of.
        if values.len() < 4
            || kpss(&values) < edge(CRITICAL, earlier.map(|earlier| earlier > differences))
        {
            return differences;
        }
        values = values.windows(2).map(|pair| pair[1] - pair[0]).collect();
    }
    2
}

/// Whether the season of a series is so strong that it is differenced away; `earlier` is what an
/// earlier fit decided.
pub(crate) fn seasonal_difference(values: &[f64], season: usize, earlier: Option<bool>) -> bool {
    values.len() > 2 * season + 1 && seasonal_strength(values, season) > edge(STRONG, earlier)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, Streams};

    fn normals(count: usize) -> Vec<f64> {
        let mut rng = Streams::new(&Digest::new()).path(5);
        (0..count).map(|_| rng.normal()).collect()
    }

    fn sums(values: &[f64]) -> Vec<f64> {
        let mut sum = 0.0;
        values
            .iter()
            .map(|value| {
                sum += value;
                sum
            })
            .collect()
    }

    #[test]
    fn the_statistic_is_that_worked_by_hand() {
        // Deviations -1, 0, 1 around 2; no lags below 19 values: partial sums -1, -1, 0.
        assert!((kpss(&[1.0, 2.0, 3.0]) - 2.0 / (3.0 * 2.0)).abs() < 1e-15);
        assert_eq!(kpss(&[7.0; 30]), 0.0);
    }

    #[test]
    fn noise_walks_and_their_sums_need_zero_one_and_two_differences() {
        let noise = normals(300);
        assert_eq!(ordinary_differences(&noise, None), 0);
        assert_eq!(ordinary_differences(&sums(&noise), None), 1);
        assert_eq!(ordinary_differences(&sums(&sums(&noise)), None), 2);
    }

    #[test]
    fn only_a_strong_season_is_differenced_away() {
        let noise = normals(120);
        let wave = [3.0, 1.0, -2.0, -2.0];
        let seasonal: Vec<f64> = (0..120).map(|t| wave[t % 4] + 0.5 * noise[t]).collect();
        assert!(seasonal_difference(&seasonal, 4, None));
        assert!(!seasonal_difference(&noise, 4, None));
        assert!(!seasonal_difference(&seasonal[..9], 4, None));
    }

    #[test]
    fn what_is_close_to_the_edge_stays_as_it_was() {
        // A walk below noise, so that the statistic is near its 5 % point.
        let (noise, walk) = (normals(300), sums(&normals(400)[100..]));
        let blend = |share: f64| -> Vec<f64> {
            noise
                .iter()
                .zip(&walk)
                .map(|(noise, walk)| noise + share * walk)
                .collect()
        };
        let share = (0..400)
            .map(|k| 0.0025 * f64::from(k))
            .find(|share| (0.4..0.5).contains(&kpss(&blend(*share))))
            .unwrap();
        let values = blend(share);
        assert_eq!(ordinary_differences(&values, Some(0)), 0);
        assert_eq!(ordinary_differences(&values, Some(1)), 1);
        assert_eq!(ordinary_differences(&walk, Some(0)), 1);
        assert_eq!(ordinary_differences(&noise, Some(1)), 0);
    }
}
