//! `train`, `forecast` and `backfill`: jobs over a range of dates.

use std::collections::BTreeSet;

use almanac_delta::manifest::UnitKey;
use almanac_delta::tables::job_failures::{STAGE_FORECAST, STAGE_FRESHNESS};
use serde_json::Value;

use crate::cli::{BackfillArgs, RangeArgs, ShapeArgs, TrainArgs};
use crate::context::{Context, Rows, parse_date};
use crate::error::JobError;
use crate::produce::{self, Only, Production, Stages};
use crate::report::{print, print_job, print_json};
use crate::runs::{Run, Status};
use crate::settings::Settings;
use crate::{request, sql};

/// Trains what is due.
pub async fn train(settings: Settings, args: TrainArgs) -> Result<Status, JobError> {
    let stages = Stages {
        train: true,
        forecast: false,
        actuals_before: 0,
    };
    stages_of(settings, "train", &args, &ShapeArgs::default(), stages).await
}

/// Forecasts with the models there are.
pub async fn forecast(settings: Settings, args: RangeArgs) -> Result<Status, JobError> {
    let stages = Stages {
        train: false,
        forecast: true,
        actuals_before: 0,
    };
    stages_of(settings, "forecast", &args.train, &args.shape, stages).await
}

async fn stages_of(
    settings: Settings,
    command: &'static str,
    args: &TrainArgs,
    shape: &ShapeArgs,
    stages: Stages,
) -> Result<Status, JobError> {
    let context = Context::open(settings).await?;
    let production = of_range(&context, args, shape).await?;
    let (run, mut tally) = Run::begin(&context, command, arguments(&production)?).await?;
    let outcome = produce::run(&context, &production, stages, &Only::Missing, &mut tally).await;
    let (result, status) = run.end(&context, tally, outcome).await?;
    print_job(&result, context.settings.json)?;
    Ok(status)
}

/// Trains, then forecasts, what is missing, what failed, or what rests on older input.
pub async fn backfill(settings: Settings, args: BackfillArgs) -> Result<Status, JobError> {
    let context = Context::open(settings).await?;
    let production = of_range(&context, &args.range.train, &args.range.shape).await?;
    if args.dry_run {
        let dry = produce::dry_run(&context, &production).await?;
        let result =
            serde_json::to_value(&dry).map_err(|error| JobError::ours(error.to_string()))?;
        if context.settings.json {
            print_json(&result)?;
        } else {
            print(&dry_run_summary(&result))?;
        }
        return Ok(Status::Succeeded);
    }
    let (run, mut tally) = Run::begin(&context, "backfill", arguments(&production)?).await?;
    let outcome = if args.revise {
        produce::replace::revise(&context, &production, &mut tally).await
    } else {
        let only = if args.refit_failed {
            failed_units(&context, &production).await?
        } else {
            Only::Missing
        };
        produce::run(
            &context,
            &production,
            Stages {
                train: true,
                forecast: true,
                actuals_before: 0,
            },
            &only,
            &mut tally,
        )
        .await
    };
    let (result, status) = run.end(&context, tally, outcome).await?;
    print_job(&result, context.settings.json)?;
    Ok(status)
}

/// The answer to `--dry-run`, for people.
pub(super) fn dry_run_summary(result: &Value) -> String {
    let mut lines = vec![format!(
        "would train {} ({} there), would forecast {} ({} there)",
        result["would_train"],
        result["train_skipped"],
        result["would_forecast"],
        result["forecast_skipped"]
    )];
    for training in result["trainings"].as_array().into_iter().flatten() {
        let words: Vec<&str> = training
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        lines.push(format!("  train {}", words.join(" ")));
    }
    lines.join("\n")
}

async fn of_range(
    context: &Context,
    args: &TrainArgs,
    shape: &ShapeArgs,
) -> Result<Production, JobError> {
    let range = (parse_date(&args.keys.start)?, parse_date(&args.keys.end)?);
    request::production(context, &args.keys.selection, &args.cadence, shape, range).await
}

/// What `job_runs` says was asked for.
pub(super) fn arguments(production: &Production) -> Result<Value, JobError> {
    serde_json::to_value(production).map_err(|error| JobError::ours(error.to_string()))
}

/// Units with a recorded failure. Those that succeeded later are present, and so skipped.
async fn failed_units(context: &Context, production: &Production) -> Result<Only, JobError> {
    let query = format!(
        "SELECT DISTINCT stage, commodity, model_name, date FROM job_failures WHERE model_version = {}",
        sql::quoted(&production.model_version)
    );
    let mut failed: BTreeSet<(String, UnitKey)> = BTreeSet::new();
    for batch in sql::rows(context, &query, &[]).await? {
        let rows = Rows(&batch);
        for row in 0..rows.len() {
            // A freshness failure is a forecast that was not tried.
            let stage = rows.text("stage", row)?;
            let stage = stage.replace(STAGE_FRESHNESS, STAGE_FORECAST);
            failed.insert((stage, rows.key(&production.model_version, "date", row)?));
        }
    }
    Ok(Only::Failed(failed))
}
