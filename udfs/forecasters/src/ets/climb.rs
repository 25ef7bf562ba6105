//! The search for the likeliest parameters of one form: scoring (Gauss and Newton's method with the
//! likelihood's expected curvature), steps damped after Levenberg and Marquardt, within bounds.

use super::{
    form::{ALPHA, LEVEL},
    point::{DAMPING, LEAST, Reading},
    slopes::Slopes,
};

/// How a climb ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// A step that promises less than this of the loss, minus twice the log-likelihood, is the last.
    pub(crate) tolerance: f64,
    /// The most steps.
    pub(crate) most_steps: usize,
}

/// A point and its loss.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    pub(crate) point: Vec<f64>,
    pub(crate) loss: f64,
}

/// Which of a form's parameters are searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Free {
    /// All.
    All,
    /// All but the initial seasonal states.
    AllButSeason,
    /// The smoothing parameters.
    Smoothing,
}

/// Searches, one after the other, and the room they work in.
#[derive(Debug)]
pub(crate) struct Climber<'a> {
    /// The history.
    pub(crate) values: &'a [f64],
    /// The greatest beta, as a share of alpha.
    pub(crate) steepest: f64,
    /// How often the recursions ran over the history, with slopes or without.
    pub(crate) calls: usize,
    slopes: Slopes,
    season: Vec<f64>,
    lower: Vec<f64>,
    upper: Vec<f64>,
    fixed: Vec<bool>,
    step: Vec<f64>,
    root: Vec<f64>,
    trial: Vec<f64>,
}

