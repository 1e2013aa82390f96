//! How identifiers, links and counts are packed into 64-bit words.
//!
//! Every layout is chosen so that zeroed memory is a valid empty queue: a `static` one lies in
//! `.bss`, and building one writes nothing.

/// Bits of an identifier of a slot or a node.
pub(super) const ID_BITS: u32 = 21;

/// No slot, no node. Also the number of identifiers there are.
pub(super) const NONE: u32 = (1 << ID_BITS) - 1;

const ID_MASK: u64 = NONE as u64;

/// Reads the identifier at `shift`. Bits of zero are `NONE`.
#[inline(always)]
pub(super) const fn id(word: u64, shift: u32) -> u32 {
    ((word >> shift) & ID_MASK) as u32 ^ NONE
}

/// The bits of an identifier at `shift`.
#[inline(always)]
pub(super) const fn id_bits(id: u32, shift: u32) -> u64 {
    ((id ^ NONE) as u64) << shift
}

/// Reads a number of `ID_BITS` bits at `shift`.
#[inline(always)]
pub(super) const fn number(word: u64, shift: u32) -> u32 {
    ((word >> shift) & ID_MASK) as u32
}

/// The bits of a number at `shift`.
#[inline(always)]
pub(super) const fn number_bits(number: u32, shift: u32) -> u64 {
    (number as u64) << shift
}

/// A slot's link: the identifier of the next slot, and a tag that no two uses of the slot share,
/// so that a thread that was stopped for long cannot link into a later use.
///
/// The tag is the low 43 bits of the item's sequence number, which is also what orders equals.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Link(pub(super) u64);

impl Link {
    /// A queued item that nothing follows yet.
    #[inline(always)]
    pub(super) const fn last(sequence: u64) -> Self {
        Self(sequence << ID_BITS)
    }

    /// The same item, followed by `next`.
    #[inline(always)]
    pub(super) const fn followed_by(self, next: u32) -> Self {
        Self(self.0 & !ID_MASK | id_bits(next, 0))
    }

    #[inline(always)]
    pub(super) const fn next(self) -> u32 {
        id(self.0, 0)
    }

    /// The item's place among equals.
    #[inline(always)]
    pub(super) const fn age(self) -> Age {
        Age(self.0 >> ID_BITS)
    }

    /// A free slot `of`, followed by `next` in the free list.
    #[inline(always)]
    pub(super) const fn free(sequence: u64, of: u32, next: u32) -> Self {
        Self(sequence << ID_BITS | free_bits(of, next))
    }

    #[inline(always)]
    pub(super) const fn next_free(self, of: u32) -> u32 {
        next_free(self.0, of)
    }
}

/// How a free list names what follows `of`: by its distance. Zero is "the one before me", and
/// before 0 is `NONE`, so that zeroed memory is the list of everything, last first.
#[inline(always)]
pub(super) const fn free_bits(of: u32, next: u32) -> u64 {
    (of.wrapping_sub(next).wrapping_sub(1) & NONE) as u64
}

#[inline(always)]
pub(super) const fn next_free(word: u64, of: u32) -> u32 {
    of.wrapping_sub(word as u32).wrapping_sub(1) & NONE
}

/// When an item came, modulo 2^43: ordered as long as two that are compared came within 2^42
/// items of each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Age(u64);

impl Age {
    const BITS: u32 = u64::BITS - ID_BITS;

    #[inline(always)]
    pub(super) const fn is_before(self, other: Self) -> bool {
        let distance = other.0.wrapping_sub(self.0) << ID_BITS >> ID_BITS;
        distance != 0 && distance < 1 << (Self::BITS - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn zeroed_memory_is_empty_and_chained_in_order() {
        assert_eq!(id(0, 0), NONE);
        assert_eq!(Link(0).next(), NONE);
        for slot in [1, 2, 77, NONE - 1] {
            assert_eq!(Link(0).next_free(slot), slot - 1);
        }
        assert_eq!(Link(0).next_free(0), NONE);
    }

    proptest! {
        #[test]
        fn links_read_back(sequence in 0..1_u64 << 43, of in 0..NONE, next in 0..=NONE) {
            let link = Link::last(sequence).followed_by(next);
            prop_assert_eq!(link.next(), next);
            prop_assert_eq!(link.age(), Age(sequence));
            prop_assert_eq!(Link::free(sequence, of, next).next_free(of), next);
        }

        #[test]
        fn ages_order_across_the_wrap(start: u64, distance in 1..1_u64 << 42) {
            let (early, late) = (Link::last(start), Link::last(start.wrapping_add(distance)));
            prop_assert!(early.age().is_before(late.age()));
            prop_assert!(!late.age().is_before(early.age()));
            prop_assert!(!early.age().is_before(early.age()));
        }
    }
}
