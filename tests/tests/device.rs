//! The CPU executors: one suite over each runtime, then what holds between them.
//!
//! ONNX Runtime's library may be missing on a machine; its suite then says so and passes, unless
//! `TENSORFORGE_REQUIRE_ONNXRUNTIME=1` makes it fail.

use bytes::Bytes;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};
use tensorforge::device::cpu::{self, Backend, CpuOptions};
use tensorforge::device::{ExecuteError, Executor, LoadError};
use tensorforge::models::{DataType, Tensor, TensorSpec, push_bytes_element};
use tensorforge_tests::onnx::{self, BATCH, Dim, Graph, ModelFile};

fn options(backend: Backend) -> CpuOptions {
    CpuOptions { backend, batch_sizes: vec![1, 4, 8], ..CpuOptions::default() }
}

/// Whether `backend` is on this machine; when not, says so where `cargo test` does not hide it.
fn available(backend: Backend) -> bool {
    static TOLD: Once = Once::new();

    if backend == Backend::Tract {
        return true;
    }
    let Err(missing) = cpu::onnxruntime::find(None) else { return true };
    let required = std::env::var("TENSORFORGE_REQUIRE_ONNXRUNTIME").is_ok_and(|value| value == "1");
    assert!(!required, "ONNX Runtime is required here, but {missing}");
    TOLD.call_once(|| {
        let text = format!("\nSKIPPED: every test of ONNX Runtime, for {missing}\n\n");
        // Not `eprintln!`, which is captured. A closed stderr cannot be told anything.
        let _ = std::io::stderr().write_all(text.as_bytes());
    });
    false
}

fn load(backend: Backend, model: &[u8]) -> Result<Arc<dyn Executor>, LoadError> {
    cpu::load(ModelFile::new(model).path(), &options(backend))
}

fn run(executor: &dyn Executor, inputs: &[Tensor]) -> Vec<Tensor> {
    executor.execute(inputs).expect("the model runs")
}

/// Rows of three features, different for each `seed`.
fn features(rows: usize, seed: usize) -> Vec<f32> {
    (0..rows * 3).map(|i| (((i + seed * 31) * 17 % 23) as f32 - 11.0) / 7.0).collect()
}

fn close(left: &[f32], right: &[f32]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(l, r)| (l - r).abs() <= 1e-5)
}

/// Six elements of a type, the odd ones among them.
fn elements(datatype: DataType) -> Bytes {
    let data: Vec<u8> = match datatype {
        DataType::Bool => vec![0, 1, 1, 0, 0, 1],
        DataType::Fp16 => [0u16, 0x8000, 0x7e01, 0x7c00, 0x0001, 0x3c01]
            .iter()
            .flat_map(|bits| bits.to_le_bytes())
            .collect(),
        DataType::Bf16 => [0u16, 0x8000, 0x7fc1, 0xff80, 0x0001, 0x3f81]
            .iter()
            .flat_map(|bits| bits.to_le_bytes())
            .collect(),
        DataType::Fp32 => [0.0, -0.0, f32::from_bits(0x7fc0_0123), f32::INFINITY, 1e-45, f32::MAX]
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
        DataType::Fp64 => [0.0, -0.0, f64::from_bits(0x7ff8_0000_0000_0123), 5e-324, 0.1, f64::MIN]
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
        DataType::Bytes => {
            let mut data = Vec::new();
            for element in ["", "a", "Grüße", "日本", "a\nb", "long enough to leave the stack"]
            {
                push_bytes_element(&mut data, element.as_bytes());
            }
            data
        }
        integer => {
            let size = integer.size().expect("integers have a size");
            (0..6 * size).map(|i| [0, 0xff, 0x80, 0x7f, 1][i * 3 % 5]).collect()
        }
    };
    data.into()
}

fn index(values: &[i64]) -> Tensor {
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let shape = vec![values.len(), 1];
    Tensor::new("index", DataType::Int64, shape, data.into()).expect("as many as the shape has")
}

