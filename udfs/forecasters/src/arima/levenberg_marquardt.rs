//! Nonlinear least squares by Levenberg and Marquardt's method (Nocedal and Wright, *Numerical
//! Optimization*, section 10.3), with Nielsen's rule for the damping.

/// How a search ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// A step that promises or brings a smaller gain than this in n log(sum of squares) is the last.
    pub(crate) tolerance: f64,
    /// The most steps.
    pub(crate) most_steps: usize,
}

/// A sum of squares to minimise.
pub(crate) trait SumOfSquares {
    /// Writes the residuals at a point; false where there are none.
    fn residuals(&mut self, point: &[f64], residuals: &mut Vec<f64>) -> bool;

    /// Writes the derivatives of the residuals, one column a coordinate, at a point where they are
    /// the residuals given. Called only where the last accepted point was evaluated.
    fn derivatives(&mut self, point: &[f64], residuals: &[f64], columns: &mut Vec<Vec<f64>>);
}

fn squares(residuals: &[f64]) -> f64 {
    let sum: f64 = residuals.iter().map(|residual| residual * residual).sum();
    if sum.is_finite() { sum } else { f64::INFINITY }
}

/// The point where a search from `start` ended; nothing if there are no residuals at `start`.
pub(crate) fn minimise(
    problem: &mut impl SumOfSquares,
    start: &[f64],
    settings: Settings,
) -> Option<Vec<f64>> {
    let mut point = start.to_vec();
    let (mut residuals, mut candidate_residuals) = (vec![], vec![]);
    if !problem.residuals(&point, &mut residuals) {
        return None;
    }
    let mut best = squares(&residuals);
    let size = point.len();
    if size == 0 || best == 0.0 || !best.is_finite() {
        return best.is_finite().then_some(point);
    }
    let count = residuals.len() as f64;
    let mut columns = vec![];
    let (mut damping, mut growth) = (1e-3, 2.0);
    for _ in 0..settings.most_steps {
        problem.derivatives(&point, &residuals, &mut columns);
        let mut products = vec![0.0; size * size];
        let mut slope = vec![0.0; size];
        for row in 0..size {
            slope[row] = dot(&columns[row], &residuals);
            for column in 0..=row {
                products[row * size + column] = dot(&columns[row], &columns[column]);
            }
        }
        let diagonal: Vec<f64> = (0..size).map(|k| products[k * size + k]).collect();
        let largest = diagonal.iter().fold(0.0f64, |most, value| most.max(*value));
        if !(largest > 0.0 && largest.is_finite()) {
            break;
        }
        let mut gained = None;
        for _ in 0..12 {
            let mut damped = products.clone();
            for (index, value) in diagonal.iter().enumerate() {
                damped[index * size + index] += (damping + 1e-12) * value.max(1e-20 * largest);
            }
            let mut step: Vec<f64> = slope.iter().map(|value| -value).collect();
            if !cholesky_solve(&mut damped, &mut step) {
                damping *= growth;
                growth *= 2.0;
                continue;
            }
            // The decrease that the linear model promises.
            let promised: f64 = (0..size)
                .map(|k| step[k] * (damping * diagonal[k] * step[k] - slope[k]))
                .sum();
            if count * promised <= settings.tolerance * best {
                return Some(point);
            }
            let candidate: Vec<f64> = point
                .iter()
                .zip(&step)
                .map(|(from, by)| from + by)
                .collect();
            let found = if problem.residuals(&candidate, &mut candidate_residuals) {
                squares(&candidate_residuals)
            } else {
                f64::INFINITY
            };
            if found < best {
                let quality = (best - found) / promised;
                let cube = 2.0 * quality - 1.0;
                damping *= (1.0 - cube * cube * cube).max(1.0 / 3.0);
                if quality > 0.75 {
                    damping *= 0.2;
                }
                growth = 2.0;
                gained = Some(best - found);
                point = candidate;
                std::mem::swap(&mut residuals, &mut candidate_residuals);
                best = found;
                break;
            }
            damping *= growth * if found.is_finite() { 1.0 } else { 4.0 };
            growth *= 2.0;
        }
        match gained {
            Some(gained) if count * gained > settings.tolerance * best => {}
            _ => break,
        }
    }
    Some(point)
}

