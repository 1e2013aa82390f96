//! A breaker that knows no time.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Calls are permitted, and failures in a row counted.
pub const CB_CLOSED: &str = "closed";
/// Calls are not permitted.
pub const CB_OPEN: &str = "open";
/// Calls are permitted to find out whether they succeed again.
pub const CB_HALF_OPEN: &str = "half_open";

/// A circuit breaker that any number of threads share, and whose owner says when to try again.
///
/// * Closed, it opens after `failure_threshold` failures in a row. A success ends the run.
/// * Open, it permits no calls; what is recorded changes nothing. [`attempt_reset`](Self::attempt_reset)
///   makes it half open.
/// * Half open, it closes after `success_threshold` successes; a failure opens it again.
///
/// Each change of state starts counting from 0.
///
/// **Progress:** lock-free: state and count are one word, and a change that meets another is tried
/// again. **Memory:** 16 bytes.
///
/// ```
/// use tensorforge::resilience::{CB_CLOSED, CB_HALF_OPEN, CircuitBreaker};
///
/// let breaker = CircuitBreaker::new(1, 2);
/// breaker.record_failure();
/// assert!(!breaker.is_call_permitted());
/// breaker.attempt_reset();
/// assert_eq!(breaker.state(), CB_HALF_OPEN);
/// breaker.record_success();
/// breaker.record_success();
/// assert_eq!(breaker.state(), CB_CLOSED);
/// ```
pub struct CircuitBreaker {
    failure_threshold: u32,
    success_threshold: u32,
    /// A [`State`], packed. Nothing else is published with it, so its own order is enough.
    word: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open,
    HalfOpen { successes: u32 },
}

impl State {
    const CLOSED: Self = Self::Closed { failures: 0 };
    const HALF_OPEN: Self = Self::HalfOpen { successes: 0 };

    const fn pack(self) -> u64 {
        match self {
            Self::Closed { failures } => (failures as u64) << 2,
            Self::Open => 1,
            Self::HalfOpen { successes } => (successes as u64) << 2 | 2,
        }
    }

    const fn unpack(word: u64) -> Self {
        let count = (word >> 2) as u32;
        match word & 3 {
            0 => Self::Closed { failures: count },
            1 => Self::Open,
            _ => Self::HalfOpen { successes: count },
        }
    }
}

impl CircuitBreaker {
    /// A closed breaker. A threshold of 0 counts as 1.
    #[must_use]
    pub const fn new(failure_threshold: u32, success_threshold: u32) -> Self {
        Self {
            failure_threshold: if failure_threshold > 0 { failure_threshold } else { 1 },
            success_threshold: if success_threshold > 0 { success_threshold } else { 1 },
            word: AtomicU64::new(State::CLOSED.pack()),
        }
    }

    /// [`CB_CLOSED`], [`CB_OPEN`] or [`CB_HALF_OPEN`].
    #[must_use]
    pub fn state(&self) -> String {
        let name = match self.load() {
            State::Closed { .. } => CB_CLOSED,
            State::Open => CB_OPEN,
            State::HalfOpen { .. } => CB_HALF_OPEN,
        };
        name.to_string()
    }

    /// A call succeeded.
    pub fn record_success(&self) {
        self.change(|state| match state {
            State::Closed { .. } => State::CLOSED,
            State::Open => State::Open,
            State::HalfOpen { successes } => match successes.saturating_add(1) {
                enough if enough >= self.success_threshold => State::CLOSED,
                successes => State::HalfOpen { successes },
            },
        });
    }

    /// A call failed.
    pub fn record_failure(&self) {
        self.change(|state| match state {
            State::Closed { failures } => match failures.saturating_add(1) {
                enough if enough >= self.failure_threshold => State::Open,
                failures => State::Closed { failures },
            },
            State::Open | State::HalfOpen { .. } => State::Open,
        });
    }

    /// Permits calls again if it is open, to see whether they succeed.
    pub fn attempt_reset(&self) {
        self.change(|state| if state == State::Open { State::HALF_OPEN } else { state });
    }

    /// Whether to call: unless it is open.
    #[must_use]
    pub fn is_call_permitted(&self) -> bool {
        self.load() != State::Open
    }

    fn load(&self) -> State {
        State::unpack(self.word.load(Ordering::Relaxed))
    }

    fn change(&self, next: impl Fn(State) -> State) {
        let mut seen = self.word.load(Ordering::Relaxed);
        loop {
            let new = next(State::unpack(seen)).pack();
            if new == seen {
                return;
            }
            let order = Ordering::Relaxed;
            match self.word.compare_exchange_weak(seen, new, order, order) {
                Ok(_) => return,
                Err(newer) => seen = newer,
            }
        }
    }
}

impl fmt::Debug for CircuitBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("failure_threshold", &self.failure_threshold)
            .field("success_threshold", &self.success_threshold)
            .field("state", &self.load())
            .finish()
    }
}
