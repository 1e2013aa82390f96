//! Covariance and correlation against exact ones.

use std::vec::Vec;

use proptest::prelude::*;

use super::{BLOCK, LengthMismatch, PairMoments};
use crate::stats::LARGEST;
use crate::stats::statistics::{NO_VALUES, exact_covariance, floats, levels, noise, whole_numbers};

#[track_caller]
fn assert_pairs(pairs: &PairMoments, x: &[i32], y: &[i32]) {
    assert_eq!(pairs.count(), x.len() as u64);
    let (xx, yy) = (exact_covariance(x, x), exact_covariance(y, y));
    let xy = exact_covariance(x, y);
    let Some(found) = pairs.covariance() else {
        assert!(x.is_empty());
        return;
    };
    // What rounding the mean beside the largest value moves it by.
    let rounding = |values: &[i32]| {
        values.iter().map(|&value| f64::from(value).abs()).fold(0.0, f64::max) * f64::EPSILON
    };
    let (dx, dy) = (xx.sqrt(), yy.sqrt());
    let (rx, ry) = (rounding(x), rounding(y));
    let close = |a: f64, b: f64, da: f64, ra: f64, db: f64, rb: f64| {
        (a - b).abs() <= 1e-12 * da * db + 8.0 * (ra * db + rb * da + ra * rb)
    };
    assert!(close(found, xy, dx, rx, dy, ry), "{found}, not {xy}");
    let (found_xx, found_yy) = pairs.variances().unwrap();
    assert!(close(found_xx, xx, dx, rx, dx, rx), "{found_xx}, not {xx}");
    assert!(close(found_yy, yy, dy, ry, dy, ry), "{found_yy}, not {yy}");
    if let Some(correlation) = pairs.correlation() {
        assert!((-1.0..=1.0).contains(&correlation));
        if dx > 0.1 && dy > 0.1 {
            assert!((correlation - xy / dx / dy).abs() < 1e-5);
        }
    }
}

