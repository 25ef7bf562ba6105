//! The same job on a cluster of real processes: one result, one stage, and nothing lost with a worker.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::lake::{Output, Report, Running, TestLake, rounds};
use crate::market::{Chance, Market, days};
use crate::processes::{Cluster, almanac, signal, until};
use crate::s3::bucket::{Bucket, SECRET, TOKEN};
use crate::tables::{Key, assert_same, bits, keys, states, without_runs};
use crate::whole::assert_whole;

const MODELS: [&str; 3] = ["naive", "random_walk", "linear_regression"];
const FIRST: &str = "2020-12-20";
const LAST: &str = "2021-01-20";
const PATHS: i32 = 200;

fn prepared() -> TestLake {
    TestLake::of(&Market::usual("Coffee", 1).and(Market::usual("Sugar", 2)))
}

fn backfill() -> String {
    format!(
        "--slices 12 backfill --commodity Coffee,Sugar --models {} --start {FIRST} --end {LAST} --frequency biweekly \
         --model-version v1 --paths {PATHS}",
        MODELS.join(",")
    )
}

fn wanted() -> BTreeSet<Key> {
    keys(&["Coffee", "Sugar"], &MODELS, days(FIRST, LAST))
}

#[track_caller]
fn assert_one_result(found: &TestLake, expected: &TestLake, who: &str) {
    assert_whole(found, &wanted(), PATHS);
    let what = |of: &str| format!("{of} from {who}");
    assert_same(
        &states(&found.models()),
        &states(&expected.models()),
        &what("states"),
    );
    assert_same(
        &bits(&found.paths()),
        &bits(&expected.paths()),
        &what("paths"),
    );
    assert_same(
        &without_runs(found.points()),
        &without_runs(expected.points()),
        &what("points"),
    );
}

#[test]
fn embedded_and_cluster_give_the_same_bytes_in_one_stage() {
    let lake = prepared();
    let one = lake.copy();
    one.job(&format!("--threads 1 {}", backfill()));
    let eight = lake.copy();
    eight.job(&format!("--threads 8 {}", backfill()));
    assert_one_result(&eight, &one, "eight threads");

    let cluster = Cluster::start(2);
    let output = cluster
        .run(&lake, &format!("--json -vv {}", backfill()))
        .expect(0);
    let report = Report(output.json());
    assert_eq!(report.forecasts(), [wanted().len() as u64, 0, 0]);
    assert_one_result(&lake, &one, "a cluster of two");
    // What the scheduler's own graph of each job said.
    let graphs: Vec<&str> = output
        .stderr
        .lines()
        .filter(|line| line.contains("a job's plan has run on the cluster"))
        .collect();
    assert!(graphs.len() >= 4, "{} plans ran", graphs.len());
    assert!(
        graphs.iter().all(|line| line.contains("stages=1")),
        "{graphs:#?}"
    );

    // What a run was made on is on record.
    let engines = lake.sql("SELECT DISTINCT engine FROM forecast.job_runs WHERE kind = 'backfill'");
    assert_eq!(engines[0]["engine"], format!("cluster {}", cluster.url()));
    let again = cluster.job(&lake, &backfill());
    assert_eq!(again.forecasts(), [0, wanted().len() as u64, 0]);
}

#[test]
fn a_lake_on_s3_has_the_same_bytes_from_a_cluster_that_loses_an_executor() {
    let market = Market::usual("Coffee", 1).and(Market::usual("Sugar", 2));
    let Some(bucket) = Bucket::of(&market) else {
        return;
    };
    let expected = prepared();
    expected.job(&format!("--threads 1 {}", backfill()));
    let mut cluster = Cluster::within(2, &["-vv"], bucket.environment());
    let url = cluster.url();
    let mut job = bucket.start(&format!("--cluster {url} --json {}", backfill()));
    until("a slice is done", || {
        assert!(!job.has_ended(), "the job is over before the executor dies");
        let manifest =
            |path: &object_store::path::Path| path.as_ref().contains("_almanac/manifests/");
        bucket.keys().iter().any(manifest).then_some(())
    });
    cluster.executors[0].kill();
    let output = job.wait().expect(0);
    assert_eq!(
        Report(output.json()).forecasts(),
        [wanted().len() as u64, 0, 0]
    );
    assert_one_result(&bucket.download(), &expected, "a cluster on S3");
    // No secret is in what any process says at its most talkative, nor in the records.
    let again = bucket.run(&format!("--cluster {url} --json -vv {}", backfill()));
    let again = again.expect(0);
    let mut said = vec![again.stderr, again.stdout];
    for process in cluster
        .executors
        .iter_mut()
        .skip(1)
        .chain([&mut cluster.scheduler])
    {
        process.signal("TERM");
        said.push(process.ended().1);
    }
    let runs = bucket.sql("SELECT * FROM job_runs");
    said.push(serde_json::Value::Array(runs).to_string());
    for text in &said {
        assert!(text.len() > 100, "{text}");
        for secret in [SECRET, TOKEN] {
            assert!(!text.contains(secret), "a secret is told");
        }
    }
}

