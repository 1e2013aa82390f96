//! Whether two success rates differ: a mixture sequential test.

use super::experiment::Side;

/// The differences that are looked for, as logarithms of odds ratios: from odds that are a tenth better
/// to such that are 25 times better.
const EFFECTS: [f64; 6] = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2];

/// An e-process against "both sides succeed equally often", for either direction.
///
/// Outcomes are taken in blocks: one ends when there is an outcome of both sides. Against a block of
/// n₀ and n₁ outcomes, an alternative with success rates θ₀ and θ₁ bets
///
/// Π θ(outcome) / θ̄(outcome), where θ̄ = (n₀ θ₀ + n₁ θ₁) / (n₀ + n₁).
///
/// If both sides have the rate p, whatever it is, the expectation of that is at most 1: its logarithm is
/// concave in p and has its maximum, 0, at p = θ̄. So a product of such bets over blocks is a test
/// martingale at most, and passes 1 / α with a probability of at most α, ever (Ville). Nothing is
/// assumed of p, which may change from block to block. The alternatives are [`EFFECTS`] around the rate
/// seen so far, in equal parts: a mixture.
///
/// Sources: R. Turner, A. Ly and P. Grünwald, *Generic E-variables for exact sequential k-sample tests
/// that allow for optional stopping*, 2024; H. Robbins, *Statistical methods related to the law of
/// the iterated logarithm*, 1970 (mixtures).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OddsTest {
    /// For the candidate being better, and worse: the logarithm of what each effect has won.
    won: [[f64; EFFECTS.len()]; 2],
    /// The most that the mixture of either has ever won, as a logarithm.
    most: [f64; 2],
    /// The block that has not ended: outcomes and successes, control and candidate.
    block: [Tally; 2],
    /// All blocks that have.
    past: Tally,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Tally {
    successes: f64,
    failures: f64,
}

impl Tally {
    const NONE: Self = Self { successes: 0.0, failures: 0.0 };

    fn all(self) -> f64 {
        self.successes + self.failures
    }

    fn count(&mut self, success: bool) {
        *(if success { &mut self.successes } else { &mut self.failures }) += 1.0;
    }

    fn add(&mut self, other: Self) {
        self.successes += other.successes;
        self.failures += other.failures;
    }
}

impl OddsTest {
    pub(super) const fn new() -> Self {
        Self {
            won: [[0.0; EFFECTS.len()]; 2],
            most: [0.0; 2],
            block: [Tally::NONE; 2],
            past: Tally::NONE,
        }
    }

    pub(super) fn record(&mut self, side: Side, success: bool) {
        let [control, candidate] = &mut self.block;
        let tally = match side {
            Side::Control => control,
            Side::Candidate => candidate,
        };
        tally.count(success);
        let [control, candidate] = self.block;
        if control.all() > 0.0 && candidate.all() > 0.0 {
            self.settle(control, candidate);
            self.block = [Tally::NONE; 2];
            self.past.add(control);
            self.past.add(candidate);
        }
    }

    /// The logarithms of the most that was ever won on the candidate being better, and worse.
    pub(super) const fn strongest(&self) -> [f64; 2] {
        self.most
    }

    fn settle(&mut self, control: Tally, candidate: Tally) {
        // Half a success and half a failure to begin with: the odds are never 0.
        let odds = (self.past.successes + 0.5) / (self.past.failures + 0.5);
        let share = candidate.all() / (control.all() + candidate.all());
        for ((won, most), sign) in self.won.iter_mut().zip(&mut self.most).zip([1.0, -1.0]) {
            for (won, effect) in won.iter_mut().zip(EFFECTS) {
                // Apart by the effect, around the odds seen so far by the sides' sizes.
                let effect = sign * effect;
                let worse = rate(odds * libm::exp(-effect * share));
                let better = rate(odds * libm::exp(effect * (1.0 - share)));
                *won += bet(control, candidate, worse, better, share);
            }
            *most = most.max(mean_of_exp(won));
        }
    }
}

/// The logarithm of what is won in a block with these rates of control and candidate.
fn bet(control: Tally, candidate: Tally, theta0: f64, theta1: f64, share: f64) -> f64 {
    let mean = theta0 * (1.0 - share) + theta1 * share;
    let mut won = 0.0;
    for (tally, theta) in [(control, theta0), (candidate, theta1)] {
        if tally.successes > 0.0 {
            won += tally.successes * libm::log(theta / mean);
        }
        if tally.failures > 0.0 {
            won += tally.failures * libm::log((1.0 - theta) / (1.0 - mean));
        }
    }
    // Rates so near 0 or 1 that their difference is lost win nothing.
    if won.is_finite() { won } else { 0.0 }
}

fn rate(odds: f64) -> f64 {
    odds / (1.0 + odds)
}

/// The logarithm of the mean of what stands as logarithms.
fn mean_of_exp(logs: &[f64]) -> f64 {
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logs.iter().map(|log| libm::exp(log - most)).sum();
    most + libm::log(sum / logs.len() as f64)
}
