//! The orders of a model and its polynomials in the backshift operator.
//!
//! The conventions are those of Box and Jenkins: `phi(B) = 1 - phi_1 B - …`, `theta(B) = 1 +
//! theta_1 B + …`, and seasonal polynomials alike in `B^m`.

use serde::{Deserialize, Serialize};

use crate::{errors::StateError, state::corrupt};

/// ARIMA(p,d,q)(P,D,Q) with season length m.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Orders {
    /// p, d and q.
    #[serde(rename = "order")]
    pub(crate) ordinary: [usize; 3],
    /// P, D and Q.
    #[serde(rename = "seasonal_order")]
    pub(crate) seasonal: [usize; 3],
    /// m; 1 where nothing is seasonal.
    #[serde(rename = "season_length")]
    pub(crate) season: usize,
}

/// The most lags of an ordinary polynomial.
pub(crate) const MOST_LAGS: usize = 30;
/// The most lags of a seasonal polynomial, in seasons.
pub(crate) const MOST_SEASONAL_LAGS: usize = 10;
/// The longest season.
pub(crate) const LONGEST_SEASON: usize = 1_000;
/// The most observations a model looks back.
pub(crate) const LONGEST_STATE: usize = 1_200;
/// The most differences of either kind.
pub(crate) const MOST_DIFFERENCES: usize = 2;

impl Orders {
    /// The number of coefficients, without constant and regressors.
    pub(crate) fn coefficients(&self) -> usize {
        self.ordinary[0] + self.ordinary[2] + self.seasonal[0] + self.seasonal[2]
    }

    /// The lags of the autoregressive polynomial, multiplied out.
    pub(crate) fn ar_lags(&self) -> usize {
        self.ordinary[0] + self.season * self.seasonal[0]
    }

    /// The lags of the moving-average polynomial, multiplied out.
    pub(crate) fn ma_lags(&self) -> usize {
        self.ordinary[2] + self.season * self.seasonal[2]
    }

    /// The observations that differencing uses up.
    pub(crate) fn lost(&self) -> usize {
        self.ordinary[1] + self.season * self.seasonal[1]
    }

    /// The length of the state of the series.
    pub(crate) fn reach(&self) -> usize {
        (self.ar_lags() + self.lost()).max(self.ma_lags())
    }

    /// Differences of either kind.
    pub(crate) fn differences(&self) -> usize {
        self.ordinary[1] + self.seasonal[1]
    }

    /// Splits coefficients into those of phi, theta, and the two seasonal polynomials.
    pub(crate) fn split<'a>(&self, coefficients: &'a [f64]) -> [&'a [f64]; 4] {
        let (ar, rest) = coefficients.split_at(self.ordinary[0]);
        let (ma, rest) = rest.split_at(self.ordinary[2]);
        let (seasonal_ar, seasonal_ma) = rest.split_at(self.seasonal[0]);
        [ar, ma, seasonal_ar, seasonal_ma]
    }

    /// Whether models of these orders are fitted.
    pub(crate) fn within_bounds(&self) -> bool {
        let [p, d, q] = self.ordinary;
        let [seasonal_p, seasonal_d, seasonal_q] = self.seasonal;
        p <= MOST_LAGS
            && q <= MOST_LAGS
            && d <= MOST_DIFFERENCES
            && seasonal_p <= MOST_SEASONAL_LAGS
            && seasonal_q <= MOST_SEASONAL_LAGS
            && seasonal_d <= MOST_DIFFERENCES
            && (1..=LONGEST_SEASON).contains(&self.season)
            && (self.season > 1 || self.seasonal == [0; 3])
            && self.reach() <= LONGEST_STATE
    }

    /// Refuses orders from a damaged state.
    pub(crate) fn check(&self) -> Result<(), StateError> {
        if self.within_bounds() {
            Ok(())
        } else {
            Err(corrupt("the orders are beyond what is fitted"))
        }
    }
}

