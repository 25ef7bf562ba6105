use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Float32Array, Float64Array, Int32Array, Int64Array,
    StringArray, TimestampMicrosecondArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Schema};
use bytes::Bytes;
use datafusion::common::ScalarValue;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelector,
};
use parquet::basic::Compression;
use parquet::file::metadata::{ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::*;
use crate::snapshot::DataFile;

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(
        columns
            .into_iter()
            .map(|(name, column)| (name, column, true)),
    )
    .unwrap()
}

/// Each batch is one key.
fn written(keys: &[RecordBatch]) -> Finished {
    let mut file = ParquetFile::new(keys[0].schema(), "test").unwrap();
    for key in keys {
        file.write_rows(key).unwrap();
    }
    file.finish().unwrap()
}

fn metadata(file: &Finished) -> ParquetMetaData {
    let reader = SerializedFileReader::new(Bytes::from(file.bytes.clone())).unwrap();
    reader.metadata().clone()
}

fn stats(file: &Finished) -> Value {
    serde_json::from_str(&file.stats).unwrap()
}

/// The statistics of one column of texts, one key each.
fn text_bounds(texts: &[&str]) -> (String, String) {
    let keys: Vec<RecordBatch> = texts
        .iter()
        .map(|text| batch(vec![("t", Arc::new(StringArray::from(vec![*text])))]))
        .collect();
    let stats = stats(&written(&keys));
    let bound = |side: &str| stats[side]["t"].as_str().unwrap().to_owned();
    (bound("minValues"), bound("maxValues"))
}

fn chunk<'a>(metadata: &'a ParquetMetaData, group: usize, name: &str) -> &'a ColumnChunkMetaData {
    metadata
        .row_group(group)
        .columns()
        .iter()
        .find(|chunk| chunk.column_path().string() == name)
        .unwrap()
}

#[test]
fn statistics_are_those_of_the_data() {
    let utc =
        |values: Vec<Option<i64>>| TimestampMicrosecondArray::from(values).with_timezone("UTC");
    let first = batch(vec![
        (
            "date",
            Arc::new(Date32Array::from(vec![Some(19_723), Some(-1), None])),
        ),
        (
            "single",
            Arc::new(Float32Array::from(vec![Some(0.1), None, None])),
        ),
        (
            "double",
            Arc::new(Float64Array::from(vec![Some(0.1), Some(-2.5e-300), None])),
        ),
        (
            "text",
            Arc::new(StringArray::from(vec![Some("b"), Some("ä"), None])),
        ),
        (
            "int",
            Arc::new(Int32Array::from(vec![Some(-7), Some(3), None])),
        ),
        (
            "long",
            Arc::new(Int64Array::from(vec![Some(1 << 40), None, None])),
        ),
        (
            "at",
            Arc::new(utc(vec![Some(1_234_567), Some(2_000_000), None])),
        ),
        (
            "flag",
            Arc::new(BooleanArray::from(vec![Some(true), None, None])),
        ),
        (
            "nothing",
            Arc::new(Float64Array::from(vec![None, None, None])),
        ),
        (
            "parameters",
            Arc::new(StringArray::from(vec!["{}", "{}", "{}"])),
        ),
        (
            "fitted_model_json",
            Arc::new(StringArray::from(vec!["{}", "{}", "{}"])),
        ),
    ]);
    let second = batch(vec![
        ("date", Arc::new(Date32Array::from(vec![19_724]))),
        ("single", Arc::new(Float32Array::from(vec![-4.0]))),
        (
            "double",
            Arc::new(Float64Array::from(vec![12_345.678_901_234_567])),
        ),
        ("text", Arc::new(StringArray::from(vec!["a"]))),
        ("int", Arc::new(Int32Array::from(vec![5]))),
        ("long", Arc::new(Int64Array::from(vec![0]))),
        ("at", Arc::new(utc(vec![Some(2_000_001)]))),
        ("flag", Arc::new(BooleanArray::from(vec![false]))),
        ("nothing", Arc::new(Float64Array::from(vec![None]))),
        ("parameters", Arc::new(StringArray::from(vec!["{}"]))),
        ("fitted_model_json", Arc::new(StringArray::from(vec!["{}"]))),
    ]);
    let file = written(&[first, second]);
    assert_eq!(file.rows, 4);
    let stats = stats(&file);
    assert_eq!(
        stats,
        json!({
            "numRecords": 4,
            "minValues": {
                "date": "1969-12-31",
                "single": -4.0,
                "double": -2.5e-300,
                "text": "a",
                "int": -7,
                "long": 0,
                "at": "1970-01-01T00:00:01.234Z",
            },
            "maxValues": {
                "date": "2024-01-02",
                "single": f64::from(0.1_f32),
                "double": 12_345.678_901_234_567,
                "text": "ä",
                "int": 5,
                "long": 1_i64 << 40,
                "at": "1970-01-01T00:00:02.001Z",
            },
            "nullCount": {
                "date": 1, "single": 2, "double": 1, "text": 1, "int": 1, "long": 2, "at": 1,
                "flag": 2, "nothing": 4,
            },
        })
    );
}

