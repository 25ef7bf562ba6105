//! `models`: the catalog.

use almanac_udfs::forecasters::{Forecaster, family};
use serde_json::{Value, json};

use crate::catalog;
use crate::cli::ModelsCommand;
use crate::error::JobError;
use crate::report::{print, print_json, titled};
use crate::runs::Status;
use crate::settings::Settings;

/// Lists the models, or shows one.
pub fn models(settings: &Settings, show: Option<&ModelsCommand>) -> Result<Status, JobError> {
    let describe = |key: &str, model: &catalog::Model| {
        json!({
            "key": key, "family": model.spec.family, "summary": model.summary, "parameters": model.spec.params,
            "covariates": model.spec.covariates, "source": if model.custom { "settings file" } else { "built in" },
        })
    };
    match show {
        None => {
            let all: Vec<Value> = settings
                .catalog
                .iter()
                .map(|(key, model)| describe(key, model))
                .collect();
            if settings.json {
                print_json(&json!({"models": all}))?;
            } else {
                print(&titled(
                    "models",
                    &["key", "family", "parameters", "covariates", "summary"],
                    &all,
                ))?;
            }
        }
        Some(ModelsCommand::Show { key }) => {
            let model = settings.catalog.get(key)?;
            let mut shown = describe(key, model);
            let parameters = family(&model.spec.family)
                .map(Forecaster::parameters)
                .unwrap_or_default();
            let parameters: Vec<Value> = parameters
                .iter()
                .map(|parameter| json!({"name": parameter.name, "default": parameter.default, "help": parameter.help}))
                .collect();
            if settings.json {
                shown["accepts"] = json!(parameters);
                print_json(&shown)?;
            } else {
                print(&format!(
                    "{key}: {}\nfamily {}, set to {}\n",
                    model.summary, model.spec.family, shown["parameters"]
                ))?;
                print(&titled(
                    "parameters",
                    &["name", "default", "help"],
                    &parameters,
                ))?;
            }
        }
    }
    Ok(Status::Succeeded)
}
