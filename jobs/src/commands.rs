//! From a command line to the job that it asks for.

mod care;
mod cluster;
mod daily;
mod delete;
mod holidays;
mod ingest;
mod init;
mod job_file;
mod jobs;
mod models;
mod range;
mod submit;

use std::ffi::OsString;

use almanac_executor::cluster::Control;
use serde_json::Value;

use crate::cli::{Cli, Command, JobCommand, RunArgs};
use crate::context::Context;
use crate::error::JobError;
use crate::job_file::JobFile;
use crate::report::{print, print_job, print_json};
use crate::runs::Status;
use crate::settings::{Given, Settings};
use crate::{quickstart, score, sql, status};

/// Runs the command that was asked for.
pub async fn run(cli: Cli) -> Result<Status, JobError> {
    let flags = passed_on(&cli);
    let mut cli = cli;
    let file = match &cli.command {
        Command::Run(args) => Some(job_file(args)?),
        _ => None,
    };
    if let Some(file) = &file {
        cli.lake = cli.lake.or_else(|| file.lake.clone());
        cli.cluster = cli.cluster.or_else(|| file.cluster.clone());
    }
    let settings = Settings::resolve(Given {
        lake: cli.lake,
        threads: cli.threads,
        slices: cli.slices,
        memory_limit_mib: cli.memory_limit_mib,
        config: cli.config,
        json: cli.json,
        quiet: cli.quiet,
        cluster: cli.cluster,
        tls_ca: cli.tls_ca,
        tls_cert: cli.tls_cert,
        tls_key: cli.tls_key,
        run_id: cli.run_id,
    })?;
    match cli.command {
        Command::Quickstart => {
            let json = settings.json;
            let (result, status) = quickstart::quickstart(settings).await?;
            print_job(&result, json)?;
            if !json {
                print("\nwhat to try next")?;
                for next in result["next"].as_array().into_iter().flatten() {
                    print(&format!("  {}", next.as_str().unwrap_or_default()))?;
                }
            }
            Ok(status)
        }
        Command::Init(args) => init::init(settings, args).await,
        Command::Ingest(args) => ingest::ingest_files(settings, args).await,
        Command::Models(args) => models::models(&settings, args.show.as_ref()),
        Command::Job(job) => run_job(settings, job).await,
        Command::Status(args) => {
            let context = Context::open_here(settings).await?;
            if args.stale {
                status::stale_keys(&context).await?;
            } else {
                status::status(&context, args.run.as_deref()).await?;
            }
            Ok(Status::Succeeded)
        }
        Command::Sql(args) => {
            sql::sql(&Context::open(settings).await?, &args.query, &args.as_of).await?;
            Ok(Status::Succeeded)
        }
        Command::History(args) => care::history(settings, args).await,
        Command::Holidays(args) => holidays::change(settings, args).await,
        Command::Cluster(args) => cluster::process(settings, args).await,
        Command::Delete(args) => delete::delete(settings, args).await,
        Command::Submit(args) => submit::run(&control(&settings).await?, &settings, &args).await,
        Command::Jobs(args) => jobs::run(&control(&settings).await?, &settings, &args).await,
        Command::Score(args) => score::score(settings, args).await,
        Command::Run(_) => match file {
            Some(file) if file.submit => {
                job_file::run_submitted(control(&settings), &settings, &file).await
            }
            Some(file) => job_file::run(&settings, &file, &flags).await,
            None => Err(JobError::ours("a job file was not read")),
        },
    }
}

/// Reads a job file; `--date` is one of the arguments that stand in place of its own.
fn job_file(args: &RunArgs) -> Result<JobFile, JobError> {
    let date = args
        .date
        .iter()
        .map(|date| ("date".to_owned(), date.clone()));
    let overrides: Vec<(String, String)> = args.set.iter().cloned().chain(date).collect();
    JobFile::read(&args.file, &overrides, |name| std::env::var(name).ok())
}

/// What this process was told of where and how jobs run, for one that runs a job for it. What the
/// environment says, that process learns by itself.
fn passed_on(cli: &Cli) -> Vec<OsString> {
    let mut flags: Vec<OsString> = vec![];
    let numbers = [
        ("--threads", cli.threads),
        ("--slices", cli.slices),
        ("--memory-limit-mib", cli.memory_limit_mib),
    ];
    for (name, number) in numbers {
        if let Some(number) = number {
            flags.extend([name.into(), number.to_string().into()]);
        }
    }
    let paths = [
        ("--config", &cli.config),
        ("--tls-ca", &cli.tls_ca),
        ("--tls-cert", &cli.tls_cert),
        ("--tls-key", &cli.tls_key),
    ];
    for (name, path) in paths {
        if let Some(path) = path {
            flags.extend([name.into(), path.into()]);
        }
    }
    if cli.quiet {
        flags.push("--quiet".into());
    }
    flags.extend((0..cli.verbose).map(|_| "--verbose".into()));
    flags
}

/// The scheduler that keeps submitted jobs.
async fn control(settings: &Settings) -> Result<Control, JobError> {
    let address = settings.cluster.as_ref().ok_or_else(|| {
        JobError::user(
            "submitted jobs are kept by a cluster's scheduler, and no cluster is named",
            "name it with --cluster df://HOST:PORT, ALMANAC_CLUSTER, or `cluster` in the settings file",
        )
    })?;
    Ok(Control::connect(address, settings.tls.as_ref()).await?)
}

async fn run_job(settings: Settings, job: JobCommand) -> Result<Status, JobError> {
    match job {
        JobCommand::Train(args) => range::train(settings, args).await,
        JobCommand::Forecast(args) => range::forecast(settings, args).await,
        JobCommand::Backfill(args) => range::backfill(settings, args).await,
        JobCommand::Daily(args) => daily::daily_job(settings, args).await,
        JobCommand::Optimize(args) => care::optimize(settings, args).await,
        JobCommand::Vacuum(args) => care::vacuum(settings, args).await,
    }
}

/// Prints the result of a job as the job's own command does, from the JSON that it printed.
fn print_result(job: &str, result: &Value, json: bool) -> Result<(), JobError> {
    if json {
        return print_json(result);
    }
    match job {
        "daily" => print(&crate::daily::summary(result)),
        "optimize" => print(&care::optimized(result)),
        "vacuum" => print(&care::removed(result)),
        _ if result.get("would_train").is_some() => print(&range::dry_run_summary(result)),
        _ => print_job(result, false),
    }
}
