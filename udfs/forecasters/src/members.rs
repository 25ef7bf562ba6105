//! Models that are made of other models: how a member is named, fitted, stored and resumed.
//!
//! A member is named by its key in the catalog or by its family, `"auto_ets"`, or with parameters
//! of its own, `{"model":"auto_ets","params":{"season_length":1}}`. What the outer model was given
//! and its members understand as well, such as the length of the season, is handed down unless the
//! member says otherwise.
//!
//! The state of a member is part of the outer state as it is, as a nested JSON object: it is
//! neither escaped nor read before the member is needed.
//!
//! A member may itself have members, but those may not: the names of models cannot lead around in
//! a circle, nor a stored state down without end.

use std::{fmt, sync::LazyLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, value::RawValue};

use crate::{
    Fitted, Forecaster, Parameter, Params, calibration, catalog,
    errors::{FitError, StateError},
    families,
    family::{Running, Start},
    outlook::Outlook,
    series::{Ahead, Series},
    state::{State, corrupt},
    suggestion::nearest,
};

/// The most members a model may have.
const MOST_MEMBERS: usize = 32;

/// A model that another holds.
#[derive(Clone)]
pub struct Member {
    /// The name it was given by: a key of the catalog, or a family.
    pub name: String,
    /// The family that runs it.
    pub family: &'static dyn Forecaster,
    /// Its parameters, those handed down included.
    pub params: Params,
}

/// What an outer model hands down to its members.
pub(crate) struct Legacy {
    values: Vec<(&'static str, Value)>,
}

impl Legacy {
    /// The values of these of the outer model's parameters, given or default; and that no logarithms
    /// are to be taken where the outer model is fitted under a transformation.
    pub(crate) fn of(params: &Params, parameters: &'static [Parameter], names: &[&str]) -> Legacy {
        let named = |parameter: &&Parameter| names.contains(&parameter.name);
        let values = parameters.iter().filter(named).map(|parameter| {
            let value = params.values().get(parameter.name).cloned();
            let default = || serde_json::from_str(parameter.default).expect("defaults are JSON");
            (parameter.name, value.unwrap_or_else(default))
        });
        let legacy = Legacy {
            values: values.collect(),
        };
        // Members do not see that their history is transformed.
        match params.values().get("transform").and_then(Value::as_str) {
            None | Some("none") => legacy,
            Some(_) => legacy.and("logarithms", "no"),
        }
    }

    /// A further value.
    pub(crate) fn and(mut self, name: &'static str, value: impl Into<Value>) -> Legacy {
        self.values.push((name, value.into()));
        self
    }
}

impl Member {
    /// The member that a parameter of the outer model names, itself or in an element of a list.
    pub(crate) fn read(
        parameter: &str,
        given: &Value,
        legacy: &Legacy,
    ) -> Result<Member, FitError> {
        let refused = |needed: &str| FitError::Parameter {
            name: parameter.to_owned(),
            found: given.to_string(),
            needed: needed.to_owned(),
        };
        let (name, own) = named(given).ok_or_else(|| {
            refused("the name of a model, or {\"model\":its name,\"params\":{its parameters}}")
        })?;
        let entry = catalog().iter().find(|entry| entry.key == name);
        let family = entry
            .map(|entry| entry.family)
            .or_else(|| crate::family(name))
            .ok_or_else(|| {
                let names = catalog().iter().map(|entry| entry.key);
                match nearest(name, names.chain(families().map(|family| family.name()))) {
                    Some(near) => refused(&format!("a known model; did you mean `{near}`?")),
                    None => refused("the name of a model of the catalog or of a family"),
                }
            })?;
        let mut params = entry
            .map(|entry| Params::parse(entry.params))
            .transpose()?
            .unwrap_or_default()
            .values()
            .clone();
        // The outer model's paths are stretched as a whole.
        params.remove(calibration::PARAMETER.name);
        for (name, value) in own {
            params.insert(name.clone(), value.clone());
        }
        for (name, value) in &legacy.values {
            let accepted = family.parameters().iter().any(|known| known.name == *name);
            if accepted && !params.contains_key(*name) {
                params.insert((*name).to_owned(), value.clone());
            }
        }
        Ok(Member {
            name: name.to_owned(),
            family,
            params: Params::from(params),
        })
    }

    /// The members that a parameter of the outer model lists, at least one.
    pub(crate) fn read_list(
        parameter: &str,
        given: &Value,
        legacy: &Legacy,
    ) -> Result<Vec<Member>, FitError> {
        let list = given.as_array();
        let list = list.filter(|list| (1..=MOST_MEMBERS).contains(&list.len()));
        let list = list.ok_or_else(|| FitError::Parameter {
            name: parameter.to_owned(),
            found: given.to_string(),
            needed: format!("a list of 1 to {MOST_MEMBERS} models"),
        })?;
        list.iter()
            .map(|given| Member::read(parameter, given, legacy))
            .collect()
    }

    /// The least number of observations it can be fitted on. Refuses parameters it does not know
    /// or that are out of range, and a member whose members have members.
    pub(crate) fn minimum(&self) -> Result<usize, FitError> {
        let minimum = || {
            self.params.check_names(&self.family.parameters())?;
            for inner in self.family.members(&self.params)? {
                if holds_models(inner.family) {
                    return Err(FitError::Parameter {
                        name: "model".to_owned(),
                        found: Value::from(inner.name).to_string(),
                        needed: "a model without members: they are nested too deep".to_owned(),
                    });
                }
            }
            self.family.minimum_observations(&self.params)
        };
        minimum().map_err(|error| self.failed(error))
    }

