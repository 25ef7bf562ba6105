//! The lake: its tables and schemas, pinned snapshots, scans, writes and atomic commits.
//!
//! Workers write data files and manifests; only a job commits.

pub mod care;
pub mod commit;
pub mod error;
pub mod lake;
pub mod manifest;
pub mod observed;
pub mod open_run;
pub mod provider;
pub mod rows;
pub mod snapshot;
pub mod store;
pub mod tables;
pub mod write;

pub use commit::{Claim, CommitKind, CommitOutcome, CommitRequest, NewFile};
pub use error::DeltaError;
pub use lake::{Lake, LakeSettings};
pub use snapshot::{DataFile, TableSnapshot};
pub use store::StoreLocation;
pub use tables::{Layout, TableDef, TableName};
