//! Drivers: the processes that run submitted jobs, and the queue before them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use chrono::Utc;
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::record::{Job, JobId, State, now};
use super::submission::Submission;
use crate::error::JobError;
use crate::process::{Process, Signal, marked, signal_group};

/// Variable that every driver has, at its job's folder: a driver is found by it when its scheduler
/// was killed before it could write down which process it is.
const MARK: &str = "ALMANAC_DRIVER";
/// From the end of a driver until its scheduler, told to end at the same time, knows of that.
const TOLD_AT_ONCE: Duration = Duration::from_millis(500);
/// Drivers of one job that may be ended by something else than themselves.
const MOST_DEATHS: u32 = 3;
/// Jobs that may wait.
const LONGEST_QUEUE: usize = 1000;
/// Ended jobs that are kept, and for how long.
const KEPT: usize = 1000;
const KEPT_DAYS: i64 = 30;
/// Bytes of a result that are read.
const LARGEST_RESULT: u64 = 16 << 20;
/// Bytes of a log that are read at a time.
const LOG_PIECE: u64 = 64 << 10;

const LOG: &str = "log";
const RESULT: &str = "result.json";
const SETTINGS: &str = "almanac.toml";

/// How drivers are run.
#[derive(Debug, Clone)]
pub struct DriverSettings {
    /// Folder whose `jobs` folder keeps the jobs.
    pub work_dir: PathBuf,
    /// The program: this one.
    pub binary: PathBuf,
    /// Drivers that run at the same time.
    pub at_once: usize,
    /// How long things may take.
    pub patience: Patience,
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// From the request to end until a driver is killed.
    pub grace: Duration,
    /// From the first death of a job's driver to its next start; doubled each time.
    pub backoff: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(20),
            backoff: Duration::from_secs(2),
        }
    }
}

