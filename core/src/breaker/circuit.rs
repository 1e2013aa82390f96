//! The breaker.

use super::config::{BreakerConfig, ConfigError, random};
use super::deadline;
use super::window::{Counts, Window};
use super::word::{Phase, Probes, Word, one_more};
use crate::Instant;
use crate::sync::{AtomicU64, Ordering, const_unless_loom, fence};

/// A circuit breaker that any number of threads share without a lock.
///
/// Times are the caller's. An earlier `now` than the last one does no harm: what has begun has begun,
/// and what is not yet over is not. See [the module](super) for the rules and for how it counts.
///
/// ```
/// use tensorforge_core::breaker::{Breaker, BreakerConfig, Outcome, State};
/// use tensorforge_core::{Duration, Instant};
///
/// let config = BreakerConfig { consecutive_failures: Some(2), jitter: 0, ..BreakerConfig::DEFAULT };
/// let breaker = Breaker::new(config, 42).unwrap();
/// let mut now = Instant::ZERO;
/// for _ in 0..2 {
///     let permit = breaker.try_call(now).unwrap();
///     breaker.report(permit, Outcome::Failure, now);
/// }
/// let refused = breaker.try_call(now).unwrap_err();
/// assert!(refused.retry_at.since(now) >= Duration::from_secs(5));
///
/// // Two of three probes have to succeed.
/// now = refused.retry_at;
/// for _ in 0..2 {
///     let probe = breaker.try_call(now).unwrap();
///     breaker.report(probe, Outcome::Success, now);
/// }
/// assert_eq!(breaker.state(now), State::Closed);
/// ```
#[derive(Debug)]
pub struct Breaker {
    words: Words,
    window: Window,
    config: BreakerConfig,
    seed: u64,
}

/// Alone on their cache line: while the breaker is closed and all is well, nobody writes them.
#[derive(Debug)]
#[repr(align(64))]
struct Words {
    state: AtomicU64,
    /// For an open breaker: until when. Half open: when the probes expire. Else of no meaning.
    deadline: AtomicU64,
}

/// Leave to call once, to be given back with the [outcome](Breaker::report).
///
/// It is for the breaker it came from. One that is dropped counts for nothing, and as a probe for a
/// failed one once its time is over.
#[must_use = "a probe that does not report counts as failed"]
#[derive(Debug, PartialEq, Eq)]
pub struct Permit {
    epoch: u32,
    probe: bool,
}

impl Permit {
    /// Whether this call decides if the breaker closes.
    #[must_use]
    pub const fn is_probe(&self) -> bool {
        self.probe
    }
}

/// The breaker lets no call pass now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Before this, no call passes, unless the report of a probe makes way.
    pub retry_at: Instant,
}

impl core::fmt::Display for Refused {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let at = self.retry_at.as_nanos();
        write!(f, "the breaker lets no call pass; ask again at {at} ns")
    }
}

impl core::error::Error for Refused {}

/// How a call went.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was answered.
    Success,
    /// It was answered, and took longer than the caller finds right. Without a slow rate, a success.
    Slow,
    /// It failed.
    Failure,
    /// It says nothing about what was called: it was never made, or its caller gave up or was wrong.
    Ignored,
}

/// What a report did.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// It counts, and the state stays.
    Counted,
    /// It came after the state that its call belongs to, or after its probe's time: nothing changed.
    Late,
    /// It opened the breaker. Only one report is told so; nobody is when probes that expire open it.
    Opened,
    /// It closed the breaker. Only one report is told so.
    Closed,
}

/// What a breaker does with calls.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// They pass.
    Closed,
    /// They are refused.
    Open {
        /// The first call from then on is a probe.
        until: Instant,
    },
    /// A few pass as probes.
    HalfOpen {
        /// Probes that have not reported.
        in_flight: u8,
        /// Probes that succeeded.
        succeeded: u8,
        /// Probes that failed or did not report in time.
        failed: u8,
    },
}

