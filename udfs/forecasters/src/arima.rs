//! Regression with seasonal ARIMA errors of given orders.
//!
//! The value is a constant, plus regressors, plus a process whose d-fold differences and D-fold
//! seasonal differences are a stationary and invertible ARMA process with seasonal factors (Box and
//! Jenkins, *Time Series Analysis*, chapters 4, 7 and 9; Hyndman and Athanasopoulos, *Forecasting:
//! Principles and Practice*, 3rd edition, chapters 9 and 10). All parameters are estimated
//! together by exact maximum likelihood: coefficients within the stationary and invertible region
//! (Jones 1980), variance, constant and regressors concentrated out, so that for differenced errors
//! the regression is one of differences on differences. An observation with an unknown regressor
//! counts as missing. The constant is a mean without differences and a drift with one; there is
//! none with two.
//!
//! The wrong choice for several seasons at once, for errors that grow with the level, and for
//! long seasons: orders should come from `auto_arima` or from the correlogram.

use crate::{
    Parameter, Params,
    errors::{FitError, StateError},
    family::{Family, Learned, Start},
    noise,
    outlook::Outlook,
    series::{Ahead, Series},
};

pub(crate) mod css;
pub(crate) mod design;
pub(crate) mod filter;
pub(crate) mod fit;
pub(crate) mod levenberg_marquardt;
pub(crate) mod likelihood;
pub(crate) mod model;
pub(crate) mod orders;
pub(crate) mod search;
pub(crate) mod strength;
pub(crate) mod unit_root;

use css::Guesses;
use design::Design;
use fit::{Finish, Scaled, THOROUGH, estimate, exact};
use likelihood::Problem;
use model::Model;
use orders::{LONGEST_SEASON, Orders};

/// ARIMA models of given orders.
pub struct Arima;

/// The parameter that says whether there is a constant.
pub(crate) const CONSTANT: Parameter = Parameter {
    name: "constant",
    default: "\"auto\"",
    help: "whether there is a mean, or with one difference a drift: true, false, or auto",
};

/// Reads the parameter `constant`; `None` for auto.
pub(crate) fn read_constant(params: &Params) -> Result<Option<bool>, FitError> {
    match params.values().get("constant") {
        None => Ok(None),
        Some(given) => match (given.as_bool(), given.as_str()) {
            (Some(constant), _) => Ok(Some(constant)),
            (None, Some("auto")) => Ok(None),
            _ => Err(params.out_of_range("constant", "true, false or auto")),
        },
    }
}

/// Reads the parameter `season_length`.
pub(crate) fn read_season(params: &Params) -> Result<usize, FitError> {
    let season = params.usize_or("season_length", 1)?;
    if (1..=LONGEST_SEASON).contains(&season) {
        Ok(season)
    } else {
        Err(params.out_of_range("season_length", "from 1 to 1000"))
    }
}

fn read_orders(params: &Params) -> Result<Orders, FitError> {
    let triple = |name: &str, default: [usize; 3]| -> Result<[usize; 3], FitError> {
        let list = params.list_usize_or(name, &default)?;
        list.try_into()
            .map_err(|_| params.out_of_range(name, "three whole numbers"))
    };
    let mut orders = Orders {
        ordinary: triple("order", [1, 1, 1])?,
        seasonal: triple("seasonal_order", [0, 0, 0])?,
        season: read_season(params)?,
    };
    if orders.seasonal == [0; 3] {
        orders.season = 1;
    } else if orders.season == 1 {
        return Err(params.out_of_range("seasonal_order", "zeros, or a season_length from 2"));
    }
    let small = orders
        .ordinary
        .iter()
        .chain(&orders.seasonal)
        .all(|order| *order <= 1_000);
    if small && orders.within_bounds() {
        Ok(orders)
    } else {
        let needed = "at most 30 lags, 2 differences, 10 seasonal lags, 1200 steps back in all";
        let name = if params.values().contains_key("order") {
            "order"
        } else {
            "seasonal_order"
        };
        Err(params.out_of_range(name, needed))
    }
}

