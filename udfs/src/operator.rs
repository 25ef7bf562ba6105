//! A row operator: one input, the same partitions, a stream in and a stream out.
//!
//! The logical node, the physical operator and the planner between them are written once here;
//! an operator is its payload and its stream.

use std::fmt::{Debug, Formatter};
use std::hash::Hash;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchema, DFSchemaRef, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{
    Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore,
};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};

/// What an operator is, apart from the plumbing.
pub trait RowOperator: Debug + Clone + PartialEq + Eq + Hash + Send + Sync + 'static {
    /// The name in printed plans.
    const NAME: &'static str;
    /// The schema of its output, given that of its input.
    ///
    /// # Errors
    /// When the input lacks a column that the operator needs.
    fn output_schema(&self, input: &Schema) -> Result<Schema>;
    /// What a printed plan says behind the name.
    fn describe(&self) -> String;
    /// The work of one partition. What it holds from one batch to the next it reserves in the task's
    /// memory; the stream fails when that is refused.
    ///
    /// # Errors
    /// When the input does not have the columns that [`RowOperator::output_schema`] checked.
    fn run(
        &self,
        input: SendableRecordBatchStream,
        output: SchemaRef,
        task: Task,
    ) -> Result<SendableRecordBatchStream>;
}

/// What a partition runs with.
#[derive(Debug)]
pub struct Task {
    /// An empty reservation of its own.
    pub memory: MemoryReservation,
    /// Where stores are found.
    pub context: Arc<TaskContext>,
}

/// The operator above `input` as a logical plan.
///
/// # Errors
/// When the input lacks a column that the operator needs.
pub fn apply<T: RowOperator>(input: LogicalPlan, operator: T) -> Result<LogicalPlan> {
    Ok(LogicalPlan::Extension(Extension {
        node: Arc::new(OperatorNode::new(input, operator)?),
    }))
}

/// The logical node of a row operator.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OperatorNode<T: RowOperator> {
    input: LogicalPlan,
    /// The operator's payload.
    pub operator: T,
    schema: DFSchemaRef,
}

impl<T: RowOperator> OperatorNode<T> {
    fn new(input: LogicalPlan, operator: T) -> Result<Self> {
        let schema = operator.output_schema(input.schema().as_arrow())?;
        Ok(Self {
            input,
            operator,
            schema: Arc::new(DFSchema::try_from(schema)?),
        })
    }
}

impl<T: RowOperator> PartialOrd for OperatorNode<T> {
    fn partial_cmp(&self, _other: &Self) -> Option<std::cmp::Ordering> {
        None
    }
}

impl<T: RowOperator> UserDefinedLogicalNodeCore for OperatorNode<T> {
    fn name(&self) -> &str {
        T::NAME
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
        write!(f, "{}: {}", T::NAME, self.operator.describe())
    }
    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        Self::new(inputs.swap_remove(0), self.operator.clone())
    }
    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        // The plans above project what they need before they apply an operator.
        Some(vec![(0..self.input.schema().fields().len()).collect()])
    }
}

/// The physical form of a row operator.
#[derive(Debug)]
pub struct OperatorExec<T: RowOperator> {
    input: Arc<dyn ExecutionPlan>,
    /// The operator's payload.
    pub operator: T,
    properties: Arc<PlanProperties>,
}

impl<T: RowOperator> OperatorExec<T> {
    /// The operator above `input`.
    ///
    /// # Errors
    /// When the input lacks a column that the operator needs.
    pub fn try_new(input: Arc<dyn ExecutionPlan>, operator: T) -> Result<Self> {
        let schema = Arc::new(operator.output_schema(&input.schema())?);
        let partitioning = carried_partitioning(&input.properties().partitioning, &schema);
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(schema),
            partitioning,
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Ok(Self {
            input,
            operator,
            properties,
        })
    }
}

/// A declared hash partitioning holds above the operator too when its columns pass through it
/// under their names: rows stay in their partition.
fn carried_partitioning(input: &Partitioning, output: &Schema) -> Partitioning {
    if let Partitioning::Hash(expressions, count) = input {
        let carried: Option<Vec<_>> = expressions
            .iter()
            .map(|expression| {
                let name = expression.downcast_ref::<Column>()?.name();
                let index = output.index_of(name).ok()?;
                Some(Arc::new(Column::new(name, index)) as Arc<dyn PhysicalExpr>)
            })
            .collect();
        if let Some(carried) = carried {
            return Partitioning::Hash(carried, *count);
        }
    }
    Partitioning::UnknownPartitioning(input.partition_count())
}

impl<T: RowOperator> DisplayAs for OperatorExec<T> {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}Exec: {}", T::NAME, self.operator.describe())
    }
}

impl<T: RowOperator> ExecutionPlan for OperatorExec<T> {
    fn name(&self) -> &str {
        T::NAME
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
        Ok(Arc::new(Self::try_new(
            children.swap_remove(0),
            self.operator.clone(),
        )?))
    }
    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let memory = MemoryConsumer::new(format!("{}[{partition}]", T::NAME))
            .register(context.memory_pool());
        let input = self.input.execute(partition, Arc::clone(&context))?;
        let task = Task { memory, context };
        self.operator.run(input, self.schema(), task)
    }
}

/// Turns [`OperatorNode`]s of one operator into [`OperatorExec`]s.
#[derive(Debug)]
pub struct OperatorPlanner<T>(PhantomData<T>);

impl<T> Default for OperatorPlanner<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

#[async_trait]
impl<T: RowOperator> ExtensionPlanner for OperatorPlanner<T> {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        _session: &dyn Session,
        _context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(node) = node.as_any().downcast_ref::<OperatorNode<T>>() else {
            return Ok(None);
        };
        let exec = OperatorExec::try_new(Arc::clone(&physical_inputs[0]), node.operator.clone())?;
        Ok(Some(Arc::new(exec)))
    }
}
