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
//! history, and the loss, flatter the model.
//!
//! New observations go to the model of the rest without the seasons. The error of its prediction
//! then moves the value of each season at this phase by a fixed share of itself, as in seasonal
//! exponential smoothing.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Parameter, Params,
    errors::{FitError, StateError},
    family::{Family, Learned, Start},
    math::{exp, ln},
    members::{Earlier, Held, Legacy, Member},
    noise,
    outlook::Outlook,
    rng::Rng,
    series::{Ahead, Observations, Series},
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
    /// The share of an error that moves each season.
    gain: f64,
    member: Held,
}

/// Whether logarithms are modelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transform {
    None,
    Logarithms,
    /// Logarithms where every value is positive.
    Automatic,
}

/// The most seasons of a series.
const MOST_SEASONS: usize = 8;

/// What the parameters ask for.
struct Wanted {
    /// Season lengths, increasing, each at least 2.
    season_lengths: Vec<usize>,
    /// Seasonal windows, for as many seasons as there are.
    windows: Vec<usize>,
    transform: Transform,
    gain: f64,
    outer_loops: usize,
}

impl Wanted {
    fn read(params: &Params) -> Result<Wanted, FitError> {
        let mut season_lengths = params.list_usize_or("season_lengths", &[])?;
        let season_length = params.usize_or("season_length", 1)?;
        if season_length == 0 {
            return Err(params.out_of_range("season_length", "at least 1"));
        }
        if season_lengths.contains(&0) || season_lengths.len() > MOST_SEASONS {
            let needed = format!("at most {MOST_SEASONS} numbers, each at least 1");
            return Err(params.out_of_range("season_lengths", &needed));
        }
        if season_lengths.is_empty() {
            season_lengths.push(season_length);
            if STEPS_IN_A_DAY.contains(&season_length) {
                season_lengths.push(7 * season_length);
            }
        }
        season_lengths.retain(|length| *length > 1);
        season_lengths.sort_unstable();
        season_lengths.dedup();
        let windows = params.list_usize_or("windows", &[])?;
        if windows.iter().any(|window| *window < 3) || windows.len() > MOST_SEASONS {
            return Err(params.out_of_range("windows", "a window of at least 3 seasons for each"));
        }
        Ok(Wanted {
            season_lengths,
            windows,
            transform: match params.str_or("transform", "auto")? {
                "none" => Transform::None,
                "log" => Transform::Logarithms,
                "auto" => Transform::Automatic,
                _ => return Err(params.out_of_range("transform", "none, log or auto")),
            },
            gain: params.f64_or("gain", 0.1)?,
            outer_loops: params.usize_or("outer_loops", 0)?,
        })
    }
}

/// Steps of 60, 30, 20, 15, 10, 5 and 1 minutes.
const STEPS_IN_A_DAY: [usize; 7] = [24, 48, 72, 96, 144, 288, 1440];

