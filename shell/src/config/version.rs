//! Versions of a model, which of them are served, and the labels they go by.

use super::ConfigError;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A version of a model: the name of its folder. A whole number such as `3`, or a semantic version such as
/// `1.2.0` or `2.0.0-rc.1` (<https://semver.org>).
///
/// Both kinds have one order: `3` stands just before `3.0.0`, and a pre-release before its release. Build
/// metadata (`1.0.0+b7`) names another version, later than the one without.
///
/// ```
/// use tensorforge::config::Version;
///
/// let read = |text: &str| text.parse::<Version>();
/// let mut versions = ["10", "1.10.0", "9", "1.9.0", "2.0.0-rc.1", "2"].map(|text| read(text).unwrap());
/// versions.sort();
/// let names = versions.map(|version| version.to_string());
/// assert_eq!(names, ["1.9.0", "1.10.0", "2.0.0-rc.1", "2", "9", "10"]);
/// assert!(read("01").is_err() && read("1.2").is_err() && read("../1").is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Version {
    number: semver::Version,
    is_semantic: bool,
}

impl Version {
    /// A whole number.
    #[must_use]
    pub const fn whole(number: u64) -> Self {
        Self { number: semver::Version::new(number, 0, 0), is_semantic: false }
    }
}

impl From<u64> for Version {
    fn from(number: u64) -> Self {
        Self::whole(number)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_semantic { self.number.fmt(f) } else { self.number.major.fmt(f) }
    }
}

/// A text that is no [`Version`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("'{text}' is no version such as 3 or 1.2.0")]
pub struct NotAVersion {
    /// The text.
    pub text: String,
}

impl FromStr for Version {
    type Err = NotAVersion;

    /// As it is written by `Display`, and no other way: `01` and `+1` are not 1.
    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let whole = text.parse().ok().filter(|number: &u64| number.to_string() == text);
        let semantic = || semver::Version::parse(text).ok();
        whole
            .map(Self::whole)
            .or_else(|| semantic().map(|number| Self { number, is_semantic: true }))
            .ok_or_else(|| NotAVersion { text: text.to_owned() })
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct TextOrNumber;

        impl Visitor<'_> for TextOrNumber {
            type Value = Version;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a version such as 3 or \"1.2.0\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Version, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Version, E> {
                Ok(Version::whole(number))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Version, E> {
                let number = u64::try_from(number);
                number.map(Version::whole).map_err(|_| E::custom("a version is not negative"))
            }
        }

        from.deserialize_any(TextOrNumber)
    }
}

/// Which of a model's versions are served: `versions` in its `config.toml`.
///
/// ```
/// use tensorforge::config::{ModelConfig, Version, VersionPolicy};
///
/// let policy = |text: &str| ModelConfig::from_toml(text).unwrap().versions;
/// let there = [1, 2, 3].map(Version::whole);
/// assert_eq!(policy("").choose(&there), there, "all, if nothing is said");
/// assert_eq!(policy("versions = { latest = 2 }").choose(&there), there[1..]);
/// assert_eq!(policy("versions = { named = [1, 7] }").choose(&there), [1, 7].map(Version::whole));
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum VersionPolicy {
    /// Every version that there is.
    #[default]
    All,
    /// The highest so many.
    Latest(usize),
    /// These.
    Named(Vec<Version>),
}

impl VersionPolicy {
    /// The versions to serve where `there` is what there is, in order. Named ones are chosen whether they
    /// are there or not.
    #[must_use]
    pub fn choose(&self, there: &[Version]) -> Vec<Version> {
        let mut chosen = match self {
            Self::Named(named) => named.clone(),
            _ => there.to_vec(),
        };
        chosen.sort();
        chosen.dedup();
        if let Self::Latest(count) = self {
            chosen.drain(..chosen.len().saturating_sub(*count));
        }
        chosen
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let problem = match self {
            Self::Latest(0) => "latest must be at least 1",
            Self::Named(named) if named.is_empty() => "named must have at least one version",
            _ => return Ok(()),
        };
        Err(ConfigError::Value { key: "versions".into(), problem: problem.into() })
    }
}

/// The versions that labels stand for.
pub type Labels = BTreeMap<String, Version>;

/// The most characters of a label.
const LONGEST_LABEL: usize = 64;

/// Whether every label is one: letters, digits, `-` and `_`, and no version itself.
pub(super) fn check_labels(labels: &Labels) -> Result<(), ConfigError> {
    let is_label = |label: &str| {
        let fits = (1..=LONGEST_LABEL).contains(&label.len());
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        fits && label.chars().all(plain) && label.parse::<Version>().is_err()
    };
    match labels.keys().find(|label| !is_label(label)) {
        None => Ok(()),
        Some(label) => Err(ConfigError::Value {
            key: "labels".into(),
            problem: format!(
                "'{}' is no label: up to {LONGEST_LABEL} letters, digits, '-' and '_', and no version",
                label.escape_debug()
            ),
        }),
    }
}

