//! `region_mean(value)`: the mean of a few values that does not depend on the order of the rows.
//!
//! `avg` adds in the order in which rows come, and that order changes when files are rewritten; a
//! forecast must not change with it by even one bit.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
};

/// The aggregate's name in SQL and in plans.
pub const NAME: &str = "region_mean";

/// The aggregate.
#[must_use]
pub fn region_mean() -> Arc<AggregateUDF> {
    let signature = Signature::exact(vec![DataType::Float64], Volatility::Immutable);
    Arc::new(AggregateUDF::from(RegionMean { signature }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct RegionMean {
    signature: Signature,
}

impl AggregateUDFImpl for RegionMean {
    fn name(&self) -> &str {
        NAME
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }
    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Values::default()))
    }
    fn state_fields(&self, _: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let list = DataType::List(Arc::new(Field::new_list_field(DataType::Float64, true)));
        Ok(vec![Arc::new(Field::new(
            "region_mean[values]",
            list,
            true,
        ))])
    }
}

#[derive(Debug, Default)]
struct Values(Vec<f64>);

impl Accumulator for Values {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0
            .extend(values[0].as_primitive::<Float64Type>().iter().flatten());
        Ok(())
    }
    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let list = self.0.iter().map(|value| Some(*value)).collect::<Vec<_>>();
        let list = ListArray::from_iter_primitive::<Float64Type, _, _>([Some(list)]);
        Ok(vec![ScalarValue::List(Arc::new(list))])
    }
    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists = states[0].as_list::<i32>();
        for row in (0..lists.len()).filter(|row| lists.is_valid(*row)) {
            self.0.extend(
                lists
                    .value(row)
                    .as_primitive::<Float64Type>()
                    .iter()
                    .flatten(),
            );
        }
        Ok(())
    }
    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.0.sort_unstable_by(f64::total_cmp);
        let mean = (!self.0.is_empty()).then(|| self.0.iter().sum::<f64>() / self.0.len() as f64);
        Ok(ScalarValue::Float64(mean))
    }
    fn size(&self) -> usize {
        size_of_val(self) + self.0.capacity() * size_of::<f64>()
    }
}
