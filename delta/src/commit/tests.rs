use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt as _;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
};
use url::Url;

use super::*;
use crate::lake::{Lake, LakeSettings};
use crate::store::{LakeStore, StoreLocation};
use crate::tables::Layout;

const TABLE: TableName = TableName::Distributions;

/// What a store does wrong, once, to the next put of a commit.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// The put lands; the reply is lost.
    LostReply,
    /// The put lands, its reply is lost, and the client's own retry finds it there.
    LostReplyAndResent,
    /// The put lands, the reply is lost, and the next read of a commit fails too.
    LostReplyAndRead,
    /// The put does not land.
    Dropped,
    /// The operating system refuses with this code.
    Refused(i32),
    /// Checkpoints cannot be written.
    NoCheckpoint,
}

#[derive(Debug)]
struct FaultyStore {
    inner: InMemory,
    fault: Mutex<Option<Fault>>,
    fail_read: Mutex<bool>,
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyStore")
    }
}

fn failure(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> object_store::Error {
    object_store::Error::Generic {
        store: "faulty",
        source: source.into(),
    }
}

fn is_commit(location: &Path) -> bool {
    location.as_ref().contains("_delta_log/") && location.as_ref().ends_with(".json")
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> object_store::Result<PutResult> {
        let fault = *self.fault.lock().unwrap();
        if fault == Some(Fault::NoCheckpoint) && location.as_ref().contains("checkpoint") {
            return Err(failure("no checkpoints today"));
        }
        if !is_commit(location) || fault == Some(Fault::NoCheckpoint) {
            return self.inner.put_opts(location, payload, opts).await;
        }
        let fault = self.fault.lock().unwrap().take();
        match fault {
            None | Some(Fault::NoCheckpoint) => self.inner.put_opts(location, payload, opts).await,
            Some(Fault::Dropped) => Err(failure("connection reset")),
            Some(Fault::Refused(code)) => Err(failure(io::Error::from_raw_os_error(code))),
            Some(fault) => {
                self.inner.put_opts(location, payload, opts).await?;
                *self.fail_read.lock().unwrap() = fault == Fault::LostReplyAndRead;
                if fault == Fault::LostReplyAndResent {
                    let path = location.to_string();
                    return Err(object_store::Error::AlreadyExists {
                        path,
                        source: "resent".into(),
                    });
                }
                Err(failure("timed out"))
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        if *self.fault.lock().unwrap() == Some(Fault::NoCheckpoint) {
            return Err(failure("no checkpoints today"));
        }
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(
        &self,
        location: &Path,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        if is_commit(location) && std::mem::take(&mut *self.fail_read.lock().unwrap()) {
            return Err(failure("timed out"));
        }
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(
        &self,
        location: &Path,
        ranges: &[Range<u64>],
    ) -> object_store::Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(
        &self,
        from: &Path,
        to: &Path,
        options: RenameOptions,
    ) -> object_store::Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}

async fn faulty_lake() -> (Lake, Arc<FaultyStore>) {
    let store = Arc::new(FaultyStore {
        inner: InMemory::new(),
        fault: Mutex::new(None),
        fail_read: Mutex::new(false),
    });
    let url = Url::parse("memory:///here/lake/").unwrap();
    let root: Arc<dyn ObjectStore> = Arc::<FaultyStore>::clone(&store);
    let place = LakeStore::at("here/lake", url, root).unwrap();
    (
        Lake::create_in(place, LakeSettings::default())
            .await
            .unwrap(),
        store,
    )
}

async fn lake() -> Lake {
    faulty_lake().await.0
}

fn location(folder: &std::path::Path) -> StoreLocation {
    StoreLocation::new(folder.to_str().unwrap())
}

fn file(name: &str, rows: u64) -> NewFile {
    NewFile {
        path: format!("forecast/distributions/model_version=v1/commodity=coffee/{name}.parquet"),
        size: 1234,
        partition_values: vec![
            ("model_version".to_owned(), Some("v1".to_owned())),
            ("commodity".to_owned(), Some("coffee".to_owned())),
        ],
        modified_ms: 1_700_000_000_000,
        stats: format!(
            r#"{{"numRecords":{rows},"minValues":{{"path_id":1,"forecast_start_date":"2024-01-01"}},"maxValues":{{"path_id":{rows},"forecast_start_date":"2024-01-31"}},"nullCount":{{"path_id":0}}}}"#
        ),
    }
}

fn claim(commodity: &str) -> Vec<Claim> {
    vec![Claim::keys(TABLE, commodity, "v1")]
}

fn append(attempt: &str, claims: Vec<Claim>) -> CommitRequest {
    CommitRequest {
        operation: CommitKind::Append,
        adds: vec![file(attempt, 10)],
        removes: vec![],
        claims,
        run_id: format!("run-{attempt}"),
        attempt_id: attempt.to_owned(),
        new_columns: vec![],
    }
}

fn swap(kind: CommitKind, attempt: &str, on: &TableSnapshot, rows: u64) -> CommitRequest {
    CommitRequest {
        operation: kind,
        adds: vec![file(attempt, rows)],
        removes: on.files().to_vec(),
        ..append(attempt, vec![])
    }
}

#[track_caller]
fn committed(outcome: CommitOutcome) -> TableSnapshot {
    match outcome {
        CommitOutcome::Committed { version, snapshot } => {
            assert_eq!(snapshot.version(), version);
            snapshot
        }
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_conflicted(outcome: CommitOutcome) {
    assert!(
        matches!(outcome, CommitOutcome::Conflicted { .. }),
        "{outcome:?}"
    );
}

fn names(snapshot: &TableSnapshot) -> BTreeSet<String> {
    snapshot
        .files()
        .iter()
        .map(|file| {
            file.path
                .rsplit('/')
                .next()
                .unwrap()
                .trim_end_matches(".parquet")
                .to_owned()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_writers_with_a_common_claim_one_commits() {
    let lake = lake().await;
    let pinned = lake.table(TABLE).await.unwrap();
    let (a, b) = tokio::join!(
        pinned.commit(append("a", claim("coffee"))),
        pinned.commit(append("b", claim("coffee"))),
    );
    let (a, b) = (a.unwrap(), b.unwrap());
    let wins = [&a, &b]
        .iter()
        .filter(|o| matches!(o, CommitOutcome::Committed { .. }))
        .count();
    let losses = [&a, &b]
        .iter()
        .filter(|o| matches!(o, CommitOutcome::Conflicted { .. }))
        .count();
    assert_eq!((wins, losses), (1, 1), "{a:?} {b:?}");
    assert_eq!(lake.table(TABLE).await.unwrap().files().len(), 1);
    // The loser's claims are free again on a fresh snapshot.
    let fresh = lake.table(TABLE).await.unwrap();
    committed(fresh.commit(append("c", claim("coffee"))).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_without_a_common_claim_both_commit() {
    let lake = lake().await;
    let pinned = lake.table(TABLE).await.unwrap();
    assert_ne!(claim("coffee"), claim("sugar"));
    let (a, b) = tokio::join!(
        pinned.commit(append("a", claim("coffee"))),
        pinned.commit(append("b", claim("sugar"))),
    );
    committed(a.unwrap());
    committed(b.unwrap());
    let names = names(&lake.table(TABLE).await.unwrap());
    assert_eq!(names, ["a", "b"].map(str::to_owned).into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_writers_at_once_all_commit_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::create(&location(folder.path()), LakeSettings::default())
        .await
        .unwrap();
    let pinned = lake.table(TABLE).await.unwrap();
    let writers: Vec<_> = (0..20)
        .map(|writer| {
            let pinned = pinned.clone();
            tokio::spawn(async move { pinned.commit(append(&format!("w{writer}"), vec![])).await })
        })
        .collect();
    for writer in writers {
        committed(writer.await.unwrap().unwrap());
    }
    let end = lake.table(TABLE).await.unwrap();
    assert_eq!((end.version(), end.files().len()), (20, 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_reply_is_lost_is_committed_once() {
    for fault in [
        Fault::LostReply,
        Fault::LostReplyAndResent,
        Fault::LostReplyAndRead,
    ] {
        for claims in [claim("coffee"), vec![]] {
            let (lake, store) = faulty_lake().await;
            let pinned = lake.table(TABLE).await.unwrap();
            *store.fault.lock().unwrap() = Some(fault);
            let end = committed(pinned.commit(append("a", claims)).await.unwrap());
            assert_eq!(end.version(), 1, "{fault:?}");
            let end = lake.table(TABLE).await.unwrap();
            assert_eq!((end.version(), end.files().len()), (1, 1), "{fault:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_reply_is_found_behind_later_commits() {
    let (lake, store) = faulty_lake().await;
    let pinned = lake.table(TABLE).await.unwrap();
    committed(
        pinned
            .commit(append("first", claim("sugar")))
            .await
            .unwrap(),
    );
    *store.fault.lock().unwrap() = Some(Fault::LostReplyAndRead);
    let end = committed(pinned.commit(append("a", claim("coffee"))).await.unwrap());
    assert_eq!((end.version(), end.files().len()), (2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_never_arrived_can_be_tried_again() {
    let (lake, store) = faulty_lake().await;
    let pinned = lake.table(TABLE).await.unwrap();
    *store.fault.lock().unwrap() = Some(Fault::Dropped);
    let outcome = pinned.commit(append("a", claim("coffee"))).await.unwrap();
    assert!(
        matches!(outcome, CommitOutcome::Retryable { .. }),
        "{outcome:?}"
    );
    assert_eq!(lake.table(TABLE).await.unwrap().version(), 0);
    committed(pinned.commit(append("b", claim("coffee"))).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_refuses_is_an_error_for_the_user() {
    let (lake, store) = faulty_lake().await;
    let pinned = lake.table(TABLE).await.unwrap();
    *store.fault.lock().unwrap() = Some(Fault::Refused(30));
    let error = pinned.commit(append("a", vec![])).await.unwrap_err();
    assert!(matches!(error, DeltaError::ReadOnly { .. }), "{error:?}");
    *store.fault.lock().unwrap() = Some(Fault::Refused(28));
    let error = pinned.commit(append("a", vec![])).await.unwrap_err();
    assert!(matches!(error, DeltaError::StoreFull { .. }), "{error:?}");
    assert_eq!(lake.table(TABLE).await.unwrap().version(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_that_fails_does_not_fail_the_commit() {
    let (lake, store) = faulty_lake().await;
    *store.fault.lock().unwrap() = Some(Fault::NoCheckpoint);
    let mut table = lake.table(TABLE).await.unwrap();
    for commit in 1..=12 {
        table = committed(
            table
                .commit(append(&format!("c{commit}"), vec![]))
                .await
                .unwrap(),
        );
    }
    let end = lake.table(TABLE).await.unwrap();
    assert_eq!((end.version(), end.files().len()), (12, 12));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_rewrites_one_commits() {
    let lake = lake().await;
    let empty = lake.table(TABLE).await.unwrap();
    let pinned = committed(empty.commit(append("a", vec![])).await.unwrap());
    let outcome = pinned
        .commit(swap(CommitKind::Rewrite, "r1", &pinned, 10))
        .await
        .unwrap();
    assert_eq!(names(&committed(outcome)), ["r1".to_owned()].into());
    assert_conflicted(
        pinned
            .commit(swap(CommitKind::Rewrite, "r2", &pinned, 10))
            .await
            .unwrap(),
    );
    assert_conflicted(
        pinned
            .commit(swap(CommitKind::Replace, "r3", &pinned, 4))
            .await
            .unwrap(),
    );
    assert_eq!(lake.table(TABLE).await.unwrap().files().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rewrite_and_an_append_of_other_rows_both_commit_in_either_order() {
    for append_first in [true, false] {
        let lake = lake().await;
        let empty = lake.table(TABLE).await.unwrap();
        let pinned = committed(empty.commit(append("a", claim("coffee"))).await.unwrap());
        let rewrite = swap(CommitKind::Rewrite, "r", &pinned, 10);
        let other = append("b", claim("sugar"));
        let (first, second) = if append_first {
            (other, rewrite)
        } else {
            (rewrite, other)
        };
        committed(pinned.commit(first).await.unwrap());
        let end = committed(pinned.commit(second).await.unwrap());
        assert_eq!(names(&end), ["b", "r"].map(str::to_owned).into());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replacement_lets_an_earlier_append_of_other_keys_pass() {
    let lake = lake().await;
    let empty = lake.table(TABLE).await.unwrap();
    let pinned = committed(empty.commit(append("a", claim("coffee"))).await.unwrap());
    let mut replace = swap(CommitKind::Replace, "r", &pinned, 4);
    replace.claims = claim("coffee");
    committed(pinned.commit(append("b", claim("sugar"))).await.unwrap());
    let end = committed(pinned.commit(replace).await.unwrap());
    assert_eq!(names(&end), ["b", "r"].map(str::to_owned).into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_behind_a_replacement_is_planned_again() {
    let lake = lake().await;
    let empty = lake.table(TABLE).await.unwrap();
    let pinned = committed(empty.commit(append("a", claim("coffee"))).await.unwrap());
    let delete = CommitRequest {
        adds: vec![],
        ..swap(CommitKind::Replace, "d", &pinned, 0)
    };
    assert!(
        committed(pinned.commit(delete).await.unwrap())
            .files()
            .is_empty()
    );
    assert_conflicted(pinned.commit(append("b", claim("sugar"))).await.unwrap());
    let fresh = pinned.newest().await.unwrap();
    committed(fresh.commit(append("c", claim("sugar"))).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unsound_commits_change_nothing() {
    let lake = lake().await;
    let empty = lake.table(TABLE).await.unwrap();
    let pinned = committed(empty.commit(append("a", vec![])).await.unwrap());
    let outside = NewFile {
        path: "silver/unified_data/x.parquet".to_owned(),
        ..file("x", 1)
    };
    let unpartitioned = NewFile {
        partition_values: vec![],
        ..file("x", 1)
    };
    let requests = [
        swap(CommitKind::Rewrite, "fewer rows", &pinned, 9),
        swap(CommitKind::Append, "append that removes", &pinned, 10),
        swap(CommitKind::Append, "a", &empty, 10),
        CommitRequest {
            adds: vec![outside],
            ..append("x", vec![])
        },
        CommitRequest {
            adds: vec![unpartitioned],
            ..append("x", vec![])
        },
        CommitRequest {
            adds: vec![file("x", 1), file("x", 1)],
            ..append("x", vec![])
        },
    ];
    for request in requests {
        let error = pinned.commit(request.clone()).await.unwrap_err();
        assert!(
            matches!(error, DeltaError::Corrupt { .. }),
            "{request:?} {error:?}"
        );
    }
    let gone = swap(CommitKind::Replace, "r", &pinned, 1);
    let error = empty.commit(gone).await.unwrap_err();
    assert!(error.to_string().contains("not in the table"), "{error}");
    assert_eq!(lake.table(TABLE).await.unwrap().version(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_columns_arrive_with_the_rows_and_leave_the_protocol_alone() {
    let lake = lake().await;
    let pinned = lake.table(TABLE).await.unwrap();
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let request = CommitRequest {
        new_columns: vec![
            Field::new("soil_moisture", DataType::Float64, false),
            Field::new("seen_at", utc, true),
            Field::new("path_id", DataType::Int32, true),
        ],
        ..append("a", claim("coffee"))
    };
    let end = committed(pinned.commit(request).await.unwrap());
    for table in [end, lake.table(TABLE).await.unwrap()] {
        let protocol = table.state().protocol();
        assert_eq!(
            (protocol.min_reader_version(), protocol.min_writer_version()),
            (1, 2)
        );
        let old = TABLE.def(&Layout::Commodity).schema;
        assert_eq!(table.schema().fields().len(), old.fields().len() + 2);
        assert_eq!(
            &table.schema().fields()[..old.fields().len()],
            old.fields().as_ref()
        );
        assert!(
            table
                .schema()
                .field_with_name("soil_moisture")
                .unwrap()
                .is_nullable()
        );
        assert_eq!(
            table.state().metadata().id(),
            pinned.state().metadata().id()
        );
        assert_eq!(
            table.state().metadata().configuration(),
            pinned.state().metadata().configuration()
        );
    }
    // Whoever planned on the old schema plans again.
    assert_conflicted(pinned.commit(append("b", claim("sugar"))).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_that_would_raise_the_protocol_or_clash_are_refused() {
    let pinned = lake().await.table(TABLE).await.unwrap();
    let columns = [
        Field::new(
            "naive",
            DataType::Timestamp(TimeUnit::Microsecond, None),
            true,
        ),
        Field::new(
            "nanos",
            DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
            true,
        ),
        Field::new("path_id", DataType::Int64, true),
        Field::new("Path_Id", DataType::Int32, true),
    ];
    for column in columns {
        let request = CommitRequest {
            new_columns: vec![column.clone()],
            ..append("a", vec![])
        };
        let error = pinned.commit(request).await.unwrap_err();
        assert!(
            matches!(error, DeltaError::Schema { .. }),
            "{column:?} {error:?}"
        );
    }
}

// On one thread, too: there the log library does its I/O in another way.
#[tokio::test]
async fn what_the_log_says_of_a_file_survives_the_checkpoint() {
    let lake = lake().await;
    let mut table = lake.table(TABLE).await.unwrap();
    let odd = NewFile {
        path: "forecast/distributions/model_version=v%2F1/commodity=soft wheat ü/a+b.parquet"
            .to_owned(),
        partition_values: vec![
            ("commodity".to_owned(), Some("soft wheat ü".to_owned())),
            ("model_version".to_owned(), Some("v/1".to_owned())),
        ],
        ..file("odd", 7)
    };
    let request = CommitRequest {
        adds: vec![odd.clone()],
        ..append("odd", vec![])
    };
    table = committed(table.commit(request).await.unwrap());
    let before = table.files()[0].clone();
    for commit in 2..=11 {
        table = committed(
            table
                .commit(append(&format!("c{commit:02}"), vec![]))
                .await
                .unwrap(),
        );
    }
    let reopened = lake.table(TABLE).await.unwrap();
    assert_eq!(reopened.version(), 11);
    assert_eq!(reopened.files(), table.files());
    let after = reopened
        .files()
        .iter()
        .find(|file| file.path == odd.path)
        .unwrap();
    assert_eq!(after, &before);
    assert_eq!(after.stats.as_deref(), Some(odd.stats.as_str()));
    assert_eq!(after.rows, Some(7));
    assert_eq!(
        after.partition_values,
        [Some("v/1".to_owned()), Some("soft wheat ü".to_owned())]
    );
    assert_eq!(after.location().unwrap().as_ref(), odd.path);
    // And the file can be removed by the path it is known by.
    let remove = CommitRequest {
        adds: vec![],
        removes: vec![after.clone()],
        ..swap(CommitKind::Replace, "remove", &reopened, 0)
    };
    let end = committed(reopened.commit(remove).await.unwrap());
    assert!(end.files().iter().all(|file| file.path != odd.path));
    let again = lake.table(TABLE).await.unwrap();
    assert_eq!(again.files(), end.files());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_log_opens_from_its_checkpoint() {
    let (lake, store) = faulty_lake().await;
    let mut table = lake.table(TABLE).await.unwrap();
    for commit in 1..=305 {
        let mut request = append(&format!("c{commit}"), claim(&format!("c{commit}")));
        if commit > 1 {
            request.operation = CommitKind::Replace;
            request.removes = table.files().to_vec();
        }
        table = committed(table.commit(request).await.unwrap());
    }
    let mut log_bytes = 0;
    let listed: Vec<ObjectMeta> = store.list(None).try_collect().await.unwrap();
    for object in &listed {
        if object
            .location
            .as_ref()
            .contains("distributions/_delta_log/")
            && is_commit(&object.location)
        {
            log_bytes += object.size;
        }
    }
    let before = lake.bytes_read();
    let opened = lake.table(TABLE).await.unwrap();
    let read = lake.bytes_read() - before;
    println!("opening version 305 read {read} of {log_bytes} bytes of commits");
    assert_eq!((opened.version(), opened.files().len()), (305, 1));
    assert!(read * 4 < log_bytes, "read {read} of {log_bytes}");
    let old = lake.table_at(TABLE, 7).await.unwrap();
    assert_eq!(names(&old), ["c7".to_owned()].into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_another_engine_upgraded_is_refused() {
    let upgrades = [
        (
            r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["deletionVectors"],"writerFeatures":["deletionVectors"]}}"#,
            "deletionVectors",
        ),
        (
            r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":4}}"#,
            "writer 4",
        ),
    ];
    for (action, named) in upgrades {
        let (lake, store) = faulty_lake().await;
        let pinned = lake.table(TABLE).await.unwrap();
        let commit =
            Path::from("here/lake/forecast/distributions/_delta_log/00000000000000000001.json");
        store
            .put_opts(&commit, action.into(), PutOptions::default())
            .await
            .unwrap();
        let error = lake.table(TABLE).await.unwrap_err();
        assert!(
            matches!(error, DeltaError::UnsupportedProtocol { .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains(named), "{error}");
        assert_conflicted(pinned.commit(append("a", vec![])).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_names_run_attempt_and_engine() {
    let lake = lake().await;
    let mut table = lake.table(TABLE).await.unwrap();
    for name in ["a", "b", "c"] {
        table = committed(table.commit(append(name, vec![])).await.unwrap());
    }
    let history = table.history(2).await.unwrap();
    assert_eq!(
        history
            .iter()
            .map(|commit| commit.version)
            .collect::<Vec<_>>(),
        [3, 2]
    );
    let newest = &history[0];
    assert_eq!(newest.run_id.as_deref(), Some("run-c"));
    assert_eq!(newest.attempt_id.as_deref(), Some("c"));
    assert!(newest.engine.as_deref().unwrap().starts_with("almanac/"));
    assert_eq!(newest.operation, "WRITE");
    assert_eq!(
        (newest.files_added, newest.rows_added, newest.bytes_added),
        (1, 10, 1234)
    );
    assert!(newest.timestamp_ms.is_some());
    assert_eq!(table.history(100).await.unwrap().len(), 4);
    assert!(table.history(0).await.unwrap().is_empty());
}

/// Folder of the lake in which a child process is to die right after its commit.
const DOOMED: &str = "ALMANAC_TEST_DOOMED_LAKE";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_killed_after_its_commit_has_committed() {
    if let Some(folder) = std::env::var_os(DOOMED) {
        let lake = Lake::open(&location(folder.as_ref())).await.unwrap();
        let pinned = lake.table(TABLE).await.unwrap();
        crate::observed::set_crash_point("after_commit_put:forecast/distributions");
        let outcome = pinned.commit(append("doomed", claim("coffee"))).await;
        panic!("survived: {outcome:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::create(&location(folder.path()), LakeSettings::default())
        .await
        .unwrap();
    let pinned = lake.table(TABLE).await.unwrap();
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "commit::tests::a_process_killed_after_its_commit_has_committed",
        ])
        .env(DOOMED, folder.path())
        .output()
        .unwrap();
    let signal = std::os::unix::process::ExitStatusExt::signal(&child.status);
    assert_eq!(signal, Some(9), "{child:?}");
    assert_eq!(
        names(&lake.table(TABLE).await.unwrap()),
        ["doomed".to_owned()].into()
    );
    // Whoever planned the same keys beside it learns that they are there.
    assert_conflicted(
        pinned
            .commit(append("again", claim("coffee")))
            .await
            .unwrap(),
    );
}

#[test]
fn claims_of_a_table_fall_into_64_buckets() {
    let claims: BTreeSet<_> = (0..5000)
        .map(|k| Claim::keys(TABLE, &format!("c{k}"), "v1"))
        .collect();
    assert_eq!(claims.len(), 64);
    assert!(claims.iter().all(|claim| {
        claim
            .as_str()
            .starts_with("almanac/forecast.distributions/")
    }));
    assert_ne!(
        Claim::keys(TABLE, "coffee", "v1").as_str(),
        Claim::keys(TableName::PointForecasts, "coffee", "v1").as_str()
    );
    assert_eq!(
        Claim::rewrite(TABLE).as_str(),
        "almanac/rewrite/forecast.distributions"
    );
}
