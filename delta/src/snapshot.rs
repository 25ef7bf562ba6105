//! One version of one table: its schema, its data files and what is known about them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use chrono::{DateTime, NaiveDate};
use datafusion::scalar::ScalarValue;
use deltalake::kernel::Action;
use deltalake::logstore::{LogStoreRef, get_actions};
use deltalake::table::state::DeltaTableState;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::commit::{ATTEMPT_ID, ENGINE, RUN_ID};
use crate::error::DeltaError;
use crate::tables::{Layout, TableDef, TableName};

/// Commits read at the same time when history is asked for.
const HISTORY_CONCURRENCY: usize = 16;

/// One data file of a table. Travels inside plans to workers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataFile {
    /// Decoded path relative to the lake root, as [`Path::parse`] takes it.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// Number of rows, if the log says.
    pub rows: Option<u64>,
    /// Partition values in the order of the table's partition columns; `None` is null.
    pub partition_values: Vec<Option<String>>,
    /// When the file was written, milliseconds since 1970.
    pub modified_ms: i64,
    /// Statistics as the log has them, JSON of the Delta protocol.
    pub stats: Option<String>,
}

impl DataFile {
    /// Where the file is, from the lake root.
    pub fn location(&self) -> Result<Path, DeltaError> {
        Path::parse(&self.path).map_err(|error| DeltaError::Corrupt {
            what: format!("path `{}`", self.path),
            reason: error.to_string(),
        })
    }

    /// The statistics, parsed once for several questions. Unreadable statistics count as none.
    #[must_use]
    pub fn statistics(&self) -> FileStatistics {
        self.stats
            .as_deref()
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default()
    }

    /// Lower bound of a column, as a scalar of `data_type`; `None` if unknown.
    #[must_use]
    pub fn min(&self, column: &str, data_type: &DataType) -> Option<ScalarValue> {
        self.statistics().min(column, data_type)
    }

    /// Upper bound of a column, as a scalar of `data_type`; `None` if unknown.
    #[must_use]
    pub fn max(&self, column: &str, data_type: &DataType) -> Option<ScalarValue> {
        self.statistics().max(column, data_type)
    }

    /// Number of nulls in a column; `None` if unknown.
    #[must_use]
    pub fn null_count(&self, column: &str) -> Option<u64> {
        self.statistics().null_count(column)
    }
}

/// Bounds and counts of the columns of one file.
///
/// Bounds are bounds, not values that occur: other engines shorten strings and timestamps.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FileStatistics {
    num_records: Option<u64>,
    min_values: BTreeMap<String, Value>,
    max_values: BTreeMap<String, Value>,
    null_count: BTreeMap<String, Value>,
}

impl FileStatistics {
    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> Option<u64> {
        self.num_records
    }

    /// Lower bound of a column, as a scalar of `data_type`; `None` if unknown.
    #[must_use]
    pub fn min(&self, column: &str, data_type: &DataType) -> Option<ScalarValue> {
        scalar(self.min_values.get(column)?, data_type, Bound::Lower)
    }

    /// Upper bound of a column, as a scalar of `data_type`; `None` if unknown.
    #[must_use]
    pub fn max(&self, column: &str, data_type: &DataType) -> Option<ScalarValue> {
        scalar(self.max_values.get(column)?, data_type, Bound::Upper)
    }

    /// Number of nulls in a column; `None` if unknown.
    #[must_use]
    pub fn null_count(&self, column: &str) -> Option<u64> {
        self.null_count.get(column)?.as_u64()
    }
}

/// One commit, as history shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CommitSummary {
    /// Version the commit made.
    pub version: u64,
    /// When, milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    /// Delta's name for the operation, such as `WRITE`.
    pub operation: String,
    /// Run that committed, if it was almanac.
    pub run_id: Option<String>,
    /// Attempt that committed, if it was almanac.
    pub attempt_id: Option<String>,
    /// Program and version that committed.
    pub engine: Option<String>,
    /// Data files added.
    pub files_added: usize,
    /// Data files removed.
    pub files_removed: usize,
    /// Rows in the added files, where the log says.
    pub rows_added: u64,
    /// Size of the added files in bytes.
    pub bytes_added: u64,
}

