//! Scans of pinned snapshots: the file list is resolved by the driver, and a scan of it is an
//! ordinary Parquet scan on whatever engine plans it.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use chrono::DateTime;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{Column, DFSchema, Result, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::{PhysicalExpr, expressions};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::{ExecutionPlan, Partitioning};
use object_store::ObjectMeta;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::snapshot::{DataFile, FileStatistics, TableSnapshot};
use crate::write::columns::SLICE;

/// One slice of a sliced scan: its number, and which of the snapshot's files it reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceFiles {
    /// The constant that the slice's rows carry in the column `slice`.
    pub slice: i32,
    /// Indexes of its files among the snapshot's.
    pub files: Vec<usize>,
}

/// A table at one version.
#[derive(Debug, Clone)]
pub struct PinnedTable {
    store_url: String,
    root: String,
    /// The table's columns in its order, then the slice when there are slices.
    schema: SchemaRef,
    /// The same as a scan has them: file columns, then partition columns, then the slice.
    stored: SchemaRef,
    partition_columns: Vec<String>,
    files: Arc<Vec<DataFile>>,
    slices: Option<Arc<Vec<SliceFiles>>>,
}

impl PinnedTable {
    /// The whole table.
    #[must_use]
    pub fn new(snapshot: &TableSnapshot, store_url: &str, root: &str) -> Self {
        let def = snapshot.def();
        let partition_columns: Vec<String> = def
            .partition_columns
            .iter()
            .map(|name| (*name).to_owned())
            .collect();
        let mut fields: Vec<Arc<Field>> = def.file_schema().fields().iter().cloned().collect();
        for name in &partition_columns {
            fields.extend(
                def.schema
                    .field_with_name(name)
                    .map(|field| Arc::new(field.clone())),
            );
        }
        Self {
            store_url: store_url.to_owned(),
            root: root.to_owned(),
            schema: Arc::clone(&def.schema),
            stored: Arc::new(Schema::new(fields)),
            partition_columns,
            files: Arc::new(snapshot.files().to_vec()),
            slices: None,
        }
    }

    /// The same table as slices: each reads its own files, and says which slice it is in the
    /// constant column `slice`. Files may stand in several slices. The scan declares that it is partitioned by that column, so that a grouping
    /// by it needs no exchange.
    #[must_use]
    pub fn sliced(mut self, slices: Vec<SliceFiles>) -> Self {
        for schema in [&mut self.schema, &mut self.stored] {
            let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
            fields.push(Arc::new(Field::new(SLICE, DataType::Int32, false)));
            *schema = Arc::new(Schema::new(fields));
        }
        self.slices = Some(Arc::new(slices));
        self
    }

    fn file(&self, file: &DataFile, slice: Option<i32>) -> Result<PartitionedFile> {
        let mut values = self
            .partition_columns
            .iter()
            .zip(&file.partition_values)
            .map(|(name, value)| {
                partition_value(
                    self.schema.field_with_name(name)?.data_type(),
                    value.as_deref(),
                )
            })
            .collect::<Result<Vec<_>>>()?;
        values.extend(slice.map(|slice| ScalarValue::Int32(Some(slice))));
        let path = if self.root.is_empty() {
            file.path.clone()
        } else {
            format!("{}/{}", self.root, file.path)
        };
        // `PartitionedFile::new` would percent-encode a path that is stored as it is.
        let meta = ObjectMeta {
            location: Path::parse(&path)?,
            last_modified: DateTime::from_timestamp_millis(file.modified_ms).unwrap_or_default(),
            size: file.size,
            e_tag: None,
            version: None,
        };
        Ok(PartitionedFile::new_from_meta(meta).with_partition_values(values))
    }

    /// The files that may hold rows for the filters.
    fn pruned(&self, session: &dyn Session, filters: &[Expr]) -> Result<Vec<DataFile>> {
        let Some(filter) = conjunction(filters.to_vec()) else {
            return Ok(self.files.to_vec());
        };
        let schema = DFSchema::try_from(self.schema.as_ref().clone())?;
        let filter = session.create_physical_expr(filter, &schema)?;
        let builder = PruningPredicateBuilder::new().with_file_schema(Arc::clone(&self.schema));
        let Some(predicate) = builder.build(filter) else {
            return Ok(self.files.to_vec());
        };
        let statistics = self.files.iter().map(DataFile::statistics).collect();
        let keep = predicate.prune(&TableStatistics {
            table: self,
            statistics,
        })?;
        Ok(self
            .files
            .iter()
            .zip(keep)
            .filter(|(_, keep)| *keep)
            .map(|(file, _)| file.clone())
            .collect())
    }

