#![allow(clippy::unwrap_used)] // a test that panics has failed

use super::*;
use proptest::prelude::*;
use std::path::Path;

/// Two endpoints, two models; each test breaks one thing.
const GOOD: &str = r#"
    places = ["eu/a", "eu/b", "us"]

    [[channels]]
    channel = "direct"
    latency = 12

    [[endpoints]]
    name = "here"
    url = "local"
    place = "eu/a"
    weight = 3

    [[endpoints]]
    name = "there"
    url = "http://gpu-1:8000"
    place = "us"
    state = "draining"

    [[models]]
    name = "digits"
    policy = "least_request"
    filters = ["geographic", "priority"]
    endpoints = ["there"]
    split = [
        { version = "1", basis_points = 9999 },
        { version = "2", basis_points = 1 },
    ]
    fallbacks = ["small"]
    shadows = [{ version = "3", percent = 2.51, answers = "compare", relative_tolerance = 0.5 }]
    rules = [{ header = "X-Canary", equals = "yes", version = "2", endpoint = "there" }]

    [[models]]
    name = "small"
"#;

fn refused(change: impl FnOnce(&mut Routes)) -> InvalidRoutes {
    let mut routes = Routes::from_toml(GOOD).unwrap();
    change(&mut routes);
    routes.check().unwrap_err()
}

fn model(name: &str, fallbacks: &[&str]) -> ModelEntry {
    let fallbacks = fallbacks.iter().map(ToString::to_string).collect();
    ModelEntry { name: name.to_string(), fallbacks, ..ModelEntry::default() }
}

#[test]
fn every_key_of_the_file_is_known_after_it_was_checked() {
    let checked = Routes::from_toml(GOOD).unwrap().check().unwrap();
    let endpoints = checked.endpoints();
    assert_eq!(endpoints[0].url, None);
    assert_eq!(endpoints[1].url.as_deref(), Some("http://gpu-1:8000"));
    assert_eq!((endpoints[0].weight, endpoints[1].weight), (3, 1));
    let states = (endpoints[0].state, endpoints[1].state);
    assert_eq!(states, (EndpointState::Active, EndpointState::Draining));
    assert_eq!(checked.endpoint_index("there"), Some(1));

    let digits = checked.model("digits").unwrap();
    assert_eq!(digits.policy, PolicyName::LeastRequest);
    assert_eq!(digits.filters, [FilterName::Geographic, FilterName::Priority]);
    assert_eq!(digits.endpoints, [1]);
    let split: Vec<_> = digits.split.iter().map(|s| (s.version.as_str(), s.basis_points)).collect();
    assert_eq!(split, [("1", 9999), ("2", 1)]);
    assert_eq!(digits.fallbacks, ["small"]);
    assert_eq!(digits.shadows[0].basis_points, 251);
    assert_eq!(digits.shadows[0].model, "digits");
    let tolerance = digits.shadows[0].compare.unwrap();
    assert_eq!((tolerance.absolute(), tolerance.relative()), (1e-6, 0.5));
    let (name, equals) = ("x-canary".to_string(), Some("yes".to_string()));
    assert_eq!(digits.rules[0].condition, Condition::Header { name, equals });
    assert_eq!(digits.rules[0].version.as_deref(), Some("2"));
    assert_eq!(digits.rules[0].endpoint, Some(1));

    let small = checked.model("small").unwrap();
    assert_eq!(small.endpoints, [0, 1], "all of them, where none is named");
    assert_eq!(small.policy, PolicyName::Latency);
    assert_eq!((checked.model("large"), checked.model_count()), (None, 2));
}

#[test]
fn what_is_written_as_json_is_read_again() {
    let routes = Routes::from_toml(GOOD).unwrap();
    let json = serde_json::to_string(&routes).unwrap();
    assert_eq!(Routes::from_json(&json).unwrap(), routes);
}