/// Why a request about submitted jobs is refused.
#[derive(Debug, thiserror::Error)]
pub enum DriversError {
    /// There is no such job, or it ended long ago.
    #[error("no job `{id}`")]
    Unknown {
        /// What was asked for.
        id: String,
    },
    /// Enough jobs wait.
    #[error("{LONGEST_QUEUE} jobs wait already")]
    Full,
    /// The scheduler is about to end.
    #[error("the scheduler is ending")]
    Stopping,
    /// The submission makes no sense.
    #[error(transparent)]
    Refused(#[from] JobError),
    /// The work folder cannot be written or read.
    #[error("the folder of job {id}: {error}")]
    Folder {
        /// The job.
        id: JobId,
        /// What the folder answered.
        error: io::Error,
    },
}

/// The submitted jobs of a scheduler.
pub struct Drivers {
    settings: DriverSettings,
    folder: PathBuf,
    /// What each driver is told before its job, once that is known.
    flags: OnceLock<Vec<OsString>>,
    queue: Mutex<Queue>,
    stopping: watch::Sender<bool>,
    /// Held as long as this exists: two schedulers in one folder would run each job twice.
    _lock: File,
}

#[derive(Default)]
struct Queue {
    jobs: BTreeMap<JobId, Arc<Entry>>,
    /// Those that wait, the first submitted first.
    waiting: BTreeSet<JobId>,
    running: usize,
    tasks: JoinSet<()>,
}

/// A job in its folder.
struct Entry {
    folder: PathBuf,
    record: watch::Sender<Job>,
    writing: Mutex<()>,
}

/// How a driver ended.
enum Ended {
    /// By itself.
    Exited(u8),
    /// By something else than itself or us.
    Died(String),
    /// Because its job was cancelled.
    Cancelled,
    /// Because the scheduler ends.
    Stopped,
}

/// A piece of a job's log.
#[derive(Debug, PartialEq, Eq)]
pub struct LogPiece {
    /// Whole characters.
    pub text: String,
    /// Where the next piece begins.
    pub next: u64,
}

impl Drivers {
    /// Opens a work folder with the jobs in it; none begins before [`Self::begin`]. Drivers that a killed scheduler left
    /// behind are killed: their work on its cluster is lost, and what they committed is skipped.
    pub async fn open(settings: DriverSettings) -> Result<Arc<Self>, JobError> {
        let folder = settings.work_dir.join("jobs");
        let failed = |error: io::Error| {
            JobError::user(
                format!("the folder {} cannot be used: {error}", folder.display()),
                "name another with --work-dir",
            )
        };
        fs::create_dir_all(&folder).map_err(failed)?;
        let lock = File::create(folder.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(JobError::user(
                    format!("another scheduler works in {}", settings.work_dir.display()),
                    "end it, or name another folder with --work-dir",
                ));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let entries = read(&folder).map_err(failed)?;
        for entry in &entries {
            if entry.job().state == State::Running {
                entry.recover().await;
            }
        }
        let mut queue = Queue::default();
        for entry in entries {
            let job = entry.job();
            if !job.state.is_final() {
                queue.waiting.insert(job.id.clone());
            }
            queue.jobs.insert(job.id, Arc::new(entry));
        }
        let drivers = Arc::new(Self {
            settings,
            folder,
            flags: OnceLock::new(),
            queue: Mutex::new(queue),
            stopping: watch::Sender::new(false),
            _lock: lock,
        });
        drivers.prune();
        Ok(drivers)
    }

    /// Begins with the jobs that wait. `flags` are what each driver is told before its job: the
    /// cluster, and the paths of TLS files.
    pub fn begin(self: &Arc<Self>, flags: Vec<OsString>) {
        self.flags.get_or_init(|| flags);
        self.start_waiting();
    }

    /// Takes a job in.
    pub fn submit(self: &Arc<Self>, submission: &Submission) -> Result<Job, DriversError> {
        submission.check()?;
        let settings_file = submission.settings_file()?;
        let entry = {
            let mut queue = self.queue();
            if self.is_stopping() {
                return Err(DriversError::Stopping);
            }
            if queue.waiting.len() >= LONGEST_QUEUE {
                return Err(DriversError::Full);
            }
            // Ids go up, whatever the clock does.
            let millis = u64::try_from(Utc::now().timestamp_millis()).unwrap_or(0);
            let newest = queue.jobs.keys().next_back();
            let id = (millis..)
                .map(JobId::of_millis)
                .find(|id| newest.is_none_or(|newest| id > newest))
                .ok_or(DriversError::Full)?;
            let entry = Arc::new(Entry::new(self.folder.join(id.to_string()), submission, id));
            let job = entry.job();
            entry
                .make(&settings_file)
                .map_err(|error| DriversError::Folder {
                    id: job.id.clone(),
                    error,
                })?;
            queue.waiting.insert(job.id.clone());
            queue.jobs.insert(job.id, Arc::clone(&entry));
            entry
        };
        self.start_waiting();
        Ok(entry.job())
    }

    /// All jobs, the newest first.
    pub fn list(&self) -> Vec<Job> {
        let jobs = self.queue();
        jobs.jobs.values().rev().map(|entry| entry.job()).collect()
    }

    /// One job.
    pub fn get(&self, id: &str) -> Result<Job, DriversError> {
        Ok(self.entry(id)?.job())
    }

    /// What a job's last driver printed as its result so far.
    pub fn result(&self, id: &str) -> Result<Option<Value>, DriversError> {
        let entry = self.entry(id)?;
        entry.result().map_err(|error| entry.failed(error))
    }

    /// What a job's drivers have logged from a byte on.
    pub fn log(&self, id: &str, from: u64) -> Result<LogPiece, DriversError> {
        let entry = self.entry(id)?;
        entry.log(from).map_err(|error| entry.failed(error))
    }

    /// Ends a job: one that waits at once, one at work as soon as its driver has ended. One that has
    /// ended stays as it is.
    pub fn cancel(self: &Arc<Self>, id: &str) -> Result<Job, DriversError> {
        let entry = self.entry(id)?;
        let waited = self.queue().waiting.remove(&entry.job().id);
        let done = if entry.job().state.is_final() {
            Ok(())
        } else if waited {
            entry.change(|job| {
                job.cancel_requested = true;
                job.state = State::Cancelled;
                job.finished_at = Some(now());
            })
        } else {
            entry.change(|job| job.cancel_requested = true)
        };
        done.map_err(|error| entry.failed(error))?;
        Ok(entry.job())
    }

    /// Ends all drivers. Their jobs go on when the folder is opened again.
    pub async fn stop(&self) {
        self.stopping.send_replace(true);
        let mut tasks = std::mem::take(&mut self.queue().tasks);
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a driver's keeper failed");
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing that holds it leaves it half changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, id: &str) -> Result<Arc<Entry>, DriversError> {
        let known: Option<JobId> = id.parse().ok();
        known
            .and_then(|id| self.queue().jobs.get(&id).cloned())
            .ok_or_else(|| DriversError::Unknown { id: id.to_owned() })
    }

    /// Starts as many drivers as may run.
    fn start_waiting(self: &Arc<Self>) {
        if self.flags.get().is_none() {
            return;
        }
        let mut queue = self.queue();
        while let Some(ended) = queue.tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "a driver's keeper failed");
            }
        }
        while queue.running < self.settings.at_once && !self.is_stopping() {
            let Some(id) = queue.waiting.pop_first() else {
                return;
            };
            let Some(entry) = queue.jobs.get(&id).cloned() else {
                continue;
            };
            queue.running += 1;
            let drivers = Arc::clone(self);
            queue.tasks.spawn(async move {
                drivers.conduct(&entry).await;
                drivers.queue().running -= 1;
                drivers.prune();
                drivers.start_waiting();
            });
        }
    }

    /// Brings a job to its end, with as many drivers as it takes.
    async fn conduct(&self, entry: &Entry) {
        loop {
            if entry.job().cancel_requested {
                return entry.finish(State::Cancelled, None, None);
            }
            match self.attempt(entry).await {
                Ended::Exited(code) => {
                    let state = match code {
                        0 => State::Succeeded,
                        3 => State::Partly,
                        _ => State::Failed,
                    };
                    let reason = (state == State::Failed).then(|| entry.last_error(code));
                    return entry.finish(state, Some(code), reason);
                }
                Ended::Cancelled => return entry.finish(State::Cancelled, None, None),
                Ended::Stopped => {
                    return entry.keep(|job| {
                        job.state = State::Queued;
                        job.process = None;
                    });
                }
                Ended::Died(reason) => {
                    if let Some(reason) = entry.died(&reason) {
                        return entry.finish(State::Failed, None, Some(reason));
                    }
                    let doublings = entry.job().deaths.saturating_sub(1);
                    let pause = self.settings.patience.backoff * 2_u32.saturating_pow(doublings);
                    tokio::select! {
                        () = sleep(pause) => {}
                        () = entry.cancelled() => {}
                        () = self.stopped() => {
                            return entry.keep(|job| {
                                job.state = State::Queued;
                                job.process = None;
                            });
                        }
                    }
                }
            }
        }
    }

    /// Runs one driver to its end.
    async fn attempt(&self, entry: &Entry) -> Ended {
        let run_id = Uuid::new_v4().to_string();
        entry.keep(|job| {
            job.state = State::Running;
            job.attempts += 1;
            job.process = None;
            job.run_id = Some(run_id.clone());
            job.started_at.get_or_insert_with(now);
        });
        let mut child = match self.start(entry, &run_id) {
            Ok(child) => child,
            Err(error) => return Ended::Died(format!("its driver could not be started: {error}")),
        };
        let pid = child.id();
        entry.keep(|job| {
            job.process = pid.and_then(|pid| {
                // For people, and no more: the mark is what a driver is found by.
                Process::of(pid).ok().flatten()
            });
        });
        let (ended, asked) = tokio::select! {
            ended = child.wait() => (ended, None),
            () = entry.cancelled() => (self.end(&mut child).await, Some(Ended::Cancelled)),
            () = self.stopped() => (self.end(&mut child).await, Some(Ended::Stopped)),
        };
        match (ended, asked) {
            // It had done its work when it was asked to end.
            (Ok(status), Some(_)) if matches!(status.code(), Some(0 | 3)) => by_itself(status),
            (Ok(_), Some(asked)) => asked,
            (Ok(status), None) if matches!(status.code(), Some(0 | 3)) => by_itself(status),
            (Ok(status), None) => tokio::select! {
                // Who ends a whole service tells the scheduler and its drivers at once.
                () = self.stopped() => Ended::Stopped,
                () = sleep(TOLD_AT_ONCE) => by_itself(status),
            },
            (Err(error), _) => Ended::Died(format!("its driver is lost: {error}")),
        }
    }

    fn start(&self, entry: &Entry, run_id: &str) -> io::Result<Child> {
        let job = entry.job();
        let mut log = entry.open_log()?;
        if job.attempts > 1 {
            writeln!(log, "driver {} of job {}", job.attempts, job.id)?;
        }
        let mut command = Command::new(&self.settings.binary);
        command
            .args(self.flags.get().into_iter().flatten())
            .args([
                "--json",
                "--verbose",
                "--run-id",
                run_id,
                "--lake",
                &job.lake,
            ])
            .arg("--config")
            .arg(entry.folder.join(SETTINGS));
        if let Some(slices) = job.slices {
            command.arg("--slices").arg(slices.to_string());
        }
        command
            .args(&job.arguments)
            .env(MARK, &entry.folder)
            .current_dir(&entry.folder)
            .stdin(Stdio::null())
            .stdout(File::create(entry.folder.join(RESULT))?)
            .stderr(log)
            .process_group(0)
            .spawn()
    }

    /// Asks a driver to end, and ends it when it does not.
    async fn end(&self, child: &mut Child) -> io::Result<ExitStatus> {
        // `None` once it has been waited for: then nothing of it is left to be told.
        if let Some(pid) = child.id() {
            signal_group(pid, Signal::Interrupt)?;
            if let Ok(ended) = timeout(self.settings.patience.grace, child.wait()).await {
                return ended;
            }
            signal_group(pid, Signal::Kill)?;
        }
        child.wait().await
    }

    /// Whether the drivers are told to end.
    pub fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    async fn stopped(&self) {
        // The sender lives as long as this does.
        let _ = self
            .stopping
            .subscribe()
            .wait_for(|stopping| *stopping)
            .await;
    }

    /// Forgets jobs that ended long ago.
    fn prune(&self) {
        let oldest = Utc::now() - chrono::Duration::days(KEPT_DAYS);
        let mut queue = self.queue();
        let ended = queue.jobs.values().rev().map(|entry| entry.job());
        let ended = ended.filter(|job| job.state.is_final()).enumerate();
        let forgotten: Vec<JobId> = ended
            .filter(|(newer, job)| *newer >= KEPT || job.finished_before(oldest))
            .map(|(_, job)| job.id)
            .collect();
        for id in forgotten {
            match fs::remove_dir_all(self.folder.join(id.to_string())) {
                Ok(()) => {
                    queue.jobs.remove(&id);
                }
                Err(error) => tracing::warn!(%id, %error, "an old job's folder cannot be removed"),
            }
        }
    }
}

