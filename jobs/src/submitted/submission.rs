//! What a submitter sends, and what both ends hold it to.

use std::collections::BTreeMap;
use std::time::Duration;

use almanac_delta::care::check_retention;
use almanac_udfs::forecasters::{Day, date};
use serde::{Deserialize, Serialize};

use crate::care;
use crate::catalog::{Catalog, ModelEntry};
use crate::cli::{CadenceArgs, JobCommand, JobLine, Mistake, SelectionArgs, ShapeArgs};
use crate::context::{parse_date, today};
use crate::error::JobError;
use crate::request;
use crate::settings::Settings;

/// Bytes of a submission at most. What a process may be given as arguments is twice that and more.
pub const LARGEST: usize = 512 << 10;
/// Bytes of one argument at most; Linux takes less than 128 KiB.
const LONGEST_ARGUMENT: usize = 120 << 10;

/// A job, and what its driver needs to know of the submitter's settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    /// The job's name and its flags, as [`JobLine`] writes them.
    pub arguments: Vec<String>,
    /// The lake: an absolute folder of the scheduler's host, or a URL.
    pub lake: String,
    /// `--slices`, when the submitter wants a certain number.
    #[serde(default)]
    pub slices: Option<usize>,
    /// The models of the submitter's settings file that the job names.
    #[serde(default)]
    pub models: BTreeMap<String, ModelEntry>,
}

impl Submission {
    /// A job as its submitter sends it, checked. What it leaves to the day or the folder that it is
    /// given in is settled now.
    pub fn new(settings: &Settings, arguments: &[String]) -> Result<Self, JobError> {
        let line = JobLine::parse(arguments).map_err(refused)?;
        let mut arguments = line.arguments;
        if matches!(&line.job, JobCommand::Daily(daily) if daily.date.is_none()) {
            arguments.push(format!("--date={}", date::format(today())));
        }
        let models = line.job.models().iter().filter_map(|key| {
            let entry = settings.catalog.entry(key)?;
            Some((key.clone(), entry.clone()))
        });
        let submission = Self {
            arguments,
            lake: absolute(&settings.lake.uri)?,
            slices: settings.slices,
            models: models.collect(),
        };
        submission.check()?;
        Ok(submission)
    }

    /// Refuses what could not be run anywhere, or must not be.
    pub fn check(&self) -> Result<(), JobError> {
        const LONGEST_LAKE: usize = 2048;
        if let Some(long) = self
            .arguments
            .iter()
            .find(|word| word.len() > LONGEST_ARGUMENT)
        {
            let name: String = long
                .chars()
                .take_while(|letter| *letter != '=')
                .take(40)
                .collect();
            return Err(JobError::user(
                format!(
                    "{name} has {} bytes, and a process takes {LONGEST_ARGUMENT}",
                    long.len()
                ),
                "submit several jobs; --commodity '*' is all commodities",
            ));
        }
        let line = JobLine::parse(&self.arguments).map_err(refused)?;
        let catalog = Catalog::new(self.models.clone())?;
        for key in line.job.models() {
            catalog.get(key)?;
        }
        check_job(&line.job)?;
        if self.slices == Some(0) {
            return Err(JobError::user(
                "--slices must be at least 1",
                "leave it out for the default",
            ));
        }
        let odd = self.lake.chars().any(char::is_control) || self.lake.len() > LONGEST_LAKE;
        if odd || absolute(&self.lake).ok().as_ref() != Some(&self.lake) {
            return Err(JobError::user(
                format!(
                    "`{}` is no lake that another host can find",
                    self.lake.escape_debug()
                ),
                "an absolute folder of the scheduler's host, or a URL such as s3://bucket/lake",
            ));
        }
        let authority = self.lake.split_once("://").map_or("", |(_, rest)| {
            rest.split(['/', '?', '#']).next().unwrap_or_default()
        });
        if authority.contains('@') {
            return Err(JobError::user(
                "the lake's URL holds credentials, which a submission must not",
                "the driver takes them from the environment of the scheduler's host",
            ));
        }
        self.settings_file().map(drop)
    }

    /// The settings file that the driver is given.
    pub fn settings_file(&self) -> Result<String, JobError> {
        #[derive(Serialize)]
        struct File<'a> {
            models: &'a BTreeMap<String, ModelEntry>,
        }
        let models = &self.models;
        toml::to_string(&File { models }).map_err(|error| {
            JobError::user(
                format!("the models of the submission cannot be written as settings: {error}"),
                "parameters are texts, numbers, truths, lists and tables",
            )
        })
    }
}

impl JobCommand {
    /// The keys of the models that it names.
    fn models(&self) -> &[String] {
        match self {
            Self::Train(args) => &args.keys.selection.models,
            Self::Forecast(args) => &args.train.keys.selection.models,
            Self::Backfill(args) => &args.range.train.keys.selection.models,
            Self::Daily(args) => &args.selection.models,
            Self::Optimize(_) | Self::Vacuum(_) => &[],
        }
    }
}

/// What can be checked of a job without its lake.
fn check_job(job: &JobCommand) -> Result<(), JobError> {
    let request =
        |selection: &SelectionArgs, cadence: &CadenceArgs, shape: &ShapeArgs, range: (Day, Day)| {
            request::check(selection, cadence, shape, range).map(drop)
        };
    let (train, shape) = match job {
        JobCommand::Train(train) => (train, &ShapeArgs::default()),
        JobCommand::Forecast(range) => (&range.train, &range.shape),
        JobCommand::Backfill(args) => (&args.range.train, &args.range.shape),
        JobCommand::Daily(args) => {
            let day = args
                .date
                .as_deref()
                .map_or_else(|| Ok(today()), parse_date)?;
            return request(&args.selection, &args.cadence, &args.shape, (day, day));
        }
        JobCommand::Optimize(args) => return care::tables(&args.tables).map(drop),
        JobCommand::Vacuum(args) => {
            let retention = Duration::from_secs(args.retention_hours.saturating_mul(3600));
            return Ok(check_retention(retention)?);
        }
    };
    let range = (parse_date(&train.keys.start)?, parse_date(&train.keys.end)?);
    request(&train.keys.selection, &train.cadence, shape, range)
}