    /// Fits it to a history, from its state in an earlier fit of the outer model where there is one.
    pub(crate) fn fit(
        &self,
        history: Series<'_>,
        start: Start<'_, State>,
    ) -> Result<Fitted, FitError> {
        let fitted = match start {
            Start::Cold => self.family.fit(history, &self.params, None),
            Start::Near(state) => self.family.fit(history, &self.params, Some(state)),
            Start::Keep(state) => self.family.refit(history, &self.params, state),
        };
        fitted.map_err(|error| self.failed(error))
    }

    /// Its state, to be part of the outer one.
    pub(crate) fn hold(&self, state: &State) -> Held {
        Held {
            name: self.name.clone(),
            state: Content::Stored(state.as_raw().to_owned()),
        }
    }

    fn failed(&self, error: FitError) -> FitError {
        FitError::Member {
            member: self.name.clone(),
            error: Box::new(error),
        }
    }
}

/// The fitted state of a member as part of the outer one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Held {
    /// The name the member was given by.
    name: String,
    state: Content,
}

/// A state as it was stored until it is needed, and decoded from then on.
enum Content {
    Stored(Box<RawValue>),
    Running(Box<dyn Running>),
}

impl fmt::Debug for Content {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Content::Stored(text) => text.fmt(formatter),
            Content::Running(running) => running.state().fmt(formatter),
        }
    }
}

impl Clone for Content {
    fn clone(&self) -> Content {
        match self {
            Content::Stored(text) => Content::Stored(text.clone()),
            Content::Running(running) => Content::Running(running.copy()),
        }
    }
}

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Content::Stored(text) => text.serialize(serializer),
            Content::Running(running) => running.state().as_raw().serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Content, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(Content::Stored)
    }
}

impl Held {
    /// Its state.
    fn state(&self) -> Result<State, StateError> {
        match &self.state {
            Content::Stored(text) => State::from_raw(text.clone()),
            Content::Running(running) => Ok(running.state()),
        }
    }

    /// Checks what was decoded, apart from the inside of the member's state, which it checks
    /// itself when it is resumed and runs.
    pub(crate) fn check(&self) -> Result<(), StateError> {
        if let Content::Running(_) = self.state {
            return Ok(());
        }
        let state = self.state()?;
        if holders(state.as_str()) > 1 {
            return Err(corrupt("members are nested too deep"));
        }
        family_of(&state).map(|_| ())
    }

    /// The member, to take in observations.
    pub(crate) fn running(&mut self) -> Result<&mut dyn Running, StateError> {
        if let Content::Stored(_) = self.state {
            self.state = Content::Running(self.resume()?);
        }
        match &mut self.state {
            Content::Running(running) => Ok(running.as_mut()),
            Content::Stored(_) => unreachable!("it was resumed just now"),
        }
    }

    /// What the member expects.
    pub(crate) fn outlook(self, ahead: Ahead<'_>) -> Result<Box<dyn Outlook>, StateError> {
        let running = match self.state {
            Content::Running(running) => running,
            Content::Stored(_) => self.resume()?,
        };
        running.outlook(ahead)
    }

    fn resume(&self) -> Result<Box<dyn Running>, StateError> {
        let state = self.state()?;
        family_of(&state)?.resume(&state)
    }
}

/// The states of an earlier fit, each for the next member of its name and family.
pub(crate) struct Earlier {
    states: Vec<(String, State)>,
}

impl Earlier {
    /// The states held by an earlier body.
    pub(crate) fn of(held: &[Held]) -> Result<Earlier, FitError> {
        let states = held.iter().map(|held| {
            let state = held.state().map_err(|error| FitError::Previous {
                reason: error.to_string(),
            })?;
            Ok((held.name.clone(), state))
        });
        Ok(Earlier {
            states: states.collect::<Result<_, FitError>>()?,
        })
    }

    /// The state of this member, taken out.
    pub(crate) fn take(&mut self, member: &Member) -> Option<State> {
        let place = self.states.iter().position(|(name, state)| {
            *name == member.name && state.model() == member.family.name()
        })?;
        Some(self.states.remove(place).1)
    }
}

/// The name and the own parameters of a member.
fn named(given: &Value) -> Option<(&str, Map<String, Value>)> {
    match given {
        Value::String(name) => Some((name, Map::new())),
        Value::Object(object) => {
            let known = |name: &String| ["model", "params"].contains(&name.as_str());
            let name = object.get("model")?.as_str()?;
            let params = match object.get("params") {
                None => Map::new(),
                Some(params) => params.as_object()?.clone(),
            };
            object.keys().all(known).then_some((name, params))
        }
        _ => None,
    }
}

/// Whether models of this family are made of others.
fn holds_models(family: &dyn Forecaster) -> bool {
    family
        .members(&Params::default())
        .map_or(true, |members| !members.is_empty())
}

/// How many states of models that hold others begin in a text. Quotes within JSON text are
/// escaped, so that no name or message can look like the beginning of a state.
fn holders(text: &str) -> usize {
    static HOLDERS: LazyLock<Vec<&str>> = LazyLock::new(|| {
        let holders = families().filter(|family| holds_models(*family));
        holders.map(|family| family.name()).collect()
    });
    let names = text.split("\"model\":\"").skip(1);
    names
        .filter(|rest| {
            let name = rest.split_once('"').map_or("", |(name, _)| name);
            HOLDERS.contains(&name)
        })
        .count()
}

fn family_of(state: &State) -> Result<&'static dyn Forecaster, StateError> {
    crate::family(state.model())
        .ok_or_else(|| corrupt(format!("no model is called `{}`", state.model())))
}