/// The polynomials of a model, multiplied out. Index k holds the coefficient of lag k + 1.
#[derive(Clone, Debug)]
pub(crate) struct Lags {
    /// phi(B) Phi(B^m), zeros at the end so that it is as long as the state of the differences.
    pub(crate) ar: Vec<f64>,
    /// theta(B) Theta(B^m), as long.
    pub(crate) ma: Vec<f64>,
    /// The lags and coefficients of `ar` that are not zero.
    pub(crate) sparse_ar: Vec<(usize, f64)>,
    /// Those of `ma`.
    pub(crate) sparse_ma: Vec<(usize, f64)>,
}

impl Lags {
    pub(crate) fn new(orders: &Orders, coefficients: &[f64]) -> Lags {
        let [ar, ma, seasonal_ar, seasonal_ma] = orders.split(coefficients);
        let length = orders.ar_lags().max(orders.ma_lags());
        let ar = multiplied(ar, seasonal_ar, orders.season, -1.0, length);
        let ma = multiplied(ma, seasonal_ma, orders.season, 1.0, length);
        let sparse = |dense: &[f64]| {
            let lags = dense.iter().enumerate();
            lags.filter(|(_, value)| **value != 0.0)
                .map(|(index, value)| (index + 1, *value))
                .collect()
        };
        Lags {
            sparse_ar: sparse(&ar),
            sparse_ma: sparse(&ma),
            ar,
            ma,
        }
    }

    /// The length of the state of the differences.
    pub(crate) fn len(&self) -> usize {
        self.ar.len()
    }

    /// The autoregressive polynomial of the undifferenced series: phi Phi (1-B)^d (1-B^m)^D,
    /// padded to the length of the state of the series.
    pub(crate) fn undifferenced(&self, orders: &Orders) -> Vec<f64> {
        let length = orders.reach();
        let mut full = vec![0.0; length + 1];
        full[0] = 1.0;
        for (lag, value) in &self.sparse_ar {
            full[*lag] = -value;
        }
        let mut multiply = |span: usize| {
            for index in (span..full.len()).rev() {
                full[index] -= full[index - span];
            }
        };
        (0..orders.ordinary[1]).for_each(|_| multiply(1));
        (0..orders.seasonal[1]).for_each(|_| multiply(orders.season));
        full[1..].iter().map(|value| 0.0 - value).collect()
    }
}

/// The product of 1 + sign sum a_j B^j and 1 + sign sum b_j B^(mj), in the same form, zeros at the
/// end.
fn multiplied(
    ordinary: &[f64],
    seasonal: &[f64],
    season: usize,
    sign: f64,
    length: usize,
) -> Vec<f64> {
    let mut product = vec![0.0; length];
    product[..ordinary.len()].copy_from_slice(ordinary);
    for (index, coefficient) in seasonal.iter().enumerate() {
        let lag = (index + 1) * season;
        product[lag - 1] += coefficient;
        for (index, value) in ordinary.iter().enumerate() {
            product[lag + index] += sign * coefficient * value;
        }
    }
    product
}

/// The polynomial (1-B)^d (1-B^m)^D of differencing as the prediction it makes: the next value is
/// the sum of these times the values 1, 2, … steps before it.
pub(crate) fn differencing(orders: &Orders) -> Vec<f64> {
    let none = Orders {
        ordinary: [0, orders.ordinary[1], 0],
        seasonal: [0, orders.seasonal[1], 0],
        season: orders.season,
    };
    Lags::new(&none, &[]).undifferenced(&none)
}

/// The series differenced d times at lag 1 and D times at lag m.
pub(crate) fn difference(values: &[f64], orders: &Orders) -> Vec<f64> {
    let mut values = values.to_vec();
    let mut apply = |span: usize| {
        values = (span..values.len())
            .map(|index| values[index] - values[index - span])
            .collect();
    };
    (0..orders.seasonal[1]).for_each(|_| apply(orders.season));
    (0..orders.ordinary[1]).for_each(|_| apply(1));
    values
}

