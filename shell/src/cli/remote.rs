//! What the commands that talk to a server share.

use super::CliError;
use crate::client::{Client, ClientError, Url};
use crate::config::parse_duration;
use crate::contracts::InferRequest;
use crate::contracts::rest;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

/// Which server to talk to.
#[derive(clap::Args, Debug)]
pub(super) struct ServerArgs {
    /// The server
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://127.0.0.1:8000",
        env = "TENSORFORGE_URL"
    )]
    pub(super) url: Url,

    /// Longest wait for one answer, connecting included
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub(super) timeout: Duration,
}

impl ServerArgs {
    /// A connection to that server, not opened yet.
    pub(super) fn client(&self) -> Client {
        Client::new(self.url.clone()).timeout(self.timeout)
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let message = error.to_string();
        match error {
            ClientError::Unreachable { .. } => Self::unreachable(message)
                .help("start one with `tensorforge serve`, or name another with --url"),
            ClientError::TimedOut { .. } => Self::failed(message)
                .help("the server is busy or stuck; --timeout allows it more time"),
            ClientError::Encode(_) => Self::unusable(message),
            _ => Self::failed(message),
        }
    }
}

/// Runs a command's conversation with a server on this thread.
pub(super) fn block_on<T>(
    conversation: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::failed(format!("cannot start: {error}")))?
        .block_on(conversation)
}

/// Reads a ready-made JSON request; `-` is standard input.
pub(super) fn read_request(file: &Path) -> Result<InferRequest, CliError> {
    let name = file.display();
    let read = match file.to_str() {
        Some("-") => {
            let mut bytes = Vec::new();
            std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
        }
        _ => std::fs::read(file),
    };
    let bytes = read.map_err(|error| CliError::unusable(format!("cannot read {name}: {error}")))?;
    rest::decode_request(&bytes.into(), None).map_err(|error| {
        CliError::unusable(format!("{name}: {error}"))
            .help("a request is JSON such as {\"inputs\":[{\"name\":\"image\",\"datatype\":\"FP32\",\"shape\":[1,64],\"data\":[...]}]}")
    })
}
