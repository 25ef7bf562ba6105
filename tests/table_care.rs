//! Care of the tables under load: rows never change, nothing that is needed is lost, and what is
//! not needed goes.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use almanac_delta::TableName;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::file::statistics::Statistics;

use crate::lake::{TestLake, files_below, rounds};
use crate::market::{Market, day, days};
use crate::tables::{Key, assert_same, bits, keys};
use crate::whole::{assert_no_key_is_half_written, assert_whole};

const MODELS: [&str; 2] = ["naive", "random_walk"];

fn market() -> Market {
    Market::usual("Coffee", 61).and(Market::usual("Sugar", 62))
}

fn backfill(first: &str, last: &str) -> String {
    format!(
        "backfill --commodity Coffee,Sugar --models naive,random_walk --start {first} --end {last} --frequency monthly \
         --model-version v1 --paths 500"
    )
}

/// A lake with many small files: every few days came in a run of their own.
fn fragmented() -> TestLake {
    let lake = TestLake::new();
    let all = market();
    for (first, last) in [
        ("2018-01-01", "2020-06-30"),
        ("2020-07-01", "2021-01-31"),
        ("2021-02-01", "2021-12-31"),
    ] {
        lake.ingest(
            &all.clone()
                .only(|_, date| date >= day(first) && date <= day(last)),
        );
    }
    for week in [
        "2021-05-01 2021-05-06",
        "2021-05-13 2021-05-18",
        "2021-05-07 2021-05-12",
        "2021-05-19 2021-05-24",
    ] {
        let (first, last) = week.split_once(' ').unwrap();
        lake.job(&backfill(first, last));
    }
    lake
}

fn all_keys(last: &str) -> BTreeSet<Key> {
    keys(&["Coffee", "Sugar"], &MODELS, days("2021-05-01", last))
}

/// Every row of every table, as one comparable value.
fn content(lake: &TestLake) -> impl PartialEq + use<> {
    (
        lake.paths(),
        lake.points(),
        lake.actuals(),
        lake.models(),
        lake.observations(),
    )
}

/// How many row groups a reader must open for one forecast, judged by the statistics in the files.
fn row_groups_to_read(lake: &TestLake, key: &Key) -> usize {
    let day_number = key.date.to_epoch_days();
    let mut groups = 0;
    for file in lake.table(TableName::Distributions).files() {
        if !file.path.contains(&format!("commodity={}", key.commodity)) {
            continue;
        }
        let reader =
            SerializedFileReader::new(File::open(lake.root().join(&file.path)).unwrap()).unwrap();
        for group in reader.metadata().row_groups() {
            let bounds = |name: &str| {
                let column = group
                    .columns()
                    .iter()
                    .find(|column| column.column_path().string() == name)
                    .unwrap();
                column
                    .statistics()
                    .unwrap_or_else(|| panic!("no statistics of {name}"))
                    .clone()
            };
            let (Statistics::Int32(date), Statistics::ByteArray(model)) =
                (bounds("forecast_start_date"), bounds("model_name"))
            else {
                panic!("statistics of other types");
            };
            let dated = (*date.min_opt().unwrap()..=*date.max_opt().unwrap()).contains(&day_number);
            let (low, high) = (
                model.min_opt().unwrap().data(),
                model.max_opt().unwrap().data(),
            );
            groups +=
                usize::from(dated && low <= key.model.as_bytes() && key.model.as_bytes() <= high);
        }
    }
    groups
}

