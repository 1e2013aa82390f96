//! Why a server did not answer, for programs: the status alone does not tell a full queue from a model that
//! fails.

use std::fmt;

/// The response header that says the [`Reason`] of an error answer.
pub const REASON_HEADER: &str = "x-tensorforge-reason";

/// The response header that says in milliseconds what `Retry-After` says in whole seconds. Azure's and
/// OpenAI's services send it, and their clients read it.
pub const RETRY_AFTER_MS: &str = "retry-after-ms";

/// Why a server did not answer.
///
/// ```
/// use tensorforge::contracts::Reason;
///
/// assert_eq!(Reason::Overload.to_string(), "overload");
/// assert_eq!(Reason::of("overload"), Reason::Overload);
/// assert_eq!(Reason::of("something new"), Reason::Other);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Reason {
    /// As much waits as may. The server and the model are well; another server may have room.
    Overload,
    /// The model has failed again and again, and is left alone for now.
    Unhealthy,
    /// The model is there, but cannot run.
    NotReady,
    /// It is being loaded, because requests ask for it.
    Loading,
    /// The server stops.
    Draining,
    /// The request's time was over before it ran.
    Late,
    /// A gateway reaches nobody who could answer.
    NoEndpoint,
    /// Gateways send the request round in a circle.
    Loop,
    /// One that this program does not know.
    Other,
}

impl Reason {
    /// Those that servers send.
    pub const ALL: [Self; 8] = [
        Self::Overload,
        Self::Unhealthy,
        Self::NotReady,
        Self::Loading,
        Self::Draining,
        Self::Late,
        Self::NoEndpoint,
        Self::Loop,
    ];

    /// Its name in the header.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Overload => "overload",
            Self::Unhealthy => "unhealthy",
            Self::NotReady => "not_ready",
            Self::Loading => "loading",
            Self::Draining => "draining",
            Self::Late => "late",
            Self::NoEndpoint => "no_endpoint",
            Self::Loop => "loop",
            Self::Other => "other",
        }
    }

    /// The reason of that name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let known = Self::ALL.into_iter().find(|reason| reason.name() == name.trim());
        known.unwrap_or(Self::Other)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
