//! Sums that keep what addition rounds away.

/// A running sum with the rounding errors summed beside it: what is added and later taken away again
/// leaves no trace.
///
/// Source: Neumaier, *Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen*, 1974.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sum {
    sum: f64,
    errors: f64,
}

impl Sum {
    pub(crate) const fn new() -> Self {
        Self { sum: 0.0, errors: 0.0 }
    }

    pub(crate) fn add(&mut self, value: f64) {
        let sum = self.sum + value;
        self.errors += if self.sum.abs() >= value.abs() {
            (self.sum - sum) + value
        } else {
            (value - sum) + self.sum
        };
        self.sum = sum;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.add(other.sum);
        self.add(other.errors);
    }

    pub(crate) const fn value(&self) -> f64 {
        self.sum + self.errors
    }
}
