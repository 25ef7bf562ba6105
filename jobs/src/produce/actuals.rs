//! What happened, beside what was forecast: one row for each commodity and date, written once the
//! last trading day of its window is known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use almanac_delta::manifest::UnitKey;
use almanac_delta::rows::write_rows;
use almanac_delta::tables::distributions::{self, ACTUALS, DAYS};
use almanac_delta::tables::{SERIES_BUCKET, TableDef};
use almanac_delta::{Claim, TableName, TableSnapshot};
use almanac_planner::present::{closes, present_actuals};
use almanac_udfs::forecasters::{Day, Digest, TradingDays};
use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Date32Array, Float32Array, Int32Array, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::Float64Type;

use super::replace::without_keys;
use super::{
    Change, FOREVER, Landed, Planning, Production, Tally, bucket_of, closed_days, commit, pin,
};
use crate::context::{Context, Rows};
use crate::error::JobError;
use crate::request::known_commodities;
use crate::stale::StaleKey;

/// The first day that a date column can sensibly hold: 0001-01-01.
const FIRST: Day = -719_162;

/// Days before the range from which a close may be carried into it, and from which weekdays are
/// judged.
const BEFORE: Day = 400;

/// One row of actuals.
struct Actual {
    commodity: String,
    start: Day,
    newest: Day,
    days: Vec<f64>,
    digest: Digest,
}

impl Actual {
    fn key(&self) -> (String, Day) {
        (self.commodity.clone(), self.start)
    }
}

/// Writes the actuals of a range that are known and not there yet.
pub async fn write(
    context: &Context,
    production: &Production,
    range: (Day, Day),
    revise: bool,
    tally: &mut Tally,
) -> Result<(), JobError> {
    loop {
        let planning = Planning::begin(context);
        let data = context.lake.table(TableName::UnifiedData).await?;
        let table = context.lake.table(TableName::Distributions).await?;
        pin(tally, &[&data, &table]);
        let tables = (&data, &table);
        let prepared = prepare(context, production, tables, range, revise, planning, tally).await?;
        if let Landed::Yes = commit(context, &table, &[], prepared.change, tally).await? {
            tally.actuals += prepared.rows;
            return Ok(());
        }
    }
}

/// Actuals that have been written and not yet committed.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    /// How many.
    pub(crate) rows: u64,
    /// Their files.
    pub(crate) change: Change,
}

/// Writes data files for the actuals of a range that are known and not there yet; with `revise` also
/// for those whose closes have changed since.
pub(crate) async fn prepare(
    context: &Context,
    production: &Production,
    (data, table): (&TableSnapshot, &TableSnapshot),
    range: (Day, Day),
    revise: bool,
    planning: Planning,
    tally: &mut Tally,
) -> Result<Prepared, JobError> {
    if context.lake.settings().calendar == "observed" {
        // Positions have no calendar days to fill.
        return Ok(Prepared::default());
    }
    let commodities = &production.commodities;
    let present = present(context, table, commodities, range).await?;
    let wanted = commodities.len() * usize::try_from(range.1 - range.0 + 1).unwrap_or(0);
    let mut actuals = vec![];
    if present.len() < wanted || revise {
        let missing = |key: &(String, Day)| revise || !present.contains_key(key);
        actuals = known(context, data, commodities, range, missing, tally).await?;
        actuals.retain(|now| present.get(&now.key()) != Some(&now.digest.hex()));
    }
    planning.end(context, tally);
    if actuals.is_empty() {
        return Ok(Prepared::default());
    }
    actuals.sort_by(|a, b| {
        (bucket_of(context, &a.commodity), &a.commodity, a.start).cmp(&(
            bucket_of(context, &b.commodity),
            &b.commodity,
            b.start,
        ))
    });
    let count = actuals.len() as u64;
    let claims: BTreeSet<Claim> = actuals
        .iter()
        .map(|actual| Claim::keys(TableName::Distributions, &actual.commodity, ACTUALS))
        .collect();
    let rows = batch(context, table.def(), &actuals)?;
    let outdated: BTreeSet<UnitKey> = actuals
        .iter()
        .map(Actual::key)
        .filter(|key| present.contains_key(key))
        .map(unit_key)
        .collect();
    let mut change = without_keys(context, table, &outdated).await?;
    change
        .adds
        .extend(write_rows(&context.lake, table.def(), &rows).await?);
    change.claims = claims;
    Ok(Prepared {
        rows: count,
        change,
    })
}

