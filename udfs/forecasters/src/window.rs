//! The newest observations, as far back as a model looks.

use serde::{Deserialize, Serialize};

use crate::{
    date::{self, Day},
    errors::{FitError, StateError},
    series::Series,
    state::corrupt,
};

/// The last values of a series and the date of the newest. Its length never changes: what comes
/// in at one end pushes out the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Window {
    #[serde(with = "date::text")]
    newest_date: Day,
    /// Oldest first.
    values: Vec<f64>,
}

impl Window {
    /// The last `length` observations of a checked history that has at least as many.
    pub(crate) fn of(history: Series<'_>, length: usize) -> Result<Window, FitError> {
        match history.dates.last() {
            Some(newest_date) if history.len() >= length => Ok(Window {
                newest_date: *newest_date,
                values: history.values[history.len() - length..].to_vec(),
            }),
            _ => Err(FitError::TooShort {
                needed: length.max(1),
                found: history.len(),
            }),
        }
    }

    /// Takes in newer observations.
    pub(crate) fn advance(&mut self, recent: Series<'_>) -> Result<(), StateError> {
        recent.check()?;
        let (Some(first), Some(last)) = (recent.dates.first(), recent.dates.last()) else {
            return Ok(());
        };
        if *first <= self.newest_date {
            return Err(FitError::Unordered { date: *first }.into());
        }
        let length = self.values.len();
        self.values
            .extend_from_slice(&recent.values[recent.len().saturating_sub(length)..]);
        self.values.drain(..self.values.len() - length);
        self.newest_date = *last;
        Ok(())
    }

    /// Checks that a decoded window holds as many values as its model needs, all finite.
    pub(crate) fn check(&self, length: usize) -> Result<(), StateError> {
        if self.values.len() != length {
            return Err(corrupt(format!(
                "{} values, needed {length}",
                self.values.len()
            )));
        }
        if self.values.iter().all(|value| value.is_finite()) {
            Ok(())
        } else {
            Err(corrupt("a value is not finite"))
        }
    }

    /// The values, oldest first.
    pub(crate) fn values(&self) -> &[f64] {
        &self.values
    }

    /// The newest value.
    pub(crate) fn last(&self) -> f64 {
        self.values.last().copied().unwrap_or(f64::NAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series<'a>(dates: &'a [Day], values: &'a [f64]) -> Series<'a> {
        Series {
            dates,
            values,
            regressors: &[],
        }
    }

    #[test]
    fn new_values_push_out_the_oldest() {
        let mut window = Window::of(series(&[1, 2, 3], &[1.0, 2.0, 3.0]), 2).unwrap();
        window.advance(series(&[4], &[4.0])).unwrap();
        assert_eq!(window.values(), [3.0, 4.0]);
        window
            .advance(series(&[5, 6, 7], &[5.0, 6.0, 7.0]))
            .unwrap();
        assert_eq!(
            (window.values(), window.last()),
            ([6.0, 7.0].as_slice(), 7.0)
        );
    }

    #[test]
    fn observations_that_are_not_newer_are_refused() {
        let mut window = Window::of(series(&[1, 2], &[1.0, 2.0]), 1).unwrap();
        let error = window.advance(series(&[2, 3], &[2.0, 3.0])).unwrap_err();
        assert_eq!(error.class(), "duplicate_date");
        assert_eq!(window.values(), [2.0]);
    }
}
