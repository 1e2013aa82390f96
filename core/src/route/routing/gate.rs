//! Who comes onto the shortlist.

use super::*;

fn gated(gate: Gate) -> Gated<RoundRobin> {
    Gated { gate, policy: RoundRobin::new() }
}

/// Trusts figures of any age.
const AGELESS: Gate = Gate { when_stale: WhenStale::Trust, ..Gate::DEFAULT };

fn with_health(health: &[Health]) -> Vec<Candidate> {
    let mut candidates = equals(health.len());
    candidates.iter_mut().zip(health).for_each(|(one, &health)| one.health = health);
    candidates
}

proptest! {
    #[test]
    fn health_counts_until_too_few_are_healthy(
        healthy in 0..=20_usize, ill in 0..=20_usize, panic_below in 0..=1001_u16,
    ) {
        prop_assume!(healthy + ill > 0);
        let mut health = std::vec![Health::Healthy; healthy];
        health.resize(healthy + ill, Health::Ejected);
        let candidates = with_health(&health);
        let gate = Gate { panic_below, ..AGELESS };
        let mut told = Told::default();
        let shortlist = gate.admit(&request(1), &candidates[..], &mut told);
        if (healthy as f64) < f64::from(panic_below) / 1000.0 * (healthy + ill) as f64 {
            let shortlist = shortlist.unwrap();
            prop_assert_eq!((shortlist.len(), shortlist.admission()), (healthy + ill, Admission::Panic));
            prop_assert!(matches!(told.notes[..], [Note::Panic(share)] if share < panic_below));
        } else {
            prop_assert_eq!(shortlist.map_or(0, |shortlist| shortlist.len()), healthy);
            prop_assert_eq!(told.excluded.len(), ill);
        }
    }
}

#[test]
fn a_panic_asks_the_ill_but_never_who_must_not_be_asked() {
    let mut candidates = with_health(&[Health::Ejected, Health::Unreachable, Health::Draining]);
    candidates.push(Candidate { weight: 0, ..candidates[0] });
    candidates.push(Candidate { limit: 0, ..candidates[0] });
    let counts = counts(&chosen(&gated(AGELESS), &candidates, 100), 5);
    assert_eq!(counts, [50, 50, 0, 0, 0]);
}

#[test]
fn the_ill_are_not_asked_because_the_healthy_are_full() {
    for panic_below in [1, 500] {
        let gate = Gate { panic_below, ..AGELESS };
        let mut candidates = with_health(&[Health::Healthy, Health::Ejected]);
        candidates[0].limit = 0;
        let mut told = Told::default();
        let answer = gated(gate).choose(&request(1), &candidates[..], &mut told);
        assert_eq!(answer, Err(NoRoute::AllExcluded));
        assert_eq!(told.why(0), Some(Exclusion::Full));
        assert_eq!(told.why(1), Some(Exclusion::Ejected));
        // Who is ill and full makes nobody well.
        candidates[0].health = Health::Ejected;
        let choice = gated(gate).choose(&request(1), &candidates[..], &mut ()).unwrap();
        assert_eq!((choice.index, choice.admission), (1, Admission::Panic));
    }
}

#[test]
fn a_small_part_of_the_requests_explores_what_recovers() {
    let candidates = with_health(&[Health::Healthy, Health::Recovering, Health::Healthy]);
    let policy = gated(Gate { explore: 10, ..AGELESS });
    let mut explored = 0;
    for number in 0..50_000 {
        let choice = policy.choose(&request(number), &candidates[..], &mut ()).unwrap();
        assert_eq!(choice.index == 1, choice.admission == Admission::Exploring);
        explored += usize::from(choice.index == 1);
    }
    assert!(is_near(explored, 50_000, 0.01), "{explored}");
    let never = counts(&chosen(&gated(Gate { explore: 0, ..AGELESS }), &candidates, 1_000), 3);
    assert_eq!(never[1], 0);
}

#[test]
fn what_recovers_is_asked_when_nothing_is_healthy() {
    let candidates = with_health(&[Health::Ejected, Health::Recovering]);
    let choice = RoundRobin::new().choose(&request(1), &candidates[..], &mut ()).unwrap();
    assert_eq!((choice.index, choice.admission), (1, Admission::LastResort));
}

