//! A lake in a temporary folder, driven through the built binary.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};

use almanac_delta::rows::{read_files, write_rows};
use almanac_delta::{
    Claim, CommitKind, CommitOutcome, CommitRequest, Lake, StoreLocation, TableName, TableSnapshot,
};
use arrow::array::{Date32Array, RecordBatch};
use chrono::NaiveDate;
use serde_json::Value;
use tempfile::TempDir;

use crate::market::Market;

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_almanac");

/// How a process ended.
#[derive(Debug)]
pub struct Output {
    /// What was run, for messages.
    pub line: String,
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Results.
    pub stdout: String,
    /// Everything else.
    pub stderr: String,
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            code,
            signal,
            stdout,
            stderr,
        } = self;
        write!(
            f,
            "`{line}` ended with {code:?}, signal {signal:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}"
        )
    }
}

impl Output {
    fn of(line: String, output: std::process::Output) -> Self {
        Self {
            line,
            code: output.status.code(),
            signal: output.status.signal(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Waits for the end of a process that writes to pipes.
    pub fn of_child(line: &str, child: Child) -> Self {
        let output = child.wait_with_output();
        Self::of(line.to_owned(), output.expect("a child can be waited for"))
    }

    /// Itself, if it ended with this code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        assert!(!self.stderr.contains("panicked at"), "{self}");
        self
    }

    /// The one JSON value on standard output.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("not one JSON value: {error}\n{self}"))
    }

    /// The `error:` line and the `hint:` line of a refusal the user can mend.
    #[track_caller]
    pub fn refusal(&self) -> (String, String) {
        self.trouble(1)
    }

    /// The same of what ended with this code: 2 when the store or the cluster failed.
    #[track_caller]
    pub fn trouble(&self, code: i32) -> (String, String) {
        assert_eq!(self.code, Some(code), "{self}");
        let lines = |prefix: &str| -> Vec<&str> {
            self.stderr
                .lines()
                .filter(|line| line.starts_with(prefix))
                .collect()
        };
        let (errors, hints) = (lines("error:"), lines("hint:"));
        assert_eq!(
            (errors.len(), hints.len()),
            (1, 1),
            "one `error:` and one `hint:` line are wanted\n{self}"
        );
        assert_eq!(
            self.stderr.trim().lines().count(),
            2,
            "more than an error and a hint\n{self}"
        );
        assert!(!self.stderr.contains("panicked"), "{self}");
        (errors[0].to_owned(), hints[0].to_owned())
    }
}

/// A process that is still running.
pub struct Running {
    line: String,
    child: Child,
}

impl Running {
    /// Starts a command; `line` is for messages.
    pub fn start(line: &str, command: &mut Command) -> Self {
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        Self {
            line: line.to_owned(),
            child,
        }
    }

    /// Sends SIGKILL.
    pub fn kill(&mut self) {
        // It may have ended by itself: then there is nothing to kill.
        let _ = self.child.kill();
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Stops it where it is.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([format!("-{name}"), self.child.id().to_string()])
            .status();
        assert!(sent.expect("`kill` runs").success(), "SIG{name} is sent");
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("a child can be asked")
            .is_some()
    }

    /// Waits for the end.
    pub fn wait(self) -> Output {
        Output::of_child(&self.line, self.child)
    }
}

/// A lake in a temporary folder of its own, with its settings file and the files it ingests.
pub struct TestLake {
    folder: TempDir,
    /// The lake's folder, below the temporary one.
    name: String,
}

impl TestLake {
    /// A new lake with default settings.
    pub fn new() -> Self {
        Self::init("")
    }

    /// A new lake, made with these flags of `init`.
    #[track_caller]
    pub fn init(flags: &str) -> Self {
        let lake = Self::missing();
        lake.run(&format!("init {flags}")).expect(0);
        lake
    }

    /// A new lake that holds this market.
    #[track_caller]
    pub fn of(market: &Market) -> Self {
        let lake = Self::new();
        lake.ingest(market);
        lake
    }

    /// A folder in which a lake may be made.
    pub fn missing() -> Self {
        Self::inside("lake")
    }

    /// A folder in which a lake of this name may be made.
    pub fn inside(name: &str) -> Self {
        Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            name: name.to_owned(),
        }
    }

    /// A copy of the lake in a folder that something else made.
    pub fn at(folder: &Path) -> Self {
        let lake = Self::missing();
        copy_folder(folder, lake.folder());
        lake
    }

    /// A copy of the lake as it is now, and of its settings file.
    pub fn copy(&self) -> Self {
        let copy = Self::inside(&self.name);
        copy_folder(self.folder(), copy.folder());
        copy
    }

