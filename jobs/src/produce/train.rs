//! One chunk of training.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use almanac_delta::care::MINIMUM_RETENTION;
use almanac_delta::manifest::UnitKey;
use almanac_delta::tables::{series_bucket, trained_models};
use almanac_delta::write::RowSource;
use almanac_delta::{Layout, TableName, TableSnapshot};
use almanac_executor::EngineError;
use almanac_executor::rounds::run_to_coverage;
use almanac_planner::history::{HistoryColumn, covariate_columns};
use almanac_planner::schedule::{WantedTraining, due_trainings};
use almanac_planner::training::training;
use almanac_udfs::assign::{AssignUnits, Unit};
use almanac_udfs::forecasters::{Day, date};
use almanac_udfs::spec::ModelSpec;
use datafusion::catalog::TableProvider;

use super::slices::{Cut, cut};
use super::{
    Anchors, Change, FailureRecord, Landed, Only, Planning, Production, Tally, anchors, commit,
    forget, pin,
};
use crate::context::{Context, Rows};
use crate::error::JobError;

/// Trainings due in a chunk.
pub struct Due {
    /// Trainings that the cadence asks for, present ones included.
    pub wanted: usize,
    /// The missing ones.
    pub units: Vec<UnitKey>,
}

/// What the cadence asks for in a chunk and is not there.
pub async fn due(
    context: &Context,
    production: &Production,
    chunk: (Day, Day),
    anchors: &Anchors,
    only: &Only,
) -> Result<Due, JobError> {
    let models = context.lake.table(TableName::TrainedModels).await?;
    due_on(context, production, chunk, anchors, only, &models).await
}

async fn due_on(
    context: &Context,
    production: &Production,
    (start, end): (Day, Day),
    anchors: &Anchors,
    only: &Only,
    models: &TableSnapshot,
) -> Result<Due, JobError> {
    let frequency = production.frequency()?;
    let mut wanted = vec![];
    for commodity in &production.commodities {
        for model_name in production.models.keys() {
            let anchor = anchors
                .get(&(commodity.clone(), model_name.clone()))
                .copied();
            let anchor = anchor.unwrap_or(production.start).min(production.start);
            // A period that began in an earlier chunk was seen to there.
            let own = |(period, _): &(Day, Day)| start == production.start || *period >= start;
            let periods = frequency
                .periods(anchor, start, end)
                .into_iter()
                .filter(own);
            wanted.extend(periods.map(|(period, date)| WantedTraining {
                commodity: commodity.clone(),
                model_name: model_name.clone(),
                period,
                date,
            }));
        }
    }
    let range = production.range(start, end);
    let mut units = vec![];
    if !wanted.is_empty() {
        for batch in context
            .query(due_trainings(&wanted, &context.source(models), &range)?)
            .await?
        {
            let rows = Rows(&batch);
            for row in 0..rows.len() {
                units.push(rows.key(&production.model_version, "due", row)?);
            }
        }
    }
    if let Only::Failed(failed) = only {
        units.retain(|unit| failed.contains(&("train".to_owned(), unit.clone())));
    }
    Ok(Due {
        wanted: wanted.len(),
        units,
    })
}

/// Trains what is due in a chunk and commits it.
pub async fn chunk(
    context: &Context,
    production: &Production,
    chunk: (Day, Day),
    only: &Only,
    tally: &mut Tally,
) -> Result<(), JobError> {
    loop {
        let planning = Planning::begin(context);
        let data = context.lake.table(TableName::UnifiedData).await?;
        let models = context.lake.table(TableName::TrainedModels).await?;
        // On the snapshot that is committed on, and again after a lost race: the winner may have
        // trained the first model of a cadence.
        let anchors = &anchors(context, production, &models).await?;
        pin(tally, &[&data, &models]);
        let due = due_on(context, production, chunk, anchors, only, &models).await?;
        planning.end(context, tally);
        let (skipped, wanted) = ((due.wanted - due.units.len()) as u64, due.units);
        if wanted.is_empty() {
            tally.train_skipped += skipped;
            return Ok(());
        }
        let label = format!(
            "train {} … {}",
            date::format(chunk.0),
            date::format(chunk.1)
        );
        let made = make(context, production, &data, &wanted, &label).await?;
        let append = Change::default();
        match commit(context, &models, &made.manifests, append, tally).await? {
            Landed::PlanAgain => continue,
            Landed::Yes => {}
        }
        tally.train_skipped += skipped;
        made.count(tally);
        forget(context, &made.slices).await;
        return Ok(());
    }
}