impl Entry {
    fn new(folder: PathBuf, submission: &Submission, id: JobId) -> Self {
        Self::of(
            folder,
            Job {
                id,
                arguments: submission.arguments.clone(),
                lake: submission.lake.clone(),
                slices: submission.slices,
                state: State::Queued,
                cancel_requested: false,
                exit_code: None,
                reason: None,
                attempts: 0,
                deaths: 0,
                process: None,
                run_id: None,
                submitted_at: now(),
                started_at: None,
                finished_at: None,
                counts: BTreeMap::new(),
            },
        )
    }

    fn of(folder: PathBuf, job: Job) -> Self {
        Self {
            folder,
            record: watch::Sender::new(job),
            writing: Mutex::new(()),
        }
    }

    /// Makes the folder. The record comes last: a folder without one is no job.
    fn make(&self, settings_file: &str) -> io::Result<()> {
        fs::create_dir(&self.folder)?;
        fs::write(self.folder.join(SETTINGS), settings_file)?;
        self.job().write(&self.folder)
    }

    fn job(&self) -> Job {
        self.record.borrow().clone()
    }

    fn failed(&self, error: io::Error) -> DriversError {
        let id = self.job().id;
        DriversError::Folder { id, error }
    }

    /// Changes the record, in the folder first.
    fn change(&self, change: impl FnOnce(&mut Job)) -> io::Result<()> {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut job = self.job();
        change(&mut job);
        let written = job.write(&self.folder);
        self.record.send_replace(job);
        written
    }

