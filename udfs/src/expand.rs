//! Origins expanded to paths, one forecast at a time: what is held is one forecast's paths, never a
//! slice's.

use std::sync::Arc;

use almanac_forecasters::Day;
use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Int32Array, Int64Array, ListArray, RecordBatch,
    StringArray, StructArray, new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{
    DataType, Date32Type, Field, Fields, Int32Type, Int64Type, Schema, SchemaRef,
};
use async_stream::try_stream;
use datafusion::common::{Result, exec_err};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use crate::assign::{SCANNED_NEWEST, SCANNED_ROWS, SLICE};
use crate::draw::{Draw, Drawn, path_fields};
use crate::failure::{Failure, guarded};
use crate::forecast::HORIZON;
use crate::operator::{RowOperator, Task};
use crate::points::point_fields;

/// The column of origins in the input.
pub const ORIGINS: &str = "origins";
/// The column of a forecast's paths in the output: a list of structs, `path_id` and the days.
pub const PATHS: &str = "paths";
/// The column of a forecast's points in the output: a list of structs, one for each day.
pub const POINTS: &str = "points";

/// The operator's payload.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ExpandPaths {
    /// Paths for each forecast.
    pub paths: usize,
    /// Days that are filled; the columns beyond are null.
    pub horizon: usize,
}

pub(crate) fn paths_type() -> DataType {
    list_of(path_fields())
}

pub(crate) fn points_type() -> DataType {
    list_of(point_fields())
}

fn list_of(fields: Fields) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(
        DataType::Struct(fields),
        true,
    )))
}

/// All structs as the list of one row.
pub(crate) fn one_list(structs: StructArray) -> Result<ArrayRef> {
    let item = Arc::new(Field::new_list_field(structs.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths([structs.len()]);
    Ok(Arc::new(ListArray::try_new(
        item,
        offsets,
        Arc::new(structs),
        None,
    )?))
}

impl RowOperator for ExpandPaths {
    const NAME: &'static str = "ExpandPaths";

    fn output_schema(&self, input: &Schema) -> Result<Schema> {
        for column in [
            SLICE,
            "series_bucket",
            "commodity",
            "model_name",
            "model_version",
            ORIGINS,
            SCANNED_ROWS,
        ] {
            input.field_with_name(column)?;
        }
        let fields = vec![
            Field::new(SLICE, DataType::Int32, false),
            Field::new("series_bucket", DataType::Int32, true),
            Field::new("commodity", DataType::Utf8, false),
            Field::new("model_name", DataType::Utf8, false),
            Field::new("model_version", DataType::Utf8, false),
            Field::new("forecast_start_date", DataType::Date32, false),
            Field::new("data_cutoff_date", DataType::Date32, true),
            Field::new("input_digest", DataType::Utf8, true),
            Field::new(PATHS, paths_type(), true),
            Field::new(POINTS, points_type(), true),
            Field::new("error_class", DataType::Utf8, true),
            Field::new("error_message", DataType::Utf8, true),
            Field::new(SCANNED_ROWS, DataType::Int64, true),
            Field::new(SCANNED_NEWEST, DataType::Date32, true),
        ];
        Ok(Schema::new(fields))
    }

    fn describe(&self) -> String {
        format!("{} paths, {} days", self.paths, self.horizon)
    }

    fn run(
        &self,
        mut input: SendableRecordBatchStream,
        output: SchemaRef,
        Task { memory, .. }: Task,
    ) -> Result<SendableRecordBatchStream> {
        let (operator, schema) = (self.clone(), Arc::clone(&output));
        let stream = try_stream! {
            // Origins are compact; a slice's are put in key order before the first path is drawn.
            let mut units = Units::default();
            let mut origins = vec![];
            while let Some(batch) = input.next().await {
                let batch: RecordBatch = batch?;
                // For the time in which origins are in the batch and here.
                let both = batch.get_array_memory_size();
                memory.try_grow(both)?;
                let (taken, held) = units.take(&batch)?;
                memory.try_grow(held)?;
                origins.extend(taken);
                memory.shrink(both);
            }
            units.sort(&mut origins);
            memory.try_grow(operator.drawing_size())?;
            let mut drawer = Drawer { draw: Draw::new(operator.paths, operator.horizon), schema };
            for origin in origins {
                yield drawer.forecast(&units, &origin)?;
                memory.shrink(origin.size());
                // Drawing is pure computation: give a cancelled query the chance to stop here.
                tokio_yield().await;
            }
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(output, stream)))
    }
}

impl ExpandPaths {
    /// Bytes that drawing one forecast takes: its paths as they are drawn and as they are stored.
    fn drawing_size(&self) -> usize {
        self.paths * HORIZON * (size_of::<f64>() + size_of::<f32>())
    }
}

/// Returns control to the runtime once.
pub(crate) async fn tokio_yield() {
    let mut yielded = false;
    futures::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            std::task::Poll::Ready(())
        } else {
            context.waker().wake_by_ref();
            std::task::Poll::Pending
        }
    })
    .await;
}

