//! Covariance and correlation of many columns.
//!
//! Two passes over the rows: the first finds the means, the second multiplies. For the second, as many
//! rows as fit the processor's second-level cache are packed, centred, into panels of a few columns
//! each; then every pair of panels is multiplied in registers, a tile of the matrix at a time. Only
//! the upper half is computed.
//!
//! Source of the blocking: Goto and van de Geijn, *Anatomy of high-performance matrix multiplication*,
//! ACM TOMS 34(3), 2008.

mod pack;
mod tile;

use self::pack::{Panels, Rows};
use super::simd;

/// What the sums of products are divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Divisor {
    /// The number of rows: the rows are all there is.
    Population,
    /// One less: the rows are a sample.
    Sample,
}

/// How many rows went into a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowCount {
    /// Rows that were used.
    pub used: usize,
    /// Rows that were left out because one of their numbers [is no value](super).
    pub rejected: usize,
}

/// Why there is no matrix.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatrixError {
    /// No columns.
    NoColumns,
    /// The last row is not whole.
    Ragged {
        /// How many numbers there are.
        len: usize,
        /// How many make a row.
        columns: usize,
    },
    /// The matrix needs this many numbers of output.
    Output {
        /// `columns * columns`.
        needed: usize,
    },
    /// The work needs this many numbers of scratch.
    Scratch {
        /// [`matrix_scratch_len`] of the columns.
        needed: usize,
    },
}

impl core::fmt::Display for MatrixError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoColumns => f.write_str("a matrix has at least one column"),
            Self::Ragged { len, columns } => {
                write!(f, "{len} numbers are no whole number of rows of {columns}")
            }
            Self::Output { needed } => write!(f, "the matrix needs room for {needed} numbers"),
            Self::Scratch { needed } => write!(f, "the work needs scratch for {needed} numbers"),
        }
    }
}

impl core::error::Error for MatrixError {}

/// How many numbers of scratch a matrix of `columns` columns takes: for 64, 256 and 1024 columns
/// 0.14, 0.55 and 2.2 MB.
#[must_use]
pub const fn matrix_scratch_len(columns: usize) -> usize {
    pack::scratch_len(columns)
}

/// The covariance matrix of `columns` quantities, observed together in each row.
///
/// `rows` holds the observations one after the other, `columns` numbers each. `out` receives
/// `columns × columns` numbers, row by row; both halves are filled, and equal. The columns are centred
/// exactly as in two passes. A row with a number that [is no value](super) is left out whole and
/// counted. With too few rows (none; or one, of a sample), the matrix is all 0.0.
///
/// **Time:** `rows × columns²` multiplications and additions in one thread, near the processor's peak.
///
/// # Errors
/// If the numbers are no whole rows or a buffer is too small; then `out` is as it was.
///
/// ```
/// use tensorforge_core::stats::{Divisor, covariance_matrix, matrix_scratch_len};
///
/// // Batch size and milliseconds of three executions.
/// let rows = [1.0, 3.0, 2.0, 5.0, 3.0, 7.0];
/// let (mut matrix, mut scratch) = ([0.0; 4], vec![0.0; matrix_scratch_len(2)]);
/// let count = covariance_matrix(&rows, 2, Divisor::Sample, &mut matrix, &mut scratch).unwrap();
/// assert_eq!((matrix, count.used), ([1.0, 2.0, 2.0, 4.0], 3));
/// ```
pub fn covariance_matrix(
    rows: &[f64],
    columns: usize,
    divisor: Divisor,
    out: &mut [f64],
    scratch: &mut [f64],
) -> Result<RowCount, MatrixError> {
    covariance_at(simd::level(), rows, columns, divisor, out, scratch)
}

/// Pearson's correlations of `columns` quantities: as [`covariance_matrix`], with 1.0 on the diagonal. A
/// column that does not vary has the correlation 0.0 with all, itself too.
///
/// # Errors
/// As [`covariance_matrix`].
pub fn correlation_matrix(
    rows: &[f64],
    columns: usize,
    out: &mut [f64],
    scratch: &mut [f64],
) -> Result<RowCount, MatrixError> {
    let count = covariance_matrix(rows, columns, Divisor::Population, out, scratch)?;
    let deviations = &mut scratch[..columns];
    for (i, deviation) in deviations.iter_mut().enumerate() {
        *deviation = libm::sqrt(out[i * columns + i]);
    }
    for (i, row) in out.chunks_exact_mut(columns).take(columns).enumerate() {
        for (j, cell) in row.iter_mut().enumerate() {
            let (a, b) = (deviations[i], deviations[j]);
            *cell = match () {
                () if a == 0.0 || b == 0.0 => 0.0,
                () if i == j => 1.0,
                () => (*cell / a / b).clamp(-1.0, 1.0),
            };
        }
    }
    Ok(count)
}

fn covariance_at(
    level: simd::Level,
    rows: &[f64],
    columns: usize,
    divisor: Divisor,
    out: &mut [f64],
    scratch: &mut [f64],
) -> Result<RowCount, MatrixError> {
    if columns == 0 {
        return Err(MatrixError::NoColumns);
    }
    if !rows.len().is_multiple_of(columns) {
        return Err(MatrixError::Ragged { len: rows.len(), columns });
    }
    let size = columns.saturating_mul(columns);
    let Some(out) = out.get_mut(..size) else { return Err(MatrixError::Output { needed: size }) };
    let needed = matrix_scratch_len(columns);
    let Some(scratch) = scratch.get_mut(..needed) else {
        return Err(MatrixError::Scratch { needed });
    };
    out.fill(0.0);
    let (means, scratch) = scratch.split_at_mut(columns);
    let rows = Rows::centre(level, rows, columns, means, scratch);
    let mut panels = Panels::new(level, columns, scratch);
    let mut left = rows.usable();
    while panels.fill(&mut left, means) > 0 {
        tile::multiply(level, &panels, out);
    }
    let count = rows.count();
    let divisor = match divisor {
        Divisor::Population => count.used,
        Divisor::Sample => count.used.saturating_sub(1),
    };
    for i in 0..columns {
        for j in i..columns {
            let upper = &mut out[i * columns + j];
            let covariance = if divisor == 0 { 0.0 } else { *upper / divisor as f64 };
            *upper = covariance;
            out[j * columns + i] = covariance;
        }
    }
    Ok(count)
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod statistics;
