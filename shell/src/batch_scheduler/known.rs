//! What the scheduler knows of each model beside its lane: its name, its own closing rule, and the steps
//! that its failures have led to.

use crate::concurrency::lock;
use crate::registry::LoadedModel;
use crate::workflow::SharedSink;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, OnceLock};
use tensorforge_core::batch::{ClosingRule, Verdict, Waiting};
use tensorforge_core::engine::Notice;
use tensorforge_core::machine::{AuditRecord, Outcome};
use tensorforge_core::{Duration, Instant, ModelId};

/// A closing rule that the scheduler may call from any of its threads, one at a time.
pub type SharedRule = Box<dyn ClosingRule + Send>;

/// The models by their number.
#[derive(Default)]
pub(super) struct Known(Vec<Option<Model>>);

#[derive(Default)]
struct Model {
    /// `name/version`.
    name: String,
    rule: Option<SharedRule>,
    is_open: bool,
    policy_steps: u64,
    circuit_steps: u64,
}

impl Known {
    pub(super) fn add(&mut self, model: &LoadedModel) {
        self.model(model.id).name = format!("{}/{}", model.name, model.version);
    }

    pub(super) fn forget(&mut self, model: ModelId) {
        if let Some(place) = self.0.get_mut(model.0 as usize) {
            *place = None;
        }
    }

    pub(super) fn set_rule(&mut self, model: ModelId, rule: Option<SharedRule>) {
        self.model(model).rule = rule;
    }

    pub(super) fn has_rule(&mut self, model: ModelId) -> bool {
        self.rule(model).is_some()
    }

    fn model(&mut self, id: ModelId) -> &mut Model {
        let index = id.0 as usize;
        if self.0.len() <= index {
            self.0.resize_with(index + 1, || None);
        }
        self.0[index].get_or_insert_default()
    }

    fn rule(&mut self, id: ModelId) -> Option<&mut SharedRule> {
        self.0.get_mut(id.0 as usize)?.as_mut()?.rule.as_mut()
    }

    /// What the model's own rule says of a group, or the standard one's verdict.
    pub(super) fn judge(&mut self, waiting: &Waiting<'_>) -> Verdict {
        let model = waiting.key.model;
        self.ask(model, |rule| rule.judge(waiting)).unwrap_or_else(|| waiting.standard())
    }

    /// Tells the model's own rule of a batch that ran with `items`, padding included, and of the time that
    /// each of its requests took from arrival to answer.
    pub(super) fn executed(
        &mut self,
        model: ModelId,
        items: u32,
        took: Duration,
        latencies: impl Iterator<Item = Duration>,
        now: Instant,
    ) {
        self.ask(model, |rule| {
            rule.executed(items, took);
            latencies.for_each(|latency| rule.answered(latency, now));
        });
    }

    /// A rule is other people's code: one that panics is not asked again, and the engine never notices.
    fn ask<R>(&mut self, model: ModelId, question: impl FnOnce(&mut SharedRule) -> R) -> Option<R> {
        let rule = self.rule(model)?;
        let answer = catch_unwind(AssertUnwindSafe(|| question(rule))).ok();
        if answer.is_none() {
            self.set_rule(model, None);
            let name = &self.model(model).name;
            tracing::error!(model = name, "its closing rule panicked; the standard rule goes on");
        }
        answer
    }

    /// A step that failures, or successes, have led to, if the notice is of one.
    pub(super) fn step(&mut self, notice: &Notice, now: Instant) -> Option<Step> {
        let cause = |text: &str| text.to_owned();
        let (machine, model, from, to, cause) = match *notice {
            Notice::Level { model, change } => {
                let what = if change.to > change.from { "failures" } else { "successes" };
                let cause = format!("{} {what} in a row", change.run);
                ("policy", model, change.from.name(), change.to.name(), cause)
            }
            Notice::CircuitOpened { model, until } => {
                let from = if self.model(model).is_open { "open" } else { "closed" };
                let wait = until.since(now).as_nanos() / 1_000_000;
                ("circuit", model, from, "open", format!("it fails; tried again in {wait} ms"))
            }
            Notice::CircuitClosed { model } => {
                ("circuit", model, "open", "closed", cause("it was tried and did not fail"))
            }
            _ => return None,
        };
        let known = self.model(model);
        let steps = if machine == "circuit" {
            known.is_open = to == "open";
            &mut known.circuit_steps
        } else {
            &mut known.policy_steps
        };
        let generation = *steps;
        *steps += 1;
        Some(Step { machine, entity: known.name.clone(), from, to, cause, generation, at: now })
    }
}

/// A step of a model's level or circuit.
pub(super) struct Step {
    machine: &'static str,
    entity: String,
    from: &'static str,
    to: &'static str,
    cause: String,
    generation: u64,
    at: Instant,
}

/// Who is told of such steps, in their order.
#[derive(Default)]
pub(super) struct Audit {
    sink: OnceLock<SharedSink>,
    /// Steps that are not told yet.
    steps: Mutex<VecDeque<Step>>,
    /// The number of the next. Held while steps are told.
    sequence: Mutex<u64>,
}

impl Audit {
    /// From now on `sink`, unless there is one already.
    pub(super) fn begin(&self, sink: SharedSink) {
        let _ = self.sink.set(sink);
    }

    /// Puts a step in line. Called while the engine is locked, so that they stand as they were decided.
    pub(super) fn add(&self, step: Step) {
        lock(&self.steps).push_back(step);
    }

    /// Tells of the steps in line. When it returns those are told that were there before, whichever
    /// thread does it.
    pub(super) fn tell(&self) {
        let mut sequence = lock(&self.sequence);
        loop {
            let Some(step) = lock(&self.steps).pop_front() else { break };
            self.tell_one(&step, *sequence);
            *sequence += 1;
        }
    }

    fn tell_one(&self, step: &Step, sequence: u64) {
        let Step { machine, entity, from, to, cause, generation, at } = step;
        tracing::warn!(
            model = entity,
            machine,
            from,
            to,
            cause,
            "failures changed how it is served"
        );
        let Some(sink) = self.sink.get() else { return };
        let record = AuditRecord {
            sequence,
            at: *at,
            machine,
            entity,
            from,
            to,
            generation: *generation,
            cause,
            outcome: Outcome::Applied,
        };
        if let Err(error) = sink.record(&record) {
            tracing::error!(%error, entity, "a step is not on record");
        }
    }
}
