#![allow(clippy::unwrap_used)] // a test that panics has failed

use super::*;
use crate::contracts::{InferRequest, RequestedOutput};
use proptest::prelude::*;

const MODEL: &str = "digits";

fn request(content: u8) -> InferRequest {
    let input = Tensor::from_f32("image", vec![1], &[f32::from(content)]);
    InferRequest { inputs: vec![input], ..InferRequest::default() }
}

fn key(content: u8) -> AnswerKey {
    AnswerKey::of(MODEL, "1", &request(content))
}

fn response(values: &[f32]) -> InferResponse {
    InferResponse {
        model_name: MODEL.to_string(),
        model_version: "1".to_string(),
        id: String::new(),
        parameters: Default::default(),
        outputs: vec![Tensor::from_f32("label", vec![values.len()], values)],
    }
}

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

fn cache(config: AnswerCacheConfig) -> AnswerCache {
    AnswerCache::new(config).unwrap()
}

/// What one answer of a single value takes.
fn bytes_of_one() -> usize {
    let cache = cache(AnswerCacheConfig::default());
    cache.keep(key(0), &response(&[0.0]), at(0)).unwrap();
    cache.figures().bytes
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Keep { content: u8, value: i8 },
    Lookup { content: u8 },
    Pass { seconds: u64 },
    ForgetOld,
    ForgetModel,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => (0..6_u8, any::<i8>()).prop_map(|(content, value)| Step::Keep { content, value }),
        5 => (0..6_u8).prop_map(|content| Step::Lookup { content }),
        3 => (0..8_u64).prop_map(|seconds| Step::Pass { seconds }),
        1 => Just(Step::ForgetOld),
        1 => Just(Step::ForgetModel),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    /// A list of content, value and time, what was of use last at its end.
    #[test]
    fn a_cache_behaves_as_a_short_list_in_order_of_use(steps in steps(), places in 1..5_usize) {
        let config = AnswerCacheConfig {
            max_bytes: places * bytes_of_one(),
            max_answer_bytes: bytes_of_one(),
            fresh_for: Duration::from_secs(4),
            max_age: Duration::from_secs(10),
            ..AnswerCacheConfig::default()
        };
        let cache = cache(config);
        let mut list: Vec<(u8, i8, u64)> = Vec::new();
        let mut now = 0;
        for step in steps {
            match step {
                Step::Keep { content, value } => {
                    list.retain(|(kept, ..)| *kept != content);
                    list.push((content, value, now));
                    if list.len() > places {
                        list.remove(0);
                    }
                    let kept = cache.keep(key(content), &response(&[f32::from(value)]), at(now));
                    prop_assert_eq!(kept, Ok(()));
                }
                Step::Lookup { content } => {
                    let found = cache.lookup(&key(content), at(now));
                    let place = list.iter().position(|(kept, ..)| *kept == content);
                    let expected = place.map(|place| list.remove(place));
                    let expected = expected.filter(|(.., kept_at)| now - kept_at <= 10);
                    list.extend(expected);
                    let found = found.map(|cached| {
                        (cached.answer.outputs[0].to_f32().unwrap()[0], cached.age, cached.freshness)
                    });
                    prop_assert_eq!(found, expected.map(|(_, value, kept_at)| {
                        let age = now - kept_at;
                        let freshness = if age <= 4 { Freshness::Fresh } else { Freshness::Stale };
                        (f32::from(value), Duration::from_secs(age), freshness)
                    }));
                }
                Step::Pass { seconds } => now += seconds,
                Step::ForgetOld => {
                    list.retain(|(.., kept_at)| now - kept_at <= 10);
                    cache.forget_old(at(now));
                }
                Step::ForgetModel => {
                    list.clear();
                    cache.forget_model(MODEL, None);
                }
            }
            let figures = cache.figures();
            prop_assert_eq!(figures.answers, list.len());
            prop_assert_eq!(figures.bytes, list.len() * bytes_of_one());
            prop_assert!(figures.bytes <= config.max_bytes);
        }
    }

    /// With answers of any size, what can be looked up never holds more than the bound.
    #[test]
    fn tensors_that_are_kept_never_take_more_than_the_bound(
        answers in prop::collection::vec((0..8_u8, 0..600_usize), 1..40),
        max_bytes in 0..8_000_usize,
        share in 1..4_usize,
    ) {
        let max_answer_bytes = max_bytes / share;
        let config = AnswerCacheConfig { max_bytes, max_answer_bytes, ..Default::default() };
        let cache = cache(config);
        let mut last = std::collections::BTreeMap::new();
        for (content, length) in answers {
            let data = length * size_of::<f32>();
            match cache.keep(key(content), &response(&vec![1.0; length]), at(0)) {
                Ok(()) => {
                    prop_assert!(data <= max_answer_bytes);
                    last.insert(content, length);
                }
                Err(refused) => prop_assert!(
                    matches!(refused, NotKept::TooLarge { bytes, most }
                        if bytes > most && bytes >= data && most == max_answer_bytes),
                    "{}", refused
                ),
            }
            let mut held = 0;
            for content in 0..8 {
                if let Some(cached) = cache.lookup(&key(content), at(0)) {
                    let values = cached.answer.outputs[0].to_f32().unwrap();
                    prop_assert_eq!(Some(&values.len()), last.get(&content), "what was kept last");
                    held += values.len() * size_of::<f32>();
                }
            }
            let bytes = cache.figures().bytes;
            prop_assert!(held <= bytes && bytes <= max_bytes);
        }
    }
}

