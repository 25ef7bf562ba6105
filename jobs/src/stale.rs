//! Keys that rest on older input: their digest is not that of the data as it is now.

use std::collections::{BTreeMap, BTreeSet};

use almanac_delta::manifest::UnitKey;
use almanac_delta::provider::SliceFiles;
use almanac_delta::{TableName, TableSnapshot};
use almanac_planner::history::{covariate_columns, history};
use almanac_planner::present::active_models;
use almanac_udfs::forecasters::{Day, date};
use almanac_udfs::observations::Observations;
use almanac_udfs::spec::ModelSpec;
use almanac_udfs::window::KeepWindow;
use arrow::array::{Array, AsArray};
use arrow::datatypes::{Date32Type, Float64Type};
use serde::{Serialize, Serializer};
use std::sync::Arc;

use crate::context::{Context, Rows};
use crate::error::JobError;
use crate::produce::Production;
use crate::produce::present_forecasts_of;

/// One key whose input has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StaleKey {
    /// The key.
    #[serde(serialize_with = "key_with_date")]
    pub key: UnitKey,
    /// What it was made from.
    pub input_digest: String,
    /// What it would be made from now.
    pub current_digest: String,
}

fn key_with_date<S: Serializer>(key: &UnitKey, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!(
        "{} {} {} {}",
        key.commodity,
        key.model_name,
        key.model_version,
        date::format(key.date)
    ))
}

/// All such keys of a range.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Stale {
    /// Models.
    pub models: Vec<StaleKey>,
    /// Forecasts.
    pub forecasts: Vec<StaleKey>,
}

/// A stored model: training date, input digest, specification.
type Trained = (Day, String, ModelSpec);

/// The stale keys of a range.
pub async fn stale(context: &Context, production: &Production) -> Result<Stale, JobError> {
    let data = context.lake.table(TableName::UnifiedData).await?;
    let models = context.lake.table(TableName::TrainedModels).await?;
    let range = production.range(production.start, production.end);
    // A model older than the range may serve it; one that serves nothing there is not asked about.
    let mut trained: BTreeMap<(String, String), Vec<Trained>> = BTreeMap::new();
    for batch in context
        .query(active_models(&context.source(&models), &range)?)
        .await?
    {
        let rows = Rows(&batch);
        for row in 0..rows.len() {
            let spec = serde_json::from_str(&rows.text("parameters", row)?)
                .map_err(|error| JobError::ours(format!("stored specification: {error}")))?;
            let id = (rows.text("commodity", row)?, rows.text("model_name", row)?);
            let day = rows.day("training_date", row)?;
            trained
                .entry(id)
                .or_default()
                .push((day, rows.text("input_digest", row)?, spec));
        }
    }
    let present = present_forecasts_of(context, production).await?;
    let mut stale = Stale::default();
    for ((commodity, model_name), mut versions) in trained {
        versions.sort_by_key(|(day, _, _)| *day);
        let Some((_, _, spec)) = versions.last().cloned() else {
            continue;
        };
        let rows = observations(context, &data, &commodity, &spec).await?;
        let key = |date: Day| UnitKey {
            commodity: commodity.clone(),
            model_name: model_name.clone(),
            model_version: production.model_version.clone(),
            date,
        };
        let forecasts: Vec<(&UnitKey, &String)> = present
            .iter()
            .filter(|(known, _)| known.commodity == commodity && known.model_name == model_name)
            .collect();
        let days: BTreeSet<Day> = versions
            .iter()
            .map(|(day, _, _)| *day)
            .chain(forecasts.iter().map(|(key, _)| key.date))
            .collect();
        let current = rows.digests_before(&days);
        for (day, input_digest, _) in versions.iter().filter(|(day, _, _)| *day <= production.end) {
            let current_digest = current[day].hex();
            if current_digest != *input_digest {
                stale.models.push(StaleKey {
                    key: key(*day),
                    input_digest: input_digest.clone(),
                    current_digest,
                });
            }
        }
        for (key, input_digest) in forecasts {
            let current_digest = current[&key.date].hex();
            if current_digest != *input_digest {
                stale.forecasts.push(StaleKey {
                    key: key.clone(),
                    input_digest: input_digest.clone(),
                    current_digest,
                });
            }
        }
    }
    Ok(stale)
}

/// A commodity's rows as `train` and `forecast` see them.
async fn observations(
    context: &Context,
    data: &TableSnapshot,
    commodity: &str,
    spec: &ModelSpec,
) -> Result<Observations, JobError> {
    let columns = covariate_columns(spec);
    let bucket = crate::produce::bucket_of(context, commodity)
        .map_or_else(|| commodity.to_owned(), |bucket| bucket.to_string());
    let own = |values: &[Option<String>]| {
        values.first().and_then(Option::as_deref) == Some(bucket.as_str())
    };
    let files = (0..data.files().len())
        .filter(|index| own(&data.files()[*index].partition_values))
        .collect();
    let sliced = context
        .pinned(data)
        .sliced(vec![SliceFiles { slice: 0, files }]);
    let plan = history(
        &(Arc::new(sliced) as _),
        &columns.iter().cloned().collect(),
        KeepWindow::ALL,
    )?;
    let mut rows: Vec<(Day, f64, Vec<f64>)> = vec![];
    for batch in context.query(plan).await? {
        let text = batch
            .column_by_name("commodity")
            .map(|column| column.as_string::<i32>());
        let dates = batch
            .column_by_name("date")
            .map(|column| column.as_primitive::<Date32Type>());
        let number = |name: &str, row: usize| {
            let column = batch
                .column_by_name(name)?
                .as_primitive_opt::<Float64Type>()?;
            Some(if column.is_valid(row) {
                column.value(row)
            } else {
                f64::NAN
            })
        };
        let (Some(names), Some(dates)) = (text, dates) else {
            return Err(JobError::ours("the history lacks its keys"));
        };
        for row in (0..batch.num_rows()).filter(|row| names.value(*row) == commodity) {
            let close = number("close", row).unwrap_or(f64::NAN);
            let values = columns
                .iter()
                .map(|column| number(&column.name, row).unwrap_or(f64::NAN))
                .collect();
            rows.push((dates.value(row), close, values));
        }
    }
    rows.sort_by_key(|(day, _, _)| *day);
    let mut observations = Observations {
        covariates: vec![vec![]; columns.len()],
        ..Observations::default()
    };
    for (day, close, values) in rows {
        observations.dates.push(day);
        observations.closes.push(close);
        for (column, value) in observations.covariates.iter_mut().zip(values) {
            column.push(value);
        }
    }
    Ok(observations)
}
