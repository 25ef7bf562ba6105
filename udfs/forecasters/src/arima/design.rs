//! The regressors of a history: which can be told apart, in which unit, and where they are missing.

use serde::{Deserialize, Serialize};

use super::orders::{Orders, difference};
use crate::{errors::FitError, moments::mean, series::Series};

/// Below this share of its length, what the columns before it leave of a column is rounding.
const COLLINEAR: f64 = 1e-8;

/// One regressor that is used: adds `coefficient * (value - center)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Term {
    /// Its place among the regressors given.
    pub(crate) index: usize,
    pub(crate) center: f64,
    pub(crate) coefficient: f64,
}

impl Term {
    /// What it adds to a value.
    pub(crate) fn at(&self, value: f64) -> f64 {
        self.coefficient * (value - self.center)
    }
}

/// The regressors of a history that are used, made orthonormal in their differences, so that no
/// unit and no likeness of two of them spoils the equations.
#[derive(Clone, Debug)]
pub(crate) struct Design {
    kept: Vec<(usize, f64)>,
    /// Row j: how much of column i < j is taken from it, and at j its own length.
    triangle: Vec<Vec<f64>>,
    /// Undifferenced, centered and orthonormalised, lines drawn over gaps.
    columns: Vec<Vec<f64>>,
    /// Days on which the value or a used regressor is missing.
    missing: Vec<bool>,
    any_missing: bool,
}

impl Design {
    /// Chooses regressors. One is left out if it is constant once differenced (it could not be told
    /// apart from the constant), or if those before it determine it.
    pub(crate) fn new(history: Series<'_>, orders: &Orders) -> Result<Design, FitError> {
        let mut design = Design {
            kept: vec![],
            triangle: vec![],
            columns: vec![],
            missing: history.values.iter().map(|value| value.is_nan()).collect(),
            any_missing: false,
        };
        let mut directions: Vec<Vec<f64>> = vec![];
        for (index, values) in history.regressors.iter().enumerate() {
            let known: Vec<f64> = values
                .iter()
                .copied()
                .filter(|value| !value.is_nan())
                .collect();
            if known.is_empty() {
                return Err(unusable(history, index));
            }
            let center = mean(&known);
            let centered: Vec<f64> = values.iter().map(|value| value - center).collect();
            let level = bridged(&centered);
            let mut rest = difference(&level, orders);
            let largest = level
                .iter()
                .fold(0.0f64, |most, value| most.max(value.abs()));
            let (whole, varied) = (length_of(&rest), length_of(&around_mean(&rest)));
            let size = largest.max(center.abs());
            if !(varied > 1e-12 * size * (rest.len() as f64).sqrt() && varied > COLLINEAR * whole) {
                continue;
            }
            let mut level: Vec<f64> = level.iter().map(|value| value / whole).collect();
            rest.iter_mut().for_each(|value| *value /= whole);
            let mut row = vec![];
            for (direction, column) in directions.iter().zip(&design.columns) {
                let along: f64 = rest.iter().zip(direction).map(|(a, b)| a * b).sum();
                subtract(&mut rest, direction, along);
                subtract(&mut level, column, along);
                row.push(along * whole);
            }
            let left = length_of(&rest);
            if left <= COLLINEAR {
                continue;
            }
            rest.iter_mut().for_each(|value| *value /= left);
            level.iter_mut().for_each(|value| *value /= left);
            row.push(left * whole);
            for (missing, value) in design.missing.iter_mut().zip(values) {
                *missing |= value.is_nan();
            }
            design.kept.push((index, center));
            design.triangle.push(row);
            design.columns.push(level);
            directions.push(rest);
        }
        design.any_missing = design.missing.contains(&true);
        Ok(design)
    }

    /// The columns, undifferenced.
    pub(crate) fn columns(&self) -> &[Vec<f64>] {
        &self.columns
    }

    /// Whether any observation counts as missing.
    pub(crate) fn missing(&self) -> bool {
        self.any_missing
    }

