//! The rows of one group, gathered batch by batch and put in date order once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use almanac_forecasters::{Day, Digest};
use arrow::array::{Array, ArrayRef, AsArray, ListArray};
use arrow::datatypes::{DataType, Date32Type, Field, FieldRef, Float64Type};
use datafusion::common::ScalarValue;

use crate::failure::Failure;
use crate::spec::ModelSpec;
use crate::train::{covariates_type, dates_type};

/// Dates, closes and raw covariate values of one series. A missing value is NaN. Rows that do not
/// fit together are that group's failure and not the query's: they are let go, and the reason stays.
#[derive(Debug, Clone, Default)]
pub struct Observations {
    /// Calendar days, as days since 1970-01-01.
    pub dates: Vec<Day>,
    /// The target; NaN on a day without a close.
    pub closes: Vec<f64>,
    /// `covariates[j][i]` belongs to `dates[i]`.
    pub covariates: Vec<Vec<f64>>,
    /// Why the rows make no series.
    pub unfit: Option<String>,
}

impl Observations {
    /// Takes the rows of a batch in which the date is set.
    pub(crate) fn push(
        &mut self,
        dates: &ArrayRef,
        closes: &ArrayRef,
        covariates: Option<&ArrayRef>,
    ) {
        let dates = dates.as_primitive::<Date32Type>();
        let closes = closes.as_primitive::<Float64Type>();
        let covariates = covariates.and_then(|array| array.as_list_opt::<i32>());
        for row in 0..dates.len() {
            if self.unfit.is_some() {
                return;
            }
            if dates.is_null(row) {
                continue;
            }
            if let Some(lists) = covariates.filter(|lists| lists.is_valid(row)) {
                self.push_covariates(lists, row);
            }
            self.dates.push(dates.value(row));
            self.closes.push(if closes.is_valid(row) {
                closes.value(row)
            } else {
                f64::NAN
            });
        }
        let rows = self.dates.len();
        if let Some(column) = self.covariates.iter().find(|column| column.len() != rows) {
            let given = column.len();
            self.refuse(format!(
                "covariates are given for {given} of {rows} rows of a group"
            ));
        }
    }

    fn push_covariates(&mut self, lists: &ListArray, row: usize) {
        let values = lists.value(row);
        let values = values.as_primitive::<Float64Type>();
        if self.covariates.is_empty() && self.dates.is_empty() {
            self.covariates = vec![vec![]; values.len()];
        }
        if values.len() != self.covariates.len() {
            let (found, before) = (values.len(), self.covariates.len());
            return self.refuse(format!(
                "a row has {found} covariates, the rows before it have {before}"
            ));
        }
        for (index, column) in self.covariates.iter_mut().enumerate() {
            column.push(if values.is_valid(index) {
                values.value(index)
            } else {
                f64::NAN
            });
        }
    }

    /// Lets the rows go: they make no series. The first reason stays.
    pub(crate) fn refuse(&mut self, reason: String) {
        let unfit = self.unfit.take().or(Some(reason));
        *self = Self {
            unfit,
            ..Self::default()
        };
    }

    /// Takes the one text that a group's rows agree on, from the first row that has it.
    pub(crate) fn agree(&mut self, slot: &mut Option<String>, column: &ArrayRef, what: &str) {
        for text in column.as_string::<i32>().iter().flatten() {
            match slot {
                None => *slot = Some(text.to_owned()),
                Some(first) if first == text => {}
                Some(_) => {
                    return self.refuse(format!("a group has two values of `{what}`; group by it"));
                }
            }
        }
    }

    /// The partial state's columns: dates, closes, the covariates one after another, and why there
    /// are none.
    pub(crate) fn to_state(&self) -> [ScalarValue; 4] {
        let list = |values: Vec<Option<f64>>| {
            ScalarValue::List(Arc::new(
                ListArray::from_iter_primitive::<Float64Type, _, _>([Some(values)]),
            ))
        };
        let dates = ListArray::from_iter_primitive::<Date32Type, _, _>([Some(
            self.dates
                .iter()
                .map(|date| Some(*date))
                .collect::<Vec<_>>(),
        )]);
        [
            ScalarValue::List(Arc::new(dates)),
            list(self.closes.iter().map(|value| Some(*value)).collect()),
            list(
                self.covariates
                    .iter()
                    .flatten()
                    .map(|value| Some(*value))
                    .collect(),
            ),
            ScalarValue::Utf8(self.unfit.clone()),
        ]
    }

    /// The names and types of those columns, for the aggregate `of`.
    pub(crate) fn state_fields(of: &str) -> [FieldRef; 4] {
        let field =
            |name: &str, data_type| Arc::new(Field::new(format!("{of}[{name}]"), data_type, true));
        [
            field("dates", dates_type()),
            field("closes", covariates_type()),
            field("covariates", covariates_type()),
            field("unfit", DataType::Utf8),
        ]
    }

