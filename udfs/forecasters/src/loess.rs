//! Local regression on equally spaced values: the smoother that STL is built of.
//!
//! Cleveland, Cleveland, McRae and Terpenning (1990), *STL: A Seasonal-Trend Decomposition
//! Procedure Based on Loess*, Journal of Official Statistics 6, section 2: the value at a position
//! is that of a line (or constant) fitted to the `window` nearest values, weighted by the tricube
//! of their distance relative to the farthest of them; where there are fewer values than that, the
//! distance is relative to one as far out as the window would have reached (half of what is missing on
//! each side, as the authors' program has it; the text has it grow in proportion).
//!
//! The weights depend on nothing but the number of values, so a smoother is made once and used in
//! every loop of a decomposition. Among the values it is evaluated at every `jump`-th and the last;
//! in between, the curve is a straight line.

use crate::moments::mean;
use crate::sizes::dot;

/// A smoother of series of one length.
pub(crate) struct Loess {
    /// The number of values smoothed.
    length: usize,
    degree: Degree,
    /// Where the curve is evaluated, from the first position on.
    knots: Vec<Knot>,
    /// The number of positions, those before and after the values included.
    positions: usize,
}

/// What is fitted to the neighbors of a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Degree {
    /// A constant.
    Constant,
    /// A line.
    Line,
}

/// A smoother's settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// How many neighbors count.
    pub(crate) window: usize,
    pub(crate) degree: Degree,
    /// The curve is evaluated at every so many-th value, from 1.
    pub(crate) jump: usize,
}

/// A position at which the curve is evaluated.
struct Knot {
    /// Counted from the first position.
    position: usize,
    /// The place of the first neighbor among the values.
    first: usize,
    /// The neighbors' offset of the first of them from the knot.
    offset: f64,
    /// The tricube weights of the neighbors.
    weights: Vec<f64>,
    /// What each neighbor contributes to the curve without other weights.
    effects: Vec<f64>,
}

impl Loess {
    /// The smoother of `length` values, evaluated at them and at `beyond` positions before and
    /// after them.
    pub(crate) fn new(length: usize, span: Span, beyond: usize) -> Loess {
        let positions = length + 2 * beyond;
        let inside = beyond..beyond + length;
        let is_knot = |position: &usize| {
            !inside.contains(position)
                || (position - beyond).is_multiple_of(span.jump)
                || position + 1 == inside.end
        };
        let knots = (0..positions).filter(is_knot);
        Loess {
            length,
            degree: span.degree,
            knots: knots
                .map(|position| Knot::new(position, beyond, length, span))
                .collect(),
            positions,
        }
    }

    /// The mean effect of a value on the curve at its own position, where it is evaluated.
    pub(crate) fn leverage(&self) -> f64 {
        let beyond = (self.positions - self.length) / 2;
        let own = self.knots.iter().filter_map(|knot| {
            let at = knot.position.checked_sub(beyond + knot.first)?;
            knot.effects.get(at).copied()
        });
        mean(&own.collect::<Vec<f64>>())
    }

    /// Writes the curve through `values`, each of which counts as much as its weight, where there
    /// are weights.
    pub(crate) fn smooth(&self, values: &[f64], weights: Option<&[f64]>, curve: &mut [f64]) {
        debug_assert_eq!(values.len(), self.length);
        debug_assert_eq!(curve.len(), self.positions);
        let mut before: Option<usize> = None;
        for knot in &self.knots {
            let neighbors = knot.first..knot.first + knot.weights.len();
            let values = &values[neighbors.clone()];
            let at = match weights {
                None => dot(&knot.effects, values),
                Some(weights) => knot.weighted(self.degree, values, &weights[neighbors]),
            };
            curve[knot.position] = at;
            if let Some(before) = before {
                let (low, gap) = (curve[before], (knot.position - before) as f64);
                let between = &mut curve[before + 1..knot.position];
                for (index, value) in between.iter_mut().enumerate() {
                    *value = low + (at - low) * ((index + 1) as f64 / gap);
                }
            }
            before = Some(knot.position);
        }
    }
}

impl Knot {
    fn new(position: usize, beyond: usize, length: usize, span: Span) -> Knot {
        // The knot's place among the values; negative before the first.
        let at = position as f64 - beyond as f64;
        let count = span.window.min(length);
        let centered = position as isize - beyond as isize - (count as isize - 1) / 2;
        let first = centered.clamp(0, (length - count) as isize) as usize;
        let offset = first as f64 - at;
        let farthest = (-offset).max(offset + (count - 1) as f64);
        let missing = span.window.saturating_sub(length);
        let reach = farthest + (missing / 2) as f64;
        let weights: Vec<f64> = (0..count)
            .map(|index| tricube((offset + index as f64).abs(), reach))
            .collect();
        let mut knot = Knot {
            position,
            first,
            offset,
            weights,
            effects: vec![],
        };
        knot.effects = knot.effects(span.degree);
        knot
    }

    /// The effect of every neighbor on the curve: that of a weighted mean, tilted so that lines
    /// stay what they are.
    fn effects(&self, degree: Degree) -> Vec<f64> {
        let total: f64 = self.weights.iter().sum();
        let center = self.moment(&self.weights, |distance| distance) / total;
        let spread = self.moment(&self.weights, |distance| {
            (distance - center) * (distance - center)
        }) / total;
        let tilt = tilt(degree, center, spread, self.weights.len());
        let effect = |(index, weight): (usize, &f64)| {
            weight / total * (1.0 + tilt * (self.offset + index as f64 - center))
        };
        self.weights.iter().enumerate().map(effect).collect()
    }

