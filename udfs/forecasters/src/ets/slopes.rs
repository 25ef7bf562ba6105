//! The likelihood's gradient and expected curvature, by differentiating the recursions.
//!
//! With the errors e of the predictions, the loss n log(sum of e^2) has the gradient
//! -(2 n / sum) sum of e dy and, because an innovation is independent of how the past depends on
//! the parameters, the expected curvature (2 n / sum) sum of dy dy', dy being the gradient of a
//! prediction. With relative errors u = e / y and d = dy / y, the gradient is
//! sum of (2 - (2 n / sum) u (1 + u)) d and the expected curvature
//! (2 n / sum + 4) sum of d d' - (4 / n) (sum of d) (sum of d)'.

use super::{
    form::{ALPHA, Kind, LEVEL},
    point::Reading,
    recursion::{ADDITIVE, Logarithms, MULTIPLICATIVE, NONE, Sums, by_form, damp, grown, seasoned},
};
use crate::math::ln;

/// Gradient and curvature at a point, and room to compute them in.
#[derive(Debug, Default)]
pub(crate) struct Slopes {
    /// The gradient.
    pub(crate) gradient: Vec<f64>,
    /// The expected curvature, `width` numbers a row, as many rows as columns are free; the upper
    /// triangle at least.
    pub(crate) curvature: Vec<f64>,
    /// The width of a row.
    pub(crate) width: usize,
    /// Gradients of the predictions, a row each.
    rows: Vec<f64>,
    /// Gradients of level, growth and seasonal states.
    states: Vec<f64>,
    season: Vec<f64>,
    /// Sums over the rows: weighted by the errors, and alone.
    weighted: Vec<f64>,
    plain: Vec<f64>,
}

/// The number of columns handled together.
const TILE: usize = 4;

impl Slopes {
    /// Computes both for the first `free` parameters, and returns the sums of the likelihood.
    pub(crate) fn compute(
        &mut self,
        reading: &Reading,
        point: &[f64],
        free: usize,
        values: &[f64],
    ) -> Sums {
        if reading.form.season == Kind::None {
            let relative = reading.form.relative;
            return match (relative, reading.form.trend, reading.form.damped) {
                (false, Kind::None, _) => self.level::<false, NONE, 2>(reading, point, values),
                (true, Kind::None, _) => self.level::<true, NONE, 2>(reading, point, values),
                (false, Kind::Additive, false) => {
                    self.level::<false, ADDITIVE, 4>(reading, point, values)
                }
                (true, Kind::Additive, false) => {
                    self.level::<true, ADDITIVE, 4>(reading, point, values)
                }
                (false, Kind::Additive, true) => {
                    self.level::<false, ADDITIVE, 6>(reading, point, values)
                }
                (true, Kind::Additive, true) => {
                    self.level::<true, ADDITIVE, 6>(reading, point, values)
                }
                (false, Kind::Multiplicative, false) => {
                    self.level::<false, MULTIPLICATIVE, 4>(reading, point, values)
                }
                (true, Kind::Multiplicative, false) => {
                    self.level::<true, MULTIPLICATIVE, 4>(reading, point, values)
                }
                (false, Kind::Multiplicative, true) => {
                    self.level::<false, MULTIPLICATIVE, 6>(reading, point, values)
                }
                (true, Kind::Multiplicative, true) => {
                    self.level::<true, MULTIPLICATIVE, 6>(reading, point, values)
                }
            };
        }
        by_form!(reading.form, seasonal(self, reading, point, free, values))
    }