macro_rules! suite {
    ($runtime:ident, $backend:expr) => {
        mod $runtime {
            use super::*;

            const NAME: &str = stringify!($runtime);

            #[test]
            fn batched_rows_equal_single_rows() {
                if !available($backend) {
                    return;
                }
                let executor = load($backend, &onnx::classifier()).unwrap();
                assert!(executor.io().batches);
                assert_eq!(executor.backend(), NAME);
                for rows in [1, 2, 4, 5, 8, 11] {
                    let batch = features(rows, rows);
                    let padded = executor.padded_rows(rows);
                    assert!(padded >= rows);
                    let mut values = batch.clone();
                    values.resize(padded * 3, 0.0);
                    let together = Tensor::from_f32("x", vec![padded, 3], &values);
                    let together = run(&*executor, &[together]);
                    assert_eq!(together[0].shape(), [padded, 2]);
                    let together = together[0].to_f32().unwrap();
                    for (row, values) in batch.chunks(3).enumerate() {
                        let alone = run(&*executor, &[Tensor::from_f32("x", vec![1, 3], values)]);
                        let alone = alone[0].to_f32().unwrap();
                        let got = &together[row * 2..row * 2 + 2];
                        assert!(close(got, &alone), "row {row} of {rows}: {got:?}, {alone:?}");
                    }
                }
            }

            #[test]
            fn what_a_batch_is_padded_with_does_not_reach_its_rows() {
                if !available($backend) {
                    return;
                }
                let executor = load($backend, &onnx::classifier()).unwrap();
                let padded = executor.padded_rows(3).max(4);
                let [zeros, nans] = [0.0, f32::NAN].map(|padding| {
                    let mut values = features(3, 7);
                    values.resize(padded * 3, padding);
                    let batch = Tensor::from_f32("x", vec![padded, 3], &values);
                    let scores = run(&*executor, &[batch])[0].to_f32().unwrap();
                    assert!(scores[..6].iter().all(|score| score.is_finite()));
                    scores[..6].to_vec()
                });
                assert_eq!(zeros, nans);
            }

            #[test]
            fn every_type_goes_through_bit_for_bit() {
                if !available($backend) {
                    return;
                }
                for datatype in DataType::ALL {
                    let dims = [BATCH, Dim::Size(3)];
                    let executor = match load($backend, &onnx::identity(datatype, &dims)) {
                        Ok(executor) => executor,
                        Err(LoadError::Invalid { backend: "tract", message, .. })
                            if datatype == DataType::Bf16 =>
                        {
                            assert!(message.contains("'x'"), "{message}");
                            assert!(message.contains("Bfloat16"), "{message}");
                            continue;
                        }
                        Err(error) => panic!("{datatype}: {error}"),
                    };
                    let shape = vec![-1, 3];
                    let declared = TensorSpec { name: "x".into(), datatype, shape };
                    assert_eq!(executor.io().inputs, [declared]);
                    let x = Tensor::new("x", datatype, vec![2, 3], elements(datatype)).unwrap();
                    let y = run(&*executor, std::slice::from_ref(&x));
                    assert_eq!(y.len(), 1);
                    assert_eq!(y[0].name(), "y");
                    assert_eq!(y[0].datatype(), datatype);
                    assert_eq!(y[0].shape(), [2, 3]);
                    assert_eq!(y[0].data(), x.data(), "{datatype}");
                }
            }

            #[test]
            fn any_byte_but_zero_is_true() {
                if !available($backend) {
                    return;
                }
                let executor = load($backend, &onnx::identity(DataType::Bool, &[BATCH])).unwrap();
                let data = Bytes::from_static(&[0, 2, 255, 1]);
                let x = Tensor::new("x", DataType::Bool, vec![4], data).unwrap();
                assert_eq!(run(&*executor, &[x])[0].data().as_ref(), [0, 1, 1, 1]);
            }

            #[test]
            fn a_batch_without_rows_does_no_harm() {
                if !available($backend) {
                    return;
                }
                let executor = load($backend, &onnx::classifier()).unwrap();
                match executor.execute(&[Tensor::from_f32("x", vec![0, 3], &[])]) {
                    Ok(outputs) => assert_eq!(outputs[0].shape(), [0, 2]),
                    Err(error) => assert!(matches!(error, ExecuteError::Failed { .. }), "{error}"),
                }
                run(&*executor, &[Tensor::from_f32("x", vec![1, 3], &features(1, 1))]);
            }

            #[test]
            fn inputs_are_told_apart_by_their_order() {
                if !available($backend) {
                    return;
                }
                let dims = [BATCH, Dim::Size(2)];
                let model = Graph::new()
                    .input("a", DataType::Fp32, &dims)
                    .input("b", DataType::Fp32, &dims)
                    .output("minus", DataType::Fp32, &dims)
                    .output("plus", DataType::Fp32, &dims)
                    .node("Add", &["a", "b"], &["plus"])
                    .node("Sub", &["a", "b"], &["minus"])
                    .to_bytes();
                let executor = load($backend, &model).unwrap();
                let a = Tensor::from_f32("a", vec![1, 2], &[5.0, 7.0]);
                let b = Tensor::from_f32("b", vec![1, 2], &[1.0, 10.0]);
                let outputs = run(&*executor, &[a, b]);
                assert_eq!(outputs[0].name(), "minus");
                assert_eq!(outputs[0].to_f32().unwrap(), [4.0, -3.0]);
                assert_eq!(outputs[1].name(), "plus");
                assert_eq!(outputs[1].to_f32().unwrap(), [6.0, 17.0]);
            }

            #[test]
            fn a_fixed_batch_runs_as_it_is() {
                if !available($backend) {
                    return;
                }
                let dims = [Dim::Size(2), Dim::Size(2)];
                let executor = load($backend, &onnx::add(DataType::Fp32, &dims)).unwrap();
                assert!(!executor.io().batches);
                assert_eq!(executor.padded_rows(2), 2);
                let [a, b] = ["a", "b"].map(|name| Tensor::from_f32(name, vec![2, 2], &[1.0; 4]));
                assert_eq!(run(&*executor, &[a, b])[0].to_f32().unwrap(), [2.0; 4]);
            }

            #[test]
            fn other_free_dimensions_take_any_number_of_sizes() {
                if !available($backend) {
                    return;
                }
                let dims = [BATCH, Dim::Any("M")];
                let executor = load($backend, &onnx::add(DataType::Fp32, &dims)).unwrap();
                assert!(executor.io().batches);
                assert_eq!(executor.io().inputs[0].shape, [-1, -1]);
                // More sizes than any cache of plans keeps, then the first again.
                for width in (1..=20).chain([1]) {
                    let values = vec![width as f32; 4 * width];
                    let [a, b] =
                        ["a", "b"].map(|name| Tensor::from_f32(name, vec![4, width], &values));
                    let sum = run(&*executor, &[a, b])[0].to_f32().unwrap();
                    assert_eq!(sum, vec![2.0 * width as f32; 4 * width]);
                }
            }

            #[test]
            fn calls_at_once_get_their_own_answers() {
                if !available($backend) {
                    return;
                }
                let file = ModelFile::new(&onnx::classifier());
                let options = CpuOptions { instances: 2, threads: 2, ..options($backend) };
                let executor = cpu::load(file.path(), &options).unwrap();
                std::thread::scope(|scope| {
                    for seed in 0..4 {
                        let executor = &executor;
                        scope.spawn(move || {
                            let x = Tensor::from_f32("x", vec![4, 3], &features(4, seed));
                            let first = run(&**executor, std::slice::from_ref(&x));
                            for _ in 0..50 {
                                assert_eq!(run(&**executor, std::slice::from_ref(&x)), first);
                            }
                        });
                    }
                });
            }

            #[test]
            fn a_failing_request_leaves_the_model_usable() {
                if !available($backend) {
                    return;
                }
                let executor = load($backend, &onnx::lookup()).unwrap();
                for _ in 0..3 {
                    match executor.execute(&[index(&[99])]) {
                        Err(ExecuteError::Failed { backend, message }) => {
                            assert_eq!(backend, NAME);
                            assert!(!message.is_empty());
                        }
                        other => panic!("an index outside of the table gave {other:?}"),
                    }
                    let y = run(&*executor, &[index(&[2])]);
                    assert_eq!(y[0].to_f32().unwrap(), [30.0]);
                }
            }

            #[test]
            fn inputs_the_model_does_not_take_are_refused() {
                if !available($backend) {
                    return;
                }
                let executor = load($backend, &onnx::classifier()).unwrap();
                let wide = Tensor::from_f32("x", vec![1, 4], &[0.0; 4]);
                let integers = Tensor::new("x", DataType::Int32, vec![1, 3], vec![0; 12].into());
                let fine = || Tensor::from_f32("x", vec![1, 3], &[0.0; 3]);
                for inputs in [vec![wide], vec![integers.unwrap()], vec![], vec![fine(), fine()]] {
                    let error = executor.execute(&inputs).unwrap_err();
                    assert!(matches!(error, ExecuteError::Failed { .. }), "{error}");
                }
                let texts = load($backend, &onnx::identity(DataType::Bytes, &[BATCH])).unwrap();
                let mut data = Vec::new();
                push_bytes_element(&mut data, &[0xff, 0xfe]);
                let x = Tensor::new("x", DataType::Bytes, vec![1], data.into()).unwrap();
                let error = texts.execute(&[x]).unwrap_err().to_string();
                assert!(error.contains("element 0") && error.contains("UTF-8"), "{error}");
            }

            #[test]
            fn rows_that_do_not_come_out_again_are_a_bad_output() {
                if !available($backend) {
                    return;
                }
                let model = Graph::new()
                    .input("x", DataType::Fp32, &[BATCH, Dim::Size(3)])
                    .output("y", DataType::Fp32, &[Dim::Any(""), Dim::Any("")])
                    .node("Transpose", &["x"], &["y"])
                    .to_bytes();
                // A runtime may see through it and not batch such a model at all.
                let Ok(executor) = load($backend, &model) else { return };
                let result = executor.execute(&[Tensor::from_f32("x", vec![2, 3], &[0.0; 6])]);
                if executor.io().batches {
                    assert!(matches!(result, Err(ExecuteError::BadOutput { .. })), "{result:?}");
                } else {
                    assert_eq!(result.unwrap()[0].shape(), [3, 2]);
                }
            }

            #[test]
            fn a_file_that_is_no_model_is_refused_by_name() {
                if !available($backend) {
                    return;
                }
                let whole = onnx::classifier();
                let broken: [&[u8]; 4] =
                    [b"PK\x03\x04 this is an archive", b"", &whole[..whole.len() - 9], &[0xff; 64]];
                for bytes in broken {
                    let file = ModelFile::new(bytes);
                    let error = cpu::load(file.path(), &options($backend)).err().expect("refused");
                    assert!(matches!(error, LoadError::Invalid { .. }), "{error}");
                    let text = error.to_string();
                    assert!(text.contains(NAME), "{text}");
                    assert!(text.contains(file.path().to_str().unwrap()), "{text}");
                }
            }

            #[test]
            fn an_unknown_operator_is_named() {
                if !available($backend) {
                    return;
                }
                let error = load($backend, &onnx::unknown_operator()).err().expect("refused");
                assert!(matches!(error, LoadError::Invalid { .. }), "{error}");
                assert!(error.to_string().contains("Teleport"), "{error}");
            }

            #[test]
            fn a_type_outside_the_protocol_is_named() {
                if !available($backend) {
                    return;
                }
                const COMPLEX64: i32 = 14;
                let model = Graph::new()
                    .raw_input("wave", COMPLEX64, &[BATCH])
                    .raw_output("y", COMPLEX64, &[BATCH])
                    .node("Identity", &["wave"], &["y"])
                    .to_bytes();
                let error = load($backend, &model).err().expect("refused");
                assert!(matches!(error, LoadError::Invalid { .. }), "{error}");
                // ONNX Runtime gives up before it says on which tensor.
                let text = error.to_string();
                assert!(text.contains("wave") || text.contains("complex64"), "{text}");
            }

            #[test]
            fn a_missing_file_and_a_folder_are_unreadable() {
                if !available($backend) {
                    return;
                }
                let path = Path::new("/nonexistent/model.onnx");
                let error = cpu::load(path, &options($backend)).err().expect("refused");
                assert!(matches!(error, LoadError::Unreadable { .. }), "{error}");
                assert!(error.to_string().contains("/nonexistent/model.onnx"), "{error}");
                let folder = std::env::temp_dir();
                let error = cpu::load(&folder, &options($backend)).err().expect("refused");
                assert!(matches!(error, LoadError::Unreadable { .. }), "{error}");
            }

            #[test]
            fn real_digits_batch_as_they_run_alone() {
                let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/digits/1/model.onnx");
                if !available($backend) {
                    return;
                }
                let executor = cpu::load(Path::new(file), &options($backend)).unwrap();
                assert!(executor.io().batches);
                let shape = |rows| -> Vec<usize> {
                    let sizes = executor.io().inputs[0].shape.iter().skip(1);
                    let sizes = sizes.map(|&size| usize::try_from(size).expect("a fixed size"));
                    std::iter::once(rows).chain(sizes).collect()
                };
                let pixels: usize = shape(1).iter().product();
                let values: Vec<f32> = (0..4 * pixels).map(|i| (i * 7 % 17) as f32).collect();
                let batch = run(&*executor, &[Tensor::from_f32("x", shape(4), &values)]);
                for (row, values) in values.chunks(pixels).enumerate() {
                    let alone = run(&*executor, &[Tensor::from_f32("x", shape(1), values)]);
                    for (batch, alone) in batch.iter().zip(&alone) {
                        if let (Some(batch), Some(alone)) = (batch.to_f32(), alone.to_f32()) {
                            let width = alone.len();
                            assert!(close(&batch[row * width..(row + 1) * width], &alone));
                        }
                    }
                }
            }
        }
    };
}

