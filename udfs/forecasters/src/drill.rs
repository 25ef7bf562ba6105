//! A model that fails on purpose, so that operators can rehearse how a run fails open.
//!
//! Not in the catalog: it is reached only by naming the family `drill` in the settings. Apart from
//! the failure asked for it is the naive model.
//!
//! | `mode` | what goes wrong |
//! | --- | --- |
//! | `panic` | panics in the call named by `stage` (`fit`, `condition` or `simulate`) |
//! | `nan` | every simulated value is NaN |
//! | `explode` | every path lies a thousand times its distance from zero away |
//! | `negative` | every path is negative |
//! | `big_state` | nothing, but the state carries `bytes` bytes of padding |

use serde::{Deserialize, Serialize};

use crate::{
    Fitted, Forecaster, Parameter, Params,
    errors::{FitError, StateError},
    naive::{self, Naive},
    paths::Paths,
    rng::Streams,
    series::{Ahead, Series},
    state::State,
};

/// The model that fails on purpose.
pub struct Drill;

const NAME: &str = "drill";
const FORMAT: u32 = 1;
const MOST_BYTES: usize = 1 << 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stage {
    Fit,
    Condition,
    Simulate,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Failure {
    Panic(Stage),
    Nan,
    Explode,
    Negative,
    BigState(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    failure: Failure,
    naive: naive::Body,
}

impl Failure {
    fn read(params: &Params) -> Result<Failure, FitError> {
        let stage = match params.str_or("stage", "simulate")? {
            "fit" => Stage::Fit,
            "condition" => Stage::Condition,
            "simulate" => Stage::Simulate,
            _ => return Err(params.out_of_range("stage", "fit, condition or simulate")),
        };
        let bytes = params.usize_or("bytes", 0)?;
        if bytes > MOST_BYTES {
            return Err(params.out_of_range("bytes", "at most 1073741824"));
        }
        match params.str_or("mode", "panic")? {
            "panic" => Ok(Failure::Panic(stage)),
            "nan" => Ok(Failure::Nan),
            "explode" => Ok(Failure::Explode),
            "negative" => Ok(Failure::Negative),
            "big_state" => Ok(Failure::BigState("x".repeat(bytes))),
            _ => Err(params.out_of_range("mode", "panic, nan, explode, negative or big_state")),
        }
    }

    fn panic_at(&self, stage: Stage) {
        if *self == Failure::Panic(stage) {
            panic!("drill: this panic was asked for");
        }
    }
}

impl Drill {
    fn decode(state: &State) -> Result<Body, StateError> {
        let body: Body = state.decode(NAME, FORMAT)?;
        body.naive.check()?;
        Ok(body)
    }
}

impl Forecaster for Drill {
    fn name(&self) -> &'static str {
        NAME
    }

    fn summary(&self) -> &'static str {
        "fails on purpose, to rehearse how a run fails open"
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[
            Parameter {
                name: "mode",
                default: "\"panic\"",
                help: "panic, nan, explode, negative or big_state",
            },
            Parameter {
                name: "stage",
                default: "\"simulate\"",
                help: "where mode panic strikes: fit, condition or simulate",
            },
            Parameter {
                name: "bytes",
                default: "0",
                help: "how much mode big_state pads the state",
            },
        ]
    }

    fn minimum_observations(&self, params: &Params) -> Result<usize, FitError> {
        Failure::read(params)?;
        Naive.minimum_observations(params)
    }

    fn fit(&self, history: Series<'_>, params: &Params) -> Result<Fitted, FitError> {
        self.validate(params)?;
        let failure = Failure::read(params)?;
        failure.panic_at(Stage::Fit);
        let fitted = Naive.fit(history, &Params::default())?;
        let body = Body {
            failure,
            naive: naive::Body::fit(history)?,
        };
        Ok(Fitted {
            state: State::encode(NAME, FORMAT, &body),
            ..fitted
        })
    }

    fn condition(&self, state: &State, recent: Series<'_>) -> Result<State, StateError> {
        let mut body = Drill::decode(state)?;
        body.failure.panic_at(Stage::Condition);
        body.naive.advance(recent)?;
        Ok(State::encode(NAME, FORMAT, &body))
    }

    fn simulate(
        &self,
        state: &State,
        ahead: Ahead<'_>,
        paths: usize,
        streams: &Streams,
    ) -> Result<Paths, StateError> {
        let body = Drill::decode(state)?;
        body.failure.panic_at(Stage::Simulate);
        let mut simulated = body.naive.simulate(ahead.steps, paths, streams);
        for value in &mut simulated.values {
            *value = match body.failure {
                Failure::Panic(_) | Failure::BigState(_) => *value,
                Failure::Nan => f64::NAN,
                Failure::Explode => *value + 1_000.0 * (value.abs() + 1.0),
                Failure::Negative => -value.abs() - 1.0,
            };
        }
        Ok(simulated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;

    const HISTORY: Series<'_> = Series {
        dates: &[1, 2, 3],
        values: &[10.0, 11.0, 10.5],
        regressors: &[],
    };
    const AHEAD: Ahead<'_> = Ahead {
        steps: 3,
        regressors: &[],
    };

    fn simulate(params: &str) -> Vec<f64> {
        let fitted = Drill.fit(HISTORY, &Params::parse(params).unwrap()).unwrap();
        let streams = Streams::new(&Digest::new());
        Drill
            .simulate(&fitted.state, AHEAD, 20, &streams)
            .unwrap()
            .values
    }

    #[test]
    fn each_mode_fails_in_its_own_way() {
        assert!(
            simulate(r#"{"mode":"nan"}"#)
                .iter()
                .all(|value| value.is_nan())
        );
        assert!(
            simulate(r#"{"mode":"explode"}"#)
                .iter()
                .all(|value| *value > 1_000.0)
        );
        assert!(
            simulate(r#"{"mode":"negative"}"#)
                .iter()
                .all(|value| *value < 0.0)
        );
    }

    #[test]
    #[should_panic(expected = "asked for")]
    fn the_panic_strikes_in_simulation_unless_told_otherwise() {
        simulate("{}");
    }

    #[test]
    #[should_panic(expected = "asked for")]
    fn the_panic_strikes_the_fit_when_told_to() {
        let params = Params::parse(r#"{"stage":"fit"}"#).unwrap();
        let _ = Drill.fit(HISTORY, &params);
    }

    #[test]
    #[should_panic(expected = "asked for")]
    fn the_panic_strikes_conditioning_when_told_to() {
        let fitted = Drill
            .fit(HISTORY, &Params::parse(r#"{"stage":"condition"}"#).unwrap())
            .unwrap();
        let _ = Drill.condition(
            &fitted.state,
            Series {
                dates: &[],
                values: &[],
                regressors: &[],
            },
        );
    }

    #[test]
    fn a_big_state_is_as_big_as_asked_and_forecasts_as_the_naive_model() {
        let params = Params::parse(r#"{"mode":"big_state","bytes":5000}"#).unwrap();
        let fitted = Drill.fit(HISTORY, &params).unwrap();
        assert!(fitted.state.as_str().len() > 5_000);
        let streams = Streams::new(&Digest::new());
        let drilled = Drill.simulate(&fitted.state, AHEAD, 20, &streams).unwrap();
        let naive = Naive.fit(HISTORY, &Params::default()).unwrap();
        assert_eq!(
            drilled,
            Naive.simulate(&naive.state, AHEAD, 20, &streams).unwrap()
        );
    }

    #[test]
    fn an_unknown_mode_is_refused() {
        let params = Params::parse(r#"{"mode":"sulk"}"#).unwrap();
        assert_eq!(Drill.validate(&params).unwrap_err().class(), "parameter");
    }
}