    /// Without season; `P` is the number of parameters, rounded up to an even one.
    fn level<const E: bool, const T: u8, const P: usize>(
        &mut self,
        reading: &Reading,
        point: &[f64],
        values: &[f64],
    ) -> Sums {
        let smoothing = reading.smoothing(point);
        let (mut level, mut growth) = (point[LEVEL], reading.growth(point));
        let share = if T == NONE { 0.0 } else { point[2] };
        let room = smoothing.alpha;
        let mut of_level = [0.0; P];
        let mut of_growth = [0.0; P];
        of_level[LEVEL] = 1.0;
        if T != NONE {
            of_growth[3] = 1.0;
        }
        let mut products = [[0.0; P]; P];
        let mut weighted = [0.0; P];
        let mut plain = [0.0; P];
        let mut squares = 0.0;
        let mut lowest = f64::INFINITY;
        let mut logarithms = Logarithms::new();
        for value in values {
            let damped = damp::<T>(growth, smoothing.phi);
            let (fade, by_phi) = fading::<T>(growth, damped, smoothing.phi, P > 4);
            let (by_level, by_damped) = sides::<T>(level, damped);
            let expected = grown::<T>(level, damped);
            let mut row = [0.0; P];
            let mut of_damped = [0.0; P];
            for k in 0..P {
                of_damped[k] = fade * of_growth[k];
                row[k] = by_level * of_level[k];
            }
            if P > 4 {
                of_damped[4] += by_phi;
            }
            if T != NONE {
                for k in 0..P {
                    row[k] += by_damped * of_damped[k];
                }
            }
            let surprise = value - expected;
            let per_level = if T == MULTIPLICATIVE {
                1.0 / level
            } else {
                1.0
            };
            if T != NONE {
                let turn = smoothing.beta * per_level;
                for k in 0..P {
                    of_growth[k] = of_damped[k] - turn * row[k];
                }
                if T == MULTIPLICATIVE {
                    let back = turn * surprise * per_level;
                    for k in 0..P {
                        of_growth[k] -= back * of_level[k];
                    }
                }
                of_growth[ALPHA] += share * per_level * surprise;
                of_growth[2] += room * per_level * surprise;
                growth = damped + smoothing.beta * (surprise * per_level);
            }
            let keep = 1.0 - smoothing.alpha;
            for k in 0..P {
                of_level[k] = keep * row[k];
            }
            of_level[ALPHA] += surprise;
            level = expected + smoothing.alpha * surprise;
            if E || T == MULTIPLICATIVE {
                lowest = if expected < lowest { expected } else { lowest };
            }
            let weight = if E {
                let inverse = 1.0 / expected;
                for entry in &mut row {
                    *entry *= inverse;
                }
                let error = surprise * inverse;
                logarithms.add(expected);
                squares += error * error;
                for k in 0..P {
                    plain[k] += row[k];
                }
                error * (1.0 + error)
            } else {
                squares += surprise * surprise;
                surprise
            };
            for k in 0..P {
                weighted[k] += weight * row[k];
                for other in 0..P {
                    products[k][other] += row[k] * row[other];
                }
            }
        }
        if lowest <= 0.0 || !squares.is_finite() {
            return Sums::REFUSED;
        }
        self.weighted.clear();
        self.weighted.extend_from_slice(&weighted);
        self.plain.clear();
        self.plain.extend_from_slice(&plain);
        self.curvature.clear();
        self.curvature.extend_from_slice(products.as_flattened());
        self.width = P;
        let sums = Sums {
            squares,
            logarithms: if E { logarithms.sum() } else { 0.0 },
        };
        self.finish(E, sums, values.len());
        sums
    }

    /// Turns sums of products into gradient and curvature.
    fn finish(&mut self, relative: bool, sums: Sums, count: usize) {
        let precision = sums.precision(count);
        let width = self.width;
        self.gradient.clear();
        self.gradient
            .extend(self.weighted.iter().map(|sum| -precision * sum));
        if !relative {
            self.curvature
                .iter_mut()
                .for_each(|product| *product *= precision);
            return;
        }
        for (slope, sum) in self.gradient.iter_mut().zip(&self.plain) {
            *slope += 2.0 * sum;
        }
        let share = 4.0 / count as f64;
        for (row, own) in self.curvature.chunks_exact_mut(width).zip(&self.plain) {
            for (product, other) in row.iter_mut().zip(&self.plain) {
                *product = (precision + 4.0) * *product - share * own * other;
            }
        }
    }

