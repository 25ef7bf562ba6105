//! From orders to a fitted model.

use super::{
    css::{self, Guesses},
    design::Design,
    levenberg_marquardt::Settings,
    likelihood::{Likelihood, Problem, survived},
    model::{Gain, Model},
    orders::{Orders, all_partials, from_all_partials},
};
use crate::{
    errors::FitError,
    family::Learned,
    fitted::finite,
    noise::{self, Noise},
    series::Series,
    sizes::{largest, power_of_two},
};

/// The search for the largest likelihood of a model that is kept.
pub(crate) const THOROUGH: Settings = Settings {
    tolerance: 1e-9,
    most_steps: 60,
};
/// The search for the largest likelihood of a model that is compared with others.
pub(crate) const CAREFUL: Settings = Settings {
    tolerance: 1e-4,
    most_steps: 30,
};
/// The search for the smallest conditional sum of squares.
pub(crate) const CHEAP: Settings = Settings {
    tolerance: 1e-3,
    most_steps: 15,
};

/// Values in a unit in which they are near one: times a power of two, which rounds nothing.
#[derive(Clone, Debug)]
pub(crate) struct Scaled {
    pub(crate) values: Vec<f64>,
    pub(crate) unit: f64,
}

impl Scaled {
    pub(crate) fn new(values: &[f64]) -> Scaled {
        let unit = power_of_two(largest(values));
        // One by the smallest numbers is beyond a double, so it is done by division.
        Scaled {
            values: values.iter().map(|value| value / unit).collect(),
            unit,
        }
    }
}

/// A model that was estimated, in the unit of the problem.
#[derive(Clone, Debug)]
pub(crate) struct Estimate {
    pub(crate) orders: Orders,
    pub(crate) constant: bool,
    pub(crate) coefficients: Vec<f64>,
    pub(crate) likelihood: Likelihood,
    /// Whether the search for it was [`THOROUGH`].
    thorough: bool,
}

impl Estimate {
    /// The likelihood at given coefficients.
    pub(crate) fn at(
        problem: &mut Problem,
        orders: &Orders,
        constant: bool,
        coefficients: Vec<f64>,
    ) -> Option<Estimate> {
        let likelihood = problem.likelihood(orders, &coefficients, constant, &mut vec![])?;
        Some(Estimate {
            orders: *orders,
            constant,
            coefficients,
            likelihood,
            thorough: orders.coefficients() == 0,
        })
    }

    /// The largest likelihood from these coefficients, as an earlier fit left them; nothing if they
    /// are not of these orders.
    pub(crate) fn resumed(
        problem: &mut Problem,
        orders: &Orders,
        constant: bool,
        coefficients: &[f64],
    ) -> Option<Estimate> {
        if coefficients.len() != orders.coefficients() {
            return None;
        }
        let found = problem.maximise(orders, coefficients, constant, THOROUGH)?;
        let mut found = Estimate::at(problem, orders, constant, found)?;
        found.thorough = true;
        Some(found)
    }

    /// The largest likelihood from these coefficients.
    pub(crate) fn polished(self, problem: &mut Problem, settings: Settings) -> Estimate {
        if self.thorough {
            return self;
        }
        let found = problem
            .maximise(&self.orders, &self.coefficients, self.constant, settings)
            .and_then(|found| Estimate::at(problem, &self.orders, self.constant, found));
        let mut better = match found {
            Some(found) if found.likelihood.deviance < self.likelihood.deviance => found,
            _ => self,
        };
        better.thorough = settings.tolerance <= THOROUGH.tolerance;
        better
    }

    /// How many numbers were estimated, the variance included.
    pub(crate) fn parameters(&self, problem: &Problem) -> usize {
        self.orders.coefficients() + problem.regressors + usize::from(self.constant) + 1
    }

    /// Akaike's information criterion, corrected; infinite where there are too few observations.
    pub(crate) fn aicc(&self, problem: &Problem) -> f64 {
        aicc(
            self.likelihood.deviance,
            self.parameters(problem),
            problem.count,
        )
    }
}

pub(crate) fn aicc(deviance: f64, parameters: usize, count: usize) -> f64 {
    if count <= parameters + 1 {
        return f64::INFINITY;
    }
    let (k, n) = (parameters as f64, count as f64);
    deviance + 2.0 * k + 2.0 * k * (k + 1.0) / (n - k - 1.0)
}

/// Estimates a model of these orders from first guesses, by likelihood only if there are settings
/// for it.
pub(crate) fn estimate(
    problem: &mut Problem,
    guesses: &Guesses,
    orders: &Orders,
    constant: bool,
    settings: Option<Settings>,
) -> Option<Estimate> {
    let guess = guesses.coefficients(orders);
    let first = css::estimate(problem, guesses, orders, constant, &guess, CHEAP).unwrap_or(guess);
    let first = from_all_partials(orders, &all_partials(orders, &first));
    let found = Estimate::at(problem, orders, constant, first)?;
    Some(match settings {
        Some(settings) => found.polished(problem, settings),
        None => found,
    })
}

