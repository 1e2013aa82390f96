//! Where a request would go, without sending it.

use super::attempt::Journey;
use super::bandit::BanditFigures;
use super::deadline::Deadline;
use super::member::{Member, Seat, View};
use super::rest::exclusion_name;
use super::route::{Notes, note_text};
use super::{Gateway, GatewayError, Hints};
use crate::contracts::InferRequest;
use serde::Serialize;
use std::sync::Arc;
use tensorforge_core::Instant;
use tensorforge_core::route::{Candidates, Health};

/// Where a request would go now, and why.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[non_exhaustive]
pub struct Explanation {
    /// The number of the table.
    pub table: u64,
    /// The model.
    pub model: String,
    /// The policy.
    pub policy: &'static str,
    /// The version that would be asked for, if one would.
    pub version: Option<String>,
    /// How it was found: `request`, `rule`, `split`; empty where none is.
    pub version_by: &'static str,
    /// The parts of versions at the moment, where a bandit divides the split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parts: Option<BanditFigures>,
    /// Where the request comes from, where that is known.
    pub place: Option<String>,
    /// The endpoint, if one is left.
    pub endpoint: Option<String>,
    /// Why it and not another of those that were left.
    pub reason: Option<&'static str>,
    /// Under which rule it could be chosen: `healthy`, `panic` …
    pub admission: Option<&'static str>,
    /// Everyone there is.
    pub candidates: Vec<Explained>,
    /// What else the policy says: `tier:zone`, `exploring` …
    pub notes: Vec<String>,
    /// Models that would be asked if nobody were left.
    pub fallbacks: Vec<String>,
}

/// One endpoint in an [`Explanation`].
#[derive(Clone, PartialEq, Debug, Serialize)]
#[non_exhaustive]
pub struct Explained {
    /// Its name.
    pub name: String,
    /// Its address; none for this process.
    pub url: Option<String>,
    /// Where it is, where that is known.
    pub place: Option<String>,
    /// Its health.
    pub health: String,
    /// The weight that counts now, in thousandths.
    pub weight: u32,
    /// Requests that are there.
    pub outstanding: u32,
    /// How many there may be; none for any number.
    pub limit: Option<u32>,
    /// Only requests of this priority or a higher one go there.
    pub least_priority: u8,
    /// Whether the model is there and ready, in the version that would be asked for.
    pub loaded: bool,
    /// Its Peak-EWMA latency in milliseconds, once it has answered.
    pub latency_ms: Option<f64>,
    /// Why it could not be chosen, if so.
    pub excluded: Option<&'static str>,
    /// What is wrong with it, where it cannot be chosen for that.
    pub problem: Option<&'static str>,
    /// What it costs, by the policy's own measure, where it was looked at.
    pub cost: Option<u64>,
}

impl Gateway {
    /// Says where a request would go now. Turns of round robin and splits go on as if it had been sent.
    ///
    /// # Errors
    /// [`GatewayError::UnknownModel`] for a model without routes.
    pub fn explain(
        &self,
        model: &str,
        version: Option<&str>,
        request: &InferRequest,
        hints: &Hints,
    ) -> Result<Explanation, GatewayError> {
        let plan = self.plan.load_full();
        let unknown = || GatewayError::UnknownModel(model.to_owned());
        let routes = plan.models.get(model).ok_or_else(unknown)?;
        let now = self.clock.now();
        let deadline = Deadline::of(request, self.options.timeout, now);
        let journey = self.journey(routes, version, request, hints, deadline);
        let view = View::new(Arc::clone(&journey.seats), &journey.sought, now);
        let mut notes = Notes::default();
        let choice = self.choose_rested(&journey, &view, &mut notes).ok();
        let Journey { version, taken, place, .. } = journey;
        let candidates = (0..view.count()).filter_map(|index| {
            let candidate = view.candidate(index)?;
            let seat = view.seats.get(index)?;
            let Member { name, url, .. } = &*seat.member;
            let excluded = notes.excluded.iter().find(|(at, _)| *at == index);
            let cost = notes.costs.iter().find(|(at, _)| *at == index);
            Some(Explained {
                name: name.clone(),
                url: url.clone(),
                place: seat.place_name.as_deref().map(str::to_owned),
                health: health_name(candidate.health).to_owned(),
                weight: candidate.effective_weight(),
                outstanding: candidate.outstanding,
                limit: Some(seat.limit).filter(|&limit| limit != u32::MAX),
                least_priority: seat.least_priority,
                loaded: candidate.loaded,
                latency_ms: candidate.latency.map(|latency| latency.as_nanos() as f64 / 1e6),
                excluded: excluded.map(|&why| exclusion_name(&view, why, &[])),
                problem: problem(seat, now),
                cost: cost.map(|&(_, cost)| cost),
            })
        });
        Ok(Explanation {
            table: plan.version.0,
            model: model.to_owned(),
            policy: taken.policy,
            version,
            version_by: taken.version_by,
            parts: routes.bandit.as_ref().map(|bandit| bandit.figures()),
            place,
            candidates: candidates.collect(),
            endpoint: choice
                .and_then(|choice| view.seats.get(choice.index))
                .map(|seat| seat.member.name.clone()),
            reason: choice.map(|choice| choice.reason.name()),
            admission: choice.map(|choice| choice.admission.name()),
            notes: notes.notes.iter().map(|note| note_text(*note)).collect(),
            fallbacks: routes.fallbacks.clone(),
        })
    }
}

fn problem(seat: &Seat, now: Instant) -> Option<&'static str> {
    if seat.version.known.is_odd() {
        return Some("its model takes or gives other tensors than that of the others");
    }
    seat.version.rest.holds(now).then_some("it said that it is overloaded, and rests for a moment")
}

pub(super) const fn health_name(health: Health) -> &'static str {
    match health {
        Health::Healthy => "healthy",
        Health::Recovering => "recovering",
        Health::Ejected => "ejected",
        Health::Unreachable => "unreachable",
        Health::Draining => "draining",
        _ => "unknown",
    }
}
