//! Smallest and largest of a window against looking at all of it.

use std::vec::Vec;

use proptest::prelude::*;

use super::Extremes;
use crate::stats::is_value;
use crate::stats::statistics::NO_VALUES;

fn agree<const N: usize>(values: &[f64]) {
    let mut extremes: Extremes<N> = Extremes::new();
    assert_eq!((extremes.min(), extremes.max()), (None, None));
    let mut good: Vec<f64> = Vec::new();
    for (i, &value) in values.iter().enumerate() {
        extremes.insert(value);
        if is_value(value) {
            good.push(value);
        }
        let last = &good[good.len().saturating_sub(N)..];
        assert_eq!(extremes.min(), last.iter().copied().reduce(f64::min));
        assert_eq!(extremes.max(), last.iter().copied().reduce(f64::max));
        assert_eq!(extremes.rejected(), (i + 1 - good.len()) as u64);
    }
}

proptest! {
    #[test]
    fn they_are_those_of_the_last(
        values in prop::collection::vec(
            prop_oneof![5 => (-20..20).prop_map(f64::from), 1 => -1e9..1e9, 1 => Just(f64::NAN)],
            0..120,
        ),
    ) {
        agree::<1>(&values);
        agree::<2>(&values);
        agree::<9>(&values);
    }
}

#[test]
fn what_is_no_value_is_dropped_and_counted() {
    let mut extremes: Extremes<3> = Extremes::new();
    extremes.insert(2.0);
    NO_VALUES.iter().for_each(|&value| extremes.insert(value));
    assert_eq!((extremes.min(), extremes.max(), extremes.rejected()), (Some(2.0), Some(2.0), 6));
}
