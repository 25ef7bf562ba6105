//! The rows of all files of one ingest, column by column, in the order of the table.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use almanac_delta::Layout;
use almanac_delta::tables::series_bucket;
use almanac_delta::tables::unified_data::CLOSE;
use almanac_udfs::forecasters::date::{self, Day};

use super::cells::{self, BadDate};
use super::error::IngestError;
use super::header::{Header, Kind};

/// A text that is missing.
pub(super) const NO_TEXT: u32 = u32::MAX;
/// A truth value that is missing.
pub(super) const NO_FLAG: u8 = 2;
/// Where a row comes from if it comes from nowhere.
pub(super) const NO_ROW: u32 = u32::MAX;

/// Region of rows that name none.
pub(super) const EVERYWHERE: &str = "ALL";

/// Texts and small numbers that stand for them.
#[derive(Debug, Default)]
pub(super) struct Names {
    ids: HashMap<Arc<str>, u32>,
    texts: Vec<Arc<str>>,
    last: usize,
}

impl Names {
    /// The number of a text, the next one if it is new. Asking for the same text again is cheap.
    pub(super) fn id(&mut self, text: &str) -> u32 {
        if self
            .texts
            .get(self.last)
            .is_some_and(|last| last.as_ref() == text)
        {
            return self.last as u32;
        }
        let next = self.texts.len() as u32;
        let id = match self.ids.get(text) {
            Some(id) => *id,
            None => {
                let text: Arc<str> = text.into();
                self.texts.push(Arc::clone(&text));
                self.ids.insert(text, next);
                next
            }
        };
        self.last = id as usize;
        id
    }

    /// The text of a number given out by [`id`](Self::id).
    pub(super) fn text(&self, id: u32) -> &str {
        &self.texts[id as usize]
    }

    /// For every number, the place of its text in ascending order.
    fn ranks(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = (0..self.texts.len() as u32).collect();
        ids.sort_unstable_by(|a, b| self.text(*a).cmp(self.text(*b)));
        let mut ranks = vec![0; ids.len()];
        for (rank, id) in (0..).zip(ids) {
            ranks[id as usize] = rank;
        }
        ranks
    }
}

/// The values of one column.
#[derive(Debug, Clone)]
pub(super) enum Values {
    /// NaN is missing.
    Number(Vec<f64>),
    /// Numbers of [`Incoming::texts`]; [`NO_TEXT`] is missing.
    Text(Vec<u32>),
    /// 0, 1 or [`NO_FLAG`].
    Flag(Vec<u8>),
}

impl Values {
    pub(super) fn new(kind: Kind) -> Self {
        match kind {
            Kind::Number => Self::Number(vec![]),
            Kind::Text => Self::Text(vec![]),
            Kind::Flag => Self::Flag(vec![]),
        }
    }

    fn reserve_exact(&mut self, more: usize) {
        match self {
            Self::Number(values) => values.reserve_exact(more),
            Self::Text(values) => values.reserve_exact(more),
            Self::Flag(values) => values.reserve_exact(more),
        }
    }

    /// Fills up with missing values.
    fn pad(&mut self, rows: usize) {
        match self {
            Self::Number(values) => values.resize(rows, f64::NAN),
            Self::Text(values) => values.resize(rows, NO_TEXT),
            Self::Flag(values) => values.resize(rows, NO_FLAG),
        }
    }

    /// Appends the values of `more` that `keep` selects, all if it is `None`. Kinds agree, since
    /// a column's name decides its kind.
    fn extend(&mut self, more: Self, keep: Option<&[usize]>) {
        fn put<T: Copy>(values: &mut Vec<T>, more: &[T], keep: Option<&[usize]>) {
            match keep {
                None => values.extend_from_slice(more),
                Some(rows) => values.extend(rows.iter().map(|row| more[*row])),
            }
        }
        match (self, more) {
            (Self::Number(values), Self::Number(more)) => put(values, &more, keep),
            (Self::Text(values), Self::Text(more)) => put(values, &more, keep),
            (Self::Flag(values), Self::Flag(more)) => put(values, &more, keep),
            _ => {}
        }
    }

    fn is_missing_everywhere(&self) -> bool {
        match self {
            Self::Number(values) => values.iter().all(|value| value.is_nan()),
            Self::Text(values) => values.iter().all(|value| *value == NO_TEXT),
            Self::Flag(values) => values.iter().all(|value| *value == NO_FLAG),
        }
    }
}

