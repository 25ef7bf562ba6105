//! Failing open: a unit that fails is a row that says why; the others commit; the exit code is 3.

use std::collections::{BTreeMap, BTreeSet};

use crate::lake::TestLake;
use crate::market::{Market, day, days};
use crate::tables::{Key, assert_same, bits, keys};
use crate::whole::assert_whole;

const SETTINGS: &str = r#"
[models.panics_fitting]
family = "drill"
[models.panics_fitting.params]
mode = "panic"
stage = "fit"
[models.panics_conditioning]
family = "drill"
[models.panics_conditioning.params]
mode = "panic"
stage = "condition"
[models.panics]
family = "drill"
[models.panics.params]
mode = "panic"
[models.nans]
family = "drill"
[models.nans.params]
mode = "nan"
[models.explodes]
family = "drill"
[models.explodes.params]
mode = "explode"
[models.sinks]
family = "drill"
[models.sinks.params]
mode = "negative"
"#;

const MODELS: &str =
    "naive,panics_fitting,panics_conditioning,panics,nans,explodes,sinks,random_walk";
const RANGE: &str =
    "--start 2021-03-01 --end 2021-03-05 --frequency monthly --model-version v1 --paths 50";

/// Two good series and one with three observations.
fn market() -> Market {
    Market::usual("Coffee", 71)
        .and(Market::usual("Sugar", 72))
        .and(Market::walk("Tiny", 73, "2021-02-24", "2021-02-26"))
}

fn lake() -> TestLake {
    let lake = TestLake::of(&market());
    lake.configure(SETTINGS);
    lake
}

#[test]
fn units_that_fail_are_rows_and_the_others_commit() {
    let lake = lake();
    let report = lake.failing_job(&format!(
        "backfill --commodity Coffee,Tiny --models {MODELS} {RANGE}"
    ));
    // Coffee: one model cannot be fitted, one cannot be conditioned (from its second date on, when
    // there is something to condition on), four cannot be simulated. Tiny: nothing can be fitted.
    // What cannot be fitted is tried on each of the five days.
    assert_eq!(report.trained(), [7, 0, 9 * 5], "{report:?}");
    let mut wanted = keys(
        &["Coffee"],
        &["naive", "random_walk"],
        days("2021-03-01", "2021-03-05"),
    );
    wanted.extend(
        lake.paths()
            .into_keys()
            .filter(|key| key.model == "panics_conditioning"),
    );
    assert_whole(&lake, &wanted, 50);
    assert_eq!(report.forecasts()[0], wanted.len() as u64);

    let mut classes: BTreeMap<(String, String, String), BTreeSet<String>> = BTreeMap::new();
    for [stage, commodity, model, _, class] in report.failures() {
        classes
            .entry((stage, commodity, model))
            .or_default()
            .insert(class);
    }
    let class_of = |stage: &str, commodity: &str, model: &str| {
        let found = classes.get(&(stage.to_owned(), commodity.to_owned(), model.to_owned()));
        found
            .unwrap_or_else(|| panic!("no failure of {stage} {commodity} {model} in {classes:?}"))
            .clone()
    };
    let only = |class: &str| BTreeSet::from([class.to_owned()]);
    assert_eq!(class_of("train", "Coffee", "panics_fitting"), only("panic"));
    assert_eq!(
        class_of("forecast", "Coffee", "panics_conditioning"),
        only("panic")
    );
    assert_eq!(class_of("forecast", "Coffee", "panics"), only("panic"));
    for model in ["nans", "explodes", "sinks"] {
        assert_eq!(class_of("forecast", "Coffee", model), only("absurd"));
    }
    for model in MODELS.split(',') {
        assert_eq!(class_of("train", "Tiny", model).len(), 1);
    }

    // The table says what the report says.
    let rows = lake.sql("SELECT stage, commodity, model_name, date, error_class, message, run_id FROM forecast.job_failures");
    let mut stored: Vec<_> = rows
        .iter()
        .map(|row| {
            assert_eq!(row["run_id"], report.0["run_id"]);
            assert!(!row["message"].as_str().unwrap().is_empty());
            ["stage", "commodity", "model_name", "date", "error_class"]
                .map(|name| row[name].as_str().unwrap().to_owned())
        })
        .collect();
    let mut reported = report.failures();
    stored.sort();
    reported.sort();
    assert_eq!(stored, reported);
    let runs = lake.sql("SELECT run_id, kind, status, trained, train_failed, forecasts, forecast_failed FROM forecast.job_runs WHERE kind = 'backfill'");
    assert_eq!(runs.len(), 1, "{runs:?}");
    for count in ["trained", "train_failed", "forecasts", "forecast_failed"] {
        assert_eq!(
            runs[0][count].as_u64(),
            Some(report.count(count)),
            "{runs:?}"
        );
    }
}

