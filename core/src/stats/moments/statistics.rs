//! Moments against exact ones.

use std::vec::Vec;

use proptest::prelude::*;

use super::{BLOCK, Moments};
use crate::stats::LARGEST;
use crate::stats::statistics::{NO_VALUES, exact_covariance, floats, levels, noise, whole_numbers};

/// Within some units in the last place of what is computed with: the largest squared distance.
#[track_caller]
fn assert_moments(moments: &Moments, values: &[i32], tolerance: f64) {
    assert_eq!(moments.count(), values.len() as u64);
    let sum: i128 = values.iter().map(|&value| i128::from(value)).sum();
    let mean = sum as f64 / values.len() as f64;
    let variance = exact_covariance(values, values);
    let scale = values.iter().map(|&value| f64::from(value).abs()).fold(0.0, f64::max);
    let close = |a: f64, b: f64, scale: f64| (a - b).abs() <= tolerance * scale;
    match values.iter().min() {
        None => assert_eq!((moments.mean(), moments.variance()), (None, None)),
        Some(&min) => {
            assert!(
                close(moments.mean().unwrap(), mean, scale),
                "mean {:?}, not {mean}",
                moments.mean()
            );
            let found = moments.variance().unwrap();
            // A mean that is off by a rounding is off by this much.
            let rounding = scale * f64::EPSILON;
            let slack = 8.0 * rounding * (variance.sqrt() + rounding);
            let allowed = variance + slack / tolerance;
            assert!(close(found, variance, allowed), "variance {found}, not {variance}");
            assert_eq!(moments.min(), Some(min.into()));
            assert_eq!(moments.max(), values.iter().max().map(|&max| max.into()));
        }
    }
}

