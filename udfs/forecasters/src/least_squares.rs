//! Ordinary least squares with an intercept, for columns that may be constant or repeat each other.
//!
//! Columns are centered and scaled to length one before solving, so that prices of any unit are
//! solved alike. A column that is constant, or that the columns before it determine, is dropped: it
//! could not be told apart from the intercept or from them. The solver is linfa's (Householder QR);
//! it refuses only columns that depend on each other exactly, so dependence is judged here.

use linfa::{DatasetBase, traits::Fit};
use linfa_linear::LinearRegression;
use ndarray::{Array1, Array2};

use crate::{
    errors::FitError,
    fitted::finite,
    moments::{mean, root_sum_of_squares},
};

/// Below this share of its size, what is left of a centered column is rounding.
const CONSTANT: f64 = 1e-12;
/// Below this share of its length, what the columns before it leave of a column is rounding.
const COLLINEAR: f64 = 1e-8;

/// The target is `level` plus the sum of `coefficient * (column - center)` over the kept columns.
pub(crate) struct Solution {
    pub(crate) level: f64,
    pub(crate) kept: Vec<Kept>,
}

/// A column that was not dropped.
pub(crate) struct Kept {
    /// Its place among the columns given.
    pub(crate) index: usize,
    pub(crate) center: f64,
    pub(crate) coefficient: f64,
}

/// Solves for a target that is as long as every column. A constant target is its own level
/// exactly.
pub(crate) fn least_squares(columns: Vec<Vec<f64>>, target: &[f64]) -> Result<Solution, FitError> {
    let columns = independent(columns);
    let level = finite("level", mean(target))?;
    let deviations = || target.iter().map(|value| value - level);
    let spread = finite("spread", root_sum_of_squares(deviations()))?;
    let unit = if spread > 0.0 { spread } else { 1.0 };
    let coefficients = solve(&columns, deviations().map(|value| value / unit))?;
    let kept = columns
        .iter()
        .zip(coefficients)
        .map(|(column, coefficient)| {
            Ok(Kept {
                index: column.index,
                center: column.center,
                coefficient: finite("coefficient", coefficient * unit / column.scale)?,
            })
        })
        .collect::<Result<_, FitError>>()?;
    Ok(Solution { level, kept })
}

/// A centered column of length one.
struct Column {
    index: usize,
    center: f64,
    scale: f64,
    values: Vec<f64>,
}

impl Column {
    /// `None` for a constant column.
    fn scaled(index: usize, mut values: Vec<f64>) -> Option<Column> {
        let center = mean(&values);
        let size = values
            .iter()
            .fold(0.0f64, |size, value| size.max(value.abs()));
        let scale = root_sum_of_squares(values.iter().map(|value| value - center));
        if scale <= CONSTANT * size * (values.len() as f64).sqrt() {
            return None;
        }
        for value in &mut values {
            *value = (*value - center) / scale;
        }
        Some(Column {
            index,
            center,
            scale,
            values,
        })
    }
}

/// The columns that are not constant and that those before them do not determine, by modified
/// Gram-Schmidt.
fn independent(columns: Vec<Vec<f64>>) -> Vec<Column> {
    let mut directions: Vec<Vec<f64>> = Vec::new();
    let mut kept = Vec::new();
    for (index, values) in columns.into_iter().enumerate() {
        let Some(column) = Column::scaled(index, values) else {
            continue;
        };
        let mut rest = column.values.clone();
        for direction in &directions {
            let along: f64 = rest
                .iter()
                .zip(direction)
                .map(|(left, right)| left * right)
                .sum();
            rest.iter_mut()
                .zip(direction)
                .for_each(|(value, unit)| *value -= along * unit);
        }
        let left = root_sum_of_squares(rest.iter().copied());
        if left > COLLINEAR {
            rest.iter_mut().for_each(|value| *value /= left);
            directions.push(rest);
            kept.push(column);
        }
    }
    kept
}

/// The coefficients of a centered target on centered columns.
fn solve(columns: &[Column], target: impl Iterator<Item = f64>) -> Result<Vec<f64>, FitError> {
    if columns.is_empty() {
        return Ok(Vec::new());
    }
    let target: Array1<f64> = target.collect();
    let records = Array2::from_shape_fn((target.len(), columns.len()), |(row, column)| {
        columns[column].values[row]
    });
    LinearRegression::new()
        .with_intercept(false)
        .fit(&DatasetBase::new(records, target))
        .map(|model| model.params().to_vec())
        .map_err(|error| FitError::Singular {
            reason: error.to_string(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plane_worked_by_hand_is_found() {
        // 5 + 2 x - 3 y.
        let (x, y) = (vec![0.0, 1.0, 0.0, 1.0, 2.0], vec![0.0, 0.0, 1.0, 1.0, 5.0]);
        let solution = least_squares(vec![x, y], &[5.0, 7.0, 2.0, 4.0, -6.0]).unwrap();
        let coefficients: Vec<f64> = solution.kept.iter().map(|kept| kept.coefficient).collect();
        assert!((coefficients[0] - 2.0).abs() < 1e-14 && (coefficients[1] + 3.0).abs() < 1e-14);
        assert!((solution.level - 2.4).abs() < 1e-15);
    }

    #[test]
    fn constant_and_dependent_columns_are_dropped() {
        let first = vec![1.0, 2.0, 4.0, 8.0, 16.0];
        let second = vec![1.0, 0.0, 0.0, 1.0, 0.0];
        let sum: Vec<f64> = first
            .iter()
            .zip(&second)
            .map(|(left, right)| left + right)
            .collect();
        let columns = vec![vec![0.1; 5], first, second, sum];
        let solution = least_squares(columns, &[1.0, 2.0, 0.0, 1.0, 5.0]).unwrap();
        let kept: Vec<usize> = solution.kept.iter().map(|kept| kept.index).collect();
        assert_eq!(kept, [1, 2]);
    }
}
