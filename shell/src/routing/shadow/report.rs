//! What came of many comparisons.

use super::compare::{Comparison, OutputDifference};
use std::collections::BTreeMap;
use tensorforge_core::Duration;
use tensorforge_core::quantile::Sketch;
use tensorforge_core::stats::Moments;

/// Names of outputs that a report counts apart; those that come after them are in its totals only.
pub const MAX_OUTPUT_NAMES: usize = 64;

/// The smallest difference that the sketch of differences tells from none, about 9e-13; it ends at 1.7e7.
const SMALLEST_DIFFERENCE: f64 = 9.094_947_017_729_282e-13;

/// How a shadow does beside its primary, over all answers that were compared.
///
/// Reports of several threads or replicas can be [merged](Self::merge). Latencies and differences are
/// kept in [sketches](Sketch), whose quantiles are at most 0.78 % wrong.
///
/// **Memory:** about 70 KiB, and the names of up to [`MAX_OUTPUT_NAMES`] outputs. **Time:** O(outputs) for
/// a comparison.
///
/// ```
/// use tensorforge::contracts::InferResponse;
/// use tensorforge::models::Tensor;
/// use tensorforge::routing::{ShadowReport, Tolerance, compare_responses};
/// use tensorforge_core::Duration;
///
/// let response = |values: &[f32]| InferResponse {
///     model_name: "digits".into(),
///     model_version: "1".into(),
///     id: String::new(),
///     parameters: Default::default(),
///     outputs: vec![Tensor::from_f32("probabilities", vec![1, 2], values)],
/// };
/// let mut report = ShadowReport::new();
/// for shadow in [[0.9, 0.1], [0.2, 0.8]] {
///     let comparison =
///         compare_responses(&response(&[0.9, 0.1]), &response(&shadow), &Tolerance::default());
///     report.record(&comparison, Duration::from_millis(2), Duration::from_millis(5));
/// }
/// report.record_failure();
/// assert_eq!((report.compared(), report.agreed(), report.failed()), (2, 1, 1));
/// assert_eq!(report.top_one_share(), Some(0.5));
/// assert!((report.latency_delta().mean().unwrap() - 0.003).abs() < 1e-12); // 3 ms slower
/// ```
#[derive(Clone, Debug)]
pub struct ShadowReport {
    compared: u64,
    agreed: u64,
    failed: u64,
    rows: u64,
    agreed_rows: u64,
    outputs: BTreeMap<String, OutputCounts>,
    differences: Box<Sketch<64, u64>>,
    delta: Moments,
    slower: Box<Sketch<30, u64>>,
    faster: Box<Sketch<30, u64>>,
}

/// What came of one output.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct OutputCounts {
    /// Answers in which either side had it.
    pub seen: u64,
    /// Those in which it was within the tolerance.
    pub agreed: u64,
    /// Those in which one side had it of another type.
    pub other_type: u64,
    /// Those in which one side had it of another shape.
    pub other_shape: u64,
    /// Those in which values were beyond the tolerance.
    pub other_values: u64,
    /// Those in which only one side had it.
    pub one_sided: u64,
}

impl OutputCounts {
    fn merge(&mut self, other: &Self) {
        self.seen += other.seen;
        self.agreed += other.agreed;
        self.other_type += other.other_type;
        self.other_shape += other.other_shape;
        self.other_values += other.other_values;
        self.one_sided += other.one_sided;
    }
}

impl Default for ShadowReport {
    fn default() -> Self {
        Self::new()
    }
}

