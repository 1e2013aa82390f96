//! Who runs when: freely, or as a seed says.
//!
//! Under a seed only the thread that holds the baton runs; at each of its atomic steps it may have
//! to hand the baton on. So the same seed gives the same history, and threads meet at places where
//! free ones hardly ever do.

use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::vec::Vec;

use super::random::Random;
use crate::sync::steps;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Schedule {
    /// Real threads, which yield at random steps.
    Free,
    /// At each step, with one chance in so many, another thread goes on.
    Random(usize),
    /// The thread of highest priority runs; at so many random steps the running one becomes the
    /// lowest (probabilistic concurrency testing).
    Priorities(usize),
}

/// Runs `work(thread)` on each of `threads` threads under `schedule`.
pub(super) fn run<R: Send>(
    schedule: Schedule,
    threads: usize,
    seed: u64,
    work: impl Fn(usize) -> R + Sync,
) -> Vec<R> {
    let baton = (schedule != Schedule::Free).then(|| Arc::new(Baton::new(schedule, threads, seed)));
    let work = &work;
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                let baton = baton.clone();
                scope.spawn(move || match baton {
                    None => {
                        let mut random = Random::new(seed ^ (thread as u64 + 1) << 40);
                        let yields = move || {
                            if random.one_in(24) {
                                thread::yield_now();
                            }
                        };
                        steps::with_hook(yields, || work(thread))
                    }
                    Some(baton) => {
                        baton.wait_for(thread);
                        let holder = Arc::clone(&baton);
                        let _end = End { baton, thread };
                        steps::with_hook(move || holder.step(thread), || work(thread))
                    }
                })
            })
            .collect();
        running.into_iter().map(|thread| thread.join().expect("a thread of the history")).collect()
    })
}

struct Baton {
    state: Mutex<State>,
    /// One for each thread.
    turns: Vec<Condvar>,
}

struct State {
    holder: usize,
    running: Vec<bool>,
    schedule: Schedule,
    random: Random,
    /// Of `Priorities`: higher runs first.
    priorities: Vec<i64>,
    lowest: i64,
    changes: Vec<usize>,
    steps: usize,
}

/// Steps within which the priorities change: about a history's length.
const CHANGES_WITHIN: usize = 1_500;

impl Baton {
    fn new(schedule: Schedule, threads: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let changes = match schedule {
            Schedule::Priorities(changes) => {
                (0..changes).map(|_| random.below(CHANGES_WITHIN)).collect()
            }
            _ => Vec::new(),
        };
        let priorities = (0..threads).map(|_| (random.next() >> 2) as i64).collect();
        let state = State {
            holder: 0,
            running: std::vec![true; threads],
            schedule,
            random,
            priorities,
            lowest: 0,
            changes,
            steps: 0,
        };
        let turns = (0..threads).map(|_| Condvar::new()).collect();
        Self { state: Mutex::new(state), turns }
    }

    fn wait_for(&self, thread: usize) {
        let state = self.state.lock().unwrap();
        drop(self.turns[thread].wait_while(state, |state| state.holder != thread).unwrap());
    }

    /// The holder is about to take an atomic step.
    fn step(&self, thread: usize) {
        let mut state = self.state.lock().unwrap();
        state.steps += 1;
        let next = state.next(thread);
        if next != thread {
            state.holder = next;
            self.turns[next].notify_one();
            drop(self.turns[thread].wait_while(state, |state| state.holder != thread).unwrap());
        }
    }
}

impl State {
    fn next(&mut self, holder: usize) -> usize {
        match self.schedule {
            Schedule::Free => holder,
            Schedule::Random(one_in) => {
                if self.running[holder] && !self.random.one_in(one_in) {
                    return holder;
                }
                let running: Vec<usize> =
                    (0..self.running.len()).filter(|&thread| self.running[thread]).collect();
                if running.is_empty() { holder } else { self.random.pick(&running) }
            }
            Schedule::Priorities(_) => {
                if self.changes.contains(&self.steps) {
                    self.lowest -= 1;
                    self.priorities[holder] = self.lowest;
                }
                (0..self.running.len())
                    .filter(|&thread| self.running[thread])
                    .max_by_key(|&thread| self.priorities[thread])
                    .unwrap_or(holder)
            }
        }
    }
}

/// Hands the baton on for good, also when the thread panics.
struct End {
    baton: Arc<Baton>,
    thread: usize,
}

impl Drop for End {
    fn drop(&mut self) {
        let Ok(mut state) = self.baton.state.lock() else { return };
        state.running[self.thread] = false;
        state.holder = state.next(self.thread);
        self.baton.turns[state.holder].notify_one();
    }
}