#[test]
fn statistics_are_read_back_as_bounds_of_the_data() {
    let micros = [-1_500_i64, -1, 0, 1, 999, 1_000, 1_700_000_000_123_456];
    let floats = [f32::MIN_POSITIVE, 0.1, 1.0 / 3.0, 16_777_217.0, f32::MAX];
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let of = |column: ArrayRef| DataFile {
        path: "x".to_owned(),
        size: 0,
        rows: None,
        partition_values: vec![],
        modified_ms: 0,
        stats: Some(written(&[batch(vec![("c", column)])]).stats),
    };
    for value in micros {
        let array = TimestampMicrosecondArray::from(vec![value]).with_timezone("UTC");
        let file = of(Arc::new(array));
        let micros = |bound: Option<ScalarValue>| match bound {
            Some(ScalarValue::TimestampMicrosecond(Some(bound), _)) => bound,
            other => panic!("{other:?}"),
        };
        let (lower, upper) = (micros(file.min("c", &utc)), micros(file.max("c", &utc)));
        assert!(lower <= value && value <= upper, "{lower} {value} {upper}");
        assert!(value - lower < 1000 && upper - value < 2000);
    }
    for value in floats.into_iter().flat_map(|value| [value, -value]) {
        let file = of(Arc::new(Float32Array::from(vec![value])));
        let exact = Some(ScalarValue::Float32(Some(value)));
        assert_eq!(file.min("c", &DataType::Float32), exact);
        assert_eq!(file.max("c", &DataType::Float32), exact);
    }
}

#[test]
fn long_texts_are_cut_to_bounds() {
    assert_eq!(
        text_bounds(&["short", "tall"]),
        ("short".to_owned(), "tall".to_owned())
    );
    let exact = "x".repeat(32);
    assert_eq!(text_bounds(&[&exact]), (exact.clone(), exact.clone()));
    assert_eq!(
        text_bounds(&[&"x".repeat(33)]),
        (exact.clone(), format!("{exact}\u{10ffff}"))
    );
    let umlauts = "ü".repeat(40);
    let (lower, upper) = text_bounds(&[&umlauts, "zz"]);
    assert_eq!(
        (lower.as_str(), upper.as_str()),
        ("zz", &*format!("{}\u{10ffff}", "ü".repeat(32)))
    );
}

#[test]
fn cut_texts_stay_bounds_whatever_their_letters() {
    let greatest = char::MAX.to_string();
    let tails = [
        "a".to_owned(),
        "zz".to_owned(),
        greatest.clone(),
        greatest.repeat(3),
        format!("{}a", greatest.repeat(3)),
        format!("a{greatest}"),
    ];
    for start in [0, 31, 32] {
        for tail in &tails {
            for length in [1, 5, 40] {
                let text = format!("{}{}", "m".repeat(start), tail.repeat(length));
                let (lower, upper) = text_bounds(&[&text]);
                assert!(
                    lower <= text && text <= upper,
                    "{text:?} {lower:?} {upper:?}"
                );
            }
        }
    }
}

#[test]
fn values_that_are_no_numbers_give_no_wrong_bounds() {
    let column = |values: Vec<f64>| batch(vec![("v", Arc::new(Float64Array::from(values)))]);
    let infinite = stats(&written(&[column(vec![1.0, f64::INFINITY])]));
    assert_eq!(infinite["minValues"], json!({}));
    assert_eq!(infinite["maxValues"], json!({}));
    assert_eq!(infinite["nullCount"]["v"], json!(0));
    let only_nan = stats(&written(&[column(vec![f64::NAN])]));
    assert_eq!(only_nan["maxValues"], json!({}));
    // Some readers put NaN above all numbers: a bound beside it would hide it from them.
    let mixed = written(&[column(vec![1.0, 2.0]), column(vec![f64::NAN, 3.0])]);
    assert_eq!(stats(&mixed)["maxValues"], json!({}));
    let chunk = chunk(&metadata(&mixed), 0, "v").clone();
    assert!(
        chunk
            .statistics()
            .is_none_or(|found| found.min_bytes_opt().is_none())
    );
}

