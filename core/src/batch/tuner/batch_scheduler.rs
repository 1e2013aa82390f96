//! Whatever it is told, it waits from zero to its target and panics at nothing. How it holds that in
//! virtual time is in `engine/batch_scheduler/tuner.rs`.

use super::*;
use crate::batch::{BatchKey, LEVELS, Lane, ModelId, Sizes};
use proptest::prelude::*;

/// A shell may keep it behind a lock.
const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<LatencyTuner>();
};

/// Any number, the least and the largest often.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(1), Just(u64::MAX), any::<u64>(), 0..100_000_000_u64]
}

#[derive(Clone, Debug)]
enum Step {
    Executed(u32, u64),
    /// So many answers in a row, so that rounds come to an end.
    Answered(u32, u64, u64),
    Judge {
        now: u64,
        oldest: u64,
        items: u64,
        most_items: u32,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (any::<u32>(), number()).prop_map(|(items, took)| Step::Executed(items, took)),
        (0..600_u32, number(), number())
            .prop_map(|(times, latency, now)| Step::Answered(times, latency, now)),
        (number(), number(), number(), any::<u32>()).prop_map(
            |(now, oldest, items, most_items)| Step::Judge { now, oldest, items, most_items }
        ),
    ]
}

proptest! {
    #[test]
    fn it_waits_from_zero_to_its_target_whatever_it_is_told(
        target in number(),
        items in any::<u32>(),
        steps in prop::collection::vec(step(), 0..40),
    ) {
        let mut tuner = LatencyTuner::new(Duration::from_nanos(target));
        let target = Duration::from_nanos(target.max(1));
        prop_assert_eq!(tuner.target(), target);
        for step in steps {
            match step {
                Step::Executed(items, took) => tuner.executed(items, Duration::from_nanos(took)),
                Step::Answered(times, latency, now) => {
                    for _ in 0..times {
                        tuner.answered(Duration::from_nanos(latency), Instant::from_nanos(now));
                    }
                }
                Step::Judge { now, oldest, items, most_items } => {
                    let oldest = Instant::from_nanos(oldest);
                    let lane = Lane::new(most_items.max(1), Duration::MAX);
                    let mut waiting = waiting(&lane, Instant::from_nanos(now), items, most_items);
                    waiting.oldest[3] = Some(oldest);
                    if let Verdict::Wait { until } = tuner.judge(&waiting) {
                        prop_assert!(until > waiting.now && until <= oldest + target);
                    }
                }
            }
            for items in [items, 0, 1, u32::MAX] {
                prop_assert!(tuner.wait(items) <= target);
            }
            let _ = (tuner.p99(), tuner.unreachable());
        }
    }
}

fn waiting(lane: &Lane, now: Instant, items: u64, most_items: u32) -> Waiting<'_> {
    Waiting {
        now,
        key: BatchKey { model: ModelId(0), signature: 0 },
        lane,
        time: &lane.time,
        items,
        requests: 1,
        oldest: [None; LEVELS],
        most_items,
        short_of_memory: false,
        urgent: false,
        draining: false,
        gap: None,
        last_arrival: now,
        wait_shift: 0,
    }
}

#[test]
fn until_batches_have_run_it_waits_by_what_the_lane_knows() {
    let mut tuner = LatencyTuner::new(Duration::from_millis(20));
    let mut lane = Lane::new(8, Duration::MAX);
    let until = |tuner: &mut LatencyTuner, lane: &Lane| {
        let mut waiting = waiting(lane, Instant::ZERO, 2, 8);
        waiting.oldest[0] = Some(Instant::ZERO);
        tuner.judge(&waiting)
    };
    assert!(matches!(until(&mut tuner, &lane), Verdict::Close { .. }), "nothing is known");
    lane.time = CostModel::new(8e6, 1e6).expect("both are positive");
    let nine = |verdict| match verdict {
        Verdict::Wait { until } => (8_000_000..=9_000_000).contains(&until.as_nanos()),
        Verdict::Close { .. } => false,
    };
    assert!(nine(until(&mut tuner, &lane)), "20 ms less 11 ms for three items, less a margin");
    tuner.executed(2, Duration::from_millis(30));
    assert!(matches!(until(&mut tuner, &lane), Verdict::Close { .. }), "it knows better");
}

#[test]
fn a_size_that_takes_too_long_is_run_only_where_more_than_two_smaller_ones_wait() {
    let mut tuner = LatencyTuner::new(Duration::from_millis(20));
    let mut lane = Lane::new(64, Duration::MAX);
    lane.sizes = Sizes::new(&[16, 64]).expect("they ascend");
    lane.time = CostModel::new(0.0, 5e5).expect("neither is negative");
    let mut items = |waiting_items| {
        let mut waiting = waiting(&lane, Instant::ZERO, waiting_items, 64);
        waiting.oldest[0] = Some(Instant::ZERO);
        match tuner.judge(&waiting) {
            Verdict::Close { items, .. } => items,
            Verdict::Wait { .. } => 0,
        }
    };
    // 16 take 8 ms and 64 take 32: up to 15 may wait, and at 16 the next one would be too many.
    let took = [15, 16, 17, 31, 32, 40].map(&mut items);
    assert_eq!(took, [0, 16, 16, 16, 32, 40]);
}
