//! Which days a series has a value on: the calendars, the exchange holidays, and the weekdays a
//! series is seen to trade on.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    date::{self, Day},
    errors::UnknownValue,
};

/// What one step of a model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Calendar {
    /// A step is a trading day.
    Trading,
    /// A step is a calendar day.
    Daily,
    /// A step is the next observation, whenever it comes.
    Observed,
}

impl Calendar {
    /// Every calendar.
    pub const ALL: [Calendar; 3] = [Calendar::Trading, Calendar::Daily, Calendar::Observed];

    /// The name used in settings.
    pub fn name(self) -> &'static str {
        match self {
            Calendar::Trading => "trading",
            Calendar::Daily => "daily",
            Calendar::Observed => "observed",
        }
    }
}

impl fmt::Display for Calendar {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Calendar {
    type Err = UnknownValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Calendar::ALL
            .into_iter()
            .find(|calendar| calendar.name() == text)
            .ok_or_else(|| {
                UnknownValue::new(
                    "calendar",
                    text,
                    Calendar::ALL.iter().map(|known| known.name()),
                )
            })
    }
}

const MONDAY: u32 = 0;
const THURSDAY: u32 = 3;
const SATURDAY: u32 = 5;
const SUNDAY: u32 = 6;

/// The full-day closures of the US exchanges (NYSE, ICE US) by rule, sorted, for every year from
/// `first_year` to `last_year` inclusive.
///
/// The rules are those of 1971 on, when the Monday holidays began. One-off closures (storms,
/// days of mourning) follow no rule and are not here.
pub fn us_exchange_holidays(first_year: i32, last_year: i32) -> Vec<Day> {
    let mut holidays = Vec::new();
    for year in first_year..=last_year {
        let new_year = date::from_civil(year, 1, 1);
        match date::weekday(new_year) {
            // A Saturday New Year's Day is not moved into the old year: Friday trades.
            SATURDAY => {}
            SUNDAY => holidays.push(new_year + 1),
            _ => holidays.push(new_year),
        }
        if year >= 1998 {
            holidays.push(nth_weekday(year, 1, MONDAY, 3));
        }
        holidays.push(nth_weekday(year, 2, MONDAY, 3));
        holidays.push(easter_sunday(year) - 2);
        holidays.push(last_monday_of_may(year));
        if year >= 2022 {
            holidays.push(observed(date::from_civil(year, 6, 19)));
        }
        holidays.push(observed(date::from_civil(year, 7, 4)));
        holidays.push(nth_weekday(year, 9, MONDAY, 1));
        holidays.push(nth_weekday(year, 11, THURSDAY, 4));
        holidays.push(observed(date::from_civil(year, 12, 25)));
    }
    holidays.sort_unstable();
    holidays
}

/// Which coming days trade, learned from the observed dates.
///
/// A weekday trades if at least half of its last 52 occurrences before the day in question have
/// an observation; closed days that are named (`holidays`) never trade. Each weekday keeps one
/// bit per week, so a push and a query take constant time, for days in any order.
#[derive(Clone, Debug)]
pub struct TradingDays {
    holidays: Vec<Day>,
    first: Option<Day>,
    /// The Monday of the week that bit 0 stands for.
    origin: Day,
    /// Per weekday, one bit per week since `origin`, lowest bit first.
    weeks: [Vec<u64>; 7],
}

const OCCURRENCES: i32 = 52;
const WEEKS_PER_WORD: i32 = u64::BITS as i32;

impl TradingDays {
    /// Starts without observations. `holidays` are closed days, sorted.
    pub fn new(holidays: &[Day]) -> Self {
        TradingDays {
            holidays: holidays.to_vec(),
            first: None,
            origin: 0,
            weeks: [const { Vec::new() }; 7],
        }
    }

    /// Records that the series has an observation on this day. Pushing a day twice counts once.
    pub fn push(&mut self, observed: Day) {
        let weekday = date::weekday(observed);
        let monday = observed - weekday as Day;
        match self.first {
            None => self.origin = monday,
            Some(_) if monday < self.origin => self.extend_back(monday),
            Some(_) => {}
        }
        self.first = Some(self.first.map_or(observed, |first| first.min(observed)));
        let week = (monday - self.origin) / 7;
        let (word, bit) = ((week / WEEKS_PER_WORD) as usize, week % WEEKS_PER_WORD);
        let words = &mut self.weeks[weekday as usize];
        if words.len() <= word {
            words.resize(word + 1, 0);
        }
        words[word] |= 1 << bit;
    }

