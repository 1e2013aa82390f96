//! Random changes against a plain model of the registry.

use super::on_demand::block_on;
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use tensorforge_core::machine::DeploymentState;

#[derive(Clone, Debug)]
enum Step {
    /// Writes a version's file: a number, or nonsense.
    Write(usize, u64, Option<u16>),
    Remove(usize, u64),
    Load(usize),
    Unload(usize),
    Rescan,
    /// A request finds a version, and holds it.
    Find(usize, Option<u64>),
    /// The same, and has it loaded where nothing of it is.
    Demand(usize, Option<u64>),
    /// One of those is answered.
    Answer(prop::sample::Index),
}

const NAMES: [&str; 2] = ["one", "two"];

fn step() -> impl Strategy<Value = Step> {
    let name = || 0..NAMES.len();
    let version = || 1..4u64;
    prop_oneof![
        4 => (name(), version(), prop::option::weighted(0.8, 0..1000u16))
            .prop_map(|(name, version, number)| Step::Write(name, version, number)),
        1 => (name(), version()).prop_map(|(name, version)| Step::Remove(name, version)),
        4 => name().prop_map(Step::Load),
        2 => name().prop_map(Step::Unload),
        1 => Just(Step::Rescan),
        4 => (name(), prop::option::of(version()))
            .prop_map(|(name, version)| Step::Find(name, version)),
        4 => (name(), prop::option::of(version()))
            .prop_map(|(name, version)| Step::Demand(name, version)),
        3 => any::<prop::sample::Index>().prop_map(Step::Answer),
    ]
}

/// What one model should be.
#[derive(Clone, Default)]
struct Expected {
    /// The files by version: a number, or nonsense.
    files: BTreeMap<u64, Option<u16>>,
    /// By version what is served, or `None` where it is known and not served. Each load has its number.
    versions: BTreeMap<u64, Option<(u16, usize)>>,
    is_known: bool,
    /// It failed on demand, and is not tried again that way.
    has_failed: bool,
}

impl Expected {
    fn served(&self) -> impl DoubleEndedIterator<Item = (u16, usize)> {
        self.versions.values().copied().flatten()
    }

    /// As the rules say: what loads takes its place, what does not leaves the one before, and what has no
    /// folder any more goes.
    fn load(&mut self, loads: &mut usize) -> Result<(), ()> {
        let mut result = Ok(());
        let mut versions = BTreeMap::new();
        for (&version, &file) in &self.files {
            let served = match file {
                Some(number) => {
                    *loads += 1;
                    Some((number, *loads))
                }
                None => {
                    result = Err(());
                    self.versions.get(&version).copied().flatten()
                }
            };
            versions.insert(version, served);
        }
        if self.files.is_empty() {
            return Err(());
        }
        (self.versions, self.is_known) = (versions, true);
        result
    }

    /// What lies in the folder becomes known, where nothing of it is loaded.
    fn look(&mut self) {
        if !self.files.is_empty() && self.served().next().is_none() {
            self.is_known = true;
            self.versions = self.files.keys().map(|&version| (version, None)).collect();
        }
    }