#[test]
fn a_bound_of_zero_holds_both_zeros() {
    let column = |values: Vec<f64>| batch(vec![("v", Arc::new(Float64Array::from(values)))]);
    for (values, lower, upper) in [
        (vec![0.0, 1.0], -0.0_f64, 1.0_f64),
        (vec![-1.0, -0.0], -1.0, 0.0),
    ] {
        let metadata = metadata(&written(&[column(values)]));
        let Some(Statistics::Double(found)) = chunk(&metadata, 0, "v").statistics() else {
            panic!("a column of numbers has bounds");
        };
        let bits = |value: Option<&f64>| value.map(|value| value.to_bits());
        assert_eq!(bits(found.min_opt()), Some(lower.to_bits()));
        assert_eq!(bits(found.max_opt()), Some(upper.to_bits()));
    }
}

fn key(id: i32, rows: usize) -> RecordBatch {
    let paths = i32::try_from(rows).unwrap();
    batch(vec![
        ("key", Arc::new(Int32Array::from(vec![id; rows]))),
        ("path_id", Arc::new(Int32Array::from_iter_values(1..=paths))),
        (
            "day_1",
            Arc::new(Float32Array::from_iter_values(
                (0..paths).map(|path| path as f32 * 0.1),
            )),
        ),
        (
            "close",
            Arc::new(Float64Array::from_iter_values((0..paths).map(f64::from))),
        ),
        ("name", Arc::new(StringArray::from(vec!["coffee"; rows]))),
    ])
}

#[test]
fn a_row_group_is_a_whole_number_of_keys() {
    let file = written(&(0..40).map(|id| key(id, 2000)).collect::<Vec<_>>());
    let rows: Vec<i64> = metadata(&file)
        .row_groups()
        .iter()
        .map(|group| group.num_rows())
        .collect();
    assert_eq!(rows, [32_000, 32_000, 16_000]);

    let sizes = [1, 31_998, 5, 50_000, 1, 31_999, 7, 3];
    let keys: Vec<RecordBatch> = (0..).zip(sizes).map(|(id, rows)| key(id, rows)).collect();
    let file = written(&keys);
    let metadata = metadata(&file);
    let mut newest = -1;
    for group in 0..metadata.num_row_groups() {
        let Some(Statistics::Int32(found)) = chunk(&metadata, group, "key").statistics() else {
            panic!("no statistics");
        };
        let (first, last) = (*found.min_opt().unwrap(), *found.max_opt().unwrap());
        assert!(first > newest, "key {first} stands in two row groups");
        newest = last;
    }
    assert_eq!(newest, 7);
    assert!(metadata.num_row_groups() > 1);
}

#[test]
fn pages_are_zstd_and_floats_plain() {
    let metadata = metadata(&written(&[key(0, 2000)]));
    for chunk in metadata.row_group(0).columns() {
        assert!(
            matches!(chunk.compression(), Compression::ZSTD(_)),
            "{}",
            chunk.column_path()
        );
    }
    for name in ["day_1", "close"] {
        let chunk = chunk(&metadata, 0, name);
        assert_eq!(chunk.dictionary_page_offset(), None, "{name}");
        let encodings: Vec<Encoding> = chunk.encodings().collect();
        assert!(
            encodings.contains(&Encoding::PLAIN),
            "{name}: {encodings:?}"
        );
        assert!(!encodings.contains(&Encoding::BYTE_STREAM_SPLIT));
    }
    let paths: Vec<Encoding> = chunk(&metadata, 0, "path_id").encodings().collect();
    assert!(paths.contains(&Encoding::DELTA_BINARY_PACKED), "{paths:?}");
    assert!(
        chunk(&metadata, 0, "name")
            .dictionary_page_offset()
            .is_some()
    );
    // Types come from Parquet itself.
    assert!(metadata.file_metadata().key_value_metadata().is_none());
}

#[test]
fn rows_that_do_not_fit_are_refused_by_name() {
    let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int32, true)]));
    let mut file = ParquetFile::new(schema, "forecast.x").unwrap();
    let error = file
        .write_rows(&batch(vec![("a", Arc::new(StringArray::from(vec!["x"])))]))
        .unwrap_err();
    assert!(error.to_string().contains("forecast.x"), "{error}");
}

