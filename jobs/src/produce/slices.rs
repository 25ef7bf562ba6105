//! Units cut into slices, and what each slice must read and cover.

use std::collections::{BTreeMap, BTreeSet};

use almanac_delta::TableSnapshot;
use almanac_delta::manifest::{SliceInput, UnitKey};
use almanac_delta::provider::SliceFiles;
use almanac_delta::tables::unified_data;
use almanac_executor::rounds::Slice;
use almanac_udfs::assign::Unit;
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use sha2::{Digest, Sha256};

use crate::code::PROGRAM;
use crate::error::JobError;

/// Slices of a chunk, unless the user wants another number. Never derived from threads: a slice's
/// name must be the same on every machine.
const SLICES: usize = 8;

/// Work below this many units is not worth another slice.
const SLICE_WORK: usize = 16;

/// A chunk cut into slices.
pub struct Cut {
    /// The units, each with its slice.
    pub units: Vec<Unit>,
    /// The slices, as rounds want them.
    pub slices: Vec<Slice>,
    /// The files of each slice, as the scan wants them.
    pub files: Vec<SliceFiles>,
}

impl Cut {
    /// Names of all slices.
    pub fn names(&self) -> Vec<String> {
        self.slices.iter().map(|slice| slice.name.clone()).collect()
    }

    /// Names by number, of some slices.
    pub fn named(slices: &[&Slice]) -> BTreeMap<i32, String> {
        slices
            .iter()
            .map(|slice| (slice.id, slice.name.clone()))
            .collect()
    }

    /// The units of some slices.
    pub fn units_of(&self, slices: &[&Slice]) -> Vec<Unit> {
        let wanted: BTreeSet<i32> = slices.iter().map(|slice| slice.id).collect();
        self.units
            .iter()
            .filter(|unit| wanted.contains(&unit.slice))
            .cloned()
            .collect()
    }

    /// The files of some slices.
    pub fn files_of(&self, slices: &[&Slice]) -> Vec<SliceFiles> {
        let wanted: BTreeSet<i32> = slices.iter().map(|slice| slice.id).collect();
        self.files
            .iter()
            .filter(|files| wanted.contains(&files.slice))
            .cloned()
            .collect()
    }
}

/// Cuts units into slices of about equal work. Each slice belongs to one partition of the data and
/// reads all of its files; `request` is whatever else decides the slices' content. Each unit's result
/// must have `rows_per_unit` rows.
pub fn cut(
    data: &TableSnapshot,
    mut units: Vec<Unit>,
    wanted_slices: Option<usize>,
    request: &str,
    rows_per_unit: u64,
) -> Result<Cut, JobError> {
    units.sort_by(|a, b| (partition(a), order(a)).cmp(&(partition(b), order(b))));
    let total: usize = units.iter().map(work).sum();
    let target = wanted_slices
        .unwrap_or_else(|| SLICES.min(total.div_ceil(SLICE_WORK)))
        .max(1);
    let mut cut = Cut {
        units: vec![],
        slices: vec![],
        files: vec![],
    };
    let mut next = 0;
    for group in units.chunk_by(|a, b| partition(a) == partition(b)) {
        let own: usize = group.iter().map(work).sum();
        let share = (target * own).div_ceil(total.max(1)).clamp(1, own);
        let capacity = own.div_ceil(share);
        let files = files_of_partition(data, &partition(&group[0]));
        if files.is_empty() {
            return Err(JobError::ours(format!(
                "no data file for `{}`",
                partition(&group[0])
            )));
        }
        let input = input_of(data, &files);
        let first = cut.units.len();
        let mut filled = 0;
        for unit in group {
            for part in pieces(unit, capacity, &mut filled, &mut next) {
                cut.units.push(part);
            }
        }
        next += 1;
        for slice in cut.units[first..].chunk_by(|a, b| a.slice == b.slice) {
            let id = slice[0].slice;
            let content =
                serde_json::to_vec(slice).map_err(|error| JobError::ours(error.to_string()))?;
            cut.slices.push(Slice {
                id,
                name: name(request, &content),
                units: keys(slice),
                rows_per_unit: Some(rows_per_unit),
                input,
            });
            cut.files.push(SliceFiles {
                slice: id,
                files: files.clone(),
            });
        }
    }
    Ok(cut)
}

/// The part of the data that a unit reads, as the value of the table's partition column.
fn partition(unit: &Unit) -> String {
    unit.series_bucket
        .map_or_else(|| unit.commodity.clone(), |bucket| bucket.to_string())
}

fn order(unit: &Unit) -> (&str, &str, &str, i32, i32) {
    let first = unit.wanted.first().copied().unwrap_or(unit.training_date);
    (
        &unit.model_version,
        &unit.commodity,
        &unit.model_name,
        first,
        unit.training_date,
    )
}

fn work(unit: &Unit) -> usize {
    unit.wanted.len().max(1)
}

/// A unit's wanted dates, cut where a slice is full. A unit without dates is never cut.
fn pieces(unit: &Unit, capacity: usize, filled: &mut usize, slice: &mut i32) -> Vec<Unit> {
    let mut pieces = vec![];
    let mut rest = unit.wanted.as_slice();
    loop {
        if *filled >= capacity {
            *slice += 1;
            *filled = 0;
        }
        let take = rest.len().min(capacity - *filled);
        let mut piece = Unit {
            slice: *slice,
            wanted: rest[..take].to_vec(),
            ..unit.clone()
        };
        if let (Some(first), Some(last)) = (piece.wanted.first(), piece.wanted.last()) {
            // Every piece starts from the state, so it sees what the state has not.
            piece.from = unit.from.min(*first);
            piece.until = *last;
        }
        *filled += work(&piece);
        pieces.push(piece);
        rest = &rest[take..];
        if rest.is_empty() {
            return pieces;
        }
    }
}

fn keys(units: &[Unit]) -> BTreeSet<UnitKey> {
    let key = |unit: &Unit, date: i32| UnitKey {
        commodity: unit.commodity.clone(),
        model_name: unit.model_name.clone(),
        model_version: unit.model_version.clone(),
        date,
    };
    units
        .iter()
        .flat_map(|unit| match unit.wanted.as_slice() {
            [] => vec![key(unit, unit.training_date)],
            dates => dates.iter().map(|date| key(unit, *date)).collect(),
        })
        .collect()
}

/// The files of one partition, as indexes among the snapshot's.
fn files_of_partition(data: &TableSnapshot, partition: &str) -> Vec<usize> {
    let own =
        |values: &[Option<String>]| values.first().and_then(Option::as_deref) == Some(partition);
    (0..data.files().len())
        .filter(|index| own(&data.files()[*index].partition_values))
        .collect()
}

/// What a slice over these files reads, when the log knows it.
fn input_of(data: &TableSnapshot, files: &[usize]) -> Option<SliceInput> {
    let mut input = SliceInput::default();
    for index in files {
        let file = &data.files()[*index];
        input.rows += i64::try_from(file.rows?).ok()?;
        let Some(ScalarValue::Date32(newest)) = file.max(unified_data::DATE, &DataType::Date32)
        else {
            return None;
        };
        input.newest = input.newest.max(newest);
    }
    Some(input)
}

/// The name of a slice of a request: other code, or other units, have another.
pub fn name(request: &str, units: &[u8]) -> String {
    const BYTES: usize = 20;
    let mut hash = Sha256::new();
    for part in [PROGRAM.as_bytes(), request.as_bytes(), units] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let hash = hash.finalize();
    hash[..BYTES]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
