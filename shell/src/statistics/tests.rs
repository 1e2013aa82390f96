//! Every line of the stable interface, against the definitions.

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

/// Ordinary numbers with what is none among them.
fn numbers() -> impl Strategy<Value = Vec<f64>> {
    let number = prop_oneof![
        8 => -1000.0..1000.0,
        1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX]),
    ];
    prop::collection::vec(number, 0..60)
}

fn kept(values: &[f64]) -> Vec<f64> {
    let mut kept: Vec<f64> = values.iter().copied().filter(|value| value.abs() < 1e6).collect();
    kept.sort_by(f64::total_cmp);
    kept
}

fn exact_mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

fn exact_variance(values: &[f64]) -> f64 {
    let mean = exact_mean(values);
    exact_mean(&values.iter().map(|value| (value - mean).powi(2)).collect::<Vec<_>>())
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * (1.0 + b.abs())
}

proptest! {
    #[test]
    fn a_percentile_is_the_nearest_rank(
        values in prop::collection::vec(any::<i32>(), 1..50),
        pct in 0_usize..=100,
    ) {
        let found = percentile(&values, pct);
        let at_or_below = |limit: i32| values.iter().filter(|&&value| value <= limit).count();
        prop_assert!(values.contains(&found));
        prop_assert!(100 * at_or_below(found) >= pct * values.len(), "it covers its share");
        let smaller = values.iter().copied().filter(|&value| value < found).max();
        if let Some(smaller) = smaller {
            prop_assert!(100 * at_or_below(smaller) < pct * values.len(), "no smaller one does");
        }
        prop_assert_eq!(Some(percentile(&values, 100)), values.iter().copied().max());
        prop_assert_eq!(percentile(&values, usize::MAX), percentile(&values, 100));
    }

    #[test]
    fn mean_variance_median_and_quartiles_are_those_of_what_counts(values in numbers()) {
        let kept = kept(&values);
        prop_assert!(close(mean(&values), exact_mean(&kept)));
        prop_assert!(close(variance(&values), exact_variance(&kept)));
        prop_assert_eq!(stddev(&values), variance(&values).sqrt());
        let squares: f64 = kept.iter().map(|value| value * value).sum();
        prop_assert!(close(sum_of_squares(&values), squares));
        let count = kept.len();
        let middle = match count {
            0 => 0.0,
            _ if count.is_multiple_of(2) => (kept[count / 2 - 1] + kept[count / 2]) / 2.0,
            _ => kept[count / 2],
        };
        prop_assert!(close(median(&values), middle));
        let quartiles = if count < 4 { 0.0 } else { kept[3 * count / 4] - kept[count / 4] };
        prop_assert_eq!(interquartile_range(&values), quartiles);
    }

    #[test]
    fn a_trimmed_mean_leaves_out_both_ends(values in numbers(), pct in 0.0..0.6) {
        let kept = kept(&values);
        let left_out = (kept.len() as f64 * pct) as usize;
        let expected = match kept.get(left_out..kept.len().saturating_sub(left_out)) {
            Some(inner) if pct < 0.5 => exact_mean(inner),
            _ => 0.0,
        };
        prop_assert!(close(trimmed_mean(&values, pct), expected));
    }

    #[test]
    fn outliers_are_those_too_far_from_the_mean(values in numbers(), z in 0.0..3.0) {
        let kept = kept(&values);
        let (mean, deviation) = (exact_mean(&kept), exact_variance(&kept).sqrt());
        let score = |value: f64| ((value - mean) / deviation).abs();
        let found = outlier_indices(&values, z);
        for (index, &value) in values.iter().enumerate() {
            let far = value.abs() < 1e6 && score(value) > z;
            // Beside the limit, rounding decides.
            prop_assert!(found.contains(&index) == far || (score(value) - z).abs() < 1e-9);
        }
    }

    #[test]
    fn a_moving_average_is_the_mean_of_each_window(values in numbers(), window in 0_usize..80) {
        let found = moving_average(&values, window);
        let window = window.min(values.len());
        if window == 0 {
            prop_assert!(found.is_empty());
        } else {
            prop_assert_eq!(found.len(), values.len() - window + 1);
            for (found, window) in found.iter().zip(values.windows(window)) {
                prop_assert!(close(*found, exact_mean(&kept(window))));
            }
        }
    }

    #[test]
    fn a_running_variance_is_that_of_the_last(values in numbers(), window in 1_usize..20) {
        let found = running_variance(&values, window);
        prop_assert_eq!(found.len(), values.len());
        for (i, found) in found.into_iter().enumerate() {
            let last = &values[(i + 1).saturating_sub(window)..=i];
            prop_assert!(close(found, exact_variance(&kept(last))));
        }
    }

    #[test]
    fn a_cumulative_sum_is_the_sum_so_far(values in numbers()) {
        let found = cumulative_sum(&values);
        prop_assert_eq!(found.len(), values.len());
        for (i, found) in found.into_iter().enumerate() {
            prop_assert!(close(found, kept(&values[..=i]).iter().sum()));
        }
    }

    #[test]
    fn covariance_and_correlation_are_over_the_pairs_that_count(
        pairs in prop::collection::vec((-1000.0..1000.0, number()), 0..60),
    ) {
        let (xs, ys): (Vec<f64>, Vec<f64>) =
            pairs.iter().map(|&(x, y)| (x, if y.abs() > 1e3 { y } else { y + x })).unzip();
        let good: Vec<(f64, f64)> =
            xs.iter().copied().zip(ys.iter().copied()).filter(|(_, y)| is_value(*y)).collect();
        let scale = good.iter().map(|(_, y)| y.abs()).fold(1.0, f64::max);
        let mean_x = exact_mean(&good.iter().map(|pair| pair.0).collect::<Vec<_>>());
        let mean_y = good.iter().map(|pair| pair.1 / scale).sum::<f64>() / good.len().max(1) as f64;
        let products: Vec<f64> =
            good.iter().map(|(x, y)| (x - mean_x) * (y / scale - mean_y)).collect();
        let found = covariance(&xs, &ys) / scale;
        prop_assert!((found - exact_mean(&products)).abs() <= 1e-9 * 1000.0);
        let correlation = correlation(&xs, &ys);
        prop_assert!((-1.0..=1.0).contains(&correlation));
    }

    #[test]
    fn nothing_answers_nan_or_infinity(
        values in prop::collection::vec(number(), 0..40),
        others in prop::collection::vec(number(), 0..40),
        (a, b, c) in (number(), number(), number()),
        window in 0_usize..50,
    ) {
        let same = &others[..others.len().min(values.len())];
        let single = [
            mean(&values), median(&values), variance(&values), stddev(&values),
            sum_of_squares(&values), interquartile_range(&values), trimmed_mean(&values, a),
            weighted_mean(&values, &others), weighted_mean(&values[..same.len()], same),
            covariance(&values, &others), covariance(&values[..same.len()], same),
            correlation(&values, &others), correlation(&values[..same.len()], same),
            exponential_moving_average(a, b, c), min_max_normalize(a, b, c),
            rate_of_change(a, b), z_score(a, b, c),
        ];
        prop_assert!(single.iter().all(|figure| figure.is_finite()), "{:?}", single);
        let lists = [
            moving_average(&values, window),
            running_variance(&values, window),
            cumulative_sum(&values),
        ];
        prop_assert!(lists.iter().flatten().all(|figure| figure.is_finite()));
        prop_assert!(outlier_indices(&values, a).iter().all(|&index| index < values.len()));
        prop_assert!(["rising", "falling", "stable"].contains(&detect_trend(&values, a)));
        let event = |(&x, &weight): (&f64, &f64)| HeatmapEvent { x, y: a, weight };
        let events: Vec<_> = values.iter().zip(&others).map(event).collect();
        let cells = generate_heatmap(&events, 3, 4);
        prop_assert_eq!(cells.len(), 12);
        prop_assert!(cells.iter().all(|cell| cell.value.is_finite()));
    }

    #[test]
    fn the_tracker_is_within_one_per_cent_of_the_last_records(
        records in prop::collection::vec(
            prop_oneof![
                3 => (-9.0_f64..15.0).prop_map(f64::exp2),
                1 => Just(1.0),
                1 => Just(100.0),
                1 => Just(0.0),
            ],
            0..200,
        ),
        window in 1_usize..60,
    ) {
        let tracker = ResponseTimeTracker::new(window);
        for (i, &record) in records.iter().enumerate() {
            tracker.record(record);
            let mut last = records[(i + 1).saturating_sub(window)..=i].to_vec();
            last.sort_by(f64::total_cmp);
            prop_assert_eq!(tracker.count(), last.len());
            let told = [(tracker.p50(), 50), (tracker.p95(), 95), (tracker.p99(), 99)];
            for (told, pct) in told {
                let exact = last[(pct * last.len()).div_ceil(100) - 1];
                prop_assert!((told - exact).abs() <= 0.01 * exact, "p{pct}: {told}, not {exact}");
            }
        }
    }
}

