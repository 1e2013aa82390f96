//! Models that are loaded when a request asks for them.
//!
//! Requests for one model wait for one *flight*. A thread works the flights off, one after another, and ends
//! when none is left; requests only wait, so whoever gives up leaves everything as it is.

use super::change::{Manner, caught};
use super::error::{ChangeError, DemandError, LookupError};
use super::folder::{Found, is_name, model_folder};
use super::loaded::LoadedModel;
use super::room::PushesOut;
use super::table::Model;
use super::{ModelControl, Registry};
use crate::concurrency::lock;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tensorforge_core::Instant;
use tokio::sync::watch;

/// Requests that may wait for one model to be loaded.
const MOST_WAITING: usize = 1024;

/// The longest time for which a model that failed is not tried again, unless its first is longer.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(60);

/// What holds requests that load models, and the models that they load, to reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DemandLimits {
    /// How long a model that was loaded stays before another that a request asks for may push it out: two
    /// that do not fit together take turns no faster than this.
    pub min_stay: Duration,
    /// How long a request waits for a load, at most: less where its own timeout is shorter.
    pub longest_wait: Duration,
    /// For how long a model that did not load is not tried again. Each further failure in a row doubles it,
    /// up to a minute; one for lack of memory does not.
    pub back_off: Duration,
    /// How often the folder may be looked through for names and versions that nobody knows.
    pub look_every: Duration,
}

impl Default for DemandLimits {
    /// 10 s, 60 s, 1 s, 1 s.
    fn default() -> Self {
        Self {
            min_stay: Duration::from_secs(10),
            longest_wait: Duration::from_secs(60),
            back_off: Duration::from_secs(1),
            look_every: Duration::from_secs(1),
        }
    }
}

/// The loads that requests wait for.
#[derive(Default)]
pub(super) struct Demands(pub(super) Mutex<State>);

#[derive(Default)]
pub(super) struct State {
    /// By model, whoever waits for it.
    flights: BTreeMap<String, watch::Sender<Option<Landed>>>,
    /// Those whose load has not begun.
    queue: VecDeque<String>,
    /// There is a thread that works the queue off.
    is_worked_off: bool,
    /// Of models that are in the table, so there are not more than these.
    failures: BTreeMap<String, Failure>,
    look: Option<Look>,
    looked_at: Option<Instant>,
    is_closed: bool,
}

/// A look through the folder that is under way.
struct Look {
    is_through: watch::Sender<bool>,
    /// Known models for whose versions it was asked, of which there are not more than the table has.
    asked_for: BTreeSet<String>,
    /// Those of them that were not looked at yet.
    left: Vec<String>,
}

impl State {
    /// How many wait until the folder is looked through.
    #[cfg(test)]
    pub(super) fn wait_for_look(&self) -> usize {
        self.look.as_ref().map_or(0, |look| look.is_through.receiver_count())
    }

    /// The models that are not tried again for a while.
    #[cfg(test)]
    pub(super) fn failures_known(&self) -> Vec<&String> {
        self.failures.keys().collect()
    }
}

/// What a flight came to.
#[derive(Clone)]
struct Landed {
    /// The model as it was right after. Not only its name: it may be pushed out before all have found it.
    model: Option<Arc<Model>>,
    failed: Option<DemandError>,
}

/// A model that did not load.
struct Failure {
    error: Arc<ChangeError>,
    until: Instant,
    /// When it may succeed, as far as can be told: not before `until`.
    again_at: Instant,
    /// Failures in a row, but for those for lack of memory.
    in_a_row: u32,
}

impl Failure {
    /// What a request is told that comes while the model is not tried again.
    fn told(&self, now: Instant) -> DemandError {
        let retry_after = self.again_at.since(now).into();
        DemandError::Failed { error: Arc::clone(&self.error), retry_after }
    }
}

/// What a request finds that asks for a model.
enum Boarded {
    /// It was loaded a moment ago.
    There(Arc<LoadedModel>),
    Waits(watch::Receiver<Option<Landed>>),
}

impl Demands {
    /// Models whose load is waited for.
    pub(super) fn waiting(&self) -> Vec<String> {
        lock(&self.0).flights.keys().cloned().collect()
    }

    /// Whatever was known of a model's failures is of no more account.
    pub(super) fn forget(&self, name: &str) {
        lock(&self.0).failures.remove(name);
    }
}