#[test]
fn optimize_keeps_rows_order_row_groups_and_codec() {
    let lake = fragmented();
    let before = content(&lake);
    let files = lake.table(TableName::Distributions).files().len();
    lake.run("optimize").expect(0);
    assert!(content(&lake) == before, "rows changed");
    let after = lake.table(TableName::Distributions);
    assert!(
        after.files().len() < files,
        "{} files, {files} before",
        after.files().len()
    );
    for file in after.files() {
        let reader =
            SerializedFileReader::new(File::open(lake.root().join(&file.path)).unwrap()).unwrap();
        for group in reader.metadata().row_groups() {
            let codecs: BTreeSet<_> = group
                .columns()
                .iter()
                .map(|column| format!("{:?}", column.compression()))
                .collect();
            assert!(
                codecs.iter().all(|codec| codec.starts_with("ZSTD")),
                "{codecs:?}"
            );
        }
    }
    for key in all_keys("2021-05-24") {
        let groups = row_groups_to_read(&lake, &key);
        assert!(
            (1..=2).contains(&groups),
            "{key:?} lies in {groups} row groups"
        );
    }
    let versions = lake.data_versions();
    lake.run("optimize").expect(0);
    assert_eq!(
        lake.data_versions(),
        versions,
        "a second optimize finds nothing to do"
    );
}

#[test]
fn two_optimizes_at_once_change_no_row() {
    let base = fragmented();
    let before = content(&base);
    for _ in 0..rounds() {
        let lake = base.copy();
        let pair = [(), ()].map(|()| lake.start("optimize"));
        for running in pair {
            running.wait().expect(0);
        }
        assert!(content(&lake) == before, "rows changed");
        assert_whole(&lake, &all_keys("2021-05-24"), 500);
    }
}

#[test]
fn optimize_ingest_and_backfill_racing_lose_and_double_nothing() {
    let base = fragmented();
    // The ingest adds days and changes one that no forecast below looks at.
    let mut late = Market::walk("Coffee", 63, "2022-01-03", "2022-01-31").and(Market::walk(
        "Sugar",
        64,
        "2022-01-03",
        "2022-01-31",
    ));
    late.set("Coffee", day("2021-12-31"), "close", 123.25);
    let path = base.file("late.csv", late.csv());
    let wanted = base.copy();
    wanted.run(&format!("ingest {path}")).expect(0);
    wanted.job(&backfill("2021-05-25", "2021-06-10"));
    for _ in 0..rounds() {
        let lake = base.copy();
        let path = lake.file("late.csv", late.csv());
        let lines = [
            "optimize".to_owned(),
            format!("ingest {path}"),
            backfill("2021-05-25", "2021-06-10"),
            "optimize".to_owned(),
        ];
        let racing = lines.map(|line| lake.start(&line));
        for running in racing {
            running.wait().expect(0);
        }
        assert_eq!(lake.observations(), wanted.observations());
        assert_whole(&lake, &all_keys("2021-06-10"), 500);
        assert_same(
            &bits(&lake.paths()),
            &bits(&wanted.paths()),
            "paths after the race",
        );
        lake.run("optimize").expect(0);
        for key in all_keys("2021-06-10") {
            let groups = row_groups_to_read(&lake, &key);
            assert!(
                (1..=2).contains(&groups),
                "{key:?} lies in {groups} row groups"
            );
        }
        assert_same(
            &bits(&lake.paths()),
            &bits(&wanted.paths()),
            "paths after another optimize",
        );
    }
}

#[test]
fn a_killed_optimize_changes_no_row() {
    let base = fragmented();
    let before = content(&base);
    for point in [
        "before_commit:forecast/distributions",
        "after_commit_put:forecast/distributions",
    ] {
        let lake = base.copy();
        let output = crate::lake::finish(lake.command("optimize").env("ALMANAC_CRASH_AT", point));
        assert!(output.signal == Some(9), "{point}: {output}");
        assert!(content(&lake) == before, "{point}: rows changed");
        lake.run("optimize").expect(0);
        assert!(
            content(&lake) == before,
            "{point}: rows changed by the next"
        );
    }
}

#[test]
fn a_retention_under_seven_days_is_refused() {
    let lake = fragmented();
    let files = lake.files();
    for hours in ["0", "167"] {
        let (error, hint) = lake
            .run(&format!("vacuum --retention-hours {hours}"))
            .refusal();
        assert!(error.contains("168"), "{error}");
        assert!(hint.contains("168"), "{hint}");
    }
    assert_eq!(lake.files(), files);
}

