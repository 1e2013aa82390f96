//! Each rule by itself.

use std::string::ToString;
use std::vec::Vec;

use super::*;
use crate::breaker::{ConfigError, Refused};

#[test]
fn it_opens_after_so_many_failures_in_a_row() {
    let breaker = breaker(BY_RUN);
    assert_eq!(call(&breaker, Outcome::Failure, at(0)), Effect::Counted);
    assert_eq!(call(&breaker, Outcome::Failure, at(0)), Effect::Counted);
    assert_eq!(breaker.state(at(0)), State::Closed);
    assert_eq!(call(&breaker, Outcome::Failure, at(0)), Effect::Opened);
    let until = Instant::ZERO + steps(100);
    assert_eq!(breaker.state(at(0)), State::Open { until });
    assert_eq!(breaker.try_call(at(0)), Err(Refused { retry_at: until }));
}

#[test]
fn what_is_no_failure_ends_the_run_and_what_says_nothing_does_not() {
    for (between, effect) in [
        (Outcome::Success, Effect::Counted),
        (Outcome::Slow, Effect::Counted),
        (Outcome::Ignored, Effect::Opened),
    ] {
        let breaker = breaker(BY_RUN);
        call(&breaker, Outcome::Failure, at(0));
        call(&breaker, Outcome::Failure, at(0));
        assert_eq!(call(&breaker, between, at(0)), Effect::Counted);
        assert_eq!(call(&breaker, Outcome::Failure, at(0)), effect, "{between:?}");
    }
}

#[test]
fn it_opens_when_the_share_of_failures_is_reached_and_not_before_the_minimum_of_calls() {
    let breaker = breaker(BY_RATE);
    for _ in 0..9 {
        assert_eq!(call(&breaker, Outcome::Failure, at(0)), Effect::Counted);
    }
    // All nine failed; the tenth call makes it a rate, whatever its outcome.
    assert_eq!(call(&breaker, Outcome::Success, at(0)), Effect::Opened);
}

#[test]
fn a_share_just_below_the_rate_does_not_open() {
    let breaker = breaker(BY_RATE);
    for _ in 0..100 {
        assert_eq!(call(&breaker, Outcome::Success, at(0)), Effect::Counted);
    }
    for _ in 0..99 {
        assert_eq!(call(&breaker, Outcome::Failure, at(0)), Effect::Counted);
    }
    assert_eq!(call(&breaker, Outcome::Failure, at(0)), Effect::Opened, "100 of 200");
}

#[test]
fn what_is_older_than_the_window_counts_no_more() {
    let millis = |millis| Instant::ZERO + Duration::from_millis(millis);
    for (later, effect) in [(79, Effect::Opened), (80, Effect::Counted)] {
        let breaker = breaker(BY_RATE);
        for _ in 0..9 {
            call(&breaker, Outcome::Failure, millis(0));
        }
        assert_eq!(call(&breaker, Outcome::Failure, millis(later)), effect, "{later}");
    }
}

#[test]
fn the_window_is_a_ring_that_goes_round() {
    // One failure in three, ten calls a slice, over 20 windows: never half.
    let breaker = breaker(BY_RATE);
    for millis in 0..1600 {
        let outcome = if millis % 3 == 0 { Outcome::Failure } else { Outcome::Success };
        let now = Instant::ZERO + Duration::from_millis(millis);
        assert_eq!(call(&breaker, outcome, now), Effect::Counted);
    }
    // Then all fail. A third of the 80 in the window already did.
    let start = Instant::ZERO + Duration::from_millis(1600);
    let mut failures = 1;
    while call(&breaker, Outcome::Failure, start) == Effect::Counted {
        failures += 1;
    }
    // 70 calls are left of the last seven slices, 23 or 24 of them failed: f + 23.. >= (70 + f) / 2.
    assert!((22..=24).contains(&failures), "{failures}");
}

