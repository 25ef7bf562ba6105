//! From a location a person types to an object store.

use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use url::Url;

use crate::error::DeltaError;
use crate::observed::ObservedStore;

/// Where a lake is: a folder, absolute or relative, or a `file://` URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct StoreLocation {
    /// The text as the user gave it.
    pub uri: String,
}

impl StoreLocation {
    /// A location from text.
    #[must_use]
    pub fn new(uri: impl Into<String>) -> Self {
        Self { uri: uri.into() }
    }
}

/// Opens the store of an existing lake, rooted at the lake: `silver/unified_data/…`.
///
/// The URL is absolute and ends with a slash. Nothing is created: a folder that is not there is
/// [`DeltaError::NotALake`].
pub fn open_store(uri: &str) -> Result<(Url, Arc<dyn ObjectStore>), DeltaError> {
    let store = LakeStore::open(uri)?;
    Ok((store.url.clone(), store.lake()))
}

/// The store a lake is in, with the place of the lake in it.
///
/// Delta logs address objects from the root of the store, everything else from the root of the
/// lake; both views share one [`ObservedStore`].
#[derive(Debug, Clone)]
pub(crate) struct LakeStore {
    /// As the user gave it, for messages.
    pub(crate) uri: String,
    /// Absolute, with a trailing slash.
    pub(crate) url: Url,
    root: Arc<ObservedStore>,
    /// The lake's root within the store.
    pub(crate) prefix: Path,
}

impl LakeStore {
    /// The store of a lake whose folder exists.
    pub(crate) fn open(uri: &str) -> Result<Self, DeltaError> {
        let folder = local_folder(uri)?;
        if !folder.is_dir() {
            return Err(DeltaError::NotALake {
                uri: uri.to_owned(),
                reason: "there is no such folder".to_owned(),
            });
        }
        Self::local(uri, &folder)
    }

    /// The store of a lake, making its folder if need be.
    pub(crate) fn create(uri: &str) -> Result<Self, DeltaError> {
        let folder = local_folder(uri)?;
        std::fs::create_dir_all(&folder)
            .map_err(|error| DeltaError::io(format!("making folder `{uri}`"), error))?;
        Self::local(uri, &folder)
    }

    fn local(uri: &str, folder: &FsPath) -> Result<Self, DeltaError> {
        let absolute = std::fs::canonicalize(folder)
            .map_err(|error| DeltaError::io(format!("opening folder `{uri}`"), error))?;
        let url = Url::from_directory_path(&absolute).map_err(|()| DeltaError::NotALake {
            uri: uri.to_owned(),
            reason: "the folder has no URL".to_owned(),
        })?;
        Self::at(uri, url, Arc::new(LocalFileSystem::new()))
    }

    /// The lake at `url` in `root`, a store whose paths are the paths of URLs.
    pub(crate) fn at(uri: &str, url: Url, root: Arc<dyn ObjectStore>) -> Result<Self, DeltaError> {
        let prefix = Path::from_url_path(url.path()).map_err(|error| DeltaError::NotALake {
            uri: uri.to_owned(),
            reason: error.to_string(),
        })?;
        let root = Arc::new(ObservedStore::new(root));
        Ok(Self {
            uri: uri.to_owned(),
            url,
            root,
            prefix,
        })
    }

    /// The store with paths from the root of the lake.
    pub(crate) fn lake(&self) -> Arc<dyn ObjectStore> {
        Arc::new(PrefixStore::new(
            Arc::clone(&self.root),
            self.prefix.clone(),
        ))
    }

    /// The store with paths from the root of one table.
    pub(crate) fn table(&self, folder: &str) -> Arc<dyn ObjectStore> {
        let prefix: Path = self
            .prefix
            .parts()
            .chain(Path::from(folder).parts())
            .collect();
        Arc::new(PrefixStore::new(Arc::clone(&self.root), prefix))
    }

    /// The store with paths as in URLs.
    pub(crate) fn root(&self) -> Arc<dyn ObjectStore> {
        Arc::<ObservedStore>::clone(&self.root)
    }

    pub(crate) fn bytes_read(&self) -> u64 {
        self.root.bytes_read()
    }
}

/// The folder a location means; no other kind of store is compiled in.
fn local_folder(uri: &str) -> Result<PathBuf, DeltaError> {
    let unsupported = |reason: String| DeltaError::UnsupportedStore {
        uri: uri.to_owned(),
        reason,
    };
    if uri.is_empty() {
        return Err(unsupported("the location is empty".to_owned()));
    }
    match uri.split_once("://") {
        None if looks_encoded(uri) => Err(unsupported(
            "the path holds a percent sign before two hex digits, which Delta readers take for one \
             character; rename the folder"
                .to_owned(),
        )),
        None => Ok(PathBuf::from(uri)),
        Some(("file", _)) => Url::parse(uri)
            .ok()
            .and_then(|url| url.to_file_path().ok())
            .ok_or_else(|| unsupported("not a file URL of this machine".to_owned())),
        Some((scheme, _)) => Err(unsupported(format!(
            "{scheme}:// is not supported by this build"
        ))),
    }
}

/// Whether a part of the path reads like a percent-encoded character.
fn looks_encoded(path: &str) -> bool {
    path.as_bytes().windows(3).any(|bytes| {
        bytes[0] == b'%' && bytes[1].is_ascii_hexdigit() && bytes[2].is_ascii_hexdigit()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::ObjectStoreExt as _;

    #[test]
    fn a_missing_folder_is_not_a_lake_and_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("nope");
        let error = open_store(missing.to_str().unwrap()).unwrap_err();
        assert!(matches!(error, DeltaError::NotALake { .. }), "{error:?}");
        assert!(!missing.exists());
    }

    #[test]
    fn another_scheme_is_refused_by_name() {
        let error = open_store("s3://bucket/lake").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("s3:// is not supported by this build"),
            "{error}"
        );
        assert!(error.is_user_fixable());
    }

    #[tokio::test]
    async fn odd_folder_names_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("my lake #1 50% ü");
        std::fs::create_dir(&odd).unwrap();
        let (url, store) = open_store(odd.to_str().unwrap()).unwrap();
        assert!(url.path().ends_with('/'));
        store.put(&Path::from("a/b"), "x".into()).await.unwrap();
        assert!(odd.join("a/b").exists());
        let (again, _) = open_store(url.as_str()).unwrap();
        assert_eq!(again, url);
    }
}