#[test]
fn an_answer_is_given_up_to_its_last_moment_and_not_after() {
    let config = AnswerCacheConfig {
        fresh_for: Duration::from_nanos(5),
        max_age: Duration::from_nanos(9),
        ..AnswerCacheConfig::default()
    };
    let cache = cache(config);
    let kept_at = Instant::from_nanos(100);
    cache.keep(key(0), &response(&[1.0]), kept_at).unwrap();
    for (nanos, freshness) in [
        (0, Some(Freshness::Fresh)),
        (105, Some(Freshness::Fresh)),
        (106, Some(Freshness::Stale)),
        (109, Some(Freshness::Stale)),
        (110, None),
    ] {
        let found = cache.lookup(&key(0), Instant::from_nanos(nanos));
        assert_eq!(found.map(|cached| cached.freshness), freshness, "{nanos}");
    }
    let figures = cache.figures();
    assert_eq!((figures.fresh, figures.stale, figures.missed, figures.expired), (2, 2, 1, 1));
    assert_eq!((figures.answers, figures.bytes), (0, 0));
}

#[test]
fn poisoned_answers_are_refused_and_the_good_one_before_stays() {
    let cache = cache(AnswerCacheConfig::default());
    cache.keep(key(0), &response(&[7.0]), at(0)).unwrap();
    let of = |datatype, data: &[u8], elements| {
        let data = Bytes::copy_from_slice(data);
        let mut poisoned = response(&[1.0]);
        poisoned.outputs.push(Tensor::new("scores", datatype, vec![elements], data).unwrap());
        poisoned
    };
    let not_finite = NotKept::NotFinite { output: "scores".to_string() };
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let half = f16::from_f64(value).to_le_bytes();
        let brain = bf16::from_f64(value).to_le_bytes();
        let single = (value as f32).to_le_bytes();
        let last: Vec<u8> = [1_f64.to_le_bytes(), value.to_le_bytes()].concat();
        for poisoned in [
            of(DataType::Fp16, &half, 1),
            of(DataType::Bf16, &brain, 1),
            of(DataType::Fp32, &single, 1),
            of(DataType::Fp64, &last, 2),
        ] {
            assert_eq!(cache.keep(key(0), &poisoned, at(1)), Err(not_finite.clone()));
        }
    }
    let kept = cache.lookup(&key(0), at(1)).unwrap();
    assert_eq!(*kept.answer, response(&[7.0]));
    assert_eq!((cache.figures().kept, cache.figures().refused), (1, 12));
    // Integers of the same bits are no poison.
    let bits = f64::NAN.to_le_bytes();
    assert_eq!(cache.keep(key(1), &of(DataType::Int64, &bits, 1), at(1)), Ok(()));
}

#[test]
fn non_finite_answers_are_kept_where_they_are_said_to_be_right() {
    let cache = cache(AnswerCacheConfig { keep_non_finite: true, ..Default::default() });
    let masked = response(&[f32::NEG_INFINITY]);
    cache.keep(key(0), &masked, at(0)).unwrap();
    assert_eq!(*cache.lookup(&key(0), at(0)).unwrap().answer, masked);
}

