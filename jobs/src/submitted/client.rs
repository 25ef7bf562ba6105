//! The submitter's side: requests to the scheduler about jobs.

use std::time::Duration;

use almanac_executor::EngineError;
use almanac_executor::cluster::Control;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::record::Job;
use super::submission::Submission;
use crate::error::JobError;

const PATH: &str = "/almanac/v1/jobs";
/// Seconds that the scheduler holds a request for more of a log.
const WAIT_SECONDS: u64 = 10;
/// Pauses before a follower asks again a scheduler that does not answer.
const PAUSES: [u64; 6] = [1, 2, 4, 8, 15, 30];

/// A job, and what it printed as its result.
#[derive(Debug, Clone, Deserialize)]
pub struct Shown {
    /// The record.
    pub job: Job,
    /// The result, once there is one.
    pub result: Option<Value>,
}

#[derive(Deserialize)]
struct Listed {
    jobs: Vec<Job>,
}

#[derive(Deserialize)]
struct Piece {
    text: String,
    next: u64,
    ended: bool,
}

/// Hands a job in.
pub async fn submit(control: &Control, submission: &Submission) -> Result<Job, JobError> {
    understood(control.call("POST", PATH, Some(json!(submission))).await?)
}

/// The newest jobs, the newest first.
pub async fn list(control: &Control, limit: usize) -> Result<Vec<Job>, JobError> {
    let answer = control
        .call("GET", &format!("{PATH}?limit={limit}"), None)
        .await?;
    understood(answer).map(|Listed { jobs }| jobs)
}

/// One job.
pub async fn show(control: &Control, id: &str) -> Result<Shown, JobError> {
    understood(control.call("GET", &path(id)?, None).await?)
}

/// Asks for a job's end.
pub async fn cancel(control: &Control, id: &str) -> Result<Job, JobError> {
    let path = format!("{}/cancel", path(id)?);
    understood(control.call("POST", &path, None).await?)
}

/// Prints a job's log to standard error: what there is of it, or all until the job has ended.
pub async fn follow(control: &Control, id: &str, to_its_end: bool) -> Result<Shown, JobError> {
    let path = path(id)?;
    let wait = if to_its_end { WAIT_SECONDS } else { 0 };
    let mut from = 0;
    loop {
        let request = format!("{path}/log?from={from}&wait={wait}");
        let answer = patiently(control, &request, to_its_end).await?;
        let piece: Piece = understood(answer)?;
        eprint!("{}", piece.text);
        from = piece.next;
        if piece.ended || (!to_its_end && piece.text.is_empty()) {
            return understood(patiently(control, &path, to_its_end).await?);
        }
    }
}

/// Asks again for a while when the scheduler does not answer: it may be starting anew.
async fn patiently(control: &Control, path: &str, patient: bool) -> Result<Value, EngineError> {
    let mut pauses = PAUSES.iter().filter(|_| patient);
    loop {
        let answer = control.call("GET", path, None).await;
        let (Err(EngineError::SchedulerLost { reason, .. }), Some(pause)) =
            (&answer, pauses.next())
        else {
            return answer;
        };
        tracing::warn!(reason, "the scheduler is asked again in {pause} s");
        sleep(Duration::from_secs(*pause)).await;
    }
}

/// Only letters and digits become part of a request.
fn path(id: &str) -> Result<String, JobError> {
    if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(format!("{PATH}/{id}"));
    }
    Err(JobError::user(
        format!("`{}` is no job's id", id.escape_debug()),
        "`almanac jobs` lists them",
    ))
}

fn understood<T: DeserializeOwned>(answer: Value) -> Result<T, JobError> {
    serde_json::from_value(answer).map_err(|error| {
        JobError::user(
            format!("the scheduler's answer is not understood: {error}"),
            "client and scheduler should be of one version (`almanac --version`)",
        )
    })
}