/// What the differences are, where nothing random is left in them: their constant.
pub(crate) fn exact(problem: &Problem, scaled: &Scaled, constant: bool) -> Option<f64> {
    let differences = problem.columns.first()?;
    let largest = scaled
        .values
        .iter()
        .fold(0.0f64, |most, value| most.max(value.abs()));
    let middle = if constant {
        crate::moments::mean(differences)
    } else {
        0.0
    };
    let rounding = 8.0 * f64::EPSILON * largest;
    let all = differences
        .iter()
        .all(|value| (value - middle).abs() <= rounding);
    all.then_some(middle)
}

/// The model of an estimate, brought up to the newest observation of its history.
pub(crate) struct Finish<'a> {
    pub(crate) history: Series<'a>,
    pub(crate) design: &'a Design,
    pub(crate) unit: f64,
    pub(crate) errors: noise::Kind,
}

impl Finish<'_> {
    /// From an estimate.
    pub(crate) fn estimate(
        self,
        problem: &Problem,
        estimate: &Estimate,
    ) -> Result<Learned<Model>, FitError> {
        let unknown = problem.unknown();
        let linear: Vec<f64> = estimate
            .likelihood
            .linear
            .iter()
            .map(|value| value * self.unit)
            .collect();
        let terms = self
            .design
            .terms(&linear[unknown..unknown + problem.regressors]);
        let constant = if estimate.constant {
            linear.last().copied().unwrap_or(0.0)
        } else {
            0.0
        };
        let freedom = problem
            .count
            .saturating_sub(estimate.parameters(problem) - 1)
            .max(1);
        let squares = estimate.likelihood.variance * problem.count as f64;
        let deviation = (squares / freedom as f64).sqrt() * self.unit;
        // What the likelihood leaves out for being in another unit.
        let deviance =
            estimate.aicc(problem) + 2.0 * problem.count as f64 * crate::math::ln(self.unit);
        let model = Model {
            orders: estimate.orders,
            coefficients: estimate.coefficients.clone(),
            constant: estimate.constant,
            level: 0.0,
            drift: 0.0,
            terms,
            regressors: self.history.regressors.len(),
            steps: 0,
            state: vec![],
            gain: Gain::Settled,
            noise: Noise::gaussian(0.0),
        };
        self.run(
            model,
            constant,
            &linear[..unknown],
            deviation,
            Some(deviance),
        )
    }

    /// From differences that are a constant.
    pub(crate) fn exact(
        self,
        orders: &Orders,
        constant: bool,
        middle: f64,
    ) -> Result<Learned<Model>, FitError> {
        let model = Model {
            orders: *orders,
            coefficients: vec![0.0; orders.coefficients()],
            constant,
            level: 0.0,
            drift: 0.0,
            terms: vec![],
            regressors: self.history.regressors.len(),
            steps: 0,
            state: vec![],
            gain: Gain::Settled,
            noise: Noise::gaussian(0.0),
        };
        let constant = middle * self.unit;
        // Lines over gaps were found to be as exact.
        let filled = self.design.filled(self.history.values);
        let history = Series {
            values: &filled,
            ..self.history
        };
        Finish { history, ..self }.run(model, constant, &[], 0.0, None)
    }

    fn run(
        self,
        mut model: Model,
        constant: f64,
        unknown: &[f64],
        deviation: f64,
        aicc: Option<f64>,
    ) -> Result<Learned<Model>, FitError> {
        let orders = model.orders;
        match (orders.ordinary[1], orders.seasonal[1]) {
            (0, 0) => model.level = constant,
            (_, 0) => model.drift = constant,
            _ => model.drift = constant / orders.season as f64,
        }
        let Series {
            values, regressors, ..
        } = self.history;
        let lost = orders.lost();
        let mut unknown = unknown.iter();
        let first: Vec<f64> = (0..lost)
            .map(|day| {
                let rest = values[day] - model.known(day as u64, regressors, day);
                if rest.is_nan() {
                    unknown.next().copied().unwrap_or(0.0)
                } else {
                    rest
                }
            })
            .collect();
        if !model.begin(&first) {
            return Err(FitError::Singular {
                reason: "the coefficients are not stationary".to_owned(),
            });
        }
        let rest = self.history.part(lost..values.len());
        let mut predictions = vec![f64::NAN; lost];
        model.advance(rest.series(), &mut |prediction| {
            predictions.push(prediction)
        });
        survived("state", &model.state)?;
        survived("coefficients", &model.coefficients)?;
        survived("constant", &[model.level, model.drift])?;
        for term in &model.terms {
            survived("coefficients", &[term.coefficient])?;
        }
        let errors: Vec<f64> = values
            .iter()
            .zip(&predictions)
            .map(|(value, mean)| value - mean)
            .collect();
        model.noise = Noise::fit(self.errors, &errors, finite("deviation", deviation)?)?;
        Ok(Learned {
            body: model,
            predictions,
            aicc: aicc.filter(|aicc| aicc.is_finite()),
        })
    }
}
