//! Following the folder.

use super::*;

#[test]
fn what_is_new_is_loaded_what_changed_is_replaced_what_is_gone_goes() {
    let repository = Repository::new();
    repository.put("stays", "1", "1");
    repository.put("changes", "1", "1");
    repository.put("goes", "1", "1");
    let registry = repository.open(ModelControl::None, None);
    let [stays, loads] = [registry.find("stays", None).unwrap().serial(), 3];
    assert_eq!(repository.seen.loads() as u64, loads);
    registry.rescan().unwrap();
    assert_eq!(repository.seen.loads() as u64, loads, "nothing changed");

    repository.put("changes", "1", "22");
    repository.put("changes", "2", "333");
    repository.put("new", "1", "4");
    repository.remove("goes");
    registry.rescan().unwrap();
    assert_eq!(number(&registry, "changes", Some("1")), Ok(22.0));
    assert_eq!(number(&registry, "changes", None), Ok(333.0));
    assert_eq!(number(&registry, "new", None), Ok(4.0));
    let error = registry.find("goes", None).unwrap_err();
    assert!(matches!(error, LookupError::UnknownModel { .. }), "{error}");
    assert_eq!(registry.find("stays", None).unwrap().serial(), stays, "not loaded again");
    assert_eq!(repository.seen.loads(), 6);
    until_held(&registry, 4);
    assert_eq!(repository.seen.alive(), 4);

    repository.write("changes/config.toml", "max_batch = 3\nversions = { latest = 1 }");
    registry.rescan().unwrap();
    let versions = registry.ready_versions("changes").unwrap();
    assert_eq!(versions.len(), 1);
    assert_eq!(versions[0].config.max_batch, 3);
}

#[test]
fn only_the_versions_that_changed_are_loaded_again() {
    let repository = Repository::new();
    repository.put("m", "1", "1");
    repository.put("m", "2", "2");
    let registry = repository.open(ModelControl::None, None);
    let first = registry.find("m", Some("1")).unwrap();
    repository.put("m", "2", "22");
    registry.rescan().unwrap();
    assert!(Arc::ptr_eq(&first, &registry.find("m", Some("1")).unwrap()));
    assert_eq!(number(&registry, "m", None), Ok(22.0));
    assert_eq!(repository.steps.of("m/1"), UP, "it never left");
}

#[test]
fn what_is_broken_is_tried_again_when_it_changes_and_not_before() {
    let repository = Repository::new();
    repository.put("m", "1", "1");
    let registry = repository.open(ModelControl::None, None);
    repository.put("m", "1", "nonsense");
    for _ in 0..3 {
        registry.rescan().unwrap();
        assert_eq!(number(&registry, "m", None), Ok(1.0), "the one before is served on");
    }
    assert_eq!(repository.seen.loads(), 2);
    repository.write("m/config.toml", "max_bach = 1");
    for _ in 0..3 {
        registry.rescan().unwrap();
        assert_eq!(number(&registry, "m", None), Ok(1.0));
    }
    assert_eq!(repository.seen.loads(), 2, "not with a configuration that is refused");
    repository.write("m/config.toml", "");
    repository.put("m", "1", "7");
    registry.rescan().unwrap();
    assert_eq!(number(&registry, "m", None), Ok(7.0));
}

#[test]
fn where_models_are_loaded_on_request_only_those_that_are_loaded_are_followed() {
    let repository = Repository::new();
    for name in ["loaded", "unloaded", "never"] {
        repository.put(name, "1", "1");
    }
    let registry = repository.explicit();
    registry.load("loaded", None).unwrap();
    registry.load("unloaded", None).unwrap();
    registry.unload("unloaded").unwrap();
    repository.put("loaded", "1", "22");
    repository.put("unloaded", "1", "22");
    repository.put("new", "1", "22");
    registry.rescan().unwrap();
    assert_eq!(number(&registry, "loaded", None), Ok(22.0));
    for name in ["unloaded", "never", "new"] {
        assert!(registry.find(name, None).is_err(), "{name}");
    }
}

#[test]
fn an_observer_is_told_of_every_change_once_it_is_found_whoever_asked_for_it() {
    let repository = Repository::new();
    for (name, text) in [("a", "11"), ("b", "1"), ("c", "1")] {
        repository.put(name, "1", text);
    }
    // Room for two of them.
    let control = ModelControl::Explicit(BTreeSet::new());
    let registry = Arc::new(repository.open(control, Some(3)));
    let told: Arc<Mutex<Vec<(String, bool)>>> = Arc::default();
    let (observer, seen) = (Arc::downgrade(&registry), Arc::clone(&told));
    let is_first = registry.observe(move |name| {
        let is_found = observer.upgrade().unwrap().find(name, None).is_ok();
        lock(&seen).push((name.to_owned(), is_found));
    });
    assert!(is_first && !registry.observe(|_| ()), "there is one");
    let told = || std::mem::take(&mut *lock(&told));
    registry.load("a", None).unwrap();
    registry.load("b", None).unwrap();
    assert_eq!(told(), [("a".into(), true), ("b".into(), true)]);
    registry.load("c", None).unwrap();
    assert_eq!(told(), [("a".into(), false), ("c".into(), true)], "a made room");
    registry.unload("b").unwrap();
    assert_eq!(told(), [("b".into(), false)]);
    until_held(&registry, 1);
    repository.put("c", "1", "22");
    registry.rescan().unwrap();
    assert_eq!(told(), [("c".into(), true)]);
    registry.rescan().unwrap();
    registry.look().unwrap();
    assert_eq!(told(), [], "nothing has changed");
    repository.remove("c");
    registry.rescan().unwrap();
    assert_eq!(told(), [("c".into(), false)]);
}
