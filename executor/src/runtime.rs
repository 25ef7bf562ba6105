//! The runtimes of a process: one that waits for stores, one that computes.

use std::future::Future;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::EngineError;

/// Name of the threads that run units.
pub const POOL_THREAD: &str = "almanac-cpu";

/// Threads that wait: for stores, for the pool, for the network.
const DRIVER_THREADS: usize = 2;

/// Runs a job's driver to its end.
///
/// # Errors
/// When threads cannot be started.
pub fn drive<T>(driver: impl Future<Output = T>) -> Result<T, EngineError> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(DRIVER_THREADS)
        .enable_all()
        .build()
        .map_err(unstarted)?;
    Ok(runtime.block_on(driver))
}

/// Ends when the process is asked to stop: ctrl-C, or SIGTERM. From the call on, before anyone waits,
/// neither ends the process by itself.
///
/// # Panics
/// Outside a runtime that drives signals, as those of [`drive`] are.
pub fn asked_to_stop() -> impl Future<Output = ()> {
    let interrupted = signal(SignalKind::interrupt());
    let terminated = signal(SignalKind::terminate());
    async {
        tokio::select! {
            () = received(interrupted) => {}
            () = received(terminated) => {}
        }
    }
}

/// Ends when the signal comes. Where it has no handler it ends the process, as it does everywhere.
async fn received(handler: std::io::Result<Signal>) {
    match handler {
        Ok(mut signals) => drop(signals.recv().await),
        Err(_) => std::future::pending().await,
    }
}

/// The pool for computation.
pub(crate) fn pool(threads: usize) -> Result<Runtime, EngineError> {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name(POOL_THREAD)
        .enable_all()
        .build()
        .map_err(unstarted)
}

fn unstarted(error: std::io::Error) -> EngineError {
    EngineError::Task(format!("cannot start threads: {error}"))
}
