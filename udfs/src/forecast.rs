//! `forecast(spec, state, date, close, covariates, wanted, closed)`: one compact origin for each
//! wanted date of one trained model.
//!
//! `spec`, `state`, `wanted` (dates) and `closed` (holidays) are read from the first row in which
//! they are not null. The state is brought up to each wanted date from the date before it, so one
//! more date costs the observations between the two and never the whole history.

use std::collections::BTreeMap;
use std::sync::Arc;

use almanac_forecasters::{Calendar, Day, Digest, Running, Series, TradingDays, date};
use arrow::array::{ArrayRef, AsArray, Date32Builder, ListArray, StringBuilder, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Date32Type, Field, FieldRef, Fields};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
};

use crate::failure::{Failure, guarded};
use crate::observations::Observations;
use crate::origin::{Fit, Origin};
use crate::spec::{ModelSpec, Projection};
use crate::steps::Steps;
use crate::train::{align, covariates_type, dates_type};

/// The aggregate's name in SQL and in plans.
pub const NAME: &str = "forecast";

/// Days in a forecast's horizon.
pub const HORIZON: usize = 14;

/// Fields of one origin, in order.
#[must_use]
pub fn origin_fields() -> Fields {
    Fields::from(vec![
        Field::new("forecast_start_date", DataType::Date32, false),
        Field::new("data_cutoff_date", DataType::Date32, true),
        Field::new("input_digest", DataType::Utf8, true),
        Field::new("origin", DataType::Utf8, true),
        Field::new("error_class", DataType::Utf8, true),
        Field::new("error_message", DataType::Utf8, true),
    ])
}

fn origins_item() -> FieldRef {
    Arc::new(Field::new_list_field(
        DataType::Struct(origin_fields()),
        true,
    ))
}

/// The aggregate.
#[must_use]
pub fn forecast() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(Forecast::default()))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Forecast {
    signature: Signature,
}

impl Default for Forecast {
    fn default() -> Self {
        let arguments = vec![
            DataType::Utf8,
            DataType::Utf8,
            DataType::Date32,
            DataType::Float64,
            covariates_type(),
            dates_type(),
            dates_type(),
        ];
        Self {
            signature: Signature::exact(arguments, Volatility::Immutable),
        }
    }
}

impl AggregateUDFImpl for Forecast {
    fn name(&self) -> &str {
        NAME
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::List(origins_item()))
    }
    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(ForecastAccumulator::default()))
    }
    fn state_fields(&self, _: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |name: &str, data_type| {
            Arc::new(Field::new(format!("forecast[{name}]"), data_type, true))
        };
        let mut fields = vec![
            field("spec", DataType::Utf8),
            field("state", DataType::Utf8),
            field("wanted", dates_type()),
            field("closed", dates_type()),
        ];
        fields.extend(Observations::state_fields(NAME));
        Ok(fields)
    }
}

#[derive(Debug, Default)]
struct ForecastAccumulator {
    spec: Option<String>,
    state: Option<String>,
    rows: Observations,
    wanted: Option<Vec<Day>>,
    closed: Option<Vec<Day>>,
}

fn dates_scalar(dates: Option<&[Day]>) -> ScalarValue {
    let list = dates.map(|dates| dates.iter().map(|date| Some(*date)).collect::<Vec<_>>());
    ScalarValue::List(Arc::new(
        ListArray::from_iter_primitive::<Date32Type, _, _>([list]),
    ))
}