#[test]
fn no_values_have_a_percentile_of_0() {
    assert_eq!((percentile(&[], 50), percentile(&[7], 0), percentile(&[7], 100)), (0, 7, 7));
    assert_eq!(percentile(&[3, 1, 2], 0), 1, "the smallest");
}

#[test]
fn a_weighted_mean_counts_each_value_by_its_weight() {
    assert_eq!(weighted_mean(&[10.0, 20.0, 40.0], &[1.0, 1.0, 2.0]), 27.5);
    assert_eq!(weighted_mean(&[10.0, f64::NAN], &[2.0, 5.0]), 10.0);
    assert_eq!(weighted_mean(&[10.0, 30.0], &[2.0, f64::INFINITY]), 10.0);
    assert_eq!(weighted_mean(&[10.0, 20.0], &[0.0, 0.0]), 0.0);
    assert_eq!(weighted_mean(&[1.0, 2.0], &[1.0]), 0.0);
}

#[test]
fn an_exponential_average_takes_the_share_of_the_new() {
    assert_eq!(exponential_moving_average(10.0, 20.0, 0.3), 13.0);
    assert_eq!(exponential_moving_average(10.0, 20.0, 1.0), 20.0);
    assert_eq!(exponential_moving_average(10.0, 20.0, 0.0), 10.0);
    assert_eq!(exponential_moving_average(10.0, f64::NAN, 0.5), 10.0);
    assert_eq!(exponential_moving_average(f64::NAN, 20.0, 0.5), 20.0);
}

