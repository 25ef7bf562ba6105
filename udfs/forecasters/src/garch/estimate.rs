//! Maximum likelihood.

use super::{
    Body,
    form::{Form, Kind, Returns},
    recursion::{Mean, Variance},
};
use crate::{
    errors::FitError,
    family::Learned,
    fitted::finite,
    math::{exp, lgamma, ln},
    moments::mean,
    noise::{self, Noise},
    optimize::{Descent, Minimum, bfgs},
    series::Series,
    sizes::{largest, power_of_two},
    window::Window,
};

use super::numbers::{Guess, Numbers};

/// How many squared errors the backcast weighs, and the weight of each to the one before it.
const BACKCAST: (usize, f64) = (75, 0.94);

/// The largest share of the returns' size that passes for rounding.
const ROUNDING: f64 = 1e-10;

/// A fitted model with what it took.
pub(super) struct Estimated {
    pub(super) learned: Learned<Body>,
    /// How often the likelihood was computed.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests compare starts by it"))]
    pub(super) calls: usize,
}

/// Fits a form of model to a history, from the numbers of another one if there is one.
pub(super) fn estimate(
    form: Form,
    history: Series<'_>,
    first_guess: Option<&Body>,
) -> Result<Estimated, FitError> {
    let sample = Sample::new(&form, history)?;
    let last = history.values[history.len() - 1];
    let Some(backcast) = sample.backcast else {
        let body = Body {
            unit: sample.unit,
            last,
            mean: Mean {
                constant: sample.center,
                terms: vec![],
                recent: Window::of(&[], 0),
            },
            variance: Variance {
                kind: Kind::Garch,
                constant: 1.0,
                size: vec![],
                sign: vec![],
                carry: vec![],
                sizes: vec![],
                signs: vec![],
                levels: vec![],
            },
            shocks: Noise::gaussian(0.0),
            form,
        };
        let predictions = predictions(&body, history.values, |_| sample.center);
        return Ok(Estimated {
            learned: Learned {
                body,
                predictions,
                aicc: None,
            },
            calls: 0,
        });
    };
    let mut likelihood = Likelihood::new(&form, &sample.returns, backcast);
    let guess = first_guess.and_then(|body| Guess::of(&form, body, sample.unit));
    let found = search(&form, &mut likelihood, guess, sample.center);
    let numbers = Numbers::read(&form, &found.point);
    let loss = finite("likelihood", likelihood.loss(&numbers))?;

    let reach = form.reach();
    let shocks: Vec<f64> = likelihood.shocks().collect();
    let body = Body {
        unit: sample.unit,
        last,
        mean: Mean {
            constant: numbers.mean,
            terms: form
                .lags
                .iter()
                .copied()
                .zip(numbers.terms.clone())
                .collect(),
            recent: Window::of(&sample.returns, reach),
        },
        variance: likelihood.variance(&numbers),
        shocks: match form.errors {
            noise::Kind::Gaussian => Noise::gaussian(1.0),
            noise::Kind::StudentT => Noise::StudentT {
                deviation: 1.0,
                degrees: numbers.degrees,
            },
            noise::Kind::Bootstrap => Noise::fit(noise::Kind::Bootstrap, &shocks, 1.0)?,
        },
        form,
    };
    let returns = &sample.returns;
    let predictions = predictions(&body, history.values, |index| {
        numbers.mean_of(&body.form, returns, index)
    });
    let aicc = criterion(&body.form, history.values, loss, sample.unit);
    Ok(Estimated {
        learned: Learned {
            body,
            predictions,
            aicc: aicc.is_finite().then_some(aicc),
        },
        calls: found.calls,
    })
}

/// What the mean return of each step makes of the observation before it.
fn predictions(body: &Body, values: &[f64], mean: impl Fn(usize) -> f64) -> Vec<f64> {
    let reach = body.form.reach();
    (0..values.len())
        .map(|index| match index.checked_sub(1) {
            Some(before) if before >= reach => body
                .form
                .returns
                .after(values[before], body.unit * mean(before)),
            _ => f64::NAN,
        })
        .collect()
}

