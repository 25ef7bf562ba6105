//! A lake: seven Delta tables under one root, and the settings they were made with.

use std::sync::Arc;

use deltalake::kernel::engine::arrow_conversion::TryFromArrow as _;
use deltalake::kernel::transaction::{CommitData, TransactionError};
use deltalake::kernel::{Action, Protocol, StructType, new_metadata};
use deltalake::logstore::{
    CommitOrBytes, LogStore as _, LogStoreRef, StorageConfig, default_logstore,
};
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::{DeltaTableError, TableProperty};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions};
use serde::{Deserialize, Serialize};
use url::{Position, Url};
use uuid::Uuid;

use crate::commit::{CHECKPOINT_INTERVAL, ENGINE, OwnLog, engine};
use crate::error::DeltaError;
use crate::snapshot::TableSnapshot;
use crate::store::{LakeStore, StoreLocation};
use crate::tables::{Layout, TableDef, TableName};

/// Where the settings are. The put that creates this object decides who makes the lake.
const SETTINGS: &str = "_almanac/lake.json";
/// The newest format of [`LakeSettings`] this build understands.
const FORMAT: u32 = 1;

/// What is decided once, when a lake is made, and holds for every run on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LakeSettings {
    /// Version of this document.
    pub format: u32,
    /// How the big tables are partitioned.
    pub layout: Layout,
    /// Which days are steps of a forecast: `trading`, `daily` or `observed`.
    #[serde(default = "default_calendar")]
    pub calendar: String,
    /// Calendar in `silver.calendar` that says which trading days are holidays.
    #[serde(default = "default_holidays")]
    pub holidays: String,
    /// Seed of every simulation.
    #[serde(default)]
    pub seed: u64,
    /// Whether `quickstart` made the lake, for its own made-up market.
    #[serde(default)]
    pub quickstart: bool,
    /// Calendar days after which a series without a new observation is stale.
    #[serde(default = "default_stale_after_days")]
    pub stale_after_days: u32,
    /// Calendar days of history a model needs at least.
    #[serde(default = "default_minimum_history_days")]
    pub minimum_history_days: u32,
}

impl Default for LakeSettings {
    fn default() -> Self {
        Self {
            format: FORMAT,
            layout: Layout::Commodity,
            calendar: default_calendar(),
            holidays: default_holidays(),
            seed: 0,
            quickstart: false,
            stale_after_days: default_stale_after_days(),
            minimum_history_days: default_minimum_history_days(),
        }
    }
}

fn default_calendar() -> String {
    "trading".to_owned()
}

fn default_holidays() -> String {
    "us_exchange".to_owned()
}

fn default_stale_after_days() -> u32 {
    10
}

fn default_minimum_history_days() -> u32 {
    730
}

/// An open lake. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Lake {
    opened: Arc<Opened>,
}

#[derive(Debug)]
struct Opened {
    store: LakeStore,
    settings: LakeSettings,
}

impl Lake {
    /// Makes a lake: its settings first, then its tables.
    ///
    /// Of several creators one wins; the others get [`DeltaError::AlreadyALake`]. A lake whose
    /// creation was cut short is completed by a call with equal settings.
    pub async fn create(
        location: &StoreLocation,
        settings: LakeSettings,
    ) -> Result<Self, DeltaError> {
        Self::create_in(LakeStore::create(&location.uri).await?, settings).await
    }

    /// Opens a lake. Reads its settings and nothing else.
    pub async fn open(location: &StoreLocation) -> Result<Self, DeltaError> {
        Self::open_in(LakeStore::open(&location.uri).await?).await
    }

    pub(crate) async fn create_in(
        store: LakeStore,
        settings: LakeSettings,
    ) -> Result<Self, DeltaError> {
        store.rehearse_conditional_put().await?;
        let created = put_settings(&store, &settings).await?;
        if !created && read_settings(&store).await? != settings {
            return Err(DeltaError::AlreadyALake { uri: store.uri });
        }
        let lake = Self {
            opened: Arc::new(Opened { store, settings }),
        };
        let mut made = 0;
        for name in TableName::ALL {
            made += usize::from(lake.create_table(name).await?);
        }
        if !created && made == 0 {
            return Err(DeltaError::AlreadyALake {
                uri: lake.opened.store.uri.clone(),
            });
        }
        Ok(lake)
    }

    pub(crate) async fn open_in(store: LakeStore) -> Result<Self, DeltaError> {
        let settings = read_settings(&store).await?;
        Ok(Self {
            opened: Arc::new(Opened { store, settings }),
        })
    }

