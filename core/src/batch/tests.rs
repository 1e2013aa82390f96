use super::*;
use crate::{Duration, Instant};
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

fn payloads(batch: Batch<'_, u32>) -> Vec<u32> {
    batch.map(|request| request.payload).collect()
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