#[test]
fn vacuum_during_a_backfill_removes_old_orphans_and_nothing_else() {
    let line = backfill("2021-05-25", "2021-08-31");
    let lake = fragmented();
    let undisturbed = lake.copy();
    undisturbed.job(&line);

    // Orphans of every kind, left by real crashes and an optimize.
    lake.configure(
        "[models.heavy]\nfamily = \"drill\"\n[models.heavy.params]\nmode = \"big_state\"\nbytes = 1500000\n\
         [models.heavier]\nfamily = \"drill\"\n[models.heavier.params]\nmode = \"big_state\"\nbytes = 1600000\n",
    );
    let train = |model: &str| {
        format!(
            "train --commodity Coffee --models {model} --start 2021-05-01 --end 2021-05-03 --frequency monthly --model-version v1"
        )
    };
    let own = |folder: &str| -> BTreeSet<PathBuf> {
        let files = lake.files().into_iter();
        files.filter(|path| path.starts_with(folder)).collect()
    };
    lake.job(&train("heavy"));
    let states = own("_almanac/states");
    assert!(!states.is_empty());
    lake.crash("before_commit:forecast/trained_models", &train("heavier"));
    lake.crash(
        "before_commit:forecast/distributions",
        &backfill("2021-09-01", "2021-09-04"),
    );
    lake.run("optimize").expect(0);
    let mut doomed = BTreeSet::new();
    for (kind, least, orphans) in [
        (
            "states",
            1,
            own("_almanac/states")
                .difference(&states)
                .cloned()
                .collect(),
        ),
        ("manifests", 2, own("_almanac/manifests")),
        ("runs", 2, own("_almanac/runs")),
        (
            "data files",
            20,
            data_files(&lake.root())
                .difference(&live_files(&lake))
                .cloned()
                .collect::<BTreeSet<PathBuf>>(),
        ),
    ] {
        assert!(orphans.len() >= least, "{kind}: {orphans:?}");
        doomed.extend(orphans);
    }
    age(&files_below(&lake.root()), 8);
    let models = lake.models();
    let before: BTreeSet<PathBuf> = lake.files().into_iter().collect();

    // The backfill is stopped while it holds paths that no log knows of yet.
    let mut running = lake.start(&line);
    let uncommitted = loop {
        assert!(
            !running.has_ended(),
            "it was never seen between write and commit"
        );
        if data_files(&lake.root())
            .iter()
            .any(|path| !before.contains(path))
        {
            running.pause();
            let live = live_files(&lake);
            let mut fresh = data_files(&lake.root());
            fresh.retain(|path| !before.contains(path) && !live.contains(path));
            if fresh
                .iter()
                .any(|path| path.starts_with("forecast/distributions"))
            {
                break fresh;
            }
            running.resume();
        }
    };
    lake.run("vacuum").expect(0);
    let after: BTreeSet<PathBuf> = lake.files().into_iter().collect();
    let removed: BTreeSet<PathBuf> = before.difference(&after).cloned().collect();
    assert_eq!(removed, doomed);
    assert!(uncommitted.is_subset(&after), "{uncommitted:?}");
    println!(
        "vacuum removed {} old orphans beside {} fresh files",
        removed.len(),
        uncommitted.len()
    );

    running.resume();
    while !running.has_ended() {
        lake.run("vacuum").expect(0);
    }
    running.wait().expect(0);
    assert!(
        uncommitted.is_subset(&live_files(&lake)),
        "they are committed"
    );
    assert_whole(&lake, &all_keys("2021-08-31"), 500);
    assert_same(
        &bits(&lake.paths()),
        &bits(&undisturbed.paths()),
        "paths beside vacuums",
    );
    let left = lake.models();
    assert!(
        models
            .iter()
            .all(|(key, model)| left.get(key) == Some(model))
    );
}