#[test]
fn a_share_is_kept_also_above_what_a_slice_counts() {
    for (rate, opens) in [(290, true), (310, false)] {
        let breaker =
            breaker(BreakerConfig { failure_rate: Some(rate), minimum_calls: 1000, ..BY_RATE });
        // A permit counts while the breaker is closed; 30 % of a hundred thousand, all at once.
        let effects: Vec<_> = (0..100_000)
            .map(|n| (n, breaker.try_call(at(0))))
            .map_while(|(n, permit)| {
                let outcome = if n % 10 < 3 { Outcome::Failure } else { Outcome::Success };
                Some(breaker.report(permit.ok()?, outcome, at(0)))
            })
            .collect();
        assert_eq!(effects.contains(&Effect::Opened), opens, "{rate}");
    }
}

#[test]
fn it_opens_by_slow_calls() {
    let breaker = breaker(BY_SLOWNESS);
    for _ in 0..7 {
        call(&breaker, Outcome::Success, at(0));
    }
    call(&breaker, Outcome::Slow, at(0));
    call(&breaker, Outcome::Slow, at(0));
    assert_eq!(call(&breaker, Outcome::Slow, at(0)), Effect::Opened);
}

#[test]
fn a_slow_probe_failed_where_slow_calls_open_and_succeeded_elsewhere() {
    for (config, effect) in [(BY_SLOWNESS, Effect::Opened), (BY_RUN, Effect::Closed)] {
        let breaker = breaker(BreakerConfig { consecutive_failures: Some(3), probes: 1, ..config });
        let now = open(&breaker, at(0));
        assert_eq!(call(&breaker, Outcome::Slow, now), effect);
    }
}

#[test]
fn the_first_call_after_the_time_is_a_probe() {
    let breaker = breaker(BY_RUN);
    let until = open(&breaker, at(0));
    let before = at(until.as_nanos() - 1);
    assert_eq!(breaker.state(before), State::Open { until });
    assert!(breaker.try_call(before).is_err());
    let nothing_yet = State::HalfOpen { in_flight: 0, succeeded: 0, failed: 0 };
    assert_eq!(breaker.state(until), nothing_yet);
    assert!(breaker.try_call(until).unwrap().is_probe());
    assert_eq!(breaker.state(until), State::HalfOpen { in_flight: 1, succeeded: 0, failed: 0 });
}

#[test]
fn no_more_probes_pass_than_configured() {
    let breaker = breaker(BY_RUN);
    let now = open(&breaker, at(0));
    let probes: Vec<_> = (0..3).map(|_| breaker.try_call(now).unwrap()).collect();
    let later = now + steps(5);
    assert_eq!(breaker.try_call(later), Err(Refused { retry_at: now + steps(10) }));
    for (probe, effect) in probes.into_iter().zip([Effect::Counted, Effect::Closed, Effect::Late]) {
        assert_eq!(breaker.report(probe, Outcome::Success, later), effect);
    }
    assert!(!breaker.try_call(later).unwrap().is_probe());
}

#[test]
fn it_opens_again_when_too_many_probes_failed() {
    let breaker = breaker(BY_RUN);
    let now = open(&breaker, at(0));
    assert_eq!(call(&breaker, Outcome::Failure, now), Effect::Counted, "two can still succeed");
    assert_eq!(call(&breaker, Outcome::Success, now), Effect::Counted);
    assert_eq!(call(&breaker, Outcome::Failure, now), Effect::Opened);
    assert_eq!(breaker.state(now), State::Open { until: now + steps(200) });
}

#[test]
fn each_opening_is_longer_up_to_the_limit_and_closing_forgets() {
    let breaker = breaker(BY_RUN);
    let mut now = open(&breaker, at(0));
    for expected in [200, 400, 800, 1000, 1000] {
        let start = now;
        now = open(&breaker, now);
        assert_eq!(now.since(start), steps(expected));
    }
    call(&breaker, Outcome::Success, now);
    assert_eq!(call(&breaker, Outcome::Success, now), Effect::Closed);
    assert_eq!(open(&breaker, now).since(now), steps(100));
}

