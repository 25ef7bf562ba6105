//! The one path of train, forecast, backfill and daily: per chunk, what is missing is planned on
//! pinned snapshots, run in slices, and committed once per table.

pub mod actuals;
mod due;
mod forecast;
mod made;
mod points;
mod present;
pub mod replace;
pub mod scores;
mod slices;
mod train;

pub use train::bucket as bucket_of;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use almanac_delta::manifest::{Manifest, UnitFailure, UnitKey};
use almanac_delta::{
    Claim, CommitKind, CommitOutcome, CommitRequest, DataFile, NewFile, TableName, TableSnapshot,
};
use almanac_executor::Progress;
use almanac_planner::present::{KeyRange, active_models};
use almanac_udfs::forecasters::{Day, Frequency, date};
use almanac_udfs::spec::ModelSpec;
use chrono::Utc;
use serde::Serialize;
use tokio::sync::Notify;
use uuid::Uuid;

use self::due::{Attempts, due};
use crate::context::{Context, Rows};
use crate::error::JobError;
use crate::holidays;
use crate::report::Bar;

/// How often a conflicting commit is planned again before the job gives up.
const TRIES: u32 = 40;

/// The last day that a date column can sensibly hold: 9999-12-31.
const FOREVER: Day = 2_932_896;

/// A request, resolved.
#[derive(Debug, Clone, Serialize)]
pub struct Production {
    /// Commodities, sorted.
    pub commodities: Vec<String>,
    /// Catalog keys with their specifications.
    pub models: BTreeMap<String, ModelSpec>,
    /// By commodity, then catalog key: specifications that hold for one commodity only, as the
    /// regions of a pivot do.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub own_specs: BTreeMap<String, BTreeMap<String, ModelSpec>>,
    /// Version that they are stored under.
    pub model_version: String,
    /// First date.
    #[serde(serialize_with = "as_date")]
    pub start: Day,
    /// Last date.
    #[serde(serialize_with = "as_date")]
    pub end: Day,
    /// Cadence.
    pub frequency: String,
    /// Paths of a forecast.
    pub paths: usize,
    /// Days of a forecast.
    pub horizon: usize,
}

fn as_date<S: serde::Serializer>(day: &Day, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&date::format(*day))
}

/// Which units of the range are meant.
#[derive(Debug, Clone, Default)]
pub enum Only {
    /// All that are missing.
    #[default]
    Missing,
    /// Those missing ones that failed before, by stage.
    Failed(BTreeSet<(String, UnitKey)>),
}

impl Only {
    /// Whether a unit that is missing in a stage is meant.
    fn means(&self, stage: &str, key: &UnitKey) -> bool {
        match self {
            Self::Missing => true,
            Self::Failed(failed) => failed.contains(&(stage.to_owned(), key.clone())),
        }
    }
}

/// One failed unit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FailureRecord {
    /// As `job_failures` calls it.
    pub stage: String,
    /// Commodity.
    pub commodity: String,
    /// Catalog key.
    pub model_name: String,
    /// Version.
    pub model_version: String,
    /// Date of the unit.
    pub date: String,
    /// For machines.
    pub error_class: String,
    /// For people.
    pub message: String,
}

impl FailureRecord {
    /// A unit's failure in a stage.
    pub fn of(stage: &str, failure: &UnitFailure) -> Self {
        Self {
            stage: stage.to_owned(),
            commodity: failure.key.commodity.clone(),
            model_name: failure.key.model_name.clone(),
            model_version: failure.key.model_version.clone(),
            date: date::format(failure.key.date),
            error_class: failure.error_class.clone(),
            message: failure.message.clone(),
        }
    }
}

