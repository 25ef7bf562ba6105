//! Whole keys replaced or deleted, in one commit per table.

use std::collections::{BTreeMap, BTreeSet};

use almanac_delta::manifest::UnitKey;
use almanac_delta::observed::crash_point;
use almanac_delta::rows::{read_columns, read_files, write_rows};
use almanac_delta::tables::{distributions, trained_models};
use almanac_delta::{Claim, CommitKind, CommitRequest, TableName, TableSnapshot};
use almanac_planner::forecasting::Making;
use almanac_planner::present::KeyRange;
use almanac_udfs::forecasters::{Day, date};
use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Date32Type};
use datafusion::common::ScalarValue;
use uuid::Uuid;

use super::forecast::{self, DueForecast};
use super::present::present_keys;
use super::{
    Change, Landed, Planning, Production, Tally, actuals, anchors, commit, forget, land, pin,
    points, train,
};
use crate::context::{Context, today};
use crate::error::JobError;
use crate::stale::{StaleKey, stale};

/// The column of a key's date in a table.
fn date_column(table: TableName) -> &'static str {
    match table {
        TableName::TrainedModels => trained_models::TRAINING_DATE,
        _ => distributions::FORECAST_START_DATE,
    }
}

/// The snapshot's files that hold any of the keys, each with those it holds.
pub async fn files_with_keys(
    context: &Context,
    snapshot: &TableSnapshot,
    keys: &BTreeSet<UnitKey>,
) -> Result<Vec<(usize, BTreeSet<UnitKey>)>, JobError> {
    let mut found = vec![];
    let date = date_column(snapshot.name());
    let (Some(first), Some(last)) = (
        keys.iter().map(|key| key.date).min(),
        keys.iter().map(|key| key.date).max(),
    ) else {
        return Ok(found);
    };
    for (index, file) in snapshot.files().iter().enumerate() {
        let bound = |value: Option<ScalarValue>| match value {
            Some(ScalarValue::Date32(day)) => day,
            _ => None,
        };
        let statistics = file.statistics();
        let outside = bound(statistics.min(date, &DataType::Date32))
            .is_some_and(|lowest| lowest > last)
            || bound(statistics.max(date, &DataType::Date32))
                .is_some_and(|highest| highest < first);
        if outside {
            continue;
        }
        let columns = ["commodity", "model_name", "model_version", date];
        let rows = read_columns(&context.lake, snapshot.def(), file, &columns).await?;
        let own: BTreeSet<UnitKey> = row_keys(&rows, date)?
            .into_iter()
            .filter(|key| keys.contains(key))
            .collect();
        if !own.is_empty() {
            found.push((index, own));
        }
    }
    Ok(found)
}

/// The key of every row.
fn row_keys(rows: &RecordBatch, date: &str) -> Result<Vec<UnitKey>, JobError> {
    let text = |name: &str| {
        rows.column_by_name(name)
            .map(|column| column.as_string::<i32>())
    };
    let (Some(commodity), Some(model), Some(version), Some(date)) = (
        text("commodity"),
        text("model_name"),
        text("model_version"),
        rows.column_by_name(date)
            .map(|column| column.as_primitive::<Date32Type>()),
    ) else {
        return Err(JobError::ours("a table of keys lacks a key column"));
    };
    Ok((0..rows.num_rows())
        .map(|row| UnitKey {
            commodity: commodity.value(row).to_owned(),
            model_name: model.value(row).to_owned(),
            model_version: version.value(row).to_owned(),
            date: date.value(row),
        })
        .collect())
}

