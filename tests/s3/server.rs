//! A server that speaks S3, for as long as this process lives.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::http::ask;
use crate::lake::skip;

/// The server of this process.
struct Server {
    port: u16,
    /// Its standard input is a pipe from this process. When that closes, however this process ends,
    /// the server is stopped.
    _child: Child,
}

/// Runs the server in the background, and stops it by its id when standard input ends.
const UNTIL_INPUT_ENDS: &str = r#""$0" --host 127.0.0.1 --port "$1" >/dev/null 2>&1 & server=$!; cat >/dev/null; kill "$server""#;

/// The port of the server, or `None` and a word about it where there is none to start.
pub fn port() -> Option<u16> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let server = SERVER.get_or_init(|| Some(start(&std::env::var("ALMANAC_S3_SERVER").ok()?)));
    if server.is_none() {
        skip("ALMANAC_S3_SERVER names no `moto_server` (tests/requirements.txt)");
    }
    server.as_ref().map(|server| server.port)
}

fn start(program: &str) -> Server {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("an address").port();
    drop(free);
    let child = Command::new("sh")
        .args(["-c", UNTIL_INPUT_ENDS, program, &port.to_string()])
        .stdin(Stdio::piped())
        .spawn()
        .expect("the S3 server starts");
    let deadline = Instant::now() + Duration::from_secs(60);
    while ask(port, "GET", "/").is_err() {
        assert!(
            Instant::now() < deadline,
            "`{program}` does not answer on port {port}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    Server {
        port,
        _child: child,
    }
}
