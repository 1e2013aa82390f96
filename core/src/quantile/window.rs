//! The last values.

use super::grid::{Grid, Outside, RangeError, SPLIT};
use super::{Estimate, nearest_rank};

/// Quantiles of the last values, at most 0.78 % wrong in value at every step. See
/// [the module](super) for why.
///
/// It remembers each value's bucket in two bytes of `S`, a slice that the caller provides: an array,
/// a borrowed one, or a box where there is an allocator. Its length is how many values the window
/// holds; in a window of length 0 nothing is ever held.
///
/// **Memory:** that of `S`, 260 bytes an octave and 48 more. **Time:** [`insert`](Self::insert) is
/// O(1), about 2 ns whatever the length; a query looks at most at 64 buckets and `OCTAVES` sums.
///
/// ```
/// use tensorforge_core::quantile::Window;
///
/// let mut last: Window<[u16; 100]> = Window::new([0; 100]);
/// for millis in 1..=1000 {
///     last.insert(f64::from(millis) / 1e3);
/// }
/// let median = last.quantile(0.5).unwrap().value();
/// assert!((median - 0.95).abs() <= 0.01 * 0.95);
/// assert_eq!(last.len(), 100);
/// ```
#[derive(Clone, Debug)]
pub struct Window<S, const OCTAVES: usize = 30> {
    grid: Grid<OCTAVES>,
    /// The place of the oldest value once the window is full; of the next one before.
    next: usize,
    len: usize,
    rejected: u64,
    zeros: u32,
    below: u32,
    above: u32,
    totals: [u32; OCTAVES],
    counts: [[u32; SPLIT]; OCTAVES],
    slots: S,
}

/// What stands in a slot for a value without a bucket. Buckets are fewer.
const ZERO: u16 = u16::MAX;
const BELOW: u16 = u16::MAX - 1;
const ABOVE: u16 = u16::MAX - 2;

impl<S: AsRef<[u16]> + AsMut<[u16]>, const OCTAVES: usize> Window<S, OCTAVES> {
    /// An empty window from 2^-20 up: from a microsecond, if the values are seconds. What `slots`
    /// holds does not matter.
    #[must_use]
    pub const fn new(slots: S) -> Self {
        Self::over(Grid::DEFAULT, slots)
    }

    /// An empty window from the power of two at or below `lowest` up.
    ///
    /// # Errors
    /// If the range would not begin at a positive number, or end above 2^960.
    pub fn starting_at(lowest: f64, slots: S) -> Result<Self, RangeError> {
        Grid::starting_at(lowest).map(|grid| Self::over(grid, slots))
    }

    const fn over(grid: Grid<OCTAVES>, slots: S) -> Self {
        Self {
            grid,
            next: 0,
            len: 0,
            rejected: 0,
            zeros: 0,
            below: 0,
            above: 0,
            totals: [0; OCTAVES],
            counts: [[0; SPLIT]; OCTAVES],
            slots,
        }
    }

    /// Adds `value` as the newest; the oldest leaves if there is no more room. What is no value
    /// (negative, NaN, infinite) is dropped and counted, and nothing leaves for it. O(1).
    #[inline]
    pub fn insert(&mut self, value: f64) {
        let bucket = self.grid.bucket(value.to_bits());
        let code = if bucket < OCTAVES * SPLIT {
            bucket as u16
        } else {
            match self.grid.outside(value) {
                Outside::Zero => ZERO,
                Outside::Below => BELOW,
                Outside::Above => ABOVE,
                Outside::Rejected => {
                    self.rejected += 1;
                    return;
                }
            }
        };
        let slots = self.slots.as_mut();
        let length = slots.len().min(u32::MAX as usize);
        let Some(slot) = slots.get_mut(self.next) else { return };
        let oldest = core::mem::replace(slot, code);
        self.next = if self.next + 1 == length { 0 } else { self.next + 1 };
        if self.len == length {
            self.count(oldest, |count| *count = count.wrapping_sub(1));
        } else {
            self.len += 1;
        }
        self.count(code, |count| *count = count.wrapping_add(1));
    }