/// Makes files look this many days older than they are.
fn age(files: &[PathBuf], count: u64) {
    let then = SystemTime::now() - Duration::from_secs(count * 24 * 60 * 60);
    for file in files {
        File::options()
            .append(true)
            .open(file)
            .unwrap()
            .set_modified(then)
            .unwrap();
    }
}

fn data_files(root: &Path) -> BTreeSet<PathBuf> {
    let files = files_below(root)
        .into_iter()
        .map(|path| path.strip_prefix(root).unwrap().to_owned());
    files
        .filter(|path| {
            path.extension().is_some_and(|end| end == "parquet")
                && !path.to_string_lossy().contains("_delta_log")
        })
        .collect()
}

/// Without the records of runs: each command adds one.
fn besides_runs(mut files: BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    files.retain(|path| !path.starts_with(TableName::JobRuns.folder()));
    files
}

fn live_files(lake: &TestLake) -> BTreeSet<PathBuf> {
    TableName::ALL
        .iter()
        .flat_map(|name| lake.table(*name).files().to_vec())
        .map(|file| PathBuf::from(file.path))
        .collect()
}

#[test]
fn vacuum_removes_orphans_and_replaced_files_once_they_are_old() {
    let lake = fragmented();
    lake.crash(
        "before_commit:forecast/distributions",
        &backfill("2021-05-25", "2021-05-30"),
    );
    lake.run("optimize").expect(0);
    let before = content(&lake);
    let found = || besides_runs(data_files(&lake.root()));
    let live = besides_runs(live_files(&lake));
    let doomed: BTreeSet<PathBuf> = found().difference(&live).cloned().collect();
    assert!(
        doomed.len() > 2,
        "the crash and the optimize left files behind: {doomed:?}"
    );

    lake.run("vacuum").expect(0);
    assert_eq!(
        found(),
        live.union(&doomed).cloned().collect(),
        "young files stay"
    );

    age(&files_below(&lake.root()), 8);
    let report = lake.run("--json vacuum --dry-run").expect(0).json();
    assert_eq!(
        found(),
        live.union(&doomed).cloned().collect(),
        "a dry run removes nothing"
    );
    let text = report.to_string();
    assert!(
        doomed
            .iter()
            .all(|path| text.contains(path.file_name().unwrap().to_str().unwrap())),
        "{text}"
    );

    lake.run("vacuum").expect(0);
    assert_eq!(found(), live, "what nothing refers to is gone");
    let manifests = files_below(&lake.root().join("_almanac"));
    assert!(
        manifests
            .iter()
            .all(|path| !path.to_string_lossy().contains("manifests")),
        "{manifests:?}"
    );
    assert!(content(&lake) == before, "rows changed");
    lake.job(&backfill("2021-05-25", "2021-05-30"));
    assert_whole(&lake, &all_keys("2021-05-30"), 500);
}

#[test]
fn a_manifest_whose_files_were_removed_is_not_believed() {
    let lake = TestLake::of(&market());
    lake.crash(
        "before_commit:forecast/distributions",
        &backfill("2021-05-01", "2021-05-06"),
    );
    let live = live_files(&lake);
    for orphan in data_files(&lake.root()).difference(&live) {
        std::fs::remove_file(lake.root().join(orphan)).unwrap();
    }
    lake.job(&backfill("2021-05-01", "2021-05-06"));
    assert_whole(&lake, &all_keys("2021-05-06"), 500);
}

#[test]
fn manifests_that_cannot_be_read_are_named_and_their_slices_run_again() {
    let base = TestLake::of(&market());
    let line = backfill("2021-05-01", "2021-05-06");
    base.crash("before_commit:forecast/distributions", &line);
    let manifests = |lake: &TestLake| files_below(&lake.root().join("_almanac/manifests"));
    assert!(!manifests(&base).is_empty(), "the crash left no manifest");
    type Damage = fn(&[u8]) -> Vec<u8>;
    let damages: [Damage; 3] = [
        |_| vec![],
        |body| body[..body.len() / 2].to_vec(),
        |body| body.iter().map(|byte| byte ^ 0x80).collect(),
    ];
    for damage in damages {
        let lake = base.copy();
        for path in manifests(&lake) {
            std::fs::write(&path, damage(&std::fs::read(&path).unwrap())).unwrap();
        }
        let names = manifests(&lake);
        let output = lake.run(&format!("--json {line}")).expect(0);
        for path in names {
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(
                output.stderr.contains(name),
                "{name} is not named: {output}"
            );
        }
        assert_whole(&lake, &all_keys("2021-05-06"), 500);
        assert_eq!(manifests(&lake), Vec::<PathBuf>::new());
    }
}

