//! Runs any logical plan: the engines, and the rounds that make a job's coverage exact.

pub mod cluster;
pub mod embedded;
pub mod engine;
pub mod error;
pub mod rounds;
pub mod runtime;
pub mod session;
mod sql;

pub use cluster::{Cluster, ClusterAddress, ClusterSettings, Tls};
pub use embedded::{Embedded, EmbeddedSettings};
pub use engine::{Engine, NamedTable, Progress};
pub use error::{Blame, EngineError};
