//! `ingest`: files into `unified_data`.

use almanac_delta::TableName;
use serde_json::Value;

use crate::cli::IngestArgs;
use crate::context::Context;
use crate::error::JobError;
use crate::ingest::{self, IngestRequest, Read};
use crate::produce::Tally;
use crate::report::{merged, print, print_json};
use crate::runs::{Run, Status};
use crate::settings::Settings;
use crate::status::{self, stale_lines, stale_summary};

/// Takes files in, and says what changed and what rests on older input now.
pub async fn ingest_files(settings: Settings, args: IngestArgs) -> Result<Status, JobError> {
    let context = Context::open_here(settings).await?;
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
    let (outcome, result) = match stored(&context, rows, &mut tally).await {
        Ok(result) => (Ok(()), result),
        Err(error) => (Err(error), Value::Null),
    };
    let (summary, status) = run.end(&context, tally, outcome).await?;
    let result = merged(summary, result);
    if context.settings.json {
        print_json(&result)?;
    } else {
        print(&for_people(&result))?;
    }
    Ok(status)
}

async fn stored(context: &Context, rows: Read, tally: &mut Tally) -> Result<Value, JobError> {
    let report = ingest::store(&context.lake, rows, &context.stamp.run_id).await?;
    let mut result =
        serde_json::to_value(&report).map_err(|error| JobError::ours(error.to_string()))?;
    let counted = ["rows_read", "added", "changed", "unchanged", "rejected"];
    tally.count(&result, &counted);
    tally.read(TableName::UnifiedData, report.read);
    result["stale"] = stale_summary(vec![]);
    if let Some(version) = report.version {
        tally.committed(TableName::UnifiedData, version);
        let stale = status::stale_since(context, &report.touched);
        let stale = stale.await.map_err(|error| {
            error.after(format!(
                "the rows are stored, as version {version}; what rests on older input could not be named"
            ))
        })?;
        result["stale"] = stale_summary(stale);
    }
    Ok(result)
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
    lines.extend(stale_lines(&result["stale"]));
    lines.join("\n")
}
