//! The theta method: exponential smoothing whose forecasts take a share of the slope of a straight
//! line.
//!
//! The theta method averages extrapolations of a straight line and of a series with its curvature
//! multiplied by theta (Assimakopoulos and Nikolopoulos 2000, *International Journal of
//! Forecasting* 16). With theta = 2 it is simple exponential smoothing with half the line's slope
//! as drift (Hyndman and Billah 2003, same journal, 19). Fiorucci, Pellegrini, Louzada,
//! Petropoulos and Koehler (2016, same journal, 32) write it as one recursion, implemented here:
//!
//! ```text
//! mu_t    = l_{t-1} + (1 - 1/theta) { (1-alpha)^{t-1} A + [1 - (1-alpha)^t] / alpha B }
//! l_t     = alpha Y_t + (1-alpha) l_{t-1}
//! ```
//!
//! A and B belong to the least-squares line over the whole history (`standard`, `optimized`) or
//! over the observations before t (`dynamic`, `dynamic_optimized`), for which their equations are
//!
//! ```text
//! B_t     = { (t-2) B_{t-1} + 6/t (Y_t - mean_{t-1}) } / (t+1)
//! mean_t  = { (t-1) mean_{t-1} + Y_t } / t
//! A_t     = mean_t - (t+1)/2 B_t
//! ```
//!
//! theta is 2 in the standard and the dynamic form and estimated otherwise, from 1 (no line) up;
//! alpha lies between 0.1 and 0.99. Parameters and the initial level minimise the sum of squared
//! one-step errors. `auto` compares the two forms that estimate theta by this sum, corrected for the
//! number of parameters (AICc): a line over the whole history has seen what it predicts, its two
//! coefficients are estimated, and without the correction it would nearly always win.
//!
//! Values are first freed of a season where their autocorrelation at its length is significant at
//! 90 % (the rule of the M competitions), by classical decomposition.
//!
//! The wrong choice for a season that changes, for a trend that accelerates, and for a series that
//! returns to a level.

use serde::{Deserialize, Serialize};

use crate::{
    Parameter, Params,
    accuracy::is_seasonal,
    errors::{FitError, StateError},
    family::{Family, Learned, Start},
    fitted::finite,
    math::ln,
    noise::{self, Noise},
    outlook::Outlook,
    seasonal::{Kind, Season},
    seasons,
    series::{Ahead, Series},
    sizes::{largest, power_of_two},
};

mod model;
mod outlook;
mod search;

use model::{Line, Model};
use search::{Found, Problem};

/// The theta method.
pub struct Theta;

/// Which line, and which weight of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Form {
    Standard,
    Optimized,
    Dynamic,
    DynamicOptimized,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body {
    form: Form,
    model: Model,
    season: Option<Season>,
    /// The one-step errors of the series without its season, frozen as fitted.
    noise: Noise,
}

/// How the season is taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decomposition {
    Auto,
    Always(Kind),
}

/// Below this many observations nothing is estimated but the line: theta is 2, alpha one half, and
/// the level begins at the first value.
const FEWEST_ESTIMATED: usize = 6;
/// A seasonal factor below this makes the automatic choice additive.
const LEAST_FACTOR: f64 = 0.01;

struct Settings {
    /// `None` is `auto`.
    form: Option<Form>,
    season_length: usize,
    decomposition: Decomposition,
    errors: noise::Kind,
}

impl Settings {
    fn read(params: &Params) -> Result<Settings, FitError> {
        let form = match params.str_or("form", "auto")? {
            "standard" => Some(Form::Standard),
            "optimized" => Some(Form::Optimized),
            "dynamic" => Some(Form::Dynamic),
            "dynamic_optimized" => Some(Form::DynamicOptimized),
            "auto" => None,
            _ => {
                let forms = "standard, optimized, dynamic, dynamic_optimized or auto";
                return Err(params.out_of_range("form", forms));
            }
        };
        let decomposition = match params.str_or("decomposition", "auto")? {
            "auto" => Decomposition::Auto,
            "additive" => Decomposition::Always(Kind::Additive),
            "multiplicative" => Decomposition::Always(Kind::Multiplicative),
            _ => {
                return Err(
                    params.out_of_range("decomposition", "auto, additive or multiplicative")
                );
            }
        };
        Ok(Settings {
            form,
            season_length: seasons::length(params, 1)?,
            decomposition,
            errors: noise::Kind::read(params)?,
        })
    }

