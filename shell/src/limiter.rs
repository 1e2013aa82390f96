//! A token bucket for each tenant and model.
//!
//! ```
//! use tensorforge::limiter::{Key, KeyedLimiter};
//! use tensorforge_core::{Instant, limiter::Quota};
//!
//! let limiter = KeyedLimiter::new(Quota::per_second(100, 3).unwrap(), 10_000);
//! let key = Key { tenant: "acme", model: "resnet" };
//! limiter.set_quota(key, Quota::per_second(5, 2).unwrap(), Instant::ZERO);
//!
//! // A request may cost more than one token, such as one for each item of its batch.
//! assert!(!limiter.acquire(key, 2, Instant::ZERO).limited);
//! assert!(limiter.acquire(key, 1, Instant::ZERO).limited);
//! assert!(!limiter.acquire(Key { tenant: "other", ..key }, 3, Instant::ZERO).limited);
//! ```

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashMap;
use tensorforge_core::limiter::{Decision, Quota, TokenBucket};
use tensorforge_core::{Duration, Instant};

/// Tables, so that keys seldom meet at a lock.
const SHARDS: usize = 16;
/// Buckets looked at to find one to evict.
const SAMPLE: usize = 8;

/// Whose requests, for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key<'a> {
    /// Who pays.
    pub tenant: &'a str,
    /// What they ask for.
    pub model: &'a str,
}

/// A token bucket for each [`Key`], in a table of bounded size.
///
/// **Cost:** a table's lock is held while a key is looked up, never while a bucket decides. O(1).
///
/// **Eviction:** a key that comes when the table is full takes the place of another without a quota
/// of its own: of a sample of eight, the one that is full again soonest. A full bucket is the same as
/// none, so its eviction changes nothing; only when all eight are in use, one key gets back early
/// what it has left to refill. Keys with a quota of their own stay, also beyond the capacity: they are
/// as many as whoever runs this gave one. If they leave no place, the bucket of another key lives for
/// one decision only: then such a key is limited to one burst at a time.
#[derive(Debug)]
pub struct KeyedLimiter {
    default: Quota,
    capacity_of_shard: usize,
    /// Seeded anew in each process: tenants choose the names that are hashed.
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
}

type Shard = HashMap<Name, Entry, RandomState>;

#[derive(Debug, PartialEq, Eq, Hash)]
struct Name {
    tenant: Box<str>,
    model: Box<str>,
}

impl hashbrown::Equivalent<Name> for Key<'_> {
    fn equivalent(&self, name: &Name) -> bool {
        *self.tenant == *name.tenant && *self.model == *name.model
    }
}

#[derive(Debug)]
struct Entry {
    bucket: Arc<TokenBucket>,
    /// Whether its quota is its own.
    own: bool,
}

