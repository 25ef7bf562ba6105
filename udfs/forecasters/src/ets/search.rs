//! The search for the form of least AICc: every form is climbed roughly, each from the best of a
//! few starts and of the simpler forms already climbed, and those that could still win to the top.
//!
//! The likelihood looks one step ahead only, and the longer the horizon, the more a trend that
//! follows noise costs. So where the trend is chosen automatically, beta stays below a fifth of
//! alpha, and a trend has to prove itself several steps ahead within the history: a form with one
//! is passed over if its forecasts are further off there than those of the best form without, or
//! if it is about to leave the positive numbers that the history consists of.

use super::{
    ahead::{error_ahead, lowest_ahead},
    climb::{Climber, Free, Patience, Place},
    form::{Form, Kind, Layout},
    point::Reading,
    recursion::{Smoothing, States, filter},
    start::Sketch,
};

/// The longest season whose initial states are searched with everything else; those of longer ones
/// stay as decomposed.
const LONGEST_FREE: usize = 24;

const ROUGH: Patience = Patience {
    tolerance: 0.1,
    most_steps: 12,
};
const FINE: Patience = Patience {
    tolerance: 1e-7,
    most_steps: 100,
};
/// A form this much AICc behind the best after the rough climb is not climbed further.
const HOPELESS: f64 = 2.0;
/// The greatest beta, as a share of alpha, of a trend that was not asked for.
const STEEPEST: f64 = 0.2;
/// How many steps ahead such a trend is tried at least; at least two seasons, too.
const LEAST_AHEAD: usize = 12;

/// A fitted form.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) form: Form,
    pub(crate) smoothing: Smoothing,
    pub(crate) origin: States,
    /// Minus twice the log-likelihood, less a constant.
    pub(crate) loss: f64,
    /// The parameters searched, the variance included.
    pub(crate) parameters: usize,
}

/// What an earlier fit found.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) form: Form,
    pub(crate) smoothing: Smoothing,
    pub(crate) origin: States,
}

/// A search over one history.
pub(crate) struct Search<'a> {
    climber: Climber<'a>,
    season_length: usize,
    sketches: [Option<Sketch>; 3],
    attempts: Vec<Attempt>,
    known: Option<&'a Known>,
    /// Whether trends have to prove themselves.
    doubt: bool,
}

/// A form that was climbed.
struct Attempt {
    reading: Reading,
    free: Free,
    place: Place,
    score: f64,
    fine: bool,
    /// Whether its trend failed several steps ahead.
    refuted: bool,
}

impl Attempt {
    fn smoothing(&self) -> Smoothing {
        self.reading.smoothing(&self.place.point)
    }

    fn origin(&self) -> States {
        self.reading.states(&self.place.point)
    }
}

