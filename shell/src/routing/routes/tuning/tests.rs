#![allow(clippy::unwrap_used)] // a test that panics has failed

use super::*;
use crate::routing::{CheckedModel, EndpointEntry, Routes};
use proptest::prelude::*;
use tensorforge_core::route::{Affinity, Gate, Geographic, ShadowConfig};

/// What one model's entry, with this behind its name, comes to.
fn checked(rest: &str) -> Result<CheckedModel, InvalidRoutes> {
    let text = format!("[[models]]\nname = \"m\"\n{rest}");
    let routes = Routes::from_toml(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
    Ok(routes.check()?.model("m").unwrap().clone())
}

fn endpoint(change: impl FnOnce(&mut EndpointEntry)) -> Result<(u32, u8), InvalidRoutes> {
    let mut entry = EndpointEntry::new("gpu", "local");
    change(&mut entry);
    let checked = Routes { endpoints: vec![entry], ..Routes::default() }.check()?;
    Ok((checked.endpoints()[0].limit, checked.endpoints()[0].least_priority))
}

#[test]
fn what_is_not_set_is_as_the_core_has_it() {
    let model = checked("shadows = [{ version = \"2\", percent = 1 }]").unwrap();
    assert_eq!(model.health.explore, Gate::DEFAULT.explore);
    assert_eq!((model.health.panic_below, model.health.most_ejected), (1, 500));
    let CheckedRetries { attempts, per_mille, saved, per_second, hedging, attempt_timeout } =
        model.retries;
    assert_eq!((attempts, per_mille, saved, per_second), (3, 200, 100, 10));
    assert_eq!((hedging, attempt_timeout), (None, None));
    assert_eq!(model.affinity.by, StickyBy::StickyKey);
    assert_eq!(model.affinity.load_factor, Affinity::STICKY.load_factor);
    assert_eq!(model.overprovision, Geographic::DEFAULT.overprovision);
    let shadow = &model.shadows[0];
    let default = ShadowConfig::DEFAULT;
    assert_eq!(shadow.most_at_once, default.most_in_flight);
    assert_eq!(shadow.shed_from, default.shed_from);
    assert_eq!(endpoint(|_| ()).unwrap(), (u32::MAX, 0));
}

#[test]
fn every_setting_of_a_model_is_known_after_it_was_checked() {
    let model = checked(
        "policy = \"sticky\"
        filters = [\"geographic\"]
        affinity = { by = \"tenant\", load_factor = 2 }
        geographic = { overprovision = 1.001 }
        shadows = [{ version = \"2\", percent = 1, most_at_once = 3, shed_from_percent = 12.5 }]
        [models.health]
        panic_below_percent = 33.3
        most_ejected_percent = 100
        explore_percent = 0
        [models.retries]
        attempts = 1
        percent = 150.5
        saved = 0
        per_second = 7
        hedging = false
        attempt_timeout_ms = 250",
    )
    .unwrap();
    let CheckedHealth { panic_below, most_ejected, explore } = model.health;
    assert_eq!((panic_below, most_ejected, explore), (333, 1000, 0));
    let CheckedRetries { attempts, per_mille, saved, per_second, hedging, attempt_timeout } =
        model.retries;
    assert_eq!((attempts, per_mille, saved, per_second), (1, 1505, 0, 7));
    assert_eq!((hedging, attempt_timeout), (Some(false), Some(Duration::from_millis(250))));
    let CheckedAffinity { by, load_factor } = model.affinity;
    assert_eq!((by, load_factor, model.overprovision), (StickyBy::Tenant, 2000, 1001));
    assert_eq!((model.shadows[0].most_at_once, model.shadows[0].shed_from), (3, 125));
    let full = |entry: &mut EndpointEntry| {
        (entry.limit, entry.least_priority) = (Some(32.0), Some(7.0));
    };
    assert_eq!(endpoint(full).unwrap(), (32, 7));
}

/// Each number with its bounds and its steps in one.
const NUMBERS: [(&str, &str, f64, f64, f64); 11] = [
    ("health", "panic_below_percent", 0.0, 100.0, 10.0),
    ("health", "most_ejected_percent", 0.0, 100.0, 10.0),
    ("health", "explore_percent", 0.0, 100.0, 10.0),
    ("retries", "attempts", 1.0, 100.0, 1.0),
    ("retries", "percent", 0.0, 1000.0, 10.0),
    ("retries", "saved", 0.0, 1e6, 1.0),
    ("retries", "per_second", 0.0, 1e6, 1.0),
    ("retries", "attempt_timeout_ms", 1.0, 3.6e6, 1.0),
    ("affinity", "load_factor", 1.0, 100.0, 1000.0),
    ("geographic", "overprovision", 1.0, 100.0, 1000.0),
    ("shadows", "shed_from_percent", 0.1, 1000.0, 10.0),
];

fn with(group: &str, key: &str, value: f64) -> Result<CheckedModel, InvalidRoutes> {
    let value = format!("{value:?}").to_lowercase();
    if group == "shadows" {
        return checked(&format!(
            "shadows = [{{ version = \"2\", percent = 1, {key} = {value} }}]"
        ));
    }
    checked(&format!(
        "policy = \"sticky\"\nfilters = [\"geographic\"]\n[models.{group}]\n{key} = {value}"
    ))
}

proptest! {
    #[test]
    fn a_number_within_its_bounds_and_steps_is_taken_and_any_other_is_refused_by_name(
        at in 0..NUMBERS.len(), part in 0.0..1.0_f64, beyond in 0.01..1e9_f64,
    ) {
        let (group, key, least, most, in_one) = NUMBERS[at];
        let step = ((least + part * (most - least)) * in_one).round();
        prop_assert!(with(group, key, step / in_one).is_ok());
        let between = (step + 0.5) / in_one;
        for wrong in [between, least - beyond, most + beyond, f64::NAN, f64::INFINITY] {
            let error = with(group, key, wrong).unwrap_err();
            let text = error.to_string();
            let InvalidRoutes::Number { entry, key: told, .. } = error else { panic!("{text}") };
            prop_assert!(entry.starts_with("models[0] 'm'"), "{}", text);
            prop_assert!(told.ends_with(key), "{}", text);
            prop_assert!(text.contains("it must be") && text.contains(" to "), "{}", text);
        }
    }
}

#[test]
fn room_that_no_endpoint_can_have_is_refused() {
    for wrong in [0.0, -1.0, 1.5, 1_000_001.0, f64::NAN] {
        let error = endpoint(|entry| entry.limit = Some(wrong)).unwrap_err().to_string();
        assert!(error.contains("endpoints[0] 'gpu': limit is"), "{error}");
        assert!(error.contains("from 1 to 1000000"), "{error}");
    }
    for wrong in [-1.0, 0.5, 8.0, f64::NAN] {
        let error = endpoint(|entry| entry.least_priority = Some(wrong)).unwrap_err().to_string();
        assert!(error.contains("endpoints[0] 'gpu': least_priority is"), "{error}");
        assert!(error.contains("from 0 to 7"), "{error}");
    }
}

#[test]
fn what_would_change_nothing_is_refused_with_what_it_needs() {
    for (rest, complaint) in [
        ("affinity = { load_factor = 2 }", "affinity has no effect without policy = \"sticky\""),
        (
            "policy = \"model_affinity\"\naffinity = { by = \"tenant\" }",
            "affinity.by has no effect without policy = \"sticky\"",
        ),
        (
            "geographic = { overprovision = 2 }",
            "geographic has no effect without \"geographic\" among the filters",
        ),
    ] {
        let error = checked(rest).unwrap_err().to_string();
        assert!(error.contains("models[0] 'm'") && error.contains(complaint), "{error}");
    }
    assert!(checked("policy = \"model_affinity\"\naffinity = { load_factor = 2 }").is_ok());
    let nameless = "policy = \"sticky\"\naffinity = { by = { annotation = \"\" } }";
    assert!(checked(nameless).unwrap_err().to_string().contains("annotation is empty"));
}

#[test]
fn a_setting_that_does_not_exist_is_refused_with_those_that_do() {
    for (group, known) in [
        ("health", "panic_below_percent"),
        ("retries", "attempts"),
        ("affinity", "load_factor"),
        ("geographic", "overprovision"),
    ] {
        let text = format!("[[models]]\nname = \"m\"\n[models.{group}]\nmost = 3");
        let error = Routes::from_toml(&text).unwrap_err().to_string();
        assert!(error.contains("unknown field `most`") && error.contains(known), "{error}");
    }
}

#[test]
fn where_a_gateway_stands_is_one_of_the_places() {
    let routes = |here: &str| {
        let text = format!("places = [\"eu/a\", \"us\"]\nhere = \"{here}\"");
        Routes::from_toml(&text).unwrap().check()
    };
    let checked = routes("eu/a").unwrap();
    assert_eq!(checked.here(), Some("eu/a"));
    let region_and_zone = checked.place("eu/a").unwrap();
    assert!(
        region_and_zone[..2].iter().all(|number| *number > 0) && region_and_zone[2..] == [0; 2]
    );
    assert_eq!(checked.places().count(), 2);
    assert_eq!(
        routes("eu").unwrap_err().to_string(),
        "here: the place 'eu' is not known; add it to places, which has 'eu/a', 'us'"
    );
}

#[test]
fn the_table_that_the_readme_shows_can_be_served() {
    let readme = include_str!("../../../../../README.md");
    let tables: Vec<&str> = readme
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .filter(|block| block.contains("[[endpoints]]"))
        .collect();
    assert!(!tables.is_empty());
    for table in tables {
        let routes = Routes::from_toml(table).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(routes.check().err(), None);
    }
}
