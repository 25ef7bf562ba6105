//! Removing what nothing refers to any more: data files, manifests, payloads, states, old logs.
//!
//! [`vacuum`] is the only thing that deletes data files, [`sweep`] the only thing that deletes
//! objects of the lake's own, [`trim_log`] the only thing that deletes from a log. All go by age
//! first: whatever is younger than the retention stays, because a running job may be about to
//! refer to it.

mod stored_file;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::AsArray as _;
use chrono::{DateTime, Utc};
use deltalake::kernel::Action;
use deltalake::parquet::arrow::ProjectionMask;
use deltalake::parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use deltalake::table::config::TablePropertiesExt as _;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};
use serde::Serialize;

use self::stored_file::StoredFile;
use crate::error::DeltaError;
use crate::lake::Lake;
use crate::snapshot::TableSnapshot;
use crate::tables::{TableName, trained_models};

/// The least retention that is safe beside running jobs.
pub const MINIMUM_RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Folder of the slices' manifests.
pub const MANIFESTS: &str = "_almanac/manifests";
/// Folder of content-addressed payloads of plans.
pub const PAYLOADS: &str = "_almanac/payloads";
/// Folder of content-addressed states.
pub const STATES: &str = "_almanac/states";
/// Folder of the runs that have begun and have not said how they ended.
pub const RUNS: &str = crate::open_run::FOLDER;

/// Model files read at the same time when states are marked.
const MARK_CONCURRENCY: usize = 8;

/// What [`vacuum`] removed, or would remove.
#[must_use]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VacuumReport {
    /// SQL name of the table.
    pub table: String,
    /// Files removed (or, in a dry run, that would be), from the lake root, sorted.
    pub files: Vec<String>,
    /// Their size in bytes.
    pub bytes: u64,
    /// Files that nothing refers to but that are too young to go.
    pub kept_young: usize,
    /// Whether nothing was really removed.
    pub dry_run: bool,
}

/// What [`trim_log`] removed, or would remove.
#[must_use]
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LogReport {
    /// Commits and checkpoints removed, from the lake root, sorted.
    pub files: Vec<String>,
    /// Their size in bytes.
    pub bytes: u64,
    /// Whether nothing was really removed.
    pub dry_run: bool,
}

/// What [`sweep`] removed, or would remove.
#[must_use]
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SweepReport {
    /// Manifests removed, from the lake root, sorted.
    pub manifests: Vec<String>,
    /// Payloads removed, from the lake root, sorted.
    pub payloads: Vec<String>,
    /// States removed, from the lake root, sorted.
    pub states: Vec<String>,
    /// Open runs forgotten, from the lake root, sorted.
    pub runs: Vec<String>,
    /// Size of all of them in bytes.
    pub bytes: u64,
    /// Whether nothing was really removed.
    pub dry_run: bool,
}

/// Deletes the data files of a table that no version inside the retention needs, orphans of failed
/// jobs included.
///
/// Judges by the newest version, whatever `snapshot` is pinned to; the log is not touched and
/// nothing is committed. A retention below [`MINIMUM_RETENTION`] is refused.
pub async fn vacuum(
    snapshot: &TableSnapshot,
    retention: Duration,
    dry_run: bool,
) -> Result<VacuumReport, DeltaError> {
    check_retention(retention)?;
    remove(snapshot, retention, dry_run).await
}

/// Refuses a retention below [`MINIMUM_RETENTION`].
pub fn check_retention(retention: Duration) -> Result<(), DeltaError> {
    if retention < MINIMUM_RETENTION {
        return Err(DeltaError::RetentionTooShort {
            asked_hours: retention.as_secs() / 3600,
            minimum_hours: MINIMUM_RETENTION.as_secs() / 3600,
        });
    }
    Ok(())
}