/// A column of the table that some file has.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) values: Values,
    /// Whether the table has it already.
    known: bool,
    /// Per source: whether the source has it. What a source lacks says nothing about its rows.
    present: Vec<bool>,
}

/// How the cells of a source are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Delimited text.
    Csv,
    /// Parquet.
    Parquet,
    /// Rows in memory.
    Memory,
}

/// One file.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) format: Format,
    pub(super) header: Header,
    /// Rows of all sources up to and with this one.
    end: usize,
}

/// Why a row cannot be stored. Columns are positions in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    NoDate,
    BadDate,
    NotMidnight,
    TooEarly,
    TooLate,
    NoCommodity,
    NotANumber(usize),
    NotFinite(usize),
    NotAFlag(usize),
    Fields(usize),
    NotUtf8,
    /// An earlier row has the same key.
    Duplicate {
        source: u32,
        row: u32,
    },
}

/// A row that cannot be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reject {
    pub(super) source: u32,
    /// Row of its file, from 1.
    pub(super) row: u32,
    pub(super) reason: Reason,
}

/// A run of rows as a source reads them, before validation decides which stay.
#[derive(Debug)]
pub(super) struct Block {
    /// Row of the file that the first one is, from 1.
    pub(super) first_row: u32,
    pub(super) dates: Vec<Day>,
    pub(super) commodities: Vec<u32>,
    pub(super) regions: Vec<u32>,
    /// In the order of the header's value columns.
    pub(super) values: Vec<Values>,
    /// Per row, whether it is marked as closed.
    pub(super) closed: Option<Vec<bool>>,
    /// Per row, why it cannot be stored.
    pub(super) bad: Vec<Option<Reason>>,
}

/// What the cells of a column that would be new look like: a text column is no covariate.
#[derive(Debug, Default, Clone)]
pub(super) struct Tally {
    numbers: u64,
    words: u64,
    example: Option<String>,
}

/// Everything that was read.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    pub(super) sources: Vec<Source>,
    pub(super) dates: Vec<Day>,
    pub(super) commodities: Vec<u32>,
    pub(super) regions: Vec<u32>,
    pub(super) columns: Vec<Column>,
    pub(super) commodity_names: Names,
    pub(super) region_names: Names,
    pub(super) texts: Names,
    pub(super) rejects: Vec<Reject>,
    pub(super) rows_read: u64,
    /// Newest day that is taken.
    latest: Day,
    /// Per row, which row of its file it is.
    file_rows: Vec<u32>,
    /// Per value column of the current source, its place in `columns` and what it looks like.
    current: Vec<(usize, Tally)>,
}

impl Incoming {
    /// Nothing yet. Days after `latest` will be refused.
    pub(super) fn until(latest: Day) -> Self {
        Self {
            latest,
            ..Self::default()
        }
    }

    /// Begins a file. `rows` is how many it is known to have.
    pub(super) fn begin(&mut self, path: PathBuf, format: Format, header: Header, rows: usize) {
        self.current.clear();
        for column in &mut self.columns {
            column.present.push(false);
        }
        for value in &header.values {
            let found = self
                .columns
                .iter()
                .position(|column| column.name == value.name);
            let index = found.unwrap_or_else(|| {
                let mut values = Values::new(value.kind);
                values.reserve_exact(self.dates.len() + rows);
                values.pad(self.dates.len());
                let present = vec![false; self.sources.len() + 1];
                self.columns.push(Column {
                    name: value.name.clone(),
                    values,
                    known: value.known,
                    present,
                });
                self.columns.len() - 1
            });
            self.columns[index].present[self.sources.len()] = true;
            self.columns[index].values.reserve_exact(rows);
            self.current.push((index, Tally::default()));
        }
        self.dates.reserve_exact(rows);
        self.commodities.reserve_exact(rows);
        self.regions.reserve_exact(rows);
        self.file_rows.reserve_exact(rows);
        self.sources.push(Source {
            path,
            format,
            header,
            end: self.dates.len(),
        });
    }

    /// Ends the file begun last. Refuses one without rows, and one with a new column of words.
    pub(super) fn end(&mut self, rows: u64) -> Result<(), IngestError> {
        let length = self.dates.len();
        let Some(source) = self.sources.last_mut() else {
            return Ok(());
        };
        source.end = length;
        self.rows_read += rows;
        if rows == 0 {
            return Err(IngestError::Empty {
                file: source.path.clone(),
            });
        }
        for (value, (_, tally)) in source.header.values.iter().zip(&self.current) {
            if !value.known && tally.words > tally.numbers {
                return Err(IngestError::WrongType {
                    file: source.path.clone(),
                    column: source.header.names[value.index].clone(),
                    found: format!(
                        "text such as `{}`",
                        tally.example.as_deref().unwrap_or_default()
                    ),
                    needed: "numbers",
                });
            }
        }
        for column in &mut self.columns {
            column.values.pad(length);
        }
        Ok(())
    }