    /// As the rules of loading on demand say.
    fn demand(
        &mut self,
        version: Option<u64>,
        loads: &mut usize,
        tried: &mut usize,
    ) -> Result<u16, &'static str> {
        let found = self.find(version);
        if matches!(found, Err("unknown model" | "has no version")) {
            self.look();
        }
        let is_there = version.is_none_or(|version| self.versions.contains_key(&version));
        if found.is_ok() || !self.is_known || self.served().next().is_some() || !is_there {
            return self.find(version);
        }
        if self.has_failed {
            return Err("did not load");
        }
        if self.files.is_empty() {
            (self.is_known, self.versions) = (false, BTreeMap::new());
            return Err("has no version");
        }
        *tried += self.files.len();
        self.has_failed = self.load(loads).is_err();
        let failed = if self.has_failed { "did not load" } else { "has no version" };
        self.find(version).map_err(|_| failed)
    }

    fn find(&self, version: Option<u64>) -> Result<u16, &'static str> {
        if !self.is_known {
            return Err("unknown model");
        }
        let served = match version {
            Some(version) => *self.versions.get(&version).ok_or("has no version")?,
            None => self.served().next_back(),
        };
        served.map(|(number, _)| number).ok_or("is not ready")
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    /// Every find gives the version that it should or the right error; what a request holds is never freed,
    /// and nothing else is kept; numbers in use are never given twice; every step of every life is allowed.
    #[test]
    fn models_come_and_go_as_they_should(steps in prop::collection::vec(step(), 0..60)) {
        let repository = Repository::new();
        let registry = repository.on_demand(DemandLimits { back_off: LONG, ..FREE }, None);
        let mut expected: [Expected; NAMES.len()] = Default::default();
        let (mut loads, mut tried) = (0, 0);
        let mut in_hand: Vec<(Arc<LoadedModel>, u16)> = Vec::new();
        for step in steps {
            match step {
                Step::Write(name, version, number) => {
                    let text = number.map_or("nonsense".into(), |number| number.to_string());
                    repository.put(NAMES[name], &version.to_string(), &text);
                    expected[name].files.insert(version, number);
                }
                Step::Remove(name, version) => {
                    if expected[name].files.remove(&version).is_some() {
                        repository.remove(&format!("{}/{version}", NAMES[name]));
                    }
                }
                Step::Load(name) => {
                    let loaded = registry.load(NAMES[name], None);
                    tried += expected[name].files.len();
                    expected[name].has_failed &= !repository.path(NAMES[name]).exists();
                    prop_assert_eq!(loaded.is_ok(), expected[name].load(&mut loads).is_ok());
                }
                Step::Unload(name) => {
                    let there = repository.path(NAMES[name]).exists();
                    let is_known = expected[name].is_known;
                    prop_assert_eq!(registry.unload(NAMES[name]).is_ok(), there || is_known);
                    expected[name].has_failed &= !is_known;
                    expected[name].versions.values_mut().for_each(|served| *served = None);
                }
                // It makes what is there known, and changes nothing that is.
                Step::Rescan => {
                    registry.look().unwrap();
                    expected.iter_mut().filter(|model| !model.is_known).for_each(Expected::look);
                }
                Step::Find(name, version) => {
                    let text = version.map(|version| version.to_string());
                    let found = registry.find(NAMES[name], text.as_deref());
                    match (found, expected[name].find(version)) {
                        (Ok(model), Ok(number)) => {
                            prop_assert_eq!(added(&model), f32::from(number));
                            prop_assert_eq!(model.state(), DeploymentState::Production);
                            in_hand.push((model, number));
                        }
                        (found, Err(complaint)) => {
                            let error = found.unwrap_err().to_string();
                            prop_assert!(error.contains(complaint), "{error}: {complaint}");
                        }
                        (Err(error), Ok(number)) => prop_assert!(false, "{error}, not {number}"),
                    }
                }
                Step::Demand(name, version) => {
                    let text = version.map(|version| version.to_string());
                    // Whoever is not known at all, or lacks a version, has the others looked for too.
                    let unknown = matches!(
                        expected[name].find(version),
                        Err("unknown model" | "has no version")
                    );
                    if unknown {
                        expected.iter_mut().filter(|model| !model.is_known).for_each(Expected::look);
                    }
                    let wanted = expected[name].demand(version, &mut loads, &mut tried);
                    match (block_on(registry.demand(NAMES[name], text.as_deref(), None)), wanted) {
                        (Ok(model), Ok(number)) => {
                            prop_assert_eq!(added(&model), f32::from(number));
                            in_hand.push((model, number));
                        }
                        (found, Err(complaint)) => {
                            let error = found.unwrap_err().to_string();
                            prop_assert!(error.contains(complaint), "{error}: {complaint}");
                        }
                        (Err(error), Ok(number)) => prop_assert!(false, "{error}, not {number}"),
                    }
                }
                Step::Answer(nth) if !in_hand.is_empty() => {
                    let (model, number) = in_hand.swap_remove(nth.index(in_hand.len()));
                    prop_assert_eq!(added(&model), f32::from(number), "as it was found");
                }
                Step::Answer(_) => {}
            }
            prop_assert_eq!(repository.seen.loads(), tried, "no load that nobody asked for");
            let served: usize = expected.iter().map(|model| model.served().count()).sum();
            let mut held: Vec<Arc<LoadedModel>> = registry.ready();
            prop_assert_eq!(held.len(), served);
            held.extend(in_hand.iter().map(|(model, _)| Arc::clone(model)));
            held.sort_by_key(|model| model.serial());
            held.dedup_by_key(|model| model.serial());
            let ids: BTreeSet<u32> = held.iter().map(|model| model.id.0).collect();
            prop_assert_eq!(ids.len(), held.len(), "a number in use was given again");
            let count = held.len();
            drop(held);
            until_held(&registry, count);
            prop_assert_eq!(repository.seen.alive(), count);
        }
        drop(in_hand);
        NAMES.iter().for_each(|name| drop(registry.unload(name)));
        until_held(&registry, 0);
        prop_assert_eq!(repository.seen.alive(), 0);
        let freed = lock(&repository.seen.freed_on);
        prop_assert!(freed.iter().all(|thread| thread == "registry"), "{:?}", freed);
        drop(freed);
        for name in NAMES {
            for version in 1..4 {
                // Refused steps fail here; every life that began to serve has ended.
                let steps = repository.steps.of(&format!("{name}/{version}"));
                let count = |state: &str| steps.iter().filter(|step| *step == state).count();
                prop_assert_eq!(count("production"), count("archived"));
                prop_assert_eq!(count("production"), count("deprecated"));
            }
        }
    }
}
