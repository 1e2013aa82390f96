//! Sums that keep what addition rounds away.

/// A running sum with the rounding errors summed beside it: what is added and later taken away again
/// leaves no trace.
///
/// **Memory:** 16 bytes. **Time:** O(1).
///
/// Source: Neumaier, *Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen*, ZAMM 54,
/// 1974.
///
/// ```
/// use tensorforge_core::stats::Sum;
///
/// let mut sum = Sum::new();
/// for value in [0.1, 1e16, -1e16] {
///     sum.add(value);
/// }
/// assert_eq!(sum.value(), 0.1);
/// assert!(!sum.add(f64::NAN));
/// assert_eq!(sum.value(), 0.1);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sum {
    sum: f64,
    errors: f64,
}

/// Just below 2^960: 2^63 such numbers add up without overflow.
const LARGEST: f64 = f64::from_bits(((1023 + 960) << 52) - 1);

impl Sum {
    /// Of nothing: 0.0.
    #[must_use]
    pub const fn new() -> Self {
        Self { sum: 0.0, errors: 0.0 }
    }

    /// Adds a number. NaN, the infinities, and numbers of 2^960 (about 1e289) or more in magnitude are
    /// not added; then the answer is `false`.
    pub const fn add(&mut self, value: f64) -> bool {
        // False for NaN.
        let summable = value.abs() <= LARGEST;
        if summable {
            let sum = self.sum + value;
            self.errors += if self.sum.abs() >= value.abs() {
                (self.sum - sum) + value
            } else {
                (value - sum) + self.sum
            };
            self.sum = sum;
        }
        summable
    }

    /// Adds what another summed.
    pub const fn merge(&mut self, other: &Self) {
        self.add(other.sum);
        self.add(other.errors);
    }

    /// The sum of the numbers added.
    #[must_use]
    pub const fn value(&self) -> f64 {
        self.sum + self.errors
    }
}