#[test]
fn twenty_models_and_five_hundred_commodities_are_one_stage_each() {
    let cluster = Cluster::start(2);
    let settings = (1..=20).fold(String::new(), |mut text, number| {
        writeln!(
            text,
            "[models.mean_{number}]\nfamily = \"window_mean\"\n[models.mean_{number}.params]\nwindow = {}",
            2 * number
        )
        .expect("text grows");
        text
    });
    let names: Vec<String> = (1..=20).map(|number| format!("mean_{number}")).collect();
    let twenty = TestLake::of(&Market::usual("Coffee", 131));
    twenty.configure(&settings);
    let count = 500;
    let series: Vec<String> = (0..count)
        .map(|number| format!("series_{number:03}"))
        .collect();
    let market = series
        .iter()
        .zip(0..)
        .fold(None::<Market>, |market, (name, seed)| {
            let own = Market::usual(name, seed);
            Some(match market {
                None => own,
                Some(market) => market.and(own),
            })
        });
    let many = TestLake::init("--buckets 16");
    many.ingest(&market.expect("series"));
    let requests = [
        (&twenty, "Coffee".to_owned(), names.join(","), 20 * 3),
        (&many, "*".to_owned(), "naive".to_owned(), count * 3),
    ];
    for (lake, commodity, models, wanted) in requests {
        let line = format!(
            "--json -vv backfill --commodity {commodity} --models {models} --start 2021-03-01 --end 2021-03-03 \
             --frequency monthly --model-version v1 --paths 20"
        );
        let alone = lake.copy();
        alone.job(line.trim_start_matches("--json -vv "));
        let output = cluster.run(lake, &line).expect(0);
        assert_eq!(Report(output.json()).forecasts(), [wanted, 0, 0]);
        let graphs: Vec<&str> = output
            .stderr
            .lines()
            .filter(|line| line.contains("a job's plan has run on the cluster"))
            .collect();
        assert!(graphs.len() >= 2, "{output}");
        assert!(
            graphs.iter().all(|line| line.contains("stages=1")),
            "{graphs:#?}"
        );
        assert_same(&bits(&lake.paths()), &bits(&alone.paths()), "paths");
    }
}

#[test]
fn a_schedule_of_megabytes_reaches_the_tasks_and_leaves_nothing_behind() {
    let cluster = Cluster::start(2);
    let lake = TestLake::of(&Market::usual("Coffee", 1));
    lake.configure(
        "[models.big]\nfamily = \"drill\"\n[models.big.params]\nmode = \"big_state\"\nbytes = 3000000\n",
    );
    let alone = lake.copy();
    let line = "backfill --commodity Coffee --models big,naive --start 2021-03-01 --end 2021-03-04 --frequency monthly \
                --model-version v1 --paths 20";
    alone.job(line);
    let report = cluster.job(&lake, line);
    assert_eq!(report.forecasts(), [8, 0, 0]);
    assert_same(&bits(&lake.paths()), &bits(&alone.paths()), "paths");
    // The forecast's plan carries the state, and is what the payload was for.
    let output = cluster
        .run(
            &lake,
            &format!("--json -vv {}", line.replace("03-04", "03-05")),
        )
        .expect(0);
    let told = output.stderr.matches("large units are an object").count();
    assert!(told >= 1, "no payload was put down");
    let left = lake
        .files()
        .into_iter()
        .filter(|path| path.starts_with("_almanac/payloads"))
        .count();
    assert_eq!(left, 0, "payloads of plans that have run");
}

