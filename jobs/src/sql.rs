//! SQL over the lake.

use std::collections::{BTreeMap, BTreeSet};

use almanac_delta::TableName;
use almanac_executor::NamedTable;
use almanac_planner::present::KeyRange;
use almanac_udfs::forecasters::Day;
use arrow::array::RecordBatch;

use crate::context::{Context, Rows};
use crate::error::JobError;
use crate::report::print_rows;

/// The newest whole forecast of each commodity, model and version.
const LATEST_FORECASTS: &str = "CREATE VIEW forecast.latest_forecasts AS
    SELECT d.* FROM forecast.distributions d
    JOIN (SELECT commodity, model_name, model_version, max(forecast_start_date) AS newest
          FROM forecast.distributions WHERE path_id = 1 GROUP BY commodity, model_name, model_version) l
    ON d.commodity = l.commodity AND d.model_name = l.model_name AND d.model_version = l.model_version
       AND d.forecast_start_date = l.newest
    WHERE NOT d.is_actuals";

/// Prints the rows of a query.
pub async fn sql(context: &Context, query: &str, as_of: &[(String, u64)]) -> Result<(), JobError> {
    print_rows(&rows(context, query, as_of).await?, context.settings.json)
}

/// The rows of a query over the lake, some tables at older versions.
pub async fn rows(
    context: &Context,
    query: &str,
    as_of: &[(String, u64)],
) -> Result<Vec<RecordBatch>, JobError> {
    let mut versions: BTreeMap<TableName, u64> = BTreeMap::new();
    for (name, version) in as_of {
        let table: TableName =
            name.parse()
                .map_err(|error: almanac_delta::tables::UnknownTable| {
                    JobError::user(error.to_string(), "write --as-of TABLE=VERSION")
                })?;
        versions.insert(table, *version);
    }
    let mut tables = vec![];
    for table in TableName::ALL {
        let snapshot = match versions.get(&table) {
            Some(version) => context.lake.table_at(table, *version).await?,
            None => context.lake.table(table).await?,
        };
        tables.push(NamedTable {
            schema: table.schema_name(),
            name: table.short_name(),
            rows: context.source(&snapshot),
        });
    }
    let found = context.engine.sql(query, tables, &[LATEST_FORECASTS]).await;
    found.map_err(|error| match error {
        almanac_executor::EngineError::Query(error)
            if !matches!(
                error.find_root(),
                datafusion::error::DataFusionError::ResourcesExhausted(_)
            ) =>
        {
            let message = error.strip_backtrace();
            let hint = hint(&message);
            JobError::user(format!("the query failed: {message}"), hint)
        }
        other => other.into(),
    })
}

/// What to do about a query that fails with this message.
fn hint(message: &str) -> &'static str {
    if message.contains("table '") && message.contains("not found") {
        "tables: silver.unified_data, silver.calendar, forecast.distributions, forecast.point_forecasts, \
         forecast.trained_models, forecast.latest_forecasts, forecast.job_runs, forecast.job_failures"
    } else if ["DML", "DDL", "Statement"]
        .iter()
        .any(|word| message.contains(word))
    {
        "queries only read, one at a time; `ingest`, `backfill` and `delete` write"
    } else {
        "DESCRIBE a table to see its columns; almanac's functions are train, forecast, draw and path_quantile"
    }
}

/// A text as a literal of a query.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// For each stored version the keys that span all of its models and forecasts.
pub async fn versions(context: &Context) -> Result<Vec<KeyRange>, JobError> {
    let query =
        "SELECT model_version, commodity, model_name, min(day) AS first_day, max(day) AS last_day
        FROM (
            SELECT model_version, commodity, model_name, training_date AS day FROM trained_models
            UNION ALL
            SELECT model_version, commodity, model_name, forecast_start_date AS day
            FROM distributions WHERE path_id = 1
        )
        GROUP BY model_version, commodity, model_name";
    let mut versions: BTreeMap<String, (BTreeSet<String>, BTreeSet<String>, Day, Day)> =
        BTreeMap::new();
    for batch in rows(context, query, &[]).await? {
        let rows = Rows(&batch);
        for row in 0..rows.len() {
            let days = (rows.day("first_day", row)?, rows.day("last_day", row)?);
            let (commodities, models, start, end) = versions
                .entry(rows.text("model_version", row)?)
                .or_insert_with(|| (BTreeSet::new(), BTreeSet::new(), days.0, days.1));
            commodities.insert(rows.text("commodity", row)?);
            models.insert(rows.text("model_name", row)?);
            *start = days.0.min(*start);
            *end = days.1.max(*end);
        }
    }
    let ranges = versions
        .into_iter()
        .map(|(version, (commodities, models, start, end))| KeyRange {
            commodities: commodities.into_iter().collect(),
            model_names: models.into_iter().collect(),
            model_version: version,
            start,
            end,
        });
    Ok(ranges.collect())
}
