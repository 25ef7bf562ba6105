//! The rows that any unit of a plan may see, and a count of all others.
//!
//! The scan reads whole files, so that what it read can be held against the log; what no unit may
//! see is dropped before it costs anything more. Of the dropped rows of a batch one row stays, with
//! nothing in it but its keys and their number.

use std::sync::Arc;

use almanac_forecasters::Day;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array, new_null_array,
};
use arrow::compute::{filter_record_batch, take};
use arrow::datatypes::{DataType, Date32Type, Field, Schema, SchemaRef};
use datafusion::common::{Result, exec_err};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use crate::assign::TABLE_ROWS;
use crate::operator::{RowOperator, Task};

/// The operator's payload: rows dated `from` ≤ date < `until` stay.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeepWindow {
    /// First day that stays.
    pub from: Day,
    /// First day that does not.
    pub until: Day,
}

impl KeepWindow {
    /// A window that keeps every row.
    pub const ALL: Self = Self {
        from: Day::MIN,
        until: Day::MAX,
    };
}

impl RowOperator for KeepWindow {
    const NAME: &'static str = "KeepWindow";

    fn output_schema(&self, input: &Schema) -> Result<Schema> {
        input.field_with_name("date")?;
        let mut fields: Vec<Field> = input
            .fields()
            .iter()
            .map(|field| field.as_ref().clone())
            .collect();
        fields.push(Field::new(TABLE_ROWS, DataType::Int64, false));
        Ok(Schema::new(fields))
    }

    fn describe(&self) -> String {
        format!("{} <= date < {}", self.from, self.until)
    }

    fn run(
        &self,
        input: SendableRecordBatchStream,
        output: SchemaRef,
        _: Task,
    ) -> Result<SendableRecordBatchStream> {
        let (window, schema) = (self.clone(), Arc::clone(&output));
        let kept = input.flat_map(move |batch| {
            let parts = batch.and_then(|batch| window.split(&batch, &schema));
            futures::stream::iter(match parts {
                Ok(parts) => parts.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            })
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(output, kept)))
    }
}

impl KeepWindow {
    /// The rows inside, and one row that stands for those outside.
    fn split(&self, batch: &RecordBatch, schema: &SchemaRef) -> Result<Vec<RecordBatch>> {
        let Some(dates) = batch.column_by_name("date") else {
            return exec_err!("the history has no dates");
        };
        let dates = dates.as_primitive::<Date32Type>();
        let inside: BooleanArray = dates
            .iter()
            .map(|date| Some(date.is_some_and(|date| self.from <= date && date < self.until)))
            .collect();
        let counted = |rows: &RecordBatch, count: Vec<i64>| -> Result<RecordBatch> {
            let mut columns = rows.columns().to_vec();
            columns.push(Arc::new(Int64Array::from(count)));
            Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
        };
        let outside = batch.num_rows() - inside.true_count();
        if outside == 0 {
            return Ok(vec![counted(batch, vec![1; batch.num_rows()])?]);
        }
        let mut parts = vec![];
        if inside.true_count() > 0 {
            let kept = filter_record_batch(batch, &inside)?;
            parts.push(counted(&kept, vec![1; kept.num_rows()])?);
        }
        let newest = (0..batch.num_rows())
            .filter(|row| !inside.value(*row))
            .max_by_key(|row| dates.is_valid(*row).then(|| dates.value(*row)));
        let newest = UInt32Array::from_iter_values(newest.and_then(|row| u32::try_from(row).ok()));
        let columns = batch
            .schema_ref()
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(field, column)| -> Result<ArrayRef> {
                if field.is_nullable() {
                    return Ok(new_null_array(field.data_type(), 1));
                }
                Ok(take(column, &newest, None)?)
            })
            .collect::<Result<Vec<_>>>()?;
        let stand_in = RecordBatch::try_new(batch.schema(), columns)?;
        parts.push(counted(
            &stand_in,
            vec![i64::try_from(outside).unwrap_or(i64::MAX)],
        )?);
        Ok(parts)
    }
}
