use arrow::array::{AsArray, Date32Array, Float64Array, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{Date32Type, Float64Type, Int32Type};
use datafusion::physical_plan::{collect, displayable};
use datafusion::prelude::{SessionConfig, SessionContext};
use object_store::path::Path;

use super::*;
use crate::commit::{CommitKind, CommitOutcome, CommitRequest};
use crate::lake::{Lake, LakeSettings};
use crate::rows::write_rows;
use crate::store::StoreLocation;
use crate::tables::{Layout, TableName};

/// A lake with these rows of (commodity, date, close) in `unified_data`, one commit for each part.
async fn lake_of(
    folder: &tempfile::TempDir,
    layout: Layout,
    parts: &[&[(&str, i32, Option<f64>)]],
) -> (TableSnapshot, PinnedTable) {
    let location = StoreLocation::new(folder.path().to_str().unwrap());
    let settings = LakeSettings {
        layout,
        ..LakeSettings::default()
    };
    let lake = Lake::create(&location, settings).await.unwrap();
    let mut table = lake.table(TableName::UnifiedData).await.unwrap();
    for part in parts {
        let buckets = |(name, _, _): &(&str, i32, Option<f64>)| Some((name.len() % 4) as i32);
        let rows = RecordBatch::try_from_iter_with_nullable([
            (
                "commodity",
                Arc::new(StringArray::from_iter_values(part.iter().map(|row| row.0))) as ArrayRef,
                true,
            ),
            (
                "date",
                Arc::new(part.iter().map(|row| Some(row.1)).collect::<Date32Array>()),
                true,
            ),
            (
                "region",
                Arc::new(StringArray::from(vec!["ALL"; part.len()])),
                true,
            ),
            (
                "close",
                Arc::new(part.iter().map(|row| row.2).collect::<Float64Array>()),
                true,
            ),
            (
                "series_bucket",
                Arc::new(part.iter().map(buckets).collect::<Int32Array>()),
                true,
            ),
        ])
        .unwrap();
        let request = CommitRequest {
            operation: CommitKind::Append,
            adds: write_rows(&lake, table.def(), &rows).await.unwrap(),
            removes: vec![],
            claims: vec![],
            run_id: "run".to_owned(),
            attempt_id: format!("attempt {}", table.version()),
            new_columns: vec![],
        };
        table = match table.commit(request).await.unwrap() {
            CommitOutcome::Committed { snapshot, .. } => snapshot,
            other => panic!("{other:?}"),
        };
    }
    let root = Path::from_url_path(lake.url().path()).unwrap();
    let pinned = PinnedTable::new(&table, "file:///", root.as_ref());
    (table, pinned)
}

/// Rows of the answer as "commodity date", sorted, and the number of files that its scan names.
async fn select(table: &PinnedTable, filter: &str) -> (Vec<String>, usize) {
    let config = SessionConfig::new().with_target_partitions(3);
    let context = SessionContext::new_with_config(config);
    context
        .register_table("t", Arc::new(table.clone()))
        .unwrap();
    let sql = format!("SELECT commodity, date FROM t WHERE {filter}");
    let plan = context
        .sql(&sql)
        .await
        .unwrap()
        .create_physical_plan()
        .await
        .unwrap();
    let text = displayable(plan.as_ref()).indent(true).to_string();
    let mut rows = vec![];
    for batch in collect(plan, context.task_ctx()).await.unwrap() {
        let names = batch.column(0).as_string::<i32>();
        let dates = batch.column(1).as_primitive::<Date32Type>();
        for row in 0..batch.num_rows() {
            rows.push(format!("{} {}", names.value(row), dates.value(row)));
        }
    }
    rows.sort();
    (rows, text.matches(".parquet").count())
}

const SOUTH: &[(&str, i32, Option<f64>)] = &[
    ("coffee", 10, Some(1.0)),
    ("coffee", 11, Some(2.0)),
    ("tea & milk", 10, Some(5.0)),
];
const LATER: &[(&str, i32, Option<f64>)] = &[
    ("coffee", 20, Some(8.0)),
    ("coffee", 21, None),
    ("tea & milk", 20, None),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_left_out_by_partition_and_by_statistics_and_no_row_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (_, table) = lake_of(&folder, Layout::Commodity, &[SOUTH, LATER]).await;
    for (filter, rows, files) in [
        (
            "true",
            &[
                "coffee 10",
                "coffee 11",
                "coffee 20",
                "coffee 21",
                "tea & milk 10",
                "tea & milk 20",
            ][..],
            4,
        ),
        (
            "commodity = 'coffee'",
            &["coffee 10", "coffee 11", "coffee 20", "coffee 21"],
            2,
        ),
        (
            "commodity = 'tea & milk' AND date > '1970-01-15'",
            &["tea & milk 20"],
            1,
        ),
        (
            "commodity IN ('cocoa', 'tea & milk')",
            &["tea & milk 10", "tea & milk 20"],
            2,
        ),
        ("date = '1970-01-12'", &["coffee 11"], 1),
        ("date <= '1970-01-11'", &["coffee 10", "tea & milk 10"], 2),
        ("close >= 5.0", &["coffee 20", "tea & milk 10"], 2),
        (
            "close < 1.5 OR date = '1970-01-22'",
            &["coffee 10", "coffee 21"],
            2,
        ),
        ("close IS NULL", &["coffee 21", "tea & milk 20"], 2),
        ("vix IS NOT NULL", &[], 0),
    ] {
        let (found, read) = select(&table, filter).await;
        assert_eq!(found, rows, "{filter}");
        assert_eq!(read, files, "{filter}");
    }
    // Statistics cannot help here, and nothing may be lost to them.
    let (found, _) = select(&table, "close + date_part('year', date) > 1975.5").await;
    assert_eq!(found, ["coffee 20"]);
    let (found, _) = select(&table, "commodity = 'cocoa'").await;
    assert_eq!(found, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_without_statistics_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let (_, mut table) = lake_of(&folder, Layout::Commodity, &[SOUTH, LATER]).await;
    let mut files = table.files.to_vec();
    for file in &mut files {
        file.stats = None;
        file.rows = None;
    }
    table.files = Arc::new(files);
    let (found, read) = select(&table, "date = '1970-01-12'").await;
    assert_eq!((found, read), (vec!["coffee 11".to_owned()], 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_is_a_partition_too() {
    let folder = tempfile::tempdir().unwrap();
    // The bucket of these rows is the length of the name modulo four.
    let rows: &[(&str, i32, Option<f64>)] =
        &[("aaaa", 1, None), ("bbbbbbbb", 1, None), ("ccc", 1, None)];
    let (_, table) = lake_of(&folder, Layout::Buckets(4), &[rows]).await;
    let (found, read) = select(&table, "series_bucket = 0").await;
    assert_eq!((found.len(), read), (2, 1));
    let (found, read) = select(&table, "series_bucket = 3 AND commodity = 'ccc'").await;
    assert_eq!((found.len(), read), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_counted_from_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let (_, table) = lake_of(&folder, Layout::Commodity, &[SOUTH, LATER]).await;
    let context = SessionContext::new();
    context.register_table("t", Arc::new(table)).unwrap();
    let frame = context.sql("SELECT count(*) FROM t").await.unwrap();
    let plan = frame.clone().create_physical_plan().await.unwrap();
    let text = displayable(plan.as_ref()).indent(true).to_string();
    assert!(!text.contains(".parquet"), "{text}");
    let found = frame.collect().await.unwrap();
    let count = found[0]
        .column(0)
        .as_primitive::<arrow::datatypes::Int64Type>();
    assert_eq!(count.value(0), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slices_say_which_they_are_and_read_their_own_files() {
    let folder = tempfile::tempdir().unwrap();
    let (snapshot, table) = lake_of(&folder, Layout::Commodity, &[SOUTH, LATER]).await;
    let of = |commodity: &str| -> Vec<usize> {
        (0..snapshot.files().len())
            .filter(|index| {
                snapshot.files()[*index].partition_values[0].as_deref() == Some(commodity)
            })
            .collect()
    };
    // Slices of one commodity read the same files; an empty slice reads none.
    let slices = [
        (7, "coffee"),
        (3, "tea & milk"),
        (9, "coffee"),
        (1, "cocoa"),
    ];
    let sliced = table.sliced(
        slices
            .iter()
            .map(|(slice, commodity)| SliceFiles {
                slice: *slice,
                files: of(commodity),
            })
            .collect(),
    );
    let last = sliced.schema().fields().len() - 1;
    assert_eq!(sliced.schema().field(last).name(), SLICE);
    let place = |name: &str| sliced.schema().index_of(name).unwrap();
    let context = SessionContext::new();
    // Whatever order the columns are asked for in.
    for projection in [None, Some(vec![place("close"), last, place("commodity")])] {
        let plan = sliced
            .scan(&context.state(), projection.as_ref(), &[], None)
            .await
            .unwrap();
        let Partitioning::Hash(columns, 4) = &plan.properties().partitioning else {
            panic!("{:?}", plan.properties().partitioning);
        };
        assert_eq!(columns.len(), 1);
        assert!(columns[0].to_string().starts_with(SLICE), "{}", columns[0]);
        for (partition, (slice, commodity)) in slices.iter().enumerate() {
            let stream = plan.execute(partition, context.task_ctx()).unwrap();
            let batches = datafusion::physical_plan::common::collect(stream)
                .await
                .unwrap();
            let mut rows = 0;
            for batch in batches {
                let found = batch
                    .column_by_name(SLICE)
                    .unwrap()
                    .as_primitive::<Int32Type>();
                assert!(found.values().iter().all(|found| found == slice));
                let names = batch
                    .column_by_name("commodity")
                    .unwrap()
                    .as_string::<i32>();
                assert!(names.iter().all(|name| name == Some(commodity)));
                let closes = batch.column_by_name("close").unwrap();
                assert_eq!(closes.as_primitive::<Float64Type>().len(), batch.num_rows());
                rows += batch.num_rows();
            }
            let expected = [4, 2, 4, 0][partition];
            assert_eq!(rows, expected, "slice {slice}");
        }
    }
}
