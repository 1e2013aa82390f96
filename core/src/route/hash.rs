//! Hashes that never change.

/// A hash of `bytes` that is the same in every process, version and machine: sticky keys and names of
/// endpoints go by it, so a change of it would move them all.
///
/// It is FNV-1a over 64 bits (offset basis `0xcbf29ce484222325`, prime `0x100000001b3`), then the
/// output function of SplitMix64, whose bits are all equally good. O(length). No defence against
/// who chooses keys so that they collide.
///
/// ```
/// use tensorforge_core::route::stable_hash;
///
/// assert_ne!(stable_hash(b"user-1"), stable_hash(b"user-2"));
/// ```
///
/// Sources: Fowler, Noll and Vo (RFC 9923); Steele, Lea and Flood, *Fast splittable pseudorandom
/// number generators*, 2014.
#[must_use]
pub const fn stable_hash(bytes: &[u8]) -> u64 {
    mix(fnv1a(bytes))
}

const fn fnv1a(mut bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    while let [first, rest @ ..] = bytes {
        hash = (hash ^ *first as u64).wrapping_mul(0x0000_0100_0000_01b3);
        bytes = rest;
    }
    hash
}

/// Spreads a number over all 64 bits; one to one.
#[inline(always)]
pub(super) const fn mix(number: u64) -> u64 {
    finish(gamma(number))
}

/// The step of SplitMix64.
#[inline(always)]
pub(super) const fn gamma(number: u64) -> u64 {
    number.wrapping_add(0x9e37_79b9_7f4a_7c15)
}

/// The output function of SplitMix64, which turns steps into numbers that have nothing to do with each
/// other; one to one.
#[inline(always)]
pub(super) const fn finish(step: u64) -> u64 {
    let mut mixed = (step ^ step >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// A number below `end` from random bits, each equally likely to within `end` in 2^64; 0 for 0.
#[inline(always)]
pub(super) const fn below(end: u64, random: u64) -> u64 {
    // Below `end`, so it fits.
    ((random as u128 * end as u128) >> 64) as u64
}

/// When someone with this hash, of 53 bits, arrives: a time that is exponentially distributed with
/// `weight` as its rate, so that each is the first of all as often as its share of the weights says. The
/// higher the hash, the sooner.
///
/// `None` when it is not below `limit`, which mostly shows without a logarithm.
#[inline]
pub(super) fn arrival_below(hash: u64, weight: f64, limit: f64) -> Option<f64> {
    // In (0, 1].
    let uniform = (hash + 1) as f64 * (1.0 / (1_u64 << 53) as f64);
    // -ln(u) >= 1 - u.
    if 1.0 - uniform > limit * weight {
        return None;
    }
    let arrival = -libm::log(uniform) / weight;
    (arrival < limit).then_some(arrival)
}

#[cfg(all(test, not(loom)))]
mod routing {
    use super::*;

    #[test]
    fn fnv_is_that_of_the_specification() {
        // Test vectors of RFC 9923, appendix C.
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn the_mixer_is_that_of_splitmix64() {
        // The first outputs for seed 1234567, as in Vigna's reference and Rosetta Code.
        let seed = 1_234_567;
        let gamma = 0x9e37_79b9_7f4a_7c15_u64;
        let outputs = [0, 1, 2].map(|step| mix(gamma.wrapping_mul(step).wrapping_add(seed)));
        assert_eq!(
            outputs,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn a_number_below_an_end_is_below_it() {
        for end in [1, 2, 3, 10_000, u64::MAX] {
            assert_eq!(below(end, 0), 0);
            assert_eq!(below(end, u64::MAX), end - 1);
        }
        assert_eq!(below(0, u64::MAX), 0);
    }

    #[test]
    fn arrivals_are_told_whenever_they_are_below_the_limit() {
        for step in 0..10_000_u64 {
            let hash = mix(step) >> 11;
            let exact = arrival_below(hash, 3.0, f64::INFINITY).unwrap_or(f64::NAN);
            assert!(exact >= 0.0);
            for limit in [0.01, 0.1, 0.3, 1.0] {
                let expected = (exact < limit).then_some(exact);
                assert_eq!(arrival_below(hash, 3.0, limit), expected);
            }
        }
    }
}
