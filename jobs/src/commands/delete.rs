//! `delete`: whole forecasts, so that they can be made again.

use serde_json::Value;

use crate::cli::{KeyArgs, ShapeArgs};
use crate::commands::range::arguments;
use crate::context::{Context, parse_date};
use crate::error::JobError;
use crate::produce::Tally;
use crate::report::{print, print_json};
use crate::runs::{Run, Status};
use crate::settings::Settings;
use crate::{care, request};

/// Deletes the forecasts of a range.
pub async fn delete(settings: Settings, args: KeyArgs) -> Result<Status, JobError> {
    let context = Context::open(settings).await?;
    let shape = ShapeArgs {
        paths: 1,
        horizon: 1,
        frequency: "monthly".to_owned(),
    };
    let range = (parse_date(&args.start)?, parse_date(&args.end)?);
    let production = request::production(&context, &args.selection, &shape, range).await?;
    let run = Run::begin("delete", arguments(&production)?);
    let mut tally = Tally::default();
    let deleted = care::delete(&context, &production, &mut tally).await;
    let (outcome, deleted) = match deleted {
        Ok(deleted) => (Ok(()), deleted),
        Err(error) => (Err(error), Value::Null),
    };
    let (mut result, status) = run.end(&context, tally, outcome).await?;
    result["deleted"] = deleted["deleted"].clone();
    if context.settings.json {
        print_json(&result)?;
    } else {
        print(&format!(
            "deleted {} forecasts; they can be made again",
            result["deleted"]
        ))?;
    }
    Ok(status)
}
