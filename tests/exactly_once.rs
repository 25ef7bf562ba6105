//! Exactly once: whatever races and whatever dies, every key is there whole, once, after a rerun.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lake::{Report, TestLake, files_below, rounds};
use crate::market::{Chance, Market, days};
use crate::tables::{Key, assert_same, bits, keys, states};
use crate::whole::{assert_no_key_is_half_written, assert_points_equal_a_rebuild, assert_whole};

/// As many as the product makes by default.
const PATHS: i32 = 2000;
const MODELS: [&str; 2] = ["naive", "random_walk"];
/// Two years, so two chunks.
const FIRST: &str = "2020-12-27";
const LAST: &str = "2021-01-06";

fn prepared() -> TestLake {
    TestLake::of(&Market::usual("Coffee", 41))
}

fn backfill(first: &str, last: &str) -> String {
    format!(
        "backfill --commodity Coffee --models {} --start {first} --end {last} --frequency weekly --model-version v1 \
         --paths {PATHS}",
        MODELS.join(",")
    )
}

fn wanted(first: &str, last: &str) -> BTreeSet<Key> {
    keys(&["Coffee"], &MODELS, days(first, last))
}

/// Whether the report counts every wanted key once.
#[track_caller]
fn assert_accounts_for(report: &Report, wanted: usize) {
    let [made, skipped, failed] = report.forecasts();
    assert_eq!((made + skipped, failed), (wanted as u64, 0), "{report:?}");
}

#[test]
fn overlapping_backfills_started_together_write_every_key_once() {
    let base = prepared();
    let mut conflicting = 0;
    for round in 0..rounds() {
        let lake = base.copy();
        let ranges = [(FIRST, "2021-01-04"), ("2020-12-29", LAST)];
        let pair =
            ranges.map(|(first, last)| lake.start(&format!("--json {}", backfill(first, last))));
        let reports = pair.map(|running| Report(running.wait().expect(0).json()));
        for (report, (first, last)) in reports.iter().zip(ranges) {
            assert_accounts_for(report, wanted(first, last).len());
        }
        let conflicts = reports.each_ref().map(|report| report.count("conflicts"));
        println!(
            "round {round}: conflicts {conflicts:?}, made {:?}",
            reports.each_ref().map(|report| report.forecasts()[0])
        );
        conflicting += u64::from(conflicts.iter().any(|count| *count > 0));

        let all = wanted(FIRST, LAST);
        let made: u64 = reports.iter().map(|report| report.forecasts()[0]).sum();
        assert_eq!(made, all.len() as u64, "keys that the two say they made");
        assert_whole(&lake, &all, PATHS);
        let report = lake.job(&backfill(FIRST, LAST));
        assert_eq!(
            (report.forecasts(), report.count("trained")),
            ([0, all.len() as u64, 0], 0)
        );
        assert_points_equal_a_rebuild(&lake, &backfill(FIRST, LAST));
    }
    println!("{conflicting} of {} pairs conflicted", rounds());
    if rounds() >= 20 {
        assert!(
            conflicting >= 5,
            "only {conflicting} pairs conflicted: the race is not exercised"
        );
    }
}

#[test]
fn identical_backfills_started_together_share_the_work_and_write_it_once() {
    let base = prepared();
    let alone = base.copy();
    alone.job(&backfill(FIRST, LAST));
    for _ in 0..rounds() {
        let lake = base.copy();
        let line = format!("--json {}", backfill(FIRST, LAST));
        let pair = [(), ()].map(|()| lake.start(&line));
        for running in pair {
            assert_accounts_for(
                &Report(running.wait().expect(0).json()),
                wanted(FIRST, LAST).len(),
            );
        }
        assert_whole(&lake, &wanted(FIRST, LAST), PATHS);
        assert_same(
            &bits(&lake.paths()),
            &bits(&alone.paths()),
            "paths of two at once",
        );
        assert_same(
            &states(&lake.models()),
            &states(&alone.models()),
            "states of two at once",
        );
    }
}

/// Finishes a backfill that was killed, and checks all that must hold before and after.
fn finish(lake: &TestLake, undisturbed: &TestLake, how: &str) {
    let found = lake.paths();
    assert_no_key_is_half_written(&found, PATHS);
    let (present, trained) = (found.len() as u64, lake.models().len() as u64);
    let all = wanted(FIRST, LAST);
    let report = lake.job(&backfill(FIRST, LAST));
    let skipped = report.trained()[1];
    println!(
        "{how}: {present} of {} keys were there; the rerun made {:?}",
        all.len(),
        report.forecasts()
    );
    assert_eq!(
        report.forecasts(),
        [all.len() as u64 - present, present, 0],
        "{how}: {report:?}"
    );
    assert_whole(lake, &all, PATHS);
    assert_same(
        &bits(&lake.paths()),
        &bits(&undisturbed.paths()),
        &format!("paths after {how}"),
    );
    assert_same(
        &states(&lake.models()),
        &states(&undisturbed.models()),
        &format!("states after {how}"),
    );
    assert_points_equal_a_rebuild(lake, &backfill(FIRST, LAST));
    let report = lake.job(&backfill(FIRST, LAST));
    assert_eq!(
        (report.forecasts(), report.count("trained")),
        ([0, all.len() as u64, 0], 0),
        "{how}: rerun of the rerun"
    );
    assert_eq!(
        skipped, trained,
        "{how}: models that the rerun says it skipped"
    );
}