suite!(tract, Backend::Tract);
suite!(onnxruntime, Backend::OnnxRuntime);

#[test]
fn tract_pads_to_the_sizes_it_prepared() {
    let executor = load(Backend::Tract, &onnx::classifier()).unwrap();
    let padded = [1, 2, 4, 5, 8, 9].map(|rows| executor.padded_rows(rows));
    assert_eq!(padded, [1, 4, 4, 8, 8, 9]);
}

#[test]
fn both_runtimes_agree() {
    if !available(Backend::OnnxRuntime) {
        return;
    }
    let [tract, onnxruntime] =
        [Backend::Tract, Backend::OnnxRuntime].map(|b| load(b, &onnx::classifier()).unwrap());
    assert_eq!(tract.io(), onnxruntime.io());
    let x = Tensor::from_f32("x", vec![8, 3], &features(8, 3));
    let [tract, onnxruntime] =
        [tract, onnxruntime].map(|e| run(&*e, std::slice::from_ref(&x))[0].to_f32().unwrap());
    assert!(close(&tract, &onnxruntime), "{tract:?}, {onnxruntime:?}");
}

#[test]
fn auto_takes_onnxruntime_and_tract_where_it_has_no_kernel() {
    let auto = |model: &[u8]| load(Backend::Auto, model).unwrap().backend();
    let onnxruntime = available(Backend::OnnxRuntime);
    let expected = if onnxruntime { "onnxruntime" } else { "tract" };
    assert_eq!(auto(&onnx::classifier()), expected);

    let relu = onnx::unary("Relu", DataType::Int64, &[BATCH]);
    assert_eq!(auto(&relu), "tract");
    if onnxruntime {
        let error = load(Backend::OnnxRuntime, &relu).err().expect("it has no such kernel");
        assert!(error.to_string().contains("Relu"), "{error}");
    }
}

