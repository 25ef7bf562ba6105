//! One unit's failure, as the row that it becomes.

use almanac_forecasters::{FitError, StateError};

/// Why a unit has no result. `class` is for machines and never changes; `message` is for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub class: String,
    pub message: String,
}

impl Failure {
    pub fn new(class: &str, message: impl Into<String>) -> Self {
        Self {
            class: class.to_owned(),
            message: message.into(),
        }
    }
}

impl From<FitError> for Failure {
    fn from(error: FitError) -> Self {
        Self::new(error.class(), error.to_string())
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        Self::new(error.class(), error.to_string())
    }
}

impl Failure {
    /// A forecaster's refusal to learn, its regressors called by their names.
    pub fn of_fit(error: FitError, covariates: &[String]) -> Self {
        let mut innermost = &error;
        while let FitError::Member { error, .. } = innermost {
            innermost = error;
        }
        let index = match innermost {
            FitError::MissingRegressor { index, .. } => Some(*index),
            _ => None,
        };
        Self::from(error).naming(index, covariates)
    }

    /// The same for a forecaster that has a state.
    pub fn of_state(error: StateError, covariates: &[String]) -> Self {
        let index = match &error {
            StateError::MissingRegressor { index, .. } => Some(*index),
            _ => None,
        };
        Self::from(error).naming(index, covariates)
    }

    fn naming(mut self, index: Option<usize>, covariates: &[String]) -> Self {
        if let Some((index, name)) = index.and_then(|index| Some((index, covariates.get(index)?))) {
            let numbered = format!("regressor {index}");
            self.message = self
                .message
                .replacen(&numbered, &format!("covariate `{name}`"), 1);
        }
        self
    }
}

/// Runs a unit so that a panic inside it is its failure and nobody else's.
pub fn guarded<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        Err(Failure::new("panic", message))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_covariate_that_a_member_lacks_is_named() {
        let within = |member: &str, error| FitError::Member {
            member: member.to_owned(),
            error: Box::new(error),
        };
        let missing = FitError::MissingRegressor { index: 1, date: 0 };
        let error = within("outer", within("inner", missing));
        let failure = Failure::of_fit(error, &["vix".to_owned(), "rain".to_owned()]);
        assert_eq!(failure.class, "missing_covariate");
        assert!(
            failure.message.contains("covariate `rain`"),
            "{}",
            failure.message
        );
        assert!(
            !failure.message.contains("regressor"),
            "{}",
            failure.message
        );
    }
}
