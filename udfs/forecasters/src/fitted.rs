//! What a fit gives back, and how its losses are measured.

use crate::{errors::FitError, state::State};

/// A fitted model.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// The state, newest observation included.
    pub state: State,
    /// The root mean square of the one-step errors within the history, if there were any.
    pub loss: Option<f64>,
    /// The one-step prediction of every observation of the history, NaN where there is none.
    pub predictions: Vec<f64>,
    /// The corrected information criterion of Akaike, where the family chooses forms by it.
    pub aicc: Option<f64>,
}

/// Where the last fifth of a history begins, if it holds anything.
pub(crate) fn split(length: usize) -> Option<usize> {
    let first = length - length / 5;
    (first < length).then_some(first)
}

/// Passes a finite quantity, and names one that is not.
pub(crate) fn finite(quantity: &'static str, value: f64) -> Result<f64, FitError> {
    if value.is_finite() {
        Ok(value)
    } else {
        Err(FitError::Overflow { quantity })
    }
}
