//! What the model knows of a date: Fourier terms, holidays, and regressors in standard units.

use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};

use super::settings::{Growth, Mode};
use crate::{
    calendar::us_exchange_holidays,
    date::{self, Day},
    errors::StateError,
    math::{cos, sin},
    series::Series,
    state::corrupt,
};

/// The length of the year that the yearly season turns with, in days.
pub(crate) const YEAR: f64 = 365.25;
/// The most Fourier terms of a season, and the most days around a holiday.
pub(crate) const MOST_TERMS: usize = 100;
pub(crate) const MOST_HOLIDAY_DAYS: usize = 14;
/// The longest season, in observations.
pub(crate) const LONGEST_SEASON: usize = 1_000_000;
/// Dates further from 1970 than this are none.
pub(crate) const LAST_DAY: Day = 10_000_000;

/// The columns that effects belong to, in this order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Features {
    pub(crate) growth: Growth,
    pub(crate) mode: Mode,
    /// Fourier terms of the season by the day of the year, each a sine and a cosine.
    pub(crate) yearly: usize,
    /// Fourier terms of the season by weekday.
    pub(crate) weekly: usize,
    /// A season counted in observations: its length and Fourier terms.
    pub(crate) season: Option<(usize, usize)>,
    pub(crate) holidays: Vec<Holiday>,
    pub(crate) regressors: Vec<Regressor>,
}

/// A day by its distance from a US holiday.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Holiday {
    /// The month the holiday is known by; 0 for New Year's Day, which shares its month.
    name: u32,
    /// Days after the holiday.
    after: i32,
}

/// A regressor in standard units.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Regressor {
    /// Its place among the regressors given.
    pub(crate) index: usize,
    pub(crate) center: f64,
    pub(crate) scale: f64,
}

impl Features {
    /// The number of columns.
    pub(crate) fn count(&self) -> usize {
        2 * (self.yearly + self.weekly + self.season.map_or(0, |(_, terms)| terms))
            + self.holidays.len()
            + self.regressors.len()
    }

    /// The number of columns that stand for seasons.
    pub(crate) fn seasonal(&self) -> usize {
        self.count() - self.holidays.len() - self.regressors.len()
    }

    /// Fills in the columns of a date, which is observation `index` of the series. Gives the place of
    /// the first regressor that is not known; its column is zero then, as at its mean.
    pub(crate) fn fill(
        &self,
        day: Day,
        index: u64,
        regressor: impl Fn(usize) -> Option<f64>,
        columns: &mut [f64],
    ) -> Option<usize> {
        let (yearly, rest) = columns.split_at_mut(2 * self.yearly);
        let (weekly, rest) = rest.split_at_mut(2 * self.weekly);
        let (season, rest) = rest.split_at_mut(2 * self.season.map_or(0, |(_, terms)| terms));
        let (holidays, regressors) = rest.split_at_mut(self.holidays.len());
        harmonics(f64::from(day).rem_euclid(YEAR) / YEAR, yearly);
        harmonics(f64::from(day.rem_euclid(7)) / 7.0, weekly);
        if let Some((length, _)) = self.season {
            harmonics((index % length as u64) as f64 / length as f64, season);
        }
        for (column, holiday) in holidays.iter_mut().zip(&self.holidays) {
            *column = f64::from(u8::from(holiday.falls_on(day)));
        }
        let mut missing = None;
        for (column, term) in regressors.iter_mut().zip(&self.regressors) {
            *column = match regressor(term.index).filter(|value| value.is_finite()) {
                Some(value) => (value - term.center) / term.scale,
                None => {
                    missing = missing.or(Some(term.index));
                    0.0
                }
            };
        }
        missing
    }

    /// Checks what was decoded, of a model fitted with this many regressors.
    pub(crate) fn check(&self, given: usize) -> Result<(), StateError> {
        let terms = |count: usize| count <= MOST_TERMS;
        let season = self
            .season
            .is_none_or(|(length, count)| (1..=LONGEST_SEASON).contains(&length) && terms(count));
        let holidays = self.holidays.iter().all(|holiday| {
            holiday.name <= 12 && holiday.after.unsigned_abs() as usize <= MOST_HOLIDAY_DAYS
        });
        let regressors = self.regressors.iter().all(|term| {
            term.index < given
                && term.center.is_finite()
                && term.scale.is_finite()
                && term.scale > 0.0
        });
        if terms(self.yearly) && terms(self.weekly) && season && holidays && regressors {
            Ok(())
        } else {
            Err(corrupt("the features are none this model has"))
        }
    }
}

impl Holiday {
    fn falls_on(self, day: Day) -> bool {
        let kept = day.saturating_sub(self.after);
        name_of_holiday(kept) == Some(self.name)
    }

