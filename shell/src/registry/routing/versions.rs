//! Which versions are served, and what they go by.

use super::*;

fn served(registry: &Registry) -> Vec<String> {
    let versions = registry.ready_versions("m").unwrap();
    versions.iter().map(|model| model.version.to_string()).collect()
}

#[test]
fn semantic_versions_are_served_in_their_order() {
    let repository = Repository::new();
    let versions = ["1.10.0", "1.9.0", "2.0.0-rc.1", "1", "draft", "01", "1.2"];
    for (number, version) in versions.iter().enumerate() {
        repository.put("m", version, &number.to_string());
    }
    let registry = repository.open(ModelControl::None, None);
    assert_eq!(served(&registry), ["1", "1.9.0", "1.10.0", "2.0.0-rc.1"]);
    assert_eq!(number(&registry, "m", None), Ok(2.0), "the highest");
    assert_eq!(number(&registry, "m", Some("1.10.0")), Ok(0.0));
    assert_eq!(number(&registry, "m", Some("1")), Ok(3.0));
    for unknown in ["1.0.0", "01", "draft", "1.2", "", "latest"] {
        let error = registry.find("m", Some(unknown)).unwrap_err();
        assert!(matches!(error, LookupError::UnknownVersion { .. }), "{unknown}: {error}");
    }
}

#[test]
fn a_policy_chooses_versions_and_another_unloads_the_rest() {
    let repository = Repository::new();
    for version in ["1", "2", "3", "10"] {
        repository.put("m", version, version);
    }
    let registry = repository.explicit();
    for (policy, expected) in [
        ("", &["1", "2", "3", "10"][..]),
        ("versions = \"all\"", &["1", "2", "3", "10"]),
        ("versions = { latest = 2 }", &["3", "10"]),
        ("versions = { latest = 9 }", &["1", "2", "3", "10"]),
        ("versions = { named = [2, \"3\"] }", &["2", "3"]),
    ] {
        repository.write("m/config.toml", policy);
        registry.load("m", None).unwrap();
        assert_eq!(served(&registry), expected, "{policy}");
        until_held(&registry, expected.len());
        assert_eq!(repository.seen.alive(), expected.len(), "the others are freed");
    }
    repository.write("m/config.toml", "versions = { named = [2, 7] }");
    let error = registry.load("m", None).unwrap_err().to_string();
    assert!(error.contains("version 7: there is no such folder, though `versions`"), "{error}");
    assert_eq!(served(&registry), ["2"]);
    let error = registry.find("m", Some("7")).unwrap_err();
    assert!(matches!(error, LookupError::NotReady { .. }), "{error}");
}

#[test]
fn labels_stand_for_versions_and_move() {
    let repository = Repository::new();
    for version in ["3", "4", "1.2.0"] {
        repository.put("m", version, if version == "4" { "4" } else { "3" });
    }
    repository.write("m/config.toml", "labels = { stable = 3, old = \"1.2.0\" }");
    repository.write("m/labels.toml", "canary = 4\ngone = 9");
    let registry = repository.explicit();
    registry.load("m", None).unwrap();
    let version = |label: &str| registry.find("m", Some(label)).map(|m| m.version.to_string());
    assert_eq!(version("stable"), Ok("3".into()));
    assert_eq!(version("old"), Ok("1.2.0".into()));
    assert_eq!(version("canary"), Ok("4".into()));
    let error = version("gone").unwrap_err().to_string();
    assert!(error.contains("label 'gone' stands for version 9, which is not served"), "{error}");
    let error = version("beta").unwrap_err().to_string();
    assert!(error.contains("it has 1.2.0, 3, 4, canary, gone, old, stable"), "{error}");

    repository.write("m/config.toml", "labels = { stable = 4 }");
    repository.write("m/labels.toml", "stable = 4");
    registry.load("m", None).unwrap();
    assert_eq!(version("stable"), Ok("4".into()));
    assert!(version("canary").is_err());

    repository.write("m/labels.toml", "stable = 3");
    let error = registry.load("m", None).unwrap_err().to_string();
    assert!(error.contains("'stable' is 4 in config.toml and 3 in labels.toml"), "{error}");
    assert_eq!(version("stable"), Ok("4".into()), "as before");
}
