//! Transformations of a series that any family can be fitted under.
//!
//! A family sees transformed values only; its predictions, point forecasts and paths are turned
//! back. The transformation is fitted on the history, kept in the state, and brought up to newer
//! observations with it.
//!
//! | `transform` | what the family sees |
//! | --- | --- |
//! | `log` | the natural logarithm |
//! | `box_cox` | (y^lambda - 1) / lambda, the logarithm for lambda 0 (Box and Cox 1964) |
//! | `difference` | the change from the observation before |
//! | `robust` | the distance from the median in robust deviations, outliers moved in (below) |
//!
//! `log` and `box_cox` take positive values only: another one is an error, at the fit as later, and
//! never moved into the domain. A point forecast is turned back as it is, so that it is the median
//! of what it was the mean of. A path of `box_cox` that falls below what a value can become (-1 /
//! lambda) is at the lower end of the domain, zero. `lambda` lies between 0 and 2: a negative one
//! would bound the transformed values from above, and normal errors would take paths to infinity.
//! Left to `auto` it is chosen by Guerrero (1993), *Journal of Forecasting* 12: the lambda under
//! which the deviation of a season is most nearly proportional to the power 1 - lambda of its mean.
//! Without a season of its own a family's values are taken two by two.
//!
//! `difference` needs one observation more than the family. Regressors are not differenced: they
//! explain the change.
//!
//! `robust` centers on the history's median and divides by 1.4826 median absolute deviations (where
//! that is zero by 1.2533 mean absolute deviations). An observation farther than 5 robust
//! deviations from the median of itself and the 8 before it is moved to that distance, in the
//! history as in newer observations; the robust deviation is 1.4826 times the median distance of
//! the history from those running medians, and nothing is moved where that is zero. A spike of up
//! to four observations is so cut down, whereas a new level is believed from the fifth on. Forecasts
//! have no spikes. The wrong choice where spikes return with the season.

use serde::{Deserialize, Serialize};

use crate::{
    Parameter, Params,
    date::Day,
    errors::{FitError, StateError},
    logarithms,
    math::{exp, expm1, ln, log1p},
    series::{Observations, Series},
    state::corrupt,
};

mod guerrero;
mod outlook;
mod robust;

pub(crate) use outlook::Transformed;
use robust::Robust;

/// The parameters that every family takes beside its own.
pub(crate) const PARAMETERS: [Parameter; 2] = [
    Parameter {
        name: "transform",
        default: "\"none\"",
        help: "what the model is fitted to: none (the values), log, box_cox, difference, or robust",
    },
    Parameter {
        name: "lambda",
        default: "\"auto\"",
        help: "the power of transform = box_cox, 0 (the logarithm) to 2, or auto (Guerrero)",
    },
];

/// The highest power.
const MOST_LAMBDA: f64 = 2.0;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Wanted {
    /// The values as they are.
    None,
    Log,
    /// With this lambda, or the one that Guerrero's method finds.
    BoxCox(Option<f64>),
    Difference,
    Robust,
}

/// A fitted transformation, brought up to the newest observation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case", tag = "kind")]
pub(crate) enum Transform {
    /// The natural logarithm.
    Log,
    /// A power.
    BoxCox {
        /// The power.
        lambda: f64,
    },
    /// The change from the observation before.
    Difference {
        /// The newest observation.
        last: f64,
    },
    /// The distance from the median.
    Robust(Robust),
}

/// Why a value cannot be transformed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Refused {
    /// It lies outside the domain.
    Outside {
        date: Day,
        value: f64,
        needed: &'static str,
    },
    /// What it becomes is too large for a double.
    TooLarge,
}

impl Wanted {
    /// Reads `transform` and `lambda`.
    pub(crate) fn read(params: &Params) -> Result<Wanted, FitError> {
        let lambda = match params.values().get("lambda") {
            Some(given) if given.as_str() != Some("auto") => Some(
                params
                    .f64_or("lambda", 0.0)
                    .ok()
                    .filter(|lambda| (0.0..=MOST_LAMBDA).contains(lambda))
                    .ok_or_else(|| {
                        params.out_of_range("lambda", "auto, or a number from 0 to 2")
                    })?,
            ),
            _ => None,
        };
        let wanted = match params.str_or("transform", "none")? {
            "none" => Wanted::None,
            "log" => Wanted::Log,
            "box_cox" => return Ok(Wanted::BoxCox(lambda)),
            "difference" => Wanted::Difference,
            "robust" => Wanted::Robust,
            _ => {
                let known = "none, log, box_cox, difference or robust";
                return Err(params.out_of_range("transform", known));
            }
        };
        match lambda {
            None => Ok(wanted),
            Some(_) => Err(params.out_of_range("lambda", "transform = box_cox beside it")),
        }
    }

