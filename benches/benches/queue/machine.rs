//! How far apart the processors are at the moment.
//!
//! A virtual machine's two processors may share a core in one minute and sit on two chips in the
//! next, and contended figures move by a factor of two or more with it; a cell says which it had.
#![allow(unsafe_code, reason = "a thread's processors are the C library's to choose")]

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use tensorforge_benches::clock;

const TRIPS: u64 = 2_000;

/// Nanoseconds in which a cache line goes from this process's first processor to its last and
/// back, at the best of five games.
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
                thread::yield_now(); // where there is but one processor the other needs it
            }
            spin_loop();
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            stay_on(End::Last);
            for trip in 0..=TRIPS {
                wait_for(2 * trip + 1);
                ball.store(2 * trip + 2, Ordering::Release);
            }
        });
        let first = scope.spawn(|| {
            stay_on(End::First);
            ball.store(1, Ordering::Release);
            wait_for(2); // the other runs
            let start = clock::now();
            for trip in 1..=TRIPS {
                ball.store(2 * trip + 1, Ordering::Release);
                wait_for(2 * trip + 2);
            }
            start.elapsed().as_nanos() as f64 / TRIPS as f64
        });
        first.join().expect("the game does not panic")
    })
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum End {
    First,
    Last,
}

/// Keeps the calling thread on one of the processors it may use; without leave it stays free.
#[cfg(target_os = "linux")]
fn stay_on(end: End) {
    let size = size_of::<libc::cpu_set_t>();
    // SAFETY: a processor set is plain data for which zeroes are valid, the calls get its true
    // size, and the numbers asked for are below its 1,024.
    unsafe {
        let mut allowed: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size, &raw mut allowed) != 0 {
            return;
        }
        let mut ours =
            (0..libc::CPU_SETSIZE as usize).filter(|&number| libc::CPU_ISSET(number, &allowed));
        let chosen = if end == End::First { ours.next() } else { ours.next_back() };
        if let Some(number) = chosen {
            let mut one: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(number, &mut one);
            libc::sched_setaffinity(0, size, &raw const one);
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn stay_on(_: End) {}
