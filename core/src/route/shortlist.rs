//! Which candidates are still in.

use super::explain::{Admission, Choice, Reason};
use super::{Candidates, EndpointId};

/// How many candidates a choice looks at.
pub const MAX_CANDIDATES: usize = 1024;

const WORDS: usize = MAX_CANDIDATES / 64;

/// The candidates that are still in, by their places in the list: a set of bits.
///
/// Filters take out of it, and the policy chooses from what is left. **Memory:** 160 bytes.
///
/// ```
/// use tensorforge_core::route::Shortlist;
///
/// let mut shortlist = Shortlist::new();
/// [3, 70, 1023, 1024].map(|index| shortlist.insert(index));
/// assert!(shortlist.iter().eq([3, 70, 1023])); // there is no place 1024
/// assert_eq!(shortlist.nth(1), Some(70));
/// assert_eq!(shortlist.next_after(1023), Some(3)); // around
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Shortlist {
    words: [u64; WORDS],
    len: usize,
    pub(super) admission: Admission,
}

impl Shortlist {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self { words: [0; WORDS], len: 0, admission: Admission::Healthy }
    }

    /// Puts a place in; one from [`MAX_CANDIDATES`] on is left out. O(1).
    #[inline]
    pub fn insert(&mut self, index: usize) {
        if let Some(word) = self.words.get_mut(index / 64) {
            let bit = 1 << (index % 64);
            self.len += usize::from(*word & bit == 0);
            *word |= bit;
        }
    }

    /// Takes a place out. O(1).
    #[inline]
    pub fn remove(&mut self, index: usize) {
        if let Some(word) = self.words.get_mut(index / 64) {
            let bit = 1 << (index % 64);
            self.len -= usize::from(*word & bit != 0);
            *word &= !bit;
        }
    }

    /// Whether it is in. O(1).
    #[inline]
    #[must_use]
    pub fn contains(&self, index: usize) -> bool {
        self.words.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// How many are in. O(1).
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether none is in. O(1).
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Under which rule they came in.
    #[must_use]
    pub const fn admission(&self) -> Admission {
        self.admission
    }

    /// The `n`th that is in, counted from 0. O(words) = 16 steps.
    #[inline]
    #[must_use]
    pub fn nth(&self, mut n: usize) -> Option<usize> {
        for (at, &word) in self.words.iter().enumerate() {
            let ones = word.count_ones() as usize;
            if n < ones {
                let mut rest = word;
                for _ in 0..n {
                    rest &= rest - 1; // not zero: it has more than `n` ones
                }
                return Some(at * 64 + rest.trailing_zeros() as usize);
            }
            n -= ones;
        }
        None
    }

    /// The only one that is in, if it is only one.
    #[inline]
    #[must_use]
    pub fn only(&self) -> Option<usize> {
        if self.len == 1 { self.nth(0) } else { None }
    }

    /// The next one that is in after `index`, around the end; `index` itself when it is the only one.
    #[inline]
    #[must_use]
    pub fn next_after(&self, index: usize) -> Option<usize> {
        let from = index.saturating_add(1);
        let (word, bit) = (from / 64, from % 64);
        if let Some(first) = self.words.get(word) {
            let rest = first >> bit << bit;
            if rest != 0 {
                return Some(word * 64 + rest.trailing_zeros() as usize);
            }
        }
        let later = (word + 1)..WORDS;
        later.chain(0..WORDS).find_map(|at| {
            let word = *self.words.get(at)?;
            (word != 0).then(|| at * 64 + word.trailing_zeros() as usize)
        })
    }

    /// Those that are in, by place. What is put in or taken out meanwhile does not count.
    #[inline]
    #[must_use]
    pub const fn iter(&self) -> Places {
        Places { words: self.words, at: 0, word: self.words[0] }
    }

    /// Takes out what is not in `others` too.
    pub(super) fn keep(&mut self, others: &Self) {
        let words = self.words.iter_mut().zip(&others.words);
        self.len = words.fold(0, |len, (word, other)| {
            *word &= other;
            len + word.count_ones() as usize
        });
    }

    /// Takes out what is in `others`.
    pub(super) fn take_out(&mut self, others: &Self) {
        let words = self.words.iter_mut().zip(&others.words);
        self.len = words.fold(0, |len, (word, other)| {
            *word &= !other;
            len + word.count_ones() as usize
        });
    }

    /// Puts in what is in `others`.
    pub(super) fn join(&mut self, others: &Self) {
        let words = self.words.iter_mut().zip(&others.words);
        self.len = words.fold(0, |len, (word, other)| {
            *word |= other;
            len + word.count_ones() as usize
        });
    }

    /// Puts in 64 places at once, from place `64 * at` on. None of them may be in.
    #[inline]
    pub(super) fn insert_word(&mut self, at: usize, bits: u64) {
        if let Some(word) = self.words.get_mut(at) {
            *word |= bits;
            self.len += bits.count_ones() as usize;
        }
    }

    /// The choice of the candidate at `index`.
    #[inline]
    #[must_use]
    pub fn choice<C: Candidates + ?Sized>(
        &self,
        candidates: &C,
        index: usize,
        reason: Reason,
    ) -> Choice {
        // A source that has shrunk meanwhile breaks its contract; the index says so to the caller.
        let endpoint = candidates.candidate(index).map_or(EndpointId(0), |found| found.endpoint);
        Choice { index, endpoint, reason, admission: self.admission }
    }
}

/// The places on a shortlist, in their order.
#[derive(Clone, Debug)]
pub struct Places {
    words: [u64; WORDS],
    at: usize,
    word: u64,
}

impl Iterator for Places {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.word == 0 {
            self.at += 1;
            self.word = *self.words.get(self.at)?;
        }
        let place = self.at * 64 + self.word.trailing_zeros() as usize;
        self.word &= self.word - 1; // not zero
        Some(place)
    }
}
