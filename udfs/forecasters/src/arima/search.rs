//! The stepwise search for orders (Hyndman and Khandakar 2008; Hyndman and Athanasopoulos,
//! *Forecasting: Principles and Practice*, 9.7), by the corrected criterion of Akaike.
//!
//! From the best of a few simple models, orders are changed by one at a time, or two together, and
//! the constant is put in or taken out, for as long as that helps. Models are compared by their
//! exact likelihood at cheap estimates; the few best are then estimated by exact maximum
//! likelihood, and the best of those is taken. A model with a root close to the unit circle is
//! none: it says that a difference too few or too many was taken, or that two factors cancel.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    css::Guesses,
    fit::{Estimate, THOROUGH, estimate},
    levenberg_marquardt::Settings,
    likelihood::Problem,
    orders::{Orders, roots_beyond},
};

/// No root of an accepted model is closer to the origin.
const NEAREST_ROOT: f64 = 1.01;
/// The same for moving averages, which may all but undo a difference that was one too many.
const NEAREST_MA_ROOT: f64 = 1.002;
/// How many models are estimated by exact maximum likelihood at the end.
const FINALISTS: usize = 3;
/// A finalist's criterion is at most this much above the best.
const FINALIST_EXCESS: f64 = 6.0;
/// The most models looked at.
const MOST_MODELS: usize = 94;

/// The largest orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Of p, q, P and Q.
    pub(crate) orders: [usize; 4],
    /// Whether there is a constant; `None` if the search decides.
    pub(crate) constant: Option<bool>,
}

/// What is searched among: p, q, P, Q, and whether there is a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Form {
    /// p, q, P and Q.
    pub(crate) orders: [usize; 4],
    pub(crate) constant: bool,
}

/// A model that was close to the best, for a search that begins there.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rival {
    pub(crate) form: Form,
    /// By how much its criterion was worse.
    pub(crate) excess: f64,
}

/// How many rivals are remembered.
const MOST_RIVALS: usize = 8;
/// The worst of them.
const RIVAL_EXCESS: f64 = 8.0;
/// A rival this close is tried again in a search that begins from it.
const TRIED_AGAIN: f64 = 2.0;
/// What was not tried again counts this much closer the next time.
const OBLIVION: f64 = 0.5;

/// The best model and those close to it.
pub(crate) struct Found {
    pub(crate) estimate: Estimate,
    pub(crate) rivals: Vec<Rival>,
}

struct Search<'a> {
    problem: &'a mut Problem,
    guesses: Guesses,
    limits: Limits,
    /// Criteria and estimates; nothing for a model that is refused.
    tried: BTreeMap<Form, Option<(f64, Estimate)>>,
}

/// Whether likelihoods are so cheap that every model is estimated by them.
fn is_small(problem: &Problem) -> bool {
    problem.count * problem.orders.season <= 150
}

