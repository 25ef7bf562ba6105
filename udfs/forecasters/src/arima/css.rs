//! Cheap estimates: least squares on a long autoregression's errors (Hannan and Rissanen 1982), and
//! from there the conditional sum of squares (Box and Jenkins, *Time Series Analysis*, 7.1).
//!
//! With zeros before the history, e = phi Phi z / (theta Theta), where z is what constant and
//! regressors leave of the differences. The derivatives are lags of four filtered series: of
//! e / phi for the coefficients of phi, and so on, so that a step costs about as much as eight
//! passes over the series, whatever the orders.

use super::{
    filter::recurse,
    levenberg_marquardt::{Settings, SumOfSquares, cholesky_solve, minimise},
    likelihood::Problem,
    orders::{Orders, admissible, partials},
};
use crate::math::ln;
use crate::sizes::dot;

/// How far from the unit circle, at least, the roots of a first guess are.
const RADIUS: f64 = 1.02;
/// The lags of ordinary polynomials that first guesses are made for.
const ORDINARY: usize = 5;
/// Those of seasonal polynomials.
const SEASONAL: usize = 2;

/// What first guesses for all orders with the same differences are made from.
#[derive(Clone, Debug)]
pub(crate) struct Guesses {
    /// The lags in `products`, first those of the series, then those of its errors.
    lags: Vec<usize>,
    /// The products of the target, the lagged series, and the lagged errors with each other.
    products: Vec<f64>,
    /// The coefficients of the regressors and the constant by least squares.
    linear: Vec<f64>,
}

impl Guesses {
    pub(crate) fn new(problem: &Problem) -> Guesses {
        let (target, others) = problem.columns.split_at(1);
        let (rest, linear) = plain_regression(&target[0], others, problem.regressors);
        let season = problem.orders.season;
        let mut lags: Vec<usize> = (1..=ORDINARY).collect();
        if season > 1 {
            lags.extend((1..=SEASONAL).map(|multiple| multiple * season));
        }
        let errors = long_autoregression(&rest, season);
        let count = rest.len();
        let width = 1 + 2 * lags.len();
        let mut products = vec![0.0; width * width];
        let column = |index: usize| -> (&[f64], usize) {
            if index == 0 {
                (&rest, 0)
            } else if index <= lags.len() {
                (&rest, lags[index - 1])
            } else {
                (&errors, lags[index - 1 - lags.len()])
            }
        };
        for row in 0..width {
            for other in 0..=row {
                let ((left, left_lag), (right, right_lag)) = (column(row), column(other));
                let later = left_lag.max(right_lag);
                if later < count {
                    let sum = dot(
                        &left[later - left_lag..count - left_lag],
                        &right[later - right_lag..count - right_lag],
                    );
                    products[row * width + other] = sum;
                    products[other * width + row] = sum;
                }
            }
        }
        Guesses {
            lags,
            products,
            linear,
        }
    }

    /// Coefficients to begin a search from.
    pub(crate) fn coefficients(&self, orders: &Orders) -> Vec<f64> {
        let place = |lag: usize| self.lags.iter().position(|known| *known == lag);
        let ordinary = |count: usize| (1..=count).map(place).collect::<Vec<_>>();
        let seasonal = |count: usize| {
            (1..=count)
                .map(|k| place(k * orders.season))
                .collect::<Vec<_>>()
        };
        let errors = self.lags.len();
        let series = |place: &Option<usize>| place.map(|place| 1 + place);
        let error = |place: &Option<usize>| place.map(|place| 1 + errors + place);
        let mut wanted: Vec<Option<usize>> = vec![];
        wanted.extend(ordinary(orders.ordinary[0]).iter().map(series));
        wanted.extend(ordinary(orders.ordinary[2]).iter().map(error));
        wanted.extend(seasonal(orders.seasonal[0]).iter().map(series));
        wanted.extend(seasonal(orders.seasonal[2]).iter().map(error));
        // A column wanted twice, or for which there is no guess, keeps the coefficient zero.
        let mut used: Vec<usize> = vec![];
        for place in wanted.iter().flatten() {
            if !used.contains(place) {
                used.push(*place);
            }
        }
        let width = 1 + 2 * self.lags.len();
        let mut matrix: Vec<f64> = used
            .iter()
            .flat_map(|row| {
                used.iter()
                    .map(move |column| self.products[row * width + column])
            })
            .collect();
        for index in 0..used.len() {
            let entry = &mut matrix[index * used.len() + index];
            *entry += 1e-3 * *entry + f64::MIN_POSITIVE;
        }
        let mut right: Vec<f64> = used.iter().map(|row| self.products[*row]).collect();
        if !cholesky_solve(&mut matrix, &mut right) {
            right.fill(0.0);
        }
        let mut taken = vec![false; used.len()];
        let guess: Vec<f64> = wanted
            .iter()
            .map(|place| {
                let Some(index) =
                    place.and_then(|place| used.iter().position(|known| *known == place))
                else {
                    return 0.0;
                };
                if std::mem::replace(&mut taken[index], true) {
                    0.0
                } else {
                    right[index]
                }
            })
            .collect();
        admissible(orders, &guess, RADIUS)
    }
}

