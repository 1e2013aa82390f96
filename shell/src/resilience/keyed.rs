//! A circuit breaker for each model, version and device.

use std::hash::RandomState;
use std::sync::{Arc, Mutex};

use hashbrown::HashMap;
use tensorforge_core::Instant;
use tensorforge_core::breaker::{Breaker, BreakerConfig, ConfigError, State};

use crate::concurrency::lock;

/// What may fail on its own: a version of a model on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BreakerKey<'a> {
    /// The model.
    pub model: &'a str,
    /// Its version.
    pub version: u64,
    /// The device that it runs on.
    pub device: &'a str,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Name {
    model: Box<str>,
    version: u64,
    device: Box<str>,
}

impl hashbrown::Equivalent<Name> for BreakerKey<'_> {
    fn equivalent(&self, name: &Name) -> bool {
        self.version == name.version && *self.model == *name.model && *self.device == *name.device
    }
}

/// A [`Breaker`] for each model, version and device: a bad version on one device closes nothing else.
///
/// Breakers are made when first asked for, and stay until [`remove`](Self::remove). Ask once and keep
/// the answer: the breaker itself takes no lock, only looking it up does.
///
/// **Memory:** 256 bytes a breaker, and its names.
///
/// ```
/// use tensorforge::resilience::{BreakerKey, Breakers};
/// use tensorforge_core::Instant;
/// use tensorforge_core::breaker::{BreakerConfig, Outcome};
///
/// let config = BreakerConfig { consecutive_failures: Some(2), ..BreakerConfig::DEFAULT };
/// let breakers = Breakers::new(config, 7).unwrap();
/// let bad = BreakerKey { model: "digits", version: 2, device: "gpu 0" };
/// let now = Instant::ZERO;
/// for _ in 0..2 {
///     let breaker = breakers.of(bad);
///     let permit = breaker.try_call(now).unwrap();
///     breaker.report(permit, Outcome::Failure, now);
/// }
/// assert!(breakers.of(bad).try_call(now).is_err());
/// assert!(breakers.of(BreakerKey { version: 1, ..bad }).try_call(now).is_ok());
/// ```
#[derive(Debug)]
pub struct Breakers {
    config: BreakerConfig,
    seed: u64,
    known: Mutex<HashMap<Name, Arc<Breaker>, RandomState>>,
}

impl Breakers {
    /// Breakers of this configuration. Each has a seed of its own, made of `seed` and its key's order of
    /// arrival, so that those that open together do not come back together.
    ///
    /// # Errors
    /// If the configuration makes no sense.
    pub fn new(config: BreakerConfig, seed: u64) -> Result<Self, ConfigError> {
        // Checked here, so that none is refused later.
        Breaker::new(config, seed)?;
        Ok(Self { config, seed, known: Mutex::new(HashMap::with_hasher(RandomState::new())) })
    }

    /// The breaker of a key, new and closed if it has not been asked for before.
    pub fn of(&self, key: BreakerKey<'_>) -> Arc<Breaker> {
        let mut known = lock(&self.known);
        if let Some(breaker) = known.get(&key) {
            return Arc::clone(breaker);
        }
        let seed = self.seed.wrapping_add((known.len() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let breaker = Breaker::new(self.config, seed).expect("checked when this was made");
        let breaker = Arc::new(breaker);
        let BreakerKey { model, version, device } = key;
        let name = Name { model: model.into(), version, device: device.into() };
        known.insert(name, Arc::clone(&breaker));
        breaker
    }

    /// Forgets a breaker, such as of a version that is unloaded; whoever holds it may go on with it.
    pub fn remove(&self, key: BreakerKey<'_>) -> bool {
        lock(&self.known).remove(&key).is_some()
    }

    /// Every breaker that was asked for and where it is at `now`: model, version, device, state; sorted.
    #[must_use]
    pub fn states(&self, now: Instant) -> Vec<(String, u64, String, State)> {
        let known = lock(&self.known);
        let state = |(name, breaker): (&Name, &Arc<Breaker>)| {
            (name.model.to_string(), name.version, name.device.to_string(), breaker.state(now))
        };
        let mut states: Vec<_> = known.iter().map(state).collect();
        drop(known);
        states.sort_by(|a, b| (&a.0, a.1, &a.2).cmp(&(&b.0, b.1, &b.2)));
        states
    }
}
