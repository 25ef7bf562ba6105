//! Atomic commits on a pinned snapshot.
//!
//! A commit adds and removes data files and carries *claims*: names of which at most one of two
//! concurrent commits may hold. Whoever loses learns it from the [`CommitOutcome`], takes a fresh
//! snapshot and plans what is still missing.
//!
//! What conflicts with what, for commits made on the same version (checked by the log library for
//! every commit that landed in between):
//!
//! | second \ first | append | rewrite | replace |
//! | --- | --- | --- | --- |
//! | append | only if a claim is shared | only if a claim is shared | yes, if it removed a file of the pinned version |
//! | rewrite | only if a claim is shared | yes, by the rewrite claim | yes |
//! | replace | only if a claim is shared | yes, by the rewrite claim | yes |
//!
//! A commit that adds columns makes every other one plan again.
//!
//! Without its DataFusion feature the library holds every file of the pinned version for read, so
//! an append loses against any replacement, even of other keys. That costs a retry, never a row.

mod own_log;

pub(crate) use own_log::OwnLog;

use std::collections::{BTreeSet, HashMap, HashSet};

use arrow::datatypes::{DataType, Field, TimeUnit};
use chrono::Utc;
use deltalake::DeltaTable;
use deltalake::DeltaTableError;
use deltalake::kernel::engine::arrow_conversion::TryFromArrow as _;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties, TransactionError};
use deltalake::kernel::{
    Action, Add, Metadata, MetadataExt as _, Remove, StructField, StructType, Transaction,
};
use deltalake::protocol::{DeltaOperation, SaveMode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::DeltaError;
use crate::snapshot::{DataFile, FileStatistics, TableSnapshot};
use crate::tables::{TableName, bucket_of};

/// Key in `commitInfo` of the run that committed.
pub(crate) const RUN_ID: &str = "almanacRunId";
/// Key in `commitInfo` of the attempt that committed.
pub(crate) const ATTEMPT_ID: &str = "almanacAttemptId";
/// Key in `commitInfo` of the program that committed.
pub(crate) const ENGINE: &str = "almanacEngine";

/// Claims of a table's keys fall into this many buckets, which bounds what checkpoints carry.
const CLAIM_BUCKETS: u32 = 64;
/// Lost races for a version number before giving up: enough for twenty writers that each commit
/// five times meanwhile.
const MAX_RETRIES: usize = 100;
/// A checkpoint is written with every version whose successor is a multiple of this.
pub(crate) const CHECKPOINT_INTERVAL: u64 = 10;
/// How often the log is read for our own attempt after an error before that fails, too.
const LOOKUPS: u32 = 4;

/// A name that at most one of several concurrent commits may hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Claim(String);

impl Claim {
    /// Claims the keys of a commodity and model version in a table; for a table without model
    /// versions pass an empty one. Unrelated keys may share one of the 64 buckets: that costs a
    /// retry.
    #[must_use]
    pub fn keys(table: TableName, commodity: &str, model_version: &str) -> Self {
        let bucket = bucket_of(&[commodity, model_version], CLAIM_BUCKETS);
        Self(format!("almanac/{table}/{bucket}"))
    }

    /// Claims the right to remove files of a table.
    #[must_use]
    pub fn rewrite(table: TableName) -> Self {
        Self(format!("almanac/rewrite/{table}"))
    }

    /// The name, as it is in the log.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a commit does to the rows of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommitKind {
    /// Adds rows.
    Append,
    /// Stores the same rows in other files. Must not change their number.
    Rewrite,
    /// Changes or deletes rows.
    Replace,
}

/// A data file that has been written and is not yet part of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewFile {
    /// Decoded path relative to the lake root, inside the table's folder.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// Partition columns and their values; `None` is null.
    pub partition_values: Vec<(String, Option<String>)>,
    /// When it was written, milliseconds since 1970.
    pub modified_ms: i64,
    /// Statistics, JSON of the Delta protocol.
    pub stats: String,
}

/// One commit to one table.
#[derive(Debug, Clone)]
pub struct CommitRequest {
    /// What it does to the rows.
    pub operation: CommitKind,
    /// Files to add.
    pub adds: Vec<NewFile>,
    /// Files to remove; each must be in the pinned snapshot.
    pub removes: Vec<DataFile>,
    /// What to claim. A rewrite or replacement claims [`Claim::rewrite`] without being told.
    pub claims: Vec<Claim>,
    /// The run, for the record.
    pub run_id: String,
    /// This attempt of this run. Must be new for every call: a commit whose reply was lost is
    /// recognised by it.
    pub attempt_id: String,
    /// Columns the table gains in the same commit. Always nullable; one that is there already with
    /// the same type is left as it is.
    pub new_columns: Vec<Field>,
}

