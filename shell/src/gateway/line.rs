//! Finding an endpoint for a request, which may have to wait for one that has room.

use super::attempt::{Journey, Leave};
use super::member::{Member, Seat};
use super::waiting::{Room, Told, Waiter, Waiting};
use super::{Gateway, GatewayError};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;
use tensorforge_core::route::Exclusion;

/// Requests that wait, with the endpoints that they may go to.
pub(super) type Line = Waiting<Arc<[Seat]>>;

/// How often one that waits looks for itself: endpoints also recover, and tell nobody.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Why a request's way along the routes of a model ended without an answer.
#[derive(Debug)]
pub(super) enum Stopped {
    /// For good.
    Failed(GatewayError),
    /// There are other routes by now, which it has not set out on.
    Moved,
}

/// Why there is nobody to be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Nobody {
    /// Nobody is left, or has room.
    Left,
    /// The request's own time is over.
    Late,
    /// There are other routes by now.
    Moved,
}

impl Line {
    /// A request has left an endpoint.
    pub(super) fn left(&self, member: &Arc<Member>) {
        self.room(|seats| seats.iter().any(|seat| Arc::ptr_eq(&seat.member, member)));
    }
}

impl Gateway {
    /// Chooses an endpoint and gets leave to ask it. While all that might be asked are full, waits.
    pub(super) async fn find(&self, journey: &mut Journey<'_>) -> Result<(Seat, Leave), Nobody> {
        let (priority, class) = (journey.context.priority, journey.class());
        let may_wait = journey.may_wait() && self.options.max_waiting > 0;
        if !may_wait || !self.waiting.is_behind(priority, class) {
            let found = self.choose(journey);
            if found.is_ok() || !may_wait || !journey.lacks_room() {
                return found.map_err(|_| Nobody::Left);
            }
        }
        let Ok(waiter) = self.waiting.join(priority, class, Arc::clone(&journey.seats)) else {
            return self.choose(journey).map_err(|_| Nobody::Left);
        };
        journey.counters().waited();
        let until = journey.deadline.wait_until(self.options.timeout);
        let left = until.since(self.clock.now()).into();
        let found = tokio::time::timeout(left, self.wait(journey, &waiter)).await;
        drop(waiter);
        journey.taken.waited = Some(self.clock.now().since(journey.context.now).into());
        found.unwrap_or_else(|_| {
            let is_late = journey.deadline.is_past(self.clock.now());
            Err(if is_late { Nobody::Late } else { Nobody::Left })
        })
    }

    async fn wait(
        &self,
        journey: &mut Journey<'_>,
        waiter: &Waiter<'_, Arc<[Seat]>>,
    ) -> Result<(Seat, Leave), Nobody> {
        // Who is the first of its class may have come to the line just after somebody left.
        let mut room = waiter.is_first().then(Room::default);
        loop {
            if let Some(room) = room.take() {
                let found = self.choose(journey);
                if found.is_ok() {
                    return found.map_err(|_| Nobody::Left);
                }
                waiter.pass_on(room);
                if !journey.lacks_room() {
                    return Err(Nobody::Left);
                }
            }
            room = match tokio::time::timeout(LOOK_EVERY, waiter.told()).await {
                Ok(Told::Room(room)) => Some(room),
                Ok(Told::Displaced) => return self.choose(journey).map_err(|_| Nobody::Left),
                Err(_) => waiter.is_first().then(Room::default),
            };
            if self.has_moved(journey) {
                return Err(Nobody::Moved);
            }
        }
    }

    fn has_moved(&self, journey: &Journey<'_>) -> bool {
        let plan = self.plan.load();
        let now = plan.models.get(&journey.routes.name);
        !now.is_some_and(|now| Arc::ptr_eq(now, journey.routes))
    }
}

impl Journey<'_> {
    /// Whether it may wait for room: not where a fallback can be asked, nor as a copy, nor once somebody was
    /// asked.
    fn may_wait(&self) -> bool {
        self.routes.fallbacks.is_empty() && !self.is_copy && self.taken.attempts == 0
    }

    /// Whether nobody could be asked although there are some who only have no room.
    pub(super) fn lacks_room(&self) -> bool {
        let room = [Exclusion::Full.name(), Exclusion::KeptFree.name()];
        self.taken.failed.is_empty()
            && self.taken.excluded.iter().any(|(_, why)| room.contains(why))
    }

    /// The same for requests that may go to the same endpoints.
    fn class(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (Arc::as_ptr(&self.seats).addr(), &self.sought.version, &self.blocked).hash(&mut hasher);
        hasher.finish()
    }
}
