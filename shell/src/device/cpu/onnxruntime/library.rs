//! Finding and loading the ONNX Runtime library.
//!
//! A process holds one ONNX Runtime: the first library that loads stays.

use crate::device::cpu::signature::contained;
use ort::environment::Environment;
use ort::logging::LogLevel;
use serde::Serialize;
use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// How to get the library.
pub const REMEDY: &str = "Install it with `pip install onnxruntime`, or from \
    https://github.com/microsoft/onnxruntime/releases (1.17 or later), and set ORT_DYLIB_PATH to \
    libonnxruntime.so if it is not found; or choose the backend tract, which needs nothing";

/// The ONNX Runtime library in use.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct Library {
    /// Its file, links resolved.
    pub path: PathBuf,
    /// Its version, as its file name tells it.
    pub version: Option<String>,
}

/// A file that was tried.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct Attempt {
    /// The file.
    pub path: PathBuf,
    /// Why it was not taken.
    pub problem: String,
}

/// No library could be loaded.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct NotFound {
    /// Files that were there, or were named, and did not load.
    pub tried: Vec<Attempt>,
    /// Where files were looked for.
    pub searched: Vec<PathBuf>,
}

impl NotFound {
    /// What is wrong, without the places searched.
    #[must_use]
    pub fn problem(&self) -> String {
        if self.tried.is_empty() {
            return "no libonnxruntime was found".to_owned();
        }
        let tried = self.tried.iter();
        let tried = tried.map(|Attempt { path, problem }| format!("{}: {problem}", path.display()));
        tried.collect::<Vec<_>>().join("; ")
    }
}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem())?;
        for (index, place) in self.searched.iter().enumerate() {
            write!(f, "{}{}", if index == 0 { "; searched " } else { ", " }, place.display())?;
        }
        Ok(())
    }
}

impl std::error::Error for NotFound {}

/// The library in use, or else the first that loads of:
/// 1. `named`, and then no other;
/// 2. the file `ORT_DYLIB_PATH`;
/// 3. the Python package `onnxruntime` of `VIRTUAL_ENV` and `CONDA_PREFIX`;
/// 4. the folders of `LD_LIBRARY_PATH`;
/// 5. the Python package of the user and of the system;
/// 6. `/usr/local/lib` and `/usr/lib`.
///
/// Of several versions in one folder the newest is tried first.
///
/// # Errors
/// [`NotFound`] lists what was tried and where.
pub fn find(named: Option<&Path>) -> Result<Library, NotFound> {
    loaded(named).map(|(library, _)| library)
}

/// ONNX Runtime's environment, of the library that [`find`] finds.
pub(super) fn environment(named: Option<&Path>) -> Result<Environment, NotFound> {
    loaded(named).map(|(_, environment)| environment)
}

fn loaded(named: Option<&Path>) -> Result<(Library, Environment), NotFound> {
    static LOADED: Mutex<Option<(Library, Environment)>> = Mutex::new(None);

    // Held while loading, so that two threads do not load two libraries.
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let (candidates, searched) = match named {
        Some(path) => (vec![path.to_owned()], Vec::new()),
        None => match &*loaded {
            Some(loaded) => return Ok(loaded.clone()),
            None => candidates(),
        },
    };
    let mut tried = Vec::new();
    for path in candidates {
        let result = path.canonicalize().map_err(|error| error.to_string());
        let result = result.and_then(|file| match &*loaded {
            Some(loaded) if loaded.0.path == file => Ok(loaded.clone()),
            Some((library, _)) => Err(format!(
                "this process uses {} already, and it can hold only one ONNX Runtime",
                library.path.display()
            )),
            None => open(&file),
        });
        match result {
            Ok(found) => {
                *loaded = Some(found.clone());
                return Ok(found);
            }
            Err(problem) => tried.push(Attempt { path, problem }),
        }
    }
    Err(NotFound { tried, searched })
}

fn open(file: &Path) -> Result<(Library, Environment), String> {
    let environment = contained(|| {
        let builder = ort::init_from(file).map_err(|error| error.to_string())?;
        let builder = builder.with_name("tensorforge").with_telemetry(false);
        let environment = builder.with_logger(Arc::new(log)).build();
        environment.map_err(|error| error.to_string())
    })?;
    // Else ONNX Runtime formats every step of every call, for the filter to throw away.
    environment.set_log_level(LogLevel::Warning);
    Ok((Library { path: file.to_owned(), version: version(file) }, environment))
}

/// ONNX Runtime reports what it returns as an error here too, and warns of much that is of no
/// concern to operators, so each goes one level down.
fn log(level: LogLevel, category: &str, _id: &str, location: &str, message: &str) {
    match level {
        LogLevel::Fatal | LogLevel::Error => {
            tracing::warn!(target: "onnxruntime", category, location, "{message}");
        }
        LogLevel::Warning => {
            tracing::debug!(target: "onnxruntime", category, location, "{message}");
        }
        LogLevel::Info | LogLevel::Verbose => {
            tracing::trace!(target: "onnxruntime", category, location, "{message}");
        }
    }
}

