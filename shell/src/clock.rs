//! The one place that reads a clock.
//!
//! Everything else takes `now`; `clippy.toml` holds the rest of the code to that.

use tensorforge_core::Instant;

/// Monotonic time since the program made this clock. Copies share the origin.
///
/// It is the clock that tokio's timers go by, so that in tests both stand still together.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: tokio::time::Instant,
}

impl Clock {
    /// A clock whose origin is now.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "the clock reads the clock")]
    pub fn start() -> Self {
        Self { origin: tokio::time::Instant::now() }
    }

    /// Time since the origin.
    #[must_use]
    pub fn now(self) -> Instant {
        Instant::ZERO + self.origin.elapsed().into()
    }

    /// Milliseconds since the Unix epoch, for people and logs; never for decisions.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "the clock reads the clock")]
    pub fn unix_millis() -> u64 {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since_epoch.map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }
}
