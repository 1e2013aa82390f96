//! The ring against a `VecDeque`.

use std::collections::VecDeque;
use std::rc::Rc;
use std::vec::Vec;

use proptest::prelude::*;

use super::Ring;

#[derive(Clone, Copy, Debug)]
enum Step {
    Push(u8),
    Overwrite(u8),
    Pop,
    PopNewest,
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<u8>().prop_map(Step::Push),
        4 => any::<u8>().prop_map(Step::Overwrite),
        2 => Just(Step::Pop),
        1 => Just(Step::PopNewest),
        1 => Just(Step::Clear),
    ]
}

fn behaves_like_a_deque<const N: usize>(steps: &[Step]) {
    let (mut ring, mut model) = (Ring::<u8, N>::new(), VecDeque::new());
    for &step in steps {
        match step {
            Step::Push(value) => {
                let room = model.len() < N;
                assert_eq!(ring.push(value), if room { Ok(()) } else { Err(value) });
                if room {
                    model.push_back(value);
                }
            }
            Step::Overwrite(value) => {
                let oldest = if model.len() == N { model.pop_front() } else { None };
                model.push_back(value);
                assert_eq!(ring.push_overwriting(value), oldest);
            }
            Step::Pop => assert_eq!(ring.pop(), model.pop_front()),
            Step::PopNewest => assert_eq!(ring.pop_newest(), model.pop_back()),
            Step::Clear => {
                ring.clear();
                model.clear();
            }
        }
        assert!(ring.iter().eq(&model), "in order");
        assert!(ring.iter().rev().eq(model.iter().rev()), "and backwards");
        assert_eq!((ring.oldest(), ring.newest()), (model.front(), model.back()));
        assert_eq!((ring.len(), ring.is_empty()), (model.len(), model.is_empty()));
        assert_eq!((ring.is_full(), ring.capacity()), (model.len() == N, N));
    }
}

proptest! {
    #[test]
    fn it_behaves_like_a_bounded_deque(steps in prop::collection::vec(step(), 0..200)) {
        behaves_like_a_deque::<1>(&steps);
        behaves_like_a_deque::<2>(&steps);
        behaves_like_a_deque::<7>(&steps);
    }
}

#[test]
fn it_can_be_a_constant() {
    static EMPTY: Ring<u64, 4> = Ring::new();
    assert!(EMPTY.is_empty());
    assert_eq!(EMPTY.iter().next(), None);
}

#[test]
fn every_value_is_dropped_once() {
    let value = Rc::new(());
    {
        let mut ring: Ring<_, 3> = Ring::new();
        ring.extend((0..5).map(|_| value.clone()));
        assert_eq!(Rc::strong_count(&value), 1 + 3);
        let kept: Vec<_> = ring.pop().into_iter().collect();
        assert_eq!((ring.len(), kept.len()), (2, 1));
    }
    assert_eq!(Rc::strong_count(&value), 1);
}
