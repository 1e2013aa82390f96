use std::sync::Barrier;

use proptest::prelude::*;

use super::*;

/// The sequential model, in plain `f64`.
#[derive(Debug)]
struct Model {
    capacity: f64,
    rate: f64,
    tokens: f64,
    latest: u64,
}

impl Model {
    fn new(capacity: f64, rate: f64) -> Self {
        Self { capacity, rate, tokens: capacity, latest: 0 }
    }

    fn refill(&mut self, now: u64) {
        if now > self.latest {
            let gained = (now - self.latest) as f64 * self.rate;
            self.tokens = self.capacity.min(self.tokens + gained);
            self.latest = now;
        }
    }

    fn try_acquire(&mut self, count: usize, now: u64) -> bool {
        self.refill(now);
        let enough = self.tokens >= count as f64;
        if enough {
            self.tokens -= count as f64;
        }
        enough
    }
}

/// A method, a time and a count.
fn calls() -> impl Strategy<Value = Vec<(u8, u64, usize)>> {
    prop::collection::vec((0..4_u8, 0..60_u64, 0..9_usize), 0..80)
}

/// Any `f64` at all, those that make trouble often.
fn number() -> impl Strategy<Value = f64> {
    let extremes =
        vec![0.0, -0.0, -1.0, 1.0, 5e-324, f64::MAX, f64::INFINITY, f64::NAN, EXACT, 1e19];
    prop_oneof![any::<u64>().prop_map(f64::from_bits), prop::sample::select(extremes)]
}

fn time() -> impl Strategy<Value = u64> {
    prop_oneof![0..10_u64, any::<u64>(), Just(u64::MAX), Just(u64::MAX - 1)]
}

fn count() -> impl Strategy<Value = usize> {
    prop_oneof![0..10_usize, any::<usize>(), Just(usize::MAX), Just((1 << 53) + 1)]
}

/// A whole number of tokens, exactly.
fn whole(tokens: f64) -> u128 {
    tokens as u128
}

proptest! {
    #[test]
    fn every_answer_is_that_of_the_model(
        capacity in 0.0..20.0_f64,
        rate in 0.0..3.0_f64,
        calls in calls(),
    ) {
        let limiter = RateLimiter::new(capacity, rate);
        let mut model = Model::new(capacity, rate);
        for (method, now, count) in calls {
            match method {
                0 => prop_assert_eq!(limiter.try_acquire(now), model.try_acquire(1, now)),
                1 => {
                    let passed = limiter.try_acquire_batch(count, now);
                    prop_assert_eq!(passed, model.try_acquire(count, now));
                }
                2 => {
                    limiter.refill(now);
                    model.refill(now);
                }
                _ => {}
            }
            prop_assert_eq!(limiter.available(), model.tokens);
        }
    }

    #[test]
    fn whatever_it_is_given_the_tokens_stay_a_number_within_the_capacity(
        capacity in number(),
        rate in number(),
        calls in prop::collection::vec((time(), count()), 0..40),
    ) {
        let limiter = RateLimiter::new(capacity, rate);
        let most = if capacity > 0.0 { capacity } else { 0.0 };
        prop_assert_eq!(limiter.available(), most);
        for (now, count) in calls {
            let before = limiter.available();
            let passed = limiter.try_acquire_batch(count, now);
            let after = limiter.available();
            prop_assert!((0.0..=most).contains(&after), "{}", after);
            prop_assert!(!passed || whole(most) >= count as u128);
            prop_assert!(passed || after >= before);
            prop_assert!(passed || whole(after) < count as u128, "refused with {} there", after);
        }
    }

    #[test]
    fn at_one_time_no_more_passes_than_is_there_not_even_by_rounding(
        capacity in prop_oneof![0.0..1e20_f64, EXACT - 9.0..EXACT * 4.0, EXACT..EXACT + 99.0],
        counts in prop::collection::vec((count(), 0..64_u32), 0..60),
    ) {
        let limiter = RateLimiter::new(capacity, 1.0);
        let mut passed = 0;
        for (count, shift) in counts {
            let count = count >> shift;
            if limiter.try_acquire_batch(count, 0) {
                passed += count as u128;
            }
            prop_assert!(passed + whole(limiter.available()) <= whole(capacity));
        }
    }

    #[test]
    fn a_long_time_gains_no_more_than_it_lasted(
        elapsed in prop_oneof![any::<u64>(), 1 << 53..1_u64 << 55],
        earlier in prop_oneof![0..9_u64, any::<u64>()],
    ) {
        let limiter = RateLimiter::new(1e30, 1.0);
        let empty = Bucket { tokens: 0.0, latest: earlier.min(u64::MAX - elapsed) };
        limiter.bucket.store(empty.pack(), Ordering::Relaxed);
        limiter.refill(empty.latest + elapsed);
        let gained = whole(limiter.available());
        prop_assert!(gained <= elapsed.into());
        prop_assert!(gained + 2048 > elapsed.into());
    }

    #[test]
    fn arithmetic_beyond_whole_numbers_is_exact_or_lower(a: u64, b: u64) {
        let (low, high) = (round_down(a), round_up(a));
        prop_assert!(whole(low) <= a.into() && whole(high) >= a.into());
        prop_assert!(low == high || low.next_up() == high);
        let (more, less) = (round_down(a.max(b)), round_down(a.min(b)));
        prop_assert!(whole(sum(more, less)) <= whole(more) + whole(less));
        prop_assert!(whole(difference(more, less)) <= whole(more) - whole(less));
        prop_assert!(whole(product(more, high)) <= whole(more) * whole(high));
    }
}

