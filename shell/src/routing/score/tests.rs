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

fn whole() -> impl Strategy<Value = i32> {
    let extremes = vec![i32::MIN, i32::MIN + 1, -1, 0, 1, i32::MAX];
    prop_oneof![any::<i32>(), prop::sample::select(extremes)]
}

fn is_close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-12 * b.abs()
}

proptest! {
    #[test]
    fn a_score_is_always_a_number(
        latency in whole(),
        reliability in number(),
        weight in number(),
        priority in whole(),
    ) {
        let score = weighted_route_score(latency, reliability, weight);
        let channel = channel_score(latency, reliability, priority);
        prop_assert!(score.is_finite() && channel.is_finite());
        if latency <= 0 {
            prop_assert_eq!((score, channel), (0.0, 0.0));
        }
    }

    /// In whole numbers: a score of `hundredths / 100 × weight / latency`, by cross-multiplication.
    #[test]
    fn a_score_is_the_product_over_the_latency(
        latency in 1..1_000_000_i32,
        hundredths in 0..=100_i32,
        weight in -1_000..1_000_i32,
    ) {
        let reliability = f64::from(hundredths) / 100.0;
        let product = f64::from(hundredths * weight);
        for score in [
            channel_score(latency, reliability, weight),
            weighted_route_score(latency, reliability, f64::from(weight)),
        ] {
            prop_assert!(is_close(score * 100.0 * f64::from(latency), product), "{}", score);
        }
    }

    #[test]
    fn a_lower_latency_and_a_higher_reliability_score_higher(
        latency in 1..1_000_i32,
        reliability in 0.01..0.99_f64,
        priority in 1..8_i32,
    ) {
        let score = channel_score(latency, reliability, priority);
        prop_assert!(channel_score(latency + 1, reliability, priority) < score);
        prop_assert!(channel_score(latency, reliability + 0.01, priority) > score);
        prop_assert!(channel_score(latency, reliability, priority + 1) > score);
    }

    #[test]
    fn a_normalized_latency_is_its_share_of_the_highest(latency in whole(), max in whole()) {
        let share = normalize_latency(latency, max);
        if max <= 0 {
            prop_assert_eq!(share, 0.0);
        } else {
            prop_assert!(is_close(share * f64::from(max), f64::from(latency)));
            prop_assert_eq!(share > 1.0, latency > max);
        }
    }

    #[test]
    fn reliability_is_the_share_of_successes(successes in 0..1_000_usize, total in 0..1_000_usize) {
        let share = route_reliability(successes, total);
        if total == 0 {
            prop_assert_eq!(share, 0.0);
        } else {
            prop_assert!(is_close(share * total as f64, successes as f64));
        }
    }

    #[test]
    fn reliability_is_a_number_whatever_is_counted(successes: usize, total: usize) {
        prop_assert!((0.0..=usize::MAX as f64).contains(&route_reliability(successes, total)));
    }

    /// In integers: a load of so many eighths adds that part, and what is not whole is cut off.
    #[test]
    fn congestion_adds_the_part_that_the_load_is(base in 0..1_000_000_i32, eighths in 0..80_i32) {
        let expected = i64::from(base) * i64::from(8 + eighths) / 8;
        let adjusted = congestion_adjusted_latency(base, f64::from(eighths) / 8.0);
        prop_assert_eq!(i64::from(adjusted), expected);
        let negative = congestion_adjusted_latency(-base, f64::from(eighths) / 8.0);
        prop_assert_eq!(i64::from(negative), -expected);
    }

    #[test]
    fn congestion_never_makes_a_positive_latency_shorter(base in whole(), load in number()) {
        let adjusted = congestion_adjusted_latency(base, load);
        if base >= 0 && load >= 0.0 {
            prop_assert!(adjusted >= base);
        }
        if load.is_nan() {
            prop_assert_eq!(adjusted, base);
        }
    }
}

#[test]
fn a_latency_beyond_an_i32_is_held_at_its_ends() {
    assert_eq!(congestion_adjusted_latency(i32::MAX, 1.0), i32::MAX);
    assert_eq!(congestion_adjusted_latency(i32::MIN, 1.0), i32::MIN);
    assert_eq!(congestion_adjusted_latency(0, f64::INFINITY), 0);
    assert_eq!(congestion_adjusted_latency(1, f64::NEG_INFINITY), i32::MIN);
    assert_eq!(congestion_adjusted_latency(100, -1.0), 0);
}
