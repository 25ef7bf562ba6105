//! Units carried to the rows: each row of a slice's history becomes one row for every unit of that
//! slice that may see it.
//!
//! The schedule rides in the operator's own payload, so a plan needs no join and no shuffle. A
//! unit's header (specification, state, wanted dates) enters its group once, in a row without a
//! date that comes before all others; a unit without history still has a group, and so a result.

use std::collections::HashMap;
use std::sync::Arc;

use almanac_forecasters::Day;
use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Float64Builder, Int32Array, Int64Array, ListArray,
    ListBuilder, RecordBatch, StringArray, UInt32Array, new_null_array,
};
use arrow::compute::{cast, take};
use arrow::datatypes::{
    DataType, Date32Type, Field, Float64Type, Int32Type, Int64Type, Schema, SchemaRef,
};
use async_stream::try_stream;
use datafusion::common::{Result, exec_err};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use crate::operator::{RowOperator, Task};
use crate::train::{covariates_type, dates_type};
use crate::window::KeepWindow;

/// The constant column that tells a scan's slices apart.
pub const SLICE: &str = "slice";
/// How many table rows stand behind a history row.
pub const TABLE_ROWS: &str = "table_rows";
/// Rows that the slice read; set in one row of one unit, null elsewhere.
pub const SCANNED_ROWS: &str = "scanned_rows";
/// Newest date that the slice read; set beside [`SCANNED_ROWS`].
pub const SCANNED_NEWEST: &str = "scanned_newest";

/// One group of a train or forecast plan: a model of a commodity, in a slice.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Unit {
    /// The slice whose rows it sees.
    pub slice: i32,
    /// The stored bucket of its commodity, in lakes that have buckets.
    pub series_bucket: Option<i32>,
    /// Its commodity.
    pub commodity: String,
    /// The catalog key.
    pub model_name: String,
    /// The user's version.
    pub model_version: String,
    /// The model's training date.
    pub training_date: Day,
    /// The resolved specification, as JSON.
    pub spec: String,
    /// The stored fit, when there is one to forecast with.
    pub state: Option<String>,
    /// Dates to forecast, ascending; empty for training.
    pub wanted: Vec<Day>,
    /// Columns of the history that it sees as covariates, in the order of its specification.
    pub covariates: Vec<String>,
    /// First day that it may see.
    pub from: Day,
    /// First day that it may not see.
    pub until: Day,
}

/// The operator's payload.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AssignUnits {
    /// All units of the plan.
    pub units: Arc<Vec<Unit>>,
    /// Closed days of the coming calendar, given to every unit that forecasts.
    pub closed: Arc<Vec<Day>>,
}

impl AssignUnits {
    /// The days that any of the units may see.
    #[must_use]
    pub fn window(&self) -> KeepWindow {
        KeepWindow {
            from: self
                .units
                .iter()
                .map(|unit| unit.from)
                .min()
                .unwrap_or(Day::MIN),
            until: self
                .units
                .iter()
                .map(|unit| unit.until)
                .max()
                .unwrap_or(Day::MAX),
        }
    }
}

impl RowOperator for AssignUnits {
    const NAME: &'static str = "AssignUnits";

    fn output_schema(&self, input: &Schema) -> Result<Schema> {
        for column in [SLICE, "commodity", "date", "close", TABLE_ROWS] {
            input.field_with_name(column)?;
        }
        for unit in self.units.iter() {
            for column in &unit.covariates {
                input.field_with_name(column)?;
            }
        }
        Ok(Schema::new(vec![
            Field::new(SLICE, DataType::Int32, false),
            Field::new("series_bucket", DataType::Int32, true),
            Field::new("commodity", DataType::Utf8, false),
            Field::new("model_name", DataType::Utf8, false),
            Field::new("model_version", DataType::Utf8, false),
            Field::new("training_date", DataType::Date32, false),
            Field::new("spec", DataType::Utf8, true),
            Field::new("state", DataType::Utf8, true),
            Field::new("wanted", dates_type(), true),
            Field::new("closed", dates_type(), true),
            Field::new("date", DataType::Date32, true),
            Field::new("close", DataType::Float64, true),
            Field::new("covariates", covariates_type(), true),
            Field::new(SCANNED_ROWS, DataType::Int64, true),
            Field::new(SCANNED_NEWEST, DataType::Date32, true),
        ]))
    }

