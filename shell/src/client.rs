//! A small client of the protocol: one keep-alive connection over plain HTTP/1.1.

use crate::contracts::rest::{self, Body, DecodeError, EncodeError, HEADER_LENGTH};
use crate::contracts::{
    ErrorBody, InferRequest, InferResponse, REASON_HEADER, RETRY_AFTER_MS, Reason,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::http::response::Parts;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long an answer may take unless [`Client::timeout`] says otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// How long connecting may take: a machine that is not there answers nothing at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a server is: `http://HOST[:PORT]`, port 80 unless stated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Url {
    authority: String,
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            None => text,
            Some((scheme, _)) => {
                return Err(format!("{scheme}:// is not supported, only http://"));
            }
        };
        let authority = rest.trim_end_matches('/');
        let host_end = authority.rfind(']').unwrap_or(0);
        let (host, port) = match authority[host_end..].find(':') {
            Some(colon) => authority.split_at(host_end + colon),
            None => (authority, ":80"),
        };
        let malformed = host.is_empty()
            || host.contains(|c: char| "/@?#".contains(c) || c.is_whitespace())
            || port[1..].parse::<u16>().is_err();
        if malformed {
            return Err(format!("'{text}' is not an address such as http://127.0.0.1:8000"));
        }
        Ok(Self { authority: format!("{host}{port}") })
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
    /// The answer did not come in time.
    #[error("{url} did not answer within {after:?}")]
    TimedOut {
        /// The server.
        url: Url,
        /// The time it had.
        after: Duration,
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
        /// Why, where the server says so.
        reason: Option<Reason>,
        /// When to come again, where the server says so.
        retry_after: Option<Duration>,
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
    timeout: Duration,
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
        Self { url, timeout: TIMEOUT, connection: None }
    }

    /// Sets how long an answer may take, connecting included.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
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

    /// Sends a JSON document, or none, and reads the one that comes back.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn ask<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        document: Option<&serde_json::Value>,
    ) -> Result<T, ClientError> {
        let body = |document: &serde_json::Value| Body {
            bytes: document.to_string().into(),
            header_length: None,
        };
        let answer = self.send(method, path, document.map(body).as_ref()).await?;
        self.parse(&answer)
    }

    /// `POST`s a JSON document and reads the one that comes back.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn post_json<T: DeserializeOwned>(
        &mut self,
        path: &str,
        document: &serde_json::Value,
    ) -> Result<T, ClientError> {
        self.ask(Method::POST, path, Some(document)).await
    }

    /// `POST`s a JSON document; what comes back is left.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn post_only(
        &mut self,
        path: &str,
        document: &serde_json::Value,
    ) -> Result<(), ClientError> {
        let body = Body { bytes: document.to_string().into(), header_length: None };
        self.send(Method::POST, path, Some(&body)).await.map(|_| ())
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
        self.send_with(method, path, body, &[]).await
    }

    /// The same with more headers.
    async fn send_with(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Body>,
        headers: &[(&str, HeaderValue)],
    ) -> Result<Answer, ClientError> {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header(HOST, &self.url.authority);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
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

        let timeout = self.timeout;
        let (head, body) = match tokio::time::timeout(timeout, self.exchange(request)).await {
            Ok(answer) => answer?,
            // The connection went with the exchange: its answer may still come.
            Err(_) => {
                return Err(ClientError::TimedOut { url: self.url.clone(), after: timeout });
            }
        };

        if head.status != StatusCode::OK {
            let message = match serde_json::from_slice::<ErrorBody>(&body) {
                Ok(ErrorBody { error }) => error,
                Err(_) => String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned(),
            };
            let (url, status) = (self.url.clone(), head.status);
            let (reason, retry_after) = (reason(&head.headers), retry_after(&head.headers));
            return Err(ClientError::Refused { url, status, message, reason, retry_after });
        }
        let header_length = head.headers.get(HEADER_LENGTH).map(|value| {
            let length = value.to_str().ok().and_then(|text| text.parse().ok());
            length.ok_or_else(|| self.protocol(format!("{HEADER_LENGTH} is {value:?}")))
        });
        Ok(Answer { body, header_length: header_length.transpose()? })
    }

    /// Sends over the open connection, or a new one where that is gone.
    async fn exchange(
        &mut self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Parts, Bytes), ClientError> {
        if let Some(mut open) = self.connection.take()
            // Not ready: the server closed the idle connection.
            && open.ready().await.is_ok()
        {
            match open.try_send_request(request).await {
                Ok(response) => return self.receive(open, response).await,
                // Closed just now. The request comes back when nothing of it went out; otherwise
                // the server may have run it, and only the caller knows whether it may run twice.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(self.broken(error.into_error())),
                },
            }
        }
        let mut connection = self.connect().await?;
        let response = connection.send_request(request).await;
        let response = response.map_err(|error| self.broken(error))?;
        self.receive(connection, response).await
    }

    /// Reads the answer to its end; only then is the connection good for another request.
    async fn receive(
        &mut self,
        connection: SendRequest<Full<Bytes>>,
        response: Response<Incoming>,
    ) -> Result<(Parts, Bytes), ClientError> {
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| self.broken(error))?.to_bytes();
        self.connection = Some(connection);
        Ok((head, body))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, ClientError> {
        let unreachable = |source| ClientError::Unreachable { url: self.url.clone(), source };
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(&self.url.authority));
        let late = |_| std::io::Error::other(format!("no connection within {CONNECT_TIMEOUT:?}"));
        let stream = stream.await.map_err(late).flatten().map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(error))?;
        // Ends with the connection; what goes wrong is seen by the caller in `send_request`.
        tokio::spawn(connection);
        Ok(sender)
    }

    fn parse<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T, ClientError> {
        serde_json::from_slice(&answer.body).map_err(|error| self.protocol(error.to_string()))
    }

    fn broken(&self, source: hyper::Error) -> ClientError {
        ClientError::Broken { url: self.url.clone(), source }
    }

    fn protocol(&self, message: String) -> ClientError {
        ClientError::Protocol { url: self.url.clone(), message }
    }
}