/// The partial autocorrelations of an autoregression, or nothing if it is not stationary: Durbin
/// and Levinson's recursion backwards.
pub(crate) fn partials(coefficients: &[f64]) -> Option<Vec<f64>> {
    let mut current = coefficients.to_vec();
    for order in (1..=current.len()).rev() {
        let last = current[order - 1];
        if last.is_nan() || last.abs() >= 1.0 {
            return None;
        }
        let rest = 1.0 - last * last;
        let (mut left, mut right) = (0, order - 1);
        while left + 1 < right {
            let (low, high) = (current[left], current[right - 1]);
            current[left] = (low + last * high) / rest;
            current[right - 1] = (high + last * low) / rest;
            left += 1;
            right -= 1;
        }
        if left + 1 == right {
            current[left] = current[left] * (1.0 + last) / rest;
        }
    }
    Some(current)
}

/// The coefficients of the autoregression with these partial autocorrelations (Jones 1980,
/// Monahan 1984).
pub(crate) fn from_partials(partials: &[f64]) -> Vec<f64> {
    let mut current = partials.to_vec();
    for order in 2..=current.len() {
        let last = current[order - 1];
        let (mut left, mut right) = (0, order - 1);
        while left + 1 < right {
            let (low, high) = (current[left], current[right - 1]);
            current[left] = low - last * high;
            current[right - 1] = high - last * low;
            left += 1;
            right -= 1;
        }
        if left + 1 == right {
            current[left] -= last * current[left];
        }
    }
    current
}

/// Whether no root of 1 - sum a_j z^j is closer to the origin than `radius`.
pub(crate) fn roots_beyond(coefficients: &[f64], radius: f64) -> bool {
    let mut power = 1.0;
    let scaled: Vec<f64> = coefficients
        .iter()
        .map(|value| {
            power *= radius;
            value * power
        })
        .collect();
    partials(&scaled).is_some()
}

/// The bound of a partial autocorrelation.
pub(crate) const MOST_PARTIAL: f64 = 0.9999;

/// The coefficients of the stationary and invertible model whose polynomials have these partial
/// autocorrelations.
pub(crate) fn from_all_partials(orders: &Orders, partials: &[f64]) -> Vec<f64> {
    let mut coefficients = Vec::with_capacity(partials.len());
    for (index, part) in orders.split(partials).into_iter().enumerate() {
        let inner: Vec<f64> = part
            .iter()
            .map(|partial| partial.clamp(-MOST_PARTIAL, MOST_PARTIAL))
            .collect();
        let sign = if index % 2 == 0 { 1.0 } else { -1.0 };
        coefficients.extend(from_partials(&inner).into_iter().map(|value| sign * value));
    }
    coefficients
}

/// The partial autocorrelations of the polynomials of coefficients; one with roots within the unit
/// circle is first drawn towards zero until it has none.
pub(crate) fn all_partials(orders: &Orders, coefficients: &[f64]) -> Vec<f64> {
    let mut partials = Vec::with_capacity(coefficients.len());
    for (index, part) in orders.split(coefficients).into_iter().enumerate() {
        let sign = if index % 2 == 0 { 1.0 } else { -1.0 };
        let inner = drawn_in(part, sign, 1.0);
        let inner = inner.map_or_else(|| vec![0.0; part.len()], |(_, inner)| inner);
        partials.extend(
            inner
                .into_iter()
                .map(|partial| partial.clamp(-MOST_PARTIAL, MOST_PARTIAL)),
        );
    }
    partials
}