impl Registry {
    /// The model that a request asks for, as [`find`](Self::find) gives it. Where nothing of it is loaded, and
    /// the registry [loads on demand](ModelControl::OnDemand), it is loaded first; the request waits for that
    /// for `timeout`, and at most [`DemandLimits::longest_wait`]. Dropping the future ends the waiting and not
    /// the load. Waiting needs tokio's timer.
    ///
    /// # Errors
    /// [`DemandError`].
    pub async fn demand(
        self: &Arc<Self>,
        name: &str,
        version: Option<&str>,
        timeout: Option<Duration>,
    ) -> Result<Arc<LoadedModel>, DemandError> {
        let error = match self.find(name, version) {
            Ok(model) => return Ok(model),
            Err(error) => error,
        };
        let ModelControl::OnDemand { limits, .. } = &self.control else { return Err(error.into()) };
        let longest = limits.longest_wait;
        let loaded = self.loaded(name, version, error, limits);
        match tokio::time::timeout(timeout.unwrap_or(longest).min(longest), loaded).await {
            Ok(result) => result,
            Err(_) if timeout.is_some_and(|timeout| timeout <= longest) => Err(DemandError::Late),
            Err(_) => Err(DemandError::StillLoading { after: longest }),
        }
    }

    /// Ends all waiting for loads, and begins no more: for a server that drains. The load that is under way
    /// goes on.
    pub fn close_demand(&self) {
        let mut state = lock(&self.demands.0);
        state.is_closed = true;
        state.queue.clear();
        let landed = Landed { model: None, failed: Some(DemandError::Draining) };
        for (_, flight) in std::mem::take(&mut state.flights) {
            flight.send_replace(Some(landed.clone()));
        }
    }

    /// Waits until the model is loaded that was not found.
    async fn loaded(
        self: &Arc<Self>,
        name: &str,
        version: Option<&str>,
        mut error: LookupError,
        limits: &DemandLimits,
    ) -> Result<Arc<LoadedModel>, DemandError> {
        let is_unknown = !matches!(error, LookupError::NotReady { .. });
        if is_unknown
            && is_name(name)
            && let Some(mut look) = self.look_for(name, limits)
        {
            // The sender is dropped where the look ended otherwise.
            let _ = look.wait_for(|&is_through| is_through).await;
            match self.find(name, version) {
                Ok(model) => return Ok(model),
                Err(now) => error = now,
            }
        }
        let is_there = |model: &Arc<Model>| model.ready().next().is_none() && model.knows(version);
        if !self.table().get(name).is_some_and(is_there) {
            // There is nothing to load: another version is there, or it has come since it was not found.
            return Ok(self.find(name, version)?);
        }
        let mut flight = match self.board(name, version)? {
            Boarded::There(model) => return Ok(model),
            Boarded::Waits(flight) => flight,
        };
        let landed = match flight.wait_for(Option::is_some).await {
            Ok(landed) => landed.clone(),
            Err(_) => None,
        };
        let Landed { model, failed } = landed.ok_or(DemandError::Draining)?;
        let found = model.map_or(Err(error), |model| model.find(name, version).cloned());
        found.map_err(|error| failed.unwrap_or(DemandError::Lookup(error)))
    }

    /// Joins the flight of a model that is in the table, or begins one.
    fn board(self: &Arc<Self>, name: &str, version: Option<&str>) -> Result<Boarded, DemandError> {
        let now = self.places.clock.now();
        let mut state = lock(&self.demands.0);
        // A model is in the table before its flight is over: who sees neither begins a new one.
        if let Ok(model) = self.find(name, version) {
            return Ok(Boarded::There(model));
        }
        if state.is_closed {
            return Err(DemandError::Draining);
        }
        if let Some(flight) = state.flights.get(name) {
            if flight.receiver_count() >= MOST_WAITING {
                return Err(DemandError::TooManyWaiting { most: MOST_WAITING });
            }
            return Ok(Boarded::Waits(flight.subscribe()));
        }
        if let Some(failure) = state.failures.get(name).filter(|failure| failure.until > now) {
            return Err(failure.told(now));
        }
        if !state.is_worked_off {
            let registry = Arc::clone(self);
            let thread = std::thread::Builder::new().name("load".into());
            let spawned = thread.spawn(move || registry.work_off());
            spawned.map_err(|error| {
                let message = format!("there is no thread to load it on: {error}");
                let error = Arc::new(ChangeError::Panicked { name: name.to_owned(), message });
                DemandError::Failed { error, retry_after: LONGEST_BACK_OFF }
            })?;
            state.is_worked_off = true;
        }
        let (flight, waits) = watch::channel(None);
        state.flights.insert(name.to_owned(), flight);
        state.queue.push_back(name.to_owned());
        Ok(Boarded::Waits(waits))
    }

    /// Loads what requests wait for, until there is nothing left.
    fn work_off(&self) {
        loop {
            let next = {
                let mut state = lock(&self.demands.0);
                let next = state.queue.pop_front();
                state.is_worked_off = next.is_some();
                next
            };
            let Some(name) = next else { return };
            let result = caught(|| self.load_on_demand(&name)).unwrap_or_else(|message| {
                Err(ChangeError::Panicked { name: name.clone(), message })
            });
            self.land(&name, result);
        }
    }