impl Family for Arima {
    type Body = Model;
    const NAME: &'static str = "arima";
    const FORMAT: u32 = 1;
    const SUMMARY: &'static str = "regression with seasonal ARIMA errors of given orders";
    const PARAMETERS: &'static [Parameter] = &[
        Parameter {
            name: "order",
            default: "[1,1,1]",
            help: "p, d and q",
        },
        Parameter {
            name: "seasonal_order",
            default: "[0,0,0]",
            help: "P, D and Q",
        },
        Parameter {
            name: "season_length",
            default: "1",
            help: "observations a season, from 1 (no season) to 1000",
        },
        CONSTANT,
        noise::ERRORS,
    ];

    fn minimum(params: &Params) -> Result<usize, FitError> {
        noise::Kind::read(params)?;
        let orders = read_orders(params)?;
        let constant = wants_constant(params, &orders)?;
        Ok(needed(&orders, constant, 0))
    }

    fn learn(
        history: Series<'_>,
        params: &Params,
        start: Start<'_, Model>,
    ) -> Result<Learned<Model>, FitError> {
        let orders = read_orders(params)?;
        let constant = wants_constant(params, &orders)?;
        let start = match start {
            Start::Cold => None,
            Start::Near(body) | Start::Keep(body) => {
                (body.orders == orders).then_some(body.coefficients.as_slice())
            }
        };
        learn(
            history,
            &orders,
            constant,
            start,
            noise::Kind::read(params)?,
        )
        .map(|(learned, _)| learned)
    }

    fn check(body: &Model) -> Result<(), StateError> {
        body.check()
    }

    fn advance(
        body: &mut Model,
        recent: Series<'_>,
        predicted: &mut dyn FnMut(f64),
    ) -> Result<(), StateError> {
        body.advance(recent, predicted);
        Ok(())
    }

    fn expect(body: Model, ahead: Ahead<'_>) -> Result<Box<dyn Outlook>, StateError> {
        body.expect(ahead)
    }
}

fn wants_constant(params: &Params, orders: &Orders) -> Result<bool, FitError> {
    let constant = read_constant(params)?.unwrap_or(orders.differences() == 0);
    if constant && orders.differences() > 1 {
        return Err(params.out_of_range(
            "constant",
            "false or auto, where the differences are two or more",
        ));
    }
    Ok(constant)
}

/// The observations that a model needs: one more than numbers are estimated.
pub(crate) fn needed(orders: &Orders, constant: bool, regressors: usize) -> usize {
    orders.lost() + orders.coefficients() + regressors + usize::from(constant) + 2
}

