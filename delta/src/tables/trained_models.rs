//! `forecast.trained_models`: one row per fitted model. A state is data, never code.

use arrow::datatypes::DataType;

use super::{Layout, SERIES_BUCKET, TableDef, TableName, define, optional, required, timestamp};

/// SQL name.
pub const NAME: &str = "forecast.trained_models";
/// Folder under the lake root.
pub const FOLDER: &str = "forecast/trained_models";

/// `{commodity}_{model_name}_{training_date}_{model_version}`.
pub const MODEL_ID: &str = "model_id";
/// The series.
pub const COMMODITY: &str = "commodity";
/// Key in the catalog of models.
pub const MODEL_NAME: &str = "model_name";
/// Version label the user gave.
pub const MODEL_VERSION: &str = "model_version";
/// The model saw observations dated before this day.
pub const TRAINING_DATE: &str = "training_date";
/// Observations it was fitted on.
pub const TRAINING_SAMPLES: &str = "training_samples";
/// Oldest observation it was fitted on.
pub const TRAINING_START_DATE: &str = "training_start_date";
/// Newest observation of any kind that reached it.
pub const DATA_CUTOFF_DATE: &str = "data_cutoff_date";
/// The full resolved spec, JSON.
pub const PARAMETERS: &str = "parameters";
/// The state, JSON, when below 1 MiB.
pub const FITTED_MODEL_JSON: &str = "fitted_model_json";
/// Path of the state's object under the lake, from 1 MiB up.
pub const FITTED_MODEL_S3_PATH: &str = "fitted_model_s3_path";
/// Size of the state in bytes.
pub const MODEL_SIZE_BYTES: &str = "model_size_bytes";
/// SHA-256 of the state, lower-case hex.
pub const STATE_SHA256: &str = "state_sha256";
/// Digest of the observations the model rests on.
pub const INPUT_DIGEST: &str = "input_digest";
/// Loss on the observations fitted.
pub const TRAINING_LOSS: &str = "training_loss";
/// Loss on observations held out.
pub const VALIDATION_LOSS: &str = "validation_loss";
/// Seconds of CPU the fit took.
pub const TRAINING_SECONDS: &str = "training_seconds";
/// When the row was written.
pub const CREATED_AT: &str = "created_at";
/// Who wrote it.
pub const CREATED_BY: &str = "created_by";
/// Run that wrote it.
pub const RUN_ID: &str = "run_id";
/// Whether forecasts may use it.
pub const IS_ACTIVE: &str = "is_active";
/// Year of the training date.
pub const YEAR: &str = "year";
/// Month of the training date.
pub const MONTH: &str = "month";

/// The table in a lake of this layout.
#[must_use]
pub fn def(layout: &Layout) -> TableDef {
    let fields = vec![
        required(MODEL_ID, DataType::Utf8),
        required(COMMODITY, DataType::Utf8),
        required(MODEL_NAME, DataType::Utf8),
        required(MODEL_VERSION, DataType::Utf8),
        required(TRAINING_DATE, DataType::Date32),
        optional(TRAINING_SAMPLES, DataType::Int32),
        optional(TRAINING_START_DATE, DataType::Date32),
        optional(DATA_CUTOFF_DATE, DataType::Date32),
        optional(PARAMETERS, DataType::Utf8),
        optional(FITTED_MODEL_JSON, DataType::Utf8),
        optional(FITTED_MODEL_S3_PATH, DataType::Utf8),
        optional(MODEL_SIZE_BYTES, DataType::Int64),
        optional(STATE_SHA256, DataType::Utf8),
        optional(INPUT_DIGEST, DataType::Utf8),
        optional(TRAINING_LOSS, DataType::Float64),
        optional(VALIDATION_LOSS, DataType::Float64),
        optional(TRAINING_SECONDS, DataType::Float64),
        optional(CREATED_AT, timestamp()),
        optional(CREATED_BY, DataType::Utf8),
        optional(RUN_ID, DataType::Utf8),
        optional(IS_ACTIVE, DataType::Boolean),
        optional(YEAR, DataType::Int32),
        optional(MONTH, DataType::Int32),
    ];
    define(
        TableName::TrainedModels,
        layout,
        fields,
        (&[COMMODITY], &[SERIES_BUCKET]),
        &[COMMODITY, MODEL_NAME, MODEL_VERSION, TRAINING_DATE],
        &[MODEL_NAME, MODEL_VERSION, TRAINING_DATE],
    )
}
