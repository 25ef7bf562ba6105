//! A request that differs from what a present key was made with is refused, naming both.

use crate::lake::TestLake;
use crate::market::Market;

const REQUEST: &str = "--commodity Coffee --models naive,mean --start 2021-03-01 --end 2021-03-05 --frequency monthly --model-version v1";

fn settings(window: usize) -> String {
    format!("[models.mean]\nfamily = \"window_mean\"\n[models.mean.params]\nwindow = {window}\n")
}

fn lake() -> TestLake {
    let lake = TestLake::of(&Market::usual("Coffee", 121));
    lake.configure(&settings(10));
    lake.job(&format!("backfill {REQUEST} --paths 50"));
    lake
}

#[track_caller]
fn assert_refused(lake: &TestLake, line: &str, named: &[&str]) {
    let versions = lake.data_versions();
    let (error, hint) = lake.run(line).refusal();
    for name in named {
        assert!(
            error.contains(name),
            "`{name}` is not named in `{error}` (`{hint}`)"
        );
    }
    assert_eq!(lake.data_versions(), versions, "`{line}` changed something");
}

#[test]
fn other_paths_are_refused_naming_both() {
    let lake = lake();
    for paths in ["49", "51", "2000", "1"] {
        assert_refused(
            &lake,
            &format!("backfill {REQUEST} --paths {paths}"),
            &["50", paths],
        );
        assert_refused(
            &lake,
            &format!("forecast {REQUEST} --paths {paths}"),
            &["50", paths],
        );
    }
    let partly = REQUEST
        .replace("--end 2021-03-05", "--end 2021-03-09")
        .replace("--start 2021-03-01", "--start 2021-03-05");
    assert_refused(
        &lake,
        &format!("backfill {partly} --paths 60"),
        &["50", "60"],
    );
    // Where no key is present, nothing is contradicted.
    let elsewhere = REQUEST
        .replace("2021-03-01", "2021-03-08")
        .replace("2021-03-05", "2021-03-09");
    assert_eq!(
        lake.job(&format!("forecast {elsewhere} --paths 60"))
            .forecasts(),
        [4, 0, 0]
    );
}

#[test]
fn another_horizon_is_refused_naming_both() {
    let lake = lake();
    assert_refused(
        &lake,
        &format!("backfill {REQUEST} --paths 50 --horizon 7"),
        &["14", "7"],
    );
    let elsewhere = REQUEST
        .replace("2021-03-01", "2021-03-08")
        .replace("2021-03-05", "2021-03-09");
    lake.job(&format!("forecast {elsewhere} --paths 50 --horizon 7"));
    assert_refused(
        &lake,
        &format!("forecast {elsewhere} --paths 50"),
        &["14", "7"],
    );
    for (key, rows) in lake
        .paths()
        .iter()
        .filter(|(key, _)| key.date.to_string().as_str() > "2021-03-05")
    {
        for row in rows {
            assert!(
                row.days[..7].iter().all(Option::is_some)
                    && row.days[7..].iter().all(Option::is_none),
                "{key:?}"
            );
        }
        assert_eq!(lake.points()[key].len(), 7, "{key:?}");
    }
}

#[test]
fn a_horizon_or_a_number_of_paths_out_of_range_is_refused() {
    let lake = lake();
    for flags in ["--horizon 15", "--horizon 0", "--paths 0"] {
        assert_refused(
            &lake,
            &format!("backfill {REQUEST} {flags}"),
            &[flags.split(' ').nth(1).unwrap()],
        );
    }
}

#[test]
fn a_changed_specification_under_the_same_version_is_refused_naming_both() {
    let lake = lake();
    lake.configure(&settings(20));
    for command in ["train", "forecast", "backfill"] {
        let paths = if command == "train" { "" } else { "--paths 50" };
        assert_refused(
            &lake,
            &format!("{command} {REQUEST} {paths}"),
            &["mean", "10", "20", "v1"],
        );
    }
    assert_refused(
        &lake,
        "daily --commodity Coffee --models mean --date 2021-03-08 --frequency monthly --model-version v1 --paths 50",
        &["mean", "10", "20", "v1"],
    );
    // Models that did not change go on; the changed one goes on under another version.
    assert_eq!(
        lake.job(&format!(
            "backfill {} --paths 50",
            REQUEST.replace("naive,mean", "naive")
        ))
        .forecasts(),
        [0, 5, 0]
    );
    assert_eq!(
        lake.job(&format!(
            "backfill {} --paths 50",
            REQUEST.replace("v1", "v2")
        ))
        .forecasts(),
        [10, 0, 0]
    );
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let lake = lake();
    let versions = lake.versions();
    let longer = REQUEST.replace("--end 2021-03-05", "--end 2021-04-02");
    let report = lake
        .run(&format!("--json backfill {longer} --paths 50 --dry-run"))
        .expect(0)
        .json();
    assert_eq!(
        (
            report["would_forecast"].as_u64(),
            report["would_train"].as_u64()
        ),
        (Some(2 * 28), Some(2)),
        "{report}"
    );
    let text = lake
        .run(&format!("backfill {longer} --paths 50 --dry-run"))
        .expect(0)
        .stdout;
    assert!(text.contains("56") && text.contains("2021-04-01"), "{text}");
    let mut after = lake.versions();
    after.retain(|name, version| versions[name] != *version);
    assert!(after.is_empty(), "a dry run committed to {after:?}");
    let (error, _) = lake
        .run(&format!("backfill {longer} --paths 60 --dry-run"))
        .refusal();
    assert!(error.contains("50") && error.contains("60"), "{error}");
}

#[test]
fn too_little_memory_is_refused_naming_who_needed_it_and_commits_nothing() {
    let lake = TestLake::of(&Market::usual("Coffee", 122));
    let request = REQUEST.replace(",mean", "");
    lake.job(&format!("train {request}"));
    let versions = lake.data_versions();
    let request = request.replace("--end 2021-03-05", "--end 2021-03-31");
    let forecast = format!("forecast {request} --paths 2000");
    // Enough to plan and to read the history, too little for the open files of four slices.
    let (error, hint) = lake
        .run(&format!(
            "--threads 4 --slices 8 --memory-limit-mib 12 {forecast}"
        ))
        .refusal();
    assert!(
        error.contains("memory") && error.contains("failed for WriteTables"),
        "{error}"
    );
    assert!(hint.contains("--memory-limit-mib"), "{hint}");
    assert_eq!(lake.data_versions(), versions);
    assert_eq!(lake.job(&forecast).forecasts(), [31, 0, 0]);
}
