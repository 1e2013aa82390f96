//! By what an endpoint has to do.

use super::candidate::Candidate;
use super::context::RouteContext;
use super::cost::{Cost, TwoChoices};

/// Requests that were sent and not answered, this one included, for its weight.
///
/// In 2^-16 of a request of an endpoint of weight 1; with a weight of 2, half of that.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Outstanding;

impl Cost for Outstanding {
    #[inline]
    fn cost(&self, _: &RouteContext<'_>, candidate: &Candidate) -> u64 {
        // Below 2^59: a count below 2^33, 16 bits, and 10 for thousandths.
        let thousandths = ((u64::from(candidate.outstanding) + 1) * 1000) << 16;
        thousandths / u64::from(candidate.effective_weight()).max(1)
    }
}

/// The one with less to do, of two that are drawn.
///
/// ```
/// use tensorforge_core::Instant;
/// use tensorforge_core::batch::ModelId;
/// use tensorforge_core::route::{Candidate, EndpointId, LeastRequest, RouteContext, RoutingPolicy};
///
/// let busy = Candidate { outstanding: 9, ..Candidate::new(EndpointId(1), ModelId(7)) };
/// let idle = Candidate::new(EndpointId(2), ModelId(7));
/// let request = RouteContext::new(Instant::ZERO, 1);
/// let policy = LeastRequest::default();
/// assert_eq!(policy.choose(&request, &[busy, idle][..], &mut ()).unwrap().index, 1);
/// // Ten times the weight carries ten times as much, and then some.
/// let heavy = Candidate { weight: 20, ..busy };
/// assert_eq!(policy.choose(&request, &[heavy, idle][..], &mut ()).unwrap().index, 0);
/// ```
pub type LeastRequest = TwoChoices<Outstanding>;
