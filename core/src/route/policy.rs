//! What a policy is, and how policies are composed.

use super::explain::{Choice, NoRoute, RouteSink};
use super::{Candidate, Candidates, Gate, RouteContext, Shortlist};

/// Chooses an endpoint for each request, or none, and says why.
///
/// What it remembers from request to request lives in atomics, so any number of threads ask one policy
/// at once through `&self`. `C` is where the candidates come from; a policy that does not care is one
/// for all of them.
///
/// To write one, implement [`choose_among`](Self::choose_among): choose from the shortlist alone, and
/// choose something whenever it is not empty.
///
/// ```
/// use tensorforge_core::Instant;
/// use tensorforge_core::batch::ModelId;
/// use tensorforge_core::route::{
///     Candidate, Candidates, Choice, EndpointId, NoRoute, Reason, RouteContext, RouteSink,
///     RoutingPolicy, Shortlist,
/// };
///
/// /// Always the first.
/// struct First;
///
/// impl<C: Candidates + ?Sized> RoutingPolicy<C> for First {
///     fn choose_among(
///         &self,
///         _: &RouteContext<'_>,
///         candidates: &C,
///         shortlist: &mut Shortlist,
///         _: &mut dyn RouteSink,
///     ) -> Result<Choice, NoRoute> {
///         let first = shortlist.iter().next().ok_or(NoRoute::AllExcluded)?;
///         Ok(shortlist.choice(candidates, first, Reason::NextInTurn))
///     }
/// }
///
/// let candidate = Candidate::new(EndpointId(1), ModelId(7));
/// let idle = Candidate { weight: 0, ..candidate };
/// let request = RouteContext::new(Instant::ZERO, 1);
/// assert_eq!(First.choose(&request, &[idle, candidate][..], &mut ()).unwrap().index, 1);
/// ```
pub trait RoutingPolicy<C: Candidates + ?Sized = [Candidate]> {
    /// Chooses from the shortlist, which it may narrow.
    ///
    /// # Errors
    /// If nothing is on it, or everything was taken from it.
    fn choose_among(
        &self,
        request: &RouteContext<'_>,
        candidates: &C,
        shortlist: &mut Shortlist,
        sink: &mut dyn RouteSink,
    ) -> Result<Choice, NoRoute>;

    /// Who comes onto the shortlist. As it is, only the healthy.
    fn gate(&self) -> Gate {
        Gate::STRICT
    }

    /// Chooses one of the candidates.
    ///
    /// # Errors
    /// If there is none, or each is excluded.
    fn choose(
        &self,
        request: &RouteContext<'_>,
        candidates: &C,
        sink: &mut dyn RouteSink,
    ) -> Result<Choice, NoRoute> {
        let mut shortlist = self.gate().admit(request, candidates, sink)?;
        self.choose_among(request, candidates, &mut shortlist, sink)
    }
}

impl<C: Candidates + ?Sized, P: RoutingPolicy<C> + ?Sized> RoutingPolicy<C> for &P {
    fn choose_among(
        &self,
        request: &RouteContext<'_>,
        candidates: &C,
        shortlist: &mut Shortlist,
        sink: &mut dyn RouteSink,
    ) -> Result<Choice, NoRoute> {
        (**self).choose_among(request, candidates, shortlist, sink)
    }

    fn gate(&self) -> Gate {
        (**self).gate()
    }
}

/// Takes candidates off the shortlist before a policy chooses.
///
/// Whoever only prefers something leaves everything on the list when nothing of it is there, and says
/// so in a [`Note`](super::Note).
pub trait Filter<C: Candidates + ?Sized = [Candidate]> {
    /// Takes out what the request should not go to, and tells the sink why.
    ///
    /// # Errors
    /// If the request is to go nowhere.
    fn narrow(
        &self,
        request: &RouteContext<'_>,
        candidates: &C,
        shortlist: &mut Shortlist,
        sink: &mut dyn RouteSink,
    ) -> Result<(), NoRoute>;
}

