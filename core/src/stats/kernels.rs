//! The loops over slices, compiled for each instruction set.
//!
//! `unsafe` here: what [`for_each_level`] calls. No loop has any of its own.
#![allow(unsafe_code, reason = "calling what is compiled for a found instruction set")]

use super::is_value;
use super::simd::for_each_level;

/// Sums kept side by side, in every instruction set: so all of them add in the same order.
const LANES: usize = 16;

/// Sums over a block, of distances from a point near its mean; and its extremes.
pub(super) struct Block {
    pub(super) sum: f64,
    pub(super) squares: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

for_each_level! {
    fn sum_block(values: &[f64], near: f64) -> Block {
        let (mut sums, mut squares) = ([0.0; LANES], [0.0; LANES]);
        let (mut mins, mut maxs) = ([f64::INFINITY; LANES], [f64::NEG_INFINITY; LANES]);
        let mut take = |lane: usize, value: f64| {
            let distance = value - near;
            sums[lane] += distance;
            squares[lane] += distance * distance;
            mins[lane] = if value < mins[lane] { value } else { mins[lane] };
            maxs[lane] = if value > maxs[lane] { value } else { maxs[lane] };
        };
        let (whole, rest) = values.as_chunks::<LANES>();
        for chunk in whole {
            for (lane, &value) in chunk.iter().enumerate() {
                take(lane, value);
            }
        }
        for (lane, &value) in rest.iter().enumerate() {
            take(lane, value);
        }
        Block {
            sum: sums.iter().sum(),
            squares: squares.iter().sum(),
            min: mins.iter().copied().fold(f64::INFINITY, f64::min),
            max: maxs.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

/// Sums over a block, of distances from a point near its means.
pub(super) struct PairBlock {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) xx: f64,
    pub(super) yy: f64,
    pub(super) xy: f64,
}

for_each_level! {
    fn sum_pair_block(x: &[f64], y: &[f64], near_x: f64, near_y: f64) -> PairBlock {
        let (mut sums_x, mut sums_y) = ([0.0; LANES], [0.0; LANES]);
        let (mut xx, mut yy, mut xy) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
        let mut take = |lane: usize, x: f64, y: f64| {
            let (x, y) = (x - near_x, y - near_y);
            sums_x[lane] += x;
            sums_y[lane] += y;
            xx[lane] += x * x;
            yy[lane] += y * y;
            xy[lane] += x * y;
        };
        let ((whole_x, rest_x), (whole_y, rest_y)) =
            (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
        for (x, y) in whole_x.iter().zip(whole_y) {
            for lane in 0..LANES {
                take(lane, x[lane], y[lane]);
            }
        }
        for (lane, (&x, &y)) in rest_x.iter().zip(rest_y).enumerate() {
            take(lane, x, y);
        }
        let [x, y, xx, yy, xy] = [sums_x, sums_y, xx, yy, xy].map(|lanes| lanes.iter().sum());
        PairBlock { x, y, xx, yy, xy }
    }
}

for_each_level! {
    /// Adds to each sum how far its column's value lies from `origin`, and says how many are no values.
    fn add_row(row: &[f64], origin: &[f64], sums: &mut [f64]) -> usize {
        let mut unusable = 0;
        for ((sum, &value), &origin) in sums.iter_mut().zip(row).zip(origin) {
            *sum += value - origin;
            unusable += usize::from(!is_value(value));
        }
        unusable
    }
}
