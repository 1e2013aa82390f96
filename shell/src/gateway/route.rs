//! What became of a request on its way, for whoever wants to know.

use crate::contracts::Parameters;
use serde_json::Value;
use std::fmt::Write;
use std::time::Duration;
use tensorforge_core::route::{Exclusion, Note, RouteSink};

/// The way of one request: who answered it and why, and why not the others.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct RouteTaken {
    /// The model that answered; another than was asked for when it is a fallback.
    pub model: String,
    /// The version that was asked for in the end, if any was.
    pub version: Option<String>,
    /// How the version was found: `request`, `rule`, `split`; empty where none was asked for.
    pub version_by: &'static str,
    /// The policy.
    pub policy: &'static str,
    /// The endpoint that answered.
    pub endpoint: Option<String>,
    /// Why it and not another.
    pub reason: &'static str,
    /// Under which rule it could be asked: `healthy`, `panic` …
    pub admission: &'static str,
    /// Endpoints that were asked, those included that failed.
    pub attempts: u32,
    /// Whether a second one was asked before the first had answered.
    pub hedged: bool,
    /// What else there is to say of the choice: `tier:zone`, `exploring` …
    pub notes: Vec<String>,
    /// Who could not be asked, and why.
    pub excluded: Vec<(String, &'static str)>,
    /// Who failed, and how.
    pub failed: Vec<(String, String)>,
    /// Shadows that got a copy.
    pub shadows: u32,
    /// The model that was asked for, where its fallback answered.
    pub fallback_of: Option<String>,
    /// How long it waited for an endpoint that has room, where it did.
    pub waited: Option<Duration>,
    /// Of an answer from the cache: how old it is, in milliseconds.
    pub stale_ms: Option<u64>,
}

impl RouteTaken {
    /// Its parts by name, as they stand in the answer's `parameters`.
    #[must_use]
    pub fn parameters(&self) -> Parameters {
        let mut parameters = Parameters::new();
        let mut put = |name: &str, value: Value| {
            parameters.insert(format!("route_{name}"), value);
        };
        put("policy", self.policy.into());
        put("attempts", self.attempts.into());
        for (name, value) in [
            ("endpoint", self.endpoint.as_deref().unwrap_or_default()),
            ("reason", self.reason),
            ("admission", self.admission),
            ("version_by", self.version_by),
            ("fallback_of", self.fallback_of.as_deref().unwrap_or_default()),
            ("notes", &self.notes.join(",")),
            ("excluded", &pairs(&self.excluded)),
        ] {
            if !value.is_empty() {
                put(name, value.into());
            }
        }
        if self.hedged {
            put("hedged", true.into());
        }
        if self.shadows > 0 {
            put("shadows", self.shadows.into());
        }
        if let Some(waited) = self.waited {
            put("waited_ms", (waited.as_secs_f64() * 1e3).into());
        }
        if let Some(age) = self.stale_ms {
            put("stale_ms", age.into());
        }
        parameters
    }

    /// The same on one line, as it stands in the header `x-tensorforge-route`.
    #[must_use]
    pub fn header(&self) -> String {
        let mut line = String::new();
        for (name, value) in self.parameters() {
            let text = match value {
                Value::String(text) => text,
                other => other.to_string(),
            };
            let separator = if line.is_empty() { "" } else { "; " };
            let name = name.trim_start_matches("route_");
            // A header is visible ASCII.
            let text: String = text
                .chars()
                .map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' })
                .collect();
            // Writing to a text cannot fail.
            let _ = write!(line, "{separator}{name}={text}");
        }
        line
    }
}

fn pairs(list: &[(String, &str)]) -> String {
    let named: Vec<String> = list.iter().map(|(name, why)| format!("{name}:{why}")).collect();
    named.join(",")
}

/// A note, for people: its name, and what it says beside.
pub(super) fn note_text(note: Note) -> String {
    match note {
        Note::Panic(share) => format!("panic:{}.{}%_healthy", share / 10, share % 10),
        Note::Exploring => "exploring".to_owned(),
        Note::AllStale => "all_stale".to_owned(),
        Note::Tier(tier) => format!("tier:{}", tier.name()),
        Note::Rule(place) => format!("rule:{place}"),
        Note::RuleWithoutEffect(place) => format!("rule_without_effect:{place}"),
        Note::AllWouldMissDeadline => "all_would_miss_deadline".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Writes down what a policy says.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) excluded: Vec<(usize, Exclusion)>,
    pub(super) costs: Vec<(usize, u64)>,
    pub(super) notes: Vec<Note>,
}

impl RouteSink for Notes {
    fn excluded(&mut self, index: usize, why: Exclusion) {
        self.excluded.push((index, why));
    }

    fn costed(&mut self, index: usize, cost: u64) {
        self.costs.push((index, cost));
    }

    fn noted(&mut self, note: Note) {
        self.notes.push(note);
    }
}
