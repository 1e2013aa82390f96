//! How models are served: one validated configuration for each.

use serde::Deserialize;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// The runtime that runs a model on the CPU.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Backend {
    /// ONNX Runtime where its library is found, else tract.
    #[default]
    Auto,
    /// tract, built in.
    Tract,
    /// ONNX Runtime, loaded from a library on this machine.
    OnnxRuntime,
}

impl Backend {
    /// Its name in configuration: `auto`, `tract` or `onnxruntime`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Tract => "tract",
            Self::OnnxRuntime => "onnxruntime",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no [`Backend`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no backend '{name}': choose auto, tract or onnxruntime")]
pub struct UnknownBackend {
    /// The name given.
    pub name: String,
}

impl FromStr for Backend {
    type Err = UnknownBackend;

    fn from_str(name: &str) -> Result<Self, UnknownBackend> {
        [Self::Auto, Self::Tract, Self::OnnxRuntime]
            .into_iter()
            .find(|backend| backend.name() == name)
            .ok_or_else(|| UnknownBackend { name: name.to_owned() })
    }
}

/// Why a configuration is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {message}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        message: String,
    },
    /// It is not TOML, or has an unknown key or a value of the wrong type.
    #[error("{path}: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The parser's words, with the line.
        message: String,
    },
    /// A value makes no sense.
    #[error("{key}: {problem}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
}

/// How one model is served: `config.toml` beside its versions. Every key is optional.
///
/// ```
/// use tensorforge::config::ModelConfig;
///
/// let config = ModelConfig::from_toml("max_batch = 8\nmax_wait = \"2ms\"").unwrap();
/// assert_eq!(config.batch_sizes(), [1, 2, 4, 8]);
/// assert!(ModelConfig::from_toml("max_bach = 8").is_err(), "typos are refused");
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// The runtime: `auto`, `tract` or `onnxruntime`.
    pub backend: Backend,
    /// Most items in one batch; 1 turns batching off.
    pub max_batch: u32,
    /// Sizes a batch is padded up to, ascending, the last one `max_batch`. Default: powers of two.
    pub batch_sizes: Option<Vec<u32>>,
    /// Longest wait for company, from the first request of a batch. Zero runs whatever is there
    /// as soon as an instance is idle; while all are busy, batches grow in any case.
    #[serde(deserialize_with = "duration")]
    pub max_wait: Duration,
    /// Batches that may run at once.
    pub instances: u32,
    /// Requests that may wait; more are refused with status 429.
    pub max_queued: u32,
    /// Where `max_queued` requests wait, one of higher priority takes the place of the youngest of the
    /// lowest; that one is refused with status 429.
    pub displace: bool,
    /// After failures in a row, batches and waits are halved, then only single requests run, then none
    /// are let in for a second; a circuit breaker opens as well. Off, every failure stands for itself.
    pub escalate: bool,
    /// Threads that one batch may use inside the runtime.
    pub threads: u32,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            backend: Backend::Auto,
            max_batch: 32,
            batch_sizes: None,
            max_wait: Duration::ZERO,
            instances: 1,
            max_queued: 1024,
            displace: false,
            escalate: false,
            threads: 1,
        }
    }
}

