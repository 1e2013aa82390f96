//! Which request is next, and when it was due.

use std::sync::Arc;
use tensorforge_core::{Duration, Instant};
use tokio::sync::Semaphore;

use crate::clock::Clock;

/// When requests are sent.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Pace {
    /// Each connection at once after its last answer.
    Closed,
    /// So many a second, evenly spaced.
    Open(f64),
}

/// The time of a load: a warm-up, then the measurement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start: Instant,
    pub(super) measure_from: Instant,
    pub(super) until: Instant,
    /// Requests to measure at most.
    pub(super) most: u64,
}

/// Leave to send one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Turn {
    /// Counts all requests, the warm-up's included.
    pub(super) number: u64,
    /// When its latency starts to count.
    pub(super) due: Instant,
    /// Whether it is part of the measurement.
    pub(super) measured: bool,
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// Send this one.
    Send(Turn),
    /// A turn of the warm-up that fell due and was not taken in time. A server that the warm-up
    /// left behind is not measured by requests that are not part of the measurement.
    Stale,
    /// The measurement is over.
    Over,
}

/// Deals out turns. Reads no clock: everything takes `now`.
#[derive(Debug)]
pub(super) struct Schedule {
    pace: Pace,
    span: Span,
    /// The next turn's number.
    next: u64,
    /// The measurement's first number; with a fixed rate it is known beforehand.
    first: Option<u64>,
}

/// The last requests due may leave a moment late without counting as never sent.
const GRACE: Duration = Duration::from_millis(10);

impl Schedule {
    pub(super) fn new(pace: Pace, span: Span) -> Self {
        let warmup = span.measure_from.since(span.start);
        let first = match pace {
            Pace::Closed => None,
            Pace::Open(rate) => Some(count_before(warmup, rate)),
        };
        Self { pace, span, next: 0, first }
    }

    /// The next turn. With a fixed rate the caller asks once for each that has fallen due.
    pub(super) fn turn(&mut self, now: Instant) -> Next {
        let Span { measure_from, until, most, .. } = self.span;
        match self.pace {
            Pace::Closed => {
                let measured = now >= measure_from;
                if measured {
                    let first = *self.first.get_or_insert(self.next);
                    if now >= until || self.next - first >= most {
                        return Next::Over;
                    }
                }
                Next::Send(self.deal(now, measured))
            }
            Pace::Open(rate) => {
                let first = self.first.unwrap_or(0);
                if self.next >= self.end(until, rate) || now >= until + GRACE {
                    return Next::Over;
                }
                let due = self.span.start + due_after(self.next, rate);
                let turn = self.deal(due, self.next >= first);
                if turn.measured || now < measure_from { Next::Send(turn) } else { Next::Stale }
            }
        }
    }

    fn deal(&mut self, due: Instant, measured: bool) -> Turn {
        let turn = Turn { number: self.next, due, measured };
        self.next += 1;
        turn
    }

    /// The number after the last one due before `until`.
    fn end(&self, until: Instant, rate: f64) -> u64 {
        let first = self.first.unwrap_or(0);
        let by_number = first.saturating_add(self.span.most);
        by_number.min(count_before(until.since(self.span.start), rate)).max(first)
    }

    /// Requests of the measurement that were due by `now` and never sent.
    pub(super) fn unsent(&self, now: Instant) -> u64 {
        match self.pace {
            Pace::Closed => 0,
            Pace::Open(rate) => {
                let end = self.end(self.span.until.min(now), rate);
                end.saturating_sub(self.next.max(self.first.unwrap_or(0)))
            }
        }
    }
}

/// How many of the times 0, 1/rate, 2/rate ... lie before `length`.
fn count_before(length: Duration, rate: f64) -> u64 {
    (length.as_nanos() as f64 * rate / 1e9).ceil() as u64
}

fn due_after(number: u64, rate: f64) -> Duration {
    Duration::from_nanos((number as f64 / rate * 1e9) as u64)
}

