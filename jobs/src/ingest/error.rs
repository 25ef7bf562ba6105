//! What can go wrong while rows come in from outside.

use std::io;
use std::path::PathBuf;

use almanac_delta::DeltaError;

/// Why nothing was stored. An ingest is whole or not at all.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The request names no file.
    #[error("no file to ingest")]
    NoFiles,
    /// The file cannot be opened.
    #[error("cannot open `{}`: {source}", file.display())]
    Open {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not what it should be, or ends too early.
    #[error("`{}` cannot be read as {format}: {reason}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What it was read as.
        format: &'static str,
        /// What was found.
        reason: String,
    },
    /// There is no row in the file.
    #[error("`{}` has no rows", file.display())]
    Empty {
        /// The file.
        file: PathBuf,
    },
    /// The first line holds values, not names.
    #[error("`{}` has no header: its first line is `{line}`", file.display())]
    NoHeader {
        /// The file.
        file: PathBuf,
        /// The line found instead.
        line: String,
    },
    /// A column that every file needs is not there.
    #[error("`{}` has no column `{column}`; it has {}", file.display(), found.join(", "))]
    MissingColumn {
        /// The file.
        file: PathBuf,
        /// What is needed.
        column: String,
        /// What is there.
        found: Vec<String>,
        /// The column that was probably meant.
        meant: Option<String>,
    },
    /// A mapping names a column that the file lacks.
    #[error("`{}` has no column `{theirs}` to take `{ours}` from; it has {}", file.display(), found.join(", "))]
    MapSource {
        /// The file.
        file: PathBuf,
        /// The column to fill.
        ours: String,
        /// The column that is not there.
        theirs: String,
        /// What is there.
        found: Vec<String>,
        /// The column that was probably meant.
        meant: Option<String>,
    },
    /// Two columns of the file would fill the same column of the table.
    #[error("columns `{first}` and `{second}` of `{}` would both become `{column}`", file.display())]
    SameColumn {
        /// The file.
        file: PathBuf,
        /// The column of the table.
        column: String,
        /// One column of the file.
        first: String,
        /// The other.
        second: String,
    },
    /// No table column can have this name.
    #[error("column {position} of `{}` is named `{name}`: {reason}", file.display())]
    ColumnName {
        /// The file.
        file: PathBuf,
        /// Where it stands, from 1.
        position: usize,
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A column holds something else than the table stores.
    #[error("column `{column}` of `{}` is {found}, needed {needed}", file.display())]
    WrongType {
        /// The file.
        file: PathBuf,
        /// The column.
        column: String,
        /// What it holds.
        found: String,
        /// What is stored.
        needed: &'static str,
    },
    /// Some rows cannot be stored, and the request was strict.
    #[error("{count} of {total} rows cannot be stored, so nothing was; the first: {first_reason}")]
    Rejected {
        /// How many cannot.
        count: u64,
        /// How many there are.
        total: u64,
        /// Why, for the first of them.
        first_reason: String,
        /// Where all of them are listed with their reasons.
        file: Option<PathBuf>,
    },
    /// A row is unfit where all are needed.
    #[error("row {row} of `{}`: {reason}", file.display())]
    BadRow {
        /// The file.
        file: PathBuf,
        /// The row, from 1.
        row: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The list of rejected rows cannot be written.
    #[error("cannot write the rejected rows to `{}`: {source}", file.display())]
    RejectsFile {
        /// The list.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Other writers kept coming first.
    #[error("other writers came first {attempts} times: {reason}")]
    Busy {
        /// How often it was tried.
        attempts: u32,
        /// The last conflict.
        reason: String,
    },
    /// A part of the work ended abnormally.
    #[error("a part of the ingest did not finish: {0}")]
    Task(#[from] tokio::task::JoinError),
    /// Columns do not fit together.
    #[error(transparent)]
    Arrow(#[from] arrow::error::ArrowError),
    /// The lake failed.
    #[error(transparent)]
    Lake(#[from] DeltaError),
}

impl IngestError {
    /// Whether the user can repair this (exit code 1) rather than we (exit code 2).
    #[must_use]
    pub fn is_user_fixable(&self) -> bool {
        match self {
            Self::Lake(error) => error.is_user_fixable(),
            Self::Task(_) | Self::Arrow(_) => false,
            _ => true,
        }
    }

    /// What to do about it, where there is something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoFiles => Some("name one or more CSV or Parquet files".to_owned()),
            Self::Open { .. } => Some("check the path and its permissions; nothing was changed".to_owned()),
            Self::Unreadable { .. } => Some(
                "check that the file is whole, and fetch it again if it was cut short; nothing was changed".to_owned(),
            ),
            Self::Empty { .. } => Some("check how the file was made; nothing was changed".to_owned()),
            Self::NoHeader { .. } => {
                Some("put column names on the first line, such as `date,commodity,close`".to_owned())
            }
            Self::MissingColumn { column, meant, .. } => Some(missing_hint(column, meant.as_deref())),
            Self::MapSource { ours, meant, .. } => Some(match meant {
                Some(meant) => format!("did you mean `--map {ours}={meant}`?"),
                None => format!("write it as `--map {ours}=NAME`, with a name from the file's header"),
            }),
            Self::SameColumn { second, .. } => {
                Some(format!("leave one of them out, such as with `--map _={}`", quoted(second)))
            }
            Self::ColumnName { name, .. } if name.is_empty() => {
                Some("name the column, or drop it from the file".to_owned())
            }
            Self::ColumnName { name, .. } => Some(format!(
                "rename it with `--map {}={name}`, or leave it out with `--map _={name}`",
                plain_name(name),
                name = quoted(name)
            )),
            Self::WrongType { column, needed, .. } => Some(format!(
                "leave it out with `--map _={}`, or take it from a column of {needed} with `--map {column}=NAME`",
                quoted(column)
            )),
            Self::Rejected { count, total, file, .. } => {
                let listed = file.as_ref().map(|file| format!("they are listed in `{}`; ", file.display()));
                let others = match total - count {
                    0 => String::new(),
                    others => format!(", or load the other {others} rows with --allow-rejects"),
                };
                Some(format!("{}correct them{others}", listed.unwrap_or_default()))
            }
            Self::BadRow { .. } => Some("correct it and load the file again; nothing was changed".to_owned()),
            Self::RejectsFile { .. } => {
                Some("name a file that can be written with `--rejects FILE`; nothing was changed".to_owned())
            }
            Self::Busy { .. } => Some("run it again when fewer writers are at work; nothing was changed".to_owned()),
            Self::Lake(error) => error.hint(),
            Self::Task(_) | Self::Arrow(_) => None,
        }
    }
}

fn missing_hint(column: &str, meant: Option<&str>) -> String {
    let map = match meant {
        Some(meant) => format!(
            "if `{meant}` is what you mean, add `--map {column}={}`",
            quoted(meant)
        ),
        None => format!("name the column to take it from with `--map {column}=NAME`"),
    };
    match column {
        "commodity" => {
            format!("{map}; if the whole file is of one commodity, add `--commodity NAME`")
        }
        _ => map,
    }
}

fn quoted(name: &str) -> String {
    if name.contains(char::is_whitespace) {
        format!("'{name}'")
    } else {
        name.to_owned()
    }
}

/// The name with everything replaced that a column name cannot hold.
fn plain_name(name: &str) -> String {
    let plain: String = name
        .trim()
        .chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() {
                letter.to_ascii_lowercase()
            } else {
                '_'
            }
        })
        .collect();
    if plain.starts_with(|letter: char| letter.is_ascii_digit()) {
        format!("_{plain}")
    } else {
        plain
    }
}