/// What a run has done so far.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Tally {
    /// Models trained.
    pub trained: u64,
    /// Trainings that were there.
    pub train_skipped: u64,
    /// Trainings that failed.
    pub train_failed: u64,
    /// Forecasts made.
    pub forecasts: u64,
    /// Forecasts that were there.
    pub forecast_skipped: u64,
    /// Forecasts that failed.
    pub forecast_failed: u64,
    /// Keys whose point forecasts were made again from their paths.
    pub points_rebuilt: u64,
    /// Actuals rows written.
    pub actuals: u64,
    /// Keys replaced.
    pub revised: u64,
    /// Commits that lost a race and were planned again.
    pub conflicts: u64,
    /// Commits lost since one was won.
    #[serde(skip)]
    lost_in_a_row: u32,
    /// Failed units.
    pub failures: Vec<FailureRecord>,
    /// Versions committed, by table.
    pub versions: BTreeMap<String, u64>,
    /// All versions read, by table.
    #[serde(skip)]
    pub versions_read: BTreeMap<String, BTreeSet<u64>>,
    /// What a command that makes no models or forecasts did, for the record.
    #[serde(skip)]
    pub counts: serde_json::Map<String, serde_json::Value>,
    /// Seconds spent planning.
    #[serde(skip)]
    pub planning_seconds: f64,
    /// Bytes read to plan.
    #[serde(skip)]
    pub planning_bytes: u64,
}

impl Tally {
    /// Adds what a part of the run has done.
    fn absorb(&mut self, part: Self) {
        self.trained += part.trained;
        self.train_skipped += part.train_skipped;
        self.train_failed += part.train_failed;
        self.forecasts += part.forecasts;
        self.forecast_skipped += part.forecast_skipped;
        self.forecast_failed += part.forecast_failed;
        self.points_rebuilt += part.points_rebuilt;
        self.actuals += part.actuals;
        self.revised += part.revised;
        self.conflicts += part.conflicts;
        self.failures.extend(part.failures);
        self.versions.extend(part.versions);
        for (table, versions) in part.versions_read {
            self.versions_read
                .entry(table)
                .or_default()
                .extend(versions);
        }
        self.planning_seconds += part.planning_seconds;
        self.planning_bytes += part.planning_bytes;
    }
}

/// A commit's outcome as a chunk cares about it.
#[must_use]
pub(crate) enum Landed {
    /// The rows are in the table.
    Yes,
    /// Another job was first: plan again.
    PlanAgain,
}

impl Tally {
    /// Notes a version that the run has made.
    pub(crate) fn committed(&mut self, table: TableName, version: u64) {
        self.versions.insert(table.sql_name().to_owned(), version);
    }

    /// Notes a version that the run has read.
    pub(crate) fn read(&mut self, table: TableName, version: u64) {
        let table = table.sql_name().to_owned();
        self.versions_read.entry(table).or_default().insert(version);
    }

    /// What the run did beside models and forecasts.
    pub(crate) fn other_counts(&self) -> serde_json::Value {
        let mut counts = self.counts.clone();
        for (name, count) in [
            ("actuals", self.actuals),
            ("points_rebuilt", self.points_rebuilt),
            ("revised", self.revised),
            ("conflicts", self.conflicts),
        ] {
            if count > 0 {
                counts.insert(name.to_owned(), count.into());
            }
        }
        counts.into()
    }

    /// Notes numbers of a result for the record.
    pub(crate) fn count(&mut self, result: &serde_json::Value, names: &[&str]) {
        for name in names {
            self.counts
                .insert((*name).to_owned(), result[*name].clone());
        }
    }

    /// A run's before its work: what was read to understand the request is planning, too.
    pub(crate) fn of_request(context: &Context) -> Self {
        let since = Utc::now().timestamp_micros() - context.stamp.at_micros;
        Self {
            planning_seconds: Duration::from_micros(since.max(0).unsigned_abs()).as_secs_f64(),
            planning_bytes: Planning::read(context),
            ..Self::default()
        }
    }
}

impl Production {
    /// The specification of a model of a commodity.
    pub(crate) fn spec(&self, commodity: &str, model: &str) -> Option<&ModelSpec> {
        let own = self.own_specs.get(commodity).and_then(|own| own.get(model));
        own.or_else(|| self.models.get(model))
    }

    /// The keys of a part of the range.
    pub(crate) fn range(&self, start: Day, end: Day) -> KeyRange {
        KeyRange {
            commodities: self.commodities.clone(),
            model_names: self.models.keys().cloned().collect(),
            model_version: self.model_version.clone(),
            start,
            end,
        }
    }

