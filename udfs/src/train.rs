//! `train(spec, date, close [, covariates])`: one fitted model per group.
//!
//! `spec` is a model specification as JSON, or a catalog key. It is read from the first row in
//! which it is not null, so that it may enter a group once. The result is a struct that either
//! holds a state or says why there is none; no group ever fails the query.

use std::sync::Arc;

use almanac_forecasters::{Calendar, Day, Digest, Series, date};
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use cpu_time::ThreadTime;
use datafusion::common::scalar::ScalarStructBuilder;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, TypeSignature, Volatility,
};

use crate::failure::{Failure, guarded};
use crate::observations::Observations;
use crate::origin::Fit;
use crate::spec::ModelSpec;
use crate::steps::Steps;

/// The aggregate's name in SQL and in plans.
pub const NAME: &str = "train";

/// Fields of the result, in order.
#[must_use]
pub fn result_fields() -> Fields {
    Fields::from(vec![
        Field::new("state", DataType::Utf8, true),
        Field::new("training_samples", DataType::Int32, true),
        Field::new("training_start_date", DataType::Date32, true),
        Field::new("data_cutoff_date", DataType::Date32, true),
        Field::new("input_digest", DataType::Utf8, true),
        Field::new("training_loss", DataType::Float64, true),
        Field::new("validation_loss", DataType::Float64, true),
        Field::new("training_seconds", DataType::Float64, true),
        Field::new("error_class", DataType::Utf8, true),
        Field::new("error_message", DataType::Utf8, true),
    ])
}

/// The aggregate.
#[must_use]
pub fn train() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(Train::default()))
}

pub(crate) fn covariates_type() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Float64, true)))
}

pub(crate) fn dates_type() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Date32, true)))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Train {
    signature: Signature,
}

impl Default for Train {
    fn default() -> Self {
        let three = vec![DataType::Utf8, DataType::Date32, DataType::Float64];
        let four = [three.clone(), vec![covariates_type()]].concat();
        let arguments = vec![TypeSignature::Exact(three), TypeSignature::Exact(four)];
        Self {
            signature: Signature::one_of(arguments, Volatility::Immutable),
        }
    }
}

impl AggregateUDFImpl for Train {
    fn name(&self) -> &str {
        NAME
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Struct(result_fields()))
    }
    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(TrainAccumulator::default()))
    }
    fn state_fields(&self, _: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let spec = Arc::new(Field::new("train[spec]", DataType::Utf8, true));
        let rows = Observations::state_fields(NAME);
        Ok(std::iter::once(spec).chain(rows).collect())
    }
}

#[derive(Debug, Default)]
struct TrainAccumulator {
    spec: Option<String>,
    rows: Observations,
}

impl Accumulator for TrainAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.rows.agree(&mut self.spec, &values[0], "spec");
        self.rows.push(&values[1], &values[2], values.get(3));
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let spec = ScalarValue::Utf8(self.spec.clone());
        Ok(std::iter::once(spec).chain(self.rows.to_state()).collect())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.rows.agree(&mut self.spec, &states[0], "spec");
        self.rows.merge(&states[1..]);
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        // What the fit cost, whatever else the machine had to do: a group is one thread's work.
        let started = ThreadTime::now();
        let spec = self.spec.take();
        let mut rows = std::mem::take(&mut self.rows);
        let trained = guarded(|| fit(spec.as_deref(), &mut rows));
        let seconds = started.elapsed().as_secs_f64();
        let (trained, failure) = match trained {
            Ok(trained) => (Some(trained), None),
            Err(failure) => (None, Some(failure)),
        };
        let trained = trained.as_ref();
        let failure = failure.as_ref();
        let fields = result_fields();
        let values = [
            ScalarValue::Utf8(trained.map(|t| t.state.clone())),
            ScalarValue::Int32(trained.map(|t| t.samples)),
            ScalarValue::Date32(trained.map(|t| t.start)),
            ScalarValue::Date32(trained.map(|t| t.cutoff)),
            ScalarValue::Utf8(trained.map(|t| t.digest.clone())),
            ScalarValue::Float64(trained.and_then(|t| t.loss)),
            ScalarValue::Float64(trained.and_then(|t| t.validation_loss)),
            ScalarValue::Float64(trained.map(|_| seconds)),
            ScalarValue::Utf8(failure.map(|f| f.class.clone())),
            ScalarValue::Utf8(failure.map(|f| f.message.clone())),
        ];
        fields
            .iter()
            .zip(values)
            .fold(ScalarStructBuilder::new(), |builder, (field, value)| {
                builder.with_scalar(Arc::clone(field), value)
            })
            .build()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.spec.as_ref().map_or(0, String::capacity) + self.rows.size()
    }
}

