//! Which runtime runs a model.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The runtime that runs a model on the CPU.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Deserialize, Serialize)]
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
