//! What was measured, in figures.

use super::super::models::list;
use crate::models::TensorSpec;
use serde_json::json;
use std::collections::BTreeMap;
use tensorforge_core::Duration;

/// Latencies recorded at most; later ones count in the throughput only.
pub(super) const MAX_SAMPLES: usize = 20_000_000;

/// One answered request, in eight bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sample {
    /// Milliseconds from the start of the measurement to the answer.
    at_ms: u32,
    /// Latency in tenths of a microsecond, at most 429 s.
    latency: u32,
}

impl Sample {
    pub(super) fn new(at: Duration, latency: Duration) -> Self {
        let short = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        Self { at_ms: short(at.as_nanos() / 1_000_000), latency: short(latency.as_nanos() / 100) }
    }

    pub(super) fn at_seconds(self) -> f64 {
        f64::from(self.at_ms) / 1e3
    }

    pub(super) fn latency_ms(self) -> f64 {
        f64::from(self.latency) / 1e4
    }
}

/// The result of a load.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) title: String,
    /// The outputs of the first answer.
    pub(super) answer: Vec<TensorSpec>,
    /// From the start of the measurement to the last answer.
    pub(super) duration: Duration,
    /// In order of their answers.
    pub(super) samples: Vec<Sample>,
    pub(super) succeeded: u64,
    /// Requests sent more than a millisecond after they were due.
    pub(super) late: u64,
    /// Requests that were due while every connection was busy, up to the end.
    pub(super) unsent: u64,
    /// Failed requests by status.
    pub(super) errors: BTreeMap<String, u64>,
    pub(super) first_error: Option<String>,
    /// Of the model, by the server's own count.
    pub(super) executions: Option<u64>,
    pub(super) mean_batch: Option<f64>,
}

/// Latency in milliseconds.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Latency {
    pub(super) mean: f64,
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

impl Report {
    pub(super) fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    pub(super) fn requests(&self) -> u64 {
        self.succeeded + self.failed()
    }

    pub(super) fn seconds(&self) -> f64 {
        self.duration.as_nanos() as f64 / 1e9
    }

    /// Answered requests a second.
    pub(super) fn throughput(&self) -> f64 {
        match self.seconds() {
            0.0 => 0.0,
            seconds => self.succeeded as f64 / seconds,
        }
    }

    /// Sorted latencies in milliseconds.
    pub(super) fn sorted_latencies(&self) -> Vec<f64> {
        let mut latencies: Vec<f64> =
            self.samples.iter().map(|sample| sample.latency_ms()).collect();
        latencies.sort_unstable_by(f64::total_cmp);
        latencies
    }

    pub(super) fn json(&self) -> serde_json::Value {
        let latency = Latency::of(&self.sorted_latencies());
        json!({
            "title": self.title,
            "answer": self.answer,
            "duration_s": self.seconds(),
            "requests": self.requests(),
            "succeeded": self.succeeded,
            "failed": self.failed(),
            "late": self.late,
            "unsent": self.unsent,
            "errors": self.errors,
            "first_error": self.first_error,
            "throughput": self.throughput(),
            "latency_ms": {
                "mean": latency.mean,
                "p50": latency.p50,
                "p90": latency.p90,
                "p95": latency.p95,
                "p99": latency.p99,
                "max": latency.max,
            },
            "executions": self.executions,
            "mean_batch": self.mean_batch,
        })
    }

    pub(super) fn text(&self) -> String {
        let Latency { mean, p50, p90, p95, p99, max } = Latency::of(&self.sorted_latencies());
        let mut lines = vec![
            self.title.clone(),
            String::new(),
            format!(
                "answer      {}",
                if self.answer.is_empty() { "no outputs".into() } else { list(&self.answer) }
            ),
            format!("requests    {} in {:.2} s", self.requests(), self.seconds()),
            format!("throughput  {:.0} requests/s", self.throughput()),
            format!(
                "latency ms  p50 {p50:.2}  p90 {p90:.2}  p95 {p95:.2}  p99 {p99:.2}  max {max:.2}  \
                 mean {mean:.2}"
            ),
        ];
        lines.push(match (self.mean_batch, self.executions) {
            (Some(mean), Some(executions)) => {
                format!("mean batch  {mean:.1} in {executions} executions")
            }
            (_, Some(_)) => "mean batch  none: the model did not run".to_owned(),
            _ => "mean batch  unknown: the server gave no statistics".to_owned(),
        });
        if self.succeeded > self.samples.len() as u64 {
            let recorded = self.samples.len();
            lines.push(format!("            latencies are of the first {recorded} answers"));
        }
        if self.late > 0 {
            lines.push(format!(
                "late        {}: sent over 1 ms after they were due, for want of an idle connection \
                 or of a core for this program; their latencies say so",
                self.late
            ));
        }
        if self.unsent > 0 {
            lines.push(format!(
                "unsent      {}: every connection was busy when they were due; the server, or the \
                 number of connections, does not keep up",
                self.unsent
            ));
        }
        for (kind, count) in &self.errors {
            lines.push(format!("failed      {count} ({kind})"));
        }
        lines.join("\n")
    }
}

impl Latency {
    /// Of latencies in ascending order; zeros for none.
    pub(super) fn of(sorted: &[f64]) -> Self {
        let Some(&max) = sorted.last() else { return Self::default() };
        Self {
            mean: sorted.iter().sum::<f64>() / sorted.len() as f64,
            p50: percentile(sorted, 50.0),
            p90: percentile(sorted, 90.0),
            p95: percentile(sorted, 95.0),
            p99: percentile(sorted, 99.0),
            max,
        }
    }
}

/// The nearest-rank percentile: the smallest value that `percent` of all values do not exceed.
/// `sorted` ascends; 0 for none.
pub(super) fn percentile(sorted: &[f64], percent: f64) -> f64 {
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_percentile_is_the_smallest_value_that_covers_its_share(
            mut values in prop::collection::vec(0.0..1e6f64, 1..200),
            percent in 0.1..100.0f64,
        ) {
            values.sort_unstable_by(f64::total_cmp);
            let found = percentile(&values, percent);
            let share = |limit: f64| {
                let covered = values.iter().filter(|&&value| value <= limit).count();
                covered as f64 / values.len() as f64 * 100.0
            };
            prop_assert!(share(found) >= percent - 1e-9);
            let smaller = values.iter().copied().filter(|&value| value < found);
            if let Some(next) = smaller.max_by(f64::total_cmp) {
                prop_assert!(share(next) < percent + 1e-9);
            }
        }
    }

    #[test]
    fn nothing_measured_gives_zeros_and_no_nan() {
        assert_eq!(Latency::of(&[]), Latency::default());
        assert_eq!(percentile(&[7.0], 50.0), 7.0);
        let report = empty();
        assert_eq!(report.throughput(), 0.0);
        assert!(!report.text().contains("NaN") && !report.json().to_string().contains("null,null"));
    }

    #[test]
    fn a_sample_keeps_tenths_of_microseconds() {
        let sample = Sample::new(Duration::from_millis(1500), Duration::from_nanos(1_234_567));
        assert_eq!((sample.at_seconds(), sample.latency_ms()), (1.5, 1.2345));
        let longest = Sample::new(Duration::MAX, Duration::MAX);
        assert!(longest.latency_ms() > 429_000.0);
    }

    pub(super) fn empty() -> Report {
        Report {
            title: "nothing".into(),
            answer: vec![],
            duration: Duration::ZERO,
            samples: vec![],
            succeeded: 0,
            late: 0,
            unsent: 0,
            errors: BTreeMap::new(),
            first_error: None,
            executions: None,
            mean_batch: None,
        }
    }
}
