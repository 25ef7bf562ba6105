//! `region_first(value, region)`: the first value that is there, of the region `ALL`, else of the
//! first region by name; a row without a region comes last.
//!
//! `first_value` with an order says the same, but sorts whole rows; every slice of every chunk
//! reduces its regions with this.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int8Array, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int8Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};

/// The aggregate's name in SQL and in plans.
pub const NAME: &str = "region_first";

/// The region whose values count before all others'.
const ALL_REGIONS: &str = "ALL";

/// The aggregate.
#[must_use]
pub fn region_first() -> Arc<AggregateUDF> {
    let signature = Signature::exact(
        vec![DataType::Float64, DataType::Utf8],
        Volatility::Immutable,
    );
    Arc::new(AggregateUDF::from(RegionFirst { signature }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct RegionFirst {
    signature: Signature,
}

impl AggregateUDFImpl for RegionFirst {
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
        Ok(Box::new(First::default()))
    }
    fn state_fields(&self, _: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |name: &str, kind| Arc::new(Field::new(format!("{NAME}[{name}]"), kind, true));
        Ok(vec![
            field("value", DataType::Float64),
            field("rank", DataType::Int8),
            field("region", DataType::Utf8),
        ])
    }
    fn groups_accumulator_supported(&self, _: AccumulatorArgs) -> bool {
        true
    }
    fn create_groups_accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Firsts::default()))
    }
}

/// `ALL`, then the named regions, then no region.
fn rank(region: Option<&str>) -> i8 {
    match region {
        Some(ALL_REGIONS) => 0,
        Some(_) => 1,
        None => 2,
    }
}

/// The best value so far. Values of one region do not replace each other, whatever their order: of
/// two the smaller is taken.
#[derive(Debug, Default, Clone)]
struct First(Option<(i8, Box<str>, f64)>);

impl First {
    fn offer(&mut self, rank: i8, region: &str, value: f64) {
        let better = match &self.0 {
            None => true,
            Some((own_rank, own_region, own)) => rank
                .cmp(own_rank)
                .then_with(|| region.cmp(own_region))
                .then_with(|| value.total_cmp(own))
                .is_lt(),
        };
        if better {
            self.0 = Some((rank, region.into(), value));
        }
    }

    fn value(&self) -> Option<f64> {
        self.0.as_ref().map(|(_, _, value)| *value)
    }
}

/// Rows of values and regions, by index.
struct Rows<'a> {
    values: &'a Float64Array,
    regions: &'a StringArray,
}

impl<'a> Rows<'a> {
    fn of(columns: &'a [ArrayRef]) -> Self {
        Self {
            values: columns[0].as_primitive::<Float64Type>(),
            regions: columns[1].as_string::<i32>(),
        }
    }

    fn offer(&self, row: usize, to: &mut First) {
        if self.values.is_valid(row) {
            let region = self.regions.is_valid(row).then(|| self.regions.value(row));
            to.offer(
                rank(region),
                region.unwrap_or_default(),
                self.values.value(row),
            );
        }
    }
}

/// Partial results, by index.
struct Parts<'a> {
    rows: Rows<'a>,
    ranks: &'a Int8Array,
}

impl<'a> Parts<'a> {
    fn of(columns: &'a [ArrayRef]) -> Self {
        Self {
            rows: Rows {
                values: columns[0].as_primitive::<Float64Type>(),
                regions: columns[2].as_string::<i32>(),
            },
            ranks: columns[1].as_primitive::<Int8Type>(),
        }
    }

    fn offer(&self, row: usize, to: &mut First) {
        if self.rows.values.is_valid(row) {
            let (region, value) = (self.rows.regions.value(row), self.rows.values.value(row));
            to.offer(self.ranks.value(row), region, value);
        }
    }
}

fn columns(firsts: &[First]) -> Vec<ArrayRef> {
    let parts = || firsts.iter().map(|first| first.0.as_ref());
    vec![
        Arc::new(
            parts()
                .map(|part| part.map(|part| part.2))
                .collect::<Float64Array>(),
        ),
        Arc::new(
            parts()
                .map(|part| part.map(|part| part.0))
                .collect::<Int8Array>(),
        ),
        Arc::new(
            parts()
                .map(|part| part.map(|part| &*part.1))
                .collect::<StringArray>(),
        ),
    ]
}

impl Accumulator for First {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let rows = Rows::of(values);
        (0..rows.values.len()).for_each(|row| rows.offer(row, self));
        Ok(())
    }
    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let one = columns(std::slice::from_ref(self));
        one.iter()
            .map(|column| ScalarValue::try_from_array(column, 0))
            .collect()
    }
    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let parts = Parts::of(states);
        (0..parts.ranks.len()).for_each(|row| parts.offer(row, self));
        Ok(())
    }
    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.value()))
    }
    fn size(&self) -> usize {
        size_of_val(self) + self.0.as_ref().map_or(0, |part| part.1.len())
    }
}

/// The best values so far, by group.
#[derive(Debug, Default)]
struct Firsts(Vec<First>);

impl Firsts {
    fn each(
        &mut self,
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
        offer: impl Fn(usize, &mut First),
    ) {
        self.0.resize_with(count, First::default);
        for (row, group) in groups.iter().enumerate() {
            if filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row)) {
                offer(row, &mut self.0[*group]);
            }
        }
    }
}

