//! Nonlinear least squares by Levenberg and Marquardt's method (Nocedal and Wright, *Numerical
//! Optimization*, section 10.3), with Nielsen's rule for the damping. Residuals of a time series do
//! not become small, so what the method leaves out of the second derivatives is learned from the
//! steps taken, by the structured secant update of Dennis, Gay and Welsch (1981; Nocedal and
//! Wright, end of section 10.3).

use crate::sizes::dot;

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

    /// No coordinate goes farther from zero.
    fn bound(&self) -> f64 {
        f64::INFINITY
    }
}

fn squares(residuals: &[f64]) -> f64 {
    let sum = dot(residuals, residuals);
    if sum.is_finite() { sum } else { f64::INFINITY }
}

/// The linear model of a sum of squares at a point.
struct Model {
    size: usize,
    /// Half the second derivatives.
    products: Vec<f64>,
    /// The products of each column of derivatives with itself.
    diagonal: Vec<f64>,
    /// The products of the derivatives with the residuals.
    slope: Vec<f64>,
    largest: f64,
}

impl Model {
    /// `learned` is what the second derivatives have beside the products of the first.
    fn new(columns: &[Vec<f64>], residuals: &[f64], learned: &[f64]) -> Model {
        let size = columns.len();
        let mut products = vec![0.0; size * size];
        let mut diagonal = vec![0.0; size];
        for row in 0..size {
            for column in 0..=row {
                let product = dot(&columns[row], &columns[column]);
                let (below, above) = (row * size + column, column * size + row);
                products[below] = product + learned[below];
                products[above] = product + learned[above];
                diagonal[row] = product;
            }
        }
        Model {
            largest: diagonal
                .iter()
                .fold(0.0, |most: f64, value| most.max(*value)),
            slope: columns
                .iter()
                .map(|column| dot(column, residuals))
                .collect(),
            diagonal,
            products,
            size,
        }
    }

    /// The damped step to the minimum of the model in the coordinates that are free.
    fn step(&self, damping: f64, free: &[usize]) -> Option<Vec<f64>> {
        let entry = |row: usize, column: usize| self.products[row * self.size + column];
        let mut matrix: Vec<f64> = free
            .iter()
            .flat_map(|row| free.iter().map(move |column| entry(*row, *column)))
            .collect();
        for (index, place) in free.iter().enumerate() {
            let floor = self.diagonal[*place].max(1e-20 * self.largest);
            matrix[index * free.len() + index] += (damping + 1e-12) * floor;
        }
        let mut right: Vec<f64> = free.iter().map(|place| -self.slope[*place]).collect();
        cholesky_solve(&mut matrix, &mut right).then(|| {
            let mut step = vec![0.0; self.size];
            for (place, value) in free.iter().zip(right) {
                step[*place] = value;
            }
            step
        })
    }

    /// By how much the model falls with a step.
    fn promised(&self, step: &[f64]) -> f64 {
        let rows = self.products.chunks_exact(self.size);
        let terms = rows.zip(step).zip(&self.slope);
        -terms
            .map(|((row, by), slope)| by * (2.0 * slope + dot(row, step)))
            .sum::<f64>()
    }
}

