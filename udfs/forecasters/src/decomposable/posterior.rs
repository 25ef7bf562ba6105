//! The likeliest coefficients, error variance and autocorrelation, given priors.
//!
//! With residuals r_t = y_t − x_t'θ of n rows, r_t = φ r_{t−1} + e_t, what is minimised is
//!
//! n ln σ − ½ ln(1 − φ²) + S(θ, φ) / 2σ² + σ² / 2·0.5² + Σ u_i² / 2 s_i² + Σ |δ_j| / τ,
//!
//! S the sum of squared innovations, u the coefficients with Gaussian priors and δ the slope changes
//! with their Laplace prior. Without autocorrelation (φ = 0) it is minus the logarithm of the
//! posterior density that Prophet maximises. Where φ is estimated, the coefficients u are integrated
//! out, which adds
//!
//! ½ ln det(X'V⁻¹X / σ² + diag(1 / s²)):
//!
//! without that, every coefficient that follows the residuals would draw φ towards zero, as it does
//! in maximum as against restricted maximum likelihood.
//!
//! For a given σ and φ the problem in θ is convex and solved exactly by `lasso.rs`; the best σ for
//! given coefficients has a formula, and the two alternate, sped up by secant steps. The slope of the
//! minimum over θ and σ as φ changes is known (θ and σ being optimal, only S and the determinants
//! move), so φ is where it is zero; a coarse grid comes first, as a trend that follows every bend and
//! one that leaves them to the residuals are both minima at times.

use super::{
    lasso,
    matrix::{Cholesky, Matrix},
    rows::{Linearised, Products, Rows},
    settings::Residuals,
};
use crate::math::{exp, ln, tanh};

/// The deviation of the half-normal prior of σ.
const SIGMA_SCALE: f64 = 0.5;
/// Where the inverse hyperbolic tangent of φ is looked for.
const GRID: [f64; 8] = [-0.6, 0.0, 0.6, 1.2, 1.8, 2.4, 3.0, 3.6];
const LEAST: f64 = -1.5;
const MOST: f64 = 4.4;

/// What is known of the coefficients beforehand.
#[derive(Clone, Debug)]
pub(crate) struct Prior {
    /// 1 / s² of every coefficient but the slope changes.
    pub(crate) precisions: Vec<f64>,
    /// The scale of slope changes.
    pub(crate) change_scale: f64,
    pub(crate) residuals: Residuals,
    /// The variance is at least this.
    pub(crate) least_variance: f64,
}

/// A point of the search, coefficients and variance optimal for its autocorrelation.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    /// In the order of columns.
    pub(crate) coefficients: Vec<f64>,
    pub(crate) variance: f64,
    pub(crate) correlation: f64,
    /// What is minimised.
    pub(crate) loss: f64,
    /// Sum of squared innovations.
    pub(crate) squares: f64,
    /// The slope of the minimum in the inverse hyperbolic tangent of φ.
    pub(crate) slope: f64,
}

/// Where a search begins.
#[derive(Clone, Debug)]
pub(crate) struct Guess {
    pub(crate) changes: Vec<f64>,
    pub(crate) variance: f64,
    /// The autocorrelation, `None` to look everywhere.
    pub(crate) correlation: Option<f64>,
}

impl Point {
    /// The point of values that are all the same.
    pub(crate) fn still(columns: usize, correlation: f64) -> Point {
        Point {
            coefficients: vec![0.0; columns],
            variance: 0.0,
            correlation,
            loss: 0.0,
            squares: 0.0,
            slope: 0.0,
        }
    }

    /// Whether another has the same variance and correlation, but for the last digits.
    pub(crate) fn is_near(&self, other: &Point) -> bool {
        (self.variance / other.variance - 1.0).abs() < 1e-9
            && (self.correlation - other.correlation).abs() < 1e-9
    }

    /// A guess near this point.
    pub(crate) fn guess(&self, changes: usize) -> Guess {
        Guess {
            changes: self.coefficients[self.coefficients.len() - changes..].to_vec(),
            variance: self.variance,
            correlation: Some(self.correlation),
        }
    }
}

/// Sums of squares of residuals: of all, of their steps, of the first and last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Squares {
    levels: f64,
    steps: f64,
    ends: f64,
}

impl Squares {
    pub(crate) fn of(residuals: impl Iterator<Item = f64>) -> Squares {
        let mut squares = Squares {
            levels: 0.0,
            steps: 0.0,
            ends: 0.0,
        };
        let mut before = None;
        for residual in residuals {
            squares.levels += residual * residual;
            match before {
                None => squares.ends = residual * residual,
                Some(before) => squares.steps += (residual - before) * (residual - before),
            }
            before = Some(residual);
        }
        squares.ends += before.map_or(0.0, |last| last * last);
        squares
    }

