//! Matrices against pairs of columns.

use std::vec::Vec;

use proptest::prelude::*;

use super::pack::DEPTH;
use super::{
    Divisor, MatrixError, RowCount, correlation_matrix, covariance_at, covariance_matrix,
    matrix_scratch_len,
};
use crate::stats::statistics::{Level, NO_VALUES, levels, noise};
use crate::stats::{PairMoments, is_value};

fn matrix(level: Level, rows: &[f64], columns: usize, divisor: Divisor) -> (Vec<f64>, RowCount) {
    let mut out = std::vec![f64::NAN; columns * columns];
    let mut scratch = std::vec![f64::NAN; matrix_scratch_len(columns)];
    let count = covariance_at(level, rows, columns, divisor, &mut out, &mut scratch).unwrap();
    (out, count)
}

/// Every column with every column, over the rows that count.
fn assert_matrix(rows: &[f64], columns: usize) {
    let usable: Vec<&[f64]> =
        rows.chunks_exact(columns).filter(|row| row.iter().all(|&value| is_value(value))).collect();
    let column = |j: usize| usable.iter().map(|row| row[j]).collect::<Vec<f64>>();
    for level in levels() {
        let (found, count) = matrix(level, rows, columns, Divisor::Sample);
        let rejected = rows.len() / columns - usable.len();
        assert_eq!(count, RowCount { used: usable.len(), rejected });
        for i in 0..columns {
            for j in 0..columns {
                let pairs = PairMoments::from_slices(&column(i), &column(j)).unwrap();
                let expected = pairs.sample_covariance().unwrap_or(0.0);
                let (xx, yy) = pairs.variances().unwrap_or((0.0, 0.0));
                let cell = found[i * columns + j];
                assert!(
                    (cell - expected).abs() <= 1e-12 * (xx * yy).sqrt(),
                    "{level:?}, {i}, {j} of {columns}: {cell}, not {expected}"
                );
                assert_eq!(
                    cell.to_bits(),
                    found[j * columns + i].to_bits(),
                    "both halves are equal"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn it_is_the_covariance_of_every_two_columns(
        columns in 1_usize..40,
        count in 0_usize..40,
        seed: u64,
        spoiled in prop::collection::vec(any::<usize>(), 0..4),
    ) {
        let mut noise = noise(seed);
        let mut rows: Vec<f64> = (0..columns * count).map(|i| (i % columns) as f64 + noise()).collect();
        for i in spoiled {
            if let Some(len) = core::num::NonZeroUsize::new(rows.len()) {
                rows[i % len] = NO_VALUES[i % NO_VALUES.len()];
            }
        }
        assert_matrix(&rows, columns);
    }
}

#[test]
fn more_rows_than_are_packed_at_once_and_more_columns_than_are_kept() {
    let mut noise = noise(5);
    for (columns, count) in [(7, 3 * DEPTH + 5), (103, DEPTH), (210, DEPTH + 1)] {
        let rows: Vec<f64> = (0..columns * count).map(|_| noise()).collect();
        assert_matrix(&rows, columns);
    }
}

#[test]
fn fused_instruction_sets_agree_to_the_last_bit() {
    let mut noise = noise(6);
    let rows: Vec<f64> = (0..45 * 700).map(|_| noise()).collect();
    let fused: Vec<_> = levels()
        .into_iter()
        .filter(|&level| level > Level::Baseline)
        .map(|level| matrix(level, &rows, 45, Divisor::Population).0)
        .collect();
    assert!(fused.iter().all(|matrix| *matrix == fused[0]));
}

#[test]
fn noise_on_large_numbers_is_centred_first() {
    let mut noise = noise(7);
    let small: Vec<f64> = (0..5 * 2000).map(|_| noise()).collect();
    // The first row far away: the means do not depend on where one begins.
    let mut large: Vec<f64> = small.iter().map(|small| 1e9 + small).collect();
    let rounded: Vec<f64> = large.iter().map(|large| large - 1e9).collect();
    for (cell, expected) in matrix(levels()[0], &large, 5, Divisor::Population)
        .0
        .iter()
        .zip(matrix(levels()[0], &rounded, 5, Divisor::Population).0)
    {
        assert!((cell - expected).abs() < 1e-9);
    }
    large[..5].fill(f64::NAN);
    let count = matrix(levels()[0], &large, 5, Divisor::Population).1;
    assert_eq!(count, RowCount { used: 1999, rejected: 1 });
}

#[test]
fn correlations_have_ones_on_the_diagonal_and_zeros_for_what_does_not_vary() {
    let mut noise = noise(8);
    let rows: Vec<f64> = (0..1000)
        .flat_map(|_| {
            let common = noise();
            [common, -2.0 * common, 7.25, noise()]
        })
        .collect();
    let (mut out, mut scratch) = (std::vec![0.0; 16], std::vec![0.0; matrix_scratch_len(4)]);
    correlation_matrix(&rows, 4, &mut out, &mut scratch).unwrap();
    assert_eq!((out[0], out[5], out[15]), (1.0, 1.0, 1.0));
    assert!((out[1] + 1.0).abs() < 1e-12 && out[1] >= -1.0);
    assert!(out[3].abs() < 0.1);
    assert!(out[8..12].iter().all(|&cell| cell == 0.0), "a constant column");
    assert!(out.iter().all(|cell| cell.is_finite()));
}

#[test]
fn too_few_rows_make_a_matrix_of_zeros() {
    for (rows, divisor) in [
        (&[][..], Divisor::Population),
        (&[], Divisor::Sample),
        (&[1.0, 2.0], Divisor::Sample),
        (&[1.0, 2.0], Divisor::Population),
        (&[f64::NAN, 2.0, 1.0, f64::INFINITY], Divisor::Population),
    ] {
        for level in levels() {
            assert_eq!(matrix(level, rows, 2, divisor).0, [0.0; 4]);
        }
    }
}

#[test]
fn buffers_that_do_not_fit_are_refused_and_nothing_is_written() {
    let mut scratch = std::vec![0.0; matrix_scratch_len(2)];
    let mut out = [7.0; 4];
    let refused = |rows: &[f64], columns, out: &mut [f64], scratch: &mut [f64]| {
        covariance_matrix(rows, columns, Divisor::Sample, out, scratch).unwrap_err()
    };
    let ragged = MatrixError::Ragged { len: 3, columns: 2 };
    assert_eq!(refused(&[1.0; 3], 2, &mut out, &mut scratch), ragged);
    assert_eq!(refused(&[1.0; 4], 0, &mut out, &mut scratch), MatrixError::NoColumns);
    let output = MatrixError::Output { needed: 4 };
    assert_eq!(refused(&[1.0; 4], 2, &mut out[..3], &mut scratch), output);
    let needed = matrix_scratch_len(2);
    let short = &mut scratch[..needed - 1];
    assert_eq!(refused(&[1.0; 4], 2, &mut out, short), MatrixError::Scratch { needed });
    assert_eq!(
        refused(&[], usize::MAX, &mut out, short),
        MatrixError::Output { needed: usize::MAX }
    );
    assert_eq!(out, [7.0; 4]);
}