async fn remove(
    snapshot: &TableSnapshot,
    retention: Duration,
    dry_run: bool,
) -> Result<VacuumReport, DeltaError> {
    let cutoff = cutoff(retention);
    let folder = snapshot.def().folder;
    let store = snapshot.log().object_store(None);
    // Listed before the log is read: a file committed in between is then seen as live.
    let listed = list(&store, None, folder).await?;
    let needed = needed_since(snapshot, cutoff).await?;

    let mut stale = Vec::new();
    let mut kept_young = 0;
    for object in listed {
        let path = format!("{folder}/{}", object.location);
        if is_hidden(&object.location) || needed.contains(&path) {
            continue;
        }
        if object.last_modified >= cutoff {
            kept_young += 1;
        } else {
            stale.push(object);
        }
    }
    if !dry_run {
        delete(&store, &stale, folder).await?;
    }
    let mut files: Vec<_> = stale
        .iter()
        .map(|object| format!("{folder}/{}", object.location))
        .collect();
    files.sort_unstable();
    Ok(VacuumReport {
        table: snapshot.name().sql_name().to_owned(),
        files,
        bytes: stale.iter().map(|object| object.size).sum(),
        kept_young,
        dry_run,
    })
}

/// Deletes the commits and checkpoints of a table before the newest checkpoint on which every
/// version inside the retention stands.
///
/// Goes by the longer one of `retention` and the table's own `delta.logRetentionDuration` (30 days
/// in a new lake), and leaves a log alone whose table says so. Older versions can then no longer be
/// read, and the history ends there.
pub async fn trim_log(
    snapshot: &TableSnapshot,
    retention: Duration,
    dry_run: bool,
) -> Result<LogReport, DeltaError> {
    let mut report = LogReport {
        dry_run,
        ..LogReport::default()
    };
    let newest = snapshot.newest().await?;
    let config = newest.state().table_config();
    if !config.enable_expired_log_cleanup() {
        return Ok(report);
    }
    let cutoff = cutoff(retention.max(config.log_retention_duration()));
    let folder = newest.def().folder;
    let store = newest.log().object_store(None);
    let log: Vec<(u64, LogFile, ObjectMeta)> = list(&store, Some("_delta_log"), folder)
        .await?
        .into_iter()
        .filter_map(|object| {
            let (version, kind) = log_file(object.location.filename()?)?;
            Some((version, kind, object))
        })
        .collect();
    // The version before the first young commit was the newest one at the cutoff.
    let first_needed = log
        .iter()
        .filter(|(_, kind, object)| *kind == LogFile::Commit && object.last_modified >= cutoff)
        .map(|(version, _, _)| version.saturating_sub(1))
        .min()
        .unwrap_or(newest.version());
    let base = log
        .iter()
        .filter(|(version, kind, _)| *kind == LogFile::Checkpoint && *version <= first_needed)
        .map(|(version, _, _)| *version)
        .max();
    let Some(base) = base else {
        return Ok(report);
    };
    let stale: Vec<ObjectMeta> = log
        .into_iter()
        .filter(|(version, _, object)| *version < base && object.last_modified < cutoff)
        .map(|(_, _, object)| object)
        .collect();
    if stale.is_empty() {
        return Ok(report);
    }
    // A checkpoint that cannot be read must not be the first thing that is left.
    newest.at(base).await?;
    if !dry_run {
        delete(&store, &stale, folder).await?;
    }
    report.bytes = stale.iter().map(|object| object.size).sum();
    report.files = stale
        .iter()
        .map(|object| format!("{folder}/{}", object.location))
        .collect();
    report.files.sort_unstable();
    Ok(report)
}

/// What a file in a log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LogFile {
    Commit,
    /// A checkpoint in one file, as almanac writes them.
    Checkpoint,
    /// A part of a checkpoint, or a checksum.
    Other,
}

