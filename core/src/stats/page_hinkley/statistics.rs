//! Shifts of the mean.

use proptest::prelude::*;

use super::{Direction, PageHinkley};
use crate::stats::statistics::{NO_VALUES, noise};

proptest! {
    #[test]
    fn a_shift_is_noticed_soon_and_named(
        seed: u64,
        level in -1000.0_f64..1000.0,
        step in 2.0_f64..20.0,
        up: bool,
        before in 200_u64..2000,
    ) {
        let mut noise = noise(seed);
        // Uniform noise of deviation 0.58: no false alarm in the length of this test.
        let (tolerance, threshold) = (0.5, 12.0);
        let mut detector = PageHinkley::new(tolerance, threshold).unwrap();
        for _ in 0..before {
            assert_eq!(detector.observe(level + noise()), None, "nothing has shifted");
        }
        let shifted = if up { level + step } else { level - step };
        let shift = (0..1000).find_map(|_| detector.observe(shifted + noise())).unwrap();
        let expected = if up { Direction::Up } else { Direction::Down };
        assert_eq!(shift.direction, expected);
        // Noise may have begun to look like it a little before; the mean follows a little.
        assert!(shift.since.abs_diff(before) <= 20, "{} instead of {before}", shift.since);
        let delay = threshold / (step - tolerance - 0.1);
        assert!((shift.noticed - before) as f64 <= 3.0 * delay + 20.0);
        assert!((shift.before - level).abs() < 0.5, "{} instead of {level}", shift.before);
        // A few values, of which some may be from before.
        assert_eq!(shift.after > shift.before, up);
        assert!((shift.after - level).abs() < step + 1.0);
        // And no more news while nothing changes.
        assert!((0..1000).all(|_| detector.observe(shifted + noise()).is_none()));
    }
}

#[test]
fn a_constant_stream_never_shifts() {
    let mut detector = PageHinkley::new(0.0, 1e-9).unwrap();
    assert!((0..100_000).all(|_| detector.observe(0.1).is_none()));
    assert_eq!(detector.mean(), Some(0.1));
}

#[test]
fn every_step_of_a_staircase_is_told() {
    let mut detector = PageHinkley::new(0.5, 5.0).unwrap();
    let mut told = std::vec::Vec::new();
    for i in 0..500_u64 {
        if let Some(shift) = detector.observe([0.0, 10.0, 3.0, 30.0, 0.0][i as usize / 100]) {
            told.push((shift.direction, shift.since));
        }
    }
    use Direction::{Down, Up};
    assert_eq!(told, [(Up, 100), (Down, 200), (Up, 300), (Down, 400)]);
}

#[test]
fn a_drift_within_the_tolerance_is_none() {
    let mut noise = noise(9);
    let mut detector = PageHinkley::new(1.0, 20.0).unwrap();
    assert!((0..100_000).all(|i| detector.observe(f64::from(i) * 1e-6 + noise()).is_none()));
}

#[test]
fn what_is_no_value_is_dropped_has_no_number_and_poisons_nothing() {
    let mut detector = PageHinkley::new(0.5, 5.0).unwrap();
    for i in 0..200 {
        assert_eq!(detector.observe(NO_VALUES[i % NO_VALUES.len()]), None);
        if i < 100 {
            assert_eq!(detector.observe(1.0), None);
        }
    }
    assert_eq!((detector.count(), detector.rejected()), (100, 200));
    let shift = (0..).find_map(|_| detector.observe(4.0)).unwrap();
    assert_eq!((shift.since, shift.direction, shift.before), (100, Direction::Up, 1.0));
    // The largest values are told as shifts, and leave nothing infinite behind.
    for i in 0..100 {
        let _ = detector.observe(if i % 2 == 0 {
            crate::stats::LARGEST
        } else {
            -crate::stats::LARGEST
        });
    }
    assert!(detector.mean().is_none_or(f64::is_finite));
    assert!((0..100).all(|_| detector.observe(1.0).is_none_or(|shift| shift.after.is_finite())));
    assert!((detector.mean().unwrap() - 1.0).abs() < 1e-9);
}

#[test]
fn settings_that_make_no_sense_make_no_detector() {
    for (tolerance, threshold) in [
        (-0.1, 1.0),
        (f64::NAN, 1.0),
        (f64::INFINITY, 1.0),
        (0.0, 0.0),
        (0.0, f64::NAN),
        (0.0, -1.0),
    ] {
        assert_eq!(PageHinkley::new(tolerance, threshold), None);
    }
    assert!(PageHinkley::new(0.0, f64::MIN_POSITIVE).is_some());
}
