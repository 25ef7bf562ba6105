//! Regression with seasonal ARIMA errors whose orders are found.
//!
//! Differences come from tests: a seasonal one where the season is strong, ordinary ones until the
//! series passes for stationary (`arima/unit_root.rs`). Orders and the constant come from a stepwise
//! search for the smallest corrected criterion of Akaike (`arima/search.rs`; Hyndman and Khandakar
//! 2008). With regressors, the tests look at what least squares leaves of the series, and every
//! model is estimated together with them. See `arima.rs` for the models and for when they are the
//! wrong choice.
//!
//! Histories too short to tell are a random walk. Where the search begins from an earlier state,
//! that one's orders are estimated first, from its coefficients, and only models that were close to
//! it are tried again.

use serde::{Deserialize, Serialize};

use crate::{
    Parameter, Params,
    arima::{
        self, CONSTANT,
        css::remainder,
        design::Design,
        fit::{Finish, Scaled, exact},
        likelihood::Problem,
        model::Model,
        orders::{Orders, difference},
        read_constant, read_season,
        search::{Form, Limits, Rival, search},
        unit_root::{ordinary_differences, seasonal_difference},
    },
    errors::{FitError, StateError},
    family::{Family, Learned, Start},
    noise,
    outlook::Outlook,
    series::{Ahead, Series},
    state::corrupt,
};

/// ARIMA models whose orders are found.
pub struct AutoArima;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body {
    model: Model,
    /// The models that came close.
    rivals: Vec<Rival>,
}

/// The parameters read.
struct Settings {
    season: usize,
    limits: Limits,
    errors: noise::Kind,
}

impl Settings {
    fn read(params: &Params) -> Result<Settings, FitError> {
        let limit = |name: &str, default: usize, most: usize| {
            let limit = params.usize_or(name, default)?;
            if limit <= most {
                Ok(limit)
            } else {
                Err(params.out_of_range(name, &format!("at most {most}")))
            }
        };
        Ok(Settings {
            season: read_season(params)?,
            limits: Limits {
                orders: [
                    limit("max_p", 5, 10)?,
                    limit("max_q", 5, 10)?,
                    limit("max_seasonal_p", 2, 3)?,
                    limit("max_seasonal_q", 2, 3)?,
                ],
                constant: read_constant(params)?,
            },
            errors: noise::Kind::read(params)?,
        })
    }
}

impl Family for AutoArima {
    type Body = Body;
    const NAME: &'static str = "auto_arima";
    const FORMAT: u32 = 1;
    const SUMMARY: &'static str = "regression with ARIMA errors, orders by a stepwise search";
    const PARAMETERS: &'static [Parameter] = &[
        Parameter {
            name: "season_length",
            default: "1",
            help: "observations a season, from 1 (no season) to 1000",
        },
        CONSTANT,
        Parameter {
            name: "max_p",
            default: "5",
            help: "the most autoregressive lags, up to 10",
        },
        Parameter {
            name: "max_q",
            default: "5",
            help: "the most moving-average lags, up to 10",
        },
        Parameter {
            name: "max_seasonal_p",
            default: "2",
            help: "the most seasonal autoregressive lags, up to 3",
        },
        Parameter {
            name: "max_seasonal_q",
            default: "2",
            help: "the most seasonal moving-average lags, up to 3",
        },
        noise::ERRORS,
    ];

    fn minimum(params: &Params) -> Result<usize, FitError> {
        Settings::read(params)?;
        Ok(2)
    }

    fn learn(
        history: Series<'_>,
        params: &Params,
        start: Start<'_, Body>,
    ) -> Result<Learned<Body>, FitError> {
        learn(history, params, start).map(|(learned, _)| learned)
    }

    fn check(body: &Body) -> Result<(), StateError> {
        let known = |rival: &Rival| {
            rival.excess.is_finite() && rival.form.orders.iter().all(|order| *order <= 10)
        };
        if !body.rivals.iter().all(known) {
            return Err(corrupt("a rival has no such orders"));
        }
        body.model.check()
    }

    fn advance(
        body: &mut Body,
        recent: Series<'_>,
        predicted: &mut dyn FnMut(f64),
    ) -> Result<(), StateError> {
        body.model.advance(recent, predicted);
        Ok(())
    }

    fn expect(body: Body, ahead: Ahead<'_>) -> Result<Box<dyn Outlook>, StateError> {
        body.model.expect(ahead)
    }
}

/// Below this many usable observations beyond those that regressors take, nothing is searched.
const ENOUGH: usize = 5;