    /// Changes the record where nobody is there to be told that the folder could not be written: the
    /// job goes on, and a scheduler that starts later may do some of it again.
    fn keep(&self, change: impl FnOnce(&mut Job)) {
        if let Err(error) = self.change(change) {
            tracing::error!(id = %self.job().id, %error, "a job's record cannot be written");
        }
    }

    fn finish(&self, state: State, exit_code: Option<u8>, reason: Option<String>) {
        let counts = match self.result() {
            Ok(result) => counts(result.as_ref()),
            Err(error) => {
                tracing::warn!(id = %self.job().id, %error, "a job's result cannot be read");
                BTreeMap::new()
            }
        };
        self.keep(|job| {
            job.state = state;
            job.exit_code = exit_code;
            job.reason = reason;
            job.process = None;
            job.counts = counts;
            job.finished_at = Some(now());
        });
    }

    /// Counts a death. Why the job has failed, when it was the last that it may have.
    fn died(&self, reason: &str) -> Option<String> {
        self.keep(|job| {
            job.deaths += 1;
            job.process = None;
        });
        let job = self.job();
        tracing::warn!(id = %job.id, deaths = job.deaths, reason, "a job's driver died");
        (job.deaths >= MOST_DEATHS)
            .then(|| format!("{} of its drivers died; the last time {reason}", job.deaths))
    }