impl<'a> Search<'a> {
    /// Over values that are at most 1 in size; seasonal forms need two seasons of them. `doubt`
    /// tells that no trend was asked for.
    pub(crate) fn new(
        values: &'a [f64],
        season_length: usize,
        known: Option<&'a Known>,
        doubt: bool,
    ) -> Search<'a> {
        Search {
            climber: Climber::new(values, if doubt { STEEPEST } else { 1.0 }),
            season_length,
            sketches: [None, None, None],
            attempts: vec![],
            known,
            doubt,
        }
    }

    /// The best of these forms, or `None` if not one is defined on the history.
    pub(crate) fn best(&mut self, forms: &[Form]) -> Option<Found> {
        for form in forms {
            self.attempt(*form);
        }
        self.settle().map(|best| self.found(best))
    }

    /// The best form in the neighborhood of the known one: where one that differs in one component
    /// is better, the search moves on to its neighbors.
    pub(crate) fn near(&mut self, forms: &[Form], known: Form) -> Option<Found> {
        let mut center = known;
        loop {
            for form in forms.iter().filter(|form| form.distance(center) <= 1) {
                if self
                    .attempts
                    .iter()
                    .all(|tried| tried.reading.form != *form)
                {
                    self.attempt(*form);
                }
            }
            let best = self.settle()?;
            let form = self.attempts[best].reading.form;
            if form == center {
                return Some(self.found(best));
            }
            center = form;
        }
    }

    /// How often the recursions ran over the history.
    #[cfg(test)]
    pub(crate) fn calls(&self) -> usize {
        self.climber.calls
    }

    fn count(&self) -> usize {
        self.climber.values.len()
    }

    /// AICc, up to a constant.
    fn score(&self, form: Form, free: Free, loss: f64) -> f64 {
        let parameters = parameters(form, self.season_length, free) as f64;
        let left = self.count() as f64 - parameters - 1.0;
        let correction = if left > 0.0 {
            2.0 * parameters * (parameters + 1.0) / left
        } else {
            // Reached only where no form has enough observations: the simplest wins.
            1e6 * parameters
        };
        loss + 2.0 * parameters + correction
    }

    /// Climbs a form roughly, from its two best starts.
    fn attempt(&mut self, form: Form) {
        let reading = Reading::of(form, self.season_length);
        let free = if self.count() < form.parameters(self.season_length) + 2 {
            Free::Smoothing
        } else if form.season != Kind::None && self.season_length > LONGEST_FREE {
            Free::AllButSeason
        } else {
            Free::All
        };
        let mut places = self.starts(&reading);
        places.sort_by(|left, right| left.loss.total_cmp(&right.loss));
        places.truncate(2);
        let mut best: Option<Place> = None;
        for mut place in places {
            if !place.loss.is_finite() {
                continue;
            }
            self.climber.climb(&reading, free, &mut place, ROUGH);
            if best.as_ref().is_none_or(|best| place.loss < best.loss) {
                best = Some(place);
            }
        }
        if let Some(place) = best {
            let score = self.score(form, free, place.loss);
            self.attempts.push(Attempt {
                reading,
                free,
                place,
                score,
                fine: false,
                refuted: false,
            });
        }
    }

    /// Places to climb from.
    fn starts(&mut self, reading: &Reading) -> Vec<Place> {
        let form = reading.form;
        let states = self.sketch(form.season).states(form);
        let mut points: Vec<Vec<f64>> = vec![];
        if let Some(known) = self.known {
            points.push(reading.point(&known.smoothing, &states));
            if known.form.trend == form.trend
                && known.form.season == form.season
                && known.origin.season.len() == states.season.len()
            {
                points.push(reading.point(&known.smoothing, &known.origin));
            }
        }
        for attempt in &self.attempts {
            let other = attempt.reading.form;
            if other.season != form.season {
                continue;
            }
            let same_trend = other.trend == form.trend;
            if same_trend && other.damped == form.damped {
                points.push(attempt.place.point.clone());
            } else if other.relative != form.relative {
                continue;
            } else if same_trend && form.damped {
                let smoothing = Smoothing {
                    phi: 0.97,
                    ..attempt.smoothing()
                };
                points.push(reading.point(&smoothing, &attempt.origin()));
            } else if other.trend == Kind::None && !form.damped {
                let alone = attempt.smoothing();
                let smoothing = Smoothing {
                    beta: 0.05 * alone.alpha,
                    ..alone
                };
                let origin = States {
                    season: attempt.origin().season,
                    ..states.clone()
                };
                points.push(reading.point(&smoothing, &origin));
            }
        }
        if self.known.is_none() {
            grid(reading, &states, &mut points);
        }
        let steepest = self.climber.steepest;
        points
            .into_iter()
            .map(|mut point| {
                if let Some(beta) = reading.layout.beta {
                    point[beta] = point[beta].min(steepest);
                }
                Place {
                    loss: self.climber.loss(reading, &point),
                    point,
                }
            })
            .collect()
    }

    fn sketch(&mut self, season: Kind) -> &Sketch {
        let (values, season_length) = (self.climber.values, self.season_length);
        self.sketches[season as usize]
            .get_or_insert_with(|| Sketch::of(values, season, season_length))
    }

    /// The best attempt: climbs to the top what could be it, and puts its trend to the test.
    fn settle(&mut self) -> Option<usize> {
        loop {
            let best = self.leader(|attempt| !attempt.refuted)?;
            let within = self.attempts[best].score + HOPELESS;
            let next =
                self.leader(|attempt| !attempt.refuted && !attempt.fine && attempt.score <= within);
            if let Some(next) = next {
                let attempt = &mut self.attempts[next];
                self.climber
                    .climb(&attempt.reading, attempt.free, &mut attempt.place, FINE);
                attempt.fine = true;
                let (form, free) = (attempt.reading.form, attempt.free);
                let loss = attempt.place.loss;
                self.attempts[next].score = self.score(form, free, loss);
            } else if self.refutes(best) {
                self.attempts[best].refuted = true;
            } else {
                return Some(best);
            }
        }
    }

    /// The attempt of least score among some.
    fn leader(&self, among: impl Fn(&Attempt) -> bool) -> Option<usize> {
        (0..self.attempts.len())
            .filter(|index| among(&self.attempts[*index]))
            .min_by(|left, right| {
                self.attempts[*left]
                    .score
                    .total_cmp(&self.attempts[*right].score)
            })
    }

    /// Whether an attempt's trend, which nobody asked for, fails several steps ahead.
    fn refutes(&self, index: usize) -> bool {
        let attempt = &self.attempts[index];
        let without = |other: &&Attempt| other.reading.form.trend == Kind::None;
        if !self.doubt || without(&attempt) || !self.attempts.iter().any(|one| without(&one)) {
            return false;
        }
        let third = (self.count() / 3).max(1);
        let steps = (2 * self.season_length).max(LEAST_AHEAD).min(third);
        let warm = (2 * self.season_length).min(third);
        let values = self.climber.values;
        let error = |attempt: &Attempt| {
            let form = attempt.reading.form;
            let (smoothing, origin) = (attempt.smoothing(), attempt.origin());
            error_ahead(form, &smoothing, origin, values, warm, steps)
        };
        let least = self
            .attempts
            .iter()
            .filter(without)
            .map(error)
            .fold(f64::INFINITY, f64::min);
        if error(attempt) > least {
            return true;
        }
        let (form, smoothing, mut states) =
            (attempt.reading.form, attempt.smoothing(), attempt.origin());
        filter(form, &smoothing, &mut states, values, &mut |_| {});
        values.iter().all(|value| *value > 0.0)
            && lowest_ahead(form, &smoothing, &states, steps) <= 0.0
    }

    fn found(&self, index: usize) -> Found {
        let best = &self.attempts[index];
        Found {
            form: best.reading.form,
            smoothing: best.smoothing(),
            origin: best.origin(),
            loss: best.place.loss,
            parameters: parameters(best.reading.form, self.season_length, best.free),
        }
    }
}

/// The parameters counted.
fn parameters(form: Form, season_length: usize, free: Free) -> usize {
    let layout = Layout::of(form, season_length);
    match free {
        Free::All | Free::AllButSeason => layout.length + 1,
        Free::Smoothing => {
            2 + usize::from(layout.beta.is_some())
                + usize::from(layout.phi.is_some())
                + usize::from(layout.gamma.is_some())
        }
    }
}

/// Adds the points of a coarse grid of smoothing parameters.
fn grid(reading: &Reading, states: &States, points: &mut Vec<Vec<f64>>) {
    let shares = |place: Option<usize>, shares: [f64; 2]| match place {
        Some(_) => shares.to_vec(),
        None => vec![0.0],
    };
    for alpha in [0.05, 0.3, 0.7, 0.97] {
        for beta in shares(reading.layout.beta, [0.02, 0.2]) {
            for gamma in shares(reading.layout.gamma, [0.02, 0.3]) {
                let smoothing = Smoothing {
                    alpha,
                    beta: beta * alpha,
                    gamma: gamma * (1.0 - alpha),
                    phi: 0.95,
                };
                points.push(reading.point(&smoothing, states));
            }
        }
    }
}