#[test]
fn the_limiter_can_be_shared_between_threads() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<RateLimiter>();
}

#[test]
fn it_is_full_at_time_0_and_holds_no_more_than_its_capacity() {
    let limiter = RateLimiter::new(2.5, 1.0);
    assert_eq!(limiter.available(), 2.5);
    limiter.refill(1_000);
    assert_eq!(limiter.available(), 2.5);
}

#[test]
fn a_token_is_taken_while_there_is_a_whole_one() {
    let limiter = RateLimiter::new(2.5, 1.0);
    assert!(limiter.try_acquire(0));
    assert!(limiter.try_acquire(0));
    assert!(!limiter.try_acquire(0));
    assert_eq!(limiter.available(), 0.5);
}

#[test]
fn a_batch_takes_all_or_nothing() {
    let limiter = RateLimiter::new(5.0, 1.0);
    assert!(limiter.try_acquire_batch(3, 0));
    assert_eq!(limiter.available(), 2.0);
    assert!(!limiter.try_acquire_batch(3, 0));
    assert_eq!(limiter.available(), 2.0);
    assert!(limiter.try_acquire_batch(2, 0));
    assert_eq!(limiter.available(), 0.0);
}

#[test]
fn each_unit_of_time_refills_by_the_rate() {
    let limiter = RateLimiter::new(10.0, 0.5);
    assert!(limiter.try_acquire_batch(10, 0));
    limiter.refill(3);
    assert_eq!(limiter.available(), 1.5);
    assert!(limiter.try_acquire(4)); // acquiring refills too
    assert_eq!(limiter.available(), 1.0);
}

#[test]
fn an_earlier_time_refills_nothing_and_takes_nothing_back() {
    let limiter = RateLimiter::new(10.0, 1.0);
    assert!(limiter.try_acquire_batch(10, 5));
    for earlier in [4, 0, 5] {
        limiter.refill(earlier);
        assert!(!limiter.try_acquire(earlier));
        assert_eq!(limiter.available(), 0.0);
    }
    limiter.refill(6); // one unit after 5, whatever was passed since
    assert_eq!(limiter.available(), 1.0);
}

#[test]
fn a_refused_call_moves_the_clock_too() {
    let limiter = RateLimiter::new(4.0, 1.0);
    assert!(limiter.try_acquire_batch(4, 0));
    assert!(!limiter.try_acquire_batch(4, 3));
    assert_eq!(limiter.available(), 3.0);
    assert!(limiter.try_acquire_batch(3, 1));
}

#[test]
fn a_count_of_0_always_passes() {
    for capacity in [0.0, f64::NAN, -1.0, 0.5, f64::INFINITY] {
        let limiter = RateLimiter::new(capacity, 0.0);
        assert!(limiter.try_acquire_batch(0, 0));
        assert!(limiter.try_acquire_batch(0, u64::MAX));
    }
}

#[test]
fn a_capacity_of_0_negative_or_no_number_admits_nothing() {
    for capacity in [0.0, -0.0, -5.0, f64::NEG_INFINITY, f64::NAN] {
        for rate in [1.0, f64::INFINITY] {
            let limiter = RateLimiter::new(capacity, rate);
            assert!(!limiter.try_acquire(0));
            assert!(!limiter.try_acquire(u64::MAX));
            assert_eq!(limiter.available(), 0.0);
        }
    }
}

