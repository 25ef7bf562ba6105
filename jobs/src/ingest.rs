//! Rows from outside into `silver.unified_data`.
//!
//! Files are read column by column, every row is validated, and the good ones are merged with the
//! table by key in one commit. A value of the input replaces the stored one, also when it is
//! missing; a column that the input does not have keeps what is stored. So a file of weather leaves
//! the closes alone, and an empty close takes a wrong one back.

mod calendar_file;
mod cells;
mod csv_source;
mod error;
mod header;
mod incoming;
mod parquet_source;
mod rejects;
mod upsert;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use almanac_delta::{Lake, TableName};
use almanac_udfs::forecasters::date::Day;
use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use chrono::{NaiveDate, Utc};
use serde::Serialize;

pub use calendar_file::{CalendarRow, read_calendar};
pub use error::IngestError;
use incoming::{Arranged, Incoming};

/// Days from today up to which a date is taken for meant.
const DAYS_AHEAD: i64 = 367;

/// Which files to take in, and how.
#[derive(Debug, Clone, Default, Serialize)]
pub struct IngestRequest {
    /// CSV or Parquet files; what they are is found from their content.
    pub files: Vec<PathBuf>,
    /// Columns by other names: (ours, theirs). Theirs is left out if ours is `_`.
    pub map: Vec<(String, String)>,
    /// Commodity of all rows of files without that column.
    pub commodity: Option<String>,
    /// Region of all rows of files without that column; `ALL` if `None`.
    pub region: Option<String>,
    /// Where to list rejected rows; `<first file>.rejects.csv` in the current directory if `None`.
    pub rejects: Option<PathBuf>,
    /// Commit the other rows when some are rejected.
    pub allow_rejects: bool,
}

/// What an ingest did. `rows_read` is the sum of the four kinds of rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct IngestReport {
    /// Rows in all files.
    pub rows_read: u64,
    /// Rows with a key that was not there.
    pub added: u64,
    /// Rows that changed a value of a key that was there.
    pub changed: u64,
    /// Rows that say what the table says.
    pub unchanged: u64,
    /// Rows that cannot be stored.
    pub rejected: u64,
    /// Where those are listed.
    pub rejects_file: Option<PathBuf>,
    /// Columns the table gained.
    pub new_columns: Vec<String>,
    /// Version that the rows were merged with.
    #[serde(skip)]
    pub read: u64,
    /// Version that the commit made; `None` if there was nothing to commit.
    pub version: Option<u64>,
    /// The first thousand changed keys, in the order of the table; `changed` counts all.
    pub changed_keys: Vec<ChangedKey>,
    /// The earliest day that was added or changed, by commodity.
    #[serde(skip)]
    pub touched: BTreeMap<String, Day>,
}

/// A key whose values changed: what was forecast from it rests on older input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangedKey {
    /// The series.
    pub commodity: String,
    /// The region.
    pub region: String,
    /// The day, as in `2024-01-31`.
    pub date: String,
}

/// Files that have been read and found good.
pub struct Read {
    rows: Arranged,
    report: IngestReport,
}

/// Reads files and validates every row. Nothing is changed yet.
///
/// # Errors
/// When a file is unfit as a whole, or when rows are rejected and the request is strict.
pub async fn read(lake: &Lake, request: &IngestRequest) -> Result<Read, IngestError> {
    if request.files.is_empty() {
        return Err(IngestError::NoFiles);
    }
    let snapshot = lake.table(TableName::UnifiedData).await?;
    let (schema, layout, request) = (snapshot.schema(), snapshot.layout(), request.clone());
    tokio::task::spawn_blocking(move || {
        let mut incoming = Incoming::until(latest_day());
        for path in &request.files {
            read_file(path, &request, &schema, &mut incoming)?;
        }
        let rows = incoming.settle(layout);
        let report = report_rejects(&rows, &request)?;
        Ok(Read { rows, report })
    })
    .await?
}

