//! TensorFlow Serving's model does what its source does.

use super::*;

fn limits(max_items: u32, timeout: u64) -> Limits {
    Limits::new(max_items, ms(timeout))
}

fn with(limits: &Limits, low_priority: LowPriority) -> TensorFlowServing {
    let options = TensorFlowServingOptions::new(limits);
    TensorFlowServing::with(TensorFlowServingOptions { low_priority, ..options })
}

fn shape(time: u64, shape: u32) -> Arrival {
    Arrival { shape, ..request(time) }
}

fn high(time: u64) -> Arrival {
    Arrival { priority: 7, ..request(time) }
}

#[test]
fn a_batch_runs_when_it_is_full_or_its_first_has_waited() {
    let limits = limits(3, 5);
    let came = [0, 1, 20, 21, 22].map(request).to_vec();
    let (batches, _) = play(&mut with(&limits, LowPriority::Same), &limits, came);
    assert_eq!(batches, [(5, vec![0, 1], 2, 0), (22, vec![2, 3, 4], 3, 0)]);
}

#[test]
fn a_batch_that_the_next_does_not_fit_is_closed_and_grows_no_more() {
    let limits = limits(3, 50);
    let items = |time, items| Arrival { items, ..request(time) };
    // Two and two do not fit; the one that comes then goes behind, though it would fit before.
    let came = vec![items(0, 3), items(1, 2), items(2, 2), items(3, 1)];
    let (batches, _) = play(&mut with(&limits, LowPriority::Same), &limits, came);
    assert_eq!(requests(&batches), [&[0][..], &[1], &[2, 3]]);
}

#[test]
fn different_shapes_are_padded_fail_or_have_signatures() {
    let limits = limits(8, 5);
    let came = || vec![shape(0, 0), shape(1, 1), shape(2, 0)];
    let with = |mixed_shapes| {
        let options = TensorFlowServingOptions::new(&limits);
        TensorFlowServing::with(TensorFlowServingOptions { mixed_shapes, ..options })
    };
    let (batches, _) = play(&mut with(MixedShapes::Pad), &limits, came());
    assert_eq!(batches, [(5, vec![0, 1, 2], 3, 1)]);
    let (batches, shed) = play(&mut with(MixedShapes::Fail), &limits, came());
    assert_eq!((batches, shed.len()), (vec![], 3));
    assert!(shed.iter().all(|(_, why)| *why == Shed::Failed), "{shed:?}");
    let (batches, _) = play(&mut with(MixedShapes::Signatures), &limits, came());
    assert_eq!(batches, [(5, vec![0, 2], 2, 0), (15, vec![1], 1, 1)]);
}

#[test]
fn rows_are_padded_to_an_allowed_size() {
    let limits = limits(8, 5);
    let mut options = TensorFlowServingOptions::new(&limits);
    options.allowed_batch_sizes = vec![1, 4, 8];
    let (batches, _) =
        play(&mut TensorFlowServing::with(options), &limits, [0, 1].map(request).to_vec());
    assert_eq!(batches, [(5, vec![0, 1], 4, 0)]);
}

#[test]
fn merged_low_priority_fills_the_open_batch_as_it_runs() {
    let limits = limits(3, 0);
    let came = || vec![request(0), request(1), request(2), high(3)];
    let (batches, _) = play(&mut with(&limits, LowPriority::Merge), &limits, came());
    assert_eq!(requests(&batches), [&[0][..], &[3, 1, 2]]);
    let (batches, _) = play(&mut with(&limits, LowPriority::Isolated), &limits, came());
    assert_eq!(requests(&batches), [&[0][..], &[3], &[1, 2]]);
    let (batches, _) = play(&mut with(&limits, LowPriority::Same), &limits, came());
    assert_eq!(requests(&batches), [&[0][..], &[1, 2, 3]]);
}

#[test]
fn a_closed_batch_of_high_priority_takes_low_along_only_where_it_is_padded() {
    let limits = limits(4, 0);
    let items = |time, items| Arrival { items, ..high(time) };
    let came = || vec![request(0), request(1), items(2, 3), items(3, 3)];
    let (batches, _) = play(&mut with(&limits, LowPriority::Merge), &limits, came());
    assert_eq!(requests(&batches), [&[0][..], &[2], &[3, 1]]);
    let (batches, _) = play(&mut with(&limits, LowPriority::PadToMax), &limits, came());
    assert_eq!(requests(&batches), [&[0][..], &[2, 1], &[3]]);
}

#[test]
fn low_priority_has_a_timeout_of_its_own() {
    let mut limits = limits(8, 5);
    limits.max_wait[7] = ms(1);
    let came = || vec![request(0), high(20), request(40), high(42)];
    let (batches, _) = play(&mut TensorFlowServing::new(&limits), &limits, came());
    // With a high one in it the batch is due at once: the oldest has waited for longer than that may.
    assert_eq!(batches, [(5, vec![0], 1, 0), (21, vec![1], 1, 0), (42, vec![3, 2], 2, 0)]);
}

#[test]
fn so_many_batches_may_wait() {
    let mut limits = limits(2, 0);
    limits.max_queued = 4;
    // One runs, two batches of two wait: one closed, one open.
    let came = (0..7).map(request).collect();
    let (batches, shed) = play(&mut with(&limits, LowPriority::Same), &limits, came);
    assert_eq!(shed, [(5, Shed::QueueFull), (6, Shed::QueueFull)]);
    assert_eq!(requests(&batches), [&[0][..], &[1, 2], &[3, 4]]);
    let came = (0..7).map(request).collect();
    let (_, shed) = play(&mut with(&limits, LowPriority::Merge), &limits, came);
    assert_eq!(shed, [(5, Shed::QueueFull), (6, Shed::QueueFull)], "low: as many items");
}

#[test]
fn a_batch_is_not_run_only_if_all_of_it_is_late() {
    let limits = limits(2, 0);
    let until = |time, deadline| Arrival { deadline: Some(at(deadline)), ..request(time) };
    let came = vec![request(0), until(1, 5), until(2, 30), until(3, 9), until(4, 9)];
    let (batches, shed) = play(&mut with(&limits, LowPriority::Same), &limits, came);
    assert_eq!(requests(&batches), [&[0][..], &[1, 2]]);
    assert_eq!(shed, [(3, Shed::Expired), (4, Shed::Expired)]);
}