/// The AICc of the density of the observations themselves, so that logarithmic returns and
/// differences can be compared.
fn criterion(form: &Form, values: &[f64], loss: f64, unit: f64) -> f64 {
    let observed = &values[form.reach() + 1..];
    let (count, parameters) = (observed.len() as f64, form.parameters() as f64);
    let mut loss = count * (loss + ln(unit));
    if form.returns == Returns::Log {
        loss += observed.iter().map(|value| ln(*value)).sum::<f64>();
    }
    2.0 * loss + 2.0 * parameters * count / (count - parameters - 1.0)
}

/// The returns of a history in their unit.
pub(super) struct Sample {
    pub(super) unit: f64,
    pub(super) returns: Vec<f64>,
    /// Their mean, or zero where the mean is none.
    center: f64,
    /// The mean square before the first; none if no return deviates from the center.
    pub(super) backcast: Option<f64>,
}

impl Sample {
    pub(super) fn new(form: &Form, history: Series<'_>) -> Result<Sample, FitError> {
        let values = history.values;
        let mut returns = Vec::with_capacity(values.len());
        for (index, pair) in values.windows(2).enumerate() {
            let Some(change) = form.returns.between(pair[0], pair[1]) else {
                let outside = if pair[0] <= 0.0 { index } else { index + 1 };
                return Err(FitError::Domain {
                    value: values[outside],
                    date: history.dates[outside],
                    needed: "positive values",
                });
            };
            returns.push(finite("return", change)?);
        }
        let coarse = power_of_two(largest(&returns));
        returns.iter_mut().for_each(|change| *change /= coarse);
        let center = if form.constant { mean(&returns) } else { 0.0 };
        let squares: Vec<f64> = returns[form.reach()..]
            .iter()
            .map(|change| (change - center) * (change - center))
            .collect();
        let spread = mean(&squares).sqrt();
        if spread <= ROUNDING {
            return Ok(Sample {
                unit: coarse,
                returns,
                center,
                backcast: None,
            });
        }
        // Returns are largest near one; errors are brought there as well.
        let fine = power_of_two(spread);
        returns.iter_mut().for_each(|change| *change /= fine);
        let (count, ratio) = BACKCAST;
        let (mut sum, mut weights, mut weight) = (0.0, 0.0, 1.0);
        for square in squares.iter().take(count) {
            sum += weight * square;
            weights += weight;
            weight *= ratio;
        }
        // A history that begins with a quiet spell still had some variance before.
        let backcast = (sum / weights).max(1e-4 * spread * spread) / (fine * fine);
        Ok(Sample {
            unit: coarse * fine,
            returns,
            center: center / fine,
            backcast: Some(backcast),
        })
    }
}

/// The mean negative logarithm of the likelihood, and what it passes through.
pub(super) struct Likelihood<'a> {
    form: &'a Form,
    returns: &'a [f64],
    backcast: f64,
    /// As many entries before the first step as any lag reaches back, then one each step.
    before: usize,
    errors: Vec<f64>,
    sizes: Vec<f64>,
    signs: Vec<f64>,
    levels: Vec<f64>,
}