    /// Adds partial states, as [`Observations::to_state`] made them: its columns.
    pub(crate) fn merge(&mut self, columns: &[ArrayRef]) {
        let [dates, closes, covariates] = [0, 1, 2].map(|column| columns[column].as_list::<i32>());
        let unfit = columns[3].as_string::<i32>();
        for row in 0..unfit.len() {
            if unfit.is_valid(row) {
                self.refuse(unfit.value(row).to_owned());
            }
            if self.unfit.is_some() {
                return;
            }
            let (dates, closes) = (dates.value(row), closes.value(row));
            let covariates = covariates.value(row);
            self.extend(
                dates.as_primitive::<Date32Type>().values(),
                closes.as_primitive::<Float64Type>().values(),
                covariates.as_primitive::<Float64Type>().values(),
            );
        }
    }

    fn extend(&mut self, dates: &[Day], closes: &[f64], covariates: &[f64]) {
        if dates.is_empty() {
            return;
        }
        let columns = covariates.len() / dates.len();
        if self.dates.is_empty() {
            self.covariates = vec![vec![]; columns];
        }
        if columns != self.covariates.len() {
            let before = self.covariates.len();
            return self.refuse(format!(
                "some rows have {columns} covariates, others have {before}"
            ));
        }
        for (column, values) in self
            .covariates
            .iter_mut()
            .zip(covariates.chunks(dates.len()))
        {
            column.extend_from_slice(values);
        }
        self.dates.extend_from_slice(dates);
        self.closes.extend_from_slice(closes);
    }

    /// Bytes held.
    pub(crate) fn size(&self) -> usize {
        self.dates.capacity() * size_of::<Day>()
            + self.closes.capacity() * size_of::<f64>()
            + self.unfit.as_ref().map_or(0, String::capacity)
            + self
                .covariates
                .iter()
                .map(|column| column.capacity() * size_of::<f64>())
                .sum::<usize>()
    }

    /// Puts the rows in date order and refuses a date that stands twice: that is what doubled
    /// input would look like.
    pub(crate) fn sort(&mut self) -> Result<(), Failure> {
        if let Some(reason) = &self.unfit {
            return Err(Failure::new("input", reason.as_str()));
        }
        if !self.dates.is_sorted() {
            let mut order: Vec<usize> = (0..self.dates.len()).collect();
            order.sort_unstable_by_key(|index| self.dates[*index]);
            self.closes = order.iter().map(|index| self.closes[*index]).collect();
            for column in &mut self.covariates {
                *column = order.iter().map(|index| column[*index]).collect();
            }
            self.dates = order.iter().map(|index| self.dates[*index]).collect();
        }
        match self.dates.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Failure::new(
                "duplicate_date",
                format!(
                    "{} stands twice in the history",
                    almanac_forecasters::date::format(pair[0])
                ),
            )),
            None => Ok(()),
        }
    }

    /// Index of the first row dated on or after `day`.
    pub(crate) fn rows_before(&self, day: Day) -> usize {
        self.dates.partition_point(|date| *date < day)
    }

    /// Adds row `index` to a running digest of the inputs.
    pub(crate) fn digest_row(&self, digest: &mut Digest, index: usize) {
        if self.closes[index].is_nan()
            && self.covariates.iter().all(|column| column[index].is_nan())
        {
            return;
        }
        digest.add_u64(u64::from(self.dates[index].cast_unsigned()));
        digest.add_f64(self.closes[index]);
        for column in &self.covariates {
            digest.add_f64(column[index]);
        }
    }

    /// For each day the digest of all rows dated before it. The rows are in date order.
    #[must_use]
    pub fn digests_before(&self, days: &BTreeSet<Day>) -> BTreeMap<Day, Digest> {
        let mut digest = Digest::new();
        let mut taken = 0;
        let mut digests = BTreeMap::new();
        for day in days {
            let end = self.rows_before(*day);
            (taken..end).for_each(|index| self.digest_row(&mut digest, index));
            taken = end;
            digests.insert(*day, digest);
        }
        digests
    }

    /// The newest date before row `end` on which anything was observed.
    pub(crate) fn newest_before(&self, end: usize) -> Option<Day> {
        (0..end)
            .rev()
            .find(|index| {
                !self.closes[*index].is_nan()
                    || self
                        .covariates
                        .iter()
                        .any(|column| !column[*index].is_nan())
            })
            .map(|index| self.dates[index])
    }

    /// The covariates as a model may know them on `day`, from rows before index `end`: for each the
    /// newest value dated on or before `day - lag`, carried at most `carry_days`; NaN when missing.
    pub(crate) fn known_covariates(&self, day: Day, end: usize, spec: &ModelSpec) -> Vec<f64> {
        let newest = day - spec.lag_days;
        let last = self.dates[..end].partition_point(|date| *date <= newest);
        self.covariates
            .iter()
            .map(|column| {
                (0..last)
                    .rev()
                    .take_while(|index| newest - self.dates[*index] <= spec.carry_days)
                    .find(|index| !column[*index].is_nan())
                    .map_or(f64::NAN, |index| column[index])
            })
            .collect()
    }
}
