//! The search for the form of least AICc: every form is climbed roughly, each from the best of a
//! few starts and of the simpler forms already climbed, and those that could still win to the top.
use super::{
    climb::{Climber, Free, Patience, Place},
    doubt::{Doubt, Model, errors_fail, trend_fails},
    form::{Form, Kind, Layout},
    point::Reading,
    recursion::{Smoothing, States},
    start::Sketch,
};
use crate::moments::mean;

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
/// The greatest beta, as a share of alpha, of a trend that was not asked for: steeper ones follow
/// noise (see `doubt`).
const STEEPEST: f64 = 0.2;
/// What was found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) model: Model,
    /// Minus twice the log-likelihood, less a constant.
    pub(crate) loss: f64,
    /// The parameters searched, the variance included.
    pub(crate) parameters: usize,
}

/// A search over one history.
pub(crate) struct Search<'a> {
    climber: Climber<'a>,
    season_length: usize,
    sketches: [Option<Sketch>; 3],
    attempts: Vec<Attempt>,
    known: Option<&'a Model>,
    doubt: Doubt,
}

/// A form that was climbed.
struct Attempt {
    reading: Reading,
    free: Free,
    place: Place,
    score: f64,
    fine: bool,
    /// Whether there was a reason to pass over it.
    refuted: bool,
}

impl Attempt {
    fn model(&self) -> Model {
        Model {
            form: self.reading.form,
            smoothing: self.reading.smoothing(&self.place.point),
            origin: self.reading.states(&self.place.point),
        }
    }
}

impl<'a> Search<'a> {
    /// Over values that are at most 1 in size; seasonal forms need two seasons of them. `doubt`
    /// tells what nobody asked for.
    pub(crate) fn new(
        values: &'a [f64],
        season_length: usize,
        known: Option<&'a Model>,
        doubt: Doubt,
    ) -> Search<'a> {
        Search {
            climber: Climber::new(values, if doubt.trend { STEEPEST } else { 1.0 }),
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
                    ..attempt.model().smoothing
                };
                points.push(reading.point(&smoothing, &attempt.model().origin));
            } else if other.trend == Kind::None && !form.damped {
                let Model {
                    smoothing: alone,
                    origin,
                    ..
                } = attempt.model();
                let smoothing = Smoothing {
                    beta: 0.05 * alone.alpha,
                    ..alone
                };
                let origin = States {
                    season: origin.season,
                    ..states.clone()
                };
                points.push(reading.point(&smoothing, &origin));
            }
        }
        if self.known.is_none() {
            grid(reading, &states, &mut points);
        }
        let steepest = self.climber.steepest;
        let mut places: Vec<Place> = points
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
            .collect();
        if places.iter().all(|place| !place.loss.is_finite()) {
            let point = still(reading, self.climber.values);
            let loss = self.climber.loss(reading, &point);
            places.push(Place { point, loss });
        }
        places
    }

    fn sketch(&mut self, season: Kind) -> &Sketch {
        let (values, season_length) = (self.climber.values, self.season_length);
        self.sketches[season as usize]
            .get_or_insert_with(|| Sketch::of(values, season, season_length))
    }

    /// The best attempt that there is no reason to pass over, or the best if there are reasons
    /// against all of them. Climbs to the top what could be it.
    fn settle(&mut self) -> Option<usize> {
        loop {
            let Some(best) = self.leader(|attempt| !attempt.refuted) else {
                return self.leader(|_| true);
            };
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

    /// Whether there is a reason to pass over an attempt in favor of simpler ones.
    fn refutes(&self, index: usize) -> bool {
        let form = self.attempts[index].reading.form;
        let model = self.attempts[index].model();
        let values = self.climber.values;
        if self.doubt.error && form.relative && errors_fail(&model, values) {
            return true;
        }
        let without =
            |attempt: &&Attempt| attempt.reading.form.trend == Kind::None && !attempt.refuted;
        self.doubt.trend
            && form.trend != Kind::None
            && self.attempts.iter().any(|attempt| without(&attempt))
            && trend_fails(
                &model,
                self.attempts.iter().filter(without).map(Attempt::model),
                values,
                self.season_length,
            )
    }

    fn found(&self, index: usize) -> Found {
        let best = &self.attempts[index];
        Found {
            model: best.model(),
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

/// The mean of all values with hardly any movement: a point at which every form is defined.
fn still(reading: &Reading, values: &[f64]) -> Vec<f64> {
    let neutral = |kind: Kind| f64::from(u8::from(kind == Kind::Multiplicative));
    let smoothing = Smoothing {
        alpha: 0.0,
        beta: 0.0,
        gamma: 0.0,
        phi: 1.0,
    };
    let states = States {
        level: mean(values),
        growth: neutral(reading.form.trend),
        season: vec![neutral(reading.form.season); reading.season_length],
    };
    reading.point(&smoothing, &states)
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
