//! The engine: a machine, who may veto, who is told, and the entities.

use std::any::TypeId;
use std::hash::BuildHasher;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::DefaultHashBuilder;
use tensorforge_core::machine::{
    Attempt, AuditRecord, AuditSink, MOST_STATES, Outcome, Reason, Refusal, State, StateMachine,
    StateSet, Table, TransitionValidator,
};

use tensorforge_core::{Duration, Instant};

use super::options::TimeSource;
use super::shard::{Entities, Shard};
use super::{AuditPolicy, Deadline, EngineOptions, Step};

/// Which states may follow each, as one word: what the table says, looked up.
struct Edges<M>(PhantomData<M>);

impl<M: StateMachine> Edges<M> {
    const OF: [StateSet; MOST_STATES] = {
        let mut edges = [StateSet::NONE; MOST_STATES];
        let mut state = 0;
        while state < M::TABLE.states.len() {
            edges[state] = M::TABLE.successors(state);
            state += 1;
        }
        edges
    };
}

/// How often a step is validated anew because its entity moved meanwhile.
const MOST_RETRIES: usize = 16;

/// Many entities of one machine, shared by threads.
///
/// Every attempt takes the same way: is there such an entity, has the table such an edge, does the
/// validator allow it, is the sink told; then the step is made and the history has it. A refused attempt
/// changes nothing, and the sink is told of it too.
///
/// **Threads:** the entities are spread over locks by their ids, so that those of different entities
/// seldom wait for each other. Validators run without a lock; if the entity moved meanwhile, they are
/// asked again. A validator that panics refuses.
///
/// **Memory:** about 90 bytes an entity besides its id, and 24 a step of the history.
///
/// ```
/// use tensorforge::workflow::{Engine, EngineOptions};
/// use tensorforge_core::Instant;
/// use tensorforge_core::machine::{Deployment, DeploymentState::*};
///
/// let engine = Engine::new(Deployment, (), (), EngineOptions::default());
/// let now = Instant::from_nanos(5);
/// engine.register("digits:2", now);
/// let step = engine.transition("digits:2", Validating, "load", &(), now).unwrap();
/// assert_eq!((step.from, step.generation), (Registered, 1));
/// // Compare and set: only if it has made one step.
/// assert!(engine.transition_if("digits:2", 1, Staging, "loaded", &(), now).is_ok());
/// assert!(engine.transition_if("digits:2", 1, Canary, "too late", &(), now).is_err());
/// assert_eq!(engine.state("digits:2"), Some(Staging));
/// ```
pub struct Engine<M: StateMachine, V = (), A = (), C: ?Sized = ()> {
    machine: M,
    validator: V,
    sink: A,
    options: Checks,
    pub(super) deadlines: Vec<Deadline<M::State>>,
    pub(super) shards: Box<[Shard<M::State>]>,
    hasher: DefaultHashBuilder,
    sequence: Apart<AtomicU64>,
    audit_failures: Apart<AtomicU64>,
    context: PhantomData<fn(&C)>,
}

/// Alone on its cache lines: every step counts, and what it reads beside the count must not be taken from
/// it by those who count at the same time. That made a third of the speed of eight threads.
#[repr(align(128))]
struct Apart<T>(T);

/// What of the options each attempt looks at.
struct Checks {
    history: usize,
    audit: AuditPolicy,
    validator_limit: Option<(Duration, TimeSource)>,
}

/// A step that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied<S> {
    /// The state that the entity was in.
    pub from: S,
    /// How many steps it has made, with this one.
    pub generation: u64,
    /// The step's number among all attempts.
    pub sequence: u64,
}

/// Why a step was not made. Nothing has changed.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransitionError {
    /// There is no such entity.
    #[error("entity not registered")]
    Unknown,
    /// The table has no such edge.
    #[error("cannot transition from {from} to {to}")]
    NoEdge {
        /// The state that the entity is in.
        from: &'static str,
        /// The one that was asked for.
        to: &'static str,
    },
    /// The entity is not, or no longer, where it was said to be.
    #[error("the entity has moved on, to step {generation}")]
    Moved {
        /// How many steps it has made.
        generation: u64,
    },
    /// A validator, or the audit, refused it.
    #[error("refused by {0}")]
    Refused(Refusal),
}

