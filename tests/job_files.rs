//! Job files: the job that a file describes, and who is told when it fails.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::thread;

use serde_json::Value;

use crate::lake::{Output, Report, TestLake, finish};
use crate::market::Market;
use crate::processes::{signal, until};

const BACKFILL: &str = r#"
command = "backfill"

[arguments]
commodity = "Coffee"
models = ["naive", "random_walk"]
start = 2021-03-01
end = "2021-03-05"
frequency = "monthly"
model-version = "v1"
paths = 20
"#;

/// A model that fails on purpose beside one that does not.
const DRILL: &str = "[models.broken]\nfamily = \"drill\"\n";

fn lake() -> TestLake {
    TestLake::of(&Market::usual("Coffee", 171))
}

fn told(lake: &TestLake) -> Value {
    let text = fs::read(lake.path("told.json")).expect("the hook was called");
    serde_json::from_slice(&text).expect("one JSON value")
}

/// A hook that keeps what it is told.
const KEEPS: &str = r#"
[on_failure]
command = ["sh", "-c", "cat > told.json; env | grep ^ALMANAC_ | sort > told.env; echo the hook speaks"]
"#;

#[test]
fn the_job_of_a_file_is_the_job_of_its_command_line() {
    let lake = lake();
    let file = lake.file("usual.toml", BACKFILL);
    let expected = lake.copy();
    let same = expected.job(
        "backfill --commodity Coffee --models naive,random_walk --start 2021-03-01 --end 2021-03-05 \
         --frequency monthly --model-version v1 --paths 20",
    );
    let report = lake.job(&format!("run {file}"));
    assert_eq!(report.forecasts(), [10, 0, 0]);
    assert_eq!(
        (report.trained(), report.forecasts()),
        (same.trained(), same.forecasts())
    );
    let run = report.0["run_id"].as_str().expect("a run");
    let status = lake.run(&format!("--json status {run}")).expect(0).json();
    assert_eq!(status["runs"][0]["kind"], "backfill", "{status}");

    // For people it prints what the command prints, and what is given with it comes first.
    let text = lake
        .run(&format!(
            "run {file} --set end=2021-03-07 --set models=naive"
        ))
        .expect(0)
        .stdout;
    assert!(text.starts_with("backfill succeeded"), "{text}");
    let more = lake.job(&format!(
        "run {file} --set end=2021-03-07 --set models=naive"
    ));
    assert_eq!(more.forecasts(), [0, 7, 0]);
}

#[test]
fn the_example_runs_as_it_is() {
    let lake = lake();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/jobs/daily-coffee.toml");
    let line = format!("run {} --date 2021-03-03", example.display());
    let text = lake.run(&line).expect(0).stdout;
    assert!(
        text.contains("DAILY PRODUCTION COMPLETE  2021-03-03"),
        "{text}"
    );
    let report = lake.job(&line);
    assert_eq!(
        (report.trained(), report.forecasts()),
        ([0, 2, 0], [0, 2, 0])
    );
}

#[test]
fn the_file_names_its_lake_unless_the_command_does() {
    let lake = lake();
    let elsewhere = TestLake::missing();
    let content = format!("lake = {:?}\n{BACKFILL}", lake.root().display().to_string());
    let file = elsewhere.file("job.toml", &content);
    let mut command = crate::processes::almanac(&["--json", "run", &file]);
    let report = Report(
        finish(command.current_dir(elsewhere.folder()))
            .expect(0)
            .json(),
    );
    assert_eq!(report.forecasts(), [10, 0, 0]);
    elsewhere.run(&format!("run {file}")).expect(1);
}

#[test]
fn a_hook_is_told_of_a_job_of_which_some_units_failed() {
    let lake = lake();
    lake.configure(DRILL);
    let content = BACKFILL.replace("\"random_walk\"", "\"broken\"");
    let file = lake.file("some-fail.toml", format!("{content}{KEEPS}"));
    let output = lake.run(&format!("--json run {file}")).expect(3);
    // Standard output is the job's alone.
    let report = Report(output.json());
    assert_eq!(report.forecasts(), [5, 0, 5], "{output}");
    assert!(output.stderr.contains("the hook speaks"), "{output}");

    let told = told(&lake);
    assert_eq!(
        (
            &told["job"],
            &told["command"],
            &told["state"],
            &told["exit_code"]
        ),
        (
            &"some-fail".into(),
            &"backfill".into(),
            &"partly".into(),
            &3.into()
        ),
        "{told}"
    );
    assert_eq!(told["result"], report.0);
    assert_eq!(told["run_id"], report.0["run_id"]);
    assert_eq!(told["submitted"], Value::Null);
    assert_eq!(told["lake"].as_str(), lake.root().to_str());
    let environment = fs::read_to_string(lake.path("told.env")).unwrap();
    let run = report.0["run_id"].as_str().unwrap();
    for pair in [
        "ALMANAC_JOB=some-fail".to_owned(),
        "ALMANAC_EXIT_CODE=3".to_owned(),
        format!("ALMANAC_RUN_ID={run}"),
    ] {
        assert!(
            environment.lines().any(|line| line == pair),
            "{pair} in {environment}"
        );
    }

    // Who does not want to hear of single units is told of jobs that failed only.
    fs::remove_file(lake.path("told.json")).unwrap();
    let file = lake.file(
        "quiet.toml",
        format!("{content}{KEEPS}when = [\"failed\"]\n"),
    );
    lake.run(&format!("run {file}")).expect(3);
    assert!(!lake.path("told.json").exists());
    let file = lake.file("quiet.toml", format!("{BACKFILL}{KEEPS}"));
    lake.run(&format!("run {file}")).expect(0);
    assert!(
        !lake.path("told.json").exists(),
        "a job that ends well is nobody's trouble"
    );
}

