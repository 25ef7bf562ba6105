//! Estimation: the weights under which the squared errors are least.
//!
//! With Gaussian errors of unknown variance the likelihood is a function of the sum of squares alone.
//! That is minimised by Levenberg and Marquardt's method (Moré 1978), whose derivatives come with
//! every pass over the history; steps that leave the bounds slide along them, and steps that leave
//! the stable region are cut short. It starts at the best point of a small grid.

use super::{
    recursion::{Form, Model, States, Weights},
    region::Region,
};
use crate::sizes::dot;

/// A model with the weights estimated.
#[derive(Clone, Debug)]
pub(crate) struct Estimate {
    pub(crate) model: Model,
    pub(crate) sum_of_squares: f64,
    /// How many passes over the history it took.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests count evaluations"))]
    pub(crate) passes: usize,
}

/// A history and its season.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Task<'a> {
    pub(crate) values: &'a [f64],
    pub(crate) season_length: usize,
}

impl Task<'_> {
    /// The weights of a form, searched for from `first` if that is given and allowed; `None` if the
    /// numbers are too large to compute with.
    pub(crate) fn estimate(&self, form: Form, first: Option<Weights>) -> Option<Estimate> {
        let region = Region::new(form, self.season_length, self.values.len());
        let allowed = |weights: Weights| {
            let weights = region.clamp(weights);
            let model = Model { form, weights };
            region
                .is_stable(&model, self.season_length)
                .then_some(model)
        };
        let mut passes = 0;
        let starts = match first.and_then(allowed) {
            Some(model) => vec![model],
            None => {
                let models: Vec<Model> = grid(form, &region).filter_map(allowed).collect();
                passes += models.len();
                self.best(models)
            }
        };
        let mut best: Option<(Model, f64)> = None;
        for start in starts {
            let (model, sum_of_squares, steps) = match form.places().len() {
                2 => self.descend::<2>(start, &region),
                3 => self.descend::<3>(start, &region),
                _ => self.descend::<4>(start, &region),
            };
            passes += steps;
            if sum_of_squares < best.map_or(f64::INFINITY, |(_, least)| least) {
                best = Some((model, sum_of_squares));
            }
        }
        best.map(|(model, sum_of_squares)| Estimate {
            model,
            sum_of_squares,
            passes,
        })
    }

    /// The states before the first value, and the sum of squared errors.
    pub(crate) fn sum_of_squares(&self, model: &Model) -> f64 {
        let mut states: States<0> = model.backcast(self.values, self.season_length);
        let mut sum = 0.0;
        model.filter(&mut states, self.values, |_, error, _| sum += error * error);
        sum
    }

    /// The best of some models over the newest values, and the best of those whose level's real part
    /// is another: the sum of squares can have several valleys.
    fn best(&self, models: Vec<Model>) -> Vec<Model> {
        let reach = NEWEST.max(4 * self.season_length);
        let newest = Task {
            values: &self.values[self.values.len().saturating_sub(reach)..],
            ..*self
        };
        let mut ranked: Vec<(f64, Model)> = models
            .into_iter()
            .map(|model| (newest.sum_of_squares(&model), model))
            .filter(|(sum, _)| sum.is_finite())
            .collect();
        ranked.sort_by(|left, right| left.0.total_cmp(&right.0));
        let mut best: Vec<Model> = vec![];
        for (_, model) in ranked {
            let differs = |other: &Model| other.weights[0] != model.weights[0];
            if best.len() < STARTS && best.iter().all(differs) {
                best.push(model);
            }
        }
        best
    }

    fn descend<const K: usize>(&self, start: Model, region: &Region) -> (Model, f64, usize) {
        let places = start.form.places();
        let mut model = start;
        let mut here = self.measure::<K>(&model);
        let mut damping = 1e-3;
        let (mut passes, mut refused) = (1, 0);
        while passes < MOST_PASSES && here.sum_of_squares > 0.0 && refused <= MOST_REFUSED {
            let Some(step) = here.step(&model, places, region, damping) else {
                break;
            };
            let Some(next) = self.within(&model, places, &step, region) else {
                (damping, refused) = (damping * 10.0, refused + 1);
                continue;
            };
            let there = self.measure::<K>(&next);
            passes += 1;
            if there.sum_of_squares < here.sum_of_squares {
                let gain = 1.0 - there.sum_of_squares / here.sum_of_squares;
                (model, here) = (next, there);
                (damping, refused) = ((damping * 0.2).max(1e-9), 0);
                if gain < TOLERANCE {
                    break;
                }
            } else {
                (damping, refused) = (damping * 8.0, refused + 1);
            }
        }
        (model, here.sum_of_squares, passes)
    }

    /// The model after as much of a step as stays in the stable region.
    fn within(
        &self,
        model: &Model,
        places: &[usize],
        step: &[f64],
        region: &Region,
    ) -> Option<Model> {
        let mut share = 1.0;
        for _ in 0..12 {
            let mut weights = model.weights;
            for (place, step) in places.iter().zip(step) {
                weights[*place] += share * step;
            }
            let next = Model {
                weights: region.clamp(weights),
                ..*model
            };
            if region.is_stable(&next, self.season_length) {
                return Some(next);
            }
            share *= 0.5;
        }
        None
    }

    fn measure<const K: usize>(&self, model: &Model) -> Curvature<K> {
        let mut states: States<K> = model.backcast(self.values, self.season_length);
        let mut sums = Curvature {
            sum_of_squares: 0.0,
            slope: [0.0; K],
            square: [[0.0; K]; K],
        };
        model.filter(&mut states, self.values, |_, error, slopes| {
            sums.sum_of_squares += error * error;
            for row in 0..K {
                sums.slope[row] += error * slopes[row];
                for column in 0..=row {
                    sums.square[row][column] += slopes[row] * slopes[column];
                }
            }
        });
        sums
    }
}