    fn describe(&self) -> String {
        let dates: usize = self.units.iter().map(|unit| unit.wanted.len()).sum();
        format!("{} units, {dates} wanted dates", self.units.len())
    }

    fn run(
        &self,
        mut input: SendableRecordBatchStream,
        output: SchemaRef,
        Task { memory, .. }: Task,
    ) -> Result<SendableRecordBatchStream> {
        let schema = Arc::clone(&output);
        let operator = self.clone();
        let stream = try_stream! {
            let mut slice: Option<SliceUnits> = None;
            while let Some(batch) = input.next().await {
                let batch: RecordBatch = batch?;
                if batch.num_rows() == 0 {
                    continue;
                }
                if slice.is_none() {
                    let opened = SliceUnits::open(&operator, &batch, Arc::clone(&schema))?;
                    memory.try_resize(opened.size() + opened.header_size())?;
                    yield opened.headers()?;
                    memory.try_resize(opened.size())?;
                    slice = Some(opened);
                }
                if let Some(slice) = &mut slice {
                    let parts = slice.pair(&batch)?;
                    let paired = parts.iter().map(Pairs::size).sum::<usize>();
                    memory.try_resize(slice.size() + batch.get_array_memory_size() + paired)?;
                    for pairs in parts {
                        yield slice.rows(&batch, pairs)?;
                    }
                    memory.try_resize(slice.size())?;
                }
            }
            if let Some(slice) = slice {
                yield slice.trailer()?;
            }
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(output, stream)))
    }
}

/// The units of the one slice that a partition holds.
struct SliceUnits {
    id: i32,
    operator: AssignUnits,
    /// Which of the operator's units are of this slice, in the payload's order.
    own: Vec<usize>,
    /// Key columns of the units: series_bucket … training_date.
    keys: Vec<ArrayRef>,
    /// Indexes into `own`.
    by_commodity: HashMap<String, Vec<u32>>,
    schema: SchemaRef,
    scanned_rows: i64,
    scanned_newest: Option<Day>,
}

/// Rows of a batch are emitted once there are this many.
const BATCH: usize = 8192;

/// Which unit sees which row of a batch.
#[derive(Debug, Default)]
struct Pairs {
    units: Vec<u32>,
    rows: Vec<u32>,
}

impl Pairs {
    fn size(&self) -> usize {
        (self.units.capacity() + self.rows.capacity()) * size_of::<u32>()
    }
}

