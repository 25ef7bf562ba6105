use arrow::array::{
    BooleanArray, Date32Array, Float32Array, Int32Array, Int64Array, ListArray, StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Float32Type, Schema};
use futures::TryStreamExt;
use object_store::memory::InMemory;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;
use crate::tables::{Layout, TableName};
use crate::write::Offload;

const ROOT: &str = "some/lake";

fn spec() -> WriteSpec {
    WriteSpec {
        store_url: "memory:///".to_owned(),
        root: ROOT.to_owned(),
        layout: Layout::Commodity,
        targets: vec![
            Target {
                table: TableName::Distributions,
                source: RowSource::Rows,
            },
            Target {
                table: TableName::PointForecasts,
                source: RowSource::Unnest("points".to_owned()),
            },
        ],
        date_column: "forecast_start_date".to_owned(),
        slices: BTreeMap::from([(3, "third".to_owned())]),
        attempt: "attempt".to_owned(),
        offload: None,
    }
}

fn key(commodity: &str, date: i32) -> UnitKey {
    UnitKey {
        commodity: commodity.to_owned(),
        model_name: "naive".to_owned(),
        model_version: "v1".to_owned(),
        date,
    }
}

/// What the rows of one key are, apart from the key.
#[derive(Clone, Copy)]
struct Make {
    slice: i32,
    paths: i32,
    error: Option<(&'static str, &'static str)>,
    leak: bool,
    input: Option<(i64, i32)>,
}

const MAKE: Make = Make {
    slice: 3,
    paths: 4,
    error: None,
    leak: false,
    input: None,
};

