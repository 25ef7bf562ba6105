//! Origins held against what came: a row for each forecast, with its point forecast and how well its
//! paths did.
//!
//! The place of `ExpandPaths` in a plan that scores: the paths are drawn, measured and let go, so a
//! horizon may be as long as one likes.

use std::collections::BTreeMap;
use std::sync::Arc;

use almanac_forecasters::quantiles::{Summariser, Summary};
use almanac_forecasters::{Ahead, Day, Digest, Streams, accuracy, family};
use arrow::array::{
    ArrayRef, Float64Array, Int64Array, ListArray, RecordBatch, StringArray, new_null_array,
};
use arrow::datatypes::{DataType, Field, Float64Type, Schema, SchemaRef};
use async_stream::try_stream;
use cpu_time::ThreadTime;
use datafusion::common::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use crate::expand::{ORIGINS, OriginRow, Units, tokio_yield};
use crate::failure::{Failure, guarded};
use crate::forecast::HORIZON;
use crate::operator::{RowOperator, Task};
use crate::origin::Origin;
use crate::points::quantile;

/// The column of a forecast's point forecast in the output: a list, first step first.
pub const POINT: &str = "point";
/// The column of the continuous ranked probability score, the mean over the steps.
pub const CRPS: &str = "crps";
/// The column of the number of steps whose actual value lies within the 80 % interval.
pub const COVERED_80: &str = "covered_80";
/// The same for the 95 % interval.
pub const COVERED_95: &str = "covered_95";
/// The column of the seconds of processor time that the point forecast took.
pub const SECONDS: &str = "seconds";

/// What came after a series' origin.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Actuals(Vec<u64>);

impl Actuals {
    /// These values, first step first.
    #[must_use]
    pub fn new(values: &[f64]) -> Self {
        Self(values.iter().map(|value| value.to_bits()).collect())
    }

    /// The values.
    #[must_use]
    pub fn values(&self) -> Vec<f64> {
        self.0.iter().map(|bits| f64::from_bits(*bits)).collect()
    }
}

/// The operator's payload.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ScoreForecasts {
    /// Paths for each forecast.
    pub paths: usize,
    /// What came, by commodity: as many steps as are scored.
    pub actuals: Arc<BTreeMap<String, Actuals>>,
}

impl RowOperator for ScoreForecasts {
    const NAME: &'static str = "ScoreForecasts";

    fn output_schema(&self, input: &Schema) -> Result<Schema> {
        input.field_with_name(ORIGINS)?;
        let point = DataType::List(Arc::new(Field::new_list_field(DataType::Float64, true)));
        Ok(Schema::new(vec![
            Field::new("commodity", DataType::Utf8, false),
            Field::new("model_name", DataType::Utf8, false),
            Field::new(POINT, point, true),
            Field::new(CRPS, DataType::Float64, true),
            Field::new(COVERED_80, DataType::Int64, true),
            Field::new(COVERED_95, DataType::Int64, true),
            Field::new(SECONDS, DataType::Float64, true),
            Field::new("error_class", DataType::Utf8, true),
            Field::new("error_message", DataType::Utf8, true),
        ]))
    }

    fn describe(&self) -> String {
        format!("{} paths, {} series", self.paths, self.actuals.len())
    }

    fn run(
        &self,
        mut input: SendableRecordBatchStream,
        output: SchemaRef,
        Task { memory, .. }: Task,
    ) -> Result<SendableRecordBatchStream> {
        let (operator, schema) = (self.clone(), Arc::clone(&output));
        let stream = try_stream! {
            let mut summariser = Summariser::new();
            while let Some(batch) = input.next().await {
                let batch: RecordBatch = batch?;
                let mut units = Units::default();
                let (origins, held) = units.take(&batch)?;
                memory.try_resize(held + operator.drawing_size())?;
                for origin in origins {
                    yield operator.row(&units, &origin, &mut summariser, &schema)?;
                    tokio_yield().await;
                }
            }
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(output, stream)))
    }
}

/// How a forecast did.
struct Scored {
    point: Vec<f64>,
    crps: f64,
    covered: [i64; 2],
    seconds: f64,
}

impl ScoreForecasts {
    /// Bytes that drawing one forecast takes.
    fn drawing_size(&self) -> usize {
        let steps = self.actuals.values().map(|actuals| actuals.0.len()).max();
        self.paths * steps.unwrap_or(0) * size_of::<f64>()
    }

