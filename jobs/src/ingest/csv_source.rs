//! Rows from delimited text.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use almanac_udfs::forecasters::date::Day;
use arrow::datatypes::Schema;
use csv::{ByteRecord, Reader, ReaderBuilder, Trim};

use super::IngestRequest;
use super::cells;
use super::error::IngestError;
use super::header::{Header, Kind};
use super::incoming::{Block, EVERYWHERE, Format, Incoming, NO_FLAG, NO_TEXT, Reason, Values};

const DELIMITERS: [u8; 3] = [b',', b';', b'\t'];
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const BUFFER: usize = 1 << 20;
const BLOCK_ROWS: usize = 8192;

/// Reads a whole file.
pub(super) fn read(
    path: &Path,
    request: &IngestRequest,
    table: &Schema,
    incoming: &mut Incoming,
) -> Result<(), IngestError> {
    let (delimiter, mut reader) = open(path)?;
    let first = reader
        .byte_headers()
        .map_err(|error| unreadable(path, &error.to_string()))?
        .clone();
    let names = names(path, &first, delimiter)?;
    let header = Header::new(path, names, request, table)?;
    incoming.begin(path.to_owned(), Format::Csv, header.clone(), 0);
    let mut row = 0_u32;
    let mut record = ByteRecord::new();
    let mut block = empty(&header, 1);
    while reader
        .read_byte_record(&mut record)
        .map_err(|error| unreadable(path, &error.to_string()))?
    {
        row = row
            .checked_add(1)
            .ok_or_else(|| unreadable(path, "it has more than 4 billion rows"))?;
        let parsed = parse(&record, &header, request, incoming);
        push(&mut block, parsed);
        if block.dates.len() == BLOCK_ROWS {
            incoming.append(std::mem::replace(&mut block, empty(&header, row + 1)));
        }
    }
    incoming.append(block);
    incoming.end(u64::from(row))
}

/// Opens a file behind its byte order mark, and finds its delimiter in its first line.
pub(super) fn open(path: &Path) -> Result<(u8, Reader<BufReader<File>>), IngestError> {
    let wrap = |source| IngestError::Open {
        file: path.to_owned(),
        source,
    };
    let mut input = BufReader::with_capacity(BUFFER, File::open(path).map_err(wrap)?);
    let head = input.fill_buf().map_err(wrap)?;
    if head.is_empty() {
        return Err(IngestError::Empty {
            file: path.to_owned(),
        });
    }
    if head.contains(&0) {
        return Err(unreadable(path, "it has zero bytes; text must be UTF-8"));
    }
    let mark = if head.starts_with(BYTE_ORDER_MARK) {
        BYTE_ORDER_MARK.len()
    } else {
        0
    };
    let line = head[mark..]
        .split(|byte| b"\r\n".contains(byte))
        .find(|line| !line.is_empty())
        .unwrap_or_default();
    let delimiter = sniff(line);
    input.consume(mark);
    let reader = ReaderBuilder::new()
        .delimiter(delimiter)
        .flexible(true)
        .trim(Trim::Headers)
        .buffer_capacity(BUFFER)
        .from_reader(input);
    Ok((delimiter, reader))
}

/// The delimiter that is most often in a line, quoted text aside.
fn sniff(line: &[u8]) -> u8 {
    let mut counts = [0_usize; DELIMITERS.len()];
    let mut quoted = false;
    for byte in line {
        quoted ^= *byte == b'"';
        if let Some(index) = DELIMITERS
            .iter()
            .position(|delimiter| delimiter == byte)
            .filter(|_| !quoted)
        {
            counts[index] += 1;
        }
    }
    let most = counts.iter().max().copied().unwrap_or(0);
    DELIMITERS
        .into_iter()
        .zip(counts)
        .find(|(_, count)| *count == most)
        .map_or(b',', |(delimiter, _)| delimiter)
}

fn names(path: &Path, first: &ByteRecord, delimiter: u8) -> Result<Vec<String>, IngestError> {
    let names = first
        .iter()
        .map(|name| std::str::from_utf8(name).map(str::to_owned))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| unreadable(path, "its header is not UTF-8"))?;
    let is_value = |name: &String| cells::day(name).is_ok() || cells::number(name).is_some();
    if names.iter().any(is_value) {
        let line = names.join(&char::from(delimiter).to_string());
        return Err(IngestError::NoHeader {
            file: path.to_owned(),
            line,
        });
    }
    Ok(names)
}

