//! The daily run: does what is due, skips what is done, and tells all of it.

use crate::lake::{Report, TestLake, rounds};
use crate::market::{Market, day, days};
use crate::tables::{assert_same, bits, keys, training_dates};
use crate::whole::assert_whole;

const ARGUMENTS: &str = "--commodity Coffee,Sugar --models naive,random_walk --frequency weekly --model-version v1 --paths 20";

fn lake() -> TestLake {
    TestLake::of(&Market::usual("Coffee", 111).and(Market::usual("Sugar", 112)))
}

#[test]
fn the_summary_says_what_was_trained_skipped_generated_and_failed() {
    let lake = lake();
    let first = lake
        .run(&format!("daily {ARGUMENTS} --date 2021-03-03"))
        .expect(0)
        .stdout;
    assert!(first.contains("DAILY PRODUCTION COMPLETE"), "{first}");
    assert!(
        ["Trained", "Skipped", "Generated", "Failed"]
            .iter()
            .all(|word| first.to_lowercase().contains(&word.to_lowercase())),
        "{first}"
    );

    let report = lake.job(&format!("daily {ARGUMENTS} --date 2021-03-04"));
    assert_eq!(
        (report.trained(), report.forecasts()),
        ([0, 4, 0], [4, 0, 0])
    );
    let third = lake
        .run(&format!("daily {ARGUMENTS} --date 2021-03-05"))
        .expect(0)
        .stdout;
    assert!(
        third.contains("2021-03-03") && third.contains("2021-03-10"),
        "the last training and the next: {third}"
    );
    assert_whole(
        &lake,
        &keys(
            &["Coffee", "Sugar"],
            &["naive", "random_walk"],
            days("2021-03-03", "2021-03-05"),
        ),
        20,
    );
}

#[test]
fn a_second_run_on_the_same_day_skips_everything() {
    let lake = lake();
    let report = lake.job(&format!("daily {ARGUMENTS} --date 2021-03-03"));
    assert_eq!(
        (report.trained(), report.forecasts()),
        ([4, 0, 0], [4, 0, 0])
    );
    let versions = lake.data_versions();
    let report = lake.job(&format!("daily {ARGUMENTS} --date 2021-03-03"));
    assert_eq!(
        (report.trained(), report.forecasts()),
        ([0, 4, 0], [0, 4, 0])
    );
    assert_eq!(lake.data_versions(), versions);
    let text = lake
        .run(&format!("daily {ARGUMENTS} --date 2021-03-03"))
        .expect(0)
        .stdout;
    assert!(text.contains("DAILY PRODUCTION COMPLETE"), "{text}");
}

#[test]
fn a_failed_retraining_forecasts_with_the_previous_model_and_says_so() {
    let lake = TestLake::new();
    lake.configure("[models.with_index]\nfamily = \"linear_regression\"\ncovariates = [\"vix\"]\n");
    let market = Market::usual("Coffee", 113).with_index("vix", 114, 20.0);
    lake.ingest(&market);
    let arguments =
        "--commodity Coffee --models with_index --frequency weekly --model-version v1 --paths 20";
    lake.job(&format!("daily {arguments} --date 2021-03-03"));

    // The covariate turns out to be unknown but for the last days: enough to forecast with, too
    // little to train on.
    let corrected = market.change(
        |_, date| date < day("2021-03-04"),
        |column, value| if column == "vix" { None } else { value },
    );
    lake.ingest(&corrected);
    let report = lake.failing_job(&format!("daily {arguments} --date 2021-03-10"));
    assert_eq!(
        (report.trained(), report.forecasts()),
        ([0, 0, 1], [1, 0, 0]),
        "{report:?}"
    );
    let failures = report.failures();
    assert_eq!(failures.len(), 1);
    assert_eq!(
        [&failures[0][0], &failures[0][4]],
        ["train", "missing_covariate"]
    );
    assert_eq!(
        training_dates(&lake.models(), "Coffee", "with_index"),
        [day("2021-03-03")]
    );

    let text = lake
        .run(&format!("daily {arguments} --date 2021-03-11"))
        .expect(3)
        .stdout;
    assert!(
        text.contains("2021-03-03") && text.contains("earlier model"),
        "names the model it used instead: {text}"
    );
    assert_whole(
        &lake,
        &keys(
            &["Coffee"],
            &["with_index"],
            ["2021-03-03", "2021-03-10", "2021-03-11"]
                .into_iter()
                .map(day),
        ),
        20,
    );
}

