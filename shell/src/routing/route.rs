//! A route, and which of several to take.

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// A way to somewhere: its name, and how long it takes.
///
/// ```
/// use tensorforge::routing::Route;
///
/// let route = Route { channel: "edge-1".to_string(), latency: 12 };
/// assert_eq!(route, route.clone());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Its name.
    pub channel: String,
    /// How long it takes, in the caller's unit. A negative one is not known.
    pub latency: i32,
}

/// The route of the lowest latency that is 0 or more and whose channel is not `blocked`; among equals the
/// one whose channel's name comes first. `None` when none is left.
///
/// O(routes × blocked).
///
/// ```
/// use tensorforge::routing::{Route, choose_route};
///
/// let route = |channel: &str, latency| Route { channel: channel.to_string(), latency };
/// let routes = [route("b", 5), route("a", 5), route("c", 1), route("unknown", -1)];
/// assert_eq!(choose_route(&routes, &["c".to_string()]), Some(route("a", 5)));
/// ```
#[must_use]
pub fn choose_route(routes: &[Route], blocked: &[String]) -> Option<Route> {
    let usable = |route: &&Route| route.latency >= 0 && !blocked.contains(&route.channel);
    routes.iter().filter(usable).min_by(|a, b| compare_routes(a, b)).cloned()
}

/// [`choose_route`] with nothing blocked. O(routes).
///
/// ```
/// use tensorforge::routing::{Route, best_route};
///
/// let route = |channel: &str, latency| Route { channel: channel.to_string(), latency };
/// assert_eq!(best_route(&[route("a", 9), route("b", 2)]), Some(route("b", 2)));
/// assert_eq!(best_route(&[]), None);
/// ```
#[must_use]
pub fn best_route(routes: &[Route]) -> Option<Route> {
    choose_route(routes, &[])
}

/// The lower latency first; among equals by the channel's name. Negative latencies come before all others:
/// [`choose_route`] passes them over, this order does not.
///
/// ```
/// use std::cmp::Ordering;
/// use tensorforge::routing::{Route, compare_routes};
///
/// let route = |channel: &str, latency| Route { channel: channel.to_string(), latency };
/// assert_eq!(compare_routes(&route("z", 1), &route("a", 2)), Ordering::Less);
/// assert_eq!(compare_routes(&route("z", 1), &route("a", 1)), Ordering::Greater);
/// ```
#[must_use]
pub fn compare_routes(a: &Route, b: &Route) -> Ordering {
    a.latency.cmp(&b.latency).then_with(|| a.channel.cmp(&b.channel))
}

/// The first route, in the order given, whose channel is not `primary`; whatever its latency. `None` when
/// there is no other. O(routes).
///
/// ```
/// use tensorforge::routing::{Route, route_failover};
///
/// let route = |channel: &str, latency| Route { channel: channel.to_string(), latency };
/// let routes = [route("main", 1), route("spare", 90), route("other", 2)];
/// assert_eq!(route_failover(&routes, "main"), Some(route("spare", 90)));
/// assert_eq!(route_failover(&routes[..1], "main"), None);
/// ```
#[must_use]
pub fn route_failover(routes: &[Route], primary: &str) -> Option<Route> {
    routes.iter().find(|route| route.channel != primary).cloned()
}

/// Whether a route's channel is not `blocked` and its latency is above 0: one of 0 was never measured.
/// O(blocked).
///
/// ```
/// use tensorforge::routing::{Route, route_available};
///
/// let route = |latency| Route { channel: "a".to_string(), latency };
/// assert!(route_available(&route(1), &["b".to_string()]));
/// assert!(!route_available(&route(1), &["a".to_string()]));
/// assert!(!route_available(&route(0), &[]));
/// ```
#[must_use]
pub fn route_available(route: &Route, blocked: &[String]) -> bool {
    route.latency > 0 && !blocked.contains(&route.channel)
}

#[cfg(test)]
mod tests;