/// How long it may take to notice a loss, with much to spare on a busy machine.
const NOTICED: Duration = Duration::from_secs(25);
const LONG: (&str, &str) = ("2020-11-01", "2021-02-28");

/// A job that takes a few seconds on two cores.
fn long_backfill() -> String {
    format!(
        "--slices 12 backfill --commodity Coffee,Sugar --models {} --start {} --end {} --frequency biweekly \
         --model-version v1 --paths 2000",
        MODELS.join(","),
        LONG.0,
        LONG.1
    )
}

fn long_wanted() -> BTreeSet<Key> {
    keys(&["Coffee", "Sugar"], &MODELS, days(LONG.0, LONG.1))
}

#[track_caller]
fn assert_all_there(lake: &TestLake) {
    assert_whole(lake, &long_wanted(), 2000);
}

fn pause(chance: &mut Chance, most: u64) -> Duration {
    Duration::from_millis((chance.uniform() * most as f64) as u64)
}

/// Waits until the job has begun, and then as long as is said.
fn under_way(lake: &TestLake, job: &mut Running, pause: Duration) {
    until("the job begins", || {
        let begun = lake
            .root()
            .join("_almanac/runs")
            .read_dir()
            .is_ok_and(|mut runs| runs.next().is_some());
        (begun || job.has_ended()).then_some(())
    });
    std::thread::sleep(pause);
}

#[test]
fn executors_that_die_cost_their_tasks_and_nothing_else() {
    let base = prepared();
    let expected = base.copy();
    let undisturbed = {
        let cluster = Cluster::start(2);
        let begun = Instant::now();
        cluster.job(&expected, &long_backfill());
        begun.elapsed()
    };
    let mut chance = Chance::new(7);
    let (mut hit, mut tried) = (0, 0);
    while hit < rounds() {
        tried += 1;
        assert!(
            tried < 4 * rounds() + 8,
            "the job is over before anything dies"
        );
        let cluster = Cluster::start(2);
        let lake = base.copy();
        let begun = Instant::now();
        let mut job = lake.start(&cluster.line(&format!("--json {}", long_backfill())));
        under_way(&lake, &mut job, undisturbed.mul_f64(0.7 * chance.uniform()));
        if job.has_ended() {
            continue;
        }
        hit += 1;
        let victim = usize::from(chance.uniform() < 0.5);
        // One in five is asked to stop; the others die as by a power cut.
        let signal = if hit % 5 == 1 { "TERM" } else { "KILL" };
        cluster.executors[victim].signal(signal);
        let died = begun.elapsed();
        let output = job.wait().expect(0);
        let took = begun.elapsed();
        println!(
            "round {hit}: SIG{signal} after {died:.1?}; the job took {took:.1?}, undisturbed {undisturbed:.1?}"
        );
        let report = Report(output.json());
        assert_eq!(report.forecasts(), [long_wanted().len() as u64, 0, 0]);
        assert_all_there(&lake);
        assert_same(&bits(&lake.paths()), &bits(&expected.paths()), "paths");
        assert!(took < undisturbed * 4 + NOTICED, "the job hung: {took:?}");
    }
}

#[test]
fn an_executor_that_is_asked_to_stop_finishes_what_it_has() {
    let mut cluster = Cluster::start(2);
    let lake = prepared();
    let mut job = lake.start(&cluster.line(&format!("--json {}", long_backfill())));
    under_way(&lake, &mut job, Duration::from_millis(300));
    cluster.executors[0].signal("TERM");
    let (code, text) = cluster.executors[0].ended();
    assert_eq!(code, Some(0), "{text}");
    job.wait().expect(0);
    assert_all_there(&lake);
}