#[test]
fn more_openings_than_are_counted_last_as_long_as_the_limit() {
    let slowly = BreakerConfig { open_growth: 1001, open_at_most: Duration::MAX, ..BY_RUN };
    let breaker = breaker(slowly);
    let (mut now, mut last) = (at(0), Duration::ZERO);
    for _ in 0..80 {
        let start = now;
        now = open(&breaker, now);
        assert!(now.since(start) >= last);
        last = now.since(start);
    }
    // 100 × 1.001^63 = 106.5 steps; from there on the same.
    assert_eq!(last, steps(107));
}

#[test]
fn an_opening_is_shortened_at_random_and_the_seed_repeats_it() {
    let jittery = BreakerConfig { jitter: 500, open_growth: 1000, ..BY_RUN };
    let lengths = |seed| {
        let breaker = Breaker::new(jittery, seed).unwrap();
        let mut now = at(0);
        let mut next = || {
            let start = now;
            now = open(&breaker, now);
            now.since(start)
        };
        (0..200).map(|_| next()).collect::<Vec<_>>()
    };
    let (first, same, other) = (lengths(1), lengths(1), lengths(2));
    assert_eq!(first, same);
    assert_ne!(first, other);
    assert!(first.iter().all(|&length| (steps(50)..=steps(100)).contains(&length)));
    let mean = first.iter().map(|length| length.as_nanos()).sum::<u64>() / 200 / STEP;
    assert!((70..=80).contains(&mean), "about three quarters: {mean}");
}

#[test]
fn a_lost_probe_counts_as_failed_when_its_time_is_over() {
    // One of three may fail: the half-open goes on without it.
    let breaker = breaker(BY_RUN);
    let now = open(&breaker, at(0));
    let lost = breaker.try_call(now).unwrap();
    call(&breaker, Outcome::Success, now);
    let expired = now + steps(10);
    assert_eq!(breaker.state(expired), State::HalfOpen { in_flight: 0, succeeded: 1, failed: 1 });
    let last = breaker.try_call(expired).unwrap();
    assert!(breaker.try_call(expired).is_err());
    // Its answer comes after all, and counts for nothing.
    assert_eq!(breaker.report(lost, Outcome::Success, expired), Effect::Late);
    assert_eq!(breaker.report(last, Outcome::Success, expired), Effect::Closed);
}

#[test]
fn a_report_at_the_moment_its_time_is_over_is_late() {
    let breaker = breaker(BreakerConfig { probes: 1, ..BY_RUN });
    for (more, effect) in [(0, Effect::Late), (1, Effect::Closed)] {
        let now = match breaker.state(at(0)) {
            State::Closed => open(&breaker, at(0)),
            State::Open { until } => until,
            State::HalfOpen { .. } => panic!("no probe is in flight"),
        };
        let probe = breaker.try_call(now).unwrap();
        let reported = at((now + steps(10)).as_nanos() - more);
        assert_eq!(breaker.report(probe, Outcome::Success, reported), effect);
    }
}

#[test]
fn lost_probes_open_again_from_the_moment_they_expired() {
    let breaker = breaker(BY_RUN);
    let now = open(&breaker, at(0));
    for _ in 0..2 {
        drop(breaker.try_call(now).unwrap());
    }
    let expired = now + steps(10);
    let until = expired + steps(200);
    assert_eq!(breaker.state(expired), State::Open { until });
    // Nobody asked for a long while: there is nothing more to wait for.
    let fresh = State::HalfOpen { in_flight: 0, succeeded: 0, failed: 0 };
    assert_eq!(breaker.state(until), fresh);
    assert!(breaker.try_call(until).unwrap().is_probe());
}

#[test]
fn an_ignored_probe_gives_its_place_back_but_not_for_ever() {
    let breaker = breaker(BreakerConfig { probes: 1, ..BY_RUN });
    let now = open(&breaker, at(0));
    for _ in 0..255 {
        assert_eq!(call(&breaker, Outcome::Ignored, now), Effect::Counted);
    }
    assert_eq!(call(&breaker, Outcome::Ignored, now), Effect::Opened);
}

