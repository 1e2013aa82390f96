//! Sinks that pass records on.

use tensorforge_core::machine::{AuditFailure, AuditRecord, AuditSink, Outcome};

use crate::workflow::SharedSink;

/// Tells the log: of a step at level info, of a refused one at level warn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tracing;

impl AuditSink for Tracing {
    fn record(&self, record: &AuditRecord<'_>) -> Result<(), AuditFailure> {
        let AuditRecord { sequence, machine, entity, from, to, cause, .. } = *record;
        match record.outcome {
            Outcome::Applied => tracing::info!(sequence, machine, entity, from, to, cause, "step"),
            Outcome::Refused(refusal) => {
                tracing::warn!(sequence, machine, entity, from, to, cause, %refusal, "refused");
            }
        }
        Ok(())
    }
}

/// Tells several sinks, all of them whatever the others say; fails if one does. A few that are known
/// beforehand may also be a tuple.
pub struct FanOut(pub Vec<SharedSink>);

impl AuditSink for FanOut {
    fn record(&self, record: &AuditRecord<'_>) -> Result<(), AuditFailure> {
        let told = self.0.iter().map(|sink| sink.record(record));
        told.fold(Ok(()), Result::and)
    }
}
