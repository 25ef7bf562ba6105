//! Calendars: what a step is, and which days repeat the day before.

use crate::lake::TestLake;
use crate::market::{Market, day, days, is_weekday, later};
use crate::tables::{Key, PathRow};
use crate::whole::assert_no_key_is_half_written;

const REQUEST: &str = "backfill --commodity Coffee --models naive,random_walk --frequency monthly --model-version v1 --paths 50";

/// The days (counted from 1) on which every path repeats the day before.
fn repeated(rows: &[PathRow]) -> Vec<usize> {
    (2..=14)
        .filter(|day| {
            rows.iter()
                .all(|row| row.days[day - 1] == row.days[day - 2])
        })
        .collect()
}

#[test]
fn on_the_trading_calendar_weekends_and_holidays_repeat_the_day_before() {
    let lake = TestLake::of(&Market::usual("Coffee", 91));
    lake.job(&format!("{REQUEST} --start 2021-06-28 --end 2021-07-03"));
    let paths = lake.paths();
    assert_no_key_is_half_written(&paths, 50);
    for (key, rows) in &paths {
        // July 5, 2021, is the day on which Independence Day is kept.
        let closed: Vec<usize> = (2..=14)
            .filter(|day| {
                let date = later(key.date, *day as u64 - 1);
                !is_weekday(date) || date == crate::market::day("2021-07-05")
            })
            .collect();
        assert_eq!(repeated(rows), closed, "{key:?}");
    }
    // A start on a closed day shows the last close itself.
    let saturday = &paths[&Key::new("Coffee", "naive", "v1", day("2021-07-03"))];
    assert!(
        saturday
            .iter()
            .all(|row| row.days[0] == saturday[0].days[0]),
        "Saturday is known"
    );
    assert!(
        saturday
            .iter()
            .any(|row| row.days[3] != saturday[0].days[3]),
        "Tuesday is not"
    );
}

#[test]
fn a_file_of_holidays_overrides_the_built_in_ones() {
    let lake = TestLake::missing();
    let holidays = lake.file(
        "holidays.csv",
        "date,is_open\n2021-07-05,true\n2021-07-07,false\n",
    );
    lake.run(&format!("init --holidays {holidays}")).expect(0);
    lake.ingest(&Market::usual("Coffee", 92));
    lake.job(&format!("{REQUEST} --start 2021-07-01 --end 2021-07-01"));
    // From Thursday, July 1: days 3 and 4 are the weekend, day 7 is the closed Wednesday.
    for (key, rows) in &lake.paths() {
        assert_eq!(repeated(rows), [3, 4, 7, 10, 11], "{key:?}");
    }
}

