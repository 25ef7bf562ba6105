//! What can go wrong with a lake, one variant per decision a caller can make.

use std::error::Error as StdError;
use std::io;

use datafusion::error::DataFusionError;
use deltalake::DeltaTableError;
use parquet::errors::ParquetError;

use crate::store::{S3Failure, below};

/// A failure of the lake or of one of its tables.
///
/// Losing a race is not here: see [`CommitOutcome`](crate::commit::CommitOutcome).
#[derive(Debug, thiserror::Error)]
pub enum DeltaError {
    /// There is no lake at `uri`, or none this build understands.
    #[error("no lake at `{uri}`: {reason}")]
    NotALake {
        /// The location as the user gave it.
        uri: String,
        /// What was found instead.
        reason: String,
    },
    /// `create` found a whole lake, or one with other settings.
    #[error("there is already a lake at `{uri}`")]
    AlreadyALake {
        /// The location as the user gave it.
        uri: String,
    },
    /// The scheme of `uri` has no store in this build.
    #[error("cannot open `{uri}`: {reason}")]
    UnsupportedStore {
        /// The location as the user gave it.
        uri: String,
        /// What this build lacks.
        reason: String,
    },
    /// A table of the lake has no log.
    #[error("table `{table}` is missing in the lake at `{uri}`")]
    TableMissing {
        /// SQL name of the table.
        table: String,
        /// The lake.
        uri: String,
    },
    /// Another engine raised the table's protocol past what this build reads and writes.
    #[error(
        "table `{table}` needs Delta reader {reader} / writer {writer} ({detail}), almanac knows reader 1 / writer 2 without features"
    )]
    UnsupportedProtocol {
        /// SQL name of the table.
        table: String,
        /// Reader version the table asks for.
        reader: i32,
        /// Writer version the table asks for.
        writer: i32,
        /// The features or properties that are not understood.
        detail: String,
    },
    /// The version asked for is not (or no longer) in the log.
    #[error("table `{table}` has no version {version}; the newest is {newest}")]
    VersionMissing {
        /// SQL name of the table.
        table: String,
        /// The version asked for.
        version: u64,
        /// The newest version there is.
        newest: u64,
    },
    /// The store refuses the access.
    #[error("the store refuses access: {uri}: {reason}")]
    ReadOnly {
        /// The lake, or what was being done to which object in it.
        uri: String,
        /// What the store said.
        reason: String,
    },
    /// The store has no room left.
    #[error("the store is full: {uri}: {reason}")]
    StoreFull {
        /// The lake, or what was being done to which object in it.
        uri: String,
        /// What the store said.
        reason: String,
    },
    /// S3 does not serve: credentials, bucket, region or endpoint are wrong, or it fails on its side.
    #[error("{what}: {source}")]
    S3 {
        /// The lake, or what was being done to which object in it.
        what: String,
        /// Why.
        source: S3Failure,
    },
    /// A column is missing or has another type than the table's definition says.
    #[error("column `{column}` of table `{table}` is {found}, needed {needed}")]
    Schema {
        /// SQL name of the table.
        table: String,
        /// The column.
        column: String,
        /// Type found, or `missing`.
        found: String,
        /// Type needed.
        needed: String,
    },
    /// A retention so short that running jobs could lose their files.
    #[error(
        "a retention of {asked_hours} h is shorter than the {minimum_hours} h that running jobs rely on"
    )]
    RetentionTooShort {
        /// What was asked for, in whole hours.
        asked_hours: u64,
        /// The least that is safe, in whole hours.
        minimum_hours: u64,
    },
    /// Something stored, or about to be stored, contradicts itself.
    #[error("{what} is not sound: {reason}")]
    Corrupt {
        /// The file, action or value.
        what: String,
        /// The contradiction.
        reason: String,
    },
    /// A data file that a table's log names is not in the store.
    #[error("the data file `{path}` is gone, though its table's log names it")]
    FileMissing {
        /// Where it should be.
        path: String,
    },
    /// The object store failed in another way.
    #[error("{what}: {source}")]
    Store {
        /// What was being done, to which object.
        what: String,
        /// The store's error.
        source: object_store::Error,
    },
    /// The Delta log of a table could not be read or written.
    #[error("log of table `{table}`: {source}")]
    Log {
        /// SQL name of the table.
        table: String,
        /// The log's error.
        source: DeltaTableError,
    },
    /// The query engine failed.
    #[error(transparent)]
    Fusion(#[from] DataFusionError),
    /// A Parquet file could not be read or written.
    #[error("{what}: {source}")]
    Parquet {
        /// The file.
        what: String,
        /// Parquet's error.
        source: ParquetError,
    },
    /// A JSON document could not be read or written.
    #[error("{what}: {source}")]
    Json {
        /// The document.
        what: String,
        /// The parser's error.
        source: serde_json::Error,
    },
}