/// The point where a search from `start` ended; nothing if there are no residuals at `start`.
pub(crate) fn minimise(
    problem: &mut impl SumOfSquares,
    start: &[f64],
    settings: Settings,
) -> Option<Vec<f64>> {
    let bound = problem.bound();
    let mut point: Vec<f64> = start
        .iter()
        .map(|value| value.clamp(-bound, bound))
        .collect();
    let (mut residuals, mut candidate_residuals) = (vec![], vec![]);
    if !problem.residuals(&point, &mut residuals) {
        return None;
    }
    let mut best = squares(&residuals);
    if point.is_empty() || best == 0.0 || !best.is_finite() {
        return best.is_finite().then_some(point);
    }
    let count = residuals.len() as f64;
    let (mut columns, mut earlier) = (vec![], vec![]);
    let mut learned = vec![0.0; point.len() * point.len()];
    let mut taken: Option<Vec<f64>> = None;
    let (mut damping, mut growth) = (1e-3, 2.0);
    'steps: for _ in 0..settings.most_steps {
        std::mem::swap(&mut columns, &mut earlier);
        problem.derivatives(&point, &residuals, &mut columns);
        if let Some(step) = taken.take() {
            // The residuals from before the step are in the other buffer.
            let turned = |columns: &[Vec<f64>], residuals: &[f64]| -> Vec<f64> {
                columns
                    .iter()
                    .map(|column| dot(column, residuals))
                    .collect()
            };
            let slope = turned(&columns, &residuals);
            let unmodelled = difference(&slope, &turned(&earlier, &residuals));
            let whole = difference(&slope, &turned(&earlier, &candidate_residuals));
            learn(&mut learned, &step, &unmodelled, &whole);
        }
        let model = Model::new(&columns, &residuals, &learned);
        if !(model.largest > 0.0 && model.largest.is_finite()) {
            break;
        }
        // What is at its bound and would go beyond stays there.
        let outward = |place: usize| model.slope[place] * point[place] < 0.0;
        let free: Vec<usize> = (0..point.len())
            .filter(|place| point[*place].abs() < bound || !outward(*place))
            .collect();
        for _ in 0..12 {
            let Some(mut step) = model.step(damping, &free) else {
                damping *= growth;
                growth *= 2.0;
                continue;
            };
            let candidate: Vec<f64> = point
                .iter()
                .zip(&step)
                .map(|(from, by)| (from + by).clamp(-bound, bound))
                .collect();
            for (by, (to, from)) in step.iter_mut().zip(candidate.iter().zip(&point)) {
                *by = to - from;
            }
            let promised = model.promised(&step);
            if promised.is_nan() || count * promised <= settings.tolerance * best {
                break 'steps;
            }
            let found = if problem.residuals(&candidate, &mut candidate_residuals) {
                squares(&candidate_residuals)
            } else {
                f64::INFINITY
            };
            if found < best {
                let gained = best - found;
                let cube = 2.0 * gained / promised - 1.0;
                damping *= (1.0 - cube * cube * cube).max(0.1);
                growth = 2.0;
                point = candidate;
                taken = Some(step);
                std::mem::swap(&mut residuals, &mut candidate_residuals);
                best = found;
                if count * gained <= settings.tolerance * best {
                    break 'steps;
                }
                continue 'steps;
            }
            damping *= growth * if found.is_finite() { 1.0 } else { 4.0 };
            growth *= 2.0;
        }
        break;
    }
    Some(point)
}

fn difference(left: &[f64], right: &[f64]) -> Vec<f64> {
    left.iter()
        .zip(right)
        .map(|(left, right)| left - right)
        .collect()
}

/// Brings what was learned in line with a step: over it, the products of the derivatives explain
/// all but `unmodelled` of the change of the slope, which is `whole`.
fn learn(learned: &mut [f64], step: &[f64], unmodelled: &[f64], whole: &[f64]) {
    let size = step.len();
    let curvature = dot(whole, step);
    if curvature.is_nan() || curvature <= 0.0 {
        return;
    }
    let times = |matrix: &[f64]| -> Vec<f64> {
        matrix
            .chunks_exact(size)
            .map(|row| dot(row, step))
            .collect()
    };
    // What was learned is first made smaller where it is too large.
    let (known, wanted) = (dot(&times(learned), step), dot(unmodelled, step));
    let size_of_known = (wanted / known).abs();
    if size_of_known < 1.0 {
        learned.iter_mut().for_each(|entry| *entry *= size_of_known);
    }
    let missing = difference(unmodelled, &times(learned));
    let along = dot(&missing, step) / curvature;
    for row in 0..size {
        for column in 0..size {
            learned[row * size + column] += (missing[row] * whole[column]
                + whole[row] * missing[column]
                - along * whole[row] * whole[column])
                / curvature;
        }
    }
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
