//! Versions of a model have a health of their own at each endpoint.

use super::scripted::{Scripted, answer, health, metadata, output, over, rows, send, spec};
use super::*;
use crate::gateway::presence::Presence;
use crate::gateway::versions::MOST_NAMED;
use tensorforge_core::route::Health;

const SPLIT: &str = "[[models]]\nname = \"digits\"\npolicy = \"round_robin\"\nsplit = [\
    { version = \"1\", basis_points = 5000 }, { version = \"2\", basis_points = 5000 }]\n";

/// Endpoints where requests for `bad` fail, and all others are answered.
fn failing(bad: &'static str, endpoints: usize) -> Vec<Arc<Scripted>> {
    let all: Vec<_> = (0..endpoints).map(|_| Scripted::new()).collect();
    for endpoint in &all {
        endpoint.does(move |version, request| match version {
            Some(version) if version == bad => Err(status(500)),
            _ => Ok(answer(version, request, vec![output(&[1, 2])])),
        });
    }
    all
}

fn ejected(gateway: &Gateway, version: Option<&str>, names: &[&str]) -> usize {
    names.iter().filter(|name| health(gateway, version, name) == "ejected").count()
}

#[tokio::test(start_paused = true)]
async fn a_version_that_fails_leaves_the_one_beside_it_alone_whichever_it_is() {
    for (bad, good) in [("2", "1"), ("1", "2")] {
        let gateway = over(&failing(bad, 4), SPLIT);
        let (mut answered, mut failed) = (0, 0);
        for _ in 0..400 {
            match send(&gateway, None, rows(1)).await {
                Ok((response, taken)) => {
                    assert_eq!(response.model_version, good);
                    assert_eq!(taken.admission, "healthy");
                    answered += 1;
                }
                Err(_) => failed += 1,
            }
        }
        assert_eq!((answered, failed), (200, 200), "each version got its part");
        let all = ["a", "b", "c", "d"];
        assert_eq!(ejected(&gateway, Some(bad), &all), 2, "as many as its cap allows");
        let metrics = gateway.metrics();
        let shown = metrics.lines().filter(|line| {
            line.starts_with("tensorforge_route_endpoint_health{")
                && line.contains("health=\"ejected\"")
                && line.ends_with(" 1")
        });
        assert_eq!(shown.count(), 2, "the metrics show where any version is ejected");
        assert_eq!(ejected(&gateway, Some(good), &all), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_version_that_only_requests_name_has_a_health_of_its_own() {
    let gateway = over(&failing("7", 2), IN_TURN);
    for _ in 0..40 {
        assert!(send(&gateway, Some("7"), rows(1)).await.is_err());
        assert!(send(&gateway, None, rows(1)).await.is_ok());
    }
    assert_eq!(ejected(&gateway, Some("7"), &["a", "b"]), 1);
    assert_eq!(ejected(&gateway, None, &["a", "b"]), 0);
    assert_eq!(ejected(&gateway, Some("8"), &["a", "b"]), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_versions_goes_on_over_a_new_table() {
    let gateway = over(&failing("2", 2), IN_TURN);
    for _ in 0..40 {
        assert!(send(&gateway, Some("2"), rows(1)).await.is_err());
    }
    let known = |gateway: &Gateway| ejected(gateway, Some("2"), &["a", "b"]);
    assert_eq!(known(&gateway), 1);
    // Named by requests, by the table, and by requests again.
    for models in [IN_TURN, SPLIT, SPLIT, IN_TURN] {
        let table = entry("a") + &entry("b") + models;
        gateway.publish(Routes::from_toml(&table).unwrap()).unwrap();
        assert_eq!(known(&gateway), 1);
    }
    let cap = || {
        let plan = gateway.plan.load();
        let routes = &plan.models["digits"];
        let seating = routes.by_version.of(Some("2"), &gateway.lasting, gateway.clock.now());
        seating.seats[0].version.cap.load().ejected()
    };
    assert_eq!(cap(), 1);
    let left = if health(&gateway, Some("2"), "a") == "ejected" { "b" } else { "a" };
    gateway.publish(Routes::from_toml(&(entry(left) + IN_TURN)).unwrap()).unwrap();
    assert_eq!(cap(), 0, "whoever has left is not counted");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_only_a_rule_names_is_probed_and_leaves_as_any_other() {
    let endpoints = [Scripted::new(), Scripted::new()];
    let table = |places: &str| {
        let rule = "rules = [{ header = \"x-b\", endpoint = \"b\" }]\n";
        DIGITS.to_owned()
            + "endpoints = "
            + places
            + "\nhealth = { most_ejected_percent = 100 }\n"
            + rule
    };
    let publish = |gateway: &Gateway, models: &str| {
        let table = entry("a") + &entry("b") + models;
        gateway.publish(Routes::from_toml(&table).unwrap()).unwrap();
    };
    let gateway = over(&endpoints, &table("[\"a\", \"b\"]"));
    endpoints[1].does(|_, _| Err(status(500)));
    let hints = Hints { headers: vec![("x-b".into(), "yes".into())] };
    for _ in 0..20 {
        assert!(gateway.infer("digits", None, rows(1), &hints).await.is_err());
    }
    let ruled = |gateway: &Gateway| {
        let plan = gateway.plan.load();
        plan.models["digits"].by_version.unversioned().only[0][0].clone()
    };
    let (cap, now) = (ruled(&gateway).version.cap.load_full(), gateway.clock.now());
    for _ in 0..2 {
        publish(&gateway, &table("[\"a\"]"));
        let health = ruled(&gateway).version.health.health(now);
        assert_eq!((health, cap.ejected()), (Health::Ejected, 1), "the rule still names it");
    }

    *lock(&endpoints[1].metadata) = Err(status(404));
    gateway.probe().await;
    assert_eq!(ruled(&gateway).model.presence.of(None), Presence::Absent);

    // A request that is under way holds its table.
    let held = gateway.plan.load_full();
    publish(&gateway, &(DIGITS.to_owned() + "endpoints = [\"a\"]\n"));
    assert_eq!(cap.ejected(), 0, "nothing names it any more");
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_version_that_requests_name_is_met_by_rules_that_name_an_endpoint() {
    let models = IN_TURN.to_owned() + "rules = [{ header = \"x-b\", endpoint = \"b\" }]\n";
    let endpoints = failing("2", 2);
    let gateway = over(&endpoints, &models);
    let hints = Hints { headers: vec![("x-b".into(), "yes".into())] };
    for _ in 0..20 {
        assert!(gateway.infer("digits", Some("2"), rows(1), &hints).await.is_err());
        assert!(gateway.infer("digits", Some("1"), rows(1), &hints).await.is_ok());
    }
    assert_eq!(endpoints[0].asked(), 0);
    assert_eq!(health(&gateway, Some("2"), "b"), "ejected");
    assert_eq!(health(&gateway, Some("1"), "b"), "healthy");
}

#[tokio::test(start_paused = true)]
async fn versions_that_requests_name_are_bounded_and_more_share_one_health() {
    let gateway = over(&failing("bad", 2), IN_TURN);
    for number in 0..2 * MOST_NAMED {
        send(&gateway, Some(&format!("{number}")), rows(1)).await.unwrap();
    }
    let known = || gateway.plan.load().models["digits"].by_version.versioned();
    assert_eq!(known().len(), MOST_NAMED);
    for _ in 0..40 {
        assert!(send(&gateway, Some("bad"), rows(1)).await.is_err());
    }
    assert_eq!(known().len(), MOST_NAMED);
    assert_eq!(ejected(&gateway, None, &["a", "b"]), 1, "it shares that of requests without one");
    // A minute later those that nobody asks for any more make room.
    tokio::time::advance(Duration::from_secs(61)).await;
    send(&gateway, Some("5"), rows(1)).await.unwrap();
    for _ in 0..40 {
        assert!(send(&gateway, Some("bad"), rows(1)).await.is_err());
    }
    assert_eq!(ejected(&gateway, Some("bad"), &["a", "b"]), 1);
    let names: Vec<String> = known().into_iter().map(|(version, _)| version).collect();
    assert_eq!(names.len(), MOST_NAMED);
    assert!(names.iter().any(|name| name == "5") && names.iter().any(|name| name == "bad"));
    tokio::time::advance(Duration::from_secs(3)).await;
    let long = "x".repeat(300);
    send(&gateway, Some(&long), rows(1)).await.unwrap();
    assert!(known().iter().all(|(version, _)| *version != long), "a name too long to be kept");
}

#[tokio::test(start_paused = true)]
async fn names_that_nobody_has_give_way_to_a_version_that_somebody_has() {
    let endpoints = failing("7", 2);
    let gateway = over(&endpoints, IN_TURN);
    gateway.probe().await;
    for number in 0..MOST_NAMED {
        send(&gateway, Some(&format!("none-{number}")), rows(1)).await.unwrap();
    }
    let known = || gateway.plan.load().models["digits"].by_version.versioned();
    let has = |name: &str| known().iter().any(|(version, _)| version == name);
    send(&gateway, Some("none-more"), rows(1)).await.unwrap();
    assert!(!has("none-more"), "it is no better than those before it");
    let both = ModelMetadata {
        versions: vec!["1".into(), "7".into()],
        ..metadata("1", &[spec("y", &[-1, 2])])
    };
    *lock(&endpoints[0].metadata) = Ok(both);
    gateway.probe().await;
    for _ in 0..40 {
        assert!(send(&gateway, Some("7"), rows(1)).await.is_err());
    }
    assert!(has("7") && known().len() == MOST_NAMED);
    assert_eq!(ejected(&gateway, None, &["a", "b"]), 0);
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_ill_is_kept_longer_but_not_for_ever() {
    let gateway = over(&failing("bad", 2), IN_TURN);
    let knows_bad = || {
        let known = gateway.plan.load().models["digits"].by_version.versioned();
        assert_eq!(known.len(), MOST_NAMED);
        known.iter().any(|(version, _)| version == "bad")
    };
    let name_others = async |round: usize| {
        for number in 0..MOST_NAMED {
            send(&gateway, Some(&format!("{round}-{number}")), rows(1)).await.unwrap();
        }
    };
    for _ in 0..40 {
        assert!(send(&gateway, Some("bad"), rows(1)).await.is_err());
    }
    assert_eq!(ejected(&gateway, Some("bad"), &["a", "b"]), 1);
    for (round, seconds, is_kept) in [(0, 0, true), (1, 61, true), (2, 400, true), (3, 200, false)]
    {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        name_others(round).await;
        assert_eq!(knows_bad(), is_kept, "{round}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_shadow_goes_where_its_version_is_well() {
    let models = DIGITS.to_owned()
        + "shadows = [{ model = \"digits\", version = \"2\", percent = 100 }]\n\
           rules = [{ header = \"x-a\", endpoint = \"a\" }]\n";
    let endpoints = failing("none", 2);
    endpoints[0].does(|version, request| match version {
        Some("2") => Err(status(500)),
        _ => Ok(answer(version, request, vec![output(&[1, 2])])),
    });
    let gateway = over(&endpoints, &models);
    let hints = Hints { headers: vec![("x-a".into(), "yes".into())] };
    for _ in 0..20 {
        assert!(gateway.infer("digits", Some("2"), rows(1), &hints).await.is_err());
    }
    assert_eq!(health(&gateway, Some("2"), "a"), "ejected");
    let copies_at_a = || lock(&endpoints[0].asked).iter().filter(|it| it.is_some()).count();
    // Those that were sent before have arrived.
    let settle = async || {
        while gateway.shadows().iter().any(|it| it.answered + it.failed < it.copies) {
            tokio::task::yield_now().await;
        }
    };
    settle().await;
    let before = copies_at_a();
    for _ in 0..20 {
        send(&gateway, None, rows(1)).await.unwrap();
        settle().await;
    }
    assert_eq!(copies_at_a(), before);
}
