//! From a history to a model.

use super::{
    Body, Change,
    model::Model,
    posterior::{Guess, Point, Posterior, Prior, Squares},
    rows::{Linearised, Rows},
    settings::{Growth, Mode, Residuals, Settings},
    setup::{Setup, Table},
};
use crate::{
    errors::FitError,
    family::{Learned, Start},
    fitted::finite,
    moments::mean,
    noise::Noise,
    series::Series,
};

/// Linearisations of a model that is not linear, at most.
const MOST_LINEARISATIONS: usize = 60;

/// What a fit found, before it becomes a state.
pub(crate) struct Found {
    pub(crate) learned: Learned<Body>,
    /// What was minimised, and how often equations were solved for it.
    #[cfg_attr(not(test), expect(dead_code, reason = "told to tests only"))]
    pub(crate) loss: f64,
    #[cfg_attr(not(test), expect(dead_code, reason = "told to tests only"))]
    pub(crate) calls: usize,
}

pub(crate) fn fit(
    history: Series<'_>,
    settings: &Settings,
    start: Start<'_, Body>,
) -> Result<Found, FitError> {
    let setup = Setup::of(history, settings, &start)?;
    let (point, freedom, calls) = find(&setup, &start)?;
    let rows = &setup.rows;
    let (lines, rest) = point.coefficients.split_at(rows.lines);
    let (effects, slopes) = rest.split_at(rows.width);
    let mut body = Body {
        unit: setup.unit,
        clock: setup.clock,
        offset: lines[0],
        slope: lines.get(1).copied().unwrap_or(0.0),
        changes: setup
            .changes
            .iter()
            .zip(slopes)
            .filter(|(_, by)| **by != 0.0)
            .map(|(day, by)| Change { day: *day, by: *by })
            .collect(),
        change_points: setup.changes.len(),
        change_scale: mean_size(slopes),
        effects: effects.to_vec(),
        regressors: history.regressors.len(),
        correlation: point.correlation,
        residual: 0.0,
        variance: point.variance,
        noise: Noise::gaussian(0.0),
        features: setup.features,
    };
    let (predictions, residual) = predict(&body, history, &setup.table);
    body.residual = finite("residual", residual)?;
    let errors: Vec<f64> = history
        .values
        .iter()
        .zip(&predictions)
        .map(|(value, predicted)| value - predicted)
        .collect();
    // One more degree of freedom for the correlation where it was estimated.
    let estimated = f64::from(u8::from(setup.prior.residuals == Residuals::Autoregressive));
    let left = (setup.prior.innovations(rows.len()) - freedom - estimated).max(1.0);
    let deviation = finite("deviation", (point.squares / left).sqrt() * body.unit.scale)?;
    body.noise = Noise::fit(settings.errors, &errors, deviation)?;
    Ok(Found {
        learned: Learned {
            body,
            predictions,
            aicc: None,
        },
        loss: point.loss,
        calls,
    })
}

/// The likeliest point, its effective number of coefficients, and how often equations were solved.
pub(crate) fn find(
    setup: &Setup,
    start: &Start<'_, Body>,
) -> Result<(Point, f64, usize), FitError> {
    if setup.constant {
        let passed = setup.prior.residuals == Residuals::RandomWalk;
        let point = Point::still(setup.rows.columns(), f64::from(u8::from(passed)));
        return Ok((point, 0.0, 0));
    }
    let guess = guess(start, setup);
    solve(&setup.rows, &setup.prior, setup.model, guess)
}

