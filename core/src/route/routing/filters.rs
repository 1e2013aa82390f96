//! What narrows the shortlist.

use super::*;

const HERE: Place = Place { region: 1, zone: 1, rack: 1, host: 1 };

/// A place of each tier, as seen from [`HERE`].
const PLACES: [Place; 5] = [
    HERE,
    Place { host: 2, ..HERE },
    Place { rack: 2, ..HERE },
    Place { zone: 2, ..HERE },
    Place { region: 2, ..HERE },
];

fn from_here(number: u64) -> RouteContext<'static> {
    RouteContext { place: HERE, ..request(number) }
}

/// `per_tier` endpoints in each tier that is named.
fn in_tiers(tiers: &[Tier], per_tier: usize) -> Vec<Candidate> {
    let mut candidates = equals(tiers.len() * per_tier);
    for (candidate, tier) in candidates.chunks_mut(per_tier).zip(tiers) {
        candidate.iter_mut().for_each(|one| one.place = PLACES[*tier as usize]);
    }
    candidates
}

fn geographic() -> Filtered<Geographic, RoundRobin> {
    Filtered { filter: Geographic::DEFAULT, policy: RoundRobin::new() }
}

/// How many of `requests` from here went to each tier.
fn per_tier(candidates: &[Candidate], requests: u64) -> [usize; 5] {
    let policy = geographic();
    let mut counts = [0; 5];
    for number in 0..requests {
        let choice = policy.choose(&from_here(number), candidates, &mut ()).unwrap();
        counts[HERE.tier(candidates[choice.index].place) as usize] += 1;
    }
    counts
}

#[test]
fn places_are_as_near_as_what_they_share() {
    for (place, tier) in PLACES.into_iter().zip(Tier::ALL) {
        assert_eq!(HERE.tier(place), tier);
        assert_eq!(place.tier(HERE), tier, "either way round");
    }
    let zone = Place { rack: 0, host: 0, ..HERE };
    assert_eq!(zone.tier(zone), Tier::Zone, "what is not known is not shared");
}

/// What each tier carries of 1,000,000, by the documentation: all candidates that would serve the request
/// are looked at, tier by tier.
fn carried(
    request: &RouteContext<'_>,
    candidates: &[Candidate],
    is_left: impl Fn(usize) -> bool,
    overprovision: u32,
) -> [u128; 5] {
    let (mut all, mut left) = ([0_u128; 5], [0_u128; 5]);
    for (index, candidate) in candidates.iter().enumerate() {
        let is_its_version = request.version.is_none_or(|version| version == candidate.version);
        if candidate.weight > 0 && candidate.health != Health::Draining && is_its_version {
            let tier = request.place.tier(candidate.place) as usize;
            all[tier] += u128::from(candidate.effective_weight());
            left[tier] += if is_left(index) { candidate.effective_weight().into() } else { 0 };
        }
    }
    let (mut carried, mut remaining) = ([0; 5], 1_000_000_u128);
    for (carried, (all, left)) in carried.iter_mut().zip(all.into_iter().zip(left)) {
        if left > 0 && remaining > 0 {
            let part = left * u128::from(overprovision.max(1000)) * 1_000 / all;
            *carried = part.clamp(1, remaining);
            remaining -= *carried;
        }
    }
    carried
}

