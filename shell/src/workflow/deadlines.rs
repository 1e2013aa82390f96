//! How long an entity may stay in a state, and how often it may come back.

use tensorforge_core::machine::{AuditSink, State, StateMachine, TransitionValidator};
use tensorforge_core::{Duration, Instant};

use super::engine::Guard;
use super::shard::{Entities, Timing};
use super::{Engine, TransitionError};

/// How long an entity may stay in a state: a deadline, or, with growth and a number of visits, the
/// backoff between attempts.
///
/// ```
/// use tensorforge::workflow::Deadline;
/// use tensorforge_core::Duration;
/// use tensorforge_core::machine::JobState::{Failed, Retrying, Running};
///
/// // A job that runs for a minute is tried again ...
/// let limit = Deadline::new(Running, Duration::from_secs(60), Retrying);
/// // ... after 1, 2, 4, 8 seconds, and given up then.
/// let backoff = Deadline::new(Retrying, Duration::from_secs(1), Running)
///     .growing(2, Duration::from_secs(30))
///     .at_most(4, Failed);
/// assert_eq!(backoff.wait(3), Duration::from_secs(4));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline<S> {
    pub(super) state: S,
    after: Duration,
    growth: u32,
    cap: Duration,
    to: S,
    visits: u32,
    otherwise: S,
}

impl<S: Copy> Deadline<S> {
    /// An entity that has been in `state` for `after` goes to `to`.
    #[must_use]
    pub const fn new(state: S, after: Duration, to: S) -> Self {
        Self { state, after, growth: 1, cap: Duration::MAX, to, visits: u32::MAX, otherwise: to }
    }

    /// At each visit after the first, the wait is `factor` times as long as before, and at most `cap`.
    #[must_use]
    pub const fn growing(mut self, factor: u32, cap: Duration) -> Self {
        (self.growth, self.cap) = (factor, cap);
        self
    }

    /// After more than `visits` visits it goes to `otherwise`, at once.
    #[must_use]
    pub const fn at_most(mut self, visits: u32, otherwise: S) -> Self {
        (self.visits, self.otherwise) = (visits, otherwise);
        self
    }

    /// How long the wait is at this visit, counted from 1.
    #[must_use]
    pub fn wait(&self, visit: u32) -> Duration {
        if visit > self.visits {
            return Duration::ZERO;
        }
        let factor = u64::from(self.growth).saturating_pow(visit.saturating_sub(1));
        Duration::from_nanos(self.after.as_nanos().saturating_mul(factor)).min(self.cap)
    }

    const fn target(&self, visit: u32) -> S {
        if visit > self.visits { self.otherwise } else { self.to }
    }
}

impl<S: State> Entities<S> {
    /// Sets the deadline of an entity that has just entered its state, and forgets the one before.
    pub(super) fn schedule(&mut self, hash: u64, id: &str, rules: &[Deadline<S>]) {
        let Some(entity) = self.get_mut(hash, id) else { return };
        let before = entity.timing.as_mut().and_then(|timing| timing.deadline.take());
        let (state, entered) = (entity.state, entity.entered);
        let rule = rules.iter().find(|rule| rule.state == state);
        let deadline = rule.map(|rule| {
            let timing = entity.timing.get_or_insert_default();
            let deadline = entered + rule.wait(timing.visit(state.index()));
            timing.deadline = Some(deadline);
            deadline
        });
        if let Some(before) = before {
            self.deadlines().remove(&(before, id.into()));
        }
        if let Some(deadline) = deadline {
            self.deadlines().insert((deadline, id.into()));
        }
    }
}

impl Timing {
    /// Counts a visit of a state, and says how many there were.
    fn visit(&mut self, state: usize) -> u32 {
        if let Some((_, visits)) = self.visits.iter_mut().find(|(visited, _)| *visited == state) {
            *visits = visits.saturating_add(1);
            return *visits;
        }
        self.visits.push((state, 1));
        1
    }

    fn visits(&self, state: usize) -> u32 {
        self.visits.iter().find(|(visited, _)| *visited == state).map_or(1, |&(_, visits)| visits)
    }
}

impl<M, V, A, C: ?Sized> Engine<M, V, A, C>
where
    M: StateMachine,
    V: TransitionValidator<M::State, C> + 'static,
    A: AuditSink,
{
    /// The earliest deadline of all: when to call [`poll`](Self::poll) next, if nothing happens before.
    /// O(shards).
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.shards
            .iter()
            .filter_map(|shard| shard.lock().deadlines().first().map(|&(at, _)| at))
            .min()
    }

    /// Moves every entity on whose deadline has come, with the cause `"deadline"`; how many have moved.
    ///
    /// A step that is refused is tried again after as long as the entity was to wait. An earlier `now`
    /// than the last moves nothing that was not due.
    pub fn poll(&self, context: &C, now: Instant) -> usize {
        let mut moved = 0;
        for shard in &self.shards {
            loop {
                let mut entities = shard.lock();
                let Some((at, id)) = entities.deadlines().first().cloned() else { break };
                if at > now {
                    break;
                }
                entities.deadlines().remove(&(at, id.clone()));
                let hash = self.hash(&id);
                let Some(entity) = entities.get_mut(hash, &id) else { continue };
                let (state, generation) = (entity.state, entity.generation);
                let Some(timing) = &mut entity.timing else { continue };
                timing.deadline = None;
                let visit = timing.visits(state.index());
                let Some(rule) = self.deadlines.iter().find(|rule| rule.state == state) else {
                    continue;
                };
                drop(entities);
                let guard = Guard::Generation(generation);
                match self.attempt(&id, rule.target(visit), guard, "deadline", context, now) {
                    Ok(_) => moved += 1,
                    // It has moved on by itself, and has another deadline.
                    Err(TransitionError::Unknown | TransitionError::Moved { .. }) => {}
                    Err(_) => {
                        let mut entities = shard.lock();
                        let again = now + rule.wait(visit).max(Duration::from_millis(1));
                        if let Some(entity) = entities.get_mut(hash, &id)
                            && entity.generation == generation
                            && let Some(timing) = &mut entity.timing
                        {
                            timing.deadline = Some(again);
                            entities.deadlines().insert((again, id));
                        }
                    }
                }
            }
        }
        moved
    }
}