    /// The sum of squared innovations.
    pub(crate) fn innovations(&self, correlation: f64) -> f64 {
        let rest = 1.0 - correlation;
        rest * rest * self.levels + correlation * self.steps + correlation * rest * self.ends
    }

    /// Its derivative in the correlation.
    fn slope(&self, correlation: f64) -> f64 {
        -2.0 * (1.0 - correlation) * self.levels
            + self.steps
            + (1.0 - 2.0 * correlation) * self.ends
    }
}

impl Prior {
    /// The number of innovations of so many rows: a random walk has none at its start.
    pub(crate) fn innovations(&self, rows: usize) -> f64 {
        let free_start = self.residuals == Residuals::RandomWalk;
        (rows - usize::from(free_start)) as f64
    }

    /// The best variance for a sum of squares of so many innovations: the root of
    /// n/σ − S/σ³ + σ/0.5² = 0.
    fn variance(&self, count: f64, squares: f64) -> f64 {
        let root = (count * count + 4.0 * squares / (SIGMA_SCALE * SIGMA_SCALE)).sqrt();
        (2.0 * squares / (count + root)).max(self.least_variance)
    }

    /// The part of the loss in which coefficients occur.
    pub(crate) fn loss(&self, coefficients: &[f64], squares: f64, variance: f64) -> f64 {
        let (free, changes) = coefficients.split_at(self.precisions.len());
        let gaussian: f64 = free
            .iter()
            .zip(&self.precisions)
            .map(|(value, precision)| precision * value * value)
            .sum();
        let laplace: f64 = changes.iter().map(|change| change.abs()).sum();
        0.5 * squares / variance + 0.5 * gaussian + laplace / self.change_scale
    }
}

/// What integrating over the coefficients with Gaussian priors adds.
struct Integrated {
    /// Half the logarithm of the determinant of their precision.
    loss: f64,
    /// Their effective number.
    freedom: f64,
    /// The inverse of their precision, times the variance.
    inverse: Matrix,
}

impl Integrated {
    fn over(prior: &Prior, factor: &Cholesky, variance: f64) -> Integrated {
        let inverse = factor.inverse();
        let count = prior.precisions.len() as f64;
        let held: f64 = prior
            .precisions
            .iter()
            .enumerate()
            .map(|(index, precision)| variance * precision * inverse.at(index, index))
            .sum();
        Integrated {
            loss: 0.5 * (factor.log_determinant() - count * ln(variance)),
            freedom: count - held,
            inverse,
        }
    }
}

impl Products {
    /// Of the innovations.
    fn innovations(&self, correlation: f64) -> Matrix {
        let rest = 1.0 - correlation;
        Matrix::combine([
            (rest * rest, &self.levels),
            (correlation, &self.steps),
            (correlation * rest, &self.ends),
        ])
    }

    /// Its derivative in the correlation.
    fn slope(&self, correlation: f64) -> Matrix {
        Matrix::combine([
            (-2.0 * (1.0 - correlation), &self.levels),
            (1.0, &self.steps),
            (1.0 - 2.0 * correlation, &self.ends),
        ])
    }
}

/// A linearised model with its priors.
pub(crate) struct Posterior<'a> {
    rows: &'a Rows,
    prior: &'a Prior,
    linearised: &'a Linearised,
    products: Products,
    /// How often equations were solved.
    pub(crate) calls: usize,
}

impl<'a> Posterior<'a> {
    pub(crate) fn new(rows: &'a Rows, prior: &'a Prior, linearised: &'a Linearised) -> Self {
        Posterior {
            rows,
            prior,
            linearised,
            products: rows.products(linearised),
            calls: 0,
        }
    }

    /// The likeliest point; `None` where equations cannot be solved to working precision.
    pub(crate) fn maximise(&mut self, mut guess: Guess) -> Option<Point> {
        match (self.prior.residuals, guess.correlation) {
            (Residuals::Independent, _) => self.at(0.0, &mut guess),
            (Residuals::RandomWalk, _) => self.at(1.0, &mut guess),
            (Residuals::Autoregressive, Some(correlation)) => {
                let start = atanh(correlation).clamp(LEAST, MOST);
                let best = self.at(tanh(start), &mut guess)?;
                self.descend(start, best, guess, 0.02)
            }
            (Residuals::Autoregressive, None) => {
                let mut best: Option<(f64, Point, Guess)> = None;
                for place in GRID {
                    let point = self.at(tanh(place), &mut guess)?;
                    if best
                        .as_ref()
                        .is_none_or(|(_, best, _)| point.loss < best.loss)
                    {
                        best = Some((place, point, guess.clone()));
                    }
                }
                let (place, point, guess) = best?;
                self.descend(place, point, guess, 0.6)
            }
        }
    }

