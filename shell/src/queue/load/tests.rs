use proptest::prelude::*;

use super::*;

/// Any `f64` at all, those that make trouble often.
fn number() -> impl Strategy<Value = f64> {
    let extremes = vec![
        0.0,
        -0.0,
        -1.0,
        5e-324,
        f64::MAX,
        f64::MIN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
    ];
    prop_oneof![any::<u64>().prop_map(f64::from_bits), prop::sample::select(extremes)]
}

proptest! {
    #[test]
    fn shedding_follows_the_exact_share(depth: usize, limit: usize) {
        for (depth, limit) in [(depth, limit), (depth % 100, limit % 100)] {
            prop_assert_eq!(should_shed(depth, limit, false), limit == 0 || depth > limit);
            let share = depth as u128 * 100 >= limit as u128 * 80;
            prop_assert_eq!(should_shed(depth, limit, true), limit == 0 || share);
        }
    }

    #[test]
    fn the_status_follows_the_utilization(depth in 0..250_usize, limit in 1..200_usize) {
        let health = queue_health(depth, limit);
        prop_assert_eq!((health.depth, health.hard_limit), (depth, limit));
        prop_assert_eq!(health.utilization, depth as f64 / limit as f64);
        let expected = match 10 * depth {
            tenths if tenths >= 10 * limit => "critical",
            tenths if tenths >= 8 * limit => "warning",
            tenths if tenths >= 6 * limit => "elevated",
            _ => "healthy",
        };
        prop_assert_eq!(health.status, expected);
        prop_assert_eq!(queue_pressure(depth, limit), health.utilization.min(1.0));
    }

    #[test]
    fn a_wait_is_a_finite_number_whatever_it_is_made_of(
        depth: usize,
        rate in number(),
        weight in number(),
    ) {
        for depth in [depth, 0] {
            let wait = estimate_wait_time(depth, rate);
            prop_assert!((0.0..=f64::MAX).contains(&wait));
            let weighted = weighted_wait_time(depth, rate, weight);
            prop_assert!((-f64::MAX..=f64::MAX).contains(&weighted));
            if rate > 0.0 && wait < f64::MAX && (wait * weight).is_finite() {
                prop_assert_eq!(weighted, wait * weight);
            }
        }
    }

    #[test]
    fn fairness_is_jain_s_index(shares in prop::collection::vec(0.0..1e6_f64, 1..20)) {
        let sum: f64 = shares.iter().sum();
        let squares: f64 = shares.iter().map(|share| share * share).sum();
        let expected = sum * sum / (shares.len() as f64 * squares);
        prop_assert!((fairness_index(&shares) - expected).abs() < 1e-9);
    }

    #[test]
    fn fairness_is_1_for_equal_shares_of_any_size(share in number(), n in 0..50_usize) {
        prop_assert_eq!(fairness_index(&vec![share; n]), 1.0);
    }

    #[test]
    fn fairness_is_from_1_nth_to_1_whatever_the_shares(
        shares in prop::collection::vec(number(), 1..20),
    ) {
        let least = 1.0 / shares.len() as f64;
        prop_assert!((least - 1e-12..=1.0).contains(&fairness_index(&shares)));
    }

    #[test]
    fn each_item_is_expired_or_active_and_stays_in_order(
        times in prop::collection::vec(prop_oneof![0..9_u64, Just(u64::MAX)], 0..20),
        cutoff in prop_oneof![0..9_u64, Just(u64::MAX)],
    ) {
        let items: Vec<_> =
            times.iter().zip(0..).map(|(&time, n)| (format!("{n}"), n, time)).collect();
        let (expired, active) = requeue_expired(&items, cutoff);
        let side = |is_expired| {
            let of_side = items.iter().filter(move |item| (item.2 <= cutoff) == is_expired);
            of_side.map(|(id, priority, _)| (id.clone(), *priority)).collect::<Vec<_>>()
        };
        prop_assert_eq!((expired, active), (side(true), side(false)));
    }

    #[test]
    fn pressure_and_percentage_are_shares_of_any_size(part: usize, whole: usize) {
        prop_assert!((0.0..=1.0).contains(&queue_pressure(part, whole)));
        let percentage = drain_percentage(part, whole);
        prop_assert!(percentage >= 0.0 && percentage.is_finite());
        prop_assert!(part > whole || percentage <= 100.0);
    }
}

#[test]
fn work_is_shed_when_the_depth_is_over_the_limit() {
    assert!(!should_shed(9, 10, false));
    assert!(!should_shed(10, 10, false));
    assert!(should_shed(11, 10, false));
}

#[test]
fn in_an_emergency_work_is_shed_from_80_percent() {
    assert!(!should_shed(7, 10, true));
    assert!(should_shed(8, 10, true));
    assert!(!should_shed(8, 10, false));
    assert!(!should_shed(0, 1, true), "80 % of 1 is not reached by nothing");
}

#[test]
fn with_a_limit_of_0_everything_is_shed() {
    assert!(should_shed(0, 0, false));
    assert!(should_shed(0, 0, true));
    assert!(should_shed(usize::MAX, 0, false));
}

