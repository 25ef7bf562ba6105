//! A long table of series: a row for each series and time.
//!
//! Times only put a series' values in order, unless they are calendar days, which models may look
//! at. So whole numbers, timestamps and days are all times; a series must not have one twice.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use almanac_udfs::forecasters::{Day, date};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, TimeUnit};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

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
    /// The dates of the history: those of the file where they are days, else one day after another.
    pub dates: Vec<Day>,
    /// The history.
    pub history: Vec<f64>,
    /// What came after it, as many values as the horizon.
    pub actual: Vec<f64>,
}

/// When a value was observed. Of one kind throughout a file.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
enum Time {
    Day(Day),
    /// A whole number, or microseconds since 1970.
    Count(i64),
}

struct Row {
    time: Time,
    value: f64,
    is_test: Option<bool>,
}

type Series = BTreeMap<String, Vec<Row>>;

/// Reads a CSV or Parquet file and cuts every series before its last `horizon` values, or before its
/// rows of the split `test`. Rows without a value are left out.
///
/// # Errors
/// When the file cannot be read as such a table, or a series cannot be cut.
pub fn read(path: &Path, columns: &Columns, horizon: usize) -> Result<Vec<LongSeries>, JobError> {
    let rows = if is_parquet(path)? {
        parquet_rows(path, columns)?
    } else {
        csv_rows(path, columns)?
    };
    if rows.is_empty() {
        let message = format!("`{}` has no row with a value", path.display());
        return Err(JobError::user(
            message,
            "it needs a row for each series and time",
        ));
    }
    rows.into_iter()
        .map(|(id, rows)| cut(id, rows, horizon))
        .collect()
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

fn split(path: &Path, row: usize, text: &str) -> Result<bool, JobError> {
    match text {
        "train" => Ok(false),
        "test" => Ok(true),
        _ => Err(bad(path, row, "split", text)),
    }
}

fn csv_rows(path: &Path, columns: &Columns) -> Result<Series, JobError> {
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
    let mut series = Series::new();
    for (index, record) in reader.records().enumerate() {
        let record = record.map_err(|error| unreadable(path, &error))?;
        let (row, cell) = (index + 2, |place: usize| {
            record.get(place).unwrap_or("").trim()
        });
        let text = cell(value);
        if ["", "na", "nan", "null"].contains(&text.to_ascii_lowercase().as_str()) {
            continue;
        }
        let number: f64 = text.parse().map_err(|_| bad(path, row, "number", text))?;
        let moment = moment(cell(time)).ok_or_else(|| bad(path, row, "time", cell(time)))?;
        let is_test = split_at
            .map(|place| split(path, row, cell(place)))
            .transpose()?;
        let entry = series.entry(cell(id).to_owned()).or_default();
        entry.push(Row {
            time: moment,
            value: number,
            is_test,
        });
    }
    Ok(series)
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
    let rest = text
        .get(11..)?
        .trim_end_matches('Z')
        .trim_end_matches("+00:00");
    let mut seconds = 0.0;
    let mut unit = 3600.0;
    for part in rest.split(':') {
        seconds += part.parse::<f64>().ok()? * unit;
        unit /= 60.0;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a day has 86,400,000,000 microseconds"
    )]
    let micros = (seconds * 1e6).round() as i64;
    Some(Time::Count(i64::from(day) * MICROS_PER_DAY + micros))
}

const MICROS_PER_DAY: i64 = 86_400_000_000;

fn parquet_rows(path: &Path, columns: &Columns) -> Result<Series, JobError> {
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(ParquetRecordBatchReaderBuilder::build)
        .map_err(|error| unreadable(path, &error))?;
    let mut series = Series::new();
    let mut before = 0;
    for batch in reader {
        let batch = batch.map_err(|error| unreadable(path, &error))?;
        take(path, &batch, columns, before, &mut series)?;
        before += batch.num_rows();
    }
    Ok(series)
}

