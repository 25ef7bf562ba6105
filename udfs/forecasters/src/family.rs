//! A family of models by its typed state; everything that all of them do alike is done here, once:
//! the checks of what comes in, the text of the state, the order of dates, the losses.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Fitted, Forecaster, Parameter, Params,
    calibration::{self, Calibration, Experience, Observed},
    date::{self, Day},
    errors::{FitError, StateError},
    fitted::{finite, split},
    members::Member,
    moments::root_mean_square,
    outlook::Outlook,
    positive::Positive,
    seasons,
    series::{Ahead, Series},
    state::{State, corrupt},
    transform::{self, Transform, Transformed, Wanted},
};

/// Where a fit begins.
#[derive(Debug)]
pub(crate) enum Start<'a, B> {
    /// From nothing.
    Cold,
    /// From what was fitted to an earlier or shorter part of the series: the search for the form
    /// looks around that one's, and its parameters are the first guess.
    Near(&'a B),
    /// As `Near`, but the form stays as it is and only parameters are estimated.
    Keep(&'a B),
}

impl<B> Clone for Start<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Start<'_, B> {}

impl<'a, B> Start<'a, B> {
    /// The body it begins from.
    pub(crate) fn body(self) -> Option<&'a B> {
        match self {
            Start::Cold => None,
            Start::Near(body) | Start::Keep(body) => Some(body),
        }
    }

    /// The same of another body, for a part of the model.
    pub(crate) fn with<'b, C>(self, other: &'b C) -> Start<'b, C> {
        match self {
            Start::Cold => Start::Cold,
            Start::Near(_) => Start::Near(other),
            Start::Keep(_) => Start::Keep(other),
        }
    }
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
/// values are finite, transformed if the parameters say so. A history has at least as many
/// observations as the family asked for.
pub(crate) trait Family: Send + Sync + 'static {
    /// The fitted model: finite numbers, text and lists. `#[serde(deny_unknown_fields)]`.
    type Body: Serialize + DeserializeOwned + Clone + Send + 'static;

    /// The family's name, stored in tables. Never renamed.
    const NAME: &'static str;
    /// The version of the stored form of its body.
    const FORMAT: u32;
    /// What it does, in one line.
    const SUMMARY: &'static str;
    /// Whether values may be missing: NaN. An observation of which nothing is known takes a step.
    const GAPS: bool = false;
    /// Whether paths of a series that was always positive are to stay so.
    const STAYS_POSITIVE: bool = true;
    /// The parameters it accepts.
    const PARAMETERS: &'static [Parameter];

    /// The least number of observations. Reads every parameter, so that a value that is out of
    /// range is an error here.
    fn minimum(params: &Params) -> Result<usize, FitError>;

    /// The models it holds under these parameters, where it is made of others.
    fn members(_params: &Params) -> Result<Vec<Member>, FitError> {
        Ok(vec![])
    }

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

/// A state that was decoded once, for many calls.
pub trait Running: Send {
    /// Takes in newer observations, parameters frozen, and tells `predicted` the prediction of
    /// each from those before it. After an error the state is not to be used.
    fn advance(
        &mut self,
        recent: Series<'_>,
        predicted: &mut dyn FnMut(f64),
    ) -> Result<(), StateError>;

    /// Whether values may be missing: NaN. Such an observation takes a step and tells nothing.
    fn takes_gaps(&self) -> bool;

    /// The state as it is now.
    fn state(&self) -> State;

    /// Another of the same state.
    fn copy(&self) -> Box<dyn Running>;

