//! Exponential smoothing in state space form (ETS): a level, a trend that may fade, and a season,
//! each of them added or multiplied, with errors that are added or multiplied.
//!
//! Assumes that level, growth and season wander, driven by one and the same error, and that newer
//! observations tell more of them than older ones. Errors that are factors suit series whose
//! fluctuations grow with their level. The wrong choice where a series depends on something other
//! than its own past, returns quickly to a mean, or has several seasons.
//!
//! Hyndman, Koehler, Ord and Snyder, *Forecasting with Exponential Smoothing* (2008): the thirty
//! forms (tables 2.2 and 2.3), the likelihood (section 5.1), initial states (section 2.6.1, and
//! searched with the rest), the usual region of the parameters, selection by AICc (section 7.2,
//! with the error variance counted among the parameters), means and variances of the additive forms
//! (table 6.1); Hyndman and Athanasopoulos, *Forecasting: Principles and Practice* (3rd edition),
//! chapter 8. Paths of the other forms are simulated.
//!
//! Where components are chosen automatically, AICc is not alone: a trend also has to be of use
//! several steps ahead within the history, beta of such a trend is at most a fifth of alpha, and
//! relative errors have to be small enough for their distribution. That costs likelihood and makes
//! forecasts better; who names a component gets the likeliest.
//!
//! A history too short for a form has its initial states held where a decomposition puts them; if
//! it is too short even for that, an automatic choice has no such form. The initial states of a
//! season of more than 24 steps are held always, counted as if they were not.

mod ahead;
mod choice;
mod climb;
mod doubt;
mod form;
mod future;
mod point;
mod recursion;
mod search;
mod slopes;
mod start;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::{
    Parameter, Params,
    errors::{FitError, StateError},
    family::{Family, Learned, Start},
    fitted::finite,
    math::ln,
    noise::{self, Noise},
    outlook::{Linear, Outlook},
    series::{Ahead, Series},
    sizes::{largest, power_of_two},
    state::corrupt,
};
use choice::Choice;
use doubt::Model;
use form::{Form, Kind};
use future::Future;
use recursion::{Smoothing, States, filter};
use search::{Found, Search};

/// Exponential smoothing.
pub struct Ets;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body {
    /// Error, trend and season, such as MAdM.
    form: Form,
    alpha: f64,
    beta: f64,
    gamma: f64,
    phi: f64,
    level: f64,
    growth: f64,
    /// The state of the next season first.
    season: Vec<f64>,
    /// The states before the first observation: level, growth and season.
    origin: (f64, f64, Vec<f64>),
    /// The errors, relative ones where the form has those, frozen as fitted.
    noise: Noise,
}

impl Body {
    fn smoothing(&self) -> Smoothing {
        Smoothing {
            alpha: self.alpha,
            beta: self.beta,
            gamma: self.gamma,
            phi: self.phi,
        }
    }
}

