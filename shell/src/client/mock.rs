//! A server that says what a test wants it to.

use super::Url;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What happens to one request.
pub(crate) enum Reply {
    /// An answer with this status and body.
    Answer(u16, String),
    /// The same with these header lines.
    Refusing(u16, &'static str, String),
    /// The first, so much later.
    After(Duration, String),
    /// The first with status 200, and the connection is closed without a word about it.
    Closing(String),
    /// Half an answer.
    Cut,
    /// Nothing, ever.
    Silence,
}

/// A running mock.
pub(crate) struct Mock {
    pub(crate) url: Url,
    connections: Arc<AtomicUsize>,
}

impl Mock {
    /// Answers each request with `answer(path)`, on the runtime that calls.
    pub(crate) async fn start(answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (count, answer) = (Arc::clone(&connections), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let answer = Arc::clone(&answer);
                // A client that goes away ends its connection, and nothing else.
                tokio::spawn(async move { converse(stream, &*answer).await.ok() });
            }
        });
        Self { url, connections }
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn converse(stream: TcpStream, answer: &impl Fn(&str) -> Reply) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut path, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            if path.is_empty() {
                path = line.split(' ').nth(1).unwrap_or_default().to_owned();
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        stream.read_exact(&mut vec![0; length]).await?;
        let (status, headers, body, ends) = match answer(&path) {
            Reply::Answer(status, body) => (status, "", body, false),
            Reply::Refusing(status, headers, body) => (status, headers, body, false),
            Reply::After(delay, body) => {
                tokio::time::sleep(delay).await;
                (200, "", body, false)
            }
            Reply::Closing(body) => (200, "", body, true),
            Reply::Cut => {
                return stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n42").await;
            }
            Reply::Silence => std::future::pending().await,
        };
        let length = body.len();
        let answer =
            format!("HTTP/1.1 {status} Status\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await?;
        if ends {
            return Ok(());
        }
    }
}
