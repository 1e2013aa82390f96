use super::*;
use proptest::prelude::*;
use std::sync::Arc;

const TIMES: ExecutionTimes = ExecutionTimes {
    input: Duration::from_nanos(1),
    infer: Duration::from_nanos(10),
    output: Duration::from_nanos(2),
};

fn ns(nanos: u64) -> Duration {
    Duration::from_nanos(nanos)
}

fn batch_of(items: u64) -> BatchRecord {
    let (now, reason) = (Instant::ZERO, ClosingReason::Full);
    let copied = 0;
    BatchRecord {
        now,
        priority: 0,
        items,
        copied,
        padded: items,
        max_items: 8,
        reason,
        times: TIMES,
    }
}

fn request(priority: u8, queue: u64, total: u64) -> RequestRecord {
    RequestRecord { priority, items: 1, queue: ns(queue), total: ns(total) }
}

#[test]
fn items_requests_and_executions_are_counted_apart() {
    let recorder = ModelRecorder::default();
    recorder.batch(&batch_of(5), &[request(0, 100, 113), request(7, 50, 63)]);
    recorder.batch(&batch_of(1), &[request(0, 0, 13)]);
    recorder.failed(0, ns(7), FailReason::Backend);

    let figures = recorder.statistics("m", "1");
    assert_eq!((figures.inference_count, figures.execution_count), (6, 2));
    let requests = figures.inference_stats;
    assert_eq!(requests.success, DurationStatistic { count: 3, ns: 189 });
    assert_eq!(requests.fail, DurationStatistic { count: 1, ns: 7 });
    assert_eq!(requests.queue, DurationStatistic { count: 3, ns: 150 });
    assert_eq!(requests.compute_infer, DurationStatistic { count: 3, ns: 30 });
    let by_size: Vec<_> =
        figures.batch_stats.iter().map(|b| (b.batch_size, b.compute_infer.count)).collect();
    assert_eq!(by_size, [(1, 1), (5, 1)]);
}

#[test]
fn a_level_costs_nothing_before_its_first_request() {
    let recorder = ModelRecorder::default();
    assert!(recorder.figures(Instant::ZERO).levels.is_empty());
    recorder.batch(&BatchRecord { priority: 3, ..batch_of(1) }, &[request(3, 0, 13)]);
    recorder.failed(7, ns(1), FailReason::Timeout);
    let levels = &lock(&recorder.counts).levels;
    let used: Vec<bool> = levels.iter().map(Option::is_some).collect();
    assert_eq!(used, [false, false, false, true, false, false, false, true]);
}

#[test]
fn nothing_that_was_recorded_fades_however_long_a_request_took() {
    let recorder = ModelRecorder::default();
    let hours = Duration::from_secs(5 * 3600);
    let long = RequestRecord { priority: 0, items: 1, queue: hours, total: hours };
    recorder.batch(&batch_of(1), &[long]);
    let far = Instant::ZERO + Duration::from_secs(100 * 365 * 86_400);
    let figures = recorder.figures(far);
    let level = &figures.levels[0];
    for times in [&level.queue, &level.total] {
        assert_eq!((times.count, times.sum), (1, 18_000.0));
        // Out of the sketch's range: the longest one that there was, which is no less.
        assert_eq!((times.p50, times.p99, times.max), (Some(18e3), Some(18e3), Some(18e3)));
        assert!(times.buckets.iter().all(|&(_, held)| held == 0), "longer than every bound");
    }
    let recent = level.recent.p50.unwrap();
    assert!(level.recent.count == 1 && (recent - 18e3).abs() <= 180.0, "{recent}");
    assert_eq!(figures.recent_items_per_second, 0.0, "a rate does end");
}

