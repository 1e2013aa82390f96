//! What a batch costs: a fixed part and one for each item.

use core::fmt;

/// What a batch of so many items costs: `fixed + per_item * items`, neither part ever negative.
///
/// The unit is the caller's: nanoseconds of execution, bytes of device memory. It learns from batches
/// that ran, by least squares in which each observation counts 0.9 of the next. So it follows a slow
/// change within 20 to 30 observations. A lasting step by more than a quarter (and more than four
/// times the usual deviation) gets through with its third observation in a row, as the old line
/// scaled; a single one that far off is taken for an outlier and counts no more than that limit.
///
/// What one size cannot tell is taken from before: while all batches are equal, a change scales the
/// line as it was last known, and a line through the origin if nothing was. That overrates larger
/// batches until some have run, so a budget is not passed by ignorance.
///
/// Only `+ - * /`: equal observations give the same bits on every target. **Memory:** 88 bytes.
/// **Time:** O(1), some forty operations for [`observe`](Self::observe), none for the rest but
/// [`most_items_within`](Self::most_items_within), which tries 33 sizes.
///
/// Source: recursive least squares with exponential forgetting, e.g. Ljung, *System Identification*,
/// 2nd ed. 1999, section 11.2; residuals are clipped as in Huber, *Robust Statistics*, 1981.
///
/// ```
/// use tensorforge_core::batch::CostModel;
///
/// let mut cost = CostModel::UNKNOWN;
/// assert_eq!(cost.estimate(8), None);
/// for items in [1, 4, 2, 8, 3, 6, 1, 7, 5, 2, 8, 1, 4, 3, 6] {
///     cost.observe(items, 1_000 + 50 * u64::from(items));
/// }
/// let sixteen = cost.estimate(16).unwrap();
/// assert!(sixteen.abs_diff(1_800) < 20);
/// let most = cost.most_items_within(1_800).unwrap();
/// assert!(most.abs_diff(16) <= 1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CostModel {
    fixed: f64,
    per_item: f64,
    /// How many observations the sums are worth; 0 if nothing is known.
    weight: f64,
    /// The weighted means, through which the line goes. No items: the sums are still to be made from
    /// the line.
    mean_items: f64,
    mean_cost: f64,
    /// Weighted sums around the means: of squared items, of items times cost.
    spread: f64,
    joint: f64,
    /// The usual distance from the line, as a share of it.
    deviation: f64,
    /// Of the observations in a row that were too far above the line (or, if negative, below): how
    /// many, and the factor that the nearest of them was off by.
    astray: i32,
    factor: f64,
}

/// Why there is no such [`CostModel`].
///
/// ```
/// use tensorforge_core::batch::{CostError, CostModel};
///
/// assert_eq!(CostModel::new(-1.0, 2.0), Err(CostError::NegativeFixed));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CostError {
    /// The fixed part is below 0.
    NegativeFixed,
    /// The part for each item is below 0.
    NegativeSlope,
    /// A part is infinite or NaN.
    NotFinite,
}

impl fmt::Display for CostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NegativeFixed => "the fixed cost is negative",
            Self::NegativeSlope => "the cost of an item is negative",
            Self::NotFinite => "a cost is infinite or not a number",
        })
    }
}

impl core::error::Error for CostError {}

/// What an observation counts beside the next one.
const KEPT: f64 = 0.9;
/// How many observations a line is worth that was given, or scaled after a step.
const PRIOR: f64 = 3.0;
/// Sizes that differ by less than this share of their mean say little about the shape.
const DISTINCT: f64 = 0.1;
/// An observation is astray beyond both of these: so many usual deviations, this share of the line.
const DEVIATIONS: f64 = 4.0;
const SHARE: f64 = 0.25;
/// So many in a row astray on one side are a step.
const STEP: i32 = 3;
/// No cost is as large: 2^64.
const LARGEST: f64 = 18_446_744_073_709_551_616.0;

impl CostModel {
    /// Nothing is known yet.
    pub const UNKNOWN: Self = Self {
        fixed: 0.0,
        per_item: 0.0,
        weight: 0.0,
        mean_items: 0.0,
        mean_cost: 0.0,
        spread: 0.0,
        joint: 0.0,
        deviation: 0.0,
        astray: 0,
        factor: 1.0,
    };

    /// A line to begin with, which counts like three observations. A part above 2^64 counts as 2^64.
    ///
    /// # Errors
    /// If a part is negative, infinite or NaN.
    ///
    /// ```
    /// use tensorforge_core::batch::CostModel;
    ///
    /// let cost = CostModel::new(1_000.0, 50.0).unwrap();
    /// assert_eq!(cost.estimate(8), Some(1_400));
    /// ```
    pub fn new(fixed: f64, per_item: f64) -> Result<Self, CostError> {
        if !(fixed.is_finite() && per_item.is_finite()) {
            return Err(CostError::NotFinite);
        }
        if fixed < 0.0 {
            return Err(CostError::NegativeFixed);
        }
        if per_item < 0.0 {
            return Err(CostError::NegativeSlope);
        }
        Ok(Self {
            fixed: fixed.min(LARGEST),
            per_item: per_item.min(LARGEST),
            weight: PRIOR,
            ..Self::UNKNOWN
        })
    }

    /// Learns that a batch of `items` cost `cost`. A batch of no items says nothing. O(1).
    pub fn observe(&mut self, items: u32, cost: u64) {
        if items == 0 {
            return;
        }
        let (items, cost) = (f64::from(items), cost as f64);
        if self.weight == 0.0 {
            self.begin(items, cost);
            return;
        }
        if self.mean_items == 0.0 {
            self.gather_around(items);
        }
        let (mut low, mut high) = self.plausible(items);
        let side = i32::from(cost > high) - i32::from(cost < low);
        if side == 0 {
            self.astray = 0;
        } else if self.strayed(side, items, cost) == STEP {
            if self.at(items) > 0.0 {
                self.scale(self.factor);
                (low, high) = self.plausible(items);
            } else {
                self.begin(items, cost);
                return;
            }
        }
        self.learn(items, cost.max(low).min(high));
    }

