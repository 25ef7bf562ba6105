//! A synthetic market to try things on: coffee and sugar with weather, exchange rates and a
//! volatility index. Made up, yet with the habits of the real thing: volatility that clusters,
//! prices that follow the real and the peso, and frost in Minas Gerais.
//!
//! A later end continues the same history: day by day, every number is drawn from a stream of its
//! own kind, keyed by the seed.

use std::sync::Arc;

use almanac_delta::tables::unified_data::{
    BRL_USD, CLOSE, COMMODITY, COP_USD, DATE, HIGH, HUMIDITY_MEAN_PCT, LOW, OPEN, PRECIPITATION_MM,
    REGION, TEMP_MEAN_C, VIX, VOLUME,
};
use almanac_udfs::forecasters::calendar::us_exchange_holidays;
use almanac_udfs::forecasters::date::{self, Day};
use almanac_udfs::forecasters::{Digest, Rng, Streams};
use arrow::array::{ArrayRef, Date32Array, Float64Array, RecordBatch, StringArray};

use crate::ingest::IngestError;

/// Region of the rows without weather.
const EVERYWHERE: &str = "ALL";

/// Coldest mean temperature, in Celsius, that coffee trees survive.
const FROST: f64 = 7.0;

/// A market of its own for every seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Market {
    /// What distinguishes it.
    pub seed: u64,
    /// First day.
    pub start: Day,
    /// Last day, included.
    pub end: Day,
}

impl Market {
    /// One row per calendar day, commodity and region. On weekends and exchange holidays there is
    /// weather and nothing else.
    ///
    /// # Errors
    /// None that can be provoked: the columns are of equal length.
    pub fn rows(&self) -> Result<RecordBatch, IngestError> {
        let holidays =
            us_exchange_holidays(date::to_civil(self.start).0, date::to_civil(self.end).0);
        let mut rates = Rates::new(self);
        let mut climates = CLIMATES.map(|climate| Climate::new(self, climate));
        let mut coffee = Future::new(self, COFFEE);
        let mut sugar = Future::new(self, SUGAR);
        let mut frost = 0.0;
        let mut table = Table::default();
        for day in self.start..=self.end {
            let weather: Vec<Weather> = climates
                .iter_mut()
                .map(|climate| climate.next(day))
                .collect();
            // A frost is on the market's mind once, when it opens next.
            if weather[0].temp < FROST {
                frost += 0.02 + 0.012 * (FROST - weather[0].temp);
            }
            let is_open = date::weekday(day) < 5 && holidays.binary_search(&day).is_err();
            let traded = is_open.then(|| {
                let rates = rates.next();
                let news = std::mem::take(&mut frost);
                (rates, coffee.next(&rates, news), sugar.next(&rates, 0.0))
            });
            let (now, coffee, sugar) = match traded {
                Some((rates, coffee, sugar)) => (Some(rates), Some(coffee), Some(sugar)),
                None => (None, None, None),
            };
            table.push(day, "Coffee", EVERYWHERE, coffee, now, None);
            for (climate, weather) in CLIMATES.iter().zip(weather) {
                table.push(day, "Coffee", climate.region, coffee, now, Some(weather));
            }
            table.push(day, "Sugar", EVERYWHERE, sugar, now, None);
        }
        table.batch()
    }

    fn stream(&self, name: &str) -> Rng {
        let mut key = Digest::new();
        key.add_str("synthetic market");
        key.add_u64(self.seed);
        key.add_str(name);
        Streams::new(&key).path(1)
    }
}

/// What every market looks at on a day, and how far it moved since the last one.
#[derive(Debug, Clone, Copy)]
struct Quotes {
    vix: f64,
    brl_usd: f64,
    cop_usd: f64,
    brl_move: f64,
    cop_move: f64,
    /// Yesterday's moves, which prices digest today.
    brl_move_before: f64,
    /// How much louder than usual markets are, 1 on average.
    mood: f64,
}

struct Rates {
    vix: Rng,
    brl: Rng,
    cop: Rng,
    log_vix: f64,
    log_brl: f64,
    log_cop: f64,
    last_brl_move: f64,
}

