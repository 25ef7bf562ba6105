//! A long table of series: a row for each series and time.
//!
//! Times only put a series' values in order, unless they are calendar days, which models may look
//! at. So whole numbers, timestamps and days are all times; a series must not have one twice. Days and
//! timestamps may stand in one file; whole numbers are of no calendar, and stand alone.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::RangeInclusive;
use std::path::Path;

use almanac_udfs::forecasters::{Day, date};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, TimeUnit};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::context::today;
use crate::error::JobError;

/// The columns of the file by their part.
#[derive(Debug, Clone)]
pub struct Columns {
    /// Which series.
    pub id: String,
    /// When.
    pub time: String,
    /// How much.
    pub value: String,
    /// `train` or `test`; not in every file.
    pub split: String,
}

/// One series, cut where its forecast starts.
#[derive(Debug, Clone, PartialEq)]
pub struct LongSeries {
    /// Its name.
    pub id: String,
    /// The dates of the history: those of the file where all are days that a lake can have, else one
    /// day after another.
    pub dates: Vec<Day>,
    /// The history.
    pub history: Vec<f64>,
    /// What came after it, as many values as the horizon.
    pub actual: Vec<f64>,
}

/// When a value was observed.
#[derive(Debug, Clone, Copy)]
enum Time {
    Day(Day),
    /// Microseconds since 1970.
    Moment(i64),
    Count(i64),
}

impl Time {
    /// A number that grows with time, among those of one calendar.
    fn place(self) -> i64 {
        match self {
            Time::Day(day) => i64::from(day) * MICROS_PER_DAY,
            Time::Moment(count) | Time::Count(count) => count,
        }
    }

    /// The calendar day, if it is one.
    fn day(self) -> Option<Day> {
        match self {
            Time::Day(day) => Some(day),
            Time::Moment(count) if count % MICROS_PER_DAY == 0 => {
                Day::try_from(count / MICROS_PER_DAY).ok()
            }
            Time::Moment(_) | Time::Count(_) => None,
        }
    }
}

struct Row {
    time: Time,
    value: f64,
    is_test: Option<bool>,
}

/// What a file holds.
#[derive(Default)]
struct Rows {
    series: BTreeMap<String, Vec<Row>>,
    without_value: usize,
}

impl Rows {
    /// The rows of a series.
    fn of(&mut self, id: &str) -> &mut Vec<Row> {
        self.series.entry(id.to_owned()).or_default()
    }
}

/// A file's series.
#[derive(Debug)]
pub struct LongTable {
    /// Those that can be scored.
    pub series: Vec<LongSeries>,
    /// The names of those that are too short.
    pub too_short: Vec<String>,
    /// How many rows have no value: they are no observations.
    pub without_value: usize,
}

/// Reads a CSV or Parquet file and cuts every series before its last `horizon` values, or before its
/// rows of the split `test`. Rows without a value are left out.
///
/// # Errors
/// When the file cannot be read as such a table, or no series can be cut.
pub fn read(path: &Path, columns: &Columns, horizon: usize) -> Result<LongTable, JobError> {
    let rows = if is_parquet(path)? {
        parquet_rows(path, columns)?
    } else {
        csv_rows(path, columns)?
    };
    let times = || rows.series.values().flatten().map(|row| row.time);
    if times().next().is_none() {
        let message = format!("`{}` has no row with a value", path.display());
        return Err(JobError::user(
            message,
            "it needs a row for each series and time",
        ));
    }
    let counts = times()
        .filter(|time| matches!(time, Time::Count(_)))
        .count();
    if counts > 0 && counts < times().count() {
        return Err(JobError::user(
            format!("the times in `{}` are of different kinds", path.display()),
            "give days and timestamps, or whole numbers alone",
        ));
    }
    // Others are days of no lake.
    let days = date::from_civil(1900, 1, 1)..=today();
    let mut table = LongTable {
        series: vec![],
        too_short: vec![],
        without_value: rows.without_value,
    };
    let mut refused = None;
    for (id, rows) in rows.series {
        match cut(id, rows, horizon, &days)? {
            Cut::Series(series) => table.series.push(series),
            Cut::TooShort(id, error) => {
                table.too_short.push(id);
                refused.get_or_insert(error);
            }
        }
    }
    match refused {
        Some(error) if table.series.is_empty() => Err(error),
        _ => Ok(table),
    }
}

fn is_parquet(path: &Path) -> Result<bool, JobError> {
    use std::io::Read as _;
    let mut head = vec![];
    let read = File::open(path).and_then(|file| file.take(4).read_to_end(&mut head));
    read.map_err(|error| unreadable(path, &error))?;
    Ok(head == b"PAR1")
}