/// Where the search begins: nowhere in particular, or at an earlier fit.
fn guess(start: &Start<'_, Body>, setup: &Setup) -> Guess {
    match start {
        Start::Cold => Guess {
            coefficients: None,
            changes: vec![0.0; setup.changes.len()],
            variance: 0.01
                * mean(
                    &setup
                        .rows
                        .values
                        .iter()
                        .map(|v| v * v)
                        .collect::<Vec<f64>>(),
                ),
            correlation: None,
        },
        Start::Near(body) | Start::Keep(body) => {
            let coefficients = translated(body, setup);
            let ratio = body.unit.scale / setup.unit.scale;
            Guess {
                changes: coefficients[coefficients.len() - setup.changes.len()..].to_vec(),
                coefficients: (body.effects.len() == setup.rows.width).then_some(coefficients),
                variance: body.variance * ratio * ratio,
                // A random walk or independence is no estimate to begin from.
                correlation: (body.correlation.abs() < 1.0 && body.correlation != 0.0)
                    .then_some(body.correlation),
            }
        }
    }
}

/// The coefficients of an earlier fit in the time and unit of a new one, slope changes taken to the
/// nearest change points.
fn translated(body: &Body, setup: &Setup) -> Vec<f64> {
    let values = body.unit.scale / setup.unit.scale;
    // The argument of a logistic curve and shares of the trend have no unit.
    let logistic = matches!(setup.features.growth, Growth::Logistic(_));
    let trend = if logistic { 1.0 } else { values };
    let effects = if setup.features.mode == Mode::Multiplicative {
        1.0
    } else {
        values
    };
    let moved = if logistic {
        0.0
    } else {
        (body.unit.level - setup.unit.level) / setup.unit.scale
    };
    let slower = setup.clock.span / body.clock.span;
    let begun = body.track().trend(body.clock.time(setup.clock.first));
    let mut coefficients = vec![moved + trend * begun];
    if setup.rows.lines == 2 {
        coefficients.push(trend * slower * body.slope);
    }
    let width = setup.rows.width;
    coefficients.extend((0..width).map(|index| effects * body.effects.get(index).unwrap_or(&0.0)));
    let first = coefficients.len();
    coefficients.resize(first + setup.changes.len(), 0.0);
    for change in &body.changes {
        let apart = |index: &usize| setup.changes[*index].abs_diff(change.day);
        if let Some(index) = (0..setup.changes.len()).min_by_key(apart) {
            coefficients[first + index] += trend * slower * change.by;
        }
    }
    coefficients
}

/// The same for values that are not all equal, from a guess.
fn solve(
    rows: &Rows,
    prior: &Prior,
    model: Model,
    guess: Guess,
) -> Result<(Point, f64, usize), FitError> {
    if model.is_linear() {
        let linearised = Linearised {
            weights: None,
            target: rows.values.clone(),
        };
        let mut posterior = Posterior::new(rows, prior, &linearised);
        let point = posterior.maximise(guess).ok_or_else(singular)?;
        let freedom = posterior.freedom(&point).ok_or_else(singular)?;
        return Ok((point, freedom, posterior.calls));
    }
    let mut guess = guess;
    let mut coefficients = match guess.coefficients.take() {
        Some(coefficients) => coefficients,
        None => {
            guess.changes.fill(0.0);
            first_guess(rows, model)
        }
    };
    let mut calls = 0;
    let mut best: Option<(Point, f64)> = None;
    for _ in 0..MOST_LINEARISATIONS {
        let linearised = linearise(rows, model, &coefficients);
        let mut posterior = Posterior::new(rows, prior, &linearised);
        let aim = posterior.maximise(guess).ok_or_else(singular)?;
        let freedom = posterior.freedom(&aim).ok_or_else(singular)?;
        calls += posterior.calls;
        guess = aim.guess(rows.changes());
        let settled = best
            .as_ref()
            .is_some_and(|(before, _)| before.is_near(&aim));
        let (better, gained) = search_line(rows, prior, model, &coefficients, &aim);
        coefficients.clone_from(&better.coefficients);
        best = Some((better, freedom));
        if settled && gained < 1e-8 {
            break;
        }
    }
    let (point, freedom) = best.ok_or_else(singular)?;
    Ok((point, freedom, calls))
}

