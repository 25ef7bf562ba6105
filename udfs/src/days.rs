//! A series on the `daily` calendar, laid on its days: each is a step, whether it has a close or not.

use almanac_forecasters::{Ahead, Day, Running, Series, StateError};

use crate::failure::Failure;

/// Observations of steps that may lack a value: NaN.
#[derive(Debug, Default)]
pub(crate) struct Days {
    pub(crate) dates: Vec<Day>,
    pub(crate) values: Vec<f64>,
}

impl Days {
    /// Adds an observation, and before it the days since the one before, without values.
    pub(crate) fn push(&mut self, newest: Day, date: Day, value: f64) {
        let missing = newest + 1..date;
        self.values.extend(missing.clone().map(|_| f64::NAN));
        self.dates.extend(missing);
        self.dates.push(date);
        self.values.push(value);
    }

    /// A history on all of its days.
    pub(crate) fn of(dates: &[Day], values: &[f64]) -> Result<Self, Failure> {
        let mut days = Self::default();
        let Some((first, last)) = dates.first().zip(dates.last()) else {
            return Ok(days);
        };
        let (known, all) = (dates.len(), last - first + 1);
        if usize::try_from(all).is_ok_and(|all| 2 * known < all) {
            return Err(Failure::new(
                "gaps",
                format!(
                    "{known} of {all} days have a close, and on the daily calendar at least half must; series \
                     with fewer observations belong on the observed calendar"
                ),
            ));
        }
        let mut newest = first - 1;
        for (date, value) in dates.iter().zip(values) {
            days.push(newest, *date, *value);
            newest = *date;
        }
        Ok(days)
    }

    /// Gives a value to the days without, for a model that is to learn from them: the mean of those a
    /// season before and after where both are known, else what a straight line gives between the
    /// nearest known.
    pub(crate) fn bridge(&mut self, season: usize) {
        let known = self.values.clone();
        let mut before = 0;
        for index in 0..known.len() {
            if !known[index].is_nan() {
                before = index;
                continue;
            }
            let a_season_away = [index.checked_sub(season), index.checked_add(season)]
                .map(|index| index.and_then(|index| known.get(index)).copied());
            self.values[index] = match a_season_away {
                [Some(earlier), Some(later)] if season > 1 && !(earlier + later).is_nan() => {
                    f64::midpoint(earlier, later)
                }
                _ => {
                    let after = (index..known.len()).find(|after| !known[*after].is_nan());
                    // The first and the last day have a close.
                    let after = after.unwrap_or(before);
                    let share = (index - before) as f64 / (after - before).max(1) as f64;
                    known[before] + share * (known[after] - known[before])
                }
            };
        }
    }
}

/// Takes in observations of which some may lack a value. A model that takes no gaps is told what it
/// expected there, so that only time passes.
pub(crate) fn take_in(
    running: &mut Box<dyn Running>,
    recent: Series<'_>,
) -> Result<(), StateError> {
    let whole = !recent.values.iter().any(|value| value.is_nan());
    if whole || running.takes_gaps() {
        return running.advance(recent, &mut |_| {});
    }
    for (index, value) in recent.values.iter().enumerate() {
        let dates = &recent.dates[index..=index];
        let regressors: Vec<Vec<f64>> = recent
            .regressors
            .iter()
            .map(|column| vec![column[index]])
            .collect();
        let ahead = Ahead {
            steps: 1,
            dates,
            regressors: &regressors,
        };
        let value = if value.is_nan() {
            running.copy().outlook(ahead)?.point()
        } else {
            vec![*value]
        };
        let day = Series {
            dates,
            values: &value,
            regressors: &regressors,
        };
        running.advance(day, &mut |_| {})?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_without_a_close_have_a_place() {
        let days = Days::of(&[10, 11, 14], &[1.0, 2.0, 5.0]).unwrap();
        assert_eq!(days.dates, [10, 11, 12, 13, 14]);
        assert_eq!(days.values[..2], [1.0, 2.0]);
        assert!(days.values[2].is_nan() && days.values[3].is_nan());
        assert_eq!(Days::of(&[], &[]).unwrap().dates, [0; 0]);
        let sparse = Days::of(&[10, 17, 24], &[1.0; 3]).unwrap_err();
        assert_eq!(sparse.class, "gaps");
        assert!(
            sparse.message.contains("3 of 15 days"),
            "{}",
            sparse.message
        );
    }

    #[test]
    fn bridges_are_straight_and_of_the_season_where_that_is_known() {
        let bridged = |missing: &[usize], season: usize| {
            let value = |index: usize| (index + 10 * (index % 3)) as f64;
            let dates: Vec<Day> = (0..12).collect();
            let values: Vec<f64> = (0..12).map(value).collect();
            let mut days = Days { dates, values };
            missing
                .iter()
                .for_each(|index| days.values[*index] = f64::NAN);
            days.bridge(season);
            missing
                .iter()
                .map(|index| days.values[*index] - value(*index))
                .collect::<Vec<_>>()
        };
        assert_eq!(bridged(&[5, 7], 3), [0.0, 0.0]);
        // Between the values at 4, 14, and at 6, 6; 25 is right.
        assert_eq!(bridged(&[5], 1), [10.0 - 25.0]);
        // A season later nothing is known: 17 and 31 lie at 7 and 11, and 28, 9 and 20 between.
        assert_eq!(bridged(&[8, 9, 10], 3)[1..], [24.0 - 9.0, 27.5 - 20.0]);
    }
}
