//! Each as often as its weight says, evenly spread.

use super::explain::{Choice, Exclusion, NoRoute, Reason, RouteSink};
use super::shortlist::MAX_CANDIDATES;
use super::{Candidates, RouteContext, RoutingPolicy, Shortlist};
use crate::sync::{AtomicU64, Ordering, array_of, const_unless_loom};

/// Credits further away than so many rounds come from other weights than the present ones.
const MOST_ROUNDS: i64 = 16;

/// Smooth weighted round robin, as nginx has it: never a burst to the heaviest.
///
/// In each choice everyone on the shortlist earns its weight; who has the most pays the sum of what was
/// earned, and is chosen. With weights 5, 1 and 1 that gives `a a b a c a a`, where a plain weighted
/// round robin gives `a a a a a b c`. Who is not on the shortlist earns nothing, so coming back brings
/// no burst. While list and weights stay the same, each full cycle of as many choices as the sum of the
/// weights holds each exactly as often as its weight. Credits from other weights, or from before the
/// heavy ones left, are cut to 16 such cycles; in nginx they are worked off, however long that takes.
///
/// Threads may choose at once: earnings and payments are single additions, so the credits always add
/// up, and no choice is lost. Each writes all credits, though; many threads had better have one value
/// each.
///
/// **Progress:** wait-free. **Memory:** 8 bytes for each of `PLACES` candidates; later ones are not
/// looked at. O(candidates), one atomic addition each. Credits are kept by place in the list: with a list
/// in another order, some choices go by another's credit, once.
///
/// Source: nginx, `ngx_http_upstream_round_robin.c`, in words: commit 52327e0627f4 (2012).
///
/// ```
/// use tensorforge_core::Instant;
/// use tensorforge_core::batch::ModelId;
/// use tensorforge_core::route::{Candidate, EndpointId, RouteContext, RoutingPolicy, SmoothWeighted};
///
/// let policy = SmoothWeighted::<8>::new();
/// let candidates = [5, 1, 1].map(|weight| {
///     Candidate { weight, ..Candidate::new(EndpointId(u64::from(weight)), ModelId(7)) }
/// });
/// let request = RouteContext::new(Instant::ZERO, 1);
/// let chosen = [(); 7].map(|()| policy.choose(&request, &candidates[..], &mut ()).unwrap().index);
/// assert_eq!(chosen, [0, 0, 1, 0, 2, 0, 0]);
/// ```
#[derive(Debug)]
pub struct SmoothWeighted<const PLACES: usize = MAX_CANDIDATES> {
    /// Signed, in two's complement, in thousandths of a weight.
    credits: [AtomicU64; PLACES],
}

impl<const PLACES: usize> Default for SmoothWeighted<PLACES> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const PLACES: usize> SmoothWeighted<PLACES> {
    const_unless_loom! {
        /// Nobody has any credit.
        #[must_use]
        pub fn new() -> Self {
            Self { credits: array_of![AtomicU64::new(0); PLACES] }
        }
    }

    fn add(&self, index: usize, amount: i64) -> Option<i64> {
        let credit = self.credits.get(index)?;
        let before = credit.fetch_add(amount as u64, Ordering::Relaxed) as i64;
        Some(before.wrapping_add(amount))
    }

    /// What came from other weights is cut down, lest it decide for long.
    #[cold]
    fn cut(&self, shortlist: &Shortlist, most: i64) {
        for index in shortlist.iter() {
            let Some(credit) = self.credits.get(index) else { break };
            let now = credit.load(Ordering::Relaxed) as i64;
            if now.unsigned_abs() > most.unsigned_abs() {
                let cut = now.clamp(-most, most).wrapping_sub(now);
                credit.fetch_add(cut as u64, Ordering::Relaxed);
            }
        }
    }
}

impl<C: Candidates + ?Sized, const PLACES: usize> RoutingPolicy<C> for SmoothWeighted<PLACES> {
    fn choose_among(
        &self,
        _: &RouteContext<'_>,
        candidates: &C,
        shortlist: &mut Shortlist,
        sink: &mut dyn RouteSink,
    ) -> Result<Choice, NoRoute> {
        // At most 1024 * 65535 * 1000, far below 2^63.
        let mut earned = 0_i64;
        let mut richest: Option<(usize, i64)> = None;
        let mut furthest = 0_u64;
        for index in shortlist.iter() {
            let Some(candidate) = candidates.candidate(index) else { break };
            let weight = i64::from(candidate.effective_weight());
            let Some(credit) = self.add(index, weight) else {
                sink.excluded(index, Exclusion::Beyond);
                continue;
            };
            earned += weight;
            furthest = furthest.max(credit.unsigned_abs());
            if richest.is_none_or(|(_, most)| credit > most) {
                richest = Some((index, credit));
            }
        }
        let (index, _) = richest.ok_or(NoRoute::AllExcluded)?;
        self.add(index, -earned);
        let most = earned.saturating_mul(MOST_ROUNDS);
        if furthest > most.unsigned_abs() {
            self.cut(shortlist, most);
        }
        Ok(shortlist.choice(candidates, index, Reason::MostOwed))
    }
}
