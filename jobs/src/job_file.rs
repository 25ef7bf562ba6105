//! Job files: a job with its arguments and what happens when it fails, for whatever starts jobs on
//! its day.

mod hook;

use std::path::{Path, PathBuf};

use almanac_udfs::forecasters::nearest;
use serde::Deserialize;
use toml::{Table, Value};

pub use hook::{OnFailure, Report};

use crate::cli::{Flag, FlagKind, JobLine};
use crate::error::JobError;

/// The keys of a job file and of its table `on_failure`.
const KEYS: [&str; 6] = [
    "command",
    "lake",
    "cluster",
    "submit",
    "arguments",
    "on_failure",
];
const HOOK_KEYS: [&str; 3] = ["command", "webhook", "when"];

/// A job file, understood.
#[derive(Debug)]
pub struct JobFile {
    /// The file's name without its ending: `daily-coffee`.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// The lake, unless a flag or the environment names one.
    pub lake: Option<String>,
    /// The cluster, unless a flag or the environment names one.
    pub cluster: Option<String>,
    /// Whether the job is handed to the cluster's scheduler.
    pub submit: bool,
    /// The job.
    pub line: JobLine,
    /// What happens when it fails.
    pub on_failure: Option<OnFailure>,
}

#[derive(Deserialize)]
struct Content {
    command: String,
    lake: Option<String>,
    cluster: Option<String>,
    #[serde(default)]
    submit: bool,
    #[serde(default)]
    arguments: Table,
    on_failure: Option<Table>,
}

impl JobFile {
    /// Reads a file, with these arguments in place of its own. `${NAME}` in a hook is taken from
    /// `environment`.
    pub fn read(
        path: &Path,
        overrides: &[(String, String)],
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, JobError> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            JobError::user(
                format!("cannot read the job file {}: {error}", path.display()),
                "name a file that is there; docs/jobs.md says what stands in it",
            )
        })?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        Self::parse(&text, path, overrides, environment)
            .map(|file| Self {
                name: name.into_owned(),
                ..file
            })
            .map_err(|error| error.after(format!("job file {}", path.display())))
    }

    fn parse(
        text: &str,
        path: &Path,
        overrides: &[(String, String)],
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, JobError> {
        let wrong = |error: &toml::de::Error| {
            let place = error.span().map(|span| {
                let line = text[..span.start].matches('\n').count() + 1;
                format!("line {line}: ")
            });
            JobError::user(
                format!("{}{}", place.unwrap_or_default(), error.message()),
                "docs/jobs.md says what stands in a job file",
            )
        };
        let table: Table = toml::from_str(text).map_err(|error| wrong(&error))?;
        known(table.keys(), &KEYS, "")?;
        let content: Content = toml::from_str(text).map_err(|error| wrong(&error))?;
        let arguments = arguments(&content.command, content.arguments, overrides)?;
        let line = JobLine::parse(&arguments).map_err(|mistake| JobError::User {
            message: mistake.message,
            hint: Some(mistake.hint.unwrap_or_else(|| {
                format!(
                    "`almanac {} --help` shows what it can be told",
                    content.command
                )
            })),
        })?;
        let on_failure = match content.on_failure {
            Some(table) => {
                known(table.keys(), &HOOK_KEYS, "on_failure.")?;
                Some(OnFailure::parse(table, environment)?)
            }
            None => None,
        };
        Ok(Self {
            name: String::new(),
            path: path.to_owned(),
            lake: content.lake,
            cluster: content.cluster,
            submit: content.submit,
            line,
            on_failure,
        })
    }
}

/// Refuses keys that are not among these, with the nearest that is.
fn known<'a>(
    keys: impl Iterator<Item = &'a String>,
    among: &[&str],
    table: &str,
) -> Result<(), JobError> {
    for key in keys {
        if !among.contains(&key.as_str()) {
            return Err(unknown(&format!("{table}{key}"), key, among));
        }
    }
    Ok(())
}

