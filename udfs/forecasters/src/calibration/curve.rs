//! How distances that a model expects compare with those found.

use serde::{Deserialize, Serialize};

use crate::{
    errors::StateError,
    math::{exp, ln},
    state::corrupt,
};

/// The shares of distances at which both are compared.
const LEVELS: [f64; MOST_KNOTS] = [0.5, 0.8, 0.95, 0.98];
pub(super) const MOST_KNOTS: usize = 4;

/// As many independent errors have to lie beyond a level for it to be compared; beyond the first,
/// fewer, so that a short history tells something as well.
const BEYOND: f64 = 5.0;
const BEYOND_FIRST: f64 = 2.0;

/// As many independent errors count as much as what is leaned on.
const LEANED_ON: f64 = 20.0;

/// What distances found are of those expected, at the most.
const STEEPEST: std::ops::RangeInclusive<f64> = 1e-6..=1e6;

/// Distances as the model expects them, at some levels, and as they were found, in units of the
/// deviation expected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Curve {
    expected: Vec<f64>,
    found: Vec<f64>,
}

impl Curve {
    /// The curve of a model that is right.
    pub(super) fn straight() -> Curve {
        Curve {
            expected: vec![],
            found: vec![],
        }
    }

    /// Compares errors with what was drawn. Of `overlap` errors one is independent. `None` if there
    /// are too few.
    pub(super) fn learn(
        errors: &mut [f64],
        drawn: &mut [f64],
        overlap: usize,
        before: &Curve,
    ) -> Option<Curve> {
        if drawn.is_empty() {
            return None;
        }
        let independent = errors.len() as f64 / overlap as f64;
        let weight = independent / (independent + LEANED_ON);
        let least = |place: usize| if place == 0 { BEYOND_FIRST } else { BEYOND };
        let levels: Vec<f64> = LEVELS
            .into_iter()
            .enumerate()
            .take_while(|(place, level)| independent * (1.0 - level) >= least(*place) - 1e-9)
            .map(|(_, level)| level)
            .collect();
        let expected = quantiles(drawn, &levels);
        let found = quantiles(errors, &levels);
        let mut curve = Curve::straight();
        for (expected, found) in expected.into_iter().zip(found) {
            let leaned_on = before.distance(expected);
            let ratio = weight * ln(found / expected) + (1.0 - weight) * ln(leaned_on / expected);
            let (expected, found) = (rounded(expected), rounded(expected * exp(ratio)));
            let last = |knots: &[f64]| knots.last().copied().unwrap_or(0.0);
            // Equal errors, such as none at all, make no knot, nor does what is left of rounding.
            let sound = STEEPEST.contains(&(found / expected));
            if sound && expected > last(&curve.expected) && found > last(&curve.found) {
                curve.expected.push(expected);
                curve.found.push(found);
            }
        }
        (!curve.expected.is_empty()).then_some(curve)
    }

    /// Where a distance goes.
    fn distance(&self, distance: f64) -> f64 {
        let knot = self
            .expected
            .iter()
            .take_while(|from| distance > **from)
            .count();
        let slope = self.slopes().nth(knot).unwrap_or(1.0);
        match knot.checked_sub(1) {
            Some(before) => self.found[before] + (distance - self.expected[before]) * slope,
            None => distance * slope,
        }
    }

    /// The slopes before each knot, and after the last that of the line from zero to it.
    pub(super) fn slopes(&self) -> impl Iterator<Item = f64> {
        let mut before = (0.0, 0.0);
        let knots = self.expected.iter().zip(&self.found);
        let slopes: Vec<f64> = knots
            .map(|(expected, found)| {
                let slope = (found - before.1) / (expected - before.0);
                before = (*expected, *found);
                slope
            })
            .collect();
        let beyond = if before.0 > 0.0 {
            before.1 / before.0
        } else {
            1.0
        };
        slopes.into_iter().chain([beyond])
    }

    /// The curve that lies this share of the way to another.
    pub(super) fn between(&self, other: &Curve, share: f64) -> Curve {
        if share == 0.0 {
            return self.clone();
        }
        let moved = |expected: &f64| {
            let (here, there) = (self.distance(*expected), other.distance(*expected));
            here + share * (there - here)
        };
        Curve {
            found: self.expected.iter().map(moved).collect(),
            expected: self.expected.clone(),
        }
    }

    pub(super) fn expected(&self) -> &[f64] {
        &self.expected
    }

