//! `forecast.job_failures`: one row per unit that failed in a run.

use arrow::datatypes::DataType;

use super::{TableDef, TableName, define_unpartitioned, optional, required, timestamp};

/// SQL name.
pub const NAME: &str = "forecast.job_failures";
/// Folder under the lake root.
pub const FOLDER: &str = "forecast/job_failures";

/// Run it failed in.
pub const RUN_ID: &str = "run_id";
/// [`STAGE_TRAIN`], [`STAGE_FORECAST`] or [`STAGE_FRESHNESS`].
pub const STAGE: &str = "stage";
/// The series.
pub const COMMODITY: &str = "commodity";
/// Key in the catalog of models.
pub const MODEL_NAME: &str = "model_name";
/// Version label of the model.
pub const MODEL_VERSION: &str = "model_version";
/// Training or forecast date.
pub const DATE: &str = "date";
/// Class of the error: `domain`, `stale`, `freshness`, …
pub const ERROR_CLASS: &str = "error_class";
/// The error, for people.
pub const MESSAGE: &str = "message";
/// When it failed.
pub const FAILED_AT: &str = "failed_at";

/// [`STAGE`] of a model that could not be trained.
pub const STAGE_TRAIN: &str = "train";
/// [`STAGE`] of a forecast that could not be made.
pub const STAGE_FORECAST: &str = "forecast";
/// [`STAGE`] of a forecast that was not tried, for want of the last close.
pub const STAGE_FRESHNESS: &str = "freshness";

/// The table, the same in every layout.
#[must_use]
pub fn def() -> TableDef {
    let fields = vec![
        required(RUN_ID, DataType::Utf8),
        required(STAGE, DataType::Utf8),
        optional(COMMODITY, DataType::Utf8),
        optional(MODEL_NAME, DataType::Utf8),
        optional(MODEL_VERSION, DataType::Utf8),
        optional(DATE, DataType::Date32),
        optional(ERROR_CLASS, DataType::Utf8),
        optional(MESSAGE, DataType::Utf8),
        optional(FAILED_AT, timestamp()),
    ];
    let unit = [RUN_ID, STAGE, COMMODITY, MODEL_NAME, MODEL_VERSION, DATE];
    define_unpartitioned(TableName::JobFailures, fields, &unit, &unit)
}
