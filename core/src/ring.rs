//! A ring of fixed capacity: the newest values, in order.
//!
//! [`Ring::push`] refuses when it is full and gives the value back; [`Ring::push_overwriting`] makes
//! room by giving up the oldest. Both are one step. The storage is `heapless::Deque`'s; nothing is
//! allocated, and a ring can be a `static`.
//!
//! ```
//! use tensorforge_core::ring::Ring;
//!
//! let mut recent: Ring<u32, 3> = Ring::new();
//! assert_eq!(recent.push(1), Ok(()));
//! recent.extend([2, 3]);
//! assert_eq!(recent.push(4), Err(4));
//! assert_eq!(recent.push_overwriting(4), Some(1));
//! assert!(recent.iter().eq(&[2, 3, 4]));
//! assert_eq!((recent.oldest(), recent.newest()), (Some(&2), Some(&4)));
//! ```

use heapless::Deque;

/// At most `N` values, from the oldest to the newest. Memory: `N` values and two indices.
#[derive(Clone, Debug)]
pub struct Ring<T, const N: usize> {
    values: Deque<T, N>,
}

impl<T, const N: usize> Ring<T, N> {
    /// A ring that holds nothing yet.
    ///
    /// A ring has room for one value at least: `N = 0` does not compile.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(N > 0, "a ring has room for at least one value") };
        Self { values: Deque::new() }
    }

    /// Adds `value` as the newest, or gives it back if the ring is full. O(1).
    ///
    /// # Errors
    /// With the value, if there is no room.
    pub fn push(&mut self, value: T) -> Result<(), T> {
        self.values.push_back(value)
    }

    /// Adds `value` as the newest and gives back the oldest, if it had to make room. O(1).
    pub fn push_overwriting(&mut self, value: T) -> Option<T> {
        let oldest = if self.is_full() { self.pop() } else { None };
        // There is room now, for N > 0: nothing comes back.
        let _ = self.values.push_back(value);
        oldest
    }

    /// Takes the oldest out. O(1).
    pub fn pop(&mut self) -> Option<T> {
        self.values.pop_front()
    }

    /// Takes the newest out. O(1).
    pub fn pop_newest(&mut self) -> Option<T> {
        self.values.pop_back()
    }

    /// The value that was pushed first of those held.
    #[must_use]
    pub fn oldest(&self) -> Option<&T> {
        self.values.front()
    }

    /// The value that was pushed last.
    #[must_use]
    pub fn newest(&self) -> Option<&T> {
        self.values.back()
    }

    /// The values held, from the oldest to the newest.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> + ExactSizeIterator {
        self.values.iter()
    }

    /// How many values are held.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.values.len()
    }

    /// How many values there is room for.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        N
    }

    /// Whether nothing is held.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.values.len() == 0
    }

    /// Whether the next [`push`](Self::push) is refused.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.values.len() == N
    }

    /// Gives up everything.
    pub fn clear(&mut self) {
        self.values.clear();
    }
}

impl<T, const N: usize> Default for Ring<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

/// Overwrites: of many values, the last `N` stay.
impl<T, const N: usize> Extend<T> for Ring<T, N> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, values: I) {
        for value in values {
            self.push_overwriting(value);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod statistics;
