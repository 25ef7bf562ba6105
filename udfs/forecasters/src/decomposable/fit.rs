//! From a history to a model.

use super::{
    Body, Change, Clock,
    features::{Features, Holiday, YEAR, standardised},
    model::{Model, Unit},
    posterior::{Guess, Point, Posterior, Prior, Squares},
    rows::{Linearised, Rows, basis, places},
    settings::{Growth, Residuals, Settings},
};
use crate::{
    date::Day,
    errors::FitError,
    family::{Learned, Start},
    fitted::finite,
    moments::{mean, root_mean_square},
    noise::Noise,
    series::Series,
};

/// With fewer observations than these the trend is flat and residuals are a random walk.
const LEAST_FOR_A_TREND: usize = 10;
/// The standard deviations of the priors of offset and slope.
const LINE_SCALE: f64 = 5.0;
/// The standard deviation of innovations is at least this share of that of the values.
const LEAST_SHARE: f64 = 1e-6;
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

/// The columns of all observations, and which of them can be fitted on.
struct Table {
    columns: Vec<f64>,
    usable: Vec<usize>,
}

pub(crate) fn fit(
    history: Series<'_>,
    settings: &Settings,
    start: Start<'_, Body>,
) -> Result<Found, FitError> {
    let clock = Clock::of(history.dates);
    let mut features = match start {
        Start::Keep(body) => Features {
            regressors: standardised(history),
            ..body.features.clone()
        },
        Start::Cold | Start::Near(_) => choose(history, settings, &clock),
    };
    let mut table = tabulate(history, &features);
    if table.usable.len() < 2 {
        return Err(missing(history, &features));
    }
    let first = history.values[table.usable[0]];
    let constant = table.usable.iter().all(|day| history.values[*day] == first);
    if constant {
        features = features.without_effects();
        table = tabulate(history, &features);
    }
    let values: Vec<f64> = table
        .usable
        .iter()
        .map(|day| history.values[*day])
        .collect();
    let short = values.len() < LEAST_FOR_A_TREND;
    if short || constant {
        features.growth = Growth::Flat;
    }
    let residuals = match settings.residuals {
        Residuals::Autoregressive if short || constant => Residuals::RandomWalk,
        residuals => residuals,
    };
    let unit = unit(&values, features.growth, settings.floor)?;
    let dates: Vec<Day> = table.usable.iter().map(|day| history.dates[*day]).collect();
    let changes = change_points(&dates, settings, features.growth);
    let rows = rows(&values, unit, &features, &table, &dates, &changes, &clock);
    let center = mean(&rows.values);
    let spread = root_mean_square(rows.values.iter().map(|value| value - center));
    let least_deviation = LEAST_SHARE * spread.unwrap_or(0.0);
    let prior = prior(settings, &features, residuals, rows.lines, least_deviation);

    let model = Model::new(features.growth, features.mode, unit);
    let (point, freedom, calls) = if constant {
        (still(&rows, residuals), 0.0, 0)
    } else {
        let guess = guess(start, &changes, &rows);
        solve(&rows, &prior, model, guess)?
    };

    let (lines, rest) = point.coefficients.split_at(rows.lines);
    let (effects, slopes) = rest.split_at(features.count());
    let mut body = Body {
        unit,
        clock,
        offset: lines[0],
        slope: lines.get(1).copied().unwrap_or(0.0),
        changes: changes
            .iter()
            .zip(slopes)
            .filter(|(_, by)| **by != 0.0)
            .map(|(day, by)| Change { day: *day, by: *by })
            .collect(),
        change_points: changes.len(),
        change_scale: mean_size(slopes),
        effects: effects.to_vec(),
        regressors: history.regressors.len(),
        correlation: point.correlation,
        residual: 0.0,
        variance: point.variance,
        noise: Noise::gaussian(0.0),
        features,
    };
    let (predictions, residual) = predict(&body, history, &table);
    body.residual = finite("residual", residual)?;
    let errors: Vec<f64> = history
        .values
        .iter()
        .zip(&predictions)
        .map(|(value, predicted)| value - predicted)
        .collect();
    // One more degree of freedom for the correlation where it was estimated.
    let estimated = f64::from(u8::from(residuals == Residuals::Autoregressive));
    let left = (prior.innovations(rows.len()) - freedom - estimated).max(1.0);
    let deviation = finite("deviation", (point.squares / left).sqrt() * unit.scale)?;
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

/// The features that a history has room for.
fn choose(history: Series<'_>, settings: &Settings, clock: &Clock) -> Features {
    let span = clock.span;
    let step = span / (history.len() - 1) as f64;
    // No wave that is shorter than two steps, and none that fewer than two of were seen.
    let terms = |most: usize, period: f64| {
        if span < 2.0 * period {
            0
        } else {
            most.min((0.5 * period / step + 0.05) as usize)
        }
    };
    let yearly = terms(settings.yearly, YEAR);
    let weekdays = clock.weekdays.count_ones() as usize;
    let weekly = terms(settings.weekly, 7.0).min(weekdays / 2);
    let length = settings.season_length;
    // A season of as many steps as there are in a year or week is that one.
    let same =
        |terms: usize, period: f64| terms > 0 && (length as f64 * step / period - 1.0).abs() < 0.05;
    let room = length > 1
        && history.len() >= 2 * length
        && settings.season > 0
        && !same(yearly, YEAR)
        && !same(weekly, 7.0);
    let holidays = match settings.holidays {
        Some((before, after)) if step < 7.0 => Holiday::seen(history.dates, before, after),
        _ => Vec::new(),
    };
    Features {
        growth: settings.growth,
        mode: settings.mode,
        yearly,
        weekly,
        season: room.then_some((length, settings.season.min(length / 2))),
        holidays,
        regressors: standardised(history),
    }
}

impl Features {
    /// The same with nothing but a trend.
    fn without_effects(self) -> Features {
        Features {
            yearly: 0,
            weekly: 0,
            season: None,
            holidays: Vec::new(),
            regressors: Vec::new(),
            ..self
        }
    }
}

impl Clock {
    fn of(dates: &[Day]) -> Clock {
        let (first, newest) = (dates[0], dates[dates.len() - 1]);
        let mut gaps: Vec<Day> = dates
            .windows(2)
            .map(|pair| pair[1].saturating_sub(pair[0]))
            .collect();
        let middle = gaps.len() / 2;
        let (_, gap, _) = gaps.select_nth_unstable(middle);
        Clock {
            first,
            span: f64::from(newest) - f64::from(first),
            newest,
            gap: *gap,
            weekdays: dates
                .iter()
                .fold(0, |seen, day| seen | 1 << day.rem_euclid(7)),
            observations: dates.len() as u64,
        }
    }
}

fn tabulate(history: Series<'_>, features: &Features) -> Table {
    let width = features.count();
    let mut columns = vec![0.0; history.len() * width];
    let mut usable = Vec::with_capacity(history.len());
    for day in 0..history.len() {
        let line = &mut columns[day * width..(day + 1) * width];
        let known = |index: usize| Some(history.regressors[index][day]);
        if features
            .fill(history.dates[day], day as u64, known, line)
            .is_none()
        {
            usable.push(day);
        }
    }
    Table { columns, usable }
}

/// Names the regressor that is missing most often, and where it is first.
fn missing(history: Series<'_>, features: &Features) -> FitError {
    let holes = |index: usize| {
        let column = &history.regressors[index];
        column.iter().filter(|value| value.is_nan()).count()
    };
    let worst = features
        .regressors
        .iter()
        .map(|regressor| regressor.index)
        .max_by_key(|index| holes(*index));
    let place = worst.and_then(|index| {
        let column = &history.regressors[index];
        let day = column.iter().position(|value| value.is_nan())?;
        Some((index, day))
    });
    match place {
        Some((index, day)) => FitError::MissingRegressor {
            index,
            date: history.dates[day],
        },
        None => FitError::TooShort {
            needed: 2,
            found: history.len(),
        },
    }
}

/// The unit of a fit: the largest value is 1, as in Prophet, and the first is 0, so that equal values
/// are zero exactly.
fn unit(values: &[f64], growth: Growth, floor: f64) -> Result<Unit, FitError> {
    let level = match growth {
        Growth::Logistic(_) => floor,
        Growth::Linear | Growth::Flat => values[0],
    };
    let above = if matches!(growth, Growth::Logistic(_)) {
        floor
    } else {
        0.0
    };
    let largest = values
        .iter()
        .fold(0.0f64, |most, value| most.max((value - above).abs()));
    let largest = finite("scale", largest)?;
    let spread = values
        .iter()
        .fold(0.0f64, |most, value| most.max((value - level).abs()));
    finite("spread", spread)?;
    Ok(Unit {
        level,
        scale: if largest > 0.0 { largest } else { 1.0 },
    })
}

/// The dates at which the slope may change: evenly many observations apart over the first part of the
/// history, the first observation left out.
fn change_points(dates: &[Day], settings: &Settings, growth: Growth) -> Vec<Day> {
    if growth == Growth::Flat {
        return Vec::new();
    }
    let room = (dates.len() as f64 * settings.change_range) as usize;
    let count = settings.changes.min(room.saturating_sub(1));
    let last = room.saturating_sub(1) as f64;
    let mut points: Vec<Day> = (1..=count)
        .map(|index| {
            let place = (last * index as f64 / count as f64).round_ties_even();
            dates[place as usize]
        })
        .collect();
    // The end of the history is no place for a change: nothing comes after it.
    points.retain(|day| *day < dates[dates.len() - 1]);
    points
}

fn rows(
    values: &[f64],
    unit: Unit,
    features: &Features,
    table: &Table,
    dates: &[Day],
    changes: &[Day],
    clock: &Clock,
) -> Rows {
    let width = features.count();
    let effects = table
        .usable
        .iter()
        .flat_map(|day| &table.columns[day * width..(day + 1) * width])
        .copied()
        .collect();
    let times: Vec<f64> = dates.iter().map(|day| clock.time(*day)).collect();
    let mut knots = vec![0.0];
    knots.extend(changes.iter().map(|day| clock.time(*day)));
    knots.push(1.0);
    let flat = features.growth == Growth::Flat;
    Rows {
        places: places(&times, &knots),
        effects,
        width,
        values: values
            .iter()
            .map(|value| (value - unit.level) / unit.scale)
            .collect(),
        basis: basis(&knots, flat),
        lines: if flat { 1 } else { 2 },
    }
}

fn prior(
    settings: &Settings,
    features: &Features,
    residuals: Residuals,
    lines: usize,
    least_deviation: f64,
) -> Prior {
    let precision = |scale: f64| 1.0 / (scale * scale);
    let seasonal = features.seasonal();
    let mut precisions = vec![precision(LINE_SCALE); lines];
    precisions.extend(std::iter::repeat_n(
        precision(settings.season_scale),
        seasonal,
    ));
    precisions.extend(std::iter::repeat_n(
        precision(settings.effect_scale),
        features.count() - seasonal,
    ));
    Prior {
        precisions,
        change_scale: settings.change_scale,
        residuals,
        least_variance: least_deviation * least_deviation,
    }
}

/// Where the search begins: at an earlier fit, slope changes taken to the nearest change points.
fn guess(start: Start<'_, Body>, changes: &[Day], rows: &Rows) -> Guess {
    match start {
        Start::Cold => Guess {
            changes: vec![0.0; changes.len()],
            variance: 0.01 * mean(&rows.values.iter().map(|v| v * v).collect::<Vec<f64>>()),
            correlation: None,
        },
        Start::Near(body) | Start::Keep(body) => {
            let mut guessed = vec![0.0; changes.len()];
            for change in &body.changes {
                let nearest =
                    (0..changes.len()).min_by_key(|index| changes[*index].abs_diff(change.day));
                if let Some(index) = nearest {
                    guessed[index] += change.by;
                }
            }
            Guess {
                changes: guessed,
                variance: body.variance,
                // A random walk or independence is no estimate to begin from.
                correlation: (body.correlation.abs() < 1.0 && body.correlation != 0.0)
                    .then_some(body.correlation),
            }
        }
    }
}

/// The model of equal values.
fn still(rows: &Rows, residuals: Residuals) -> Point {
    let correlation = f64::from(u8::from(residuals == Residuals::RandomWalk));
    Point::still(rows.columns(), correlation)
}

/// The likeliest point, its effective number of coefficients, and how often equations were solved.
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
    let mut coefficients = first_guess(rows, model);
    let mut guess = Guess {
        changes: vec![0.0; rows.changes()],
        ..guess
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
        if settled && gained < 1e-11 {
            break;
        }
    }
    let (point, freedom) = best.ok_or_else(singular)?;
    Ok((point, freedom, calls))
}

/// The model as it is near these coefficients.
fn linearise(rows: &Rows, model: Model, coefficients: &[f64]) -> Linearised {
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
        Point {
            coefficients,
            squares,
            loss,
            ..to.clone()
        }
    };
    let start = point_at(from.to_vec());
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
        let found = point_at(coefficients);
        if found.loss < start.loss {
            let gained = start.loss - found.loss;
            return (found, gained);
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