impl Accumulator for ForecastAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.enter(&values[..2], &values[5..]);
        self.rows.push(&values[2], &values[3], Some(&values[4]));
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let mut columns = vec![
            ScalarValue::Utf8(self.spec.clone()),
            ScalarValue::Utf8(self.state.clone()),
            dates_scalar(self.wanted.as_deref()),
            dates_scalar(self.closed.as_deref()),
        ];
        columns.extend(self.rows.to_state());
        Ok(columns)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.enter(&states[..2], &states[2..4]);
        self.rows.merge(&states[4..]);
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut wanted = self.wanted.take().unwrap_or_default();
        wanted.sort_unstable();
        wanted.dedup();
        let origins = self.origins(&wanted);
        let mut cutoffs = Date32Builder::with_capacity(wanted.len());
        let [mut digests, mut payloads, mut classes, mut messages] =
            [(); 4].map(|()| StringBuilder::new());
        for origin in &origins {
            let made = origin.as_ref().ok();
            let failure = origin.as_ref().err();
            cutoffs.append_option(made.map(|made| made.cutoff));
            digests.append_option(made.map(|made| made.digest.hex()));
            payloads.append_option(made.map(|made| made.origin.as_str()));
            classes.append_option(failure.map(|failure| failure.class.as_str()));
            messages.append_option(failure.map(|failure| failure.message.as_str()));
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(arrow::array::Date32Array::from(wanted.clone())),
            Arc::new(cutoffs.finish()),
            Arc::new(digests.finish()),
            Arc::new(payloads.finish()),
            Arc::new(classes.finish()),
            Arc::new(messages.finish()),
        ];
        let origins = StructArray::try_new(origin_fields(), columns, None)?;
        let offsets = OffsetBuffer::from_lengths([wanted.len()]);
        let list = ListArray::try_new(origins_item(), offsets, Arc::new(origins), None)?;
        Ok(ScalarValue::List(Arc::new(list)))
    }

    fn size(&self) -> usize {
        let texts = [&self.spec, &self.state]
            .into_iter()
            .flatten()
            .map(String::capacity)
            .sum::<usize>();
        let days = [&self.wanted, &self.closed]
            .into_iter()
            .flatten()
            .map(Vec::capacity)
            .sum::<usize>();
        size_of_val(self) + texts + days * size_of::<Day>() + self.rows.size()
    }
}

/// A forecast's origin, ready to travel.
struct Made {
    cutoff: Day,
    digest: Digest,
    origin: String,
}

impl ForecastAccumulator {
    /// Takes what the rows of a group agree on: specification and state, wanted and closed days.
    fn enter(&mut self, texts: &[ArrayRef], days: &[ArrayRef]) {
        self.rows.agree(&mut self.spec, &texts[0], "spec");
        self.rows.agree(&mut self.state, &texts[1], "state");
        let slots = [(&mut self.wanted, "wanted"), (&mut self.closed, "closed")];
        for ((slot, what), column) in slots.into_iter().zip(days) {
            for days in column.as_list::<i32>().iter().flatten() {
                let days = days.as_primitive::<Date32Type>().values();
                match slot {
                    None => *slot = Some(days.to_vec()),
                    Some(first) if first == days => {}
                    Some(first) => {
                        // Every wanted date has its failure.
                        first.extend_from_slice(days);
                        first.sort_unstable();
                        first.dedup();
                        let reason = format!("a group has two lists of `{what}`; group by it");
                        self.rows.refuse(reason);
                    }
                }
            }
        }
    }

    /// One outcome for each wanted date. What fails before any date is reached fails them all.
    fn origins(&mut self, wanted: &[Day]) -> Vec<Result<Made, Failure>> {
        let (spec, state) = (self.spec.take(), self.state.take());
        let closed = self.closed.take().unwrap_or_default();
        let mut rows = std::mem::take(&mut self.rows);
        let walk = guarded(|| Walk::begin(spec.as_deref(), state.as_deref(), &mut rows, &closed));
        let mut walk = match walk {
            Ok(walk) => walk,
            Err(failure) => return wanted.iter().map(|_| Err(failure.clone())).collect(),
        };
        let mut broken: Option<Failure> = None;
        wanted
            .iter()
            .map(|day| match &broken {
                Some(failure) => Err(failure.clone()),
                None => {
                    // A state that could not take an observation has no later dates either.
                    guarded(|| walk.advance(*day))
                        .inspect_err(|failure| broken = Some(failure.clone()))?;
                    guarded(|| walk.origin(*day))
                }
            })
            .collect()
    }
}

/// The pass over the rows that brings one state from wanted date to wanted date.
struct Walk<'a> {
    spec: ModelSpec,
    fit: Fit,
    /// The model, up to the newest row taken in.
    running: Box<dyn Running>,
    /// The digest of what the model was trained on.
    model: Digest,
    rows: &'a Observations,
    trading: TradingDays,
    /// Rows before this index have been taken in.
    taken: usize,
}

impl<'a> Walk<'a> {
    fn begin(
        spec: Option<&str>,
        state: Option<&str>,
        rows: &'a mut Observations,
        closed: &[Day],
    ) -> Result<Self, Failure> {
        rows.sort()?;
        let spec = spec.ok_or_else(|| Failure::new("parameter", "no model specification"))?;
        let state = state.ok_or_else(|| Failure::new("no_model", "no trained model"))?;
        let spec = ModelSpec::parse(spec)?;
        let fit = Fit::from_json(state)?;
        let running = spec.forecaster()?.resume(&fit.state);
        let running = running.map_err(|error| Failure::of_state(error, &spec.covariates))?;
        Ok(Self {
            spec,
            running,
            model: fit.around.digest,
            fit,
            rows,
            trading: TradingDays::new(closed),
            taken: 0,
        })
    }