#[test]
fn a_mistake_of_form_is_told_by_its_line_and_key() {
    for (text, complaint) in [
        ("[[endpoint]]", "unknown field `endpoint`, expected one of `places`"),
        ("\n\nplaces = 3", "line 3"),
        ("[[endpoints]]\nname = \"a\"", "missing field `url`"),
        (
            "[[endpoints]]\nname = \"a\"\nurl = \"local\"\nstate = \"gone\"",
            "unknown variant `gone`",
        ),
        ("[[endpoints]]\nname = \"a\"\nurl = \"local\"\nweight = \"x\"", "line 4"),
        (
            "[[models]]\nname = \"a\"\npolicy = \"best\"",
            "unknown variant `best`, expected one of `latency`",
        ),
        ("[[models]]\nname = \"a\"\nfallback = []", "unknown field `fallback`"),
        ("[[channels]]\nchannel = \"a\"\nlatency = 5000000000", "line 3"),
        ("[[models]\n", "line 1"),
    ] {
        let error = Routes::from_toml(text).unwrap_err().to_string();
        assert!(error.contains(complaint), "{text}: {error}");
    }
    let error = Routes::from_json("{\n \"models\": {}}").unwrap_err().to_string();
    assert!(error.contains("line 2"), "{error}");
}

#[test]
fn a_name_twice_is_refused_wherever_it_is() {
    for (change, place) in [
        (
            (|r: &mut Routes| r.channels.push(r.channels[0].clone())) as fn(&mut Routes),
            "channels[1] 'direct': 'direct' is there already",
        ),
        (|r| r.endpoints.push(r.endpoints[0].clone()), "endpoints[2] 'here': 'here' is there"),
        (|r| r.models.push(r.models[1].clone()), "models[2] 'small': 'small' is there"),
        (|r| r.places.push("us".into()), "places[3] 'us': 'us' is there"),
        (|r| r.models[0].endpoints.push("there".into()), "models[0] 'digits': 'there' is there"),
        (|r| r.models[0].fallbacks.push("small".into()), "models[0] 'digits': 'small' is there"),
        (|r| r.models[0].split[1].version = "1".into(), "models[0] 'digits': '1' is there"),
        (|r| r.models[0].filters.push(FilterName::Priority), "'priority' is there already"),
    ] {
        let error = refused(change);
        assert!(matches!(error, InvalidRoutes::Duplicate { .. }), "{error}");
        assert!(error.to_string().contains(place), "{error}");
    }
}

#[test]
fn an_empty_name_is_refused_wherever_it_is() {
    for (change, place) in [
        (
            (|r: &mut Routes| r.channels[0].channel.clear()) as fn(&mut Routes),
            "channels[0]: channel is empty; give it a name",
        ),
        (|r| r.endpoints[1].name.clear(), "endpoints[1]: name is empty"),
        (|r| r.endpoints[1].url.clear(), "endpoints[1] 'there': url is empty"),
        (|r| r.models[1].name.clear(), "models[1]: name is empty"),
        (|r| r.places[0].clear(), "places[0]: the place is empty"),
        (
            |r| r.models[0].split[1].version.clear(),
            "models[0] 'digits': split[1]: version is empty",
        ),
        (|r| r.models[0].shadows[0].version = Some("".into()), "shadows[0]: version is empty"),
        (|r| r.models[0].rules[0].header = Some("".into()), "rules[0]: header is empty"),
    ] {
        let error = refused(change);
        assert!(matches!(error, InvalidRoutes::Empty { .. }), "{error}");
        assert!(error.to_string().contains(place), "{error}");
    }
}

#[test]
fn a_name_of_control_characters_spaces_or_a_megabyte_is_refused_without_being_repeated() {
    for name in ["a\nb".to_string(), " a".to_string(), "a\t".to_string(), "x".repeat(1 << 20)] {
        for error in [
            refused(|r| r.endpoints[0].name = name.clone()),
            refused(|r| r.models[1].name = name.clone()),
            refused(|r| r.channels[0].channel = name.clone()),
            refused(|r| r.models[0].rules[0].equals = Some(name.clone())),
        ] {
            assert!(matches!(error, InvalidRoutes::Name { .. }), "{error}");
            let text = error.to_string();
            assert!(text.len() < 300 && !text.contains('\n'), "{text}");
        }
    }
}

#[test]
fn a_weight_of_zero_less_nan_or_too_much_is_refused() {
    for weight in [0.0, -0.0, -1.0, 0.5, 1.5, 65_536.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY]
    {
        let error = refused(|routes| routes.endpoints[1].weight = weight);
        let text = error.to_string();
        let InvalidRoutes::Number { entry, key, .. } = error else { panic!("{text}") };
        assert_eq!((entry.as_str(), key), ("endpoints[1] 'there'", "weight"));
        assert!(text.contains("it must be a whole number from 1 to 65535"), "{text}");

        let error = refused(|routes| routes.models[0].split[0].basis_points = weight);
        assert!(matches!(error, InvalidRoutes::Number { key: "basis_points", .. }), "{error}");
    }
    let mut routes = Routes::from_toml(GOOD).unwrap();
    routes.endpoints[1].weight = 65_535.0;
    assert_eq!(routes.check().unwrap().endpoints()[1].weight, u16::MAX);
}