#[test]
fn a_lost_scheduler_is_one_line_and_the_rerun_is_clean() {
    let base = prepared();
    let mut chance = Chance::new(11);
    let (mut hit, mut tried) = (0, 0);
    while hit < rounds() {
        tried += 1;
        assert!(
            tried < 4 * rounds() + 8,
            "the job is over before the scheduler dies"
        );
        let mut cluster = Cluster::start(2);
        let lake = base.copy();
        let mut job = lake.start(&cluster.line(&long_backfill()));
        under_way(&lake, &mut job, pause(&mut chance, 1200));
        let died = Instant::now();
        cluster.scheduler.kill();
        let output = job.wait();
        if output.code == Some(0) {
            continue;
        }
        hit += 1;
        println!(
            "round {hit}: the job ended {:.1?} after its scheduler",
            died.elapsed()
        );
        let (error, hint) = output.trouble(2);
        assert!(
            error.contains(&cluster.url()) && error.contains("is lost"),
            "{error}"
        );
        assert!(hint.contains("start the scheduler again"), "{hint}");
        cluster.restart_scheduler();
        cluster.job(&lake, &long_backfill());
        assert_all_there(&lake);
    }
}

/// Manifests that slices have left and no commit has taken up.
fn manifests(lake: &TestLake) -> BTreeSet<std::path::PathBuf> {
    let files = lake.files().into_iter();
    files
        .filter(|path| path.starts_with("_almanac/manifests"))
        .collect()
}

#[test]
fn when_the_last_executor_dies_the_job_says_so_and_does_nothing_twice() {
    let mut cluster = Cluster::start(1);
    let lake = prepared();
    let mut job = lake.start(&cluster.line(&long_backfill()));
    // Two of the forecasts' slices are done.
    until("slices are done", || {
        assert!(!job.has_ended(), "the job is over before the executor dies");
        (lake.paths().is_empty() && manifests(&lake).len() >= 2).then_some(())
    });
    cluster.executors[0].kill();
    let said = format!("waiting: no executor is connected to {}", cluster.url());
    std::thread::sleep(Duration::from_secs(12));
    assert!(!job.has_ended());
    cluster.add_executor();
    let output = job.wait().expect(0);
    assert_eq!(output.stderr.matches(&said).count(), 1, "{output}");
    assert_all_there(&lake);
    // Only the slice that was at work when it died has left files that nobody reads.
    let snapshot = lake.table(almanac_delta::TableName::Distributions);
    let live = snapshot.files().len();
    let there = lake
        .files()
        .into_iter()
        .filter(|path| {
            path.starts_with("forecast/distributions")
                && path.extension().is_some_and(|kind| kind == "parquet")
        })
        .count();
    assert!(
        there <= live + 2,
        "{there} files for {live} that count: slices were done twice"
    );
}

#[test]
fn an_interrupted_job_ends_its_tasks_too() {
    let cluster = Cluster::start(1);
    let lake = prepared();
    let mut job = lake.start(&cluster.line(&long_backfill()));
    until("a slice is done", || {
        assert!(!job.has_ended(), "the job is over before it is interrupted");
        (!manifests(&lake).is_empty()).then_some(())
    });
    signal(job.id(), "INT");
    let output = job.wait();
    assert_eq!(output.code, Some(1), "{output}");
    std::thread::sleep(Duration::from_millis(300));
    let then = manifests(&lake);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(
        manifests(&lake),
        then,
        "tasks went on after the interruption"
    );
    cluster.job(&lake, &long_backfill());
    assert_all_there(&lake);
}

#[test]
fn sql_believes_no_rows_that_an_executor_was_lost_under() {
    let lake = prepared();
    lake.job(&long_backfill());
    let query = "SELECT a.commodity, a.model_name, count(*) AS n, round(sum(b.day_2), 3) AS s FROM distributions a \
                 JOIN distributions b ON a.commodity = b.commodity AND a.model_name = b.model_name AND \
                 a.forecast_start_date = b.forecast_start_date AND a.path_id = b.path_id \
                 GROUP BY 1, 2 ORDER BY 1, 2";
    let expected = serde_json::Value::Array(lake.sql(query));
    let mut chance = Chance::new(31);
    for round in 0..rounds() {
        let mut cluster = Cluster::start(2);
        let mut command = almanac(&["--cluster", &cluster.url(), "--json", "--lake"]);
        command
            .arg(lake.root())
            .args(["sql", query])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        std::thread::sleep(pause(&mut chance, 900));
        let hit = child.try_wait().expect("a child can be asked").is_none();
        if round % 2 == 0 {
            cluster.executors[0].kill();
        } else {
            // Given up, and back under its own name.
            cluster.executors[0].signal("STOP");
            std::thread::sleep(Duration::from_secs(8));
            cluster.executors[0].signal("CONT");
        }
        let output = Output::of_child(query, child).expect(0);
        println!(
            "round {round}: {} the query",
            if hit { "during" } else { "after" }
        );
        assert_eq!(output.json(), expected);
    }
}

