//! Why a request got no answer: the reasons that are told apart in the figures.

use tensorforge_core::{Dropped, Refused};

/// Why a request got no answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FailReason {
    /// It was turned away: as many requests, bytes or shapes wait as may.
    QueueFull,
    /// It waited, and one of higher priority needed its place.
    Displaced,
    /// The server was about to stop.
    Draining,
    /// Its model had failed too often, and is left alone for a while.
    ModelFailing,
    /// Its client gave it up before it ran.
    Canceled,
    /// Its time ran out before it ran.
    Timeout,
    /// The model or its runtime failed on it.
    Backend,
    /// It does not fit its model: inputs, parameters, rows or memory.
    Invalid,
    /// Anything else.
    Other,
}

impl FailReason {
    /// All of them; each stands at the place of its value (`why as usize`).
    pub const ALL: [Self; 9] = [
        Self::QueueFull,
        Self::Displaced,
        Self::Draining,
        Self::ModelFailing,
        Self::Canceled,
        Self::Timeout,
        Self::Backend,
        Self::Invalid,
        Self::Other,
    ];

    /// Its name in statistics: `queue_full`, `displaced` …
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Displaced => "displaced",
            Self::Draining => "draining",
            Self::ModelFailing => "model_failing",
            Self::Canceled => "canceled",
            Self::Timeout => "timeout",
            Self::Backend => "backend",
            Self::Invalid => "invalid",
            Self::Other => "other",
        }
    }

    /// What a refusal of core's engine counts as.
    #[must_use]
    pub const fn of_refused(why: Refused) -> Self {
        match why {
            Refused::ModelQueueFull { .. }
            | Refused::ModelBytesFull { .. }
            | Refused::LevelQueueFull { .. }
            | Refused::QueueFull { .. } => Self::QueueFull,
            Refused::Draining => Self::Draining,
            Refused::Restricted { .. } | Refused::Halted { .. } | Refused::CircuitOpen { .. } => {
                Self::ModelFailing
            }
            Refused::Late => Self::Timeout,
            Refused::Empty | Refused::TooLarge { .. } | Refused::Priority { .. } => Self::Invalid,
            _ => Self::Other,
        }
    }

    /// What it counts as when core's engine gave up a request that it had admitted.
    #[must_use]
    pub const fn of_dropped(why: Dropped) -> Self {
        match why {
            Dropped::Cancelled => Self::Canceled,
            Dropped::Expired => Self::Timeout,
            Dropped::Displaced { .. } => Self::Displaced,
            Dropped::CircuitOpen { .. } => Self::ModelFailing,
            Dropped::NoMemory => Self::Invalid,
            Dropped::Failed(_) => Self::Backend,
            _ => Self::Other,
        }
    }

    /// Whether the request wanted a turn and did not get one, by no fault of its own.
    pub(super) const fn is_in_vain(self) -> bool {
        match self {
            Self::QueueFull
            | Self::Displaced
            | Self::Draining
            | Self::ModelFailing
            | Self::Canceled
            | Self::Timeout => true,
            Self::Backend | Self::Invalid | Self::Other => false,
        }
    }
}