#[test]
fn holidays_can_be_given_later_and_hold_for_what_is_made_then() {
    let lake = TestLake::of(&Market::usual("Coffee", 92));
    let july = |lake: &TestLake| {
        lake.job(&format!("{REQUEST} --start 2021-07-01 --end 2021-07-01"));
        let paths = lake.paths();
        paths
            .values()
            .map(|rows| repeated(rows))
            .collect::<Vec<_>>()
    };
    let before = july(&lake);
    // July 5 is the holiday that is built in, as the fourth is a Sunday.
    assert_eq!(before, vec![vec![3, 4, 5, 10, 11]; before.len()]);
    // A day beyond the horizon concerns nobody.
    let beyond = lake.file("beyond.csv", "date,is_open\n2021-07-15,false\n");
    let report = lake
        .run(&format!("--json holidays {beyond}"))
        .expect(0)
        .json();
    assert_eq!(
        (
            report["changed"].as_u64(),
            report["stale"]["count"].as_u64()
        ),
        (Some(1), Some(0))
    );
    let file = lake.file(
        "days.csv",
        "date,is_open\n2021-07-05,true\n2021-07-07,false\n",
    );
    let report = lake
        .run(&format!("--json holidays {file}"))
        .expect(0)
        .json();
    assert_eq!(
        (report["days"].as_u64(), report["changed"].as_u64()),
        (Some(2), Some(2))
    );
    assert_eq!(july(&lake), before, "what is there stays");
    let named: Vec<_> = report["stale"]["keys"].as_array().unwrap().iter().collect();
    let stale = lake.run("--json status --stale").expect(0).json();
    assert_eq!(
        named,
        stale["stale"]
            .as_array()
            .unwrap()
            .iter()
            .collect::<Vec<_>>()
    );
    assert!(
        named.len() == 2
            && named
                .iter()
                .all(|key| key["kind"] == "forecast" && key["date"] == "2021-07-01"),
        "{named:?}"
    );
    let revised = lake.job(&format!(
        "{REQUEST} --start 2021-07-01 --end 2021-07-01 --revise"
    ));
    assert_eq!(revised.forecasts(), [2, 0, 0], "{revised:?}");
    assert_eq!(july(&lake), vec![vec![3, 4, 7, 10, 11]; before.len()]);
    let stale = lake.run("--json status --stale").expect(0).json();
    assert_eq!(stale["stale"].as_array().unwrap().len(), 0, "{stale}");
    let again = lake
        .run(&format!("--json holidays {file}"))
        .expect(0)
        .json();
    assert_eq!(again["changed"].as_u64(), Some(0));
    let broken = lake.file("broken.csv", "date,is_open\n2021-07-05,maybe\n");
    lake.run(&format!("holidays {broken}")).refusal();
}

#[test]
fn on_the_daily_calendar_every_day_is_a_step() {
    let mut market = Market::default();
    let weekdays = Market::usual("Coffee", 93);
    for date in days("2018-01-02", "2021-07-31") {
        market.set(
            "Coffee",
            date,
            "close",
            weekdays.last_close("Coffee", later(date, 1)) + f64::from(date.to_epoch_days() % 7),
        );
    }
    let lake = TestLake::init("--calendar daily");
    lake.ingest(&market);
    lake.job(&format!("{REQUEST} --start 2021-07-01 --end 2021-07-04"));
    for (key, rows) in &lake.paths() {
        assert_eq!(repeated(rows), Vec::<usize>::new(), "{key:?}");
        assert_eq!(
            rows[0].cutoff,
            Some(crate::market::earlier(key.date, 1)),
            "{key:?}"
        );
    }
}

#[test]
fn on_the_observed_calendar_days_have_no_date_and_gaps_do_not_matter() {
    // One observation a week.
    let lake = TestLake::init("--calendar observed");
    lake.ingest(&Market::usual("Coffee", 94).only(|_, date| date.to_epoch_days() % 7 == 0));
    lake.job(&format!("{REQUEST} --start 2021-06-01 --end 2021-06-03"));
    let paths = lake.paths();
    assert_eq!(paths.len(), 6);
    for (key, rows) in &paths {
        assert_eq!(repeated(rows), Vec::<usize>::new(), "{key:?}");
    }
    for (key, rows) in lake.points() {
        assert_eq!(rows.len(), 14, "{key:?}");
        assert!(
            rows.iter().all(|row| row.date.is_none()),
            "{key:?} has dates"
        );
    }
}

#[test]
fn a_series_that_trades_on_sundays_has_sunday_steps() {
    let mut market = Market::usual("Coffee", 95);
    for date in
        days("2018-01-01", "2021-12-31").filter(|date| date.to_epoch_days().rem_euclid(7) == 3)
    {
        let before = market.last_close("Coffee", date);
        market.set("Coffee", date, "close", before * 1.001);
    }
    let lake = TestLake::of(&market);
    // From a Tuesday: Saturdays are days 5 and 12.
    lake.job(&format!("{REQUEST} --start 2021-06-08 --end 2021-06-08"));
    for (key, rows) in &lake.paths() {
        assert_eq!(repeated(rows), [5, 12], "{key:?}");
    }
}
