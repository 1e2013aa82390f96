//! Memory for one more model, and which others are unloaded for it.
//!
//! What a model takes is what its executor says when it is loaded
//! ([`resident_memory`](crate::device::Executor::resident_memory)); before that, what it said the last time
//! with the same files; and where none ever said, the bytes of its files.

use super::error::ChangeError;
use super::folder::{FoundVersion, Stamp};
use super::loaded::LoadedModel;
use super::places::{Holding, Reserved};
use super::table::{Leaving, Model, Table};
use super::{ModelControl, Registry};
use crate::concurrency::lock;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tensorforge_core::Instant;

/// How long a load waits for models that were unloaded for it to be freed.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Whether others may be unloaded to make room.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PushesOut {
    Nobody,
    /// Those without requests that have been there for so long.
    IdleFor(Duration),
}

/// What executors said that they take, by model.
#[derive(Default)]
pub(super) struct Told(Mutex<BTreeMap<String, ToldOfModel>>);

/// By version, for the files that it had then.
type ToldOfModel = BTreeMap<String, (Stamp, u64)>;

impl Told {
    fn tell(&self, (name, version): (&str, &str), stamp: &Stamp, bytes: u64) {
        let mut models = lock(&self.0);
        let versions = models.entry(name.to_owned()).or_default();
        versions.insert(version.to_owned(), (stamp.clone(), bytes));
    }

    /// Bytes that a version takes, as far as is known before it is loaded.
    pub(super) fn estimate(&self, (name, version): (&str, &str), found: &FoundVersion) -> u64 {
        let models = lock(&self.0);
        let told = models.get(name).and_then(|versions| versions.get(version));
        let told = told.filter(|(stamp, _)| *stamp == found.stamp);
        told.map_or_else(|| found.stamp.bytes(), |&(_, bytes)| bytes)
    }

    pub(super) fn forget(&self, name: &str) {
        lock(&self.0).remove(name);
    }
}

impl Registry {
    /// Sets memory aside for a model, and if it may, unloads others for it: all that are needed, or none.
    pub(super) fn make_room(
        &self,
        name: &str,
        needs: u64,
        pushes_out: PushesOut,
    ) -> Result<Reserved, ChangeError> {
        if let Some(reserved) = self.places.reserve(needs) {
            return Ok(reserved);
        }
        let (limit, held) = (self.places.limit.unwrap_or(u64::MAX), self.places.bytes());
        let no_memory = |reason: &str| {
            let (name, reason) = (name.to_owned(), reason.to_owned());
            Err(ChangeError::NoMemory { name, needs, limit, held, reason })
        };
        if needs > limit {
            return no_memory("it would not fit alone");
        }
        let PushesOut::IdleFor(stay) = pushes_out else {
            return no_memory("none is unloaded for it without being asked to");
        };
        // Those that leave are waited for; what hangs, or is being loaded, is there to stay.
        let leaving: Vec<u64> = lock(&self.leaving).iter().map(Leaving::serial).collect();
        let taken = self.places.bytes_without(leaving.into_iter());
        let missing = taken.saturating_add(needs).saturating_sub(limit);
        let (table, now) = (self.table(), self.places.clock.now());
        let Some(victims) = victims(candidates(&table, name), missing, now, stay) else {
            return no_memory(match stay {
                Duration::ZERO => "all others are pinned or in use, or would not make enough room",
                _ => {
                    "all others are pinned, in use or were loaded a moment ago, or would not make enough room"
                }
            });
        };
        // It would hold what is unloaded.
        drop(table);
        for victim in victims {
            tracing::info!(model = victim, "unloaded to make room for {name}");
            let cause = format!("room for {name}");
            let reason = format!("unloaded to make room for {name}");
            self.take_out(&victim, &cause, &reason);
        }
        match self.places.reserve_within(needs, LONGEST_WAIT) {
            Some(reserved) => Ok(reserved),
            None => no_memory("what was unloaded is not free yet: its last requests still run"),
        }
    }

    /// Takes as much memory for a version as its executor says that it takes.
    pub(super) fn fit(
        &self,
        (name, version): (&str, &str),
        found: &FoundVersion,
        (holding, told): (&mut Holding, u64),
        pushes_out: PushesOut,
    ) -> Result<(), String> {
        self.told.tell((name, version), &found.stamp, told);
        let more = told.saturating_sub(holding.bytes());
        let room = self.make_room(name, more, pushes_out).map_err(|error| {
            format!(
                "its runtime says that it takes {told} bytes, {more} more than was thought: {error}"
            )
        })?;
        holding.resize(told, room);
        Ok(())
    }

    /// When there may be room for what found none, as far as models that were loaded only now stand in its
    /// way.
    pub(super) fn room_at(&self) -> Option<Instant> {
        let ModelControl::OnDemand { limits, .. } = &self.control else { return None };
        let stay = limits.min_stay.into();
        let table = self.table();
        let idle = candidates(&table, "").into_iter().filter(|candidate| candidate.may_go);
        idle.map(|candidate| candidate.loaded_at + stay).min()
    }
}

