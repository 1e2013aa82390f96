//! What may be chosen.

use super::context::{EndpointId, Place};
use crate::batch::ModelId;
use crate::{Duration, Instant};

/// How much of its weight an endpoint has that is not starting slowly: the whole, in thousandths.
pub const FULL_RAMP: u16 = 1000;

/// Whether an endpoint is fit to be asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Health {
    /// It is.
    Healthy,
    /// It was not, and its time to show that it is again has come: a small share of requests explores it.
    Recovering,
    /// Too many calls to it failed.
    Ejected,
    /// It does not answer active probes.
    Unreachable,
    /// It finishes what it has, and takes nothing more.
    Draining,
}

/// An endpoint as it stands when a request is routed.
///
/// Plain figures: the caller takes them from wherever they live, such as an
/// [`EndpointLoad`](super::EndpointLoad) and an [`EndpointHealth`](super::EndpointHealth).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Which it is.
    pub endpoint: EndpointId,
    /// The version of the model that it would answer with.
    pub version: ModelId,
    /// Where it is.
    pub place: Place,
    /// Its share of the traffic, against the others'. With 0 it gets none.
    pub weight: u16,
    /// How much of its weight counts, in thousandths: less than [`FULL_RAMP`] while it starts slowly.
    pub ramp: u16,
    /// Whether it is fit.
    pub health: Health,
    /// Whether the model is loaded there. If not, the request waits until it is.
    pub loaded: bool,
    /// Only requests of this priority or higher may go there.
    pub least_priority: u8,
    /// Requests that were sent there and are not answered.
    pub outstanding: u32,
    /// How many of them there may be.
    pub limit: u32,
    /// Its Peak-EWMA latency as of [`measured_at`](Self::measured_at); `None` before the first answer.
    pub latency: Option<Duration>,
    /// When it last answered.
    pub measured_at: Instant,
    /// When its figures were last heard of, if they come from elsewhere and can grow old; else
    /// [`Instant::MAX`]. Who is idle is not stale.
    pub heard_at: Instant,
}

impl Candidate {
    /// A healthy endpoint with nothing to do, of weight 1, that has the model loaded and no limit.
    #[must_use]
    pub const fn new(endpoint: EndpointId, version: ModelId) -> Self {
        Self {
            endpoint,
            version,
            place: Place::UNKNOWN,
            weight: 1,
            ramp: FULL_RAMP,
            health: Health::Healthy,
            loaded: true,
            least_priority: 0,
            outstanding: 0,
            limit: u32::MAX,
            latency: None,
            measured_at: Instant::ZERO,
            heard_at: Instant::MAX,
        }
    }

    /// The weight that counts now, in thousandths. 0 only for a weight of 0: who starts slowly starts.
    #[inline]
    #[must_use]
    pub const fn effective_weight(&self) -> u32 {
        let ramp = match self.ramp {
            FULL_RAMP => FULL_RAMP, // mostly
            0 => 1,
            ramp if ramp > FULL_RAMP => FULL_RAMP,
            ramp => ramp,
        };
        self.weight as u32 * ramp as u32
    }
}

/// Where candidates come from: a slice of them, or a view that reads live figures when asked.
///
/// Asked twice for the same place in one choice, it may tell newer figures, but not another endpoint.
pub trait Candidates {
    /// How many there are. Only the first [`MAX_CANDIDATES`](super::MAX_CANDIDATES) are looked at.
    fn count(&self) -> usize;

    /// The one at `index`; `None` from [`count`](Self::count) on. A choice asks for each a few times, so
    /// let it be inlined.
    fn candidate(&self, index: usize) -> Option<Candidate>;

    /// Where the one at `index` is. For a view whose other figures take longer.
    #[inline(always)]
    fn place(&self, index: usize) -> Option<Place> {
        self.candidate(index).map(|candidate| candidate.place)
    }
}

impl Candidates for [Candidate] {
    #[inline]
    fn count(&self) -> usize {
        self.len()
    }

    #[inline(always)]
    fn candidate(&self, index: usize) -> Option<Candidate> {
        let found = self.get(index)?;
        // As it is. But `None` is a third value of what tells whether a latency is known, and the compiler
        // does not know of a copy that it is none: it would look at each.
        #[allow(clippy::manual_map, clippy::needless_match, reason = "see above")]
        let latency = match found.latency {
            Some(latency) => Some(latency),
            None => None,
        };
        Some(Candidate { latency, ..*found })
    }
}