    /// Notes a row of the current file that cannot be stored.
    pub(super) fn reject(&mut self, row: u32, reason: Reason) {
        let source = self.sources.len().saturating_sub(1) as u32;
        self.rejects.push(Reject {
            source,
            row,
            reason,
        });
    }

    /// Adds the good rows of a block of the current file and notes the others.
    pub(super) fn append(&mut self, mut block: Block) {
        let header = self.sources.last().map(|source| &source.header);
        let close =
            header.and_then(|header| header.values.iter().position(|value| value.name == CLOSE));
        if let (Some(closed), Some(index)) = (&block.closed, close)
            && let Values::Number(closes) = &mut block.values[index]
        {
            for (close, closed) in closes.iter_mut().zip(closed) {
                if *closed {
                    *close = f64::NAN;
                }
            }
        }
        let rows = block.dates.len();
        let kept: Option<Vec<usize>> = block
            .bad
            .iter()
            .any(Option::is_some)
            .then(|| (0..rows).filter(|row| block.bad[*row].is_none()).collect());
        for (row, reason) in (block.first_row..).zip(&block.bad) {
            if let Some(reason) = reason {
                self.reject(row, *reason);
            }
        }
        let keep = kept.as_deref();
        for ((index, _), values) in self.current.iter().zip(block.values) {
            self.columns[*index].values.extend(values, keep);
        }
        match keep {
            None => {
                self.dates.extend_from_slice(&block.dates);
                self.commodities.extend_from_slice(&block.commodities);
                self.regions.extend_from_slice(&block.regions);
                self.file_rows.extend((block.first_row..).take(rows));
            }
            Some(keep) => {
                self.dates.extend(keep.iter().map(|row| block.dates[*row]));
                self.commodities
                    .extend(keep.iter().map(|row| block.commodities[*row]));
                self.regions
                    .extend(keep.iter().map(|row| block.regions[*row]));
                self.file_rows
                    .extend(keep.iter().map(|row| block.first_row + *row as u32));
            }
        }
    }

    /// Reads a date cell.
    pub(super) fn day(&self, text: &str) -> Result<Day, Reason> {
        let text = cells::present(text).ok_or(Reason::NoDate)?;
        let day = cells::day(text).map_err(|bad| match bad {
            BadDate::Unreadable => Reason::BadDate,
            BadDate::NotMidnight => Reason::NotMidnight,
        })?;
        self.day_in_range(day)
    }

    /// Refuses days that must be mistakes.
    pub(super) fn day_in_range(&self, day: Day) -> Result<Day, Reason> {
        if day < date::from_civil(1900, 1, 1) {
            Err(Reason::TooEarly)
        } else if day > self.latest {
            Err(Reason::TooLate)
        } else {
            Ok(day)
        }
    }

    /// Reads a cell of the `value`-th number column of the current source. NaN is missing.
    pub(super) fn number(&mut self, value: usize, text: &str) -> Result<f64, Reason> {
        let Some(text) = cells::present(text) else {
            return Ok(f64::NAN);
        };
        let Some(source) = self.sources.last() else {
            return Ok(f64::NAN);
        };
        let column = &source.header.values[value];
        let tally = &mut self.current[value].1;
        let is_flag = |text| {
            if column.known {
                None
            } else {
                cells::flag(text).map(f64::from)
            }
        };
        match cells::number(text).or_else(|| is_flag(text)) {
            Some(number) => {
                tally.numbers += 1;
                finite(number, column.index)
            }
            None => {
                tally.words += 1;
                tally.example.get_or_insert_with(|| text.to_owned());
                Err(Reason::NotANumber(column.index))
            }
        }
    }

    /// Whether the source of a row has the column at all.
    pub(super) fn is_present(&self, column: &Column, row: u32) -> bool {
        column.present[self.source_of(row)]
    }