    /// What the model expects of the steps to come, as a part of another model: of a series that was
    /// always positive, too, paths may be negative.
    fn outlook(self: Box<Self>, ahead: Ahead<'_>) -> Result<Box<dyn Outlook>, StateError>;
}

/// A body with what every state holds besides.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Dated<B> {
    #[serde(with = "date::text")]
    newest_date: Day,
    /// The least observation, if all were positive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    least: Option<f64>,
    /// Whether the newest value is missing; absent if it is not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    after_gap: bool,
    /// What the model was fitted under; absent if it was the values themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    transform: Option<Transform>,
    /// How paths are stretched; absent if they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    calibration: Option<Calibration>,
    /// Why they are not, although it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uncalibrated: Option<String>,
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
        let universal = [&transform::PARAMETERS[..], &[calibration::PARAMETER]].concat();
        [F::PARAMETERS, &universal].concat()
    }

    fn minimum_observations(&self, params: &Params) -> Result<usize, FitError> {
        calibration::Wanted::read(params)?;
        Ok(Wanted::read(params)?.minimum(F::minimum(params)?))
    }

    fn members(&self, params: &Params) -> Result<Vec<Member>, FitError> {
        F::members(params)
    }

    fn takes_gaps(&self, params: &Params) -> Result<bool, FitError> {
        Ok(F::GAPS && Wanted::read(params)?.passes_gaps())
    }

    fn fit(
        &self,
        history: Series<'_>,
        params: &Params,
        previous: Option<&State>,
    ) -> Result<Fitted, FitError> {
        let previous = previous.map(earlier::<F>).transpose()?;
        // Numbers fitted under another transformation are no guess.
        let wanted = Wanted::read(params)?;
        let start = previous
            .as_ref()
            .filter(|previous| match &previous.transform {
                None => wanted == Wanted::None,
                Some(transform) => transform.is(wanted),
            })
            .map_or(Start::Cold, Start::Near);
        fit(self, history, params, start)
    }

    fn refit(
        &self,
        history: Series<'_>,
        params: &Params,
        fitted: &State,
    ) -> Result<Fitted, FitError> {
        let previous = earlier::<F>(fitted)?;
        fit(self, history, params, Start::Keep(&previous))
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
            least: None,
            after_gap: false,
            transform,
            calibration: None,
            uncalibrated: None,
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
        let mut resumed = Resumed::<F>::new(state)?;
        if recent.is_empty() {
            recent.check(F::GAPS)?;
            return Ok(state.clone());
        }
        resumed.advance(recent, &mut |_| {})?;
        Ok(resumed.state())
    }

    fn resume(&self, state: &State) -> Result<Box<dyn Running>, StateError> {
        Ok(Box::new(Resumed::<F>::new(state)?))
    }

    fn outlook(&self, state: &State, ahead: Ahead<'_>) -> Result<Box<dyn Outlook>, StateError> {
        let resumed = Resumed::<F>::new(state)?;
        let least = resumed.0.least.filter(|_| F::STAYS_POSITIVE);
        let outlook = Box::new(resumed).outlook(ahead)?;
        Ok(match least {
            None => outlook,
            Some(least) => Box::new(Positive::new(outlook, least)),
        })
    }
}

/// A decoded state of a family.
struct Resumed<F: Family>(Dated<F::Body>);

impl<F: Family> Resumed<F> {
    fn new(state: &State) -> Result<Self, StateError> {
        decode::<F>(state).map(Resumed)
    }
}

impl<F: Family> Running for Resumed<F> {
    fn advance(
        &mut self,
        recent: Series<'_>,
        predicted: &mut dyn FnMut(f64),
    ) -> Result<(), StateError> {
        recent.check(self.takes_gaps())?;
        let (Some(first), Some(last)) = (recent.dates.first(), recent.dates.last()) else {
            return Ok(());
        };
        if *first <= self.0.newest_date {
            return Err(FitError::Unordered { date: *first }.into());
        }
        let mut calibration = self.0.calibration.take();
        let mut values = recent.values.iter();
        let mut pairs = Pairs {
            after_gap: self.0.after_gap,
        };
        advance::<F>(&mut self.0, recent, &mut |prediction| {
            predicted(prediction);
            if let (Some(calibration), Some(value)) = (&mut calibration, values.next()) {
                calibration.observe(pairs.pair(prediction, *value));
            }
        })?;
        self.0.after_gap = recent.values.last().is_some_and(|value| value.is_nan());
        self.0.calibration = calibration;
        self.0.newest_date = *last;
        self.0.least = self.0.least.and_then(|before| least(before, recent.values));
        // What is finite may have become too large.
        let overflow = FitError::Overflow { quantity: "state" };
        check_state::<F>(&self.0).map_err(|_| overflow.into())
    }

    fn takes_gaps(&self) -> bool {
        let transform = self.0.transform.as_ref();
        F::GAPS && transform.is_none_or(Transform::passes_gaps)
    }

    fn state(&self) -> State {
        State::encode(F::NAME, F::FORMAT, &self.0)
    }

    fn copy(&self) -> Box<dyn Running> {
        Box::new(Resumed::<F>(self.0.clone()))
    }

    fn outlook(self: Box<Self>, ahead: Ahead<'_>) -> Result<Box<dyn Outlook>, StateError> {
        let mut dated = self.0;
        let calibration = dated.calibration.take();
        let inner = expect::<F>(dated, ahead)?;
        Ok(match calibration {
            None => inner,
            Some(calibration) => Box::new(calibration.apply(inner, ahead.steps)),
        })
    }
}