    /// The season of a history, `None` where it has none.
    fn season(&self, history: Series<'_>) -> Result<Option<Season>, FitError> {
        let values = history.values;
        if !is_seasonal(values, self.season_length) {
            return Ok(None);
        }
        let nonpositive = values.iter().position(|value| *value <= 0.0);
        let season = |kind| Season::of(values, self.season_length, kind);
        let season = match (self.decomposition, nonpositive) {
            (Decomposition::Always(Kind::Multiplicative), Some(index)) => {
                return Err(FitError::Domain {
                    date: history.dates[index],
                    value: values[index],
                    needed: "positive values for a multiplicative season",
                });
            }
            (Decomposition::Always(kind), _) => season(kind),
            (Decomposition::Auto, Some(_)) => season(Kind::Additive),
            (Decomposition::Auto, None) => {
                let multiplicative = season(Kind::Multiplicative);
                if multiplicative
                    .indices()
                    .iter()
                    .all(|factor| *factor >= LEAST_FACTOR)
                {
                    multiplicative
                } else {
                    season(Kind::Additive)
                }
            }
        };
        sound(season).map(Some)
    }
}

/// The season a model was fitted with, estimated again.
fn same_season(before: &Body, values: &[f64]) -> Result<Option<Season>, FitError> {
    match &before.season {
        Some(season) if values.len() >= 2 * season.indices().len() => {
            let length = season.indices().len();
            sound(Season::of(values, length, season.kind)).map(Some)
        }
        _ => Ok(None),
    }
}

fn sound(season: Season) -> Result<Season, FitError> {
    match season.check() {
        Ok(()) => Ok(season),
        Err(_) => Err(FitError::Overflow { quantity: "season" }),
    }
}

impl Form {
    fn is_dynamic(self) -> bool {
        matches!(self, Form::Dynamic | Form::DynamicOptimized)
    }

    /// The line's weight where it is not estimated: 1 - 1 / theta with theta = 2.
    fn weight(self) -> Option<f64> {
        matches!(self, Form::Standard | Form::Dynamic).then_some(0.5)
    }

    /// How many parameters it estimates: alpha and the initial level, theta, and both of the line
    /// where the line is one over the whole history.
    fn parameters(self) -> usize {
        2 + usize::from(self.weight().is_none()) + if self.is_dynamic() { 0 } else { 2 }
    }

    /// The best model of this form, for values measured from the first of them.
    fn fit(self, values: &[f64], guess: Option<f64>) -> Found {
        let line = if self.is_dynamic() {
            Line::MOVING
        } else {
            Line::fixed(values)
        };
        let problem = Problem::new(values, line, self.weight());
        if values.len() < FEWEST_ESTIMATED {
            problem.found(0.5, 0.0, 0.5, 1)
        } else {
            problem.solve(guess)
        }
    }
}

/// The corrected information criterion of Akaike for Gaussian errors with this sum of squares, of a
/// series that may have been freed of a season. Counted are the parameters, the season's numbers
/// less the one that the others give, and the deviation.
fn aicc(form: Form, squares: f64, count: usize, season: Option<&Season>) -> f64 {
    let (indices, stretched) = season.map_or((0, 0.0), |season| {
        // Errors are multiplied by the season's factors, and so their density is divided.
        let logarithms = match season.kind {
            Kind::Additive => 0.0,
            Kind::Multiplicative => (0..season.indices().len())
                .map(|phase| {
                    let times = (count - phase).div_ceil(season.indices().len());
                    times as f64 * ln(season.indices()[phase])
                })
                .sum(),
        };
        (season.indices().len() - 1, logarithms)
    });
    let parameters = (form.parameters() + indices + 1) as f64;
    let count = count as f64;
    let freedom = count - parameters - 1.0;
    if freedom <= 0.0 {
        return f64::INFINITY;
    }
    count * (ln(2.0 * std::f64::consts::PI * squares / count) + 1.0)
        + 2.0 * stretched
        + 2.0 * parameters
        + 2.0 * parameters * (parameters + 1.0) / freedom
}