/// How a commit ended.
#[must_use]
#[derive(Debug, Clone)]
pub enum CommitOutcome {
    /// It is in the log.
    Committed {
        /// The version it made.
        version: u64,
        /// The table at that version.
        snapshot: TableSnapshot,
    },
    /// Another commit came first and holds a claim, or a file, of this one. Nothing was committed.
    /// Plan again on a fresh snapshot.
    Conflicted {
        /// Which conflict.
        reason: String,
    },
    /// The store failed in a way that may pass. The commit is not in the log now, and can no
    /// longer land unseen: plan again on a fresh snapshot.
    Retryable {
        /// What failed.
        reason: String,
    },
}

impl TableSnapshot {
    /// Commits on exactly this snapshot.
    ///
    /// Never reopens the table first: conflicts are looked for after the version pinned here, and
    /// only there. Reports [`CommitOutcome::Committed`] also if the reply of the store was lost.
    /// Every tenth version gets a checkpoint; failing to write one is no failure of the commit.
    pub async fn commit(&self, request: CommitRequest) -> Result<CommitOutcome, DeltaError> {
        let actions = self.commit_actions(&request)?;
        let operation = operation(request.operation, &request, self);
        let properties = CommitProperties::default()
            .with_max_retries(MAX_RETRIES)
            .with_create_checkpoint(false)
            .with_cleanup_expired_logs(Some(false))
            .with_application_transactions(self.transactions(&request))
            .with_metadata([
                (RUN_ID.to_owned(), Value::from(request.run_id.as_str())),
                (
                    ATTEMPT_ID.to_owned(),
                    Value::from(request.attempt_id.as_str()),
                ),
                (ENGINE.to_owned(), Value::from(engine())),
            ]);
        let result = CommitBuilder::from(properties)
            .with_actions(actions)
            .build(Some(self.state()), self.log(), operation)
            .await;
        let snapshot = match result {
            Ok(commit) => self.succeeded_by(commit.snapshot())?,
            Err(error) => match self.landed(&request.attempt_id).await {
                Ok(Some(version)) => {
                    tracing::warn!(
                        table = %self.name(), version, %error,
                        "the reply to a commit was lost; the commit is in the log"
                    );
                    self.at(version).await?
                }
                Ok(None) => return self.verdict(error),
                Err(lookup) => {
                    tracing::error!(
                        table = %self.name(), attempt = request.attempt_id, %error,
                        "a commit failed and the log cannot be read to see whether it landed"
                    );
                    return Err(lookup);
                }
            },
        };
        maintain(&snapshot).await;
        Ok(CommitOutcome::Committed {
            version: snapshot.version(),
            snapshot,
        })
    }

    /// The version this attempt made, if it landed after the pinned one.
    async fn landed(&self, attempt_id: &str) -> Result<Option<u64>, DeltaError> {
        let mut version = self.version() + 1;
        let mut failures = 0;
        loop {
            match self.actions(version).await {
                Ok(None) => return Ok(None),
                Ok(Some(actions)) => {
                    let ours = actions.iter().any(|action| match action {
                        Action::CommitInfo(info) => {
                            info.info.get(ATTEMPT_ID).and_then(Value::as_str) == Some(attempt_id)
                        }
                        _ => false,
                    });
                    if ours {
                        return Ok(Some(version));
                    }
                    version += 1;
                }
                Err(error) => {
                    failures += 1;
                    if failures >= LOOKUPS {
                        return Err(error);
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(50 << failures)).await;
                }
            }
        }
    }

    /// What an error means for a commit that is certainly not in the log.
    fn verdict(&self, error: DeltaTableError) -> Result<CommitOutcome, DeltaError> {
        match error {
            DeltaTableError::Transaction {
                source: TransactionError::CommitConflict(conflict),
            } => Ok(CommitOutcome::Conflicted {
                reason: conflict.to_string(),
            }),
            DeltaTableError::Transaction {
                source: error @ TransactionError::MaxCommitAttempts(_),
            } => Ok(CommitOutcome::Retryable {
                reason: error.to_string(),
            }),
            DeltaTableError::ObjectStore { source } => {
                let what = format!("commit to table `{}` of `{}`", self.name(), self.lake_uri());
                match DeltaError::store(what, source) {
                    DeltaError::Store { source, .. } if may_pass(&source) => {
                        Ok(CommitOutcome::Retryable {
                            reason: source.to_string(),
                        })
                    }
                    error if error.may_pass() => Ok(CommitOutcome::Retryable {
                        reason: error.to_string(),
                    }),
                    error => Err(error),
                }
            }
            error => match DeltaError::log(self.name().sql_name(), self.lake_uri(), error) {
                // The library reports a store that fails while the log is listed in these words.
                // One that keeps failing is found out when the next snapshot is taken.
                DeltaError::Log {
                    source: source @ (DeltaTableError::Generic(_) | DeltaTableError::KernelError(_)),
                    ..
                } => Ok(CommitOutcome::Retryable {
                    reason: source.to_string(),
                }),
                error if error.may_pass() => Ok(CommitOutcome::Retryable {
                    reason: error.to_string(),
                }),
                error => Err(error),
            },
        }
    }