impl Breaker {
    const_unless_loom! {
        /// A closed breaker that has seen nothing. What is random in it follows from `seed`, so give
        /// each breaker its own.
        ///
        /// # Errors
        /// If the configuration makes no sense.
        pub fn new(config: BreakerConfig, seed: u64) -> Result<Self, ConfigError> {
            if let Err(error) = config.check() {
                return Err(error);
            }
            let words = Words { state: AtomicU64::new(Word::FIRST), deadline: AtomicU64::new(0) };
            Ok(Self { words, window: Window::new(), config, seed })
        }
    }

    /// Leave to call at `now`, as a probe if need be.
    ///
    /// # Errors
    /// If the breaker is open, or half open with all its probes in flight.
    #[inline]
    pub fn try_call(&self, now: Instant) -> Result<Permit, Refused> {
        let seen = self.load();
        match seen.phase {
            Phase::Closed { .. } => Ok(Permit { epoch: seen.epoch, probe: false }),
            _ => self.try_probe(seen, now),
        }
    }

    /// How the permitted call went, as known at `now`.
    pub fn report(&self, permit: Permit, outcome: Outcome, now: Instant) -> Effect {
        loop {
            let seen = self.load();
            if seen.epoch != permit.epoch {
                return Effect::Late;
            }
            let effect = match seen.phase {
                Phase::Closed { .. } => Some(self.report_call(seen, outcome, now)),
                Phase::Open { .. } => Some(Effect::Late), // another breaker's permit
                Phase::HalfOpen(probes) => self.report_probe(seen, probes, outcome, now),
            };
            if let Some(effect) = effect {
                return effect;
            }
        }
    }

    /// What a call at `now` would find. Changes nothing.
    #[must_use]
    pub fn state(&self, now: Instant) -> State {
        loop {
            let seen = self.load();
            let Ok(written) = self.written_deadline(seen) else { continue };
            let (mut word, mut until) = (seen, written.unwrap_or(self.first_deadline(seen, now)));
            return loop {
                match word.phase {
                    Phase::Closed { .. } => break State::Closed,
                    Phase::Open { .. } if now < until => break State::Open { until },
                    Phase::Open { openings } => {
                        word = word.next(Phase::HalfOpen(Probes::first(openings, 0)));
                    }
                    Phase::HalfOpen(probes) if probes.in_flight() == 0 || now < until => {
                        let Probes { succeeded, failed, .. } = probes;
                        let in_flight = probes.in_flight();
                        break State::HalfOpen { in_flight, succeeded, failed };
                    }
                    Phase::HalfOpen(probes) => (word, until) = self.expired(word, probes, until),
                }
            };
        }
    }

    /// What it was built with.
    #[must_use]
    pub const fn config(&self) -> &BreakerConfig {
        &self.config
    }

    fn try_probe(&self, mut seen: Word, now: Instant) -> Result<Permit, Refused> {
        let timeout = self.config.probe_timeout;
        loop {
            match seen.phase {
                Phase::Closed { .. } => return Ok(Permit { epoch: seen.epoch, probe: false }),
                Phase::Open { openings } => {
                    if let Some(until) = self.deadline(seen, now) {
                        if now < until {
                            return Err(Refused { retry_at: until });
                        }
                        let half_open = seen.next(Phase::HalfOpen(Probes::first(openings, 1)));
                        if self.replace(seen, half_open) {
                            self.write_deadline(half_open, now + timeout);
                            return Ok(Permit { epoch: half_open.epoch, probe: true });
                        }
                    }
                }
                Phase::HalfOpen(probes) if probes.admitted < self.config.probes => {
                    // Before the probe is admitted: from then on the old deadline would be too early.
                    if !self.has_expired(seen, probes, now)
                        && self.write_deadline(seen, now + timeout)
                    {
                        let admitted = probes.admitted + 1;
                        let one_more = seen.with(Phase::HalfOpen(Probes { admitted, ..probes }));
                        if self.replace(seen, one_more) {
                            return Ok(Permit { epoch: seen.epoch, probe: true });
                        }
                    }
                }
                Phase::HalfOpen(probes) => {
                    if !self.has_expired(seen, probes, now)
                        && let Some(retry_at) = self.deadline(seen, now)
                        && now < retry_at
                    {
                        return Err(Refused { retry_at });
                    }
                }
            }
            seen = self.load();
        }
    }