fn unknown(shown: &str, key: &str, among: &[&str]) -> JobError {
    let hint = nearest(key, among.iter().copied()).map_or_else(
        || format!("one of {}", among.join(", ")),
        |nearest| format!("did you mean `{nearest}`?"),
    );
    JobError::user(format!("unknown key `{shown}`"), hint)
}

/// The job's command line.
fn arguments(
    job: &str,
    table: Table,
    overrides: &[(String, String)],
) -> Result<Vec<String>, JobError> {
    let names = JobLine::names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let flags = JobLine::flags(job).ok_or_else(|| {
        let hint = nearest(job, names.iter().copied()).map_or_else(
            || format!("one of {}", names.join(", ")),
            |nearest| format!("did you mean `{nearest}`?"),
        );
        JobError::user(format!("no job `{job}`"), hint)
    })?;
    let mut given: Vec<(Flag, String, Value)> = vec![];
    for (key, value) in table {
        let flag = flag(&flags, &key, "arguments.")?;
        if given.iter().any(|(other, ..)| *other == flag) {
            return Err(JobError::user(
                format!("`arguments.{key}` is there twice, with a dash and with an underscore"),
                "leave one of them out",
            ));
        }
        given.push((flag, format!("arguments.{key}"), value));
    }
    for (key, text) in overrides {
        let flag = flag(&flags, key, "")?;
        given.retain(|(other, ..)| *other != flag);
        let value = match (flag.kind, text.as_str()) {
            (FlagKind::Switch, "true") => Value::Boolean(true),
            (FlagKind::Switch, "false") => Value::Boolean(false),
            _ => Value::String(text.clone()),
        };
        given.push((flag, key.clone(), value));
    }
    let mut line = vec![job.to_owned()];
    let mut places = vec![];
    for (flag, key, value) in given {
        match (flag.kind, value) {
            (FlagKind::Switch, Value::Boolean(true)) => line.push(format!("--{}", flag.name)),
            (FlagKind::Switch, Value::Boolean(false)) => {}
            (FlagKind::Switch, _) => {
                return Err(JobError::user(
                    format!("`{key}` is neither true nor false"),
                    "it is a switch, such as `dry_run = true`",
                ));
            }
            (kind, Value::Array(values)) => {
                for value in values {
                    let text = text(&key, value)?;
                    match kind {
                        FlagKind::Positional => places.push(text),
                        _ => line.push(format!("--{}={text}", flag.name)),
                    }
                }
            }
            (FlagKind::Positional, value) => places.push(text(&key, value)?),
            (_, value) => line.push(format!("--{}={}", flag.name, text(&key, value)?)),
        }
    }
    if !places.is_empty() {
        line.push("--".to_owned());
        line.extend(places);
    }
    Ok(line)
}

fn flag(flags: &[Flag], key: &str, table: &str) -> Result<Flag, JobError> {
    let name = key.replace('_', "-");
    let found = flags.iter().find(|flag| flag.name == name).cloned();
    found.ok_or_else(|| {
        let known: Vec<String> = flags
            .iter()
            .map(|flag| flag.name.replace('-', "_"))
            .collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        unknown(&format!("{table}{key}"), &key.replace('-', "_"), &known)
    })
}

