//! The rows of the regression, and the sums of squares that any autocorrelation of the errors needs
//! of them.
//!
//! A row is sparse: of the trend it holds two numbers, the shares of the change points before and
//! after its date (a straight line between two knots is a mean of its ends). The sums over rows are
//! therefore taken in the basis of knots and turned into that of slope changes afterwards, which
//! costs nothing that grows with the number of rows.
//!
//! For errors that pass the share φ on, the sum of squared innovations of a stationary start is
//!
//! (1 − φ²) r₁² + Σ (r_t − φ r_{t−1})² = (1 − φ)² Σ r_t² + φ Σ (r_t − r_{t−1})² + φ (1 − φ) (r₁² + r_n²),
//!
//! so three matrices of sums do for every φ, and none of them cancels another from 0 to 1.

use super::matrix::Matrix;
use crate::sizes::dot;

/// Rows with a place on the trend, a line of effects, and a value.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    /// The knot before each row, and the share of the way to the next one.
    pub(crate) places: Vec<(usize, f64)>,
    /// As many numbers a row as there are effects.
    pub(crate) effects: Vec<f64>,
    pub(crate) width: usize,
    pub(crate) values: Vec<f64>,
    /// `basis[knot][column]` is a column of the trend at a knot.
    pub(crate) basis: Vec<Vec<f64>>,
    /// The columns of the trend that are not slope changes: 1 for a flat one, else 2.
    pub(crate) lines: usize,
}

/// How a row's trend and effects bear on what is fitted, and what is fitted: the linearised model.
pub(crate) struct Linearised {
    /// A weight of the trend and one of the effects for every row; `None` if all are 1.
    pub(crate) weights: Option<Vec<(f64, f64)>>,
    pub(crate) target: Vec<f64>,
}

/// Sums over rows of products of columns. The order of columns is: trend without slope changes,
/// effects, slope changes, target.
pub(crate) struct Products {
    /// Of the rows.
    pub(crate) levels: Matrix,
    /// Of the differences between rows that follow each other.
    pub(crate) steps: Matrix,
    /// Of the first and the last row.
    pub(crate) ends: Matrix,
}

impl Rows {
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// The number of slope changes.
    pub(crate) fn changes(&self) -> usize {
        self.basis[0].len() - self.lines
    }

    /// The number of coefficients.
    pub(crate) fn columns(&self) -> usize {
        self.basis[0].len() + self.width
    }

    /// Trend and effects of every row under these coefficients.
    pub(crate) fn parts(&self, coefficients: &[f64]) -> impl Iterator<Item = (f64, f64)> {
        let (lines, rest) = coefficients.split_at(self.lines);
        let (effects, changes) = rest.split_at(self.width);
        let knots: Vec<f64> = self
            .basis
            .iter()
            .map(|row| dot(&row[..lines.len()], lines) + dot(&row[lines.len()..], changes))
            .collect();
        (0..self.len()).map(move |row| {
            let (knot, share) = self.places[row];
            let trend = knots[knot] + share * (knots[knot + 1] - knots[knot]);
            let line = &self.effects[row * self.width..(row + 1) * self.width];
            (trend, dot(line, effects))
        })
    }

