//! The suite of routing.

mod affinity;
mod bandit;
mod every_policy;
mod experiment;
mod filters;
mod gate;
mod health;
mod load;
mod second_attempts;
mod split;
mod turns;
mod two_choices;
mod world;

use std::boxed::Box;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::batch::ModelId;
use crate::{Duration, Instant};

const MODEL: ModelId = ModelId(7);

fn at(millis: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(millis)
}

/// Everything that a sink is told.
#[derive(Default, Debug, PartialEq)]
struct Told {
    excluded: Vec<(usize, Exclusion)>,
    costs: Vec<(usize, u64)>,
    notes: Vec<Note>,
}

impl RouteSink for Told {
    fn excluded(&mut self, index: usize, why: Exclusion) {
        self.excluded.push((index, why));
    }

    fn costed(&mut self, index: usize, cost: u64) {
        self.costs.push((index, cost));
    }

    fn noted(&mut self, note: Note) {
        self.notes.push(note);
    }
}

impl Told {
    fn why(&self, index: usize) -> Option<Exclusion> {
        self.excluded.iter().find(|(excluded, _)| *excluded == index).map(|&(_, why)| why)
    }
}

/// Healthy endpoints with nothing to do, one for each weight.
fn weighted(weights: &[u16]) -> Vec<Candidate> {
    let endpoint = |at: usize| EndpointId(stable_hash(&at.to_le_bytes()));
    let candidate = |(at, &weight)| Candidate { weight, ..Candidate::new(endpoint(at), MODEL) };
    weights.iter().enumerate().map(candidate).collect()
}

/// So many healthy endpoints of weight 1 with nothing to do.
fn equals(count: usize) -> Vec<Candidate> {
    weighted(&std::vec![1; count])
}

/// The request of this number: its random bits follow from it.
fn request(number: u64) -> RouteContext<'static> {
    RouteContext::new(at(1_000), stable_hash(&number.to_le_bytes()))
}

/// One after the other, `times` requests: where they went.
fn chosen(policy: &dyn RoutingPolicy, candidates: &[Candidate], times: u64) -> Vec<usize> {
    let choose = |number| policy.choose(&request(number), candidates, &mut ()).unwrap().index;
    (0..times).map(choose).collect()
}

fn counts(chosen: &[usize], of: usize) -> Vec<usize> {
    let mut counts = std::vec![0; of];
    chosen.iter().for_each(|&index| counts[index] += 1);
    counts
}

/// Whether `hits` of `trials` is within 5 standard deviations of what `share` gives: chance alone misses
/// that once in two million tries.
fn is_near(hits: usize, trials: usize, share: f64) -> bool {
    let (hits, trials) = (hits as f64, trials as f64);
    let deviation = (trials * share * (1.0 - share)).sqrt();
    (hits - trials * share).abs() <= 5.0 * deviation.max(1.0)
}

fn rule(when: &[Condition], to: Target) -> Rule {
    Rule::new(when, to).unwrap()
}

/// Every policy of the module, each fresh, and each behind filters too.
fn every_policy() -> Vec<(&'static str, Box<dyn RoutingPolicy>)> {
    const KEPT: Priority = Priority { share: [500, 700, 1000, 1000, 1000, 1000, 1000, 1000] };
    std::vec![
        ("round robin", Box::new(RoundRobin::new())),
        ("smooth weighted", Box::new(SmoothWeighted::<64>::new())),
        ("weighted random", Box::new(WeightedRandom)),
        ("least request", Box::new(LeastRequest::default())),
        ("latency", Box::new(Latency::default())),
        ("cheapest", Box::new(Cheapest(Outstanding))),
        ("sticky", Box::new(Affinity::STICKY)),
        ("model affinity", Box::new(Affinity::MODEL)),
        (
            "geographic",
            Box::new(Filtered { filter: Geographic::DEFAULT, policy: RoundRobin::new() }),
        ),
        ("headroom", Box::new(Filtered { filter: Headroom::default(), policy: WeightedRandom })),
        ("priority", Box::new(Filtered { filter: Priority::DEFAULT, policy: RoundRobin::new() })),
        (
            "rules",
            Box::new(Filtered {
                filter: Rules([rule(
                    &[Condition::PriorityFrom(5)],
                    Target::Near { place: Place::UNKNOWN, within: Tier::Zone },
                )]),
                policy: Latency::default(),
            }),
        ),
        (
            "all filters",
            Box::new(Filtered {
                filter: (KEPT, (Geographic::DEFAULT, Headroom::default())),
                policy: Affinity::MODEL,
            }),
        ),
    ]
}

