//! Why a request got no answer.

use crate::device::ExecuteError;
use crate::telemetry::FailReason;
use tensorforge_core::{Dropped, Duration, Refused};

/// Why a request got no answer from its model.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The scheduler did not take it.
    #[error("{}", refusal(.0))]
    Refused(Refused),
    /// The model failed on it.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
    /// The runtime panicked on it.
    #[error("{backend} panicked while it ran the model: {message}")]
    Panicked {
        /// The runtime.
        backend: &'static str,
        /// The panic's message.
        message: String,
    },
    /// Its execution took too long and was given up.
    #[error("the model did not answer within {after:?} (hang_timeout)")]
    Hung {
        /// How long it was waited for.
        after: std::time::Duration,
    },
    /// It was admitted and given up before it ran.
    #[error("{}", given_up(.0))]
    Dropped(Dropped),
    /// It would have to run in more parts than may wait.
    #[error("the request has more rows than may wait for the model at once, which is {most}")]
    TooManyRows {
        /// The most rows of one request.
        most: usize,
    },
    /// Requests of the model wait in as many different shapes, or with as many different parameters of
    /// `batch_by`, as may.
    #[error(
        "requests of {most} different kinds wait for the model already: shapes, or parameters of batch_by"
    )]
    TooManyKinds {
        /// How many may.
        most: usize,
    },
    /// It ran in parts whose answers do not fit together.
    #[error("the request ran in parts, and their answers cannot be put together: {message}")]
    NotJoined {
        /// Why not.
        message: String,
    },
    /// The scheduler was stopped before the request ran.
    #[error("the server stopped before the request ran")]
    Stopped,
}

impl RunError {
    pub(super) fn not_joined(why: impl ToString) -> Self {
        Self::NotJoined { message: why.to_string() }
    }

    /// What it counts as in the model's figures.
    #[must_use]
    pub const fn fail_reason(&self) -> FailReason {
        match self {
            Self::Refused(why) => FailReason::of_refused(*why),
            Self::Dropped(why) => FailReason::of_dropped(*why),
            Self::Execute(_)
            | Self::Panicked { .. }
            | Self::Hung { .. }
            | Self::NotJoined { .. } => FailReason::Backend,
            Self::TooManyRows { .. } => FailReason::Invalid,
            Self::TooManyKinds { .. } => FailReason::QueueFull,
            Self::Stopped => FailReason::Draining,
        }
    }

    /// Whether its timeout passed before its turn.
    #[must_use]
    pub const fn is_late(&self) -> bool {
        matches!(self, Self::Refused(Refused::Late) | Self::Dropped(Dropped::Expired))
    }

    /// Whether it was turned away only because too much waits: the model and the server are well.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        use Refused::{LevelQueueFull, ModelBytesFull, ModelQueueFull, QueueFull};
        match self {
            Self::Refused(why) => matches!(
                why,
                ModelQueueFull { .. }
                    | ModelBytesFull { .. }
                    | LevelQueueFull { .. }
                    | QueueFull { .. }
            ),
            Self::Dropped(why) => matches!(why, Dropped::Displaced { .. }),
            Self::TooManyKinds { .. } => true,
            _ => false,
        }
    }

    /// When it may be sent again, where that is known.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(why) => why.retry_after(),
            Self::Dropped(
                Dropped::Displaced { retry_after, .. } | Dropped::CircuitOpen { retry_after },
            ) => Some(*retry_after),
            _ => None,
        }
    }

    /// Whether it was turned away because too much waits or the server stops: another time, or another
    /// server, may take it.
    #[must_use]
    pub const fn is_overload(&self) -> bool {
        match self {
            Self::Refused(why) => {
                use Refused::{Empty, Late, Priority, TooLarge, UnknownModel};
                !matches!(why, UnknownModel | Empty | Late | Priority { .. } | TooLarge { .. })
            }
            Self::Dropped(why) => {
                matches!(why, Dropped::Displaced { .. } | Dropped::CircuitOpen { .. })
            }
            Self::Stopped | Self::TooManyKinds { .. } => true,
            _ => false,
        }
    }
}

fn given_up(why: &Dropped) -> &'static str {
    match why {
        Dropped::Expired => "the request's timeout passed while it waited",
        Dropped::Displaced { .. } => "a request of higher priority needed the room it waited in",
        Dropped::CircuitOpen { .. } => "the model fails again and again, and is left alone for now",
        Dropped::NoMemory => "the request needs more memory than its device has",
        _ => "the request was given up",
    }
}

fn refusal(why: &Refused) -> String {
    match why {
        Refused::UnknownModel => "the model is not served here".into(),
        Refused::Draining => "the server is draining and takes no more requests".into(),
        Refused::Empty => "the request has no rows".into(),
        Refused::TooLarge { max_items } => {
            format!("the request has more rows than one batch may hold, which is {max_items}")
        }
        Refused::Priority { priorities } => {
            format!("the model's priorities are 0 to {}", priorities - 1)
        }
        Refused::Late => "the request's timeout had passed when it came".into(),
        Refused::Restricted { priority } => {
            format!("after failures of the model, only priorities from {priority} on are let in")
        }
        Refused::Halted { .. } => "after failures of the model, no request is let in".into(),
        Refused::CircuitOpen { .. } => {
            "the model fails again and again, and is left alone for now".into()
        }
        Refused::ModelQueueFull { max_queued, .. } => {
            format!("the model's queue is full: {max_queued} requests wait already")
        }
        _ => "the server's queue is full: too many requests, or too many different shapes, wait"
            .into(),
    }
}
