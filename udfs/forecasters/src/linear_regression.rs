//! Least squares on lagged values, rolling means and covariates.
//!
//! The value of day t is regressed on the values `lags` observations before it, on the means of
//! the last `windows` values up to t - 1, and on the covariates of day t as given. A forecast is
//! recursive: simulated values become lags of later steps, each with a error of the in-sample
//! residual deviation. Good where covariates carry information; the wrong choice for
//! short histories, and its parameters drift out of date when the relations change.
//!
//! Columns that are constant, or that the columns before them determine, are dropped (see
//! `least_squares.rs`). Rows with a missing covariate are not fitted on. The residual deviation has
//! the divisor n - p - 1 for p columns and the intercept.

use serde::{Deserialize, Serialize};

use crate::{
    Parameter, Params,
    errors::{FitError, StateError},
    family::{Family, Learned, Start},
    fitted::finite,
    least_squares::{Kept, Solution, least_squares},
    moments::{mean, root_sum_of_squares},
    noise::{self, Noise},
    outlook::{Linear, Outlook},
    series::{Ahead, Series},
    state::corrupt,
    window::Window,
};

/// The linear regression model.
pub struct LinearRegression;

/// What a column of the regression holds for day t.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Feature {
    /// The value this many observations before t.
    Lag(usize),
    /// The mean of this many values before t.
    Mean(usize),
    /// The covariate with this index at t.
    Regressor(usize),
}

