//! Products of panels, a tile of the matrix at a time.
//!
//! `unsafe` here: vector loads from slices whose lengths were checked, and calls of functions compiled
//! for instructions that were found to be there.
#![allow(unsafe_code, reason = "vector instructions")]

use super::pack::{Panels, width};
use crate::stats::simd::Level;

/// Panels side by side in a tile.
const ACROSS: usize = 3;
/// Panels whose numbers are to stay in the second-level cache while all panels before them are
/// multiplied with them: a multiple of [`ACROSS`].
const KEPT: usize = 24;

/// Adds the products of every two panels to the upper half of `out`.
pub(super) fn multiply(level: Level, panels: &Panels<'_>, out: &mut [f64]) {
    let count = panels.count();
    for kept in (0..count).step_by(KEPT) {
        let end = count.min(kept + KEPT);
        for i in 0..end {
            // A tile that the diagonal crosses is computed whole; it is a small part of all.
            let first = if i < kept { kept } else { i };
            for j in (first..end).step_by(ACROSS) {
                match (end - j).min(ACROSS) {
                    1 => one::<1>(level, panels, i, j, out),
                    2 => one::<2>(level, panels, i, j, out),
                    _ => one::<ACROSS>(level, panels, i, j, out),
                }
            }
        }
    }
}

fn one<const P: usize>(level: Level, panels: &Panels<'_>, i: usize, j: usize, out: &mut [f64]) {
    let across: [&[f64]; P] = core::array::from_fn(|p| panels.panel(j + p));
    let down = panels.panel(i);
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => {
            // SAFETY: a level is only ever asked for where it was found.
            let tile = unsafe { x86::tile_512(down, across, panels.depth) };
            add(&tile, width(level), panels.columns, i, j, out);
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => {
            // SAFETY: as above.
            let tile = unsafe { x86::tile_256(down, across, panels.depth) };
            add(&tile, width(level), panels.columns, i, j, out);
        }
        _ => add(&baseline(down, across), width(level), panels.columns, i, j, out),
    }
}

/// Adds a tile to the matrix, as far as it lies in it. `W` rows of `P` panels of `W` columns.
fn add<const W: usize, const P: usize>(
    tile: &[[[f64; W]; P]; W],
    width: usize,
    columns: usize,
    i: usize,
    j: usize,
    out: &mut [f64],
) {
    let (top, left) = (i * width, j * width);
    for (sums, row) in tile.iter().zip(out.chunks_exact_mut(columns).skip(top)) {
        let cells = row.iter_mut().skip(left);
        cells.zip(sums.as_flattened()).for_each(|(cell, sum)| *cell += sum);
    }
}

/// With what every processor has.
fn baseline<const P: usize>(down: &[f64], across: [&[f64]; P]) -> [[[f64; 4]; P]; 4] {
    let mut tile = [[[0.0; 4]; P]; 4];
    let down = down.as_chunks::<4>().0;
    for (p, across) in across.iter().enumerate() {
        let mut sums = [[0.0; 4]; 4];
        for (down, across) in down.iter().zip(across.as_chunks::<4>().0) {
            for row in 0..4 {
                for column in 0..4 {
                    sums[row][column] += down[row] * across[column];
                }
            }
        }
        for row in 0..4 {
            tile[row][p] = sums[row];
        }
    }
    tile
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use core::arch::x86_64::{
        __m256d, __m512d, _mm256_fmadd_pd, _mm256_loadu_pd, _mm256_set1_pd, _mm256_setzero_pd,
        _mm256_storeu_pd, _mm512_fmadd_pd, _mm512_loadu_pd, _mm512_set1_pd, _mm512_setzero_pd,
        _mm512_storeu_pd,
    };

    macro_rules! tile {
        ($(#[$meta:meta])* $name:ident, $width:literal, $vector:ty, $zero:ident, $load:ident, $store:ident,
         $set:ident, $fmadd:ident) => {
            $(#[$meta])*
            pub(super) fn $name<const P: usize>(
                down: &[f64],
                across: [&[f64]; P],
                depth: usize,
            ) -> [[[f64; $width]; P]; $width] {
                let down = &down.as_chunks::<$width>().0[..depth];
                let across: [&[[f64; $width]]; P] =
                    across.map(|panel| &panel.as_chunks::<$width>().0[..depth]);
                let mut sums: [[$vector; P]; $width] = [[$zero(); P]; $width];
                for k in 0..depth {
                    // SAFETY: as many numbers as the vector holds, and `k` is below all lengths.
                    let right: [$vector; P] = core::array::from_fn(|p| unsafe {
                        $load(across[p].get_unchecked(k).as_ptr())
                    });
                    // SAFETY: as above.
                    let down = unsafe { down.get_unchecked(k) };
                    for row in 0..$width {
                        let left = $set(down[row]);
                        for p in 0..P {
                            sums[row][p] = $fmadd(left, right[p], sums[row][p]);
                        }
                    }
                }
                let mut tile = [[[0.0; $width]; P]; $width];
                for row in 0..$width {
                    for p in 0..P {
                        // SAFETY: as many numbers as the vector holds.
                        unsafe { $store(tile[row][p].as_mut_ptr(), sums[row][p]) };
                    }
                }
                tile
            }
        };
    }
    tile!(
        /// 8 rows of up to 24 columns: 24 of the 32 registers hold sums.
        #[target_feature(enable = "avx512f")]
        tile_512, 8, __m512d, _mm512_setzero_pd, _mm512_loadu_pd, _mm512_storeu_pd, _mm512_set1_pd,
        _mm512_fmadd_pd
    );
    tile!(
        /// 4 rows of up to 12 columns: 12 of the 16 registers hold sums.
        #[target_feature(enable = "avx2,fma")]
        tile_256, 4, __m256d, _mm256_setzero_pd, _mm256_loadu_pd, _mm256_storeu_pd, _mm256_set1_pd,
        _mm256_fmadd_pd
    );
}
