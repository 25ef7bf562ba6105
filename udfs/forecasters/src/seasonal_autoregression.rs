//! Autoregression on the newest values and on those around one season ago, for every season.
//!
//! Each value, or its logarithm, is a linear function of the three values before it and of the five
//! around each season ago, plus an independent error:
//!
//! y(t) - c = sum of w(l) (y(t - l) - c) + e(t), l in {1, 2, 3} and {m - 2, ..., m + 2} for each m.
//!
//! That is the unrestricted form of a multiplicative seasonal autoregression (Box, Jenkins, Reinsel
//! and Ljung, *Time Series Analysis*, 5th edition, section 9.1: the product of a short and a
//! seasonal polynomial has weights around the multiples of the season), with room for several
//! seasons at once, such as the day and the week of hourly observations. The weights are those of
//! least squares, so that fitting takes no search. The wrong choice for short series, for which
//! most of the weights have to be left out, and where values depend on errors rather than values
//! before them.
//!
//! Seasons and lags are left out, longest first, until there are four equations for each weight;
//! a series too short for a single weight is a random walk. Weights under which the forecast would
//! grow by more than 0.3 % a step in the long run are made smaller, w(l) r^l for the largest r that
//! keeps it in bounds: every root of the autoregression shrinks by r.
//!
//! The same can be done with the differences from one season to the next, y(t) - y(t - m) in place
//! of y(t) - c, which forgets any fixed level (the seasonal difference of section 9.1).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Parameter, Params,
    errors::{FitError, StateError},
    family::{Family, Learned, Start},
    fitted::finite,
    logarithms::{self, LOGARITHMS, Logarithms},
    math::{exp, ln},
    moments::{mean, root_mean_square},
    noise::{self, Noise},
    outlook::{Linear, Outlook},
    seasons::{self, SEASON_LENGTH, SEASON_LENGTHS},
    series::{Ahead, Series},
    sizes::{largest, power_of_two},
    state::corrupt,
    window::Window,
};

/// The seasonal autoregression.
pub struct SeasonalAutoregression;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body {
    /// Whether the model is one of logarithms.
    logarithms: bool,
    /// What weighted values are measured from; zero where differences are.
    center: f64,
    /// Over how many steps differences are taken; 0 where values are modelled.
    difference: usize,
    /// How many steps back each weighted value or difference is, increasing.
    lags: Vec<usize>,
    weights: Vec<f64>,
    /// The newest values, as many as the longest lag and the difference reach back.
    window: Window,
    noise: Noise,
}

/// How many of the newest values have a weight.
const SHORT_LAGS: usize = 3;
/// How far around a season ago values have weights.
const AROUND: usize = 2;
/// The least number of equations for each unknown.
const EQUATIONS: usize = 4;
/// The longest lag: states hold as many values.
const LONGEST_LAG: usize = 20_000;

