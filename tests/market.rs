//! Seeded synthetic prices and covariates, and the CSV files they are ingested from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use chrono::{Datelike as _, Days, NaiveDate, Weekday};

/// A day from its text.
#[track_caller]
pub fn day(text: &str) -> NaiveDate {
    text.parse()
        .unwrap_or_else(|_| panic!("`{text}` is no date"))
}

/// The calendar days from the first to the last, both included.
pub fn days(first: &str, last: &str) -> impl Iterator<Item = NaiveDate> + Clone + use<> {
    let last = day(last);
    day(first).iter_days().take_while(move |date| *date <= last)
}

/// The day this many days later.
pub fn later(date: NaiveDate, count: u64) -> NaiveDate {
    date.checked_add_days(Days::new(count)).expect("a day")
}

/// The day this many days earlier.
pub fn earlier(date: NaiveDate, count: u64) -> NaiveDate {
    date.checked_sub_days(Days::new(count)).expect("a day")
}

/// Whether a day is from Monday to Friday.
pub fn is_weekday(date: NaiveDate) -> bool {
    !matches!(date.weekday(), Weekday::Sat | Weekday::Sun)
}

/// A stream of pseudo-random numbers (SplitMix64): the same seed, the same numbers, everywhere.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// A stream of its own for each seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Nearly normal: the sum of twelve uniform numbers, centered.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// The region of rows that have no region of their own.
pub const ALL: &str = "ALL";

type RowKey = (String, NaiveDate, String);
type Row = BTreeMap<String, Option<f64>>;

/// Rows of `unified_data`, unique by commodity, date and region.
#[derive(Debug, Clone, Default)]
pub struct Market {
    rows: BTreeMap<RowKey, Row>,
}

impl Market {
    /// A commodity with a close on every weekday: a positive random walk of about 1 % a day.
    pub fn walk(commodity: &str, seed: u64, first: &str, last: &str) -> Self {
        let mut chance = Chance::new(seed);
        let mut close = 80.0 + 40.0 * chance.uniform();
        let mut market = Self::default();
        for date in days(first, last).filter(|date| is_weekday(*date)) {
            close *= (0.01 * chance.normal()).exp();
            market.set(commodity, date, "close", (close * 100.0).round() / 100.0);
        }
        market
    }

    /// Three years of weekdays and a half: enough to train on, with room to forecast in 2021.
    pub fn usual(commodity: &str, seed: u64) -> Self {
        Self::walk(commodity, seed, "2018-01-01", "2021-12-31")
    }

    /// Both markets; rows of `other` win.
    pub fn and(mut self, other: Self) -> Self {
        self.rows.extend(other.rows);
        self
    }

    /// A market-wide column with a value on every weekday that has rows.
    pub fn with_index(mut self, column: &str, seed: u64, level: f64) -> Self {
        let mut chance = Chance::new(seed);
        let mut values = BTreeMap::new();
        let mut moved = 0.0;
        let dates: BTreeSet<NaiveDate> = self.rows.keys().map(|key| key.1).collect();
        for date in dates {
            moved = 0.95 * moved + 0.05 * chance.normal();
            values.insert(date, ((level * (1.0 + moved)) * 1000.0).round() / 1000.0);
        }
        for ((_, date, _), row) in &mut self.rows {
            row.insert(column.to_owned(), Some(values[date]));
        }
        self
    }

    /// Weather in regions of its own, the close repeated in each of them.
    pub fn with_weather(mut self, commodity: &str, regions: &[&str], seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let own: Vec<(RowKey, Row)> = self
            .rows
            .iter()
            .filter(|(key, _)| key.0 == commodity)
            .map(|(key, row)| (key.clone(), row.clone()))
            .collect();
        for (key, row) in own {
            for (index, region) in regions.iter().enumerate() {
                let season = (f64::from(key.1.ordinal()) / 58.0).sin();
                let value = 20.0 + index as f64 + 4.0 * season + chance.normal();
                let mut row = row.clone();
                row.insert(
                    "temp_mean_c".to_owned(),
                    Some((value * 100.0).round() / 100.0),
                );
                self.rows
                    .insert((commodity.to_owned(), key.1, (*region).to_owned()), row);
            }
        }
        self
    }

    /// Sets one value of the row without a region of its own, which is made if need be.
    pub fn set(&mut self, commodity: &str, date: NaiveDate, column: &str, value: f64) {
        self.set_in(commodity, date, ALL, column, value);
    }

    /// The market with one close multiplied.
    #[track_caller]
    pub fn scaled(mut self, commodity: &str, date: &str, factor: f64) -> Self {
        let date = day(date);
        let close = self.close(commodity, date);
        self.set(commodity, date, "close", close * factor);
        self
    }

    /// Sets one value of a region's row, which is made if need be.
    pub fn set_in(
        &mut self,
        commodity: &str,
        date: NaiveDate,
        region: &str,
        column: &str,
        value: f64,
    ) {
        let key = (commodity.to_owned(), date, region.to_owned());
        self.rows
            .entry(key)
            .or_default()
            .insert(column.to_owned(), Some(value));
    }

    /// The close of a day.
    #[track_caller]
    pub fn close(&self, commodity: &str, date: NaiveDate) -> f64 {
        let row = self.rows.get(&(commodity.to_owned(), date, ALL.to_owned()));
        row.and_then(|row| row["close"])
            .unwrap_or_else(|| panic!("{commodity} has no close on {date}"))
    }

    /// The newest value of a column on or before a day.
    pub fn value(&self, commodity: &str, date: NaiveDate, column: &str) -> f64 {
        let until = self
            .rows
            .iter()
            .filter(|(key, _)| key.0 == commodity && key.1 <= date && key.2 == ALL);
        until
            .filter_map(|(_, row)| row.get(column).copied().flatten())
            .next_back()
            .expect("an earlier value")
    }

    /// The newest close before a day.
    pub fn last_close(&self, commodity: &str, date: NaiveDate) -> f64 {
        let mut before = self
            .rows
            .iter()
            .filter(|(key, _)| key.0 == commodity && key.1 < date && key.2 == ALL);
        before
            .next_back()
            .and_then(|(_, row)| row["close"])
            .expect("an earlier close")
    }

    /// Changes every value of the rows that are chosen.
    pub fn change(
        mut self,
        chosen: impl Fn(&str, NaiveDate) -> bool,
        mut value: impl FnMut(&str, Option<f64>) -> Option<f64>,
    ) -> Self {
        for ((commodity, date, _), row) in &mut self.rows {
            if chosen(commodity, *date) {
                row.iter_mut()
                    .for_each(|(column, slot)| *slot = value(column, *slot));
            }
        }
        self
    }

    /// Only the rows that are chosen.
    pub fn only(mut self, chosen: impl Fn(&str, NaiveDate) -> bool) -> Self {
        self.rows
            .retain(|(commodity, date, _), _| chosen(commodity, *date));
        self
    }

    /// The market as a CSV file; what is unknown is empty.
    pub fn csv(&self) -> String {
        let columns: BTreeSet<&str> = self
            .rows
            .values()
            .flat_map(|row| row.keys().map(String::as_str))
            .collect();
        let mut text = String::from("date,commodity,region");
        columns.iter().for_each(|column| {
            text.push(',');
            text.push_str(column);
        });
        text.push('\n');
        for ((commodity, date, region), row) in &self.rows {
            write!(text, "{date},{commodity},{region}").expect("text grows");
            for column in &columns {
                text.push(',');
                if let Some(value) = row.get(*column).copied().flatten() {
                    write!(text, "{value}").expect("text grows");
                }
            }
            text.push('\n');
        }
        text
    }
}