/// The version that a file of the log is about.
fn log_file(name: &str) -> Option<(u64, LogFile)> {
    let (version, rest) = name.split_once('.')?;
    let kind = match rest {
        "json" => LogFile::Commit,
        "checkpoint.parquet" => LogFile::Checkpoint,
        "crc" => LogFile::Other,
        _ if rest.starts_with("checkpoint.") => LogFile::Other,
        _ => return None,
    };
    let digits = version.len() == 20 && version.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| Some((version.parse().ok()?, kind)))?
}

/// Deletes manifests, payloads and open runs older than the retention, and states older than the
/// retention that no model of any version inside the retention points to.
pub async fn sweep(
    lake: &Lake,
    retention: Duration,
    dry_run: bool,
) -> Result<SweepReport, DeltaError> {
    let cutoff = cutoff(retention);
    let store = lake.store();
    let mut report = SweepReport {
        dry_run,
        ..SweepReport::default()
    };
    let mut stale = BTreeMap::new();
    for folder in [MANIFESTS, PAYLOADS, STATES, RUNS] {
        let mut objects = list(&store, Some(folder), folder).await?;
        objects.retain(|object| object.last_modified < cutoff);
        stale.insert(folder, objects);
    }
    if let Some(states) = stale.get_mut(STATES).filter(|states| !states.is_empty()) {
        // Marked after listing: a model committed in between keeps its state.
        let marked = marked_states(lake, cutoff).await?;
        states.retain(|object| {
            !object
                .location
                .filename()
                .is_some_and(|name| marked.contains(name))
        });
    }
    for (folder, objects) in stale {
        if !dry_run {
            delete(&store, &objects, folder).await?;
        }
        report.bytes += objects.iter().map(|object| object.size).sum::<u64>();
        let mut paths: Vec<_> = objects
            .iter()
            .map(|object| object.location.to_string())
            .collect();
        paths.sort_unstable();
        match folder {
            MANIFESTS => report.manifests = paths,
            PAYLOADS => report.payloads = paths,
            STATES => report.states = paths,
            _ => report.runs = paths,
        }
    }
    Ok(report)
}

/// File names of the states that models point to, in the newest version or any since `cutoff`.
/// Names are hashes of content, so a name is enough whatever form the path has.
async fn marked_states(lake: &Lake, cutoff: DateTime<Utc>) -> Result<HashSet<String>, DeltaError> {
    let models = lake.table(TableName::TrainedModels).await?;
    let newest = models.newest().await?;
    let live: HashSet<&str> = newest
        .files()
        .iter()
        .map(|file| file.path.as_str())
        .collect();
    let files = needed_since(&newest, cutoff).await?;
    let store = lake.store();
    stream::iter(files)
        .map(|file| {
            let (store, is_live) = (store.clone(), live.contains(file.as_str()));
            async move {
                match states_in(store, &file).await {
                    Err(DeltaError::Parquet { source, .. }) if !is_live && is_missing(&source) => {
                        tracing::warn!(
                            file,
                            "a replaced model file is gone; its states are unmarked"
                        );
                        Ok(Vec::new())
                    }
                    result => result,
                }
            }
        })
        .buffer_unordered(MARK_CONCURRENCY)
        .try_fold(HashSet::new(), |mut marked, names| async move {
            marked.extend(names);
            Ok(marked)
        })
        .await
}

/// File names of the states that the models in one data file point to.
async fn states_in(store: Arc<dyn ObjectStore>, file: &str) -> Result<Vec<String>, DeltaError> {
    let parquet = |source| DeltaError::Parquet {
        what: format!("`{file}`"),
        source,
    };
    let path = Path::parse(file).map_err(|error| DeltaError::Corrupt {
        what: format!("path `{file}`"),
        reason: error.to_string(),
    })?;
    let builder = ParquetRecordBatchStreamBuilder::new(StoredFile::new(store, path))
        .await
        .map_err(parquet)?;
    let column = trained_models::FITTED_MODEL_S3_PATH;
    let mask = ProjectionMask::columns(builder.parquet_schema(), [column]);
    let mut batches = builder.with_projection(mask).build().map_err(parquet)?;
    let mut names = Vec::new();
    while let Some(batch) = batches.try_next().await.map_err(parquet)? {
        let Some(values) = batch.column_by_name(column) else {
            continue;
        };
        let values = arrow::compute::cast(values, &arrow::datatypes::DataType::Utf8)
            .map_err(|error| parquet(error.into()))?;
        let values = values.as_string::<i32>();
        for value in values.iter().flatten().filter(|value| !value.is_empty()) {
            names.push(value.rsplit('/').next().unwrap_or(value).to_owned());
        }
    }
    Ok(names)
}

