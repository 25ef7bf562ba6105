//! One chunk of forecasting.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use almanac_delta::care::MINIMUM_RETENTION;
use almanac_delta::manifest::{Manifest, UnitFailure, UnitKey};
use almanac_delta::observed::crash_point;
use almanac_delta::tables::distributions;
use almanac_delta::tables::job_failures::STAGE_FORECAST;
use almanac_delta::write::RowSource;
use almanac_delta::{TableName, TableSnapshot};
use almanac_executor::rounds::{Slice, run_to_coverage};
use almanac_executor::{EngineError, Progress};
use almanac_planner::forecasting::{Making, forecasting};
use almanac_planner::history::covariate_columns;
use almanac_planner::present::{KeyRange, model_states};
use almanac_planner::schedule::{WantedForecast, due_forecasts};
use almanac_udfs::assign::{AssignUnits, Unit};
use almanac_udfs::expand::{ExpandPaths, PATHS, POINTS};
use almanac_udfs::forecasters::{Day, date};
use almanac_udfs::spec::ModelSpec;
use datafusion::catalog::TableProvider;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use sha2::{Digest, Sha256};

use super::made::Made;
use super::present::present_keys;
use super::replace::without_keys;
use super::slices::{Cut, cut};
use super::train::{bucket, history_columns};
use super::{
    Change, Landed, Only, Planning, Production, Tally, closed_days, commit, forget, pin, points,
};
use crate::context::{Context, Rows, today};
use crate::error::JobError;

/// Rows of history before a forecast that its calendar and digest may need.
const YEAR: Day = 366;

/// A forecast that is due, with the model that serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueForecast {
    /// The key.
    pub key: UnitKey,
    /// Training date of its model, if there is one.
    pub training_date: Option<Day>,
}

/// Missing and wanted forecasts of a chunk.
pub async fn missing(
    context: &Context,
    production: &Production,
    (start, end): (Day, Day),
) -> Result<(u64, u64), JobError> {
    let range = production.range(start, end);
    let present = context.lake.table(TableName::Distributions).await?;
    let there = present_keys(context, production, &present, &range)
        .await?
        .len() as u64;
    let wanted = wanted(production, (start, end)).len() as u64;
    Ok((wanted - there, wanted))
}

fn wanted(production: &Production, (start, end): (Day, Day)) -> Vec<WantedForecast> {
    let mut wanted = vec![];
    for commodity in &production.commodities {
        for model_name in production.models.keys() {
            wanted.extend((start..=end).map(|date| WantedForecast {
                commodity: commodity.clone(),
                model_name: model_name.clone(),
                date,
            }));
        }
    }
    wanted
}

/// Forecasts what is due in a chunk and commits it, paths first, points after them.
pub async fn chunk(
    context: &Context,
    production: &Production,
    chunk: (Day, Day),
    only: &Only,
    progress: &dyn Progress,
    tally: &mut Tally,
) -> Result<(), JobError> {
    let range = production.range(chunk.0, chunk.1);
    loop {
        let planning = Planning::begin(context);
        let data = context.lake.table(TableName::UnifiedData).await?;
        let models = context.lake.table(TableName::TrainedModels).await?;
        // Points before paths: what another job commits in between conflicts with our points.
        let point_table = context.lake.table(TableName::PointForecasts).await?;
        let table = context.lake.table(TableName::Distributions).await?;
        pin(tally, &[&data, &models, &table, &point_table]);
        let present = present_keys(context, production, &table, &range).await?;
        let rebuild = points::missing(context, production, &point_table, &range, &present).await?;
        if !rebuild.keys.is_empty() {
            planning.end(context, tally);
            points::rebuild(context, &table, &point_table, rebuild, tally).await?;
            continue;
        }
        let wanted = wanted(production, chunk);
        let paths = i32::try_from(production.paths).unwrap_or(i32::MAX);
        let plan = due_forecasts(
            &wanted,
            &context.source(&table),
            &context.source(&models),
            &range,
            paths,
        )?;
        let mut due = vec![];
        for batch in context.query(plan).await? {
            let rows = Rows(&batch);
            for row in 0..rows.len() {
                let key = rows.key(&production.model_version, "day", row)?;
                due.push(DueForecast {
                    key,
                    training_date: rows.date("training_date", row)?,
                });
            }
        }
        let skipped = (wanted.len() - due.len()) as u64;
        due.retain(|due| only.means(STAGE_FORECAST, &due.key));
        if due.is_empty() {
            planning.end(context, tally);
            tally.forecast_skipped += skipped;
            return Ok(());
        }
        let making = Making {
            today: today(),
            revision: 0,
        };
        let prepared = prepare(context, production, &models, &range, due, tally).await?;
        planning.end(context, tally);
        let label = format!(
            "forecast {} … {}",
            date::format(chunk.0),
            date::format(chunk.1)
        );
        let made = make(
            context, production, &data, prepared, making, &label, progress,
        )
        .await?;
        match commit(context, &table, &made.manifests, Change::default(), tally).await? {
            Landed::PlanAgain => continue,
            Landed::Yes => {}
        }
        tally.forecast_skipped += skipped;
        tally.forecasts(&made);
        crash_point("between_tables");
        // Points of keys that had no paths are nobody's: these take their place.
        let made_keys = made.keys();
        let orphans = rebuild.orphans.intersection(&made_keys).cloned().collect();
        let change = without_keys(context, &point_table, &orphans).await?;
        match commit(context, &point_table, &made.manifests, change, tally).await? {
            Landed::Yes => {
                forget(context, &made.slices).await;
                return Ok(());
            }
            // Another job wrote points of the same claim: make those that are still missing from
            // the paths that are now in the table.
            Landed::PlanAgain => {
                points::settle(context, production, &range, tally).await?;
                forget(context, &made.slices).await;
                return Ok(());
            }
        }
    }
}

