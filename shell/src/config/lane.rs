//! From a model's configuration to the lane that it has in the scheduler.

use super::{ConfigError, ModelConfig, some_duration};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tensorforge_core::batch::{
    CostModel, FailurePolicy, LEVELS, Lane, LevelRule, Padding, PoolId, Sizes,
};

/// What to do between two sizes that a batch may have.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PaddingConfig {
    /// Pads up to the next size.
    #[default]
    Up,
    /// Runs the next size below, and lets the rest wait.
    Down,
    /// Whichever takes less time for each item.
    Cheapest,
}

/// What is different for requests of one priority.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LevelConfig {
    /// Longest wait for company. Default: the model's.
    #[serde(with = "some_duration", skip_serializing_if = "Option::is_none")]
    pub max_wait: Option<Duration>,
    /// Most items in a batch whose highest priority this is: smaller ones answer it sooner, at the cost of
    /// throughput. Default: the model's.
    pub max_batch: Option<u32>,
    /// Requests of this priority that may wait; more are refused with status 429.
    pub max_queued: Option<u32>,
    /// How long an answer is worth waiting for, for requests that do not say so. Default: the model's.
    #[serde(with = "some_duration", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
}

/// Device memory that a batch takes: `fixed_kib` + items * `per_item_kib`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryConfig {
    /// KiB of any batch.
    pub fixed_kib: u32,
    /// KiB of each item.
    pub per_item_kib: u32,
}

impl ModelConfig {
    pub(super) fn check_levels(&self) -> Result<(), ConfigError> {
        let value =
            |key: &str, problem: String| Err(ConfigError::Value { key: key.into(), problem });
        let most = LEVELS as u8;
        if self.priorities == 0 || self.priorities > most {
            return value("priorities", format!("must be 1 to {most}"));
        }
        let highest = self.priorities - 1;
        if self.restricted_priority > highest {
            return value("restricted_priority", format!("the highest priority is {highest}"));
        }
        for (name, level) in &self.priority {
            let key = format!("priority.{name}");
            if self.level_of(name).is_none() {
                return value(&key, format!("priorities are numbers from 0 to {highest}"));
            }
            for (name, number) in [("max_batch", level.max_batch), ("max_queued", level.max_queued)]
            {
                if number == Some(0) {
                    return value(&format!("{key}.{name}"), "must be at least 1".into());
                }
            }
            if level.timeout == Some(Duration::ZERO) {
                return value(
                    &format!("{key}.timeout"),
                    "must be more than 0; leave it out for none".into(),
                );
            }
        }
        if self.batch_by.iter().any(|name| name == "priority" || name == "timeout") {
            let problem = "'priority' and 'timeout' are no part of a batch's key: they may differ";
            return value("batch_by", problem.into());
        }
        Ok(())
    }

    /// The priority that a key of `priority` names, written as in requests.
    fn level_of(&self, name: &str) -> Option<usize> {
        (0..usize::from(self.priorities)).find(|level| level.to_string() == name)
    }

    /// How the scheduler serves the model: in batches if it `batches`, padded to `sizes` if there are any.
    #[must_use]
    pub fn lane(&self, batches: bool, sizes: Sizes) -> Lane {
        let max_items = if batches { self.max_batch } else { 1 };
        // The tuner chooses waits within these.
        let max_wait = self.target_p99.unwrap_or(self.max_wait).into();
        let mut levels = [LevelRule::new(max_wait); LEVELS];
        for rule in &mut levels {
            rule.timeout = self.timeout.map_or(tensorforge_core::Duration::MAX, Into::into);
        }
        for (name, level) in &self.priority {
            let Some(rule) = self.level_of(name).and_then(|level| levels.get_mut(level)) else {
                continue;
            };
            rule.max_wait = level.max_wait.map_or(rule.max_wait, Into::into);
            rule.max_items = level.max_batch.unwrap_or(rule.max_items);
            rule.max_queued = level.max_queued.unwrap_or(rule.max_queued);
            rule.timeout = level.timeout.map_or(rule.timeout, Into::into);
        }
        let preferred = if batches { Sizes::new(&self.preferred_sizes) } else { Ok(Sizes::ANY) };
        let failures = FailurePolicy {
            restricted_priority: self.restricted_priority,
            ..if self.escalate { FailurePolicy::DEFAULT } else { FailurePolicy::NONE }
        };
        let memory = self.memory.map_or(CostModel::UNKNOWN, |memory| {
            let bytes = |kib: u32| f64::from(kib) * 1024.0;
            // Neither part can be negative.
            CostModel::new(bytes(memory.fixed_kib), bytes(memory.per_item_kib))
                .unwrap_or(CostModel::UNKNOWN)
        });
        Lane {
            sizes: if batches { sizes } else { Sizes::ANY },
            padding: match self.padding {
                PaddingConfig::Up => Padding::Up,
                PaddingConfig::Down => Padding::Down,
                PaddingConfig::Cheapest => Padding::Cheapest,
            },
            // Checked with the rest of the configuration.
            preferred: preferred.unwrap_or(Sizes::ANY),
            priorities: self.priorities,
            levels,
            eager: self.eager,
            instances: self.instances,
            max_queued: self.max_queued,
            max_queued_bytes: self.max_queued_kib.map_or(u64::MAX, |kib| u64::from(kib) << 10),
            displace: self.displace,
            weight: self.weight,
            memory,
            pool: PoolId(0),
            failures,
            ..Lane::new(max_items, max_wait)
        }
    }
}
