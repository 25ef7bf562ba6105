//! Tests that cross the files of this crate, and what they share: rows as `AssignUnits` makes
//! them, accumulators that see them in one pass or in parts, operators on a pool of their own, and
//! outcomes as plain values.

mod assigning;
mod calendars;
mod covariates;
mod failing_open;
mod look_ahead;
mod merging;
mod paths;
mod windows;

use std::sync::Arc;

use almanac_forecasters::{Day, date};
use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Float64Array, ListArray, RecordBatch, StringArray,
    StructArray,
};
use arrow::datatypes::{DataType, Date32Type, Field, Float64Type, Int32Type, Schema};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, AggregateUDF};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::scalar::ScalarValue;
use futures::TryStreamExt;

use crate::forecast::forecast;
use crate::operator::{OperatorExec, RowOperator};
use crate::origin::Origin;
use crate::spec::ModelSpec;
use crate::train::train;

/// One row of a group.
#[derive(Debug, Clone, Default)]
struct Row {
    spec: Option<String>,
    state: Option<String>,
    date: Option<Day>,
    close: Option<f64>,
    covariates: Option<Vec<Option<f64>>>,
    wanted: Option<Vec<Day>>,
    closed: Option<Vec<Day>>,
}

/// The row that brings a unit's specification into its group.
fn header(spec: &ModelSpec) -> Row {
    Row {
        spec: Some(spec.to_json()),
        ..Row::default()
    }
}

/// The row that brings a unit with a state into its group.
fn forecast_header(spec: &ModelSpec, state: &str, wanted: &[Day], closed: &[Day]) -> Row {
    Row {
        state: Some(state.to_owned()),
        wanted: Some(wanted.to_vec()),
        closed: Some(closed.to_vec()),
        ..header(spec)
    }
}

fn observed(date: Day, close: f64) -> Row {
    Row {
        date: Some(date),
        close: Some(close),
        ..Row::default()
    }
}

fn with_covariate(date: Day, close: Option<f64>, covariate: Option<f64>) -> Row {
    Row {
        date: Some(date),
        close,
        covariates: Some(vec![covariate]),
        ..Row::default()
    }
}

fn day(text: &str) -> Day {
    date::parse(text).unwrap()
}

fn is_weekday(date: Day) -> bool {
    date::weekday(date) < 5
}

/// A close that wanders, positive, the same on every run.
fn close(date: Day) -> f64 {
    let at = f64::from(date);
    100.0 + 0.01 * (at - 19_000.0) + 5.0 * (at * 0.7).sin() + 2.0 * (at * 0.11).cos()
}

/// A year and a half of weekdays that ends before `until`.
fn weekdays_before(until: Day) -> Vec<Row> {
    (until - 550..until)
        .filter(|date| is_weekday(*date))
        .map(|date| observed(date, close(date)))
        .collect()
}

const COLUMNS: [&str; 7] = [
    "spec",
    "state",
    "date",
    "close",
    "covariates",
    "wanted",
    "closed",
];

fn batch(rows: &[Row]) -> RecordBatch {
    let texts = |of: fn(&Row) -> Option<&str>| -> ArrayRef {
        Arc::new(rows.iter().map(of).collect::<StringArray>())
    };
    let dates = |of: fn(&Row) -> Option<&Vec<Day>>| -> ArrayRef {
        let lists = rows
            .iter()
            .map(|row| of(row).map(|dates| dates.iter().copied().map(Some).collect::<Vec<_>>()));
        Arc::new(ListArray::from_iter_primitive::<Date32Type, _, _>(lists))
    };
    let columns: [ArrayRef; 7] = [
        texts(|row| row.spec.as_deref()),
        texts(|row| row.state.as_deref()),
        Arc::new(rows.iter().map(|row| row.date).collect::<Date32Array>()),
        Arc::new(rows.iter().map(|row| row.close).collect::<Float64Array>()),
        Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(
            rows.iter().map(|row| row.covariates.clone()),
        )),
        dates(|row| row.wanted.as_ref()),
        dates(|row| row.closed.as_ref()),
    ];
    let fields: Vec<Field> = COLUMNS
        .iter()
        .zip(&columns)
        .map(|(name, column)| Field::new(*name, DataType::clone(column.data_type()), true))
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.to_vec()).unwrap()
}

