//! Rates.

use proptest::prelude::*;

use super::Rate;
use crate::{Duration, Instant};

fn at(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

const SECOND: u64 = 1_000_000_000;

proptest! {
    /// However long it has run: from a tenth of the time constant to ten of them.
    #[test]
    fn a_steady_rate_is_told_from_the_first(
        per_second in 10_u64..100_000,
        seconds in 1_u64..=100,
        start in 0_u64..1_000_000,
    ) {
        let mut rate = Rate::new(Duration::from_secs(10), at(start));
        // In steps of a thousandth of the time constant.
        let events = per_second / 100;
        for step in 1..=seconds * 100 {
            rate.record(events, at(start + step * SECOND / 100));
        }
        let expected = (events * 100) as f64;
        let found = rate.per_second(at(start + seconds * SECOND));
        assert!((found - expected).abs() <= 0.001 * expected, "{found}, not {expected}");
    }

    /// By the definition: each event weighed by its age.
    #[test]
    fn an_event_counts_less_the_older_it_is(
        events in prop::collection::vec((0_u64..10, 0_u64..5 * SECOND), 0..50),
    ) {
        let mut rate = Rate::new(Duration::from_secs(2), at(0));
        let mut now = 0;
        let mut times = std::vec::Vec::new();
        for (count, passed) in events {
            now += passed;
            rate.record(count, at(now));
            times.push((count, now));
        }
        let age = |then: u64| (now - then) as f64 / (2 * SECOND) as f64;
        let weight: f64 = times.iter().map(|&(count, then)| count as f64 * (-age(then)).exp()).sum();
        let began = (1.0 - (-age(0)).exp()).max(1.0 - (-0.1_f64).exp());
        assert!((rate.per_second(at(now)) - weight / began / 2.0).abs() < 1e-9);
    }
}

#[test]
fn nothing_is_a_rate_of_zero_and_silence_becomes_one() {
    let mut rate = Rate::new(Duration::from_secs(1), at(0));
    assert_eq!(rate.per_second(at(0)), 0.0);
    rate.record(1_000_000, at(SECOND));
    assert!(rate.per_second(at(60 * SECOND)) < 1e-6);
    assert!(rate.per_second(Instant::MAX) == 0.0);
}

#[test]
fn the_first_event_is_no_infinite_rate() {
    let mut rate = Rate::new(Duration::from_secs(10), at(0));
    rate.record(1, at(0));
    let tenth = rate.per_second(at(SECOND));
    assert!((rate.per_second(at(0)) - tenth / (-0.1_f64).exp()).abs() < 1e-12);
    assert!((0.9..1.1).contains(&tenth), "one in a tenth of ten seconds");
}

#[test]
fn time_that_runs_backwards_and_no_time_constant_do_no_harm() {
    let mut rate = Rate::new(Duration::from_secs(1), at(5 * SECOND));
    rate.record(10, at(6 * SECOND));
    let before = rate.per_second(at(6 * SECOND));
    rate.record(0, at(0));
    assert_eq!(rate.per_second(at(0)), before);
    let mut none = Rate::new(Duration::ZERO, at(0));
    none.record(u64::MAX, at(1));
    assert!(none.per_second(at(1)).is_finite());
    assert_eq!(none.per_second(at(SECOND)), 0.0);
    assert_eq!(size_of::<Rate>(), 32, "as documented");
}
