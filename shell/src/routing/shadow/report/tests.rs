#![allow(clippy::unwrap_used)] // a test that panics has failed

use super::super::compare::{Tolerance, compare_responses};
use super::*;
use crate::contracts::InferResponse;
use crate::models::Tensor;
use proptest::prelude::*;

fn response(outputs: Vec<Tensor>) -> InferResponse {
    InferResponse {
        model_name: "digits".to_string(),
        model_version: "1".to_string(),
        id: String::new(),
        parameters: Default::default(),
        outputs,
    }
}

fn output(name: &str, values: &[f32]) -> Tensor {
    Tensor::from_f32(name, vec![1, values.len()], values)
}

fn compared(primary: Vec<Tensor>, shadow: Vec<Tensor>) -> Comparison {
    compare_responses(&response(primary), &response(shadow), &Tolerance::EXACT)
}

const NO_TIME: Duration = Duration::ZERO;

#[test]
fn each_kind_of_difference_is_counted_under_its_output() {
    let mut report = ShadowReport::new();
    let primary = || {
        vec![
            output("type", &[1.0]),
            output("shape", &[1.0]),
            output("values", &[1.0]),
            output("same", &[1.0]),
            output("ours", &[1.0]),
        ]
    };
    let whole = Tensor::new("type", crate::models::DataType::Int32, vec![1, 1], vec![0; 4].into());
    let shadow = vec![
        whole.unwrap(),
        output("shape", &[1.0, 2.0]),
        output("values", &[2.0]),
        output("same", &[1.0]),
        output("theirs", &[1.0]),
    ];
    report.record(&compared(primary(), shadow), NO_TIME, NO_TIME);
    report.record(&compared(primary(), primary()), NO_TIME, NO_TIME);
    assert_eq!((report.compared(), report.agreed(), report.failed()), (2, 1, 0));
    let none = OutputCounts::default();
    for (name, expected) in [
        ("type", OutputCounts { seen: 2, agreed: 1, other_type: 1, ..none }),
        ("shape", OutputCounts { seen: 2, agreed: 1, other_shape: 1, ..none }),
        ("values", OutputCounts { seen: 2, agreed: 1, other_values: 1, ..none }),
        ("same", OutputCounts { seen: 2, agreed: 2, ..none }),
        ("ours", OutputCounts { seen: 2, agreed: 1, one_sided: 1, ..none }),
        ("theirs", OutputCounts { seen: 1, one_sided: 1, ..none }),
    ] {
        assert_eq!(report.outputs()[name], expected, "{name}");
    }
    assert_eq!(report.outputs().len(), 6);
}

#[test]
fn a_report_of_nothing_tells_no_share_and_no_delta() {
    let mut report = ShadowReport::new();
    assert_eq!((report.top_one_share(), report.latency_delta().mean()), (None, None));
    report.record_failure();
    assert_eq!((report.compared(), report.failed()), (0, 1));
}

#[test]
fn a_shadow_that_takes_exactly_as_long_is_not_faster() {
    let mut report = ShadowReport::new();
    let time = Duration::from_millis(3);
    report.record(&compared(vec![output("y", &[1.0])], vec![output("y", &[1.0])]), time, time);
    assert_eq!((report.slower().zeros(), report.faster().count()), (1, 0));
}

#[test]
fn names_beyond_the_bound_are_in_the_totals_only() {
    let mut report = ShadowReport::new();
    for number in 0..2 * MAX_OUTPUT_NAMES {
        let name = number.to_string();
        let comparison = compared(vec![output(&name, &[1.0])], vec![output(&name, &[1.0])]);
        report.record(&comparison, NO_TIME, NO_TIME);
    }
    assert_eq!(report.outputs().len(), MAX_OUTPUT_NAMES);
    assert_eq!(report.agreed(), 2 * MAX_OUTPUT_NAMES as u64);
}

fn answers() -> impl Strategy<Value = Vec<(Vec<i8>, Vec<i8>, u32, u32)>> {
    let scores = || prop::collection::vec(any::<i8>(), 3);
    // Microseconds.
    let time = || 1..1_000_000_u32;
    prop::collection::vec((scores(), scores(), time(), time()), 1..40)
}

