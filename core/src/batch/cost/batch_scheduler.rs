//! The line that is learnt: how near, how soon, and that it answers both ways alike.

use super::*;
use proptest::prelude::*;
use std::string::ToString;
use std::vec::Vec;

/// Evenly spread numbers below 1: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u32) -> u32 {
        (self.bits() % u64::from(end)) as u32
    }

    fn share(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / 9_007_199_254_740_992.0
    }
}

/// By what share `cost` is off a line at this size.
fn off(cost: &CostModel, (fixed, per_item): (f64, f64), items: u32) -> f64 {
    let right = fixed + per_item * f64::from(items);
    (cost.estimate(items).unwrap() as f64 - right).abs() / right
}

const LINE: (f64, f64) = (2e6, 1e5);
const TWICE: (f64, f64) = (4e6, 2e5);

/// A run on the line, up to `jitter` of it off.
fn run(random: &mut Random, line: (f64, f64), items: u32, jitter: f64) -> u64 {
    let exact = line.0 + line.1 * f64::from(items);
    (exact * (1.0 + jitter * (2.0 * random.share() - 1.0))) as u64
}

fn learnt(random: &mut Random, sizes: &[u32], jitter: f64) -> CostModel {
    let mut cost = CostModel::UNKNOWN;
    for _ in 0..300 {
        let items = sizes[random.below(sizes.len() as u32) as usize];
        cost.observe(items, run(random, LINE, items, jitter));
    }
    cost
}

#[test]
fn only_lines_that_cost_something_are_taken() {
    for (fixed, per_item, error) in [
        (-1.0, 1.0, CostError::NegativeFixed),
        (1.0, -1.0, CostError::NegativeSlope),
        (f64::NAN, 1.0, CostError::NotFinite),
        (1.0, f64::INFINITY, CostError::NotFinite),
        (f64::NEG_INFINITY, -1.0, CostError::NotFinite),
    ] {
        assert_eq!(CostModel::new(fixed, per_item), Err(error));
    }
    assert_eq!(CostError::NegativeFixed.to_string(), "the fixed cost is negative");
    let cost = CostModel::new(f64::MAX, 0.0).unwrap();
    assert_eq!((cost.estimate(1), cost.fixed()), (Some(u64::MAX), LARGEST));
}

#[test]
fn nothing_is_known_before_a_batch_with_items() {
    let mut cost = CostModel::UNKNOWN;
    cost.observe(0, 1_000);
    assert_eq!(cost, CostModel::UNKNOWN);
    assert!(!cost.is_known());
    assert_eq!((cost.estimate(1), cost.most_items_within(u64::MAX)), (None, None));
    cost.observe(4, 1_000);
    assert!(cost.is_known());
    assert_eq!((cost.estimate(4), cost.estimate(8)), (Some(1_000), Some(2_000)));
}

#[test]
fn two_sizes_tell_both_parts() {
    let mut random = Random(1);
    for sizes in [&[1, 2, 3, 4, 5, 6, 7, 8][..], &[1, 64], &[16, 17, 40], &[1, 500, 1_000]] {
        let exact = learnt(&mut random, sizes, 0.0);
        let noisy = learnt(&mut random, sizes, 0.05);
        for &items in sizes {
            assert!(off(&exact, LINE, items) < 1e-3, "{sizes:?}: {exact:?}");
            assert!(off(&noisy, LINE, items) < 0.1, "{sizes:?}: {noisy:?}");
        }
        assert!((exact.fixed() - LINE.0).abs() < 0.01 * LINE.0, "{sizes:?}: {exact:?}");
        assert!((exact.per_item() - LINE.1).abs() < 0.01 * LINE.1, "{sizes:?}: {exact:?}");
    }
}

#[test]
fn one_size_keeps_the_shape_that_was_known_and_scales_it() {
    let mut random = Random(2);
    let mut cost = learnt(&mut random, &[1, 8, 16, 32], 0.0);
    for _ in 0..100_000 {
        cost.observe(16, run(&mut random, LINE, 16, 0.05));
    }
    assert!(off(&cost, LINE, 1) < 0.05 && off(&cost, LINE, 64) < 0.05, "{cost:?}");
    for _ in 0..30 {
        cost.observe(16, run(&mut random, TWICE, 16, 0.05));
    }
    assert!(off(&cost, TWICE, 1) < 0.08 && off(&cost, TWICE, 64) < 0.08, "{cost:?}");
}

/// How many observations after a step until the line stays within a tenth of the new one.
fn settling(
    mut cost: CostModel,
    to: (f64, f64),
    sizes: &[u32],
    jitter: f64,
    random: &mut Random,
) -> u32 {
    let mut settled = 0;
    for seen in 1..=200 {
        let items = sizes[random.below(sizes.len() as u32) as usize];
        cost.observe(items, run(random, to, items, jitter));
        if sizes.iter().any(|&items| off(&cost, to, items) > 0.1) {
            settled = seen;
        }
    }
    settled
}

#[test]
fn a_step_gets_through_within_30_observations() {
    let mut random = Random(3);
    for sizes in [&[1, 2, 4, 8][..], &[16], &[5, 60]] {
        for factor in [0.1, 0.5, 0.8, 0.9, 1.1, 1.2, 1.3, 1.5, 2.0, 50.0] {
            for _ in 0..20 {
                let cost = learnt(&mut random, sizes, 0.05);
                let to = (LINE.0 * factor, LINE.1 * factor);
                let settled = settling(cost, to, sizes, 0.05, &mut random);
                std::println!("STEP {sizes:?} {factor} {settled}");
            }
        }
    }
}