/// Estimates a model of these orders; gives the number of likelihoods computed as well.
pub(crate) fn learn(
    history: Series<'_>,
    orders: &Orders,
    constant: bool,
    start: Option<&[f64]>,
    errors: noise::Kind,
) -> Result<(Learned<Model>, usize), FitError> {
    let design = Design::new(history, orders)?;
    let needed = needed(orders, constant, design.columns().len());
    if design.usable() < needed {
        return Err(design.too_few(history, needed));
    }
    let scaled = Scaled::new(history.values);
    let mut problem = Problem::new(&scaled.values, &design, orders);
    let finish = Finish {
        history,
        design: &design,
        unit: scaled.unit,
        errors,
    };
    if let Some(middle) = exact(&problem, &scaled, constant) {
        return finish
            .exact(orders, constant, middle)
            .map(|learned| (learned, 0));
    }
    let guesses = start.is_none().then(|| Guesses::new(&problem));
    let found = estimate(
        &mut problem,
        guesses.as_ref(),
        orders,
        constant,
        start,
        THOROUGH,
    );
    let found = found.ok_or_else(|| FitError::Singular {
        reason: "no likelihood can be computed".to_owned(),
    })?;
    let learned = finish.estimate(&problem, &found)?;
    Ok((learned, problem.evaluations))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Golden {
        relative_tolerance: f64,
        likelihood_tolerance: f64,
        cases: Vec<Case>,
        likelihoods: Vec<Point>,
        other: Other,
    }

    #[derive(Deserialize)]
    struct Case {
        name: String,
        order: [usize; 3],
        seasonal_order: [usize; 3],
        season_length: usize,
        constant: bool,
        values: Vec<f64>,
        regressors: Vec<Vec<Option<f64>>>,
        ahead: Vec<Vec<f64>>,
        coefficients: Vec<f64>,
        linear: Vec<f64>,
        log_likelihood: f64,
        variance: f64,
        forecasts: Vec<f64>,
    }

    #[derive(Deserialize)]
    struct Point {
        name: String,
        order: [usize; 3],
        seasonal_order: [usize; 3],
        season_length: usize,
        values: Vec<f64>,
        coefficients: Vec<f64>,
        log_likelihood: f64,
        variance: f64,
    }

    #[derive(Deserialize)]
    struct Other {
        order: [usize; 3],
        seasonal_order: [usize; 3],
        season_length: usize,
        values: Vec<f64>,
        log_likelihood: f64,
        forecasts: Vec<f64>,
    }

    fn golden() -> Golden {
        serde_json::from_str(include_str!("../golden/arima.json")).unwrap()
    }

    fn orders(ordinary: [usize; 3], seasonal: [usize; 3], season: usize) -> Orders {
        Orders {
            ordinary,
            seasonal,
            season,
        }
    }

    fn dates(length: usize) -> Vec<i32> {
        (0..length as i32).collect()
    }

    impl Case {
        fn orders(&self) -> Orders {
            orders(self.order, self.seasonal_order, self.season_length)
        }

        fn regressors(&self) -> Vec<Vec<f64>> {
            let column =
                |column: &Vec<Option<f64>>| column.iter().map(|v| v.unwrap_or(f64::NAN)).collect();
            self.regressors.iter().map(column).collect()
        }
    }

    fn near(what: &str, found: f64, expected: f64, tolerance: f64) {
        let off = (found - expected).abs() / (1e-2 + expected.abs());
        assert!(off < tolerance, "{what}: {found}, expected {expected}");
    }

    #[test]
    fn likelihoods_agree_with_the_reference_at_its_coefficients() {
        let golden = golden();
        for point in &golden.likelihoods {
            let orders = orders(point.order, point.seasonal_order, point.season_length);
            let dates = dates(point.values.len());
            let history = Series {
                dates: &dates,
                values: &point.values,
                regressors: &[],
            };
            let design = Design::new(history, &orders).unwrap();
            let mut problem = Problem::new(&point.values, &design, &orders);
            let found = problem
                .likelihood(&orders, &point.coefficients, false, &mut vec![])
                .unwrap();
            let tolerance = golden.likelihood_tolerance;
            near(
                &point.name,
                -0.5 * found.deviance,
                point.log_likelihood,
                tolerance,
            );
            near(&point.name, found.variance, point.variance, tolerance);
        }
        for case in &golden.cases {
            let (dates, regressors) = (dates(case.values.len()), case.regressors());
            let history = Series {
                dates: &dates,
                values: &case.values,
                regressors: &regressors,
            };
            let design = Design::new(history, &case.orders()).unwrap();
            let mut problem = Problem::new(&case.values, &design, &case.orders());
            let found = problem
                .likelihood(
                    &case.orders(),
                    &case.coefficients,
                    case.constant,
                    &mut vec![],
                )
                .unwrap();
            let tolerance = golden.likelihood_tolerance;
            near(
                &case.name,
                -0.5 * found.deviance,
                case.log_likelihood,
                tolerance,
            );
            near(&case.name, found.variance, case.variance, 10.0 * tolerance);
        }
    }

    #[test]
    fn estimates_and_forecasts_agree_with_the_reference() {
        let golden = golden();
        let tolerance = golden.relative_tolerance;
        for case in &golden.cases {
            let name = &case.name;
            let (dates, regressors) = (dates(case.values.len()), case.regressors());
            let history = Series {
                dates: &dates,
                values: &case.values,
                regressors: &regressors,
            };
            let orders = case.orders();
            let (learned, _) =
                super::learn(history, &orders, case.constant, None, noise::Kind::Gaussian).unwrap();
            let model = learned.body;
            for (found, expected) in model.coefficients.iter().zip(&case.coefficients) {
                near(name, *found, *expected, 20.0 * tolerance);
            }
            for (term, expected) in model.terms.iter().zip(&case.linear) {
                near(name, term.coefficient, *expected, tolerance);
            }
            assert_eq!(model.terms.len(), case.regressors.len());
            let parameters = case.coefficients.len() + case.linear.len();
            let count = case.values.len()
                - orders.lost()
                - (0..case.values.len())
                    .filter(|day| regressors.iter().any(|column| column[*day].is_nan()))
                    .count();
            let corrected = case.variance * count as f64 / (count - parameters) as f64;
            near(name, model.noise.deviation(), corrected.sqrt(), tolerance);
            let aicc = fit::aicc(-2.0 * case.log_likelihood, parameters + 1, count);
            assert!(
                learned.aicc.unwrap() < aicc + 1e-4,
                "{name} {:?} {aicc}",
                learned.aicc
            );
            let ahead = Ahead {
                steps: case.forecasts.len(),
                dates: &[],
                regressors: &case.ahead,
            };
            let point = model.expect(ahead).unwrap().point();
            for (found, expected) in point.iter().zip(&case.forecasts) {
                near(name, *found, *expected, tolerance);
            }
        }
    }

    #[test]
    fn another_package_finds_the_same_model() {
        let other = golden().other;
        let orders = orders(other.order, other.seasonal_order, other.season_length);
        let dates = dates(other.values.len());
        let history = Series {
            dates: &dates,
            values: &other.values,
            regressors: &[],
        };
        let (learned, _) =
            super::learn(history, &orders, false, None, noise::Kind::Gaussian).unwrap();
        // Its likelihood has a diffuse beginning and its search ends earlier than ours.
        let count = other.values.len() - orders.lost();
        let aicc = fit::aicc(
            -2.0 * other.log_likelihood,
            orders.coefficients() + 1,
            count,
        );
        let gained = aicc - learned.aicc.unwrap();
        assert!((0.0..0.03).contains(&gained), "{gained}");
        let ahead = Ahead {
            steps: other.forecasts.len(),
            dates: &[],
            regressors: &[],
        };
        let point = learned.body.expect(ahead).unwrap().point();
        for (found, expected) in point.iter().zip(&other.forecasts) {
            near("forecast", *found, *expected, 1e-3);
        }
    }
}