#[test]
fn a_scheduler_that_comes_back_at_once_costs_a_round() {
    let mut cluster = Cluster::start(2);
    let lake = prepared();
    let mut job = lake.start(&cluster.line(&long_backfill()));
    under_way(&lake, &mut job, Duration::from_millis(700));
    cluster.restart_scheduler();
    job.wait().expect(0);
    assert_all_there(&lake);
}

#[test]
fn a_job_without_executors_says_that_it_waits_and_goes_on_when_one_comes() {
    let mut cluster = Cluster::start(0);
    let lake = prepared();
    let mut job = lake.start(&cluster.line(&backfill()));
    under_way(&lake, &mut job, Duration::from_secs(4));
    assert!(!job.has_ended());
    cluster.add_executor();
    let output = job.wait().expect(0);
    let said = format!("waiting: no executor is connected to {}", cluster.url());
    assert_eq!(output.stderr.matches(&said).count(), 1, "{output}");
    assert_whole(&lake, &wanted(), PATHS);
}

#[test]
fn an_interrupted_job_takes_its_work_off_the_cluster() {
    let mut cluster = Cluster::start(0);
    let lake = prepared();
    let waiting = lake.start(&cluster.line(&long_backfill()));
    std::thread::sleep(Duration::from_secs(3));
    signal(waiting.id(), "INT");
    let output = waiting.wait();
    assert_eq!(output.code, Some(1), "{output}");
    assert!(
        output
            .stderr
            .contains("error: interrupted; the work on the cluster was cancelled"),
        "{output}"
    );
    let runs = lake.sql("SELECT status FROM forecast.job_runs WHERE kind = 'backfill'");
    assert_eq!(runs.len(), 1, "{runs:?}");
    // Were it still there, the executor would now do it.
    cluster.add_executor();
    let small = "--slices 1 backfill --commodity Coffee --models naive --start 2021-03-01 --end 2021-03-01 \
                 --frequency monthly --model-version v2 --paths 10";
    cluster.job(&lake, small);
    let left = lake
        .files()
        .into_iter()
        .filter(|path| path.starts_with("_almanac/manifests"))
        .count();
    assert_eq!(left, 0, "a slice of the interrupted job was run");
    assert!(lake.paths().keys().all(|key| key.version == "v2"));
}

#[test]
fn sql_on_the_cluster_gives_what_the_embedded_engine_gives() {
    let cluster = Cluster::start(2);
    let lake = prepared();
    lake.job(&backfill());
    for query in [
        "SELECT commodity, model_name, count(*) AS n, round(sum(day_1), 6) AS s FROM distributions GROUP BY 1, 2 ORDER BY 1, 2",
        "SELECT d.model_name, round(avg(p.forecast_mean), 9) AS m FROM distributions d JOIN point_forecasts p \
         ON d.forecast_start_date = p.forecast_start_date AND d.model_name = p.model_name AND d.commodity = p.commodity \
         WHERE d.path_id = 1 GROUP BY 1 ORDER BY 1",
        "SELECT model_name, path_quantile(day_7, 0.05) AS q FROM distributions WHERE path_id > 0 GROUP BY 1 ORDER BY 1",
        "SELECT commodity, train('random_walk', date, close)['state'] AS state FROM silver.unified_data GROUP BY 1 ORDER BY 1",
        "SELECT count(*) AS n FROM latest_forecasts",
        "SELECT model_name, row_number() OVER (PARTITION BY commodity ORDER BY model_name) AS r, commodity \
         FROM trained_models ORDER BY commodity, r",
        "SELECT commodity FROM distributions WHERE day_1 > (SELECT avg(day_1) FROM distributions) GROUP BY 1 ORDER BY 1",
        "SELECT * FROM point_forecasts WHERE false",
        "SELECT 1 AS one",
        "SELECT table_schema, table_name FROM information_schema.tables ORDER BY 1, 2",
    ] {
        let here = lake.sql(query);
        let there = lake
            .sql_with(query, &["--cluster", &cluster.url()])
            .expect(0)
            .json();
        assert_eq!(serde_json::Value::Array(here), there, "{query}");
    }
    let (error, _) = lake
        .sql_with(
            "SELECT nothing FROM distributions",
            &["--cluster", &cluster.url()],
        )
        .refusal();
    assert!(error.contains("nothing"), "{error}");
}

