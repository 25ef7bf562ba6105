//! Arrow on one side, forecasters on the other: the aggregates that train and forecast, the row
//! operators that carry units to rows and expand origins to paths, and that last step as a function.
//!
//! Everything here is found by name, so that a plan that names it runs on any engine that has
//! called [`register_all`] and plans with [`operators`].

pub mod assign;
pub mod draw;
pub mod expand;
mod failure;
pub mod forecast;
pub mod observations;
pub mod operator;
mod origin;
pub mod path_quantile;
pub mod points;
pub mod region_first;
pub mod region_mean;
pub mod score;
pub mod spec;
mod steps;
pub mod summarize;
#[cfg(test)]
mod tests;
pub mod train;
pub mod window;

pub use almanac_forecasters as forecasters;

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use datafusion::physical_planner::ExtensionPlanner;

/// Every aggregate of this crate. Registration, help and workers read this list.
#[must_use]
pub fn aggregates() -> Vec<Arc<AggregateUDF>> {
    vec![
        train::train(),
        forecast::forecast(),
        region_first::region_first(),
        region_mean::region_mean(),
        path_quantile::path_quantile(),
    ]
}

/// Every other function of this crate.
#[must_use]
pub fn functions() -> Vec<Arc<ScalarUDF>> {
    vec![draw::draw()]
}

/// Makes the functions of this crate known by name.
///
/// # Errors
/// When the registry refuses a function.
pub fn register_all(registry: &mut dyn FunctionRegistry) -> Result<()> {
    for aggregate in aggregates() {
        registry.register_udaf(aggregate)?;
    }
    for function in functions() {
        registry.register_udf(function)?;
    }
    Ok(())
}

/// Plans the row operators of this crate.
#[must_use]
pub fn operators() -> Vec<Arc<dyn ExtensionPlanner + Send + Sync>> {
    vec![
        Arc::new(operator::OperatorPlanner::<window::KeepWindow>::default()),
        Arc::new(operator::OperatorPlanner::<assign::AssignUnits>::default()),
        Arc::new(operator::OperatorPlanner::<expand::ExpandPaths>::default()),
        Arc::new(operator::OperatorPlanner::<score::ScoreForecasts>::default()),
        Arc::new(operator::OperatorPlanner::<summarize::SummarizePaths>::default()),
    ]
}
