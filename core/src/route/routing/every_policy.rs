//! What holds for every policy.

use super::*;

/// Whether a candidate may be asked by a request, under the rules that nothing changes; written apart
/// from the gate.
fn may_be_asked(request: &RouteContext<'_>, candidate: &Candidate) -> bool {
    let is_its_version = match request.version {
        Some(version) => version == candidate.version,
        None => true,
    };
    is_its_version
        && candidate.weight > 0
        && candidate.health != Health::Draining
        && candidate.outstanding < candidate.limit
        && candidate.least_priority <= request.priority
        && !request.blocked.contains(&candidate.endpoint)
}

fn is_healthy(candidate: &Candidate) -> bool {
    candidate.health == Health::Healthy
}

fn is_recovering(candidate: &Candidate) -> bool {
    candidate.health == Health::Recovering
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn only_who_may_be_asked_is_chosen_and_someone_is_whenever_there_is_one(
        candidates in proptest::collection::vec(any_candidate(), 0..24),
        requests in proptest::collection::vec(any_request(), 1..8),
    ) {
        for (name, policy) in every_policy() {
            for any in &requests {
                let request = any.context();
                let mut told = Told::default();
                let answer = policy.choose(&request, &candidates[..], &mut told);
                let fit: Vec<_> =
                    candidates.iter().filter(|one| may_be_asked(&request, one)).collect();
                let healthy = fit.iter().any(|one| is_healthy(one));
                let recovering = fit.iter().any(|one| is_recovering(one));
                // Only priorities may keep room that is there from a request.
                let keeps_room = name == "priority" || name == "all filters";
                match answer {
                    Ok(choice) => {
                        let candidate = candidates[choice.index];
                        prop_assert_eq!(candidate.endpoint, choice.endpoint, "{}", name);
                        prop_assert!(may_be_asked(&request, &candidate), "{}", name);
                        prop_assert!(told.why(choice.index).is_none(), "{} chose an excluded", name);
                        prop_assert!(
                            is_healthy(&candidate) || !healthy && is_recovering(&candidate),
                            "{} chose {:?}", name, candidate
                        );
                        let last = if healthy { Admission::Healthy } else { Admission::LastResort };
                        prop_assert_eq!(choice.admission, last);
                    }
                    Err(NoRoute::NoCandidates) => prop_assert!(candidates.is_empty()),
                    Err(_) => prop_assert!(
                        keeps_room || !healthy && !recovering, "{} chose nobody", name
                    ),
                }
            }
        }
    }

    #[test]
    fn each_candidate_is_chosen_left_or_excluded_once_with_the_reason_that_holds(
        candidates in proptest::collection::vec(any_candidate(), 1..24),
        any in any_request(),
    ) {
        for (name, policy) in every_policy() {
            let request = any.context();
            let mut told = Told::default();
            let _ = policy.choose(&request, &candidates[..], &mut told);
            for (index, candidate) in candidates.iter().enumerate() {
                let times = told.excluded.iter().filter(|(at, _)| *at == index).count();
                prop_assert!(times <= 1, "{} excluded {} twice", name, index);
                prop_assert_eq!(
                    may_be_asked(&request, candidate),
                    !matches!(
                        told.why(index),
                        Some(
                            Exclusion::ZeroWeight
                                | Exclusion::OtherVersion
                                | Exclusion::Blocked
                                | Exclusion::Draining
                                | Exclusion::Full
                                | Exclusion::Reserved
                        )
                    ),
                    "{}", name
                );
                let holds = match told.why(index) {
                    Some(Exclusion::ZeroWeight) => candidate.weight == 0,
                    Some(Exclusion::OtherVersion) => Some(candidate.version) != request.version,
                    Some(Exclusion::Blocked) => request.blocked.contains(&candidate.endpoint),
                    Some(Exclusion::Draining) => candidate.health == Health::Draining,
                    Some(Exclusion::Full) => candidate.outstanding >= candidate.limit,
                    Some(Exclusion::Reserved) => candidate.least_priority > request.priority,
                    Some(Exclusion::Ejected) => candidate.health == Health::Ejected,
                    Some(Exclusion::Unreachable) => candidate.health == Health::Unreachable,
                    Some(Exclusion::Recovering) => candidate.health == Health::Recovering,
                    Some(Exclusion::OtherTier(tier)) => {
                        request.place.tier(candidate.place) == tier
                    }
                    _ => true,
                };
                prop_assert!(holds, "{} excluded {:?} as {:?}", name, candidate, told.why(index));
            }
        }
    }

    #[test]
    fn an_only_candidate_is_chosen(
        (only, others) in (any_candidate(), proptest::collection::vec(any_candidate(), 0..8)),
        any in any_request(),
        place in 0..9_usize,
    ) {
        let request = RouteContext { blocked: &[], ..any.context() };
        let only = Candidate {
            version: request.version.unwrap_or(only.version),
            weight: only.weight.max(1),
            health: Health::Healthy,
            least_priority: 0,
            outstanding: 0,
            limit: only.limit.max(1),
            ..only
        };
        let mut candidates = others;
        candidates.iter_mut().for_each(|other| other.health = Health::Ejected);
        let place = place.min(candidates.len());
        candidates.insert(place, only);
        for (name, policy) in every_policy() {
            let choice = policy.choose(&request, &candidates[..], &mut ());
            prop_assert_eq!(choice.map(|choice| choice.index), Ok(place), "{}", name);
        }
    }

    #[test]
    fn equal_histories_lead_to_equal_choices(
        candidates in proptest::collection::vec(any_candidate(), 1..24),
        requests in proptest::collection::vec(any_request(), 1..8),
    ) {
        for ((name, one), (_, other)) in every_policy().into_iter().zip(every_policy()) {
            for any in &requests {
                let (mut told, mut told_other) = (Told::default(), Told::default());
                prop_assert_eq!(
                    one.choose(&any.context(), &candidates[..], &mut told),
                    other.choose(&any.context(), &candidates[..], &mut told_other),
                    "{}", name
                );
                prop_assert_eq!(told, told_other);
            }
        }
    }
}

