//! A fitted model, brought up to its newest observation.

use serde::{Deserialize, Serialize};

use super::{
    design::Term,
    filter::{Moves, SETTLED, Settling, first_state, shift},
    orders::{Lags, Orders},
};
use crate::{
    errors::StateError,
    noise::Noise,
    outlook::{Linear, Outlook},
    paths::Paths,
    rng::Rng,
    series::{Ahead, Series},
    state::corrupt,
};

/// Regression with ARIMA errors: the value of step t is `level + drift t`, plus the terms, plus an
/// ARIMA process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Model {
    pub(crate) orders: Orders,
    /// Of phi, theta, Phi and Theta.
    pub(crate) coefficients: Vec<f64>,
    /// Whether a constant was estimated: `level` without differences, `drift` with one.
    pub(crate) constant: bool,
    pub(crate) level: f64,
    /// Per step.
    pub(crate) drift: f64,
    /// The regressors used.
    pub(crate) terms: Vec<Term>,
    /// The number of regressors fitted with.
    pub(crate) regressors: usize,
    /// The steps seen so far, missing ones included.
    pub(crate) steps: u64,
    /// What is known of the ARIMA process's next values (see `filter.rs`).
    pub(crate) state: Vec<f64>,
    pub(crate) gain: Gain,
    /// The distribution of the errors.
    pub(crate) noise: Noise,
}

/// How much an error moves the state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case", tag = "kind")]
pub(crate) enum Gain {
    /// By phi + theta, for ever.
    Settled,
    /// Still on its way from the beginning of the history.
    Settling {
        gain: Vec<f64>,
        change: Vec<f64>,
        variance: f64,
        calm: usize,
    },
    /// An observation was missing.
    Uncertain {
        /// The covariance of what is not known of the state, lower triangle by rows, in units of
        /// the error variance.
        covariance: Vec<f64>,
        calm: usize,
    },
}

/// The gain while observations are taken in.
enum Progress {
    Settled,
    Settling(Settling),
    Uncertain { covariance: Vec<f64>, calm: usize },
}

/// A model's polynomials and the gain, while observations are taken in.
struct Filter {
    lags: Lags,
    moves: Moves,
    surplus: Vec<f64>,
    progress: Progress,
}

impl Filter {
    fn of(model: &Model) -> Filter {
        let lags = Lags::new(&model.orders, &model.coefficients);
        let moves = Moves::new(&model.orders, &lags);
        let progress = match &model.gain {
            Gain::Settled => Progress::Settled,
            Gain::Settling {
                gain,
                change,
                variance,
                calm,
            } => Progress::Settling(Settling {
                gain: gain.clone(),
                change: change.clone(),
                variance: *variance,
                calm: *calm,
            }),
            Gain::Uncertain { covariance, calm } => Progress::Uncertain {
                covariance: squared(covariance, moves.len()),
                calm: *calm,
            },
        };
        Filter {
            surplus: vec![0.0; moves.len()],
            lags,
            moves,
            progress,
        }
    }

    /// The gain as it is stored.
    fn gain(self) -> Gain {
        match self.progress {
            Progress::Settled => Gain::Settled,
            Progress::Settling(settling) => Gain::Settling {
                gain: settling.gain,
                change: settling.change,
                variance: settling.variance,
                calm: settling.calm,
            },
            Progress::Uncertain { covariance, calm } => Gain::Uncertain {
                covariance: triangle(&covariance, self.moves.len()),
                calm,
            },
        }
    }

    /// Takes in a value of the ARIMA process.
    fn observe(&mut self, state: &mut [f64], value: f64) {
        let error = value - state.first().copied().unwrap_or(0.0);
        match &mut self.progress {
            Progress::Settled => shift(state, &self.moves, &self.surplus, value, error),
            Progress::Settling(settling) => {
                for (index, surplus) in self.surplus[..settling.gain.len()].iter_mut().enumerate() {
                    *surplus = settling.gain[index] - self.lags.ar[index] - self.lags.ma[index];
                }
                shift(state, &self.moves, &self.surplus, value, error);
                settling.step(&self.lags);
                if settling.is_settled() {
                    self.settle();
                }
            }
            Progress::Uncertain { covariance, calm } => {
                self.moves.surplus(covariance, &mut self.surplus);
                shift(state, &self.moves, &self.surplus, value, error);
                self.moves.observe(covariance);
                *calm = if covariance.first().copied().unwrap_or(0.0) < SETTLED {
                    *calm + 1
                } else {
                    0
                };
                if *calm > self.moves.len() {
                    self.settle();
                }
            }
        }
    }

    fn settle(&mut self) {
        self.progress = Progress::Settled;
        self.surplus.fill(0.0);
    }

    /// A step without a value.
    fn miss(&mut self, state: &mut [f64]) {
        let length = self.moves.len();
        let mut covariance = match std::mem::replace(&mut self.progress, Progress::Settled) {
            Progress::Settled => vec![0.0; length * length],
            Progress::Settling(settling) => settling.covariance(&self.lags, length),
            Progress::Uncertain { covariance, .. } => covariance,
        };
        self.moves.miss(&mut covariance);
        self.progress = Progress::Uncertain {
            covariance,
            calm: 0,
        };
        let predicted = state.first().copied().unwrap_or(0.0);
        shift(state, &self.moves, &self.surplus, predicted, 0.0);
    }
}

