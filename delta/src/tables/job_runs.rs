//! `forecast.job_runs`: one row per run of a job.

use arrow::datatypes::DataType;

use super::{TableDef, TableName, define_unpartitioned, optional, required, timestamp};

/// SQL name.
pub const NAME: &str = "forecast.job_runs";
/// Folder under the lake root.
pub const FOLDER: &str = "forecast/job_runs";

/// Identifier of the run.
pub const RUN_ID: &str = "run_id";
/// Which job: `train`, `forecast`, `backfill`, …
pub const KIND: &str = "kind";
/// Resolved arguments, JSON.
pub const ARGUMENTS: &str = "arguments";
/// When it started.
pub const STARTED_AT: &str = "started_at";
/// When it ended.
pub const FINISHED_AT: &str = "finished_at";
/// How it ended.
pub const STATUS: &str = "status";
/// Models trained.
pub const TRAINED: &str = "trained";
/// Models that were there already.
pub const TRAIN_SKIPPED: &str = "train_skipped";
/// Models that could not be trained.
pub const TRAIN_FAILED: &str = "train_failed";
/// Forecasts made.
pub const FORECASTS: &str = "forecasts";
/// Forecasts that were there already.
pub const FORECAST_SKIPPED: &str = "forecast_skipped";
/// Forecasts that could not be made.
pub const FORECAST_FAILED: &str = "forecast_failed";
/// What else it did, JSON: `{"actuals": 3, "conflicts": 1}`, `{"rows_read": 100, "added": 2}`.
pub const COUNTS: &str = "counts";
/// Engine it ran on.
pub const ENGINE: &str = "engine";
/// Version of the code.
pub const CODE_VERSION: &str = "code_version";
/// All versions read per table, JSON: `{"silver.unified_data": [4], "forecast.distributions": [3, 5]}`.
pub const DATA_VERSIONS: &str = "data_versions";
/// The last version written per table, JSON: `{"forecast.distributions": 6}`.
pub const TABLE_VERSIONS: &str = "table_versions";
/// Summary for people, or the error.
pub const MESSAGE: &str = "message";

/// The table, the same in every layout.
#[must_use]
pub fn def() -> TableDef {
    let mut fields = vec![
        required(RUN_ID, DataType::Utf8),
        required(KIND, DataType::Utf8),
        optional(ARGUMENTS, DataType::Utf8),
        optional(STARTED_AT, timestamp()),
        optional(FINISHED_AT, timestamp()),
        optional(STATUS, DataType::Utf8),
    ];
    let counts = [
        TRAINED,
        TRAIN_SKIPPED,
        TRAIN_FAILED,
        FORECASTS,
        FORECAST_SKIPPED,
        FORECAST_FAILED,
    ];
    fields.extend(counts.map(|name| optional(name, DataType::Int64)));
    let texts = [
        COUNTS,
        ENGINE,
        CODE_VERSION,
        DATA_VERSIONS,
        TABLE_VERSIONS,
        MESSAGE,
    ];
    fields.extend(texts.map(|name| optional(name, DataType::Utf8)));
    define_unpartitioned(TableName::JobRuns, fields, &[RUN_ID], &[RUN_ID])
}
