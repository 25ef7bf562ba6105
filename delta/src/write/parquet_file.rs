//! One Parquet data file with the statistics that its Add action carries.

use std::io;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef, TimeUnit};
use chrono::{DateTime, Days, NaiveDate, SecondsFormat};
use object_store::{PutPayload, PutPayloadMut};
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{
    ArrowColumnWriter, ArrowRowGroupWriterFactory, ArrowWriter, compute_leaves,
};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::statistics::Statistics;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;
use serde_json::{Map, Value, json};

use super::column_chunk::{Codec, Floats, Repeated, ZSTD};
use crate::error::DeltaError;
use crate::tables::{distributions, job_runs, trained_models};

/// Rows after which a row group ends, at the next key. A point read takes one group.
pub const GROUP_ROWS: usize = 32_000;
/// Rows after which a page ends, at the next key.
const PAGE_ROWS: usize = 8_000;
/// Bytes of a finished file are held in blocks of this size.
const BLOCK: usize = 256 << 10;
/// What zstd needs at level 1 for a column of a row group under way: the compressor's context and
/// the decompressor's, which the Parquet crate makes beside it.
const CODEC_BYTES: usize = 320 << 10;
/// Text statistics keep this many characters.
const TEXT_STATISTICS: usize = 32;
/// Columns that get no statistics: they are documents, not values.
const DOCUMENTS: [&str; 5] = [
    trained_models::PARAMETERS,
    trained_models::FITTED_MODEL_JSON,
    job_runs::ARGUMENTS,
    job_runs::DATA_VERSIONS,
    job_runs::TABLE_VERSIONS,
];

/// How the Parquet crate writes the columns of the lake's files that have no form of ours, and what
/// a file written by it alone would look like.
#[must_use]
pub fn properties(schema: &SchemaRef) -> WriterProperties {
    let level = ZstdLevel::try_new(ZSTD).unwrap_or_default();
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(None)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_statistics_truncate_length(None)
        .set_statistics_enabled(EnabledStatistics::Page);
    for field in schema.fields() {
        let column = ColumnPath::from(field.name().as_str());
        match field.data_type() {
            // Values hardly repeat. BYTE_STREAM_SPLIT would be smaller, but Spark 4.1's vectorized
            // reader refuses it.
            DataType::Float32 | DataType::Float64 => {
                properties = properties
                    .set_column_dictionary_enabled(column.clone(), false)
                    .set_column_encoding(column.clone(), Encoding::PLAIN)
                    .set_column_statistics_enabled(column, EnabledStatistics::Chunk);
            }
            DataType::Int32 if field.name() == distributions::PATH_ID => {
                properties = properties
                    .set_column_dictionary_enabled(column.clone(), false)
                    .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
            }
            DataType::Utf8 if DOCUMENTS.contains(&field.name().as_str()) => {
                properties = properties
                    .set_column_dictionary_enabled(column.clone(), false)
                    .set_column_statistics_enabled(column, EnabledStatistics::None);
            }
            _ => {}
        }
    }
    properties.build()
}

/// The values of one column in the rows of one key.
#[derive(Debug, Clone)]
pub enum Values {
    /// One for each row.
    Each(ArrayRef),
    /// One for all of them: the first of this array.
    Same(ArrayRef),
}

/// A column of the row group under way.
enum Chunk {
    Repeated(Repeated),
    Floats(Floats),
    Arrow(Box<ArrowColumnWriter>),
}

/// How a column is encoded in all of a file's row groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Repeated,
    Floats,
    Arrow,
}

/// The row group under way.
struct Group {
    chunks: Vec<Chunk>,
    rows: usize,
    page_rows: usize,
}

/// Bytes in blocks: a file grows without a copy of what it holds already, and without the room
/// that a doubling buffer keeps in reserve.
struct Blocks(PutPayloadMut);

impl Blocks {
    fn new() -> Self {
        Self(PutPayloadMut::new().with_block_size(BLOCK))
    }

    fn memory(&self) -> usize {
        self.0.content_length().next_multiple_of(BLOCK)
    }
}

impl io::Write for Blocks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A data file under way, in memory.
pub struct ParquetFile {
    schema: SchemaRef,
    file: SerializedFileWriter<Blocks>,
    codec: Codec,
    forms: Vec<Form>,
    /// Makes the writers of the columns that have no form of ours.
    others: Option<ArrowRowGroupWriterFactory>,
    group: Option<Group>,
    what: String,
}

