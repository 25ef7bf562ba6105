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
    const GAPS: bool = true;
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
        let sound = |rival: &Rival| {
            rival.form.orders.iter().all(|order| *order <= 10)
                && rival.coefficients.len() == rival.form.orders.iter().sum::<usize>()
                && rival.coefficients.iter().all(|value| value.is_finite())
        };
        if !body.rivals.iter().all(sound) {
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
    let earlier = match start {
        Start::Near(body) => Some(body.model.orders),
        _ => None,
    };
    let orders = differences(history, &scaled, settings.season, earlier)?;
    let design = Design::new(history, &orders)?;
    let mut problem = Problem::new(&scaled.values, &design, &orders);
    let finish = Finish {
        history,
        design: &design,
        unit: scaled.unit,
        errors: settings.errors,
    };
    // Two values say nothing of a drift.
    let can_be_constant =
        orders.differences() < 2 && settings.limits.constant != Some(false) && problem.count > 2;
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

/// The differences a series needs, with those that it is too short for left out. `earlier` are the
/// orders of an earlier fit.
fn differences(
    history: Series<'_>,
    scaled: &Scaled,
    season: usize,
    earlier: Option<Orders>,
) -> Result<Orders, FitError> {
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
        design.filled(&scaled.values)
    };
    let told = design.every_place_is_seen(season, 1);
    if season > 1 && spare > 2 * season + ENOUGH && told {
        orders.season = season;
        // A model of no season may be one of any.
        let earlier = earlier.filter(|earlier| earlier.season == season || earlier.season == 1);
        let differenced = earlier.map(|earlier| earlier.seasonal[1] > 0);
        if seasonal_difference(&rest, season, differenced) {
            orders.seasonal[1] = 1;
            rest = difference(&rest, &orders);
        }
    }
    // What was found for other seasonal differences says nothing of these.
    let earlier = earlier.filter(|earlier| earlier.seasonal[1] == orders.seasonal[1]);
    orders.ordinary[1] = ordinary_differences(&rest, earlier.map(|earlier| earlier.ordinary[1]));
    Ok(orders)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, Forecaster, Streams};

    fn dates(length: usize) -> Vec<i32> {
        (0..length as i32).collect()
    }

    fn history<'a>(dates: &'a [i32], values: &'a [f64]) -> Series<'a> {
        Series {
            dates: &dates[..values.len()],
            values,
            regressors: &[],
        }
    }

    /// Daily prices: a walk whose steps follow each other a little.
    fn prices(length: usize, path: u64) -> Vec<f64> {
        let mut rng = Streams::new(&Digest::new()).path(path);
        let (mut level, mut last) = (100.0, 0.0);
        (0..length)
            .map(|_| {
                let error = rng.normal();
                level += 0.01 + error + 0.25 * last;
                last = error;
                level
            })
            .collect()
    }

    /// Monthly values whose season moves slowly: ARIMA(0,1,1)(0,1,1)12.
    fn seasonal(length: usize) -> Vec<f64> {
        let mut rng = Streams::new(&Digest::new()).path(77);
        let errors: Vec<f64> = (0..length).map(|_| rng.normal()).collect();
        let error = |day: usize, lag: usize| if day >= lag { errors[day - lag] } else { 0.0 };
        let mut values: Vec<f64> = (0..13)
            .map(|day| 100.0 + 20.0 * f64::from(day % 12))
            .collect();
        for day in 13..length {
            let moved =
                errors[day] - 0.4 * error(day, 1) - 0.6 * error(day, 12) + 0.24 * error(day, 13);
            values.push(values[day - 1] + values[day - 12] - values[day - 13] + moved);
        }
        values
    }

    fn point(body: Body, steps: usize) -> Vec<f64> {
        let ahead = Ahead {
            steps,
            dates: &[],
            regressors: &[],
        };
        AutoArima::expect(body, ahead).unwrap().point()
    }

    fn learned(values: &[f64], text: &str) -> Learned<Body> {
        let params = Params::parse(text).unwrap();
        let dates = dates(values.len());
        AutoArima::learn(history(&dates, values), &params, Start::Cold).unwrap()
    }

    #[test]
    fn refits_from_the_state_before_cost_a_fifth_and_are_no_worse() {
        let params = Params::default();
        let (mut cold_count, mut warm_count, mut worse, mut compared) = (0, 0, 0.0, 0);
        for path in [1, 2, 3] {
            let values = prices(3_600, path);
            let dates = dates(values.len());
            let mut previous: Option<Body> = None;
            for cutoff in 0..17 {
                let history = history(&dates, &values[..1_500 + 126 * cutoff]);
                let (cold, count) = learn(history, &params, Start::Cold).unwrap();
                let Some(before) = previous else {
                    previous = Some(cold.body);
                    continue;
                };
                let (warm, warm_calls) = learn(history, &params, Start::Near(&before)).unwrap();
                cold_count += count;
                warm_count += warm_calls;
                // Criteria of models with other differences cannot be compared.
                if warm.body.model.orders.differences() == cold.body.model.orders.differences() {
                    worse += warm.aicc.unwrap() - cold.aicc.unwrap();
                    compared += 1;
                }
                AutoArima::check(&warm.body).unwrap();
                previous = Some(warm.body);
            }
        }
        assert!(5 * warm_count <= cold_count, "{warm_count} {cold_count}");
        assert!(compared > 36, "{compared}");
        assert!(worse / f64::from(compared) < 0.1, "{worse}");
    }

    #[test]
    fn the_airline_model_is_found_for_its_series() {
        let values = seasonal(180);
        let body = learned(&values[..168], r#"{"season_length":12}"#).body;
        let orders = body.model.orders;
        assert_eq!((orders.seasonal[1], orders.season), (1, 12), "{orders:?}");
        assert!(orders.seasonal[2] >= 1, "{orders:?}");
        for (found, expected) in point(body, 12).iter().zip(&values[168..]) {
            assert!((found - expected).abs() < 12.0, "{found} {expected}");
        }
    }

    #[test]
    fn what_is_asked_of_the_search_is_kept_to() {
        let values = prices(300, 4);
        let limited = learned(&values, r#"{"max_p":0,"max_q":1,"constant":true}"#)
            .body
            .model;
        let [p, _, q] = limited.orders.ordinary;
        assert!(limited.constant && p == 0 && q <= 1);
        assert!(
            !learned(&values, r#"{"constant":false}"#)
                .body
                .model
                .constant
        );
        for text in [
            r#"{"max_p":11}"#,
            r#"{"max_seasonal_q":4}"#,
            r#"{"season_length":0}"#,
        ] {
            let error = AutoArima
                .validate(&Params::parse(text).unwrap())
                .unwrap_err();
            assert_eq!(error.class(), "parameter");
        }
    }

    #[test]
    fn a_form_is_kept_when_only_parameters_are_asked_for() {
        let values = prices(400, 5);
        let dates = dates(400);
        let first = learned(&values, "{}").body;
        let kept = AutoArima::learn(
            history(&dates, &values[..320]),
            &Params::default(),
            Start::Keep(&first),
        );
        let (kept, first) = (kept.unwrap().body.model, first.model);
        assert_eq!((kept.orders, kept.constant), (first.orders, first.constant));
        assert_ne!(kept.coefficients, first.coefficients);
    }

    #[test]
    fn short_histories_are_walks_and_awkward_ones_have_a_forecast() {
        let text = r#"{"season_length":4}"#;
        for length in 2..5 {
            let values: Vec<f64> = (0..length).map(|day| f64::from(day * day) + 1.0).collect();
            let last = values[values.len() - 1];
            assert_eq!(point(learned(&values, text).body, 3), [last; 3]);
        }
        let mut rng = Streams::new(&Digest::new()).path(6);
        let noise: Vec<f64> = (0..60).map(|_| rng.normal()).collect();
        let shapes: [&dyn Fn(usize) -> f64; 7] = [
            &|day| if day == 30 { 1e9 } else { noise[day] },
            &|day| if day < 30 { 1.0 } else { 1000.0 },
            &|day| noise[day] * 1e-12,
            &|day| noise[day] * 1e12 + 1e13,
            &|day| (day % 2) as f64,
            &|day| (day * day) as f64,
            &|day| if day < 59 { 5.0 } else { 6.0 },
        ];
        for (index, shape) in shapes.iter().enumerate() {
            for length in [5, 6, 7, 8, 9, 11, 13, 14, 17, 26, 60] {
                let values: Vec<f64> = (60 - length..60).map(shape).collect();
                let body = learned(&values, text).body;
                AutoArima::check(&body).unwrap();
                let size = values
                    .iter()
                    .fold(0.0f64, |most, value| most.max(value.abs()));
                for value in point(body, 12) {
                    assert!(value.abs() <= 40.0 * size, "{index} {length} {value}");
                }
            }
        }
    }

    #[test]
    fn regressors_take_part_in_the_search() {
        let mut rng = Streams::new(&Digest::new()).path(8);
        let regressor: Vec<f64> = (0..200).map(|_| rng.normal()).collect();
        let values: Vec<f64> = prices(200, 9)
            .iter()
            .zip(&regressor)
            .map(|(value, x)| value + 3.0 * x)
            .collect();
        let (dates, regressors) = (dates(200), vec![regressor, vec![1.0; 200]]);
        let series = Series {
            regressors: &regressors,
            ..history(&dates, &values)
        };
        let learned = AutoArima::learn(series, &Params::default(), Start::Cold).unwrap();
        let model = learned.body.model;
        assert_eq!((model.terms.len(), model.orders.ordinary[1]), (1, 1));
        assert!((model.terms[0].coefficient - 3.0).abs() < 0.2);
    }

    #[derive(Deserialize)]
    struct Golden {
        searches: Vec<Searched>,
    }

    #[derive(Deserialize)]
    struct Searched {
        name: String,
        season_length: usize,
        values: Vec<f64>,
        order: [usize; 3],
        seasonal_order: [usize; 3],
        aicc: f64,
    }

    #[test]
    fn the_search_ends_no_higher_than_that_of_another_package() {
        let golden: Golden = serde_json::from_str(include_str!("../golden/arima.json")).unwrap();
        assert_eq!(golden.searches.len(), 7);
        let mut compared = 0;
        for searched in &golden.searches {
            let text = format!(r#"{{"season_length":{}}}"#, searched.season_length);
            let found = learned(&searched.values, &text);
            let orders = found.body.model.orders;
            // Criteria of models with other differences cannot be compared.
            let differences = [orders.ordinary[1], orders.seasonal[1]];
            if differences == [searched.order[1], searched.seasonal_order[1]] {
                compared += 1;
                let excess = found.aicc.unwrap() - searched.aicc;
                assert!(excess < 0.01, "{} {orders:?}: {excess}", searched.name);
            }
        }
        assert_eq!(compared, 7);
    }
}