/// The arguments of an aggregate of this crate, from rows.
fn arguments(aggregate: &AggregateUDF, rows: &[Row]) -> Vec<ArrayRef> {
    let names: &[&str] = match aggregate.name() {
        crate::train::NAME => &["spec", "date", "close", "covariates"],
        crate::forecast::NAME => &COLUMNS,
        _ => &["close"],
    };
    let batch = batch(rows);
    names
        .iter()
        .map(|name| Arc::clone(batch.column_by_name(name).unwrap()))
        .collect()
}

fn accumulator(aggregate: &AggregateUDF) -> Box<dyn Accumulator> {
    let arguments = AccumulatorArgs {
        return_field: Arc::new(Field::new("result", DataType::Null, true)),
        schema: &Schema::empty(),
        ignore_nulls: false,
        order_bys: &[],
        is_reversed: false,
        name: aggregate.name(),
        is_distinct: false,
        exprs: &[],
        expr_fields: &[],
    };
    aggregate.accumulator(arguments).unwrap()
}

fn one_pass(aggregate: &AggregateUDF, rows: &[Row]) -> ScalarValue {
    let mut group = accumulator(aggregate);
    group.update_batch(&arguments(aggregate, rows)).unwrap();
    group.evaluate().unwrap()
}

/// Parts, each a list of batches, become partial states that are merged all at once.
fn in_parts(aggregate: &AggregateUDF, parts: &[Vec<Vec<Row>>]) -> ScalarValue {
    let states: Vec<Vec<ScalarValue>> = parts
        .iter()
        .map(|batches| {
            let mut partial = accumulator(aggregate);
            for rows in batches {
                partial.update_batch(&arguments(aggregate, rows)).unwrap();
            }
            partial.state().unwrap()
        })
        .collect();
    let columns: Vec<ArrayRef> = (0..states[0].len())
        .map(|column| {
            ScalarValue::iter_to_array(states.iter().map(|state| state[column].clone())).unwrap()
        })
        .collect();
    let mut group = accumulator(aggregate);
    group.merge_batch(&columns).unwrap();
    group.evaluate().unwrap()
}

/// What `train` said about one group, but for the seconds that it took.
#[derive(Debug, Clone, PartialEq)]
struct Trained {
    state: Option<String>,
    samples: Option<i32>,
    dates: (Option<Day>, Option<Day>),
    digest: Option<String>,
    losses: (Option<u64>, Option<u64>),
    class: Option<String>,
    message: Option<String>,
}

impl Trained {
    fn of(result: &ScalarValue) -> Self {
        let ScalarValue::Struct(row) = result else {
            panic!("{result:?}");
        };
        Self::at(row, 0)
    }

    fn at(rows: &StructArray, row: usize) -> Self {
        let bits = |name: &str| {
            let column = rows
                .column_by_name(name)
                .unwrap()
                .as_primitive::<Float64Type>();
            column.is_valid(row).then(|| column.value(row).to_bits())
        };
        let samples = rows
            .column_by_name("training_samples")
            .unwrap()
            .as_primitive::<Int32Type>();
        Self {
            state: text_at(rows, "state", row),
            samples: samples.is_valid(row).then(|| samples.value(row)),
            dates: (
                date_at(rows, "training_start_date", row),
                date_at(rows, "data_cutoff_date", row),
            ),
            digest: text_at(rows, "input_digest", row),
            losses: (bits("training_loss"), bits("validation_loss")),
            class: text_at(rows, "error_class", row),
            message: text_at(rows, "error_message", row),
        }
    }

    fn failure(&self) -> (&str, &str) {
        assert_eq!(self.state, None);
        (
            self.class.as_deref().unwrap(),
            self.message.as_deref().unwrap(),
        )
    }
}

/// What `forecast` said about one wanted date.
#[derive(Debug, Clone, PartialEq)]
struct Forecast {
    start: Day,
    cutoff: Option<Day>,
    digest: Option<String>,
    origin: Option<String>,
    class: Option<String>,
    message: Option<String>,
}