impl KeyedLimiter {
    /// A limiter whose keys have `default`, and that remembers at least `capacity` of them: rounded
    /// up to a multiple of 16.
    #[must_use]
    pub fn new(default: Quota, capacity: usize) -> Self {
        Self {
            default,
            capacity_of_shard: capacity.div_ceil(SHARDS).max(1),
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Takes `cost` tokens of `key` at `now`, all or none, and says what is left and when to come
    /// back: `retry_after` is `None` if `cost` is more than the key's burst.
    pub fn acquire(&self, key: Key<'_>, cost: u64, now: Instant) -> Decision {
        self.bucket(key, now).acquire(cost, now)
    }

    /// What [`acquire`](Self::acquire) would say, without taking and without remembering the key.
    #[must_use]
    pub fn peek(&self, key: Key<'_>, cost: u64, now: Instant) -> Decision {
        match self.known(key) {
            Some(bucket) => bucket.peek(cost, now),
            None => TokenBucket::new(self.default).peek(cost, now),
        }
    }

    /// Gives back what was acquired and not used. Nothing for a key that is not known any more: its
    /// bucket is full.
    pub fn refund(&self, key: Key<'_>, tokens: u64) {
        if let Some(bucket) = self.known(key) {
            bucket.refund(tokens);
        }
    }

    /// Gives `key` a quota of its own from `now` on; what it has used stays used. It is not evicted
    /// until [`clear_quota`](Self::clear_quota).
    pub fn set_quota(&self, key: Key<'_>, quota: Quota, now: Instant) {
        self.change(key, quota, true, now);
    }

    /// Gives `key` the default quota again.
    pub fn clear_quota(&self, key: Key<'_>, now: Instant) {
        if self.known(key).is_some() {
            self.change(key, self.default, false, now);
        }
    }

    /// How many keys are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// Whether no key is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, key: Key<'_>) -> (&Mutex<Shard>, u64) {
        let hash = self.hasher.hash_one(key);
        // Not the bits by which the table finds a place.
        (&self.shards[(hash >> 32) as usize % SHARDS], hash)
    }

    fn known(&self, key: Key<'_>) -> Option<Arc<TokenBucket>> {
        let (shard, _) = self.shard(key);
        lock(shard).get(&key).map(|entry| Arc::clone(&entry.bucket))
    }

    fn bucket(&self, key: Key<'_>, now: Instant) -> Arc<TokenBucket> {
        let (shard, hash) = self.shard(key);
        let mut shard = lock(shard);
        if let Some(entry) = shard.get(&key) {
            return Arc::clone(&entry.bucket);
        }
        let bucket = Arc::new(TokenBucket::new(self.default));
        if shard.len() < self.capacity_of_shard || make_room(&mut shard, hash, now) {
            shard.insert(key.into(), Entry { bucket: Arc::clone(&bucket), own: false });
        }
        bucket
    }

    fn change(&self, key: Key<'_>, quota: Quota, own: bool, now: Instant) {
        let (shard, hash) = self.shard(key);
        let mut shard = lock(shard);
        if let Some(entry) = shard.get_mut(&key) {
            entry.own = own;
            // Only under this lock, so that no two changes of a bucket meet.
            let changed = entry.bucket.change(quota, now);
            debug_assert!(changed.is_ok());
            return;
        }
        if shard.len() >= self.capacity_of_shard {
            make_room(&mut shard, hash, now);
        }
        shard.insert(key.into(), Entry { bucket: Arc::new(TokenBucket::new(quota)), own });
    }
}

impl From<Key<'_>> for Name {
    fn from(key: Key<'_>) -> Self {
        Self { tenant: key.tenant.into(), model: key.model.into() }
    }
}

/// A shard stays whole whatever panicked: each change of it is one call.
fn lock(shard: &Mutex<Shard>) -> std::sync::MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Evicts the bucket that is full again soonest, of a sample that starts where `seed` says.
fn make_room(shard: &mut Shard, seed: u64, now: Instant) -> bool {
    let start = seed as usize % shard.len().max(1);
    let in_turn = shard.iter().skip(start).chain(shard.iter().take(start));
    let full_in = |entry: &Entry| entry.bucket.peek(0, now).reset_after.unwrap_or(Duration::MAX);
    let evicted = in_turn
        .filter(|(_, entry)| !entry.own)
        .take(SAMPLE)
        .min_by_key(|(_, entry)| full_in(entry))
        .map(|(name, _)| Name { tenant: name.tenant.clone(), model: name.model.clone() });
    evicted.is_some_and(|name| shard.remove(&name).is_some())
}

