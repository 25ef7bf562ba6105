//! `run`: the job that a file describes, and what happens when it fails.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};

use almanac_executor::cluster::Control;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use crate::commands::{jobs, print_result};
use crate::error::JobError;
use crate::job_file::{JobFile, Report};
use crate::process::{Signal, signal_group};
use crate::runs::Status;
use crate::settings::Settings;
use crate::submitted::{self, State, Submission, now};

/// Runs a job in a process of its own, so that its end is seen and told whatever ends it. `flags` are
/// what this process was told of where and how jobs run.
pub async fn run(
    settings: &Settings,
    file: &JobFile,
    flags: &[OsString],
) -> Result<Status, JobError> {
    let run_id = Uuid::new_v4().to_string();
    let started_at = now();
    let ended = in_a_process(settings, file, flags, &run_id).await?;
    if let Some(result) = &ended.result {
        print_result(&file.command(), result, settings.json)?;
    }
    let report = Report {
        run_id: Some(run_id),
        submitted: None,
        state: match ended.exit_code {
            0 => State::Succeeded,
            3 => State::Partly,
            _ => State::Failed,
        }
        .word(),
        exit_code: ended.exit_code,
        error: ended.error,
        hint: ended.hint,
        started_at,
        finished_at: now(),
        result: ended.result,
        ..Report::of(file, settings.lake.uri.clone())
    };
    file.tell(&report).await?;
    match ended.exit_code {
        0 => Ok(Status::Succeeded),
        3 => Ok(Status::Partial),
        exit_code => Err(JobError::Told { exit_code }),
    }
}

/// Hands a job to the scheduler, and waits for its end. A scheduler that is not there fails the job.
pub async fn run_submitted(
    control: impl Future<Output = Result<Control, JobError>>,
    settings: &Settings,
    file: &JobFile,
) -> Result<Status, JobError> {
    let started_at = now();
    let mut report = Report {
        started_at: started_at.clone(),
        ..Report::of(file, settings.lake.uri.clone())
    };
    let ended = async {
        let submission = Submission::new(settings, &file.line.arguments)?;
        let control = control.await?;
        report.lake.clone_from(&submission.lake);
        report.arguments.clone_from(&submission.arguments);
        let job = submitted::submit(&control, &submission).await?;
        let id = job.id.to_string();
        if !settings.quiet {
            eprintln!("job {id}: ending this command ends only the following");
        }
        report.submitted = Some(id.clone());
        submitted::follow(&control, &id, true).await
    };
    let outcome = match ended.await {
        Ok(shown) => {
            report.run_id.clone_from(&shown.job.run_id);
            report.state = shown.job.state.word();
            report.error.clone_from(&shown.job.reason);
            report.result.clone_from(&shown.result);
            if let Some(result) = &shown.result {
                print_result(&file.command(), result, settings.json)?;
            }
            jobs::outcome(&shown)
        }
        Err(error) => Err(error),
    };
    report.finished_at = now();
    report.exit_code = match &outcome {
        Ok(Status::Succeeded) => 0,
        Ok(_) => 3,
        Err(error) => error.exit_code(),
    };
    if let Err(error) = &outcome
        && report.error.is_none()
    {
        report.error = Some(error.to_string());
    }
    file.tell(&report).await?;
    outcome
}

impl JobFile {
    fn command(&self) -> String {
        self.line.arguments.first().cloned().unwrap_or_default()
    }

    async fn tell(&self, report: &Report) -> Result<(), JobError> {
        match &self.on_failure {
            Some(on_failure) => on_failure.tell(report).await,
            None => Ok(()),
        }
    }
}

impl Report {
    /// A job of which nothing is known but what was asked for.
    fn of(file: &JobFile, lake: String) -> Self {
        Self {
            job: file.name.clone(),
            file: file.path.display().to_string(),
            command: file.command(),
            arguments: file.line.arguments.clone(),
            lake,
            run_id: None,
            submitted: None,
            state: State::Failed.word(),
            exit_code: 2,
            error: None,
            hint: None,
            started_at: String::new(),
            finished_at: String::new(),
            result: None,
        }
    }
}

/// How the job's process ended.
struct Ended {
    exit_code: u8,
    result: Option<Value>,
    error: Option<String>,
    hint: Option<String>,
}

async fn in_a_process(
    settings: &Settings,
    file: &JobFile,
    flags: &[OsString],
    run_id: &str,
) -> Result<Ended, JobError> {
    let failed = |error: io::Error| JobError::ours(format!("the job's process: {error}"));
    let cluster = settings.cluster.iter();
    let cluster = cluster.flat_map(|address| ["--cluster".to_owned(), address.to_string()]);
    let mut child = Command::new(std::env::current_exe().map_err(failed)?)
        .args(flags)
        .args(["--json", "--run-id", run_id, "--lake", &settings.lake.uri])
        .args(cluster)
        .args(&file.line.arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Signals reach it through this process, once.
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let printed = async {
        let mut bytes = vec![];
        if let Some(mut stdout) = stdout {
            stdout.read_to_end(&mut bytes).await?;
        }
        Ok::<_, io::Error>(bytes)
    };
    let said = async {
        let (mut error, mut hint) = (None, None);
        if let Some(stderr) = stderr {
            let mut lines = BufReader::new(stderr).split(b'\n');
            while let Some(line) = lines.next_segment().await? {
                let line = String::from_utf8_lossy(&line);
                eprintln!("{line}");
                if let Some(text) = line.strip_prefix("error: ") {
                    error = Some(text.to_owned());
                } else if let Some(text) = line.strip_prefix("hint: ") {
                    hint = Some(text.to_owned());
                }
            }
        }
        Ok::<_, io::Error>((error, hint))
    };
    let (ended, printed, said) = tokio::join!(to_its_end(&mut child), printed, said);
    let ((status, asked), (mut error, hint)) = (ended.map_err(failed)?, said.map_err(failed)?);
    let exit_code = match (status.code(), status.signal()) {
        (Some(code @ 0..=3), _) => code as u8,
        (Some(code), _) => {
            error = Some(say(format!("the job left with exit code {code}")));
            2
        }
        (None, signal) => {
            let signal = signal.unwrap_or_default();
            error = Some(say(format!("the job was ended by signal {signal}")));
            // Who asked for its end can mend that.
            if asked { 1 } else { 2 }
        }
    };
    // What did not come to its end has printed nothing.
    let result = serde_json::from_slice(&printed.map_err(failed)?).ok();
    Ok(Ended {
        exit_code,
        result,
        error,
        hint,
    })
}

fn say(error: String) -> String {
    eprintln!("error: {error}");
    eprintln!("hint: run it again: what is committed is skipped");
    error
}

/// Waits for a process, and hands on to it what this one is told. Whether it was told to end.
async fn to_its_end(child: &mut Child) -> io::Result<(ExitStatus, bool)> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut asked = false;
    loop {
        let told = tokio::select! {
            ended = child.wait() => return Ok((ended?, asked)),
            _ = interrupt.recv() => Signal::Interrupt,
            _ = terminate.recv() => Signal::Terminate,
        };
        asked = true;
        if let Some(pid) = child.id() {
            signal_group(pid, told)?;
        }
    }
}
