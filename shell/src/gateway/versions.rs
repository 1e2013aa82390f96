//! The versions of a model, each with a health of its own at every endpoint: a canary that fails says nothing
//! about the version beside it.
//!
//! Versions that routes name are prepared with the table. Those that only requests name come when they are
//! named first, [`MOST_NAMED`] of a model; more share what is known of requests that name none. Names that nobody
//! says to have give way to versions that somebody has.

use super::member::Seat;
use super::plan::Lasting;
use super::presence::Presence;
use super::rest::Rest;
use super::signature::Known;
use arc_swap::ArcSwap;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use tensorforge_core::breaker::ConfigError;
use tensorforge_core::route::{EjectionCap, EndpointHealth, Health, HealthConfig};
use tensorforge_core::{Duration, Instant};

/// Versions of a model that are known only because requests name them.
pub(super) const MOST_NAMED: usize = 64;

/// How long one of those is kept at least after the last request for it, so that requests for ever new
/// versions cannot make each other's work.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// How long one is kept that is ill somewhere.
const KEPT_ILL: Duration = Duration::from_secs(600);

/// The longest name, in bytes, that has a place of its own.
const LONGEST_NAME: usize = 256;

/// What is known of one version of a model at one endpoint. It lasts as long as a table, or a request, holds it.
pub(super) struct AtVersion {
    /// What requests say.
    pub(super) health: EndpointHealth,
    /// How many endpoints may be ejected for this version, as the table in force says.
    pub(super) cap: ArcSwap<EjectionCap>,
    /// What it takes and gives there.
    pub(super) known: Known,
    /// Whether it has said that it is overloaded.
    pub(super) rest: Rest,
}

impl AtVersion {
    pub(super) fn new(
        config: HealthConfig,
        seed: u64,
        is_of_version: bool,
        cap: Arc<EjectionCap>,
        now: Instant,
    ) -> Result<Self, ConfigError> {
        let health = EndpointHealth::new(config, seed, now)?;
        let cap = ArcSwap::new(cap);
        let known = Known::nothing(is_of_version);
        Ok(Self { health, cap, known, rest: Rest::default() })
    }

    /// It has left the table: the cap counts it no longer.
    pub(super) fn leave(&self) {
        self.health.leave(&self.cap.load());
    }
}

impl Drop for AtVersion {
    fn drop(&mut self) {
        // A request that was there when it left may have had it ejected since.
        self.leave();
    }
}

/// The endpoints that a model has, as requests for one of its versions find them.
pub(super) struct Seating {
    pub(super) seats: Arc<[Seat]>,
    /// The endpoints that rules name, each alone.
    pub(super) only: Vec<Arc<[Seat]>>,
    /// When a request last came for it, in nanoseconds.
    used: AtomicU64,
}

impl Seating {
    pub(super) fn new(seats: Arc<[Seat]>, only: Vec<Arc<[Seat]>>, now: Instant) -> Self {
        Self { seats, only, used: AtomicU64::new(now.as_nanos()) }
    }

    /// The same endpoints, for another version.
    fn for_version(
        &self,
        version: &str,
        cap: &Arc<EjectionCap>,
        now: Instant,
    ) -> Result<Self, ConfigError> {
        let seat = |seat: &Seat| seat.for_version(version, cap, now);
        let seats: Arc<[Seat]> = self.seats.iter().map(seat).collect::<Result<_, _>>()?;
        let only = self.only.iter().map(|one| one.iter().map(seat).collect());
        let only = only.collect::<Result<_, _>>()?;
        Ok(Self::new(seats, only, now))
    }

    /// All endpoints, each once: those that only rules name as well, which come last.
    pub(super) fn everyone(&self) -> impl Iterator<Item = &Seat> {
        self.seats.iter().chain(self.only_ruled())
    }

    /// Endpoints that rules name and that are not among the model's.
    pub(super) fn only_ruled(&self) -> impl Iterator<Item = &Seat> {
        let mut met = HashSet::new();
        let ruled = self.only.iter().flat_map(|one| one.iter());
        ruled.filter(move |seat| {
            let is_same = |other: &Seat| Arc::ptr_eq(&other.member, &seat.member);
            met.insert(seat.member.id) && !self.seats.iter().any(is_same)
        })
    }

    fn last_used(&self) -> Instant {
        Instant::from_nanos(self.used.load(Ordering::Relaxed))
    }

    /// Whether nothing is lost where it is forgotten. One that is ill recovers by requests alone, so where
    /// none come it is not waited for without end.
    fn is_dispensable(&self, now: Instant) -> bool {
        let unused = now.since(self.last_used());
        let is_well =
            || self.everyone().all(|seat| seat.version.health.health(now) == Health::Healthy);
        unused >= KEPT_ILL || (unused >= KEPT_FOR && is_well())
    }
}

/// A model's endpoints by version.
pub(super) struct Versions {
    model: String,
    /// The share of the endpoints that may be ejected, in thousandths.
    most_ejected: u16,
    /// For requests that name none.
    unversioned: Arc<Seating>,
    /// Versions that routes name.
    planned: HashMap<String, Arc<Seating>>,
    /// Versions that requests have named.
    named: RwLock<HashMap<String, Arc<Seating>>>,
}

