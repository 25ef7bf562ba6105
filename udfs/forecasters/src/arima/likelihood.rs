//! The exact Gaussian likelihood of a history, with variance, constant and regressors concentrated
//! out, and its maximum.
//!
//! With errors v_t of variances sigma^2 F_t, minus twice the logarithm of the likelihood is, at the
//! best sigma^2, n log(S G) + constant, with S = sum v_t^2 / F_t and G the geometric mean of the
//! F_t. S G is itself a sum of squares, of v_t sqrt(G / F_t), so its minimum is found by nonlinear
//! least squares (Melard 1984).

use super::{
    design::Design,
    filter::{self, Whitened},
    levenberg_marquardt::{Settings, SumOfSquares, minimise},
    orders::{Lags, MOST_PARTIAL, Orders, all_partials, difference, from_all_partials},
};
use crate::{
    errors::FitError,
    fitted::finite,
    math::{exp, ln},
    sizes::dot,
};

/// A history made ready for models with certain differences.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    /// Which differences; the other orders are not looked at.
    pub(crate) orders: Orders,
    /// The differenced values, then regressors, then the constant (where there can be one). Where
    /// observations are missing, these are the columns with lines drawn over the gaps.
    pub(crate) columns: Vec<Vec<f64>>,
    /// How many of the columns are regressors.
    pub(crate) regressors: usize,
    /// The same, undifferenced, where observations are missing.
    gaps: Option<Gaps>,
    /// The number of values that the likelihood is of.
    pub(crate) count: usize,
    /// How often a likelihood or a conditional sum of squares was computed.
    pub(crate) evaluations: usize,
    work: Whitened,
}

/// What the filter with gaps needs.
#[derive(Clone, Debug)]
struct Gaps {
    /// Values, a column for each missing value among the first, regressors, and the constant.
    columns: Vec<Vec<f64>>,
    observed: Vec<bool>,
    /// How many values are missing among the first.
    unknown: usize,
}

/// A likelihood and what it was best with.
#[derive(Clone, Debug)]
pub(crate) struct Likelihood {
    /// Minus twice its logarithm.
    pub(crate) deviance: f64,
    /// The error variance that makes it largest.
    pub(crate) variance: f64,
    /// The values missing among the first, the coefficients of the regressors, and the constant.
    pub(crate) linear: Vec<f64>,
    /// sqrt(G).
    stretch: f64,
}

impl Problem {
    pub(crate) fn new(values: &[f64], design: &Design, orders: &Orders) -> Problem {
        let lost = orders.lost();
        let mut columns = vec![difference(&design.filled(values), orders)];
        let levels = design.columns();
        columns.extend(levels.iter().map(|column| difference(column, orders)));
        let count = values.len().saturating_sub(lost);
        if orders.differences() < 2 {
            columns.push(vec![1.0; count]);
        }
        let gaps = design.missing().then(|| {
            let observed: Vec<bool> = (0..values.len()).map(|day| design.observed(day)).collect();
            let unknown: Vec<usize> = (0..lost.min(values.len()))
                .filter(|day| !observed[*day])
                .collect();
            let blank = |mut column: Vec<f64>| {
                unknown.iter().for_each(|day| column[*day] = 0.0);
                column
            };
            let mut columns = vec![blank(design.filled(values))];
            columns.extend(unknown.iter().map(|day| {
                let mut column = vec![0.0; values.len()];
                column[*day] = 1.0;
                column
            }));
            columns.extend(levels.iter().map(|column| blank(column.clone())));
            if orders.differences() < 2 {
                columns.push(blank(constant(orders, values.len())));
            }
            Gaps {
                columns,
                unknown: unknown.len(),
                observed,
            }
        });
        let count = gaps.as_ref().map_or(count, |gaps| {
            let seen = gaps.observed[lost.min(values.len())..]
                .iter()
                .filter(|seen| **seen);
            seen.count().saturating_sub(gaps.unknown)
        });
        Problem {
            orders: *orders,
            columns,
            regressors: levels.len(),
            gaps,
            count,
            evaluations: 0,
            work: Whitened::default(),
        }
    }

    /// How many values are missing among the first.
    pub(crate) fn unknown(&self) -> usize {
        self.gaps.as_ref().map_or(0, |gaps| gaps.unknown)
    }

    /// The columns for a model with or without constant.
    fn used(&self, constant: bool) -> usize {
        1 + self.regressors + usize::from(constant && self.orders.differences() < 2)
    }