#[test]
fn health_changes_at_60_80_and_100_percent() {
    let status = |depth| queue_health(depth, 100).status;
    assert_eq!((status(0), status(59), status(60)), ("healthy", "healthy", "elevated"));
    assert_eq!((status(79), status(80), status(99)), ("elevated", "warning", "warning"));
    assert_eq!((status(100), status(250)), ("critical", "critical"));
}

#[test]
fn health_tells_depth_limit_and_utilization() {
    let expected = QueueHealth { depth: 3, hard_limit: 4, utilization: 0.75, status: "elevated" };
    assert_eq!(queue_health(3, 4), expected);
    assert_eq!(queue_health(6, 4).utilization, 1.5);
}

#[test]
fn a_limit_of_0_is_critical() {
    let health = queue_health(0, 0);
    assert_eq!((health.utilization, health.status), (1.0, "critical"));
}

#[test]
fn the_wait_is_the_depth_by_the_rate() {
    assert_eq!(estimate_wait_time(10, 4.0), 2.5);
    assert_eq!(estimate_wait_time(0, 4.0), 0.0);
    assert_eq!(estimate_wait_time(10, f64::INFINITY), 0.0);
}

#[test]
fn without_a_rate_the_wait_is_the_longest() {
    for rate in [0.0, -0.0, -1.0, f64::NEG_INFINITY, f64::NAN] {
        for depth in [0, 1] {
            assert_eq!(estimate_wait_time(depth, rate), f64::MAX);
            assert_eq!(weighted_wait_time(depth, rate, 0.0), f64::MAX);
        }
    }
    assert_eq!(estimate_wait_time(1, 5e-324), f64::MAX);
}

#[test]
fn a_weight_multiplies_the_wait() {
    assert_eq!(weighted_wait_time(10, 4.0, 2.0), 5.0);
    assert_eq!(weighted_wait_time(10, 4.0, 0.0), 0.0);
    assert_eq!(weighted_wait_time(10, 4.0, -2.0), -5.0);
}

#[test]
fn extreme_weights_have_an_answer() {
    assert_eq!(weighted_wait_time(10, 4.0, f64::NAN), f64::MAX);
    assert_eq!(weighted_wait_time(10, 4.0, f64::INFINITY), f64::MAX);
    assert_eq!(weighted_wait_time(10, 4.0, f64::NEG_INFINITY), -f64::MAX);
    assert_eq!(weighted_wait_time(0, 4.0, f64::INFINITY), 0.0);
    assert_eq!(weighted_wait_time(1, 5e-324, 0.0), 0.0);
}

#[test]
fn fairness_is_1_for_equal_shares_and_for_none() {
    assert_eq!(fairness_index(&[]), 1.0);
    assert_eq!(fairness_index(&[0.0, 0.0]), 1.0);
    assert_eq!(fairness_index(&[0.1; 7]), 1.0);
    assert_eq!(fairness_index(&[f64::MAX; 3]), 1.0);
}

#[test]
fn fairness_falls_to_1_nth_when_one_has_all() {
    assert_eq!(fairness_index(&[9.0, 0.0, 0.0]), 1.0 / 3.0);
    let index = fairness_index(&[1.0, 2.0, 3.0]);
    assert!((index - 36.0 / 42.0).abs() < 1e-12);
}

#[test]
fn negative_and_missing_shares_count_as_0_and_infinite_ones_outweigh_all() {
    assert_eq!(fairness_index(&[4.0, -4.0]), 0.5);
    assert_eq!(fairness_index(&[4.0, f64::NAN]), 0.5);
    assert_eq!(fairness_index(&[f64::INFINITY, 1e300, f64::INFINITY, 0.0]), 0.5);
}

#[test]
fn an_item_expires_at_the_cutoff() {
    let item = |id: &str, time| (id.to_string(), 1, time);
    let items = [item("before", 99), item("at", 100), item("after", 101)];
    let (expired, active) = requeue_expired(&items, 100);
    assert_eq!(expired, [("before".to_string(), 1), ("at".to_string(), 1)]);
    assert_eq!(active, [("after".to_string(), 1)]);
    assert_eq!(requeue_expired(&[], 100), (vec![], vec![]));
}

#[test]
fn pressure_is_a_share_clamped_to_1() {
    assert_eq!(queue_pressure(0, 10), 0.0);
    assert_eq!(queue_pressure(5, 10), 0.5);
    assert_eq!(queue_pressure(20, 10), 1.0);
    assert_eq!(queue_pressure(0, 0), 1.0);
}

#[test]
fn what_was_drained_is_told_in_percent() {
    assert_eq!(drain_percentage(25, 200), 12.5);
    assert_eq!(drain_percentage(200, 200), 100.0);
    assert_eq!(drain_percentage(300, 200), 150.0);
    assert_eq!(drain_percentage(0, 0), 0.0);
    assert_eq!(drain_percentage(5, 0), 0.0);
}
