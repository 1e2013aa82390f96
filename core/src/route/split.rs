//! Traffic divided between versions.

use super::hash::{arrival_below, mix};
use crate::sync::{AtomicU64, Ordering, const_unless_loom};

/// How many arms a split may have.
pub const MAX_ARMS: usize = 16;

/// All the traffic: the weights of a split add up to this, in steps of 0.01 %.
pub const ALL_TRAFFIC: u16 = 10_000;

/// Next to 10,000 divided by the golden ratio, and without a common divisor with 10,000.
const STRIDE: u64 = 6_181;

/// The place of the `turn`th request among 10,000: each once in any 10,000 turns that follow each other,
/// and any few that follow each other far apart.
pub(super) const fn place_of(turn: u64) -> u16 {
    // Below 10,000.
    (turn % ALL_TRAFFIC as u64 * STRIDE % ALL_TRAFFIC as u64) as u16
}

/// Why there is no such split.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SplitError {
    /// No weights.
    NoArms,
    /// More than [`MAX_ARMS`] weights.
    TooManyArms(usize),
    /// The arm of this number has a weight of 0.
    ZeroWeight(usize),
    /// The weights add up to this.
    Sum(u64),
}

impl core::fmt::Display for SplitError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoArms => f.write_str("a split has 1 arm or more; 0 were given"),
            Self::TooManyArms(arms) => write!(f, "a split has at most {MAX_ARMS} arms, not {arms}"),
            Self::ZeroWeight(arm) => write!(f, "arm {arm} has a weight of 0; leave it out"),
            Self::Sum(sum) => write!(f, "the weights add up to {sum}; 10000 is all the traffic"),
        }
    }
}

impl core::error::Error for SplitError {}

/// Divides requests between up to 16 arms by weights in hundredths of a per cent.
///
/// * **With a key**, the same key always goes to the same arm: in every process, after every restart,
///   for as long as the weights stay. Each arm waits for the key for a time that follows from the hash of
///   salt, arm and key, exponentially distributed with the weight as its rate; the key goes to the first.
///   When weights change, an arm whose weight grew against all others' takes keys from them and loses
///   none. In general, with d the part of the traffic that has to move, at most 2 d / (1 + d) of the keys
///   do: no rule that does not remember where keys were can promise less. It is exactly d when the
///   weights of all arms but one keep their proportions, as always with two arms.
/// * **Without a key**, requests take turns in an order without bursts. Any 10,000 requests that follow
///   each other are divided exactly, whoever of many threads makes them.
///
/// The number of an arm is its identity: arms may be added at the end and change their weights, but an
/// order of another kind moves keys. Another salt gives an experiment that is independent of the first.
///
/// **Progress:** wait-free. **Memory:** 56 bytes. O(arms) with a key, one atomic addition without.
///
/// Sources: R. Moulton and Y. Jiang, *Maximally consistent sampling and the Jaccard index of probability
/// distributions*, 2018; M. Bavarian et al., *On the optimality of correlated sampling*, 2016;
/// V. T. Sós, *On the distribution mod 1 of the sequence nα*, 1958 (why the turns are even).
///
/// ```
/// use tensorforge_core::route::{Split, SplitError, stable_hash};
///
/// let canary = Split::new(&[9_000, 1_000], stable_hash(b"digits-v2")).unwrap();
/// let mut counts = [0; 2];
/// (0..10_000).for_each(|_| counts[canary.next_arm()] += 1);
/// assert_eq!(counts, [9_000, 1_000]);
/// let alice = stable_hash(b"alice");
/// assert_eq!(canary.arm_of(alice), canary.arm_of(alice));
///
/// assert_eq!(Split::new(&[9_000, 900], 1).err(), Some(SplitError::Sum(9_900)));
/// ```
#[derive(Debug)]
pub struct Split {
    turn: AtomicU64,
    salt: u64,
    weights: Weights,
}

impl Split {
    const_unless_loom! {
        /// Arm 0 gets the first weight, and so on. What is random follows from `salt`.
        ///
        /// # Errors
        /// If there are no weights or too many, one is 0, or they do not add up to [`ALL_TRAFFIC`].
        pub fn new(weights: &[u16], salt: u64) -> Result<Self, SplitError> {
            match Weights::new(weights) {
                Err(error) => Err(error),
                Ok(weights) => {
                    let turn = AtomicU64::new(salt % ALL_TRAFFIC as u64);
                    Ok(Self { turn, salt, weights })
                }
            }
        }
    }

