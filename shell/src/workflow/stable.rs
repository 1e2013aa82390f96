//! The stable interface: the dispatch machine by the names of its states.

use std::collections::HashMap;

use tensorforge_core::Instant;
use tensorforge_core::machine::{Dispatch, DispatchState, MOST_STATES, State, StateMachine, Table};

use super::{Engine, EngineOptions, TransitionError, Wanted};

const MACHINE: Table = Dispatch::TABLE;

fn known(state: &str) -> Option<usize> {
    MACHINE.state(state)
}

/// Whether `dest` may follow `src`. `false` for names that are no states.
///
/// ```
/// use tensorforge::workflow::can_transition;
///
/// assert!(can_transition("queued", "allocated"));
/// assert!(!can_transition("departed", "cancelled"));
/// ```
#[must_use]
pub fn can_transition(src: &str, dest: &str) -> bool {
    known(src).zip(known(dest)).is_some_and(|(src, dest)| MACHINE.allows(src, dest))
}

/// Whether nothing follows it: `arrived` and `cancelled`. `false` for a name that is no state.
#[must_use]
pub fn is_terminal_state(state: &str) -> bool {
    known(state).is_some_and(|state| MACHINE.is_end(state))
}

/// Whether it is the name of a state.
#[must_use]
pub fn is_valid_state(state: &str) -> bool {
    known(state).is_some()
}

/// Which states may follow `src`, in the machine's order. None for a name that is no state.
#[must_use]
pub fn allowed_transitions(src: &str) -> Vec<&'static str> {
    let successors = known(src).map(|src| MACHINE.successors(src)).unwrap_or_default();
    successors.iter().map(|state| MACHINE.name_of(state)).collect()
}

/// The shortest way from one state to another, both included; the one state alone if they are the same.
/// `None` if there is no way, or a name is no state.
///
/// ```
/// use tensorforge::workflow::shortest_path;
///
/// let way = shortest_path("queued", "arrived").unwrap();
/// assert_eq!(way, ["queued", "allocated", "departed", "arrived"]);
/// assert_eq!(shortest_path("arrived", "queued"), None);
/// ```
#[must_use]
pub fn shortest_path(from: &str, to: &str) -> Option<Vec<String>> {
    let mut way = [0; MOST_STATES];
    let way = MACHINE.path(known(from)?, known(to)?, &mut way)?;
    Some(way.iter().map(|&state| MACHINE.name_of(state).to_owned()).collect())
}

/// Every state that can be reached from `state`, in one step or more, sorted by name.
#[must_use]
pub fn reachable_from(state: &str) -> Vec<String> {
    let reachable = known(state).map(|state| MACHINE.reachable(state)).unwrap_or_default();
    let mut names: Vec<String> =
        reachable.iter().map(|state| MACHINE.name_of(state).to_owned()).collect();
    names.sort_unstable();
    names
}

/// Whether each state may follow the one before. True of no states, and of a single one.
#[must_use]
pub fn valid_path(path: &[&str]) -> bool {
    path.windows(2).all(|step| can_transition(step[0], step[1]))
        && path.iter().all(|s| is_valid_state(s))
}

/// Whether a cancel may be asked for: in every state that is not terminal, even in `departed`, from
/// which nothing leads to `cancelled`.
#[must_use]
pub fn can_cancel(state: &str) -> bool {
    is_valid_state(state) && !is_terminal_state(state)
}

/// Whether it may go on: in every state that is not terminal.
#[must_use]
pub fn can_resume(state: &str) -> bool {
    can_cancel(state)
}

/// A transition that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransitionRecord {
    /// Which entity.
    pub entity_id: String,
    /// The state that it was in.
    pub from: String,
    /// The one that it went to.
    pub to: String,
    /// When, in the caller's unit.
    pub timestamp: u64,
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransitionResult {
    /// Whether the transition was made.
    pub success: bool,
    /// The state that the entity was in; empty if there is no such entity.
    pub from: String,
    /// The one that was asked for.
    pub to: String,
    /// Why it was not made.
    pub error: Option<String>,
}

