//! The recursions: one step, and the loss of a whole history.
//!
//! Hyndman, Koehler, Ord and Snyder (2008), tables 2.2 and 2.3. Their error-correction forms for
//! additive and for multiplicative errors are the same recursion once the error is written as the
//! observation less its prediction; the kind of error decides the likelihood only.

use super::form::{Form, Kind};
use crate::math::{ln, pow};

/// The smoothing parameters. Without trend beta is 0, without damping phi is 1, without season
/// gamma is 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Smoothing {
    pub(crate) alpha: f64,
    pub(crate) beta: f64,
    pub(crate) gamma: f64,
    pub(crate) phi: f64,
}

pub(crate) const NONE: u8 = 0;
pub(crate) const ADDITIVE: u8 = 1;
pub(crate) const MULTIPLICATIVE: u8 = 2;

/// Calls a function that is generic over relative errors, trend and season (and what is in brackets)
/// with those of a form.
macro_rules! by_form {
    ($form:expr, $function:ident $([$more:tt])? ( $($argument:expr),* $(,)? )) => {{
        use $crate::ets::form::Kind as K;
        use $crate::ets::recursion::{ADDITIVE as A, MULTIPLICATIVE as M, NONE as N};
        let form = $form;
        match (form.relative, form.trend, form.season) {
            (false, K::None, K::None) => $function::<false, N, N $(, $more)?>($($argument),*),
            (false, K::None, K::Additive) => $function::<false, N, A $(, $more)?>($($argument),*),
            (false, K::None, K::Multiplicative) => $function::<false, N, M $(, $more)?>($($argument),*),
            (false, K::Additive, K::None) => $function::<false, A, N $(, $more)?>($($argument),*),
            (false, K::Additive, K::Additive) => $function::<false, A, A $(, $more)?>($($argument),*),
            (false, K::Additive, K::Multiplicative) => $function::<false, A, M $(, $more)?>($($argument),*),
            (false, K::Multiplicative, K::None) => $function::<false, M, N $(, $more)?>($($argument),*),
            (false, K::Multiplicative, K::Additive) => $function::<false, M, A $(, $more)?>($($argument),*),
            (false, K::Multiplicative, K::Multiplicative) => $function::<false, M, M $(, $more)?>($($argument),*),
            (true, K::None, K::None) => $function::<true, N, N $(, $more)?>($($argument),*),
            (true, K::None, K::Additive) => $function::<true, N, A $(, $more)?>($($argument),*),
            (true, K::None, K::Multiplicative) => $function::<true, N, M $(, $more)?>($($argument),*),
            (true, K::Additive, K::None) => $function::<true, A, N $(, $more)?>($($argument),*),
            (true, K::Additive, K::Additive) => $function::<true, A, A $(, $more)?>($($argument),*),
            (true, K::Additive, K::Multiplicative) => $function::<true, A, M $(, $more)?>($($argument),*),
            (true, K::Multiplicative, K::None) => $function::<true, M, N $(, $more)?>($($argument),*),
            (true, K::Multiplicative, K::Additive) => $function::<true, M, A $(, $more)?>($($argument),*),
            (true, K::Multiplicative, K::Multiplicative) => $function::<true, M, M $(, $more)?>($($argument),*),
        }
    }};
}
pub(crate) use by_form;

/// The growth after damping.
#[inline(always)]
pub(crate) fn damp<const T: u8>(growth: f64, phi: f64) -> f64 {
    match T {
        NONE => 0.0,
        ADDITIVE => phi * growth,
        _ if phi == 1.0 => growth,
        _ => pow(growth, phi),
    }
}

/// The level expected next.
#[inline(always)]
pub(crate) fn grown<const T: u8>(level: f64, damped: f64) -> f64 {
    match T {
        NONE => level,
        ADDITIVE => level + damped,
        _ => level * damped,
    }
}

/// The prediction from the level expected and the seasonal state.
#[inline(always)]
pub(crate) fn seasoned<const S: u8>(expected: f64, season: f64) -> f64 {
    match S {
        NONE => expected,
        ADDITIVE => expected + season,
        _ => expected * season,
    }
}

/// One step: takes in an observation and returns its prediction.
#[inline(always)]
pub(crate) fn step<const T: u8, const S: u8>(
    smoothing: &Smoothing,
    level: &mut f64,
    growth: &mut f64,
    season: &mut f64,
    value: f64,
) -> f64 {
    let damped = damp::<T>(*growth, smoothing.phi);
    let expected = grown::<T>(*level, damped);
    let predicted = seasoned::<S>(expected, *season);
    // The error of the level: the observation without its season, less the level expected.
    let surprise = match S {
        NONE => value - expected,
        ADDITIVE => (value - *season) - expected,
        _ => value / *season - expected,
    };
    match T {
        NONE => {}
        ADDITIVE => *growth = damped + smoothing.beta * surprise,
        _ => *growth = damped + smoothing.beta * (surprise / *level),
    }
    *level = expected + smoothing.alpha * surprise;
    match S {
        NONE => {}
        ADDITIVE => *season += smoothing.gamma * (value - predicted),
        _ => *season += smoothing.gamma * (value / expected - *season),
    }
    predicted
}

/// States of a form. Unused ones are neutral.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct States {
    pub(crate) level: f64,
    pub(crate) growth: f64,
    /// The next season's state first; empty without a season.
    pub(crate) season: Vec<f64>,
}

