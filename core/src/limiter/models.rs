//! loom models of what can meet at a bucket. `./ci.sh loom` runs them.

use std::sync::Arc;
use std::vec::Vec;

use loom::thread;

use super::{Quota, TokenBucket, acquire_all};
use crate::{Duration, Instant};

const NOW: Instant = Instant::from_nanos(1_000);

fn bucket(burst: u64) -> TokenBucket {
    TokenBucket::new(Quota::per(1, Duration::from_secs(1), burst).unwrap())
}

/// `a` and `b` on two threads; their results.
fn together<A, B, R>(a: A, b: B) -> (R, R)
where
    A: FnOnce() -> R,
    B: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    let other = thread::spawn(b);
    let first = a();
    (first, other.join().unwrap())
}

#[test]
fn two_takes_and_one_token() {
    loom::model(|| {
        let bucket = Arc::new(bucket(1));
        let other = Arc::clone(&bucket);
        let (a, b) = together(|| bucket.try_acquire(NOW), move || other.try_acquire(NOW));
        assert!(a ^ b);
    });
}

#[test]
fn a_take_meets_a_refund() {
    loom::model(|| {
        let bucket = Arc::new(bucket(1));
        assert!(bucket.try_acquire(NOW));
        let other = Arc::clone(&bucket);
        let (took, _) = together(
            || bucket.try_acquire(NOW),
            move || {
                other.refund(1);
                true
            },
        );
        assert_eq!(bucket.peek(0, NOW).remaining, u64::from(!took));
    });
}

#[test]
fn a_take_meets_a_change_of_the_quota() {
    loom::model(|| {
        // One token left of two. Whichever comes first, the change leaves what was used used.
        let bucket = Arc::new(bucket(2));
        assert!(bucket.try_acquire(NOW));
        let other = Arc::clone(&bucket);
        let slower = Quota::per(1, Duration::from_secs(60), 3).unwrap();
        let (took, changed) =
            together(|| bucket.try_acquire(NOW), move || other.change(slower, NOW).is_ok());
        assert!(took && changed);
        assert_eq!(bucket.peek(0, NOW).remaining, 1);
    });
}

#[test]
fn a_take_meets_a_change_there_and_back() {
    loom::model(|| {
        let bucket = Arc::new(bucket(1));
        let other = Arc::clone(&bucket);
        let (wide, narrow) = (Quota::per_second(5, 5).unwrap(), Quota::per_second(1, 1).unwrap());
        let (took, _) = together(
            || bucket.try_acquire_n(5, NOW),
            move || other.change(wide, NOW).is_ok() && other.change(narrow, NOW).is_ok(),
        );
        // Five pass only under the wide quota, and then the narrow one has none for a while.
        assert_eq!(bucket.peek(0, NOW).remaining, u64::from(!took));
    });
}

#[test]
fn one_of_two_changes_at_a_time() {
    loom::model(|| {
        let bucket = Arc::new(bucket(1));
        let other = Arc::clone(&bucket);
        let (two, three) = (Quota::per_second(2, 2).unwrap(), Quota::per_second(3, 3).unwrap());
        let (a, b) =
            together(|| bucket.change(two, NOW).is_ok(), move || other.change(three, NOW).is_ok());
        assert!(a || b);
        let quota = bucket.quota();
        assert!(quota == two && a || quota == three && b, "one of those that were made");
    });
}

#[test]
fn two_groups_take_all_or_nothing() {
    loom::model(|| {
        let buckets: Arc<Vec<TokenBucket>> = Arc::new((0..2).map(|_| bucket(1)).collect());
        let other = Arc::clone(&buckets);
        let (a, b) = together(
            || acquire_all(&[(&buckets[0], 1), (&buckets[1], 1)], NOW).is_ok(),
            move || acquire_all(&[(&other[1], 1), (&other[0], 1)], NOW).is_ok(),
        );
        assert!(!(a && b));
        let left = u64::from(!a && !b);
        assert!(buckets.iter().all(|bucket| bucket.peek(0, NOW).remaining == left));
    });
}