/// Names of a slice's aggregated units, and what the slice read.
#[derive(Default)]
pub(crate) struct Units {
    names: Vec<UnitName>,
    scanned: Option<(i64, Option<Day>)>,
}

struct UnitName {
    slice: i32,
    bucket: Option<i32>,
    commodity: String,
    model_name: String,
    model_version: String,
}

impl UnitName {
    fn size(&self) -> usize {
        let texts = [&self.commodity, &self.model_name, &self.model_version];
        size_of::<Self>() + texts.into_iter().map(String::len).sum::<usize>()
    }
}

/// One row of a unit's origins.
pub(crate) struct OriginRow {
    /// Its unit's place among the names.
    unit: usize,
    start: Day,
    cutoff: Option<Day>,
    digest: Option<String>,
    origin: std::result::Result<String, Failure>,
}

impl OriginRow {
    /// The first day that it forecasts.
    pub(crate) fn start(&self) -> Day {
        self.start
    }

    /// Its payload, or why there is none.
    pub(crate) fn origin(&self) -> std::result::Result<&str, Failure> {
        self.origin.as_deref().map_err(Clone::clone)
    }

    fn size(&self) -> usize {
        let payload = match &self.origin {
            Ok(origin) => origin.len(),
            Err(failure) => failure.class.len() + failure.message.len(),
        };
        size_of::<Self>() + self.digest.as_ref().map_or(0, String::len) + payload
    }
}

impl Units {
    /// Takes in the units of a batch; their origins, and the bytes that both take.
    pub(crate) fn take(&mut self, batch: &RecordBatch) -> Result<(Vec<OriginRow>, usize)> {
        let column = |name: &str| -> Result<&ArrayRef> {
            Ok(batch.column(batch.schema_ref().index_of(name)?))
        };
        let scanned_rows = column(SCANNED_ROWS)?.as_primitive::<Int64Type>();
        let newest = column(SCANNED_NEWEST)?.as_primitive::<Date32Type>();
        if let Some(row) = (0..batch.num_rows()).find(|row| scanned_rows.is_valid(*row)) {
            let newest = newest.is_valid(row).then(|| newest.value(row));
            self.scanned
                .get_or_insert((scanned_rows.value(row), newest));
        }
        let slices = column(SLICE)?.as_primitive::<Int32Type>();
        let buckets = column("series_bucket")?.as_primitive::<Int32Type>();
        let commodities = column("commodity")?.as_string::<i32>();
        let model_names = column("model_name")?.as_string::<i32>();
        let model_versions = column("model_version")?.as_string::<i32>();
        let origins = column(ORIGINS)?.as_list::<i32>();
        let known = self.names.len();
        let mut rows = vec![];
        for row in 0..batch.num_rows() {
            origin_rows(self.names.len(), &origins.value(row), &mut rows)?;
            self.names.push(UnitName {
                slice: slices.value(row),
                bucket: buckets.is_valid(row).then(|| buckets.value(row)),
                commodity: commodities.value(row).to_owned(),
                model_name: model_names.value(row).to_owned(),
                model_version: model_versions.value(row).to_owned(),
            });
        }
        let names = self.names[known..].iter().map(UnitName::size);
        let size = names.chain(rows.iter().map(OriginRow::size)).sum();
        Ok((rows, size))
    }

    /// Commodity, model and version of an origin.
    pub(crate) fn names(&self, row: &OriginRow) -> [&str; 3] {
        let name = &self.names[row.unit];
        [&name.commodity, &name.model_name, &name.model_version].map(String::as_str)
    }

    /// Puts origins in key order.
    fn sort(&self, rows: &mut [OriginRow]) {
        rows.sort_by(|left, right| self.key(left).cmp(&self.key(right)));
    }

