//! Table care: optimize, vacuum, history, delete.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use almanac_delta::care;
use almanac_delta::manifest::UnitKey;
use almanac_delta::rows::{read_files, write_rows};
use almanac_delta::{CommitKind, CommitRequest, DataFile, TableName, TableSnapshot};
use almanac_planner::present::KeyRange;
use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::compute::{SortColumn, lexsort_to_indices, partition, take, take_record_batch};
use chrono::DateTime;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::context::Context;
use crate::error::JobError;
use crate::produce::replace::delete as delete_keys;
use crate::produce::{Landed, Tally, land};

/// Files are merged until they hold about this many bytes.
const FILE_BYTES: u64 = 32 << 20;

/// The tables named, or all.
pub fn tables(names: &[String]) -> Result<Vec<TableName>, JobError> {
    if names.is_empty() {
        return Ok(TableName::ALL.to_vec());
    }
    let parse = |name: &String| {
        name.parse()
            .map_err(|error: almanac_delta::tables::UnknownTable| {
                JobError::user(error.to_string(), "name one of them")
            })
    };
    names.iter().map(parse).collect()
}

/// Merges small files, partition by partition; rows, order and row groups stay what they are.
pub async fn optimize(
    context: &Context,
    tables: &[TableName],
    tally: &mut Tally,
) -> Result<Vec<Value>, JobError> {
    let mut results = vec![];
    for table in tables.iter().copied() {
        let conflicts = tally.conflicts;
        let mut version = None;
        let (mut merged, mut written) = (0, 0);
        loop {
            let snapshot = context.lake.table(table).await?;
            tally.read(table, snapshot.version());
            let bins = bins(&snapshot);
            if bins.is_empty() {
                break;
            }
            let removes: Vec<DataFile> = bins.iter().flatten().cloned().collect();
            let mut adds = vec![];
            for bin in &bins {
                let rows = read_files(&context.lake, snapshot.def(), bin).await?;
                adds.extend(
                    write_rows(&context.lake, snapshot.def(), &sorted(&snapshot, &rows)?).await?,
                );
            }
            let counts = (removes.len(), adds.len());
            let request = CommitRequest {
                operation: CommitKind::Rewrite,
                adds,
                removes,
                claims: vec![],
                run_id: context.stamp.run_id.clone(),
                attempt_id: Uuid::new_v4().to_string(),
                new_columns: vec![],
            };
            match land(context, &snapshot, request, tally).await? {
                Landed::Yes => {
                    (merged, written) = counts;
                    version = tally.versions.get(table.sql_name()).copied();
                    break;
                }
                Landed::PlanAgain => {}
            }
        }
        results.push(json!({
            "table": table.sql_name(), "files_merged": merged, "files_written": written,
            "conflicts": tally.conflicts - conflicts, "version": version,
        }));
    }
    Ok(results)
}

/// Partition values, and the one model of a file where it has only one.
type Group<'a> = (&'a [Option<String>], String);

/// Files that together make one file: of one partition and one model, next to each other in the
/// table's order, so that what was close stays close.
fn bins(snapshot: &TableSnapshot) -> Vec<Vec<DataFile>> {
    let order = &snapshot.def().sort;
    let mut groups: BTreeMap<Group<'_>, Vec<(Vec<String>, &DataFile)>> = BTreeMap::new();
    for file in snapshot
        .files()
        .iter()
        .filter(|file| file.size < FILE_BYTES / 2)
    {
        let statistics = file.statistics();
        let bound = |column: &str, lower: bool| {
            let data_type = snapshot
                .schema()
                .field_with_name(column)
                .ok()?
                .data_type()
                .clone();
            let value = match lower {
                true => statistics.min(column, &data_type),
                false => statistics.max(column, &data_type),
            };
            value.map(|value| value.to_string())
        };
        let model = bound("model_name", true)
            .filter(|lower| bound("model_name", false).as_ref() == Some(lower))
            .unwrap_or_default();
        let place = order
            .iter()
            .map(|column| bound(column, true).unwrap_or_default())
            .collect();
        groups
            .entry((&file.partition_values, model))
            .or_default()
            .push((place, file));
    }
    let mut bins = vec![];
    for mut files in groups.into_values() {
        files.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut bin: Vec<DataFile> = vec![];
        let mut size = 0;
        for (_, file) in files {
            if size + file.size > FILE_BYTES && !bin.is_empty() {
                bins.push(std::mem::take(&mut bin));
                size = 0;
            }
            size += file.size;
            bin.push(file.clone());
        }
        bins.push(bin);
    }
    bins.retain(|bin| bin.len() > 1);
    bins
}

