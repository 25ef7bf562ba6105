//! Complex exponential smoothing.
//!
//! A level `l` and its companion `c` (the paper's information potential) are the real and imaginary
//! part of one complex number that is smoothed by a complex weight `a + ib`:
//!
//! ```text
//! y_t = l_{t-1} + e_t
//! l_t = l_{t-1} - (1 - b) c_{t-1} + (a - b) e_t
//! c_t = l_{t-1} + (1 - a) c_{t-1} + (a + b) e_t
//! ```
//!
//! With b = 1 this is simple exponential smoothing with weight a - 1; with b above or below 1 forecasts
//! grow or decay, so there is no choice to make between models with and without trend. The form
//! `simple` runs the same equations once for each place in the season; `partial` adds seasonal effects
//! smoothed with one real weight, `full` seasonal effects that are complex themselves. `auto` takes
//! the form with the least AICc. Errors are additive and independent, so paths are a moving average
//! of them.
//!
//! The wrong choice for counts with many zeros, for a trend that should stay linear or level off far
//! ahead (a trend here is exponential), and for more than one season.
//!
//! Svetunkov, Kourentzes and Ord (2022), *Complex exponential smoothing*, Naval Research Logistics 69:
//! the state space forms, their conditions of stability, and selection by AICc. As there, the
//! likelihood is that of Gaussian errors with its variance concentrated out. Where this differs: the
//! states before the first value are backcast rather than estimated, the AICc counts the season's
//! effects as parameters all the same, and the weights are bounded more tightly
//! ([`region::Region`]).

mod estimate;
mod recursion;
mod region;

use serde::{Deserialize, Serialize};

use self::{
    estimate::{Estimate, Task},
    recursion::{Cell, Form, Model, States, Weights},
};
use crate::{
    Parameter, Params,
    errors::{FitError, StateError},
    family::{Family, Learned, Start},
    fitted::finite,
    math::ln,
    noise::{self, Noise},
    outlook::{Linear, Outlook},
    seasons,
    series::{Ahead, Series},
    sizes::{largest, power_of_two},
    state::corrupt,
};

/// Complex exponential smoothing.
pub struct Ces;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body {
    form: Form,
    /// The weights that the form uses: the level's, then the season's.
    weights: Vec<f64>,
    /// The level and its companion.
    level: Option<[f64; 2]>,
    /// The seasonal effect and its companion of each place in the season, the next one first.
    season: Vec<[f64; 2]>,
    noise: Noise,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
struct Request {
    /// `None` for the best of all.
    form: Option<Form>,
    season_length: usize,
    errors: noise::Kind,
}

/// The longest season that is modelled. Beyond it a state would be larger than it is worth.
const LONGEST_SEASON: usize = 1_000;

/// With fewer observations nothing is estimated, and the model is simple exponential smoothing with
/// this real part.
const FEWEST_ESTIMATED: usize = 5;
const UNESTIMATED: Weights = [1.5, 1.0, 1.0, 1.0];

impl Request {
    fn read(params: &Params) -> Result<Request, FitError> {
        let season_length = seasons::length(params, 1)?;
        let form = match params.str_or("form", "auto")? {
            "auto" => None,
            "none" => Some(Form::None),
            "simple" => Some(Form::Simple),
            "partial" => Some(Form::Partial),
            "full" => Some(Form::Full),
            _ => return Err(params.out_of_range("form", "auto, none, simple, partial or full")),
        };
        let seasonal = form.is_some_and(Form::has_season);
        if seasonal && season_length < 2 {
            return Err(params.out_of_range("form", "auto or none where season_length is 1"));
        }
        Ok(Request {
            form,
            season_length,
            errors: noise::Kind::read(params)?,
        })
    }

    /// The least number of observations for a form.
    fn minimum(&self, form: Form) -> usize {
        match form {
            Form::None => 3,
            _ => self
                .season_length
                .saturating_mul(2)
                .max(FEWEST_ESTIMATED + 3),
        }
    }

    /// The forms to compare, and the weights from which the search for each begins.
    fn candidates(
        &self,
        observations: usize,
        start: Start<'_, Body>,
    ) -> Vec<(Form, Option<Weights>)> {
        let first = |form: Form, body: &Body| {
            let [level, turn, season, season_turn] = body.model().weights;
            if form == body.form {
                let same = !form.has_season() || body.season.len() == self.season_length;
                same.then_some([level, turn, season, season_turn])
            } else if form.has_level() && body.form.has_level() {
                // Another form of season on the same level.
                let season = if form == Form::Partial { 0.05 } else { 1.05 };
                Some([level, turn, season, 1.0])
            } else {
                None
            }
        };
        if let Start::Keep(body) = start {
            return vec![(body.form, first(body.form, body))];
        }
        let previous = match start {
            Start::Near(body) => Some(body),
            Start::Cold | Start::Keep(_) => None,
        };
        let usable = |form: &Form| match self.form {
            Some(asked) => *form == asked,
            None => {
                *form == Form::None
                    || (2..=LONGEST_SEASON).contains(&self.season_length)
                        && observations >= self.minimum(*form)
                        && observations > self.parameters(*form) + 1
            }
        };
        // Near an earlier form: the plainest, and those one seasonal weight away.
        let near = |form: &Form| {
            previous.is_none_or(|body| self.form.is_some() || neighbors(body.form).contains(form))
        };
        let weights = |form: Form| previous.and_then(|body| first(form, body));
        Form::ALL
            .into_iter()
            .filter(usable)
            .filter(near)
            .map(|form| (form, weights(form)))
            .collect()
    }

