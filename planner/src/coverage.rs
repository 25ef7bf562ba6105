//! Coverage: how many dates each model has, and which.

use std::sync::Arc;

use almanac_delta::tables::distributions as table;
use datafusion::catalog::TableProvider;
use datafusion::error::Result;
use datafusion::functions_aggregate::expr_fn::{count, max, min};
use datafusion::logical_expr::{LogicalPlan, col, lit};

use crate::scan;

/// For each commodity, model and version: dates present, the first and the last of them.
///
/// # Errors
/// When the table lacks a column.
pub fn coverage(distributions: &Arc<dyn TableProvider>) -> Result<LogicalPlan> {
    use table::{COMMODITY, FORECAST_START_DATE, IS_ACTUALS, MODEL_NAME, MODEL_VERSION, PATH_ID};
    let columns = [
        PATH_ID,
        FORECAST_START_DATE,
        MODEL_VERSION,
        COMMODITY,
        MODEL_NAME,
        IS_ACTUALS,
    ];
    let groups = [COMMODITY, MODEL_NAME, MODEL_VERSION];
    scan("distributions", distributions, &columns)?
        .filter(col(PATH_ID).eq(lit(1)).and(col(IS_ACTUALS).is_not_true()))?
        .aggregate(
            groups.map(col),
            vec![
                count(lit(1)).alias("dates"),
                min(col(FORECAST_START_DATE)).alias("first_date"),
                max(col(FORECAST_START_DATE)).alias("last_date"),
            ],
        )?
        .sort(groups.map(|name| col(name).sort(true, false)))?
        .build()
}