    /// Follows the slope from a point, by steps that grow until it turns, and then closes in on
    /// where it is zero (the Illinois variant of false position).
    fn descend(
        &mut self,
        place: f64,
        point: Point,
        mut guess: Guess,
        mut step: f64,
    ) -> Option<Point> {
        const FLAT: f64 = 1e-9;
        let (mut near, mut at_near) = (place, point.slope);
        let mut best = point;
        let (mut far, mut at_far);
        loop {
            let end = if at_near > 0.0 { LEAST } else { MOST };
            if at_near.abs() < FLAT || near == end {
                return Some(best);
            }
            let towards = if at_near > 0.0 { -step } else { step };
            let next = (near + towards).clamp(LEAST, MOST);
            let found = self.at(tanh(next), &mut guess)?;
            if found.loss > best.loss && found.slope * at_near > 0.0 {
                // A ridge lies between: look closer.
                step *= 0.25;
                if step < 1e-6 {
                    return Some(best);
                }
                continue;
            }
            (far, near) = (near, next);
            at_far = at_near;
            at_near = found.slope;
            best = found;
            if at_near * at_far <= 0.0 {
                break;
            }
            step *= 3.0;
        }
        for _ in 0..60 {
            if at_near.abs() < FLAT || (near - far).abs() < 1e-12 {
                break;
            }
            let mut next = near - at_near * (near - far) / (at_near - at_far);
            if !next.is_finite() || (next - near) * (next - far) >= 0.0 {
                next = 0.5 * (near + far);
            }
            best = self.at(tanh(next), &mut guess)?;
            if best.slope * at_near < 0.0 {
                (far, at_far) = (near, at_near);
            } else {
                at_far *= 0.5;
            }
            (near, at_near) = (next, best.slope);
        }
        Some(best)
    }

    /// The likeliest coefficients and variance for an autocorrelation, from a guess that they become.
    fn at(&mut self, correlation: f64, guess: &mut Guess) -> Option<Point> {
        let matrix = self.products.innovations(correlation);
        let count = self.prior.innovations(self.rows.len());
        let mut place = ln(guess.variance.max(self.prior.least_variance));
        let mut before: Option<(f64, f64)> = None;
        let mut rounds = 0;
        loop {
            let variance = exp(place);
            let (coefficients, factor) = self.solve(&matrix, variance, &mut guess.changes)?;
            let squares = self.squares(&coefficients);
            let innovations = squares.innovations(correlation).max(0.0);
            let integrated = (self.prior.residuals == Residuals::Autoregressive)
                .then(|| Integrated::over(self.prior, &factor, variance));
            let held = integrated.as_ref().map_or(0.0, |part| part.freedom);
            let better = self.prior.variance((count - held).max(1.0), innovations);
            let moved = ln(better) - place;
            rounds += 1;
            if moved.abs() < 1e-11 || rounds == 100 {
                guess.variance = variance;
                return Some(self.point(correlation, variance, coefficients, squares, integrated));
            }
            // Where the line through the last two changes is zero, unless it leads far away.
            let secant = before.and_then(|(place_before, moved_before)| {
                let slope = (moved - moved_before) / (place - place_before);
                let step = -moved / slope;
                (slope < 0.0 && step.abs() < 5.0 * moved.abs()).then_some(step)
            });
            before = Some((place, moved));
            place += secant.unwrap_or(moved);
        }
    }

    fn point(
        &self,
        correlation: f64,
        variance: f64,
        coefficients: Vec<f64>,
        squares: Squares,
        integrated: Option<Integrated>,
    ) -> Point {
        let innovations = squares.innovations(correlation).max(0.0);
        let count = self.prior.innovations(self.rows.len());
        let mut loss = self.prior.loss(&coefficients, innovations, variance)
            + 0.5 * count * ln(variance)
            + 0.5 * variance / (SIGMA_SCALE * SIGMA_SCALE);
        let mut slope = 0.0;
        if let Some(part) = integrated {
            let rest = 1.0 - correlation * correlation;
            let moved = self.products.slope(correlation);
            loss += part.loss - 0.5 * ln(rest);
            slope = correlation
                + 0.5
                    * rest
                    * (squares.slope(correlation) / variance + part.inverse.trace_with(&moved));
        }
        Point {
            coefficients,
            variance,
            correlation,
            loss,
            squares: innovations,
            slope,
        }
    }