/// What least squares on regressors and constant leaves of the first column.
pub(crate) fn remainder(problem: &Problem) -> Vec<f64> {
    let (target, others) = problem.columns.split_at(1);
    plain_regression(&target[0], others, problem.regressors).0
}

/// Least squares on the regressors (orthonormal) and the constant (a column of ones).
fn plain_regression(
    target: &[f64],
    others: &[Vec<f64>],
    regressors: usize,
) -> (Vec<f64>, Vec<f64>) {
    let size = others.len();
    let mut matrix = vec![0.0; size * size];
    let mut linear: Vec<f64> = others.iter().map(|column| dot(column, target)).collect();
    for row in 0..size {
        for column in 0..=row {
            matrix[row * size + column] = dot(&others[row], &others[column]);
        }
        matrix[row * size + row] *= 1.0 + 1e-12;
    }
    if !cholesky_solve(&mut matrix, &mut linear) {
        linear.fill(0.0);
        if size > regressors {
            linear[regressors] = crate::moments::mean(target);
        }
    }
    let mut rest = target.to_vec();
    for (coefficient, column) in linear.iter().zip(others) {
        for (value, other) in rest.iter_mut().zip(column) {
            *value -= coefficient * other;
        }
    }
    (rest, linear)
}

/// The errors of an autoregression that is long enough (Levinson's recursion, its order by AIC).
fn long_autoregression(values: &[f64], season: usize) -> Vec<f64> {
    let count = values.len();
    let longest = (2 * season + ORDINARY).clamp(12, 130).min(count / 3);
    let covariance = |lag: usize| dot(&values[lag..], &values[..count - lag]) / count as f64;
    let mut variance = covariance(0);
    if variance.is_nan() || variance <= 0.0 {
        return values.to_vec();
    }
    let covariances: Vec<f64> = (0..=longest).map(covariance).collect();
    let mut coefficients: Vec<f64> = vec![];
    let mut best = (count as f64 * ln(variance), vec![]);
    for order in 1..=longest {
        let known: f64 = coefficients
            .iter()
            .zip(covariances[1..order].iter().rev())
            .map(|(left, right)| left * right)
            .sum();
        let partial = (covariances[order] - known) / variance;
        variance *= 1.0 - partial * partial;
        if variance.is_nan() || variance <= 0.0 {
            break;
        }
        let before = coefficients.clone();
        for (index, value) in coefficients.iter_mut().enumerate() {
            *value -= partial * before[order - 2 - index];
        }
        coefficients.push(partial);
        let criterion = count as f64 * ln(variance) + 2.0 * order as f64;
        if criterion < best.0 {
            best = (criterion, coefficients.clone());
        }
    }
    let mut errors = values.to_vec();
    for (index, coefficient) in best.1.iter().enumerate() {
        let lag = index + 1;
        for (error, past) in errors[lag..].iter_mut().zip(values) {
            *error -= coefficient * past;
        }
    }
    errors
}

/// The coefficients that make the conditional sum of squares smallest.
pub(crate) fn estimate(
    problem: &mut Problem,
    guesses: &Guesses,
    orders: &Orders,
    constant: bool,
    coefficients: &[f64],
    settings: Settings,
) -> Option<Vec<f64>> {
    let mut linear = guesses.linear.clone();
    if !constant {
        linear.truncate(problem.regressors);
    }
    let mut start = coefficients.to_vec();
    start.extend(linear);
    let count = problem.columns[0].len();
    let mut sum = ConditionalSum {
        columns: &problem.columns,
        orders,
        skipped: orders.ar_lags().min(count / 4),
        errors: vec![],
        filtered: vec![],
        calls: 0,
    };
    let found = minimise(&mut sum, &start, settings);
    problem.evaluations += sum.calls;
    let mut found = found?;
    found.truncate(orders.coefficients());
    Some(found)
}