/// A finished data file.
pub struct Finished {
    /// The file's bytes.
    pub bytes: PutPayload,
    /// Its rows.
    pub rows: u64,
    /// Delta statistics, as JSON.
    pub stats: String,
}

impl ParquetFile {
    /// An empty file. `what` names it in errors.
    ///
    /// # Errors
    /// When the schema has no Parquet form.
    pub fn new(schema: SchemaRef, what: &str) -> Result<Self, DeltaError> {
        let made = || {
            let descriptor = ArrowSchemaConverter::new().convert(&schema)?;
            let properties = Arc::new(properties(&schema));
            let root = descriptor.root_schema_ptr();
            // Other engines know the types from Parquet itself; the Arrow schema would only add
            // bytes.
            let file = SerializedFileWriter::new(Blocks::new(), root, properties)?;
            Ok((file, Codec::new()?))
        };
        let (file, codec) = made().map_err(|source| DeltaError::Parquet {
            what: what.to_owned(),
            source,
        })?;
        Ok(Self {
            schema,
            file,
            codec,
            forms: vec![],
            others: None,
            group: None,
            what: what.to_owned(),
        })
    }

    /// Adds rows of one key. Row groups end between keys.
    ///
    /// # Errors
    /// When the rows do not fit the schema.
    pub fn write_rows(&mut self, rows: &RecordBatch) -> Result<(), DeltaError> {
        let columns = rows
            .columns()
            .iter()
            .map(|column| Values::Each(Arc::clone(column)));
        self.write_key(&columns.collect::<Vec<_>>(), rows.num_rows())
    }

    /// Adds the `rows` rows of one key, their columns in the schema's order. Row groups end between
    /// keys.
    ///
    /// # Errors
    /// When the rows do not fit the schema.
    pub fn write_key(&mut self, columns: &[Values], rows: usize) -> Result<(), DeltaError> {
        self.add(columns, rows)
            .map_err(|source| DeltaError::Parquet {
                what: self.what.clone(),
                source,
            })
    }

    /// Bytes so far, encoded or about to be.
    #[must_use]
    pub fn size(&self) -> usize {
        let chunks = self.group.iter().flat_map(|group| &group.chunks);
        let under_way: usize = chunks
            .map(|chunk| match chunk {
                Chunk::Repeated(chunk) => chunk.size(),
                Chunk::Floats(chunk) => chunk.size(),
                Chunk::Arrow(writer) => writer.get_estimated_total_bytes(),
            })
            .sum();
        self.file.bytes_written() + under_way
    }

    /// Bytes that it takes in memory: finished row groups, and the row group under way with its
    /// encoders and compressors.
    #[must_use]
    pub fn memory(&self) -> usize {
        let Some(group) = &self.group else {
            return self.file.inner().memory();
        };
        let chunks = group.chunks.iter().map(|chunk| match chunk {
            Chunk::Repeated(chunk) => chunk.size(),
            Chunk::Floats(chunk) => chunk.size(),
            Chunk::Arrow(writer) => writer.memory_size() + CODEC_BYTES,
        });
        self.file.inner().memory() + CODEC_BYTES + chunks.sum::<usize>()
    }