impl DeltaError {
    /// Wraps an error of the object store. `what` says what was being done to which object.
    ///
    /// Refused access and a full disk become [`ReadOnly`](Self::ReadOnly) and
    /// [`StoreFull`](Self::StoreFull), whatever layer reported them.
    #[must_use]
    pub fn store(what: impl Into<String>, source: object_store::Error) -> Self {
        let what = what.into();
        refusal(&what, &source).unwrap_or(Self::Store { what, source })
    }

    /// Wraps a failure of S3. `what` says what was being done, or names the lake.
    #[must_use]
    pub fn s3(what: impl Into<String>, source: S3Failure) -> Self {
        let what = what.into();
        Self::S3 { what, source }
    }

    /// The failure of S3 at the end of a chain of causes, if that is what a plan failed at.
    #[must_use]
    pub fn of_s3(error: &(dyn StdError + 'static)) -> Option<Self> {
        S3Failure::find(error)
            .filter(|failure| failure.is_user_fixable())
            .map(|failure| Self::s3("reading or writing the lake", failure.clone()))
    }

    /// Whether the same may succeed the next time, without anyone doing anything about it.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::S3 { source, .. } if source.may_pass())
    }

    /// Wraps an error of reading a data file that a table's log names.
    #[must_use]
    pub fn data_file(path: &str, source: object_store::Error) -> Self {
        Self::missing_file(&source).unwrap_or_else(|| Self::store(format!("read {path}"), source))
    }

    /// The data file that was not there, if that is what a scan failed at.
    #[must_use]
    pub fn missing_file(error: &(dyn StdError + 'static)) -> Option<Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            // The scan reads a file's footer first, and hands that error on as text alone
            // (datafusion-datasource-parquet, `ParquetFileReader::get_metadata`).
            let told = match (error.downcast_ref(), error.downcast_ref()) {
                (Some(object_store::Error::NotFound { .. }), _) => Some(error.to_string()),
                (_, Some(ParquetError::General(text))) => Some(text.clone()),
                _ => None,
            };
            let path = told.as_deref().and_then(|text| {
                let (_, rest) = text.split_once("Object at location ")?;
                Some(rest.split_once(" not found: ")?.0)
            });
            if let Some(path) = path {
                let path = path.to_owned();
                return Some(Self::FileMissing { path });
            }
            cause = error.source();
        }
        None
    }

    /// Wraps an error of the Delta log of `table` in the lake at `uri`.
    #[must_use]
    pub fn log(table: &str, uri: &str, source: DeltaTableError) -> Self {
        match source {
            DeltaTableError::NotATable(_) => Self::TableMissing {
                table: table.to_owned(),
                uri: uri.to_owned(),
            },
            source => refusal(uri, &source).unwrap_or_else(|| Self::Log {
                table: table.to_owned(),
                source,
            }),
        }
    }