    fn row(
        &self,
        units: &Units,
        row: &OriginRow,
        summariser: &mut Summariser,
        schema: &SchemaRef,
    ) -> Result<RecordBatch> {
        let [commodity, model, version] = units.names(row);
        let text = |value: &str| -> ArrayRef { Arc::new(StringArray::from(vec![value])) };
        let mut columns = vec![text(commodity), text(model)];
        let scored = row.origin().and_then(|origin| {
            guarded(|| self.score(origin, [commodity, model, version], row.start(), summariser))
        });
        match scored {
            Ok(scored) => {
                let point = scored.point.into_iter().map(Some);
                let [covered_80, covered_95] = scored.covered;
                let list = ListArray::from_iter_primitive::<Float64Type, _, _>([Some(point)]);
                columns.extend([
                    Arc::new(list) as ArrayRef,
                    Arc::new(Float64Array::from(vec![scored.crps])),
                    Arc::new(Int64Array::from(vec![covered_80])),
                    Arc::new(Int64Array::from(vec![covered_95])),
                    Arc::new(Float64Array::from(vec![scored.seconds])),
                    new_null_array(&DataType::Utf8, 1),
                    new_null_array(&DataType::Utf8, 1),
                ]);
            }
            Err(failure) => {
                let unknown = columns.len()..schema.index_of("error_class")?;
                let fields = schema.fields()[unknown].iter();
                columns.extend(fields.map(|field| new_null_array(field.data_type(), 1)));
                columns.extend([text(&failure.class), text(&failure.message)]);
            }
        }
        Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
    }

    fn score(
        &self,
        origin: &str,
        names: [&str; 3],
        start: Day,
        summariser: &mut Summariser,
    ) -> std::result::Result<Scored, Failure> {
        let (origin, state) = Origin::from_json(origin)?;
        let actuals = self
            .actuals
            .get(names[0])
            .map(Actuals::values)
            .ok_or_else(|| {
                Failure::new(
                    "internal",
                    format!("nothing is known of what came of `{}`", names[0]),
                )
            })?;
        let forecaster = family(&origin.family).ok_or_else(|| {
            Failure::new("parameter", format!("no model family `{}`", origin.family))
        })?;
        let steps = actuals.len();
        let dates = origin.dates_of(steps);
        let ahead = Ahead {
            steps,
            dates: &dates,
            regressors: &[],
        };
        let started = ThreadTime::now();
        let outlook = forecaster
            .outlook(&state, ahead)
            .map_err(|error| Failure::of_state(error, &origin.covariates))?;
        let point = outlook.point();
        let seconds = started.elapsed().as_secs_f64();
        if point.len() != steps || point.iter().any(|value| !value.is_finite()) {
            return Err(Failure::new("absurd", "the point forecast is not finite"));
        }
        let key = stream_key(names, start, origin.seed);
        let paths = outlook.simulate(steps, self.paths, &Streams::new(&key));
        let (mut crps, mut covered) = (0.0, [0, 0]);
        for (step, actual) in actuals.iter().enumerate() {
            let mut values = paths.step(step).to_vec();
            #[expect(
                clippy::cast_possible_truncation,
                reason = "intervals are of stored FLOAT paths"
            )]
            let stored: Vec<f32> = values.iter().map(|value| *value as f32).collect();
            let summary: Summary = summariser.summarise(&stored).ok_or_else(|| {
                Failure::new(
                    "absurd",
                    format!("a path is not finite at step {}", step + 1),
                )
            })?;
            // As for any forecast; what a job forecasts ends there.
            if step < HORIZON {
                let lowest = stored.iter().copied().fold(f32::INFINITY, f32::min);
                let median = quantile(&summary, 0.5);
                if let Some(objection) = origin.range.objection(step + 1, lowest, median) {
                    return Err(Failure::new("absurd", objection));
                }
            }
            for (covered, tail) in covered.iter_mut().zip([0.1, 0.025]) {
                let within = quantile(&summary, tail)..=quantile(&summary, 1.0 - tail);
                *covered += i64::from(within.contains(actual));
            }
            crps += accuracy::crps(&mut values, *actual) / steps as f64;
        }
        Ok(Scored {
            point,
            crps,
            covered,
            seconds,
        })
    }
}

/// The key of a forecast's random streams.
pub(crate) fn stream_key(names: [&str; 3], start: Day, seed: u64) -> Digest {
    let mut key = Digest::new();
    names.iter().for_each(|name| key.add_str(name));
    key.add_u64(u64::from(start.cast_unsigned()));
    key.add_u64(seed);
    key
}
