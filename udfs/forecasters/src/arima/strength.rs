//! The strength of a season, from a decomposition by loess (STL: Cleveland, Cleveland, McRae and
//! Terpenning 1990; section numbers are theirs), two rounds, without robustness weights.

use crate::moments::mean;

/// The span of the smoother over the years of one season, in years.
const SEASONAL_SPAN: usize = 11;

/// max(0, 1 - var(remainder) / var(season + remainder)).
pub(crate) fn seasonal_strength(values: &[f64], season: usize) -> f64 {
    let (seasonal, trend) = decompose(values, season);
    let remainder: Vec<f64> = (0..values.len())
        .map(|t| values[t] - seasonal[t] - trend[t])
        .collect();
    let both: Vec<f64> = (0..values.len()).map(|t| values[t] - trend[t]).collect();
    // What rounding leaves of a constant is neither season nor remainder.
    let rounding = 1e-12
        * values
            .iter()
            .fold(0.0_f64, |most, value| most.max(value.abs()));
    let varied = variance(&both);
    if varied > rounding * rounding {
        (1.0 - variance(&remainder) / varied).max(0.0)
    } else {
        0.0
    }
}

fn variance(values: &[f64]) -> f64 {
    let mean = mean(values);
    values
        .iter()
        .map(|value| (value - mean) * (value - mean))
        .sum::<f64>()
        / values.len() as f64
}

/// The seasonal and the trend component (section 2).
fn decompose(values: &[f64], season: usize) -> (Vec<f64>, Vec<f64>) {
    let count = values.len();
    let trend_span = (1.5 * season as f64 / (1.0 - 1.5 / SEASONAL_SPAN as f64)) as usize + 1;
    let (trend_span, low_span) = (trend_span | 1, season | 1);
    let mut trend = vec![0.0; count];
    let mut seasonal = vec![0.0; count];
    for _ in 0..2 {
        // Each season's subseries, smoothed, a year longer on either side.
        let mut cycle = vec![0.0; count + 2 * season];
        for first in 0..season.min(count) {
            let series: Vec<f64> = (first..count)
                .step_by(season)
                .map(|t| values[t] - trend[t])
                .collect();
            let years = series.len() as isize;
            let smooth = |year: isize| loess(&series, year as f64, SEASONAL_SPAN, false);
            for year in -1..=years {
                let place = (first as isize + (year + 1) * season as isize) as usize;
                if place < cycle.len() {
                    cycle[place] = smooth(year);
                }
            }
        }
        let low = moving_mean(&moving_mean(&moving_mean(&cycle, season), season), 3);
        let low = smoothed(&low, low_span);
        for t in 0..count {
            seasonal[t] = cycle[t + season] - low[t];
        }
        let without: Vec<f64> = values
            .iter()
            .zip(&seasonal)
            .map(|(value, s)| value - s)
            .collect();
        trend = smoothed(&without, trend_span);
    }
    (seasonal, trend)
}

fn moving_mean(values: &[f64], span: usize) -> Vec<f64> {
    let mut sum: f64 = values[..span].iter().sum();
    let mut means = vec![sum / span as f64];
    for t in span..values.len() {
        sum += values[t] - values[t - span];
        means.push(sum / span as f64);
    }
    means
}

/// Loess of degree one at every tenth of the span, straight lines between.
fn smoothed(values: &[f64], span: usize) -> Vec<f64> {
    let count = values.len();
    let jump = span.div_ceil(10);
    let mut out = vec![0.0; count];
    let mut last = 0;
    out[0] = loess(values, 0.0, span, true);
    while last + 1 < count {
        let next = (last + jump).min(count - 1);
        out[next] = loess(values, next as f64, span, true);
        for t in last + 1..next {
            let share = (t - last) as f64 / (next - last) as f64;
            out[t] = out[last] + share * (out[next] - out[last]);
        }
        last = next;
    }
    out
}

/// The local fit at a place (section 3.1): tricube weights over the nearest `span` values, the
/// distance stretched where there are fewer.
fn loess(values: &[f64], place: f64, span: usize, slope: bool) -> f64 {
    let count = values.len();
    let used = span.min(count);
    let middle = place.max(0.0) as usize;
    let first = middle.saturating_sub(used / 2).min(count - used);
    let last = first + used - 1;
    let mut reach = (place - first as f64).max(last as f64 - place);
    if span > count {
        reach += ((span - count) / 2) as f64;
    }
    let (mut total, mut sum, mut moment) = (0.0, 0.0, 0.0);
    let mut weights = [0.0; 64];
    let mut many = vec![];
    let weights = if used <= 64 {
        &mut weights[..used]
    } else {
        many.resize(used, 0.0);
        &mut many[..]
    };
    for (index, weight) in weights.iter_mut().enumerate() {
        let distance = ((first + index) as f64 - place).abs();
        if distance <= 0.999 * reach {
            let share = distance / reach;
            let cube = 1.0 - share * share * share;
            *weight = if distance <= 0.001 * reach {
                1.0
            } else {
                cube * cube * cube
            };
        }
        total += *weight;
        moment += *weight * (first + index) as f64;
    }
    if total <= 0.0 {
        return values[middle.min(count - 1)];
    }
    let center = moment / total;
    let mut spread = 0.0;
    if slope {
        for (index, weight) in weights.iter().enumerate() {
            let off = (first + index) as f64 - center;
            spread += weight * off * off;
        }
        spread /= total;
    }
    let tilted = slope && spread.sqrt() > 0.001 * (count as f64 - 1.0);
    for (index, weight) in weights.iter().enumerate() {
        let off = (first + index) as f64 - center;
        let tilt = if tilted {
            1.0 + (place - center) * off / spread
        } else {
            1.0
        };
        sum += weight * tilt * values[first + index];
    }
    sum / total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_season_on_a_line_is_taken_apart_exactly() {
        let wave = [3.0, -1.0, -2.0];
        let values: Vec<f64> = (0..30)
            .map(|t| 5.0 + 0.5 * t as f64 + wave[t % 3])
            .collect();
        let (seasonal, trend) = decompose(&values, 3);
        for t in 0..30 {
            assert!(
                (seasonal[t] - wave[t % 3]).abs() < 0.05,
                "{t} {}",
                seasonal[t]
            );
            assert!(
                (trend[t] - 5.0 - 0.5 * t as f64).abs() < 0.05,
                "{t} {}",
                trend[t]
            );
        }
        assert!(seasonal_strength(&values, 3) > 0.999);
    }

    #[test]
    fn loess_of_a_line_is_the_line() {
        let line: Vec<f64> = (0..20).map(|t| 2.0 - 0.3 * t as f64).collect();
        for (t, value) in smoothed(&line, 7).iter().enumerate() {
            assert!((value - line[t]).abs() < 1e-12);
        }
        // Weights at distances 0, 1, 1 of 3: the mean of the three around the middle.
        let weight = |share: f64| (1.0 - share.powi(3)).powi(3);
        let expected = (1.0 * weight(0.5) + 4.0 + 3.0 * weight(0.5)) / (1.0 + 2.0 * weight(0.5));
        let found = loess(&[9.0, 1.0, 4.0, 3.0, 9.0], 2.0, 5, false);
        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    }

    #[test]
    fn noise_has_a_weak_season_and_a_constant_none() {
        let values: Vec<f64> = (0..60).map(|t| f64::from(t * t * 7 % 31)).collect();
        assert!(seasonal_strength(&values, 4) < 0.64);
        assert_eq!(seasonal_strength(&[2.0; 40], 4), 0.0);
    }
}
