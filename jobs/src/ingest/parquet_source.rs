//! Rows from Parquet files, and from memory in the same form.

use std::fs::File;
use std::path::Path;

use almanac_udfs::forecasters::date::Day;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Float64Type, Schema, SchemaRef, TimeUnit};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::IngestRequest;
use super::cells;
use super::error::IngestError;
use super::header::{Header, Kind};
use super::incoming::{
    Block, EVERYWHERE, Format, Incoming, NO_FLAG, NO_TEXT, Reason, Values, finite,
};

/// What every Parquet file begins and ends with.
pub(super) const MAGIC: &[u8] = b"PAR1";

const BATCH_ROWS: usize = 8192;
const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Reads a whole file.
pub(super) fn read(
    path: &Path,
    request: &IngestRequest,
    table: &Schema,
    incoming: &mut Incoming,
) -> Result<(), IngestError> {
    let (schema, rows, reader) = open(path)?;
    begin(
        path,
        Format::Parquet,
        &schema,
        rows,
        request,
        table,
        incoming,
    )?;
    let mut row = 0_u32;
    for batch in reader {
        let batch = batch.map_err(|error| unreadable(path, &error.to_string()))?;
        row = append(path, &batch, row, request, incoming)?;
    }
    incoming.end(u64::from(row))
}

/// Takes rows that are in memory. `path` names them in messages.
pub(super) fn take(
    path: &Path,
    rows: &RecordBatch,
    request: &IngestRequest,
    table: &Schema,
    incoming: &mut Incoming,
) -> Result<(), IngestError> {
    begin(
        path,
        Format::Memory,
        rows.schema_ref(),
        rows.num_rows(),
        request,
        table,
        incoming,
    )?;
    let mut row = 0;
    for start in (0..rows.num_rows()).step_by(BATCH_ROWS) {
        let batch = rows.slice(start, BATCH_ROWS.min(rows.num_rows() - start));
        row = append(path, &batch, row, request, incoming)?;
    }
    incoming.end(u64::from(row))
}

/// Opens a file: its columns, its number of rows, and the rows.
pub(super) fn open(
    path: &Path,
) -> Result<(SchemaRef, usize, ParquetRecordBatchReader), IngestError> {
    let wrap = |source| IngestError::Open {
        file: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(wrap)?;
    let damaged = |error: parquet::errors::ParquetError| unreadable(path, &error.to_string());
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(damaged)?;
    let rows = usize::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
    if u32::try_from(rows).is_err() {
        return Err(unreadable(path, "it has more than 4 billion rows"));
    }
    let schema = builder.schema().clone();
    let reader = builder
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(damaged)?;
    Ok((schema, rows, reader))
}

fn begin(
    path: &Path,
    format: Format,
    schema: &Schema,
    rows: usize,
    request: &IngestRequest,
    table: &Schema,
    incoming: &mut Incoming,
) -> Result<(), IngestError> {
    let names = schema
        .fields()
        .iter()
        .map(|field| field.name().trim().to_owned())
        .collect();
    let header = Header::new(path, names, request, table)?;
    let check = |index: usize, fits: fn(&DataType) -> bool, needed: &'static str| {
        let field = schema.field(index);
        if fits(field.data_type()) {
            return Ok(());
        }
        Err(IngestError::WrongType {
            file: path.to_owned(),
            column: field.name().clone(),
            found: field.data_type().to_string(),
            needed,
        })
    };
    check(
        header.date,
        |found| is_date(found) || is_text(found),
        "dates",
    )?;
    for index in [header.commodity, header.region].into_iter().flatten() {
        check(index, is_text, "text")?;
    }
    let is_flag = |found: &DataType| is_text(found) || is_number(found);
    if let Some(index) = header.trading_day {
        check(index, is_flag, "0 or 1")?;
    }
    for column in &header.values {
        match column.kind {
            Kind::Number => check(
                column.index,
                |found| is_text(found) || is_number(found),
                "numbers",
            )?,
            Kind::Text => check(column.index, is_text, "text")?,
            Kind::Flag => check(column.index, is_flag, "0 or 1")?,
        }
    }
    incoming.begin(path.to_owned(), format, header, rows);
    Ok(())
}