    fn frequency(&self) -> Result<Frequency, JobError> {
        let hint = "one of daily, weekly, biweekly, monthly, quarterly, semiannually, annually";
        self.frequency
            .parse()
            .map_err(|_| JobError::user(format!("`{}` is no frequency", self.frequency), hint))
    }

    /// Calendar years, cut to the range.
    pub fn chunks(&self) -> Vec<(Day, Day)> {
        let mut chunks = vec![];
        let mut start = self.start;
        while start <= self.end {
            let (year, _, _) = date::to_civil(start);
            let end = (date::from_civil(year + 1, 1, 1) - 1).min(self.end);
            chunks.push((start, end));
            start = end + 1;
        }
        chunks
    }
}

/// Where the cadence of each commodity and model is anchored.
pub type Anchors = BTreeMap<(String, String), Day>;

/// Reads the anchors, and refuses a specification that differs from the one stored models have.
pub async fn anchors(
    context: &Context,
    production: &Production,
    models: &TableSnapshot,
) -> Result<Anchors, JobError> {
    let range = production.range(production.start, FOREVER);
    let mut anchors = Anchors::new();
    for batch in context
        .query(active_models(&context.source(models), &range)?)
        .await?
    {
        let rows = Rows(&batch);
        for row in 0..rows.len() {
            let (commodity, model) = (rows.text("commodity", row)?, rows.text("model_name", row)?);
            let day = rows.day("training_date", row)?;
            let stored = rows.text("parameters", row)?;
            let wanted = production
                .spec(&commodity, &model)
                .map(ModelSpec::to_json)
                .unwrap_or_default();
            if stored != wanted {
                return Err(JobError::user(
                    format!(
                        "model `{model}` of `{commodity}` version `{}` was trained at {} as {stored}, the request says {wanted}",
                        production.model_version,
                        date::format(day)
                    ),
                    "give the changed model another --model-version, or take the change back",
                ));
            }
            let anchor = anchors.entry((commodity, model)).or_insert(day);
            *anchor = (*anchor).min(day);
        }
    }
    Ok(anchors)
}

/// Measures what planning costs.
pub(crate) struct Planning {
    started: std::time::Instant,
    bytes: u64,
}

impl Planning {
    pub(crate) fn begin(context: &Context) -> Self {
        Self {
            started: std::time::Instant::now(),
            bytes: Self::read(context),
        }
    }

    fn read(context: &Context) -> u64 {
        context.engine.bytes_queried() + context.lake.bytes_read()
    }

    pub(crate) fn end(self, context: &Context, tally: &mut Tally) {
        tally.planning_seconds += self.started.elapsed().as_secs_f64();
        tally.planning_bytes += Self::read(context) - self.bytes;
    }
}

/// The digests of the forecasts that are in the range.
pub async fn present_forecasts_of(
    context: &Context,
    range: &KeyRange,
) -> Result<BTreeMap<UnitKey, String>, JobError> {
    let table = context.lake.table(TableName::Distributions).await?;
    let present = present::present_keys_of_any_shape(context, &table, range).await?;
    Ok(present
        .into_iter()
        .map(|(key, made)| (key, made.input_digest))
        .collect())
}