impl Search<'_> {
    fn orders(&self, form: &Form) -> Orders {
        let [p, q, seasonal_p, seasonal_q] = form.orders;
        let [_, d, _] = self.problem.orders.ordinary;
        let [_, seasonal_d, _] = self.problem.orders.seasonal;
        Orders {
            ordinary: [p, d, q],
            seasonal: [seasonal_p, seasonal_d, seasonal_q],
            season: self.problem.orders.season,
        }
    }

    fn allowed(&self, form: &Form) -> bool {
        let within = form
            .orders
            .iter()
            .zip(self.limits.orders)
            .all(|(order, limit)| *order <= limit);
        let constant = match self.limits.constant {
            Some(constant) => form.constant == (constant && self.problem.orders.differences() < 2),
            None => !form.constant || self.problem.orders.differences() < 2,
        };
        within && constant
    }

    /// The criterion of a form, infinite if it is refused.
    fn criterion(&mut self, form: Form) -> f64 {
        if let Some(tried) = self.tried.get(&form) {
            return tried.as_ref().map_or(f64::INFINITY, |(aicc, _)| *aicc);
        }
        let orders = self.orders(&form);
        let settings = if is_small(self.problem) {
            Settings {
                tolerance: 1e-2,
                most_steps: 10,
            }
        } else {
            Settings {
                tolerance: 0.0,
                most_steps: 0,
            }
        };
        let found = estimate(
            self.problem,
            Some(&self.guesses),
            &orders,
            form.constant,
            None,
            settings,
        );
        self.note(form, found)
    }

    fn note(&mut self, form: Form, found: Option<Estimate>) -> f64 {
        let kept = found
            .map(|found| (found.aicc(self.problem), found))
            .filter(|(aicc, found)| aicc.is_finite() && sound(found));
        let aicc = kept.as_ref().map_or(f64::INFINITY, |(aicc, _)| *aicc);
        self.tried.insert(form, kept);
        aicc
    }

    /// Goes from form to form for as long as the criterion falls.
    fn walk(&mut self, mut best: Form) -> Form {
        let mut lowest = self.criterion(best);
        'improved: loop {
            for candidate in neighbours(&best) {
                if !self.allowed(&candidate) || self.tried.contains_key(&candidate) {
                    continue;
                }
                if self.tried.len() >= MOST_MODELS {
                    break 'improved;
                }
                let aicc = self.criterion(candidate);
                if aicc < lowest {
                    (best, lowest) = (candidate, aicc);
                    continue 'improved;
                }
            }
            break;
        }
        best
    }

    /// The models tried, best first.
    fn ranked(&self) -> Vec<(f64, Form)> {
        let mut ranked: Vec<(f64, Form)> = self
            .tried
            .iter()
            .filter_map(|(form, tried)| tried.as_ref().map(|(aicc, _)| (*aicc, *form)))
            .collect();
        ranked.sort_by(|left, right| left.0.total_cmp(&right.0).then(left.1.cmp(&right.1)));
        ranked
    }

    /// Estimates the best by exact maximum likelihood and gives the best of them, unless nothing at
    /// all could be estimated.
    fn finish(&mut self) -> Option<Found> {
        let mut polished: Vec<Form> = vec![];
        // The best may change places while it is made better, or be refused.
        while let Some((_, form)) = {
            let ranked = self.ranked();
            let edge = ranked
                .first()
                .map_or(0.0, |(aicc, _)| aicc + FINALIST_EXCESS);
            let first_is_done = ranked
                .first()
                .is_some_and(|(_, form)| polished.contains(form));
            ranked
                .into_iter()
                .take_while(|(aicc, _)| *aicc <= edge)
                .find(|(_, form)| !polished.contains(form))
                .filter(|_| polished.len() < FINALISTS || !first_is_done)
        } {
            polished.push(form);
            if let Some(Some((_, found))) = self.tried.remove(&form) {
                let found = found.polished(self.problem, THOROUGH);
                self.note(form, Some(found));
            }
        }
        let ranked = self.ranked();
        let (best, form) = *ranked.first()?;
        let (_, estimate) = self.tried.remove(&form)??;
        let rivals = ranked[1..]
            .iter()
            .map(|(aicc, form)| Rival {
                form: *form,
                excess: aicc - best,
            })
            .take_while(|rival| rival.excess < RIVAL_EXCESS)
            .take(MOST_RIVALS);
        Some(Found {
            estimate,
            rivals: rivals.collect(),
        })
    }
}

/// Whether no root of a model is too close to the unit circle.
fn sound(found: &Estimate) -> bool {
    let parts = found.orders.split(&found.coefficients);
    parts.into_iter().enumerate().all(|(index, part)| {
        let (sign, radius) = if index % 2 == 0 {
            (1.0, NEAREST_ROOT)
        } else {
            (-1.0, NEAREST_MA_ROOT)
        };
        let signed: Vec<f64> = part.iter().map(|value| sign * value).collect();
        roots_beyond(&signed, radius)
    })
}

