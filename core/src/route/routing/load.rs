//! How busy an endpoint is, and how long it takes.

use super::*;
use crate::stats::PeakEwma;

proptest! {
    #[test]
    fn the_average_is_that_of_peak_ewma(
        steps in proptest::collection::vec((0..3_000_u64, 1..2_000_000_u64), 1..100),
    ) {
        let constant = Duration::from_secs(10);
        let (load, mut exact) = (EndpointLoad::new(constant), PeakEwma::new(constant));
        let mut now = 0;
        for (passed, micros) in steps {
            now += passed;
            let latency = Duration::from_micros(micros);
            load.finish(load.begin(), Some(latency), at(now));
            exact.insert(latency.as_nanos() as f64, at(now));
            let (average, measured_at) = load.latency(at(now)).unwrap();
            // 24 bits of value, and times to about a millisecond of ten seconds.
            let expected = exact.value(at(now)).unwrap();
            prop_assert!((average.as_nanos() as f64 / expected - 1.0).abs() < 0.001);
            prop_assert!(at(now).since(measured_at) < Duration::from_millis(2));
        }
        prop_assert_eq!(load.outstanding(), 0);
    }
}

#[test]
fn a_peak_counts_at_once_and_an_earlier_time_as_now() {
    let load = EndpointLoad::new(Duration::from_secs(10));
    let record = |millis, now| load.finish(load.begin(), Some(Duration::from_millis(millis)), now);
    assert_eq!(load.latency(at(0)), None);
    record(10, at(100_000));
    record(500, at(100_000));
    record(10, at(0));
    let average = load.latency(at(100_000)).unwrap().0.as_nanos();
    assert!(average.abs_diff(500_000_000) < 50);
}

#[test]
fn a_limit_holds_whoever_comes_between_choice_and_call() {
    let load = EndpointLoad::new(Duration::from_secs(10));
    let entered: usize = std::thread::scope(|scope| {
        let threads = [(); 4]
            .map(|()| scope.spawn(|| (0..100).filter(|_| load.try_begin(10).is_some()).count()));
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!((entered, load.outstanding()), (10, 10));
}

#[test]
fn a_failure_without_a_latency_leaves_the_average() {
    let load = EndpointLoad::new(Duration::from_secs(10));
    load.finish(load.begin(), None, at(0));
    assert_eq!((load.latency(at(0)), load.outstanding()), (None, 0));
    let idle = load.fill(equals(1)[0], at(5));
    assert_eq!((idle.latency, idle.outstanding), (None, 0));
}
