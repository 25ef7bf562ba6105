//! The first command of the README: a lake, a market, models, forecasts, a summary.

use std::collections::BTreeMap;

use almanac_delta::{DeltaError, Lake, LakeSettings, TableName};
use almanac_udfs::forecasters::{Frequency, date};
use serde_json::{Value, json};

use crate::context::Context;
use crate::error::JobError;
use crate::holidays::store_builtin;
use crate::ingest::ingest_rows;
use crate::market::Market;
use crate::produce::{self, Only, Production, Stages};
use crate::runs::{Run, Status};
use crate::settings::Settings;

/// Seed of the market and of the lake.
const SEED: u64 = 2024;
/// Models that it trains.
const MODELS: [&str; 5] = [
    "naive",
    "random_walk",
    "seasonal_naive",
    "window_mean",
    "linear_regression",
];

/// Makes the lake unless it is there, and forecasts half a year.
pub async fn quickstart(settings: Settings) -> Result<(Value, Status), JobError> {
    let lake_settings = LakeSettings {
        seed: SEED,
        quickstart: true,
        ..LakeSettings::default()
    };
    let lake = match Lake::create(&settings.lake, lake_settings).await {
        Err(DeltaError::AlreadyALake { .. }) => Lake::open(&settings.lake).await?,
        outcome => outcome?,
    };
    if !lake.settings().quickstart {
        return Err(JobError::user(
            format!(
                "the lake at {} was not made by quickstart",
                settings.lake.uri
            ),
            "give quickstart a lake of its own: `almanac --lake ./quickstart-lake quickstart`",
        ));
    }
    let context = Context::of(settings, lake).await?;
    let market = Market {
        seed: SEED,
        start: date::from_civil(2019, 1, 1),
        end: date::from_civil(2024, 6, 30),
    };
    let empty = context
        .lake
        .table(TableName::UnifiedData)
        .await?
        .files()
        .is_empty();
    if empty {
        store_builtin(&context.lake, vec![], &context.stamp.run_id).await?;
        let rows = market
            .rows()
            .map_err(|error| JobError::ours(error.to_string()))?;
        ingest_rows(&context.lake, rows, &context.stamp.run_id).await?;
    }
    let mut models = BTreeMap::new();
    for key in MODELS {
        models.insert(
            key.to_owned(),
            context
                .settings
                .catalog
                .resolve(key, context.lake.settings())?,
        );
    }
    let production = Production {
        commodities: vec!["Coffee".to_owned(), "Sugar".to_owned()],
        models,
        own_specs: BTreeMap::new(),
        model_version: "v1.0".to_owned(),
        start: date::from_civil(2024, 1, 1),
        end: market.end,
        frequency: Frequency::Quarterly.name().to_owned(),
        paths: 2000,
        horizon: 14,
    };
    let arguments =
        serde_json::to_value(&production).map_err(|error| JobError::ours(error.to_string()))?;
    let (run, mut tally) = Run::begin(&context, "quickstart", arguments).await?;
    let stages = Stages {
        train: true,
        forecast: true,
        actuals_before: 0,
    };
    let outcome = produce::run(&context, &production, stages, &Only::Missing, &mut tally).await;
    let (mut result, status) = run.end(&context, tally, outcome).await?;
    let lake = &context.settings.lake.uri;
    result["lake"] = json!(lake);
    result["next"] = json!([
        format!(
            "almanac --lake {lake} sql 'SELECT commodity, model_name, forecast_date, q10, forecast_median, q90 FROM point_forecasts WHERE day_ahead = 5 ORDER BY forecast_start_date DESC LIMIT 10'"
        ),
        format!(
            "almanac --lake {lake} daily --commodity Coffee,Sugar --models naive,random_walk --frequency quarterly --date 2024-07-01"
        ),
        format!("almanac --lake {lake} status"),
        "almanac ingest --help".to_owned(),
    ]);
    Ok((result, status))
}
