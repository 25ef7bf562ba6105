use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use deltalake::parquet::arrow::ArrowWriter;

use super::*;
use crate::commit::{CommitKind, CommitOutcome, CommitRequest, NewFile};
use crate::lake::LakeSettings;
use crate::snapshot::DataFile;
use crate::store::StoreLocation;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const WEEK: Duration = MINIMUM_RETENTION;

struct Place {
    folder: tempfile::TempDir,
    lake: Lake,
}

impl Place {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let location = StoreLocation::new(folder.path().to_str().unwrap());
        let lake = Lake::create(&location, LakeSettings::default())
            .await
            .unwrap();
        Self { folder, lake }
    }

    fn write(&self, path: &str, bytes: &[u8], age: Duration) {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        self.set_age(&path, age);
    }

    fn set_age(&self, path: &std::path::Path, age: Duration) {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }

    /// Makes every commit of a table look as old as this.
    fn age_log(&self, table: TableName, age: Duration) {
        for name in self.log(table) {
            self.set_age(&self.folder.path().join(name), age);
        }
    }

    /// The files of a table's log, from the lake root, sorted.
    fn log(&self, table: TableName) -> Vec<String> {
        let folder = format!("{}/_delta_log", table.folder());
        let entries = std::fs::read_dir(self.folder.path().join(&folder)).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .map(|name| format!("{folder}/{name}"))
            .collect();
        names.sort();
        names
    }

    fn exists(&self, path: &str) -> bool {
        self.folder.path().join(path).exists()
    }

    async fn commit(
        &self,
        table: TableName,
        adds: &[&str],
        removes: Vec<DataFile>,
    ) -> TableSnapshot {
        let snapshot = self.lake.table(table).await.unwrap();
        let adds = adds.iter().map(|path| NewFile {
            path: (*path).to_owned(),
            size: 4,
            partition_values: vec![("commodity".to_owned(), Some("soft wheat".to_owned()))],
            modified_ms: 0,
            stats: r#"{"numRecords":1}"#.to_owned(),
        });
        let request = CommitRequest {
            operation: if removes.is_empty() {
                CommitKind::Append
            } else {
                CommitKind::Replace
            },
            adds: adds.collect(),
            removes,
            claims: vec![],
            run_id: "run".to_owned(),
            attempt_id: format!("attempt {}", snapshot.version()),
            new_columns: vec![],
        };
        match snapshot.commit(request).await.unwrap() {
            CommitOutcome::Committed { snapshot, .. } => snapshot,
            other => panic!("{other:?}"),
        }
    }
}