/// Rows in the table's order. The rows of a key stand together and in order already, so whole keys
/// are put in order, and nothing is moved when they are.
fn sorted(snapshot: &TableSnapshot, rows: &RecordBatch) -> Result<RecordBatch, JobError> {
    let failed = |error: arrow::error::ArrowError| JobError::ours(error.to_string());
    let def = snapshot.def();
    let keys: Vec<ArrayRef> = def
        .keys
        .iter()
        .filter_map(|name| rows.column_by_name(name))
        .cloned()
        .collect();
    if keys.is_empty() || rows.num_rows() == 0 {
        return Ok(rows.clone());
    }
    let ranges = partition(&keys).map_err(failed)?.ranges();
    let starts: UInt64Array = ranges
        .iter()
        .map(|range| Some(range.start as u64))
        .collect();
    let columns = def
        .sort
        .iter()
        .filter_map(|name| rows.column_by_name(name))
        .map(|values| {
            Ok(SortColumn {
                values: take(values, &starts, None)?,
                options: None,
            })
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    let order = lexsort_to_indices(&columns, None).map_err(failed)?;
    if order.values().is_sorted() {
        return Ok(rows.clone());
    }
    let moved: UInt64Array = order
        .values()
        .iter()
        .flat_map(|index| ranges[*index as usize].clone())
        .map(|row| Some(row as u64))
        .collect();
    take_record_batch(rows, &moved).map_err(failed)
}

/// Removes files that no version within the retention needs, and logs of versions before it.
pub async fn vacuum(
    context: &Context,
    retention: Duration,
    dry_run: bool,
    tally: &mut Tally,
) -> Result<Vec<Value>, JobError> {
    let mut results = vec![];
    for table in TableName::ALL {
        let snapshot = context.lake.table(table).await?;
        tally.read(table, snapshot.version());
        let report = care::vacuum(&snapshot, retention, dry_run).await?;
        let log = care::trim_log(&snapshot, retention, dry_run).await?;
        let (files, log_files) = (report.files.len(), log.files.len());
        let removed = [report.files, log.files].concat();
        results.push(json!({
            "table": report.table, "files": files, "log_files": log_files,
            "bytes": report.bytes + log.bytes, "removed": removed,
        }));
    }
    let swept = care::sweep(&context.lake, retention, dry_run).await?;
    let objects = [swept.manifests, swept.payloads, swept.states, swept.runs].concat();
    results.push(json!({
        "table": "_almanac", "files": objects.len(), "log_files": 0, "bytes": swept.bytes, "removed": objects,
    }));
    Ok(results)
}

/// A table's newest versions.
pub async fn history(
    context: &Context,
    table: TableName,
    limit: usize,
) -> Result<Vec<Value>, JobError> {
    let commits = context.lake.table(table).await?.history(limit).await?;
    Ok(commits
        .into_iter()
        .map(|commit| {
            let at = commit
                .timestamp_ms
                .and_then(DateTime::from_timestamp_millis);
            json!({
                "version": commit.version,
                "at": at.map(|at| at.to_rfc3339()),
                "operation": commit.operation,
                "files_added": commit.files_added,
                "files_removed": commit.files_removed,
                "rows_added": commit.rows_added,
                "run_id": commit.run_id,
            })
        })
        .collect())
}

/// Deletes the forecasts of a range, paths and points.
pub async fn delete(
    context: &Context,
    range: &KeyRange,
    tally: &mut Tally,
) -> Result<Value, JobError> {
    let mut keys = BTreeSet::new();
    for commodity in &range.commodities {
        for model_name in &range.model_names {
            keys.extend((range.start..=range.end).map(|date| UnitKey {
                commodity: commodity.clone(),
                model_name: model_name.clone(),
                model_version: range.model_version.clone(),
                date,
            }));
        }
    }
    // Paths first: a job between its two tables then loses the race for the points, and sees that
    // the paths are gone. Points without paths are replaced by whoever forecasts the key next.
    let paths = delete_keys(context, TableName::Distributions, &keys, tally).await?;
    let points = delete_keys(context, TableName::PointForecasts, &keys, tally).await?;
    Ok(json!({"deleted": paths, "points_deleted": points}))
}
