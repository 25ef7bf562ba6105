//! The schedule: what is wanted, minus what is present, with the model that serves it.

use std::sync::Arc;

use almanac_delta::tables::{distributions, trained_models};
use arrow::array::{ArrayRef, Date32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::TableProvider;
use datafusion::common::JoinType;
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::error::Result;
use datafusion::functions_aggregate::expr_fn::max;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, col};

use crate::present::{KeyRange, active_models, present_forecasts};

/// A training that the cadence asks for: at `date`, unless a model from `period` on is there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WantedTraining {
    /// Commodity.
    pub commodity: String,
    /// Catalog key.
    pub model_name: String,
    /// The grid date that began the period.
    pub period: i32,
    /// The date to train at.
    pub date: i32,
}

/// A forecast that the range asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WantedForecast {
    /// Commodity.
    pub commodity: String,
    /// Catalog key.
    pub model_name: String,
    /// The forecast start date.
    pub date: i32,
}

/// Trainings that are due: wanted ones whose period has no active model yet.
///
/// # Errors
/// When the table lacks a column.
pub fn due_trainings(
    wanted: &[WantedTraining],
    trained_models: &Arc<dyn TableProvider>,
    range: &KeyRange,
) -> Result<LogicalPlan> {
    use trained_models::{COMMODITY, MODEL_NAME, TRAINING_DATE};
    let relation = relation(
        "wanted",
        vec![
            (
                COMMODITY,
                texts(wanted.iter().map(|unit| unit.commodity.as_str())),
            ),
            (
                MODEL_NAME,
                texts(wanted.iter().map(|unit| unit.model_name.as_str())),
            ),
            ("period", dates(wanted.iter().map(|unit| unit.period))),
            ("due", dates(wanted.iter().map(|unit| unit.date))),
        ],
    )?;
    let models = LogicalPlanBuilder::from(active_models(trained_models, range)?)
        .alias("model")?
        .build()?;
    LogicalPlanBuilder::from(relation)
        .join(
            models,
            JoinType::LeftAnti,
            (
                vec![
                    format!("wanted.{COMMODITY}"),
                    format!("wanted.{MODEL_NAME}"),
                ],
                vec![format!("model.{COMMODITY}"), format!("model.{MODEL_NAME}")],
            ),
            Some(
                col(format!("model.{TRAINING_DATE}"))
                    .between(col("wanted.period"), col("wanted.due")),
            ),
        )?
        .sort(
            [COMMODITY, MODEL_NAME, "due"]
                .map(|name| col(format!("wanted.{name}")).sort(true, false)),
        )?
        .build()
}

/// Forecasts that are missing, each with the training date of the newest active model that is not
/// younger than it (null when there is none).
///
/// # Errors
/// When a table lacks a column.
pub fn due_forecasts(
    wanted: &[WantedForecast],
    distributions: &Arc<dyn TableProvider>,
    trained_models: &Arc<dyn TableProvider>,
    range: &KeyRange,
    paths: i32,
) -> Result<LogicalPlan> {
    use distributions::{COMMODITY, FORECAST_START_DATE, MODEL_NAME};
    let relation = relation(
        "wanted",
        vec![
            (
                COMMODITY,
                texts(wanted.iter().map(|unit| unit.commodity.as_str())),
            ),
            (
                MODEL_NAME,
                texts(wanted.iter().map(|unit| unit.model_name.as_str())),
            ),
            ("day", dates(wanted.iter().map(|unit| unit.date))),
        ],
    )?;
    let present = present_forecasts(distributions, range, paths)?;
    let present = LogicalPlanBuilder::from(present)
        .alias("present")?
        .build()?;
    let models = LogicalPlanBuilder::from(active_models(trained_models, range)?)
        .alias("model")?
        .build()?;
    let pair = |table: &str| {
        vec![
            format!("{table}.{COMMODITY}"),
            format!("{table}.{MODEL_NAME}"),
        ]
    };
    let key = |table: &str, day: &str| {
        let mut key = pair(table);
        key.push(format!("{table}.{day}"));
        key
    };
    LogicalPlanBuilder::from(relation)
        .join(
            present,
            JoinType::LeftAnti,
            (key("wanted", "day"), key("present", FORECAST_START_DATE)),
            None,
        )?
        .join(
            models,
            JoinType::Left,
            (pair("wanted"), pair("model")),
            Some(col("model.training_date").lt_eq(col("wanted.day"))),
        )?
        .aggregate(
            key("wanted", "day").into_iter().map(col),
            vec![max(col("model.training_date")).alias(trained_models::TRAINING_DATE)],
        )?
        .sort(
            key("wanted", "day")
                .into_iter()
                .map(|name| col(name).sort(true, false)),
        )?
        .build()
}

fn texts<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn dates(values: impl Iterator<Item = i32>) -> ArrayRef {
    Arc::new(Date32Array::from_iter_values(values))
}

/// A request as a relation.
fn relation(name: &str, columns: Vec<(&str, ArrayRef)>) -> Result<LogicalPlan> {
    let field = |(name, values): &(&str, ArrayRef)| {
        Field::new(*name, DataType::clone(values.data_type()), false)
    };
    let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    let batch = RecordBatch::try_new(
        Arc::clone(&schema),
        columns.into_iter().map(|(_, values)| values).collect(),
    )?;
    let table = MemTable::try_new(schema, vec![vec![batch]])?;
    LogicalPlanBuilder::scan(name, provider_as_source(Arc::new(table)), None)?.build()
}
