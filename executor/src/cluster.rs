//! A Ballista cluster: the engine that sends plans to it, and the processes that it is made of.
//!
//! Ballista schedules and ships; completeness is not left to it. A job's plan is planned here, in
//! the driver, exactly as for the embedded engine, and travels as a physical plan of one stage. What
//! its tasks leave are manifests, and the rounds above believe nothing else.

mod client;
mod codec;
mod control;
mod executor;
mod failure;
mod identity;
mod results;
mod scheduler;
mod session;
mod stored_units;
mod tls;

use std::fmt;
use std::str::FromStr;

use crate::error::EngineError;

pub use client::{Cluster, ClusterSettings};
pub use control::Control;
pub use executor::{ExecutorSettings, executor};
pub use scheduler::{SchedulerSettings, scheduler};
pub use tls::Tls;

/// Where a scheduler listens: `df://HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterAddress {
    host: String,
    port: u16,
}

impl ClusterAddress {
    /// The scheduler at a host, a name or an address, and a port.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
        }
    }

    /// The host as an URL has it: an IPv6 address in brackets.
    fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for ClusterAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "df://{}", self.authority())
    }
}

impl FromStr for ClusterAddress {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self, EngineError> {
        let bare = text.strip_prefix("df://").unwrap_or(text);
        let bare = bare.strip_suffix('/').unwrap_or(bare);
        let parsed = bare.rsplit_once(':').and_then(|(host, port)| {
            let whole = !host.is_empty() && !host.contains(['/', '@', ' ']);
            let bracketed = !host.contains(':') || (host.starts_with('[') && host.ends_with(']'));
            let port = port.parse().ok().filter(|port| *port > 0)?;
            (whole && bracketed).then(|| Self::new(host, port))
        });
        parsed.ok_or_else(|| {
            EngineError::cluster(
                format!("`{text}` is no address of a cluster"),
                "write df://HOST:PORT, such as df://127.0.0.1:50050",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_scheme() {
        for (text, shown) in [
            ("df://127.0.0.1:50050", "df://127.0.0.1:50050"),
            ("scheduler.local:1", "df://scheduler.local:1"),
            ("df://[::1]:50050/", "df://[::1]:50050"),
        ] {
            let address: ClusterAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), shown);
        }
        for text in [
            "",
            "df://",
            "host",
            "host:",
            ":1",
            "host:0",
            "host:99999",
            "a/b:1",
            "::1:2",
        ] {
            let error = text.parse::<ClusterAddress>().unwrap_err();
            assert!(
                error.to_string().contains("is no address of a cluster"),
                "{text}"
            );
        }
    }
}
