//! Moving averages against the mean of each window.

use std::vec::Vec;

use proptest::prelude::*;

use super::{MovingAverage, moving_average};
use crate::stats::is_value;
use crate::stats::statistics::NO_VALUES;

fn values() -> impl Strategy<Value = Vec<f64>> {
    let value = prop_oneof![
        6 => -1000.0..1000.0,
        1 => Just(1e12),
        1 => Just(-3e15),
        1 => prop::sample::select(NO_VALUES.to_vec()),
    ];
    prop::collection::vec(value, 0..80)
}

/// The mean by the definition, and how far rounding may take the other from it.
fn mean(window: &[f64]) -> Option<(f64, f64)> {
    let kept: Vec<f64> = window.iter().copied().filter(|&value| is_value(value)).collect();
    let size = kept.iter().map(|value| value.abs()).sum::<f64>();
    let count = kept.len() as f64;
    (!kept.is_empty()).then(|| (kept.iter().sum::<f64>() / count, 1e-14 * size / count))
}

#[track_caller]
fn assert_mean(found: Option<f64>, window: &[f64]) {
    match (found, mean(window)) {
        (None, None) => {}
        // What 3e15 rounds away, even compensated, twice over.
        (Some(found), Some((mean, tolerance))) => {
            assert!((found - mean).abs() <= tolerance + 1e-12, "{found}, not {mean}");
        }
        (found, mean) => panic!("{found:?}, not {mean:?}"),
    }
}

proptest! {
    #[test]
    fn each_answer_is_the_mean_of_its_window(values in values(), window in 1_usize..20) {
        let answers: Vec<_> = moving_average(&values, window).collect();
        assert_eq!(answers.len(), (values.len() + 1).saturating_sub(window));
        for (answer, window) in answers.into_iter().zip(values.windows(window)) {
            assert_mean(answer, window);
        }
    }

    #[test]
    fn the_ring_says_the_mean_of_the_last(values in values()) {
        let mut average: MovingAverage<7> = MovingAverage::new();
        let mut good = Vec::new();
        for value in values {
            average.insert(value);
            if is_value(value) {
                good.push(value);
            }
            let last = &good[good.len().saturating_sub(7)..];
            assert_mean(average.value(), last);
            assert!(average.iter().eq(last.iter().copied()));
        }
    }
}

#[test]
fn a_spike_that_left_leaves_no_trace() {
    let mut values = std::vec![0.1; 100_000];
    values[500] = 1e12;
    values[700] = -1e16;
    let last = moving_average(&values, 100).last().unwrap().unwrap();
    assert!((last - 0.1).abs() <= f64::EPSILON, "{last}");
}

#[test]
fn windows_of_nothing_and_longer_than_all_have_no_answers() {
    for window in [0, 4, usize::MAX] {
        assert_eq!(moving_average(&[1.0, 2.0, 3.0], window).count(), 0);
    }
    assert_eq!(moving_average(&[], 1).count(), 0);
    assert!(moving_average(&[5.0], 1).eq([Some(5.0)]));
    assert_eq!(MovingAverage::<3>::new().value(), None);
}

#[test]
fn what_is_no_value_is_counted() {
    let mut average: MovingAverage<2> = MovingAverage::new();
    average.insert(1.0);
    NO_VALUES.iter().for_each(|&value| average.insert(value));
    assert_eq!((average.value(), average.rejected()), (Some(1.0), 6));
}
