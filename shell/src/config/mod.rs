//! How models are served: one validated configuration for each.

mod backend;
mod lane;
mod version;

pub use backend::{Backend, UnknownBackend};
pub use lane::{LevelConfig, MemoryConfig, PaddingConfig};
pub use version::{Labels, NotAVersion, Version, VersionPolicy, labels_from_file};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tensorforge_core::batch::{LEVELS, Sizes, SizesError};

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
        key: String,
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
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
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
    #[serde(with = "duration")]
    pub max_wait: Duration,
    /// Where latency, from arrival to answer, is to be in 99 of 100 cases: what that leaves of time is
    /// spent on waiting for company, as learned while running. `max_wait` then counts only for
    /// priorities that have one of their own.
    #[serde(with = "some_duration", skip_serializing_if = "Option::is_none")]
    pub target_p99: Option<Duration>,
    /// Sizes that run as soon as they are there, without waiting for more; ascending.
    pub preferred_sizes: Vec<u32>,
    /// What to do between two of `batch_sizes`: `up` pads, `down` runs fewer and lets the rest wait,
    /// `cheapest` does what takes less time for each item, by the times learned.
    pub padding: PaddingConfig,
    /// Does not wait where, by the gaps between the last requests, none is expected in time.
    pub eager: bool,
    /// A request of more than `max_batch` items runs in several batches, and its answer is put together
    /// again. Off, it is refused with status 400.
    pub split: bool,
    /// Answers requests of the same priority in the order in which they came, even where a later one is
    /// done first.
    pub preserve_order: bool,
    /// Names of request parameters that requests must agree in to share a batch; the executor is told
    /// their values.
    pub batch_by: Vec<String>,
    /// Batches that may run at once.
    pub instances: u32,
    /// The model's share of the workers beside other models, in proportion to theirs.
    pub weight: u32,
    /// Requests that may wait; more are refused with status 429.
    pub max_queued: u32,
    /// KiB of inputs that may wait; more are refused with status 429.
    pub max_queued_kib: Option<u32>,
    /// How long an answer is worth waiting for, for requests that do not say so; after it the answer is
    /// status 504.
    #[serde(with = "some_duration", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// How many priorities there are: 0 to one less, higher first.
    pub priorities: u8,
    /// What is different for single priorities: `[priority.7]`.
    pub priority: BTreeMap<String, LevelConfig>,
    /// Memory that a batch takes, where the executor does not know it; see `serve --memory`.
    pub memory: Option<MemoryConfig>,
    /// Where `max_queued` requests wait, one of higher priority takes the place of the youngest of the
    /// lowest; that one is refused with status 429.
    pub displace: bool,
    /// After failures in a row, batches and waits are halved, then only single requests run, then none
    /// are let in for a second; a circuit breaker opens as well. Off, every failure stands for itself.
    pub escalate: bool,
    /// The least priority that `escalate` lets in while only single requests run.
    pub restricted_priority: u8,
    /// An execution that takes longer is given up: its requests get status 504, and another thread takes
    /// the place of the one that hangs.
    #[serde(with = "some_duration", skip_serializing_if = "Option::is_none")]
    pub hang_timeout: Option<Duration>,
    /// Threads that one batch may use inside the runtime.
    pub threads: u32,
    /// Which versions are served: `"all"`, `{ latest = 2 }` or `{ named = [3, "1.2.0"] }`.
    pub versions: VersionPolicy,
    /// Names for versions: `{ stable = 3, canary = "4" }`. `labels.toml` beside it may have further ones.
    pub labels: Labels,
    /// Never unloaded to make room for another model.
    pub pinned: bool,
    /// Runs each version before it takes requests, with those in the model's folder `requests` or with
    /// zeros in every size of batch. One that fails is not served.
    pub warm_up: bool,
    /// How long the whole warm-up of a version may take. One that takes longer hangs: it is given up, and the
    /// version is not served.
    #[serde(with = "duration")]
    pub warm_up_timeout: Duration,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            backend: Backend::Auto,
            max_batch: 32,
            batch_sizes: None,
            max_wait: Duration::ZERO,
            target_p99: None,
            preferred_sizes: Vec::new(),
            padding: PaddingConfig::Up,
            eager: false,
            split: true,
            preserve_order: false,
            batch_by: Vec::new(),
            instances: 1,
            weight: 1,
            max_queued: 1024,
            max_queued_kib: None,
            timeout: None,
            priorities: LEVELS as u8,
            priority: BTreeMap::new(),
            memory: None,
            displace: false,
            escalate: false,
            restricted_priority: 0,
            hang_timeout: None,
            threads: 1,
            versions: VersionPolicy::All,
            labels: Labels::new(),
            pinned: false,
            warm_up: true,
            warm_up_timeout: Duration::from_secs(300),
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
        let value = |key, problem: &str| {
            Err(ConfigError::Value { key: String::from(key), problem: problem.into() })
        };
        for (key, number) in [
            ("max_batch", self.max_batch),
            ("instances", self.instances),
            ("max_queued", self.max_queued),
            ("max_queued_kib", self.max_queued_kib.unwrap_or(1)),
            ("weight", self.weight),
            ("threads", self.threads),
        ] {
            if number == 0 {
                return value(key, "must be at least 1");
            }
        }
        for (key, length) in [
            ("target_p99", self.target_p99),
            ("timeout", self.timeout),
            ("hang_timeout", self.hang_timeout),
        ] {
            if length == Some(Duration::ZERO) {
                return value(key, "must be more than 0; leave it out for none");
            }
        }
        if self.warm_up_timeout.is_zero() {
            return value(
                "warm_up_timeout",
                "must be more than 0; say warm_up = false for no warm-up",
            );
        }
        if let Some(sizes) = &self.batch_sizes {
            check_sizes("batch_sizes", sizes)?;
            if sizes.last() != Some(&self.max_batch) {
                let problem =
                    format!("the last of {sizes:?} must be max_batch, which is {}", self.max_batch);
                return value("batch_sizes", &problem);
            }
        }
        check_sizes("preferred_sizes", &self.preferred_sizes)?;
        if self.preferred_sizes.last().is_some_and(|&last| last > self.max_batch) {
            let (sizes, most) = (&self.preferred_sizes, self.max_batch);
            return value(
                "preferred_sizes",
                &format!("{sizes:?} goes above max_batch, which is {most}"),
            );
        }
        self.versions.check()?;
        version::check_labels(&self.labels)?;
        self.check_levels()
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

