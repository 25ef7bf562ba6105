//! Models trained and forecasts held against what came: the plans of any job, on a lake that nobody
//! else uses.

use std::collections::BTreeMap;
use std::sync::Arc;

use almanac_delta::TableName;
use almanac_delta::manifest::{UnitFailure, UnitKey};
use almanac_executor::{EngineError, Progress};
use almanac_planner::forecasting::scoring;
use almanac_udfs::assign::AssignUnits;
use almanac_udfs::forecasters::Day;
use almanac_udfs::score::{Actuals, COVERED_80, COVERED_95, CRPS, POINT, SECONDS, ScoreForecasts};
use arrow::array::AsArray;
use arrow::datatypes::Float64Type;
use datafusion::catalog::TableProvider;
use futures::future::try_join_all;

use super::forecast::{DueForecast, prepare};
use super::slices::cut;
use super::train::{self, history_columns};
use super::{Change, Landed, Production, Tally, commit};
use crate::context::{Context, Rows};
use crate::error::JobError;
use crate::sql;

/// How a forecast did.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// The point forecast of each step.
    pub point: Vec<f64>,
    /// The continuous ranked probability score, the mean over the steps.
    pub crps: f64,
    /// Steps whose value lies within the 80 % interval.
    pub covered_80: u64,
    /// Steps whose value lies within the 95 % interval.
    pub covered_95: u64,
    /// Seconds of processor time that training and the point forecast took.
    pub seconds: f64,
}

/// The outcome of every series and model.
#[derive(Debug, Default)]
pub struct Scores {
    /// By series and model.
    pub scored: BTreeMap<(String, String), Scored>,
    /// What has no score, and why.
    pub failures: Vec<UnitFailure>,
}

/// Trains every model of the production on every series of the lake, at that series' day, and scores
/// its forecast of that day.
pub async fn scores(
    context: &Context,
    production: &Production,
    days: &BTreeMap<String, Day>,
    actuals: Arc<BTreeMap<String, Actuals>>,
) -> Result<Scores, JobError> {
    let mut tally = Tally::default();
    let data = context.lake.table(TableName::UnifiedData).await?;
    let models = context.lake.table(TableName::TrainedModels).await?;
    let wanted: Vec<UnitKey> = days
        .iter()
        .flat_map(|(commodity, day)| {
            production.models.keys().map(|model| UnitKey {
                commodity: commodity.clone(),
                model_name: model.clone(),
                model_version: production.model_version.clone(),
                date: *day,
            })
        })
        .collect();
    let made = train::make(context, production, &data, &wanted, "train").await?;
    match commit(
        context,
        &models,
        &made.manifests,
        Change::default(),
        &mut tally,
    )
    .await?
    {
        Landed::Yes => {}
        Landed::PlanAgain => return Err(JobError::ours("another job writes to a lake of our own")),
    }
    let mut scores = Scores {
        failures: made.failures().cloned().collect(),
        ..Scores::default()
    };
    let models = context.lake.table(TableName::TrainedModels).await?;
    let due = made.keys().into_iter().map(|key| DueForecast {
        training_date: Some(key.date),
        key,
    });
    let range = production.range(production.start, production.end);
    let prepared = prepare(
        context,
        production,
        &models,
        &range,
        due.collect(),
        &mut tally,
    )
    .await?;
    scores.failures.extend(prepared.failures);
    if !prepared.units.is_empty() {
        let columns = history_columns(prepared.specs.iter());
        let slices = context.settings.slices.or(Some(context.settings.threads));
        let cut = cut(&data, prepared.units, slices, "score", 1)?;
        let score = ScoreForecasts {
            paths: production.paths,
            actuals,
        };
        context.bar.stage("forecast".to_owned(), cut.slices.len());
        let pinned = context.pinned(&data);
        let closed = Arc::new(prepared.closed);
        // A plan for each slice: what only queries may mix the rows of several.
        let plans = cut.slices.iter().map(|slice| {
            let source: Arc<dyn TableProvider> =
                Arc::new(pinned.clone().sliced(cut.files_of(&[slice])));
            let assign = AssignUnits {
                units: Arc::new(cut.units_of(&[slice])),
                closed: Arc::clone(&closed),
            };
            scoring(&source, &columns, assign, score.clone())
        });
        let plans = plans
            .collect::<Result<Vec<_>, _>>()
            .map_err(EngineError::from)?;
        let queries = plans.into_iter().map(|plan| async {
            let rows = context.query(plan).await;
            context.bar.slice_done();
            rows
        });
        for batch in try_join_all(queries).await?.into_iter().flatten() {
            take(&batch, production, days, &mut scores)?;
        }
    }
    add_training_seconds(context, &mut scores).await?;
    context.bar.finish();
    Ok(scores)
}

/// Takes in the rows of the scoring plan.
fn take(
    batch: &arrow::array::RecordBatch,
    production: &Production,
    days: &BTreeMap<String, Day>,
    scores: &mut Scores,
) -> Result<(), JobError> {
    let rows = Rows(batch);
    let lacks = |name: &str| JobError::ours(format!("the scoring plan lacks its column `{name}`"));
    let column = |name: &str| batch.column_by_name(name).ok_or_else(|| lacks(name));
    let points = column(POINT)?
        .as_list_opt::<i32>()
        .ok_or_else(|| lacks(POINT))?;
    for row in 0..rows.len() {
        let (commodity, model) = (rows.text("commodity", row)?, rows.text("model_name", row)?);
        if let Some(class) = rows.text_or_null("error_class", row)? {
            scores.failures.push(UnitFailure {
                key: UnitKey {
                    date: *days.get(&commodity).ok_or_else(|| lacks("commodity"))?,
                    commodity,
                    model_name: model,
                    model_version: production.model_version.clone(),
                },
                error_class: class,
                message: rows.text("error_message", row)?,
            });
            continue;
        }
        let point = points.value(row);
        let count = |name: &str| Ok::<_, JobError>(rows.number(name, row)?.unsigned_abs());
        let scored = Scored {
            point: point.as_primitive::<Float64Type>().values().to_vec(),
            crps: rows.double(CRPS, row)?,
            covered_80: count(COVERED_80)?,
            covered_95: count(COVERED_95)?,
            seconds: rows.double(SECONDS, row)?,
        };
        scores.scored.insert((commodity, model), scored);
    }
    Ok(())
}

async fn add_training_seconds(context: &Context, scores: &mut Scores) -> Result<(), JobError> {
    let query = "SELECT commodity, model_name, training_seconds FROM trained_models";
    for batch in sql::rows(context, query, &[]).await? {
        let rows = Rows(&batch);
        for row in 0..rows.len() {
            let key = (rows.text("commodity", row)?, rows.text("model_name", row)?);
            if let Some(scored) = scores.scored.get_mut(&key) {
                scored.seconds += rows.double("training_seconds", row)?;
            }
        }
    }
    Ok(())
}
