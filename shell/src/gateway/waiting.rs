//! Requests that wait because every endpoint that they may go to is full.
//!
//! They stand in one line for all models, the highest priority first, each priority in the order of arrival.
//! A request is bound to no endpoint while it waits: whichever has room first takes the first that may go
//! there, and an endpoint that joins takes its part of those that wait already.

use crate::concurrency::lock;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// The line. `T` says where a request may go.
///
/// Whoever is told of room tries to take it; where that fails, the next one in line of another class is told,
/// for at most [`MOST_TRIES`] of them. Of a class are those that may go to the same places: where one could
/// not, those behind it cannot either. Whoever could tells the next one of its class, as there may be more.
///
/// O(waiting) for each room, a few ns for each, none while nobody waits.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    line: Mutex<Line<T>>,
    /// Of the line, so that nobody locks it where it is empty.
    count: AtomicUsize,
    most: usize,
}

#[derive(Debug)]
struct Line<T> {
    places: BTreeMap<Turn, Place<T>>,
    arrivals: u64,
}

/// Who goes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Turn {
    priority: Reverse<u8>,
    arrival: u64,
}

#[derive(Debug)]
struct Place<T> {
    class: u64,
    goes_to: T,
    told: Option<Told>,
    bell: Arc<Notify>,
}

/// What one in line is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Told {
    /// There may be room.
    Room(Room),
    /// Someone more important needs the place in the line.
    Displaced,
}

/// Room that there may be.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Room {
    /// The classes that it is not for: they could not take it, or may not go there.
    passed: HashSet<u64>,
    /// How many have tried to take it.
    tries: usize,
    /// It is for one class only.
    is_own: bool,
}

/// Classes that may try for one room. What is more is told nothing, and finds out by looking for itself.
const MOST_TRIES: usize = 32;

/// Why a request cannot wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LineFull;

impl<T> Waiting<T> {
    /// An empty line for at most so many.
    pub(super) const fn new(most: usize) -> Self {
        let line = Line { places: BTreeMap::new(), arrivals: 0 };
        Self { line: Mutex::new(line), count: AtomicUsize::new(0), most }
    }

    /// How many wait.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether someone waits who would have to go before a request that comes now: of its class, or told of
    /// room and about to try.
    pub(super) fn is_behind(&self, priority: u8, class: u64) -> bool {
        if self.count() == 0 {
            return false;
        }
        let line = lock(&self.line);
        let mut before =
            line.places.iter().take_while(|(turn, _)| turn.priority <= Reverse(priority));
        before.any(|(_, place)| place.goes_before(class))
    }

    /// Goes to the end of its priority. In a full line, the last one of a lower priority is displaced.
    pub(super) fn join(
        &self,
        priority: u8,
        class: u64,
        goes_to: T,
    ) -> Result<Waiter<'_, T>, LineFull> {
        let priority = Reverse(priority);
        let mut line = lock(&self.line);
        if line.places.len() >= self.most {
            // The displaced leave when they notice; until then they have no place to lose again.
            let last = line.places.iter_mut().rev();
            let last = last.take_while(|(turn, _)| turn.priority > priority);
            let (_, place) = last
                .into_iter()
                .find(|(_, it)| it.told != Some(Told::Displaced))
                .ok_or(LineFull)?;
            let was_told = place.told.replace(Told::Displaced);
            place.bell.notify_one();
            if let Some(Told::Room(room)) = was_told {
                line.tell_next(room, |_| true);
            }
        }
        let turn = Turn { priority, arrival: line.arrivals };
        line.arrivals += 1;
        let bell = Arc::new(Notify::new());
        let place = Place { class, goes_to, told: None, bell: Arc::clone(&bell) };
        line.places.insert(turn, place);
        self.count.store(line.places.len(), Ordering::Relaxed);
        // Against that of `room`: either that one sees this place, or this one sees the room.
        fence(Ordering::SeqCst);
        Ok(Waiter { waiting: self, turn, bell })
    }

    /// There is room for whoever `may_go` there: the first of those is told.
    pub(super) fn room(&self, may_go: impl FnMut(&T) -> bool) {
        fence(Ordering::SeqCst);
        if self.count() > 0 {
            lock(&self.line).tell_next(Room::default(), may_go);
        }
    }

    /// Much has changed: everyone may try.
    pub(super) fn tell_all(&self) {
        for place in lock(&self.line).places.values_mut() {
            if place.told.is_none() {
                place.told = Some(Told::Room(Room::default()));
            }
            place.bell.notify_one();
        }
    }
}

