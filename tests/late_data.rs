//! Late, corrected and missing closes: refused or shown as uncertainty, named afterwards, and
//! replaced whole, never silently.

use std::collections::{BTreeMap, BTreeSet};

use almanac_delta::TableName;
use serde_json::Value;

use crate::lake::{TestLake, rounds};
use crate::market::{Market, day, days};
use crate::tables::{Key, assert_same, bits, keys, moments, states, without_runs};
use crate::whole::{assert_no_key_is_half_written, assert_whole};

const ARGUMENTS: &str =
    "--commodity Coffee --models naive,random_walk --frequency monthly --model-version v1";
const RANGE: &str = "--start 2021-06-07 --end 2021-06-20";
/// A Tuesday.
const LATE: &str = "2021-06-15";

fn market() -> Market {
    Market::usual("Coffee", 31).and(Market::usual("Sugar", 32))
}

fn without_late() -> Market {
    market().only(|_, date| date < day(LATE))
}

/// The stale keys that `status --stale` names, as (kind, key).
fn stale(lake: &TestLake) -> BTreeSet<(String, Key)> {
    let report = lake.run("--json status --stale").expect(0).json();
    let rows = report["stale"]
        .as_array()
        .unwrap_or_else(|| panic!("no `stale` in {report}"));
    rows.iter().map(stale_key).collect()
}

/// The kind and the key of a stale key in a report.
fn stale_key(row: &Value) -> (String, Key) {
    let text = |name: &str| {
        row[name]
            .as_str()
            .unwrap_or_else(|| panic!("no `{name}` in {row}"))
            .to_owned()
    };
    let key = Key::new(
        &text("commodity"),
        &text("model_name"),
        &text("model_version"),
        day(&text("date")),
    );
    (text("kind"), key)
}

/// Stale actuals of Coffee, as `stale` gives them.
fn stale_actuals(first: &str, last: &str) -> impl Iterator<Item = (String, Key)> {
    days(first, last).map(|start| {
        let key = Key::new("Coffee", "actuals", "actuals", start);
        ("actuals".to_owned(), key)
    })
}

#[test]
fn daily_refuses_without_the_last_close_and_the_key_stays_free() {
    let lake = TestLake::of(&without_late());
    lake.job(&format!(
        "backfill {ARGUMENTS} --start 2021-06-14 --end 2021-06-15 --paths 50"
    ));
    let before = lake.paths();

    let report = lake.failing_job(&format!("daily {ARGUMENTS} --date 2021-06-16 --paths 50"));
    assert_eq!(report.forecasts(), [0, 0, 2]);
    let failures = report.failures();
    assert_eq!(failures.len(), 2, "{report:?}");
    for [_, commodity, _, date, class] in &failures {
        assert_eq!(
            [commodity, date, class],
            ["Coffee", "2021-06-16", "freshness"]
        );
    }
    assert_same(&lake.paths(), &before, "paths after a refusal");
    let rows =
        lake.sql("SELECT error_class, message FROM forecast.job_failures ORDER BY model_name");
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(
        rows.iter().all(|row| row["error_class"] == "freshness"
            && row["message"].as_str().unwrap().contains(LATE)),
        "{rows:?}"
    );

    lake.ingest(&market());
    let report = lake.job(&format!("daily {ARGUMENTS} --date 2021-06-16 --paths 50"));
    assert_eq!(report.forecasts(), [2, 0, 0]);
    let punctual = TestLake::of(&market());
    punctual.job(&format!(
        "backfill {ARGUMENTS} --start 2021-06-14 --end 2021-06-16 --paths 50"
    ));
    assert_same(
        &bits(&lake.paths()),
        &bits(&punctual.paths()),
        "paths with a close that was late",
    );
}