proptest! {
    #[test]
    fn traffic_goes_to_tiers_by_what_they_can_carry(
        candidates in proptest::collection::vec(any_candidate(), 1..100),
        any in any_request(),
        overprovision in prop_oneof![Just(1400_u32), 900..3000_u32, any::<u32>()],
    ) {
        let (request, filter) = (any.context(), Geographic { overprovision });
        let Ok(mut shortlist) = Gate::DEFAULT.admit(&request, &candidates[..], &mut ()) else {
            return Ok(());
        };
        let before = shortlist;
        let mut told = Told::default();
        filter.narrow(&request, &candidates[..], &mut shortlist, &mut told).unwrap();
        let [Note::Tier(tier)] = told.notes[..] else { panic!("{:?}", told.notes) };
        let of_tier = |&index: &usize| request.place.tier(candidates[index].place) == tier;
        prop_assert!(shortlist.iter().eq(before.iter().filter(of_tier)));
        prop_assert_eq!(shortlist.admission(), before.admission());
        prop_assert_eq!(told.excluded.len(), before.len() - shortlist.len());
        let carried =
            carried(&request, &candidates, |index| before.contains(index), overprovision);
        // The point that is drawn of all that is carried is in the tier's part.
        let draw = u128::from(request.draw(super::super::context::purpose::TIER));
        let point = (draw * carried.iter().sum::<u128>()) >> 64;
        let nearer: u128 = carried[..tier as usize].iter().sum();
        prop_assert!((nearer..nearer + carried[tier as usize]).contains(&point));
    }
}

proptest! {
    #[test]
    fn a_tier_ends_at_the_first_part_that_differs_or_is_not_known(
        here in any_place(), there in any_place(),
    ) {
        let parts = |place: Place| [place.region, place.zone, place.rack, place.host];
        let mut tier = Tier::Elsewhere;
        let nearer = [Tier::Region, Tier::Zone, Tier::Rack, Tier::Host];
        for ((mine, theirs), nearer) in parts(here).into_iter().zip(parts(there)).zip(nearer) {
            if mine == 0 || theirs == 0 || mine != theirs {
                break;
            }
            tier = nearer;
        }
        prop_assert_eq!(here.tier(there), tier);
    }
}

#[test]
fn a_request_goes_to_the_nearest_tier_there_is() {
    for nearest in 0..5 {
        let candidates = in_tiers(&Tier::ALL[nearest..], 3);
        assert_eq!(per_tier(&candidates, 200)[nearest], 200);
    }
}

#[test]
fn a_tier_overflows_by_what_it_cannot_carry() {
    let mut candidates = in_tiers(&[Tier::Zone, Tier::Region], 10);
    let takes_all = |candidates: &[Candidate]| per_tier(candidates, 2_000)[2] == 2_000;
    // 8 of 10, times 1.4, is more than all; 7 of 10 are 98 %, 5 are 70 %.
    candidates[..2].iter_mut().for_each(|one| one.health = Health::Ejected);
    assert!(takes_all(&candidates));
    candidates[2].health = Health::Unreachable;
    let [_, _, zone, region, _] = per_tier(&candidates, 20_000);
    assert!(is_near(zone, 20_000, 0.98), "{zone}");
    assert_eq!(zone + region, 20_000);
    // Full ones count as little as ill ones.
    candidates[3..5].iter_mut().for_each(|one| one.limit = 0);
    assert!(is_near(per_tier(&candidates, 20_000)[2], 20_000, 0.7));
    // Who drains was never part of what the tier carries.
    candidates[3..5].iter_mut().for_each(|one| one.health = Health::Draining);
    assert!(is_near(per_tier(&candidates, 20_000)[2], 20_000, 0.875)); // 5 of 8
}

#[test]
fn tiers_that_cannot_carry_all_share_it_by_what_they_can() {
    let mut candidates = in_tiers(&[Tier::Zone, Tier::Region], 10);
    candidates[..9].iter_mut().for_each(|one| one.health = Health::Ejected); // 14 %
    candidates[10..18].iter_mut().for_each(|one| one.health = Health::Ejected); // 28 %
    let [_, _, zone, region, _] = per_tier(&candidates, 20_000);
    assert!(is_near(zone, 20_000, 1.0 / 3.0), "{zone}");
    assert_eq!(zone + region, 20_000);
}

#[test]
fn the_tier_is_told_and_so_are_those_it_leaves_out() {
    let candidates = in_tiers(&[Tier::Host, Tier::Elsewhere], 1);
    let mut told = Told::default();
    geographic().choose(&from_here(1), &candidates[..], &mut told).unwrap();
    assert_eq!(told.notes, [Note::Tier(Tier::Host)]);
    assert_eq!(told.excluded, [(1, Exclusion::OtherTier(Tier::Elsewhere))]);
}

