//! `forecast.point_forecasts`: means, deviations and quantiles of the stored paths, one row per
//! day forecast.

use arrow::datatypes::DataType;

use super::{Layout, SERIES_BUCKET, TableDef, TableName, define, optional, required, timestamp};

/// SQL name.
pub const NAME: &str = "forecast.point_forecasts";
/// Folder under the lake root.
pub const FOLDER: &str = "forecast/point_forecasts";

/// The day forecast; null on the `observed` calendar.
pub const FORECAST_DATE: &str = "forecast_date";
/// First day of the forecast the row belongs to.
pub const FORECAST_START_DATE: &str = "forecast_start_date";
/// Newest observation of any kind that reached the row.
pub const DATA_CUTOFF_DATE: &str = "data_cutoff_date";
/// Days from the start, counted from 1.
pub const DAY_AHEAD: &str = "day_ahead";
/// When the row was made.
pub const GENERATION_TIMESTAMP: &str = "generation_timestamp";
/// Mean of the paths.
pub const FORECAST_MEAN: &str = "forecast_mean";
/// Median of the paths.
pub const FORECAST_MEDIAN: &str = "forecast_median";
/// Standard deviation of the paths.
pub const FORECAST_STD: &str = "forecast_std";
/// 1 % quantile.
pub const Q01: &str = "q01";
/// 5 % quantile.
pub const Q05: &str = "q05";
/// 10 % quantile.
pub const Q10: &str = "q10";
/// 25 % quantile.
pub const Q25: &str = "q25";
/// 75 % quantile.
pub const Q75: &str = "q75";
/// 90 % quantile.
pub const Q90: &str = "q90";
/// 95 % quantile.
pub const Q95: &str = "q95";
/// 99 % quantile.
pub const Q99: &str = "q99";
/// Lower end of the 80 % interval.
pub const LOWER_80: &str = "lower_80";
/// Upper end of the 80 % interval.
pub const UPPER_80: &str = "upper_80";
/// Lower end of the 95 % interval.
pub const LOWER_95: &str = "lower_95";
/// Upper end of the 95 % interval.
pub const UPPER_95: &str = "upper_95";
/// What happened; null here, filled by evaluation only.
pub const ACTUAL_CLOSE: &str = "actual_close";
/// Version label of the model.
pub const MODEL_VERSION: &str = "model_version";
/// The series.
pub const COMMODITY: &str = "commodity";
/// Key in the catalog of models.
pub const MODEL_NAME: &str = "model_name";
/// Whether the model gave a forecast.
pub const MODEL_SUCCESS: &str = "model_success";
/// Whether an observation from the forecast window reached the row.
pub const HAS_DATA_LEAKAGE: &str = "has_data_leakage";
/// Run that wrote it.
pub const RUN_ID: &str = "run_id";
/// Revision of the forecast the row was made from.
pub const REVISION: &str = "revision";
/// Input digest of the forecast the row was made from.
pub const INPUT_DIGEST: &str = "input_digest";

/// The table in a lake of this layout.
#[must_use]
pub fn def(layout: &Layout) -> TableDef {
    let mut fields = vec![
        optional(FORECAST_DATE, DataType::Date32),
        required(FORECAST_START_DATE, DataType::Date32),
        optional(DATA_CUTOFF_DATE, DataType::Date32),
        required(DAY_AHEAD, DataType::Int32),
        optional(GENERATION_TIMESTAMP, timestamp()),
    ];
    let double = [
        FORECAST_MEAN,
        FORECAST_MEDIAN,
        FORECAST_STD,
        Q01,
        Q05,
        Q10,
        Q25,
        Q75,
        Q90,
        Q95,
        Q99,
        LOWER_80,
        UPPER_80,
        LOWER_95,
        UPPER_95,
        ACTUAL_CLOSE,
    ];
    fields.extend(double.map(|name| optional(name, DataType::Float64)));
    fields
        .extend([MODEL_VERSION, COMMODITY, MODEL_NAME].map(|name| required(name, DataType::Utf8)));
    fields.extend([
        optional(MODEL_SUCCESS, DataType::Boolean),
        optional(HAS_DATA_LEAKAGE, DataType::Boolean),
        optional(RUN_ID, DataType::Utf8),
        optional(REVISION, DataType::Int32),
        optional(INPUT_DIGEST, DataType::Utf8),
    ]);
    define(
        TableName::PointForecasts,
        layout,
        fields,
        (&[COMMODITY], &[SERIES_BUCKET]),
        &[COMMODITY, MODEL_NAME, MODEL_VERSION, FORECAST_START_DATE],
        &[MODEL_NAME, MODEL_VERSION, FORECAST_START_DATE, DAY_AHEAD],
    )
}
