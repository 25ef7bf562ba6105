//! One slice's rows to data files, keys, failures and counts.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, StringArray, StructArray, new_null_array,
};
use arrow::compute::{cast, filter_record_batch, is_not_null, is_null, partition};
use arrow::datatypes::{DataType, Date32Type, Int32Type, Int64Type, SchemaRef};
use bytes::Bytes;
use chrono::Utc;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::parquet_file::{ParquetFile, Values};
use super::{RowSource, Target, WriteSpec, columns};
use crate::commit::NewFile;
use crate::error::DeltaError;
use crate::manifest::{Manifest, SliceInput, UnitFailure, UnitKey};
use crate::tables::{Layout, TableDef, TableName};

/// A file is closed at the first key after this many bytes: what a slice holds in memory does not
/// grow with its models.
const FILE_BYTES: usize = 4 << 20;

/// The folder of offloaded texts under a lake's root.
pub(crate) const STATES: &str = "_almanac/states";

struct OpenFile {
    file: ParquetFile,
    values: Vec<Option<String>>,
    /// The one model of its rows, where files are not shared by models.
    model: Option<String>,
}

struct Sink {
    target: Target,
    def: TableDef,
    file_schema: SchemaRef,
    open: Option<OpenFile>,
    done: Vec<NewFile>,
}

/// Takes a slice's batches and becomes its manifest.
pub(crate) struct SliceWriter {
    spec: Arc<WriteSpec>,
    store: Arc<dyn ObjectStore>,
    root: Path,
    sinks: Vec<Sink>,
    slice: Option<i32>,
    keys: BTreeMap<UnitKey, u64>,
    /// The key of the newest row.
    current: Option<UnitKey>,
    failures: Vec<UnitFailure>,
    leaks: Vec<UnitKey>,
    input: Option<SliceInput>,
    /// Bytes that the coming manifest takes.
    noted: usize,
}

impl SliceWriter {
    pub(super) fn new(spec: Arc<WriteSpec>, store: Arc<dyn ObjectStore>, root: Path) -> Self {
        let sinks = spec
            .targets
            .iter()
            .map(|target| {
                let def = target.table.def(&spec.layout);
                let file_schema = def.file_schema();
                Sink {
                    target: target.clone(),
                    def,
                    file_schema,
                    open: None,
                    done: vec![],
                }
            })
            .collect();
        Self {
            spec,
            store,
            root,
            sinks,
            slice: None,
            keys: BTreeMap::new(),
            current: None,
            failures: vec![],
            leaks: vec![],
            input: None,
            noted: 0,
        }
    }

    /// Bytes that it holds in memory: open files and the coming manifest.
    pub(super) fn memory(&self) -> usize {
        let open = self.sinks.iter().filter_map(|sink| sink.open.as_ref());
        self.noted + open.map(|open| open.file.memory()).sum::<usize>()
    }

