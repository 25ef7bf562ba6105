//! Several hosts: scheduler, executors and driver in network namespaces with addresses of their own,
//! encrypted; one is cut off and healed, and every key is there once.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::lake::{BINARY, Output, TestLake, finish, rounds, skip};
use crate::market::{Chance, Market, days};
use crate::processes::{Process, until};
use crate::tables::{Key, assert_same, bits, keys};
use crate::whole::assert_whole;

const FIRST: &str = "2020-11-01";
const LAST: &str = "2021-02-28";
const MODELS: [&str; 2] = ["naive", "random_walk"];
const PATHS: i32 = 2000;
const SCHEDULER: &str = "10.88.0.1";
const EXECUTORS: [&str; 2] = ["10.88.0.2", "10.88.0.3"];
const DRIVER: &str = "10.88.0.4";

/// After this long without a word an executor is given up, a second or two later at the latest.
const GIVEN_UP: Duration = Duration::from_millis(5500);
/// How long it may take to notice a loss, with much to spare on a busy machine.
const NOTICED: Duration = Duration::from_secs(25);

/// The network has one set of addresses, so one test at a time has it.
static NETWORK: Mutex<()> = Mutex::new(());

fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .map_err(|error| format!("`ip` does not run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("`ip {arguments}`: {}", said.trim()))
}

/// Hosts on one switch, each a namespace. Taken down when dropped.
struct Hosts {
    prefix: String,
    folder: TempDir,
}

impl Hosts {
    /// Why there can be none, where namespaces are not permitted.
    fn new() -> Result<Self, String> {
        let prefix = format!("alm{}", std::process::id());
        let folder = tempfile::tempdir().expect("a temporary folder");
        let hosts = Self { prefix, folder };
        ip(&format!("netns add {}", hosts.switch()))?;
        let must = |line: String| ip(&line).unwrap_or_else(|error| panic!("{error}"));
        let switch = hosts.switch();
        must(format!("-n {switch} link add bridge type bridge"));
        must(format!("-n {switch} link set bridge up"));
        for address in hosts.addresses() {
            let host = hosts.name(address);
            must(format!("netns add {host}"));
            must(format!("-n {host} link set lo up"));
            let port = port_of(address);
            must(format!(
                "-n {switch} link add {port} type veth peer name eth0 netns {host}"
            ));
            must(format!("-n {switch} link set {port} master bridge"));
            must(format!("-n {switch} link set {port} up"));
            must(format!("-n {host} addr add {address}/24 dev eth0"));
            must(format!("-n {host} link set eth0 up"));
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/certificates.sh");
        let made = Command::new("bash")
            .arg(script)
            .arg(hosts.folder.path())
            .args(
                hosts
                    .addresses()
                    .map(|address| format!("{address}={address}")),
            )
            .stdout(Stdio::null())
            .status();
        assert!(made.expect("`bash` and `openssl` run").success());
        Ok(hosts)
    }

    fn addresses(&self) -> [&'static str; 4] {
        [SCHEDULER, EXECUTORS[0], EXECUTORS[1], DRIVER]
    }

    fn switch(&self) -> String {
        format!("{}-switch", self.prefix)
    }

    fn name(&self, address: &str) -> String {
        format!("{}-{}", self.prefix, port_of(address))
    }

    /// Pulls a host's cable, or puts it in again.
    fn cable(&self, address: &str, state: &str) {
        let line = format!("-n {} link set {} {state}", self.switch(), port_of(address));
        ip(&line).unwrap_or_else(|error| panic!("{error}"));
    }

    /// The binary on a host, with the host's certificate.
    fn command(&self, address: &str) -> Command {
        let mut command = Command::new("ip");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ALMANAC_") {
                command.env_remove(name);
            }
        }
        let file = |name: &str| self.folder.path().join(name);
        command
            .args(["netns", "exec", &self.name(address), BINARY])
            .current_dir(self.folder.path())
            .arg("--tls-ca")
            .arg(file("ca.pem"))
            .arg("--tls-cert")
            .arg(file(&format!("{address}.pem")))
            .arg("--tls-key")
            .arg(file(&format!("{address}-key.pem")));
        command
    }

    fn scheduler(&self) -> Process {
        let bind = format!("{SCHEDULER}:50050");
        let mut command = self.command(SCHEDULER);
        Process::start(command.args(["--json", "cluster", "scheduler", "--bind", &bind]))
    }

    fn executor(&self, address: &str) -> Process {
        let mut command = self.command(address);
        command
            .args(["--json", "cluster", "executor", "--vcores", "1"])
            .args(["--bind", &format!("{address}:50051")])
            .args(["--scheduler", &format!("{SCHEDULER}:50050")]);
        Process::start(&mut command)
    }

    fn job(&self, lake: &TestLake, line: &str) -> Command {
        let mut command = self.command(DRIVER);
        command
            .args(["--cluster", &format!("df://{SCHEDULER}:50050"), "--lake"])
            .arg(lake.root())
            .args(line.split_whitespace())
            .stdin(Stdio::null());
        command
    }

    /// Runs a job of a few seconds, and does this a while after it has begun, told whether it is
    /// still at work.
    fn job_with(&self, lake: &TestLake, after: Duration, happens: impl FnOnce(bool)) -> Output {
        let mut command = self.job(lake, &request("v1"));
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.expect("the binary starts");
        until("the job begins", || {
            let runs = lake.root().join("_almanac/runs").read_dir();
            runs.is_ok_and(|mut runs| runs.next().is_some())
                .then_some(())
        });
        std::thread::sleep(after);
        let ended = child.try_wait().expect("a child can be asked");
        happens(ended.is_none());
        Output::of_child("backfill", child)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        let mut names = vec![self.switch()];
        names.extend(self.addresses().map(|address| self.name(address)));
        for name in names {
            // One that was never made cannot be taken down.
            let _ = ip(&format!("netns del {name}"));
        }
    }
}

