//! Moments of one slice and of two, against reading them at all and against numpy.

use std::hint::black_box;

use crate::numpy::Numpy;
use crate::race::{Against, Race, Unit, lap};
use crate::values::Random;
use crate::{Outcome, check, ours, sums};

/// Of the bandwidth of a plain sum.
const OF_A_SUM: f64 = 0.75;
const MEAN_VARIANCE_RATIO: f64 = 5.0;
const COVARIANCE_RATIO: f64 = 6.0;

pub(crate) fn measure(quick: bool, mut numpy: Option<&mut Numpy>, outcome: &mut Outcome) {
    let (count, passes, rounds) = if quick { (300_000, 3, 3) } else { (10_000_000, 3, 11) };
    let mut random = Random::new(7);
    let x: Vec<f64> = (0..count).map(|_| 3.0 + random.unit()).collect();
    let y: Vec<f64> = x.iter().map(|x| 0.5f64.mul_add(*x, random.unit())).collect();
    if let Some(numpy) = numpy.as_deref_mut() {
        numpy.hold("x", &x);
        numpy.hold("y", &y);
    }
    mean_variance(&x, numpy.as_deref_mut(), passes, rounds, outcome);
    covariance(&x, &y, numpy.as_deref_mut(), passes, rounds, outcome);
    if let Some(numpy) = numpy {
        numpy.drop_all();
    }
}

fn mean_variance(
    x: &[f64],
    numpy: Option<&mut Numpy>,
    passes: usize,
    rounds: usize,
    outcome: &mut Outcome,
) {
    let (mean, variance) = check::mean_variance(x);
    let check = |who: &str, got: (f64, f64)| {
        check::close(&format!("{who}, mean"), got.0, mean, mean, check::SUMS);
        check::close(&format!("{who}, variance"), got.1, variance, variance, check::SUMS);
    };
    check(ours::NAME, ours::mean_variance(x));
    let sum = mean * x.len() as f64;
    let (left, right) = x.split_at(x.len() / 2);
    check::close("plain sum", sums::sum(x), sum, sum, check::SUMS);
    check::close("plain sum of halves", sums::sum_both(left, right), sum, sum, check::SUMS);

    let title = format!("mean and variance of {} values", x.len());
    let unit = Unit { item: "value", rate: Some(("GB/s", 8.0)) };
    let mut race = Race::new("moments", title.clone(), unit, &["ours x"]);
    let items = x.len() * passes;
    let ours = race.ours("tensorforge Moments::from_slice", None, || {
        lap(items, || {
            (0..passes).for_each(|_| _ = black_box(ours::mean_variance(black_box(x))));
        })
    });
    race.rival("plain sum", &[Against { ours, wanted: Some(OF_A_SUM) }], || {
        let whole = lap(items, || {
            (0..passes).for_each(|_| _ = black_box(sums::sum(black_box(x))));
        });
        let halves = lap(items, || {
            (0..passes).for_each(|_| _ = black_box(sums::sum_both(black_box(left), right)));
        });
        whole.min(halves)
    });
    if let Some(numpy) = numpy {
        let figures = numpy.mean_variance(1).figures;
        check("numpy", (figures[0], figures[1]));
        let against = [Against { ours, wanted: Some(MEAN_VARIANCE_RATIO) }];
        race.rival("numpy x.mean(), x.var()", &against, move || {
            numpy.mean_variance(1).seconds * 1e9 / x.len() as f64
        });
    } else {
        outcome.without_numpy.push(title);
    }
    outcome.add(race.run(rounds));
}

fn covariance(
    x: &[f64],
    y: &[f64],
    numpy: Option<&mut Numpy>,
    passes: usize,
    rounds: usize,
    outcome: &mut Outcome,
) {
    let pairs = x.iter().copied().zip(y.iter().copied());
    let wanted = check::covariance(pairs.clone(), 0);
    check::close(ours::NAME, ours::covariance(x, y), wanted, wanted, check::SUMS);

    let title = format!("covariance of two slices of {} values", x.len());
    let unit = Unit { item: "pair", rate: Some(("GB/s", 16.0)) };
    let mut race = Race::new("moments", title.clone(), unit, &["ours x"]);
    let items = x.len() * passes;
    let ours = race.ours("tensorforge PairMoments::from_slices", None, || {
        lap(items, || {
            let (x, y) = (black_box(x), black_box(y));
            (0..passes).for_each(|_| _ = black_box(ours::covariance(black_box(x), y)));
        })
    });
    race.rival("plain sums of both", &[Against { ours, wanted: Some(OF_A_SUM) }], || {
        let one_by_one = lap(items, || {
            for _ in 0..passes {
                black_box(sums::sum(black_box(x)));
                black_box(sums::sum(black_box(y)));
            }
        });
        let at_once = lap(items, || {
            (0..passes).for_each(|_| _ = black_box(sums::sum_both(black_box(x), y)));
        });
        one_by_one.min(at_once)
    });
    if let Some(numpy) = numpy {
        let wanted = check::covariance(pairs, 1);
        check::close("numpy", numpy.covariance(1).figures[0], wanted, wanted, check::SUMS);
        let against = [Against { ours, wanted: Some(COVARIANCE_RATIO) }];
        race.rival("numpy.cov(x, y)", &against, move || {
            numpy.covariance(1).seconds * 1e9 / x.len() as f64
        });
    } else {
        outcome.without_numpy.push(title);
    }
    outcome.add(race.run(rounds));
}