/// The model as it is near these coefficients.
pub(crate) fn linearise(rows: &Rows, model: Model, coefficients: &[f64]) -> Linearised {
    let mut weights = Vec::with_capacity(rows.len());
    let mut target = Vec::with_capacity(rows.len());
    for ((trend, effects), value) in rows.parts(coefficients).zip(&rows.values) {
        let (of_trend, of_effects) = model.slopes(trend, effects);
        let off = value - model.value(trend, effects);
        target.push(off + of_trend * trend + of_effects * effects);
        weights.push((of_trend, of_effects));
    }
    Linearised {
        weights: Some(weights),
        target,
    }
}

/// A first guess of a model that is not linear: a straight trend between the means of the first and
/// the last tenth, and no effects.
fn first_guess(rows: &Rows, model: Model) -> Vec<f64> {
    let tenth = rows.len().div_ceil(10);
    let mut coefficients = vec![0.0; rows.columns()];
    if rows.lines == 2 {
        let early = model.ungrown(mean(&rows.values[..tenth]));
        let late = model.ungrown(mean(&rows.values[rows.len() - tenth..]));
        coefficients[0] = early;
        coefficients[1] = late - early;
    } else {
        coefficients[0] = model.ungrown(mean(&rows.values));
    }
    coefficients
}

/// The best of halving steps towards the solution of the linearised model, at its variance and
/// correlation, and how far the loss fell; where no step is better, what it began from.
fn search_line(rows: &Rows, prior: &Prior, model: Model, from: &[f64], to: &Point) -> (Point, f64) {
    let point_at = |coefficients: Vec<f64>| {
        let residuals = rows
            .parts(&coefficients)
            .zip(&rows.values)
            .map(|((trend, effects), value)| value - model.value(trend, effects));
        let squares = Squares::of(residuals).innovations(to.correlation).max(0.0);
        let loss = prior.loss(&coefficients, squares, to.variance);
        let point = Point {
            coefficients,
            squares,
            ..to.clone()
        };
        (point, loss)
    };
    let (start, at_start) = point_at(from.to_vec());
    let mut share = 1.0;
    for _ in 0..30 {
        let coefficients = from
            .iter()
            .zip(&to.coefficients)
            .map(|(from, to)| {
                if share == 1.0 {
                    *to
                } else {
                    from + share * (to - from)
                }
            })
            .collect();
        let (found, loss) = point_at(coefficients);
        if loss < at_start {
            return (found, at_start - loss);
        }
        share *= 0.5;
    }
    (start, 0.0)
}

fn singular() -> FitError {
    FitError::Singular {
        reason: "columns repeat each other beyond working precision".to_owned(),
    }
}

fn mean_size(slopes: &[f64]) -> f64 {
    if slopes.is_empty() {
        0.0
    } else {
        slopes.iter().map(|by| by.abs()).sum::<f64>() / slopes.len() as f64
    }
}

/// Goes through the history: the prediction of every observation from those before it, and the newest
/// residual.
fn predict(body: &Body, history: Series<'_>, table: &Table) -> (Vec<f64>, f64) {
    let width = body.features.count();
    let mut usable = table.usable.iter().peekable();
    let mut before = None;
    let mut predictions = Vec::with_capacity(history.len());
    let track = body.track();
    for (day, value) in history.values.iter().enumerate() {
        let effects = body.effect(&table.columns[day * width..(day + 1) * width]);
        let mean = track.mean(body.clock.time(history.dates[day]), effects);
        let complete = usable.next_if(|next| **next == day).is_some();
        predictions.push(match before {
            _ if !complete => f64::NAN,
            Some(before) => body.in_values(mean + body.correlation * before),
            None if body.correlation == 0.0 => body.in_values(mean),
            None => f64::NAN,
        });
        before = Some(body.in_units(*value) - mean);
    }
    (predictions, before.unwrap_or(0.0))
}
