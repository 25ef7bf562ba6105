//! The `almanac` binary: reads the command line, runs one job, prints its result.

mod care;
mod catalog;
mod cli;
mod code;
mod commands;
mod context;
mod coverage;
mod daily;
mod error;
mod holidays;
mod ingest;
mod job_file;
mod log;
mod market;
#[cfg(test)]
mod one_stage;
mod process;
mod produce;
mod quickstart;
mod report;
mod request;
mod runs;
mod score;
mod settings;
mod sql;
mod stale;
mod status;
mod submitted;

use std::process::ExitCode;

use almanac_executor::runtime;

use crate::error::JobError;
use crate::runs::Status;

/// Exit code when some units failed and the rest is committed.
const SOME_FAILED: u8 = 3;

fn main() -> ExitCode {
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    log::start(cli.verbose);
    log::quiet_unit_panics();
    if let Some(point) = &cli.crash_at {
        almanac_delta::observed::set_crash_point(point);
    }
    let outcome = runtime::drive(commands::run(cli))
        .map_err(JobError::from)
        .and_then(|outcome| outcome);
    match outcome {
        Ok(Status::Succeeded) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(SOME_FAILED),
        Err(error) => {
            error.report();
            ExitCode::from(error.exit_code())
        }
    }
}