#[test]
fn a_rate_of_0_negative_or_no_number_refills_nothing() {
    for rate in [0.0, -0.0, -5.0, f64::NEG_INFINITY, f64::NAN] {
        let limiter = RateLimiter::new(1.0, rate);
        assert!(limiter.try_acquire(0));
        assert!(!limiter.try_acquire(u64::MAX));
        assert_eq!(limiter.available(), 0.0);
    }
}

#[test]
fn an_infinite_capacity_never_refuses() {
    for rate in [0.0, 1.0, f64::MAX, f64::INFINITY] {
        let limiter = RateLimiter::new(f64::INFINITY, rate);
        for now in [0, 1, 0, u64::MAX] {
            assert!(limiter.try_acquire_batch(usize::MAX, now));
            assert_eq!(limiter.available(), f64::INFINITY);
        }
    }
}

#[test]
fn an_infinite_rate_refills_fully_when_time_moves_on() {
    let limiter = RateLimiter::new(3.0, f64::INFINITY);
    assert!(limiter.try_acquire_batch(3, 0));
    assert!(!limiter.try_acquire(0));
    assert!(limiter.try_acquire_batch(3, 1));
    assert!(!limiter.try_acquire(1));
}

#[test]
fn the_end_of_time_is_a_time() {
    let limiter = RateLimiter::new(3.0, 1.0);
    assert!(limiter.try_acquire_batch(3, u64::MAX - 1));
    assert!(limiter.try_acquire(u64::MAX));
    assert!(!limiter.try_acquire(u64::MAX));
    assert!(!limiter.try_acquire(0));
}

#[test]
fn a_count_that_rounds_to_what_is_there_is_refused() {
    let limiter = RateLimiter::new(EXACT, 0.0);
    assert_eq!(((1_u64 << 53) + 1) as f64, EXACT);
    assert!(!limiter.try_acquire_batch((1 << 53) + 1, 0));
    assert!(limiter.try_acquire_batch(1 << 53, 0));
    assert_eq!(limiter.available(), 0.0);
}

#[test]
fn a_token_too_small_to_be_told_is_taken_all_the_same() {
    let limiter = RateLimiter::new(EXACT * 2.0, 0.0);
    assert_eq!(EXACT * 2.0 - 0.5, EXACT * 2.0);
    let limiter_of_more = RateLimiter::new(EXACT * 4.0, 0.0);
    for limiter in [limiter, limiter_of_more] {
        let before = limiter.available();
        assert!(limiter.try_acquire(0));
        assert!(limiter.available() <= before - 1.0 && limiter.available() < before);
    }
}

#[test]
fn it_shows_its_settings_and_its_state() {
    let limiter = RateLimiter::new(5.0, 0.5);
    limiter.try_acquire(7);
    let shown = "RateLimiter { capacity: 5.0, refill_rate: 0.5, available: 4.0, latest: 7 }";
    assert_eq!(format!("{limiter:?}"), shown);
}

#[test]
#[cfg(all(not(miri), any(target_arch = "x86_64", target_arch = "aarch64")))]
fn this_machine_needs_no_lock() {
    assert!(AtomicU128::is_lock_free());
}

const THREADS: usize = 4;
const EACH: usize = if cfg!(miri) { 20 } else { 5_000 };

/// What several threads that start together took, each by its own calls.
fn taken_together(call: impl Fn(usize, usize) -> usize + Sync) -> usize {
    let start = Barrier::new(THREADS);
    let run = |thread| {
        start.wait();
        (0..EACH).map(|n| call(thread, n)).sum::<usize>()
    };
    let run = &run;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|t| scope.spawn(move || run(t))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    })
}

#[test]
fn threads_together_take_the_capacity_and_no_more_at_one_time() {
    let capacity = THREADS * EACH / 2;
    let limiter = RateLimiter::new(capacity as f64, 1e6);
    let taken = taken_together(|thread, n| {
        let count = 1 + (thread + n) % 3;
        if limiter.try_acquire_batch(count, 0) { count } else { 0 }
    });
    assert!(taken <= capacity);
    let rest = capacity - taken;
    assert_eq!(limiter.available(), rest as f64);
    assert_eq!((0..EACH).filter(|_| limiter.try_acquire(0)).count(), rest.min(EACH));
}

#[test]
fn threads_together_take_all_that_time_brings_and_no_more() {
    // Each passes its own times, so they also go backwards; none is later than the last.
    let limiter = RateLimiter::new(10.0, 0.25);
    let taken = taken_together(|_, n| usize::from(limiter.try_acquire(n as u64)));
    let brought = 10.0 + 0.25 * (EACH - 1) as f64;
    assert!(taken as f64 <= brought);
    assert!(limiter.available() <= 10.0);
}