#[test]
fn a_level_that_waits_in_vain_is_served_unfairly() {
    let recorder = ModelRecorder::default();
    assert_eq!(recorder.figures(Instant::ZERO).fairness, None);
    for priority in [0, 1] {
        recorder.batch(&batch_of(1), &[request(priority, 0, 1)]);
        // By their own fault, or by the model's: not for want of a turn.
        recorder.failed(priority, ns(1), FailReason::Invalid);
        recorder.failed(priority, ns(1), FailReason::Backend);
    }
    assert_eq!(recorder.figures(Instant::ZERO).fairness, Some(1.0));
    use FailReason::{Canceled, Displaced, Draining, ModelFailing, QueueFull, Timeout};
    for why in [QueueFull, Displaced, Draining, ModelFailing, Canceled, Timeout] {
        recorder.failed(0, ns(1), why);
    }
    // Shares of 1/4 and 1: (5/4)² / (2 × 17/16).
    let fairness = recorder.figures(Instant::ZERO).fairness.unwrap();
    assert!((fairness - 25.0 / 34.0).abs() < 1e-12, "{fairness}");
}

#[test]
fn threads_that_record_at_once_lose_nothing() {
    const THREADS: u64 = 8;
    const EACH: u64 = 2_000;
    let recorder = Arc::new(ModelRecorder::default());
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let recorder = Arc::clone(&recorder);
            std::thread::spawn(move || {
                for _ in 0..EACH {
                    let requests = [request(thread as u8, 5, 20), request(0, 7, 30)];
                    recorder.batch(&batch_of(2), &requests);
                    recorder.failed(thread as u8, ns(3), FailReason::QueueFull);
                }
            })
        })
        .collect();
    // Read meanwhile: what is read hangs together, and takes nothing away.
    for _ in 0..20 {
        let figures = recorder.figures(Instant::ZERO);
        for level in &figures.levels {
            assert_eq!(level.success, level.total.count);
            assert_eq!(level.queue.count, level.execution.count);
        }
        let protocol = recorder.statistics("m", "1");
        assert_eq!(protocol.inference_count, 2 * protocol.execution_count);
        assert_eq!(protocol.inference_stats.success.count, protocol.inference_count);
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());

    let figures = recorder.figures(Instant::ZERO);
    assert_eq!(figures.batches.count, THREADS * EACH);
    for level in &figures.levels {
        let also_everyones = if level.priority == 0 { THREADS } else { 0 };
        assert_eq!(level.success, (1 + also_everyones) * EACH);
        assert_eq!(level.failures["queue_full"], DurationStatistic { count: EACH, ns: 3 * EACH });
        assert_eq!(level.recent.count, RECENT_ANSWERS as u64);
    }
    let protocol = recorder.statistics("m", "1");
    assert_eq!(protocol.inference_stats.fail.count, THREADS * EACH);
    assert_eq!(protocol.inference_stats.success.ns, THREADS * EACH * 50);
}

#[test]
fn the_recent_rate_follows_and_the_mean_rate_does_not() {
    let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
    let recorder = ModelRecorder::since(at(100));
    for second in 101..=200 {
        let (now, requests) = (at(second), [(0, 20), (7, 30)]);
        let requests =
            requests.map(|(priority, items)| RequestRecord { items, ..request(priority, 1, 2) });
        recorder.batch(&BatchRecord { now, ..batch_of(50) }, &requests);
    }
    let busy = recorder.figures(at(200));
    assert_eq!(busy.items_per_second, Some(50.0));
    assert!((busy.recent_items_per_second - 50.0).abs() < 5.0, "{busy:?}");
    for (level, rate) in busy.levels.iter().zip([20.0, 30.0]) {
        assert_eq!(level.items_per_second, Some(rate));
        assert!((level.recent_items_per_second - rate).abs() < 3.0, "{level:?}");
    }
    let idle = recorder.figures(at(300));
    assert_eq!(idle.items_per_second, Some(25.0));
    assert!(idle.recent_items_per_second < 0.1);
}