    /// Applies `change` to every counter of `code`. It never passes 0: what leaves has come.
    #[inline(always)]
    fn count(&mut self, code: u16, change: impl Fn(&mut u32)) {
        let octave = usize::from(code) / SPLIT;
        if let (Some(counts), Some(total)) =
            (self.counts.get_mut(octave), self.totals.get_mut(octave))
        {
            change(&mut counts[usize::from(code) % SPLIT]);
            change(total);
        } else {
            match code {
                ZERO => change(&mut self.zeros),
                BELOW => change(&mut self.below),
                _ => change(&mut self.above),
            }
        }
    }

    /// The smallest value in the window with at least `q` of it at or below. `None` if the window is
    /// empty or `q` is not in 0 to 1. At most 64 + `OCTAVES` additions.
    ///
    /// Out of range nothing is known but the side: a value below lies between 0 and
    /// [`lowest`](Self::lowest), one above between [`end`](Self::end) and 2^960.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<Estimate> {
        // At most `len`, which fits.
        let mut rank = nearest_rank(q, self.len as u64)? as u32;
        if rank <= self.zeros {
            return Some(Estimate::Within(0.0));
        }
        rank -= self.zeros;
        if rank <= self.below {
            return Some(Estimate::Below { at_least: 0.0, below: self.grid.lowest() });
        }
        rank -= self.below;
        let (octave, rank) = locate(&self.totals, rank);
        if let Some(counts) = self.counts.get(octave) {
            // Sums of eight first: that is two short searches in place of a long one.
            let (groups, _) = counts.as_chunks::<8>();
            let sums: [u32; SPLIT / 8] = core::array::from_fn(|i| groups[i].iter().sum());
            let (group, rank) = locate(&sums, rank);
            let (k, _) = groups.get(group).map_or((0, rank), |group| locate(group, rank));
            return Some(Estimate::Within(self.grid.answer((octave * 8 + group) * 8 + k)));
        }
        Some(Estimate::Above { at_least: self.grid.end(), at_most: Grid::<OCTAVES>::LARGEST })
    }

    /// How many values are in the window.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// How many values it has room for: the length of its slots, at most 2^32 - 1.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.slots.as_ref().len().min(u32::MAX as usize)
    }

    /// Whether no value is in the window.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many zeros are in the window.
    #[must_use]
    pub const fn zeros(&self) -> u32 {
        self.zeros
    }

    /// How many values in the window lie below the range, other than zeros.
    #[must_use]
    pub const fn below(&self) -> u32 {
        self.below
    }

    /// How many values in the window lie above the range.
    #[must_use]
    pub const fn above(&self) -> u32 {
        self.above
    }

    /// How many values were ever dropped because they were negative, infinite (or 2^960 and
    /// more) or NaN.
    #[must_use]
    pub const fn rejected(&self) -> u64 {
        self.rejected
    }

    /// Where the range begins.
    #[must_use]
    pub const fn lowest(&self) -> f64 {
        self.grid.lowest()
    }

    /// Where the range ends: the first value above it.
    #[must_use]
    pub const fn end(&self) -> f64 {
        self.grid.end()
    }

    /// Forgets every value; the range and the count of dropped ones stay.
    pub fn clear(&mut self) {
        (self.next, self.len) = (0, 0);
        (self.zeros, self.below, self.above) = (0, 0, 0);
        self.totals = [0; OCTAVES];
        self.counts = [[0; SPLIT]; OCTAVES];
    }
}

/// Which of some counters the item of this rank falls in, and its rank there; their number if it lies
/// beyond. Always looks at all of them: that is faster than to leave early, which cannot be foreseen.
fn locate<const N: usize>(counts: &[u32; N], rank: u32) -> (usize, u32) {
    let (mut place, mut before, mut end) = (0, 0, 0_u32);
    for &count in counts {
        end = end.wrapping_add(count); // all of them are fewer than 2^32
        if end < rank {
            place += 1;
            before = end;
        }
    }
    (place, rank - before)
}
