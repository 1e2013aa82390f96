//! The table that every request is routed by: read without a lock, swapped whole.

mod snapshot;

#[cfg(test)]
mod tests;

pub use snapshot::{CurrentTable, Snapshot};

use super::gate::EndpointGate;
use super::route::Route;
use super::routes::{CheckedRoutes, EndpointEntry, EndpointState, InvalidRoutes, Routes};
use arc_swap::ArcSwap;
use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// How many versions [`RouteTable::new`] keeps, the current one among them.
pub const KEPT_VERSIONS: usize = 16;

/// Which state of a table: every change makes the next one. The empty table is version 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct TableVersion(pub u64);

impl fmt::Display for TableVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why routes were not published. The table is as it was.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// They make no sense.
    #[error(transparent)]
    Invalid(#[from] InvalidRoutes),
    /// Somebody else changed the table first.
    #[error("the table is at version {current}, not {expected}; look at it and try again")]
    Conflict {
        /// The version that was to be replaced.
        expected: TableVersion,
        /// The one there is.
        current: TableVersion,
    },
}

/// Why a table was not rolled back. It is as it was.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RollbackError {
    /// That version is too old, was never there, or was replaced by single changes.
    #[error("version {version} is not kept; those that are: {}", join(kept))]
    NotKept {
        /// The version asked for.
        version: TableVersion,
        /// The versions that there are, the oldest first.
        kept: Vec<TableVersion>,
    },
    /// Somebody else changed the table first.
    #[error("the table is at version {current}, not {expected}; look at it and try again")]
    Conflict {
        /// The version that was to be replaced.
        expected: TableVersion,
        /// The one there is.
        current: TableVersion,
    },
}