/// Actuals whose closes have changed since they were written; a revision renews them.
pub async fn stale(context: &Context) -> Result<Vec<StaleKey>, JobError> {
    let data = context.lake.table(TableName::UnifiedData).await?;
    let table = context.lake.table(TableName::Distributions).await?;
    let commodities: Vec<String> = known_commodities(context).await?.into_iter().collect();
    let present = present(context, &table, &commodities, (FIRST, FOREVER)).await?;
    let days = || present.keys().map(|(_, start)| *start);
    let (Some(first), Some(last)) = (days().min(), days().max()) else {
        return Ok(vec![]);
    };
    let there = |key: &(String, Day)| present.contains_key(key);
    let tally = &mut Tally::default();
    let now = known(context, &data, &commodities, (first, last), there, tally).await?;
    let stale = now.into_iter().filter_map(|now| {
        let (input_digest, current_digest) = (present.get(&now.key())?, now.digest.hex());
        (*input_digest != current_digest).then(|| StaleKey {
            key: unit_key(now.key()),
            input_digest: input_digest.clone(),
            current_digest,
        })
    });
    Ok(stale.collect())
}

/// The digests of the actuals that are there.
async fn present(
    context: &Context,
    table: &TableSnapshot,
    commodities: &[String],
    range: (Day, Day),
) -> Result<BTreeMap<(String, Day), String>, JobError> {
    let mut present = BTreeMap::new();
    let plan = present_actuals(&context.source(table), commodities, range)?;
    for batch in context.query(plan).await? {
        let rows = Rows(&batch);
        for row in 0..rows.len() {
            let start = rows.day(distributions::FORECAST_START_DATE, row)?;
            let digest = rows.text(distributions::INPUT_DIGEST, row)?;
            present.insert((rows.text("commodity", row)?, start), digest);
        }
    }
    Ok(present)
}

/// What has happened from these days of the range on, where all of it is known.
async fn known(
    context: &Context,
    data: &TableSnapshot,
    commodities: &[String],
    range: (Day, Day),
    wanted: impl Fn(&(String, Day)) -> bool,
    tally: &mut Tally,
) -> Result<Vec<Actual>, JobError> {
    let window = (range.0 - BEFORE, range.1 + DAYS as Day);
    let plan = closes(&context.source(data), commodities, window)?;
    let mut series: BTreeMap<String, (Vec<Day>, Vec<f64>)> = BTreeMap::new();
    for batch in context.query(plan).await? {
        let rows = Rows(&batch);
        let values = batch
            .column_by_name("close")
            .map(|column| column.as_primitive::<Float64Type>());
        let values = values.ok_or_else(|| JobError::ours("closes without a close"))?;
        for row in 0..rows.len() {
            let own = series.entry(rows.text("commodity", row)?).or_default();
            own.0.push(rows.day("date", row)?);
            own.1.push(values.value(row));
        }
    }
    let closed = closed_days(context, tally).await?;
    let mut actuals = vec![];
    let settings = context.lake.settings();
    let trading = settings.calendar == "trading";
    let oldest = Day::try_from(settings.stale_after_days).unwrap_or(Day::MAX);
    for (commodity, (dates, values)) in &series {
        let known_until = known_until(dates, &closed, trading, window.1);
        let last = range.1.min(known_until.saturating_sub(DAYS as Day - 1));
        let starts = (range.0..=last).filter(|start| wanted(&(commodity.clone(), *start)));
        actuals.extend(starts.filter_map(|start| actual(commodity, start, dates, values, oldest)));
    }
    Ok(actuals)
}

/// The key of a row of actuals.
fn unit_key((commodity, date): (String, Day)) -> UnitKey {
    UnitKey {
        commodity,
        model_name: ACTUALS.to_owned(),
        model_version: ACTUALS.to_owned(),
        date,
    }
}