    /// The weights, arm by arm.
    #[must_use]
    pub fn weights(&self) -> &[u16] {
        self.weights.as_slice()
    }

    /// The arm of a request: by its key, if it has one, else in turn.
    pub fn arm(&self, sticky: Option<u64>) -> usize {
        match sticky {
            Some(key) => self.arm_of(key),
            None => self.next_arm(),
        }
    }

    /// The arm whose turn it is.
    pub fn next_arm(&self) -> usize {
        self.weights.arm_at(self.turn.fetch_add(1, Ordering::Relaxed))
    }

    /// The arm of a key.
    #[must_use]
    pub fn arm_of(&self, key: u64) -> usize {
        self.weights.arm_of(key, self.salt)
    }
}

/// The weights of up to 16 arms, which add up to [`ALL_TRAFFIC`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Weights {
    weights: [u16; MAX_ARMS],
    arms: usize,
}

impl Weights {
    pub(super) const fn new(weights: &[u16]) -> Result<Self, SplitError> {
        match checked(weights) {
            Ok(checked) => Ok(Self { weights: checked, arms: weights.len() }),
            Err(error) => Err(error),
        }
    }

    /// Weights that add up already.
    pub(super) const fn of(weights: [u16; MAX_ARMS], arms: usize) -> Self {
        Self { weights, arms }
    }

    /// Four to a word.
    pub(super) fn pack(&self) -> [u64; MAX_ARMS / 4] {
        let mut words = [0; MAX_ARMS / 4];
        for (word, weights) in words.iter_mut().zip(self.weights.chunks_exact(4)) {
            *word = weights.iter().rev().fold(0, |word, &weight| word << 16 | u64::from(weight));
        }
        words
    }

    /// What was packed, of so many arms.
    pub(super) fn unpack(words: [u64; MAX_ARMS / 4], arms: usize) -> Self {
        let mut weights = [0; MAX_ARMS];
        for (weights, mut word) in weights.chunks_exact_mut(4).zip(words) {
            for weight in weights {
                *weight = word as u16; // the lowest 16 bits
                word >>= 16;
            }
        }
        Self { weights, arms }
    }

    /// All there may be; 0 behind the last arm.
    pub(super) const fn all(&self) -> [u16; MAX_ARMS] {
        self.weights
    }

    pub(super) fn as_slice(&self) -> &[u16] {
        self.weights.get(..self.arms).unwrap_or(&[])
    }

    /// The arm that has this turn.
    pub(super) fn arm_at(&self, turn: u64) -> usize {
        let mut place = place_of(turn);
        for (arm, &weight) in self.as_slice().iter().enumerate() {
            if place < weight {
                return arm;
            }
            place -= weight;
        }
        0 // unreachable: the weights add up
    }

    /// The arm of a key.
    pub(super) fn arm_of(&self, key: u64, salt: u64) -> usize {
        let key = mix(key ^ mix(salt));
        let mut first = (0, f64::INFINITY);
        for (arm, &weight) in self.as_slice().iter().enumerate() {
            let hash = mix(key ^ mix(arm as u64)) >> 11;
            if let Some(arrival) = arrival_below(hash, f64::from(weight), first.1) {
                first = (arm, arrival);
            }
        }
        first.0
    }
}

const fn checked(mut weights: &[u16]) -> Result<[u16; MAX_ARMS], SplitError> {
    let arms = weights.len();
    if arms == 0 {
        return Err(SplitError::NoArms);
    }
    if arms > MAX_ARMS {
        return Err(SplitError::TooManyArms(arms));
    }
    let (mut checked, mut arm, mut sum) = ([0; MAX_ARMS], 0, 0_u64);
    while let [weight, rest @ ..] = weights {
        if *weight == 0 {
            return Err(SplitError::ZeroWeight(arm));
        }
        checked[arm] = *weight; // below MAX_ARMS
        (sum, arm, weights) = (sum + *weight as u64, arm + 1, rest);
    }
    if sum != ALL_TRAFFIC as u64 {
        return Err(SplitError::Sum(sum));
    }
    Ok(checked)
}
