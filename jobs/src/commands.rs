//! From a command line to the job that it asks for.

mod daily;
mod delete;
mod ingest;
mod init;
mod models;
mod range;

use crate::cli::{Cli, Command};
use crate::context::Context;
use crate::error::JobError;
use crate::produce::Stages;
use crate::report::{print, print_job};
use crate::runs::Status;
use crate::settings::{Given, Settings};
use crate::{care, quickstart, sql, status};

/// Runs the command that was asked for.
pub async fn run(cli: Cli) -> Result<Status, JobError> {
    let settings = Settings::resolve(Given {
        lake: cli.lake,
        threads: cli.threads,
        slices: cli.slices,
        memory_limit_mib: cli.memory_limit_mib,
        config: cli.config,
        json: cli.json,
        quiet: cli.quiet,
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
        Command::Train(args) => {
            range::stages_of(
                settings,
                "train",
                args,
                Stages {
                    train: true,
                    forecast: false,
                    actuals_before: 0,
                },
            )
            .await
        }
        Command::Forecast(args) => {
            range::stages_of(
                settings,
                "forecast",
                args,
                Stages {
                    train: false,
                    forecast: true,
                    actuals_before: 0,
                },
            )
            .await
        }
        Command::Backfill(args) => range::backfill(settings, args).await,
        Command::Daily(args) => daily::daily_job(settings, args).await,
        Command::Status(args) => {
            let context = Context::open(settings).await?;
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
        Command::Optimize(args) => {
            care::optimize(&Context::open(settings).await?, &args.tables).await?;
            Ok(Status::Succeeded)
        }
        Command::Vacuum(args) => {
            care::vacuum(
                &Context::open(settings).await?,
                args.retention_hours,
                args.dry_run,
            )
            .await?;
            Ok(Status::Succeeded)
        }
        Command::History(args) => {
            care::history(&Context::open(settings).await?, &args.table, args.limit).await?;
            Ok(Status::Succeeded)
        }
        Command::Delete(args) => delete::delete(settings, args).await,
    }
}
