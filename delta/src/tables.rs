//! The tables of a lake: names, folders, schemas, partitions and keys.
//!
//! One file per table holds its column names and its definition. A column name is written once,
//! there, and imported everywhere else.

pub mod calendar;
pub mod distributions;
pub mod job_failures;
pub mod job_runs;
pub mod point_forecasts;
pub mod trained_models;
pub mod unified_data;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Column of the hash bucket a commodity falls into, in lakes of many series.
pub const SERIES_BUCKET: &str = "series_bucket";

/// How the big tables of a lake are partitioned. Fixed when the lake is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// One partition per commodity: tens of series.
    Commodity,
    /// Partitions by [`SERIES_BUCKET`], this many of them: thousands of series.
    Buckets(u32),
}

/// The bucket of `commodity` among `n`: the first 8 bytes of its SHA-256, big-endian, modulo `n`.
///
/// Stored in tables, so it never changes. With `n` of 0 or 1 everything is in bucket 0.
#[must_use]
pub fn series_bucket(commodity: &str, n: u32) -> i32 {
    bucket_of(&[commodity], n)
}

/// A stable bucket among `n` for a tuple of strings. Parts are separated by a zero byte.
pub(crate) fn bucket_of(parts: &[&str], n: u32) -> i32 {
    let mut hash = Sha256::new();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            hash.update([0]);
        }
        hash.update(part.as_bytes());
    }
    let mut head = [0_u8; 8];
    head.copy_from_slice(&hash.finalize()[..8]);
    let bucket = u64::from_be_bytes(head) % u64::from(n.clamp(1, i32::MAX as u32));
    i32::try_from(bucket).unwrap_or(0)
}

/// A table of the lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableName {
    /// `silver.unified_data`: observations and covariates.
    UnifiedData,
    /// `forecast.trained_models`: fitted states.
    TrainedModels,
    /// `forecast.distributions`: simulated paths.
    Distributions,
    /// `forecast.point_forecasts`: means and quantiles of the paths.
    PointForecasts,
    /// `forecast.job_runs`: one row per run.
    JobRuns,
    /// `forecast.job_failures`: one row per unit that failed.
    JobFailures,
    /// `silver.calendar`: which days are open.
    Calendar,
}

impl TableName {
    /// Every table, in the order `init` creates them.
    pub const ALL: [Self; 7] = [
        Self::UnifiedData,
        Self::TrainedModels,
        Self::Distributions,
        Self::PointForecasts,
        Self::JobRuns,
        Self::JobFailures,
        Self::Calendar,
    ];

    /// Schema-qualified name, such as `silver.unified_data`.
    #[must_use]
    pub fn sql_name(self) -> &'static str {
        match self {
            Self::UnifiedData => unified_data::NAME,
            Self::TrainedModels => trained_models::NAME,
            Self::Distributions => distributions::NAME,
            Self::PointForecasts => point_forecasts::NAME,
            Self::JobRuns => job_runs::NAME,
            Self::JobFailures => job_failures::NAME,
            Self::Calendar => calendar::NAME,
        }
    }

    /// Folder under the lake root, such as `silver/unified_data`.
    #[must_use]
    pub fn folder(self) -> &'static str {
        match self {
            Self::UnifiedData => unified_data::FOLDER,
            Self::TrainedModels => trained_models::FOLDER,
            Self::Distributions => distributions::FOLDER,
            Self::PointForecasts => point_forecasts::FOLDER,
            Self::JobRuns => job_runs::FOLDER,
            Self::JobFailures => job_failures::FOLDER,
            Self::Calendar => calendar::FOLDER,
        }
    }

    /// SQL schema the table lives in: `silver` or `forecast`.
    #[must_use]
    pub fn schema_name(self) -> &'static str {
        self.sql_name().split('.').next().unwrap_or_default()
    }

    /// Name without the schema, such as `unified_data`.
    #[must_use]
    pub fn short_name(self) -> &'static str {
        self.sql_name().rsplit('.').next().unwrap_or_default()
    }

    /// The table as a new lake of this layout has it.
    #[must_use]
    pub fn def(self, layout: &Layout) -> TableDef {
        match self {
            Self::UnifiedData => unified_data::def(layout),
            Self::TrainedModels => trained_models::def(layout),
            Self::Distributions => distributions::def(layout),
            Self::PointForecasts => point_forecasts::def(layout),
            Self::JobRuns => job_runs::def(),
            Self::JobFailures => job_failures::def(),
            Self::Calendar => calendar::def(),
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sql_name())
    }
}

/// The text names no table of the lake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no table `{name}`; there are {}", TableName::ALL.map(TableName::sql_name).join(", "))]
pub struct UnknownTable {
    /// The text as given.
    pub name: String,
}

impl FromStr for TableName {
    type Err = UnknownTable;

    /// Accepts `silver.unified_data` and `unified_data`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|table| table.sql_name() == text || table.short_name() == text)
            .ok_or_else(|| UnknownTable {
                name: text.to_owned(),
            })
    }
}

