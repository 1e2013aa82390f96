//! Room for one more, and who makes it.

use super::on_demand::block_on;
use super::*;
use crate::clock::Clock;
use proptest::prelude::*;

/// A file of so many bytes.
fn sized(bytes: usize) -> String {
    format!("{:<bytes$}", "1")
}

fn ready(registry: &Registry) -> Vec<String> {
    registry.ready().iter().map(|model| model.name.clone()).collect()
}

fn use_it(registry: &Registry, name: &str, clock: Clock) {
    registry.find(name, None).unwrap().used(clock.now());
}

#[test]
fn the_longest_unused_makes_room_unless_it_is_pinned_or_in_use() {
    let repository = Repository::new();
    for name in ["a", "b", "c", "d"] {
        repository.put(name, "1", &sized(40));
    }
    repository.write("b/config.toml", "pinned = true");
    let registry = repository.open(ModelControl::Explicit(BTreeSet::new()), Some(130));
    let clock = registry.places.clock;
    for name in ["a", "b", "c"] {
        registry.load(name, None).unwrap();
    }
    use_it(&registry, "a", clock);
    registry.load("d", None).unwrap();
    assert_eq!(ready(&registry), ["a", "b", "d"], "c was not used since");
    assert_eq!(repository.seen.alive(), 3, "and is freed before the next is loaded");
    let error = registry.find("c", None).unwrap_err().to_string();
    assert!(error.contains("unloaded to make room for d"), "{error}");

    // Now a is the longest unused, but has a request in hand; then d is.
    let busy = registry.find("a", None).unwrap();
    let pending = busy.recorder.pending();
    registry.load("c", None).unwrap();
    assert_eq!(ready(&registry), ["a", "b", "c"]);

    let also_busy = registry.find("c", None).unwrap();
    let also_pending = also_busy.recorder.pending();
    let error = registry.load("d", None).unwrap_err();
    assert!(matches!(error, ChangeError::NoMemory { needs: 40, limit: 130, .. }), "{error}");
    assert!(error.to_string().contains("pinned or in use"), "{error}");
    assert_eq!(ready(&registry), ["a", "b", "c"], "none is unloaded in vain");
    drop((pending, also_pending));
    drop((busy, also_busy));
    registry.load("d", None).unwrap();
    assert_eq!(ready(&registry), ["b", "c", "d"]);

    // Asked for by name, what is pinned goes too.
    registry.unload("b").unwrap();
    assert_eq!(ready(&registry), ["c", "d"]);
}

#[test]
fn what_would_not_fit_alone_or_beside_itself_is_refused() {
    let repository = Repository::new();
    repository.put("small", "1", &sized(60));
    repository.put("large", "1", &sized(50));
    repository.put("large", "2", &sized(60));
    let registry = repository.open(ModelControl::Explicit(BTreeSet::new()), Some(100));
    registry.load("small", None).unwrap();
    let error = registry.load("large", None).unwrap_err().to_string();
    assert!(error.contains("takes 110 of 100 bytes") && error.contains("fit alone"), "{error}");
    // Loading again needs room for both, so that no request finds neither.
    let error = registry.load("small", None).unwrap_err().to_string();
    assert!(error.contains("60 are held"), "{error}");
    assert_eq!(ready(&registry), ["small"]);
}

#[test]
fn at_the_start_and_when_polled_nobody_is_pushed_out() {
    let repository = Repository::new();
    for name in ["a", "b", "c"] {
        repository.put(name, "1", &sized(40));
    }
    let registry = repository.open(ModelControl::None, Some(100));
    assert_eq!(ready(&registry), ["a", "b"]);
    let error = registry.find("c", None).unwrap_err().to_string();
    assert!(error.contains("no memory for model 'c'"), "{error}");
    repository.put("d", "1", &sized(40));
    registry.rescan().unwrap();
    assert_eq!(ready(&registry), ["a", "b"]);
    repository.remove("a");
    registry.rescan().unwrap();
    until_held(&registry, 1);
    repository.put("c", "1", &sized(41));
    registry.rescan().unwrap();
    assert_eq!(ready(&registry), ["b", "c"], "there is room now");
}