    /// Whether a missing value stays one, and changes no other.
    pub(crate) fn passes_gaps(self) -> bool {
        matches!(self, Wanted::None | Wanted::Log)
    }

    /// The least number of observations for a family that needs this many.
    pub(crate) fn minimum(self, family: usize) -> usize {
        match self {
            Wanted::Difference => family.saturating_add(1),
            Wanted::BoxCox(None) => family.max(guerrero::FEWEST),
            _ => family,
        }
    }

    /// The transformation as it stands before the observations of a history that it is fitted on,
    /// less those that only begin it. A lambda to be found stays that of `kept` if there is one.
    fn fit(
        self,
        history: Series<'_>,
        season_length: usize,
        kept: Option<&Transform>,
    ) -> Result<Option<(Transform, usize)>, Refused> {
        let transform = match self {
            Wanted::None => return Ok(None),
            Wanted::Log => Transform::Log,
            Wanted::BoxCox(Some(lambda)) => Transform::BoxCox { lambda },
            Wanted::BoxCox(None) => match kept {
                Some(Transform::BoxCox { lambda }) => Transform::BoxCox { lambda: *lambda },
                _ => {
                    positive(history)?;
                    let lambda = guerrero::lambda(history.values, season_length, MOST_LAMBDA);
                    Transform::BoxCox { lambda }
                }
            },
            Wanted::Difference => {
                let last = history.values[0];
                return Ok(Some((Transform::Difference { last }, 1)));
            }
            Wanted::Robust => Transform::Robust(Robust::fit(history.values)?),
        };
        Ok(Some((transform, 0)))
    }

    /// Fits the transformation on a history of enough observations, and applies it to them.
    /// `None` where the values stay as they are.
    pub(crate) fn apply(
        self,
        history: Series<'_>,
        season_length: usize,
        kept: Option<&Transform>,
    ) -> Result<Option<Applied>, FitError> {
        let Some((before, skipped)) = self.fit(history, season_length, kept)? else {
            return Ok(None);
        };
        let mut after = before.clone();
        let observations = after.take_in(history.part(skipped..history.len()))?;
        Ok(Some(Applied {
            before,
            after,
            skipped,
            observations,
        }))
    }
}

/// A transformed history.
pub(crate) struct Applied {
    /// The transformation before the first of the observations.
    before: Transform,
    /// The transformation after the last of them.
    pub(crate) after: Transform,
    /// How many observations at the beginning have no counterpart.
    skipped: usize,
    /// What the family sees.
    pub(crate) observations: Observations,
}

impl Applied {
    /// The predictions of all observations, NaN where there is none, from those of the transformed
    /// ones.
    pub(crate) fn restore(&self, predictions: &[f64], history: &[f64]) -> Vec<f64> {
        let mut restored = vec![f64::NAN; self.skipped];
        let mut passing = self.before.clone();
        for (predicted, value) in predictions.iter().zip(&history[self.skipped..]) {
            restored.push(passing.back(*predicted));
            passing.pass(*value);
        }
        restored
    }

    /// Twice the logarithm of the density of the transformed values over that of the values: what
    /// an information criterion of the former lacks to be one of the latter.
    pub(crate) fn criterion(&self, history: &[f64]) -> f64 {
        let known = || history.iter().filter(|value| !value.is_nan());
        let logarithms = || known().map(|value| ln(*value)).sum::<f64>();
        match &self.before {
            Transform::Log => 2.0 * logarithms(),
            Transform::BoxCox { lambda } => 2.0 * (1.0 - lambda) * logarithms(),
            Transform::Difference { .. } => 0.0,
            Transform::Robust(robust) => 2.0 * history.len() as f64 * ln(robust.scale()),
        }
    }
}

impl Transform {
    /// Whether it is the one that is asked for, its fitted numbers aside.
    pub(crate) fn is(&self, wanted: Wanted) -> bool {
        match self {
            Transform::Log => wanted == Wanted::Log,
            Transform::BoxCox { .. } => matches!(wanted, Wanted::BoxCox(_)),
            Transform::Difference { .. } => wanted == Wanted::Difference,
            Transform::Robust(_) => wanted == Wanted::Robust,
        }
    }