    fn load_on_demand(&self, name: &str) -> Result<(), ChangeError> {
        let ModelControl::OnDemand { limits, .. } = &self.control else { return Ok(()) };
        let manner = Manner {
            cause: "a request for it",
            pushes_out: PushesOut::IdleFor(limits.min_stay),
            keeps_unchanged: false,
            tries_what_hangs: false,
        };
        let _changing = lock(&self.changing);
        if self.table().get(name).is_some_and(|model| model.ready().next().is_some()) {
            // By name, while this waited.
            return Ok(());
        }
        let loaded = model_folder(&self.root, name).and_then(|folder| {
            let found = Found::read(&folder, None, &*self.adjust)?;
            self.bring_in(name, found, &manner)
        });
        if let Err(ChangeError::Lookup(_) | ChangeError::NoVersion { .. }) = &loaded {
            // It has gone. Should it come back, it is looked for again.
            self.told.forget(name);
            self.set(name, None);
        }
        loaded
    }

    /// Tells whoever waits for a model what came of it.
    fn land(&self, name: &str, result: Result<(), ChangeError>) {
        let now = self.places.clock.now();
        let model = self.table().get(name).cloned();
        let mut state = lock(&self.demands.0);
        let failed = match result {
            Ok(()) => {
                state.failures.remove(name);
                None
            }
            Err(ChangeError::Lookup(error)) => {
                state.failures.remove(name);
                Some(DemandError::Lookup(error))
            }
            Err(error) => {
                tracing::warn!(model = name, %error, "not loaded on demand");
                let failure = self.failure(state.failures.remove(name), error, now);
                let failed = failure.told(now);
                if model.is_some() {
                    state.failures.insert(name.to_owned(), failure);
                }
                Some(failed)
            }
        };
        if let Some(flight) = state.flights.remove(name) {
            flight.send_replace(Some(Landed { model, failed }));
        }
    }

    /// What is kept of a failure after those `before`.
    fn failure(&self, before: Option<Failure>, error: ChangeError, now: Instant) -> Failure {
        let first = match &self.control {
            ModelControl::OnDemand { limits, .. } => limits.back_off,
            _ => Duration::ZERO,
        };
        let (in_a_row, room_at) = match error {
            ChangeError::NoMemory { .. } => (0, self.room_at()),
            _ => (before.map_or(1, |failure| failure.in_a_row.saturating_add(1)), None),
        };
        let until = now + back_off(first, in_a_row).into();
        let again_at = room_at.map_or(until, |at| at.max(until));
        Failure { error: Arc::new(error), until, again_at, in_a_row }
    }

    /// Has the folder looked through for a name or a version that nobody knows, together with whoever else
    /// wants that; `None` if it was a moment ago.
    fn look_for(
        self: &Arc<Self>,
        name: &str,
        limits: &DemandLimits,
    ) -> Option<watch::Receiver<bool>> {
        let now = self.places.clock.now();
        let known = self.table().get(name).is_some().then(|| name.to_owned());
        let mut state = lock(&self.demands.0);
        if let Some(look) = &mut state.look {
            if let Some(name) = known.filter(|name| look.asked_for.insert(name.clone())) {
                look.left.push(name);
            }
            return Some(look.is_through.subscribe());
        }
        let is_early = |at: Instant| now < at + limits.look_every.into();
        if state.is_closed || state.looked_at.is_some_and(is_early) {
            return None;
        }
        state.looked_at = Some(now);
        let registry = Arc::clone(self);
        let look = move || {
            let mut looked = caught(|| registry.look());
            while let Some(known) = registry.next_look() {
                looked = caught(|| registry.look_again_at(&known));
            }
            if let Ok(Err(error)) = looked {
                tracing::warn!(%error, "the repository was not looked through");
            }
        };
        std::thread::Builder::new().name("look".into()).spawn(look).ok()?;
        let (sender, is_through) = watch::channel(false);
        let asked_for = known.iter().cloned().collect();
        let left = known.into_iter().collect();
        state.look = Some(Look { is_through: sender, asked_for, left });
        Some(is_through)
    }

    /// The known models that are to be looked at next; with none left, the look is through.
    fn next_look(&self) -> Option<Vec<String>> {
        let mut state = lock(&self.demands.0);
        let next = std::mem::take(&mut state.look.as_mut()?.left);
        if next.is_empty()
            && let Some(look) = state.look.take()
        {
            look.is_through.send_replace(true);
            return None;
        }
        Some(next)
    }
}

/// For how long a model is not tried again after so many failures in a row.
pub(super) fn back_off(first: Duration, in_a_row: u32) -> Duration {
    let doubled = first.saturating_mul(1 << in_a_row.saturating_sub(1).min(16));
    doubled.min(LONGEST_BACK_OFF.max(first))
}
