//! The middle of what several models forecast.
//!
//! The point forecast of each step is the median or the mean of the members' point forecasts.
//! Assumes that the members err in different ways: what they have in common stays. The wrong
//! choice where one model is known to be right and the others are not.
//!
//! Petropoulos and Svetunkov (2020), *A simple combination of univariate models*, International
//! Journal of Forecasting 36: the median of exponential smoothing, complex exponential smoothing,
//! ARIMA and the dynamic optimised theta model, "scum", was among the best of the M4 competition.
//! Lichtendahl and Winkler (2020), same volume: why combinations are hard to beat.
//!
//! Paths come from the members in equal shares: the first random number of a path picks the member
//! that draws it. Each step of this mixture is moved as a whole so that its center, the median or
//! mean of the centers of its members, is the point forecast. The mixture is as wide as its members
//! plus their disagreement (Lichtendahl, Grushka-Cockayne and Winkler 2013, on linear pools).
//!
//! Every member has to be fitted, unless `most_failures` allows for some that are not; those are
//! named in the state with the reason, and the others are combined. The prediction of an
//! observation combines the members that have one.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Parameter, Params,
    errors::{FitError, StateError},
    family::{Family, Learned, Start},
    members::{Earlier, Held, Legacy, Member},
    moments::mean,
    noise,
    outlook::Outlook,
    rng::Rng,
    series::{Ahead, Series},
    state::corrupt,
};

/// The combination of several models.
pub struct Combination;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body {
    combine: Middle,
    members: Vec<Held>,
    /// The members that could not be fitted.
    failed: Vec<Failed>,
}

/// A member that could not be fitted, and why.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Failed {
    name: String,
    class: String,
    reason: String,
}

/// What is taken of several forecasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Middle {
    Median,
    Mean,
}

impl Middle {
    fn read(params: &Params) -> Result<Middle, FitError> {
        match params.str_or("combine", "median")? {
            "median" => Ok(Middle::Median),
            "mean" => Ok(Middle::Mean),
            _ => Err(params.out_of_range("combine", "median or mean")),
        }
    }

    /// The middle of some numbers, which it may sort; NaN if there are none.
    fn of(self, numbers: &mut [f64]) -> f64 {
        match self {
            Middle::Mean => mean(numbers),
            Middle::Median => {
                numbers.sort_unstable_by(f64::total_cmp);
                let half = numbers.len() / 2;
                match numbers.len() {
                    0 => f64::NAN,
                    count if count % 2 == 1 => numbers[half],
                    _ => mean(&numbers[half - 1..=half]),
                }
            }
        }
    }

    /// The middle of several forecasts, step by step, of those that have the step.
    fn of_each(self, steps: usize, forecasts: &[Vec<f64>]) -> Vec<f64> {
        let mut numbers = Vec::with_capacity(forecasts.len());
        let middle = |step: usize| {
            numbers.clear();
            let at_step = forecasts.iter().map(|forecast| forecast[step]);
            numbers.extend(at_step.filter(|value| !value.is_nan()));
            self.of(&mut numbers)
        };
        (0..steps).map(middle).collect()
    }
}

const MEMBERS: &str = r#"["auto_ets","auto_ces","dot"]"#;

impl Combination {
    /// How many members may fail, of `count`.
    fn most_failures(params: &Params, count: usize) -> Result<usize, FitError> {
        match params.usize_or("most_failures", 0)? {
            failures if failures < count => Ok(failures),
            _ => Err(params.out_of_range("most_failures", "fewer than there are members")),
        }
    }
}

