//! Models that come and go in the running program, through the protocol, the folder and the command line.
#![allow(
    clippy::unwrap_used,
    reason = "clippy sees tests in #[test] functions, not in their helpers"
)]

mod routing {
    use serde_json::{Value, json};
    use std::path::Path;
    use std::process::Command;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use tempfile::TempDir;
    use tensorforge_tests::program::{Server, python, root, run};
    use tensorforge_tests::raw_http::{get, post};

    const EXPLICIT: [&str; 4] = ["--model-control", "explicit", "--backend", "tract"];
    const ON_DEMAND: [&str; 4] = ["--model-control", "on-demand", "--backend", "tract"];
    const INFER: &str = "/v2/models/digits/infer";
    const LOAD: &str = "/v2/repository/models/digits/load";
    const UNLOAD: &str = "/v2/repository/models/digits/unload";

    /// A repository with the digits model as it is in `models/`, and a label.
    fn repository() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        put_digits(folder.path(), "digits", "1");
        std::fs::write(folder.path().join("digits/labels.toml"), "stable = 1").unwrap();
        // Few sizes to prepare: it is loaded often.
        std::fs::write(folder.path().join("digits/config.toml"), "max_batch = 2").unwrap();
        folder
    }

    fn put_digits(folder: &Path, name: &str, version: &str) {
        let version = folder.join(name).join(version);
        std::fs::create_dir_all(&version).unwrap();
        // Complete when it appears: it may be looked for at any time.
        let from = root().join("models/digits/1/model.onnx");
        std::fs::copy(from, version.join("model.onnx.part")).unwrap();
        std::fs::rename(version.join("model.onnx.part"), version.join("model.onnx")).unwrap();
    }

    fn start(folder: &TempDir, options: &[&str]) -> Server {
        let models = ["--models", folder.path().to_str().unwrap()];
        Server::start(&[&models[..], options].concat())
    }

    fn seven() -> Vec<u8> {
        std::fs::read(root().join("models/digits/requests/seven.json")).unwrap()
    }

    /// The state of each model version in the index, by `name/version`.
    fn states(server: &Server, body: &Value) -> Vec<(String, String)> {
        let body = body.to_string();
        let index = post(server.address(), "/v2/repository/index", "", body.as_bytes()).json();
        let text = |entry: &Value, key: &str| entry[key].as_str().unwrap().to_owned();
        let line = |entry: &Value| {
            let name = format!("{}/{}", text(entry, "name"), text(entry, "version"));
            (name, text(entry, "state"))
        };
        index.as_array().unwrap().iter().map(line).collect()
    }

    fn state(server: &Server, name: &str) -> Option<String> {
        states(server, &json!({})).into_iter().find(|(of, _)| of == name).map(|(_, state)| state)
    }

    /// What a Python client found.
    fn client(server: &Server, script: &str) -> Value {
        let output = Command::new(python())
            .arg(root().join("tests/python").join(script))
            .arg(server.address().to_string())
            .output()
            .expect("python starts");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the client went through: {complaint}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    #[test]
    fn tritonclient_loads_and_unloads_models() {
        let folder = repository();
        let server = start(&folder, &EXPLICIT);
        let report = client(&server, "repository_client.py");

        let extensions = report["extensions"].as_array().unwrap();
        for extension in ["model_repository", "model_repository(unload_dependents)"] {
            assert!(extensions.contains(&extension.into()), "{extensions:?}");
        }
        for (when, is_loaded) in
            [("before", false), ("loaded", true), ("unloaded", false), ("loaded_again", true)]
        {
            let report = &report[when];
            assert_eq!(report["ready"], is_loaded, "{when}: {report}");
            assert_eq!(report["server_ready"], true, "{when}: a model may be loaded at any time");
            let entry = &report["index"][0];
            assert_eq!((&entry["name"], &entry["version"]), (&"digits".into(), &"1".into()));
            assert_eq!(entry["state"] == "READY", is_loaded, "{when}: {entry}");
            assert_eq!(report["infer"]["result"] == 1, is_loaded, "{when}: {report}");
            if !is_loaded {
                assert_eq!(report["infer"]["status"], "503", "{when}: {report}");
                let message = report["infer"]["message"].as_str().unwrap();
                assert!(message.starts_with("model 'digits' is not ready: "), "{message}");
            }
        }
        for done in ["load", "load_config", "unload", "unload_again", "load_again"] {
            assert_eq!(report[done], json!({ "result": null }), "{done}");
        }
        assert_eq!(report["label"]["result"], 1);
        assert_eq!(report["label_sent"]["result"], 1);
        assert_eq!(report["config"]["max_batch_size"], 4, "as the sent configuration says");
        for (error, status, words) in [
            ("load_bad_config", "400", "unknown field `sequence`"),
            ("load_unknown", "404", "unknown model 'nothing'; there is digits"),
            ("unload_unknown", "404", "unknown model 'nothing'; there is digits"),
        ] {
            let got = &report[error];
            assert_eq!(got["status"], status, "{error}: {got}");
            assert!(got["message"].as_str().unwrap().contains(words), "{error}: {got}");
        }
    }

    #[test]
    fn no_request_fails_while_a_model_is_loaded_again() {
        let folder = repository();
        let server = start(&folder, &[&EXPLICIT[..], &["--load-model", "digits"]].concat());
        let body = seven();
        let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let client = |_| {
                scope.spawn(|| {
                    while !over.load(Ordering::SeqCst) {
                        let answer = post(server.address(), INFER, "", &body);
                        assert_eq!(answer.status, 200, "{}", answer.head);
                        answered.fetch_add(1, Ordering::SeqCst);
                    }
                })
            };
            let clients: Vec<_> = (0..3).map(client).collect();
            for _ in 0..10 {
                let before = answered.load(Ordering::SeqCst);
                while answered.load(Ordering::SeqCst) == before {
                    // One that has failed says why when it is joined.
                    if clients.iter().any(std::thread::ScopedJoinHandle::is_finished) {
                        over.store(true, Ordering::SeqCst);
                        return;
                    }
                    std::thread::yield_now();
                }
                let loaded = post(server.address(), LOAD, "", b"{}");
                assert_eq!(loaded.status, 200, "{}", loaded.head);
            }
            over.store(true, Ordering::SeqCst);
        });
        assert!(answered.load(Ordering::SeqCst) >= 10);
    }

    /// A request whose batch waits for an hour is in hand when its model goes; the drain answers it.
    #[test]
    fn what_is_in_hand_is_answered_after_its_model_is_gone() {
        let folder = repository();
        let audit = folder.path().join("audit.jsonl");
        let audit = ["--audit", audit.to_str().unwrap(), "--load-model", "*", "--max-wait", "1h"];
        let server = start(&folder, &[&EXPLICIT[..], &audit].concat());
        let address = server.address();
        let waiting = std::thread::spawn(move || post(address, INFER, "", &seven()));
        let pending =
            || get(address, "/v2/models/digits/stats").json()["model_stats"][0]["pending"] == 1;
        while !pending() {
            std::thread::yield_now();
        }
        assert_eq!(post(address, UNLOAD, "", b"").status, 200);
        assert_eq!(state(&server, "digits/1").as_deref(), Some("UNLOADING"));
        assert_eq!(get(address, "/v2/models/digits/ready").status, 503);
        assert_eq!(get(address, "/v2/health/ready").status, 200);
        assert_eq!(states(&server, &json!({ "ready": true })), []);
        server.signal("TERM");
        assert_eq!(waiting.join().unwrap().status, 200);
        assert_eq!(server.wait().code(), Some(0));

        let text = std::fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
        let entries = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mine: Vec<Value> = entries.filter(|entry| entry["entity"] == "digits/1").collect();
        assert!(mine.iter().all(|entry| entry["refused"].is_null()), "{mine:?}");
        let way: Vec<&str> = mine.iter().map(|entry| entry["to"].as_str().unwrap()).collect();
        let deployed = ["validating", "staging", "canary", "production", "deprecated"];
        assert_eq!(way[..deployed.len()], deployed);
    }

    #[test]
    fn a_polled_folder_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let server = start(&folder, &["--poll", "20ms", "--backend", "tract"]);
        assert_eq!(get(server.address(), "/v2/health/ready").status, 503, "no model yet");
        let until = |name: &str, wanted: Option<&str>| {
            while state(&server, name).as_deref() != wanted {
                std::thread::yield_now();
            }
        };
        put_digits(folder.path(), "digits", "1");
        until("digits/1", Some("READY"));
        assert_eq!(get(server.address(), "/v2/health/ready").status, 200);
        put_digits(folder.path(), "digits", "1.2.0");
        until("digits/1.2.0", Some("READY"));
        let answer = post(server.address(), INFER, "", &seven());
        assert_eq!(answer.json()["model_version"], "1.2.0");
        std::fs::remove_dir_all(folder.path().join("digits")).unwrap();
        until("digits/1", None);
        assert_eq!(post(server.address(), INFER, "", &seven()).status, 404);
        let refused = post(server.address(), LOAD, "", b"");
        assert_eq!(refused.status, 400, "the folder decides");
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_changes_nothing() {
        let folder = repository();
        let broken = folder.path().join("broken/1");
        std::fs::create_dir_all(&broken).unwrap();
        std::fs::write(broken.join("model.onnx"), "no model").unwrap();
        // Beside the repository, not in it: it would load.
        let inner = folder.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        let explicit = ["--load-model", "digits"];
        let server = start(&folder, &[&EXPLICIT[..], &explicit].concat());
        let narrow = ["--models", inner.to_str().unwrap()];
        let narrow = Server::start(&[&narrow[..], &EXPLICIT].concat());
        let path = |name: &str, action: &str| format!("/v2/repository/models/{name}/{action}");
        for (server, path, body, status, words) in [
            (&server, path("digits", "load"), "[1]", 400, "the load request is not valid"),
            (&server, path("digits", "load"), "{", 400, "the load request is not valid"),
            (
                &server,
                path("digits", "load"),
                r#"{"parameters":[]}"#,
                400,
                "invalid type: sequence",
            ),
            (&server, path("digits", "load"), r#"{"model":"x"}"#, 400, "unknown field `model`"),
            (
                &server,
                path("digits", "load"),
                r#"{"parameters":{"config":{}}}"#,
                400,
                "must be a text",
            ),
            (
                &server,
                path("digits", "load"),
                r#"{"parameters":{"config":"max_batch = 1"}}"#,
                400,
                "refused: expected",
            ),
            (
                &server,
                path("digits", "load"),
                r#"{"parameters":{"config":"{\"max_batch\":0}"}}"#,
                400,
                "max_batch: must be at least 1",
            ),
            (
                &server,
                path("digits", "load"),
                r#"{"parameters":{"file:1/model.onnx":"AAAA"}}"#,
                400,
                "takes no files",
            ),
            (
                &server,
                path("digits", "load"),
                r#"{"parameters":{"speed":1}}"#,
                400,
                "has no parameter 'speed'",
            ),
            (
                &server,
                path("digits", "unload"),
                r#"{"parameters":{"unload_dependents":1}}"#,
                400,
                "must be true or false",
            ),
            (
                &server,
                path("digits", "unload"),
                r#"{"parameters":{"config":"{}"}}"#,
                400,
                "has no parameter 'config'",
            ),
            (&server, path("broken", "load"), "", 400, "model 'broken' did not load: version 1: "),
            (&server, path("inner", "load"), "", 400, "model 'inner' has no version"),
            (&server, path("nobody", "load"), "", 404, "unknown model 'nobody'"),
            (&server, path("nobody", "unload"), "", 404, "unknown model 'nobody'"),
            (&narrow, path("..%2Fdigits", "load"), "", 400, "'../digits' cannot be a model's name"),
            (
                &narrow,
                path("..%2Fdigits", "unload"),
                "",
                400,
                "'../digits' cannot be a model's name",
            ),
            (&narrow, path("%2e%2e", "load"), "", 400, "'..' cannot be a model's name"),
            (&narrow, path("%00", "load"), "", 400, "cannot be a model's name"),
            (&narrow, path("%ff", "load"), "", 400, ""),
        ] {
            let answer = post(server.address(), &path, "", body.as_bytes());
            assert_eq!(answer.status, status, "{path} {body}: {}", answer.head);
            let error = answer.json()["error"].as_str().unwrap().to_owned();
            assert!(error.contains(words), "{path} {body}: {error}");
        }
        assert_eq!(state(&server, "digits/1").as_deref(), Some("READY"));
        assert_eq!(state(&server, "broken/1").as_deref(), Some("UNAVAILABLE"));
        let got = get(server.address(), &path("digits", "load"));
        assert_eq!(got.status, 405, "a load is posted");
        let controlled = start(&folder, &["--backend", "tract"]);
        let refused = post(controlled.address(), LOAD, "", b"");
        assert_eq!(refused.status, 400);
        let error = refused.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains("--model-control explicit"), "{error}");
    }

    #[test]
    fn memory_is_made_by_unloading_the_longest_unused() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            put_digits(folder.path(), name, "1");
            // Beside the model, as external weights are: some 500 KiB with it.
            let weights = folder.path().join(name).join("1/weights.bin");
            std::fs::write(weights, vec![0; 300 << 10]).unwrap();
        }
        std::fs::write(folder.path().join("c/config.toml"), "pinned = true").unwrap();
        let server = start(&folder, &[&EXPLICIT[..], &["--model-memory", "1"]].concat());
        let load = |name: &str| {
            post(server.address(), &format!("/v2/repository/models/{name}/load"), "", b"")
        };
        for name in ["c", "a", "b"] {
            let loaded = load(name);
            assert_eq!(loaded.status, 200, "{}", loaded.head);
        }
        let ready: Vec<String> =
            states(&server, &json!({ "ready": true })).into_iter().map(|(name, _)| name).collect();
        assert_eq!(ready, ["b/1", "c/1"]);
        let metadata = get(server.address(), "/v2/models/a");
        assert_eq!(metadata.status, 503);
        let error = metadata.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains("unloaded to make room for b"), "{error}");

        std::fs::write(folder.path().join("a/1/more.bin"), vec![0; 900 << 10]).unwrap();
        let refused = load("a");
        assert_eq!(refused.status, 507, "{}", refused.head);
        let error = refused.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains("no memory for model 'a'"), "{error}");
    }

    #[test]
    fn tritonclient_gets_answers_of_models_that_its_requests_load() {
        let folder = repository();
        put_broken(&folder);
        let server = start(&folder, &ON_DEMAND);
        let report = client(&server, "on_demand_client.py");
        assert_eq!(report["server_ready"], true);
        for (when, is_loaded) in
            [("before", false), ("loaded", true), ("unloaded", false), ("loaded_again", true)]
        {
            let report = &report[when];
            assert_eq!(report["ready"], is_loaded, "{when}: {report}");
            let index = report["index"].as_array().unwrap();
            let entry = index.iter().find(|entry| entry["name"] == "digits").unwrap();
            assert_eq!(entry["state"] == "READY", is_loaded, "{when}: {entry}");
        }
        assert_eq!(report["together"], json!(vec![1; 8]));
        // All were answered by the one that was loaded once: a load again counts from nothing.
        assert_eq!(report["statistics"]["model_stats"][0]["inference_count"], 9);
        for answered in ["label", "again"] {
            assert_eq!(report[answered]["result"], 1, "{answered}: {report}");
        }
        for (error, status, words) in [
            ("broken", "503", "model 'broken' did not load: version 1: "),
            ("broken_again", "503", "model 'broken' did not load: version 1: "),
            ("unknown", "404", "unknown model 'nothing'; there is broken, digits"),
            ("unknown_version", "404", "model 'digits' has no version '7'; it has 1, stable"),
        ] {
            let got = &report[error];
            assert_eq!(got["status"], status, "{error}: {got}");
            assert!(got["message"].as_str().unwrap().contains(words), "{error}: {got}");
        }
    }

    fn put_broken(folder: &TempDir) {
        let broken = folder.path().join("broken/1");
        std::fs::create_dir_all(&broken).unwrap();
        std::fs::write(broken.join("model.onnx"), "no model").unwrap();
    }

    #[test]
    fn requests_at_once_have_their_model_loaded_once() {
        let folder = repository();
        let audit = folder.path().join("audit.jsonl");
        let audit_to = ["--audit", audit.to_str().unwrap()];
        let server = start(&folder, &[&ON_DEMAND[..], &audit_to].concat());
        assert_eq!(get(server.address(), "/v2/health/ready").status, 200);
        assert_eq!(get(server.address(), "/v2/models/digits/ready").status, 503);
        std::thread::scope(|scope| {
            let client = |_| scope.spawn(|| post(server.address(), INFER, "", &seven()));
            let clients: Vec<_> = (0..12).map(client).collect();
            for client in clients {
                let answer = client.join().unwrap();
                assert_eq!(answer.status, 200, "{}", answer.head);
            }
        });
        assert_eq!(get(server.address(), "/v2/models/digits/ready").status, 200);
        server.signal("TERM");
        assert_eq!(server.wait().code(), Some(0));
        let text = std::fs::read_to_string(audit).unwrap();
        let entries = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mine = entries.filter(|entry| entry["entity"] == "digits/1");
        let way: Vec<String> = mine.map(|entry| entry["to"].as_str().unwrap().into()).collect();
        assert_eq!(way, ["validating", "staging", "canary", "production"]);
    }

    /// Two servers that load on demand: as long as neither has the model, one of them is asked and loads it.
    #[test]
    fn a_gateway_has_models_loaded_at_its_endpoints() {
        let (here, there) = (repository(), repository());
        let remote = start(&there, &ON_DEMAND);
        let routes = here.path().join("routes.toml");
        let url = remote.url();
        let table = format!(
            "[[endpoints]]\nname = \"here\"\nurl = \"local\"\n[[endpoints]]\nname = \"there\"\nurl = \"{url}\"\n\
             [[models]]\nname = \"digits\"\n"
        );
        std::fs::write(&routes, table).unwrap();
        let through = ["--routes", routes.to_str().unwrap(), "--attempt-timeout", "60s"];
        let server = start(&here, &[&ON_DEMAND[..], &through].concat());
        for _ in 0..3 {
            let answer = post(server.address(), INFER, "", &seven());
            assert_eq!(answer.status, 200, "{}", answer.head);
        }
        let is_loaded = |server| state(server, "digits/1").as_deref() == Some("READY");
        assert!(is_loaded(&server) || is_loaded(&remote));
    }

    /// A file that gives its bytes when the test does.
    #[cfg(unix)]
    #[test]
    fn the_index_and_the_command_line_show_what_is_being_loaded() {
        let folder = repository();
        let file = folder.path().join("slow/1/model.onnx");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
        std::fs::write(folder.path().join("slow/config.toml"), "max_batch = 1").unwrap();
        let wait = ["--load-wait", "50ms"];
        let server = start(&folder, &[&ON_DEMAND[..], &wait].concat());
        let slow = "/v2/models/slow/infer";

        // One request's own time, and what the server gives any.
        let mut request: Value = serde_json::from_slice(&seven()).unwrap();
        request["parameters"] = json!({ "timeout": 1000 });
        let late = post(server.address(), slow, "", request.to_string().as_bytes());
        assert_eq!(late.status, 504, "{}", late.error());
        let waits_on = post(server.address(), slow, "", &seven());
        assert_eq!(waits_on.status, 503, "{}", waits_on.error());
        assert!(waits_on.error().contains("was not ready within 50ms"), "{}", waits_on.error());
        assert!(waits_on.head.to_lowercase().contains("retry-after: 1"), "{}", waits_on.head);
        assert_eq!(state(&server, "slow/1").as_deref(), Some("LOADING"));
        assert_eq!(state(&server, "digits/1").as_deref(), Some("UNAVAILABLE"));
        assert_eq!(get(server.address(), "/v2/models/slow/ready").status, 503);
        let listed = run(&["models", "--url", server.url()]);
        let printed = String::from_utf8(listed.stdout).unwrap();
        assert!(printed.contains("loading"), "{printed}");
        assert!(printed.contains("slow version 1: is being loaded"), "{printed}");

        std::fs::write(&file, std::fs::read(root().join("models/digits/1/model.onnx")).unwrap())
            .unwrap();
        while state(&server, "slow/1").as_deref() != Some("READY") {
            std::thread::yield_now();
        }
        assert_eq!(post(server.address(), slow, "", &seven()).status, 200);
    }

    #[test]
    fn requests_push_out_only_what_has_stayed_for_long_enough() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            put_digits(folder.path(), name, "1");
            let weights = folder.path().join(name).join("1/weights.bin");
            std::fs::write(weights, vec![0; 600 << 10]).unwrap();
        }
        let infer = |server: &Server, name: &str| {
            post(server.address(), &format!("/v2/models/{name}/infer"), "", &seven())
        };
        let memory = ["--model-memory", "1", "--min-stay"];
        let server = start(&folder, &[&ON_DEMAND[..], &memory, &["1h"]].concat());
        assert_eq!(infer(&server, "a").status, 200);
        let refused = infer(&server, "b");
        assert_eq!(refused.status, 503, "{}", refused.head);
        assert!(refused.error().contains("no memory for model 'b'"), "{}", refused.error());
        assert!(
            refused.head.to_lowercase().contains("retry-after: 3"),
            "an hour or a bit less: {}",
            refused.head
        );
        assert_eq!(infer(&server, "a").status, 200, "the one that is there is served on");

        let server = start(&folder, &[&ON_DEMAND[..], &memory, &["0s"]].concat());
        for name in ["a", "b", "a", "b"] {
            let answer = infer(&server, name);
            assert_eq!(answer.status, 200, "{}", answer.head);
        }
        assert_eq!(states(&server, &json!({ "ready": true })), [("b/1".into(), "READY".into())]);
    }

    #[test]
    fn names_that_lead_elsewhere_or_nowhere_load_nothing() {
        let folder = repository();
        put_broken(&folder);
        let inner = folder.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        let models = ["--models", inner.to_str().unwrap()];
        let server = Server::start(&[&models[..], &ON_DEMAND].concat());
        for name in ["..%2Fdigits", "%2e%2e%2fdigits", "%2e%2e", "%00", "digits", "%5c..%5cdigits"]
        {
            let answer = post(server.address(), &format!("/v2/models/{name}/infer"), "", &seven());
            assert_eq!(answer.status, 404, "{name}: {}", answer.head);
        }
        assert_eq!(states(&server, &json!({})), []);
        // What came since is found all the same.
        put_digits(&inner, "digits", "1");
        while post(server.address(), INFER, "", &seven()).status != 200 {
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_command_line_loads_and_unloads() {
        let folder = repository();
        let server = start(&folder, &EXPLICIT);
        let url = ["--url", server.url()];
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let call = |arguments: &[&str]| run(&[arguments, &url[..]].concat());
        let loaded = call(&["--json", "models", "load", "digits"]);
        assert_eq!(loaded.status.code(), Some(0), "{}", text(&loaded.stderr));
        let printed: Value = serde_json::from_slice(&loaded.stdout).unwrap();
        let model = &printed["models"][0];
        assert_eq!((&model["name"], &model["state"]), (&"digits".into(), &"READY".into()));
        let people = call(&["models"]);
        assert!(text(&people.stdout).contains("ready"), "{}", text(&people.stdout));

        let config = folder.path().join("fast.json");
        std::fs::write(&config, r#"{"max_batch": 3}"#).unwrap();
        let config = config.to_str().unwrap();
        let loaded = call(&["models", "load", "digits", "--config", config]);
        assert_eq!(loaded.status.code(), Some(0), "{}", text(&loaded.stderr));
        let served = get(server.address(), "/v2/models/digits/config").json();
        assert_eq!(served["max_batch_size"], 3);

        let unloaded = call(&["models", "unload", "digits"]);
        assert_eq!(unloaded.status.code(), Some(0), "{}", text(&unloaded.stderr));
        let printed = text(&unloaded.stdout);
        assert!(printed.contains("digits version 1: "), "{printed}");
        assert_eq!(get(server.address(), "/v2/models/digits/ready").status, 503);

        let unknown = call(&["models", "load", "nobody"]);
        assert_eq!(unknown.status.code(), Some(1));
        let said = text(&unknown.stderr);
        assert!(said.contains("unknown model 'nobody'; there is digits"), "{said}");
        let missing = call(&["models", "load", "digits", "--config", "no/such.json"]);
        assert_eq!(missing.status.code(), Some(4), "{}", text(&missing.stderr));
    }

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        let folder = repository();
        let models = folder.path().to_str().unwrap();
        for (options, code, words) in [
            (&["--load-model", "digits"][..], 2, "--load-model needs --model-control explicit"),
            (&["--min-stay", "1s"], 2, "--min-stay needs --model-control on-demand"),
            (
                &["--model-control", "explicit", "--load-wait", "1s"],
                2,
                "--load-wait needs --model-control on-demand",
            ),
            (&["--model-control", "on-demand", "--poll", "1s"], 2, "--poll does not go with"),
            (&["--model-control", "explicit", "--poll", "1s"], 2, "--poll does not go with"),
            (&["--poll", "0s"], 2, "--poll must be more than 0"),
            (&["--model-control", "poll"], 2, "invalid value 'poll'"),
            (
                &["--model-control", "explicit", "--load-model", "nobody"],
                4,
                "there is no model 'nobody'",
            ),
        ] {
            let serve = ["serve", "--address", "127.0.0.1:0", "--models", models];
            let ended = run(&[&serve[..], options].concat());
            let said = String::from_utf8(ended.stderr).unwrap();
            assert_eq!(ended.status.code(), Some(code), "{options:?}: {said}");
            assert!(said.contains(words), "{options:?}: {said}");
        }
    }
}
