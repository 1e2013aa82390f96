//! The same key to the same endpoint.

use super::candidate::Candidates;
use super::context::{RouteContext, purpose};
use super::explain::{Choice, NoRoute, Reason, RouteSink};
use super::rendezvous::{Entry, Kept, Key, Ranking};
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
/// **Progress:** wait-free. **Memory:** none, but 2 KiB of the stack. O(candidates), with logarithms for
/// few of them if any. Up to 128 are read once, more than those again for each question about them.
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

/// Who has room: outstanding < factor × share, all multiplied out. Exact below 2^53; above that, off by
/// less than a request in 2^50.
#[derive(Clone, Copy)]
struct Bound {
    weights: f64,
    allowed: f64,
}

impl Bound {
    /// With so many requests outstanding beside this one, at endpoints of so much weight.
    fn new(load_factor: u32, outstanding: u64, weights: u64) -> Self {
        let allowed = f64::from(load_factor.max(1000)) * (outstanding + 1) as f64;
        Self { weights: weights as f64 * 1000.0, allowed }
    }

    #[inline(always)]
    fn has_room(self, entry: &Entry) -> bool {
        f64::from(entry.outstanding) * self.weights < self.allowed * f64::from(entry.weight)
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
}

impl<C: Candidates + ?Sized> RoutingPolicy<C> for Affinity {
    fn choose_among(
        &self,
        request: &RouteContext<'_>,
        candidates: &C,
        shortlist: &mut Shortlist,
        _: &mut dyn RouteSink,
    ) -> Result<Choice, NoRoute> {
        let (key, mut kept) = (Key::new(self.key(request)), Kept::new());
        let ranking = Ranking::new(key, candidates, shortlist, &mut kept);
        let bound = Bound::new(self.load_factor, ranking.outstanding, ranking.weights);
        let is_warm = |entry: &Entry| !self.loaded_first || entry.is_loaded();
        let owner = ranking.first(|_| true).ok_or(NoRoute::AllExcluded)?;
        let (entry, reason) = if bound.has_room(&owner) && is_warm(&owner) {
            (owner, Reason::KeyOwner)
        } else if let Some(warm) = ranking.first(|entry| bound.has_room(entry) && is_warm(entry)) {
            (warm, if self.loaded_first { Reason::Loaded } else { Reason::KeyOverflow })
        } else if let Some(cold) = ranking.first(|entry| bound.has_room(entry)) {
            (cold, Reason::ColdLoad)
        } else {
            // Someone has room, unless figures change while they are read.
            (owner, Reason::KeyOwner)
        };
        Ok(shortlist.choice(candidates, entry.index(), reason))
    }
}