#[test]
fn an_answer_from_a_cache_is_marked_and_not_kept_again() {
    let cache = cache(AnswerCacheConfig::default());
    cache.keep(key(0), &response(&[7.0]), at(0)).unwrap();
    for (seconds, word, millis) in [(1, "fresh", 1_000), (60, "stale", 60_000)] {
        let marked = cache.lookup(&key(0), at(seconds)).unwrap().marked("mine");
        assert_eq!(marked.id, "mine");
        assert_eq!(marked.parameters[CACHED_PARAMETER], word);
        assert_eq!(marked.parameters[CACHED_AGE_PARAMETER], millis);
        assert_eq!(marked.outputs, response(&[7.0]).outputs);
        assert_eq!(cache.keep(key(0), &marked, at(seconds)), Err(NotKept::FromCache));
    }
}

#[test]
fn an_answer_of_something_else_or_of_nothing_is_refused() {
    let cache = cache(AnswerCacheConfig::default());
    for (model, version) in [("letters", "1"), (MODEL, "2")] {
        let (model, version) = (model.to_string(), version.to_string());
        let other = InferResponse {
            model_name: model.clone(),
            model_version: version.clone(),
            ..response(&[1.0])
        };
        let refused = Err(NotKept::OtherModel { model, version });
        assert_eq!(cache.keep(key(0), &other, at(0)), refused);
    }
    let empty = InferResponse { outputs: vec![], ..response(&[]) };
    assert_eq!(cache.keep(key(0), &empty, at(0)), Err(NotKept::Empty));
    assert_eq!(cache.figures().answers, 0);
}

#[test]
fn a_kept_answer_holds_none_of_the_batch_that_it_was_a_slice_of() {
    let cache = cache(AnswerCacheConfig::default());
    let batch = Bytes::from(vec![0_u8; 1 << 16]);
    let slice = batch.slice(8..16);
    let mut answer = response(&[1.0]);
    answer.outputs = vec![Tensor::new("label", DataType::Int64, vec![1], slice).unwrap()];
    cache.keep(key(0), &answer, at(0)).unwrap();
    drop(answer);
    assert!(batch.is_unique(), "nobody else has it in memory");
}

#[test]
fn forgetting_a_version_leaves_the_others() {
    let cache = cache(AnswerCacheConfig::default());
    let of = |model: &str, version: &str| {
        let key = AnswerKey::of(model, version, &request(0));
        let (model_name, model_version) = (model.to_string(), version.to_string());
        cache
            .keep(
                key.clone(),
                &InferResponse { model_name, model_version, ..response(&[1.0]) },
                at(0),
            )
            .unwrap();
        key
    };
    let (a1, a2, b1) = (of("a", "1"), of("a", "2"), of("b", "1"));
    let is_there = |key| cache.lookup(key, at(0)).is_some();
    cache.forget_model("a", Some("1"));
    assert_eq!((is_there(&a1), is_there(&a2), is_there(&b1)), (false, true, true));
    cache.forget_model("a", None);
    assert_eq!((is_there(&a2), is_there(&b1)), (false, true));
}

#[test]
fn bounds_that_are_at_odds_are_refused() {
    let (fresh_for, max_age) = (Duration::from_secs(2), Duration::from_secs(1));
    let error = AnswerCache::new(AnswerCacheConfig { fresh_for, max_age, ..Default::default() });
    assert_eq!(error.unwrap_err(), AnswerCacheError::FreshAfterMaxAge { fresh_for, max_age });
    let (max_bytes, max_answer_bytes) = (10, 11);
    let error =
        AnswerCache::new(AnswerCacheConfig { max_bytes, max_answer_bytes, ..Default::default() });
    assert_eq!(
        error.unwrap_err(),
        AnswerCacheError::AnswerAboveAll { max_answer_bytes, max_bytes }
    );
}

#[test]
fn a_cache_of_no_bytes_keeps_nothing() {
    let cache =
        cache(AnswerCacheConfig { max_bytes: 0, max_answer_bytes: 0, ..Default::default() });
    let refused = cache.keep(key(0), &response(&[1.0]), at(0));
    assert!(matches!(refused, Err(NotKept::TooLarge { most: 0, .. })));
    assert!(cache.lookup(&key(0), at(0)).is_none());
}