fn triangle(square: &[f64], size: usize) -> Vec<f64> {
    (0..size)
        .flat_map(|row| square[row * size..row * size + row + 1].iter().copied())
        .collect()
}

fn squared(triangle: &[f64], size: usize) -> Vec<f64> {
    let mut square = vec![0.0; size * size];
    let mut entries = triangle.iter();
    for row in 0..size {
        for column in 0..=row {
            let entry = entries.next().copied().unwrap_or(0.0);
            square[row * size + column] = entry;
            square[column * size + row] = entry;
        }
    }
    square
}

impl Model {
    /// Begins with the first values of the ARIMA process, as many as its differences use up; false
    /// if the coefficients are not stationary.
    pub(crate) fn begin(&mut self, first: &[f64]) -> bool {
        let lags = Lags::new(&self.orders, &self.coefficients);
        let Some(settling) = Settling::start(&lags) else {
            return false;
        };
        self.state = first_state(&self.orders, &Moves::new(&self.orders, &lags), first);
        self.steps = first.len() as u64;
        self.gain = if lags.len() == 0 {
            Gain::Settled
        } else {
            Gain::Settling {
                gain: settling.gain,
                change: settling.change,
                variance: settling.variance,
                calm: 0,
            }
        };
        true
    }

    /// What is not the ARIMA process, at a step counted from 0; NaN where a regressor is not known.
    pub(crate) fn known(&self, step: u64, regressors: &[Vec<f64>], index: usize) -> f64 {
        let terms: f64 = self
            .terms
            .iter()
            .map(|term| {
                let values = regressors.get(term.index);
                let value = values.and_then(|values| values.get(index)).copied();
                term.at(value.unwrap_or(f64::NAN))
            })
            .sum();
        self.level + self.drift * step as f64 + terms
    }

    /// Takes in newer observations; one that is NaN or has an unknown regressor counts as missing.
    pub(crate) fn advance(&mut self, recent: Series<'_>, predicted: &mut dyn FnMut(f64)) {
        let mut filter = Filter::of(self);
        let mut state = std::mem::take(&mut self.state);
        for (index, value) in recent.values.iter().enumerate() {
            let known = self.known(self.steps, recent.regressors, index);
            predicted(known + state.first().copied().unwrap_or(0.0));
            let rest = value - known;
            if rest.is_nan() {
                filter.miss(&mut state);
            } else {
                filter.observe(&mut state, rest);
            }
            self.steps += 1;
        }
        self.state = state;
        self.gain = filter.gain();
    }

    pub(crate) fn check(&self) -> Result<(), StateError> {
        self.orders.check()?;
        let length = self.orders.reach();
        let inner = self.orders.ar_lags().max(self.orders.ma_lags());
        let finite = |values: &[f64]| values.iter().all(|value| value.is_finite());
        let gain_is_sound = match &self.gain {
            Gain::Settled => true,
            Gain::Settling {
                gain,
                change,
                variance,
                calm,
            } => {
                gain.len() == inner
                    && change.len() == inner
                    && finite(gain)
                    && finite(change)
                    && variance.is_finite()
                    && *variance > 0.0
                    && *calm <= inner
            }
            Gain::Uncertain { covariance, calm } => {
                covariance.len() == length * (length + 1) / 2
                    && finite(covariance)
                    && *calm <= length
                    && (0..length).all(|row| covariance[row * (row + 3) / 2] > -1e-6)
            }
        };
        let terms_are_sound = self.terms.iter().all(|term| {
            term.index < self.regressors && term.center.is_finite() && term.coefficient.is_finite()
        });
        if self.coefficients.len() != self.orders.coefficients() || self.state.len() != length {
            return Err(corrupt("the state is not as long as its orders say"));
        }
        if !finite(&self.coefficients)
            || !finite(&self.state)
            || !self.level.is_finite()
            || !self.drift.is_finite()
        {
            return Err(corrupt("a number is not finite"));
        }
        if !gain_is_sound || !terms_are_sound || self.steps > u64::MAX / 2 {
            return Err(corrupt("the gain or the terms contradict the orders"));
        }
        self.noise.check()
    }

    /// The means of the steps to come, and what an error does to those after it.
    pub(crate) fn expect(self, ahead: Ahead<'_>) -> Result<Box<dyn Outlook>, StateError> {
        if ahead.regressors.len() > self.regressors {
            return Err(StateError::SurplusRegressors {
                needed: self.regressors,
                found: ahead.regressors.len(),
            });
        }
        let filter = Filter::of(&self);
        let mut state = self.state.clone();
        let mut mean = Vec::with_capacity(ahead.steps);
        for step in 0..ahead.steps {
            let known = self.known(self.steps + step as u64, ahead.regressors, step);
            if !known.is_finite() {
                return Err(self.unknown(ahead, step));
            }
            let predicted = state.first().copied().unwrap_or(0.0);
            mean.push(known + predicted);
            shift(&mut state, &filter.moves, &filter.surplus, predicted, 0.0);
        }
        let linear = Linear {
            mean,
            weights: self.weights(&filter.moves, ahead.steps),
            noise: self.noise,
        };
        match &filter.progress {
            Progress::Uncertain { covariance, .. } => Ok(Box::new(Unsure::new(
                linear,
                covariance,
                &filter.moves,
                ahead.steps,
            ))),
            _ => Ok(Box::new(linear)),
        }
    }