    /// Whether the value and every used regressor are known on a day.
    pub(crate) fn observed(&self, day: usize) -> bool {
        !self.missing[day]
    }

    /// Whether every place of a season has as many observations as it is differenced, without which
    /// nothing tells where it begins.
    pub(crate) fn every_place_is_seen(&self, season: usize, differences: usize) -> bool {
        let seen = |place: usize| {
            let days = (place..self.missing.len()).step_by(season);
            days.filter(|day| self.observed(*day)).count()
        };
        (0..season.min(self.missing.len())).all(|place| seen(place) >= differences)
    }

    /// How many observations do not count as missing.
    pub(crate) fn usable(&self) -> usize {
        self.missing.iter().filter(|missing| !**missing).count()
    }

    /// The regressor that is missing most often, as an error.
    pub(crate) fn too_few(&self, history: Series<'_>, needed: usize) -> FitError {
        let gaps = |index: usize| {
            history.regressors[index]
                .iter()
                .filter(|v| v.is_nan())
                .count()
        };
        let worst = self
            .kept
            .iter()
            .map(|(index, _)| *index)
            .max_by_key(|index| gaps(*index));
        match worst {
            Some(index) if gaps(index) > 0 => unusable(history, index),
            _ => FitError::TooShort {
                needed,
                found: self.usable(),
            },
        }
    }

    /// The values with lines drawn over the days that count as missing.
    pub(crate) fn filled(&self, values: &[f64]) -> Vec<f64> {
        if !self.any_missing {
            return values.to_vec();
        }
        let holed: Vec<f64> = values
            .iter()
            .zip(&self.missing)
            .map(|(value, missing)| if *missing { f64::NAN } else { *value })
            .collect();
        bridged(&holed)
    }

    /// The terms with these coefficients of the orthonormal columns.
    pub(crate) fn terms(&self, linear: &[f64]) -> Vec<Term> {
        let mut coefficients = linear.to_vec();
        for row in (0..coefficients.len()).rev() {
            // A column is its row of the triangle times the orthonormal ones.
            for later in row + 1..coefficients.len() {
                coefficients[row] -= self.triangle[later][row] * coefficients[later];
            }
            coefficients[row] /= self.triangle[row][row];
        }
        self.kept
            .iter()
            .zip(coefficients)
            .map(|((index, center), coefficient)| Term {
                index: *index,
                center: *center,
                coefficient,
            })
            .collect()
    }
}

fn unusable(history: Series<'_>, index: usize) -> FitError {
    let first = history.regressors[index]
        .iter()
        .position(|value| value.is_nan());
    FitError::MissingRegressor {
        index,
        date: history.dates[first.unwrap_or(0)],
    }
}

fn subtract(from: &mut [f64], column: &[f64], times: f64) {
    for (value, other) in from.iter_mut().zip(column) {
        *value -= times * other;
    }
}

fn length_of(values: &[f64]) -> f64 {
    crate::moments::root_sum_of_squares(values.iter().copied())
}

fn around_mean(values: &[f64]) -> Vec<f64> {
    let mean = mean(values);
    values.iter().map(|value| value - mean).collect()
}

/// The values with a straight line from neighbour to neighbour where they are NaN, and level at the
/// ends.
fn bridged(values: &[f64]) -> Vec<f64> {
    let mut filled = values.to_vec();
    let mut last: Option<usize> = None;
    for day in 0..filled.len() {
        if filled[day].is_nan() {
            continue;
        }
        match last {
            None => filled[..day].fill(values[day]),
            Some(from) => {
                let step = (values[day] - values[from]) / (day - from) as f64;
                for (passed, value) in filled[from + 1..day].iter_mut().enumerate() {
                    *value = values[from] + step * (passed + 1) as f64;
                }
            }
        }
        last = Some(day);
    }
    if let Some(from) = last {
        filled[from + 1..].fill(values[from]);
    }
    filled
}