#[test]
fn whatever_the_answer_may_depend_on_makes_another_key() {
    let tensor = |name: &str, datatype, shape: &[usize], data: &[u8]| {
        Tensor::new(name, datatype, shape.to_vec(), Bytes::copy_from_slice(data)).unwrap()
    };
    let inputs = |inputs: &[Tensor]| InferRequest { inputs: inputs.to_vec(), ..Default::default() };
    let outputs = |names: &[&str]| InferRequest {
        outputs: names
            .iter()
            .map(|name| RequestedOutput { name: name.to_string(), binary: false })
            .collect(),
        ..Default::default()
    };
    let parameter = |name: &str, value: serde_json::Value| InferRequest {
        parameters: [(name.to_string(), value)].into_iter().collect(),
        ..Default::default()
    };
    let i8 = DataType::Int8;
    let requests = [
        inputs(&[]),
        inputs(&[tensor("a", i8, &[2], &[1, 2])]),
        inputs(&[tensor("a", i8, &[2], &[1, 3])]),
        inputs(&[tensor("a", i8, &[2, 1], &[1, 2])]),
        inputs(&[tensor("a", i8, &[1, 2], &[1, 2])]),
        inputs(&[tensor("a", DataType::Uint8, &[2], &[1, 2])]),
        inputs(&[tensor("b", i8, &[2], &[1, 2])]),
        // The same bytes in a row, divided otherwise.
        inputs(&[tensor("a", i8, &[1], &[1]), tensor("b", i8, &[1], &[2])]),
        inputs(&[tensor("ab", i8, &[1], &[1]), tensor("b", i8, &[1], &[2])]),
        inputs(&[tensor("a", i8, &[0], &[]), tensor("b", i8, &[2], &[1, 2])]),
        outputs(&["a"]),
        outputs(&["a", "b"]),
        outputs(&["b", "a"]),
        outputs(&["ab"]),
        outputs(&["ab", ""]),
        outputs(&["", "ab"]),
        parameter("a", 1.into()),
        parameter("a", 11.into()),
        parameter("a1", 1.into()),
        parameter("a", "1".into()),
        parameter("a", true.into()),
        parameter("b", 1.into()),
        parameter("a", 1.5.into()),
    ];
    let mut keys: Vec<_> =
        requests.iter().map(|request| AnswerKey::of(MODEL, "1", request)).collect();
    keys.push(AnswerKey::of(MODEL, "2", &requests[0]));
    keys.push(AnswerKey::of("letters", "1", &requests[0]));
    let distinct: std::collections::HashSet<_> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len());
}

#[test]
fn whatever_the_answer_does_not_depend_on_makes_the_same_key() {
    let a = Tensor::from_f32("a", vec![1], &[1.0]);
    let b = Tensor::from_f32("b", vec![1], &[2.0]);
    let parameters = |priority: u8| {
        [
            ("priority", priority.into()),
            ("timeout", (1000 * u32::from(priority)).into()),
            ("beam", 4.into()),
        ]
        .into_iter()
        .map(|(name, value): (&str, serde_json::Value)| (name.to_string(), value))
        .collect()
    };
    let first = InferRequest {
        id: "first".to_string(),
        parameters: parameters(1),
        inputs: vec![a.clone(), b.clone()],
        outputs: vec![RequestedOutput { name: "x".to_string(), binary: false }],
        binary_outputs: false,
    };
    let second = InferRequest {
        id: "second".to_string(),
        parameters: parameters(7),
        inputs: vec![b, a],
        outputs: vec![RequestedOutput { name: "x".to_string(), binary: true }],
        binary_outputs: true,
    };
    assert_eq!(AnswerKey::of(MODEL, "1", &first), AnswerKey::of(MODEL, "1", &second));
}

#[test]
fn threads_that_keep_and_ask_at_once_get_whole_answers_within_the_bound() {
    let max_bytes = 3 * bytes_of_one();
    let cache =
        cache(AnswerCacheConfig { max_bytes, max_answer_bytes: max_bytes, ..Default::default() });
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let cache = &cache;
            scope.spawn(move || {
                for round in 0..200_u8 {
                    let content = round.wrapping_mul(thread + 1) % 8;
                    cache.keep(key(content), &response(&[f32::from(content)]), at(0)).unwrap();
                    if let Some(cached) = cache.lookup(&key(content), at(0)) {
                        assert_eq!(*cached.answer, response(&[f32::from(content)]));
                    }
                    assert!(cache.figures().bytes <= max_bytes);
                }
            });
        }
    });
    let figures = cache.figures();
    assert_eq!(figures.kept, 800);
    assert!(figures.answers <= 3);
}