impl<'a> Likelihood<'a> {
    pub(super) fn new(form: &'a Form, returns: &'a [f64], backcast: f64) -> Likelihood<'a> {
        let before = form.p.max(form.o).max(form.q);
        let length = before + returns.len() - form.reach();
        let (size, sign) = form.kind.effects_before(backcast);
        Likelihood {
            form,
            returns,
            backcast,
            before,
            errors: vec![0.0; length],
            sizes: vec![size; length],
            signs: vec![sign; length],
            levels: vec![form.kind.level(backcast); length],
        }
    }

    /// The loss at these numbers.
    pub(super) fn loss(&mut self, numbers: &Numbers) -> f64 {
        let reach = self.form.reach();
        for (index, error) in self.errors[self.before..].iter_mut().enumerate() {
            let index = reach + index;
            *error = self.returns[index] - numbers.mean_of(self.form, self.returns, index);
        }
        let count = (self.errors.len() - self.before) as f64;
        let single = self.form.p == 1 && self.form.q == 1 && self.form.o <= 1;
        let student = self.form.errors == noise::Kind::StudentT;
        let (variances, squares) = match (self.form.kind, single) {
            (Kind::Egarch, true) => self.pass::<true, true>(numbers, student),
            (Kind::Egarch, false) => self.pass::<true, false>(numbers, student),
            (_, true) => self.pass::<false, true>(numbers, student),
            (_, false) => self.pass::<false, false>(numbers, student),
        };
        if student {
            let degrees = numbers.degrees;
            let half = 0.5 * (degrees + 1.0);
            let constant = lgamma(half)
                - lgamma(0.5 * degrees)
                - 0.5 * ln(std::f64::consts::PI * (degrees - 2.0));
            (0.5 * variances + half * squares) / count - constant
        } else {
            0.5 * (variances + squares) / count + 0.5 * ln(2.0 * std::f64::consts::PI)
        }
    }

    /// Runs the recursion. Gives the sum of the logarithms of the variances, and that of the
    /// squared shocks: for Student's t, of log(1 + square / (degrees - 2)).
    fn pass<const EGARCH: bool, const SINGLE: bool>(
        &mut self,
        numbers: &Numbers,
        student: bool,
    ) -> (f64, f64) {
        let kind = self.form.kind;
        let excess = numbers.degrees - 2.0;
        let (mut variances, mut squares) = (Logarithms::new(), Logarithms::new());
        let (mut levels, mut plain) = (0.0, 0.0);
        let (mut size, mut sign) = kind.effects_before(self.backcast);
        let mut level = kind.level(self.backcast);
        let sign_effect = numbers.sign.first().copied().unwrap_or(0.0);
        for index in self.before..self.errors.len() {
            level = if SINGLE {
                numbers.constant
                    + numbers.size[0] * size
                    + sign_effect * sign
                    + numbers.carry[0] * level
            } else {
                numbers.constant
                    + lagged(&numbers.size, &self.sizes[..index])
                    + lagged(&numbers.sign, &self.signs[..index])
                    + lagged(&numbers.carry, &self.levels[..index])
            };
            level = kind.within(level);
            let error = self.errors[index];
            let (shock, square);
            if EGARCH {
                levels += level;
                shock = error * exp(-0.5 * level);
                square = shock * shock;
            } else {
                variances.add(level);
                shock = 0.0;
                square = error * error / level;
            }
            (size, sign) = kind.effects(error, shock);
            if student {
                squares.add(1.0 + square / excess);
            } else {
                plain += square;
            }
            self.levels[index] = level;
            if !SINGLE {
                self.sizes[index] = size;
                self.signs[index] = sign;
            }
        }
        (levels + variances.sum(), plain + squares.sum())
    }

    /// The loss of each step of the last pass, but for a constant.
    fn losses(&self, degrees: f64) -> Vec<f64> {
        let kind = self.form.kind;
        let levels = self.levels[self.before..].iter();
        let logarithms = levels.map(|level| match kind {
            Kind::Garch | Kind::Gjr => ln(*level),
            Kind::Egarch => *level,
        });
        let student = self.form.errors == noise::Kind::StudentT;
        let constant = if student {
            noise::log_density(0.0, degrees)
        } else {
            0.0
        };
        logarithms
            .zip(self.shocks())
            .map(|(logarithm, shock)| {
                let square = shock * shock;
                let tail = if student {
                    0.5 * (degrees + 1.0) * ln(1.0 + square / (degrees - 2.0)) - constant
                } else {
                    0.5 * square
                };
                0.5 * logarithm + tail
            })
            .collect()
    }

    /// The deviations of the last pass.
    #[cfg(test)]
    pub(super) fn deviations(&self) -> impl Iterator<Item = f64> {
        let levels = self.levels[self.before..].iter();
        levels.map(|level| self.form.kind.deviation(*level))
    }

    /// The standardised errors of the last pass.
    fn shocks(&self) -> impl Iterator<Item = f64> {
        let steps = self.errors.iter().zip(&self.levels).skip(self.before);
        steps.map(|(error, level)| error / self.form.kind.deviation(*level))
    }

    /// The recursion as the last pass left it.
    pub(super) fn variance(&self, numbers: &Numbers) -> Variance {
        let kind = self.form.kind;
        let newest = |count: usize| (0..count).map(|lag| self.errors.len() - 1 - lag);
        let effects = |index: usize| {
            if index < self.before {
                kind.effects_before(self.backcast)
            } else {
                let error = self.errors[index];
                kind.effects(error, error / kind.deviation(self.levels[index]))
            }
        };
        Variance {
            kind,
            constant: numbers.constant,
            sizes: newest(numbers.size.len())
                .map(|index| effects(index).0)
                .collect(),
            signs: newest(numbers.sign.len())
                .map(|index| effects(index).1)
                .collect(),
            levels: newest(numbers.carry.len())
                .map(|index| self.levels[index])
                .collect(),
            size: numbers.size.clone(),
            sign: numbers.sign.clone(),
            carry: numbers.carry.clone(),
        }
    }
}

