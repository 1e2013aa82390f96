//! Rows, centred and packed for multiplication.

use super::RowCount;
use crate::stats::is_value;
use crate::stats::kernels::add_row;
use crate::stats::simd::Level;

/// Rows packed at a time: a panel of eight columns is 16 KiB, half of a usual first-level cache.
pub(super) const DEPTH: usize = 256;
/// The widest panel.
const WIDEST: usize = 8;
/// Rows whose sums are added up before they join those of all, so that the rounding errors of many rows
/// do not pile up.
const SUMMED: usize = 256;

pub(super) const fn scratch_len(columns: usize) -> usize {
    let panels = columns.div_ceil(WIDEST);
    columns.saturating_add(panels.saturating_mul(panel_len(WIDEST)))
}

/// The numbers of a panel, and one more row: panels that are a power of two apart would compete for the
/// same cache lines.
const fn panel_len(width: usize) -> usize {
    (DEPTH + 1) * width
}

/// Columns to a panel.
pub(super) const fn width(level: Level) -> usize {
    match level {
        Level::Baseline | Level::Avx2 => 4,
        Level::Avx512 => 8,
    }
}

/// The rows of which the means are known.
pub(super) struct Rows<'a> {
    rows: &'a [f64],
    columns: usize,
    rejected: usize,
}

impl<'a> Rows<'a> {
    /// Finds the means of the columns over the usable rows, counted from the first of these.
    pub(super) fn centre(
        level: Level,
        rows: &'a [f64],
        columns: usize,
        means: &mut [f64],
        scratch: &mut [f64],
    ) -> Self {
        means.fill(0.0);
        let mut all = Self { rows, columns, rejected: 0 };
        let Some(origin) = rows.chunks_exact(columns).find(|row| is_usable(row)) else {
            all.rejected = rows.len() / columns;
            return all;
        };
        let (mut used, sums) = (0, &mut scratch[..columns]);
        for block in rows.chunks(SUMMED * columns) {
            let count = block.len() / columns;
            sums.fill(0.0);
            let unusable = |row| add_row(level, row, origin, sums);
            let mut rejected = 0;
            if block.chunks_exact(columns).map(unusable).sum::<usize>() > 0 {
                sums.fill(0.0);
                for row in block.chunks_exact(columns) {
                    if is_usable(row) {
                        add_row(level, row, origin, sums);
                    } else {
                        rejected += 1;
                    }
                }
            }
            used += count - rejected;
            all.rejected += rejected;
            means.iter_mut().zip(&*sums).for_each(|(mean, sum)| *mean += sum);
        }
        for (mean, origin) in means.iter_mut().zip(origin) {
            *mean = origin + *mean / used as f64;
        }
        all
    }

    pub(super) const fn count(&self) -> RowCount {
        let rows = self.rows.len() / self.columns;
        RowCount { used: rows - self.rejected, rejected: self.rejected }
    }

    /// The rows that count.
    pub(super) fn usable(&self) -> impl Iterator<Item = &'a [f64]> + use<'a> {
        let all_are = self.rejected == 0;
        self.rows.chunks_exact(self.columns).filter(move |row| all_are || is_usable(row))
    }
}

fn is_usable(row: &[f64]) -> bool {
    row.iter().all(|&value| is_value(value))
}

/// Up to [`DEPTH`] rows: panel by panel of [`width`] columns, in each row by row. Columns that are
/// missing from the last panel are 0.
pub(super) struct Panels<'a> {
    level: Level,
    pub(super) columns: usize,
    /// Rows in the panels.
    pub(super) depth: usize,
    numbers: &'a mut [f64],
}

impl<'a> Panels<'a> {
    pub(super) fn new(level: Level, columns: usize, numbers: &'a mut [f64]) -> Self {
        numbers.fill(0.0);
        Self { level, columns, depth: 0, numbers }
    }

    /// How many panels there are.
    pub(super) const fn count(&self) -> usize {
        self.columns.div_ceil(width(self.level))
    }

    /// The numbers of a panel: `depth` rows of [`width`].
    pub(super) fn panel(&self, panel: usize) -> &[f64] {
        let width = width(self.level);
        &self.numbers[panel * panel_len(width)..][..self.depth * width]
    }

    /// Packs the next rows, less the means, in place of the last ones; says how many.
    pub(super) fn fill<'r>(
        &mut self,
        rows: &mut impl Iterator<Item = &'r [f64]>,
        means: &[f64],
    ) -> usize {
        let mut depth = 0;
        for row in rows.take(DEPTH) {
            match width(self.level) {
                8 => pack_row::<8>(row, means, depth, self.numbers),
                _ => pack_row::<4>(row, means, depth, self.numbers),
            }
            depth += 1;
        }
        self.depth = depth;
        depth
    }
}

fn pack_row<const W: usize>(row: &[f64], means: &[f64], depth: usize, numbers: &mut [f64]) {
    let ((whole, rest), (whole_means, rest_means)) = (row.as_chunks::<W>(), means.as_chunks::<W>());
    let mut panels = numbers.chunks_mut(panel_len(W)).map(|panel| &mut panel[depth * W..][..W]);
    for ((values, means), packed) in whole.iter().zip(whole_means).zip(&mut panels) {
        for column in 0..W {
            packed[column] = values[column] - means[column];
        }
    }
    if let Some(packed) = panels.next() {
        for ((packed, value), mean) in packed.iter_mut().zip(rest).zip(rest_means) {
            *packed = value - mean;
        }
    }
}
