//! The same key to the same endpoint.

use super::*;

fn user(number: u64) -> RouteContext<'static> {
    RouteContext { sticky: Some(stable_hash(&number.to_be_bytes())), ..request(number) }
}

fn owner(policy: &Affinity, candidates: &[Candidate], number: u64) -> EndpointId {
    policy.choose(&user(number), candidates, &mut ()).unwrap().endpoint
}

proptest! {
    #[test]
    fn a_key_stays_whatever_the_order_and_the_random_bits(
        weights in proptest::collection::vec(1..=9_u16, 1..30),
        key in any::<u64>(),
        (one, other) in any::<(u64, u64)>(),
    ) {
        let mut candidates = weighted(&weights);
        let with = |random| RouteContext { sticky: Some(key), ..RouteContext::new(at(0), random) };
        let first = Affinity::STICKY.choose(&with(one), &candidates[..], &mut ()).unwrap();
        candidates.reverse();
        let again = Affinity::STICKY.choose(&with(other), &candidates[..], &mut ()).unwrap();
        prop_assert_eq!(first.endpoint, again.endpoint);
        prop_assert_eq!(first.reason, Reason::KeyOwner);
    }

    #[test]
    fn who_leaves_moves_its_own_keys_and_no_other(
        weights in proptest::collection::vec(1..=9_u16, 2..20),
        leaving in any::<usize>(),
    ) {
        let all = weighted(&weights);
        let leaving = leaving % all.len();
        let mut rest = all.clone();
        let left = rest.remove(leaving).endpoint;
        for number in 0..200 {
            let before = owner(&Affinity::STICKY, &all, number);
            let after = owner(&Affinity::STICKY, &rest, number);
            // Read the other way round: who comes takes keys and moves no other.
            prop_assert!(before == left || before == after);
        }
    }

    #[test]
    fn nobody_has_more_than_the_bound_however_hot_the_keys(
        weights in proptest::collection::vec(1..=9_u16, 1..20),
        keys in proptest::collection::vec(0..3_u64, 1..300),
        load_factor in 1000..2000_u32,
    ) {
        let policy = Affinity { load_factor, ..Affinity::STICKY };
        let mut candidates = weighted(&weights);
        let all: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
        for (requests, key) in (1..).zip(keys) {
            let choice = policy.choose(&user(key), &candidates[..], &mut ()).unwrap();
            candidates[choice.index].outstanding += 1;
            // ceil(factor × share of all requests, by weight)
            let weight = u64::from(weights[choice.index]);
            let most = (u64::from(load_factor) * requests * weight).div_ceil(1000 * all);
            prop_assert!(u64::from(candidates[choice.index].outstanding) <= most);
        }
    }

    #[test]
    fn a_key_overflows_only_when_its_owner_is_full(
        outstanding in proptest::collection::vec(0..30_u32, 1..20),
        key in any::<u64>(),
    ) {
        let idle = equals(outstanding.len());
        let mut busy = idle.clone();
        for (candidate, &outstanding) in busy.iter_mut().zip(&outstanding) {
            candidate.outstanding = outstanding;
        }
        let owner = Affinity::STICKY.choose(&user(key), &idle[..], &mut ()).unwrap();
        let choice = Affinity::STICKY.choose(&user(key), &busy[..], &mut ()).unwrap();
        let requests: u32 = outstanding.iter().sum::<u32>() + 1;
        let share = f64::from(requests) / outstanding.len() as f64;
        let is_full = f64::from(outstanding[owner.index]) >= 1.25 * share;
        prop_assert_eq!(choice.reason == Reason::KeyOverflow, is_full);
        prop_assert_eq!(choice.index == owner.index, !is_full);
    }
}

#[test]
fn keys_are_divided_by_weight() {
    let candidates = weighted(&[1, 2, 3, 4]);
    let mut counts = [0; 4];
    for number in 0..20_000 {
        let choice = Affinity::STICKY.choose(&user(number), &candidates[..], &mut ()).unwrap();
        counts[choice.index] += 1;
    }
    for (count, share) in counts.into_iter().zip([0.1, 0.2, 0.3, 0.4]) {
        assert!(is_near(count, 20_000, share), "{counts:?}");
    }
}

#[test]
fn who_comes_takes_its_share() {
    let (before, after) = (equals(9), equals(10));
    let moved = (0..10_000)
        .filter(|&number| {
            owner(&Affinity::STICKY, &before, number) != owner(&Affinity::STICKY, &after, number)
        })
        .count();
    assert!(is_near(moved, 10_000, 0.1), "{moved}");
}

#[test]
fn models_go_where_they_are_loaded_and_spread_when_they_are_hot() {
    let mut candidates = equals(10);
    candidates.iter_mut().for_each(|candidate| candidate.loaded = false);
    let request = RouteContext { version: Some(MODEL), ..request(1) };
    let choose =
        |candidates: &[Candidate]| Affinity::MODEL.choose(&request, candidates, &mut ()).unwrap();
    // Nobody has it: its owner loads it.
    let cold = choose(&candidates);
    assert_eq!(cold.reason, Reason::ColdLoad);
    candidates[cold.index].loaded = true;
    assert_eq!(choose(&candidates).reason, Reason::KeyOwner);
    // Another has it, too; the owner goes first.
    let other = (cold.index + 1) % 10;
    candidates[other].loaded = true;
    assert_eq!(choose(&candidates).index, cold.index);
    // The owner has its full share: the other one that has it comes next.
    candidates[cold.index].outstanding = 10;
    let next = choose(&candidates);
    assert_eq!((next.index, next.reason), (other, Reason::Loaded));
    // Both have: a third one loads it.
    candidates[other].outstanding = 10;
    let third = choose(&candidates);
    assert_eq!(third.reason, Reason::ColdLoad);
    assert!(!candidates[third.index].loaded);
}

#[test]
fn a_key_of_an_annotation_or_a_tenant_is_one() {
    let candidates = equals(50);
    let name = stable_hash(b"x-session");
    for policy in [
        Affinity { key: AffinityKey::Annotation(name), ..Affinity::STICKY },
        Affinity { key: AffinityKey::Tenant, ..Affinity::STICKY },
    ] {
        let endpoints = |value: u64| {
            let annotations = [Annotation { name, value }];
            let all = (0..20).map(|number| {
                let context =
                    RouteContext { annotations: &annotations, tenant: value, ..request(number) };
                policy.choose(&context, &candidates[..], &mut ()).unwrap().index
            });
            all.collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(endpoints(1).len(), 1);
        let owners: std::collections::BTreeSet<_> = (1..50).flat_map(endpoints).collect();
        assert!(owners.len() > 10, "keys spread");
    }
}

#[test]
fn a_request_without_a_key_goes_anywhere() {
    let counts = counts(&chosen(&Affinity::STICKY, &equals(4), 8_000), 4);
    assert!(counts.iter().all(|&count| is_near(count, 8_000, 0.25)));
}