fn check_sizes(key: &str, sizes: &[u32]) -> Result<(), ConfigError> {
    let problem = match Sizes::new(sizes) {
        Ok(_) => return Ok(()),
        Err(SizesError::Order { .. }) => format!("{sizes:?} must ascend"),
        Err(error) => error.to_string(),
    };
    Err(ConfigError::Value { key: key.into(), problem })
}

/// A length of time as people write it, exact to the nanosecond.
mod duration {
    use super::parse_duration;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::time::Duration;

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(text: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(text)?;
        parse_duration(&text).map_err(D::Error::custom)
    }

    pub(super) fn serialize<S: Serializer>(length: &Duration, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(&humantime::format_duration(*length))
    }
}

mod some_duration {
    use serde::{Deserializer, Serializer};
    use std::time::Duration;

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        text: D,
    ) -> Result<Option<Duration>, D::Error> {
        super::duration::deserialize(text).map(Some)
    }

    #[allow(clippy::ref_option, reason = "serde's form")]
    pub(super) fn serialize<S: Serializer>(
        length: &Option<Duration>,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        match length {
            Some(length) => super::duration::serialize(length, out),
            None => out.serialize_none(),
        }
    }
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
            ("preferred_sizes = [4, 2]", "preferred_sizes: [4, 2] must ascend"),
            ("preferred_sizes = [0]", "preferred_sizes: a size must be at least 1"),
            ("max_batch = 4\npreferred_sizes = [8]", "[8] goes above max_batch, which is 4"),
            ("padding = \"sideways\"", "unknown variant `sideways`"),
            ("weight = 0", "weight: must be at least 1"),
            ("max_queued_kib = 0", "max_queued_kib: must be at least 1"),
            ("timeout = \"0\"", "timeout: must be more than 0"),
            ("target_p99 = \"0s\"", "target_p99: must be more than 0"),
            ("hang_timeout = \"0s\"", "hang_timeout: must be more than 0"),
            ("warm_up_timeout = \"0s\"", "warm_up_timeout: must be more than 0"),
            ("warm_up_timeout = 5", "invalid type: integer `5`"),
            ("priorities = 0", "priorities: must be 1 to 8"),
            ("priorities = 9", "priorities: must be 1 to 8"),
            ("[priority.high]", "priority.high: priorities are numbers from 0 to 7"),
            ("priorities = 2\n[priority.2]", "priority.2: priorities are numbers from 0 to 1"),
            ("[priority.07]", "priority.07: priorities are numbers from 0 to 7"),
            ("[priority.1]\nmax_batch = 0", "priority.1.max_batch: must be at least 1"),
            ("[priority.1]\nmax_queued = 0", "priority.1.max_queued: must be at least 1"),
            ("[priority.1]\ntimeout = \"0s\"", "priority.1.timeout: must be more than 0"),
            ("[priority.1]\nmax_wait = \"soon\"", "'soon' is not a length of time"),
            ("[priority.1]\nwait = \"1s\"", "unknown field `wait`"),
            ("restricted_priority = 8", "restricted_priority: the highest priority is 7"),
            ("memory = { fixed_kib = 1, per_item_kib = -1 }", "invalid value"),
            ("batch_by = [\"priority\"]", "batch_by: 'priority' and 'timeout' are no part"),
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
    fn what_is_written_is_read_again() {
        let text = r#"
            max_batch = 8
            batch_sizes = [2, 8]
            max_wait = "1ms 7ns"
            timeout = "3s"
            padding = "cheapest"
            batch_by = ["beam"]
            memory = { fixed_kib = 1, per_item_kib = 2 }
            priority.7 = { max_wait = "0s", max_queued = 3 }
            versions = { named = [1, "1.2.0-rc.1"] }
            labels = { stable = 1 }
            pinned = true
        "#;
        let config = ModelConfig::from_toml(text).unwrap();
        let written = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<ModelConfig>(&written).unwrap(), config);
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
