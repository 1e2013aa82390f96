//! The same key to the same endpoint.

use super::candidate::{Candidate, Candidates};
use super::context::{EndpointId, RouteContext, purpose};
use super::explain::{Choice, NoRoute, Reason, RouteSink};
use super::hash::{arrival_below, mix};
use super::{RoutingPolicy, Shortlist};

/// What is to stay together.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum AffinityKey {
    /// Requests of a sticky key: a user, a session, a common prefix.
    #[default]
    Sticky,
    /// Requests for one version of a model, so that each endpoint keeps few models loaded.
    Model,
    /// Requests of a tenant.
    Tenant,
    /// Requests with the same value of the annotation of this name.
    Annotation(u64),
}

/// Consistent hashing with bounded loads, which may look at where the model is loaded.
///
/// A key ranks all endpoints by weighted rendezvous hashing: each endpoint is the first of as many keys
/// as its weight says. The request goes to the first that has room, which is while it has fewer
/// requests than [`load_factor`](Self::load_factor) times its share, by weight, of all that are
/// outstanding on the shortlist, this one included and rounded up. So no endpoint gets more than
/// that, however hot one key is, and there always is one with room. An endpoint that leaves moves its
/// own keys and no other; one that comes takes its share and moves no other.
///
/// With [`loaded_first`](Self::loaded_first), those that have the model loaded come before those that
/// have not, as long as one of them has room: a hot model spreads over more endpoints, and only then.
///
/// A request without the key goes by its version, and without that where chance puts it.
///
/// **Progress:** wait-free. **Memory:** none. O(candidates), a logarithm for few of them.
///
/// Sources: V. Mirrokni, M. Thorup and M. Zadimoghaddam, *Consistent hashing with bounded loads*, 2018;
/// D. Thaler and C. Ravishankar, *Using name-based mappings to increase hit rates*, 1998 (rendezvous);
/// J. Schindelhauer and G. Schomaker, *Weighted distributed hash tables*, 2005.
///
/// ```
/// use tensorforge_core::Instant;
/// use tensorforge_core::batch::ModelId;
/// use tensorforge_core::route::{
///     Affinity, Candidate, EndpointId, RouteContext, RoutingPolicy, stable_hash,
/// };
///
/// let candidates = ["a:8000", "b:8000", "c:8000"]
///     .map(|name| Candidate::new(EndpointId(stable_hash(name.as_bytes())), ModelId(7)));
/// let user = |name: &str, random| RouteContext {
///     sticky: Some(stable_hash(name.as_bytes())),
///     ..RouteContext::new(Instant::ZERO, random)
/// };
/// let policy = Affinity::STICKY;
/// let first = policy.choose(&user("alice", 1), &candidates[..], &mut ()).unwrap();
/// let again = policy.choose(&user("alice", 2), &candidates[..], &mut ()).unwrap();
/// assert_eq!(first.endpoint, again.endpoint);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Affinity {
    /// What is to stay together.
    pub key: AffinityKey,
    /// How much more than its share an endpoint may have, in thousandths: 1250 for a quarter more. Below
    /// 1000 counts as 1000.
    pub load_factor: u32,
    /// Whether endpoints that have the model loaded come before those that have not.
    pub loaded_first: bool,
}

/// The first by the key's ranking among some endpoints.
#[derive(Clone, Copy)]
struct First {
    index: Option<usize>,
    arrival: f64,
}

impl First {
    const NONE: Self = Self { index: None, arrival: f64::INFINITY };
}

/// Who has room: outstanding < factor × share, all multiplied out.
#[derive(Clone, Copy)]
struct Bound {
    weights: u128,
    allowed: u128,
}

impl Bound {
    #[inline]
    fn has_room(self, candidate: &Candidate) -> bool {
        u128::from(candidate.outstanding) * self.weights
            < self.allowed * u128::from(candidate.effective_weight())
    }
}

impl Affinity {
    /// By sticky key, with a quarter more than its share for each endpoint.
    pub const STICKY: Self =
        Self { key: AffinityKey::Sticky, load_factor: 1250, loaded_first: false };

    /// By model, to where it is loaded, with a quarter more than its share for each endpoint.
    pub const MODEL: Self = Self { key: AffinityKey::Model, load_factor: 1250, loaded_first: true };

    fn key(&self, request: &RouteContext<'_>) -> u64 {
        let version = request.version.map(|version| u64::from(version.0));
        let key = match self.key {
            AffinityKey::Sticky => request.sticky,
            AffinityKey::Model => version,
            AffinityKey::Tenant => Some(request.tenant).filter(|&tenant| tenant != 0),
            AffinityKey::Annotation(name) => request.annotation(name),
        };
        key.or(version).unwrap_or_else(|| request.draw(purpose::KEY))
    }

    fn bound<C: Candidates + ?Sized>(&self, candidates: &C, shortlist: &Shortlist) -> Bound {
        let (mut outstanding, mut weights) = (1_u64, 0_u64);
        for index in shortlist.iter() {
            let Some(candidate) = candidates.candidate(index) else { break };
            outstanding += u64::from(candidate.outstanding);
            weights += u64::from(candidate.effective_weight());
        }
        let factor = u128::from(self.load_factor.max(1000));
        Bound { weights: u128::from(weights) * 1000, allowed: factor * u128::from(outstanding) }
    }
}

/// What the key's ranking goes by, at one endpoint.
#[inline]
fn rank(key: u64, endpoint: EndpointId) -> u64 {
    mix(key ^ mix(endpoint.0))
}

impl<C: Candidates + ?Sized> RoutingPolicy<C> for Affinity {
    fn choose_among(
        &self,
        request: &RouteContext<'_>,
        candidates: &C,
        shortlist: &mut Shortlist,
        _: &mut dyn RouteSink,
    ) -> Result<Choice, NoRoute> {
        let key = mix(self.key(request));
        let bound = self.bound(candidates, shortlist);
        let [mut owner, mut roomy, mut loaded] = [First::NONE; 3];
        for index in shortlist.iter() {
            let Some(candidate) = candidates.candidate(index) else { break };
            let has_room = bound.has_room(&candidate);
            let counts_as_loaded = has_room && self.loaded_first && candidate.loaded;
            // The furthest of what it could still be the first of.
            let mut limit = owner.arrival;
            if has_room {
                limit = limit.max(roomy.arrival);
            }
            if counts_as_loaded {
                limit = limit.max(loaded.arrival);
            }
            let hash = rank(key, candidate.endpoint);
            let weight = f64::from(candidate.effective_weight());
            let Some(arrival) = arrival_below(hash, weight, limit) else { continue };
            let first = First { index: Some(index), arrival };
            if arrival < owner.arrival {
                owner = first;
            }
            if has_room && arrival < roomy.arrival {
                roomy = first;
            }
            if counts_as_loaded && arrival < loaded.arrival {
                loaded = first;
            }
        }
        let (index, reason) = match (loaded.index, roomy.index) {
            (Some(index), _) if owner.index == Some(index) => (index, Reason::KeyOwner),
            (Some(index), _) => (index, Reason::Loaded),
            (None, Some(index)) if self.loaded_first => (index, Reason::ColdLoad),
            (None, Some(index)) if owner.index == Some(index) => (index, Reason::KeyOwner),
            (None, Some(index)) => (index, Reason::KeyOverflow),
            // Someone has room, unless figures change while they are read.
            (None, None) => (owner.index.ok_or(NoRoute::AllExcluded)?, Reason::KeyOwner),
        };
        Ok(shortlist.choice(candidates, index, reason))
    }
}