/// What remains of the files that hold the keys, written anew, and those files.
pub async fn without_keys(
    context: &Context,
    snapshot: &TableSnapshot,
    keys: &BTreeSet<UnitKey>,
) -> Result<Change, JobError> {
    let mut change = Change::default();
    for (index, _) in files_with_keys(context, snapshot, keys).await? {
        let file = &snapshot.files()[index];
        let rows = read_files(&context.lake, snapshot.def(), std::slice::from_ref(file)).await?;
        let kept: BooleanArray = row_keys(&rows, date_column(snapshot.name()))?
            .iter()
            .map(|key| Some(!keys.contains(key)))
            .collect();
        let kept =
            filter_record_batch(&rows, &kept).map_err(|error| JobError::ours(error.to_string()))?;
        change
            .adds
            .extend(write_rows(&context.lake, snapshot.def(), &kept).await?);
        change.removes.push(file.clone());
    }
    Ok(change)
}

/// Deletes keys from a table; returns how many were there. It commits its claims even when there is
/// nothing to delete: a job that is about to add such keys must plan again.
pub async fn delete(
    context: &Context,
    table: TableName,
    keys: &BTreeSet<UnitKey>,
    tally: &mut Tally,
) -> Result<u64, JobError> {
    loop {
        let snapshot = context.lake.table(table).await?;
        let there: u64 = files_with_keys(context, &snapshot, keys)
            .await?
            .iter()
            .map(|(_, own)| own.len() as u64)
            .sum();
        let Change { adds, removes, .. } = without_keys(context, &snapshot, keys).await?;
        let claims: BTreeSet<Claim> = keys
            .iter()
            .map(|key| Claim::keys(table, &key.commodity, &key.model_version))
            .collect();
        let request = CommitRequest {
            operation: CommitKind::Replace,
            adds,
            removes,
            claims: claims.into_iter().collect(),
            run_id: context.stamp.run_id.clone(),
            attempt_id: Uuid::new_v4().to_string(),
            new_columns: vec![],
        };
        match land(context, &snapshot, request, tally).await? {
            Landed::Yes => return Ok(there),
            Landed::PlanAgain => {}
        }
    }
}

/// Makes stale models and forecasts of the range again; each table's keys change in one commit.
/// Whoever loses a race asks again what is stale.
pub async fn revise(
    context: &Context,
    production: &Production,
    tally: &mut Tally,
) -> Result<(), JobError> {
    // Refuses a changed specification before anything is made with it.
    let planning = Planning::begin(context);
    let models = context.lake.table(TableName::TrainedModels).await?;
    pin(tally, &[&models]);
    anchors(context, production, &models).await?;
    planning.end(context, tally);
    let range = production.range(production.start, production.end);
    // What an earlier run left between the two tables.
    points::settle(context, production, &range, tally).await?;
    while let Landed::PlanAgain = revise_models(context, production, tally).await? {}
    while let Landed::PlanAgain = revise_forecasts(context, production, &range, tally).await? {}
    actuals::write(context, production, (range.start, range.end), true, tally).await
}

fn keys_of(stale: &[StaleKey]) -> BTreeSet<UnitKey> {
    stale.iter().map(|stale| stale.key.clone()).collect()
}

async fn revise_models(
    context: &Context,
    production: &Production,
    tally: &mut Tally,
) -> Result<Landed, JobError> {
    let planning = Planning::begin(context);
    let data = context.lake.table(TableName::UnifiedData).await?;
    let models = context.lake.table(TableName::TrainedModels).await?;
    pin(tally, &[&data, &models]);
    let range = production.range(production.start, production.end);
    let wanted: Vec<UnitKey> = keys_of(&stale(context, &range).await?.models)
        .into_iter()
        .collect();
    planning.end(context, tally);
    if wanted.is_empty() {
        return Ok(Landed::Yes);
    }
    let made = train::make(context, production, &data, &wanted, "train again").await?;
    // A model that can no longer be fitted stays as it is, and its failure is told.
    let replaced = made.keys();
    let change = without_keys(context, &models, &replaced).await?;
    if let Landed::PlanAgain = commit(context, &models, &made.manifests, change, tally).await? {
        return Ok(Landed::PlanAgain);
    }
    tally.revised += replaced.len() as u64;
    tally.models(&made, made.failures());
    forget(context, &made.slices).await;
    Ok(Landed::Yes)
}