    /// The report of a call that was admitted in this closed state.
    fn report_call(&self, mut seen: Word, outcome: Outcome, now: Instant) -> Effect {
        let epoch = seen.epoch;
        let opens = outcome != Outcome::Ignored
            && self.config.has_rate()
            && self.count_and_judge(epoch, outcome, now);
        loop {
            let Phase::Closed { run } = seen.phase else { return Effect::Late };
            let new_run = match outcome {
                _ if self.config.consecutive_failures.is_none() => 0,
                Outcome::Failure => run.saturating_add(1),
                Outcome::Success | Outcome::Slow => 0,
                Outcome::Ignored => run,
            };
            if opens || outcome == Outcome::Failure && self.config.run_opens(new_run) {
                let open = seen.next(Phase::Open { openings: 0 });
                if self.replace(seen, open) {
                    self.write_deadline(open, self.open_until(now, open));
                    return Effect::Opened;
                }
            } else {
                let closed = seen.with(Phase::Closed { run: new_run });
                if closed == seen || self.replace(seen, closed) {
                    return Effect::Counted;
                }
            }
            seen = self.load();
            if seen.epoch != epoch {
                return Effect::Late;
            }
        }
    }

    /// Counts it in the window. Whether that has reached one of the rates.
    fn count_and_judge(&self, epoch: u32, outcome: Outcome, now: Instant) -> bool {
        let one = Counts {
            calls: 1,
            failures: u32::from(outcome == Outcome::Failure),
            slow: u32::from(outcome == Outcome::Slow),
        };
        let window = self.config.window;
        self.window.count(one, epoch, now, window, || self.load().epoch == epoch);
        // Of two reports in different slices, at least the later one sees both.
        fence(Ordering::SeqCst);
        self.config.rates_open(self.window.sum(epoch, now, window))
    }

    /// The report of a probe; `None` if something else came in between.
    fn report_probe(
        &self,
        seen: Word,
        probes: Probes,
        outcome: Outcome,
        now: Instant,
    ) -> Option<Effect> {
        if probes.in_flight() == 0 {
            return Some(Effect::Late); // another breaker's permit
        }
        if self.has_expired(seen, probes, now) {
            return None;
        }
        let outcome = match outcome {
            Outcome::Slow if self.config.slow_rate.is_some() => Outcome::Failure,
            Outcome::Ignored if probes.ignored == u8::MAX => Outcome::Failure,
            outcome => outcome,
        };
        let (succeeded, failed) = (probes.succeeded, probes.failed);
        let probes = match outcome {
            Outcome::Success | Outcome::Slow => Probes { succeeded: succeeded + 1, ..probes },
            Outcome::Failure => Probes { failed: failed + 1, ..probes },
            Outcome::Ignored => {
                Probes { ignored: probes.ignored + 1, admitted: probes.admitted - 1, ..probes }
            }
        };
        let (next, effect) = if probes.succeeded >= self.config.successes_needed() {
            (seen.next(Phase::Closed { run: 0 }), Effect::Closed)
        } else if self.cannot_close(probes) {
            (seen.next(Phase::Open { openings: one_more(probes.openings) }), Effect::Opened)
        } else {
            (seen.with(Phase::HalfOpen(probes)), Effect::Counted)
        };
        if effect == Effect::Closed && self.config.has_rate() {
            self.window.clear(next.epoch, || self.load() == seen);
        }
        if !self.replace(seen, next) {
            return None;
        }
        if effect == Effect::Opened {
            self.write_deadline(next, self.open_until(now, next));
        }
        Some(effect)
    }