    pub(super) async fn write(&mut self, batch: &RecordBatch) -> Result<(), DeltaError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.enter_slice(batch)?;
        self.enter_input(batch)?;
        let errors = required(batch, columns::ERROR_CLASS)?;
        let failed = if errors.null_count() == batch.num_rows() {
            None
        } else {
            Some(
                filter_record_batch(batch, &is_not_null(errors).map_err(fusion)?)
                    .map_err(fusion)?,
            )
        };
        let good = match &failed {
            None => batch.clone(),
            Some(_) => {
                filter_record_batch(batch, &is_null(errors).map_err(fusion)?).map_err(fusion)?
            }
        };
        if let Some(failed) = failed {
            self.enter_failures(&failed)?;
        }
        if good.num_rows() == 0 {
            return Ok(());
        }
        let good = offload(&self.spec, self.store.as_ref(), &self.root, good).await?;
        let ranges = self.key_ranges(&good)?;
        self.enter_keys(&good, &ranges)?;
        for index in 0..self.sinks.len() {
            match self.sinks[index].target.source.clone() {
                RowSource::Rows => {
                    for range in &ranges {
                        let rows = good.slice(range.start, range.len());
                        let schema = &self.sinks[index].file_schema;
                        let columns = project(&rows, schema)?.columns().to_vec();
                        let columns = columns.into_iter().map(Values::Each).collect();
                        self.write_key(index, &rows, columns, range.len()).await?;
                    }
                }
                RowSource::Unnest(column) => {
                    for row in 0..good.num_rows() {
                        let parent = good.slice(row, 1);
                        if let Some(structs) = unnested(&parent, &column)? {
                            let schema = &self.sinks[index].file_schema;
                            let columns = spread(&parent, &structs, schema)?;
                            self.write_key(index, &parent, columns, structs.len())
                                .await?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) async fn finish(mut self) -> Result<Option<Manifest>, DeltaError> {
        for index in 0..self.sinks.len() {
            self.close(index).await?;
        }
        let Some(slice) = self.slice else {
            return Ok(None);
        };
        let name = self
            .spec
            .slices
            .get(&slice)
            .ok_or_else(|| DeltaError::Corrupt {
                what: format!("slice {slice}"),
                reason: "the plan has no name for it".to_owned(),
            })?;
        let mut manifest = Manifest::new(name, &self.spec.attempt, Utc::now().timestamp_millis());
        manifest.keys = self.keys.into_iter().collect();
        manifest.failures = self.failures;
        manifest.leaks = self.leaks;
        manifest.input = self.input;
        manifest.files = self
            .sinks
            .into_iter()
            .map(|sink| (sink.target.table, sink.done))
            .collect();
        Ok(Some(manifest))
    }

    fn enter_slice(&mut self, batch: &RecordBatch) -> Result<(), DeltaError> {
        let slices = required(batch, columns::SLICE)?.as_primitive::<Int32Type>();
        let slice = *self.slice.get_or_insert_with(|| slices.value(0));
        match slices.values().iter().find(|found| **found != slice) {
            Some(other) => Err(DeltaError::Corrupt {
                what: format!("slice {slice}"),
                reason: format!("its partition also holds rows of slice {other}"),
            }),
            None => Ok(()),
        }
    }

    fn enter_input(&mut self, batch: &RecordBatch) -> Result<(), DeltaError> {
        let rows = required(batch, columns::SCANNED_ROWS)?.as_primitive::<Int64Type>();
        let newest = required(batch, columns::SCANNED_NEWEST)?.as_primitive::<Date32Type>();
        if let Some(row) = (0..rows.len()).find(|row| rows.is_valid(*row)) {
            let newest = newest.is_valid(row).then(|| newest.value(row));
            self.input = Some(SliceInput {
                rows: rows.value(row),
                newest,
            });
        }
        Ok(())
    }

    fn key(&self, batch: &RecordBatch, row: usize) -> Result<UnitKey, DeltaError> {
        let text = |name: &str| -> Result<String, DeltaError> {
            Ok(required(batch, name)?
                .as_string::<i32>()
                .value(row)
                .to_owned())
        };
        Ok(UnitKey {
            commodity: text("commodity")?,
            model_name: text("model_name")?,
            model_version: text("model_version")?,
            date: required(batch, &self.spec.date_column)?
                .as_primitive::<Date32Type>()
                .value(row),
        })
    }

    fn enter_failures(&mut self, batch: &RecordBatch) -> Result<(), DeltaError> {
        for row in 0..batch.num_rows() {
            let text = |name: &str| -> Result<String, DeltaError> {
                Ok(required(batch, name)?
                    .as_string::<i32>()
                    .value(row)
                    .to_owned())
            };
            let failure = UnitFailure {
                key: self.key(batch, row)?,
                error_class: text(columns::ERROR_CLASS)?,
                message: text(columns::ERROR_MESSAGE)?,
            };
            let texts = failure.error_class.len() + failure.message.len();
            self.noted += key_size(&failure.key) + texts;
            self.failures.push(failure);
        }
        Ok(())
    }

    /// The runs of rows of one key.
    fn key_ranges(&self, batch: &RecordBatch) -> Result<Vec<Range<usize>>, DeltaError> {
        let columns = [
            "commodity",
            "model_name",
            "model_version",
            &self.spec.date_column,
        ]
        .into_iter()
        .map(|name| Ok(Arc::clone(required(batch, name)?)))
        .collect::<Result<Vec<ArrayRef>, DeltaError>>()?;
        Ok(partition(&columns).map_err(fusion)?.ranges())
    }

    /// Counts the rows of each key; a key whose rows do not stand together would be split over row
    /// groups and files, and is refused.
    fn enter_keys(
        &mut self,
        batch: &RecordBatch,
        ranges: &[Range<usize>],
    ) -> Result<(), DeltaError> {
        let counted = match self.spec.targets.first().map(|target| &target.source) {
            Some(RowSource::Unnest(column)) => {
                Some(required(batch, column)?.as_list::<i32>().clone())
            }
            _ => None,
        };
        for range in ranges {
            let key = self.key(batch, range.start)?;
            if let Ok(leaks) = required(batch, columns::LEAK)
                && leaks
                    .as_boolean()
                    .slice(range.start, range.len())
                    .true_count()
                    > 0
            {
                self.noted += key_size(&key);
                self.leaks.push(key.clone());
            }
            let rows = self.keys.entry(key.clone()).or_insert(0);
            if *rows > 0 && self.current.as_ref() != Some(&key) {
                return Err(DeltaError::Corrupt {
                    what: format!("key {key:?}"),
                    reason: "its rows do not stand together".to_owned(),
                });
            }
            if *rows == 0 {
                self.noted += key_size(&key);
            }
            *rows += match &counted {
                None => range.len() as u64,
                Some(lists) => {
                    let valid = range.clone().filter(|row| lists.is_valid(*row));
                    valid
                        .map(|row| u64::from(lists.value_length(row).unsigned_abs()))
                        .sum()
                }
            };
            self.current = Some(key);
        }
        Ok(())
    }

    /// Writes the rows of one key; `first` holds what decides their file.
    async fn write_key(
        &mut self,
        index: usize,
        first: &RecordBatch,
        columns: Vec<Values>,
        rows: usize,
    ) -> Result<(), DeltaError> {
        let values = partition_values(&self.sinks[index].def, &first.slice(0, 1))?;
        let model = own_file(self.spec.layout, self.sinks[index].def.name, first)?;
        let changed = self.sinks[index].open.as_ref().is_some_and(|open| {
            open.values != values || open.model != model || open.file.size() >= FILE_BYTES
        });
        if changed {
            self.close(index).await?;
        }
        let sink = &mut self.sinks[index];
        let open = match &mut sink.open {
            Some(open) => open,
            None => {
                let file =
                    ParquetFile::new(Arc::clone(&sink.file_schema), sink.def.name.sql_name())?;
                sink.open.insert(OpenFile {
                    file,
                    values,
                    model,
                })
            }
        };
        open.file.write_key(&columns, rows)
    }

    async fn close(&mut self, index: usize) -> Result<(), DeltaError> {
        let sink = &mut self.sinks[index];
        let Some(open) = sink.open.take() else {
            return Ok(());
        };
        let finished = open.file.finish()?;
        let relative = data_file_path(&sink.def, &open.values);
        let new = put_file(
            self.store.as_ref(),
            &self.root,
            relative,
            finished,
            &sink.def,
            open.values,
        )
        .await?;
        self.noted += size_of::<NewFile>() + new.path.len() + new.stats.len();
        sink.done.push(new);
        Ok(())
    }
}

fn key_size(key: &UnitKey) -> usize {
    let texts = [&key.commodity, &key.model_name, &key.model_version];
    size_of::<(UnitKey, u64)>() + texts.into_iter().map(String::len).sum::<usize>()
}

/// The model whose rows have a file of their own: a reader of one model then opens none of
/// another's. Lakes of many series share files, or they would have a file for each series; the
/// small tables share them anyway.
fn own_file(
    layout: Layout,
    table: TableName,
    key_rows: &RecordBatch,
) -> Result<Option<String>, DeltaError> {
    match (layout, table) {
        (Layout::Commodity, TableName::Distributions) => {
            let models = required(key_rows, "model_name")?.as_string::<i32>();
            Ok(Some(models.value(0).to_owned()))
        }
        _ => Ok(None),
    }
}

/// Moves large texts into content-addressed objects.
async fn offload(
    spec: &WriteSpec,
    store: &dyn ObjectStore,
    root: &Path,
    batch: RecordBatch,
) -> Result<RecordBatch, DeltaError> {
    let Some(offload) = &spec.offload else {
        return Ok(batch);
    };
    let texts = required(&batch, &offload.column)?.as_string::<i32>();
    if texts
        .iter()
        .flatten()
        .all(|text| text.len() < offload.from_bytes)
    {
        return Ok(batch);
    }
    let (mut kept, mut paths) = (vec![], vec![]);
    for text in texts {
        match text.filter(|text| text.len() >= offload.from_bytes) {
            None => {
                kept.push(text);
                paths.push(None);
            }
            Some(large) => {
                let relative = format!("{STATES}/{}.json", hex(&Sha256::digest(large.as_bytes())));
                let path = under(root, &relative);
                // Content-addressed: writing it again writes the same bytes.
                store
                    .put(&path, Bytes::copy_from_slice(large.as_bytes()).into())
                    .await
                    .map_err(|source| DeltaError::store(format!("put {path}"), source))?;
                kept.push(None);
                paths.push(Some(relative));
            }
        }
    }
    let mut columns = batch.columns().to_vec();
    columns[index_of(&batch, &offload.column)?] = Arc::new(StringArray::from(kept));
    columns[index_of(&batch, &offload.path_column)?] = Arc::new(StringArray::from(paths));
    RecordBatch::try_new(batch.schema(), columns).map_err(fusion)
}

/// Writes a finished file and describes it for the commit.
pub(crate) async fn put_file(
    store: &dyn ObjectStore,
    root: &Path,
    relative: String,
    finished: super::parquet_file::Finished,
    def: &TableDef,
    values: Vec<Option<String>>,
) -> Result<NewFile, DeltaError> {
    let path = under(root, &relative);
    let size = finished.bytes.content_length() as u64;
    store
        .put(&path, finished.bytes)
        .await
        .map_err(|source| DeltaError::store(format!("put {path}"), source))?;
    let names = def.partition_columns.iter().map(|name| (*name).to_owned());
    Ok(NewFile {
        path: relative,
        size,
        partition_values: names.zip(values).collect(),
        modified_ms: Utc::now().timestamp_millis(),
        stats: finished.stats,
    })
}

/// A new data file's path under the lake's root. Its folders are for people; readers take the
/// partition values from the log, so a value with odd characters is only shown simplified.
pub(crate) fn data_file_path(def: &TableDef, values: &[Option<String>]) -> String {
    let mut path = def.folder.to_owned();
    for (name, value) in def.partition_columns.iter().zip(values) {
        let shown: String = value
            .as_deref()
            .unwrap_or("null")
            .chars()
            .map(|letter| {
                if letter.is_ascii_alphanumeric() || "-._".contains(letter) {
                    letter
                } else {
                    '_'
                }
            })
            .collect();
        path.push_str(&format!("/{name}={shown}"));
    }
    format!("{path}/{}.parquet", Uuid::new_v4())
}

/// `relative` under `root`, part by part.
pub(crate) fn under(root: &Path, relative: &str) -> Path {
    // The parts were made by this crate and hold no character that a path would encode.
    relative
        .split('/')
        .fold(root.clone(), |path, part| path.join(part))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn fusion(error: arrow::error::ArrowError) -> DeltaError {
    DeltaError::Fusion(error.into())
}

fn index_of(batch: &RecordBatch, name: &str) -> Result<usize, DeltaError> {
    batch.schema_ref().index_of(name).map_err(fusion)
}

fn required<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, DeltaError> {
    Ok(batch.column(index_of(batch, name)?))
}

/// The partition values of rows that agree on them, as Delta writes them.
pub(crate) fn partition_values(
    def: &TableDef,
    rows: &RecordBatch,
) -> Result<Vec<Option<String>>, DeltaError> {
    def.partition_columns
        .iter()
        .map(|name| {
            let text = cast(required(rows, name)?, &DataType::Utf8).map_err(fusion)?;
            let text = text.as_string::<i32>();
            Ok(text.is_valid(0).then(|| text.value(0).to_owned()))
        })
        .collect()
}

/// The columns of `schema` from `rows`, by name; what the rows lack is null.
pub(crate) fn project(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, DeltaError> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| match rows.column_by_name(field.name()) {
            Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
            Some(column) => cast(column, field.data_type()).map_err(fusion),
            None => Ok(new_null_array(field.data_type(), rows.num_rows())),
        })
        .collect::<Result<Vec<_>, DeltaError>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(fusion)
}

/// The structs in the list of one row; `None` if there are none.
fn unnested(row: &RecordBatch, column: &str) -> Result<Option<StructArray>, DeltaError> {
    let lists = required(row, column)?.as_list::<i32>();
    if lists.is_null(0) || lists.value_length(0) == 0 {
        return Ok(None);
    }
    Ok(Some(lists.value(0).as_struct().clone()))
}

/// The columns of `schema`: what the structs have for each row, what they lack from the row that
/// holds them, else null.
fn spread(
    parent: &RecordBatch,
    structs: &StructArray,
    schema: &SchemaRef,
) -> Result<Vec<Values>, DeltaError> {
    let fitting = |column: &ArrayRef, data_type: &DataType| {
        if column.data_type() == data_type {
            Ok(Arc::clone(column))
        } else {
            cast(column, data_type).map_err(fusion)
        }
    };
    let columns = schema.fields().iter().map(|field| {
        let kind = field.data_type();
        if let Some(own) = structs.column_by_name(field.name()) {
            return Ok(Values::Each(fitting(own, kind)?));
        }
        Ok(Values::Same(match parent.column_by_name(field.name()) {
            Some(column) => fitting(column, kind)?,
            None => new_null_array(kind, 1),
        }))
    });
    columns.collect()
}

#[cfg(test)]
mod tests;