#[test]
fn a_report_from_before_a_change_of_state_counts_for_nothing() {
    let breaker = breaker(BY_RUN);
    let early: Vec<_> = (0..9).map(|_| breaker.try_call(at(0)).unwrap()).collect();
    let mut early = early.into_iter();
    let mut late = |outcome, now| breaker.report(early.next().unwrap(), outcome, now);
    let now = open(&breaker, at(0));
    assert_eq!(late(Outcome::Success, at(0)), Effect::Late, "open");
    let probe = breaker.try_call(now).unwrap();
    for outcome in [Outcome::Success, Outcome::Success, Outcome::Failure, Outcome::Failure] {
        assert_eq!(late(outcome, now), Effect::Late, "half open");
    }
    assert_eq!(breaker.report(probe, Outcome::Success, now), Effect::Counted);
    assert_eq!(call(&breaker, Outcome::Success, now), Effect::Closed);
    for _ in 0..4 {
        assert_eq!(late(Outcome::Failure, now), Effect::Late, "closed again");
    }
    assert_eq!(breaker.state(now), State::Closed);
}

#[test]
fn closing_empties_the_window() {
    let breaker = breaker(BY_RATE);
    let now = open(&breaker, at(0));
    call(&breaker, Outcome::Success, now);
    assert_eq!(call(&breaker, Outcome::Success, now), Effect::Closed);
    for _ in 0..9 {
        assert_eq!(call(&breaker, Outcome::Failure, now), Effect::Counted);
    }
    assert_eq!(call(&breaker, Outcome::Failure, now), Effect::Opened);
}

#[test]
fn a_window_is_empty_after_as_many_changes_as_its_words_tell_apart() {
    // Its words hold 8 bits of the epoch, which changes three times each round; a round takes two
    // steps, so each slice that was left behind is still within the window 256 rounds later.
    let quick = BreakerConfig { open_for: Duration::from_nanos(1), open_growth: 1000, ..BY_RATE };
    let breaker =
        breaker(BreakerConfig { probes: 1, failure_rate: Some(1000), minimum_calls: 2, ..quick });
    let mut now = at(9_990_000);
    for round in 0..2_000 {
        assert_eq!(call(&breaker, Outcome::Failure, now), Effect::Counted, "{round}");
        now = now + steps(1);
        assert_eq!(call(&breaker, Outcome::Failure, now), Effect::Opened, "{round}");
        let State::Open { until } = breaker.state(now) else { panic!("not open") };
        now = until;
        assert_eq!(call(&breaker, Outcome::Success, now), Effect::Closed, "{round}");
    }
}

#[test]
fn a_time_that_steps_back_opens_nothing_early_and_loses_nothing() {
    let breaker = breaker(BY_RUN);
    let until = open(&breaker, at(1 << 40));
    for earlier in [0, 1, 1 << 39, until.as_nanos() - 1] {
        assert_eq!(breaker.try_call(at(earlier)), Err(Refused { retry_at: until }));
    }
    let probe = breaker.try_call(until).unwrap();
    // Half open stays half open, and a probe that is admitted earlier expires no sooner.
    assert!(breaker.try_call(at(0)).unwrap().is_probe());
    assert_eq!(breaker.report(probe, Outcome::Success, at(0)), Effect::Counted);
    assert_eq!(call(&breaker, Outcome::Success, at(0)), Effect::Closed);
}

#[test]
fn a_window_goes_on_after_the_clock_was_set_far_back() {
    let breaker = breaker(BY_RATE);
    let hour = Instant::ZERO + Duration::from_secs(3600);
    for _ in 0..5 {
        call(&breaker, Outcome::Success, hour);
    }
    for _ in 0..9 {
        assert_eq!(call(&breaker, Outcome::Failure, at(0)), Effect::Counted);
    }
    assert_eq!(call(&breaker, Outcome::Failure, at(0)), Effect::Opened);
}