proptest! {
    #[test]
    fn one_by_one_in_slices_and_merged_are_the_same(
        values in whole_numbers(0..400),
        cut in 0_usize..400,
    ) {
        let all = floats(&values);
        let (left, right) = all.split_at(cut.min(all.len()));
        let mut single = Moments::new();
        single.extend(all.iter().copied());
        assert_moments(&single, &values, 1e-12);
        assert_moments(&Moments::from_slice(&all), &values, 1e-12);
        let mut merged = Moments::from_slice(left);
        merged.merge(&Moments::from_slice(right));
        assert_moments(&merged, &values, 1e-12);
        let mut other_way = Moments::from_slice(right);
        other_way.merge(&Moments::from_slice(left));
        assert_moments(&other_way, &values, 1e-12);
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits(
        seed: u64,
        len in 0_usize..3 * BLOCK,
        spoiled in prop::option::of(any::<usize>()),
    ) {
        let mut noise = noise(seed);
        let mut values: Vec<f64> = (0..len).map(|_| 1e3 + noise()).collect();
        if let (Some(i), true) = (spoiled, len > 0) {
            values[i % len] = NO_VALUES[i % NO_VALUES.len()];
        }
        let all: Vec<_> = levels()
            .into_iter()
            .map(|level| {
                let mut moments = Moments::new();
                moments.insert_all_at(level, &values);
                moments
            })
            .collect();
        assert!(all.iter().all(|moments| *moments == all[0]));
    }
}

#[test]
fn the_variance_of_a_large_number_plus_noise_is_that_of_the_noise() {
    let mut noise = noise(1);
    let noise: Vec<f64> = (0..1_000_000).map(|_| noise()).collect();
    // What is left of the noise beside 1e9, exactly: the difference of near numbers is exact.
    let values: Vec<f64> = noise.iter().map(|noise| 1e9 + noise).collect();
    let kept = values.iter().map(|value| value - 1e9);
    let n = values.len() as f64;
    let mean = kept.clone().sum::<f64>() / n;
    let variance = kept.map(|kept| (kept - mean).powi(2)).sum::<f64>() / n;
    let mut single = Moments::new();
    single.extend(values.iter().copied());
    let mut merged = Moments::new();
    values.chunks(777).for_each(|part| merged.merge(&Moments::from_slice(part)));
    let error = |found: Moments| (found.variance().unwrap() / variance - 1.0).abs();
    for found in [Moments::from_slice(&values), merged] {
        assert!(error(found) < 1e-8, "{}", error(found));
    }
    // One by one, each step rounds the mean beside 1e9.
    assert!(error(single) < 1e-7, "{}", error(single));
}

#[test]
fn a_jump_between_blocks_loses_nothing() {
    // Each block lies far from all before: the point that it is computed around must move.
    let mut noise = noise(2);
    let values: Vec<f64> =
        (0..6 * BLOCK).map(|i| [1e9, -1e9, 0.0, 5e8, 1e12, 1.0][i / BLOCK] + noise()).collect();
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n;
    let found = Moments::from_slice(&values);
    assert!((found.variance().unwrap() / variance - 1.0).abs() < 1e-12);
    // And the last block alone has its own variance, whatever came before.
    let mut last = Moments::new();
    last.insert_all(&values[5 * BLOCK..]);
    let own = Moments::of_block(levels()[0], &values[5 * BLOCK..], 1e12).unwrap();
    assert!((own.variance().unwrap() / last.variance().unwrap() - 1.0).abs() < 1e-9);
}

#[test]
fn what_is_no_value_is_dropped_and_counted() {
    let mut noise = noise(3);
    let good: Vec<f64> = (0..2 * BLOCK + 100).map(|_| noise()).collect();
    let mut spoiled = good.clone();
    // In the first block, in the last, and one after the other.
    for (i, &bad) in NO_VALUES.iter().enumerate() {
        spoiled.insert([5, 6, 2 * BLOCK, 2 * BLOCK + 60, 7, 0][i], bad);
    }
    let (clean, found) = (Moments::from_slice(&good), Moments::from_slice(&spoiled));
    assert_eq!((found.count(), found.rejected()), (clean.count(), 6));
    assert_eq!((found.min(), found.max()), (clean.min(), clean.max()));
    assert!((found.mean().unwrap() - clean.mean().unwrap()).abs() < 1e-15);
    assert!((found.variance().unwrap() / clean.variance().unwrap() - 1.0).abs() < 1e-12);

    let none = Moments::from_slice(&NO_VALUES);
    assert_eq!((none.count(), none.rejected()), (0, 6));
    assert_eq!((none.mean(), none.variance(), none.min(), none.max()), (None, None, None, None));
}

#[test]
fn the_largest_values_do_not_overflow() {
    let values: Vec<f64> =
        (0..BLOCK).map(|i| if i % 2 == 0 { LARGEST } else { -LARGEST }).collect();
    let mut moments = Moments::from_slice(&values);
    for _ in 0..51 {
        let half = moments;
        moments.merge(&half);
    }
    assert_eq!(moments.rejected(), 0);
    assert_eq!(moments.mean(), Some(0.0));
    assert_eq!(moments.standard_deviation(), Some(LARGEST));
}

#[test]
fn few_values_have_the_answers_they_should() {
    let none = Moments::from_slice(&[]);
    assert_eq!((none.count(), none.mean(), none.sample_variance()), (0, None, None));
    let one = Moments::from_slice(&[7.5]);
    assert_eq!((one.mean(), one.variance(), one.sample_variance()), (Some(7.5), Some(0.0), None));
    assert_eq!((one.min(), one.max()), (Some(7.5), Some(7.5)));
    let two = Moments::from_slice(&[1.0, 3.0]);
    assert_eq!((two.variance(), two.sample_variance()), (Some(1.0), Some(2.0)));
    let small = Moments::from_slice(&[f64::MIN_POSITIVE / 4.0, -0.0]);
    assert_eq!((small.count(), small.rejected()), (2, 0));
    assert_eq!(size_of::<Moments>(), 48, "as documented");
}

#[test]
fn a_constant_has_no_variance() {
    for constant in [0.1, 1e9 + 0.3, -7e-300, 1.0 / 3.0] {
        let found = Moments::from_slice(&std::vec![constant; 3 * BLOCK + 7]);
        assert!(found.standard_deviation().unwrap() <= f64::EPSILON * constant.abs());
        assert!((found.mean().unwrap() / constant - 1.0).abs() <= 4.0 * f64::EPSILON);
    }
}