impl Family for Ets {
    type Body = Body;
    const NAME: &'static str = "ets";
    const FORMAT: u32 = 1;
    const SUMMARY: &'static str = "exponential smoothing: level, trend and season by AICc";
    const PARAMETERS: &'static [Parameter] = &[
        Parameter {
            name: "error",
            default: "\"auto\"",
            help: "A (additive), M (multiplicative) or auto",
        },
        Parameter {
            name: "trend",
            default: "\"auto\"",
            help: "N (none), A (additive), Ad (damped), M (multiplicative), Md, or auto: N, A or Ad",
        },
        Parameter {
            name: "damped",
            default: "\"auto\"",
            help: "whether a trend fades: true, false or auto",
        },
        Parameter {
            name: "season",
            default: "\"auto\"",
            help: "N (none), A (additive), M (multiplicative), some (A or M) or auto",
        },
        Parameter {
            name: "season_length",
            default: "5",
            help: "steps in a season; 1 for none",
        },
        noise::ERRORS,
    ];

    fn minimum(params: &Params) -> Result<usize, FitError> {
        Ok(Choice::read(params)?.minimum())
    }

    fn learn(
        history: Series<'_>,
        params: &Params,
        start: Start<'_, Body>,
    ) -> Result<Learned<Body>, FitError> {
        let choice = Choice::read(params)?;
        let values = history.values;
        let lowest = values.iter().position(|value| *value <= 0.0);
        let allowed = || choice.forms(values.len(), lowest.is_none());
        let (forms, near, keep) = match start {
            Start::Cold => (allowed(), None, false),
            Start::Near(body) => (allowed(), Some(body), false),
            Start::Keep(body) if choice.seasons(values.len()) || body.season.is_empty() => {
                (vec![body.form], Some(body), true)
            }
            Start::Keep(body) => (allowed(), Some(body), false),
        };
        if let (Some(index), true) = (lowest, forms.iter().all(|form| form.positive())) {
            return Err(FitError::Domain {
                date: history.dates[index],
                value: values[index],
                needed: "values above zero",
            });
        }
        if values.iter().all(|value| *value == values[0]) {
            return Ok(constant(values, forms[0], choice.season_length));
        }
        let scale = power_of_two(largest(values));
        let scaled: Vec<f64> = values.iter().map(|value| value / scale).collect();
        let known = near
            .filter(|body| body.season.is_empty() || body.season.len() == choice.season_length)
            .map(|body| known(body, scale));
        let mut search = Search::new(
            &scaled,
            choice.season_length,
            known.as_ref(),
            choice.doubt(),
        );
        let found = match &known {
            Some(known) if !keep && forms.contains(&known.form) => search.near(&forms, known.form),
            _ => search.best(&forms),
        };
        let found = found.ok_or(FitError::Overflow {
            quantity: "likelihood",
        })?;
        finish(values, &scaled, scale, found, choice.errors)
    }

    fn check(body: &Body) -> Result<(), StateError> {
        let numbers = [
            body.alpha,
            body.beta,
            body.gamma,
            body.phi,
            body.level,
            body.growth,
            body.origin.0,
            body.origin.1,
        ];
        let finite = |numbers: &[f64]| numbers.iter().all(|number| number.is_finite());
        if !finite(&numbers) || !finite(&body.season) || !finite(&body.origin.2) {
            return Err(corrupt("a number is not finite"));
        }
        let shares = [body.alpha, body.beta, body.gamma, body.phi];
        if shares.iter().any(|share| !(0.0..=1.0).contains(share)) {
            return Err(corrupt("a smoothing parameter is not between 0 and 1"));
        }
        let seasonal = body.form.season != Kind::None;
        if seasonal == body.season.is_empty() || body.origin.2.len() != body.season.len() {
            return Err(corrupt("the season does not fit the form"));
        }
        if body.form.trend == Kind::Multiplicative && body.growth <= 0.0 {
            return Err(corrupt("growth by a factor is not above zero"));
        }
        body.noise.check()
    }

    fn advance(
        body: &mut Body,
        recent: Series<'_>,
        predicted: &mut dyn FnMut(f64),
    ) -> Result<(), StateError> {
        if body.form.positive()
            && let Some(index) = recent.values.iter().position(|value| *value <= 0.0)
        {
            return Err(StateError::Domain {
                date: recent.dates[index],
                value: recent.values[index],
                needed: "values above zero",
            });
        }
        let smoothing = body.smoothing();
        let mut states = States {
            level: body.level,
            growth: body.growth,
            season: std::mem::take(&mut body.season),
        };
        filter(body.form, &smoothing, &mut states, recent.values, predicted);
        body.level = states.level;
        body.growth = states.growth;
        body.season = states.season;
        // Only values beyond all reason bring the states out of their range.
        Ets::check(body).map_err(|_| {
            let quantity = "level, growth or season";
            FitError::Overflow { quantity }.into()
        })
    }

    fn expect(body: Body, ahead: Ahead<'_>) -> Result<Box<dyn Outlook>, StateError> {
        let smoothing = body.smoothing();
        let states = States {
            level: body.level,
            growth: body.growth,
            season: body.season,
        };
        if body.form.linear() {
            return Ok(Box::new(linear(
                body.form,
                &smoothing,
                &states,
                body.noise,
                ahead.steps,
            )));
        }
        Ok(Box::new(Future {
            form: body.form,
            smoothing,
            states,
            noise: body.noise,
            steps: ahead.steps,
        }))
    }
}

/// Means and weights of a form in which everything is added (Hyndman, Koehler, Ord and Snyder,
/// table 6.1): the weight of an error j steps later is alpha, plus beta times the sum of the first j
/// powers of phi, plus gamma at whole seasons.
fn linear(
    form: Form,
    smoothing: &Smoothing,
    states: &States,
    noise: Noise,
    steps: usize,
) -> Linear {
    let mut mean = Vec::with_capacity(steps);
    let mut weights = Vec::with_capacity(steps);
    let (mut power, mut powers) = (1.0, 0.0);
    for step in 0..steps {
        weights.push(match step {
            0 => 1.0,
            _ => {
                let season = match states.season.len() {
                    0 => false,
                    length => step.is_multiple_of(length),
                };
                smoothing.alpha
                    + smoothing.beta * powers
                    + if season { smoothing.gamma } else { 0.0 }
            }
        });
        power *= smoothing.phi;
        powers += power;
        let trend = if form.trend == Kind::None {
            0.0
        } else {
            powers * states.growth
        };
        let season = match states.season.len() {
            0 => 0.0,
            length => states.season[step % length],
        };
        mean.push(states.level + trend + season);
    }
    Linear {
        mean,
        weights,
        noise,
    }
}