#[test]
fn it_works_at_the_end_of_time() {
    let forever = BreakerConfig { open_for: Duration::MAX, open_at_most: Duration::MAX, ..BY_RUN };
    let breaker = breaker(BreakerConfig { probe_timeout: Duration::MAX, ..forever });
    while call(&breaker, Outcome::Failure, at(0)) != Effect::Opened {}
    let State::Open { until } = breaker.state(at(0)) else { panic!("not open") };
    assert!(until < Instant::MAX, "an opening ends while time lasts");
    for _ in 0..9 {
        // Nothing takes time any more, so whoever asks is a probe.
        assert!(breaker.try_call(Instant::MAX).unwrap().is_probe());
    }
}

#[test]
fn a_permit_of_another_breaker_does_no_harm() {
    let (breaker, other) = (breaker(BY_RUN), breaker(BY_RUN));
    let now = open(&breaker, at(0));
    open(&other, at(0));
    let foreign: Vec<_> = (0..3).map(|_| other.try_call(now).unwrap()).collect();
    let _probe = breaker.try_call(now).unwrap();
    let effects: Vec<_> =
        foreign.into_iter().map(|probe| breaker.report(probe, Outcome::Failure, now)).collect();
    assert_eq!(effects, [Effect::Counted, Effect::Late, Effect::Late], "one place was taken");
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused() {
    let zero = BreakerConfig {
        consecutive_failures: None,
        failure_rate: None,
        slow_rate: None,
        window: Duration::ZERO,
        minimum_calls: 0,
        open_for: Duration::ZERO,
        open_growth: 0,
        open_at_most: Duration::ZERO,
        jitter: 0,
        probes: 0,
        probe_successes: 0,
        probe_timeout: Duration::ZERO,
    };
    let base = BreakerConfig::DEFAULT;
    for (config, error) in [
        (zero, ConfigError::NoRule),
        (BreakerConfig { consecutive_failures: Some(0), ..base }, ConfigError::NoRun),
        (BreakerConfig { failure_rate: Some(0), ..base }, ConfigError::Rate),
        (BreakerConfig { failure_rate: Some(1001), ..base }, ConfigError::Rate),
        (BreakerConfig { slow_rate: Some(0), ..base }, ConfigError::Rate),
        (BreakerConfig { probe_successes: 0, ..base }, ConfigError::Rate),
        (BreakerConfig { probe_successes: u16::MAX, ..base }, ConfigError::Rate),
        (BreakerConfig { window: Duration::from_nanos(999_999), ..base }, ConfigError::Window),
        (BreakerConfig { minimum_calls: 0, ..base }, ConfigError::MinimumCalls),
        (BreakerConfig { minimum_calls: 1001, ..base }, ConfigError::MinimumCalls),
        (BreakerConfig { open_for: Duration::ZERO, ..base }, ConfigError::OpenFor),
        (BreakerConfig { open_growth: 999, ..base }, ConfigError::OpenGrowth),
        (BreakerConfig { open_at_most: Duration::from_secs(1), ..base }, ConfigError::OpenAtMost),
        (BreakerConfig { jitter: 1001, ..base }, ConfigError::Jitter),
        (BreakerConfig { probes: 0, ..base }, ConfigError::NoProbes),
        (BreakerConfig { probe_timeout: Duration::ZERO, ..base }, ConfigError::ProbeTimeout),
    ] {
        assert_eq!(Breaker::new(config, 0).err(), Some(error));
        assert!(!error.to_string().is_empty());
    }
    assert!(Breaker::new(base, 0).is_ok());
    // Without a rate, nobody asks about the window.
    let no_window = BreakerConfig { window: Duration::ZERO, minimum_calls: 0, ..BY_RUN };
    assert!(Breaker::new(no_window, 0).is_ok());
}

#[test]
fn a_breaker_can_be_a_static_and_takes_256_bytes() {
    static BREAKER: Result<Breaker, ConfigError> = Breaker::new(BreakerConfig::DEFAULT, 1);
    assert_eq!(BREAKER.as_ref().unwrap().state(at(0)), State::Closed);
    assert_eq!(size_of::<Breaker>(), 256);
}
