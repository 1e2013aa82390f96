//! Routes from a file.

use super::{InvalidRoutes, Routes};
use std::io::Read;
use std::path::{Path, PathBuf};

/// The largest file that is read, in bytes: 4 MiB.
pub const MAX_FILE: u64 = 4 << 20;

/// Why no routes come from a file.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RoutesFileError {
    /// The file cannot be read.
    #[error("cannot read {}: {message}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        message: String,
    },
    /// It is larger than [`MAX_FILE`].
    #[error("{} has more than {MAX_FILE} bytes; divide the routes among several servers", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is not TOML or JSON, or has an unknown key or a value of the wrong type.
    #[error("{}: {message}", path.display())]
    Syntax {
        /// The file; `routes` for text that came from none.
        path: PathBuf,
        /// The parser's words, with the line and what would be right.
        message: String,
    },
    /// An entry makes no sense.
    #[error("{}: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Which, and why.
        problem: InvalidRoutes,
    },
}

impl Routes {
    /// Reads and checks a file: JSON if its name ends in `.json`, else TOML.
    ///
    /// # Errors
    /// [`RoutesFileError`] names the file, then the line or the entry with its key, and what would be right.
    pub fn from_file(path: &Path) -> Result<Self, RoutesFileError> {
        let unreadable = |error: std::io::Error| RoutesFileError::Unreadable {
            path: path.to_owned(),
            message: error.to_string(),
        };
        let file = std::fs::File::open(path).map_err(unreadable)?;
        let mut text = String::new();
        // A file that grows, or a device without an end, is not read for ever.
        file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(unreadable)?;
        if text.len() as u64 > MAX_FILE {
            return Err(RoutesFileError::TooLarge { path: path.to_owned() });
        }
        let is_json = path.extension().is_some_and(|end| end.eq_ignore_ascii_case("json"));
        let routes = if is_json { Self::from_json(&text) } else { Self::from_toml(&text) };
        let routes = routes.map_err(|error| match error {
            RoutesFileError::Syntax { message, .. } => {
                RoutesFileError::Syntax { path: path.to_owned(), message }
            }
            other => other,
        })?;
        match routes.check() {
            Ok(_) => Ok(routes),
            Err(problem) => Err(RoutesFileError::Invalid { path: path.to_owned(), problem }),
        }
    }

    /// Reads TOML text, without checking what it says.
    ///
    /// # Errors
    /// [`RoutesFileError::Syntax`] has the line.
    pub fn from_toml(text: &str) -> Result<Self, RoutesFileError> {
        toml::from_str(text).map_err(|error| syntax(&error))
    }

    /// Reads JSON text, without checking what it says.
    ///
    /// # Errors
    /// [`RoutesFileError::Syntax`] has the line.
    ///
    /// ```
    /// use tensorforge::routing::Routes;
    ///
    /// let text = r#"{ "endpoints": [{ "name": "here", "url": "local" }] }"#;
    /// assert_eq!(Routes::from_json(text).unwrap().endpoints[0].weight, 1.0);
    /// let typo = r#"{ "endpoint": [] }"#;
    /// assert!(Routes::from_json(typo).unwrap_err().to_string().contains("unknown field `endpoint`"));
    /// ```
    pub fn from_json(text: &str) -> Result<Self, RoutesFileError> {
        serde_json::from_str(text).map_err(|error| syntax(&error))
    }
}

fn syntax(error: &dyn std::error::Error) -> RoutesFileError {
    let message = error.to_string().trim_end().to_owned();
    RoutesFileError::Syntax { path: PathBuf::from("routes"), message }
}