#[test]
fn a_backfill_killed_at_any_named_point_is_finished_by_the_next() {
    let base = prepared();
    let undisturbed = base.copy();
    undisturbed.job(&backfill(FIRST, LAST));
    for point in [
        "before_manifest",
        "after_manifest",
        "before_commit:forecast/trained_models",
        "after_commit_put:forecast/trained_models",
        "before_commit:forecast/distributions",
        "after_commit_put:forecast/distributions",
        "between_tables",
        "before_commit:forecast/point_forecasts",
        "after_commit_put:forecast/point_forecasts",
        "after_commit_put:forecast/job_runs",
    ] {
        let lake = base.copy();
        lake.crash(point, &backfill(FIRST, LAST));
        finish(&lake, &undisturbed, point);
    }
}

#[test]
fn a_backfill_killed_again_and_again_gets_there() {
    let base = prepared();
    let undisturbed = base.copy();
    undisturbed.job(&backfill(FIRST, LAST));
    let lake = base.copy();
    for point in [
        "before_manifest",
        "after_manifest",
        "before_commit:forecast/trained_models",
        "after_commit_put:forecast/trained_models",
        "before_commit:forecast/distributions",
        "after_commit_put:forecast/distributions",
        "between_tables",
    ] {
        // A point that the run no longer passes lets it end: then it has ended well.
        let output = crate::lake::finish(
            lake.command(&backfill(FIRST, LAST))
                .env("ALMANAC_CRASH_AT", point),
        );
        assert!(
            output.signal == Some(9) || output.code == Some(0),
            "{point}: {output}"
        );
        assert_no_key_is_half_written(&lake.paths(), PATHS);
    }
    finish(&lake, &undisturbed, "seven deaths");
}

#[test]
fn a_backfill_killed_at_a_random_moment_is_finished_by_the_next() {
    let base = prepared();
    let undisturbed = base.copy();
    let started = Instant::now();
    undisturbed.job(&backfill(FIRST, LAST));
    let whole = started.elapsed();
    let (mut killed, mut seed) = (0, 0);
    // A run that ends before its time to die counts for nothing.
    while killed < rounds() && seed < 10 * rounds() {
        seed += 1;
        let moment = whole.mul_f64(Chance::new(seed).uniform());
        let lake = base.copy();
        let mut running = lake.start(&backfill(FIRST, LAST));
        sleep_until(Instant::now() + moment);
        running.kill();
        let output = running.wait();
        if output.signal.is_none() {
            println!("seed {seed}: ended within {moment:?}");
            continue;
        }
        killed += 1;
        finish(
            &lake,
            &undisturbed,
            &format!("seed {seed}, killed after {moment:?}"),
        );
    }
    assert_eq!(
        killed,
        rounds(),
        "too few runs lived long enough to be killed"
    );
}

#[test]
fn one_of_two_racing_backfills_is_killed_and_the_other_is_not_hurt() {
    let base = prepared();
    let undisturbed = base.copy();
    let started = Instant::now();
    undisturbed.job(&backfill(FIRST, LAST));
    let whole = started.elapsed();
    for seed in 1..=rounds() {
        let lake = base.copy();
        let survivor = lake.start(&format!("--json {}", backfill(FIRST, LAST)));
        let mut victim = lake.start(&backfill(FIRST, LAST));
        sleep_until(Instant::now() + whole.mul_f64(Chance::new(1000 + seed).uniform()));
        victim.kill();
        victim.wait();
        let report = Report(survivor.wait().expect(0).json());
        println!(
            "seed {seed}: the survivor met {} conflicts",
            report.count("conflicts")
        );
        assert_accounts_for(&report, wanted(FIRST, LAST).len());
        finish(
            &lake,
            &undisturbed,
            &format!("seed {seed}, one of two killed"),
        );
    }
}

fn sleep_until(moment: Instant) {
    std::thread::sleep(
        moment
            .saturating_duration_since(Instant::now())
            .min(Duration::from_secs(60)),
    );
}

#[test]
fn keys_deleted_after_a_crash_are_made_again_whole() {
    let base = prepared();
    let undisturbed = base.copy();
    undisturbed.job(&backfill(FIRST, LAST));
    for point in [
        "after_manifest",
        "after_commit_put:forecast/distributions",
        "between_tables",
    ] {
        let lake = base.copy();
        lake.crash(point, &backfill(FIRST, LAST));
        lake.job(&backfill(FIRST, LAST));
        lake.run(&format!(
            "delete --commodity Coffee --models {} --model-version v1 --start {FIRST} --end {LAST}",
            MODELS.join(",")
        ))
        .expect(0);
        assert_whole(&lake, &BTreeSet::new(), PATHS);
        lake.job(&backfill(FIRST, LAST));
        assert_whole(&lake, &wanted(FIRST, LAST), PATHS);
        assert_same(
            &bits(&lake.paths()),
            &bits(&undisturbed.paths()),
            &format!("made again after {point}"),
        );
    }
}

#[test]
fn a_manifest_that_says_too_few_paths_is_not_believed_and_its_slice_runs_again() {
    let lake = prepared();
    lake.crash(
        "before_commit:forecast/distributions",
        &backfill(FIRST, LAST),
    );
    let manifests = files_below(&lake.root().join("_almanac").join("manifests"));
    assert!(!manifests.is_empty());
    let text = std::fs::read_to_string(&manifests[0]).unwrap();
    let mut manifest: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(manifest["keys"][0][1], PATHS);
    manifest["keys"][0][1] = (PATHS - 1).into();
    std::fs::write(&manifests[0], manifest.to_string()).unwrap();

    let output = lake.run(&backfill(FIRST, LAST)).expect(0);
    assert!(output.stderr.contains("1999 rows"), "{output}");
    assert_whole(&lake, &wanted(FIRST, LAST), PATHS);
}