#[test]
fn auto_gives_a_bad_file_no_second_chance() {
    if !available(Backend::OnnxRuntime) {
        return;
    }
    let error = load(Backend::Auto, &onnx::unknown_operator()).err().expect("refused");
    assert!(matches!(error, LoadError::Invalid { backend: "onnxruntime", .. }), "{error}");
}

#[test]
fn a_missing_library_is_unavailable_and_says_what_to_do() {
    let file = ModelFile::new(&onnx::classifier());
    for backend in [Backend::OnnxRuntime, Backend::Auto] {
        let library = Some(PathBuf::from("/nonexistent/libonnxruntime.so"));
        let options = CpuOptions { onnxruntime: library, ..options(backend) };
        let error = cpu::load(file.path(), &options).err().expect("refused");
        assert!(matches!(error, LoadError::Unavailable { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("/nonexistent/libonnxruntime.so"), "{text}");
        assert!(text.contains("pip install onnxruntime"), "{text}");
    }
}

#[test]
fn a_process_has_one_library_whoever_names_it() {
    if !available(Backend::OnnxRuntime) {
        return;
    }
    let library = cpu::onnxruntime::find(None).unwrap();
    assert_eq!(cpu::onnxruntime::find(Some(&library.path)), Ok(library.clone()));
    let other = ModelFile::new(b"any other file");
    let error = cpu::onnxruntime::find(Some(other.path())).unwrap_err().to_string();
    assert!(error.contains("already"), "{error}");
    assert!(error.contains(library.path.to_str().unwrap()), "{error}");
}

#[test]
fn doctor_finds_what_the_suite_runs_on() {
    let found = available(Backend::OnnxRuntime);
    let report = serde_json::to_value(cpu::doctor(&CpuOptions::default())).unwrap();
    let runtime = |name: &str| {
        let mut findings = report.as_array().unwrap().iter();
        findings.find(|finding| finding["name"] == name).expect("it is reported")
    };
    assert_eq!(runtime("onnxruntime")["available"], found);
    assert_eq!(runtime("onnxruntime")["chosen"], found);
    assert_eq!(runtime("onnxruntime")["path"].is_string(), found);
    assert_eq!(runtime("tract")["available"], true);
    assert_eq!(runtime("tract")["chosen"], !found);
}
