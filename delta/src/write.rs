//! The distributed write: an operator whose tasks write Parquet files under the tables' folders,
//! then put their slice's manifest. It commits nothing.

mod column_chunk;
pub mod parquet_file;
pub(crate) mod slice_writer;

use std::collections::BTreeMap;
use std::fmt::Formatter;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchema, DFSchemaRef, DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{
    Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore,
};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use futures::StreamExt;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::tables::{Layout, TableName};
use slice_writer::SliceWriter;

/// Columns that a written plan must have beside those of its tables.
pub mod columns {
    /// The slice of a row.
    pub const SLICE: &str = "slice";
    /// Set in a row that says why its unit has no result.
    pub const ERROR_CLASS: &str = "error_class";
    /// What people read about it.
    pub const ERROR_MESSAGE: &str = "error_message";
    /// Rows that the slice read.
    pub const SCANNED_ROWS: &str = "scanned_rows";
    /// Newest date that it read.
    pub const SCANNED_NEWEST: &str = "scanned_newest";
    /// Whether a row's data reaches into the day that it forecasts.
    pub const LEAK: &str = "has_data_leakage";
}

/// Where a table's rows come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RowSource {
    /// Each row without an error is a row of the table.
    Rows,
    /// Each struct in this list column is a row; what the struct lacks comes from its row.
    Unnest(String),
}

/// One table that a plan writes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Target {
    /// The table.
    pub table: TableName,
    /// Where its rows come from.
    pub source: RowSource,
}

/// A slice's texts larger than this become objects of their own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Offload {
    /// The text column.
    pub column: String,
    /// The column that then holds the object's path under the lake's root.
    pub path_column: String,
    /// Bytes from which a text is offloaded.
    pub from_bytes: usize,
}

/// All that a task must know to write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteSpec {
    /// The object store, as the engine's registry names it.
    pub store_url: String,
    /// The lake's root within the store.
    pub root: String,
    /// How the lake's tables are partitioned.
    pub layout: Layout,
    /// The tables, the one that decides presence first.
    pub targets: Vec<Target>,
    /// The column of a key's date.
    pub date_column: String,
    /// Slice numbers and their names.
    pub slices: BTreeMap<i32, String>,
    /// Who writes.
    pub attempt: String,
    /// Large texts.
    pub offload: Option<Offload>,
}

impl Hash for WriteSpec {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.root.hash(state);
        self.slices.hash(state);
    }
}

fn output_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("slice", DataType::Utf8, false),
        Field::new("rows", DataType::Int64, false),
    ]))
}

/// The logical write.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WriteNode {
    input: LogicalPlan,
    /// What is written where.
    pub spec: Arc<WriteSpec>,
    schema: DFSchemaRef,
}

/// The plan that writes `input`.
///
/// # Errors
/// Never in practice; the output schema is constant.
pub fn write(input: LogicalPlan, spec: Arc<WriteSpec>) -> Result<LogicalPlan> {
    let schema = Arc::new(DFSchema::try_from(output_schema().as_ref().clone())?);
    Ok(LogicalPlan::Extension(Extension {
        node: Arc::new(WriteNode {
            input,
            spec,
            schema,
        }),
    }))
}

impl PartialOrd for WriteNode {
    fn partial_cmp(&self, _other: &Self) -> Option<std::cmp::Ordering> {
        None
    }
}

fn describe(spec: &WriteSpec) -> String {
    let tables: Vec<_> = spec
        .targets
        .iter()
        .map(|target| target.table.sql_name())
        .collect();
    format!("{} in {} slices", tables.join(", "), spec.slices.len())
}

impl UserDefinedLogicalNodeCore for WriteNode {
    fn name(&self) -> &str {
        "WriteTables"
    }
    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }
    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }
    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }
    fn fmt_for_explain(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "WriteTables: {}", describe(&self.spec))
    }
    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let schema = Arc::clone(&self.schema);
        Ok(Self {
            input: inputs.swap_remove(0),
            spec: Arc::clone(&self.spec),
            schema,
        })
    }
    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![(0..self.input.schema().fields().len()).collect()])
    }
}

/// The physical write.
#[derive(Debug)]
pub struct WriteExec {
    input: Arc<dyn ExecutionPlan>,
    /// What is written where.
    pub spec: Arc<WriteSpec>,
    properties: Arc<PlanProperties>,
}

impl WriteExec {
    /// The write above `input`, with its partitions.
    #[must_use]
    pub fn new(input: Arc<dyn ExecutionPlan>, spec: Arc<WriteSpec>) -> Self {
        let partitions = input.properties().partitioning.partition_count();
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(output_schema()),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Final,
            Boundedness::Bounded,
        ));
        Self {
            input,
            spec,
            properties,
        }
    }
}

impl DisplayAs for WriteExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "WriteTablesExec: {}", describe(&self.spec))
    }
}

impl ExecutionPlan for WriteExec {
    fn name(&self) -> &str {
        "WriteTables"
    }
    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }
    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }
    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }
    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::new(
            children.swap_remove(0),
            Arc::clone(&self.spec),
        )))
    }

    /// The partition number is local to a task and says nothing: a slice is known by its rows.
    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let mut input = self.input.execute(partition, Arc::clone(&context))?;
        let spec = Arc::clone(&self.spec);
        let store = context
            .runtime_env()
            .object_store(ObjectStoreUrl::parse(&spec.store_url)?)?;
        let memory = MemoryConsumer::new(format!("WriteTables[{partition}]"))
            .register(context.memory_pool());
        let external = |error: crate::DeltaError| DataFusionError::External(Box::new(error));
        let written = async move {
            let root = Path::parse(&spec.root)?;
            let mut writer = SliceWriter::new(Arc::clone(&spec), Arc::clone(&store), root.clone());
            while let Some(batch) = input.next().await {
                writer.write(&batch?).await.map_err(external)?;
                memory.try_resize(writer.memory())?;
            }
            let (mut slices, mut rows) = (vec![], vec![]);
            if let Some(manifest) = writer.finish().await.map_err(external)? {
                let manifest = manifest
                    .put(store.as_ref(), &root)
                    .await
                    .map_err(external)?;
                rows.push(
                    manifest
                        .keys
                        .iter()
                        .map(|(_, rows)| i64::try_from(*rows).unwrap_or(i64::MAX))
                        .sum::<i64>(),
                );
                slices.push(manifest.slice);
            }
            let columns: Vec<arrow::array::ArrayRef> = vec![
                Arc::new(StringArray::from(slices)),
                Arc::new(Int64Array::from(rows)),
            ];
            Ok(RecordBatch::try_new(output_schema(), columns)?)
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            output_schema(),
            futures::stream::once(written),
        )))
    }
}

/// Turns [`WriteNode`]s into [`WriteExec`]s.
#[derive(Debug, Default)]
pub struct WritePlanner;

#[async_trait]
impl ExtensionPlanner for WritePlanner {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        _session: &dyn Session,
        _context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(node) = node.as_any().downcast_ref::<WriteNode>() else {
            return Ok(None);
        };
        Ok(Some(Arc::new(WriteExec::new(
            Arc::clone(&physical_inputs[0]),
            Arc::clone(&node.spec),
        ))))
    }
}

#[cfg(test)]
mod tests;
