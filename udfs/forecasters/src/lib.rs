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

mod arima;
mod auto_arima;
mod calibration;
mod ces;
mod combination;
mod decomposable;
mod drill;
mod ets;
mod family;
mod fitted;
mod garch;
mod least_squares;
mod linear_regression;
mod loess;
mod logarithms;
mod math;
mod members;
mod moments;
mod mstl;
mod naive;
mod noise;
mod optimize;
mod outlook;
mod positive;
mod random_walk;
mod seasonal;
mod seasonal_autoregression;
mod seasonal_naive;
mod seasons;
mod sizes;
mod stl;
mod theta;
mod transform;
mod wide;
mod window;
mod window_mean;
mod ziggurat;

pub use cadence::Frequency;
pub use calendar::{Calendar, TradingDays};
pub use date::Day;
pub use digest::Digest;
pub use errors::{FitError, StateError, UnknownValue};
pub use family::Running;
pub use fitted::Fitted;
pub use members::Member;
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

    /// The parameters it accepts: its own, then those that every family takes.
    fn parameters(&self) -> Vec<Parameter>;

    /// The models it holds under these parameters; none where it is not made of others.
    fn members(&self, params: &Params) -> Result<Vec<Member>, FitError>;

    /// Whether values may be missing under these parameters: NaN. Such an observation takes a step
    /// and tells nothing.
    fn takes_gaps(&self, params: &Params) -> Result<bool, FitError>;

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

    /// As [`Forecaster::fit`], but the form stays that of `fitted` (which was fitted to the series
    /// or a part of it) and only parameters are estimated, from its own on.
    fn refit(
        &self,
        history: Series<'_>,
        params: &Params,
        fitted: &State,
    ) -> Result<Fitted, FitError>;

    /// The root mean square of the one-step errors over the last fifth of a history by a model of
    /// the form of `fitted` (which was fitted on all of it) that is fitted on the rest only;
    /// `None` where the rest does not do.
    fn validation_loss(&self, history: Series<'_>, params: &Params, fitted: &State) -> Option<f64>;

    /// Brings a fitted state up to observations newer than any in it, parameters frozen, in time
    /// proportional to their number. Without observations no byte of the state changes.
    fn condition(&self, state: &State, recent: Series<'_>) -> Result<State, StateError>;

    /// Decodes a state once, for many calls.
    fn resume(&self, state: &State) -> Result<Box<dyn Running>, StateError>;

    /// What the model expects of the steps to come. Paths of a series that was always positive stay
    /// so.
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
        params.check_names(&self.parameters())?;
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
    static CATALOG: &[Entry] = &[
        Entry {
            key: "naive",
            family: &naive::Naive,
            params: r#"{"calibrate":"auto"}"#,
            summary: "the last value, with independent Gaussian steps",
        },
        Entry {
            key: "random_walk",
            family: &random_walk::RandomWalk,
            params: r#"{"calibrate":"auto"}"#,
            summary: "random walk with the drift of the last 30 steps",
        },
        Entry {
            key: "seasonal_naive",
            family: &seasonal_naive::SeasonalNaive,
            params: r#"{"calibrate":"auto"}"#,
            summary: "the value of 5 steps ago, a trading week",
        },
        Entry {
            key: "window_mean",
            family: &window_mean::WindowMean,
            params: r#"{"calibrate":"auto"}"#,
            summary: "the mean of the last 30 values",
        },
        Entry {
            key: "linear_regression",
            family: &linear_regression::LinearRegression,
            params: r#"{"calibrate":"auto"}"#,
            summary: "least squares on lags 1, 7 and 14, means over 7 and 30 steps, and covariates",
        },
        Entry {
            key: "decomposable",
            family: &decomposable::Decomposable,
            params: r#"{"calibrate":"auto"}"#,
            summary: "in the manner of Prophet: trend with change points, seasons by date, covariates; starts at the newest value",
        },
        Entry {
            key: "arima",
            family: &arima::Arima,
            params: r#"{"calibrate":"auto","order":[1,1,1]}"#,
            summary: "ARIMA(1,1,1), or of other orders, around a regression on covariates",
        },
        Entry {
            key: "sarimax",
            family: &arima::Arima,
            params: r#"{"calibrate":"auto","order":[1,1,1],"seasonal_order":[1,0,1],"season_length":5}"#,
            summary: "ARIMA(1,1,1)(1,0,1) of a trading week around a regression on covariates",
        },
        Entry {
            key: "auto_arima",
            family: &auto_arima::AutoArima,
            params: r#"{"calibrate":"auto"}"#,
            summary: "ARIMA of the orders that AICc prefers, around a regression on covariates",
        },
        Entry {
            key: "naive_garch",
            family: &garch::Garch,
            params: r#"{"mean":"zero","errors":"student_t"}"#,
            summary: "the last value, with steps whose variance follows GARCH(1,1)",
        },
        Entry {
            key: "garch",
            family: &garch::Garch,
            params: r#"{"errors":"student_t"}"#,
            summary: "GARCH(1,1) returns around their mean, with Student's t errors",
        },
        Entry {
            key: "gjr_garch",
            family: &garch::Garch,
            params: r#"{"variance":"gjr","errors":"student_t"}"#,
            summary: "as garch, with falls and rises counting differently",
        },
        Entry {
            key: "egarch",
            family: &garch::Garch,
            params: r#"{"variance":"egarch","errors":"student_t"}"#,
            summary: "GARCH in logarithms of the variance, with Student's t errors",
        },
        Entry {
            key: "seasonal_autoregression",
            family: &seasonal_autoregression::SeasonalAutoregression,
            params: r#"{"calibrate":"auto"}"#,
            summary: "autoregression on the newest values and those around each season ago",
        },
        Entry {
            key: "theta",
            family: &theta::Theta,
            params: r#"{"calibrate":"auto","form":"standard"}"#,
            summary: "theta method: exponential smoothing with half the slope of a straight line",
        },
        Entry {
            key: "optimized_theta",
            family: &theta::Theta,
            params: r#"{"calibrate":"auto","form":"optimized"}"#,
            summary: "theta method with an estimated share of the slope of a straight line",
        },
        Entry {
            key: "dynamic_theta",
            family: &theta::Theta,
            params: r#"{"calibrate":"auto","form":"dynamic"}"#,
            summary: "theta method whose straight line is updated with every observation",
        },
        Entry {
            key: "dot",
            family: &theta::Theta,
            params: r#"{"calibrate":"auto","form":"dynamic_optimized"}"#,
            summary: "dynamic theta method with an estimated share of the slope",
        },
        Entry {
            key: "auto_theta",
            family: &theta::Theta,
            params: r#"{"calibrate":"auto","form":"auto"}"#,
            summary: "the better of the theta methods that estimate their share of the slope",
        },
        Entry {
            key: "ces",
            family: &ces::Ces,
            params: r#"{"calibrate":"auto","form":"none"}"#,
            summary: "complex exponential smoothing without season",
        },
        Entry {
            key: "auto_ces",
            family: &ces::Ces,
            params: r#"{"calibrate":"auto"}"#,
            summary: "complex exponential smoothing with the form of season that has the least AICc",
        },
        Entry {
            key: "ses",
            family: &ets::Ets,
            params: r#"{"calibrate":"auto","error":"A","trend":"N","season":"N"}"#,
            summary: "simple exponential smoothing: a level that moves",
        },
        Entry {
            key: "holt",
            family: &ets::Ets,
            params: r#"{"calibrate":"auto","error":"A","trend":"A","damped":false,"season":"N"}"#,
            summary: "Holt's exponential smoothing: level and linear trend",
        },
        Entry {
            key: "damped",
            family: &ets::Ets,
            params: r#"{"calibrate":"auto","error":"A","trend":"Ad","season":"N"}"#,
            summary: "exponential smoothing of level and a trend that fades",
        },
        Entry {
            key: "holt_winters",
            family: &ets::Ets,
            params: r#"{"calibrate":"auto","trend":"A","damped":false,"season":"some"}"#,
            summary: "level, linear trend and a season of 5 steps, added or multiplied",
        },
        Entry {
            key: "auto_ets",
            family: &ets::Ets,
            params: r#"{"calibrate":"auto"}"#,
            summary: "exponential smoothing of the form that AICc chooses",
        },
        Entry {
            key: "mstl_ets",
            family: &mstl::Mstl,
            params: r#"{"calibrate":"auto","model":{"model":"auto_ets","params":{"damped":true}}}"#,
            summary: "one or several seasons taken out, smoothing of the rest, whose trend fades",
        },
        Entry {
            key: "mstl_arima",
            family: &mstl::Mstl,
            params: r#"{"calibrate":"auto","model":"auto_arima"}"#,
            summary: "one or several seasons taken out, ARIMA of the rest",
        },
        Entry {
            key: "ets_ces_dot",
            family: &combination::Combination,
            params: r#"{"calibrate":"auto","combine":"robust_mean","members":["auto_ets","auto_ces","dot"]}"#,
            summary: "robust mean of three automatic models of smoothing: a good start for any series",
        },
        Entry {
            key: "scum",
            family: &combination::Combination,
            params: r#"{"calibrate":"auto","members":["auto_arima","auto_ets","auto_ces","dot"]}"#,
            summary: "median of ARIMA and three automatic models of smoothing",
        },
        Entry {
            key: "seasonal_combination",
            family: &combination::Combination,
            params: r#"{"calibrate":"auto","combine":"robust_mean","members":["seasonal_autoregression",
                {"model":"seasonal_autoregression","params":{"difference":"shortest"}},
                {"model":"mstl","params":{"model":"theta"}},"auto_ets","auto_ces"]}"#,
            summary: "robust mean of autoregressions, smoothing and decomposition, for a clear season",
        },
        Entry {
            key: "multi_seasonal_combination",
            family: &combination::Combination,
            params: r#"{"calibrate":"auto","members":["seasonal_autoregression",
                {"model":"seasonal_autoregression","params":{"logarithms":"no"}},
                {"model":"seasonal_autoregression","params":{"difference":"shortest"}},
                {"model":"seasonal_autoregression","params":{"difference":"longest"}},
                "mstl_ets"]}"#,
            summary: "median of autoregressions and decomposition, for several seasons at once",
        },
    ];
    CATALOG
}

/// Every family, those outside the catalog included.
pub fn families() -> impl Iterator<Item = &'static dyn Forecaster> {
    static FAMILIES: &[&dyn Forecaster] = &[
        &naive::Naive,
        &random_walk::RandomWalk,
        &seasonal_naive::SeasonalNaive,
        &window_mean::WindowMean,
        &linear_regression::LinearRegression,
        &decomposable::Decomposable,
        &arima::Arima,
        &auto_arima::AutoArima,
        &seasonal_autoregression::SeasonalAutoregression,
        &theta::Theta,
        &ces::Ces,
        &ets::Ets,
        &mstl::Mstl,
        &combination::Combination,
        &garch::Garch,
        &drill::Drill,
    ];
    FAMILIES.iter().copied()
}

/// The family of this name.
pub fn family(name: &str) -> Option<&'static dyn Forecaster> {
    families().find(|family| family.name() == name)
}
