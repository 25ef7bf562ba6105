//! How far off a form is several steps ahead, within the history it was fitted to.

use super::{
    doubt::Model,
    form::Form,
    recursion::{NONE, Smoothing, States, by_form, damp, grown, seasoned, step},
};

/// The mean absolute error of the forecasts of the next `steps` values from every value after the
/// first `warm`, as many as the history holds.
pub(crate) fn error_ahead(model: &Model, values: &[f64], warm: usize, steps: usize) -> f64 {
    let mut states = model.origin.clone();
    if states.season.is_empty() {
        states.season.push(0.0);
    }
    let smoothing = &model.smoothing;
    by_form!(model.form, far(smoothing, &mut states, values, warm, steps))
}

fn far<const E: bool, const T: u8, const S: u8>(
    smoothing: &Smoothing,
    states: &mut States,
    values: &[f64],
    warm: usize,
    steps: usize,
) -> f64 {
    let length = states.season.len();
    let mut place = 0;
    let (mut sum, mut count) = (0.0, 0u32);
    for (index, value) in values.iter().enumerate() {
        step::<T, S>(
            smoothing,
            &mut states.level,
            &mut states.growth,
            &mut states.season[place],
            *value,
        );
        place = (place + 1) % length;
        if index + 1 < warm {
            continue;
        }
        let (mut level, mut growth, mut at) = (states.level, states.growth, place);
        for value in values[index + 1..].iter().take(steps) {
            growth = damp::<T>(growth, smoothing.phi);
            level = grown::<T>(level, growth);
            sum += (value - seasoned::<S>(level, states.season[at])).abs();
            at = if at + 1 == length { 0 } else { at + 1 };
            count += 1;
        }
    }
    sum / f64::from(count)
}

/// The least of the next `steps` point forecasts.
pub(crate) fn lowest_ahead(
    form: Form,
    smoothing: &Smoothing,
    states: &States,
    steps: usize,
) -> f64 {
    by_form!(form, lowest(smoothing, states, steps))
}

fn lowest<const E: bool, const T: u8, const S: u8>(
    smoothing: &Smoothing,
    states: &States,
    steps: usize,
) -> f64 {
    let (mut level, mut growth) = (states.level, states.growth);
    let mut least = f64::INFINITY;
    for step in 0..steps {
        growth = damp::<T>(growth, smoothing.phi);
        level = grown::<T>(level, growth);
        let season = match S {
            NONE => 0.0,
            _ => states.season[step % states.season.len()],
        };
        least = least.min(seasoned::<S>(level, season));
    }
    least
}
