//! Who comes first for a key: weighted rendezvous hashing.

use heapless::Vec;

use super::Shortlist;
use super::candidate::{Candidate, Candidates};
use super::context::EndpointId;
use super::hash::{finish, gamma, mix};

/// How many candidates are kept once they were read; with more, all are read again when it takes that.
const KEPT: usize = 128;

/// A candidate as far as a ranking goes by it.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    /// The sooner it arrives the less this is. Of equal weights, the upper 53 bits are the
    /// [distance](Key::distance), else those of [`soonest`]; the [`LOW`] bits are its place among the
    /// candidates and whether the model is loaded there, so the least one says who it is.
    order: u64,
    /// Its effective weight.
    pub(super) weight: u32,
    /// What is outstanding there.
    pub(super) outstanding: u32,
}

/// How many bits are not of the hash.
const LOW: u32 = 11;

impl Entry {
    #[inline(always)]
    fn new(key: Key, index: usize, candidate: &Candidate) -> Self {
        let low = (index as u64) << 1 | u64::from(candidate.loaded); // below 2^11
        Self {
            order: key.distance(candidate.endpoint) << LOW | low,
            weight: candidate.effective_weight(),
            outstanding: candidate.outstanding,
        }
    }

    /// The same, ready to be compared with those of other weights.
    #[inline(always)]
    fn weighted(self) -> Self {
        // Floating point that is not negative has the order of its bits.
        let soonest = soonest(self.distance(), self.weight).to_bits();
        Self { order: soonest >> LOW << LOW | self.order & ((1 << LOW) - 1), ..self }
    }

    /// Whether the model is loaded there.
    #[inline(always)]
    pub(super) const fn is_loaded(&self) -> bool {
        self.order & 1 == 1
    }

    /// Unless it is weighted.
    #[inline(always)]
    const fn distance(&self) -> u64 {
        self.order >> LOW
    }

    /// Its place among the candidates.
    pub(super) const fn index(&self) -> usize {
        index_of(self.order)
    }
}

const fn index_of(order: u64) -> usize {
    (order >> 1 & 0x3ff) as usize
}

/// Hashes are used to 53 bits, which is what floating point holds.
const HASHES: f64 = (1_u64 << 53) as f64;

/// When someone with this weight and [distance](Key::distance) arrives at the soonest:
/// -ln(1 - x) >= x + x² / 2.
#[inline(always)]
fn soonest(distance: u64, weight: u32) -> f64 {
    let x = distance as i64 as f64 * (1.0 / HASHES); // below 2^53; signed numbers are quicker
    (x + x * x * 0.5) / f64::from(weight)
}

/// And at the latest: -ln(1 - x) <= x + x² / 2 + x³ / (3 (1 - x)).
fn latest(distance: u64, weight: u32) -> f64 {
    let x = distance as f64 * (1.0 / HASHES);
    (x + x * x * 0.5 + x * x * x / (3.0 * (1.0 - x))) / f64::from(weight)
}

/// When they arrive: exponentially distributed with the weight as the rate.
fn arrival(distance: u64, weight: u32) -> f64 {
    let uniform = 1.0 - distance as f64 * (1.0 / HASHES); // in (0, 1], exact
    -libm::log(uniform) / f64::from(weight)
}

/// A little more than is lost where the low bits of a number are used for something else.
const ROUNDING: f64 = 1.0 + 1e-11;

/// A key, ready to be put together with endpoints.
#[derive(Clone, Copy)]
pub(super) struct Key(u64);

impl Key {
    pub(super) const fn new(key: u64) -> Self {
        Self(gamma(mix(key)))
    }

    /// How far the hash of key and endpoint is from the highest, below 2^53. The key is mixed already, so
    /// keys and endpoints that are numbered do not meet.
    #[inline(always)]
    pub(super) const fn distance(self, endpoint: EndpointId) -> u64 {
        !finish(self.0.wrapping_add(endpoint.0)) >> LOW
    }
}

/// What was read of a list, as far as there is room for it.
pub(super) struct Kept(Vec<Entry, KEPT>);

impl Kept {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }
}