impl Family for SeasonalAutoregression {
    type Body = Body;
    const NAME: &'static str = "seasonal_autoregression";
    const FORMAT: u32 = 1;
    const SUMMARY: &'static str = "autoregression on the newest values and those a season ago";
    const PARAMETERS: &'static [Parameter] = &[
        SEASON_LENGTHS,
        SEASON_LENGTH,
        Parameter {
            name: "difference",
            default: "\"none\"",
            help: "none, or differences over the shortest or longest season: shortest, longest",
        },
        LOGARITHMS,
        noise::ERRORS,
    ];

    fn minimum(params: &Params) -> Result<usize, FitError> {
        seasons::lengths(params)?;
        Difference::read(params)?;
        Logarithms::read(params)?;
        noise::Kind::read(params)?;
        Ok(2)
    }

    fn learn(
        history: Series<'_>,
        params: &Params,
        start: Start<'_, Body>,
    ) -> Result<Learned<Body>, FitError> {
        let length = history.len();
        let kept = match start {
            Start::Keep(body) if body.solvable(length) => Some(body),
            _ => None,
        };
        let wanted = match kept {
            Some(body) => Logarithms::kept(body.logarithms),
            None => Logarithms::read(params)?,
        };
        let logarithms = wanted.takes(history.dates, history.values)?;
        let mut values = history.values.to_vec();
        if logarithms {
            values.iter_mut().for_each(|value| *value = ln(*value));
        }
        let (difference, lags) = match kept {
            Some(body) => (body.difference, body.lags.clone()),
            None => Difference::read(params)?.form(length, &seasons::lengths(params)?),
        };
        let center = if difference == 0 {
            finite("center", mean(&values))?
        } else {
            0.0
        };
        let modelled: Vec<f64> = if difference == 0 {
            values.iter().map(|value| value - center).collect()
        } else {
            let before = values[difference..].iter().zip(&values);
            before.map(|(value, before)| value - before).collect()
        };
        let scale = power_of_two(largest(&modelled));
        let scaled: Vec<f64> = modelled.iter().map(|value| value / scale).collect();
        let weights = if solvable(scaled.len(), &lags) {
            bounded(&lags, least_squares(&scaled, &lags))
        } else {
            vec![1.0]
        };
        let reach = lags[lags.len() - 1] + difference;
        let mut body = Body {
            logarithms,
            center,
            difference,
            window: Window::of(&values[..reach], reach),
            noise: Noise::gaussian(0.0),
            lags,
            weights,
        };
        let mut expected = vec![f64::NAN; reach];
        for value in &values[reach..] {
            expected.push(body.next());
            body.window.push(*value);
        }
        let errors: Vec<f64> = values
            .iter()
            .zip(&expected)
            .skip(reach)
            .map(|(value, expected)| value - expected)
            .collect();
        let equations = errors.len() as f64;
        let spare = (equations - body.weights.len() as f64).max(1.0);
        let deviation = root_mean_square(errors.iter().copied()).unwrap_or(f64::NAN);
        let deviation = finite("deviation", deviation)? * (equations / spare).sqrt();
        body.noise = Noise::fit(noise::Kind::read(params)?, &errors, deviation)?;
        if logarithms {
            let known = expected.iter_mut().filter(|expected| !expected.is_nan());
            known.for_each(|expected| *expected = logarithms::back(*expected));
        }
        Ok(Learned {
            body,
            predictions: expected,
            aicc: None,
        })
    }

    fn check(body: &Body) -> Result<(), StateError> {
        let increasing = body.lags.windows(2).all(|pair| pair[0] < pair[1]);
        let longest = body.lags.last().copied().unwrap_or(0);
        let weights = body.weights.iter().chain([&body.center]);
        if body.lags.len() != body.weights.len()
            || !increasing
            || !(1..=LONGEST_LAG).contains(&longest)
            || body.difference > LONGEST_LAG
            || body.lags[0] == 0
            || weights.into_iter().any(|weight| !weight.is_finite())
        {
            return Err(corrupt("lags and weights do not fit together"));
        }
        body.window.check(longest + body.difference)?;
        body.noise.check()
    }

    fn advance(
        body: &mut Body,
        recent: Series<'_>,
        predicted: &mut dyn FnMut(f64),
    ) -> Result<(), StateError> {
        for (date, value) in recent.dates.iter().zip(recent.values) {
            let expected = body.next();
            if body.logarithms {
                predicted(logarithms::back(expected));
                body.window.push(logarithms::of_observation(*date, *value)?);
            } else {
                predicted(expected);
                body.window.push(*value);
            }
        }
        Ok(())
    }

    fn expect(body: Body, ahead: Ahead<'_>) -> Result<Box<dyn Outlook>, StateError> {
        let (lags, weights) = body.expanded();
        let mut centered: Vec<f64> = body
            .window
            .values()
            .iter()
            .map(|value| value - body.center)
            .collect();
        extend(&mut centered, &lags, &weights, ahead.steps);
        let mean = centered.split_off(body.window.values().len());
        let linear = Linear {
            mean: mean.into_iter().map(|value| body.center + value).collect(),
            weights: response(&lags, &weights, ahead.steps),
            noise: body.noise,
        };
        Ok(if body.logarithms {
            logarithms::exponential(linear)
        } else {
            Box::new(linear)
        })
    }
}