/// A folder from the root on; a URL as it is.
fn absolute(lake: &str) -> Result<String, JobError> {
    if lake.contains("://") {
        return Ok(lake.to_owned());
    }
    let path = std::path::absolute(lake).map_err(|error| {
        JobError::user(
            format!("the lake `{lake}` has no absolute path: {error}"),
            "name it with --lake",
        )
    })?;
    Ok(path.to_string_lossy().into_owned())
}

fn refused(mistake: Mistake) -> JobError {
    JobError::User {
        message: mistake.message,
        hint: Some(mistake.hint.unwrap_or_else(|| {
            format!(
                "the jobs that can be submitted: {}; `almanac JOB --help` shows their flags",
                JobLine::names().join(", ")
            )
        })),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::settings::Given;

    fn settings(toml: &str, lake: &str) -> (tempfile::TempDir, Settings) {
        let folder = tempfile::tempdir().unwrap();
        let config: PathBuf = folder.path().join("almanac.toml");
        std::fs::write(&config, toml).unwrap();
        let given = Given {
            lake: Some(lake.to_owned()),
            config: Some(config),
            ..Given::default()
        };
        (folder, Settings::resolve(given).unwrap())
    }

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    const MODELS: &str = r#"
        [models.weather]
        family = "linear_regression"
        covariates = ["vix"]
        lag_days = 2
        lags = [1, 5]
        [models.other]
        family = "naive"
    "#;

    #[test]
    fn a_submission_carries_the_models_that_it_names_and_no_others() {
        let (_folder, settings) = settings(MODELS, "s3://prices/lake");
        let line = words("daily --commodity Coffee --models weather,naive --date 2024-02-29");
        let sent = Submission::new(&settings, &line).unwrap();
        assert_eq!(sent.models.keys().collect::<Vec<_>>(), ["weather"]);
        let sent = serde_json::to_vec(&sent).unwrap();
        let received: Submission = serde_json::from_slice(&sent).unwrap();
        received.check().unwrap();

        let given = received.settings_file().unwrap();
        let (_folder, driver) = self::settings(&given, "elsewhere");
        let spec = |settings: &Settings| settings.catalog.get("weather").unwrap().spec.clone();
        assert_eq!(spec(&driver), spec(&settings));
        assert_eq!(driver.catalog.entry("other"), None);
    }

    #[test]
    fn what_depends_on_the_submitters_day_and_folder_is_settled() {
        let (_folder, settings) = settings("", "./lake");
        let line = words("daily --commodity Coffee --models naive");
        let sent = Submission::new(&settings, &line).unwrap();
        let here = std::env::current_dir().unwrap().join("lake");
        assert_eq!(sent.lake, here.to_string_lossy());
        let last = sent.arguments.last().unwrap();
        assert!(last.starts_with("--date=2"), "{last}");
    }

    #[test]
    fn an_argument_that_no_process_takes_is_refused() {
        let (_folder, settings) = settings("", "/lake");
        let many = vec!["Coffee"; 20_000].join(",");
        let line = format!("daily --commodity {many} --models naive");
        let refused = Submission::new(&settings, &words(&line)).unwrap_err();
        let said = refused.to_string();
        assert!(said.starts_with("--commodity has 140011 bytes"), "{said}");
    }

    #[test]
    fn what_cannot_be_run_or_must_not_be_is_refused_by_both_ends() {
        let (_folder, settings) = settings("", "/lake");
        let good = "backfill --commodity Coffee --models naive --start 2020-01-01 --end 2020-01-31";
        Submission::new(&settings, &words(good)).unwrap();
        for line in [
            "sql SELECT",
            "backfill --commodity Coffee",
            "backfill --commodity C --models naiv --start 2020-01-01 --end 2020-01-31",
            "backfill --commodity C --models naive --start 2020-01-32 --end 2020-01-31",
            "backfill --commodity C --models naive --start 2020-02-01 --end 2020-01-31",
            "train --commodity C --models naive --start 2020-01-01 --end 2020-01-31 --frequency often",
            "daily --commodity C --models naive --horizon 15",
            "optimize nothing",
            "vacuum --retention-hours 1",
            "vacuum --config /etc/passwd",
        ] {
            let refused = Submission::new(&settings, &words(line)).unwrap_err();
            assert_eq!(refused.exit_code(), 1, "{line}: {refused}");
            let sent = Submission {
                arguments: words(line),
                lake: "/lake".to_owned(),
                slices: None,
                models: BTreeMap::new(),
            };
            assert_eq!(sent.check().unwrap_err().exit_code(), 1, "{line}");
        }
        for lake in [
            "",
            "lake",
            "../lake",
            "s3://key:secret@bucket/lake",
            "/lake\n",
        ] {
            let sent = Submission {
                arguments: words("vacuum"),
                lake: lake.to_owned(),
                slices: None,
                models: BTreeMap::new(),
            };
            let refused = sent.check().unwrap_err();
            assert_eq!(refused.exit_code(), 1, "{lake}");
            assert!(!refused.to_string().contains("secret"));
        }
    }
}
