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

/// The first by the key's ranking, of those it was told of.
#[derive(Clone, Copy)]
struct First {
    index: Option<usize>,
    hash: u64,
    weight: u32,
    /// When it arrives, once it was compared with one of another weight. Among equals the hash says it.
    arrival: Option<f64>,
}

impl First {
    const NONE: Self = Self { index: None, hash: 0, weight: 0, arrival: None };

    #[inline(always)]
    fn or(&mut self, key: u64, index: usize, candidate: &Candidate) {
        let (hash, weight) = (rank(key, candidate.endpoint), candidate.effective_weight());
        if weight == self.weight {
            if hash > self.hash {
                *self = Self { index: Some(index), hash, weight, arrival: None };
            }
        } else if let Some(arrival) = self.arrival_before(hash, weight) {
            *self = Self { index: Some(index), hash, weight, arrival };
        }
    }

    /// When one of another weight arrives, if that is before this one; `Some(None)` before the first.
    #[inline]
    fn arrival_before(&mut self, hash: u64, weight: u32) -> Option<Option<f64>> {
        if self.index.is_none() {
            return Some(None);
        }
        let own = || arrival_below(self.hash, self.weight.into(), f64::INFINITY);
        let limit = *self.arrival.get_or_insert_with(|| own().unwrap_or(f64::INFINITY));
        arrival_below(hash, weight.into(), limit).map(Some)
    }
}

/// Who has room: outstanding < factor × share, all multiplied out. Exact below 2^53; above that, off by
/// less than a request in 2^50.
#[derive(Clone, Copy)]
struct Bound {
    weights: f64,
    allowed: f64,
}

impl Bound {
    #[inline(always)]
    fn has_room(self, candidate: &Candidate) -> bool {
        let weight = f64::from(candidate.effective_weight());
        f64::from(candidate.outstanding) * self.weights < self.allowed * weight
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

    /// Whose the key is, and what all may have.
    fn owner<C: Candidates + ?Sized>(
        &self,
        key: u64,
        candidates: &C,
        shortlist: &Shortlist,
    ) -> (First, Bound) {
        let (mut owner, mut outstanding, mut weights) = (First::NONE, 1_u64, 0_u64);
        for index in shortlist.iter() {
            let Some(candidate) = candidates.candidate(index) else { break };
            outstanding += u64::from(candidate.outstanding);
            weights += u64::from(candidate.effective_weight());
            owner.or(key, index, &candidate);
        }
        let allowed = f64::from(self.load_factor.max(1000)) * outstanding as f64;
        (owner, Bound { weights: weights as f64 * 1000.0, allowed })
    }
}

/// What the key's ranking goes by, at one endpoint: below 2^53, and the higher the better.
#[inline(always)]
fn rank(key: u64, endpoint: EndpointId) -> u64 {
    // The product keeps apart endpoints and keys that were numbered.
    mix(key ^ endpoint.0.wrapping_mul(0xd6e8_feb8_6659_fd93)) >> 11
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
        let (owner, bound) = self.owner(key, candidates, shortlist);
        let owner = owner.index.ok_or(NoRoute::AllExcluded)?;
        let is_loaded = |candidate: &Candidate| candidate.loaded || !self.loaded_first;
        let takes_it = candidates
            .candidate(owner)
            .is_some_and(|candidate| bound.has_room(&candidate) && is_loaded(&candidate));
        if takes_it {
            return Ok(shortlist.choice(candidates, owner, Reason::KeyOwner));
        }
        let (mut first, mut is_warm) = (First::NONE, false);
        for index in shortlist.iter() {
            let Some(candidate) = candidates.candidate(index) else { break };
            if !bound.has_room(&candidate) {
                continue;
            }
            match (is_loaded(&candidate), is_warm) {
                (true, false) => {
                    (first, is_warm) = (First::NONE, true);
                    first.or(key, index, &candidate);
                }
                (false, true) => {}
                _ => first.or(key, index, &candidate),
            }
        }
        let (index, reason) = match first.index {
            // Someone has room, unless figures change while they are read.
            None => (owner, Reason::KeyOwner),
            Some(index) if !is_warm => (index, Reason::ColdLoad),
            Some(index) if self.loaded_first => (index, Reason::Loaded),
            Some(index) => (index, Reason::KeyOverflow),
        };
        Ok(shortlist.choice(candidates, index, reason))
    }
}