impl Body {
    /// The prediction of the next value.
    fn next(&self) -> f64 {
        let values = self.window.values();
        let back = |steps: usize| values[values.len() - steps];
        let (origin, difference) = (self.center, self.difference);
        let terms = self.lags.iter().zip(&self.weights);
        if difference == 0 {
            return origin
                + terms
                    .map(|(lag, weight)| weight * (back(*lag) - origin))
                    .sum::<f64>();
        }
        let changes = terms.map(|(lag, weight)| weight * (back(*lag) - back(lag + difference)));
        back(difference) + changes.sum::<f64>()
    }

    /// The lags, increasing, and weights of the same model in terms of values alone.
    fn expanded(&self) -> (Vec<usize>, Vec<f64>) {
        if self.difference == 0 {
            return (self.lags.clone(), self.weights.clone());
        }
        let mut all = BTreeMap::from([(self.difference, 1.0)]);
        for (lag, weight) in self.lags.iter().zip(&self.weights) {
            *all.entry(*lag).or_insert(0.0) += weight;
            *all.entry(lag + self.difference).or_insert(0.0) -= weight;
        }
        all.into_iter().unzip()
    }

    /// Whether a history of this length has enough equations for its form.
    fn solvable(&self, length: usize) -> bool {
        length > self.difference && solvable(length - self.difference, &self.lags)
    }
}

/// Which differences are modelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Difference {
    None,
    Shortest,
    Longest,
}

impl Difference {
    fn read(params: &Params) -> Result<Difference, FitError> {
        match params.str_or("difference", "none")? {
            "none" => Ok(Difference::None),
            "shortest" => Ok(Difference::Shortest),
            "longest" => Ok(Difference::Longest),
            _ => Err(params.out_of_range("difference", "none, shortest or longest")),
        }
    }

    /// The number of steps of the difference and the lags, for a history of this length. Where it
    /// is too short for weights after a difference, none is taken.
    fn form(self, length: usize, season_lengths: &[usize]) -> (usize, Vec<usize>) {
        let fits = |season: &&usize| {
            **season <= LONGEST_LAG && solvable(length.saturating_sub(**season), &[1])
        };
        let difference = match self {
            Difference::None => None,
            Difference::Shortest => season_lengths.iter().find(fits),
            Difference::Longest => season_lengths.iter().rfind(fits),
        };
        let difference = difference.copied().unwrap_or(0);
        (difference, lags(length - difference, season_lengths))
    }
}

/// Whether there are enough equations for weights at these lags.
fn solvable(length: usize, lags: &[usize]) -> bool {
    let longest = lags.last().copied().unwrap_or(0);
    length >= longest.saturating_add(EQUATIONS * (lags.len() + 1))
}

/// The lags for which a history of this length has enough equations; lag 1 at least.
fn lags(length: usize, season_lengths: &[usize]) -> Vec<usize> {
    let around =
        |season: &usize| season.saturating_sub(AROUND).max(1)..=season.saturating_add(AROUND);
    for seasons in (0..=season_lengths.len()).rev() {
        for short in (1..=SHORT_LAGS).rev() {
            if seasons > 0 && short < SHORT_LAGS {
                break;
            }
            if season_lengths[..seasons]
                .iter()
                .any(|season| *season > LONGEST_LAG - AROUND)
            {
                continue;
            }
            let mut lags: Vec<usize> = (1..=short)
                .chain(season_lengths[..seasons].iter().flat_map(around))
                .collect();
            lags.sort_unstable();
            lags.dedup();
            if solvable(length, &lags) {
                return lags;
            }
        }
    }
    vec![1]
}

