//! The exact Gaussian likelihood's filter: columns in, independent errors of equal variance out.
//!
//! In innovations form the state of an ARMA process of variance one holds what is already known of
//! the next values: `x_1` is the prediction, an observation y with error v = y - x_1 moves it to
//! `x_i <- x_(i+1) + phi_i x_1 + g_i v`. The gain g settles at `phi_i + theta_i`. From a stationary
//! beginning the covariance of what is not known of the state changes by a matrix of rank one at a
//! time, so that g, one vector w and the variance F of the errors say all of it (Morf, Sidhu and
//! Kailath 1974; for ARMA models Melard 1984, algorithm AS 197):
//!
//! ```text
//! k = w_1,  u_i = phi_i k + w_(i+1),  F <- F (1 - k^2)
//! g <- (g - k u) / (1 - k^2),  w <- (u - k g) / (1 - k^2)
//! ```
//!
//! Once F has been within [`SETTLED`] of one for as many steps as the state is long, what is left
//! is the recursion of the errors alone. Where observations are missing, that covariance D is
//! carried along in full, with the polynomial of the undifferenced series; its recursion is
//! `D <- L (D - d d'/F) L'` at an observation, with `F = 1 + D_11`, d the first column, and L the
//! companion matrix of -theta, and `D <- T D T' + K K'` where there is none (Durbin and Koopman,
//! *Time Series Analysis by State Space Methods*, 2.7 and 4.3).
//!
//! Regressors pass through the same filter, so that generalised least squares is least squares on
//! what comes out.

use super::orders::{Lags, Orders, differencing, partials};
use crate::math::ln;

/// Where the variance of the errors is this close to one, it is one.
pub(crate) const SETTLED: f64 = 1e-11;

/// What the filter made of some columns.
#[derive(Clone, Debug, Default)]
pub(crate) struct Whitened {
    /// The columns, as errors of equal variance.
    pub(crate) columns: Vec<Vec<f64>>,
    /// The logarithm of the product of the variances.
    pub(crate) log_determinant: f64,
}

/// The product of many numbers from one up, as a logarithm.
struct LogProduct {
    product: f64,
    logarithm: f64,
}

impl LogProduct {
    fn new() -> LogProduct {
        LogProduct {
            product: 1.0,
            logarithm: 0.0,
        }
    }

    #[inline]
    fn multiply(&mut self, factor: f64) {
        self.product *= factor;
        if self.product > 1e150 {
            self.logarithm += ln(self.product);
            self.product = 1.0;
        }
    }

    fn logarithm(&self) -> f64 {
        self.logarithm + ln(self.product)
    }
}

/// The gain on its way from a stationary beginning to where it settles.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settling {
    /// g.
    pub(crate) gain: Vec<f64>,
    /// w.
    pub(crate) change: Vec<f64>,
    /// F.
    pub(crate) variance: f64,
    /// For how many steps F has been as good as one.
    pub(crate) calm: usize,
}

/// The first column of the covariance of the state at a stationary beginning, or nothing if there
/// is none.
fn first_column(lags: &Lags) -> Option<Vec<f64>> {
    let length = lags.len();
    let mut column = vec![0.0; length];
    if lags.sparse_ar.is_empty() {
        // cov(x_j, x_1) = sum over k from j of theta_k theta_(k+1-j).
        for (lag, value) in &lags.sparse_ma {
            for (other, second) in &lags.sparse_ma {
                if lag >= other {
                    column[lag - other] += value * second;
                }
            }
        }
        return Some(column);
    }
    let covariances = autocovariances(lags)?;
    let weights = psi_weights(&lags.ar, &lags.sparse_ma, length);
    for (lag, value) in &lags.sparse_ar {
        for (index, entry) in column[..*lag].iter_mut().enumerate() {
            *entry += value * covariances[lag - index];
        }
    }
    for (lag, value) in &lags.sparse_ma {
        for (index, entry) in column[..*lag].iter_mut().enumerate() {
            *entry += value * weights[lag - index];
        }
    }
    column
        .iter()
        .all(|entry| entry.is_finite())
        .then_some(column)
}