    fn commit_actions(&self, request: &CommitRequest) -> Result<Vec<Action>, DeltaError> {
        let data_change = request.operation != CommitKind::Rewrite;
        if request.operation == CommitKind::Append && !request.removes.is_empty() {
            return Err(self.unsound("append", "it removes files".to_owned()));
        }
        if request.operation == CommitKind::Rewrite {
            self.check_same_rows(request)?;
        }
        let mut actions = Vec::with_capacity(request.adds.len() + request.removes.len() + 1);
        actions.extend(
            self.evolved_metadata(&request.new_columns)?
                .map(Action::Metadata),
        );
        let present: HashSet<&str> = self.files().iter().map(|file| file.path.as_str()).collect();
        let now = Utc::now().timestamp_millis();
        for file in &request.removes {
            if !present.contains(file.path.as_str()) {
                return Err(
                    self.unsound(&file.path, "it is removed but not in the table".to_owned())
                );
            }
            let columns = self
                .def()
                .partition_columns
                .iter()
                .map(|column| (*column).to_owned());
            actions.push(Action::Remove(Remove {
                path: self.path_in_table(&file.path)?,
                data_change,
                deletion_timestamp: Some(now),
                extended_file_metadata: Some(true),
                partition_values: Some(
                    columns.zip(file.partition_values.iter().cloned()).collect(),
                ),
                size: Some(self.log_size(&file.path, file.size)?),
                ..Remove::default()
            }));
        }
        let mut added = HashSet::new();
        for file in &request.adds {
            if present.contains(file.path.as_str()) || !added.insert(file.path.as_str()) {
                return Err(self.unsound(
                    &file.path,
                    "it is added but in the table already".to_owned(),
                ));
            }
            actions.push(Action::Add(Add {
                path: self.path_in_table(&file.path)?,
                partition_values: self.partition_map(file)?,
                size: self.log_size(&file.path, file.size)?,
                modification_time: file.modified_ms,
                data_change,
                stats: Some(file.stats.clone()),
                tags: None,
                deletion_vector: None,
                base_row_id: None,
                default_row_commit_version: None,
                clustering_provider: None,
            }));
        }
        Ok(actions)
    }

    fn transactions(&self, request: &CommitRequest) -> Vec<Transaction> {
        let mut claims: BTreeSet<Claim> = request.claims.iter().cloned().collect();
        if request.operation != CommitKind::Append {
            claims.insert(Claim::rewrite(self.name()));
        }
        let now = Utc::now().timestamp_millis();
        claims
            .into_iter()
            .map(|claim| Transaction::new_with_last_update(claim.0, now, Some(now)))
            .collect()
    }

    /// The metadata with `columns` added, or `None` if there is nothing to add.
    fn evolved_metadata(&self, columns: &[Field]) -> Result<Option<Metadata>, DeltaError> {
        let mut new: Vec<Field> = Vec::new();
        for column in columns {
            let schema = |found: &DataType, needed: &str| DeltaError::Schema {
                table: self.name().sql_name().to_owned(),
                column: column.name().clone(),
                found: found.to_string(),
                needed: needed.to_owned(),
            };
            let known = self.def().schema.field_with_name(column.name()).ok();
            let known = known.or_else(|| new.iter().find(|field| field.name() == column.name()));
            match known {
                Some(field) if field.data_type() == column.data_type() => {}
                Some(field) => {
                    return Err(schema(column.data_type(), &field.data_type().to_string()));
                }
                None if !keeps_protocol(column.data_type()) => {
                    return Err(schema(
                        column.data_type(),
                        "a type every Delta reader knows (timestamps as UTC microseconds)",
                    ));
                }
                // Delta tells columns apart without regard to case.
                None if self
                    .def()
                    .schema
                    .fields()
                    .iter()
                    .map(|f| f.name())
                    .chain(new.iter().map(Field::name))
                    .any(|name| name.eq_ignore_ascii_case(column.name())) =>
                {
                    return Err(schema(
                        column.data_type(),
                        "a name that differs in more than case",
                    ));
                }
                None => new.push(Field::new(column.name(), column.data_type().clone(), true)),
            }
        }
        if new.is_empty() {
            return Ok(None);
        }
        let wrap = |error| DeltaError::log(self.name().sql_name(), self.lake_uri(), error);
        let mut fields: Vec<StructField> = self.state().schema().fields().cloned().collect();
        for field in &new {
            let field = StructField::try_from_arrow(field)
                .map_err(|error| wrap(DeltaTableError::Arrow { source: error }))?;
            fields.push(field);
        }
        let schema = StructType::try_new(fields).map_err(|error| wrap(error.into()))?;
        let metadata = self.state().metadata().clone();
        metadata
            .with_schema(&schema)
            .map(Some)
            .map_err(|error| wrap(error.into()))
    }