#[test]
fn a_hook_is_told_why_a_job_failed_and_its_own_failure_changes_nothing() {
    let lake = lake();
    let content = BACKFILL.replace("\"Coffee\"", "\"Cofee\"");
    let file = lake.file("refused.toml", format!("{content}{KEEPS}"));
    let output = lake.run(&format!("run {file}")).expect(1);
    let told = told(&lake);
    assert_eq!(
        (&told["state"], &told["exit_code"]),
        (&"failed".into(), &1.into()),
        "{told}"
    );
    let (error, hint) = (
        told["error"].as_str().unwrap(),
        told["hint"].as_str().unwrap(),
    );
    assert!(error.contains("Cofee") && hint.contains("Coffee"), "{told}");
    assert_eq!(told["result"], Value::Null);
    // Said once, by the job itself.
    assert_eq!(output.stderr.matches(error).count(), 1, "{output}");

    for (command, said) in [
        (r#"["sh", "-c", "exit 7"]"#, "exit status: 7"),
        (r#"["no-such-program-anywhere"]"#, "cannot be started"),
    ] {
        let hook = format!("{content}[on_failure]\ncommand = {command}\n");
        let file = lake.file("refused.toml", hook);
        let output = lake.run(&format!("run {file}")).expect(1);
        let warned = output
            .stderr
            .lines()
            .find(|line| line.starts_with("warning:"));
        assert!(warned.is_some_and(|line| line.contains(said)), "{output}");
    }
}

#[test]
fn a_hook_is_told_of_a_job_that_dies() {
    let lake = lake();
    let file = lake.file("dies.toml", format!("{BACKFILL}{KEEPS}"));
    let mut command = lake.command(&format!("run {file}"));
    let output = finish(command.env("ALMANAC_CRASH_AT", "between_tables")).expect(2);
    let told = told(&lake);
    assert_eq!(told["exit_code"], 2, "{told}");
    assert!(
        told["error"].as_str().unwrap().contains("signal 9"),
        "{told}"
    );
    assert!(
        output
            .stderr
            .contains("error: the job was ended by signal 9"),
        "{output}"
    );
    // The run that was begun is known by the id that the hook was told.
    let run = told["run_id"].as_str().unwrap();
    let status = lake.run(&format!("--json status {run}")).expect(0).json();
    assert_eq!(status["runs"][0]["status"], "unfinished", "{status}");
    assert_eq!(lake.job(&format!("run {file}")).forecasts()[2], 0);
}

#[test]
fn who_ends_the_command_ends_the_job() {
    let lake = lake();
    let long = BACKFILL
        .replace("paths = 20", "paths = 2000")
        .replace("2021-03-05", "2021-12-31");
    let file = lake.file("long.toml", format!("{long}{KEEPS}"));
    let mut command = lake.command(&format!("--threads 1 run {file}"));
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("the job begins", || {
        let runs = lake.root().join("_almanac/runs").read_dir();
        runs.is_ok_and(|mut runs| runs.next().is_some())
            .then_some(())
    });
    signal(child.id(), "TERM");
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let told = told(&lake);
    assert!(
        told["error"].as_str().unwrap().contains("signal 15"),
        "{told}"
    );
    // Nothing of it goes on.
    let id = told["run_id"].as_str().unwrap();
    let going_on = fs::read_dir("/proc")
        .unwrap()
        .filter_map(Result::ok)
        .any(|entry| {
            fs::read(entry.path().join("cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(id))
        });
    assert!(!going_on, "the job's process is still there");
}

/// A server that answers its requests with these statuses, one after the other, and gives their bodies.
fn server(statuses: &'static [u16]) -> (u16, thread::JoinHandle<Vec<(String, String)>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let serving = thread::spawn(move || {
        let answer = |status: &u16| {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut request = vec![];
            loop {
                let mut piece = [0; 4096];
                let read = stream.read(&mut piece).expect("a request");
                request.extend_from_slice(&piece[..read]);
                let text = String::from_utf8_lossy(&request).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else {
                    continue;
                };
                let length = head.lines().find_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    name.eq_ignore_ascii_case("content-length")
                        .then(|| value.trim().parse::<usize>().expect("a length"))
                });
                if body.len() < length.expect("a length") {
                    continue;
                }
                let answer = format!(
                    "HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                );
                stream.write_all(answer.as_bytes()).expect("an answer");
                return (head.to_owned(), body.to_owned());
            }
        };
        statuses.iter().map(answer).collect()
    });
    (port, serving)
}

fn with_webhook(lake: &TestLake, port: u16) -> Output {
    let content = BACKFILL.replace("\"Coffee\"", "\"Cofee\"");
    let hook = format!(
        "[on_failure]\nwebhook = \"http://me:${{HOOK_SECRET}}@127.0.0.1:{port}/hooks/${{HOOK_SECRET}}?key=${{HOOK_SECRET}}\"\n"
    );
    let file = lake.file("webhook.toml", content + &hook);
    let mut command = lake.command(&format!("-v run {file}"));
    let output = finish(command.env("HOOK_SECRET", "s3cret")).expect(1);
    assert!(!output.stderr.contains("s3cret"), "{output}");
    output
}

#[test]
fn a_webhook_gets_the_job_and_is_tried_again_while_that_may_help() {
    let lake = lake();
    let (port, serving) = server(&[503, 429, 204]);
    let output = with_webhook(&lake, port);
    assert!(!output.stderr.contains("warning"), "{output}");
    let requests = serving.join().expect("three requests");
    for (head, body) in &requests {
        assert!(
            head.starts_with("POST /hooks/s3cret?key=s3cret HTTP/1.1"),
            "{head}"
        );
        assert!(
            head.to_lowercase()
                .contains("content-type: application/json"),
            "{head}"
        );
        let told: Value = serde_json::from_str(body).expect("one JSON value");
        assert_eq!(
            (&told["job"], &told["exit_code"]),
            (&"webhook".into(), &1.into())
        );
    }

    let (port, serving) = server(&[500, 502, 503]);
    let output = with_webhook(&lake, port);
    let said = format!("warning: the on_failure webhook at http://127.0.0.1:{port} answered 503");
    assert!(
        output.stderr.contains(&said) && output.stderr.contains("3 tries"),
        "{output}"
    );
    serving.join().expect("three requests");

    // What it will never take is not sent again.
    let (port, serving) = server(&[404]);
    let output = with_webhook(&lake, port);
    assert!(output.stderr.contains("answered 404"), "{output}");
    serving.join().expect("one request");

    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let output = with_webhook(&lake, free);
    assert!(output.stderr.contains("did not answer"), "{output}");
}

#[test]
fn a_file_that_makes_no_sense_is_refused_by_its_name_and_changes_nothing() {
    let lake = lake();
    let files = lake.files();
    for (from, to, key, meant) in [
        ("command =", "comand =", "`comand`", "`command`"),
        ("\"backfill\"", "\"bakfill\"", "`bakfill`", "`backfill`"),
        (
            "model-version",
            "model-versoin",
            "`arguments.model-versoin`",
            "`model_version`",
        ),
        ("paths = 20", "paths = true", "`arguments.paths`", ""),
        ("[arguments]", "[argument]", "`argument`", "`arguments`"),
        (
            "[arguments]",
            "[on_failure]\n[arguments]",
            "[on_failure]",
            "",
        ),
        (
            "[arguments]",
            "[on_failure]\nwebhook = 'https://host/${NOT_SET}'\n[arguments]",
            "NOT_SET",
            "",
        ),
        ("start =", "start", "line 7", ""),
    ] {
        let content = BACKFILL.replacen(from, to, 1);
        assert_ne!(content, BACKFILL);
        let file = lake.file("odd.toml", content);
        let (error, hint) = lake.run(&format!("run {file}")).refusal();
        assert!(error.contains("odd.toml") && error.contains(key), "{error}");
        assert!(hint.contains(meant), "{hint}");
    }
    let file = lake.file("good.toml", BACKFILL);
    let (error, hint) = lake.run(&format!("run {file} --set path=3")).refusal();
    assert!(
        error.contains("`path`") && hint.contains("`paths`"),
        "{error} {hint}"
    );
    let (error, _) = lake.run("run nowhere.toml").refusal();
    assert!(error.contains("nowhere.toml"), "{error}");
    let file = lake.file("handed-over.toml", format!("submit = true\n{BACKFILL}"));
    let (error, hint) = lake.run(&format!("run {file}")).refusal();
    assert!(
        error.contains("no cluster") && hint.contains("--cluster"),
        "{error} {hint}"
    );
    assert_eq!(lake.files(), files);
}