/// The rows of one key as the forecast plan hands them over: points of two days in the first path.
fn rows(commodity: &str, date: i32, make: Make) -> RecordBatch {
    let count = usize::try_from(make.paths).unwrap();
    let text =
        |value: Option<&str>| -> ArrayRef { Arc::new(StringArray::from(vec![value; count])) };
    let days: Vec<(Arc<Field>, ArrayRef)> = vec![
        (
            Arc::new(Field::new("day_ahead", DataType::Int32, true)),
            Arc::new(Int32Array::from(vec![1, 2])),
        ),
        (
            Arc::new(Field::new("forecast_date", DataType::Date32, true)),
            Arc::new(Date32Array::from(vec![date, date + 1])),
        ),
    ];
    let points = StructArray::from(days);
    let item = Arc::new(Field::new_list_field(points.data_type().clone(), true));
    let lengths = std::iter::once(2).chain(std::iter::repeat_n(0, count - 1));
    let first_only = (0..count).map(|path| path == 0).collect::<Vec<_>>().into();
    let points = ListArray::new(
        item,
        OffsetBuffer::from_lengths(lengths),
        Arc::new(points),
        Some(first_only),
    );
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("slice", Arc::new(Int32Array::from(vec![make.slice; count]))),
        ("commodity", text(Some(commodity))),
        ("model_name", text(Some("naive"))),
        ("model_version", text(Some("v1"))),
        (
            "forecast_start_date",
            Arc::new(Date32Array::from(vec![date; count])),
        ),
        (
            "path_id",
            Arc::new(Int32Array::from_iter_values(1..=make.paths)),
        ),
        (
            "day_1",
            Arc::new(Float32Array::from_iter_values(
                (1..=make.paths).map(|path| (date * 100 + path) as f32),
            )),
        ),
        ("points", Arc::new(points)),
        (
            "has_data_leakage",
            Arc::new(BooleanArray::from(vec![make.leak; count])),
        ),
        ("error_class", text(make.error.map(|(class, _)| class))),
        (
            "error_message",
            text(make.error.map(|(_, message)| message)),
        ),
        (
            "scanned_rows",
            Arc::new(Int64Array::from(vec![
                make.input.map(|(rows, _)| rows);
                count
            ])),
        ),
        (
            "scanned_newest",
            Arc::new(Date32Array::from(vec![
                make.input.map(|(_, day)| day);
                count
            ])),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(
        columns
            .into_iter()
            .map(|(name, column)| (name, column, true)),
    )
    .unwrap()
}

struct Place {
    store: Arc<dyn ObjectStore>,
    spec: Arc<WriteSpec>,
}

impl Place {
    fn new(spec: WriteSpec) -> Self {
        Self {
            store: Arc::new(InMemory::new()),
            spec: Arc::new(spec),
        }
    }

    async fn write(&self, batches: &[RecordBatch]) -> Result<Option<Manifest>, DeltaError> {
        let mut writer = SliceWriter::new(
            Arc::clone(&self.spec),
            Arc::clone(&self.store),
            Path::parse(&self.spec.root).unwrap(),
        );
        for batch in batches {
            writer.write(batch).await?;
        }
        writer.finish().await
    }

    async fn objects(&self) -> Vec<String> {
        let mut found: Vec<String> = self
            .store
            .list(None)
            .map_ok(|object| object.location.to_string())
            .try_collect()
            .await
            .unwrap();
        found.sort();
        found
    }

    async fn read(&self, file: &NewFile) -> RecordBatch {
        let path = under(&Path::from(ROOT), &file.path);
        let bytes = self.store.get(&path).await.unwrap().bytes().await.unwrap();
        assert_eq!(bytes.len() as u64, file.size);
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
        let schema = Arc::clone(reader.schema());
        let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
        concat_batches(&schema, &batches).unwrap()
    }
}

#[tokio::test]
async fn a_slice_becomes_files_of_each_table_and_a_manifest() {
    let place = Place::new(spec());
    let batches = [
        rows("café/1", 10, MAKE),
        rows("café/1", 11, MAKE),
        rows("tea", 10, MAKE),
    ];
    let manifest = place.write(&batches).await.unwrap().unwrap();
    assert_eq!(
        (manifest.slice.as_str(), manifest.attempt.as_str()),
        ("third", "attempt")
    );
    assert_eq!(
        manifest.keys,
        [
            (key("café/1", 10), 4),
            (key("café/1", 11), 4),
            (key("tea", 10), 4)
        ]
    );
    assert_eq!((manifest.failures.len(), manifest.leaks.len()), (0, 0));
    assert_eq!(manifest.input, None);

    let paths = &manifest.files[&TableName::Distributions];
    let partitions: Vec<_> = paths
        .iter()
        .map(|file| file.partition_values.clone())
        .collect();
    let partition = |commodity: &str| {
        vec![
            ("model_version".to_owned(), Some("v1".to_owned())),
            ("commodity".to_owned(), Some(commodity.to_owned())),
        ]
    };
    assert_eq!(partitions, [partition("café/1"), partition("tea")]);
    let folder = "forecast/distributions/model_version=v1/commodity=caf__1/";
    assert!(paths[0].path.starts_with(folder), "{}", paths[0].path);
    let coffee = place.read(&paths[0]).await;
    assert_eq!(
        coffee.schema().fields().len(),
        spec().targets[0]
            .table
            .def(&Layout::Commodity)
            .file_schema()
            .fields()
            .len()
    );
    let column = |name: &str| coffee.column_by_name(name).unwrap();
    assert_eq!(
        column("path_id").as_ref(),
        &Int32Array::from(vec![1, 2, 3, 4, 1, 2, 3, 4])
    );
    assert_eq!(
        column("forecast_start_date").as_ref(),
        &Date32Array::from(vec![10, 10, 10, 10, 11, 11, 11, 11])
    );
    let values = column("day_1")
        .as_primitive::<Float32Type>()
        .values()
        .to_vec();
    assert_eq!(
        values,
        [
            1001.0, 1002.0, 1003.0, 1004.0, 1101.0, 1102.0, 1103.0, 1104.0
        ]
    );
    assert_eq!(column("day_2").null_count(), 8);
    let stats: serde_json::Value = serde_json::from_str(&paths[0].stats).unwrap();
    assert_eq!(stats["numRecords"], 8);
    assert_eq!(stats["maxValues"]["forecast_start_date"], "1970-01-12");

    let points = &manifest.files[&TableName::PointForecasts];
    assert_eq!(points.len(), 2);
    let coffee = place.read(&points[0]).await;
    let column = |name: &str| coffee.column_by_name(name).unwrap();
    assert_eq!(
        column("day_ahead").as_ref(),
        &Int32Array::from(vec![1, 2, 1, 2])
    );
    assert_eq!(
        column("forecast_date").as_ref(),
        &Date32Array::from(vec![10, 11, 11, 12])
    );
    assert_eq!(
        column("forecast_start_date").as_ref(),
        &Date32Array::from(vec![10, 10, 11, 11])
    );
    assert_eq!(place.objects().await.len(), 4);
}

#[tokio::test]
async fn failures_leaks_and_what_was_read_are_put_down() {
    let place = Place::new(spec());
    let input = Some((77, 9));
    let failed = Make {
        paths: 1,
        error: Some(("stale", "too old")),
        input,
        ..MAKE
    };
    let leaks = Make {
        leak: true,
        input,
        ..MAKE
    };
    let good = rows("coffee", 10, Make { input, ..MAKE });
    let mixed = concat_batches(&good.schema(), [&good, &rows("coffee", 11, failed)]).unwrap();
    let batches = [mixed, rows("coffee", 12, leaks)];
    let manifest = place.write(&batches).await.unwrap().unwrap();
    assert_eq!(
        manifest.keys,
        [(key("coffee", 10), 4), (key("coffee", 12), 4)]
    );
    let failure = UnitFailure {
        key: key("coffee", 11),
        error_class: "stale".to_owned(),
        message: "too old".to_owned(),
    };
    assert_eq!(manifest.failures, [failure]);
    assert_eq!(manifest.leaks, [key("coffee", 12)]);
    assert_eq!(
        manifest.input,
        Some(SliceInput {
            rows: 77,
            newest: Some(9)
        })
    );
    let file = &manifest.files[&TableName::Distributions][0];
    assert_eq!(place.read(file).await.num_rows(), 8);
}

#[tokio::test]
async fn a_slice_of_failures_has_a_manifest_and_no_file() {
    let place = Place::new(spec());
    let failed = Make {
        paths: 1,
        error: Some(("panic", "drill")),
        ..MAKE
    };
    let manifest = place
        .write(&[rows("coffee", 10, failed)])
        .await
        .unwrap()
        .unwrap();
    assert_eq!((manifest.keys.len(), manifest.failures.len()), (0, 1));
    assert!(manifest.files.values().all(Vec::is_empty));
    assert_eq!(place.objects().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_partition_without_rows_leaves_nothing() {
    let place = Place::new(spec());
    let empty = rows("coffee", 10, MAKE).slice(0, 0);
    assert_eq!(place.write(&[]).await.unwrap(), None);
    assert_eq!(place.write(&[empty]).await.unwrap(), None);
}

async fn refused(batches: &[RecordBatch]) -> String {
    let error = Place::new(spec()).write(batches).await.unwrap_err();
    assert!(matches!(error, DeltaError::Corrupt { .. }), "{error:?}");
    error.to_string()
}

#[tokio::test]
async fn rows_of_two_slices_are_refused() {
    let (own, foreign) = (
        rows("coffee", 10, MAKE),
        rows("coffee", 11, Make { slice: 4, ..MAKE }),
    );
    let both = concat_batches(&own.schema(), [&own, &foreign]).unwrap();
    for batches in [vec![own, foreign], vec![both]] {
        let error = refused(&batches).await;
        assert!(error.contains("rows of slice 4"), "{error}");
    }
    let error = refused(&[rows("coffee", 10, Make { slice: 9, ..MAKE })]).await;
    assert!(error.contains("no name"), "{error}");
}

#[tokio::test]
async fn a_key_may_span_batches_but_must_stand_together() {
    let (ten, eleven) = (rows("coffee", 10, MAKE), rows("coffee", 11, MAKE));
    let place = Place::new(spec());
    let parts = [ten.slice(0, 1), ten.slice(1, 3), eleven.clone()];
    let manifest = place.write(&parts).await.unwrap().unwrap();
    assert_eq!(
        manifest.keys,
        [(key("coffee", 10), 4), (key("coffee", 11), 4)]
    );

    let apart = [ten.slice(0, 1), eleven.clone(), ten.slice(1, 3)];
    let error = refused(&apart).await;
    assert!(error.contains("do not stand together"), "{error}");
    let error = refused(&[concat_batches(&ten.schema(), &apart).unwrap()]).await;
    assert!(error.contains("do not stand together"), "{error}");
}

#[tokio::test]
async fn a_missing_column_is_named() {
    let batch = rows("coffee", 10, MAKE);
    let error = Place::new(spec())
        .write(&[batch.project(&[0, 1, 2]).unwrap()])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("scanned_rows"), "{error}");
}

#[tokio::test]
async fn a_lake_of_buckets_partitions_by_bucket() {
    let place = Place::new(WriteSpec {
        layout: Layout::Buckets(8),
        ..spec()
    });
    let bucketed = |commodity: &str, bucket: i32| {
        let batch = rows(commodity, 10, MAKE);
        let mut fields = batch.schema().fields().to_vec();
        fields.push(Arc::new(Field::new("series_bucket", DataType::Int32, true)));
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(Int32Array::from(vec![bucket; batch.num_rows()])));
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    };
    let batches = [
        bucketed("coffee", 5),
        bucketed("tea", 5),
        bucketed("wheat", 6),
    ];
    let manifest = place.write(&batches).await.unwrap().unwrap();
    let files = &manifest.files[&TableName::Distributions];
    let buckets: Vec<_> = files
        .iter()
        .map(|file| file.partition_values[1].1.as_deref())
        .collect();
    assert_eq!(buckets, [Some("5"), Some("6")]);
    let read = place.read(&files[0]).await;
    let names: Vec<_> = read
        .column_by_name("commodity")
        .unwrap()
        .as_string::<i32>()
        .iter()
        .flatten()
        .collect();
    assert_eq!(
        names,
        [
            "coffee", "coffee", "coffee", "coffee", "tea", "tea", "tea", "tea"
        ]
    );
}

/// Rows of `trained_models`, one key each.
fn models(states: &[Option<&str>]) -> RecordBatch {
    let count = states.len();
    let text = |value: &str| -> ArrayRef { Arc::new(StringArray::from(vec![value; count])) };
    let none = || -> ArrayRef { Arc::new(StringArray::from(vec![None::<&str>; count])) };
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("slice", Arc::new(Int32Array::from(vec![3; count]))),
        ("model_id", text("id")),
        ("commodity", text("coffee")),
        ("model_name", text("naive")),
        ("model_version", text("v1")),
        (
            "training_date",
            Arc::new(Date32Array::from_iter_values((0..).take(count))),
        ),
        (
            "fitted_model_json",
            Arc::new(StringArray::from(states.to_vec())),
        ),
        ("fitted_model_s3_path", none()),
        ("error_class", none()),
        ("error_message", none()),
        (
            "scanned_rows",
            Arc::new(Int64Array::from(vec![None; count])),
        ),
        (
            "scanned_newest",
            Arc::new(Date32Array::from(vec![None; count])),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(
        columns
            .into_iter()
            .map(|(name, column)| (name, column, true)),
    )
    .unwrap()
}

#[tokio::test]
async fn large_texts_become_objects_named_by_their_content() {
    let place = Place::new(WriteSpec {
        targets: vec![Target {
            table: TableName::TrainedModels,
            source: RowSource::Rows,
        }],
        date_column: "training_date".to_owned(),
        offload: Some(Offload {
            column: "fitted_model_json".to_owned(),
            path_column: "fitted_model_s3_path".to_owned(),
            from_bytes: 100,
        }),
        ..spec()
    });
    let (small, large) = ("s".repeat(99), "l".repeat(100));
    let states = [
        Some(small.as_str()),
        Some(large.as_str()),
        None,
        Some(large.as_str()),
    ];
    let manifest = place.write(&[models(&states)]).await.unwrap().unwrap();
    let read = place
        .read(&manifest.files[&TableName::TrainedModels][0])
        .await;
    let texts = |name: &str| -> Vec<Option<String>> {
        let column = read.column_by_name(name).unwrap().as_string::<i32>();
        column.iter().map(|text| text.map(str::to_owned)).collect()
    };
    assert_eq!(texts("fitted_model_json"), [Some(small), None, None, None]);
    let object = format!("{STATES}/{}.json", hex(&Sha256::digest(large.as_bytes())));
    let paths = texts("fitted_model_s3_path");
    assert_eq!(
        paths,
        [None, Some(object.clone()), None, Some(object.clone())]
    );
    let states: Vec<String> = place
        .objects()
        .await
        .into_iter()
        .filter(|path| path.contains(STATES))
        .collect();
    assert_eq!(states, [format!("{ROOT}/{object}")]);
    let stored = place
        .store
        .get(&Path::from(states[0].as_str()))
        .await
        .unwrap();
    assert_eq!(stored.bytes().await.unwrap(), large.as_bytes());
}

/// One key as a forecast hands it over: one row with its paths and points as lists.
fn forecast(commodity: &str, date: i32, paths: i32) -> RecordBatch {
    let flat = rows(commodity, date, Make { paths, ..MAKE });
    let column = |name: &str| Arc::clone(flat.column_by_name(name).unwrap());
    let structs = StructArray::from(vec![
        (
            Arc::new(Field::new("path_id", DataType::Int32, true)),
            column("path_id"),
        ),
        (
            Arc::new(Field::new("day_1", DataType::Float32, true)),
            column("day_1"),
        ),
    ]);
    let item = Arc::new(Field::new_list_field(structs.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths([structs.len()]);
    let list: ArrayRef = Arc::new(ListArray::new(item, offsets, Arc::new(structs), None));
    let kept = flat.schema();
    let kept = kept
        .fields()
        .iter()
        .filter(|field| !["path_id", "day_1"].contains(&field.name().as_str()));
    let columns = kept.map(|field| (field.name().clone(), column(field.name()).slice(0, 1)));
    let columns: Vec<_> = columns.chain([("paths".to_owned(), list)]).collect();
    RecordBatch::try_from_iter_with_nullable(
        columns
            .into_iter()
            .map(|(name, column)| (name, column, true)),
    )
    .unwrap()
}

#[tokio::test]
async fn paths_in_lists_become_the_rows_that_paths_in_rows_become() {
    let flat = Place::new(spec());
    let mut nested = spec();
    nested.targets[0].source = RowSource::Unnest("paths".to_owned());
    let nested = Place::new(nested);
    let keys = [("coffee", 10, 4), ("coffee", 11, 3), ("tea", 10, 4)];
    let in_rows =
        keys.map(|(commodity, date, paths)| rows(commodity, date, Make { paths, ..MAKE }));
    let in_lists = keys.map(|(commodity, date, paths)| forecast(commodity, date, paths));
    let lists = concat_batches(&in_lists[0].schema(), &in_lists).unwrap();
    let expected = flat.write(&in_rows).await.unwrap().unwrap();
    for batches in [in_lists.to_vec(), vec![lists]] {
        let found = nested.write(&batches).await.unwrap().unwrap();
        assert_eq!(found.keys, expected.keys);
        for table in [TableName::Distributions, TableName::PointForecasts] {
            let (found, expected) = (&found.files[&table], &expected.files[&table]);
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                assert_eq!(found.partition_values, expected.partition_values);
                assert_eq!(found.stats, expected.stats);
                assert_eq!(nested.read(found).await, flat.read(expected).await);
            }
        }
    }
}
