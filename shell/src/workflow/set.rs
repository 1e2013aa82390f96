//! Steps of several entities, all or none.

use std::sync::MutexGuard;

use tensorforge_core::Instant;
use tensorforge_core::machine::{
    Attempt, AuditSink, Reason, Refusal, StateMachine, TransitionValidator,
};

use super::engine::{Guard, asks_somebody};
use super::shard::Entities;
use super::{Applied, Engine, TransitionError};

/// A step that is wanted as one of several.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a, S> {
    /// Which entity. One may be there several times: it makes its steps in this order.
    pub entity: &'a str,
    /// The state that it is to be in.
    pub to: S,
    /// Why.
    pub cause: &'a str,
    /// When.
    pub now: Instant,
}

/// Which of several steps was refused, and why. None was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("step {index} of the set: {error}")]
pub struct SetError {
    /// Its place, from 0.
    pub index: usize,
    /// Why.
    pub error: TransitionError,
}

const MOST_RETRIES: usize = 16;

/// The place of the step that was refused, and if its entity is known, the attempt and why.
type Refused<'a, S> = (usize, Option<(Attempt<'a, S>, Refusal)>);

/// The shards of a set, locked in the order of their places: two sets never wait for each other.
struct Locked<'e, S> {
    places: Vec<usize>,
    guards: Vec<MutexGuard<'e, Entities<S>>>,
}

impl<S> Locked<'_, S> {
    fn of(&mut self, place: usize) -> Option<&mut Entities<S>> {
        let at = self.places.binary_search(&place).ok()?;
        self.guards.get_mut(at).map(|guard| &mut **guard)
    }
}

