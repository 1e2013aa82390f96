//! How far apart the processors are at the moment.
//!
//! A virtual machine's two processors may share a core in one minute and not in the next, and
//! contended figures move by a factor of two or more with it; a cell says which it had.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::clock;

const TRIPS: u64 = 5_000;

/// Nanoseconds in which a cache line goes to another thread's processor and back, at the best of
/// five games: in a bad one the other is not running.
pub(crate) fn round_trip() -> f64 {
    (0..5).map(|_| game()).fold(f64::INFINITY, f64::min)
}

fn game() -> f64 {
    let ball = AtomicU64::new(0);
    let wait_for = |turn| {
        let mut spins = 0_u32;
        while ball.load(Ordering::Acquire) != turn {
            spins += 1;
            if spins.is_multiple_of(10_000) {
                thread::yield_now(); // on one processor the other needs it
            }
            spin_loop();
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            for trip in 0..=TRIPS {
                wait_for(2 * trip + 1);
                ball.store(2 * trip + 2, Ordering::Release);
            }
        });
        ball.store(1, Ordering::Release);
        wait_for(2); // it runs
        let start = clock::now();
        for trip in 1..=TRIPS {
            ball.store(2 * trip + 1, Ordering::Release);
            wait_for(2 * trip + 2);
        }
        start.elapsed().as_nanos() as f64 / TRIPS as f64
    })
}