impl Rates {
    fn new(market: &Market) -> Self {
        Self {
            vix: market.stream(VIX),
            brl: market.stream(BRL_USD),
            cop: market.stream(COP_USD),
            log_vix: LEVEL_VIX.ln(),
            log_brl: LEVEL_BRL.ln(),
            log_cop: LEVEL_COP.ln(),
            last_brl_move: 0.0,
        }
    }

    fn next(&mut self) -> Quotes {
        // Fear jumps and fades: reversion to its level, with now and then a shock upwards.
        let shock = if self.vix.uniform() < 0.008 {
            0.25
        } else {
            0.0
        };
        self.log_vix +=
            0.05 * (LEVEL_VIX.ln() - 0.04 - self.log_vix) + 0.055 * self.vix.normal() + shock;
        self.log_vix = self.log_vix.clamp(9f64.ln(), 85f64.ln());
        let vix = self.log_vix.exp();
        let mood = (vix / LEVEL_VIX).sqrt();
        // The two currencies share half of their moves; a weak pull keeps decades plausible.
        let common = self.brl.normal();
        let brl_move = 0.0005 * (LEVEL_BRL.ln() - self.log_brl) + 0.009 * mood * common;
        let own = 0.5 * common + 0.866 * self.cop.normal();
        let cop_move = 0.0005 * (LEVEL_COP.ln() - self.log_cop) + 0.007 * mood * own;
        self.log_brl += brl_move;
        self.log_cop += cop_move;
        let brl_move_before = std::mem::replace(&mut self.last_brl_move, brl_move);
        Quotes {
            vix: rounded(vix, 2),
            brl_usd: rounded(self.log_brl.exp(), 4),
            cop_usd: rounded(self.log_cop.exp(), 1),
            brl_move,
            cop_move,
            brl_move_before,
            mood,
        }
    }
}

const LEVEL_VIX: f64 = 18.0;
const LEVEL_BRL: f64 = 3.8;
const LEVEL_COP: f64 = 3200.0;

/// How one commodity behaves.
#[derive(Debug, Clone, Copy)]
struct Habits {
    name: &'static str,
    level: f64,
    /// Standard deviation of a usual day's move, currencies aside.
    daily: f64,
    /// What a move of the real does on the day and on the next.
    brl: [f64; 2],
    cop: f64,
    volume: f64,
}

const COFFEE: Habits = Habits {
    name: "coffee",
    level: 150.0,
    daily: 0.018,
    brl: [-0.30, -0.20],
    cop: -0.15,
    volume: 28_000.0,
};
const SUGAR: Habits = Habits {
    name: "sugar",
    level: 17.0,
    daily: 0.017,
    brl: [-0.30, -0.10],
    cop: 0.0,
    volume: 75_000.0,
};

/// GARCH(1,1): what share of the variance is yesterday's surprise, and what share its memory.
const SURPRISE: f64 = 0.06;
const MEMORY: f64 = 0.91;

/// One day of trading.
#[derive(Debug, Clone, Copy)]
struct Bar {
    open: f64,
    high: f64,
    low: f64,
    close: f64,
    volume: f64,
}

struct Future {
    habits: Habits,
    rng: Rng,
    log_close: f64,
    variance: f64,
}

impl Future {
    fn new(market: &Market, habits: Habits) -> Self {
        let rng = market.stream(habits.name);
        Self {
            habits,
            rng,
            log_close: habits.level.ln(),
            variance: habits.daily * habits.daily,
        }
    }

    /// A day of trading; `news` is a move that comes from elsewhere.
    fn next(&mut self, quotes: &Quotes, news: f64) -> Bar {
        let habits = self.habits;
        let before = self.log_close;
        let surprise = self.variance.sqrt() * self.rng.normal();
        let usual = habits.daily * habits.daily;
        self.variance = (1.0 - SURPRISE - MEMORY) * usual * quotes.mood
            + SURPRISE * surprise * surprise
            + MEMORY * self.variance;
        let pulled = 0.0015 * (habits.level.ln() - before);
        let currencies = habits.brl[0] * quotes.brl_move
            + habits.brl[1] * quotes.brl_move_before
            + habits.cop * quotes.cop_move;
        self.log_close += pulled + currencies + surprise + news;
        let deviation = self.variance.sqrt();
        let open = before + 0.35 * (self.log_close - before) + 0.25 * deviation * self.rng.normal();
        let high = open.max(self.log_close) + 0.35 * deviation * self.rng.normal().abs();
        let low = open.min(self.log_close) - 0.35 * deviation * self.rng.normal().abs();
        let busy = 0.25 * self.rng.normal() + 4.0 * surprise.abs();
        Bar {
            open: rounded(open.exp(), 2),
            high: rounded(high.exp(), 2),
            low: rounded(low.exp(), 2),
            close: rounded(self.log_close.exp(), 2),
            volume: (habits.volume * busy.exp()).round(),
        }
    }
}