/// One row's cells; numbers, texts and flags in the order of the header's value columns.
struct Row {
    day: Day,
    commodity: u32,
    region: u32,
    closed: bool,
    cells: Vec<Cell>,
}

#[derive(Clone, Copy)]
enum Cell {
    Number(f64),
    Text(u32),
    Flag(u8),
}

fn parse(
    record: &ByteRecord,
    header: &Header,
    request: &IngestRequest,
    incoming: &mut Incoming,
) -> Result<Row, Reason> {
    if record.len() != header.names.len() {
        return Err(Reason::Fields(record.len()));
    }
    let text = |index: usize| std::str::from_utf8(&record[index]).map_err(|_| Reason::NotUtf8);
    let day = incoming.day(text(header.date)?)?;
    let commodity = match header.commodity {
        Some(index) => cells::present(text(index)?),
        None => request.commodity.as_deref().and_then(cells::present),
    };
    let commodity = incoming
        .commodity_names
        .id(commodity.ok_or(Reason::NoCommodity)?);
    let region = match header.region {
        Some(index) => cells::present(text(index)?),
        None => request.region.as_deref().and_then(cells::present),
    };
    let region = incoming.region_names.id(region.unwrap_or(EVERYWHERE));
    let closed = match header
        .trading_day
        .map(|index| Ok((index, cells::present(text(index)?))))
        .transpose()?
    {
        Some((index, Some(text))) => !cells::flag(text).ok_or(Reason::NotAFlag(index))?,
        _ => false,
    };
    let mut cells = Vec::with_capacity(header.values.len());
    for (value, column) in header.values.iter().enumerate() {
        let text = text(column.index)?;
        cells.push(match column.kind {
            Kind::Number => Cell::Number(incoming.number(value, text)?),
            Kind::Text => {
                Cell::Text(cells::present(text).map_or(NO_TEXT, |text| incoming.texts.id(text)))
            }
            Kind::Flag => Cell::Flag(match cells::present(text) {
                None => NO_FLAG,
                Some(text) => u8::from(cells::flag(text).ok_or(Reason::NotAFlag(column.index))?),
            }),
        });
    }
    Ok(Row {
        day,
        commodity,
        region,
        closed,
        cells,
    })
}

fn empty(header: &Header, first_row: u32) -> Block {
    Block {
        first_row,
        dates: vec![],
        commodities: vec![],
        regions: vec![],
        values: header
            .values
            .iter()
            .map(|value| Values::new(value.kind))
            .collect(),
        closed: Some(vec![]),
        bad: vec![],
    }
}

fn push(block: &mut Block, row: Result<Row, Reason>) {
    let (row, bad) = match row {
        Ok(row) => (row, None),
        Err(reason) => (
            Row {
                day: 0,
                commodity: 0,
                region: 0,
                closed: false,
                cells: vec![],
            },
            Some(reason),
        ),
    };
    block.dates.push(row.day);
    block.commodities.push(row.commodity);
    block.regions.push(row.region);
    block.bad.push(bad);
    if let Some(closed) = &mut block.closed {
        closed.push(row.closed);
    }
    for (index, values) in block.values.iter_mut().enumerate() {
        match (values, row.cells.get(index)) {
            (Values::Number(values), Some(Cell::Number(number))) => values.push(*number),
            (Values::Number(values), _) => values.push(f64::NAN),
            (Values::Text(values), Some(Cell::Text(text))) => values.push(*text),
            (Values::Text(values), _) => values.push(NO_TEXT),
            (Values::Flag(values), Some(Cell::Flag(flag))) => values.push(*flag),
            (Values::Flag(values), _) => values.push(NO_FLAG),
        }
    }
}

pub(super) fn unreadable(path: &Path, reason: &str) -> IngestError {
    IngestError::Unreadable {
        file: path.to_owned(),
        format: "CSV",
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delimiter_is_the_one_most_used_outside_quotes() {
        assert_eq!(sniff(b"date,commodity,close"), b',');
        assert_eq!(sniff(b"date;commodity;\"a,b,c,d\";close"), b';');
        assert_eq!(sniff(b"date\tcommodity\tclose"), b'\t');
        assert_eq!(sniff(b"date"), b',');
    }
}
