//! Guerrero's choice of the power.

use crate::{
    math::{exp, ln},
    moments::{deviation, mean},
    optimize::golden_section,
};

/// Two pairs of values.
pub(crate) const FEWEST: usize = 4;
/// How many powers are compared before the best of them is narrowed down.
const COARSE: usize = 20;
const TOLERANCE: f64 = 1e-5;

/// The power from 0 to `most` under which the deviations of subseries divided by their means to
/// the power 1 - lambda vary least, in proportion to their own mean (Guerrero 1993, section 3).
/// Subseries have the season's length, or are pairs where there is no season or less than two of
/// them; values at the beginning that fill none are left out. 1 where nothing varies.
pub(crate) fn lambda(values: &[f64], season_length: usize, most: f64) -> f64 {
    let length = if season_length >= 2 && values.len() / 2 >= season_length {
        season_length
    } else {
        2
    };
    // Logarithms of mean and deviation, the former less its own mean: a unit's power is common to
    // all ratios.
    let mut subseries: Vec<(f64, f64)> = values[values.len() % length..]
        .chunks_exact(length)
        .map(|values| (ln(mean(values)), deviation(values)))
        .collect();
    if subseries.iter().all(|(_, deviation)| *deviation == 0.0) {
        return 1.0;
    }
    let logarithms: Vec<f64> = subseries.iter().map(|(logarithm, _)| *logarithm).collect();
    let center = mean(&logarithms);
    let size = subseries.iter().fold(0.0_f64, |most, (_, d)| most.max(*d));
    for (logarithm, deviation) in &mut subseries {
        *logarithm -= center;
        *deviation /= size;
    }
    let variation = |lambda: f64| {
        let ratios: Vec<f64> = subseries
            .iter()
            .map(|(logarithm, deviation)| deviation * exp((lambda - 1.0) * logarithm))
            .collect();
        deviation(&ratios) / mean(&ratios)
    };
    let at = |index: usize| most * index as f64 / COARSE as f64;
    let best = (0..=COARSE)
        .min_by(|left, right| variation(at(*left)).total_cmp(&variation(at(*right))))
        .unwrap_or(COARSE / 2);
    let (low, high) = (at(best.saturating_sub(1)), at((best + 1).min(COARSE)));
    let found = golden_section(low, high, TOLERANCE, variation);
    // Golden section never reaches an end.
    [at(best), found]
        .into_iter()
        .min_by(|left, right| variation(*left).total_cmp(&variation(*right)))
        .unwrap_or(found)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Golden {
        absolute_tolerance: f64,
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        series: String,
        values: Vec<f64>,
        season_length: usize,
        lambda: f64,
    }

    #[test]
    fn powers_agree_with_the_reference_in_every_unit() {
        let text = include_str!("../../golden/transform.json");
        let golden: Golden = serde_json::from_str(text).unwrap();
        for case in &golden.cases {
            for unit in [1.0, 1e-9, 1e9] {
                let values: Vec<f64> = case.values.iter().map(|value| unit * value).collect();
                let found = lambda(&values, case.season_length, 2.0);
                assert!(
                    (found - case.lambda).abs() < golden.absolute_tolerance,
                    "{} {unit}: {found} {}",
                    case.series,
                    case.lambda
                );
            }
        }
    }

    #[test]
    fn deviations_in_proportion_to_the_mean_call_for_the_logarithm() {
        let pairs: Vec<f64> = (1..30)
            .flat_map(|level| [9.0, 11.0].map(|value| value * f64::from(level)))
            .collect();
        assert!(lambda(&pairs, 2, 2.0) < 1e-4);
        let even: Vec<f64> = (1..30)
            .flat_map(|level| [-1.0, 1.0].map(|value| value + 9.0 * f64::from(level)))
            .collect();
        assert!((lambda(&even, 2, 2.0) - 1.0).abs() < 1e-4);
    }

    #[test]
    fn what_does_not_vary_is_left_as_it_is() {
        assert_eq!(lambda(&[7.0; 30], 12, 2.0), 1.0);
        // Less than two seasons are taken in pairs.
        let values: Vec<f64> = (0..20)
            .map(|index| f64::from(3 + index * index % 7))
            .collect();
        assert_eq!(lambda(&values, 11, 2.0), lambda(&values, 2, 2.0));
        assert_ne!(lambda(&values, 10, 2.0), lambda(&values, 2, 2.0));
    }
}