fn is_missing(error: &deltalake::parquet::errors::ParquetError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if matches!(
            error.downcast_ref::<object_store::Error>(),
            Some(object_store::Error::NotFound { .. })
        ) {
            return true;
        }
        // Parquet boxes foreign errors without naming them as a source.
        cause = match error.downcast_ref::<deltalake::parquet::errors::ParquetError>() {
            Some(deltalake::parquet::errors::ParquetError::External(inner)) => Some(inner.as_ref()),
            _ => error.source(),
        };
    }
    false
}

/// Paths, from the lake root, of the files of the newest version and of every version that was the
/// newest at some time since `cutoff`.
async fn needed_since(
    snapshot: &TableSnapshot,
    cutoff: DateTime<Utc>,
) -> Result<HashSet<String>, DeltaError> {
    let newest = snapshot.newest().await?;
    let mut needed: HashSet<String> = newest
        .files()
        .iter()
        .map(|file| file.path.clone())
        .collect();
    // What a commit removed was live until that commit. Read from the commits, not from the
    // tombstones of a checkpoint, which forgets them after the table's own retention.
    let log = list(
        &newest.log().object_store(None),
        Some("_delta_log"),
        newest.def().folder,
    )
    .await?;
    let versions = log
        .iter()
        .filter(|object| object.last_modified >= cutoff)
        .filter_map(|object| {
            object
                .location
                .filename()?
                .strip_suffix(".json")?
                .parse::<u64>()
                .ok()
        });
    for version in versions {
        for action in newest.actions(version).await?.unwrap_or_default() {
            if let Action::Remove(remove) = action {
                needed.insert(format!("{}/{}", newest.def().folder, remove.path));
            }
        }
    }
    Ok(needed)
}

/// Whether Delta keeps vacuum away from a path: a name that begins with `_` or `.`, but is not a
/// partition folder.
fn is_hidden(path: &Path) -> bool {
    path.parts().any(|part| {
        let name = part.as_ref();
        name.starts_with(['_', '.']) && !name.contains('=')
    })
}

fn cutoff(retention: Duration) -> DateTime<Utc> {
    chrono::Duration::from_std(retention)
        .ok()
        .and_then(|retention| Utc::now().checked_sub_signed(retention))
        .unwrap_or(DateTime::<Utc>::MIN_UTC)
}

async fn list(
    store: &Arc<dyn ObjectStore>,
    folder: Option<&str>,
    what: &str,
) -> Result<Vec<ObjectMeta>, DeltaError> {
    store
        .list(folder.map(Path::from).as_ref())
        .try_collect()
        .await
        .map_err(|error| DeltaError::store(format!("listing `{what}`"), error))
}

/// Deletes objects; one that is gone already is deleted.
async fn delete(
    store: &Arc<dyn ObjectStore>,
    objects: &[ObjectMeta],
    what: &str,
) -> Result<(), DeltaError> {
    let paths: Vec<_> = objects
        .iter()
        .map(|object| Ok(object.location.clone()))
        .collect();
    let mut deleted = store.delete_stream(stream::iter(paths).boxed());
    while let Some(result) = deleted.next().await {
        match result {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => {
                return Err(DeltaError::store(format!("deleting from `{what}`"), error));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
