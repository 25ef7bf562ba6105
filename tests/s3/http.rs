//! As much HTTP as it takes to stand between a client and a server on this machine.

use std::io::{self, Read, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// A request, read to its end.
#[derive(Debug, Clone)]
pub struct Request {
    /// `PUT`.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case, values as they came.
    pub headers: Vec<(String, String)>,
    /// What follows the headers.
    pub body: Vec<u8>,
}

/// The head of a message: its first line and its headers.
type Head = (String, Vec<(String, String)>);

impl Request {
    /// The next request on a connection; `None` when it was closed before one.
    pub fn read(stream: &mut TcpStream) -> io::Result<Option<Self>> {
        let mut received = vec![];
        let Some(end) = read_head(stream, &mut received)? else {
            return Ok(None);
        };
        let (line, headers) = parse_head(&received[..end]);
        let mut words = line.split(' ');
        let (method, target) = (
            words.next().unwrap_or_default().to_owned(),
            words.next().unwrap_or_default().to_owned(),
        );
        let length = header(&headers, "content-length").map_or(0, |text| {
            text.parse().expect("a content length is a number")
        });
        let mut body = received.split_off(end);
        while body.len() < length {
            let mut part = [0; 65536];
            let count = stream.read(&mut part)?;
            if count == 0 {
                return Ok(None);
            }
            body.extend_from_slice(&part[..count]);
        }
        Ok(Some(Self {
            method,
            target,
            headers,
            body,
        }))
    }

    /// The same request without a header.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(header, _)| header != name);
        self
    }

    /// Whether it has a header.
    pub fn has(&self, name: &str) -> bool {
        header(&self.headers, name).is_some()
    }

    /// Whether it puts a commit of a Delta log.
    pub fn is_commit(&self) -> bool {
        self.method == "PUT"
            && self.target.contains("/_delta_log/")
            && self.target.ends_with(".json")
    }

    /// What a server on this machine answers, as it came.
    pub fn send(&self, port: u16) -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut head = format!(
            "{} {} HTTP/1.1\r\nconnection: close\r\n",
            self.method, self.target
        );
        for (name, value) in &self.headers {
            if name != "connection" {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes())?;
        stream.write_all(&self.body)?;
        let mut answer = vec![];
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    }
}

/// A request of one's own, unsigned; the status and the body of the answer.
pub fn ask(port: u16, method: &str, target: &str) -> io::Result<(u16, String)> {
    let request = Request {
        method: method.to_owned(),
        target: target.to_owned(),
        headers: vec![
            ("host".to_owned(), format!("127.0.0.1:{port}")),
            ("content-length".to_owned(), "0".to_owned()),
        ],
        body: vec![],
    };
    let answer = request.send(port)?;
    let (head, body) = split(&answer);
    let status = head.0.split(' ').nth(1).and_then(|text| text.parse().ok());
    let status = status.ok_or_else(|| io::Error::other("no status line"))?;
    Ok((status, String::from_utf8_lossy(body).into_owned()))
}

/// An answer of a server's own making.
pub fn answer(status: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/xml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// An answer with another body.
pub fn with_body(whole: &[u8], change: impl FnOnce(String) -> String) -> Vec<u8> {
    let ((line, headers), body) = split(whole);
    let body = change(String::from_utf8(body.to_vec()).expect("a body of text"));
    let mut text = format!("{line}\r\n");
    for (name, value) in headers {
        if name != "content-length" {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    text.into_bytes()
}

fn split(whole: &[u8]) -> (Head, &[u8]) {
    let end = head_end(whole).expect("an answer has a head");
    (parse_head(&whole[..end]), &whole[end..])
}

fn read_head(stream: &mut TcpStream, received: &mut Vec<u8>) -> io::Result<Option<usize>> {
    loop {
        if let Some(end) = head_end(received) {
            return Ok(Some(end));
        }
        let mut part = [0; 16384];
        let count = stream.read(&mut part)?;
        if count == 0 {
            return Ok(None);
        }
        received.extend_from_slice(&part[..count]);
    }
}

fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map(|start| start + 4)
}

fn parse_head(bytes: &[u8]) -> Head {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.trim_end().split("\r\n");
    let first = lines.next().unwrap_or_default().to_owned();
    let headers = lines.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    (first, headers.collect())
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(header, _)| header == name)
        .map(|(_, value)| value.as_str())
}
