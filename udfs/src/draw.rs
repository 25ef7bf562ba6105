//! One origin drawn to paths, and the paths summarised: the one place where that is done, for the
//! operator that expands a slice and for queries.
//!
//! In a query it is `draw(origin, commodity, model_name, model_version, forecast_start_date,
//! paths)`, over an origin that `forecast` made: a struct that either holds the lists `paths` and
//! `points`, the same to the byte as a job would store, or says why there are none.

use std::sync::Arc;

use almanac_forecasters::quantiles::{Summariser, Summary};
use almanac_forecasters::{Ahead, Day, Paths, Streams, family};
use arrow::array::{
    Array, ArrayRef, AsArray, Float32Array, Int32Array, ListArray, StringArray, StructArray,
    new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::concat;
use arrow::datatypes::{DataType, Date32Type, Field, Fields, Int64Type};
use datafusion::common::{Result as QueryResult, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::expand::{PATHS, POINTS, paths_type, points_type};
use crate::failure::{Failure, guarded};
use crate::forecast::HORIZON;
use crate::origin::Origin;
use crate::points::{points, quantile};
use crate::score::stream_key;

/// The name of a path's column for day `day` (1-based).
#[must_use]
pub fn day_column(day: usize) -> String {
    format!("day_{day}")
}

/// Fields of one path, in order.
pub(crate) fn path_fields() -> Fields {
    let days = (1..=HORIZON).map(|day| Field::new(day_column(day), DataType::Float32, true));
    std::iter::once(Field::new("path_id", DataType::Int32, true))
        .chain(days)
        .collect()
}

/// Draws forecasts of one shape.
pub(crate) struct Draw {
    paths: usize,
    horizon: usize,
    summariser: Summariser,
}

/// One forecast: its paths, a row each, and its points, a row for each day.
#[derive(Clone)]
pub(crate) struct Drawn {
    pub paths: StructArray,
    pub points: StructArray,
}

impl Draw {
    /// Forecasts of so many paths, in which the days beyond the horizon are null.
    pub fn new(paths: usize, horizon: usize) -> Self {
        Self {
            paths,
            horizon,
            summariser: Summariser::new(),
        }
    }

    /// Draws one origin. Its random stream is keyed by `names` (commodity, model and version), the
    /// start and the seed alone.
    pub fn forecast(
        &mut self,
        origin: &str,
        names: [&str; 3],
        start: Day,
    ) -> Result<Drawn, Failure> {
        let (origin, state) = Origin::from_json(origin)?;
        let forecaster = family(&origin.family).ok_or_else(|| {
            Failure::new("parameter", format!("no model family `{}`", origin.family))
        })?;
        let key = stream_key(names, start, origin.seed);
        let horizon = self.horizon.min(origin.steps.len());
        let shown = &origin.steps[..horizon];
        let steps = usize::from(shown.iter().copied().max().unwrap_or(0));
        let regressors: Vec<Vec<f64>> = origin
            .regressors
            .iter()
            .map(|column| {
                column
                    .iter()
                    .take(steps)
                    .map(|value| value.unwrap_or(f64::NAN))
                    .collect()
            })
            .collect();
        let ahead = Ahead {
            steps,
            dates: &origin.dates_of(steps),
            regressors: &regressors,
        };
        let paths = forecaster
            .simulate(&state, ahead, self.paths, &Streams::new(&key))
            .map_err(|error| Failure::of_state(error, &origin.covariates))?;
        let last = origin
            .range
            .last()
            .ok_or_else(|| Failure::new("state_corrupt", "a state without a last value"))?;

        // Step 0 is the last close; a closed day shows the step before it again.
        let mut steps_drawn: Vec<Option<(ArrayRef, Summary)>> = vec![None; steps + 1];
        let ids = Int32Array::from_iter_values((1..).take(self.paths));
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(1 + HORIZON);
        columns.push(Arc::new(ids));
        let mut summaries = Vec::with_capacity(horizon);
        for step in shown.iter().map(|step| usize::from(*step)) {
            if steps_drawn[step].is_none() {
                let values = stored(&paths, step, self.paths, last);
                steps_drawn[step] = Some(self.column(values, step, &origin)?);
            }
            if let Some((array, summary)) = &steps_drawn[step] {
                columns.push(Arc::clone(array));
                summaries.push(*summary);
            }
        }
        columns.resize_with(1 + HORIZON, || {
            new_null_array(&DataType::Float32, self.paths)
        });
        let internal = |error: String| Failure::new("internal", error);
        let paths = StructArray::try_new(path_fields(), columns, None)
            .map_err(|error| internal(error.to_string()))?;
        let points = points(origin.dated.then_some(start), &summaries)
            .map_err(|error| internal(error.to_string()))?;
        Ok(Drawn { paths, points })
    }

    fn column(
        &mut self,
        values: Vec<f32>,
        step: usize,
        origin: &Origin,
    ) -> Result<(ArrayRef, Summary), Failure> {
        let summary = self.summariser.summarise(&values).ok_or_else(|| {
            Failure::new("absurd", format!("a path is not finite at step {step}"))
        })?;
        let lowest = values.iter().copied().fold(f32::INFINITY, f32::min);
        let median = quantile(&summary, 0.5);
        match origin
            .range
            .objection(step, lowest, median)
            .filter(|_| step > 0)
        {
            Some(objection) => Err(Failure::new("absurd", objection)),
            None => Ok((Arc::new(Float32Array::from(values)), summary)),
        }
    }
}

fn stored(paths: &Paths, step: usize, count: usize, last: f64) -> Vec<f32> {
    #[expect(clippy::cast_possible_truncation, reason = "paths are stored as FLOAT")]
    match step {
        0 => vec![last as f32; count],
        step => paths
            .step(step - 1)
            .iter()
            .map(|value| *value as f32)
            .collect(),
    }
}

/// The function's name in SQL.
pub const NAME: &str = "draw";

/// The function.
#[must_use]
pub fn draw() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(DrawFunction::default()))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct DrawFunction {
    signature: Signature,
}

impl Default for DrawFunction {
    fn default() -> Self {
        let arguments = vec![
            DataType::Utf8,
            DataType::Utf8,
            DataType::Utf8,
            DataType::Utf8,
            DataType::Date32,
            DataType::Int64,
        ];
        Self {
            signature: Signature::exact(arguments, Volatility::Immutable),
        }
    }
}

fn drawn_fields() -> Fields {
    Fields::from(vec![
        Field::new(PATHS, paths_type(), true),
        Field::new(POINTS, points_type(), true),
        Field::new("error_class", DataType::Utf8, true),
        Field::new("error_message", DataType::Utf8, true),
    ])
}

impl ScalarUDFImpl for DrawFunction {
    fn name(&self) -> &str {
        NAME
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _: &[DataType]) -> QueryResult<DataType> {
        Ok(DataType::Struct(drawn_fields()))
    }
    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> QueryResult<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&arguments.args)?;
        let texts = [0, 1, 2, 3].map(|column| columns[column].as_string::<i32>());
        let starts = columns[4].as_primitive::<Date32Type>();
        let counts = columns[5].as_primitive::<Int64Type>();
        let mut drawn: Vec<Option<Result<Drawn, Failure>>> = Vec::with_capacity(counts.len());
        for row in 0..counts.len() {
            if columns.iter().any(|column| column.is_null(row)) {
                drawn.push(None);
                continue;
            }
            let count = counts.value(row);
            let Some(count) = usize::try_from(count)
                .ok()
                .filter(|count| *count > 0 && i32::try_from(*count).is_ok())
            else {
                return exec_err!("draw: {count} paths make no sense; at least 1");
            };
            let [origin, names @ ..] = texts.map(|column| column.value(row));
            let mut draw = Draw::new(count, HORIZON);
            drawn.push(Some(guarded(|| {
                draw.forecast(origin, names, starts.value(row))
            })));
        }
        let made = |row: &Option<Result<Drawn, Failure>>| {
            row.as_ref().and_then(|row| row.as_ref().ok()).cloned()
        };
        let failure = |row: &Option<Result<Drawn, Failure>>| {
            row.as_ref().and_then(|row| row.as_ref().err()).cloned()
        };
        let made: Vec<Option<Drawn>> = drawn.iter().map(made).collect();
        let failures: Vec<Option<Failure>> = drawn.iter().map(failure).collect();
        let texts = |of: fn(&Failure) -> &str| -> ArrayRef {
            let texts = failures.iter().map(|failure| failure.as_ref().map(of));
            Arc::new(texts.collect::<StringArray>())
        };
        let columns = vec![
            lists(
                made.iter().map(|row| Some(&row.as_ref()?.paths)),
                &paths_type(),
            )?,
            lists(
                made.iter().map(|row| Some(&row.as_ref()?.points)),
                &points_type(),
            )?,
            texts(|failure| &failure.class),
            texts(|failure| &failure.message),
        ];
        let known: NullBuffer = drawn.iter().map(Option::is_some).collect();
        let rows = StructArray::try_new(drawn_fields(), columns, Some(known))?;
        Ok(ColumnarValue::Array(Arc::new(rows)))
    }
}

/// One list of structs for each row; null where there are none.
fn lists<'a>(
    rows: impl Iterator<Item = Option<&'a StructArray>> + Clone,
    list_type: &DataType,
) -> QueryResult<ArrayRef> {
    let DataType::List(item) = list_type else {
        return exec_err!("{list_type} is no list");
    };
    let parts: Vec<&dyn Array> = rows
        .clone()
        .flatten()
        .map(|part| part as &dyn Array)
        .collect();
    let values = if parts.is_empty() {
        new_null_array(item.data_type(), 0)
    } else {
        concat(&parts)?
    };
    let offsets = OffsetBuffer::from_lengths(rows.clone().map(|row| row.map_or(0, Array::len)));
    let known: NullBuffer = rows.map(|row| row.is_some()).collect();
    let lists = ListArray::try_new(Arc::clone(item), offsets, values, Some(known))?;
    Ok(Arc::new(lists))
}
