//! The parameters of a model: what a family accepts, and what a request gave.

use serde_json::{Map, Value};

use crate::{errors::FitError, suggestion::nearest};

/// One parameter a family accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name in settings.
    pub name: &'static str,
    /// Its default, as JSON text.
    pub default: &'static str,
    /// What it means and what it may be, in one line.
    pub help: &'static str,
}

/// The parameters given for a model, by name. What is not given takes its default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Params(Map<String, Value>);

impl From<Map<String, Value>> for Params {
    fn from(values: Map<String, Value>) -> Self {
        Params(values)
    }
}

impl Params {
    /// Reads a JSON object.
    pub fn parse(text: &str) -> Result<Params, FitError> {
        serde_json::from_str(text)
            .map(Params)
            .map_err(|_| FitError::Parameter {
                name: "parameters".to_owned(),
                found: text.to_owned(),
                needed: "a JSON object".to_owned(),
            })
    }

    /// The parameters given, by name.
    pub fn values(&self) -> &Map<String, Value> {
        &self.0
    }

    /// A count, or the default if it was not given.
    pub fn usize_or(&self, name: &str, default: usize) -> Result<usize, FitError> {
        match self.0.get(name) {
            None => Ok(default),
            Some(given) => {
                count(given).ok_or_else(|| refused(name, given, "a whole number from 0"))
            }
        }
    }

    /// A finite number, or the default if it was not given.
    pub fn f64_or(&self, name: &str, default: f64) -> Result<f64, FitError> {
        match self.0.get(name) {
            None => Ok(default),
            Some(given) => given
                .as_f64()
                .filter(|number| number.is_finite())
                .ok_or_else(|| refused(name, given, "a number")),
        }
    }

    /// A text, or the default if it was not given.
    pub fn str_or<'a>(&'a self, name: &str, default: &'a str) -> Result<&'a str, FitError> {
        match self.0.get(name) {
            None => Ok(default),
            Some(given) => given.as_str().ok_or_else(|| refused(name, given, "a text")),
        }
    }

    /// A list of counts, or the default if it was not given.
    pub fn list_usize_or(&self, name: &str, default: &[usize]) -> Result<Vec<usize>, FitError> {
        match self.0.get(name) {
            None => Ok(default.to_vec()),
            Some(given) => given
                .as_array()
                .and_then(|list| list.iter().map(count).collect())
                .ok_or_else(|| refused(name, given, "a list of whole numbers from 0")),
        }
    }

    /// The error for a value that has the right type and the wrong size.
    pub(crate) fn out_of_range(&self, name: &str, needed: &str) -> FitError {
        refused(name, self.0.get(name).unwrap_or(&Value::Null), needed)
    }

    /// Refuses parameters that are not among the known ones.
    pub(crate) fn check_names(&self, known: &[Parameter]) -> Result<(), FitError> {
        let names = || known.iter().map(|parameter| parameter.name);
        match self
            .0
            .iter()
            .find(|(name, _)| names().all(|known| known != name.as_str()))
        {
            None => Ok(()),
            Some((name, given)) => {
                let needed = match nearest(name, names()) {
                    Some(suggestion) => format!("a known parameter; did you mean `{suggestion}`?"),
                    None if known.is_empty() => "no parameters".to_owned(),
                    None => format!("one of {}", names().collect::<Vec<_>>().join(", ")),
                };
                Err(refused(name, given, &needed))
            }
        }
    }
}

fn count(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|count| usize::try_from(count).ok())
}

fn refused(name: &str, given: &Value, needed: &str) -> FitError {
    FitError::Parameter {
        name: name.to_owned(),
        found: given.to_string(),
        needed: needed.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [Parameter; 1] = [Parameter {
        name: "lookback",
        default: "30",
        help: "",
    }];

    #[test]
    fn what_is_given_wins_over_the_default() {
        let params =
            Params::parse(r#"{"lookback":5,"lags":[1,7],"level":0.5,"mode":"nan"}"#).unwrap();
        assert_eq!(params.usize_or("lookback", 30), Ok(5));
        assert_eq!(params.usize_or("window", 30), Ok(30));
        assert_eq!(params.list_usize_or("lags", &[]), Ok(vec![1, 7]));
        assert_eq!(params.f64_or("level", 0.1), Ok(0.5));
        assert_eq!(params.str_or("mode", ""), Ok("nan"));
    }

    #[test]
    fn a_value_of_the_wrong_type_is_named_and_never_rounded() {
        let params =
            Params::parse(r#"{"lookback":5.5,"lags":[1,-7],"level":"x","mode":1}"#).unwrap();
        let errors = [
            params.usize_or("lookback", 1).unwrap_err(),
            params.list_usize_or("lags", &[]).unwrap_err(),
            params.f64_or("level", 0.0).unwrap_err(),
            params.str_or("mode", "").unwrap_err(),
        ];
        assert!(errors.iter().all(|error| error.class() == "parameter"));
        assert_eq!(
            errors[0].to_string(),
            "parameter `lookback` is 5.5, needed: a whole number from 0"
        );
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_nearest_known_one() {
        let error = Params::parse(r#"{"lookbak":5}"#)
            .unwrap()
            .check_names(&KNOWN)
            .unwrap_err();
        assert!(
            error.to_string().contains("did you mean `lookback`"),
            "{error}"
        );
        assert!(Params::parse("[]").is_err());
    }
}
