//! What is under test, and the only place that names it.

use tensorforge_core::quantile;
use tensorforge_core::stats::{
    Divisor, Moments, PairMoments, covariance_matrix, matrix_scratch_len,
};

pub(crate) const NAME: &str = "tensorforge";

/// From a microsecond to a quarter of an hour.
pub(crate) struct Sketch(Box<quantile::Sketch<30>>);

impl Sketch {
    pub(crate) fn new() -> Self {
        Self(Box::new(quantile::Sketch::new()))
    }

    pub(crate) fn insert_each(&mut self, values: &[f64]) {
        for &value in values {
            self.0.insert(value);
        }
    }

    pub(crate) fn insert_all(&mut self, values: &[f64]) {
        self.0.insert_all(values);
    }

    #[inline]
    pub(crate) fn quantile(&self, quantile: f64) -> f64 {
        self.0.quantile(quantile).map_or(f64::NAN, quantile::Estimate::value)
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.count()
    }
}

pub(crate) struct Window(quantile::Window<Box<[u16]>>);

impl Window {
    pub(crate) fn new(length: usize) -> Self {
        Self(quantile::Window::new(vec![0; length].into_boxed_slice()))
    }

    #[inline]
    pub(crate) fn insert(&mut self, value: f64) {
        self.0.insert(value);
    }

    #[inline]
    pub(crate) fn quantile(&self, quantile: f64) -> f64 {
        self.0.quantile(quantile).map_or(f64::NAN, quantile::Estimate::value)
    }
}

/// Mean and population variance.
pub(crate) fn mean_variance(x: &[f64]) -> (f64, f64) {
    let moments = Moments::from_slice(x);
    (moments.mean().unwrap_or(f64::NAN), moments.variance().unwrap_or(f64::NAN))
}

/// Population covariance.
pub(crate) fn covariance(x: &[f64], y: &[f64]) -> f64 {
    let moments = PairMoments::from_slices(x, y).expect("both are of one length");
    moments.covariance().unwrap_or(f64::NAN)
}

/// Divided by the rows less one, as numpy does unasked.
pub(crate) struct CovarianceMatrix {
    columns: usize,
    matrix: Vec<f64>,
    scratch: Vec<f64>,
}

impl CovarianceMatrix {
    pub(crate) fn new(columns: usize) -> Self {
        let scratch = vec![0.0; matrix_scratch_len(columns)];
        Self { columns, matrix: vec![0.0; columns * columns], scratch }
    }

    pub(crate) fn compute(&mut self, rows: &[f64]) -> &[f64] {
        let Self { columns, matrix, scratch } = self;
        covariance_matrix(rows, *columns, Divisor::Sample, matrix, scratch)
            .expect("the lengths fit together");
        matrix
    }
}
