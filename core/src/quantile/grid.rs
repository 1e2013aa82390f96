//! Which bucket a value falls in, and what a bucket stands for.

/// 2^6 buckets to an octave.
const SPLIT_BITS: u32 = 6;
/// Buckets in an octave.
pub(super) const SPLIT: usize = 1 << SPLIT_BITS;
/// The bits of a value that do not name its bucket.
const REST_BITS: u32 = MANTISSA_BITS - SPLIT_BITS;
/// Mantissa bits of an `f64`.
pub(super) const MANTISSA_BITS: u32 = f64::MANTISSA_DIGITS - 1;
const EXPONENT_BIAS: i32 = f64::MAX_EXP - 1;

/// The most octaves: beyond, bucket numbers would not fit beside the marks of a window.
const MOST_OCTAVES: usize = 1000;

/// The exponent of the first number that is too large to be a value: 2^63 smaller ones can be added up
/// without overflow.
const TOO_LARGE: u32 = 960;
const LARGEST: f64 =
    f64::from_bits(((EXPONENT_BIAS as u64 + TOO_LARGE as u64) << MANTISSA_BITS) - 1);

/// Why a sketch cannot begin there.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeError {
    /// The lower end is zero, negative, subnormal, infinite or NaN.
    NotPositive,
    /// The upper end would be above 2^960.
    TooHigh,
}

impl core::fmt::Display for RangeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::NotPositive => "a range begins at a positive number, 2.3e-308 or more",
            Self::TooHigh => "the range ends above 2^960: begin lower, or take fewer octaves",
        })
    }
}

impl core::error::Error for RangeError {}

/// `OCTAVES` octaves of buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid<const OCTAVES: usize> {
    /// The number of the first bucket among those of all positive numbers: a multiple of [`SPLIT`].
    first: u64,
}

/// A value that falls in no bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outside {
    Zero,
    Below,
    Above,
    /// Negative, NaN, infinite, or 2^960 and more.
    Rejected,
}

impl<const OCTAVES: usize> Grid<OCTAVES> {
    /// From 2^-20 up: a microsecond in seconds.
    pub(super) const DEFAULT: Self = {
        assert!(OCTAVES > 0 && OCTAVES <= MOST_OCTAVES, "1 to 1000 octaves");
        Self { first: ((EXPONENT_BIAS - 20) as u64) << SPLIT_BITS }
    };

    /// The octaves from the one that holds `lowest` up.
    pub(super) const fn starting_at(lowest: f64) -> Result<Self, RangeError> {
        const { assert!(OCTAVES > 0 && OCTAVES <= MOST_OCTAVES, "1 to 1000 octaves") };
        if !(lowest >= f64::MIN_POSITIVE && lowest <= f64::MAX) {
            return Err(RangeError::NotPositive);
        }
        let exponent = lowest.to_bits() >> MANTISSA_BITS;
        if exponent + OCTAVES as u64 > EXPONENT_BIAS as u64 + TOO_LARGE as u64 {
            return Err(RangeError::TooHigh);
        }
        Ok(Self { first: exponent << SPLIT_BITS })
    }

    /// The bucket of the value with these bits; [`SPLIT`] `* OCTAVES` or more if it has none.
    #[inline(always)]
    pub(super) const fn bucket(self, bits: u64) -> usize {
        (bits >> REST_BITS).wrapping_sub(self.first) as usize
    }

    /// The bits that say where in its bucket a value lies, in units of 2^-52 of its octave.
    #[inline(always)]
    pub(super) const fn rest(bits: u64) -> u64 {
        bits & ((1 << REST_BITS) - 1)
    }

    /// The largest value that is counted at all.
    pub(super) const LARGEST: f64 = LARGEST;

    /// The lower edge of the `k`-th bucket of an octave, in units of 2^-52 of the octave.
    pub(super) const fn edge(k: usize) -> u64 {
        ((SPLIT + k) as u64) << REST_BITS
    }

    /// 2 to the power of this is what octave `octave` begins at.
    pub(super) const fn exponent(self, octave: usize) -> i32 {
        (self.first >> SPLIT_BITS) as i32 + octave as i32 - EXPONENT_BIAS
    }

    /// Where the range begins.
    pub(super) const fn lowest(self) -> f64 {
        f64::from_bits(self.first << REST_BITS)
    }

    /// Where it ends: the first value above.
    pub(super) const fn end(self) -> f64 {
        f64::from_bits((self.first + (OCTAVES * SPLIT) as u64) << REST_BITS)
    }

    /// Why a value has no bucket. Only asked of those that have none.
    pub(super) const fn outside(self, value: f64) -> Outside {
        if value == 0.0 {
            Outside::Zero
        } else if value > 0.0 && value < self.lowest() {
            Outside::Below
        } else if value > 0.0 && value <= LARGEST {
            Outside::Above
        } else {
            Outside::Rejected
        }
    }

    /// What a bucket answers: the harmonic mean of its edges.
    pub(super) const fn answer(self, bucket: usize) -> f64 {
        let k = bucket % SPLIT;
        let lower = (SPLIT + k) as f64;
        let upper = lower + 1.0;
        // In 64ths of the octave, so that nothing overflows; the product with its beginning is exact.
        let start = f64::from_bits((self.first + (bucket - k) as u64) << REST_BITS);
        start * (2.0 * lower * upper / ((lower + upper) * SPLIT as f64))
    }
}
