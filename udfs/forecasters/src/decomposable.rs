//! Trend, seasons, holidays and covariates, each of them a curve one can look at: the decomposable
//! model of Prophet (Taylor and Letham, "Forecasting at Scale", *The American Statistician* 72, 2018).
//!
//! A value is a trend plus effects, or (multiplicative) the trend times one plus effects. The trend
//! is straight between change points, or follows a logistic curve whose argument is (section 3.1);
//! seasons are Fourier series of the date (3.2), the year and the week by themselves, plus one counted
//! in steps if asked for; holidays are indicators (3.3); covariates enter in standard units. Slope
//! changes have a Laplace prior, everything else Gaussian ones, on time and values scaled to one, and
//! the likeliest parameters are found by convex optimisation to the last digits (`posterior.rs`,
//! `lasso.rs`). Paths go on with slope changes as frequent and as large as those found (3.1.4).
//!
//! What differs from Prophet: errors may be autocorrelated. Its own are independent, so that its
//! forecast leaves from the trend and jumps when the series is away from it, and so that the trend
//! bends after every run of residuals. Here, by default (`residuals` = "ar1"), a residual passes a
//! share of itself on to the next, estimated with everything else; a forecast then starts near the
//! newest value and goes over to the trend, and for prices it is a random walk with drift and
//! seasons. With "independent" the fit is Prophet's. Conditioning keeps every parameter and moves the
//! date and the newest residual.
//!
//! The wrong choice where history is a few dozen observations, where a season's shape moves from year
//! to year, or where the date says nothing: a year's season of twenty terms is estimated whether there
//! is one or not (`yearly_order` = 0 leaves it out).
//!
//! The deviation of errors is the root of the squared innovations over their number less the
//! effective number of parameters. Below ten observations the trend is flat, and the residuals of the
//! default are a random walk.

mod features;
mod fit;
mod lasso;
mod matrix;
mod model;
mod outlook;
mod posterior;
mod rows;
mod settings;
mod setup;

use serde::{Deserialize, Serialize};

use self::{
    features::{Features, LAST_DAY},
    model::{Model, Unit},
    outlook::{Decomposed, Step},
    settings::{Growth, MOST_CHANGES, PARAMETERS, Settings},
};
use crate::{
    Parameter, Params,
    date::Day,
    errors::{FitError, StateError},
    family::{Family, Learned, Start},
    noise::Noise,
    outlook::Outlook,
    series::{Ahead, Series},
    sizes::dot,
    state::corrupt,
};

/// The decomposable model.
pub struct Decomposable;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body {
    features: Features,
    unit: Unit,
    clock: Clock,
    /// The trend at the first observation; its slope is per span of the history.
    offset: f64,
    slope: f64,
    changes: Vec<Change>,
    /// How many slope changes there might have been.
    change_points: usize,
    /// The mean size of all of those, zeros among them.
    change_scale: f64,
    effects: Vec<f64>,
    /// The number of covariates fitted with.
    regressors: usize,
    /// The share of a residual that is passed on.
    correlation: f64,
    /// The newest residual, in units.
    residual: f64,
    /// The variance of innovations that was likeliest, in units.
    variance: f64,
    noise: Noise,
}

/// A slope change.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    day: Day,
    by: f64,
}

/// What time it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Clock {
    /// The first day of the history that was fitted, time 0.
    first: Day,
    /// Days to its last, time 1.
    span: f64,
    /// The newest day known.
    newest: Day,
    /// The middle of the days between observations.
    gap: Day,
    /// The weekdays seen, one bit each: days since 1970-01-01 modulo 7.
    weekdays: u8,
    /// The number of observations known.
    observations: u64,
}

impl Clock {
    fn time(&self, day: Day) -> f64 {
        (f64::from(day) - f64::from(self.first)) / self.span
    }

    /// The dates of coming steps; where they are not given, dates as far apart as usual, on weekdays
    /// that were seen.
    fn dates(&self, ahead: Ahead<'_>) -> Vec<Day> {
        let mut dates: Vec<Day> = ahead.dates.iter().copied().take(ahead.steps).collect();
        while dates.len() < ahead.steps {
            let before = dates.last().copied().unwrap_or(self.newest);
            let mut next = before.saturating_add(self.gap);
            for _ in 0..7 {
                if self.weekdays & 1 << next.rem_euclid(7) != 0 {
                    break;
                }
                next = next.saturating_add(self.gap);
            }
            dates.push(next);
        }
        dates
    }
}

/// The trend as it is after some day.
struct Track<'a> {
    body: &'a Body,
    model: Model,
    /// Slope changes by their times.
    changes: Vec<(f64, f64)>,
}

impl Track<'_> {
    /// The argument of the trend at a time.
    fn trend(&self, time: f64) -> f64 {
        let changes = self.changes.iter();
        let bent: f64 = changes
            .take_while(|(at, _)| *at < time)
            .map(|(at, by)| by * (time - at))
            .sum();
        self.body.offset + self.body.slope * time + bent
    }

    /// What is expected at a time, residuals aside, in units.
    fn mean(&self, time: f64, effects: f64) -> f64 {
        self.model.value(self.trend(time), effects)
    }
}

impl Body {
    fn model(&self) -> Model {
        Model::new(self.features.growth, self.features.mode, self.unit)
    }

