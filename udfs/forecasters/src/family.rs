//! A family of models by its typed state; everything that all of them do alike is done here, once:
//! the checks of what comes in, the text of the state, the order of dates, the losses.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Fitted, Forecaster, Parameter, Params,
    date::{self, Day},
    errors::{FitError, StateError},
    fitted::{finite, split},
    moments::root_mean_square,
    outlook::Outlook,
    series::{Ahead, Series},
    state::State,
    transform::{self, Transform, Transformed, Wanted},
};

/// Where a fit begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start<'a, B> {
    /// From nothing.
    Cold,
    /// From what was fitted to an earlier or shorter part of the series: the search for the form
    /// looks around that one's, and its parameters are the first guess.
    Near(&'a B),
    /// As `Near`, but the form stays as it is and only parameters are estimated.
    Keep(&'a B),
}

/// What a fit learned.
#[derive(Clone, Debug)]
pub(crate) struct Learned<B> {
    /// The fitted model, brought up to the newest observation.
    pub(crate) body: B,
    /// The one-step prediction of every observation, NaN where there is none.
    pub(crate) predictions: Vec<f64>,
    /// The information criterion (AICc) by which forms are compared, where the family has one.
    pub(crate) aicc: Option<f64>,
}

/// A family of models.
///
/// What reaches its functions has been checked: parameters are known by name, dates increase, and
/// values are finite, transformed if the parameters say so. A history has at least as many observations as the family asked for.
pub(crate) trait Family: Send + Sync {
    /// The fitted model: finite numbers, text and lists. `#[serde(deny_unknown_fields)]`.
    type Body: Serialize + DeserializeOwned + Clone;

    /// The family's name, stored in tables. Never renamed.
    const NAME: &'static str;
    /// The version of the stored form of its body.
    const FORMAT: u32;
    /// What it does, in one line.
    const SUMMARY: &'static str;
    /// The parameters it accepts.
    const PARAMETERS: &'static [Parameter];

    /// The least number of observations. Reads every parameter, so that a value that is out of
    /// range is an error here.
    fn minimum(params: &Params) -> Result<usize, FitError>;

    /// Learns from a whole history.
    fn learn(
        history: Series<'_>,
        params: &Params,
        start: Start<'_, Self::Body>,
    ) -> Result<Learned<Self::Body>, FitError>;

    /// Refuses a decoded body whose numbers contradict each other, so that nothing below has to
    /// expect an index out of bounds.
    fn check(body: &Self::Body) -> Result<(), StateError>;

    /// Takes in newer observations, parameters frozen, and tells `predicted` the prediction of
    /// each from those before it.
    fn advance(
        body: &mut Self::Body,
        recent: Series<'_>,
        predicted: &mut dyn FnMut(f64),
    ) -> Result<(), StateError>;

    /// What the model expects of the steps to come.
    fn expect(body: Self::Body, ahead: Ahead<'_>) -> Result<Box<dyn Outlook>, StateError>;
}

/// A body with what every state holds besides.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Dated<B> {
    #[serde(with = "date::text")]
    newest_date: Day,
    /// What the model was fitted under; absent if it was the values themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    transform: Option<Transform>,
    fitted: B,
}

impl<F: Family> Forecaster for F {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn summary(&self) -> &'static str {
        F::SUMMARY
    }

    fn parameters(&self) -> Vec<Parameter> {
        [F::PARAMETERS, &transform::PARAMETERS].concat()
    }

    fn minimum_observations(&self, params: &Params) -> Result<usize, FitError> {
        Ok(Wanted::read(params)?.minimum(F::minimum(params)?))
    }

    fn fit(
        &self,
        history: Series<'_>,
        params: &Params,
        previous: Option<&State>,
    ) -> Result<Fitted, FitError> {
        let newest_date = check(self, history, params)?;
        let previous =
            previous
                .map(decode::<F>)
                .transpose()
                .map_err(|error| FitError::Previous {
                    reason: error.to_string(),
                })?;
        // Numbers fitted under another transformation are no guess.
        let wanted = Wanted::read(params)?;
        let start = previous
            .as_ref()
            .filter(|previous| match &previous.transform {
                None => wanted == Wanted::None,
                Some(transform) => transform.is(wanted),
            })
            .map_or(Start::Cold, |previous| Start::Near(&previous.fitted));
        let (transform, learned) = learn::<F>(history, params, start, None)?;
        let loss = root_mean_square(errors(history.values, &learned.predictions));
        if let Some(loss) = loss {
            finite("loss", loss)?;
        }
        let state = Dated {
            newest_date,
            transform,
            fitted: learned.body,
        };
        Ok(Fitted {
            state: State::encode(F::NAME, F::FORMAT, &state),
            loss,
            predictions: learned.predictions,
            aicc: learned.aicc,
        })
    }

    fn validation_loss(&self, history: Series<'_>, params: &Params, fitted: &State) -> Option<f64> {
        let whole = decode::<F>(fitted).ok()?;
        let first = split(history.len())?;
        if first < self.minimum_observations(params).ok()? {
            return None;
        }
        let before = history.part(0..first);
        let start = Start::Keep(&whole.fitted);
        let (transform, learned) =
            learn::<F>(before.series(), params, start, whole.transform.as_ref()).ok()?;
        let mut dated = Dated {
            newest_date: whole.newest_date,
            transform,
            fitted: learned.body,
        };
        let mut predictions = vec![];
        let after = history.part(first..history.len());
        advance::<F>(&mut dated, after.series(), &mut |prediction| {
            predictions.push(prediction)
        })
        .ok()?;
        root_mean_square(errors(&history.values[first..], &predictions))
    }

    fn condition(&self, state: &State, recent: Series<'_>) -> Result<State, StateError> {
        let mut dated = decode::<F>(state)?;
        recent.check()?;
        let (Some(first), Some(last)) = (recent.dates.first(), recent.dates.last()) else {
            return Ok(state.clone());
        };
        if *first <= dated.newest_date {
            return Err(FitError::Unordered { date: *first }.into());
        }
        advance::<F>(&mut dated, recent, &mut |_| {})?;
        dated.newest_date = *last;
        Ok(State::encode(F::NAME, F::FORMAT, &dated))
    }

    fn outlook(&self, state: &State, ahead: Ahead<'_>) -> Result<Box<dyn Outlook>, StateError> {
        let dated = decode::<F>(state)?;
        let inner = F::expect(dated.fitted, ahead)?;
        Ok(match dated.transform {
            None => inner,
            Some(transform) => Box::new(Transformed { inner, transform }),
        })
    }
}