/// The last day up to which every expected close is there.
fn known_until(dates: &[Day], closed: &[Day], trading: bool, end: Day) -> Day {
    let Some(newest) = dates.last().copied() else {
        return Day::MIN;
    };
    if !trading {
        return newest;
    }
    let mut days = TradingDays::new(closed);
    dates.iter().for_each(|date| days.push(*date));
    let pattern = days.pattern(newest + 1);
    (newest + 1..=end)
        .take_while(|day| !days.is_open(&pattern, *day))
        .last()
        .unwrap_or(newest)
}

/// The window's closes, days without one carrying the close before them. There is no row where that
/// close would be more than `oldest` days old: a gap in the data is no market that stood still.
fn actual(
    commodity: &str,
    start: Day,
    dates: &[Day],
    values: &[f64],
    oldest: Day,
) -> Option<Actual> {
    let mut digest = Digest::new();
    let days = (start..start + DAYS as Day)
        .map(|day| {
            let index = dates.partition_point(|date| *date <= day).checked_sub(1)?;
            if day - dates[index] > oldest {
                return None;
            }
            digest.add_f64(values[index]);
            Some(values[index])
        })
        .collect::<Option<Vec<f64>>>()?;
    let newest = dates[dates
        .partition_point(|date| *date < start + DAYS as Day)
        .checked_sub(1)?];
    Some(Actual {
        commodity: commodity.to_owned(),
        start,
        newest,
        days,
        digest,
    })
}

fn batch(context: &Context, def: &TableDef, actuals: &[Actual]) -> Result<RecordBatch, JobError> {
    let count = actuals.len();
    let same = |text: &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(
            text, count,
        )))
    };
    let mut columns: Vec<(String, ArrayRef)> = vec![];
    let mut add = |name: &str, array: ArrayRef| columns.push((name.to_owned(), array));
    add(
        distributions::PATH_ID,
        Arc::new(Int32Array::from(vec![0; count])),
    );
    add(
        distributions::FORECAST_START_DATE,
        Arc::new(
            actuals
                .iter()
                .map(|row| Some(row.start))
                .collect::<Date32Array>(),
        ),
    );
    add(
        distributions::DATA_CUTOFF_DATE,
        Arc::new(
            actuals
                .iter()
                .map(|row| Some(row.newest))
                .collect::<Date32Array>(),
        ),
    );
    let stamps =
        TimestampMicrosecondArray::from(vec![context.stamp.at_micros; count]).with_timezone("UTC");
    add(distributions::GENERATION_TIMESTAMP, Arc::new(stamps));
    add(distributions::MODEL_VERSION, same(ACTUALS));
    add(
        distributions::COMMODITY,
        Arc::new(StringArray::from_iter_values(
            actuals.iter().map(|row| &row.commodity),
        )),
    );
    add(distributions::MODEL_NAME, same(ACTUALS));
    for day in 1..=DAYS {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the table's days are FLOAT"
        )]
        let values = actuals.iter().map(|row| row.days[day - 1] as f32);
        add(
            &distributions::day(day),
            Arc::new(Float32Array::from_iter_values(values)),
        );
    }
    add(
        distributions::IS_ACTUALS,
        Arc::new(BooleanArray::from(vec![true; count])),
    );
    add(
        distributions::HAS_DATA_LEAKAGE,
        Arc::new(BooleanArray::from(vec![false; count])),
    );
    add(distributions::ORIGIN, same(distributions::ORIGIN_BACKFILL));
    add(
        distributions::REVISION,
        Arc::new(Int32Array::from(vec![0; count])),
    );
    add(
        distributions::INPUT_DIGEST,
        Arc::new(StringArray::from_iter_values(
            actuals.iter().map(|row| row.digest.hex()),
        )),
    );
    add(distributions::RUN_ID, same(&context.stamp.run_id));
    if def.partition_columns.contains(&SERIES_BUCKET) {
        let buckets = actuals.iter().map(|row| bucket_of(context, &row.commodity));
        add(SERIES_BUCKET, Arc::new(buckets.collect::<Int32Array>()));
    }
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .map_err(|error| JobError::ours(error.to_string()))
}
