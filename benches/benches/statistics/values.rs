//! What the subjects are given: the same values in every run.

use std::f64::consts::TAU;

/// splitmix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Above 0 and below 1.
    pub(crate) fn unit(&mut self) -> f64 {
        ((self.draw() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
    }

    /// Of mean 0 and variance 1.
    pub(crate) fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (TAU * self.unit()).cos()
    }
}

/// Durations in seconds, as a server measures them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Shape {
    Uniform,
    Exponential,
    Lognormal,
    Constant,
}

impl Shape {
    pub(crate) const ALL: [Self; 4] =
        [Self::Uniform, Self::Exponential, Self::Lognormal, Self::Constant];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Exponential => "exponential",
            Self::Lognormal => "lognormal",
            Self::Constant => "constant",
        }
    }

    pub(crate) fn values(self, count: usize) -> Vec<f64> {
        let mut random = Random::new(42);
        let value = |_| match self {
            Self::Uniform => 0.001 + 0.999 * random.unit(),
            Self::Exponential => -0.05 * random.unit().ln(),
            Self::Lognormal => 0.02 * random.normal().exp(),
            Self::Constant => 0.042,
        };
        (0..count).map(value).collect()
    }
}
