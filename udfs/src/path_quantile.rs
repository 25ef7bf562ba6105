//! `path_quantile(day_k, level)`: a quantile of paths as `point_forecasts` define it, for queries.

use std::sync::Arc;

use almanac_forecasters::quantiles::quantile;
use arrow::array::{ArrayRef, AsArray, ListArray};
use arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Float64Type};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
};

/// The aggregate's name in SQL.
pub const NAME: &str = "path_quantile";

/// The aggregate.
#[must_use]
pub fn path_quantile() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(PathQuantile::default()))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct PathQuantile {
    signature: Signature,
}

impl Default for PathQuantile {
    fn default() -> Self {
        let arguments = vec![DataType::Float32, DataType::Float64];
        Self {
            signature: Signature::exact(arguments, Volatility::Immutable),
        }
    }
}

fn values_type() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Float32, true)))
}

impl AggregateUDFImpl for PathQuantile {
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
        Ok(Box::new(Paths::default()))
    }
    fn state_fields(&self, _: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![
            Arc::new(Field::new("path_quantile[values]", values_type(), true)),
            Arc::new(Field::new("path_quantile[level]", DataType::Float64, true)),
        ])
    }
}

/// The values of one group; nulls are left out.
#[derive(Debug, Default)]
struct Paths {
    values: Vec<f32>,
    level: Option<f64>,
}

impl Paths {
    fn take_level(&mut self, levels: &ArrayRef) -> Result<()> {
        for level in levels.as_primitive::<Float64Type>().iter().flatten() {
            if !(0.0..=1.0).contains(&level) {
                return exec_err!("{NAME}: the level {level} is not between 0 and 1");
            }
            if self
                .level
                .replace(level)
                .is_some_and(|other| other != level)
            {
                return exec_err!("{NAME}: a group has two levels; group by the level");
            }
        }
        Ok(())
    }
}

impl Accumulator for Paths {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        self.take_level(&columns[1])?;
        let values = columns[0].as_primitive::<Float32Type>();
        self.values.extend(values.iter().flatten());
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = std::mem::take(&mut self.values).into_iter().map(Some);
        let list = ListArray::from_iter_primitive::<Float32Type, _, _>([Some(values)]);
        Ok(vec![
            ScalarValue::List(Arc::new(list)),
            ScalarValue::Float64(self.level),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.take_level(&states[1])?;
        for values in states[0].as_list::<i32>().iter().flatten() {
            let values = values.as_primitive::<Float32Type>();
            self.values.extend(values.values());
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let level = self.level;
        let found = level.and_then(|level| quantile(&self.values, level));
        Ok(ScalarValue::Float64(found))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.capacity() * size_of::<f32>()
    }
}
