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
    seasons,
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
use fit::{Estimate, Finish, Scaled, THOROUGH, estimate, exact};
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
    match seasons::length(params, 1)? {
        season if season <= LONGEST_SEASON => Ok(season),
        _ => Err(params.out_of_range("season_length", "from 1 to 1000")),
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
    const GAPS: bool = true;
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

/// The observations that a model needs: those that differencing uses up, one for the variance, and
/// where anything else is estimated one more than there are estimates.
pub(crate) fn needed(orders: &Orders, constant: bool, regressors: usize) -> usize {
    let estimates = orders.coefficients() + regressors + usize::from(constant);
    orders.lost() + if estimates > 0 { estimates + 2 } else { 1 }
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
    if !design.every_place_is_seen(orders.season, orders.seasonal[1]) {
        return Err(FitError::Singular {
            reason: "a place of the season has too few observations to be differenced".to_owned(),
        });
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
    let found = match start {
        Some(start) => Estimate::resumed(&mut problem, orders, constant, start),
        None => {
            let guesses = Guesses::new(&problem);
            estimate(&mut problem, &guesses, orders, constant, Some(THOROUGH))
        }
    };
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
    use crate::{Digest, Forecaster, State, Streams, paths::check_moments};

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

    /// A series with one difference, a season, and a regressor with gaps.
    fn sample(length: usize) -> (Vec<i32>, Vec<f64>, Vec<Vec<f64>>) {
        let mut rng = Streams::new(&Digest::new()).path(21);
        let (mut level, mut last, mut regressor) = (50.0, 0.0, vec![]);
        let values = (0..length)
            .map(|day| {
                let error = rng.normal();
                level += 0.5 * last + error;
                last = error;
                let value = rng.normal();
                regressor.push(if day % 37 == 20 { f64::NAN } else { value });
                level + 2.0 * value + [1.0, 0.0, -1.0, 0.5][day % 4]
            })
            .collect();
        (dates(length), values, vec![regressor])
    }

    fn plain<'a>(dates: &'a [i32], values: &'a [f64]) -> Series<'a> {
        Series {
            dates,
            values,
            regressors: &[],
        }
    }

    fn estimated(history: Series<'_>, orders: &Orders, constant: bool) -> Learned<Model> {
        let gaussian = noise::Kind::Gaussian;
        super::learn(history, orders, constant, None, gaussian)
            .unwrap()
            .0
    }

    fn steps(count: usize, regressors: &[Vec<f64>]) -> Ahead<'_> {
        Ahead {
            steps: count,
            dates: &[],
            regressors,
        }
    }

    #[test]
    fn conditioning_equals_filtering_from_scratch() {
        let (dates, values, regressors) = sample(260);
        let none: Vec<Vec<f64>> = vec![];
        let forms = [
            (orders([1, 1, 1], [0; 3], 1), &none),
            (orders([2, 0, 2], [1, 0, 1], 4), &none),
            (orders([0, 1, 1], [0, 1, 1], 4), &none),
            (orders([1, 1, 1], [1, 0, 1], 4), &regressors),
            (orders([0, 2, 1], [0; 3], 1), &regressors),
        ];
        for (orders, regressors) in forms {
            let history = Series {
                regressors,
                ..plain(&dates, &values)
            };
            let first = history.part(0..120);
            let fitted = estimated(first.series(), &orders, orders.differences() == 0).body;
            let mut conditioned = fitted.clone();
            let mut predictions = vec![];
            for piece in [120..121, 121..175, 175..260] {
                let recent = history.part(piece);
                conditioned.advance(recent.series(), &mut |value| predictions.push(value));
                conditioned.check().unwrap();
            }
            let mut scratch = fitted.clone();
            let begin: Vec<f64> = (0..orders.lost())
                .map(|day| values[day] - fitted.known(day as u64, regressors, day))
                .collect();
            assert!(scratch.begin(&begin));
            let rest = history.part(orders.lost()..260);
            let mut all = vec![];
            scratch.advance(rest.series(), &mut |value| all.push(value));
            for (found, expected) in predictions.iter().zip(&all[all.len() - 140..]) {
                let same = found.is_nan() && expected.is_nan();
                assert!(same || (found - expected).abs() < 1e-9 * (1.0 + expected.abs()));
            }
            for (found, expected) in conditioned.state.iter().zip(&scratch.state) {
                assert!((found - expected).abs() < 1e-9 * (1.0 + expected.abs()));
            }
            assert_eq!((predictions.len(), conditioned.steps), (140, scratch.steps));
        }
    }

    #[test]
    fn a_missing_day_of_a_walk_doubles_the_variance_of_the_next() {
        let mut regressor: Vec<f64> = (0..40).map(|day| f64::from(day * day % 7)).collect();
        let values: Vec<f64> = (0..40)
            .map(|day| f64::from(day * day % 11) + 0.5 * regressor[day as usize])
            .collect();
        regressor[39] = f64::NAN;
        let (dates, regressors) = (dates(40), vec![regressor]);
        let history = Series {
            regressors: &regressors,
            ..plain(&dates, &values)
        };
        let learned = estimated(history, &orders([0, 1, 0], [0; 3], 1), false);
        assert!(learned.predictions[39].is_nan());
        let (deviation, term) = (learned.body.noise.deviation(), learned.body.terms[0]);
        let regressors_ahead = [vec![term.center; 6]];
        let outlook = learned.body.expect(steps(6, &regressors_ahead)).unwrap();
        let deviations: Vec<f64> = (2..8).map(|k| deviation * f64::from(k).sqrt()).collect();
        let paths = outlook.simulate(6, 40_000, &Streams::new(&Digest::new()));
        check_moments(&paths, &outlook.point(), &deviations);
        let last = values[38] - term.at(regressors[0][38]);
        assert!((outlook.point()[3] - last).abs() < 1e-9);
    }

    #[test]
    fn a_missing_value_counts_as_one_with_a_missing_regressor() {
        let golden = golden();
        let with_gaps = golden.cases.iter().filter(|case| {
            let mut regressors = case.regressors().into_iter().flatten();
            regressors.any(|value| value.is_nan())
        });
        let mut compared = 0;
        for case in with_gaps {
            let regressors = case.regressors();
            let mut values = case.values.clone();
            for (day, value) in values.iter_mut().enumerate() {
                if regressors.iter().any(|column| column[day].is_nan()) {
                    *value = f64::NAN;
                }
            }
            let dates = dates(values.len());
            let fit = |values: &[f64]| {
                let history = Series {
                    regressors: &regressors,
                    ..plain(&dates, values)
                };
                let learned = estimated(history, &case.orders(), case.constant);
                State::encode("arima", 1, &learned.body)
            };
            assert_eq!(fit(&values), fit(&case.values), "{}", case.name);
            compared += 1;
        }
        assert!(compared > 0);
    }

    #[test]
    fn a_gap_does_not_shift_the_season() {
        // A week and little else, of which three days are missing.
        let mut rng = Streams::new(&Digest::new()).path(1);
        let at = |day: usize| 100.0 + 30.0 * f64::from(day as u32 * 3 % 7);
        let mut values: Vec<f64> = (0..200).map(|day| at(day) + 0.1 * rng.normal()).collect();
        let dates = dates(200);
        for missing in [50, 120, 196] {
            values[missing] = f64::NAN;
        }
        let families: [&dyn Forecaster; 2] = [&Arima, &crate::auto_arima::AutoArima];
        for family in families {
            let text = r#"{"season_length":7,"order":[0,0,0],"seasonal_order":[0,1,1],"calibrate":"auto"}"#;
            let own = if family.name() == "arima" {
                text
            } else {
                r#"{"season_length":7,"calibrate":"auto"}"#
            };
            let params = Params::parse(own).unwrap();
            let fit = |range: std::ops::Range<usize>| {
                let history = plain(&dates[range.clone()], &values[range]);
                family.fit(history, &params, None).unwrap().state
            };
            let recent = plain(&dates[190..], &values[190..]);
            let conditioned = family.condition(&fit(0..190), recent).unwrap();
            for state in [fit(0..200), conditioned] {
                let point = family.outlook(&state, steps(7, &[])).unwrap().point();
                for (step, value) in point.iter().enumerate() {
                    assert!((value - at(200 + step)).abs() < 1.0, "{step}: {value}");
                }
            }
            let logarithms = values
                .iter()
                .map(|value| crate::math::ln(*value))
                .collect::<Vec<_>>();
            let log = Params::parse(&own.replace('{', r#"{"transform":"log","#)).unwrap();
            let of_logs = family
                .fit(plain(&dates, &logarithms), &params, None)
                .unwrap();
            let logged = family.fit(plain(&dates, &values), &log, None).unwrap();
            let point = |state: &State| family.outlook(state, steps(7, &[])).unwrap().point();
            for (found, expected) in point(&logged.state).iter().zip(point(&of_logs.state)) {
                assert!((crate::math::ln(*found) - expected).abs() < 1e-9);
            }
            let robust = Params::parse(r#"{"transform":"robust"}"#).unwrap();
            let refused = family.fit(plain(&dates, &values), &robust, None);
            assert_eq!(refused.unwrap_err().class(), "not_finite");
        }
    }

    #[test]
    fn a_place_of_the_season_that_is_never_seen_is_not_made_up() {
        let mut rng = Streams::new(&Digest::new()).path(1);
        let mut level = 120.0;
        let values: Vec<f64> = (0..420)
            .map(|day| {
                level += rng.normal();
                if day % 7 > 4 {
                    f64::NAN
                } else {
                    level + f64::from(day % 7)
                }
            })
            .collect();
        let dates = dates(values.len());
        let text = r#"{"season_length":7,"order":[0,0,0],"seasonal_order":[0,1,1]}"#;
        let refused = Arima.fit(plain(&dates, &values), &Params::parse(text).unwrap(), None);
        assert_eq!(refused.unwrap_err().class(), "singular");
        let params = Params::parse(r#"{"season_length":7}"#).unwrap();
        let family = crate::auto_arima::AutoArima;
        let fitted = family.fit(plain(&dates, &values), &params, None).unwrap();
        let point = family
            .outlook(&fitted.state, steps(14, &[]))
            .unwrap()
            .point();
        assert!(
            point.iter().all(|value| (value - level).abs() < 30.0),
            "{point:?}"
        );
    }

    #[test]
    fn a_constant_with_gaps_is_found_exactly() {
        for (text, missing) in [
            (r#"{"order":[0,1,0]}"#, &[0][..]),
            (r#"{"order":[0,2,0]}"#, &[0, 1, 9]),
            (
                r#"{"order":[0,0,0],"seasonal_order":[0,1,0],"season_length":7}"#,
                &[0, 8],
            ),
        ] {
            let mut values = vec![50.0; 60];
            missing
                .iter()
                .for_each(|day: &usize| values[*day] = f64::NAN);
            let dates = dates(60);
            let params = Params::parse(text).unwrap();
            let fitted = Arima.fit(plain(&dates, &values), &params, None).unwrap();
            assert_eq!(fitted.loss, Some(0.0), "{text}");
            let outlook = Arima.outlook(&fitted.state, steps(7, &[])).unwrap();
            assert_eq!(outlook.point(), [50.0; 7], "{text}");
        }
    }

    #[test]
    fn paths_have_the_moments_of_the_moving_average() {
        let (dates, values, _) = sample(200);
        let orders = orders([1, 1, 1], [0, 1, 1], 4);
        let bootstrap = noise::Kind::Bootstrap;
        let history = plain(&dates, &values);
        let model = super::learn(history, &orders, false, None, bootstrap)
            .unwrap()
            .0
            .body;
        // psi(B) = (1 + theta B)(1 + Theta B^4) / ((1 - phi B)(1 - B)(1 - B^4)), term by term.
        let [phi, theta, seasonal] = [0, 1, 2].map(|k| model.coefficients[k]);
        let mut weights = [0.0; 12];
        for (lag, value) in [(0, 1.0), (1, theta), (4, seasonal), (5, theta * seasonal)] {
            weights[lag] = value;
        }
        for (span, factor) in [(1, phi), (1, 1.0), (4, 1.0)] {
            for lag in span..12 {
                weights[lag] += factor * weights[lag - span];
            }
        }
        let deviations: Vec<f64> = (1..=12)
            .map(|steps| {
                let squares: f64 = weights[..steps].iter().map(|w| w * w).sum();
                model.noise.deviation() * squares.sqrt()
            })
            .collect();
        let outlook = model.expect(steps(12, &[])).unwrap();
        let paths = outlook.simulate(12, 40_000, &Streams::new(&Digest::new()));
        check_moments(&paths, &outlook.point(), &deviations);
    }

    #[test]
    fn joint_estimation_finds_a_regressor_below_a_walk() {
        // Least squares in levels would be off by the walk; differences on differences are not.
        let mut squares = 0.0;
        for path in 0..40 {
            let mut rng = Streams::new(&Digest::new()).path(100 + path);
            let (mut level, mut wave, mut regressor) = (0.0, 0.0, vec![]);
            let values: Vec<f64> = (0..300)
                .map(|_| {
                    level += rng.normal();
                    wave += rng.normal();
                    regressor.push(wave);
                    level + 1.5 * wave
                })
                .collect();
            let (dates, regressors) = (dates(300), vec![regressor]);
            let history = Series {
                regressors: &regressors,
                ..plain(&dates, &values)
            };
            let model = estimated(history, &orders([0, 1, 1], [0; 3], 1), false).body;
            squares += (model.terms[0].coefficient - 1.5).powi(2);
        }
        // The standard error of 300 differences of unit variance on each other.
        let error = (squares / 40.0_f64).sqrt();
        assert!(error < 1.3 / 300f64.sqrt(), "{error}");
    }

    #[test]
    fn a_search_from_an_earlier_state_ends_at_the_same_place_sooner() {
        let (dates, values, _) = sample(300);
        let history = plain(&dates, &values);
        let orders = orders([2, 0, 1], [1, 0, 0], 4);
        let earlier = history.part(0..290);
        let first = estimated(earlier.series(), &orders, false).body;
        let learn = |start: Option<&[f64]>| {
            super::learn(history, &orders, false, start, noise::Kind::Gaussian).unwrap()
        };
        let (cold, cold_count) = learn(None);
        let (warm, warm_count) = learn(Some(&first.coefficients));
        assert!(warm_count * 3 < cold_count * 2, "{warm_count} {cold_count}");
        assert!((warm.aicc.unwrap() - cold.aicc.unwrap()).abs() < 1e-6);
    }

    #[test]
    fn a_step_without_its_covariate_is_named_and_a_surplus_one_refused() {
        let (dates, values, regressors) = sample(120);
        let history = Series {
            regressors: &regressors,
            ..plain(&dates, &values)
        };
        let state = Arima.fit(history, &Params::default(), None).unwrap().state;
        let point = |regressors: &[Vec<f64>]| {
            Arima
                .outlook(&state, steps(3, regressors))
                .map(|outlook| outlook.point())
        };
        assert!(point(&[vec![1.0; 3]]).is_ok());
        let missing = |step| Err(StateError::MissingRegressor { index: 0, step });
        assert_eq!(point(&[]), missing(1));
        assert_eq!(point(&[vec![1.0, f64::NAN, 1.0]]), missing(2));
        let surplus = StateError::SurplusRegressors {
            needed: 1,
            found: 2,
        };
        assert_eq!(point(&[vec![1.0; 3], vec![1.0; 3]]), Err(surplus));
        let mut unknown = vec![f64::NAN; 120];
        (unknown[4], unknown[7]) = (1.0, 2.0);
        let regressors = vec![unknown];
        let history = Series {
            regressors: &regressors,
            ..history
        };
        assert_eq!(
            Arima.fit(history, &Params::default(), None).unwrap_err(),
            FitError::MissingRegressor { index: 0, date: 0 }
        );
    }

    #[test]
    fn orders_that_do_not_fit_are_refused() {
        for text in [
            r#"{"seasonal_order":[1,0,0]}"#,
            r#"{"order":[1,1]}"#,
            r#"{"order":[31,0,0]}"#,
            r#"{"order":[1,2,1],"constant":true}"#,
            r#"{"season_length":1001}"#,
            r#"{"seasonal_order":[2,0,0],"season_length":700}"#,
            r#"{"constant":"perhaps"}"#,
        ] {
            let error = Arima.validate(&Params::parse(text).unwrap()).unwrap_err();
            assert_eq!(error.class(), "parameter", "{text}");
        }
    }

    #[test]
    fn a_line_goes_on_as_a_line() {
        let values: Vec<f64> = (0..30).map(|day| 2.0 + 0.5 * f64::from(day)).collect();
        let dates = dates(30);
        let params = Params::parse(r#"{"order":[0,1,1],"constant":true}"#).unwrap();
        let fitted = Arima.fit(plain(&dates, &values), &params, None).unwrap();
        assert_eq!(fitted.loss, Some(0.0));
        let point = Arima.outlook(&fitted.state, steps(2, &[])).unwrap().point();
        assert!((point[0] - 17.0).abs() < 1e-12 && (point[1] - 17.5).abs() < 1e-12);
    }
}
