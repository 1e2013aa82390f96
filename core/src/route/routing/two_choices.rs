//! Policies that compare.

use super::*;

/// Requests that come and never end, each where `policy` says: the largest queue.
fn longest_queue(policy: &dyn RoutingPolicy, endpoints: usize, requests: u64) -> u32 {
    let mut candidates = equals(endpoints);
    for number in 0..requests {
        let choice = policy.choose(&request(number), &candidates[..], &mut ()).unwrap();
        candidates[choice.index].outstanding += 1;
    }
    candidates.iter().map(|candidate| candidate.outstanding).max().unwrap()
}

#[test]
fn two_choices_keep_the_longest_queue_near_the_average() {
    // m/n + ln ln n / ln 2 + O(1), whatever m is (Berenbrink et al. 2000): 2.2 and a few for 100.
    for each in [1, 10, 100] {
        let longest = longest_queue(&LeastRequest::default(), 100, 100 * each);
        assert!(u64::from(longest) <= each + 5, "{longest} for {each}");
        // One choice is off by about √(2 m/n ln n): 30 for 100 each.
        if each == 100 {
            assert!(u64::from(longest_queue(&WeightedRandom, 100, 100 * each)) > each + 10);
        }
    }
}

#[test]
fn the_cheapest_of_all_keeps_queues_even() {
    for endpoints in [1, 7, 100] {
        let longest = longest_queue(&Cheapest(Outstanding), endpoints, 10 * endpoints as u64);
        assert_eq!(longest, 10);
    }
}

#[test]
fn equally_cheap_ones_are_drawn_evenly() {
    let counts = counts(&chosen(&Cheapest(Outstanding), &equals(5), 10_000), 5);
    assert!(counts.iter().all(|&count| is_near(count, 10_000, 0.2)), "{counts:?}");
}

#[test]
fn the_two_that_are_compared_are_two() {
    for count in 2..8 {
        let candidates = equals(count);
        let mut pairs = std::collections::BTreeSet::new();
        for number in 0..2_000 {
            let mut told = Told::default();
            LeastRequest::default().choose(&request(number), &candidates[..], &mut told).unwrap();
            let [(one, _), (other, _)] = told.costs[..] else { panic!("not two") };
            assert_ne!(one, other);
            pairs.insert((one, other));
        }
        assert_eq!(pairs.len(), count * (count - 1), "every pair, either way round");
    }
}

#[test]
fn the_cheaper_of_the_two_is_chosen_as_told() {
    let mut candidates = equals(10);
    for (outstanding, candidate) in (0..).zip(&mut candidates) {
        candidate.outstanding = outstanding;
        candidate.latency = Some(Duration::from_micros(1 + u64::from(outstanding)));
    }
    for policy in [&LeastRequest::default() as &dyn RoutingPolicy, &Latency::default()] {
        for number in 0..100 {
            let mut told = Told::default();
            let choice = policy.choose(&request(number), &candidates[..], &mut told).unwrap();
            let least = told.costs.iter().map(|&(_, cost)| cost).min();
            let own = told.costs.iter().find(|(index, _)| *index == choice.index);
            assert_eq!(own.map(|&(_, cost)| cost), least);
        }
    }
}

#[test]
fn queues_grow_by_weight() {
    let mut candidates = weighted(&[1, 2, 4]);
    for number in 0..700 {
        let policy = Cheapest(Outstanding);
        let choice = policy.choose(&request(number), &candidates[..], &mut ()).unwrap();
        candidates[choice.index].outstanding += 1;
    }
    for (candidate, expected) in candidates.iter().zip([100_u32, 200, 400]) {
        assert!(candidate.outstanding.abs_diff(expected) <= 2);
    }
}

fn latency_cost(candidate: Candidate, now: Instant) -> u64 {
    let request = RouteContext::new(now, 0);
    PeakEwmaCost::default().cost(&request, &candidate)
}

#[test]
fn a_latency_counts_for_every_request_that_would_be_there() {
    let quick = Candidate {
        latency: Some(Duration::from_millis(5)),
        measured_at: at(1_000),
        ..equals(1)[0]
    };
    assert_eq!(latency_cost(quick, at(1_000)), 5_000_000);
    let busy = Candidate { outstanding: 3, ..quick };
    assert_eq!(latency_cost(busy, at(1_000)), 20_000_000);
    let heavy = Candidate { weight: 2, ..busy };
    assert_eq!(latency_cost(heavy, at(1_000)), 10_000_000);
}

#[test]
fn a_latency_fades_so_that_who_was_slow_is_tried_again() {
    let slow =
        Candidate { latency: Some(Duration::from_secs(1)), measured_at: at(0), ..equals(1)[0] };
    let faded = latency_cost(slow, at(10_000)) as f64 / 1e9;
    assert!((faded - (-1_f64).exp()).abs() < 1e-6);
    assert_eq!(latency_cost(slow, at(10_000_000)), 0);
}

#[test]
fn who_is_unknown_is_asked_once_before_it_is_known() {
    let unknown = equals(1)[0];
    assert_eq!(latency_cost(unknown, at(0)), 0);
    let asked = Candidate { outstanding: 1, ..unknown };
    let slowest = Candidate { latency: Some(Duration::from_secs(3_600)), ..unknown };
    assert!(latency_cost(asked, at(0)) > latency_cost(slowest, at(0)));
}

#[test]
fn latency_moves_traffic_away_from_a_slow_endpoint() {
    let mut candidates = equals(10);
    for candidate in &mut candidates {
        candidate.latency = Some(Duration::from_millis(10));
        candidate.measured_at = at(1_000);
    }
    candidates[3].latency = Some(Duration::from_millis(500));
    let counts = counts(&chosen(&Latency::default(), &candidates, 1_000), 10);
    assert_eq!(counts[3], 0, "of two, the other one is quicker");
}
