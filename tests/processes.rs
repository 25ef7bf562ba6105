//! The processes of a cluster on loopback: a scheduler and executors, ended by process id.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::lake::{BINARY, Output, Report, TestLake};

/// How long anything that must happen may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Asks until there is an answer.
#[track_caller]
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: not in {PATIENCE:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// One process of a cluster. Killed when dropped.
pub struct Process {
    child: Child,
    /// Where it listens, `HOST:PORT`.
    pub address: String,
    said: mpsc::Receiver<String>,
}

impl Process {
    /// Starts it and waits until it says that it is ready.
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut stderr = child.stderr.take().expect("a pipe");
        let (tell, said) = mpsc::channel();
        thread::spawn(move || {
            let mut text = vec![];
            // A process that is killed closes its pipe; what it said until then is kept.
            let _ = stderr.read_to_end(&mut text);
            let _ = tell.send(String::from_utf8_lossy(&text).into_owned());
        });
        let stdout = child.stdout.take().expect("a pipe");
        let mut lines = BufReader::new(stdout).lines();
        let Some(Ok(line)) = lines.next() else {
            let code = child.wait().expect("a child can be waited for");
            let text = said.recv_timeout(PATIENCE).unwrap_or_default();
            panic!("{command:?} ended with {code} before it was ready:\n{text}");
        };
        // Whoever writes to a pipe that nobody reads is ended by it.
        thread::spawn(move || lines.for_each(drop));
        let ready: Value = serde_json::from_str(&line).expect("a line of JSON");
        let address = ready["address"].as_str().expect("an address").to_owned();
        Self {
            child,
            address,
            said,
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// Ends it as a power cut does.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// Waits for its end: the exit code, and all that it said on standard error.
    #[track_caller]
    pub fn ended(&mut self) -> (Option<i32>, String) {
        let code = until("the process ends", || {
            self.child.try_wait().expect("a child can be asked")
        });
        let text = self.said.recv_timeout(PATIENCE).expect("standard error");
        (code.code(), text)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process.
pub fn signal(process: u32, name: &str) {
    let sent = Command::new("kill")
        .args([format!("-{name}"), process.to_string()])
        .status();
    assert!(sent.expect("`kill` runs").success(), "SIG{name} is sent");
}

/// The binary, without what the environment says of almanac.
pub fn almanac(arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ALMANAC_") {
            command.env_remove(name);
        }
    }
    command.args(arguments);
    command
}

/// A scheduler and its executors.
pub struct Cluster {
    folder: TempDir,
    /// Flags that each process has.
    flags: Vec<String>,
    /// Variables that each process sees.
    environment: BTreeMap<&'static str, String>,
    /// The scheduler.
    pub scheduler: Process,
    /// The executors that were started.
    pub executors: Vec<Process>,
}

impl Cluster {
    /// A scheduler and so many executors of one core.
    #[track_caller]
    pub fn start(executors: usize) -> Self {
        Self::with_flags(executors, &[])
    }

    /// The same, with these flags for each process.
    #[track_caller]
    pub fn with_flags(executors: usize, flags: &[&str]) -> Self {
        Self::within(executors, flags, BTreeMap::new())
    }

    /// The same, with these variables for each process.
    #[track_caller]
    pub fn within(
        executors: usize,
        flags: &[&str],
        environment: BTreeMap<&'static str, String>,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let work_dir = folder.path().join("scheduler").display().to_string();
        let scheduler = scheduler(&work_dir, "127.0.0.1:0", &flags, &environment);
        let mut cluster = Self {
            folder,
            flags,
            environment,
            scheduler,
            executors: vec![],
        };
        for _ in 0..executors {
            cluster.add_executor();
        }
        cluster
    }

    /// Starts one more executor of one core.
    #[track_caller]
    pub fn add_executor(&mut self) {
        let work_dir = self.folder.path().join("executors").display().to_string();
        let mut command = almanac(&["--json", "cluster", "executor", "--bind", "127.0.0.1:0"]);
        command
            .args(["--vcores", "1", "--scheduler", &self.scheduler.address])
            .args(["--work-dir", &work_dir])
            .args(&self.flags)
            .envs(&self.environment);
        self.executors.push(Process::start(&mut command));
    }

    /// Kills the scheduler and starts another at its address.
    #[track_caller]
    pub fn restart_scheduler(&mut self) {
        self.scheduler.kill();
        let work_dir = self.folder.path().join("scheduler").display().to_string();
        let address = self.scheduler.address.clone();
        self.scheduler = scheduler(&work_dir, &address, &self.flags, &self.environment);
    }

    /// The scheduler's URL.
    pub fn url(&self) -> String {
        format!("df://{}", self.scheduler.address)
    }

    /// A command line on this cluster.
    pub fn line(&self, line: &str) -> String {
        format!("--cluster {} {} {line}", self.url(), self.flags.join(" "))
    }

    /// Runs a command on this cluster, to its end.
    pub fn run(&self, lake: &TestLake, line: &str) -> Output {
        lake.run(&self.line(line))
    }

    /// Runs a job on this cluster that must succeed; its report.
    #[track_caller]
    pub fn job(&self, lake: &TestLake, line: &str) -> Report {
        lake.job(&self.line(line))
    }
}

#[track_caller]
fn scheduler(
    work_dir: &str,
    bind: &str,
    flags: &[String],
    environment: &BTreeMap<&'static str, String>,
) -> Process {
    let mut command = almanac(&["--json", "cluster", "scheduler", "--bind", bind]);
    command
        .args(["--work-dir", work_dir])
        .args(flags)
        .envs(environment);
    Process::start(&mut command)
}
