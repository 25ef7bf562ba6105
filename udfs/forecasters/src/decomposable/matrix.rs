//! Small symmetric matrices, stored whole and row by row, and their Cholesky factors.

use std::ops::Range;

use crate::math::ln;
use crate::sizes::dot;

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

    /// The inverse of the factor, lower triangular as well.
    pub(crate) fn inverse(&self) -> Inverse {
        let size = self.lower.size;
        let mut rows = vec![0.0; size * size];
        for row in 0..size {
            let (done, rest) = rows.split_at_mut(row * size);
            let current = &mut rest[..size];
            let line = self.lower.row(row);
            for (column, above) in done.chunks_exact(size).enumerate() {
                let weight = line[column];
                current[..=column]
                    .iter_mut()
                    .zip(above)
                    .for_each(|(value, above)| *value -= weight * above);
            }
            current[row] = 1.0;
            let pivot = 1.0 / line[row];
            current[..=row].iter_mut().for_each(|value| *value *= pivot);
        }
        Inverse {
            lower: Matrix { size, values: rows },
        }
    }
}

/// A lower triangular K with M⁻¹ = K'K.
pub(crate) struct Inverse {
    lower: Matrix,
}

impl Inverse {
    /// The diagonal of the inverse.
    pub(crate) fn diagonal(&self) -> Vec<f64> {
        let size = self.lower.size;
        let mut diagonal = vec![0.0; size];
        for row in 0..size {
            let entries = diagonal.iter_mut().zip(self.lower.row(row));
            entries.for_each(|(sum, entry)| *sum += entry * entry);
        }
        diagonal
    }

    /// The trace of the product of the inverse and another matrix, of which the first rows and columns
    /// are taken.
    pub(crate) fn trace_with(&self, other: &Matrix) -> f64 {
        (0..self.lower.size)
            .map(|row| {
                let line = &self.lower.row(row)[..=row];
                let products =
                    (0..=row).map(|column| line[column] * dot(&other.row(column)[..=row], line));
                products.sum::<f64>()
            })
            .sum()
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
        let diagonal = factor.inverse().diagonal();
        assert!((diagonal[0] - 0.375).abs() < 1e-15 && (diagonal[1] - 0.5).abs() < 1e-15);
        assert!((factor.log_determinant() - ln(8.0)).abs() < 1e-15);
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
