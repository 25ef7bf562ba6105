//! What can go wrong when a plan runs.

use almanac_delta::DeltaError;
use almanac_delta::manifest::UnitKey;
use datafusion::error::DataFusionError;

/// Who can mend an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Blame {
    /// The user.
    User,
    /// Nobody here: the store failed, and may be well the next time.
    Store,
    /// We.
    Ours,
}

/// Why a plan did not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The lake refused, on the driver or in a task.
    #[error(transparent)]
    Lake(#[from] DeltaError),
    /// The query engine refused.
    #[error("{0}")]
    Query(DataFusionError),
    /// A job's plan would move rows between tasks.
    #[error("the plan of a job holds `{operator}`; it must be one stage")]
    NotOneStage {
        /// The operator that has no place there.
        operator: String,
    },
    /// Slices stayed without a manifest.
    #[error("{missing} of {wanted} slices left no manifest after {rounds} rounds")]
    Incomplete {
        /// Slices without one.
        missing: usize,
        /// All slices.
        wanted: usize,
        /// Rounds run.
        rounds: usize,
    },
    /// A manifest does not cover what its slice was asked for.
    #[error("slice {slice} covers {found} of {wanted} units, the first that differs is {first:?}")]
    Coverage {
        /// The slice's name.
        slice: String,
        /// Units in its manifest.
        found: usize,
        /// Units that it was given.
        wanted: usize,
        /// One that is missing or too many.
        first: UnitKey,
    },
    /// A unit has more or fewer rows than it must have.
    #[error("slice {slice} wrote {found} rows for {unit:?}, {wanted} are wanted")]
    Rows {
        /// The slice's name.
        slice: String,
        /// The unit.
        unit: UnitKey,
        /// Rows in its manifest.
        found: u64,
        /// Rows that it must have.
        wanted: u64,
    },
    /// A slice read other rows than the pinned snapshot holds.
    #[error("slice {slice} read {found}, its files hold {wanted}")]
    Input {
        /// The slice's name.
        slice: String,
        /// What was read: rows and newest date.
        found: String,
        /// What the snapshot holds.
        wanted: String,
    },
    /// A task ended without an answer.
    #[error("a task stopped: {0}")]
    Task(String),
    /// The cluster cannot be used as it was asked for, and the user can mend it.
    #[error("{message}")]
    Cluster {
        /// What was found, and what was needed.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// No scheduler answers where one should be.
    #[error("no scheduler answers at {address}: {reason}")]
    Unreachable {
        /// Where one should be.
        address: String,
        /// What the attempt to reach it said.
        reason: String,
        /// What to do.
        hint: String,
    },
    /// The scheduler does not take a plan.
    #[error("the scheduler refuses the plan: {reason}")]
    Refused {
        /// Its words.
        reason: String,
    },
    /// The scheduler no longer answers.
    #[error("the scheduler at {address} is lost: {reason}")]
    SchedulerLost {
        /// Where it was.
        address: String,
        /// What the last attempt to reach it said.
        reason: String,
    },
    /// A task's error, as its executor told it.
    #[error("{message}")]
    Remote {
        /// What failed.
        message: String,
        /// What to do, where there is something.
        hint: Option<String>,
        /// Who can mend it.
        blame: Blame,
        /// Whether another round would fail the same way.
        is_final: bool,
    },
    /// The user has asked to stop.
    #[error("interrupted; the work on the cluster was cancelled")]
    Interrupted,
}

impl EngineError {
    pub(crate) fn cluster(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Cluster {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }

    /// Whether another round would fail the same way: the store takes nothing more, or the plan or
    /// its rows are at fault. A lost task or an unreachable store may be well the next time.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Lake(error @ DeltaError::S3 { .. }) => !error.may_pass(),
            Self::Lake(error) => matches!(
                error,
                DeltaError::StoreFull { .. }
                    | DeltaError::ReadOnly { .. }
                    | DeltaError::Corrupt { .. }
                    | DeltaError::Schema { .. }
                    | DeltaError::FileMissing { .. }
            ),
            Self::Query(error) => matches!(
                error.find_root(),
                DataFusionError::Plan(_)
                    | DataFusionError::SchemaError(..)
                    | DataFusionError::NotImplemented(_)
                    | DataFusionError::Internal(_)
                    | DataFusionError::Configuration(_)
                    | DataFusionError::Execution(_)
                    | DataFusionError::ResourcesExhausted(_)
            ),
            Self::Task(_) => false,
            Self::Remote { is_final, .. } => *is_final,
            Self::NotOneStage { .. }
            | Self::Incomplete { .. }
            | Self::Coverage { .. }
            | Self::Rows { .. }
            | Self::Input { .. }
            | Self::Cluster { .. }
            | Self::Unreachable { .. }
            | Self::Refused { .. }
            | Self::SchedulerLost { .. }
            | Self::Interrupted => true,
        }
    }
}

impl From<DataFusionError> for EngineError {
    /// A lake's error that travelled through the query engine is a lake's error.
    fn from(error: DataFusionError) -> Self {
        match error {
            DataFusionError::External(inner) => match inner.downcast::<DeltaError>() {
                Ok(lake) => Self::Lake(*lake),
                Err(inner) => match DeltaError::of_s3(inner.as_ref()) {
                    Some(failure) => Self::Lake(failure),
                    None => Self::Query(DataFusionError::External(inner)),
                },
            },
            DataFusionError::Context(_, inner) => Self::from(*inner),
            other => match DeltaError::missing_file(&other).or_else(|| DeltaError::of_s3(&other)) {
                Some(missing) => Self::Lake(missing),
                None => Self::Query(other),
            },
        }
    }
}
