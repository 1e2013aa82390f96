//! Why a batch was closed.

/// Why a batch was closed. Every batch carries one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ClosingReason {
    /// It holds as many items as its limit allows, or the next request does not fit.
    Full,
    /// It holds a preferred size.
    Preferred,
    /// A request has waited as long as its priority level allows.
    MaxWait,
    /// A request would miss its deadline if it waited any longer.
    Deadline,
    /// The device has no memory for more items.
    Memory,
    /// Work of lower priority is ready, and must not go first.
    Priority,
    /// Nothing is to be gained from waiting: its instance is idle, and no company is expected in time.
    Idle,
    /// It failed, or part of it did, and is run again.
    Retry,
    /// The engine is draining: nothing will come that is worth waiting for.
    Drain,
    /// The model's own closing rule said so.
    Custom,
}

impl ClosingReason {
    /// All of them; each stands at the place of its value (`reason as usize`).
    pub const ALL: [Self; 10] = [
        Self::Full,
        Self::Preferred,
        Self::MaxWait,
        Self::Deadline,
        Self::Memory,
        Self::Priority,
        Self::Idle,
        Self::Retry,
        Self::Drain,
        Self::Custom,
    ];

    /// Its name in statistics and traces: `full`, `preferred`, `max_wait` …
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Preferred => "preferred",
            Self::MaxWait => "max_wait",
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::Priority => "priority",
            Self::Idle => "idle",
            Self::Retry => "retry",
            Self::Drain => "drain",
            Self::Custom => "custom",
        }
    }

    /// The reason of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}
