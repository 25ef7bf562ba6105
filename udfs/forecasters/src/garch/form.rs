//! Which model of the family it is.

use serde::{Deserialize, Serialize};

use crate::{
    Params,
    errors::FitError,
    math::{exp, ln},
    noise,
};

/// Observations needed for each parameter.
const FOR_EACH_PARAMETER: usize = 10;

/// What a return is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Returns {
    /// The difference of logarithms.
    Log,
    /// The difference.
    Difference,
}

/// How variance follows from the errors before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// By their squares.
    Garch,
    /// By their squares, more or less so where they are negative.
    Gjr,
    /// In logarithms, by their size and sign.
    Egarch,
}

/// The form of a model: everything but its numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Form {
    pub(super) returns: Returns,
    /// Whether the mean return is estimated; zero if not.
    pub(super) constant: bool,
    /// The lags of the autoregressive terms.
    pub(super) lags: Vec<usize>,
    pub(super) kind: Kind,
    pub(super) p: usize,
    pub(super) o: usize,
    pub(super) q: usize,
    pub(super) errors: noise::Kind,
}

impl Form {
    /// Reads the parameters; `returns` = auto is decided by the values.
    pub(super) fn read(params: &Params, values: &[f64]) -> Result<Form, FitError> {
        let kind = match params.str_or("variance", "garch")? {
            "garch" => Kind::Garch,
            "gjr" => Kind::Gjr,
            "egarch" => Kind::Egarch,
            _ => return Err(params.out_of_range("variance", "garch, gjr or egarch")),
        };
        let p = params.usize_or("p", 1)?;
        if p == 0 {
            return Err(params.out_of_range("p", "at least 1"));
        }
        let o = params.usize_or("o", 1)?;
        let returns = match params.str_or("returns", "auto")? {
            "log" => Returns::Log,
            "difference" => Returns::Difference,
            "auto" if values.iter().all(|value| *value > 0.0) => Returns::Log,
            "auto" => Returns::Difference,
            _ => return Err(params.out_of_range("returns", "auto, log or difference")),
        };
        let mut lags = params.list_usize_or("lags", &[1])?;
        if lags.contains(&0) {
            return Err(params.out_of_range("lags", "numbers from 1"));
        }
        lags.sort_unstable();
        lags.dedup();
        let (constant, lags) = match params.str_or("mean", "constant")? {
            "zero" => (false, vec![]),
            "constant" => (true, vec![]),
            "ar" => (true, lags),
            _ => return Err(params.out_of_range("mean", "zero, constant or ar")),
        };
        Ok(Form {
            returns,
            constant,
            lags,
            kind,
            p,
            o: if kind == Kind::Garch { 0 } else { o },
            q: params.usize_or("q", 1)?,
            errors: noise::Kind::read(params)?,
        })
    }

    /// How many returns back the mean looks.
    pub(super) fn reach(&self) -> usize {
        self.lags.last().copied().unwrap_or(0)
    }

    /// How many parameters are estimated.
    pub(super) fn parameters(&self) -> usize {
        let mean = usize::from(self.constant) + self.lags.len();
        let shape = usize::from(self.errors == noise::Kind::StudentT);
        (mean + shape + 1)
            .saturating_add(self.p)
            .saturating_add(self.o)
            .saturating_add(self.q)
    }

    /// The least number of observations.
    pub(super) fn needed(&self) -> usize {
        FOR_EACH_PARAMETER
            .saturating_mul(self.parameters())
            .saturating_add(self.reach())
            .saturating_add(1)
    }
}

impl Returns {
    /// The return from one observation to the next; `None` if it has no logarithm.
    pub(super) fn between(self, before: f64, after: f64) -> Option<f64> {
        match self {
            Returns::Difference => Some(after - before),
            Returns::Log if before <= 0.0 || after <= 0.0 => None,
            Returns::Log => {
                let ratio = after / before;
                Some(if ratio.is_normal() {
                    ln(ratio)
                } else {
                    ln(after) - ln(before)
                })
            }
        }
    }

    /// The observation that lies this many returns after another.
    #[inline(always)]
    pub(super) fn after(self, before: f64, change: f64) -> f64 {
        match self {
            Returns::Difference => (before + change).clamp(-f64::MAX, f64::MAX),
            Returns::Log => {
                (before * exp(change.clamp(-600.0, 600.0))).clamp(f64::MIN_POSITIVE, f64::MAX)
            }
        }
    }
}
