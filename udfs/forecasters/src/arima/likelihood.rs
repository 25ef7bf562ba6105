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
    levenberg_marquardt::{Settings, SumOfSquares, dot, minimise},
    orders::{Lags, Orders, bounded, difference, unbounded},
};
use crate::{
    errors::FitError,
    fitted::finite,
    math::{exp, ln},
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
    /// How often a likelihood was computed.
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
            let mut columns = vec![blank(values.to_vec())];
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
        let start = unbounded(orders, coefficients);
        let mut search = Search {
            problem: self,
            orders,
            constant,
            moved: vec![],
        };
        let found = minimise(&mut search, &start, settings)?;
        Some(bounded(orders, &found))
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
        let coefficients = bounded(self.orders, point);
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

    /// By forward differences.
    fn derivatives(&mut self, point: &[f64], residuals: &[f64], columns: &mut Vec<Vec<f64>>) {
        columns.resize_with(point.len(), Vec::new);
        let mut near = point.to_vec();
        let mut moved = std::mem::take(&mut self.moved);
        for (index, column) in columns.iter_mut().enumerate() {
            // Towards zero, where nothing is steep.
            let size = 1e-7 * (1.0 + point[index] * point[index]);
            near[index] = point[index] - size.copysign(point[index]);
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