impl Family for Mstl {
    type Body = Body;
    const NAME: &'static str = "mstl";
    const FORMAT: u32 = 1;
    const SUMMARY: &'static str = "several seasons taken out, the rest forecast by another model";
    const PARAMETERS: &'static [Parameter] = &[
        Parameter {
            name: "season_lengths",
            default: "[]",
            help: "steps in each season; [] stands for season_length, and a week if that is a day",
        },
        Parameter {
            name: "season_length",
            default: "1",
            help: "steps in the season where there is only one",
        },
        Parameter {
            name: "model",
            default: "\"auto_ets\"",
            help: "the model of the rest, by name or as {\"model\":name,\"params\":{}}",
        },
        Parameter {
            name: "windows",
            default: "[]",
            help: "",
        },
        Parameter {
            name: "transform",
            default: "\"auto\"",
            help: "",
        },
        Parameter {
            name: "gain",
            default: "0.1",
            help: "",
        },
        Parameter {
            name: "outer_loops",
            default: "0",
            help: "",
        },
        noise::ERRORS,
    ];

    fn members(params: &Params) -> Result<Vec<Member>, FitError> {
        let legacy = Legacy::of(params, Self::PARAMETERS, &["errors"]).and("season_length", 1);
        let default = Value::from("auto_ets");
        let given = params.values().get("model").unwrap_or(&default);
        Ok(vec![Member::read("model", given, &legacy)?])
    }

    fn minimum(params: &Params) -> Result<usize, FitError> {
        noise::Kind::read(params)?;
        Wanted::read(params)?;
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
        let wanted = Wanted::read(params)?;
        let [member] = Mstl::members(params)?.try_into().ok().expect("one member");
        let length = history.len();
        let constant = history
            .values
            .iter()
            .all(|value| *value == history.values[0]);
        let positive = history.values.iter().all(|value| *value > 0.0);
        let logarithms = match wanted.transform {
            Transform::None => false,
            Transform::Logarithms => true,
            Transform::Automatic => positive && !constant,
        };
        let mut rest = Observations {
            dates: history.dates.to_vec(),
            values: history.values.to_vec(),
            regressors: history.regressors.to_vec(),
        };
        if logarithms {
            rest.values.iter_mut().for_each(|value| *value = ln(*value));
        }
        let settings: Vec<Settings> = wanted
            .season_lengths
            .iter()
            .filter(|season| !constant && season.saturating_mul(2) <= length)
            .enumerate()
            .map(|(index, season)| {
                let window = wanted.windows.get(index).copied().unwrap_or(11 + 4 * index);
                let mut s = Settings::recommended(*season, window, 10);
                s.outer_loops = wanted.outer_loops;
                s
            })
            .collect();
        let mut season = vec![0.0; length];
        let mut seasons = vec![];
        if !settings.is_empty() {
            let found = decompose_all(&rest.values, &settings, 2);
            for (component, settings) in found.seasons.iter().zip(&settings) {
                season
                    .iter_mut()
                    .zip(component)
                    .for_each(|(sum, own)| *sum += own);
                seasons.push(Window::of(component, settings.period));
            }
            rest.values
                .iter_mut()
                .zip(&season)
                .for_each(|(rest, season)| *rest -= season);
        }
        let mut earlier = start
            .body()
            .map(|body| Earlier::of(std::slice::from_ref(&body.member)))
            .transpose()?;
        let state = earlier.as_mut().and_then(|earlier| earlier.take(&member));
        let from = state
            .as_ref()
            .map_or(Start::Cold, |state| start.with(state));
        let fitted = member.fit(rest.series(), from)?;
        let back = |value: f64| if logarithms { exp(value) } else { value };
        Ok(Learned {
            predictions: fitted
                .predictions
                .iter()
                .zip(&season)
                .map(|(rest, season)| back(rest + season))
                .collect(),
            body: Body {
                logarithms,
                seasons,
                gain: wanted.gain,
                member: member.hold(&fitted.state),
            },
            aicc: None,
        })
    }

    fn check(body: &Body) -> Result<(), StateError> {
        if !(0.0..=1.0).contains(&body.gain) || body.seasons.len() > MOST_SEASONS {
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
        let mut running = body.member.resume()?;
        for index in 0..recent.len() {
            let mut rest = recent.part(index..index + 1);
            if body.logarithms {
                if rest.values[0] <= 0.0 {
                    return Err(StateError::Domain {
                        date: rest.dates[0],
                        value: rest.values[0],
                        needed: "positive, as all values it was fitted on",
                    });
                }
                rest.values[0] = ln(rest.values[0]);
            }
            let season: f64 = body.seasons.iter().map(|season| season.values()[0]).sum();
            rest.values[0] -= season;
            let mut expected = f64::NAN;
            running.advance(rest.series(), &mut |prediction| expected = prediction)?;
            let prediction = expected + season;
            predicted(if body.logarithms {
                exp(prediction)
            } else {
                prediction
            });
            let error = rest.values[0] - expected;
            let moved = if error.is_nan() {
                0.0
            } else {
                body.gain * error
            };
            for season in &mut body.seasons {
                let value = season.values()[0] + moved;
                if !value.is_finite() {
                    return Err(FitError::Overflow { quantity: "season" }.into());
                }
                season.push(value);
            }
        }
        body.member.keep(&*running);
        Ok(())
    }

    fn expect(body: Body, ahead: Ahead<'_>) -> Result<Box<dyn Outlook>, StateError> {
        let season = (0..ahead.steps).map(|step| {
            let at_step = |season: &Window| season.values()[step % season.values().len()];
            body.seasons.iter().map(at_step).sum()
        });
        Ok(Box::new(Seasonal {
            season: season.collect(),
            rest: body.member.resume()?.outlook(ahead)?,
            logarithms: body.logarithms,
        }))
    }
}

/// What the model of the rest expects, with the seasons.
struct Seasonal {
    rest: Box<dyn Outlook>,
    season: Vec<f64>,
    logarithms: bool,
}

impl Seasonal {
    fn add(&self, path: &mut [f64]) {
        for (value, season) in path.iter_mut().zip(&self.season) {
            *value += season;
            if self.logarithms {
                *value = exp(*value);
            }
        }
    }
}

impl Outlook for Seasonal {
    fn point(&self) -> Vec<f64> {
        let mut point = self.rest.point();
        self.add(&mut point);
        point
    }

    fn draw(&self, rng: &mut Rng, path: &mut [f64]) {
        self.rest.draw(rng, path);
        self.add(path);
    }
}
