//! Warm-ups that may hang: how long they are waited for, and what becomes of those that are given up.

use super::places::Holding;
use super::warm_up::warm_up;
use crate::concurrency::lock;
use crate::config::ModelConfig;
use crate::device::Executor;
use std::fmt;
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};

/// What a warm-up runs now.
#[derive(Default)]
pub(super) struct Doing(Mutex<String>);

impl Doing {
    pub(super) fn is(&self, what: String) {
        *lock(&self.0) = what;
    }
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &**lock(&self.0) {
            "" => f.write_str("before its first run"),
            what => write!(f, "on {what}"),
        }
    }
}

/// What a warm-up's thread and whoever waits for it decide between them: the first one does.
enum Stage {
    Running,
    /// Nobody waits for it any more. What the version holds stays with the thread, for its memory is in use
    /// for as long as the execution lasts.
    GivenUp(Holding),
    Over,
}

/// A version to be warmed up.
pub(super) struct Cold<'a> {
    /// `NAME/VERSION`.
    pub(super) entity: &'a str,
    pub(super) executor: &'a Arc<dyn Executor>,
    pub(super) config: &'a ModelConfig,
    /// The folder with ready-made requests.
    pub(super) requests: PathBuf,
}

impl Cold<'_> {
    /// Warms it up on a thread of its own, and gives that up after the configuration's `warm_up_timeout`.
    /// What the version holds comes back, unless it hangs.
    ///
    /// # Errors
    /// Why it cannot run, or what it hangs in.
    pub(super) fn warmed_up(self, holding: Holding) -> Result<Holding, String> {
        let places = Arc::clone(&holding.places);
        let (limit, entity) = (self.config.warm_up_timeout, self.entity);
        let doing = Arc::new(Doing::default());
        let stage = Arc::new(Mutex::new(Stage::Running));
        let (told, result) = channel();
        let thread = {
            let (executor, config) = (Arc::clone(self.executor), self.config.clone());
            let (doing, stage) = (Arc::clone(&doing), Arc::clone(&stage));
            let (requests, entity, places) =
                (self.requests, entity.to_owned(), Arc::clone(&places));
            move || {
                let run = || warm_up(&*executor, &config, &requests, &doing);
                let warm = super::change::caught(run).and_then(|warm| warm);
                // First, so that whoever waits is the last to have it.
                drop(executor);
                let mut stage = lock(&stage);
                // Told while the stage is locked: whoever finds it over finds this as well.
                let _ = told.send(warm);
                if let Stage::GivenUp(holding) = std::mem::replace(&mut *stage, Stage::Over) {
                    tracing::warn!(model = entity, "a warm-up that was given up has ended");
                    places.came_back(&entity);
                    drop(holding);
                }
            }
        };
        let builder = std::thread::Builder::new().name("warm-up".into());
        builder.spawn(thread).map_err(|error| format!("no thread to warm it up on: {error}"))?;
        let warm = match result.recv_timeout(limit) {
            Ok(warm) => warm,
            Err(RecvTimeoutError::Disconnected) => Err("its warm-up ended without a word".into()),
            Err(RecvTimeoutError::Timeout) => {
                let mut stage = lock(&stage);
                match result.try_recv() {
                    // At the last moment.
                    Ok(warm) => warm,
                    Err(_) => {
                        let what = doing.to_string();
                        tracing::error!(
                            model = entity,
                            ?limit,
                            what,
                            "a warm-up hangs and is given up: its thread and the model's memory are held until it ends"
                        );
                        places.hangs(entity);
                        *stage = Stage::GivenUp(holding);
                        let limit = humantime::format_duration(limit);
                        return Err(format!(
                            "it hangs in its warm-up, {what}: it was not through within {limit} \
                             (warm_up_timeout)"
                        ));
                    }
                }
            }
        };
        let runs = warm?;
        tracing::debug!(model = entity, runs, "warmed up");
        Ok(holding)
    }
}
