//! Who would answer in time.

use super::candidate::Candidates;
use super::context::RouteContext;
use super::explain::{Exclusion, NoRoute, Note, RouteSink};
use super::{Filter, Shortlist};
use crate::Duration;

/// Takes out who is expected to answer after the request's deadline, while there is someone who is not.
///
/// Expected is the latency, once for every `parallel` requests that would be there; who has no known
/// latency is expected in time. When nobody is, all stay: what is predicted may be wrong. O(candidates).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Headroom {
    /// How many requests an endpoint runs at once, such as the size of its batches. 0 counts as 1.
    pub parallel: u32,
    /// What is left over for the way there and back.
    pub margin: Duration,
}

impl Default for Headroom {
    /// One at a time, no margin.
    fn default() -> Self {
        Self { parallel: 1, margin: Duration::ZERO }
    }
}

impl<C: Candidates + ?Sized> Filter<C> for Headroom {
    fn narrow(
        &self,
        request: &RouteContext<'_>,
        candidates: &C,
        shortlist: &mut Shortlist,
        sink: &mut dyn RouteSink,
    ) -> Result<(), NoRoute> {
        let Some(deadline) = request.deadline else { return Ok(()) };
        let left = u128::from(deadline.since(request.now + self.margin).as_nanos());
        let late = shortlist.those_not(|index| {
            let Some(candidate) = candidates.candidate(index) else { return true };
            let Some(latency) = candidate.latency else { return true };
            let rounds = match self.parallel {
                0 | 1 => candidate.outstanding, // mostly; a division takes ten times as long
                parallel => candidate.outstanding / parallel,
            };
            u128::from(latency.as_nanos()) * (u128::from(rounds) + 1) <= left
        });
        if late.len() == shortlist.len() {
            sink.noted(Note::AllWouldMissDeadline);
            return Ok(());
        }
        shortlist.take_out(&late);
        late.tell(Exclusion::WouldMissDeadline, sink);
        Ok(())
    }
}
