//! Least squares in which some coefficients have Gaussian priors and the others Laplace ones:
//!
//! minimise ½ x'Hx − b'x + λ Σ|x_j|, the sum over the last coordinates only.
//!
//! The first coordinates are eliminated by a Cholesky factor (a Schur complement). What is left is
//! solved exactly by feature-sign search (Lee, Battle, Raina and Ng, "Efficient sparse coding
//! algorithms", 2007, algorithm 1): the coefficients that are not zero and their signs are guessed,
//! the linear equations of the guess are solved, and the guess is improved until the conditions of
//! Karush, Kuhn and Tucker hold. The loss falls with every step, so no guess comes twice.

use super::matrix::{Cholesky, Matrix};
use crate::sizes::dot;

/// More steps than any problem has needed by far.
const MOST_STEPS: usize = 10_000;

/// Solves for x, beginning from the signs of `penalised`, which is as long as there are penalised
/// coordinates and holds their solution afterwards. Gives the others. `None` where H is not positive
/// definite to working precision.
pub(crate) fn solve(
    quadratic: &Matrix,
    linear: &[f64],
    penalty: f64,
    penalised: &mut [f64],
) -> Option<Vec<f64>> {
    let (count, size) = (linear.len() - penalised.len(), linear.len());
    let factor = Cholesky::of(&quadratic.part(0..count))?;
    let free = factor.lower_solve(&linear[..count]);
    if penalised.is_empty() {
        return Some(factor.upper_solve(&free));
    }
    // Row j: the factor's inverse times the column of penalised coordinate j.
    let crossed: Vec<Vec<f64>> = (count..size)
        .map(|row| factor.lower_solve(&quadratic.row(row)[..count]))
        .collect();
    let mut reduced = quadratic.part(count..size);
    let mut target = linear[count..].to_vec();
    for row in 0..penalised.len() {
        target[row] -= dot(&crossed[row], &free);
        for column in 0..=row {
            let lowered = reduced.at(row, column) - dot(&crossed[row], &crossed[column]);
            reduced.set_both(row, column, lowered);
        }
    }
    feature_sign(&reduced, &target, penalty, penalised)?;
    let mut free = free;
    for (row, value) in crossed.iter().zip(&*penalised) {
        if *value != 0.0 {
            free.iter_mut()
                .zip(row)
                .for_each(|(free, crossed)| *free -= crossed * value);
        }
    }
    Some(factor.upper_solve(&free))
}

/// How far a solution is from the conditions of optimality: the largest violation, in units of the
/// penalty, of "the gradient is minus the penalty times the sign" for coefficients that are not zero
/// and "the gradient is at most the penalty" for those that are.
#[cfg(test)]
pub(crate) fn violation(gradient: &[f64], solution: &[f64], penalty: f64) -> f64 {
    gradient
        .iter()
        .zip(solution)
        .map(|(slope, value)| {
            if *value == 0.0 {
                (slope.abs() - penalty).max(0.0) / penalty
            } else {
                (slope + penalty * value.signum()).abs() / penalty
            }
        })
        .fold(0.0, f64::max)
}

fn feature_sign(quadratic: &Matrix, linear: &[f64], penalty: f64, x: &mut [f64]) -> Option<()> {
    let largest = linear.iter().fold(0.0f64, |most, b| most.max(b.abs()));
    let bar = penalty * (1.0 + 1e-10) + 1e-14 * largest;
    let mut signs: Vec<f64> = x.iter().map(|value| sign(*value)).collect();
    let mut entering = None;
    for _ in 0..MOST_STEPS {
        if signs.iter().any(|sign| *sign != 0.0) {
            let Moved { gained, kept } = improve(quadratic, linear, penalty, x, &signs)?;
            signs.iter_mut().zip(&*x).for_each(|(s, x)| *s = sign(*x));
            let exhausted = gained <= 0.0;
            if let Some(index) = entering.take()
                && exhausted
            {
                // Its gradient is beyond the penalty by no more than rounding.
                x[index] = 0.0;
                return Some(());
            }
            if !kept && !exhausted {
                continue;
            }
        }
        let steepest = (0..x.len())
            .filter(|index| x[*index] == 0.0)
            .map(|index| (index, dot(quadratic.row(index), x) - linear[index]))
            .max_by(|left, right| left.1.abs().total_cmp(&right.1.abs()));
        match steepest {
            Some((index, slope)) if slope.abs() > bar => {
                signs[index] = -sign(slope);
                entering = Some(index);
            }
            _ => return Some(()),
        }
    }
    None
}

/// What a step did: how far the loss fell, and whether it went all the way with every sign as
/// guessed.
struct Moved {
    gained: f64,
    kept: bool,
}