impl<T> Place<T> {
    /// Whether a request of this class that is behind has to let it go first.
    fn goes_before(&self, class: u64) -> bool {
        self.class == class || matches!(self.told, Some(Told::Room(_)))
    }
}

impl<T> Line<T> {
    /// Tells the first one whose class has not tried yet.
    fn tell_next(&mut self, mut room: Room, mut may_go: impl FnMut(&T) -> bool) {
        if room.tries >= MOST_TRIES {
            return;
        }
        for place in self.places.values_mut() {
            if room.passed.contains(&place.class) {
                continue;
            }
            if !may_go(&place.goes_to) {
                room.passed.insert(place.class);
                continue;
            }
            // One that was told already takes one room, so this one is for another.
            if place.told.is_none() {
                place.told = Some(Told::Room(room));
                place.bell.notify_one();
                return;
            }
        }
    }
}

/// One that waits. Dropped, it leaves the line, and room that it was told of goes to the next.
#[derive(Debug)]
pub(super) struct Waiter<'a, T> {
    waiting: &'a Waiting<T>,
    turn: Turn,
    bell: Arc<Notify>,
}

impl<T> Waiter<'_, T> {
    /// Waits until something is told. Cancelled, it loses nothing.
    pub(super) async fn told(&self) -> Told {
        loop {
            let bell = self.bell.notified();
            if let Some(told) = self.take() {
                return told;
            }
            bell.await;
        }
    }

    /// What was told, if something was. Displaced is displaced for ever.
    fn take(&self) -> Option<Told> {
        let mut line = lock(&self.waiting.line);
        let place = line.places.get_mut(&self.turn)?;
        match place.told {
            Some(Told::Displaced) => Some(Told::Displaced),
            _ => place.told.take(),
        }
    }

    /// Whether nobody is before it who [goes first](Waiting::is_behind).
    pub(super) fn is_first(&self) -> bool {
        let line = lock(&self.waiting.line);
        let Some(own) = line.places.get(&self.turn) else { return false };
        let mut before = line.places.range(..self.turn);
        !before.any(|(_, place)| place.goes_before(own.class))
    }

    /// It could not take the room: the next one of another class may.
    pub(super) fn pass_on(&self, mut room: Room) {
        if room.is_own {
            return;
        }
        let mut line = lock(&self.waiting.line);
        let Some(place) = line.places.get(&self.turn) else { return };
        room.passed.insert(place.class);
        room.tries += 1;
        line.tell_next(room, |_| true);
    }

    /// It has found room, and leaves: there may be more for the next one of its class.
    pub(super) fn go(self) {
        let mut line = lock(&self.waiting.line);
        let Some(own) = line.places.get(&self.turn).map(|place| place.class) else { return };
        let behind = (Bound::Excluded(self.turn), Bound::Unbounded);
        let mut same = line.places.range_mut(behind).filter(|(_, place)| place.class == own);
        if let Some((_, next)) = same.next()
            && next.told.is_none()
        {
            next.told = Some(Told::Room(Room { is_own: true, ..Room::default() }));
            next.bell.notify_one();
        }
    }
}

impl<T> Drop for Waiter<'_, T> {
    fn drop(&mut self) {
        let mut line = lock(&self.waiting.line);
        let left = line.places.remove(&self.turn);
        self.waiting.count.store(line.places.len(), Ordering::Relaxed);
        if let Some(Place { told: Some(Told::Room(room)), .. }) = left {
            line.tell_next(room, |_| true);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod routing;