    fn key(&self, row: &OriginRow) -> (Option<i32>, &str, &str, &str, Day) {
        let name = &self.names[row.unit];
        let [version, commodity, model] =
            [&name.model_version, &name.commodity, &name.model_name].map(String::as_str);
        (name.bucket, version, commodity, model, row.start)
    }
}

/// The origins in one unit's list.
fn origin_rows(unit: usize, list: &ArrayRef, rows: &mut Vec<OriginRow>) -> Result<()> {
    let list = list.as_struct();
    let dates = |name: &str| {
        list.column_by_name(name)
            .map(|column| column.as_primitive::<Date32Type>())
    };
    let texts = |name: &str| {
        list.column_by_name(name)
            .map(|column| column.as_string::<i32>())
    };
    let (Some(starts), Some(cutoffs)) = (dates("forecast_start_date"), dates("data_cutoff_date"))
    else {
        return exec_err!("origins without dates");
    };
    let (Some(digests), Some(origins), Some(classes), Some(messages)) = (
        texts("input_digest"),
        texts("origin"),
        texts("error_class"),
        texts("error_message"),
    ) else {
        return exec_err!("origins without payload");
    };
    rows.extend((0..list.len()).map(|row| OriginRow {
        unit,
        start: starts.value(row),
        cutoff: cutoffs.is_valid(row).then(|| cutoffs.value(row)),
        digest: digests.is_valid(row).then(|| digests.value(row).to_owned()),
        origin: if classes.is_valid(row) {
            Err(Failure::new(classes.value(row), messages.value(row)))
        } else {
            Ok(origins.value(row).to_owned())
        },
    }));
    Ok(())
}

struct Drawer {
    draw: Draw,
    schema: SchemaRef,
}

impl Drawer {
    fn forecast(&mut self, units: &Units, row: &OriginRow) -> Result<RecordBatch> {
        let drawn = row
            .origin()
            .and_then(|origin| guarded(|| self.draw.forecast(origin, units.names(row), row.start)));
        match drawn {
            Ok(drawn) => self.batch(units, row, drawn),
            Err(failure) => self.failure(units, row, &failure),
        }
    }

    fn batch(&self, units: &Units, row: &OriginRow, drawn: Drawn) -> Result<RecordBatch> {
        let mut columns = keys(&units.names[row.unit], row);
        columns.extend([
            one_list(drawn.paths)?,
            one_list(drawn.points)?,
            new_null_array(&DataType::Utf8, 1),
            new_null_array(&DataType::Utf8, 1),
        ]);
        columns.extend(scanned(units.scanned));
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    fn failure(&self, units: &Units, row: &OriginRow, failure: &Failure) -> Result<RecordBatch> {
        let mut columns = keys(&units.names[row.unit], row);
        let set = columns.len();
        columns.extend(
            self.schema.fields()[set..]
                .iter()
                .map(|field| new_null_array(field.data_type(), 1)),
        );
        for (name, text) in [
            ("error_class", &failure.class),
            ("error_message", &failure.message),
        ] {
            columns[self.schema.index_of(name)?] = Arc::new(StringArray::from(vec![text.as_str()]));
        }
        let first = self.schema.index_of(SCANNED_ROWS)?;
        for (offset, column) in scanned(units.scanned).into_iter().enumerate() {
            columns[first + offset] = column;
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

/// Slice and key columns, `data_cutoff_date` and `input_digest`.
fn keys(name: &UnitName, row: &OriginRow) -> Vec<ArrayRef> {
    let text = |value: &str| -> ArrayRef { Arc::new(StringArray::from(vec![value])) };
    vec![
        Arc::new(Int32Array::from(vec![name.slice])),
        Arc::new(Int32Array::from(vec![name.bucket])),
        text(&name.commodity),
        text(&name.model_name),
        text(&name.model_version),
        Arc::new(Date32Array::from(vec![row.start])),
        Arc::new(Date32Array::from(vec![row.cutoff])),
        Arc::new(StringArray::from(vec![row.digest.as_deref()])),
    ]
}

fn scanned(scanned: Option<(i64, Option<Day>)>) -> [ArrayRef; 2] {
    let rows = scanned.map(|(rows, _)| rows);
    let newest = scanned.and_then(|(_, newest)| newest);
    [
        Arc::new(Int64Array::from(vec![rows])),
        Arc::new(Date32Array::from(vec![newest])),
    ]
}
