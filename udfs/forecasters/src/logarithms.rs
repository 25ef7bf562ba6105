//! Models of the logarithms of positive values.

use crate::{
    Parameter, Params,
    date::Day,
    errors::{FitError, StateError},
    math::{exp, ln},
    outlook::Outlook,
    paths::Paths,
    rng::{Rng, Streams},
};

/// The parameter by which users choose.
pub(crate) const TRANSFORM: Parameter = Parameter {
    name: "transform",
    default: "\"auto\"",
    help: "what is modelled: none (the values), log, or auto (log where all are positive)",
};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transform {
    /// The values as they are.
    None,
    /// Their logarithms.
    Logarithms,
    /// Their logarithms where all are positive and they are not all the same.
    Automatic,
}

impl Transform {
    /// Reads the parameter `transform`.
    pub(crate) fn read(params: &Params) -> Result<Transform, FitError> {
        match params.str_or("transform", "auto")? {
            "none" => Ok(Transform::None),
            "log" => Ok(Transform::Logarithms),
            "auto" => Ok(Transform::Automatic),
            _ => Err(params.out_of_range("transform", "none, log or auto")),
        }
    }

    /// What a model of this form was fitted with.
    pub(crate) fn kept(logarithms: bool) -> Transform {
        if logarithms {
            Transform::Logarithms
        } else {
            Transform::None
        }
    }

    /// Whether these values are to be replaced by their logarithms. Equal values are not, unless
    /// asked for: the exponential of a logarithm is not exactly the value.
    pub(crate) fn takes(self, dates: &[Day], values: &[f64]) -> Result<bool, FitError> {
        let Some(worst) = (0..values.len()).find(|index| values[*index] <= 0.0) else {
            let equal = values.iter().all(|value| *value == values[0]);
            return Ok(self != Transform::None && !equal);
        };
        match self {
            Transform::Logarithms => Err(FitError::Domain {
                date: dates[worst],
                value: values[worst],
                needed: POSITIVE,
            }),
            Transform::None | Transform::Automatic => Ok(false),
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

/// The value with a logarithm, the largest or smallest double where it is beyond them.
pub(crate) fn back(logarithm: f64) -> f64 {
    exp(logarithm).clamp(f64::MIN_POSITIVE, f64::MAX)
}

/// The outlook for values whose logarithms have another. Its point forecast is the middle, not the
/// mean.
pub(crate) struct Exponential<O>(pub(crate) O);

impl<O: Outlook> Outlook for Exponential<O> {
    fn point(&self) -> Vec<f64> {
        self.0.point().into_iter().map(back).collect()
    }

    fn draw(&self, rng: &mut Rng, path: &mut [f64]) {
        self.0.draw(rng, path);
        path.iter_mut().for_each(|value| *value = back(*value));
    }

    fn simulate(&self, steps: usize, count: usize, streams: &Streams) -> Paths {
        let mut paths = self.0.simulate(steps, count, streams);
        paths
            .values
            .iter_mut()
            .for_each(|value| *value = back(*value));
        paths
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, noise::Noise, outlook::Linear};

    #[test]
    fn logarithms_are_taken_of_positive_values_that_differ() {
        let takes = |text: &str, values: &[f64]| {
            Transform::read(&Params::parse(text).unwrap())?.takes(&[7, 8], values)
        };
        assert_eq!(takes("{}", &[1.0, 2.0]), Ok(true));
        assert_eq!(takes("{}", &[2.0, 2.0]), Ok(false));
        assert_eq!(takes("{}", &[1.0, 0.0]), Ok(false));
        assert_eq!(takes(r#"{"transform":"none"}"#, &[1.0, 2.0]), Ok(false));
        let error = takes(r#"{"transform":"log"}"#, &[1.0, 0.0]).unwrap_err();
        assert!(matches!(error, FitError::Domain { date: 8, .. }), "{error}");
        assert_eq!(of_observation(9, -1.0).unwrap_err().class(), "domain");
        assert!(takes(r#"{"transform":"root"}"#, &[1.0, 2.0]).is_err());
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
        let outer = Exponential(linear(1.0)).simulate(2, 9, &streams);
        for (inner, outer) in inner.values.iter().zip(outer.values) {
            assert_eq!(back(*inner), outer);
        }
        let mut drawn = [0.0; 2];
        Exponential(linear(900.0)).draw(&mut streams.path(1), &mut drawn);
        assert_eq!(drawn, [f64::MAX; 2]);
        assert_eq!(Exponential(linear(-900.0)).point(), [f64::MIN_POSITIVE; 2]);
    }
}
