//! By how long an endpoint takes.

use super::candidate::Candidate;
use super::context::RouteContext;
use super::cost::{Cost, TwoChoices};
use crate::Duration;

/// What an endpoint costs of which no latency is known and that has something to do, in nanoseconds:
/// more than any that answers. One with nothing to do costs nothing: it is asked, and then known.
const UNKNOWN: u64 = 1 << 48;

/// The Peak-EWMA latency times the requests that would be there, for its weight: in nanoseconds.
///
/// The latency counts less the longer nothing was heard, by the time constant that it was averaged with:
/// who was slow once is tried again.
///
/// Source: the cost of Finagle's and linkerd's `PeakEwma`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeakEwmaCost {
    /// After which time 37 % of a latency is left. With none, it does not fade.
    pub time_constant: Duration,
}

impl Default for PeakEwmaCost {
    /// 10 s.
    fn default() -> Self {
        Self { time_constant: Duration::from_secs(10) }
    }
}

impl PeakEwmaCost {
    /// The latency to expect of a candidate with nothing to do, in nanoseconds.
    #[inline]
    fn faded(&self, latency: Duration, age: Duration) -> f64 {
        let (latency, age) = (latency.as_nanos() as f64, age.as_nanos());
        match self.time_constant.as_nanos() {
            0 => latency,
            _ if age == 0 => latency,
            constant => latency * libm::exp(-(age as f64 / constant as f64)),
        }
    }
}

impl Cost for PeakEwmaCost {
    #[inline]
    fn cost(&self, request: &RouteContext<'_>, candidate: &Candidate) -> u64 {
        let requests = (u64::from(candidate.outstanding) + 1) as f64;
        let weight = f64::from(candidate.effective_weight().max(1)) / 1000.0;
        match candidate.latency {
            None if candidate.outstanding == 0 => 0,
            None => UNKNOWN.saturating_add(u64::from(candidate.outstanding)),
            Some(latency) => {
                let latency = self.faded(latency, request.now.since(candidate.measured_at));
                (latency * requests / weight) as u64 // saturates
            }
        }
    }
}

/// The one that answers sooner, of two that are drawn: Peak-EWMA with the power of two choices.
///
/// ```
/// use tensorforge_core::batch::ModelId;
/// use tensorforge_core::route::{Candidate, EndpointId, Latency, RouteContext, RoutingPolicy};
/// use tensorforge_core::{Duration, Instant};
///
/// let candidate = Candidate::new(EndpointId(1), ModelId(7));
/// let quick = Candidate { latency: Some(Duration::from_millis(5)), outstanding: 3, ..candidate };
/// let slow = Candidate { latency: Some(Duration::from_millis(50)), outstanding: 0, ..candidate };
/// let request = RouteContext::new(Instant::ZERO, 1);
/// let choice = Latency::default().choose(&request, &[slow, quick][..], &mut ()).unwrap();
/// assert_eq!(choice.index, 1); // 4 times 5 ms against 50 ms
/// ```
pub type Latency = TwoChoices<PeakEwmaCost>;
