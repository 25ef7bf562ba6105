//! Cadence: models are trained at the grid dates, and however a date is reached, by the same model.

use chrono::NaiveDate;

use crate::lake::{Report, TestLake};
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

/// What a run of each day and a run of the whole range leave behind: models, paths, and the trainings
/// that failed.
#[track_caller]
fn assert_day_by_day_is_as_the_range(base: &TestLake, arguments: &str, first: &str, last: &str) {
    let failures = |lake: &TestLake| {
        lake.sql("SELECT model_name, date, error_class FROM job_failures WHERE stage = 'train' ORDER BY 1, 2")
    };
    let range = base.copy();
    let backfill = format!("backfill {arguments} --start {first} --end {last}");
    let report = Report(range.run(&format!("--json {backfill}")).expect(3).json());
    let day_by_day = base.copy();
    for date in days(first, last) {
        let output = day_by_day.run(&format!("daily {arguments} --allow-stale --date {date}"));
        assert!(matches!(output.code, Some(0 | 3)), "{output}");
    }
    assert_same(
        &states(&range.models()),
        &states(&day_by_day.models()),
        "states of the range",
    );
    assert_same(
        &bits(&range.paths()),
        &bits(&day_by_day.paths()),
        "paths of the range",
    );
    assert_eq!(failures(&range), failures(&day_by_day));
    assert_eq!(report.count("train_failed"), failures(&range).len() as u64);
    let trained = range.models().len() - base.models().len();
    assert_eq!(report.count("trained"), trained as u64);

    // A rerun tries what failed again, and trains nothing that a daily run would not have trained.
    let versions = range.data_versions();
    let again = Report(range.run(&format!("--json {backfill}")).expect(3).json());
    let [trained, skipped, failed] = report.trained();
    assert_eq!(again.trained(), [0, trained + skipped, failed]);
    assert_eq!(range.data_versions(), versions);
}

#[test]
fn a_cadence_begins_on_the_first_day_that_can_be_trained_on() {
    // 730 days of history are there on January 6, in the second chunk of the range.
    let base = TestLake::of(&Market::walk("Coffee", 106, "2019-01-07", "2021-03-31"));
    let arguments = arguments("naive,random_walk", "weekly");
    assert_day_by_day_is_as_the_range(&base, &arguments, "2020-12-22", "2021-01-25");
    let lake = base.copy();
    lake.failing_job(&format!(
        "backfill {arguments} --start 2020-12-22 --end 2021-01-25"
    ));
    assert_eq!(
        training_dates(&lake.models(), "Coffee", "naive"),
        dates(&["2021-01-06", "2021-01-13", "2021-01-20"])
    );
}

#[test]
fn a_failed_retraining_is_tried_again_each_day_of_its_period() {
    let base = TestLake::new();
    base.configure("[models.with_index]\nfamily = \"linear_regression\"\ncovariates = [\"vix\"]\n");
    let market = Market::usual("Coffee", 107).with_index("vix", 108, 20.0);
    base.ingest(&market);
    let arguments = arguments("naive,with_index", "weekly");
    base.job(&format!(
        "backfill {arguments} --start 2020-12-16 --end 2020-12-21"
    ));
    // What was known of the covariate is taken back: too little is left to train on until some days
    // after New Year, over which the retraining of December 30 is tried in vain.
    let first = day("2020-12-28");
    let corrected = market.change(
        |_, date| date < first,
        |column, value| if column == "vix" { None } else { value },
    );
    base.ingest(&corrected);
    assert_day_by_day_is_as_the_range(&base, &arguments, "2020-12-22", "2021-01-20");
    base.failing_job(&format!(
        "backfill {arguments} --start 2020-12-22 --end 2021-01-20"
    ));
    assert_eq!(
        training_dates(&base.models(), "Coffee", "with_index"),
        dates(&["2020-12-16", "2021-01-08", "2021-01-13", "2021-01-20"])
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
    // The deviation of a model that is not calibrated is frozen at its training: a jump of the
    // volatility shows which model was used.
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
    lake.configure("[models.frozen]\nfamily = \"naive\"\n");
    lake.job(
        &format!(
            "backfill {} --start 2021-03-01 --end 2021-04-05",
            arguments("frozen", "monthly")
        )
        .replace("--paths 20", "--paths 400"),
    );
    let width = |date: &str| {
        let key = crate::tables::Key::new("Coffee", "frozen", "v1", day(date));
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
