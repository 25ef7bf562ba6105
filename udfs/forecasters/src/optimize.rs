//! Minimisers: golden section in one dimension, BFGS in several.
//!
//! All take the loss as a closure, count its calls, and treat a loss that is not finite as worse
//! than any other, so that a loss can refuse a point by returning NaN or infinity.

use crate::sizes::dot;

/// Where a search ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Minimum {
    /// The best point.
    pub(crate) point: Vec<f64>,
    /// The loss there.
    pub(crate) loss: f64,
    /// How often the loss was computed.
    pub(crate) calls: usize,
}

/// A loss that is not finite loses against every other.
fn ordered(loss: f64) -> f64 {
    if loss.is_finite() {
        loss
    } else {
        f64::INFINITY
    }
}

/// The minimum of a loss with one valley between `low` and `high`, to within `tolerance`.
pub(crate) fn golden_section(
    mut low: f64,
    mut high: f64,
    tolerance: f64,
    mut loss: impl FnMut(f64) -> f64,
) -> f64 {
    const SHARE: f64 = 0.618_033_988_749_894_9;
    let mut left = high - SHARE * (high - low);
    let mut right = low + SHARE * (high - low);
    let (mut at_left, mut at_right) = (ordered(loss(left)), ordered(loss(right)));
    while high - low > tolerance {
        if at_left <= at_right {
            (high, right, at_right) = (right, left, at_left);
            left = high - SHARE * (high - low);
            at_left = ordered(loss(left));
        } else {
            (low, left, at_left) = (left, right, at_right);
            right = low + SHARE * (high - low);
            at_right = ordered(loss(right));
        }
    }
    0.5 * (low + high)
}

/// How a BFGS search ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descent {
    /// A step that lowers the loss by less than this share of it is the last.
    pub(crate) tolerance: f64,
    /// The most steps.
    pub(crate) most_steps: usize,
}

/// Broyden, Fletcher, Goldfarb and Shanno's method from `start`, without bounds (Nocedal and
/// Wright, *Numerical Optimization*, section 6.1), with a backtracking line search. `gradient`
/// writes the loss's gradient at a point where the loss is the number given.
pub(crate) fn bfgs<L, G>(start: &[f64], settings: Descent, mut loss: L, mut gradient: G) -> Minimum
where
    L: FnMut(&[f64]) -> f64,
    G: FnMut(&mut L, &[f64], f64, &mut [f64]),
{
    let dimensions = start.len();
    let mut point = start.to_vec();
    let mut best = ordered(loss(&point));
    let mut calls = 1;
    let mut slope = vec![0.0; dimensions];
    if dimensions == 0 || !best.is_finite() {
        return Minimum {
            point,
            loss: best,
            calls,
        };
    }
    gradient(&mut loss, &point, best, &mut slope);
    let mut inverse = identity(dimensions);
    let mut fresh = true;
    for _ in 0..settings.most_steps {
        let mut direction: Vec<f64> = (0..dimensions)
            .map(|row| -dot(&inverse[row * dimensions..(row + 1) * dimensions], &slope))
            .collect();
        let mut descent = dot(&direction, &slope);
        if descent.is_nan() || descent >= 0.0 {
            inverse = identity(dimensions);
            fresh = true;
            direction = slope.iter().map(|slope| -slope).collect();
            descent = dot(&direction, &slope);
        }
        if descent.is_nan() || descent == 0.0 {
            break;
        }
        // The first step of a fresh matrix has no scale of its own.
        let mut length = if fresh {
            (1.0 / (-descent).sqrt()).min(1.0)
        } else {
            1.0
        };
        let mut accepted = None;
        for _ in 0..30 {
            let candidate: Vec<f64> = point
                .iter()
                .zip(&direction)
                .map(|(point, direction)| point + length * direction)
                .collect();
            let found = ordered(loss(&candidate));
            calls += 1;
            if found <= best + 1e-4 * length * descent {
                accepted = Some((candidate, found));
                break;
            }
            length *= if found.is_finite() { 0.4 } else { 0.2 };
        }
        let Some((candidate, found)) = accepted else {
            if fresh {
                break;
            }
            inverse = identity(dimensions);
            fresh = true;
            continue;
        };
        let mut next_slope = vec![0.0; dimensions];
        gradient(&mut loss, &candidate, found, &mut next_slope);
        let moved: Vec<f64> = candidate
            .iter()
            .zip(&point)
            .map(|(to, from)| to - from)
            .collect();
        let turned: Vec<f64> = next_slope
            .iter()
            .zip(&slope)
            .map(|(to, from)| to - from)
            .collect();
        let gained = best - found;
        point = candidate;
        slope = next_slope;
        best = found;
        if gained <= settings.tolerance * (best.abs() + 1e-12) {
            break;
        }
        let curvature = dot(&moved, &turned);
        if curvature > 1e-10 * (dot(&moved, &moved) * dot(&turned, &turned)).sqrt() {
            if fresh {
                let scale = curvature / dot(&turned, &turned);
                inverse.iter_mut().for_each(|entry| *entry *= scale);
            }
            update(&mut inverse, &moved, &turned, curvature);
            fresh = false;
        }
    }
    Minimum {
        point,
        loss: best,
        calls,
    }
}

