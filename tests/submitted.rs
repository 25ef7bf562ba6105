//! Submitted jobs: handed to a driver beside the scheduler, and what becomes of them when things die.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::lake::{Output, Report, TestLake};
use crate::market::{Market, days};
use crate::processes::{Process, almanac, signal, until};
use crate::tables::{assert_same, bits, keys};
use crate::tls::Authority;
use crate::whole::assert_whole;

const SHORT: &str = "backfill --commodity Coffee --models naive,random_walk --start 2021-03-01 --end 2021-03-05 \
    --frequency monthly --model-version v1 --paths 20";
/// Half a year: there is time to interfere.
const LONG: &str = "backfill --commodity Coffee,Sugar --models naive,random_walk --start 2021-01-01 --end 2021-06-30 \
    --frequency monthly --model-version v1 --paths 2000";

fn lake() -> TestLake {
    TestLake::of(&Market::usual("Coffee", 181).and(Market::usual("Sugar", 182)))
}

fn long_keys() -> std::collections::BTreeSet<crate::tables::Key> {
    keys(
        &["Coffee", "Sugar"],
        &["naive", "random_walk"],
        days("2021-01-01", "2021-06-30"),
    )
}

/// A scheduler with its executor in a folder of its own.
struct Site {
    folder: TempDir,
    /// What each process is told.
    everywhere: Vec<String>,
    flags: Vec<String>,
    environment: Vec<(&'static str, String)>,
    scheduler: Process,
    executor: Process,
}

impl Site {
    /// A scheduler with these flags and variables.
    fn start(flags: &[&str], environment: &[(&'static str, &str)]) -> Self {
        Self::with(vec![], flags, environment)
    }

    fn with(everywhere: Vec<String>, flags: &[&str], environment: &[(&'static str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let flags = flags.iter().map(|flag| (*flag).to_owned());
        let flags: Vec<String> = everywhere.iter().cloned().chain(flags).collect();
        let environment: Vec<_> = environment
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        let scheduler = Self::scheduler(&folder, "127.0.0.1:0", &flags, &environment);
        let work_dir = folder.path().join("executor").display().to_string();
        let executor = Process::start(
            almanac(&[
                "--json",
                "cluster",
                "executor",
                "--bind",
                "127.0.0.1:0",
                "--vcores",
                "2",
                "--scheduler",
                &scheduler.address,
                "--work-dir",
                &work_dir,
            ])
            .args(&everywhere),
        );
        Self {
            folder,
            everywhere,
            flags,
            environment,
            scheduler,
            executor,
        }
    }

    fn scheduler(
        folder: &TempDir,
        bind: &str,
        flags: &[String],
        environment: &[(&'static str, String)],
    ) -> Process {
        let work_dir = folder.path().join("scheduler").display().to_string();
        let mut command = almanac(&["--json", "cluster", "scheduler", "--bind", bind]);
        command.args(["--work-dir", &work_dir]).args(flags);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        Process::start(&mut command)
    }

    /// Another scheduler at the address of the one that has ended.
    fn scheduler_again(&mut self) {
        let address = self.scheduler.address.clone();
        self.scheduler = Self::scheduler(&self.folder, &address, &self.flags, &self.environment);
    }

    fn line(&self, line: &str) -> String {
        let flags = self.everywhere.join(" ");
        format!("--cluster df://{} {flags} {line}", self.scheduler.address)
    }

    fn run(&self, lake: &TestLake, line: &str) -> Output {
        lake.run(&self.line(line))
    }

    #[track_caller]
    fn submit(&self, lake: &TestLake, job: &str) -> String {
        let job = self
            .run(lake, &format!("--json submit {job}"))
            .expect(0)
            .json();
        job["id"].as_str().expect("an id").to_owned()
    }

    #[track_caller]
    fn job(&self, lake: &TestLake, id: &str) -> Value {
        let shown = self
            .run(lake, &format!("--json jobs show {id} --no-follow"))
            .expect(0);
        shown.json()["job"].clone()
    }

    /// Follows a job to its end.
    #[track_caller]
    fn follow(&self, lake: &TestLake, id: &str, code: i32) -> (Output, Value) {
        let output = self
            .run(lake, &format!("--json jobs show {id}"))
            .expect(code);
        let shown = output.json();
        (output, shown)
    }

    fn folder_of(&self, id: &str) -> PathBuf {
        self.folder.path().join("scheduler/jobs").join(id)
    }

    /// The driver of a job, once it is at its work: it has begun a run in the lake.
    fn driver_at_work(&self, lake: &TestLake, id: &str) -> u32 {
        until("the driver is at work", || {
            let runs = lake.root().join("_almanac/runs").read_dir();
            let record = fs::read(self.folder_of(id).join("job.json")).ok()?;
            let record: Value = serde_json::from_slice(&record).ok()?;
            let begun = runs.is_ok_and(|mut runs| runs.next().is_some());
            let pid = record["process"]["pid"].as_u64()?;
            begun.then(|| u32::try_from(pid).expect("a process id"))
        })
    }
}

/// Whether a process is there and has not ended.
fn is_running(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[test]
fn a_submitted_job_gives_the_bytes_of_a_direct_run() {
    let lake = lake();
    let direct = lake.copy();
    direct.job(SHORT);
    let site = Site::start(&[], &[]);
    let text = site.run(&lake, &format!("submit {SHORT}")).expect(0).stdout;
    let id = text.split_whitespace().nth(4).expect("an id").to_owned();
    assert!(text.contains(&format!("almanac jobs show {id}")), "{text}");
    let (_, shown) = site.follow(&lake, &id, 0);
    assert_eq!(Report(shown["result"].clone()).forecasts(), [10, 0, 0]);
    assert_eq!(shown["job"]["state"], "succeeded");
    assert_same(
        &bits(&lake.paths()),
        &bits(&direct.paths()),
        "a submitted job",
    );

    // Again, followed: everything is there.
    let output = site
        .run(&lake, &format!("submit {SHORT} --follow"))
        .expect(0);
    assert!(output.stdout.contains("backfill succeeded"), "{output}");
    let listed = site.run(&lake, "jobs").expect(0).stdout;
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 3, "{listed}");
    assert!(
        lines[2].starts_with(&id) && lines[2].contains("forecasts 10"),
        "{listed}"
    );
    assert!(lines[1].contains("skipped 10"), "{listed}");

    // The run that the job's record names is the lake's.
    let run = shown["job"]["run_id"].as_str().unwrap();
    let status = lake.run(&format!("--json status {run}")).expect(0).json();
    assert_eq!(status["runs"][0]["status"], "succeeded");
    assert!(
        status["runs"][0]["engine"]
            .as_str()
            .unwrap()
            .contains("df://"),
        "{status}"
    );
}

#[test]
fn the_models_of_the_submitters_settings_go_with_the_job_and_failures_come_back() {
    let lake = lake();
    lake.configure(
        "[models.mine]\nfamily = \"naive\"\n[models.broken]\nfamily = \"drill\"\n[models.other]\nfamily = \"naive\"\n",
    );
    let site = Site::start(&[], &[]);
    let job = SHORT.replace("naive,random_walk", "mine,broken");
    let id = site.submit(&lake, &job);
    let (output, shown) = site.follow(&lake, &id, 3);
    assert_eq!(shown["job"]["state"], "partly", "{output}");
    assert_eq!(Report(shown["result"].clone()).forecasts(), [5, 0, 5]);
    let settings = fs::read_to_string(site.folder_of(&id).join("almanac.toml")).unwrap();
    assert!(
        settings.contains("mine") && !settings.contains("other"),
        "{settings}"
    );

    // What the lake refuses is said by the driver, and handed on with its exit code.
    let id = site.submit(&lake, &SHORT.replace("Coffee", "Cofee"));
    let output = site.run(&lake, &format!("jobs show {id}")).expect(1);
    assert!(
        output.stderr.contains("error:") && output.stderr.contains("Cofee"),
        "{output}"
    );
    assert!(output.stdout.contains("failed"), "{output}");
}

#[test]
fn what_makes_no_sense_is_refused_before_it_is_sent() {
    let lake = lake();
    let site = Site::start(&[], &[]);
    for (job, said) in [
        (SHORT.replace("naive,", "naif,"), "naive"),
        (SHORT.replace("2021-03-05", "2021-02-05"), "--start"),
        (SHORT.replace("--paths 20", "--paths 0"), "--paths"),
        ("vacuum --retention-hours 1".to_owned(), "168"),
    ] {
        let (error, hint) = site.run(&lake, &format!("submit {job}")).refusal();
        assert!(
            error.contains(said) || hint.contains(said),
            "{error} {hint}"
        );
    }
    for line in [
        "jobs show 0123456789",
        "jobs show 01234567z",
        "jobs cancel 01234567z",
        "jobs show ../x",
    ] {
        let (error, hint) = site.run(&lake, line).refusal();
        assert!(error.contains("job"), "{error}");
        assert!(hint.contains("almanac jobs"), "{hint}");
    }
    let jobs = site.run(&lake, "--json jobs").expect(0).json();
    assert_eq!(jobs["jobs"], serde_json::json!([]));
    let (error, hint) = lake.run("jobs").refusal();
    assert!(
        error.contains("no cluster") && hint.contains("--cluster"),
        "{error} {hint}"
    );
}

#[test]
fn a_driver_that_is_killed_is_started_again_and_loses_nothing() {
    let lake = lake();
    let site = Site::start(&[], &[]);
    let id = site.submit(&lake, LONG);
    let driver = site.driver_at_work(&lake, &id);
    signal(driver, "KILL");
    let (_, shown) = site.follow(&lake, &id, 0);
    assert_eq!(
        (&shown["job"]["attempts"], &shown["job"]["deaths"]),
        (&2.into(), &1.into()),
        "{shown}"
    );
    assert_whole(&lake, &long_keys(), 2000);
}

#[test]
fn a_driver_that_dies_each_time_is_given_up() {
    let lake = lake();
    // Drivers have the scheduler's environment; the scheduler itself never comes to that point.
    let site = Site::start(
        &[],
        &[("ALMANAC_CRASH_AT", "before_commit:forecast/trained_models")],
    );
    let id = site.submit(&lake, SHORT);
    let output = site.run(&lake, &format!("jobs show {id}")).expect(2);
    assert!(output.stderr.contains("3 of its drivers died"), "{output}");
    let job = site.job(&lake, &id);
    assert_eq!(
        (&job["state"], &job["attempts"]),
        (&"failed".into(), &3.into()),
        "{job}"
    );
    assert!(lake.paths().is_empty());
}

#[test]
fn a_cancelled_job_ends_and_given_again_does_the_rest() {
    let lake = lake();
    let site = Site::start(&["--drivers", "1"], &[]);
    let id = site.submit(&lake, LONG);
    let waiting = site.submit(&lake, SHORT);
    let driver = site.driver_at_work(&lake, &id);
    // One that waits never begins.
    let text = site
        .run(&lake, &format!("jobs cancel {waiting}"))
        .expect(0)
        .stdout;
    assert!(text.contains("is cancelled"), "{text}");
    assert_eq!(site.job(&lake, &waiting)["attempts"], 0);

    site.run(&lake, &format!("jobs cancel {id}")).expect(0);
    let output = site.run(&lake, &format!("jobs show {id}")).expect(1);
    assert!(output.stderr.contains("was cancelled"), "{output}");
    assert!(!is_running(driver));
    let job = site.job(&lake, &id);
    assert_eq!(
        (&job["state"], &job["attempts"]),
        (&"cancelled".into(), &1.into()),
        "{job}"
    );

    let id = site.submit(&lake, LONG);
    site.follow(&lake, &id, 0);
    assert_whole(&lake, &long_keys(), 2000);
}

#[test]
fn jobs_of_a_scheduler_that_ends_or_is_killed_go_on_with_the_next_one() {
    for killed in [false, true] {
        let lake = lake();
        let mut site = Site::start(&[], &[]);
        let id = site.submit(&lake, LONG);
        let driver = site.driver_at_work(&lake, &id);
        // Who follows it waits for the next scheduler.
        let heard = lake.path("heard");
        let follower = lake
            .command(&site.line(&format!("--json jobs show {id}")))
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&heard).expect("a file"))
            .spawn()
            .expect("the binary starts");
        until("the follower hears of the job", || {
            let text = fs::read_to_string(&heard).unwrap_or_default();
            text.contains("train").then_some(())
        });
        if killed {
            site.scheduler.kill();
        } else {
            site.scheduler.signal("TERM");
            let (code, said) = site.scheduler.ended();
            assert_eq!(code, Some(0), "{said}");
            assert!(
                !is_running(driver),
                "a scheduler that ends ends its drivers"
            );
        }
        site.scheduler_again();
        let followed = follower.wait_with_output().expect("it ends");
        let said = fs::read_to_string(&heard).expect("what it said");
        assert_eq!(followed.status.code(), Some(0), "{said}");
        let shown: Value = serde_json::from_slice(&followed.stdout).expect("one JSON value");
        assert!(!is_running(driver), "killed: {killed}");
        let job = &shown["job"];
        assert_eq!(
            (&job["state"], &job["attempts"]),
            (&"succeeded".into(), &2.into()),
            "{job}"
        );
        assert_whole(&lake, &long_keys(), 2000);
        drop(site.executor);
    }
}

#[test]
fn on_an_encrypted_cluster_drivers_have_the_schedulers_identity() {
    let lake = lake();
    let authority = Authority::new();
    let site = Site::with(authority.flags("process"), &[], &[]);
    let id = site.submit(&lake, SHORT);
    let (_, shown) = site.follow(&lake, &id, 0);
    assert_eq!(Report(shown["result"].clone()).forecasts(), [10, 0, 0]);
    // Who is not certified neither sees jobs nor ends them.
    for line in [
        "jobs".to_owned(),
        format!("jobs cancel {id}"),
        format!("submit {SHORT}"),
    ] {
        let address = &site.scheduler.address;
        lake.run(&format!("--cluster df://{address} {line}"))
            .trouble(2);
    }
}

#[test]
fn a_job_file_is_handed_over_and_its_hook_told() {
    let lake = lake();
    lake.configure("[models.broken]\nfamily = \"drill\"\n");
    let site = Site::start(&[], &[]);
    let file = lake.file(
        "daily.toml",
        format!(
            "command = \"daily\"\ncluster = \"df://{}\"\nsubmit = true\n[arguments]\ncommodity = \"Coffee\"\n\
             models = [\"naive\", \"broken\"]\nmodel_version = \"v1\"\npaths = 20\n\
             [on_failure]\ncommand = [\"sh\", \"-c\", \"cat > told.json\"]\n",
            site.scheduler.address
        ),
    );
    let output = lake
        .run(&format!("--json run {file} --date 2021-03-03"))
        .expect(3);
    assert_eq!(Report(output.json()).forecasts(), [1, 0, 1], "{output}");
    let told: Value = serde_json::from_slice(&fs::read(lake.path("told.json")).unwrap()).unwrap();
    let id = told["submitted"].as_str().expect("a submitted job");
    assert_eq!(
        (&told["state"], &told["exit_code"]),
        (&"partly".into(), &3.into()),
        "{told}"
    );
    assert_eq!(site.job(&lake, id)["run_id"], told["run_id"]);

    // A scheduler that is not there is a failure like any other.
    fs::remove_file(lake.path("told.json")).unwrap();
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut command: Command = lake.command(&format!(
        "--cluster df://{free} run {file} --date 2021-03-04"
    ));
    let output = crate::lake::finish(&mut command).expect(2);
    let told: Value = serde_json::from_slice(&fs::read(lake.path("told.json")).unwrap()).unwrap();
    assert_eq!(told["exit_code"], 2, "{output}");
    assert!(
        told["error"].as_str().unwrap().contains(&free.to_string()),
        "{told}"
    );
}
