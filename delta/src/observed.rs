//! An object store that counts what is read, and dies on command.
//!
//! Every byte of a lake goes through an [`ObservedStore`], so a test can ask how much an operation
//! read, and can have the process killed at a named point to see what a later run makes of it.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

/// Crash points of this form fire right after a commit of the table in that folder has landed.
const AFTER_COMMIT_PUT: &str = "after_commit_put:";

static CRASH_POINT: OnceLock<String> = OnceLock::new();

/// Chooses the point at which this process kills itself. The first choice stands.
///
/// Points are `before_manifest`, `after_manifest`, `before_commit:<table>`, `between_tables` and
/// `after_commit_put:<table folder>`.
pub fn set_crash_point(name: &str) {
    if CRASH_POINT.set(name.to_owned()).is_err() {
        tracing::warn!(name, "a crash point is set already");
    }
}

/// Kills this process with SIGKILL if `name` is the chosen point; otherwise does nothing.
pub fn crash_point(name: &str) {
    if CRASH_POINT.get().is_some_and(|chosen| chosen == name) {
        die();
    }
}

/// Dies as by a power cut: no destructors, no flushing, no exit handlers.
fn die() -> ! {
    let killed = std::process::Command::new("kill")
        .args(["-9", &std::process::id().to_string()])
        .status();
    if killed.is_err() {
        std::process::abort();
    }
    loop {
        std::thread::park();
    }
}

/// Forwards everything to another store, counting the bytes that reads ask for.
#[derive(Debug)]
pub struct ObservedStore {
    inner: Arc<dyn ObjectStore>,
    bytes_read: AtomicU64,
}

impl ObservedStore {
    /// Observes `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self {
            inner,
            bytes_read: AtomicU64::new(0),
        }
    }

    /// Bytes that reads have asked for so far. Listings and metadata requests count nothing.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    fn count(&self, bytes: u64) {
        self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Whether `location` is a commit, `…/<folder>/_delta_log/<20 digits>.json`, of the table in
/// `folder`.
fn is_commit_of(location: &Path, folder: &str) -> bool {
    let Some((table, file)) = location.as_ref().rsplit_once("/_delta_log/") else {
        return false;
    };
    let version = file.strip_suffix(".json").unwrap_or_default();
    let in_folder = table
        .strip_suffix(folder)
        .is_some_and(|parent| parent.is_empty() || parent.ends_with('/'));
    in_folder && version.len() == 20 && version.bytes().all(|byte| byte.is_ascii_digit())
}

impl fmt::Display for ObservedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Observed({})", self.inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for ObservedStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let result = self.inner.put_opts(location, payload, opts).await?;
        if let Some(folder) = CRASH_POINT
            .get()
            .and_then(|chosen| chosen.strip_prefix(AFTER_COMMIT_PUT))
            && is_commit_of(location, folder)
        {
            die();
        }
        Ok(result)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let head = options.head;
        let result = self.inner.get_opts(location, options).await?;
        if !head {
            self.count(result.range.end.saturating_sub(result.range.start));
        }
        Ok(result)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let parts = self.inner.get_ranges(location, ranges).await?;
        self.count(parts.iter().map(|part| part.len() as u64).sum());
        Ok(parts)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::ObjectStoreExt as _;
    use object_store::memory::InMemory;

    #[tokio::test]
    async fn reads_are_counted_and_metadata_is_not() {
        let store = ObservedStore::new(Arc::new(InMemory::new()));
        let path = Path::from("a/b");
        store
            .put(&path, PutPayload::from_static(b"0123456789"))
            .await
            .unwrap();
        store.head(&path).await.unwrap();
        assert_eq!(store.bytes_read(), 0);
        store.get(&path).await.unwrap().bytes().await.unwrap();
        assert_eq!(store.bytes_read(), 10);
        store.get_range(&path, 2..5).await.unwrap();
        assert_eq!(store.bytes_read(), 13);
        store.get_ranges(&path, &[0..1, 8..10]).await.unwrap();
        assert_eq!(store.bytes_read(), 16);
    }

    #[test]
    fn only_commits_of_the_folder_are_commit_puts() {
        let folder = "forecast/distributions";
        let is = |path: &str| is_commit_of(&Path::from(path), folder);
        assert!(is(
            "tmp/lake/forecast/distributions/_delta_log/00000000000000000007.json"
        ));
        assert!(is(
            "forecast/distributions/_delta_log/00000000000000000007.json"
        ));
        assert!(!is(
            "tmp/old_forecast/distributions/_delta_log/00000000000000000007.json"
        ));
        assert!(!is(
            "tmp/lake/forecast/job_runs/_delta_log/00000000000000000007.json"
        ));
        assert!(!is("forecast/distributions/_delta_log/_last_checkpoint"));
        assert!(!is(
            "forecast/distributions/_delta_log/00000000000000000009.checkpoint.parquet"
        ));
    }

    #[test]
    fn a_point_that_was_not_chosen_is_passed() {
        crash_point("never chosen");
    }
}