fn unreadable(path: &Path, reason: &dyn std::fmt::Display) -> JobError {
    JobError::user(
        format!("`{}` cannot be read: {reason}", path.display()),
        "give a CSV file with a header, or a Parquet file",
    )
}

fn no_column(path: &Path, name: &str, names: &[String]) -> JobError {
    JobError::user(
        format!(
            "`{}` has no column `{name}`; it has {}",
            path.display(),
            names.join(", ")
        ),
        "name its columns with --id, --time and --value",
    )
}

fn bad(path: &Path, row: usize, what: &str, found: &str) -> JobError {
    JobError::user(
        format!("`{}`, row {row}: `{found}` is no {what}", path.display()),
        "times are days (2024-02-29), timestamps or whole numbers; values are numbers; splits are train or test",
    )
}

/// Whether a row is one of the split `test`; `None` if it does not say.
fn split(path: &Path, row: usize, text: &str) -> Result<Option<bool>, JobError> {
    match text {
        "" => Ok(None),
        "train" => Ok(Some(false)),
        "test" => Ok(Some(true)),
        _ => Err(bad(path, row, "split", text)),
    }
}

fn csv_rows(path: &Path, columns: &Columns) -> Result<Rows, JobError> {
    let mut reader = csv::Reader::from_path(path).map_err(|error| unreadable(path, &error))?;
    let header = reader.headers().map_err(|error| unreadable(path, &error))?;
    let names: Vec<String> = header.iter().map(|name| name.trim().to_owned()).collect();
    let place = |name: &str| names.iter().position(|found| found == name);
    let needed = |name: &str| place(name).ok_or_else(|| no_column(path, name, &names));
    let (id, time, value) = (
        needed(&columns.id)?,
        needed(&columns.time)?,
        needed(&columns.value)?,
    );
    let split_at = place(&columns.split);
    let mut rows = Rows::default();
    for (index, record) in reader.records().enumerate() {
        let record = record.map_err(|error| unreadable(path, &error))?;
        let (row, cell) = (index + 2, |place: usize| {
            record.get(place).unwrap_or("").trim()
        });
        let name = cell(id);
        if name.is_empty() {
            return Err(bad(path, row, "name of a series", name));
        }
        let text = cell(value);
        if ["", "na", "nan", "null"].contains(&text.to_ascii_lowercase().as_str()) {
            rows.of(name);
            rows.without_value += 1;
            continue;
        }
        let number = text.parse().ok().filter(|number: &f64| number.is_finite());
        let number = number.ok_or_else(|| bad(path, row, "number", text))?;
        let moment = moment(cell(time)).ok_or_else(|| bad(path, row, "time", cell(time)))?;
        let is_test = split_at
            .map(|place| split(path, row, cell(place)))
            .transpose()?
            .flatten();
        rows.of(name).push(Row {
            time: moment,
            value: number,
            is_test,
        });
    }
    Ok(rows)
}

/// A time as text.
fn moment(text: &str) -> Option<Time> {
    if let Ok(count) = text.parse() {
        return Some(Time::Count(count));
    }
    if let Some(day) = date::parse(text) {
        return Some(Time::Day(day));
    }
    let day = date::parse(text.get(..10)?)?;
    let rest = text.get(11..)?;
    let rest = rest
        .strip_suffix('Z')
        .or_else(|| rest.strip_suffix("+00:00"));
    let parts: Vec<&str> = rest.unwrap_or(&text[11..]).split(':').collect();
    if !matches!(text.as_bytes()[10], b' ' | b'T') || !(2..=3).contains(&parts.len()) {
        return None;
    }
    let part = |place: usize, limit: f64| {
        let part = parts.get(place).copied().unwrap_or("0");
        let number = part
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
        part.parse()
            .ok()
            .filter(|value: &f64| number && *value < limit)
    };
    let seconds = part(0, 24.0)? * 3_600.0 + part(1, 60.0)? * 60.0 + part(2, 60.0)?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a day has 86,400,000,000 microseconds"
    )]
    let micros = (seconds * 1e6).round() as i64;
    Some(Time::Moment(i64::from(day) * MICROS_PER_DAY + micros))
}

const MICROS_PER_DAY: i64 = 86_400_000_000;