    fn check_same_rows(&self, request: &CommitRequest) -> Result<(), DeltaError> {
        let removed: Option<u64> = request.removes.iter().map(|file| file.rows).sum();
        let added: Option<u64> = request
            .adds
            .iter()
            .map(|file| {
                serde_json::from_str::<FileStatistics>(&file.stats)
                    .ok()?
                    .rows()
            })
            .sum();
        match (removed, added) {
            (Some(removed), Some(added)) if removed == added => Ok(()),
            (Some(removed), Some(added)) => {
                Err(self.unsound("rewrite", format!("{removed} rows became {added}")))
            }
            _ => Err(self.unsound(
                "rewrite",
                "its files do not all say how many rows they have".to_owned(),
            )),
        }
    }

    fn partition_map(&self, file: &NewFile) -> Result<HashMap<String, Option<String>>, DeltaError> {
        let values: HashMap<String, Option<String>> =
            file.partition_values.iter().cloned().collect();
        let columns = &self.def().partition_columns;
        if values.len() != columns.len() || !columns.iter().all(|c| values.contains_key(*c)) {
            return Err(self.unsound(
                &file.path,
                format!(
                    "it has partition values for {:?}, needed {columns:?}",
                    values.keys()
                ),
            ));
        }
        Ok(values)
    }

    fn path_in_table(&self, path: &str) -> Result<String, DeltaError> {
        path.strip_prefix(self.def().folder)
            .and_then(|rest| rest.strip_prefix('/'))
            .map(str::to_owned)
            .ok_or_else(|| self.unsound(path, format!("it is not under `{}`", self.def().folder)))
    }

    fn log_size(&self, path: &str, size: u64) -> Result<i64, DeltaError> {
        i64::try_from(size).map_err(|_| self.unsound(path, format!("its size is {size}")))
    }

    fn unsound(&self, what: &str, reason: String) -> DeltaError {
        DeltaError::Corrupt {
            what: format!("`{what}` in a commit to `{}`", self.name()),
            reason,
        }
    }
}

/// Program and version, for `commitInfo`.
pub(crate) fn engine() -> String {
    concat!("almanac/", env!("CARGO_PKG_VERSION")).to_owned()
}

/// Delta's name for what is done. None of these reads the whole table, which would make appends
/// of others conflict.
fn operation(
    kind: CommitKind,
    request: &CommitRequest,
    snapshot: &TableSnapshot,
) -> DeltaOperation {
    let columns = &snapshot.def().partition_columns;
    match kind {
        CommitKind::Append => DeltaOperation::Write {
            mode: SaveMode::Append,
            partition_by: (!columns.is_empty())
                .then(|| columns.iter().map(|column| (*column).to_owned()).collect()),
            predicate: None,
        },
        CommitKind::Rewrite => DeltaOperation::Optimize {
            predicate: None,
            target_size: 0,
        },
        CommitKind::Replace if request.adds.is_empty() => {
            DeltaOperation::Delete { predicate: None }
        }
        CommitKind::Replace => DeltaOperation::Update { predicate: None },
    }
}

/// Whether a column of this type leaves the table at reader 1 / writer 2.
fn keeps_protocol(data_type: &DataType) -> bool {
    match data_type {
        DataType::Float64
        | DataType::Float32
        | DataType::Int64
        | DataType::Int32
        | DataType::Utf8
        | DataType::Boolean
        | DataType::Date32 => true,
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) => zone.as_ref() == "UTC",
        _ => false,
    }
}

/// Whether a store that failed like this may answer the next time.
fn may_pass(error: &object_store::Error) -> bool {
    matches!(
        error,
        object_store::Error::Generic { .. }
            | object_store::Error::JoinError { .. }
            | object_store::Error::Precondition { .. }
            | object_store::Error::AlreadyExists { .. }
    )
}

/// Writes the checkpoint that is due with this version. The commit stands whatever happens here.
async fn maintain(snapshot: &TableSnapshot) {
    if !(snapshot.version() + 1).is_multiple_of(CHECKPOINT_INTERVAL) {
        return;
    }
    let mut table = DeltaTable::new(snapshot.log());
    table.state = Some(snapshot.state().clone());
    if let Err(error) = deltalake::checkpoints::create_checkpoint(&table, None).await {
        tracing::warn!(
            table = %snapshot.name(), version = snapshot.version(), %error,
            "no checkpoint was written; the next is due in {CHECKPOINT_INTERVAL} versions"
        );
    }
}

#[cfg(test)]
mod tests;