    /// Ends the file.
    ///
    /// # Errors
    /// When the footer cannot be written.
    pub fn finish(mut self) -> Result<Finished, DeltaError> {
        let ended = self.end_group().and_then(|()| self.file.finish());
        let metadata = ended.map_err(|source| DeltaError::Parquet {
            what: self.what.clone(),
            source,
        })?;
        let bytes = std::mem::replace(self.file.inner_mut(), Blocks::new());
        let rows = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0);
        let stats = statistics(&self.schema, &metadata).to_string();
        Ok(Finished {
            bytes: bytes.0.freeze(),
            rows,
            stats,
        })
    }

    fn add(&mut self, columns: &[Values], rows: usize) -> parquet::errors::Result<()> {
        let fits =
            |values: &Values| !matches!(values, Values::Each(values) if values.len() != rows);
        if columns.len() != self.schema.fields().len() || !columns.iter().all(fits) {
            return Err(parquet::errors::ParquetError::General(format!(
                "the columns of {rows} rows do not fit the file"
            )));
        }
        if self
            .group
            .as_ref()
            .is_some_and(|group| group.rows >= GROUP_ROWS)
        {
            self.end_group()?;
        }
        if self.forms.is_empty() {
            self.choose_forms(columns)?;
        }
        let mut group = match self.group.take() {
            Some(group) => group,
            None => self.new_group()?,
        };
        if group.page_rows >= PAGE_ROWS {
            for chunk in &mut group.chunks {
                match chunk {
                    Chunk::Repeated(chunk) => chunk.end_page(),
                    Chunk::Floats(chunk) => chunk.end_page(&mut self.codec)?,
                    // Ends its pages itself.
                    Chunk::Arrow(_) => {}
                }
            }
            group.page_rows = 0;
        }
        let fields = self.schema.fields().iter();
        for ((chunk, field), values) in group.chunks.iter_mut().zip(fields).zip(columns) {
            match (chunk, values) {
                (Chunk::Repeated(chunk), Values::Same(value)) => chunk.push(value, 0, rows as u32),
                (Chunk::Repeated(chunk), Values::Each(values)) => {
                    (0..values.len()).for_each(|row| chunk.push(values, row, 1));
                }
                (Chunk::Floats(chunk), values) => chunk.push(&each(values, rows)?),
                (Chunk::Arrow(writer), values) => {
                    for leaf in compute_leaves(field, &each(values, rows)?)? {
                        writer.write(&leaf)?;
                    }
                }
            }
        }
        group.rows += rows;
        group.page_rows += rows;
        self.group = Some(group);
        Ok(())
    }

    /// What the first key's columns are decides for the whole file.
    fn choose_forms(&mut self, columns: &[Values]) -> parquet::errors::Result<()> {
        let fields = self.schema.fields();
        let form = |(field, values): (&FieldRef, &Values)| {
            let kind = field.data_type();
            match values {
                Values::Same(_) if Repeated::takes(kind) => Form::Repeated,
                _ if Floats::takes(kind) => Form::Floats,
                _ => Form::Arrow,
            }
        };
        self.forms = fields.iter().zip(columns).map(form).collect();
        let others: Vec<FieldRef> = fields
            .iter()
            .zip(&self.forms)
            .filter(|(_, form)| **form == Form::Arrow)
            .map(|(field, _)| Arc::clone(field))
            .collect();
        if !others.is_empty() {
            let schema = Arc::new(Schema::new(others));
            let properties = properties(&schema);
            let writer = ArrowWriter::try_new(vec![], schema, Some(properties))?;
            let (_, factory) = writer.into_serialized_writer()?;
            self.others = Some(factory);
        }
        Ok(())
    }

    fn new_group(&self) -> parquet::errors::Result<Group> {
        let others = match &self.others {
            Some(factory) => factory.create_column_writers(self.file.flushed_row_groups().len())?,
            None => vec![],
        };
        let mut others = others.into_iter();
        let columns = self.file.schema_descr().columns();
        let chunks = self.forms.iter().zip(columns).filter_map(|(form, column)| {
            let column = Arc::clone(column);
            Some(match form {
                Form::Repeated => Chunk::Repeated(Repeated::new(column)),
                Form::Floats => Chunk::Floats(Floats::new(column)),
                Form::Arrow => Chunk::Arrow(Box::new(others.next()?)),
            })
        });
        Ok(Group {
            chunks: chunks.collect(),
            rows: 0,
            page_rows: 0,
        })
    }

    fn end_group(&mut self) -> parquet::errors::Result<()> {
        let Some(group) = self.group.take() else {
            return Ok(());
        };
        let mut writer = self.file.next_row_group()?;
        for chunk in group.chunks {
            let (bytes, close) = match chunk {
                Chunk::Repeated(chunk) => chunk.close(&mut self.codec)?,
                Chunk::Floats(chunk) => chunk.close(&mut self.codec)?,
                Chunk::Arrow(column) => {
                    column.close()?.append_to_row_group(&mut writer)?;
                    continue;
                }
            };
            writer.append_column(&bytes, close)?;
        }
        writer.close().map(|_| ())
    }
}

/// A value for each row.
fn each(values: &Values, rows: usize) -> parquet::errors::Result<ArrayRef> {
    match values {
        Values::Each(values) => Ok(Arc::clone(values)),
        Values::Same(value) => {
            let first = UInt32Array::from(vec![0; rows]);
            Ok(take(value, &first, None)?)
        }
    }
}

