#![allow(clippy::unwrap_used)] // a test that panics has failed

use super::*;
use crate::models::push_bytes_element;
use bytes::Bytes;
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

fn tensor(datatype: DataType, shape: &[usize], data: Vec<u8>) -> Tensor {
    Tensor::new("y", datatype, shape.to_vec(), Bytes::from(data)).unwrap()
}

fn compare(primary: &Tensor, shadow: &Tensor, tolerance: &Tolerance) -> OutputDifference {
    let (primary, shadow) = (response(vec![primary.clone()]), response(vec![shadow.clone()]));
    let mut comparison = compare_responses(&primary, &shadow, tolerance);
    assert!(comparison.missing.is_empty() && comparison.unexpected.is_empty());
    comparison.outputs.pop().unwrap().difference
}

fn values(primary: &Tensor, shadow: &Tensor, tolerance: &Tolerance) -> ValueDifferences {
    match compare(primary, shadow, tolerance) {
        OutputDifference::Values(values) => values,
        other => panic!("{other:?}"),
    }
}

fn doubles(shape: &[usize], values: &[f64]) -> Tensor {
    tensor(DataType::Fp64, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

fn integers(shape: &[usize], values: &[i64]) -> Tensor {
    tensor(DataType::Int64, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

/// Few numbers, so that equals are common, and those that make trouble.
fn number() -> impl Strategy<Value = f64> {
    let special = vec![0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN];
    prop_oneof![
        4 => (-3..4_i8).prop_map(f64::from),
        2 => -2.0..2.0_f64,
        2 => prop::sample::select(special),
    ]
}

fn pairs<T: Strategy>(
    number: impl Fn() -> T,
) -> impl Strategy<Value = (Vec<T::Value>, Vec<T::Value>)>
where
    T::Value: Clone,
{
    (0..20_usize).prop_flat_map(move |length| {
        (prop::collection::vec(number(), length), prop::collection::vec(number(), length))
    })
}

proptest! {
    #[test]
    fn as_many_floats_are_beyond_as_the_definition_says(
        (a, b) in pairs(number),
        absolute in prop::sample::select(vec![0.0, 0.5, 1.0]),
        relative in prop::sample::select(vec![0.0, 0.25, 1.0]),
        nan_agrees: bool,
    ) {
        let tolerance = Tolerance::new(absolute, relative).unwrap();
        let tolerance = if nan_agrees { tolerance } else { tolerance.without_nan() };
        let mut beyond = 0;
        let mut without_distance = 0;
        let mut max_absolute: f64 = 0.0;
        for (&a, &b) in a.iter().zip(&b) {
            // As NumPy's `isclose` is documented.
            let is_close = if a.is_nan() || b.is_nan() {
                nan_agrees && a.is_nan() && b.is_nan()
            } else if a.is_infinite() || b.is_infinite() {
                a == b
            } else {
                (b - a).abs() <= absolute + relative * a.abs()
            };
            beyond += u64::from(!is_close);
            let gap = (b - a).abs();
            without_distance += u64::from(!is_close && !gap.is_finite());
            if gap.is_finite() {
                max_absolute = max_absolute.max(gap);
            }
        }
        let found = values(&doubles(&[a.len()], &a), &doubles(&[b.len()], &b), &tolerance);
        prop_assert_eq!(found.elements, a.len() as u64);
        prop_assert_eq!(found.beyond, beyond);
        prop_assert_eq!(found.without_distance, without_distance);
        prop_assert_eq!(found.max_absolute, max_absolute);
        prop_assert!(found.max_relative.is_finite() && found.max_relative >= 0.0);
    }

    /// In whole numbers, from one end of the type to the other.
    #[test]
    fn as_many_integers_are_beyond_as_exact_arithmetic_says(
        (a, b) in pairs(|| prop_oneof![
            -3..4_i64,
            prop::sample::select(vec![i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX]),
        ]),
        absolute in 0..4_u32,
        relative in 0..3_u32,
    ) {
        let tolerance = Tolerance::new(f64::from(absolute), f64::from(relative)).unwrap();
        let beyond = a.iter().zip(&b).filter(|(a, b)| {
            let (a, b) = (i128::from(**a), i128::from(**b));
            (a - b).abs() > i128::from(absolute) + i128::from(relative) * a.abs()
        });
        let found = values(&integers(&[a.len()], &a), &integers(&[b.len()], &b), &tolerance);
        // Tolerances are floats: near the ends of the type only the difference itself is exact.
        if relative == 0 {
            prop_assert_eq!(found.beyond, beyond.count() as u64);
        } else {
            let small = |values: &[i64]| values.iter().all(|value| value.unsigned_abs() < 1 << 50);
            prop_assert!(!small(&a) || !small(&b) || found.beyond == beyond.count() as u64);
        }
    }

    #[test]
    fn an_answer_agrees_with_itself_exactly_whatever_its_type_and_bits(
        bytes in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        for datatype in DataType::ALL {
            let output = match datatype.size() {
                Some(size) => {
                    let length = bytes.len() / size;
                    tensor(datatype, &[length], bytes[..length * size].to_vec())
                }
                None => {
                    let mut data = Vec::new();
                    bytes.chunks(3).for_each(|element| push_bytes_element(&mut data, element));
                    tensor(datatype, &[bytes.chunks(3).len()], data)
                }
            };
            let same = response(vec![output]);
            prop_assert!(compare_responses(&same, &same, &Tolerance::EXACT).agrees());
        }
    }

    #[test]
    fn exactly_as_many_values_differ_as_are_not_the_same(
        (a, b) in pairs(|| any::<u8>().prop_map(|value| value % 4)),
    ) {
        let differ = a.iter().zip(&b).filter(|(a, b)| a != b).count() as u64;
        for datatype in [DataType::Uint8, DataType::Int8] {
            let (a, b) = (tensor(datatype, &[a.len()], a.clone()), tensor(datatype, &[b.len()], b.clone()));
            prop_assert_eq!(values(&a, &b, &Tolerance::EXACT).beyond, differ);
        }
    }

    /// Against sorting each row.
    #[test]
    fn rows_agree_in_as_many_answers_as_sorting_them_says(
        (rows, choices) in (0..5_usize, 2..5_usize),
        numbers in prop::collection::vec((number(), number()), 20),
    ) {
        let (a, b): (Vec<f64>, Vec<f64>) = numbers[..rows * choices].iter().copied().unzip();
        let first = |row: &[f64]| {
            let mut order: Vec<usize> = (0..row.len()).filter(|&at| !row[at].is_nan()).collect();
            order.sort_by(|&x, &y| row[y].partial_cmp(&row[x]).unwrap());
            order.first().copied()
        };
        let agreed = a.chunks(choices).zip(b.chunks(choices)).filter(|(a, b)| first(a) == first(b));
        let agreed = agreed.count() as u64;
        let shape = [rows, choices];
        let found = values(&doubles(&shape, &a), &doubles(&shape, &b), &Tolerance::EXACT);
        prop_assert_eq!(found.top_one, Some(TopOne { rows: rows as u64, agreed }));
    }
}

/// One value in every numeric type, by that type's own encoding.
#[test]
fn a_difference_is_found_in_every_numeric_type() {
    let pair = |datatype, a: &[u8], b: &[u8]| {
        (tensor(datatype, &[1], a.to_vec()), tensor(datatype, &[1], b.to_vec()))
    };
    macro_rules! of {
        ($datatype:ident, $type:ty) => {
            pair(DataType::$datatype, &(100 as $type).to_le_bytes(), &(103 as $type).to_le_bytes())
        };
    }
    let halves = (f16::from_f32(100.0).to_le_bytes(), f16::from_f32(103.0).to_le_bytes());
    let brains = (bf16::from_f32(100.0).to_le_bytes(), bf16::from_f32(103.0).to_le_bytes());
    for (a, b) in [
        of!(Uint8, u8),
        of!(Uint16, u16),
        of!(Uint32, u32),
        of!(Uint64, u64),
        of!(Int8, i8),
        of!(Int16, i16),
        of!(Int32, i32),
        of!(Int64, i64),
        of!(Fp32, f32),
        of!(Fp64, f64),
        pair(DataType::Fp16, &halves.0, &halves.1),
        pair(DataType::Bf16, &brains.0, &brains.1),
    ] {
        for (absolute, relative, beyond) in
            [(0.0, 0.0, 1), (2.9, 0.0, 1), (3.0, 0.0, 0), (0.0, 0.029, 1), (0.0, 0.031, 0)]
        {
            let found = values(&a, &b, &Tolerance::new(absolute, relative).unwrap());
            assert_eq!(found.beyond, beyond, "{}: {absolute}, {relative}", a.datatype());
            assert_eq!((found.max_absolute, found.max_relative), (3.0, 0.03));
        }
    }
}

#[test]
fn truths_and_bytes_agree_only_where_they_are_the_same_whatever_the_tolerance() {
    let loose = Tolerance::new(1e9, 1e9).unwrap();
    let truths = |data: &[u8]| tensor(DataType::Bool, &[3], data.to_vec());
    let found = values(&truths(&[0, 1, 1]), &truths(&[0, 0, 255]), &loose);
    assert_eq!((found.elements, found.beyond, found.without_distance), (3, 1, 1));

    let texts = |texts: &[&str]| {
        let mut data = Vec::new();
        texts.iter().for_each(|text| push_bytes_element(&mut data, text.as_bytes()));
        tensor(DataType::Bytes, &[texts.len()], data)
    };
    let found = values(&texts(&["seven", "", "x"]), &texts(&["seven", "x", ""]), &loose);
    assert_eq!((found.elements, found.beyond, found.top_one), (3, 2, None));
}

#[test]
fn the_ends_of_64_bits_are_a_whole_range_apart() {
    let found =
        values(&integers(&[1], &[i64::MIN]), &integers(&[1], &[i64::MAX]), &Tolerance::EXACT);
    assert_eq!((found.beyond, found.without_distance), (1, 0));
    assert_eq!(found.max_absolute, 2_f64.powi(64));
    // Floats cannot tell these two apart.
    let found =
        values(&integers(&[1], &[i64::MAX]), &integers(&[1], &[i64::MAX - 1]), &Tolerance::EXACT);
    assert_eq!((found.beyond, found.max_absolute), (1, 1.0));
}

#[test]
fn another_type_or_shape_is_told_instead_of_values() {
    let (a, b) = (doubles(&[2], &[1.0, 2.0]), integers(&[2], &[1, 2]));
    let (primary, shadow) = (DataType::Fp64, DataType::Int64);
    let expected = OutputDifference::DataType { primary, shadow };
    assert_eq!(compare(&a, &b, &Tolerance::default()), expected);
    let flat = doubles(&[2, 1], &[1.0, 2.0]);
    let expected = OutputDifference::Shape { primary: vec![2], shadow: vec![2, 1] };
    assert_eq!(compare(&a, &flat, &Tolerance::default()), expected);
}

#[test]
fn outputs_are_matched_by_name_and_told_when_only_one_side_has_them() {
    let named = |name: &str, value| Tensor::from_f32(name, vec![1], &[value]);
    let primary = response(vec![named("a", 1.0), named("b", 2.0), named("c", 3.0)]);
    let shadow = response(vec![named("d", 4.0), named("c", 3.0), named("a", 1.0)]);
    let comparison = compare_responses(&primary, &shadow, &Tolerance::EXACT);
    let names: Vec<_> = comparison.outputs.iter().map(|output| output.name.as_str()).collect();
    assert_eq!(names, ["a", "c"]);
    assert!(comparison.outputs.iter().all(OutputComparison::agrees));
    assert_eq!(comparison.missing, ["b"]);
    assert_eq!(comparison.unexpected, ["d"]);
    assert!(!comparison.agrees());

    let reordered = response(vec![named("c", 3.0), named("a", 1.0), named("b", 2.0)]);
    assert!(compare_responses(&primary, &reordered, &Tolerance::EXACT).agrees());
    let fewer = response(vec![named("a", 1.0)]);
    assert!(!compare_responses(&primary, &fewer, &Tolerance::EXACT).agrees());
    assert!(!compare_responses(&fewer, &primary, &Tolerance::EXACT).agrees());
}

#[test]
fn what_has_no_rows_to_choose_from_has_no_top_one() {
    for output in [
        doubles(&[], &[1.0]),
        doubles(&[3], &[1.0, 2.0, 3.0]),
        doubles(&[3, 1], &[1.0, 2.0, 3.0]),
        doubles(&[3, 0], &[]),
        tensor(DataType::Bool, &[1, 2], vec![0, 1]),
    ] {
        assert_eq!(values(&output, &output, &Tolerance::EXACT).top_one, None, "{output:?}");
    }
    let scores = tensor(DataType::Uint8, &[2, 2], vec![1, 2, 9, 2]);
    let others = tensor(DataType::Uint8, &[2, 2], vec![0, 9, 2, 9]);
    let found = values(&scores, &others, &Tolerance::EXACT);
    assert_eq!(found.top_one, Some(TopOne { rows: 2, agreed: 1 }));
}