    /// Which regressor is missing at a step.
    fn unknown(&self, ahead: Ahead<'_>, step: usize) -> StateError {
        let missing = |term: &&Term| {
            let values = ahead.regressors.get(term.index);
            values
                .and_then(|values| values.get(step))
                .is_none_or(|value| !value.is_finite())
        };
        match self.terms.iter().find(missing) {
            Some(term) => StateError::MissingRegressor {
                index: term.index,
                step: step + 1,
            },
            None => corrupt("a step is too far away for a double"),
        }
    }

    /// The weights of the moving average that the undifferenced process is.
    fn weights(&self, moves: &Moves, steps: usize) -> Vec<f64> {
        let mut state: Vec<f64> = moves
            .ar
            .iter()
            .zip(&moves.ma)
            .map(|(ar, ma)| ar + ma)
            .collect();
        let nothing = vec![0.0; state.len()];
        let mut weights = Vec::with_capacity(steps);
        if steps > 0 {
            weights.push(1.0);
        }
        while weights.len() < steps {
            let weight = state.first().copied().unwrap_or(0.0);
            weights.push(weight);
            shift(&mut state, moves, &nothing, weight, 0.0);
        }
        weights
    }
}

/// An outlook whose first state is not known exactly, since observations are missing.
struct Unsure {
    linear: Linear,
    /// What each independent part of the state's error does to every step.
    parts: Vec<Vec<f64>>,
}

impl Unsure {
    fn new(linear: Linear, covariance: &[f64], moves: &Moves, steps: usize) -> Unsure {
        let size = moves.len();
        let deviation = linear.noise.deviation();
        let nothing = vec![0.0; size];
        let parts = root(covariance, size)
            .into_iter()
            .map(|mut state| {
                (0..steps)
                    .map(|_| {
                        let effect = state.first().copied().unwrap_or(0.0);
                        shift(&mut state, moves, &nothing, effect, 0.0);
                        deviation * effect
                    })
                    .collect()
            })
            .collect();
        Unsure { linear, parts }
    }
}

impl Outlook for Unsure {
    fn point(&self) -> Vec<f64> {
        self.linear.point()
    }

    fn draw(&self, rng: &mut Rng, path: &mut [f64]) {
        let sizes: Vec<f64> = self.parts.iter().map(|_| rng.normal()).collect();
        self.linear.draw(rng, path);
        for (part, size) in self.parts.iter().zip(sizes) {
            for (value, effect) in path.iter_mut().zip(part) {
                *value += size * effect;
            }
        }
    }

    fn draw_all(&self, steps: usize, rngs: &[Rng]) -> Paths {
        let mut rngs = rngs.to_vec();
        let sizes: Vec<Vec<f64>> = self
            .parts
            .iter()
            .map(|_| rngs.iter_mut().map(Rng::normal).collect())
            .collect();
        let mut paths = self.linear.draw_all(steps, &rngs);
        for (part, sizes) in self.parts.iter().zip(&sizes) {
            for (effect, row) in part.iter().zip(paths.rows()) {
                for (value, size) in row.iter_mut().zip(sizes) {
                    *value += size * effect;
                }
            }
        }
        paths
    }

    fn deviations(&self) -> Option<Vec<f64>> {
        let mut deviations = self.linear.deviations()?;
        for (step, deviation) in deviations.iter_mut().enumerate() {
            let parts = self.parts.iter().map(|part| part[step] * part[step]);
            *deviation = (*deviation * *deviation + parts.sum::<f64>()).sqrt();
        }
        Some(deviations)
    }
}

/// The columns of a root of a covariance matrix, those that matter: Cholesky's with what is left of
/// a diagonal element as good as zero left out.
fn root(covariance: &[f64], size: usize) -> Vec<Vec<f64>> {
    let largest = (0..size).fold(0.0f64, |most, k| most.max(covariance[k * size + k]));
    let mut rest = covariance.to_vec();
    let mut columns = vec![];
    for pivot in 0..size {
        let left = rest[pivot * size + pivot];
        if left.is_nan() || left <= 1e-10 * largest {
            continue;
        }
        let scale = 1.0 / left.sqrt();
        let column: Vec<f64> = (0..size)
            .map(|row| {
                if row < pivot {
                    0.0
                } else {
                    rest[row * size + pivot] * scale
                }
            })
            .collect();
        for row in pivot..size {
            for other in pivot..size {
                rest[row * size + other] -= column[row] * column[other];
            }
        }
        columns.push(column);
    }
    columns
}
