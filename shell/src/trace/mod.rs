//! Traces of the batch scheduler: everything it was told and everything it decided, so that each decision
//! can be made again.
//!
//! A trace is a text of JSON lines: a [`Line::Begin`], [`Line::Set`] for what was configured, a
//! [`Line::Call`] for each event with the decisions that followed, and a [`Line::End`]. Times are
//! nanoseconds of the server's clock. Nothing of a request's content is in it: only its model, the number
//! of its kind of shapes, its rows, bytes, priority and deadline.
//!
//! `serve --record FILE` writes one, through a [`Recorder`]; [`replay()`](replay::replay) puts the same events
//! to a new engine and compares what it decides.

mod recorder;
pub mod replay;
mod served;

pub use recorder::{Recorder, RecorderError};
pub use served::Served;

use serde::{Deserialize, Serialize};

/// The version of this format.
pub const FORMAT: u32 = 1;

/// One line of a trace.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Line {
    /// The first.
    Begin(Begin),
    /// The engine was configured.
    Set(Setting),
    /// The engine was told of an event.
    Call(Call),
    /// The last, of a trace that was closed.
    End(End),
}

/// What the engine was made with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Begin {
    /// [`FORMAT`].
    pub format: u32,
    /// The program's version.
    pub version: String,
    /// Requests that it has room for.
    pub requests: usize,
    /// Batch keys that it has room for.
    pub groups: usize,
    /// Models that it has room for.
    pub models: usize,
}

/// How a trace ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct End {
    /// Whether it has everything. Otherwise it was written more slowly than it was made, and stops where
    /// that began.
    pub complete: bool,
}

/// A change of the engine's configuration.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Setting {
    /// How a model is served.
    Model(Box<Served>),
    /// A model's number is free for another: the model is forgotten.
    Forget(u32),
    /// Batches that may run at once.
    MaxRunning(u32),
    /// Bytes that may wait.
    MaxBytes(u64),
    /// The memory of a pool, in bytes.
    Memory {
        /// The pool.
        pool: u8,
        /// Its bytes.
        bytes: u64,
    },
    /// The share of those that have waited for long.
    Fairness {
        /// In thousandths.
        min_share: u16,
        /// In nanoseconds.
        starve_after: u64,
    },
}

/// An event and what followed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Call {
    /// When, in nanoseconds.
    pub at: u64,
    /// What happened.
    pub event: Event,
    /// What the models' own closing rules said when they were asked, in order. Empty without such rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub judged: Vec<Judged>,
    /// What the engine decided, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decided: Vec<Decision>,
    /// When the engine wants to be woken, in nanoseconds.
    pub wake: Option<u64>,
}

/// What the engine was told. Requests and batches go by the numbers that the engine gave them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A request came in.
    Arrived {
        /// The model's number.
        model: u32,
        /// The number of its kind of shapes and parameters, good while it waits.
        signature: u32,
        /// Its rows.
        items: u32,
        /// Its priority.
        priority: u8,
        /// The bytes of its inputs.
        bytes: u64,
        /// When it is too late, in nanoseconds; `None` for never.
        deadline: Option<u64>,
        /// Whether it is a shadow copy, which the engine takes like any other.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        shadow: bool,
    },
    /// A request was cancelled.
    Cancelled {
        /// Its number.
        request: u64,
    },
    /// A batch was run.
    Finished {
        /// Its number.
        batch: u64,
        /// How long it took, in nanoseconds.
        took: u64,
        /// The memory it took, in bytes.
        memory: Option<u64>,
    },
    /// A batch failed.
    Failed {
        /// Its number.
        batch: u64,
        /// How long it took, in nanoseconds.
        took: u64,
        /// Whether for want of memory.
        out_of_memory: bool,
        /// Its requests that still want an answer.
        requests: Vec<u64>,
    },
    /// A batch takes too long.
    Overdue {
        /// Its number.
        batch: u64,
    },
    /// A batch was not run.
    Withdrawn {
        /// Its number.
        batch: u64,
    },
    /// Time passed.
    Tick,
    /// Nothing more is to come.
    Drain,
}

/// What a model's own closing rule said.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Judged {
    /// The model's number.
    pub model: u32,
    /// What it said.
    pub said: Said,
}

/// A closing rule's verdict.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// Run so many items.
    Close {
        /// Why, by name.
        reason: String,
        /// The items.
        items: u32,
    },
    /// Not before then, in nanoseconds.
    Wait(u64),
}

/// What the engine decided.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Decision {
    /// The request waits, and this is its number.
    Queued(u64),
    /// A batch goes to a worker.
    Dispatched {
        /// Its number.
        batch: u64,
        /// Why it closed, by name.
        reason: String,
        /// Rows to run it with.
        padded: u32,
        /// Its requests, in order.
        requests: Vec<u64>,
    },
    /// The request that came is refused.
    Refused(String),
    /// A request is given up.
    Released {
        /// Its number.
        request: u64,
        /// Why.
        why: String,
    },
    /// Something worth recording happened.
    Noticed(String),
}
