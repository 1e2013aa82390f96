//! Room for what is more important.

use super::candidate::{Candidate, Candidates};
use super::context::RouteContext;
use super::explain::{Exclusion, NoRoute, RouteSink};
use super::{Filter, Shortlist};
use crate::batch::LEVELS;

/// Keeps part of each endpoint's room for requests of higher priority.
///
/// A request of priority p may go to an endpoint that has fewer requests than `share[p]` thousandths of
/// its limit, rounded up. An endpoint without a limit has room for all. Priorities above the last one
/// count as the last.
///
/// When no endpoint has room for its priority, there is no route: the caller waits or sheds. That is
/// the point of it.
///
/// Endpoints that are for some priorities only say so in
/// [`least_priority`](Candidate::least_priority), which holds for every policy. O(candidates).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Priority {
    /// For each priority, up to which part of its limit it fills an endpoint, in thousandths.
    pub share: [u16; LEVELS],
}

impl Default for Priority {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Priority {
    /// The lowest priority fills nine tenths, the others all.
    pub const DEFAULT: Self = Self { share: [900, 1000, 1000, 1000, 1000, 1000, 1000, 1000] };

    /// In thousandths.
    fn share_of(&self, priority: u8) -> u64 {
        let level = usize::from(priority).min(LEVELS - 1);
        self.share.get(level).map_or(1000, |&share| u64::from(share))
    }
}

#[inline(always)]
fn has_room(share: u64, candidate: &Candidate) -> bool {
    candidate.limit == u32::MAX
        || u64::from(candidate.outstanding) * 1000 < share * u64::from(candidate.limit)
}

impl<C: Candidates + ?Sized> Filter<C> for Priority {
    fn narrow(
        &self,
        request: &RouteContext<'_>,
        candidates: &C,
        shortlist: &mut Shortlist,
        sink: &mut dyn RouteSink,
    ) -> Result<(), NoRoute> {
        let share = self.share_of(request.priority);
        let full = shortlist.those_not(|index| {
            let Some(candidate) = candidates.candidate(index) else { return true };
            has_room(share, &candidate)
        });
        shortlist.take_out(&full);
        full.tell(Exclusion::KeptFree, sink);
        if shortlist.is_empty() { Err(NoRoute::AllExcluded) } else { Ok(()) }
    }
}