impl Family for Theta {
    type Body = Body;
    const NAME: &'static str = "theta";
    const FORMAT: u32 = 1;
    const SUMMARY: &'static str =
        "the theta method: exponential smoothing with a share of a straight line's slope";
    const PARAMETERS: &'static [Parameter] = &[
        Parameter {
            name: "form",
            default: "\"auto\"",
            help: "standard, optimized, dynamic, dynamic_optimized, or auto (by AICc)",
        },
        Parameter {
            name: "season_length",
            default: "1",
            help: "the number of observations in a season, from 1 (no season)",
        },
        Parameter {
            name: "decomposition",
            default: "\"auto\"",
            help: "how a season is taken off: multiplicative, additive, or auto (by the sign of the values)",
        },
        noise::ERRORS,
    ];

    fn minimum(params: &Params) -> Result<usize, FitError> {
        Settings::read(params).map(|_| 2)
    }

    fn learn(
        history: Series<'_>,
        params: &Params,
        start: Start<'_, Body>,
    ) -> Result<Learned<Body>, FitError> {
        let settings = Settings::read(params)?;
        let (season, forms, guess) = match start {
            Start::Keep(before) => (
                same_season(before, history.values)?,
                vec![before.form],
                Some(before.model.alpha),
            ),
            Start::Cold | Start::Near(_) => {
                let guess = match start {
                    Start::Near(before) => Some(before.model.alpha),
                    _ => None,
                };
                let forms = settings
                    .form
                    .map_or(vec![Form::DynamicOptimized, Form::Optimized], |form| {
                        vec![form]
                    });
                (settings.season(history)?, forms, guess)
            }
        };
        let mut values = history.values.to_vec();
        if let Some(season) = &season {
            for (step, value) in values.iter_mut().enumerate() {
                *value = season.kind.remove(*value, season.ahead(step));
            }
        }
        let scale = power_of_two(largest(&values));
        let origin = values[0] / scale;
        let scaled: Vec<f64> = values.iter().map(|value| value / scale - origin).collect();
        let criterion =
            |form: Form, found: &Found| aicc(form, found.loss, values.len(), season.as_ref());
        let mut best: Option<(Form, Found, f64)> = None;
        for form in forms {
            let found = form.fit(&scaled, guess);
            let at_found = criterion(form, &found);
            if best.is_none_or(|(_, _, at_best)| at_found < at_best) {
                best = Some((form, found, at_found));
            }
        }
        let (form, found, at_found) = best.ok_or(FitError::Overflow { quantity: "loss" })?;
        let estimated = if values.len() < FEWEST_ESTIMATED {
            1
        } else {
            form.parameters()
        };
        let freedom = (values.len() - estimated).max(1);
        let deviation = scale * (found.loss / freedom as f64).sqrt();
        let mut body = Body {
            form,
            model: unscaled(found.model, values[0], scale),
            season,
            noise: Noise::gaussian(finite("deviation", deviation)?),
        };
        let mut predictions = Vec::with_capacity(values.len());
        let mut errors = Vec::with_capacity(values.len());
        for (index, value) in values.iter().enumerate() {
            let predicted = body.model.next();
            body.model.take_in(*value);
            errors.push(value - predicted);
            predictions.push(match &body.season {
                Some(season) => season.kind.restore(predicted, season.ahead(index)),
                None => predicted,
            });
        }
        if let Some(season) = &mut body.season {
            season.pass(values.len());
        }
        body.model
            .finite()
            .map_err(|_| FitError::Overflow { quantity: "level" })?;
        body.noise = Noise::fit(settings.errors, &errors, deviation)?;
        Ok(Learned {
            body,
            predictions,
            aicc: Some(at_found + 2.0 * values.len() as f64 * ln(scale))
                .filter(|criterion| criterion.is_finite()),
        })
    }

    fn check(body: &Body) -> Result<(), StateError> {
        body.model.check()?;
        if let Some(season) = &body.season {
            season.check()?;
        }
        body.noise.check()
    }

    fn advance(
        body: &mut Body,
        recent: Series<'_>,
        predicted: &mut dyn FnMut(f64),
    ) -> Result<(), StateError> {
        for value in recent.values {
            let next = body.model.next();
            match &mut body.season {
                Some(season) => {
                    let index = season.ahead(0);
                    predicted(season.kind.restore(next, index));
                    body.model.take_in(season.kind.remove(*value, index));
                    season.pass(1);
                }
                None => {
                    predicted(next);
                    body.model.take_in(*value);
                }
            }
        }
        body.model.finite()
    }

    fn expect(body: Body, ahead: Ahead<'_>) -> Result<Box<dyn Outlook>, StateError> {
        Ok(Box::new(outlook::Theta::new(
            body.model,
            body.season.as_ref(),
            body.noise,
            ahead.steps,
        )))
    }
}

/// The model of values this many times as large, from this origin.
fn unscaled(model: Model, origin: f64, scale: f64) -> Model {
    Model {
        origin,
        level: model.level * scale,
        line: match model.line {
            Line::Fixed { intercept, slope } => Line::Fixed {
                intercept: intercept * scale,
                slope: slope * scale,
            },
            Line::Moving { .. } => Line::MOVING,
        },
        ..model
    }
}

#[cfg(test)]
mod tests;