#[test]
fn a_missing_close_widens_the_first_day_when_it_is_allowed() {
    let wide = TestLake::of(&without_late());
    let report = wide.job(&format!(
        "daily {ARGUMENTS} --date 2021-06-16 --paths 2000 --allow-stale"
    ));
    assert_eq!(report.forecasts(), [2, 0, 0]);
    let backfilled = TestLake::of(&without_late());
    backfilled.job(&format!(
        "backfill {ARGUMENTS} --start 2021-06-16 --end 2021-06-16 --paths 2000"
    ));
    assert_same(
        &bits(&backfilled.paths()),
        &bits(&wide.paths()),
        "backfill and daily --allow-stale",
    );

    let narrow = TestLake::of(&market());
    narrow.job(&format!("daily {ARGUMENTS} --date 2021-06-16 --paths 2000"));
    for model in ["naive", "random_walk"] {
        let key = Key::new("Coffee", model, "v1", day("2021-06-16"));
        let (wide, narrow) = (
            moments(&wide.paths()[&key], 1).1,
            moments(&narrow.paths()[&key], 1).1,
        );
        let ratio = wide / narrow;
        // Two steps instead of one: the square root of two, give or take what 2,000 paths leave open.
        assert!(
            (1.25..1.6).contains(&ratio),
            "{model}: {wide} against {narrow}"
        );
    }
}

#[test]
fn a_series_that_stopped_long_ago_is_stale_even_for_a_backfill() {
    let lake = TestLake::of(&without_late());
    let report = lake.failing_job(&format!(
        "backfill {ARGUMENTS} --start 2021-06-24 --end 2021-06-25 --paths 50"
    ));
    // The newest close is of June 14: ten days before June 24 are allowed, eleven are not.
    assert_eq!(report.forecasts(), [2, 0, 2]);
    for [stage, _, _, date, class] in report.failures() {
        assert_eq!(
            [stage.as_str(), date.as_str(), class.as_str()],
            ["forecast", "2021-06-25", "stale"]
        );
    }
}

#[test]
fn a_corrected_close_makes_exactly_the_keys_after_it_stale() {
    let lake = TestLake::of(&market());
    lake.job(&format!("backfill {ARGUMENTS} {RANGE} --paths 50"));
    lake.job(&format!(
        "backfill {} {RANGE} --paths 50",
        ARGUMENTS.replace("Coffee", "Sugar")
    ));
    assert_eq!(stale(&lake), BTreeSet::new());

    let corrected = market().scaled("Coffee", "2021-06-10", 1.02);
    lake.ingest(&corrected);
    let mut wanted: BTreeSet<_> = keys(
        &["Coffee"],
        &["naive", "random_walk"],
        days("2021-06-11", "2021-06-20"),
    )
    .into_iter()
    .map(|key| ("forecast".to_owned(), key))
    .collect();
    // And the windows that it lies in.
    wanted.extend(stale_actuals("2021-06-07", "2021-06-10"));
    assert_eq!(stale(&lake), wanted);
    let text = lake.run("status --stale").expect(0).stdout;
    assert!(
        text.contains("Coffee") && text.contains("2021-06-11") && !text.contains("Sugar"),
        "{text}"
    );

    // A close from before the training makes the model stale as well, and all that rests on it.
    let corrected = corrected.scaled("Coffee", "2021-03-10", 1.02);
    lake.ingest(&corrected);
    let found = stale(&lake);
    for model in ["naive", "random_walk"] {
        let trained = Key::new("Coffee", model, "v1", day("2021-06-07"));
        assert!(found.contains(&("model".to_owned(), trained)), "{found:?}");
    }
    let forecasts: BTreeSet<Key> = found
        .into_iter()
        .filter(|(kind, _)| kind == "forecast")
        .map(|(_, key)| key)
        .collect();
    assert_eq!(
        forecasts,
        keys(
            &["Coffee"],
            &["naive", "random_walk"],
            days("2021-06-07", "2021-06-20")
        )
    );
}