    pub(super) fn check(&self) -> Result<(), StateError> {
        let increasing = |knots: &[f64]| {
            let mut before = 0.0;
            knots.iter().all(|knot| {
                let above = *knot > before && knot.is_finite();
                before = *knot;
                above
            })
        };
        if self.expected.len() <= MOST_KNOTS
            && self.expected.len() == self.found.len()
            && increasing(&self.expected)
            && increasing(&self.found)
            && self
                .expected
                .iter()
                .zip(&self.found)
                .all(|(expected, found)| STEEPEST.contains(&(found / expected)))
        {
            Ok(())
        } else {
            Err(corrupt(
                "a curve does not rise, rises too steeply, or has too many knots",
            ))
        }
    }
}

/// The values that these shares of some values, and of one more like them, do not exceed. Shares
/// increase.
fn quantiles(values: &mut [f64], shares: &[f64]) -> Vec<f64> {
    let count = values.len();
    let mut rest = values;
    let mut found: Vec<f64> = shares
        .iter()
        .rev()
        .map(|share| {
            let rank = (share * (count + 1) as f64).ceil() as usize;
            let index = rank.clamp(1, rest.len()) - 1;
            let value = *rest.select_nth_unstable_by(index, f64::total_cmp).1;
            rest = &mut std::mem::take(&mut rest)[..=index];
            value
        })
        .collect();
    found.reverse();
    found
}

/// Five digits say more than errors do.
fn rounded(value: f64) -> f64 {
    format!("{value:.4e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranks(count: u32) -> Vec<f64> {
        (1..=count)
            .map(|rank| f64::from(rank) / f64::from(count))
            .collect()
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_values() {
        let mut values = [5.0, 1.0, 4.0, 2.0, 3.0, 9.0, 7.0, 8.0, 6.0];
        // The shares of ten values, one of them unknown.
        assert_eq!(quantiles(&mut values, &[0.1, 0.45, 0.9]), [1.0, 5.0, 9.0]);
        assert_eq!(quantiles(&mut [2.0], &[0.3, 0.8]), [2.0, 2.0]);
    }

    #[test]
    fn errors_twice_as_large_as_drawn_are_found_so() {
        let mut drawn = ranks(4_000);
        let mut errors: Vec<f64> = drawn.iter().map(|value| 2.0 * value).collect();
        let curve = Curve::learn(&mut errors, &mut drawn, 1, &Curve::straight()).unwrap();
        assert_eq!(curve.expected.len(), LEVELS.len());
        for (slope, distance) in curve.slopes().zip([0.1, 0.4, 0.7]) {
            assert!((slope - 2.0).abs() < 0.02, "{slope}");
            assert!((curve.distance(distance) / distance - 2.0).abs() < 0.02);
        }
    }

    #[test]
    fn few_errors_lean_on_the_curve_before_and_say_nothing_of_tails() {
        let mut drawn = ranks(500);
        let mut errors: Vec<f64> = drawn.iter().map(|value| 4.0 * value).collect();
        // 25 of them are independent and 20 are leaned on: 4 to the power of 5 / 9.
        let curve = Curve::learn(&mut errors, &mut drawn, 20, &Curve::straight()).unwrap();
        assert_eq!(curve.expected.len(), 2);
        let expected = exp(ln(4.0) * 5.0 / 9.0);
        assert!(curve.slopes().all(|slope| (slope - expected).abs() < 0.01));
        let five = Curve::learn(&mut errors, &mut drawn, 100, &curve).unwrap();
        assert_eq!(five.expected.len(), 1);
        assert!(Curve::learn(&mut errors, &mut drawn, 130, &curve).is_none());
        assert!(Curve::learn(&mut errors, &mut [], 1, &curve).is_none());
    }

    #[test]
    fn halfway_between_two_curves_distances_go_halfway() {
        let curve = |found: [f64; 2]| Curve {
            expected: vec![1.0, 2.0],
            found: found.to_vec(),
        };
        let middle = curve([2.0, 3.0]).between(&curve([1.0, 2.0]), 0.5);
        assert_eq!(middle, curve([1.5, 2.5]));
        assert_eq!(middle.slopes().collect::<Vec<_>>(), [1.5, 1.0, 1.25]);
        let found = [0.5, 1.5, 4.0].map(|at| middle.distance(at));
        assert_eq!(found, [0.75, 2.0, 5.0]);
    }

    #[test]
    fn equal_errors_make_no_knot() {
        let mut drawn = ranks(400);
        let none = Curve::learn(&mut [0.0; 400], &mut drawn, 1, &Curve::straight());
        assert!(none.is_none());
        let curve = Curve::learn(&mut [1.0; 400], &mut drawn, 1, &Curve::straight());
        curve.unwrap().check().unwrap();
    }
}