    /// The parameters that the AICc counts: the weights, the variance, and the season's effects, which
    /// sum to nothing.
    fn parameters(&self, form: Form) -> usize {
        let effects = if form.has_season() {
            self.season_length - 1
        } else {
            0
        };
        form.places().len() + 1 + effects
    }

    /// The AICc of Gaussian errors with this sum of squares; `None` where it does not exist.
    fn aicc(&self, form: Form, observations: usize, sum_of_squares: f64) -> Option<f64> {
        let (count, parameters) = (observations as f64, self.parameters(form) as f64);
        let spare = count - parameters - 1.0;
        let likelihood =
            -0.5 * count * (ln(2.0 * std::f64::consts::PI * sum_of_squares / count) + 1.0);
        let penalty = 2.0 * parameters * count / spare;
        Some(penalty - 2.0 * likelihood).filter(|aicc| spare > 0.0 && aicc.is_finite())
    }
}

/// The forms to look at again when this one was the best.
fn neighbors(form: Form) -> &'static [Form] {
    match form {
        Form::None => &[Form::None, Form::Partial],
        Form::Simple => &[Form::Simple, Form::Full],
        Form::Partial | Form::Full => &[Form::None, Form::Partial, Form::Full],
    }
}

impl Body {
    fn model(&self) -> Model {
        let mut weights = [1.0; 4];
        for (place, weight) in self.form.places().iter().zip(&self.weights) {
            weights[*place] = *weight;
        }
        Model {
            form: self.form,
            weights,
        }
    }

    fn states(&self) -> States<0> {
        let [level, companion] = self.level.unwrap_or_default();
        let cell = |[real, companion]: &[f64; 2]| Cell::new(*real, *companion);
        States {
            level: Cell::new(level, companion),
            season: self.season.iter().map(cell).collect(),
        }
    }

    /// Keeps the states after a number of further values.
    fn store(&mut self, states: &States<0>, values: usize) {
        let numbers = |cell: &Cell<0>| [cell.real, cell.companion];
        self.level = self.form.has_level().then(|| numbers(&states.level));
        self.season = states.season.iter().map(numbers).collect();
        if !self.season.is_empty() {
            let next = values % self.season.len();
            self.season.rotate_left(next);
        }
    }

    fn numbers(&self) -> impl Iterator<Item = f64> {
        let cells = self.level.iter().chain(&self.season).flatten();
        self.weights.iter().chain(cells).copied()
    }
}

