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
