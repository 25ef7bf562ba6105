//! What happened, beside what was forecast: one row for each start date whose window is known.

use std::collections::BTreeSet;

use chrono::NaiveDate;

use crate::lake::TestLake;
use crate::market::{Market, day, days, is_weekday, later};

const REQUEST: &str = "--commodity Coffee --models naive,random_walk --frequency monthly --model-version v1 --paths 20";

fn starts(lake: &TestLake) -> BTreeSet<NaiveDate> {
    lake.actuals().into_keys().map(|key| key.date).collect()
}

#[test]
fn actuals_hold_the_closes_and_carry_them_over_closed_days() {
    let market = Market::usual("Coffee", 81);
    let lake = TestLake::of(&market);
    lake.job(&format!(
        "backfill {REQUEST} --start 2021-06-01 --end 2021-06-10"
    ));
    let actuals = lake.actuals();
    assert_eq!(starts(&lake), days("2021-06-01", "2021-06-10").collect());
    for (key, rows) in &actuals {
        assert_eq!(
            (
                key.commodity.as_str(),
                key.model.as_str(),
                key.version.as_str()
            ),
            ("Coffee", "actuals", "actuals")
        );
        assert_eq!(rows.len(), 1, "{key:?}");
        assert_eq!(
            (rows[0].path_id, rows[0].leakage),
            (0, Some(false)),
            "{key:?}"
        );
        for ahead in 0..14 {
            let date = later(key.date, ahead);
            let close = if is_weekday(date) {
                market.close("Coffee", date)
            } else {
                market.last_close("Coffee", date)
            };
            #[expect(clippy::cast_possible_truncation, reason = "stored as FLOAT")]
            let stored = close as f32;
            assert_eq!(
                rows[0].days[ahead as usize],
                Some(stored.to_bits()),
                "{key:?}, {date}"
            );
        }
    }
}

#[test]
fn actuals_come_once_the_last_trading_day_of_the_window_is_known() {
    let market = Market::usual("Coffee", 82);
    // Known up to Friday, June 18: a window that ends on that weekend is complete.
    let lake = TestLake::of(&market.clone().only(|_, date| date <= day("2021-06-18")));
    let backfill = format!("backfill {REQUEST} --start 2021-06-01 --end 2021-06-12");
    lake.job(&backfill);
    assert_eq!(starts(&lake), days("2021-06-01", "2021-06-07").collect());
    let before = lake.actuals();

    lake.ingest(&market.only(|_, date| date <= day("2021-06-22")));
    lake.job(&backfill);
    assert_eq!(starts(&lake), days("2021-06-01", "2021-06-09").collect());
    for (key, rows) in &before {
        assert_eq!(&lake.actuals()[key], rows, "{key:?} was there");
    }
    // Other models and versions share them.
    lake.job(
        &backfill
            .replace("naive,random_walk", "window_mean")
            .replace("--model-version v1", "--model-version v2"),
    );
    assert_eq!(lake.actuals().values().map(Vec::len).sum::<usize>(), 9);
}

#[test]
fn forecasts_do_not_read_actuals() {
    let lake = TestLake::of(&Market::usual("Coffee", 83));
    lake.job(&format!(
        "backfill {REQUEST} --start 2021-06-01 --end 2021-06-03"
    ));
    let rows = lake.sql(
        "SELECT count(*) AS points, count(actual_close) AS filled FROM forecast.point_forecasts WHERE commodity = 'Coffee'",
    );
    assert_eq!(
        (rows[0]["points"].as_u64(), rows[0]["filled"].as_u64()),
        (Some(84), Some(0))
    );
}

#[test]
fn a_gap_in_the_closes_is_no_market_that_stood_still() {
    let gap: BTreeSet<NaiveDate> = days("2021-02-08", "2021-03-12").collect();
    let market = Market::walk("Coffee", 85, "2018-12-01", "2021-04-30");
    let lake = TestLake::of(&market.only(|_, date| !gap.contains(&date)));
    lake.failing_job(&format!(
        "backfill {REQUEST} --start 2021-01-20 --end 2021-03-31"
    ));
    // The last close before the gap is of Friday the 5th: it may be ten days old, and no older.
    let mut expected: BTreeSet<NaiveDate> = days("2021-01-20", "2021-02-02").collect();
    expected.extend(days("2021-03-15", "2021-03-31"));
    assert_eq!(starts(&lake), expected);
}
