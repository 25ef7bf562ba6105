//! Keys that rest on older input: their digest is not that of the data as it is now.

use std::collections::{BTreeMap, BTreeSet};

use almanac_delta::manifest::UnitKey;
use almanac_delta::provider::SliceFiles;
use almanac_delta::{TableName, TableSnapshot};
use almanac_planner::history::{HistoryColumn, covariate_columns, history};
use almanac_planner::present::{KeyRange, active_models};
use almanac_udfs::forecast::current_digests;
use almanac_udfs::forecasters::{Day, Digest, date};
use almanac_udfs::observations::Observations;
use almanac_udfs::spec::ModelSpec;
use almanac_udfs::window::KeepWindow;
use arrow::array::{Array, AsArray};
use arrow::datatypes::{Date32Type, Float64Type};
use serde::{Serialize, Serializer};
use std::sync::Arc;

use crate::context::{Context, Rows};
use crate::error::JobError;
use crate::holidays::closed_days;
use crate::produce::{bucket_of, present_forecasts_of};

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

/// The stored models of one commodity and catalog key.
type Series = ((String, String), Vec<Trained>);

/// The stale keys of a range.
pub async fn stale(context: &Context, range: &KeyRange) -> Result<Stale, JobError> {
    let data = context.lake.table(TableName::UnifiedData).await?;
    let models = context.lake.table(TableName::TrainedModels).await?;
    // A model older than the range may serve it; one that serves nothing there is not asked about.
    let mut trained: BTreeMap<(String, String), Vec<Trained>> = BTreeMap::new();
    for batch in context
        .query(active_models(&context.source(&models), range)?)
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
    let present = present_forecasts_of(context, range).await?;
    let calendar = context.lake.table(TableName::Calendar).await?;
    let closed = closed_days(&context.lake, &calendar, &context.lake.settings().holidays).await?;
    let mut forecasts: BTreeMap<(&str, &str), Vec<(&UnitKey, &String)>> = BTreeMap::new();
    for (key, digest) in &present {
        let series = (key.commodity.as_str(), key.model_name.as_str());
        forecasts.entry(series).or_default().push((key, digest));
    }
    // Series that read the same columns of the same files are read together.
    let mut together: BTreeMap<(String, BTreeSet<HistoryColumn>), Vec<Series>> = BTreeMap::new();
    for ((commodity, model_name), mut versions) in trained {
        versions.sort_by_key(|(day, _, _)| *day);
        if let Some((_, _, spec)) = versions.last() {
            let columns = covariate_columns(spec).into_iter().collect();
            let partition = bucket_of(context, &commodity);
            let partition = partition.map_or_else(|| commodity.clone(), |own| own.to_string());
            together
                .entry((partition, columns))
                .or_default()
                .push(((commodity, model_name), versions));
        }
    }
    let mut stale = Stale::default();
    for ((partition, columns), series) in together {
        let histories = histories(context, &data, &partition, &columns).await?;
        for ((commodity, model_name), versions) in series {
            let made = forecasts.get(&(commodity.as_str(), model_name.as_str()));
            let made = made.map_or(&[][..], Vec::as_slice);
            let Some((_, _, spec)) = versions.last() else {
                continue;
            };
            let rows = observations(histories.get(&commodity), &columns, spec);
            let days: BTreeSet<Day> = versions.iter().map(|(day, _, _)| *day).collect();
            let current = rows.digests_before(&days);
            for (day, input_digest, _) in versions.iter().filter(|(day, _, _)| *day <= range.end) {
                let current_digest = current[day].hex();
                if current_digest != *input_digest {
                    stale.models.push(StaleKey {
                        key: UnitKey {
                            commodity: commodity.clone(),
                            model_name: model_name.clone(),
                            model_version: range.model_version.clone(),
                            date: *day,
                        },
                        input_digest: input_digest.clone(),
                        current_digest,
                    });
                }
            }
            // A forecast whose model is gone cannot be made again, so it is not asked about.
            let serving = made.iter().filter_map(|(key, _)| {
                let later = versions.partition_point(|(day, _, _)| *day <= key.date);
                let (_, input_digest, _) = &versions[later.checked_sub(1)?];
                Some((key.date, Digest::from_hex(input_digest)?))
            });
            let serving: BTreeMap<Day, Digest> = serving.collect();
            let current = current_digests(&rows, spec, &closed, &serving);
            for (key, input_digest) in made {
                let Some(digest) = current.get(&key.date) else {
                    continue;
                };
                let current_digest = digest.hex();
                if current_digest != **input_digest {
                    stale.forecasts.push(StaleKey {
                        key: (*key).clone(),
                        input_digest: (*input_digest).clone(),
                        current_digest,
                    });
                }
            }
        }
    }
    for keys in [&mut stale.models, &mut stale.forecasts] {
        keys.sort_by(|a, b| a.key.cmp(&b.key));
    }
    Ok(stale)
}

/// One day of a history: its close and the values of its columns; NaN where there is none.
type HistoryRow = (Day, f64, Vec<f64>);

/// The histories in one partition of the data, by commodity.
async fn histories(
    context: &Context,
    data: &TableSnapshot,
    partition: &str,
    columns: &BTreeSet<HistoryColumn>,
) -> Result<BTreeMap<String, Vec<HistoryRow>>, JobError> {
    let own =
        |values: &[Option<String>]| values.first().and_then(Option::as_deref) == Some(partition);
    let files = (0..data.files().len())
        .filter(|index| own(&data.files()[*index].partition_values))
        .collect();
    let sliced = context
        .pinned(data)
        .sliced(vec![SliceFiles { slice: 0, files }]);
    let plan = history(&(Arc::new(sliced) as _), columns, KeepWindow::ALL)?;
    let mut histories: BTreeMap<String, Vec<HistoryRow>> = BTreeMap::new();
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
        for row in 0..batch.num_rows() {
            let close = number("close", row).unwrap_or(f64::NAN);
            let values = columns
                .iter()
                .map(|column| number(&column.name, row).unwrap_or(f64::NAN))
                .collect();
            let own = histories.entry(names.value(row).to_owned()).or_default();
            own.push((dates.value(row), close, values));
        }
    }
    for rows in histories.values_mut() {
        rows.sort_by_key(|(day, _, _)| *day);
    }
    Ok(histories)
}

/// A commodity's rows as `train` and `forecast` see them: the columns in its specification's order.
fn observations(
    history: Option<&Vec<HistoryRow>>,
    columns: &BTreeSet<HistoryColumn>,
    spec: &ModelSpec,
) -> Observations {
    let history = history.map_or(&[][..], Vec::as_slice);
    let places: Vec<Option<usize>> = covariate_columns(spec)
        .iter()
        .map(|wanted| columns.iter().position(|column| column == wanted))
        .collect();
    let column = |place: Option<usize>| -> Vec<f64> {
        let value = |row: &HistoryRow| place.map_or(f64::NAN, |place| row.2[place]);
        history.iter().map(value).collect()
    };
    Observations {
        dates: history.iter().map(|row| row.0).collect(),
        closes: history.iter().map(|row| row.1).collect(),
        covariates: places.into_iter().map(column).collect(),
        unfit: None,
    }
}
