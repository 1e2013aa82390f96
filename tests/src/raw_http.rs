//! HTTP written by hand, because a proper client refuses to send what these tests send.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer as it came.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header lines, as sent.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The message of an error answer.
    ///
    /// # Panics
    /// When the body is not the protocol's error object.
    #[must_use]
    pub fn error(&self) -> String {
        let json = self.json();
        let message = json["error"].as_str().map(str::to_owned);
        message.unwrap_or_else(|| panic!("an error object, not {json}"))
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("a JSON body: {error}: {:?}", String::from_utf8_lossy(&self.body))
        })
    }
}

/// `POST`s `body` with further header lines (each ending in `\r\n`).
pub fn post(server: SocketAddr, path: &str, headers: &str, body: &[u8]) -> Answer {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\
         Content-Length: {length}\r\n{headers}\r\n"
    );
    exchange(server, &[head.as_bytes(), body].concat())
}

/// `GET`s `path`.
pub fn get(server: SocketAddr, path: &str) -> Answer {
    let head = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    exchange(server, head.as_bytes())
}

/// Sends `request` as it is and reads the answer to its end.
///
/// # Panics
/// When no answer comes within half a minute.
pub fn exchange(server: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(server).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a socket option");
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the server answers and closes");
    parse(&answer)
}

fn parse(answer: &[u8]) -> Answer {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("a head: {:?}", String::from_utf8_lossy(answer)));
    let head = String::from_utf8(answer[..end].to_vec()).expect("a head of text");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.unwrap_or_else(|| panic!("a status line: {head}"));
    Answer { status, head, body: answer[end + 4..].to_vec() }
}
