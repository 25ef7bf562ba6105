//! Rows into the table by key: incoming values win, everything else stays.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use almanac_delta::observed::crash_point;
use almanac_delta::rows::{read_files, write_rows};
use almanac_delta::tables::SERIES_BUCKET;
use almanac_delta::tables::unified_data::{COMMODITY, DATE, REGION};
use almanac_delta::{
    Claim, CommitKind, CommitOutcome, CommitRequest, DataFile, DeltaError, Lake, NewFile, TableDef,
    TableName, TableSnapshot,
};
use almanac_udfs::forecasters::date::{self, Day};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Float64Array, Int32Array, RecordBatch,
    StringArray, UInt32Array,
};
use arrow::compute::take;
use arrow::datatypes::{DataType, Date32Type, Field, Float64Type, Schema};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use uuid::Uuid;

use super::ChangedKey;
use super::error::IngestError;
use super::incoming::{Arranged, Column, Incoming, NO_FLAG, NO_ROW, NO_TEXT, Partition, Values};

/// Lost races before giving up.
const ATTEMPTS: u32 = 20;
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Changed keys that are named; the others are counted.
const NAMED_KEYS: usize = 1000;
/// Rows of a partition that go into one file, which bounds the memory of a writer.
const FILE_ROWS: usize = 1 << 20;
/// Partitions merged and written at the same time, at most.
const WRITERS: usize = 4;

/// What an upsert did.
#[derive(Debug, Default)]
pub(super) struct Upserted {
    pub(super) added: u64,
    pub(super) changed: u64,
    pub(super) unchanged: u64,
    /// The first of the changed keys.
    pub(super) changed_keys: Vec<ChangedKey>,
    pub(super) new_columns: Vec<String>,
    /// Version that the rows were merged with.
    pub(super) read: u64,
    /// `None` if there was nothing to commit.
    pub(super) version: Option<u64>,
    /// The earliest day that was added or changed, by commodity.
    pub(super) touched: BTreeMap<String, Day>,
}

/// What became of one partition, on top of the files named. It holds as long as those are still
/// the partition's files for these dates.
#[derive(Debug, Clone)]
struct Merged {
    replaced: Vec<DataFile>,
    adds: Vec<NewFile>,
    added: u64,
    changed: u64,
    unchanged: u64,
    changed_keys: Vec<ChangedKey>,
    /// By commodity: the earliest day that is added or changed.
    touched: BTreeMap<u32, Day>,
}

impl Merged {
    fn is_new(&self) -> bool {
        self.added + self.changed > 0
    }
}

/// Merges all rows and commits them at once. A lost race is merged again on the newest version.
pub(super) async fn upsert(
    lake: &Lake,
    rows: Arranged,
    run_id: &str,
) -> Result<Upserted, IngestError> {
    let rows = Arc::new(rows);
    let mut merged: Vec<Option<Merged>> = vec![None; rows.partitions.len()];
    let mut reason = String::new();
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            pause(attempt).await;
        }
        let snapshot = lake.table(TableName::UnifiedData).await?;
        let new_columns = new_columns(&rows.incoming, &snapshot);
        merge_all(lake, &rows, &snapshot, &new_columns, &mut merged).await?;
        let done: Vec<&Merged> = merged.iter().flatten().collect();
        let version = if done.iter().any(|merged| merged.is_new()) {
            let request = commit_request(&rows, &merged, new_columns.clone(), run_id);
            crash_point(&format!(
                "before_commit:{}",
                TableName::UnifiedData.folder()
            ));
            match snapshot.commit(request).await? {
                CommitOutcome::Committed { version, .. } => Some(version),
                CommitOutcome::Conflicted { reason: lost }
                | CommitOutcome::Retryable { reason: lost } => {
                    tracing::debug!(
                        attempt,
                        reason = lost,
                        "another writer came first; merging again"
                    );
                    reason = lost;
                    continue;
                }
            }
        } else {
            None
        };
        return Ok(Upserted {
            added: done.iter().map(|merged| merged.added).sum(),
            changed: done.iter().map(|merged| merged.changed).sum(),
            unchanged: done.iter().map(|merged| merged.unchanged).sum(),
            changed_keys: done
                .iter()
                .flat_map(|merged| &merged.changed_keys)
                .take(NAMED_KEYS)
                .cloned()
                .collect(),
            new_columns: version.map_or_else(Vec::new, |_| {
                new_columns
                    .iter()
                    .map(|field| field.name().clone())
                    .collect()
            }),
            read: snapshot.version(),
            version,
            touched: done
                .iter()
                .flat_map(|merged| &merged.touched)
                .map(|(id, day)| (rows.incoming.commodity_names.text(*id).to_owned(), *day))
                .collect(),
        });
    }
    Err(IngestError::Busy {
        attempts: ATTEMPTS,
        reason,
    })
}