/// The climate of a coffee region.
#[derive(Debug, Clone, Copy)]
struct Region {
    region: &'static str,
    /// Mean temperature of the year, and how far the warmest day is above it.
    temp: [f64; 2],
    /// Day of the year that is warmest, and the one that is wettest.
    warmest: f64,
    wettest: f64,
    /// Share of rainy days in the driest and in the wettest time, and rain on one in millimetres.
    rain: [f64; 3],
    /// Chance of a wave of cold air per winter day.
    cold: f64,
}

const CLIMATES: [Region; 3] = [
    Region {
        region: "Minas_Gerais",
        temp: [20.5, 3.5],
        warmest: 20.0,
        wettest: 5.0,
        rain: [0.06, 0.62, 11.0],
        cold: 0.012,
    },
    Region {
        region: "Sidama",
        temp: [18.5, 1.5],
        warmest: 75.0,
        wettest: 215.0,
        rain: [0.12, 0.66, 7.0],
        cold: 0.0,
    },
    Region {
        region: "Huila",
        temp: [19.5, 0.8],
        warmest: 230.0,
        wettest: 110.0,
        rain: [0.28, 0.60, 8.0],
        cold: 0.0,
    },
];

#[derive(Debug, Clone, Copy)]
struct Weather {
    temp: f64,
    humidity: f64,
    rain: f64,
}

struct Climate {
    region: Region,
    rng: Rng,
    warmth: f64,
    cold_air: f64,
    was_wet: bool,
}

impl Climate {
    fn new(market: &Market, region: Region) -> Self {
        let rng = market.stream(region.region);
        Self {
            region,
            rng,
            warmth: 0.0,
            cold_air: 0.0,
            was_wet: false,
        }
    }

    fn next(&mut self, day: Day) -> Weather {
        let Region {
            temp: [mean, swing],
            warmest,
            wettest,
            rain: [dry, wet, amount],
            cold,
            ..
        } = self.region;
        let season = |peak: f64| {
            let turn = (f64::from(date::day_of_year(day)) - peak) / 365.25;
            (2.0 * std::f64::consts::PI * turn).cos()
        };
        // Every day takes the same number of draws, so that no day moves the others.
        let [warm, arrives, bitter, falls, how_much, haze] = [
            self.rng.normal(),
            self.rng.uniform(),
            self.rng.normal(),
            self.rng.uniform(),
            self.rng.uniform(),
            self.rng.normal(),
        ];
        self.warmth = 0.7 * self.warmth + 1.1 * warm;
        let winter = season(warmest) < -0.5;
        self.cold_air *= 0.6;
        if winter && arrives < cold {
            self.cold_air -= 7.0 + 2.0 * bitter.abs();
        }
        let share = dry + (wet - dry) * 0.5 * (1.0 + season(wettest));
        let chance = if self.was_wet {
            share + 0.3 * (1.0 - share)
        } else {
            0.7 * share
        };
        self.was_wet = falls < chance;
        let rain = if self.was_wet {
            -amount * (1.0 - how_much).ln()
        } else {
            0.0
        };
        let temp = mean + swing * season(warmest) + self.warmth + self.cold_air
            - if self.was_wet { 0.8 } else { 0.0 };
        let humidity = 62.0 + 18.0 * share + if self.was_wet { 9.0 } else { 0.0 } + 4.0 * haze;
        Weather {
            temp: rounded(temp, 2),
            humidity: rounded(humidity.clamp(20.0, 100.0), 2),
            rain: rounded(rain, 2),
        }
    }
}