    /// The folder around the lake.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The root of the lake.
    pub fn root(&self) -> PathBuf {
        self.folder().join(&self.name)
    }

    /// Where a file beside the lake is, or would be.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// Writes a file beside the lake; gives its path as text.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, content).expect("a file beside the lake");
        path.to_str().expect("a path of text").to_owned()
    }

    /// Sets the settings file that every later command reads.
    pub fn configure(&self, toml: &str) {
        self.file("almanac.toml", toml);
    }

    /// The command line of these arguments; a space separates arguments.
    pub fn command(&self, line: &str) -> Command {
        self.command_of(line.split_whitespace())
    }

    fn command_of<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, arguments: I) -> Command {
        let mut command = Command::new(BINARY);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ALMANAC_") {
                command.env_remove(name);
            }
        }
        command
            .current_dir(self.folder())
            .arg("--lake")
            .arg(self.root());
        if self.path("almanac.toml").exists() {
            command.arg("--config").arg(self.path("almanac.toml"));
        }
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, line: &str) -> Output {
        finish(&mut self.command(line))
    }

    /// Runs a command that must die at a crash point.
    #[track_caller]
    pub fn crash(&self, point: &str, line: &str) -> Output {
        let output = finish(self.command(line).env("ALMANAC_CRASH_AT", point));
        assert_eq!(
            output.signal,
            Some(9),
            "crash point `{point}` was not reached: {output}"
        );
        output
    }

    /// Starts a command.
    pub fn start(&self, line: &str) -> Running {
        Running::start(line, &mut self.command(line))
    }

    /// Runs a job that must succeed; its report.
    #[track_caller]
    pub fn job(&self, line: &str) -> Report {
        Report(self.run(&format!("--json {line}")).expect(0).json())
    }

    /// Runs a job of which some units must fail; its report.
    #[track_caller]
    pub fn failing_job(&self, line: &str) -> Report {
        Report(self.run(&format!("--json {line}")).expect(3).json())
    }

    /// Runs a query; its rows as JSON objects.
    #[track_caller]
    pub fn sql(&self, query: &str) -> Vec<Value> {
        let output = finish(&mut self.command_of(["--json", "sql", query])).expect(0);
        match output.json() {
            Value::Array(rows) => rows,
            _ => panic!("not an array of rows\n{output}"),
        }
    }

    /// Runs a query with further arguments, to its end.
    pub fn sql_with(&self, query: &str, arguments: &[&str]) -> Output {
        finish(&mut self.command_of(["--json", "sql", query].iter().chain(arguments)))
    }

    /// Ingests a market, all of which must be accepted.
    #[track_caller]
    pub fn ingest(&self, market: &Market) {
        let path = self.file("market.csv", market.csv());
        self.run(&format!("ingest {path}")).expect(0);
    }

    /// The newest version of a table.
    pub fn table(&self, name: TableName) -> TableSnapshot {
        runtime().block_on(async {
            let location = StoreLocation::new(self.root().to_str().expect("a path of text"));
            let lake = Lake::open(&location).await.expect("the lake opens");
            lake.table(name).await.expect("the table opens")
        })
    }

    /// The newest version of each table.
    pub fn versions(&self) -> BTreeMap<TableName, u64> {
        TableName::ALL
            .into_iter()
            .map(|name| (name, self.table(name).version()))
            .collect()
    }

    /// The newest versions of the tables whose rows are the product: all but the records of runs.
    pub fn data_versions(&self) -> BTreeMap<TableName, u64> {
        let mut versions = self.versions();
        versions.retain(|name, _| !matches!(name, TableName::JobRuns | TableName::JobFailures));
        versions
    }

    /// Puts a table back to what `init` made of it.
    pub fn reset(&self, name: TableName) {
        let folder = self.root().join(name.folder());
        for entry in fs::read_dir(&folder).expect("a table's folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.ends_with("_delta_log") {
                fs::remove_dir_all(path).expect("data is removed");
            }
        }
        let log = folder.join("_delta_log");
        for entry in fs::read_dir(&log).expect("a log") {
            let path = entry.expect("an entry").path();
            if path.is_file() && !path.ends_with("00000000000000000000.json") {
                fs::remove_file(path).expect("a commit is removed");
            }
        }
    }

    /// Gives every stored model another training date, which no job would do.
    pub fn backdate_models(&self, training_date: NaiveDate) {
        runtime().block_on(async {
            let location = StoreLocation::new(self.root().to_str().expect("a path of text"));
            let lake = Lake::open(&location).await.expect("the lake opens");
            let table = lake.table(TableName::TrainedModels).await;
            let table = table.expect("the table opens");
            let rows = read_files(&lake, table.def(), table.files()).await;
            let rows = rows.expect("its rows");
            let dates = vec![training_date.to_epoch_days(); rows.num_rows()];
            let mut columns = rows.columns().to_vec();
            let index = rows.schema().index_of("training_date").expect("a column");
            columns[index] = Arc::new(Date32Array::from(dates));
            let rows = RecordBatch::try_new(rows.schema(), columns).expect("the same columns");
            let adds = write_rows(&lake, table.def(), &rows).await;
            let request = CommitRequest {
                operation: CommitKind::Replace,
                adds: adds.expect("files are written"),
                removes: table.files().to_vec(),
                claims: vec![Claim::rewrite(TableName::TrainedModels)],
                run_id: "backdated".to_owned(),
                attempt_id: "backdated".to_owned(),
                new_columns: vec![],
            };
            let outcome = table.commit(request).await.expect("a commit");
            assert!(
                matches!(outcome, CommitOutcome::Committed { .. }),
                "{outcome:?}"
            );
        });
    }

    /// Every file below the root of the lake, as paths from it.
    pub fn files(&self) -> Vec<PathBuf> {
        files_below(&self.root())
            .into_iter()
            .map(|path| {
                path.strip_prefix(self.root())
                    .expect("below the root")
                    .to_owned()
            })
            .collect()
    }
}

