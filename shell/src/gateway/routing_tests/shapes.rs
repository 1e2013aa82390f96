//! Answers are held to what the endpoints tell of their model.

use super::scripted::{
    Scripted, answer, explained, health, metadata, output, over, rows, send, spec,
};
use super::*;
use crate::gateway::signature::Told;
use crate::gateway::versions::MOST_NAMED;
use crate::models::{DataType, TensorSpec};
use proptest::prelude::*;

/// It answers with `y` of this shape.
fn gives(endpoint: &Scripted, shape: &'static [usize]) {
    endpoint.does(move |version, request| Ok(answer(version, request, vec![output(shape)])));
}

#[tokio::test]
async fn an_answer_of_other_shapes_is_none_and_speaks_against_its_endpoint() {
    let two = [Scripted::new(), Scripted::new()];
    for (outputs, problem) in [
        (
            vec![output(&[1, 3])],
            "output 'y' as FP32 [1, 3], but FP32 [-1, 2] (-1: any) is expected",
        ),
        (vec![output(&[2])], "output 'y' as FP32 [2], but FP32 [-1, 2]"),
        (
            vec![Tensor::from_f32("z", vec![1, 2], &[0.0; 2])],
            "an output 'z', but the model's are 'y'",
        ),
        (vec![output(&[1, 2]), output(&[1, 2])], "output 'y' twice"),
        (vec![], "has no outputs"),
        (
            vec![Tensor::new("y", DataType::Int32, vec![1, 2], vec![0; 8].into()).unwrap()],
            "output 'y' as INT32 [1, 2], but FP32 [-1, 2]",
        ),
    ] {
        let gateway = over(&two, IN_TURN);
        gateway.probe().await;
        two[0].does(move |version, request| Ok(answer(version, request, outputs.clone())));
        let mut told = Vec::new();
        for _ in 0..30 {
            let (_, taken) = send(&gateway, None, rows(1)).await.unwrap();
            assert_eq!(taken.endpoint.as_deref(), Some("b"));
            told.extend(taken.failed);
        }
        assert!(told.iter().all(|(name, it)| name == "a" && it.contains(problem)), "{told:?}");
        assert!(!told.is_empty());
        assert_eq!(health(&gateway, None, "a"), "ejected");
    }
}

#[tokio::test]
async fn an_answer_has_as_many_rows_as_came_where_the_model_batches() {
    let endpoint = Scripted::new();
    gives(&endpoint, &[3, 2]);
    for (most, rows_sent, fits) in
        [(Some(8), 3, true), (Some(8), 2, false), (Some(0), 2, true), (None, 2, true)]
    {
        if let Some(most) = most {
            *lock(&endpoint.config) = Ok(json!({ "max_batch_size": most }));
        } else {
            *lock(&endpoint.config) = Err(status(404));
        }
        let gateway = over(&[Arc::clone(&endpoint)], DIGITS);
        gateway.probe().await;
        let result = send(&gateway, None, rows(rows_sent)).await;
        assert_eq!(result.is_ok(), fits, "{most:?} {result:?}");
        if let Err(error) = result {
            let error = error.to_string();
            assert!(error.contains("FP32 [3, 2], but FP32 [2, 2]"), "{error}");
        }
    }
}

#[tokio::test]
async fn whether_a_model_batches_is_asked_until_it_is_known_and_again_after_an_answer_that_does_not_fit()
 {
    for version in [None, Some("1")] {
        let endpoint = Scripted::new();
        let says = |config| *lock(&endpoint.config) = config;
        gives(&endpoint, &[3, 2]);
        says(Err(status(500)));
        let gateway = over(&[Arc::clone(&endpoint)], DIGITS);
        send(&gateway, version, rows(2)).await.unwrap();
        gateway.probe().await;
        send(&gateway, version, rows(2)).await.unwrap();
        says(Ok(json!({ "max_batch_size": 8 })));
        gateway.probe().await;
        assert!(send(&gateway, version, rows(2)).await.is_err());
        // It does not, and now says so.
        says(Ok(json!({ "max_batch_size": 0 })));
        gateway.probe().await;
        send(&gateway, version, rows(2)).await.unwrap();
        let read = lock(&endpoint.asked_about).iter().filter(|(what, _)| *what == "config").count();
        for _ in 0..31 {
            gateway.probe().await;
        }
        let now = lock(&endpoint.asked_about).iter().filter(|(what, _)| *what == "config").count();
        assert_eq!(now, read, "and then it is known");
    }
}