#[test]
fn a_new_shape_is_learnt_too() {
    let mut random = Random(4);
    let sizes = [1, 2, 4, 8, 16];
    for _ in 0..50 {
        let cost = learnt(&mut random, &sizes, 0.05);
        let settled = settling(cost, (1e6, 8e5), &sizes, 0.02, &mut random);
        std::println!("SHAPE {settled}");
    }
}

#[test]
fn an_outlier_hardly_moves_the_estimate() {
    let mut random = Random(5);
    for sizes in [&[1, 2, 4, 8][..], &[16], &[5, 60]] {
        let mut cost = learnt(&mut random, sizes, 0.05);
        let mut worst = 0.0_f64;
        for run_number in 0..2_000 {
            let items = sizes[random.below(sizes.len() as u32) as usize];
            let slower = if run_number % 25 == 0 { 50 } else { 1 };
            cost.observe(items, slower * run(&mut random, LINE, items, 0.05));
            worst = sizes.iter().map(|&items| off(&cost, LINE, items)).fold(worst, f64::max);
        }
        assert!(worst < 0.25, "{sizes:?}: {worst}");
    }
}

#[test]
fn a_slow_first_run_is_overcome_by_the_next_three() {
    let mut random = Random(6);
    let mut cost = CostModel::UNKNOWN;
    cost.observe(4, 50 * run(&mut random, LINE, 4, 0.0));
    for _ in 0..3 {
        cost.observe(4, run(&mut random, LINE, 4, 0.0));
    }
    assert!(off(&cost, LINE, 4) < 0.01, "{cost:?}");
}

#[test]
fn a_line_that_was_given_counts_like_three_observations() {
    let mut cost = CostModel::new(LINE.0, LINE.1).unwrap();
    cost.observe(10, 3_300_000);
    let now = cost.estimate(10).unwrap();
    // A tenth more than the line said, and 2.7 of 3.7 parts are the line's.
    assert!(now.abs_diff(3_081_081) < 2, "{now}");
    for items in [5, 10, 20, 40].repeat(20) {
        cost.observe(items, 1_000_000 + 50_000 * u64::from(items));
    }
    assert!(off(&cost, (1e6, 5e4), 1) < 0.01 && off(&cost, (1e6, 5e4), 100) < 0.01, "{cost:?}");
}

#[test]
fn what_cost_nothing_and_then_something_is_followed() {
    let mut cost = CostModel::UNKNOWN;
    (0..10).for_each(|_| cost.observe(4, 0));
    assert_eq!(cost.estimate(4), Some(0));
    (0..10).for_each(|_| cost.observe(4, 1_000));
    assert_eq!(cost.estimate(4), Some(1_000));
    (0..10).for_each(|_| cost.observe(4, 0));
    assert_eq!(cost.estimate(4), Some(0));
}

/// Numbers of every magnitude.
fn magnitude() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64u32).prop_map(|(bits, shift)| bits >> shift)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn the_most_items_within_a_budget_are_exactly_that(
        fixed in magnitude(),
        numerator in magnitude(),
        denominator in 1..=u32::MAX,
        budgets in prop::collection::vec(magnitude(), 1..20),
    ) {
        let slope = numerator as f64 / f64::from(denominator);
        let cost = CostModel::new(fixed as f64, slope).unwrap();
        for budget in budgets.into_iter().chain([0, u64::MAX]) {
            let most = cost.most_items_within(budget).unwrap();
            if most > 0 {
                prop_assert!(cost.estimate(most).unwrap() <= budget);
            }
            if let Some(more) = most.checked_add(1) {
                prop_assert!(cost.estimate(more).unwrap() > budget);
            }
        }
    }

    #[test]
    fn any_history_leaves_a_line_that_costs_something(
        given in prop::option::of((magnitude(), magnitude())),
        history in prop::collection::vec((magnitude(), magnitude()), 0..100),
    ) {
        let mut cost = given.map_or(CostModel::UNKNOWN, |(fixed, per_item)| {
            CostModel::new(fixed as f64 * 1e280, per_item as f64).unwrap()
        });
        for (items, spent) in history {
            cost.observe(items as u32, spent);
            prop_assert!(cost.fixed() >= 0.0 && cost.fixed() < f64::INFINITY);
            prop_assert!(cost.per_item() >= 0.0 && cost.per_item() < f64::INFINITY);
            if cost.is_known() {
                prop_assert!(cost.estimate(1) <= cost.estimate(2));
            }
        }
    }
}

#[test]
fn nothing_fits_or_everything() {
    let cost = CostModel::new(10.0, 5.0).unwrap();
    let most: Vec<_> = [0, 14, 15, 19, 20].map(|budget| cost.most_items_within(budget)).into();
    assert_eq!(most, [Some(0), Some(0), Some(1), Some(1), Some(2)]);
    let flat = CostModel::new(10.0, 0.0).unwrap();
    assert_eq!((flat.most_items_within(9), flat.most_items_within(10)), (Some(0), Some(u32::MAX)));
    assert_eq!(core::mem::size_of::<CostModel>(), 80);
}