    /// Whether there is an estimate.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.weight > 0.0
    }

    /// The part that every batch costs, 0 or more; 0 if nothing is known.
    #[must_use]
    pub const fn fixed(&self) -> f64 {
        self.fixed
    }

    /// The part that each item adds, 0 or more; 0 if nothing is known.
    #[must_use]
    pub const fn per_item(&self) -> f64 {
        self.per_item
    }

    /// What a batch of `items` would cost, to the nearest unit, at most `u64::MAX`. `None` if nothing
    /// is known.
    #[must_use]
    pub fn estimate(&self, items: u32) -> Option<u64> {
        // The conversion saturates.
        self.is_known().then(|| (self.at(f64::from(items)) + 0.5) as u64)
    }

    /// The most items whose [`estimate`](Self::estimate) is within `budget`: exactly that, at every
    /// magnitude. 0 if not even one fits, `u32::MAX` if any number does. `None` if nothing is known.
    #[must_use]
    pub fn most_items_within(&self, budget: u64) -> Option<u32> {
        // Rounding keeps the order, so estimates never fall as items grow: halve the range. A quotient
        // would be off where a double no longer tells units apart.
        let fits = |items| self.estimate(items).is_some_and(|cost| cost <= budget);
        if !self.is_known() {
            return None;
        }
        if fits(u32::MAX) {
            return Some(u32::MAX);
        }
        let (mut most, mut too_many) = (0, u32::MAX);
        while too_many - most > 1 {
            let middle = most + (too_many - most) / 2;
            if fits(middle) {
                most = middle;
            } else {
                too_many = middle;
            }
        }
        Some(most)
    }

    fn at(&self, items: f64) -> f64 {
        self.fixed + self.per_item * items
    }

    /// From one observation: all of it is ascribed to the items.
    fn begin(&mut self, items: f64, cost: f64) {
        *self = Self {
            per_item: cost / items,
            weight: 1.0,
            mean_items: items,
            mean_cost: cost,
            ..Self::UNKNOWN
        };
    }

    /// Sums as if some observations around `items` had been on the line.
    fn gather_around(&mut self, items: f64) {
        self.weight = PRIOR;
        self.mean_items = items;
        self.mean_cost = self.at(items);
        self.spread = PRIOR * items * items / 4.0;
        self.joint = self.per_item * self.spread;
    }

    /// Of what sums there are, how much the last known shape counts.
    fn shape(&self) -> f64 {
        self.weight * (DISTINCT * self.mean_items) * (DISTINCT * self.mean_items)
    }

    /// The line is known at this size, not only somewhere else.
    fn covers(&self, items: f64) -> bool {
        let distance = items - self.mean_items;
        distance * distance * self.weight <= 9.0 * (self.spread + self.shape())
    }

    /// Between what a batch may have cost without being astray.
    fn plausible(&self, items: f64) -> (f64, f64) {
        let share = SHARE.max(DEVIATIONS * self.deviation);
        let (mut low, mut high) = (self.at(items), self.at(items));
        if !self.covers(items) {
            // At a new size anything goes that a line through the means could give.
            let steep = self.mean_cost / self.mean_items * items;
            low = self.mean_cost.min(steep);
            high = self.mean_cost.max(steep);
        }
        (low * (1.0 - share), high * (1.0 + share))
    }

    /// Notes an observation astray on this side; how many that makes in a row.
    fn strayed(&mut self, side: i32, items: f64, cost: f64) -> i32 {
        // Without a line to scale, there is no factor and none is used.
        let factor = cost / self.at(items).max(f64::MIN_POSITIVE);
        if self.astray * side > 0 {
            self.astray += side;
            // The nearest: two outliers next to each other do not tell how large the step was.
            self.factor = if side > 0 { self.factor.min(factor) } else { self.factor.max(factor) };
        } else {
            self.astray = side;
            self.factor = factor;
        }
        self.astray * side
    }

    /// After a step: the same shape, `factor` times as much.
    fn scale(&mut self, factor: f64) {
        self.fixed *= factor;
        self.per_item *= factor;
        self.astray = 0;
        self.gather_around(self.mean_items);
    }

    fn learn(&mut self, items: f64, cost: f64) {
        let line = self.at(items);
        if line > 0.0 && self.covers(items) {
            let distance = if cost < line { line - cost } else { cost - line };
            self.deviation += (1.0 - KEPT) * (distance / line - self.deviation);
        }
        let before = KEPT * self.weight;
        self.weight = before + 1.0;
        let (more, dearer) = (items - self.mean_items, cost - self.mean_cost);
        self.mean_items += more / self.weight;
        self.mean_cost += dearer / self.weight;
        let share = before / self.weight;
        self.spread = KEPT * self.spread + share * more * more;
        self.joint = KEPT * self.joint + share * more * dearer;

        // The last line, scaled to go through the means, stands in for what sizes do not tell.
        let (steepest, last) = (self.mean_cost / self.mean_items, self.at(self.mean_items));
        let known = if last > 0.0 { self.per_item * (self.mean_cost / last) } else { steepest };
        let shape = self.shape();
        let slope = (self.joint + shape * known) / (self.spread + shape);
        self.per_item = slope.max(0.0).min(steepest);
        self.fixed = (self.mean_cost - self.per_item * self.mean_items).max(0.0);
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod batch_scheduler;
