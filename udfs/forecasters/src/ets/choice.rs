//! What a user asks for: the parameters, and the forms they leave to choose from.

use super::{
    doubt::Doubt,
    form::{Form, Kind},
};
use crate::{Params, errors::FitError, noise, seasons};

/// What a user left open, and what not.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Choice {
    pub(crate) relative: Option<bool>,
    pub(crate) trend: Option<Kind>,
    pub(crate) damped: Option<bool>,
    pub(crate) season: Seasons,
    pub(crate) season_length: usize,
    pub(crate) errors: noise::Kind,
}

/// Which seasons are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seasons {
    /// Any season or none.
    Any,
    /// Some season.
    Some,
    /// This.
    Only(Kind),
}

impl Choice {
    /// Reads the parameters.
    pub(crate) fn read(params: &Params) -> Result<Choice, FitError> {
        let relative = match params.str_or("error", "auto")? {
            "auto" | "Z" => None,
            "A" | "additive" => Some(false),
            "M" | "multiplicative" => Some(true),
            _ => return Err(params.out_of_range("error", "A, M or auto")),
        };
        let (trend, fading) = match params.str_or("trend", "auto")? {
            "auto" | "Z" => (None, None),
            "N" | "none" => (Some(Kind::None), None),
            "A" | "additive" => (Some(Kind::Additive), None),
            "Ad" => (Some(Kind::Additive), Some(true)),
            "M" | "multiplicative" => (Some(Kind::Multiplicative), None),
            "Md" => (Some(Kind::Multiplicative), Some(true)),
            _ => return Err(params.out_of_range("trend", "N, A, Ad, M, Md or auto")),
        };
        let damped = match params.values().get("damped").cloned() {
            None => None,
            Some(value) => match (value.as_bool(), value.as_str()) {
                (Some(damped), _) => Some(damped),
                (_, Some("auto" | "Z")) => None,
                _ => return Err(params.out_of_range("damped", "true, false or auto")),
            },
        };
        let damped = match (damped, fading) {
            (Some(false), Some(true)) => {
                return Err(params.out_of_range("damped", "true or auto with a trend Ad or Md"));
            }
            (Some(true), _) if trend == Some(Kind::None) => {
                return Err(params.out_of_range("damped", "false or auto without a trend"));
            }
            (damped, fading) => damped.or(fading),
        };
        let season = match params.str_or("season", "auto")? {
            "auto" | "Z" => Seasons::Any,
            "some" => Seasons::Some,
            "N" | "none" => Seasons::Only(Kind::None),
            "A" | "additive" => Seasons::Only(Kind::Additive),
            "M" | "multiplicative" => Seasons::Only(Kind::Multiplicative),
            _ => return Err(params.out_of_range("season", "N, A, M, some or auto")),
        };
        let season_length = seasons::length(params, 5)?;
        let least = match season {
            Seasons::Only(Kind::None) | Seasons::Any => 1,
            _ => 2,
        };
        if season_length < least {
            let needed = format!("at least {least} with this `season`");
            return Err(params.out_of_range("season_length", &needed));
        }
        Ok(Choice {
            relative,
            trend,
            damped,
            season,
            season_length,
            errors: noise::Kind::read(params)?,
        })
    }

    /// The fewest observations for the simplest form that is allowed.
    pub(crate) fn minimum(&self) -> usize {
        let trend = match (self.trend, self.damped) {
            (None | Some(Kind::None), Some(false) | None) => 2,
            _ => 4,
        };
        match self.season {
            Seasons::Any | Seasons::Only(Kind::None) => trend,
            Seasons::Some | Seasons::Only(_) => self.season_length.saturating_mul(2).max(trend),
        }
    }

    /// What nobody asked for.
    pub(crate) fn doubt(&self) -> Doubt {
        Doubt {
            error: self.relative.is_none(),
            trend: self.trend.is_none(),
        }
    }

    fn allows(&self, form: Form) -> bool {
        let season = match self.season {
            Seasons::Any => true,
            Seasons::Some => form.season != Kind::None,
            Seasons::Only(season) => form.season == season,
        };
        let trend = match self.trend {
            // Growth by a factor is for those who ask for it.
            None => form.trend != Kind::Multiplicative,
            Some(trend) => form.trend == trend,
        };
        let damped = match self.damped {
            None => true,
            Some(true) => form.damped,
            Some(false) => !form.damped,
        };
        let relative = self
            .relative
            .is_none_or(|relative| form.relative == relative);
        season && trend && damped && relative
    }

    /// Whether so many values hold two seasons.
    pub(crate) fn seasons(&self, count: usize) -> bool {
        self.season_length >= 2 && count / 2 >= self.season_length
    }

    /// The forms to choose from for so many values; `positive` tells whether all values are.
    pub(crate) fn forms(&self, count: usize, positive: bool) -> Vec<Form> {
        let allowed: Vec<Form> = Form::all().filter(|form| self.allows(*form)).collect();
        // What leaves no choice is what was asked for, stable or not, if it can be fitted at all.
        if let [form] = allowed[..] {
            return vec![form];
        }
        let seasonal = self.seasons(count);
        let mut forms: Vec<Form> = allowed
            .iter()
            .copied()
            .filter(|form| {
                (positive || !form.positive()) && (seasonal || form.season == Kind::None)
            })
            .collect();
        if forms.iter().any(|form| !form.unstable()) {
            forms.retain(|form| !form.unstable());
        }
        // AICc is defined where two observations more than parameters are left.
        let enough = |form: &Form| count > form.parameters(self.season_length) + 1;
        if forms.iter().any(enough) {
            forms.retain(enough);
        } else {
            forms.truncate(1);
        }
        forms
    }
}
