//! Reasons to pass over a form of less AICc that nobody asked for.
//!
//! The likelihood looks one step ahead only, and the longer the horizon, the more a trend costs
//! that follows noise: a form with one has to be at least as close several steps ahead, within the
//! history, as the best form without, and must not be about to leave the positive numbers that the
//! history consists of. And the normal distribution of relative errors is no model of large ones:
//! a single value many times its prediction then outweighs all others, and parameters that make
//! nonsense of the rest are the likeliest.

use super::{
    ahead::{error_ahead, lowest_ahead},
    form::Form,
    recursion::{Smoothing, States, filter},
};

/// How many steps ahead a trend is tried at least; at least two seasons, too.
const LEAST_AHEAD: usize = 12;
/// The greatest standard deviation of relative errors: at three of them, values are zero.
const WIDEST: f64 = 1.0 / 3.0;
/// The greatest relative error: a value twice its prediction.
const FARTHEST: f64 = 1.0;

/// Which components nobody asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Doubt {
    pub(crate) error: bool,
    pub(crate) trend: bool,
}

/// A form with its parameters and initial states.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) form: Form,
    pub(crate) smoothing: Smoothing,
    pub(crate) origin: States,
}

/// Whether relative errors are too large for their distribution.
pub(crate) fn errors_fail(model: &Model, values: &[f64]) -> bool {
    let (mut squares, mut farthest) = (0.0, 0.0_f64);
    let mut coming = values.iter();
    let mut states = model.origin.clone();
    filter(
        model.form,
        &model.smoothing,
        &mut states,
        values,
        &mut |predicted| {
            if let Some(value) = coming.next() {
                let error = (value - predicted) / predicted;
                squares += error * error;
                farthest = farthest.max(error.abs());
            }
        },
    );
    squares > WIDEST * WIDEST * values.len() as f64 || farthest > FARTHEST
}

/// Whether a trend fails several steps ahead, compared with models without one.
pub(crate) fn trend_fails(
    model: &Model,
    without: impl Iterator<Item = Model>,
    values: &[f64],
    season_length: usize,
) -> bool {
    let third = (values.len() / 3).max(1);
    let steps = season_length.saturating_mul(2).max(LEAST_AHEAD).min(third);
    let warm = season_length.saturating_mul(2).min(third);
    let least = without
        .map(|other| error_ahead(&other, values, warm, steps))
        .fold(f64::INFINITY, f64::min);
    if error_ahead(model, values, warm, steps) > least {
        return true;
    }
    let mut states = model.origin.clone();
    filter(
        model.form,
        &model.smoothing,
        &mut states,
        values,
        &mut |_| {},
    );
    values.iter().all(|value| *value > 0.0)
        && lowest_ahead(model.form, &model.smoothing, &states, steps) <= 0.0
}