#[test]
fn an_error_in_a_task_reaches_the_user_as_one_line() {
    let cluster = Cluster::start(1);
    let lake = prepared();
    let gone = lake
        .files()
        .into_iter()
        .find(|path| {
            path.starts_with("silver/unified_data")
                && path.extension().is_some_and(|kind| kind == "parquet")
        })
        .expect("a data file");
    std::fs::remove_file(lake.root().join(&gone)).expect("it is removed");
    let here = lake.run(&backfill()).refusal();
    let there = cluster.run(&lake, &backfill()).refusal();
    assert_eq!(here, there);
    let name = gone.file_name().expect("a name").to_string_lossy();
    assert!(there.0.contains(name.as_ref()), "{}", there.0);
    let query = "SELECT count(close) AS n FROM silver.unified_data WHERE close > 0";
    let (error, _) = lake
        .sql_with(query, &["--cluster", &cluster.url()])
        .refusal();
    assert!(error.contains(name.as_ref()), "{error}");
}

#[test]
fn an_address_where_nothing_listens_is_one_line() {
    let lake = prepared();
    let (error, hint) = lake
        .run(&format!("--cluster df://127.0.0.1:1 {}", backfill()))
        .trouble(2);
    assert!(
        error.contains("no scheduler answers at df://127.0.0.1:1"),
        "{error}"
    );
    assert!(hint.contains("almanac cluster scheduler"), "{hint}");
    let (error, hint) = lake
        .run(&format!("--cluster nonsense {}", backfill()))
        .refusal();
    assert!(
        error.contains("`nonsense` is no address of a cluster"),
        "{error}"
    );
    assert!(hint.contains("df://HOST:PORT"), "{hint}");
}

/// A copy of the binary that says it is built from other code, and is the same in all else.
fn other_version(lake: &TestLake) -> String {
    let version = lake.run("--version").expect(0).stdout;
    let version = version
        .trim()
        .rsplit('+')
        .next()
        .expect("an identity")
        .to_owned();
    let mut binary = std::fs::read(crate::lake::BINARY).expect("the binary");
    let other: String = version
        .chars()
        .map(|digit| if digit == '0' { '1' } else { '0' })
        .collect();
    let mut changed = 0;
    let mut from = 0;
    while let Some(at) = binary[from..]
        .windows(version.len())
        .position(|part| part == version.as_bytes())
    {
        let at = from + at;
        binary[at..at + version.len()].copy_from_slice(other.as_bytes());
        from = at + version.len();
        changed += 1;
    }
    assert!(changed > 0, "the binary carries its version");
    let path = lake.file("almanac-other", binary);
    let mut rights = std::fs::metadata(&path).expect("the copy").permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut rights, 0o755);
    std::fs::set_permissions(&path, rights).expect("it can be run");
    path
}

#[test]
fn another_version_is_refused_by_name_in_every_process() {
    let cluster = Cluster::start(1);
    let lake = prepared();
    let other = other_version(&lake);
    let run = |arguments: &[&str]| {
        let mut command = almanac(&[]);
        let mut own = std::process::Command::new(&other);
        for (name, value) in command.get_envs() {
            if value.is_none() {
                own.env_remove(name);
            }
        }
        command = own;
        crate::lake::finish(command.current_dir(lake.folder()).args(arguments))
    };
    let url = cluster.url();
    let mut job = vec!["--cluster", &url, "--lake", "lake"];
    let line = backfill();
    job.extend(line.split_whitespace());
    let (error, hint) = run(&job).refusal();
    let said = format!("the scheduler at {url} runs almanac ");
    assert!(
        error.contains(&said) && error.contains(", this command "),
        "{error}"
    );
    assert!(hint.contains("of one version"), "{hint}");
    let (error, _) = run(&[
        "cluster",
        "executor",
        "--scheduler",
        &cluster.scheduler.address,
        "--bind",
        "127.0.0.1:0",
    ])
    .refusal();
    assert!(
        error.contains(&said) && error.contains(", this executor "),
        "{error}"
    );
}
