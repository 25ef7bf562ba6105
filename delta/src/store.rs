//! From a location a person types to an object store.

mod failure;
mod s3;

use std::collections::HashMap;
use std::path::{Path as FsPath, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::error::{DataFusionError, Result as FusionResult};
use datafusion::execution::object_store::ObjectStoreRegistry;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions};
use tokio::runtime::Handle;
use url::{Position, Url};
use uuid::Uuid;

use self::failure::Trouble;
use self::s3::{Patience, S3};
use crate::error::DeltaError;
use crate::observed::ObservedStore;

pub use self::failure::S3Failure;
pub(crate) use self::failure::below;

/// Where a lake is: a folder, absolute or relative, a `file://` URL, or `s3://bucket/prefix`.
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

/// The stores of a process, as the query engine asks for them: `file:///` and `s3://bucket/`, each
/// made on first use from this process's own environment.
///
/// Plans name stores by URL and carry nothing else of them, so no secret is ever in a plan, and
/// every process of a cluster brings its own credentials.
#[derive(Debug)]
pub struct Stores {
    /// Where requests are made: the runtime that [`new`](Self::new) was called on. Threads that
    /// compute then do not keep answers waiting until the store hangs up.
    io: Option<Handle>,
    made: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
}

impl Default for Stores {
    fn default() -> Self {
        Self::new()
    }
}

impl Stores {
    /// No stores yet. Requests are made on the runtime that this is called on; outside of any, on
    /// the one that asks.
    #[must_use]
    pub fn new() -> Self {
        Self {
            io: Handle::try_current().ok(),
            made: Mutex::default(),
        }
    }

    fn make(&self, url: &Url) -> Result<Arc<dyn ObjectStore>, DeltaError> {
        match (url.scheme(), url.host_str()) {
            ("file", _) => Ok(Arc::new(LocalFileSystem::new())),
            ("s3", Some(bucket)) => S3::connect(bucket, Patience::Working, self.io.clone())
                .map(|store| Arc::new(store) as _)
                .map_err(|failure| DeltaError::s3(url.as_str(), failure)),
            (scheme, _) => Err(DeltaError::UnsupportedStore {
                uri: format!("{scheme}://"),
                reason: format!("{scheme}:// is not supported by this build"),
            }),
        }
    }
}

/// `s3://bucket`, whatever follows.
fn store_key(url: &Url) -> String {
    url[..Position::BeforePath].to_owned()
}

impl ObjectStoreRegistry for Stores {
    fn register_store(
        &self,
        url: &Url,
        store: Arc<dyn ObjectStore>,
    ) -> Option<Arc<dyn ObjectStore>> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.insert(store_key(url), store)
    }

    fn get_store(&self, url: &Url) -> FusionResult<Arc<dyn ObjectStore>> {
        let key = store_key(url);
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = made.get(&key) {
            return Ok(Arc::clone(store));
        }
        let store = self
            .make(url)
            .map_err(|error| DataFusionError::External(Box::new(error)))?;
        made.insert(key, Arc::clone(&store));
        Ok(store)
    }
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
    /// The same store for the first requests, which gives up soon; of a folder there is none.
    opening: Option<Arc<dyn ObjectStore>>,
}

impl LakeStore {
    /// The store of a lake whose folder exists, or whose bucket takes this process's credentials.
    pub(crate) async fn open(uri: &str) -> Result<Self, DeltaError> {
        match Place::of(uri)? {
            Place::Bucket { bucket, url } => Self::bucket(uri, &bucket, url).await,
            Place::Folder(folder) if !folder.is_dir() => Err(DeltaError::NotALake {
                uri: uri.to_owned(),
                reason: "there is no such folder".to_owned(),
            }),
            Place::Folder(folder) => Self::local(uri, &folder),
        }
    }

