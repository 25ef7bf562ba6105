//! The daily production job: what is due on one day, and the summary that people read.

use std::collections::BTreeMap;

use almanac_delta::TableName;
use almanac_delta::manifest::{UnitFailure, UnitKey};
use almanac_delta::tables::job_failures::{STAGE_FRESHNESS, STAGE_TRAIN};
use almanac_planner::present::closes;
use almanac_udfs::forecasters::{Day, Frequency, TradingDays, date};
use serde_json::{Value, json};

use crate::context::{Context, Rows};
use crate::error::JobError;
use crate::produce::{
    self, FailureRecord, Only, Planning, Production, Stages, Tally, closed_days, pin,
};
use crate::report::aligned;

/// Days before the date from which weekdays are judged.
const BEFORE: Day = 400;

/// Trains and forecasts what is due. Commodities without their last expected close are left alone
/// and reported, so that their keys stay free for a later run.
pub async fn run(
    context: &Context,
    production: &Production,
    allow_stale: bool,
    tally: &mut Tally,
) -> Result<(), JobError> {
    let mut fresh = production.clone();
    if !allow_stale {
        let planning = Planning::begin(context);
        let missing = missing_closes(context, production, tally).await?;
        planning.end(context, tally);
        fresh
            .commodities
            .retain(|commodity| !missing.contains_key(commodity));
        for (commodity, (expected, newest)) in missing {
            let newest = newest.map_or_else(
                || format!("there is none of the {BEFORE} days before"),
                |day| format!("the newest is of {}", date::format(day)),
            );
            for model_name in production.models.keys() {
                let failure = UnitFailure {
                    key: UnitKey {
                        commodity: commodity.clone(),
                        model_name: model_name.clone(),
                        model_version: production.model_version.clone(),
                        date: production.start,
                    },
                    error_class: "freshness".to_owned(),
                    message: format!(
                        "the close of {} is expected, {newest}; ingest it, or go on without it with --allow-stale",
                        date::format(expected)
                    ),
                };
                tally.forecast_failed += 1;
                tally
                    .failures
                    .push(FailureRecord::of(STAGE_FRESHNESS, &failure));
            }
        }
    }
    if fresh.commodities.is_empty() {
        return Ok(());
    }
    produce::run(
        context,
        &fresh,
        Stages {
            train: true,
            forecast: true,
            actuals_before: 60,
        },
        &Only::Missing,
        tally,
    )
    .await
}

/// Commodities whose last expected close is not there: that day, and the newest close there is.
async fn missing_closes(
    context: &Context,
    production: &Production,
    tally: &mut Tally,
) -> Result<BTreeMap<String, (Day, Option<Day>)>, JobError> {
    let calendar = context.lake.settings().calendar.as_str();
    let day = production.start;
    if calendar == "observed" {
        return Ok(BTreeMap::new());
    }
    let data = context.lake.table(TableName::UnifiedData).await?;
    pin(tally, &[&data]);
    let plan = closes(
        &context.source(&data),
        &production.commodities,
        (day - BEFORE, day - 1),
    )?;
    let mut dates: BTreeMap<String, Vec<Day>> = BTreeMap::new();
    for batch in context.query(plan).await? {
        let rows = Rows(&batch);
        for row in 0..rows.len() {
            dates
                .entry(rows.text("commodity", row)?)
                .or_default()
                .push(rows.day("date", row)?);
        }
    }
    let closed = closed_days(context, tally).await?;
    let mut missing = BTreeMap::new();
    for commodity in &production.commodities {
        let own = dates.get(commodity).map_or(&[][..], Vec::as_slice);
        let mut days = TradingDays::new(&closed);
        own.iter().for_each(|day| days.push(*day));
        let pattern = days.pattern(day);
        let open = |candidate: &Day| calendar == "daily" || days.is_open(&pattern, *candidate);
        let expected = (day - BEFORE..day).rev().find(open).unwrap_or(day - 1);
        let newest = own.last().copied();
        if newest.is_none_or(|newest| newest < expected) {
            missing.insert(commodity.clone(), (expected, newest));
        }
    }
    Ok(missing)
}

/// When each model was last trained and is trained next.
pub async fn cadence(
    context: &Context,
    production: &Production,
    tally: &mut Tally,
) -> Result<Vec<Value>, JobError> {
    let planning = Planning::begin(context);
    let frequency: Frequency = production
        .frequency
        .parse()
        .map_err(|_| JobError::ours("an unknown frequency was accepted"))?;
    let models = context.lake.table(TableName::TrainedModels).await?;
    let range = production.range(production.start, production.end);
    let plan = almanac_planner::present::active_models(&context.source(&models), &range)?;
    let mut trained: BTreeMap<(String, String), Vec<Day>> = BTreeMap::new();
    for batch in context.query(plan).await? {
        let rows = Rows(&batch);
        for row in 0..rows.len() {
            let id = (rows.text("commodity", row)?, rows.text("model_name", row)?);
            trained
                .entry(id)
                .or_default()
                .push(rows.day("training_date", row)?);
        }
    }
    planning.end(context, tally);
    let line = |((commodity, model_name), mut dates): ((String, String), Vec<Day>)| {
        dates.sort_unstable();
        let (anchor, last) = (dates.first().copied()?, dates.last().copied()?);
        // A model whose period began without it is due until it is trained.
        let due = frequency
            .latest(anchor, production.end)
            .is_some_and(|grid| last < grid);
        Some(json!({
            "commodity": commodity,
            "model_name": model_name,
            "last_trained": date::format(last),
            "next_due": date::format(if due { production.end } else { frequency.next(anchor, production.end) }),
        }))
    };
    Ok(trained.into_iter().filter_map(line).collect())
}

/// The summary for people.
pub fn summary(result: &Value) -> String {
    let count = |name: &str| result[name].as_u64().unwrap_or(0);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut lines = vec![
        format!("DAILY PRODUCTION COMPLETE  {}", text(&result["date"])),
        format!("  trained    {:>6}", count("trained")),
        format!(
            "  skipped    {:>6}  (training not due)",
            count("train_skipped")
        ),
        format!("  generated  {:>6}", count("forecasts")),
        format!(
            "  present    {:>6}  (forecast there already)",
            count("forecast_skipped")
        ),
        format!(
            "  failed     {:>6}  ({} training, {} forecast)",
            count("train_failed") + count("forecast_failed"),
            count("train_failed"),
            count("forecast_failed")
        ),
    ];
    let cadence = result["cadence"].as_array().cloned().unwrap_or_default();
    if !cadence.is_empty() {
        let rows: Vec<Vec<String>> = cadence
            .iter()
            .map(|line| {
                ["commodity", "model_name", "last_trained", "next_due"]
                    .map(|name| text(&line[name]))
                    .to_vec()
            })
            .collect();
        lines.push(String::new());
        lines.push(aligned(
            &["commodity", "model", "last trained", "next due"],
            &rows,
        ));
    }
    for failure in result["failures"].as_array().into_iter().flatten() {
        let retrain = text(&failure["stage"]) == STAGE_TRAIN && count("forecasts") > 0;
        let note = if retrain {
            "; an earlier model, where there is one, serves the forecast"
        } else {
            ""
        };
        lines.push(format!(
            "failed: {}{} {} [{}] {}{note}",
            if failure["stage"] != failure["error_class"] {
                format!("{} ", text(&failure["stage"]))
            } else {
                String::new()
            },
            text(&failure["commodity"]),
            text(&failure["model_name"]),
            text(&failure["error_class"]),
            text(&failure["message"]),
        ));
    }
    lines.join("\n")
}
