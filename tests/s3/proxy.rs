//! A proxy that does to requests what networks and stores do to them.

use std::io::{self, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::http::{Request, answer};
use crate::market::Chance;

/// What becomes of a request.
pub enum Fate {
    /// It is served.
    Serve,
    /// It is served as if it had been this one.
    ServeAs(Request),
    /// It is served, and the answer is changed on its way.
    Change(Box<dyn FnOnce(Vec<u8>) -> Vec<u8> + Send>),
    /// It is never served: this is the answer.
    Answer(Vec<u8>),
    /// It is never served: the connection closes.
    Close,
    /// It is served, and the connection closes instead of the answer.
    ServeAndClose,
    /// It is never served, and nothing happens for this long.
    Silence(Duration),
    /// It is served, and the answer does not come for this long, which is too late.
    ServeInSilence(Duration),
}

type Rule = dyn Fn(&Request) -> Fate + Send + Sync;

struct State {
    upstream: u16,
    rule: Box<Rule>,
    stop: AtomicBool,
    requests: AtomicU64,
    faults: AtomicU64,
}

/// A proxy on loopback, for as long as this lives.
pub struct Proxy {
    port: u16,
    state: Arc<State>,
    listener: Option<thread::JoinHandle<()>>,
}

impl Proxy {
    /// Stands before the server at `upstream` and decides by `rule`.
    pub fn before(upstream: u16, rule: impl Fn(&Request) -> Fate + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(State {
            upstream,
            rule: Box::new(rule),
            stop: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            faults: AtomicU64::new(0),
        });
        let shared = Arc::clone(&state);
        let listener = thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stop.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&shared);
                let stream = stream.expect("a connection");
                thread::spawn(move || {
                    // A client that is killed leaves its connections broken.
                    if let Err(error) = serve(stream, &shared) {
                        println!("proxy: {error}");
                    }
                });
            }
        });
        Self {
            port,
            state,
            listener: Some(listener),
        }
    }

    /// Stands before the server and harms one request in ten, in every way that leaves the store
    /// whole: refused, cut off before or after it was served, kept waiting before or after.
    pub fn unreliable(upstream: u16, seed: u64, patience: Duration) -> Self {
        let chance = Mutex::new(Chance::new(1000 * seed));
        Self::before(upstream, move |_| {
            let draw = chance.lock().expect("no rule panics").uniform();
            match (draw * 100.0) as u32 {
                0..4 => Fate::Answer(answer(
                    "503 Slow Down",
                    "<Error><Code>SlowDown</Code><Message>Reduce your request rate</Message></Error>",
                )),
                4..6 => Fate::Close,
                6..8 => Fate::ServeAndClose,
                8 => Fate::Silence(patience),
                9 => Fate::ServeInSilence(patience),
                _ => Fate::Serve,
            }
        })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Requests that came, and those that were not simply served.
    pub fn counts(&self) -> (u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        (count(&self.state.requests), count(&self.state.faults))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        // Wakes the listener; if that fails it is gone already.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

fn serve(mut stream: TcpStream, state: &State) -> io::Result<()> {
    let Some(request) = Request::read(&mut stream)? else {
        return Ok(());
    };
    state.requests.fetch_add(1, Ordering::SeqCst);
    let fate = (state.rule)(&request);
    if !matches!(fate, Fate::Serve) {
        state.faults.fetch_add(1, Ordering::SeqCst);
    }
    match fate {
        Fate::Serve => stream.write_all(&request.send(state.upstream)?),
        Fate::ServeAs(request) => stream.write_all(&request.send(state.upstream)?),
        Fate::Change(change) => stream.write_all(&change(request.send(state.upstream)?)),
        Fate::Answer(bytes) => stream.write_all(&bytes),
        Fate::Close => Ok(()),
        Fate::ServeAndClose => request.send(state.upstream).map(drop),
        Fate::Silence(time) => {
            thread::sleep(time);
            Ok(())
        }
        Fate::ServeInSilence(time) => {
            request.send(state.upstream)?;
            thread::sleep(time);
            Ok(())
        }
    }
}
