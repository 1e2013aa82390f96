//! A model of TensorFlow Serving's batching.
//!
//! Written from `tensorflow/core/kernels/batching_util/shared_batch_scheduler.h` of
//! [tensorflow/tensorflow](https://github.com/tensorflow/tensorflow) at de30797 (which
//! `basic_batch_scheduler.h` wraps) and `tensorflow_serving/batching/batching_session.cc` of
//! [tensorflow/serving](https://github.com/tensorflow/serving) at 009dac6.

use super::{Arrival, Batcher, Decisions, Limits, Shed, Started};
use std::collections::VecDeque;
use tensorforge_core::{Duration, Instant};

/// What becomes of requests of different shapes. They have the same signature, which is made of the
/// tensors' names alone, and so the same queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MixedShapes {
    /// `pad_variable_length_inputs: false`: a batch with two shapes fails, with all that is in it
    /// (`BatchingSession::MergeInputTensors`).
    Fail,
    /// `pad_variable_length_inputs: true`: all are padded to the largest.
    Pad,
    /// The model is exported with a signature for each shape, and clients name theirs: queues of
    /// their own, which take turns.
    Signatures,
}

/// What low priority is to the batches of high priority: `mixed_priority_batching_policy`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LowPriority {
    /// `enable_priority_queue: false`: priorities are not looked at.
    Same,
    /// `priority_merge`: low ones are filled into an open batch as it is about to run.
    Merge,
    /// `low_priority_padding_with_max_batch_size`, the default: they fill any batch as it runs, and
    /// run on their own when no high one waits.
    PadToMax,
    /// `priority_isolation`: they never share a batch.
    Isolated,
}

/// The settings of one model's batching.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TensorFlowServingOptions {
    /// `max_batch_size`.
    pub max_batch_size: u32,
    /// `batch_timeout_micros`, of high priority where low has its own.
    pub batch_timeout: Duration,
    /// `low_priority_batch_timeout_micros`.
    pub low_batch_timeout: Duration,
    /// `max_enqueued_batches`, of each of both priorities where low has its own queue.
    pub max_enqueued_batches: u32,
    /// `allowed_batch_sizes`, ascending, to which batches are padded; none for any.
    pub allowed_batch_sizes: Vec<u32>,
    /// What becomes of different shapes.
    pub mixed_shapes: MixedShapes,
    /// What low priority is.
    pub low_priority: LowPriority,
    /// The least of our priorities that is high; below is low, which there is called sheddable.
    pub high_from: u8,
}

impl TensorFlowServingOptions {
    /// Different shapes padded, low priority merged, any batch size, as many batches queued as hold
    /// `max_queued` single items, and the waits that the limits give to the lowest and to the highest
    /// priority.
    ///
    /// Each is the setting of the documented ones that does best here: without padding whole batches
    /// fail, the other policies for low priority leave it out of batches that have room or let it
    /// wait behind them, and `allowed_batch_sizes` only adds rows on a curve without steps. Priorities
    /// are known to batching inside a graph (`BatchFunction`) only; the model server's own parameters
    /// (`session_bundle_config.proto` at 03f8b6b) have none.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            max_batch_size: limits.max_items,
            batch_timeout: limits.max_wait[limits.max_wait.len() - 1],
            low_batch_timeout: limits.common_wait(),
            max_enqueued_batches: limits.max_queued.div_ceil(limits.max_items.max(1)).max(1),
            allowed_batch_sizes: Vec::new(),
            mixed_shapes: MixedShapes::Pad,
            low_priority: LowPriority::Merge,
            high_from: 1,
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Tasks {
    tasks: VecDeque<Arrival>,
    items: u32,
}

impl Tasks {
    fn push(&mut self, task: Arrival) {
        self.items = self.items.saturating_add(task.items);
        self.tasks.push_back(task);
    }

    fn earliest(&self) -> Option<Instant> {
        self.tasks.front().map(|task| task.at)
    }

