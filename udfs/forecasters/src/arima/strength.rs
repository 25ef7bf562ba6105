//! The strength of a season (Hyndman and Athanasopoulos, *Forecasting: Principles and Practice*,
//! 4.3), from a decomposition in two rounds without robustness weights.

use crate::{
    loess::{Degree, Span},
    moments::mean,
    sizes::largest,
    stl::{Components, Settings, decompose},
};

/// The span of the smoother over the years of one phase, in years.
const SEASONAL_SPAN: usize = 11;

/// max(0, 1 - var(remainder) / var(season + remainder)), of at least two seasons of values.
pub(crate) fn seasonal_strength(values: &[f64], season: usize) -> f64 {
    let span = |window: usize, degree: Degree, jump: usize| Span {
        window,
        degree,
        jump,
    };
    let smooth = 1.5 * season as f64 / (1.0 - 1.5 / SEASONAL_SPAN as f64);
    let (trend, low_pass) = ((smooth as usize + 1) | 1, season | 1);
    let Components { season, trend } = decompose(
        values,
        Settings {
            period: season,
            season: span(SEASONAL_SPAN, Degree::Constant, 1),
            trend: span(trend, Degree::Line, trend.div_ceil(10)),
            low_pass: span(low_pass, Degree::Line, low_pass.div_ceil(10)),
            inner_loops: 2,
            outer_loops: 0,
        },
    );
    let both: Vec<f64> = values
        .iter()
        .zip(&trend)
        .map(|(v, trend)| v - trend)
        .collect();
    let remainder: Vec<f64> = both
        .iter()
        .zip(&season)
        .map(|(v, season)| v - season)
        .collect();
    // What rounding leaves of a constant is neither season nor remainder.
    let rounding = 1e-12 * largest(values);
    let varied = variance(&both);
    if varied > rounding * rounding {
        (1.0 - variance(&remainder) / varied).max(0.0)
    } else {
        0.0
    }
}

fn variance(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares = values.iter().map(|value| (value - mean) * (value - mean));
    squares.sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_season_on_a_line_is_as_strong_as_can_be() {
        let wave = [3.0, -1.0, -2.0];
        let values: Vec<f64> = (0..30)
            .map(|t| 5.0 + 0.5 * t as f64 + wave[t % 3])
            .collect();
        assert!(seasonal_strength(&values, 3) > 0.999);
    }

    #[test]
    fn noise_has_a_weak_season_and_a_constant_none() {
        let values: Vec<f64> = (0..60).map(|t| f64::from(t * t * 7 % 31)).collect();
        assert!(seasonal_strength(&values, 4) < 0.64);
        assert_eq!(seasonal_strength(&[2.0; 40], 4), 0.0);
        assert_eq!(seasonal_strength(&[0.1; 41], 4), 0.0);
    }
}
