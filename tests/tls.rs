//! An encrypted cluster: who is not certified is refused on every port, and nothing readable is on
//! the wire.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::lake::{TestLake, finish};
use crate::market::{Market, days};
use crate::processes::{Cluster, Process, almanac};
use crate::tables::keys;
use crate::whole::assert_whole;

const REQUEST: &str = "backfill --commodity Coffee --models random_walk --start 2021-03-01 --end 2021-03-03 \
                       --frequency monthly --model-version v1 --paths 50";
/// What a client of HTTP/2 says first, and what a server answers at least: a settings frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
const SETTINGS_FRAME: u8 = 4;

/// An authority with certificates for two processes.
pub struct Authority {
    folder: TempDir,
}

impl Authority {
    /// Makes it.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/certificates.sh");
        let made = Command::new("bash")
            .arg(script)
            .arg(folder.path())
            .args(["process=127.0.0.1,127.0.0.2,127.0.0.3", "driver"])
            .output()
            .expect("`bash` and `openssl` run");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        Self { folder }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// The flags of a process that has this identity: `process` or `driver`.
    pub fn flags(&self, name: &str) -> Vec<String> {
        vec![
            format!("--tls-ca={}", self.file("ca.pem")),
            format!("--tls-cert={}", self.file(&format!("{name}.pem"))),
            format!("--tls-key={}", self.file(&format!("{name}-key.pem"))),
        ]
    }
}

/// Passes connections on to another address, and keeps all that goes by.
struct Wiretap {
    address: String,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Wiretap {
    fn new(bind: &str, target: &str) -> Self {
        let listener = TcpListener::bind(bind).expect("an address");
        let address = listener.local_addr().expect("an address").to_string();
        let heard = Arc::new(Mutex::new(vec![]));
        let (target, keep) = (target.to_owned(), Arc::clone(&heard));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&target) else {
                    continue;
                };
                let ends = [
                    (client.try_clone(), server.try_clone()),
                    (server.try_clone(), client.try_clone()),
                ];
                for (from, to) in ends {
                    let (Ok(from), Ok(to), keep) = (from, to, Arc::clone(&keep)) else {
                        continue;
                    };
                    thread::spawn(move || pass(from, to, &keep));
                }
            }
        });
        Self { address, heard }
    }

    fn heard(&self, what: &str) -> bool {
        let heard = self.heard.lock().expect("what was heard");
        assert!(heard.len() > 1000, "{} bytes went by", heard.len());
        heard
            .windows(what.len())
            .any(|part| part == what.as_bytes())
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, keep: &Mutex<Vec<u8>>) {
    let mut part = vec![0; 1 << 16];
    while let Ok(length) = from.read(&mut part) {
        if length == 0 || to.write_all(&part[..length]).is_err() {
            break;
        }
        keep.lock()
            .expect("what was heard")
            .extend_from_slice(&part[..length]);
    }
    // The other direction may have closed it.
    let _ = to.shutdown(Shutdown::Write);
}

/// A scheduler and an executor with a tap before each, a backfill and a query through them.
fn tapped(flags: &[String], lake: &TestLake) -> [Wiretap; 2] {
    let work = lake.path("work").display().to_string();
    let mut command = almanac(&["--json", "cluster", "scheduler", "--bind", "127.0.0.1:0"]);
    let scheduler = Process::start(command.args(["--work-dir", &work]).args(flags));
    let before_scheduler = Wiretap::new("127.0.0.1:0", &scheduler.address);
    let mut command = almanac(&["--json", "cluster", "executor", "--bind", "127.0.0.2:0"]);
    command
        .args([
            "--advertise",
            "127.0.0.3",
            "--vcores",
            "1",
            "--work-dir",
            &work,
        ])
        .args(["--scheduler", &before_scheduler.address])
        .args(flags);
    let executor = Process::start(&mut command);
    let (_, port) = executor.address.rsplit_once(':').expect("a port");
    let before_executor = Wiretap::new(&format!("127.0.0.3:{port}"), &executor.address);
    let cluster = format!(
        "--cluster df://{} {}",
        before_scheduler.address,
        flags.join(" ")
    );
    lake.job(&format!("{cluster} {REQUEST}"));
    let query = "SELECT commodity, model_name, count(*) AS n FROM distributions GROUP BY 1, 2";
    let mut arguments = vec![
        "--cluster".to_owned(),
        format!("df://{}", before_scheduler.address),
    ];
    arguments.extend_from_slice(flags);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let rows = lake.sql_with(query, &arguments).expect(0).json();
    assert!(rows.to_string().contains("Coffee"), "{rows}");
    [before_scheduler, before_executor]
}

#[test]
fn nothing_readable_is_on_the_wire() {
    let market = Market::usual("Coffee", 3);
    let authority = Authority::new();
    let secrets = ["Coffee", "random_walk", "unified_data", "day_1"];
    let lake = TestLake::of(&market);
    let encrypted = tapped(&authority.flags("process"), &lake);
    assert_whole(
        &lake,
        &keys(
            &["Coffee"],
            &["random_walk"],
            days("2021-03-01", "2021-03-03"),
        ),
        50,
    );
    for tap in &encrypted {
        for secret in secrets {
            assert!(
                !tap.heard(secret),
                "`{secret}` can be read at {}",
                tap.address
            );
        }
    }
    // The same taps hear all of it when there is no TLS.
    let [scheduler, executor] = tapped(&[], &TestLake::of(&market));
    for secret in secrets {
        assert!(scheduler.heard(secret), "{secret}");
    }
    assert!(executor.heard("Coffee"));
}