fn record(report: &mut ShadowReport, answer: &(Vec<i8>, Vec<i8>, u32, u32)) {
    let floats = |values: &[i8]| values.iter().map(|&value| value.into()).collect::<Vec<f32>>();
    let (primary, shadow, ours, theirs) = answer;
    let comparison =
        compared(vec![output("y", &floats(primary))], vec![output("y", &floats(shadow))]);
    let micros = |micros: &u32| Duration::from_micros(u64::from(*micros));
    report.record(&comparison, micros(ours), micros(theirs));
}

proptest! {
    #[test]
    fn a_report_tells_what_the_answers_come_to(answers in answers()) {
        let mut report = ShadowReport::new();
        answers.iter().for_each(|answer| record(&mut report, answer));
        let count = answers.len() as u64;
        let same = answers.iter().filter(|(a, b, ..)| a == b).count() as u64;
        prop_assert_eq!((report.compared(), report.agreed()), (count, same));

        let mut deltas: Vec<i64> =
            answers.iter().map(|(_, _, a, b)| i64::from(*b) - i64::from(*a)).collect();
        let mean = deltas.iter().sum::<i64>() as f64 / count as f64 / 1e6;
        prop_assert!((report.latency_delta().mean().unwrap() - mean).abs() < 1e-9);
        deltas.sort_unstable();
        let slower = deltas.iter().filter(|delta| **delta >= 0).count() as u64;
        prop_assert_eq!(report.slower().count(), slower);
        prop_assert_eq!(report.faster().count(), count - slower);
        let ends = (deltas[0] as f64 / 1e6, deltas[deltas.len() - 1] as f64 / 1e6);
        if ends.0 < 0.0 {
            prop_assert!((report.faster().max().unwrap() + ends.0).abs() < 1e-9);
        }
        if ends.1 >= 0.0 {
            prop_assert!((report.slower().max().unwrap() - ends.1).abs() < 1e-9);
        }

        let furthest = answers.iter().map(|(a, b, ..)| {
            a.iter().zip(b).map(|(a, b)| i32::from(*a).abs_diff(i32::from(*b))).max().unwrap()
        });
        let furthest = f64::from(furthest.max().unwrap());
        prop_assert_eq!(report.differences().max(), Some(furthest));
        prop_assert_eq!(report.differences().count(), count);
    }

    #[test]
    fn reports_merge_to_the_report_of_all(answers in answers(), at in 0..40_usize) {
        let (first, second) = answers.split_at(at.min(answers.len()));
        let [mut left, mut right, mut all] = [0; 3].map(|_| ShadowReport::new());
        first.iter().for_each(|answer| record(&mut left, answer));
        second.iter().for_each(|answer| record(&mut right, answer));
        answers.iter().for_each(|answer| record(&mut all, answer));
        right.record_failure();
        all.record_failure();
        left.merge(&right);
        prop_assert_eq!(left.compared(), all.compared());
        prop_assert_eq!(left.agreed(), all.agreed());
        prop_assert_eq!(left.failed(), all.failed());
        prop_assert_eq!(left.top_one_share(), all.top_one_share());
        prop_assert_eq!(left.outputs(), all.outputs());
        prop_assert_eq!(left.differences(), all.differences());
        prop_assert_eq!((left.slower(), left.faster()), (all.slower(), all.faster()));
        prop_assert_eq!(left.latency_delta().count(), all.latency_delta().count());
        let means = (left.latency_delta().mean().unwrap(), all.latency_delta().mean().unwrap());
        prop_assert!((means.0 - means.1).abs() < 1e-9);
    }
}

#[test]
fn top_one_is_the_share_of_rows_over_all_answers() {
    let mut report = ShadowReport::new();
    let scores = |values: &[f32]| vec![Tensor::from_f32("y", vec![2, 2], values)];
    let primary = [0.1, 0.9, 0.8, 0.2];
    report.record(&compared(scores(&primary), scores(&primary)), NO_TIME, NO_TIME);
    let other = [0.9, 0.1, 0.7, 0.3];
    report.record(&compared(scores(&primary), scores(&other)), NO_TIME, NO_TIME);
    assert_eq!(report.top_one_share(), Some(0.75));
}
