//! The processes of a cluster.

use std::net::SocketAddr;

use almanac_executor::cluster::{self, ExecutorSettings, SchedulerSettings};
use almanac_executor::runtime;
use axum::Router;
use serde_json::json;

use crate::cli::{ClusterArgs, ClusterProcess, ExecutorArgs, SchedulerArgs};
use crate::code::VERSION;
use crate::error::JobError;
use crate::report::{print, print_json};
use crate::runs::Status;
use crate::settings::Settings;

/// Runs a process until it is asked to stop.
pub async fn process(settings: Settings, args: ClusterArgs) -> Result<Status, JobError> {
    match args.process {
        ClusterProcess::Scheduler(args) => scheduler(settings, args).await?,
        ClusterProcess::Executor(args) => executor(settings, args).await?,
    }
    Ok(Status::Succeeded)
}

async fn scheduler(settings: Settings, args: SchedulerArgs) -> Result<(), JobError> {
    let json = settings.json;
    let settings = SchedulerSettings {
        bind: args.bind,
        tls: settings.tls,
        insecure: args.listen.insecure,
        code: VERSION.to_owned(),
    };
    let ready = |bound| say_ready("scheduler", bound, json);
    cluster::scheduler(settings, Router::new(), ready, runtime::asked_to_stop()).await?;
    Ok(())
}

async fn executor(settings: Settings, args: ExecutorArgs) -> Result<(), JobError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cores = args.vcores.unwrap_or(cores);
    if cores == 0 {
        return Err(JobError::user(
            "--vcores must be at least 1",
            "leave it out for all cores",
        ));
    }
    let json = settings.json;
    let settings = ExecutorSettings {
        scheduler: args.scheduler.parse()?,
        bind: args.bind,
        advertise: args.advertise,
        cores,
        memory_bytes: settings.memory_bytes,
        work_dir: args.listen.work_dir,
        tls: settings.tls,
        insecure: args.listen.insecure,
        code: VERSION.to_owned(),
    };
    let ready = |bound| say_ready("executor", bound, json);
    cluster::executor(settings, ready, runtime::asked_to_stop()).await?;
    Ok(())
}

/// One line once the process works, for people and for whoever started it.
fn say_ready(process: &str, bound: SocketAddr, json: bool) {
    let said = if json {
        print_json(
            &json!({"process": process, "address": bound.to_string(), "pid": std::process::id()}),
        )
    } else {
        print(&format!("{process} ready at {bound}"))
    };
    if let Err(error) = said {
        tracing::warn!(%error, "nobody was told that the process is ready");
    }
}
