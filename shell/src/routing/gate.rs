//! Who may send to an endpoint, and how many are waiting for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Set in the word of a gate that is closed; the other bits count.
const CLOSED: u64 = 1 << 63;

/// An endpoint's door: it counts the requests that are there, and lets none in once it is closed.
///
/// Closed or not and the count are one word, so nobody slips in beside a drain: after
/// [`is_drained`](Self::is_drained) was true, it stays so until the gate is opened again.
///
/// A [`RouteTable`](super::RouteTable) opens and closes the gates of its endpoints itself.
///
/// **Progress:** lock-free for any number of threads. **Memory:** one word.
///
/// ```
/// use tensorforge::routing::EndpointGate;
///
/// let gate = EndpointGate::open();
/// let request = gate.enter().unwrap();
/// gate.close();
/// assert!(gate.enter().is_none(), "it takes no new requests");
/// assert!(!gate.is_drained(), "and waits for the one that is there");
/// drop(request);
/// assert!(gate.is_drained());
/// ```
#[derive(Debug)]
pub struct EndpointGate {
    word: AtomicU64,
}

impl EndpointGate {
    /// An open gate with nobody inside.
    #[must_use]
    pub fn open() -> Arc<Self> {
        Arc::new(Self { word: AtomicU64::new(0) })
    }

    /// Counts a request in until what is given back is dropped; `None` if the gate is closed. O(1).
    #[must_use]
    pub fn enter(self: &Arc<Self>) -> Option<InFlight> {
        // Relaxed would do for the count. Acquire, so that whoever finds the gate open again sees what
        // was done before it was opened.
        let entered = self.word.fetch_update(Ordering::Acquire, Ordering::Relaxed, |word| {
            (word & CLOSED == 0).then_some(word + 1)
        });
        entered.is_ok().then(|| InFlight { gate: Arc::clone(self) })
    }

    /// How many requests are there. One of several at the same moment: a figure, not a promise.
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        self.word.load(Ordering::Acquire) & !CLOSED
    }

    /// Whether it takes no new requests.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.word.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Whether it is closed and every request that was there has been answered or given up. Then all that
    /// was done for them has happened before, in the eyes of whoever asks.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.word.load(Ordering::Acquire) == CLOSED
    }

    /// Lets no more in. Who is there stays.
    pub fn close(&self) {
        self.word.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// Lets requests in again.
    pub fn reopen(&self) {
        self.word.fetch_and(!CLOSED, Ordering::AcqRel);
    }
}

/// A request that is at an endpoint, until it is dropped.
#[derive(Debug)]
#[must_use = "dropping it at once says that the request has been answered"]
pub struct InFlight {
    gate: Arc<EndpointGate>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.gate.word.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::atomic::AtomicBool;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Enter,
        Leave,
        Close,
        Reopen,
    }

    proptest! {
        #[test]
        fn a_gate_counts_who_is_there_and_lets_nobody_in_while_closed(
            steps in prop::collection::vec(
                prop::sample::select(vec![
                    Step::Enter,
                    Step::Enter,
                    Step::Leave,
                    Step::Close,
                    Step::Reopen,
                ]),
                0..60,
            ),
        ) {
            let gate = EndpointGate::open();
            let mut inside = Vec::new();
            let mut is_closed = false;
            for step in steps {
                match step {
                    Step::Enter => {
                        let entered = gate.enter();
                        prop_assert_eq!(entered.is_none(), is_closed);
                        inside.extend(entered);
                    }
                    Step::Leave => drop(inside.pop()),
                    Step::Close => {
                        gate.close();
                        is_closed = true;
                    }
                    Step::Reopen => {
                        gate.reopen();
                        is_closed = false;
                    }
                }
                prop_assert_eq!(gate.outstanding(), inside.len() as u64);
                prop_assert_eq!(gate.is_closed(), is_closed);
                prop_assert_eq!(gate.is_drained(), is_closed && inside.is_empty());
            }
        }
    }

    #[test]
    fn a_request_that_panics_leaves_all_the_same() {
        let gate = EndpointGate::open();
        let inside = gate.enter();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _inside = inside;
            panic!("the request fails");
        }));
        assert!(panicked.is_err());
        assert_eq!(gate.outstanding(), 0);
    }

    #[test]
    fn once_it_was_seen_drained_no_thread_gets_in() {
        let gate = EndpointGate::open();
        let was_seen_drained = AtomicBool::new(false);
        let late: usize = std::thread::scope(|scope| {
            let enter = || {
                let (mut late, mut tries) = (0, 0);
                while tries < 100 {
                    let is_late = was_seen_drained.load(Ordering::SeqCst);
                    late += usize::from(gate.enter().is_some() && is_late);
                    tries += usize::from(is_late);
                }
                late
            };
            let threads: Vec<_> = (0..3).map(|_| scope.spawn(enter)).collect();
            gate.close();
            while !gate.is_drained() {
                std::thread::yield_now();
            }
            was_seen_drained.store(true, Ordering::SeqCst);
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(late, 0);
        assert!(gate.is_drained());
    }
}
