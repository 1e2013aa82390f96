//! When did the mean shift?

use super::is_value;

/// Which way a mean shifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Upwards.
    Up,
    /// Downwards.
    Down,
}

/// A shift of the mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift {
    /// Which way.
    pub direction: Direction,
    /// The number of the first value after the shift, as far as can be told: the first value ever
    /// observed has the number 0.
    pub since: u64,
    /// The number of the value that gave it away.
    pub noticed: u64,
    /// The mean from the last shift up to `since`.
    pub before: f64,
    /// The mean from `since` on.
    pub after: f64,
}

/// Tells when the mean of a stream has shifted, up or down, and since which value.
///
/// It adds up by how much each value exceeds the mean so far plus `tolerance`. That sum drifts down
/// while the mean holds; once it has risen by more than `threshold` above its lowest point, the mean
/// has shifted, since that lowest point. Likewise downwards. After a shift it begins anew.
///
/// `tolerance` is the change of the mean that does not matter, often half of the one that does;
/// `threshold` trades false alarms for delay: a shift by `d` is noticed after about
/// `threshold / (d - tolerance)` values. Both are in the unit of the values. With normal noise of
/// standard deviation s and a tolerance of s / 2, a threshold of 10 s gives a false alarm about every
/// 70,000 values, one of 15 s about every ten million (by Siegmund's
/// approximation).
///
/// What [is no value](super) is dropped, counted, and has no number. **Memory:** 144 bytes at most.
/// **Time:** O(1).
///
/// Source: Page, *Continuous inspection schemes*, Biometrika 41, 1954; Hinkley, *Inference about the
/// change-point from cumulative sum tests*, Biometrika 58, 1971.
///
/// ```
/// use tensorforge_core::stats::{Direction, PageHinkley};
///
/// let mut millis = PageHinkley::new(0.5, 10.0).unwrap();
/// let quick = |i| if i % 2 == 0 { 4.9 } else { 5.1 };
/// assert!((0..100).all(|i| millis.observe(quick(i)).is_none()));
/// let shift = (0..).find_map(|i| millis.observe(quick(i) + 3.0)).unwrap();
/// assert_eq!((shift.direction, shift.since), (Direction::Up, 100));
/// assert!(shift.noticed < 106 && (shift.after - 8.0).abs() < 0.1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PageHinkley {
    tolerance: f64,
    threshold: f64,
    /// Values observed ever.
    count: u64,
    /// Those of them since the last shift was noticed.
    recent: u64,
    rejected: u64,
    mean: f64,
    up: Side,
    down: Side,
}

/// The sum for one direction.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Side {
    /// How far above its lowest point.
    rise: f64,
    /// Values since that point, and their mean.
    count: u64,
    mean: f64,
}

impl Side {
    const NEW: Self = Self { rise: 0.0, count: 0, mean: 0.0 };

    /// Takes in by how much a value exceeds what is tolerated.
    fn observe(&mut self, excess: f64, value: f64) {
        self.rise += excess;
        if self.rise <= 0.0 {
            *self = Self::NEW;
            return;
        }
        self.count += 1;
        self.mean += (value - self.mean) / self.count as f64;
    }
}

impl PageHinkley {
    /// With this tolerance, 0 or more, and this threshold, more than 0; `None` for others.
    #[must_use]
    pub const fn new(tolerance: f64, threshold: f64) -> Option<Self> {
        // Their sums with values stay finite, and NaN is none.
        let tolerated = tolerance >= 0.0 && tolerance <= super::LARGEST;
        if !(tolerated && threshold > 0.0 && threshold <= super::LARGEST) {
            return None;
        }
        Some(Self {
            tolerance,
            threshold,
            count: 0,
            recent: 0,
            rejected: 0,
            mean: 0.0,
            up: Side::NEW,
            down: Side::NEW,
        })
    }

    /// Takes the next value in; tells of a shift when this value gives it away.
    pub fn observe(&mut self, value: f64) -> Option<Shift> {
        if !is_value(value) {
            self.rejected += 1;
            return None;
        }
        let noticed = self.count;
        self.count += 1;
        self.recent += 1;
        self.mean += (value - self.mean) / self.recent as f64;
        let distance = value - self.mean;
        self.up.observe(distance - self.tolerance, value);
        self.down.observe(-distance - self.tolerance, value);
        let (direction, side) = if self.up.rise > self.threshold {
            (Direction::Up, self.up)
        } else if self.down.rise > self.threshold {
            (Direction::Down, self.down)
        } else {
            return None;
        };
        // The mean of all is that of both parts, each by its count.
        let earlier = self.recent - side.count;
        let before = if earlier == 0 {
            self.mean
        } else {
            self.mean + (self.mean - side.mean) * (side.count as f64 / earlier as f64)
        };
        // Afresh: the values since may still be mixed with a few from before.
        *self = Self { recent: 0, mean: 0.0, up: Side::NEW, down: Side::NEW, ..*self };
        Some(Shift {
            direction,
            since: noticed + 1 - side.count,
            noticed,
            before,
            after: side.mean,
        })
    }

    /// The mean of the values observed after the last shift was noticed. `None` if there are none yet.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.recent > 0).then_some(self.mean)
    }

    /// How many values were observed.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// How many values were dropped.
    #[must_use]
    pub const fn rejected(&self) -> u64 {
        self.rejected
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod statistics;