#[cfg(test)]
mod queue {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn key(name: &str) -> Key<'_> {
        Key { tenant: name, model: "m" }
    }

    fn quota(tokens: u64, burst: u64) -> Quota {
        Quota::per_second(tokens, burst).unwrap()
    }

    const NOW: Instant = Instant::from_nanos(5_000_000_000);

    #[test]
    fn each_tenant_and_model_has_its_own_bucket() {
        let limiter = KeyedLimiter::new(quota(1, 2), 100);
        for tenant in ["a", "b"] {
            for model in ["m", "n"] {
                let key = Key { tenant, model };
                assert!(!limiter.acquire(key, 2, NOW).limited);
                assert!(limiter.acquire(key, 1, NOW).limited);
            }
        }
        // Not even when their names run together.
        assert!(!limiter.acquire(Key { tenant: "am", model: "" }, 2, NOW).limited);
        assert_eq!(limiter.len(), 5);
    }

    #[test]
    fn a_peek_takes_and_remembers_nothing() {
        let limiter = KeyedLimiter::new(quota(1, 2), 100);
        assert_eq!(limiter.peek(key("a"), 2, NOW).remaining, 2);
        assert!(limiter.is_empty());
        limiter.acquire(key("a"), 1, NOW);
        assert_eq!(limiter.peek(key("a"), 2, NOW).remaining, 1);
        assert!(limiter.peek(key("a"), 3, NOW).retry_after.is_none(), "more than the burst: never");
    }

    #[test]
    fn a_quota_of_ones_own_keeps_what_was_used_and_can_be_taken_away() {
        let limiter = KeyedLimiter::new(quota(1, 10), 100);
        limiter.acquire(key("a"), 4, NOW);
        limiter.set_quota(key("a"), quota(1, 20), NOW);
        assert_eq!(limiter.peek(key("a"), 0, NOW).remaining, 16);
        limiter.refund(key("a"), 1);
        limiter.clear_quota(key("a"), NOW);
        assert_eq!(limiter.peek(key("a"), 0, NOW).remaining, 7);
        limiter.clear_quota(key("unknown"), NOW);
        assert_eq!(limiter.len(), 1);
    }

    #[test]
    fn a_full_table_forgets_those_who_lose_nothing_by_it() {
        let limiter = KeyedLimiter::new(quota(1, 5), 16 * SAMPLE);
        let limited = |name: &str| limiter.peek(key(name), 1, NOW).limited;
        // As many as the sample sees, so that it sees the one that matters: half of them exhausted.
        let names: Vec<String> = (0..64).map(|name| format!("tenant {name}")).collect();
        for (place, name) in names.iter().enumerate() {
            let cost = if place % 2 == 0 { 5 } else { 0 };
            assert!(!limiter.acquire(key(name), cost, NOW).limited);
        }
        for stranger in 0..64 {
            limiter.acquire(key(&format!("stranger {stranger}")), 0, NOW);
        }
        assert!(limiter.len() <= 16 * SAMPLE);
        // Exhausted ones are remembered, unless their shard holds nothing else.
        let remembered = names.iter().step_by(2).filter(|name| limited(name)).count();
        assert!(remembered >= 28, "{remembered} of 32");
    }

    #[test]
    fn keys_with_a_quota_of_their_own_are_never_evicted() {
        let limiter = KeyedLimiter::new(quota(1, 5), 16);
        let names: Vec<String> = (0..100).map(|name| format!("tenant {name}")).collect();
        names.iter().for_each(|name| limiter.set_quota(key(name), quota(1, 7), NOW));
        for stranger in 0..200 {
            let name = format!("stranger {stranger}");
            assert!(!limiter.acquire(key(&name), 5, NOW).limited);
        }
        for name in &names {
            assert_eq!(limiter.peek(key(name), 0, NOW).remaining, 7);
        }
    }

    proptest! {
        #[test]
        fn with_room_for_all_every_key_follows_its_own_bucket(
            steps in proptest::collection::vec((0..6_u8, 0..4_u64, 0..2_000_000_000_u64), 1..200),
        ) {
            let limiter = KeyedLimiter::new(quota(2, 3), 1_000);
            let mut model: BTreeMap<u8, TokenBucket> = BTreeMap::new();
            let mut now = Instant::ZERO;
            for (name, cost, wait) in steps {
                now = now + Duration::from_nanos(wait);
                let bucket = model.entry(name).or_insert_with(|| TokenBucket::new(quota(2, 3)));
                let name = format!("{name}");
                prop_assert_eq!(limiter.acquire(key(&name), cost, now), bucket.acquire(cost, now));
            }
        }
    }
}
