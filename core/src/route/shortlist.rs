//! Which candidates are still in.

use super::explain::{Admission, Choice, Exclusion, Reason, RouteSink};
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

    /// The places before `count`.
    pub(super) fn first(count: usize) -> Self {
        let mut all = Self::new();
        for (at, word) in all.words.iter_mut().enumerate() {
            let ones = count.saturating_sub(at * 64).min(64) as u32;
            *word = u64::MAX.checked_shr(64 - ones).unwrap_or(0);
        }
        all.len = count.min(MAX_CANDIDATES);
        all
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
                return Some(at * 64 + nth_one(word, n as u32) as usize);
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
        let (mut at, bit) = (from / 64, from % 64);
        let mut word = self.words.get(at).map_or(0, |word| word >> bit << bit);
        // Once around, back to the word that it began in.
        for _ in 0..=WORDS {
            if word != 0 {
                return Some(at * 64 + word.trailing_zeros() as usize);
            }
            at = if at + 1 < WORDS { at + 1 } else { 0 };
            word = *self.words.get(at)?;
        }
        None
    }

    /// Those that are in, by place. What is put in or taken out meanwhile does not count.
    #[inline]
    #[must_use]
    pub const fn iter(&self) -> Places {
        Places { words: self.words, at: 0, word: self.words[0] }
    }

    /// Calls `each` with those that are in, by place.
    #[inline(always)]
    pub(super) fn for_each(&self, mut each: impl FnMut(usize)) {
        for (at, &word) in self.words.iter().enumerate() {
            let mut rest = word;
            while rest != 0 {
                each(at * 64 + rest.trailing_zeros() as usize);
                rest &= rest - 1; // not zero
            }
        }
    }

    /// Tells the sink that all that are in were excluded.
    pub(super) fn tell(&self, why: Exclusion, sink: &mut dyn RouteSink) {
        if !self.is_empty() && sink.wants_exclusions() {
            self.for_each(|index| sink.excluded(index, why));
        }
    }

    /// Those that are in and for which `belongs` does not hold.
    #[inline(always)]
    pub(super) fn those_not(&self, mut belongs: impl FnMut(usize) -> bool) -> Self {
        let mut others = Self::new();
        for (at, (&word, other)) in self.words.iter().zip(&mut others.words).enumerate() {
            let (mut rest, mut found) = (word, 0);
            while rest != 0 {
                if !belongs(at * 64 + rest.trailing_zeros() as usize) {
                    found |= rest & rest.wrapping_neg();
                }
                rest &= rest - 1; // not zero
            }
            if found != 0 {
                *other = found;
                others.len += found.count_ones() as usize;
            }
        }
        others
    }

    /// The same places, let in under another rule.
    pub(super) const fn under(mut self, admission: Admission) -> Self {
        self.admission = admission;
        self
    }

    /// Takes out what is not in `others` too.
    pub(super) fn keep(&mut self, others: &Self) {
        let words = self.words.iter_mut().zip(&others.words);
        self.len = words.fold(0, |len, (word, other)| {
            *word &= other;
            len + ones_of(*word)
        });
    }

    /// What is in this one and not in `others`.
    pub(super) fn without(&self, others: &Self) -> Self {
        let mut rest = *self;
        rest.take_out(others);
        rest
    }

    /// Takes out what is in `others`.
    pub(super) fn take_out(&mut self, others: &Self) {
        if others.is_empty() {
            return;
        }
        let words = self.words.iter_mut().zip(&others.words);
        self.len = words.fold(0, |len, (word, other)| {
            *word &= !other;
            len + ones_of(*word)
        });
    }

    /// Puts in what is in `others`.
    pub(super) fn join(&mut self, others: &Self) {
        let words = self.words.iter_mut().zip(&others.words);
        self.len = words.fold(0, |len, (word, other)| {
            *word |= other;
            len + ones_of(*word)
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

/// How many ones `word` has. Mostly it has none, and counting takes a dozen steps where the processor
/// does not know how.
#[inline(always)]
const fn ones_of(word: u64) -> usize {
    if word == 0 { 0 } else { word.count_ones() as usize }
}

/// The place of the `n`th one in `word`, which has more than `n`: by halves, so that it takes as long
/// for the last as for the first.
///
/// Source: S. Vigna, *Broadword implementation of rank/select queries*, 2008.
#[inline]
const fn nth_one(word: u64, mut n: u32) -> u32 {
    // The ones of each 2 bits, each 4, and each 8 with those of the lower bytes.
    let pairs = word - (word >> 1 & 0x5555_5555_5555_5555);
    let fours = (pairs & 0x3333_3333_3333_3333) + (pairs >> 2 & 0x3333_3333_3333_3333);
    let eights = (fours + (fours >> 4)) & 0x0f0f_0f0f_0f0f_0f0f;
    let mut place = 0;
    let mut half = 32;
    while half >= 8 {
        let low = eights >> place & (u64::MAX >> (64 - half));
        // The sum of the bytes: at most 64, in the highest byte.
        let ones = (low.wrapping_mul(0x0101_0101_0101_0101) >> 56) as u32;
        if n >= ones {
            n -= ones;
            place += half;
        }
        half /= 2;
    }
    let mut rest = word >> place & 0xff;
    while n > 0 {
        rest &= rest.wrapping_sub(1);
        n -= 1;
    }
    place + rest.trailing_zeros()
}