/// Adds a batch that follows row `before` of its file; returns its last row.
fn append(
    path: &Path,
    batch: &RecordBatch,
    before: u32,
    request: &IngestRequest,
    incoming: &mut Incoming,
) -> Result<u32, IngestError> {
    let Some(source) = incoming.sources.last() else {
        return Ok(before);
    };
    let header = source.header.clone();
    let rows = batch.num_rows();
    let mut bad: Vec<Option<Reason>> = vec![None; rows];
    let dates = days(batch.column(header.date), &mut bad, incoming)?;
    let commodity = request.commodity.as_deref().and_then(cells::present);
    let commodities = match header.commodity {
        Some(index) => {
            let texts = texts(batch.column(index))?;
            let mut ids = Vec::with_capacity(rows);
            for (row, bad) in bad.iter_mut().enumerate() {
                ids.push(match at(&texts, row) {
                    Some(text) => incoming.commodity_names.id(text),
                    None => {
                        bad.get_or_insert(Reason::NoCommodity);
                        0
                    }
                });
            }
            ids
        }
        None => match commodity {
            Some(text) => vec![incoming.commodity_names.id(text); rows],
            None => {
                bad.iter_mut()
                    .for_each(|bad| *bad = bad.or(Some(Reason::NoCommodity)));
                vec![0; rows]
            }
        },
    };
    let regions = match header.region {
        Some(index) => {
            let texts = texts(batch.column(index))?;
            (0..rows)
                .map(|row| {
                    incoming
                        .region_names
                        .id(at(&texts, row).unwrap_or(EVERYWHERE))
                })
                .collect()
        }
        None => {
            let region = request.region.as_deref().and_then(cells::present);
            vec![incoming.region_names.id(region.unwrap_or(EVERYWHERE)); rows]
        }
    };
    let closed = match header.trading_day {
        Some(index) => {
            let flags = flags(batch.column(index), index, &mut bad)?;
            Some(flags.into_iter().map(|flag| flag == 0).collect())
        }
        None => None,
    };
    let mut values = vec![];
    for (value, column) in header.values.iter().enumerate() {
        let array = batch.column(column.index);
        values.push(match column.kind {
            Kind::Number => {
                Values::Number(numbers(array, value, column.index, &mut bad, incoming)?)
            }
            Kind::Text => {
                let texts = texts(array)?;
                let id = |row| at(&texts, row).map_or(NO_TEXT, |text| incoming.texts.id(text));
                Values::Text((0..rows).map(id).collect())
            }
            Kind::Flag => Values::Flag(flags(array, column.index, &mut bad)?),
        });
    }
    let last = u32::try_from(rows)
        .ok()
        .and_then(|rows| before.checked_add(rows));
    let last = last.ok_or_else(|| unreadable(path, "it has more than 4 billion rows"))?;
    incoming.append(Block {
        first_row: before + 1,
        dates,
        commodities,
        regions,
        values,
        closed,
        bad,
    });
    Ok(last)
}

fn days(
    array: &ArrayRef,
    bad: &mut [Option<Reason>],
    incoming: &Incoming,
) -> Result<Vec<Day>, IngestError> {
    if is_text(array.data_type()) {
        let texts = texts(array)?;
        return Ok(mark(bad, |row| {
            if texts.is_null(row) {
                Err(Reason::NoDate)
            } else {
                incoming.day(texts.value(row))
            }
        }));
    }
    if array.data_type() == &DataType::Date32 {
        let days = array.as_primitive::<Date32Type>();
        return Ok(mark(bad, |row| {
            if days.is_null(row) {
                Err(Reason::NoDate)
            } else {
                incoming.day_in_range(days.value(row))
            }
        }));
    }
    // Nanoseconds are cut to microseconds, which still tells every time of day that files hold.
    let zone = match array.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let instants = cast(array, &DataType::Timestamp(TimeUnit::Microsecond, zone))?;
    let instants = instants.as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
    Ok(mark(bad, |row| {
        let instant = instants.value(row);
        if instants.is_null(row) {
            Err(Reason::NoDate)
        } else if instant.rem_euclid(MICROS_PER_DAY) != 0 {
            Err(Reason::NotMidnight)
        } else {
            let day =
                Day::try_from(instant.div_euclid(MICROS_PER_DAY)).map_err(|_| Reason::BadDate)?;
            incoming.day_in_range(day)
        }
    }))
}