    /// Sums of products of the columns of `rows`: the upper triangle, in tiles.
    fn multiply(&mut self) {
        let width = self.width;
        self.curvature.clear();
        self.curvature.resize(width * width, 0.0);
        for first in (0..width).step_by(TILE) {
            for second in (first..width).step_by(TILE) {
                let mut tile = [[0.0; TILE]; TILE];
                for row in self.rows.chunks_exact(width) {
                    let left: &[f64; TILE] = row[first..first + TILE].try_into().expect("a tile");
                    let right: &[f64; TILE] =
                        row[second..second + TILE].try_into().expect("a tile");
                    for (sums, left) in tile.iter_mut().zip(left) {
                        for (sum, right) in sums.iter_mut().zip(right) {
                            *sum += left * right;
                        }
                    }
                }
                for (index, sums) in tile.iter().enumerate() {
                    let start = (first + index) * width + second;
                    self.curvature[start..start + TILE].copy_from_slice(sums);
                }
            }
        }
    }
}

/// The derivatives of the damped growth by growth and by phi.
#[inline(always)]
fn fading<const T: u8>(growth: f64, damped: f64, phi: f64, by_phi: bool) -> (f64, f64) {
    match T {
        NONE => (0.0, 0.0),
        ADDITIVE => (phi, growth),
        _ if by_phi => (phi * damped / growth, damped * ln(growth)),
        _ => (1.0, 0.0),
    }
}

/// The derivatives of the level expected by level and by damped growth.
#[inline(always)]
fn sides<const T: u8>(level: f64, damped: f64) -> (f64, f64) {
    if T == MULTIPLICATIVE {
        (damped, level)
    } else {
        (1.0, 1.0)
    }
}

