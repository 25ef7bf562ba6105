//! The plan that makes missing point forecasts from stored paths.

use std::sync::Arc;

use almanac_delta::manifest::UnitKey;
use almanac_delta::tables::distributions as table;
use almanac_delta::write::{WriteSpec, write};
use almanac_udfs::assign::SLICE;
use almanac_udfs::draw::day_column;
use almanac_udfs::forecast::HORIZON;
use almanac_udfs::operator::apply;
use almanac_udfs::summarize::SummarizePaths;
use arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, col, lit};
use datafusion::scalar::ScalarValue;

use crate::{date, scan};

/// The plan that summarises these keys' paths. The slices of `distributions` are whole files.
///
/// # Errors
/// When the table lacks a column.
pub fn points(
    distributions: &Arc<dyn TableProvider>,
    keys: &[UnitKey],
    dated: bool,
    target: Arc<WriteSpec>,
) -> Result<LogicalPlan> {
    let bucketed = distributions.schema().index_of("series_bucket").is_ok();
    let mut kept = vec![
        SLICE,
        table::COMMODITY,
        table::MODEL_NAME,
        table::MODEL_VERSION,
        table::FORECAST_START_DATE,
        table::DATA_CUTOFF_DATE,
        table::GENERATION_TIMESTAMP,
        table::INPUT_DIGEST,
        table::HAS_DATA_LEAKAGE,
        table::REVISION,
        table::RUN_ID,
        table::PATH_ID,
    ];
    if bucketed {
        kept.insert(1, "series_bucket");
    }
    let days: Vec<String> = (1..=HORIZON).map(day_column).collect();
    let columns: Vec<&str> = kept
        .iter()
        .copied()
        .chain(days.iter().map(String::as_str))
        .collect();
    // The scan's order is the table's; the projection puts the key columns before the paths.
    let rows = scan("distributions", distributions, &columns)?
        .filter(keys_filter(keys))?
        .project(columns.iter().map(|name| col(*name)))?
        .build()?;
    let summarised = apply(rows, SummarizePaths { dated })?;
    let mut outputs: Vec<Expr> = summarised
        .schema()
        .columns()
        .into_iter()
        .map(Expr::Column)
        .collect();
    outputs.push(lit(true).alias(almanac_delta::tables::point_forecasts::MODEL_SUCCESS));
    if !bucketed {
        outputs.push(lit(ScalarValue::try_from(&DataType::Int32)?).alias("series_bucket"));
    }
    write(
        LogicalPlanBuilder::from(summarised)
            .project(outputs)?
            .build()?,
        target,
    )
}

/// True for rows of these keys.
fn keys_filter(keys: &[UnitKey]) -> Expr {
    let mut filter: Option<Expr> = None;
    let same = |a: &UnitKey, b: &UnitKey| {
        (&a.commodity, &a.model_name, &a.model_version)
            == (&b.commodity, &b.model_name, &b.model_version)
    };
    for group in keys.chunk_by(same) {
        let first = &group[0];
        let dates = group.iter().map(|key| date(key.date)).collect();
        let own = col(table::COMMODITY)
            .eq(lit(first.commodity.as_str()))
            .and(col(table::MODEL_NAME).eq(lit(first.model_name.as_str())))
            .and(col(table::MODEL_VERSION).eq(lit(first.model_version.as_str())))
            .and(col(table::FORECAST_START_DATE).in_list(dates, false));
        filter = Some(filter.map_or(own.clone(), |known| known.or(own)));
    }
    filter.unwrap_or_else(|| lit(false))
}
