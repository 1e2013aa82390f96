//! A small client of the protocol: one keep-alive connection over plain HTTP/1.1.

use crate::contracts::rest::{self, Body, DecodeError, EncodeError, HEADER_LENGTH};
use crate::contracts::{ErrorBody, InferRequest, InferResponse};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::fmt;
use std::str::FromStr;
use tokio::net::TcpStream;

/// Where a server is: `http://HOST[:PORT]`, port 80 unless stated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Url {
    authority: String,
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = match text.split_once("://") {
            Some(("http", rest)) => rest,
            None => text,
            Some((scheme, _)) => {
                return Err(format!("{scheme}:// is not supported, only http://"));
            }
        };
        let authority = rest.trim_end_matches('/');
        let malformed = authority.is_empty()
            || authority.contains(|c: char| c == '/' || c == '@' || c.is_whitespace());
        if malformed {
            return Err(format!("'{text}' is not an address such as http://127.0.0.1:8000"));
        }
        let host_end = authority.rfind(']').unwrap_or(0);
        let has_port = authority[host_end..].contains(':');
        let port = if has_port { "" } else { ":80" };
        Ok(Self { authority: format!("{authority}{port}") })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

/// Why a call brought no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody listens there.
    #[error("no server answers at {url}: {source}")]
    Unreachable {
        /// The server.
        url: Url,
        /// The system's words.
        source: std::io::Error,
    },
    /// The connection broke before the answer was complete.
    #[error("{url} broke off the connection: {source}")]
    Broken {
        /// The server.
        url: Url,
        /// What happened.
        source: hyper::Error,
    },
    /// The server answered with an error.
    #[error("{url} answered {}: {message}", .status.as_u16())]
    Refused {
        /// The server.
        url: Url,
        /// The status.
        status: StatusCode,
        /// The server's message.
        message: String,
    },
    /// The answer is not what the protocol promises.
    #[error("{url} does not speak the protocol: {message}")]
    Protocol {
        /// The server.
        url: Url,
        /// What was wrong with the answer.
        message: String,
    },
    /// The request has no JSON form.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// One connection to a server, opened when needed and again after the server closed it.
#[derive(Debug)]
pub struct Client {
    url: Url,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// An answer with status 200.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The body.
    pub body: Bytes,
    /// The value of [`HEADER_LENGTH`], if the answer has one.
    pub header_length: Option<usize>,
}

impl Client {
    /// A client that has not connected yet.
    #[must_use]
    pub const fn new(url: Url) -> Self {
        Self { url, connection: None }
    }

    /// The server.
    #[must_use]
    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// `GET`s a JSON document.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, ClientError> {
        let answer = self.send(Method::GET, path, None).await?;
        self.parse(&answer)
    }

    /// `POST`s nothing and reads the JSON document that comes back.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn post<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, ClientError> {
        let answer = self.send(Method::POST, path, None).await?;
        self.parse(&answer)
    }

    /// Runs a model; `binary` says whether the inputs go as raw bytes.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn infer(
        &mut self,
        model: &str,
        version: Option<&str>,
        request: &InferRequest,
        binary: bool,
    ) -> Result<InferResponse, ClientError> {
        let body = rest::encode_request(request, binary)?;
        let answer = self.send(Method::POST, &infer_path(model, version), Some(&body)).await?;
        self.decode(&answer)
    }

    /// Reads the answer to an infer request.
    ///
    /// # Errors
    /// [`ClientError::Protocol`].
    pub fn decode(&self, answer: &Answer) -> Result<InferResponse, ClientError> {
        rest::decode_response(&answer.body, answer.header_length)
            .map_err(|error: DecodeError| self.protocol(error.to_string()))
    }

    /// Sends one request and reads the whole answer.
    ///
    /// # Errors
    /// [`ClientError`]; the next call connects again where needed.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Body>,
    ) -> Result<Answer, ClientError> {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header(HOST, &self.url.authority);
        if let Some(body) = body {
            let binary = body.header_length.is_some();
            let content = if binary { "application/octet-stream" } else { "application/json" };
            request = request.header(CONTENT_TYPE, content);
            if let Some(length) = body.header_length {
                request = request.header(HEADER_LENGTH, length);
            }
        }
        let bytes = body.map(|body| body.bytes.clone()).unwrap_or_default();
        let request = request
            .body(Full::new(bytes))
            .map_err(|error| self.protocol(format!("'{path}' is not a path: {error}")))?;

        let broken = |source| ClientError::Broken { url: self.url.clone(), source };
        let reused = match self.connection.take() {
            Some(mut open) => match open.send_request(request.clone()).await {
                Ok(response) => Some((open, response)),
                // The server closed the idle connection: nothing of this request was read.
                Err(error) if error.is_canceled() || error.is_closed() => None,
                Err(error) => return Err(broken(error)),
            },
            None => None,
        };
        let (connection, response) = match reused {
            Some(reused) => reused,
            None => {
                let mut connection = self.connect().await?;
                let response = connection.send_request(request).await.map_err(broken)?;
                (connection, response)
            }
        };
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(broken)?.to_bytes();
        self.connection = Some(connection);

        if head.status != StatusCode::OK {
            let message = match serde_json::from_slice::<ErrorBody>(&body) {
                Ok(ErrorBody { error }) => error,
                Err(_) => String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned(),
            };
            let (url, status) = (self.url.clone(), head.status);
            return Err(ClientError::Refused { url, status, message });
        }
        let header_length = head.headers.get(HEADER_LENGTH).map(|value| {
            let length = value.to_str().ok().and_then(|text| text.parse().ok());
            length.ok_or_else(|| self.protocol(format!("{HEADER_LENGTH} is {value:?}")))
        });
        Ok(Answer { body, header_length: header_length.transpose()? })
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, ClientError> {
        let unreachable = |source| ClientError::Unreachable { url: self.url.clone(), source };
        let stream = TcpStream::connect(&self.url.authority).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|source| ClientError::Broken { url: self.url.clone(), source })?;
        // Ends with the connection; what goes wrong is seen by the caller in `send_request`.
        tokio::spawn(connection);
        Ok(sender)
    }

    fn parse<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T, ClientError> {
        serde_json::from_slice(&answer.body).map_err(|error| self.protocol(error.to_string()))
    }

    fn protocol(&self, message: String) -> ClientError {
        ClientError::Protocol { url: self.url.clone(), message }
    }
}