/// The order in which the endpoints on a list come for a key: by the times at which they arrive, which
/// are exponentially distributed with the weights as rates. So each is the first of all for as many keys
/// as its share of the weights says.
pub(super) struct Ranking<'a, C: ?Sized> {
    key: Key,
    candidates: &'a C,
    shortlist: &'a Shortlist,
    /// Everyone on the list, if that is not too many.
    kept: Option<&'a [Entry]>,
    /// What is outstanding at all of them.
    pub(super) outstanding: u64,
    /// What all of them weigh.
    pub(super) weights: u64,
    are_equals: bool,
}

impl<'a, C: Candidates + ?Sized> Ranking<'a, C> {
    /// Reads the list.
    #[inline]
    pub(super) fn new(
        key: Key,
        candidates: &'a C,
        shortlist: &'a Shortlist,
        kept: &'a mut Kept,
    ) -> Self {
        let (outstanding, weights, are_equals) = (0, 0, true);
        let mut ranking =
            Self { key, candidates, shortlist, kept: None, outstanding, weights, are_equals };
        let (mut outstanding, mut weights, mut any, mut every) = (0, 0, 0, u32::MAX);
        let sum = |entry: &Entry| {
            outstanding += u64::from(entry.outstanding);
            weights += u64::from(entry.weight);
            (any, every) = (any | entry.weight, every & entry.weight);
        };
        if shortlist.len() <= KEPT {
            ranking.read_each(|entry| _ = kept.0.push(*entry));
            kept.0.iter().for_each(sum);
            if any != every {
                kept.0.iter_mut().for_each(|entry| *entry = entry.weighted());
            }
            ranking.kept = Some(&kept.0);
        } else {
            ranking.read_each(sum);
        }
        Self { outstanding, weights, are_equals: any == every, ..ranking }
    }

    /// The first of those that may be.
    #[inline]
    pub(super) fn first(&self, may_be: impl Fn(&Entry) -> bool) -> Option<Entry> {
        // The least two, without a branch: in numbers that are random, most would be foretold wrongly.
        let (mut least, mut next) = (u64::MAX, u64::MAX);
        self.for_each(|entry| {
            let order = entry.order | u64::from(may_be(entry)).wrapping_sub(1);
            next = next.min(least.max(order));
            least = least.min(order);
        });
        if least == u64::MAX {
            return None;
        }
        let first = self.read(index_of(least))?;
        // What cannot be told from the bits that there are, logarithms have to tell.
        if self.are_equals
            || next == u64::MAX
            || latest(first.distance(), first.weight) * ROUNDING < f64::from_bits(next)
        {
            return Some(first);
        }
        self.first_by_logarithms(first, may_be)
    }

    #[inline(never)]
    fn first_by_logarithms(
        &self,
        mut first: Entry,
        may_be: impl Fn(&Entry) -> bool,
    ) -> Option<Entry> {
        let mut soonest = arrival(first.distance(), first.weight);
        self.for_each(|entry| {
            if f64::from_bits(entry.order) <= soonest * ROUNDING
                && entry.index() != first.index()
                && may_be(entry)
                && let Some(other) = self.read(entry.index())
            {
                let arrival = arrival(other.distance(), other.weight);
                if arrival < soonest {
                    (first, soonest) = (other, arrival);
                }
            }
        });
        Some(first)
    }

    #[inline(always)]
    fn read(&self, index: usize) -> Option<Entry> {
        self.candidates.candidate(index).map(|candidate| Entry::new(self.key, index, &candidate))
    }

    #[inline(always)]
    fn for_each(&self, mut each: impl FnMut(&Entry)) {
        match self.kept {
            Some(kept) => kept.iter().for_each(each),
            None if self.are_equals => self.read_each(|entry| each(entry)),
            None => self.read_each(|entry| each(&entry.weighted())),
        }
    }

    #[inline(always)]
    fn read_each(&self, mut each: impl FnMut(&Entry)) {
        self.shortlist.for_each(|index| {
            if let Some(entry) = self.read(index) {
                each(&entry);
            }
        });
    }
}
