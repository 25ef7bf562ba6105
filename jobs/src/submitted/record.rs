//! What is known of a submitted job.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use crate::process::Process;

/// The record's file in the job's folder.
pub const FILE: &str = "job.json";

/// A submitted job's name: nine letters and digits that sort by when it was submitted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(String);

/// Digits in ascending order, without those that are taken for others.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const LENGTH: usize = 9;

impl JobId {
    /// The id of a moment, in milliseconds since 1970.
    pub fn of_millis(millis: u64) -> Self {
        let digit = |place: usize| DIGITS[(millis >> (5 * place) & 31) as usize] as char;
        Self((0..LENGTH).rev().map(digit).collect())
    }
}

impl FromStr for JobId {
    type Err = String;

    /// Anything else than an id is refused: it becomes the name of a folder.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() == LENGTH && text.bytes().all(|byte| DIGITS.contains(&byte)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("`{}` is no job's id", text.escape_default()))
        }
    }
}

impl TryFrom<String> for JobId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// How far a job has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It waits for a driver.
    Queued,
    /// A driver is at it.
    Running,
    /// Every unit succeeded or was skipped.
    Succeeded,
    /// Some units failed, the rest is committed.
    Partly,
    /// It did not do what it was asked.
    Failed,
    /// It was told to end.
    Cancelled,
}

impl State {
    /// Whether it stays so.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }

    /// The word in records.
    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Partly => "partly",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A submitted job. Moments are RFC 3339, UTC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// The job's name and its flags.
    pub arguments: Vec<String>,
    /// The lake.
    pub lake: String,
    /// `--slices`, when the submitter wants a certain number.
    pub slices: Option<usize>,
    /// How far it has come.
    pub state: State,
    /// Whether somebody asked for its end.
    pub cancel_requested: bool,
    /// The exit code of the driver that ended by itself.
    pub exit_code: Option<u8>,
    /// Why it failed.
    pub reason: Option<String>,
    /// Drivers started so far.
    pub attempts: u32,
    /// Drivers that were ended by something else than themselves or us.
    pub deaths: u32,
    /// The driver at work.
    pub process: Option<Process>,
    /// The run of the last driver, for `almanac status RUN`.
    pub run_id: Option<String>,
    /// When it was submitted.
    pub submitted_at: String,
    /// When its first driver started.
    pub started_at: Option<String>,
    /// When it came to its end.
    pub finished_at: Option<String>,
    /// The counts in its result.
    pub counts: BTreeMap<String, u64>,
}

/// Now, as records have it.
pub fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true)
}

impl Job {
    /// The job's name: `backfill`.
    pub fn command(&self) -> &str {
        self.arguments.first().map_or("", String::as_str)
    }

    /// Seconds from its first driver's start to its end, or until now.
    pub fn seconds(&self) -> Option<i64> {
        let moment = |text: &String| DateTime::parse_from_rfc3339(text).ok();
        let started = self.started_at.as_ref().and_then(moment)?;
        let finished = match &self.finished_at {
            Some(text) => moment(text)?,
            None => Utc::now().fixed_offset(),
        };
        Some((finished - started).num_seconds())
    }

    /// Whether it came to its end longer ago than this.
    pub fn finished_before(&self, moment: DateTime<Utc>) -> bool {
        let finished = self.finished_at.as_ref();
        finished
            .and_then(|text| DateTime::parse_from_rfc3339(text).ok())
            .is_some_and(|finished| finished < moment)
    }

    /// Reads the record in a folder.
    pub fn read(folder: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(folder.join(FILE))?)?)
    }

    /// Puts the record in its place, whole or not at all.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let new = folder.join("job.json.new");
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()?;
        fs::rename(&new, folder.join(FILE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_nothing_else_is_one() {
        let millis = [
            0,
            31,
            32,
            1_795_000_000_000,
            1_795_000_000_001,
            (1 << 45) - 1,
        ];
        let ids = millis.map(JobId::of_millis);
        assert!(ids.is_sorted(), "{ids:?}");
        for id in &ids {
            assert_eq!(id.to_string().parse().as_ref(), Ok(id));
        }
        for text in [
            "",
            "..",
            "1kb2x9d0",
            "1kb2x9d0a0",
            "1kb2x9d0i",
            "1KB2X9D0A",
            "../../etc",
            "1kb2/9d0a",
        ] {
            assert!(text.parse::<JobId>().is_err(), "{text}");
        }
    }
}