/// The sum of coefficients times the newest values, newest first.
#[inline]
fn lagged(effects: &[f64], values: &[f64]) -> f64 {
    effects
        .iter()
        .zip(values.iter().rev())
        .map(|(effect, value)| effect * value)
        .sum()
}

/// A sum of logarithms that takes one logarithm for many numbers: their product. The numbers here
/// are between 1e-6 and 1e26.
struct Logarithms {
    product: f64,
    pending: usize,
    sum: f64,
}

impl Logarithms {
    fn new() -> Logarithms {
        Logarithms {
            product: 1.0,
            pending: 0,
            sum: 0.0,
        }
    }

    #[inline]
    fn add(&mut self, number: f64) {
        self.product *= number;
        self.pending += 1;
        if self.pending == 10 {
            self.sum += ln(self.product);
            (self.product, self.pending) = (1.0, 0);
        }
    }

    fn sum(self) -> f64 {
        self.sum + ln(self.product)
    }
}

/// The likeliest numbers, from a guess or, without one, from the best points of a grid.
fn search(
    form: &Form,
    likelihood: &mut Likelihood<'_>,
    guess: Option<Guess>,
    center: f64,
) -> Minimum {
    let mut search = Search {
        form,
        likelihood,
        calls: 0,
    };
    let start = match guess {
        Some(guess) => guess.0,
        None => {
            // Variances that last and such that do not are valleys of their own.
            let [lasting, passing] = Guess::grid(form, center).map(|guesses| {
                let tried = guesses
                    .into_iter()
                    .map(|guess| (search.loss(&guess.0), guess.0));
                let (_, start) = tried
                    .min_by(|left, right| left.0.total_cmp(&right.0))
                    .expect("a grid has points");
                search.descend(&start, 1e-5)
            });
            if passing.loss < lasting.loss {
                passing.point
            } else {
                lasting.point
            }
        }
    };
    let found = search.descend(&start, 1e-12);
    Minimum {
        calls: search.calls,
        ..found
    }
}

struct Search<'a, 'b> {
    form: &'a Form,
    likelihood: &'a mut Likelihood<'b>,
    calls: usize,
}

impl Search<'_, '_> {
    fn loss(&mut self, point: &[f64]) -> f64 {
        self.calls += 1;
        let numbers = Numbers::read(self.form, point);
        if numbers.is_stable(self.form) {
            self.likelihood.loss(&numbers)
        } else {
            f64::INFINITY
        }
    }

    /// Descends along coordinates in which the loss curves about equally in all directions.
    fn descend(&mut self, start: &[f64], tolerance: f64) -> Minimum {
        let settings = Descent {
            tolerance,
            most_steps: 200,
        };
        let factor = self.curvature(start);
        let place = |moves: &[f64]| -> Vec<f64> {
            let mut moves = moves.to_vec();
            factor.solve_transposed(&mut moves);
            let places = start.iter().zip(moves);
            places.map(|(start, moved)| start + moved).collect()
        };
        let origin = vec![0.0; start.len()];
        let loss = |moves: &[f64]| self.loss(&place(moves));
        let found = bfgs(&origin, settings, loss, central_differences);
        Minimum {
            point: place(&found.point),
            ..found
        }
    }

