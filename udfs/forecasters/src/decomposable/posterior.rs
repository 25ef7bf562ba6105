//! The likeliest coefficients, error variance and autocorrelation, given priors.
//!
//! With residuals r_t = y_t − x_t'θ, r_t = φ r_{t−1} + e_t, what coefficients minimise is
//!
//! S(θ, φ) / 2σ² + Σ u_i² / 2 s_i² + Σ |δ_j| / τ,
//!
//! S the sum of squared innovations e_t, u the coefficients with Gaussian priors and δ the slope changes
//! with their Laplace prior: a convex problem, solved exactly by `lasso.rs`.
//!
//! With independent residuals (φ = 0) σ is found together with θ: the sum above plus
//! n ln σ + σ² / 2·0.5² is minus the logarithm of the posterior density that Prophet maximises.
//!
//! With residuals that are passed on, σ and φ come first, by their evidence: all coefficients are
//! integrated out, slope changes as if their prior were the normal one of the same variance. That
//! leaves
//!
//! n ln σ − ½ ln(1 − φ²) + 1½ ln(1 − φ) + σ² / 2·0.5² + min_θ { S / 2σ² + Σ θ_i² / 2 s_i² }
//! + ½ ln det(X'V⁻¹X / σ² + D)
//!
//! with D the diagonal of 1 / s² (1 / 2τ² for slope changes). The third term is a prior: whether a
//! series returns to its trend is often more than its history can tell, and then it is taken not to.
//! (Of the powers 0, ½, 1, 1½, 2 and 4 of 1 / (1 − φ), this one was about the best on the training
//! parts of M4 series at each of six frequencies.) Maximising over θ instead of integrating would draw
//! φ towards zero, as each coefficient that follows the residuals does in maximum as against restricted
//! maximum likelihood: random walks would be taken for bends of the trend.
//!
//! σ alternates between its formula for given residuals and these, sped up by secant steps. The slope
//! of the minimum as φ changes is known (θ and σ being optimal, only S and the determinants move), so
//! φ is where it is zero; a coarse grid comes first, as there may be two valleys.

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
const GRID: [f64; 9] = [-0.6, 0.0, 0.6, 1.2, 1.8, 2.4, 3.0, 3.6, MOST];
const LEAST: f64 = -1.5;
const MOST: f64 = 4.4;
/// The prior density of φ is (1 − φ) to the power of minus this.
const PERSISTENCE: f64 = 1.5;

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

/// The end of a search.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    /// In the order of columns.
    pub(crate) coefficients: Vec<f64>,
    pub(crate) variance: f64,
    pub(crate) correlation: f64,
    /// What the search for variance and correlation minimised.
    pub(crate) loss: f64,
    /// Sum of squared innovations.
    pub(crate) squares: f64,
}

