//! Settings, resolved once: flags, then environment, then the settings file, then defaults.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use almanac_delta::StoreLocation;
use almanac_executor::{ClusterAddress, Tls};
use serde::Deserialize;
use uuid::Uuid;

use crate::catalog::{Catalog, ModelEntry};
use crate::error::JobError;

/// The settings file that is read when none is named and it is there.
const FILE: &str = "almanac.toml";

/// What the command line and the environment say; `None` where they say nothing.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// `--lake`, `ALMANAC_LAKE`.
    pub lake: Option<String>,
    /// `--threads`.
    pub threads: Option<usize>,
    /// `--slices`.
    pub slices: Option<usize>,
    /// `--memory-limit-mib`.
    pub memory_limit_mib: Option<usize>,
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--json`.
    pub json: bool,
    /// `-q`.
    pub quiet: bool,
    /// `--cluster`, `ALMANAC_CLUSTER`.
    pub cluster: Option<String>,
    /// `--tls-ca`, `ALMANAC_TLS_CA`.
    pub tls_ca: Option<PathBuf>,
    /// `--tls-cert`, `ALMANAC_TLS_CERT`.
    pub tls_cert: Option<PathBuf>,
    /// `--tls-key`, `ALMANAC_TLS_KEY`.
    pub tls_key: Option<PathBuf>,
    /// `--run-id`.
    pub run_id: Option<Uuid>,
}

/// The settings file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingsFile {
    lake: Option<String>,
    threads: Option<usize>,
    slices: Option<usize>,
    memory_limit_mib: Option<usize>,
    cluster: Option<String>,
    tls_ca: Option<PathBuf>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    #[serde(default)]
    models: BTreeMap<String, ModelEntry>,
}

/// Resolved settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The lake.
    pub lake: StoreLocation,
    /// Threads of the embedded engine.
    pub threads: usize,
    /// Slices of a chunk, when the user wants a certain number.
    pub slices: Option<usize>,
    /// Memory that queries may use.
    pub memory_bytes: usize,
    /// Whether results are JSON.
    pub json: bool,
    /// Whether bars and notices are off.
    pub quiet: bool,
    /// The cluster that plans run on; `None` for this process.
    pub cluster: Option<ClusterAddress>,
    /// This process's identity in an encrypted cluster.
    pub tls: Option<Tls>,
    /// The run's id, when what started the process chose it.
    pub run_id: Option<Uuid>,
    /// The models.
    pub catalog: Catalog,
}

impl Settings {
    /// Resolves what was given with the settings file and the defaults.
    pub fn resolve(given: Given) -> Result<Self, JobError> {
        const MIB: usize = 1 << 20;
        const MEMORY_MIB: usize = 4096;
        let file = match &given.config {
            Some(path) => read(path)?,
            None if Path::new(FILE).exists() => read(Path::new(FILE))?,
            None => SettingsFile::default(),
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = given.threads.or(file.threads).unwrap_or(cores);
        let slices = given.slices.or(file.slices);
        if threads == 0 || slices == Some(0) {
            return Err(JobError::user(
                "--threads and --slices must be at least 1",
                "leave them out for the defaults",
            ));
        }
        let limit = given
            .memory_limit_mib
            .or(file.memory_limit_mib)
            .unwrap_or(MEMORY_MIB);
        let memory_bytes = limit
            .checked_mul(MIB)
            .filter(|bytes| *bytes > 0)
            .ok_or_else(|| {
                JobError::user(
                    format!("--memory-limit-mib {limit} makes no sense"),
                    format!("the default is {MEMORY_MIB}"),
                )
            })?;
        let lake = given
            .lake
            .or(file.lake)
            .unwrap_or_else(|| "./lake".to_owned());
        let cluster = given.cluster.or(file.cluster);
        let cluster = cluster.map(|text| text.parse()).transpose()?;
        let tls = tls([
            given.tls_ca.or(file.tls_ca),
            given.tls_cert.or(file.tls_cert),
            given.tls_key.or(file.tls_key),
        ])?;
        Ok(Self {
            cluster,
            tls,
            lake: StoreLocation::new(lake),
            threads,
            slices,
            memory_bytes,
            json: given.json,
            quiet: given.quiet,
            run_id: given.run_id,
            catalog: Catalog::new(file.models)?,
        })
    }
}

/// All three files, or none.
fn tls(files: [Option<PathBuf>; 3]) -> Result<Option<Tls>, JobError> {
    match files {
        [None, None, None] => Ok(None),
        [Some(ca), Some(cert), Some(key)] => Ok(Some(Tls { ca, cert, key })),
        _ => Err(JobError::user(
            "TLS needs --tls-ca, --tls-cert and --tls-key",
            "give all three, or none of them",
        )),
    }
}

fn read(path: &Path) -> Result<SettingsFile, JobError> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| {
        JobError::user(
            format!("cannot read the settings file {shown}: {error}"),
            "name another with --config",
        )
    })?;
    toml::from_str(&text).map_err(|error| {
        let place = error
            .span()
            .map_or(0, |span| text[..span.start].lines().count().max(1));
        JobError::user(
            format!("settings file {shown}, line {place}: {}", error.message()),
            "a model is `[models.NAME]` with `family = …` and its parameters",
        )
    })
}