impl<'a> Climber<'a> {
    pub(crate) fn new(values: &'a [f64], steepest: f64) -> Climber<'a> {
        Climber {
            values,
            steepest,
            calls: 0,
            slopes: Slopes::default(),
            season: vec![],
            lower: vec![],
            upper: vec![],
            fixed: vec![],
            step: vec![],
            root: vec![],
            trial: vec![],
        }
    }

    /// The loss at a point.
    pub(crate) fn loss(&mut self, reading: &Reading, point: &[f64]) -> f64 {
        self.calls += 1;
        let sums = reading.sums(point, self.values, &mut self.season);
        sums.loss(self.values.len())
    }

    /// Climbs from a place to the top nearby.
    pub(crate) fn climb(
        &mut self,
        reading: &Reading,
        free: Free,
        place: &mut Place,
        patience: Patience,
    ) {
        let layout = reading.layout;
        let columns = match free {
            Free::All => layout.length,
            Free::AllButSeason | Free::Smoothing => layout.without_season(),
        };
        self.bound(reading, free, &place.point, columns);
        let mut damping = 1e-3;
        for _ in 0..patience.most_steps {
            self.calls += 1;
            let sums = self
                .slopes
                .compute(reading, &place.point, columns, self.values);
            let loss = sums.loss(self.values.len());
            if !loss.is_finite() {
                return;
            }
            place.loss = loss;
            let mut gained = None;
            for _ in 0..12 {
                let promised = self.direct(&place.point, columns, damping);
                if promised.is_nan() || promised <= 0.0 {
                    return;
                }
                self.trial.clear();
                self.trial.extend_from_slice(&place.point);
                for column in 0..columns {
                    self.trial[column] = (place.point[column] + self.step[column])
                        .clamp(self.lower[column], self.upper[column]);
                }
                self.calls += 1;
                let found = reading
                    .sums(&self.trial, self.values, &mut self.season)
                    .loss(self.values.len());
                let gain = place.loss - found;
                if gain > 0.0 {
                    std::mem::swap(&mut place.point, &mut self.trial);
                    place.loss = found;
                    let ratio = gain / promised;
                    if ratio > 0.75 {
                        damping = (damping * 0.1).max(1e-9);
                    } else if ratio < 0.25 {
                        damping *= 4.0;
                    }
                    gained = Some(promised.max(gain));
                    break;
                }
                if promised < patience.tolerance {
                    return;
                }
                damping = (damping * 10.0).max(1e-2);
            }
            match gained {
                Some(gained) if gained > patience.tolerance => {}
                _ => return,
            }
        }
    }

    /// The bounds of each column; equal ones where it is held.
    fn bound(&mut self, reading: &Reading, free: Free, point: &[f64], columns: usize) {
        let layout = reading.layout;
        self.lower.clear();
        self.upper.clear();
        self.lower.resize(columns, f64::NEG_INFINITY);
        self.upper.resize(columns, f64::INFINITY);
        let steepest = self.steepest;
        let mut set = |column: usize, lower: f64, upper: f64| {
            self.lower[column] = lower;
            self.upper[column] = upper;
        };
        set(ALPHA, LEAST, 1.0 - LEAST);
        if free == Free::Smoothing {
            set(LEVEL, point[LEVEL], point[LEVEL]);
        }
        if let Some(beta) = layout.beta {
            set(beta, 0.0, steepest);
            if free == Free::Smoothing {
                set(beta + 1, point[beta + 1], point[beta + 1]);
            }
        }
        if let Some(phi) = layout.phi {
            set(phi, DAMPING.0, DAMPING.1);
        }
        if let Some(gamma) = layout.gamma {
            set(gamma, 0.0, 1.0);
        }
    }

    /// Writes the damped step from a point to where the quadratic model is least within the bounds,
    /// and returns what it promises to gain.
    fn direct(&mut self, point: &[f64], columns: usize, damping: f64) -> f64 {
        let width = self.slopes.width;
        let curvature = &self.slopes.curvature;
        let gradient = &self.slopes.gradient;
        let entry =
            |row: usize, column: usize| curvature[row.min(column) * width + row.max(column)];
        self.step.clear();
        self.step.resize(columns, 0.0);
        self.fixed.clear();
        self.fixed.extend((0..columns).map(|k| {
            let slope = gradient[k];
            let diagonal = curvature[k * width + k];
            let useless = diagonal.is_nan() || diagonal <= 1e-300;
            useless
                || self.lower[k] == self.upper[k]
                || point[k] <= self.lower[k] && slope >= 0.0
                || point[k] >= self.upper[k] && slope <= 0.0
        }));
        loop {
            let free: usize = self.fixed.iter().filter(|fixed| !**fixed).count();
            // A Cholesky root of the free part, with the right side as a last row.
            let stride = free + 1;
            self.root.clear();
            self.root.resize(stride * stride, 0.0);
            let places = || (0..columns).filter(|k| !self.fixed[*k]);
            for (row, k) in places().enumerate() {
                for (column, other) in places().enumerate().take(row + 1) {
                    self.root[row * stride + column] = entry(k, other);
                }
                self.root[row * stride + row] *= 1.0 + damping;
                let pulled: f64 = (0..columns)
                    .filter(|other| self.fixed[*other] && self.step[*other] != 0.0)
                    .map(|other| entry(k, other) * self.step[other])
                    .sum();
                self.root[free * stride + row] = -gradient[k] - pulled;
            }
            if !factor(&mut self.root, stride) {
                return f64::NAN;
            }
            // Back substitution, in place of the right side.
            for row in (0..free).rev() {
                let mut value = self.root[free * stride + row];
                for below in row + 1..free {
                    value -= self.root[below * stride + row] * self.root[free * stride + below];
                }
                self.root[free * stride + row] = value / self.root[row * stride + row];
            }
            let mut worst: Option<(f64, usize, f64)> = None;
            let mut solved = self.root[free * stride..].iter();
            for (k, at) in point.iter().enumerate().take(columns) {
                if self.fixed[k] {
                    continue;
                }
                let step = solved.next().copied().unwrap_or(0.0);
                self.step[k] = step;
                let (lower, upper) = (self.lower[k], self.upper[k]);
                let beyond = (lower - (at + step)).max(at + step - upper);
                if beyond > 0.0 && worst.is_none_or(|(most, ..)| beyond > most) {
                    worst = Some((beyond, k, (at + step).clamp(lower, upper) - at));
                }
            }
            match worst {
                None => break,
                Some((_, k, to)) => {
                    self.fixed[k] = true;
                    self.step[k] = to;
                }
            }
        }
        let mut promised = 0.0;
        for (k, slope) in gradient.iter().enumerate().take(columns) {
            if self.step[k] == 0.0 {
                continue;
            }
            let bent: f64 = (0..columns)
                .map(|other| entry(k, other) * self.step[other])
                .sum();
            promised -= self.step[k] * (slope + 0.5 * bent);
        }
        promised
    }
}

/// The Cholesky root, in place, of a matrix given by its lower triangle; the last row is a right
/// side, which becomes the solution with the root. False if the matrix is not positive definite.
fn factor(matrix: &mut [f64], stride: usize) -> bool {
    for row in 0..stride {
        for column in 0..row {
            let mut sum = matrix[row * stride + column];
            let (above, below) = matrix.split_at(row * stride);
            let left = &below[..column];
            let right = &above[column * stride..column * stride + column];
            for (left, right) in left.iter().zip(right) {
                sum -= left * right;
            }
            matrix[row * stride + column] = sum / matrix[column * stride + column];
        }
        if row + 1 == stride {
            return true;
        }
        let diagonal = matrix[row * stride + row];
        let squares: f64 = matrix[row * stride..row * stride + row]
            .iter()
            .map(|entry| entry * entry)
            .sum();
        let left = diagonal - squares;
        if left.is_nan() || left <= 1e-14 * diagonal {
            return false;
        }
        matrix[row * stride + row] = left.sqrt();
    }
    true
}
