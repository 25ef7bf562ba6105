//! What every job works with: the lake, the engine, the run.

use std::collections::BTreeMap;
use std::sync::Arc;

use almanac_delta::manifest::UnitKey;
use almanac_delta::provider::PinnedTable;
use almanac_delta::write::{Offload, RowSource, Target, WriteSpec};
use almanac_delta::{Lake, TableName, TableSnapshot};
use almanac_executor::{Cluster, ClusterSettings, Embedded, EmbeddedSettings, Engine, runtime};
use almanac_planner::Stamp;
use almanac_udfs::forecasters::{Day, date};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Date32Type, Float64Type, Int32Type, Int64Type};
use chrono::Utc;
use datafusion::catalog::TableProvider;
use datafusion::logical_expr::LogicalPlan;
use uuid::Uuid;

use crate::code::{PROGRAM, VERSION};
use crate::error::JobError;
use crate::report::Bar;
use crate::settings::Settings;

/// States from this size on are objects of their own.
const OFFLOAD_BYTES: usize = 1 << 20;

/// An open lake, a started engine and a new run.
pub struct Context {
    /// Resolved settings.
    pub settings: Settings,
    /// The lake.
    pub lake: Lake,
    /// The engine.
    pub engine: Arc<dyn Engine>,
    /// What the run's rows carry.
    pub stamp: Stamp,
    /// Progress.
    pub bar: Bar,
}

/// Today, in UTC, as days since 1970-01-01.
pub fn today() -> Day {
    let seconds = Utc::now().timestamp();
    Day::try_from(seconds.div_euclid(86_400)).unwrap_or(Day::MAX)
}

/// A date that a user typed.
pub fn parse_date(text: &str) -> Result<Day, JobError> {
    date::parse(text).ok_or_else(|| {
        JobError::user(
            format!("`{text}` is no date"),
            "write dates as YYYY-MM-DD, such as 2024-02-29",
        )
    })
}

impl Context {
    /// Opens the lake and starts the engine, or connects to the cluster.
    pub async fn open(settings: Settings) -> Result<Self, JobError> {
        let lake = Lake::open(&settings.lake).await?;
        Self::of(settings, lake).await
    }

    /// The same for what is done in this process, whatever cluster there is.
    pub async fn open_here(settings: Settings) -> Result<Self, JobError> {
        Self::open(Settings {
            cluster: None,
            ..settings
        })
        .await
    }

    /// A context on a lake that is open already.
    pub async fn of(settings: Settings, lake: Lake) -> Result<Self, JobError> {
        let here = EmbeddedSettings {
            threads: settings.threads,
            memory_bytes: settings.memory_bytes,
        };
        let engine: Arc<dyn Engine> = match &settings.cluster {
            None => Arc::new(Embedded::start(here)?),
            Some(address) => {
                let cluster = Cluster::connect(ClusterSettings {
                    address: address.clone(),
                    tls: settings.tls.clone(),
                    code: VERSION.to_owned(),
                    planning: here,
                })
                .await?;
                let asked = runtime::asked_to_stop();
                tokio::spawn(interruptions(Arc::clone(&cluster), asked));
                cluster
            }
        };
        let stamp = Stamp {
            run_id: settings.run_id.unwrap_or_else(Uuid::new_v4).to_string(),
            at_micros: Utc::now().timestamp_micros(),
            created_by: PROGRAM.to_owned(),
        };
        let bar = Bar::new(settings.quiet);
        Ok(Self {
            settings,
            lake,
            engine,
            stamp,
            bar,
        })
    }

    /// A snapshot as a table that can be scanned.
    pub fn pinned(&self, snapshot: &TableSnapshot) -> PinnedTable {
        PinnedTable::new(snapshot, &self.lake.store_url(), self.lake.root().as_ref())
    }

    /// The same, for plans.
    pub fn source(&self, snapshot: &TableSnapshot) -> Arc<dyn TableProvider> {
        Arc::new(self.pinned(snapshot))
    }

    /// Runs a planning query.
    pub async fn query(&self, plan: LogicalPlan) -> Result<Vec<RecordBatch>, JobError> {
        Ok(self.engine.query(plan).await?)
    }