#[test]
fn who_comes_from_nowhere_goes_anywhere() {
    let candidates = in_tiers(&Tier::ALL, 1);
    let counts = counts(&chosen(&geographic(), &candidates, 50), 5);
    assert_eq!(counts, [10; 5]);
}

fn ruled(rules: &[Rule]) -> Filtered<Rules<&[Rule]>, RoundRobin> {
    Filtered { filter: Rules(rules), policy: RoundRobin::new() }
}

#[test]
fn each_condition_holds_for_what_it_says() {
    let (name, value) = (stable_hash(b"name"), stable_hash(b"value"));
    let annotations = [Annotation { name, value }, Annotation { name, value: 5 }];
    let context = RouteContext {
        version: Some(MODEL),
        label: Some(3),
        priority: 4,
        tenant: 9,
        place: PLACES[1],
        annotations: &annotations,
        ..request(1)
    };
    let near = |within| Condition::From { place: HERE, within };
    for (condition, holds) in [
        (Condition::Annotation { name, value }, true),
        (Condition::Annotation { name, value: 5 }, true),
        (Condition::Annotation { name, value: 6 }, false),
        (Condition::Annotation { name: 1, value }, false),
        (Condition::Annotated(name), true),
        (Condition::Annotated(1), false),
        (Condition::NotAnnotated(name), false),
        (Condition::NotAnnotated(1), true),
        (Condition::Version(MODEL), true),
        (Condition::Version(ModelId(8)), false),
        (Condition::Label(3), true),
        (Condition::Label(4), false),
        (Condition::Tenant(9), true),
        (Condition::Tenant(0), false),
        (Condition::PriorityFrom(4), true),
        (Condition::PriorityFrom(5), false),
        (near(Tier::Rack), true),
        (near(Tier::Host), false),
    ] {
        assert_eq!(condition.holds(&context), holds, "{condition:?}");
    }
}

#[test]
fn the_first_rule_that_holds_counts() {
    let mut candidates = equals(3);
    candidates[1].version = ModelId(8);
    candidates[2].place = HERE;
    let urgent = [Condition::PriorityFrom(5), Condition::Tenant(1)];
    let rules = [
        rule(&urgent, Target::Near { place: HERE, within: Tier::Host }).strict(),
        rule(&[Condition::Tenant(1)], Target::Version(ModelId(8))).strict(),
        rule(&[Condition::Tenant(2)], Target::Refuse),
        rule(&[Condition::Tenant(3)], Target::Anywhere),
        rule(&[], Target::Endpoint(candidates[0].endpoint)).strict(),
    ];
    let policy = ruled(&rules);
    let choose = |tenant, priority| {
        let context = RouteContext { tenant, priority, ..request(1) };
        policy.choose(&context, &candidates[..], &mut ()).map(|choice| choice.index)
    };
    assert_eq!(choose(1, 5), Ok(2));
    assert_eq!(choose(1, 4), Ok(1), "all conditions of a rule must hold");
    assert_eq!(choose(2, 0), Err(NoRoute::Refused(2)));
    assert_eq!(choose(4, 0), Ok(0));
    let anywhere: std::collections::BTreeSet<_> = (0..3).map(|_| choose(3, 0).unwrap()).collect();
    assert_eq!(anywhere.len(), 3);
}

#[test]
fn a_rule_without_anyone_left_is_passed_over_unless_it_is_strict() {
    let candidates = equals(2);
    for strict in [false, true] {
        let lenient = rule(&[], Target::Version(ModelId(99)));
        let rules = [if strict { lenient.strict() } else { lenient }];
        let mut told = Told::default();
        let answer = ruled(&rules).choose(&request(1), &candidates[..], &mut told);
        assert_eq!(answer.is_err(), strict);
        assert_eq!(told.notes.contains(&Note::RuleWithoutEffect(0)), !strict);
        assert_eq!(told.why(0), strict.then_some(Exclusion::Rule(0)));
    }
}

