//! How long a batch takes.

use super::Random;
use tensorforge_core::{Duration, Instant};

/// Execution time by the number of items: straight lines between points, the last one going on.
#[derive(Clone, PartialEq, Debug)]
pub struct Curve {
    /// Items and nanoseconds, both ascending.
    points: Vec<(f64, f64)>,
}

/// Why points are no curve.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CurveError {
    /// There is nothing to go by.
    #[error("it has no points")]
    Empty,
    /// A number of items is negative, infinite or no number.
    #[error("point {point}: {items} is no number of items")]
    NotItems {
        /// Counted from 1.
        point: usize,
        /// What it says.
        items: f64,
    },
    /// Two points are for the same number of items, or the later one for fewer.
    #[error("point {point}: {items} items come after {before}; sort the points by items")]
    NotAscending {
        /// Counted from 1.
        point: usize,
        /// Items of this point.
        items: f64,
        /// Items of the point before.
        before: f64,
    },
    /// A larger batch would take less time.
    #[error("point {point}: negative slope, {items} items take less time than {before}")]
    NegativeSlope {
        /// Counted from 1.
        point: usize,
        /// Items of this point.
        items: f64,
        /// Items of the point before.
        before: f64,
    },
    /// Nothing takes any time.
    #[error("every batch would take no time at all")]
    NoTime,
}

impl Curve {
    /// A fixed cost for each batch and one for each item.
    #[must_use]
    pub fn linear(fixed: Duration, per_item: Duration) -> Self {
        let (fixed, per_item) = (fixed.as_nanos() as f64, per_item.as_nanos() as f64);
        Self { points: vec![(0.0, fixed), (1.0, fixed + per_item)] }
    }

    /// A curve through points of items and time. Fewer items than the first point has take as long
    /// as that; more than the last has go on at the last slope.
    ///
    /// # Errors
    /// [`CurveError`] with the point at fault, counted from 1.
    pub fn through(points: &[(f64, Duration)]) -> Result<Self, CurveError> {
        let mut checked: Vec<(f64, f64)> = Vec::new();
        for (point, &(items, time)) in (1..).zip(points) {
            let nanos = time.as_nanos() as f64;
            if !(items.is_finite() && items >= 0.0) {
                return Err(CurveError::NotItems { point, items });
            }
            if let Some(&(before, nanos_before)) = checked.last() {
                if items <= before {
                    return Err(CurveError::NotAscending { point, items, before });
                }
                if nanos < nanos_before {
                    return Err(CurveError::NegativeSlope { point, items, before });
                }
            }
            checked.push((items, nanos));
        }
        match checked.last() {
            None => Err(CurveError::Empty),
            Some(&(_, 0.0)) => Err(CurveError::NoTime),
            Some(_) => Ok(Self { points: checked }),
        }
    }

    /// How long `items` take.
    #[must_use]
    pub fn time(&self, items: f64) -> Duration {
        Duration::from_nanos(self.nanos(items).round() as u64)
    }

    fn nanos(&self, items: f64) -> f64 {
        let after = self.points.iter().position(|&(at, _)| items <= at);
        let (before, after) = match (after, self.points.len()) {
            (_, 0) => return 0.0,
            (Some(0), _) | (_, 1) => return self.points[0].1,
            (Some(after), _) => (self.points[after - 1], self.points[after]),
            (None, count) => (self.points[count - 2], self.points[count - 1]),
        };
        before.1 + (after.1 - before.1) * (items - before.0) / (after.0 - before.0)
    }
}

/// A lasting change of speed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Step {
    /// When.
    pub at: Instant,
    /// What execution times are multiplied by from then on.
    pub factor: f64,
}

/// How executors run batches.
#[derive(Clone, PartialEq, Debug)]
pub struct Service {
    /// Execution time by items.
    pub curve: Curve,
    /// What one item of each shape counts for; shapes without an entry count as 1.
    pub shape_costs: Vec<f64>,
    /// Standard deviation of the logarithm of a batch's execution time, around an unchanged mean.
    pub noise: f64,
    /// A change of speed.
    pub step: Option<Step>,
    /// Decides the noise.
    pub seed: u64,
}

impl Service {
    /// Exactly what the curve says.
    #[must_use]
    pub const fn new(curve: Curve) -> Self {
        Self { curve, shape_costs: Vec::new(), noise: 0.0, step: None, seed: 0 }
    }

    /// What one item of `shape` counts for.
    #[must_use]
    pub fn cost(&self, shape: u32) -> f64 {
        self.shape_costs.get(shape as usize).copied().unwrap_or(1.0)
    }

    /// Items a second that one executor does in batches of `items`, at the cost 1 and before the step.
    #[must_use]
    pub fn capacity(&self, items: u32) -> f64 {
        f64::from(items) / (self.curve.nanos(f64::from(items)) / 1e9)
    }

    /// How long a batch of `rows` at `shape` takes that starts at `now`.
    #[must_use]
    pub fn time(&self, rows: u32, shape: u32, now: Instant, random: &mut Random) -> Duration {
        let mut nanos = self.curve.nanos(f64::from(rows) * self.cost(shape));
        if self.noise > 0.0 {
            nanos *= (self.noise * random.normal() - self.noise * self.noise / 2.0).exp();
        }
        if let Some(step) = self.step
            && now >= step.at
        {
            nanos *= step.factor;
        }
        // At least a nanosecond: an executor that takes no time could start without end.
        Duration::from_nanos((nanos.round() as u64).max(1))
    }
}
