//! How a command fails: who can mend it, in one line, with what to do.

use almanac_delta::DeltaError;
use almanac_executor::{Blame, EngineError};
use datafusion::error::DataFusionError;

use crate::ingest::IngestError;

/// A command that did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The user can mend it: exit code 1.
    #[error("{message}")]
    User {
        /// What failed, on what, what was found and needed.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The store or the cluster failed, and may be well the next time: exit code 2.
    #[error("{message}")]
    Elsewhere {
        /// What failed.
        message: String,
        /// What to do.
        hint: String,
    },
    /// We must: exit code 2.
    #[error("{message}")]
    Ours {
        /// What failed.
        message: String,
    },
    /// A job that another process ran failed, and that process has said why.
    #[error("the job failed with exit code {exit_code}")]
    Told {
        /// The job's exit code.
        exit_code: u8,
    },
}

impl JobError {
    /// A mistake that the user can mend, and how.
    pub fn user(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::User {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }

    /// A fault of the program.
    pub fn ours(message: impl Into<String>) -> Self {
        Self::Ours {
            message: message.into(),
        }
    }

    /// The same error, with what had been done before it.
    pub fn after(self, done: String) -> Self {
        match self {
            Self::User { message, hint } => Self::User {
                message: format!("{done}: {message}"),
                hint,
            },
            Self::Elsewhere { message, hint } => Self::Elsewhere {
                message: format!("{done}: {message}"),
                hint,
            },
            Self::Ours { message } => Self::ours(format!("{done}: {message}")),
            told @ Self::Told { .. } => told,
        }
    }

    /// Whether another error has the same cause: the store or the cluster failed, whatever each of two
    /// that met it was told, or both say the same.
    pub fn has_the_cause_of(&self, other: &Self) -> bool {
        matches!(
            (self, other),
            (Self::Elsewhere { .. }, Self::Elsewhere { .. })
        ) || self.to_string() == other.to_string()
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::User { .. } => 1,
            Self::Elsewhere { .. } | Self::Ours { .. } => 2,
            Self::Told { exit_code } => *exit_code,
        }
    }

    /// Prints the error and its hint, a line each.
    pub fn report(&self) {
        let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        if matches!(self, Self::Told { .. }) {
            return;
        }
        eprintln!("error: {}", one_line(&self.to_string()));
        match self {
            Self::User {
                hint: Some(hint), ..
            }
            | Self::Elsewhere { hint, .. } => eprintln!("hint: {}", one_line(hint)),
            Self::User { hint: None, .. } | Self::Told { .. } => {}
            Self::Ours { .. } => eprintln!(
                "hint: this is a fault of almanac; run again with -v and report what it prints"
            ),
        }
    }
}

impl From<DeltaError> for JobError {
    fn from(error: DeltaError) -> Self {
        if let (true, Some(hint)) = (error.may_pass(), error.hint()) {
            return Self::Elsewhere {
                message: error.to_string(),
                hint,
            };
        }
        if error.is_user_fixable() {
            Self::User {
                message: error.to_string(),
                hint: error.hint(),
            }
        } else {
            Self::ours(error.to_string())
        }
    }
}

impl From<DataFusionError> for JobError {
    fn from(error: DataFusionError) -> Self {
        EngineError::from(error).into()
    }
}

impl From<EngineError> for JobError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Lake(error) => error.into(),
            EngineError::Cluster { message, hint } => Self::User { message, hint },
            EngineError::Remote {
                message,
                hint,
                blame: Blame::User,
                ..
            } => Self::User { message, hint },
            EngineError::Remote {
                message,
                hint: Some(hint),
                blame: Blame::Store,
                ..
            } => Self::Elsewhere { message, hint },
            EngineError::Unreachable { ref hint, .. } => Self::Elsewhere {
                message: error.to_string(),
                hint: hint.clone(),
            },
            lost @ EngineError::SchedulerLost { .. } => Self::Elsewhere {
                message: lost.to_string(),
                hint: "start the scheduler again, and give the command again: what is committed is skipped".to_owned(),
            },
            EngineError::Interrupted => Self::user(
                EngineError::Interrupted.to_string(),
                "give the command again when it suits you: what is committed is skipped",
            ),
            EngineError::Query(error)
                if matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)) =>
            {
                Self::user(
                    format!(
                        "out of the memory that queries may use: {}",
                        error.find_root()
                    ),
                    "raise it with --memory-limit-mib, or ask for less at a time",
                )
            }
            error => Self::ours(error.to_string()),
        }
    }
}

impl From<IngestError> for JobError {
    fn from(error: IngestError) -> Self {
        if error.is_user_fixable() {
            Self::User {
                message: error.to_string(),
                hint: error.hint(),
            }
        } else {
            Self::ours(error.to_string())
        }
    }
}