/// The rows so far, column by column.
#[derive(Default)]
struct Table {
    days: Vec<Day>,
    commodities: Vec<&'static str>,
    regions: Vec<&'static str>,
    numbers: [Vec<Option<f64>>; COLUMNS.len()],
}

const COLUMNS: [&str; 11] = [
    CLOSE,
    OPEN,
    HIGH,
    LOW,
    VOLUME,
    TEMP_MEAN_C,
    HUMIDITY_MEAN_PCT,
    PRECIPITATION_MM,
    VIX,
    BRL_USD,
    COP_USD,
];

impl Table {
    fn push(
        &mut self,
        day: Day,
        commodity: &'static str,
        region: &'static str,
        bar: Option<Bar>,
        quotes: Option<Quotes>,
        weather: Option<Weather>,
    ) {
        self.days.push(day);
        self.commodities.push(commodity);
        self.regions.push(region);
        let numbers = [
            bar.map(|bar| bar.close),
            bar.map(|bar| bar.open),
            bar.map(|bar| bar.high),
            bar.map(|bar| bar.low),
            bar.map(|bar| bar.volume),
            weather.map(|weather| weather.temp),
            weather.map(|weather| weather.humidity),
            weather.map(|weather| weather.rain),
            quotes.map(|quotes| quotes.vix),
            quotes.map(|quotes| quotes.brl_usd),
            quotes.map(|quotes| quotes.cop_usd),
        ];
        for (column, number) in self.numbers.iter_mut().zip(numbers) {
            column.push(number);
        }
    }

    fn batch(self) -> Result<RecordBatch, IngestError> {
        let mut columns: Vec<(&str, ArrayRef)> = vec![
            (DATE, Arc::new(Date32Array::from(self.days))),
            (COMMODITY, Arc::new(StringArray::from(self.commodities))),
            (REGION, Arc::new(StringArray::from(self.regions))),
        ];
        for (name, numbers) in COLUMNS.into_iter().zip(self.numbers) {
            columns.push((name, Arc::new(Float64Array::from(numbers))));
        }
        Ok(RecordBatch::try_from_iter(columns)?)
    }
}

fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Date32Type, Float64Type};

    use super::*;

    const START: Day = 14_610; // 2010-01-01
    const END: Day = 20_088; // 2024-12-31

    fn market(seed: u64) -> RecordBatch {
        Market {
            seed,
            start: START,
            end: END,
        }
        .rows()
        .unwrap()
    }

    fn numbers<'a>(rows: &'a RecordBatch, name: &str) -> &'a Float64Array {
        rows.column_by_name(name)
            .unwrap()
            .as_primitive::<Float64Type>()
    }

    fn of(rows: &RecordBatch, commodity: &str, region: &str, name: &str) -> Vec<Option<f64>> {
        let commodities = rows.column_by_name(COMMODITY).unwrap().as_string::<i32>();
        let regions = rows.column_by_name(REGION).unwrap().as_string::<i32>();
        let numbers = numbers(rows, name);
        (0..rows.num_rows())
            .filter(|row| commodities.value(*row) == commodity && regions.value(*row) == region)
            .map(|row| numbers.is_valid(row).then(|| numbers.value(row)))
            .collect()
    }

    fn moves(closes: &[Option<f64>]) -> Vec<f64> {
        let closes: Vec<f64> = closes.iter().flatten().copied().collect();
        closes
            .windows(2)
            .map(|two| (two[1] / two[0]).ln())
            .collect()
    }

    fn deviation(values: &[f64]) -> f64 {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        (values
            .iter()
            .map(|value| (value - mean).powi(2))
            .sum::<f64>()
            / values.len() as f64)
            .sqrt()
    }

    fn correlation(left: &[f64], right: &[f64]) -> f64 {
        let n = left.len() as f64;
        let (a, b) = (left.iter().sum::<f64>() / n, right.iter().sum::<f64>() / n);
        let shared = left
            .iter()
            .zip(right)
            .map(|(x, y)| (x - a) * (y - b))
            .sum::<f64>()
            / n;
        shared / (deviation(left) * deviation(right))
    }

    #[test]
    fn a_seed_is_a_market_and_a_later_end_continues_it() {
        assert_eq!(market(7), market(7));
        assert_ne!(market(7), market(8));
        let short = Market {
            seed: 7,
            start: START,
            end: START + 99,
        }
        .rows()
        .unwrap();
        assert_eq!(short, market(7).slice(0, short.num_rows()));
        assert_eq!(short.num_rows(), 100 * 5);
    }

    #[test]
    fn closes_are_null_exactly_on_closed_days() {
        let rows = market(1);
        let holidays = us_exchange_holidays(2010, 2024);
        let days = rows
            .column_by_name(DATE)
            .unwrap()
            .as_primitive::<Date32Type>();
        for name in [CLOSE, VIX, BRL_USD] {
            let numbers = numbers(&rows, name);
            for row in 0..rows.num_rows() {
                let day = days.value(row);
                let is_open = date::weekday(day) < 5 && holidays.binary_search(&day).is_err();
                assert_eq!(
                    numbers.is_valid(row),
                    is_open,
                    "{name} on {}",
                    date::format(day)
                );
            }
        }
        assert!(
            of(&rows, "Coffee", "ALL", TEMP_MEAN_C)
                .iter()
                .all(Option::is_none)
        );
        assert!(
            of(&rows, "Coffee", "Huila", TEMP_MEAN_C)
                .iter()
                .all(Option::is_some)
        );
        assert_eq!(
            of(&rows, "Coffee", "Huila", CLOSE),
            of(&rows, "Coffee", "ALL", CLOSE)
        );
    }

    #[test]
    fn prices_behave_like_prices() {
        for seed in 0..8 {
            let rows = market(seed);
            for commodity in ["Coffee", "Sugar"] {
                let closes = of(&rows, commodity, "ALL", CLOSE);
                let moves = moves(&closes);
                let daily = deviation(&moves);
                assert!(
                    (0.015..0.025).contains(&daily),
                    "{commodity} of {seed}: {daily}"
                );
                let sizes: Vec<f64> = moves.iter().map(|value| value.abs()).collect();
                let clustering = correlation(&sizes[1..], &sizes[..sizes.len() - 1]);
                assert!(clustering > 0.02, "{commodity} of {seed}: {clustering}");
                let (low, high) = (
                    of(&rows, commodity, "ALL", LOW),
                    of(&rows, commodity, "ALL", HIGH),
                );
                for ((close, low), high) in closes.iter().zip(low).zip(high) {
                    assert!(
                        *close >= low && *close <= high && close.is_none_or(|close| close > 1.0)
                    );
                }
            }
            let (vix, brl) = (
                of(&rows, "Sugar", "ALL", VIX),
                of(&rows, "Sugar", "ALL", BRL_USD),
            );
            assert!(
                vix.iter()
                    .flatten()
                    .all(|value| (9.0..=85.0).contains(value))
            );
            let coffee = moves(&of(&rows, "Coffee", "ALL", CLOSE));
            let brl = moves(&brl);
            assert!(correlation(&coffee, &brl) < -0.05, "{seed}");
            // Yesterday's currency move says something about today.
            assert!(
                correlation(&coffee[1..], &brl[..brl.len() - 1]) < -0.02,
                "{seed}"
            );
        }
    }

    #[test]
    fn frost_is_rare_and_raises_coffee() {
        let mut jumps = vec![];
        for seed in 0..8 {
            let rows = market(seed);
            let temps = of(&rows, "Coffee", "Minas_Gerais", TEMP_MEAN_C);
            let closes = of(&rows, "Coffee", "ALL", CLOSE);
            for (day, temp) in temps.iter().enumerate() {
                let before = closes[..day].iter().rev().flatten().next();
                let after = closes[day..].iter().flatten().next();
                if let (Some(temp), Some(before), Some(after)) = (temp, before, after)
                    && *temp < FROST
                {
                    jumps.push((after / before).ln());
                }
            }
        }
        // 120 winters.
        assert!((10..400).contains(&jumps.len()), "{}", jumps.len());
        let mean = jumps.iter().sum::<f64>() / jumps.len() as f64;
        assert!(mean > 0.02, "{mean}");
    }
}