impl<C: Candidates + ?Sized, F: Filter<C> + ?Sized> Filter<C> for &F {
    fn narrow(
        &self,
        request: &RouteContext<'_>,
        candidates: &C,
        shortlist: &mut Shortlist,
        sink: &mut dyn RouteSink,
    ) -> Result<(), NoRoute> {
        (**self).narrow(request, candidates, shortlist, sink)
    }
}

/// A filter, or none.
impl<C: Candidates + ?Sized, F: Filter<C>> Filter<C> for Option<F> {
    fn narrow(
        &self,
        request: &RouteContext<'_>,
        candidates: &C,
        shortlist: &mut Shortlist,
        sink: &mut dyn RouteSink,
    ) -> Result<(), NoRoute> {
        match self {
            Some(filter) => filter.narrow(request, candidates, shortlist, sink),
            None => Ok(()),
        }
    }
}

/// One after the other.
impl<C: Candidates + ?Sized, A: Filter<C>, B: Filter<C>> Filter<C> for (A, B) {
    fn narrow(
        &self,
        request: &RouteContext<'_>,
        candidates: &C,
        shortlist: &mut Shortlist,
        sink: &mut dyn RouteSink,
    ) -> Result<(), NoRoute> {
        self.0.narrow(request, candidates, shortlist, sink)?;
        self.1.narrow(request, candidates, shortlist, sink)
    }
}

/// A policy that chooses from what a filter leaves. It is a policy again, so filters nest; a pair of
/// filters is a filter too.
///
/// ```
/// use tensorforge_core::Instant;
/// use tensorforge_core::batch::ModelId;
/// use tensorforge_core::route::{
///     Candidate, EndpointId, Filtered, Geographic, Place, Priority, RouteContext, RoundRobin,
///     RoutingPolicy,
/// };
///
/// let filter = (Priority::DEFAULT, Geographic::DEFAULT);
/// let policy = Filtered { filter, policy: RoundRobin::new() };
///
/// let here = Place { region: 1, ..Place::UNKNOWN };
/// let far = Candidate::new(EndpointId(1), ModelId(7));
/// let near = Candidate { place: here, ..far };
/// let request = RouteContext { place: here, ..RouteContext::new(Instant::ZERO, 1) };
/// let choice = policy.choose(&request, &[far, near][..], &mut ()).unwrap();
/// assert_eq!(choice.index, 1);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Filtered<F, P> {
    /// Narrows.
    pub filter: F,
    /// Chooses.
    pub policy: P,
}

impl<C: Candidates + ?Sized, F: Filter<C>, P: RoutingPolicy<C>> RoutingPolicy<C>
    for Filtered<F, P>
{
    fn choose_among(
        &self,
        request: &RouteContext<'_>,
        candidates: &C,
        shortlist: &mut Shortlist,
        sink: &mut dyn RouteSink,
    ) -> Result<Choice, NoRoute> {
        self.filter.narrow(request, candidates, shortlist, sink)?;
        self.policy.choose_among(request, candidates, shortlist, sink)
    }

    fn gate(&self) -> Gate {
        self.policy.gate()
    }
}

/// A policy with another [`Gate`] in front than its own.
#[derive(Clone, Copy, Debug)]
pub struct Gated<P> {
    /// Who comes onto the shortlist.
    pub gate: Gate,
    /// Chooses.
    pub policy: P,
}

impl<C: Candidates + ?Sized, P: RoutingPolicy<C>> RoutingPolicy<C> for Gated<P> {
    fn choose_among(
        &self,
        request: &RouteContext<'_>,
        candidates: &C,
        shortlist: &mut Shortlist,
        sink: &mut dyn RouteSink,
    ) -> Result<Choice, NoRoute> {
        self.policy.choose_among(request, candidates, shortlist, sink)
    }

    fn gate(&self) -> Gate {
        self.gate
    }
}
