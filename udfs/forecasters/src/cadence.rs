//! How often a model is retrained: grids of dates counted from an anchor.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    date::{self, Day},
    errors::UnknownValue,
};

/// The distance between two grid dates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Frequency {
    /// Every calendar day.
    Daily,
    /// Every 7 days.
    Weekly,
    /// Every 14 days.
    Biweekly,
    /// Every month, clamped at month end.
    Monthly,
    /// Every 3 months, clamped at month end.
    Quarterly,
    /// Every 6 months, clamped at month end.
    Semiannually,
    /// Every 12 months, clamped at month end.
    Annually,
}

enum Period {
    Days(i32),
    Months(i32),
}

impl Frequency {
    /// Every frequency, shortest period first.
    pub const ALL: [Frequency; 7] = [
        Frequency::Daily,
        Frequency::Weekly,
        Frequency::Biweekly,
        Frequency::Monthly,
        Frequency::Quarterly,
        Frequency::Semiannually,
        Frequency::Annually,
    ];

    /// The name used on the command line and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Frequency::Daily => "daily",
            Frequency::Weekly => "weekly",
            Frequency::Biweekly => "biweekly",
            Frequency::Monthly => "monthly",
            Frequency::Quarterly => "quarterly",
            Frequency::Semiannually => "semiannually",
            Frequency::Annually => "annually",
        }
    }

    /// `anchor` plus `n` periods. Always counted from the anchor, so a month end is clamped but
    /// never forgotten: January 31, February 29, March 31.
    pub fn grid(self, anchor: Day, n: i32) -> Day {
        match self.period() {
            Period::Days(days) => anchor + days * n,
            Period::Months(months) => date::add_months_clamped(anchor, months * n),
        }
    }

    /// The latest grid date on or before `day`, or `None` if `day` is before the anchor.
    pub fn latest(self, anchor: Day, day: Day) -> Option<Day> {
        Some(self.grid(anchor, self.count(anchor, day)?))
    }

    /// The first grid date after `day`; the anchor itself if `day` is before it.
    pub fn next(self, anchor: Day, day: Day) -> Day {
        match self.count(anchor, day) {
            Some(n) => self.grid(anchor, n + 1),
            None => anchor,
        }
    }

    /// For every grid period that meets `start..=end`, in order: the grid date it starts on and
    /// the first date of the range that lies in it. Dates before the anchor lie in no period.
    pub fn periods(self, anchor: Day, start: Day, end: Day) -> Vec<(Day, Day)> {
        let start = start.max(anchor);
        let Some(first) = self.count(anchor, start) else {
            return Vec::new();
        };
        (first..)
            .map(|n| self.grid(anchor, n))
            .map(|period_start| (period_start, period_start.max(start)))
            .take_while(|(_, first_date)| *first_date <= end)
            .collect()
    }

    /// How many whole periods lie between the anchor and `day`, or `None` before the anchor.
    fn count(self, anchor: Day, day: Day) -> Option<i32> {
        if day < anchor {
            return None;
        }
        Some(match self.period() {
            Period::Days(days) => (day - anchor) / days,
            Period::Months(months) => {
                let ((from_year, from_month, _), (year, month, _)) =
                    (date::to_civil(anchor), date::to_civil(day));
                let between = (year - from_year) * 12 + month as i32 - from_month as i32;
                let n = between / months;
                if self.grid(anchor, n) > day { n - 1 } else { n }
            }
        })
    }

    fn period(self) -> Period {
        match self {
            Frequency::Daily => Period::Days(1),
            Frequency::Weekly => Period::Days(7),
            Frequency::Biweekly => Period::Days(14),
            Frequency::Monthly => Period::Months(1),
            Frequency::Quarterly => Period::Months(3),
            Frequency::Semiannually => Period::Months(6),
            Frequency::Annually => Period::Months(12),
        }
    }
}

impl fmt::Display for Frequency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Frequency {
    type Err = UnknownValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Frequency::ALL
            .into_iter()
            .find(|frequency| frequency.name() == text)
            .ok_or_else(|| {
                UnknownValue::new(
                    "frequency",
                    text,
                    Frequency::ALL.iter().map(|known| known.name()),
                )
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::date::{format, from_civil};

    #[test]
    fn a_monthly_grid_from_the_last_of_january_keeps_month_ends() {
        let anchor = from_civil(2024, 1, 31);
        let grid: Vec<_> = (0..4)
            .map(|n| format(Frequency::Monthly.grid(anchor, n)))
            .collect();
        assert_eq!(
            grid,
            ["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30"]
        );
    }

    #[test]
    fn latest_and_next_enclose_every_day() {
        for frequency in Frequency::ALL {
            for anchor in [
                from_civil(2023, 10, 31),
                from_civil(2024, 2, 29),
                from_civil(2022, 6, 15),
            ] {
                let grid: Vec<_> = (0..1200).map(|n| frequency.grid(anchor, n)).collect();
                assert!(grid.is_sorted_by(|a, b| a < b));
                for day in anchor..anchor + 1100 {
                    let after = grid.partition_point(|date| *date <= day);
                    assert_eq!(frequency.latest(anchor, day), Some(grid[after - 1]));
                    assert_eq!(frequency.next(anchor, day), grid[after]);
                }
                assert_eq!(frequency.latest(anchor, anchor - 1), None);
                assert_eq!(frequency.next(anchor, anchor - 9), anchor);
            }
        }
    }

    #[test]
    fn periods_start_where_the_range_enters_them() {
        let (anchor, start, end) = (
            from_civil(2024, 1, 15),
            from_civil(2024, 2, 20),
            from_civil(2024, 4, 15),
        );
        let periods: Vec<_> = Frequency::Monthly
            .periods(anchor, start, end)
            .into_iter()
            .map(|(period_start, first)| (format(period_start), format(first)))
            .collect();
        let expected = [
            ("2024-02-15", "2024-02-20"),
            ("2024-03-15", "2024-03-15"),
            ("2024-04-15", "2024-04-15"),
        ]
        .map(|(period_start, first)| (period_start.to_owned(), first.to_owned()));
        assert_eq!(periods, expected);
    }

    #[test]
    fn a_range_before_the_anchor_meets_no_period() {
        assert!(Frequency::Weekly.periods(100, 10, 99).is_empty());
        assert_eq!(Frequency::Weekly.periods(100, 10, 100), [(100, 100)]);
        assert!(Frequency::Weekly.periods(100, 120, 110).is_empty());
    }

    #[test]
    fn an_unknown_frequency_lists_the_known_ones() {
        assert_eq!("monthly".parse::<Frequency>().unwrap(), Frequency::Monthly);
        let message = "fortnightly".parse::<Frequency>().unwrap_err().to_string();
        assert!(
            message.contains("`fortnightly`") && message.contains("biweekly"),
            "{message}"
        );
    }
}