/// Learns; gives the number of likelihoods computed as well.
fn learn(
    history: Series<'_>,
    params: &Params,
    start: Start<'_, Body>,
) -> Result<(Learned<Body>, usize), FitError> {
    let settings = Settings::read(params)?;
    if let Start::Keep(body) = start {
        let model = &body.model;
        let coefficients = Some(model.coefficients.as_slice());
        let (learned, evaluations) = arima::learn(
            history,
            &model.orders,
            model.constant,
            coefficients,
            settings.errors,
        )?;
        return Ok((with_rivals(learned, body.rivals.clone()), evaluations));
    }
    let scaled = Scaled::new(history.values);
    let orders = differences(history, &scaled, settings.season)?;
    let design = Design::new(history, &orders)?;
    let mut problem = Problem::new(&scaled.values, &design, &orders);
    let finish = Finish {
        history,
        design: &design,
        unit: scaled.unit,
        errors: settings.errors,
    };
    let can_be_constant = orders.differences() < 2 && settings.limits.constant != Some(false);
    if let Some(middle) = exact(&problem, &scaled, can_be_constant) {
        return Ok((
            with_rivals(finish.exact(&orders, can_be_constant, middle)?, vec![]),
            0,
        ));
    }
    let mut limits = settings.limits;
    let third = problem.count / 3;
    limits.orders[0] = limits.orders[0].min(third);
    limits.orders[1] = limits.orders[1].min(third);
    let seasonal = if orders.season > 1 {
        third / orders.season
    } else {
        0
    };
    limits.orders[2] = limits.orders[2].min(seasonal);
    limits.orders[3] = limits.orders[3].min(seasonal);
    let near = match start {
        Start::Near(body) => near(body, &orders),
        _ => None,
    };
    let Some(found) = search(&mut problem, limits, near) else {
        // Too few observations for any criterion: the differences alone.
        let (learned, evaluations) = arima::learn(history, &orders, false, None, settings.errors)?;
        return Ok((with_rivals(learned, vec![]), evaluations));
    };
    let mut learned = finish.estimate(&problem, &found.estimate)?;
    if learned.body.orders.seasonal == [0; 3] {
        learned.body.orders.season = 1;
    }
    Ok((with_rivals(learned, found.rivals), problem.evaluations))
}

fn with_rivals(learned: Learned<Model>, rivals: Vec<Rival>) -> Learned<Body> {
    Learned {
        body: Body {
            model: learned.body,
            rivals,
        },
        predictions: learned.predictions,
        aicc: learned.aicc,
    }
}

/// Where an earlier search ended, if it was among models with the same differences.
fn near<'a>(body: &'a Body, orders: &Orders) -> Option<(Form, &'a [f64], &'a [Rival])> {
    let model = &body.model;
    let same = model.orders.ordinary[1] == orders.ordinary[1]
        && model.orders.seasonal[1] == orders.seasonal[1]
        && (model.orders.season == orders.season || model.orders.seasonal == [0; 3]);
    let form = Form {
        orders: [
            model.orders.ordinary[0],
            model.orders.ordinary[2],
            model.orders.seasonal[0],
            model.orders.seasonal[2],
        ],
        constant: model.constant,
    };
    same.then_some((form, model.coefficients.as_slice(), body.rivals.as_slice()))
}

/// The differences a series needs, with those that it is too short for left out.
fn differences(history: Series<'_>, scaled: &Scaled, season: usize) -> Result<Orders, FitError> {
    let mut orders = Orders {
        ordinary: [0; 3],
        seasonal: [0; 3],
        season: 1,
    };
    let design = Design::new(history, &orders)?;
    let needed = design.columns().len() + 3;
    if design.usable() < needed && !design.columns().is_empty() {
        return Err(design.too_few(history, needed));
    }
    let spare = design.usable() - design.columns().len();
    if spare < ENOUGH {
        // Nothing can be told: the last value goes on.
        orders.ordinary[1] = usize::from(spare > 1);
        return Ok(orders);
    }
    let problem = Problem::new(&scaled.values, &design, &orders);
    let mut rest = if problem.regressors > 0 {
        remainder(&problem)
    } else {
        scaled.values.clone()
    };
    if season > 1 && spare > 2 * season + ENOUGH {
        orders.season = season;
        if seasonal_difference(&rest, season) {
            orders.seasonal[1] = 1;
            rest = difference(&rest, &orders);
        }
    }
    orders.ordinary[1] = ordinary_differences(&rest);
    Ok(orders)
}
