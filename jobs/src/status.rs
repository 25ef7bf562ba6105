//! Runs, failures and coverage.

use std::collections::{BTreeMap, BTreeSet};

use almanac_delta::open_run::OpenRun;
use almanac_planner::present::KeyRange;
use almanac_udfs::forecasters::{Day, date};
use chrono::SecondsFormat;
use serde_json::{Value, json};

use crate::context::Context;
use crate::coverage::{coverage, gaps_in_words};
use crate::error::JobError;
use crate::produce::actuals;
use crate::report::{failures_table, folded, print, print_json, titled};
use crate::request::known_commodities;
use crate::sql::quoted;
use crate::stale::StaleKey;
use crate::{sql, stale};

/// The status of a run that has begun and has not said how it ended.
const UNFINISHED: &str = "unfinished";

/// How a stale key is shown.
const STALE_COLUMNS: [&str; 5] = ["kind", "commodity", "model_name", "model_version", "date"];
/// What to do about stale keys.
const REVISE: &str = "make them again with `almanac backfill … --revise` over their dates";

/// Prints one run, or the newest runs with coverage.
pub async fn status(context: &Context, run: Option<&str>) -> Result<(), JobError> {
    let mut unfinished = unfinished(context).await?;
    let mut runs = match run {
        Some(run) => {
            unfinished.retain(|open| open["run_id"] == run);
            let query = format!("SELECT * FROM job_runs WHERE run_id = {}", quoted(run));
            objects(context, &query).await?
        }
        None => {
            objects(
                context,
                "SELECT * FROM job_runs ORDER BY started_at DESC LIMIT 20",
            )
            .await?
        }
    };
    runs.extend(unfinished.iter().cloned());
    runs.sort_by(|a, b| b["started_at"].as_str().cmp(&a["started_at"].as_str()));
    if let (Some(run), true) = (run, runs.is_empty()) {
        return Err(JobError::user(
            format!("no run `{run}`"),
            "`almanac status` lists the newest runs",
        ));
    }
    let failures = if runs.is_empty() {
        vec![]
    } else {
        let list = quoted_ids(&runs);
        // One run is shown whole; of the newest runs the newest failures.
        let limit = if run.is_some() { "" } else { "LIMIT 200" };
        objects(context, &format!("SELECT * FROM job_failures WHERE run_id IN ({list}) ORDER BY failed_at DESC, stage DESC, commodity, model_name, date {limit}")).await?
    };
    let coverage = if run.is_none() {
        coverage(context).await?
    } else {
        vec![]
    };
    let commodities: Vec<String> = known_commodities(context).await?.into_iter().collect();
    if context.settings.json {
        return print_json(
            &json!({"runs": runs, "failures": failures, "coverage": coverage, "commodities": commodities}),
        );
    }
    print(&titled(
        "runs",
        &[
            "run_id",
            "kind",
            "status",
            "started_at",
            "trained",
            "forecasts",
            "train_failed",
            "forecast_failed",
        ],
        &runs,
    ))?;
    if !unfinished.is_empty() {
        print(&titled(
            "\nunfinished: at work, or killed; what they committed is there, the same command again does the rest",
            &["run_id", "kind", "started_at", "request"],
            &unfinished.iter().map(with_request).collect::<Vec<_>>(),
        ))?;
    }
    if let (Some(_), Some(one)) = (run, runs.first()) {
        print("")?;
        for (name, value) in one.as_object().into_iter().flatten() {
            match value {
                Value::Null => {}
                Value::String(text) => print(&format!("{name:<16}  {text}"))?,
                other => print(&format!("{name:<16}  {other}"))?,
            }
        }
    }
    if !failures.is_empty() {
        print(&failures_table("\nfailures", &folded(&failures)))?;
    }
    if run.is_none() {
        let told = |line: &Value| {
            let mut told = line.clone();
            told["missing"] = json!(gaps_in_words(line));
            told
        };
        print(&titled(
            "\ncoverage",
            &[
                "commodity",
                "model_name",
                "model_version",
                "present",
                "wanted",
                "first_date",
                "last_date",
                "live",
                "missing",
            ],
            &coverage.iter().map(told).collect::<Vec<_>>(),
        ))?;
        print(&format!("\ncommodities: {}", commodities.join(", ")))?;
    }
    Ok(())
}

/// Prints the keys that rest on older input.
pub async fn stale_keys(context: &Context) -> Result<(), JobError> {
    let found = stale_found(context).await?;
    if context.settings.json {
        return print_json(&json!({"stale": found}));
    }
    if found.is_empty() {
        return print("nothing rests on older input");
    }
    print(&titled("stale", &STALE_COLUMNS, &found))?;
    print(&format!("\n{REVISE}"))
}

/// All keys that rest on older input.
pub async fn stale_found(context: &Context) -> Result<Vec<Value>, JobError> {
    stale_of(context, &sql::versions(context).await?).await
}

/// Stale keys in a command's result: how many, and the first thousand.
pub fn stale_summary(keys: Vec<Value>) -> Value {
    const NAMED: usize = 1000;
    json!({"count": keys.len(), "keys": keys.into_iter().take(NAMED).collect::<Vec<_>>()})
}