impl ModelConfig {
    /// Reads `path`, or gives the default when there is no such file.
    ///
    /// # Errors
    /// [`ConfigError`] names file and line, or key and value.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::from_toml(&text).map_err(|error| ConfigError::Syntax {
                path: path.to_owned(),
                message: match error {
                    ConfigError::Syntax { message, .. } => message,
                    other => other.to_string(),
                },
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => {
                Err(ConfigError::Unreadable { path: path.to_owned(), message: error.to_string() })
            }
        }
    }

    /// Reads and checks TOML text.
    ///
    /// # Errors
    /// [`ConfigError`] names line, or key and value.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| ConfigError::Syntax {
            path: PathBuf::from("config.toml"),
            message: error.to_string().trim_end().to_owned(),
        })?;
        config.check()?;
        Ok(config)
    }

    /// Checks that the values make sense together.
    ///
    /// # Errors
    /// [`ConfigError::Value`] names the first key that does not.
    pub fn check(&self) -> Result<(), ConfigError> {
        for (key, value) in [
            ("max_batch", self.max_batch),
            ("instances", self.instances),
            ("max_queued", self.max_queued),
            ("threads", self.threads),
        ] {
            if value == 0 {
                return Err(ConfigError::Value { key, problem: "must be at least 1".into() });
            }
        }
        let Some(sizes) = &self.batch_sizes else { return Ok(()) };
        let problem = if sizes.contains(&0) {
            "a size must be at least 1".into()
        } else if !sizes.is_sorted_by(|a, b| a < b) {
            format!("{sizes:?} must ascend")
        } else if sizes.last() != Some(&self.max_batch) {
            format!("the last of {sizes:?} must be max_batch, which is {}", self.max_batch)
        } else {
            return Ok(());
        };
        Err(ConfigError::Value { key: "batch_sizes", problem })
    }

    /// The sizes a batch is padded up to.
    #[must_use]
    pub fn batch_sizes(&self) -> Vec<u32> {
        self.batch_sizes.clone().unwrap_or_else(|| {
            let powers = std::iter::successors(Some(1u32), |size| size.checked_mul(2));
            let mut sizes: Vec<u32> = powers.take_while(|&size| size < self.max_batch).collect();
            sizes.push(self.max_batch);
            sizes
        })
    }
}

fn duration<'de, D: serde::Deserializer<'de>>(text: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(text)?;
    parse_duration(&text).map_err(serde::de::Error::custom)
}

/// Reads a length of time with its unit: `500us`, `2ms`, `1s`, `1m 30s`; a bare `0` needs none.
///
/// # Errors
/// Says what is wrong with `text`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("'{text}' is not a length of time such as 500us or 2ms: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_refused_by_name() {
        for (text, complaint) in [
            ("max_batch = 0", "max_batch: must be at least 1"),
            ("instances = 0", "instances: must be at least 1"),
            ("max_batch = 4\nbatch_sizes = [2, 1, 4]", "batch_sizes: [2, 1, 4] must ascend"),
            ("max_batch = 4\nbatch_sizes = [1, 2]", "must be max_batch, which is 4"),
            ("max_batch = 4\nbatch_sizes = []", "must be max_batch, which is 4"),
            ("max_batch = 4\nbatch_sizes = [0, 4]", "a size must be at least 1"),
            ("max_batch = 4\nbatch_sizes = [4, 8]", "must be max_batch, which is 4"),
            ("max_wait = 5", "invalid type: integer `5`"),
            ("max_wait = \"5\"", "'5' is not a length of time"),
            ("backend = \"cuda\"", "unknown variant `cuda`"),
            ("max_batch = -1", "invalid value"),
            ("what = 1", "unknown field `what`"),
            ("max_batch = ", "line 1"),
        ] {
            let error = ModelConfig::from_toml(text).unwrap_err().to_string();
            assert!(error.contains(complaint), "{text}: {error}");
        }
    }

    #[test]
    fn backends_are_named_the_same_everywhere() {
        for backend in [Backend::Auto, Backend::Tract, Backend::OnnxRuntime] {
            assert_eq!(backend.to_string().parse(), Ok(backend));
            let text = format!("backend = \"{backend}\"");
            assert_eq!(ModelConfig::from_toml(&text).unwrap().backend, backend);
        }
        let error = "onnx".parse::<Backend>().unwrap_err();
        assert!(error.to_string().contains("'onnx'"), "{error}");
    }

    #[test]
    fn default_sizes_are_powers_of_two_and_the_maximum() {
        let sizes = |max_batch| ModelConfig { max_batch, ..Default::default() }.batch_sizes();
        assert_eq!(sizes(1), [1]);
        assert_eq!(sizes(6), [1, 2, 4, 6]);
        assert_eq!(sizes(8), [1, 2, 4, 8]);
        assert_eq!(sizes(u32::MAX).len(), 33);
    }
}
