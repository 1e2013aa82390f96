//! A bounded buffer in front of a slow sink.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use tensorforge_core::Instant;
use tensorforge_core::machine::{AuditFailure, AuditRecord, AuditSink, Outcome};

/// A sink that never keeps anyone waiting: it takes a copy of the record, and a thread of its own tells
/// the sink behind.
///
/// When the buffer is full the record is dropped, the caller is told so, and it is
/// [counted](Self::dropped); when there is room again, a record of machine `audit` says how many are
/// missing, so that the loss is on record too. A sink behind that panics has failed, and goes on being
/// told. Dropping it waits until everything in the buffer has been told.
pub struct Buffered {
    sender: Option<SyncSender<Message>>,
    dropped: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    teller: Option<JoinHandle<()>>,
}

enum Message {
    Record(Owned),
    Flush(SyncSender<()>),
}

/// A record of its own.
struct Owned {
    sequence: u64,
    at: Instant,
    machine: &'static str,
    generation: u64,
    outcome: Outcome,
    /// Entity, from, to and cause in one piece: one allocation. And where each ends.
    texts: String,
    ends: [usize; 3],
}

impl Owned {
    fn of(record: &AuditRecord<'_>) -> Self {
        let AuditRecord { sequence, at, machine, entity, from, to, generation, cause, outcome } =
            *record;
        let mut texts = String::with_capacity(entity.len() + from.len() + to.len() + cause.len());
        let ends = [entity, from, to].map(|text| {
            texts.push_str(text);
            texts.len()
        });
        texts.push_str(cause);
        Self { sequence, at, machine, generation, outcome, texts, ends }
    }

    fn record(&self) -> AuditRecord<'_> {
        let [entity, from, to] = self.ends;
        AuditRecord {
            sequence: self.sequence,
            at: self.at,
            machine: self.machine,
            entity: &self.texts[..entity],
            from: &self.texts[entity..from],
            to: &self.texts[from..to],
            generation: self.generation,
            cause: &self.texts[to..],
            outcome: self.outcome,
        }
    }
}

impl Buffered {
    /// In front of `sink`, with room for `capacity` records, at least one.
    ///
    /// # Errors
    /// The system's, when it gives no more threads.
    pub fn new(sink: impl AuditSink + Send + 'static, capacity: usize) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(capacity.max(1));
        let (dropped, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let counts = (Arc::clone(&dropped), Arc::clone(&failed));
        let teller = std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || tell(&receiver, &sink, &counts.0, &counts.1))?;
        Ok(Self { sender: Some(sender), dropped, failed, teller: Some(teller) })
    }

    /// How many records found no room.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// How many records the sink behind has not kept.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Waits until everything that was recorded before has been told.
    pub fn flush(&self) {
        let (done, told) = sync_channel(1);
        if let Some(sender) = &self.sender
            && sender.send(Message::Flush(done)).is_ok()
        {
            // An error means that the teller is gone, and nothing is left to wait for.
            let _ = told.recv();
        }
    }
}

impl AuditSink for Buffered {
    fn record(&self, record: &AuditRecord<'_>) -> Result<(), AuditFailure> {
        let Some(sender) = &self.sender else { return Err(AuditFailure::Broken) };
        match sender.try_send(Message::Record(Owned::of(record))) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                Err(AuditFailure::Full)
            }
            Err(TrySendError::Disconnected(_)) => Err(AuditFailure::Broken),
        }
    }
}

impl Drop for Buffered {
    fn drop(&mut self) {
        // The teller ends when it has told what is in the buffer.
        self.sender = None;
        if let Some(teller) = self.teller.take() {
            let _ = teller.join();
        }
    }
}

fn tell(
    receiver: &Receiver<Message>,
    sink: &dyn AuditSink,
    dropped: &AtomicU64,
    failed: &AtomicU64,
) {
    let mut missing = 0;
    let keep = |record: &AuditRecord<'_>| {
        let kept = catch_unwind(AssertUnwindSafe(|| sink.record(record).is_ok()));
        if !kept.unwrap_or(false) {
            failed.fetch_add(1, Ordering::Relaxed);
        }
    };
    for message in receiver {
        match message {
            Message::Flush(done) => {
                let _ = done.send(());
            }
            Message::Record(owned) => {
                let record = owned.record();
                let now_missing = dropped.load(Ordering::Relaxed);
                if now_missing > missing {
                    let cause =
                        format!("{} records found no room in the buffer", now_missing - missing);
                    missing = now_missing;
                    keep(&AuditRecord {
                        machine: "audit",
                        entity: "buffer",
                        from: "",
                        to: "",
                        cause: &cause,
                        outcome: Outcome::Applied,
                        ..record
                    });
                }
                keep(&record);
            }
        }
    }
}
