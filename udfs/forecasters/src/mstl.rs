//! Several seasons taken out by local regression, the rest forecast by another model.
//!
//! The series, or its logarithm, is decomposed into seasons, a trend and a remainder (`stl.rs`;
//! Bandara, Hyndman and Bergmeir 2021, *MSTL: A Seasonal-Trend Decomposition Algorithm for Time
//! Series with Multiple Seasonal Patterns*, arXiv 2107.13462). Trend and remainder together are the
//! history of a non-seasonal model; its forecast plus the newest cycle of every season is the
//! forecast (Hyndman and Athanasopoulos, *Forecasting: Principles and Practice*, 3rd edition,
//! section 13.1).
//!
//! Made for long seasons and for several at once, such as the day and the week of hourly
//! observations. Assumes patterns that change slowly. The wrong choice for short series and for a
//! season that moves, such as a holiday. A season that does not fit twice into the history is left
//! out; without any, this is the model of the rest alone.
//!
//! The decomposition looks at both sides of every observation, so the predictions within the
//! history, and the loss, flatter the model. The seasons take a share of every error with them, the
//! mean leverage L of their smoothers; the paths of the rest, drawn with errors that are too small,
//! are therefore stretched by 1 / sqrt(1 - L), by no more than 2.
//!
//! A season with fewer cycles than its window holds is smoothed by weighted means instead of lines,
//! which would run away with the last cycle.
//!
//! New observations go to the model of the rest without the seasons. A fifth of the error of its
//! prediction then moves the value of each season at this phase, as in seasonal exponential
//! smoothing.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Parameter, Params,
    errors::{FitError, StateError},
    family::{Family, Learned, Start},
    fitted::finite,
    loess::{Degree, Loess},
    logarithms::{self, LOGARITHMS, Logarithms},
    math::ln,
    members::{Earlier, Held, Legacy, Member},
    noise,
    outlook::Outlook,
    paths::Paths,
    rng::Rng,
    seasons::{self, MOST_SEASONS, SEASON_LENGTH, SEASON_LENGTHS},
    series::{Ahead, Series},
    state::corrupt,
    stl::{Settings, decompose_all},
    window::Window,
};

/// Seasonal decomposition and a model of the rest.
pub struct Mstl;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body {
    /// Whether the model is one of logarithms.
    logarithms: bool,
    /// The newest cycle of each season, the phase of the next observation first.
    seasons: Vec<Window>,
    /// What the paths of the rest are stretched by, away from their middle.
    stretch: f64,
    member: Held,
}

/// How many cycles of an only season are smoothed together. Of several, which have to be told
/// apart, it is 11, 15, 19 and so on, as in the paper.
const ONLY_WINDOW: usize = 19;
/// The most passes of robustness weights.
const MOST_OUTER_LOOPS: usize = 50;
/// Curves are evaluated so many times per window, as the authors of STL recommend.
const JUMPS: usize = 10;
/// How often every season is estimated anew.
const ROUNDS: usize = 2;
/// The share of a prediction's error that moves each season.
const GAIN: f64 = 0.2;
/// The most that paths are stretched.
const MOST_STRETCH: f64 = 2.0;

/// How seasons are estimated.
struct Smoothing {
    windows: Vec<usize>,
    outer_loops: usize,
}

impl Smoothing {
    fn read(params: &Params) -> Result<Smoothing, FitError> {
        let windows = params.list_usize_or("windows", &[])?;
        if windows.iter().any(|window| *window < 3) || windows.len() > MOST_SEASONS {
            let needed = "a number from 3 for each season, shortest first";
            return Err(params.out_of_range("windows", needed));
        }
        let outer_loops = params.usize_or("outer_loops", 0)?;
        if outer_loops > MOST_OUTER_LOOPS {
            let needed = format!("at most {MOST_OUTER_LOOPS}");
            return Err(params.out_of_range("outer_loops", &needed));
        }
        Ok(Smoothing {
            windows,
            outer_loops,
        })
    }