/// Fits a history, under the transformation that is asked for or, where the form of an earlier fit is
/// kept, that of its transformation.
fn fit<F: Family>(
    family: &F,
    history: Series<'_>,
    params: &Params,
    start: Start<'_, Dated<F::Body>>,
) -> Result<Fitted, FitError> {
    let newest_date = check(family, history, params)?;
    let (from, kept, near) = match start {
        Start::Cold => (Start::Cold, None, None),
        Start::Near(near) => (Start::Near(&near.fitted), None, Some(near)),
        Start::Keep(kept) => (Start::Keep(&kept.fitted), kept.transform.as_ref(), None),
    };
    let (transform, learned) = learn::<F>(history, params, from, kept)?;
    let predictions = &learned.predictions;
    let one_step = root_mean_square(errors(history.values, predictions));
    // Where each value follows a gap, those over the gaps are the errors there are.
    let loss = one_step.or_else(|| {
        let pairs = history.values.iter().zip(predictions);
        let errors = pairs.map(|(value, predicted)| value - predicted);
        root_mean_square(errors.filter(|error| !error.is_nan()))
    });
    if let Some(loss) = loss {
        finite("loss", loss)?;
    }
    let mut state = Dated {
        newest_date,
        least: least(f64::INFINITY, history.values),
        after_gap: history.values.last().is_some_and(|value| value.is_nan()),
        transform,
        calibration: None,
        uncalibrated: None,
        fitted: learned.body,
    };
    if let Some(wanted) = calibration::Wanted::read(params)? {
        let kept = near.and_then(|near| near.recalibrated(wanted, history, predictions));
        let found = match kept {
            Some(calibration) => Ok(calibration),
            None => calibrate(family, history, params, wanted, &state, predictions),
        };
        match found {
            Ok(calibration) => state.calibration = Some(calibration),
            Err(reason) => state.uncalibrated = Some(reason),
        }
    }
    Ok(Fitted {
        state: State::encode(F::NAME, F::FORMAT, &state),
        loss,
        predictions: learned.predictions,
        aicc: learned.aicc,
    })
}

/// What was learned of paths holds until so large a share of a history came since.
const CALIBRATED_ANEW: f64 = 0.1;

impl<B> Dated<B> {
    /// The calibration of a fit that begins here, brought up to the newest observations as by taking
    /// them in; `None` if it is to be learned anew.
    fn recalibrated(
        &self,
        wanted: calibration::Wanted,
        history: Series<'_>,
        predictions: &[f64],
    ) -> Option<Calibration> {
        let mut calibration = self.calibration.clone()?;
        let known = history
            .dates
            .partition_point(|date| *date <= self.newest_date);
        let mut pairs = Pairs {
            after_gap: self.after_gap,
        };
        let came = history.values[known..].iter().zip(&predictions[known..]);
        came.for_each(|(value, predicted)| calibration.observe(pairs.pair(*predicted, *value)));
        let new = f64::from(calibration.newer());
        let holds = calibration.is(wanted) && new <= CALIBRATED_ANEW * history.len() as f64;
        holds.then_some(calibration)
    }
}

/// How the paths of a model are to be stretched, from the errors that a model of the same form made
/// on the newer part of the history; or why that cannot be told.
fn calibrate<F: Family>(
    family: &F,
    history: Series<'_>,
    params: &Params,
    wanted: calibration::Wanted,
    whole: &Dated<F::Body>,
    predictions: &[f64],
) -> Result<Calibration, String> {
    let length = history.len();
    let needed = family.minimum_observations(params).map_err(reason)?;
    let window = calibration::window(length, needed).ok_or("there are too few observations")?;
    let before = history.part(0..length - window);
    let start = Start::Keep(&whole.fitted);
    let (transform, learned) =
        learn::<F>(before.series(), params, start, whole.transform.as_ref()).map_err(reason)?;
    let mut part = Dated {
        newest_date: whole.newest_date,
        least: None,
        after_gap: false,
        transform,
        calibration: None,
        uncalibrated: None,
        fitted: learned.body,
    };
    let all = observed(history.values, predictions);
    let observed = observed(&before.values, &learned.predictions);
    let mut experience = Experience::new(wanted, &all, &observed, window);
    let mut pairs = Pairs::default();
    let mut passed = length - window;
    let ends = experience.places().map(|place| length - window + place);
    for origin in ends.chain([length]) {
        let passing = history.part(passed..origin);
        let mut values = passing.values.iter();
        advance::<F>(&mut part, passing.series(), &mut |predicted| {
            if let Some(value) = values.next() {
                experience.observe(pairs.pair(predicted, *value));
            }
        })
        .map_err(reason)?;
        passed = origin;
        let steps = Experience::STEPS.min(length - origin);
        if steps == 0 {
            break;
        }
        // After a gap the first step is as wide as several.
        if history.values[origin - 1].is_nan() {
            continue;
        }
        let coming = origin..origin + steps;
        let regressors = persisting(history, origin, steps);
        let ahead = Ahead {
            steps,
            dates: &history.dates[coming.clone()],
            regressors: &regressors,
        };
        match expect::<F>(part.clone(), ahead) {
            Ok(outlook) => experience.compare(outlook.as_ref(), &history.values[coming]),
            // Without any value of a covariate so far there is nothing to compare.
            Err(StateError::MissingRegressor { .. }) => {}
            Err(error) => return Err(reason(error)),
        }
    }
    let dates: Vec<Day> = (1..=Experience::STEPS as Day)
        .map(|step| history.dates[length - 1].saturating_add(step))
        .collect();
    let regressors = persisting(history, length, Experience::STEPS);
    let after = Ahead {
        steps: Experience::STEPS,
        dates: &dates,
        regressors: &regressors,
    };
    let whole = expect::<F>(whole.clone(), after).map_err(reason)?;
    let part = expect::<F>(part, after).map_err(reason)?;
    experience
        .calibration(whole.as_ref(), part.as_ref())
        .ok_or_else(|| "the newer half of the history is not like the older".to_owned())
}

