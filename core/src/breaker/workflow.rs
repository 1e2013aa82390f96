//! Tests of the breaker, in the `workflow` suite.

mod directed;
mod model;
mod random;
mod threads;

use super::{Breaker, BreakerConfig, Effect, Outcome, State};
use crate::{Duration, Instant};

/// Times are kept in steps of this.
const STEP: u64 = 1 << 14;

const fn at(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

const fn steps(steps: u64) -> Duration {
    Duration::from_nanos(steps * STEP)
}

/// Opens after 3 failures in a row for 100 steps, then 200, up to 1000. Closes when 2 of 3 probes
/// succeed, which have 10 steps.
const BY_RUN: BreakerConfig = BreakerConfig {
    consecutive_failures: Some(3),
    failure_rate: None,
    slow_rate: None,
    window: Duration::from_millis(80),
    minimum_calls: 10,
    open_for: steps(100),
    open_growth: 2000,
    open_at_most: steps(1000),
    jitter: 0,
    probes: 3,
    probe_successes: 600,
    probe_timeout: steps(10),
};

/// Opens when half of 10 calls or more in 80 ms failed.
const BY_RATE: BreakerConfig =
    BreakerConfig { consecutive_failures: None, failure_rate: Some(500), ..BY_RUN };

/// Opens when 30 % of 10 calls or more in 80 ms was slow.
const BY_SLOWNESS: BreakerConfig =
    BreakerConfig { consecutive_failures: None, slow_rate: Some(300), ..BY_RUN };

fn breaker(config: BreakerConfig) -> Breaker {
    Breaker::new(config, 7).unwrap()
}

/// One call that passes and ends at once.
fn call(breaker: &Breaker, outcome: Outcome, now: Instant) -> Effect {
    let permit = breaker.try_call(now).unwrap();
    breaker.report(permit, outcome, now)
}

/// Opens a breaker by failures at `now`; until when.
fn open(breaker: &Breaker, now: Instant) -> Instant {
    while call(breaker, Outcome::Failure, now) != Effect::Opened {}
    let State::Open { until } = breaker.state(now) else { panic!("not open") };
    until
}
