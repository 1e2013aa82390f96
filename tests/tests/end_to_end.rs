//! The running program, driven from outside through the protocol.

#![allow(
    clippy::unwrap_used,
    reason = "clippy sees tests in #[test] functions, not in their helpers"
)]

mod end_to_end {
    use serde_json::Value;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpStream;
    use std::process::{Command, Stdio};
    use tensorforge::models::DataType;
    use tensorforge_tests::onnx;
    use tensorforge_tests::program::{Server, path, python, root};
    use tensorforge_tests::raw_http;

    fn report(server: &Server) -> Value {
        let output = Command::new(python())
            .arg(root().join("tests/python/digits_client.py"))
            .arg(server.address().to_string())
            .arg(root().join("models/digits/heldout.csv"))
            .output()
            .expect("python starts");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the client went through: {complaint}");
        serde_json::from_slice(&output.stdout).expect("the client reports JSON")
    }

    /// What tritonclient got from `serve` with each backend.
    fn tritonclient_is_served(backend: &str) {
        let wait = ["--backend", backend, "--max-wait", "20ms"];
        let server = Server::start(&wait);
        let report = report(&server);

        assert_eq!(report["server"]["live"], true);
        assert_eq!(report["server"]["ready"], true);
        assert_eq!(report["server"]["metadata"]["name"], "tensorforge");
        let extensions = report["server"]["metadata"]["extensions"].as_array().unwrap();
        assert!(extensions.iter().any(|extension| extension == "binary_tensor_data"));
        let index = &report["server"]["index"][0];
        assert_eq!((&index["name"], &index["state"]), (&"digits".into(), &"READY".into()));

        let model = &report["model"];
        assert_eq!(model["ready"], true);
        assert_eq!(model["ready_version"], true);
        assert_eq!(model["unknown_ready"], false);
        assert_eq!(model["metadata"]["versions"], serde_json::json!(["1"]));
        assert_eq!(model["metadata"]["inputs"][0]["shape"], serde_json::json!([-1, 64]));
        assert_eq!(model["metadata"], model["metadata_version"]);
        assert_eq!(model["config"]["max_batch_size"], 32);
        assert_eq!(model["config"]["input"][0]["data_type"], "TYPE_FP32");
        assert_eq!(model["config"]["input"][0]["dims"], serde_json::json!([64]));

        let labels = numbers(&report["labels"]);
        assert!(labels.len() >= 300, "at least 300 held-out images");
        for form in ["binary", "json"] {
            let (alone, together) = (&report[form]["alone"], &report[form]["together"]);
            let right = labels.iter().zip(alone.as_array().unwrap());
            let right = right.filter(|(label, answer)| answer["label"][0] == **label).count();
            let accuracy = right as f64 / labels.len() as f64;
            assert!(accuracy >= 0.95, "{form}: {right} of {} right", labels.len());
            for (alone, together) in
                alone.as_array().unwrap().iter().zip(together.as_array().unwrap())
            {
                assert_eq!(alone["label"], together["label"]);
                let (alone, together) =
                    (numbers(&alone["probabilities"][0]), numbers(&together["probabilities"][0]));
                assert_eq!((alone.len(), together.len()), (10, 10));
                let difference = alone.iter().zip(&together).map(|(a, b)| (a - b).abs());
                let largest = difference.fold(0.0, f64::max);
                assert!(largest <= 1e-5, "{form}: batched and alone differ by {largest}");
            }
        }

        for (form, same) in report["forms"].as_object().unwrap() {
            assert_eq!(same, true, "{form} gives the same answer");
        }
        assert_eq!(report["request_id"], "seventeen");
        assert_eq!(report["model_version"], "1");
        assert_eq!(report["only_label"], serde_json::json!(["label"]));

        for (error, status, words) in [
            ("unknown_model", "404", "unknown model 'nothing'; there is digits"),
            ("unknown_version", "404", "model 'digits' has no version '9'; it has 1"),
            ("wrong_type", "400", "input 'image' of model 'digits' is FP32, but INT32 came"),
            ("wrong_shape", "400", "has shape [-1, 64] (-1: any), but [1, 65] came"),
            ("missing_input", "400", "model 'digits' needs the input 'image'"),
            ("unknown_output", "400", "no output 'nothing'; its outputs are"),
        ] {
            let got = &report["errors"][error];
            assert_eq!(got["status"], status, "{error}: {got}");
            assert!(got["message"].as_str().unwrap().contains(words), "{error}: {got}");
        }

        let figures = &report["statistics"]["model_stats"][0];
        let count = |name: &str| figures[name].as_u64().unwrap();
        let requests = figures["inference_stats"]["success"]["count"].as_u64().unwrap();
        // Alone and together in two forms, and 11 requests of three rows.
        let images = labels.len() as u64;
        assert_eq!(requests, 4 * images + 11);
        assert_eq!(count("inference_count"), 4 * images + 33);
        assert_eq!(figures["inference_stats"]["fail"]["count"], 4, "four errors name the model");
        let by_size = figures["batch_stats"].as_array().unwrap();
        let executions: u64 =
            by_size.iter().map(|size| size["compute_infer"]["count"].as_u64().unwrap()).sum();
        assert_eq!(executions, count("execution_count"));
        let largest = by_size.iter().map(|size| size["batch_size"].as_u64().unwrap()).max();
        assert!(largest >= Some(8), "requests that came together ran together: {by_size:?}");
        assert_eq!(report["all_statistics"]["model_stats"][0]["name"], "digits");
    }

