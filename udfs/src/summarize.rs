//! Stored paths to point forecasts: for keys whose `point_forecasts` are missing.
//!
//! The input is what the table holds: whole keys, sorted, each key's paths in `path_id` order. What
//! was read is told beside the last key: how many paths, and the newest date that they start on.

use std::sync::Arc;

use almanac_forecasters::Day;
use almanac_forecasters::quantiles::Summariser;
use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Int64Array, RecordBatch, new_null_array,
};
use arrow::compute::{concat_batches, partition};
use arrow::datatypes::{DataType, Date32Type, Field, Float32Type, Int32Type, Schema, SchemaRef};
use async_stream::try_stream;
use datafusion::common::{Result, exec_err};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use crate::assign::{SCANNED_NEWEST, SCANNED_ROWS};
use crate::draw::day_column;
use crate::expand::{POINTS, one_list, points_type};
use crate::forecast::HORIZON;
use crate::operator::{RowOperator, Task};
use crate::points::points;

/// The operator's payload: it has none.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SummarizePaths {
    /// Whether `day_k` is a calendar date.
    pub dated: bool,
}

/// The columns that tell keys apart.
const KEY: [&str; 4] = [
    "commodity",
    "model_name",
    "model_version",
    "forecast_start_date",
];

impl RowOperator for SummarizePaths {
    const NAME: &'static str = "SummarizePaths";

    /// The columns before `path_id` pass through; the paths become their points.
    fn output_schema(&self, input: &Schema) -> Result<Schema> {
        for column in KEY {
            input.field_with_name(column)?;
        }
        let kept = input.index_of("path_id")?;
        let mut fields: Vec<Field> = input.fields()[..kept]
            .iter()
            .map(|field| field.as_ref().clone())
            .collect();
        fields.extend([
            Field::new(POINTS, points_type(), true),
            Field::new("error_class", DataType::Utf8, true),
            Field::new("error_message", DataType::Utf8, true),
            Field::new(SCANNED_ROWS, DataType::Int64, true),
            Field::new(SCANNED_NEWEST, DataType::Date32, true),
        ]);
        Ok(Schema::new(fields))
    }

    fn describe(&self) -> String {
        "point forecasts of whole keys".to_owned()
    }

    fn run(
        &self,
        mut input: SendableRecordBatchStream,
        output: SchemaRef,
        Task { memory, .. }: Task,
    ) -> Result<SendableRecordBatchStream> {
        let (schema, dated) = (Arc::clone(&output), self.dated);
        let stream = try_stream! {
            let input_schema = input.schema();
            let mut summariser = Summariser::new();
            let mut held: Vec<RecordBatch> = vec![];
            let mut scanned = Scanned::default();
            while let Some(batch) = input.next().await {
                let batch: RecordBatch = batch?;
                if batch.num_rows() == 0 {
                    continue;
                }
                scanned.add(&batch)?;
                held.push(batch);
                let rows = concat_batches(&input_schema, &held)?;
                // The open key is a part of these rows and keeps them all.
                memory.try_resize(rows.get_array_memory_size())?;
                let mut ranges = key_ranges(&rows)?;
                // The last key may go on in the next batch.
                let open = ranges.pop().unwrap_or(0..0);
                held = vec![rows.slice(open.start, open.len())];
                for range in ranges {
                    let key = rows.slice(range.start, range.len());
                    yield key_points(&key, &schema, &mut summariser, dated, None)?;
                }
            }
            if let Some(rows) = held.pop() {
                yield key_points(&rows, &schema, &mut summariser, dated, Some(&scanned))?;
            }
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(output, stream)))
    }
}

/// What has been read.
#[derive(Debug, Default)]
struct Scanned {
    rows: i64,
    newest: Option<Day>,
}

impl Scanned {
    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let starts = batch.column(batch.schema_ref().index_of("forecast_start_date")?);
        let newest = starts.as_primitive::<Date32Type>().iter().max().flatten();
        self.newest = self.newest.max(newest);
        self.rows += i64::try_from(batch.num_rows()).unwrap_or(i64::MAX);
        Ok(())
    }
}

fn key_ranges(rows: &RecordBatch) -> Result<Vec<std::ops::Range<usize>>> {
    let columns = KEY
        .iter()
        .map(|name| Ok(Arc::clone(rows.column(rows.schema_ref().index_of(name)?))))
        .collect::<Result<Vec<_>>>()?;
    Ok(partition(&columns)?.ranges())
}

fn key_points(
    rows: &RecordBatch,
    schema: &SchemaRef,
    summariser: &mut Summariser,
    dated: bool,
    scanned: Option<&Scanned>,
) -> Result<RecordBatch> {
    let column =
        |name: &str| -> Result<&ArrayRef> { Ok(rows.column(rows.schema_ref().index_of(name)?)) };
    let path_ids = column("path_id")?.as_primitive::<Int32Type>().values();
    if !path_ids
        .iter()
        .zip(1..)
        .all(|(found, wanted)| *found == wanted)
    {
        return exec_err!("the paths of a key are not 1, 2, … in order");
    }
    let mut days = vec![];
    for day in 1..=HORIZON {
        let values = column(&day_column(day))?.as_primitive::<Float32Type>();
        if values.null_count() == values.len() {
            break;
        }
        let Some(summary) = summariser.summarise(values.values()) else {
            return exec_err!("stored paths are not finite");
        };
        days.push(summary);
    }
    let start = column("forecast_start_date")?
        .as_primitive::<Date32Type>()
        .value(0);
    let points = points(dated.then_some(start), &days)?;
    let kept = rows.schema_ref().index_of("path_id")?;
    let mut columns: Vec<ArrayRef> = rows.slice(0, 1).columns()[..kept].to_vec();
    columns.push(one_list(points)?);
    for _ in ["error_class", "error_message"] {
        columns.push(new_null_array(&DataType::Utf8, 1));
    }
    let rows_read = scanned.map(|scanned| scanned.rows);
    let newest = scanned.and_then(|scanned| scanned.newest);
    columns.push(Arc::new(Int64Array::from(vec![rows_read])));
    columns.push(Arc::new(Date32Array::from(vec![newest])));
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}