#[test]
fn nan_and_negative_weights_are_refused_in_the_file_as_well() {
    for weight in ["nan", "inf", "-3", "0"] {
        let text = format!("[[endpoints]]\nname = \"a\"\nurl = \"local\"\nweight = {weight}");
        let error = Routes::from_toml(&text).unwrap().check().unwrap_err();
        assert!(matches!(error, InvalidRoutes::Number { key: "weight", .. }), "{error}");
    }
}

#[test]
fn a_split_that_does_not_add_up_is_refused_with_its_sum() {
    for (parts, sum) in [(vec![9999], 9999), (vec![5000, 5001], 10_001), (vec![10_000, 1], 10_001)]
    {
        let error = refused(|routes| {
            let parts = parts.iter().enumerate().map(|(version, &basis_points)| SplitEntry {
                version: version.to_string(),
                basis_points: f64::from(basis_points),
            });
            routes.models[0].split = parts.collect();
        });
        assert_eq!(error, InvalidRoutes::SplitSum { entry: "models[0] 'digits'".into(), sum });
    }
}

#[test]
fn what_is_named_and_not_there_is_refused_with_what_there_is() {
    for (change, complaint) in [
        (
            (|r: &mut Routes| r.endpoints[0].place = Some("eu".into())) as fn(&mut Routes),
            "endpoints[0] 'here': the place 'eu' is not known; \
             add it to places, which has 'eu/a', 'eu/b', 'us'",
        ),
        (
            |r| r.models[0].fallbacks[0] = "large".into(),
            "models[0] 'digits': no model 'large' for fallbacks; \
             add it to models, which has 'digits', 'small'",
        ),
        (
            |r| r.models[0].shadows[0].model = Some("large".into()),
            "models[0] 'digits': shadows[0]: no model 'large' for shadows; \
             add it to models, which has 'digits', 'small'",
        ),
        (
            |r| r.models[0].endpoints[0] = "nowhere".into(),
            "models[0] 'digits': no endpoint 'nowhere'; \
             add it to endpoints, which has 'here', 'there'",
        ),
        (
            |r| r.models[0].rules[0].endpoint = Some("nowhere".into()),
            "models[0] 'digits': rules[0]: no endpoint 'nowhere'; \
             add it to endpoints, which has 'here', 'there'",
        ),
    ] {
        assert_eq!(refused(change).to_string(), complaint);
    }
}

#[test]
fn fallbacks_that_lead_back_are_refused_with_the_whole_way() {
    for (models, cycle) in [
        (vec![model("a", &["a"])], vec!["a", "a"]),
        (vec![model("a", &["b"]), model("b", &["a"])], vec!["a", "b", "a"]),
        (
            vec![model("a", &["b", "c"]), model("b", &[]), model("c", &["d"]), model("d", &["c"])],
            vec!["c", "d", "c"],
        ),
    ] {
        let routes = Routes { models, ..Routes::default() };
        let error = routes.check().unwrap_err();
        let expected: Vec<String> = cycle.iter().map(ToString::to_string).collect();
        assert_eq!(error, InvalidRoutes::FallbackCycle { cycle: expected });
        assert!(error.to_string().contains(&cycle.join(" -> ")), "{error}");
    }
}

#[test]
fn several_ways_to_the_same_fallback_are_no_circle() {
    let models =
        vec![model("a", &["b", "c"]), model("b", &["d"]), model("c", &["d", "b"]), model("d", &[])];
    assert!(Routes { models, ..Routes::default() }.check().is_ok());
}

#[test]
fn a_chain_of_all_the_models_there_may_be_is_followed_to_its_end() {
    let chain = |last: &[&str]| {
        let mut models: Vec<_> = (1..MAX_MODELS)
            .map(|at| model(&format!("m{}", at - 1), &[&format!("m{at}")]))
            .collect();
        models.push(model(&format!("m{}", MAX_MODELS - 1), last));
        Routes { models, ..Routes::default() }.check()
    };
    assert!(chain(&[]).is_ok());
    let error = chain(&["m0"]).unwrap_err();
    let InvalidRoutes::FallbackCycle { cycle } = error else { panic!("a circle of them all") };
    assert_eq!(cycle.len(), MAX_MODELS + 1);
}

