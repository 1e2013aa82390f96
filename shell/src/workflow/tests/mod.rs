//! Workflows against models of what they promise.

mod audit;
mod bad_input;
mod deadlines;
mod engine;
mod sets;
mod snapshots;
mod stable;
mod validators;

use std::sync::Mutex;

use tensorforge_core::Instant;
use tensorforge_core::machine::{AuditFailure, AuditRecord, AuditSink, Outcome};

use super::*;

fn at(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

/// A record, kept.
#[derive(Clone, Debug, PartialEq)]
struct Kept {
    sequence: u64,
    entity: String,
    from: String,
    to: String,
    generation: u64,
    cause: String,
    outcome: Outcome,
}

/// Keeps everything; or says that it cannot.
#[derive(Default)]
struct Book {
    kept: Mutex<Vec<Kept>>,
    broken: std::sync::atomic::AtomicBool,
}

impl Book {
    fn records(&self) -> Vec<Kept> {
        self.kept.lock().unwrap().clone()
    }

    fn breaks(&self, broken: bool) {
        self.broken.store(broken, std::sync::atomic::Ordering::Relaxed);
    }
}

impl AuditSink for Book {
    fn record(&self, record: &AuditRecord<'_>) -> Result<(), AuditFailure> {
        if self.broken.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(AuditFailure::Full);
        }
        self.kept.lock().unwrap().push(Kept {
            sequence: record.sequence,
            entity: record.entity.into(),
            from: record.from.into(),
            to: record.to.into(),
            generation: record.generation,
            cause: record.cause.into(),
            outcome: record.outcome,
        });
        Ok(())
    }
}
