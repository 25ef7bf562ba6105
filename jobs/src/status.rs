//! Runs, failures and coverage.

use almanac_delta::TableName;
use almanac_planner::coverage::coverage;
use almanac_udfs::forecasters::date;
use serde_json::{Value, json};

use crate::context::{Context, Rows};
use crate::error::JobError;
use crate::report::{print, print_json, titled};
use crate::request::known_commodities;
use crate::{sql, stale};

/// Prints one run, or the newest runs with coverage.
pub async fn status(context: &Context, run: Option<&str>) -> Result<(), JobError> {
    let runs = match run {
        Some(run) => {
            let rows = objects(
                context,
                &format!(
                    "SELECT * FROM job_runs WHERE run_id = '{}'",
                    run.replace('\'', "''")
                ),
            )
            .await?;
            if rows.is_empty() {
                return Err(JobError::user(
                    format!("no run `{run}`"),
                    "`almanac status` lists the newest runs",
                ));
            }
            rows
        }
        None => {
            objects(
                context,
                "SELECT * FROM job_runs ORDER BY started_at DESC LIMIT 20",
            )
            .await?
        }
    };
    let ids: Vec<String> = runs
        .iter()
        .filter_map(|run| run["run_id"].as_str())
        .map(|id| format!("'{id}'"))
        .collect();
    let failures = if ids.is_empty() {
        vec![]
    } else {
        let list = ids.join(", ");
        objects(context, &format!("SELECT * FROM job_failures WHERE run_id IN ({list}) ORDER BY failed_at DESC, commodity, model_name, date LIMIT 200")).await?
    };
    let coverage = if run.is_none() {
        coverage_of(context).await?
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
    if !failures.is_empty() {
        print(&titled(
            "\nfailures",
            &[
                "stage",
                "commodity",
                "model_name",
                "date",
                "error_class",
                "message",
            ],
            &failures,
        ))?;
    }
    if run.is_none() {
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
            ],
            &coverage,
        ))?;
        print(&format!("\ncommodities: {}", commodities.join(", ")))?;
    }
    Ok(())
}

/// Prints the keys that rest on older input.
pub async fn stale_keys(context: &Context) -> Result<(), JobError> {
    let mut found: Vec<Value> = vec![];
    for production in sql::versions(context).await? {
        let stale = stale::stale(context, &production).await?;
        for (stage, keys) in [("model", &stale.models), ("forecast", &stale.forecasts)] {
            found.extend(keys.iter().map(|stale| {
                json!({
                    "kind": stage,
                    "commodity": stale.key.commodity,
                    "model_name": stale.key.model_name,
                    "model_version": stale.key.model_version,
                    "date": date::format(stale.key.date),
                    "input_digest": stale.input_digest,
                    "current_digest": stale.current_digest,
                })
            }));
        }
    }
    if context.settings.json {
        return print_json(&json!({"stale": found}));
    }
    if found.is_empty() {
        return print("nothing rests on older input");
    }
    print(&titled(
        "stale",
        &["kind", "commodity", "model_name", "model_version", "date"],
        &found,
    ))?;
    print("\nmake them again with `almanac backfill … --revise` over their dates")
}

async fn coverage_of(context: &Context) -> Result<Vec<Value>, JobError> {
    let table = context.lake.table(TableName::Distributions).await?;
    let mut lines = vec![];
    for batch in context
        .engine
        .query(coverage(&context.source(&table))?)
        .await?
    {
        let rows = Rows(&batch);
        for row in 0..rows.len() {
            let (first, last) = (rows.day("first_date", row)?, rows.day("last_date", row)?);
            lines.push(json!({
                "commodity": rows.text("commodity", row)?,
                "model_name": rows.text("model_name", row)?,
                "model_version": rows.text("model_version", row)?,
                "present": rows.number("dates", row)?,
                "wanted": last - first + 1,
                "first_date": date::format(first),
                "last_date": date::format(last),
            }));
        }
    }
    Ok(lines)
}

async fn objects(context: &Context, query: &str) -> Result<Vec<Value>, JobError> {
    let batches = sql::rows(context, query, &[]).await?;
    let text = crate::report::rows_as_json(&batches)?;
    serde_json::from_str(&text).map_err(|error| JobError::ours(error.to_string()))
}
