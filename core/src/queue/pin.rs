//! How a thread reads an item in place while others may take it out: the pin.
//!
//! A peek writes in its seat which slot it is about to read, then makes sure that the slot is still
//! the queue's first: a compare-and-swap of the root with itself, so that whoever takes the item
//! later sees the pin. A thread that finds a pin on the slot it took never waits for it to go: it
//! clones the item for itself and leaves the slot, item and all, to the pin's owner, for whose spare
//! slot it trades. The last to own the original drops it.
#![allow(unsafe_code)]

use super::seat::Seated;
use super::storage::Storage;
use super::word::{ID_BITS, NONE, id, id_bits};
use super::{Queue, order};
use crate::sync::{AtomicPtr, AtomicU32, AtomicU64, Ordering, const_unless_loom};

const HANDED: u64 = 1 << 63;

/// What a seat's owner reads in place: nothing (zero); a slot, and the spare slot that whoever takes
/// it away may have instead; or a slot that was handed to it.
#[derive(Debug)]
pub(super) struct PinWord(AtomicU64);

impl PinWord {
    const_unless_loom! {
        pub(super) fn new() -> Self {
            Self(AtomicU64::new(0))
        }
    }
}

/// What the readers in place share.
#[derive(Debug)]
pub(super) struct Readers {
    /// How many there are. While none, nobody looks for pins.
    count: AtomicU32,
    /// `T::clone`, a `fn(&T) -> T`, once anybody peeked.
    clone: AtomicPtr<()>,
}

impl Readers {
    const_unless_loom! {
        pub(super) fn new() -> Self {
            Self { count: AtomicU32::new(0), clone: AtomicPtr::new(core::ptr::null_mut()) }
        }
    }
}

impl<T, S: Storage<T>> Queue<T, S> {
    /// A clone of the item that [`dequeue`](Self::dequeue) would return.
    ///
    /// **Progress:** lock-free, given a seat: it tries again only when another operation succeeded.
    /// The clone itself runs outside of every retry, once.
    ///
    /// ```
    /// # use tensorforge_core::queue::PriorityQueue;
    /// let queue: PriorityQueue<&str, 4> = PriorityQueue::new();
    /// assert_eq!(queue.peek(), None);
    /// queue.enqueue(1, "low").unwrap();
    /// queue.enqueue(2, "high").unwrap();
    /// assert_eq!((queue.peek(), queue.size()), (Some("high"), 2));
    /// ```
    pub fn peek(&self) -> Option<T>
    where
        T: Clone + Sync,
    {
        let clone: fn(&T) -> T = T::clone;
        self.readers.clone.store(clone as *mut (), Ordering::Relaxed);
        let seated = Seated::claim(&self.storage);
        self.readers.count.fetch_add(1, Ordering::Relaxed);
        let mut reader = Reader { queue: self, seated, pinned: NONE };
        let mut backoff = self.backoff();
        loop {
            let root = self.root.load(Ordering::Acquire);
            let first = self.record(root).and_then(|record| order::first(&record.view(), self));
            match first {
                Some(Some(slot)) => {
                    reader.pin(slot);
                    if self.replace_root(root, root) {
                        let cell = self.slot(slot)?;
                        // SAFETY: the item was in the queue when the root was confirmed, after the
                        // pin was written; so whoever takes it sees the pin and leaves it in place.
                        return Some(unsafe { cell.copy(clone) });
                    }
                    reader.unpin();
                }
                Some(None) if self.is_current(root) => return None,
                _ => {}
            }
            backoff.lost();
        }
    }

    /// Takes the item out of `slot`, which the caller owns and found full. Afterwards the caller
    /// owns `owned`, also when cloning or dropping an item panicked.
    #[inline(always)]
    pub(super) fn take(&self, slot: u32, owned: &mut u32) -> Option<T> {
        *owned = slot;
        let cell = self.slot(slot)?;
        // The compare-and-swap that took the slot came after that of every peek which confirmed a
        // pin on it, so they are counted here; and those that left have finished reading.
        if self.readers.count.load(Ordering::Acquire) == 0 {
            // SAFETY: owned, full, and not pinned.
            return Some(unsafe { cell.take() });
        }
        self.take_beside_readers(slot, owned)
    }

