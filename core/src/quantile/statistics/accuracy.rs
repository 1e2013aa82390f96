//! A million values of every shape.

use std::boxed::Box;
use std::vec::Vec;

use super::distributions::{COUNT, all};
use super::{assert_close, exact, sorted};
use crate::quantile::{Sketch, Window};

const QUANTILES: [f64; 6] = [0.0, 0.5, 0.95, 0.99, 0.999, 1.0];

fn sketch_of(values: impl IntoIterator<Item = f64>) -> Box<Sketch> {
    let mut sketch = Box::new(Sketch::new());
    values.into_iter().for_each(|value| sketch.insert(value));
    sketch
}

#[track_caller]
fn assert_accurate(sketch: &Sketch, sorted: &[f64], what: &str) {
    for q in QUANTILES {
        let estimate = sketch.quantile(q).unwrap().within().expect("all values are in range");
        assert_close(estimate, exact(sorted, q), std::format_args!("{what}, quantile {q}"));
    }
}

#[test]
fn a_sketch_is_within_its_bound_on_every_distribution() {
    for (name, values) in all() {
        let sketch = sketch_of(values.iter().copied());
        let sorted = sorted(values);
        assert_accurate(&sketch, &sorted, name);
        assert_eq!(sketch.count(), COUNT as u64, "{name}");
        let extremes = (sketch.min(), sketch.max());
        assert_eq!(extremes, (sorted.first().copied(), sorted.last().copied()), "{name}");
    }
}

#[test]
fn merged_replicas_are_the_sketch_of_all() {
    for (name, values) in all() {
        let whole = sketch_of(values.iter().copied());
        assert_accurate(&whole, &sorted(values.iter().copied()), name);
        for replicas in [2, 3, 8, 64] {
            // Request by request, as behind a round robin; and by stretches of time.
            let turns: Vec<_> = (0..replicas)
                .map(|first| sketch_of(values.iter().copied().skip(first).step_by(replicas)))
                .collect();
            let stretches: Vec<_> = values
                .chunks(COUNT.div_ceil(replicas))
                .map(|stretch| sketch_of(stretch.iter().copied()))
                .collect();
            for parts in [turns, stretches] {
                assert_eq!(parts.len(), replicas);
                let mut forwards = Box::new(Sketch::new());
                parts.iter().for_each(|part| forwards.merge(part).unwrap());
                assert!(forwards == whole, "{name}, {replicas} replicas");
                assert_eq!(forwards.sum().to_bits(), whole.sum().to_bits(), "{name}");
                // Pairwise, as up a tree.
                let mut tree = parts;
                while tree.len() > 1 {
                    let mut halves = tree.into_iter();
                    let mut joined = Vec::new();
                    while let Some(mut left) = halves.next() {
                        if let Some(right) = halves.next() {
                            left.merge(&right).unwrap();
                        }
                        joined.push(left);
                    }
                    tree = joined;
                }
                assert!(tree[0] == whole, "{name}, {replicas} replicas, as a tree");
            }
        }
    }
}

#[test]
fn a_window_is_within_its_bound_on_every_distribution() {
    for (name, values) in all() {
        for length in [1_000, 100_000] {
            let mut window = Window::<Box<[u16]>>::new(std::vec![0; length].into());
            for (i, &value) in values.iter().enumerate() {
                window.insert(value);
                // At places that are no multiple of anything, filling and full.
                if i % 49_999 == 700 {
                    let last = &values[(i + 1).saturating_sub(length)..=i];
                    let sorted = sorted(last.iter().copied());
                    assert_eq!(window.len(), last.len());
                    for q in QUANTILES {
                        let estimate = window.quantile(q).unwrap().within().unwrap();
                        assert_close(
                            estimate,
                            exact(&sorted, q),
                            std::format_args!("{name}, last {length} after {i}, quantile {q}"),
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn the_sum_is_exact_on_every_distribution() {
    for (name, values) in all() {
        let sketch = sketch_of(values.iter().copied());
        // Every value is a whole number of 2^-72: from 2^-20 up, the 52 bits behind the first.
        let whole = |value: f64| (value * 2_f64.powi(72)) as i128;
        let exact = values.iter().copied().map(whole).sum::<i128>();
        assert_eq!(sketch.sum(), exact as f64 * 2_f64.powi(-72), "{name}");
    }
}

#[test]
fn a_thousand_million_values_take_no_more_room_than_one() {
    // No allocator is linked into this crate; what a sketch is, is what it takes.
    let mut sketch = Box::new(Sketch::<30>::new());
    let mut window = Window::<[u16; 1000]>::new([0; 1000]);
    assert!(size_of_val(&*sketch) <= 8192);
    let (_, block) = all().swap_remove(2);
    for _ in 0..1_000_000_000 / block.len() {
        sketch.insert_all(&block);
        block.iter().step_by(100).for_each(|&value| window.insert(value));
    }
    assert_eq!((sketch.count(), sketch.saturated()), (1_000_000_000, 0));
    assert_eq!(window.len(), 1000);
    assert_accurate(&sketch, &sorted(block), "the same block a thousand times");
}