    /// The likelihood of a model; its errors, of equal variance, go to `errors`. Nothing if the
    /// model is not stationary.
    pub(crate) fn likelihood(
        &mut self,
        orders: &Orders,
        coefficients: &[f64],
        constant: bool,
        errors: &mut Vec<f64>,
    ) -> Option<Likelihood> {
        self.evaluations += 1;
        let lags = Lags::new(orders, coefficients);
        let mut used = self.used(constant);
        let work = &mut self.work;
        let mut unknown = 0;
        match &self.gaps {
            None => {
                let columns: Vec<&[f64]> = self.columns[..used].iter().map(Vec::as_slice).collect();
                filter::whiten(&lags, &columns, work)?;
            }
            Some(gaps) => {
                used += gaps.unknown;
                unknown = gaps.unknown;
                let columns: Vec<&[f64]> = gaps.columns[..used].iter().map(Vec::as_slice).collect();
                filter::whiten_with_gaps(orders, &lags, &columns, &gaps.observed, work)?;
            }
        }
        let (linear, log_scale) = regress(&work.columns, unknown);
        errors.clear();
        errors.extend_from_slice(&work.columns[0]);
        for (coefficient, column) in linear.iter().zip(&work.columns[1..]) {
            for (error, value) in errors.iter_mut().zip(column) {
                *error -= coefficient * value;
            }
        }
        let count = self.count as f64;
        let sum = dot(errors, errors);
        let determinant = work.log_determinant + log_scale;
        let variance = sum / count;
        let likelihood = Likelihood {
            deviance: count * (ln(2.0 * std::f64::consts::PI * variance) + 1.0) + determinant,
            variance,
            linear,
            stretch: exp(0.5 * determinant / count),
        };
        (!likelihood.deviance.is_nan()).then_some(likelihood)
    }

    /// The coefficients of the largest likelihood that a search from these finds.
    pub(crate) fn maximise(
        &mut self,
        orders: &Orders,
        coefficients: &[f64],
        constant: bool,
        settings: Settings,
    ) -> Option<Vec<f64>> {
        let start = all_partials(orders, coefficients);
        let mut search = Search {
            problem: self,
            orders,
            constant,
            moved: vec![],
        };
        let found = minimise(&mut search, &start, settings)?;
        Some(from_all_partials(orders, &found))
    }
}

/// Checks that a number survived, for what ends in a state.
pub(crate) fn survived(quantity: &'static str, values: &[f64]) -> Result<(), FitError> {
    values
        .iter()
        .try_for_each(|value| finite(quantity, *value).map(|_| ()))
}

/// The column whose differences are all one.
pub(crate) fn constant(orders: &Orders, length: usize) -> Vec<f64> {
    let [step, start] = match (orders.ordinary[1], orders.seasonal[1]) {
        (0, 0) => [0.0, 1.0],
        (_, 0) => [1.0, 0.0],
        _ => [1.0 / orders.season as f64, 0.0],
    };
    (0..length).map(|day| start + step * day as f64).collect()
}

/// Least squares of the first column on the others: the coefficients, and the logarithm of the
/// determinant of the products of the first `unknown` of them. What those before determine gets the
/// coefficient zero.
fn regress(columns: &[Vec<f64>], unknown: usize) -> (Vec<f64>, f64) {
    let size = columns.len() - 1;
    let mut log_scale = 0.0;
    if size == 0 {
        return (vec![], log_scale);
    }
    let mut root = vec![0.0; size * size];
    let mut right = vec![0.0; size];
    let mut kept = vec![true; size];
    for row in 0..size {
        for column in 0..=row {
            let mut sum = dot(&columns[row + 1], &columns[column + 1]);
            let whole = sum;
            for k in 0..column {
                sum -= root[row * size + k] * root[column * size + k];
            }
            root[row * size + column] = if row == column {
                kept[row] = sum > 1e-13 * whole && sum > 0.0;
                if kept[row] { sum.sqrt() } else { 1.0 }
            } else if kept[column] {
                sum / root[column * size + column]
            } else {
                0.0
            };
        }
        if row < unknown {
            log_scale += 2.0 * ln(root[row * size + row]);
        }
        let mut sum = dot(&columns[row + 1], &columns[0]);
        for k in 0..row {
            sum -= root[row * size + k] * right[k];
        }
        right[row] = if kept[row] {
            sum / root[row * size + row]
        } else {
            0.0
        };
    }
    for row in (0..size).rev() {
        let mut sum = right[row];
        for k in row + 1..size {
            sum -= root[k * size + row] * right[k];
        }
        right[row] = if kept[row] {
            sum / root[row * size + row]
        } else {
            0.0
        };
    }
    (right, log_scale)
}

