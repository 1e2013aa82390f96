//! Loading and unloading on request.

use super::*;

#[test]
fn a_model_goes_its_whole_way_and_is_freed_when_the_last_request_lets_go() {
    let repository = Repository::new();
    repository.put("m", "1", "5");
    let registry = repository.explicit();
    let error = registry.find("m", None).unwrap_err().to_string();
    assert_eq!(error, "model 'm' is not ready: not loaded: nobody has asked for it");

    registry.load("m", None).unwrap();
    assert_eq!(number(&registry, "m", None), Ok(5.0));
    assert_eq!(repository.steps.of("m/1"), UP);

    let in_hand = registry.find("m", None).unwrap();
    registry.unload("m").unwrap();
    let error = registry.find("m", None).unwrap_err().to_string();
    assert_eq!(error, "model 'm' is not ready: unloaded");
    assert_eq!(registry.index()[0].state, "UNLOADING");
    assert_eq!(repository.seen.alive(), 1, "a request has it in hand");
    assert_eq!(added(&in_hand), 5.0);
    assert_eq!(repository.steps.of("m/1")[UP.len()..], ["deprecated"]);

    drop(in_hand);
    until_held(&registry, 0);
    assert_eq!(repository.seen.alive(), 0);
    assert_eq!(*lock(&repository.seen.freed_on), ["registry"], "not on the requests' threads");
    assert_eq!(repository.steps.of("m/1")[UP.len()..], ["deprecated", "archived"]);
    let entry = &registry.index()[0];
    assert_eq!((&*entry.state, &*entry.reason), ("UNAVAILABLE", "unloaded"));
    registry.unload("m").unwrap();

    registry.load("m", None).unwrap();
    assert_eq!(number(&registry, "m", None), Ok(5.0), "back again");
}

#[test]
fn a_registry_that_goes_frees_its_models_and_retires_none() {
    let repository = Repository::new();
    repository.put("m", "1", "1");
    let registry = repository.open(ModelControl::None, None);
    let places = Arc::clone(&registry.places);
    let in_hand = registry.find("m", None).unwrap();
    drop(registry);
    assert_eq!(added(&in_hand), 1.0, "its request is answered all the same");
    drop(in_hand);
    places.until_held(0);
    assert_eq!(repository.seen.alive(), 0);
    assert_eq!(repository.steps.of("m/1"), UP, "it was serving when the server stopped");
}

#[test]
fn loading_again_replaces_a_version_and_a_failure_leaves_it() {
    let repository = Repository::new();
    repository.put("m", "1", "1");
    let registry = repository.explicit();
    registry.load("m", None).unwrap();
    let old = registry.find("m", None).unwrap();

    repository.put("m", "1", "2");
    registry.load("m", None).unwrap();
    assert_eq!(number(&registry, "m", None), Ok(2.0));
    assert_eq!(added(&old), 1.0, "who has the old one keeps it");
    assert_ne!(old.id, registry.find("m", None).unwrap().id, "both may be in the scheduler");

    for (fault, complaint) in [
        ("nonsense", "it is no number"),
        ("3 cold", "it failed on zeros in 1 rows while it was warmed up"),
        ("3 panic", "its runtime panicked: a planted panic"),
    ] {
        repository.put("m", "1", fault);
        let error = registry.load("m", None).unwrap_err().to_string();
        assert!(error.starts_with("model 'm' did not load: version 1: "), "{error}");
        assert!(error.contains(complaint), "{error}");
        assert_eq!(number(&registry, "m", None), Ok(2.0), "the one before is served on");
    }
    repository.write("m/config.toml", "max_batch = 0");
    let error = registry.load("m", None).unwrap_err();
    assert!(matches!(error, ChangeError::Config { .. }), "{error}");
    assert!(error.to_string().contains("max_batch: must be at least 1"), "{error}");
    assert_eq!(number(&registry, "m", None), Ok(2.0));

    let sent = ModelConfig { max_batch: 7, ..ModelConfig::default() };
    repository.put("m", "1", "4");
    registry.load("m", Some(sent)).unwrap();
    let model = registry.find("m", None).unwrap();
    assert_eq!((added(&model), model.config.max_batch), (4.0, 7), "as was sent, not as written");
}

