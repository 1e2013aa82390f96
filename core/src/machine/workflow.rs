//! Tables and what can be wrong with them, against looking at every way.

use std::boxed::Box;
use std::collections::{BTreeSet, VecDeque};
use std::format;
use std::string::ToString;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::Instant;

/// A table as lists.
#[derive(Clone, Debug)]
struct Drawn {
    initial: usize,
    rows: Vec<(Option<usize>, bool, Vec<usize>)>,
}

impl Drawn {
    /// Rows live as long as the tests: tables are constant elsewhere.
    fn table(&self) -> Table {
        let row = |(i, (group, end, targets)): (usize, &(Option<usize>, bool, Vec<usize>))| Row {
            name: Box::leak(format!("s{i}").into_boxed_str()),
            group: *group,
            end: *end,
            targets: Box::leak(targets.clone().into_boxed_slice()),
        };
        let states: Vec<Row> = self.rows.iter().enumerate().map(row).collect();
        let states = Box::leak(states.into_boxed_slice());
        Table { name: "drawn", version: 1, initial: self.initial, states }
    }

    fn groups_of(&self, state: usize) -> Option<Vec<usize>> {
        let mut groups = Vec::new();
        let mut at = self.rows[state].0;
        while let Some(group) = at {
            if group >= self.rows.len() || groups.contains(&group) || group == state {
                return None;
            }
            groups.push(group);
            at = self.rows[group].0;
        }
        Some(groups)
    }

    fn is_group(&self, state: usize) -> bool {
        self.rows.iter().any(|row| row.0 == Some(state))
    }

    /// Every edge of a state, those of its groups too; as often as it is written.
    fn edges(&self, state: usize) -> Vec<usize> {
        let groups = self.groups_of(state).unwrap_or_default();
        let of = |at: &usize| self.rows[*at].2.clone();
        [state].iter().chain(&groups).flat_map(of).collect()
    }

    /// How far each state is from `from`.
    fn distances(&self, from: usize) -> Vec<Option<usize>> {
        let mut distances = std::vec![None; self.rows.len()];
        let mut next = VecDeque::from([(from, 0)]);
        while let Some((at, distance)) = next.pop_front() {
            if distances[at].is_none() {
                distances[at] = Some(distance);
                next.extend(self.edges(at).into_iter().map(|to| (to, distance + 1)));
            }
        }
        distances
    }

    fn is_sound(&self) -> bool {
        let count = self.rows.len();
        let exists = |&state: &usize| state < count;
        let rows_are = (0..count).all(|state| {
            let (_, end, targets) = &self.rows[state];
            if self.groups_of(state).is_none() || !targets.iter().all(exists) {
                return false;
            }
            let edges = self.edges(state);
            let different: BTreeSet<_> = edges.iter().collect();
            edges.iter().all(|to| exists(to) && !self.is_group(*to))
                && different.len() == edges.len()
                && if self.is_group(state) {
                    !end || edges.is_empty()
                } else {
                    *end == edges.is_empty()
                }
        });
        if count == 0 || !exists(&self.initial) || self.is_group(self.initial) || !rows_are {
            return false;
        }
        let reached = self.distances(self.initial);
        (0..count).filter(|&state| !self.is_group(state)).all(|state| {
            let ends =
                self.distances(state).iter().zip(&self.rows).any(|(d, row)| d.is_some() && row.1);
            reached[state].is_some() && ends
        })
    }
}