/// The date of the newest observation of a history that can be fitted.
fn check(family: &impl Forecaster, history: Series<'_>, params: &Params) -> Result<Day, FitError> {
    params.check_names(&family.parameters())?;
    let needed = family.minimum_observations(params)?;
    history.check()?;
    match history.dates.last() {
        Some(newest_date) if history.len() >= needed => Ok(*newest_date),
        _ => Err(FitError::TooShort {
            needed: needed.max(1),
            found: history.len(),
        }),
    }
}

/// Learns from a history under the transformation that is asked for; all that is learned but the
/// body is in the history's own unit.
fn learn<F: Family>(
    history: Series<'_>,
    params: &Params,
    start: Start<'_, F::Body>,
    kept: Option<&Transform>,
) -> Result<(Option<Transform>, Learned<F::Body>), FitError> {
    let wanted = Wanted::read(params)?;
    let Some(applied) = wanted.apply(history, season_length::<F>(params)?, kept)? else {
        return Ok((None, F::learn(history, params, start)?));
    };
    let mut learned = F::learn(applied.observations.series(), params, start)?;
    learned.predictions = applied.restore(&learned.predictions, history.values);
    learned.aicc = learned
        .aicc
        .map(|criterion| criterion + applied.criterion(history.values));
    Ok((Some(applied.after), learned))
}

/// Brings a model and its transformation up to newer observations.
fn advance<F: Family>(
    dated: &mut Dated<F::Body>,
    recent: Series<'_>,
    predicted: &mut dyn FnMut(f64),
) -> Result<(), StateError> {
    let Some(transform) = &mut dated.transform else {
        return F::advance(&mut dated.fitted, recent, predicted);
    };
    let mut passing = transform.clone();
    let transformed = transform.take_in(recent.part(0..recent.len()))?;
    let mut observed = recent.values.iter();
    F::advance(&mut dated.fitted, transformed.series(), &mut |prediction| {
        predicted(passing.back(prediction));
        if let Some(value) = observed.next() {
            passing.pass(*value);
        }
    })
}

/// The season that a family is asked to look for, or looks for by itself; 1 for none.
fn season_length<F: Family>(params: &Params) -> Result<usize, FitError> {
    let own = F::PARAMETERS
        .iter()
        .find(|parameter| parameter.name == "season_length");
    let default = own.and_then(|parameter| parameter.default.parse().ok());
    params.usize_or("season_length", default.unwrap_or(1))
}

fn decode<F: Family>(state: &State) -> Result<Dated<F::Body>, StateError> {
    let dated: Dated<F::Body> = state.decode(F::NAME, F::FORMAT)?;
    F::check(&dated.fitted)?;
    if let Some(transform) = &dated.transform {
        transform.check()?;
    }
    Ok(dated)
}

/// The errors of the predictions there are.
fn errors(values: &[f64], predictions: &[f64]) -> impl Iterator<Item = f64> {
    let errors = values
        .iter()
        .zip(predictions)
        .map(|(value, predicted)| value - predicted);
    errors.filter(|error| !error.is_nan())
}