    /// Transforms observations and takes them in.
    pub(crate) fn take_in(
        &mut self,
        mut observations: Observations,
    ) -> Result<Observations, Refused> {
        if matches!(self, Transform::Log | Transform::BoxCox { .. }) {
            positive(observations.series())?;
        }
        for value in &mut observations.values {
            let observed = *value;
            *value = self.forward(observed);
            if !value.is_finite() && !observed.is_nan() {
                return Err(Refused::TooLarge);
            }
            self.pass(observed);
        }
        Ok(observations)
    }

    /// The next observation as the family sees it.
    fn forward(&self, value: f64) -> f64 {
        match self {
            Transform::Log => ln(value),
            Transform::BoxCox { lambda } => power(value, *lambda),
            Transform::Difference { last } => value - last,
            Transform::Robust(robust) => robust.forward(value),
        }
    }

    /// The next observation from what the family would see.
    #[inline(always)]
    pub(crate) fn back(&self, value: f64) -> f64 {
        let value = match self {
            Transform::Log => return logarithms::back(value),
            Transform::BoxCox { lambda } => inverse_power(value, *lambda),
            Transform::Difference { last } => last + value,
            Transform::Robust(robust) => robust.back(value),
        };
        value.clamp(-f64::MAX, f64::MAX)
    }

    /// Whether a missing value stays one, and changes no other.
    pub(crate) fn passes_gaps(&self) -> bool {
        matches!(self, Transform::Log)
    }

    /// Lets an observation pass.
    pub(crate) fn pass(&mut self, value: f64) {
        match self {
            Transform::Log | Transform::BoxCox { .. } => {}
            Transform::Difference { last } => *last = value,
            Transform::Robust(robust) => robust.pass(value),
        }
    }

    /// Checks what was decoded.
    pub(crate) fn check(&self) -> Result<(), StateError> {
        let sound = match self {
            Transform::Log => true,
            Transform::BoxCox { lambda } => (0.0..=MOST_LAMBDA).contains(lambda),
            Transform::Difference { last } => last.is_finite(),
            Transform::Robust(robust) => robust.is_sound(),
        };
        if sound {
            Ok(())
        } else {
            Err(corrupt("the transformation has a number out of range"))
        }
    }
}

/// Box and Cox's power. By way of e^x - 1, which keeps its digits for small powers.
fn power(value: f64, lambda: f64) -> f64 {
    if lambda == 0.0 {
        ln(value)
    } else {
        expm1(lambda * ln(value)) / lambda
    }
}

/// What has this power; zero where nothing has.
fn inverse_power(value: f64, lambda: f64) -> f64 {
    if lambda == 0.0 {
        exp(value)
    } else if lambda * value <= -1.0 {
        0.0
    } else {
        exp(log1p(lambda * value) / lambda)
    }
}

/// Refuses a series that is not positive throughout.
fn positive(series: Series<'_>) -> Result<(), Refused> {
    match series.values.iter().position(|value| *value <= 0.0) {
        None => Ok(()),
        Some(index) => Err(Refused::Outside {
            date: series.dates[index],
            value: series.values[index],
            needed: "positive values for the transform log or box_cox",
        }),
    }
}

impl From<Refused> for FitError {
    fn from(refused: Refused) -> FitError {
        match refused {
            Refused::Outside {
                date,
                value,
                needed,
            } => FitError::Domain {
                date,
                value,
                needed,
            },
            Refused::TooLarge => FitError::Overflow {
                quantity: "transformed value",
            },
        }
    }
}

