//! Endpoints that said that they are overloaded get nothing for a moment, as long as others are left.
//!
//! Overload is no ill health: who turns requests away quickly does the right thing, and to eject it would
//! leave its share to the others, which are as busy. So an endpoint only rests, and for the version that it
//! turned away: for the time that it names, [`LONGEST`] at most. What it says is a guess from the queue of that
//! moment, made for a client that keeps on sending, and here the queue gets shorter faster, as the others take
//! what would have gone there. A request that is turned away costs little, and with a second's rest there is
//! at most one a second for each that is overloaded.
//!
//! Where all rest that could be asked, they are asked all the same: nobody is turned away here for what a
//! server said of another request.

use super::Gateway;
use super::attempt::Journey;
use super::member::{Seat, View};
use super::route::Notes;
use std::sync::atomic::{AtomicU64, Ordering};
use tensorforge_core::route::{Admission, Choice, EndpointId, Exclusion, NoRoute, RouteContext};
use tensorforge_core::{Duration, Instant};

/// The longest rest, whatever the endpoint asks for.
pub(super) const LONGEST: Duration = Duration::from_secs(1);

/// The rest of one that does not say for how long.
pub(super) const USUAL: Duration = Duration::from_millis(100);

/// Until when an endpoint rests, in nanoseconds; 0 for one that never did.
#[derive(Debug, Default)]
pub(super) struct Rest(AtomicU64);

impl Rest {
    /// It has said that it is overloaded, for so long if it knows.
    pub(super) fn begin(&self, retry_after: Option<Duration>, now: Instant) {
        let until = now + retry_after.unwrap_or(USUAL).min(LONGEST);
        self.0.fetch_max(until.as_nanos(), Ordering::Relaxed);
    }

    pub(super) fn holds(&self, now: Instant) -> bool {
        now.as_nanos() < self.0.load(Ordering::Relaxed)
    }
}

impl Gateway {
    /// The policy's choice among those that do not rest; among all where those are not enough. `view` is of the
    /// journey's seats.
    pub(super) fn choose_rested(
        &self,
        journey: &Journey<'_>,
        view: &View,
        notes: &mut Notes,
    ) -> Result<Choice, NoRoute> {
        let policy = &journey.routes.policy;
        let annotations = journey.annotation.as_slice();
        let blocked = &journey.blocked[..];
        let context = RouteContext { now: view.now, annotations, blocked, ..journey.context };
        let resting = view.seats.iter().filter(|seat| seat.version.rest.holds(view.now));
        let mut without: Vec<EndpointId> = resting.map(|seat| seat.member.id).collect();
        if !without.is_empty() {
            without.extend_from_slice(blocked);
            let context = RouteContext { blocked: &without, ..context };
            // Better one that is busy than one that looks ill.
            match policy.choose(&context, view, notes) {
                Ok(choice) if choice.admission != Admission::Panic => return Ok(choice),
                _ => *notes = Notes::default(),
            }
        }
        policy.choose(&context, view, notes)
    }
}

/// Why the endpoint at `index` was not left, by the name that people know: the policy sees only that it may not
/// be asked.
pub(super) fn exclusion_name(
    view: &View,
    (index, why): (usize, Exclusion),
    blocked: &[EndpointId],
) -> &'static str {
    let rests =
        |seat: &Seat| !blocked.contains(&seat.member.id) && seat.version.rest.holds(view.now);
    match why {
        Exclusion::Blocked if view.seats.get(index).is_some_and(rests) => "resting",
        why => view.why(index, why),
    }
}