fn parquet_rows(path: &Path, columns: &Columns) -> Result<Rows, JobError> {
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(ParquetRecordBatchReaderBuilder::build)
        .map_err(|error| unreadable(path, &error))?;
    let mut rows = Rows::default();
    let mut before = 0;
    for batch in reader {
        let batch = batch.map_err(|error| unreadable(path, &error))?;
        take(path, &batch, columns, before, &mut rows)?;
        before += batch.num_rows();
    }
    Ok(rows)
}

fn take(
    path: &Path,
    batch: &RecordBatch,
    columns: &Columns,
    before: usize,
    rows: &mut Rows,
) -> Result<(), JobError> {
    let schema = batch.schema();
    let names: Vec<String> = schema
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    let found = |name: &str| {
        let found = batch.column_by_name(name);
        found.ok_or_else(|| no_column(path, name, &names))
    };
    let column = |name: &str, wanted: &DataType| {
        let found = found(name)?;
        cast(found, wanted).map_err(|error| unreadable(path, &format!("column `{name}`: {error}")))
    };
    let ids = column(&columns.id, &DataType::Utf8)?;
    let given = found(&columns.value)?.data_type();
    if !given.is_numeric() {
        let name = &columns.value;
        return Err(unreadable(
            path,
            &format!("column `{name}` is {given}, no numbers"),
        ));
    }
    let values = column(&columns.value, &DataType::Float64)?;
    let (ids, values) = (ids.as_string::<i32>(), values.as_primitive::<Float64Type>());
    let times = times(path, batch, &columns.time, &names)?;
    let splits = if names.contains(&columns.split) {
        Some(column(&columns.split, &DataType::Utf8)?)
    } else {
        None
    };
    let splits = splits.as_ref().map(|splits| splits.as_string::<i32>());
    for (row, time) in times.into_iter().enumerate() {
        let number = before + row + 1;
        let id = if ids.is_valid(row) {
            ids.value(row).trim()
        } else {
            ""
        };
        if id.is_empty() {
            return Err(bad(path, number, "name of a series", id));
        }
        let entry = rows.of(id);
        if values.is_null(row) || values.value(row).is_nan() {
            rows.without_value += 1;
            continue;
        }
        if values.value(row).is_infinite() {
            return Err(bad(path, number, "number", &values.value(row).to_string()));
        }
        let time = time.ok_or_else(|| bad(path, number, "time", "null"))?;
        let text = splits.map(|splits| {
            if splits.is_valid(row) {
                splits.value(row)
            } else {
                ""
            }
        });
        let is_test = text
            .map(|text| split(path, number, text))
            .transpose()?
            .flatten();
        entry.push(Row {
            time,
            value: values.value(row),
            is_test,
        });
    }
    Ok(())
}

fn times(
    path: &Path,
    batch: &RecordBatch,
    name: &str,
    names: &[String],
) -> Result<Vec<Option<Time>>, JobError> {
    let column = batch
        .column_by_name(name)
        .ok_or_else(|| no_column(path, name, names))?;
    let wrong = || {
        unreadable(
            path,
            &format!("column `{name}` is {}, no times", column.data_type()),
        )
    };
    let wanted = match column.data_type() {
        DataType::Date32 | DataType::Date64 => DataType::Date32,
        DataType::Timestamp(..) => DataType::Timestamp(TimeUnit::Microsecond, None),
        found if found.is_integer() => DataType::Int64,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(..) => {
            DataType::Utf8
        }
        _ => return Err(wrong()),
    };
    let typed = cast(column, &wanted).map_err(|_| wrong())?;
    if wanted == DataType::Utf8 {
        return Ok(typed
            .as_string::<i32>()
            .iter()
            .map(|text| moment(text?))
            .collect());
    }
    if wanted == DataType::Date32 {
        let days = cast(&typed, &DataType::Int32).map_err(|_| wrong())?;
        return Ok(days
            .as_primitive::<Int32Type>()
            .iter()
            .map(|day| day.map(Time::Day))
            .collect());
    }
    let counts = cast(&typed, &DataType::Int64).map_err(|_| wrong())?;
    let time = match wanted {
        DataType::Timestamp(..) => Time::Moment,
        _ => Time::Count,
    };
    let counts = counts.as_primitive::<Int64Type>().iter();
    Ok(counts.map(|count| count.map(time)).collect())
}

/// A series, or why it is none.
enum Cut {
    Series(LongSeries),
    TooShort(String, JobError),
}

