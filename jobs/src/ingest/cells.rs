//! What one cell of a file says: a day, a number, a flag, or nothing.

use almanac_udfs::forecasters::date::{self, Day};

const NOTHING: [&str; 4] = ["", "na", "null", "nan"];

/// Why a date cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadDate {
    /// It is no date of a known form.
    Unreadable,
    /// It is a time of day other than midnight.
    NotMidnight,
}

/// The text without surrounding white space, or `None` if it stands for a missing value.
pub(super) fn present(text: &str) -> Option<&str> {
    let text = text.trim();
    (!NOTHING
        .iter()
        .any(|nothing| text.eq_ignore_ascii_case(nothing)))
    .then_some(text)
}

/// Reads `2020-01-02` and `2020/01/02`, also with a time of day if that is midnight.
pub(super) fn day(text: &str) -> Result<Day, BadDate> {
    let (head, tail) = text.split_at_checked(10).ok_or(BadDate::Unreadable)?;
    let found = if head.contains('/') {
        date::parse(&head.replace('/', "-"))
    } else {
        date::parse(head)
    };
    let day = found.ok_or(BadDate::Unreadable)?;
    match tail.strip_prefix(['T', ' ']) {
        None if tail.is_empty() => Ok(day),
        None => Err(BadDate::Unreadable),
        Some(time) => midnight(time).map(|()| day),
    }
}

/// A finite or infinite number. `None` if it is none; `NaN` is a missing value, not a number.
pub(super) fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|value: &f64| !value.is_nan())
}

/// A truth value as files write it.
pub(super) fn flag(text: &str) -> Option<bool> {
    let is = |known: &[&str]| known.iter().any(|known| text.eq_ignore_ascii_case(known));
    if is(&["1", "true", "t", "yes", "y", "1.0"]) {
        Some(true)
    } else if is(&["0", "false", "f", "no", "n", "0.0"]) {
        Some(false)
    } else {
        None
    }
}

fn midnight(time: &str) -> Result<(), BadDate> {
    let time = time.trim_end_matches('Z');
    let time = time.strip_suffix("+00:00").unwrap_or(time);
    let well_formed = time.len() >= 5
        && time
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b":.".contains(&byte));
    if !well_formed {
        Err(BadDate::Unreadable)
    } else if time.bytes().any(|byte| (b'1'..=b'9').contains(&byte)) {
        Err(BadDate::NotMidnight)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_in_every_promised_form() {
        let expected = Ok(date::from_civil(2020, 1, 2));
        for text in [
            "2020-01-02",
            "2020/01/02",
            "2020-01-02T00:00:00",
            "2020-01-02 00:00:00",
            "2020-01-02 00:00:00.000",
            "2020-01-02T00:00:00Z",
            "2020-01-02 00:00:00+00:00",
        ] {
            assert_eq!(day(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_day_is_refused() {
        for text in [
            "2020-02-30",
            "02/01/2020",
            "20200102",
            "2020-01-02x",
            "2020-01-0é",
            "",
            "2020-01-02 noon",
        ] {
            assert_eq!(day(text), Err(BadDate::Unreadable), "{text}");
        }
        assert_eq!(day("2020-01-02 17:30:00"), Err(BadDate::NotMidnight));
    }

    #[test]
    fn missing_values_are_known_in_any_case() {
        for text in ["", "  ", "NA", "null", "NaN", "nan", "NULL"] {
            assert_eq!(present(text), None, "{text}");
        }
        assert_eq!(present(" 1.5 "), Some("1.5"));
    }

    #[test]
    fn numbers_and_flags() {
        assert_eq!(number("-1.5e3"), Some(-1500.0));
        assert_eq!(number("inf"), Some(f64::INFINITY));
        assert_eq!(number("1,5"), None);
        assert_eq!(flag("True"), Some(true));
        assert_eq!(flag("0"), Some(false));
        assert_eq!(flag("2"), None);
    }
}