/// A gain below this share of the sum of squares is the last.
const TOLERANCE: f64 = 1e-8;
const MOST_PASSES: usize = 50;
/// So many descents, from different points of the grid.
const STARTS: usize = 2;
/// So many steps in a row that gain nothing are the last.
const MOST_REFUSED: usize = 6;
/// The grid is compared on so many of the newest values.
const NEWEST: usize = 300;

/// The sum of squares with its first derivatives and Gauss's approximation to the second, each
/// halved.
struct Curvature<const K: usize> {
    sum_of_squares: f64,
    slope: [f64; K],
    /// The lower triangle.
    square: [[f64; K]; K],
}

impl<const K: usize> Curvature<K> {
    /// The damped step downhill, weights at a bound that it would cross held fast.
    fn step(
        &self,
        model: &Model,
        places: &[usize],
        region: &Region,
        damping: f64,
    ) -> Option<[f64; K]> {
        let mut free = [true; K];
        loop {
            let step = self.solve(&free, damping)?;
            let mut crossed = false;
            for (k, place) in places.iter().enumerate() {
                let weight = model.weights[*place];
                let outwards = weight >= region.upper[*place] && step[k] > 0.0
                    || weight <= region.lower[*place] && step[k] < 0.0;
                if free[k] && outwards {
                    (free[k], crossed) = (false, true);
                }
            }
            if !crossed {
                return Some(step);
            }
        }
    }

    /// Solves for the free weights by Cholesky's decomposition. `None` where it does not exist.
    fn solve(&self, free: &[bool; K], damping: f64) -> Option<[f64; K]> {
        let mut factor = [[0.0; K]; K];
        let mut step = [0.0; K];
        for row in 0..K {
            if !free[row] {
                factor[row][row] = 1.0;
                continue;
            }
            let mut sum = -self.slope[row];
            for column in 0..row {
                if !free[column] {
                    continue;
                }
                let entry = self.square[row][column]
                    - dot(&factor[row][..column], &factor[column][..column]);
                factor[row][column] = entry / factor[column][column];
                sum -= factor[row][column] * step[column];
            }
            let pivot = self.square[row][row] * (1.0 + damping)
                - dot(&factor[row][..row], &factor[row][..row]);
            if pivot.is_nan() || pivot.is_infinite() || pivot <= 0.0 {
                return None;
            }
            factor[row][row] = pivot.sqrt();
            step[row] = sum / factor[row][row];
        }
        for row in (0..K).rev() {
            let mut sum = step[row];
            for below in row + 1..K {
                sum -= factor[below][row] * step[below];
            }
            step[row] = sum / factor[row][row];
        }
        step.iter().all(|step| step.is_finite()).then_some(step)
    }
}

/// Where a search may begin: real parts, and imaginary parts as shares of the way to their bounds.
fn grid(form: Form, region: &Region) -> impl Iterator<Item = Weights> {
    const LEVELS: [(f64, f64); 12] = [
        (1.1, -0.5),
        (1.4, -0.5),
        (1.75, -0.5),
        (1.1, 0.02),
        (1.1, 0.5),
        (1.4, 0.02),
        (1.4, 0.5),
        (1.4, 1.0),
        (1.75, 0.02),
        (1.75, 0.2),
        (1.75, 0.5),
        (1.75, 1.0),
    ];
    let seasons: &[(f64, f64)] = match form {
        Form::None | Form::Simple => &[(1.0, 0.0)],
        Form::Partial => &[(0.05, 0.0), (0.3, 0.0)],
        Form::Full => &[(1.05, 0.0), (1.3, 0.0), (1.3, 0.5)],
    };
    let (lower, upper) = (region.lower, region.upper);
    let turn = move |share: f64, place: usize| {
        1.0 + share
            * if share < 0.0 {
                1.0 - lower[place]
            } else {
                upper[place] - 1.0
            }
    };
    LEVELS.into_iter().flat_map(move |(real, share)| {
        seasons
            .iter()
            .map(move |(season, season_share)| match form {
                Form::Simple => [1.0, 1.0, real, turn(share, 3)],
                _ => [real, turn(share, 1), *season, turn(*season_share, 3)],
            })
    })
}
