//! The fixed window, by its own description.

use super::*;

#[test]
fn a_window_closes_on_time_or_full_and_is_divided_by_shape() {
    let limits = Limits::new(4, ms(5));
    let shape = |time, shape| Arrival { shape, ..request(time) };
    let came = vec![
        shape(0, 0),
        shape(1, 1),
        shape(2, 0),
        shape(20, 0),
        shape(21, 0),
        shape(22, 0),
        shape(23, 0),
    ];
    let (batches, _) = play(&mut FixedWindow::new(&limits), &limits, came);
    assert_eq!(batches, [(5, vec![0, 2], 2, 0), (15, vec![1], 1, 1), (25, vec![3, 4, 5, 6], 4, 0)]);
}

#[test]
fn what_comes_while_a_closed_batch_waits_does_not_join_it() {
    let limits = Limits::new(8, ms(1));
    let came = [0, 2, 5].map(request).to_vec();
    let (batches, _) = play(&mut FixedWindow::new(&limits), &limits, came);
    assert_eq!(requests(&batches), [&[0][..], &[1], &[2]]);
}

#[test]
fn priorities_are_not_known() {
    let limits = Limits::new(1, ms(0));
    let came = vec![request(0), request(1), Arrival { priority: 7, ..request(2) }];
    let (batches, _) = play(&mut FixedWindow::new(&limits), &limits, came);
    assert_eq!(requests(&batches), [&[0][..], &[1], &[2]]);
}
