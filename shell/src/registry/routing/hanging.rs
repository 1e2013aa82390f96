//! Warm-ups that hang.

use super::*;

#[test]
fn a_warm_up_that_hangs_is_given_up_and_holds_nobody_up() {
    let repository = Repository::new();
    repository.put("hangs", "1", "1 hangs");
    repository.write("hangs/config.toml", "warm_up_timeout = \"10ms\"");
    repository.put("m", "1", "5");
    let registry = repository.explicit();
    repository.seen.hanging.close();
    let error = registry.load("hangs", None).unwrap_err().to_string();
    let began = "model 'hangs' did not load: version 1: it hangs in its warm-up, ";
    assert!(error.starts_with(began), "{error}");
    let end = ": it was not through within 10ms (warm_up_timeout)";
    assert!(error.ends_with(end), "{error}");
    assert_eq!(repository.steps.of("hangs/1"), ["validating", "staging", "registered"]);
    registry.load("m", None).unwrap();
    assert_eq!(number(&registry, "m", None), Ok(5.0));
    assert_eq!(repository.seen.alive(), 2, "the one that hangs is in use");

    // It comes back after all: then it is freed.
    repository.seen.hanging.open();
    until_held(&registry, 1);
    assert_eq!(repository.seen.alive(), 1);
    repository.write("hangs/config.toml", "");
    registry.load("hangs", None).unwrap();
    assert_eq!(number(&registry, "hangs", None), Ok(1.0));
}

#[test]
fn a_warm_up_says_what_it_runs() {
    let repository = Repository::new();
    repository.put("m", "1", "5");
    let (file, config) = (repository.path("m/1/model.onnx"), ModelConfig::default());
    let executor = loader(Arc::clone(&repository.seen))(&file, &config).unwrap();
    let doing = super::super::hanging::Doing::default();
    let warm_up = super::super::warm_up::warm_up;
    assert_eq!(doing.to_string(), "before its first run");
    assert_eq!(warm_up(&*executor, &config, &repository.path("m/requests"), &doing), Ok(6));
    assert_eq!(doing.to_string(), "on zeros in 32 rows");
    repository.write(
        "m/requests/one.json",
        r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1,1],"data":[1]}]}"#,
    );
    assert_eq!(warm_up(&*executor, &config, &repository.path("m/requests"), &doing), Ok(1));
    assert!(doing.to_string().ends_with("m/requests/one.json"), "{doing}");
}

#[test]
fn the_memory_of_what_hangs_is_in_use_and_nobody_is_unloaded_for_it() {
    let sized = |text: &str| format!("{text:<40}");
    let repository = Repository::new();
    repository.put("hangs", "1", &sized("1 hangs"));
    repository.write("hangs/config.toml", "warm_up_timeout = \"10ms\"");
    for name in ["a", "b"] {
        repository.put(name, "1", &sized("2"));
    }
    let registry = repository.open(ModelControl::Explicit(BTreeSet::new()), Some(100));
    repository.seen.hanging.close();
    registry.load("hangs", None).unwrap_err();
    registry.load("a", None).unwrap();
    registry.load("b", None).unwrap();
    assert!(registry.find("a", None).is_err(), "it made room");
    let error = registry.load("hangs", None).unwrap_err();
    assert!(error.to_string().contains("hangs in its warm-up"), "{error}");
    let error = registry.load("a", None).unwrap_err();
    assert!(matches!(error, ChangeError::NoMemory { held: 80, .. }), "{error}");
    repository.seen.hanging.open();
    until_held(&registry, 0);
    registry.load("a", None).unwrap();
    registry.load("b", None).unwrap();
}

#[tokio::test]
async fn requests_do_not_have_it_tried_again_while_it_hangs() {
    let repository = Repository::new();
    repository.put("m", "1", "1 hangs");
    repository.write("m/config.toml", "warm_up_timeout = \"10ms\"");
    let registry = repository.on_demand(FREE, None);
    repository.seen.hanging.close();
    let mut errors = Vec::new();
    for _ in 0..3 {
        errors.push(registry.demand("m", None, None).await.unwrap_err().to_string());
    }
    assert!(errors[0].contains("hangs in its warm-up"), "{errors:?}");
    assert!(errors[1].contains("an execution of its last warm-up hangs still"), "{errors:?}");
    assert_eq!(repository.seen.loads(), 1, "one thread hangs, and not one for each request");
    repository.seen.hanging.open();
    until_held(&registry, 0);
    repository.write("m/config.toml", "");
    assert_eq!(added(&registry.demand("m", None, None).await.unwrap()), 1.0);
}

#[test]
fn the_index_says_how_far_each_version_is() {
    let repository = Repository::new();
    for version in ["1", "2"] {
        repository.put("m", version, "1 hangs");
    }
    repository.put("other", "1", "1");
    let registry = Arc::new(repository.explicit());
    let states = |name: &str| -> Vec<(String, String)> {
        let index = registry.index().into_iter().filter(|entry| entry.name == name);
        index.map(|entry| (entry.state, entry.reason)).collect()
    };
    let loading = |reason: &str| ("LOADING".to_owned(), reason.to_owned());
    registry.load("other", None).unwrap();
    repository.seen.loading.close();
    repository.seen.hanging.close();
    let (own, seen) = (Arc::clone(&registry), Arc::clone(&repository.seen));
    let load = std::thread::spawn(move || own.load("m", None));
    seen.loading.until_waiting(1);
    assert_eq!(
        states("m"),
        [loading("is being loaded"), loading("waits for its turn to be loaded")]
    );
    seen.loading.open();
    seen.hanging.until_waiting(1);
    assert_eq!(states("m")[0], loading("is being warmed up"));

    // Meanwhile others come and go, and are seen to.
    let in_hand = registry.find("other", None).unwrap();
    assert_eq!(states("other")[0].0, "READY");
    seen.hanging.open();
    load.join().unwrap().unwrap();
    assert_eq!(states("m"), [("READY".into(), "".into()), ("READY".into(), "".into())]);

    // Loaded again, it is served all the while.
    repository.seen.loading.close();
    let own = Arc::clone(&registry);
    registry.unload("other").unwrap();
    let load = std::thread::spawn(move || own.load("m", None));
    seen.loading.until_waiting(1);
    assert_eq!(states("m")[0].0, "READY");
    assert_eq!(states("other")[0].0, "UNLOADING", "though another is being loaded");
    assert_eq!(registry.held().len(), 3, "{:?}", registry.held());
    drop(in_hand);
    until_held(&registry, 3);
    assert_eq!(states("other")[0].0, "UNAVAILABLE");
    seen.loading.open();
    load.join().unwrap().unwrap();
}
