//! `holidays`: days on which a calendar is open or closed.

use serde_json::json;

use crate::cli::HolidaysArgs;
use crate::context::Context;
use crate::error::JobError;
use crate::holidays;
use crate::report::{print, print_json};
use crate::runs::{Run, Status};
use crate::settings::Settings;

/// Takes the days of a file in, and says how many are new.
pub async fn change(settings: Settings, args: HolidaysArgs) -> Result<Status, JobError> {
    let context = Context::open(settings).await?;
    let days = holidays::read_file(&args.file, &context.lake.settings().holidays).await?;
    let arguments = json!({"file": args.file});
    let (run, mut tally) = Run::begin(&context, "holidays", arguments).await?;
    let (outcome, report) =
        match holidays::override_days(&context.lake, days, &context.stamp.run_id).await {
            Ok(report) => (Ok(()), Some(report)),
            Err(error) => (Err(error.into()), None),
        };
    if let Some(version) = report.and_then(|report| report.version) {
        tally.committed(almanac_delta::TableName::Calendar, version);
    }
    let (summary, status) = run.end(&context, tally, outcome).await?;
    let mut result = json!(report);
    result["run_id"] = summary["run_id"].clone();
    if context.settings.json {
        print_json(&result)?;
    } else {
        print(&format!(
            "days given {}, changed {}; forecasts that exist stay as they are",
            result["days"], result["changed"]
        ))?;
    }
    Ok(status)
}