#[test]
fn beyond_so_many_models_the_rest_is_added_up() {
    let recorders: Vec<ModelRecorder> = (0..MAX_SERIES + 3)
        .map(|number| {
            let recorder = ModelRecorder::default();
            let batch = BatchRecord { priority: 1, ..batch_of(4) };
            recorder.batch(&batch, &[request(1, 1_000_000, 2_000_000)]);
            recorder.batch_failed(1);
            recorder.failed((number % 2) as u8, ns(1), FailReason::Timeout);
            recorder
        })
        .collect();
    // One whose name is that of the rest, and who is not.
    let models = recorders.iter().map(|recorder| (OTHER, 1, recorder));
    let series = collect(models, Instant::ZERO);
    assert_eq!(series.len(), MAX_SERIES + 1);
    assert!(series[..MAX_SERIES].iter().all(|one| one.version == "1"));
    let rest = series.last().unwrap();
    assert_eq!((&*rest.name, &*rest.version), (OTHER, OTHER));
    let figures = &rest.figures;
    assert_eq!((figures.batches.count, figures.batches.items), (3, 12));
    assert_eq!((figures.batches.failed, figures.levels[1].batches.failed), (3, 3));
    assert_eq!(figures.failures["timeout"].count, 3);
    let levels: Vec<_> =
        figures.levels.iter().map(|level| (level.priority, level.total.count)).collect();
    assert_eq!(levels, [(0, 0), (1, 3)]);
    let p99 = figures.levels[1].total.p99.unwrap();
    assert!((p99 - 2e-3).abs() <= 2e-3 / 129.0);
    assert_eq!(figures.levels[1].recent, RecentFigures::default(), "windows do not merge");
}

#[derive(Clone, Debug)]
enum Told {
    Batch(BatchRecord, Vec<RequestRecord>),
    Failed(u8, Duration, FailReason),
    BatchFailed(u8),
}

/// Nothing, some nanoseconds, or any size from a microsecond to 1000 s.
fn duration() -> impl Strategy<Value = Duration> {
    let sizes = (0.0..9.0_f64).prop_map(|size| ns((1e3 * 10_f64.powf(size)) as u64));
    prop_oneof![1 => Just(Duration::ZERO), 1 => (1..1_000_u64).prop_map(ns), 8 => sizes]
}

fn request_record() -> impl Strategy<Value = RequestRecord> {
    (0..10_u8, 0..50_u64, duration(), duration())
        .prop_map(|(priority, items, queue, total)| RequestRecord { priority, items, queue, total })
}

fn told() -> impl Strategy<Value = Told> {
    let reason = proptest::sample::select(&ClosingReason::ALL[..]);
    let times = (duration(), duration(), duration());
    let times = times.prop_map(|(input, infer, output)| ExecutionTimes { input, infer, output });
    let sizes = (0..10_u8, 0..100_u64, 0..100_u64, 0.0..=1.0_f64);
    let requests = proptest::collection::vec(request_record(), 0..6);
    let batch = (reason, times, sizes, requests);
    let batch =
        batch.prop_map(|(reason, times, (priority, padding, max_items, copied), requests)| {
            let own: u64 = requests.iter().map(|request| request.items).sum();
            let copied = (copied * 20.0) as u64;
            let items = own + copied;
            let (now, padded) = (Instant::ZERO, items + padding);
            let record =
                BatchRecord { now, priority, items, copied, padded, max_items, reason, times };
            Told::Batch(record, requests)
        });
    let why = proptest::sample::select(&FailReason::ALL[..]);
    let failed =
        (0..10_u8, duration(), why).prop_map(|(p, total, why)| Told::Failed(p, total, why));
    let batch_failed = (0..10_u8).prop_map(Told::BatchFailed);
    prop_oneof![6 => batch, 2 => failed, 1 => batch_failed]
}

