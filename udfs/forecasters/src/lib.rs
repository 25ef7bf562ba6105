//! The mathematics of almanac's forecasting models: slices of `f64` in, states and simulated
//! paths out. Synchronous and single-threaded; parallelism is across series and belongs to the
//! caller.
//!
//! This file is the catalog. A new model is its own file, a `mod` line, a line in [`families`],
//! its entries in [`catalog`], and a golden file.

pub mod accuracy;
pub mod cadence;
pub mod calendar;
pub mod date;
pub mod digest;
pub mod errors;
pub mod params;
pub mod paths;
pub mod quantiles;
pub mod rng;
pub mod series;
pub mod state;
pub mod suggestion;

mod decomposable;
mod drill;
mod family;
mod fitted;
mod least_squares;
mod linear_regression;
mod math;
mod moments;
mod naive;
mod noise;
mod optimize;
mod outlook;
mod random_walk;
mod seasonal_naive;
mod window;
mod window_mean;
mod ziggurat;

pub use cadence::Frequency;
pub use calendar::{Calendar, TradingDays};
pub use date::Day;
pub use digest::Digest;
pub use errors::{FitError, StateError, UnknownValue};
pub use fitted::Fitted;
pub use outlook::Outlook;
pub use params::{Parameter, Params};
pub use paths::Paths;
pub use quantiles::{LEVELS, Summariser, Summary};
pub use rng::{Rng, Streams};
pub use series::{Ahead, Series};
pub use state::State;
pub use suggestion::nearest;

/// A family of models: how to learn from a history, catch up with newer observations, and draw
/// possible futures.
pub trait Forecaster: Send + Sync {
    /// The family, stored in tables. Never renamed.
    fn name(&self) -> &'static str;

    /// What it does, in one line.
    fn summary(&self) -> &'static str;

    /// The parameters it accepts.
    fn parameters(&self) -> &'static [Parameter];

    /// The least number of observations it can be fitted on, covariates aside. Reads every
    /// parameter, so a value that is out of range is an error here.
    fn minimum_observations(&self, params: &Params) -> Result<usize, FitError>;

    /// Learns from a whole history. Expensive; less so with a `previous` state that was fitted to
    /// an earlier or shorter part of the series, around which the search then begins.
    fn fit(
        &self,
        history: Series<'_>,
        params: &Params,
        previous: Option<&State>,
    ) -> Result<Fitted, FitError>;

    /// The root mean square of the one-step errors over the last fifth of a history by a model of
    /// the form of `fitted` (which was fitted on all of it) that is fitted on the rest only;
    /// `None` where the rest does not do.
    fn validation_loss(&self, history: Series<'_>, params: &Params, fitted: &State) -> Option<f64>;

    /// Brings a fitted state up to observations newer than any in it, parameters frozen, in time
    /// proportional to their number. Without observations no byte of the state changes.
    fn condition(&self, state: &State, recent: Series<'_>) -> Result<State, StateError>;

    /// What the model expects of the steps to come.
    fn outlook(&self, state: &State, ahead: Ahead<'_>) -> Result<Box<dyn Outlook>, StateError>;

    /// Draws possible futures. Path i (counted from 1) reads only `streams.path(i)`, in step
    /// order, so it depends neither on how many paths nor on how many steps are asked for.
    fn simulate(
        &self,
        state: &State,
        ahead: Ahead<'_>,
        paths: usize,
        streams: &Streams,
    ) -> Result<Paths, StateError> {
        Ok(self
            .outlook(state, ahead)?
            .simulate(ahead.steps, paths, streams))
    }

    /// Refuses parameters that are unknown, of the wrong type or out of range.
    fn validate(&self, params: &Params) -> Result<(), FitError> {
        params.check_names(self.parameters())?;
        self.minimum_observations(params).map(|_| ())
    }
}

/// A model users can name: a family with parameters.
pub struct Entry {
    /// The name given to `--model` and stored as `model_name`. Never renamed.
    pub key: &'static str,
    /// The family that runs it.
    pub family: &'static dyn Forecaster,
    /// Its parameters as a JSON object; what is not there takes the family's default.
    pub params: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
}

/// The models that come with almanac, simplest first.
pub fn catalog() -> &'static [Entry] {
    static CATALOG: [Entry; 6] = [
        Entry {
            key: "naive",
            family: &naive::Naive,
            params: "{}",
            summary: "the last value, with Gaussian steps as large as those seen",
        },
        Entry {
            key: "random_walk",
            family: &random_walk::RandomWalk,
            params: "{}",
            summary: "random walk with the drift and deviation of the last 30 steps",
        },
        Entry {
            key: "seasonal_naive",
            family: &seasonal_naive::SeasonalNaive,
            params: "{}",
            summary: "the value of 5 steps ago, a trading week",
        },
        Entry {
            key: "window_mean",
            family: &window_mean::WindowMean,
            params: "{}",
            summary: "the mean of the last 30 values",
        },
        Entry {
            key: "linear_regression",
            family: &linear_regression::LinearRegression,
            params: "{}",
            summary: "least squares on lags 1, 7 and 14, means over 7 and 30 steps, and covariates",
        },
        Entry {
            key: "decomposable",
            family: &decomposable::Decomposable,
            params: "{}",
            summary: "in the manner of Prophet: trend with change points, seasons by date, covariates; starts at the newest value",
        },
    ];
    &CATALOG
}

/// Every family, those outside the catalog included.
pub fn families() -> impl Iterator<Item = &'static dyn Forecaster> {
    static FAMILIES: [&dyn Forecaster; 7] = [
        &naive::Naive,
        &random_walk::RandomWalk,
        &seasonal_naive::SeasonalNaive,
        &window_mean::WindowMean,
        &linear_regression::LinearRegression,
        &decomposable::Decomposable,
        &drill::Drill,
    ];
    FAMILIES.into_iter()
}

/// The family of this name.
pub fn family(name: &str) -> Option<&'static dyn Forecaster> {
    families().find(|family| family.name() == name)
}