impl Family for Ces {
    type Body = Body;
    const NAME: &'static str = "ces";
    const FORMAT: u32 = 1;
    const SUMMARY: &'static str = "complex exponential smoothing";
    const PARAMETERS: &'static [Parameter] = &[
        Parameter {
            name: "form",
            default: "\"auto\"",
            help: "the season: none, simple, partial, full, or auto (the least AICc)",
        },
        Parameter {
            name: "season_length",
            default: "1",
            help: "how many steps make a season; up to 1000 are modelled, with two seasons of history",
        },
        noise::ERRORS,
    ];

    fn minimum(params: &Params) -> Result<usize, FitError> {
        let request = Request::read(params)?;
        Ok(request.minimum(request.form.unwrap_or(Form::None)))
    }

    fn learn(
        history: Series<'_>,
        params: &Params,
        start: Start<'_, Body>,
    ) -> Result<Learned<Body>, FitError> {
        let request = Request::read(params)?;
        let observations = history.len();
        // Divided by a power of two, so that squares neither overflow nor vanish.
        let unit = power_of_two(largest(history.values));
        let values: Vec<f64> = history.values.iter().map(|value| value / unit).collect();
        let task = Task {
            values: &values,
            season_length: request.season_length,
        };
        let (estimate, aicc) = select(&task, &request, start)?;
        let form = estimate.model.form;

        let mut states = estimate.model.backcast(&values, request.season_length);
        let (mut predictions, mut errors) = (vec![], vec![]);
        estimate
            .model
            .filter(&mut states, &values, |forecast, error, _: &[f64; 0]| {
                predictions.push(forecast * unit);
                errors.push(error * unit);
            });
        let spare = observations.saturating_sub(form.places().len()).max(1);
        let deviation = unit * (estimate.sum_of_squares / spare as f64).sqrt();
        let mut body = Body {
            form,
            weights: form
                .places()
                .iter()
                .map(|place| estimate.model.weights[*place])
                .collect(),
            level: None,
            season: vec![],
            noise: Noise::fit(request.errors, &errors, deviation)?,
        };
        let scale = |cell: &mut Cell<0>| {
            cell.real *= unit;
            cell.companion *= unit;
        };
        scale(&mut states.level);
        states.season.iter_mut().for_each(scale);
        body.store(&states, observations);
        if let Some(number) = body.numbers().find(|number| !number.is_finite()) {
            finite("level", number)?;
        }
        // In the values' own unit.
        let aicc = aicc.map(|aicc| aicc + 2.0 * observations as f64 * ln(unit));
        Ok(Learned {
            body,
            predictions,
            aicc,
        })
    }

    fn check(body: &Body) -> Result<(), StateError> {
        if body.weights.len() != body.form.places().len() {
            return Err(corrupt("the form has another number of weights"));
        }
        if body
            .weights
            .iter()
            .any(|weight| !(-1.0..=3.0).contains(weight))
        {
            return Err(corrupt("a weight is out of range"));
        }
        if body.level.is_some() != body.form.has_level()
            || body.season.is_empty() == body.form.has_season()
        {
            return Err(corrupt("the form has other states"));
        }
        if body.numbers().any(|number| !number.is_finite()) {
            return Err(corrupt("a number is not finite"));
        }
        body.noise.check()
    }

    fn advance(
        body: &mut Body,
        recent: Series<'_>,
        predicted: &mut dyn FnMut(f64),
    ) -> Result<(), StateError> {
        let mut states = body.states();
        body.model()
            .filter(&mut states, recent.values, |forecast, _, _| {
                predicted(forecast);
            });
        body.store(&states, recent.len());
        match body.numbers().find(|number| !number.is_finite()) {
            Some(number) => Ok(finite("level", number).map(|_| ())?),
            None => Ok(()),
        }
    }

    fn expect(body: Body, ahead: Ahead<'_>) -> Result<Box<dyn Outlook>, StateError> {
        let model = body.model();
        let mut states = body.states();
        let season_length = states.season.len().max(1);
        // What one error of 1 adds to the states, from nothing.
        let mut effects = States {
            level: Cell::new(0.0, 0.0),
            season: vec![Cell::new(0.0, 0.0); states.season.len()],
        };
        let (mut mean, mut weights) = (vec![], vec![]);
        for step in 0..ahead.steps {
            let place = step % season_length;
            mean.push(finite("forecast", model.forecast(&states, place).0)?);
            model.update(&mut states, place, 0.0, &[]);
            let (weight, error) = if step == 0 {
                (1.0, 1.0)
            } else {
                (model.forecast(&effects, place).0, 0.0)
            };
            weights.push(finite("forecast", weight)?);
            model.update(&mut effects, place, error, &[]);
        }
        Ok(Box::new(Linear {
            mean,
            weights,
            noise: body.noise,
        }))
    }
}

/// The form with the least AICc among those to compare, with its AICc.
fn select(
    task: &Task<'_>,
    request: &Request,
    start: Start<'_, Body>,
) -> Result<(Estimate, Option<f64>), FitError> {
    let observations = task.values.len();
    let constant = task.values.iter().all(|value| *value == task.values[0]);
    let mut best: Option<(Estimate, Option<f64>)> = None;
    for (form, first) in request.candidates(observations, start) {
        let needed = request.minimum(form);
        if observations < needed {
            return Err(FitError::TooShort {
                needed,
                found: observations,
            });
        }
        let estimate = if observations < FEWEST_ESTIMATED {
            Some(unestimated(task))
        } else {
            // A constant is forecast exactly where forecasts neither grow nor decay.
            task.estimate(form, if constant { Some(UNESTIMATED) } else { first })
        };
        let estimate = estimate.ok_or(FitError::Overflow {
            quantity: "sum of squares",
        })?;
        let aicc = request.aicc(form, observations, estimate.sum_of_squares);
        let exact = estimate.sum_of_squares == 0.0;
        let better = match &best {
            None => true,
            Some((_, least)) => {
                exact || matches!((aicc, least), (Some(aicc), Some(least)) if aicc < *least)
            }
        };
        if better {
            best = Some((estimate, aicc));
        }
        if exact {
            break;
        }
    }
    best.ok_or(FitError::TooShort {
        needed: request.minimum(Form::None),
        found: observations,
    })
}

fn unestimated(task: &Task<'_>) -> Estimate {
    let model = Model {
        form: Form::None,
        weights: UNESTIMATED,
    };
    Estimate {
        model,
        sum_of_squares: task.sum_of_squares(&model),
        passes: 1,
    }
}

#[cfg(test)]
mod tests;
