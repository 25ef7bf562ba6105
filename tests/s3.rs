//! Lakes on S3: the same bytes as in a folder, exactly once whatever the store and the network do.
//!
//! A server that speaks S3 runs beside the tests; faults are put between it and the binary by a
//! proxy. What is checked is read from the bucket without almanac, and counted by `almanac sql`.

pub mod bucket;
mod http;
mod proxy;
mod server;

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use almanac_delta::TableName;
use serde_json::Value;

use self::bucket::{Bucket, SECRET, TOKEN};
use self::http::{answer, with_body};
use self::proxy::{Fate, Proxy};
use crate::lake::{Report, TestLake, rounds};
use crate::market::{Chance, Market, days};
use crate::tables::{Key, assert_same, bits, keys, states};
use crate::whole::{assert_no_key_is_half_written, assert_points_equal_a_rebuild, assert_whole};

const PATHS: i32 = 500;
const MODELS: [&str; 2] = ["naive", "random_walk"];
/// Two years, so two chunks.
const FIRST: &str = "2020-12-29";
const LAST: &str = "2021-01-04";

fn market() -> Market {
    Market::usual("Coffee", 41)
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

/// The lake that a folder holds after the same work, undisturbed.
fn in_a_folder(first: &str, last: &str) -> TestLake {
    let lake = TestLake::of(&market());
    lake.job(&backfill(first, last));
    lake
}

fn count(rows: &[Value], name: &str) -> u64 {
    rows[0][name]
        .as_u64()
        .unwrap_or_else(|| panic!("no `{name}` in {rows:?}"))
}

/// Whether the lake on S3 holds exactly these keys, each whole and once, with the bytes of the lake
/// in the folder.
#[track_caller]
fn assert_exact(bucket: &Bucket, wanted: &BTreeSet<Key>, folder: &TestLake) {
    let lake = assert_once(bucket, wanted);
    assert_same(&bits(&lake.paths()), &bits(&folder.paths()), "paths on S3");
    assert_same(
        &states(&lake.models()),
        &states(&folder.models()),
        "states on S3",
    );
}

/// Whether the lake on S3 holds exactly these keys, each whole and once; counted through almanac as
/// well. What is in the bucket.
#[track_caller]
fn assert_once(bucket: &Bucket, wanted: &BTreeSet<Key>) -> TestLake {
    let lake = bucket.download();
    assert_whole(&lake, wanted, PATHS);
    let rows = bucket.sql(
        "SELECT count(*) AS rows, count(DISTINCT concat(commodity, model_name, model_version, forecast_start_date, '/', path_id)) AS once \
         FROM distributions WHERE NOT is_actuals",
    );
    let all = wanted.len() as u64 * PATHS as u64;
    assert_eq!((count(&rows, "rows"), count(&rows, "once")), (all, all));
    let rows = bucket.sql(
        "SELECT count(*) AS rows, count(DISTINCT concat(commodity, model_name, model_version, forecast_start_date, '/', day_ahead)) AS once \
         FROM point_forecasts",
    );
    let all = wanted.len() as u64 * 14;
    assert_eq!((count(&rows, "rows"), count(&rows, "once")), (all, all));
    lake
}

/// Whether every run has one row.
#[track_caller]
fn assert_runs_once(bucket: &Bucket) {
    let rows = bucket.sql("SELECT count(*) AS rows, count(DISTINCT run_id) AS once FROM job_runs");
    assert_eq!(
        count(&rows, "rows"),
        count(&rows, "once"),
        "runs recorded twice"
    );
}

#[test]
fn a_lake_on_s3_holds_the_bytes_of_one_in_a_folder() {
    let Some(bucket) = Bucket::of(&market()) else {
        return;
    };
    let folder = in_a_folder(FIRST, LAST);
    let all = wanted(FIRST, LAST);
    let report = bucket.job(&backfill(FIRST, LAST));
    assert_eq!(report.forecasts(), [all.len() as u64, 0, 0]);
    assert_exact(&bucket, &all, &folder);
    let report = bucket.job(&backfill(FIRST, LAST));
    assert_eq!(report.forecasts(), [0, all.len() as u64, 0]);
    assert_points_equal_a_rebuild(&bucket.download(), &backfill(FIRST, LAST));

    for line in [
        "status",
        "status --stale",
        "history distributions",
        "optimize",
        "vacuum",
        "holidays",
    ] {
        let output = bucket.run(&if line == "holidays" {
            let file = bucket.file("days.csv", "date,is_open\n2021-12-30,false\n");
            format!("holidays {file}")
        } else {
            line.to_owned()
        });
        output.expect(0);
    }
    assert_exact(&bucket, &all, &folder);
    assert_runs_once(&bucket);
}

#[test]
fn overlapping_backfills_on_s3_write_every_key_once() {
    let Some(bucket) = Bucket::new() else {
        return;
    };
    let (first, last) = ("2020-12-27", "2021-01-06");
    let all = wanted(first, last);
    let mut conflicting = 0;
    for round in 0..rounds() {
        let lake = bucket.beside(&format!("round-{round}"));
        lake.fill(&market());
        let pair = [(first, "2021-01-04"), ("2020-12-29", last)]
            .map(|(first, last)| lake.start(&format!("--json {}", backfill(first, last))));
        let reports = pair.map(|running| Report(running.wait().expect(0).json()));
        let conflicts = reports.each_ref().map(|report| report.count("conflicts"));
        let made = reports.each_ref().map(|report| report.forecasts()[0]);
        println!("round {round}: conflicts {conflicts:?}, made {made:?}");
        conflicting += u64::from(conflicts.iter().any(|count| *count > 0));
        assert_eq!(made.iter().sum::<u64>(), all.len() as u64);
        // Which models there are depends on who trained first, so there are no bytes to compare.
        let found = assert_once(&lake, &all);
        assert_runs_once(&lake);
        assert_points_equal_a_rebuild(&found, &backfill(first, last));
    }
    println!("{conflicting} of {} pairs conflicted on S3", rounds());
    if rounds() >= 20 {
        assert!(
            conflicting >= 5,
            "only {conflicting} pairs conflicted: the race is not exercised"
        );
    }
}

#[test]
fn a_store_that_harms_one_request_in_ten_costs_time_and_no_row() {
    const PATIENCE: &str = "2s";
    let Some(bucket) = Bucket::new() else {
        return;
    };
    let folder = in_a_folder(FIRST, LAST);
    for seed in 1..=rounds() {
        let lake = bucket.beside(&format!("seed-{seed}"));
        let proxy = Proxy::unreliable(lake.server(), seed, Duration::from_secs(3));
        let harmed = lake.through(&proxy).with("AWS_TIMEOUT", PATIENCE);
        let path = lake.file("market.csv", &market().csv());
        // A command that gives up all the same says so in one line, and is run again.
        let mut given_up = 0;
        for line in [
            "init".to_owned(),
            format!("ingest {path}"),
            backfill(FIRST, LAST),
            "optimize".to_owned(),
        ] {
            let started = Instant::now();
            loop {
                let output = harmed.run(&line);
                let done = output.code == Some(0)
                    || line == "init" && output.stderr.contains("already a lake");
                if done {
                    break;
                }
                output.trouble(2);
                given_up += 1;
                assert!(given_up < 5, "seed {seed}: {output}");
            }
            println!(
                "seed {seed}: `{}` took {:?}",
                line.split(' ').next().unwrap_or_default(),
                started.elapsed()
            );
        }
        let (requests, faults) = proxy.counts();
        println!(
            "seed {seed}: {faults} of {requests} requests harmed, {given_up} commands given up"
        );
        assert!(
            faults > 10,
            "seed {seed}: only {faults} of {requests} requests were harmed"
        );
        assert_exact(&lake, &wanted(FIRST, LAST), &folder);
        assert_runs_once(&lake);
    }
}

#[test]
fn commits_whose_replies_are_lost_are_made_once() {
    let Some(bucket) = Bucket::of(&market()) else {
        return;
    };
    let folder = in_a_folder(FIRST, LAST);
    let lost = Mutex::new(BTreeSet::new());
    let proxy = Proxy::before(bucket.server(), move |request| {
        let is_first = || {
            lost.lock()
                .expect("no rule panics")
                .insert(request.target.clone())
        };
        if request.is_commit() && is_first() {
            Fate::ServeAndClose
        } else {
            Fate::Serve
        }
    });
    let all = wanted(FIRST, LAST);
    let report = Report(
        bucket
            .through(&proxy)
            .run(&format!("--json {}", backfill(FIRST, LAST)))
            .expect(0)
            .json(),
    );
    let (_, lost) = proxy.counts();
    println!("{lost} replies to commits were lost");
    assert!(lost >= 7, "three tables, two chunks and the run: {lost}");
    assert_eq!(
        (report.forecasts(), report.count("conflicts")),
        ([all.len() as u64, 0, 0], 0)
    );
    assert_exact(&bucket, &all, &folder);
    assert_runs_once(&bucket);
}

#[test]
fn commits_whose_replies_come_too_late_are_made_once() {
    let Some(bucket) = Bucket::of(&market()) else {
        return;
    };
    let folder = in_a_folder(FIRST, LAST);
    let proxy = Proxy::before(bucket.server(), |request| {
        if request.is_commit() {
            Fate::ServeInSilence(Duration::from_millis(1500))
        } else {
            Fate::Serve
        }
    });
    let all = wanted(FIRST, LAST);
    let late = bucket.through(&proxy).with("AWS_TIMEOUT", "1s");
    let report = late.job(&backfill(FIRST, LAST));
    assert_eq!(
        (report.forecasts(), report.count("conflicts")),
        ([all.len() as u64, 0, 0], 0)
    );
    assert_exact(&bucket, &all, &folder);
    assert_runs_once(&bucket);
}

#[test]
fn a_driver_killed_on_s3_is_finished_by_the_next() {
    let Some(bucket) = Bucket::new() else {
        return;
    };
    let folder = in_a_folder(FIRST, LAST);
    let all = wanted(FIRST, LAST);
    let finish = |lake: &Bucket, how: &str| {
        let found = lake.download().paths();
        assert_no_key_is_half_written(&found, PATHS);
        let report = lake.job(&backfill(FIRST, LAST));
        println!(
            "{how}: {} of {} keys were there; the rerun made {:?}",
            found.len(),
            all.len(),
            report.forecasts()
        );
        let present = found.len() as u64;
        assert_eq!(
            report.forecasts(),
            [all.len() as u64 - present, present, 0],
            "{how}"
        );
        assert_exact(lake, &all, &folder);
    };
    for point in [
        "after_manifest",
        "before_commit:forecast/distributions",
        "after_commit_put:forecast/distributions",
        "between_tables",
    ] {
        let lake = bucket.beside(&point.replace([':', '/'], "-"));
        lake.fill(&market());
        let output = lake
            .with("ALMANAC_CRASH_AT", point)
            .run(&backfill(FIRST, LAST));
        assert_eq!(output.signal, Some(9), "{point} was not reached: {output}");
        finish(&lake, point);
    }
    let timed = bucket.beside("timed");
    timed.fill(&market());
    let started = Instant::now();
    timed.job(&backfill(FIRST, LAST));
    let whole = started.elapsed();
    for seed in 1..=rounds() {
        let lake = bucket.beside(&format!("killed-{seed}"));
        lake.fill(&market());
        let mut running = lake.start(&backfill(FIRST, LAST));
        std::thread::sleep(whole.mul_f64(Chance::new(seed).uniform()));
        running.kill();
        let signal = running.wait().signal;
        finish(&lake, &format!("seed {seed}, signal {signal:?}"));
    }
}

#[test]
fn optimize_ingest_and_backfill_racing_on_s3_lose_and_double_nothing() {
    let Some(bucket) = Bucket::new() else {
        return;
    };
    let late = Market::walk("Coffee", 63, "2022-01-03", "2022-01-31");
    let weeks = [
        ("2021-05-01", "2021-05-06"),
        ("2021-05-07", "2021-05-12"),
        ("2021-05-13", "2021-05-18"),
    ];
    let race = ("2021-05-19", "2021-05-28");
    let folder = TestLake::of(&market());
    for (first, last) in weeks.into_iter().chain([race]) {
        folder.job(&backfill(first, last));
    }
    folder.ingest(&late);
    for round in 0..rounds() {
        let lake = bucket.beside(&format!("round-{round}"));
        lake.fill(&market());
        for (first, last) in weeks {
            lake.job(&backfill(first, last));
        }
        let path = lake.file("late.csv", &late.csv());
        let lines = [
            "optimize".to_owned(),
            format!("ingest {path}"),
            backfill(race.0, race.1),
            "optimize".to_owned(),
        ];
        for running in lines.map(|line| lake.start(&line)) {
            running.wait().expect(0);
        }
        assert_exact(&lake, &wanted("2021-05-01", race.1), &folder);
        assert_eq!(lake.download().observations(), folder.observations());
        lake.run("optimize").expect(0);
        assert_exact(&lake, &wanted("2021-05-01", race.1), &folder);
        assert_runs_once(&lake);
    }
}

/// Whether a key is a data file of a table.
fn is_data(key: &str) -> bool {
    key.ends_with(".parquet") && !key.contains("/_")
}

#[test]
fn vacuum_during_a_backfill_on_s3_removes_old_orphans_and_nothing_else() {
    let Some(bucket) = Bucket::of(&market()) else {
        return;
    };
    let (first, last) = ("2021-05-01", "2021-06-30");
    let folder = in_a_folder(first, last);
    // What crashes and an optimize leave behind: data files that no version needs, manifests, runs.
    bucket.job(&backfill(first, "2021-05-03"));
    bucket.job(&backfill("2021-05-04", "2021-05-06"));
    let crash = bucket.with("ALMANAC_CRASH_AT", "before_commit:forecast/distributions");
    assert_eq!(
        crash.run(&backfill("2021-05-07", "2021-05-09")).signal,
        Some(9)
    );
    bucket.run("optimize").expect(0);
    let lake = bucket.download();
    let live: BTreeSet<String> = TableName::ALL
        .into_iter()
        .flat_map(|name| lake.table(name).files().to_vec())
        .map(|file| format!("{}/{}", "a lake/of tests", file.path))
        .collect();
    let old: BTreeSet<String> = bucket.keys().iter().map(ToString::to_string).collect();
    let doomed: BTreeSet<&String> = old
        .iter()
        .filter(|key| {
            is_data(key) && !live.contains(*key)
                || key.contains("/_almanac/manifests/")
                || key.contains("/_almanac/runs/")
        })
        .collect();
    assert!(doomed.len() > 5, "{doomed:?}");

    // To whoever asks through this proxy, all that is there now is years old.
    let aged: Vec<String> = old.iter().map(|key| format!("<Key>{key}</Key>")).collect();
    let proxy = Proxy::before(bucket.server(), move |request| {
        if request.method != "GET" || !request.target.contains("list-type=2") {
            return Fate::Serve;
        }
        let aged = aged.clone();
        Fate::Change(Box::new(move |whole| {
            with_body(&whole, |body| age(&body, &aged))
        }))
    });
    let mut running = bucket.start(&backfill(first, last));
    let mut vacuums = 0;
    while !running.has_ended() || vacuums == 0 {
        bucket.through(&proxy).run("vacuum").expect(0);
        vacuums += 1;
    }
    running.wait().expect(0);
    bucket.through(&proxy).run("vacuum").expect(0);
    println!(
        "{vacuums} vacuums beside the backfill, {} orphans",
        doomed.len()
    );
    let left: BTreeSet<String> = bucket.keys().iter().map(ToString::to_string).collect();
    let stayed: Vec<_> = doomed.iter().filter(|key| left.contains(**key)).collect();
    assert!(stayed.is_empty(), "orphans that stayed: {stayed:?}");
    let lost: Vec<_> = live.iter().filter(|key| !left.contains(*key)).collect();
    assert!(lost.is_empty(), "live files that are gone: {lost:?}");
    assert_exact(&bucket, &wanted(first, last), &folder);
}

/// A listing in which some objects were last written years ago.
fn age(listing: &str, keys: &[String]) -> String {
    const WRITTEN: &str = "<LastModified>";
    let mut text = String::new();
    for (index, part) in listing.split("<Contents>").enumerate() {
        if index > 0 {
            text.push_str("<Contents>");
        }
        match part.split_once(WRITTEN) {
            Some((before, after)) if keys.iter().any(|key| before.contains(key.as_str())) => {
                let (_, rest) = after.split_once('<').expect("the end of the date");
                text.push_str(&format!("{before}{WRITTEN}2019-01-01T00:00:00.000Z<{rest}"));
            }
            _ => text.push_str(part),
        }
    }
    text
}

#[test]
fn a_big_object_goes_up_in_parts_even_when_the_answer_to_its_end_is_lost() {
    let Some(bucket) = Bucket::of(&market()) else {
        return;
    };
    let folder = TestLake::of(&market());
    let heavy = "[models.heavy]\nfamily = \"drill\"\n[models.heavy.params]\nmode = \"big_state\"\nbytes = 20000000\n";
    bucket.file("almanac.toml", heavy);
    folder.configure(heavy);
    let (parts, ends) = (Arc::new(AtomicU64::new(0)), AtomicU64::new(0));
    let counted = Arc::clone(&parts);
    let proxy = Proxy::before(bucket.server(), move |request| {
        if !request.target.contains("uploadId=") {
            return Fate::Serve;
        }
        let is_end = request.method == "POST";
        counted.fetch_add(u64::from(!is_end), Ordering::SeqCst);
        if is_end && ends.fetch_add(1, Ordering::SeqCst) == 0 {
            return Fate::ServeAndClose;
        }
        Fate::Serve
    });
    let line = "train --commodity Coffee --models heavy --start 2021-01-01 --end 2021-01-03 --frequency monthly \
                --model-version v1";
    let report = bucket.through(&proxy).job(line);
    assert_eq!(report.trained(), [1, 0, 0]);
    let parts = parts.load(Ordering::SeqCst);
    println!("{parts} parts");
    assert!(parts >= 3, "{parts} parts");
    folder.job(line);
    let lake = bucket.download();
    assert_same(
        &states(&lake.models()),
        &states(&folder.models()),
        "big states",
    );
    let big = |lake: &TestLake| -> Vec<(PathBuf, Vec<u8>)> {
        let files = lake.files().into_iter();
        files
            .filter(|path| path.starts_with("_almanac/states"))
            .map(|path| {
                let content = fs::read(lake.root().join(&path)).expect("a state");
                (path, content)
            })
            .collect()
    };
    assert_eq!(big(&lake).len(), 1);
    assert!(big(&lake) == big(&folder), "the stored states differ");
}

/// A store's own words for a request that it refuses.
fn refused(status: &str, code: &str, message: &str) -> Vec<u8> {
    answer(
        status,
        &format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message>\
             <AWSAccessKeyId>{}</AWSAccessKeyId><StringToSign>AWS4-HMAC-SHA256 {SECRET}</StringToSign>\
             <CanonicalRequest>GET\nx-amz-security-token:{TOKEN}\n</CanonicalRequest><RequestId>1</RequestId></Error>",
            bucket::KEY
        ),
    )
}