/// The weights of past errors, from that of the present one, which is 1, to that of `steps` ago.
fn psi_weights(ar: &[f64], ma: &[(usize, f64)], steps: usize) -> Vec<f64> {
    let mut weights = vec![0.0; steps + 1];
    weights[0] = 1.0;
    for (lag, value) in ma {
        if *lag <= steps {
            weights[*lag] = *value;
        }
    }
    for index in 1..=steps {
        let reach = index.min(ar.len());
        let sum: f64 = ar[..reach]
            .iter()
            .zip(weights[index - reach..index].iter().rev())
            .map(|(left, right)| left * right)
            .sum();
        weights[index] += sum;
    }
    weights
}

/// The autocovariances of an ARMA process of error variance one, at lags 0 to the length of its
/// state: those of the autoregression by Levinson's recursion, then the moving average of them.
fn autocovariances(lags: &Lags) -> Option<Vec<f64>> {
    let ar_lags = lags.sparse_ar.last().map_or(0, |(lag, _)| *lag);
    let ma_lags = lags.sparse_ma.last().map_or(0, |(lag, _)| *lag);
    let inner = partials(&lags.ar[..ar_lags])?;
    let mut plain = vec![0.0; lags.len() + ma_lags + 1];
    let mut variance: f64 = inner.iter().map(|r| 1.0 / (1.0 - r * r)).product();
    plain[0] = variance;
    let mut current: Vec<f64> = Vec::with_capacity(ar_lags);
    for (index, partial) in inner.iter().enumerate() {
        let known: f64 = current
            .iter()
            .zip(plain[1..=index].iter().rev())
            .map(|(left, right)| left * right)
            .sum();
        plain[index + 1] = known + partial * variance;
        variance *= 1.0 - partial * partial;
        let (mut left, mut right) = (0, index);
        while left + 1 < right {
            let (low, high) = (current[left], current[right - 1]);
            current[left] = low - partial * high;
            current[right - 1] = high - partial * low;
            left += 1;
            right -= 1;
        }
        if left + 1 == right {
            current[left] -= partial * current[left];
        }
        current.push(*partial);
    }
    for index in ar_lags + 1..plain.len() {
        plain[index] = lags
            .sparse_ar
            .iter()
            .map(|(lag, value)| value * plain[index - lag])
            .sum();
    }
    if ma_lags == 0 {
        return Some(plain);
    }
    let taps = || std::iter::once((0, 1.0)).chain(lags.sparse_ma.iter().copied());
    let mut products = vec![0.0; ma_lags + 1];
    for (lag, value) in taps() {
        for (other, second) in taps().take_while(|(other, _)| *other <= lag) {
            products[lag - other] += value * second;
        }
    }
    let filtered = (0..=lags.len()).map(|lag| {
        let mut sum = products[0] * plain[lag];
        for (shift, product) in products.iter().enumerate().skip(1) {
            if *product != 0.0 {
                sum += product * (plain[lag + shift] + plain[lag.abs_diff(shift)]);
            }
        }
        sum
    });
    Some(filtered.collect())
}

impl Settling {
    /// The stationary beginning, or nothing if there is none.
    pub(crate) fn start(lags: &Lags) -> Option<Settling> {
        let column = first_column(lags)?;
        let length = lags.len();
        let variance = 1.0 + column.first().copied().unwrap_or(0.0);
        let gain: Vec<f64> = (0..length)
            .map(|index| {
                let next = column.get(index + 1).copied().unwrap_or(0.0);
                lags.ar[index] + (next + lags.ma[index]) / variance
            })
            .collect();
        Some(Settling {
            change: gain.clone(),
            gain,
            variance,
            calm: 0,
        })
    }

    /// Whether the gain has arrived.
    pub(crate) fn is_settled(&self) -> bool {
        self.calm > self.gain.len()
    }