/// Stores what was read, in one commit or not at all.
///
/// # Errors
/// When the lake fails. Nothing is changed then.
pub async fn store(lake: &Lake, read: Read, run_id: &str) -> Result<IngestReport, IngestError> {
    let done = upsert::upsert(lake, read.rows, run_id).await?;
    Ok(IngestReport {
        added: done.added,
        changed: done.changed,
        unchanged: done.unchanged,
        new_columns: done.new_columns,
        read: done.read,
        version: done.version,
        changed_keys: done.changed_keys,
        touched: done.touched,
        ..read.report
    })
}

/// Takes rows in that are known to be good: `date` DATE, `commodity` and, if need be, `region`
/// STRING, other columns as in the table or DOUBLE.
///
/// # Errors
/// When a row is not good after all, or the lake fails. Nothing is changed then.
pub async fn ingest_rows(
    lake: &Lake,
    rows: RecordBatch,
    run_id: &str,
) -> Result<IngestReport, IngestError> {
    let snapshot = lake.table(TableName::UnifiedData).await?;
    let (schema, layout) = (snapshot.schema(), snapshot.layout());
    let rows = tokio::task::spawn_blocking(move || {
        let mut incoming = Incoming::until(latest_day());
        let request = IngestRequest::default();
        parquet_source::take(
            Path::new("rows in memory"),
            &rows,
            &request,
            &schema,
            &mut incoming,
        )?;
        Ok::<_, IngestError>(incoming.settle(layout))
    })
    .await??;
    if !rows.incoming.rejects.is_empty() {
        return Err(rejected(&rows, rejects::first_reason(&rows.incoming), None));
    }
    let report = IngestReport {
        rows_read: rows.incoming.rows_read,
        ..IngestReport::default()
    };
    store(lake, Read { rows, report }, run_id).await
}

/// Lists the rejected rows, and ends a strict ingest that has any.
fn report_rejects(rows: &Arranged, request: &IngestRequest) -> Result<IngestReport, IngestError> {
    let mut report = IngestReport {
        rows_read: rows.incoming.rows_read,
        rejected: rows.incoming.rejects.len() as u64,
        ..IngestReport::default()
    };
    if report.rejected > 0 {
        let (file, first_reason) = rejects::write(&rows.incoming, request.rejects.as_deref())?;
        if !request.allow_rejects {
            return Err(rejected(rows, first_reason, Some(file)));
        }
        report.rejects_file = Some(file);
    }
    Ok(report)
}

fn rejected(rows: &Arranged, first_reason: String, file: Option<PathBuf>) -> IngestError {
    let count = rows.incoming.rejects.len() as u64;
    IngestError::Rejected {
        count,
        total: rows.incoming.rows_read,
        first_reason,
        file,
    }
}

fn read_file(
    path: &Path,
    request: &IngestRequest,
    schema: &Schema,
    incoming: &mut Incoming,
) -> Result<(), IngestError> {
    let open = |source| IngestError::Open {
        file: path.to_owned(),
        source,
    };
    // Rejected rows are looked up a second time, which a pipe does not allow.
    if !std::fs::metadata(path).map_err(open)?.is_file() {
        return Err(open(io::Error::other("it is not a regular file")));
    }
    let mut head = vec![];
    File::open(path)
        .and_then(|file| file.take(4).read_to_end(&mut head))
        .map_err(open)?;
    let named_parquet = path.extension().is_some_and(|name| {
        name.eq_ignore_ascii_case("parquet") || name.eq_ignore_ascii_case("pq")
    });
    if head.is_empty() {
        return Err(IngestError::Empty {
            file: path.to_owned(),
        });
    }
    if named_parquet || head == parquet_source::MAGIC {
        return parquet_source::read(path, request, schema, incoming);
    }
    let packed = match head.as_slice() {
        [0x1f, 0x8b, ..] => Some("it is compressed with gzip; unpack it first"),
        [b'P', b'K', 3, 4] => {
            Some("it is a ZIP archive or a workbook; unpack it or save it as CSV first")
        }
        _ => None,
    };
    match packed {
        Some(reason) => Err(csv_source::unreadable(path, reason)),
        None => csv_source::read(path, request, schema, incoming),
    }
}

fn latest_day() -> Day {
    let days = (Utc::now().date_naive() - NaiveDate::default()).num_days() + DAYS_AHEAD;
    Day::try_from(days).unwrap_or(Day::MAX)
}

#[cfg(test)]
mod tests;