/// Runs a command that must end at once with one line and a hint; with exit code 2 when the store may
/// be well the next time, else with 1.
#[track_caller]
fn refusal(bucket: &Bucket, line: &str) -> (String, String) {
    let started = Instant::now();
    let output = bucket.run(line);
    let passing = output.stderr.contains("committed");
    let (error, hint) = output.trouble(if passing { 2 } else { 1 });
    let took = started.elapsed();
    println!("{took:.1?}: {error}\n      {hint}");
    assert!(took < Duration::from_secs(20), "{took:?}: {error}");
    for secret in [SECRET, TOKEN, bucket::KEY] {
        assert!(
            !error.contains(secret) && !hint.contains(secret),
            "{error} {hint}"
        );
    }
    (error, hint)
}

#[test]
fn what_is_wrong_with_a_bucket_shows_in_one_line_within_seconds() {
    let Some(bucket) = Bucket::of(&market()) else {
        return;
    };
    let assert_says = |bucket: &Bucket, said: &str, advised: &str| {
        let fresh = bucket.beside("fresh");
        for (bucket, line) in [
            (bucket, "status"),
            (&fresh, "init"),
            (bucket, "vacuum --dry-run"),
        ] {
            let (error, hint) = refusal(bucket, line);
            assert!(error.contains(said), "{line}: {error}");
            assert!(hint.contains(advised), "{line}: {hint}");
        }
    };
    // Port 1 of this machine answers nobody.
    assert_says(
        &bucket.at(1),
        "nothing answers at http://127.0.0.1:1",
        "AWS_ENDPOINT_URL",
    );
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = bucket.at(silent.local_addr().unwrap().port());
    assert_says(
        &silent.with("AWS_TIMEOUT", "2s"),
        "no answer in time",
        "run the same command again",
    );
    assert_says(
        &bucket.with("AWS_ENDPOINT_URL", "http://almanac.invalid"),
        "is not encrypted",
        "AWS_ALLOW_HTTP=true",
    );
    assert_says(
        &bucket
            .with("AWS_ENDPOINT_URL", "http://almanac.invalid")
            .with("AWS_ALLOW_HTTP", "true"),
        "nothing answers at http://almanac.invalid",
        "AWS_ENDPOINT_URL",
    );
    assert_says(
        &bucket.with("AWS_ENDPOINT_URL", "127.0.0.1:9000"),
        "endpoint",
        "https:// URL",
    );
    assert_says(
        &bucket.with("AWS_SECRET_ACCESS_KEY", ""),
        "AWS_SECRET_ACCESS_KEY is not",
        "AWS_SESSION_TOKEN",
    );
    assert_says(
        &bucket
            .with("AWS_ACCESS_KEY_ID", "")
            .with("AWS_SECRET_ACCESS_KEY", "")
            .with("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1"),
        "no credentials were found",
        "AWS_ACCESS_KEY_ID",
    );
    for (status, code, message, advised) in [
        (
            "403 Forbidden",
            "InvalidAccessKeyId",
            "The AWS Access Key Id you provided does not exist in our records.",
            "AWS_ACCESS_KEY_ID",
        ),
        (
            "403 Forbidden",
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match.",
            "AWS_SECRET_ACCESS_KEY",
        ),
        (
            "403 Forbidden",
            "AccessDenied",
            "Access Denied",
            "s3:GetObject",
        ),
        (
            "400 Bad Request",
            "ExpiredToken",
            "The provided token has expired.",
            "AWS_SESSION_TOKEN",
        ),
        (
            "301 Moved Permanently",
            "PermanentRedirect",
            "The bucket must be addressed elsewhere.",
            "AWS_REGION",
        ),
        (
            "404 Not Found",
            "NoSuchBucket",
            "The specified bucket does not exist",
            "make the bucket",
        ),
        (
            "503 Service Unavailable",
            "SlowDown",
            "Please reduce your request rate.",
            "when the store is well",
        ),
    ] {
        let proxy = Proxy::before(bucket.server(), move |_| {
            Fate::Answer(refused(status, code, message))
        });
        // A redirect without an address is all that is left of the fourth.
        let said = if code == "PermanentRedirect" {
            "elsewhere"
        } else {
            code
        };
        assert_says(&bucket.through(&proxy), said, advised);
    }
    let (error, hint) = refusal(&bucket.beside("another"), "status");
    assert!(error.contains("no lake at `s3://"), "{error}");
    assert!(hint.contains("init"), "{hint}");
    let output = bucket
        .command("status")
        .args(["--lake", "s3://AKID:hush@bucket/lake"])
        .output();
    let output = String::from_utf8(output.unwrap().stderr).unwrap();
    assert!(!output.contains("hush"), "{output}");
}