    /// To the next step.
    #[inline]
    pub(crate) fn step(&mut self, lags: &Lags) {
        let length = self.gain.len();
        let first = self.change.first().copied().unwrap_or(0.0);
        let inverse = 1.0 / (1.0 - first * first);
        // The last element has nothing behind it; the others are moved in a loop without branches.
        if let Some(last) = length.checked_sub(1) {
            let (gain, change, ar) = (
                &mut self.gain[..length],
                &mut self.change[..length],
                &lags.ar[..length],
            );
            for index in 0..last {
                let moved = ar[index] * first + change[index + 1];
                let old = gain[index];
                gain[index] = (old - first * moved) * inverse;
                change[index] = (moved - first * old) * inverse;
            }
            let (moved, old) = (ar[last] * first, gain[last]);
            gain[last] = (old - first * moved) * inverse;
            change[last] = (moved - first * old) * inverse;
        }
        self.variance *= 1.0 - first * first;
        self.calm = if self.variance - 1.0 < SETTLED {
            self.calm + 1
        } else {
            0
        };
    }

    /// D, in the leading square of a matrix with `width` columns. Its first column is in the gain
    /// and the variance, and each next diagonal element in how the one before it changes.
    pub(crate) fn covariance(&self, lags: &Lags, width: usize) -> Vec<f64> {
        let length = self.gain.len();
        let mut covariance = vec![0.0; width * width];
        if length == 0 {
            return covariance;
        }
        covariance[0] = self.variance - 1.0;
        for (index, value) in covariance[1..length].iter_mut().enumerate() {
            *value = (self.gain[index] - lags.ar[index]) * self.variance - lags.ma[index];
        }
        let edge = covariance[..length].to_vec();
        for row in 1..length {
            for column in row..length {
                let (i, j) = (row - 1, column - 1);
                let settled = (lags.ar[i] + lags.ma[i]) * (lags.ar[j] + lags.ma[j]);
                covariance[row * width + column] = covariance[i * width + j]
                    - self.variance
                        * (self.change[i] * self.change[j] - self.gain[i] * self.gain[j])
                    - lags.ar[i] * lags.ar[j] * edge[0]
                    - lags.ar[i] * edge[column]
                    - lags.ar[j] * edge[row]
                    - settled;
            }
        }
        mirror(&mut covariance, width);
        covariance
    }
}

/// Filters columns of differences without gaps; nothing if the model is not stationary.
pub(crate) fn whiten(lags: &Lags, columns: &[&[f64]], out: &mut Whitened) -> Option<()> {
    let count = columns[0].len();
    let length = lags.len();
    let mut settling = Settling::start(lags)?;
    out.columns.resize_with(columns.len(), Vec::new);
    out.columns.truncate(columns.len());
    for column in &mut out.columns {
        column.clear();
        column.resize(count, 0.0);
    }
    // One element more than the state is long, always zero: what moves in.
    let stride = length + 1;
    let mut states = vec![0.0; columns.len() * stride];
    let mut determinant = LogProduct::new();
    let mut time = 0;
    while time < count && !settling.is_settled() {
        let root = 1.0 / settling.variance.sqrt();
        determinant.multiply(settling.variance);
        for ((state, column), out) in states
            .chunks_exact_mut(stride)
            .zip(columns)
            .zip(&mut out.columns)
        {
            let predicted = state[0];
            let error = column[time] - predicted;
            out[time] = error * root;
            let (ar, gain) = (&lags.ar[..length], &settling.gain[..length]);
            let state = &mut state[..=length];
            for index in 0..length {
                state[index] = state[index + 1] + ar[index] * predicted + gain[index] * error;
            }
        }
        settling.step(lags);
        time += 1;
    }
    for ((state, column), out) in states
        .chunks_exact(stride)
        .zip(columns)
        .zip(&mut out.columns)
    {
        finish(lags, &column[time..], &state[..length], &mut out[time..]);
    }
    out.log_determinant = determinant.logarithm();
    out.log_determinant.is_finite().then_some(())
}

/// The errors once the gain has settled, from the state there.
fn finish(lags: &Lags, values: &[f64], state: &[f64], errors: &mut [f64]) {
    let count = values.len();
    errors.copy_from_slice(values);
    for (error, known) in errors.iter_mut().zip(state) {
        *error -= known;
    }
    for (lag, coefficient) in &lags.sparse_ar {
        if *lag < count {
            for (error, past) in errors[*lag..].iter_mut().zip(values) {
                *error -= coefficient * past;
            }
        }
    }
    recurse(&lags.sparse_ma, errors);
}