#[test]
fn a_version_that_fails_goes_back_and_says_why_while_the_others_are_served() {
    let repository = Repository::new();
    repository.put("m", "1", "1");
    repository.put("m", "2", "nonsense");
    repository.put("m", "3", "3 cold");
    repository.write("other/notes/readme.txt", "no model");
    let registry = repository.open(ModelControl::None, None);
    assert_eq!(number(&registry, "m", None), Ok(1.0), "the highest that can run");
    assert_eq!(repository.steps.of("m/2"), ["validating", "registered"]);
    assert_eq!(repository.steps.of("m/3"), ["validating", "staging", "registered"]);
    let states: Vec<_> = registry.index().into_iter().map(|entry| entry.state).collect();
    assert_eq!(states, ["READY", "UNAVAILABLE", "UNAVAILABLE"]);
    let error = registry.find("m", Some("3")).unwrap_err().to_string();
    assert!(error.contains("'requests'") && error.contains("warm_up = false"), "{error}");
    assert_eq!(repository.seen.alive(), 1, "what failed is freed");

    // Ready-made requests take the place of zeros, and so may saying that none is wanted.
    repository.write(
        "m/requests/one.json",
        r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1,1],"data":[1]}]}"#,
    );
    repository.write("m/requests/unfit.json", r#"{"inputs":[]}"#);
    let registry = repository.open(ModelControl::None, None);
    assert_eq!(registry.ready_versions("m").unwrap().len(), 2);
    repository.put("m", "2", "2 warm");
    let registry = repository.open(ModelControl::None, None);
    let error = registry.find("m", Some("2")).unwrap_err().to_string();
    assert!(error.contains("one.json") && error.contains("a planted fault"), "{error}");
    repository.write("m/config.toml", "warm_up = false");
    let registry = repository.open(ModelControl::None, None);
    assert_eq!(registry.ready_versions("m").unwrap().len(), 3);
}

#[test]
fn a_warm_up_runs_every_size_of_batch_once() {
    let repository = Repository::new();
    repository.put("m", "1", "1");
    repository.write("m/config.toml", "max_batch = 6\nbatch_sizes = [2, 3, 6]");
    let _registry = repository.open(ModelControl::None, None);
    assert_eq!(*lock(&repository.seen.rows), [2, 3, 6]);
}

#[test]
fn without_explicit_control_requests_to_change_are_refused() {
    let repository = Repository::new();
    repository.put("m", "1", "1");
    let registry = repository.open(ModelControl::None, None);
    for refused in [registry.load("m", None), registry.unload("m")] {
        assert_eq!(refused, Err(ChangeError::NotControlled));
    }
    assert_eq!(number(&registry, "m", None), Ok(1.0));
}

#[test]
fn a_start_loads_the_models_that_it_is_told() {
    let repository = Repository::new();
    for name in ["a", "b", "c"] {
        repository.put(name, "1", "1");
    }
    let ready = |chosen: &[&str]| -> Vec<String> {
        let chosen = chosen.iter().map(ToString::to_string).collect();
        let registry = repository.open(ModelControl::Explicit(chosen), None);
        assert!(registry.is_ready(), "one may be loaded at any time");
        assert_eq!(registry.index().len(), 3, "all are known");
        registry.ready().iter().map(|model| model.name.clone()).collect()
    };
    assert_eq!(ready(&[]), [""; 0]);
    assert_eq!(ready(&["c", "a"]), ["a", "c"]);
    assert_eq!(ready(&["*"]), ["a", "b", "c"]);
}

