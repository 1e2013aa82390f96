//! Threads that move entities about.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tensorforge_benches::clock;
use tensorforge_core::machine::JobState;

#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) threads: usize,
    pub(crate) entities: usize,
    pub(crate) duration: Duration,
}

/// Whatever can be asked to move an entity of the job machine.
pub(crate) trait Subject: Sync {
    fn register(&self, id: &str);
    /// Whether it moved.
    fn transition(&self, id: &str, to: JobState, now: u64) -> bool;
}

impl Load {
    /// Attempts a second, and which share was refused: two threads may want the same of one entity.
    pub(crate) fn run(self, subject: &impl Subject) -> (f64, f64) {
        let ids: Vec<String> = (0..self.entities).map(|i| format!("job-{i:06}")).collect();
        for id in &ids {
            subject.register(id);
            assert!(subject.transition(id, JobState::Running, 0), "a new job can run");
        }
        let (stop, start) = (AtomicBool::new(false), Barrier::new(self.threads + 1));
        let counts = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..self.threads)
                .map(|thread| {
                    let (ids, stop, start) = (&ids, &stop, &start);
                    scope.spawn(move || {
                        start.wait();
                        work(subject, ids, thread as u64, stop)
                    })
                })
                .collect();
            start.wait();
            let began = clock::now();
            std::thread::sleep(self.duration);
            stop.store(true, Ordering::Relaxed);
            let counts: Vec<_> = workers
                .into_iter()
                .map(|worker| worker.join().expect("no worker panics"))
                .collect();
            (counts, began.elapsed().as_secs_f64())
        });
        let (counts, seconds) = counts;
        let moved: u64 = counts.iter().map(|count| count.0).sum();
        let refused: u64 = counts.iter().map(|count| count.1).sum();
        ((moved + refused) as f64 / seconds, refused as f64 / (moved + refused).max(1) as f64)
    }
}

/// Pauses and resumes one entity after the other, in a random order.
fn work(subject: &impl Subject, ids: &[String], seed: u64, stop: &AtomicBool) -> (u64, u64) {
    let (mut moved, mut refused) = (0, 0);
    let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut now = 0;
    while !stop.load(Ordering::Relaxed) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let id = &ids[random as usize % ids.len()];
        for to in [JobState::Paused, JobState::Running] {
            now += 1;
            if subject.transition(id, to, now) { moved += 1 } else { refused += 1 }
        }
    }
    (moved, refused)
}
