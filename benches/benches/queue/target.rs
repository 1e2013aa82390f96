//! What the third issue asks of the queue and the limiter, cell by cell.

use serde_json::{Value, json};

/// One figure asked for and what it came to.
pub(crate) struct Target {
    pub(crate) what: String,
    pub(crate) wanted: f64,
    pub(crate) got: f64,
    /// Whether `got` must be at most, not at least, `wanted`.
    at_most: bool,
}

impl Target {
    pub(crate) const fn at_least(what: String, wanted: f64, got: f64) -> Self {
        Self { what, wanted, got, at_most: false }
    }

    pub(crate) const fn at_most(what: String, wanted: f64, got: f64) -> Self {
        Self { what, wanted, got, at_most: true }
    }

    pub(crate) fn reached(&self) -> bool {
        if self.at_most { self.got <= self.wanted } else { self.got >= self.wanted }
    }

    pub(crate) fn line(&self) -> String {
        let (mark, relation) = (
            if self.reached() { "reached" } else { "MISSED " },
            if self.at_most { "<=" } else { ">=" },
        );
        format!("{mark} {:.2}, wanted {relation} {:.2}: {}", self.got, self.wanted, self.what)
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "what": self.what,
            "wanted": self.wanted,
            "at_most": self.at_most,
            "got": self.got,
            "reached": self.reached(),
        })
    }
}