/// Delta's file statistics from the row groups' own.
fn statistics(schema: &SchemaRef, metadata: &ParquetMetaData) -> Value {
    let (mut minimum, mut maximum, mut nulls) = (Map::new(), Map::new(), Map::new());
    for (index, field) in schema.fields().iter().enumerate() {
        let groups: Option<Vec<&Statistics>> = metadata
            .row_groups()
            .iter()
            .map(|group| group.column(index).statistics())
            .collect();
        let Some(groups) = groups else { continue };
        if let Some(count) = groups
            .iter()
            .map(|group| group.null_count_opt())
            .sum::<Option<u64>>()
        {
            nulls.insert(field.name().clone(), json!(count));
        }
        let known: Vec<_> = groups
            .into_iter()
            .filter_map(|group| bounds(field.data_type(), group))
            .collect();
        let lower = known
            .iter()
            .map(|(lower, _)| lower)
            .min_by(|a, b| order(a, b));
        let upper = known
            .iter()
            .map(|(_, upper)| upper)
            .max_by(|a, b| order(a, b));
        if let (Some(lower), Some(upper)) = (lower, upper) {
            if let Some(text) = short(lower, false) {
                minimum.insert(field.name().clone(), text);
            }
            if let Some(text) = short(upper, true) {
                maximum.insert(field.name().clone(), text);
            }
        }
    }
    json!({
        "numRecords": metadata.file_metadata().num_rows(),
        "minValues": minimum,
        "maxValues": maximum,
        "nullCount": nulls,
    })
}

/// Texts are bounded, not copied: a lower bound is cut, an upper bound is cut and raised.
fn short(value: &Value, upper: bool) -> Option<Value> {
    let Value::String(text) = value else {
        return Some(value.clone());
    };
    if text.chars().count() <= TEXT_STATISTICS {
        return Some(value.clone());
    }
    let mut letters = text.chars();
    let mut cut: String = letters.by_ref().take(TEXT_STATISTICS).collect();
    if upper {
        // The greatest letter cannot be raised: it stays, and the one behind it is raised.
        cut.extend(letters.take_while(|letter| *letter == char::MAX));
        cut.push(char::MAX);
    }
    Some(Value::String(cut))
}

fn order(left: &Value, right: &Value) -> std::cmp::Ordering {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            let (left, right) = (
                left.as_f64().unwrap_or(f64::NAN),
                right.as_f64().unwrap_or(f64::NAN),
            );
            left.total_cmp(&right)
        }
        (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
        (left, right) => left.as_str().cmp(&right.as_str()),
    }
}

/// A column chunk's bounds as Delta writes them.
fn bounds(data_type: &DataType, statistics: &Statistics) -> Option<(Value, Value)> {
    match (data_type, statistics) {
        (DataType::Date32, Statistics::Int32(found)) => {
            Some((date(*found.min_opt()?)?, date(*found.max_opt()?)?))
        }
        (DataType::Int32, Statistics::Int32(found)) => {
            Some((json!(found.min_opt()?), json!(found.max_opt()?)))
        }
        (DataType::Int64, Statistics::Int64(found)) => {
            Some((json!(found.min_opt()?), json!(found.max_opt()?)))
        }
        (DataType::Timestamp(TimeUnit::Microsecond, _), Statistics::Int64(found)) => {
            // Delta keeps milliseconds: the upper bound is rounded up.
            let upper = found.max_opt()?.checked_add(999)?;
            Some((instant(*found.min_opt()?)?, instant(upper)?))
        }
        (DataType::Float32, Statistics::Float(found)) => {
            finite(f64::from(*found.min_opt()?), f64::from(*found.max_opt()?))
        }
        (DataType::Float64, Statistics::Double(found)) => {
            finite(*found.min_opt()?, *found.max_opt()?)
        }
        (DataType::Utf8, Statistics::ByteArray(found)) => {
            let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(|text| json!(text));
            Some((text(found.min_bytes_opt()?)?, text(found.max_bytes_opt()?)?))
        }
        // Delta has no bounds for booleans.
        _ => None,
    }
}

fn finite(lower: f64, upper: f64) -> Option<(Value, Value)> {
    (lower.is_finite() && upper.is_finite()).then(|| (json!(lower), json!(upper)))
}

fn date(days: i32) -> Option<Value> {
    let epoch = NaiveDate::default();
    let day = if days >= 0 {
        epoch.checked_add_days(Days::new(u64::from(days.unsigned_abs())))
    } else {
        epoch.checked_sub_days(Days::new(u64::from(days.unsigned_abs())))
    };
    day.map(|day| json!(day.format("%Y-%m-%d").to_string()))
}

fn instant(micros: i64) -> Option<Value> {
    DateTime::from_timestamp_micros(micros)
        .map(|at| json!(at.to_rfc3339_opts(SecondsFormat::Millis, true)))
}

#[cfg(test)]
mod tests;
