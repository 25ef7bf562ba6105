//! `holidays`: days on which a calendar is open or closed.

use almanac_delta::TableName;
use serde_json::{Value, json};

use crate::cli::HolidaysArgs;
use crate::context::Context;
use crate::error::JobError;
use crate::holidays;
use crate::ingest::CalendarRow;
use crate::produce::Tally;
use crate::report::{merged, print, print_json};
use crate::runs::{Run, Status};
use crate::settings::Settings;
use crate::status::{self, stale_lines, stale_summary};

/// Takes the days of a file in, and says how many are new.
pub async fn change(settings: Settings, args: HolidaysArgs) -> Result<Status, JobError> {
    let context = Context::open_here(settings).await?;
    let days = holidays::read_file(&args.file, &context.lake.settings().holidays).await?;
    let arguments = json!({"file": args.file});
    let (run, mut tally) = Run::begin(&context, "holidays", arguments).await?;
    let (outcome, result) = match changed(&context, days, &mut tally).await {
        Ok(result) => (Ok(()), result),
        Err(error) => (Err(error), Value::Null),
    };
    let (summary, status) = run.end(&context, tally, outcome).await?;
    let result = merged(summary, result);
    if context.settings.json {
        print_json(&result)?;
    } else {
        let mut lines = vec![format!(
            "days given {}, changed {}",
            result["days"], result["changed"]
        )];
        lines.extend(stale_lines(&result["stale"]));
        print(&lines.join("\n"))?;
    }
    Ok(status)
}

async fn changed(
    context: &Context,
    days: Vec<CalendarRow>,
    tally: &mut Tally,
) -> Result<Value, JobError> {
    let report = holidays::override_days(&context.lake, days, &context.stamp.run_id).await?;
    let mut result = json!(report);
    tally.count(&result, &["days", "changed"]);
    result["stale"] = stale_summary(vec![]);
    if let Some(version) = report.version {
        tally.committed(TableName::Calendar, version);
        let stale = status::stale_found(context).await.map_err(|error| {
            error.after(format!(
                "the days are stored, as version {version}; what rests on the older calendar could not be named"
            ))
        })?;
        result["stale"] = stale_summary(stale);
    }
    Ok(result)
}
