//! A job's own command line: a name and its flags, without any of the flags that say where and how it
//! runs. Files and submissions are held to it.

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches, Parser};

use super::{JobCommand, Mistake};

/// A command line that can be nothing but a job.
#[derive(Debug, Parser)]
#[command(
    name = "almanac",
    no_binary_name = true,
    disable_help_flag = true,
    disable_help_subcommand = true
)]
struct Line {
    #[command(subcommand)]
    job: JobCommand,
}

/// A job, and the arguments that ask for it.
#[derive(Debug)]
pub struct JobLine {
    /// What is asked for.
    pub job: JobCommand,
    /// The job's name, then what was given, each flag once: `--models=naive,random_walk`.
    pub arguments: Vec<String>,
}

/// What a job can be told in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// Its long name, without dashes.
    pub name: String,
    /// How it is given.
    pub kind: FlagKind,
}

/// How a flag is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlagKind {
    /// By its name alone.
    Switch,
    /// With a value.
    Value,
    /// By its place.
    Positional,
}

impl JobLine {
    /// Reads a job's arguments; the first is its name.
    pub fn parse(arguments: &[String]) -> Result<Self, Mistake> {
        let matches = Line::command()
            .try_get_matches_from(arguments)
            .map_err(|error| mistake(&error))?;
        let line = Line::from_arg_matches(&matches).map_err(|error| mistake(&error))?;
        Ok(Self {
            job: line.job,
            arguments: self::arguments(&matches),
        })
    }

    /// The names of the jobs.
    pub fn names() -> Vec<String> {
        Line::command()
            .get_subcommands()
            .map(|job| job.get_name().to_owned())
            .collect()
    }

    /// What a job can be told; `None` when there is no such job.
    pub fn flags(job: &str) -> Option<Vec<Flag>> {
        let command = Line::command();
        let flags = own_arguments(command.find_subcommand(job)?).map(|argument| Flag {
            name: name(argument),
            kind: match argument.get_action() {
                _ if argument.is_positional() => FlagKind::Positional,
                ArgAction::SetTrue => FlagKind::Switch,
                _ => FlagKind::Value,
            },
        });
        Some(flags.collect())
    }
}

/// The arguments of the job that a command line names as its subcommand. Defaults are left out.
pub(super) fn arguments(matches: &ArgMatches) -> Vec<String> {
    let command = Line::command();
    let Some((job, matches)) = matches.subcommand() else {
        return vec![];
    };
    let Some(command) = command.find_subcommand(job) else {
        return vec![];
    };
    let mut flags = vec![job.to_owned()];
    let mut places = vec![];
    for argument in own_arguments(command) {
        let id = argument.get_id().as_str();
        if matches.value_source(id) != Some(ValueSource::CommandLine) {
            continue;
        }
        let values: Vec<String> = matches
            .get_raw(id)
            .into_iter()
            .flatten()
            .map(|value| value.to_string_lossy().into_owned())
            .collect();
        let name = name(argument);
        if argument.is_positional() {
            places.extend(values);
        } else if matches!(argument.get_action(), ArgAction::SetTrue) {
            flags.push(format!("--{name}"));
        } else if let Some(delimiter) = argument.get_value_delimiter() {
            flags.push(format!("--{name}={}", values.join(&delimiter.to_string())));
        } else {
            flags.extend(values.iter().map(|value| format!("--{name}={value}")));
        }
    }
    if !places.is_empty() {
        flags.push("--".to_owned());
        flags.extend(places);
    }
    flags
}

fn own_arguments(job: &Command) -> impl Iterator<Item = &Arg> {
    job.get_arguments().filter(|argument| {
        !matches!(
            argument.get_action(),
            ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
        )
    })
}

fn name(argument: &Arg) -> String {
    argument
        .get_long()
        .unwrap_or(argument.get_id().as_str())
        .to_owned()
}

fn mistake(error: &clap::Error) -> Mistake {
    if error.use_stderr() {
        return Mistake::from(error);
    }
    Mistake {
        message: "a job is asked for, and this asks for help".to_owned(),
        hint: Some("`almanac COMMAND --help` shows a job's flags".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<JobLine, Mistake> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        JobLine::parse(&words)
    }

    #[test]
    fn a_job_is_written_as_it_was_given_each_flag_once() {
        for (given, written) in [
            (
                "backfill --models naive --commodity Coffee,Sugar --models=random_walk --start 2020-01-01 \
                 --end 2020-01-31 --refit-failed",
                "backfill --commodity=Coffee,Sugar --models=naive,random_walk --start=2020-01-01 \
                 --end=2020-01-31 --refit-failed",
            ),
            (
                "daily --commodity=-1 --models naive --paths 20",
                "daily --commodity=-1 --models=naive --paths=20",
            ),
            (
                "optimize distributions point_forecasts",
                "optimize -- distributions point_forecasts",
            ),
            ("optimize", "optimize"),
            ("vacuum --dry-run", "vacuum --dry-run"),
        ] {
            let line = parsed(given).unwrap();
            let written: Vec<&str> = written.split_whitespace().collect();
            assert_eq!(line.arguments, written, "{given}");
            let again = JobLine::parse(&line.arguments).unwrap();
            assert_eq!(again.arguments, line.arguments, "{given}");
            assert_eq!(format!("{:?}", again.job), format!("{:?}", line.job));
        }
    }

    #[test]
    fn what_is_no_job_or_says_where_it_runs_is_refused() {
        for line in [
            "",
            "init",
            "sql SELECT",
            "delete --commodity Coffee --models naive --start 2020-01-01 --end 2020-01-31",
            "submit vacuum",
            "vacuum --config /etc/passwd",
            "vacuum --lake elsewhere",
            "--lake elsewhere vacuum",
            "vacuum --crash-at before_manifest",
            "vacuum --run-id 00000000-0000-0000-0000-000000000000",
            "vacuum --threads 4",
            "vacuum --json",
            "vacuum --help",
            "--help",
            "--version",
            "help vacuum",
        ] {
            assert!(parsed(line).is_err(), "`{line}` is accepted");
        }
        let mistake = parsed("vacuum --retention-hour 200").unwrap_err();
        assert!(mistake.message.contains("--retention-hour"), "{mistake:?}");
        assert!(mistake.hint.unwrap().contains("--retention-hours"));
    }

    #[test]
    fn the_flags_of_a_job_are_known_by_name_and_kind() {
        let kind = |job: &str, name: &str| {
            let flags = JobLine::flags(job).unwrap();
            let flag = flags.iter().find(|flag| flag.name == name);
            flag.map(|flag| flag.kind)
        };
        assert_eq!(kind("backfill", "model-version"), Some(FlagKind::Value));
        assert_eq!(kind("daily", "allow-stale"), Some(FlagKind::Switch));
        assert_eq!(kind("optimize", "tables"), Some(FlagKind::Positional));
        assert_eq!(kind("optimize", "help"), None);
        assert_eq!(JobLine::flags("init"), None);
        assert_eq!(
            JobLine::names(),
            [
                "train", "forecast", "backfill", "daily", "optimize", "vacuum"
            ]
        );
    }
}
