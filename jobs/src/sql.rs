//! SQL over the lake.

use std::collections::BTreeMap;

use almanac_delta::TableName;
use almanac_executor::NamedTable;
use arrow::array::RecordBatch;

use crate::context::{Context, Rows};
use crate::error::JobError;
use crate::produce::Production;
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
            if !matches!(error.find_root(), datafusion::error::DataFusionError::ResourcesExhausted(_)) =>
        {
            JobError::user(
                format!("the query failed: {}", error.strip_backtrace()),
                "tables: silver.unified_data, silver.calendar, forecast.distributions, forecast.point_forecasts, \
                 forecast.trained_models, forecast.latest_forecasts, forecast.job_runs, forecast.job_failures",
            )
        }
        other => other.into(),
    })
}

/// A text as a literal of a query.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// For each stored version a request that spans all of its forecasts.
pub async fn versions(context: &Context) -> Result<Vec<Production>, JobError> {
    let query = "SELECT m.model_version, m.commodity, m.model_name, min(m.training_date) AS first_trained,
            max(m.training_date) AS last_trained, max(p.first_start) AS first_start, max(p.last_start) AS last_start,
            max(p.paths) AS paths, max(p.horizon) AS horizon
        FROM trained_models m
        LEFT JOIN (
            SELECT d.commodity, d.model_name, d.model_version, min(d.forecast_start_date) AS first_start,
                max(d.forecast_start_date) AS last_start, max(d.path_id) AS paths, CAST(14 AS INT) AS horizon
            FROM distributions d WHERE NOT d.is_actuals GROUP BY d.commodity, d.model_name, d.model_version
        ) p ON p.commodity = m.commodity AND p.model_name = m.model_name AND p.model_version = m.model_version
        GROUP BY m.model_version, m.commodity, m.model_name
        ORDER BY m.model_version, m.commodity, m.model_name";
    let mut requests = vec![];
    for batch in rows(context, query, &[]).await? {
        let rows = Rows(&batch);
        for row in 0..rows.len() {
            let trained = (
                rows.day("first_trained", row)?,
                rows.day("last_trained", row)?,
            );
            let start = rows
                .date("first_start", row)?
                .unwrap_or(trained.0)
                .min(trained.0);
            let end = rows
                .date("last_start", row)?
                .unwrap_or(trained.1)
                .max(trained.1);
            let spec = almanac_udfs::spec::ModelSpec::of_family("naive");
            requests.push(Production {
                commodities: vec![rows.text("commodity", row)?],
                models: BTreeMap::from([(rows.text("model_name", row)?, spec)]),
                own_specs: BTreeMap::new(),
                model_version: rows.text("model_version", row)?,
                start,
                end,
                frequency: "monthly".to_owned(),
                paths: usize::try_from(rows.number("paths", row)?.max(1)).unwrap_or(1),
                horizon: usize::try_from(rows.number("horizon", row)?).unwrap_or(14),
            });
        }
    }
    Ok(requests)
}
