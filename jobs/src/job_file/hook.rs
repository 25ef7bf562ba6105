//! What happens when the job of a job file fails: a command, a webhook, or both.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use reqwest::{Client, StatusCode, Url};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::{sleep, timeout};
use toml::Table;

use crate::error::JobError;
use crate::process::{Signal, signal_group};

/// How long the command may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);
/// How long each try of the webhook may take.
const WEBHOOK_LIMIT: Duration = Duration::from_secs(10);
/// Tries of the webhook, and the pause after the first; it doubles.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);

/// What counts as a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum When {
    Failed,
    Partly,
}

/// The table `on_failure` of a job file.
pub struct OnFailure {
    command: Vec<String>,
    webhook: Option<Url>,
    when: Vec<When>,
}

/// What hooks are told: how the job of a file ended.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The file's name.
    pub job: String,
    /// Where the file is.
    pub file: String,
    /// `daily`.
    pub command: String,
    /// The job's name and its flags.
    pub arguments: Vec<String>,
    /// The lake.
    pub lake: String,
    /// The run, for `almanac status RUN`; a job that was refused before it began has left none.
    pub run_id: Option<String>,
    /// The id of the submitted job.
    pub submitted: Option<String>,
    /// `succeeded`, `partly`, `failed` or `cancelled`.
    pub state: &'static str,
    /// The exit code of `almanac run`.
    pub exit_code: u8,
    /// Why it failed, when it said so.
    pub error: Option<String>,
    /// What it said can be done.
    pub hint: Option<String>,
    /// When it started, RFC 3339, UTC.
    pub started_at: String,
    /// When it ended.
    pub finished_at: String,
    /// What the job printed as its result with `--json`.
    pub result: Option<Value>,
}

impl std::fmt::Debug for OnFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Arguments and addresses hold what `${NAME}` stood for.
        f.debug_struct("OnFailure")
            .field("command", &self.command.first())
            .field("webhook", &self.webhook.as_ref().map(shown))
            .field("when", &self.when)
            .finish()
    }
}

impl OnFailure {
    /// Understands the table. Whatever is wrong with it is said before the job runs, not when it has
    /// failed.
    pub fn parse(
        table: Table,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, JobError> {
        #[derive(Deserialize)]
        struct Content {
            #[serde(default)]
            command: Vec<String>,
            webhook: Option<String>,
            when: Option<Vec<When>>,
        }
        let content: Content = table.try_into().map_err(|error: toml::de::Error| {
                JobError::user(
                    format!("[on_failure]: {}", error.message()),
                    "`command = [\"program\", \"argument\"]`, `webhook = \"https://…\"`, `when = [\"failed\", \"partly\"]`",
                )
            })?;
        let command: Vec<String> = content
            .command
            .iter()
            .map(|word| expanded("on_failure.command", word, &environment))
            .collect::<Result<_, _>>()?;
        let webhook = match &content.webhook {
            Some(text) => Some(url(&expanded("on_failure.webhook", text, &environment)?)?),
            None => None,
        };
        if command.is_empty() && webhook.is_none() {
            return Err(JobError::user(
                "[on_failure] names neither a command nor a webhook",
                "give one of them, or leave the table out",
            ));
        }
        Ok(Self {
            command,
            webhook,
            when: content
                .when
                .unwrap_or_else(|| vec![When::Failed, When::Partly]),
        })
    }

    /// Tells of a job that did not end well. What goes wrong is said on standard error, and changes
    /// nothing else.
    pub async fn tell(&self, report: &Report) -> Result<(), JobError> {
        let when = match report.exit_code {
            0 => return Ok(()),
            3 => When::Partly,
            _ => When::Failed,
        };
        if !self.when.contains(&when) {
            return Ok(());
        }
        let body = serde_json::to_vec(report).map_err(|error| JobError::ours(error.to_string()))?;
        if let Some((program, arguments)) = self.command.split_first()
            && let Err(reason) = run(program, arguments, report, &body).await
        {
            eprintln!("warning: the on_failure command `{program}` {reason}");
        }
        if let Some(webhook) = &self.webhook
            && let Err(reason) = post(webhook, &body).await
        {
            eprintln!(
                "warning: the on_failure webhook at {} {reason}",
                shown(webhook)
            );
        }
        Ok(())
    }
}

/// Runs the command with the report on its standard input.
async fn run(
    program: &str,
    arguments: &[String],
    report: &Report,
    body: &[u8],
) -> Result<(), String> {
    let mut child = Command::new(program)
        .args(arguments)
        .env("ALMANAC_JOB", &report.job)
        .env(
            "ALMANAC_RUN_ID",
            report.run_id.as_deref().unwrap_or_default(),
        )
        .env("ALMANAC_EXIT_CODE", report.exit_code.to_string())
        .stdin(Stdio::piped())
        // Standard output is the job's.
        .stdout(io::stderr())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("cannot be started: {error}"))?;
    let (pid, stdin) = (child.id(), child.stdin.take());
    let told = async {
        if let Some(mut stdin) = stdin {
            match stdin.write_all(body).await {
                // It has read as much as it wants.
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
                _ => drop(stdin),
            }
        }
        child.wait().await
    };
    let ended = timeout(COMMAND_LIMIT, told).await;
    match ended {
        Ok(Ok(status)) if ExitStatus::success(&status) => Ok(()),
        Ok(Ok(status)) => Err(format!("failed: {status}")),
        Ok(Err(error)) => Err(format!("is lost: {error}")),
        Err(_) => {
            if let Some(pid) = pid {
                signal_group(pid, Signal::Kill)
                    .map_err(|error| format!("does not end, and cannot be killed: {error}"))?;
            }
            Err(format!(
                "was killed: it took longer than {} s",
                COMMAND_LIMIT.as_secs()
            ))
        }
    }
}