fn drawn() -> impl Strategy<Value = Drawn> {
    (1_usize..6).prop_flat_map(|count| {
        let group = prop_oneof![5 => Just(None), 1 => (0..=count).prop_map(Some)];
        let targets = prop::collection::vec(0..count, 0..3);
        // An end rarely has edges, and another state rarely none.
        let row = (group, prop::bool::weighted(0.4), targets, prop::bool::weighted(0.9)).prop_map(
            |(group, end, mut targets, fits)| {
                if fits && end {
                    targets.clear();
                }
                (group, end, targets)
            },
        );
        (0..=count, prop::collection::vec(row, count..=count))
            .prop_map(|(initial, rows)| Drawn { initial, rows })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]
    #[test]
    fn a_table_is_sound_exactly_if_every_look_at_it_says_so(drawn in drawn()) {
        prop_assert_eq!(drawn.table().check().is_ok(), drawn.is_sound(), "{:?}", drawn.table().check());
    }

    #[test]
    fn ways_are_shortest_and_reach_what_can_be_reached(drawn in drawn()) {
        let table = drawn.table();
        if (0..drawn.rows.len()).any(|state| drawn.groups_of(state).is_none()) {
            return Ok(()); // edges that nobody can tell
        }
        for from in 0..drawn.rows.len() {
            let distances = drawn.distances(from);
            for (to, distance) in distances.iter().enumerate() {
                let mut way = [0; MOST_STATES];
                let way = table.path(from, to, &mut way);
                prop_assert_eq!(way.map(|way| way.len() - 1), *distance);
                if let Some(way) = way {
                    prop_assert_eq!((way[0], way[way.len() - 1]), (from, to));
                    prop_assert!(way.windows(2).all(|step| table.allows(step[0], step[1])));
                }
            }
            let mut reachable: BTreeSet<usize> = BTreeSet::new();
            for next in drawn.edges(from) {
                let near = drawn.distances(next).into_iter().enumerate();
                reachable.extend(near.filter_map(|(to, distance)| distance.map(|_| to)));
            }
            prop_assert!(table.reachable(from).iter().eq(reachable));
        }
    }
}

#[test]
fn each_mistake_is_named() {
    const fn row(name: &'static str, targets: &'static [usize], end: bool) -> Row {
        Row { name, group: None, end, targets }
    }
    const fn member(name: &'static str, group: usize, targets: &'static [usize]) -> Row {
        Row { name, group: Some(group), end: false, targets }
    }
    let says = |states: &'static [Row], initial| {
        Table { name: "t", version: 1, initial, states }.check().unwrap_err()
    };
    let end = || row("z", &[], true);
    let leak = |rows: Vec<Row>| -> &'static [Row] { Box::leak(rows.into_boxed_slice()) };
    assert_eq!(says(&[], 0), TableError::Empty);
    assert_eq!(says(leak((0..65).map(|_| end()).collect()), 0), TableError::TooManyStates);
    assert_eq!(says(leak(std::vec![end()]), 1), TableError::NoSuchState(1));
    assert_eq!(says(leak(std::vec![row("", &[], true)]), 0), TableError::Nameless(0));
    assert_eq!(says(leak(std::vec![row("z", &[1], false), end()]), 0), TableError::SameName(0, 1));
    assert_eq!(says(leak(std::vec![row("a", &[7], false)]), 0), TableError::NoSuchState(7));
    assert_eq!(says(leak(std::vec![member("a", 9, &[])]), 0), TableError::NoSuchState(9));
    let circle = std::vec![row("a", &[3], false), member("b", 2, &[3]), member("c", 1, &[]), end()];
    assert_eq!(says(leak(circle), 0), TableError::GroupInItself(1));
    let group = std::vec![row("a", &[1], false), row("g", &[], false), member("b", 1, &[3]), end()];
    assert_eq!(says(leak(group), 0), TableError::EntersGroup(1));
    let twice = std::vec![member("a", 1, &[2]), row("g", &[2], false), end()];
    assert_eq!(says(leak(twice), 0), TableError::DuplicateEdge(0, 2));
    let exit = std::vec![row("a", &[1], true), end()];
    assert_eq!(says(leak(exit), 0), TableError::EndWithExit(0));
    let dead = std::vec![row("a", &[1, 2], false), row("b", &[], false), end()];
    assert_eq!(says(leak(dead), 0), TableError::DeadEnd(1));
    let alone = std::vec![row("a", &[2], false), row("b", &[2], false), end()];
    assert_eq!(says(leak(alone), 0), TableError::Unreachable(1));
    let round = std::vec![row("a", &[1, 2], false), row("b", &[1], false), end()];
    assert_eq!(says(leak(round), 0), TableError::NeverEnds(1));
    assert_eq!(TableError::DeadEnd(3).to_string(), "state 3 cannot be left and is no end");
}

#[test]
fn another_table_has_another_identity() {
    let states: &'static [Row] = Dispatch::TABLE.states;
    let table = Dispatch::TABLE;
    let without_an_edge: Vec<Row> = states
        .iter()
        .enumerate()
        .map(|(i, row)| Row {
            targets: if i == 0 { &row.targets[..1] } else { row.targets },
            ..*row
        })
        .collect();
    let renamed: Vec<Row> = states
        .iter()
        .map(|row| Row { name: if row.name == "queued" { "waiting" } else { row.name }, ..*row })
        .collect();
    let leak = |rows: Vec<Row>| -> &'static [Row] { Box::leak(rows.into_boxed_slice()) };
    let others = [
        Table { name: "dispatched", ..table },
        Table { version: 2, ..table },
        Table { initial: 1, ..table },
        Table { states: leak(without_an_edge), ..table },
        Table { states: leak(renamed), ..table },
        RequestLife::TABLE,
    ];
    let identities: BTreeSet<u64> = others.iter().chain([&table]).map(Table::identity).collect();
    assert_eq!(identities.len(), others.len() + 1);
    assert_eq!(table.identity(), Dispatch::TABLE.identity());
}

