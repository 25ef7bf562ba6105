//! Small symmetric matrices, stored whole and row by row, and their Cholesky factors.

use std::ops::Range;

use super::lasso::dot;
use crate::math::ln;

/// A symmetric matrix.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Matrix {
    size: usize,
    values: Vec<f64>,
}

impl Matrix {
    pub(crate) fn zeros(size: usize) -> Matrix {
        Matrix {
            size,
            values: vec![0.0; size * size],
        }
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    pub(crate) fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.size..(row + 1) * self.size]
    }

    pub(crate) fn at(&self, row: usize, column: usize) -> f64 {
        self.values[row * self.size + column]
    }

    pub(crate) fn set_both(&mut self, row: usize, column: usize, value: f64) {
        self.values[row * self.size + column] = value;
        self.values[column * self.size + row] = value;
    }

    pub(crate) fn add_to_diagonal(&mut self, index: usize, value: f64) {
        self.values[index * self.size + index] += value;
    }

    /// The rows and columns of a range.
    pub(crate) fn part(&self, range: Range<usize>) -> Matrix {
        let mut values = Vec::with_capacity(range.len() * range.len());
        for row in range.clone() {
            values.extend_from_slice(&self.row(row)[range.clone()]);
        }
        Matrix {
            size: range.len(),
            values,
        }
    }

    /// The rows and columns with these indices.
    pub(crate) fn select(&self, indices: &[usize]) -> Matrix {
        let mut values = Vec::with_capacity(indices.len() * indices.len());
        for row in indices {
            values.extend(indices.iter().map(|column| self.at(*row, *column)));
        }
        Matrix {
            size: indices.len(),
            values,
        }
    }

    /// The sum of three matrices with these weights.
    pub(crate) fn combine(weighted: [(f64, &Matrix); 3]) -> Matrix {
        let [(a, first), (b, second), (c, third)] = weighted;
        let values = first
            .values
            .iter()
            .zip(&second.values)
            .zip(&third.values)
            .map(|((first, second), third)| a * first + b * second + c * third)
            .collect();
        Matrix {
            size: first.size,
            values,
        }
    }

    /// The sum of products with the entries of the upper left part of another matrix.
    pub(crate) fn trace_with(&self, other: &Matrix) -> f64 {
        (0..self.size)
            .map(|row| dot(self.row(row), &other.row(row)[..self.size]))
            .sum()
    }

    /// x'Mx.
    pub(crate) fn form(&self, x: &[f64]) -> f64 {
        (0..self.size)
            .filter(|row| x[*row] != 0.0)
            .map(|row| x[row] * dot(self.row(row), x))
            .sum()
    }
}

/// A lower triangular L with M = LL'.
pub(crate) struct Cholesky {
    lower: Matrix,
}

impl Cholesky {
    /// `None` unless the matrix is positive definite.
    pub(crate) fn of(matrix: &Matrix) -> Option<Cholesky> {
        let size = matrix.size;
        let mut lower = Matrix::zeros(size);
        for row in 0..size {
            let (done, rest) = lower.values.split_at_mut(row * size);
            let current = &mut rest[..size];
            for column in 0..row {
                let other = &done[column * size..(column + 1) * size];
                let sum = matrix.at(row, column) - dot(&current[..column], &other[..column]);
                current[column] = sum / other[column];
            }
            let pivot = matrix.at(row, row) - dot(&current[..row], &current[..row]);
            if pivot.is_nan() || pivot <= 0.0 {
                return None;
            }
            current[row] = pivot.sqrt();
        }
        Some(Cholesky { lower })
    }

    /// The y with Ly = b.
    pub(crate) fn lower_solve(&self, target: &[f64]) -> Vec<f64> {
        let mut found = Vec::with_capacity(target.len());
        for (row, target) in target.iter().enumerate() {
            let line = self.lower.row(row);
            found.push((target - dot(&line[..row], &found)) / line[row]);
        }
        found
    }

    /// The x with L'x = y.
    pub(crate) fn upper_solve(&self, target: &[f64]) -> Vec<f64> {
        let mut found = target.to_vec();
        for row in (0..found.len()).rev() {
            let line = self.lower.row(row);
            let value = found[row] / line[row];
            found[row] = value;
            found[..row]
                .iter_mut()
                .zip(line)
                .for_each(|(rest, weight)| *rest -= weight * value);
        }
        found
    }

    /// The x with Mx = b.
    pub(crate) fn solve(&self, target: &[f64]) -> Vec<f64> {
        self.upper_solve(&self.lower_solve(target))
    }

    /// The logarithm of the determinant.
    pub(crate) fn log_determinant(&self) -> f64 {
        let size = self.lower.size;
        (0..size).map(|row| 2.0 * ln(self.lower.at(row, row))).sum()
    }

    /// The inverse.
    pub(crate) fn inverse(&self) -> Matrix {
        let size = self.lower.size;
        let mut inverse = Matrix::zeros(size);
        let mut unit = vec![0.0; size];
        for column in 0..size {
            unit[column] = 1.0;
            let solved = self.solve(&unit);
            inverse.values[column * size..(column + 1) * size].copy_from_slice(&solved);
            unit[column] = 0.0;
        }
        inverse
    }

    /// An entry of the diagonal of the inverse.
    pub(crate) fn inverse_at(&self, index: usize) -> f64 {
        let mut unit = vec![0.0; self.lower.size];
        unit[index] = 1.0;
        let column = self.lower_solve(&unit);
        dot(&column, &column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equations_worked_by_hand_are_solved() {
        let mut matrix = Matrix::zeros(2);
        matrix.set_both(0, 0, 4.0);
        matrix.set_both(1, 0, 2.0);
        matrix.set_both(1, 1, 3.0);
        // det = 8; the inverse is [[3, -2], [-2, 4]] / 8.
        let factor = Cholesky::of(&matrix).unwrap();
        let found = factor.solve(&[8.0, 16.0]);
        assert!((found[0] + 1.0).abs() < 1e-15 && (found[1] - 6.0).abs() < 1e-15);
        assert!((factor.inverse_at(0) - 0.375).abs() < 1e-15);
        assert!((factor.inverse_at(1) - 0.5).abs() < 1e-15);
        assert!((factor.log_determinant() - ln(8.0)).abs() < 1e-15);
        assert!((factor.inverse().at(0, 1) + 0.25).abs() < 1e-15);
        assert!((factor.inverse().trace_with(&matrix) - 2.0).abs() < 1e-14);
        assert_eq!(matrix.form(&[1.0, -2.0]), 4.0 - 8.0 + 12.0);
    }

    #[test]
    fn a_matrix_that_is_not_positive_definite_is_refused() {
        let mut matrix = Matrix::zeros(2);
        matrix.set_both(0, 0, 1.0);
        matrix.set_both(1, 0, 2.0);
        matrix.set_both(1, 1, 4.0);
        assert!(Cholesky::of(&matrix).is_none());
    }
}