#[test]
fn equals_share_the_traffic() {
    // Weighted, hashed, drawn or in turn: over many users, equals get equal parts.
    let candidates = equals(8);
    for (name, policy) in every_policy() {
        if name == "model affinity" || name == "all filters" {
            continue; // one model, one endpoint
        }
        let mut counts = [0; 8];
        for number in 0..16_000 {
            let request = RouteContext { sticky: Some(number), ..request(number) };
            counts[policy.choose(&request, &candidates[..], &mut ()).unwrap().index] += 1;
        }
        assert!(counts.iter().all(|&count| is_near(count, 16_000, 0.125)), "{name}: {counts:?}");
    }
}

#[test]
fn every_thread_chooses_at_once_and_no_turn_is_lost() {
    let candidates = weighted(&[1, 2, 3, 4]);
    for policy in [&RoundRobin::new() as &(dyn RoutingPolicy + Sync), &SmoothWeighted::<4>::new()] {
        let mut counts = [0; 4];
        std::thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(|| chosen(policy, &candidates, 5_000)));
            for thread in threads {
                thread.join().unwrap().into_iter().for_each(|index| counts[index] += 1);
            }
        });
        assert_eq!(counts.iter().sum::<usize>(), 20_000);
        assert!(counts.iter().all(|&count| count > 0));
    }
}

#[test]
fn candidates_beyond_the_last_place_are_left_out_and_told() {
    let mut candidates = equals(MAX_CANDIDATES + 2);
    candidates[..MAX_CANDIDATES].iter_mut().for_each(|one| one.weight = 0);
    for (name, policy) in every_policy() {
        let mut told = Told::default();
        let answer = policy.choose(&request(1), &candidates[..], &mut told);
        assert_eq!(answer, Err(NoRoute::AllExcluded), "{name}");
        assert_eq!(told.why(MAX_CANDIDATES + 1), Some(Exclusion::Beyond));
    }
}

