//! `forecast.distributions`: simulated paths, one row per path and forecast date, and the actuals
//! beside them.

use arrow::datatypes::DataType;

use super::{Layout, SERIES_BUCKET, TableDef, TableName, define, optional, required, timestamp};

/// SQL name.
pub const NAME: &str = "forecast.distributions";
/// Folder under the lake root.
pub const FOLDER: &str = "forecast/distributions";

/// Number of `day_k` columns.
pub const DAYS: usize = 14;
/// `model_version` and `model_name` of the rows that hold what happened.
pub const ACTUALS: &str = "actuals";
/// [`ORIGIN`] of a forecast made on its day.
pub const ORIGIN_LIVE: &str = "live";
/// [`ORIGIN`] of a forecast made later.
pub const ORIGIN_BACKFILL: &str = "backfill";

/// 0 for the actuals, 1 to 2000 for simulated paths.
pub const PATH_ID: &str = "path_id";
/// First day forecast; observations dated before it are used.
pub const FORECAST_START_DATE: &str = "forecast_start_date";
/// Newest observation of any kind that reached the row.
pub const DATA_CUTOFF_DATE: &str = "data_cutoff_date";
/// When the row was made.
pub const GENERATION_TIMESTAMP: &str = "generation_timestamp";
/// Version label of the model, or [`ACTUALS`].
pub const MODEL_VERSION: &str = "model_version";
/// The series.
pub const COMMODITY: &str = "commodity";
/// Key in the catalog of models, or [`ACTUALS`].
pub const MODEL_NAME: &str = "model_name";
/// Whether the row holds what happened.
pub const IS_ACTUALS: &str = "is_actuals";
/// Whether an observation from the forecast window reached the row.
pub const HAS_DATA_LEAKAGE: &str = "has_data_leakage";
/// [`ORIGIN_LIVE`] or [`ORIGIN_BACKFILL`].
pub const ORIGIN: &str = "origin";
/// How often the key was made again on corrected data; 0 at first.
pub const REVISION: &str = "revision";
/// Digest of the observations the row rests on.
pub const INPUT_DIGEST: &str = "input_digest";
/// Run that wrote it.
pub const RUN_ID: &str = "run_id";

/// Name of the column of the `k`-th day, counted from 1.
#[must_use]
pub fn day(k: usize) -> String {
    format!("day_{k}")
}

/// The table in a lake of this layout.
#[must_use]
pub fn def(layout: &Layout) -> TableDef {
    let mut fields = vec![
        required(PATH_ID, DataType::Int32),
        required(FORECAST_START_DATE, DataType::Date32),
        optional(DATA_CUTOFF_DATE, DataType::Date32),
        optional(GENERATION_TIMESTAMP, timestamp()),
        required(MODEL_VERSION, DataType::Utf8),
        required(COMMODITY, DataType::Utf8),
        required(MODEL_NAME, DataType::Utf8),
    ];
    fields.extend((1..=DAYS).map(|k| optional(day(k), DataType::Float32)));
    fields.extend([
        optional(IS_ACTUALS, DataType::Boolean),
        optional(HAS_DATA_LEAKAGE, DataType::Boolean),
        optional(ORIGIN, DataType::Utf8),
        optional(REVISION, DataType::Int32),
        optional(INPUT_DIGEST, DataType::Utf8),
        optional(RUN_ID, DataType::Utf8),
    ]);
    define(
        TableName::Distributions,
        layout,
        fields,
        (&[MODEL_VERSION, COMMODITY], &[MODEL_VERSION, SERIES_BUCKET]),
        &[COMMODITY, MODEL_NAME, MODEL_VERSION, FORECAST_START_DATE],
        &[MODEL_NAME, FORECAST_START_DATE, PATH_ID],
    )
}
