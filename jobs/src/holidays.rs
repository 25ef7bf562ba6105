//! `silver.calendar`: the built-in exchange holidays, and overrides from a file.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use almanac_delta::rows::{read_files, write_rows};
use almanac_delta::tables::calendar::{CALENDAR, DATE, IS_OPEN};
use almanac_delta::{
    Claim, CommitKind, CommitOutcome, CommitRequest, Lake, TableName, TableSnapshot,
};
use almanac_udfs::forecasters::calendar::us_exchange_holidays;
use almanac_udfs::forecasters::date::Day;
use arrow::array::{AsArray, BooleanArray, Date32Array, RecordBatch, StringArray};
use arrow::datatypes::Date32Type;
use uuid::Uuid;

use crate::ingest::{CalendarRow, IngestError, read_calendar};

/// The calendar that is built in.
pub const US_EXCHANGE: &str = "us_exchange";

const FIRST_YEAR: i32 = 1985;
const LAST_YEAR: i32 = 2060;
/// Lost races before giving up.
const ATTEMPTS: u32 = 20;

/// Calendar and day, and whether the day is open.
type Days = BTreeMap<(String, Day), bool>;

/// What a change of the calendar did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct CalendarReport {
    /// Days given.
    pub days: u64,
    /// Days that are new or say something else than before.
    pub changed: u64,
    /// Version that the commit made; `None` if there was nothing to commit.
    pub version: Option<u64>,
}

/// The days of a calendar file: CSV with `date` and `is_open`, and `calendar` where a row is not of
/// the one given.
///
/// # Errors
/// When the file or a row of it is unfit.
pub async fn read_file(path: &Path, calendar: &str) -> Result<Vec<CalendarRow>, IngestError> {
    let (path, calendar) = (path.to_owned(), calendar.to_owned());
    tokio::task::spawn_blocking(move || read_calendar(&path, &calendar)).await?
}

/// Stores the built-in calendar with `overrides` on top, in one commit, unless the lake has it
/// already: what was overridden stays so.
///
/// # Errors
/// When the lake fails.
pub async fn store_builtin(
    lake: &Lake,
    overrides: Vec<CalendarRow>,
    run_id: &str,
) -> Result<CalendarReport, IngestError> {
    let mut days: Days = us_exchange_holidays(FIRST_YEAR, LAST_YEAR)
        .into_iter()
        .map(|day| ((US_EXCHANGE.to_owned(), day), false))
        .collect();
    days.extend(overrides.into_iter().map(keyed));
    change(lake, run_id, &days, |stored| {
        !stored.keys().any(|(calendar, _)| calendar == US_EXCHANGE)
    })
    .await
}

/// Puts days into the calendar, in one commit; the others stay as they are.
///
/// # Errors
/// When the lake fails.
pub async fn override_days(
    lake: &Lake,
    overrides: Vec<CalendarRow>,
    run_id: &str,
) -> Result<CalendarReport, IngestError> {
    let days = overrides.into_iter().map(keyed).collect();
    change(lake, run_id, &days, |_| true).await
}

fn keyed(row: CalendarRow) -> ((String, Day), bool) {
    ((row.calendar, row.day), row.is_open)
}

/// The days on which a calendar is closed, sorted.
///
/// # Errors
/// When the lake fails.
pub async fn closed_days(
    lake: &Lake,
    table: &TableSnapshot,
    calendar: &str,
) -> Result<Vec<Day>, IngestError> {
    let closed = stored(lake, table)
        .await?
        .into_iter()
        .filter(|((name, _), is_open)| name == calendar && !is_open);
    Ok(closed.map(|((_, day), _)| day).collect())
}

/// Puts days into the table if `wanted` says so for what is stored, in one commit.
async fn change(
    lake: &Lake,
    run_id: &str,
    days: &Days,
    wanted: impl Fn(&Days) -> bool,
) -> Result<CalendarReport, IngestError> {
    let mut reason = String::new();
    for attempt in 0..ATTEMPTS {
        tokio::time::sleep(Duration::from_millis(25) * attempt).await;
        let snapshot = lake.table(TableName::Calendar).await?;
        let mut table = stored(lake, &snapshot).await?;
        let mut report = CalendarReport {
            days: days.len() as u64,
            changed: 0,
            version: None,
        };
        if !wanted(&table) {
            return Ok(report);
        }
        for (key, is_open) in days {
            if table.insert(key.clone(), *is_open) != Some(*is_open) {
                report.changed += 1;
            }
        }
        if report.changed == 0 {
            return Ok(report);
        }
        let removes = snapshot.files().to_vec();
        let request = CommitRequest {
            operation: if removes.is_empty() {
                CommitKind::Append
            } else {
                CommitKind::Replace
            },
            adds: write_rows(lake, snapshot.def(), &batch(&table)?).await?,
            removes,
            // Whoever changes the table writes all of it anew.
            claims: vec![Claim::rewrite(TableName::Calendar)],
            run_id: run_id.to_owned(),
            attempt_id: Uuid::new_v4().to_string(),
            new_columns: vec![],
        };
        match snapshot.commit(request).await? {
            CommitOutcome::Committed { version, .. } => {
                report.version = Some(version);
                return Ok(report);
            }
            CommitOutcome::Conflicted { reason: lost }
            | CommitOutcome::Retryable { reason: lost } => reason = lost,
        }
    }
    Err(IngestError::Busy {
        attempts: ATTEMPTS,
        reason,
    })
}

