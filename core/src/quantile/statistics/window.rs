//! Random streams against the exact window, at every step.

use std::boxed::Box;
use std::collections::VecDeque;
use std::vec::Vec;

use proptest::prelude::*;

use super::{assert_close, exact, sorted};
use crate::quantile::{Estimate, Window};

proptest! {
    #[test]
    fn every_step_is_within_the_bound(
        values in prop::collection::vec(
            prop_oneof![
                3 => (-19.9_f64..9.9).prop_map(f64::exp2),
                2 => Just(0.001),
                1 => Just(0.1),
                1 => Just(0.0),
            ],
            0..200,
        ),
        length in 1_usize..50,
    ) {
        let mut window = Window::<Box<[u16]>>::new(std::vec![7; length].into());
        let mut model = VecDeque::new();
        for value in values {
            window.insert(value);
            model.push_back(value);
            if model.len() > length {
                model.pop_front();
            }
            assert_eq!(window.len(), model.len());
            let sorted = sorted(model.iter().copied());
            for q in [0.0, 0.5, 0.95, 0.99, 1.0] {
                let estimate = window.quantile(q).unwrap().within().unwrap();
                assert_close(estimate, exact(&sorted, q), q);
            }
        }
    }

    #[test]
    fn what_is_outside_the_range_is_on_its_side(
        values in prop::collection::vec(
            prop_oneof![Just(0.0), Just(1e-12), Just(0.5), Just(1e6), Just(f64::MIN_POSITIVE / 4.0)],
            1..60,
        ),
        length in 1_usize..20,
    ) {
        let mut window = Window::<Box<[u16]>>::new(std::vec![0; length].into());
        for (i, &value) in values.iter().enumerate() {
            window.insert(value);
            let last = sorted(values[(i + 1).saturating_sub(length)..=i].iter().copied());
            for q in [0.0, 0.5, 0.9, 1.0] {
                let exact = exact(&last, q);
                let holds = match window.quantile(q).unwrap() {
                    Estimate::Within(estimate) => {
                        exact == 0.0 && estimate == 0.0
                            || exact == 0.5 && (estimate - 0.5).abs() < 0.005
                    }
                    Estimate::Below { at_least, below } => {
                        exact > 0.0 && at_least <= exact && exact < below && below < 1e-6
                    }
                    Estimate::Above { at_least, at_most } => {
                        1e3 < at_least && at_least <= exact && exact <= at_most
                    }
                };
                assert!(holds, "{exact} was told as {:?}", window.quantile(q));
            }
            let count = |of: &dyn Fn(f64) -> bool| last.iter().filter(|&&v| of(v)).count() as u32;
            assert_eq!(window.zeros(), count(&|value| value == 0.0));
            assert_eq!(window.below(), count(&|value| value > 0.0 && value < 1e-7));
            assert_eq!(window.above(), count(&|value| value > 1e4));
        }
    }
}

#[test]
fn a_window_of_nothing_holds_nothing() {
    let mut window: Window<[u16; 0]> = Window::new([]);
    window.insert(0.5);
    assert_eq!((window.len(), window.capacity(), window.is_empty()), (0, 0, true));
    assert_eq!(window.quantile(0.5), None);
}

#[test]
fn a_window_of_one_is_the_last_value() {
    let mut window: Window<[u16; 1]> = Window::new([0]);
    for value in [0.5, 0.001, 100.0] {
        window.insert(value);
        assert_close(window.quantile(0.5).unwrap().value(), value, "the only one");
    }
}

#[test]
fn slots_may_be_borrowed_and_hold_anything() {
    let mut slots: Vec<u16> = std::vec![u16::MAX; 3];
    let mut window: Window<&mut [u16]> = Window::new(&mut slots);
    for value in [0.1, 0.2, 0.3, 0.4] {
        window.insert(value);
    }
    assert_close(window.quantile(0.0).unwrap().value(), 0.2, "the oldest left");
    window.clear();
    assert!(window.is_empty() && window.quantile(0.0).is_none());
    window.insert(0.7);
    assert_close(window.quantile(1.0).unwrap().value(), 0.7, "the only one since");
}
