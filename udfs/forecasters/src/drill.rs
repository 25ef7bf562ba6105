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
    Parameter, Params, Rng,
    errors::{FitError, StateError},
    family::{Family, Learned, Start},
    naive::{self, Naive},
    outlook::Outlook,
    series::{Ahead, Series},
};

/// The model that fails on purpose.
pub struct Drill;

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
pub(crate) struct Body {
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

/// What the naive model expects, spoiled as asked for.
struct Spoiled {
    failure: Failure,
    naive: Box<dyn Outlook>,
}

impl Outlook for Spoiled {
    fn point(&self) -> Vec<f64> {
        self.naive.point()
    }

    fn draw(&self, rng: &mut Rng, path: &mut [f64]) {
        self.failure.panic_at(Stage::Simulate);
        self.naive.draw(rng, path);
        for value in path {
            *value = match self.failure {
                Failure::Panic(_) | Failure::BigState(_) => *value,
                Failure::Nan => f64::NAN,
                Failure::Explode => *value + 1_000.0 * (value.abs() + 1.0),
                Failure::Negative => -value.abs() - 1.0,
            };
        }
    }
}

impl Family for Drill {
    type Body = Body;
    const NAME: &'static str = "drill";
    const FORMAT: u32 = 1;
    const SUMMARY: &'static str = "fails on purpose, to rehearse how a run fails open";
    const STAYS_POSITIVE: bool = false;
    const PARAMETERS: &'static [Parameter] = &[
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
    ];

    fn minimum(params: &Params) -> Result<usize, FitError> {
        Failure::read(params)?;
        Naive::minimum(&Params::default())
    }

    fn learn(
        history: Series<'_>,
        params: &Params,
        _start: Start<'_, Body>,
    ) -> Result<Learned<Body>, FitError> {
        let failure = Failure::read(params)?;
        failure.panic_at(Stage::Fit);
        let Learned {
            body,
            predictions,
            aicc,
        } = Naive::learn(history, &Params::default(), Start::Cold)?;
        let body = Body {
            failure,
            naive: body,
        };
        Ok(Learned {
            body,
            predictions,
            aicc,
        })
    }

    fn check(body: &Body) -> Result<(), StateError> {
        Naive::check(&body.naive)
    }

    fn advance(
        body: &mut Body,
        recent: Series<'_>,
        predicted: &mut dyn FnMut(f64),
    ) -> Result<(), StateError> {
        body.failure.panic_at(Stage::Condition);
        Naive::advance(&mut body.naive, recent, predicted)
    }

    fn expect(body: Body, ahead: Ahead<'_>) -> Result<Box<dyn Outlook>, StateError> {
        Ok(Box::new(Spoiled {
            failure: body.failure,
            naive: Naive::expect(body.naive, ahead)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, Forecaster, Streams};

    const HISTORY: Series<'_> = Series {
        dates: &[1, 2, 3],
        values: &[10.0, 11.0, 10.5],
        regressors: &[],
    };
    const AHEAD: Ahead<'_> = Ahead {
        steps: 3,
        dates: &[],
        regressors: &[],
    };

    fn simulate(params: &str) -> Vec<f64> {
        let params = Params::parse(params).unwrap();
        let fitted = Drill.fit(HISTORY, &params, None).unwrap();
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
        let _ = Drill.fit(HISTORY, &params, None);
    }

    #[test]
    #[should_panic(expected = "asked for")]
    fn the_panic_strikes_conditioning_when_told_to() {
        let fitted = Drill
            .fit(
                HISTORY,
                &Params::parse(r#"{"stage":"condition"}"#).unwrap(),
                None,
            )
            .unwrap();
        let _ = Drill.condition(
            &fitted.state,
            Series {
                dates: &[4],
                values: &[1.0],
                regressors: &[],
            },
        );
    }

    #[test]
    fn a_big_state_is_as_big_as_asked_and_forecasts_as_the_naive_model() {
        let params = Params::parse(r#"{"mode":"big_state","bytes":5000}"#).unwrap();
        let fitted = Drill.fit(HISTORY, &params, None).unwrap();
        assert!(fitted.state.as_str().len() > 5_000);
        let streams = Streams::new(&Digest::new());
        let drilled = Drill.simulate(&fitted.state, AHEAD, 20, &streams).unwrap();
        let naive = Naive.fit(HISTORY, &Params::default(), None).unwrap();
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