fn text(key: &str, value: Value) -> Result<String, JobError> {
    match value {
        Value::String(text) => Ok(text),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        Value::Datetime(date) => Ok(date.to_string()),
        Value::Boolean(_) | Value::Array(_) | Value::Table(_) => Err(JobError::user(
            format!("`{key}` is neither text, nor number, nor date, nor a list of those"),
            "such as `paths = 500` or `models = [\"naive\", \"random_walk\"]`",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str, overrides: &[(&str, &str)]) -> Result<JobFile, JobError> {
        let overrides: Vec<(String, String)> = overrides
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let environment = |name: &str| (name == "TOKEN").then(|| "s3cret".to_owned());
        JobFile::parse(text, Path::new("x.toml"), &overrides, environment)
    }

    const DAILY: &str = r#"
        command = "daily"
        lake = "s3://prices/lake"
        submit = true
        [arguments]
        commodity = "Coffee"
        models = ["naive", "random_walk"]
        model-version = "v1.0"
        paths = 500
        date = 2024-02-29
        allow_stale = false
    "#;

    #[test]
    fn a_job_file_is_the_command_line_that_it_spells() {
        let file = parsed(DAILY, &[]).unwrap();
        assert_eq!(
            file.line.arguments,
            [
                "daily",
                "--commodity=Coffee",
                "--models=naive,random_walk",
                "--model-version=v1.0",
                "--paths=500",
                "--date=2024-02-29"
            ]
        );
        assert_eq!(
            (file.lake.as_deref(), file.submit),
            (Some("s3://prices/lake"), true)
        );
        let file = parsed(
            "command = 'optimize'\n[arguments]\ntables = ['distributions']",
            &[],
        )
        .unwrap();
        assert_eq!(file.line.arguments, ["optimize", "--", "distributions"]);
        let file = parsed("command = 'vacuum'", &[]).unwrap();
        assert_eq!(file.line.arguments, ["vacuum"]);
    }

    #[test]
    fn what_is_given_with_the_command_stands_in_place_of_the_files() {
        let overrides = [
            ("date", "2024-03-01"),
            ("model_version", "v2"),
            ("models", "naive,window_mean"),
            ("allow-stale", "true"),
        ];
        let file = parsed(DAILY, &overrides).unwrap();
        for argument in [
            "--date=2024-03-01",
            "--model-version=v2",
            "--models=naive,window_mean",
            "--allow-stale",
        ] {
            let found = file
                .line
                .arguments
                .iter()
                .filter(|found| *found == argument);
            assert_eq!(found.count(), 1, "{argument} in {:?}", file.line.arguments);
        }
        assert_eq!(file.line.arguments.len(), 7);
    }

    #[test]
    fn a_mistake_is_named_with_what_was_meant() {
        let refused = |text: &str, overrides: &[(&str, &str)]| match parsed(text, overrides) {
            Err(JobError::User { message, hint }) => (message, hint.unwrap_or_default()),
            other => panic!("`{text}` is {other:?}"),
        };
        let arguments = |line: &str| format!("command = 'daily'\n[arguments]\n{line}");
        for (text, key, nearest) in [
            ("comand = 'daily'".to_owned(), "comand", "`command`"),
            ("command = 'dialy'".to_owned(), "dialy", "`daily`"),
            ("command = 'init'".to_owned(), "init", "backfill"),
            (
                arguments("comodity = 'Coffee'"),
                "arguments.comodity",
                "`commodity`",
            ),
            (
                arguments("model_versoin = 'v1'"),
                "arguments.model_versoin",
                "`model_version`",
            ),
            (arguments("lake = 'elsewhere'"), "arguments.lake", ""),
            (arguments("config = 'elsewhere'"), "arguments.config", ""),
            (
                arguments("allow_stale = 'yes'"),
                "arguments.allow_stale",
                "switch",
            ),
            (arguments("paths = true"), "arguments.paths", ""),
            (arguments("paths = [[1]]"), "arguments.paths", ""),
            (
                arguments("model-version = 'a'\nmodel_version = 'b'"),
                "arguments.model",
                "leave one",
            ),
            (
                arguments("commodity = 'Coffee'"),
                "--models",
                "almanac daily --help",
            ),
            (
                arguments("commodity = 'C'\nmodels = 'naive'\npaths = 'many'"),
                "--paths",
                "",
            ),
            ("command = 'daily".to_owned(), "line 1", ""),
            ("\nsubmit = 3\ncommand = 'vacuum'".to_owned(), "line 2", ""),
            (
                "command = 'vacuum'\n[on_failure]\nwebhok = 'http://x'".to_owned(),
                "on_failure.webhok",
                "`webhook`",
            ),
        ] {
            let (message, hint) = refused(&text, &[]);
            assert!(message.contains(key), "{text}: {message}");
            assert!(hint.contains(nearest) && !hint.is_empty(), "{text}: {hint}");
        }
        let (message, hint) = refused(DAILY, &[("dat", "2024-03-01")]);
        assert!(
            message.contains("`dat`") && hint.contains("`date`"),
            "{message} {hint}"
        );
    }
}