    /// The next one, if it has at most `room` items.
    fn pop_within(&mut self, room: u32) -> Option<Arrival> {
        let fits = self.tasks.front().is_some_and(|task| task.items <= room);
        let task = if fits { self.tasks.pop_front()? } else { return None };
        self.items -= task.items;
        Some(task)
    }
}

/// `internal::Queue`: closed batches, an open one behind them, and low priority beside them.
#[derive(Clone, Debug, Default)]
struct Queue {
    closed: VecDeque<Tasks>,
    open: Tasks,
    low: Tasks,
}

impl Queue {
    /// When the open batch, or the low tasks, may run; `None` while there is nothing.
    fn open_due(&self, options: &TensorFlowServingOptions) -> Option<Instant> {
        let merged = options.low_priority == LowPriority::Merge;
        let (low, low_items) =
            if merged { (self.low.earliest(), self.low.items) } else { (None, 0) };
        let earliest = self.open.earliest().into_iter().chain(low).min()?;
        let timeout = match self.open.items {
            0 => options.low_batch_timeout,
            _ => options.batch_timeout,
        };
        let full = self.open.items.saturating_add(low_items) >= options.max_batch_size;
        Some(if full { Instant::ZERO } else { earliest + timeout })
    }

    /// When low tasks may run on their own, where they are not merged.
    fn low_due(&self, options: &TensorFlowServingOptions) -> Option<Instant> {
        let alone = matches!(options.low_priority, LowPriority::PadToMax | LowPriority::Isolated);
        if !alone || !self.closed.is_empty() || self.open.items > 0 {
            return None;
        }
        let full = self.low.items >= options.max_batch_size;
        let ends = self.low.earliest()? + options.low_batch_timeout;
        Some(if full { Instant::ZERO } else { ends })
    }

    /// `Queue::ScheduleBatch`, and what is filled in as the batch runs.
    fn schedule(
        &mut self,
        now: Instant,
        options: &TensorFlowServingOptions,
    ) -> Option<(Tasks, &'static str)> {
        let max = options.max_batch_size;
        let (mut batch, why) = if let Some(closed) = self.closed.pop_front() {
            (closed, "full")
        } else if self.open_due(options).is_some_and(|due| now >= due) {
            let mut batch = std::mem::take(&mut self.open);
            if options.low_priority == LowPriority::Merge {
                self.fill(&mut batch, max);
            }
            (batch, "max_wait")
        } else if self.low_due(options).is_some_and(|due| now >= due) {
            let mut batch = Tasks::default();
            self.fill(&mut batch, max);
            (batch, "max_wait")
        } else {
            return None;
        };
        if options.low_priority == LowPriority::PadToMax {
            self.fill(&mut batch, max);
        }
        let why = if batch.items >= max { "full" } else { why };
        Some((batch, why))
    }

    fn fill(&mut self, batch: &mut Tasks, max: u32) {
        while let Some(task) = self.low.pop_within(max - batch.items.min(max)) {
            batch.push(task);
        }
    }
}

/// TensorFlow Serving's `BatchingSession` on a `SharedBatchScheduler`.
///
/// Requests fill batches in order of arrival. A batch is closed when the next request does not fit;
/// the open one runs when its oldest request has waited for the timeout and a thread is idle. Closed
/// batches run in order and grow no more. A batch whose requests are all late is not run; one that is
/// in time takes the late ones along (`BatchingSession::ProcessBatch`).
///
/// Not modelled: threads there look for what the clock has made due every millisecond only.
#[derive(Clone, Debug)]
pub struct TensorFlowServing {
    options: TensorFlowServingOptions,
    /// One, or one for each signature.
    queues: Vec<(u32, Queue)>,
    /// The queue that is asked first.
    turn: usize,
    wake: Option<Instant>,
}

impl TensorFlowServing {
    /// With the settings of [`TensorFlowServingOptions::new`].
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self::with(TensorFlowServingOptions::new(limits))
    }

    /// With any settings.
    #[must_use]
    pub const fn with(options: TensorFlowServingOptions) -> Self {
        Self { options, queues: Vec::new(), turn: 0, wake: None }
    }

