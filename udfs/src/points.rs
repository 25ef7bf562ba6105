//! The point forecasts of one key: a struct for each day, computed from its stored FLOAT paths.
//!
//! One function serves the run that draws the paths and the run that finds only the paths, so both
//! write the same bytes.

use std::sync::Arc;

use almanac_forecasters::Day;
use almanac_forecasters::quantiles::{LEVELS, Summary};
use arrow::array::{ArrayRef, Date32Array, Float64Array, Int32Array, StructArray};
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::Result;

/// Quantile columns and their level.
const QUANTILES: [(&str, f64); 13] = [
    ("q01", 0.01),
    ("q05", 0.05),
    ("q10", 0.10),
    ("q25", 0.25),
    ("q75", 0.75),
    ("q90", 0.90),
    ("q95", 0.95),
    ("q99", 0.99),
    ("lower_80", 0.10),
    ("upper_80", 0.90),
    ("lower_95", 0.025),
    ("upper_95", 0.975),
    ("forecast_median", 0.50),
];

/// Fields of one day's point forecast.
#[must_use]
pub fn point_fields() -> Fields {
    let mut fields = vec![
        Field::new("forecast_date", DataType::Date32, true),
        Field::new("day_ahead", DataType::Int32, true),
        Field::new("forecast_mean", DataType::Float64, true),
        Field::new("forecast_std", DataType::Float64, true),
    ];
    fields.extend(QUANTILES.map(|(name, _)| Field::new(name, DataType::Float64, true)));
    Fields::from(fields)
}

/// The structs of days 1, 2, …; `start` is the date of day 1, `None` on a calendar without dates.
///
/// # Errors
/// Never for summaries of one horizon; the signature is Arrow's.
pub fn points(start: Option<Day>, days: &[Summary]) -> Result<StructArray> {
    let ahead = || 1i32..;
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(
            days.iter()
                .zip(0..)
                .map(|(_, k)| start.map(|day| day + k))
                .collect::<Date32Array>(),
        ),
        Arc::new(
            days.iter()
                .zip(ahead())
                .map(|(_, k)| Some(k))
                .collect::<Int32Array>(),
        ),
        Arc::new(Float64Array::from_iter_values(
            days.iter().map(|day| day.mean),
        )),
        Arc::new(Float64Array::from_iter_values(
            days.iter().map(|day| day.std),
        )),
    ];
    for (_, level) in QUANTILES {
        let values = days.iter().map(|day| quantile(day, level));
        columns.push(Arc::new(Float64Array::from_iter_values(values)));
    }
    Ok(StructArray::try_new(point_fields(), columns, None)?)
}

/// The quantile of a summary at one of [`LEVELS`].
pub(crate) fn quantile(summary: &Summary, level: f64) -> f64 {
    let index = LEVELS.iter().position(|known| *known == level);
    index.map_or(f64::NAN, |index| summary.quantiles[index])
}