impl ShadowReport {
    /// One of nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            compared: 0,
            agreed: 0,
            failed: 0,
            rows: 0,
            agreed_rows: 0,
            outputs: BTreeMap::new(),
            differences: Box::new(
                Sketch::starting_at(SMALLEST_DIFFERENCE).expect("the range is an ordinary one"),
            ),
            delta: Moments::new(),
            slower: Box::new(Sketch::new()),
            faster: Box::new(Sketch::new()),
        }
    }

    /// Adds a comparison, and how long either side took to answer.
    pub fn record(&mut self, comparison: &Comparison, primary: Duration, shadow: Duration) {
        self.compared += 1;
        self.agreed += u64::from(comparison.agrees());
        for output in &comparison.outputs {
            let mut counts = OutputCounts { seen: 1, ..OutputCounts::default() };
            match &output.difference {
                OutputDifference::DataType { .. } => counts.other_type = 1,
                OutputDifference::Shape { .. } => counts.other_shape = 1,
                OutputDifference::Values(values) => {
                    counts.agreed = u64::from(values.beyond == 0);
                    counts.other_values = u64::from(values.beyond > 0);
                    self.differences.insert(values.max_absolute);
                    if let Some(top_one) = values.top_one {
                        self.rows += top_one.rows;
                        self.agreed_rows += top_one.agreed;
                    }
                }
            }
            self.count(&output.name, &counts);
        }
        let one_sided = OutputCounts { seen: 1, one_sided: 1, ..OutputCounts::default() };
        for name in comparison.missing.iter().chain(&comparison.unexpected) {
            self.count(name, &one_sided);
        }
        let (primary, shadow) = (seconds(primary), seconds(shadow));
        self.delta.insert(shadow - primary);
        if shadow < primary {
            self.faster.insert(primary - shadow);
        } else {
            self.slower.insert(shadow - primary);
        }
    }

    /// Counts a shadow that gave no answer where the primary did.
    pub fn record_failure(&mut self) {
        self.failed += 1;
    }

    /// Adds what another one counted.
    pub fn merge(&mut self, other: &Self) {
        self.compared += other.compared;
        self.agreed += other.agreed;
        self.failed += other.failed;
        self.rows += other.rows;
        self.agreed_rows += other.agreed_rows;
        for (name, counts) in &other.outputs {
            self.count(name, counts);
        }
        // All begin at the same number, and no counter of 64 bits is ever full.
        let _ = self.differences.merge(&other.differences);
        let _ = self.slower.merge(&other.slower);
        let _ = self.faster.merge(&other.faster);
        self.delta.merge(&other.delta);
    }

    fn count(&mut self, name: &str, counts: &OutputCounts) {
        if let Some(known) = self.outputs.get_mut(name) {
            known.merge(counts);
        } else if self.outputs.len() < MAX_OUTPUT_NAMES {
            self.outputs.insert(name.to_owned(), *counts);
        }
    }

    /// Answers of the shadow that were compared.
    #[must_use]
    pub const fn compared(&self) -> u64 {
        self.compared
    }

    /// Those of them that [agreed](Comparison::agrees).
    #[must_use]
    pub const fn agreed(&self) -> u64 {
        self.agreed
    }

    /// Requests that the shadow did not answer.
    #[must_use]
    pub const fn failed(&self) -> u64 {
        self.failed
    }

    /// The share of rows whose highest value is at the same place on both sides; `None` where there were
    /// none to choose from.
    #[must_use]
    pub fn top_one_share(&self) -> Option<f64> {
        (self.rows > 0).then(|| self.agreed_rows as f64 / self.rows as f64)
    }

    /// What came of each output, by name.
    #[must_use]
    pub const fn outputs(&self) -> &BTreeMap<String, OutputCounts> {
        &self.outputs
    }

    /// The largest difference of each output of each answer that could be told, in the output's own unit.
    #[must_use]
    pub const fn differences(&self) -> &Sketch<64, u64> {
        &self.differences
    }

    /// How much longer the shadow took, in seconds: negative where it was faster.
    #[must_use]
    pub const fn latency_delta(&self) -> &Moments {
        &self.delta
    }

    /// How much longer it took, in seconds, where it was not faster.
    #[must_use]
    pub const fn slower(&self) -> &Sketch<30, u64> {
        &self.slower
    }

    /// How much less time it took, in seconds, where it was faster.
    #[must_use]
    pub const fn faster(&self) -> &Sketch<30, u64> {
        &self.faster
    }
}

fn seconds(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e9
}

#[cfg(test)]
mod tests;