/// A loaded model, as far as it matters for who makes room.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Candidate {
    name: String,
    bytes: u64,
    /// When the last request came, and which load was its last: of two that were used at once, the one that
    /// was loaded first goes first.
    last_used: (Instant, u64),
    loaded_at: Instant,
    /// It has no request in hand, and is not pinned.
    may_go: bool,
}

fn candidates(table: &Table, but: &str) -> Vec<Candidate> {
    let candidate = |(name, model): (&String, &Arc<Model>)| {
        let last_used = model.ready().map(|model| (model.last_used(), model.serial())).max()?;
        let is_idle = |model: &Arc<LoadedModel>| !model.config.pinned && model.count_pending() == 0;
        Some(Candidate {
            name: name.clone(),
            bytes: model.ready().map(|model| model.bytes()).sum(),
            last_used,
            loaded_at: model.ready().map(|model| model.loaded_at()).max()?,
            may_go: model.ready().all(is_idle),
        })
    };
    table.models().filter(|(name, _)| *name != but).filter_map(candidate).collect()
}

/// Who is unloaded at `now` so that `missing` bytes become free: the longest unused first, of those that may
/// go and have been there for `stay`. `None` where all of them would not do.
fn victims(
    mut candidates: Vec<Candidate>,
    mut missing: u64,
    now: Instant,
    stay: Duration,
) -> Option<Vec<String>> {
    candidates.retain(|candidate| candidate.may_go && candidate.loaded_at + stay.into() <= now);
    candidates
        .sort_by(|one, other| (one.last_used, &one.name).cmp(&(other.last_used, &other.name)));
    let mut victims = Vec::new();
    for candidate in candidates {
        if missing == 0 {
            break;
        }
        missing = missing.saturating_sub(candidate.bytes);
        victims.push(candidate.name);
    }
    (missing == 0).then_some(victims)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod routing {
    use super::*;
    use proptest::prelude::*;

    fn candidate(place: usize) -> impl Strategy<Value = Candidate> {
        (1..50u64, 0..100u64, 0..100u64, prop::bool::weighted(0.8)).prop_map(
            move |(bytes, last_used, loaded_at, may_go)| Candidate {
                name: format!("m{place}"),
                bytes,
                last_used: (Instant::from_nanos(last_used), place as u64),
                loaded_at: Instant::from_nanos(loaded_at),
                may_go,
            },
        )
    }

    proptest! {
        #[test]
        fn only_who_may_go_goes_the_longest_unused_first_and_no_more_than_needed(
            candidates in (0..8usize).prop_flat_map(|count| {
                (0..count).map(candidate).collect::<Vec<_>>()
            }),
            missing in 0..120u64,
            now in 0..150u64,
            stay in 0..100u64,
        ) {
            let (now, length) = (Instant::from_nanos(now), Duration::from_nanos(stay));
            let bytes = |names: &[&Candidate]| names.iter().map(|one| one.bytes).sum::<u64>();
            let has_stayed = |one: &&Candidate| one.loaded_at.as_nanos() + stay <= now.as_nanos();
            let may_go: Vec<&Candidate> =
                candidates.iter().filter(|one| one.may_go).filter(has_stayed).collect();
            match victims(candidates.clone(), missing, now, length) {
                None => prop_assert!(bytes(&may_go) < missing),
                Some(names) => {
                    let goes = |one: &&Candidate| names.contains(&one.name);
                    let (gone, left): (Vec<&Candidate>, Vec<_>) = may_go.into_iter().partition(goes);
                    prop_assert_eq!(gone.len(), names.len());
                    prop_assert!(bytes(&gone) >= missing);
                    for one in &gone {
                        prop_assert!(left.iter().all(|other| one.last_used < other.last_used));
                    }
                    let last = gone.iter().max_by_key(|one| one.last_used);
                    prop_assert!(last.is_none_or(|last| bytes(&gone) - last.bytes < missing));
                }
            }
        }

        /// Two models of which one fits, asked for in any order at any times: each load but the first pushes
        /// the other one out, and there is never more than one in `stay`.
        #[test]
        fn models_that_do_not_fit_together_take_turns_no_faster_than_they_stay(
            stay in 1..1000u64,
            requests in prop::collection::vec((0..2usize, 0..300u64), 1..200),
        ) {
            let mut now = Instant::ZERO;
            let mut loaded: Option<Candidate> = None;
            let mut loads = 0;
            for (place, gap) in requests {
                now = now + tensorforge_core::Duration::from_nanos(gap);
                let name = format!("m{place}");
                if let Some(there) = loaded.as_mut().filter(|there| there.name == name) {
                    there.last_used.0 = now;
                    continue;
                }
                let others: Vec<Candidate> = loaded.iter().cloned().collect();
                let missing = others.iter().map(|other| other.bytes).sum();
                if victims(others, missing, now, Duration::from_nanos(stay)).is_none() {
                    continue;
                }
                loads += 1;
                let (last_used, loaded_at) = ((now, loads), now);
                loaded = Some(Candidate { name, bytes: 10, last_used, loaded_at, may_go: true });
                prop_assert!(loads <= 1 + now.as_nanos() / stay, "{loads} loads until {now:?}");
            }
        }
    }
}