    /// Which weekdays (0 for Monday) trade as of `day`, judged on observations before it only.
    ///
    /// With fewer than 52 occurrences since the first observation, those there are decide; with
    /// none, the weekday does not trade.
    pub fn pattern(&self, day: Day) -> [bool; 7] {
        std::array::from_fn(|weekday| self.weekday_trades(weekday as Day, day))
    }

    /// Whether `day` trades under a weekday pattern: its weekday does and it is no holiday.
    pub fn is_open(&self, pattern: &[bool; 7], day: Day) -> bool {
        pattern[date::weekday(day) as usize] && self.holidays.binary_search(&day).is_err()
    }

    fn weekday_trades(&self, weekday: Day, day: Day) -> bool {
        let Some(first) = self.first.filter(|first| *first < day) else {
            return false;
        };
        // Weeks since the origin of the newest occurrence before `day` and of the oldest one on
        // or after the first observation.
        let newest = (day - 1 - self.origin - weekday).div_euclid(7);
        let oldest = (first - self.origin - weekday + 6)
            .div_euclid(7)
            .max(newest - OCCURRENCES + 1);
        if newest < oldest {
            return false;
        }
        let occurrences = newest - oldest + 1;
        let words = &self.weeks[weekday as usize];
        let word_at = |index: i32| words.get(index as usize).copied().unwrap_or(0);
        let (word, bit) = (oldest / WEEKS_PER_WORD, oldest % WEEKS_PER_WORD);
        let joined = u128::from(word_at(word)) | (u128::from(word_at(word + 1)) << WEEKS_PER_WORD);
        let window = (joined >> bit) & ((1 << occurrences) - 1);
        window.count_ones() as i32 * 2 >= occurrences
    }

    fn extend_back(&mut self, monday: Day) {
        let weeks = (self.origin - monday) / 7;
        let words = (weeks + WEEKS_PER_WORD - 1) / WEEKS_PER_WORD;
        for weekday in &mut self.weeks {
            weekday.splice(..0, std::iter::repeat_n(0, words as usize));
        }
        self.origin -= words * WEEKS_PER_WORD * 7;
    }
}

/// A fixed holiday on a Saturday is kept on Friday, one on a Sunday on Monday.
fn observed(holiday: Day) -> Day {
    match date::weekday(holiday) {
        SATURDAY => holiday - 1,
        SUNDAY => holiday + 1,
        _ => holiday,
    }
}

fn nth_weekday(year: i32, month: u32, weekday: u32, n: i32) -> Day {
    let first = date::from_civil(year, month, 1);
    let offset = (weekday as i32 - date::weekday(first) as i32).rem_euclid(7);
    first + offset + 7 * (n - 1)
}

fn last_monday_of_may(year: i32) -> Day {
    let last = date::from_civil(year, 5, 31);
    last - date::weekday(last) as i32
}