impl TransitionResult {
    fn refused(from: impl Into<String>, to: &str, why: impl Into<String>) -> Self {
        Self { success: false, from: from.into(), to: to.into(), error: Some(why.into()) }
    }
}

/// Entities of the dispatch machine, shared by threads.
///
/// A forbidden transition changes neither state nor history. Times are the caller's, in any unit.
///
/// **Threads:** spread over locks by id; see [`Engine`], which it is made of and which
/// [`engine`](Self::engine) lends out. **Memory:** the history is kept whole, 48 bytes a transition.
pub struct WorkflowEngine {
    engine: Engine<Dispatch>,
}

impl Default for WorkflowEngine {
    fn default() -> Self {
        Self::new()
    }
}

impl WorkflowEngine {
    /// Without entities.
    #[must_use]
    pub fn new() -> Self {
        Self { engine: Engine::new(Dispatch, (), (), EngineOptions::default()) }
    }

    /// The engine behind it.
    #[must_use]
    pub const fn engine(&self) -> &Engine<Dispatch> {
        &self.engine
    }

    /// Makes an entity known, as `queued`. One that is known stays where it is: its history goes on.
    pub fn register(&self, entity_id: &str) {
        self.engine.register(entity_id, Instant::ZERO);
    }

    /// The state of an entity.
    #[must_use]
    pub fn get_state(&self, entity_id: &str) -> Option<String> {
        self.engine.state(entity_id).map(|state| state.name().to_owned())
    }

    /// Moves an entity to the state `to`.
    ///
    /// Refused with `entity not registered` if it is not known, and with
    /// `cannot transition from X to Y` if that is no transition; then neither state nor history changes.
    pub fn transition(&self, entity_id: &str, to: &str, timestamp: u64) -> TransitionResult {
        let Some(target) = known(to).and_then(DispatchState::from_index) else {
            return match self.engine.state(entity_id) {
                Some(from) => {
                    let why = format!("cannot transition from {} to {to}", from.name());
                    TransitionResult::refused(from.name(), to, why)
                }
                None => TransitionResult::refused("", to, TransitionError::Unknown.to_string()),
            };
        };
        let now = Instant::from_nanos(timestamp);
        match self.engine.transition(entity_id, target, "", &(), now) {
            Ok(step) => TransitionResult {
                success: true,
                from: step.from.name().to_owned(),
                to: to.to_owned(),
                error: None,
            },
            Err(error) => {
                let from = match error {
                    TransitionError::NoEdge { from, .. } => from,
                    _ => "",
                };
                TransitionResult::refused(from, to, error.to_string())
            }
        }
    }

    /// Whether an entity is in a terminal state. `false` for one that is not known.
    #[must_use]
    pub fn is_terminal(&self, entity_id: &str) -> bool {
        self.engine.state(entity_id).is_some_and(|state| MACHINE.is_end(state.index()))
    }

    /// How many entities are in a state that is not terminal. O(entities).
    #[must_use]
    pub fn active_count(&self) -> usize {
        self.engine.count(|state| !MACHINE.is_end(state.index()))
    }

    /// Every transition made, in order.
    #[must_use]
    pub fn history(&self) -> Vec<TransitionRecord> {
        let record = |step: super::Step<DispatchState>| TransitionRecord {
            entity_id: (*step.entity).to_owned(),
            from: step.from.name().to_owned(),
            to: step.to.name().to_owned(),
            timestamp: step.at.as_nanos(),
        };
        self.engine.history().into_iter().map(record).collect()
    }

    /// Every transition made, in order, each as `[timestamp] from -> to (entity: id)`.
    #[must_use]
    pub fn audit_log(&self) -> Vec<String> {
        let line = |step: super::Step<DispatchState>| {
            let (at, from, to) = (step.at.as_nanos(), step.from.name(), step.to.name());
            format!("[{at}] {from} -> {to} (entity: {})", step.entity)
        };
        self.engine.history().into_iter().map(line).collect()
    }
}