#[test]
fn an_address_that_nobody_can_be_asked_at_is_refused() {
    for (url, complaint) in [
        ("gpu-1:8000", "does not begin with http"),
        ("gpu-1", "does not begin with http"),
        ("ftp://gpu-1", "does not begin with http"),
        ("Local", "does not begin with http"),
        ("http://", "cannot be read"),
        ("http://gpu 1", "cannot be read"),
        ("http://user:secret@gpu-1", "has a name or password in it"),
        ("http://gpu-1:", "lacks a host or port"),
        ("http://:8000", "lacks a host or port"),
        ("http://gpu-1:99999", "has a port that is none"),
        ("http://gpu-1?x=1", "has a query"),
    ] {
        let text = refused(|routes| routes.endpoints[1].url = url.into()).to_string();
        assert!(text.contains(complaint) && text.contains("endpoints[1]"), "{url}: {text}");
    }
    for url in ["http://gpu-1", "https://gpu-1:8443", "http://[::1]:8000", "http://proxy/gpu-1"] {
        let mut routes = Routes::from_toml(GOOD).unwrap();
        routes.endpoints[1].url = url.into();
        assert_eq!(routes.check().unwrap().endpoints()[1].url.as_deref(), Some(url));
    }
}

#[test]
fn a_shadow_that_makes_no_sense_is_refused() {
    for percent in [0.0, -1.0, 0.001, 100.01, 33.333, f64::NAN, f64::INFINITY] {
        let error = refused(|routes| routes.models[0].shadows[0].percent = percent);
        assert!(
            matches!(error, InvalidRoutes::Number { key: "percent", .. }),
            "{percent}: {error}"
        );
    }
    for tolerance in [-1.0, f64::NAN, f64::INFINITY] {
        let error = refused(|r| r.models[0].shadows[0].absolute_tolerance = Some(tolerance));
        assert!(
            matches!(error, InvalidRoutes::Number { key: "absolute_tolerance", .. }),
            "{error}"
        );
        let error = refused(|r| r.models[0].shadows[0].relative_tolerance = Some(tolerance));
        assert!(
            matches!(error, InvalidRoutes::Number { key: "relative_tolerance", .. }),
            "{error}"
        );
    }
    let error = refused(|routes| routes.models[0].shadows[0].version = None);
    let entry = "models[0] 'digits': shadows[0]".to_string();
    assert_eq!(error, InvalidRoutes::ShadowOfItself { entry });
}

#[test]
fn a_rule_that_looks_at_nothing_at_two_things_or_sends_nowhere_is_refused() {
    for (change, complaint) in [
        (
            (|rule: &mut RuleEntry| rule.header = None) as fn(&mut RuleEntry),
            "models[0] 'digits': rules[0]: looks at nothing; give it a header or an annotation",
        ),
        (|rule| rule.annotation = Some("x".into()), "has a header and an annotation"),
        (|rule| rule.header = Some("a b".into()), "no name of an HTTP header"),
        (|rule| (rule.version, rule.endpoint) = (None, None), "sends nowhere"),
    ] {
        let text = refused(|routes| change(&mut routes.models[0].rules[0])).to_string();
        assert!(text.contains(complaint), "{text}");
    }
}

#[test]
fn more_than_there_may_be_is_refused() {
    for (error, complaint) in [
        (
            refused(|r| r.endpoints = vec![r.endpoints[0].clone(); MAX_ENDPOINTS + 1]),
            "endpoints has 1025 entries; at most 1024 are possible",
        ),
        (refused(|r| r.models = vec![model("a", &[]); MAX_MODELS + 1]), "models has 16385"),
        (refused(|r| r.places = vec!["a".into(); MAX_PLACES + 1]), "places has 4097"),
        (
            refused(|r| r.channels = vec![r.channels[0].clone(); MAX_CHANNELS + 1]),
            "channels has 65537",
        ),
        (
            refused(|r| r.models[0].rules = vec![RuleEntry::default(); MAX_PER_MODEL + 1]),
            "models[0] 'digits': rules has 17 entries; at most 16",
        ),
    ] {
        assert!(matches!(error, InvalidRoutes::TooMany { .. }), "{error}");
        assert!(error.to_string().contains(complaint), "{error}");
    }
}

