//! Traffic divided between versions.

use super::*;

prop_compose! {
    /// Weights that add up.
    fn any_weights()(
        mut cuts in proptest::collection::btree_set(1..ALL_TRAFFIC, 0..MAX_ARMS),
    ) -> Vec<u16> {
        cuts.extend([0, ALL_TRAFFIC]);
        let cuts: Vec<_> = cuts.into_iter().collect();
        cuts.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

proptest! {
    #[test]
    fn any_10000_requests_in_a_row_are_divided_exactly(
        weights in any_weights(), salt in any::<u64>(), skipped in 0..12_000,
    ) {
        let split = Split::new(&weights, salt).unwrap();
        (0..skipped).for_each(|_| _ = split.next_arm());
        let arms: Vec<_> = (0..ALL_TRAFFIC).map(|_| split.arm(None)).collect();
        let expected: Vec<_> = weights.iter().map(|&weight| usize::from(weight)).collect();
        prop_assert_eq!(counts(&arms, weights.len()), expected);
    }

    #[test]
    fn shorter_rows_are_divided_evenly(weights in any_weights(), salt in any::<u64>()) {
        // An arm is an interval of a rotation by nearly the golden ratio: off by few, however long.
        let split = Split::new(&weights, salt).unwrap();
        let mut counts = std::vec![0; weights.len()];
        for requests in 1..=10_000 {
            counts[split.next_arm()] += 1;
            for (&count, &weight) in counts.iter().zip(&weights) {
                let due = f64::from(requests) * f64::from(weight) / f64::from(ALL_TRAFFIC);
                prop_assert!((f64::from(count) - due).abs() < 5.0);
            }
        }
    }

    #[test]
    fn a_key_stays_with_its_arm(
        weights in any_weights(), (salt, key) in any::<(u64, u64)>(), turns in 0..100,
    ) {
        let split = Split::new(&weights, salt).unwrap();
        let arm = split.arm(Some(key));
        (0..turns).for_each(|_| _ = split.arm(None));
        prop_assert_eq!(split.arm(Some(key)), arm);
        prop_assert_eq!(Split::new(&weights, salt).unwrap().arm_of(key), arm, "elsewhere, too");
        prop_assert!(arm < weights.len());
    }

    #[test]
    fn an_arm_that_grows_against_all_others_loses_no_key(
        weights in any_weights(), grown in any::<usize>(), keys in any::<u64>(),
    ) {
        // Halving all others keeps their proportions to within a rounding: so they are made even first.
        let grown = grown % weights.len();
        let halves: Vec<_> = weights.iter().map(|&weight| weight / 2 * 2).collect();
        prop_assume!(halves.iter().all(|&weight| weight > 0));
        let all: u16 = halves.iter().sum();
        let set = |weights: &[u16], grown_by: u16| {
            let mut weights = weights.to_vec();
            weights[grown] += grown_by;
            Split::new(&weights, 5).unwrap()
        };
        let before = set(&halves, ALL_TRAFFIC - all);
        let others: Vec<_> = halves.iter().map(|&weight| weight / 2).collect();
        let after = set(&others, ALL_TRAFFIC - others.iter().sum::<u16>());
        for key in 0..200 {
            let key = stable_hash(&(keys ^ key).to_le_bytes());
            let (before, after) = (before.arm_of(key), after.arm_of(key));
            prop_assert!(before == after || after == grown);
        }
    }
}

#[test]
fn keys_are_divided_by_weight() {
    let weights = [5_000, 3_000, 1_999, 1];
    let split = Split::new(&weights, 3).unwrap();
    let mut counts = [0; 4];
    for key in 0..100_000_u64 {
        counts[split.arm_of(key)] += 1; // one after the other: the hash has to spread them
    }
    for (count, weight) in counts.into_iter().zip(weights) {
        assert!(is_near(count, 100_000, f64::from(weight) / 1e4), "{counts:?}");
    }
}

#[test]
fn a_change_of_weights_moves_the_fewest_keys() {
    let keys = 50_000;
    for (before, after) in [
        (&[9_000, 1_000][..], &[8_000, 2_000][..]), // two arms
        (&[5_000, 3_000, 2_000], &[6_000, 2_400, 1_600]), // the others keep their proportions
    ] {
        let moving = (f64::from(after[0]) - f64::from(before[0])).abs() / 1e4;
        let splits = [before, after].map(|weights| Split::new(weights, 9).unwrap());
        let moved = (0..keys).filter(|&key| splits[0].arm_of(key) != splits[1].arm_of(key)).count();
        assert!(is_near(moved, keys as usize, moving), "{moved}");
    }
    // Any change: no fewer than must, no more than who remembers nothing can promise.
    let splits = [[5_000, 3_000, 2_000], [6_000, 3_000, 1_000]]
        .map(|weights| Split::new(&weights, 9).unwrap());
    let moved = (0..keys).filter(|&key| splits[0].arm_of(key) != splits[1].arm_of(key)).count();
    let (moved, distance) = (moved as f64 / keys as f64, 0.1);
    assert!(moved > distance - 0.01 && moved < 2.0 * distance / (1.0 + distance) + 0.01);
}

#[test]
fn another_salt_is_another_experiment() {
    let [one, other] = [1, 2].map(|salt| Split::new(&[5_000, 5_000], salt).unwrap());
    let agree = (0..20_000).filter(|&key| one.arm_of(key) == other.arm_of(key)).count();
    assert!(is_near(agree, 20_000, 0.5));
}

#[test]
fn threads_divide_exactly_together() {
    let split = Split::new(&[9_999, 1], 0).unwrap();
    let rare: usize = std::thread::scope(|scope| {
        let count = || (0..5_000).filter(|_| split.next_arm() == 1).count();
        let threads = [(); 4].map(|()| scope.spawn(count));
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(rare, 2, "once in each 10,000");
}

#[test]
fn weights_that_make_no_split_are_refused_with_the_reason() {
    let error = |weights: &[u16]| Split::new(weights, 0).err();
    assert_eq!(error(&[]), Some(SplitError::NoArms));
    assert_eq!(error(&[10_000, 0]), Some(SplitError::ZeroWeight(1)));
    assert_eq!(error(&[5_000, 4_999]), Some(SplitError::Sum(9_999)));
    assert_eq!(error(&[u16::MAX; 16]), Some(SplitError::Sum(16 * 65_535)));
    assert_eq!(error(&[1; 17]), Some(SplitError::TooManyArms(17)));
    assert_eq!(error(&[10_000]), None);
}
