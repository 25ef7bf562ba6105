//! `silver.unified_data`: one row per commodity, region and trading day, covariates in columns.
//!
//! Covariates beyond the built-in columns arrive by schema evolution, always DOUBLE and nullable.

use arrow::datatypes::DataType;

use super::{Layout, SERIES_BUCKET, TableDef, TableName, define, optional, required};

/// SQL name.
pub const NAME: &str = "silver.unified_data";
/// Folder under the lake root.
pub const FOLDER: &str = "silver/unified_data";

/// Day of the observation.
pub const DATE: &str = "date";
/// What is priced; the series.
pub const COMMODITY: &str = "commodity";
/// Where a covariate was observed.
pub const REGION: &str = "region";
/// Closing price, the target.
pub const CLOSE: &str = "close";
/// Opening price.
pub const OPEN: &str = "open";
/// Highest price of the day.
pub const HIGH: &str = "high";
/// Lowest price of the day.
pub const LOW: &str = "low";
/// Traded volume.
pub const VOLUME: &str = "volume";
/// Mean temperature, degrees Celsius.
pub const TEMP_MEAN_C: &str = "temp_mean_c";
/// Mean relative humidity, percent.
pub const HUMIDITY_MEAN_PCT: &str = "humidity_mean_pct";
/// Precipitation, millimetres.
pub const PRECIPITATION_MM: &str = "precipitation_mm";
/// Volatility index.
pub const VIX: &str = "vix";
/// Brazilian real per US dollar.
pub const BRL_USD: &str = "brl_usd";
/// Colombian peso per US dollar.
pub const COP_USD: &str = "cop_usd";
/// Unit of the price.
pub const UNIT: &str = "unit";
/// Currency of the price.
pub const CURRENCY: &str = "currency";
/// Contract the price is of.
pub const CONTRACT: &str = "contract";
/// Whether the contract changed on this day.
pub const IS_ROLL: &str = "is_roll";

/// The table in a lake of this layout.
#[must_use]
pub fn def(layout: &Layout) -> TableDef {
    let double = [
        CLOSE,
        OPEN,
        HIGH,
        LOW,
        VOLUME,
        TEMP_MEAN_C,
        HUMIDITY_MEAN_PCT,
        PRECIPITATION_MM,
        VIX,
        BRL_USD,
        COP_USD,
    ];
    let mut fields = vec![
        required(DATE, DataType::Date32),
        required(COMMODITY, DataType::Utf8),
        required(REGION, DataType::Utf8),
    ];
    fields.extend(double.map(|name| optional(name, DataType::Float64)));
    fields.extend([UNIT, CURRENCY, CONTRACT].map(|name| optional(name, DataType::Utf8)));
    fields.push(optional(IS_ROLL, DataType::Boolean));
    define(
        TableName::UnifiedData,
        layout,
        fields,
        (&[COMMODITY], &[SERIES_BUCKET]),
        &[DATE, COMMODITY, REGION],
        &[COMMODITY, DATE, REGION],
    )
}
