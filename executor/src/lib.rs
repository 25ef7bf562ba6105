//! Runs any logical plan: the engines, and the rounds that make a job's coverage exact.

pub mod embedded;
pub mod engine;
pub mod error;
pub mod rounds;
pub mod session;

pub use embedded::{Embedded, EmbeddedSettings};
pub use engine::{Engine, Progress};
pub use error::EngineError;
