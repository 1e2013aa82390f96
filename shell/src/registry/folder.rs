//! What is in the repository's folder.

use super::error::{ChangeError, LookupError, RepositoryError};
use crate::config::{ConfigError, Labels, ModelConfig, Version, labels_from_file};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The file that holds a version's model.
pub(super) const MODEL_FILE: &str = "model.onnx";

/// A model's folder, as it was found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) folder: PathBuf,
    /// How it is to be served, labels of both files included; or why that is refused.
    pub(super) config: Result<ModelConfig, String>,
    pub(super) versions: BTreeMap<Version, FoundVersion>,
}

/// A version's folder.
#[derive(Clone, Debug)]
pub(super) struct FoundVersion {
    pub(super) folder: PathBuf,
    pub(super) stamp: Stamp,
}

/// What changes when the files of a version do.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Stamp(Vec<FileStamp>);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct FileStamp {
    path: PathBuf,
    bytes: u64,
    modified: Option<SystemTime>,
    /// The number of the file itself, where the system has one: another file may have come in its place
    /// with the time that it had elsewhere.
    number: u64,
}

impl FileStamp {
    fn of(path: PathBuf) -> Option<Self> {
        let data = path.metadata().ok()?;
        #[cfg(unix)]
        let number = std::os::unix::fs::MetadataExt::ino(&data);
        #[cfg(not(unix))]
        let number = 0;
        Some(Self { path, bytes: data.len(), modified: data.modified().ok(), number })
    }
}

impl Stamp {
    /// Of the files in `folder`, those in folders below it included.
    fn of(folder: &Path) -> Self {
        let mut files = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = std::fs::read_dir(folder) else { continue };
            for entry in entries.flatten() {
                let path = entry.path();
                // Links to folders are not followed: they may lead round in circles.
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(path);
                } else {
                    files.extend(FileStamp::of(path));
                }
            }
        }
        files.sort();
        Self(files)
    }

    /// Bytes of the files: about what the model takes in memory, weights beside its file included.
    pub(super) fn bytes(&self) -> u64 {
        self.0.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }
}

impl Found {
    /// Reads a model's folder. `adjust` may change its configuration, or that which was `sent` in its place.
    pub(super) fn read(
        folder: &Path,
        sent: Option<ModelConfig>,
        adjust: &(dyn Fn(&mut ModelConfig) + Send + Sync),
    ) -> Result<Self, RepositoryError> {
        let mut versions = BTreeMap::new();
        for (name, folder) in folders(folder)? {
            if let Ok(version) = name.parse() {
                let stamp = Stamp::of(&folder);
                versions.insert(version, FoundVersion { folder, stamp });
            }
        }
        let config = || {
            let mut config = match sent {
                Some(config) => config,
                None => ModelConfig::from_file(&folder.join("config.toml"))?,
            };
            adjust(&mut config);
            config.labels =
                join_labels(config.labels, labels_from_file(&folder.join("labels.toml"))?)?;
            config.check()?;
            Ok(config)
        };
        let config = config().map_err(|error: ConfigError| error.to_string());
        Ok(Self { folder: folder.to_owned(), config, versions })
    }
}

fn join_labels(mut labels: Labels, more: Labels) -> Result<Labels, ConfigError> {
    for (label, version) in more {
        if let Some(other) = labels.get(&label).filter(|&other| *other != version) {
            let problem =
                format!("'{label}' is {other} in config.toml and {version} in labels.toml");
            return Err(ConfigError::Value { key: "labels".into(), problem });
        }
        labels.insert(label, version);
    }
    Ok(labels)
}

/// Whether a model may have that name: it leads nowhere else, and to no hidden folder.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '\\', '\0']) && !name.starts_with('.')
}

/// The folder of one model.
///
/// # Errors
/// [`ChangeError::BadName`] for a name that could lead elsewhere; [`LookupError::UnknownModel`] with
/// the models there are.
pub(super) fn model_folder(root: &Path, name: &str) -> Result<PathBuf, ChangeError> {
    if !is_name(name) {
        return Err(ChangeError::BadName { name: name.to_owned() });
    }
    let mut all = folders(root)?;
    all.remove(name).ok_or_else(|| {
        let known = all.into_keys().collect();
        LookupError::UnknownModel { name: name.to_owned(), known }.into()
    })
}

/// The folders directly below `root` by name, hidden ones left out.
pub(super) fn folders(root: &Path) -> Result<BTreeMap<String, PathBuf>, RepositoryError> {
    let unreadable = |error: std::io::Error| RepositoryError::Unreadable {
        path: root.to_owned(),
        message: error.to_string(),
    };
    let mut folders = BTreeMap::new();
    for entry in std::fs::read_dir(root).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        if let Some(name) = name.filter(|name| !name.starts_with('.') && path.is_dir()) {
            folders.insert(name, path);
        }
    }
    Ok(folders)
}