#[test]
fn a_place_of_no_or_too_many_levels_is_refused() {
    for place in ["eu/", "/a", "eu//a", "a/b/c/d/e", "eu/ a"] {
        let error = refused(|routes| routes.places[1] = place.into());
        let (entry, place) = (format!("places[1] '{place}'"), place.to_string());
        assert_eq!(error, InvalidRoutes::Place { entry, place });
    }
}

proptest! {
    /// Two places agree in as many numbers as their names have levels in common, and never further.
    #[test]
    fn the_numbers_of_places_agree_as_far_as_their_names(
        places in prop::collection::hash_set("[ab](/[ab]){0,3}", 1..12),
    ) {
        let places: Vec<String> = places.into_iter().collect();
        let endpoints = places.iter().map(|place| EndpointEntry {
            place: Some(place.clone()),
            ..EndpointEntry::new(place.clone(), "local")
        });
        let routes =
            Routes { endpoints: endpoints.collect(), places: places.clone(), ..Routes::default() };
        let checked = routes.check().unwrap();
        for (a, first) in places.iter().zip(checked.endpoints()) {
            prop_assert_eq!(first.place.iter().filter(|n| **n > 0).count(), a.split('/').count());
            for (b, second) in places.iter().zip(checked.endpoints()) {
                let named = a.split('/').zip(b.split('/')).take_while(|(a, b)| a == b).count();
                let pairs = first.place.iter().zip(&second.place);
                let numbered = pairs.take_while(|(a, b)| a == b && **a > 0).count();
                prop_assert_eq!(named, numbered, "{} {}", a, b);
            }
        }
    }

    /// By brute force: a circle is there if some model is reached from itself.
    #[test]
    fn a_circle_is_found_exactly_where_a_model_reaches_itself(
        arrows in prop::collection::vec(prop::collection::btree_set(0..6_usize, 0..3), 6),
    ) {
        let models: Vec<ModelEntry> = arrows.iter().enumerate().map(|(at, to)| ModelEntry {
            name: at.to_string(),
            fallbacks: to.iter().map(ToString::to_string).collect(),
            ..ModelEntry::default()
        }).collect();
        // A bit for each model that can be reached.
        let mut reached = [0_u8; 6];
        for _ in 0..6 {
            for (from, to) in arrows.iter().enumerate() {
                for &to in to {
                    reached[from] |= 1 << to | reached[to];
                }
            }
        }
        let is_circular = reached.iter().enumerate().any(|(model, bits)| bits >> model & 1 == 1);
        match (Routes { models, ..Routes::default() }).check() {
            Ok(_) => prop_assert!(!is_circular),
            Err(InvalidRoutes::FallbackCycle { cycle }) => {
                prop_assert!(is_circular);
                prop_assert_eq!(cycle.first(), cycle.last());
                for step in cycle.windows(2) {
                    let (from, to): (usize, usize) = (step[0].parse().unwrap(), step[1].parse().unwrap());
                    prop_assert!(arrows[from].contains(&to));
                }
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }

    #[test]
    fn no_text_makes_reading_or_checking_panic(text in "[ -~\n]{0,200}") {
        if let Ok(routes) = Routes::from_toml(&text) {
            let _ = routes.check();
        }
        let _ = Routes::from_json(&text);
    }
}

#[test]
fn errors_of_a_file_name_it() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    assert_eq!(Routes::from_file(&write("a.toml", GOOD)), Routes::from_toml(GOOD));
    let json = serde_json::to_string(&Routes::from_toml(GOOD).unwrap()).unwrap();
    assert_eq!(
        Routes::from_file(&write("a.JSON", &json)).unwrap(),
        Routes::from_toml(GOOD).unwrap()
    );

    for (path, complaint) in [
        (folder.path().join("none.toml"), "cannot read"),
        (write("b.toml", "places = 3"), "line 1"),
        (write("c.toml", "[[models]]\nname = \"\""), "models[0]: name is empty; give it a name"),
        (write("d.json", "places = []"), "line 1"),
        (write("e.toml", &"#".repeat(MAX_FILE as usize + 1)), "has more than 4194304 bytes"),
    ] {
        let text = Routes::from_file(&path).unwrap_err().to_string();
        assert!(text.contains(complaint), "{text}");
        assert!(text.contains(&path.display().to_string()), "{text}");
    }
    let not_text = folder.path().join("f.toml");
    std::fs::write(&not_text, [0xff, 0xfe]).unwrap();
    assert!(matches!(Routes::from_file(&not_text), Err(RoutesFileError::Unreadable { .. })));
    assert!(Routes::from_file(Path::new("/")).is_err());
}
