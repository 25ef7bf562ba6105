//! The civil calendar over days since 1970-01-01.
//!
//! Proleptic Gregorian throughout. The conversions follow Howard Hinnant, "chrono-Compatible
//! Low-Level Date Algorithms": the year is taken to begin in March, so that the leap day is its
//! last day and month lengths follow one formula.

/// A date as days since 1970-01-01; earlier dates are negative.
pub type Day = i32;

/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_OFFSET: i32 = 719_468;
const DAYS_PER_ERA: i32 = 146_097;

/// The day of a civil date. `month` is 1 to 12 and `day_of_month` 1 to 31; a day beyond the end
/// of its month runs on into the next one.
pub fn from_civil(year: i32, month: u32, day_of_month: u32) -> Day {
    let (month, day_of_month) = (month as i32, day_of_month as i32);
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_shifted_year = (153 * month_from_march + 2) / 5 + day_of_month - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_shifted_year;
    era * DAYS_PER_ERA + day_of_era - EPOCH_OFFSET
}

/// The year, month (1 to 12) and day of month (1 to 31) of a day.
pub fn to_civil(day: Day) -> (i32, u32, u32) {
    let shifted = day + EPOCH_OFFSET;
    let era = shifted.div_euclid(DAYS_PER_ERA);
    let day_of_era = shifted.rem_euclid(DAYS_PER_ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_shifted_year =
        day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_shifted_year + 2) / 153;
    let day_of_month = day_of_shifted_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i32::from(month <= 2);
    (year, month as u32, day_of_month as u32)
}

/// The weekday of a day, 0 for Monday to 6 for Sunday.
pub fn weekday(day: Day) -> u32 {
    // 1970-01-01 was a Thursday.
    (day + 3).rem_euclid(7) as u32
}

/// The day of the year, 1 for January 1 to 366.
pub fn day_of_year(day: Day) -> u32 {
    let (year, _, _) = to_civil(day);
    (day - from_civil(year, 1, 1)) as u32 + 1
}

/// The number of days in a month (1 to 12) of a year.
pub fn days_in_month(year: i32, month: u32) -> u32 {
    let (next_year, next_month) = if month == 12 {
        (year + 1, 1)
    } else {
        (year, month + 1)
    };
    (from_civil(next_year, next_month, 1) - from_civil(year, month, 1)) as u32
}

/// `anchor` moved by whole months, keeping its day of month where the month has one and else the
/// month's last day: from January 31, one month gives February 28 or 29 and two give March 31.
pub fn add_months_clamped(anchor: Day, months: i32) -> Day {
    let (year, month, day_of_month) = to_civil(anchor);
    let from_year_zero = year * 12 + (month as i32 - 1) + months;
    let year = from_year_zero.div_euclid(12);
    let month = from_year_zero.rem_euclid(12) as u32 + 1;
    from_civil(year, month, day_of_month.min(days_in_month(year, month)))
}

/// The day as `YYYY-MM-DD`.
pub fn format(day: Day) -> String {
    let (year, month, day_of_month) = to_civil(day);
    format!("{year:04}-{month:02}-{day_of_month:02}")
}

/// Reads exactly `YYYY-MM-DD`; `None` for any other text and for dates that do not exist.
pub fn parse(text: &str) -> Option<Day> {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let number = |digits: &[u8]| {
        digits.iter().try_fold(0u32, |total, digit| {
            digit
                .is_ascii_digit()
                .then(|| total * 10 + u32::from(digit - b'0'))
        })
    };
    let (year, month, day_of_month) = (
        number(&bytes[..4])? as i32,
        number(&bytes[5..7])?,
        number(&bytes[8..])?,
    );
    let exists =
        (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day_of_month);
    exists.then(|| from_civil(year, month, day_of_month))
}

/// Dates as `YYYY-MM-DD` in serialized text, for `#[serde(with = "...")]`.
pub(crate) mod text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::Day;

    pub(crate) fn serialize<S: Serializer>(day: &Day, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::format(*day))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Day, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse(&text).ok_or_else(|| D::Error::custom(format!("`{text}` is not a date")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_epoch_was_a_thursday() {
        assert_eq!(from_civil(1970, 1, 1), 0);
        assert_eq!(to_civil(0), (1970, 1, 1));
        assert_eq!(weekday(0), 3);
        assert_eq!(weekday(-4), 6);
    }

    #[test]
    fn every_day_of_four_centuries_round_trips_in_order() {
        let first = from_civil(1700, 1, 1);
        let (mut year, mut month, mut day_of_month) = (1700, 1, 1);
        for day in first..from_civil(2101, 1, 1) {
            assert_eq!(to_civil(day), (year, month, day_of_month));
            assert_eq!(from_civil(year, month, day_of_month), day);
            assert_eq!(parse(&format(day)), Some(day));
            day_of_month += 1;
            if day_of_month > days_in_month(year, month) {
                (day_of_month, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
        }
    }

    #[test]
    fn known_days_have_known_numbers() {
        assert_eq!(from_civil(2000, 3, 1), 11_017);
        assert_eq!(format(19_723), "2024-01-01");
        assert_eq!(weekday(19_723), 0);
        assert_eq!(day_of_year(from_civil(2024, 12, 31)), 366);
        assert_eq!(day_of_year(from_civil(2023, 3, 1)), 60);
    }

    #[test]
    fn months_added_to_a_month_end_are_clamped_but_not_forgotten() {
        let anchor = from_civil(2024, 1, 31);
        assert_eq!(format(add_months_clamped(anchor, 1)), "2024-02-29");
        assert_eq!(format(add_months_clamped(anchor, 2)), "2024-03-31");
        assert_eq!(format(add_months_clamped(anchor, 13)), "2025-02-28");
        assert_eq!(format(add_months_clamped(anchor, -1)), "2023-12-31");
        assert_eq!(format(add_months_clamped(anchor, -2)), "2023-11-30");
    }

    #[test]
    fn only_real_dates_in_the_one_format_are_read() {
        for text in [
            "2023-02-29",
            "2023-13-01",
            "2023-00-10",
            "2023-1-01",
            "20230101",
            "2023-01-1x",
            "",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse("2024-02-29"), Some(from_civil(2024, 2, 29)));
    }
}
