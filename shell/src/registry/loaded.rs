//! A version that is loaded, for as long as anyone holds it.

use super::places::Holding;
use crate::concurrency::lock;
use crate::config::{ModelConfig, Version};
use crate::device::Executor;
use crate::telemetry::ModelRecorder;
use crate::workflow::Cursor;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, OnceLock};
use tensorforge_core::machine::{AuditSink, Deployment, DeploymentState};
use tensorforge_core::{Instant, ModelId};

/// One version of a model, loaded and ready to run.
///
/// Whoever has a request of it in hand holds it. When it is unloaded and the last one lets go, its executor
/// is dropped on a thread of the registry's own.
pub struct LoadedModel {
    /// The model's name.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// Its number in the scheduler.
    pub id: ModelId,
    /// How it is served.
    pub config: ModelConfig,
    /// The figures of its users' requests.
    pub recorder: ModelRecorder,
    copies: OnceLock<Box<ModelRecorder>>,
    /// What runs it. Stands before `place`, which has it too: fields go in their order, so this is never the
    /// last.
    pub executor: Arc<dyn Executor>,
    /// When a request last came for it, in nanoseconds.
    last_used: AtomicU64,
    loaded_at: Instant,
    place: Option<Place>,
}

impl LoadedModel {
    /// A model that no registry keeps: `id` is the caller's to choose, and it is freed where it is dropped.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        version: Version,
        id: ModelId,
        executor: Arc<dyn Executor>,
        config: ModelConfig,
    ) -> Self {
        Self {
            name: name.into(),
            version,
            id,
            config,
            recorder: ModelRecorder::default(),
            copies: OnceLock::new(),
            executor,
            last_used: AtomicU64::new(0),
            loaded_at: Instant::ZERO,
            place: None,
        }
    }

    /// A model of a registry, loaded at `now`; it is freed by whoever hears of it from `freer`.
    pub(super) fn kept(
        (name, version): (String, Version),
        executor: Arc<dyn Executor>,
        config: ModelConfig,
        (life, holding): (Life, Holding),
        freer: Sender<Left>,
        now: Instant,
    ) -> Self {
        let entity = format!("{name}/{version}");
        let (own, id) = (Arc::clone(&executor), holding.id());
        let left = Left { executor, life: Mutex::new(life), entity, holding };
        Self {
            recorder: ModelRecorder::since(now),
            last_used: AtomicU64::new(now.as_nanos()),
            loaded_at: now,
            place: Some(Place { freer, left: Some(Box::new(left)) }),
            ..Self::new(name, version, id, own, config)
        }
    }

    fn left(&self) -> Option<&Left> {
        self.place.as_ref()?.left.as_deref()
    }

    /// Where a request counts, or a shadow copy.
    pub fn recorder_of(&self, is_shadow: bool) -> &ModelRecorder {
        if !is_shadow {
            return &self.recorder;
        }
        // The first copy has just come.
        self.copies.get_or_init(|| Box::new(ModelRecorder::since(self.last_used())))
    }

    /// The figures of shadow copies, where one has come.
    #[must_use]
    pub fn copies(&self) -> Option<&ModelRecorder> {
        self.copies.get().map(|copies| &**copies)
    }

    /// Requests and copies in hand.
    #[must_use]
    pub fn count_pending(&self) -> u64 {
        let copies = self.copies().map_or(0, ModelRecorder::count_pending);
        self.recorder.count_pending() + copies
    }

    /// A request came for it.
    pub fn used(&self, now: Instant) {
        self.last_used.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// When a request last came for it, or when it was loaded.
    #[must_use]
    pub fn last_used(&self) -> Instant {
        Instant::from_nanos(self.last_used.load(Ordering::Relaxed))
    }

    /// When it was loaded; the beginning of time for one that no registry keeps.
    #[must_use]
    pub const fn loaded_at(&self) -> Instant {
        self.loaded_at
    }

    /// Bytes of memory that it counts for: what its executor says, or else those of its files. 0 for one that
    /// no registry keeps.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.left().map_or(0, |left| left.holding.bytes())
    }

    /// How many models the registry had loaded before this one.
    #[must_use]
    pub fn serial(&self) -> u64 {
        self.left().map_or(0, |left| left.holding.serial())
    }

    /// Where it is in its life.
    #[must_use]
    pub fn state(&self) -> DeploymentState {
        self.left().map_or(DeploymentState::Production, |left| lock(&left.life).state())
    }

    /// Takes its life one step on.
    pub(super) fn go(&self, to: DeploymentState, cause: &str) {
        let Some(left) = self.left() else { return };
        let places = &left.holding.places;
        let now = places.clock.now();
        lock(&left.life).go(to, &left.entity, cause, now, &*places.sink);
    }
}

impl fmt::Debug for LoadedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoadedModel({}/{})", self.name, self.version)
    }
}

/// What a model of a registry leaves behind, and who is told when it goes.
struct Place {
    freer: Sender<Left>,
    left: Option<Box<Left>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(left) = self.left.take() {
            // Without that thread it is freed here.
            let _ = self.freer.send(*left);
        }
    }
}

/// What is left of a model when the last of its requests is answered.
pub(super) struct Left {
    pub(super) executor: Arc<dyn Executor>,
    pub(super) life: Mutex<Life>,
    pub(super) entity: String,
    pub(super) holding: Holding,
}

/// A version's way along the [`Deployment`] machine.
#[derive(Default)]
pub(super) struct Life(Cursor<Deployment>);

impl Life {
    pub(super) fn state(&self) -> DeploymentState {
        self.0.state()
    }

    pub(super) fn go(
        &mut self,
        to: DeploymentState,
        entity: &str,
        cause: &str,
        now: Instant,
        sink: &(impl AuditSink + ?Sized),
    ) {
        // The way is one of the machine's own: it is not refused.
        if let Err(error) = self.0.go(to, entity, cause, now, sink) {
            tracing::error!(model = entity, %error, "a model left its way");
        }
    }
}
