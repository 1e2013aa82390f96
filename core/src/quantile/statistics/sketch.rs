//! Random operations against an exact multiset.

use std::boxed::Box;
use std::vec::Vec;

use proptest::prelude::*;

use super::distributions::Random;
use super::{assert_close, exact};
use crate::quantile::{Estimate, MergeError, Sketch};

/// Values of every magnitude in range, often the same ones.
fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (-19.9_f64..9.9).prop_map(f64::exp2),
        2 => (1_u32..20).prop_map(|i| f64::from(i) / 1e3),
        1 => Just(0.0),
    ]
}

fn values() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(value(), 0..60)
}

fn sketch_of(values: &[f64]) -> Box<Sketch> {
    let mut sketch = Box::new(Sketch::new());
    sketch.insert_all(values);
    sketch
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Insert(f64),
    /// The value inserted so long ago, if it is still held.
    Remove(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => value().prop_map(Step::Insert),
        1 => any::<usize>().prop_map(Step::Remove),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn insertions_and_removals_are_those_of_a_multiset(steps in steps()) {
        let mut sketch = Box::new(Sketch::<30>::new());
        let mut held: Vec<f64> = Vec::new();
        for step in steps {
            match step {
                Step::Insert(value) => {
                    sketch.insert(value);
                    held.push(value);
                }
                Step::Remove(_) if held.is_empty() => assert!(!sketch.remove(0.01)),
                Step::Remove(i) => {
                    let value = held.swap_remove(i % held.len());
                    assert!(sketch.remove(value));
                }
            }
            assert_eq!(sketch.count(), held.len() as u64);
            let sum: i128 = held.iter().map(|value| (value * 2_f64.powi(72)) as i128).sum();
            assert_eq!(sketch.sum(), sum as f64 * 2_f64.powi(-72));
            let sorted = super::sorted(held.iter().copied());
            for q in [0.0, 0.25, 0.5, 0.99, 1.0] {
                match sketch.quantile(q) {
                    None => assert!(held.is_empty()),
                    Some(Estimate::Within(estimate)) => {
                        assert_close(estimate, exact(&sorted, q), q);
                    }
                    Some(outside) => panic!("{outside:?}, though all are in range"),
                }
            }
        }
    }

    #[test]
    fn merging_is_adding_up(a in values(), b in values(), c in values()) {
        let [sa, sb, sc] = [&a, &b, &c].map(|values| sketch_of(values));
        let merged = |parts: &[&Sketch]| {
            let mut all = Box::new(Sketch::new());
            parts.iter().for_each(|part| all.merge(part).unwrap());
            all
        };
        let all = sketch_of(&[a, b, c].concat());
        assert!(merged(&[&sa, &sb, &sc]) == all, "as if inserted one by one");
        assert!(merged(&[&sc, &sa, &sb]) == all, "in any order");
        let mut right = sb.clone();
        right.merge(&sc).unwrap();
        assert!(merged(&[&sa, &right]) == all, "grouped in any way");
    }

    #[test]
    fn removing_what_was_merged_leaves_the_rest(a in values(), b in values()) {
        let mut all = sketch_of(&a);
        all.merge(&sketch_of(&b)).unwrap();
        b.iter().for_each(|&value| assert!(all.remove(value)));
        let rest = sketch_of(&a);
        assert_eq!((all.count(), all.sum()), (rest.count(), rest.sum()));
        // The extremes of what left are still known, and may only draw an answer nearer.
        for q in [0.0, 0.5, 1.0] {
            let sorted = super::sorted(a.iter().copied());
            assert_eq!(all.quantile(q).is_some(), !a.is_empty());
            if let Some(estimate) = all.quantile(q) {
                assert_close(estimate.value(), exact(&sorted, q), q);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn a_slice_is_counted_as_its_values_are(
        len in prop_oneof![0_usize..100, 4000_usize..4200, 65_500_usize..70_000],
        seed: u64,
        spoiled in prop::collection::vec((any::<usize>(), prop::sample::select(std::vec![
            f64::NAN, f64::INFINITY, -1.0, 0.0, 1e-300, 1e6, f64::MAX,
        ])), 0..4),
    ) {
        let mut random = Random(seed);
        let mut values: Vec<f64> =
            (0..len).map(|_| (25.0 * random.uniform() - 18.0).exp2()).collect();
        for (i, value) in spoiled {
            if len > 0 {
                values[i % len] = value;
            }
        }
        let mut single = Box::new(Sketch::<30>::new());
        values.iter().for_each(|&value| single.insert(value));
        assert!(sketch_of(&values) == single);
    }
}

#[test]
fn a_slice_that_fills_a_bucket_is_counted_as_its_values_are() {
    let mut sketch = sketch_of(&[0.25]);
    for _ in 0..31 {
        let half = sketch.clone();
        sketch.merge(&half).unwrap();
    }
    let mut nearly_full = sketch.clone();
    (0..1000).for_each(|_| assert!(nearly_full.remove(0.25)));
    nearly_full.merge(&sketch).unwrap();
    let room = u64::from(u32::MAX) - nearly_full.count();
    nearly_full.insert_all(&[0.25; 5000]);
    assert_eq!((nearly_full.count(), nearly_full.saturated()), (u32::MAX.into(), 5000 - room));
}

#[test]
fn it_fits_in_8_kib_and_can_be_a_static() {
    static EMPTY: Sketch = Sketch::new();
    assert!(size_of::<Sketch>() <= 8192, "{} bytes", size_of::<Sketch>());
    assert_eq!(size_of::<Sketch>(), 30 * 268 + 80, "as documented");
    assert_eq!((EMPTY.count(), EMPTY.min(), EMPTY.mean()), (0, None, None));
    assert_eq!(EMPTY.sum(), 0.0);
}

#[test]
fn a_constant_stream_is_told_exactly() {
    let sketch = sketch_of(&[0.0123; 1000]);
    assert_eq!(sketch.quantile(0.99), Some(Estimate::Within(0.0123)));
    assert_eq!(sketch.mean(), Some(0.0123));
}

#[test]
fn a_value_that_is_not_held_is_not_removed() {
    let mut sketch = sketch_of(&[0.5, 1e-9, 1e9, 0.0]);
    let before = sketch.clone();
    for value in [0.6, -0.5, f64::NAN, f64::INFINITY] {
        assert!(!sketch.remove(value));
    }
    assert!(sketch == before);
    for value in [0.5, 1e-9, 1e9, 0.0] {
        assert!(sketch.remove(value));
        assert!(!sketch.remove(value), "only once");
    }
    assert_eq!((sketch.count(), sketch.sum()), (0, 0.0));
    assert_eq!((sketch.below(), sketch.above(), sketch.zeros()), (0, 0, 0));
    assert_eq!(sketch.quantile(0.5), None);
}

#[test]
fn sketches_of_different_ranges_do_not_merge() {
    let mut seconds = sketch_of(&[0.5]);
    let mut millis = Sketch::starting_at(1e-3).unwrap();
    millis.insert(500.0);
    assert_eq!(seconds.merge(&millis), Err(MergeError::DifferentRange));
    assert!(seconds == sketch_of(&[0.5]), "nothing changed");
}

#[test]
fn a_full_bucket_says_so_and_drops_what_comes() {
    // 2^31 by doubling, then up to the limit.
    let mut sketch = sketch_of(&[0.25]);
    for _ in 0..31 {
        let half = sketch.clone();
        sketch.merge(&half).unwrap();
    }
    let mut full = sketch.clone();
    assert!(full.remove(0.25));
    full.merge(&sketch).unwrap();
    assert_eq!(full.count(), u64::from(u32::MAX));
    let before = full.clone();
    assert_eq!(full.merge(&sketch), Err(MergeError::Full));
    assert!(full == before, "nothing changed");

    full.insert(0.25);
    full.insert(0.25);
    assert_eq!((full.count(), full.saturated()), (u64::from(u32::MAX), 2));
    assert_eq!(full.sum(), 0.25 * f64::from(u32::MAX));
    full.insert(0.5);
    assert_eq!(full.count(), u64::from(u32::MAX) + 1, "other buckets go on");

    let mut wide = Box::new(Sketch::<30, u64>::new());
    wide.insert(0.25);
    for _ in 0..40 {
        let half = wide.clone();
        wide.merge(&half).unwrap();
    }
    assert_eq!((wide.count(), wide.saturated()), (1 << 40, 0));
}

#[test]
fn the_sum_does_not_lose_small_values_beside_large_ones() {
    let mut sketch = Box::new(Sketch::<30>::new());
    sketch.insert(512.0);
    for _ in 0..1_000_000 {
        sketch.insert(1e-6);
    }
    sketch.remove(512.0);
    let exact = 1_000_000.0 * 1e-6;
    assert!((sketch.sum() - exact).abs() <= f64::EPSILON * exact, "{}", sketch.sum());
}

#[test]
fn clearing_forgets_all_but_the_range() {
    let mut sketch: Sketch = Sketch::starting_at(1e-3).unwrap();
    sketch.insert_all(&[1.0, f64::NAN, 0.0, 1e-9]);
    sketch.clear();
    assert!(sketch == Sketch::starting_at(1e-3).unwrap());
}
