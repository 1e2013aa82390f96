//! Who answers wrongly would win unfairly: every subject's answer against the exact one.

/// Of a quantile's value, for a sketch that promises 1 %: ours, DDSketch's and hdrhistogram's with
/// two digits, and a quarter more for the bucket's far edge, which some of them answer.
pub(crate) const ONE_PERCENT: f64 = 0.0125;
/// The same for three digits, and a microsecond's rounding.
pub(crate) const THREE_DIGITS: f64 = 0.002;
/// Of mean, variance and covariance, relative to what they are made of: summing ten million values
/// in any sensible order stays far below.
pub(crate) const SUMS: f64 = 1e-9;

/// That `got` differs from `wanted` by at most `tolerance` of `scale`.
///
/// # Panics
/// When it does not; the figures that follow would mean nothing.
pub(crate) fn close(what: &str, got: f64, wanted: f64, scale: f64, tolerance: f64) {
    let difference = (got - wanted).abs();
    assert!(
        difference <= tolerance * scale.abs(),
        "{what}: {got} for {wanted}, off by more than {tolerance} of {scale}"
    );
}

/// That `got` is the `quantile` of `sorted` to `tolerance`. Definitions of rank differ by one.
///
/// # Panics
/// When it is not.
pub(crate) fn quantile(what: &str, sorted: &[f64], quantile: f64, got: f64, tolerance: f64) {
    let last = sorted.len() - 1;
    let rank = (quantile * sorted.len() as f64).ceil() as usize; // from 1
    let (low, high) = (sorted[rank.saturating_sub(2)], sorted[rank.min(last)]);
    assert!(
        low * (1.0 - tolerance) <= got && got <= high * (1.0 + tolerance),
        "{what}: {got} for the {quantile} quantile, which lies in {low}..={high}; \
         {tolerance} of it may be wrong"
    );
}

pub(crate) fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// Mean and population variance by the book: two passes, one value after the other.
pub(crate) fn mean_variance(x: &[f64]) -> (f64, f64) {
    let mean = mean(x.iter().copied());
    (mean, x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / x.len() as f64)
}

/// Covariance of pairs by the book; divided by their number less `fewer`.
pub(crate) fn covariance(
    pairs: impl ExactSizeIterator<Item = (f64, f64)> + Clone,
    fewer: usize,
) -> f64 {
    let count = pairs.len();
    let (of_x, of_y) = (mean(pairs.clone().map(|(x, _)| x)), mean(pairs.clone().map(|(_, y)| y)));
    pairs.map(|(x, y)| (x - of_x) * (y - of_y)).sum::<f64>() / (count - fewer) as f64
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}
