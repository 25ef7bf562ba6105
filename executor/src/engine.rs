//! What a job asks of whatever runs its plans.

use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;

use crate::error::EngineError;
use crate::sql;

/// Told about work as it is done.
pub trait Progress: Send + Sync {
    /// One more slice has ended.
    fn slice_done(&self);

    /// Nothing runs, and why: said once for each time of waiting.
    fn waiting(&self, reason: &str);
}

/// A table that SQL may name.
#[derive(Debug, Clone)]
pub struct NamedTable {
    /// Its schema: `silver` or `forecast`.
    pub schema: &'static str,
    /// Its name within the schema.
    pub name: &'static str,
    /// Its rows.
    pub rows: Arc<dyn TableProvider>,
}

/// Runs plans. A job uses nothing else of its engine.
#[async_trait]
pub trait Engine: Send + Sync {
    /// What `job_runs` calls it.
    fn name(&self) -> String;

    /// Runs a job's plan of `slices` slices for its effects: files and manifests. What it returns
    /// says nothing about completeness; manifests do.
    ///
    /// # Errors
    /// When the plan is not one stage, or a slice failed; the other slices have run all the same.
    async fn run(
        &self,
        plan: LogicalPlan,
        slices: usize,
        progress: &dyn Progress,
    ) -> Result<(), EngineError>;

    /// Runs any plan for its rows.
    ///
    /// # Errors
    /// When the plan cannot be planned or run.
    async fn query(&self, plan: LogicalPlan) -> Result<Vec<RecordBatch>, EngineError>;

    /// The functions and settings with which SQL becomes a plan.
    ///
    /// # Errors
    /// When a function cannot be registered.
    fn query_state(&self) -> Result<SessionState, EngineError>;

    /// Runs a plan that a user has written: wherever there is room for it, unlike
    /// [`Engine::query`], which a job's completeness rests on.
    ///
    /// # Errors
    /// When the plan cannot be planned or run.
    async fn rows(&self, plan: LogicalPlan) -> Result<Vec<RecordBatch>, EngineError> {
        self.query(plan).await
    }

    /// Runs SQL over these tables, and over views that are made of them first. The rows come with
    /// at least one batch, which carries the schema.
    ///
    /// # Errors
    /// When the text is no query over these tables, or the query fails.
    async fn sql(
        &self,
        text: &str,
        tables: Vec<NamedTable>,
        views: &[&str],
    ) -> Result<Vec<RecordBatch>, EngineError> {
        let plan = sql::plan(self.query_state()?, text, tables, views).await?;
        let schema = Arc::new(plan.schema().as_arrow().clone());
        let mut batches = self.rows(plan).await?;
        if batches.is_empty() {
            batches.push(RecordBatch::new_empty(schema));
        }
        Ok(batches)
    }

    /// Bytes of data files that queries have read so far, as the scans themselves counted.
    fn bytes_queried(&self) -> u64;
}