impl Forecast {
    fn all(result: &ScalarValue) -> Vec<Self> {
        let ScalarValue::List(lists) = result else {
            panic!("{result:?}");
        };
        Self::list(lists, 0)
    }

    fn list(lists: &ListArray, group: usize) -> Vec<Self> {
        let rows = lists.value(group);
        let rows = rows.as_struct();
        (0..rows.len())
            .map(|row| Self {
                start: date_at(rows, "forecast_start_date", row).unwrap(),
                cutoff: date_at(rows, "data_cutoff_date", row),
                digest: text_at(rows, "input_digest", row),
                origin: text_at(rows, "origin", row),
                class: text_at(rows, "error_class", row),
                message: text_at(rows, "error_message", row),
            })
            .collect()
    }

    fn origin(&self) -> Origin {
        let text = self
            .origin
            .as_deref()
            .unwrap_or_else(|| panic!("no origin: {self:?}"));
        Origin::from_json(text).unwrap().0
    }
}

fn text_at(rows: &StructArray, name: &str, row: usize) -> Option<String> {
    let column = rows.column_by_name(name).unwrap().as_string::<i32>();
    column.is_valid(row).then(|| column.value(row).to_owned())
}

fn date_at(rows: &StructArray, name: &str, row: usize) -> Option<Day> {
    let column = rows
        .column_by_name(name)
        .unwrap()
        .as_primitive::<Date32Type>();
    column.is_valid(row).then(|| column.value(row))
}

/// The state that `train` makes of these observations.
fn state_of(spec: &ModelSpec, history: &[Row]) -> String {
    let mut rows = vec![header(spec)];
    rows.extend_from_slice(history);
    let trained = Trained::of(&one_pass(&train(), &rows));
    trained
        .state
        .clone()
        .unwrap_or_else(|| panic!("{trained:?}"))
}

/// What `forecast` says with this state about these dates, having seen these rows.
fn forecasts(spec: &ModelSpec, state: &str, rows: &[Row], wanted: &[Day]) -> Vec<Forecast> {
    forecasts_with_holidays(spec, state, rows, wanted, &[])
}

fn forecasts_with_holidays(
    spec: &ModelSpec,
    state: &str,
    rows: &[Row],
    wanted: &[Day],
    closed: &[Day],
) -> Vec<Forecast> {
    let mut all = vec![forecast_header(spec, state, wanted, closed)];
    all.extend_from_slice(rows);
    Forecast::all(&one_pass(&forecast(), &all))
}

/// What an operator makes of these batches with so many bytes to reserve, and how many of them it
/// has reserved as it hands over each.
async fn operate<T: RowOperator>(
    operator: &T,
    batches: Vec<RecordBatch>,
    limit: usize,
) -> Result<Vec<(RecordBatch, usize)>, DataFusionError> {
    let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(limit));
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::clone(&pool))
        .build_arc()?;
    let context = Arc::new(TaskContext::default().with_runtime(runtime));
    let schema = batches[0].schema();
    let input = MemorySourceConfig::try_new_exec(&[batches], schema, None)?;
    let mut stream = OperatorExec::try_new(input, operator.clone())?.execute(0, context)?;
    let mut made = vec![];
    let ended = loop {
        match stream.try_next().await {
            Ok(Some(batch)) => made.push((batch, pool.reserved())),
            Ok(None) => break Ok(made),
            Err(error) => break Err(error),
        }
    };
    drop(stream);
    assert_eq!(pool.reserved(), 0, "all is given back");
    ended
}

/// Bytes that never run out.
const PLENTY: usize = 1 << 40;

/// Asserts that an operator without enough to reserve fails, by its own name.
async fn assert_refused<T: RowOperator>(operator: &T, batches: Vec<RecordBatch>, limit: usize) {
    let error = operate(operator, batches, limit).await.unwrap_err();
    let DataFusionError::ResourcesExhausted(message) = error.find_root() else {
        panic!("{error:?}");
    };
    assert!(message.contains(&format!("{}[0]", T::NAME)), "{message}");
}
