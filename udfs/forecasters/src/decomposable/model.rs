//! How trend and effects make a value.

use serde::{Deserialize, Serialize};

use super::settings::{Growth, Mode};
use crate::math::{exp, ln};

/// The unit that everything is computed in: values are `(value − level) / scale`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Unit {
    pub(crate) level: f64,
    pub(crate) scale: f64,
}

/// What joins trend and effects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Model {
    mode: Mode,
    /// How high logistic growth rises, in units.
    capacity: Option<f64>,
    /// The level, in units: what a share of the trend counts from.
    base: f64,
}

impl Model {
    pub(crate) fn new(growth: Growth, mode: Mode, unit: Unit) -> Model {
        Model {
            mode,
            capacity: match growth {
                Growth::Logistic(rise) => Some(rise / unit.scale),
                Growth::Linear | Growth::Flat => None,
            },
            base: unit.level / unit.scale,
        }
    }

    /// Whether a value is the sum of trend and effects.
    pub(crate) fn is_linear(&self) -> bool {
        self.mode == Mode::Additive && self.capacity.is_none()
    }

    /// The value, in units above the level, where trend and effects have come to these numbers.
    #[inline]
    pub(crate) fn value(&self, trend: f64, effects: f64) -> f64 {
        let trend = self.grown(trend);
        match self.mode {
            Mode::Additive => trend + effects,
            Mode::Multiplicative => trend + effects * (trend + self.base),
        }
    }

    /// The derivatives of the value in trend and effects.
    pub(crate) fn slopes(&self, trend: f64, effects: f64) -> (f64, f64) {
        let grown = self.grown(trend);
        let slope = self
            .capacity
            .map_or(1.0, |capacity| grown * (1.0 - grown / capacity));
        match self.mode {
            Mode::Additive => (slope, 1.0),
            Mode::Multiplicative => (slope * (1.0 + effects), grown + self.base),
        }
    }

    /// The trend itself.
    pub(crate) fn grown(&self, trend: f64) -> f64 {
        match self.capacity {
            None => trend,
            Some(capacity) => capacity / (1.0 + exp(-trend)),
        }
    }

    /// The argument at which the trend is this, or nearly so where it never is.
    pub(crate) fn ungrown(&self, grown: f64) -> f64 {
        match self.capacity {
            None => grown,
            Some(capacity) => {
                let share = (grown / capacity).clamp(0.01, 0.99);
                ln(share / (1.0 - share))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_are_those_of_the_value() {
        let unit = Unit {
            level: 3.0,
            scale: 2.0,
        };
        for growth in [Growth::Linear, Growth::Logistic(8.0)] {
            for mode in [Mode::Additive, Mode::Multiplicative] {
                let model = Model::new(growth, mode, unit);
                let (trend, effects, step) = (0.7, -0.2, 1e-6);
                let (of_trend, of_effects) = model.slopes(trend, effects);
                let across = |a: f64, b: f64| (a - b) / (2.0 * step);
                let trend_found = across(
                    model.value(trend + step, effects),
                    model.value(trend - step, effects),
                );
                let effects_found = across(
                    model.value(trend, effects + step),
                    model.value(trend, effects - step),
                );
                assert!((of_trend - trend_found).abs() < 1e-8, "{model:?}");
                assert!((of_effects - effects_found).abs() < 1e-8, "{model:?}");
            }
        }
    }

    #[test]
    fn shares_count_from_zero_and_not_from_the_level() {
        let unit = Unit {
            level: 100.0,
            scale: 50.0,
        };
        let model = Model::new(Growth::Linear, Mode::Multiplicative, unit);
        // A trend of 110 and a share of a tenth: 121.
        assert!((unit.level + unit.scale * model.value(0.2, 0.1) - 121.0).abs() < 1e-12);
    }
}