#[tokio::test]
async fn each_version_is_held_to_its_own_outputs() {
    let endpoint = Scripted::new();
    let gateway = over(&[Arc::clone(&endpoint)], DIGITS);
    gateway.probe().await;
    // Version 2 gives what it likes until it was asked, and then what it told.
    gives(&endpoint, &[1, 5]);
    send(&gateway, Some("2"), rows(1)).await.unwrap();
    assert!(send(&gateway, None, rows(1)).await.is_err());
    *lock(&endpoint.metadata) = Ok(metadata("2", &[spec("y", &[-1, 5])]));
    gateway.probe().await;
    send(&gateway, Some("2"), rows(1)).await.unwrap();
    gives(&endpoint, &[1, 2]);
    assert!(send(&gateway, Some("2"), rows(1)).await.is_err());
}

#[tokio::test]
async fn a_newer_version_is_not_held_to_the_one_before_and_is_asked_for() {
    let endpoint = Scripted::new();
    let gateway = over(&[Arc::clone(&endpoint)], DIGITS);
    gateway.probe().await;
    let newer = |shape: &'static [usize]| {
        move |_: Option<&str>, request: &InferRequest| {
            Ok(answer(Some("2"), request, vec![output(shape)]))
        }
    };
    endpoint.does(newer(&[1, 7]));
    *lock(&endpoint.metadata) = Ok(metadata("2", &[spec("y", &[-1, 7])]));
    send(&gateway, None, rows(1)).await.unwrap();
    gateway.probe().await;
    send(&gateway, None, rows(1)).await.unwrap();
    endpoint.does(newer(&[1, 2]));
    assert!(send(&gateway, None, rows(1)).await.is_err(), "now that is known");
}

#[tokio::test]
async fn a_model_that_was_replaced_under_its_number_is_known_with_the_next_probe() {
    let endpoint = Scripted::new();
    let gateway = over(&[Arc::clone(&endpoint)], DIGITS);
    gateway.probe().await;
    gives(&endpoint, &[1, 4]);
    *lock(&endpoint.metadata) = Ok(metadata("1", &[spec("y", &[-1, 4])]));
    assert!(send(&gateway, None, rows(1)).await.is_err());
    gateway.probe().await;
    send(&gateway, None, rows(1)).await.unwrap();
}

#[tokio::test]
async fn whoever_was_away_is_held_to_nothing_until_it_tells() {
    let endpoint = Scripted::new();
    let gateway = over(&[Arc::clone(&endpoint)], DIGITS);
    gateway.probe().await;
    gives(&endpoint, &[1, 4]);
    endpoint.is_ready.store(false, Ordering::Relaxed);
    for _ in 0..3 {
        gateway.probe().await;
    }
    send(&gateway, None, rows(1)).await.unwrap();
}