#[test]
fn a_request_has_exactly_one_outcome_and_can_be_given_up_until_then() {
    use RequestState as R;
    let table = RequestLife::TABLE;
    let follow = |state: R| -> Vec<R> {
        table.successors(state.index()).iter().filter_map(R::from_index).collect()
    };
    let outcomes = [R::Succeeded, R::Failed, R::Cancelled, R::Shed, R::Expired];
    assert!(
        outcomes.iter().all(|outcome| follow(*outcome).is_empty() && table.is_end(outcome.index()))
    );
    let waiting = [R::Received, R::Admitted, R::Queued, R::Batched];
    for (state, next) in waiting.into_iter().zip([R::Admitted, R::Queued, R::Batched, R::Running]) {
        let mut expected = std::vec![R::Cancelled, R::Failed, R::Shed, R::Expired, next];
        expected.sort();
        assert_eq!(follow(state), expected);
    }
    assert_eq!(follow(R::Running), [R::Queued, R::Succeeded, R::Failed, R::Cancelled]);
}

#[test]
fn a_deployment_goes_forward_step_by_step_and_can_be_rolled_back() {
    use DeploymentState as D;
    let table = Deployment::TABLE;
    let mut way = [0; MOST_STATES];
    let way = table.path(D::Registered.index(), D::Deprecated.index(), &mut way).unwrap();
    let names: Vec<_> = way.iter().map(|&state| table.name_of(state)).collect();
    let forward = ["registered", "validating", "staging", "canary", "production", "deprecated"];
    assert_eq!(names, forward);
    for (from, to) in [
        (D::Validating, D::Registered),
        (D::Staging, D::Registered),
        (D::Canary, D::Staging),
        (D::Production, D::Canary),
        (D::Production, D::Staging),
        (D::Deprecated, D::Production),
    ] {
        assert!(table.allows(from.index(), to.index()), "{from:?} is rolled back to {to:?}");
    }
    let kept = table.states.iter().filter(|row| row.group == Some(D::Kept.index())).count();
    assert_eq!(kept, 6, "each may be archived");
}

#[test]
fn groups_are_no_states_to_be_in() {
    let table = RequestLife::TABLE;
    assert_eq!(table.state("waiting"), None);
    assert!(table.is_group(RequestState::Open.index()));
    let entered = (0..table.states.len()).flat_map(|state| table.successors(state).iter());
    assert!(entered.into_iter().all(|state| !table.is_group(state)));
    assert_eq!((table.name_of(99), table.is_end(99)), ("?", false));
    assert!(table.successors(99).is_empty() && !table.allows(0, 99));
}

/// Refuses with its name; and counts that it was asked.
struct Says<'a>(&'static str, bool, &'a core::cell::Cell<u32>);
impl TransitionValidator<JobState> for Says<'_> {
    fn validate(&self, _: &Attempt<'_, JobState>, (): &()) -> Result<(), Refusal> {
        self.2.set(self.2.get() + 1);
        if self.1 { Ok(()) } else { Err(Refusal { by: self.0, reason: Reason::Other("no") }) }
    }
}

#[test]
fn validators_are_asked_in_order_until_one_refuses() {
    let attempt = Attempt {
        entity: "j",
        from: JobState::Pending,
        to: JobState::Running,
        generation: 0,
        entered: Instant::ZERO,
        cause: "",
        now: Instant::ZERO,
    };
    let asked = core::cell::Cell::new(0);
    let says = |name, allows| Says(name, allows, &asked);
    let chain = (says("a", true), [says("b", true), says("c", false)], says("d", false));
    let refusal = chain.validate(&attempt, &()).unwrap_err();
    assert_eq!((refusal.by, asked.get()), ("c", 3));
    assert_eq!(refusal.to_string(), "c: no");
    let none: [Says<'_>; 0] = [];
    assert_eq!((none, (), &()).validate(&attempt, &()), Ok(()));
}

#[test]
fn every_sink_is_told_and_one_that_fails_is_heard() {
    struct Fails<'a>(bool, &'a core::cell::Cell<u32>);
    impl AuditSink for Fails<'_> {
        fn record(&self, _: &AuditRecord<'_>) -> Result<(), AuditFailure> {
            self.1.set(self.1.get() + 1);
            if self.0 { Err(AuditFailure::Full) } else { Ok(()) }
        }
    }
    let record = AuditRecord {
        sequence: 0,
        at: Instant::ZERO,
        machine: "job",
        entity: "j",
        from: "pending",
        to: "running",
        generation: 0,
        cause: "",
        outcome: Outcome::Applied,
    };
    let told = core::cell::Cell::new(0);
    let sinks = (Fails(false, &told), Fails(true, &told), Fails(false, &told));
    assert_eq!(sinks.record(&record), Err(AuditFailure::Full));
    assert_eq!((told.get(), ((), &()).record(&record)), (3, Ok(())));
}