    /// What a plan needs to write these slices.
    pub fn write_spec(
        &self,
        targets: Vec<(TableName, RowSource)>,
        date: &str,
        slices: BTreeMap<i32, String>,
    ) -> Arc<WriteSpec> {
        use almanac_delta::tables::trained_models::{FITTED_MODEL_JSON, FITTED_MODEL_S3_PATH};
        let states = targets
            .iter()
            .any(|(table, _)| *table == TableName::TrainedModels);
        Arc::new(WriteSpec {
            store_url: self.lake.store_url(),
            root: self.lake.root().to_string(),
            layout: self.lake.settings().layout,
            targets: targets
                .into_iter()
                .map(|(table, source)| Target { table, source })
                .collect(),
            date_column: date.to_owned(),
            slices,
            attempt: Uuid::new_v4().to_string(),
            offload: states.then(|| Offload {
                column: FITTED_MODEL_JSON.to_owned(),
                path_column: FITTED_MODEL_S3_PATH.to_owned(),
                from_bytes: OFFLOAD_BYTES,
            }),
        })
    }
}

/// Takes the work off the cluster when this process is asked to stop; the job then ends by itself,
/// with a row that says so. Asked once more, it ends at once.
async fn interruptions(cluster: Arc<Cluster>, asked: impl Future<Output = ()>) {
    const INTERRUPTED: i32 = 130;
    asked.await;
    let again = runtime::asked_to_stop();
    eprintln!("stopping: taking the work off the cluster; once more to stop at once");
    cluster.interrupt().await;
    again.await;
    std::process::exit(INTERRUPTED);
}

/// The rows of a query, with their columns by name.
pub struct Rows<'a>(pub &'a RecordBatch);

impl Rows<'_> {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.0.num_rows()
    }

    fn column(&self, name: &str) -> Result<&Arc<dyn Array>, JobError> {
        self.0
            .column_by_name(name)
            .ok_or_else(|| JobError::ours(format!("a query lacks its column `{name}`")))
    }

    /// A text, empty when null.
    pub fn text(&self, name: &str, row: usize) -> Result<String, JobError> {
        Ok(self.text_or_null(name, row)?.unwrap_or_default())
    }

    /// A text or null.
    pub fn text_or_null(&self, name: &str, row: usize) -> Result<Option<String>, JobError> {
        let column = self.column(name)?.as_string_opt::<i32>();
        let column = column
            .ok_or_else(|| JobError::ours(format!("the column `{name}` of a query is no text")))?;
        Ok(column.is_valid(row).then(|| column.value(row).to_owned()))
    }

    /// A date or null.
    pub fn date(&self, name: &str, row: usize) -> Result<Option<Day>, JobError> {
        let column = self.column(name)?.as_primitive_opt::<Date32Type>();
        let column = column
            .ok_or_else(|| JobError::ours(format!("the column `{name}` of a query is no date")))?;
        Ok(column.is_valid(row).then(|| column.value(row)))
    }

    /// A date that is never null.
    pub fn day(&self, name: &str, row: usize) -> Result<Day, JobError> {
        self.date(name, row)?
            .ok_or_else(|| JobError::ours(format!("a query has no `{name}`")))
    }

    /// A truth, false when null.
    pub fn flag(&self, name: &str, row: usize) -> Result<bool, JobError> {
        let column = self.column(name)?.as_boolean_opt();
        let column = column
            .ok_or_else(|| JobError::ours(format!("the column `{name}` of a query is no truth")))?;
        Ok(column.is_valid(row) && column.value(row))
    }

    /// A whole number, 0 when null.
    pub fn number(&self, name: &str, row: usize) -> Result<i64, JobError> {
        let column = self.column(name)?;
        if let Some(column) = column.as_primitive_opt::<Int32Type>() {
            return Ok(if column.is_valid(row) {
                i64::from(column.value(row))
            } else {
                0
            });
        }
        let column = column.as_primitive_opt::<Int64Type>();
        let column = column.ok_or_else(|| {
            JobError::ours(format!("the column `{name}` of a query is no number"))
        })?;
        Ok(if column.is_valid(row) {
            column.value(row)
        } else {
            0
        })
    }

    /// A number that is never null.
    pub fn double(&self, name: &str, row: usize) -> Result<f64, JobError> {
        let column = self.column(name)?.as_primitive_opt::<Float64Type>();
        let column = column
            .filter(|column| column.is_valid(row))
            .ok_or_else(|| {
                JobError::ours(format!("the column `{name}` of a query has no number"))
            })?;
        Ok(column.value(row))
    }

    /// The key of a row, its date in `date`.
    pub fn key(&self, version: &str, date: &str, row: usize) -> Result<UnitKey, JobError> {
        Ok(UnitKey {
            commodity: self.text("commodity", row)?,
            model_name: self.text("model_name", row)?,
            model_version: version.to_owned(),
            date: self.day(date, row)?,
        })
    }
}