/// How many transitions an entity made.
#[must_use]
pub fn transition_count(history: &[TransitionRecord], entity_id: &str) -> usize {
    history.iter().filter(|record| record.entity_id == entity_id).count()
}

/// How long the first entity that entered `state` stayed in it: its exit less its entry. `None` if none
/// entered, or that one has not left. 0 if its clock stepped back meanwhile.
#[must_use]
pub fn time_in_state(history: &[TransitionRecord], state: &str) -> Option<u64> {
    let at = history.iter().position(|record| record.to == state)?;
    let entry = &history[at];
    let exit = history[at..]
        .iter()
        .find(|record| record.entity_id == entry.entity_id && record.from == state)?;
    Some(exit.timestamp.saturating_sub(entry.timestamp))
}

/// How many entities are in each state that at least one is in.
#[must_use]
pub fn state_distribution(entities: &HashMap<String, String>) -> HashMap<String, usize> {
    let mut distribution = HashMap::new();
    for state in entities.values() {
        *distribution.entry(state.clone()).or_insert(0) += 1;
    }
    distribution
}

/// How many entities are in a state that is not terminal.
#[must_use]
pub fn parallel_workflows(entities: &HashMap<String, String>) -> usize {
    entities.values().filter(|state| !is_terminal_state(state)).count()
}

/// The state with the most entities, of those that are not terminal; among equals, the one that comes
/// first by name. `None` if no entity is active.
#[must_use]
pub fn bottleneck_state(entities: &HashMap<String, String>) -> Option<String> {
    let active =
        state_distribution(entities).into_iter().filter(|(state, _)| !is_terminal_state(state));
    let (state, _) = active.max_by(|(a, n), (b, m)| n.cmp(m).then_with(|| b.cmp(a)))?;
    Some(state)
}

/// How many of 100 entities are in a terminal state; 0.0 of none.
#[must_use]
pub fn workflow_complete_percentage(entities: &HashMap<String, String>) -> f64 {
    if entities.is_empty() {
        return 0.0;
    }
    let complete = entities.len() - parallel_workflows(entities);
    complete as f64 * 100.0 / entities.len() as f64
}

/// The transitions left to `arrived`, times `avg`, what one takes on average. 0.0 if it cannot arrive any
/// more, or there is no such state.
///
/// ```
/// assert_eq!(tensorforge::workflow::estimated_completion("queued", 2.0), 6.0);
/// ```
#[must_use]
pub fn estimated_completion(state: &str, avg: f64) -> f64 {
    match shortest_path(state, "arrived") {
        Some(way) if way.len() > 1 => (way.len() - 1) as f64 * avg,
        _ => 0.0,
    }
}

