use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{AsArray, Date32Array, Float32Array, Int32Array};
use arrow::datatypes::Int64Type;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool, MemoryReservation};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
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

fn spec(root: &Path, attempt: &str) -> Arc<WriteSpec> {
    Arc::new(WriteSpec {
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
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_manifest_of_a_slice_counts_and_a_later_attempt_reports_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = Path::from_absolute_path(folder.path()).unwrap();
    let run = async |attempt: &str, dates: &[i32]| {
        let batch = batch(dates);
        let empty = vec![];
        let input =
            MemorySourceConfig::try_new_exec(&[vec![batch.clone()], empty], batch.schema(), None)
                .unwrap();
        let exec = Arc::new(WriteExec::new(input, spec(&root, attempt)));
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

/// A limited pool that remembers how much was reserved at most.
#[derive(Debug)]
struct HighWater {
    pool: GreedyMemoryPool,
    most: AtomicUsize,
}

impl std::fmt::Display for HighWater {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.pool, f)
    }
}

impl MemoryPool for HighWater {
    fn name(&self) -> &str {
        self.pool.name()
    }
    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.pool.grow(reservation, additional);
        self.most.fetch_max(self.pool.reserved(), Ordering::Relaxed);
    }
    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.pool.shrink(reservation, shrink);
    }
    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.pool.try_grow(reservation, additional)?;
        self.most.fetch_max(self.pool.reserved(), Ordering::Relaxed);
        Ok(())
    }
    fn reserved(&self) -> usize {
        self.pool.reserved()
    }
}

/// Rows of one key, too different to be compressed.
fn noisy_key(date: i32, rows: u32) -> RecordBatch {
    let whole = batch(&vec![date; rows as usize]);
    let noise = (0..rows).map(|row| {
        let mixed = (row + 1).wrapping_mul(date.cast_unsigned().wrapping_mul(2_654_435_761) | 1);
        f32::from_bits(0x3f80_0000 | (mixed >> 9))
    });
    let mut columns = whole.columns().to_vec();
    columns[whole.schema().index_of("day_1").unwrap()] =
        Arc::new(Float32Array::from_iter_values(noise));
    RecordBatch::try_new(whole.schema(), columns).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_files_are_reserved_and_a_pool_that_is_too_small_leaves_no_manifest() {
    const PLENTY: usize = 1 << 30;
    let batches: Vec<RecordBatch> = (1..=60).map(|date| noisy_key(date, 8000)).collect();
    let write = async |keys: usize, limit: usize| {
        let folder = tempfile::tempdir().unwrap();
        let root = Path::from_absolute_path(folder.path()).unwrap();
        let pool = Arc::new(HighWater {
            pool: GreedyMemoryPool::new(limit),
            most: AtomicUsize::new(0),
        });
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::<HighWater>::clone(&pool))
            .build_arc()
            .unwrap();
        let context = TaskContext::default().with_runtime(runtime);
        let held = vec![batches[..keys].to_vec()];
        let input = MemorySourceConfig::try_new_exec(&held, batches[0].schema(), None).unwrap();
        let exec = Arc::new(WriteExec::new(input, spec(&root, "one")));
        let ended = collect(exec, Arc::new(context)).await;
        assert_eq!(pool.reserved(), 0, "all is given back");
        let store = object_store::local::LocalFileSystem::new();
        let manifest = Manifest::get(&store, &root, "first").await.unwrap();
        (ended, manifest, pool.most.load(Ordering::Relaxed))
    };
    let (ended, manifest, few) = write(4, PLENTY).await;
    ended.unwrap();
    assert_eq!(manifest.unwrap().keys.len(), 4);
    let (ended, manifest, many) = write(60, PLENTY).await;
    ended.unwrap();
    let bytes: u64 = manifest.unwrap().files[&TableName::Distributions]
        .iter()
        .map(|file| file.size)
        .sum();
    // All 60 keys are in the open file at the end; the compressors are there with 4 as well.
    let grown = u64::try_from(many - few).unwrap();
    assert!(
        (bytes / 2..2 * bytes).contains(&grown),
        "{few} to {many} for {bytes} bytes of files"
    );

    let (ended, manifest, most) = write(60, few + usize::try_from(bytes).unwrap() / 4).await;
    let error = ended.unwrap_err();
    let DataFusionError::ResourcesExhausted(message) = error.find_root() else {
        panic!("{error:?}");
    };
    assert!(message.contains("WriteTables[0]"), "{message}");
    assert_eq!(manifest, None);
    assert!(most < many);
}
