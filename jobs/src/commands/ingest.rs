//! `ingest`: files into `unified_data`.

use serde_json::{Value, json};

use crate::cli::IngestArgs;
use crate::context::Context;
use crate::error::JobError;
use crate::ingest::{self, IngestReport, IngestRequest, Read};
use crate::produce::Tally;
use crate::report::{print, print_json, titled};
use crate::runs::{Run, Status};
use crate::settings::Settings;
use crate::status;

/// Stale keys that are named; the others are counted.
const NAMED: usize = 1000;
/// Of these, as many are shown to people.
const SHOWN: usize = 20;

/// Takes files in, and says what changed and what rests on older input now.
pub async fn ingest_files(settings: Settings, args: IngestArgs) -> Result<Status, JobError> {
    let context = Context::open(settings).await?;
    let request = IngestRequest {
        files: args.files,
        map: args.map,
        commodity: args.commodity,
        region: args.region,
        rejects: args.rejects,
        allow_rejects: args.allow_rejects,
    };
    let arguments =
        serde_json::to_value(&request).map_err(|error| JobError::ours(error.to_string()))?;
    // A file that is refused is no run: it changes nothing.
    let rows = ingest::read(&context.lake, &request).await?;
    let (run, mut tally) = Run::begin(&context, "ingest", arguments).await?;
    let (outcome, mut result) = match stored(&context, rows, &mut tally).await {
        Ok(result) => (Ok(()), result),
        Err(error) => (Err(error), Value::Null),
    };
    let (summary, status) = run.end(&context, tally, outcome).await?;
    result["run_id"] = summary["run_id"].clone();
    if context.settings.json {
        print_json(&result)?;
    } else {
        print(&for_people(&result))?;
    }
    Ok(status)
}

async fn stored(context: &Context, rows: Read, tally: &mut Tally) -> Result<Value, JobError> {
    let report = ingest::store(&context.lake, rows, &context.stamp.run_id).await?;
    let failed = |error: serde_json::Error| JobError::ours(error.to_string());
    let mut result = serde_json::to_value(&report).map_err(failed)?;
    result["stale"] = json!({"count": 0, "keys": []});
    if let Some(version) = report.version {
        tally.committed(almanac_delta::TableName::UnifiedData, version);
        let stale = stale(context, &report).await.map_err(|error| match error {
            JobError::User { message, hint } => JobError::User {
                message: told(version, &message),
                hint,
            },
            JobError::Ours { message } => JobError::ours(told(version, &message)),
        })?;
        result["stale"] = json!({"count": stale.len(), "keys": stale.into_iter().take(NAMED).collect::<Vec<_>>()});
    }
    Ok(result)
}

fn told(version: u64, message: &str) -> String {
    format!(
        "the rows are stored, as version {version}; what rests on older input could not be named: {message}"
    )
}

/// What was made from other values than are there now.
async fn stale(context: &Context, report: &IngestReport) -> Result<Vec<Value>, JobError> {
    let mut stale = status::stale_since(context, &report.touched).await?;
    stale.retain(|key| {
        let commodity = key["commodity"].as_str().unwrap_or_default();
        report.touched.contains_key(commodity)
    });
    Ok(stale)
}

fn for_people(result: &Value) -> String {
    let mut lines = vec![format!(
        "rows read {}, added {}, changed {}, unchanged {}, rejected {}",
        result["rows_read"],
        result["added"],
        result["changed"],
        result["unchanged"],
        result["rejected"]
    )];
    if let Some(file) = result["rejects_file"].as_str() {
        lines.push(format!("rejected rows are in {file}"));
    }
    let keys = result["stale"]["keys"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    if !keys.is_empty() {
        let count = result["stale"]["count"].as_u64().unwrap_or_default();
        let shown = &keys[..keys.len().min(SHOWN)];
        lines.push(titled(
            &format!("\n{count} keys rest on older input"),
            &["kind", "commodity", "model_name", "model_version", "date"],
            shown,
        ));
        if count > shown.len() as u64 {
            lines.push(format!(
                "… and {} more: `almanac status --stale`",
                count - shown.len() as u64
            ));
        }
        lines
            .push("make them again with `almanac backfill … --revise` over their dates".to_owned());
    }
    lines.join("\n")
}
