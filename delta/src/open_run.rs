//! Runs that have begun and have not said how they ended.
//!
//! A job puts a small object here before it does anything else, and removes it once its row in
//! `job_runs` is committed. An object that stays is that of a run still at work, or of one that was
//! killed: nothing else tells of such a run. [`sweep`](crate::care::sweep) forgets old ones.

use chrono::{DateTime, Utc};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::DeltaError;

/// The folder of open runs under a lake's root.
pub const FOLDER: &str = "_almanac/runs";

/// The kind of a run whose object cannot be read.
pub const UNREADABLE: &str = "unreadable";

/// Objects read at the same time.
const CONCURRENCY: usize = 8;

/// A run that has begun.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenRun {
    /// Identifier of the run.
    pub run_id: String,
    /// Which job, as `job_runs` calls it.
    pub kind: String,
    /// Resolved arguments.
    pub arguments: Value,
    /// When it started, in microseconds since 1970 UTC.
    pub started_at_micros: i64,
    /// Engine it runs on.
    pub engine: String,
    /// Version of the code.
    pub code_version: String,
}

impl OpenRun {
    /// Makes the run known.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn put(&self, store: &dyn ObjectStore) -> Result<(), DeltaError> {
        let path = path(&self.run_id);
        let body = serde_json::to_vec(self).map_err(|source| DeltaError::Json {
            what: format!("open run {path}"),
            source,
        })?;
        store
            .put(&path, body.into())
            .await
            .map_err(|source| DeltaError::store(format!("put {path}"), source))?;
        Ok(())
    }

    /// Forgets a run; one that is not there is forgotten.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn remove(store: &dyn ObjectStore, run_id: &str) -> Result<(), DeltaError> {
        let path = path(run_id);
        match store.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(DeltaError::store(format!("remove {path}"), source)),
        }
    }

    /// All open runs, the newest first. Of an object that cannot be read its name and age are
    /// known, and its kind is [`UNREADABLE`].
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn all(store: &dyn ObjectStore) -> Result<Vec<Self>, DeltaError> {
        let listed: Vec<ObjectMeta> = store
            .list(Some(&Path::from(FOLDER)))
            .try_collect()
            .await
            .map_err(|source| DeltaError::store(format!("list {FOLDER}"), source))?;
        let mut runs: Vec<Self> = stream::iter(listed)
            .map(|object| read(store, object))
            .buffer_unordered(CONCURRENCY)
            .try_filter_map(|run| async move { Ok(run) })
            .try_collect()
            .await?;
        runs.sort_by(|a, b| {
            (b.started_at_micros, &b.run_id).cmp(&(a.started_at_micros, &a.run_id))
        });
        Ok(runs)
    }

    /// When it started; `None` when that is no time at all.
    #[must_use]
    pub fn started_at(&self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_micros(self.started_at_micros)
    }
}

fn path(run_id: &str) -> Path {
    Path::from(FOLDER).join(format!("{run_id}.json"))
}

/// The run of an object; `None` when it has ended since it was listed.
async fn read(store: &dyn ObjectStore, object: ObjectMeta) -> Result<Option<OpenRun>, DeltaError> {
    let path = &object.location;
    let body = match store.get(path).await {
        Ok(found) => found.bytes().await,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(source) => Err(source),
    };
    let body = body.map_err(|source| DeltaError::store(format!("read {path}"), source))?;
    Ok(Some(serde_json::from_slice(&body).unwrap_or_else(
        |error| {
            tracing::warn!(%path, %error, "the object of an open run cannot be read");
            let name = path.filename().unwrap_or_default();
            OpenRun {
                run_id: name.strip_suffix(".json").unwrap_or(name).to_owned(),
                kind: UNREADABLE.to_owned(),
                arguments: Value::Null,
                started_at_micros: object.last_modified.timestamp_micros(),
                engine: String::new(),
                code_version: String::new(),
            }
        },
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;

    fn run(run_id: &str, started_at_micros: i64) -> OpenRun {
        OpenRun {
            run_id: run_id.to_owned(),
            kind: "backfill".to_owned(),
            arguments: serde_json::json!({"commodities": ["Coffee"]}),
            started_at_micros,
            engine: "embedded, 2 threads".to_owned(),
            code_version: "almanac 1".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_run_is_there_until_it_is_removed() {
        let store = InMemory::new();
        assert_eq!(OpenRun::all(&store).await.unwrap(), []);
        let (older, newer) = (run("z", 1), run("a", 2));
        for run in [&older, &newer] {
            run.put(&store).await.unwrap();
        }
        assert_eq!(OpenRun::all(&store).await.unwrap(), [newer.clone(), older]);
        for _ in 0..2 {
            OpenRun::remove(&store, "z").await.unwrap();
            assert_eq!(
                OpenRun::all(&store).await.unwrap(),
                std::slice::from_ref(&newer)
            );
        }
    }

    #[tokio::test]
    async fn an_object_cut_short_is_still_a_run() {
        let store = InMemory::new();
        store.put(&path("cut"), "{\"run_id\"".into()).await.unwrap();
        let before = Utc::now();
        let runs = OpenRun::all(&store).await.unwrap();
        assert_eq!(runs.len(), 1);
        assert_eq!(
            (runs[0].run_id.as_str(), runs[0].kind.as_str()),
            ("cut", UNREADABLE)
        );
        let age = before - runs[0].started_at().unwrap();
        assert!(age.num_seconds().abs() < 60, "{runs:?}");
    }
}