#[test]
fn scales_say_where_a_number_lies() {
    assert_eq!(min_max_normalize(5.0, 0.0, 10.0), 0.5);
    assert_eq!(min_max_normalize(-5.0, 0.0, 10.0), -0.5);
    assert_eq!((min_max_normalize(5.0, 3.0, 3.0), min_max_normalize(5.0, 4.0, 3.0)), (0.0, 0.0));
    assert_eq!((rate_of_change(100.0, 150.0), rate_of_change(100.0, 50.0)), (0.5, -0.5));
    assert_eq!(rate_of_change(0.0, 50.0), 0.0);
    assert_eq!((z_score(70.0, 50.0, 10.0), z_score(70.0, 50.0, 0.0)), (2.0, 0.0));
    assert_eq!(z_score(70.0, 50.0, -10.0), 0.0);
}

#[test]
fn correlation_is_of_the_direction_not_the_size() {
    let x = [1.0, 2.0, 3.0, 4.0];
    assert!((correlation(&x, &x.map(|x| 1e6 * x + 1e9)) - 1.0).abs() < 1e-9);
    assert!((correlation(&x, &x.map(|x| -1e-6 * x)) + 1.0).abs() < 1e-12);
    assert_eq!((covariance(&x, &x), correlation(&x, &[5.0; 4])), (1.25, 0.0));
    assert_eq!((covariance(&x, &x[1..]), correlation(&x, &x[1..])), (0.0, 0.0));
}

#[test]
fn large_numbers_with_small_noise_keep_their_variance() {
    let noise = |i: usize| ((i * 7919) % 1000) as f64 / 1000.0;
    let values: Vec<f64> = (0..10_000).map(|i| 1e9 + noise(i)).collect();
    let exact = exact_variance(&values.iter().map(|value| value - 1e9).collect::<Vec<_>>());
    assert!((variance(&values) / exact - 1.0).abs() < 1e-6);
    let running = running_variance(&values, 1000);
    let last = values[9_000..].iter().map(|value| value - 1e9).collect::<Vec<_>>();
    assert!((running[9_999] / exact_variance(&last) - 1.0).abs() < 1e-6);
}

