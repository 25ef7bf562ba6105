//! From what a user typed to a resolved request.

use std::collections::{BTreeMap, BTreeSet};

use almanac_delta::tables::distributions::ACTUALS;
use almanac_delta::{Layout, TableName};
use almanac_planner::present::{KeyRange, active_models, commodities, regions};
use almanac_udfs::forecasters::{Day, Frequency, date, nearest};
use almanac_udfs::spec::{ModelSpec, Regions};

use crate::cli::{CadenceArgs, SelectionArgs, ShapeArgs};
use crate::context::{Context, Rows};
use crate::error::JobError;
use crate::produce::Production;
use crate::sql::{self, quoted};

/// Days in a range at most.
const LONGEST_RANGE: Day = 36_600;

/// Days in the horizon at most.
const HORIZON: usize = almanac_udfs::forecast::HORIZON;

/// Resolves a request against the lake and the catalog.
pub async fn production(
    context: &Context,
    selection: &SelectionArgs,
    cadence: &CadenceArgs,
    shape: &ShapeArgs,
    (start, end): (Day, Day),
) -> Result<Production, JobError> {
    let frequency = check(selection, cadence, shape, (start, end))?;
    let chosen = chosen_commodities(context, &selection.commodity).await?;
    let mut models = BTreeMap::new();
    let mut own_specs: BTreeMap<String, BTreeMap<String, ModelSpec>> = BTreeMap::new();
    for key in &selection.models {
        let mut spec = context
            .settings
            .catalog
            .resolve(key, context.lake.settings())?;
        let mut range = KeyRange {
            commodities: chosen.clone(),
            model_names: vec![key.clone()],
            model_version: selection.model_version.clone(),
            start,
            end,
        };
        if spec.regions == Regions::Pivot {
            // Each commodity has regions of its own.
            for commodity in &chosen {
                let mut own = spec.clone();
                range.commodities = vec![commodity.clone()];
                check_covariates(context, key, &mut own, &range).await?;
                own_specs
                    .entry(commodity.clone())
                    .or_default()
                    .insert(key.clone(), own);
            }
        } else {
            check_covariates(context, key, &mut spec, &range).await?;
        }
        models.insert(key.clone(), spec);
    }
    Ok(Production {
        commodities: chosen,
        models,
        own_specs,
        model_version: selection.model_version.clone(),
        start,
        end,
        frequency: frequency.name().to_owned(),
        paths: shape.paths,
        horizon: shape.horizon,
    })
}

/// Refuses a request that makes no sense in any lake; its frequency.
pub fn check(
    selection: &SelectionArgs,
    cadence: &CadenceArgs,
    shape: &ShapeArgs,
    (start, end): (Day, Day),
) -> Result<Frequency, JobError> {
    check_range(start, end)?;
    if shape.paths == 0 || i32::try_from(shape.paths).is_err() {
        return Err(JobError::user(
            format!("--paths {} makes no sense", shape.paths),
            "at least 1; the default is 2000",
        ));
    }
    if shape.horizon == 0 || shape.horizon > HORIZON {
        return Err(JobError::user(
            format!("--horizon {} is out of range", shape.horizon),
            format!("1 to {HORIZON}: the tables have that many days"),
        ));
    }
    let frequency = cadence.frequency.parse().map_err(|_| {
        let known = Frequency::ALL.map(Frequency::name);
        let hint = nearest(&cadence.frequency, known.into_iter()).map_or_else(
            || format!("one of {}", known.join(", ")),
            |name| format!("did you mean `{name}`?"),
        );
        JobError::user(format!("no frequency `{}`", cadence.frequency), hint)
    })?;
    check_version(&selection.model_version)?;
    Ok(frequency)
}

/// Resolves a request for forecasts that are stored, whether or not the catalog still has their
/// models.
pub async fn stored_keys(
    context: &Context,
    selection: &SelectionArgs,
    (start, end): (Day, Day),
) -> Result<KeyRange, JobError> {
    check_range(start, end)?;
    check_version(&selection.model_version)?;
    let commodities = chosen_commodities(context, &selection.commodity).await?;
    let mut stored: Option<BTreeSet<String>> = None;
    let mut model_names = BTreeSet::new();
    for key in &selection.models {
        if let Err(unknown) = context.settings.catalog.get(key) {
            let stored = match &stored {
                Some(stored) => stored,
                None => stored.insert(stored_models(context, &selection.model_version).await?),
            };
            if !stored.contains(key) {
                return Err(unknown);
            }
        }
        model_names.insert(key.clone());
    }
    Ok(KeyRange {
        commodities,
        model_names: model_names.into_iter().collect(),
        model_version: selection.model_version.clone(),
        start,
        end,
    })
}

/// The models that have something stored under a version.
async fn stored_models(context: &Context, version: &str) -> Result<BTreeSet<String>, JobError> {
    let version = quoted(version);
    let tables = ["trained_models", "distributions", "point_forecasts"];
    let query = tables
        .map(|table| format!("SELECT model_name FROM {table} WHERE model_version = {version}"))
        .join(" UNION ");
    let mut stored = BTreeSet::new();
    for batch in sql::rows(context, &query, &[]).await? {
        let rows = Rows(&batch);
        for row in 0..rows.len() {
            stored.insert(rows.text("model_name", row)?);
        }
    }
    Ok(stored)
}

