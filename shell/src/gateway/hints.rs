//! What a request says about its way: headers, parameters, where it comes from, whose it is, a key that keeps it
//! together with others.

use super::member::place_of;
use super::plan::ModelPlan;
use super::{Gateway, MAX_ANNOTATION, PLACE, STICKY, TENANT};
use crate::contracts::InferRequest;
use crate::routing::{CheckedRoutes, Condition, StickyBy};
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use tensorforge_core::route::{Annotation, Place, stable_hash};

/// The header for [`STICKY`].
const STICKY_HEADER: &str = "x-tensorforge-sticky-key";

/// The header for [`PLACE`].
const PLACE_HEADER: &str = "x-tensorforge-place";

/// The header for [`TENANT`].
const TENANT_HEADER: &str = "x-tensorforge-tenant";

/// The places that a table knows.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Where requests come from that do not say it.
    here: Option<String>,
    by_name: HashMap<String, Place>,
}

impl Places {
    pub(super) fn of(routes: &CheckedRoutes) -> Self {
        let by_name = routes.places().map(|(name, numbers)| (name.to_owned(), place_of(numbers)));
        Self { here: routes.here().map(str::to_owned), by_name: by_name.collect() }
    }

    pub(super) fn place(&self, name: Option<&str>) -> Place {
        name.and_then(|name| self.by_name.get(name)).copied().unwrap_or(Place::UNKNOWN)
    }
}

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
    /// The only endpoint, if it names one, by its place among those that rules name.
    pub(super) only: Option<usize>,
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
        Some(Ruled { version: rule.version.as_deref(), only: *only })
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

    /// A request parameter, or else a header.
    fn either(
        &self,
        request: &InferRequest,
        hints: &Hints,
        parameter: &str,
        header: &str,
    ) -> Option<String> {
        let by_header = || hints.header(header).map(str::to_owned);
        self.annotation(request, parameter).or_else(by_header)
    }

    /// What keeps a request together with others.
    pub(super) fn sticky(&self, request: &InferRequest, hints: &Hints) -> Option<u64> {
        let key = self.either(request, hints, STICKY, STICKY_HEADER)?;
        Some(stable_hash(key.as_bytes()))
    }

    /// Whose it is, as a hash; 0 for nobody's.
    pub(super) fn tenant(&self, request: &InferRequest, hints: &Hints) -> u64 {
        let tenant = self.either(request, hints, TENANT, TENANT_HEADER);
        tenant.map_or(0, |tenant| stable_hash(tenant.as_bytes()))
    }

    /// Where it comes from: the name of one of the table's places. Another one is dropped and counted.
    pub(super) fn place(
        &self,
        places: &Places,
        request: &InferRequest,
        hints: &Hints,
    ) -> Option<String> {
        let named = self.either(request, hints, PLACE, PLACE_HEADER);
        let is_known = named.as_ref().is_none_or(|name| places.by_name.contains_key(name));
        if is_known && named.is_some() {
            return named;
        }
        if !is_known {
            self.dropped_annotations.fetch_add(1, Ordering::Relaxed);
        }
        places.here.clone()
    }

    /// The annotation that the model's requests are kept together by, if it is one.
    pub(super) fn sticky_annotation(
        &self,
        by: &StickyBy,
        request: &InferRequest,
    ) -> Option<Annotation> {
        let StickyBy::Annotation(name) = by else { return None };
        let value = self.annotation(request, name)?;
        Some(Annotation {
            name: stable_hash(name.as_bytes()),
            value: stable_hash(value.as_bytes()),
        })
    }
}