fn numbers(
    array: &ArrayRef,
    value: usize,
    position: usize,
    bad: &mut [Option<Reason>],
    incoming: &mut Incoming,
) -> Result<Vec<f64>, IngestError> {
    if is_text(array.data_type()) {
        let texts = texts(array)?;
        return Ok(mark(bad, |row| {
            if texts.is_null(row) {
                Ok(f64::NAN)
            } else {
                incoming.number(value, texts.value(row))
            }
        }));
    }
    let numbers = cast(array, &DataType::Float64)?;
    let numbers = numbers.as_primitive::<Float64Type>();
    if numbers.null_count() == 0 && numbers.values().iter().all(|number| !number.is_infinite()) {
        return Ok(numbers.values().to_vec());
    }
    Ok(mark(bad, |row| {
        if numbers.is_null(row) {
            Ok(f64::NAN)
        } else {
            finite(numbers.value(row), position)
        }
    }))
}

fn flags(
    array: &ArrayRef,
    position: usize,
    bad: &mut [Option<Reason>],
) -> Result<Vec<u8>, IngestError> {
    if is_text(array.data_type()) {
        let texts = texts(array)?;
        return Ok(mark(bad, |row| match at(&texts, row) {
            None => Ok(NO_FLAG),
            Some(text) => cells::flag(text)
                .map(u8::from)
                .ok_or(Reason::NotAFlag(position)),
        }));
    }
    let truth: Option<&BooleanArray> = array.as_boolean_opt();
    let numbers = cast(array, &DataType::Float64)?;
    let numbers = numbers.as_primitive::<Float64Type>();
    Ok(mark(bad, |row| {
        if array.is_null(row) {
            Ok(NO_FLAG)
        } else if let Some(truth) = truth {
            Ok(u8::from(truth.value(row)))
        } else if numbers.value(row) == 0.0 {
            Ok(0)
        } else if numbers.value(row) == 1.0 {
            Ok(1)
        } else {
            Err(Reason::NotAFlag(position))
        }
    }))
}

/// The values of all rows; a row without one is marked unless it is already.
fn mark<T: Default>(
    bad: &mut [Option<Reason>],
    mut value: impl FnMut(usize) -> Result<T, Reason>,
) -> Vec<T> {
    bad.iter_mut()
        .enumerate()
        .map(|(row, bad)| {
            value(row).unwrap_or_else(|reason| {
                bad.get_or_insert(reason);
                T::default()
            })
        })
        .collect()
}

fn texts(array: &ArrayRef) -> Result<StringArray, IngestError> {
    Ok(cast(array, &DataType::Utf8)?.as_string::<i32>().clone())
}

fn at(texts: &StringArray, row: usize) -> Option<&str> {
    if texts.is_null(row) {
        None
    } else {
        cells::present(texts.value(row))
    }
}

fn is_text(found: &DataType) -> bool {
    match found {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => true,
        DataType::Dictionary(_, value) => is_text(value),
        _ => false,
    }
}

fn is_number(found: &DataType) -> bool {
    match found {
        DataType::Dictionary(_, value) => is_number(value),
        DataType::Boolean | DataType::Null => true,
        found => found.is_numeric(),
    }
}

fn is_date(found: &DataType) -> bool {
    matches!(
        found,
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(_, _)
    )
}

fn unreadable(path: &Path, reason: &str) -> IngestError {
    IngestError::Unreadable {
        file: path.to_owned(),
        format: "Parquet",
        reason: reason.to_owned(),
    }
}
