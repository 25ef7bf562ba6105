//! Coverage: on which days each model has forecasts, and on which it was tried and failed.

use std::sync::Arc;

use almanac_delta::tables::{distributions, job_failures};
use arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::error::Result;
use datafusion::functions_aggregate::expr_fn::{bool_or, max, min};
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::{ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, cast, col, lit};

use crate::scan;

/// First day of a stretch.
pub const FIRST_DATE: &str = "first_date";
/// Last day of a stretch.
pub const LAST_DATE: &str = "last_date";
/// Whether any day of a stretch was forecast on that day itself.
pub const LIVE: &str = "live";

/// What tells models apart.
const MODEL: [&str; 3] = [
    distributions::COMMODITY,
    distributions::MODEL_NAME,
    distributions::MODEL_VERSION,
];

const DATE: &str = "date";

/// For each commodity, model and version: the stretches of consecutive days that have a forecast,
/// in order.
///
/// # Errors
/// When the table lacks a column.
pub fn present_stretches(table: &Arc<dyn TableProvider>) -> Result<LogicalPlan> {
    use distributions::{
        COMMODITY, FORECAST_START_DATE, IS_ACTUALS, MODEL_NAME, MODEL_VERSION, ORIGIN, ORIGIN_LIVE,
        PATH_ID,
    };
    let columns = [
        PATH_ID,
        FORECAST_START_DATE,
        MODEL_VERSION,
        COMMODITY,
        MODEL_NAME,
        IS_ACTUALS,
        ORIGIN,
    ];
    let days = scan("distributions", table, &columns)?
        .filter(col(PATH_ID).eq(lit(1)).and(col(IS_ACTUALS).is_not_true()))?
        .project(MODEL.map(col).into_iter().chain([
            col(FORECAST_START_DATE).alias(DATE),
            col(ORIGIN).eq(lit(ORIGIN_LIVE)).alias(LIVE),
        ]))?;
    stretches(days)
}

/// The same of the days on which a forecast was tried and failed, whatever became of it later.
///
/// # Errors
/// When the table lacks a column.
pub fn failed_stretches(table: &Arc<dyn TableProvider>) -> Result<LogicalPlan> {
    use job_failures::{
        COMMODITY, DATE as DAY, MODEL_NAME, MODEL_VERSION, STAGE, STAGE_FORECAST, STAGE_FRESHNESS,
    };
    let columns = [STAGE, COMMODITY, MODEL_NAME, MODEL_VERSION, DAY];
    let days = scan("job_failures", table, &columns)?
        .filter(
            col(STAGE)
                .in_list(vec![lit(STAGE_FORECAST), lit(STAGE_FRESHNESS)], false)
                .and(col(DAY).is_not_null()),
        )?
        .project(
            MODEL
                .map(col)
                .into_iter()
                .chain([col(DAY).alias(DATE), lit(false).alias(LIVE)]),
        )?
        .distinct()?;
    stretches(days)
}

/// Days that follow each other differ from their own number by the same amount.
fn stretches(days: LogicalPlanBuilder) -> Result<LogicalPlan> {
    let number = row_number()
        .partition_by(MODEL.map(col).to_vec())
        .order_by(vec![col(DATE).sort(true, false)])
        .build()?;
    let day = cast(cast(col(DATE), DataType::Int32), DataType::Int64);
    let apart = (day - cast(col("number"), DataType::Int64)).alias("apart");
    let groups = MODEL.map(col).into_iter();
    let order = MODEL.into_iter().chain([FIRST_DATE]);
    days.window([number.alias("number")])?
        .project(groups.clone().chain([col(DATE), col(LIVE), apart]))?
        .aggregate(
            groups.chain([col("apart")]),
            vec![
                min(col(DATE)).alias(FIRST_DATE),
                max(col(DATE)).alias(LAST_DATE),
                bool_or(col(LIVE)).alias(LIVE),
            ],
        )?
        .sort(order.map(|name| col(name).sort(true, false)))?
        .build()
}