    /// Makes sure that the store can refuse to overwrite an object, on which every commit rests. For
    /// the beginning of whatever writes: a store without it is found before there is work to lose.
    pub async fn require_conditional_put(&self) -> Result<(), DeltaError> {
        let Opened { store, settings } = self.opened.as_ref();
        let bytes = settings_bytes(store, settings)?;
        store
            .require_conditional_put(&Path::from(SETTINGS), bytes)
            .await
    }

    /// The settings the lake was made with.
    #[must_use]
    pub fn settings(&self) -> &LakeSettings {
        &self.opened.settings
    }

    /// The store, with paths from the root of the lake: `silver/unified_data/…`.
    #[must_use]
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        self.opened.store.lake()
    }

    /// The root of the lake; absolute, with a trailing slash.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.opened.store.url
    }

    /// The store that the lake is in, as an engine's registry names it: `file:///`, `s3://bucket/`.
    #[must_use]
    pub fn store_url(&self) -> String {
        format!("{}/", &self.url()[..Position::BeforePath])
    }

    /// The lake's root within that store.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.opened.store.prefix
    }

    /// The location as it was given, for messages.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.opened.store.uri
    }

    /// Bytes read so far through this lake and its clones.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.opened.store.bytes_read()
    }

    /// The newest version of a table.
    pub async fn table(&self, name: TableName) -> Result<TableSnapshot, DeltaError> {
        self.load(name, None).await
    }

    /// A table as it was at a version.
    pub async fn table_at(
        &self,
        name: TableName,
        version: u64,
    ) -> Result<TableSnapshot, DeltaError> {
        // An old version may stand on a checkpoint alone, so only a failure asks what there is.
        let error = match self.load(name, Some(version)).await {
            Ok(snapshot) => return Ok(snapshot),
            Err(error) => error,
        };
        let log = self.log(name);
        let newest = match log.get_latest_version(0).await {
            Ok(newest) => newest,
            Err(_) => self.table(name).await?.version(),
        };
        let gone = version > newest || matches!(log.read_commit_entry(version).await, Ok(None));
        if gone
            && matches!(
                error,
                DeltaError::Log { .. } | DeltaError::TableMissing { .. }
            )
        {
            let table = name.sql_name().to_owned();
            return Err(DeltaError::VersionMissing {
                table,
                version,
                newest,
            });
        }
        Err(error)
    }

    async fn load(
        &self,
        name: TableName,
        version: Option<u64>,
    ) -> Result<TableSnapshot, DeltaError> {
        let layout = self.settings().layout;
        TableSnapshot::load(name, layout, self.uri(), self.log(name), version).await
    }

    fn log(&self, name: TableName) -> LogStoreRef {
        let store = &self.opened.store;
        let mut url = store.url.clone();
        url.set_path(&format!("{}{}/", url.path(), name.folder()));
        let log = default_logstore(
            store.table(name.folder()),
            store.root(),
            &url,
            &StorageConfig::default(),
        );
        Arc::new(OwnLog::new(log))
    }

    /// Puts version 0 of a table unless there is one; says whether it was put.
    ///
    /// Not through the library's create operation: that retries a lost race one version later and
    /// would replace the winner's metadata.
    async fn create_table(&self, name: TableName) -> Result<bool, DeltaError> {
        let wrap = |error| DeltaError::log(name.sql_name(), self.uri(), error);
        let log = self.log(name);
        if log.read_commit_entry(0).await.map_err(wrap)?.is_some() {
            return Ok(false);
        }
        // The first commits may have been cleaned up behind a checkpoint.
        if log.is_delta_table_location().await.map_err(wrap)? {
            return Ok(false);
        }
        let commit = first_commit(&name.def(&self.settings().layout), log.root_url())
            .map_err(wrap)?
            .get_bytes()
            .map_err(|error| wrap(error.into()))?;
        match log
            .write_commit_entry(0, CommitOrBytes::LogBytes(commit), Uuid::new_v4())
            .await
        {
            Ok(()) => Ok(true),
            Err(TransactionError::VersionAlreadyExists(_)) => Ok(false),
            Err(error) => Err(wrap(error.into())),
        }
    }
}

/// Puts the settings if there are none; says whether they were put.
async fn put_settings(store: &LakeStore, settings: &LakeSettings) -> Result<bool, DeltaError> {
    let bytes = settings_bytes(store, settings)?;
    let options = PutOptions {
        mode: PutMode::Create,
        ..PutOptions::default()
    };
    match store
        .opening()
        .put_opts(&Path::from(SETTINGS), bytes.into(), options)
        .await
    {
        Ok(_) => Ok(true),
        Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
        Err(error) => Err(DeltaError::store(
            format!("writing `{SETTINGS}` of `{}`", store.uri),
            error,
        )),
    }
}

fn settings_bytes(store: &LakeStore, settings: &LakeSettings) -> Result<Vec<u8>, DeltaError> {
    serde_json::to_vec_pretty(settings).map_err(|source| DeltaError::Json {
        what: format!("settings of `{}`", store.uri),
        source,
    })
}

