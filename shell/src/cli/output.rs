//! What the program prints, and how it ends.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

/// Where results go: text for people or one JSON object for programs.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
}

impl Output {
    /// JSON or text.
    #[must_use]
    pub const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether a program reads along.
    #[must_use]
    pub const fn is_json(self) -> bool {
        self.json
    }

    /// Prints one JSON object on a line of its own, at once.
    pub fn json(self, value: &serde_json::Value) {
        self.text(&value.to_string());
    }

    /// Prints a line of text, at once. A reader that went away ends the program quietly; output
    /// that is lost otherwise, on a full disk say, ends it with an error.
    pub fn text(self, line: &str) {
        let mut stdout = std::io::stdout().lock();
        match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
            Err(error) => {
                eprintln!("error: cannot write the output: {error}");
                std::process::exit(1);
            }
        }
    }

    /// Prints what went wrong and what helps, on standard error.
    pub fn error(self, error: &CliError) {
        if self.json && !error.printed {
            self.json(&serde_json::json!({ "error": error.message, "help": error.help }));
        }
        let (red, bold, plain) = match colours(&std::io::stderr()) {
            true => ("\x1b[1;31m", "\x1b[1m", "\x1b[0m"),
            false => ("", "", ""),
        };
        notice(&format!("{red}error:{plain} {}", error.message));
        if let Some(help) = &error.help {
            notice(&format!("{bold}help:{plain} {help}"));
        }
    }
}

/// Tells the person at the terminal something beside the results. A standard error that is gone
/// must not end a server that has requests in hand.
pub(super) fn notice(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Whether `stream` is a terminal that may be written to in colour.
pub(super) fn colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Lays out `rows` in columns two spaces apart, the first row as their head.
#[must_use]
pub(super) fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let mut widths = [0; COLUMNS];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; COLUMNS]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Why a command failed: what happened, what helps, and the exit code.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct CliError {
    message: String,
    help: Option<String>,
    code: u8,
    printed: bool,
}

impl CliError {
    const fn new(code: u8, message: String) -> Self {
        Self { message, help: None, code, printed: false }
    }

    /// The operation failed, or the server answered with an error. Exit code 1.
    #[must_use]
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(1, message.into())
    }

    /// The command line asks for what cannot be. Exit code 2.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(2, message.into())
    }

    /// No server answers. Exit code 3.
    #[must_use]
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self::new(3, message.into())
    }

    /// A file or model cannot be used. Exit code 4.
    #[must_use]
    pub fn unusable(message: impl Into<String>) -> Self {
        Self::new(4, message.into())
    }

    /// The address cannot be listened on. Exit code 5.
    #[must_use]
    pub fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> Self {
        Self::new(5, format!("cannot listen on {address}: {error}"))
            .help("choose another with --address IP:PORT; port 0 takes a free one")
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Says that the JSON object on standard output tells of this already: there is only one.
    #[must_use]
    pub const fn printed(mut self) -> Self {
        self.printed = true;
        self
    }

    /// The program's exit code.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        self.code.into()
    }
}

/// The progress of reading so many bytes: only on a terminal, and only where there is something to wait for.
pub(super) fn progress_of_bytes(bytes: u64) -> ProgressBar {
    if bytes < 32 << 20 || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = "{bar:40} {bytes} of {total_bytes}, {eta} left";
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(bytes).with_style(style)
}
