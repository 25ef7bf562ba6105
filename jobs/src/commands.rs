//! From a command line to the job that it asks for.

mod care;
mod cluster;
mod daily;
mod delete;
mod holidays;
mod ingest;
mod init;
mod models;
mod range;

use crate::cli::{Cli, Command};
use crate::context::Context;
use crate::error::JobError;
use crate::report::{print, print_job};
use crate::runs::Status;
use crate::settings::{Given, Settings};
use crate::{quickstart, sql, status};

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
        cluster: cli.cluster,
        tls_ca: cli.tls_ca,
        tls_cert: cli.tls_cert,
        tls_key: cli.tls_key,
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
        Command::Train(args) => range::train(settings, args).await,
        Command::Forecast(args) => range::forecast(settings, args).await,
        Command::Backfill(args) => range::backfill(settings, args).await,
        Command::Daily(args) => daily::daily_job(settings, args).await,
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
        Command::Optimize(args) => care::optimize(settings, args).await,
        Command::Vacuum(args) => care::vacuum(settings, args).await,
        Command::History(args) => care::history(settings, args).await,
        Command::Holidays(args) => holidays::change(settings, args).await,
        Command::Cluster(args) => cluster::process(settings, args).await,
        Command::Delete(args) => delete::delete(settings, args).await,
    }
}