/// Units that can be forecast, and those that cannot even be tried.
pub struct Prepared {
    /// The units, and each one's specification.
    pub(super) units: Vec<Unit>,
    pub(super) specs: Vec<ModelSpec>,
    /// Closed days that they may meet.
    pub(super) closed: Vec<Day>,
    pub(super) failures: Vec<UnitFailure>,
}

/// Gives each due forecast its model: one unit for all dates of one trained model.
pub async fn prepare(
    context: &Context,
    production: &Production,
    models: &TableSnapshot,
    range: &KeyRange,
    due: Vec<DueForecast>,
    tally: &mut Tally,
) -> Result<Prepared, JobError> {
    let mut groups: BTreeMap<(String, String, Day), Vec<UnitKey>> = BTreeMap::new();
    let mut failures = vec![];
    for DueForecast { key, training_date } in due {
        match training_date {
            Some(trained) => groups
                .entry((key.commodity.clone(), key.model_name.clone(), trained))
                .or_default()
                .push(key),
            None => failures.push(UnitFailure {
                message: format!(
                    "no `{}` model of `{}` trained on or before {}",
                    key.model_name,
                    key.commodity,
                    date::format(key.date)
                ),
                key,
                error_class: "no_model".to_owned(),
            }),
        }
    }
    let dates: BTreeSet<Day> = groups.keys().map(|(_, _, trained)| *trained).collect();
    let mut stored = if groups.is_empty() {
        HashMap::new()
    } else {
        states(
            context,
            models,
            range,
            &dates.into_iter().collect::<Vec<_>>(),
            &groups,
        )
        .await?
    };
    let (mut units, mut specs) = (vec![], vec![]);
    for ((commodity, model_name, training_date), keys) in groups {
        let found = stored.remove(&(commodity.clone(), model_name.clone(), training_date));
        let outcome = found
            .unwrap_or_else(|| Err("the model is gone".to_owned()))
            .and_then(|(spec, state)| {
                let parsed: ModelSpec = serde_json::from_str(&spec)
                    .map_err(|error| format!("stored specification: {error}"))?;
                Ok((spec, parsed, state))
            });
        let (spec, parsed, state) = match outcome {
            Ok(outcome) => outcome,
            Err(message) => {
                failures.extend(keys.into_iter().map(|key| UnitFailure {
                    key,
                    error_class: "state_corrupt".to_owned(),
                    message: message.clone(),
                }));
                continue;
            }
        };
        let wanted: Vec<Day> = keys.iter().map(|key| key.date).collect();
        let first = wanted.first().copied().unwrap_or(training_date);
        units.push(Unit {
            slice: 0,
            series_bucket: bucket(context, &commodity),
            commodity,
            model_name,
            model_version: production.model_version.clone(),
            training_date,
            spec,
            state: Some(state),
            covariates: covariate_columns(&parsed)
                .into_iter()
                .map(|column| column.name)
                .collect(),
            from: training_date.min(first) - parsed.lookback_days().max(YEAR),
            until: wanted.last().copied().unwrap_or(training_date),
            wanted,
        });
        specs.push(parsed);
    }
    let mut closed = closed_days(context, tally).await?;
    let first = units.iter().map(|unit| unit.from).min().unwrap_or_default();
    let last = units.iter().map(|unit| unit.until).max();
    let last = last.unwrap_or_default() + YEAR;
    closed.retain(|day| (first..=last).contains(day));
    Ok(Prepared {
        units,
        specs,
        closed,
        failures,
    })
}

/// A stored model's specification and state, or why it cannot be used.
type Stored = Result<(String, String), String>;