#[test]
fn a_big_state_is_kept_by_vacuum_as_long_as_a_model_points_to_it() {
    let lake = TestLake::of(&market());
    lake.configure("[models.heavy]\nfamily = \"drill\"\n[models.heavy.params]\nmode = \"big_state\"\nbytes = 1500000\n");
    let request = "--commodity Coffee --models heavy --start 2021-05-01 --end 2021-05-03 --frequency monthly --model-version v1 --paths 20";
    lake.job(&format!("backfill {request}"));
    let models = lake.models();
    assert!(
        models
            .values()
            .flatten()
            .all(|model| model.offloaded && model.state.len() > 1_500_000)
    );
    age(&files_below(&lake.root()), 30);
    lake.run("vacuum").expect(0);
    assert_same(&lake.models(), &models, "models after vacuum");
    let report = lake.job(&format!(
        "forecast {}",
        request.replace("--end 2021-05-03", "--end 2021-05-05")
    ));
    assert_eq!(report.forecasts(), [2, 3, 0]);

    lake.run("delete --commodity Coffee --models heavy --model-version v1 --start 2021-05-01 --end 2021-05-05").expect(0);
    assert!(lake.paths().is_empty());
}

#[test]
fn delete_removes_whole_keys_so_that_they_can_be_made_again() {
    let lake = fragmented();
    let before = lake.paths();
    let versions = lake.versions();
    lake.run("delete --commodity Coffee --models naive --model-version v1 --start 2021-05-05 --end 2021-05-20").expect(0);
    let gone = keys(&["Coffee"], &["naive"], days("2021-05-05", "2021-05-20"));
    let left: BTreeSet<Key> = all_keys("2021-05-24").difference(&gone).cloned().collect();
    assert_whole(&lake, &left, 500);
    assert_eq!(
        lake.versions()[&TableName::Distributions],
        versions[&TableName::Distributions] + 1,
        "one commit"
    );
    let report = lake.job(&backfill("2021-05-01", "2021-05-24"));
    assert_eq!(report.forecasts(), [16, 96 - 16, 0]);
    assert_same(&bits(&lake.paths()), &bits(&before), "paths made again");
    assert_whole(&lake, &all_keys("2021-05-24"), 500);
    for key in all_keys("2021-05-24") {
        let groups = row_groups_to_read(&lake, &key);
        assert!(
            (1..=2).contains(&groups),
            "{key:?} lies in {groups} row groups"
        );
    }
}

#[test]
fn delete_optimize_and_backfill_racing_leave_every_key_whole_or_absent() {
    let base = fragmented();
    for _ in 0..rounds() {
        let lake = base.copy();
        let lines = [
            "delete --commodity Coffee --models naive --model-version v1 --start 2021-05-05 --end 2021-05-20".to_owned(),
            backfill("2021-05-01", "2021-06-05"),
            "optimize".to_owned(),
        ];
        let racing = lines.map(|line| lake.start(&line));
        for running in racing {
            running.wait().expect(0);
        }
        assert_no_key_is_half_written(&lake.paths(), 500);
        lake.job(&backfill("2021-05-01", "2021-06-05"));
        assert_whole(&lake, &all_keys("2021-06-05"), 500);
    }
}