    /// Takes in every row dated before `day`.
    fn advance(&mut self, day: Day) -> Result<(), Failure> {
        let end = self.rows.rows_before(day);
        let newest = self.fit.around.last_date;
        let mut steps = Steps::after(Some(newest), &self.spec, self.running.takes_gaps());
        for index in self.taken..end {
            let (date, close) = (self.rows.dates[index], self.rows.closes[index]);
            // A late close may be older than the newest covariate that the state has seen.
            let late = !close.is_nan() && date > self.fit.around.last_date;
            if late || date > self.fit.around.cutoff {
                self.rows.digest_row(&mut self.fit.around.digest, index);
            }
            if close.is_nan() {
                continue;
            }
            self.trading.push(date);
            if date > self.fit.around.last_date {
                steps.push(date, close);
                self.fit.observe(date, close);
            }
        }
        self.taken = end;
        if let Some(newest) = self.rows.newest_before(end) {
            self.fit.around.cutoff = self.fit.around.cutoff.max(newest);
        }
        if steps.dates.is_empty() {
            return Ok(());
        }
        let regressors = align(self.rows, &steps.dates, &self.spec);
        let recent = Series {
            dates: &steps.dates,
            values: &steps.values,
            regressors: &regressors,
        };
        self.running
            .advance(recent, &mut |_| {})
            .map_err(|error| Failure::of_state(error, &self.spec.covariates))
    }

    fn origin(&self, day: Day) -> Result<Made, Failure> {
        let observed = self.spec.calendar == Calendar::Observed;
        let age = day - self.fit.around.last_date;
        if !observed && age > self.spec.stale_after_days {
            return Err(Failure::new(
                "stale",
                format!(
                    "the newest observation is of {}, {age} days before; at most {} are allowed",
                    date::format(self.fit.around.last_date),
                    self.spec.stale_after_days
                ),
            ));
        }
        let (steps, mut step_days) = steps(
            self.spec.calendar,
            &self.trading,
            self.fit.around.last_date,
            day,
        )?;
        let digest = digest_of(self.fit.around.digest, self.model, &steps);
        let regressors = self.project(day, &step_days);
        if observed {
            let spacing = self.spacing();
            step_days = (1..)
                .take(step_days.len())
                .map(|step| self.fit.around.last_date + step * spacing)
                .collect();
        }
        let origin = Origin {
            family: self.spec.family.clone(),
            steps,
            dates: step_days,
            regressors,
            range: self.fit.around.range.clone(),
            covariates: self.spec.covariates.clone(),
            seed: self.spec.seed,
            dated: !observed,
        };
        let origin = origin.to_json(&self.running.state());
        Ok(Made {
            cutoff: self.fit.around.cutoff,
            digest,
            origin,
        })
    }

    /// The usual number of days from one observation to the next: the median of the newest.
    fn spacing(&self) -> Day {
        const NEWEST: usize = 50;
        let observed = (0..self.taken)
            .rev()
            .filter(|index| !self.rows.closes[*index].is_nan());
        let dates: Vec<Day> = observed
            .take(NEWEST)
            .map(|index| self.rows.dates[index])
            .collect();
        let mut gaps: Vec<Day> = dates.windows(2).map(|pair| pair[0] - pair[1]).collect();
        gaps.sort_unstable();
        gaps.get(gaps.len() / 2).copied().unwrap_or(1)
    }

    /// Covariates for the steps, from rows dated before `day` only.
    fn project(&self, day: Day, step_days: &[Day]) -> Vec<Vec<Option<f64>>> {
        let known = self.rows.known_covariates(day, self.taken, &self.spec);
        self.rows
            .covariates
            .iter()
            .zip(known)
            .map(|(column, known)| {
                let values = step_days.iter().map(|step| match self.spec.projection {
                    Projection::None => f64::NAN,
                    Projection::Persist => known,
                    Projection::Seasonal => self.same_day_of_year(column, *step),
                    Projection::Linear => self.trend(column, *step, day),
                });
                values
                    .map(|value| value.is_finite().then_some(value))
                    .collect()
            })
            .collect()
    }

