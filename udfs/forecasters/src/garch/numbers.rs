//! The estimated numbers of a model, and the unbounded ones the search moves instead.
//!
//! For `garch` and `gjr` the search moves the logarithm of the stationary variance, the logit of the
//! persistence (below one, so the variance stays stationary), and the logarithms of the shares that
//! the terms have of the persistence, which keeps every effect positive: that of positive errors as
//! well as that of negative ones. For `egarch` it moves the stationary level, the effects of size
//! and sign, and the partial autocorrelations of the level, which stay between -1 and 1; the sum of
//! the effects of size is kept positive, for with a negative one errors in an early variance grow
//! instead of dying out, and the likelihood is a thicket. Degrees of freedom are between 2.05 and
//! 500, searched by the logit of their reciprocal.

use super::{
    Body,
    form::{Form, Kind},
};
use crate::{
    math::{exp, ln},
    noise::{self, Noise},
};

const MOST_PERSISTENCE: f64 = 0.999_999;
const DEGREES: (f64, f64) = (2.05, 500.0);

/// The estimated numbers, as in [`super::recursion`].
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Numbers {
    pub(super) mean: f64,
    pub(super) terms: Vec<f64>,
    pub(super) constant: f64,
    pub(super) size: Vec<f64>,
    pub(super) sign: Vec<f64>,
    pub(super) carry: Vec<f64>,
    pub(super) degrees: f64,
}

/// A point to search from.
#[derive(Clone, Debug)]
pub(super) struct Guess(pub(super) Vec<f64>);

impl Numbers {
    /// What the point of a search stands for.
    pub(super) fn read(form: &Form, point: &[f64]) -> Numbers {
        let mut point = point.iter().copied();
        let mut next = || point.next().unwrap_or(0.0);
        let mean = if form.constant { next() } else { 0.0 };
        let terms: Vec<f64> = form.lags.iter().map(|_| next()).collect();
        let stationary = next();
        let (constant, size, sign, carry);
        match form.kind {
            Kind::Egarch => {
                let total = exp(next().clamp(-30.0, 30.0));
                let later: Vec<f64> = (1..form.p).map(|_| next()).collect();
                let first = total - later.iter().sum::<f64>();
                size = [&[first], later.as_slice()].concat();
                sign = (0..form.o).map(|_| next()).collect();
                let partial: Vec<f64> = (0..form.q).map(|_| tanh(next())).collect();
                carry = from_partial(&partial);
                constant = stationary * (1.0 - carry.iter().sum::<f64>());
            }
            Kind::Garch | Kind::Gjr => {
                let persistence = MOST_PERSISTENCE * logistic(next());
                let count = form.p + form.o + form.q;
                let reference = reference(form);
                let mut shares: Vec<f64> = (0..count)
                    .map(|index| {
                        if index == reference {
                            1.0
                        } else {
                            exp(next().clamp(-30.0, 30.0))
                        }
                    })
                    .collect();
                let sum: f64 = shares.iter().sum();
                shares
                    .iter_mut()
                    .for_each(|share| *share *= persistence / sum);
                let mut shares = shares.into_iter();
                let mut share = || shares.next().unwrap_or(0.0);
                // With a sign, a term is one of positive and one of negative errors, each half of
                // the time; without, it is one of both.
                let mut effects = vec![];
                let mut signed = vec![];
                for index in 0..form.p {
                    if index < form.o {
                        let (positive, negative) = (2.0 * share(), 2.0 * share());
                        effects.push(positive);
                        signed.push(negative - positive);
                    } else {
                        effects.push(share());
                    }
                }
                for _ in form.p..form.o {
                    signed.push(2.0 * share());
                }
                (size, sign) = (effects, signed);
                carry = (0..form.q).map(|_| share()).collect();
                constant = exp(stationary.clamp(-60.0, 60.0)) * (1.0 - persistence);
            }
        }
        let degrees = if form.errors == noise::Kind::StudentT {
            let (low, high) = (1.0 / DEGREES.1, 1.0 / DEGREES.0);
            1.0 / (low + (high - low) * logistic(next()))
        } else {
            f64::INFINITY
        };
        Numbers {
            mean,
            terms,
            constant,
            size,
            sign,
            carry,
            degrees,
        }
    }

