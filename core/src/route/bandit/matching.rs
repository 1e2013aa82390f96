//! Shares by the probability of being the best.

use super::super::split::{ALL_TRAFFIC, MAX_ARMS};

/// What is known of an arm's mean reward: a normal distribution.
///
/// Its mean and variance are those of a Beta distribution that was uniform before the first outcome. Of
/// rewards between 0 and 1, those that are only 0 or 1 vary most, so it is never too sure.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Belief {
    mean: f64,
    deviation: f64,
}

impl Belief {
    pub(super) fn new(outcomes: f64, rewards: f64) -> Self {
        let (good, all) = (1.0 + rewards, 2.0 + outcomes);
        let mean = good / all;
        Self { mean, deviation: libm::sqrt(mean * (1.0 - mean) / (all + 1.0)) }
    }
}

/// Where the integral over a normal distribution is taken: from -5 to 5 deviations.
const POINTS: i32 = 41;

/// With which probability the belief at `arm` is the highest of all, but for a common factor.
fn is_best(beliefs: &[Belief], arm: usize) -> f64 {
    let Some(own) = beliefs.get(arm) else { return 0.0 };
    let mut sum = 0.0;
    for point in 0..POINTS {
        let z = f64::from(point - POINTS / 2) * 0.25;
        let value = own.mean + own.deviation * z;
        let mut below = libm::exp(-0.5 * z * z);
        for (other, belief) in beliefs.iter().enumerate() {
            if other != arm {
                below *= normal((value - belief.mean) / belief.deviation);
            }
        }
        sum += below;
    }
    sum
}

/// The probability that a standard normal variable is below `z`.
fn normal(z: f64) -> f64 {
    0.5 * libm::erfc(-z * core::f64::consts::FRAC_1_SQRT_2)
}

/// The shares of as many arms as there are beliefs: the floor for each, and what is left over by the
/// probability of being the best. They add up to [`ALL_TRAFFIC`] whatever the beliefs are.
pub(super) fn divide(beliefs: &[Belief], floor: u16) -> [u16; MAX_ARMS] {
    let arms = beliefs.len().min(MAX_ARMS);
    let mut best = [0.0; MAX_ARMS];
    for (arm, best) in best.iter_mut().enumerate().take(arms) {
        *best = is_best(beliefs, arm);
    }
    let all: f64 = best.iter().sum();
    let mut shares = [0; MAX_ARMS];
    let spare = ALL_TRAFFIC.saturating_sub(floor.saturating_mul(arms as u16));
    let (mut given, mut rests) = (0, [-1.0; MAX_ARMS]);
    for ((share, best), rest) in shares.iter_mut().zip(best).zip(&mut rests).take(arms) {
        let part = f64::from(spare) * best / all;
        let whole = part as u16; // rounds down; 0 for what is no number
        *share = floor + whole;
        given += whole;
        *rest = part - f64::from(whole);
    }
    // What rounding has left over: one each for those that lost most by it.
    for _ in given..spare {
        let most = (0..arms).max_by(|&one, &other| {
            let [one, other] = [one, other].map(|arm| rests.get(arm).copied().unwrap_or(-1.0));
            one.total_cmp(&other)
        });
        if let Some(most) = most
            && let (Some(share), Some(rest)) = (shares.get_mut(most), rests.get_mut(most))
        {
            (*share, *rest) = (*share + 1, *rest - 1.0);
        }
    }
    shares
}
