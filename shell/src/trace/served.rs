//! How a model is served, as a trace keeps it.

use crate::config::ModelConfig;
use serde::{Deserialize, Serialize};
use tensorforge_core::batch::{CostModel, Lane, Sizes};

/// How a model is served: its configuration, and what its executor makes of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Served {
    /// Its number in the scheduler.
    pub model: u32,
    /// Its name and version: `name/version`.
    pub name: String,
    /// Whether it has a batch dimension.
    pub batches: bool,
    /// The sizes that its batches are padded up to; empty for any size.
    pub sizes: Vec<u32>,
    /// Bytes that a batch takes, the fixed part and that of each item, where the executor has measured them.
    pub memory: Option<(u64, u64)>,
    /// Its configuration.
    pub config: ModelConfig,
}

impl Served {
    /// Its lane in the engine.
    #[must_use]
    pub fn lane(&self) -> Lane {
        let sizes = Sizes::new(&self.sizes).unwrap_or(Sizes::ANY);
        let mut lane = self.config.lane(self.batches, sizes);
        if let (None, Some((fixed, per_item))) = (self.config.memory, self.memory) {
            let cost = CostModel::new(fixed as f64, per_item as f64);
            lane.memory = cost.unwrap_or(CostModel::UNKNOWN);
        }
        lane
    }
}