/// One version of one table, pinned. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TableSnapshot {
    pinned: Arc<Pinned>,
}

#[derive(Debug)]
struct Pinned {
    lake_uri: String,
    layout: Layout,
    def: TableDef,
    files: Vec<DataFile>,
    state: DeltaTableState,
    log: LogStoreRef,
}

impl TableSnapshot {
    /// Loads a version of a table, the newest if `version` is `None`.
    pub(crate) async fn load(
        name: TableName,
        layout: Layout,
        lake_uri: &str,
        log: LogStoreRef,
        version: Option<u64>,
    ) -> Result<Self, DeltaError> {
        match DeltaTableState::try_new(log.as_ref(), version).await {
            Ok(state) => Self::from_state(name, layout, lake_uri, log, state),
            // A folder that is not there is reported in many ways, so it is looked for.
            Err(error) => match log.is_delta_table_location().await {
                Ok(false) => Err(DeltaError::TableMissing {
                    table: name.sql_name().to_owned(),
                    uri: lake_uri.to_owned(),
                }),
                _ => Err(DeltaError::log(name.sql_name(), lake_uri, error)),
            },
        }
    }

    /// Pins a state that is already in memory, refusing what this build does not understand.
    pub(crate) fn from_state(
        name: TableName,
        layout: Layout,
        lake_uri: &str,
        log: LogStoreRef,
        state: DeltaTableState,
    ) -> Result<Self, DeltaError> {
        check_protocol(name, &state)?;
        let def = actual_def(name, &layout, &state)?;
        let files = data_files(&def, &state)?;
        let lake_uri = lake_uri.to_owned();
        Ok(Self {
            pinned: Arc::new(Pinned {
                lake_uri,
                layout,
                def,
                files,
                state,
                log,
            }),
        })
    }

    /// The newest version of the same table.
    pub async fn newest(&self) -> Result<Self, DeltaError> {
        Self::load(
            self.name(),
            self.pinned.layout,
            self.lake_uri(),
            self.log(),
            None,
        )
        .await
    }

    /// Another version of the same table.
    pub(crate) async fn at(&self, version: u64) -> Result<Self, DeltaError> {
        Self::load(
            self.name(),
            self.pinned.layout,
            self.lake_uri(),
            self.log(),
            Some(version),
        )
        .await
    }

    /// The table after a commit made on this snapshot.
    pub(crate) fn succeeded_by(&self, state: DeltaTableState) -> Result<Self, DeltaError> {
        Self::from_state(
            self.name(),
            self.pinned.layout,
            self.lake_uri(),
            self.log(),
            state,
        )
    }

    /// Which table.
    #[must_use]
    pub fn name(&self) -> TableName {
        self.pinned.def.name
    }

    /// The table's definition, with the schema as it is in this version: columns that arrived by
    /// evolution are in it, in table order.
    #[must_use]
    pub fn def(&self) -> &TableDef {
        &self.pinned.def
    }

