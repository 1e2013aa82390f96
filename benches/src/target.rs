//! What is asked of a figure, and whether it was reached.

use serde_json::{Value, json};

/// One figure asked for and what it came to.
pub struct Target {
    /// What the figure is.
    pub what: String,
    /// The figure asked for.
    pub wanted: f64,
    /// The figure measured.
    pub got: f64,
    /// Whether `got` must be at most, not at least, `wanted`.
    at_most: bool,
}

impl Target {
    /// `got` must be `wanted` or more.
    #[must_use]
    pub const fn at_least(what: String, wanted: f64, got: f64) -> Self {
        Self { what, wanted, got, at_most: false }
    }

    /// `got` must be `wanted` or less.
    #[must_use]
    pub const fn at_most(what: String, wanted: f64, got: f64) -> Self {
        Self { what, wanted, got, at_most: true }
    }

    /// Whether the figure is as asked; one that is not a number never is.
    #[must_use]
    pub fn reached(&self) -> bool {
        if self.at_most { self.got <= self.wanted } else { self.got >= self.wanted }
    }

    /// The verdict for a reader.
    #[must_use]
    pub fn line(&self) -> String {
        let (mark, relation) = (
            if self.reached() { "reached" } else { "MISSED " },
            if self.at_most { "<=" } else { ">=" },
        );
        format!("{mark} {:.2}, wanted {relation} {:.2}: {}", self.got, self.wanted, self.what)
    }

    /// The verdict for a program.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "what": self.what,
            "wanted": self.wanted,
            "at_most": self.at_most,
            "got": self.got,
            "reached": self.reached(),
        })
    }
}