/// Models that have been written and not yet committed.
pub struct Made {
    /// What the slices wrote.
    pub manifests: Vec<almanac_delta::manifest::Manifest>,
    /// Their names.
    pub slices: Vec<String>,
}

impl Made {
    /// The keys that were written.
    pub fn keys(&self) -> BTreeSet<UnitKey> {
        let keys = self.manifests.iter().flat_map(|manifest| &manifest.keys);
        keys.map(|(key, _)| key.clone()).collect()
    }

    /// Counts models and failures of a committed chunk.
    pub fn count(&self, tally: &mut Tally) {
        for manifest in &self.manifests {
            tally.trained += manifest.keys.len() as u64;
            tally.train_failed += manifest.failures.len() as u64;
            tally.failures.extend(
                manifest
                    .failures
                    .iter()
                    .map(|failure| FailureRecord::of("train", failure)),
            );
        }
    }
}

/// Trains the given keys.
pub async fn make(
    context: &Context,
    production: &Production,
    data: &TableSnapshot,
    wanted: &[UnitKey],
    label: &str,
) -> Result<Made, JobError> {
    let columns = history_columns(production.models.values());
    let specs: BTreeMap<&String, (String, Vec<String>)> = production
        .models
        .iter()
        .map(|(name, spec)| {
            (
                name,
                (
                    spec.to_json(),
                    covariate_columns(spec)
                        .into_iter()
                        .map(|column| column.name)
                        .collect(),
                ),
            )
        })
        .collect();
    let units = wanted
        .iter()
        .map(|key| {
            let (spec, covariates) = specs.get(&key.model_name).ok_or_else(|| {
                JobError::ours(format!("no specification of `{}`", key.model_name))
            })?;
            Ok(Unit {
                slice: 0,
                series_bucket: bucket(context, &key.commodity),
                commodity: key.commodity.clone(),
                model_name: key.model_name.clone(),
                model_version: key.model_version.clone(),
                training_date: key.date,
                spec: spec.clone(),
                state: None,
                wanted: vec![],
                covariates: covariates.clone(),
                from: Day::MIN,
                until: key.date,
            })
        })
        .collect::<Result<Vec<_>, JobError>>()?;
    let request = format!("train, data {}", data.version());
    let cut = cut(data, units, context.settings.slices, &request)?;
    context.bar.stage(label.to_owned(), cut.slices.len());
    let pinned = context.pinned(data);
    let plan = |slices: &[&almanac_executor::rounds::Slice]| {
        let source: Arc<dyn TableProvider> = Arc::new(pinned.clone().sliced(cut.files_of(slices)));
        let assign = AssignUnits {
            units: Arc::new(cut.units_of(slices)),
            closed: Arc::default(),
        };
        let target = vec![(TableName::TrainedModels, RowSource::Rows)];
        let spec = context.write_spec(target, trained_models::TRAINING_DATE, Cut::named(slices));
        training(&source, &columns, assign, &context.stamp, spec).map_err(EngineError::from)
    };
    let half = MINIMUM_RETENTION / 2;
    let manifests = run_to_coverage(
        context.engine.as_ref(),
        &context.lake,
        &cut.slices,
        half,
        &context.bar,
        plan,
    )
    .await?;
    Ok(Made {
        manifests,
        slices: cut.names(),
    })
}

/// The stored bucket of a commodity, in lakes that have buckets.
pub fn bucket(context: &Context, commodity: &str) -> Option<i32> {
    match context.lake.settings().layout {
        Layout::Commodity => None,
        Layout::Buckets(count) => Some(series_bucket(commodity, count)),
    }
}

/// All history columns that the specifications need.
pub fn history_columns<'a>(specs: impl Iterator<Item = &'a ModelSpec>) -> BTreeSet<HistoryColumn> {
    specs.flat_map(covariate_columns).collect()
}
