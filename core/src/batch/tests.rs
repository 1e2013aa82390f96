//! The planner against [`Reference`] in virtual time, and its promises one by one.

use super::reference::Reference;
use super::*;
use crate::{Duration, Instant};
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

type Small = Planner<u32, 8, 4>;

const WINDOW: Duration = Duration::from_nanos(100);

const fn limits(max_items: u32) -> BatchLimits {
    BatchLimits { max_items, max_wait: WINDOW }
}

const fn key(signature: u32) -> BatchKey {
    BatchKey { model: ModelId(0), signature }
}

const fn at(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

/// A planner that holds `(signature, items, priority)`, offered at 0; payloads count from 0.
fn holding(limits: BatchLimits, requests: &[(u32, u32, i32)]) -> (Small, Vec<Ticket>) {
    let mut planner = Small::new();
    let mut tickets = Vec::new();
    for (payload, &(signature, items, priority)) in (0..).zip(requests) {
        let request = Request { key: key(signature), items, priority, payload };
        tickets.push(planner.offer(request, limits, at(0)).unwrap());
    }
    (planner, tickets)
}

fn payloads(batch: Batch<'_, u32>) -> Vec<u32> {
    batch.map(|request| request.payload).collect()
}

/// Closes batches at `now` until none is due.
fn close_all(planner: &mut Small, now: Instant) -> Vec<(ClosingReason, Vec<u32>)> {
    let mut closed = Vec::new();
    while let Some(batch) = planner.close(now, false, |_| true) {
        closed.push((batch.reason(), payloads(batch)));
    }
    closed
}

#[derive(Clone, Debug)]
enum Step {
    Offer {
        key: BatchKey,
        items: u32,
        priority: i32,
        limits: BatchLimits,
    },
    SetLimits {
        model: ModelId,
        limits: BatchLimits,
    },
    /// Cancels the request of the nth ticket ever given, waiting or not.
    Cancel(prop::sample::Index),
    /// Closes a batch, reads `read` requests of it and drops it.
    Close {
        read: usize,
        draining: bool,
        only: Option<ModelId>,
    },
    Pass(u64),
    /// The clock steps back.
    Rewind(u64),
}

fn some_limits() -> impl Strategy<Value = BatchLimits> {
    let max_items = prop_oneof![8 => 1..6u32, 1 => Just(u32::MAX)];
    let nanos = prop_oneof![8 => 0..50u64, 1 => Just(u64::MAX)];
    (max_items, nanos).prop_map(|(max_items, nanos)| BatchLimits {
        max_items,
        max_wait: Duration::from_nanos(nanos),
    })
}

fn step() -> impl Strategy<Value = Step> {
    let model = || (0..2u32).prop_map(ModelId);
    let key = (model(), 0..3u32).prop_map(|(model, signature)| BatchKey { model, signature });
    let items = prop_oneof![12 => 1..4u32, 1 => Just(0), 1 => Just(7), 1 => Just(u32::MAX)];
    let priority = prop_oneof![8 => -1..3i32, 1 => Just(i32::MIN), 1 => Just(i32::MAX)];
    prop_oneof![
        12 => (key, items, priority, some_limits()).prop_map(|(key, items, priority, limits)| {
            Step::Offer { key, items, priority, limits }
        }),
        1 => (model(), some_limits())
            .prop_map(|(model, limits)| Step::SetLimits { model, limits }),
        3 => any::<prop::sample::Index>().prop_map(Step::Cancel),
        6 => (0..6usize, prop::bool::weighted(0.2), prop::option::of(model()))
            .prop_map(|(read, draining, only)| Step::Close { read, draining, only }),
        4 => (0..40u64).prop_map(Step::Pass),
        1 => (0..60u64).prop_map(Step::Rewind),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn the_planner_decides_like_its_rules_over_a_plain_list(
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut planner = Small::new();
        let mut reference = Reference::new(8, 4);
        let mut tickets: Vec<(Ticket, u32)> = Vec::new();
        let mut now = at(1_000);
        for (payload, step) in (0..).zip(steps) {
            match step {
                Step::Offer { key, items, priority, limits } => {
                    let request = Request { key, items, priority, payload };
                    let expected = reference.offer(request.clone(), limits, now);
                    match planner.offer(request.clone(), limits, now) {
                        Ok(ticket) => {
                            prop_assert_eq!(Ok(()), expected);
                            tickets.push((ticket, payload));
                        }
                        Err(rejected) => {
                            prop_assert_eq!(Err(rejected.error), expected);
                            prop_assert_eq!(rejected.request, request);
                        }
                    }
                }
                Step::SetLimits { model, limits } => {
                    planner.set_limits(model, limits);
                    reference.set_limits(model, limits);
                }
                Step::Cancel(nth) if !tickets.is_empty() => {
                    let &(ticket, payload) = nth.get(&tickets);
                    let expected = reference.cancel(payload);
                    prop_assert_eq!(planner.waiting(ticket), expected.as_ref());
                    prop_assert_eq!(planner.cancel(ticket), expected);
                }
                Step::Close { read, draining, only } => {
                    let can_run = |model| only.is_none_or(|only| only == model);
                    let expected = reference.close(now, draining, can_run);
                    let closed = planner.close(now, draining, can_run);
                    prop_assert_eq!(closed.is_some(), expected.is_some());
                    if let (Some(mut batch), Some(expected)) = (closed, expected) {
                        let items: u32 = expected.requests.iter().map(|r| r.items).sum();
                        prop_assert_eq!(batch.key(), expected.key);
                        prop_assert_eq!(batch.reason(), expected.reason);
                        prop_assert_eq!(batch.items(), items);
                        prop_assert_eq!(batch.len(), expected.requests.len());
                        let taken: Vec<_> = batch.by_ref().take(read).collect();
                        let read = read.min(expected.requests.len());
                        prop_assert_eq!(&taken, &expected.requests[..read]);
                        reference.take(&taken);
                    }
                }
                Step::Pass(nanos) => now = now + Duration::from_nanos(nanos),
                Step::Rewind(nanos) => now = at(now.as_nanos().saturating_sub(nanos)),
                Step::Cancel(_) => {}
            }
            prop_assert_eq!(planner.queued(), reference.queued());
            for only in [None, Some(ModelId(0)), Some(ModelId(1))] {
                let can_run = |model| only.is_none_or(|only| only == model);
                prop_assert_eq!(
                    planner.next_deadline(can_run),
                    reference.next_deadline(can_run)
                );
            }
        }
    }
}

#[test]
fn the_window_is_counted_from_the_first_request_to_the_nanosecond() {
    let mut planner = Small::new();
    for (payload, nanos) in [(0, 7), (1, 60), (2, 106)] {
        planner.offer(Request::new(key(0), 1, payload), limits(9), at(nanos)).unwrap();
    }
    assert_eq!(planner.next_deadline(|_| true), Some(at(107)));
    assert_eq!(close_all(&mut planner, at(106)), []);
    assert_eq!(close_all(&mut planner, at(107)), [(ClosingReason::MaxWait, vec![0, 1, 2])]);
}

#[test]
fn when_the_first_request_is_cancelled_the_window_starts_at_the_next() {
    let mut planner = Small::new();
    let first = planner.offer(Request::new(key(0), 1, 0), limits(9), at(0)).unwrap();
    planner.offer(Request::new(key(0), 1, 1), limits(9), at(30)).unwrap();
    planner.cancel(first).unwrap();
    assert_eq!(planner.next_deadline(|_| true), Some(at(130)));
}

#[test]
fn alternating_shapes_reach_full_batches() {
    let shapes: Vec<_> = (0..8).map(|n| (n % 2, 1, 0)).collect();
    let (mut planner, _) = holding(limits(4), &shapes);
    assert_eq!(
        close_all(&mut planner, at(0)),
        [(ClosingReason::Full, vec![0, 2, 4, 6]), (ClosingReason::Full, vec![1, 3, 5, 7])]
    );
}

#[test]
fn a_batch_counts_items_not_requests_and_ends_where_the_next_does_not_fit() {
    let (mut planner, _) = holding(limits(4), &[(0, 3, 0), (0, 2, 0), (0, 1, 0)]);
    assert_eq!(close_all(&mut planner, at(0)), [(ClosingReason::Full, vec![0])]);
    assert_eq!(close_all(&mut planner, at(100)), [(ClosingReason::MaxWait, vec![1, 2])]);
}

#[test]
fn higher_priority_runs_first_and_equals_run_in_order_of_arrival() {
    let priorities = [(0, 1, 0), (0, 1, 5), (0, 1, i32::MIN), (0, 1, 5), (0, 1, 0)];
    let (mut planner, _) = holding(limits(5), &priorities);
    assert_eq!(close_all(&mut planner, at(0)), [(ClosingReason::Full, vec![1, 3, 0, 4, 2])]);
}

#[test]
fn the_group_with_the_highest_first_priority_closes_first_then_the_oldest() {
    let (mut planner, _) = holding(limits(1), &[(0, 1, 0), (1, 1, 0), (2, 1, 9)]);
    let order: Vec<_> = close_all(&mut planner, at(0)).into_iter().map(|(_, ran)| ran).collect();
    assert_eq!(order, [[2], [0], [1]]);
}

#[test]
fn a_batch_dropped_half_read_puts_the_rest_back_in_order() {
    let (mut planner, _) = holding(limits(4), &[(0, 1, 0), (0, 1, 1), (0, 1, 0), (0, 1, 1)]);
    let mut batch = planner.close(at(0), false, |_| true).unwrap();
    assert_eq!(batch.next().map(|request| request.payload), Some(1));
    drop(batch);
    assert_eq!(planner.queued(), 3);
    assert_eq!(close_all(&mut planner, at(100)), [(ClosingReason::MaxWait, vec![3, 0, 2])]);
}

#[test]
fn a_ticket_never_reaches_a_later_request_in_the_same_place() {
    let (mut planner, tickets) = holding(limits(1), &[(0, 1, 0)]);
    assert_eq!(close_all(&mut planner, at(0)).len(), 1);
    planner.offer(Request::new(key(0), 1, 7), limits(2), at(0)).unwrap();
    assert_eq!(planner.waiting(tickets[0]), None);
    assert_eq!(planner.cancel(tickets[0]), None);
    assert_eq!(planner.queued(), 1);
}

#[test]
fn a_refused_request_comes_back_unchanged_with_the_reason() {
    let groups = [(0, 1, 0), (1, 1, 0), (2, 1, 0), (3, 1, 0)];
    let (mut planner, _) = holding(limits(8), &groups);
    let mut refuse = |request: Request<u32>, error| {
        let rejected = planner.offer(request.clone(), limits(8), at(0));
        assert_eq!(rejected, Err(Rejected { request, error }));
    };
    refuse(Request::new(key(0), 0, 9), OfferError::Empty);
    refuse(Request::new(key(0), 9, 9), OfferError::TooLarge { max_items: 8 });
    refuse(Request::new(key(4), 1, 9), OfferError::GroupsFull);

    let (mut planner, _) = holding(limits(9), &[(0, 1, 0); 8]);
    let request = Request::new(key(0), 1, 9);
    let rejected = planner.offer(request.clone(), limits(9), at(0));
    assert_eq!(rejected, Err(Rejected { request, error: OfferError::Full }));
}

#[test]
fn a_request_larger_than_a_lowered_limit_still_runs_alone() {
    let (mut planner, _) = holding(limits(8), &[(0, 1, 0), (0, 6, 1), (0, 1, 0)]);
    planner.set_limits(ModelId(0), limits(2));
    assert_eq!(
        close_all(&mut planner, at(0)),
        [(ClosingReason::Full, vec![1]), (ClosingReason::Full, vec![0, 2])]
    );
}

#[test]
fn a_wait_past_the_end_of_time_ends_there() {
    let endless = BatchLimits { max_items: 2, max_wait: Duration::MAX };
    let (planner, _) = holding(endless, &[(0, 1, 0)]);
    assert_eq!(planner.next_deadline(|_| true), Some(Instant::MAX));
}

#[test]
fn a_leaked_batch_loses_its_own_requests_and_nothing_else() {
    let mut planner = Small::new();
    let leaked: Vec<Ticket> = (0..2)
        .map(|payload| planner.offer(Request::new(key(0), 1, payload), limits(2), at(0)).unwrap())
        .collect();
    core::mem::forget(planner.close(at(0), false, |_| true));

    assert!(planner.close(at(500), true, |_| true).is_none());
    assert_eq!(planner.next_deadline(|_| true), None);
    for ticket in leaked {
        assert_eq!(planner.cancel(ticket), None);
    }
    for payload in 2..6 {
        planner.offer(Request::new(key(0), 1, payload), limits(2), at(500)).unwrap();
    }
    let batches = [(); 2].map(|()| payloads(planner.close(at(500), false, |_| true).unwrap()));
    assert_eq!(batches, [[2, 3], [4, 5]]);
}

#[test]
#[cfg(target_pointer_width = "64")]
fn a_planner_takes_64_bytes_a_request_48_a_group_and_32_more() {
    assert_eq!(size_of::<Planner<u32, 8, 4>>(), 8 * 64 + 4 * 48 + 32);
    assert_eq!(size_of::<Planner<u32, 4096, 256>>(), 4096 * 64 + 256 * 48 + 32);
}
