//! What is there already: keys of models and forecasts, read from key columns alone.

use std::sync::Arc;

use almanac_delta::tables::{distributions, point_forecasts, trained_models};
use almanac_udfs::region_first::region_first;
use datafusion::catalog::TableProvider;
use datafusion::error::Result;
use datafusion::functions_aggregate::expr_fn::{count, max};
use datafusion::logical_expr::{Expr, LogicalPlan, col, ident, lit};

use crate::{among, date, scan};

/// Which keys are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// Commodities.
    pub commodities: Vec<String>,
    /// Catalog keys.
    pub model_names: Vec<String>,
    /// The version.
    pub model_version: String,
    /// First forecast start date.
    pub start: i32,
    /// Last forecast start date.
    pub end: i32,
}

/// Present forecasts: key, whether path `paths` is there and path `paths + 1` is not, revision,
/// digest. Two or three rows of a key are looked at, whatever its number of paths.
///
/// # Errors
/// When the table lacks a column.
pub fn present_forecasts(
    table: &Arc<dyn TableProvider>,
    range: &KeyRange,
    paths: i32,
) -> Result<LogicalPlan> {
    use distributions::{
        COMMODITY, FORECAST_START_DATE, INPUT_DIGEST, IS_ACTUALS, MODEL_NAME, MODEL_VERSION,
        PATH_ID, REVISION,
    };
    let columns = [
        PATH_ID,
        FORECAST_START_DATE,
        MODEL_VERSION,
        COMMODITY,
        MODEL_NAME,
        IS_ACTUALS,
        REVISION,
        INPUT_DIGEST,
    ];
    let ids = vec![lit(1), lit(paths), lit(paths.saturating_add(1))];
    scan("distributions", table, &columns)?
        .filter(
            col(PATH_ID)
                .in_list(ids, false)
                .and(forecasts_of(range))
                .and(col(IS_ACTUALS).is_not_true()),
        )?
        .aggregate(
            vec![col(COMMODITY), col(MODEL_NAME), col(FORECAST_START_DATE)],
            vec![
                max(col(PATH_ID)).alias("newest_path"),
                count(lit(1)).alias("looked_at"),
                max(col(REVISION)).alias(REVISION),
                max(col(INPUT_DIGEST)).alias(INPUT_DIGEST),
            ],
        )?
        .build()
}

/// Present point forecasts: key, number of days, revision and digest of the forecast they rest on.
///
/// # Errors
/// When the table lacks a column.
pub fn present_points(table: &Arc<dyn TableProvider>, range: &KeyRange) -> Result<LogicalPlan> {
    use point_forecasts::{
        COMMODITY, DAY_AHEAD, FORECAST_START_DATE, INPUT_DIGEST, MODEL_NAME, MODEL_VERSION,
        REVISION,
    };
    let columns = [
        FORECAST_START_DATE,
        DAY_AHEAD,
        MODEL_VERSION,
        COMMODITY,
        MODEL_NAME,
        REVISION,
        INPUT_DIGEST,
    ];
    scan("point_forecasts", table, &columns)?
        .filter(forecasts_of(range))?
        .aggregate(
            vec![col(COMMODITY), col(MODEL_NAME), col(FORECAST_START_DATE)],
            vec![
                max(col(DAY_AHEAD)).alias(DAY_AHEAD),
                count(lit(1)).alias("rows"),
                max(col(REVISION)).alias(REVISION),
                max(col(INPUT_DIGEST)).alias(INPUT_DIGEST),
            ],
        )?
        .build()
}

/// Active models of a version, without their states.
///
/// # Errors
/// When the table lacks a column.
pub fn active_models(table: &Arc<dyn TableProvider>, range: &KeyRange) -> Result<LogicalPlan> {
    use trained_models::{
        COMMODITY, DATA_CUTOFF_DATE, INPUT_DIGEST, IS_ACTIVE, MODEL_NAME, MODEL_VERSION,
        PARAMETERS, TRAINING_DATE,
    };
    let columns = [
        COMMODITY,
        MODEL_NAME,
        MODEL_VERSION,
        TRAINING_DATE,
        DATA_CUTOFF_DATE,
        PARAMETERS,
        INPUT_DIGEST,
        IS_ACTIVE,
    ];
    scan("trained_models", table, &columns)?
        .filter(models_of(range).and(col(TRAINING_DATE).lt_eq(date(range.end))))?
        .project(
            [
                COMMODITY,
                MODEL_NAME,
                TRAINING_DATE,
                DATA_CUTOFF_DATE,
                PARAMETERS,
                INPUT_DIGEST,
            ]
            .map(col),
        )?
        .build()
}

