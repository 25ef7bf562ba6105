//! The distribution of a model's errors: Gaussian, Student's t, or the residuals themselves.

use serde::{Deserialize, Serialize};

use crate::{
    Parameter, Params,
    errors::{FitError, StateError},
    fitted::finite,
    math::{exp, lgamma, ln, log1p},
    optimize::golden_section,
    rng::Rng,
    state::corrupt,
};

/// The parameter by which a family lets its users choose.
pub(crate) const ERRORS: Parameter = Parameter {
    name: "errors",
    default: "\"gaussian\"",
    help: "what paths are drawn with: gaussian, student_t, or bootstrap (the residuals)",
};

/// As many residuals as a bootstrap keeps, the newest.
const MOST_RESIDUALS: usize = 500;

/// The distribution of one error, with mean zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case", tag = "kind")]
pub(crate) enum Noise {
    /// A normal distribution.
    Gaussian {
        /// Its standard deviation.
        deviation: f64,
    },
    /// Student's t distribution, scaled to this standard deviation.
    StudentT {
        /// The standard deviation.
        deviation: f64,
        /// The degrees of freedom, more than 2.
        degrees: f64,
    },
    /// Residuals, drawn with replacement.
    Bootstrap {
        /// The residuals, centered and scaled to the model's deviation.
        residuals: Vec<f64>,
    },
}

/// Which distribution is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Normal.
    Gaussian,
    /// Student's t.
    StudentT,
    /// The residuals.
    Bootstrap,
}

impl Kind {
    /// Reads the parameter `errors`.
    pub(crate) fn read(params: &Params) -> Result<Kind, FitError> {
        match params.str_or("errors", "gaussian")? {
            "gaussian" => Ok(Kind::Gaussian),
            "student_t" => Ok(Kind::StudentT),
            "bootstrap" => Ok(Kind::Bootstrap),
            _ => Err(params.out_of_range("errors", "gaussian, student_t or bootstrap")),
        }
    }
}

impl Noise {
    /// A normal distribution with this standard deviation.
    pub(crate) fn gaussian(deviation: f64) -> Noise {
        Noise::Gaussian { deviation }
    }

    /// A distribution of this kind and standard deviation, shaped after one-step residuals (those
    /// that are not finite are left out).
    pub(crate) fn fit(kind: Kind, residuals: &[f64], deviation: f64) -> Result<Noise, FitError> {
        let deviation = finite("deviation", deviation)?;
        let mut residuals: Vec<f64> = residuals
            .iter()
            .copied()
            .filter(|r| r.is_finite())
            .collect();
        let mean = crate::moments::mean(&residuals);
        residuals.iter_mut().for_each(|residual| *residual -= mean);
        let spread = crate::moments::root_mean_square(residuals.iter().copied()).unwrap_or(0.0);
        if spread == 0.0 || deviation == 0.0 || !spread.is_finite() {
            return Ok(Noise::gaussian(deviation));
        }
        match kind {
            Kind::Gaussian => Ok(Noise::gaussian(deviation)),
            Kind::StudentT => {
                residuals
                    .iter_mut()
                    .for_each(|residual| *residual /= spread);
                Ok(Noise::StudentT {
                    deviation,
                    degrees: degrees_of_freedom(&residuals),
                })
            }
            Kind::Bootstrap => {
                let first = residuals.len().saturating_sub(MOST_RESIDUALS);
                let mut residuals = residuals.split_off(first);
                let ratio = deviation / spread;
                residuals.iter_mut().for_each(|residual| *residual *= ratio);
                Ok(Noise::Bootstrap { residuals })
            }
        }
    }

    /// The standard deviation.
    pub(crate) fn deviation(&self) -> f64 {
        match self {
            Noise::Gaussian { deviation } | Noise::StudentT { deviation, .. } => *deviation,
            Noise::Bootstrap { residuals } => {
                crate::moments::root_mean_square(residuals.iter().copied()).unwrap_or(0.0)
            }
        }
    }

    /// The same distribution with every error this many times as large.
    pub(crate) fn scaled(&self, factor: f64) -> Noise {
        let mut noise = self.clone();
        match &mut noise {
            Noise::Gaussian { deviation } | Noise::StudentT { deviation, .. } => {
                *deviation *= factor;
            }
            Noise::Bootstrap { residuals } => residuals.iter_mut().for_each(|r| *r *= factor),
        }
        noise
    }

    /// Checks what was decoded.
    pub(crate) fn check(&self) -> Result<(), StateError> {
        let sound = match self {
            Noise::Gaussian { deviation } => deviation.is_finite() && *deviation >= 0.0,
            Noise::StudentT { deviation, degrees } => {
                deviation.is_finite() && *deviation >= 0.0 && *degrees > 2.0 && degrees.is_finite()
            }
            Noise::Bootstrap { residuals } => {
                !residuals.is_empty() && residuals.iter().all(|residual| residual.is_finite())
            }
        };
        if sound {
            Ok(())
        } else {
            Err(corrupt("the errors have no such distribution"))
        }
    }

    /// Draws one error.
    #[inline]
    pub(crate) fn draw(&self, rng: &mut Rng) -> f64 {
        match self {
            Noise::Gaussian { deviation } => deviation * rng.normal(),
            Noise::StudentT { deviation, degrees } => {
                deviation * ((degrees - 2.0) / degrees).sqrt() * student_t(rng, *degrees)
            }
            Noise::Bootstrap { residuals } => {
                residuals[(rng.uniform() * residuals.len() as f64) as usize]
            }
        }
    }

    /// Draws an error for each place, in order.
    #[inline]
    pub(crate) fn fill(&self, rng: &mut Rng, errors: &mut [f64]) {
        if let Noise::Gaussian { deviation } = self {
            errors
                .iter_mut()
                .for_each(|error| *error = deviation * rng.normal());
        } else {
            errors.iter_mut().for_each(|error| *error = self.draw(rng));
        }
    }