    #[test]
    fn tritonclient_classifies_held_out_digits_on_tract() {
        tritonclient_is_served("tract");
    }

    #[test]
    fn tritonclient_classifies_held_out_digits_on_onnxruntime() {
        tritonclient_is_served("onnxruntime");
    }

    /// Every type, its extremes among the values, in JSON and binary both ways.
    fn every_type_comes_back_as_it_went(backend: &str, types: &[DataType]) {
        let models = tempfile::tempdir().unwrap();
        let name = |datatype: &DataType| format!("identity_{}", datatype.name().to_lowercase());
        for datatype in types {
            let folder = models.path().join(name(datatype)).join("1");
            std::fs::create_dir_all(&folder).unwrap();
            let model = onnx::identity(*datatype, &[onnx::BATCH, onnx::Dim::Size(3)]);
            std::fs::write(folder.join("model.onnx"), model).unwrap();
        }
        let folder = models.path().to_str().unwrap();
        let server = Server::start(&["--strict", "--models", folder, "--backend", backend]);
        let output = Command::new(python())
            .arg(root().join("tests/python/types_client.py"))
            .arg(server.address().to_string())
            .args(types.iter().map(|datatype| format!("{}={datatype}", name(datatype))))
            .output()
            .expect("python starts");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the client went through: {complaint}");
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        for datatype in types {
            assert_eq!(report[name(datatype)], serde_json::json!([]), "{backend}: {datatype}");
        }
    }

    #[test]
    fn every_type_comes_back_as_it_went_on_tract() {
        let all = DataType::ALL.into_iter();
        let without_bf16: Vec<_> = all.filter(|&datatype| datatype != DataType::Bf16).collect();
        every_type_comes_back_as_it_went("tract", &without_bf16);
    }

    #[test]
    fn every_type_comes_back_as_it_went_on_onnxruntime() {
        every_type_comes_back_as_it_went("onnxruntime", &DataType::ALL);
    }

    #[test]
    fn the_printed_curl_line_answers_with_the_right_digit() {
        let server = Server::start(&[]);
        let line = server.announced["curl"].as_str().expect("a line to paste").to_owned();
        let output =
            Command::new("sh").args(["-c", &line]).current_dir(root()).output().expect("sh runs");
        let answer: Value = serde_json::from_slice(&output.stdout).expect("curl prints the answer");
        let file = line.rsplit('/').next().unwrap();
        let words =
            ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
        let digit = words.iter().position(|word| format!("{word}.json") == file);
        let digit = digit.unwrap_or_else(|| panic!("{file} names its digit"));
        let outputs = answer["outputs"].as_array().unwrap();
        let label = outputs.iter().find(|output| output["name"] == "label").unwrap();
        assert_eq!(label["data"], serde_json::json!([digit]), "{line}");
    }

