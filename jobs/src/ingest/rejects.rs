//! The list of rows that could not be stored: which, why, and what they said.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use arrow::util::display::{ArrayFormatter, FormatOptions};
use csv::{ByteRecord, Writer};
use uuid::Uuid;

use super::csv_source;
use super::error::IngestError;
use super::incoming::{Format, Incoming, Reason, Reject, Source};
use super::parquet_source;

/// Characters of a cell that a reason shows. The whole cell is in the list.
const SHOWN: usize = 40;

/// Writes every rejected row with its reason and its original fields. Returns the file and the
/// first reason, in words.
///
/// Without a name the file is called after the first input, in the current directory; an older
/// list there that says something else is kept, and this one gets a number.
pub(super) fn write(
    incoming: &Incoming,
    chosen: Option<&Path>,
) -> Result<(PathBuf, String), IngestError> {
    let first = incoming
        .sources
        .first()
        .map(|source| source.path.clone())
        .unwrap_or_default();
    let name = first
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let wanted = chosen.map_or_else(
        || PathBuf::from(format!("{name}.rejects.csv")),
        Path::to_owned,
    );
    if let Some(source) = incoming
        .sources
        .iter()
        .find(|source| is_same(&source.path, &wanted))
    {
        let source = io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("`{}` is an input", source.path.display()),
        );
        return Err(IngestError::RejectsFile {
            file: wanted,
            source,
        });
    }
    let mut part = wanted.clone().into_os_string();
    part.push(format!(".{}.part", Uuid::new_v4()));
    let part = PathBuf::from(part);
    let failed = |source| IngestError::RejectsFile {
        file: wanted.clone(),
        source,
    };
    let written = list(incoming, &part, &wanted).and_then(|first| {
        let target = if chosen.is_some() {
            wanted.clone()
        } else {
            free(&part, &wanted).map_err(failed)?
        };
        fs::rename(&part, &target).map_err(failed)?;
        Ok((target, first))
    });
    if written.is_err() && part.exists() {
        fs::remove_file(&part).map_err(failed)?;
    }
    written
}

/// The first reason, in words, for rows that came from no file.
pub(super) fn first_reason(incoming: &Incoming) -> String {
    let describe = |reject: &Reject| {
        let source = &incoming.sources[reject.source as usize];
        located(source, reject, &describe(incoming, reject, &[]))
    };
    incoming.rejects.first().map_or_else(String::new, describe)
}

fn list(incoming: &Incoming, part: &Path, wanted: &Path) -> Result<String, IngestError> {
    let failed = |source| IngestError::RejectsFile {
        file: wanted.to_owned(),
        source,
    };
    let wrap = |error: csv::Error| failed(io::Error::other(error));
    let mut columns: Vec<&str> = vec![];
    for name in incoming
        .sources
        .iter()
        .flat_map(|source| &source.header.names)
    {
        if !columns.contains(&name.as_str()) {
            columns.push(name);
        }
    }
    let mut out = Writer::from_writer(File::create(part).map_err(failed)?);
    let mut first = None;
    out.write_record(["file", "row", "reason"].iter().chain(&columns))
        .map_err(wrap)?;
    for (index, source) in (0_u32..).zip(&incoming.sources) {
        let places: HashMap<&str, usize> = columns
            .iter()
            .enumerate()
            .map(|(place, name)| (*name, place))
            .collect();
        let rejects: Vec<&Reject> = incoming
            .rejects
            .iter()
            .filter(|reject| reject.source == index)
            .collect();
        original_rows(source, &rejects, |reject, fields| {
            let reason = describe(incoming, reject, fields);
            let mut record = vec![
                source.path.display().to_string(),
                reject.row.to_string(),
                reason.clone(),
            ];
            record.resize(3 + columns.len(), String::new());
            for (position, field) in fields.iter().enumerate() {
                match source.header.names.get(position) {
                    Some(name) => record[3 + places[name.as_str()]].clone_from(field),
                    // More fields than the header has: they stay at the end of the last column.
                    None => {
                        if let Some(last) = record.last_mut() {
                            last.push(',');
                            last.push_str(field);
                        }
                    }
                }
            }
            first.get_or_insert_with(|| located(source, reject, &reason));
            out.write_record(&record).map_err(wrap)
        })?;
    }
    out.flush().map_err(failed)?;
    Ok(first.unwrap_or_default())
}

