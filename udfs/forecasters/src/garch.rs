//! Returns whose variance comes and goes: GARCH, GJR-GARCH and EGARCH.
//!
//! The return from one observation to the next is a mean plus `sqrt(h) z`, where `z` are
//! independent with variance one and the variance `h` follows from the errors `e` before it:
//!
//! | `variance` | recursion | reference |
//! | --- | --- | --- |
//! | `garch` | `h = w + sum a e² + sum b h` | Bollerslev (1986), equation 3; the t distribution: Bollerslev (1987) |
//! | `gjr` | as `garch`, `+ sum g e² [e < 0]` | Glosten, Jagannathan and Runkle (1993), equation 3 |
//! | `egarch` | `ln h = w + sum a (abs(z) - sqrt(2 / pi)) + sum g z + sum b ln h` | Nelson (1991), equation 2.2 |
//!
//! `p` counts the terms in `a`, `o` those in `g` and `q` those in `b`. Good for prices at daily or
//! finer steps, whose quiet and wild spells last; the wrong choice for seasons, for a level that
//! returns, and for short histories, which hold too few spells to learn from. Returns are
//! logarithmic where the whole history is positive, so that simulated prices stay positive.
//!
//! All parameters are estimated together by maximum likelihood (with `errors` = bootstrap by
//! Gaussian quasi maximum likelihood; paths then draw the standardised residuals, which is filtered
//! historical simulation: Barone-Adesi, Giannopoulos and Vosper 1999). The first variances come
//! from a backcast: the mean of the first 75 squared deviations from the mean return, weighted by
//! powers of 0.94. Variances are kept between a millionth and a million times the mean square.
//!
//! The point forecast is the path without errors, so for logarithmic returns the median price.

mod estimate;
mod form;
mod numbers;
mod outlook;
mod recursion;

use serde::{Deserialize, Serialize};

use crate::{
    Parameter, Params,
    errors::{FitError, StateError},
    family::{Family, Learned, Start},
    noise::{self, Noise},
    outlook::Outlook,
    series::{Ahead, Series},
    state::corrupt,
};
use estimate::estimate;
use form::{Form, Returns};
use outlook::Volatile;
use recursion::{Mean, Variance};

/// The GARCH models.
pub struct Garch;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body {
    form: Form,
    /// A power of two near the size of the returns: below, all are multiples of it.
    unit: f64,
    /// The newest observation.
    last: f64,
    mean: Mean,
    variance: Variance,
    /// The distribution of standardised errors.
    shocks: Noise,
}

impl Body {
    /// The observation expected next.
    fn next(&self) -> f64 {
        self.form
            .returns
            .after(self.last, self.unit * self.mean.next())
    }
}

impl Family for Garch {
    type Body = Body;
    const NAME: &'static str = "garch";
    const FORMAT: u32 = 1;
    const SUMMARY: &'static str = "returns whose variance follows from the errors before";
    const PARAMETERS: &'static [Parameter] = &[
        Parameter {
            name: "variance",
            default: "\"garch\"",
            help: "how variance follows from errors: garch, gjr or egarch",
        },
        Parameter {
            name: "p",
            default: "1",
            help: "how many errors the variance follows from, from 1",
        },
        Parameter {
            name: "o",
            default: "1",
            help: "how many errors count by their sign as well (gjr and egarch), from 0",
        },
        Parameter {
            name: "q",
            default: "1",
            help: "how many variances before the variance follows from, from 0",
        },
        Parameter {
            name: "returns",
            default: "\"auto\"",
            help: "log, difference, or auto: log where the whole history is positive",
        },
        Parameter {
            name: "mean",
            default: "\"constant\"",
            help: "the mean return: zero, constant, or ar (autoregressive)",
        },
        Parameter {
            name: "lags",
            default: "[1]",
            help: "how many returns back each term of mean = ar is, from 1",
        },
        noise::ERRORS,
    ];

    fn minimum(params: &Params) -> Result<usize, FitError> {
        Form::read(params, &[]).map(|form| form.needed())
    }

    fn learn(
        history: Series<'_>,
        params: &Params,
        start: Start<'_, Body>,
    ) -> Result<Learned<Body>, FitError> {
        let form = match start {
            Start::Keep(body) => body.form.clone(),
            Start::Cold | Start::Near(_) => Form::read(params, history.values)?,
        };
        let first_guess = match start {
            Start::Near(body) | Start::Keep(body) if body.form == form => Some(body),
            _ => None,
        };
        estimate(form, history, first_guess).map(|estimated| estimated.learned)
    }

    fn check(body: &Body) -> Result<(), StateError> {
        if !(body.unit.is_finite() && body.unit > 0.0 && body.last.is_finite()) {
            return Err(corrupt("the unit or the newest observation is no number"));
        }
        if body.form.returns == Returns::Log && body.last <= 0.0 {
            return Err(corrupt(
                "the newest observation has no logarithmic return to the next",
            ));
        }
        body.mean.check()?;
        body.variance.check()?;
        body.shocks.check()
    }

    fn advance(
        body: &mut Body,
        recent: Series<'_>,
        predicted: &mut dyn FnMut(f64),
    ) -> Result<(), StateError> {
        for (date, value) in recent.dates.iter().zip(recent.values) {
            let change = body.form.returns.between(body.last, *value);
            let change = match change {
                Some(change) if change.is_finite() => change / body.unit,
                Some(_) => return Err(FitError::Overflow { quantity: "return" }.into()),
                None => {
                    return Err(StateError::Domain {
                        value: *value,
                        date: *date,
                        needed: "positive values",
                    });
                }
            };
            if !change.is_finite() {
                return Err(FitError::Overflow { quantity: "return" }.into());
            }
            predicted(body.next());
            let error = change - body.mean.next();
            body.variance.push(error);
            body.mean.push(change);
            body.last = *value;
        }
        Ok(())
    }

    fn expect(body: Body, ahead: Ahead<'_>) -> Result<Box<dyn Outlook>, StateError> {
        Ok(Box::new(Volatile::new(body, ahead.steps)))
    }
}

#[cfg(test)]
mod tests;