/// Every time that there was, compared with what is told of them.
fn check_times(figures: &TimeFigures, times: impl Iterator<Item = Duration>) {
    let mut all: Vec<u64> = times.map(Duration::as_nanos).collect();
    all.sort_unstable();
    assert_eq!(figures.count, all.len() as u64);
    let sum = all.iter().map(|&time| u128::from(time)).sum::<u128>() as f64 / 1e9;
    assert_eq!(figures.sum, sum);
    for &(bound, held) in &figures.buckets {
        let within = all.iter().filter(|&&time| time <= (bound * 1e9).round() as u64).count();
        assert_eq!(held, within as u64, "up to {bound} s");
    }
    let edge = |time: Option<&u64>| time.map(|&time| time as f64 / 1e9);
    assert_eq!((figures.min, figures.max), (edge(all.first()), edge(all.last())));
    for (q, told) in [(0.5, figures.p50), (0.95, figures.p95), (0.99, figures.p99)] {
        let Some(told) = told else {
            assert!(all.is_empty());
            continue;
        };
        let rank = (1..=all.len()).find(|&rank| rank as f64 / all.len() as f64 >= q).unwrap();
        let exact = all[rank - 1] as f64 / 1e9;
        if exact >= 1024.0 {
            // Beyond what the sketch tells apart, as the longest there was.
            assert!(told >= exact && Some(told) <= figures.max, "{q}: {told} for {exact}");
        } else if exact == 0.0 || exact >= 2_f64.powi(-20) {
            // A relative rounding error of f64 aside.
            let most = exact / 129.0 * (1.0 + 1e-9);
            assert!((told - exact).abs() <= most, "{q}: {told} for {exact}");
        } else {
            assert!(told >= exact && told <= 2_f64.powi(-20), "{q}: {told} for {exact}");
        }
    }
}

/// Every batch that there was, compared with what is told of them.
fn check_batches(figures: &BatchFigures, batches: &[&BatchRecord]) {
    let sum = |of: fn(&BatchRecord) -> u64| batches.iter().map(|batch| of(batch)).sum::<u64>();
    let (items, rows) = (sum(|batch| batch.items), sum(|batch| batch.padded));
    let capacity = sum(|batch| batch.max_items.max(batch.items));
    let count = batches.len() as u64;
    assert_eq!((figures.count, figures.items), (count, items));
    assert_eq!((figures.padded, figures.capacity), (rows - items, capacity));
    let ratio = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
    assert_eq!(figures.fill_rate, ratio(items, capacity));
    assert_eq!(figures.mean_items, ratio(items, count));
    assert_eq!(figures.padding_rate, ratio(rows - items, rows));
    let busy = batches.iter().map(|batch| batch.times.total().as_nanos()).sum::<u64>();
    assert_eq!(figures.busy_seconds, busy as f64 / 1e9);
    for reason in ClosingReason::ALL {
        let closed = batches.iter().filter(|batch| batch.reason == reason).count() as u64;
        assert_eq!(figures.by_reason[reason.name()], closed);
    }
    for &(bound, held) in &figures.sizes {
        assert_eq!(held, batches.iter().filter(|batch| batch.items <= bound).count() as u64);
    }
}