    /// The curvature of the loss, by the products of the slopes of each step's own loss (Berndt,
    /// Hall, Hall and Hausman 1974).
    fn curvature(&mut self, point: &[f64]) -> Cholesky {
        let size = point.len();
        self.loss(point);
        let losses = |likelihood: &Likelihood<'_>, point: &[f64], form: &Form| {
            likelihood.losses(Numbers::read(form, point).degrees)
        };
        let before = losses(self.likelihood, point, self.form);
        let count = before.len() as f64;
        let mut moved = point.to_vec();
        let slopes: Vec<Vec<f64>> = (0..size)
            .map(|index| {
                const STEP: f64 = 1e-6;
                moved[index] += STEP;
                self.loss(&moved);
                let after = losses(self.likelihood, &moved, self.form);
                moved[index] = point[index];
                let changes = after.iter().zip(&before);
                changes
                    .map(|(after, before)| (after - before) / STEP)
                    .collect()
            })
            .collect();
        let mut matrix = vec![0.0; size * size];
        for row in 0..size {
            for column in 0..=row {
                let products = slopes[row].iter().zip(&slopes[column]);
                matrix[row * size + column] =
                    products.map(|(left, right)| left * right).sum::<f64>() / count;
            }
        }
        Cholesky::of(matrix, size)
    }
}

/// The lower triangle whose product with its transpose is a matrix.
struct Cholesky {
    size: usize,
    lower: Vec<f64>,
}

impl Cholesky {
    /// Of the matrix with this lower triangle. Directions in which it is nearly flat are made to
    /// curve a little.
    fn of(mut matrix: Vec<f64>, size: usize) -> Cholesky {
        for row in 0..size {
            let own = matrix[row * size + row];
            for column in 0..=row {
                let (before, after) = matrix.split_at(row * size);
                let earlier = if column < row {
                    &before[column * size..column * size + column]
                } else {
                    &after[..column]
                };
                let products = after.iter().zip(earlier).take(column);
                let sum: f64 = products.map(|(left, right)| left * right).sum();
                let rest = matrix[row * size + column] - sum;
                matrix[row * size + column] = if column < row {
                    rest / matrix[column * size + column]
                } else {
                    rest.max(1e-4 * own).max(1e-4).sqrt()
                };
            }
        }
        let sound = matrix.iter().all(|entry| entry.is_finite());
        if !sound {
            matrix.fill(0.0);
            matrix
                .iter_mut()
                .step_by(size + 1)
                .for_each(|entry| *entry = 1.0);
        }
        Cholesky {
            size,
            lower: matrix,
        }
    }

    /// Solves for what the transposed triangle makes these numbers of.
    fn solve_transposed(&self, numbers: &mut [f64]) {
        for row in (0..self.size).rev() {
            let below = row + 1..self.size;
            let sum: f64 = below
                .map(|later| self.lower[later * self.size + row] * numbers[later])
                .sum();
            numbers[row] = (numbers[row] - sum) / self.lower[row * self.size + row];
        }
    }
}

/// A gradient by central differences.
fn central_differences<L: FnMut(&[f64]) -> f64>(
    loss: &mut L,
    point: &[f64],
    _at_point: f64,
    slope: &mut [f64],
) {
    let mut moved = point.to_vec();
    for (index, slope) in slope.iter_mut().enumerate() {
        const STEP: f64 = 1e-5;
        let mut at = |place: f64| {
            moved[index] = place;
            loss(&moved)
        };
        let change = at(point[index] + STEP) - at(point[index] - STEP);
        *slope = if change.is_finite() {
            change / (2.0 * STEP)
        } else {
            0.0
        };
        moved[index] = point[index];
    }
}