/// The path of a model or one of its versions.
#[must_use]
pub fn model_path(model: &str, version: Option<&str>) -> String {
    let mut path = format!("/v2/models/{}", escape(model));
    if let Some(version) = version {
        path.push_str("/versions/");
        path.push_str(&escape(version));
    }
    path
}

/// The path that runs a model or one of its versions.
#[must_use]
pub fn infer_path(model: &str, version: Option<&str>) -> String {
    model_path(model, version) + "/infer"
}

/// Escapes what has a meaning in a path, or none in a URL (RFC 3986, section 2.1).
fn escape(segment: &str) -> String {
    let mut escaped = String::new();
    for byte in segment.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[test]
    fn urls_are_read_as_people_write_them() {
        for (text, authority) in [
            ("http://127.0.0.1:8000", "127.0.0.1:8000"),
            ("http://gpu-1/", "gpu-1:80"),
            ("localhost:8000", "localhost:8000"),
            ("http://[::1]", "[::1]:80"),
            ("http://[::1]:8000/", "[::1]:8000"),
        ] {
            assert_eq!(text.parse::<Url>().unwrap().authority, authority);
        }
        for text in ["", "http://", "https://a", "http://a/v2", "http://a b", "ftp://a"] {
            assert!(text.parse::<Url>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_escaped_in_paths() {
        assert_eq!(model_path("a b/ü", Some("1")), "/v2/models/a%20b%2F%C3%BC/versions/1");
    }

    /// Answers each connection with one of `answers`, then closes it.
    async fn server(answers: Vec<&'static str>) -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.unwrap());
                }
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        url
    }

    #[tokio::test]
    async fn a_closed_connection_is_opened_again() {
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n42";
        let mut client = Client::new(server(vec![answer, answer]).await);
        for _ in 0..2 {
            assert_eq!(client.get::<u32>("/").await.unwrap(), 42);
        }
    }

    #[tokio::test]
    async fn errors_name_the_server_and_what_it_said() {
        let cut = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n42";
        let refused = "HTTP/1.1 404 Not Found\r\nContent-Length: 16\r\n\r\n{\"error\":\"none\"}";
        let page = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\nhtml";
        let not_json = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhtml";
        let url = server(vec![cut, refused, page, not_json]).await;
        for words in ["broke off", "answered 404: none", "answered 502: html", "the protocol"] {
            let error = Client::new(url.clone()).get::<u32>("/").await.unwrap_err().to_string();
            assert!(error.contains(words) && error.contains(&url.to_string()), "{error}");
        }
        let nobody: Url = "http://127.0.0.1:1".parse().unwrap();
        let error = Client::new(nobody).get::<u32>("/").await.unwrap_err().to_string();
        assert!(error.contains("no server answers at http://127.0.0.1:1"), "{error}");
    }
}
