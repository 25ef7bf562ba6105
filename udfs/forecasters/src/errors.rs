//! What can go wrong, one enum per decision a caller has to make.

use thiserror::Error;

use crate::date::{self, Day};

/// A history that cannot be fitted.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum FitError {
    /// Fewer usable observations than the model needs.
    #[error("{found} usable observations, the model needs {needed}")]
    TooShort {
        /// The least number of observations that would do.
        needed: usize,
        /// The number there are.
        found: usize,
    },
    /// A value is NaN or infinite, or a regressor infinite.
    #[error("the value of {} is not finite", date::format(*.date))]
    NotFinite {
        /// The date of the first such value.
        date: Day,
    },
    /// A date does not come after the one before it.
    #[error("{} does not come after the observation before it", date::format(*.date))]
    Unordered {
        /// The first repeated or earlier date.
        date: Day,
    },
    /// Dates, values and regressors differ in length.
    #[error("{found} {what} for {needed} dates")]
    Misaligned {
        /// What is too short or too long.
        what: &'static str,
        /// The number of dates.
        needed: usize,
        /// The number of items found.
        found: usize,
    },
    /// A value lies outside what the model is defined on.
    #[error("the value {value} of {} is outside the model's domain: {needed}", date::format(*.date))]
    Domain {
        /// The date of the value.
        date: Day,
        /// The value.
        value: f64,
        /// The domain, in words.
        needed: &'static str,
    },
    /// A parameter is unknown, of the wrong type, or out of range.
    #[error("parameter `{name}` is {found}, needed: {needed}")]
    Parameter {
        /// The parameter's name as given.
        name: String,
        /// What was given, as JSON text.
        found: String,
        /// What would be accepted.
        needed: String,
    },
    /// A regressor is missing on so many dates that too few rows are left to fit.
    #[error("regressor {index} is missing on too many dates, first on {}", date::format(*.date))]
    MissingRegressor {
        /// The regressor, counted from 0.
        index: usize,
        /// The first date it is missing on.
        date: Day,
    },
    /// The equations have no unique solution.
    #[error("the equations have no unique solution: {reason}")]
    Singular {
        /// What the solver said.
        reason: String,
    },
    /// The earlier state to begin from cannot be used.
    #[error("the state to begin from: {reason}")]
    Previous {
        /// What is wrong with it.
        reason: String,
    },
    /// A model that this one holds cannot be fitted.
    #[error("its member `{member}`: {error}")]
    Member {
        /// The member's name.
        member: String,
        /// Why.
        error: Box<FitError>,
    },
    /// A fitted quantity is too large for a double.
    #[error("the {quantity} is too large to compute")]
    Overflow {
        /// The quantity.
        quantity: &'static str,
    },
}

impl FitError {
    /// A short name of the kind of error, stored in tables and never renamed.
    pub fn class(&self) -> &'static str {
        match self {
            FitError::TooShort { .. } => "too_short",
            FitError::NotFinite { .. } => "not_finite",
            FitError::Unordered { .. } => "duplicate_date",
            FitError::Misaligned { .. } => "misaligned",
            FitError::Domain { .. } => "domain",
            FitError::Parameter { .. } => "parameter",
            FitError::MissingRegressor { .. } => "missing_covariate",
            FitError::Singular { .. } => "singular",
            FitError::Previous { .. } => "state_corrupt",
            FitError::Member { error, .. } => error.class(),
            FitError::Overflow { .. } => "overflow",
        }
    }
}

/// A fitted state that cannot be used as asked.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum StateError {
    /// The state belongs to another model.
    #[error("the state belongs to the model `{found}`, needed: `{needed}`")]
    WrongModel {
        /// The model named in the state.
        found: String,
        /// The model asked to use it.
        needed: String,
    },
    /// The state was written in a format this version does not read.
    #[error("the state of `{model}` has format {found}, this version reads format {needed}")]
    WrongFormat {
        /// The model.
        model: String,
        /// The format named in the state.
        found: u32,
        /// The format this version reads.
        needed: u32,
    },
    /// The text is no state, or its numbers contradict each other.
    #[error("the state is corrupt: {reason}")]
    Corrupt {
        /// What does not hold.
        reason: String,
    },
    /// A regressor the model was fitted with is not known for a coming step.
    #[error("regressor {index} is missing at step {step}")]
    MissingRegressor {
        /// The regressor, counted from 0.
        index: usize,
        /// The step, counted from 1.
        step: usize,
    },
    /// More regressors were given than the model was fitted with.
    #[error("{found} regressors given, the model was fitted with {needed}")]
    SurplusRegressors {
        /// The number fitted with.
        needed: usize,
        /// The number given.
        found: usize,
    },
    /// A new observation lies outside what the model is defined on.
    #[error("the value {value} of {} is outside the model's domain: {needed}", date::format(*.date))]
    Domain {
        /// The date of the value.
        date: Day,
        /// The value.
        value: f64,
        /// The domain, in words.
        needed: &'static str,
    },
    /// The new observations are not a series, or do not come after those in the state.
    #[error(transparent)]
    Observations(#[from] FitError),
}

impl StateError {
    /// A short name of the kind of error, stored in tables and never renamed.
    pub fn class(&self) -> &'static str {
        match self {
            StateError::WrongModel { .. } => "state_model",
            StateError::WrongFormat { .. } => "state_format",
            StateError::Corrupt { .. } => "state_corrupt",
            StateError::MissingRegressor { .. } => "missing_covariate",
            StateError::SurplusRegressors { .. } => "surplus_covariate",
            StateError::Domain { .. } => "domain",
            StateError::Observations(error) => error.class(),
        }
    }
}

/// A text that names none of the known values.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown {what} `{found}`: choose one of {known}")]
pub struct UnknownValue {
    /// What the text should have named.
    pub what: &'static str,
    /// The text.
    pub found: String,
    /// The known values, separated by commas.
    pub known: String,
}

impl UnknownValue {
    pub(crate) fn new(
        what: &'static str,
        found: &str,
        known: impl Iterator<Item = &'static str>,
    ) -> Self {
        UnknownValue {
            what,
            found: found.to_owned(),
            known: known.collect::<Vec<_>>().join(", "),
        }
    }
}