fn join(versions: &[TableVersion]) -> String {
    versions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Why an endpoint did not join, drain or leave. The table is as it was.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// There is none of that name.
    #[error("no endpoint '{name}' in the table")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The table would make no sense with it, or without it.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

/// Where requests may go, shared by all threads.
///
/// Two things in one: plain [`Route`]s by channel, each added and removed on its own, and
/// [`Routes`] with endpoints and models, published as a whole. Every change makes a new version and swaps
/// the whole table, so a reader sees all of a change or nothing of it, and may keep what it sees as long as
/// it likes.
///
/// # Versions
/// [`publish`](Self::publish) checks what it is given and refuses what makes no sense.
/// [`publish_if`](Self::publish_if) does so only if nobody was faster. [`rollback`](Self::rollback) makes a
/// kept version the current one again, under a new number, so numbers only grow. A run of single changes
/// ([`add`](Self::add), [`remove`](Self::remove)) keeps one place among the kept versions, its last state.
///
/// # Endpoints come and go
/// An endpoint keeps its [`EndpointGate`] from version to version as long as its name and address stay the
/// same. When `publish` returns, the gates of endpoints that are draining or gone are closed, also for
/// readers of older versions; [`is_drained`](Self::is_drained) says when their last request has left.
///
/// **Progress:** reading never waits, whatever writers do; writers take turns. **Time:** reading is O(1),
/// [`get`](Self::get) O(log n); a single change is O(n), `publish` as [`Routes::check`]. **Memory:** that of
/// each kept version, what several have in common of channels but once.
///
/// ```
/// use tensorforge::routing::{EndpointEntry, Route, RouteTable, Routes};
///
/// let table = RouteTable::new();
/// table.add(Route { channel: "direct".to_string(), latency: 12 });
/// assert_eq!(table.get("direct").unwrap().latency, 12);
///
/// let endpoints = vec![EndpointEntry::new("gpu-1", "http://gpu-1:8000")];
/// let first = table.publish(Routes { endpoints, ..table.current().written() }).unwrap();
/// assert_eq!(table.count(), 1, "the channel is still there");
///
/// let request = table.current().enter("gpu-1").unwrap();
/// table.drain("gpu-1").unwrap();
/// assert!(table.current().enter("gpu-1").is_none() && !table.is_drained("gpu-1"));
/// drop(request);
/// assert!(table.is_drained("gpu-1"));
///
/// let third = table.rollback(first).unwrap();
/// assert!(third > first && table.current().enter("gpu-1").is_some());
/// ```
#[derive(Debug)]
pub struct RouteTable {
    current: ArcSwap<Snapshot>,
    history: Mutex<History>,
}

/// What only writers look at.
#[derive(Debug)]
struct History {
    /// The oldest first, the current one last.
    kept: VecDeque<Arc<Snapshot>>,
    most: usize,
    /// Gates by name and address, for as long as anybody knows them, so that there is one for each.
    gates: HashMap<(String, Option<String>), Weak<EndpointGate>>,
    /// Endpoints that are in the current version no more and have requests.
    leaving: Vec<(String, Arc<EndpointGate>)>,
}

impl Default for RouteTable {
    fn default() -> Self {
        Self::new()
    }
}

impl RouteTable {
    /// An empty table that keeps [`KEPT_VERSIONS`] versions.
    #[must_use]
    pub fn new() -> Self {
        Self::keeping(KEPT_VERSIONS)
    }

    /// An empty table that keeps so many versions, the current one among them and always kept.
    #[must_use]
    pub fn keeping(versions: usize) -> Self {
        let empty = Arc::new(Snapshot::default());
        Self {
            history: Mutex::new(History {
                kept: VecDeque::from([Arc::clone(&empty)]),
                most: versions.max(1),
                gates: HashMap::new(),
                leaving: Vec::new(),
            }),
            current: ArcSwap::new(empty),
        }
    }

    /// The table as it is now, which stays as it is however long the reader looks at it. O(1), without a lock.
    #[must_use]
    pub fn current(&self) -> CurrentTable {
        CurrentTable(self.current.load())
    }

    /// Which version is the current one.
    #[must_use]
    pub fn version(&self) -> TableVersion {
        self.current().version()
    }

    /// The versions that can be rolled back to, the oldest first, the current one last.
    #[must_use]
    pub fn versions(&self) -> Vec<TableVersion> {
        self.history().versions()
    }

    /// Puts a route in, in place of the one of the same channel. Takes any route, as it always did; what
    /// [`publish`](Self::publish) is given is checked.
    pub fn add(&self, route: Route) {
        let mut history = self.history();
        let head = history.head();
        let mut channels = head.channels.to_vec();
        match head.position(&route.channel) {
            Ok(at) => channels[at] = Arc::new(route),
            Err(at) => channels.insert(at, Arc::new(route)),
        }
        let next = head.with_channels(channels);
        self.swap(&mut history, next);
    }

    /// The route of a channel.
    #[must_use]
    pub fn get(&self, channel: &str) -> Option<Route> {
        self.current().route(channel).cloned()
    }

    /// Takes a channel's route out, and gives it back.
    pub fn remove(&self, channel: &str) -> Option<Route> {
        let mut history = self.history();
        let head = history.head();
        let mut channels = head.channels.to_vec();
        let removed = channels.remove(head.position(channel).ok()?);
        let next = head.with_channels(channels);
        self.swap(&mut history, next);
        Some(Route::clone(&removed))
    }

    /// Every route, by its channel's name.
    #[must_use]
    pub fn all(&self) -> Vec<Route> {
        self.current().channels.iter().map(|route| Route::clone(route)).collect()
    }

    /// How many routes there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.current().channels.len()
    }

    /// Replaces the whole table, channels included, and says which version it is now.
    ///
    /// # Errors
    /// [`PublishError::Invalid`] names the entry that makes no sense.
    pub fn publish(&self, routes: Routes) -> Result<TableVersion, PublishError> {
        let checked = routes.into_checked()?;
        let mut history = self.history();
        Ok(self.swap_routes(&mut history, checked))
    }

    /// Replaces the whole table if it is at the version `expected`.
    ///
    /// # Errors
    /// [`PublishError::Conflict`] if it is not, [`PublishError::Invalid`] names the entry that makes no sense.
    ///
    /// ```
    /// use tensorforge::routing::{PublishError, RouteTable, Routes};
    ///
    /// let table = RouteTable::new();
    /// let seen = table.version();
    /// let mine = table.publish_if(seen, Routes::default()).unwrap();
    /// let late = table.publish_if(seen, Routes::default());
    /// assert_eq!(late, Err(PublishError::Conflict { expected: seen, current: mine }));
    /// ```
    pub fn publish_if(
        &self,
        expected: TableVersion,
        routes: Routes,
    ) -> Result<TableVersion, PublishError> {
        let checked = routes.into_checked()?;
        let mut history = self.history();
        let current = history.head().version();
        if current != expected {
            return Err(PublishError::Conflict { expected, current });
        }
        Ok(self.swap_routes(&mut history, checked))
    }

    /// Changes the table as it stands: `change` is given what is written in it, and asked again whenever
    /// somebody else was faster.
    ///
    /// # Errors
    /// What `change` says, or [`PublishError::Invalid`] if what it made of the table makes no sense.
    ///
    /// ```
    /// use tensorforge::routing::{EndpointEntry, PublishError, RouteTable};
    ///
    /// let table = RouteTable::new();
    /// let version = table.update(|routes| -> Result<(), PublishError> {
    ///     routes.endpoints.push(EndpointEntry::new("gpu-1", "http://gpu-1:8000"));
    ///     Ok(())
    /// });
    /// assert_eq!(version.unwrap(), table.version());
    /// ```
    pub fn update<E: From<PublishError>>(
        &self,
        mut change: impl FnMut(&mut Routes) -> Result<(), E>,
    ) -> Result<TableVersion, E> {
        loop {
            let (seen, mut routes) = {
                let current = self.current();
                (current.version(), current.written())
            };
            change(&mut routes)?;
            match self.publish_if(seen, routes) {
                Err(PublishError::Conflict { .. }) => {}
                done => return done.map_err(E::from),
            }
        }
    }

    /// Makes a version that is kept the current one again, and says under which number.
    ///
    /// # Errors
    /// [`RollbackError::NotKept`] lists those that are.
    ///
    /// ```
    /// use tensorforge::routing::{Route, RouteTable, Routes};
    ///
    /// let table = RouteTable::new();
    /// let slow = Route { channel: "a".to_string(), latency: 90 };
    /// let good = table.publish(Routes::default()).unwrap();
    /// table.publish(Routes { channels: vec![slow], ..Routes::default() }).unwrap();
    /// table.rollback(good).unwrap();
    /// assert_eq!((table.count(), table.current().restored()), (0, Some(good)));
    /// ```
    pub fn rollback(&self, version: TableVersion) -> Result<TableVersion, RollbackError> {
        let mut history = self.history();
        self.roll_back(&mut history, version)
    }

    /// Makes a version that is kept the current one again, if the table is at the version `expected`.
    ///
    /// # Errors
    /// [`RollbackError::Conflict`] if it is not, [`RollbackError::NotKept`] lists the kept ones.
    pub fn rollback_if(
        &self,
        expected: TableVersion,
        version: TableVersion,
    ) -> Result<TableVersion, RollbackError> {
        let mut history = self.history();
        let current = history.head().version();
        if current != expected {
            return Err(RollbackError::Conflict { expected, current });
        }
        self.roll_back(&mut history, version)
    }

    /// Puts an endpoint in, in place of the one of the same name.
    ///
    /// # Errors
    /// [`EndpointError::Publish`] names what makes no sense.
    pub fn join(&self, endpoint: EndpointEntry) -> Result<TableVersion, EndpointError> {
        self.update(|routes| {
            routes.join(endpoint.clone());
            Ok(())
        })
    }

    /// Lets an endpoint finish what it has: it takes no new requests from now on, and stays in the table.
    ///
    /// # Errors
    /// [`EndpointError::Unknown`] if there is none of that name.
    pub fn drain(&self, name: &str) -> Result<TableVersion, EndpointError> {
        self.update(|routes| {
            let unknown = || EndpointError::Unknown { name: name.to_owned() };
            routes.drain(name).then_some(()).ok_or_else(unknown)
        })
    }

    /// Takes an endpoint out. Requests that it has are [waited for](Self::is_drained), not lost.
    ///
    /// # Errors
    /// [`EndpointError::Unknown`] if there is none of that name, [`EndpointError::Publish`] if a model or a
    /// rule names it.
    pub fn leave(&self, name: &str) -> Result<TableVersion, EndpointError> {
        self.update(|routes| {
            let unknown = || EndpointError::Unknown { name: name.to_owned() };
            routes.leave(name).then_some(()).ok_or_else(unknown)
        })
    }

    /// Whether nothing goes to an endpoint of this name and nothing is there any more: it drains or has left,
    /// and its last request has ended. True of a name that was never there.
    #[must_use]
    pub fn is_drained(&self, name: &str) -> bool {
        let history = self.history();
        let here = history.head().gate(name).is_none_or(|gate| gate.is_drained());
        here && history.leaving.iter().all(|(left, gate)| left != name || gate.is_drained())
    }

    /// Endpoints that have left the table and still have requests, by name, with how many.
    #[must_use]
    pub fn leaving(&self) -> Vec<(String, u64)> {
        let mut history = self.history();
        history.forget_who_has_left();
        history.leaving.iter().map(|(name, gate)| (name.clone(), gate.outstanding())).collect()
    }

    fn history(&self) -> MutexGuard<'_, History> {
        // A table is built before it is swapped in, so a panic leaves the old one whole.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn swap_routes(&self, history: &mut History, checked: CheckedRoutes) -> TableVersion {
        let gates = checked.endpoints().iter().map(|endpoint| {
            let key = (endpoint.name.clone(), endpoint.url.clone());
            history.gates.get(&key).and_then(Weak::upgrade).unwrap_or_else(|| {
                let gate = EndpointGate::open();
                history.gates.insert(key, Arc::downgrade(&gate));
                gate
            })
        });
        let gates = gates.collect();
        let next = Snapshot::of(history.head().version(), checked, gates);
        self.swap(history, next)
    }

    fn roll_back(
        &self,
        history: &mut History,
        version: TableVersion,
    ) -> Result<TableVersion, RollbackError> {
        let Some(old) = history.kept.iter().find(|kept| kept.version() == version) else {
            return Err(RollbackError::NotKept { version, kept: history.versions() });
        };
        let next = old.again_after(history.head().version());
        Ok(self.swap(history, next))
    }

    /// Makes `next` the current version.
    fn swap(&self, history: &mut History, next: Snapshot) -> TableVersion {
        let (next, last) = (Arc::new(next), Arc::clone(history.head()));
        let version = next.version();
        self.current.store(Arc::clone(&next));
        if !next.has_routes_of(&last) {
            history.move_endpoints(&last, &next);
        }
        if last.is_single_change && next.is_single_change {
            history.kept.pop_back();
        }
        history.kept.push_back(next);
        while history.kept.len() > history.most {
            history.kept.pop_front();
        }
        version
    }
}