struct Trained {
    state: String,
    samples: i32,
    start: Day,
    cutoff: Day,
    digest: String,
    loss: Option<f64>,
    validation_loss: Option<f64>,
}

fn fit(spec: Option<&str>, rows: &mut Observations) -> Result<Trained, Failure> {
    rows.sort()?;
    let spec =
        ModelSpec::parse(spec.ok_or_else(|| Failure::new("parameter", "no model specification"))?)?;
    let forecaster = spec.forecaster()?;
    let observed: Vec<usize> = (0..rows.dates.len())
        .filter(|i| !rows.closes[*i].is_nan())
        .collect();
    let dates: Vec<Day> = observed.iter().map(|index| rows.dates[*index]).collect();
    let closes: Vec<f64> = observed.iter().map(|index| rows.closes[*index]).collect();
    let (Some(first), Some(last)) = (dates.first(), dates.last()) else {
        return Err(Failure::new(
            "too_short",
            "no observation before the training date",
        ));
    };
    let span = last - first + 1;
    if spec.calendar != Calendar::Observed && span < spec.minimum_history_days {
        return Err(Failure::new(
            "history",
            format!(
                "{span} calendar days of history from {}, needs {}",
                date::format(*first),
                spec.minimum_history_days
            ),
        ));
    }
    let params = spec.parameters();
    let refused = |error| Failure::of_fit(error, &spec.covariates);
    let takes_gaps = forecaster.takes_gaps(&params).map_err(refused)?;
    let mut steps = Steps::after(None, &spec, takes_gaps);
    for (date, close) in dates.iter().zip(&closes) {
        steps.push(*date, *close);
    }
    let regressors = align(rows, &steps.dates, &spec);
    let series = Series {
        dates: &steps.dates,
        values: &steps.values,
        regressors: &regressors,
    };
    let fitted = forecaster.fit(series, &params, None).map_err(refused)?;
    // The model is fitted whatever becomes of a second fit that only measures.
    let validated = || Ok(forecaster.validation_loss(series, &params, &fitted.state));
    let validation_loss = if spec.validate {
        guarded(validated).ok().flatten()
    } else {
        None
    };
    let end = rows.dates.len();
    let mut digest = Digest::new();
    for index in 0..end {
        rows.digest_row(&mut digest, index);
    }
    let cutoff = rows.newest_before(end).unwrap_or(*last);
    let fit = Fit::of(fitted.state, &dates, &closes, cutoff, digest);
    Ok(Trained {
        state: fit.to_json(),
        samples: i32::try_from(dates.len()).unwrap_or(i32::MAX),
        start: *first,
        cutoff,
        digest: digest.hex(),
        loss: fitted.loss,
        validation_loss,
    })
}

/// The covariates as they were known on each of `dates`, column by column.
pub(crate) fn align(rows: &Observations, dates: &[Day], spec: &ModelSpec) -> Vec<Vec<f64>> {
    let mut columns = vec![Vec::with_capacity(dates.len()); rows.covariates.len()];
    if columns.is_empty() {
        return columns;
    }
    for day in dates {
        let known = rows.known_covariates(*day, rows.dates.len(), spec);
        for (column, value) in columns.iter_mut().zip(known) {
            column.push(value);
        }
    }
    columns
}
