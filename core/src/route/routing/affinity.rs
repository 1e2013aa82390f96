//! The same key to the same endpoint.

use super::super::rendezvous::Key;
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

/// What the documentation says, endpoint by endpoint and with a logarithm for each: who is first of those
/// for which `may_be` holds.
fn first_to_arrive(
    candidates: &[Candidate],
    key: u64,
    may_be: impl Fn(&Candidate) -> bool,
) -> Option<usize> {
    let arrival = |candidate: &Candidate| {
        let distance = Key::new(key).distance(candidate.endpoint) as f64;
        -(1.0 - distance / (1_u64 << 53) as f64).ln() / f64::from(candidate.effective_weight())
    };
    let those = candidates.iter().enumerate().filter(|(_, candidate)| may_be(candidate));
    let arriving = those.map(|(index, candidate)| (arrival(candidate), index));
    arriving.min_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, index)| index)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_choice_is_that_of_the_definition(
        // More than are kept, too.
        weights in proptest::collection::vec(
            prop_oneof![3 => Just(1_u16), 2 => 1..=10_u16, 1 => any::<u16>()], 1..300,
        ),
        same_weights in any::<bool>(),
        figures in proptest::collection::vec((0..12_u32, any::<bool>(), 1..=1000_u16), 300),
        (load_factor, loaded_first) in (900..2000_u32, any::<bool>()),
        keys in proptest::collection::vec(any::<u64>(), 1..20),
    ) {
        let weights = if same_weights { std::vec![weights[0].max(1); weights.len()] } else { weights };
        let mut candidates = weighted(&weights);
        for (candidate, &(outstanding, loaded, ramp)) in candidates.iter_mut().zip(&figures) {
            let ramp = if same_weights { FULL_RAMP } else { ramp };
            *candidate = Candidate { outstanding, loaded, ramp, ..*candidate };
        }
        let policy = Affinity { load_factor, loaded_first, ..Affinity::STICKY };
        let fit = |one: &Candidate| one.weight > 0;
        let sum = |figure: fn(&Candidate) -> u32| {
            candidates.iter().filter(|one| fit(one)).map(|one| u128::from(figure(one))).sum::<u128>()
        };
        let (requests, weight) = (sum(|one| one.outstanding) + 1, sum(Candidate::effective_weight));
        let has_room = |one: &Candidate| {
            u128::from(one.outstanding) * weight * 1000
                < u128::from(load_factor.max(1000)) * requests * u128::from(one.effective_weight())
        };
        let is_warm = |one: &Candidate| one.loaded || !loaded_first;
        for key in keys {
            let context = RouteContext { sticky: Some(key), ..request(1) };
            let choice = policy.choose(&context, &candidates[..], &mut ());
            let Some(owner) = first_to_arrive(&candidates, key, fit) else {
                prop_assert_eq!(choice, Err(NoRoute::AllExcluded));
                continue;
            };
            let warm =
                first_to_arrive(&candidates, key, |one| fit(one) && has_room(one) && is_warm(one));
            let cold = first_to_arrive(&candidates, key, |one| fit(one) && has_room(one));
            let expected = match (warm, cold) {
                (Some(warm), _) if warm == owner => (owner, Reason::KeyOwner),
                (Some(warm), _) if loaded_first => (warm, Reason::Loaded),
                (Some(warm), _) => (warm, Reason::KeyOverflow),
                (None, Some(cold)) => (cold, Reason::ColdLoad),
                (None, None) => unreachable!("someone has room"),
            };
            let choice = choice.unwrap();
            prop_assert_eq!((choice.index, choice.reason), expected);
        }
    }
}

#[test]
fn keys_and_endpoints_that_are_numbered_are_divided_by_weight_too() {
    // Who is first and who would be if that one left, over keys 0, 1, 2 …: as often as weights say.
    for weights in [&[1_u16; 6][..], &[1, 2, 3, 4]] {
        let mut candidates = weighted(weights);
        (0..).zip(&mut candidates).for_each(|(number, one)| one.endpoint = EndpointId(number));
        let mut counts = std::vec![std::vec![0; weights.len()]; weights.len()];
        let keys = 40_000;
        for key in 0..keys {
            let context = RouteContext { sticky: Some(key), ..request(1) };
            let choose =
                |context| Affinity::STICKY.choose(&context, &candidates[..], &mut ()).unwrap();
            let first = choose(context);
            let blocked = [first.endpoint];
            let second = choose(RouteContext { blocked: &blocked, ..context });
            counts[first.index][second.index] += 1;
        }
        let all = f64::from(weights.iter().sum::<u16>());
        for (first, counts) in counts.iter().enumerate() {
            for (second, &count) in counts.iter().enumerate().filter(|&(second, _)| second != first)
            {
                let [one, other] = [first, second].map(|index| f64::from(weights[index]));
                let share = one / all * other / (all - one);
                assert!(is_near(count, keys as usize, share), "{weights:?}: {counts:?}");
            }
        }
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
