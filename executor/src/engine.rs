//! What a job asks of whatever runs its plans.

use arrow::array::RecordBatch;
use async_trait::async_trait;
use datafusion::logical_expr::LogicalPlan;

use crate::error::EngineError;

/// Told about work as it is done.
pub trait Progress: Send + Sync {
    /// One more slice has ended.
    fn slice_done(&self);
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

    /// Bytes of data files that queries have read so far, as the scans themselves counted.
    fn bytes_queried(&self) -> u64;
}