    pub(crate) fn products(&self, linearised: &Linearised) -> Products {
        let (knots, width) = (self.basis.len(), self.width + 1);
        let mut levels = Sums::new(knots, width);
        let mut steps = Sums::new(knots, width);
        let mut ends = Sums::new(knots, width);
        let (mut line, mut before, mut step) =
            (vec![0.0; width], vec![0.0; width], vec![0.0; width]);
        let mut place_before = [(0, 0.0); 2];
        for row in 0..self.len() {
            let effects = &self.effects[row * self.width..(row + 1) * self.width];
            line[..self.width].copy_from_slice(effects);
            let mut of_trend = 1.0;
            if let Some(weights) = &linearised.weights {
                let (trend, effect) = weights[row];
                of_trend = trend;
                line[..self.width]
                    .iter_mut()
                    .for_each(|value| *value *= effect);
            }
            line[self.width] = linearised.target[row];
            let (knot, share) = self.places[row];
            let place = [
                (knot, of_trend * (1.0 - share)),
                (knot + 1, of_trend * share),
            ];
            levels.add(&place, &line);
            if row > 0 {
                for ((step, line), before) in step.iter_mut().zip(&line).zip(&before) {
                    *step = line - before;
                }
                let [first, second] = place_before;
                let moved = [
                    place[0],
                    place[1],
                    (first.0, -first.1),
                    (second.0, -second.1),
                ];
                steps.add(&moved, &step);
            }
            if row == 0 || row + 1 == self.len() {
                ends.add(&place, &line);
            }
            std::mem::swap(&mut line, &mut before);
            place_before = place;
        }
        Products {
            levels: self.turn(levels),
            steps: self.turn(steps),
            ends: self.turn(ends),
        }
    }

    /// From the basis of knots to that of slope changes.
    fn turn(&self, mut sums: Sums) -> Matrix {
        sums.flush();
        let (knots, width, columns) = (self.basis.len(), sums.width, self.basis[0].len());
        let place = |column: usize| {
            if column < self.lines {
                column
            } else {
                column + self.width
            }
        };
        let other = |column: usize| {
            if column < self.width {
                self.lines + column
            } else {
                self.columns()
            }
        };
        let mut matrix = Matrix::zeros(self.columns() + 1);
        for row in 0..width {
            for column in 0..=row {
                // Only the upper half was summed.
                let sum = sums.dense[column * width + row];
                matrix.set_both(other(row), other(column), sum);
            }
        }
        let mut mixed = vec![0.0; width];
        let mut half = vec![0.0; knots];
        for column in 0..columns {
            mixed.fill(0.0);
            half.fill(0.0);
            for knot in 0..knots {
                let weight = self.basis[knot][column];
                if weight != 0.0 {
                    add(
                        &mut mixed,
                        weight,
                        &sums.cross[knot * width..(knot + 1) * width],
                    );
                    add(
                        &mut half,
                        weight,
                        &sums.trend[knot * knots..(knot + 1) * knots],
                    );
                }
            }
            for (index, sum) in mixed.iter().enumerate() {
                matrix.set_both(place(column), other(index), *sum);
            }
            for earlier in 0..=column {
                let sum = (0..knots)
                    .map(|knot| half[knot] * self.basis[knot][earlier])
                    .sum();
                matrix.set_both(place(column), place(earlier), sum);
            }
        }
        matrix
    }
}

/// Sums of products in the basis of knots.
struct Sums {
    width: usize,
    knots: usize,
    /// Effects and target with each other, upper half.
    dense: Vec<f64>,
    /// Knots with effects and target.
    cross: Vec<f64>,
    /// Knots with each other.
    trend: Vec<f64>,
    /// Rows that wait to be added to `dense`, four at a time.
    waiting: [Vec<f64>; 4],
    filled: usize,
}

impl Sums {
    fn new(knots: usize, width: usize) -> Sums {
        Sums {
            width,
            knots,
            dense: vec![0.0; width * width],
            cross: vec![0.0; knots * width],
            trend: vec![0.0; knots * knots],
            waiting: std::array::from_fn(|_| vec![0.0; width]),
            filled: 0,
        }
    }

    fn add(&mut self, places: &[(usize, f64)], line: &[f64]) {
        for (knot, weight) in places {
            add(
                &mut self.cross[knot * self.width..(knot + 1) * self.width],
                *weight,
                line,
            );
            for (other, second) in places {
                self.trend[knot * self.knots + other] += weight * second;
            }
        }
        self.waiting[self.filled].copy_from_slice(line);
        self.filled += 1;
        if self.filled == self.waiting.len() {
            self.flush();
        }
    }