impl Family for Combination {
    type Body = Body;
    const NAME: &'static str = "combination";
    const FORMAT: u32 = 1;
    const SUMMARY: &'static str = "the median or mean of several models";
    const PARAMETERS: &'static [Parameter] = &[
        Parameter {
            name: "members",
            default: MEMBERS,
            help: "models, by name or as {\"model\":name,\"params\":{}}",
        },
        Parameter {
            name: "combine",
            default: "\"median\"",
            help: "what is taken of the members' forecasts: median or mean",
        },
        Parameter {
            name: "most_failures",
            default: "0",
            help: "how many members may fail to be fitted without failing all",
        },
        Parameter {
            name: "season_length",
            default: "1",
            help: "steps in a season, for members that do not set their own",
        },
        noise::ERRORS,
    ];

    fn members(params: &Params) -> Result<Vec<Member>, FitError> {
        let legacy = Legacy::of(params, Self::PARAMETERS, &["season_length", "errors"]);
        let default: Value = serde_json::from_str(MEMBERS).expect("defaults are JSON");
        let given = params.values().get("members").unwrap_or(&default);
        Member::read_list("members", given, &legacy)
    }

    fn minimum(params: &Params) -> Result<usize, FitError> {
        Middle::read(params)?;
        noise::Kind::read(params)?;
        if params.usize_or("season_length", 1)? == 0 {
            return Err(params.out_of_range("season_length", "at least 1"));
        }
        let members = Combination::members(params)?;
        let failures = Combination::most_failures(params, members.len())?;
        let minima = members.iter().map(Member::minimum);
        let mut minima = minima.collect::<Result<Vec<_>, _>>()?;
        minima.sort_unstable();
        Ok(minima[minima.len() - 1 - failures])
    }

    fn learn(
        history: Series<'_>,
        params: &Params,
        start: Start<'_, Body>,
    ) -> Result<Learned<Body>, FitError> {
        let members = Combination::members(params)?;
        let mut failures = Combination::most_failures(params, members.len())?;
        let mut earlier = start
            .body()
            .map(|body| Earlier::of(&body.members))
            .transpose()?;
        let mut body = Body {
            combine: Middle::read(params)?,
            members: vec![],
            failed: vec![],
        };
        let mut predictions = vec![];
        for member in members {
            let state = earlier.as_mut().and_then(|earlier| earlier.take(&member));
            let from = state
                .as_ref()
                .map_or(Start::Cold, |state| start.with(state));
            match member.fit(history, from) {
                Ok(fitted) => {
                    body.members.push(member.hold(&fitted.state));
                    predictions.push(fitted.predictions);
                }
                Err(error) if failures > 0 => {
                    failures -= 1;
                    body.failed.push(Failed {
                        name: member.name,
                        class: error.class().to_owned(),
                        reason: error.to_string(),
                    });
                }
                Err(error) => return Err(error),
            }
        }
        let predictions = body.combine.of_each(history.len(), &predictions);
        Ok(Learned {
            body,
            predictions,
            aicc: None,
        })
    }

    fn check(body: &Body) -> Result<(), StateError> {
        if body.members.is_empty() {
            return Err(corrupt("there are no members"));
        }
        body.members.iter().try_for_each(Held::check)
    }

    fn advance(
        body: &mut Body,
        recent: Series<'_>,
        predicted: &mut dyn FnMut(f64),
    ) -> Result<(), StateError> {
        let mut predictions = Vec::with_capacity(body.members.len());
        for held in &mut body.members {
            let mut running = held.resume()?;
            let mut own = Vec::with_capacity(recent.len());
            running.advance(recent, &mut |prediction| own.push(prediction))?;
            held.keep(&*running);
            predictions.push(own);
        }
        let combined = body.combine.of_each(recent.len(), &predictions);
        combined.into_iter().for_each(predicted);
        Ok(())
    }

    fn expect(body: Body, ahead: Ahead<'_>) -> Result<Box<dyn Outlook>, StateError> {
        let members = body
            .members
            .iter()
            .map(|held| held.resume()?.outlook(ahead));
        let members = members.collect::<Result<Vec<_>, _>>()?;
        let points: Vec<Vec<f64>> = members.iter().map(|member| member.point()).collect();
        let point = body.combine.of_each(ahead.steps, &points);
        Ok(Box::new(Mixture { members, point }))
    }
}

/// Paths of several outlooks in equal shares.
struct Mixture {
    members: Vec<Box<dyn Outlook>>,
    /// The combined point forecast.
    point: Vec<f64>,
}

impl Outlook for Mixture {
    fn point(&self) -> Vec<f64> {
        self.point.clone()
    }

    fn draw(&self, rng: &mut Rng, path: &mut [f64]) {
        let member = (rng.uniform() * self.members.len() as f64) as usize;
        self.members[member].draw(rng, path);
    }
}