async fn states(
    context: &Context,
    models: &TableSnapshot,
    range: &KeyRange,
    dates: &[Day],
    needed: &BTreeMap<(String, String, Day), Vec<UnitKey>>,
) -> Result<HashMap<(String, String, Day), Stored>, JobError> {
    use almanac_delta::tables::trained_models::{
        FITTED_MODEL_JSON, FITTED_MODEL_S3_PATH, PARAMETERS, STATE_SHA256,
    };
    let mut found = HashMap::new();
    for batch in context
        .query(model_states(&context.source(models), range, dates)?)
        .await?
    {
        let rows = Rows(&batch);
        for row in 0..rows.len() {
            let id = (
                rows.text("commodity", row)?,
                rows.text("model_name", row)?,
                rows.day("training_date", row)?,
            );
            if !needed.contains_key(&id) {
                continue;
            }
            let state = match (
                rows.text_or_null(FITTED_MODEL_JSON, row)?,
                rows.text_or_null(FITTED_MODEL_S3_PATH, row)?,
            ) {
                (Some(state), _) => Ok(state),
                (None, Some(path)) => read_state(context, &path).await,
                (None, None) => Err("the model's row holds no state".to_owned()),
            };
            let hash = rows.text(STATE_SHA256, row)?;
            let state = state.and_then(|state| {
                let found: String = Sha256::digest(state.as_bytes())
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect();
                if found == hash {
                    Ok(state)
                } else {
                    Err(format!(
                        "the state's SHA-256 is {found}, its row says {hash}"
                    ))
                }
            });
            let spec = rows.text(PARAMETERS, row)?;
            found.insert(id, state.map(|state| (spec, state)));
        }
    }
    Ok(found)
}

async fn read_state(context: &Context, path: &str) -> Result<String, String> {
    let path = Path::parse(path).map_err(|error| error.to_string())?;
    let found = context
        .lake
        .store()
        .get(&path)
        .await
        .map_err(|error| error.to_string())?;
    let bytes = found.bytes().await.map_err(|error| error.to_string())?;
    String::from_utf8(bytes.to_vec()).map_err(|error| format!("state object {path}: {error}"))
}

/// Draws the paths of prepared units. A forecast that saw its own day stops the job.
pub async fn make(
    context: &Context,
    production: &Production,
    data: &TableSnapshot,
    prepared: Prepared,
    making: Making,
    label: &str,
    progress: &dyn Progress,
) -> Result<Made, JobError> {
    let Prepared {
        units,
        specs,
        closed,
        failures: untried,
    } = prepared;
    if units.is_empty() {
        return Ok(Made {
            untried,
            ..Made::default()
        });
    }
    let columns = history_columns(specs.iter());
    let closed = Arc::new(closed);
    let request = format!(
        "forecast, data {}, paths {}, horizon {}, revision {}, closed {closed:?}",
        data.version(),
        production.paths,
        production.horizon,
        making.revision
    );
    let paths = production.paths as u64;
    let cut = cut(data, units, context.settings.slices, &request, paths)?;
    context.bar.stage(label.to_owned(), cut.slices.len());
    let pinned = context.pinned(data);
    let expand = ExpandPaths {
        paths: production.paths,
        horizon: production.horizon,
    };
    let plan = |slices: &[&Slice]| {
        let source: Arc<dyn TableProvider> = Arc::new(pinned.clone().sliced(cut.files_of(slices)));
        let assign = AssignUnits {
            units: Arc::new(cut.units_of(slices)),
            closed: Arc::clone(&closed),
        };
        let targets = vec![
            (
                TableName::Distributions,
                RowSource::Unnest(PATHS.to_owned()),
            ),
            (
                TableName::PointForecasts,
                RowSource::Unnest(POINTS.to_owned()),
            ),
        ];
        let spec = context.write_spec(
            targets,
            distributions::FORECAST_START_DATE,
            Cut::named(slices),
        );
        forecasting(
            &source,
            &columns,
            assign,
            expand.clone(),
            (&context.stamp, making),
            spec,
        )
        .map_err(EngineError::from)
    };
    let half = MINIMUM_RETENTION / 2;
    let manifests = run_to_coverage(
        context.engine.as_ref(),
        &context.lake,
        &cut.slices,
        half,
        progress,
        plan,
    )
    .await?;
    if let Err(error) = refuse_leaks(&manifests) {
        // What may not be committed must not be found by the next run.
        forget(context, &cut.names()).await;
        return Err(error);
    }
    Ok(Made {
        manifests,
        slices: cut.names(),
        untried,
    })
}

fn refuse_leaks(manifests: &[Manifest]) -> Result<(), JobError> {
    let leaks: Vec<String> = manifests
        .iter()
        .flat_map(|manifest| &manifest.leaks)
        .map(|key| {
            format!(
                "{} {} {}",
                key.commodity,
                key.model_name,
                date::format(key.date)
            )
        })
        .collect();
    if leaks.is_empty() {
        return Ok(());
    }
    Err(JobError::ours(format!(
        "nothing is committed: {} forecasts saw their own day or later: {}",
        leaks.len(),
        leaks.join(", ")
    )))
}
