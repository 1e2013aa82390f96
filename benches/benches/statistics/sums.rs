//! The plain sum, which shows how fast this machine reads a slice: what moments are measured by.
//!
//! Four independent additions of vectors at a time wait for memory and for nothing else. Vectors of
//! 512 bits, twice or four times as many sums, two to eight places read at once and prefetching all
//! read no faster on an EPYC of 2024, some up to a fifth slower.
#![allow(
    unsafe_code,
    reason = "the processor is asked for AVX2 before code that needs it is called"
)]

/// Which instructions [`sum`] uses here.
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
    sum_lanes::<16>(values)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sum_avx2(values: &[f64]) -> f64 {
    sum_lanes::<16>(values)
}

/// In `LANES` sums that do not wait for each other.
#[inline(always)]
fn sum_lanes<const LANES: usize>(values: &[f64]) -> f64 {
    let mut sums = [0.0; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += value;
        }
    }
    sums.iter().sum::<f64>() + rest.iter().sum::<f64>()
}
