//! Who is told of every attempt.

use core::fmt;

use super::Refusal;
use crate::Instant;

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The entity is in its new state.
    Applied,
    /// It is in the one that it was in.
    Refused(Refusal),
}

/// An attempt and what became of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AuditRecord<'a> {
    /// Counts every attempt of one engine, from 0: no number is missing, and each is there once. Of one
    /// entity, a later attempt has a higher number.
    pub sequence: u64,
    /// When, in the engine's time.
    pub at: Instant,
    /// The machine's name.
    pub machine: &'static str,
    /// Which entity.
    pub entity: &'a str,
    /// The state that it was in; empty for an entity that is not there.
    pub from: &'a str,
    /// The one that was asked for, as it was asked for.
    pub to: &'a str,
    /// How many steps the entity had made before.
    pub generation: u64,
    /// Why: in the words of whoever asked.
    pub cause: &'a str,
    /// What became of it.
    pub outcome: Outcome,
}

/// The sink could not keep a record.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditFailure {
    /// It is full, or was told to keep no more.
    Full,
    /// What it writes to does not work.
    Broken,
}

impl fmt::Display for AuditFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the audit is full",
            Self::Broken => "the audit cannot be written",
        })
    }
}

impl core::error::Error for AuditFailure {}

/// Who is told of every attempt, the refused ones too.
///
/// Sinks compose: a tuple tells its members in order, all of them whatever the others say, and fails if
/// one does. `()` keeps nothing.
pub trait AuditSink {
    /// Keeps a record. It is called while the entity's lock is held, so that the records of one entity
    /// come in order: a slow sink belongs behind a buffer.
    ///
    /// # Errors
    /// If the record was not kept.
    fn record(&self, record: &AuditRecord<'_>) -> Result<(), AuditFailure>;
}

impl AuditSink for () {
    fn record(&self, _: &AuditRecord<'_>) -> Result<(), AuditFailure> {
        Ok(())
    }
}

impl<A: AuditSink + ?Sized> AuditSink for &A {
    fn record(&self, record: &AuditRecord<'_>) -> Result<(), AuditFailure> {
        (**self).record(record)
    }
}

impl<A: AuditSink, B: AuditSink> AuditSink for (A, B) {
    fn record(&self, record: &AuditRecord<'_>) -> Result<(), AuditFailure> {
        let (first, second) = (self.0.record(record), self.1.record(record));
        first.and(second)
    }
}

impl<A: AuditSink, B: AuditSink, C: AuditSink> AuditSink for (A, B, C) {
    fn record(&self, record: &AuditRecord<'_>) -> Result<(), AuditFailure> {
        let (first, rest) = (self.0.record(record), (&self.1, &self.2).record(record));
        first.and(rest)
    }
}
