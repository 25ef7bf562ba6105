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
    fit::{CAREFUL, Estimate, THOROUGH, estimate},
    levenberg_marquardt::Settings,
    likelihood::Problem,
    orders::{Orders, all_partials, from_all_partials, roots_beyond},
};

/// No root of an accepted model is closer to the origin.
const NEAREST_ROOT: f64 = 1.01;
/// The search for the largest likelihood of every model, where that is cheap.
const ROUGH: Settings = Settings {
    tolerance: 1e-2,
    most_steps: 10,
};
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rival {
    pub(crate) form: Form,
    pub(crate) coefficients: Vec<f64>,
}

/// How many rivals are remembered.
const MOST_RIVALS: usize = 5;
/// By how much the criterion of the worst of them is above the best.
const RIVAL_EXCESS: f64 = 10.0;
/// In a search that begins from them, the coefficients of a rival are estimated again if its
/// criterion comes this close with those it has.
const PROMISING: f64 = 0.1;
/// The best of them is brought a step closer to its largest likelihood each time.
const ONE_STEP: Settings = Settings {
    tolerance: 1e-2,
    most_steps: 1,
};
/// A rival that is better than the best was by so much has its neighbours looked at.
const MOVED_ON: f64 = 1.0;

/// The best model and those close to it.
pub(crate) struct Found {
    pub(crate) estimate: Estimate,
    pub(crate) rivals: Vec<Rival>,
}

struct Search<'a> {
    problem: &'a mut Problem,
    /// Made when the first model without a start is tried.
    guesses: Option<Guesses>,
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
        let settings = is_small(self.problem).then_some(ROUGH);
        let guesses = self
            .guesses
            .get_or_insert_with(|| Guesses::new(self.problem));
        let found = estimate(self.problem, guesses, &orders, form.constant, settings);
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

    /// The best model, and those close to it. The best `finalists` are first estimated by exact
    /// maximum likelihood, and more as long as one that is not comes first.
    fn finish(&mut self, finalists: usize, mut estimated: Vec<Form>) -> Option<Found> {
        let most = estimated.len() + finalists;
        while let Some(form) = self.next_finalist(most, &estimated) {
            estimated.push(form);
            self.improve(form, CAREFUL);
        }
        let ranked = self.ranked();
        let (best, form) = *ranked.first()?;
        let (_, estimate) = self.tried.remove(&form)??;
        let rivals = ranked[1..]
            .iter()
            .take_while(|(aicc, _)| aicc - best < RIVAL_EXCESS)
            .take(MOST_RIVALS)
            .filter_map(|(_, form)| {
                let (_, rival) = self.tried.get(form)?.as_ref()?;
                Some(Rival {
                    form: *form,
                    coefficients: rival.coefficients.clone(),
                })
            });
        Some(Found {
            rivals: rivals.collect(),
            estimate: estimate.polished(self.problem, THOROUGH),
        })
    }

    /// Searches on from the coefficients of a model that was tried.
    fn improve(&mut self, form: Form, settings: Settings) {
        if let Some(Some((_, found))) = self.tried.remove(&form) {
            let found = found.polished(self.problem, settings);
            self.note(form, Some(found));
        }
    }

    /// The best model that is not estimated yet, if it still has to be.
    fn next_finalist(&self, most: usize, estimated: &[Form]) -> Option<Form> {
        let ranked = self.ranked();
        let (best, first) = ranked.first()?;
        if estimated.len() >= most && estimated.contains(first) {
            return None;
        }
        ranked
            .iter()
            .take_while(|(aicc, _)| *aicc <= best + FINALIST_EXCESS)
            .map(|(_, form)| *form)
            .find(|form| !estimated.contains(form))
    }
}

/// Whether no root of a model is too close to the unit circle. Only the moving average of a series
/// differenced twice may come as close as it likes: it then all but undoes one difference, and
/// leaves a line in its place.
fn sound(found: &Estimate) -> bool {
    let parts = found.orders.split(&found.coefficients);
    parts.into_iter().enumerate().all(|(index, part)| {
        let sign = if index % 2 == 0 { 1.0 } else { -1.0 };
        let signed: Vec<f64> = part.iter().map(|value| sign * value).collect();
        (index == 1 && found.orders.ordinary[1] == 2) || roots_beyond(&signed, NEAREST_ROOT)
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
    let mut search = Search {
        problem,
        guesses: None,
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
        self.finish(FINALISTS, vec![])
    }

    /// Looks around where an earlier search ended: at its rivals with the coefficients they had
    /// then, which a longer history moves little, and a step closer to the best of the likeliest.
    fn again(&mut self, form: Form, coefficients: &[f64], rivals: &[Rival]) -> Option<Found> {
        let orders = self.orders(&form);
        let first = Estimate::resumed(self.problem, &orders, form.constant, coefficients);
        let before = self.note(form, first);
        if !before.is_finite() {
            return self.cold();
        }
        for rival in rivals {
            if self.allowed(&rival.form) && !self.tried.contains_key(&rival.form) {
                let found = self.unchanged(rival);
                self.note(rival.form, found);
            }
        }
        let next = self.ranked().into_iter().find(|(_, other)| *other != form);
        if let Some((_, rival)) = next {
            self.improve(rival, ONE_STEP);
        }
        let mut estimated = vec![form];
        for (aicc, rival) in self.ranked() {
            if rival != form && aicc < before + PROMISING {
                self.improve(rival, CAREFUL);
                estimated.push(rival);
            }
        }
        let (lowest, best) = *self.ranked().first()?;
        if lowest < before - MOVED_ON {
            self.walk(best);
        }
        self.finish(0, estimated)
    }

    /// A rival with the coefficients it had; nothing if they are not of its orders.
    fn unchanged(&mut self, rival: &Rival) -> Option<Estimate> {
        let orders = self.orders(&rival.form);
        if rival.coefficients.len() != orders.coefficients() {
            return None;
        }
        let coefficients = from_all_partials(&orders, &all_partials(&orders, &rival.coefficients));
        Estimate::at(self.problem, &orders, rival.form.constant, coefficients)
    }
}