fn data(name: &str) -> String {
    format!("silver/unified_data/commodity=soft%2Fwheat ü#1/{name}.parquet")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vacuum_keeps_live_and_young_files_and_removes_old_orphans() {
    let table = TableName::UnifiedData;
    let place = Place::new().await;
    let (live, orphan, young) = (data("live"), data("orphan"), data("young"));
    let (replaced, long_replaced) = (data("replaced"), data("long_replaced"));
    for path in [&live, &orphan, &replaced, &long_replaced] {
        place.write(path, b"data", 30 * DAY);
    }
    place.write(&young, b"data", DAY);
    let first = place.commit(table, &[&long_replaced], vec![]).await;
    place
        .commit(table, &[&live, &replaced], first.files().to_vec())
        .await;
    place.age_log(table, 20 * DAY);
    let pinned = place.lake.table(table).await.unwrap();
    let gone = pinned
        .files()
        .iter()
        .find(|file| file.path == replaced)
        .unwrap()
        .clone();
    place.commit(table, &[], vec![gone]).await;

    let dry = vacuum(&pinned, WEEK, true).await.unwrap();
    assert_eq!(dry.files, [long_replaced.clone(), orphan.clone()]);
    assert_eq!((dry.bytes, dry.kept_young, dry.dry_run), (8, 1, true));
    assert!(place.exists(&orphan));

    let done = vacuum(&pinned, WEEK, false).await.unwrap();
    assert_eq!(done.files, dry.files);
    assert!(!place.exists(&orphan) && !place.exists(&long_replaced));
    assert!(place.exists(&live) && place.exists(&young) && place.exists(&replaced));
    assert!(place.exists("silver/unified_data/_delta_log/00000000000000000000.json"));
    assert!(place.exists("_almanac/lake.json"));
    assert_eq!(place.lake.table(table).await.unwrap().version(), 3);
    assert!(vacuum(&pinned, WEEK, false).await.unwrap().files.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vacuum_sees_files_committed_after_the_snapshot_it_was_given() {
    let table = TableName::UnifiedData;
    let place = Place::new().await;
    let pinned = place.lake.table(table).await.unwrap();
    place.write(&data("late"), b"data", 30 * DAY);
    place.commit(table, &[&data("late")], vec![]).await;
    assert!(vacuum(&pinned, WEEK, false).await.unwrap().files.is_empty());
    assert!(place.exists(&data("late")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_retention_needs_the_check_turned_off() {
    let place = Place::new().await;
    let table = place.lake.table(TableName::UnifiedData).await.unwrap();
    place.write(&data("orphan"), b"data", DAY);
    let error = vacuum(&table, DAY, false).await.unwrap_err();
    assert!(
        matches!(
            error,
            DeltaError::RetentionTooShort {
                asked_hours: 24,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.hint().unwrap().contains("168 hours"));
    assert!(place.exists(&data("orphan")));
    let report = remove(&table, Duration::ZERO, false).await.unwrap();
    assert_eq!(report.files, [data("orphan")]);
}

fn models(states: &[Option<&str>]) -> Vec<u8> {
    let paths: ArrayRef = Arc::new(StringArray::from(states.to_vec()));
    let json: ArrayRef = Arc::new(StringArray::from(vec!["{}"; paths.len()]));
    let batch = RecordBatch::try_from_iter([
        (trained_models::FITTED_MODEL_JSON, json),
        (trained_models::FITTED_MODEL_S3_PATH, paths),
    ])
    .unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn model_file(name: &str) -> String {
    format!("forecast/trained_models/commodity=soft wheat/{name}.parquet")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sweep_keeps_states_that_models_point_to() {
    let table = TableName::TrainedModels;
    let place = Place::new().await;
    let state = |name: &str| format!("{STATES}/{name}");
    for name in ["live", "recent", "ancient", "orphan"] {
        place.write(&state(name), b"state", 30 * DAY);
    }
    place.write(&state("young"), b"state", DAY);
    place.write(&format!("{MANIFESTS}/old.json"), b"{}", 30 * DAY);
    place.write(&format!("{MANIFESTS}/new.json"), b"{}", DAY);
    place.write(&format!("{PAYLOADS}/old"), b"{}", 30 * DAY);
    place.write(&format!("{RUNS}/old.json"), b"{}", 30 * DAY);
    place.write(&format!("{RUNS}/new.json"), b"{}", DAY);

    let files = ["ancient", "recent", "live"].map(|name| (name, model_file(name)));
    for (name, path) in &files {
        let url = format!("{}{}", place.lake.url(), state(name));
        place.write(path, &models(&[None, Some(&url)]), 30 * DAY);
    }
    let [(_, ancient), (_, recent), (_, live)] = &files;
    let first = place.commit(table, &[ancient], vec![]).await;
    place
        .commit(table, &[recent, live], first.files().to_vec())
        .await;
    place.age_log(table, 20 * DAY);
    let current = place.lake.table(table).await.unwrap();
    let replaced = current
        .files()
        .iter()
        .find(|file| &file.path == recent)
        .unwrap()
        .clone();
    place.commit(table, &[], vec![replaced]).await;

    let dry = sweep(&place.lake, WEEK, true).await.unwrap();
    assert_eq!(dry.states, [state("ancient"), state("orphan")]);
    assert_eq!(dry.manifests, [format!("{MANIFESTS}/old.json")]);
    assert_eq!(dry.payloads, [format!("{PAYLOADS}/old")]);
    assert_eq!(dry.runs, [format!("{RUNS}/old.json")]);
    assert!(place.exists(&state("orphan")));

    let done = sweep(&place.lake, WEEK, false).await.unwrap();
    assert_eq!(
        SweepReport {
            dry_run: true,
            ..done
        },
        dry
    );
    for name in ["live", "recent", "young"] {
        assert!(place.exists(&state(name)), "{name}");
    }
    assert!(!place.exists(&state("ancient")) && !place.exists(&state("orphan")));
    assert!(place.exists(&format!("{MANIFESTS}/new.json")) && place.exists("_almanac/lake.json"));
    assert!(
        place.exists(&format!("{RUNS}/new.json")) && !place.exists(&format!("{RUNS}/old.json"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sweep_stops_when_a_live_model_file_cannot_be_read() {
    let table = TableName::TrainedModels;
    let place = Place::new().await;
    place.write(&format!("{STATES}/s"), b"state", 30 * DAY);
    let lost = model_file("lost");
    let snapshot = place.commit(table, &[&lost], vec![]).await;
    let error = sweep(&place.lake, WEEK, false).await.unwrap_err();
    assert!(matches!(error, DeltaError::Parquet { .. }), "{error:?}");
    assert!(place.exists(&format!("{STATES}/s")));
    // Once the lost file is replaced, its states are nobody's.
    place.commit(table, &[], snapshot.files().to_vec()).await;
    let report = sweep(&place.lake, WEEK, false).await.unwrap();
    assert_eq!(report.states, [format!("{STATES}/s")]);
}

/// A log of versions 0 to 34, checkpoints with 9, 19 and 29; versions up to 24 are this old.
async fn long_log(place: &Place, table: TableName, age: Duration) {
    for commit in 1..=24 {
        place
            .commit(table, &[&data(&format!("{commit}"))], vec![])
            .await;
    }
    place.age_log(table, age);
    for commit in 25..=34 {
        place
            .commit(table, &[&data(&format!("{commit}"))], vec![])
            .await;
    }
}

fn of_version(name: &str) -> Option<u64> {
    name.rsplit('/').next()?.split('.').next()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_trimmed_to_the_checkpoint_that_the_oldest_needed_version_stands_on() {
    let table = TableName::UnifiedData;
    let place = Place::new().await;
    long_log(&place, table, 31 * DAY).await;
    let before = place.log(table);
    let pinned = place.lake.table_at(table, 3).await.unwrap();

    // Version 24 was the newest one 30 days ago, and stands on the checkpoint of 19.
    let dry = trim_log(&pinned, WEEK, true).await.unwrap();
    let (gone, left): (Vec<String>, Vec<String>) = before
        .into_iter()
        .partition(|name| of_version(name).is_some_and(|version| version < 19));
    assert_eq!(dry.files, gone);
    assert_eq!(gone.len(), 19 + 1, "commits and a checkpoint");
    assert!(gone.iter().all(|name| place.exists(name)));

    let done = trim_log(&pinned, WEEK, false).await.unwrap();
    assert_eq!(
        LogReport {
            dry_run: true,
            ..done
        },
        dry
    );
    assert_eq!(place.log(table), left);
    let newest = place.lake.table(table).await.unwrap();
    assert_eq!((newest.version(), newest.files().len()), (34, 34));
    assert_eq!(newest.history(100).await.unwrap().len(), 34 - 18);
    for version in [19, 24, 33] {
        let old = place.lake.table_at(table, version).await.unwrap();
        assert_eq!(old.files().len() as u64, version);
    }
    let error = place.lake.table_at(table, 18).await.unwrap_err();
    assert!(
        matches!(error, DeltaError::VersionMissing { newest: 34, .. }),
        "{error:?}"
    );
    assert_eq!(
        trim_log(&newest, WEEK, false).await.unwrap(),
        LogReport::default()
    );
    place.commit(table, &[&data("after")], vec![]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_keeps_what_is_young_what_is_asked_for_and_what_no_checkpoint_replaces() {
    let table = TableName::UnifiedData;
    let place = Place::new().await;
    long_log(&place, table, 29 * DAY).await;
    let newest = place.lake.table(table).await.unwrap();
    let nothing = LogReport::default();
    assert_eq!(trim_log(&newest, WEEK, false).await.unwrap(), nothing);
    place.age_log(table, 40 * DAY);
    assert_eq!(trim_log(&newest, 50 * DAY, false).await.unwrap(), nothing);
    let report = trim_log(&newest, WEEK, false).await.unwrap();
    assert_eq!(
        report.files.len(),
        29 + 2,
        "commits and checkpoints before 29"
    );

    let fresh = TableName::JobRuns;
    place.age_log(fresh, 40 * DAY);
    let first = place.lake.table(fresh).await.unwrap();
    assert_eq!(trim_log(&first, WEEK, false).await.unwrap(), nothing);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_not_trimmed_to_a_checkpoint_that_cannot_be_read() {
    let table = TableName::UnifiedData;
    let place = Place::new().await;
    long_log(&place, table, 31 * DAY).await;
    let checkpoint = format!(
        "{}/_delta_log/00000000000000000019.checkpoint.parquet",
        table.folder()
    );
    let whole = std::fs::read(place.folder.path().join(&checkpoint)).unwrap();
    place.write(&checkpoint, &whole[..whole.len() / 2], 31 * DAY);
    let log = place.log(table);
    let newest = place.lake.table(table).await.unwrap();
    trim_log(&newest, WEEK, false).await.unwrap_err();
    assert_eq!(place.log(table), log);
    place.write(&checkpoint, &whole, 31 * DAY);
    let report = trim_log(&newest, WEEK, false).await.unwrap();
    assert_eq!(report.files.len(), 20);
}
