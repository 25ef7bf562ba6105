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
        let log = self.folder.path().join(table.folder()).join("_delta_log");
        for entry in std::fs::read_dir(log).unwrap() {
            self.set_age(&entry.unwrap().path(), age);
        }
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

    let dry = vacuum(&pinned, WEEK, true, true).await.unwrap();
    assert_eq!(dry.files, [long_replaced.clone(), orphan.clone()]);
    assert_eq!((dry.bytes, dry.kept_young, dry.dry_run), (8, 1, true));
    assert!(place.exists(&orphan));

    let done = vacuum(&pinned, WEEK, false, true).await.unwrap();
    assert_eq!(done.files, dry.files);
    assert!(!place.exists(&orphan) && !place.exists(&long_replaced));
    assert!(place.exists(&live) && place.exists(&young) && place.exists(&replaced));
    assert!(place.exists("silver/unified_data/_delta_log/00000000000000000000.json"));
    assert!(place.exists("_almanac/lake.json"));
    assert_eq!(place.lake.table(table).await.unwrap().version(), 3);
    assert!(
        vacuum(&pinned, WEEK, false, true)
            .await
            .unwrap()
            .files
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vacuum_sees_files_committed_after_the_snapshot_it_was_given() {
    let table = TableName::UnifiedData;
    let place = Place::new().await;
    let pinned = place.lake.table(table).await.unwrap();
    place.write(&data("late"), b"data", 30 * DAY);
    place.commit(table, &[&data("late")], vec![]).await;
    assert!(
        vacuum(&pinned, WEEK, false, true)
            .await
            .unwrap()
            .files
            .is_empty()
    );
    assert!(place.exists(&data("late")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_retention_needs_the_check_turned_off() {
    let place = Place::new().await;
    let table = place.lake.table(TableName::UnifiedData).await.unwrap();
    place.write(&data("orphan"), b"data", DAY);
    let error = vacuum(&table, DAY, false, true).await.unwrap_err();
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
    let report = vacuum(&table, Duration::ZERO, false, false).await.unwrap();
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