/// The weights of least squares, by Cholesky's decomposition of the normal equations. So little is
/// added to their diagonal that only directions without any information feel it.
fn least_squares(values: &[f64], lags: &[usize]) -> Vec<f64> {
    const RIDGE: f64 = 1e-11;
    let size = lags.len();
    let longest = lags[size - 1];
    let count = values.len() - longest;
    let column = |lag: usize| &values[longest - lag..longest - lag + count];
    let product = |left: &[f64], right: &[f64]| -> f64 {
        left.iter()
            .zip(right)
            .map(|(left, right)| left * right)
            .sum()
    };
    let mut matrix = vec![0.0; size * size];
    for row in 0..size {
        for other in 0..=row {
            matrix[row * size + other] = product(column(lags[row]), column(lags[other]));
        }
    }
    let largest = (0..size)
        .map(|row| matrix[row * size + row])
        .fold(0.0, f64::max);
    if largest == 0.0 {
        return vec![0.0; size];
    }
    let mut solution: Vec<f64> = lags
        .iter()
        .map(|lag| product(column(*lag), &values[longest..]))
        .collect();
    for row in 0..size {
        matrix[row * size + row] += RIDGE * largest * size as f64;
        for other in 0..=row {
            let (rows, others) = (row * size, other * size);
            let done = product(&matrix[rows..rows + other], &matrix[others..others + other]);
            let rest = matrix[rows + other] - done;
            matrix[rows + other] = if row == other {
                rest.max(RIDGE * largest).sqrt()
            } else {
                rest / matrix[others + other]
            };
        }
        let done = product(&matrix[row * size..row * size + row], &solution[..row]);
        solution[row] = (solution[row] - done) / matrix[row * size + row];
    }
    for row in (0..size).rev() {
        let above = row + 1..size;
        let done: f64 = above
            .map(|below| matrix[below * size + row] * solution[below])
            .sum();
        solution[row] = (solution[row] - done) / matrix[row * size + row];
    }
    solution
}

/// Weights under which nothing grows without bound.
fn bounded(lags: &[usize], mut weights: Vec<f64>) -> Vec<f64> {
    // Estimates of roots at one are off by as much; tighter bounds take the season out of seasonal
    // series and made their forecasts worse.
    const SLACK: f64 = 3e-3;
    for _ in 0..20 {
        let rate = growth(lags, &weights);
        if rate <= 1.0 + SLACK {
            break;
        }
        let shrink = -ln(rate);
        for (weight, lag) in weights.iter_mut().zip(lags) {
            *weight *= exp(shrink * *lag as f64);
        }
    }
    weights
}

/// By how much an error's effect grows each step in the long run, at most; infinite effects count
/// as doubling.
fn growth(lags: &[usize], weights: &[f64]) -> f64 {
    let longest = lags[lags.len() - 1];
    let span = 4 * longest.max(25);
    let effects = response(lags, weights, 2 * span);
    let size = |effects: &[f64]| {
        effects
            .iter()
            .fold(0.0, |most: f64, effect| most.max(effect.abs()))
    };
    let (early, late) = (
        size(&effects[span - longest..span]),
        size(&effects[2 * span - longest..]),
    );
    if !late.is_finite() {
        return 2.0;
    }
    if late <= early {
        return 1.0;
    }
    exp(ln(late / early) / span as f64)
}

/// The effect of an error on its own step and those after it.
fn response(lags: &[usize], weights: &[f64], steps: usize) -> Vec<f64> {
    let longest = lags[lags.len() - 1];
    let mut effects = vec![0.0; longest];
    if steps == 0 {
        return vec![];
    }
    effects[longest - 1] = 1.0;
    extend(&mut effects, lags, weights, steps - 1);
    effects.split_off(longest - 1)
}