/// Trains and forecasts the whole range, chunk by chunk.
pub async fn run(
    context: &Context,
    production: &Production,
    stages: Stages,
    only: &Only,
    tally: &mut Tally,
) -> Result<(), JobError> {
    if !stages.train {
        // Refuses a changed specification; training does so by itself.
        let planning = Planning::begin(context);
        let models = context.lake.table(TableName::TrainedModels).await?;
        pin(tally, &[&models]);
        anchors(context, production, &models).await?;
        planning.end(context, tally);
    }
    // The next chunk's models are trained while this one's forecasts are drawn: a forecast never
    // takes a model that is newer than its own day.
    let chunks = production.chunks();
    let upcoming = chunks.iter().skip(1).map(Some).chain([None]);
    let mut attempts = Attempts::default();
    if let Some(first) = chunks.first().filter(|_| stages.train) {
        train::chunk(context, production, *first, only, &mut attempts, tally).await?;
    }
    for (chunk, next) in chunks.iter().zip(upcoming) {
        let (mut drawn, mut trained) = (Tally::default(), Tally::default());
        let drawing = Drawing {
            bar: &context.bar,
            under_way: Notify::new(),
        };
        let forecasts = async {
            let done = if stages.forecast {
                forecast::chunk(context, production, *chunk, only, &drawing, &mut drawn).await
            } else {
                Ok(())
            };
            drawing.under_way.notify_one();
            done
        };
        let models = async {
            // Planned while the pool draws, not before it has anything to do.
            drawing.under_way.notified().await;
            if let Some(next) = next.filter(|_| stages.train) {
                let attempts = &mut attempts;
                train::chunk(context, production, *next, only, attempts, &mut trained).await?;
            }
            Ok(())
        };
        // Both end, whatever the other does: neither leaves a commit half known.
        let ended: (Result<(), JobError>, Result<(), JobError>) = tokio::join!(forecasts, models);
        tally.absorb(drawn);
        tally.absorb(trained);
        if let (Err(first), Err(second)) = (&ended.0, &ended.1)
            && !second.has_the_cause_of(first)
        {
            tracing::error!(error = %second, "training of the next chunk failed too");
        }
        ended.0.and(ended.1)?;
    }
    if stages.forecast {
        let (start, end) = (production.start - stages.actuals_before, production.end);
        actuals::write(context, production, (start, end), false, tally).await?;
    }
    Ok(())
}

/// Forecasts that are drawn: shown on the bar, and told to who waits for the first of them.
struct Drawing<'a> {
    bar: &'a Bar,
    under_way: Notify,
}

impl Progress for Drawing<'_> {
    fn slice_done(&self) {
        self.under_way.notify_one();
        self.bar.slice_done();
    }

    fn waiting(&self, reason: &str) {
        self.bar.waiting(reason);
    }
}

/// Which stages a job has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stages {
    /// Whether models are trained.
    pub train: bool,
    /// Whether forecasts are made.
    pub forecast: bool,
    /// How many days before the range actuals are looked for: a daily run's own window is never
    /// known on its day.
    pub actuals_before: Day,
}

/// What a run of the range would do.
pub async fn dry_run(context: &Context, production: &Production) -> Result<DryRun, JobError> {
    let models = context.lake.table(TableName::TrainedModels).await?;
    let anchors = anchors(context, production, &models).await?;
    let mut dry = DryRun::default();
    let (only, untried) = (Only::Missing, Attempts::default());
    for chunk in production.chunks() {
        let due = due(
            context, production, chunk, &anchors, &only, &models, &untried,
        )
        .await?;
        dry.would_train += due.open.len() as u64;
        dry.train_skipped += due.skipped.values().sum::<u64>();
        dry.trainings.extend(due.days().into_iter().map(|unit| {
            let day = date::format(unit.date);
            (unit.commodity, unit.model_name, day)
        }));
        let (missing, wanted) = forecast::missing(context, production, chunk).await?;
        dry.would_forecast += missing;
        dry.forecast_skipped += wanted - missing;
    }
    Ok(dry)
}

/// The answer to `--dry-run`.
#[derive(Debug, Default, Serialize)]
pub struct DryRun {
    /// Trainings due.
    pub would_train: u64,
    /// Trainings there.
    pub train_skipped: u64,
    /// Forecasts missing.
    pub would_forecast: u64,
    /// Forecasts there.
    pub forecast_skipped: u64,
    /// The trainings: commodity, model, date.
    pub trainings: Vec<(String, String, String)>,
}

/// What a commit changes beside what its manifests wrote.
#[derive(Debug, Default)]
pub(crate) struct Change {
    /// Files written by the driver.
    pub(crate) adds: Vec<NewFile>,
    /// Files whose remaining rows are among the new ones.
    pub(crate) removes: Vec<DataFile>,
    /// What else must not change in the meantime.
    pub(crate) claims: BTreeSet<Claim>,
}