#[test]
fn the_good_ones_are_what_they_are_without_the_bad() {
    let bad = lake();
    bad.failing_job(
        &format!("backfill --commodity '*' --models {MODELS} {RANGE}").replace('\'', ""),
    );
    let good = lake();
    good.job(&format!(
        "backfill --commodity Coffee,Sugar --models naive,random_walk {RANGE}"
    ));
    let mut found = bits(&bad.paths());
    found.retain(|key, _| matches!(key.model.as_str(), "naive" | "random_walk"));
    assert_same(
        &found,
        &bits(&good.paths()),
        "good forecasts beside bad ones",
    );
}

#[test]
fn a_series_with_three_observations_fails_with_what_was_found_and_needed() {
    let lake = lake();
    let output = lake
        .run(&format!(
            "backfill --commodity Coffee,Tiny --models naive {RANGE}"
        ))
        .expect(3);
    let told = format!("{}{}", output.stdout, output.stderr);
    assert!(told.contains("Tiny") && told.contains("730"), "{output}");
    let rows = lake.sql("SELECT DISTINCT message FROM forecast.job_failures WHERE stage = 'train'");
    assert!(
        rows.iter()
            .all(|row| row["message"].as_str().unwrap().contains("730")),
        "{rows:?}"
    );
}

#[test]
fn refit_failed_runs_only_what_failed() {
    let lake = lake();
    let backfill = format!("backfill --commodity Coffee,Tiny --models naive,panics {RANGE}");
    lake.failing_job(&backfill);
    let before = lake.paths();
    assert_eq!(before.len(), 5);

    // What failed for want of history gets it; what panics panics again. Dates that were never
    // asked for are not asked for now.
    lake.ingest(&Market::walk("Tiny", 73, "2018-01-01", "2021-02-26"));
    let longer = backfill.replace("--end 2021-03-05", "--end 2021-03-10");
    let report = lake.failing_job(&format!("{longer} --refit-failed"));
    assert_eq!(report.forecasts()[0], 5, "{report:?}");
    let failures = report.failures();
    assert!(
        failures
            .iter()
            .all(|[stage, _, model, _, class]| stage == "forecast"
                && model == "panics"
                && class == "panic"),
        "{failures:?}"
    );
    let mut wanted: BTreeSet<Key> = before.keys().cloned().collect();
    wanted.extend(keys(
        &["Tiny"],
        &["naive"],
        days("2021-03-01", "2021-03-05"),
    ));
    assert_whole(&lake, &wanted, 50);
    for (key, rows) in &before {
        assert_eq!(&lake.paths()[key], rows);
    }

    // Now nothing of Tiny's naive model is failed any more.
    let report = lake.failing_job(&format!("{backfill} --refit-failed"));
    assert_eq!(report.count("forecasts"), 0);
}

#[test]
fn a_rerun_tries_what_failed_again_and_skips_the_rest() {
    let lake = lake();
    let backfill = format!("backfill --commodity Coffee --models naive,nans {RANGE}");
    lake.failing_job(&backfill);
    let report = lake.failing_job(&backfill);
    assert_eq!(report.forecasts(), [0, 5, 5]);
    assert_eq!(report.trained(), [0, 2, 0]);
}

#[test]
fn a_price_outside_the_usual_fails_no_other_day() {
    // One crash of a price; whatever the models make of it, other days and series are unharmed.
    let mut market = market();
    market.set("Coffee", day("2021-03-02"), "close", -37.63);
    let lake = TestLake::of(&market);
    let output = lake.run(&format!(
        "--json backfill --commodity Coffee,Sugar --models naive,random_walk {RANGE}"
    ));
    assert!(matches!(output.code, Some(0 | 3)), "{output}");
    let found: BTreeSet<Key> = lake.paths().into_keys().collect();
    for key in keys(
        &["Sugar"],
        &["naive", "random_walk"],
        days("2021-03-01", "2021-03-05"),
    )
    .union(&keys(
        &["Coffee"],
        &["naive", "random_walk"],
        days("2021-03-01", "2021-03-02"),
    )) {
        assert!(found.contains(key), "{key:?} is missing");
    }
    assert_whole(&lake, &found, 50);
}