async fn read_settings(store: &LakeStore) -> Result<LakeSettings, DeltaError> {
    let not_a_lake = |reason: String| DeltaError::NotALake {
        uri: store.uri.clone(),
        reason,
    };
    let wrap = |error| DeltaError::store(format!("reading `{SETTINGS}` of `{}`", store.uri), error);
    let bytes = match store.opening().get(&Path::from(SETTINGS)).await {
        Ok(object) => object.bytes().await.map_err(wrap)?,
        Err(object_store::Error::NotFound { .. }) => {
            return Err(not_a_lake(format!("there is no `{SETTINGS}`")));
        }
        Err(error) => return Err(wrap(error)),
    };
    // The format is read by itself first: a newer document may not fit the struct.
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let unreadable = |error: serde_json::Error| not_a_lake(format!("`{SETTINGS}`: {error}"));
    let Format { format } = serde_json::from_slice(&bytes).map_err(unreadable)?;
    if format > FORMAT {
        return Err(not_a_lake(format!(
            "its format {format} is newer than this build's {FORMAT}"
        )));
    }
    serde_json::from_slice(&bytes).map_err(unreadable)
}

/// Protocol and metadata of a new table: reader 1 / writer 2, nothing enabled that raises it.
fn first_commit(def: &TableDef, location: &Url) -> Result<CommitData, DeltaTableError> {
    let arrow = |source| DeltaTableError::Arrow { source };
    let schema = StructType::try_from_arrow(def.schema.as_ref()).map_err(arrow)?;
    let properties = [
        (
            TableProperty::CheckpointInterval,
            CHECKPOINT_INTERVAL.to_string(),
        ),
        (TableProperty::DataSkippingNumIndexedCols, "-1".to_owned()),
        (
            TableProperty::LogRetentionDuration,
            "interval 30 days".to_owned(),
        ),
        (
            TableProperty::DeletedFileRetentionDuration,
            "interval 7 days".to_owned(),
        ),
    ];
    let properties = properties.iter().map(|(key, value)| (key.as_ref(), value));
    let metadata = new_metadata(&schema, def.partition_columns.iter().copied(), properties)?;
    let protocol = serde_json::json!({ "minReaderVersion": 1, "minWriterVersion": 2 });
    let protocol: Protocol = serde_json::from_value(protocol)?;
    let operation = DeltaOperation::Create {
        mode: SaveMode::ErrorIfExists,
        location: location.clone(),
        protocol: protocol.clone(),
        metadata: metadata.clone(),
    };
    let actions = vec![Action::Protocol(protocol), Action::Metadata(metadata)];
    let info = [(ENGINE.to_owned(), engine().into())].into();
    Ok(CommitData::new(actions, operation, info, Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(folder: &tempfile::TempDir) -> StoreLocation {
        StoreLocation::new(folder.path().join("lake").to_str().unwrap())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_new_lake_has_every_table_at_version_0_for_old_readers() {
        for layout in [Layout::Commodity, Layout::Buckets(16)] {
            let folder = tempfile::tempdir().unwrap();
            let settings = LakeSettings {
                layout,
                ..LakeSettings::default()
            };
            Lake::create(&location(&folder), settings.clone())
                .await
                .unwrap();
            let lake = Lake::open(&location(&folder)).await.unwrap();
            assert_eq!(lake.settings(), &settings);
            for name in TableName::ALL {
                let table = lake.table(name).await.unwrap();
                assert_eq!(table.version(), 0);
                assert_eq!(table.def(), &name.def(&layout));
                assert!(table.files().is_empty());
                let protocol = table.state().protocol();
                assert_eq!(
                    (protocol.min_reader_version(), protocol.min_writer_version()),
                    (1, 2)
                );
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn creating_twice_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        Lake::create(&location(&folder), LakeSettings::default())
            .await
            .unwrap();
        for settings in [
            LakeSettings::default(),
            LakeSettings {
                seed: 7,
                ..LakeSettings::default()
            },
        ] {
            let error = Lake::create(&location(&folder), settings)
                .await
                .unwrap_err();
            assert!(
                matches!(error, DeltaError::AlreadyALake { .. }),
                "{error:?}"
            );
        }
        let lake = Lake::open(&location(&folder)).await.unwrap();
        assert_eq!(lake.settings(), &LakeSettings::default());
        assert_eq!(
            lake.table(TableName::Distributions)
                .await
                .unwrap()
                .version(),
            0
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_creation_cut_short_is_completed() {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::create(&location(&folder), LakeSettings::default())
            .await
            .unwrap();
        let kept = lake
            .table(TableName::UnifiedData)
            .await
            .unwrap()
            .state()
            .metadata()
            .clone();
        let lost = folder
            .path()
            .join("lake")
            .join(TableName::Distributions.folder());
        std::fs::remove_dir_all(&lost).unwrap();
        let error = lake.table(TableName::Distributions).await.unwrap_err();
        assert!(
            matches!(error, DeltaError::TableMissing { .. }),
            "{error:?}"
        );

        let other = LakeSettings {
            seed: 7,
            ..LakeSettings::default()
        };
        let error = Lake::create(&location(&folder), other).await.unwrap_err();
        assert!(
            matches!(error, DeltaError::AlreadyALake { .. }),
            "{error:?}"
        );
        let lake = Lake::create(&location(&folder), LakeSettings::default())
            .await
            .unwrap();
        assert_eq!(
            lake.table(TableName::Distributions)
                .await
                .unwrap()
                .version(),
            0
        );
        assert_eq!(
            lake.table(TableName::UnifiedData)
                .await
                .unwrap()
                .state()
                .metadata(),
            &kept
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn racing_creators_make_one_lake() {
        let folder = tempfile::tempdir().unwrap();
        let creators: Vec<_> = (0..8)
            .map(|seed| {
                let (location, settings) = (
                    location(&folder),
                    LakeSettings {
                        seed,
                        ..LakeSettings::default()
                    },
                );
                tokio::spawn(async move { Lake::create(&location, settings).await })
            })
            .collect();
        let mut winners = Vec::new();
        for creator in creators {
            match creator.await.unwrap() {
                Ok(lake) => winners.push(lake),
                Err(error) => assert!(
                    matches!(error, DeltaError::AlreadyALake { .. }),
                    "{error:?}"
                ),
            }
        }
        assert_eq!(winners.len(), 1);
        let lake = Lake::open(&location(&folder)).await.unwrap();
        assert_eq!(lake.settings(), winners[0].settings());
        for name in TableName::ALL {
            assert_eq!(lake.table(name).await.unwrap().version(), 0);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn racing_creators_with_equal_settings_put_each_table_once() {
        let folder = tempfile::tempdir().unwrap();
        let creators: Vec<_> = (0..8)
            .map(|_| {
                let location = location(&folder);
                tokio::spawn(async move { Lake::create(&location, LakeSettings::default()).await })
            })
            .collect();
        let mut winners = 0;
        for creator in creators {
            match creator.await.unwrap() {
                Ok(_) => winners += 1,
                Err(error) => assert!(
                    matches!(error, DeltaError::AlreadyALake { .. }),
                    "{error:?}"
                ),
            }
        }
        assert!(winners >= 1);
        let lake = Lake::open(&location(&folder)).await.unwrap();
        for name in TableName::ALL {
            assert_eq!(lake.table(name).await.unwrap().version(), 0);
        }
    }

    #[tokio::test]
    async fn what_is_not_a_lake_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let here = StoreLocation::new(folder.path().to_str().unwrap());
        let reason = |error: DeltaError| match error {
            DeltaError::NotALake { reason, .. } => reason,
            other => panic!("{other:?}"),
        };
        assert!(reason(Lake::open(&here).await.unwrap_err()).contains("lake.json"));
        std::fs::create_dir(folder.path().join("_almanac")).unwrap();
        let settings = folder.path().join(SETTINGS);
        std::fs::write(&settings, "{").unwrap();
        assert!(reason(Lake::open(&here).await.unwrap_err()).contains("EOF"));
        std::fs::write(&settings, r#"{"format":2,"layout":{"tree":1}}"#).unwrap();
        assert!(reason(Lake::open(&here).await.unwrap_err()).contains("newer"));
        std::fs::write(&settings, r#"{"format":1,"layout":"commodity"}"#).unwrap();
        assert_eq!(
            Lake::open(&here).await.unwrap().settings(),
            &LakeSettings::default()
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_version_that_is_not_there_names_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::create(&location(&folder), LakeSettings::default())
            .await
            .unwrap();
        assert_eq!(
            lake.table_at(TableName::JobRuns, 0)
                .await
                .unwrap()
                .version(),
            0
        );
        let error = lake.table_at(TableName::JobRuns, 7).await.unwrap_err();
        assert!(
            matches!(
                error,
                DeltaError::VersionMissing {
                    version: 7,
                    newest: 0,
                    ..
                }
            ),
            "{error:?}"
        );
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_folder_that_cannot_be_written_is_read_only() {
        // Not even root makes folders here.
        let location = StoreLocation::new("/sys/almanac_lake");
        let error = Lake::create(&location, LakeSettings::default())
            .await
            .unwrap_err();
        assert!(matches!(error, DeltaError::ReadOnly { .. }), "{error:?}");
    }
}
