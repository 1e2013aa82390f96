//! What is known of a mean, at every moment at once.

/// The parameters of the boundary: how fast the epochs grow, and how the error is spread over them.
const ETA: f64 = 2.0;
const LN_ETA: f64 = core::f64::consts::LN_2;
const S: f64 = 1.4;
/// Riemann's zeta function at [`S`].
const ZETA: f64 = 3.105_547_3;
/// (η^¼ + η^-¼) / √2 and (√η + 1) / 2.
const K1: f64 = 1.435_499_98;
const K2: f64 = 1.207_106_79;

/// Between which two values a mean lies.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Bounds {
    /// It is no smaller.
    pub low: f64,
    /// It is no larger.
    pub high: f64,
}

/// A confidence sequence for the mean of values between 0 and a limit: bounds that hold at every moment
/// at once, so one may look after each value and stop when one likes.
///
/// With probability `1 - 2 alpha`, all bounds that [`bounds`](Self::bounds) ever tells for this `alpha`
/// are true, each of the two sides with `1 - alpha`. That needs no model of the values and no minimum of
/// them: only that each one's mean, given those before, is the same. Values above the limit count as the
/// limit, so what is bounded is the mean of the values cut off there. The width falls with the variance,
/// as √(log log n / n); the limit counts for 1 / n.
///
/// O(1), a division for a value; two logarithms and a root for the bounds. **Memory:** 32 bytes.
///
/// Source: S. Howard, A. Ramdas, J. McAuliffe and J. Sekhon, *Time-uniform, nonparametric, nonasymptotic
/// confidence sequences*, Annals of Statistics 2021: theorem 4 (empirical Bernstein) with the
/// polynomial stitched boundary of theorem 1, for η = 2 and s = 1.4.
///
/// ```
/// use tensorforge_core::route::ConfidenceSequence;
///
/// let mut millis = ConfidenceSequence::new(100.0).unwrap();
/// (0..10_000).for_each(|n| millis.insert(f64::from(n % 20)));
/// let bounds = millis.bounds(0.025);
/// assert!(bounds.low < 9.5 && 9.5 < bounds.high && bounds.high - bounds.low < 1.0);
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ConfidenceSequence {
    count: u64,
    /// Of values as parts of the limit.
    mean: f64,
    /// The sum of squares of each value's distance from the mean of those before it.
    spread: f64,
    limit: f64,
}

impl ConfidenceSequence {
    /// For values from 0 to `limit`; `None` for a limit that is not a number above 0.
    #[must_use]
    pub const fn new(limit: f64) -> Option<Self> {
        if limit > 0.0 && limit < f64::INFINITY { Some(Self::up_to(limit)) } else { None }
    }

    /// For values from 0 to `limit`, which is above 0.
    pub(super) const fn up_to(limit: f64) -> Self {
        // What is predicted of the first one: the middle.
        Self { count: 0, mean: 0.5, spread: 0.0, limit }
    }

    /// Takes a value in. What is no number, or negative, counts as 0.
    pub fn insert(&mut self, value: f64) {
        let part = (value / self.limit).clamp(0.0, 1.0);
        let part = if part.is_nan() { 0.0 } else { part };
        let distance = part - self.mean;
        self.spread += distance * distance;
        self.count += 1;
        // The first value replaces the middle.
        self.mean += distance / self.count as f64;
    }

    /// How many values there were.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The mean so far; `None` before the first value.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then_some(self.mean * self.limit)
    }

    /// The bounds now, each of which fails with a probability of at most `alpha`, at any time.
    #[must_use]
    pub fn bounds(&self, alpha: f64) -> Bounds {
        let unknown = Bounds { low: 0.0, high: self.limit };
        if self.count == 0 {
            return unknown;
        }
        let width = boundary(self.spread, alpha) / self.count as f64;
        if !width.is_finite() {
            return unknown;
        }
        Bounds {
            low: (self.mean - width).max(0.0) * self.limit,
            high: (self.mean + width).min(1.0) * self.limit,
        }
    }
}

/// How far a sum of values in \[0, 1\] strays from its expectation while its spread is so much.
fn boundary(spread: f64, alpha: f64) -> f64 {
    let spread = spread.max(1.0);
    let epoch = libm::log(ETA * spread) / LN_ETA;
    let l = S * libm::log(epoch) + libm::log(ZETA / alpha);
    libm::sqrt(K1 * K1 * spread * l + K2 * K2 * l * l) + K2 * l
}