    /// The store of a lake, making its folder if need be. Buckets are not made.
    pub(crate) async fn create(uri: &str) -> Result<Self, DeltaError> {
        match Place::of(uri)? {
            Place::Bucket { bucket, url } => Self::bucket(uri, &bucket, url).await,
            Place::Folder(folder) => {
                std::fs::create_dir_all(&folder)
                    .map_err(|error| DeltaError::io(format!("making folder `{uri}`"), error))?;
                Self::local(uri, &folder)
            }
        }
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

    async fn bucket(uri: &str, bucket: &str, url: Url) -> Result<Self, DeltaError> {
        let connect = |patience| {
            S3::connect(bucket, patience, Handle::try_current().ok())
                .map_err(|failure| DeltaError::s3(uri, failure))
        };
        let opening = connect(Patience::Opening)?;
        opening
            .check_credentials()
            .await
            .map_err(|failure| DeltaError::s3(uri, failure))?;
        let working = connect(Patience::Working)?;
        let mut store = Self::at(uri, url, Arc::new(working))?;
        store.opening = Some(Arc::new(PrefixStore::new(opening, store.prefix.clone())));
        Ok(store)
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
            opening: None,
        })
    }

    /// The store with paths from the root of the lake.
    pub(crate) fn lake(&self) -> Arc<dyn ObjectStore> {
        Arc::new(PrefixStore::new(
            Arc::clone(&self.root),
            self.prefix.clone(),
        ))
    }

    /// The same for the first requests of a command: what is wrong with a bucket shows soon.
    pub(crate) fn opening(&self) -> Arc<dyn ObjectStore> {
        self.opening.clone().unwrap_or_else(|| self.lake())
    }

    /// Makes sure that the store refuses to put an object that is there, `path` with `bytes` in it:
    /// every promise of the log rests on it, and a store that does not know the condition overwrites
    /// without a word. Overwritten by itself, the object stays what it is.
    ///
    /// A folder is not asked: its files are created by the operating system.
    pub(crate) async fn require_conditional_put(
        &self,
        path: &Path,
        bytes: Vec<u8>,
    ) -> Result<(), DeltaError> {
        let Some(store) = &self.opening else {
            return Ok(());
        };
        let options = PutOptions {
            mode: PutMode::Create,
            ..PutOptions::default()
        };
        match store.put_opts(path, bytes.into(), options).await {
            Err(Error::AlreadyExists { .. }) => Ok(()),
            Ok(_) => Err(DeltaError::s3(
                &self.uri,
                S3Failure::new(
                    Trouble::NoConditionalPut,
                    "the store overwrites an object where it was asked to refuse",
                ),
            )),
            Err(error) => Err(DeltaError::store(
                format!("putting `{path}` of `{}` again", self.uri),
                error,
            )),
        }
    }

    /// The same with an object made for it, where there is no lake yet: on a store without the
    /// condition, asking for one would overwrite it.
    pub(crate) async fn rehearse_conditional_put(&self) -> Result<(), DeltaError> {
        let Some(store) = &self.opening else {
            return Ok(());
        };
        let path = Path::from(format!("_almanac/rehearsal-{}", Uuid::new_v4()));
        let wrap = |error| DeltaError::store(format!("writing to `{}`", self.uri), error);
        store.put(&path, "".into()).await.map_err(wrap)?;
        let refused = self.require_conditional_put(&path, vec![]).await;
        store.delete(&path).await.map_err(wrap)?;
        refused
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

/// What a location means.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Folder(PathBuf),
    /// A bucket, and the URL of the lake in it, with a trailing slash.
    Bucket {
        bucket: String,
        url: Url,
    },
}

impl Place {
    fn of(uri: &str) -> Result<Self, DeltaError> {
        let unsupported = |reason: &str| DeltaError::UnsupportedStore {
            uri: uri.to_owned(),
            reason: reason.to_owned(),
        };
        if uri.is_empty() {
            return Err(unsupported("the location is empty"));
        }
        match uri.split_once("://") {
            Some(("s3", rest)) => Self::bucket(uri, rest),
            None if looks_encoded(uri) => Err(unsupported(
                "the path holds a percent sign before two hex digits, which Delta readers take for \
                 one character; rename the folder",
            )),
            None => Ok(Self::Folder(PathBuf::from(uri))),
            Some(("file", _)) => Url::parse(uri)
                .ok()
                .and_then(|url| url.to_file_path().ok())
                .map(Self::Folder)
                .ok_or_else(|| unsupported("not a file URL of this machine")),
            // The rest may hold a password.
            Some((scheme, _)) => Err(DeltaError::UnsupportedStore {
                uri: format!("{scheme}://…"),
                reason: format!("{scheme}:// is not supported by this build"),
            }),
        }
    }

