//! Endpoints that join, drain and leave, and splits that change, while requests are under way.

use super::*;
use crate::routing::{self, EndpointEntry, SplitEntry};

fn at(name: &str) -> EndpointEntry {
    EndpointEntry::new(name, format!("http://{name}:1"))
}

fn parts(parts: &[(&str, f64)]) -> Vec<SplitEntry> {
    let part = |&(version, percent): &(&str, f64)| SplitEntry {
        version: version.into(),
        basis_points: percent * 100.0,
    };
    parts.iter().map(part).collect()
}

fn standing(bench: &Bench, name: &str) -> Option<(&'static str, u64, bool)> {
    let standings = bench.gateway.standings();
    let found = standings.iter().find(|standing| standing.name == name);
    found.map(|it| (it.health, it.outstanding, it.drained))
}

#[tokio::test]
async fn who_joins_gets_requests_and_who_leaves_gets_none() {
    let bench = bench(&[Does::Answers, Does::Answers], DIGITS);
    assert_eq!(bench.gateway.leave("b"), Ok(TableVersion(2)));
    assert_eq!(standing(&bench, "b"), None, "it had no requests");
    for _ in 0..50 {
        assert_eq!(bench.send().await.unwrap().1.endpoint.as_deref(), Some("a"));
    }
    assert_eq!(bench.gateway.join(at("b")), Ok(TableVersion(3)));
    for _ in 0..200 {
        bench.send().await.unwrap();
    }
    assert!(bench.fake("b").asked() > 0);
    assert_eq!(standing(&bench, "b"), Some(("healthy", 0, false)));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_is_drained_when_its_last_request_has_ended() {
    for (gone, leave) in [("draining", false), ("gone", true)] {
        let bench = bench(&[Does::Hangs], DIGITS);
        let asking = Arc::clone(&bench.gateway);
        let request = tokio::spawn(async move {
            let request = InferRequest::default();
            asking.infer("digits", None, request, &Hints::default()).await.is_ok()
        });
        while bench.fake("a").asked() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(standing(&bench, "a"), Some(("healthy", 1, false)));
        if leave { bench.gateway.leave("a") } else { bench.gateway.drain("a") }.unwrap();
        assert_eq!(standing(&bench, "a"), Some((gone, 1, false)), "it still has its request");
        // Its client gives up.
        request.abort();
        assert!(request.await.unwrap_err().is_cancelled());
        let after = (!leave).then_some(("draining", 0, true));
        assert_eq!(standing(&bench, "a"), after);
        assert!(bench.send().await.is_err(), "nobody else is there");
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_is_drained_when_its_last_copy_has_ended_and_gets_no_other() {
    let bench = bench(&[Does::Answers, Does::Hangs], SHADOWED);
    bench.send().await.unwrap();
    while bench.fake("b").asked() == 0 {
        tokio::task::yield_now().await;
    }
    bench.gateway.drain("b").unwrap();
    assert_eq!(standing(&bench, "b"), Some(("draining", 1, false)), "the copy is there");
    assert_eq!(bench.send().await.unwrap().1.shadows, 0, "another is not sent");
    tokio::time::sleep(GatewayOptions::default().attempt_timeout * 2).await;
    assert_eq!(standing(&bench, "b"), Some(("draining", 0, true)));
}

#[tokio::test]
async fn a_split_that_changes_divides_what_comes_from_then_on() {
    let bench = bench(&[Does::Answers], DIGITS);
    bench.send().await.unwrap();
    bench.gateway.set_split("digits", parts(&[("1", 75.0), ("2", 25.0)])).unwrap();
    for _ in 0..10_000 {
        bench.send().await.unwrap();
    }
    let of = |version: &str| {
        let versions = bench.fake("a").versions();
        versions.iter().filter(|asked| asked.as_deref() == Some(version)).count()
    };
    assert_eq!((of("1"), of("2")), (7_500, 2_500));
    bench.gateway.set_split("digits", Vec::new()).unwrap();
    bench.send().await.unwrap();
    assert_eq!(bench.fake("a").versions().last(), Some(&None), "it goes to the newest again");
}

#[tokio::test]
async fn a_change_that_makes_no_sense_is_refused_with_what_would() {
    let models = "[[models]]\nname = \"digits\"\nendpoints = [\"a\"]\n";
    let bench = bench(&[Does::Answers, Does::Answers], models);
    let before = bench.gateway.table().version();
    let told = |error: TableChangeError| error.to_string();
    let unknown = told(bench.gateway.drain("c").unwrap_err());
    assert_eq!(unknown, "no endpoint 'c' in the table; it has a, b");
    assert!(told(bench.gateway.leave("a").unwrap_err()).contains("'a'"), "a model names it");
    let unknown = told(bench.gateway.set_split("letters", Vec::new()).unwrap_err());
    assert_eq!(unknown, "no routes for model 'letters' in the table; it has digits");
    for wrong in [&[("1", 90.0)][..], &[("1", 90.0), ("2", 10.001)], &[("1", f64::NAN)]] {
        bench.gateway.set_split("digits", parts(wrong)).unwrap_err();
    }
    assert!(bench.gateway.join(at("nowhere")).is_err());
    assert_eq!(bench.gateway.table().version(), before, "nothing has changed");
    bench.send().await.unwrap();
}

#[tokio::test]
async fn of_two_changes_to_the_same_version_one_is_refused() {
    let bench = bench(&[Does::Answers], DIGITS);
    let seen = bench.gateway.table().version();
    let rename = |routes: &mut Routes| {
        routes.models[0].policy = crate::routing::PolicyName::RoundRobin;
        Ok::<(), PublishError>(())
    };
    let mine = bench.gateway.change(Some(seen), rename).unwrap();
    let late = bench.gateway.change(Some(seen), rename);
    let conflict = routing::PublishError::Conflict { expected: seen, current: mine };
    assert_eq!(late, Err(conflict.into()));
}

#[test]
fn changes_of_many_threads_are_all_there_in_the_end() {
    let bench = bench(&[Does::Answers, Does::Answers, Does::Answers, Does::Answers], DIGITS);
    let gateway = &bench.gateway;
    std::thread::scope(|scope| {
        for name in ["a", "b", "c", "d"] {
            scope.spawn(move || {
                for weight in 1..=50 {
                    gateway.join(EndpointEntry { weight: f64::from(weight), ..at(name) }).unwrap();
                }
            });
        }
    });
    let table = gateway.table();
    assert_eq!(table.version(), TableVersion(1 + 4 * 50));
    assert!(table.written().endpoints.iter().all(|endpoint| endpoint.weight == 50.0));
}