    fn flush(&mut self) {
        for waiting in &mut self.waiting[self.filled..] {
            waiting.fill(0.0);
        }
        self.filled = 0;
        let [a, b, c, d] = &self.waiting;
        for (row, sums) in self.dense.chunks_exact_mut(self.width).enumerate() {
            let (wa, wb, wc, wd) = (a[row], b[row], c[row], d[row]);
            let sums = &mut sums[row..];
            let (a, b, c, d) = (&a[row..], &b[row..], &c[row..], &d[row..]);
            for ((((sum, a), b), c), d) in sums.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                *sum += (wa * a + wb * b) + (wc * c + wd * d);
            }
        }
    }
}

fn add(sums: &mut [f64], weight: f64, line: &[f64]) {
    sums.iter_mut()
        .zip(line)
        .for_each(|(sum, value)| *sum += weight * value);
}

/// The columns of a trend at its knots: a constant and, unless it is flat, the time and what has
/// passed since each change point.
pub(crate) fn basis(knots: &[f64], flat: bool) -> Vec<Vec<f64>> {
    knots
        .iter()
        .map(|knot| {
            let mut row = vec![1.0];
            if !flat {
                row.push(*knot);
                let changes = &knots[1..knots.len() - 1];
                row.extend(changes.iter().map(|change| (knot - change).max(0.0)));
            }
            row
        })
        .collect()
}

/// The knot before each time, and the share of the way to the next one; times and knots increase.
pub(crate) fn places(times: &[f64], knots: &[f64]) -> Vec<(usize, f64)> {
    let mut knot = 0;
    times
        .iter()
        .map(|time| {
            while knot + 2 < knots.len() && *time > knots[knot + 1] {
                knot += 1;
            }
            let share = (time - knots[knot]) / (knots[knot + 1] - knots[knot]);
            (knot, share)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, Streams};

    /// The sums, from columns written out one by one.
    #[test]
    fn products_are_sums_over_rows_of_columns_written_out() {
        let mut rng = Streams::new(&Digest::new()).path(1);
        let times: Vec<f64> = (0..23).map(|row| f64::from(row * row) / 484.0).collect();
        let knots = [0.0, times[3], times[9], times[14], 1.0];
        let width = 3;
        let rows = Rows {
            places: places(&times, &knots),
            effects: (0..times.len() * width).map(|_| rng.normal()).collect(),
            width,
            values: (0..times.len()).map(|_| rng.normal()).collect(),
            basis: basis(&knots, false),
            lines: 2,
        };
        let linearised = Linearised {
            weights: Some(times.iter().map(|_| (rng.normal(), rng.normal())).collect()),
            target: rows.values.clone(),
        };
        let products = rows.products(&linearised);
        let line = |row: usize| -> Vec<f64> {
            let (of_trend, of_effects) = linearised.weights.as_ref().unwrap()[row];
            let mut line = vec![of_trend, of_trend * times[row]];
            line.extend((0..width).map(|effect| of_effects * rows.effects[row * width + effect]));
            line.extend(
                knots[1..4]
                    .iter()
                    .map(|change| of_trend * (times[row] - change).max(0.0)),
            );
            line.push(rows.values[row]);
            line
        };
        let lines: Vec<Vec<f64>> = (0..times.len()).map(line).collect();
        let steps: Vec<Vec<f64>> = lines
            .windows(2)
            .map(|pair| {
                pair[1]
                    .iter()
                    .zip(&pair[0])
                    .map(|(to, from)| to - from)
                    .collect()
            })
            .collect();
        let ends = [lines[0].clone(), lines[22].clone()];
        for (found, lines) in [
            (&products.levels, &lines[..]),
            (&products.steps, &steps[..]),
            (&products.ends, &ends[..]),
        ] {
            for row in 0..found.size() {
                for column in 0..found.size() {
                    let sum: f64 = lines.iter().map(|line| line[row] * line[column]).sum();
                    assert!(
                        (found.at(row, column) - sum).abs() < 1e-12,
                        "{row} {column}"
                    );
                }
            }
        }
    }
}