fn check_range(start: Day, end: Day) -> Result<(), JobError> {
    let (first, last) = (date::format(start), date::format(end));
    if start > end {
        return Err(JobError::user(
            format!("the range is empty: it starts on {first} and ends on {last}"),
            "--start must not be after --end",
        ));
    }
    if end - start > LONGEST_RANGE {
        return Err(JobError::user(
            format!("the range {first} to {last} is longer than a century"),
            "check the years of --start and --end",
        ));
    }
    Ok(())
}

/// Refuses a version that a partition or a path could not hold, and the one of the actuals.
fn check_version(version: &str) -> Result<(), JobError> {
    const LENGTH: usize = 64;
    let odd = version != version.trim() || version.chars().any(char::is_control);
    if version.is_empty() || version.len() > LENGTH || odd {
        return Err(JobError::user(
            format!("`{version}` cannot be a model version"),
            format!("1 to {LENGTH} visible characters, such as v1.0"),
        ));
    }
    if version == ACTUALS {
        return Err(JobError::user(
            format!("the model version `{ACTUALS}` is that of what happened"),
            "take another one, such as v1.0",
        ));
    }
    Ok(())
}

/// All commodities of the lake.
pub async fn known_commodities(context: &Context) -> Result<BTreeSet<String>, JobError> {
    let data = context.lake.table(TableName::UnifiedData).await?;
    if context.lake.settings().layout == Layout::Commodity {
        // The log knows the partitions.
        return Ok(data
            .files()
            .iter()
            .filter_map(|file| file.partition_values.first().cloned().flatten())
            .collect());
    }
    let mut known = BTreeSet::new();
    for batch in context.query(commodities(&context.source(&data))?).await? {
        let rows = Rows(&batch);
        for row in 0..rows.len() {
            known.insert(rows.text("commodity", row)?);
        }
    }
    Ok(known)
}

async fn chosen_commodities(context: &Context, wanted: &[String]) -> Result<Vec<String>, JobError> {
    let known = known_commodities(context).await?;
    if known.is_empty() {
        return Err(JobError::user(
            "the lake holds no data yet",
            "load some with `almanac ingest FILE`",
        ));
    }
    if wanted.iter().any(|name| name == "*") {
        return Ok(known.into_iter().collect());
    }
    let mut chosen = BTreeSet::new();
    for name in wanted.iter().map(|name| name.trim()) {
        if !known.contains(name) {
            let hint = nearest(name, known.iter().map(String::as_str)).map_or_else(
                || "`almanac status` lists what there is".to_owned(),
                |nearest| format!("did you mean `{nearest}`?"),
            );
            return Err(JobError::user(
                format!("no commodity `{name}` in silver.unified_data"),
                hint,
            ));
        }
        chosen.insert(name.to_owned());
    }
    Ok(chosen.into_iter().collect())
}

/// The earliest training date of stored models, if it is before the range.
async fn first_training(context: &Context, range: &KeyRange) -> Result<Day, JobError> {
    let models = context.lake.table(TableName::TrainedModels).await?;
    let mut first = range.start;
    for batch in context
        .query(active_models(&context.source(&models), range)?)
        .await?
    {
        let rows = Rows(&batch);
        for row in 0..rows.len() {
            first = first.min(rows.day("training_date", row)?);
        }
    }
    Ok(first)
}

/// Refuses covariates that the table does not have; resolves the regions of a pivot.
async fn check_covariates(
    context: &Context,
    key: &str,
    spec: &mut ModelSpec,
    range: &KeyRange,
) -> Result<(), JobError> {
    if spec.covariates.is_empty() {
        return Ok(());
    }
    let commodities = &range.commodities;
    // A pivot's regions are those that its first model could know, and stay so.
    let first = if spec.regions == Regions::Pivot {
        first_training(context, range).await?
    } else {
        range.start
    };
    let data = context.lake.table(TableName::UnifiedData).await?;
    let schema = data.schema();
    let mut resolved = vec![];
    for covariate in &spec.covariates {
        let source = covariate
            .split_once('@')
            .map_or(covariate.as_str(), |(source, _)| source);
        if schema.field_with_name(source).is_err() {
            let names: Vec<&str> = schema
                .fields()
                .iter()
                .map(|field| field.name().as_str())
                .collect();
            let hint = nearest(source, names.iter().copied()).map_or_else(
                || format!("columns: {}", names.join(", ")),
                |name| format!("did you mean `{name}`?"),
            );
            return Err(JobError::user(
                format!(
                    "model `{key}` wants the covariate `{source}`, which is no column of silver.unified_data"
                ),
                hint,
            ));
        }
        if spec.regions != Regions::Pivot || covariate.contains('@') {
            resolved.push(covariate.clone());
            continue;
        }
        let known = resolved.len();
        let plan = regions(&context.source(&data), covariate, commodities, first)?;
        for batch in context.query(plan).await? {
            let rows = Rows(&batch);
            for row in 0..rows.len() {
                resolved.push(format!("{covariate}@{}", rows.text("region", row)?));
            }
        }
        if resolved.len() == known {
            return Err(JobError::user(
                format!(
                    "model `{key}`: no region of `{}` knows `{covariate}` before {}",
                    commodities.join("`, `"),
                    date::format(first)
                ),
                "start later, name regions as `column@region`, or take another reduction than pivot",
            ));
        }
    }
    spec.covariates = resolved;
    Ok(())
}
