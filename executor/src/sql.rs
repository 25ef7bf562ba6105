//! From SQL to a plan that any engine runs.

use std::sync::Arc;

use datafusion::catalog::{
    CatalogProvider, MemoryCatalogProvider, MemorySchemaProvider, SchemaProvider,
};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::SessionState;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;

use crate::engine::NamedTable;
use crate::error::EngineError;
use crate::session::CATALOG;

/// The plan of a query over these tables and the views that are made of them first. It can be
/// handed to an engine as it is: views are part of it, and it changes nothing.
pub(crate) async fn plan(
    state: SessionState,
    text: &str,
    tables: Vec<NamedTable>,
    views: &[&str],
) -> Result<LogicalPlan, EngineError> {
    let context = SessionContext::new_with_state(state);
    let catalog = Arc::new(MemoryCatalogProvider::new());
    for table in tables {
        let schema = match catalog.schema(table.schema) {
            Some(known) => known,
            None => {
                let new: Arc<dyn SchemaProvider> = Arc::new(MemorySchemaProvider::new());
                catalog.register_schema(table.schema, Arc::clone(&new))?;
                new
            }
        };
        schema.register_table(table.name.to_owned(), table.rows)?;
    }
    context.register_catalog(CATALOG, catalog);
    for view in views {
        context.sql(view).await?.collect().await?;
    }
    let options = SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false);
    let frame = context.sql_with_options(text, options).await?;
    Ok(frame.into_unoptimized_plan())
}

/// Whether a query reads any table of the lake. What reads none, or the catalog itself, is of the
/// process that asks.
pub(crate) fn reads_tables(plan: &LogicalPlan) -> Result<bool, EngineError> {
    let (mut tables, mut own) = (false, false);
    plan.apply_with_subqueries(|node| {
        match node {
            LogicalPlan::TableScan(scan) => match scan.table_name.schema() {
                Some("information_schema") => own = true,
                _ => tables = true,
            },
            LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) => own = true,
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(tables && !own)
}