impl Versions {
    /// `planned` are the versions that routes name; what `before` knows of others goes on.
    pub(super) fn new(
        (model, most_ejected): (&str, u16),
        unversioned: Seating,
        planned: &HashSet<&str>,
        before: Option<&Self>,
        (lasting, now): (&Lasting, Instant),
    ) -> Result<Self, ConfigError> {
        let seating = |version: &str| {
            let cap = lasting.cap(model, Some(version), most_ejected);
            let seating = unversioned.for_version(version, &cap, now)?;
            Ok((version.to_owned(), Arc::new(seating)))
        };
        let prepared = planned.iter().map(|version| seating(version)).collect::<Result<_, _>>()?;
        let mut former: Vec<_> = before.into_iter().flat_map(Self::versioned).collect();
        former.retain(|(version, _)| !planned.contains(version.as_str()));
        former.sort_by_key(|(_, seating)| std::cmp::Reverse(seating.last_used()));
        let mut named = HashMap::new();
        for (version, seating) in former.into_iter().take(MOST_NAMED) {
            let cap = lasting.cap(model, Some(&version), most_ejected);
            let again = unversioned.for_version(&version, &cap, now)?;
            again.used.store(seating.used.load(Ordering::Relaxed), Ordering::Relaxed);
            named.insert(version, Arc::new(again));
        }
        Ok(Self {
            model: model.to_owned(),
            most_ejected,
            planned: prepared,
            named: RwLock::new(named),
            unversioned: Arc::new(unversioned),
        })
    }

    /// The endpoints for requests for `version`. Those that routes name are found without a lock.
    pub(super) fn of(
        &self,
        version: Option<&str>,
        lasting: &Lasting,
        now: Instant,
    ) -> Arc<Seating> {
        let Some(version) = version else { return Arc::clone(&self.unversioned) };
        if let Some(planned) = self.planned.get(version) {
            return Arc::clone(planned);
        }
        let named = self.named.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(named) = named.get(version) {
            named.used.store(now.as_nanos(), Ordering::Relaxed);
            return Arc::clone(named);
        }
        // So that requests for ever new names do not queue up for the lock below.
        let has_room = named.len() < MOST_NAMED || self.gives_way(&named, version, now).is_some();
        drop(named);
        let seating = has_room.then(|| self.name(version, lasting, now)).flatten();
        seating.unwrap_or_else(|| Arc::clone(&self.unversioned))
    }

    /// Which of these gives its place to `version`, if any: of those that can, the one that is unused longest.
    fn gives_way<'a>(
        &self,
        named: &'a HashMap<String, Arc<Seating>>,
        version: &str,
        now: Instant,
    ) -> Option<&'a String> {
        let presences = || self.unversioned.everyone().map(|seat| &seat.model.presence);
        let is_told = presences().any(|it| it.tells(version));
        let is_nowhere = |other: &str| presences().all(|it| it.of(Some(other)) == Presence::Absent);
        let can = |(other, seating): &(&String, &Arc<Seating>)| {
            seating.is_dispensable(now) || (is_told && is_nowhere(other))
        };
        let oldest = named.iter().filter(can).min_by_key(|(_, seating)| seating.last_used());
        oldest.map(|(version, _)| version)
    }

    /// A place for a version that is named for the first time, if there is one.
    fn name(&self, version: &str, lasting: &Lasting, now: Instant) -> Option<Arc<Seating>> {
        if version.len() > LONGEST_NAME {
            return None;
        }
        let mut named = self.named.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = named.get(version) {
            return Some(Arc::clone(known));
        }
        if named.len() >= MOST_NAMED {
            let oldest = self.gives_way(&named, version, now)?.clone();
            named.remove(&oldest);
            lasting.forget_cap(&self.model, &oldest);
        }
        let cap = lasting.cap(&self.model, Some(version), self.most_ejected);
        let seating = self.unversioned.for_version(version, &cap, now).ok()?;
        let seating = Arc::new(seating);
        named.insert(version.to_owned(), Arc::clone(&seating));
        Some(seating)
    }

    /// The endpoints for requests that name no version.
    pub(super) fn unversioned(&self) -> &Seating {
        &self.unversioned
    }

    /// Every version that is known, with its endpoints.
    pub(super) fn versioned(&self) -> Vec<(String, Arc<Seating>)> {
        let named = self.named.read().unwrap_or_else(PoisonError::into_inner);
        let all = self.planned.iter().chain(named.iter());
        all.map(|(version, seating)| (version.clone(), Arc::clone(seating))).collect()
    }

    /// Those that endpoints are asked about: what routes name, and what requests still ask for.
    pub(super) fn in_use(&self, now: Instant) -> Vec<(String, Arc<Seating>)> {
        let mut all = self.versioned();
        all.retain(|(version, seating)| {
            self.planned.contains_key(version) || now.since(seating.last_used()) < KEPT_FOR
        });
        all
    }

    /// The worst that is known of the endpoint at `index` for any version.
    pub(super) fn worst_health(&self, index: usize, now: Instant) -> Health {
        let worst = |health: &Health| match health {
            Health::Healthy => 0,
            Health::Recovering => 1,
            _ => 2,
        };
        let all = self.all();
        let at = all.iter().filter_map(|seating| seating.seats.get(index));
        let health = at.map(|seat| seat.version.health.health(now));
        health.max_by_key(worst).unwrap_or(Health::Healthy)
    }

    /// The endpoints for every version that is known, and for requests that name none.
    pub(super) fn all(&self) -> Vec<Arc<Seating>> {
        let versioned = self.versioned().into_iter().map(|(_, seating)| seating);
        std::iter::once(Arc::clone(&self.unversioned)).chain(versioned).collect()
    }
}