    /// The days around holidays, from `before` to `after`, that a history has an observation on.
    pub(crate) fn seen(dates: &[Day], before: usize, after: usize) -> Vec<Holiday> {
        let mut seen: Vec<Holiday> = dates
            .iter()
            .flat_map(|day| {
                (-(before as i32)..=after as i32).filter_map(|after| {
                    name_of_holiday(day.saturating_sub(after)).map(|name| Holiday { name, after })
                })
            })
            .collect();
        seen.sort_unstable();
        seen.dedup();
        seen
    }
}

/// Which holiday of the US exchanges a day is, by its month: no two of them share one, but for New
/// Year's Day and that of Martin Luther King. Good Friday may fall in March or April.
fn name_of_holiday(day: Day) -> Option<u32> {
    if day.abs() > LAST_DAY {
        return None;
    }
    let (year, month, day_of_month) = date::to_civil(day);
    us_exchange_holidays(year, year)
        .binary_search(&day)
        .is_ok()
        .then_some(match (month, day_of_month) {
            (1, 1 | 2) => 0,
            (3, _) => 4,
            (month, _) => month,
        })
}

/// Sines and cosines, alternating, of 1, 2, … times the angle that this share of a turn is.
fn harmonics(turn: f64, columns: &mut [f64]) {
    if columns.is_empty() {
        return;
    }
    let (sine, cosine) = (sin(TAU * turn), cos(TAU * turn));
    let (mut s, mut c) = (sine, cosine);
    for pair in columns.chunks_exact_mut(2) {
        pair.copy_from_slice(&[s, c]);
        (s, c) = (s * cosine + c * sine, c * cosine - s * sine);
    }
}

/// The regressors that vary, in standard units; those that are constant have no effect to be found.
pub(crate) fn standardised(history: Series<'_>) -> Vec<Regressor> {
    let known = |column: &Vec<f64>| -> Vec<f64> {
        column
            .iter()
            .copied()
            .filter(|value| !value.is_nan())
            .collect()
    };
    history
        .regressors
        .iter()
        .enumerate()
        .filter_map(|(index, column)| {
            let known = known(column);
            let center = crate::moments::mean(&known);
            let scale = crate::moments::deviation(&known);
            let size = known
                .iter()
                .fold(0.0f64, |size, value| size.max(value.abs()));
            (scale.is_finite() && scale > 1e-12 * size).then_some(Regressor {
                index,
                center,
                scale,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::date::from_civil;

    fn features() -> Features {
        Features {
            growth: Growth::Linear,
            mode: Mode::Additive,
            yearly: 3,
            weekly: 2,
            season: Some((12, 1)),
            holidays: vec![
                Holiday { name: 0, after: 1 },
                Holiday {
                    name: 12,
                    after: -1,
                },
                Holiday { name: 12, after: 0 },
            ],
            regressors: vec![Regressor {
                index: 1,
                center: 10.0,
                scale: 2.0,
            }],
        }
    }

    #[test]
    fn columns_are_what_their_formulas_say() {
        let features = features();
        let day = from_civil(2023, 12, 24);
        let mut columns = vec![0.0; features.count()];
        let missing = features.fill(day, 27, |index| [None, Some(13.0)][index], &mut columns);
        let angle = |period: f64, term: f64| TAU * term * f64::from(day) / period;
        let mut expected = Vec::new();
        for term in [1.0, 2.0, 3.0] {
            expected.extend([sin(angle(YEAR, term)), cos(angle(YEAR, term))]);
        }
        for term in [1.0, 2.0] {
            expected.extend([sin(angle(7.0, term)), cos(angle(7.0, term))]);
        }
        expected.extend([1.0, 0.0]);
        // The day before Christmas; a regressor 1.5 deviations above its mean.
        expected.extend([0.0, 1.0, 0.0, 1.5]);
        assert_eq!(missing, None);
        for (found, expected) in columns.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-10, "{columns:?} {expected:?}");
        }
        let missing = features.fill(day, 0, |_| Some(f64::NAN), &mut columns);
        assert_eq!((missing, columns[columns.len() - 1]), (Some(1), 0.0));
    }

    #[test]
    fn holidays_are_told_apart() {
        let names = |year| -> Vec<u32> {
            us_exchange_holidays(year, year)
                .into_iter()
                .filter_map(name_of_holiday)
                .collect()
        };
        assert_eq!(names(2024), [0, 1, 2, 4, 5, 6, 7, 9, 11, 12]);
        assert_eq!(names(2018), [0, 1, 2, 4, 5, 7, 9, 11, 12]);
        assert_eq!(name_of_holiday(from_civil(2024, 7, 5)), None);
        assert_eq!(name_of_holiday(Day::MAX), None);
    }

    #[test]
    fn only_days_with_an_observation_get_a_holiday_column() {
        let dates = [
            from_civil(2024, 3, 28),
            from_civil(2024, 7, 5),
            from_civil(2025, 7, 3),
        ];
        assert_eq!(
            Holiday::seen(&dates, 1, 1),
            [
                Holiday { name: 4, after: -1 },
                Holiday { name: 7, after: -1 },
                Holiday { name: 7, after: 1 },
            ]
        );
        assert_eq!(Holiday::seen(&dates, 0, 0), []);
    }
}
