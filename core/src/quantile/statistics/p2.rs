//! P², where it may be used.

use std::vec::Vec;

use super::distributions::{Random, all};
use super::{exact, sorted};
use crate::quantile::P2;

#[test]
fn up_to_five_values_are_exact() {
    let values = [0.5, 0.1, 0.4, 0.2, 0.3];
    let mut p2 = P2::new([0.0, 0.25, 0.5, 0.75, 1.0]).unwrap();
    assert_eq!(p2.quantiles(), None);
    for count in 1..=5 {
        p2.insert(values[count - 1]);
        let sorted = sorted(values[..count].iter().copied());
        let expected = [0.0, 0.25, 0.5, 0.75, 1.0].map(|q| exact(&sorted, q));
        assert_eq!(p2.quantiles(), Some(expected), "of {count}");
    }
}

/// The median after each of some observations.
fn medians<const N: usize>(observations: [f64; N]) -> [f64; N] {
    let mut p2 = P2::new([0.5]).unwrap();
    observations.map(|observation| {
        p2.insert(observation);
        p2.quantiles().unwrap()[0]
    })
}

/// Its example, the median of 20 observations, as its table prints it after 7, 13 and 20 of them; the
/// last to more places as the GNU Scientific Library tests it.
#[test]
fn it_reproduces_the_example_of_its_paper() {
    let mut observations = [
        0.02, 0.15, 0.74, 3.39, 0.83, 22.37, 10.15, 15.43, 38.62, 15.92, 34.60, 10.28, 1.47, 0.40,
        0.05, 11.39, 0.27, 0.42, 0.09, 11.37,
    ];
    let median = medians(observations);
    assert!((median[6] - 0.74).abs() < 0.01);
    assert!((median[12] - 9.27).abs() < 0.01);
    assert!((median[19] - 4.440_634_353_26).abs() < 1e-11);
    // The same with a misprint that other implementations carry on, and agree on.
    observations[1] = 0.5;
    assert!((medians(observations)[19] - 4.246_239_408_803_643_5).abs() < 1e-14);
}

#[test]
fn it_is_near_on_smooth_streams() {
    for (name, values) in all().into_iter().take(3) {
        let mut p2 = P2::new([0.5, 0.95, 0.99]).unwrap();
        values.iter().for_each(|&value| p2.insert(value));
        let sorted = sorted(values);
        for (estimate, q) in p2.quantiles().unwrap().into_iter().zip([0.5, 0.95, 0.99]) {
            let exact = exact(&sorted, q);
            assert!((estimate - exact).abs() < 0.05 * exact, "{name} {q}: {estimate} of {exact}");
        }
    }
}

#[test]
fn the_extremes_are_exact_and_the_estimates_lie_between_them() {
    let mut random = Random(7);
    for _ in 0..100 {
        let mut p2 = P2::new([0.0, 0.1, 0.5, 0.9, 1.0]).unwrap();
        let scale = 10_f64.powi((random.next() % 20) as i32 - 10);
        let values: Vec<_> = (0..random.next() % 300 + 1)
            .map(|_| scale * (random.uniform() - 0.5).powi(3))
            .collect();
        values.iter().for_each(|&value| p2.insert(value));
        let sorted = sorted(values);
        let [min, inner @ .., max] = p2.quantiles().unwrap();
        assert_eq!((min, max), (sorted[0], sorted[sorted.len() - 1]));
        assert!(inner.iter().all(|estimate| (min..=max).contains(estimate)));
    }
}

#[test]
fn it_takes_what_its_documentation_says() {
    assert_eq!(size_of::<P2<1>>(), 112 + 16);
    assert_eq!(size_of::<P2<3>>(), 3 * 112 + 16);
}