#[test]
fn a_spike_that_left_the_window_leaves_no_trace() {
    let mut values = vec![0.1; 1000];
    values[10] = 1e12;
    assert!((moving_average(&values, 10)[900] - 0.1).abs() < 1e-16);
    assert_eq!(running_variance(&values, 10)[900], 0.0);
}

#[test]
fn trends_are_told_from_the_average_of_what_came_before() {
    let ascending: Vec<f64> = (0..50).map(f64::from).collect();
    let descending: Vec<f64> = ascending.iter().rev().copied().collect();
    assert_eq!(detect_trend(&ascending, 0.3), "rising");
    assert_eq!(detect_trend(&descending, 0.3), "falling");
    for values in [&[][..], &[5.0], &[5.0; 20], &[f64::NAN, 5.0, f64::INFINITY]] {
        assert_eq!(detect_trend(values, 0.3), "stable");
    }
    assert_eq!(detect_trend(&[5.0, 6.5], 0.0), "rising", "compared with the first");
    assert_eq!(detect_trend(&[5.0, 6.0], 0.0), "stable", "by more than 1");
    assert_eq!(detect_trend(&ascending, 1.0), "stable", "the average is the last");
    assert_eq!(detect_trend(&ascending, f64::NAN), "rising");
}

#[test]
fn a_heat_map_has_every_cell_row_by_row_and_clamps_to_the_edge() {
    let at = |x, y, weight| HeatmapEvent { x, y, weight };
    let events = [
        at(0.9, 0.9, 1.0),
        at(2.0, 1.5, 2.0),
        at(-7.0, 99.0, 4.0),
        at(f64::INFINITY, f64::NEG_INFINITY, 8.0),
        at(f64::NAN, 0.0, 100.0),
        at(0.0, 0.0, f64::NAN),
    ];
    let cells = generate_heatmap(&events, 2, 3);
    let cell = |row, col, value| HeatmapCell { row, col, value };
    let expected = [
        cell(0, 0, 1.0),
        cell(0, 1, 0.0),
        cell(0, 2, 8.0),
        cell(1, 0, 4.0),
        cell(1, 1, 0.0),
        cell(1, 2, 2.0),
    ];
    assert_eq!(cells, expected);
    assert!(generate_heatmap(&events, 0, 3).is_empty());
    assert!(generate_heatmap(&events, 3, 0).is_empty());
    assert!(generate_heatmap(&events, usize::MAX, usize::MAX).is_empty());
}

#[test]
fn a_tracker_leaves_out_what_is_no_time_and_tells_the_ends_of_its_range() {
    let tracker = ResponseTimeTracker::new(10);
    assert_eq!((tracker.p50(), tracker.p95(), tracker.p99(), tracker.count()), (0.0, 0.0, 0.0, 0));
    for ms in [f64::NAN, -1.0, f64::INFINITY, f64::NEG_INFINITY] {
        tracker.record(ms);
    }
    assert_eq!((tracker.p99(), tracker.count()), (0.0, 0));
    tracker.record(0.0);
    assert_eq!((tracker.p50(), tracker.count()), (0.0, 1));
    tracker.record(1e12);
    assert_eq!(tracker.p99(), f64::from(1 << 26), "18 hours");
    assert_eq!(tracker.quantile(f64::NAN), 0.0);

    let large = ResponseTimeTracker::new(usize::MAX);
    large.record(5.0);
    assert_eq!(large.count(), 1);

    let none = ResponseTimeTracker::new(0);
    none.record(5.0);
    assert_eq!((none.p50(), none.count()), (0.0, 0));
}

#[test]
fn threads_share_a_tracker() {
    fn shared<T: Send + Sync>(_: &T) {}
    let tracker = ResponseTimeTracker::new(4000);
    shared(&tracker);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..1000).for_each(|_| tracker.record(5.0)));
        }
    });
    assert_eq!(tracker.count(), 4000);
    assert!((tracker.p50() - 5.0).abs() <= 0.05);
}
