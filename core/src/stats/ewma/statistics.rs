//! Averages that forget.

use proptest::prelude::*;

use super::{Ewma, PeakEwma};
use crate::stats::statistics::NO_VALUES;
use crate::{Duration, Instant};

fn at(millis: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(millis)
}

proptest! {
    #[test]
    fn it_is_the_weighted_sum_of_all_values(
        values in prop::collection::vec(-1e6..1e6, 1..60),
        alpha in 0.001..=1.0,
    ) {
        let mut ewma = Ewma::new(alpha).unwrap();
        values.iter().for_each(|&value| ewma.insert(value));
        // By the definition: alpha for the newest, each before (1 - alpha) times that, the first the rest.
        let mut weight = 1.0;
        let mut expected = 0.0;
        for &value in values[1..].iter().rev() {
            expected += weight * alpha * value;
            weight *= 1.0 - alpha;
        }
        expected += weight * values[0];
        assert!((ewma.value().unwrap() - expected).abs() < 1e-8);
    }

    #[test]
    fn a_peak_is_believed_at_once_and_forgotten_slowly(
        steps in prop::collection::vec((0.0..10.0, 0_u64..20_000), 1..60),
    ) {
        let mut peak = PeakEwma::new(Duration::from_secs(10));
        let mut now = 0;
        for (value, passed) in steps {
            now += passed;
            let before = peak.value(at(now)).unwrap_or(0.0);
            peak.insert(value, at(now));
            let after = peak.value(at(now)).unwrap();
            assert!(after >= value, "never below the newest");
            assert!(after >= before - 1e-12 || after >= value, "{before} fell to {after}");
            let later = peak.value(at(now + 10_000)).unwrap();
            assert!((later - after / core::f64::consts::E).abs() < 1e-9);
        }
    }
}

#[test]
fn equal_values_stay_exactly() {
    let mut ewma = Ewma::new(0.3).unwrap();
    (0..1000).for_each(|_| ewma.insert(0.1));
    assert_eq!(ewma.value(), Some(0.1));
}

#[test]
fn an_alpha_that_is_none_makes_no_average() {
    for alpha in [0.0, -0.5, 1.000_001, f64::NAN, f64::INFINITY] {
        assert_eq!(Ewma::new(alpha), None);
    }
}

#[test]
fn what_is_no_value_is_dropped_and_counted() {
    let mut ewma = Ewma::new(0.5).unwrap();
    assert_eq!(ewma.value(), None);
    ewma.insert(4.0);
    let mut peak = PeakEwma::new(Duration::from_secs(1));
    assert_eq!(peak.value(at(5)), None);
    peak.insert(4.0, at(0));
    for value in NO_VALUES {
        ewma.insert(value);
        peak.insert(value, at(0));
    }
    peak.insert(-1.0, at(0));
    assert_eq!((ewma.value(), ewma.rejected()), (Some(4.0), 6));
    assert_eq!((peak.value(at(0)), peak.rejected()), (Some(4.0), 7));
}

#[test]
fn time_that_runs_backwards_changes_nothing_and_no_time_constant_forgets_at_once() {
    let mut peak = PeakEwma::new(Duration::from_secs(10));
    peak.insert(8.0, at(10_000));
    peak.insert(2.0, at(5_000));
    assert_eq!(peak.value(at(0)), Some(8.0), "no time has passed in which to forget");

    let mut peak = PeakEwma::new(Duration::ZERO);
    peak.insert(8.0, at(1));
    peak.insert(2.0, at(2));
    assert_eq!(peak.value(at(2)), Some(2.0));
    assert_eq!(peak.value(at(3)), Some(0.0));
}