#[test]
fn a_store_without_conditional_puts_is_refused_before_any_work() {
    let Some(bucket) = Bucket::of(&market()) else {
        return;
    };
    let before = bucket.objects();
    let overwrites = Proxy::before(bucket.server(), |request| {
        Fate::ServeAs(request.clone().without("if-none-match"))
    });
    let refuses = Proxy::before(bucket.server(), |request| {
        if request.has("if-none-match") {
            Fate::Answer(refused(
                "501 Not Implemented",
                "NotImplemented",
                "A header you provided implies functionality that is not implemented",
            ))
        } else {
            Fate::Serve
        }
    });
    for proxy in [overwrites, refuses] {
        let without = bucket.through(&proxy);
        let path = bucket.file("market.csv", &market().csv());
        for line in [
            backfill(FIRST, LAST),
            format!("ingest {path}"),
            "optimize".to_owned(),
        ] {
            let (error, hint) = refusal(&without, &line);
            assert!(
                error.contains("overwrites") || error.contains("NotImplemented"),
                "{error}"
            );
            assert!(hint.contains("If-None-Match"), "{hint}");
        }
        assert!(
            bucket.objects() == before,
            "a refused command changed the lake"
        );
        refusal(&without.beside("fresh"), "init");
        assert_eq!(
            without.sql("SELECT count(*) AS rows FROM distributions")[0]["rows"],
            0
        );
    }
}