impl<M, V, A, C: ?Sized> Engine<M, V, A, C>
where
    M: StateMachine,
    V: TransitionValidator<M::State, C> + 'static,
    A: AuditSink,
{
    /// Makes all of `wanted`, in order, or nothing: nobody ever sees some of it done.
    ///
    /// All their shards are locked at once, in one order, so sets do not block each other for good. As
    /// for single steps, validators are asked without a lock, and again if an entity moved meanwhile. The
    /// audit is told of each step, and if one was refused, of the others as refused together with it.
    ///
    /// # Errors
    /// With the first that was refused; then nothing has changed.
    pub fn transition_all(
        &self,
        wanted: &[Wanted<'_, M::State>],
        context: &C,
    ) -> Result<Vec<Applied<M::State>>, SetError> {
        let hashes: Vec<u64> = wanted.iter().map(|wanted| self.hash(wanted.entity)).collect();
        for retry in 0.. {
            let mut locked = self.lock_all(&hashes);
            let attempts = match self.plan(wanted, &hashes, &mut locked) {
                Ok(attempts) => attempts,
                Err(refused) => {
                    drop(locked);
                    return Err(self.refuse_all(wanted, refused));
                }
            };
            if asks_somebody::<V>() {
                drop(locked);
                let first = attempts.iter().enumerate().find_map(|(index, attempt)| {
                    let refusal = self.validate(attempt, context).err()?;
                    Some((index, Some((*attempt, refusal))))
                });
                locked = self.lock_all(&hashes);
                let moved = self.first_moved(&attempts, &hashes, &mut locked);
                if moved.is_some() && retry < MOST_RETRIES {
                    continue; // what was asked about is no longer so
                }
                if let Some(refused) = first {
                    drop(locked);
                    return Err(self.refuse_all(wanted, refused));
                }
                if let Some(index) = moved {
                    drop(locked);
                    let attempt = attempts[index];
                    let reason = Reason::Moved { generation: attempt.generation };
                    let refusal = Refusal { by: "engine", reason };
                    return Err(self.refuse_all(wanted, (index, Some((attempt, refusal)))));
                }
            }
            let sequences = self.log_all(&attempts)?;
            for ((attempt, &hash), &sequence) in attempts.iter().zip(&hashes).zip(&sequences) {
                if let Some(entities) = locked.of(self.shard_index(hash)) {
                    self.make(entities, hash, attempt, sequence);
                }
            }
            drop(locked);
            let made = attempts.iter().zip(sequences);
            return Ok(made.map(|(attempt, sequence)| self.made(attempt, sequence)).collect());
        }
        unreachable!("the last retry returns")
    }

    fn lock_all(&self, hashes: &[u64]) -> Locked<'_, M::State> {
        let mut places: Vec<usize> = hashes.iter().map(|&hash| self.shard_index(hash)).collect();
        places.sort_unstable();
        places.dedup();
        let guards = places.iter().map(|&place| self.shards[place].lock()).collect();
        Locked { places, guards }
    }

    /// Every step as an attempt from where its entity will be by then; or the first that cannot be, with
    /// the refusal if the entity is known.
    fn plan<'a>(
        &self,
        wanted: &[Wanted<'a, M::State>],
        hashes: &[u64],
        locked: &mut Locked<'_, M::State>,
    ) -> Result<Vec<Attempt<'a, M::State>>, Refused<'a, M::State>> {
        let mut attempts: Vec<Attempt<'a, M::State>> = Vec::with_capacity(wanted.len());
        for (index, (wanted, &hash)) in wanted.iter().zip(hashes).enumerate() {
            let before = attempts.iter().rev().find(|attempt| attempt.entity == wanted.entity);
            let (from, generation, entered) = match before {
                Some(attempt) => (attempt.to, attempt.generation + 1, attempt.now),
                None => {
                    let known = locked
                        .of(self.shard_index(hash))
                        .and_then(|entities| entities.get(hash, wanted.entity));
                    let Some(entity) = known else { return Err((index, None)) };
                    (entity.state, entity.generation, entity.entered)
                }
            };
            let Wanted { entity, to, cause, now } = *wanted;
            let attempt = Attempt { entity, from, to, generation, entered, cause, now };
            if let Err(refusal) = self.allowed(&attempt, Guard::Any) {
                return Err((index, Some((attempt, refusal))));
            }
            attempts.push(attempt);
        }
        Ok(attempts)
    }

    fn first_moved(
        &self,
        attempts: &[Attempt<'_, M::State>],
        hashes: &[u64],
        locked: &mut Locked<'_, M::State>,
    ) -> Option<usize> {
        attempts.iter().zip(hashes).enumerate().position(|(index, (attempt, &hash))| {
            let first_of_it =
                attempts[..index].iter().all(|before| before.entity != attempt.entity);
            let known = locked
                .of(self.shard_index(hash))
                .and_then(|entities| entities.get(hash, attempt.entity));
            first_of_it && known.map(|entity| entity.generation) != Some(attempt.generation)
        })
    }

    /// Puts all on record as made: the audit may refuse, and then nothing may have changed.
    fn log_all(&self, attempts: &[Attempt<'_, M::State>]) -> Result<Vec<u64>, SetError> {
        let mut sequences = Vec::with_capacity(attempts.len());
        for (index, attempt) in attempts.iter().enumerate() {
            match self.log(attempt) {
                Ok(sequence) => sequences.push(sequence),
                Err(error) => {
                    // They are on record as made: a later record of the same step says that they are not.
                    let together = Refusal { by: "set", reason: Reason::Together };
                    for attempt in &attempts[..index] {
                        self.refuse(attempt, together);
                    }
                    return Err(SetError { index, error });
                }
            }
        }
        Ok(sequences)
    }

    /// Tells the audit of each as refused: the one by its own reason, the others together with it. Called
    /// without any lock.
    fn refuse_all(
        &self,
        wanted: &[Wanted<'_, M::State>],
        (refused, why): Refused<'_, M::State>,
    ) -> SetError {
        let mut error = TransitionError::Unknown;
        for (index, wanted) in wanted.iter().enumerate() {
            match &why {
                Some((attempt, refusal)) if index == refused => {
                    error = self.refuse(attempt, *refusal);
                }
                None if index == refused => {
                    self.refuse_unknown(wanted.entity, wanted.to, wanted.cause, wanted.now)
                }
                _ => {
                    let from = self.state(wanted.entity).unwrap_or(wanted.to);
                    let generation = self.generation(wanted.entity).unwrap_or(0);
                    let Wanted { entity, to, cause, now } = *wanted;
                    let attempt =
                        Attempt { entity, from, to, generation, entered: now, cause, now };
                    self.refuse(&attempt, Refusal { by: "set", reason: Reason::Together });
                }
            }
        }
        SetError { index: refused, error }
    }
}