    /// The version pinned.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.pinned.state.version()
    }

    /// The data files of this version, sorted by path.
    #[must_use]
    pub fn files(&self) -> &[DataFile] {
        &self.pinned.files
    }

    /// All columns of this version, partition columns included.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.pinned.def.schema)
    }

    /// How the lake is laid out.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.pinned.layout
    }

    /// The last `limit` commits up to this version, newest first. Ends where the log was cleaned.
    pub async fn history(&self, limit: usize) -> Result<Vec<CommitSummary>, DeltaError> {
        let newest = self.version();
        let oldest = (newest + 1).saturating_sub(limit as u64);
        let summaries: Vec<_> = stream::iter((oldest..=newest).rev().take(limit))
            .map(|version| async move {
                Ok::<_, DeltaError>(
                    self.actions(version)
                        .await?
                        .map(|actions| summary(version, &actions)),
                )
            })
            .buffered(HISTORY_CONCURRENCY)
            .try_collect()
            .await?;
        Ok(summaries.into_iter().map_while(|summary| summary).collect())
    }

    /// The actions of one commit; `None` if there is no such commit (or no longer).
    pub(crate) async fn actions(&self, version: u64) -> Result<Option<Vec<Action>>, DeltaError> {
        let wrap = |error| DeltaError::log(self.name().sql_name(), self.lake_uri(), error);
        let bytes = self
            .pinned
            .log
            .read_commit_entry(version)
            .await
            .map_err(wrap)?;
        bytes
            .map(|bytes| get_actions(version, &bytes).map_err(wrap))
            .transpose()
    }

    pub(crate) fn state(&self) -> &DeltaTableState {
        &self.pinned.state
    }

    pub(crate) fn log(&self) -> LogStoreRef {
        Arc::clone(&self.pinned.log)
    }

    pub(crate) fn lake_uri(&self) -> &str {
        &self.pinned.lake_uri
    }
}

/// Accepts reader 1 / writer 2 without any property that asks writers for more than plain files.
fn check_protocol(name: TableName, state: &DeltaTableState) -> Result<(), DeltaError> {
    let protocol = state.protocol();
    let (reader, writer) = (protocol.min_reader_version(), protocol.min_writer_version());
    let mut detail: Vec<String> = Vec::new();
    for features in [protocol.reader_features(), protocol.writer_features()]
        .into_iter()
        .flatten()
    {
        detail.extend(features.iter().map(ToString::to_string));
    }
    for field in state.schema().fields() {
        if field.metadata().contains_key("delta.invariants") {
            detail.push(format!("an invariant on `{}`", field.name()));
        }
    }
    let plain = reader == 1 && matches!(writer, 1 | 2) && detail.is_empty();
    if plain {
        return Ok(());
    }
    detail.sort();
    detail.dedup();
    let detail = if detail.is_empty() {
        "no features named".to_owned()
    } else {
        detail.join(", ")
    };
    let table = name.sql_name().to_owned();
    Err(DeltaError::UnsupportedProtocol {
        table,
        reader,
        writer,
        detail,
    })
}

/// The definition with the schema that is really in the log.
fn actual_def(
    name: TableName,
    layout: &Layout,
    state: &DeltaTableState,
) -> Result<TableDef, DeltaError> {
    let mut def = name.def(layout);
    let stored = state.snapshot().arrow_schema();
    for wanted in def.schema.fields() {
        let found = stored
            .field_with_name(wanted.name())
            .ok()
            .map(Field::data_type);
        if found != Some(wanted.data_type()) {
            return Err(DeltaError::Schema {
                table: name.sql_name().to_owned(),
                column: wanted.name().clone(),
                found: found.map_or_else(|| "missing".to_owned(), ToString::to_string),
                needed: wanted.data_type().to_string(),
            });
        }
    }
    let partitions = state.metadata().partition_columns();
    if partitions != def.partition_columns.as_slice() {
        return Err(DeltaError::Schema {
            table: name.sql_name().to_owned(),
            column: "partition columns".to_owned(),
            found: partitions.join(", "),
            needed: def.partition_columns.join(", "),
        });
    }
    // Field metadata of other engines (comments, identity marks) means nothing to a scan.
    let fields: Vec<Field> = stored
        .fields()
        .iter()
        .map(|field| Field::new(field.name(), field.data_type().clone(), field.is_nullable()))
        .collect();
    def.schema = Arc::new(Schema::new(fields));
    Ok(def)
}

