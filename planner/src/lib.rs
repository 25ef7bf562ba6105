//! Pure functions: a request and table sources in, a [`LogicalPlan`](datafusion::logical_expr::LogicalPlan) out. Nothing here runs.
//!
//! The schedule is a relation, not a loop: what is wanted joins what is present. Train and forecast
//! plans are one stage: a sliced scan, units carried to the rows, one grouping, one write.

pub mod coverage;
pub mod forecasting;
pub mod history;
pub mod points;
pub mod present;
pub mod schedule;
#[cfg(test)]
mod tests;
pub mod training;

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, col, lit};
use datafusion::scalar::ScalarValue;

/// A scan of the named columns of a table.
pub(crate) fn scan(
    name: &str,
    table: &Arc<dyn TableProvider>,
    columns: &[&str],
) -> Result<LogicalPlanBuilder> {
    let schema = table.schema();
    let projection = columns
        .iter()
        .map(|column| Ok(schema.index_of(column)?))
        .collect::<Result<Vec<_>>>()?;
    LogicalPlanBuilder::scan(
        name,
        provider_as_source(Arc::clone(table)),
        Some(projection),
    )
}

/// A date literal, from days since 1970-01-01.
pub(crate) fn date(day: i32) -> Expr {
    lit(ScalarValue::Date32(Some(day)))
}

/// `column IN (values)`.
pub(crate) fn among(column: &str, values: &[String]) -> Expr {
    col(column).in_list(
        values
            .iter()
            .map(|value| lit(value.as_str()))
            .collect::<Vec<_>>(),
        false,
    )
}

/// What every row of a run carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The run.
    pub run_id: String,
    /// When it started, in microseconds since 1970 UTC.
    pub at_micros: i64,
    /// The program.
    pub created_by: String,
}

impl Stamp {
    pub(crate) fn timestamp(&self) -> Expr {
        lit(ScalarValue::TimestampMicrosecond(
            Some(self.at_micros),
            Some("UTC".into()),
        ))
    }
}
