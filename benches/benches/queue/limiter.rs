//! The limiters' load: threads that check as fast as they can, with nearly all admitted (a burst
//! that outlasts the round) or nearly all denied (one token a second).
//!
//! Time stands nearly still: every 1,024 checks a thread's `now` moves by a microsecond, and the
//! first thread moves the fake clock as much.

use std::hint::black_box;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::limiters::{Limiter, Quota, VisitLimiter};
use crate::load::{Speed, together};

const STRIDE: u64 = 1024;
const TICK: Duration = Duration::from_micros(1);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Answer {
    Admitted,
    Denied,
}

impl Answer {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Admitted => "mostly admitted",
            Self::Denied => "mostly denied",
        }
    }

    pub(crate) const fn quota(self) -> Quota {
        match self {
            Self::Admitted => Quota { period_ns: 1_000, burst: u32::MAX as u64 },
            Self::Denied => Quota { period_ns: 1_000_000_000, burst: 1 },
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Checks {
    pub(crate) threads: usize,
    pub(crate) duration: Duration,
}

#[derive(Clone, Copy)]
pub(crate) struct Checked {
    pub(crate) speed: Speed,
    /// Of all checks.
    pub(crate) admitted: f64,
}

impl VisitLimiter for Checks {
    type Output = Checked;

    fn visit<L: Limiter>(self, limiter: &L) -> Checked {
        let (workers, elapsed) = together(self.threads, self.duration, |index, over| {
            let (mut now, mut done, mut admitted) = (0, 0, 0);
            while !over.load(Ordering::Relaxed) {
                for _ in 0..STRIDE {
                    admitted += u64::from(limiter.check(black_box(now)));
                }
                done += STRIDE;
                now += TICK.as_nanos() as u64;
                if index == 0 {
                    limiter.advance(TICK);
                }
            }
            (done, admitted)
        });
        let (counts, admitted): (Vec<u64>, Vec<u64>) = workers.into_iter().unzip();
        let total = counts.iter().sum::<u64>().max(1);
        let admitted = admitted.iter().sum::<u64>() as f64 / total as f64;
        Checked { speed: Speed::new(&counts, elapsed), admitted }
    }
}
