//! What is promised of quantiles, checked against exact answers.

mod accuracy;
mod bad_input;
mod distributions;
mod grid;
mod p2;
mod sketch;
mod window;

use std::vec::Vec;

use super::nearest_rank;

/// The quantile `q` of `sorted`, by the definition: the smallest value with at least `q` of all at or
/// below it.
fn exact(sorted: &[f64], q: f64) -> f64 {
    let covers = |rank: usize| rank as f64 / sorted.len() as f64 >= q;
    // A product that is a rank too high or low, then stepwise: the definition, but not slowly.
    let guess = (q * sorted.len() as f64) as usize;
    let rank = (guess.saturating_sub(2)..=sorted.len()).find(|&rank| rank > 0 && covers(rank));
    sorted[rank.unwrap() - 1]
}

fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut sorted: Vec<_> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The bound that the documentation proves, and a little for the rounding of the answer.
const BOUND: f64 = 1.0 / 129.0 + 1e-15;

#[track_caller]
fn assert_close(estimate: f64, exact: f64, what: impl std::fmt::Display) {
    let error = (estimate - exact).abs() / exact.abs();
    assert!(
        error <= BOUND || estimate == exact,
        "{what}: {estimate} instead of {exact}, {} % off",
        error * 100.0
    );
}

#[test]
fn the_nearest_rank_is_the_first_that_covers_the_quantile() {
    for n in 1..=1000 {
        for percent in 0..=100 {
            let rank = nearest_rank(f64::from(percent) / 100.0, n).unwrap();
            // In whole numbers: rank / n >= percent / 100, and the rank below does not.
            let covers = |rank: u64| 100 * rank >= u64::from(percent as u32) * n;
            assert!(covers(rank), "{percent} % of {n}: {rank} is too low");
            assert!(rank == 1 || !covers(rank - 1), "{percent} % of {n}: {rank} is too high");
        }
    }
    assert_eq!(nearest_rank(1.0, u64::MAX), Some(u64::MAX));
    for q in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        assert_eq!(nearest_rank(q, 10), None);
    }
    assert_eq!(nearest_rank(0.5, 0), None);
}
