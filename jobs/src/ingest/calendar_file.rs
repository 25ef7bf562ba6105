//! Open and closed days from a CSV file.

use std::path::Path;

use almanac_delta::tables::calendar::{CALENDAR, DATE, IS_OPEN};
use almanac_udfs::forecasters::date::Day;
use almanac_udfs::forecasters::nearest;
use csv::ByteRecord;

use super::error::IngestError;
use super::{cells, csv_source};

/// One day of a calendar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalendarRow {
    /// The calendar.
    pub calendar: String,
    /// The day.
    pub day: Day,
    /// Whether it is open.
    pub is_open: bool,
}

/// Reads a file with `date`, `is_open` and, if its days are not all of the calendar given,
/// `calendar`.
///
/// # Errors
/// When the file or any row of it is unfit.
pub fn read_calendar(path: &Path, calendar: &str) -> Result<Vec<CalendarRow>, IngestError> {
    let unreadable = |error: csv::Error| csv_source::unreadable(path, &error.to_string());
    let (_, mut reader) = csv_source::open(path)?;
    let header = reader.byte_headers().map_err(unreadable)?.clone();
    let names: Vec<String> = header
        .iter()
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    let find = |wanted: &str| {
        names
            .iter()
            .position(|name| name.eq_ignore_ascii_case(wanted))
    };
    let needed = |wanted: &str| {
        find(wanted).ok_or_else(|| IngestError::MissingColumn {
            file: path.to_owned(),
            column: wanted.to_owned(),
            found: names.clone(),
            meant: nearest(wanted, names.iter().map(String::as_str)),
        })
    };
    let (date, is_open, named) = (needed(DATE)?, needed(IS_OPEN)?, find(CALENDAR));
    let mut rows = vec![];
    let mut record = ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(unreadable)? {
        let field = |index: usize| {
            String::from_utf8_lossy(record.get(index).unwrap_or_default())
                .trim()
                .to_owned()
        };
        let bad = |name: &str, index: usize, needed: &str| IngestError::BadRow {
            file: path.to_owned(),
            row: rows.len() as u64 + 1,
            reason: format!("`{name}` is `{}`, {needed}", field(index)),
        };
        let day = cells::day(&field(date))
            .map_err(|_| bad(DATE, date, "not a date such as 2020-01-31"))?;
        let is_open = cells::flag(&field(is_open))
            .ok_or_else(|| bad(IS_OPEN, is_open, "neither true nor false"))?;
        let named = named.map(field).filter(|name| !name.is_empty());
        rows.push(CalendarRow {
            calendar: named.unwrap_or_else(|| calendar.to_owned()),
            day,
            is_open,
        });
    }
    if rows.is_empty() {
        return Err(IngestError::Empty {
            file: path.to_owned(),
        });
    }
    Ok(rows)
}
