//! Answers in the order of their requests.

use crate::concurrency::lock;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;

/// Lets through in the order in which they entered, however long each takes to get there.
///
/// Entering and leaving take a short lock, in O(1) on average.
#[derive(Debug, Default)]
pub(super) struct Turnstile {
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    /// The number of the first place.
    first: u64,
    places: VecDeque<Place>,
}

#[derive(Debug, Default)]
struct Place {
    has_left: bool,
    /// Told when it is the first.
    waits: Option<oneshot::Sender<()>>,
}

/// A place in line. Whoever drops it has gone through, or away.
#[derive(Debug)]
pub(super) struct Turn {
    turnstile: Arc<Turnstile>,
    number: u64,
}

impl Turnstile {
    /// Takes the next place.
    pub(super) fn enter(self: &Arc<Self>) -> Turn {
        let mut line = lock(&self.line);
        line.places.push_back(Place::default());
        let number = line.first + line.places.len() as u64 - 1;
        Turn { turnstile: Arc::clone(self), number }
    }
}

impl Turn {
    /// Waits until all that entered before have left.
    pub(super) async fn comes(&self) {
        let comes = {
            let mut line = lock(&self.turnstile.line);
            let place = (self.number - line.first) as usize;
            if place == 0 {
                return;
            }
            let (sender, comes) = oneshot::channel();
            // A place is there as long as its turn is.
            line.places[place].waits = Some(sender);
            comes
        };
        // The sender lives in the line until it is used.
        let _ = comes.await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut line = lock(&self.turnstile.line);
        let place = (self.number - line.first) as usize;
        line.places[place] = Place { has_left: true, waits: None };
        while line.places.front().is_some_and(|first| first.has_left) {
            line.places.pop_front();
            line.first += 1;
        }
        if let Some(waits) = line.places.front_mut().and_then(|first| first.waits.take()) {
            // Nobody listens where the one behind it was given up a moment ago.
            let _ = waits.send(());
        }
    }
}

#[cfg(test)]
mod batch_scheduler {
    use super::*;
    use proptest::prelude::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    fn is_its_turn(turn: &Turn) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        pin!(turn.comes()).poll(&mut context) == Poll::Ready(())
    }

    proptest! {
        #[test]
        fn a_turn_comes_exactly_when_all_before_it_have_left(
            steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..60),
        ) {
            let turnstile = Arc::new(Turnstile::default());
            let mut inside: Vec<Turn> = Vec::new();
            for (enters, which) in steps {
                if enters || inside.is_empty() {
                    inside.push(turnstile.enter());
                } else {
                    inside.remove(which.index(inside.len()));
                }
                for (place, turn) in inside.iter().enumerate() {
                    prop_assert_eq!(is_its_turn(turn), place == 0);
                }
            }
            inside.clear();
            prop_assert!(lock(&turnstile.line).places.is_empty(), "nothing is left behind");
        }
    }

    #[tokio::test]
    async fn one_that_waits_is_told() {
        let turnstile = Arc::new(Turnstile::default());
        let (first, second, third) = (turnstile.enter(), turnstile.enter(), turnstile.enter());
        let waits = tokio::spawn(async move { third.comes().await });
        tokio::task::yield_now().await;
        drop(second);
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        drop(first);
        assert!(waits.await.is_ok());
    }
}