/// Whether there is a validator at all.
pub(super) fn asks_somebody<V: 'static>() -> bool {
    TypeId::of::<V>() != TypeId::of::<()>()
}

/// Under which condition a step is made.
#[derive(Clone, Copy, Debug)]
pub(super) enum Guard {
    Any,
    Generation(u64),
}

impl<M, V, A, C: ?Sized> Engine<M, V, A, C>
where
    M: StateMachine,
    V: TransitionValidator<M::State, C> + 'static,
    A: AuditSink,
{
    /// An engine without entities.
    #[must_use]
    pub fn new(machine: M, validator: V, sink: A, options: EngineOptions<M::State>) -> Self {
        let shards = options.shards.clamp(1, 1 << 16).next_power_of_two();
        Self {
            machine,
            validator,
            sink,
            options: Checks {
                history: options.history.map_or(usize::MAX, |steps| steps.div_ceil(shards).max(1)),
                audit: options.audit,
                validator_limit: options.validator_limit,
            },
            deadlines: options.deadlines,
            shards: (0..shards).map(|_| Shard::new()).collect(),
            hasher: DefaultHashBuilder::default(),
            sequence: Apart(AtomicU64::new(0)),
            audit_failures: Apart(AtomicU64::new(0)),
            context: PhantomData,
        }
    }

    /// The machine.
    #[must_use]
    pub const fn machine(&self) -> &M {
        &self.machine
    }

    /// The machine's table.
    #[must_use]
    pub const fn table(&self) -> Table {
        M::TABLE
    }

    /// The validator.
    #[must_use]
    pub const fn validator(&self) -> &V {
        &self.validator
    }

    /// The sink.
    #[must_use]
    pub const fn sink(&self) -> &A {
        &self.sink
    }

    /// Where an entity of this machine begins.
    fn initial() -> M::State {
        M::State::from_index(M::TABLE.initial).expect("a checked table begins at one of its states")
    }

    /// Makes an entity known, in the machine's first state. `false`, and nothing changes, if it was.
    pub fn register(&self, id: &str, now: Instant) -> bool {
        let hash = self.hash(id);
        let mut entities = self.shard(hash).lock();
        let begin = (Self::initial(), 0, now);
        let inserted = entities.insert(hash, id, begin, |id| self.hash(id));
        if inserted && !self.deadlines.is_empty() {
            entities.schedule(hash, id, &self.deadlines);
        }
        inserted
    }

    /// Forgets an entity; the history keeps its steps. `false` if there was none.
    pub fn forget(&self, id: &str) -> bool {
        let hash = self.hash(id);
        self.shard(hash).lock().remove(hash, id)
    }

    /// The state of an entity.
    #[must_use]
    pub fn state(&self, id: &str) -> Option<M::State> {
        let hash = self.hash(id);
        self.shard(hash).lock().get(hash, id).map(|entity| entity.state)
    }

    /// How many steps an entity has made.
    #[must_use]
    pub fn generation(&self, id: &str) -> Option<u64> {
        let hash = self.hash(id);
        self.shard(hash).lock().get(hash, id).map(|entity| entity.generation)
    }

    /// How many entities there are, by whether `counts` counts their state. O(entities), one shard after
    /// the other.
    pub fn count(&self, counts: impl Fn(M::State) -> bool) -> usize {
        let of = |shard: &Shard<M::State>| {
            shard.lock().iter().filter(|entity| counts(entity.state)).count()
        };
        self.shards.iter().map(of).sum()
    }

    /// Moves an entity to `to`, because of `cause`. O(1), besides what validator and sink take.
    ///
    /// # Errors
    /// If it was refused; then nothing has changed.
    pub fn transition(
        &self,
        id: &str,
        to: M::State,
        cause: &str,
        context: &C,
        now: Instant,
    ) -> Result<Applied<M::State>, TransitionError> {
        self.attempt(id, to, Guard::Any, cause, context, now)
    }

    /// Moves an entity to `to` if it has made `generation` steps: compare and set.
    ///
    /// # Errors
    /// If it has made another number, or the step was refused; then nothing has changed.
    pub fn transition_if(
        &self,
        id: &str,
        generation: u64,
        to: M::State,
        cause: &str,
        context: &C,
        now: Instant,
    ) -> Result<Applied<M::State>, TransitionError> {
        self.attempt(id, to, Guard::Generation(generation), cause, context, now)
    }

    pub(super) fn attempt(
        &self,
        id: &str,
        to: M::State,
        guard: Guard,
        cause: &str,
        context: &C,
        now: Instant,
    ) -> Result<Applied<M::State>, TransitionError> {
        let hash = self.hash(id);
        let shard = self.shard(hash);
        for retry in 0.. {
            let mut entities = shard.lock();
            let Some((entity, history)) = entities.get_with_history(hash, id) else {
                drop(entities);
                self.refuse_unknown(id, to, cause, now);
                return Err(TransitionError::Unknown);
            };
            let attempt = Attempt {
                entity: id,
                from: entity.state,
                to,
                generation: entity.generation,
                entered: entity.entered,
                cause,
                now,
            };
            if let Err(refusal) = self.allowed(&attempt, guard) {
                return Err(self.refuse(&attempt, refusal));
            }
            if !asks_somebody::<V>() && self.deadlines.is_empty() {
                let sequence = self.log(&attempt)?;
                history.step(entity, sequence, to, now, self.options.history);
                drop(entities);
                return Ok(self.made(&attempt, sequence));
            }
            if asks_somebody::<V>() {
                drop(entities);
                let answer = self.validate(&attempt, context);
                entities = shard.lock();
                let moved = entities.get(hash, id).map(|entity| entity.generation)
                    != Some(attempt.generation);
                if moved && retry < MOST_RETRIES {
                    continue; // what was asked about is no longer so
                }
                if let Err(refusal) = answer {
                    return Err(self.refuse(&attempt, refusal));
                }
                if moved {
                    let generation = attempt.generation;
                    let refusal = Refusal { by: "engine", reason: Reason::Moved { generation } };
                    return Err(self.refuse(&attempt, refusal));
                }
            }
            let sequence = self.log(&attempt)?;
            self.make(&mut entities, hash, &attempt, sequence);
            drop(entities);
            return Ok(self.made(&attempt, sequence));
        }
        unreachable!("the last retry returns")
    }

    /// What table and guard say.
    pub(super) fn allowed(
        &self,
        attempt: &Attempt<'_, M::State>,
        guard: Guard,
    ) -> Result<(), Refusal> {
        if let Guard::Generation(wanted) = guard
            && wanted != attempt.generation
        {
            let reason = Reason::Moved { generation: attempt.generation };
            return Err(Refusal { by: "engine", reason });
        }
        let followers = Edges::<M>::OF.get(attempt.from.index());
        if !followers.is_some_and(|set| set.contains(attempt.to.index())) {
            return Err(Refusal { by: M::TABLE.name, reason: Reason::NoEdge });
        }
        Ok(())
    }

    /// What the validator says, if it says something in time.
    pub(super) fn validate(
        &self,
        attempt: &Attempt<'_, M::State>,
        context: &C,
    ) -> Result<(), Refusal> {
        let limit = self.options.validator_limit.as_ref();
        let began = limit.map(|(_, now)| now());
        // It sees what cannot be changed; what it breaks of its own is its own.
        let ask = AssertUnwindSafe(|| self.validator.validate(attempt, context));
        let answer =
            catch_unwind(ask).unwrap_or(Err(Refusal { by: "validator", reason: Reason::Panicked }));
        if let (Some((limit, now)), Some(began)) = (limit, began) {
            let took = now().since(began);
            if took > *limit {
                return Err(Refusal { by: "validator", reason: Reason::TooSlow { took } });
            }
        }
        answer
    }

    /// Tells the machine of a step that was made, without a lock, and whoever wanted it.
    pub(super) fn made(&self, attempt: &Attempt<'_, M::State>, sequence: u64) -> Applied<M::State> {
        self.machine.left(attempt);
        self.machine.entered(attempt);
        Applied { from: attempt.from, generation: attempt.generation + 1, sequence }
    }

    /// Puts a step on record as made, and gives it its number.
    pub(super) fn log(&self, attempt: &Attempt<'_, M::State>) -> Result<u64, TransitionError> {
        let sequence = self.number();
        let kept = self.tell(&self.record(attempt, sequence, Outcome::Applied));
        if kept || self.options.audit == AuditPolicy::Count {
            return Ok(sequence);
        }
        Err(TransitionError::Refused(Refusal { by: "audit", reason: Reason::Audit }))
    }

    /// Makes a step that is on record, under the lock of its shard.
    pub(super) fn make(
        &self,
        entities: &mut Entities<M::State>,
        hash: u64,
        attempt: &Attempt<'_, M::State>,
        sequence: u64,
    ) {
        if let Some((entity, history)) = entities.get_with_history(hash, attempt.entity) {
            history.step(entity, sequence, attempt.to, attempt.now, self.options.history);
        }
        if !self.deadlines.is_empty() {
            entities.schedule(hash, attempt.entity, &self.deadlines);
        }
    }

    /// Tells the sink of an attempt on an entity that is not there.
    pub(super) fn refuse_unknown(&self, id: &str, to: M::State, cause: &str, now: Instant) {
        let refusal = Refusal { by: "engine", reason: Reason::Other("not registered") };
        self.tell(&AuditRecord {
            sequence: self.number(),
            at: now,
            machine: M::TABLE.name,
            entity: id,
            from: "",
            to: to.name(),
            generation: 0,
            cause,
            outcome: Outcome::Refused(refusal),
        });
    }

    /// Tells the sink of a refused attempt, and says so.
    pub(super) fn refuse(
        &self,
        attempt: &Attempt<'_, M::State>,
        refusal: Refusal,
    ) -> TransitionError {
        let sequence = self.number();
        self.tell(&self.record(attempt, sequence, Outcome::Refused(refusal)));
        match refusal.reason {
            Reason::NoEdge => {
                TransitionError::NoEdge { from: attempt.from.name(), to: attempt.to.name() }
            }
            Reason::Moved { generation } => TransitionError::Moved { generation },
            _ => TransitionError::Refused(refusal),
        }
    }

    fn record<'a>(
        &self,
        attempt: &Attempt<'a, M::State>,
        sequence: u64,
        outcome: Outcome,
    ) -> AuditRecord<'a> {
        AuditRecord {
            sequence,
            at: attempt.now,
            machine: M::TABLE.name,
            entity: attempt.entity,
            from: attempt.from.name(),
            to: attempt.to.name(),
            generation: attempt.generation,
            cause: attempt.cause,
            outcome,
        }
    }

    /// Whether the sink has kept it. One that panics has not.
    fn tell(&self, record: &AuditRecord<'_>) -> bool {
        let tell = AssertUnwindSafe(|| self.sink.record(record).is_ok());
        let kept = catch_unwind(tell).unwrap_or(false);
        if !kept {
            self.audit_failures.0.fetch_add(1, Ordering::Relaxed);
        }
        kept
    }

    fn number(&self) -> u64 {
        self.sequence.0.fetch_add(1, Ordering::Relaxed)
    }

    /// How many attempts there were.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        self.sequence.0.load(Ordering::Relaxed)
    }

    /// How many records the sink has not kept.
    #[must_use]
    pub fn audit_failures(&self) -> u64 {
        self.audit_failures.0.load(Ordering::Relaxed)
    }

    /// The steps made, in order. All shards are looked at in one moment. O(n log n).
    #[must_use]
    pub fn history(&self) -> Vec<Step<M::State>> {
        let locked: Vec<_> = self.shards.iter().map(Shard::lock).collect();
        let mut steps: Vec<_> = locked.iter().flat_map(|entities| entities.steps()).collect();
        drop(locked);
        steps.sort_unstable_by_key(|step| step.sequence);
        steps
    }

    pub(super) fn hash(&self, id: &str) -> u64 {
        self.hasher.hash_one(id)
    }

    /// Bits that the tables of the shards look at least.
    pub(super) const fn shard_index(&self, hash: u64) -> usize {
        (hash >> 40) as usize & (self.shards.len() - 1)
    }

    fn shard(&self, hash: u64) -> &Shard<M::State> {
        &self.shards[self.shard_index(hash)]
    }

    pub(super) fn continue_at(&self, sequence: u64) {
        self.sequence.0.store(sequence, Ordering::Relaxed);
    }
}