    /// What a scheduler that was killed left of a running job is ended; the job waits again.
    async fn recover(&self) {
        match self.end_left_over().await {
            Ok(0) => {
                if let Some(reason) = self.died("its driver ended with its scheduler") {
                    return self.finish(State::Failed, None, Some(reason));
                }
            }
            Ok(_) => {}
            Err(error) => {
                let reason = format!(
                    "its scheduler was killed, and whether its driver still runs cannot be told: {error}"
                );
                return self.finish(State::Failed, None, Some(reason));
            }
        }
        self.keep(|job| {
            job.state = State::Queued;
            job.process = None;
        });
    }

    /// Kills the drivers that are left of this job; their number.
    async fn end_left_over(&self) -> io::Result<usize> {
        const TICK: Duration = Duration::from_millis(10);
        const TICKS: usize = 1000;
        let found = marked(MARK, &self.folder)?;
        for process in &found {
            signal_group(process.pid, Signal::Kill)?;
        }
        for process in &found {
            let mut ticks = 0;
            while process.is_running()? {
                if ticks == TICKS {
                    let message = format!("process {} does not end", process.pid);
                    return Err(io::Error::new(io::ErrorKind::TimedOut, message));
                }
                ticks += 1;
                sleep(TICK).await;
            }
        }
        Ok(found.len())
    }

    async fn cancelled(&self) {
        // The sender lives as long as this does.
        let _ = self
            .record
            .subscribe()
            .wait_for(|job| job.cancel_requested)
            .await;
    }

    fn open_log(&self) -> io::Result<File> {
        File::options()
            .append(true)
            .create(true)
            .open(self.folder.join(LOG))
    }

    fn log(&self, from: u64) -> io::Result<LogPiece> {
        let mut bytes = vec![];
        match File::open(self.folder.join(LOG)) {
            Ok(mut file) => {
                file.seek(SeekFrom::Start(from))?;
                file.take(LOG_PIECE).read_to_end(&mut bytes)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        // A character that is not all there yet belongs to the next piece.
        if let Err(error) = std::str::from_utf8(&bytes)
            && error.error_len().is_none()
        {
            bytes.truncate(error.valid_up_to());
        }
        Ok(LogPiece {
            next: from + bytes.len() as u64,
            text: String::from_utf8_lossy(&bytes).into_owned(),
        })
    }

    /// Why a driver that left with this code did so, as far as it said.
    fn last_error(&self, code: u8) -> String {
        let length = fs::metadata(self.folder.join(LOG)).map_or(0, |file| file.len());
        let end = self.log(length.saturating_sub(LOG_PIECE));
        let said = end.ok().and_then(|piece| {
            let mut lines = piece.text.lines().rev();
            lines.find_map(|line| line.strip_prefix("error: ").map(str::to_owned))
        });
        said.unwrap_or_else(|| format!("its driver left with exit code {code}"))
    }

    fn result(&self) -> io::Result<Option<Value>> {
        let file = match File::open(self.folder.join(RESULT)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = vec![];
        file.take(LARGEST_RESULT).read_to_end(&mut bytes)?;
        // A driver that has not come to its end has printed none.
        Ok(serde_json::from_slice(&bytes).ok())
    }
}

fn by_itself(status: ExitStatus) -> Ended {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Exited(u8::try_from(code).unwrap_or(u8::MAX)),
        (None, Some(signal)) => Ended::Died(format!("its driver was ended by signal {signal}")),
        (None, None) => Ended::Died("its driver ended without a code".to_owned()),
    }
}

/// The whole numbers of a result.
fn counts(result: Option<&Value>) -> BTreeMap<String, u64> {
    let object = result.and_then(Value::as_object);
    let numbers = object.into_iter().flatten();
    numbers
        .filter_map(|(name, value)| Some((name.clone(), value.as_u64()?)))
        .collect()
}

/// The jobs in a folder.
fn read(folder: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = vec![];
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let id = path.file_name().and_then(|name| name.to_str());
        let Some(id) = id.and_then(|name| name.parse::<JobId>().ok()) else {
            continue;
        };
        match Job::read(&path) {
            Ok(job) if job.id == id => entries.push(Entry::of(path, job)),
            Ok(_) => {
                tracing::warn!(%id, "a job's folder holds another job's record: it is left alone")
            }
            // The submission was cut short: nobody was told that there is such a job.
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs::remove_dir_all(&path)?,
            Err(error) => {
                tracing::warn!(%id, %error, "a job's record cannot be read: it is left alone");
            }
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests;
