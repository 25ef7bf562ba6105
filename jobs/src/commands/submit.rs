//! `submit`: a job for a driver beside the scheduler.

use almanac_executor::cluster::Control;
use serde_json::json;

use crate::cli::SubmitArgs;
use crate::commands::jobs;
use crate::error::JobError;
use crate::report::{print, print_json};
use crate::runs::Status;
use crate::settings::Settings;
use crate::submitted::{self, Submission};

/// Hands a job in, and says how to learn what becomes of it.
pub async fn run(
    control: &Control,
    settings: &Settings,
    args: &SubmitArgs,
) -> Result<Status, JobError> {
    let submission = Submission::new(settings, &args.arguments)?;
    let job = submitted::submit(control, &submission).await?;
    if args.follow {
        if !settings.quiet {
            eprintln!(
                "job {}: ending this command ends only the following",
                job.id
            );
        }
        return jobs::show(control, settings, &job.id.to_string(), true).await;
    }
    if settings.json {
        print_json(&json!(job))?;
    } else {
        print(&format!(
            "submitted {} as job {id}\nnext: `almanac jobs show {id}` follows it, `almanac jobs cancel {id}` ends it",
            job.command(),
            id = job.id
        ))?;
    }
    Ok(Status::Succeeded)
}
