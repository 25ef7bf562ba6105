//! How good a forecast was, measured as the M4 competition did, and as probabilities are.
//!
//! Makridakis, Spiliotis and Assimakopoulos (2020), *The M4 Competition*, International Journal of
//! Forecasting 36: the symmetric mean absolute percentage error, the mean absolute scaled error, and
//! Naive 2, against which the overall weighted average compares both. The continuous ranked
//! probability score of a sample: Gneiting and Raftery (2007), equation 21.

use crate::{moments::mean, seasonal};

/// The symmetric mean absolute percentage error, in percent, from 0 to 200. A step that is zero and
/// was forecast as zero has no error.
pub fn smape(actual: &[f64], forecast: &[f64]) -> f64 {
    let errors = actual.iter().zip(forecast).map(|(actual, forecast)| {
        let size = actual.abs() + forecast.abs();
        if size == 0.0 {
            0.0
        } else {
            200.0 * (actual - forecast).abs() / size
        }
    });
    errors.sum::<f64>() / actual.len() as f64
}

/// The mean absolute error, by which errors are scaled, of forecasting each value of a history by
/// that of a season before. `None` if it is zero or there is no season before any value.
pub fn seasonal_scale(history: &[f64], season_length: usize) -> Option<f64> {
    if season_length == 0 || history.len() <= season_length {
        return None;
    }
    let steps: Vec<f64> = history[season_length..]
        .iter()
        .zip(history)
        .map(|(value, before)| (value - before).abs())
        .collect();
    Some(mean(&steps)).filter(|scale| *scale > 0.0)
}

/// The mean absolute error as a multiple of `scale`.
pub fn mase(actual: &[f64], forecast: &[f64], scale: f64) -> f64 {
    let errors = actual
        .iter()
        .zip(forecast)
        .map(|(actual, forecast)| (actual - forecast).abs());
    errors.sum::<f64>() / actual.len() as f64 / scale
}

/// The continuous ranked probability score of a sample at a value. Sorts the sample.
pub fn crps(sample: &mut [f64], actual: f64) -> f64 {
    sample.sort_unstable_by(f64::total_cmp);
    let count = sample.len() as f64;
    let terms = sample.iter().enumerate().map(|(index, value)| {
        let rank = index as f64 + 0.5;
        (value - actual) * (if actual < *value { count } else { 0.0 } - rank)
    });
    2.0 * terms.sum::<f64>() / (count * count)
}

/// The forecast of Naive 2: the last value, adjusted for the season where the history has one. A
/// season with a phase that is nothing, or less, has no factors to adjust by.
pub fn naive2(history: &[f64], season_length: usize, steps: usize) -> Vec<f64> {
    let Some(last) = history.last() else {
        return vec![f64::NAN; steps];
    };
    if !is_seasonal(history, season_length) {
        return vec![*last; steps];
    }
    let factors = seasonal_factors(history, season_length);
    if !factors.iter().all(|factor| *factor > 0.0) {
        return vec![*last; steps];
    }
    let phase = |index: usize| factors[index % season_length];
    let level = last / phase(history.len() - 1);
    (0..steps)
        .map(|step| level * phase(history.len() + step))
        .collect()
}

/// Whether the autocorrelation at the season's length is beyond its 90 % limits under shorter
/// correlations only (Bartlett), which takes three seasons at least.
pub fn is_seasonal(history: &[f64], season_length: usize) -> bool {
    if season_length < 2 || history.len() < season_length.saturating_mul(3) {
        return false;
    }
    let center = mean(history);
    let deviations: Vec<f64> = history.iter().map(|value| value - center).collect();
    let square: f64 = deviations.iter().map(|value| value * value).sum();
    let correlation = |lag: usize| product(&deviations[lag..], &deviations) / square;
    let shorter: f64 = (1..season_length)
        .map(|lag| correlation(lag) * correlation(lag))
        .sum();
    let limit = 1.645 * ((1.0 + 2.0 * shorter) / history.len() as f64).sqrt();
    correlation(season_length).abs() > limit
}

/// The factor of each phase of the season in the classical multiplicative decomposition: the mean
/// ratio of its values to a centered moving average, all scaled to a mean of one.
pub fn seasonal_factors(history: &[f64], season_length: usize) -> Vec<f64> {
    seasonal::indices(history, season_length, seasonal::Kind::Multiplicative)
}

/// The sum of the products of two rows, up to the end of the shorter one.
fn product(left: &[f64], right: &[f64]) -> f64 {
    const LANES: usize = 8;
    let count = left.len().min(right.len());
    let whole = count - count % LANES;
    let mut sums = [0.0; LANES];
    for (left, right) in left[..whole]
        .chunks_exact(LANES)
        .zip(right[..whole].chunks_exact(LANES))
    {
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += left[lane] * right[lane];
        }
    }
    let rest = left[whole..count].iter().zip(&right[whole..count]);
    sums.iter().sum::<f64>() + rest.map(|(left, right)| left * right).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_and_scaled_errors_worked_by_hand() {
        assert_eq!(smape(&[100.0, 0.0], &[50.0, 0.0]), 0.5 * 200.0 / 3.0);
        assert_eq!(seasonal_scale(&[1.0, 2.0, 4.0, 3.0], 1), Some(4.0 / 3.0));
        assert_eq!(seasonal_scale(&[1.0, 2.0, 4.0, 3.0], 2), Some(2.0));
        assert_eq!(mase(&[5.0, 6.0], &[4.0, 8.0], 2.0), 0.75);
        assert_eq!(seasonal_scale(&[3.0; 9], 1), None);
        assert_eq!(seasonal_scale(&[1.0, 2.0], 2), None);
    }

    #[test]
    fn naive_2_of_a_week_with_a_day_of_rest_is_the_last_value() {
        let shop = |day: usize| {
            if day % 7 == 6 {
                0.0
            } else {
                10.0 + (day % 7) as f64
            }
        };
        for length in [34, 35] {
            let history: Vec<f64> = (0..length).map(shop).collect();
            assert!(is_seasonal(&history, 7));
            assert_eq!(naive2(&history, 7, 3), [shop(length - 1); 3]);
        }
    }

    #[test]
    fn the_score_of_a_sample_is_its_distance_less_half_its_spread() {
        // E|X - y| - E|X - X'| / 2 for X equal to 1 or 3, y = 4: 2 - 1 / 2.
        assert_eq!(crps(&mut [3.0, 1.0], 4.0), 1.5);
        assert_eq!(crps(&mut [3.0, 1.0], 2.0), 0.5);
        assert_eq!(crps(&mut [7.0], 4.0), 3.0);
    }

    #[test]
    fn a_season_is_told_from_noise_and_continued() {
        let pattern = [0.8, 1.0, 1.4, 0.8];
        let history: Vec<f64> = (0..40).map(|index| 50.0 * pattern[index % 4]).collect();
        assert!(is_seasonal(&history, 4));
        let forecast = naive2(&history, 4, 6);
        for (found, expected) in forecast.iter().zip([40.0, 50.0, 70.0, 40.0, 40.0, 50.0]) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        assert!(!is_seasonal(&history[..11], 4));
        let trend: Vec<f64> = (0..40).map(|index| f64::from(index * index % 7)).collect();
        assert!(!is_seasonal(&trend, 4));
        assert_eq!(naive2(&trend, 4, 2), [trend[39]; 2]);
    }
}
