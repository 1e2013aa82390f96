//! What the engine is told, and what it tells.

use crate::batch::{Batch, ModelId, Queued, Request, Ticket, Verdict, Waiting};
use crate::policy::Change;
use crate::{Duration, Instant};

/// Something that happened outside.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<T> {
    /// A request came in.
    Arrived(Request<T>),
    /// The caller no longer wants a queued request. Ignored once the request has left the queue.
    Cancelled(Ticket),
    /// A batch was run. For one that was not, see [`Engine::failed`](crate::Engine::failed).
    Finished {
        /// The batch.
        batch: Batch,
        /// How long its execution took.
        took: Duration,
        /// The memory it took on the device, where that is known, in bytes.
        memory: Option<u64>,
    },
    /// The instant that [`Engine::handle`](crate::Engine::handle) returned has come.
    Tick,
    /// Admit nothing more; run what is queued without waiting for company.
    Drain,
}

/// Why a request was not admitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Refused {
    /// The model was never configured.
    UnknownModel,
    /// The engine is draining.
    Draining,
    /// The request has no items.
    Empty,
    /// The request alone exceeds what one batch of its model may hold.
    TooLarge {
        /// The most items one batch of this model may hold.
        max_items: u32,
    },
    /// The model has no such priority.
    Priority {
        /// How many it has: from 0 to one less.
        priorities: u8,
    },
    /// The request came after its deadline.
    Late,
    /// As many requests of the model wait as may.
    ModelQueueFull {
        /// How many may.
        max_queued: u32,
        /// When what waits should be worked off.
        retry_after: Duration,
    },
    /// As many bytes of the model wait as may.
    ModelBytesFull {
        /// How many may.
        max_bytes: u64,
        /// When what waits should be worked off.
        retry_after: Duration,
    },
    /// As many requests of the model and the priority wait as may.
    LevelQueueFull {
        /// The priority.
        priority: u8,
        /// How many may.
        max_queued: u32,
        /// When what waits should be worked off.
        retry_after: Duration,
    },
    /// The engine holds as many requests, bytes or different batch keys as it has room for.
    QueueFull {
        /// When what waits of the model should be worked off.
        retry_after: Duration,
    },
    /// After failures, only higher priorities are let in.
    Restricted {
        /// The least that is.
        priority: u8,
    },
    /// After failures, nothing is let in.
    Halted {
        /// When that is over.
        retry_after: Duration,
    },
    /// After failures, the model's circuit is open.
    CircuitOpen {
        /// When it is tried again.
        retry_after: Duration,
    },
}

impl Refused {
    /// When to come again, if that is known.
    #[must_use]
    pub const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::ModelQueueFull { retry_after, .. }
            | Self::ModelBytesFull { retry_after, .. }
            | Self::LevelQueueFull { retry_after, .. }
            | Self::QueueFull { retry_after }
            | Self::Halted { retry_after }
            | Self::CircuitOpen { retry_after } => Some(retry_after),
            _ => None,
        }
    }
}

/// How a batch failed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Failure {
    /// The model or its runtime gave an error.
    Failed,
    /// The device had not enough memory.
    OutOfMemory,
}

/// Why a request that was admitted is given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Dropped {
    /// Its sender cancelled it.
    Cancelled,
    /// Its deadline passed while it waited.
    Expired,
    /// One of higher priority needed its place.
    Displaced {
        /// The priority of that.
        by: u8,
        /// When what waits should be worked off.
        retry_after: Duration,
    },
    /// Its model's circuit opened.
    CircuitOpen {
        /// When it is tried again.
        retry_after: Duration,
    },
    /// It needs more memory than its device has.
    NoMemory,
    /// It failed, alone, or when nothing could be tried again.
    Failed(Failure),
}

/// A step that is worth recording.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Notice {
    /// The model's failures, or successes, changed its level.
    Level {
        /// The model.
        model: ModelId,
        /// From where to where, and why.
        change: Change,
    },
    /// The model's circuit opened.
    CircuitOpened {
        /// The model.
        model: ModelId,
        /// When it is tried again.
        until: Instant,
    },
    /// The model's circuit closed again.
    CircuitClosed {
        /// The model.
        model: ModelId,
    },
    /// The device had no memory for a batch.
    OutOfMemory {
        /// The model.
        model: ModelId,
        /// Items that were run, padding included.
        items: u32,
        /// The most that will be run for now.
        limit: u32,
    },
    /// A batch failed and is run again in two pieces.
    Split {
        /// The batch's number.
        batch: u64,
        /// Requests in each piece.
        requests: [u32; 2],
    },
}

/// What the engine asks its shell to do. Called from inside the engine's own calls.
pub trait ActionSink<T> {
    /// Run these requests as one batch on an idle instance of `batch.key().model`, then give the batch
    /// back, which is due even if not one request was taken. Requests not taken go on waiting.
    fn dispatch(&mut self, batch: Batch, requests: &mut dyn ExactSizeIterator<Item = Queued<T>>);

    /// Tell the sender that its request was not admitted.
    fn refuse(&mut self, request: Request<T>, why: Refused);

    /// The request waits under this ticket. Comes before any dispatch that includes it; comes again
    /// when it failed with others and waits for another run.
    fn queued(&mut self, ticket: Ticket, payload: &T) {
        let _ = (ticket, payload);
    }

    /// An admitted request is given up.
    fn release(&mut self, request: Queued<T>, why: Dropped) {
        drop(request);
        let _ = why;
    }

    /// Something worth recording happened.
    fn notice(&mut self, notice: Notice) {
        let _ = notice;
    }

    /// Whether a group closes now: [`Waiting::standard`], or what the model's own
    /// [`ClosingRule`](crate::batch::ClosingRule) says.
    fn judge(&mut self, waiting: &Waiting<'_>) -> Verdict {
        waiting.standard()
    }
}
