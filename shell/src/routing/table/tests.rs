#![allow(clippy::unwrap_used)] // a test that panics has failed

use super::*;
use crate::routing::ModelEntry;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

fn route(channel: &str, latency: i32) -> Route {
    Route { channel: channel.to_string(), latency }
}

fn endpoint(name: &str) -> EndpointEntry {
    EndpointEntry::new(name, format!("http://{name}:8000"))
}

fn routes(channels: &[Route], endpoints: &[&str]) -> Routes {
    Routes {
        channels: channels.to_vec(),
        endpoints: endpoints.iter().map(|name| endpoint(name)).collect(),
        ..Routes::default()
    }
}

#[test]
fn a_table_and_all_that_comes_of_it_can_be_shared_by_threads() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<RouteTable>();
    is_shared::<Snapshot>();
    is_shared::<Route>();
    is_shared::<Routes>();
}

#[test]
fn an_added_route_is_found_by_its_channel_and_replaced_by_the_next_one() {
    let table = RouteTable::new();
    assert_eq!((table.count(), table.all(), table.get("a")), (0, vec![], None));
    table.add(route("b", 2));
    table.add(route("a", 1));
    table.add(route("b", 3));
    assert_eq!(table.count(), 2);
    assert_eq!(table.all(), [route("a", 1), route("b", 3)]);
    assert_eq!(table.get("b"), Some(route("b", 3)));
}

#[test]
fn a_removed_route_is_given_back_once() {
    let table = RouteTable::new();
    table.add(route("a", 1));
    assert_eq!(table.remove("a"), Some(route("a", 1)));
    assert_eq!((table.remove("a"), table.get("a"), table.count()), (None, None, 0));
}

#[derive(Clone, Debug)]
enum Step {
    Add(Route),
    Remove(String),
    Publish(Vec<Route>),
    PublishIf(u64, Vec<Route>),
    Rollback(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let channel = || "[a-e]{0,1}";
    let route = || (channel(), -2..5_i32).prop_map(|(channel, latency)| Route { channel, latency });
    let step = prop_oneof![
        4 => route().prop_map(Step::Add),
        2 => channel().prop_map(Step::Remove),
        2 => prop::collection::vec(route(), 0..4).prop_map(Step::Publish),
        1 => (0..20_u64, prop::collection::vec(route(), 0..3))
            .prop_map(|(back, routes)| Step::PublishIf(back, routes)),
        2 => (0..20_u64).prop_map(Step::Rollback),
    ];
    prop::collection::vec(step, 0..40)
}

/// What a table is to be: all versions there ever were, and which are kept.
struct Model {
    content: BTreeMap<u64, BTreeMap<String, i32>>,
    kept: Vec<u64>,
    singles: Vec<u64>,
    most: usize,
}

impl Model {
    fn head(&self) -> u64 {
        *self.kept.last().unwrap()
    }

    fn now(&self) -> BTreeMap<String, i32> {
        self.content[&self.head()].clone()
    }

