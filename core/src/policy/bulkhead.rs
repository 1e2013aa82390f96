//! How many at once.

use crate::sync::{AtomicU64, Ordering, const_unless_loom};

/// At most so many calls at once: one slow dependency does not take all there is.
///
/// Who finds no room is refused; a waiting line is not its business.
///
/// **Progress:** lock-free. **Memory:** 16 bytes.
///
/// ```
/// use tensorforge_core::policy::Bulkhead;
///
/// let store = Bulkhead::new(1);
/// let permit = store.try_enter().unwrap();
/// assert!(store.try_enter().is_none());
/// drop(permit);
/// assert!(store.try_enter().is_some());
/// ```
#[derive(Debug)]
pub struct Bulkhead {
    used: AtomicU64,
    limit: AtomicU64,
}

/// A call under way. Dropped, it makes room.
#[derive(Debug)]
#[must_use = "dropped at once, it bounds nothing"]
pub struct Permit<'a>(&'a Bulkhead);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.used.fetch_sub(1, Ordering::Release);
    }
}

impl Bulkhead {
    const_unless_loom! {
        /// Room for `limit` calls.
        #[must_use]
        pub fn new(limit: u32) -> Self {
            Self { used: AtomicU64::new(0), limit: AtomicU64::new(limit as u64) }
        }
    }

    /// Enters, if there is room.
    pub fn try_enter(&self) -> Option<Permit<'_>> {
        let mut used = self.used.load(Ordering::Relaxed);
        while used < self.limit.load(Ordering::Relaxed) {
            // What the one before did in here is seen by the one who takes its room.
            let swapped = self.used.compare_exchange_weak(
                used,
                used + 1,
                Ordering::Acquire,
                Ordering::Relaxed,
            );
            match swapped {
                Ok(_) => return Some(Permit(self)),
                Err(other) => used = other,
            }
        }
        None
    }

    /// How many calls are under way.
    #[must_use]
    pub fn in_use(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// How many there may be.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Changes how many there may be. Those under way stay; with less room than they take, nobody enters
    /// until enough have left.
    pub fn set_limit(&self, limit: u32) {
        self.limit.store(limit.into(), Ordering::Relaxed);
    }
}
