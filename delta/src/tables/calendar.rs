//! `silver.calendar`: which days of a named calendar are open.

use arrow::datatypes::DataType;

use super::{TableDef, TableName, define_unpartitioned, required};

/// SQL name.
pub const NAME: &str = "silver.calendar";
/// Folder under the lake root.
pub const FOLDER: &str = "silver/calendar";

/// Name of the calendar, such as `us_exchange`.
pub const CALENDAR: &str = "calendar";
/// The day.
pub const DATE: &str = "date";
/// Whether the market is open on it.
pub const IS_OPEN: &str = "is_open";

/// The table, the same in every layout.
#[must_use]
pub fn def() -> TableDef {
    let fields = vec![
        required(CALENDAR, DataType::Utf8),
        required(DATE, DataType::Date32),
        required(IS_OPEN, DataType::Boolean),
    ];
    define_unpartitioned(
        TableName::Calendar,
        fields,
        &[CALENDAR, DATE],
        &[CALENDAR, DATE],
    )
}