    /// Mean of the values on the same day of the year in the three years before the newest row.
    fn same_day_of_year(&self, column: &[f64], step: Day) -> f64 {
        let (mut sum, mut count) = (0.0, 0.0);
        let mut years = 0;
        let mut back = 1;
        while years < 3 && back < 8 {
            let day = date::add_months_clamped(step, -12 * back);
            back += 1;
            let index = self.rows.rows_before(day);
            if index >= self.taken {
                continue;
            }
            years += 1;
            if self.rows.dates[index] == day && !column[index].is_nan() {
                sum += column[index];
                count += 1.0;
            }
        }
        sum / count
    }

    /// The least-squares line through the last 30 days before `day`, read off at `step`.
    fn trend(&self, column: &[f64], step: Day, day: Day) -> f64 {
        const DAYS: Day = 30;
        let newest = day - self.spec.lag_days;
        let points: Vec<(f64, f64)> = (0..self.taken)
            .rev()
            .skip_while(|index| self.rows.dates[*index] > newest)
            .take_while(|index| newest - self.rows.dates[*index] < DAYS)
            .filter(|index| !column[*index].is_nan())
            .map(|index| (f64::from(self.rows.dates[index] - newest), column[index]))
            .collect();
        if points.len() < 2 {
            return f64::NAN;
        }
        let count = points.len() as f64;
        let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
        let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
        let spread = points
            .iter()
            .map(|(x, _)| (x - mean_x).powi(2))
            .sum::<f64>();
        let slope = points
            .iter()
            .map(|(x, y)| (x - mean_x) * (y - mean_y))
            .sum::<f64>()
            / spread;
        mean_y + slope * (f64::from(step - newest) - mean_x)
    }
}

/// The step that each day of the horizon shows, and the date of each step. Missing days on which the
/// market was open between the newest observation and `day` are steps as well: a late feed widens the
/// first day.
fn steps(
    calendar: Calendar,
    trading: &TradingDays,
    last_date: Day,
    day: Day,
) -> Result<(Vec<u16>, Vec<Day>), Failure> {
    let last_day = day + Day::try_from(HORIZON).unwrap_or(Day::MAX) - 1;
    let open: Box<dyn Fn(Day) -> bool> = match calendar {
        Calendar::Trading => {
            let pattern = trading.pattern(day);
            Box::new(move |date| trading.is_open(&pattern, date))
        }
        Calendar::Daily | Calendar::Observed => Box::new(|_| true),
    };
    let first = if calendar == Calendar::Observed {
        day
    } else {
        last_date + 1
    };
    let step_days: Vec<Day> = (first..=last_day).filter(|date| open(*date)).collect();
    let steps = (day..=last_day)
        .map(|date| {
            let step = step_days.partition_point(|step| *step <= date);
            u16::try_from(step).map_err(|_| Failure::new("stale", "too many missing days"))
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok((steps, step_days))
}

/// What a forecast rests on: what was observed before it, the model that made it (told by what that
/// was trained on), and the calendar (which step each day of the horizon shows).
fn digest_of(observed: Digest, model: Digest, steps: &[u16]) -> Digest {
    let mut digest = observed;
    digest.add_str(&model.hex());
    steps
        .iter()
        .for_each(|step| digest.add_u64(u64::from(*step)));
    digest
}

/// The digests that forecasts of these days would have now. `wanted` names for each day the model
/// that serves it, by the digest of what it was trained on. A day on which there is nothing to
/// forecast from has none.
#[must_use]
pub fn current_digests(
    rows: &Observations,
    spec: &ModelSpec,
    closed: &[Day],
    wanted: &BTreeMap<Day, Digest>,
) -> BTreeMap<Day, Digest> {
    let observed = rows.digests_before(&wanted.keys().copied().collect());
    let mut trading = TradingDays::new(closed);
    let mut last_date = None;
    let mut taken = 0;
    let mut digests = BTreeMap::new();
    for (day, model) in wanted {
        let end = rows.rows_before(*day);
        for index in taken..end {
            if !rows.closes[index].is_nan() {
                trading.push(rows.dates[index]);
                last_date = Some(rows.dates[index]);
            }
        }
        taken = end;
        let steps = last_date.map(|last_date| steps(spec.calendar, &trading, last_date, *day));
        if let Some(Ok((steps, _))) = steps {
            digests.insert(*day, digest_of(observed[day], *model, &steps));
        }
    }
    digests
}