#[test]
fn an_ingest_names_the_keys_that_rest_on_older_input() {
    let lake = TestLake::of(&market());
    for commodity in ["Coffee", "Sugar"] {
        let arguments = ARGUMENTS.replace("Coffee", commodity);
        lake.job(&format!("backfill {arguments} {RANGE} --paths 50"));
    }
    // A correction, and a day that arrives late.
    let corrected =
        market()
            .scaled("Coffee", "2021-06-14", 1.02)
            .scaled("Sugar", "2021-06-17", 1.02);
    let file = lake.file("corrected.csv", corrected.csv());
    let report = lake.run(&format!("--json ingest {file}")).expect(0).json();
    let named: BTreeSet<_> = report["stale"]["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(stale_key)
        .collect();
    assert_eq!(named, stale(&lake));
    assert_eq!(report["stale"]["count"].as_u64(), Some(named.len() as u64));
    let forecasts = named.iter().filter(|(kind, _)| kind == "forecast");
    // Of two models: June 15 to 20, and June 18 to 20.
    assert_eq!(forecasts.count(), 2 * 6 + 2 * 3);
    // What was stale before is not told of another series' rows.
    let other = lake.file(
        "other.csv",
        corrected.scaled("Sugar", "2021-06-18", 1.02).csv(),
    );
    let text = lake.run(&format!("ingest {other}")).expect(0).stdout;
    assert!(text.contains("Sugar") && !text.contains("Coffee"), "{text}");
    let again = lake.run(&format!("--json ingest {other}")).expect(0).json();
    assert_eq!(again["stale"]["count"].as_u64(), Some(0));
}

#[test]
fn a_model_that_is_trained_later_makes_the_forecasts_that_it_should_have_served_stale() {
    let lake = TestLake::of(&market());
    lake.job(&format!("backfill {ARGUMENTS} {RANGE} --paths 50"));
    let train = ARGUMENTS.to_owned() + " --start 2021-06-16 --end 2021-06-16";
    let train = train.replace("--frequency monthly", "--frequency daily");
    assert_eq!(lake.job(&format!("train {train}")).trained(), [2, 0, 0]);
    let wanted: BTreeSet<_> = keys(
        &["Coffee"],
        &["naive", "random_walk"],
        days("2021-06-16", "2021-06-20"),
    )
    .into_iter()
    .map(|key| ("forecast".to_owned(), key))
    .collect();
    assert_eq!(stale(&lake), wanted);
    let report = lake.job(&format!("backfill {ARGUMENTS} {RANGE} --paths 50 --revise"));
    assert_eq!(report.forecasts(), [10, 18, 0], "{report:?}");
    assert_eq!(stale(&lake), BTreeSet::new());
}

#[test]
fn ingesting_the_same_rows_again_makes_nothing_stale() {
    let lake = TestLake::of(&market());
    lake.job(&format!("backfill {ARGUMENTS} {RANGE} --paths 50"));
    lake.ingest(&market());
    assert_eq!(stale(&lake), BTreeSet::new());
    // Nor does a later day, or a rewrite of the files.
    let mut more = Market::default();
    more.set("Coffee", day("2022-01-03"), "close", 90.0);
    lake.ingest(&more);
    lake.run("optimize").expect(0);
    assert_eq!(stale(&lake), BTreeSet::new());
}

#[test]
fn a_rerun_rewrites_nothing_silently_and_revise_replaces_whole_keys_in_one_commit() {
    let lake = TestLake::of(&market());
    let backfill = format!("backfill {ARGUMENTS} {RANGE} --paths 50");
    lake.job(&backfill);
    let before = lake.paths();
    let corrected = market().scaled("Coffee", "2021-06-10", 1.02);
    lake.ingest(&corrected);

    let report = lake.job(&backfill);
    assert_eq!(
        report.forecasts(),
        [0, 28, 0],
        "a plain rerun skips what is there"
    );
    assert_same(&lake.paths(), &before, "paths after a plain rerun");

    let versions = lake.versions();
    let report = lake.job(&format!("{backfill} --revise"));
    assert_eq!(report.forecasts(), [20, 8, 0], "{report:?}");
    assert_eq!(
        lake.versions()[&TableName::Distributions],
        versions[&TableName::Distributions] + 1,
        "one commit"
    );
    let wanted_keys = keys(
        &["Coffee"],
        &["naive", "random_walk"],
        days("2021-06-07", "2021-06-20"),
    );
    assert_whole(&lake, &wanted_keys, 50);
    let after = lake.paths();
    for (key, rows) in &after {
        let revised = key.date > day("2021-06-10");
        assert!(
            rows.iter()
                .all(|row| row.revision == Some(i32::from(revised))),
            "{key:?}"
        );
        if !revised {
            assert_eq!(rows, &before[key], "{key:?} is not stale");
        }
    }
    let fresh = TestLake::of(&corrected);
    fresh.job(&backfill);
    assert_same(
        &bits(&after),
        &bits(&fresh.paths()),
        "paths that were revised",
    );
    let without_revision = |lake: &TestLake| {
        let mut points = without_runs(lake.points());
        points
            .values_mut()
            .flatten()
            .for_each(|row| row.revision = None);
        points
    };
    assert_same(
        &without_revision(&lake),
        &without_revision(&fresh),
        "points that were revised",
    );
    assert_eq!(stale(&lake), BTreeSet::new());
    let report = lake.job(&format!("{backfill} --revise"));
    assert_eq!(report.forecasts(), [0, 28, 0], "nothing is left to revise");
}

#[test]
fn actuals_that_a_correction_made_wrong_are_named_and_renewed() {
    let lake = TestLake::of(&market());
    let backfill = format!("backfill {ARGUMENTS} {RANGE} --paths 20");
    lake.job(&backfill);
    // After the last forecast: no forecast rests on it, the windows of all of them hold it.
    let mut corrected = market();
    let changed = day("2021-06-21");
    corrected.set("Coffee", changed, "close", 12.5);
    lake.ingest(&corrected);
    let wanted: BTreeSet<_> = stale_actuals("2021-06-08", "2021-06-20").collect();
    assert_eq!(stale(&lake), wanted);
    let text = lake.run("status --stale").expect(0).stdout;
    assert!(
        text.contains("actuals") && text.contains("2021-06-08"),
        "{text}"
    );

    let report = lake.job(&format!("{backfill} --revise"));
    assert_eq!((report.count("actuals"), report.count("revised")), (13, 0));
    assert_eq!(stale(&lake), BTreeSet::new());
    for (key, rows) in lake.actuals() {
        let ahead = (changed - key.date).num_days();
        if (0..14).contains(&ahead) {
            assert_eq!(rows[0].day(ahead as usize + 1), 12.5, "{key:?}");
        }
    }
}

#[test]
fn revise_trains_again_what_rests_on_a_corrected_close() {
    let lake = TestLake::of(&market());
    let backfill = format!("backfill {ARGUMENTS} {RANGE} --paths 50");
    lake.job(&backfill);
    let corrected = market().scaled("Coffee", "2021-05-10", 1.02);
    lake.ingest(&corrected);
    lake.job(&format!("{backfill} --revise"));
    let fresh = TestLake::of(&corrected);
    fresh.job(&backfill);
    assert_same(
        &states(&lake.models()),
        &states(&fresh.models()),
        "states that were revised",
    );
    assert_same(
        &bits(&lake.paths()),
        &bits(&fresh.paths()),
        "paths that were revised",
    );
    assert_eq!(stale(&lake), BTreeSet::new());
}

#[test]
fn a_revision_that_is_killed_leaves_old_keys_or_new_ones_and_no_mixture() {
    let market_before = market();
    let corrected = market().scaled("Coffee", "2021-06-10", 1.02);
    let base = TestLake::of(&market_before);
    let backfill = format!("backfill {ARGUMENTS} {RANGE} --paths 50");
    base.job(&backfill);
    base.ingest(&corrected);
    let undisturbed = base.copy();
    undisturbed.job(&format!("{backfill} --revise"));
    for point in [
        "before_manifest",
        "after_manifest",
        "before_commit:forecast/distributions",
        "after_commit_put:forecast/distributions",
        "between_tables",
    ] {
        let lake = base.copy();
        lake.crash(point, &format!("{backfill} --revise"));
        let found = lake.paths();
        assert_no_key_is_half_written(&found, 50);
        let revisions: BTreeSet<_> = found
            .iter()
            .filter(|(key, _)| key.date > day("2021-06-10"))
            .map(|(_, rows)| rows[0].revision)
            .collect();
        assert_eq!(revisions.len(), 1, "{point}: one commit replaces all");
        lake.job(&format!("{backfill} --revise"));
        assert_whole(&lake, &found.keys().cloned().collect(), 50);
        assert_same(
            &bits(&lake.paths()),
            &bits(&undisturbed.paths()),
            &format!("paths revised after {point}"),
        );
        assert_same(
            &without_runs(lake.points()),
            &without_runs(undisturbed.points()),
            &format!("points revised after {point}"),
        );
    }
}

#[test]
fn two_revisions_at_once_replace_every_stale_key_once() {
    let base = TestLake::of(&market());
    let backfill = format!("backfill {ARGUMENTS} {RANGE} --paths 50");
    base.job(&backfill);
    let corrected = market().scaled("Coffee", "2021-06-10", 1.02);
    base.ingest(&corrected);
    let alone = base.copy();
    alone.job(&format!("{backfill} --revise"));
    for _ in 0..rounds() {
        let lake = base.copy();
        let pair = [(), ()].map(|()| lake.start(&format!("{backfill} --revise")));
        for running in pair {
            running.wait().expect(0);
        }
        let wanted = alone.paths().into_keys().collect();
        assert_whole(&lake, &wanted, 50);
        assert_same(
            &bits(&lake.paths()),
            &bits(&alone.paths()),
            "paths revised by two",
        );
        let revisions = |lake: &TestLake| -> BTreeMap<Key, Option<i32>> {
            lake.paths()
                .into_iter()
                .map(|(key, rows)| (key, rows[0].revision))
                .collect()
        };
        assert_same(
            &revisions(&lake),
            &revisions(&alone),
            "revisions made by two",
        );
    }
}

#[test]
fn only_what_reads_a_column_becomes_stale_by_it() {
    let lake = TestLake::new();
    lake.configure("[models.index]\nfamily = \"linear_regression\"\ncovariates = [\"vix\"]\n");
    let market = Market::usual("Coffee", 33)
        .with_index("vix", 34, 20.0)
        .with_index("open", 35, 100.0);
    lake.ingest(&market);
    lake.job(&format!(
        "backfill {} {RANGE} --paths 20",
        ARGUMENTS.replace("random_walk", "index")
    ));
    let d = day("2021-06-10");
    let mut corrected = market.clone();
    corrected.set("Coffee", d, "open", 1.0);
    lake.ingest(&corrected);
    assert_eq!(stale(&lake), BTreeSet::new(), "no model reads `open`");
    corrected.set("Coffee", d, "vix", 1.0);
    lake.ingest(&corrected);
    let found: BTreeSet<Key> = stale(&lake).into_iter().map(|(_, key)| key).collect();
    let wanted = keys(&["Coffee"], &["index"], days("2021-06-11", "2021-06-20"));
    assert_eq!(found, wanted);
}

#[test]
fn a_close_that_is_taken_back_is_a_missing_close() {
    let lake = TestLake::of(&market());
    let backfill = format!("backfill {ARGUMENTS} --start 2021-06-14 --end 2021-06-16 --paths 1000");
    lake.job(&backfill);
    let taken_back = market().change(
        |name, date| name == "Coffee" && date == day(LATE),
        |_, _| None,
    );
    lake.ingest(&taken_back);
    let mut wanted: BTreeSet<_> = keys(
        &["Coffee"],
        &["naive", "random_walk"],
        days("2021-06-16", "2021-06-16"),
    )
    .into_iter()
    .map(|key| ("forecast".to_owned(), key))
    .collect();
    wanted.extend(stale_actuals("2021-06-14", LATE));
    assert_eq!(stale(&lake), wanted);
    lake.job(&format!("{backfill} --revise"));
    assert_eq!(stale(&lake), BTreeSet::new());
    let never = TestLake::of(&market().only(|name, date| name != "Coffee" || date != day(LATE)));
    never.job(&backfill);
    assert_same(
        &bits(&lake.paths()),
        &bits(&never.paths()),
        "paths without the close",
    );
}

#[test]
fn a_revision_finishes_what_another_run_left_between_the_tables() {
    let lake = TestLake::of(&market());
    let backfill = format!("backfill {ARGUMENTS} {RANGE} --paths 50");
    lake.crash("between_tables", &backfill);
    lake.job(&format!("{backfill} --revise"));
    let wanted = keys(
        &["Coffee"],
        &["naive", "random_walk"],
        days("2021-06-07", "2021-06-20"),
    );
    assert_whole(&lake, &wanted, 50);
}