#[test]
fn what_was_not_heard_of_for_long_counts_as_it_should() {
    let mut candidates = equals(2);
    candidates[0].heard_at = at(500);
    candidates[1].heard_at = at(499);
    let max_age = Duration::from_millis(500); // the request comes at 1 s
    let told = |when_stale, candidates: &[Candidate]| {
        let gate = Gate { max_age, when_stale, ..Gate::DEFAULT };
        let mut told = Told::default();
        let admitted = gate.admit(&request(1), candidates, &mut told).map(|list| list.len());
        (admitted, told.why(1), told.notes)
    };
    let stale = Some(Exclusion::Stale);
    assert_eq!(told(WhenStale::Trust, &candidates), (Ok(2), None, std::vec![]));
    assert_eq!(told(WhenStale::Avoid, &candidates), (Ok(1), stale, std::vec![]));
    assert_eq!(told(WhenStale::Exclude, &candidates), (Ok(1), stale, std::vec![]));
    // All are: a metrics outage does not stop the traffic unless it is meant to.
    candidates[0].heard_at = at(0);
    assert_eq!(told(WhenStale::Avoid, &candidates), (Ok(2), None, std::vec![Note::AllStale]));
    let nobody = Err(NoRoute::AllExcluded);
    assert_eq!(told(WhenStale::Exclude, &candidates), (nobody, stale, std::vec![]));
}

#[test]
fn who_has_failed_the_request_is_not_asked_again() {
    let candidates = equals(3);
    let mut blocked = Vec::new();
    for left in (0..3).rev() {
        let context = RouteContext { blocked: &blocked, ..request(1) };
        let choice = LeastRequest::default().choose(&context, &candidates[..], &mut ()).unwrap();
        assert!(!blocked.contains(&choice.endpoint));
        blocked.push(choice.endpoint);
        assert_eq!(blocked.len(), 3 - left);
    }
    let context = RouteContext { blocked: &blocked, ..request(1) };
    let answer = LeastRequest::default().choose(&context, &candidates[..], &mut ());
    assert_eq!(answer, Err(NoRoute::AllExcluded));
}

#[test]
fn a_gate_reaches_through_filters() {
    let candidates = with_health(&[Health::Ejected]);
    let policy = Filtered { filter: Priority::DEFAULT, policy: gated(AGELESS) };
    let choice = policy.choose(&request(1), &candidates[..], &mut ()).unwrap();
    assert_eq!(choice.admission, Admission::Panic);
    let no_candidates = policy.choose(&request(1), &[][..], &mut ());
    assert_eq!(no_candidates, Err(NoRoute::NoCandidates));
}

proptest! {
    #[test]
    fn a_shortlist_is_a_set_of_places(
        steps in proptest::collection::vec((any::<bool>(), 0..1_100_usize), 0..200),
        (n, after) in (0..40_usize, 0..1_100_usize),
    ) {
        let (mut shortlist, mut set) = (Shortlist::new(), std::collections::BTreeSet::new());
        for (inserts, index) in steps {
            if inserts {
                shortlist.insert(index);
                if index < MAX_CANDIDATES {
                    set.insert(index);
                }
            } else {
                shortlist.remove(index);
                set.remove(&index);
            }
        }
        prop_assert!(shortlist.iter().eq(set.iter().copied()));
        prop_assert_eq!(shortlist.len(), set.len());
        prop_assert_eq!(shortlist.is_empty(), set.is_empty());
        prop_assert_eq!(shortlist.nth(n), set.iter().copied().nth(n));
        prop_assert_eq!(shortlist.contains(after), set.contains(&after));
        let next = set.range(after + 1..).next().or(set.first()).copied();
        prop_assert_eq!(shortlist.next_after(after), next);
        let only = if set.len() == 1 { set.first().copied() } else { None };
        prop_assert_eq!(shortlist.only(), only);
        let mut seen = Vec::new();
        shortlist.for_each(|index| seen.push(index));
        prop_assert!(seen.iter().copied().eq(set.iter().copied()));
        let odd = shortlist.those_not(|index| index % 2 == 0);
        prop_assert!(odd.iter().eq(set.iter().copied().filter(|index| index % 2 == 1)));
        let even = shortlist.without(&odd);
        prop_assert!(even.iter().eq(set.iter().copied().filter(|index| index % 2 == 0)));
        prop_assert_eq!((odd.len(), even.len()), (odd.iter().count(), even.iter().count()));
        let before = Shortlist::first(after);
        prop_assert!(before.iter().eq(0..after.min(MAX_CANDIDATES)));
        prop_assert_eq!(before.len(), after.min(MAX_CANDIDATES));
    }
}