/// Posts the report, a few times if need be.
async fn post(webhook: &Url, body: &[u8]) -> Result<(), String> {
    // An error's own text would name the address, and what is secret in it.
    let told = |error: reqwest::Error| {
        let error = error.without_url();
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        text
    };
    let client = Client::builder()
        .timeout(WEBHOOK_LIMIT)
        .build()
        .map_err(|error| format!("cannot be called: {}", told(error)))?;
    let mut pause = PAUSE;
    let mut tries = 1;
    loop {
        let request = client
            .post(webhook.clone())
            .header("content-type", "application/json")
            .body(body.to_vec());
        let reason = match request.send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => {
                let status = answer.status();
                let passing = status.is_server_error()
                    || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS]
                        .contains(&status);
                if !passing {
                    return Err(format!("answered {status}"));
                }
                format!("answered {status}")
            }
            Err(error) => format!("did not answer: {}", told(error)),
        };
        if tries == TRIES {
            return Err(format!("{reason} ({TRIES} tries)"));
        }
        tries += 1;
        sleep(pause).await;
        pause *= 2;
    }
}

/// Text with each `${NAME}` replaced by that variable.
fn expanded(
    key: &str,
    text: &str,
    environment: &impl Fn(&str) -> Option<String>,
) -> Result<String, JobError> {
    let mut whole = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, after)) = after.split_once('}') else {
            return Err(JobError::user(
                format!("`{key}` has a `${{` without its `}}`"),
                "write ${NAME} for the environment's NAME",
            ));
        };
        let value = environment(name).ok_or_else(|| {
            JobError::user(
                format!("`{key}` needs the environment's {name}, which is not set"),
                format!("set {name}, or leave it out of the file"),
            )
        })?;
        whole.push_str(before);
        whole.push_str(&value);
        rest = after;
    }
    whole.push_str(rest);
    Ok(whole)
}

fn url(text: &str) -> Result<Url, JobError> {
    let url = Url::parse(text).ok();
    url.filter(|url| ["http", "https"].contains(&url.scheme()) && url.has_host())
        .ok_or_else(|| {
            JobError::user(
                "`on_failure.webhook` is no address of a webhook",
                "it begins with https:// or http://",
            )
        })
}

/// An address without its path, query and user: any of them may be secret.
fn shown(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url
        .port()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    format!("{}://{host}{port}", url.scheme())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<OnFailure, JobError> {
        let environment = |name: &str| (name == "TOKEN").then(|| "s3cret".to_owned());
        OnFailure::parse(toml::from_str(text).unwrap(), environment)
    }

    #[test]
    fn secrets_come_from_the_environment_and_are_not_shown() {
        let hook = parsed(
            "command = ['notify', '--token=${TOKEN}']\nwebhook = 'https://${TOKEN}@host:8443/${TOKEN}?key=${TOKEN}'",
        )
        .unwrap();
        assert_eq!(hook.command, ["notify", "--token=s3cret"]);
        let webhook = hook.webhook.as_ref().unwrap();
        assert_eq!(
            webhook.as_str(),
            "https://s3cret@host:8443/s3cret?key=s3cret"
        );
        assert_eq!(shown(webhook), "https://host:8443");
        assert!(!format!("{hook:?}").contains("s3cret"), "{hook:?}");
    }

    #[test]
    fn a_hook_that_could_not_be_called_is_refused_before_the_job_runs() {
        for text in [
            "",
            "command = []",
            "command = 'notify'",
            "webhook = 'ftp://host/'",
            "webhook = 'file:///etc/passwd'",
            "webhook = 'host/path'",
            "webhook = 'https://'",
            "webhook = 'https://host/${MISSING}'",
            "webhook = 'https://host/${TOKEN'",
            "webhook = 'https://host'\nwhen = ['never']",
        ] {
            let refused = parsed(text).unwrap_err();
            assert_eq!(refused.exit_code(), 1, "{text}");
        }
    }
}