    /// The mean of a return, from those before it.
    #[inline]
    pub(super) fn mean_of(&self, form: &Form, returns: &[f64], index: usize) -> f64 {
        form.lags
            .iter()
            .zip(&self.terms)
            .fold(self.mean, |sum, (lag, term)| {
                sum + term * returns[index - lag]
            })
    }

    /// Whether the autoregression of the mean dies out.
    pub(super) fn is_stable(&self, form: &Form) -> bool {
        let mut coefficients = vec![0.0; form.reach()];
        for (lag, term) in form.lags.iter().zip(&self.terms) {
            coefficients[lag - 1] = *term;
        }
        to_partial(&coefficients).is_some()
    }
}

impl Guess {
    /// The numbers of a fitted model of the same form, if it has any.
    pub(super) fn of(form: &Form, body: &Body, unit: f64) -> Option<Guess> {
        let variance = &body.variance;
        let lengths = [&variance.size, &variance.sign, &variance.carry].map(Vec::len);
        if variance.kind != form.kind || lengths != [form.p, form.o, form.q] {
            return None;
        }
        let ratio = body.unit / unit;
        let mut point = vec![];
        if form.constant {
            point.push(body.mean.constant * ratio);
        }
        point.extend(body.mean.terms.iter().map(|(_, coefficient)| coefficient));
        let carried: f64 = variance.carry.iter().sum();
        match form.kind {
            Kind::Egarch => {
                point.push(variance.constant / (1.0 - carried) + 2.0 * ln(ratio));
                point.push(ln(variance.size.iter().sum::<f64>().max(1e-3)));
                point.extend(variance.size[1..].iter().chain(&variance.sign));
                let partial = to_partial(&variance.carry)?;
                point.extend(partial.into_iter().map(inverse_tanh));
            }
            Kind::Garch | Kind::Gjr => {
                let mut shares = vec![];
                for (index, size) in variance.size.iter().enumerate() {
                    match variance.sign.get(index) {
                        Some(sign) => shares.extend([0.5 * size, 0.5 * (size + sign)]),
                        None => shares.push(*size),
                    }
                }
                let beyond = variance.sign.iter().skip(form.p);
                shares.extend(beyond.map(|sign| 0.5 * sign));
                shares.extend(&variance.carry);
                // What vanished may come back.
                shares.iter_mut().for_each(|share| *share = share.max(1e-4));
                let persistence = shares.iter().sum::<f64>().min(0.9999);
                point.push(ln(variance.constant / (1.0 - persistence)) + 2.0 * ln(ratio));
                point.push(logit(persistence / MOST_PERSISTENCE));
                point.extend(logarithms(form, &shares));
            }
        }
        if let Noise::StudentT { degrees, .. } = body.shocks {
            point.push(degrees_point(degrees));
        }
        let sound = point.len() == form.parameters() && point.iter().all(|x| x.is_finite());
        sound.then_some(Guess(point))
    }

    /// Guesses over the range of what returns of prices are like: where variances last, and where
    /// they do not.
    pub(super) fn grid(form: &Form, center: f64) -> [Vec<Guess>; 2] {
        let guesses = |carries: &[f64], effects: &[f64]| {
            let pairs = carries
                .iter()
                .flat_map(|carry| effects.iter().map(|effect| (*carry, *effect)));
            let pairs = pairs.filter(|(carry, effect)| {
                form.kind == Kind::Egarch || carry + effect < MOST_PERSISTENCE
            });
            pairs
                .map(|(carry, effect)| Guess::with(form, center, carry, effect))
                .collect()
        };
        if form.q == 0 {
            [guesses(&[0.0], &[0.1, 0.3]), guesses(&[0.0], &[0.6, 0.8])]
        } else {
            [
                guesses(&[0.92, 0.97], &[0.02, 0.05, 0.1]),
                guesses(&[0.3, 0.75], &[0.05, 0.1, 0.2]),
            ]
        }
    }

