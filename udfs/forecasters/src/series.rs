//! What a model is given: observations, and what is known of the steps to come.

use std::ops::Range;

use crate::{date::Day, errors::FitError};

/// Observations, oldest first, on strictly increasing dates.
#[derive(Clone, Copy, Debug)]
pub struct Series<'a> {
    /// The dates.
    pub dates: &'a [Day],
    /// The values, one per date, finite; NaN where one is missing, for families that allow it.
    pub values: &'a [f64],
    /// `regressors[j][i]` is the j-th regressor on `dates[i]`; NaN where it is missing.
    pub regressors: &'a [Vec<f64>],
}

impl Series<'_> {
    /// The number of observations.
    pub fn len(&self) -> usize {
        self.dates.len()
    }

    /// Whether there are no observations.
    pub fn is_empty(&self) -> bool {
        self.dates.is_empty()
    }

    /// Checks what the models rely on: equal lengths, increasing dates, values that are finite or,
    /// where `gaps` are allowed, NaN, and regressors that are finite or NaN.
    pub(crate) fn check(&self, gaps: bool) -> Result<(), FitError> {
        self.check_length("values", self.values.len())?;
        for regressor in self.regressors {
            self.check_length("regressor values", regressor.len())?;
        }
        if let Some(pair) = self.dates.windows(2).find(|pair| pair[1] <= pair[0]) {
            return Err(FitError::Unordered { date: pair[1] });
        }
        let infinite_regressor = |index: usize| {
            self.regressors
                .iter()
                .any(|regressor| regressor[index].is_infinite())
        };
        let unusable = |index: usize| {
            let value = self.values[index];
            !(value.is_finite() || gaps && value.is_nan())
        };
        match (0..self.len()).find(|index| unusable(*index) || infinite_regressor(*index)) {
            Some(index) => Err(FitError::NotFinite {
                date: self.dates[index],
            }),
            None => Ok(()),
        }
    }

    /// A copy of the observations with these indices.
    pub(crate) fn part(&self, range: Range<usize>) -> Observations {
        let cut = |column: &Vec<f64>| column[range.clone()].to_vec();
        Observations {
            dates: self.dates[range.clone()].to_vec(),
            values: self.values[range.clone()].to_vec(),
            regressors: self.regressors.iter().map(cut).collect(),
        }
    }

    fn check_length(&self, what: &'static str, found: usize) -> Result<(), FitError> {
        if found == self.len() {
            Ok(())
        } else {
            Err(FitError::Misaligned {
                what,
                needed: self.len(),
                found,
            })
        }
    }
}

/// Observations that are nobody else's.
#[derive(Clone, Debug)]
pub(crate) struct Observations {
    pub(crate) dates: Vec<Day>,
    pub(crate) values: Vec<f64>,
    pub(crate) regressors: Vec<Vec<f64>>,
}

impl Observations {
    /// The series they are.
    pub(crate) fn series(&self) -> Series<'_> {
        Series {
            dates: &self.dates,
            values: &self.values,
            regressors: &self.regressors,
        }
    }
}

/// What is known of the steps to come.
#[derive(Clone, Copy, Debug)]
pub struct Ahead<'a> {
    /// How many steps to simulate.
    pub steps: usize,
    /// The date of each step; where the calendar cannot know it, the date expected.
    pub dates: &'a [Day],
    /// `regressors[j][k]` is the j-th regressor at step k + 1; NaN where it is not known.
    pub regressors: &'a [Vec<f64>],
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(dates: &[Day], values: &[f64], regressors: &[Vec<f64>]) -> Result<(), FitError> {
        Series {
            dates,
            values,
            regressors,
        }
        .check(false)
    }

    #[test]
    fn a_sound_series_passes_even_with_missing_regressors() {
        assert_eq!(
            check(&[1, 2, 5], &[1.0, 2.0, 3.0], &[vec![f64::NAN, 1.0, 2.0]]),
            Ok(())
        );
        assert_eq!(check(&[], &[], &[]), Ok(()));
    }

    #[test]
    fn a_missing_value_is_a_fault_unless_gaps_are_allowed() {
        let gap = Series {
            dates: &[1, 2],
            values: &[1.0, f64::NAN],
            regressors: &[],
        };
        assert_eq!(gap.check(false), Err(FitError::NotFinite { date: 2 }));
        assert_eq!(gap.check(true), Ok(()));
        let infinite = Series {
            values: &[1.0, f64::INFINITY],
            ..gap
        };
        assert_eq!(infinite.check(true), Err(FitError::NotFinite { date: 2 }));
    }

    #[test]
    fn each_fault_is_named_with_its_date() {
        assert_eq!(
            check(&[1, 2], &[1.0, f64::NAN], &[]),
            Err(FitError::NotFinite { date: 2 })
        );
        assert_eq!(
            check(&[1, 2, 2], &[1.0; 3], &[]),
            Err(FitError::Unordered { date: 2 })
        );
        assert_eq!(
            check(&[1, 2], &[1.0; 2], &[vec![1.0, f64::INFINITY]]),
            Err(FitError::NotFinite { date: 2 })
        );
        assert_eq!(
            check(&[1, 2], &[1.0], &[]),
            Err(FitError::Misaligned {
                what: "values",
                needed: 2,
                found: 1
            })
        );
    }
}
