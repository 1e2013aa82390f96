//! A log of events: in one order, each once, and with its gaps known.
//!
//! [`EventLog::append`] gives an event the next sequence; [`EventLog::insert`] takes one that has its
//! sequence already, from a replica or from a file, in any order and as often as it comes. However
//! they came, [`replay`](EventLog::replay) gives the same events in the same order.
//!
//! ```
//! use tensorforge::events::{EventLog, InsertError, LogEntry};
//!
//! let mut log = EventLog::new(1000);
//! let entry = |sequence, id: &str| LogEntry { sequence, at: 10 * sequence, id: id.into(), event: () };
//! for (sequence, id) in [(0, "loaded"), (4, "unloaded"), (1, "warmed")] {
//!     log.insert(entry(sequence, id))?;
//! }
//! assert_eq!(log.gaps(), [2..=3]);
//! assert!(log.replay(0).map(|entry| &*entry.id).eq(["loaded", "warmed", "unloaded"]));
//! assert!(log.within(10..40).map(|entry| &*entry.id).eq(["warmed"]));
//! // What comes twice is told, and changes nothing.
//! assert_eq!(log.insert(entry(1, "warmed")), Err(InsertError::Duplicate { sequence: 1 }));
//! # Ok::<(), InsertError>(())
//! ```

use std::collections::{BTreeMap, HashMap};
use std::ops::{RangeBounds, RangeInclusive};
use std::sync::Arc;

/// The last events, up to a number of them, by sequence.
///
/// **Memory:** up to as many entries as the capacity. When it is full, the one with the lowest sequence
/// falls out for a later one, and is [counted](Self::fallen_out). **Time:** O(log n) for one event.
#[derive(Clone, Debug)]
pub struct EventLog<T> {
    capacity: usize,
    entries: BTreeMap<u64, LogEntry<T>>,
    sequences: HashMap<Arc<str>, u64>,
    /// Sequences below this are over: they fell out, or never came before others fell out.
    first: u64,
    fallen_out: u64,
    missed: u64,
}

/// One event and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry<T> {
    /// Its place in the order of all.
    pub sequence: u64,
    /// When it happened, in the caller's unit. It need not grow with the sequence.
    pub at: u64,
    /// By which it is known if it comes again.
    pub id: Arc<str>,
    /// What happened.
    pub event: T,
}

/// Why an event is not in the log, or was already.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InsertError {
    /// It has come before.
    #[error("this event is in the log already, with sequence {sequence}")]
    Duplicate {
        /// Where it is.
        sequence: u64,
    },
    /// The sequence is another event's.
    #[error("sequence {sequence} belongs to another event")]
    Conflict {
        /// The sequence of both.
        sequence: u64,
    },
    /// All the log has room for is later.
    #[error("sequence {sequence} is too old: the log now begins at {first}")]
    TooOld {
        /// The sequence of the event.
        sequence: u64,
        /// The lowest that would be taken.
        first: u64,
    },
    /// The last sequence there is has been given.
    #[error("no sequence is left after {}", u64::MAX)]
    Exhausted,
}

impl<T> EventLog<T> {
    /// An empty log with room for `capacity` events. A capacity of 0 counts as 1.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            entries: BTreeMap::new(),
            sequences: HashMap::new(),
            first: 0,
            fallen_out: 0,
            missed: 0,
        }
    }

    /// Adds an event after all others; its sequence. The first one is 0.
    ///
    /// # Errors
    /// If the id is in the log already, or no sequence is left.
    pub fn append(
        &mut self,
        id: impl Into<Arc<str>>,
        at: u64,
        event: T,
    ) -> Result<u64, InsertError> {
        let sequence = match self.entries.last_key_value() {
            Some((&last, _)) => last.checked_add(1).ok_or(InsertError::Exhausted)?,
            None => 0,
        };
        self.insert(LogEntry { sequence, at, id: id.into(), event })?;
        Ok(sequence)
    }

    /// Puts an event where its sequence says. An id that fell out is no longer known.
    ///
    /// # Errors
    /// If id or sequence are in the log already, or the log has moved on beyond the sequence.
    pub fn insert(&mut self, entry: LogEntry<T>) -> Result<(), InsertError> {
        let sequence = entry.sequence;
        if let Some(&sequence) = self.sequences.get(&entry.id) {
            return Err(InsertError::Duplicate { sequence });
        }
        if self.entries.contains_key(&sequence) {
            return Err(InsertError::Conflict { sequence });
        }
        let first = self.first_taken();
        if sequence < first {
            return Err(InsertError::TooOld { sequence, first });
        }
        if self.is_full()
            && let Some((oldest, fallen)) = self.entries.pop_first()
        {
            self.sequences.remove(&fallen.id);
            self.fallen_out += 1;
            self.missed += oldest - self.first;
            self.first = oldest + 1; // not the last there is, for another one is above it
        }
        self.sequences.insert(Arc::clone(&entry.id), sequence);
        self.entries.insert(sequence, entry);
        Ok(())
    }

    /// The events from sequence `from` on, in order.
    pub fn replay(&self, from: u64) -> impl DoubleEndedIterator<Item = &LogEntry<T>> {
        self.entries.range(from..).map(|(_, entry)| entry)
    }

    /// The events that happened within a span of time, in the order of their sequences.
    pub fn within(
        &self,
        time: impl RangeBounds<u64>,
    ) -> impl DoubleEndedIterator<Item = &LogEntry<T>> {
        self.entries.values().filter(move |entry| time.contains(&entry.at))
    }

    /// The sequences that are missing before the last one, in order. Those before the first that the
    /// log still has room for are not among them, but [counted](Self::missed).
    #[must_use]
    pub fn gaps(&self) -> Vec<RangeInclusive<u64>> {
        let mut gaps = Vec::new();
        let mut expected = self.first;
        for &sequence in self.entries.keys() {
            if sequence > expected {
                gaps.push(expected..=sequence - 1);
            }
            expected = sequence.saturating_add(1);
        }
        gaps
    }

    /// Where the event of this id is.
    #[must_use]
    pub fn sequence_of(&self, id: &str) -> Option<u64> {
        self.sequences.get(id).copied()
    }

    /// How many events are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many events had to make room for later ones.
    #[must_use]
    pub const fn fallen_out(&self) -> u64 {
        self.fallen_out
    }

    /// How many sequences had not come when the log moved on beyond them.
    #[must_use]
    pub const fn missed(&self) -> u64 {
        self.missed
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= self.capacity
    }

    /// The lowest sequence that is taken: in a full log, only what comes after the oldest.
    fn first_taken(&self) -> u64 {
        match self.entries.first_key_value() {
            Some((&oldest, _)) if self.is_full() => oldest.max(self.first),
            _ => self.first,
        }
    }
}

#[cfg(test)]
mod workflow;