/// What an earlier fit found, on values divided by `scale`.
fn known(body: &Body, scale: f64) -> Model {
    let (level, growth, season) = &body.origin;
    Model {
        form: body.form,
        smoothing: body.smoothing(),
        origin: States {
            level: level / scale,
            growth: match body.form.trend {
                Kind::Multiplicative => *growth,
                _ => growth / scale,
            },
            season: match body.form.season {
                Kind::Multiplicative => season.clone(),
                _ => season.iter().map(|state| state / scale).collect(),
            },
        },
    }
}

/// What a history of equal values teaches: all of them are predicted.
fn constant(values: &[f64], form: Form, season_length: usize) -> Learned<Body> {
    let value = values[0];
    let factor = f64::from(u8::from(form.trend == Kind::Multiplicative));
    let season = match form.season {
        Kind::None => vec![],
        Kind::Additive => vec![0.0; season_length],
        Kind::Multiplicative => vec![1.0; season_length],
    };
    Learned {
        body: Body {
            form,
            alpha: 0.5,
            beta: if form.trend == Kind::None { 0.0 } else { 0.05 },
            gamma: if form.season == Kind::None { 0.0 } else { 0.05 },
            phi: if form.damped { 0.95 } else { 1.0 },
            level: value,
            growth: factor,
            season: season.clone(),
            origin: (value, factor, season),
            noise: Noise::gaussian(0.0),
        },
        predictions: vec![value; values.len()],
        aicc: None,
    }
}

/// The body of what was found on scaled values.
fn finish(
    values: &[f64],
    scaled: &[f64],
    scale: f64,
    found: Found,
    kind: noise::Kind,
) -> Result<Learned<Body>, FitError> {
    let Found {
        model: Model {
            form,
            smoothing,
            origin,
        },
        loss,
        parameters,
    } = found;
    let mut states = origin.clone();
    let mut predictions = Vec::with_capacity(values.len());
    filter(form, &smoothing, &mut states, scaled, &mut |prediction| {
        predictions.push(prediction)
    });
    let relative = form.relative;
    let errors: Vec<f64> = scaled
        .iter()
        .zip(&predictions)
        .map(|(value, predicted)| {
            let error = value - predicted;
            if relative { error / predicted } else { error }
        })
        .collect();
    // Akaike's final prediction error: the unbiased variance, and what the uncertainty of the other
    // parameters adds to it.
    let n = values.len() as f64;
    let others = (parameters - 1) as f64;
    let squares: f64 = errors.iter().map(|error| error * error).sum();
    let deviation = (squares / (n - others).max(1.0) * (1.0 + others / n)).sqrt();
    let noise = Noise::fit(kind, &errors, finite("deviation", deviation)?)?;
    let noise = if relative { noise } else { noise.scaled(scale) };
    let grown = if form.trend == Kind::Multiplicative {
        1.0
    } else {
        scale
    };
    let seasoned = if form.season == Kind::Multiplicative {
        1.0
    } else {
        scale
    };
    let unscaled = |season: Vec<f64>| season.iter().map(|state| state * seasoned).collect();
    let parameters = parameters as f64;
    let aicc = loss
        + n * (1.0 + ln(2.0 * std::f64::consts::PI / n))
        + 2.0 * n * ln(scale)
        + 2.0 * parameters
        + 2.0 * parameters * (parameters + 1.0) / (n - parameters - 1.0);
    for prediction in &mut predictions {
        *prediction *= scale;
    }
    // Squares of deviations and of predictions have to fit into a double.
    let size = (noise.deviation() * if relative { scale } else { 1.0 }).max(scale);
    finite("likelihood", size * size * n)?;
    let Smoothing {
        alpha,
        beta,
        gamma,
        phi,
    } = smoothing;
    Ok(Learned {
        body: Body {
            form,
            alpha,
            beta,
            gamma,
            phi,
            level: states.level * scale,
            growth: states.growth * grown,
            season: unscaled(states.season),
            origin: (
                origin.level * scale,
                origin.growth * grown,
                unscaled(origin.season),
            ),
            noise,
        },
        predictions,
        aicc: Some(aicc).filter(|_| n > parameters + 1.0),
    })
}