fn identity(size: usize) -> Vec<f64> {
    let mut matrix = vec![0.0; size * size];
    matrix
        .iter_mut()
        .step_by(size + 1)
        .for_each(|entry| *entry = 1.0);
    matrix
}

/// The inverse matrix after a step `moved` that turned the gradient by `turned`.
fn update(inverse: &mut [f64], moved: &[f64], turned: &[f64], curvature: f64) {
    let size = moved.len();
    let product: Vec<f64> = (0..size)
        .map(|row| dot(&inverse[row * size..(row + 1) * size], turned))
        .collect();
    let factor = (1.0 + dot(turned, &product) / curvature) / curvature;
    for row in 0..size {
        for column in 0..size {
            inverse[row * size + column] += factor * moved[row] * moved[column]
                - (product[row] * moved[column] + moved[row] * product[column]) / curvature;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rosenbrock(point: &[f64]) -> f64 {
        let (x, y) = (point[0], point[1]);
        (1.0 - x) * (1.0 - x) + 100.0 * (y - x * x) * (y - x * x)
    }

    /// The slope of Rosenbrock's valley.
    fn slope<L>(_loss: &mut L, point: &[f64], _at_point: f64, slope: &mut [f64]) {
        let (x, y) = (point[0], point[1]);
        slope[0] = -2.0 * (1.0 - x) - 400.0 * x * (y - x * x);
        slope[1] = 200.0 * (y - x * x);
    }

    #[test]
    fn bfgs_finds_the_end_of_the_valley() {
        let settings = Descent {
            tolerance: 1e-15,
            most_steps: 200,
        };
        let found = bfgs(&[-1.2, 1.0], settings, rosenbrock, slope);
        assert!((found.point[0] - 1.0).abs() < 1e-4, "{found:?}");
        assert!(found.calls < 100, "{}", found.calls);
    }

    #[test]
    fn a_point_that_is_refused_is_never_the_best() {
        let loss = |point: &[f64]| if point[0] < 0.5 { f64::NAN } else { point[0] };
        let settings = Descent {
            tolerance: 1e-12,
            most_steps: 100,
        };
        let found = bfgs(&[2.0], settings, loss, |_, _, _, slope| slope[0] = 1.0);
        assert!(found.point[0] >= 0.5 && found.loss.is_finite());
    }

    #[test]
    fn golden_section_closes_in_on_the_valley() {
        let found = golden_section(0.0, 10.0, 1e-9, |x| (x - std::f64::consts::E).powi(2));
        assert!((found - std::f64::consts::E).abs() < 1e-7);
    }
}