#[tokio::test]
async fn whoever_tells_nothing_is_held_to_what_the_others_agree_on() {
    let endpoints = [Scripted::new(), Scripted::new(), Scripted::new()];
    *lock(&endpoints[0].metadata) = Err(status(501));
    gives(&endpoints[0], &[1, 4]);
    let gateway = over(&endpoints, IN_TURN);
    gateway.probe().await;
    for _ in 0..30 {
        let (_, taken) = send(&gateway, None, rows(1)).await.unwrap();
        assert_ne!(taken.endpoint.as_deref(), Some("a"));
    }
    // Where nobody tells, everything goes, and so it does where outputs are left out.
    for told in [Err(status(501)), Ok(metadata("1", &[]))] {
        for endpoint in &endpoints {
            *lock(&endpoint.metadata) = told.clone();
        }
        let gateway = over(&endpoints[..1], IN_TURN);
        gateway.probe().await;
        send(&gateway, None, rows(1)).await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_fits_where_one_of_those_fits_that_it_may_be_of() {
    let endpoints = [Scripted::new(), Scripted::new(), Scripted::new()];
    let unnamed = ModelMetadata { versions: vec![], ..metadata("1", &[spec("y", &[-1, 2])]) };
    let told = [Err(status(501)), Ok(unnamed), Ok(metadata("1", &[spec("y", &[-1, 5])]))];
    for (endpoint, told) in endpoints.iter().zip(told) {
        *lock(&endpoint.metadata) = told;
    }
    let rule = "rules = [{ header = \"x-a\", endpoint = \"a\" }]\n";
    let gateway = over(&endpoints, &(IN_TURN.to_owned() + rule));
    let hints = Hints { headers: vec![("x-a".into(), "yes".into())] };
    gateway.probe().await;
    for (shape, fits) in [(&[1, 2], true), (&[1, 5], true), (&[1, 4], false)] {
        gives(&endpoints[0], shape);
        let result = gateway.infer("digits", None, rows(1), &hints).await;
        assert_eq!(result.is_ok(), fits, "{shape:?} {result:?}");
    }
}

#[tokio::test]
async fn a_version_that_has_no_place_of_its_own_is_not_held_to_what_another_gives() {
    let endpoint = Scripted::new();
    let gateway = over(&[Arc::clone(&endpoint)], DIGITS);
    for number in 0..MOST_NAMED {
        send(&gateway, Some(&format!("{number}")), rows(1)).await.unwrap();
    }
    for versions in [vec![], vec!["1".to_owned()]] {
        let told = ModelMetadata { versions, ..metadata("1", &[spec("y", &[-1, 2])]) };
        *lock(&endpoint.metadata) = Ok(told);
        gateway.probe().await;
        gives(&endpoint, &[1, 4]);
        for _ in 0..2 {
            send(&gateway, Some("new"), rows(1)).await.unwrap();
        }
        // Nor where it does not say which it is of.
        endpoint.does(|_, request| Ok(answer(Some(""), request, vec![output(&[1, 4])])));
        send(&gateway, Some("new"), rows(1)).await.unwrap();
        assert!(send(&gateway, None, rows(1)).await.is_err());
    }
}

#[tokio::test]
async fn an_endpoint_is_odd_in_one_version_and_not_in_another() {
    let endpoints = [Scripted::new(), Scripted::new(), Scripted::new()];
    let gateway = over(&endpoints, IN_TURN);
    gateway.probe().await;
    // Version 2 is named for the first time, and is another model at b.
    for (endpoint, width) in endpoints.iter().zip([2, 9, 2]) {
        let other = metadata("2", &[spec("y", &[-1, width])]);
        lock(&endpoint.metadata_of).insert("2".into(), other);
    }
    send(&gateway, Some("2"), rows(1)).await.unwrap();
    gateway.probe().await;
    assert_eq!(explained(&gateway, Some("2"), "b").excluded, Some("zero_weight"));
    assert_eq!(explained(&gateway, None, "b").excluded, None);
}

#[tokio::test]
async fn whoever_leaves_out_its_tensors_is_not_odd_and_makes_nobody_so() {
    let endpoints = [Scripted::new(), Scripted::new(), Scripted::new()];
    let untold =
        |outputs: &[TensorSpec]| ModelMetadata { inputs: vec![], ..metadata("1", outputs) };
    for told in [metadata("1", &[]), untold(&[]), untold(&[spec("y", &[-1, 2])])] {
        *lock(&endpoints[0].metadata) = Ok(told.clone());
        for both in [&endpoints[..2], &endpoints[..]] {
            let gateway = over(both, IN_TURN);
            gateway.probe().await;
            for name in ["a", "b"] {
                assert_eq!(explained(&gateway, None, name).excluded, None, "{name} {told:?}");
            }
        }
    }
    // Who has told another model, and now tells nothing, is odd no longer.
    let gateway = over(&endpoints, IN_TURN);
    *lock(&endpoints[0].metadata) = Ok(metadata("1", &[spec("y", &[-1, 9])]));
    gateway.probe().await;
    assert_eq!(explained(&gateway, None, "a").excluded, Some("zero_weight"));
    *lock(&endpoints[0].metadata) = Ok(metadata("1", &[]));
    gateway.probe().await;
    assert_eq!(explained(&gateway, None, "a").excluded, None);
}

#[tokio::test]
async fn in_which_order_tensors_and_versions_are_told_says_nothing() {
    let of = |versions: [&str; 3], names: [&'static str; 2]| ModelMetadata {
        versions: versions.map(String::from).into(),
        inputs: names.map(|name| spec(name, &[-1, 3])).into(),
        ..metadata("1", &names.map(|name| spec(name, &[-1, 2])))
    };
    let all = [of(["9", "10", "2"], ["x", "y"]), of(["10", "2", "9"], ["y", "x"])];
    let endpoints = [Scripted::new(), Scripted::new()];
    for (endpoint, told) in endpoints.iter().zip(all.clone()) {
        *lock(&endpoint.metadata) = Ok(told);
    }
    let gateway = over(&endpoints, IN_TURN);
    gateway.probe().await;
    assert_eq!(explained(&gateway, None, "b").excluded, None);
    let [one, other] = all.map(|it| Told::new(it, false));
    assert_eq!(one, other);
    assert_eq!(one.signature.version.as_deref(), Some("10"), "the newest is asked unless named");
}

#[tokio::test]
async fn probes_ask_no_more_often_than_they_must() {
    let endpoint = Scripted::new();
    let gateway = over(&[Arc::clone(&endpoint)], DIGITS);
    send(&gateway, Some("1"), rows(1)).await.unwrap();
    for _ in 0..31 {
        gateway.probe().await;
    }
    let asked = |what: &str, version: Option<&str>| {
        let asked = lock(&endpoint.asked_about);
        asked.iter().filter(|(it, of)| *it == what && of.as_deref() == version).count()
    };
    assert_eq!(asked("metadata", None), 31, "whether it has the model");
    assert_eq!(asked("metadata", Some("1")), 4, "at first, and then with every tenth");
    assert_eq!((asked("config", None), asked("config", Some("1"))), (1, 1), "it is as it was");
}

fn asked_about(endpoint: &Scripted, is_meant: impl Fn(&str) -> bool) -> usize {
    let asked = lock(&endpoint.asked_about);
    let meant = |version: &Option<String>| version.as_deref().is_some_and(&is_meant);
    asked.iter().filter(|(what, version)| *what == "metadata" && meant(version)).count()
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_over_and_over_about_a_version_that_only_a_request_has_named() {
    // Triton says 400 of a version that it has not.
    for unknown in [404, 400] {
        let endpoint = Scripted::new();
        let gateway = over(&[Arc::clone(&endpoint)], DIGITS);
        *lock(&endpoint.metadata) = Err(status(unknown));
        send(&gateway, Some("9"), rows(1)).await.unwrap();
        for _ in 0..31 {
            gateway.probe().await;
        }
        assert_eq!(asked_about(&endpoint, |it| it == "9"), 4, "{unknown}");
        tokio::time::advance(Duration::from_secs(61)).await;
        for _ in 0..31 {
            gateway.probe().await;
        }
        assert_eq!(asked_about(&endpoint, |it| it == "9"), 4, "nobody wants it any more");
        send(&gateway, Some("9"), rows(1)).await.unwrap();
        for _ in 0..10 {
            gateway.probe().await;
        }
        assert_eq!(asked_about(&endpoint, |it| it == "9"), 5, "now somebody does again");
    }
}

#[tokio::test]
async fn one_probe_asks_about_so_many_versions_and_the_next_about_the_others() {
    let endpoints = [Scripted::new(), Scripted::new(), Scripted::new(), Scripted::new()];
    let models = IN_TURN.to_owned() + "[[models]]\nname = \"letters\"\n";
    let gateway = over(&endpoints, &models);
    let hints = Hints::default();
    for number in 0..MOST_NAMED {
        let version = format!("{number}");
        send(&gateway, Some(&version), rows(1)).await.unwrap();
        // It is answered for the other model, which is none of this test's business.
        let _ = gateway.infer("letters", Some(&version), rows(1), &hints).await;
    }
    let all = 2 * MOST_NAMED * endpoints.len();
    let asked = || endpoints.iter().map(|it| asked_about(it, |_| true)).sum::<usize>();
    gateway.probe().await;
    assert_eq!(asked(), all / 2);
    gateway.probe().await;
    assert_eq!(asked(), all, "none twice");
}

/// A dimension as a model says it: often open.
fn dimension() -> impl Strategy<Value = i64> {
    prop_oneof![Just(-1_i64), 0..3_i64]
}

fn any_type() -> impl Strategy<Value = DataType> {
    prop_oneof![3 => Just(DataType::Fp32), 1 => Just(DataType::Int32)]
}

fn any_spec() -> impl Strategy<Value = TensorSpec> {
    let shape = prop::collection::vec(dimension(), 0..3);
    (prop::sample::select(vec!["p", "q"]), any_type(), shape)
        .prop_map(|(name, datatype, shape)| TensorSpec { name: name.into(), datatype, shape })
}

fn any_output() -> impl Strategy<Value = Tensor> {
    let shape = prop::collection::vec(0..3_usize, 0..3);
    (prop::sample::select(vec!["p", "q", "r"]), any_type(), shape).prop_map(
        |(name, datatype, shape)| {
            // Both types take four bytes.
            let data = vec![0; shape.iter().product::<usize>() * 4];
            Tensor::new(name, datatype, shape, data.into()).unwrap()
        },
    )
}

/// The plain model: whether the answer is one that the specification allows, written as a search.
fn fits(specs: &[TensorSpec], rows: Option<usize>, outputs: &[Tensor]) -> bool {
    let may_be = |size: i64, place: usize| -> Vec<usize> {
        match (size, place, rows) {
            (-1, 0, Some(rows)) => vec![rows],
            (-1, ..) => (0..3).collect(),
            (size, ..) => vec![size as usize],
        }
    };
    let one = |output: &Tensor| {
        let spec = specs.iter().find(|spec| spec.name == output.name());
        spec.is_some_and(|spec| {
            let all = spec.shape.iter().zip(0..).map(|(&size, place)| may_be(size, place));
            let shapes = all.fold(vec![Vec::new()], |shapes, sizes| {
                let longer = |shape: &Vec<usize>| {
                    let shape = shape.clone();
                    sizes.iter().map(move |&size| [&shape[..], &[size]].concat())
                };
                shapes.iter().flat_map(longer).collect()
            });
            spec.datatype == output.datatype() && shapes.contains(&output.shape().to_vec())
        })
    };
    specs.is_empty() || (!outputs.is_empty() && outputs.iter().all(one))
}

proptest! {
    #[test]
    fn an_answer_fits_exactly_where_the_plain_model_says_so(
        specs in prop::collection::vec(any_spec(), 0..3),
        outputs in prop::collection::vec(any_output(), 0..3),
        batches: bool,
        (first, second) in (0..3_usize, 0..3_usize),
        opens in prop::collection::vec(any::<bool>(), 2),
    ) {
        // Inputs whose first dimension is open say how many rows came, if they agree.
        let input = |name: &str, open: bool| spec(name, &[if open { -1 } else { 1 }]);
        let inputs = vec![input("x", opens[0]), input("z", opens[1])];
        let metadata = ModelMetadata { inputs, ..metadata("1", &specs) };
        let sent = |name: &str, rows: usize| Tensor::from_f32(name, vec![rows], &vec![0.0; rows]);
        let request = InferRequest {
            inputs: vec![sent("x", first), sent("z", second)],
            ..InferRequest::default()
        };
        let open: Vec<usize> =
            [first, second].into_iter().zip(&opens).filter(|(_, open)| **open).map(|it| it.0).collect();
        let rows = match &open[..] {
            [rows] => Some(*rows),
            [one, other] if one == other => Some(*one),
            _ => None,
        };
        let expected = fits(&specs, rows.filter(|_| batches), &outputs);
        let told = Told::new(metadata, batches);
        let response = answer(None, &request, outputs);
        prop_assert_eq!(told.check(&request, &response).is_ok(), expected);
    }
}