fn port_of(address: &str) -> String {
    format!("h{}", address.rsplit('.').next().expect("a number"))
}

fn request(version: &str) -> String {
    format!(
        "--slices 12 backfill --commodity Coffee,Sugar --models {} --start {FIRST} --end {LAST} --frequency weekly \
         --model-version {version} --paths {PATHS}",
        MODELS.join(",")
    )
}

fn wanted() -> BTreeSet<Key> {
    keys(&["Coffee", "Sugar"], &MODELS, days(FIRST, LAST))
}

fn prepared() -> TestLake {
    TestLake::of(&Market::usual("Coffee", 1).and(Market::usual("Sugar", 2)))
}

/// The hosts, or a printed reason why there are none.
fn hosts() -> Option<Hosts> {
    Hosts::new()
        .map_err(|reason| {
            skip(&format!(
                "network namespaces are not permitted here: {reason}"
            ))
        })
        .ok()
}

#[test]
fn an_executor_that_is_cut_off_and_healed_costs_time_and_no_key() {
    let _network = NETWORK
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let Some(hosts) = hosts() else { return };
    let base = prepared();
    let expected = base.copy();
    expected.job(&request("v1"));
    let _scheduler = hosts.scheduler();
    let executors = EXECUTORS.map(|address| hosts.executor(address));
    let undisturbed = Instant::now();
    let lake = base.copy();
    finish(&mut hosts.job(&lake, &request("v1"))).expect(0);
    let undisturbed = undisturbed.elapsed();
    let mut chance = Chance::new(23);
    let (mut hit, mut tried) = (0, 0);
    while hit < rounds() {
        tried += 1;
        assert!(
            tried < 4 * rounds() + 8,
            "the job is over before anything is cut"
        );
        let lake = base.copy();
        let after = undisturbed.mul_f64(0.8 * chance.uniform());
        let begun = Instant::now();
        let mut cut = false;
        let output = hosts.job_with(&lake, after, |running| {
            cut = running;
            hosts.cable(EXECUTORS[0], "down");
            if hit % 2 == 1 {
                // It is given up, and back while its work is done elsewhere.
                std::thread::sleep(GIVEN_UP);
                hosts.cable(EXECUTORS[0], "up");
            }
        });
        output.expect(0);
        let took = begun.elapsed();
        assert!(took < undisturbed * 4 + NOTICED, "the job hung: {took:?}");
        // What the one that was cut off has done since is not committed by anyone.
        hosts.cable(EXECUTORS[0], "up");
        assert_whole(&lake, &wanted(), PATHS);
        assert_same(&bits(&lake.paths()), &bits(&expected.paths()), "paths");
        if cut {
            hit += 1;
            println!(
                "round {hit}: cut off after {after:.1?}, the job took {took:.1?}, undisturbed {undisturbed:.1?}"
            );
        }
    }
    // It works again: the other one is gone now, and a job is done all the same.
    executors[1].signal("KILL");
    let again = base.copy();
    finish(&mut hosts.job(&again, &request("v1"))).expect(0);
    assert_whole(&again, &wanted(), PATHS);
}

#[test]
fn a_driver_that_is_cut_off_ends_with_one_line_and_the_rerun_is_clean() {
    let _network = NETWORK
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let Some(hosts) = hosts() else { return };
    let lake = prepared();
    let _scheduler = hosts.scheduler();
    let _executors = EXECUTORS.map(|address| hosts.executor(address));
    let begun = Instant::now();
    let cut = |_| hosts.cable(DRIVER, "down");
    let output = hosts.job_with(&lake, Duration::from_millis(300), cut);
    println!("the driver ended after {:?}", begun.elapsed());
    let (error, _) = output.trouble(2);
    assert!(error.contains("is lost"), "{error}");
    hosts.cable(DRIVER, "up");
    finish(&mut hosts.job(&lake, &request("v1"))).expect(0);
    assert_whole(&lake, &wanted(), PATHS);
}