/// Where a search begins.
#[derive(Clone, Debug)]
pub(crate) struct Guess {
    /// For models that are not linear.
    pub(crate) coefficients: Option<Vec<f64>>,
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
        }
    }

    /// Whether another has the same variance and correlation, but for the last digits.
    pub(crate) fn is_near(&self, other: &Point) -> bool {
        (self.variance / other.variance - 1.0).abs() < 1e-7
            && (self.correlation - other.correlation).abs() < 1e-7
    }

    /// A guess near this point.
    pub(crate) fn guess(&self, changes: usize) -> Guess {
        Guess {
            coefficients: None,
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

    /// The precision of a slope change if its prior were normal with the variance it has.
    fn normal_change(&self) -> f64 {
        0.5 / (self.change_scale * self.change_scale)
    }

    /// The precision of a coefficient if all priors were normal.
    fn normal(&self, index: usize) -> f64 {
        self.precisions
            .get(index)
            .copied()
            .unwrap_or_else(|| self.normal_change())
    }

    /// The variance from which `better` leads to itself, `None` where that has no answer. The variance
    /// given is the last one `better` was asked with.
    fn settle(
        &self,
        guess: f64,
        tolerance: f64,
        mut better: impl FnMut(f64) -> Option<f64>,
    ) -> Option<f64> {
        let mut place = ln(guess.max(self.least_variance));
        let mut before: Option<(f64, f64)> = None;
        for _ in 0..100 {
            let moved = ln(better(exp(place))?) - place;
            if moved.abs() < tolerance {
                return Some(exp(place));
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
        let last = exp(place);
        better(last)?;
        Some(last)
    }

    /// What coefficients minimise.
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

/// How good a correlation is, with the best variance for it.
struct Evidence {
    correlation: f64,
    variance: f64,
    loss: f64,
    /// The slope of the loss in the inverse hyperbolic tangent of the correlation.
    slope: f64,
}

/// Changes of the logarithm of the variance below which a search for it ends.
const EXACT: f64 = 1e-11;
const ROUGH: f64 = 1e-2;

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
        let found = match (self.prior.residuals, guess.correlation) {
            (Residuals::Independent, _) => return self.independent(guess),
            (Residuals::RandomWalk, _) => self.evidence(1.0, &mut guess.variance, EXACT)?,
            (Residuals::Autoregressive, Some(correlation)) => {
                let start = atanh(correlation).clamp(LEAST, MOST);
                let best = self.evidence(tanh(start), &mut guess.variance, EXACT)?;
                self.descend(start, best, guess.variance, 0.02)?
            }
            (Residuals::Autoregressive, None) => {
                let mut best: Option<(f64, Evidence)> = None;
                for place in GRID {
                    let found = self.evidence(tanh(place), &mut guess.variance, ROUGH)?;
                    if best.as_ref().is_none_or(|(_, best)| found.loss < best.loss) {
                        best = Some((place, found));
                    }
                }
                let (place, rough) = best?;
                let mut variance = rough.variance;
                let found = self.evidence(tanh(place), &mut variance, EXACT)?;
                self.descend(place, found, variance, 0.3)?
            }
        };
        let Evidence {
            correlation,
            variance,
            loss,
            ..
        } = found;
        let matrix = self.products.innovations(correlation);
        let coefficients = self.coefficients(&matrix, variance, &mut guess.changes)?;
        let squares = self
            .squares(&coefficients)
            .innovations(correlation)
            .max(0.0);
        Some(Point {
            coefficients,
            variance,
            correlation,
            loss,
            squares,
        })
    }

    /// Coefficients and variance that are likeliest together.
    fn independent(&mut self, mut guess: Guess) -> Option<Point> {
        let matrix = self.products.innovations(0.0);
        let count = self.prior.innovations(self.rows.len());
        let (prior, mut found) = (self.prior, None);
        let variance = prior.settle(guess.variance, EXACT, |variance| {
            let coefficients = self.coefficients(&matrix, variance, &mut guess.changes)?;
            let squares = self.squares(&coefficients).levels.max(0.0);
            found = Some((coefficients, squares));
            Some(prior.variance(count, squares))
        })?;
        let (coefficients, squares) = found?;
        let loss = prior.loss(&coefficients, squares, variance)
            + 0.5 * count * ln(variance)
            + 0.5 * variance / (SIGMA_SCALE * SIGMA_SCALE);
        Some(Point {
            coefficients,
            variance,
            correlation: 0.0,
            loss,
            squares,
        })
    }

    /// Follows the slope from a place, by steps that grow until it turns, and then closes in on where
    /// it is zero (the Illinois variant of false position).
    fn descend(
        &mut self,
        place: f64,
        found: Evidence,
        mut variance: f64,
        mut step: f64,
    ) -> Option<Evidence> {
        const FLAT: f64 = 1e-9;
        let mut best = found;
        let (mut near, mut at_near) = (place, best.slope);
        let (mut far, mut at_far);
        loop {
            let end = if at_near > 0.0 { LEAST } else { MOST };
            if at_near.abs() < FLAT || near == end {
                return Some(best);
            }
            let towards = if at_near > 0.0 { -step } else { step };
            let next = (near + towards).clamp(LEAST, MOST);
            let found = self.evidence(tanh(next), &mut variance, EXACT)?;
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
            best = self.evidence(tanh(next), &mut variance, EXACT)?;
            if best.slope * at_near < 0.0 {
                (far, at_far) = (near, at_near);
            } else {
                at_far *= 0.5;
            }
            (near, at_near) = (next, best.slope);
        }
        Some(best)
    }

    /// The evidence for a correlation, with its best variance, which the guess of it becomes.
    fn evidence(&mut self, correlation: f64, guess: &mut f64, tolerance: f64) -> Option<Evidence> {
        let matrix = self.products.innovations(correlation);
        let count = self.prior.innovations(self.rows.len());
        let columns = self.rows.columns();
        let (prior, mut found) = (self.prior, None);
        let variance = prior.settle(*guess, tolerance, |variance| {
            self.calls += 1;
            let mut quadratic = matrix.part(0..columns);
            self.regularise(&mut quadratic, variance, prior.normal_change());
            let factor = Cholesky::of(&quadratic)?;
            let coefficients = factor.solve(&matrix.row(columns)[..columns]);
            let squares = self.squares(&coefficients);
            let inverse = factor.inverse();
            let held: f64 = inverse
                .diagonal()
                .iter()
                .enumerate()
                .map(|(index, entry)| variance * prior.normal(index) * entry)
                .sum();
            let left = (count - (columns as f64 - held)).max(1.0);
            let innovations = squares.innovations(correlation).max(0.0);
            found = Some((coefficients, squares, factor.log_determinant(), inverse));
            Some(prior.variance(left, innovations))
        })?;
        *guess = variance;
        let (coefficients, squares, determinant, inverse) = found?;
        let gaussian: f64 = coefficients
            .iter()
            .enumerate()
            .map(|(index, value)| prior.normal(index) * value * value)
            .sum();
        let mut loss = 0.5 * (count - columns as f64) * ln(variance)
            + 0.5 * squares.innovations(correlation).max(0.0) / variance
            + 0.5 * variance / (SIGMA_SCALE * SIGMA_SCALE)
            + 0.5 * gaussian
            + 0.5 * determinant;
        let mut slope = 0.0;
        if prior.residuals == Residuals::Autoregressive {
            let rest = 1.0 - correlation * correlation;
            let moved = self.products.slope(correlation);
            loss += PERSISTENCE * ln(1.0 - correlation) - 0.5 * ln(rest);
            slope = correlation - PERSISTENCE * (1.0 + correlation)
                + 0.5 * rest * (squares.slope(correlation) / variance + inverse.trace_with(&moved));
        }
        Some(Evidence {
            correlation,
            variance,
            loss,
            slope,
        })
    }

    /// The likeliest coefficients for these products of innovations and variance, from a guess of the
    /// slope changes that they become.
    fn coefficients(
        &mut self,
        matrix: &Matrix,
        variance: f64,
        changes: &mut [f64],
    ) -> Option<Vec<f64>> {
        self.calls += 1;
        let count = self.rows.columns();
        let mut quadratic = matrix.part(0..count);
        self.regularise(&mut quadratic, variance, 0.0);
        let linear = &matrix.row(count)[..count];
        let penalty = variance / self.prior.change_scale;
        let mut coefficients = lasso::solve(&quadratic, linear, penalty, changes)?;
        coefficients.extend_from_slice(changes);
        Some(coefficients)
    }

    /// Adds the precisions of the Gaussian priors, and to every coefficient at least what keeps the
    /// equations regular where columns repeat others, or where all steps of one are zero.
    fn regularise(&self, quadratic: &mut Matrix, variance: f64, of_change: f64) {
        for index in 0..quadratic.size() {
            let precisions = &self.prior.precisions;
            let precision = precisions.get(index).copied().unwrap_or(of_change);
            let whole = self.products.levels.at(index, index);
            let least = 1e-13 * quadratic.at(index, index) + 1e-15 * whole + f64::MIN_POSITIVE;
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
        self.regularise(&mut matrix, point.variance, 0.0);
        let factor = Cholesky::of(&matrix.select(&active))?;
        let diagonal = factor.inverse().diagonal();
        let held: f64 = (0..free)
            .map(|index| point.variance * self.prior.precisions[index] * diagonal[index])
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Digest, Streams,
        decomposable::rows::{basis, places},
    };

    #[test]
    fn the_slope_of_the_evidence_is_its_derivative() {
        let mut rng = Streams::new(&Digest::new()).path(2);
        let times: Vec<f64> = (0..300).map(|row| f64::from(row) / 299.0).collect();
        let knots = [0.0, times[60], times[130], times[200], 1.0];
        let mut residual = 0.0;
        let values: Vec<f64> = times
            .iter()
            .map(|time| {
                residual = 0.6 * residual + 0.02 * rng.normal();
                0.3 * time + residual
            })
            .collect();
        let rows = Rows {
            places: places(&times, &knots),
            effects: times.iter().map(|_| rng.normal()).collect(),
            width: 1,
            values: values.clone(),
            basis: basis(&knots, false),
            lines: 2,
        };
        let prior = Prior {
            precisions: vec![0.04, 0.04, 0.01],
            change_scale: 0.05,
            residuals: Residuals::Autoregressive,
            least_variance: 1e-12,
        };
        let linearised = Linearised {
            weights: None,
            target: values,
        };
        let mut posterior = Posterior::new(&rows, &prior, &linearised);
        for place in [-0.5, 0.2, 0.9, 2.0, 3.5] {
            let mut at = |place: f64| posterior.evidence(tanh(place), &mut 1e-3, EXACT).unwrap();
            let slope = (at(place + 1e-4).loss - at(place - 1e-4).loss) / 2e-4;
            let found = at(place).slope;
            assert!(
                (found - slope).abs() < 1e-4 * (1.0 + slope.abs()),
                "{found} {slope}"
            );
        }
        let guess = Guess {
            coefficients: None,
            changes: vec![0.0; 3],
            variance: 1e-3,
            correlation: None,
        };
        let end = atanh(posterior.maximise(guess).unwrap().correlation);
        assert!(
            posterior
                .evidence(tanh(end), &mut 1e-3, EXACT)
                .unwrap()
                .slope
                .abs()
                < 1e-6
        );
    }
}
