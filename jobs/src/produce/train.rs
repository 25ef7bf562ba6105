//! One chunk of training.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use almanac_delta::care::MINIMUM_RETENTION;
use almanac_delta::manifest::UnitKey;
use almanac_delta::tables::{series_bucket, trained_models};
use almanac_delta::write::RowSource;
use almanac_delta::{Layout, TableName, TableSnapshot};
use almanac_executor::EngineError;
use almanac_executor::rounds::{Slice, run_to_coverage};
use almanac_planner::history::{HistoryColumn, covariate_columns};
use almanac_planner::training::training;
use almanac_udfs::assign::{AssignUnits, Unit};
use almanac_udfs::forecasters::{Day, date};
use almanac_udfs::spec::ModelSpec;
use datafusion::catalog::TableProvider;

use super::due::{Attempts, due};
use super::made::Made;
use super::slices::{Cut, cut};
use super::{Change, Landed, Only, Planning, Production, Tally, anchors, commit, forget, pin};
use crate::context::Context;
use crate::error::JobError;

/// Trains what is due in a chunk and commits it.
pub async fn chunk(
    context: &Context,
    production: &Production,
    chunk: (Day, Day),
    only: &Only,
    attempts: &mut Attempts,
    tally: &mut Tally,
) -> Result<(), JobError> {
    let label = format!(
        "train {} … {}",
        date::format(chunk.0),
        date::format(chunk.1)
    );
    let mut skipped = BTreeMap::new();
    loop {
        let planning = Planning::begin(context);
        let data = context.lake.table(TableName::UnifiedData).await?;
        let models = context.lake.table(TableName::TrainedModels).await?;
        // On the snapshot that is committed on, and again after a lost race: the winner may have
        // trained the first model of a cadence.
        let anchors = &anchors(context, production, &models).await?;
        pin(tally, &[&data, &models]);
        let due = due(context, production, chunk, anchors, only, &models, attempts).await?;
        planning.end(context, tally);
        let days = due.days();
        let mut made = make(context, production, &data, &days, &label).await?;
        let mut kept = due.kept(&made);
        if made.keys() != kept.keys {
            // Days that no daily run would have come to are left out.
            forget(context, &made.slices).await;
            let days: Vec<UnitKey> = kept.keys.iter().cloned().collect();
            made = make(context, production, &data, &days, &label).await?;
            kept.failures.extend(made.failures().cloned());
        }
        let append = Change::default();
        match commit(context, &models, &made.manifests, append, tally).await? {
            Landed::PlanAgain => continue,
            Landed::Yes => {}
        }
        for (pair, count) in due.skipped(&kept) {
            skipped.insert(pair.clone(), count);
        }
        tally.models(&made, kept.failures.iter());
        attempts.trained.extend(made.keys());
        attempts
            .failed
            .extend(kept.failures.into_iter().map(|failure| failure.key));
        forget(context, &made.slices).await;
        if !kept.again {
            tally.train_skipped += skipped.into_values().sum::<u64>();
            return Ok(());
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
    if wanted.is_empty() {
        return Ok(Made::default());
    }
    let mut columns = BTreeSet::new();
    let units = wanted
        .iter()
        .map(|key| {
            let spec = production.spec(&key.commodity, &key.model_name);
            let spec = spec.ok_or_else(|| {
                JobError::ours(format!("no specification of `{}`", key.model_name))
            })?;
            let own = covariate_columns(spec);
            let covariates = own.iter().map(|column| column.name.clone()).collect();
            columns.extend(own);
            Ok(Unit {
                slice: 0,
                series_bucket: bucket(context, &key.commodity),
                commodity: key.commodity.clone(),
                model_name: key.model_name.clone(),
                model_version: key.model_version.clone(),
                training_date: key.date,
                spec: spec.to_json(),
                state: None,
                wanted: vec![],
                covariates,
                from: Day::MIN,
                until: key.date,
            })
        })
        .collect::<Result<Vec<_>, JobError>>()?;
    let request = format!("train, data {}", data.version());
    let cut = cut(data, units, context.settings.slices, &request, 1)?;
    context.bar.stage(label.to_owned(), cut.slices.len());
    let pinned = context.pinned(data);
    let plan = |slices: &[&Slice]| {
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
        untried: vec![],
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