/// What a table is: its place, columns, partitions, keys and order.
#[derive(Debug, Clone, PartialEq)]
pub struct TableDef {
    /// The table.
    pub name: TableName,
    /// Folder under the lake root.
    pub folder: &'static str,
    /// All columns, partition columns included, in table order.
    pub schema: SchemaRef,
    /// Partition columns, outermost first.
    pub partition_columns: Vec<&'static str>,
    /// Columns that identify a unit: it is present whole or absent, and at most once.
    pub keys: Vec<&'static str>,
    /// Order of the rows inside a file.
    pub sort: Vec<&'static str>,
}

impl TableDef {
    /// The columns stored in data files: all but the partition columns.
    #[must_use]
    pub fn file_schema(&self) -> SchemaRef {
        let fields: Vec<_> = self
            .schema
            .fields()
            .iter()
            .filter(|field| !self.partition_columns.contains(&field.name().as_str()))
            .cloned()
            .collect();
        Arc::new(Schema::new(fields))
    }
}

/// Adds the bucket column and the order by commodity that a lake of many series needs.
fn define(
    name: TableName,
    layout: &Layout,
    mut fields: Vec<Field>,
    partitions: (&[&'static str], &[&'static str]),
    keys: &[&'static str],
    sort: &[&'static str],
) -> TableDef {
    let commodity = unified_data::COMMODITY;
    let (partition_columns, sort) = match layout {
        Layout::Commodity => (partitions.0.to_vec(), sort.to_vec()),
        Layout::Buckets(_) => {
            fields.push(required(SERIES_BUCKET, DataType::Int32));
            let mut order = vec![commodity];
            order.extend(sort.iter().filter(|column| **column != commodity));
            (partitions.1.to_vec(), order)
        }
    };
    TableDef {
        name,
        folder: name.folder(),
        schema: Arc::new(Schema::new(fields)),
        partition_columns,
        keys: keys.to_vec(),
        sort,
    }
}

fn define_unpartitioned(
    name: TableName,
    fields: Vec<Field>,
    keys: &[&'static str],
    sort: &[&'static str],
) -> TableDef {
    define(name, &Layout::Commodity, fields, (&[], &[]), keys, sort)
}

fn required(name: impl Into<String>, data_type: DataType) -> Field {
    Field::new(name, data_type, false)
}

fn optional(name: impl Into<String>, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

/// UTC microseconds. A timestamp without a zone would raise the table's protocol.
fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_with_and_without_schema() {
        for table in TableName::ALL {
            assert_eq!(table.sql_name().parse(), Ok(table));
            assert_eq!(table.short_name().parse(), Ok(table));
            assert_eq!(table.folder(), table.sql_name().replace('.', "/"));
        }
        let error = "gold.x".parse::<TableName>().unwrap_err().to_string();
        assert!(error.contains("silver.unified_data"), "{error}");
    }

    #[test]
    fn keys_partitions_and_order_are_columns() {
        for layout in [Layout::Commodity, Layout::Buckets(64)] {
            for table in TableName::ALL {
                let def = table.def(&layout);
                for column in def
                    .keys
                    .iter()
                    .chain(&def.sort)
                    .chain(&def.partition_columns)
                {
                    let field = def.schema.field_with_name(column);
                    assert!(field.is_ok(), "{table} has no {column}");
                }
                for column in &def.partition_columns {
                    assert!(!def.schema.field_with_name(column).unwrap().is_nullable());
                }
            }
        }
    }

    #[test]
    fn buckets_replace_commodity_in_the_partitions() {
        let many = Layout::Buckets(8);
        let def = TableName::Distributions.def(&many);
        assert_eq!(
            def.partition_columns,
            [distributions::MODEL_VERSION, SERIES_BUCKET]
        );
        assert_eq!(def.schema.fields().last().unwrap().name(), SERIES_BUCKET);
        assert_eq!(
            TableName::UnifiedData.def(&many).partition_columns,
            [SERIES_BUCKET]
        );
        assert!(
            TableName::Calendar
                .def(&many)
                .schema
                .field_with_name(SERIES_BUCKET)
                .is_err()
        );
    }

    #[test]
    fn a_bucket_never_changes() {
        // sha256("coffee") starts with 37290d74ac4d186e.
        assert_eq!(
            series_bucket("coffee", 64),
            (0x3729_0d74_ac4d_186e_u64 % 64) as i32
        );
        assert_eq!(series_bucket("coffee", 0), 0);
        assert_eq!(series_bucket("coffee", 1), 0);
        assert_ne!(
            bucket_of(&["ab", "c"], 1 << 30),
            bucket_of(&["a", "bc"], 1 << 30)
        );
    }

    #[test]
    fn the_layout_is_stored_as_one_word() {
        assert_eq!(
            serde_json::to_string(&Layout::Commodity).unwrap(),
            r#""commodity""#
        );
        assert_eq!(
            serde_json::to_string(&Layout::Buckets(3)).unwrap(),
            r#"{"buckets":3}"#
        );
    }
}