    /// The bucket and prefix after `s3://`. A prefix is taken as it is written, not decoded.
    fn bucket(uri: &str, rest: &str) -> Result<Self, DeltaError> {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let unsupported = |uri: &str, reason: &str| DeltaError::UnsupportedStore {
            uri: uri.to_owned(),
            reason: reason.to_owned(),
        };
        if rest.contains('@') {
            return Err(unsupported(
                "s3://…",
                "it holds an `@`: credentials belong into the environment, where no log shows them",
            ));
        }
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if bucket.is_empty() || !bucket.bytes().all(is_name) {
            return Err(unsupported(uri, "it names no bucket"));
        }
        if looks_encoded(prefix) || prefix.contains(['?', '#']) {
            return Err(unsupported(
                uri,
                "the prefix holds a `?`, a `#`, or a percent sign before two hex digits, which Delta \
                 readers take for something else",
            ));
        }
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let key = Path::parse(prefix).map_err(|error| unsupported(uri, &error.to_string()))?;
        let mut url = Url::parse(&format!("s3://{bucket}/"))
            .map_err(|error| unsupported(uri, &error.to_string()))?;
        if !key.as_ref().is_empty() {
            url.set_path(&format!("{key}/"));
        }
        Ok(Self::Bucket {
            bucket: bucket.to_owned(),
            url,
        })
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

    #[tokio::test]
    async fn a_missing_folder_is_not_a_lake_and_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("nope");
        let error = LakeStore::open(missing.to_str().unwrap())
            .await
            .unwrap_err();
        assert!(matches!(error, DeltaError::NotALake { .. }), "{error:?}");
        assert!(!missing.exists());
    }

    #[test]
    fn another_scheme_is_refused_by_name_and_without_what_may_be_a_password() {
        for uri in ["ftp://me:HUSH@host/lake", "s3://AKID:HUSH@bucket/lake"] {
            let error = Place::of(uri).unwrap_err();
            let scheme = uri.split_once("://").unwrap().0;
            assert!(
                error.to_string().contains(&format!("{scheme}://")),
                "{error}"
            );
            assert!(!format!("{error} {error:?}").contains("HUSH"), "{error:?}");
            assert!(error.is_user_fixable());
        }
    }

    #[test]
    fn a_bucket_and_its_prefix_make_a_url() {
        for (uri, wanted) in [
            ("s3://b", "s3://b/"),
            ("s3://b/", "s3://b/"),
            ("s3://b/lake", "s3://b/lake/"),
            (
                "s3://my-bucket.x/a/my lake/",
                "s3://my-bucket.x/a/my%20lake/",
            ),
        ] {
            let Place::Bucket { url, .. } = Place::of(uri).unwrap() else {
                panic!("{uri} is no bucket");
            };
            assert_eq!(url.as_str(), wanted);
        }
        for uri in [
            "s3://",
            "s3:///lake",
            "s3://b/a//b",
            "s3://b/../a",
            "s3://b/a?b",
            "s3://b/a%20b",
        ] {
            assert!(
                matches!(Place::of(uri), Err(DeltaError::UnsupportedStore { .. })),
                "{uri}"
            );
        }
    }

    #[test]
    fn a_store_is_made_once_for_each_bucket() {
        let stores = Stores::new();
        let store = |url: &str| stores.get_store(&Url::parse(url).unwrap()).unwrap();
        assert!(Arc::ptr_eq(
            &store("s3://one/"),
            &store("s3://one/deep/down")
        ));
        assert!(!Arc::ptr_eq(&store("s3://one/"), &store("s3://two/")));
        assert!(Arc::ptr_eq(&store("file:///"), &store("file:///tmp")));
        let error = stores.get_store(&Url::parse("ftp://me:HUSH@host/").unwrap());
        assert!(!error.unwrap_err().to_string().contains("HUSH"));
    }

    #[tokio::test]
    async fn odd_folder_names_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("my lake #1 50% ü");
        std::fs::create_dir(&odd).unwrap();
        let store = LakeStore::open(odd.to_str().unwrap()).await.unwrap();
        assert!(store.url.path().ends_with('/'));
        let object = Path::from("a/b");
        store.lake().put(&object, "x".into()).await.unwrap();
        assert!(odd.join("a/b").exists());
        let again = LakeStore::open(store.url.as_str()).await.unwrap();
        assert_eq!(again.url, store.url);
    }
}