/// How long ago a state was entered: negative if `entered` is later than `now`.
#[must_use]
pub fn state_age_seconds(entered: u64, now: u64) -> i64 {
    let age = i128::from(now) - i128::from(entered);
    age.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

/// Makes entities known; how many of them were not.
pub fn batch_register(engine: &WorkflowEngine, ids: &[&str]) -> usize {
    ids.iter().filter(|id| engine.engine.register(id, Instant::ZERO)).count()
}

/// How many an hour: `completed` in `elapsed_seconds`. 0.0 in no time.
#[must_use]
pub fn entity_throughput(completed: usize, elapsed_seconds: u64) -> f64 {
    if elapsed_seconds == 0 { 0.0 } else { completed as f64 * 3600.0 / elapsed_seconds as f64 }
}

/// How many transitions of an entity follow each other without a gap, from its first on: each begins
/// where the one before ended. All of them, in a history that nothing is missing from.
#[must_use]
pub fn chain_length(history: &[TransitionRecord], entity_id: &str) -> usize {
    let mut at: Option<&str> = None;
    history
        .iter()
        .filter(|record| record.entity_id == entity_id)
        .take_while(|record| {
            let follows = at.is_none_or(|at| at == record.from);
            at = Some(&record.to);
            follows
        })
        .count()
}

/// Both histories in one, by time; at the same time, those of `a` first, each in its order.
#[must_use]
pub fn merge_histories(a: &[TransitionRecord], b: &[TransitionRecord]) -> Vec<TransitionRecord> {
    let mut merged = [a, b].concat();
    merged.sort_by_key(|record| record.timestamp);
    merged
}

/// Of each entity its latest transition, by time: among equals, the one that comes last. Sorted by time,
/// then by id.
#[must_use]
pub fn compact_history(history: &[TransitionRecord]) -> Vec<TransitionRecord> {
    let mut latest: HashMap<&str, &TransitionRecord> = HashMap::new();
    for record in history {
        let kept = latest.entry(&record.entity_id).or_insert(record);
        if record.timestamp >= kept.timestamp {
            *kept = record;
        }
    }
    let mut compact: Vec<_> = latest.into_values().cloned().collect();
    compact.sort_by(|a, b| (a.timestamp, &a.entity_id).cmp(&(b.timestamp, &b.entity_id)));
    compact
}

/// Whether a state was entered more than `max_age` ago.
#[must_use]
pub fn is_stale(entered: u64, now: u64, max_age: u64) -> bool {
    now.saturating_sub(entered) > max_age
}

/// Moves an entity, if its target is one of `valid_targets`: that is looked at before anything moves.
///
/// Refused with `target not in valid list`, or as [`WorkflowEngine::transition`].
pub fn validate_and_transition(
    engine: &WorkflowEngine,
    entity_id: &str,
    to: &str,
    timestamp: u64,
    valid_targets: &[&str],
) -> TransitionResult {
    if valid_targets.contains(&to) {
        return engine.transition(entity_id, to, timestamp);
    }
    match engine.get_state(entity_id) {
        Some(from) => TransitionResult::refused(from, to, "target not in valid list"),
        None => TransitionResult::refused("", to, TransitionError::Unknown.to_string()),
    }
}

/// Makes all of some transitions, given as entity, target and time, in this order, or none of them:
/// nobody ever sees some of them done.
///
/// An entity may be there several times. The answer says whether they were made, and of each what became
/// of it: of a batch that was refused, one by its own error, the others by
/// `not made: another transition of the batch was refused`.
pub fn batch_transition_atomic(
    engine: &WorkflowEngine,
    transitions: &[(&str, &str, u64)],
) -> (bool, Vec<TransitionResult>) {
    let mut wanted = Vec::with_capacity(transitions.len());
    for (index, &(entity, to, timestamp)) in transitions.iter().enumerate() {
        let Some(target) = known(to).and_then(DispatchState::from_index) else {
            let from = engine.engine.state(entity).map(State::name);
            let why = match from {
                Some(from) => format!("cannot transition from {from} to {to}"),
                None => TransitionError::Unknown.to_string(),
            };
            return (false, refused_together(engine, transitions, index, from, &why));
        };
        let now = Instant::from_nanos(timestamp);
        wanted.push(Wanted { entity, to: target, cause: "", now });
    }
    match engine.engine.transition_all(&wanted, &()) {
        Ok(applied) => {
            let made = applied.iter().zip(transitions).map(|(step, (_, to, _))| TransitionResult {
                success: true,
                from: step.from.name().to_owned(),
                to: (*to).to_owned(),
                error: None,
            });
            (true, made.collect())
        }
        Err(refused) => {
            let from = match refused.error {
                TransitionError::NoEdge { from, .. } => Some(from),
                _ => None,
            };
            let why = refused.error.to_string();
            (false, refused_together(engine, transitions, refused.index, from, &why))
        }
    }
}

fn refused_together(
    engine: &WorkflowEngine,
    transitions: &[(&str, &str, u64)],
    index: usize,
    from: Option<&str>,
    why: &str,
) -> Vec<TransitionResult> {
    let result = |(place, &(entity, to, _)): (usize, &(&str, &str, u64))| {
        if place == index {
            return TransitionResult::refused(from.unwrap_or(""), to, why);
        }
        let from = engine.get_state(entity).unwrap_or_default();
        TransitionResult::refused(from, to, "not made: another transition of the batch was refused")
    };
    transitions.iter().enumerate().map(result).collect()
}