/// Waits longer each time, and not as long as others that lost the same race.
async fn pause(attempt: u32) {
    let pause = FIRST_PAUSE
        .saturating_mul(1 << attempt.min(10))
        .min(LONGEST_PAUSE);
    let spread = f64::from(Uuid::new_v4().as_bytes()[0]) / 255.0;
    tokio::time::sleep(pause.mul_f64(0.5 + 0.5 * spread)).await;
}

fn new_columns(incoming: &Incoming, snapshot: &TableSnapshot) -> Vec<Field> {
    incoming
        .new_columns()
        .filter(|column| snapshot.schema().field_with_name(&column.name).is_err())
        .map(|column| Field::new(&column.name, DataType::Float64, true))
        .collect()
}

fn commit_request(
    rows: &Arranged,
    merged: &[Option<Merged>],
    new_columns: Vec<Field>,
    run_id: &str,
) -> CommitRequest {
    let (mut adds, mut removes, mut claims) = (vec![], vec![], BTreeSet::new());
    for (partition, merged) in rows.partitions.iter().zip(merged) {
        let Some(merged) = merged.as_ref().filter(|merged| merged.is_new()) else {
            continue;
        };
        adds.extend(merged.adds.iter().cloned());
        removes.extend(merged.replaced.iter().cloned());
        for commodity in &partition.commodities {
            let commodity = rows.incoming.commodity_names.text(*commodity);
            claims.insert(Claim::keys(TableName::UnifiedData, commodity, ""));
        }
    }
    CommitRequest {
        operation: if removes.is_empty() {
            CommitKind::Append
        } else {
            CommitKind::Replace
        },
        adds,
        removes,
        claims: claims.into_iter().collect(),
        run_id: run_id.to_owned(),
        attempt_id: Uuid::new_v4().to_string(),
        new_columns,
    }
}

/// Brings `merged` up to a version. What an earlier attempt merged with the same files stands.
async fn merge_all(
    lake: &Lake,
    rows: &Arc<Arranged>,
    snapshot: &TableSnapshot,
    new_columns: &[Field],
    merged: &mut [Option<Merged>],
) -> Result<(), IngestError> {
    let mut def = snapshot.def().clone();
    let fields = def
        .schema
        .fields()
        .iter()
        .map(|field| field.as_ref().clone())
        .chain(new_columns.iter().cloned());
    def.schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let def = Arc::new(def);
    let mut files: BTreeMap<&str, Vec<&DataFile>> = BTreeMap::new();
    for file in snapshot.files() {
        let value = file.partition_values.first().and_then(Option::as_deref);
        files
            .entry(value.unwrap_or_default())
            .or_default()
            .push(file);
    }
    let mut stale = vec![];
    for (index, partition) in rows.partitions.iter().enumerate() {
        let overlap: Vec<DataFile> = files
            .get(partition.value.as_str())
            .into_iter()
            .flatten()
            .filter(|file| overlaps(file, partition.first, partition.last))
            .map(|file| (*file).clone())
            .collect();
        if merged[index]
            .as_ref()
            .is_none_or(|merged| merged.replaced != overlap)
        {
            stale.push((index, overlap));
        }
    }
    let writers = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(WRITERS);
    let mut results = stream::iter(stale)
        .map(|(index, overlap)| {
            let (lake, rows, def) = (lake.clone(), Arc::clone(rows), Arc::clone(&def));
            let task = tokio::spawn(async move { merge(&lake, &rows, index, &def, overlap).await });
            async move { Ok::<_, IngestError>((index, task.await??)) }
        })
        .buffer_unordered(writers);
    while let Some((index, result)) = results.try_next().await? {
        merged[index] = Some(result);
    }
    Ok(())
}