/// Divides by 1 + sum of these coefficients and powers of B, from zeros.
pub(crate) fn recurse(taps: &[(usize, f64)], errors: &mut [f64]) {
    match taps {
        [] => {}
        [(1, first)] => {
            let mut last = 0.0;
            for error in errors {
                last = *error - first * last;
                *error = last;
            }
        }
        [(1, first), (2, second)] => {
            let (mut last, mut before) = (0.0, 0.0);
            for error in errors {
                (last, before) = (*error - second * before - first * last, last);
                *error = last;
            }
        }
        [(1, first), (2, second), (3, third)] => {
            let (mut last, mut before, mut third_last) = (0.0, 0.0, 0.0);
            for error in errors {
                let next = *error - third * third_last - second * before - first * last;
                (last, before, third_last) = (next, last, before);
                *error = last;
            }
        }
        _ => {
            let longest = taps.last().map_or(0, |(lag, _)| *lag);
            for time in 0..errors.len() {
                let mut error = errors[time];
                if time >= longest {
                    for (lag, coefficient) in taps.iter().rev() {
                        error -= coefficient * errors[time - lag];
                    }
                } else {
                    for (lag, coefficient) in taps.iter().rev() {
                        if *lag <= time {
                            error -= coefficient * errors[time - lag];
                        }
                    }
                }
                errors[time] = error;
            }
        }
    }
}

/// The covariance D of what is not known of the undifferenced series' state, and the polynomials
/// that move it.
#[derive(Clone, Debug)]
pub(crate) struct Moves {
    /// phi Phi (1-B)^d (1-B^m)^D, as long as the state.
    pub(crate) ar: Vec<f64>,
    /// theta Theta, as long.
    pub(crate) ma: Vec<f64>,
}

impl Moves {
    pub(crate) fn new(orders: &Orders, lags: &Lags) -> Moves {
        let ar = lags.undifferenced(orders);
        let mut ma = lags.ma.clone();
        ma.resize(ar.len(), 0.0);
        Moves { ar, ma }
    }

    pub(crate) fn len(&self) -> usize {
        self.ar.len()
    }

    /// By how much the gain at an observation exceeds the settled one.
    pub(crate) fn surplus(&self, covariance: &[f64], surplus: &mut [f64]) {
        let length = self.len();
        let Some(first) = covariance.first() else {
            return;
        };
        let inverse = 1.0 / (1.0 + first);
        for (index, value) in surplus.iter_mut().enumerate() {
            let next = if index + 1 < length {
                covariance[index + 1]
            } else {
                0.0
            };
            *value = (next - self.ma[index] * first) * inverse;
        }
    }

    /// D after an observation.
    pub(crate) fn observe(&self, covariance: &mut [f64]) {
        let length = self.len();
        if length == 0 {
            return;
        }
        let inverse = 1.0 / (1.0 + covariance[0]);
        let edge: Vec<f64> = covariance[..length].to_vec();
        let reduced_first = edge[0] * inverse;
        let next = |index: usize| {
            if index + 1 < length {
                edge[index + 1]
            } else {
                0.0
            }
        };
        for row in 0..length {
            for column in row..length {
                let inside = if column + 1 < length {
                    covariance[(row + 1) * length + column + 1]
                        - edge[row + 1] * edge[column + 1] * inverse
                } else {
                    0.0
                };
                let value = self.ma[row] * self.ma[column] * reduced_first
                    - self.ma[row] * next(column) * inverse
                    - self.ma[column] * next(row) * inverse
                    + inside;
                covariance[row * length + column] = value;
            }
        }
        mirror(covariance, length);
    }