/// Adds a permit at the moment each turn falls due, until the semaphore is closed.
///
/// A thread of its own: the runtime's timers tick in milliseconds, and would send the requests of
/// each millisecond in one burst, which is the very thing that a batching server is sensitive to.
pub(super) fn release_turns(clock: Clock, start: Instant, rate: f64, turns: Arc<Semaphore>) {
    // Short enough to notice the end, long enough not to matter.
    const LONGEST_SLEEP: std::time::Duration = std::time::Duration::from_millis(50);
    let mut released = 0;
    while !turns.is_closed() {
        let now = clock.now();
        let due = count_before(now.since(start), rate);
        if let Ok(new @ 1..) = usize::try_from(due.saturating_sub(released)) {
            turns.add_permits(new.min(Semaphore::MAX_PERMITS - turns.available_permits()));
            released = due;
        }
        let wait = (start + due_after(due, rate)).since(now);
        std::thread::sleep(std::time::Duration::from(wait).min(LONGEST_SLEEP));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    fn span(warmup: u64, measured: u64, most: u64) -> Span {
        Span { start: at(0), measure_from: at(warmup), until: at(warmup + measured), most }
    }

    fn sent(next: Next) -> Turn {
        match next {
            Next::Send(turn) => turn,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_closed_loop_measures_from_the_end_of_the_warm_up() {
        let mut schedule = Schedule::new(Pace::Closed, span(10, 10, u64::MAX));
        for (now, measured) in [(0, false), (9, false), (10, true), (19, true)] {
            let turn = sent(schedule.turn(at(now)));
            assert_eq!((turn.due, turn.measured), (at(now), measured));
        }
        assert_eq!(schedule.turn(at(20)), Next::Over);
        assert_eq!(schedule.unsent(at(20)), 0);
    }

    #[test]
    fn the_number_of_requests_does_not_count_the_warm_up() {
        let mut schedule = Schedule::new(Pace::Closed, span(10, 10, 2));
        let turns = [0, 1, 10, 11].map(|now| sent(schedule.turn(at(now))));
        assert_eq!(turns.map(|turn| turn.measured), [false, false, true, true]);
        assert_eq!(schedule.turn(at(12)), Next::Over);
    }

    #[test]
    fn a_backlog_of_the_warm_up_is_dropped_when_the_measurement_begins() {
        let mut schedule = Schedule::new(Pace::Open(1000.0), span(10, 10, u64::MAX));
        assert!(!sent(schedule.turn(at(1))).measured);
        // The other nine are not sent, but each of them uses up the turn that fell due for it.
        for _ in 1..10 {
            assert_eq!(schedule.turn(at(12)), Next::Stale);
        }
        let turn = sent(schedule.turn(at(12)));
        assert_eq!(turn, Turn { number: 10, due: at(10), measured: true });
        assert_eq!(schedule.unsent(at(20)), 9);
        // Stopped half-way, only what was due by then is missing.
        assert_eq!(schedule.unsent(at(15)), 4);
    }

    proptest! {
        #[test]
        fn a_fixed_rate_sends_or_misses_exactly_what_was_due(
            rate in 0.5..5000.0f64,
            warmup in 0..200u64,
            measured in 1..400u64,
            most in prop::option::of(0..300u64),
            late in prop::collection::vec(0..40u64, 1..60),
        ) {
            let span = span(warmup, measured, most.unwrap_or(u64::MAX));
            let mut schedule = Schedule::new(Pace::Open(rate), span);
            let mut now = at(0);
            let mut sent = Vec::new();
            for wait in late.iter().cycle() {
                // As the connections do: no turn is asked for before it is due.
                let due = span.start + due_after(schedule.next, rate);
                now = now.max(due) + Duration::from_millis(*wait / 8);
                let turn = match schedule.turn(now) {
                    Next::Send(turn) => turn,
                    Next::Stale => continue,
                    Next::Over => break,
                };
                prop_assert!(turn.due <= now, "none is sent before it is due");
                if turn.measured {
                    sent.push(turn);
                }
            }
            prop_assert!(sent.windows(2).all(|pair| pair[0].number + 1 == pair[1].number));
            let first = count_before(Duration::from_millis(warmup), rate);
            let end = count_before(Duration::from_millis(warmup + measured), rate);
            let planned = (end - first).min(span.most);
            prop_assert_eq!(sent.len() as u64 + schedule.unsent(now), planned);
        }
    }
}
