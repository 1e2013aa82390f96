//! The plain sum, which shows how fast this machine reads a slice: what moments are measured by.
//!
//! Sixteen sums that do not wait for each other wait for memory alone. From one place or from two
//! at once is quicker as the machine's other tenants leave it bandwidth, so the benchmark takes
//! the quicker of both. Vectors of 512 bits, twice or four times as many sums, four and eight
//! places and prefetching were slower than one of these, or no faster, on an EPYC of 2024.
#![allow(
    unsafe_code,
    reason = "the processor is asked for AVX2 before code that needs it is called"
)]

const LANES: usize = 16;

/// Which instructions the sums use here.
pub(crate) fn instructions() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        return "AVX2";
    }
    "what the target has at least"
}

pub(crate) fn sum(values: &[f64]) -> f64 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        return unsafe { sum_avx2(values) };
    }
    sum_lanes(values)
}

/// The sum of two slices, read at once as far as both go.
pub(crate) fn sum_both(x: &[f64], y: &[f64]) -> f64 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        return unsafe { sum_both_avx2(x, y) };
    }
    sum_both_lanes(x, y)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sum_avx2(values: &[f64]) -> f64 {
    sum_lanes(values)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sum_both_avx2(x: &[f64], y: &[f64]) -> f64 {
    sum_both_lanes(x, y)
}

#[inline(always)]
fn sum_lanes(values: &[f64]) -> f64 {
    let mut sums = [0.0; LANES];
    let (chunks, rest) = values.as_chunks();
    chunks.iter().for_each(|chunk| add(&mut sums, chunk));
    sums.iter().chain(rest).sum()
}

#[inline(always)]
fn sum_both_lanes(x: &[f64], y: &[f64]) -> f64 {
    let mut sums = [[0.0; LANES]; 2];
    let common = x.len().min(y.len()) / LANES * LANES;
    let ((x, rest_of_x), (y, rest_of_y)) = (x.split_at(common), y.split_at(common));
    for (x, y) in x.as_chunks().0.iter().zip(y.as_chunks().0) {
        add(&mut sums[0], x);
        add(&mut sums[1], y);
    }
    sums.iter().flatten().sum::<f64>() + sum_lanes(rest_of_x) + sum_lanes(rest_of_y)
}

#[inline(always)]
fn add(sums: &mut [f64; LANES], values: &[f64; LANES]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += value;
    }
}