proptest! {
    #[test]
    fn figures_are_those_of_plain_lists(all in proptest::collection::vec(told(), 0..60)) {
        let recorder = ModelRecorder::default();
        for one in &all {
            match one {
                Told::Batch(batch, requests) => recorder.batch(batch, requests),
                Told::Failed(priority, total, why) => recorder.failed(*priority, *total, *why),
                Told::BatchFailed(priority) => recorder.batch_failed(*priority),
            }
        }
        let figures = recorder.figures(Instant::ZERO + Duration::from_secs(1));
        let protocol = recorder.statistics("m", "1");

        let batches = || all.iter().filter_map(|one| match one {
            Told::Batch(batch, requests) => Some((batch, requests)),
            Told::Failed(..) | Told::BatchFailed(_) => None,
        });
        let failures = || all.iter().filter_map(|one| match one {
            Told::Failed(priority, total, why) => Some((*priority, *total, *why)),
            Told::Batch(..) | Told::BatchFailed(_) => None,
        });
        let failed_batches = || all.iter().filter_map(|one| match one {
            Told::BatchFailed(priority) => Some(*priority),
            Told::Batch(..) | Told::Failed(..) => None,
        });
        // A priority that there is not counts as none.
        let level_of = |priority: u8| if priority < 8 { priority } else { 0 };

        for priority in 0..8 {
            let requests = || batches().flat_map(|(batch, requests)| {
                requests.iter().map(move |request| (batch, request))
            }).filter(|(_, request)| level_of(request.priority) == priority);
            let failed = |why| failures()
                .filter(move |failed| level_of(failed.0) == priority && failed.2 == why);
            let level = figures.levels.iter().find(|level| level.priority == priority);
            let batches: Vec<&BatchRecord> = batches()
                .map(|(batch, _)| batch)
                .filter(|batch| level_of(batch.priority) == priority)
                .collect();
            let failed_batches =
                failed_batches().filter(|&of| level_of(of) == priority).count() as u64;
            let Some(level) = level else {
                prop_assert_eq!(requests().count() + batches.len(), 0);
                prop_assert_eq!(failed_batches, 0);
                prop_assert!(FailReason::ALL.into_iter().all(|why| failed(why).count() == 0));
                continue;
            };
            prop_assert_eq!(level.success, requests().count() as u64);
            prop_assert_eq!(level.items, requests().map(|(_, request)| request.items).sum::<u64>());
            for why in FailReason::ALL {
                let (count, ns) = (
                    failed(why).count() as u64,
                    failed(why).map(|(_, total, _)| total.as_nanos()).sum(),
                );
                prop_assert_eq!(level.failures[why.name()], DurationStatistic { count, ns });
            }
            check_times(&level.queue, requests().map(|(_, request)| request.queue));
            check_times(&level.total, requests().map(|(_, request)| request.total));
            let execution = |times: ExecutionTimes| times.input + times.infer + times.output;
            check_times(&level.execution, requests().map(|(batch, _)| execution(batch.times)));
            prop_assert_eq!(level.recent.count, level.success, "fewer than the window holds");
            prop_assert_eq!(level.items_per_second, Some(level.items as f64));
            check_batches(&level.batches, &batches);
            prop_assert_eq!(level.batches.failed, failed_batches);
        }
        for why in FailReason::ALL {
            let count = failures().filter(|failed| failed.2 == why).count() as u64;
            prop_assert_eq!(figures.failures[why.name()].count, count);
        }

        let items: u64 = batches().map(|(batch, _)| batch.items).sum();
        let count = batches().count() as u64;
        check_batches(&figures.batches, &batches().map(|(batch, _)| batch).collect::<Vec<_>>());
        prop_assert_eq!(figures.batches.failed, failed_batches().count() as u64);
        let own = items - batches().map(|(batch, _)| batch.copied).sum::<u64>();
        prop_assert_eq!(figures.items_per_second, Some(own as f64));

        // The protocol knows of no copy.
        prop_assert_eq!((protocol.inference_count, protocol.execution_count), (own, count));
        let answered = || batches().flat_map(|(batch, requests)| {
            requests.iter().map(move |request| (batch, request))
        });
        let sum = |times: &mut dyn Iterator<Item = Duration>| {
            times.fold(DurationStatistic::default(), |all, time| DurationStatistic {
                count: all.count + 1,
                ns: all.ns + time.as_nanos(),
            })
        };
        let by_phase = protocol.inference_stats;
        prop_assert_eq!(by_phase.success, sum(&mut answered().map(|(_, one)| one.total)));
        prop_assert_eq!(by_phase.queue, sum(&mut answered().map(|(_, one)| one.queue)));
        let infer = sum(&mut answered().map(|(batch, _)| batch.times.infer));
        prop_assert_eq!(by_phase.compute_infer, infer);
        prop_assert_eq!(by_phase.fail, sum(&mut failures().map(|(_, total, _)| total)));
        for size in &protocol.batch_stats {
            let same =
                || batches().filter(|(batch, _)| batch.items - batch.copied == size.batch_size);
            prop_assert_eq!(size.compute_input, sum(&mut same().map(|(one, _)| one.times.input)));
            prop_assert_eq!(size.compute_infer, sum(&mut same().map(|(one, _)| one.times.infer)));
            prop_assert_eq!(size.compute_output, sum(&mut same().map(|(one, _)| one.times.output)));
        }
        let executions: u64 = protocol.batch_stats.iter().map(|one| one.compute_infer.count).sum();
        prop_assert_eq!(executions, count);
    }
}
