//! Tables with thousands of commits open as fast as tables with a few.

use std::path::PathBuf;
use std::time::Instant;

use almanac_delta::{
    CommitKind, CommitOutcome, CommitRequest, Lake, NewFile, StoreLocation, TableName,
    TableSnapshot,
};

use crate::lake::{TestLake, files_below, rounds, runtime};
use crate::market::Market;

/// Commits to make: 225, or 10,000 with `ALMANAC_ROUNDS=20`.
fn commits() -> u64 {
    25 * rounds().pow(2)
}

fn location(lake: &TestLake) -> StoreLocation {
    StoreLocation::new(lake.root().to_str().expect("a path of text"))
}

/// Commits to a table until it has this version. Each commit puts a copy in place of a file, as
/// `optimize` would, so that rows and files stay as many as they were.
fn lengthen(lake: &TestLake, name: TableName, until: u64) {
    runtime().block_on(async {
        let opened = Lake::open(&location(lake)).await.unwrap();
        let mut table = opened.table(name).await.unwrap();
        while table.version() < until {
            table = replace_a_file(lake, &table).await;
        }
    });
}

async fn replace_a_file(lake: &TestLake, table: &TableSnapshot) -> TableSnapshot {
    let next = table.version() + 1;
    let old = &table.files()[next as usize % table.files().len()];
    let (folder, _) = old.path.rsplit_once('/').unwrap();
    let path = format!("{folder}/copy-{next}.parquet");
    std::fs::hard_link(lake.root().join(&old.path), lake.root().join(&path)).unwrap();
    let columns = table.def().partition_columns.iter();
    let names = columns.map(|name| (*name).to_owned());
    let copy = NewFile {
        path,
        size: old.size,
        partition_values: names.zip(old.partition_values.iter().cloned()).collect(),
        modified_ms: old.modified_ms,
        stats: old.stats.clone().unwrap(),
    };
    let request = CommitRequest {
        operation: CommitKind::Rewrite,
        adds: vec![copy],
        removes: vec![old.clone()],
        claims: vec![],
        run_id: "long log".to_owned(),
        attempt_id: format!("{next}"),
        new_columns: vec![],
    };
    let outcome = table.commit(request).await.unwrap();
    let CommitOutcome::Committed { version, snapshot } = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(version, next);
    std::fs::remove_file(lake.root().join(&old.path)).unwrap();
    snapshot
}

/// What it takes to open a table.
struct Opening {
    bytes: u64,
    seconds: f64,
}

fn open(lake: &TestLake, name: TableName) -> Opening {
    runtime().block_on(async {
        let opened = Lake::open(&location(lake)).await.unwrap();
        let (before, started) = (opened.bytes_read(), Instant::now());
        opened.table(name).await.unwrap();
        Opening {
            seconds: started.elapsed().as_secs_f64(),
            bytes: opened.bytes_read() - before,
        }
    })
}

fn log(lake: &TestLake, name: TableName) -> Vec<PathBuf> {
    files_below(&lake.root().join(name.folder()).join("_delta_log"))
}

#[test]
fn thousands_of_commits() {
    let lake = TestLake::of(&Market::usual("Coffee", 171));
    let request = "--commodity Coffee --models naive,random_walk --frequency monthly --model-version v1 --paths 200";
    lake.job(&format!(
        "backfill {request} --start 2021-03-01 --end 2021-04-30"
    ));
    for name in [
        TableName::Distributions,
        TableName::JobRuns,
        TableName::UnifiedData,
        TableName::TrainedModels,
        TableName::PointForecasts,
    ] {
        println!("{name}: {} files", lake.table(name).files().len());
        for until in [19, 28, commits() - 1, commits() + 8] {
            let started = Instant::now();
            lengthen(&lake, name, until);
            let took = started.elapsed().as_secs_f64();
            let o = open(&lake, name);
            let o2 = open(&lake, name);
            let log = log(&lake, name);
            let size: u64 = log.iter().map(|p| p.metadata().unwrap().len()).sum();
            let cp = log
                .iter()
                .filter(|p| p.to_str().unwrap().ends_with("checkpoint.parquet"))
                .max()
                .unwrap();
            println!(
                "  version {until}: committing took {took:.1} s, open {:.4} s {:.4} s, {} bytes; log {} files {size} bytes, newest checkpoint {} bytes",
                o.seconds,
                o2.seconds,
                o.bytes,
                log.len(),
                cp.metadata().unwrap().len()
            );
        }
    }
    for line in [
        "status",
        &format!("--json daily {request} --date 2021-05-01"),
    ] {
        let started = Instant::now();
        let out = lake.run(line).expect(0);
        println!("{line}: {:.3} s", started.elapsed().as_secs_f64());
        if line.contains("daily") {
            println!("{}", out.json()["planning"]);
        }
    }
}
