//! What a request says about its way: headers, parameters, a key that keeps it together with others.

use super::member::Seat;
use super::plan::ModelPlan;
use super::{Gateway, MAX_ANNOTATION, STICKY};
use crate::contracts::InferRequest;
use crate::routing::Condition;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tensorforge_core::route::stable_hash;

/// The header for [`STICKY`].
const STICKY_HEADER: &str = "x-tensorforge-sticky-key";

/// What a request brings beside its message.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Hints {
    /// Its HTTP headers, names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Hints {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str()).filter(|value| value.len() <= MAX_ANNOTATION)
    }
}

/// Where a rule sends a request.
#[derive(Clone, Copy, Default)]
pub(super) struct Ruled<'a> {
    pub(super) version: Option<&'a str>,
    /// The only endpoint, if it names one.
    pub(super) only: Option<&'a Arc<[Seat]>>,
}

impl Gateway {
    /// The rule that holds for a request, if one does: the version that it names, and the endpoint.
    pub(super) fn rule<'a>(
        &self,
        routes: &'a ModelPlan,
        request: &InferRequest,
        hints: &Hints,
    ) -> Option<Ruled<'a>> {
        let holds = |condition: &Condition| match condition {
            Condition::Header { name, equals } => hints
                .header(name)
                .is_some_and(|value| equals.as_deref().is_none_or(|it| it == value)),
            Condition::Annotation { name, equals } => {
                let value = self.annotation(request, name);
                value.is_some_and(|value| equals.as_ref().is_none_or(|it| *it == value))
            }
        };
        let (rule, only) = routes.rules.iter().find(|(rule, _)| holds(&rule.condition))?;
        Some(Ruled { version: rule.version.as_deref(), only: only.as_ref() })
    }

    /// A request parameter as text.
    fn annotation(&self, request: &InferRequest, name: &str) -> Option<String> {
        let text = match request.parameters.get(name)? {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if text.len() > MAX_ANNOTATION {
            self.dropped_annotations.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(text)
    }

    /// What keeps a request together with others.
    pub(super) fn sticky(&self, request: &InferRequest, hints: &Hints) -> Option<u64> {
        let by_header = hints.header(STICKY_HEADER).map(str::to_owned);
        let key = self.annotation(request, STICKY).or(by_header)?;
        Some(stable_hash(key.as_bytes()))
    }
}
