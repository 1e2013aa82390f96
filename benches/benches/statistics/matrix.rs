//! Covariance matrices, one thread, against numpy and the OpenBLAS it brings.

use std::hint::black_box;

use crate::numpy::Numpy;
use crate::race::{Against, Race, Unit, lap};
use crate::values::Random;
use crate::{Outcome, check, ours};

const RATIO: f64 = 1.0;
const COLUMNS: [usize; 3] = [64, 256, 1024];
/// Entries compared with the exact ones, beside the corners.
const CHECKED: usize = 12;

pub(crate) fn measure(quick: bool, mut numpy: Option<&mut Numpy>, outcome: &mut Outcome) {
    for columns in COLUMNS {
        let rows = if quick { 200_000 / columns } else { 100_000 };
        let rounds = if quick || columns == 1024 { 3 } else { 7 };
        one(rows, columns, numpy.as_deref_mut(), rounds, outcome);
    }
}

fn one(
    rows: usize,
    columns: usize,
    mut numpy: Option<&mut Numpy>,
    rounds: usize,
    outcome: &mut Outcome,
) {
    let values = values(rows, columns);
    let entries = entries(columns);
    let exact: Vec<Entry> =
        entries.iter().map(|&entry| Entry::of(entry, &values, columns)).collect();
    let mut covariances = ours::CovarianceMatrix::new(columns);
    {
        let matrix = covariances.compute(&values);
        for (&(i, j), exact) in entries.iter().zip(&exact) {
            exact.check(ours::NAME, matrix[i * columns + j]);
            exact.check(ours::NAME, matrix[j * columns + i]);
        }
    }
    let title = format!("covariance matrix, {rows} rows of {columns} columns");
    // A product and a sum for each pair of columns, the same one among them.
    let unit = Unit { item: "row", rate: Some(("GFLOP/s", (columns * (columns + 1)) as f64)) };
    let mut race = Race::new("matrix", title.clone(), unit, &["ours x"]);
    let ours = race.ours("tensorforge covariance_matrix", None, || {
        lap(rows, || _ = black_box(covariances.compute(black_box(&values))))
    });
    if let Some(numpy) = numpy.as_deref_mut() {
        numpy.hold("x", &values);
        let figures = numpy.covariance_matrix(columns, &entries, 1).figures;
        exact.iter().zip(figures).for_each(|(exact, figure)| exact.check("numpy", figure));
        race.rival("numpy.cov(x, rowvar=False)", &[Against { ours, wanted: Some(RATIO) }], || {
            numpy.covariance_matrix(columns, &[], 1).seconds * 1e9 / rows as f64
        });
    } else {
        outcome.without_numpy.push(title);
    }
    outcome.add(race.run(rounds));
    if let Some(numpy) = numpy {
        numpy.drop_all();
    }
}

/// Columns of means far from 0 that depend on one another a little.
fn values(rows: usize, columns: usize) -> Vec<f64> {
    let mut random = Random::new(columns as u64);
    let mut values = Vec::with_capacity(rows * columns);
    for _ in 0..rows {
        let common = random.unit();
        values.extend((0..columns).map(|column| (column % 17) as f64 + common + random.unit()));
    }
    values
}

fn entries(columns: usize) -> Vec<(usize, usize)> {
    let mut random = Random::new(3);
    let mut column = || (random.unit() * columns as f64) as usize;
    let mut entries = vec![(0, 0), (0, columns - 1), (columns - 1, columns - 1)];
    entries.extend((0..CHECKED).map(|_| (column(), column())));
    entries
}

/// What an entry is, and what it is measured by.
struct Entry {
    covariance: f64,
    scale: f64,
}

impl Entry {
    fn of((i, j): (usize, usize), values: &[f64], columns: usize) -> Self {
        let covariance = |i: usize, j: usize| {
            check::covariance(values.chunks_exact(columns).map(|row| (row[i], row[j])), 1)
        };
        let scale = (covariance(i, i) * covariance(j, j)).sqrt();
        Self { covariance: covariance(i, j), scale }
    }

    fn check(&self, who: &str, got: f64) {
        let what = format!("{who}, an entry of the matrix");
        check::close(&what, got, self.covariance, self.scale, check::SUMS);
    }
}
