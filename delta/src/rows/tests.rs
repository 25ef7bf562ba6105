use arrow::array::{
    Array, AsArray, Date32Array, Float32Array, Float64Array, Int32Array, StringArray,
};
use arrow::datatypes::{DataType, Date32Type, Field, Float64Type};
use parquet::file::statistics::Statistics;

use super::*;
use crate::commit::{CommitKind, CommitOutcome, CommitRequest};
use crate::lake::LakeSettings;
use crate::snapshot::TableSnapshot;
use crate::store::StoreLocation;
use crate::tables::{Layout, TableName};

async fn lake(folder: &tempfile::TempDir, layout: Layout) -> Lake {
    let location = StoreLocation::new(folder.path().to_str().unwrap());
    let settings = LakeSettings {
        layout,
        ..LakeSettings::default()
    };
    Lake::create(&location, settings).await.unwrap()
}

async fn commit(
    snapshot: &TableSnapshot,
    adds: Vec<NewFile>,
    new_columns: Vec<Field>,
) -> TableSnapshot {
    let request = CommitRequest {
        operation: CommitKind::Append,
        adds,
        removes: vec![],
        claims: vec![],
        run_id: "run".to_owned(),
        attempt_id: format!("attempt {}", snapshot.version()),
        new_columns,
    };
    match snapshot.commit(request).await.unwrap() {
        CommitOutcome::Committed { snapshot, .. } => snapshot,
        other => panic!("{other:?}"),
    }
}

/// Rows of `unified_data`, its columns in another order than the table's, most of them missing.
fn prices(commodities: &[&str], first: i32) -> RecordBatch {
    let count = commodities.len();
    let dates = (first..).take(count);
    RecordBatch::try_from_iter([
        (
            "close",
            Arc::new(Float64Array::from_iter_values(dates.clone().map(f64::from))) as ArrayRef,
        ),
        ("region", Arc::new(StringArray::from(vec!["ALL"; count]))),
        ("date", Arc::new(Date32Array::from_iter_values(dates))),
        (
            "commodity",
            Arc::new(StringArray::from(commodities.to_vec())),
        ),
    ])
    .unwrap()
}

