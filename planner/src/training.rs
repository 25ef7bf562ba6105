//! The training plan: history, units, `train`, the columns of `trained_models`, the write.

use std::collections::BTreeSet;
use std::sync::Arc;

use almanac_delta::tables::trained_models as models;
use almanac_delta::write::{WriteSpec, write};
use almanac_udfs::assign::{AssignUnits, SCANNED_NEWEST, SCANNED_ROWS, SLICE};
use almanac_udfs::operator::apply;
use almanac_udfs::train::train;
use arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::error::Result;
use datafusion::functions::core::expr_fn::get_field;
use datafusion::functions::crypto::expr_fn::sha256;
use datafusion::functions::datetime::expr_fn::date_part;
use datafusion::functions::encoding::expr_fn::encode;
use datafusion::functions::string::expr_fn::{concat, octet_length};
use datafusion::functions_aggregate::expr_fn::max;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, col, lit};
use datafusion::scalar::ScalarValue;

use crate::Stamp;
use crate::history::{HistoryColumn, history};

/// The plan that trains the units and writes their models.
///
/// # Errors
/// When the table lacks a column that a unit needs.
pub fn training(
    unified_data: &Arc<dyn TableProvider>,
    covariates: &BTreeSet<HistoryColumn>,
    units: AssignUnits,
    stamp: &Stamp,
    target: Arc<WriteSpec>,
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
    let trained = LogicalPlanBuilder::from(rows)
        .aggregate(
            keys.clone(),
            vec![
                train()
                    .call(["spec", "date", "close", "covariates"].map(col).to_vec())
                    .alias("trained"),
                max(col("spec")).alias(models::PARAMETERS),
                max(col(SCANNED_ROWS)).alias(SCANNED_ROWS),
                max(col(SCANNED_NEWEST)).alias(SCANNED_NEWEST),
            ],
        )?
        .project(keys.into_iter().chain(columns(stamp)))?
        .build()?;
    write(trained, target)
}

/// The columns of the table that are not keys, and those that the write reads.
fn columns(stamp: &Stamp) -> Vec<Expr> {
    let trained = |field: &str| get_field(col("trained"), field);
    let same = |field: &str| trained(field).alias(field);
    let part = |name: &str| {
        cast(
            date_part(lit(name), col(models::TRAINING_DATE)),
            DataType::Int32,
        )
    };
    let id = concat(vec![
        col(models::COMMODITY),
        lit("_"),
        col(models::MODEL_NAME),
        lit("_"),
        cast(col(models::TRAINING_DATE), DataType::Utf8),
        lit("_"),
        col(models::MODEL_VERSION),
    ]);
    vec![
        id.alias(models::MODEL_ID),
        same(models::TRAINING_SAMPLES),
        same(models::TRAINING_START_DATE),
        same(models::DATA_CUTOFF_DATE),
        col(models::PARAMETERS),
        trained("state").alias(models::FITTED_MODEL_JSON),
        lit(ScalarValue::Utf8(None)).alias(models::FITTED_MODEL_S3_PATH),
        cast(octet_length(trained("state")), DataType::Int64).alias(models::MODEL_SIZE_BYTES),
        encode(sha256(trained("state")), lit("hex")).alias(models::STATE_SHA256),
        same(models::INPUT_DIGEST),
        same(models::TRAINING_LOSS),
        same(models::VALIDATION_LOSS),
        same(models::TRAINING_SECONDS),
        stamp.timestamp().alias(models::CREATED_AT),
        lit(stamp.created_by.as_str()).alias(models::CREATED_BY),
        lit(stamp.run_id.as_str()).alias(models::RUN_ID),
        lit(true).alias(models::IS_ACTIVE),
        part("year").alias(models::YEAR),
        part("month").alias(models::MONTH),
        same("error_class"),
        same("error_message"),
        col(SCANNED_ROWS),
        col(SCANNED_NEWEST),
    ]
}