    #[cold]
    #[inline(never)]
    fn take_beside_readers(&self, slot: u32, owned: &mut u32) -> Option<T> {
        let cell = self.slot(slot)?;
        if !self.storage.seats().iter().any(|seat| seat.pin.pinned(slot).is_some()) {
            // SAFETY: owned, full, and no confirmed pin on it: none can come any more.
            return Some(unsafe { cell.take() });
        }
        let original = Original { queue: self, slot, owned };
        let clone = self.readers.clone.load(Ordering::Relaxed);
        // SAFETY: the pin was written after this pointer, which is only ever made from a
        // `fn(&T) -> T`.
        let clone = unsafe { core::mem::transmute::<*mut (), fn(&T) -> T>(clone) };
        // SAFETY: full, owned; `T` is `Sync`, for only `peek` sets pins.
        let copy = unsafe { cell.copy(clone) };
        drop(original);
        Some(copy)
    }

    /// Gives up the item in `slot`, which the caller owns and found full: hands it to a reader, or
    /// drops it. Afterwards the caller owns `owned`.
    fn give_up(&self, slot: u32, owned: &mut u32) {
        *owned = slot;
        for seat in self.storage.seats() {
            if let Some(pin) = seat.pin.pinned(slot)
                && seat.pin.hand(pin)
            {
                *owned = pin.collateral();
                return;
            }
        }
        if let Some(cell) = self.slot(slot) {
            // SAFETY: owned, full, and no confirmed pin on it: none can come any more.
            drop(unsafe { cell.take() });
        }
    }
}

/// An item that its owner has no more use for.
struct Original<'a, T, S: Storage<T>> {
    queue: &'a Queue<T, S>,
    slot: u32,
    owned: &'a mut u32,
}

impl<T, S: Storage<T>> Drop for Original<'_, T, S> {
    fn drop(&mut self) {
        self.queue.give_up(self.slot, self.owned);
    }
}

/// A peek in progress. Its end, also by a panic in `clone`, unpins.
struct Reader<'q, T, S: Storage<T>> {
    queue: &'q Queue<T, S>,
    seated: Seated<'q, T>,
    pinned: u32,
}

impl<T, S: Storage<T>> Reader<'_, T, S> {
    fn pin(&mut self, slot: u32) {
        self.pinned = slot;
        let pin = Pin::new(slot, self.seated.spare_slot);
        self.seated.seat.pin.0.store(pin.0, Ordering::Release);
    }

    fn unpin(&mut self) {
        if self.pinned == NONE {
            return;
        }
        let slot = core::mem::replace(&mut self.pinned, NONE);
        let word = &self.seated.seat.pin;
        if !word.replace(Pin::new(slot, self.seated.spare_slot), 0) {
            // Whoever took the slot has our spare now, and we have the slot.
            word.0.store(0, Ordering::Relaxed);
            self.queue.give_up(slot, &mut self.seated.spare_slot);
        }
    }
}

impl<T, S: Storage<T>> Drop for Reader<'_, T, S> {
    fn drop(&mut self) {
        self.unpin();
        self.queue.readers.count.fetch_sub(1, Ordering::Release);
    }
}

/// A slot that is read in place, and the slot offered for it.
#[derive(Clone, Copy)]
struct Pin(u64);

impl Pin {
    fn new(slot: u32, collateral: u32) -> Self {
        Self(id_bits(slot, 0) | id_bits(collateral, ID_BITS))
    }

    fn collateral(self) -> u32 {
        id(self.0, ID_BITS)
    }
}

impl PinWord {
    fn pinned(&self, slot: u32) -> Option<Pin> {
        let word = self.0.load(Ordering::Acquire);
        (word & HANDED == 0 && id(word, 0) == slot).then_some(Pin(word))
    }

    fn hand(&self, pin: Pin) -> bool {
        self.replace(pin, HANDED)
    }

    fn replace(&self, pin: Pin, with: u64) -> bool {
        self.0.compare_exchange(pin.0, with, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}
