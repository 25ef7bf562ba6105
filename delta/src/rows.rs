//! Rows that the driver itself reads and writes: ingested data, run records, actuals. What grows
//! with paths goes through plans instead.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::{concat_batches, partition};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::ScalarValue;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::commit::NewFile;
use crate::error::DeltaError;
use crate::lake::Lake;
use crate::snapshot::DataFile;
use crate::tables::TableDef;
use crate::write::parquet_file::ParquetFile;
use crate::write::slice_writer::{data_file_path, partition_values, project, put_file};

/// Rows handed to the file writer at a time, or one key if that is more.
const CHUNK: usize = 8192;

/// Writes rows as new data files, one for each run of equal partition values. The files belong to
/// nothing until they are committed.
///
/// `rows` has the table's columns in any order (what it lacks is null) and is sorted by its
/// partition columns first.
///
/// # Errors
/// When the rows do not fit the table, or the store refuses.
pub async fn write_rows(
    lake: &Lake,
    def: &TableDef,
    rows: &RecordBatch,
) -> Result<Vec<NewFile>, DeltaError> {
    if rows.num_rows() == 0 {
        return Ok(vec![]);
    }
    let fusion = |error: arrow::error::ArrowError| DeltaError::Fusion(error.into());
    let keys = def
        .partition_columns
        .iter()
        .map(|name| {
            Ok(Arc::clone(
                rows.column(rows.schema_ref().index_of(name).map_err(fusion)?),
            ))
        })
        .collect::<Result<Vec<ArrayRef>, DeltaError>>()?;
    let whole = std::iter::once(0..rows.num_rows()).collect();
    let ranges = if keys.is_empty() {
        whole
    } else {
        partition(&keys).map_err(fusion)?.ranges()
    };
    let file_schema = def.file_schema();
    let mut files = vec![];
    for range in ranges {
        let part = rows.slice(range.start, range.len());
        let values = partition_values(def, &part)?;
        let part = project(&part, &file_schema)?;
        let mut file = ParquetFile::new(Arc::clone(&file_schema), def.name.sql_name())?;
        let mut start = 0;
        for key in key_ends(def, &rows.slice(range.start, range.len()))? {
            // Several small keys make a chunk; a row group never ends inside a key.
            if key - start >= CHUNK || key == part.num_rows() {
                file.write_rows(&part.slice(start, key - start))?;
                start = key;
            }
        }
        let path = data_file_path(def, &values);
        files.push(
            put_file(
                lake.store().as_ref(),
                &Path::default(),
                path,
                file.finish()?,
                def,
                values,
            )
            .await?,
        );
    }
    Ok(files)
}

/// The row after each run of equal keys.
fn key_ends(def: &TableDef, rows: &RecordBatch) -> Result<Vec<usize>, DeltaError> {
    let fusion = |error: arrow::error::ArrowError| DeltaError::Fusion(error.into());
    let keys = def
        .keys
        .iter()
        .filter_map(|name| rows.column_by_name(name))
        .map(Arc::clone)
        .collect::<Vec<_>>();
    if keys.is_empty() {
        return Ok(vec![rows.num_rows()]);
    }
    Ok(partition(&keys)
        .map_err(fusion)?
        .ranges()
        .into_iter()
        .map(|range| range.end)
        .collect())
}

/// Reads whole data files, in the order given, as rows of the table.
///
/// # Errors
/// When a file is gone or is no Parquet of this table.
pub async fn read_files(
    lake: &Lake,
    def: &TableDef,
    files: &[DataFile],
) -> Result<RecordBatch, DeltaError> {
    read(lake, def, files, &def.schema).await
}

/// Reads some columns of a data file.
///
/// # Errors
/// When the file is gone or is no Parquet of this table, or the table lacks a column.
pub async fn read_columns(
    lake: &Lake,
    def: &TableDef,
    file: &DataFile,
    columns: &[&str],
) -> Result<RecordBatch, DeltaError> {
    let fields = columns
        .iter()
        .map(|name| def.schema.field_with_name(name).cloned());
    let fields = fields
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| DeltaError::Fusion(error.into()))?;
    read(
        lake,
        def,
        std::slice::from_ref(file),
        &Arc::new(Schema::new(fields)),
    )
    .await
}

async fn read(
    lake: &Lake,
    def: &TableDef,
    files: &[DataFile],
    schema: &SchemaRef,
) -> Result<RecordBatch, DeltaError> {
    let mut batches = vec![];
    for file in files {
        let path = file.location()?;
        let bytes = match lake.store().get(&path).await {
            Ok(found) => found.bytes().await,
            Err(error) => Err(error),
        }
        .map_err(|source| DeltaError::data_file(path.as_ref(), source))?;
        let parquet = |source| DeltaError::Parquet {
            what: path.to_string(),
            source,
        };
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(parquet)?;
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let mask = ProjectionMask::columns(reader.parquet_schema(), names);
        let reader = reader.with_projection(mask).build().map_err(parquet)?;
        for batch in reader {
            let batch = batch.map_err(|error| DeltaError::Fusion(error.into()))?;
            batches.push(with_partition(def, file, &batch, schema)?);
        }
    }
    concat_batches(schema, &batches).map_err(|error| DeltaError::Fusion(error.into()))
}

fn with_partition(
    def: &TableDef,
    file: &DataFile,
    batch: &RecordBatch,
    wanted: &SchemaRef,
) -> Result<RecordBatch, DeltaError> {
    let mut fields: Vec<_> = batch.schema().fields().iter().cloned().collect();
    let mut columns = batch.columns().to_vec();
    for (name, value) in def.partition_columns.iter().zip(&file.partition_values) {
        let field = def
            .schema
            .field_with_name(name)
            .map_err(|error| DeltaError::Fusion(error.into()))?;
        let scalar = match value {
            Some(text) => ScalarValue::try_from_string(text.clone(), field.data_type()),
            None => ScalarValue::try_from(field.data_type()),
        };
        let scalar = scalar.map_err(DeltaError::Fusion)?;
        fields.push(Arc::new(field.clone()));
        columns.push(
            scalar
                .to_array_of_size(batch.num_rows())
                .map_err(DeltaError::Fusion)?,
        );
    }
    let schema = Arc::new(Schema::new(fields));
    let batch =
        RecordBatch::try_new(schema, columns).map_err(|error| DeltaError::Fusion(error.into()))?;
    project(&batch, wanted)
}

#[cfg(test)]
mod tests;
