//! The processes of a cluster.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use almanac_executor::cluster::{self, ExecutorSettings, SchedulerSettings};
use almanac_executor::{ClusterAddress, Tls, runtime};
use serde_json::json;

use crate::cli::{ClusterArgs, ClusterProcess, ExecutorArgs, SchedulerArgs};
use crate::code::VERSION;
use crate::error::JobError;
use crate::report::{print, print_json};
use crate::runs::Status;
use crate::settings::Settings;
use crate::submitted::{DriverSettings, Drivers, Patience, routes};

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
    if args.drivers == 0 {
        return Err(JobError::user(
            "--drivers 0 would let no submitted job begin",
            "leave it out for the default",
        ));
    }
    let failed = |error: std::io::Error| JobError::ours(format!("the drivers' program: {error}"));
    let drivers = Drivers::open(DriverSettings {
        // A driver works in a folder of its own.
        work_dir: std::path::absolute(&args.listen.work_dir).map_err(failed)?,
        binary: std::env::current_exe().map_err(failed)?,
        at_once: args.drivers,
        patience: Patience::default(),
    })
    .await?;
    let (address, tls) = (settings.cluster, settings.tls.clone());
    let settings = SchedulerSettings {
        bind: args.bind,
        tls: settings.tls,
        insecure: args.listen.insecure,
        code: VERSION.to_owned(),
    };
    let ready = |bound| {
        say_ready("scheduler", bound, json);
        drivers.begin(driver_flags(
            address.unwrap_or_else(|| reached_at(bound)),
            tls,
        ));
    };
    let asked = runtime::asked_to_stop();
    let stop = async {
        asked.await;
        // Drivers take their work off the cluster, for which it must still be there.
        drivers.stop().await;
    };
    cluster::scheduler(settings, routes(Arc::clone(&drivers)), ready, stop).await?;
    Ok(())
}

/// Where a process of this host reaches what listens there.
fn reached_at(bound: SocketAddr) -> ClusterAddress {
    let host = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
        IpAddr::V6(ip) if ip.is_unspecified() => format!("[{}]", Ipv6Addr::LOCALHOST),
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    ClusterAddress::new(host, bound.port())
}

/// What drivers are told of the cluster.
fn driver_flags(address: ClusterAddress, tls: Option<Tls>) -> Vec<OsString> {
    let mut flags: Vec<OsString> = vec!["--cluster".into(), address.to_string().into()];
    if let Some(Tls { ca, cert, key }) = tls {
        for (name, path) in [("--tls-ca", ca), ("--tls-cert", cert), ("--tls-key", key)] {
            // A driver works in a folder of its own; a path that cannot be made absolute is as it is.
            let path = std::path::absolute(&path).unwrap_or(path);
            flags.extend([name.into(), path.into()]);
        }
    }
    flags
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