    fn next(&mut self, content: BTreeMap<String, i32>, is_single: bool) -> u64 {
        let version = self.head() + 1;
        if is_single {
            if self.singles.contains(&self.head()) {
                self.kept.pop();
            }
            self.singles.push(version);
        }
        self.content.insert(version, content);
        self.kept.push(version);
        let surplus = self.kept.len().saturating_sub(self.most);
        self.kept.drain(..surplus);
        version
    }
}

fn content_of(routes: &[Route]) -> Option<BTreeMap<String, i32>> {
    let content: BTreeMap<_, _> = routes.iter().map(|r| (r.channel.clone(), r.latency)).collect();
    let is_good = content.len() == routes.len() && !content.contains_key("");
    is_good.then_some(content)
}

proptest! {
    #[test]
    fn a_table_behaves_as_a_map_with_all_its_past(steps in steps(), most in 0..6_usize) {
        let table = RouteTable::keeping(most);
        let mut model = Model {
            content: BTreeMap::from([(0, BTreeMap::new())]),
            kept: vec![0],
            singles: vec![],
            most: most.max(1),
        };
        for step in steps {
            match step {
                Step::Add(route) => {
                    let mut content = model.now();
                    content.insert(route.channel.clone(), route.latency);
                    model.next(content, true);
                    table.add(route);
                }
                Step::Remove(channel) => {
                    let mut content = model.now();
                    let removed = content.remove(&channel);
                    if removed.is_some() {
                        model.next(content, true);
                    }
                    prop_assert_eq!(table.remove(&channel).map(|route| route.latency), removed);
                }
                Step::Publish(channels) => {
                    let published = table.publish(routes(&channels, &[]));
                    match content_of(&channels) {
                        Some(content) => {
                            prop_assert_eq!(published.unwrap().0, model.next(content, false));
                        }
                        None => prop_assert!(matches!(published, Err(PublishError::Invalid(_)))),
                    }
                }
                Step::PublishIf(expected, channels) => {
                    let published =
                        table.publish_if(TableVersion(expected), routes(&channels, &[]));
                    match content_of(&channels) {
                        Some(content) if expected == model.head() => {
                            prop_assert_eq!(published.unwrap().0, model.next(content, false));
                        }
                        Some(_) => {
                            let (expected, current) =
                                (TableVersion(expected), TableVersion(model.head()));
                            prop_assert_eq!(
                                published,
                                Err(PublishError::Conflict { expected, current })
                            );
                        }
                        None => prop_assert!(matches!(published, Err(PublishError::Invalid(_)))),
                    }
                }
                Step::Rollback(version) => {
                    let rolled_back = table.rollback(TableVersion(version));
                    if model.kept.contains(&version) {
                        let content = model.content[&version].clone();
                        prop_assert_eq!(rolled_back.unwrap().0, model.next(content, false));
                        let restored = table.current().restored();
                        prop_assert_eq!(restored, Some(TableVersion(version)));
                    } else {
                        let kept = model.kept.iter().copied().map(TableVersion).collect();
                        let version = TableVersion(version);
                        prop_assert_eq!(rolled_back, Err(RollbackError::NotKept { version, kept }));
                    }
                }
            }
            let all: Vec<_> = table.all().into_iter().map(|r| (r.channel, r.latency)).collect();
            prop_assert_eq!(&all, &model.now().into_iter().collect::<Vec<_>>());
            prop_assert_eq!(table.count(), all.len());
            for (channel, latency) in all {
                prop_assert_eq!(table.get(&channel).map(|route| route.latency), Some(latency));
            }
            prop_assert_eq!(table.version(), TableVersion(model.head()));
            let versions: Vec<_> = table.versions().iter().map(|version| version.0).collect();
            prop_assert_eq!(&versions, &model.kept);
        }
    }
}

#[test]
fn what_is_refused_leaves_the_table_as_it_was() {
    let table = RouteTable::new();
    let version = table.publish(routes(&[route("a", 1)], &["gpu"])).unwrap();
    let broken = Routes {
        models: vec![ModelEntry {
            name: "m".to_string(),
            fallbacks: vec!["m".to_string()],
            ..ModelEntry::default()
        }],
        ..Routes::default()
    };
    let error = table.publish(broken).unwrap_err();
    let PublishError::Invalid(InvalidRoutes::FallbackCycle { .. }) = error else {
        panic!("{error}")
    };
    assert_eq!((table.version(), table.count()), (version, 1));
    assert!(table.current().enter("gpu").is_some());
}

#[test]
fn a_rollback_that_expects_another_version_changes_nothing() {
    let table = RouteTable::new();
    let first = table.publish(routes(&[route("a", 1)], &[])).unwrap();
    let second = table.publish(routes(&[route("a", 2)], &[])).unwrap();
    let error = table.rollback_if(first, first).unwrap_err();
    assert_eq!(error, RollbackError::Conflict { expected: first, current: second });
    assert!(error.to_string().contains("at version 2, not 1"), "{error}");
    assert_eq!(table.get("a"), Some(route("a", 2)));
    table.rollback_if(second, first).unwrap();
    assert_eq!(table.get("a"), Some(route("a", 1)));
}

#[test]
fn a_reader_keeps_the_version_that_it_looks_at() {
    let table = RouteTable::keeping(1);
    table.add(route("a", 1));
    let seen = table.current();
    for latency in 2..100 {
        table.publish(routes(&[route("a", latency)], &[])).unwrap();
    }
    assert_eq!(seen.route("a"), Some(&route("a", 1)));
    assert_eq!(table.get("a"), Some(route("a", 99)));
}

/// Two channels that are always published with the same latency.
#[test]
fn no_reader_ever_sees_half_of_a_change() {
    let table = RouteTable::new();
    let both = |latency| routes(&[route("a", latency), route("b", latency)], &[]);
    table.publish(both(0)).unwrap();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let read = || {
            let mut last = TableVersion(0);
            while !is_done.load(Ordering::Relaxed) {
                let current = table.current();
                assert_eq!(
                    current.route("a").unwrap().latency,
                    current.route("b").unwrap().latency
                );
                assert!(current.version() >= last, "versions only grow");
                last = current.version();
            }
        };
        let readers: Vec<_> = (0..3).map(|_| scope.spawn(read)).collect();
        for latency in 1..2_000 {
            table.publish(both(latency)).unwrap();
        }
        is_done.store(true, Ordering::Relaxed);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}

#[test]
fn changes_by_many_threads_are_all_there_in_the_end() {
    let table = RouteTable::new();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let table = &table;
            scope.spawn(move || {
                for number in 0..25 {
                    let name = format!("{thread}-{number}");
                    table.add(route(&name, number));
                    table.join(endpoint(&name)).unwrap();
                }
            });
        }
    });
    assert_eq!((table.count(), table.current().gates().len()), (100, 100));
    assert_eq!(table.version(), TableVersion(200), "each change made one version");
}