#[test]
fn what_an_executor_says_counts_before_its_files() {
    let says = |bytes: u64| format!("1 says {bytes}");
    let repository = Repository::new();
    repository.put("large", "1", &says(70));
    repository.put("small", "1", &format!("{:<60}", says(30)));
    repository.put("silent", "1", &sized(40));
    let registry = repository.open(ModelControl::Explicit(BTreeSet::new()), Some(100));
    registry.load("small", None).unwrap();
    assert_eq!(registry.places.bytes(), 30, "less than its file has: the rest is free");
    registry.load("large", None).unwrap();
    assert_eq!((registry.places.bytes(), ready(&registry).len()), (100, 2));

    // More than was thought: others make room, or it is not served.
    registry.load("silent", None).unwrap();
    assert_eq!((registry.places.bytes(), &*ready(&registry)), (40, &["silent".into()][..]));
    repository.put("silent", "1", &format!("{:<40}", says(95)));
    registry.unload("silent").unwrap();
    registry.load("small", None).unwrap();
    registry.load("silent", None).unwrap();
    assert_eq!((registry.places.bytes(), &*ready(&registry)), (95, &["silent".into()][..]));
    registry.unload("silent").unwrap();
    repository.put("silent", "1", &says(101));
    let error = registry.load("silent", None).unwrap_err().to_string();
    assert!(error.contains("its runtime says that it takes 101 bytes, "), "{error}");
    assert!(error.contains("it would not fit alone") || error.contains("room"), "{error}");
    assert_eq!(registry.places.bytes(), 0, "and then it takes nothing");
    // What it said is known the next time.
    let error = registry.load("silent", None).unwrap_err();
    assert!(matches!(error, ChangeError::NoMemory { needs: 101, .. }), "{error}");
    repository.write("silent/1/model.onnx", &says(20));
    registry.load("silent", None).unwrap();
    assert_eq!(registry.places.bytes(), 20, "unless its files are others");
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

#[derive(Clone, Debug)]
enum Step {
    Load(usize),
    /// A request has it loaded.
    Demand(usize),
    Unload(usize),
    Use(usize),
    /// A request comes for it, and stays in hand.
    Hold(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..5usize).prop_map(Step::Load),
        3 => (0..5usize).prop_map(Step::Demand),
        1 => (0..5usize).prop_map(Step::Unload),
        3 => (0..5usize).prop_map(Step::Use),
        1 => (0..5usize).prop_map(Step::Hold),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Against a plain list in order of use: who is loaded is the same at every step, and the files of all
    /// never come to more than they may.
    #[test]
    fn models_make_room_in_the_order_of_their_use(
        sizes in prop::array::uniform5(1..50usize),
        pinned in prop::array::uniform5(prop::bool::weighted(0.2)),
        limit in 40..120u64,
        // Whether what came a moment ago is not pushed out on demand, or is.
        stays in any::<bool>(),
        steps in prop::collection::vec(step(), 0..40),
    ) {
        let repository = Repository::new();
        for (place, name) in NAMES.iter().enumerate() {
            repository.put(name, "1", &sized(sizes[place]));
            repository.write(&format!("{name}/config.toml"), &format!("pinned = {}", pinned[place]));
        }
        let min_stay = if stays { LONG } else { Duration::ZERO };
        let registry = repository.on_demand(DemandLimits { min_stay, ..FREE }, Some(limit));
        let clock = registry.places.clock;
        // The longest unused first.
        let mut expected: Vec<usize> = Vec::new();
        let mut held: Option<(usize, Arc<LoadedModel>)> = None;
        for step in steps {
            match step {
                Step::Demand(place) if expected.contains(&place) => {
                    let found = block_on(registry.demand(NAMES[place], None, None));
                    prop_assert!(found.is_ok(), "{:?}", found);
                }
                Step::Load(place) | Step::Demand(place) => {
                    let on_demand = matches!(step, Step::Demand(_));
                    let needs = sizes[place] as u64;
                    let sum = |of: &[usize]| of.iter().map(|&place| sizes[place] as u64).sum::<u64>();
                    let mut left = expected.clone();
                    let is_held = |other: usize| held.as_ref().is_some_and(|(held, _)| *held == other);
                    while sum(&left) + needs > limit && !(on_demand && stays) {
                        let may_go = |&other: &usize| other != place && !pinned[other] && !is_held(other);
                        let Some(victim) = left.iter().position(may_go) else { break };
                        left.remove(victim);
                    }
                    let fits = sum(&left) + needs <= limit;
                    if on_demand {
                        let found = block_on(registry.demand(NAMES[place], None, None));
                        let is_refused = found.as_ref().is_err_and(DemandError::is_overload);
                        prop_assert_eq!((found.is_ok(), is_refused), (fits, !fits), "{:?}", found);
                    } else {
                        let loaded = registry.load(NAMES[place], None);
                        prop_assert_eq!(loaded.is_ok(), fits, "{:?}", loaded);
                    }
                    if fits {
                        expected = left;
                        expected.retain(|&other| other != place);
                        expected.push(place);
                    }
                }
                Step::Unload(place) => {
                    registry.unload(NAMES[place]).unwrap();
                    expected.retain(|&other| other != place);
                }
                Step::Use(place) if expected.contains(&place) => {
                    use_it(&registry, NAMES[place], clock);
                    expected.retain(|&other| other != place);
                    expected.push(place);
                }
                Step::Hold(place) if held.is_none() && expected.contains(&place) => {
                    held = Some((place, registry.find(NAMES[place], None).unwrap()));
                    std::mem::forget(held.as_ref().unwrap().1.recorder.pending());
                }
                _ => {}
            }
            let mut names: Vec<String> = expected.iter().map(|&place| NAMES[place].into()).collect();
            names.sort();
            prop_assert_eq!(ready(&registry), names);
            prop_assert!(registry.places.bytes() <= limit);
            // Unloaded with a request in hand, it takes memory still: the plain list has no word for that.
            if let Some((place, _)) = &held && !expected.contains(place) {
                return Ok(());
            }
            // Loaded again, the one in hand is another than the one that is found.
            if let Some((place, model)) = &held
                && !Arc::ptr_eq(model, &registry.find(NAMES[*place], None).unwrap())
            {
                return Ok(());
            }
            until_held(&registry, expected.len());
            prop_assert_eq!(repository.seen.alive(), expected.len());
        }
    }
}