pub(crate) fn dot(left: &[f64], right: &[f64]) -> f64 {
    // Four sums side by side, in a fixed order.
    let mut sums = [0.0; 4];
    let (mut lefts, mut rights) = (left.chunks_exact(4), right.chunks_exact(4));
    for (left, right) in (&mut lefts).zip(&mut rights) {
        for lane in 0..4 {
            sums[lane] += left[lane] * right[lane];
        }
    }
    let rest: f64 = lefts
        .remainder()
        .iter()
        .zip(rights.remainder())
        .map(|(left, right)| left * right)
        .sum();
    (sums[0] + sums[1]) + (sums[2] + sums[3]) + rest
}

/// Solves a symmetric positive definite system whose lower triangle is given, in place; false if it
/// is not positive definite.
pub(crate) fn cholesky_solve(matrix: &mut [f64], right: &mut [f64]) -> bool {
    let size = right.len();
    for column in 0..size {
        for row in column..size {
            let mut sum = matrix[row * size + column];
            for k in 0..column {
                sum -= matrix[row * size + k] * matrix[column * size + k];
            }
            if row == column {
                if sum.is_nan() || sum <= 0.0 {
                    return false;
                }
                matrix[row * size + column] = sum.sqrt();
            } else {
                matrix[row * size + column] = sum / matrix[column * size + column];
            }
        }
    }
    for row in 0..size {
        let mut sum = right[row];
        for k in 0..row {
            sum -= matrix[row * size + k] * right[k];
        }
        right[row] = sum / matrix[row * size + row];
    }
    for row in (0..size).rev() {
        let mut sum = right[row];
        for k in row + 1..size {
            sum -= matrix[k * size + row] * right[k];
        }
        right[row] = sum / matrix[row * size + row];
    }
    right.iter().all(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::exp;

    /// y = a exp(b t), seen without error.
    struct Decay {
        calls: usize,
    }

    impl SumOfSquares for Decay {
        fn residuals(&mut self, point: &[f64], residuals: &mut Vec<f64>) -> bool {
            self.calls += 1;
            residuals.clear();
            residuals.extend((0..20).map(|t| {
                let t = f64::from(t);
                3.0 * exp(-0.3 * t) - point[0] * exp(point[1] * t)
            }));
            residuals.iter().all(|residual| residual.is_finite())
        }

        fn derivatives(&mut self, point: &[f64], _: &[f64], columns: &mut Vec<Vec<f64>>) {
            let times = (0..20).map(f64::from);
            *columns = vec![
                times.clone().map(|t| -exp(point[1] * t)).collect(),
                times.map(|t| -point[0] * t * exp(point[1] * t)).collect(),
            ];
        }
    }

    #[test]
    fn a_decay_is_found_in_few_steps() {
        let mut problem = Decay { calls: 0 };
        let settings = Settings {
            tolerance: 1e-14,
            most_steps: 50,
        };
        let found = minimise(&mut problem, &[1.0, -0.05], settings).unwrap();
        assert!(
            (found[0] - 3.0).abs() < 1e-6 && (found[1] + 0.3).abs() < 1e-6,
            "{found:?}"
        );
        assert!(problem.calls < 25, "{}", problem.calls);
    }

    #[test]
    fn a_system_is_solved_by_hand() {
        // [4 2; 2 3] x = [8; 7] has the solution (1.25, 1.5).
        let mut right = [8.0, 7.0];
        assert!(cholesky_solve(&mut [4.0, 0.0, 2.0, 3.0], &mut right));
        assert!((right[0] - 1.25).abs() < 1e-15 && (right[1] - 1.5).abs() < 1e-15);
        assert!(!cholesky_solve(&mut [1.0, 0.0, 2.0, 3.0], &mut [1.0, 1.0]));
    }
}