/// States of models trained on these dates.
///
/// # Errors
/// When the table lacks a column.
pub fn model_states(
    table: &Arc<dyn TableProvider>,
    range: &KeyRange,
    training_dates: &[i32],
) -> Result<LogicalPlan> {
    use trained_models::{
        COMMODITY, FITTED_MODEL_JSON, FITTED_MODEL_S3_PATH, IS_ACTIVE, MODEL_NAME, MODEL_VERSION,
        PARAMETERS, STATE_SHA256, TRAINING_DATE,
    };
    let columns = [
        COMMODITY,
        MODEL_NAME,
        MODEL_VERSION,
        TRAINING_DATE,
        PARAMETERS,
        FITTED_MODEL_JSON,
        FITTED_MODEL_S3_PATH,
        STATE_SHA256,
        IS_ACTIVE,
    ];
    let dates = training_dates.iter().map(|day| date(*day)).collect();
    scan("trained_models", table, &columns)?
        .filter(models_of(range).and(col(TRAINING_DATE).in_list(dates, false)))?
        .build()
}

/// Actuals that are there: commodity, date, and the digest of their closes.
///
/// # Errors
/// When the table lacks a column.
pub fn present_actuals(
    distributions: &Arc<dyn TableProvider>,
    commodities: &[String],
    (start, end): (i32, i32),
) -> Result<LogicalPlan> {
    use distributions::{ACTUALS, COMMODITY, FORECAST_START_DATE, INPUT_DIGEST, MODEL_VERSION};
    scan(
        "distributions",
        distributions,
        &[COMMODITY, FORECAST_START_DATE, MODEL_VERSION, INPUT_DIGEST],
    )?
    .filter(
        col(MODEL_VERSION)
            .eq(lit(ACTUALS))
            .and(col(FORECAST_START_DATE).between(date(start), date(end)))
            .and(among(COMMODITY, commodities)),
    )?
    .project([COMMODITY, FORECAST_START_DATE, INPUT_DIGEST].map(col))?
    .build()
}

/// One close for each commodity and day of a range, in order.
///
/// # Errors
/// When the table lacks a column.
pub fn closes(
    unified_data: &Arc<dyn TableProvider>,
    commodities: &[String],
    (start, end): (i32, i32),
) -> Result<LogicalPlan> {
    use almanac_delta::tables::unified_data::{CLOSE, COMMODITY, DATE, REGION};
    scan(
        "unified_data",
        unified_data,
        &[DATE, COMMODITY, REGION, CLOSE],
    )?
    .filter(
        among(COMMODITY, commodities)
            .and(col(CLOSE).is_not_null())
            .and(col(DATE).between(date(start), date(end))),
    )?
    .aggregate(
        vec![col(COMMODITY), col(DATE)],
        vec![
            region_first()
                .call(vec![col(CLOSE), col(REGION)])
                .alias(CLOSE),
        ],
    )?
    .sort([
        col(COMMODITY).sort(true, false),
        col(DATE).sort(true, false),
    ])?
    .build()
}

/// The commodities that there are.
///
/// # Errors
/// When the table lacks a column.
pub fn commodities(unified_data: &Arc<dyn TableProvider>) -> Result<LogicalPlan> {
    use almanac_delta::tables::unified_data::COMMODITY;
    scan("unified_data", unified_data, &[COMMODITY])?
        .distinct()?
        .sort([col(COMMODITY).sort(true, false)])?
        .build()
}

/// The regions in which a covariate of these commodities is known before a date.
///
/// # Errors
/// When the table lacks a column.
pub fn regions(
    unified_data: &Arc<dyn TableProvider>,
    covariate: &str,
    commodities: &[String],
    before: i32,
) -> Result<LogicalPlan> {
    use almanac_delta::tables::unified_data::{COMMODITY, DATE, REGION};
    scan(
        "unified_data",
        unified_data,
        &[DATE, COMMODITY, REGION, covariate],
    )?
    .filter(
        among(COMMODITY, commodities)
            .and(ident(covariate).is_not_null())
            .and(col(DATE).lt(date(before))),
    )?
    .project([col(REGION)])?
    .distinct()?
    .sort([col(REGION).sort(true, false)])?
    .build()
}

/// True for the range's rows of `distributions` and of `point_forecasts`.
fn forecasts_of(range: &KeyRange) -> Expr {
    use distributions::{COMMODITY, FORECAST_START_DATE, MODEL_NAME, MODEL_VERSION};
    col(MODEL_VERSION)
        .eq(lit(range.model_version.as_str()))
        .and(col(FORECAST_START_DATE).between(date(range.start), date(range.end)))
        .and(among(COMMODITY, &range.commodities))
        .and(among(MODEL_NAME, &range.model_names))
}

/// True for active models of the range, of whatever date.
fn models_of(range: &KeyRange) -> Expr {
    use trained_models::{COMMODITY, IS_ACTIVE, MODEL_NAME, MODEL_VERSION};
    col(MODEL_VERSION)
        .eq(lit(range.model_version.as_str()))
        .and(among(COMMODITY, &range.commodities))
        .and(among(MODEL_NAME, &range.model_names))
        .and(col(IS_ACTIVE).is_not_false())
}