/// The header of an Envoy, such as those of Istio and KServe, that turns requests away at its own limits.
const ENVOY_OVERLOADED: &str = "x-envoy-overloaded";

/// Why the server did not answer, where a program can read it.
fn reason(headers: &HeaderMap) -> Option<Reason> {
    if let Some(reason) = headers.get(REASON_HEADER) {
        return Some(reason.to_str().map_or(Reason::Other, Reason::of));
    }
    headers.contains_key(ENVOY_OVERLOADED).then_some(Reason::Overload)
}

/// When to come again. Dates are left: whoever sends one means hours, not a queue.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| {
        let value = headers.get(name)?.to_str().ok()?;
        value.trim().parse::<u32>().ok().map(u64::from)
    };
    number(RETRY_AFTER_MS)
        .map(Duration::from_millis)
        .or_else(|| number(RETRY_AFTER.as_str()).map(Duration::from_secs))
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

/// The path that has a model loaded or unloaded: `action` is `load` or `unload`.
#[must_use]
pub fn repository_path(model: &str, action: &str) -> String {
    format!("/v2/repository/models/{}/{action}", escape(model))
}

/// The path of an endpoint in a server's table of routes.
#[must_use]
pub fn endpoint_path(name: &str) -> String {
    format!("/v2/routes/endpoints/{}", escape(name))
}

/// The path of a model's split in a server's table of routes.
#[must_use]
pub fn split_path(model: &str) -> String {
    format!("/v2/routes/models/{}/split", escape(model))
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

mod remote;

pub use remote::RemoteEndpoint;

#[cfg(test)]
pub(crate) mod mock;
#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod routing;
#[cfg(test)]
mod tests;