/// With a season. Columns from `free` on, if there are any, are initial states that are held.
fn seasonal<const E: bool, const T: u8, const S: u8>(
    slopes: &mut Slopes,
    reading: &Reading,
    point: &[f64],
    free: usize,
    values: &[f64],
) -> Sums {
    let layout = reading.layout;
    let length = reading.season_length;
    let smoothing = reading.smoothing(point);
    let gamma = layout.gamma.unwrap_or(0);
    let width = free.next_multiple_of(TILE);
    let (mut level, mut growth) = (point[LEVEL], reading.growth(point));
    let mut season = std::mem::take(&mut slopes.season);
    reading.season(point, &mut season);
    slopes.width = width;
    slopes.rows.clear();
    slopes.rows.resize(values.len() * width, 0.0);
    slopes.states.clear();
    slopes.states.resize((length + 2) * width, 0.0);
    for sums in [&mut slopes.weighted, &mut slopes.plain] {
        sums.clear();
        sums.resize(width, 0.0);
    }
    let (trends, of_season) = slopes.states.split_at_mut(2 * width);
    let (of_level, of_growth) = trends.split_at_mut(width);
    of_level[LEVEL] = 1.0;
    if let Some(beta) = layout.beta {
        of_growth[beta + 1] = 1.0;
    }
    for column in gamma + 1..free {
        of_season[(column - gamma - 1) * width + column] = 1.0;
        of_season[(length - 1) * width + column] = -1.0;
    }
    let (share_of_beta, room_of_beta) = match layout.beta {
        Some(beta) => (point[beta], smoothing.alpha),
        None => (0.0, 0.0),
    };
    let (share_of_gamma, room_of_gamma) = (point[gamma], 1.0 - smoothing.alpha);
    let mut squares = 0.0;
    let mut lowest = f64::INFINITY;
    let mut logarithms = Logarithms::new();
    let weighted = &mut slopes.weighted[..width];
    let plain = &mut slopes.plain[..width];
    let cycles = values
        .chunks(length)
        .zip(slopes.rows.chunks_mut(length * width));
    for (cycle, rows) in cycles {
        let steps = cycle
            .iter()
            .zip(season.iter_mut())
            .zip(rows.chunks_exact_mut(width))
            .zip(of_season.chunks_exact_mut(width));
        for (((value, season), row), of_season) in steps {
            let damped = damp::<T>(growth, smoothing.phi);
            let (fade, by_phi) = fading::<T>(growth, damped, smoothing.phi, layout.phi.is_some());
            let (by_level, by_damped) = sides::<T>(level, damped);
            let expected = grown::<T>(level, damped);
            let predicted = seasoned::<S>(expected, *season);
            let error = value - predicted;
            // How the error of the level depends on the season, and that of the season on the level.
            let (surprise, by_season, seasonal_surprise, by_expected) = if S == MULTIPLICATIVE {
                let plain = value / *season;
                let factor = value / expected;
                (
                    plain - expected,
                    plain / *season,
                    factor - *season,
                    factor / expected,
                )
            } else {
                ((value - *season) - expected, 1.0, error, 1.0)
            };
            let (of_expected_weight, of_season_weight) = if S == MULTIPLICATIVE {
                (*season, expected)
            } else {
                (1.0, 1.0)
            };
            let inverse = if E { 1.0 / predicted } else { 1.0 };
            let relative = error * inverse;
            let weight = if E {
                logarithms.add(predicted);
                relative * (1.0 + relative)
            } else {
                error
            };
            squares += relative * relative;
            if E || T == MULTIPLICATIVE || S == MULTIPLICATIVE {
                lowest = if predicted < lowest {
                    predicted
                } else {
                    lowest
                };
            }
            let per_level = if T == MULTIPLICATIVE {
                1.0 / level
            } else {
                1.0
            };
            let turn = smoothing.beta * per_level;
            let back = if T == MULTIPLICATIVE {
                turn * surprise * per_level
            } else {
                0.0
            };
            let from_expected = inverse * of_expected_weight;
            let from_season = inverse * of_season_weight;
            let keep_season = 1.0 - smoothing.gamma;
            let pull_season = smoothing.gamma * by_expected;
            let columns = of_level
                .iter_mut()
                .zip(of_growth.iter_mut())
                .zip(of_season.iter_mut())
                .zip(row.iter_mut())
                .zip(weighted.iter_mut())
                .zip(plain.iter_mut());
            for (((((of_level, of_growth), of_season), row), weighted), plain) in columns {
                let mut of_expected = by_level * *of_level;
                let mut of_damped = 0.0;
                if T != NONE {
                    of_damped = fade * *of_growth;
                    of_expected += by_damped * of_damped;
                }
                let of_surprise = -of_expected - by_season * *of_season;
                if T != NONE {
                    *of_growth = of_damped + turn * of_surprise;
                    if T == MULTIPLICATIVE {
                        *of_growth -= back * *of_level;
                    }
                }
                *of_level = of_expected + smoothing.alpha * of_surprise;
                *row = from_expected * of_expected + from_season * *of_season;
                *of_season = keep_season * *of_season - pull_season * of_expected;
                *weighted += weight * *row;
                if E {
                    *plain += *row;
                }
            }
            if let Some(phi) = layout.phi {
                let moved = by_damped * by_phi;
                let added = from_expected * moved;
                row[phi] += added;
                weighted[phi] += weight * added;
                plain[phi] += added;
                of_level[phi] += (1.0 - smoothing.alpha) * moved;
                of_growth[phi] += by_phi - turn * moved;
                of_season[phi] -= pull_season * moved;
            }
            of_level[ALPHA] += surprise;
            of_season[ALPHA] -= share_of_gamma * seasonal_surprise;
            of_season[gamma] += room_of_gamma * seasonal_surprise;
            if T != NONE {
                let beta = 2;
                of_growth[ALPHA] += share_of_beta * per_level * surprise;
                of_growth[beta] += room_of_beta * per_level * surprise;
                growth = damped + turn * surprise;
            }
            level = expected + smoothing.alpha * surprise;
            *season += smoothing.gamma * seasonal_surprise;
        }
    }
    slopes.season = season;
    if lowest <= 0.0 || !squares.is_finite() {
        return Sums::REFUSED;
    }
    let sums = Sums {
        squares,
        logarithms: if E { logarithms.sum() } else { 0.0 },
    };
    slopes.multiply();
    slopes.finish(E, sums, values.len());
    sums
}