proptest! {
    #[test]
    fn one_by_one_in_slices_and_merged_are_the_same(
        pairs in prop::collection::vec((0..1000_i32, -1_000_000..1_000_000_i32), 0..300),
        offset in prop_oneof![Just(0), Just(1_000_000_000)],
        cut in 0_usize..300,
    ) {
        let x: Vec<i32> = pairs.iter().map(|pair| pair.0 + offset).collect();
        let y: Vec<i32> = pairs.iter().map(|pair| pair.1).collect();
        let (fx, fy) = (floats(&x), floats(&y));
        let mut single = PairMoments::new();
        fx.iter().zip(&fy).for_each(|(&x, &y)| single.insert(x, y));
        assert_pairs(&single, &x, &y);
        assert_pairs(&PairMoments::from_slices(&fx, &fy).unwrap(), &x, &y);
        let cut = cut.min(fx.len());
        let mut merged = PairMoments::from_slices(&fx[..cut], &fy[..cut]).unwrap();
        merged.merge(&PairMoments::from_slices(&fx[cut..], &fy[cut..]).unwrap());
        assert_pairs(&merged, &x, &y);
    }

    #[test]
    fn a_quantity_varies_with_itself_as_its_variance_says(x in whole_numbers(2..300)) {
        let fx = floats(&x);
        let pairs = PairMoments::from_slices(&fx, &fx).unwrap();
        let (xx, yy) = pairs.variances().unwrap();
        assert_eq!((Some(xx), xx), (pairs.covariance(), yy));
        let correlation = pairs.correlation();
        assert!(correlation.is_none_or(|correlation| (correlation - 1.0).abs() < 1e-12));
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits(seed: u64, len in 0_usize..3 * BLOCK) {
        let mut noise = noise(seed);
        let x: Vec<f64> = (0..len).map(|_| 1e5 + noise()).collect();
        let mut y: Vec<f64> = x.iter().map(|x| 2.0 * x + noise()).collect();
        if seed % 3 == 0 && len > 0 {
            y[seed as usize % len] = f64::NAN;
        }
        let all: Vec<_> = levels()
            .into_iter()
            .map(|level| {
                let mut pairs = PairMoments::new();
                pairs.insert_all_at(level, &x, &y).unwrap();
                pairs
            })
            .collect();
        assert!(all.iter().all(|pairs| *pairs == all[0]));
    }
}

#[test]
fn slices_of_different_length_are_no_pairs() {
    let refused = Err(LengthMismatch { x: 2, y: 3 });
    assert_eq!(PairMoments::from_slices(&[1.0, 2.0], &[1.0, 2.0, 3.0]), refused);
    let mut pairs = PairMoments::from_slices(&[1.0], &[2.0]).unwrap();
    let before = pairs;
    assert!(pairs.insert_all(&[], &[1.0]).is_err());
    assert_eq!(pairs, before, "nothing is taken in");
}

#[test]
fn noise_on_large_numbers_correlates_as_noise() {
    let mut noise = noise(4);
    let common: Vec<f64> = (0..200_000).map(|_| noise()).collect();
    let x: Vec<f64> = common.iter().map(|common| 1e9 + common).collect();
    let y: Vec<f64> = common.iter().map(|common| -1e9 - common + noise()).collect();
    let centred =
        |values: &[f64], by: f64| values.iter().map(|value| value + by).collect::<Vec<_>>();
    let small = PairMoments::from_slices(&centred(&x, -1e9), &centred(&y, 1e9)).unwrap();
    let large = PairMoments::from_slices(&x, &y).unwrap();
    assert!((large.covariance().unwrap() / small.covariance().unwrap() - 1.0).abs() < 1e-6);
    let (a, b) = (large.correlation().unwrap(), small.correlation().unwrap());
    assert!((a - b).abs() < 1e-9 && (a + 0.5_f64.sqrt()).abs() < 0.01);
}

#[test]
fn a_pair_with_a_member_that_is_no_value_is_dropped_whole() {
    let mut x: Vec<f64> = (0..BLOCK + 50).map(|i| i as f64).collect();
    let mut y: Vec<f64> = x.iter().map(|x| 3.0 * x).collect();
    let clean = PairMoments::from_slices(&x, &y).unwrap();
    for (i, bad) in NO_VALUES.into_iter().enumerate() {
        x.insert(i * 300, bad);
        y.insert(i * 300, 1.0);
        x.insert(i * 300 + 7, 1.0);
        y.insert(i * 300 + 7, bad);
    }
    let found = PairMoments::from_slices(&x, &y).unwrap();
    assert_eq!((found.count(), found.rejected()), (clean.count(), 12));
    assert!((found.covariance().unwrap() / clean.covariance().unwrap() - 1.0).abs() < 1e-12);
    assert_eq!(found.correlation(), Some(1.0));
    let none = PairMoments::from_slices(&NO_VALUES, &NO_VALUES).unwrap();
    assert_eq!((none.covariance(), none.correlation(), none.rejected()), (None, None, 6));
}

#[test]
fn what_does_not_vary_has_no_correlation() {
    for constant in [0.0, 0.1, 1e9 + 0.7] {
        let x = std::vec![constant; 2 * BLOCK + 3];
        let y: Vec<f64> = (0..x.len()).map(|i| i as f64).collect();
        let pairs = PairMoments::from_slices(&x, &y).unwrap();
        assert_eq!((pairs.correlation(), pairs.slope()), (None, None), "{constant}");
    }
    assert_eq!(PairMoments::new().correlation(), None);
    let one = PairMoments::from_slices(&[1.0], &[2.0]).unwrap();
    assert_eq!((one.covariance(), one.sample_covariance()), (Some(0.0), None));
    assert_eq!(size_of::<PairMoments>(), 56, "as documented");
}

#[test]
fn the_largest_values_do_not_overflow() {
    let x: Vec<f64> = (0..BLOCK).map(|i| if i % 2 == 0 { LARGEST } else { -LARGEST }).collect();
    let pairs = PairMoments::from_slices(&x, &x).unwrap();
    assert_eq!(pairs.rejected(), 0);
    assert!((pairs.correlation().unwrap() - 1.0).abs() < 1e-12);
    assert!(pairs.covariance().unwrap().is_finite());
}