    /// The settings of the season of this length at its place among those of a series.
    fn of(&self, place: usize, seasons: &[usize], length: usize) -> Settings {
        let season_length = seasons[place];
        let default = if seasons.len() == 1 {
            ONLY_WINDOW
        } else {
            11 + 4 * place
        };
        let window = self.windows.get(place).copied().unwrap_or(default);
        let mut settings = Settings::recommended(season_length, window, JUMPS);
        if length / season_length < window {
            settings.season.degree = Degree::Constant;
        }
        settings.outer_loops = self.outer_loops;
        settings
    }
}

impl Family for Mstl {
    type Body = Body;
    const NAME: &'static str = "mstl";
    const FORMAT: u32 = 1;
    const SUMMARY: &'static str = "several seasons taken out, the rest forecast by another model";
    const PARAMETERS: &'static [Parameter] = &[
        SEASON_LENGTHS,
        SEASON_LENGTH,
        Parameter {
            name: "model",
            default: "\"auto_ets\"",
            help: "the model of the rest, by name or as {\"model\":name,\"params\":{}}",
        },
        Parameter {
            name: "windows",
            default: "[]",
            help: "cycles smoothed together, for each season; [] is 19 for one, 11, 15, ... for more",
        },
        Parameter {
            name: "outer_loops",
            default: "0",
            help: "how often values far off are given less weight, up to 50",
        },
        LOGARITHMS,
        noise::ERRORS,
    ];

    fn members(params: &Params) -> Result<Vec<Member>, FitError> {
        let legacy = Legacy::of(params, Self::PARAMETERS, &["errors"])
            .and("season_length", 1)
            .and("logarithms", "no");
        let default = Value::from("auto_ets");
        let given = params.values().get("model").unwrap_or(&default);
        Ok(vec![Member::read("model", given, &legacy)?])
    }

    fn minimum(params: &Params) -> Result<usize, FitError> {
        noise::Kind::read(params)?;
        seasons::lengths(params)?;
        Smoothing::read(params)?;
        Logarithms::read(params)?;
        Mstl::members(params)?
            .iter()
            .map(Member::minimum)
            .try_fold(1, |most, needed| Ok(most.max(needed?)))
    }

    fn learn(
        history: Series<'_>,
        params: &Params,
        start: Start<'_, Body>,
    ) -> Result<Learned<Body>, FitError> {
        let [member] = Mstl::members(params)?
            .try_into()
            .ok()
            .expect("there is one member");
        let wanted = match start {
            Start::Keep(body) => Logarithms::kept(body.logarithms),
            Start::Cold | Start::Near(_) => Logarithms::read(params)?,
        };
        let logarithms = wanted.takes(history.dates, history.values)?;
        let mut rest = history.part(0..history.len());
        if logarithms {
            rest.values.iter_mut().for_each(|value| *value = ln(*value));
        }
        let (season, seasons, stretch) = take_out(&mut rest.values, params)?;
        let mut earlier = start
            .body()
            .map(|body| Earlier::of(std::slice::from_ref(&body.member)))
            .transpose()?;
        let state = earlier.as_mut().and_then(|earlier| earlier.take(&member));
        let from = state.as_ref().map(|state| start.with(state));
        let fitted = member.fit(rest.series(), from.unwrap_or(Start::Cold))?;
        let mut predictions = fitted.predictions;
        for (prediction, season) in predictions.iter_mut().zip(season) {
            *prediction += season;
            if logarithms {
                *prediction = logarithms::back(*prediction);
            }
        }
        Ok(Learned {
            predictions,
            body: Body {
                logarithms,
                seasons,
                stretch,
                member: member.hold(&fitted.state),
            },
            aicc: None,
        })
    }

    fn check(body: &Body) -> Result<(), StateError> {
        if !(1.0..=MOST_STRETCH).contains(&body.stretch) || body.seasons.len() > MOST_SEASONS {
            return Err(corrupt("no such seasons"));
        }
        for season in &body.seasons {
            if season.values().is_empty() {
                return Err(corrupt("a season is empty"));
            }
            season.check(season.values().len())?;
        }
        body.member.check()
    }

    fn advance(
        body: &mut Body,
        recent: Series<'_>,
        predicted: &mut dyn FnMut(f64),
    ) -> Result<(), StateError> {
        let running = body.member.running()?;
        for index in 0..recent.len() {
            let mut rest = recent.part(index..index + 1);
            if body.logarithms {
                rest.values[0] = logarithms::of_observation(rest.dates[0], rest.values[0])?;
            }
            let season: f64 = body.seasons.iter().map(|season| season.values()[0]).sum();
            rest.values[0] -= season;
            let mut expected = f64::NAN;
            running.advance(rest.series(), &mut |prediction| expected = prediction)?;
            let prediction = expected + season;
            predicted(if body.logarithms {
                logarithms::back(prediction)
            } else {
                prediction
            });
            let error = rest.values[0] - expected;
            let moved = if error.is_nan() { 0.0 } else { GAIN * error };
            for season in &mut body.seasons {
                let value = season.values()[0] + moved;
                if !value.is_finite() {
                    return Err(FitError::Overflow { quantity: "season" }.into());
                }
                season.push(value);
            }
        }
        Ok(())
    }

    fn expect(body: Body, ahead: Ahead<'_>) -> Result<Box<dyn Outlook>, StateError> {
        let season = (0..ahead.steps).map(|step| {
            let at_step = |season: &Window| season.values()[step % season.values().len()];
            body.seasons.iter().map(at_step).sum()
        });
        let rest = body.member.outlook(ahead)?;
        let seasonal = Seasonal {
            middle: rest.point(),
            rest,
            season: season.collect(),
            stretch: body.stretch,
        };
        Ok(if body.logarithms {
            logarithms::exponential(seasonal)
        } else {
            Box::new(seasonal)
        })
    }
}