    fn track(&self) -> Track<'_> {
        let changes = self.changes.iter();
        Track {
            body: self,
            model: self.model(),
            changes: changes
                .map(|change| (self.clock.time(change.day), change.by))
                .collect(),
        }
    }

    /// What the columns of a date come to.
    fn effect(&self, columns: &[f64]) -> f64 {
        dot(columns, &self.effects)
    }

    /// A value in units.
    fn in_units(&self, value: f64) -> f64 {
        (value - self.unit.level) / self.unit.scale
    }

    fn in_values(&self, units: f64) -> f64 {
        self.unit.level + self.unit.scale * units
    }
}

impl Family for Decomposable {
    type Body = Body;
    const NAME: &'static str = "decomposable";
    const FORMAT: u32 = 1;
    const SUMMARY: &'static str = "trend with change points, seasons by date, holidays and covariates, in the manner of Prophet";
    const PARAMETERS: &'static [Parameter] = PARAMETERS;

    fn minimum(params: &Params) -> Result<usize, FitError> {
        Settings::read(params).map(|_| 2)
    }

    fn learn(
        history: Series<'_>,
        params: &Params,
        start: Start<'_, Body>,
    ) -> Result<Learned<Body>, FitError> {
        let settings = Settings::read(params)?;
        fit::fit(history, &settings, start).map(|found| found.learned)
    }

    fn check(body: &Body) -> Result<(), StateError> {
        body.features.check(body.regressors)?;
        body.noise.check()?;
        let numbers = [
            body.unit.level,
            body.offset,
            body.slope,
            body.residual,
            body.variance,
        ];
        let finite = numbers
            .iter()
            .chain(&body.effects)
            .chain(body.changes.iter().map(|change| &change.by))
            .all(|number| number.is_finite());
        let unit = body.unit.scale.is_finite() && body.unit.scale > 0.0;
        let rise = match body.features.growth {
            Growth::Logistic(rise) => rise.is_finite() && rise > 0.0,
            Growth::Linear | Growth::Flat => true,
        };
        let clock = &body.clock;
        let day = |day: Day| (-LAST_DAY..=LAST_DAY).contains(&day);
        let dates = day(clock.first)
            && day(clock.newest)
            && clock.first < clock.newest
            && (1..=LAST_DAY).contains(&clock.gap)
            && (1.0..=2.0 * f64::from(LAST_DAY)).contains(&clock.span)
            && (1..1 << 7).contains(&clock.weekdays)
            && clock.observations < 1 << 53;
        let changes = body.changes.is_sorted_by(|a, b| a.day < b.day)
            && body.changes.iter().all(|change| day(change.day))
            && body.changes.len() <= body.change_points
            && body.change_points <= MOST_CHANGES
            && body.change_scale.is_finite()
            && body.change_scale >= 0.0;
        let shape = body.effects.len() == body.features.count();
        let correlation = (-1.0..=1.0).contains(&body.correlation);
        if finite && unit && rise && dates && changes && shape && correlation {
            Ok(())
        } else {
            Err(corrupt("its numbers make no decomposable model"))
        }
    }

    fn advance(
        body: &mut Body,
        recent: Series<'_>,
        predicted: &mut dyn FnMut(f64),
    ) -> Result<(), StateError> {
        let track = body.track();
        let mut columns = vec![0.0; body.features.count()];
        let (mut clock, mut residual) = (body.clock, body.residual);
        for (index, (day, value)) in recent.dates.iter().zip(recent.values).enumerate() {
            let known = |regressor: usize| recent.regressors.get(regressor).map(|all| all[index]);
            let missing = body
                .features
                .fill(*day, clock.observations, known, &mut columns);
            // Without one of its covariates nothing is predicted, but the level still moves on: the
            // covariate is taken at its mean.
            let mean = track.mean(clock.time(*day), body.effect(&columns));
            predicted(match missing {
                Some(_) => f64::NAN,
                None => body.in_values(mean + body.correlation * residual),
            });
            residual = body.in_units(*value) - mean;
            clock.newest = *day;
            clock.observations += 1;
            clock.weekdays |= 1 << day.rem_euclid(7);
        }
        (body.clock, body.residual) = (clock, residual);
        Ok(())
    }

    fn expect(body: Body, ahead: Ahead<'_>) -> Result<Box<dyn Outlook>, StateError> {
        if ahead.regressors.len() > body.regressors {
            return Err(StateError::SurplusRegressors {
                needed: body.regressors,
                found: ahead.regressors.len(),
            });
        }
        let track = body.track();
        let mut columns = vec![0.0; body.features.count()];
        let mut steps = Vec::with_capacity(ahead.steps);
        for (index, day) in body.clock.dates(ahead).into_iter().enumerate() {
            let known = |regressor: usize| {
                let column = ahead.regressors.get(regressor)?;
                column.get(index).copied()
            };
            let observation = body.clock.observations + index as u64;
            if let Some(index_of_regressor) =
                body.features.fill(day, observation, known, &mut columns)
            {
                return Err(StateError::MissingRegressor {
                    index: index_of_regressor,
                    step: index + 1,
                });
            }
            let time = body.clock.time(day);
            steps.push(Step {
                time,
                trend: track.trend(time),
                effects: body.effect(&columns),
            });
        }
        let model = body.model();
        // Of a flat trend no change is expected.
        let changes = if body.features.growth == Growth::Flat {
            0.0
        } else {
            body.change_scale
        };
        Ok(Box::new(Decomposed {
            newest: body.clock.time(body.clock.newest),
            steps,
            model,
            unit: body.unit,
            correlation: body.correlation,
            residual: body.residual * body.unit.scale,
            noise: body.noise,
            change_rate: body.change_points as f64,
            change_scale: changes,
        }))
    }
}

#[cfg(test)]
mod tests;
