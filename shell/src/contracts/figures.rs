//! What a model's figures say beyond Triton's extension: under `tensorforge` in its statistics.
//!
//! Times are in seconds. What has no answer yet (the mean of nothing) is `null`.

use super::DurationStatistic;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One model version's figures since it was loaded.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelFigures {
    /// The quantiles of times are at most this share of their value wrong, from
    /// [`exact_from`](Self::exact_from) to [`exact_to`](Self::exact_to). Below and above that range
    /// a time is told too long, never too short.
    pub error_bound: f64,
    /// Seconds from which the bound holds.
    pub exact_from: f64,
    /// Seconds up to which the bound holds.
    pub exact_to: f64,
    /// Priority levels that had a request, the lowest first.
    pub levels: Vec<LevelFigures>,
    /// Requests that failed, by reason, over all levels.
    pub failures: BTreeMap<String, DurationStatistic>,
    /// How evenly the levels are served, from 1 / levels to 1: Jain's index of the share of each
    /// level's requests that ran, of those that were neither malformed nor unfit for the model.
    pub fairness: Option<f64>,
    /// The batches of all levels.
    pub batches: BatchFigures,
    /// Items a second since the model was loaded.
    pub items_per_second: Option<f64>,
    /// Items a second lately: an execution counts 1 / e after ten seconds.
    pub recent_items_per_second: f64,
    /// What shadow copies came to, which count in nothing above but in the batches that they shared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Box<Self>>,
}

/// One priority level of a model version.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LevelFigures {
    /// The level, 0 the lowest.
    pub priority: u8,
    /// Requests answered with outputs.
    pub success: u64,
    /// Their items.
    pub items: u64,
    /// Requests that failed, by reason.
    pub failures: BTreeMap<String, DurationStatistic>,
    /// Time that the answered waited for their batch to run.
    pub queue: TimeFigures,
    /// Time that their batch took.
    pub execution: TimeFigures,
    /// Time from their arrival to their answer.
    pub total: TimeFigures,
    /// The same, of the last answers.
    pub recent: RecentFigures,
    /// The batches whose highest level this is; requests of lower ones may have filled them up.
    pub batches: BatchFigures,
    /// Items a second since the model was loaded.
    pub items_per_second: Option<f64>,
    /// Items a second lately: an execution counts 1 / e after ten seconds.
    pub recent_items_per_second: f64,
}

/// How long something took, in seconds.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TimeFigures {
    /// How often it happened.
    pub count: u64,
    /// All of them together.
    pub sum: f64,
    /// The mean.
    pub mean: Option<f64>,
    /// The shortest, exactly.
    pub min: Option<f64>,
    /// The median.
    pub p50: Option<f64>,
    /// 95 of 100 took no longer.
    pub p95: Option<f64>,
    /// 99 of 100 took no longer.
    pub p99: Option<f64>,
    /// The longest, exactly.
    pub max: Option<f64>,
    /// (seconds, how many took no longer); the bounds are the same in every replica. Not in JSON.
    #[serde(skip)]
    pub buckets: Vec<(f64, u64)>,
}

/// Quantiles over the last answers, however long ago these were.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RecentFigures {
    /// How many answers they are over.
    pub count: u64,
    /// The median, in seconds.
    pub p50: Option<f64>,
    /// 95 of 100 took no longer.
    pub p95: Option<f64>,
    /// 99 of 100 took no longer.
    pub p99: Option<f64>,
}

/// Batches that ran and gave their answers.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchFigures {
    /// How many.
    pub count: u64,
    /// How many others failed, those among them whose requests ran again in smaller ones.
    pub failed: u64,
    /// How many by the reason for which they were closed.
    pub by_reason: BTreeMap<String, u64>,
    /// Items they held, padding not counted.
    pub items: u64,
    /// Items they might have held.
    pub capacity: u64,
    /// Rows that ran for nobody, to make up a size that the executor has ready.
    pub padded: u64,
    /// Items in a batch, on average.
    pub mean_items: Option<f64>,
    /// `items / capacity`.
    pub fill_rate: Option<f64>,
    /// The share of the rows that ran for nobody: `padded / (items + padded)`.
    pub padding_rate: Option<f64>,
    /// Time that executions took. With several at once, more than went by.
    pub busy_seconds: f64,
    /// (items, how many batches held no more). Not in JSON, whose `batch_stats` has every size.
    #[serde(skip)]
    pub sizes: Vec<(u64, u64)>,
}