    /// The curve at the knot under further weights. Neighbors that all weigh nothing count alike.
    fn weighted(&self, degree: Degree, values: &[f64], further: &[f64]) -> f64 {
        let (mut total, mut first, mut second) = (0.0, 0.0, 0.0);
        let (mut level, mut slope) = (0.0, 0.0);
        for (index, ((weight, further), value)) in
            self.weights.iter().zip(further).zip(values).enumerate()
        {
            let weight = weight * further;
            let distance = self.offset + index as f64;
            total += weight;
            first += weight * distance;
            second += weight * distance * distance;
            level += weight * value;
            slope += weight * distance * value;
        }
        if total <= 0.0 {
            return mean(values);
        }
        let center = first / total;
        let spread = (second / total - center * center).max(0.0);
        let tilt = tilt(degree, center, spread, values.len());
        level / total + tilt * (slope / total - center * level / total)
    }

    fn moment(&self, weights: &[f64], of: impl Fn(f64) -> f64) -> f64 {
        weights
            .iter()
            .enumerate()
            .map(|(index, weight)| weight * of(self.offset + index as f64))
            .sum()
    }
}

/// How much a unit of distance from the weighted center counts: none for a constant, and none
/// where the neighbors lie so close together that they tell nothing of a slope.
fn tilt(degree: Degree, center: f64, spread: f64, count: usize) -> f64 {
    let narrow = 0.001 * count.saturating_sub(1) as f64;
    if degree == Degree::Constant || spread.sqrt() <= narrow {
        0.0
    } else {
        -center / spread
    }
}

fn tricube(distance: f64, reach: f64) -> f64 {
    if reach == 0.0 {
        return 1.0;
    }
    let share = distance / reach;
    if share >= 1.0 {
        return 0.0;
    }
    let rest = 1.0 - share * share * share;
    rest * rest * rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smooth(values: &[f64], span: Span, beyond: usize, weights: Option<&[f64]>) -> Vec<f64> {
        let mut curve = vec![0.0; values.len() + 2 * beyond];
        Loess::new(values.len(), span, beyond).smooth(values, weights, &mut curve);
        curve
    }

    fn line(window: usize, jump: usize) -> Span {
        Span {
            window,
            degree: Degree::Line,
            jump,
        }
    }

    fn assert_near(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
    }

    #[test]
    fn a_line_is_its_own_curve_and_goes_on_beyond_its_ends() {
        let values: Vec<f64> = (0..20).map(|index| 3.0 + 0.5 * f64::from(index)).collect();
        let expected: Vec<f64> = (-1..21).map(|index| 3.0 + 0.5 * f64::from(index)).collect();
        let weights: Vec<f64> = (0..20)
            .map(|index| 1.0 / f64::from(index % 3 + 1))
            .collect();
        for window in [3, 7, 50] {
            for jump in [1, 4] {
                assert_near(&smooth(&values, line(window, jump), 1, None), &expected);
                assert_near(
                    &smooth(&values, line(window, jump), 1, Some(&weights)),
                    &expected,
                );
            }
        }
    }

    #[test]
    fn a_weighted_mean_worked_by_hand() {
        // The farthest of five neighbors weighs nothing; one half the reach weighs (7/8)^3.
        let side = 0.875f64.powi(3);
        let span = Span {
            window: 5,
            degree: Degree::Constant,
            jump: 1,
        };
        let curve = smooth(&[5.0, 1.0, 2.0, 9.0, 7.0], span, 0, None);
        let expected = (side * 1.0 + 2.0 + side * 9.0) / (1.0 + 2.0 * side);
        assert!((curve[2] - expected).abs() < 1e-14);
    }

    #[test]
    fn the_leverage_is_that_of_the_window() {
        let span = |window: usize| Span {
            window,
            degree: Degree::Constant,
            jump: 1,
        };
        // Far wider than the values, the curve is their mean.
        let leverage = Loess::new(10, span(100_000), 1).leverage();
        assert!((leverage - 0.1).abs() < 1e-6, "{leverage}");
        // As narrow as can be, the curve is the values.
        assert_eq!(Loess::new(10, span(1), 0).leverage(), 1.0);
    }

    #[test]
    fn equal_further_weights_change_nothing_and_zero_ones_hide_a_value() {
        let mut values: Vec<f64> = (0..15).map(|index| f64::from(index * index % 7)).collect();
        let plain = smooth(&values, line(7, 2), 0, None);
        assert_near(&smooth(&values, line(7, 2), 0, Some(&[0.3; 15])), &plain);
        let mut weights = [1.0; 15];
        weights[6] = 0.0;
        let hidden = smooth(&values, line(7, 2), 0, Some(&weights));
        values[6] = 1e6;
        assert_near(&smooth(&values, line(7, 2), 0, Some(&weights)), &hidden);
        assert_near(
            &smooth(&[1.0, 2.0, 6.0], line(3, 1), 0, Some(&[0.0; 3])),
            &[3.0; 3],
        );
    }
}