/// What the model of the rest expects, with the seasons.
struct Seasonal {
    rest: Box<dyn Outlook>,
    /// The point forecast of the rest.
    middle: Vec<f64>,
    season: Vec<f64>,
    stretch: f64,
}

impl Seasonal {
    /// What is added to stretched paths of the rest: their season, and what keeps their middle.
    fn shifts(&self) -> impl Iterator<Item = f64> {
        let parts = self.middle.iter().zip(&self.season);
        parts.map(|(middle, season)| (1.0 - self.stretch) * middle + season)
    }
}

impl Outlook for Seasonal {
    fn point(&self) -> Vec<f64> {
        let parts = self.middle.iter().zip(&self.season);
        parts.map(|(middle, season)| middle + season).collect()
    }

    fn draw(&self, rng: &mut Rng, path: &mut [f64]) {
        self.rest.draw(rng, path);
        for (value, shift) in path.iter_mut().zip(self.shifts()) {
            *value = self.stretch * *value + shift;
        }
    }

    fn deviations(&self) -> Option<Vec<f64>> {
        let rest = self.rest.deviations()?;
        Some(rest.iter().map(|own| self.stretch * own).collect())
    }

    fn draw_all(&self, steps: usize, rngs: &[Rng]) -> Paths {
        let mut paths = self.rest.draw_all(steps, rngs);
        for (row, shift) in paths.rows().zip(self.shifts()) {
            for value in row {
                *value = self.stretch * *value + shift;
            }
        }
        paths
    }
}

/// Takes the seasons out of a series. Gives their sum at every observation, the newest cycle of
/// each, and the factor for paths of what is left. Equal values have no seasons.
fn take_out(values: &mut [f64], params: &Params) -> Result<(Vec<f64>, Vec<Window>, f64), FitError> {
    let length = values.len();
    let smoothing = Smoothing::read(params)?;
    let equal = values.iter().all(|value| *value == values[0]);
    let mut lengths = seasons::lengths(params)?;
    lengths.retain(|season| !equal && season.saturating_mul(2) <= length);
    let settings: Vec<Settings> = (0..lengths.len())
        .map(|place| smoothing.of(place, &lengths, length))
        .collect();
    let mut sum = vec![0.0; length];
    if settings.is_empty() {
        return Ok((sum, vec![], 1.0));
    }
    let found = decompose_all(values, &settings, ROUNDS);
    for season in &found.seasons {
        for (sum, season) in sum.iter_mut().zip(season) {
            *sum += season;
        }
    }
    for (value, season) in values.iter_mut().zip(&sum) {
        *value = finite("value without its seasons", *value - season)?;
    }
    let newest = found.seasons.iter().zip(&settings);
    let newest = newest.map(|(season, settings)| Window::of(season, settings.period));
    Ok((sum, newest.collect(), stretch(&settings, length)))
}

