//! What a model takes steps by: its observations, and on the `daily` calendar, where it takes missing
//! values, the days between them as well.

use almanac_forecasters::{Calendar, Day};

use crate::spec::ModelSpec;

/// The dates and values of the steps taken so far; NaN on a day without a close.
#[derive(Debug)]
pub(crate) struct Steps {
    pub(crate) dates: Vec<Day>,
    pub(crate) values: Vec<f64>,
    /// The day of the newest step, where every day is one.
    newest: Option<Day>,
    every_day: bool,
}

impl Steps {
    /// None yet, after those up to a day.
    pub(crate) fn after(newest: Option<Day>, spec: &ModelSpec, takes_gaps: bool) -> Self {
        Self {
            dates: vec![],
            values: vec![],
            newest,
            every_day: takes_gaps && spec.calendar == Calendar::Daily,
        }
    }

    /// Takes a newer observation.
    pub(crate) fn push(&mut self, date: Day, value: f64) {
        if let Some(newest) = self.newest.filter(|_| self.every_day) {
            self.dates.extend(newest + 1..date);
            self.values.resize(self.dates.len(), f64::NAN);
        }
        self.newest = Some(date);
        self.dates.push(date);
        self.values.push(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_without_a_close_are_steps_on_the_daily_calendar_of_models_that_take_them() {
        let mut spec = ModelSpec::of_family("arima");
        for (calendar, takes_gaps, expected) in [
            (Calendar::Daily, true, vec![8, 9, 10, 11, 12, 13]),
            (Calendar::Daily, false, vec![10, 13]),
            (Calendar::Trading, true, vec![10, 13]),
            (Calendar::Observed, true, vec![10, 13]),
        ] {
            spec.calendar = calendar;
            let mut steps = Steps::after(Some(7), &spec, takes_gaps);
            steps.push(10, 1.0);
            steps.push(13, 4.0);
            assert_eq!(steps.dates, expected);
            let known = steps
                .values
                .iter()
                .zip(&steps.dates)
                .filter(|(value, _)| !value.is_nan());
            let known: Vec<_> = known.map(|(value, date)| (*date, *value)).collect();
            assert_eq!(known, [(10, 1.0), (13, 4.0)]);
        }
        spec.calendar = Calendar::Daily;
        let mut first = Steps::after(None, &spec, true);
        first.push(10, 1.0);
        assert_eq!(first.dates, [10]);
    }
}
