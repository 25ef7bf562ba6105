//! The one session state that every engine plans with: functions, operators and settings.

use std::sync::Arc;

use almanac_delta::write::WritePlanner;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use datafusion::prelude::SessionConfig;

use crate::error::EngineError;

/// Rows in a batch.
const BATCH: usize = 8192;

/// The catalog's name in SQL: `commodity.silver.unified_data`.
pub const CATALOG: &str = "commodity";

/// Settings for a job's plan: slices stay where the scan put them.
#[must_use]
pub fn job_config(slices: usize) -> SessionConfig {
    let mut config = query_config(slices.max(2));
    let options = config.options_mut();
    options.optimizer.subset_repartition_threshold = 1;
    options.optimizer.enable_round_robin_repartition = false;
    options.optimizer.repartition_file_scans = false;
    options.optimizer.repartition_aggregations = true;
    options.execution.enable_file_stream_work_stealing = false;
    config
}

/// Settings for planning queries and ad-hoc SQL.
#[must_use]
pub fn query_config(partitions: usize) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_target_partitions(partitions)
        .with_batch_size(BATCH)
        .with_default_catalog_and_schema(CATALOG, "forecast")
        .with_create_default_catalog_and_schema(true)
        .with_information_schema(true);
    let options = config.options_mut();
    // What is sorted here is small: keys and days. Ten megabytes set aside for each sort's merge
    // would be most of a small limit, taken or not as sorts happen to meet.
    options.execution.sort_spill_reservation_bytes = 1 << 20;
    options.execution.parquet.pushdown_filters = true;
    options.execution.parquet.schema_force_view_types = false;
    options.sql_parser.map_string_types_to_utf8view = false;
    config
}

/// A state with all of almanac's functions and operators.
///
/// # Errors
/// When a function cannot be registered.
pub fn state(config: SessionConfig, runtime: Arc<RuntimeEnv>) -> Result<SessionState> {
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_default_features()
        .with_query_planner(Arc::new(Planner))
        .build();
    almanac_udfs::register_all(&mut state)?;
    Ok(state)
}

#[derive(Debug)]
struct Planner;

#[async_trait]
impl QueryPlanner for Planner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let mut planners = almanac_udfs::operators();
        planners.push(Arc::new(WritePlanner));
        DefaultPhysicalPlanner::with_extension_planners(planners)
            .create_physical_plan(plan, session)
            .await
    }
}

/// Refuses a plan in which rows leave their slice.
///
/// # Errors
/// [`EngineError::NotOneStage`], with the operator's name.
pub fn require_one_stage(plan: &Arc<dyn ExecutionPlan>) -> Result<(), EngineError> {
    let name = plan.name();
    let moves = [
        "Repartition",
        "Coalesce",
        "Merge",
        "Join",
        "Union",
        "Interleave",
    ];
    if moves.iter().any(|part| name.contains(part)) && name != "CoalesceBatchesExec" {
        return Err(EngineError::NotOneStage {
            operator: name.to_owned(),
        });
    }
    plan.children().into_iter().try_for_each(require_one_stage)
}