#[test]
fn secrets_are_seen_nowhere() {
    let Some(bucket) = Bucket::new() else {
        return;
    };
    let path = bucket.file("market.csv", &market().csv());
    let mut seen = String::new();
    for line in [
        "init".to_owned(),
        format!("ingest {path}"),
        backfill(FIRST, LAST),
        "status".to_owned(),
        "optimize".to_owned(),
        "vacuum".to_owned(),
    ] {
        let output = bucket.run(&format!("-vv {line}")).expect(0);
        seen.push_str(&output.to_string());
    }
    seen.push_str(&format!("{:?}", bucket.sql("SELECT * FROM job_runs")));
    seen.push_str(&format!(
        "{:?}",
        bucket.sql("EXPLAIN VERBOSE SELECT * FROM distributions")
    ));
    // A store that repeats the whole request in its refusal, at first and amid the work.
    let puts = AtomicU64::new(0);
    let proxy = Proxy::before(bucket.server(), move |request| {
        let is_put = u64::from(request.method == "PUT");
        if puts.fetch_add(is_put, Ordering::SeqCst) + is_put > 4 {
            return Fate::Answer(refused(
                "403 Forbidden",
                "SignatureDoesNotMatch",
                "No match.",
            ));
        }
        Fate::Serve
    });
    let output = bucket
        .through(&proxy)
        .run(&format!("-vv {}", backfill("2021-03-01", "2021-03-04")));
    assert_eq!(output.code, Some(1), "{output}");
    assert!(output.stderr.contains("SignatureDoesNotMatch"), "{output}");
    seen.push_str(&output.to_string());
    for secret in [SECRET, TOKEN] {
        assert!(!seen.contains(secret), "a secret is in what a command says");
        for (key, content) in bucket.objects() {
            assert!(
                !content
                    .windows(secret.len())
                    .any(|window| window == secret.as_bytes()),
                "a secret is in `{key}`"
            );
        }
    }
}