impl SliceUnits {
    fn open(operator: &AssignUnits, first: &RecordBatch, schema: SchemaRef) -> Result<Self> {
        let id = slice_ids(first)?.value(0);
        let all = &operator.units;
        let own: Vec<usize> = (0..all.len())
            .filter(|index| all[*index].slice == id)
            .collect();
        if own.is_empty() {
            return exec_err!("slice {id} has rows but no units");
        }
        let units = || own.iter().map(|index| &all[*index]);
        let text = |of: fn(&Unit) -> &str| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(units().map(of)))
        };
        let keys: Vec<ArrayRef> = vec![
            Arc::new(
                units()
                    .map(|unit| unit.series_bucket)
                    .collect::<Int32Array>(),
            ),
            text(|unit| &unit.commodity),
            text(|unit| &unit.model_name),
            text(|unit| &unit.model_version),
            Arc::new(
                units()
                    .map(|unit| Some(unit.training_date))
                    .collect::<Date32Array>(),
            ),
        ];
        let mut by_commodity: HashMap<String, Vec<u32>> = HashMap::new();
        for (index, unit) in (0..).zip(units()) {
            by_commodity
                .entry(unit.commodity.clone())
                .or_default()
                .push(index);
        }
        Ok(Self {
            id,
            operator: operator.clone(),
            own,
            keys,
            by_commodity,
            schema,
            scanned_rows: 0,
            scanned_newest: None,
        })
    }

    fn unit(&self, index: u32) -> &Unit {
        &self.operator.units[self.own[index as usize]]
    }

    fn units(&self) -> impl Iterator<Item = &Unit> {
        self.own.iter().map(|index| &self.operator.units[*index])
    }

    /// Bytes that it holds beside the plan's payload.
    fn size(&self) -> usize {
        let keys = self.keys.iter().map(|key| key.get_array_memory_size());
        let names = self.by_commodity.iter().map(|(name, units)| {
            size_of::<(String, Vec<u32>)>() + name.capacity() + units.capacity() * size_of::<u32>()
        });
        keys.chain(names).sum::<usize>() + self.own.capacity() * size_of::<usize>()
    }

    /// Bytes of [`Self::headers`], near enough to ask for them before they are made.
    fn header_size(&self) -> usize {
        let closed = self.operator.closed.len();
        self.units()
            .map(|unit| {
                let days = match unit.wanted.len() {
                    0 => 0,
                    wanted => wanted + closed,
                };
                unit.spec.len()
                    + unit.state.as_ref().map_or(0, String::len)
                    + days * size_of::<Day>()
            })
            .sum()
    }

    /// One row for each unit, in the payload's order: the order of the groups, and so of the output.
    fn headers(&self) -> Result<RecordBatch> {
        let all =
            UInt32Array::from_iter_values(0..u32::try_from(self.own.len()).unwrap_or(u32::MAX));
        let dates = |list: Vec<Option<Vec<Option<Day>>>>| -> ArrayRef {
            Arc::new(ListArray::from_iter_primitive::<Date32Type, _, _>(list))
        };
        let wanted = dates(
            self.units()
                .map(|unit| Some(unit.wanted.iter().copied().map(Some).collect()))
                .collect(),
        );
        let closed_days: Vec<Option<Day>> =
            self.operator.closed.iter().copied().map(Some).collect();
        let closed = dates(
            self.units()
                .map(|unit| (!unit.wanted.is_empty()).then(|| closed_days.clone()))
                .collect(),
        );
        let specs: ArrayRef = Arc::new(StringArray::from_iter_values(
            self.units().map(|unit| &unit.spec),
        ));
        let states: ArrayRef = Arc::new(
            self.units()
                .map(|unit| unit.state.as_deref())
                .collect::<StringArray>(),
        );
        self.batch(
            &all,
            vec![
                ("spec", specs),
                ("state", states),
                ("wanted", wanted),
                ("closed", closed),
            ],
        )
    }

    /// Counts the rows of a batch, and pairs them with the units that may see them.
    fn pair(&mut self, batch: &RecordBatch) -> Result<Vec<Pairs>> {
        if slice_ids(batch)?.iter().any(|id| id != Some(self.id)) {
            return exec_err!(
                "a partition holds rows of two slices, {} and another",
                self.id
            );
        }
        let column = |name: &str| -> Result<ArrayRef> {
            Ok(Arc::clone(batch.column(batch.schema_ref().index_of(name)?)))
        };
        let commodities = cast(&column("commodity")?, &DataType::Utf8)?;
        let commodities = commodities.as_string::<i32>();
        let dates = column("date")?;
        let dates = dates.as_primitive::<Date32Type>();
        let closes = column("close")?;
        self.scanned_rows += column(TABLE_ROWS)?
            .as_primitive::<Int64Type>()
            .iter()
            .flatten()
            .sum::<i64>();
        self.scanned_newest = self.scanned_newest.max(arrow::compute::max(dates));

        let mut pairs = Pairs::default();
        let mut parts = vec![];
        for (commodity, indexes) in &self.by_commodity_in(commodities) {
            for unit_index in &self.by_commodity[*commodity] {
                let unit = self.unit(*unit_index);
                for row in indexes {
                    let date = dates.value(*row as usize);
                    let useful = closes.is_valid(*row as usize) || !unit.covariates.is_empty();
                    if useful && date >= unit.from && date < unit.until {
                        pairs.units.push(*unit_index);
                        pairs.rows.push(*row);
                    }
                }
                if pairs.rows.len() >= BATCH {
                    parts.push(std::mem::take(&mut pairs));
                }
            }
        }
        if !pairs.rows.is_empty() {
            parts.push(pairs);
        }
        Ok(parts)
    }

    /// Rows of each commodity that has units here, commodities in the order of their first row.
    fn by_commodity_in<'a>(&self, commodities: &'a StringArray) -> Vec<(&'a str, Vec<u32>)> {
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut found: Vec<(&str, Vec<u32>)> = vec![];
        for (row, commodity) in (0..).zip(commodities.iter()) {
            let Some(commodity) = commodity.filter(|name| self.by_commodity.contains_key(*name))
            else {
                continue;
            };
            let place = *places.entry(commodity).or_insert_with(|| {
                found.push((commodity, vec![]));
                found.len() - 1
            });
            found[place].1.push(row);
        }
        found
    }

    /// The paired rows of a batch, each with the keys of its unit.
    fn rows(&self, batch: &RecordBatch, pairs: Pairs) -> Result<RecordBatch> {
        let covariates = self.covariates(batch, &pairs)?;
        let (units, rows) = (
            UInt32Array::from(pairs.units),
            UInt32Array::from(pairs.rows),
        );
        let taken = |name: &str| -> Result<ArrayRef> {
            Ok(take(
                batch.column(batch.schema_ref().index_of(name)?),
                &rows,
                None,
            )?)
        };
        let (date, close) = (taken("date")?, taken("close")?);
        self.batch(
            &units,
            vec![("date", date), ("close", close), ("covariates", covariates)],
        )
    }

    fn covariates(&self, batch: &RecordBatch, pairs: &Pairs) -> Result<ArrayRef> {
        if pairs
            .units
            .iter()
            .all(|unit| self.unit(*unit).covariates.is_empty())
        {
            return Ok(new_null_array(&covariates_type(), pairs.units.len()));
        }
        let mut columns: HashMap<&str, ArrayRef> = HashMap::new();
        for name in self.units().flat_map(|unit| &unit.covariates) {
            columns.insert(
                name,
                Arc::clone(batch.column(batch.schema_ref().index_of(name)?)),
            );
        }
        let mut lists = ListBuilder::new(Float64Builder::new());
        for (unit, row) in pairs.units.iter().zip(&pairs.rows) {
            let names = &self.unit(*unit).covariates;
            for name in names {
                let column = columns[name.as_str()].as_primitive::<Float64Type>();
                let row = *row as usize;
                lists
                    .values()
                    .append_option(column.is_valid(row).then(|| column.value(row)));
            }
            lists.append(!names.is_empty());
        }
        Ok(Arc::new(lists.finish()))
    }

    /// What the slice read, in one row of its first unit.
    fn trailer(&self) -> Result<RecordBatch> {
        let rows: ArrayRef = Arc::new(Int64Array::from(vec![self.scanned_rows]));
        let newest: ArrayRef = Arc::new(Date32Array::from(vec![self.scanned_newest]));
        self.batch(
            &UInt32Array::from(vec![0]),
            vec![(SCANNED_ROWS, rows), (SCANNED_NEWEST, newest)],
        )
    }

    /// A batch with the keys of `units`, the columns in `set`, and null in all others.
    fn batch(&self, units: &UInt32Array, set: Vec<(&str, ArrayRef)>) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> =
            vec![Arc::new(Int32Array::from(vec![self.id; units.len()]))];
        for key in &self.keys {
            columns.push(take(key, units, None)?);
        }
        for field in &self.schema.fields()[columns.len()..] {
            let given = set.iter().find(|(name, _)| name == field.name());
            columns.push(given.map_or_else(
                || new_null_array(field.data_type(), units.len()),
                |(_, array)| Arc::clone(array),
            ));
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

fn slice_ids(batch: &RecordBatch) -> Result<Int32Array> {
    let column = batch.column(batch.schema_ref().index_of(SLICE)?);
    Ok(cast(column, &DataType::Int32)?
        .as_primitive::<Int32Type>()
        .clone())
}