    fn queue(&mut self, shape: u32) -> &mut Queue {
        let signature = match self.options.mixed_shapes {
            MixedShapes::Signatures => shape,
            MixedShapes::Fail | MixedShapes::Pad => 0,
        };
        let place = self.queues.iter().position(|(of, _)| *of == signature);
        let place = place.unwrap_or_else(|| {
            self.queues.push((signature, Queue::default()));
            self.queues.len() - 1
        });
        &mut self.queues[place].1
    }

    /// `SharedBatchScheduler::GetNextWorkItem_Locked`: each queue in turn.
    fn next(&mut self, now: Instant) -> Option<(Tasks, &'static str)> {
        for _ in 0..self.queues.len() {
            let place = self.turn;
            self.turn = (place + 1) % self.queues.len();
            let scheduled = self.queues[place].1.schedule(now, &self.options);
            if scheduled.is_some() {
                return scheduled;
            }
        }
        None
    }

    /// `BatchingSession::ProcessBatch`: what a thread does with a batch first.
    fn process(&self, now: Instant, batch: Tasks, why: &'static str) -> Result<Started, Failed> {
        let late = |task: &Arrival| task.deadline.is_some_and(|deadline| now >= deadline);
        let indices = |tasks: &VecDeque<Arrival>| tasks.iter().map(|task| task.index).collect();
        let Tasks { tasks, items } = batch;
        if tasks.iter().all(late) {
            return Err((indices(&tasks), Shed::Expired));
        }
        let shape = tasks.iter().map(|task| task.shape).max().unwrap_or(0);
        let mixed = tasks.iter().any(|task| task.shape != shape);
        if mixed && self.options.mixed_shapes == MixedShapes::Fail {
            return Err((indices(&tasks), Shed::Failed));
        }
        let sizes = &self.options.allowed_batch_sizes;
        let rows = sizes.iter().copied().find(|&size| size >= items).unwrap_or(items);
        Ok(Started { requests: indices(&tasks), items, rows, shape, why })
    }
}

/// Requests of a batch that was not run, and why.
type Failed = (Vec<u32>, Shed);

impl Batcher for TensorFlowServing {
    fn name(&self) -> &'static str {
        "tensorflow serving"
    }

    fn arrive(&mut self, _now: Instant, request: &Arrival) -> Result<(), Shed> {
        let TensorFlowServingOptions { max_batch_size, max_enqueued_batches, .. } = self.options;
        if request.items > max_batch_size {
            return Err(Shed::TooLarge);
        }
        let low = self.options.low_priority != LowPriority::Same
            && request.priority < self.options.high_from;
        let queue = self.queue(request.shape);
        if low {
            let room = u64::from(max_enqueued_batches) * u64::from(max_batch_size);
            if u64::from(queue.low.items) + u64::from(request.items) > room {
                return Err(Shed::QueueFull);
            }
            queue.low.push(*request);
            return Ok(());
        }
        if queue.open.items.saturating_add(request.items) > max_batch_size {
            if queue.closed.len() + 1 >= max_enqueued_batches as usize {
                return Err(Shed::QueueFull);
            }
            let full = std::mem::take(&mut queue.open);
            queue.closed.push_back(full);
        }
        queue.open.push(*request);
        Ok(())
    }

    fn start(&mut self, now: Instant, mut idle: usize, decisions: &mut Decisions) {
        while idle > 0
            && let Some((batch, why)) = self.next(now)
        {
            match self.process(now, batch, why) {
                Ok(started) => {
                    idle -= 1;
                    decisions.started.push(started);
                }
                Err((requests, why)) => {
                    decisions.shed.extend(requests.into_iter().map(|request| (request, why)));
                }
            }
        }
        let due = |(_, queue): &(u32, Queue)| {
            [queue.open_due(&self.options), queue.low_due(&self.options)]
                .into_iter()
                .flatten()
                .min()
        };
        // Without an idle thread nothing follows from the time.
        self.wake = if idle > 0 { self.queues.iter().filter_map(due).min() } else { None };
    }

    fn finished(&mut self, _now: Instant, _batch: &Started, _took: Duration) {}

    fn next_deadline(&self) -> Option<Instant> {
        self.wake
    }
}