#[test]
fn the_index_has_models_that_came_since() {
    let repository = Repository::new();
    let registry = repository.explicit();
    repository.put("late", "1", "1");
    assert_eq!(registry.index().len(), 0);
    registry.look().unwrap();
    let entry = &registry.index()[0];
    assert_eq!((&*entry.name, &*entry.state), ("late", "UNAVAILABLE"));
    registry.load("late", None).unwrap();
    registry.look().unwrap();
    assert_eq!(registry.index()[0].state, "READY");
}

#[test]
fn names_that_lead_elsewhere_or_nowhere_are_refused() {
    let repository = Repository::new();
    repository.put("m", "1", "1");
    repository.put(".hidden", "1", "1");
    repository.write("empty/readme.txt", "nothing");
    // Outside the repository there is one that would load.
    let inside = repository.path("inside");
    std::fs::create_dir(&inside).unwrap();
    let steps: SharedSink = Arc::clone(&repository.steps) as _;
    let options = RegistryOptions {
        control: ModelControl::Explicit(BTreeSet::new()),
        sink: Some(steps),
        ..RegistryOptions::default()
    };
    let loader = loader(Arc::clone(&repository.seen));
    let narrow = Registry::open(&inside, loader, |_| (), options).unwrap();
    for name in ["../m", "..", ".", "", "m/1", "m\\1", "/etc", ".hidden", "m\0"] {
        for registry in [&narrow, &repository.explicit()] {
            let bad = Err(ChangeError::BadName { name: name.into() });
            assert_eq!(registry.load(name, None), bad);
            assert_eq!(registry.unload(name), bad);
        }
    }
    assert_eq!(repository.seen.loads(), 0);
    let registry = repository.explicit();
    for change in [registry.load("M", None), registry.unload("M")] {
        let error = change.unwrap_err();
        assert!(matches!(error, ChangeError::Lookup(LookupError::UnknownModel { .. })), "{error}");
    }
    let error = registry.load("empty", None).unwrap_err().to_string();
    assert!(error.contains("there is no folder such as empty/1"), "{error}");
    assert_eq!(
        narrow.load("m", None).unwrap_err().to_string(),
        "unknown model 'm'; the repository is empty"
    );
}

#[test]
fn a_repository_that_is_gone_changes_nothing() {
    let repository = Repository::new();
    repository.put("m", "1", "1");
    let registry = repository.explicit();
    registry.load("m", None).unwrap();
    std::fs::remove_dir_all(repository.folder.path()).unwrap();
    assert!(matches!(registry.load("m", None), Err(ChangeError::Repository(_))));
    assert!(registry.rescan().is_err());
    assert_eq!(number(&registry, "m", None), Ok(1.0));
}

#[test]
fn there_are_so_many_places_and_they_are_used_again() {
    let repository = Repository::new();
    for version in 0..=MAX_MODELS {
        repository.put("m", &version.to_string(), "1");
    }
    repository.write("m/config.toml", "warm_up = false");
    let registry = repository.explicit();
    let error = registry.load("m", None).unwrap_err().to_string();
    assert!(error.contains("256 model versions are loaded already"), "{error}");
    let ids = |registry: &Registry| -> BTreeSet<u32> {
        registry.ready().iter().map(|model| model.id.0).collect()
    };
    assert_eq!(ids(&registry), (0..MAX_MODELS as u32).collect());
    registry.unload("m").unwrap();
    until_held(&registry, 0);
    repository.remove("m/0");
    registry.load("m", None).unwrap();
    assert_eq!(ids(&registry), (0..MAX_MODELS as u32).collect());
}

#[test]
fn a_configuration_is_found_by_its_file() {
    let repository = Repository::new();
    repository.put("m", "1", "1");
    repository.write("m/labels.toml", "stable = ");
    let registry = repository.explicit();
    let error = registry.load("m", None).unwrap_err().to_string();
    assert!(error.contains("labels.toml"), "{error}");
    let entry = &registry.index()[0];
    assert!(entry.reason.contains("labels.toml"), "{entry:?}");
    let read = ModelConfig::from_file(&repository.path("m"));
    assert!(matches!(read, Err(ConfigError::Unreadable { .. })));
}
