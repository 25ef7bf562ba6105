//! Fitted states as text: readable, exact, and refused unless they are what they claim.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::{RawValue, to_raw_value};

use crate::errors::StateError;

/// A fitted model as JSON text that begins `{"model":"random_walk","format":1,"body":`.
///
/// Numbers are written with as many digits as they need to be read back exactly.
#[derive(Clone, Debug)]
pub struct State(Box<RawValue>);

impl PartialEq for State {
    fn eq(&self, other: &State) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for State {}

/// A state as it is written, its fields in this order.
#[derive(Serialize)]
struct Written<'a, T> {
    model: &'a str,
    format: u32,
    body: &'a T,
}

struct Header<'a> {
    model: &'a str,
    format: u32,
    body: &'a str,
}

impl State {
    /// Writes a state. `body` holds finite numbers only: JSON has no others.
    pub fn encode<T: Serialize>(model: &str, format: u32, body: &T) -> State {
        let written = Written {
            model,
            format,
            body,
        };
        State(to_raw_value(&written).expect("a state body is numbers, text and lists"))
    }

    /// Reads the body of a state of this model and format.
    pub fn decode<T: DeserializeOwned>(&self, model: &str, format: u32) -> Result<T, StateError> {
        let header = header(self.as_str())?;
        if header.model != model {
            return Err(StateError::WrongModel {
                found: header.model.to_owned(),
                needed: model.to_owned(),
            });
        }
        if header.format != format {
            return Err(StateError::WrongFormat {
                model: model.to_owned(),
                found: header.format,
                needed: format,
            });
        }
        serde_json::from_str(header.body).map_err(|error| corrupt(error.to_string()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Takes a stored text, checking that it is JSON and begins as a state does; the body is checked
    /// when it is decoded.
    pub fn from_text(text: String) -> Result<State, StateError> {
        let raw = RawValue::from_string(text).map_err(|error| corrupt(error.to_string()))?;
        State::from_raw(raw)
    }

    /// Takes the text of a state that is part of another.
    pub(crate) fn from_raw(raw: Box<RawValue>) -> Result<State, StateError> {
        header(raw.get())?;
        Ok(State(raw))
    }

    /// The text, to be part of another.
    pub(crate) fn as_raw(&self) -> &RawValue {
        &self.0
    }

    /// The name of the model the state belongs to.
    pub fn model(&self) -> &str {
        header(self.as_str()).map_or("", |header| header.model)
    }
}

/// An error that says why a state cannot be believed.
pub(crate) fn corrupt(reason: impl Into<String>) -> StateError {
    StateError::Corrupt {
        reason: reason.into(),
    }
}

fn header(text: &str) -> Result<Header<'_>, StateError> {
    let split = || {
        let (model, rest) = text
            .strip_prefix("{\"model\":\"")?
            .split_once("\",\"format\":")?;
        let (format, rest) = rest.split_once(",\"body\":")?;
        Some(Header {
            model,
            format: format.parse().ok()?,
            body: rest.strip_suffix('}')?,
        })
    };
    split()
        .filter(|header| !header.model.is_empty() && !header.model.contains(['"', '\\']))
        .ok_or_else(|| corrupt("the text does not begin with a model, a format and a body"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn awkward_numbers_come_back_exactly() {
        let numbers = vec![
            0.1 + 0.2,
            1e-300,
            f64::MIN_POSITIVE / 3.0,
            f64::MAX,
            -1.0 / 3.0,
            1e22,
            -0.0,
        ];
        let state = State::encode("naive", 1, &numbers);
        let read: Vec<f64> = State::from_text(state.as_str().to_owned())
            .unwrap()
            .decode("naive", 1)
            .unwrap();
        let bits = |numbers: &[f64]| {
            numbers
                .iter()
                .map(|number| number.to_bits())
                .collect::<Vec<_>>()
        };
        assert_eq!(bits(&read), bits(&numbers));
    }

    #[test]
    fn a_state_begins_with_its_model_and_format() {
        let state = State::encode("random_walk", 1, &[1.5]);
        assert_eq!(
            state.as_str(),
            r#"{"model":"random_walk","format":1,"body":[1.5]}"#
        );
        assert_eq!(state.model(), "random_walk");
    }

    #[test]
    fn another_model_or_format_is_refused() {
        let state = State::encode("naive", 1, &1.0);
        assert_eq!(
            state.decode::<f64>("random_walk", 1).unwrap_err().class(),
            "state_model"
        );
        assert_eq!(
            state.decode::<f64>("naive", 2).unwrap_err().class(),
            "state_format"
        );
        assert_eq!(
            state.decode::<Vec<f64>>("naive", 1).unwrap_err().class(),
            "state_corrupt"
        );
    }

    #[test]
    fn text_that_is_no_state_is_refused() {
        for text in [
            "",
            "{}",
            r#"{"model":"naive"}"#,
            r#"{"model":"naive","format":-1,"body":1}"#,
            r#"{"model":"","format":1,"body":1}"#,
            r#"{"model":"naive","format":1,"body":1"#,
        ] {
            assert_eq!(
                State::from_text(text.to_owned()).unwrap_err().class(),
                "state_corrupt",
                "{text}"
            );
        }
    }
}