impl History {
    /// The current version. Only the owner of the lock changes it.
    fn head(&self) -> &Arc<Snapshot> {
        self.kept.back().expect("the current version is always kept")
    }

    fn versions(&self) -> Vec<TableVersion> {
        self.kept.iter().map(|kept| kept.version()).collect()
    }

    /// Opens and closes gates as the current version has it.
    fn move_endpoints(&mut self, last: &Snapshot, current: &Snapshot) {
        for (endpoint, gate) in current.endpoints_and_gates() {
            match endpoint.state {
                EndpointState::Active => gate.reopen(),
                EndpointState::Draining => gate.close(),
            }
        }
        let here: HashSet<_> = current.gates().iter().map(Arc::as_ptr).collect();
        // One that is back again has not left.
        self.leaving.retain(|(_, gate)| !here.contains(&Arc::as_ptr(gate)));
        for (endpoint, gate) in last.endpoints_and_gates() {
            if !here.contains(&Arc::as_ptr(gate)) {
                gate.close();
                self.leaving.push((endpoint.name.clone(), Arc::clone(gate)));
            }
        }
        self.forget_who_has_left();
    }

    fn forget_who_has_left(&mut self) {
        self.leaving.retain(|(_, gate)| !gate.is_drained());
        self.gates.retain(|_, gate| gate.strong_count() > 0);
    }
}
