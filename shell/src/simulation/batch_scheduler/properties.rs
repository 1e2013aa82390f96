//! What holds for every batcher, whatever comes; and what the comparison must show.

use super::*;
use proptest::prelude::*;

fn arrivals() -> impl Strategy<Value = Vec<Arrival>> {
    let one = (0..4_000_000u64, 0..3u32, 0..LEVELS as u8, 1..6u32, proptest::option::of(1..40u64));
    prop::collection::vec(one, 1..200).prop_map(|requests| {
        let mut at = Instant::ZERO;
        let arrival = |(gap, shape, priority, items, timeout): (u64, _, _, _, Option<u64>)| {
            // Every other comes together with the one before.
            at = at + Duration::from_nanos(gap.saturating_sub(2_000_000));
            let deadline = timeout.map(|timeout| at + ms(timeout));
            Arrival { index: 0, at, shape, priority, items, deadline }
        };
        numbered(requests.into_iter().map(arrival).collect())
    })
}

fn batchers(limits: &Limits) -> Vec<Box<dyn Batcher>> {
    let mut batchers: Vec<Box<dyn Batcher>> =
        BatcherKind::ALL.map(|kind| kind.batcher(limits).unwrap()).into();
    let mut lane = limits.lane();
    lane.displace = true;
    lane.eager = true;
    batchers.push(Box::new(Ours::on(lane).unwrap().with_fairness(100, ms(20))));
    let mut triton = TritonOptions::new(limits);
    triton.preferred = vec![2, limits.max_items];
    for policy in &mut triton.policies[3..] {
        policy.timeout_action = TimeoutAction::Delay;
        policy.default_timeout = ms(15);
    }
    batchers.push(Box::new(Triton::with(triton)));
    for low_priority in [LowPriority::Same, LowPriority::PadToMax, LowPriority::Isolated] {
        for mixed_shapes in [MixedShapes::Fail, MixedShapes::Signatures] {
            let common = TensorFlowServingOptions::new(limits);
            let options = TensorFlowServingOptions { low_priority, mixed_shapes, ..common };
            batchers.push(Box::new(TensorFlowServing::with(options)));
        }
    }
    batchers
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// The run loop itself finds what is lost, doubled or too large; here, that nothing is.
    #[test]
    fn no_batcher_loses_doubles_or_overfills(
        arrivals in arrivals(),
        max_items in 3..9u32,
        wait in 0..12u64,
        max_queued in 1..30u32,
        executors in 1..3u32,
    ) {
        let mut limits = Limits::new(max_items, ms(wait));
        limits.max_wait[usize::from(HIGH)] = Duration::ZERO;
        limits.max_queued = max_queued;
        limits.executors = executors;
        let service = Service::new(Curve::linear(ms(3), Duration::from_micros(500)));
        for mut batcher in batchers(&limits) {
            let report = run(&arrivals, &mut *batcher, &service, &limits);
            let report = report.map_err(|violation| {
                TestCaseError::fail(format!("{}: {violation}", batcher.name()))
            })?;
            prop_assert_eq!(report.answered + report.shed_total(), arrivals.len() as u64);
        }
    }
}

#[test]
fn equal_seeds_give_equal_reports_and_others_do_not() {
    let scenario = |seed| {
        let [_, _, _, mut scenario, ..] = scenarios(seed);
        scenario.service.noise = 0.3;
        scenario.service.seed = seed;
        let arrivals = scenario.workload.arrivals(2_000).unwrap();
        compare(&arrivals, &scenario.service, &scenario.limits, &mut |_| {}).unwrap()
    };
    let once = scenario(11);
    assert_eq!(once, scenario(11));
    for (report, other) in once.iter().zip(scenario(12)) {
        assert_ne!(*report, other);
    }
}

/// Ours is at least equal everywhere, and ahead where shapes alternate. With one shape and every
/// executor always busy, whoever takes the highest first and fills up with the rest runs the same
/// batches; so equal, up to what a wait more or less at the start changes.
#[test]
fn no_rival_is_ahead_in_the_first_four_scenarios() {
    for seed in [1, 2] {
        for mut scenario in scenarios(seed).into_iter().take(4) {
            scenario.waits = [0, 5, 20].map(ms).to_vec();
            let best = scenario.compare(6_000, &mut |_| {}).unwrap();
            let (ours, rivals) = best.split_first().unwrap();
            let ours = &ours.report;
            for rival in rivals.iter().map(|best| &best.report) {
                let what = format!("{} with seed {seed}: {}", scenario.name, rival.name);
                assert!(ours.shed_total() <= rival.shed_total(), "{what} sheds less");
                assert!(ours.throughput() > 0.99 * rival.throughput(), "{what} does more");
                for priority in [HIGH, 0] {
                    let p99 = |report: &Report| report.latency(priority, 0.99);
                    let (Some(ours), Some(rival)) = (p99(ours), p99(rival)) else { continue };
                    assert!(ours < 1.05 * rival, "{what}: {rival} ms at {priority}, ours {ours}");
                }
                if scenario.name == "two shapes in turn" {
                    assert!(ours.throughput() > rival.throughput(), "{what}");
                    assert!(ours.latency(0, 0.99) < rival.latency(0, 0.99).map(|p99| p99 / 2.0));
                }
            }
        }
    }
}

/// Batches of its own size for high priority are what no rival has; a wait of its own only TensorFlow
/// Serving has, for two priorities.
#[test]
fn high_priority_is_ahead_where_it_has_limits_of_its_own() {
    for seed in [1, 2] {
        let [.., small, patient] = scenarios(seed);
        for (mut scenario, share, share_of_tensorflow) in
            [(small, 0.95, 0.95), (patient, 0.8, 1.05)]
        {
            scenario.waits.truncate(1);
            let best = scenario.compare(20_000, &mut |_| {}).unwrap();
            let (ours, rivals) = best.split_first().unwrap();
            for rival in rivals.iter().map(|best| &best.report) {
                let what = format!("{} with seed {seed}: {}", scenario.name, rival.name);
                let p99 = |report: &Report| report.latency(HIGH, 0.99).unwrap();
                let is_tensorflow = rival.name == "tensorflow serving";
                let share = if is_tensorflow { share_of_tensorflow } else { share };
                let (ours, rival) = (p99(&ours.report), p99(rival));
                assert!(ours < share * rival, "{what}: {rival} ms, ours {ours}");
            }
        }
    }
}

#[test]
fn the_report_adds_up() {
    let [_, _, _, scenario, ..] = scenarios(3);
    let arrivals = scenario.workload.arrivals(3_000).unwrap();
    for report in compare(&arrivals, &scenario.service, &scenario.limits, &mut |_| {}).unwrap() {
        let name = report.name;
        assert_eq!(report.sizes.iter().sum::<u64>(), report.batches, "{name}");
        assert_eq!(report.reasons.values().sum::<u64>(), report.batches, "{name}");
        let items: u64 = (0..).zip(&report.sizes).map(|(items, count)| items * count).sum();
        assert_eq!(items, report.answered, "{name}: requests of one item each");
        let levels = report.levels.values();
        let (came, shed): (u64, u64) =
            levels.fold((0, 0), |sum, level| (sum.0 + level.arrived, sum.1 + level.shed));
        assert_eq!((came, shed), (3_000, report.shed_total()), "{name}");
        for level in report.levels.values() {
            assert_eq!(level.latency.count(), level.arrived - level.shed, "{name}");
            assert!(level.wait.mean() < level.latency.mean(), "{name}");
        }
        assert!(report.utilisation() > 0.5 && report.utilisation() <= 1.0, "{name}");
    }
}