/// Commits what the manifests wrote for a table.
pub(crate) async fn commit(
    context: &Context,
    snapshot: &TableSnapshot,
    manifests: &[Manifest],
    change: Change,
    tally: &mut Tally,
) -> Result<Landed, JobError> {
    let table = snapshot.name();
    let mut adds: Vec<NewFile> = manifests
        .iter()
        .filter_map(|manifest| manifest.files.get(&table))
        .flatten()
        .cloned()
        .collect();
    adds.extend(change.adds);
    if adds.is_empty() && change.removes.is_empty() {
        return Ok(Landed::Yes);
    }
    let keys = manifests.iter().flat_map(|manifest| &manifest.keys);
    let claimed: BTreeSet<(&str, &str)> = keys
        .map(|(key, _)| (key.commodity.as_str(), key.model_version.as_str()))
        .collect();
    let claims = claimed
        .into_iter()
        .map(|(commodity, version)| Claim::keys(table, commodity, version));
    let claims: BTreeSet<Claim> = claims.chain(change.claims).collect();
    land(
        context,
        snapshot,
        CommitRequest {
            operation: if change.removes.is_empty() {
                CommitKind::Append
            } else {
                CommitKind::Replace
            },
            adds,
            removes: change.removes,
            claims: claims.into_iter().collect(),
            run_id: context.stamp.run_id.clone(),
            attempt_id: Uuid::new_v4().to_string(),
            new_columns: vec![],
        },
        tally,
    )
    .await
}

/// Makes a commit and waits a little when another job was first.
pub(crate) async fn land(
    context: &Context,
    snapshot: &TableSnapshot,
    request: CommitRequest,
    tally: &mut Tally,
) -> Result<Landed, JobError> {
    let table = snapshot.name();
    almanac_delta::observed::crash_point(&format!("before_commit:{}", table.folder()));
    match snapshot.commit(request).await? {
        CommitOutcome::Committed { version, .. } => {
            tracing::info!(
                table = table.sql_name(),
                version,
                run_id = context.stamp.run_id,
                "committed"
            );
            tally.committed(table, version);
            tally.lost_in_a_row = 0;
            Ok(Landed::Yes)
        }
        CommitOutcome::Conflicted { reason } | CommitOutcome::Retryable { reason } => {
            tracing::info!(
                table = table.sql_name(),
                reason,
                "another job was first; planning again"
            );
            tally.conflicts += 1;
            tally.lost_in_a_row += 1;
            if tally.lost_in_a_row > TRIES {
                return Err(JobError::user(
                    format!("table `{table}`: {TRIES} commits lost their race, the last: {reason}"),
                    "other jobs write the same keys without pause; run it again when they are done",
                ));
            }
            // Jitter from the run's own id keeps two losers from meeting again.
            let jitter = context.stamp.run_id.bytes().map(u64::from).sum::<u64>() % 97;
            tokio::time::sleep(Duration::from_millis(
                20 * u64::from(tally.lost_in_a_row.min(20)) + jitter,
            ))
            .await;
            Ok(Landed::PlanAgain)
        }
    }
}

/// Manifests of committed slices have served; what cannot be removed is swept later.
pub(crate) async fn forget(context: &Context, slices: &[String]) {
    let root = object_store::path::Path::default();
    if let Err(error) = Manifest::remove(&context.lake.store(), &root, slices).await {
        tracing::warn!(%error, "manifests of committed slices stay until vacuum");
    }
}

/// Records the versions that a run rests on.
pub(crate) fn pin(tally: &mut Tally, snapshots: &[&TableSnapshot]) {
    for snapshot in snapshots {
        tally.read(snapshot.name(), snapshot.version());
    }
}

/// The closed days of the lake's calendar, sorted.
pub(crate) async fn closed_days(
    context: &Context,
    tally: &mut Tally,
) -> Result<Vec<Day>, JobError> {
    let table = context.lake.table(TableName::Calendar).await?;
    pin(tally, &[&table]);
    let calendar = context.lake.settings().holidays.as_str();
    Ok(holidays::closed_days(&context.lake, &table, calendar).await?)
}
