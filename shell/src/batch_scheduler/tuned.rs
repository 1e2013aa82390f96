//! The rule of models that have a target for their latency.

use tensorforge_core::batch::{ClosingRule, LatencyTuner, Unreachable, Verdict, Waiting};
use tensorforge_core::{Duration, Instant};

/// Core's tuner, and a word in the log when its target cannot be held, or can again.
pub(super) struct Tuned {
    /// `name/version`.
    model: String,
    target: Duration,
    tuner: LatencyTuner,
    told: Option<Unreachable>,
}

impl Tuned {
    pub(super) const fn new(model: String, target: Duration) -> Self {
        Self { model, target, tuner: LatencyTuner::new(target), told: None }
    }
}

impl ClosingRule for Tuned {
    fn judge(&mut self, waiting: &Waiting<'_>) -> Verdict {
        self.tuner.judge(waiting)
    }

    fn executed(&mut self, items: u32, took: Duration) {
        self.tuner.executed(items, took);
    }

    fn answered(&mut self, latency: Duration, now: Instant) {
        self.tuner.answered(latency, now);
        let unreachable = self.tuner.unreachable();
        if unreachable == self.told {
            return;
        }
        self.told = unreachable;
        let (model, target) = (&self.model, std::time::Duration::from(self.target));
        match unreachable {
            Some(Unreachable::Execution) => {
                tracing::warn!(model, ?target, "target_p99 is shorter than one execution takes");
            }
            Some(_) => tracing::warn!(model, ?target, "too much comes for target_p99 to hold"),
            None => tracing::info!(model, ?target, "target_p99 can hold again"),
        }
    }
}