impl From<Refused> for StateError {
    fn from(refused: Refused) -> StateError {
        match refused {
            Refused::Outside {
                date,
                value,
                needed,
            } => StateError::Domain {
                date,
                value,
                needed,
            },
            Refused::TooLarge => StateError::Observations(refused.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ahead, Digest, State, Streams, family};

    const ALL: [&str; 6] = [
        r#"{"transform":"log"}"#,
        r#"{"transform":"box_cox"}"#,
        r#"{"transform":"box_cox","lambda":0.3}"#,
        r#"{"transform":"box_cox","lambda":0}"#,
        r#"{"transform":"difference"}"#,
        r#"{"transform":"robust"}"#,
    ];

    fn params(text: &str) -> Params {
        Params::parse(text).unwrap()
    }

    fn dates(length: usize) -> Vec<Day> {
        (0..length as Day).collect()
    }

    /// Positive, growing, and no two steps alike.
    fn prices(length: usize) -> Vec<f64> {
        let mut rng = Streams::new(&Digest::new()).path(1);
        let mut level = 40.0;
        let values = (0..length).map(|_| {
            level *= exp(0.003 + 0.02 * rng.normal());
            level
        });
        values.collect()
    }

    fn series<'a>(dates: &'a [Day], values: &'a [f64]) -> Series<'a> {
        Series {
            dates,
            values,
            regressors: &[],
        }
    }

    fn fit(name: &str, values: &[f64], text: &str) -> Result<crate::Fitted, FitError> {
        let dates = dates(values.len());
        family(name)
            .unwrap()
            .fit(series(&dates, values), &params(text), None)
    }

    fn point(state: &State, steps: usize) -> Vec<f64> {
        let ahead = Ahead {
            steps,
            dates: &[],
            regressors: &[],
        };
        let family = family(state.model()).unwrap();
        family.outlook(state, ahead).unwrap().point()
    }

    #[test]
    fn every_transform_is_turned_back() {
        let values = prices(80);
        let dates = dates(80);
        for text in ALL {
            let wanted = Wanted::read(&params(text)).unwrap();
            let history = series(&dates, &values);
            let applied = wanted.apply(history, 1, None).unwrap().unwrap();
            let seen = &applied.observations.values;
            assert_eq!(seen.len(), 80 - applied.skipped);
            // Perfect predictions come back as the values.
            let restored = applied.restore(seen, &values);
            assert_eq!(restored.len(), 80);
            for (restored, value) in restored.iter().zip(&values).skip(applied.skipped) {
                assert!(
                    (restored / value - 1.0).abs() < 1e-12,
                    "{text} {restored} {value}"
                );
            }
            assert!(applied.after.check().is_ok() && applied.after.is(wanted));
            // In pieces as at once.
            let mut pieces = applied.before.clone();
            for index in applied.skipped..80 {
                let seen = pieces.take_in(history.part(index..index + 1)).unwrap();
                let place = index - applied.skipped;
                assert_eq!(seen.values[0], applied.observations.values[place]);
            }
            assert_eq!(pieces, applied.after);
        }
        assert!(
            Wanted::None
                .apply(series(&dates, &values), 1, None)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn powers_worked_by_hand() {
        assert!((power(9.0, 1.0) - 8.0).abs() < 1e-14);
        assert!((power(9.0, 0.5) - 4.0).abs() < 1e-14);
        assert_eq!(inverse_power(-3.0, 0.5), 0.0);
        assert_eq!(inverse_power(-2.0, 0.5), 0.0);
        assert!((inverse_power(4.0, 0.5) - 9.0).abs() < 1e-13);
        // Small powers are close to the logarithm, and keep their digits.
        assert!((power(7.0, 1e-12) / ln(7.0) - 1.0).abs() < 1e-11);
        for lambda in [0.0, 1e-12, 0.3, 1.0, 2.0] {
            for value in [1e-12, 0.5, 1.0, 3.7, 1e12] {
                let back = inverse_power(power(value, lambda), lambda);
                assert!(
                    (back - value).abs() < 1e-9 * value.max(1e-3),
                    "{lambda} {value} {back}"
                );
            }
        }
    }

    #[test]
    fn what_lies_beyond_the_domain_is_neither_missing_nor_infinite() {
        let root = Transform::BoxCox { lambda: 0.5 };
        assert_eq!(root.back(-1e6), 0.0);
        assert!((1.2e308..1.3e308).contains(&Transform::Log.back(1e6)));
        assert!((2.2e-308..2.3e-308).contains(&Transform::Log.back(-1e6)));
        assert_eq!(Transform::BoxCox { lambda: 0.01 }.back(1e300), f64::MAX);
        assert!(root.back(f64::NAN).is_nan());
        // A volatile series near zero under a root: many paths end at zero, none is missing.
        let values: Vec<f64> = (0..60)
            .map(|index| 0.1 + f64::from(index * index % 7))
            .collect();
        let text = r#"{"transform":"box_cox","lambda":0.5}"#;
        let fitted = fit("naive", &values, text).unwrap();
        let ahead = Ahead {
            steps: 30,
            dates: &[],
            regressors: &[],
        };
        let paths = family("naive")
            .unwrap()
            .simulate(&fitted.state, ahead, 500, &Streams::new(&Digest::new()))
            .unwrap();
        assert!(
            paths
                .values
                .iter()
                .all(|value| value.is_finite() && *value >= 0.0)
        );
        // What is zero is bent to half of half of the least value, 0.1.
        let bent = 0.025;
        assert!(
            paths
                .values
                .iter()
                .any(|value| (value - bent).abs() < 1e-12)
        );
    }

    #[test]
    fn the_point_under_log_is_the_exponential_of_the_point_on_logarithms() {
        let values = prices(120);
        let logarithms: Vec<f64> = values.iter().map(|value| ln(*value)).collect();
        // Models that take logarithms by themselves take none of what is transformed already.
        let takes_logarithms = |entry: &&crate::Entry| {
            let members = entry.family.members(&params(entry.params)).unwrap();
            let families = members.iter().map(|member| member.family);
            families
                .chain([entry.family])
                .any(|family| family.parameters().iter().any(|p| p.name == "logarithms"))
        };
        for entry in crate::catalog()
            .iter()
            .filter(|entry| !takes_logarithms(entry))
        {
            let name = entry.family.name();
            let under = |transform: &str| {
                let mut given = params(entry.params).values().clone();
                given.insert("transform".to_owned(), transform.into());
                serde_json::Value::Object(given).to_string()
            };
            let inside = fit(name, &values, &under("log")).unwrap();
            let outside = fit(name, &logarithms, &under("none")).unwrap();
            let points = point(&inside.state, 8)
                .into_iter()
                .zip(point(&outside.state, 8));
            for (found, logarithm) in points {
                assert!(
                    (found / exp(logarithm) - 1.0).abs() < 1e-12,
                    "{}",
                    entry.key
                );
            }
            for (found, logarithm) in inside.predictions.iter().zip(&outside.predictions) {
                assert_eq!(found.is_nan(), logarithm.is_nan());
                assert!(found.is_nan() || (found / exp(*logarithm) - 1.0).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn differences_are_summed_again() {
        let values = prices(60);
        let steps: Vec<f64> = values.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let inside = fit(
            "window_mean",
            &values,
            r#"{"transform":"difference","window":5}"#,
        )
        .unwrap();
        let outside = fit("window_mean", &steps, r#"{"window":5}"#).unwrap();
        let mut level = values[59];
        for (found, step) in point(&inside.state, 9).iter().zip(point(&outside.state, 9)) {
            level += step;
            assert!((found - level).abs() < 1e-12);
        }
        assert!(inside.predictions[5].is_nan());
        assert_eq!(inside.predictions[6], values[5] + outside.predictions[5]);
        assert!((inside.loss.unwrap() - outside.loss.unwrap()).abs() < 1e-12);
        // Paths: the sums of the steps' paths.
        let ahead = Ahead {
            steps: 9,
            dates: &[],
            regressors: &[],
        };
        let paths = |state: &State| {
            let family = family("window_mean").unwrap();
            family
                .simulate(state, ahead, 3, &Streams::new(&Digest::new()))
                .unwrap()
        };
        let (found, steps) = (paths(&inside.state), paths(&outside.state));
        for path in 0..3 {
            let mut level = values[59];
            for step in 0..9 {
                level += steps.step(step)[path];
                assert!((found.step(step)[path] - level).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn a_spike_moves_no_robust_forecast() {
        let mut values = prices(120);
        let calm = point(
            &fit("window_mean", &values, r#"{"window":9}"#)
                .unwrap()
                .state,
            1,
        )[0];
        values[117] = 1e6;
        let robust = r#"{"window":9,"transform":"robust"}"#;
        let moved = point(
            &fit("window_mean", &values, r#"{"window":9}"#)
                .unwrap()
                .state,
            1,
        )[0];
        let held = point(&fit("window_mean", &values, robust).unwrap().state, 1)[0];
        assert!(
            moved > 1e5 && (held / calm - 1.0).abs() < 0.05,
            "{moved} {held} {calm}"
        );
    }

    #[test]
    fn a_value_outside_the_domain_is_named_wherever_it_comes_from() {
        // WTI for delivery in May 2020 settled at -37.63 on 20 April.
        let mut values = prices(80);
        let fitted = |text: &str| fit("naive", &values, text).unwrap().state;
        for text in [r#"{"transform":"log"}"#, r#"{"transform":"box_cox"}"#] {
            let state = fitted(text);
            for value in [-37.63, 0.0] {
                let recent = series(&[100, 101], &[20.0, value]).part(0..2);
                let error = family("naive")
                    .unwrap()
                    .condition(&state, recent.series())
                    .unwrap_err();
                assert_eq!(error.class(), "domain", "{text}");
                assert!(
                    matches!(error, StateError::Domain { date: 101, value: found, .. } if found == value)
                );
            }
        }
        values[70] = -37.63;
        for text in ALL {
            match fit("naive", &values, text) {
                Err(FitError::Domain { date, value, .. }) => {
                    assert_eq!((date, value), (70, -37.63));
                    assert!(text.contains("log") || text.contains("box_cox"));
                }
                other => assert!(other.is_ok() && !text.contains("log"), "{text}"),
            }
        }
    }

    #[test]
    fn an_earlier_state_under_another_transform_is_no_guess() {
        let values = prices(90);
        let (dates, text) = (dates(90), r#"{"transform":"log"}"#);
        let plain = fit("theta", &values[..80], "{}").unwrap().state;
        let under = fit("theta", &values[..80], text).unwrap().state;
        let theta = family("theta").unwrap();
        let refit = |text: &str, previous: Option<&State>| {
            let history = series(&dates, &values);
            theta.fit(history, &params(text), previous).unwrap().state
        };
        assert_eq!(refit(text, Some(&plain)), refit(text, None));
        assert_ne!(refit(text, Some(&under)), refit(text, None));
        assert_eq!(refit("{}", Some(&under)), refit("{}", None));
    }

    #[test]
    fn a_criterion_is_one_of_the_values() {
        // The same model in another unit: the density of values in cents is a hundredth.
        let values = prices(90);
        let cents: Vec<f64> = values.iter().map(|value| 100.0 * value).collect();
        for text in ALL {
            let text = text.replace(r#""box_cox"}"#, r#""box_cox","lambda":0.7}"#);
            let aicc = |values: &[f64]| fit("theta", values, &text).unwrap().aicc.unwrap();
            let moved = aicc(&cents) - aicc(&values);
            let observations = if text.contains("difference") {
                89.0
            } else {
                90.0
            };
            let expected = 2.0 * observations * ln(100.0);
            assert!((moved - expected).abs() < 1e-6, "{text} {moved} {expected}");
        }
    }

    #[test]
    fn minimum_counts_grow_where_the_transform_needs_them() {
        let minimum = |text: &str| {
            let naive = family("naive").unwrap();
            naive.minimum_observations(&params(text)).unwrap()
        };
        let plain = minimum("{}");
        assert_eq!(minimum(r#"{"transform":"log"}"#), plain);
        assert_eq!(minimum(r#"{"transform":"difference"}"#), plain + 1);
        assert_eq!(minimum(r#"{"transform":"box_cox","lambda":1}"#), plain);
        assert_eq!(minimum(r#"{"transform":"box_cox"}"#), 4);
    }

    #[test]
    fn requests_that_say_nothing_sensible_are_refused() {
        for text in [
            r#"{"transform":"sqrt"}"#,
            r#"{"transform":1}"#,
            r#"{"transform":"box_cox","lambda":-0.5}"#,
            r#"{"transform":"box_cox","lambda":2.5}"#,
            r#"{"transform":"box_cox","lambda":"guerrero"}"#,
            r#"{"transform":"log","lambda":0.5}"#,
            r#"{"lambda":0.5}"#,
        ] {
            let error = family("naive")
                .unwrap()
                .validate(&params(text))
                .unwrap_err();
            assert_eq!(error.class(), "parameter", "{text}");
        }
        let auto = params(r#"{"transform":"log","lambda":"auto"}"#);
        assert_eq!(Wanted::read(&auto), Ok(Wanted::Log));
    }

    #[test]
    fn a_state_tells_its_transform_only_if_there_is_one() {
        let values = prices(60);
        let text = |given: &str| fit("naive", &values, given).unwrap().state;
        assert!(!text("{}").as_str().contains("transform"));
        assert!(
            text(ALL[0])
                .as_str()
                .contains(r#""transform":{"kind":"log"}"#)
        );
        assert!(
            text(ALL[2])
                .as_str()
                .contains(r#"{"kind":"box_cox","lambda":0.3}"#)
        );
    }
}