/// What a port answers to the preface of HTTP/2 in plaintext.
fn plaintext(address: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("the port is open");
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a timeout");
    stream.write_all(PREFACE).expect("it is sent");
    let mut answer = vec![0; 9];
    let length = stream.read(&mut answer).unwrap_or(0);
    answer.truncate(length);
    answer
}

/// What a port answers to the preface within TLS, with these arguments of `openssl s_client`.
fn encrypted(address: &str, arguments: &[&str]) -> (Vec<u8>, String) {
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", address, "-alpn", "h2", "-quiet"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("`openssl` runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    // A connection that was refused already takes nothing.
    let _ = stdin.write_all(PREFACE);
    thread::sleep(Duration::from_millis(700));
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    (
        output.stdout,
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

fn is_answer(bytes: &[u8]) -> bool {
    bytes.len() >= 9 && bytes[3] == SETTINGS_FRAME
}

#[test]
fn who_is_not_certified_is_refused_on_every_port() {
    let (authority, other) = (Authority::new(), Authority::new());
    let flags = authority.flags("process");
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let cluster = Cluster::with_flags(1, &flags);
    let ca = authority.file("ca.pem");
    let ports = [
        cluster.scheduler.address.clone(),
        cluster.executors[0].address.clone(),
    ];
    for address in &ports {
        let known = [
            authority.file("driver.pem"),
            authority.file("driver-key.pem"),
        ];
        let (answer, said) = encrypted(
            address,
            &["-CAfile", &ca, "-cert", &known[0], "-key", &known[1]],
        );
        assert!(
            is_answer(&answer),
            "{address} answers who is certified: {answer:?}\n{said}"
        );

        assert!(
            !is_answer(&plaintext(address)),
            "{address} answers in plaintext"
        );
        let (answer, said) = encrypted(address, &["-CAfile", &ca]);
        assert!(
            !is_answer(&answer),
            "{address} answers without a certificate"
        );
        assert!(said.contains("certificate required"), "{address}: {said}");
        let foreign = [other.file("driver.pem"), other.file("driver-key.pem")];
        let (answer, said) = encrypted(
            address,
            &["-CAfile", &ca, "-cert", &foreign[0], "-key", &foreign[1]],
        );
        assert!(
            !is_answer(&answer),
            "{address} answers another authority's certificate"
        );
        assert!(said.contains("alert"), "{address}: {said}");
    }
    // The same three, as a person meets them.
    let lake = TestLake::of(&Market::usual("Coffee", 3));
    let url = cluster.url();
    let foreign = other.flags("driver").join(" ");
    for flags in ["", &foreign] {
        let (error, hint) = lake
            .run(&format!("--cluster {url} {flags} {REQUEST}"))
            .trouble(2);
        assert!(
            error.contains(&format!("no scheduler answers at {url}")),
            "{error}"
        );
        assert!(hint.contains("TLS"), "{hint}");
    }
    // A client with TLS does not talk to a scheduler without.
    let open = Cluster::start(0);
    let known = authority.flags("driver").join(" ");
    let (error, _) = lake
        .run(&format!("--cluster {} {known} {REQUEST}", open.url()))
        .trouble(2);
    assert!(error.contains("no scheduler answers"), "{error}");
    lake.job(&format!("--cluster {url} {known} {REQUEST}"));
}

#[test]
fn a_public_address_without_tls_is_refused_unless_it_is_meant() {
    let lake = TestLake::missing();
    let cluster = Cluster::start(0);
    let scheduler = cluster.scheduler.address.as_str();
    for process in [
        vec!["cluster", "scheduler", "--bind", "0.0.0.0:0"],
        vec![
            "cluster",
            "executor",
            "--bind",
            "0.0.0.0:0",
            "--scheduler",
            scheduler,
        ],
    ] {
        let refused = finish(almanac(&process).current_dir(lake.folder()));
        let (error, hint) = refused.refusal();
        assert!(
            error.contains("0.0.0.0:0 can be reached from other machines"),
            "{error}"
        );
        assert!(
            hint.contains("--tls-ca") && hint.contains("--insecure"),
            "{hint}"
        );
    }
    let mut meant = almanac(&[
        "--json",
        "cluster",
        "scheduler",
        "--bind",
        "0.0.0.0:0",
        "--insecure",
    ]);
    let mut process = Process::start(meant.current_dir(lake.folder()));
    process.signal("TERM");
    let (code, said) = process.ended();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("WITHOUT TLS"), "{said}");
}

#[test]
fn files_that_are_no_identity_are_named() {
    let lake = TestLake::of(&Market::usual("Coffee", 3));
    let authority = Authority::new();
    let no_pem = lake.file("no.pem", "nothing");
    let missing: PathBuf = lake.path("missing.pem");
    let [ca, cert, key] =
        ["ca.pem", "driver.pem", "driver-key.pem"].map(|name| authority.file(name));
    let with = |ca: &str, cert: &str, key: &str| {
        let flags = format!("--tls-ca {ca} --tls-cert {cert} --tls-key {key}");
        lake.run(&format!("--cluster df://127.0.0.1:1 {flags} {REQUEST}"))
            .refusal()
            .0
    };
    assert!(with(&ca, &cert, missing.to_str().expect("text")).contains("cannot read"));
    assert!(with(&no_pem, &cert, &key).contains("holds no PEM certificate"));
    assert!(with(&ca, &cert, &ca).contains("holds no PEM private key"));
    let one = lake.run(&format!(
        "--cluster df://127.0.0.1:1 --tls-ca {ca} {REQUEST}"
    ));
    assert!(
        one.refusal()
            .0
            .contains("TLS needs --tls-ca, --tls-cert and --tls-key")
    );
}