/// Runs over values; tells `predicted` each prediction, and leaves the states as they are after the
/// last value.
pub(crate) fn filter(
    form: Form,
    smoothing: &Smoothing,
    states: &mut States,
    values: &[f64],
    predicted: &mut dyn FnMut(f64),
) {
    match (form.trend, form.season) {
        (Kind::None, Kind::None) => run::<NONE, NONE>(smoothing, states, values, predicted),
        (Kind::None, Kind::Additive) => run::<NONE, ADDITIVE>(smoothing, states, values, predicted),
        (Kind::None, Kind::Multiplicative) => {
            run::<NONE, MULTIPLICATIVE>(smoothing, states, values, predicted);
        }
        (Kind::Additive, Kind::None) => run::<ADDITIVE, NONE>(smoothing, states, values, predicted),
        (Kind::Additive, Kind::Additive) => {
            run::<ADDITIVE, ADDITIVE>(smoothing, states, values, predicted);
        }
        (Kind::Additive, Kind::Multiplicative) => {
            run::<ADDITIVE, MULTIPLICATIVE>(smoothing, states, values, predicted);
        }
        (Kind::Multiplicative, Kind::None) => {
            run::<MULTIPLICATIVE, NONE>(smoothing, states, values, predicted);
        }
        (Kind::Multiplicative, Kind::Additive) => {
            run::<MULTIPLICATIVE, ADDITIVE>(smoothing, states, values, predicted);
        }
        (Kind::Multiplicative, Kind::Multiplicative) => {
            run::<MULTIPLICATIVE, MULTIPLICATIVE>(smoothing, states, values, predicted);
        }
    }
}

fn run<const T: u8, const S: u8>(
    smoothing: &Smoothing,
    states: &mut States,
    values: &[f64],
    predicted: &mut dyn FnMut(f64),
) {
    let States {
        level,
        growth,
        season,
    } = states;
    if S == NONE {
        for value in values {
            predicted(step::<T, S>(smoothing, level, growth, &mut 0.0, *value));
        }
        return;
    }
    let length = season.len().max(1);
    for cycle in values.chunks(length) {
        for (value, season) in cycle.iter().zip(season.iter_mut()) {
            predicted(step::<T, S>(smoothing, level, growth, season, *value));
        }
    }
    season.rotate_left(values.len() % length);
}

/// What the likelihood is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sums {
    /// The sum of squared errors, of relative ones where the form has those.
    pub(crate) squares: f64,
    /// The sum of the logarithms of the predictions, where errors are relative.
    pub(crate) logarithms: f64,
}

/// Sums of squares below this share of the number of values are rounding errors of values that are
/// at most 1.
const ROUNDING: f64 = 1e-30;

impl Sums {
    /// A point the form is not defined at.
    pub(crate) const REFUSED: Sums = Sums {
        squares: f64::INFINITY,
        logarithms: 0.0,
    };

    /// Minus twice the concentrated log-likelihood, less a constant (Hyndman, Koehler, Ord and
    /// Snyder, equation 5.3).
    pub(crate) fn loss(&self, count: usize) -> f64 {
        let count = count as f64;
        let loss = count * ln(self.floored(count)) + 2.0 * self.logarithms;
        if loss.is_finite() {
            loss
        } else {
            f64::INFINITY
        }
    }

    fn floored(&self, count: f64) -> f64 {
        self.squares.max(ROUNDING * count)
    }

    /// Twice the number of errors over the sum of their squares.
    pub(crate) fn precision(&self, count: usize) -> f64 {
        2.0 * count as f64 / self.floored(count as f64)
    }
}

/// Adds up logarithms of positive numbers, a few at a time.
pub(crate) struct Logarithms {
    product: f64,
    waiting: u8,
    sum: f64,
}

impl Logarithms {
    pub(crate) fn new() -> Logarithms {
        Logarithms {
            product: 1.0,
            waiting: 0,
            sum: 0.0,
        }
    }

    #[inline(always)]
    pub(crate) fn add(&mut self, value: f64) {
        self.product *= value;
        self.waiting += 1;
        // Scaled values lie below 1 and hardly below 1e-30.
        if self.waiting == 8 {
            self.sum += ln(self.product);
            self.product = 1.0;
            self.waiting = 0;
        }
    }

    pub(crate) fn sum(&self) -> f64 {
        self.sum + ln(self.product)
    }
}

/// The sums over a history from initial states; `season` is used up.
pub(crate) fn sums(
    form: Form,
    smoothing: &Smoothing,
    level: f64,
    growth: f64,
    season: &mut [f64],
    values: &[f64],
) -> Sums {
    by_form!(form, add_up(smoothing, level, growth, season, values))
}

fn add_up<const E: bool, const T: u8, const S: u8>(
    smoothing: &Smoothing,
    mut level: f64,
    mut growth: f64,
    season: &mut [f64],
    values: &[f64],
) -> Sums {
    let smoothing = *smoothing;
    let mut squares = 0.0;
    let mut lowest = f64::INFINITY;
    let mut logarithms = Logarithms::new();
    let mut take = |season: &mut f64, value: f64| {
        let predicted = step::<T, S>(&smoothing, &mut level, &mut growth, season, value);
        let mut error = value - predicted;
        if E || T == MULTIPLICATIVE || S == MULTIPLICATIVE {
            lowest = if predicted < lowest {
                predicted
            } else {
                lowest
            };
        }
        if E {
            error /= predicted;
            logarithms.add(predicted);
        }
        squares += error * error;
    };
    if S == NONE {
        values.iter().for_each(|value| take(&mut 0.0, *value));
    } else {
        for cycle in values.chunks(season.len()) {
            for (value, season) in cycle.iter().zip(season.iter_mut()) {
                take(season, *value);
            }
        }
    }
    if lowest <= 0.0 || !squares.is_finite() {
        return Sums::REFUSED;
    }
    Sums {
        squares,
        logarithms: if E { logarithms.sum() } else { 0.0 },
    }
}