/// The likelihood as a sum of squares.
struct Search<'a> {
    problem: &'a mut Problem,
    orders: &'a Orders,
    constant: bool,
    moved: Vec<f64>,
}

impl SumOfSquares for Search<'_> {
    fn residuals(&mut self, point: &[f64], residuals: &mut Vec<f64>) -> bool {
        let coefficients = from_all_partials(self.orders, point);
        match self
            .problem
            .likelihood(self.orders, &coefficients, self.constant, residuals)
        {
            Some(likelihood) => {
                residuals
                    .iter_mut()
                    .for_each(|error| *error *= likelihood.stretch);
                true
            }
            None => false,
        }
    }

    fn bound(&self) -> f64 {
        MOST_PARTIAL
    }

    /// By differences towards zero.
    fn derivatives(&mut self, point: &[f64], residuals: &[f64], columns: &mut Vec<Vec<f64>>) {
        const STEP: f64 = 1e-7;
        columns.resize_with(point.len(), Vec::new);
        let mut near = point.to_vec();
        let mut moved = std::mem::take(&mut self.moved);
        for (index, column) in columns.iter_mut().enumerate() {
            near[index] = point[index] - STEP.copysign(point[index]);
            let by = near[index] - point[index];
            column.clear();
            if self.residuals(&near, &mut moved) {
                column.extend(
                    moved
                        .iter()
                        .zip(residuals)
                        .map(|(to, from)| (to - from) / by),
                );
            } else {
                column.resize(residuals.len(), 0.0);
            }
            near[index] = point[index];
        }
        self.moved = moved;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, Streams, arima::levenberg_marquardt::cholesky_solve, series::Series};

    /// The lower root of a covariance matrix.
    fn root(matrix: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let size = matrix.len();
        let mut root = vec![vec![0.0; size]; size];
        for row in 0..size {
            for column in 0..=row {
                let known: f64 = (0..column).map(|k| root[row][k] * root[column][k]).sum();
                let rest = matrix[row][column] - known;
                root[row][column] = if row == column {
                    rest.sqrt()
                } else {
                    rest / root[column][column]
                };
            }
        }
        root
    }

    fn whitened(root: &[Vec<f64>], column: &[f64]) -> Vec<f64> {
        let mut out: Vec<f64> = vec![];
        for (row, value) in column.iter().enumerate() {
            let known: f64 = (0..row).map(|k| root[row][k] * out[k]).sum();
            out.push((value - known) / root[row][row]);
        }
        out
    }

    fn log_determinant(root: &[Vec<f64>]) -> f64 {
        2.0 * (0..root.len()).map(|k| ln(root[k][k])).sum::<f64>()
    }

    fn products(columns: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let row = |left: &Vec<f64>| columns.iter().map(|right| dot(left, right)).collect();
        columns.iter().map(row).collect()
    }

    /// What least squares on these columns leaves of a target.
    fn left_over(columns: &[Vec<f64>], target: Vec<f64>) -> Vec<f64> {
        let mut right: Vec<f64> = columns.iter().map(|column| dot(column, &target)).collect();
        assert!(cholesky_solve(&mut products(columns).concat(), &mut right));
        let mut errors = target;
        for (coefficient, column) in right.iter().zip(columns) {
            for (error, value) in errors.iter_mut().zip(column) {
                *error -= coefficient * value;
            }
        }
        errors
    }

    /// The autocovariances of an ARMA process of error variance one, from its weights.
    fn covariances(lags: &Lags, count: usize) -> Vec<f64> {
        const LENGTH: usize = 3_000;
        let mut weights = vec![1.0];
        for step in 1..LENGTH {
            let sparse = lags.sparse_ma.iter().find(|(lag, _)| *lag == step);
            let mut weight = sparse.map_or(0.0, |(_, value)| *value);
            for (lag, value) in &lags.sparse_ar {
                if *lag <= step {
                    weight += value * weights[step - lag];
                }
            }
            weights.push(weight);
        }
        let covariance = |lag: usize| dot(&weights[lag..], &weights[..LENGTH - lag]);
        (0..count).map(covariance).collect()
    }

    /// Minus twice the logarithm of the likelihood from the covariance matrix of the differences,
    /// missing values integrated out as coefficients with a flat prior.
    fn by_the_definition(
        orders: &Orders,
        coefficients: &[f64],
        values: &[f64],
        missing: &[usize],
        regressor: &[f64],
    ) -> f64 {
        let count = values.len() - orders.lost();
        let covariances = covariances(&Lags::new(orders, coefficients), count);
        let row = |row: usize| {
            (0..count)
                .map(|column| covariances[row.abs_diff(column)])
                .collect()
        };
        let root_of_all = root(&(0..count).map(row).collect::<Vec<Vec<f64>>>());
        let white = |mut column: Vec<f64>| {
            missing.iter().for_each(|day| column[*day] = 0.0);
            whitened(&root_of_all, &difference(&column, orders))
        };
        let hole = |day: &usize| {
            let mut column = vec![0.0; values.len()];
            column[*day] = 1.0;
            whitened(&root_of_all, &difference(&column, orders))
        };
        let holes: Vec<Vec<f64>> = missing.iter().map(hole).collect();
        let mut columns = holes.clone();
        columns.push(white(regressor.to_vec()));
        columns.push(white(constant(orders, values.len())));
        let errors = left_over(&columns, white(values.to_vec()));
        let seen = (count - missing.len()) as f64;
        let variance = dot(&errors, &errors) / seen;
        seen * (ln(2.0 * std::f64::consts::PI * variance) + 1.0)
            + log_determinant(&root_of_all)
            + log_determinant(&root(&products(&holes)))
    }

    #[test]
    fn the_filters_give_the_likelihood_of_the_definition() {
        let mut rng = Streams::new(&Digest::new()).path(9);
        let mut level = 3.0;
        let mut walk = || {
            level += 0.2 + rng.normal();
            level
        };
        let values: Vec<f64> = (0..60).map(|_| walk()).collect();
        let complete: Vec<f64> = (0..60).map(|_| rng.normal()).collect();
        let dates: Vec<i32> = (0..60).collect();
        let cases = [
            ([2, 0, 1], [1, 0, 1], 4, vec![0.5, 0.2, -0.4, 0.3, 0.6]),
            ([1, 1, 2], [0, 0, 0], 1, vec![0.7, 0.2, -0.5]),
            ([0, 0, 1], [1, 1, 0], 4, vec![0.4, -0.5]),
            ([0, 1, 0], [0, 0, 0], 1, vec![]),
        ];
        for (ordinary, seasonal, season, coefficients) in cases {
            let orders = Orders {
                ordinary,
                seasonal,
                season,
            };
            for missing in [vec![], vec![30], vec![0], vec![0, 2, 17, 18, 40, 59]] {
                let mut regressor = complete.clone();
                missing.iter().for_each(|day| regressor[*day] = f64::NAN);
                let expected =
                    by_the_definition(&orders, &coefficients, &values, &missing, &regressor);
                let regressors = vec![regressor];
                let history = Series {
                    dates: &dates,
                    values: &values,
                    regressors: &regressors,
                };
                let design = Design::new(history, &orders).unwrap();
                let mut problem = Problem::new(&values, &design, &orders);
                let found = problem
                    .likelihood(&orders, &coefficients, true, &mut vec![])
                    .unwrap();
                assert_eq!(problem.count, 60 - orders.lost() - missing.len());
                assert!(
                    (found.deviance - expected).abs() < 1e-7,
                    "{orders:?} {missing:?}: {} {expected}",
                    found.deviance
                );
            }
        }
    }

    #[test]
    fn both_filters_agree_where_nothing_is_missing() {
        let mut rng = Streams::new(&Digest::new()).path(3);
        let values: Vec<f64> = (0..90).map(|_| rng.normal()).collect();
        let orders = Orders {
            ordinary: [1, 1, 1],
            seasonal: [1, 1, 1],
            season: 6,
        };
        let lags = Lags::new(&orders, &[0.6, -0.4, 0.3, -0.8]);
        let (mut fast, mut slow) = (Whitened::default(), Whitened::default());
        let differences = difference(&values, &orders);
        filter::whiten(&lags, &[&differences], &mut fast).unwrap();
        let observed = vec![true; values.len()];
        filter::whiten_with_gaps(&orders, &lags, &[&values], &observed, &mut slow).unwrap();
        assert!((fast.log_determinant - slow.log_determinant).abs() < 1e-9);
        assert!(fast.log_determinant > 0.1);
        for (fast, slow) in fast.columns[0].iter().zip(&slow.columns[0]) {
            assert!((fast - slow).abs() < 1e-9, "{fast} {slow}");
        }
    }

    #[test]
    fn what_is_determined_by_other_columns_gets_no_coefficient() {
        let columns = vec![
            vec![1.0, 2.0, 4.0],
            vec![1.0, 1.0, 1.0],
            vec![2.0, 2.0, 2.0],
        ];
        let (coefficients, _) = regress(&columns, 0);
        assert!((coefficients[0] - 7.0 / 3.0).abs() < 1e-12);
        assert_eq!(coefficients[1], 0.0);
    }
}
