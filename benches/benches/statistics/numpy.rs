//! numpy in a process of its own, with one thread, asked in turn like everybody else. It times
//! itself, so that nothing of the conversation is on its account.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/numpy_rivals.py");

/// What the linear algebra that numpy may have been built with takes its number of threads from.
const THREADS: [&str; 5] = [
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
];

pub(crate) struct Numpy {
    process: Child,
    requests: Option<BufWriter<ChildStdin>>,
    answers: BufReader<ChildStdout>,
    name: String,
}

/// What a routine took and said.
pub(crate) struct Answer {
    pub(crate) seconds: f64,
    pub(crate) figures: Vec<f64>,
}

impl Numpy {
    /// Or why there is none.
    pub(crate) fn start() -> Result<Self, String> {
        let python = python();
        let mut command = Command::new(&python);
        command.arg(SCRIPT).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.envs(THREADS.map(|name| (name, "1")));
        let python = python.display();
        let mut process = command.spawn().map_err(|problem| format!("{python}: {problem}"))?;
        let (requests, answers) = (process.stdin.take(), process.stdout.take());
        let mut numpy = Self {
            process,
            requests: requests.map(BufWriter::new),
            answers: BufReader::new(answers.expect("its output is a pipe")),
            name: String::new(),
        };
        let Some(hello) = numpy.hear() else {
            return Err(format!("{python} ended before it said which numpy it has"));
        };
        if let Some(missing) = hello["missing"].as_str() {
            return Err(format!("{python}: {missing}"));
        }
        let version = hello["numpy"].as_str().unwrap_or("of no version");
        let threads = hello["threads"].as_u64().unwrap_or(0);
        if threads != 1 {
            return Err(format!("numpy {version} of {python} started {threads} threads, not one"));
        }
        numpy.name = format!("numpy {version}");
        Ok(numpy)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Lets it keep `values` under `name`.
    pub(crate) fn hold(&mut self, name: &str, values: &[f64]) {
        let bytes = values
            .chunks(1 << 16)
            .map(|values| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>());
        self.ask(&json!({ "ask": "hold", "name": name, "values": values.len() }), bytes);
    }

    /// Lets it forget what it holds.
    pub(crate) fn drop_all(&mut self) {
        self.ask(&json!({ "ask": "drop" }), []);
    }

    /// Mean and population variance of `x`.
    pub(crate) fn mean_variance(&mut self, times: usize) -> Answer {
        self.routine(&json!({ "ask": "mean_variance", "times": times }))
    }

    /// Sample covariance of `x` and `y`.
    pub(crate) fn covariance(&mut self, times: usize) -> Answer {
        self.routine(&json!({ "ask": "covariance", "times": times }))
    }

    /// Of `x`, row by row; answers these entries.
    pub(crate) fn covariance_matrix(
        &mut self,
        columns: usize,
        entries: &[(usize, usize)],
        times: usize,
    ) -> Answer {
        self.routine(&json!({
            "ask": "covariance_matrix", "times": times, "columns": columns, "entries": entries,
        }))
    }

    fn routine(&mut self, request: &Value) -> Answer {
        let answer = self.ask(request, []);
        let figures = answer["answer"].as_array().expect("a routine answers with a list");
        Answer {
            seconds: answer["seconds"].as_f64().expect("a routine is timed"),
            figures: figures.iter().map(|figure| figure.as_f64().unwrap_or(f64::NAN)).collect(),
        }
    }

    fn ask(&mut self, request: &Value, bytes: impl IntoIterator<Item = Vec<u8>>) -> Value {
        let requests = self.requests.as_mut().expect("it is asked until it is dropped");
        let say = || -> std::io::Result<()> {
            writeln!(requests, "{request}")?;
            bytes.into_iter().try_for_each(|bytes| requests.write_all(&bytes))?;
            requests.flush()
        };
        let said = say();
        match self.hear() {
            Some(answer) if said.is_ok() => answer,
            _ => panic!("numpy's process ended at {request}; it says above why"),
        }
    }

    fn hear(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.answers.read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }
}

impl Drop for Numpy {
    fn drop(&mut self) {
        self.requests = None; // it reads to the end of its input
        let _ = self.process.wait();
    }
}

fn python() -> PathBuf {
    if let Some(named) = std::env::var_os("TENSORFORGE_PYTHON") {
        return named.into();
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv");
    let environments = [std::env::var_os("VIRTUAL_ENV").map(PathBuf::from), Some(workspace)];
    let mut pythons = environments.into_iter().flatten().map(|path| path.join("bin/python"));
    pythons.find(|python| python.exists()).unwrap_or_else(|| "python3".into())
}