#[test]
fn history_tells_who_committed_what() {
    let lake = fragmented();
    let report = lake
        .run("--json history distributions --limit 3")
        .expect(0)
        .json();
    let commits = report["result"]
        .as_array()
        .unwrap_or_else(|| panic!("{report}"));
    assert_eq!(commits.len(), 3, "{report}");
    let versions: Vec<_> = commits
        .iter()
        .map(|commit| commit["version"].as_u64().unwrap())
        .collect();
    assert!(
        versions.is_sorted_by(|newer, older| newer > older),
        "{versions:?}"
    );
    assert_eq!(versions[0], lake.table(TableName::Distributions).version());
    assert!(
        commits.iter().all(|commit| commit["run_id"].is_string()),
        "{report}"
    );
    let (error, hint) = lake.run("history no_such_table").refusal();
    assert!(
        error.contains("no_such_table") && format!("{error}{hint}").contains("silver.unified_data"),
        "{error}\n{hint}"
    );
}

#[test]
fn a_delete_that_is_killed_leaves_nothing_that_would_be_doubled() {
    let base = fragmented();
    let delete = "delete --commodity Coffee --models naive --model-version v1 --start 2021-05-05 --end 2021-05-20";
    for point in [
        "before_commit:forecast/distributions",
        "after_commit_put:forecast/distributions",
        "before_commit:forecast/point_forecasts",
        "after_commit_put:forecast/point_forecasts",
    ] {
        let lake = base.copy();
        lake.crash(point, delete);
        assert_no_key_is_half_written(&lake.paths(), 500);
        let again = lake.copy();
        // Either the keys are made again at once,
        lake.job(&backfill("2021-05-01", "2021-05-24"));
        assert_whole(&lake, &all_keys("2021-05-24"), 500);
        // or the delete is finished first.
        again.run(delete).expect(0);
        let gone = keys(&["Coffee"], &["naive"], days("2021-05-05", "2021-05-20"));
        let left = all_keys("2021-05-24").difference(&gone).cloned().collect();
        assert_whole(&again, &left, 500);
        again.job(&backfill("2021-05-01", "2021-05-24"));
        assert_whole(&again, &all_keys("2021-05-24"), 500);
    }
}

#[test]
fn a_model_that_the_catalog_no_longer_has_can_be_deleted() {
    let lake = TestLake::of(&market());
    lake.configure(
        "[models.mine]\nfamily = \"linear_regression\"\n[models.other]\nfamily = \"naive\"\n",
    );
    let request = "--commodity Coffee --models mine,naive --start 2021-05-01 --end 2021-05-03";
    let shape = "--frequency monthly --paths 20 --model-version";
    lake.job(&format!("backfill {request} {shape} v1"));
    lake.job(&format!("backfill {request} {shape} v2").replace("mine,naive", "other"));
    lake.configure("");

    let versions = lake.versions();
    for (unknown, why) in [
        ("--models mien --model-version v1", "a misspelt one"),
        ("--models mine --model-version v2", "one of another version"),
        ("--models naive,gone --model-version v1", "one of several"),
    ] {
        let line =
            format!("delete --commodity Coffee {unknown} --start 2021-05-01 --end 2021-05-02");
        let (error, _) = lake.run(&line).refusal();
        assert!(error.contains("no model"), "{why}: {error}");
    }
    assert_eq!(lake.versions(), versions);

    let line = format!("--json delete {request} --model-version v1")
        .replace("--end 2021-05-03", "--end 2021-05-02");
    let report = lake.run(&line).expect(0).json();
    assert_eq!(report["deleted"], 4, "{report}");
    let left = keys(
        &["Coffee"],
        &["mine", "naive"],
        days("2021-05-03", "2021-05-03"),
    );
    let mut found = lake.paths();
    found.retain(|key, _| key.version == "v1");
    assert_eq!(found.into_keys().collect::<BTreeSet<_>>(), left);
    let run = lake.sql("SELECT arguments FROM job_runs WHERE kind = 'delete'");
    let arguments: serde_json::Value =
        serde_json::from_str(run[0]["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(arguments["models"], serde_json::json!(["mine", "naive"]));
}
