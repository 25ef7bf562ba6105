//! The forecast plan: history, units with their states, `forecast`, paths, the columns of
//! `distributions`, the write of paths and points together.

use std::collections::BTreeSet;
use std::sync::Arc;

use almanac_delta::tables::distributions as table;
use almanac_delta::write::{WriteSpec, write};
use almanac_udfs::assign::{AssignUnits, SCANNED_NEWEST, SCANNED_ROWS, SLICE};
use almanac_udfs::expand::{ExpandPaths, ORIGINS};
use almanac_udfs::forecast::forecast;
use almanac_udfs::operator::apply;
use almanac_udfs::score::ScoreForecasts;
use datafusion::catalog::TableProvider;
use datafusion::error::Result;
use datafusion::functions_aggregate::expr_fn::max;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, col, lit, when};

use crate::history::{HistoryColumn, history};
use crate::{Stamp, date};

/// What forecast rows carry beside the run's stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Making {
    /// The day on which the run was started: forecasts of that day are `live`.
    pub today: i32,
    /// Revision of the keys that the plan makes.
    pub revision: i32,
}

/// The plan that forecasts the units' wanted dates and writes paths and points.
///
/// # Errors
/// When the table lacks a column that a unit needs.
pub fn forecasting(
    unified_data: &Arc<dyn TableProvider>,
    covariates: &BTreeSet<HistoryColumn>,
    units: AssignUnits,
    expand: ExpandPaths,
    (stamp, making): (&Stamp, Making),
    target: Arc<WriteSpec>,
) -> Result<LogicalPlan> {
    let paths = apply(origins(unified_data, covariates, units)?, expand)?;
    let drawn: Vec<Expr> = paths
        .schema()
        .columns()
        .into_iter()
        .map(Expr::Column)
        .collect();
    let rows = LogicalPlanBuilder::from(paths)
        .project(drawn.into_iter().chain(stamped(stamp, making)?))?
        .build()?;
    write(rows, target)
}

/// The plan that forecasts the units' wanted dates and holds them against what came; it writes
/// nothing.
///
/// # Errors
/// When the table lacks a column that a unit needs.
pub fn scoring(
    unified_data: &Arc<dyn TableProvider>,
    covariates: &BTreeSet<HistoryColumn>,
    units: AssignUnits,
    score: ScoreForecasts,
) -> Result<LogicalPlan> {
    apply(origins(unified_data, covariates, units)?, score)
}

/// The units' wanted dates as compact origins, a row for each unit.
fn origins(
    unified_data: &Arc<dyn TableProvider>,
    covariates: &BTreeSet<HistoryColumn>,
    units: AssignUnits,
) -> Result<LogicalPlan> {
    let window = units.window();
    let rows = apply(history(unified_data, covariates, window)?, units)?;
    let keys = [
        SLICE,
        "series_bucket",
        "commodity",
        "model_name",
        "model_version",
        "training_date",
    ]
    .map(col);
    let arguments = [
        "spec",
        "state",
        "date",
        "close",
        "covariates",
        "wanted",
        "closed",
    ]
    .map(col)
    .to_vec();
    LogicalPlanBuilder::from(rows)
        .aggregate(
            keys,
            vec![
                forecast().call(arguments).alias(ORIGINS),
                max(col(SCANNED_ROWS)).alias(SCANNED_ROWS),
                max(col(SCANNED_NEWEST)).alias(SCANNED_NEWEST),
            ],
        )?
        .build()
}

/// The columns of both tables that do not come from the paths.
pub(crate) fn stamped(stamp: &Stamp, making: Making) -> Result<Vec<Expr>> {
    let leak = col(table::FORECAST_START_DATE).lt_eq(col(table::DATA_CUTOFF_DATE));
    let live = col(table::FORECAST_START_DATE).eq(date(making.today));
    Ok(vec![
        stamp.timestamp().alias(table::GENERATION_TIMESTAMP),
        lit(false).alias(table::IS_ACTUALS),
        when(leak, lit(true))
            .otherwise(lit(false))?
            .alias(table::HAS_DATA_LEAKAGE),
        when(live, lit(table::ORIGIN_LIVE))
            .otherwise(lit(table::ORIGIN_BACKFILL))?
            .alias(table::ORIGIN),
        lit(making.revision).alias(table::REVISION),
        lit(stamp.run_id.as_str()).alias(table::RUN_ID),
        lit(true).alias(almanac_delta::tables::point_forecasts::MODEL_SUCCESS),
    ])
}
