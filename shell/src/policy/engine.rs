//! A level, and how it came to be.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};

use tensorforge_core::policy::Level;

use super::next_policy;
use crate::concurrency::lock;

/// The most changes that a [`PolicyEngine`] keeps: 10,000. The oldest fall out.
pub const HISTORY: usize = 10_000;

/// A change of the level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyChange {
    /// The level before.
    pub from: String,
    /// The one since.
    pub to: String,
    /// Why.
    pub reason: String,
}

/// A level that threads share, and its history.
///
/// [`current`](Self::current) and [`level`](Self::level) are one load: a hot path may ask each time. A
/// change takes a lock, under which level and history change together.
///
/// For a level that counts bursts, streaks and cooldowns itself, see [`tensorforge_core::policy::Ladder`].
#[derive(Debug, Default)]
pub struct PolicyEngine {
    level: AtomicU8,
    history: Mutex<VecDeque<PolicyChange>>,
}

impl PolicyEngine {
    /// At `normal`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The level's name. Takes no lock.
    #[must_use]
    pub fn current(&self) -> String {
        self.level().name().to_owned()
    }

    /// The level. Takes no lock.
    #[must_use]
    pub fn level(&self) -> Level {
        Level::ALL.get(usize::from(self.level.load(Ordering::Acquire))).copied().unwrap_or_default()
    }

    /// One level up from a burst of 2 failures; the level after.
    pub fn escalate(&self, failure_burst: usize) -> String {
        self.change(
            |level| Level::from_name(next_policy(level.name(), failure_burst)).unwrap_or(level),
            || format!("escalation: {failure_burst} failures"),
        )
    }

    /// One level down; the level after.
    pub fn deescalate(&self) -> String {
        self.change(Level::down, || "deescalation: conditions improved".into())
    }

    fn change(&self, next: impl Fn(Level) -> Level, why: impl Fn() -> String) -> String {
        let mut history = lock(&self.history);
        let (from, to) = (self.level(), next(self.level()));
        if from != to {
            if history.len() == HISTORY {
                history.pop_front();
            }
            let (from, reason) = (from.name().into(), why());
            history.push_back(PolicyChange { from, to: to.name().into(), reason });
            self.level.store(to as u8, Ordering::Release);
        }
        to.name().to_owned()
    }

    /// The changes, in order: the last 10,000.
    #[must_use]
    pub fn history(&self) -> Vec<PolicyChange> {
        lock(&self.history).iter().cloned().collect()
    }

    /// Back to `normal`, with no history.
    pub fn reset(&self) {
        let mut history = lock(&self.history);
        history.clear();
        self.level.store(Level::Normal as u8, Ordering::Release);
    }
}