#[test]
fn a_policy_is_one_through_a_reference_and_in_a_box() {
    let boxed: Box<dyn RoutingPolicy> = Box::new(RoundRobin::new());
    let filtered = Filtered { filter: Some(Priority::DEFAULT), policy: &*boxed };
    assert_eq!(chosen(&filtered, &equals(3), 4), [0, 1, 2, 0]);
}

#[test]
fn live_figures_are_read_through_a_view() {
    struct View<'a>(&'a [EndpointLoad]);
    impl Candidates for View<'_> {
        fn count(&self) -> usize {
            self.0.len()
        }
        fn candidate(&self, index: usize) -> Option<Candidate> {
            let load = self.0.get(index)?;
            Some(load.fill(Candidate::new(EndpointId(index as u64), MODEL), at(0)))
        }
    }
    let loads = [(); 2].map(|()| EndpointLoad::new(Duration::from_secs(10)));
    let policy: &dyn RoutingPolicy<View<'_>> = &LeastRequest::default();
    let mut calls = Vec::new();
    for number in 0..10 {
        let choice = policy.choose(&request(number), &View(&loads), &mut ()).unwrap();
        calls.push(loads[choice.index].begin());
    }
    assert_eq!(loads.each_ref().map(EndpointLoad::outstanding), [5, 5]);
}

proptest! {
    #[test]
    fn a_source_that_lies_does_no_harm(
        candidates in proptest::collection::vec(any_candidate(), 0..24),
        (count, lies) in (0..80_usize, any::<u64>()),
        any in any_request(),
    ) {
        /// Tells of more than there are, and at each question another one.
        struct Liar<'a>(&'a [Candidate], usize, std::cell::Cell<u64>);
        impl Candidates for Liar<'_> {
            fn count(&self) -> usize {
                self.1
            }
            fn candidate(&self, index: usize) -> Option<Candidate> {
                self.2.set(stable_hash(&self.2.get().to_le_bytes()));
                self.0.get(index ^ (self.2.get() % 8) as usize).copied()
            }
        }
        let liar = Liar(&candidates, count, std::cell::Cell::new(lies));
        let filters = (Priority::DEFAULT, (Geographic::DEFAULT, Headroom::default()));
        let policies: [&dyn RoutingPolicy<Liar<'_>>; 9] = [
            &RoundRobin::new(),
            &SmoothWeighted::<64>::new(),
            &WeightedRandom,
            &LeastRequest::default(),
            &Latency::default(),
            &Cheapest(Outstanding),
            &Affinity::STICKY,
            &Filtered { filter: filters, policy: Affinity::MODEL },
            &Gated { gate: Gate::DEFAULT, policy: RoundRobin::new() },
        ];
        for policy in policies {
            if let Ok(choice) = policy.choose(&any.context(), &liar, &mut ()) {
                prop_assert!(choice.index < count);
            }
        }
    }
}

#[test]
fn every_name_is_its_own() {
    let reasons = [
        Reason::Only,
        Reason::NextInTurn,
        Reason::MostOwed,
        Reason::Drawn,
        Reason::CheaperOfTwo,
        Reason::Cheapest,
        Reason::KeyOwner,
        Reason::KeyOverflow,
        Reason::Loaded,
        Reason::ColdLoad,
    ];
    let exclusions = [
        Exclusion::OtherVersion,
        Exclusion::Blocked,
        Exclusion::ZeroWeight,
        Exclusion::Draining,
        Exclusion::Full,
        Exclusion::Reserved,
        Exclusion::KeptFree,
        Exclusion::Ejected,
        Exclusion::Unreachable,
        Exclusion::Recovering,
        Exclusion::NotExplored,
        Exclusion::Stale,
        Exclusion::OtherTier(Tier::Zone),
        Exclusion::Rule(3),
        Exclusion::WouldMissDeadline,
        Exclusion::Beyond,
    ];
    let all_apart = |names: &[&str]| {
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        distinct.len() == names.len()
    };
    assert!(all_apart(&reasons.map(Reason::name)));
    assert!(all_apart(&exclusions.map(Exclusion::name)));
    assert!(all_apart(&Tier::ALL.map(Tier::name)));
    assert_eq!(Exclusion::OtherTier(Tier::Rack).name(), "other_tier");
}
