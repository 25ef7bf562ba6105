//! The parameters, read and checked.

use serde::{Deserialize, Serialize};

use super::features::{LONGEST_SEASON, MOST_HOLIDAY_DAYS, MOST_TERMS};
use crate::{Parameter, Params, errors::FitError, noise};

/// The most change points.
pub(crate) const MOST_CHANGES: usize = 200;

/// How the trend goes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Growth {
    /// Straight between change points.
    Linear,
    /// Constant.
    Flat,
    /// A logistic curve between the floor and so much above it, its argument straight between
    /// change points.
    Logistic(f64),
}

/// How effects join the trend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// They are added to it.
    Additive,
    /// They are shares of it.
    Multiplicative,
}

/// What becomes of the differences from trend and effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Residuals {
    /// Each passes a share of itself, estimated, to the next.
    Autoregressive,
    /// Each passes itself whole to the next.
    RandomWalk,
    /// None is passed on.
    Independent,
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) growth: Growth,
    /// Where logistic growth begins, in the unit of the values.
    pub(crate) floor: f64,
    pub(crate) mode: Mode,
    pub(crate) residuals: Residuals,
    pub(crate) changes: usize,
    pub(crate) change_range: f64,
    pub(crate) change_scale: f64,
    pub(crate) yearly: usize,
    pub(crate) weekly: usize,
    pub(crate) season_length: usize,
    pub(crate) season: usize,
    pub(crate) season_scale: f64,
    pub(crate) effect_scale: f64,
    /// Days before and after US holidays that have effects of their own, if any have.
    pub(crate) holidays: Option<(usize, usize)>,
    pub(crate) errors: noise::Kind,
}

pub(crate) const PARAMETERS: &[Parameter] = &[
    Parameter {
        name: "growth",
        default: "\"linear\"",
        help: "the trend: linear between change points, flat, or logistic between floor and cap",
    },
    Parameter {
        name: "cap",
        default: "0",
        help: "what logistic growth levels off at, above the floor",
    },
    Parameter {
        name: "floor",
        default: "0",
        help: "what logistic growth rises from",
    },
    Parameter {
        name: "n_changepoints",
        default: "25",
        help: "how many times the slope of the trend may change, 0 to 200",
    },
    Parameter {
        name: "changepoint_range",
        default: "0.8",
        help: "the share of the history, from its beginning, that they are spread over, 0 to 1",
    },
    Parameter {
        name: "changepoint_prior_scale",
        default: "0.05",
        help: "how freely the slope changes: scale of a Laplace prior, more than 0",
    },
    Parameter {
        name: "seasonality_mode",
        default: "\"additive\"",
        help: "whether seasons, holidays and covariates are added to the trend (additive) or shares of it (multiplicative)",
    },
    Parameter {
        name: "yearly_order",
        default: "10",
        help: "Fourier terms of the season by the day of the year, 0 for none; left out below 2 years",
    },
    Parameter {
        name: "weekly_order",
        default: "3",
        help: "Fourier terms of the season by weekday, 0 for none; left out below 2 weeks",
    },
    Parameter {
        name: "season_length",
        default: "1",
        help: "the length of one more season, in steps; 1 for none; left out below 2 of them and where it is the year or week",
    },
    Parameter {
        name: "season_order",
        default: "10",
        help: "Fourier terms of that season",
    },
    Parameter {
        name: "seasonality_prior_scale",
        default: "10",
        help: "how large seasons may be: deviation of a Gaussian prior, more than 0",
    },
    Parameter {
        name: "holidays",
        default: "\"none\"",
        help: "whose holidays have effects of their own: none or us (those of the exchanges)",
    },
    Parameter {
        name: "holiday_window",
        default: "[0,0]",
        help: "how many days before and after a holiday have effects too, each 0 to 14",
    },
    Parameter {
        name: "holidays_prior_scale",
        default: "10",
        help: "how large effects of holidays and covariates may be: deviation of a Gaussian prior, more than 0",
    },
    Parameter {
        name: "residuals",
        default: "\"ar1\"",
        help: "what the newest residual does: ar1 fades at the rate estimated, random_walk stays, independent has no effect",
    },
    noise::ERRORS,
];

impl Settings {
    pub(crate) fn read(params: &Params) -> Result<Settings, FitError> {
        let positive = |name: &str, default: f64| match params.f64_or(name, default)? {
            scale if (1e-6..=1e6).contains(&scale) => Ok(scale),
            _ => Err(params.out_of_range(name, "from 0.000001 to 1000000")),
        };
        let count =
            |name: &str, default: usize, most: usize| match params.usize_or(name, default)? {
                count if count <= most => Ok(count),
                _ => Err(params.out_of_range(name, &format!("at most {most}"))),
            };
        let (cap, floor) = (params.f64_or("cap", 0.0)?, params.f64_or("floor", 0.0)?);
        let growth = match params.str_or("growth", "linear")? {
            "linear" => Growth::Linear,
            "flat" => Growth::Flat,
            "logistic" if cap > floor && (cap - floor).is_finite() => Growth::Logistic(cap - floor),
            "logistic" => return Err(params.out_of_range("cap", "more than the floor")),
            _ => return Err(params.out_of_range("growth", "linear, flat or logistic")),
        };
        let mode = match params.str_or("seasonality_mode", "additive")? {
            "additive" => Mode::Additive,
            "multiplicative" => Mode::Multiplicative,
            _ => {
                return Err(params.out_of_range("seasonality_mode", "additive or multiplicative"));
            }
        };
        let residuals = match params.str_or("residuals", "ar1")? {
            "ar1" => Residuals::Autoregressive,
            "random_walk" => Residuals::RandomWalk,
            "independent" => Residuals::Independent,
            _ => return Err(params.out_of_range("residuals", "ar1, random_walk or independent")),
        };
        let change_range = params.f64_or("changepoint_range", 0.8)?;
        if !(0.0..=1.0).contains(&change_range) {
            return Err(params.out_of_range("changepoint_range", "from 0 to 1"));
        }
        let season_length = count("season_length", 1, LONGEST_SEASON)?;
        if season_length == 0 {
            return Err(params.out_of_range("season_length", "at least 1"));
        }
        let window = params.list_usize_or("holiday_window", &[0, 0])?;
        let window = match window[..] {
            [before, after] if before.max(after) <= MOST_HOLIDAY_DAYS => (before, after),
            _ => {
                return Err(params.out_of_range("holiday_window", "two numbers from 0 to 14"));
            }
        };
        let holidays = match params.str_or("holidays", "none")? {
            "none" => None,
            "us" => Some(window),
            _ => return Err(params.out_of_range("holidays", "none or us")),
        };
        Ok(Settings {
            growth,
            floor: if matches!(growth, Growth::Logistic(_)) {
                floor
            } else {
                0.0
            },
            mode,
            residuals,
            changes: count("n_changepoints", 25, MOST_CHANGES)?,
            change_range,
            change_scale: positive("changepoint_prior_scale", 0.05)?,
            yearly: count("yearly_order", 10, MOST_TERMS)?,
            weekly: count("weekly_order", 3, MOST_TERMS)?,
            season_length,
            season: count("season_order", 10, MOST_TERMS)?,
            season_scale: positive("seasonality_prior_scale", 10.0)?,
            effect_scale: positive("holidays_prior_scale", 10.0)?,
            holidays,
            errors: noise::Kind::read(params)?,
        })
    }
}