fn data_files(def: &TableDef, state: &DeltaTableState) -> Result<Vec<DataFile>, DeltaError> {
    let mut files = Vec::with_capacity(state.log_data().num_files());
    for view in state.log_data().iter() {
        let path = view.path();
        let table = || def.name.sql_name().to_owned();
        if view.deletion_vector_descriptor().is_some() {
            return Err(DeltaError::UnsupportedProtocol {
                table: table(),
                reader: state.protocol().min_reader_version(),
                writer: state.protocol().min_writer_version(),
                detail: format!("`{path}` has a deletion vector"),
            });
        }
        if path.contains("://") || path.starts_with('/') {
            return Err(DeltaError::Corrupt {
                what: format!("file `{path}` of table `{}`", table()),
                reason: "it lies outside the table's folder".to_owned(),
            });
        }
        let size = u64::try_from(view.size()).map_err(|_| DeltaError::Corrupt {
            what: format!("file `{path}` of table `{}`", table()),
            reason: format!("its size is {}", view.size()),
        })?;
        let mut values = view.partition_values_map();
        files.push(DataFile {
            path: format!("{}/{path}", def.folder),
            size,
            rows: view.num_records().map(|rows| rows as u64),
            partition_values: def
                .partition_columns
                .iter()
                .map(|column| values.remove(*column).flatten())
                .collect(),
            modified_ms: view.modification_time(),
            stats: view.stats(),
        });
    }
    // Log replay yields files in an order that depends on where the last checkpoint is.
    files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn summary(version: u64, actions: &[Action]) -> CommitSummary {
    let mut summary = CommitSummary {
        version,
        timestamp_ms: None,
        operation: String::new(),
        run_id: None,
        attempt_id: None,
        engine: None,
        files_added: 0,
        files_removed: 0,
        rows_added: 0,
        bytes_added: 0,
    };
    for action in actions {
        match action {
            Action::CommitInfo(info) => {
                let text = |key: &str| {
                    info.info
                        .get(key)
                        .and_then(Value::as_str)
                        .map(str::to_owned)
                };
                summary.timestamp_ms = info.in_commit_timestamp.or(info.timestamp);
                summary.operation = info.operation.clone().unwrap_or_default();
                summary.run_id = text(RUN_ID);
                summary.attempt_id = text(ATTEMPT_ID);
                summary.engine = text(ENGINE).or_else(|| info.engine_info.clone());
            }
            Action::Add(add) => {
                let stats: Option<FileStatistics> = add
                    .stats
                    .as_deref()
                    .and_then(|text| serde_json::from_str(text).ok());
                summary.files_added += 1;
                summary.rows_added += stats.and_then(|stats| stats.rows()).unwrap_or_default();
                summary.bytes_added += u64::try_from(add.size).unwrap_or_default();
            }
            Action::Remove(_) => summary.files_removed += 1,
            _ => {}
        }
    }
    summary
}

#[derive(Clone, Copy, PartialEq)]
enum Bound {
    Lower,
    Upper,
}

/// Reads one bound of a file's statistics. Anything unexpected is an unknown bound, never a wrong
/// one.
fn scalar(value: &Value, data_type: &DataType, bound: Bound) -> Option<ScalarValue> {
    match data_type {
        DataType::Utf8 => Some(ScalarValue::Utf8(Some(value.as_str()?.to_owned()))),
        DataType::Boolean => Some(ScalarValue::Boolean(Some(value.as_bool()?))),
        DataType::Int32 => Some(ScalarValue::Int32(Some(
            i32::try_from(value.as_i64()?).ok()?,
        ))),
        DataType::Int64 => Some(ScalarValue::Int64(Some(value.as_i64()?))),
        DataType::Float64 => Some(ScalarValue::Float64(Some(value.as_f64()?))),
        DataType::Float32 => float32(value.as_f64()?, bound),
        DataType::Date32 => {
            let date = NaiveDate::parse_from_str(value.as_str()?, "%Y-%m-%d").ok()?;
            let days = date.signed_duration_since(NaiveDate::default()).num_days();
            Some(ScalarValue::Date32(Some(i32::try_from(days).ok()?)))
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let text = value.as_str()?;
            let micros = DateTime::parse_from_rfc3339(text).ok()?.timestamp_micros();
            // Other writers cut bounds to milliseconds, which for an upper bound is too low.
            let lost = if bound == Bound::Upper && micros % 1000 == 0 {
                999
            } else {
                0
            };
            Some(ScalarValue::TimestampMicrosecond(
                Some(micros.checked_add(lost)?),
                zone.clone(),
            ))
        }
        _ => None,
    }
}

/// The nearest float on the safe side: a bound written with few digits must stay a bound.
fn float32(value: f64, bound: Bound) -> Option<ScalarValue> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounding is corrected below"
    )]
    let nearest = value as f32;
    let safe = match bound {
        Bound::Lower if f64::from(nearest) > value => nearest.next_down(),
        Bound::Upper if f64::from(nearest) < value => nearest.next_up(),
        _ => nearest,
    };
    safe.is_finite().then_some(ScalarValue::Float32(Some(safe)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(stats: &str) -> DataFile {
        DataFile {
            path: "silver/x/a.parquet".to_owned(),
            size: 1,
            rows: None,
            partition_values: vec![],
            modified_ms: 0,
            stats: Some(stats.to_owned()),
        }
    }

    #[test]
    fn bounds_are_read_as_the_type_asked_for() {
        let file = file(
            r#"{"numRecords":3,"minValues":{"i":-4,"f":0.1,"d":"1970-01-03","t":"1970-01-01T00:00:00.001Z","s":"a"},
                "maxValues":{"i":7,"f":0.1,"d":"2024-02-29","t":"1970-01-01T00:00:00.002Z","s":"b"},
                "nullCount":{"i":2}}"#,
        );
        let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        assert_eq!(
            file.min("i", &DataType::Int32),
            Some(ScalarValue::Int32(Some(-4)))
        );
        assert_eq!(
            file.max("i", &DataType::Int64),
            Some(ScalarValue::Int64(Some(7)))
        );
        assert_eq!(
            file.min("d", &DataType::Date32),
            Some(ScalarValue::Date32(Some(2)))
        );
        assert_eq!(
            file.max("s", &DataType::Utf8),
            Some(ScalarValue::Utf8(Some("b".to_owned())))
        );
        assert_eq!(
            file.min("t", &utc),
            Some(ScalarValue::TimestampMicrosecond(
                Some(1000),
                Some("UTC".into())
            ))
        );
        assert_eq!(
            file.max("t", &utc),
            Some(ScalarValue::TimestampMicrosecond(
                Some(2999),
                Some("UTC".into())
            ))
        );
        assert_eq!(file.null_count("i"), Some(2));
        assert_eq!(file.null_count("f"), None);
        assert_eq!(file.statistics().rows(), Some(3));
    }

    #[test]
    fn float_bounds_stay_bounds() {
        let file = file(r#"{"minValues":{"f":0.1},"maxValues":{"f":0.3}}"#);
        let as_f64 = |scalar| match scalar {
            Some(ScalarValue::Float32(Some(value))) => f64::from(value),
            other => panic!("{other:?}"),
        };
        assert!(as_f64(file.min("f", &DataType::Float32)) <= 0.1);
        assert!(as_f64(file.max("f", &DataType::Float32)) >= 0.3);
    }

    #[test]
    fn unreadable_statistics_are_unknown() {
        for stats in ["", "{", r#"{"minValues":{"d":"soon","i":1e30}}"#] {
            assert_eq!(file(stats).min("d", &DataType::Date32), None);
            assert_eq!(file(stats).min("i", &DataType::Int32), None);
        }
    }

    #[test]
    fn a_file_survives_its_journey_in_a_plan() {
        let file = file(r#"{"minValues":{"f":0.1}}"#);
        let text = serde_json::to_string(&file).unwrap();
        assert_eq!(serde_json::from_str::<DataFile>(&text).unwrap(), file);
    }
}