/// Appends what the weighted values give, step by step.
fn extend(values: &mut Vec<f64>, lags: &[usize], weights: &[f64], steps: usize) {
    for _ in 0..steps {
        let terms = lags
            .iter()
            .zip(weights)
            .map(|(lag, weight)| weight * values[values.len() - lag]);
        values.push(terms.sum());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, Forecaster, Rng, Streams, paths::check_moments};

    fn params(text: &str) -> Params {
        Params::parse(text).unwrap()
    }

    fn ahead(steps: usize) -> Ahead<'static> {
        Ahead {
            steps,
            dates: &[],
            regressors: &[],
        }
    }

    /// Values that follow an autoregression around 50, errors of deviation 0.5.
    fn follow(lags: &[usize], weights: &[f64], length: usize) -> (Vec<i32>, Vec<f64>) {
        let mut rng: Rng = Streams::new(&Digest::new()).path(3);
        let longest = lags[lags.len() - 1];
        let mut values: Vec<f64> = (0..longest).map(|_| rng.normal()).collect();
        for _ in 0..length {
            extend(&mut values, lags, weights, 1);
            *values.last_mut().unwrap() += 0.5 * rng.normal();
        }
        let values = values.split_off(longest);
        (
            (0..length as i32).collect(),
            values.iter().map(|value| 50.0 + value).collect(),
        )
    }

    #[test]
    fn the_weights_that_made_the_values_are_found() {
        let (dates, values) = follow(&[1, 2, 12], &[0.6, -0.3, 0.5], 4_000);
        let history = Series {
            dates: &dates,
            values: &values,
            regressors: &[],
        };
        let given = params(r#"{"season_length":12,"logarithms":"no"}"#);
        let learned = SeasonalAutoregression::learn(history, &given, Start::Cold).unwrap();
        let body = learned.body;
        assert_eq!(body.lags, [1, 2, 3, 10, 11, 12, 13, 14]);
        let expected = [0.6, -0.3, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0];
        for (found, expected) in body.weights.iter().zip(expected) {
            // The standard error of a weight is below 0.02.
            assert!((found - expected).abs() < 0.06, "{:?}", body.weights);
        }
        assert!((body.noise.deviation() / 0.5 - 1.0).abs() < 0.05);
    }

    fn body(difference: usize) -> Body {
        Body {
            logarithms: false,
            center: if difference == 0 { 10.0 } else { 0.0 },
            difference,
            lags: vec![1, 2],
            weights: vec![0.5, 0.25],
            window: Window::of(&[7.0, 8.0, 12.0, 14.0], 2 + difference),
            noise: Noise::gaussian(1.0),
        }
    }

    #[test]
    fn forecasts_worked_by_hand() {
        // Around 10: 0.5 x 4 + 0.25 x 2 = 2.5; 0.5 x 2.5 + 0.25 x 4 = 2.25.
        let outlook = SeasonalAutoregression::expect(body(0), ahead(2)).unwrap();
        assert_eq!(outlook.point(), [12.5, 12.25]);
        let deviation = (1.0f64 + 0.25).sqrt();
        let streams = Streams::new(&Digest::new());
        let paths = outlook.simulate(2, 40_000, &streams);
        check_moments(&paths, &[12.5, 12.25], &[1.0, deviation]);
        // Differences over two steps are 12 - 7 and 14 - 8: 12 + 0.5 x 6 + 0.25 x 5 = 16.25; then
        // 14 + 0.5 x 4.25 + 0.25 x 6 = 17.625.
        let outlook = SeasonalAutoregression::expect(body(2), ahead(2)).unwrap();
        assert_eq!(outlook.point(), [16.25, 17.625]);
    }

    #[test]
    fn conditioning_predicts_what_the_outlook_expects() {
        for difference in [0, 2] {
            let mut body = body(difference);
            let expected = SeasonalAutoregression::expect(body.clone(), ahead(9))
                .unwrap()
                .point();
            let recent = Series {
                dates: &[1, 2, 3, 4, 5, 6, 7, 8, 9],
                values: &expected,
                regressors: &[],
            };
            let mut at = 0;
            SeasonalAutoregression::advance(&mut body, recent, &mut |prediction| {
                assert!((prediction - expected[at]).abs() < 1e-12);
                at += 1;
            })
            .unwrap();
        }
    }

    #[test]
    fn conditioning_equals_fitting_on_everything_with_the_same_weights() {
        let (dates, values) = follow(&[1, 12], &[0.4, 0.5], 300);
        let given = params(r#"{"season_length":12,"difference":"shortest"}"#);
        let part = |from: usize, to: usize| Series {
            dates: &dates[from..to],
            values: &values[from..to],
            regressors: &[],
        };
        let mut whole = SeasonalAutoregression::learn(part(0, 300), &given, Start::Cold).unwrap();
        let mut filtered = whole.body.clone();
        filtered.window = Window::of(
            &values[..26]
                .iter()
                .map(|value| ln(*value))
                .collect::<Vec<_>>(),
            26,
        );
        let mut predictions = vec![f64::NAN; 26];
        SeasonalAutoregression::advance(&mut filtered, part(26, 300), &mut |prediction| {
            predictions.push(prediction)
        })
        .unwrap();
        assert_eq!(filtered, whole.body);
        whole.predictions.drain(..26);
        for (found, expected) in predictions[26..].iter().zip(&whole.predictions) {
            assert!((found / expected - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn lags_are_left_out_until_there_are_enough_equations() {
        let all = [1, 2, 3, 22, 23, 24, 25, 26, 166, 167, 168, 169, 170];
        assert_eq!(lags(226, &[24, 168]), all);
        assert_eq!(lags(225, &[24, 168]), all[..8]);
        assert_eq!(lags(62, &[24, 168]), all[..8]);
        assert_eq!(lags(61, &[24, 168]), [1, 2, 3]);
        assert_eq!(lags(18, &[24]), [1, 2]);
        assert_eq!(lags(2, &[24]), [1]);
        assert_eq!(lags(300, &[2]), [1, 2, 3, 4]);
        assert_eq!(lags(1_000_000, &[500_000]), [1, 2, 3]);
    }

    #[test]
    fn weights_that_would_explode_are_made_smaller() {
        for (lags, weights) in [
            (vec![1], vec![1.2]),
            (vec![1, 2], vec![0.0, -1.3]),
            (vec![1, 12], vec![0.8, 0.7]),
            (vec![1, 12], vec![0.2, 40.0]),
        ] {
            let rate = growth(&lags, &bounded(&lags, weights));
            assert!((0.99..1.0032).contains(&rate), "{lags:?} {rate}");
        }
        assert_eq!(bounded(&[1, 12], vec![0.5, 0.5]), [0.5, 0.5]);
    }

    #[test]
    fn a_refit_keeps_the_form() {
        let (dates, values) = follow(&[1, 12], &[0.4, 0.5], 300);
        let part = |length: usize| Series {
            dates: &dates[..length],
            values: &values[..length],
            regressors: &[],
        };
        let form = params(r#"{"season_length":12,"logarithms":"no","difference":"longest"}"#);
        let fitted = SeasonalAutoregression.fit(part(300), &form, None).unwrap();
        let again = SeasonalAutoregression
            .refit(part(200), &params("{}"), &fitted.state)
            .unwrap();
        let anew = SeasonalAutoregression.fit(part(200), &form, None).unwrap();
        assert_eq!(again.state, anew.state);
    }

    #[derive(Deserialize)]
    struct Golden {
        relative_tolerance: f64,
        values: Vec<f64>,
        season_lengths: Vec<usize>,
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        difference: String,
        logarithms: String,
        weights: Vec<f64>,
        deviation: f64,
        middle: Vec<f64>,
        deviations: Vec<f64>,
    }

    #[test]
    fn figures_agree_with_the_reference() {
        let text = include_str!("../golden/seasonal_autoregression.json");
        let golden: Golden = serde_json::from_str(text).unwrap();
        let dates: Vec<i32> = (0..golden.values.len() as i32).collect();
        let history = Series {
            dates: &dates,
            values: &golden.values,
            regressors: &[],
        };
        let near = |found: f64, expected: f64| {
            let distance = (found - expected).abs();
            let scale = expected.abs().max(0.01);
            assert!(
                distance < golden.relative_tolerance * scale,
                "{found} {expected}"
            );
        };
        for case in golden.cases {
            let given = params(&format!(
                r#"{{"season_lengths":{:?},"difference":"{}","logarithms":"{}"}}"#,
                golden.season_lengths, case.difference, case.logarithms
            ));
            let learned = SeasonalAutoregression::learn(history, &given, Start::Cold).unwrap();
            let body = learned.body;
            for (found, expected) in body.weights.iter().zip(&case.weights) {
                near(*found, *expected);
            }
            near(body.noise.deviation(), case.deviation);
            let (lags, weights) = body.expanded();
            let mut squares = 0.0;
            let effects = response(&lags, &weights, case.deviations.len());
            for (effect, expected) in effects.iter().zip(&case.deviations) {
                squares += effect * effect;
                near(body.noise.deviation() * squares.sqrt(), *expected);
            }
            let steps = case.middle.len();
            let outlook = SeasonalAutoregression::expect(body, ahead(steps)).unwrap();
            for (found, expected) in outlook.point().iter().zip(&case.middle) {
                near(*found, *expected);
            }
        }
    }
}
