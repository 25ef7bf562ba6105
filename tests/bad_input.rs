//! Bad input: one clear line with a hint, exit code 1, and nothing changed.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use almanac_delta::TableName;
use arrow::array::{ArrayRef, Date32Array, Float64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;

use crate::lake::{BINARY, Output, TestLake, finish, skip};
use crate::market::{Market, days};
use crate::tables::keys;
use crate::whole::{assert_no_key_is_half_written, assert_whole};

const JOB: &str = "--commodity Coffee --models naive --start 2021-03-01 --end 2021-03-05 --frequency monthly --model-version v1 --paths 50";

fn lake() -> TestLake {
    let lake = TestLake::of(&Market::usual("Coffee", 161));
    lake.job(&format!("backfill {JOB}"));
    lake
}

/// Asserts that a command is refused in one line that names all of `named`, and changes nothing.
#[track_caller]
fn assert_refused(lake: &TestLake, line: &str, named: &[&str]) {
    let (versions, rows) = (lake.data_versions(), lake.observations().len());
    let (error, hint) = lake.run(line).refusal();
    for name in named {
        let told = format!("{error}\n{hint}");
        assert!(
            told.contains(name),
            "`{line}` does not name `{name}`:\n{told}"
        );
    }
    assert_eq!(
        (lake.data_versions(), lake.observations().len()),
        (versions, rows),
        "`{line}` changed something"
    );
}

fn parquet_of(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(vec![], batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn price_columns() -> Vec<(&'static str, ArrayRef)> {
    let dates: Vec<i32> = days("2022-01-03", "2022-06-30")
        .map(|date| date.to_epoch_days())
        .collect();
    let closes: Vec<f64> = dates
        .iter()
        .map(|date| f64::from(date % 17) + 0.123)
        .collect();
    let names = vec!["Coffee"; dates.len()];
    vec![
        ("date", Arc::new(Date32Array::from(dates))),
        ("commodity", Arc::new(StringArray::from(names))),
        ("close", Arc::new(Float64Array::from(closes))),
    ]
}

#[test]
fn files_that_cannot_be_read_are_refused_whole() {
    let lake = lake();
    let whole = parquet_of(price_columns());
    for cut in [4, whole.len() / 2, whole.len() - 1] {
        let path = lake.file("cut.parquet", &whole[..cut]);
        assert_refused(&lake, &format!("ingest {path}"), &["cut.parquet"]);
    }
    // Garbage in the middle, with the footer intact.
    let mut broken = whole.clone();
    for byte in &mut broken[8..200] {
        *byte ^= 0x5a;
    }
    let path = lake.file("broken.parquet", &broken);
    assert_refused(&lake, &format!("ingest {path}"), &["broken.parquet"]);
    // A good file beside a bad one is not taken either.
    let good = lake.file("good.csv", "date,commodity,close\n2022-01-03,Coffee,1.5\n");
    assert_refused(&lake, &format!("ingest {good} {path}"), &["broken.parquet"]);
    assert_refused(&lake, &format!("ingest {path} {good}"), &["broken.parquet"]);

    let path = lake.file("empty.csv", "");
    assert_refused(&lake, &format!("ingest {path}"), &["empty.csv"]);
    let path = lake.file("header.csv", "date,commodity,close\n");
    assert_refused(&lake, &format!("ingest {path}"), &["header.csv"]);
    let path = lake.file("binary.csv", [0_u8, 159, 146, 150, 10, 255, 0, 7]);
    assert_refused(&lake, &format!("ingest {path}"), &["binary.csv"]);
    assert_refused(&lake, "ingest no/such/file.csv", &["no/such/file.csv"]);
    let folder = lake.root().display().to_string();
    assert_refused(&lake, &format!("ingest {folder}"), &[&folder]);
}

#[test]
fn rows_that_cannot_be_stored_are_listed_and_nothing_is_loaded() {
    let lake = lake();
    let good = "2022-01-03,Coffee,100.5\n2022-01-04,Coffee,101.5\n";
    for (bad, named) in [
        ("2022-13-45,Coffee,1.0\n", "2022-13-45"),
        ("2022-02-30,Coffee,1.0\n", "2022-02-30"),
        (",Coffee,1.0\n", "date"),
        ("2022-01-05,,1.0\n", "commodity"),
        ("2022-01-05,Coffee,abc\n", "abc"),
        ("2022-01-05,Coffee,inf\n", "close"),
        ("2022-01-03,Coffee,99.0\n", "same date"),
        ("2022-01-05,Coffee,1.0,surplus\n", "4"),
        ("9999-01-05,Coffee,1.0\n", "9999-01-05"),
    ] {
        let path = lake.file("prices.csv", format!("date,commodity,close\n{good}{bad}"));
        assert_refused(
            &lake,
            &format!(
                "ingest {path} --rejects {}",
                lake.path("rejects.csv").display()
            ),
            &[named],
        );
        let rejects = fs::read_to_string(lake.path("rejects.csv")).unwrap();
        assert_eq!(rejects.lines().count(), 2, "{rejects}");
        let lost = bad
            .trim_end()
            .split(',')
            .filter(|field| !field.is_empty())
            .all(|field| rejects.contains(field));
        assert!(lost, "the rejected row is in the file as it was: {rejects}");

        let allowed = lake.copy();
        let report = allowed
            .run(&format!(
                "--json ingest {path} --allow-rejects --rejects {}",
                allowed.path("rejects.csv").display()
            ))
            .expect(0)
            .json();
        assert_eq!(
            (report["added"].as_u64(), report["rejected"].as_u64()),
            (Some(2), Some(1)),
            "{bad}: {report}"
        );
        assert_eq!(allowed.observations().len(), lake.observations().len() + 2);
    }
}

#[test]
fn columns_that_are_missing_or_of_another_type_are_named() {
    let lake = lake();
    for (content, named) in [
        ("day,commodity,close\n2022-01-03,Coffee,1\n", "date"),
        ("date,price\n2022-01-03,1\n", "commodity"),
        ("date,commodity,settle\n2022-01-03,Coffee,1\n", "close"),
        ("2022-01-03,Coffee,1\n2022-01-04,Coffee,2\n", "header"),
        (
            "date,commodity,close,close\n2022-01-03,Coffee,1,2\n",
            "close",
        ),
        (
            "date,commodity,close,bad name!\n2022-01-03,Coffee,1,2\n",
            "bad name!",
        ),
        (
            "date,commodity,close,slice\n2022-01-03,Coffee,1,2\n",
            "--map",
        ),
        (
            "date,commodity,close,Table_Rows\n2022-01-03,Coffee,1,2\n",
            "Table_Rows",
        ),
    ] {
        let path = lake.file("columns.csv", content);
        assert_refused(&lake, &format!("ingest {path}"), &[named, "columns.csv"]);
    }
    let mut text_closes = price_columns();
    let count = text_closes[0].1.len();
    text_closes[2].1 = Arc::new(StringArray::from(vec!["dear"; count]));
    let path = lake.file("types.parquet", parquet_of(text_closes));
    assert_refused(&lake, &format!("ingest {path}"), &["close"]);
    let path = lake.file("mapped.csv", "date,commodity,settle\n2022-01-03,Coffee,1\n");
    assert_refused(
        &lake,
        &format!("ingest {path} --map close=setle"),
        &["setle", "settle"],
    );
    lake.run(&format!("ingest {path} --map close=settle"))
        .expect(0);
}

#[test]
fn a_request_that_makes_no_sense_is_refused() {
    let lake = lake();
    let job = |from: &str, to: &str| JOB.replace(from, to);
    for command in ["train", "forecast", "backfill"] {
        let run = |arguments: String, named: &[&str]| {
            let mut line = format!("{command} {arguments}");
            if command == "train" {
                line = line.replace(" --paths 50", "");
            }
            assert_refused(&lake, &line, named)
        };
        run(
            job("--end 2021-03-05", "--end 2021-02-05"),
            &["2021-03-01", "2021-02-05"],
        );
        run(job("--end 2021-03-05", "--end 2021-02-30"), &["2021-02-30"]);
        run(
            job("--start 2021-03-01", "--start yesterday"),
            &["yesterday"],
        );
        run(
            job("--models naive", "--models random_wak"),
            &["random_wak", "random_walk"],
        );
        run(
            job("--models naive", "--models naive,no_such_thing_at_all"),
            &["no_such_thing_at_all"],
        );
        run(
            job("--commodity Coffee", "--commodity Cofee"),
            &["Cofee", "Coffee"],
        );
        run(
            job("--commodity Coffee", "--commodity Coffee,Tea"),
            &["Tea"],
        );
        run(
            job("--frequency monthly", "--frequency fortnightly"),
            &["fortnightly", "biweekly"],
        );
    }
    let daily =
        "daily --commodity Coffee --models naive --frequency monthly --model-version v1 --paths 50";
    assert_refused(
        &lake,
        &format!("{daily} --date 2021-02-30"),
        &["2021-02-30"],
    );
    assert_refused(&lake, &daily.replace("naive", "naiv"), &["naiv", "naive"]);
    assert_refused(
        &lake,
        "delete --commodity Coffee --models naive --model-version v1 --start 2021-03-05 --end 2021-03-01",
        &["2021-03-05", "2021-03-01"],
    );
    assert_refused(&lake, "optimize no_such_table", &["no_such_table"]);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let lake = lake();
    for (toml, named) in [
        ("[models.mine\n", "almanac.toml"),
        ("[models.mine]\nfamily = \"random_wak\"\n", "random_walk"),
        (
            "[models.mine]\nfamily = \"random_walk\"\n[models.mine.params]\nlookbak = 3\n",
            "lookback",
        ),
        (
            "[models.mine]\nfamily = \"random_walk\"\n[models.mine.params]\nlookback = 1\n",
            "lookback",
        ),
        (
            "[models.mine]\nfamily = \"random_walk\"\n[models.mine.params]\nlookback = \"long\"\n",
            "lookback",
        ),
        ("[models.mine]\nparams = {}\n", "family"),
        (
            "[models.mine]\nfamily = \"linear_regression\"\nregions = \"all\"\n",
            "pivot",
        ),
        ("thread = 3\n", "thread"),
    ] {
        lake.configure(toml);
        assert_refused(
            &lake,
            &format!("backfill {}", JOB.replace("naive", "mine")),
            &[named],
        );
    }
}

#[test]
fn a_folder_that_is_no_lake_is_refused_and_left_alone() {
    let nowhere = TestLake::missing();
    for line in [
        &format!("backfill {JOB}"),
        "status",
        "optimize",
        "vacuum",
        "history distributions",
        "daily --commodity Coffee --models naive",
    ] {
        let (error, hint) = nowhere.run(line).refusal();
        assert!(
            error.contains("no lake") && hint.contains("init"),
            "{line}: {error} {hint}"
        );
    }
    let (error, _) = nowhere.sql_with("SELECT 1 FROM job_runs", &[]).refusal();
    assert!(error.contains("no lake"), "{error}");
    assert!(!nowhere.root().exists(), "a folder was made");
    let lake = lake();
    let (error, hint) = lake.run("init").refusal();
    assert!(
        error.contains("already") && !hint.is_empty(),
        "{error} {hint}"
    );
    assert_whole(
        &lake,
        &keys(&["Coffee"], &["naive"], days("2021-03-01", "2021-03-05")),
        50,
    );
}

#[test]
fn an_empty_lake_has_nothing_to_work_on() {
    let lake = TestLake::new();
    for commodity in ["*", "Coffee"] {
        assert_refused(
            &lake,
            &format!(
                "backfill {}",
                JOB.replace("--commodity Coffee", &format!("--commodity {commodity}"))
            ),
            &["ingest"],
        );
    }
    assert_eq!(
        lake.run("--json status").expect(0).json()["coverage"]
            .as_array()
            .map(Vec::len),
        Some(0)
    );
}

#[test]
fn a_bad_layout_is_refused() {
    for flags in [
        "--buckets 0",
        "--calendar sometimes",
        "--holidays no_such_file.csv",
    ] {
        let lake = TestLake::missing();
        let (error, _) = lake.run(&format!("init {flags}")).refusal();
        assert!(error.contains(flags.split(' ').nth(1).unwrap()), "{error}");
        assert!(
            !lake.root().exists(),
            "`init {flags}` left something behind"
        );
    }
}

/// Runs a script in a mount namespace of its own, or says why that cannot be done.
fn in_namespace(script: &str) -> Result<Output, String> {
    let mut reasons = String::new();
    for flags in [vec!["-m"], vec!["-rm"]] {
        let probe = Command::new("unshare")
            .args(&flags)
            .args(["sh", "-c", "mount -t tmpfs -o size=64k tmpfs /mnt"])
            .output();
        match probe {
            Ok(probe) if probe.status.success() => {
                return Ok(finish(
                    Command::new("unshare")
                        .args(&flags)
                        .args(["sh", "-ec", script]),
                ));
            }
            Ok(probe) => write!(
                reasons,
                "unshare {flags:?}: {}; ",
                String::from_utf8_lossy(&probe.stderr).trim()
            )
            .unwrap(),
            Err(error) => write!(reasons, "unshare: {error}; ").unwrap(),
        }
    }
    Err(reasons)
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display())
}

#[test]
fn a_lake_that_is_read_only_is_refused_and_can_still_be_read() {
    let lake = lake();
    let prices = lake.file("prices.csv", "date,commodity,close\n2022-01-03,Coffee,1\n");
    let root = quoted(&lake.root());
    let mount = format!("mount --bind {root} {root}; mount -o remount,ro,bind {root};");
    let run = |arguments: &str| {
        in_namespace(&format!(
            "{mount} exec '{BINARY}' --lake {root} {arguments}"
        ))
    };
    let later = JOB.replace("2021-03-05", "2021-03-09");
    for arguments in [
        format!("ingest {prices}"),
        format!("train {}", JOB.replace("v1", "v2").replace("--paths 50", "")),
        format!("forecast {later}"),
        format!("backfill {later}"),
        "daily --commodity Coffee --models naive --frequency monthly --model-version v1 --paths 50 --date 2021-03-08".to_owned(),
        "delete --commodity Coffee --models naive --model-version v1 --start 2021-03-01 --end 2021-03-02".to_owned(),
    ] {
        match run(&arguments) {
            Ok(output) => {
                let (error, hint) = output.refusal();
                assert!(error.to_lowercase().contains("read-only") && hint.contains("read-only"), "{error} {hint}");
            }
            Err(reason) => {
                skip(&format!("a read-only mount cannot be made: {reason}"));
                return;
            }
        }
    }
    let query =
        run("--json sql 'SELECT count(*) AS n FROM forecast.distributions WHERE NOT is_actuals'")
            .unwrap()
            .expect(0);
    assert_eq!(query.json()[0]["n"], 250);
    run("status").unwrap().expect(0);
    assert_whole(
        &lake,
        &keys(&["Coffee"], &["naive"], days("2021-03-01", "2021-03-05")),
        50,
    );
}

#[test]
fn a_data_file_that_is_gone_is_named_and_other_series_are_not_concerned() {
    let lake = TestLake::of(&Market::usual("Coffee", 161).and(Market::usual("Sugar", 162)));
    let gone = lake
        .table(TableName::UnifiedData)
        .files()
        .iter()
        .find(|file| file.partition_values == [Some("Coffee".to_owned())])
        .map(|file| file.path.clone())
        .unwrap();
    fs::remove_file(lake.root().join(&gone)).unwrap();
    let file = lake.file("again.csv", Market::usual("Coffee", 163).csv());
    let train = format!("train {}", JOB.replace("--paths 50", ""));
    let query = "SELECT sum(close) FROM silver.unified_data";
    for output in [
        lake.run(&format!("backfill {JOB}")),
        lake.run(&train),
        lake.run(&format!("ingest {file}")),
        lake.sql_with(query, &[]),
    ] {
        let (error, hint) = output.refusal();
        assert!(
            error.contains(&format!("`{}`", lake.root().join(&gone).display()))
                && hint.contains("copy"),
            "{}: {error} {hint}",
            output.line
        );
    }
    let report = lake.job(&format!("backfill {}", JOB.replace("Coffee", "Sugar")));
    assert_eq!(report.forecasts(), [5, 0, 0]);
}

#[test]
fn a_full_disk_is_refused_and_what_is_committed_stays() {
    let lake = lake();
    let before = lake.paths();
    let prices = lake.file("prices.csv", Market::usual("Sugar", 162).csv());
    let disk = lake.path("disk");
    fs::create_dir(&disk).unwrap();
    let after = lake.path("after");
    // `room` KiB are left when the command runs; then the lake is copied out to be looked at, and
    // the command is run again with room enough.
    let run = |arguments: &str, room: usize| {
        let (root, disk, after) = (quoted(&lake.root()), quoted(&disk), quoted(&after));
        let almanac = format!("'{BINARY}' --lake {disk}/lake {arguments}");
        in_namespace(&format!(
            "mount -t tmpfs -o size=64m tmpfs {disk}; cp -r {root} {disk}/lake;
             free=$(df -k --output=avail {disk} | tail -1);
             head -c $(( (free - {room}) * 1024 )) /dev/zero > {disk}/ballast;
             code=0; {almanac} || code=$?;
             rm {disk}/ballast; rm -rf {after}; mkdir {after}; cp -r {disk}/lake {after}/lake;
             {almanac} >/dev/null 2>&1 || exit 99;
             mkdir {after}/again; cp -r {disk}/lake {after}/again/lake;
             exit $code"
        ))
    };
    let later = JOB
        .replace("2021-03-05", "2021-03-30")
        .replace("naive", "naive,random_walk");
    let wanted = keys(
        &["Coffee"],
        &["naive", "random_walk"],
        days("2021-03-01", "2021-03-30"),
    );
    let (ingest, backfill) = (format!("ingest {prices}"), format!("backfill {later}"));
    for (arguments, room) in [
        (&ingest, 0),
        (&ingest, 12),
        (&backfill, 0),
        (&backfill, 8),
        (&backfill, 16),
        (&backfill, 32),
        (&backfill, 64),
        (&backfill, 128),
        (&backfill, 256),
    ] {
        let how = format!("`{arguments}` with {room} KiB");
        let output = match run(arguments, room) {
            Ok(output) => output,
            Err(reason) => {
                skip(&format!("a small disk cannot be mounted: {reason}"));
                return;
            }
        };
        let found = TestLake::at(&after);
        println!(
            "{how}: exit {:?}, {} keys",
            output.code,
            found.paths().len()
        );
        if output.code != Some(0) {
            let (error, hint) = output.refusal();
            assert!(error.contains("full"), "{how}: {error}");
            assert!(hint.contains("space"), "{how}: {hint}");
        }
        if room == 0 {
            assert_eq!(output.code, Some(1), "{output}");
            assert_eq!(found.versions(), lake.versions(), "{how}");
        }
        // Whatever was committed before the disk was full is whole.
        let paths = found.paths();
        assert_no_key_is_half_written(&paths, 50);
        assert!(
            before
                .iter()
                .all(|(key, rows)| paths.get(key) == Some(rows)),
            "{how}"
        );
        let sugar = found
            .observations()
            .iter()
            .filter(|row| row.0 == "Sugar")
            .count();
        assert!(sugar == 0 || sugar == 1045, "{how}: {sugar} rows");
        let again = TestLake::at(&after.join("again"));
        if arguments == &backfill {
            assert_whole(&again, &wanted, 50);
        } else {
            assert_eq!(again.observations().len(), lake.observations().len() + 1045);
        }
    }
}

#[test]
fn errors_name_no_place_inside_the_program() {
    let lake = TestLake::missing();
    for line in [
        "status",
        "backfill --commodity a --models b --start c --end d",
        "models show x",
    ] {
        let output = lake.run(line);
        assert!(
            !output.stderr.contains(".rs:") && !output.stderr.contains("backtrace"),
            "{output}"
        );
    }
}