async fn revise_forecasts(
    context: &Context,
    production: &Production,
    range: &KeyRange,
    tally: &mut Tally,
) -> Result<Landed, JobError> {
    let planning = Planning::begin(context);
    let data = context.lake.table(TableName::UnifiedData).await?;
    let models = context.lake.table(TableName::TrainedModels).await?;
    let point_table = context.lake.table(TableName::PointForecasts).await?;
    let table = context.lake.table(TableName::Distributions).await?;
    pin(tally, &[&data, &models, &point_table, &table]);
    let present = present_keys(context, production, &table, range).await?;
    let keys = keys_of(&stale(context, range).await?.forecasts);
    let fresh = present.keys().filter(|key| !keys.contains(key)).count() as u64;
    if keys.is_empty() {
        planning.end(context, tally);
        tally.forecast_skipped += fresh;
        return Ok(Landed::Yes);
    }
    let revisions = keys
        .iter()
        .filter_map(|key| present.get(key))
        .map(|made| made.revision);
    let revision = i32::try_from(revisions.max().unwrap_or(0) + 1).unwrap_or(i32::MAX);
    let due = models_for(context, &models, production, &keys).await?;
    let prepared = forecast::prepare(context, production, &models, range, due, tally).await?;
    planning.end(context, tally);
    let making = Making {
        today: today(),
        revision,
    };
    let (first, last) = (date::format(range.start), date::format(range.end));
    let label = format!("forecast again {first} … {last}");
    let bar = &context.bar;
    let made = forecast::make(context, production, &data, prepared, making, &label, bar).await?;
    let replaced = made.keys();
    let mut change = without_keys(context, &table, &replaced).await?;
    // Actuals of the same closes change in the same commit.
    let days = (range.start, range.end);
    let planning = Planning::begin(context);
    let tables = (&data, &table);
    let renewed =
        actuals::prepare(context, production, tables, days, true, planning, tally).await?;
    let renewed_rows = renewed.rows;
    change.adds.extend(renewed.change.adds);
    change.removes.extend(renewed.change.removes);
    change.claims.extend(renewed.change.claims);
    if let Landed::PlanAgain = commit(context, &table, &made.manifests, change, tally).await? {
        return Ok(Landed::PlanAgain);
    }
    tally.revised += replaced.len() as u64;
    tally.forecast_skipped += fresh;
    tally.actuals += renewed_rows;
    tally.forecasts(&made);
    crash_point("between_tables");
    let change = without_keys(context, &point_table, &replaced).await?;
    if let Landed::PlanAgain = commit(context, &point_table, &made.manifests, change, tally).await?
    {
        points::settle(context, production, range, tally).await?;
    }
    forget(context, &made.slices).await;
    Ok(Landed::Yes)
}

/// The newest active model for each key.
async fn models_for(
    context: &Context,
    models: &TableSnapshot,
    production: &Production,
    keys: &BTreeSet<UnitKey>,
) -> Result<Vec<DueForecast>, JobError> {
    let range = production.range(production.start, production.end);
    let plan = almanac_planner::present::active_models(&context.source(models), &range)?;
    let mut trained: BTreeMap<(String, String), BTreeSet<Day>> = BTreeMap::new();
    for batch in context.query(plan).await? {
        let rows = crate::context::Rows(&batch);
        for row in 0..rows.len() {
            let id = (rows.text("commodity", row)?, rows.text("model_name", row)?);
            trained
                .entry(id)
                .or_default()
                .insert(rows.day(trained_models::TRAINING_DATE, row)?);
        }
    }
    let newest = |key: &UnitKey| {
        let dates = trained.get(&(key.commodity.clone(), key.model_name.clone()))?;
        dates.range(..=key.date).next_back().copied()
    };
    Ok(keys
        .iter()
        .map(|key| DueForecast {
            key: key.clone(),
            training_date: newest(key),
        })
        .collect())
}