    /// Wraps an I/O error. `what` says what was being done to which file.
    #[must_use]
    pub fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::store(
            what,
            object_store::Error::Generic {
                store: "local",
                source: Box::new(source),
            },
        )
    }

    /// Whether the user can repair this (exit code 1) rather than we (exit code 2).
    #[must_use]
    pub fn is_user_fixable(&self) -> bool {
        match self {
            Self::NotALake { .. }
            | Self::AlreadyALake { .. }
            | Self::UnsupportedStore { .. }
            | Self::TableMissing { .. }
            | Self::UnsupportedProtocol { .. }
            | Self::VersionMissing { .. }
            | Self::ReadOnly { .. }
            | Self::StoreFull { .. }
            | Self::Schema { .. }
            | Self::FileMissing { .. }
            | Self::RetentionTooShort { .. } => true,
            Self::S3 { source, .. } => source.is_user_fixable(),
            Self::Corrupt { .. }
            | Self::Store { .. }
            | Self::Log { .. }
            | Self::Fusion(_)
            | Self::Parquet { .. }
            | Self::Json { .. } => false,
        }
    }

    /// What to do about it, where there is something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotALake { uri, .. } => {
                Some(format!("make one with `almanac --lake {uri} init`, or point --lake at it"))
            }
            Self::AlreadyALake { uri } => Some(format!(
                "use it as it is, or choose another place than `{uri}`; nothing was changed"
            )),
            Self::UnsupportedStore { .. } => Some(
                "use a folder, a file:// URL or s3://bucket/prefix".to_owned(),
            ),
            Self::TableMissing { uri, .. } => Some(format!(
                "an `init` that was cut short is completed by running `almanac --lake {uri} init` again with the same settings"
            )),
            Self::UnsupportedProtocol { .. } => Some(
                "another engine enabled a newer table feature; drop the feature there, or restore the table from a copy".to_owned(),
            ),
            Self::VersionMissing { newest, .. } => {
                Some(format!("ask for a version up to {newest}; see `almanac history`"))
            }
            Self::ReadOnly { .. } => {
                Some("check who owns the lake's folder and whether its disk is mounted read-only".to_owned())
            }
            Self::S3 { source, .. } => source.hint(),
            Self::StoreFull { .. } => Some(
                "free some space and run again; what is committed stays, `almanac vacuum` removes what was not".to_owned(),
            ),
            Self::FileMissing { .. } => Some(
                "put it back from a copy of the lake; what is made from other files is not concerned".to_owned(),
            ),
            Self::RetentionTooShort { minimum_hours, .. } => Some(format!(
                "use at least {minimum_hours} hours: a job that still runs may need younger files"
            )),
            Self::Schema { .. }
            | Self::Corrupt { .. }
            | Self::Store { .. }
            | Self::Log { .. }
            | Self::Fusion(_)
            | Self::Parquet { .. }
            | Self::Json { .. } => None,
        }
    }
}

const ENOSPC: i32 = 28;
const EROFS: i32 = 30;
const EACCES: i32 = 13;
const EDQUOT: i32 = 122;

/// Looks through the chain of causes for a store that refuses access or is full.
fn refusal(uri: &str, error: &(dyn StdError + 'static)) -> Option<DeltaError> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(failure) = error.downcast_ref::<S3Failure>() {
            return failure
                .is_user_fixable()
                .then(|| DeltaError::s3(uri, failure.clone()));
        }
        if let Some(io) = error.downcast_ref::<io::Error>() {
            let (uri, reason) = (uri.to_owned(), io.to_string());
            match (io.kind(), io.raw_os_error()) {
                (io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded, _)
                | (_, Some(ENOSPC | EDQUOT)) => {
                    return Some(DeltaError::StoreFull { uri, reason });
                }
                (io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem, _)
                | (_, Some(EROFS | EACCES)) => {
                    return Some(DeltaError::ReadOnly { uri, reason });
                }
                _ => {}
            }
        }
        cause = below(error);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(io: io::Error) -> object_store::Error {
        let middle = io::Error::other(object_store::Error::Generic {
            store: "test",
            source: Box::new(io),
        });
        object_store::Error::Generic {
            store: "test",
            source: Box::new(middle),
        }
    }

    #[test]
    fn a_full_disk_is_recognised_through_every_wrapper() {
        let error = DeltaError::store("put", wrapped(io::Error::from_raw_os_error(ENOSPC)));
        assert!(matches!(error, DeltaError::StoreFull { .. }), "{error:?}");
        let log = DeltaTableError::ObjectStore {
            source: wrapped(io::Error::from_raw_os_error(ENOSPC)),
        };
        assert!(matches!(
            DeltaError::log("t", "x", log),
            DeltaError::StoreFull { .. }
        ));
    }

    #[test]
    fn a_read_only_disk_is_recognised_through_every_wrapper() {
        for code in [EROFS, EACCES] {
            let error = DeltaError::store("put", wrapped(io::Error::from_raw_os_error(code)));
            assert!(matches!(error, DeltaError::ReadOnly { .. }), "{error:?}");
            assert!(error.is_user_fixable());
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn another_io_error_keeps_its_context() {
        let error = DeltaError::store("put of `a`", wrapped(io::Error::other("boom")));
        assert!(error.to_string().starts_with("put of `a`"), "{error}");
        assert!(!error.is_user_fixable());
    }
}
