//! The `tensorforge` program as a user runs it: built, started on a free port, stopped by signal.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;

/// The workspace's root.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is below the root")
}

/// The program's path; the first call builds it, in the profile of the calling test.
pub fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "-p", "tensorforge", "--bin", "tensorforge"]);
        cargo.args(["--message-format", "json"]).current_dir(root());
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        let built = cargo.stderr(Stdio::inherit()).output().expect("cargo runs");
        assert!(built.status.success(), "the program builds");
        let messages = String::from_utf8(built.stdout).expect("cargo speaks JSON");
        let executable = messages.lines().find_map(|line| {
            let message: serde_json::Value = serde_json::from_str(line).ok()?;
            Some(PathBuf::from(message["executable"].as_str()?))
        });
        executable.expect("cargo names the program it built")
    })
}

/// Runs the program to its end, from the workspace's root.
pub fn run(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the program starts")
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(path());
    command.args(arguments).current_dir(root()).env_remove("NO_COLOR");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TENSORFORGE_")) {
        command.env_remove(name);
    }
    command
}

/// The Python that has the protocol's clients.
///
/// # Panics
/// When there is none: a suite that needs it must not pass without it.
#[must_use]
pub fn python() -> PathBuf {
    let chosen = std::env::var_os("TENSORFORGE_PYTHON").map(PathBuf::from);
    let python = chosen.unwrap_or_else(|| root().join(".venv/bin/python"));
    assert!(
        python.exists(),
        "{} does not exist: run ./ci.sh setup, which installs the Python clients the tests need, \
         or name another Python in TENSORFORGE_PYTHON",
        python.display()
    );
    python
}

/// A running server. Killed when dropped, and when the test's process ends without that, as it does
/// for a server in a `static`: left over, it would hold the pipes of whoever reads the test's output.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Ends the server when the pipe to it closes.
    warden: Child,
    stdout: BufReader<ChildStdout>,
    /// What it printed when it was ready: `url`, `models`, `curl`.
    pub announced: serde_json::Value,
}

impl Server {
    /// Starts `tensorforge --json serve` with `arguments` on a free port and waits until it
    /// listens.
    ///
    /// # Panics
    /// When it ends instead.
    pub fn start(arguments: &[&str]) -> Self {
        let serve = ["--json", "serve", "--address", "127.0.0.1:0"];
        let mut child = command(&[&serve[..], arguments].concat())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let warden = Command::new("sh")
            .args(["-c", r#"read -r _ || kill -s KILL "$0""#, &child.id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh runs");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("readable");
        let announced = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("the server says where it is: {line:?}: {error}"));
        Self { child, warden, stdout, announced }
    }

    /// Its URL.
    ///
    /// # Panics
    /// When it announced none.
    #[must_use]
    pub fn url(&self) -> &str {
        self.announced["url"].as_str().expect("announced")
    }

    /// Its address.
    ///
    /// # Panics
    /// When its URL holds none.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.url().trim_start_matches("http://").parse().expect("an address")
    }

    /// Sends a signal by name, as `kill` does.
    ///
    /// # Panics
    /// When it is not running.
    pub fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &id]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Waits for it to end.
    ///
    /// # Panics
    /// When the system loses it.
    pub fn wait(mut self) -> ExitStatus {
        // Reads to the end first, so that it can never block on a full pipe.
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("readable");
        self.child.wait().expect("it ends")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The warden first: once the server is waited for, its number may be another's.
        let _ = self.warden.kill();
        let _ = self.warden.wait();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