#[test]
fn a_draining_endpoint_takes_nothing_new_and_is_drained_when_its_last_request_has_left() {
    let table = RouteTable::new();
    table.publish(routes(&[], &["a", "b"])).unwrap();
    let old = table.current();
    let (first, second) = (old.enter("a").unwrap(), table.current().enter("a").unwrap());
    table.drain("a").unwrap();
    assert!(table.current().enter("a").is_none());
    assert!(old.enter("a").is_none(), "readers of the version before are held off as well");
    assert!(table.current().enter("b").is_some());
    drop(first);
    assert!(!table.is_drained("a"));
    assert_eq!(table.current().gate("a").unwrap().outstanding(), 1);
    drop(second);
    assert!(table.is_drained("a") && !table.is_drained("b"));
}

#[test]
fn an_endpoint_that_leaves_is_waited_for_under_its_name() {
    let table = RouteTable::new();
    table.publish(routes(&[], &["a", "b"])).unwrap();
    let request = table.current().enter("a").unwrap();
    table.leave("a").unwrap();
    assert!(table.current().gate("a").is_none());
    assert!(!table.is_drained("a"));
    assert_eq!(table.leaving(), [("a".to_string(), 1)]);
    drop(request);
    assert!(table.is_drained("a") && table.leaving().is_empty());
    table.leave("b").unwrap();
    assert!(table.leaving().is_empty(), "it had nothing to do");
}

#[test]
fn an_endpoint_that_comes_back_still_has_its_requests() {
    let table = RouteTable::new();
    let with = table.publish(routes(&[], &["a"])).unwrap();
    let request = table.current().enter("a").unwrap();
    table.leave("a").unwrap();
    table.rollback(with).unwrap();
    assert_eq!(table.current().gate("a").unwrap().outstanding(), 1);
    assert!(table.leaving().is_empty() && !table.is_drained("a"));
    let another = table.current().enter("a").unwrap();
    drop((request, another));
    assert_eq!(table.current().gate("a").unwrap().outstanding(), 0);
    // Also once no version that is kept knows it any more.
    let table = RouteTable::keeping(1);
    table.join(endpoint("a")).unwrap();
    let request = table.current().enter("a").unwrap();
    table.leave("a").unwrap();
    table.join(endpoint("a")).unwrap();
    assert_eq!(table.current().gate("a").unwrap().outstanding(), 1);
    drop(request);
}

#[test]
fn an_endpoint_of_another_address_is_another_endpoint() {
    let table = RouteTable::new();
    table.join(endpoint("a")).unwrap();
    let request = table.current().enter("a").unwrap();
    table.join(EndpointEntry::new("a", "http://elsewhere")).unwrap();
    assert_eq!(table.current().gate("a").unwrap().outstanding(), 0);
    table.drain("a").unwrap();
    assert!(!table.is_drained("a"), "the old one still has a request");
    drop(request);
    assert!(table.is_drained("a"));
}

#[test]
fn a_rollback_opens_and_closes_endpoints_as_they_were() {
    let table = RouteTable::new();
    let active = table.publish(routes(&[], &["a"])).unwrap();
    let draining = table.drain("a").unwrap();
    table.rollback(active).unwrap();
    assert!(table.current().enter("a").is_some());
    table.rollback(draining).unwrap();
    assert!(table.current().enter("a").is_none() && table.is_drained("a"));
    table.add(route("c", 1));
    assert!(table.current().enter("a").is_none(), "a channel more changes no endpoint");
}

#[test]
fn an_endpoint_that_is_not_there_or_needed_does_not_leave() {
    let table = RouteTable::new();
    let error = table.drain("a").unwrap_err();
    assert_eq!(error, EndpointError::Unknown { name: "a".to_string() });
    assert!(matches!(table.leave("a"), Err(EndpointError::Unknown { .. })));
    assert!(table.is_drained("a"), "nothing is there");

    let mut needed = routes(&[], &["a"]);
    let (name, endpoints) = ("m".to_string(), vec!["a".to_string()]);
    needed.models.push(ModelEntry { name, endpoints, ..ModelEntry::default() });
    table.publish(needed).unwrap();
    let error = table.leave("a").unwrap_err();
    assert!(error.to_string().contains("models[0] 'm': no endpoint 'a'"), "{error}");
    assert!(table.current().enter("a").is_some());
}

#[test]
fn an_update_is_made_again_when_somebody_was_faster() {
    let table = RouteTable::new();
    let mut tries = 0;
    let version = table.update(|routes| -> Result<(), PublishError> {
        tries += 1;
        if tries == 1 {
            table.join(endpoint("first")).unwrap();
        }
        routes.endpoints.push(endpoint("second"));
        Ok(())
    });
    assert_eq!((tries, version.unwrap()), (2, TableVersion(2)));
    let names: Vec<_> =
        table.current().routes().endpoints().iter().map(|e| e.name.clone()).collect();
    assert_eq!(names, ["first", "second"]);
}

#[test]
fn what_is_published_is_what_is_written_in_the_table() {
    let table = RouteTable::new();
    let published = routes(&[route("a", 1), route("b", 2)], &["x", "y"]);
    table.publish(published.clone()).unwrap();
    assert_eq!(table.current().written(), published);
}