prop_compose! {
    fn any_place()(region in 0..3_u16, zone in 0..3_u16, rack in 0..3_u16, host in 0..3_u16) -> Place {
        Place { region, zone, rack, host }
    }
}

prop_compose! {
    fn any_candidate()(
        (endpoint, version, place) in (0..40_u64, 7..9_u32, any_place()),
        (weight, ramp) in (
            prop_oneof![3 => Just(1_u16), 1 => Just(0), 2 => 1..=100_u16, 1 => Just(u16::MAX)],
            prop_oneof![2 => Just(1000_u16), 1 => any::<u16>()],
        ),
        health in prop_oneof![
            6 => Just(Health::Healthy),
            1 => Just(Health::Recovering),
            1 => Just(Health::Ejected),
            1 => Just(Health::Unreachable),
            1 => Just(Health::Draining),
        ],
        (loaded, least_priority) in (any::<bool>(), prop_oneof![3 => Just(0_u8), 1 => 0..8_u8]),
        (outstanding, limit) in (
            prop_oneof![4 => 0..20_u32, 1 => any::<u32>()],
            prop_oneof![3 => Just(u32::MAX), 1 => 0..20_u32],
        ),
        latency in proptest::option::of(prop_oneof![4 => 0..1_000_000_000_u64, 1 => any::<u64>()]),
        (measured, heard) in (any::<u64>(), prop_oneof![2 => Just(u64::MAX), 1 => any::<u64>()]),
    ) -> Candidate {
        Candidate {
            endpoint: EndpointId(endpoint),
            version: ModelId(version),
            place, weight, ramp, health, loaded, least_priority, outstanding, limit,
            latency: latency.map(Duration::from_nanos),
            measured_at: Instant::from_nanos(measured),
            heard_at: Instant::from_nanos(heard),
        }
    }
}

/// The numbers of a request; it borrows what it is annotated with.
#[derive(Clone, Debug)]
struct AnyRequest {
    now: u64,
    random: u64,
    version: Option<u32>,
    priority: u8,
    place: Place,
    deadline: Option<u64>,
    sticky: Option<u64>,
    blocked: Vec<EndpointId>,
}

impl AnyRequest {
    fn context(&self) -> RouteContext<'_> {
        RouteContext {
            version: self.version.map(ModelId),
            priority: self.priority,
            place: self.place,
            deadline: self.deadline.map(Instant::from_nanos),
            sticky: self.sticky,
            blocked: &self.blocked,
            ..RouteContext::new(Instant::from_nanos(self.now), self.random)
        }
    }
}

prop_compose! {
    fn any_request()(
        (now, random) in (any::<u64>(), any::<u64>()),
        version in proptest::option::of(7..9_u32),
        priority in 0..9_u8,
        place in any_place(),
        deadline in proptest::option::of(any::<u64>()),
        sticky in proptest::option::of(any::<u64>()),
        blocked in proptest::collection::vec((0..40_u64).prop_map(EndpointId), 0..4),
    ) -> AnyRequest {
        AnyRequest { now, random, version, priority, place, deadline, sticky, blocked }
    }
}

#[test]
fn every_name_stands_at_its_place() {
    use Exclusion::*;
    let tier = OtherTier(Tier::Zone);
    let exclusions = [
        OtherVersion,
        Blocked,
        ZeroWeight,
        Draining,
        Full,
        Reserved,
        KeptFree,
        Ejected,
        Unreachable,
        Recovering,
        NotExplored,
        Stale,
        tier,
        Rule(7),
        WouldMissDeadline,
        Beyond,
    ];
    let places = exclusions.map(|why| (why.place(), Exclusion::NAMES[why.place()]));
    let in_order = (0..).zip(Exclusion::NAMES.iter().copied());
    assert!(places.into_iter().eq(in_order), "{places:?}");
    assert_eq!(places.map(|(_, name)| name), exclusions.map(Exclusion::name));
    assert_eq!(Reason::NAMES[Reason::KeyOwner.place()], Reason::KeyOwner.name());
    assert_eq!(Admission::NAMES[Admission::Panic.place()], Admission::Panic.name());
}