struct ConditionalSum<'a> {
    columns: &'a [Vec<f64>],
    orders: &'a Orders,
    /// How many errors at the beginning do not count.
    skipped: usize,
    errors: Vec<f64>,
    filtered: Vec<f64>,
    calls: usize,
}

impl ConditionalSum<'_> {
    /// phi Phi z / (theta Theta), in place.
    fn filter(&self, coefficients: &[f64], values: &mut [f64]) {
        let [ar, ma, seasonal_ar, seasonal_ma] = self.orders.split(coefficients);
        let season = self.orders.season;
        for (part, span) in [(ar, 1), (seasonal_ar, season)] {
            if part.is_empty() {
                continue;
            }
            for time in (0..values.len()).rev() {
                let mut value = values[time];
                for (index, coefficient) in part.iter().enumerate() {
                    let lag = span * (index + 1);
                    if lag <= time {
                        value -= coefficient * values[time - lag];
                    }
                }
                values[time] = value;
            }
        }
        recurse(&taps(ma, 1, 1.0), values);
        recurse(&taps(seasonal_ma, season, 1.0), values);
    }
}

fn taps(part: &[f64], span: usize, sign: f64) -> Vec<(usize, f64)> {
    let lags = part.iter().enumerate();
    lags.map(|(index, value)| (span * (index + 1), sign * value))
        .collect()
}

impl SumOfSquares for ConditionalSum<'_> {
    fn residuals(&mut self, point: &[f64], residuals: &mut Vec<f64>) -> bool {
        self.calls += 1;
        let (coefficients, linear) = point.split_at(self.orders.coefficients());
        for (index, part) in self.orders.split(coefficients).into_iter().enumerate() {
            let sign = if index % 2 == 0 { 1.0 } else { -1.0 };
            let signed: Vec<f64> = part.iter().map(|value| sign * value).collect();
            if partials(&signed).is_none() {
                return false;
            }
        }
        let mut errors = std::mem::take(&mut self.errors);
        errors.clear();
        errors.extend_from_slice(&self.columns[0]);
        for (coefficient, column) in linear.iter().zip(&self.columns[1..]) {
            for (value, other) in errors.iter_mut().zip(column) {
                *value -= coefficient * other;
            }
        }
        self.filter(coefficients, &mut errors);
        residuals.clear();
        residuals.extend_from_slice(&errors[self.skipped..]);
        self.errors = errors;
        true
    }

    fn derivatives(&mut self, point: &[f64], _: &[f64], columns: &mut Vec<Vec<f64>>) {
        let (coefficients, linear) = point.split_at(self.orders.coefficients());
        // All coefficients together, and each regressor, take a filter's pass over the series.
        self.calls += 1 + linear.len();
        columns.resize_with(point.len(), Vec::new);
        let season = self.orders.season;
        let mut next = 0;
        let mut filtered = std::mem::take(&mut self.filtered);
        for (index, part) in self.orders.split(coefficients).into_iter().enumerate() {
            if part.is_empty() {
                continue;
            }
            let (span, sign) = (
                if index < 2 { 1 } else { season },
                if index % 2 == 0 { -1.0 } else { 1.0 },
            );
            filtered.clear();
            filtered.extend_from_slice(&self.errors);
            recurse(&taps(part, span, sign), &mut filtered);
            for lag in (1..=part.len()).map(|k| k * span) {
                let column = &mut columns[next];
                column.clear();
                let zeros = lag
                    .saturating_sub(self.skipped)
                    .min(filtered.len() - self.skipped);
                column.resize(zeros, 0.0);
                let known = filtered.len().saturating_sub(lag);
                let from = self.skipped.saturating_sub(lag).min(known);
                column.extend(filtered[from..known].iter().map(|value| -value));
                next += 1;
            }
        }
        self.filtered = filtered;
        for (_, regressor) in linear.iter().zip(&self.columns[1..]) {
            let mut moved = regressor.clone();
            self.filter(coefficients, &mut moved);
            columns[next].clear();
            columns[next].extend(moved[self.skipped..].iter().map(|value| -value));
            next += 1;
        }
    }
}
