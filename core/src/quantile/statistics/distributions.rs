//! Streams of latencies in seconds: smooth, clustered, and made to hurt.

use std::vec::Vec;

pub(super) const COUNT: usize = 1_000_000;

/// Random numbers from a seed: SplitMix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// Above 0 and below 1.
    pub(super) fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let angle = std::f64::consts::TAU * self.uniform();
        (-2.0 * self.uniform().ln()).sqrt() * angle.cos()
    }
}

/// Each stream by name.
pub(super) fn all() -> Vec<(&'static str, Vec<f64>)> {
    let mut random = Random(1);
    let mut draw = |one: &mut dyn FnMut(&mut Random, usize) -> f64| -> Vec<f64> {
        // Within the range of the sketch, as every latency is that a server measures.
        (0..COUNT).map(|i| one(&mut random, i).clamp(1e-6, 1e3)).collect()
    };
    let mixed = |share: f64| {
        move |random: &mut Random, _: usize| {
            let center = if random.uniform() < share { 1e-3 } else { 0.1 };
            center * (1.0 + 0.05 * random.normal())
        }
    };
    std::vec![
        ("uniform", draw(&mut |random, _| 0.001 + 0.099 * random.uniform())),
        ("exponential", draw(&mut |random, _| -0.01 * random.uniform().ln())),
        ("lognormal, sigma 1", draw(&mut |random, _| 0.005 * random.normal().exp())),
        ("lognormal, sigma 2", draw(&mut |random, _| 0.005 * (2.0 * random.normal()).exp())),
        ("Pareto 1.2", draw(&mut |random, _| 0.001 * random.uniform().powf(-1.0 / 1.2))),
        ("95/5 at 1 and 100 ms", draw(&mut mixed(0.95))),
        ("99/1 at 1 and 100 ms", draw(&mut mixed(0.99))),
        (
            "a step in the middle",
            draw(&mut |random, i| {
                (if i < COUNT / 2 { 0.002 } else { 0.2 }) * (1.0 + 0.1 * random.uniform())
            })
        ),
        ("ascending", draw(&mut |_, i| 1e-6 * (1 + i) as f64)),
        ("descending", draw(&mut |_, i| 1e-6 * (COUNT - i) as f64)),
        ("constant", draw(&mut |_, _| 0.0123)),
        ("two-valued", draw(&mut |random, _| if random.uniform() < 0.95 { 0.001 } else { 0.9 })),
        ("heavy ties", draw(&mut |random, _| 0.001 * f64::from(1 << (random.next() % 10) as u32))),
        (
            "bucket edges",
            draw(&mut |random, _| {
                // An edge of a bucket, or the last number below it.
                let bits = 0.001_f64.to_bits() >> 46;
                f64::from_bits(((bits + random.next() % 500) << 46) - random.next() % 2)
            })
        ),
    ]
}
