//! `delete`: whole forecasts, so that they can be made again.

use serde_json::{Value, json};

use crate::cli::KeyArgs;
use crate::context::{Context, parse_date};
use crate::error::JobError;
use crate::report::{print, print_json};
use crate::runs::{Run, Status};
use crate::settings::Settings;
use crate::{care, request};

/// Deletes the forecasts of a range.
pub async fn delete(settings: Settings, args: KeyArgs) -> Result<Status, JobError> {
    let context = Context::open_here(settings).await?;
    let range = (parse_date(&args.start)?, parse_date(&args.end)?);
    let keys = request::stored_keys(&context, &args.selection, range).await?;
    let arguments = json!({
        "commodities": keys.commodities,
        "models": keys.model_names,
        "model_version": keys.model_version,
        "start": args.start,
        "end": args.end,
    });
    let (run, mut tally) = Run::begin(&context, "delete", arguments).await?;
    let deleted = care::delete(&context, &keys, &mut tally).await;
    let (outcome, deleted) = match deleted {
        Ok(deleted) => {
            tally.count(&deleted, &["deleted", "points_deleted"]);
            (Ok(()), deleted)
        }
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
