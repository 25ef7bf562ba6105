//! One Parquet data file with the statistics that its Add action carries.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use chrono::{DateTime, Days, NaiveDate, SecondsFormat};
use parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnPath;
use serde_json::{Map, Value, json};

use crate::error::DeltaError;
use crate::tables::{distributions, trained_models};

/// Rows after which a row group ends, at the next key. A point read takes one group.
const GROUP_ROWS: usize = 32_000;
/// Text statistics keep this many characters.
const TEXT_STATISTICS: usize = 32;
/// Columns that get no statistics: they are documents, not values.
const DOCUMENTS: [&str; 2] = [
    trained_models::PARAMETERS,
    trained_models::FITTED_MODEL_JSON,
];

/// How every data file of the lake is written.
#[must_use]
pub fn properties(schema: &SchemaRef) -> WriterProperties {
    let level = ZstdLevel::try_new(1).unwrap_or_default();
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(None)
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

/// A data file under way, in memory.
pub struct ParquetFile {
    schema: SchemaRef,
    writer: ArrowWriter<Vec<u8>>,
    what: String,
}

/// A finished data file.
pub struct Finished {
    /// The file's bytes.
    pub bytes: Vec<u8>,
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
        // Other engines know the types from Parquet itself; the Arrow schema would only add bytes.
        let options = ArrowWriterOptions::new()
            .with_properties(properties(&schema))
            .with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(vec![], Arc::clone(&schema), options)
            .map_err(|source| DeltaError::Parquet {
                what: what.to_owned(),
                source,
            })?;
        Ok(Self {
            schema,
            writer,
            what: what.to_owned(),
        })
    }

    /// Adds the rows of one key. Row groups end between keys.
    ///
    /// # Errors
    /// When the rows do not fit the schema.
    pub fn write_key(&mut self, rows: &RecordBatch) -> Result<(), DeltaError> {
        let full = self.writer.in_progress_rows() >= GROUP_ROWS;
        let written = if full { self.writer.flush() } else { Ok(()) };
        written
            .and_then(|()| self.writer.write(rows))
            .map_err(|source| DeltaError::Parquet {
                what: self.what.clone(),
                source,
            })
    }

    /// Bytes so far, encoded or about to be.
    #[must_use]
    pub fn size(&self) -> usize {
        self.writer.bytes_written() + self.writer.in_progress_size()
    }

    /// Ends the file.
    ///
    /// # Errors
    /// When the footer cannot be written.
    pub fn finish(mut self) -> Result<Finished, DeltaError> {
        let failed = |source| DeltaError::Parquet {
            what: self.what.clone(),
            source,
        };
        let metadata = self.writer.finish().map_err(failed)?;
        let bytes = std::mem::take(self.writer.inner_mut());
        let rows = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0);
        let stats = statistics(&self.schema, &metadata).to_string();
        Ok(Finished { bytes, rows, stats })
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