    /// D after a step without an observation.
    pub(crate) fn miss(&self, covariance: &mut [f64]) {
        let length = self.len();
        if length == 0 {
            return;
        }
        let edge: Vec<f64> = covariance[..length].to_vec();
        let next = |index: usize| {
            if index + 1 < length {
                edge[index + 1]
            } else {
                0.0
            }
        };
        for row in 0..length {
            for column in row..length {
                let inside = if column + 1 < length {
                    covariance[(row + 1) * length + column + 1]
                } else {
                    0.0
                };
                let gain = (self.ar[row] + self.ma[row]) * (self.ar[column] + self.ma[column]);
                covariance[row * length + column] = self.ar[row] * self.ar[column] * edge[0]
                    + self.ar[row] * next(column)
                    + self.ar[column] * next(row)
                    + inside
                    + gain;
            }
        }
        mirror(covariance, length);
    }
}

fn mirror(covariance: &mut [f64], length: usize) {
    for row in 1..length {
        for column in 0..row {
            covariance[row * length + column] = covariance[column * length + row];
        }
    }
}

/// What the first `lost` values say of the state that follows them, were all differences to come
/// zero.
pub(crate) fn first_state(orders: &Orders, moves: &Moves, first: &[f64]) -> Vec<f64> {
    let weights = differencing(orders);
    let mut path = first.to_vec();
    for _ in 0..moves.len() {
        let next = weights
            .iter()
            .zip(path.iter().rev())
            .map(|(left, right)| left * right)
            .sum();
        path.push(next);
    }
    let ahead = &path[first.len()..];
    (0..moves.len())
        .map(|index| {
            let known: f64 = moves.ar[..index]
                .iter()
                .zip(ahead[..index].iter().rev())
                .map(|(left, right)| left * right)
                .sum();
            ahead[index] - known
        })
        .collect()
}

/// Filters columns of the undifferenced series where the rows that are not observed are skipped.
/// The first `lost` rows of a column are where it begins, missing or not.
pub(crate) fn whiten_with_gaps(
    orders: &Orders,
    lags: &Lags,
    columns: &[&[f64]],
    observed: &[bool],
    out: &mut Whitened,
) -> Option<()> {
    let moves = Moves::new(orders, lags);
    let (length, lost, count) = (moves.len(), orders.lost(), observed.len());
    let mut covariance = Settling::start(lags)?.covariance(lags, length);
    let mut settled = 0;
    out.columns.resize_with(columns.len(), Vec::new);
    out.columns.truncate(columns.len());
    out.columns.iter_mut().for_each(Vec::clear);
    let mut states: Vec<Vec<f64>> = columns
        .iter()
        .map(|column| first_state(orders, &moves, &column[..lost]))
        .collect();
    let mut surplus = vec![0.0; length];
    let mut determinant = LogProduct::new();
    for time in lost..count {
        let variance = if settled > length {
            1.0
        } else {
            1.0 + covariance.first().copied().unwrap_or(0.0)
        };
        if settled <= length {
            moves.surplus(&covariance, &mut surplus);
        } else {
            surplus.fill(0.0);
        }
        let root = 1.0 / variance.sqrt();
        for ((state, column), out) in states.iter_mut().zip(columns).zip(&mut out.columns) {
            let predicted = state.first().copied().unwrap_or(0.0);
            let (value, error) = if observed[time] {
                out.push((column[time] - predicted) * root);
                (column[time], column[time] - predicted)
            } else {
                (predicted, 0.0)
            };
            shift(state, &moves, &surplus, value, error);
        }
        if observed[time] {
            determinant.multiply(variance);
            if settled <= length {
                moves.observe(&mut covariance);
                settled = if covariance.first().copied().unwrap_or(0.0) < SETTLED {
                    settled + 1
                } else {
                    0
                };
            }
        } else {
            if settled > length {
                covariance.fill(0.0);
            }
            moves.miss(&mut covariance);
            settled = 0;
        }
    }
    out.log_determinant = determinant.logarithm();
    out.log_determinant.is_finite().then_some(())
}

/// Moves a state of the undifferenced series on by a value and its error.
#[inline]
pub(crate) fn shift(state: &mut [f64], moves: &Moves, surplus: &[f64], value: f64, error: f64) {
    let length = state.len();
    for index in 0..length {
        let next = if index + 1 < length {
            state[index + 1]
        } else {
            0.0
        };
        state[index] = next + moves.ar[index] * value + (moves.ma[index] + surplus[index]) * error;
    }
}