/// Puts a series in order and cuts it.
fn cut(
    id: String,
    mut rows: Vec<Row>,
    horizon: usize,
    days: &RangeInclusive<Day>,
) -> Result<Cut, JobError> {
    let wrong =
        |reason: String, hint: &str| JobError::user(format!("series `{id}`: {reason}"), hint);
    rows.sort_by_key(|row| row.time.place());
    let places = || rows.iter().map(|row| row.time.place());
    if places()
        .zip(places().skip(1))
        .any(|(one, next)| one == next)
    {
        return Err(wrong(
            "a time stands twice".to_owned(),
            "each series needs one row for each time",
        ));
    }
    if rows
        .windows(2)
        .any(|pair| pair[0].is_test.is_some() != pair[1].is_test.is_some())
    {
        let reason = "some rows are of a split and some of none".to_owned();
        return Err(wrong(
            reason,
            "the split is `train` or `test` in all rows, or blank in all",
        ));
    }
    let start = match rows.first().map(|row| row.is_test) {
        None | Some(None) => rows.len().saturating_sub(horizon),
        Some(Some(_)) => {
            let first = rows.iter().position(|row| row.is_test != Some(false));
            let first = first.unwrap_or(rows.len());
            if rows[first..].iter().any(|row| row.is_test == Some(false)) {
                let reason = "rows of the split `train` come after rows of `test`".to_owned();
                return Err(wrong(reason, "the split must be one of time"));
            }
            first
        }
    };
    let after = rows.len() - start;
    if after < horizon || start == 0 {
        let error = wrong(
            format!(
                "{start} values before the forecast and {after} after it, needs 1 and {horizon}"
            ),
            "give a shorter --horizon",
        );
        return Ok(Cut::TooShort(id, error));
    }
    let history = &rows[..start];
    let days = history
        .iter()
        .map(|row| row.time.day().filter(|day| days.contains(day)));
    let dates = days.collect::<Option<Vec<Day>>>();
    Ok(Cut::Series(LongSeries {
        dates: dates.unwrap_or_else(|| (0..).take(start).collect()),
        history: history.iter().map(|row| row.value).collect(),
        actual: rows[start..start + horizon]
            .iter()
            .map(|row| row.value)
            .collect(),
        id,
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parquet::arrow::ArrowWriter;

    use super::*;

    fn columns() -> Columns {
        Columns {
            id: "unique_id".to_owned(),
            time: "ds".to_owned(),
            value: "y".to_owned(),
            split: "split".to_owned(),
        }
    }

    fn read_text(text: &str, horizon: usize) -> Result<LongTable, JobError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long.csv");
        std::fs::write(&path, text).unwrap();
        read(&path, &columns(), horizon)
    }

    /// A Parquet file of one hourly series of 1, 2, … that ends at midnight.
    fn read_hours(hours: i64, horizon: usize) -> Result<LongTable, JobError> {
        use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMicrosecondArray};
        let times = (1 - hours..=0).map(|hour| hour * MICROS_PER_DAY / 24);
        let table: [(&str, ArrayRef); 3] = [
            (
                "unique_id",
                Arc::new(StringArray::from_iter_values(times.clone().map(|_| "a"))),
            ),
            (
                "ds",
                Arc::new(TimestampMicrosecondArray::from_iter_values(times)),
            ),
            (
                "y",
                Arc::new(Float64Array::from_iter_values(
                    (1..=hours).map(|hour| hour as f64),
                )),
            ),
        ];
        let batch = RecordBatch::try_from_iter(table).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long.parquet");
        let file = File::create(&path).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        read(&path, &columns(), horizon)
    }

    #[test]
    fn series_are_put_in_order_and_cut_before_the_last_values() {
        let text = "unique_id,ds,y\nb,2,20\na,3,3\nb,1,10\na,1,1\na,2,\na,4,4\n";
        let table = read_text(text, 1).unwrap();
        assert_eq!(table.without_value, 1);
        let series = table.series;
        let found: Vec<_> = series
            .iter()
            .map(|s| (s.id.as_str(), s.history.as_slice(), s.actual[0]))
            .collect();
        assert_eq!(
            found,
            [
                ("a", [1.0, 3.0].as_slice(), 4.0),
                ("b", [10.0].as_slice(), 20.0)
            ]
        );
        assert_eq!(series[0].dates, [0, 1]);
    }

    #[test]
    fn a_split_decides_and_days_stay_days() {
        let text = "unique_id,ds,y,split\na,2024-01-31,1,train\na,2024-02-01,2,test\na,2024-02-02,3,test\n";
        let series = read_text(text, 1).unwrap().series;
        assert_eq!(
            (series[0].history.as_slice(), series[0].actual[0]),
            ([1.0].as_slice(), 2.0)
        );
        assert_eq!(series[0].dates, [date::from_civil(2024, 1, 31)]);
        let blank = text.replace(",train", ",").replace(",test", ",");
        assert_eq!(read_text(&blank, 1).unwrap().series[0].actual, [3.0]);
        let mixed = "unique_id,ds,y,split\na,1,1,test\na,2,2,train\n";
        assert!(
            read_text(mixed, 1)
                .unwrap_err()
                .to_string()
                .contains("come after")
        );
    }

    #[test]
    fn timestamps_are_times_of_the_day() {
        let text = "unique_id,ds,y\na,2024-01-01 01:00:00,2\na,2024-01-01T00:30:00Z,1\na,2024-01-02 00:00:00,3\n";
        let series = &read_text(text, 1).unwrap().series[0];
        assert_eq!(series.history, [1.0, 2.0]);
        assert_eq!(series.dates, [0, 1]);
        // Days stand among them at midnight.
        let text = "unique_id,ds,y\na,2024-01-02,3\na,2024-01-01T12:00:00,2\na,2024-01-01,1\na,2024-01-03,4\n";
        let series = &read_text(text, 1).unwrap().series[0];
        assert_eq!(
            (series.history.as_slice(), series.actual[0]),
            ([1.0, 2.0, 3.0].as_slice(), 4.0)
        );
    }

    #[test]
    fn timestamps_at_midnight_are_days_only_if_all_are() {
        let text = "unique_id,ds,y\na,2024-01-01 00:00:00,1\na,2024-01-05T00:00:00Z,2\na,2024-01-06 00:00:00,3\n";
        let first = date::from_civil(2024, 1, 1);
        assert_eq!(
            read_text(text, 1).unwrap().series[0].dates,
            [first, first + 4]
        );
        // A batch of Parquet has 1,024 rows, the last of this one alone at midnight.
        let hours = &read_hours(1_025, 1).unwrap().series[0];
        assert_eq!(hours.actual, [1_025.0]);
        assert!(hours.history.is_sorted() && hours.dates == (0..1_024).collect::<Vec<_>>());
        // Before 1900, and from tomorrow on, a lake has no days: of a history.
        let text = "unique_id,ds,y\na,1850-01-01,1\na,1850-01-02,2\na,1850-01-03,3\nb,2024-01-01,1\nb,9000-01-01,2\n";
        let table = read_text(text, 1).unwrap();
        assert_eq!(table.series[0].dates, [0, 1]);
        assert_eq!(table.series[1].dates, [first]);
    }

    #[test]
    fn series_that_are_too_short_are_left_out_by_name() {
        let text = "unique_id,ds,y\na,1,1\nb,1,1\nb,2,2\nb,3,2\nc,1,\nc,2,nan\n";
        let table = read_text(text, 2).unwrap();
        assert_eq!(table.series.len(), 1);
        assert_eq!(table.too_short, ["a", "c"]);
        assert_eq!(table.without_value, 2);
    }

    #[test]
    fn what_cannot_be_scored_is_named() {
        for (text, horizon, needed) in [
            ("unique_id,ds\na,1\n", 1, "no column `y`"),
            ("unique_id,ds,y\na,noon,1\n", 1, "`noon` is no time"),
            ("unique_id,ds,y\na,2024-01-01 nan,1\n", 1, "no time"),
            ("unique_id,ds,y\na,2024-01-01 24:00,1\n", 1, "no time"),
            ("unique_id,ds,y\na,2024-01-01X10:00,1\n", 1, "no time"),
            (
                "unique_id,ds,y,split\na,1,1,train\na,2,2,\n",
                1,
                "some of none",
            ),
            ("unique_id,ds,y\na,1,x\n", 1, "`x` is no number"),
            ("unique_id,ds,y\na,1,-inf\n", 1, "`-inf` is no number"),
            ("unique_id,ds,y\n,1,2\n", 1, "no name of a series"),
            (
                "unique_id,ds,y\na,1,1\na,2024-01-01,2\n",
                1,
                "of different kinds",
            ),
            ("unique_id,ds,y\na,1,1\na,1,2\n", 1, "stands twice"),
            ("unique_id,ds,y\na,1,1\na,2,2\n", 2, "needs 1 and 2"),
            ("unique_id,ds,y\n", 1, "no row"),
            (
                "unique_id,ds,y,split\na,1,1,valid\n",
                1,
                "`valid` is no split",
            ),
        ] {
            let error = read_text(text, horizon).unwrap_err().to_string();
            assert!(error.contains(needed), "{error}");
        }
    }
}