/// Coefficients drawn towards zero until their roots lie beyond `radius`.
pub(crate) fn admissible(orders: &Orders, coefficients: &[f64], radius: f64) -> Vec<f64> {
    let mut within = Vec::with_capacity(coefficients.len());
    for (index, part) in orders.split(coefficients).into_iter().enumerate() {
        let sign = if index % 2 == 0 { 1.0 } else { -1.0 };
        match drawn_in(part, sign, radius) {
            Some((part, _)) => within.extend(part),
            None => within.extend(part.iter().map(|_| 0.0)),
        }
    }
    within
}

/// The part and its partial autocorrelations, after at most 60 steps towards zero.
fn drawn_in(part: &[f64], sign: f64, radius: f64) -> Option<(Vec<f64>, Vec<f64>)> {
    let mut part = part.to_vec();
    for _ in 0..60 {
        let signed: Vec<f64> = part.iter().map(|value| sign * value).collect();
        if roots_beyond(&signed, radius)
            && let Some(inner) = partials(&signed)
        {
            return Some((part, inner));
        }
        let mut power = 1.0;
        for value in &mut part {
            power *= 0.9;
            *value *= power;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
    }

    #[test]
    fn polynomials_are_multiplied_by_hand() {
        let orders = Orders {
            ordinary: [1, 1, 1],
            seasonal: [1, 0, 1],
            season: 3,
        };
        // (1 - 0.5 B)(1 - 0.2 B^3) and (1 + 0.4 B)(1 - 0.3 B^3).
        let lags = Lags::new(&orders, &[0.5, 0.4, 0.2, -0.3]);
        near(&lags.ar, &[0.5, 0.0, 0.2, -0.1]);
        near(&lags.ma, &[0.4, 0.0, -0.3, -0.12]);
        // Times 1 - B.
        near(&lags.undifferenced(&orders), &[1.5, -0.5, 0.2, -0.3, 0.1]);
        near(&differencing(&orders), &[1.0]);
    }

    #[test]
    fn differences_are_what_the_polynomial_leaves() {
        let orders = Orders {
            ordinary: [0, 1, 0],
            seasonal: [0, 1, 0],
            season: 4,
        };
        let values: Vec<f64> = (0..20).map(|t| f64::from(t * t % 13)).collect();
        let weights = differencing(&orders);
        let expected: Vec<f64> = (5..20)
            .map(|t| {
                let predicted: f64 = (0..5).map(|k| weights[k] * values[t - 1 - k]).sum();
                values[t] - predicted
            })
            .collect();
        near(&difference(&values, &orders), &expected);
    }

    #[test]
    fn partial_autocorrelations_go_there_and_back() {
        let inner = [0.7, -0.4, 0.3, 0.2, -0.9];
        near(&partials(&from_partials(&inner)).unwrap(), &inner);
        // Roots of 1 - 1.5 z + 0.5 z^2 are 1 and 2.
        assert!(partials(&[1.5, -0.5]).is_none());
        assert!(roots_beyond(&[1.4, -0.45], 1.1) && !roots_beyond(&[1.4, -0.45], 1.2));
    }

    #[test]
    fn partial_autocorrelations_stand_for_the_coefficients() {
        let orders = Orders {
            ordinary: [2, 0, 2],
            seasonal: [1, 0, 1],
            season: 4,
        };
        let coefficients = [0.5, -0.3, -0.4, 0.2, 0.6, -0.7];
        near(
            &from_all_partials(&orders, &all_partials(&orders, &coefficients)),
            &coefficients,
        );
        let explosive = [1.2, 0.3, -1.4, 0.0, 1.6, -2.0];
        let drawn = from_all_partials(&orders, &all_partials(&orders, &explosive));
        let [ar, ma, seasonal_ar, seasonal_ma] = orders.split(&drawn);
        assert!(partials(ar).is_some() && partials(seasonal_ar).is_some());
        let negated = |part: &[f64]| part.iter().map(|v| -v).collect::<Vec<_>>();
        assert!(partials(&negated(ma)).is_some() && partials(&negated(seasonal_ma)).is_some());
    }
}
