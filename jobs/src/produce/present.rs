//! Forecasts that are there, and refusals of requests that differ from what they were made with.

use std::collections::BTreeMap;

use almanac_delta::TableSnapshot;
use almanac_delta::manifest::UnitKey;
use almanac_delta::tables::distributions;
use almanac_planner::present::{KeyRange, present_forecasts};
use almanac_udfs::forecasters::date;

use super::Production;
use crate::context::{Context, Rows};
use crate::error::JobError;
use crate::sql::quoted;

/// What is known of a present forecast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// How often it was made again.
    pub revision: i64,
    /// What it rests on.
    pub input_digest: String,
}

/// The forecasts that are there. A key made with another number of paths is refused.
pub async fn present_keys(
    context: &Context,
    production: &Production,
    table: &TableSnapshot,
    range: &KeyRange,
) -> Result<BTreeMap<UnitKey, Present>, JobError> {
    let paths = i32::try_from(production.paths).unwrap_or(i32::MAX);
    let mut present = BTreeMap::new();
    for (key, made, whole) in looked_at(context, table, range, paths).await? {
        if !whole {
            let stored = format!("{} paths", stored_paths(context, &key).await?);
            return Err(refused(&key, &stored, &format!("--paths {paths}")));
        }
        present.insert(key, made);
    }
    Ok(present)
}

/// The forecasts that are there, however many paths they have.
pub async fn present_keys_of_any_shape(
    context: &Context,
    table: &TableSnapshot,
    range: &KeyRange,
) -> Result<BTreeMap<UnitKey, Present>, JobError> {
    let found = looked_at(context, table, range, 1).await?;
    Ok(found
        .into_iter()
        .map(|(key, made, _)| (key, made))
        .collect())
}

/// Each key that is there, and whether it has as many paths as this.
async fn looked_at(
    context: &Context,
    table: &TableSnapshot,
    range: &KeyRange,
    paths: i32,
) -> Result<Vec<(UnitKey, Present, bool)>, JobError> {
    let plan = present_forecasts(&context.source(table), range, paths)?;
    let mut found = vec![];
    for batch in context.query(plan).await? {
        let rows = Rows(&batch);
        for row in 0..rows.len() {
            let date = distributions::FORECAST_START_DATE;
            let key = rows.key(&range.model_version, date, row)?;
            let made = Present {
                revision: rows.number(distributions::REVISION, row)?,
                input_digest: rows.text(distributions::INPUT_DIGEST, row)?,
            };
            // The first path and the last are looked at, and the one that would come after it.
            let looked_at = if paths == 1 { 1 } else { 2 };
            let whole = rows.number("newest_path", row)? == i64::from(paths)
                && rows.number("looked_at", row)? == looked_at;
            found.push((key, made, whole));
        }
    }
    Ok(found)
}

/// How many paths a stored forecast has.
async fn stored_paths(context: &Context, key: &UnitKey) -> Result<i64, JobError> {
    let query = format!(
        "SELECT CAST(max(path_id) AS BIGINT) AS paths FROM distributions WHERE commodity = {} AND model_name = {} \
         AND model_version = {} AND forecast_start_date = DATE '{}'",
        quoted(&key.commodity),
        quoted(&key.model_name),
        quoted(&key.model_version),
        date::format(key.date)
    );
    let batches = crate::sql::rows(context, &query, &[]).await?;
    batches
        .first()
        .map_or(Ok(0), |batch| Rows(batch).number("paths", 0))
}

/// A present key that was made differently.
pub fn refused(key: &UnitKey, stored: &str, request: &str) -> JobError {
    JobError::user(
        format!(
            "the forecast of `{}` by `{}` version `{}` for {} is there with {stored}; the request says {request}",
            key.commodity,
            key.model_name,
            key.model_version,
            date::format(key.date)
        ),
        "repeat what it was made with, use another --model-version, or delete the range first",
    )
}