/// Moves to the best point between here and the solution for these signs at which a coefficient
/// changes sign, or to the solution itself.
fn improve(
    quadratic: &Matrix,
    linear: &[f64],
    penalty: f64,
    x: &mut [f64],
    signs: &[f64],
) -> Option<Moved> {
    let active: Vec<usize> = (0..x.len()).filter(|index| signs[*index] != 0.0).collect();
    let pick = |values: &[f64]| -> Vec<f64> { active.iter().map(|index| values[*index]).collect() };
    let matrix = quadratic.select(&active);
    let from = pick(x);
    let target: Vec<f64> = active
        .iter()
        .map(|index| linear[*index] - penalty * signs[*index])
        .collect();
    let to = Cholesky::of(&matrix)?.solve(&target);
    let step: Vec<f64> = to.iter().zip(&from).map(|(to, from)| to - from).collect();
    // The loss along the way, without what it is at the start: a t + b t² + the change of the norm.
    let (mut along, mut curvature) = (0.0, 0.0);
    for (row, index) in active.iter().enumerate() {
        along += step[row] * (dot(matrix.row(row), &from) - linear[*index]);
        curvature += 0.5 * step[row] * dot(matrix.row(row), &step);
    }
    let loss = |share: f64| {
        let norms = from
            .iter()
            .zip(&step)
            .map(|(from, step)| (from + share * step).abs() - from.abs());
        along * share + curvature * share * share + penalty * norms.sum::<f64>()
    };
    let mut best = (loss(1.0), 1.0, None);
    for (place, (from, to)) in from.iter().zip(&to).enumerate() {
        if from * to < 0.0 {
            let share = from / (from - to);
            let found = loss(share);
            if found < best.0 {
                best = (found, share, Some(place));
            }
        }
    }
    let (lowest, share, zeroed) = best;
    let mut kept = share == 1.0;
    for (place, index) in active.iter().enumerate() {
        x[*index] = if zeroed == Some(place) {
            0.0
        } else if share == 1.0 {
            to[place]
        } else {
            from[place] + share * step[place]
        };
        kept &= x[*index] * signs[*index] > 0.0;
    }
    Some(Moved {
        gained: -lowest,
        kept,
    })
}

fn sign(value: f64) -> f64 {
    if value == 0.0 { 0.0 } else { value.signum() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, Streams};

    #[test]
    fn one_coefficient_is_shrunk_by_the_penalty() {
        // ½ 4 x² − 6 x + 2 |x|: x = (6 − 2) / 4. With a penalty of 7 it is zero.
        let mut quadratic = Matrix::zeros(1);
        quadratic.set_both(0, 0, 4.0);
        for (penalty, expected) in [(2.0, 1.0), (7.0, 0.0)] {
            let mut x = [0.0];
            assert!(solve(&quadratic, &[6.0], penalty, &mut x).is_some());
            assert_eq!(x, [expected]);
        }
    }

    #[test]
    fn two_coefficients_worked_by_hand() {
        // H = [[2, 1], [1, 2]], b = (3, 0), λ = 1 on the second: with x₂ = 0, x₁ = 1.5 and the
        // gradient of x₂ is 1.5 > 1, so x₂ < 0: 2 x₁ + x₂ = 3, x₁ + 2 x₂ = 1 gives 5/3 and −1/3.
        let mut quadratic = Matrix::zeros(2);
        quadratic.set_both(0, 0, 2.0);
        quadratic.set_both(1, 0, 1.0);
        quadratic.set_both(1, 1, 2.0);
        let mut x = [0.0];
        let free = solve(&quadratic, &[3.0, 0.0], 1.0, &mut x).unwrap();
        assert!((free[0] - 5.0 / 3.0).abs() < 1e-15 && (x[0] + 1.0 / 3.0).abs() < 1e-15);
    }

    /// Random problems, well and badly conditioned: the conditions hold, from any start.
    #[test]
    fn the_conditions_of_optimality_hold_from_any_start() {
        let streams = Streams::new(&Digest::new());
        for trial in 1..400u64 {
            let mut rng = streams.path(trial);
            let (free, penalised) = (trial as usize % 5, 1 + trial as usize % 23);
            let (size, rows) = (free + penalised, free + penalised + trial as usize % 7);
            let mixed = if trial % 2 == 0 { 1e-3 } else { 1.0 };
            let data: Vec<Vec<f64>> = (0..rows)
                .map(|_| {
                    let common = rng.normal();
                    (0..size).map(|_| common + mixed * rng.normal()).collect()
                })
                .collect();
            let target: Vec<f64> = (0..rows).map(|_| rng.normal()).collect();
            let mut quadratic = Matrix::zeros(size);
            let mut linear = vec![0.0; size];
            for row in 0..size {
                linear[row] = (0..rows).map(|r| data[r][row] * target[r]).sum();
                for column in 0..=row {
                    let sum = (0..rows).map(|r| data[r][row] * data[r][column]).sum();
                    quadratic.set_both(row, column, sum);
                }
            }
            let penalty = [1e-4, 0.05, 1.0][trial as usize % 3];
            let mut cold = vec![0.0; penalised];
            let others = solve(&quadratic, &linear, penalty, &mut cold).unwrap();
            let all: Vec<f64> = others.iter().chain(&cold).copied().collect();
            let gradient: Vec<f64> = (0..size)
                .map(|row| dot(quadratic.row(row), &all) - linear[row])
                .collect();
            let off = violation(&gradient[free..], &cold, penalty);
            assert!(off < 1e-6, "{trial}: {off}");
            assert!(gradient[..free].iter().all(|slope| slope.abs() < 1e-9));

            let mut warm: Vec<f64> = (0..penalised).map(|_| rng.normal()).collect();
            solve(&quadratic, &linear, penalty, &mut warm).unwrap();
            for (warm, cold) in warm.iter().zip(&cold) {
                assert!((warm - cold).abs() < 1e-6 * (1.0 + cold.abs()), "{trial}");
            }
        }
    }
}