#[test]
fn a_rule_has_up_to_eight_conditions() {
    let conditions = [Condition::Tenant(1); MAX_CONDITIONS + 1];
    let (fits, error) = conditions.split_at(MAX_CONDITIONS);
    assert_eq!(error.len(), 1);
    assert!(Rule::new(fits, Target::Anywhere).is_ok());
    let too_many = Rule::new(&conditions, Target::Anywhere);
    assert_eq!(too_many.err(), Some(TooManyConditions(9)));
    // The last one counts, too.
    let mut conditions = [Condition::Tenant(1); MAX_CONDITIONS];
    let context = RouteContext { tenant: 1, ..request(1) };
    assert!(rule(&conditions, Target::Anywhere).holds(&context));
    conditions[MAX_CONDITIONS - 1] = Condition::Tenant(2);
    assert!(!rule(&conditions, Target::Anywhere).holds(&context));
}

proptest! {
    #[test]
    fn a_priority_fills_an_endpoint_up_to_its_share(
        shares in proptest::array::uniform8(0..=1000_u16),
        (priority, limit) in (0..12_u8, 1..100_u32),
    ) {
        let policy = Filtered { filter: Priority { share: shares }, policy: RoundRobin::new() };
        let mut candidates = [Candidate { limit, ..equals(1)[0] }];
        let context = RouteContext { priority, ..request(1) };
        while policy.choose(&context, &candidates[..], &mut ()).is_ok() {
            candidates[0].outstanding += 1;
        }
        let share = u32::from(shares[usize::from(priority.min(7))]);
        prop_assert_eq!(candidates[0].outstanding, (share * limit).div_ceil(1000));
    }
}

#[test]
fn low_priority_finds_no_room_where_high_priority_does() {
    let policy = Filtered {
        filter: Priority { share: [500, 1000, 1000, 1000, 1000, 1000, 1000, 1000] },
        policy: RoundRobin::new(),
    };
    let candidates = [Candidate { limit: 10, outstanding: 5, ..equals(1)[0] }];
    let mut told = Told::default();
    let low = policy.choose(&request(1), &candidates[..], &mut told);
    assert_eq!(low, Err(NoRoute::AllExcluded));
    assert_eq!(told.why(0), Some(Exclusion::KeptFree));
    let high = RouteContext { priority: 1, ..request(1) };
    assert!(policy.choose(&high, &candidates[..], &mut ()).is_ok());
}

#[test]
fn an_endpoint_may_be_for_high_priorities_only() {
    let mut candidates = equals(2);
    candidates[0].least_priority = 3;
    for priority in 0..6 {
        let context = RouteContext { priority, ..request(1) };
        let mut told = Told::default();
        RoundRobin::new().choose(&context, &candidates[..], &mut told).unwrap();
        assert_eq!(told.why(0), (priority < 3).then_some(Exclusion::Reserved));
    }
}

#[test]
fn who_would_answer_too_late_is_left_out_while_another_would_not() {
    let policy = Filtered {
        filter: Headroom { parallel: 4, margin: Duration::from_millis(10) },
        policy: RoundRobin::new(),
    };
    // 50 ms for each four: 7 outstanding make it two rounds, 8 three.
    let latency = Some(Duration::from_millis(50));
    let mut candidates = equals(2);
    candidates[0] = Candidate { latency, outstanding: 7, ..candidates[0] };
    candidates[1] = Candidate { latency, outstanding: 8, ..candidates[1] };
    let told = |millis: u64| {
        let deadline = Some(at(1_000 + millis));
        let mut told = Told::default();
        let context = RouteContext { deadline, ..request(1) };
        policy.choose(&context, &candidates[..], &mut told).unwrap();
        (told.excluded.iter().map(|&(index, _)| index).collect::<Vec<_>>(), told.notes)
    };
    assert_eq!(told(160), (std::vec![], std::vec![]));
    assert_eq!(told(159), (std::vec![1], std::vec![]));
    assert_eq!(told(109), (std::vec![], std::vec![Note::AllWouldMissDeadline]));
}