/// Reads `labels.toml`, which has a line such as `stable = "3"` for each label; none when there is no such
/// file.
///
/// # Errors
/// [`ConfigError`] names the file and what is wrong.
pub fn labels_from_file(path: &Path) -> Result<Labels, ConfigError> {
    let syntax = |message: String| ConfigError::Syntax { path: PathBuf::from(path), message };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Labels::new()),
        Err(error) => {
            let (path, message) = (path.to_owned(), error.to_string());
            return Err(ConfigError::Unreadable { path, message });
        }
    };
    let labels: Labels =
        toml::from_str(&text).map_err(|error| syntax(error.to_string().trim_end().to_owned()))?;
    check_labels(&labels).map_err(|error| syntax(error.to_string()))?;
    Ok(labels)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod routing {
    use super::super::ModelConfig;
    use super::*;
    use proptest::prelude::*;

    fn version() -> impl Strategy<Value = String> {
        prop_oneof![
            (0..30u64).prop_map(|number| number.to_string()),
            (0..3u64, 0..12u64, 0..3u64, prop_oneof![Just(""), Just("-rc.1"), Just("-rc.10")])
                .prop_map(|(major, minor, patch, rest)| format!("{major}.{minor}.{patch}{rest}")),
        ]
    }

    proptest! {
        #[test]
        fn a_version_is_written_as_it_was_read(text in version()) {
            let version: Version = text.parse().unwrap();
            prop_assert_eq!(version.to_string(), text);
            let json = serde_json::to_string(&version).unwrap();
            prop_assert_eq!(serde_json::from_str::<Version>(&json).unwrap(), version);
        }

        /// The order is total, and by numbers, not by letters.
        #[test]
        fn versions_are_in_the_order_of_their_numbers(
            texts in prop::collection::vec(version(), 2..10),
        ) {
            let mut versions: Vec<Version> = texts.iter().map(|text| text.parse().unwrap()).collect();
            versions.sort();
            let parts = |version: &Version| -> Vec<u64> {
                let text = version.to_string();
                let (numbers, _) = text.split_once('-').unwrap_or((&text, ""));
                let mut parts: Vec<u64> = numbers.split('.').map(|part| part.parse().unwrap()).collect();
                parts.resize(3, 0);
                parts
            };
            prop_assert!(versions.is_sorted_by_key(parts), "{:?}", versions);
        }

        #[test]
        fn the_latest_are_the_highest_that_are_there(
            texts in prop::collection::vec(version(), 0..10),
            count in 1..5usize,
        ) {
            let there: Vec<Version> = texts.iter().map(|text| text.parse().unwrap()).collect();
            let all = VersionPolicy::All.choose(&there);
            let latest = VersionPolicy::Latest(count).choose(&there);
            prop_assert_eq!(latest.len(), count.min(all.len()));
            let left_out = all.iter().filter(|version| !latest.contains(version));
            prop_assert!(left_out.max() < latest.iter().min() || latest.is_empty());
        }
    }

    #[test]
    fn a_pre_release_comes_before_its_release() {
        let read = |text: &str| text.parse::<Version>().unwrap();
        let ascending = ["1.9.0", "1.10.0", "2.0.0-rc.1", "2.0.0-rc.10", "2", "2.0.0", "2.0.0+b7"];
        assert!(ascending.map(read).is_sorted_by(|one, next| one < next));
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in ["", "01", "+1", "-1", "1.2", "v1", "1.2.3.4", "1.02.3", "../1", "1/..", "1 "] {
            let error = text.parse::<Version>().unwrap_err().to_string();
            assert!(error.contains("is no version such as 3 or 1.2.0"), "{text}: {error}");
        }
    }

    #[test]
    fn a_policy_or_label_that_makes_no_sense_is_refused_by_name() {
        for (text, complaint) in [
            ("versions = \"newest\"", "unknown variant `newest`"),
            ("versions = { latest = 0 }", "versions: latest must be at least 1"),
            ("versions = { latest = -1 }", "invalid value"),
            ("versions = { named = [] }", "versions: named must have at least one"),
            ("versions = { named = [\"01\"] }", "'01' is no version"),
            ("versions = { named = [-1] }", "a version is not negative"),
            ("versions = { latest = 1, named = [1] }", "wanted exactly 1 element"),
            ("labels = { \"3\" = 4 }", "labels: '3' is no label"),
            ("labels = { \"../x\" = 4 }", "labels: '../x' is no label"),
            ("labels = { \"\" = 4 }", "labels: '' is no label"),
            ("labels = { stable = true }", "a version such as 3"),
            ("labels = { stable = \"latest\" }", "'latest' is no version"),
        ] {
            let error = ModelConfig::from_toml(text).unwrap_err().to_string();
            assert!(error.contains(complaint), "{text}: {error}");
        }
    }

    #[test]
    fn labels_are_read_from_their_own_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.toml");
        assert_eq!(labels_from_file(&path).unwrap(), Labels::new());
        std::fs::write(&path, "stable = \"1.2.0\"\ncanary = 4").unwrap();
        let labels = labels_from_file(&path).unwrap();
        assert_eq!(labels["stable"], "1.2.0".parse().unwrap());
        assert_eq!(labels["canary"], Version::whole(4));
        std::fs::write(&path, "\"4\" = 4").unwrap();
        let error = labels_from_file(&path).unwrap_err().to_string();
        assert!(error.contains("labels.toml") && error.contains("'4' is no label"), "{error}");
    }
}
