//! Triton's model does what Triton's source does.

use super::*;

fn limits(max_items: u32, delay: u64) -> Limits {
    Limits::new(max_items, ms(delay))
}

fn shape(time: u64, shape: u32) -> Arrival {
    Arrival { shape, ..request(time) }
}

fn with_priority(time: u64, priority: u8) -> Arrival {
    Arrival { priority, ..request(time) }
}

#[test]
fn without_a_delay_what_is_there_runs_at_once() {
    let limits = limits(8, 0);
    let (batches, _) = play(&mut Triton::new(&limits), &limits, [0, 1, 2].map(request).to_vec());
    assert_eq!(batches, [(0, vec![0], 1, 0), (10, vec![1, 2], 2, 0)]);
}

#[test]
fn the_delay_counts_from_the_oldest_and_a_full_batch_does_not_wait() {
    let limits = limits(3, 5);
    let came = [0, 1, 20, 21, 22].map(request).to_vec();
    let (batches, _) = play(&mut Triton::new(&limits), &limits, came);
    assert_eq!(batches, [(5, vec![0, 1], 2, 0), (22, vec![2, 3, 4], 3, 0)]);
}

#[test]
fn the_first_request_of_another_shape_closes_the_batch() {
    let limits = limits(8, 50);
    let came = vec![shape(0, 0), shape(1, 0), shape(2, 1), shape(3, 0)];
    let (batches, _) = play(&mut Triton::new(&limits), &limits, came);
    // The second batch is closed by the fourth request; that one waits for its delay.
    assert_eq!(batches, [(2, vec![0, 1], 2, 0), (12, vec![2], 1, 1), (53, vec![3], 1, 0)]);
}

#[test]
fn a_preferred_size_runs_at_once_and_the_largest_on_the_way_counts() {
    let limits = limits(8, 50);
    let mut options = TritonOptions::new(&limits);
    options.preferred = vec![2, 4];
    // Two are there at 1; five have come when they are done, of which four are preferred.
    let came = [0, 1, 2, 3, 4, 5, 6].map(request).to_vec();
    let (batches, _) = play(&mut Triton::with(options), &limits, came);
    assert_eq!(batches, [(1, vec![0, 1], 2, 0), (11, vec![2, 3, 4, 5], 4, 0), (56, vec![6], 1, 0)]);
}

#[test]
fn once_the_delay_is_over_all_that_is_there_runs_preferred_or_not() {
    let limits = limits(8, 5);
    let mut options = TritonOptions::new(&limits);
    options.preferred = vec![2];
    let came = [0, 1, 2, 3, 4].map(request).to_vec();
    let (batches, _) = play(&mut Triton::with(options), &limits, came);
    // At 11 the third has waited for nine.
    assert_eq!(requests(&batches), [&[0, 1][..], &[2, 3, 4]]);
}

#[test]
fn priorities_go_first_and_share_a_batch() {
    let limits = limits(2, 0);
    let came = vec![
        with_priority(0, 0),
        with_priority(1, 0),
        with_priority(2, 0),
        with_priority(3, 7),
        with_priority(4, 3),
    ];
    let (batches, _) = play(&mut Triton::new(&limits), &limits, came);
    assert_eq!(requests(&batches), [&[0][..], &[3, 4], &[1, 2]]);
}

#[test]
fn one_delay_holds_for_all_levels() {
    let mut limits = limits(8, 5);
    limits.max_wait[7] = ms(0);
    let (batches, _) = play(&mut Triton::new(&limits), &limits, vec![with_priority(0, 7)]);
    assert_eq!(batches[0].0, 5);
}

#[test]
fn levels_have_queues_of_their_own() {
    let mut limits = limits(1, 0);
    limits.max_queued = 1;
    let came = vec![request(0), request(1), request(2), with_priority(3, 7)];
    let (batches, shed) = play(&mut Triton::new(&limits), &limits, came);
    assert_eq!(shed, [(2, Shed::QueueFull)]);
    assert_eq!(requests(&batches), [&[0][..], &[3], &[1]]);
}

#[test]
fn what_is_late_is_rejected_or_delayed() {
    let limits = limits(1, 0);
    let late = |time| Arrival { deadline: Some(at(time + 5)), ..request(time) };
    let came = || vec![request(0), late(1), request(2), request(3)];
    let (batches, shed) = play(&mut Triton::new(&limits), &limits, came());
    assert_eq!(shed, [(1, Shed::Expired)]);
    assert_eq!(requests(&batches), [&[0][..], &[2], &[3]]);
    let mut options = TritonOptions::new(&limits);
    options.policies[0].timeout_action = TimeoutAction::Delay;
    let (batches, shed) = play(&mut Triton::with(options), &limits, came());
    assert_eq!(shed, []);
    assert_eq!(requests(&batches), [&[0][..], &[2], &[3], &[1]]);
}

#[test]
fn a_request_that_waits_for_company_is_late_in_time() {
    let limits = limits(8, 50);
    let mut options = TritonOptions::new(&limits);
    options.policies[0].default_timeout = ms(5);
    let (batches, shed) = play(&mut Triton::with(options), &limits, vec![request(0), request(20)]);
    assert_eq!((batches, shed), (vec![], vec![(0, Shed::Expired), (1, Shed::Expired)]));
}