/// A job's report, as `--json` prints it.
#[derive(Debug)]
pub struct Report(pub Value);

impl Report {
    /// A count by its name.
    #[track_caller]
    pub fn count(&self, name: &str) -> u64 {
        self.0[name]
            .as_u64()
            .unwrap_or_else(|| panic!("no count `{name}` in {}", self.0))
    }

    /// Forecasts made, skipped and failed.
    #[track_caller]
    pub fn forecasts(&self) -> [u64; 3] {
        ["forecasts", "forecast_skipped", "forecast_failed"].map(|name| self.count(name))
    }

    /// Models trained, skipped and failed.
    #[track_caller]
    pub fn trained(&self) -> [u64; 3] {
        ["trained", "train_skipped", "train_failed"].map(|name| self.count(name))
    }

    /// The failures, as (stage, commodity, model, date, class).
    #[track_caller]
    pub fn failures(&self) -> Vec<[String; 5]> {
        let failures = self.0["failures"]
            .as_array()
            .unwrap_or_else(|| panic!("no failures in {}", self.0));
        failures
            .iter()
            .map(|failure| {
                assert!(
                    failure["message"]
                        .as_str()
                        .is_some_and(|text| !text.is_empty()),
                    "no message in {failure}"
                );
                ["stage", "commodity", "model_name", "date", "error_class"].map(|name| {
                    failure[name]
                        .as_str()
                        .unwrap_or_else(|| panic!("no `{name}` in {failure}"))
                        .to_owned()
                })
            })
            .collect()
    }
}

/// Runs a prepared command to its end.
pub fn finish(command: &mut Command) -> Output {
    let line: Vec<_> = command
        .get_args()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let output = command.output().expect("the command starts");
    Output::of(line.join(" "), output)
}

/// The runtime on which tests read tables.
pub fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime")
    })
}

/// Every file below a folder.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = vec![];
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path)
            } else {
                files.push(path)
            }
        }
    }
    files.sort();
    files
}

fn copy_folder(from: &Path, to: &Path) {
    for file in files_below(from) {
        let target = to.join(file.strip_prefix(from).expect("below the folder"));
        fs::create_dir_all(target.parent().expect("a folder")).expect("a folder is made");
        fs::copy(&file, &target).expect("a file is copied");
    }
}

/// Says why a test cannot run here, also in the file that `ALMANAC_SKIPS` names: it is not to be
/// counted as passed.
pub fn skip(reason: &str) {
    println!("skipped, {reason}");
    if let Some(path) = std::env::var_os("ALMANAC_SKIPS") {
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .expect("the list of skipped tests can be written");
        let name = std::thread::current().name().unwrap_or("?").to_owned();
        writeln!(file, "{name}: {reason}").expect("the list of skipped tests can be written");
    }
}

/// How often a test that depends on chance is repeated: `ALMANAC_ROUNDS`, or few.
pub fn rounds() -> u64 {
    const FEW: u64 = 3;
    std::env::var("ALMANAC_ROUNDS").map_or(FEW, |text| {
        text.parse().expect("ALMANAC_ROUNDS is a number")
    })
}
