//! The last records, in memory.

use std::collections::VecDeque;
use std::sync::Mutex;

use tensorforge_core::machine::{AuditFailure, AuditRecord, AuditSink};

use super::{Entry, Hash};
use crate::concurrency::lock;

/// Keeps the last records in memory, chained like those of a file.
#[derive(Debug)]
pub struct Ring {
    kept: Mutex<Kept>,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Kept {
    entries: VecDeque<Entry>,
    next: u64,
    head: Hash,
}

impl Ring {
    /// Keeps the last `capacity` of them.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { kept: Mutex::default(), capacity }
    }

    /// The records kept, the oldest first.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        lock(&self.kept).entries.iter().cloned().collect()
    }

    /// How many have fallen out.
    #[must_use]
    pub fn fallen(&self) -> u64 {
        let kept = lock(&self.kept);
        kept.next - kept.entries.len() as u64
    }
}

impl AuditSink for Ring {
    fn record(&self, record: &AuditRecord<'_>) -> Result<(), AuditFailure> {
        let mut kept = lock(&self.kept);
        let entry = Entry::seal(record, kept.next, kept.head);
        (kept.next, kept.head) = (kept.next + 1, entry.hash);
        kept.entries.push_back(entry);
        if kept.entries.len() > self.capacity {
            kept.entries.pop_front();
        }
        Ok(())
    }
}