/// Columns of every kind, some values null, for `rows` rows of the key `key`.
fn every_kind(key: i32, rows: usize) -> Vec<(&'static str, Values)> {
    let null = key % 3 == 0;
    let some = |value: i64| (!null).then_some(value + i64::from(key));
    let text = (!null).then(|| format!("text {}", key % 5));
    let floats = (0..rows).map(|row| (row % 7 != key as usize).then_some(row as f32 - 3.0));
    let utc = TimestampMicrosecondArray::from(vec![some(1_700_000_000_000_000)]);
    vec![
        ("int", Values::Same(Arc::new(Int32Array::from(vec![key])))),
        (
            "date",
            Values::Same(Arc::new(Date32Array::from(vec![
                some(-2).map(|day| day as i32),
            ]))),
        ),
        (
            "long",
            Values::Same(Arc::new(Int64Array::from(vec![some(1 << 40)]))),
        ),
        ("at", Values::Same(Arc::new(utc.with_timezone("UTC")))),
        (
            "flag",
            Values::Same(Arc::new(BooleanArray::from(vec![
                (!null).then_some(key % 2 == 0),
            ]))),
        ),
        (
            "text",
            Values::Same(Arc::new(StringArray::from(vec![text]))),
        ),
        // Has no form as runs: written once for each row.
        (
            "double",
            Values::Same(Arc::new(Float64Array::from(vec![f64::from(key)]))),
        ),
        (
            "nothing",
            Values::Same(Arc::new(StringArray::from(vec![None::<&str>]))),
        ),
        (
            "single",
            Values::Each(Arc::new(floats.collect::<Float32Array>())),
        ),
        (
            "id",
            Values::Each(Arc::new((0..rows as i32).collect::<Int32Array>())),
        ),
    ]
}

#[test]
fn values_given_once_read_as_values_given_for_each_row() {
    let sizes = [1, 2, 7, 2000, 9000, 4000, 12_000, 20_000, 3, 1];
    let keys: Vec<_> = sizes
        .iter()
        .zip(0..)
        .map(|(rows, key)| (every_kind(key, *rows), *rows))
        .collect();
    let fields = keys[0].0.iter().map(|(name, values)| {
        let (Values::Each(array) | Values::Same(array)) = values;
        Field::new(*name, array.data_type().clone(), true)
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let mut file = ParquetFile::new(Arc::clone(&schema), "test").unwrap();
    let mut expected = vec![];
    for (columns, rows) in &keys {
        let values: Vec<Values> = columns.iter().map(|(_, values)| values.clone()).collect();
        file.write_key(&values, *rows).unwrap();
        let whole = values.iter().map(|values| each(values, *rows).unwrap());
        expected.push(RecordBatch::try_new(Arc::clone(&schema), whole.collect()).unwrap());
    }
    let file = file.finish().unwrap();
    let plain = {
        let properties = properties(&schema);
        let mut writer =
            ArrowWriter::try_new(vec![], Arc::clone(&schema), Some(properties)).unwrap();
        let mut rows = 0;
        for batch in &expected {
            if rows >= GROUP_ROWS {
                writer.flush().unwrap();
                rows = 0;
            }
            writer.write(batch).unwrap();
            rows += batch.num_rows();
        }
        let metadata = writer.finish().unwrap();
        super::statistics(&schema, &metadata)
    };
    assert_eq!(stats(&file), plain);
    let read = |file: &Finished| {
        let bytes = Bytes::from(file.bytes.clone());
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
        ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options).unwrap()
    };
    let whole: Vec<RecordBatch> = read(&file).build().unwrap().map(Result::unwrap).collect();
    let whole = concat_batches(&schema, &whole).unwrap();
    assert_eq!(whole, concat_batches(&schema, &expected).unwrap());

    // Pages are found by their index: a selection reads the same rows.
    let start = 2010 + 9000 + 17;
    let selection = vec![RowSelector::skip(start), RowSelector::select(500)];
    let part: Vec<RecordBatch> = read(&file)
        .with_row_selection(selection.into())
        .build()
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        concat_batches(&schema, &part).unwrap(),
        whole.slice(start, 500)
    );
    let index = read(&file).metadata().column_index().unwrap().clone();
    let groups = read(&file).metadata().num_row_groups();
    assert_eq!((groups, index.len()), (2, 2));
    let ColumnIndexMetaData::INT32(keys) = &index[0][0] else {
        panic!("the keys have an index");
    };
    let bounds: Vec<_> = keys.min_values_iter().zip(keys.max_values_iter()).collect();
    assert_eq!(
        bounds,
        [
            (Some(&0), Some(&4)),
            (Some(&5), Some(&6)),
            (Some(&7), Some(&7))
        ]
    );
}
