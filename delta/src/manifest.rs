//! What a slice has written, as the slice itself put it down.
//!
//! A task writes its data files first and its manifest last, with a create-if-absent put; the
//! driver believes manifests and never task results. The first manifest of a slice wins, and files
//! of a later attempt stay orphans until `vacuum`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use serde::{Deserialize, Serialize};

use crate::commit::NewFile;
use crate::error::DeltaError;
use crate::observed::crash_point;
use crate::tables::TableName;

/// The folder of manifests under a lake's root.
pub const FOLDER: &str = "_almanac/manifests";

/// Version of the stored form.
const FORMAT: u32 = 1;

/// One unit of work: what a row of a train or forecast plan is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UnitKey {
    /// Commodity.
    pub commodity: String,
    /// Catalog key.
    pub model_name: String,
    /// The user's version of it.
    pub model_version: String,
    /// Training date or forecast start date, as days since 1970-01-01.
    pub date: i32,
}

/// A unit that has no result, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitFailure {
    /// The unit.
    #[serde(flatten)]
    pub key: UnitKey,
    /// For machines; never changes.
    pub error_class: String,
    /// For people.
    pub message: String,
}

/// What a slice read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SliceInput {
    /// Rows of the scanned table.
    pub rows: i64,
    /// Newest date among them, as days since 1970-01-01.
    pub newest: Option<i32>,
}

/// A slice's manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    format: u32,
    /// The slice's name: a hash of all that decides its content.
    pub slice: String,
    /// Who wrote it.
    pub attempt: String,
    /// When, in milliseconds since 1970.
    pub created_ms: i64,
    /// Rows that stand in the first table for each key.
    pub keys: Vec<(UnitKey, u64)>,
    /// Units without a result.
    pub failures: Vec<UnitFailure>,
    /// Keys whose data reaches into the day that they forecast.
    pub leaks: Vec<UnitKey>,
    /// What the slice read.
    pub input: Option<SliceInput>,
    /// New files of each table.
    pub files: BTreeMap<TableName, Vec<NewFile>>,
}

impl Manifest {
    /// An empty manifest of a slice.
    #[must_use]
    pub fn new(slice: &str, attempt: &str, created_ms: i64) -> Self {
        Self {
            format: FORMAT,
            slice: slice.to_owned(),
            attempt: attempt.to_owned(),
            created_ms,
            keys: vec![],
            failures: vec![],
            leaks: vec![],
            input: None,
            files: BTreeMap::new(),
        }
    }

    fn path(root: &Path, slice: &str) -> Path {
        let folder = FOLDER
            .split('/')
            .fold(root.clone(), |path, part| path.join(part));
        folder.join(format!("{slice}.json"))
    }

    /// Puts the manifest unless there is one already; either way returns the one that counts.
    ///
    /// # Errors
    /// When the store does not answer, or refuses the manifest without having another.
    pub async fn put(&self, store: &dyn ObjectStore, root: &Path) -> Result<Self, DeltaError> {
        const TRIES: usize = 5;
        let path = Self::path(root, &self.slice);
        let body = serde_json::to_vec(self).map_err(|source| DeltaError::Json {
            what: format!("manifest {path}"),
            source,
        })?;
        crash_point("before_manifest");
        for _ in 0..TRIES {
            let options = PutOptions {
                mode: PutMode::Create,
                ..PutOptions::default()
            };
            match store
                .put_opts(&path, Bytes::from(body.clone()).into(), options)
                .await
            {
                Ok(_) => {
                    crash_point("after_manifest");
                    return Ok(self.clone());
                }
                Err(object_store::Error::AlreadyExists { .. }) => {
                    // It may be swept between the refusal and the read, or be unreadable: then it is ours
                    // to put again.
                    if let Some(first) = Self::get(store, root, &self.slice).await? {
                        return Ok(first);
                    }
                }
                Err(source) => return Err(DeltaError::store(format!("put {path}"), source)),
            }
        }
        Err(DeltaError::Corrupt {
            what: path.to_string(),
            reason: "it is refused as existing, and is not there when it is read".to_owned(),
        })
    }

    /// The manifest of a slice, if there is one that can be read.
    ///
    /// One that cannot (cut short by a power cut, of another format or slice) says nothing about
    /// any file, and while it stands none can take its place: it is removed, and a warning names
    /// it. Should a readable one have taken its place in the meantime, its slice runs once more;
    /// that costs work and never a row, since a job commits the files of one manifest only.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn get(
        store: &dyn ObjectStore,
        root: &Path,
        slice: &str,
    ) -> Result<Option<Self>, DeltaError> {
        let path = Self::path(root, slice);
        let body = match store.get(&path).await {
            Ok(found) => found.bytes().await,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(source) => Err(source),
        };
        let body = body.map_err(|source| DeltaError::store(format!("read {path}"), source))?;
        let reason = match Self::parse(&body, slice) {
            Ok(manifest) => return Ok(Some(manifest)),
            Err(reason) => reason,
        };
        tracing::warn!(manifest = %path, reason, "a manifest cannot be read: it is removed, and its slice runs again");
        match store.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(DeltaError::store(format!("remove {path}"), source)),
        }
    }

    /// The manifest in `body`, or why there is none of `slice` in it.
    fn parse(body: &[u8], slice: &str) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        if manifest.format != FORMAT {
            return Err(format!(
                "it is of format {}, this build reads {FORMAT}",
                manifest.format
            ));
        }
        if manifest.slice != slice {
            return Err(format!("it is of slice `{}`", manifest.slice));
        }
        Ok(manifest)
    }

    /// Whether every file that it names is still there.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn files_exist(
        &self,
        store: &dyn ObjectStore,
        root: &Path,
    ) -> Result<bool, DeltaError> {
        for file in self.files.values().flatten() {
            let path = file
                .path
                .split('/')
                .fold(root.clone(), |path, part| path.join(part));
            match store.head(&path).await {
                Ok(found) if found.size == file.size => {}
                Ok(_) | Err(object_store::Error::NotFound { .. }) => return Ok(false),
                Err(source) => return Err(DeltaError::store(format!("look up {path}"), source)),
            }
        }
        Ok(true)
    }

    /// Removes the manifests of slices whose files are committed, or unusable.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn remove(
        store: &Arc<dyn ObjectStore>,
        root: &Path,
        slices: &[String],
    ) -> Result<(), DeltaError> {
        let paths: Vec<_> = slices
            .iter()
            .map(|slice| Ok(Self::path(root, slice)))
            .collect();
        let mut removed = store.delete_stream(futures::stream::iter(paths).boxed());
        while let Some(outcome) = removed.next().await {
            match outcome {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(source) => return Err(DeltaError::store("remove manifests", source)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
