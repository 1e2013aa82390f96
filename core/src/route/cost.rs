//! Choosing by what a candidate costs.

use super::candidate::{Candidate, Candidates};
use super::context::{RouteContext, purpose};
use super::explain::{Choice, NoRoute, Reason, RouteSink};
use super::hash::below;
use super::{RoutingPolicy, Shortlist};

/// What it costs to send a request to a candidate. The unit is the cost's own; less is better.
pub trait Cost {
    /// The cost.
    fn cost(&self, request: &RouteContext<'_>, candidate: &Candidate) -> u64;
}

/// Both together.
impl<A: Cost, B: Cost> Cost for (A, B) {
    fn cost(&self, request: &RouteContext<'_>, candidate: &Candidate) -> u64 {
        self.0.cost(request, candidate).saturating_add(self.1.cost(request, candidate))
    }
}

/// The cheaper of two that are drawn at random: the power of two choices.
///
/// Nearly as even as looking at all of them, and without the stampede: many requests that know the
/// same old figures do not all go to the one that looks best. With n requests over n endpoints the
/// longest queue is ln ln n / ln 2 + O(1), where one draw gives about ln n / ln ln n.
///
/// **Progress:** wait-free. **Memory:** that of the cost. O(1) beside the gate.
///
/// Source: M. Mitzenmacher, *The power of two choices in randomized load balancing*, 2001.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct TwoChoices<S>(pub S);

impl<C: Candidates + ?Sized, S: Cost> RoutingPolicy<C> for TwoChoices<S> {
    fn choose_among(
        &self,
        request: &RouteContext<'_>,
        candidates: &C,
        shortlist: &mut Shortlist,
        sink: &mut dyn RouteSink,
    ) -> Result<Choice, NoRoute> {
        if let Some(only) = shortlist.only() {
            return Ok(shortlist.choice(candidates, only, Reason::Only));
        }
        let random = request.draw(purpose::TWO_CHOICES);
        let len = shortlist.len() as u64;
        let first = below(len, random);
        // One of the others, from the bits that did not go into the first.
        let second = below(len.saturating_sub(1), random << 32);
        let second = second + u64::from(second >= first);
        let mut cheapest: Option<(usize, u64)> = None;
        for drawn in [first, second] {
            let Some(index) = shortlist.nth(drawn as usize) else { continue };
            let Some(candidate) = candidates.candidate(index) else { continue };
            let cost = self.0.cost(request, &candidate);
            sink.costed(index, cost);
            if cheapest.is_none_or(|(_, least)| cost < least) {
                cheapest = Some((index, cost));
            }
        }
        let (index, _) = cheapest.ok_or(NoRoute::AllExcluded)?;
        Ok(shortlist.choice(candidates, index, Reason::CheaperOfTwo))
    }
}

/// The cheapest of all; among equals, one that is drawn at random.
///
/// For costs that tell at once what every choice changes. With figures that lag behind, all requests
/// go to one endpoint until they catch up: take [`TwoChoices`] for those.
///
/// **Progress:** wait-free. **Memory:** that of the cost. O(candidates).
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Cheapest<S>(pub S);

impl<C: Candidates + ?Sized, S: Cost> RoutingPolicy<C> for Cheapest<S> {
    fn choose_among(
        &self,
        request: &RouteContext<'_>,
        candidates: &C,
        shortlist: &mut Shortlist,
        sink: &mut dyn RouteSink,
    ) -> Result<Choice, NoRoute> {
        if let Some(only) = shortlist.only() {
            return Ok(shortlist.choice(candidates, only, Reason::Only));
        }
        let mut cheapest: Option<(usize, u64)> = None;
        let mut equals = 0;
        let mut random = request.draw(purpose::TIE);
        for index in shortlist.iter() {
            let Some(candidate) = candidates.candidate(index) else { break };
            let cost = self.0.cost(request, &candidate);
            sink.costed(index, cost);
            match cheapest {
                Some((_, least)) if cost > least => continue,
                Some((_, least)) if cost == least => {
                    // The k-th equal takes the place with probability 1 / k.
                    equals += 1;
                    random = super::hash::mix(random);
                    if below(equals, random) == 0 {
                        cheapest = Some((index, cost));
                    }
                }
                _ => (cheapest, equals) = (Some((index, cost)), 1),
            }
        }
        let (index, _) = cheapest.ok_or(NoRoute::AllExcluded)?;
        Ok(shortlist.choice(candidates, index, Reason::Cheapest))
    }
}