    /// A guess with so much carried over and such an effect of errors.
    fn with(form: &Form, center: f64, carry: f64, effect: f64) -> Guess {
        let mut point = vec![];
        if form.constant {
            point.push(center);
        }
        point.extend(form.lags.iter().map(|_| 0.0));
        // The unit is at most the deviation and more than half of it.
        point.push(0.5);
        match form.kind {
            Kind::Egarch => {
                let total = 2.0 * effect;
                point.push(ln(total));
                point.extend((1..form.p).map(|_| total / form.p as f64));
                point.extend((0..form.o).map(|_| 0.0));
                let carried = |lag| if lag == 0 { inverse_tanh(carry) } else { 0.0 };
                point.extend((0..form.q).map(carried));
            }
            Kind::Garch | Kind::Gjr => {
                let terms = form.p + form.o;
                let mut shares = vec![effect / terms as f64; terms];
                shares.extend((0..form.q).map(|_| carry / form.q as f64));
                point.push(logit((carry + effect) / MOST_PERSISTENCE));
                point.extend(logarithms(form, &shares));
            }
        }
        if form.errors == noise::Kind::StudentT {
            point.push(degrees_point(8.0));
        }
        Guess(point)
    }
}

/// The term whose share the others are measured by: one that is rarely zero.
fn reference(form: &Form) -> usize {
    if form.q > 0 { form.p + form.o } else { 0 }
}

/// The logarithms of the shares to that of the reference.
fn logarithms(form: &Form, shares: &[f64]) -> impl Iterator<Item = f64> {
    let reference = reference(form);
    let others = shares.iter().enumerate();
    others
        .filter(move |(index, _)| *index != reference)
        .map(move |(_, share)| ln(share / shares[reference]))
}

fn degrees_point(degrees: f64) -> f64 {
    let (low, high) = (1.0 / DEGREES.1, 1.0 / DEGREES.0);
    let share = (1.0 / degrees - low) / (high - low);
    logit(share.clamp(1e-3, 1.0 - 1e-3))
}

fn logistic(value: f64) -> f64 {
    1.0 / (1.0 + exp(-value))
}

fn logit(share: f64) -> f64 {
    ln(share / (1.0 - share))
}

fn tanh(value: f64) -> f64 {
    2.0 * logistic(2.0 * value) - 1.0
}

fn inverse_tanh(value: f64) -> f64 {
    let value = value.clamp(-0.999_999, 0.999_999);
    0.5 * ln((1.0 + value) / (1.0 - value))
}

/// The coefficients of the autoregression with these partial autocorrelations (Durbin and
/// Levinson; Barndorff-Nielsen and Schou 1973, equation 2).
fn from_partial(partial: &[f64]) -> Vec<f64> {
    let mut coefficients: Vec<f64> = Vec::with_capacity(partial.len());
    for last in partial {
        let before = coefficients.clone();
        for (coefficient, mirrored) in coefficients.iter_mut().zip(before.iter().rev()) {
            *coefficient -= last * mirrored;
        }
        coefficients.push(*last);
    }
    coefficients
}

/// The partial autocorrelations of an autoregression; `None` if it does not die out.
fn to_partial(coefficients: &[f64]) -> Option<Vec<f64>> {
    let mut coefficients = coefficients.to_vec();
    let mut partial = vec![];
    while let Some(last) = coefficients.pop() {
        if last.is_nan() || last.abs() >= 1.0 {
            return None;
        }
        partial.push(last);
        let before = coefficients.clone();
        for (coefficient, mirrored) in coefficients.iter_mut().zip(before.iter().rev()) {
            *coefficient = (*coefficient + last * mirrored) / (1.0 - last * last);
        }
    }
    partial.reverse();
    Some(partial)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_autocorrelations_and_coefficients_belong_together() {
        let partial = [0.9, -0.4, 0.2];
        let back = to_partial(&from_partial(&partial)).unwrap();
        for (found, expected) in back.iter().zip(partial) {
            assert!((found - expected).abs() < 1e-14);
        }
        // x = 0.5 x(-1) + 0.6 x(-2) grows.
        assert_eq!(to_partial(&[0.5, 0.6]), None);
        assert!(to_partial(&[0.5, 0.4]).is_some());
    }
}
