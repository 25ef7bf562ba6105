//! Logs, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Logs what is done: warnings, then what jobs do, then everything.
pub fn start(verbose: u8) {
    let level = match verbose {
        0 => "almanac=warn,almanac_delta=warn,almanac_executor=warn,error",
        1 => "almanac=info,almanac_delta=info,almanac_executor=info,warn",
        _ => "debug",
    };
    // A conflict is an outcome here, not an error: delta-rs logs it as one.
    let filter = format!("{level},deltalake_core=off,delta_kernel=off,buoyant_kernel=off");
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

/// A panic on the engine's pool is caught at its unit's border and becomes that unit's failure;
/// only the others are printed.
pub fn quiet_unit_panics() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().name() == Some(almanac_executor::runtime::POOL_THREAD) {
            tracing::debug!(%panic, "caught");
        } else {
            print(panic);
        }
    }));
}
