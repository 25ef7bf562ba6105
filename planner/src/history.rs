//! The history: one row for each slice, commodity and calendar day, regions reduced.
//!
//! Days without a close stay, for their covariates; the calendar, the lag and the carrying of
//! covariates belong to a model and are applied inside its group, from the rows dated before the
//! day in question and no others.

use std::collections::BTreeSet;
use std::sync::Arc;

use almanac_delta::tables::unified_data::{CLOSE, COMMODITY, DATE, REGION};
use almanac_udfs::assign::{SLICE, TABLE_ROWS};
use almanac_udfs::operator::apply;
use almanac_udfs::region_first::region_first;
use almanac_udfs::region_mean::region_mean;
use almanac_udfs::spec::{ModelSpec, Regions};
use almanac_udfs::window::KeepWindow;
use arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::functions_aggregate::expr_fn::sum;
use datafusion::logical_expr::{
    ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, cast, col, ident, lit,
};

use crate::scan;

/// One covariate of the history: a table column and how its regions are reduced.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HistoryColumn {
    /// Column of the table.
    pub source: String,
    /// Column of the history.
    pub name: String,
    reduction: Reduction,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Reduction {
    Mean,
    First,
    One(String),
}

/// The history columns of a model's covariates, in the order of its specification.
#[must_use]
pub fn covariate_columns(spec: &ModelSpec) -> Vec<HistoryColumn> {
    let columns =
        spec.covariates.iter().map(
            |covariate| match (spec.regions, covariate.split_once('@')) {
                (Regions::Pivot, Some((source, region))) => HistoryColumn {
                    source: source.to_owned(),
                    name: covariate.clone(),
                    reduction: Reduction::One(region.to_owned()),
                },
                (Regions::First, _) => HistoryColumn {
                    source: covariate.clone(),
                    name: format!("{covariate}:first"),
                    reduction: Reduction::First,
                },
                _ => HistoryColumn {
                    source: covariate.clone(),
                    name: covariate.clone(),
                    reduction: Reduction::Mean,
                },
            },
        );
    columns.collect()
}

/// The history of every slice, with these covariates: the days of the window, and stand-ins for
/// the rest.
///
/// # Errors
/// When the table lacks a column.
pub fn history(
    unified_data: &Arc<dyn TableProvider>,
    covariates: &BTreeSet<HistoryColumn>,
    window: KeepWindow,
) -> Result<LogicalPlan> {
    let mut columns = vec![DATE, COMMODITY, REGION, CLOSE, SLICE];
    for covariate in covariates {
        if unified_data.schema().index_of(&covariate.source).is_err() {
            return plan_err!("unified_data has no column `{}`", covariate.source);
        }
        if !columns.contains(&covariate.source.as_str()) {
            columns.push(&covariate.source);
        }
    }
    let mut aggregates = vec![
        region_first()
            .call(vec![ident(CLOSE), col(REGION)])
            .alias(CLOSE),
        sum(col(TABLE_ROWS)).alias(TABLE_ROWS),
    ];
    for covariate in covariates {
        let values = cast(ident(&covariate.source), DataType::Float64);
        let reduced = match &covariate.reduction {
            Reduction::Mean => region_mean().call(vec![values]),
            Reduction::First => region_first().call(vec![values, col(REGION)]),
            Reduction::One(region) => region_mean()
                .call(vec![values])
                .filter(col(REGION).eq(lit(region.as_str())))
                .build()?,
        };
        aggregates.push(reduced.alias(&covariate.name));
    }
    let rows = scan("unified_data", unified_data, &columns)?.build()?;
    LogicalPlanBuilder::from(apply(rows, window)?)
        .aggregate(vec![col(SLICE), col(COMMODITY), col(DATE)], aggregates)?
        .build()
}