/// One kept column: contributes `coefficient * (feature - center)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Term {
    feature: Feature,
    center: f64,
    coefficient: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Equation {
    /// What is forecast when every feature is at its center.
    level: f64,
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body {
    /// As many values as the longest lag or window reaches back.
    window: Window,
    /// The number of covariates fitted with.
    regressors: usize,
    equation: Equation,
    noise: Noise,
}

struct Shape {
    lags: Vec<usize>,
    windows: Vec<usize>,
}

impl Shape {
    fn read(params: &Params) -> Result<Shape, FitError> {
        let read = |name: &str, default: &[usize]| {
            let list = params.list_usize_or(name, default)?;
            if list.contains(&0) {
                Err(params.out_of_range(name, "numbers from 1"))
            } else {
                Ok(list)
            }
        };
        let shape = Shape {
            lags: read("lags", &[1, 7, 14])?,
            windows: read("windows", &[7, 30])?,
        };
        if shape.lags.is_empty() && shape.windows.is_empty() {
            return Err(params.out_of_range("lags", "at least one lag or window"));
        }
        Ok(shape)
    }

    /// How many observations back a forecast looks.
    fn reach(&self) -> usize {
        self.lags
            .iter()
            .chain(&self.windows)
            .copied()
            .max()
            .unwrap_or(0)
    }

    fn features(&self, regressors: usize) -> Vec<Feature> {
        let lags = self.lags.iter().copied().map(Feature::Lag);
        let means = self.windows.iter().copied().map(Feature::Mean);
        lags.chain(means)
            .chain((0..regressors).map(Feature::Regressor))
            .collect()
    }

    /// Observations needed with this many columns: one residual degree of freedom is left.
    fn needed(&self, columns: usize) -> usize {
        self.reach().saturating_add(columns + 2)
    }
}

impl Feature {
    fn value(self, history: Series<'_>, day: usize) -> f64 {
        match self {
            Feature::Lag(lag) => history.values[day - lag],
            Feature::Mean(window) => mean(&history.values[day - window..day]),
            Feature::Regressor(index) => history.regressors[index][day],
        }
    }
}

impl Equation {
    /// Fits on the days that have every feature; gives the residual deviation as well.
    fn fit(history: Series<'_>, shape: &Shape) -> Result<(Equation, f64), FitError> {
        let features = shape.features(history.regressors.len());
        let days: Vec<usize> = usable_days(history, shape.reach()).collect();
        if days.len() < features.len() + 2 {
            return Err(too_few(history, shape, &features, days.len()));
        }
        let target: Vec<f64> = days.iter().map(|day| history.values[*day]).collect();
        let columns = features
            .iter()
            .map(|feature| {
                days.iter()
                    .map(|day| feature.value(history, *day))
                    .collect()
            })
            .collect();
        let Solution { level, kept } = least_squares(columns, &target)?;
        let terms: Vec<Term> = kept
            .into_iter()
            .map(
                |Kept {
                     index,
                     center,
                     coefficient,
                 }| Term {
                    feature: features[index],
                    center,
                    coefficient,
                },
            )
            .collect();
        let freedom = (days.len() - terms.len() - 1) as f64;
        let equation = Equation { level, terms };
        let residuals = root_sum_of_squares(days.iter().map(|day| equation.error(history, *day)));
        let deviation = finite("deviation", residuals / freedom.sqrt())?;
        Ok((equation, deviation))
    }

    fn error(&self, history: Series<'_>, day: usize) -> f64 {
        let terms = self.terms.iter();
        let moved: f64 = terms
            .map(|term| term.at(term.feature.value(history, day)))
            .sum();
        history.values[day] - (self.level + moved)
    }
}

impl Term {
    fn at(&self, value: f64) -> f64 {
        self.coefficient * (value - self.center)
    }

    /// What it adds after these values, which are given around an origin; nothing for a regressor.
    fn recalled(&self, values: &[f64], origin: f64) -> f64 {
        let value = match self.feature {
            Feature::Lag(lag) => values[values.len() - lag],
            Feature::Mean(window) => mean(&values[values.len() - window..]),
            Feature::Regressor(_) => return 0.0,
        };
        self.at(origin + value)
    }

    /// What it adds of the effects that an error had on the values before.
    fn passed_on(&self, effects: &[f64]) -> f64 {
        let effect = match self.feature {
            Feature::Lag(lag) => effects[effects.len() - lag],
            Feature::Mean(window) => {
                effects[effects.len() - window..].iter().sum::<f64>() / window as f64
            }
            Feature::Regressor(_) => return 0.0,
        };
        self.coefficient * effect
    }
}

fn usable_days(history: Series<'_>, reach: usize) -> impl Iterator<Item = usize> {
    (reach..history.len()).filter(move |day| {
        history
            .regressors
            .iter()
            .all(|regressor| !regressor[*day].is_nan())
    })
}

/// Says whether the history or one of its covariates leaves too few rows.
fn too_few(history: Series<'_>, shape: &Shape, features: &[Feature], rows: usize) -> FitError {
    let (reach, end) = (shape.reach(), history.len());
    let missing = |index: &usize| {
        (reach..end)
            .filter(|day| history.regressors[*index][*day].is_nan())
            .count()
    };
    let worst = (0..history.regressors.len()).max_by_key(missing);
    if let Some(index) = worst
        && end >= shape.needed(features.len())
        && let Some(day) = (reach..end).find(|day| history.regressors[index][*day].is_nan())
    {
        return FitError::MissingRegressor {
            index,
            date: history.dates[day],
        };
    }
    FitError::TooShort {
        needed: shape.needed(features.len()),
        found: rows + reach.min(end),
    }
}

impl Body {
    /// What each step gets from its covariates and the level, the same for every path.
    fn known(&self, ahead: Ahead<'_>) -> Result<Vec<f64>, StateError> {
        if ahead.regressors.len() > self.regressors {
            return Err(StateError::SurplusRegressors {
                needed: self.regressors,
                found: ahead.regressors.len(),
            });
        }
        let mut known = vec![self.equation.level; ahead.steps];
        for term in &self.equation.terms {
            let Feature::Regressor(index) = term.feature else {
                continue;
            };
            for (step, total) in known.iter_mut().enumerate() {
                let value = ahead
                    .regressors
                    .get(index)
                    .and_then(|regressor| regressor.get(step));
                match value {
                    Some(value) if value.is_finite() => *total += term.at(*value),
                    _ => {
                        return Err(StateError::MissingRegressor {
                            index,
                            step: step + 1,
                        });
                    }
                }
            }
        }
        Ok(known)
    }

    /// The value expected next, with the regressors of observation `index`; NaN if one that is used
    /// is not known.
    fn next(&self, regressors: &[Vec<f64>], index: usize) -> f64 {
        let origin = self.window.last();
        let values: Vec<f64> = self
            .window
            .values()
            .iter()
            .map(|value| value - origin)
            .collect();
        let terms = self.equation.terms.iter().map(|term| match term.feature {
            Feature::Regressor(regressor) => regressors
                .get(regressor)
                .map_or(f64::NAN, |values| term.at(values[index])),
            _ => term.recalled(&values, origin),
        });
        self.equation.level + terms.sum::<f64>()
    }
}

impl Family for LinearRegression {
    type Body = Body;
    const NAME: &'static str = "linear_regression";
    const FORMAT: u32 = 1;
    const SUMMARY: &'static str = "least squares on lagged values, rolling means and covariates";
    const PARAMETERS: &'static [Parameter] = &[
        Parameter {
            name: "lags",
            default: "[1,7,14]",
            help: "how many observations back each lagged value is, from 1",
        },
        Parameter {
            name: "windows",
            default: "[7,30]",
            help: "how many observations each rolling mean covers, from 1",
        },
        noise::ERRORS,
    ];

    fn minimum(params: &Params) -> Result<usize, FitError> {
        noise::Kind::read(params)?;
        let shape = Shape::read(params)?;
        Ok(shape.needed(shape.features(0).len()))
    }

    fn learn(
        history: Series<'_>,
        params: &Params,
        _start: Start<'_, Body>,
    ) -> Result<Learned<Body>, FitError> {
        let shape = Shape::read(params)?;
        let (equation, deviation) = Equation::fit(history, &shape)?;
        let mut predictions = vec![f64::NAN; history.len()];
        for day in usable_days(history, shape.reach()) {
            predictions[day] = history.values[day] - equation.error(history, day);
        }
        let errors: Vec<f64> = history
            .values
            .iter()
            .zip(&predictions)
            .map(|(value, mean)| value - mean)
            .collect();
        let body = Body {
            window: Window::of(history.values, shape.reach()),
            regressors: history.regressors.len(),
            equation,
            noise: Noise::fit(noise::Kind::read(params)?, &errors, deviation)?,
        };
        Ok(Learned {
            body,
            predictions,
            aicc: None,
        })
    }

    fn check(body: &Body) -> Result<(), StateError> {
        let reach = body.window.values().len();
        for term in &body.equation.terms {
            let sound = match term.feature {
                Feature::Lag(lag) => (1..=reach).contains(&lag),
                Feature::Mean(window) => (1..=reach).contains(&window),
                Feature::Regressor(index) => index < body.regressors,
            };
            if !sound {
                return Err(corrupt(format!(
                    "{:?} reaches beyond the state",
                    term.feature
                )));
            }
        }
        if reach == 0 {
            return Err(corrupt("the window is empty"));
        }
        body.window.check(reach)?;
        body.noise.check()
    }

    fn advance(
        body: &mut Body,
        recent: Series<'_>,
        predicted: &mut dyn FnMut(f64),
    ) -> Result<(), StateError> {
        for (index, value) in recent.values.iter().enumerate() {
            predicted(body.next(recent.regressors, index));
            body.window.push(*value);
        }
        Ok(())
    }

    fn expect(body: Body, ahead: Ahead<'_>) -> Result<Box<dyn Outlook>, StateError> {
        let known = body.known(ahead)?;
        let observed = body.window.values();
        let reach = observed.len();
        // Values are taken around the newest one, so that running sums stay small; an error of one
        // step runs through the same recursion from zero.
        let origin = body.window.last();
        let mut values: Vec<f64> = observed.iter().map(|value| value - origin).collect();
        let mut effects = vec![0.0; reach];
        let mut mean = Vec::with_capacity(ahead.steps);
        let mut weights = Vec::with_capacity(ahead.steps);
        for (step, known) in known.into_iter().enumerate() {
            let (mut value, mut effect) = (known, if step == 0 { 1.0 } else { 0.0 });
            for term in &body.equation.terms {
                value += term.recalled(&values[step..], origin);
                effect += term.passed_on(&effects[step..]);
            }
            values.push(value - origin);
            effects.push(effect);
            mean.push(value);
            weights.push(effect);
        }
        Ok(Box::new(Linear {
            mean,
            weights,
            noise: body.noise,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fitted, Forecaster};

    #[derive(Deserialize)]
    struct Golden {
        relative_tolerance: f64,
        values: Vec<f64>,
        regressors: Vec<Vec<Option<f64>>>,
        ahead: Vec<Vec<f64>>,
        features: Vec<String>,
        intercept: f64,
        coefficients: Vec<f64>,
        deviation: f64,
        loss: f64,
        validation_loss: f64,
        means: Vec<f64>,
    }

    fn describe(feature: Feature) -> String {
        match feature {
            Feature::Lag(lag) => format!("lag {lag}"),
            Feature::Mean(window) => format!("mean {window}"),
            Feature::Regressor(index) => format!("regressor {index}"),
        }
    }

    #[test]
    fn figures_agree_with_the_reference() {
        let golden: Golden =
            serde_json::from_str(include_str!("../golden/linear_regression.json")).unwrap();
        let dates: Vec<i32> = (0..golden.values.len() as i32).collect();
        let regressors: Vec<Vec<f64>> = golden
            .regressors
            .iter()
            .map(|column| {
                column
                    .iter()
                    .map(|value| value.unwrap_or(f64::NAN))
                    .collect()
            })
            .collect();
        let history = Series {
            dates: &dates,
            values: &golden.values,
            regressors: &regressors,
        };
        let params = Params::default();
        let fitted = LinearRegression.fit(history, &params, None).unwrap();
        let body = LinearRegression::learn(history, &params, Start::Cold)
            .unwrap()
            .body;
        let near = |found: f64, expected: f64| {
            assert!(
                (found / expected - 1.0).abs() < golden.relative_tolerance,
                "{found} {expected}"
            );
        };
        let terms = &body.equation.terms;
        let features: Vec<String> = terms.iter().map(|term| describe(term.feature)).collect();
        assert_eq!(features, golden.features);
        for (term, expected) in terms.iter().zip(&golden.coefficients) {
            near(term.coefficient, *expected);
        }
        near(
            body.equation.level + terms.iter().map(|term| term.at(0.0)).sum::<f64>(),
            golden.intercept,
        );
        near(body.noise.deviation(), golden.deviation);
        near(fitted.loss.unwrap(), golden.loss);
        let validation = LinearRegression.validation_loss(history, &params, &fitted.state);
        near(validation.unwrap(), golden.validation_loss);

        let ahead = Ahead {
            steps: golden.means.len(),
            dates: &[],
            regressors: &golden.ahead,
        };
        let outlook = LinearRegression::expect(body, ahead).unwrap();
        for (found, expected) in outlook.point().iter().zip(&golden.means) {
            near(*found, *expected);
        }
    }

    #[test]
    fn a_straight_line_goes_on_straight() {
        let dates: Vec<i32> = (0..60).collect();
        let values: Vec<f64> = (0..60).map(|day| 3.0 + 0.5 * f64::from(day)).collect();
        let history = Series {
            dates: &dates,
            values: &values,
            regressors: &[],
        };
        let params = Params::default();
        let body = LinearRegression::learn(history, &params, Start::Cold)
            .unwrap()
            .body;
        let ahead = Ahead {
            steps: 3,
            dates: &[],
            regressors: &[],
        };
        let outlook = LinearRegression::expect(body, ahead).unwrap();
        for (found, expected) in outlook.point().iter().zip([33.0, 33.5, 34.0]) {
            assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        }
    }

    fn alternating(regressors: &[Vec<f64>]) -> Result<Fitted, FitError> {
        let dates: Vec<i32> = (0..20).collect();
        let values: Vec<f64> = (0..20).map(|day| f64::from(day * day % 7)).collect();
        let history = Series {
            dates: &dates,
            values: &values,
            regressors,
        };
        let params = Params::parse(r#"{"lags":[1],"windows":[]}"#).unwrap();
        LinearRegression.fit(history, &params, None)
    }

    #[test]
    fn a_covariate_that_is_hardly_ever_known_is_named() {
        let known: Vec<f64> = (0..20).map(|day| f64::from(day * day % 5)).collect();
        let mut unknown = vec![f64::NAN; 20];
        unknown[1] = 2.0;
        let error = alternating(&[known, unknown]).unwrap_err();
        assert_eq!(error, FitError::MissingRegressor { index: 1, date: 2 });
    }

    #[test]
    fn a_step_without_its_covariate_is_named() {
        let known: Vec<f64> = (0..20).map(|day| f64::from(day * day % 5)).collect();
        let state = alternating(&[known]).unwrap().state;
        let simulate = |regressors: &[Vec<f64>]| {
            let ahead = Ahead {
                steps: 3,
                dates: &[],
                regressors,
            };
            LinearRegression
                .outlook(&state, ahead)
                .map(|outlook| outlook.point())
        };
        assert!(simulate(&[vec![1.0; 3]]).is_ok());
        let missing = |step| Err(StateError::MissingRegressor { index: 0, step });
        assert_eq!(simulate(&[]), missing(1));
        assert_eq!(simulate(&[vec![1.0, f64::NAN, 1.0]]), missing(2));
        assert_eq!(simulate(&[vec![1.0, 1.0]]), missing(3));
        let surplus = simulate(&[vec![1.0; 3], vec![1.0; 3]]).unwrap_err();
        assert_eq!(
            surplus,
            StateError::SurplusRegressors {
                needed: 1,
                found: 2
            }
        );
    }
}
