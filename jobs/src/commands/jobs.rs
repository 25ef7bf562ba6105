//! `jobs`: what has become of submitted jobs.

use almanac_executor::cluster::Control;
use serde_json::json;

use crate::cli::{JobsArgs, JobsCommand};
use crate::commands::print_result;
use crate::error::JobError;
use crate::report::{aligned, print, print_json};
use crate::runs::Status;
use crate::settings::Settings;
use crate::submitted::{self, Job, Shown, State};

/// Counts that the list shows, where they are not zero.
const COUNTS: [(&str, &str); 8] = [
    ("trained", "trained"),
    ("train_failed", "trainings failed"),
    ("forecasts", "forecasts"),
    ("forecast_skipped", "skipped"),
    ("forecast_failed", "failed"),
    ("revised", "revised"),
    ("files_merged", "files merged"),
    ("files", "files removed"),
];

/// Lists jobs, shows one, or cancels it.
pub async fn run(
    control: &Control,
    settings: &Settings,
    args: &JobsArgs,
) -> Result<Status, JobError> {
    match &args.command {
        None => {
            let jobs = submitted::list(control, args.limit).await?;
            if settings.json {
                print_json(&json!({"jobs": jobs}))?;
            } else {
                print(&listed(&jobs))?;
            }
            Ok(Status::Succeeded)
        }
        Some(JobsCommand::Show { id, no_follow }) => show(control, settings, id, !no_follow).await,
        Some(JobsCommand::Cancel { id }) => {
            let job = submitted::cancel(control, id).await?;
            if settings.json {
                print_json(&json!(job))?;
            } else {
                print(&match job.state {
                    State::Queued | State::Running => {
                        format!("job {id} is told to end; `almanac jobs show {id}` waits for it")
                    }
                    State::Cancelled => format!("job {id} is cancelled"),
                    ended => format!("job {id} has ended already: {}", ended.word()),
                })?;
            }
            Ok(Status::Succeeded)
        }
    }
}

/// Shows a job: its log on standard error, then its result. One that is followed gives its exit code.
pub async fn show(
    control: &Control,
    settings: &Settings,
    id: &str,
    to_its_end: bool,
) -> Result<Status, JobError> {
    // Whether there is such a job is asked once; a scheduler that goes away later may come back.
    submitted::show(control, id).await?;
    let shown = submitted::follow(control, id, to_its_end).await?;
    if settings.json {
        print_json(&json!({"job": shown.job, "result": shown.result}))?;
    } else {
        print(&listed(std::slice::from_ref(&shown.job)))?;
        if let Some(result) = &shown.result {
            print_result(shown.job.command(), result, false)?;
        }
    }
    if to_its_end {
        outcome(&shown)
    } else {
        Ok(Status::Succeeded)
    }
}

/// What a command that has waited for a job leaves with.
pub fn outcome(Shown { job, .. }: &Shown) -> Result<Status, JobError> {
    let (id, reason) = (&job.id, job.reason.as_deref().unwrap_or_default());
    match (job.state, job.exit_code) {
        (State::Succeeded, _) => Ok(Status::Succeeded),
        (State::Partly, _) => Ok(Status::Partial),
        (State::Cancelled, _) => Err(JobError::user(
            format!("job {id} was cancelled"),
            "submit it again: what is committed is skipped",
        )),
        // Its driver has said why, in the log.
        (State::Failed, Some(1)) => Err(JobError::Told { exit_code: 1 }),
        (State::Failed, Some(2)) => Err(JobError::Told { exit_code: 2 }),
        (State::Failed, _) => Err(JobError::ours(format!("job {id} failed: {reason}"))),
        (State::Queued | State::Running, _) => Err(JobError::ours(format!(
            "job {id} has not ended: {}",
            job.state.word()
        ))),
    }
}

fn listed(jobs: &[Job]) -> String {
    let rows: Vec<Vec<String>> = jobs
        .iter()
        .map(|job| {
            let counts: Vec<String> = COUNTS
                .iter()
                .filter_map(|(name, label)| {
                    let count = job.counts.get(*name).filter(|count| **count > 0)?;
                    Some(format!("{label} {count}"))
                })
                .collect();
            let result = match &job.reason {
                Some(reason) => reason.clone(),
                None if job.cancel_requested && !job.state.is_final() => {
                    "is told to end".to_owned()
                }
                None => counts.join(", "),
            };
            vec![
                job.id.to_string(),
                job.state.word().to_owned(),
                job.command().to_owned(),
                job.lake.clone(),
                job.submitted_at.clone(),
                job.seconds().map(duration).unwrap_or_default(),
                result,
            ]
        })
        .collect();
    aligned(
        &[
            "job",
            "state",
            "command",
            "lake",
            "submitted",
            "ran for",
            "result",
        ],
        &rows,
    )
}

fn duration(seconds: i64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        let seconds = [0, 59, 60, 3599, 3600, 90_061];
        assert_eq!(
            seconds.map(duration),
            [
                "0 s",
                "59 s",
                "1 min 0 s",
                "59 min 59 s",
                "1 h 0 min",
                "25 h 1 min"
            ]
        );
    }
}
