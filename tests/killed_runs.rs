//! A run that is killed leaves word of itself: that it began, when, and what it was asked for.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::lake::{TestLake, files_below};
use crate::market::Market;

const BACKFILL: &str = "backfill --commodity Coffee --models naive,random_walk --start 2021-03-01 --end 2021-03-10 \
    --frequency monthly --model-version v1 --paths 20";

fn lake() -> TestLake {
    TestLake::of(&Market::usual("Coffee", 161))
}

/// The runs that `status` lists, newest first, without those that load data or care for tables.
fn runs(lake: &TestLake) -> Vec<Value> {
    let status = lake.run("--json status").expect(0).json();
    let mut runs = status["runs"]
        .as_array()
        .unwrap_or_else(|| panic!("no runs in {status}"))
        .clone();
    runs.retain(|run| run["kind"] != "ingest" && run["kind"] != "vacuum");
    runs
}

/// Objects of open runs.
fn open_runs(lake: &TestLake) -> usize {
    let files = files_below(&lake.root().join("_almanac"));
    let open = |path: &&std::path::PathBuf| path.to_string_lossy().contains("/_almanac/runs/");
    files.iter().filter(open).count()
}

#[test]
fn a_killed_run_is_shown_as_unfinished_with_its_start_kind_and_arguments() {
    let lake = lake();
    let before = chrono::Utc::now();
    lake.crash("between_tables", BACKFILL);
    let after = chrono::Utc::now();

    let [run] = &runs(&lake)[..] else {
        panic!("not one run: {:?}", runs(&lake));
    };
    assert_eq!(
        (run["kind"].as_str(), run["status"].as_str()),
        (Some("backfill"), Some("unfinished")),
        "{run}"
    );
    let started: chrono::DateTime<chrono::Utc> =
        run["started_at"].as_str().unwrap().parse().unwrap();
    assert!(before <= started && started <= after, "{run}");
    let arguments: Value = serde_json::from_str(run["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(
        (
            &arguments["commodities"][0],
            &arguments["start"],
            &arguments["end"],
            arguments["models"].as_object().unwrap().len()
        ),
        (
            &"Coffee".into(),
            &"2021-03-01".into(),
            &"2021-03-10".into(),
            2
        ),
        "{run}"
    );

    let id = run["run_id"].as_str().unwrap();
    let one = lake.run(&format!("--json status {id}")).expect(0).json();
    assert_eq!(one["runs"], serde_json::json!([run]));
    for line in ["status", &format!("status {id}")] {
        let text = lake.run(line).expect(0).stdout;
        let told = [id, "backfill", "unfinished", "2021-03-10", "Coffee"];
        assert!(told.iter().all(|word| text.contains(word)), "{text}");
    }

    // The run that does the rest ends, and changes nothing of what is known of the first.
    let report = lake.job(BACKFILL);
    let found = runs(&lake);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0]["run_id"], report.0["run_id"]);
    assert_eq!(found[0]["status"], "succeeded");
    assert_eq!(&found[1], run);
    assert_eq!(open_runs(&lake), 1);
}

#[test]
fn a_run_killed_at_work_or_after_its_end_is_known_once() {
    for (point, status) in [
        ("before_manifest", "unfinished"),
        ("before_commit:forecast/trained_models", "unfinished"),
        ("before_commit:forecast/job_runs", "unfinished"),
        ("after_commit_put:forecast/job_runs", "succeeded"),
    ] {
        let lake = lake();
        lake.crash(point, BACKFILL);
        assert_eq!(open_runs(&lake), 1, "{point}");
        let found = runs(&lake);
        assert_eq!(found.len(), 1, "{point}: {found:?}");
        assert_eq!(found[0]["status"], status, "{point}");
        let id = found[0]["run_id"].as_str().unwrap();
        let one = lake.run(&format!("--json status {id}")).expect(0).json();
        assert_eq!(one["runs"].as_array().unwrap().len(), 1, "{point}: {one}");
    }
}

#[test]
fn a_run_at_work_is_unfinished_and_ends() {
    let lake = lake();
    let mut running = lake.start(&BACKFILL.replace("--paths 20", "--paths 2000"));
    // Made known before anything is done; whether it is caught at work depends on the machine.
    while open_runs(&lake) == 0 && !running.has_ended() {
        std::thread::sleep(Duration::from_millis(1));
    }
    running.wait().expect(0);
    assert_eq!(open_runs(&lake), 0);
    let found = runs(&lake);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["status"], "succeeded");
}

#[test]
fn runs_that_end_badly_are_no_longer_open() {
    let lake = lake();
    lake.failing_job(&BACKFILL.replace("--start 2021-03-01", "--start 2018-03-01"));
    lake.job(
        &BACKFILL
            .replace("backfill", "train")
            .replace(" --paths 20", ""),
    );
    // Refused after it began: another number of paths than the stored.
    lake.job(BACKFILL);
    lake.run(&BACKFILL.replace("--paths 20", "--paths 30"))
        .refusal();
    lake.run("delete --commodity Coffee --models naive --model-version v1 --start 2021-03-04 --end 2021-03-05")
        .expect(0);
    let found = runs(&lake);
    let statuses: Vec<_> = found
        .iter()
        .map(|run| {
            (
                run["kind"].as_str().unwrap(),
                run["status"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        statuses,
        [
            ("delete", "succeeded"),
            ("backfill", "failed"),
            ("backfill", "succeeded"),
            ("train", "succeeded"),
            ("backfill", "partial"),
        ]
    );
    assert_eq!(open_runs(&lake), 0);
}

#[test]
fn vacuum_forgets_an_unfinished_run_once_it_is_old() {
    let lake = lake();
    lake.crash("before_manifest", BACKFILL);
    lake.run("vacuum").expect(0);
    assert_eq!(runs(&lake).len(), 1, "a young one stays");
    for path in files_below(&lake.root().join("_almanac").join("runs")) {
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        let eight_days = Duration::from_secs(8 * 24 * 60 * 60);
        file.set_modified(SystemTime::now() - eight_days).unwrap();
    }
    lake.run("vacuum --dry-run").expect(0);
    assert_eq!(runs(&lake).len(), 1, "a dry run forgets nothing");
    lake.run("vacuum").expect(0);
    assert_eq!((runs(&lake).len(), open_runs(&lake)), (0, 0));
}