    /// Whether the probes' time is over. If so, this half-open goes on without them, or ends.
    fn has_expired(&self, seen: Word, probes: Probes, now: Instant) -> bool {
        if probes.in_flight() == 0 {
            return false;
        }
        let Some(deadline) = self.deadline(seen, now) else { return true };
        if now < deadline {
            return false;
        }
        let (next, until) = self.expired(seen, probes, deadline);
        if self.replace(seen, next) && matches!(next.phase, Phase::Open { .. }) {
            self.write_deadline(next, until);
        }
        true
    }

    /// What follows on the probes of `seen` when they expire at `deadline`, and for how long.
    fn expired(&self, seen: Word, probes: Probes, deadline: Instant) -> (Word, Instant) {
        let probes = probes.expired();
        if self.cannot_close(probes) {
            let open = seen.next(Phase::Open { openings: one_more(probes.openings) });
            (open, deadline::rounded(self.open_until(deadline, open)))
        } else {
            // A new epoch, so that the expired ones are late.
            (seen.next(Phase::HalfOpen(probes)), deadline)
        }
    }

    /// Whether too many have failed.
    fn cannot_close(&self, probes: Probes) -> bool {
        probes.failed > self.config.probes.saturating_sub(self.config.successes_needed())
    }

    /// Until when `open`, which began at `start`, refuses calls.
    fn open_until(&self, start: Instant, open: Word) -> Instant {
        let openings = match open.phase {
            Phase::Open { openings } => openings,
            Phase::HalfOpen(Probes { openings, .. }) => openings,
            Phase::Closed { .. } => 0,
        };
        self.config.open_until(start, openings, random(self.seed, open.epoch))
    }

    /// The deadline of `seen`, an open or half-open state, written by whoever comes first. `None` if
    /// the state is another by now.
    fn deadline(&self, seen: Word, now: Instant) -> Option<Instant> {
        loop {
            match self.written_deadline(seen) {
                Ok(Some(deadline)) => return Some(deadline),
                // Whoever changed the state was stopped before it wrote.
                Ok(None) => _ = self.write_deadline(seen, self.first_deadline(seen, now)),
                Err(Changed) => return None,
            }
        }
    }

    /// The deadline if `seen` was found at `now`.
    fn first_deadline(&self, seen: Word, now: Instant) -> Instant {
        deadline::rounded(match seen.phase {
            Phase::Open { .. } => self.open_until(now, seen),
            _ => now + self.config.probe_timeout,
        })
    }

    /// The deadline as far as it is written, if the epoch of `seen` still is.
    fn written_deadline(&self, seen: Word) -> Result<Option<Instant>, Changed> {
        let written = self.words.deadline.load(Ordering::Acquire);
        // A later epoch's is only written after that has begun, so it would show here.
        if self.load().epoch == seen.epoch {
            Ok(deadline::of(seen.epoch, written))
        } else {
            Err(Changed)
        }
    }

    /// Makes `at` the deadline of the epoch of `seen`, unless it has one: that of an opening stays, that
    /// of probes only moves on. `false` if the epoch is another by now.
    fn write_deadline(&self, seen: Word, at: Instant) -> bool {
        let new = deadline::pack(seen.epoch, at);
        loop {
            let written = self.words.deadline.load(Ordering::Acquire);
            if self.load().epoch != seen.epoch {
                return false;
            }
            let stays = written >= new || matches!(seen.phase, Phase::Open { .. });
            if stays && deadline::of(seen.epoch, written).is_some() {
                return true;
            }
            let word = &self.words.deadline;
            if word.compare_exchange(written, new, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return true;
            }
        }
    }

    #[inline]
    fn load(&self) -> Word {
        Word::unpack(self.words.state.load(Ordering::Acquire))
    }

    #[inline]
    fn replace(&self, seen: Word, with: Word) -> bool {
        let (seen, with) = (seen.pack(), with.pack());
        let state = &self.words.state;
        state.compare_exchange(seen, with, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// The state is another by now.
struct Changed;
