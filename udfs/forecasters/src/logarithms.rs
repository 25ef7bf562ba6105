//! Models of the logarithms of positive values.

use crate::{
    Parameter, Params,
    date::Day,
    errors::{FitError, StateError},
    math::{exp_normal, ln},
    outlook::Outlook,
    transform::{Transform, Transformed},
};

/// The parameter by which users choose.
pub(crate) const LOGARITHMS: Parameter = Parameter {
    name: "logarithms",
    default: "\"auto\"",
    help: "whether logarithms are modelled: yes, no, or auto (where values differ, all positive)",
};

/// When logarithms are modelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Logarithms {
    /// Never.
    Never,
    /// Always, so that other values are an error.
    Always,
    /// Where values differ and all are positive.
    Automatic,
}

impl Logarithms {
    /// Reads the parameter `logarithms`. What is transformed already is left as it is, unless
    /// asked for.
    pub(crate) fn read(params: &Params) -> Result<Logarithms, FitError> {
        match params.str_or("logarithms", "auto")? {
            "no" => Ok(Logarithms::Never),
            "yes" => Ok(Logarithms::Always),
            "auto" if params.str_or("transform", "none")? != "none" => Ok(Logarithms::Never),
            "auto" => Ok(Logarithms::Automatic),
            _ => Err(params.out_of_range("logarithms", "yes, no or auto")),
        }
    }

    /// What a model of this form was fitted with.
    pub(crate) fn kept(logarithms: bool) -> Logarithms {
        if logarithms {
            Logarithms::Always
        } else {
            Logarithms::Never
        }
    }

    /// Whether these values are to be replaced by their logarithms. Equal values are not, unless
    /// asked for: the exponential of a logarithm is not exactly the value.
    pub(crate) fn takes(self, dates: &[Day], values: &[f64]) -> Result<bool, FitError> {
        let Some(worst) = (0..values.len()).find(|index| values[*index] <= 0.0) else {
            let equal = values.iter().all(|value| *value == values[0]);
            return Ok(self != Logarithms::Never && !equal);
        };
        match self {
            Logarithms::Always => Err(FitError::Domain {
                date: dates[worst],
                value: values[worst],
                needed: POSITIVE,
            }),
            Logarithms::Never | Logarithms::Automatic => Ok(false),
        }
    }
}

const POSITIVE: &str = "positive, for its logarithm";

/// The logarithm of a new observation.
pub(crate) fn of_observation(date: Day, value: f64) -> Result<f64, StateError> {
    if value > 0.0 {
        return Ok(ln(value));
    }
    Err(StateError::Domain {
        date,
        value,
        needed: POSITIVE,
    })
}

/// The value with a logarithm, from 2.2e-308 to 1.2e308.
#[inline(always)]
pub(crate) fn back(logarithm: f64) -> f64 {
    exp_normal(logarithm)
}

/// The outlook for values whose logarithms have another. Its point forecast is the middle, not the
/// mean.
pub(crate) fn exponential(inner: impl Outlook + 'static) -> Box<dyn Outlook> {
    Box::new(Transformed {
        inner: Box::new(inner),
        transform: Transform::Log,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, Streams, noise::Noise, outlook::Linear};

    #[test]
    fn logarithms_are_taken_of_positive_values_that_differ() {
        let takes = |text: &str, values: &[f64]| {
            Logarithms::read(&Params::parse(text).unwrap())?.takes(&[7, 8], values)
        };
        assert_eq!(takes("{}", &[1.0, 2.0]), Ok(true));
        assert_eq!(takes("{}", &[2.0, 2.0]), Ok(false));
        assert_eq!(takes("{}", &[1.0, 0.0]), Ok(false));
        assert_eq!(takes(r#"{"logarithms":"no"}"#, &[1.0, 2.0]), Ok(false));
        assert_eq!(takes(r#"{"transform":"box_cox"}"#, &[1.0, 2.0]), Ok(false));
        let error = takes(r#"{"logarithms":"yes"}"#, &[1.0, 0.0]).unwrap_err();
        assert!(matches!(error, FitError::Domain { date: 8, .. }), "{error}");
        assert_eq!(of_observation(9, -1.0).unwrap_err().class(), "domain");
        assert!(takes(r#"{"logarithms":"maybe"}"#, &[1.0, 2.0]).is_err());
    }

    #[test]
    fn paths_are_exponentials_and_never_infinite() {
        let linear = |mean: f64| Linear {
            mean: vec![mean; 2],
            weights: vec![1.0, 0.5],
            noise: Noise::gaussian(0.3),
        };
        let streams = Streams::new(&Digest::new());
        let inner = linear(1.0).simulate(2, 9, &streams);
        let outer = exponential(linear(1.0)).simulate(2, 9, &streams);
        for (inner, outer) in inner.values.iter().zip(outer.values) {
            assert_eq!(back(*inner), outer);
        }
        let mut drawn = [0.0; 2];
        exponential(linear(900.0)).draw(&mut streams.path(1), &mut drawn);
        assert!((1.2e308..1.3e308).contains(&drawn[0]) && drawn[0] == drawn[1]);
        let least = exponential(linear(-900.0)).point();
        assert!(
            least
                .iter()
                .all(|value| value.is_normal() && *value < 2.3e-308)
        );
    }
}