/// Everything in a version of the table.
async fn stored(lake: &Lake, snapshot: &TableSnapshot) -> Result<Days, IngestError> {
    let rows = read_files(lake, snapshot.def(), snapshot.files()).await?;
    let column = |name: &str| {
        rows.schema_ref()
            .index_of(name)
            .map(|index| rows.column(index))
    };
    let calendars = column(CALENDAR)?.as_string::<i32>();
    let dates = column(DATE)?.as_primitive::<Date32Type>();
    let open = column(IS_OPEN)?.as_boolean();
    Ok((0..rows.num_rows())
        .map(|row| {
            (
                (calendars.value(row).to_owned(), dates.value(row)),
                open.value(row),
            )
        })
        .collect())
}

fn batch(days: &Days) -> Result<RecordBatch, IngestError> {
    let calendars = StringArray::from_iter_values(days.keys().map(|(calendar, _)| calendar));
    let dates = Date32Array::from_iter_values(days.keys().map(|(_, day)| *day));
    let open: BooleanArray = days.values().map(|is_open| Some(*is_open)).collect();
    Ok(RecordBatch::try_from_iter([
        (CALENDAR, Arc::new(calendars) as _),
        (DATE, Arc::new(dates) as _),
        (IS_OPEN, Arc::new(open) as _),
    ])?)
}

#[cfg(test)]
mod tests {
    use almanac_delta::{LakeSettings, StoreLocation};
    use almanac_udfs::forecasters::date::parse;

    use super::*;

    async fn lake(folder: &tempfile::TempDir) -> Lake {
        let location = StoreLocation::new(folder.path().join("lake").to_str().unwrap());
        Lake::create(&location, LakeSettings::default())
            .await
            .unwrap()
    }

    async fn closed_of(lake: &Lake, calendar: &str) -> Vec<Day> {
        let table = lake.table(TableName::Calendar).await.unwrap();
        closed_days(lake, &table, calendar).await.unwrap()
    }

    #[tokio::test]
    async fn the_builtin_calendar_is_stored_once() {
        let folder = tempfile::tempdir().unwrap();
        let lake = lake(&folder).await;
        assert_eq!(
            store_builtin(&lake, vec![], "run").await.unwrap().version,
            Some(1)
        );
        assert_eq!(
            store_builtin(&lake, vec![], "run").await.unwrap().version,
            None
        );
        let closed = closed_of(&lake, US_EXCHANGE).await;
        assert_eq!(closed, us_exchange_holidays(1985, 2060));
        assert!(closed_of(&lake, "other").await.is_empty());
    }

    #[tokio::test]
    async fn a_file_overrides_its_days_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let lake = lake(&folder).await;
        let before = us_exchange_holidays(1985, 2060);
        let file = folder.path().join("days.csv");
        std::fs::write(
            &file,
            "calendar,date,is_open\nus_exchange,2025-01-09,false\nus_exchange,2024-12-25,1\nice,2024-12-26,0\n",
        )
        .unwrap();
        let overrides = read_file(&file, US_EXCHANGE).await.unwrap();
        let report = store_builtin(&lake, overrides, "run").await.unwrap();
        assert_eq!(report.version, Some(1));
        let closed = closed_of(&lake, US_EXCHANGE).await;
        assert_eq!(closed.len(), before.len());
        assert!(closed.contains(&parse("2025-01-09").unwrap()));
        assert!(!closed.contains(&parse("2024-12-25").unwrap()));
        assert_eq!(
            closed_of(&lake, "ice").await,
            [parse("2024-12-26").unwrap()]
        );
        // The built-in calendar does not take an override back.
        store_builtin(&lake, vec![], "run").await.unwrap();
        assert_eq!(closed_of(&lake, US_EXCHANGE).await, closed);
    }

    #[tokio::test]
    async fn a_bad_row_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("days.csv");
        std::fs::write(&file, "date,is_open\n2025-01-09,false\n2025-01-10,maybe\n").unwrap();
        let error = read_file(&file, US_EXCHANGE).await.unwrap_err();
        assert!(
            error.to_string().contains("`is_open` is `maybe`"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn racing_jobs_store_the_builtin_calendar_once() {
        let folder = tempfile::tempdir().unwrap();
        let lake = lake(&folder).await;
        let (one, two) = tokio::join!(
            store_builtin(&lake, vec![], "one"),
            store_builtin(&lake, vec![], "two")
        );
        let versions = [one.unwrap().version, two.unwrap().version];
        assert!(versions.contains(&None), "{versions:?}");
        let snapshot = lake.table(TableName::Calendar).await.unwrap();
        let rows: u64 = snapshot.files().iter().filter_map(|file| file.rows).sum();
        assert_eq!(rows as usize, us_exchange_holidays(1985, 2060).len());
    }
}