    fn solve(
        &mut self,
        matrix: &Matrix,
        variance: f64,
        changes: &mut [f64],
    ) -> Option<(Vec<f64>, Cholesky)> {
        self.calls += 1;
        let count = self.rows.columns();
        let mut quadratic = matrix.part(0..count);
        self.regularise(&mut quadratic, variance);
        let linear = &matrix.row(count)[..count];
        let penalty = variance / self.prior.change_scale;
        let (mut coefficients, factor) = lasso::solve(&quadratic, linear, penalty, changes)?;
        coefficients.extend_from_slice(changes);
        Some((coefficients, factor))
    }

    /// Adds the precisions of the Gaussian priors, and to every coefficient at least what keeps
    /// columns that repeat others from making the equations singular.
    fn regularise(&self, quadratic: &mut Matrix, variance: f64) {
        for index in 0..quadratic.size() {
            let precision = self.prior.precisions.get(index).copied().unwrap_or(0.0);
            let least = 1e-13 * quadratic.at(index, index) + f64::MIN_POSITIVE;
            quadratic.add_to_diagonal(index, (variance * precision).max(least));
        }
    }

    /// The sums of squares under coefficients: from products where little cancels, else from rows.
    fn squares(&self, coefficients: &[f64]) -> Squares {
        let mut line = coefficients.to_vec();
        line.push(-1.0);
        let last = coefficients.len();
        let Products {
            levels,
            steps,
            ends,
        } = &self.products;
        let quick = Squares {
            levels: levels.form(&line),
            steps: steps.form(&line),
            ends: ends.form(&line),
        };
        const SHARE: f64 = 1e-3;
        if quick.levels > SHARE * levels.at(last, last)
            && quick.steps > SHARE * steps.at(last, last)
        {
            return quick;
        }
        Squares::of(self.residuals(coefficients))
    }

    fn residuals(&self, coefficients: &[f64]) -> impl Iterator<Item = f64> {
        let parts = self.rows.parts(coefficients);
        parts.enumerate().map(|(row, (trend, effects))| {
            let (of_trend, of_effects) = match &self.linearised.weights {
                Some(weights) => weights[row],
                None => (1.0, 1.0),
            };
            self.linearised.target[row] - of_trend * trend - of_effects * effects
        })
    }

    /// The effective number of coefficients at a point: those that are not zero, less what priors
    /// hold of them (Hastie, Tibshirani and Friedman, *The Elements of Statistical Learning*,
    /// equation 3.50).
    pub(crate) fn freedom(&self, point: &Point) -> Option<f64> {
        let matrix = self.products.innovations(point.correlation);
        let free = self.prior.precisions.len();
        let active: Vec<usize> = (0..self.rows.columns())
            .filter(|index| *index < free || point.coefficients[*index] != 0.0)
            .collect();
        let mut matrix = matrix.part(0..self.rows.columns());
        self.regularise(&mut matrix, point.variance);
        let factor = Cholesky::of(&matrix.select(&active))?;
        let held: f64 = (0..free)
            .map(|index| point.variance * self.prior.precisions[index] * factor.inverse_at(index))
            .sum();
        Some(active.len() as f64 - held)
    }

    /// Half the gradient of the sum of squared innovations, for tests of optimality.
    #[cfg(test)]
    pub(crate) fn half_gradient(&self, coefficients: &[f64], correlation: f64) -> Vec<f64> {
        let residuals: Vec<f64> = self.residuals(coefficients).collect();
        let n = residuals.len();
        // The gradient of the sum in each residual, then through the columns of the rows.
        let slopes: Vec<f64> = (0..n)
            .map(|row| {
                let own = if row == 0 {
                    (1.0 - correlation * correlation) * residuals[0]
                } else {
                    residuals[row] - correlation * residuals[row - 1]
                };
                let next = if row + 1 < n {
                    correlation * (residuals[row + 1] - correlation * residuals[row])
                } else {
                    0.0
                };
                own - next
            })
            .collect();
        (0..coefficients.len())
            .map(|index| {
                let mut unit = vec![0.0; coefficients.len()];
                unit[index] = 1.0;
                let columns = self.rows.parts(&unit);
                -columns
                    .enumerate()
                    .map(|(row, (trend, effects))| {
                        let (of_trend, of_effects) = match &self.linearised.weights {
                            Some(weights) => weights[row],
                            None => (1.0, 1.0),
                        };
                        slopes[row] * (of_trend * trend + of_effects * effects)
                    })
                    .sum::<f64>()
            })
            .collect()
    }
}

fn atanh(value: f64) -> f64 {
    let value = value.clamp(-0.99999, 0.99999);
    0.5 * ln((1.0 + value) / (1.0 - value))
}
