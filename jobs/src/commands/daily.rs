//! `daily`: what is due on one day.

use almanac_udfs::forecasters::date;
use serde_json::json;

use crate::cli::DailyArgs;
use crate::commands::range::arguments;
use crate::context::{Context, parse_date, today};
use crate::error::JobError;
use crate::report::{print, print_json};
use crate::runs::{Run, Status};
use crate::settings::Settings;
use crate::{daily, request};

/// Runs the daily job, and prints its summary.
pub async fn daily_job(settings: Settings, args: DailyArgs) -> Result<Status, JobError> {
    let day = args
        .date
        .as_deref()
        .map_or_else(|| Ok(today()), parse_date)?;
    let context = Context::open(settings).await?;
    let production = request::production(
        &context,
        &args.selection,
        &args.cadence,
        &args.shape,
        (day, day),
    )
    .await?;
    let (run, mut tally) = Run::begin(&context, "daily", arguments(&production)?).await?;
    let done = async {
        daily::run(&context, &production, args.allow_stale, &mut tally).await?;
        daily::cadence(&context, &production, &mut tally).await
    };
    let (outcome, cadence) = match done.await {
        Ok(cadence) => (Ok(()), cadence),
        Err(error) => (Err(error), vec![]),
    };
    let (mut result, status) = run.end(&context, tally, outcome).await?;
    result["cadence"] = json!(cadence);
    result["date"] = json!(date::format(day));
    if context.settings.json {
        print_json(&result)?;
    } else {
        print(&daily::summary(&result))?;
    }
    Ok(status)
}