    #[test]
    fn a_signal_drains_what_is_in_hand_and_ends_with_0() {
        for signal in ["TERM", "INT"] {
            // The window is an hour long, so the request can only be answered by the drain.
            let server = Server::start(&["--max-wait", "1h"]);
            let address = server.address();
            let body = std::fs::read(root().join("models/digits/requests/three.json")).unwrap();
            let waiting = std::thread::spawn(move || {
                raw_http::post(address, "/v2/models/digits/infer", "", &body)
            });
            until(&server, "digits", |figures| figures["pending"] == 1);
            server.signal(signal);
            assert_eq!(server.wait().code(), Some(0), "{signal}");
            let answer = waiting.join().unwrap();
            assert_eq!(answer.status, 200, "{signal}: {}", answer.head);
        }
    }

    /// One never finishes its request, the other never reads its answer of 32 MiB.
    #[test]
    fn clients_that_dawdle_do_not_hold_up_the_stop() {
        let models = tempfile::tempdir().unwrap();
        let folder = models.path().join("wide/1");
        std::fs::create_dir_all(&folder).unwrap();
        let wide = onnx::identity(DataType::Fp32, &[onnx::BATCH, onnx::Dim::Size(1 << 20)]);
        std::fs::write(folder.join("model.onnx"), wide).unwrap();
        let folder = models.path().to_str().unwrap();
        // Shorter than the server's patience with a slow sender (30 s), longer than that with a
        // dawdler (5 s): who holds up the stop makes it end with 1.
        let server = Server::start(&["--models", folder, "--drain-timeout", "20s"]);

        let mut unfinished = TcpStream::connect(server.address()).unwrap();
        unfinished.write_all(b"POST /v2/models/wide/infer HTTP/1.1\r\nHost: t\r\n").unwrap();
        let json = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[8,1048576],
            "parameters":{"binary_data_size":33554432}}],"parameters":{"binary_data_output":true}}"#;
        let (header, length) = (json.len(), json.len() + (32 << 20));
        let head = format!(
            "POST /v2/models/wide/infer HTTP/1.1\r\nHost: t\r\nContent-Length: {length}\r\n\
             Inference-Header-Content-Length: {header}\r\n\r\n{json}"
        );
        let mut unread = TcpStream::connect(server.address()).unwrap();
        unread.write_all(head.as_bytes()).unwrap();
        unread.write_all(&vec![0; 32 << 20]).unwrap();
        until(&server, "wide", |figures| figures["inference_stats"]["success"]["count"] == 1);

        server.signal("TERM");
        assert_eq!(server.wait().code(), Some(0));
    }

    #[test]
    fn a_stop_is_clean_when_nobody_reads_the_log() {
        let mut child = Command::new(path())
            .args(["--json", "serve", "--address", "127.0.0.1:0"])
            .current_dir(root())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        drop(child.stderr.take());
        let id = child.id().to_string();
        assert!(Command::new("kill").args(["-s", "TERM", &id]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(0), "not killed by a panic");
    }

    /// Waits until the model's statistics are as `wanted`.
    fn until(server: &Server, model: &str, wanted: impl Fn(&Value) -> bool) {
        let path = format!("/v2/models/{model}/stats");
        while !wanted(&raw_http::get(server.address(), &path).json()["model_stats"][0]) {
            std::thread::yield_now();
        }
    }

    fn numbers(array: &Value) -> Vec<f64> {
        let numbers = array.as_array().expect("an array").iter();
        numbers.map(|number| number.as_f64().expect("a number")).collect()
    }
}
