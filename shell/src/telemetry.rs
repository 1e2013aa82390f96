//! Figures of a model: what came, what it cost, by phase and batch size.

use crate::clock::Clock;
use crate::concurrency::lock;
use crate::contracts::{BatchStatistics, DurationStatistic, InferStatistics, ModelStatistics};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use tensorforge_core::Duration;

/// Where one execution spent its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ExecutionTimes {
    /// Joining the rows.
    pub input: Duration,
    /// The model.
    pub infer: Duration,
    /// Splitting the answers.
    pub output: Duration,
}

/// Counts one model version's requests and executions. One short lock for each execution.
#[derive(Debug, Default)]
pub struct ModelRecorder {
    figures: Mutex<Figures>,
    pending: AtomicU64,
}

/// Counts one request as pending for as long as it lives.
#[derive(Debug)]
pub struct Pending<'a>(&'a AtomicU64);

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct Figures {
    last_inference: u64,
    inference_count: u64,
    execution_count: u64,
    requests: InferStatistics,
    batches: BTreeMap<u64, BatchStatistics>,
}

impl ModelRecorder {
    /// A request came in; it counts as pending until the answer is dropped.
    pub fn pending(&self) -> Pending<'_> {
        self.pending.fetch_add(1, Ordering::Relaxed);
        Pending(&self.pending)
    }

    /// Requests pending now.
    #[must_use]
    pub fn count_pending(&self) -> u64 {
        self.pending.load(Ordering::Relaxed)
    }

    /// An execution gave answers to requests that had waited in the queue, one entry of `requests`
    /// each: (queue time, end-to-end time).
    pub fn succeeded(&self, items: u64, times: ExecutionTimes, requests: &[(Duration, Duration)]) {
        let mut figures = lock(&self.figures);
        let Figures { requests: by_phase, batches, .. } = &mut *figures;
        for &(queue, total) in requests {
            add(&mut by_phase.queue, queue);
            add(&mut by_phase.compute_input, times.input);
            add(&mut by_phase.compute_infer, times.infer);
            add(&mut by_phase.compute_output, times.output);
            add(&mut by_phase.success, total);
        }
        let batch = batches
            .entry(items)
            .or_insert(BatchStatistics { batch_size: items, ..Default::default() });
        add(&mut batch.compute_input, times.input);
        add(&mut batch.compute_infer, times.infer);
        add(&mut batch.compute_output, times.output);
        figures.inference_count += items;
        figures.execution_count += 1;
        figures.last_inference = Clock::unix_millis();
    }

    /// A request ended with an error after `total`.
    pub fn failed(&self, total: Duration) {
        let mut figures = lock(&self.figures);
        add(&mut figures.requests.fail, total);
        figures.last_inference = Clock::unix_millis();
    }

    /// The figures so far, in the protocol's form.
    #[must_use]
    pub fn statistics(&self, name: &str, version: &str) -> ModelStatistics {
        let figures = lock(&self.figures);
        ModelStatistics {
            name: name.to_owned(),
            version: version.to_owned(),
            last_inference: figures.last_inference,
            inference_count: figures.inference_count,
            execution_count: figures.execution_count,
            pending: self.count_pending(),
            inference_stats: figures.requests,
            batch_stats: figures.batches.values().copied().collect(),
        }
    }
}

fn add(statistic: &mut DurationStatistic, time: Duration) {
    statistic.count += 1;
    statistic.ns = statistic.ns.saturating_add(time.as_nanos());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_requests_and_executions_are_counted_apart() {
        let recorder = ModelRecorder::default();
        let ns = Duration::from_nanos;
        let times = ExecutionTimes { input: ns(1), infer: ns(10), output: ns(2) };
        recorder.succeeded(5, times, &[(ns(100), ns(113)), (ns(50), ns(63))]);
        recorder.succeeded(1, times, &[(ns(0), ns(13))]);
        recorder.failed(ns(7));

        let figures = recorder.statistics("m", "1");
        assert_eq!((figures.inference_count, figures.execution_count), (6, 2));
        let requests = figures.inference_stats;
        assert_eq!(requests.success, DurationStatistic { count: 3, ns: 189 });
        assert_eq!(requests.fail, DurationStatistic { count: 1, ns: 7 });
        assert_eq!(requests.queue, DurationStatistic { count: 3, ns: 150 });
        assert_eq!(requests.compute_infer, DurationStatistic { count: 3, ns: 30 });
        let by_size: Vec<_> =
            figures.batch_stats.iter().map(|b| (b.batch_size, b.compute_infer.count)).collect();
        assert_eq!(by_size, [(1, 1), (5, 1)]);
    }
}
