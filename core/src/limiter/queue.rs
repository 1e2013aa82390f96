//! Tests of the bucket, in the `queue` suite.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::vec::Vec;

use proptest::prelude::*;

use super::{Quota, QuotaError, Refusal, TokenBucket, acquire_all};
use crate::sync::steps;
use crate::{Duration, Instant};

const fn at(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

/// An exact bucket: tokens as a fraction of `period`.
struct Model {
    tokens: u128,
    period: u128,
    burst: u128,
    /// Taken and not refilled, times `period`, as of `last`.
    missing: u128,
    last: u64,
}

impl Model {
    fn new(tokens: u64, period: u64, burst: u64) -> Self {
        let [tokens, period, burst] = [tokens, period, burst].map(u128::from);
        Self { tokens, period, burst, missing: 0, last: 0 }
    }

    fn refill(&mut self, now: u64) {
        let passed = u128::from(now.saturating_sub(self.last));
        self.missing = self.missing.saturating_sub(passed.saturating_mul(self.tokens));
        self.last = self.last.max(now);
    }

    /// In the bucket, times `period`.
    fn left(&self) -> i128 {
        (self.burst * self.period) as i128 - self.missing as i128
    }

    fn take(&mut self, tokens: u64) {
        self.missing += u128::from(tokens) * self.period;
    }

    fn refund(&mut self, tokens: u64) {
        self.missing = self.missing.saturating_sub(u128::from(tokens) * self.period);
    }

    /// What a bucket's parts can be wrong by: two parts of 4 to 8 ns each, or of a token's 2^40th.
    fn tolerance(&self) -> i128 {
        (16 * self.tokens + (self.period >> 39) + 2) as i128
    }
}

#[derive(Clone, Debug)]
enum Step {
    Take(u64),
    Peek(u64),
    Refund(u64),
    Wait(u64),
}

fn quotas() -> impl Strategy<Value = (u64, u64, u64)> {
    let period = prop_oneof![
        Just(1_000_000_000_u64),
        4..2_000_u64,
        Just(3_600_000_000_000),
        1..10_000_000_000_000_u64
    ];
    (period, 0.0..1.0_f64, prop_oneof![1..20_u64, 1..1_000_000_u64]).prop_map(
        |(period, share, burst)| {
            let most = (period / 4).min(1_000_000_000);
            ((most as f64 * share.powi(4)) as u64, period, burst)
        },
    )
}

fn steps_of_a_bucket() -> impl Strategy<Value = Vec<Step>> {
    let wait = prop_oneof![0..10_u64, 0..2_000_000_000_u64, 0..100_000_000_000_000_u64];
    let tokens = prop_oneof![4 => 0..5_u64, 1 => 0..1_000_000_u64];
    let step = prop_oneof![
        6 => tokens.clone().prop_map(Step::Take),
        1 => tokens.clone().prop_map(Step::Peek),
        1 => tokens.prop_map(Step::Refund),
        5 => wait.prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 1..120)
}

proptest! {
    #[test]
    fn a_bucket_follows_the_exact_model(
        (tokens, period, burst) in quotas(),
        start in prop_oneof![Just(0), any::<u64>(), Just(u64::MAX - 1_000_000_000)],
        steps in steps_of_a_bucket(),
    ) {
        let bucket = TokenBucket::new(Quota::per(tokens, Duration::from_nanos(period), burst).unwrap());
        let mut model = Model::new(tokens, period, burst);
        let mut now = start;
        for step in steps {
            model.refill(now);
            let (exact, near) = (model.left(), model.tolerance());
            let cost = |tokens: u64| (u128::from(tokens) * model.period) as i128;
            match step {
                Step::Take(0) => prop_assert!(bucket.try_acquire_n(0, at(now))),
                Step::Take(tokens) => {
                    let taken = bucket.try_acquire_n(tokens, at(now));
                    let margin = exact - cost(tokens);
                    let right = if taken { margin >= -near } else { margin <= near };
                    prop_assert!(right, "taken: {}, exact: {}", taken, exact);
                    if taken {
                        model.take(tokens);
                    }
                }
                Step::Peek(tokens) => {
                    let decision = bucket.peek(tokens, at(now));
                    let remaining = cost(decision.remaining);
                    prop_assert!(remaining <= exact + near && remaining + cost(1) >= exact - near);
                    match decision.retry_after {
                        Some(wait) => {
                            prop_assert_eq!(decision.limited, wait > Duration::ZERO);
                            let then = now + wait.as_nanos();
                            prop_assert!(!bucket.peek(tokens, at(then)).limited);
                            if decision.limited {
                                prop_assert!(bucket.peek(tokens, at(then - 1)).limited);
                            }
                        }
                        None => prop_assert!(bucket.peek(tokens, Instant::MAX).limited),
                    }
                    if let Some(wait) = decision.reset_after {
                        let then = bucket.peek(0, at(now + wait.as_nanos()));
                        prop_assert_eq!((then.remaining, then.reset_after), (burst, Some(Duration::ZERO)));
                    }
                }
                Step::Refund(tokens) => {
                    bucket.refund(tokens);
                    model.refund(tokens);
                }
                Step::Wait(wait) => now = now.saturating_add(wait),
            }
        }
    }

    #[test]
    fn no_sequence_of_times_gives_more_than_burst_and_rate(
        times in proptest::collection::vec(any::<u64>(), 1..200),
    ) {
        // One token an hour: what passed beyond the burst was refilled by the latest time.
        let hour = 3_600_000_000_000;
        let bucket = TokenBucket::new(Quota::per(1, Duration::from_nanos(hour), 5).unwrap());
        let passed = times.iter().filter(|&&time| bucket.try_acquire(at(time))).count() as u64;
        let latest = times.iter().max().unwrap();
        prop_assert!(passed <= 5 + latest / hour + 1);
    }

    #[test]
    fn a_change_keeps_what_was_used(
        used in 0..=10_u64, burst in 0..30_u64, rate in 0..1_000_000_u64, now: u64,
    ) {
        let bucket = TokenBucket::new(Quota::per_second(1, 10).unwrap());
        prop_assert!(bucket.try_acquire_n(used, at(now)));
        let quota = Quota::per_second(rate, burst).unwrap();
        bucket.change(quota, at(now)).unwrap();
        prop_assert_eq!(bucket.quota(), quota);
        prop_assert_eq!(bucket.peek(0, at(now)).remaining, burst.saturating_sub(used));
        prop_assert_eq!(bucket.peek(1, at(now)).limited, used + 1 > burst);
    }
}

#[test]
fn a_billion_tokens_of_a_third_of_a_second_do_not_drift() {
    // Taken in a thousand million-token steps, each as soon as the bucket allows it.
    let bucket = TokenBucket::new(Quota::per_second(3, 1_000_000).unwrap());
    assert!(bucket.try_acquire_n(1_000_000, Instant::ZERO));
    let mut now = Instant::ZERO;
    for _ in 0..1_000 {
        now = now + bucket.peek(1_000_000, now).retry_after.unwrap();
        assert!(bucket.try_acquire_n(1_000_000, now));
    }
    let exact = 1_000_000_000_u64 * 1_000_000_000 / 3;
    assert!(now.as_nanos().abs_diff(exact) < 16, "{} ns off", now.as_nanos().abs_diff(exact));
}

#[test]
fn a_million_single_tokens_do_not_drift() {
    let bucket = TokenBucket::new(Quota::per(7, Duration::from_nanos(1_000), 1).unwrap());
    let mut now = Instant::ZERO;
    assert!(bucket.try_acquire(now));
    for _ in 0..1_000_000 {
        now = now + bucket.peek(1, now).retry_after.unwrap();
        assert!(bucket.try_acquire(now));
    }
    // Each waits for a whole nanosecond and for a whole part; never too early, never more than
    // that too late.
    let exact = 1_000_000 * 1_000 / 7;
    let late = now.as_nanos() - exact;
    assert!(late <= 1_000_000 * 8, "{late} ns late");
    let bucket = TokenBucket::new(Quota::per(7, Duration::from_nanos(1_000), 100).unwrap());
    let passed = (0..1_000_000_u64).filter(|&nanos| bucket.try_acquire(at(nanos))).count();
    assert!(passed.abs_diff(100 + 7_000) <= 1, "{passed}");
}

#[test]
fn a_bucket_works_at_both_ends_of_time() {
    for tokens in [0, 1, 3, 1_000_000, 250_000_000] {
        for burst in [1, 2, (1 << 61) - 1] {
            let bucket = TokenBucket::new(Quota::per_second(tokens, burst).unwrap());
            for now in [Instant::ZERO, Instant::MAX, Instant::ZERO, Instant::MAX] {
                assert!(!bucket.peek(0, now).limited);
                bucket.acquire(burst, now);
                assert!(!bucket.try_acquire(Instant::ZERO), "all of it was just taken");
            }
            bucket.refund(u64::MAX);
            assert_eq!(bucket.peek(0, Instant::MAX).remaining, burst);
        }
    }
}

#[test]
fn time_that_stands_still_or_steps_back_refills_nothing() {
    let bucket = TokenBucket::new(Quota::per_second(1_000, 3).unwrap());
    let now = at(5_000_000_000);
    assert!(bucket.try_acquire_n(3, now));
    for earlier in [5_000_000_000, 4_999_999_999, 1_000, 0] {
        assert!(!bucket.try_acquire(at(earlier)));
    }
    assert!(bucket.try_acquire(at(5_001_000_004)));
}

#[test]
fn what_can_never_pass_is_told_so() {
    let never = TokenBucket::new(Quota::per_second(10, 3).unwrap()).acquire(4, Instant::ZERO);
    assert!(never.limited && never.retry_after.is_none());
    assert_eq!((never.remaining, never.reset_after), (3, Some(Duration::ZERO)));

    let no_rate = TokenBucket::new(Quota::per_second(0, 1).unwrap());
    assert!(no_rate.try_acquire(Instant::ZERO));
    let decision = no_rate.acquire(1, Instant::MAX);
    assert!(decision.limited && decision.retry_after.is_none() && decision.reset_after.is_none());
    no_rate.refund(1);
    assert!(no_rate.try_acquire(Instant::ZERO));

    let no_burst = TokenBucket::new(Quota::per_second(10, 0).unwrap());
    assert!(no_burst.acquire(1, Instant::MAX).retry_after.is_none());
    assert!(!no_burst.try_acquire(Instant::MAX));
    assert!(no_burst.try_acquire_n(0, Instant::ZERO), "nothing costs nothing");
    assert!(!no_burst.acquire(0, Instant::ZERO).limited);
}

#[test]
fn quotas_that_cannot_be_are_refused_by_name() {
    assert_eq!(Quota::per(1, Duration::ZERO, 1), Err(QuotaError::NoPeriod));
    assert_eq!(Quota::per_second(250_000_001, 1), Err(QuotaError::TooFast));
    assert!(Quota::per_second(250_000_000, 1).is_ok());
    assert_eq!(Quota::per_second(1, 1 << 61), Err(QuotaError::TooLarge));
    assert_eq!(Quota::per(u64::MAX, Duration::MAX, 1), Err(QuotaError::TooFast));
    assert!(Quota::per(u64::MAX / 4, Duration::MAX, 1).is_ok());
}

#[test]
fn a_group_takes_from_all_or_from_none() {
    let buckets = [5, 3, 4].map(|burst| TokenBucket::new(Quota::per_second(1, burst).unwrap()));
    let [a, b, c] = &buckets;
    let left = || buckets.each_ref().map(|bucket| bucket.peek(0, Instant::ZERO).remaining);
    assert_eq!(acquire_all(&[(a, 2), (b, 2), (c, 2)], Instant::ZERO), Ok(()));
    assert_eq!(acquire_all(&[(a, 2), (b, 2), (c, 2)], Instant::ZERO), Err(Refusal(1)));
    assert_eq!(left(), [3, 1, 2]);
    // The same bucket twice is two costs; the first look cannot see that.
    assert_eq!(acquire_all(&[(a, 2), (a, 2)], Instant::ZERO), Err(Refusal(1)));
    assert_eq!((left(), acquire_all(&[], Instant::ZERO)), ([3, 1, 2], Ok(())));
}

#[test]
fn threads_at_one_moment_take_the_burst_and_no_more() {
    let bucket = TokenBucket::new(Quota::per_second(1, 10_000).unwrap());
    let (taken, refunded) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (bucket, taken, refunded) = (&bucket, &taken, &refunded);
            scope.spawn(move || {
                for round in 0..4_000 {
                    let tokens = (thread + round) % 3 + 1;
                    if bucket.try_acquire_n(tokens, at(77)) {
                        taken.fetch_add(tokens, Ordering::Relaxed);
                        if round % 5 == 0 {
                            bucket.refund(tokens);
                            refunded.fetch_add(tokens, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    let used = taken.into_inner() - refunded.into_inner();
    assert_eq!(bucket.peek(0, at(77)).remaining, 10_000 - used);
    assert!(used >= 10_000 - 2, "all but what no one asked for alone");
}

/// Each operation, for the stopped thread.
const OPERATIONS: [fn(&TokenBucket); 6] = [
    |bucket| _ = bucket.try_acquire(at(10)),
    |bucket| _ = bucket.acquire(2, at(10)),
    |bucket| _ = bucket.peek(1, at(10)),
    |bucket| bucket.refund(1),
    |bucket| _ = bucket.change(Quota::per_second(9, 9).unwrap(), at(10)),
    |bucket| _ = acquire_all(&[(bucket, 1), (bucket, 50)], at(10)),
];

/// Far more atomic steps than the others' work takes alone.
const ENOUGH: usize = 2_000;

#[test]
fn a_thread_stopped_at_any_step_delays_nobody() {
    for operation in OPERATIONS {
        let mut at_step = 0;
        loop {
            let bucket = TokenBucket::new(Quota::per_second(1, 20).unwrap());
            let ended = thread::scope(|scope| {
                let (stopped, has_stopped) = mpsc::channel();
                let (resume, resumed) = mpsc::channel::<()>();
                let bucket = &bucket;
                let thread = scope.spawn(move || {
                    let mut step = 0;
                    let stop = move || {
                        if step == at_step {
                            stopped.send(()).unwrap();
                            resumed.recv().ok();
                        }
                        step += 1;
                    };
                    steps::with_hook(stop, || operation(bucket));
                });
                let ended = has_stopped.recv().is_err();
                let count = Arc::new(AtomicUsize::new(0));
                let counted = move || {
                    let taken = count.fetch_add(1, Ordering::Relaxed);
                    assert!(taken < ENOUGH, "no progress beside a stopped thread");
                };
                steps::with_hook(counted, || {
                    for _ in 0..5 {
                        assert!(bucket.try_acquire(at(10)));
                        assert!(!bucket.acquire(2, at(10)).limited);
                        bucket.refund(1);
                        bucket.peek(1, at(10));
                        assert!(acquire_all(&[(bucket, 1)], at(10)).is_ok());
                        bucket.refund(3);
                    }
                });
                drop(resume);
                thread.join().unwrap();
                ended
            });
            if ended {
                assert!(at_step >= 3, "there were steps to stop at");
                break;
            }
            at_step += 1;
        }
    }
}
