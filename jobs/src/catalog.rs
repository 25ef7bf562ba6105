//! The models that users name: the compiled-in catalog, extended or overridden by the settings file.

use std::collections::BTreeMap;

use almanac_delta::LakeSettings;
use almanac_delta::tables::distributions::ACTUALS;
use almanac_udfs::forecasters::{self, Params, nearest};
use almanac_udfs::spec::{ModelSpec, Projection, Regions};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::JobError;

/// A model as users see it.
#[derive(Debug, Clone)]
pub struct Model {
    /// What it does, in a line.
    pub summary: String,
    /// Its specification, before a lake's settings are applied.
    pub spec: ModelSpec,
    /// Whether it comes from the settings file.
    pub custom: bool,
}

/// A model in the settings file. What is not named here is a parameter of the family.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelEntry {
    family: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<String>,
    #[serde(default)]
    covariates: Vec<String>,
    #[serde(default)]
    regions: Regions,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_days: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    carry_days: Option<i32>,
    #[serde(default)]
    projection: Projection,
    #[serde(skip_serializing_if = "Option::is_none")]
    minimum_history_days: Option<i32>,
    #[serde(default)]
    params: Map<String, Value>,
    #[serde(flatten)]
    flat: Map<String, Value>,
}

/// All models, by key.
#[derive(Debug, Clone)]
pub struct Catalog {
    models: BTreeMap<String, Model>,
    entries: BTreeMap<String, ModelEntry>,
}

impl Catalog {
    /// The compiled-in models and those of the settings file.
    pub fn new(entries: BTreeMap<String, ModelEntry>) -> Result<Self, JobError> {
        let mut models = BTreeMap::new();
        for entry in forecasters::catalog() {
            let mut spec = ModelSpec::of_family(entry.family.name());
            spec.params = serde_json::from_str(entry.params).map_err(|error| {
                JobError::ours(format!("catalog entry `{}`: {error}", entry.key))
            })?;
            models.insert(
                entry.key.to_owned(),
                Model {
                    summary: entry.summary.to_owned(),
                    spec,
                    custom: false,
                },
            );
        }
        for (key, entry) in &entries {
            models.insert(key.clone(), custom(key, entry.clone())?);
        }
        Ok(Self { models, entries })
    }

    /// What the settings file says of a model, unless it is a built-in one.
    pub fn entry(&self, key: &str) -> Option<&ModelEntry> {
        self.entries.get(key)
    }

    /// Every key with its model.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Model)> {
        self.models.iter().map(|(key, model)| (key.as_str(), model))
    }

    /// The model of a key; a misspelt key is answered with the nearest.
    pub fn get(&self, key: &str) -> Result<&Model, JobError> {
        self.models.get(key).ok_or_else(|| {
            let hint = match nearest(key, self.models.keys().map(String::as_str)) {
                Some(nearest) => {
                    format!("did you mean `{nearest}`? `almanac models` lists them all")
                }
                None => "`almanac models` lists them all".to_owned(),
            };
            JobError::user(format!("no model `{key}` in the catalog"), hint)
        })
    }

    /// The specification of a model in a lake.
    pub fn resolve(&self, key: &str, lake: &LakeSettings) -> Result<ModelSpec, JobError> {
        let mut spec = self.get(key)?.spec.clone();
        spec.calendar = lake.calendar.parse().map_err(|_| {
            JobError::ours(format!(
                "the lake's settings name an unknown calendar `{}`",
                lake.calendar
            ))
        })?;
        let days = |days: u32| i32::try_from(days).unwrap_or(i32::MAX);
        spec.minimum_history_days = self
            .entries
            .get(key)
            .and_then(|entry| entry.minimum_history_days)
            .unwrap_or_else(|| days(lake.minimum_history_days));
        spec.stale_after_days = days(lake.stale_after_days);
        spec.seed = lake.seed;
        Ok(spec)
    }
}

fn custom(key: &str, entry: ModelEntry) -> Result<Model, JobError> {
    let invalid = |reason: String, hint: String| {
        JobError::user(
            format!("model `{key}` in the settings file: {reason}"),
            hint,
        )
    };
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    if key.is_empty() || key.len() > 64 || !key.chars().all(plain) || key == ACTUALS {
        return Err(invalid(
            "it cannot have that name".to_owned(),
            format!("1 to 64 letters, digits, dots, dashes and underscores, and not `{ACTUALS}`"),
        ));
    }
    let Some(family) = forecasters::family(&entry.family) else {
        let names: Vec<&str> = forecasters::families()
            .map(|family| family.name())
            .collect();
        let nearest = nearest(&entry.family, names.iter().copied());
        let hint = nearest.map_or_else(
            || format!("families: {}", names.join(", ")),
            |name| format!("did you mean `{name}`?"),
        );
        return Err(invalid(format!("no family `{}`", entry.family), hint));
    };
    let mut spec = ModelSpec::of_family(family.name());
    spec.params = entry.params;
    spec.params.extend(entry.flat);
    spec.covariates = entry.covariates;
    spec.regions = entry.regions;
    spec.projection = entry.projection;
    spec.lag_days = entry.lag_days.unwrap_or(spec.lag_days);
    spec.carry_days = entry.carry_days.unwrap_or(spec.carry_days);
    if spec.lag_days < 0 || spec.carry_days < 0 {
        return Err(invalid(
            "lag_days or carry_days is negative".to_owned(),
            "a covariate cannot be known before its day".to_owned(),
        ));
    }
    family
        .validate(&Params::from(spec.params.clone()))
        .map_err(|error| {
            let names: Vec<&str> = family
                .parameters()
                .iter()
                .map(|parameter| parameter.name)
                .collect();
            invalid(
                error.to_string(),
                format!("parameters of `{}`: {}", family.name(), names.join(", ")),
            )
        })?;
    let summary = entry.summary.unwrap_or_else(|| family.summary().to_owned());
    Ok(Model {
        summary,
        spec,
        custom: true,
    })
}
