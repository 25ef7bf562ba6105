//! The floor under a backfill: the Arrow batches of a lake's `distributions`, written again with
//! the Parquet writer alone, same properties, same row groups, same number of threads.
//!
//! `cargo bench --workspace --bench writer -- LAKE THREADS` prints one JSON line.

use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use almanac_delta::rows::read_files;
use almanac_delta::write::parquet_file::{GROUP_ROWS, properties};
use almanac_delta::{DeltaError, Lake, StoreLocation, TableName};
use arrow::array::RecordBatch;
use parquet::arrow::ArrowWriter;

/// Files held in memory at a time.
const HELD: usize = 8;
/// Rows of one key.
const KEY: usize = 2000;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let [lake, threads] = words.as_slice() else {
        eprintln!("usage: writer LAKE THREADS");
        return ExitCode::FAILURE;
    };
    let threads = threads.parse().unwrap_or(2);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let measured = runtime
        .map_err(|error| error.to_string())
        .and_then(|runtime| {
            runtime
                .block_on(measure(lake, threads))
                .map_err(|error| error.to_string())
        });
    match measured {
        Ok((seconds, bytes, rows)) => {
            println!(
                "{{\"seconds\": {seconds:.3}, \"bytes\": {bytes}, \"rows\": {rows}, \"threads\": {threads}}}"
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(lake: &str, threads: usize) -> Result<(f64, u64, usize), DeltaError> {
    let lake = Lake::open(&StoreLocation::new(lake)).await?;
    let table = lake.table(TableName::Distributions).await?;
    let schema = table.def().file_schema();
    let scratch =
        tempfile::tempdir().map_err(|error| DeltaError::io("a temporary folder", error))?;
    let (mut spent, mut bytes, mut rows) = (Duration::ZERO, 0, 0);
    for files in table.files().chunks(HELD) {
        let mut held = vec![];
        for file in files {
            let batch = read_files(&lake, table.def(), std::slice::from_ref(file)).await?;
            let indexes: Vec<usize> = schema
                .fields()
                .iter()
                .filter_map(|field| batch.schema_ref().index_of(field.name()).ok())
                .collect();
            let batch = batch
                .project(&indexes)
                .map_err(|error| DeltaError::Fusion(error.into()))?;
            rows += batch.num_rows();
            held.push(batch);
        }
        let queue = Arc::new(Mutex::new(held.into_iter().enumerate().collect::<Vec<_>>()));
        let written = Mutex::new(0);
        let started = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some((index, batch)) =
                        queue.lock().ok().and_then(|mut queue| queue.pop())
                    {
                        let path = scratch.path().join(format!("{index}.parquet"));
                        let size = write(&batch, &path).unwrap_or_else(|error| panic!("{error}"));
                        if let Ok(mut written) = written.lock() {
                            *written += size;
                        }
                    }
                });
            }
        });
        spent += started.elapsed();
        bytes += written.into_inner().unwrap_or(0);
    }
    Ok((spent.as_secs_f64(), bytes, rows))
}

fn write(batch: &RecordBatch, path: &std::path::Path) -> Result<u64, DeltaError> {
    let parquet = |source| DeltaError::Parquet {
        what: "baseline".to_owned(),
        source,
    };
    let properties = properties(&batch.schema());
    let mut file =
        ArrowWriter::try_new(vec![], batch.schema(), Some(properties)).map_err(parquet)?;
    for start in (0..batch.num_rows()).step_by(KEY) {
        if file.in_progress_rows() >= GROUP_ROWS {
            file.flush().map_err(parquet)?;
        }
        file.write(&batch.slice(start, KEY.min(batch.num_rows() - start)))
            .map_err(parquet)?;
    }
    let bytes = file.into_inner().map_err(parquet)?;
    std::fs::write(path, &bytes).map_err(|error| DeltaError::io("the scratch file", error))?;
    Ok(bytes.len() as u64)
}
