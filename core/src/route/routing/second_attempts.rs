//! Retries, hedges and shadows.

use super::*;
use crate::quantile::{Sketch, Window};

const FAILED: Failed = Failed { attempts: 1, retryable: true, deadline: None, expected: None };

#[test]
fn a_retry_needs_sense_attempts_time_and_budget() {
    let retries = Retries::new(1000, 10, 0, 3).unwrap();
    (0..5).for_each(|_| retries.record_request());
    let deadline = Some(at(100));
    let expected = Some(Duration::from_millis(20));
    for (failed, decision) in [
        (Failed { retryable: false, ..FAILED }, RetryDecision::NotRetryable),
        (Failed { attempts: 3, ..FAILED }, RetryDecision::TooOften),
        (Failed { attempts: 2, ..FAILED }, RetryDecision::Retry),
        (Failed { deadline, expected, ..FAILED }, RetryDecision::TooLate),
        (Failed { deadline, ..FAILED }, RetryDecision::Retry),
    ] {
        assert_eq!(retries.decide(failed, at(80)), decision, "{failed:?}");
    }
    assert_eq!(retries.decide(Failed { deadline, ..FAILED }, at(100)), RetryDecision::TooLate);
    // Of five saved two are spent; a hedge costs as much.
    assert!(retries.try_hedge(at(80)));
    let left = [(); 3].map(|()| retries.decide(FAILED, at(80)));
    assert_eq!(left, [RetryDecision::Retry, RetryDecision::Retry, RetryDecision::NoBudget]);
    assert!(!retries.try_hedge(at(80)));
}

proptest! {
    #[test]
    fn retries_are_at_most_their_share_of_the_requests(
        per_mille in 0..500_u32, outcomes in proptest::collection::vec(any::<bool>(), 1..500),
    ) {
        let retries = Retries::new(per_mille, 100, 0, u32::MAX).unwrap();
        let mut retried = 0_u64;
        for (requests, fails) in (1..).zip(outcomes) {
            retries.record_request();
            // However often it is asked for.
            while fails && retries.decide(FAILED, at(0)) == RetryDecision::Retry {
                retried += 1;
            }
            prop_assert!(retried * 1000 <= requests * u64::from(per_mille));
        }
    }
}

#[test]
fn a_hedge_waits_for_the_quantile_within_its_limits() {
    let mut seconds: Sketch = Sketch::new();
    let after = |hedging: Hedging, seconds: &Sketch| {
        hedging.after(seconds).map(|after| after.as_nanos() as f64 * 1e-9)
    };
    assert_eq!(after(Hedging::DEFAULT, &seconds), None);
    (1..100).for_each(|millis| seconds.insert(f64::from(millis) * 1e-3));
    assert_eq!(after(Hedging::DEFAULT, &seconds), None, "99 are too few");
    seconds.insert(0.1);
    for quantile in [0.5, 0.9, 0.99] {
        let got = after(Hedging { quantile, ..Hedging::DEFAULT }, &seconds).unwrap();
        assert!((got / (quantile * 0.1) - 1.0).abs() < 0.02, "{got}");
    }
    let (at_least, at_most) = (Duration::from_millis(200), Duration::from_millis(10));
    assert_eq!(Hedging { at_least, ..Hedging::DEFAULT }.after(&seconds), Some(at_least));
    assert_eq!(Hedging { at_most, ..Hedging::DEFAULT }.after(&seconds), Some(at_most));

    let mut recent = Window::<[u16; 128]>::new([0; 128]);
    (0..200).for_each(|_| recent.insert(0.05));
    let after = Hedging::DEFAULT.after(&recent).unwrap().as_nanos() as f64;
    assert!((after / 50e6 - 1.0).abs() < 0.0078);
}

/// No limit but the share.
const OPEN: ShadowConfig = ShadowConfig {
    most_in_flight: u32::MAX,
    per_second: 250_000_000,
    burst: u32::MAX,
    ..ShadowConfig::DEFAULT
};

proptest! {
    #[test]
    fn a_shadow_gets_exactly_its_share_of_any_10000_requests(
        (share, phase) in (0..=ALL_TRAFFIC, any::<u16>()), skipped in 0..3_000,
    ) {
        let shadow = Shadow::new(ShadowConfig { share, phase, ..OPEN }).unwrap();
        let is_copied = |_| shadow.try_copy(0, at(0)).is_ok();
        (0..skipped).for_each(|number| _ = is_copied(number));
        let copies = (0..i32::from(ALL_TRAFFIC)).filter(|&number| is_copied(number)).count();
        prop_assert_eq!(copies, usize::from(share));
    }
}

#[test]
fn shadows_that_begin_apart_copy_other_requests() {
    let half = ALL_TRAFFIC / 2;
    let shadows =
        [0, half].map(|phase| Shadow::new(ShadowConfig { share: half, phase, ..OPEN }).unwrap());
    let both = (0..10_000)
        .filter(|_| shadows.iter().filter(|one| one.try_copy(0, at(0)).is_ok()).count() == 2)
        .count();
    assert!(both < 5_000, "half of the requests would be those of one, twice: {both}");
}

#[test]
fn a_copy_is_refused_for_each_reason() {
    let config = ShadowConfig { most_in_flight: 3, per_second: 1, burst: 2, ..OPEN };
    let shadow = Shadow::new(config).unwrap();
    assert_eq!(shadow.try_copy(700, at(0)), Err(ShadowSkip::Shed));
    let copies = [(); 2].map(|()| shadow.try_copy(699, at(0)).unwrap());
    assert_eq!(shadow.try_copy(0, at(0)), Err(ShadowSkip::Rate));
    assert_eq!(shadow.in_flight(), 2, "a refusal leaves nothing behind");
    let third = shadow.try_copy(0, at(1_001)).unwrap();
    assert_eq!(shadow.try_copy(0, at(9_000)), Err(ShadowSkip::InFlight));
    copies.into_iter().chain([third]).for_each(|copy| shadow.finish(copy));
    assert_eq!(shadow.in_flight(), 0);
    let none = Shadow::new(ShadowConfig { share: 0, ..OPEN }).unwrap();
    assert_eq!(none.try_copy(0, at(0)), Err(ShadowSkip::NotDrawn));
}

#[test]
fn a_shadow_of_more_than_everything_is_refused() {
    let config = ShadowConfig { share: 10_001, ..OPEN };
    assert_eq!(Shadow::new(config).err(), Some(ShadowError::Share(10_001)));
    let config = ShadowConfig { per_second: u32::MAX, ..OPEN };
    assert!(matches!(Shadow::new(config).err(), Some(ShadowError::Rate(_))));
}