fn reason(error: impl ToString) -> String {
    error.to_string()
}

/// Covariates of steps to come. Those of the first are known by then, as rows are aligned, and stay
/// for the others, which nobody knows.
fn persisting(history: Series<'_>, origin: usize, steps: usize) -> Vec<Vec<f64>> {
    let newest = |column: &Vec<f64>| {
        let mut known = column[..column.len().min(origin + 1)].iter().rev();
        let known = known.find(|value| value.is_finite());
        vec![known.copied().unwrap_or(f64::NAN); steps]
    };
    history.regressors.iter().map(newest).collect()
}

/// Puts predictions beside what came; none after a gap, where the error is one of several steps.
#[derive(Default)]
struct Pairs {
    after_gap: bool,
}

impl Pairs {
    fn pair(&mut self, predicted: f64, value: f64) -> Observed {
        let after_gap = std::mem::replace(&mut self.after_gap, value.is_nan());
        Observed {
            predicted: if after_gap { f64::NAN } else { predicted },
            value,
        }
    }
}

/// What was predicted and what came.
fn observed(values: &[f64], predictions: &[f64]) -> Vec<Observed> {
    let mut pairs = Pairs::default();
    values
        .iter()
        .zip(predictions)
        .map(|(value, predicted)| pairs.pair(*predicted, *value))
        .collect()
}

/// What a model expects, in the unit of its history.
fn expect<F: Family>(
    dated: Dated<F::Body>,
    ahead: Ahead<'_>,
) -> Result<Box<dyn Outlook>, StateError> {
    let inner = F::expect(dated.fitted, ahead)?;
    Ok(match dated.transform {
        None => inner,
        Some(transform) => Box::new(Transformed { inner, transform }),
    })
}

/// The decoded state that a fit begins from.
fn earlier<F: Family>(state: &State) -> Result<Dated<F::Body>, FitError> {
    decode::<F>(state).map_err(|error| FitError::Previous {
        reason: error.to_string(),
    })
}

/// The date of the newest observation of a history that can be fitted.
fn check<F: Family>(family: &F, history: Series<'_>, params: &Params) -> Result<Day, FitError> {
    params.check_names(&family.parameters())?;
    let needed = family.minimum_observations(params)?;
    history.check(family.takes_gaps(params)?)?;
    let known = history.values.iter().filter(|value| !value.is_nan());
    let found = known.count();
    match history.dates.last() {
        Some(newest_date) if found >= needed => Ok(*newest_date),
        _ => Err(FitError::TooShort {
            needed: needed.max(1),
            found,
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
    seasons::length(params, default.unwrap_or(1))
}

fn decode<F: Family>(state: &State) -> Result<Dated<F::Body>, StateError> {
    let dated: Dated<F::Body> = state.decode(F::NAME, F::FORMAT)?;
    check_state::<F>(&dated)?;
    Ok(dated)
}

fn check_state<F: Family>(dated: &Dated<F::Body>) -> Result<(), StateError> {
    F::check(&dated.fitted)?;
    if dated
        .least
        .is_some_and(|least| !(least > 0.0 && least.is_finite()))
    {
        return Err(corrupt("the least observation is not positive"));
    }
    if let Some(transform) = &dated.transform {
        transform.check()?;
    }
    dated
        .calibration
        .as_ref()
        .map_or(Ok(()), Calibration::check)
}

/// The least of what was observed before and of these values, if they are positive.
fn least(before: f64, values: &[f64]) -> Option<f64> {
    let least = values.iter().copied().fold(before, f64::min);
    (least > 0.0 && least.is_finite()).then_some(least)
}

/// The errors of the predictions there are.
fn errors(values: &[f64], predictions: &[f64]) -> impl Iterator<Item = f64> {
    let observed = observed(values, predictions).into_iter();
    let errors = observed.map(|one| one.value - one.predicted);
    errors.filter(|error| !error.is_nan())
}