/// The files to try in order, and the places they were looked for.
fn candidates() -> (Vec<PathBuf>, Vec<PathBuf>) {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let mut found = Vec::new();
    let mut searched = Vec::new();

    if let Some(file) = variable("ORT_DYLIB_PATH") {
        searched.push(file.clone());
        found.push(file);
    }
    let mut folders: Vec<PathBuf> = Vec::new();
    for root in [variable("VIRTUAL_ENV"), variable("CONDA_PREFIX")].into_iter().flatten() {
        folders.extend(packages(&root.join("lib")));
    }
    if let Some(paths) = env::var_os("LD_LIBRARY_PATH") {
        // An empty entry means the working directory, where anyone may have put a library.
        folders.extend(env::split_paths(&paths).filter(|path| path.is_absolute()));
    }
    if let Some(home) = variable("HOME") {
        folders.extend(packages(&home.join(".local/lib")));
    }
    for root in ["/usr/local/lib", "/usr/lib"] {
        folders.extend(packages(Path::new(root)));
    }
    folders
        .extend(["/usr/local/lib", "/usr/local/lib64", "/usr/lib", "/usr/lib64"].map(Into::into));
    folders.push(format!("/usr/lib/{}-linux-gnu", env::consts::ARCH).into());

    for folder in folders {
        found.extend(libraries(&folder));
        searched.push(folder);
    }
    (found, searched)
}

/// Where the Python package `onnxruntime` has its library, for each Python below `lib`.
fn packages(lib: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for python in entries(lib, |name| name.starts_with("python")) {
        for site in ["site-packages", "dist-packages"] {
            let folder = python.join(site);
            if folder.is_dir() {
                folders.push(folder.join("onnxruntime/capi"));
            }
        }
    }
    folders
}

/// The ONNX Runtime libraries in `folder`, newest first.
fn libraries(folder: &Path) -> Vec<PathBuf> {
    let mut files = entries(folder, |name| {
        // Not `libonnxruntime_providers_…`, which are its plugins.
        name == "onnxruntime.dll"
            || name.strip_prefix("libonnxruntime").is_some_and(|rest| {
                rest.starts_with(".so") || (rest.starts_with('.') && rest.ends_with(".dylib"))
            })
    });
    let number = |file: &PathBuf| -> Vec<u64> {
        let version = version(file).unwrap_or_default();
        version.split('.').map_while(|part| part.parse().ok()).collect()
    };
    files.sort_by_key(number);
    files.reverse();
    files
}

/// The entries of `folder` whose name is `wanted`, sorted; none where it cannot be read.
fn entries(folder: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = folder.read_dir().into_iter().flatten().flatten();
    let entries = entries.filter(|entry| entry.file_name().to_str().is_some_and(&wanted));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort_unstable();
    paths
}

/// The version in a library's file name: `libonnxruntime.so.1.32.0`, `libonnxruntime.1.20.1.dylib`.
fn version(file: &Path) -> Option<String> {
    let name = file.file_name().and_then(OsStr::to_str)?;
    let rest = name.strip_prefix("libonnxruntime.")?;
    let version = rest.strip_prefix("so.").or_else(|| rest.strip_suffix(".dylib"))?;
    version.starts_with(|first: char| first.is_ascii_digit()).then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_off_the_file_name() {
        let version = |name: &str| super::version(Path::new(name));
        assert_eq!(version("/lib/libonnxruntime.so.1.32.0").as_deref(), Some("1.32.0"));
        assert_eq!(version("/lib/libonnxruntime.1.20.1.dylib").as_deref(), Some("1.20.1"));
        assert_eq!(version("/lib/libonnxruntime.so"), None);
        assert_eq!(version("/lib/libonnxruntime.dylib"), None);
    }

    #[test]
    fn the_newest_library_of_a_folder_comes_first_and_plugins_never() {
        let folder = env::temp_dir().join(format!("tensorforge-library-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let names = [
            "libonnxruntime.so",
            "libonnxruntime.so.1.9.0",
            "libonnxruntime.so.1.20.1",
            "libonnxruntime_providers_shared.so",
        ];
        for name in names {
            std::fs::write(folder.join(name), "").unwrap();
        }
        let found = libraries(&folder);
        std::fs::remove_dir_all(&folder).unwrap();
        let found: Vec<_> = found.iter().map(|path| path.file_name().unwrap()).collect();
        assert_eq!(found, [names[2], names[1], names[0]]);
    }

    #[test]
    fn a_file_that_is_no_library_is_reported_with_its_reason() {
        let file =
            env::temp_dir().join(format!("tensorforge-not-a-library-{}", std::process::id()));
        std::fs::write(&file, "text").unwrap();
        let missing = find(Some(&file)).unwrap_err();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(missing.tried.len(), 1);
        assert!(missing.to_string().contains(file.to_str().unwrap()), "{missing}");
    }
}