fn texts<'a>(batch: &'a RecordBatch, name: &str) -> Vec<Option<&'a str>> {
    let column = batch.column_by_name(name).unwrap().as_string::<i32>();
    column.iter().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_come_back_with_their_partition_columns() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(&folder, Layout::Commodity).await;
    let table = lake.table(TableName::UnifiedData).await.unwrap();
    let def = table.def().clone();
    let rows = prices(&["a/b ü#%", "a/b ü#%", "tea"], 5);
    let files = write_rows(&lake, &def, &rows).await.unwrap();
    let partitions: Vec<_> = files
        .iter()
        .map(|file| file.partition_values[0].1.as_deref())
        .collect();
    assert_eq!(partitions, [Some("a/b ü#%"), Some("tea")]);
    let table = commit(&table, files, vec![]).await;
    let found = read_files(&lake, table.def(), table.files()).await.unwrap();
    assert_eq!(found.schema(), def.schema);
    assert_eq!(
        texts(&found, "commodity"),
        [Some("a/b ü#%"), Some("a/b ü#%"), Some("tea")]
    );
    let dates = found.column_by_name("date").unwrap();
    assert_eq!(
        dates.as_primitive::<Date32Type>().values().to_vec(),
        [5, 6, 7]
    );
    let closes = found.column_by_name("close").unwrap();
    assert_eq!(
        closes.as_primitive::<Float64Type>().values().to_vec(),
        [5.0, 6.0, 7.0]
    );
    assert_eq!(found.column_by_name("vix").unwrap().null_count(), 3);

    let some = read_columns(
        &lake,
        table.def(),
        &table.files()[1],
        &["commodity", "date"],
    )
    .await;
    let some = some.unwrap();
    assert_eq!(
        (some.num_columns(), some.num_rows()),
        (2, table.files()[1].rows.unwrap() as usize)
    );
    let error = read_columns(&lake, table.def(), &table.files()[1], &["moon"]).await;
    assert!(error.unwrap_err().to_string().contains("moon"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_older_than_a_column_are_null_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(&folder, Layout::Commodity).await;
    let table = lake.table(TableName::UnifiedData).await.unwrap();
    let old = write_rows(&lake, table.def(), &prices(&["tea"], 1))
        .await
        .unwrap();
    let table = commit(&table, old, vec![]).await;
    let table = commit(
        &table,
        vec![],
        vec![Field::new("rain", DataType::Float64, true)],
    )
    .await;
    let rows = prices(&["tea"], 2);
    let mut columns: Vec<(&str, ArrayRef)> =
        vec![("rain", Arc::new(Float64Array::from(vec![9.0])))];
    let schema = rows.schema();
    for (field, column) in schema.fields().iter().zip(rows.columns()) {
        columns.push((field.name(), Arc::clone(column)));
    }
    let new = RecordBatch::try_from_iter(columns).unwrap();
    let new = write_rows(&lake, table.def(), &new).await.unwrap();
    let table = commit(&table, new, vec![]).await;
    let found = read_files(&lake, table.def(), table.files()).await.unwrap();
    let dates = found
        .column_by_name("date")
        .unwrap()
        .as_primitive::<Date32Type>();
    let rain = found
        .column_by_name("rain")
        .unwrap()
        .as_primitive::<Float64Type>();
    for (row, date) in dates.values().iter().enumerate() {
        let expected = (*date == 2).then_some(9.0);
        assert_eq!(rain.is_valid(row).then(|| rain.value(row)), expected);
    }
    assert_eq!(found.num_rows(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buckets_are_numbers_again() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(&folder, Layout::Buckets(4)).await;
    let table = lake.table(TableName::UnifiedData).await.unwrap();
    let rows = prices(&["tea", "wheat"], 1);
    let mut columns: Vec<(&str, ArrayRef)> =
        vec![("series_bucket", Arc::new(Int32Array::from(vec![0, 3])))];
    let schema = rows.schema();
    for (field, column) in schema.fields().iter().zip(rows.columns()) {
        columns.push((field.name(), Arc::clone(column)));
    }
    let rows = RecordBatch::try_from_iter(columns).unwrap();
    let files = write_rows(&lake, table.def(), &rows).await.unwrap();
    let table = commit(&table, files, vec![]).await;
    let found = read_files(&lake, table.def(), table.files()).await.unwrap();
    let buckets = found.column_by_name("series_bucket").unwrap();
    assert_eq!(buckets.as_ref(), &Int32Array::from(vec![0, 3]));
    assert_eq!(texts(&found, "commodity"), [Some("tea"), Some("wheat")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_rows_make_no_file_and_missing_files_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(&folder, Layout::Commodity).await;
    let table = lake.table(TableName::UnifiedData).await.unwrap();
    let none = prices(&["tea"], 1).slice(0, 0);
    assert_eq!(write_rows(&lake, table.def(), &none).await.unwrap(), []);
    let found = read_files(&lake, table.def(), &[]).await.unwrap();
    assert_eq!((found.num_rows(), found.schema()), (0, table.schema()));

    let files = write_rows(&lake, table.def(), &prices(&["tea"], 1))
        .await
        .unwrap();
    std::fs::remove_file(folder.path().join(&files[0].path)).unwrap();
    let table = commit(&table, files, vec![]).await;
    let error = read_files(&lake, table.def(), table.files())
        .await
        .unwrap_err();
    assert!(error.to_string().contains(".parquet"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_groups_written_by_the_driver_hold_whole_keys() {
    const PATHS: i32 = 700;
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(&folder, Layout::Commodity).await;
    let def = TableName::Distributions.def(&Layout::Commodity);
    let dates: Vec<i32> = (0..100)
        .flat_map(|date| vec![date; PATHS as usize])
        .collect();
    let count = dates.len();
    let text = |value: &str| -> ArrayRef { Arc::new(StringArray::from(vec![value; count])) };
    let rows = RecordBatch::try_from_iter([
        ("model_version", text("v1")),
        ("commodity", text("tea")),
        ("model_name", text("naive")),
        (
            "forecast_start_date",
            Arc::new(Date32Array::from(dates)) as ArrayRef,
        ),
        (
            "path_id",
            Arc::new(Int32Array::from_iter_values(
                (0..100).flat_map(|_| 1..=PATHS),
            )),
        ),
        ("day_1", Arc::new(Float32Array::from(vec![1.5; count]))),
    ])
    .unwrap();
    let files = write_rows(&lake, &def, &rows).await.unwrap();
    assert_eq!(files.len(), 1);
    let bytes = bytes::Bytes::from(std::fs::read(folder.path().join(&files[0].path)).unwrap());
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let place = def.file_schema().index_of("forecast_start_date").unwrap();
    let groups = reader.metadata().row_groups();
    assert!(groups.len() > 1);
    let mut newest = -1;
    for group in groups {
        assert_eq!(group.num_rows() % i64::from(PATHS), 0);
        let Some(Statistics::Int32(found)) = group.column(place).statistics() else {
            panic!("no statistics");
        };
        assert!(*found.min_opt().unwrap() > newest);
        newest = *found.max_opt().unwrap();
    }
    assert_eq!(newest, 99);
}