/// The forms a step away: seasonal orders first, as in the paper's order.
fn neighbours(form: &Form) -> Vec<Form> {
    const MOVES: [[i8; 4]; 16] = [
        [0, 0, -1, 0],
        [0, 0, 0, -1],
        [0, 0, 1, 0],
        [0, 0, 0, 1],
        [0, 0, -1, -1],
        [0, 0, -1, 1],
        [0, 0, 1, -1],
        [0, 0, 1, 1],
        [-1, 0, 0, 0],
        [0, -1, 0, 0],
        [1, 0, 0, 0],
        [0, 1, 0, 0],
        [-1, -1, 0, 0],
        [-1, 1, 0, 0],
        [1, -1, 0, 0],
        [1, 1, 0, 0],
    ];
    let moved = MOVES.iter().filter_map(|by| {
        let mut orders = form.orders;
        for (order, by) in orders.iter_mut().zip(by) {
            *order = order.checked_add_signed(isize::from(*by))?;
        }
        Some(Form { orders, ..*form })
    });
    let other = Form {
        constant: !form.constant,
        ..*form
    };
    moved.chain(std::iter::once(other)).collect()
}

/// The best model for a problem. `near` is where an earlier search ended: its form, coefficients
/// and rivals.
pub(crate) fn search(
    problem: &mut Problem,
    limits: Limits,
    near: Option<(Form, &[f64], &[Rival])>,
) -> Option<Found> {
    let guesses = Guesses::new(problem);
    let mut search = Search {
        problem,
        guesses,
        limits,
        tried: BTreeMap::new(),
    };
    match near {
        Some((form, coefficients, rivals)) if search.allowed(&form) => {
            search.again(form, coefficients, rivals)
        }
        _ => search.cold(),
    }
}

impl Search<'_> {
    fn cold(&mut self) -> Option<Found> {
        let constant =
            self.limits.constant.unwrap_or(true) && self.problem.orders.differences() < 2;
        let seasonal = usize::from(self.problem.orders.season > 1);
        let simple = [
            ([2, 2, seasonal, seasonal], constant),
            ([0, 0, 0, 0], constant),
            ([1, 0, seasonal, 0], constant),
            ([0, 1, 0, seasonal], constant),
            (
                [0, 0, 0, 0],
                self.limits.constant.unwrap_or(false) && constant,
            ),
        ];
        let mut best: Option<(f64, Form)> = None;
        for (orders, constant) in simple {
            let mut form = Form { orders, constant };
            for (order, limit) in form.orders.iter_mut().zip(self.limits.orders) {
                *order = (*order).min(limit);
            }
            let aicc = self.criterion(form);
            if best.is_none_or(|(lowest, _)| aicc < lowest) {
                best = Some((aicc, form));
            }
        }
        if let Some((_, form)) = best {
            self.walk(form);
        }
        self.finish()
    }

    /// Looks around where an earlier search ended.
    fn again(&mut self, form: Form, coefficients: &[f64], rivals: &[Rival]) -> Option<Found> {
        let orders = self.orders(&form);
        let settings = THOROUGH;
        let found = estimate(
            self.problem,
            None,
            &orders,
            form.constant,
            Some(coefficients),
            settings,
        );
        let first = self.note(form, found);
        if !first.is_finite() {
            return self.cold();
        }
        let mut best = (first, form);
        for rival in rivals {
            if rival.excess <= TRIED_AGAIN && self.allowed(&rival.form) {
                let aicc = self.criterion(rival.form);
                if aicc < best.0 {
                    best = (aicc, rival.form);
                }
            }
        }
        if best.1 != form {
            self.walk(best.1);
        }
        let mut found = self.finish()?;
        for rival in rivals {
            if !self.tried.contains_key(&rival.form) && found.rivals.len() < MOST_RIVALS {
                found.rivals.push(Rival {
                    form: rival.form,
                    excess: (rival.excess - OBLIVION).max(0.0),
                });
            }
        }
        Some(found)
    }
}