    fn groups(&self, session: &dyn Session, filters: &[Expr]) -> Result<Vec<FileGroup>> {
        if let Some(slices) = &self.slices {
            return slices
                .iter()
                .map(|slice| {
                    let own = slice
                        .files
                        .iter()
                        .map(|index| self.file(&self.files[*index], Some(slice.slice)));
                    own.collect::<Result<Vec<_>>>().map(FileGroup::new)
                })
                .collect();
        }
        let files = self.pruned(session, filters)?;
        let count = session.config().target_partitions().min(files.len()).max(1);
        let mut groups = vec![vec![]; count];
        for (index, file) in files.iter().enumerate() {
            groups[index % count].push(self.file(file, None)?);
        }
        Ok(groups.into_iter().map(FileGroup::new).collect())
    }
}

fn partition_value(data_type: &DataType, value: Option<&str>) -> Result<ScalarValue> {
    match value {
        None => ScalarValue::try_from(data_type),
        Some(text) => ScalarValue::try_from_string(text.to_owned(), data_type),
    }
}

#[async_trait]
impl TableProvider for PinnedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let constants = self.partition_columns.len() + usize::from(self.slices.is_some());
        let own = self.stored.fields().len() - constants;
        let file_schema = Arc::new(Schema::new(self.stored.fields()[..own].to_vec()));
        let table_schema = TableSchema::builder(file_schema)
            .with_table_partition_cols(self.stored.fields()[own..].to_vec())
            .build();
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let columns = projection.unwrap_or(&all);
        let columns = columns
            .iter()
            .map(|index| Ok(self.stored.index_of(self.schema.field(*index).name())?))
            .collect::<Result<Vec<_>>>()?;
        let groups = self.groups(session, filters)?;
        let mut statistics = Statistics::new_unknown(&self.stored);
        if filters.is_empty() && self.slices.is_none() {
            let rows: Option<u64> = self.files.iter().map(|file| file.rows).sum();
            if let Some(rows) = rows.and_then(|rows| usize::try_from(rows).ok()) {
                statistics.num_rows = Precision::Exact(rows);
            }
        }
        let declared = self.slices.as_ref().map(|_| {
            let slice = expressions::Column::new(SLICE, self.stored.fields().len() - 1);
            Partitioning::Hash(vec![Arc::new(slice) as Arc<dyn PhysicalExpr>], groups.len())
        });
        let source = Arc::new(ParquetSource::new(table_schema));
        let config = FileScanConfigBuilder::new(ObjectStoreUrl::parse(&self.store_url)?, source)
            .with_output_partitioning(declared)
            .with_file_groups(groups)
            .with_projection_indices(Some(columns))?
            .with_limit(limit)
            .with_statistics(statistics)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

/// The log's statistics, file by file.
struct TableStatistics<'a> {
    table: &'a PinnedTable,
    statistics: Vec<FileStatistics>,
}

impl TableStatistics<'_> {
    fn values(
        &self,
        column: &Column,
        bound: impl Fn(&FileStatistics, &DataType) -> Option<ScalarValue>,
    ) -> Option<ArrayRef> {
        let data_type = self
            .table
            .schema
            .field_with_name(&column.name)
            .ok()?
            .data_type();
        let place = self
            .table
            .partition_columns
            .iter()
            .position(|name| *name == column.name);
        let values = self
            .table
            .files
            .iter()
            .zip(&self.statistics)
            .map(|(file, statistics)| {
                let known = match place {
                    Some(place) => {
                        partition_value(data_type, file.partition_values[place].as_deref()).ok()
                    }
                    None => bound(statistics, data_type),
                };
                known.map_or_else(|| ScalarValue::try_from(data_type), Ok)
            });
        ScalarValue::iter_to_array(values.collect::<Result<Vec<_>>>().ok()?).ok()
    }
}

impl PruningStatistics for TableStatistics<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |file, data_type| file.min(&column.name, data_type))
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |file, data_type| file.max(&column.name, data_type))
    }

    fn num_containers(&self) -> usize {
        self.table.files.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let counts = self
            .statistics
            .iter()
            .map(|file| file.null_count(&column.name));
        Some(Arc::new(counts.collect::<UInt64Array>()))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(
            self.table
                .files
                .iter()
                .map(|file| file.rows)
                .collect::<UInt64Array>(),
        ))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

#[cfg(test)]
mod tests;
