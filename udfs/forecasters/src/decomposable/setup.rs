//! What a fit is made from: features, rows, priors, and the unit they are in.

use super::{
    Body, Clock,
    features::{Features, Holiday, YEAR, standardised},
    model::{Model, Unit},
    posterior::Prior,
    rows::{Rows, basis, places},
    settings::{Growth, Mode, Residuals, Settings},
};
use crate::{
    date::Day,
    errors::FitError,
    family::Start,
    fitted::finite,
    moments::{mean, root_mean_square},
    series::Series,
};

/// With fewer observations than these the trend is flat and residuals are a random walk.
const LEAST_FOR_A_TREND: usize = 10;
/// The standard deviations of the priors of offset and slope.
const LINE_SCALE: f64 = 5.0;
/// That of the offset where residuals are passed on and effects are shares of the trend: such
/// residuals can make up for any offset, and the shares would be of nothing in particular.
const ANCHOR_SCALE: f64 = 0.1;
/// The standard deviation of innovations is at least this share of that of the values.
const LEAST_SHARE: f64 = 1e-6;
/// What a fit is made from.
pub(crate) struct Setup {
    pub(crate) clock: Clock,
    pub(crate) features: Features,
    pub(crate) table: Table,
    pub(crate) unit: Unit,
    /// The dates at which the slope may change.
    pub(crate) changes: Vec<Day>,
    pub(crate) rows: Rows,
    pub(crate) prior: Prior,
    pub(crate) model: Model,
    /// Whether all values that can be fitted on are equal.
    pub(crate) constant: bool,
}

/// The columns of all observations, and which of them can be fitted on.
pub(crate) struct Table {
    pub(crate) columns: Vec<f64>,
    pub(crate) usable: Vec<usize>,
}

impl Setup {
    pub(crate) fn of(
        history: Series<'_>,
        settings: &Settings,
        start: &Start<'_, Body>,
    ) -> Result<Setup, FitError> {
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
        let values: Vec<f64> = table
            .usable
            .iter()
            .map(|day| history.values[*day])
            .collect();
        let constant = values.iter().all(|value| *value == values[0]);
        if constant {
            features = features.without_effects();
            table.columns.clear();
        }
        let short = constant || values.len() < LEAST_FOR_A_TREND;
        if short {
            features.growth = Growth::Flat;
        }
        let residuals = match settings.residuals {
            Residuals::Autoregressive if short => Residuals::RandomWalk,
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
        Ok(Setup {
            clock,
            features,
            table,
            unit,
            changes,
            rows,
            prior,
            model,
            constant,
        })
    }
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
    let shares_of_values =
        features.mode == Mode::Multiplicative && !matches!(features.growth, Growth::Logistic(_));
    if shares_of_values && residuals != Residuals::Independent {
        precisions[0] = precision(ANCHOR_SCALE);
    }
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