/// Reads the rejected rows of a source once more, in order.
fn original_rows(
    source: &Source,
    rejects: &[&Reject],
    mut each: impl FnMut(&Reject, &[String]) -> Result<(), IngestError>,
) -> Result<(), IngestError> {
    let mut rejects = rejects.iter().peekable();
    let gone = |reason: String| IngestError::Unreadable {
        file: source.path.clone(),
        format: "the same file again",
        reason,
    };
    match source.format {
        Format::Memory => {}
        Format::Csv => {
            let (_, mut reader) = csv_source::open(&source.path)?;
            let (mut row, mut record) = (0, ByteRecord::new());
            while rejects.peek().is_some()
                && reader
                    .read_byte_record(&mut record)
                    .map_err(|error| gone(error.to_string()))?
            {
                row += 1;
                if let Some(reject) = rejects.next_if(|reject| reject.row == row) {
                    let fields: Vec<String> = record
                        .iter()
                        .map(|field| String::from_utf8_lossy(field).into_owned())
                        .collect();
                    each(reject, &fields)?;
                }
            }
        }
        Format::Parquet => {
            let (_, _, reader) = parquet_source::open(&source.path)?;
            let mut before = 0;
            for batch in reader {
                let batch = batch?;
                let options = FormatOptions::default();
                let formats = batch
                    .columns()
                    .iter()
                    .map(|column| ArrayFormatter::try_new(column, &options))
                    .collect::<Result<Vec<_>, _>>()?;
                let end = before + batch.num_rows();
                while let Some(reject) = rejects.next_if(|reject| reject.row as usize <= end) {
                    let at = reject.row as usize - before - 1;
                    let fields: Vec<String> = formats
                        .iter()
                        .map(|format| format.value(at).to_string())
                        .collect();
                    each(reject, &fields)?;
                }
                before = end;
            }
        }
    }
    match rejects.next() {
        Some(reject) if source.format != Format::Memory => {
            Err(gone(format!("row {} is not there any more", reject.row)))
        }
        _ => Ok(()),
    }
}

/// The reason in words. `fields` are the row's own.
fn describe(incoming: &Incoming, reject: &Reject, fields: &[String]) -> String {
    let source = &incoming.sources[reject.source as usize];
    let cell = |position: usize| {
        let name = &source.header.names[position];
        match fields.get(position) {
            Some(text) => format!("`{name}` is `{}`", short(text)),
            None => format!("`{name}`"),
        }
    };
    let date = || cell(source.header.date);
    match reject.reason {
        Reason::NoDate => "it has no date".to_owned(),
        Reason::BadDate => format!("{}, not a date such as 2020-01-31", date()),
        Reason::NotMidnight => format!("{}, not midnight: rows are one per day", date()),
        Reason::TooEarly => format!("{}, before 1900", date()),
        Reason::TooLate => format!("{}, more than a year from now", date()),
        Reason::NoCommodity => "it has no commodity".to_owned(),
        Reason::NotANumber(position) => format!("{}, not a number", cell(position)),
        Reason::NotFinite(position) => format!("{}, not a finite number", cell(position)),
        Reason::NotAFlag(position) => format!("{}, neither 0 nor 1", cell(position)),
        Reason::Fields(found) => format!(
            "it has {found} fields, the header has {}",
            source.header.names.len()
        ),
        Reason::NotUtf8 => "it is not UTF-8".to_owned(),
        Reason::Duplicate { source, row } => format!(
            "row {row} of `{}` has the same date, commodity and region",
            incoming.sources[source as usize].path.display()
        ),
    }
}

/// The beginning of a cell: an open quote can make one of half a file.
fn short(text: &str) -> String {
    let mut letters = text.chars();
    let mut short: String = letters.by_ref().take(SHOWN).collect();
    if letters.next().is_some() {
        short.push('…');
    }
    short
}

fn located(source: &Source, reject: &Reject, reason: &str) -> String {
    format!(
        "row {} of `{}`: {reason}",
        reject.row,
        source.path.display()
    )
}

/// `wanted`, or the first numbered name after it whose file is not there or says the same as `part`.
fn free(part: &Path, wanted: &Path) -> io::Result<PathBuf> {
    let stem = wanted.with_extension("");
    let mut number = 1;
    loop {
        let name = if number == 1 {
            wanted.to_owned()
        } else {
            let mut name = stem.clone().into_os_string();
            name.push(format!(".{number}.csv"));
            PathBuf::from(name)
        };
        if !name.exists() || same_content(part, &name)? {
            return Ok(name);
        }
        number += 1;
    }
}

fn same_content(one: &Path, other: &Path) -> io::Result<bool> {
    if fs::metadata(one)?.len() != fs::metadata(other)?.len() {
        return Ok(false);
    }
    let (mut one, mut other) = (
        io::BufReader::new(File::open(one)?),
        io::BufReader::new(File::open(other)?),
    );
    let (mut left, mut right) = (vec![], vec![]);
    loop {
        left.clear();
        right.clear();
        one.by_ref().take(1 << 20).read_to_end(&mut left)?;
        other.by_ref().take(1 << 20).read_to_end(&mut right)?;
        if left != right {
            return Ok(false);
        }
        if left.is_empty() {
            return Ok(true);
        }
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}
