//! Everything a client, a file or an operator can get wrong, against the running program: each
//! mistake gets its status or exit code and a message that names it, and the server serves on.

#![allow(
    clippy::unwrap_used,
    reason = "clippy sees tests in #[test] functions, not in their helpers"
)]

mod bad_input {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;
    use std::net::TcpStream;
    use std::path::Path;
    use std::sync::OnceLock;
    use tensorforge_tests::onnx;
    use tensorforge_tests::program::{self, Server, root};
    use tensorforge_tests::raw_http::{Answer, exchange, get, post};

    const INFER: &str = "/v2/models/digits/infer";

    /// One server for every mistake: it has to survive them all.
    fn server() -> &'static Server {
        static SERVER: OnceLock<Server> = OnceLock::new();
        SERVER.get_or_init(|| Server::start(&["--max-body", "8"]))
    }

    fn good_body() -> Vec<u8> {
        std::fs::read(root().join("models/digits/requests/seven.json")).expect("in the repository")
    }

    /// Sends a mistake, checks the answer, and that a good request is still answered.
    fn check(status: u16, words: &str, answer: &Answer) {
        let message = answer.error();
        assert_eq!(answer.status, status, "{message}");
        assert!(message.contains(words), "{message:?} should say {words:?}");
        let good = post(server().address(), INFER, "", &good_body());
        assert_eq!(good.status, 200, "the server serves on after {message:?}");
    }

    fn infer(headers: &str, body: &[u8]) -> Answer {
        post(server().address(), INFER, headers, body)
    }

    fn image(datatype: &str, shape: &str, rest: &str) -> Vec<u8> {
        let input = format!(r#""name":"image","datatype":"{datatype}","shape":{shape}"#);
        format!(r#"{{"inputs":[{{{input},{rest}}}]}}"#).into_bytes()
    }

    fn zeros(count: usize) -> String {
        format!(r#""data":[{}]"#, vec!["0"; count].join(","))
    }

    #[test]
    fn malformed_json() {
        check(400, "line 1 column 10", &infer("", br#"{"inputs":"#));
        check(400, "the request is not valid", &infer("", b""));
        check(400, "missing field `inputs`", &infer("", b"{}"));
        check(400, "line 2", &infer("", b"{\n]"));
        check(400, "the request is not valid", &infer("", &[0xff; 100]));
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        let data = format!(r#""data":{deep}"#);
        check(400, "recursion limit", &infer("", &image("FP32", "[1,64]", &data)));
    }

    #[test]
    fn truncated_binary_parts_and_headers_that_lie() {
        let json = image("FP32", "[1,64]", r#""parameters":{"binary_data_size":256}"#);
        let length = json.len();
        let header = |length: &str| format!("Inference-Header-Content-Length: {length}\r\n");
        let with = |raw: usize| [&json[..], &vec![0; raw]].concat();

        assert_eq!(infer(&header(&length.to_string()), &with(256)).status, 200);
        let cut = infer(&header(&length.to_string()), &with(255));
        check(400, "'image' has binary_data_size 256, but only 255 bytes are left", &cut);
        let long = infer(&header(&length.to_string()), &with(257));
        check(400, "1 bytes follow the last binary tensor", &long);
        let beyond = infer(&header("100000"), &with(256));
        check(400, "Inference-Header-Content-Length is 100000, but the body has only", &beyond);
        check(400, "the request is not valid", &infer(&header("10"), &with(256)));
        check(400, "the request is not valid", &infer("", &with(256)));
        for nonsense in ["-1", "ten", "99999999999999999999999999", "1.5"] {
            let answer = infer(&header(nonsense), &with(256));
            check(400, "Inference-Header-Content-Length must be a number of bytes", &answer);
        }
        let huge =
            image("FP32", "[1,64]", r#""parameters":{"binary_data_size":18446744073709551615}"#);
        let answer = infer(&header(&huge.len().to_string()), &huge);
        check(400, "only 0 bytes are left", &answer);
    }

    #[test]
    fn wrong_types_and_shapes() {
        let wrong_type = infer("", &image("INT64", "[1,64]", &zeros(64)));
        check(400, "input 'image' of model 'digits' is FP32, but INT64 came", &wrong_type);
        let unknown = infer("", &image("FLOAT", "[1,64]", &zeros(64)));
        check(400, "unknown variant `FLOAT`", &unknown);
        let wrong_shape = infer("", &image("FP32", "[64]", &zeros(64)));
        check(400, "has shape [-1, 64] (-1: any), but [64] came", &wrong_shape);
        let too_few = infer("", &image("FP32", "[1,64]", &zeros(63)));
        check(400, "'image': FP32 of shape [1, 64] takes 256 bytes, but 252 came", &too_few);
        check(400, "-1", &infer("", &image("FP32", "[-1,64]", &zeros(64))));
        let overflow = image("FP32", "[18446744073709551615,64]", &zeros(64));
        check(400, "more elements than can be addressed", &infer("", &overflow));
        check(400, "has no rows", &infer("", &image("FP32", "[0,64]", &zeros(0))));
        // A thousand batches of 32 rows may wait, but no more.
        let rows = infer("", &image("FP32", "[32769,64]", &zeros(32769 * 64)));
        check(400, "more rows than may wait for the model at once, which is 32768", &rows);
        let text = infer("", &image("FP32", "[1,64]", r#""data":["a"]"#));
        check(400, r#"tensor 'image': the string "a" is not a FP32 value"#, &text);
    }

    #[test]
    fn missing_and_extra_inputs_and_outputs() {
        let missing = infer("", br#"{"inputs":[]}"#);
        check(400, "needs the input 'image' (FP32, shape [-1, 64])", &missing);
        let good = String::from_utf8(image("FP32", "[1,64]", &zeros(64))).unwrap();
        let input = good.strip_prefix(r#"{"inputs":["#).and_then(|rest| rest.strip_suffix("]}"));
        let input = input.expect("one input");
        let other = input.replace("image", "mask");
        let with = |extra: &str| format!(r#"{{"inputs":[{input},{extra}]}}"#);
        let words = "no place for the input 'mask'; its inputs are 'image'";
        check(400, words, &infer("", with(&other).as_bytes()));
        let words = "the input 'image' of model 'digits' came twice";
        check(400, words, &infer("", with(input).as_bytes()));
        let misspelt = format!(r#"{{"inputs":[{other}]}}"#);
        check(400, "no place for the input 'mask'", &infer("", misspelt.as_bytes()));
        let output = format!(r#"{{"inputs":[{input}],"outputs":[{{"name":"logits"}}]}}"#);
        let words = "no output 'logits'; its outputs are 'probabilities', 'label'";
        check(400, words, &infer("", output.as_bytes()));
        let label = r#"{"name":"label"}"#;
        let twice = format!(r#"{{"inputs":[{input}],"outputs":[{label},{label}]}}"#);
        check(400, "'label' of model 'digits' is asked for twice", &infer("", twice.as_bytes()));
        let nested = format!(r#"{{"inputs":[{input}],"parameters":{{"a":[[]]}}}}"#);
        check(400, "expected a parameter: a string", &infer("", nested.as_bytes()));
    }

    #[test]
    fn unknown_models_versions_paths_and_methods() {
        let address = server().address();
        let body = good_body();
        let model = post(address, "/v2/models/nothing/infer", "", &body);
        check(404, "unknown model 'nothing'; there is digits", &model);
        let version = post(address, "/v2/models/digits/versions/9/infer", "", &body);
        check(404, "model 'digits' has no version '9'; it has 1", &version);
        let version = post(address, "/v2/models/digits/versions/one/infer", "", &body);
        check(404, "no version 'one'", &version);
        check(404, "no version '+01'", &get(address, "/v2/models/digits/versions/+01/ready"));
        check(400, "Invalid UTF-8", &get(address, "/v2/models/%ff/ready"));
        let answer = post(address, "/v2/repository/index", "", b"{\"ready\":1}");
        check(400, "the index request is not valid", &answer);
        check(404, "nothing answers GET /v3", &get(address, "/v3"));
        check(404, "unknown model '../etc'", &get(address, "/v2/models/..%2Fetc"));
        check(405, "does not take GET", &get(address, INFER));
        for path in ["", "/ready", "/config", "/stats"] {
            let answer = get(address, &format!("/v2/models/nothing{path}"));
            check(404, "unknown model 'nothing'", &answer);
        }
    }

    #[test]
    fn bodies_beyond_the_limit() {
        let words = "this server takes at most 8388608";
        check(413, words, &infer("", &vec![b' '; 8 << 20 | 1]));
        // 100 MB, of which the server reads only a part.
        check(413, words, &infer("", &vec![b' '; 100_000_000]));
        // No length stated.
        let piece =
            [format!("{:x}\r\n", 1 << 20).as_bytes(), &vec![b' '; 1 << 20], b"\r\n"].concat();
        let head = format!(
            "POST {INFER} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\
             Transfer-Encoding: chunked\r\n\r\n"
        );
        let request = [head.as_bytes(), &piece.repeat(9), b"0\r\n\r\n"].concat();
        check(413, words, &exchange(server().address(), &request));
        // Small on the wire, large when unpacked.
        let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
        bomb.write_all(&vec![b' '; 200 << 20]).unwrap();
        let bomb = bomb.finish().unwrap();
        assert!(bomb.len() < 1 << 20);
        check(413, words, &infer("Content-Encoding: gzip\r\n", &bomb));
    }

    #[test]
    fn broken_compression() {
        let answer = infer("Content-Encoding: gzip\r\n", &good_body());
        check(400, "the body could not be read", &answer);
        let answer = infer("Content-Encoding: zip\r\n", &good_body());
        check(415, "must be gzip, deflate or identity, not \"zip\"", &answer);
    }

    #[test]
    fn clients_that_hang_up_or_speak_nonsense() {
        let address = server().address();
        for fragment in [&b"POST "[..], b"\0\xff\r\n\r\n", b"GET /v2 HTTP/1.1\r\nHost"] {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(fragment).unwrap();
        }
        let body = good_body();
        let head = format!("POST {INFER} HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\n");
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(&[head.as_bytes(), &body].concat()).unwrap();
        drop(stream);
        assert_eq!(infer("", &body).status, 200);
    }

    fn write(path: impl AsRef<Path>, content: &[u8]) {
        let path = path.as_ref();
        std::fs::create_dir_all(path.parent().expect("below the repository")).unwrap();
        std::fs::write(path, content).unwrap();
    }

    #[test]
    fn models_that_do_not_load_are_named_and_the_others_served() {
        let models = tempfile::tempdir().unwrap();
        let at = |path: &str| models.path().join(path);
        let digits = std::fs::read(root().join("models/digits/1/model.onnx")).unwrap();
        write(at("digits/1/model.onnx"), &digits);
        write(at("digits/2/model.onnx"), &digits[..digits.len() / 2]);
        write(at("text/1/model.onnx"), b"this is not a model");
        write(at("typo/1/model.onnx"), &digits);
        write(at("typo/config.toml"), b"max_bach = 4");
        write(at("zero/1/model.onnx"), &digits);
        write(at("zero/config.toml"), b"max_batch = 0");
        write(at("unknown/1/model.onnx"), &onnx::unknown_operator());
        std::fs::create_dir_all(at("empty/1")).unwrap();
        write(at("notes.txt"), b"not a model, and left alone");

        let folder = models.path().to_str().unwrap();
        let server = Server::start(&["--models", folder]);
        let address = server.address();
        let index = post(address, "/v2/repository/index", "", b"").json();
        for entry in index.as_array().unwrap() {
            let entry: [&str; 4] =
                ["name", "version", "state", "reason"].map(|key| entry[key].as_str().unwrap());
            let [name, version, state, reason] = entry;
            let expected = match (name, version) {
                ("digits", "1") => "",
                ("digits", "2") => "digits/2/model.onnx",
                ("text", _) => "text/1/model.onnx",
                ("unknown", _) => "Teleport",
                ("typo", _) => "unknown field `max_bach`",
                ("zero", _) => "max_batch: must be at least 1",
                ("empty", _) => "empty/1/model.onnx",
                other => panic!("{other:?} is not in the repository"),
            };
            assert!(reason.contains(expected), "{name}/{version}: {reason}");
            assert_eq!(state, if expected.is_empty() { "READY" } else { "UNAVAILABLE" });
            let path = format!("/v2/models/{name}/versions/{version}/infer");
            let answer = post(address, &path, "", &good_body());
            let status = if expected.is_empty() { 200 } else { 503 };
            assert_eq!(answer.status, status, "{name}/{version}");
        }
        assert_eq!(index.as_array().unwrap().len(), 7);
        let ready = post(address, "/v2/repository/index", "", b"{\"ready\":true}").json();
        assert_eq!(ready.as_array().unwrap().len(), 1, "{ready}");
        // Without a version named, the newest one that runs.
        assert_eq!(post(address, INFER, "", &good_body()).json()["model_version"], "1");

        let strict = program::run(&["serve", "--models", folder, "--strict"]);
        let complaint = String::from_utf8(strict.stderr).unwrap();
        assert_eq!(strict.status.code(), Some(4), "{complaint}");
        assert!(complaint.contains("model 'text' version 1 is not served"), "{complaint}");
        assert!(complaint.contains("6 of 7 model versions"), "{complaint}");
    }

    /// The model fails at run time, and both runtimes fail a whole batch for one bad row.
    #[test]
    fn a_fault_in_one_request_never_fails_its_batch_mates() {
        let models = tempfile::tempdir().unwrap();
        write(models.path().join("lookup/1/model.onnx"), &onnx::lookup());
        // The window is an hour long: only the third row can close the batch.
        write(models.path().join("lookup/config.toml"), b"max_wait = \"1h\"\nmax_batch = 3");
        for backend in ["tract", "onnxruntime"] {
            let folder = models.path().to_str().unwrap();
            let server = Server::start(&["--models", folder, "--backend", backend]);
            let address = server.address();
            let ask = |index: i64| {
                let input =
                    format!(r#""name":"index","datatype":"INT64","shape":[1,1],"data":[{index}]"#);
                let body = format!(r#"{{"inputs":[{{{input}}}]}}"#);
                std::thread::spawn(move || {
                    post(address, "/v2/models/lookup/infer", "", body.as_bytes())
                })
            };
            let answers = [0, 99, 3].map(ask).map(|thread| thread.join().unwrap());
            let [first, bad, last] = answers;
            assert_eq!((first.status, last.status), (200, 200), "{backend}");
            assert_ne!(
                first.json()["outputs"][0]["data"],
                last.json()["outputs"][0]["data"],
                "{backend}: each got its own row"
            );
            assert_eq!(bad.status, 500, "{backend}");
            let message = bad.error();
            assert!(message.contains("model 'lookup' version 1"), "{message}");
            let figures = get(address, "/v2/models/lookup/stats").json();
            let figures = &figures["model_stats"][0];
            assert_eq!(figures["inference_stats"]["success"]["count"], 2, "{backend}");
            assert_eq!(figures["inference_stats"]["fail"]["count"], 1, "{backend}");
        }
    }

    #[test]
    fn starts_that_cannot_work_end_with_their_exit_code_and_a_remedy() {
        let port = server().address().to_string();
        let empty = tempfile::tempdir().unwrap();
        let empty = empty.path().to_str().unwrap();
        for (arguments, code, words) in [
            (&["serve", "--address", &port][..], 5, &port[..]),
            (&["serve", "--models", "/nowhere/at/all"], 4, "/nowhere/at/all"),
            (&["serve", "--models", "README.md"], 4, "README.md"),
            (&["serve", "--models", empty], 4, "there is no model in"),
            (&["serve", "--max-batch", "0"], 2, "--max-batch"),
            (&["serve", "--max-wait", "5"], 2, "'5' is not a length of time"),
            (&["serve", "--backend", "cuda"], 2, "choose auto, tract or onnxruntime"),
            (&["serve", "--address", "nowhere"], 2, "--address"),
        ] {
            let ended = program::run(arguments);
            let complaint = String::from_utf8(ended.stderr).unwrap();
            assert_eq!(ended.status.code(), Some(code), "{arguments:?}: {complaint}");
            assert!(complaint.contains(words), "{arguments:?}: {complaint}");
            assert!(code == 2 || complaint.contains("help: "), "{arguments:?}: {complaint}");
        }
    }

    #[test]
    fn a_simulation_that_makes_no_sense_is_refused_by_the_name_of_its_option() {
        for (options, words) in [
            (&["--rate", "0"][..], "--rate"),
            (&["--rate", "-5"], "--rate"),
            (&["--rate", "NaN"], "requests a second are a number from 0.001"),
            (&["--rate", "inf"], "--rate"),
            (&["-n", "0"], "--requests"),
            (&["--high-share", "1.5"], "a share is a number from 0 to 1"),
            (&["--high-share", "NaN"], "--high-share"),
            (&["--shapes", "0"], "--shapes"),
            (&["--shape-costs", "1,0"], "--shape-costs"),
            (&["--timeout", "0"], "must be longer than 0"),
            (&["--base", "5"], "'5' is no length of time; write it such as"),
            (&["--base", "-1ms"], "--base"),
            (&["--base", "0", "--per-item", "0"], "--base and --per-item are both 0"),
            (&["--curve", "1:3ms,8:2ms"], "negative slope"),
            (&["--curve", "8:3ms,1:2ms"], "sort the points"),
            (&["--curve", "1"], "write points such as 1:2ms,8:3ms,32:8ms"),
            (&["--curve", "1:2ms", "--base", "1ms"], "--base"),
            (&["--max-batch", "0"], "--max-batch"),
            (&["--max-batch", "-1"], "--max-batch"),
            (&["--max-wait", "-1ms"], "'-1ms' is no length of time"),
            (&["--max-wait", "8=1ms"], "priorities are 0 to 7"),
            (&["--max-wait", "soon"], "--max-wait"),
            (&["--preferred", "8,4"], "--preferred: sizes must ascend"),
            (&["--preferred", "0"], "--preferred: a size must be at least 1"),
            (&["--preferred", "64"], "max_items, which is 32"),
            (&["--instances", "0"], "--instances"),
            (&["--max-queued", "0"], "--max-queued"),
            (&["--arrivals", "poison"], "choose poisson, uniform, bursty, or name a trace"),
            (&["--arrivals", "./trace.csv", "--rate", "5"], "leave --rate out, or the trace"),
            (&["--scenarios", "--rate", "5"], "--rate"),
            (&["--model", "digits"], "--model chooses from a recording"),
            (&["--model", "digits", "--arrivals", "README.md"], "README.md is none"),
        ] {
            let ended = program::run(&[&["simulate"], options].concat());
            let complaint = String::from_utf8(ended.stderr).unwrap();
            assert_eq!(ended.status.code(), Some(2), "{options:?}: {complaint}");
            assert!(complaint.contains(words), "{options:?}: {complaint}");
        }
    }

    #[test]
    fn a_trace_that_makes_no_sense_is_refused_by_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let trace = folder.path().join("trace.csv");
        let name = trace.to_str().unwrap();
        for (content, words) in [
            ("at\n2\n1\n", "trace.csv:3: at 1 s it is out of order"),
            ("at,priority\n0,9\n", "trace.csv:2: priority is 9"),
            ("at,items\n0,0\n", "trace.csv:2: items is 0"),
            ("at\n0\nNaN\n", "trace.csv:3: at is NaN"),
            ("{\"at\": 0}\n{\"at\": \"soon\"}\n", "trace.csv:2: at: 'soon'"),
            ("time\n0\n", "trace.csv:1: 'time' is no column"),
            ("", "trace.csv:1: it has no requests"),
            ("\u{feff}\u{0}", "trace.csv:1"),
        ] {
            write(&trace, content.as_bytes());
            let ended = program::run(&["simulate", "--arrivals", name]);
            let complaint = String::from_utf8(ended.stderr).unwrap();
            assert_eq!(ended.status.code(), Some(4), "{content:?}: {complaint}");
            assert!(complaint.contains(words), "{content:?}: {complaint}");
            assert!(complaint.contains("help: "), "{content:?}: {complaint}");
        }
        for (arguments, words) in [
            (["--arrivals", "/nowhere/trace.csv"], "cannot read /nowhere/trace.csv"),
            (["--plot", "/nowhere/policy.svg"], "cannot write /nowhere/policy.svg"),
        ] {
            let ended = program::run(&[&["simulate"], &arguments[..]].concat());
            let complaint = String::from_utf8(ended.stderr).unwrap();
            assert_eq!(ended.status.code(), Some(4), "{arguments:?}: {complaint}");
            assert!(complaint.contains(words), "{arguments:?}: {complaint}");
        }
    }
}