/// Whether a file may hold rows from `first` to `last`. One without bounds may.
fn overlaps(file: &DataFile, first: Day, last: Day) -> bool {
    let statistics = file.statistics();
    let day = |bound: Option<datafusion::common::ScalarValue>| match bound {
        Some(datafusion::common::ScalarValue::Date32(day)) => day,
        _ => None,
    };
    let lower = day(statistics.min(DATE, &DataType::Date32)).unwrap_or(Day::MIN);
    let upper = day(statistics.max(DATE, &DataType::Date32)).unwrap_or(Day::MAX);
    lower <= last && first <= upper
}

async fn merge(
    lake: &Lake,
    rows: &Arranged,
    index: usize,
    def: &TableDef,
    replaced: Vec<DataFile>,
) -> Result<Merged, IngestError> {
    let partition = &rows.partitions[index];
    let stored = match replaced.is_empty() {
        true => RecordBatch::new_empty(Arc::clone(&def.schema)),
        false => read_files(lake, def, &replaced).await?,
    };
    let pairs = pair(rows, partition, &stored)?;
    let merge = Merge {
        incoming: &rows.incoming,
        partition,
        stored: &stored,
        def,
    };
    let mut result = merge.compare(&pairs, replaced);
    if result.is_new() {
        for pairs in pairs.chunks(FILE_ROWS) {
            result
                .adds
                .extend(write_rows(lake, def, &merge.rows(pairs)?).await?);
        }
    }
    Ok(result)
}

/// A row of the result: the stored and the incoming row with its key, or [`NO_ROW`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pair {
    stored: u32,
    incoming: u32,
}

/// Where a key stands in the table: ranks of commodity and region around the day.
type Place = (u32, Day, u32);

/// Joins stored and incoming rows by key, in the order of the table.
fn pair(
    rows: &Arranged,
    partition: &Partition,
    stored: &RecordBatch,
) -> Result<Vec<Pair>, IngestError> {
    let order = &rows.order[partition.rows.clone()];
    if stored.num_rows() == 0 {
        return Ok(order
            .iter()
            .map(|row| Pair {
                stored: NO_ROW,
                incoming: *row,
            })
            .collect());
    }
    let incoming = &rows.incoming;
    let texts = |name: &str| {
        stored
            .column_by_name(name)
            .map(|column| column.as_string::<i32>())
    };
    let dates = stored
        .column_by_name(DATE)
        .map(|column| column.as_primitive::<Date32Type>());
    let (Some(commodities), Some(regions), Some(dates)) = (texts(COMMODITY), texts(REGION), dates)
    else {
        return Ok(vec![]);
    };
    let commodity = |row: &u32| {
        incoming
            .commodity_names
            .text(incoming.commodities[*row as usize])
    };
    let region = |row: &u32| incoming.region_names.text(incoming.regions[*row as usize]);
    let mut commodity_ranks = Ranks::new(
        commodities
            .iter()
            .flatten()
            .chain(order.iter().map(commodity)),
    );
    let mut region_ranks = Ranks::new(regions.iter().flatten().chain(order.iter().map(region)));

    let mut kept: Vec<(Place, u32)> = Vec::with_capacity(stored.num_rows());
    for row in 0..stored.num_rows() {
        let place = (
            commodity_ranks.of(commodities.value(row)),
            dates.value(row),
            region_ranks.of(regions.value(row)),
        );
        kept.push((place, row as u32));
    }
    if !kept.is_sorted() {
        kept.sort_unstable();
    }
    if let Some(twice) = kept.windows(2).find(|two| two[0].0 == two[1].0) {
        let row = twice[0].1 as usize;
        return Err(IngestError::Lake(DeltaError::Corrupt {
            what: format!("table `{}`", TableName::UnifiedData),
            reason: format!(
                "it has {} / {} / {} twice",
                commodities.value(row),
                regions.value(row),
                date::format(dates.value(row))
            ),
        }));
    }
    let mut pairs = Vec::with_capacity(kept.len() + order.len());
    let mut kept = kept.into_iter().peekable();
    for row in order {
        let place = (
            commodity_ranks.of(commodity(row)),
            incoming.dates[*row as usize],
            region_ranks.of(region(row)),
        );
        while let Some((_, stored)) = kept.next_if(|(stored, _)| *stored < place) {
            pairs.push(Pair {
                stored,
                incoming: NO_ROW,
            });
        }
        let stored = kept
            .next_if(|(stored, _)| *stored == place)
            .map_or(NO_ROW, |(_, stored)| stored);
        pairs.push(Pair {
            stored,
            incoming: *row,
        });
    }
    pairs.extend(kept.map(|(_, stored)| Pair {
        stored,
        incoming: NO_ROW,
    }));
    Ok(pairs)
}

