//! The P² algorithm.

use super::nearest_rank;

/// Quantiles of a smooth stream, by the P² algorithm: five markers for each quantile, moved along
/// parabolas towards where they should be.
///
/// **It promises no error.** On smooth data it is usually within a few per cent; on clusters far apart
/// it can be wrong by thousands of per cent, and it cannot be merged. Where a figure decides, take a
/// [`Sketch`](super::Sketch) or a [`Window`](super::Window). P² is for where 112 bytes a quantile are
/// all there is.
///
/// Up to five values its answers are exact. Any real number is a value; NaN and the infinities are
/// dropped and counted. Its quantiles are estimated apart from each other, so those that lie close may
/// come out in the wrong order.
///
/// **Memory:** 112 bytes a quantile and 16 more. **Time:** an insertion O(`Q`), about 10 ns a quantile;
/// a query O(1).
///
/// Source: Jain and Chlamtac, *The P² algorithm for dynamic calculation of quantiles and histograms
/// without storing observations*, CACM 28(10), 1985.
///
/// ```
/// use tensorforge_core::quantile::P2;
///
/// const LATENCY: P2<3> = P2::new([0.5, 0.95, 0.99]).unwrap();
///
/// let mut latency = LATENCY;
/// for millis in 1..=1000 {
///     latency.insert(f64::from(millis));
/// }
/// let [median, _, p99] = latency.quantiles().unwrap();
/// assert!((median - 500.0).abs() < 5.0 && (p99 - 990.0).abs() < 10.0);
/// ```
#[derive(Clone, Debug)]
pub struct P2<const Q: usize> {
    count: u64,
    rejected: u64,
    markers: [Markers; Q],
}

/// For one quantile: the smallest value, the quantile's, the largest, and one halfway to each.
#[derive(Clone, Copy, Debug)]
struct Markers {
    quantile: f64,
    heights: [f64; 5],
    /// How many values are at or below each marker.
    positions: [u64; 5],
    /// Where the three inner ones should be, counted from 0 and in values.
    wanted: [f64; 3],
}

impl<const Q: usize> P2<Q> {
    /// No values yet, for these quantiles, each from 0 to 1. `None` if one is not, or is NaN.
    #[must_use]
    pub const fn new(quantiles: [f64; Q]) -> Option<Self> {
        let mut markers = [Markers::new(0.0); Q];
        let mut i = 0;
        while i < Q {
            if !(quantiles[i] >= 0.0 && quantiles[i] <= 1.0) {
                return None;
            }
            markers[i] = Markers::new(quantiles[i]);
            i += 1;
        }
        Some(Self { count: 0, rejected: 0, markers })
    }

    /// Takes `value` in; NaN and the infinities are dropped and counted.
    pub fn insert(&mut self, value: f64) {
        if !value.is_finite() {
            self.rejected += 1;
            return;
        }
        for markers in &mut self.markers {
            match markers.heights.get_mut(..=self.count as usize) {
                Some(first) if self.count < 5 => insert_sorted(first, value),
                _ => markers.move_for(value),
            }
        }
        self.count += 1;
    }

    /// The estimates, in the order in which the quantiles were given. `None` before the first value.
    #[must_use]
    pub fn quantiles(&self) -> Option<[f64; Q]> {
        (self.count > 0).then(|| self.markers.map(|markers| markers.estimate(self.count)))
    }

    /// How many values were taken in.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// How many values were dropped because they were infinite or NaN.
    #[must_use]
    pub const fn rejected(&self) -> u64 {
        self.rejected
    }
}

/// Puts `value` in its place among the others of `slots`, which are sorted; its last slot is free.
fn insert_sorted(slots: &mut [f64], value: f64) {
    let mut hand = value;
    let last = slots.len() - 1;
    for slot in &mut slots[..last] {
        if hand < *slot {
            core::mem::swap(slot, &mut hand);
        }
    }
    slots[last] = hand;
}

impl Markers {
    const fn new(quantile: f64) -> Self {
        let wanted = [2.0 * quantile, 4.0 * quantile, 2.0 + 2.0 * quantile];
        Self { quantile, heights: [0.0; 5], positions: [1, 2, 3, 4, 5], wanted }
    }

    /// The steps of box 1 of the paper, part B.
    fn move_for(&mut self, value: f64) {
        let heights = &mut self.heights;
        heights[0] = heights[0].min(value);
        heights[4] = heights[4].max(value);
        // Every marker above the value moves up, the last one always.
        self.positions[4] += 1;
        for (height, position) in heights.iter().zip(&mut self.positions).skip(1).take(3) {
            *position += u64::from(value < *height);
        }
        let step = [self.quantile / 2.0, self.quantile, f64::midpoint(1.0, self.quantile)];
        for i in 1..4 {
            self.wanted[i - 1] += step[i - 1];
            let missing = self.wanted[i - 1] + 1.0 - self.positions[i] as f64;
            if missing >= 1.0 && self.positions[i + 1] - self.positions[i] > 1 {
                self.shift(i, 1.0);
                self.positions[i] += 1;
            } else if missing <= -1.0 && self.positions[i] - self.positions[i - 1] > 1 {
                self.shift(i, -1.0);
                self.positions[i] -= 1;
            }
        }
    }

    /// Moves the height of marker `i` one position up or down: along the parabola through it and its
    /// neighbours, or along the line to the neighbour if the parabola leaves their order.
    fn shift(&mut self, i: usize, by: f64) {
        let [below, here, above] = [i - 1, i, i + 1].map(|i| self.heights[i]);
        let [n_below, n, n_above] = [i - 1, i, i + 1].map(|i| self.positions[i] as f64);
        let parabola = here
            + by / (n_above - n_below)
                * ((n - n_below + by) * (above - here) / (n_above - n)
                    + (n_above - n - by) * (here - below) / (n - n_below));
        let moved = if below < parabola && parabola < above {
            parabola
        } else if by > 0.0 {
            here + (above - here) / (n_above - n)
        } else {
            here - (here - below) / (n - n_below)
        };
        // A difference may overflow, if the values are near the largest.
        self.heights[i] = moved.max(below).min(above);
    }

    fn estimate(&self, count: u64) -> f64 {
        match nearest_rank(self.quantile, count) {
            // All values are there, sorted.
            Some(rank) if count <= 5 => self.heights[rank as usize - 1],
            _ if self.quantile == 0.0 => self.heights[0],
            _ if self.quantile == 1.0 => self.heights[4],
            _ => self.heights[2],
        }
    }
}