/// The same for people; nothing when there are none.
pub fn stale_lines(summary: &Value) -> Vec<String> {
    const SHOWN: usize = 20;
    let keys = summary["keys"].as_array().map_or(&[][..], Vec::as_slice);
    let shown = &keys[..keys.len().min(SHOWN)];
    let count = summary["count"].as_u64().unwrap_or_default();
    if shown.is_empty() {
        return vec![];
    }
    let mut lines = vec![titled(
        &format!("\n{count} keys rest on older input"),
        &STALE_COLUMNS,
        shown,
    )];
    if count > shown.len() as u64 {
        let more = count - shown.len() as u64;
        lines.push(format!("… and {more} more: `almanac status --stale`"));
    }
    lines.push(REVISE.to_owned());
    lines
}

/// The keys that rest on older input, of series that changed: on this day and later.
pub async fn stale_since(
    context: &Context,
    touched: &BTreeMap<String, Day>,
) -> Result<Vec<Value>, JobError> {
    let Some(first) = touched.values().min() else {
        return Ok(vec![]);
    };
    let mut ranges = sql::versions(context).await?;
    for range in &mut ranges {
        range.commodities.retain(|name| touched.contains_key(name));
        // A day is seen by what starts after it.
        range.start = range.start.max(first + 1);
    }
    ranges.retain(|range| !range.commodities.is_empty() && range.start <= range.end);
    let mut found = stale_of(context, &ranges).await?;
    found.retain(|key| {
        let commodity = key["commodity"].as_str().unwrap_or_default();
        touched.contains_key(commodity)
    });
    Ok(found)
}

async fn stale_of(context: &Context, ranges: &[KeyRange]) -> Result<Vec<Value>, JobError> {
    let mut found: Vec<Value> = vec![];
    for range in ranges {
        let stale = stale::stale(context, range).await?;
        found.extend(stale.models.iter().map(|stale| stale_key("model", stale)));
        found.extend(
            stale
                .forecasts
                .iter()
                .map(|stale| stale_key("forecast", stale)),
        );
    }
    let actuals = actuals::stale(context).await?;
    found.extend(actuals.iter().map(|stale| stale_key("actuals", stale)));
    Ok(found)
}

fn stale_key(kind: &str, stale: &StaleKey) -> Value {
    json!({
        "kind": kind,
        "commodity": stale.key.commodity,
        "model_name": stale.key.model_name,
        "model_version": stale.key.model_version,
        "date": date::format(stale.key.date),
        "input_digest": stale.input_digest,
        "current_digest": stale.current_digest,
    })
}

/// A run with what it was asked for, in a line: its arguments without the specifications.
fn with_request(run: &Value) -> Value {
    let arguments = run["arguments"].as_str().unwrap_or_default();
    let names = |value: &Value| match value {
        Value::Object(by_name) => by_name.keys().cloned().collect::<Vec<_>>().join(","),
        Value::Array(names) => {
            let names = names.iter().filter_map(Value::as_str);
            names.collect::<Vec<_>>().join(",")
        }
        other => other.as_str().unwrap_or_default().to_owned(),
    };
    let request = match serde_json::from_str::<Value>(arguments) {
        Ok(parsed) if parsed.is_object() => {
            let [commodities, models, version, start, end] =
                ["commodities", "models", "model_version", "start", "end"]
                    .map(|name| names(&parsed[name]));
            format!("{commodities} {models} {version} {start} … {end}")
        }
        _ => arguments.to_owned(),
    };
    let mut run = run.clone();
    run["request"] = json!(request);
    run
}

/// Runs that have begun and have no row, as rows of `job_runs` say what is known of them.
async fn unfinished(context: &Context) -> Result<Vec<Value>, JobError> {
    // Listed before the rows are read: a run that ends in between has its row.
    let open = OpenRun::all(context.lake.store().as_ref()).await?;
    let open: Vec<Value> = open
        .into_iter()
        .map(|run| {
            let started = run.started_at();
            json!({
                "run_id": run.run_id,
                "kind": run.kind,
                "arguments": run.arguments.to_string(),
                "started_at": started.map(|at| at.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
                "status": UNFINISHED,
                "engine": run.engine,
                "code_version": run.code_version,
            })
        })
        .collect();
    if open.is_empty() {
        return Ok(open);
    }
    let list = quoted_ids(&open);
    let query = format!("SELECT run_id FROM job_runs WHERE run_id IN ({list})");
    let rows = objects(context, &query).await?;
    let ended: BTreeSet<&str> = rows
        .iter()
        .filter_map(|row| row["run_id"].as_str())
        .collect();
    let is_open = |run: &Value| run["run_id"].as_str().is_some_and(|id| !ended.contains(id));
    Ok(open.into_iter().filter(is_open).collect())
}

/// The ids of runs as a list in SQL.
fn quoted_ids(runs: &[Value]) -> String {
    let ids = runs.iter().filter_map(|run| run["run_id"].as_str());
    ids.map(quoted).collect::<Vec<_>>().join(", ")
}

async fn objects(context: &Context, query: &str) -> Result<Vec<Value>, JobError> {
    let batches = sql::rows(context, query, &[]).await?;
    let text = crate::report::rows_as_json(&batches)?;
    serde_json::from_str(&text).map_err(|error| JobError::ours(error.to_string()))
}