/// Places of texts in ascending order. Asking for the same text again is cheap.
struct Ranks<'a> {
    ranks: HashMap<&'a str, u32>,
    last: Option<(&'a str, u32)>,
}

impl<'a> Ranks<'a> {
    fn new(texts: impl Iterator<Item = &'a str>) -> Self {
        let mut distinct = BTreeSet::new();
        let mut last = None;
        for text in texts {
            if last != Some(text) {
                distinct.insert(text);
                last = Some(text);
            }
        }
        Self {
            ranks: distinct.into_iter().zip(0..).collect(),
            last: None,
        }
    }

    fn of(&mut self, text: &'a str) -> u32 {
        match self.last {
            Some((last, rank)) if last == text => rank,
            _ => {
                let rank = self.ranks[text];
                self.last = Some((text, rank));
                rank
            }
        }
    }
}

struct Merge<'a> {
    incoming: &'a Incoming,
    partition: &'a Partition,
    stored: &'a RecordBatch,
    def: &'a TableDef,
}

impl Merge<'_> {
    /// Counts what the pairs do to the table. The files are not written yet.
    fn compare(&self, pairs: &[Pair], replaced: Vec<DataFile>) -> Merged {
        let mut merged = Merged {
            replaced,
            adds: vec![],
            added: 0,
            changed: 0,
            unchanged: 0,
            changed_keys: vec![],
            touched: BTreeMap::new(),
        };
        let columns: Vec<(&Column, Option<&ArrayRef>)> = self
            .incoming
            .columns
            .iter()
            .map(|column| (column, self.stored.column_by_name(&column.name)))
            .collect();
        for pair in pairs.iter().filter(|pair| pair.incoming != NO_ROW) {
            if pair.stored == NO_ROW {
                merged.added += 1;
            } else if columns
                .iter()
                .all(|(column, stored)| self.is_equal(column, *stored, pair))
            {
                merged.unchanged += 1;
                continue;
            } else {
                merged.changed += 1;
                if merged.changed_keys.len() < NAMED_KEYS {
                    merged.changed_keys.push(self.key(pair.incoming));
                }
            }
            let row = pair.incoming as usize;
            let day = self.incoming.dates[row];
            let earliest = merged.touched.entry(self.incoming.commodities[row]);
            let earliest = earliest.or_insert(day);
            *earliest = day.min(*earliest);
        }
        merged
    }

    fn is_equal(&self, column: &Column, stored: Option<&ArrayRef>, pair: &Pair) -> bool {
        if !self.incoming.is_present(column, pair.incoming) {
            return true;
        }
        let (at, row) = (pair.stored as usize, pair.incoming as usize);
        let stored = stored.filter(|stored| stored.is_valid(at));
        match &column.values {
            Values::Number(values) => match stored {
                Some(stored) => stored.as_primitive::<Float64Type>().value(at) == values[row],
                None => values[row].is_nan(),
            },
            Values::Text(values) => match stored {
                Some(stored) => self.text(values[row]) == Some(stored.as_string::<i32>().value(at)),
                None => values[row] == NO_TEXT,
            },
            Values::Flag(values) => match stored {
                Some(stored) => values[row] == u8::from(stored.as_boolean().value(at)),
                None => values[row] == NO_FLAG,
            },
        }
    }

    fn key(&self, row: u32) -> ChangedKey {
        let row = row as usize;
        ChangedKey {
            commodity: self
                .incoming
                .commodity_names
                .text(self.incoming.commodities[row])
                .to_owned(),
            region: self
                .incoming
                .region_names
                .text(self.incoming.regions[row])
                .to_owned(),
            date: date::format(self.incoming.dates[row]),
        }
    }

    fn text(&self, id: u32) -> Option<&str> {
        (id != NO_TEXT).then(|| self.incoming.texts.text(id))
    }

    /// The merged rows, with every column of the table that has a value.
    fn rows(&self, pairs: &[Pair]) -> Result<RecordBatch, IngestError> {
        let (mut fields, mut arrays) = (vec![], vec![]);
        for field in self.def.schema.fields() {
            if let Some(array) = self.column(field.name(), pairs)? {
                fields.push(Arc::clone(field));
                arrays.push(array);
            }
        }
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
    }

    fn column(&self, name: &str, pairs: &[Pair]) -> Result<Option<ArrayRef>, IngestError> {
        let stored = self
            .stored
            .column_by_name(name)
            .filter(|_| self.stored.num_rows() > 0);
        let incoming = self
            .incoming
            .columns
            .iter()
            .find(|column| column.name == name);
        let names = |ids: &[u32], names: &dyn Fn(u32) -> String| -> ArrayRef {
            let stored = stored.map(|stored| stored.as_string::<i32>());
            Arc::new(StringArray::from_iter_values(pairs.iter().map(
                |pair| match stored {
                    Some(stored) if pair.incoming == NO_ROW => {
                        stored.value(pair.stored as usize).to_owned()
                    }
                    _ => names(ids[pair.incoming as usize]),
                },
            )))
        };
        Ok(Some(match (name, incoming, stored) {
            (DATE, ..) => {
                let stored = stored.map(|stored| stored.as_primitive::<Date32Type>());
                Arc::new(Date32Array::from_iter_values(pairs.iter().map(
                    |pair| match stored {
                        Some(stored) if pair.incoming == NO_ROW => {
                            stored.value(pair.stored as usize)
                        }
                        _ => self.incoming.dates[pair.incoming as usize],
                    },
                )))
            }
            (COMMODITY, ..) => names(&self.incoming.commodities, &|id| {
                self.incoming.commodity_names.text(id).to_owned()
            }),
            (REGION, ..) => names(&self.incoming.regions, &|id| {
                self.incoming.region_names.text(id).to_owned()
            }),
            (SERIES_BUCKET, ..) => {
                let bucket = self
                    .partition
                    .value
                    .parse()
                    .map_err(|_| DeltaError::Corrupt {
                        what: format!("bucket `{}`", self.partition.value),
                        reason: "it is no number".to_owned(),
                    })?;
                Arc::new(Int32Array::from_value(bucket, pairs.len()))
            }
            (_, Some(column), stored) => self.values(column, stored, pairs),
            (_, None, Some(stored)) => {
                let rows: UInt32Array = pairs
                    .iter()
                    .map(|pair| (pair.stored != NO_ROW).then_some(pair.stored))
                    .collect();
                take(stored, &rows, None)?
            }
            (_, None, None) => return Ok(None),
        }))
    }

    /// A column that is in the input: its values where the input has them, else the stored ones.
    fn values(&self, column: &Column, stored: Option<&ArrayRef>, pairs: &[Pair]) -> ArrayRef {
        let wins = |pair: &Pair| {
            pair.incoming != NO_ROW && self.incoming.is_present(column, pair.incoming)
        };
        let kept = |pair: &Pair| {
            stored
                .map(|stored| (stored, pair.stored as usize))
                .filter(|(stored, at)| pair.stored != NO_ROW && stored.is_valid(*at))
        };
        match &column.values {
            Values::Number(values) => Arc::new(Float64Array::from_iter(pairs.iter().map(|pair| {
                if wins(pair) {
                    Some(values[pair.incoming as usize]).filter(|value| !value.is_nan())
                } else {
                    kept(pair).map(|(stored, at)| stored.as_primitive::<Float64Type>().value(at))
                }
            }))),
            Values::Text(values) => Arc::new(StringArray::from_iter(pairs.iter().map(|pair| {
                if wins(pair) {
                    self.text(values[pair.incoming as usize])
                } else {
                    kept(pair).map(|(stored, at)| stored.as_string::<i32>().value(at))
                }
            }))),
            Values::Flag(values) => Arc::new(BooleanArray::from_iter(pairs.iter().map(|pair| {
                if wins(pair) {
                    Some(values[pair.incoming as usize])
                        .filter(|flag| *flag != NO_FLAG)
                        .map(|flag| flag == 1)
                } else {
                    kept(pair).map(|(stored, at)| stored.as_boolean().value(at))
                }
            }))),
        }
    }
}
