//! A request of the running server, on its way through its machine.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tensorforge_core::machine::{AuditSink, RequestLife, RequestState};

use super::Cursor;
use crate::clock::Clock;
use crate::concurrency::lock;

/// An audit sink that threads share.
pub type SharedSink = Arc<dyn AuditSink + Send + Sync>;

/// Numbers the requests of a service and tells their audit.
pub struct RequestLog {
    clock: Clock,
    /// `None` tells nobody, and then a request costs no text.
    sink: Option<SharedSink>,
    next: AtomicU64,
}

impl fmt::Debug for RequestLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestLog").field("audited", &self.sink.is_some()).finish_non_exhaustive()
    }
}

impl RequestLog {
    /// Tells `sink`, if there is one, with the times of `clock`.
    #[must_use]
    pub const fn new(clock: Clock, sink: Option<SharedSink>) -> Self {
        Self { clock, sink, next: AtomicU64::new(0) }
    }

    /// A request has been received: for `model`, with the client's own `id`, which may be empty.
    pub fn receive(self: &Arc<Self>, model: &str, id: &str) -> LiveRequest {
        self.receive_marked(model, "", id)
    }

    /// As [`receive`](Self::receive), of a copy of a request that another server has answered: `~shadow`
    /// stands in its name.
    pub fn receive_copy(self: &Arc<Self>, model: &str, id: &str) -> LiveRequest {
        self.receive_marked(model, "~shadow", id)
    }

    fn receive_marked(self: &Arc<Self>, model: &str, mark: &str, id: &str) -> LiveRequest {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let name = self.sink.as_ref().map(|_| match id {
            "" => format!("{model}#{number}{mark}"),
            id => format!("{model}#{number}{mark}:{id}"),
        });
        LiveRequest {
            log: Arc::clone(self),
            name: name.unwrap_or_default(),
            cursor: Mutex::new(Cursor::new()),
        }
    }
}

/// A request that has been received: it changes its state only along [`RequestLife`].
///
/// Whoever handles it says what has become of it; a step that comes too late, after its outcome, is left
/// out. Dropped without an outcome, it was given up by its client.
pub struct LiveRequest {
    log: Arc<RequestLog>,
    name: String,
    cursor: Mutex<Cursor<RequestLife>>,
}

impl fmt::Debug for LiveRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LiveRequest({}, {:?})", self.name, self.state())
    }
}

impl LiveRequest {
    /// Where it is.
    #[must_use]
    pub fn state(&self) -> RequestState {
        lock(&self.cursor).state()
    }

    /// It fits its model and the limits.
    pub fn admitted(&self) {
        self.go(RequestState::Admitted, "fits its model");
    }

    /// It waits in its group.
    pub fn queued(&self) {
        // A worker may have been told of its batch before this was said.
        let mut cursor = lock(&self.cursor);
        if cursor.state() == RequestState::Admitted {
            self.step(&mut cursor, RequestState::Queued, "waits in its group");
        }
    }

    /// It is in a batch that closed because of `reason`.
    pub fn batched(&self, reason: &str) {
        self.queued();
        self.go(RequestState::Batched, reason);
    }

    /// Its batch runs.
    pub fn running(&self) {
        self.go(RequestState::Running, "its batch runs");
    }

    /// Its batch failed, and it waits for another run.
    pub fn waits_again(&self, why: &str) {
        self.go(RequestState::Queued, why);
    }

    /// It has been answered.
    pub fn succeeded(&self) {
        self.go(RequestState::Succeeded, "answered");
    }

    /// It has been answered with an error.
    pub fn failed(&self, why: &str) {
        self.go(RequestState::Failed, why);
    }

    /// Its time ran out before its turn; one that ran already has failed.
    pub fn expired(&self, why: &str) {
        self.unless_it_ran(RequestState::Expired, why);
    }

    /// It was turned away; one that ran already has failed.
    pub fn shed(&self, why: &str) {
        self.unless_it_ran(RequestState::Shed, why);
    }

    fn unless_it_ran(&self, to: RequestState, why: &str) {
        let mut cursor = lock(&self.cursor);
        let ran = cursor.state() == RequestState::Running;
        self.step(&mut cursor, if ran { RequestState::Failed } else { to }, why);
    }

    fn go(&self, to: RequestState, cause: &str) {
        self.step(&mut lock(&self.cursor), to, cause);
    }

    fn step(&self, cursor: &mut Cursor<RequestLife>, to: RequestState, cause: &str) {
        if cursor.is_over() {
            return;
        }
        let now = self.log.clock.now();
        let stepped = match &self.log.sink {
            Some(sink) => cursor.go(to, &self.name, cause, now, &**sink),
            None => cursor.go(to, "", cause, now, &()),
        };
        if let Err(error) = stepped {
            // A mistake of the server's own, which the machine has caught.
            tracing::error!(request = self.name, %error, "a request left its way");
        }
    }
}

impl Drop for LiveRequest {
    fn drop(&mut self) {
        self.go(RequestState::Cancelled, "its client gave it up");
    }
}
