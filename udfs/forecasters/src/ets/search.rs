//! The search for the form of least AICc: every form is climbed roughly, each from the best of a
//! few starts and of the simpler forms already climbed, and those that could still win to the top.

use super::{
    climb::{Climber, Free, Patience, Place},
    form::{Form, Kind, Layout},
    point::Reading,
    recursion::{Smoothing, States},
    start::Sketch,
};

/// The longest season whose initial states are searched with everything else; those of longer ones
/// stay as decomposed.
pub(crate) const LONGEST_FREE: usize = 24;

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

struct Attempt {
    reading: Reading,
    free: Free,
    place: Place,
    score: f64,
    fine: bool,
}

pub(crate) struct Search<'a> {
    climber: Climber<'a>,
    season_length: usize,
    sketches: [Option<Sketch>; 3],
    attempts: Vec<Attempt>,
    known: Option<&'a Known>,
}

impl<'a> Search<'a> {
    /// Over values that are at most 1 in size; seasonal forms need two seasons of them.
    pub(crate) fn new(
        values: &'a [f64],
        season_length: usize,
        known: Option<&'a Known>,
    ) -> Search<'a> {
        Search {
            climber: Climber::new(values),
            season_length,
            sketches: [None, None, None],
            attempts: vec![],
            known,
        }
    }

    /// The best of these forms, or `None` if not one is defined on the history.
    pub(crate) fn best(&mut self, forms: &[Form]) -> Option<Found> {
        for form in forms {
            self.attempt(*form);
        }
        self.finish()
    }

    /// The best form in the neighborhood of the known one: where one that differs in one component
    /// is better, the search moves on to its neighbors.
    pub(crate) fn near(&mut self, forms: &[Form], from: Form) -> Option<Found> {
        let mut center = from;
        loop {
            let tried = |form: &Form, attempts: &[Attempt]| {
                attempts.iter().any(|attempt| attempt.reading.form == *form)
            };
            for form in forms {
                if form.distance(center) <= 1 && !tried(form, &self.attempts) {
                    self.attempt(*form);
                }
            }
            let best = self
                .attempts
                .iter()
                .min_by(|a, b| a.score.total_cmp(&b.score))?;
            if best.reading.form == center || !best.score.is_finite() {
                return self.finish();
            }
            center = best.reading.form;
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
            // Only reached by forms that were asked for: the more parameters, the worse.
            1e6 * parameters
        };
        loss + 2.0 * parameters + correction
    }

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
            });
        }
    }

    /// Places to climb from.
    fn starts(&mut self, reading: &Reading) -> Vec<Place> {
        let form = reading.form;
        let mut points: Vec<Vec<f64>> = vec![];
        let states = self.sketch(form.season).states(form);
        if let Some(known) = self.known {
            points.push(reading.point(&known.smoothing, &states));
            if known.form.trend == form.trend
                && known.form.season == form.season
                && known.origin.season.len() == states.season.len()
            {
                points.push(reading.point(&known.smoothing, &known.origin));
            }
        } else {
            let twin = self.attempts.iter().find(|attempt| {
                Form {
                    relative: form.relative,
                    ..attempt.reading.form
                } == form
            });
            if let Some(twin) = twin {
                points.push(twin.place.point.clone());
            }
            let simpler = self.attempts.iter().filter(|attempt| {
                let other = attempt.reading.form;
                other.relative == form.relative
                    && other.season == form.season
                    && (other.trend == Kind::None && form.trend != Kind::None && !form.damped
                        || other.trend == form.trend && form.damped && !other.damped)
            });
            for attempt in simpler {
                let mut smoothing = attempt.reading.smoothing(&attempt.place.point);
                let mut origin = attempt.reading.states(&attempt.place.point);
                if attempt.reading.form.trend == Kind::None {
                    origin = States {
                        season: origin.season,
                        ..states.clone()
                    };
                    smoothing.beta = 0.05 * smoothing.alpha;
                }
                smoothing.phi = 0.97;
                points.push(reading.point(&smoothing, &origin));
            }
        }
        if self.known.is_none() {
            points.extend(grid(reading, &states));
        }
        points
            .into_iter()
            .map(|point| Place {
                loss: self.climber.loss(reading, &point),
                point,
            })
            .collect()
    }

    fn sketch(&mut self, season: Kind) -> &Sketch {
        let (values, season_length) = (self.climber.values, self.season_length);
        self.sketches[season as usize]
            .get_or_insert_with(|| Sketch::of(values, season, season_length))
    }

    /// Climbs to the top what could be the best.
    fn finish(&mut self) -> Option<Found> {
        loop {
            let best = self
                .attempts
                .iter()
                .map(|attempt| attempt.score)
                .fold(f64::INFINITY, f64::min);
            let next = self
                .attempts
                .iter_mut()
                .filter(|attempt| !attempt.fine && attempt.score <= best + HOPELESS)
                .min_by(|left, right| left.score.total_cmp(&right.score));
            let Some(attempt) = next else { break };
            self.climber
                .climb(&attempt.reading, attempt.free, &mut attempt.place, FINE);
            attempt.fine = true;
            let (form, free, loss) = (attempt.reading.form, attempt.free, attempt.place.loss);
            let score = self.score(form, free, loss);
            if let Some(attempt) = self
                .attempts
                .iter_mut()
                .find(|attempt| attempt.reading.form == form)
            {
                attempt.score = score;
            }
        }
        let best = self
            .attempts
            .iter()
            .min_by(|left, right| left.score.total_cmp(&right.score))?;
        Some(Found {
            form: best.reading.form,
            smoothing: best.reading.smoothing(&best.place.point),
            origin: best.reading.states(&best.place.point),
            loss: best.place.loss,
            parameters: parameters(best.reading.form, self.season_length, best.free),
        })
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

/// A coarse grid of smoothing parameters.
fn grid(reading: &Reading, states: &States) -> Vec<Vec<f64>> {
    let betas: &[f64] = if reading.layout.beta.is_some() {
        &[0.02, 0.2]
    } else {
        &[0.0]
    };
    let gammas: &[f64] = if reading.layout.gamma.is_some() {
        &[0.02, 0.3]
    } else {
        &[0.0]
    };
    let mut points = vec![];
    for alpha in [0.05, 0.3, 0.7, 0.97] {
        for beta in betas {
            for gamma in gammas {
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
    points
}
