//! What is no value, or none in range.

use std::boxed::Box;

use crate::quantile::{Estimate, P2, Sketch, Window};

const NO_VALUES: [f64; 8] = [
    f64::NAN,
    -f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    -1.0,
    -f64::MIN_POSITIVE,
    f64::MAX,
    1e290,
];

#[test]
fn what_is_no_value_is_dropped_and_counted_and_changes_nothing_else() {
    let mut sketch = Box::new(Sketch::<30>::new());
    let mut window: Window<[u16; 10]> = Window::new([0; 10]);
    sketch.insert_all(&NO_VALUES);
    NO_VALUES.iter().for_each(|&value| window.insert(value));
    assert_eq!((sketch.count(), sketch.rejected()), (0, 8));
    assert_eq!((window.len(), window.rejected()), (0, 8));
    assert_eq!((sketch.quantile(0.5), sketch.min(), sketch.max()), (None, None, None));

    for value in [0.5, 0.5, 0.5] {
        sketch.insert(value);
        window.insert(value);
    }
    sketch.insert_all(&NO_VALUES);
    NO_VALUES.iter().for_each(|&value| window.insert(value));
    assert_eq!((sketch.count(), sketch.sum()), (3, 1.5));
    assert_eq!((sketch.min(), sketch.max()), (Some(0.5), Some(0.5)));
    assert_eq!(sketch.quantile(1.0), Some(Estimate::Within(0.5)));
    assert_eq!(window.len(), 3, "nothing left for them");
}

#[test]
fn zeros_are_exact_and_below_everything_else() {
    let mut sketch = Box::new(Sketch::<30>::new());
    sketch.insert_all(&[0.0, -0.0, 1e-9, 0.5]);
    assert_eq!((sketch.zeros(), sketch.below(), sketch.count()), (2, 1, 4));
    assert_eq!(sketch.quantile(0.5), Some(Estimate::Within(0.0)));
    assert_eq!(sketch.min(), Some(0.0));
    assert_eq!(sketch.sum(), 0.5 + 1e-9);
}

#[test]
fn what_is_out_of_range_is_told_as_such_and_never_as_within() {
    let mut sketch = Box::new(Sketch::<30>::new());
    let (subnormal, large) = (f64::MIN_POSITIVE / 8.0, 1e200);
    sketch.insert_all(&[subnormal, 1e-9, 0.5, 2e3, large]);
    assert_eq!((sketch.below(), sketch.above(), sketch.count()), (2, 2, 5));
    assert_eq!((sketch.min(), sketch.max()), (Some(subnormal), Some(large)));
    let below = Estimate::Below { at_least: subnormal, below: sketch.lowest() };
    let above = Estimate::Above { at_least: sketch.end(), at_most: large };
    assert_eq!(sketch.quantile(0.2), Some(below));
    assert_eq!(sketch.quantile(0.4), Some(below));
    assert_eq!(sketch.quantile(0.8), Some(above));
    assert_eq!(sketch.quantile(1.0), Some(above));
    assert!(matches!(sketch.quantile(0.6), Some(Estimate::Within(value)) if value > 0.49));
    assert_eq!((below.within(), above.within()), (None, None));
    // One figure of them is an upper bound.
    assert_eq!((below.value(), above.value()), (sketch.lowest(), large));
}

#[test]
fn the_ends_of_the_range_are_in_and_out() {
    let mut sketch = Box::new(Sketch::<30>::new());
    let (lowest, end) = (sketch.lowest(), sketch.end());
    sketch.insert_all(&[lowest, end.next_down()]);
    assert_eq!((sketch.below(), sketch.above()), (0, 0));
    sketch.insert_all(&[lowest.next_down(), end]);
    assert_eq!((sketch.below(), sketch.above()), (1, 1));
}

#[test]
fn the_sum_of_what_is_out_of_range_stays_finite() {
    let mut sketch = Box::new(Sketch::<30>::new());
    let largest = 2_f64.powi(960).next_down();
    for _ in 0..1_000_000 {
        sketch.insert(largest);
    }
    assert!((sketch.sum() / largest / 1e6 - 1.0).abs() < 1e-15);
    for _ in 0..1_000_000 {
        assert!(sketch.remove(largest));
    }
    sketch.insert(0.5);
    assert_eq!(sketch.sum(), 0.5);
}

#[test]
fn a_quantile_that_is_none_has_no_answer() {
    let mut sketch = Box::new(Sketch::<30>::new());
    sketch.insert(0.5);
    for q in [-0.1, 1.000_001, f64::NAN, f64::INFINITY] {
        assert_eq!(sketch.quantile(q), None);
        assert!(P2::new([q]).is_none());
    }
}

#[test]
fn p2_drops_and_counts_what_is_not_finite() {
    let mut p2 = P2::new([0.5]).unwrap();
    for value in [1.0, f64::NAN, 2.0, f64::INFINITY, 3.0, f64::NEG_INFINITY] {
        p2.insert(value);
    }
    assert_eq!((p2.count(), p2.rejected(), p2.quantiles()), (3, 3, Some([2.0])));
    // Nothing overflows to where it would poison what follows.
    for i in 0..1000 {
        p2.insert(if i % 2 == 0 { f64::MAX } else { f64::MIN });
    }
    assert!(p2.quantiles().unwrap()[0].is_finite());
}
