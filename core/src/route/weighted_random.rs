//! At random, by weight.

use super::context::purpose;
use super::explain::{Choice, NoRoute, Reason, RouteSink};
use super::hash::below;
use super::{Candidates, RouteContext, RoutingPolicy, Shortlist};

/// A random one, each as likely as its share of the weights says. Has no memory, so processes that
/// know nothing of each other do not fall into step.
///
/// **Progress:** wait-free. **Memory:** none. O(candidates).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WeightedRandom;

impl<C: Candidates + ?Sized> RoutingPolicy<C> for WeightedRandom {
    fn choose_among(
        &self,
        request: &RouteContext<'_>,
        candidates: &C,
        shortlist: &mut Shortlist,
        _: &mut dyn RouteSink,
    ) -> Result<Choice, NoRoute> {
        let weight = |index| {
            candidates.candidate(index).map_or(0, |found| u64::from(found.effective_weight()))
        };
        let all: u64 = shortlist.iter().map(weight).sum();
        let mut left = below(all, request.draw(purpose::WEIGHTED));
        let mut drawn = None;
        for index in shortlist.iter() {
            drawn = Some(index);
            let weight = weight(index);
            if left < weight {
                break;
            }
            left -= weight;
        }
        let index = drawn.ok_or(NoRoute::AllExcluded)?;
        Ok(shortlist.choice(candidates, index, Reason::Drawn))
    }
}
