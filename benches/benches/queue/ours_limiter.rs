//! The limiter under test, and the only place that names it.
//!
//! A stand-in until `tensorforge_core::limiter::TokenBucket` is there: the plain GCRA on one word,
//! compared and swapped, without refund, peek or change of rate.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::limiters::{Limiter, Quota};

pub(crate) const NAME: &str = "STAND-IN (plain CAS GCRA)";

pub(crate) fn new(quota: Quota) -> impl Limiter {
    let tolerance = quota.period_ns * (quota.burst - 1);
    Gcra { due: AtomicU64::new(0), period: quota.period_ns, tolerance }
}

struct Gcra {
    due: AtomicU64,
    period: u64,
    tolerance: u64,
}

impl Limiter for Gcra {
    #[inline]
    fn check(&self, now: u64) -> bool {
        let mut due = self.due.load(Ordering::Relaxed);
        loop {
            if due > now + self.tolerance {
                return false;
            }
            let next = due.max(now) + self.period;
            match self.due.compare_exchange_weak(due, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(seen) => due = seen,
            }
        }
    }
}
