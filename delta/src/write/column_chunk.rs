//! Column chunks encoded a run or an array at a time.
//!
//! Nearly all columns of a forecast's rows hold one value for the whole key, and the rest are plain
//! floats. The Parquet crate's own writer hashes and copies each value of each row; here a repeated
//! value is one run, and an array of floats is one copy.

use std::cmp::Ordering;
use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};
use arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, Int32Type, Int64Type, TimeUnit,
    TimestampMicrosecondType,
};
use bytes::Bytes;
use parquet::basic::{Compression, Encoding, PageType, Type, ZstdLevel};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{
    ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder, PageEncodingStats,
};
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

/// Level of compression of every page.
pub(super) const ZSTD: i32 = 1;

/// Compresses pages, with one context for all of them.
pub(super) struct Codec(zstd::bulk::Compressor<'static>);

impl Codec {
    pub(super) fn new() -> Result<Self> {
        Ok(Self(zstd::bulk::Compressor::new(ZSTD)?))
    }
}

/// Values as runs: Parquet's RLE, without its bit-packed form.
#[derive(Debug, Default)]
struct Runs(Vec<(u32, u32)>);

impl Runs {
    fn push(&mut self, value: u32, count: u32) {
        match self.0.last_mut() {
            _ if count == 0 => {}
            Some((last, run)) if *last == value => *run += count,
            _ => self.0.push((value, count)),
        }
    }

    fn encode(&self, bits: u32, into: &mut Vec<u8>) {
        for (value, count) in &self.0 {
            let mut header = u64::from(*count) << 1;
            while header >= 0x80 {
                into.push((header & 0x7f) as u8 | 0x80);
                header >>= 7;
            }
            into.push(header as u8);
            into.extend_from_slice(&value.to_le_bytes()[..bits.div_ceil(8) as usize]);
        }
    }
}

/// A chunk's pages, as they come.
struct Pages {
    column: ColumnDescPtr,
    sink: TrackedWrite<Vec<u8>>,
    uncompressed: usize,
    dictionary: bool,
    encoding: Encoding,
    data_offset: Option<u64>,
    offsets: OffsetIndexBuilder,
    data_pages: i32,
    rows: u64,
    nulls: u64,
}

impl Pages {
    fn new(column: ColumnDescPtr, encoding: Encoding) -> Self {
        Self {
            column,
            sink: TrackedWrite::new(vec![]),
            uncompressed: 0,
            dictionary: false,
            encoding,
            data_offset: None,
            offsets: OffsetIndexBuilder::new(),
            data_pages: 0,
            rows: 0,
            nulls: 0,
        }
    }

    fn dictionary(&mut self, codec: &mut Codec, values: &[u8], count: u32) -> Result<()> {
        let page = Page::DictionaryPage {
            buf: Bytes::from(codec.0.compress(values)?),
            num_values: count,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        self.dictionary = true;
        self.put(page, values.len()).map(|_| ())
    }

    /// Adds a data page: definition levels (1 is a value, 0 a null), then the values.
    fn data(&mut self, codec: &mut Codec, levels: &Runs, values: &[u8]) -> Result<()> {
        let count = |wanted: u32| -> u64 {
            let runs = levels.0.iter().filter(|(level, _)| *level == wanted);
            runs.map(|(_, count)| u64::from(*count)).sum()
        };
        let (nulls, rows) = (count(0), count(0) + count(1));
        let mut body = Vec::with_capacity(values.len() + 16);
        if self.column.max_def_level() > 0 {
            body.extend_from_slice(&[0; 4]);
            levels.encode(1, &mut body);
            let length = (body.len() - 4) as u32;
            body[..4].copy_from_slice(&length.to_le_bytes());
        } else if nulls > 0 {
            let column = self.column.path().string();
            return Err(ParquetError::General(format!("`{column}` holds a null")));
        }
        body.extend_from_slice(values);
        let page = Page::DataPage {
            buf: Bytes::from(codec.0.compress(&body)?),
            num_values: rows as u32,
            encoding: self.encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let (offset, size) = self.put(page, body.len())?;
        self.data_offset.get_or_insert(offset);
        self.offsets.append_row_count(rows as i64);
        let size = i32::try_from(size).map_err(|_| ParquetError::General("page size".into()))?;
        self.offsets.append_offset_and_size(offset as i64, size);
        self.data_pages += 1;
        self.rows += rows;
        self.nulls += nulls;
        Ok(())
    }

    /// Offset and size, header included, of the page.
    fn put(&mut self, page: Page, uncompressed: usize) -> Result<(u64, u64)> {
        let page = CompressedPage::new(page, uncompressed);
        let written = SerializedPageWriter::new(&mut self.sink).write_page(page)?;
        self.uncompressed += written.uncompressed_size;
        Ok((written.offset, written.bytes_written))
    }

    fn close(
        self,
        bounds: Option<(Vec<u8>, Vec<u8>)>,
        index: Option<ColumnIndexBuilder>,
    ) -> Result<(Bytes, ColumnCloseResult)> {
        let bytes = Bytes::from(self.sink.into_inner()?);
        let mut encodings = vec![self.encoding, Encoding::RLE];
        if self.dictionary {
            encodings.push(Encoding::PLAIN);
        }
        // Without these, readers take a chunk for not wholly dictionary-encoded.
        let stats = |page_type, encoding, count| PageEncodingStats {
            page_type,
            encoding,
            count,
        };
        let dictionary = self
            .dictionary
            .then(|| stats(PageType::DICTIONARY_PAGE, Encoding::PLAIN, 1));
        let data = stats(PageType::DATA_PAGE, self.encoding, self.data_pages);
        let level = ZstdLevel::try_new(ZSTD)?;
        let statistics = statistics(self.column.physical_type(), bounds, self.nulls)?;
        let metadata = ColumnChunkMetaData::builder(self.column)
            .set_compression(Compression::ZSTD(level))
            .set_encodings(encodings)
            .set_page_encoding_stats(dictionary.into_iter().chain([data]).collect())
            .set_num_values(self.rows as i64)
            .set_total_compressed_size(bytes.len() as i64)
            .set_total_uncompressed_size(self.uncompressed as i64)
            .set_data_page_offset(self.data_offset.unwrap_or_default() as i64)
            .set_dictionary_page_offset(self.dictionary.then_some(0))
            .set_statistics(statistics)
            .build()?;
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: self.rows,
            metadata,
            bloom_filter: None,
            column_index: index.map(ColumnIndexBuilder::build).transpose()?,
            offset_index: Some(self.offsets.build()),
        };
        Ok((bytes, close))
    }
}

/// A column of values that hold for many rows each.
pub(super) struct Repeated {
    column: ColumnDescPtr,
    dictionary: Vec<Vec<u8>>,
    known: HashMap<Vec<u8>, u32>,
    /// Runs of indexes into the dictionary, and of nulls, page by page.
    pages: Vec<Vec<(Option<u32>, u32)>>,
}

impl Repeated {
    /// Whether values of this type can be kept this way.
    pub(super) fn takes(data_type: &DataType) -> bool {
        matches!(
            data_type,
            DataType::Int32
                | DataType::Int64
                | DataType::Date32
                | DataType::Timestamp(TimeUnit::Microsecond, _)
                | DataType::Boolean
                | DataType::Utf8
        )
    }

    pub(super) fn new(column: ColumnDescPtr) -> Self {
        Self {
            column,
            dictionary: vec![],
            known: HashMap::new(),
            pages: vec![vec![]],
        }
    }

    /// Adds `count` rows of the value in `row` of `values`.
    pub(super) fn push(&mut self, values: &ArrayRef, row: usize, count: u32) {
        let index = plain(values, row).map(|value| match self.known.get(&value) {
            Some(index) => *index,
            None => {
                let index = self.dictionary.len() as u32;
                self.dictionary.push(value.clone());
                self.known.insert(value, index);
                index
            }
        });
        if let Some(page) = self.pages.last_mut() {
            match page.last_mut() {
                Some((last, run)) if *last == index => *run += count,
                _ => page.push((index, count)),
            }
        }
    }

    pub(super) fn end_page(&mut self) {
        self.pages.push(vec![]);
    }

    pub(super) fn size(&self) -> usize {
        let values: usize = self.dictionary.iter().map(Vec::len).sum();
        values + self.pages.iter().map(|page| page.len() * 8).sum::<usize>()
    }

    pub(super) fn close(self, codec: &mut Codec) -> Result<(Bytes, ColumnCloseResult)> {
        let kind = self.column.physical_type();
        let flags = kind == Type::BOOLEAN;
        let encoding = if flags {
            Encoding::PLAIN
        } else {
            Encoding::RLE_DICTIONARY
        };
        let mut pages = Pages::new(ColumnDescPtr::clone(&self.column), encoding);
        if !flags {
            let mut values = vec![];
            for value in &self.dictionary {
                if kind == Type::BYTE_ARRAY {
                    values.extend_from_slice(&(value.len() as u32).to_le_bytes());
                }
                values.extend_from_slice(value);
            }
            pages.dictionary(codec, &values, self.dictionary.len() as u32)?;
        }
        let bits = (self.dictionary.len().max(2) - 1).ilog2() + 1;
        let mut index = ColumnIndexBuilder::new(kind);
        let all = bounds(kind, self.dictionary.iter());
        for page in self.pages.iter().filter(|page| !page.is_empty()) {
            let (mut levels, mut indexes) = (Runs::default(), Runs::default());
            for (value, count) in page {
                levels.push(u32::from(value.is_some()), *count);
                if let Some(value) = value {
                    indexes.push(*value, *count);
                }
            }
            let mut body = vec![];
            if flags {
                self.pack_flags(&indexes, &mut body);
            } else {
                body.push(bits as u8);
                indexes.encode(bits, &mut body);
            }
            let nulls = pages.nulls;
            pages.data(codec, &levels, &body)?;
            let nulls = (pages.nulls - nulls) as i64;
            let values = indexes.0.iter();
            let found = bounds(
                kind,
                values.map(|(index, _)| &self.dictionary[*index as usize]),
            );
            let null_page = found.is_none();
            let (lower, upper) = found.unwrap_or_default();
            index.append(null_page, lower, upper, nulls);
        }
        pages.close(all, Some(index))
    }

    /// Bit by bit, the lowest first.
    fn pack_flags(&self, indexes: &Runs, into: &mut Vec<u8>) {
        let mut bit = 0;
        for (index, count) in &indexes.0 {
            let set = self.dictionary[*index as usize] == [1];
            for _ in 0..*count {
                if bit % 8 == 0 {
                    into.push(0);
                }
                if set && let Some(byte) = into.last_mut() {
                    *byte |= 1 << (bit % 8);
                }
                bit += 1;
            }
        }
    }
}

/// A column of floats, page by page as Arrow holds them.
pub(super) struct Floats {
    pages: Pages,
    levels: Runs,
    values: Vec<u8>,
    least: f64,
    greatest: f64,
    /// Whether there is a NaN: readers disagree on where it stands, so there are no bounds then.
    unordered: bool,
}

impl Floats {
    /// Whether values of this type can be kept this way.
    pub(super) fn takes(data_type: &DataType) -> bool {
        matches!(data_type, DataType::Float32 | DataType::Float64)
    }

    pub(super) fn new(column: ColumnDescPtr) -> Self {
        Self {
            pages: Pages::new(column, Encoding::PLAIN),
            levels: Runs::default(),
            values: vec![],
            least: f64::INFINITY,
            greatest: f64::NEG_INFINITY,
            unordered: false,
        }
    }

    pub(super) fn push(&mut self, array: &ArrayRef) {
        let found = match array.data_type() {
            DataType::Float32 => {
                let array = array.as_primitive::<Float32Type>();
                self.copy(array, array.values().inner().as_slice(), 4);
                extremes(array).map(|(least, greatest)| (f64::from(least), f64::from(greatest)))
            }
            _ => {
                let array = array.as_primitive::<Float64Type>();
                self.copy(array, array.values().inner().as_slice(), 8);
                extremes(array)
            }
        };
        match found {
            Some((least, greatest)) => {
                self.least = self.least.min(least);
                self.greatest = self.greatest.max(greatest);
            }
            None => self.unordered |= array.null_count() < array.len(),
        }
    }

    fn copy(&mut self, array: &dyn Array, bytes: &[u8], width: usize) {
        if array.null_count() == 0 {
            self.levels.push(1, array.len() as u32);
            self.values.extend_from_slice(bytes);
            return;
        }
        for (row, value) in bytes.chunks_exact(width).enumerate() {
            self.levels.push(u32::from(array.is_valid(row)), 1);
            if array.is_valid(row) {
                self.values.extend_from_slice(value);
            }
        }
    }

    pub(super) fn end_page(&mut self, codec: &mut Codec) -> Result<()> {
        if self.levels.0.is_empty() {
            return Ok(());
        }
        self.pages.data(codec, &self.levels, &self.values)?;
        self.levels.0.clear();
        self.values.clear();
        Ok(())
    }

    pub(super) fn size(&self) -> usize {
        self.pages.sink.bytes_written() + self.values.len()
    }

    pub(super) fn close(mut self, codec: &mut Codec) -> Result<(Bytes, ColumnCloseResult)> {
        self.end_page(codec)?;
        // A zero has two signs; the bounds must hold both.
        let least = if self.least == 0.0 { -0.0 } else { self.least };
        let greatest = if self.greatest == 0.0 {
            0.0
        } else {
            self.greatest
        };
        let bounded = least <= greatest && !self.unordered;
        let bounds = bounded.then(|| match self.pages.column.physical_type() {
            Type::FLOAT => (
                (least as f32).to_le_bytes().to_vec(),
                (greatest as f32).to_le_bytes().to_vec(),
            ),
            _ => (
                least.to_le_bytes().to_vec(),
                greatest.to_le_bytes().to_vec(),
            ),
        });
        self.pages.close(bounds, None)
    }
}

/// The least and the greatest value; `None` without a value, or with a NaN.
fn extremes<T: ArrowPrimitiveType<Native: PartialOrd>>(
    array: &PrimitiveArray<T>,
) -> Option<(T::Native, T::Native)> {
    let first = array.iter().flatten().next()?;
    let mut found = (first, first);
    let mut nan = false;
    for value in array.iter().flatten() {
        // Only NaN is not ordered with itself.
        nan |= value.partial_cmp(&value).is_none();
        if value < found.0 {
            found.0 = value;
        }
        if value > found.1 {
            found.1 = value;
        }
    }
    (!nan).then_some(found)
}

/// One value in Parquet's plain form, a text without its length; `None` is null.
fn plain(values: &ArrayRef, row: usize) -> Option<Vec<u8>> {
    if values.is_null(row) {
        return None;
    }
    let short = |value: i32| value.to_le_bytes().to_vec();
    let long = |value: i64| value.to_le_bytes().to_vec();
    Some(match values.data_type() {
        DataType::Int32 => short(values.as_primitive::<Int32Type>().value(row)),
        DataType::Date32 => short(values.as_primitive::<Date32Type>().value(row)),
        DataType::Int64 => long(values.as_primitive::<Int64Type>().value(row)),
        DataType::Timestamp(..) => {
            long(values.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        DataType::Boolean => vec![u8::from(values.as_boolean().value(row))],
        _ => values.as_string::<i32>().value(row).as_bytes().to_vec(),
    })
}

fn bounds<'a>(
    kind: Type,
    values: impl Iterator<Item = &'a Vec<u8>> + Clone,
) -> Option<(Vec<u8>, Vec<u8>)> {
    let order = |a: &&Vec<u8>, b: &&Vec<u8>| order(kind, a, b);
    let least = values.clone().min_by(order)?;
    let greatest = values.max_by(order)?;
    Some((least.clone(), greatest.clone()))
}

fn order(kind: Type, left: &[u8], right: &[u8]) -> Ordering {
    match kind {
        Type::INT32 => number(left)
            .map(i32::from_le_bytes)
            .cmp(&number(right).map(i32::from_le_bytes)),
        Type::INT64 => number(left)
            .map(i64::from_le_bytes)
            .cmp(&number(right).map(i64::from_le_bytes)),
        _ => left.cmp(right),
    }
}

fn number<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

fn statistics(kind: Type, bounds: Option<(Vec<u8>, Vec<u8>)>, nulls: u64) -> Result<Statistics> {
    let (least, greatest) = bounds.unzip();
    let (least, greatest) = (least.as_deref(), greatest.as_deref());
    let nulls = Some(nulls);
    macro_rules! of_numbers {
        ($make:ident, $number:ty) => {{
            let read = |bytes: &[u8]| number(bytes).map(<$number>::from_le_bytes);
            let (least, greatest) = (least.and_then(read), greatest.and_then(read));
            Statistics::$make(least, greatest, None, nulls, false)
        }};
    }
    Ok(match kind {
        Type::INT32 => of_numbers!(int32, i32),
        Type::INT64 => of_numbers!(int64, i64),
        Type::FLOAT => of_numbers!(float, f32),
        Type::DOUBLE => of_numbers!(double, f64),
        Type::BOOLEAN => {
            let read = |bytes: &[u8]| bytes == [1];
            Statistics::boolean(least.map(read), greatest.map(read), None, nulls, false)
        }
        Type::BYTE_ARRAY => {
            let read = |bytes: &[u8]| ByteArray::from(bytes.to_vec());
            Statistics::byte_array(least.map(read), greatest.map(read), None, nulls, false)
        }
        other => {
            return Err(ParquetError::NYI(format!("statistics of {other}")));
        }
    })
}
