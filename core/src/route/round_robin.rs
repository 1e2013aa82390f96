//! Each in turn.

use super::explain::{Choice, NoRoute, Reason, RouteSink};
use super::{Candidates, RouteContext, RoutingPolicy, Shortlist};
use crate::sync::{AtomicU64, Ordering, const_unless_loom};

/// The next one on the shortlist after the one chosen last.
///
/// So all on a list that stays the same are chosen equally often, in the order of their places, and the
/// turn of one that is left out goes to nobody in particular. It does not look at weights.
///
/// **Progress:** lock-free. **Memory:** 8 bytes. O(1).
///
/// ```
/// use tensorforge_core::Instant;
/// use tensorforge_core::batch::ModelId;
/// use tensorforge_core::route::{Candidate, EndpointId, RouteContext, RoundRobin, RoutingPolicy};
///
/// let policy = RoundRobin::new();
/// let candidates = [1, 2, 3].map(|id| Candidate::new(EndpointId(id), ModelId(7)));
/// let request = RouteContext::new(Instant::ZERO, 1);
/// let chosen = [(); 4].map(|()| policy.choose(&request, &candidates[..], &mut ()).unwrap().index);
/// assert_eq!(chosen, [0, 1, 2, 0]);
/// ```
#[derive(Debug)]
pub struct RoundRobin {
    /// The place chosen last.
    last: AtomicU64,
}

impl Default for RoundRobin {
    fn default() -> Self {
        Self::new()
    }
}

impl RoundRobin {
    const_unless_loom! {
        /// Begins with the first.
        #[must_use]
        pub fn new() -> Self {
            // The end, after which the first comes around.
            Self { last: AtomicU64::new(u32::MAX as u64) }
        }
    }
}

impl<C: Candidates + ?Sized> RoutingPolicy<C> for RoundRobin {
    fn choose_among(
        &self,
        _: &RouteContext<'_>,
        candidates: &C,
        shortlist: &mut Shortlist,
        _: &mut dyn RouteSink,
    ) -> Result<Choice, NoRoute> {
        let mut last = self.last.load(Ordering::Relaxed);
        loop {
            // A place is far below 2^32.
            let next = shortlist.next_after(last as usize).ok_or(NoRoute::AllExcluded)?;
            let swapped = self.last.compare_exchange_weak(
                last,
                next as u64,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match swapped {
                Ok(_) => return Ok(shortlist.choice(candidates, next, Reason::NextInTurn)),
                Err(other) => last = other,
            }
        }
    }
}
