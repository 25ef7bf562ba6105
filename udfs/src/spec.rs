//! A model's resolved specification: all that decides what it does, as JSON, in one value.
//!
//! It is an argument of `train` and `forecast`, it is stored with every trained model, and a
//! forecast uses the one that its model was trained with.

use almanac_forecasters::{Calendar, Forecaster, Params, catalog, family};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::failure::Failure;

/// How several regions' values of one covariate and day become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Regions {
    /// Their mean.
    #[default]
    Mean,
    /// The value of the region `ALL`, else of the first region by name.
    First,
    /// One covariate for each region, named `column@region`.
    Pivot,
}

/// Where a covariate's values over the horizon come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Projection {
    /// Nowhere: they are missing.
    None,
    /// The newest known value stays.
    #[default]
    Persist,
    /// The mean of the same day of the year over the last three years.
    Seasonal,
    /// The straight line through the last 30 days.
    Linear,
}

/// A resolved model specification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// The forecaster family.
    pub family: String,
    /// The family's parameters.
    #[serde(default)]
    pub params: Map<String, Value>,
    /// Covariate columns, in the order in which the model sees them.
    #[serde(default)]
    pub covariates: Vec<String>,
    /// How regions are reduced.
    #[serde(default)]
    pub regions: Regions,
    /// How many calendar days pass before a covariate's value is known.
    #[serde(default = "one")]
    pub lag_days: i32,
    /// How many days a covariate's value may be carried beyond its lag.
    #[serde(default = "seven")]
    pub carry_days: i32,
    /// Covariates over the horizon.
    #[serde(default)]
    pub projection: Projection,
    /// What a step is.
    #[serde(default = "trading")]
    pub calendar: Calendar,
    /// Calendar days of history without which `train` refuses.
    #[serde(default)]
    pub minimum_history_days: i32,
    /// Age in days of the newest observation from which a forecast is refused as stale.
    #[serde(default = "ten")]
    pub stale_after_days: i32,
    /// Part of every random stream's key.
    #[serde(default)]
    pub seed: u64,
    /// Whether training also measures the loss on the last fifth, which takes a second fit.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub validate: bool,
}

fn yes() -> bool {
    true
}
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes fields by reference"
)]
fn is_yes(flag: &bool) -> bool {
    *flag
}
fn one() -> i32 {
    1
}
fn seven() -> i32 {
    7
}
fn ten() -> i32 {
    10
}
fn trading() -> Calendar {
    Calendar::Trading
}

impl ModelSpec {
    /// A specification of `family` with every other field at its default.
    #[must_use]
    pub fn of_family(family: &str) -> Self {
        Self {
            family: family.to_owned(),
            params: Map::new(),
            covariates: vec![],
            regions: Regions::default(),
            lag_days: one(),
            carry_days: seven(),
            projection: Projection::default(),
            calendar: trading(),
            minimum_history_days: 0,
            stale_after_days: ten(),
            seed: 0,
            validate: yes(),
        }
    }

    /// The canonical JSON text.
    ///
    /// # Panics
    /// Never: every field has a JSON form.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a specification is plain data")
    }

    /// Reads JSON, or a catalog key or family name standing for its defaults.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        if text.trim_start().starts_with('{') {
            let spec: Self = serde_json::from_str(text).map_err(|error| {
                Failure::new("parameter", format!("model specification: {error}"))
            })?;
            // A negative lag would read covariates from the day that is forecast and later.
            for (field, days) in [("lag_days", spec.lag_days), ("carry_days", spec.carry_days)] {
                if days < 0 {
                    return Err(Failure::new(
                        "parameter",
                        format!("model specification: {field} is {days}, needs 0 or more"),
                    ));
                }
            }
            return Ok(spec);
        }
        if let Some(entry) = catalog().iter().find(|entry| entry.key == text) {
            let mut spec = Self::of_family(entry.family.name());
            spec.params = serde_json::from_str(entry.params).map_err(|error| {
                Failure::new("parameter", format!("catalog entry `{text}`: {error}"))
            })?;
            return Ok(spec);
        }
        Ok(Self::of_family(text))
    }

    /// The forecaster that it names.
    pub(crate) fn forecaster(&self) -> Result<&'static dyn Forecaster, Failure> {
        family(&self.family)
            .ok_or_else(|| Failure::new("parameter", format!("no model family `{}`", self.family)))
    }

    pub(crate) fn parameters(&self) -> Params {
        Params::from(self.params.clone())
    }

    /// How far before a day its covariates and its calendar may look.
    #[must_use]
    pub fn lookback_days(&self) -> i32 {
        const YEAR_OF_WEEKDAYS: i32 = 7 * 52;
        let covariates = match self.projection {
            _ if self.covariates.is_empty() => 0,
            Projection::None | Projection::Persist => self.lag_days + self.carry_days,
            Projection::Linear => 30 + self.lag_days + self.carry_days,
            Projection::Seasonal => 3 * 366 + 1,
        };
        covariates.max(YEAR_OF_WEEKDAYS)
    }
}
