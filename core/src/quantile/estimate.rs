//! What is known of a quantile.

/// What is known of a quantile: the value to 0.78 %, or on which side of the range it lies.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Estimate {
    /// At most 0.78 % away from the true quantile. A zero is exact.
    Within(f64),
    /// The true quantile lies below the range.
    Below {
        /// The smallest value seen: the quantile is no smaller.
        at_least: f64,
        /// Where the range begins: the quantile is smaller than that.
        below: f64,
    },
    /// The true quantile lies above the range.
    Above {
        /// Where the range ends: the quantile is no smaller.
        at_least: f64,
        /// The largest value seen: the quantile is no larger.
        at_most: f64,
    },
}

impl Estimate {
    /// One figure: the estimate; outside the range, where no error is promised, the upper bound, so
    /// that a latency is never told too short.
    #[must_use]
    pub const fn value(self) -> f64 {
        match self {
            Self::Within(value) | Self::Below { below: value, .. } => value,
            Self::Above { at_most, .. } => at_most,
        }
    }

    /// The value, if the error bound holds for it.
    #[must_use]
    pub const fn within(self) -> Option<f64> {
        match self {
            Self::Within(value) => Some(value),
            Self::Below { .. } | Self::Above { .. } => None,
        }
    }
}