/// The factor for paths of the rest of a series of this length.
fn stretch(settings: &[Settings], length: usize) -> f64 {
    let leverage: f64 = settings
        .iter()
        .map(|settings| Loess::new(length / settings.period, settings.season, 0).leverage())
        .sum();
    1.0 / (1.0 - leverage).max(MOST_STRETCH.powi(-2)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, Forecaster, Streams, paths::check_moments};

    /// Hours with a day, a week and a slow trend, and what a state of it is fitted with.
    fn hours(length: usize, level: f64) -> (Vec<i32>, Vec<f64>) {
        let day = [0.0, 2.0, 5.0, 1.0];
        let week = [3.0, 0.0, 1.0, 2.0, 0.0, -2.0, -4.0];
        let values = (0..length).map(|t| level + 0.01 * t as f64 + day[t % 4] + week[t / 4 % 7]);
        ((0..length as i32).collect(), values.collect())
    }

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

    const TWO: &str = r#"{"season_lengths":[4,28],"model":"random_walk","logarithms":"no"}"#;

    #[test]
    fn two_seasons_and_a_trend_are_continued() {
        let (dates, values) = hours(28 * 9, 100.0);
        for text in [TWO, r#"{"season_lengths":[28,4],"model":"random_walk"}"#] {
            let split = 28 * 8 + 5;
            let history = Series {
                dates: &dates[..split],
                values: &values[..split],
                regressors: &[],
            };
            let fitted = Mstl.fit(history, &params(text), None).unwrap();
            let point = Mstl.outlook(&fitted.state, ahead(20)).unwrap().point();
            for (point, value) in point.iter().zip(&values[split..]) {
                assert!((point / value - 1.0).abs() < 0.003, "{point} {value}");
            }
            let fitted_well = fitted.predictions.iter().zip(&values).skip(40);
            for (prediction, value) in fitted_well.take(150) {
                assert!(
                    (prediction / value - 1.0).abs() < 0.01,
                    "{prediction} {value}"
                );
            }
        }
    }

    #[test]
    fn a_season_that_does_not_fit_twice_is_left_out() {
        let (dates, values) = hours(60, 100.0);
        let given = TWO.replace("random_walk", "naive");
        let seasons = |length: usize| {
            let history = Series {
                dates: &dates[..length],
                values: &values[..length],
                regressors: &[],
            };
            let learned = Mstl::learn(history, &params(&given), Start::Cold).unwrap();
            let lengths = learned
                .body
                .seasons
                .iter()
                .map(|season| season.values().len());
            lengths.collect::<Vec<_>>()
        };
        assert_eq!(seasons(56), [4, 28]);
        assert_eq!(seasons(55), [4]);
        assert_eq!(seasons(8), [4]);
        assert_eq!(seasons(7), [0; 0]);
    }

    #[test]
    fn an_error_moves_every_season_by_a_fifth_of_it() {
        let mut body = Body {
            logarithms: false,
            seasons: vec![
                Window::of(&[1.0, -1.0], 2),
                Window::of(&[2.0, 0.0, -2.0], 3),
            ],
            stretch: 1.0,
            member: naive_at(10.0),
        };
        let recent = Series {
            dates: &[101, 102],
            values: &[14.0, 8.0],
            regressors: &[],
        };
        let mut predictions = vec![];
        Mstl::advance(&mut body, recent, &mut |prediction| {
            predictions.push(prediction)
        })
        .unwrap();
        // 10 + 1 + 2, off by 1; then 14 - 3 = 11, 11 - 1 + 0, off by -2.
        assert_eq!(predictions, [13.0, 10.0]);
        let near = |season: &Window, expected: &[f64]| {
            for (found, expected) in season.values().iter().zip(expected) {
                assert!((found - expected).abs() < 1e-15, "{found} {expected}");
            }
        };
        near(&body.seasons[0], &[1.2, -1.4]);
        near(&body.seasons[1], &[-2.0, 2.2, -0.4]);
        // The rest is 8 + 1 = 9 now, and the seasons go on with 1.2 - 2, -1.4 + 2.2 and 1.2 - 0.4.
        let point = Mstl::expect(body, ahead(3)).unwrap().point();
        for (found, expected) in point.iter().zip([8.2, 9.8, 9.8]) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
    }

    /// A naive member at this value.
    fn naive_at(value: f64) -> Held {
        let history = Series {
            dates: &[99, 100],
            values: &[value - 1.0, value],
            regressors: &[],
        };
        let member = <Mstl as Family>::members(&params(r#"{"model":"naive"}"#))
            .unwrap()
            .remove(0);
        let fitted = member.fit(history, Start::Cold).unwrap();
        member.hold(&fitted.state)
    }

    #[test]
    fn paths_are_those_of_the_rest_stretched_and_with_the_seasons() {
        let body = |logarithms: bool| Body {
            logarithms,
            seasons: vec![Window::of(&[1.0, -1.0], 2)],
            stretch: 1.5,
            member: naive_at(2.0),
        };
        let streams = Streams::new(&Digest::new());
        let outlook = Mstl::expect(body(false), ahead(3)).unwrap();
        assert_eq!(outlook.point(), [3.0, 1.0, 3.0]);
        // The one error there was is 1.
        let deviations = [1.0, 2.0, 3.0].map(|steps: f64| 1.5 * steps.sqrt());
        let paths = outlook.simulate(3, 40_000, &streams);
        check_moments(&paths, &[3.0, 1.0, 3.0], &deviations);
        let mut alone = [0.0; 3];
        outlook.draw(&mut streams.path(7), &mut alone);
        let exponential = Mstl::expect(body(true), ahead(3)).unwrap();
        let exponentials = exponential.simulate(3, 7, &streams);
        for (step, value) in alone.iter().enumerate() {
            assert_eq!(*value, paths.step(step)[6]);
            assert_eq!(logarithms::back(*value), exponentials.step(step)[6]);
        }
        assert_eq!(exponential.point()[0], logarithms::back(3.0));
    }

    #[test]
    fn the_model_of_the_rest_is_given_neither_season_nor_logarithms() {
        let members = |text: &str| {
            <Mstl as Family>::members(&params(text))
                .unwrap()
                .remove(0)
                .params
        };
        let handed = members(r#"{"season_length":12,"model":"seasonal_autoregression"}"#);
        assert_eq!(handed.usize_or("season_length", 0), Ok(1));
        assert_eq!(handed.str_or("logarithms", "auto"), Ok("no"));
        let own = r#"{"model":{"model":"seasonal_autoregression","params":{"season_length":4}}}"#;
        assert_eq!(members(own).usize_or("season_length", 0), Ok(4));
    }

    #[test]
    fn a_refit_keeps_the_logarithms_and_starts_from_the_member() {
        let (dates, values) = hours(28 * 6, 20.0);
        let part = |length: usize| Series {
            dates: &dates[..length],
            values: &values[..length],
            regressors: &[],
        };
        let log = params(r#"{"season_lengths":[4,28],"model":"random_walk","logarithms":"yes"}"#);
        let fitted = Mstl.fit(part(150), &log, None).unwrap();
        let again = Mstl.refit(part(168), &params(TWO), &fitted.state).unwrap();
        let anew = Mstl.fit(part(168), &log, None).unwrap();
        assert_eq!(again.state, anew.state);
        assert!(again.state.as_str().contains("\"logarithms\":true"));
        let near = Mstl
            .fit(part(168), &params(TWO), Some(&fitted.state))
            .unwrap();
        assert!(near.state.as_str().contains("\"logarithms\":false"));
    }
}