impl GroupsAccumulator for Firsts {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
    ) -> Result<()> {
        let rows = Rows::of(values);
        self.each(groups, filter, count, |row, first| rows.offer(row, first));
        Ok(())
    }
    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], count: usize) -> Result<()> {
        let parts = Parts::of(states);
        self.each(groups, None, count, |row, first| parts.offer(row, first));
        Ok(())
    }
    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let groups: Vec<usize> = (0..values[0].len()).collect();
        let mut rows = Self::default();
        rows.update_batch(values, &groups, filter, groups.len())?;
        rows.state(EmitTo::All)
    }
    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let firsts = emit.take_needed(&mut self.0);
        Ok(Arc::new(
            firsts.iter().map(First::value).collect::<Float64Array>(),
        ))
    }
    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(columns(&emit.take_needed(&mut self.0)))
    }
    fn size(&self) -> usize {
        let regions: usize = self
            .0
            .iter()
            .flat_map(|first| &first.0)
            .map(|part| part.1.len())
            .sum();
        self.0.capacity() * size_of::<First>() + regions
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Row = (usize, Option<f64>, Option<&'static str>);

    const GROUPS: usize = 3;

    fn arrays(rows: &[Row]) -> (Vec<ArrayRef>, Vec<usize>) {
        let values: Float64Array = rows.iter().map(|row| row.1).collect();
        let regions: StringArray = rows.iter().map(|row| row.2).collect();
        let groups = rows.iter().map(|row| row.0).collect();
        (vec![Arc::new(values), Arc::new(regions)], groups)
    }

    fn grouped(rows: &[Row]) -> Vec<Option<f64>> {
        let mut firsts = Firsts::default();
        let (columns, groups) = arrays(rows);
        firsts
            .update_batch(&columns, &groups, None, GROUPS)
            .unwrap();
        let found = firsts.evaluate(EmitTo::All).unwrap();
        found.as_primitive::<Float64Type>().iter().collect()
    }

    #[test]
    fn all_comes_before_names_and_names_before_none() {
        let rows = [
            (0, Some(1.0), None),
            (0, Some(2.0), Some("b")),
            (0, Some(3.0), Some("Z")),
            (0, None, Some(ALL_REGIONS)),
            (1, Some(4.0), Some("A")),
            (1, Some(5.0), Some(ALL_REGIONS)),
            (2, None, Some("a")),
        ];
        assert_eq!(grouped(&rows), [Some(3.0), Some(5.0), None]);
        assert_eq!(grouped(&rows[..1]), [Some(1.0), None, None]);
    }

    #[test]
    fn a_filter_and_a_prefix_are_respected() {
        let mut firsts = Firsts::default();
        let (columns, groups) = arrays(&[
            (0, Some(1.0), Some("a")),
            (0, Some(2.0), Some("b")),
            (1, Some(3.0), Some("a")),
        ]);
        let keep = BooleanArray::from(vec![Some(false), Some(true), None]);
        firsts
            .update_batch(&columns, &groups, Some(&keep), 2)
            .unwrap();
        let first = firsts.evaluate(EmitTo::First(1)).unwrap();
        assert_eq!(first.as_primitive::<Float64Type>().value(0), 2.0);
        let rest = firsts.evaluate(EmitTo::All).unwrap();
        assert_eq!((rest.len(), rest.null_count()), (1, 1));
    }

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        let region = prop::sample::select(vec![None, Some(ALL_REGIONS), Some("a"), Some("b")]);
        let value = prop::option::weighted(0.8, -9.0..9.0);
        prop::collection::vec((0..GROUPS, value, region), 0..40)
    }

    proptest! {
        #[test]
        fn parts_in_any_order_are_one_pass(rows in rows(), cut in 0..40usize) {
            let whole = grouped(&rows);
            let (left, right) = rows.split_at(cut.min(rows.len()));
            let mut merged = Firsts::default();
            let mut alone = vec![First::default(); GROUPS];
            for part in [right, left] {
                let (columns, groups) = arrays(part);
                let mut firsts = Firsts::default();
                firsts.update_batch(&columns, &groups, None, GROUPS).unwrap();
                let state = firsts.state(EmitTo::All).unwrap();
                merged.merge_batch(&state, &[0, 1, 2], GROUPS).unwrap();
                for (group, own) in alone.iter_mut().enumerate() {
                    let mine: Vec<Row> = part.iter().filter(|row| row.0 == group).copied().collect();
                    let mut first = First::default();
                    first.update_batch(&arrays(&mine).0).unwrap();
                    let state = Accumulator::state(&mut first).unwrap();
                    let state: Vec<ArrayRef> =
                        state.iter().map(|value| value.to_array().unwrap()).collect();
                    own.merge_batch(&state).unwrap();
                }
            }
            let merged = GroupsAccumulator::evaluate(&mut merged, EmitTo::All).unwrap();
            let merged: Vec<Option<f64>> = merged.as_primitive::<Float64Type>().iter().collect();
            prop_assert_eq!(&merged, &whole);
            let alone: Vec<Option<f64>> = alone.iter().map(First::value).collect();
            prop_assert_eq!(alone, whole);
        }
    }
}
