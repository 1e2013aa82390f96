#![allow(clippy::unwrap_used)] // a test that panics has failed

use proptest::prelude::*;

use super::*;

fn route(channel: &str, latency: i32) -> Route {
    Route { channel: channel.to_string(), latency }
}

/// Few names and few latencies, so that equals and blocked ones are common; the extremes among them.
fn routes() -> impl Strategy<Value = Vec<Route>> {
    let latency = prop_oneof![
        6 => -1..3_i32,
        1 => prop::sample::select(vec![i32::MIN, i32::MIN + 1, i32::MAX]),
    ];
    let route = ("[a-d]{0,1}", latency);
    prop::collection::vec(route.prop_map(|(channel, latency)| Route { channel, latency }), 0..12)
}

fn blocked() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[a-d]{0,1}", 0..4)
}

proptest! {
    /// By elimination: a route is struck out when it is unusable or any usable one is better.
    #[test]
    fn the_chosen_route_is_the_one_that_no_usable_route_beats(
        routes in routes(),
        blocked in blocked(),
    ) {
        let mut left: Vec<&Route> = Vec::new();
        for route in &routes {
            if route.latency >= 0 && blocked.iter().all(|name| *name != route.channel) {
                left.push(route);
            }
        }
        let all = left.clone();
        left.retain(|route| {
            !all.iter().any(|other| {
                other.latency < route.latency
                    || other.latency == route.latency && other.channel < route.channel
            })
        });
        let chosen = choose_route(&routes, &blocked);
        prop_assert_eq!(chosen.as_ref(), left.first().copied());
        if blocked.is_empty() {
            prop_assert_eq!(best_route(&routes), chosen);
        }
    }

    #[test]
    fn the_order_of_the_routes_does_not_matter_for_the_choice(
        (routes, shuffled) in routes().prop_flat_map(|r| (Just(r.clone()), Just(r).prop_shuffle())),
        blocked in blocked(),
    ) {
        prop_assert_eq!(choose_route(&routes, &blocked), choose_route(&shuffled, &blocked));
    }

    #[test]
    fn routes_are_compared_by_latency_and_then_by_name(routes in routes()) {
        for a in &routes {
            for b in &routes {
                let expected = match i64::from(a.latency) - i64::from(b.latency) {
                    less if less < 0 => Ordering::Less,
                    more if more > 0 => Ordering::Greater,
                    _ => a.channel.cmp(&b.channel),
                };
                prop_assert_eq!(compare_routes(a, b), expected);
            }
        }
    }

    #[test]
    fn a_failover_is_the_first_in_order_that_is_not_the_primary(
        routes in routes(),
        primary in "[a-d]{0,1}",
    ) {
        let mut expected = None;
        for route in routes.iter().rev() {
            if route.channel != primary {
                expected = Some(route.clone());
            }
        }
        prop_assert_eq!(route_failover(&routes, &primary), expected);
    }

    #[test]
    fn a_route_is_available_above_zero_and_not_blocked(routes in routes(), blocked in blocked()) {
        for route in &routes {
            let is_free = blocked.iter().all(|name| *name != route.channel);
            let expected = is_free && i64::from(route.latency) >= 1;
            prop_assert_eq!(route_available(route, &blocked), expected);
        }
    }
}

#[test]
fn a_latency_of_zero_is_chosen_but_not_available() {
    let routes = [route("measured", 3), route("new", 0)];
    assert_eq!(choose_route(&routes, &[]), Some(route("new", 0)));
    assert!(!route_available(&routes[1], &[]));
    assert!(route_available(&routes[0], &[]));
}

#[test]
fn negative_latencies_are_never_chosen_and_nothing_is_left_of_only_such() {
    assert_eq!(choose_route(&[route("a", i32::MIN), route("b", -1)], &[]), None);
    assert_eq!(best_route(&[route("a", -7), route("b", i32::MAX)]), Some(route("b", i32::MAX)));
}

#[test]
fn among_equals_the_first_name_is_chosen() {
    let routes = [route("west", 5), route("east", 5), route("north", 5)];
    assert_eq!(best_route(&routes).unwrap().channel, "east");
    assert_eq!(choose_route(&routes, &["east".to_string()]).unwrap().channel, "north");
}

#[test]
fn with_everything_blocked_or_nothing_there_is_no_route() {
    assert_eq!(choose_route(&[route("a", 1)], &["a".to_string()]), None);
    assert_eq!(choose_route(&[], &[]), None);
    assert_eq!(best_route(&[]), None);
    assert_eq!(route_failover(&[], "a"), None);
    assert_eq!(route_failover(&[route("a", 1), route("a", 2)], "a"), None);
}

#[test]
fn a_failover_may_be_slower_and_comes_in_the_order_given() {
    let routes = [route("a", 1), route("b", 90), route("c", 2)];
    assert_eq!(route_failover(&routes, "a"), Some(route("b", 90)));
    assert_eq!(route_failover(&routes, "unknown"), Some(route("a", 1)));
}
