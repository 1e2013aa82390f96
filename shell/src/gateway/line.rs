//! Finding an endpoint for a request, which may have to wait for one that has room.

use super::attempt::{Journey, Leave};
use super::member::{Member, Seat};
use super::waiting::{Told, Waiter, Waiting};
use super::{Gateway, GatewayError};
use std::sync::Arc;
use tensorforge_core::route::{Exclusion, NoRoute};

/// Requests that wait, with the endpoints that they may go to.
pub(super) type Line = Waiting<Arc<[Seat]>>;

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
            return self.choose_again(journey).map_err(|_| Nobody::Left);
        };
        let now = self.clock.now();
        if !journey.deadline.has_waited() {
            journey.counters().waited();
        }
        let until = journey.deadline.wait_until(self.options.timeout);
        let found = tokio::time::timeout(until.since(now).into(), self.wait(journey, &waiter));
        let found = found.await;
        if matches!(found, Ok(Ok(_))) {
            waiter.go();
        }
        let (now, deadline) = (self.clock.now(), journey.deadline);
        let since = if deadline.has_waited() { deadline.came() } else { journey.context.now };
        journey.taken.waited = Some(now.since(since).into());
        found.unwrap_or_else(|_| {
            Err(if journey.deadline.is_past(now) { Nobody::Late } else { Nobody::Left })
        })
    }

    async fn wait(
        &self,
        journey: &mut Journey<'_>,
        waiter: &Waiter<'_, Arc<[Seat]>>,
    ) -> Result<(Seat, Leave), Nobody> {
        // Endpoints also recover, and tell nobody.
        let look_every = self.options.probe_every / 4;
        // Who is the first of its class may have come to the line just after somebody left.
        let (mut told, mut looks) = (None, waiter.is_first());
        loop {
            if told.is_some() || looks {
                let found = self.choose_again(journey);
                if found.is_ok() {
                    return found.map_err(|_| Nobody::Left);
                }
                if let Some(room) = told.take() {
                    waiter.pass_on(room);
                }
                if !journey.lacks_room() {
                    return Err(Nobody::Left);
                }
            }
            (told, looks) = match tokio::time::timeout(look_every, waiter.told()).await {
                Ok(Told::Room(room)) => (Some(room), false),
                Ok(Told::Displaced) => {
                    return self.choose_again(journey).map_err(|_| Nobody::Left);
                }
                Err(_) => (None, waiter.is_first()),
            };
            if self.has_moved(journey) {
                return Err(Nobody::Moved);
            }
        }
    }

    /// Chooses anew before anybody was asked: whoever could not be asked a moment ago may be by now.
    fn choose_again(&self, journey: &mut Journey<'_>) -> Result<(Seat, Leave), NoRoute> {
        journey.blocked.clear();
        self.choose(journey)
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
        Arc::as_ptr(&self.seats).addr() as u64
    }
}
