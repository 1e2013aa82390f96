//! How a visit to an endpoint ended, and what that says of how long the endpoint takes.

use super::member::Seat;
use super::plan::ModelPlan;
use tensorforge_core::breaker::Outcome;
use tensorforge_core::{Duration, Instant};

/// How a visit ended; what that says of the endpoint's health, where it is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    Answered,
    /// With an error.
    Failed(Outcome),
    /// Nobody waited any longer.
    GivenUp(Outcome),
}

impl Ending {
    pub(super) const fn outcome(self) -> Outcome {
        match self {
            Self::Answered => Outcome::Success,
            Self::Failed(outcome) | Self::GivenUp(outcome) => outcome,
        }
    }

    /// The latency that counts for the endpoint after `took`, if one does.
    ///
    /// An answer takes as long as it took; what was given up takes at least as long. Errors come quickly, and
    /// never make an endpoint look fast: where nothing is known of it, it counts as slow as the others are on
    /// average, so that not every request is drawn to it as to one that is new. Failures keep what is known
    /// from fading.
    pub(super) fn latency(
        self,
        took: Duration,
        seat: &Seat,
        routes: &ModelPlan,
        now: Instant,
    ) -> Option<Duration> {
        let own = seat.member.load.latency(now).map(|(usual, _)| usual);
        match (self, own) {
            (Self::Answered, _) => Some(took),
            (Self::Failed(Outcome::Failure), Some(usual)) => Some(usual.max(took)),
            (Self::Failed(_), None) => Some(usual_of(routes, now)?.max(took)),
            (_, Some(usual)) => (took > usual).then_some(took),
            (Self::GivenUp(_), None) => Some(took),
        }
    }
}

/// How long a model's endpoints take on average, of which that is known.
fn usual_of(routes: &ModelPlan, now: Instant) -> Option<Duration> {
    let known = routes.seats.iter().filter_map(|seat| Some(seat.member.load.latency(now)?.0));
    let (count, sum) = known.fold((0_u64, 0_u64), |(count, sum), latency| {
        (count + 1, sum.saturating_add(latency.as_nanos()))
    });
    Some(Duration::from_nanos(sum.checked_div(count)?))
}
