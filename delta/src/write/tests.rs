use arrow::array::{AsArray, Date32Array, Float32Array, Int32Array};
use arrow::datatypes::Int64Type;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::physical_plan::collect;
use datafusion::prelude::SessionContext;

use super::*;
use crate::manifest::Manifest;

fn batch(dates: &[i32]) -> RecordBatch {
    let count = dates.len();
    let text = |value: Option<&str>| -> arrow::array::ArrayRef {
        Arc::new(StringArray::from(vec![value; count]))
    };
    RecordBatch::try_from_iter_with_nullable([
        (
            "slice",
            Arc::new(Int32Array::from(vec![1; count])) as _,
            false,
        ),
        ("commodity", text(Some("coffee")), true),
        ("model_name", text(Some("naive")), true),
        ("model_version", text(Some("v1")), true),
        (
            "forecast_start_date",
            Arc::new(Date32Array::from(dates.to_vec())) as _,
            true,
        ),
        (
            "path_id",
            Arc::new(Int32Array::from(vec![1; count])) as _,
            true,
        ),
        (
            "day_1",
            Arc::new(Float32Array::from(vec![1.0; count])) as _,
            true,
        ),
        ("error_class", text(None), true),
        ("error_message", text(None), true),
        (
            "scanned_rows",
            Arc::new(Int64Array::from(vec![5; count])) as _,
            true,
        ),
        (
            "scanned_newest",
            Arc::new(Date32Array::from(vec![3; count])) as _,
            true,
        ),
    ])
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_manifest_of_a_slice_counts_and_a_later_attempt_reports_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = Path::from_absolute_path(folder.path()).unwrap();
    let run = async |attempt: &str, dates: &[i32]| {
        let spec = WriteSpec {
            store_url: "file:///".to_owned(),
            root: root.to_string(),
            layout: Layout::Commodity,
            targets: vec![Target {
                table: TableName::Distributions,
                source: RowSource::Rows,
            }],
            date_column: "forecast_start_date".to_owned(),
            slices: BTreeMap::from([(1, "first".to_owned())]),
            attempt: attempt.to_owned(),
            offload: None,
        };
        let batch = batch(dates);
        let empty = vec![];
        let input =
            MemorySourceConfig::try_new_exec(&[vec![batch.clone()], empty], batch.schema(), None)
                .unwrap();
        let exec = Arc::new(WriteExec::new(input, Arc::new(spec)));
        assert_eq!(exec.properties().partitioning.partition_count(), 2);
        let rows: i64 = collect(exec, SessionContext::new().task_ctx())
            .await
            .unwrap()
            .iter()
            .flat_map(|batch| batch.column(1).as_primitive::<Int64Type>().iter().flatten())
            .sum();
        let store = object_store::local::LocalFileSystem::new();
        (
            rows,
            Manifest::get(&store, &root, "first")
                .await
                .unwrap()
                .unwrap(),
        )
    };
    let (rows, first) = run("one", &[10, 11]).await;
    assert_eq!(
        (rows, first.attempt.as_str(), first.keys.len()),
        (2, "one", 2)
    );
    assert_eq!(first.input.map(|input| input.rows), Some(5));
    let (rows, second) = run("two", &[10]).await;
    assert_eq!(rows, 2);
    assert_eq!(second, first);
}
