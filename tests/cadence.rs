//! Cadence: models are trained at the grid dates, and however a date is reached, by the same model.

use chrono::NaiveDate;

use crate::lake::TestLake;
use crate::market::{Market, day, days};
use crate::tables::{assert_same, bits, states, training_dates};

fn arguments(models: &str, frequency: &str) -> String {
    format!(
        "--commodity Coffee --models {models} --frequency {frequency} --model-version v1 --paths 20"
    )
}

fn dates(texts: &[&str]) -> Vec<NaiveDate> {
    texts.iter().map(|text| day(text)).collect()
}

#[test]
fn a_backfill_trains_exactly_at_the_grid_dates() {
    let base = TestLake::of(&Market::walk("Coffee", 101, "2016-01-01", "2021-12-31"));
    for (frequency, start, end, wanted) in [
        (
            "daily",
            "2021-03-01",
            "2021-03-04",
            vec!["2021-03-01", "2021-03-02", "2021-03-03", "2021-03-04"],
        ),
        (
            "weekly",
            "2020-12-21",
            "2021-01-12",
            vec!["2020-12-21", "2020-12-28", "2021-01-04", "2021-01-11"],
        ),
        (
            "biweekly",
            "2021-03-01",
            "2021-03-29",
            vec!["2021-03-01", "2021-03-15", "2021-03-29"],
        ),
        (
            "monthly",
            "2020-01-31",
            "2020-04-30",
            vec!["2020-01-31", "2020-02-29", "2020-03-31", "2020-04-30"],
        ),
        (
            "quarterly",
            "2020-11-30",
            "2021-05-31",
            vec!["2020-11-30", "2021-02-28", "2021-05-30"],
        ),
        (
            "semiannually",
            "2020-08-31",
            "2021-08-31",
            vec!["2020-08-31", "2021-02-28", "2021-08-31"],
        ),
        (
            "annually",
            "2020-02-29",
            "2021-03-01",
            vec!["2020-02-29", "2021-02-28"],
        ),
    ] {
        let lake = base.copy();
        let report = lake.job(
            &format!(
                "train {} --start {start} --end {end}",
                arguments("naive", frequency)
            )
            .replace("--paths 20", ""),
        );
        assert_eq!(
            training_dates(&lake.models(), "Coffee", "naive"),
            dates(&wanted),
            "{frequency}"
        );
        assert_eq!(report.trained(), [wanted.len() as u64, 0, 0], "{frequency}");
        let report = lake.job(
            &format!(
                "train {} --start {start} --end {end}",
                arguments("naive", frequency)
            )
            .replace("--paths 20", ""),
        );
        assert_eq!(
            report.trained(),
            [0, wanted.len() as u64, 0],
            "{frequency}, again"
        );
    }
}

#[test]
fn daily_runs_and_a_backfill_choose_the_same_models() {
    let base = TestLake::of(&Market::usual("Coffee", 102));
    let arguments = arguments("naive,random_walk", "weekly");
    let backfilled = base.copy();
    backfilled.job(&format!(
        "backfill {arguments} --start 2021-03-03 --end 2021-03-18"
    ));
    let day_by_day = base.copy();
    for date in days("2021-03-03", "2021-03-18") {
        day_by_day.job(&format!("daily {arguments} --date {date}"));
    }
    let wanted = dates(&["2021-03-03", "2021-03-10", "2021-03-17"]);
    assert_eq!(
        training_dates(&backfilled.models(), "Coffee", "naive"),
        wanted
    );
    assert_same(
        &states(&day_by_day.models()),
        &states(&backfilled.models()),
        "states day by day",
    );
    assert_same(
        &bits(&day_by_day.paths()),
        &bits(&backfilled.paths()),
        "paths day by day",
    );
}

#[test]
fn after_a_missed_day_both_choose_the_same_models_again() {
    let base = TestLake::of(&Market::usual("Coffee", 103));
    let arguments = arguments("naive", "weekly");
    // The run of Wednesday, March 10, on which a model is due, is missed.
    let missed = base.copy();
    for date in days("2021-03-03", "2021-03-18").filter(|date| *date != day("2021-03-10")) {
        missed.job(&format!("daily {arguments} --date {date}"));
    }
    let wanted = dates(&["2021-03-03", "2021-03-11", "2021-03-17"]);
    assert_eq!(training_dates(&missed.models(), "Coffee", "naive"), wanted);

    let backfilled = base.copy();
    backfilled.job(&format!(
        "backfill {arguments} --start 2021-03-03 --end 2021-03-09"
    ));
    backfilled.job(&format!(
        "backfill {arguments} --start 2021-03-11 --end 2021-03-18"
    ));
    assert_same(
        &states(&backfilled.models()),
        &states(&missed.models()),
        "states after a missed day",
    );
    assert_same(
        &bits(&backfilled.paths()),
        &bits(&missed.paths()),
        "paths after a missed day",
    );
}

#[test]
fn a_later_backfill_keeps_the_anchor_of_the_first() {
    let lake = TestLake::of(&Market::usual("Coffee", 104));
    let arguments = arguments("naive", "weekly");
    lake.job(&format!(
        "backfill {arguments} --start 2021-03-03 --end 2021-03-12"
    ));
    // From a Monday on: the week that began on Wednesday the 10th has its model, the next begin on
    // Wednesdays as before.
    lake.job(&format!(
        "backfill {arguments} --start 2021-03-15 --end 2021-03-25"
    ));
    let wanted = dates(&["2021-03-03", "2021-03-10", "2021-03-17", "2021-03-24"]);
    assert_eq!(training_dates(&lake.models(), "Coffee", "naive"), wanted);
    // Far ahead, in the middle of a period: due at the first date asked for.
    lake.job(&format!(
        "backfill {arguments} --start 2021-05-01 --end 2021-05-06"
    ));
    let wanted = [wanted, dates(&["2021-05-01", "2021-05-05"])].concat();
    assert_eq!(training_dates(&lake.models(), "Coffee", "naive"), wanted);
}

#[test]
fn each_forecast_rests_on_the_latest_model_that_is_not_younger() {
    // The deviation of the naive model is frozen at its training: a jump of the volatility shows
    // which model was used.
    let mut market = Market::usual("Coffee", 105);
    for date in days("2021-03-01", "2021-03-31").filter(|date| crate::market::is_weekday(*date)) {
        let factor = if date.to_epoch_days() % 2 == 0 {
            1.15
        } else {
            0.85
        };
        let close = market.close("Coffee", date);
        market.set("Coffee", date, "close", close * factor);
    }
    let lake = TestLake::of(&market);
    lake.job(
        &format!(
            "backfill {} --start 2021-03-01 --end 2021-04-05",
            arguments("naive", "monthly")
        )
        .replace("--paths 20", "--paths 400"),
    );
    let width = |date: &str| {
        let key = crate::tables::Key::new("Coffee", "naive", "v1", day(date));
        crate::tables::moments(&lake.paths()[&key], 5).1
    };
    assert!(
        width("2021-03-31") < 1.2 * width("2021-03-02"),
        "frozen until the next training"
    );
    assert!(
        width("2021-04-01") > 1.5 * width("2021-03-31"),
        "the new model knows March"
    );
}