#[test]
fn without_a_date_it_is_today_and_the_forecast_is_live() {
    let lake = TestLake::new();
    let today = chrono::Utc::now().date_naive();
    let first = crate::market::earlier(today, 1100).to_string();
    lake.ingest(
        &Market::walk("Coffee", 115, &first, &today.to_string()).only(|_, date| date < today),
    );
    let report = lake.job(
        "daily --commodity Coffee --models naive --frequency weekly --model-version v1 --paths 20",
    );
    assert_eq!(report.forecasts(), [1, 0, 0]);
    let paths = lake.paths();
    let (key, rows) = paths.first_key_value().unwrap();
    // Midnight may have passed since.
    assert!(
        key.date == today || key.date == crate::market::later(today, 1),
        "{key:?}"
    );
    assert!(
        rows.iter().all(|row| row.origin.as_deref() == Some("live")),
        "{key:?}"
    );

    let past = crate::market::earlier(today, 3);
    lake.job(&format!("daily --commodity Coffee --models naive --frequency weekly --model-version v1 --paths 20 --date {past}"));
    for (key, rows) in lake.paths().iter().filter(|(key, _)| key.date == past) {
        assert!(
            rows.iter()
                .all(|row| row.origin.as_deref() == Some("backfill")),
            "{key:?}"
        );
    }
}

#[test]
fn a_day_with_some_series_late_makes_the_others() {
    let lake = TestLake::of(
        &Market::usual("Coffee", 111)
            .and(Market::usual("Sugar", 112))
            .only(|name, date| name == "Coffee" || date < day("2021-03-02")),
    );
    let report = lake.failing_job(&format!("daily {ARGUMENTS} --date 2021-03-03"));
    assert_eq!(report.forecasts(), [2, 0, 2]);
    assert!(
        report
            .failures()
            .iter()
            .all(|[_, commodity, _, _, class]| commodity == "Sugar" && class == "freshness")
    );
    assert_whole(
        &lake,
        &keys(
            &["Coffee"],
            &["naive", "random_walk"],
            std::iter::once(day("2021-03-03")),
        ),
        20,
    );

    let punctual = self::lake();
    punctual.job(&format!("daily {ARGUMENTS} --date 2021-03-03"));
    lake.ingest(&Market::usual("Sugar", 112));
    let report = lake.job(&format!("daily {ARGUMENTS} --date 2021-03-03"));
    assert_eq!(report.forecasts(), [2, 2, 0]);
    assert_same(
        &bits(&lake.paths()),
        &bits(&punctual.paths()),
        "paths of a series that came late",
    );
}

#[test]
fn two_daily_runs_at_once_make_every_key_once() {
    let base = lake();
    for _ in 0..rounds() {
        let lake = base.copy();
        let pair =
            [(), ()].map(|()| lake.start(&format!("--json daily {ARGUMENTS} --date 2021-03-03")));
        for running in pair {
            let report = Report(running.wait().expect(0).json());
            assert_eq!(
                report.forecasts()[0] + report.forecasts()[1],
                4,
                "{report:?}"
            );
        }
        let wanted = keys(
            &["Coffee", "Sugar"],
            &["naive", "random_walk"],
            std::iter::once(day("2021-03-03")),
        );
        assert_whole(&lake, &wanted, 20);
        assert_eq!(lake.models().len(), 4);
    }
}