    /// Draws the errors of one path, in order, to one lane of many: `errors[step][lane]`.
    #[inline]
    pub(crate) fn fill_lane<const N: usize>(
        &self,
        mut rng: Rng,
        errors: &mut [[f64; N]],
        lane: usize,
    ) {
        // By value: a generator whose address is never taken stays in registers.
        if let Noise::Gaussian { deviation } = self {
            for step in errors {
                step[lane] = deviation * rng.normal();
            }
        } else {
            self.fill_other(rng, errors, lane);
        }
    }

    fn fill_other<const N: usize>(&self, mut rng: Rng, errors: &mut [[f64; N]], lane: usize) {
        for step in errors {
            step[lane] = self.draw(&mut rng);
        }
    }
}

/// A number from Student's t distribution: a normal one over the root of a chi-square one by its
/// degrees of freedom.
pub(crate) fn student_t(rng: &mut Rng, degrees: f64) -> f64 {
    let normal = rng.normal();
    normal / (gamma(rng, 0.5 * degrees) / (0.5 * degrees)).sqrt()
}

/// A number from the gamma distribution of this shape, at least 1, and scale 1 (Marsaglia and
/// Tsang 2000).
fn gamma(rng: &mut Rng, shape: f64) -> f64 {
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let normal = rng.normal();
        let root = 1.0 + c * normal;
        if root <= 0.0 {
            continue;
        }
        let cube = root * root * root;
        let uniform = 1.0 - rng.uniform();
        let square = normal * normal;
        // Their squeeze: below it the logarithms need not be taken.
        if uniform < 1.0 - 0.0331 * square * square
            || ln(uniform) < 0.5 * square + d * (1.0 - cube + ln(cube))
        {
            return d * cube;
        }
    }
}

/// The degrees of freedom under which residuals of unit variance are likeliest, from 2.1 to 200.
fn degrees_of_freedom(residuals: &[f64]) -> f64 {
    let loss = |log_excess: f64| {
        let degrees = 2.0 + exp(log_excess);
        -residuals
            .iter()
            .map(|r| log_density(*r, degrees))
            .sum::<f64>()
    };
    2.0 + exp(golden_section(ln(0.1), ln(198.0), 1e-4, loss))
}

/// The logarithm of the density of Student's t distribution with unit variance.
pub(crate) fn log_density(value: f64, degrees: f64) -> f64 {
    let half = 0.5 * (degrees + 1.0);
    lgamma(half)
        - lgamma(0.5 * degrees)
        - 0.5 * ln(std::f64::consts::PI * (degrees - 2.0))
        - half * log1p(value * value / (degrees - 2.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, Streams};

    fn draws(noise: &Noise, count: u64) -> Vec<f64> {
        let streams = Streams::new(&Digest::new());
        (1..=count)
            .map(|path| noise.draw(&mut streams.path(path)))
            .collect()
    }

    #[test]
    fn every_kind_has_the_deviation_asked_for() {
        let residuals: Vec<f64> = draws(
            &Noise::StudentT {
                deviation: 3.0,
                degrees: 5.0,
            },
            400,
        );
        for kind in [Kind::Gaussian, Kind::StudentT, Kind::Bootstrap] {
            let noise = Noise::fit(kind, &residuals, 2.0).unwrap();
            assert!((noise.deviation() - 2.0).abs() < 1e-12);
            let ratio = crate::moments::deviation(&draws(&noise, 100_000)) / 2.0;
            assert!((ratio - 1.0).abs() < 0.03, "{kind:?} {ratio}");
        }
    }

    #[test]
    fn degrees_of_freedom_are_found_again() {
        for degrees in [4.0, 8.0] {
            let residuals = draws(
                &Noise::StudentT {
                    deviation: 1.0,
                    degrees,
                },
                20_000,
            );
            let Noise::StudentT { degrees: found, .. } =
                Noise::fit(Kind::StudentT, &residuals, 1.0).unwrap()
            else {
                panic!("another kind");
            };
            assert!((found / degrees - 1.0).abs() < 0.15, "{degrees}: {found}");
        }
        let normal = draws(&Noise::gaussian(1.0), 20_000);
        let noise = Noise::fit(Kind::StudentT, &normal, 1.0).unwrap();
        assert!(
            matches!(noise, Noise::StudentT { degrees, .. } if degrees > 40.0),
            "{noise:?}"
        );
    }

    #[test]
    fn a_student_t_number_exceeds_its_tabled_quantiles_as_often_as_it_should() {
        // The 97.5 % and 99.5 % points for 5 degrees of freedom.
        let streams = Streams::new(&Digest::new());
        let values: Vec<f64> = (1..=200_000)
            .map(|path| student_t(&mut streams.path(path), 5.0))
            .collect();
        for (edge, beyond) in [(2.570_582, 0.025), (4.032_143, 0.005)] {
            let count = values.iter().filter(|value| **value > edge).count() as f64;
            let expected = beyond * values.len() as f64;
            assert!(
                (count - expected).abs() < 4.0 * expected.sqrt(),
                "{edge}: {count}"
            );
        }
    }

    #[test]
    fn the_density_integrates_to_one_with_unit_variance() {
        let (mut mass, mut variance) = (0.0, 0.0);
        let step = 0.01;
        for index in -30_000..30_000 {
            let value = f64::from(index) * step;
            let density = exp(log_density(value, 6.0)) * step;
            mass += density;
            variance += density * value * value;
        }
        assert!((mass - 1.0).abs() < 1e-6, "{mass}");
        assert!((variance - 1.0).abs() < 1e-3, "{variance}");
    }
}