    /// Columns that the table lacks. Call [`settle`](Self::settle) first.
    pub(super) fn new_columns(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| !column.known)
    }

    /// Sorts the rows as the table has them, finds duplicates, and drops new columns without any
    /// value. Of rows with the same key the first stays.
    pub(super) fn settle(mut self, layout: Layout) -> Arranged {
        self.columns
            .retain(|column| column.known || !column.values.is_missing_everywhere());
        let partition_of: Vec<String> = self
            .commodity_names
            .texts
            .iter()
            .map(|name| match layout {
                Layout::Commodity => name.to_string(),
                Layout::Buckets(n) => series_bucket(name, n).to_string(),
            })
            .collect();
        let mut commodities: Vec<u32> = (0..partition_of.len() as u32).collect();
        let key = |id: u32| (&partition_of[id as usize], self.commodity_names.text(id));
        commodities.sort_unstable_by(|a, b| key(*a).cmp(&key(*b)));

        let mut order = by_commodity(&self.commodities, &commodities);
        let ranks = self.region_names.ranks();
        let mut kept = 0;
        let mut partitions: Vec<Partition> = vec![];
        let mut start = 0;
        while start < order.len() {
            let commodity = self.commodities[order[start] as usize];
            let same = |row: &u32| self.commodities[*row as usize] == commodity;
            let end = start + order[start..].iter().take_while(|row| same(row)).count();
            let date_region = |row: &u32| {
                (
                    self.dates[*row as usize],
                    ranks[self.regions[*row as usize] as usize],
                )
            };
            let group = &mut order[start..end];
            if !group.is_sorted_by_key(date_region) {
                group.sort_by_key(date_region);
            }
            let first_kept = kept;
            for at in start..end {
                let row = order[at];
                if kept > first_kept && date_region(&order[kept - 1]) == date_region(&row) {
                    let earlier = order[kept - 1];
                    let reason = Reason::Duplicate {
                        source: self.source_of(earlier) as u32,
                        row: self.file_rows[earlier as usize],
                    };
                    let source = self.source_of(row) as u32;
                    self.rejects.push(Reject {
                        source,
                        row: self.file_rows[row as usize],
                        reason,
                    });
                } else {
                    order[kept] = row;
                    kept += 1;
                }
            }
            let value = &partition_of[commodity as usize];
            let (first, last) = (
                self.dates[order[first_kept] as usize],
                self.dates[order[kept - 1] as usize],
            );
            match partitions
                .last_mut()
                .filter(|partition| &partition.value == value)
            {
                Some(partition) => {
                    partition.rows.end = kept;
                    partition.commodities.push(commodity);
                    partition.first = partition.first.min(first);
                    partition.last = partition.last.max(last);
                }
                None => partitions.push(Partition {
                    value: value.clone(),
                    rows: first_kept..kept,
                    commodities: vec![commodity],
                    first,
                    last,
                }),
            }
            start = end;
        }
        order.truncate(kept);
        self.rejects
            .sort_unstable_by_key(|reject| (reject.source, reject.row));
        Arranged {
            incoming: self,
            order,
            partitions,
        }
    }

    fn source_of(&self, row: u32) -> usize {
        self.sources
            .partition_point(|source| source.end <= row as usize)
    }
}

/// The rows in the order of the table, and where each partition's are.
#[derive(Debug)]
pub(super) struct Arranged {
    pub(super) incoming: Incoming,
    /// Rows of `incoming`, partition by partition, each sorted by commodity, date and region.
    pub(super) order: Vec<u32>,
    pub(super) partitions: Vec<Partition>,
}

/// The rows of one partition of the table.
#[derive(Debug)]
pub(super) struct Partition {
    /// Partition value, as the log has it.
    pub(super) value: String,
    /// Where its rows are in [`Arranged::order`].
    pub(super) rows: Range<usize>,
    pub(super) commodities: Vec<u32>,
    /// Oldest day.
    pub(super) first: Day,
    /// Newest day.
    pub(super) last: Day,
}

/// Keeps numbers that are missing or finite.
pub(super) fn finite(number: f64, position: usize) -> Result<f64, Reason> {
    if number.is_infinite() {
        Err(Reason::NotFinite(position))
    } else {
        Ok(number)
    }
}

/// Rows grouped by commodity in the order given, each group in its original order.
fn by_commodity(of_row: &[u32], commodities: &[u32]) -> Vec<u32> {
    let mut counts = vec![0_usize; commodities.len()];
    for commodity in of_row {
        counts[*commodity as usize] += 1;
    }
    let mut next = vec![0_usize; commodities.len()];
    let mut total = 0;
    for commodity in commodities {
        next[*commodity as usize] = total;
        total += counts[*commodity as usize];
    }
    let mut order = vec![0; of_row.len()];
    for (row, commodity) in (0_u32..).zip(of_row) {
        let at = &mut next[*commodity as usize];
        order[*at] = row;
        *at += 1;
    }
    order
}
