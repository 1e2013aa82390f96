//! Ours takes its rules from the lane, as the server does.

use super::*;
use std::sync::{Arc, Mutex};
use tensorforge_core::ClosingReason;
use tensorforge_core::batch::{ClosingRule, LaneError, Verdict, Waiting};

fn with_priority(time: u64, priority: u8) -> Arrival {
    Arrival { priority, ..request(time) }
}

fn until(time: u64, deadline: u64) -> Arrival {
    Arrival { deadline: Some(at(deadline)), ..request(time) }
}

#[test]
fn each_level_waits_as_long_as_it_may() {
    let mut limits = Limits::new(8, ms(30));
    limits.max_wait[7] = ms(0);
    limits.max_wait[3] = ms(5);
    let came = vec![
        with_priority(0, 0),
        with_priority(100, 7),
        with_priority(200, 3),
        with_priority(202, 0),
    ];
    let (batches, _) = play(&mut Ours::new(&limits).unwrap(), &limits, came);
    let started: Vec<u64> = batches.iter().map(|batch| batch.0).collect();
    assert_eq!(started, [30, 100, 205]);
    assert_eq!(requests(&batches), [&[0][..], &[1], &[2, 3]]);
}

#[test]
fn different_shapes_fill_their_own_batches() {
    let limits = Limits::new(4, ms(5));
    let shape = |turn: u64| Arrival { shape: turn as u32 % 2, ..request(turn) };
    // The first of each runs when it has waited; the rest comes while they run.
    let (batches, _) =
        play(&mut Ours::new(&limits).unwrap(), &limits, (0..12).map(shape).collect());
    for (_, requests, ..) in &batches {
        assert!(requests.iter().all(|request| request % 2 == requests[0] % 2), "{batches:?}");
    }
    assert!(batches.iter().any(|(_, requests, ..)| requests.len() == 4), "{batches:?}");
}

#[test]
fn what_is_late_is_dropped_when_it_is() {
    let limits = Limits::new(1, ms(0));
    let came = vec![request(0), until(1, 9), until(2, 11)];
    let (batches, shed) = play(&mut Ours::new(&limits).unwrap(), &limits, came);
    assert_eq!(shed, [(1, Shed::Expired)]);
    assert_eq!(requests(&batches), [&[0][..], &[2]]);
}

#[test]
fn a_full_queue_refuses_or_displaces() {
    let mut limits = Limits::new(1, ms(0));
    limits.max_queued = 1;
    let came = || vec![request(0), request(1), with_priority(2, 7)];
    let (_, shed) = play(&mut Ours::new(&limits).unwrap(), &limits, came());
    assert_eq!(shed, [(2, Shed::QueueFull)]);
    let mut lane = limits.lane();
    lane.displace = true;
    let (_, shed) = play(&mut Ours::on(lane).unwrap(), &limits, came());
    assert_eq!(shed, [(1, Shed::Displaced)]);
}

#[test]
fn what_no_batch_may_hold_is_too_large() {
    let limits = Limits::new(4, ms(0));
    let large = Arrival { items: 5, ..request(0) };
    for kind in BatcherKind::ALL {
        let (_, shed) = play(&mut *kind.batcher(&limits).unwrap(), &limits, vec![large]);
        assert_eq!(shed, [(0, Shed::TooLarge)], "{kind:?}");
    }
}

#[test]
fn allowed_sizes_are_padded_to() {
    let limits = Limits::new(8, ms(5));
    let mut lane = limits.lane();
    lane.sizes = tensorforge_core::batch::Sizes::new(&[2, 8]).unwrap();
    let came = [0, 1, 2].map(request).to_vec();
    let (batches, _) = play(&mut Ours::on(lane).unwrap(), &limits, came);
    assert_eq!(batches, [(5, vec![0, 1, 2], 8, 0)]);
}

#[test]
fn limits_that_allow_nothing_are_refused() {
    let good = Limits::new(1, ms(0));
    for (limits, error) in [
        (Limits { max_items: 0, ..good.clone() }, LaneError::NoItems),
        (Limits { max_queued: 0, ..good.clone() }, LaneError::NoQueue),
        (Limits { executors: 0, ..good.clone() }, LaneError::NoInstances),
    ] {
        assert_eq!(Ours::new(&limits).err(), Some(error));
        for kind in BatcherKind::ALL {
            assert_eq!(kind.batcher(&limits).err(), Some(error), "{kind:?}");
        }
    }
}

/// Pairs only; notes what it is told.
struct Pairs(Arc<Mutex<Vec<(u32, u64)>>>);

impl ClosingRule for Pairs {
    fn judge(&mut self, waiting: &Waiting<'_>) -> Verdict {
        match waiting.available() {
            0 | 1 => Verdict::Wait { until: Instant::MAX },
            _ => Verdict::Close { reason: ClosingReason::Custom, items: 2 },
        }
    }

    fn executed(&mut self, items: u32, took: Duration) {
        self.0.lock().unwrap().push((items, took.as_nanos() / MS));
    }

    fn answered(&mut self, latency: Duration, _now: Instant) {
        self.0.lock().unwrap().push((0, latency.as_nanos() / MS));
    }
}

#[test]
fn a_rule_of_ones_own_decides_and_is_told_what_came_of_it() {
    let limits = Limits::new(8, ms(0));
    let told = Arc::new(Mutex::new(Vec::new()));
    let mut batcher = Ours::new(&limits).unwrap().with_rule(Box::new(Pairs(told.clone())));
    let came = [0, 3, 4, 5].map(request).to_vec();
    let (batches, _) = play(&mut batcher, &limits, came);
    assert_eq!(batches, [(3, vec![0, 1], 2, 0), (13, vec![2, 3], 2, 0)]);
    // Each batch takes ten: answers at 13 and 23.
    assert_eq!(*told.lock().unwrap(), [(2, 10), (0, 13), (0, 10), (2, 10), (0, 19), (0, 18)]);
}