fn take(
    path: &Path,
    batch: &RecordBatch,
    columns: &Columns,
    before: usize,
    series: &mut Series,
) -> Result<(), JobError> {
    let schema = batch.schema();
    let names: Vec<String> = schema
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    let column = |name: &str, wanted: &DataType| {
        let found = batch
            .column_by_name(name)
            .ok_or_else(|| no_column(path, name, &names))?;
        cast(found, wanted).map_err(|error| unreadable(path, &format!("column `{name}`: {error}")))
    };
    let ids = column(&columns.id, &DataType::Utf8)?;
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
        if values.is_null(row) || values.value(row).is_nan() {
            continue;
        }
        let number = before + row + 1;
        let time = time.ok_or_else(|| bad(path, number, "time", "null"))?;
        let is_test = splits
            .map(|splits| split(path, number, splits.value(row)))
            .transpose()?;
        let entry = match series.get_mut(ids.value(row)) {
            Some(entry) => entry,
            None => series.entry(ids.value(row).to_owned()).or_default(),
        };
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
    let counts = counts.as_primitive::<Int64Type>();
    let midnights = counts
        .iter()
        .flatten()
        .all(|count| count % MICROS_PER_DAY == 0);
    let days = matches!(column.data_type(), DataType::Timestamp(..)) && midnights;
    let time = |count: i64| match Day::try_from(count / MICROS_PER_DAY) {
        Ok(day) if days => Time::Day(day),
        _ => Time::Count(count),
    };
    Ok(counts.iter().map(|count| count.map(time)).collect())
}

/// Puts a series in order and cuts it.
fn cut(id: String, mut rows: Vec<Row>, horizon: usize) -> Result<LongSeries, JobError> {
    let wrong =
        |reason: String, hint: &str| JobError::user(format!("series `{id}`: {reason}"), hint);
    let order = |left: &Row, right: &Row| left.time.partial_cmp(&right.time);
    rows.sort_by(|left, right| order(left, right).unwrap_or(Ordering::Equal));
    if rows
        .windows(2)
        .any(|pair| order(&pair[0], &pair[1]) != Some(Ordering::Less))
    {
        return Err(wrong(
            "a time stands twice, or times are of different kinds".to_owned(),
            "each series needs one row for each time",
        ));
    }
    let start = match rows[0].is_test {
        None => rows.len().saturating_sub(horizon),
        Some(_) => {
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
        return Err(wrong(
            format!(
                "{start} values before the forecast and {after} after it, needs 1 and {horizon}"
            ),
            "give a shorter --horizon, or leave the series out of the file",
        ));
    }
    let days = |index: usize| match rows[index].time {
        Time::Day(day) => day,
        Time::Count(_) => Day::try_from(index).unwrap_or(Day::MAX),
    };
    Ok(LongSeries {
        dates: (0..start).map(days).collect(),
        history: rows[..start].iter().map(|row| row.value).collect(),
        actual: rows[start..start + horizon]
            .iter()
            .map(|row| row.value)
            .collect(),
        id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Columns {
        Columns {
            id: "unique_id".to_owned(),
            time: "ds".to_owned(),
            value: "y".to_owned(),
            split: "split".to_owned(),
        }
    }

    fn read_text(text: &str, horizon: usize) -> Result<Vec<LongSeries>, JobError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long.csv");
        std::fs::write(&path, text).unwrap();
        read(&path, &columns(), horizon)
    }

    #[test]
    fn series_are_put_in_order_and_cut_before_the_last_values() {
        let text = "unique_id,ds,y\nb,2,20\na,3,3\nb,1,10\na,1,1\na,2,\na,4,4\n";
        let series = read_text(text, 1).unwrap();
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
        let series = read_text(text, 1).unwrap();
        assert_eq!(
            (series[0].history.as_slice(), series[0].actual[0]),
            ([1.0].as_slice(), 2.0)
        );
        assert_eq!(series[0].dates, [date::from_civil(2024, 1, 31)]);
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
        assert_eq!(read_text(text, 1).unwrap()[0].history, [1.0, 2.0]);
    }

    #[test]
    fn what_cannot_be_scored_is_named() {
        for (text, horizon, needed) in [
            ("unique_id,ds\na,1\n", 1, "no column `y`"),
            ("unique_id,ds,y\na,noon,1\n", 1, "`noon` is no time"),
            ("unique_id,ds,y\na,1,x\n", 1, "`x` is no number"),
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