/// The anonymous Gregorian computus (Meeus, *Astronomical Algorithms*, chapter 8).
fn easter_sunday(year: i32) -> Day {
    let golden = year.rem_euclid(19);
    let (century, year_of_century) = (year.div_euclid(100), year.rem_euclid(100));
    let correction = (8 * century + 13) / 25;
    let epact = (19 * golden + century - century / 4 - correction + 15).rem_euclid(30);
    let to_sunday =
        (32 + 2 * (century % 4) + 2 * (year_of_century / 4) - epact - year_of_century % 4)
            .rem_euclid(7);
    let late = (golden + 11 * epact + 22 * to_sunday) / 451;
    let from_march = epact + to_sunday - 7 * late + 114;
    date::from_civil(year, (from_march / 31) as u32, (from_march % 31 + 1) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::date::{format, from_civil, parse};

    fn holidays_of(year: i32) -> Vec<String> {
        us_exchange_holidays(year, year)
            .into_iter()
            .map(|day| format(day)[5..].to_owned())
            .collect()
    }

    #[test]
    fn easter_falls_on_its_known_dates() {
        let known = [
            "1954-04-18",
            "1981-04-19",
            "2000-04-23",
            "2008-03-23",
            "2011-04-24",
            "2016-03-27",
            "2019-04-21",
            "2024-03-31",
            "2025-04-20",
            "2038-04-25",
            "2049-04-18",
        ];
        for text in known {
            let day = parse(text).unwrap();
            assert_eq!(format(easter_sunday(date::to_civil(day).0)), text);
        }
    }

    #[test]
    fn published_closures_are_reproduced() {
        assert_eq!(
            holidays_of(2020),
            [
                "01-01", "01-20", "02-17", "04-10", "05-25", "07-03", "09-07", "11-26", "12-25"
            ]
        );
        assert_eq!(
            holidays_of(2021),
            [
                "01-01", "01-18", "02-15", "04-02", "05-31", "07-05", "09-06", "11-25", "12-24"
            ]
        );
        assert_eq!(
            holidays_of(2022),
            [
                "01-17", "02-21", "04-15", "05-30", "06-20", "07-04", "09-05", "11-24", "12-26"
            ]
        );
        assert_eq!(
            holidays_of(2023),
            [
                "01-02", "01-16", "02-20", "04-07", "05-29", "06-19", "07-04", "09-04", "11-23",
                "12-25"
            ]
        );
        assert_eq!(
            holidays_of(2024),
            [
                "01-01", "01-15", "02-19", "03-29", "05-27", "06-19", "07-04", "09-02", "11-28",
                "12-25"
            ]
        );
    }

    #[test]
    fn holidays_begin_in_the_years_they_were_introduced() {
        assert!(!holidays_of(1997).contains(&"01-20".to_owned()));
        assert!(holidays_of(1998).contains(&"01-19".to_owned()));
        assert!(!holidays_of(2021).contains(&"06-18".to_owned()));
        assert!(us_exchange_holidays(1990, 2050).is_sorted_by(|a, b| a < b));
    }

    /// The definition, counted day by day.
    fn pattern_by_definition(observed: &[Day], day: Day) -> [bool; 7] {
        std::array::from_fn(|weekday| {
            let Some(first) = observed.iter().copied().find(|seen| *seen < day) else {
                return false;
            };
            let occurrences: Vec<Day> = (first..day)
                .rev()
                .filter(|past| date::weekday(*past) as usize == weekday)
                .take(52)
                .collect();
            let seen = occurrences
                .iter()
                .filter(|past| observed.contains(past))
                .count();
            !occurrences.is_empty() && seen * 2 >= occurrences.len()
        })
    }

    #[test]
    fn the_pattern_follows_its_definition_on_ragged_observations() {
        let start = from_civil(2019, 3, 6);
        let observed: Vec<Day> = (start..start + 900)
            .filter(|day| {
                let mixed = (*day as u32).wrapping_mul(2_654_435_761) >> 24;
                match date::weekday(*day) {
                    0..=2 => mixed > 30,
                    3 => mixed > 128,
                    4 => *day > start + 400,
                    _ => mixed > 240,
                }
            })
            .collect();
        let mut trading_days = TradingDays::new(&[]);
        for (index, day) in observed.iter().enumerate() {
            trading_days.push(*day);
            assert_eq!(
                trading_days.pattern(day + 1),
                pattern_by_definition(&observed[..=index], day + 1)
            );
        }
        for day in (start - 3..start + 1_600).step_by(5) {
            assert_eq!(
                trading_days.pattern(day),
                pattern_by_definition(&observed, day),
                "{day}"
            );
        }
    }

    #[test]
    fn days_pushed_out_of_order_count_the_same() {
        let days: Vec<Day> = (18_000..18_900)
            .filter(|day| date::weekday(*day) < 5)
            .collect();
        let (mut forward, mut backward) = (TradingDays::new(&[]), TradingDays::new(&[]));
        days.iter().for_each(|day| forward.push(*day));
        days.iter().rev().for_each(|day| backward.push(*day));
        for day in 17_990..19_300 {
            assert_eq!(forward.pattern(day), backward.pattern(day));
        }
    }

    #[test]
    fn holidays_and_weekends_are_closed() {
        let holidays = us_exchange_holidays(2023, 2024);
        let mut trading_days = TradingDays::new(&holidays);
        for day in from_civil(2023, 1, 2)..from_civil(2023, 12, 31) {
            if date::weekday(day) < 5 && holidays.binary_search(&day).is_err() {
                trading_days.push(day);
            }
        }
        let pattern = trading_days.pattern(from_civil(2024, 1, 1));
        assert_eq!(pattern, [true, true, true, true, true, false, false]);
        assert!(!trading_days.is_open(&pattern, from_civil(2024, 1, 1)));
        assert!(trading_days.is_open(&pattern, from_civil(2024, 1, 2)));
        assert!(!trading_days.is_open(&pattern, from_civil(2024, 1, 6)));
    }

    #[test]
    fn a_series_without_observations_does_not_trade() {
        assert_eq!(TradingDays::new(&[]).pattern(20_000), [false; 7]);
    }
}
