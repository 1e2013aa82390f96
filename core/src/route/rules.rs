//! What is written down for some requests.

use super::candidate::{Candidate, Candidates};
use super::context::{EndpointId, Place, RouteContext, Tier};
use super::explain::{Exclusion, NoRoute, Note, RouteSink};
use super::{Filter, Shortlist};
use crate::batch::ModelId;

/// Something that holds for a request or does not. Names and values are [hashes](super::stable_hash).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Condition {
    /// It has an annotation of this name and value.
    Annotation {
        /// The name.
        name: u64,
        /// The value.
        value: u64,
    },
    /// It has an annotation of this name.
    Annotated(u64),
    /// It has no annotation of this name.
    NotAnnotated(u64),
    /// It is for this version.
    Version(ModelId),
    /// It names this label.
    Label(u64),
    /// It is of this tenant.
    Tenant(u64),
    /// Its priority is this or higher.
    PriorityFrom(u8),
    /// It comes from at most so far from there.
    From {
        /// There.
        place: Place,
        /// So far.
        within: Tier,
    },
}

/// Where a rule sends a request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Target {
    /// To endpoints that serve this version.
    Version(ModelId),
    /// To this endpoint.
    Endpoint(EndpointId),
    /// To endpoints at most so far from there.
    Near {
        /// There.
        place: Place,
        /// So far.
        within: Tier,
    },
    /// Anywhere: later rules are not looked at.
    Anywhere,
    /// Nowhere.
    Refuse,
}

/// How many conditions a rule may have.
pub const MAX_CONDITIONS: usize = 8;

/// One rule: requests for which all conditions hold go to the target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rule {
    conditions: [Condition; MAX_CONDITIONS],
    len: usize,
    to: Target,
    strict: bool,
}

/// A rule has more than [`MAX_CONDITIONS`] conditions: this many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooManyConditions(pub usize);

impl core::fmt::Display for TooManyConditions {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "a rule has at most {MAX_CONDITIONS} conditions, not {}", self.0)
    }
}

impl core::error::Error for TooManyConditions {}

impl Rule {
    /// Requests for which all of `when` hold go to the target: without any, all requests.
    ///
    /// When nothing of the target is left, the rule is passed over, and so are those after it.
    ///
    /// # Errors
    /// If there are more than [`MAX_CONDITIONS`].
    pub const fn new(mut when: &[Condition], to: Target) -> Result<Self, TooManyConditions> {
        let len = when.len();
        if len > MAX_CONDITIONS {
            return Err(TooManyConditions(len));
        }
        // What fills it up holds for all.
        let mut conditions = [Condition::PriorityFrom(0); MAX_CONDITIONS];
        let mut at = 0;
        while let [condition, rest @ ..] = when {
            conditions[at] = *condition; // below MAX_CONDITIONS
            (at, when) = (at + 1, rest);
        }
        Ok(Self { conditions, len, to, strict: false })
    }

    /// The same, but there is no route when nothing of the target is left.
    #[must_use]
    pub const fn strict(self) -> Self {
        Self { strict: true, ..self }
    }

    /// Whether it holds for the request.
    #[must_use]
    pub fn holds(&self, request: &RouteContext<'_>) -> bool {
        self.conditions.iter().take(self.len).all(|condition| condition.holds(request))
    }

    /// Where it sends them.
    #[must_use]
    pub const fn target(&self) -> Target {
        self.to
    }
}

/// Rules by header, annotation and whatever else a request brings; the first that holds counts.
///
/// They are in anything that is a slice: an array, a reference, a vector. O(rules + candidates). At most
/// 65,536 rules are looked at.
///
/// ```
/// use tensorforge_core::Instant;
/// use tensorforge_core::batch::ModelId;
/// use tensorforge_core::route::{
///     Annotation, Candidate, Condition, EndpointId, Filtered, RoundRobin, RouteContext, RoutingPolicy,
///     Rule, Rules, Target, stable_hash,
/// };
///
/// let beta = Annotation { name: stable_hash(b"x-channel"), value: stable_hash(b"beta") };
/// let when = [Condition::Annotation { name: beta.name, value: beta.value }];
/// let to_next = Rule::new(&when, Target::Version(ModelId(8))).unwrap().strict();
/// let policy = Filtered { filter: Rules([to_next]), policy: RoundRobin::new() };
///
/// let current = Candidate::new(EndpointId(1), ModelId(7));
/// let next = Candidate::new(EndpointId(2), ModelId(8));
/// let request = RouteContext { annotations: &[beta], ..RouteContext::new(Instant::ZERO, 1) };
/// let choice = policy.choose(&request, &[current, next][..], &mut ()).unwrap();
/// assert_eq!(choice.endpoint, EndpointId(2));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rules<R>(pub R);

impl Condition {
    /// Whether it holds for the request.
    #[must_use]
    pub fn holds(&self, request: &RouteContext<'_>) -> bool {
        match *self {
            Self::Annotation { name, value } => request
                .annotations
                .iter()
                .any(|annotation| annotation.name == name && annotation.value == value),
            Self::Annotated(name) => request.annotation(name).is_some(),
            Self::NotAnnotated(name) => request.annotation(name).is_none(),
            Self::Version(version) => request.version == Some(version),
            Self::Label(label) => request.label == Some(label),
            Self::Tenant(tenant) => request.tenant == tenant,
            Self::PriorityFrom(priority) => request.priority >= priority,
            Self::From { place, within } => place.tier(request.place) <= within,
        }
    }
}

impl Target {
    #[inline(always)]
    fn allows(&self, candidate: &Candidate) -> bool {
        match *self {
            Self::Version(version) => candidate.version == version,
            Self::Endpoint(endpoint) => candidate.endpoint == endpoint,
            Self::Near { place, within } => place.tier(candidate.place) <= within,
            Self::Anywhere => true,
            Self::Refuse => false,
        }
    }
}

impl<C: Candidates + ?Sized, R: AsRef<[Rule]>> Filter<C> for Rules<R> {
    fn narrow(
        &self,
        request: &RouteContext<'_>,
        candidates: &C,
        shortlist: &mut Shortlist,
        sink: &mut dyn RouteSink,
    ) -> Result<(), NoRoute> {
        let mut numbered = (0..=u16::MAX).zip(self.0.as_ref());
        let Some((at, rule)) = numbered.find(|(_, rule)| rule.holds(request)) else {
            return Ok(());
        };
        sink.noted(Note::Rule(at));
        if rule.to == Target::Refuse {
            return Err(NoRoute::Refused(at));
        }
        let elsewhere = shortlist.those_not(|index| {
            candidates.candidate(index).is_none_or(|candidate| rule.to.allows(&candidate))
        });
        if elsewhere.len() == shortlist.len() && !rule.strict {
            sink.noted(Note::RuleWithoutEffect(at));
            return Ok(());
        }
        shortlist.take_out(&elsewhere);
        elsewhere.tell(Exclusion::Rule(at), sink);
        if shortlist.is_empty() { Err(NoRoute::AllExcluded) } else { Ok(()) }
    }
}
