//! The program's commands as a user or a script calls them, against a running server.

mod command_line {
    use serde_json::Value;
    use std::process::Output;
    use tensorforge_tests::program::{Server, run};

    const SEVEN: &str = "models/digits/requests/seven.json";

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).expect("text")
    }

    fn json(output: &Output) -> Value {
        let printed = text(&output.stdout);
        serde_json::from_str(printed)
            .unwrap_or_else(|error| panic!("one object: {error}: {printed}"))
    }

    #[test]
    fn infer_prints_what_the_model_answered() {
        let server = Server::start(&[]);
        let url = ["--url", server.url()];
        for form in [&[][..], &["--binary"]] {
            let people = run(&[&["infer", "digits", SEVEN], &url[..], form].concat());
            let printed = text(&people.stdout);
            assert_eq!(people.status.code(), Some(0), "{}", text(&people.stderr));
            let label = printed.lines().find(|line| line.starts_with("label"));
            let label = label.unwrap_or_else(|| panic!("a label: {printed}"));
            assert!(label.ends_with(" 7"), "{printed}");
            assert!(!printed.contains('\x1b'), "no colours into a pipe: {printed:?}");
        }
        let asked =
            run(&[&["--json", "infer", "digits", SEVEN, "--output", "label"], &url[..]].concat());
        let outputs = &json(&asked)["outputs"];
        assert_eq!(outputs.as_array().map(Vec::len), Some(1), "{outputs}");
        assert_eq!(outputs[0]["data"], serde_json::json!([7]));
    }

    #[test]
    fn models_lists_what_the_server_has() {
        let server = Server::start(&[]);
        let people = run(&["models", "--url", server.url()]);
        let printed = text(&people.stdout);
        assert!(printed.contains("digits") && printed.contains("image FP32 [-1, 64]"), "{printed}");
        let listed = json(&run(&["--json", "models", "--url", server.url()]));
        let model = &listed["models"][0];
        assert_eq!((&model["name"], &model["state"]), (&"digits".into(), &"READY".into()));
    }

    #[test]
    fn load_measures_and_draws() {
        let server = Server::start(&[]);
        let folder = tempfile::tempdir().unwrap();
        let plot = folder.path().join("load.svg");
        for pace in [&["--concurrency", "4"][..], &["--rate", "200"]] {
            let common = [
                "--json",
                "load",
                "digits",
                "--url",
                server.url(),
                "--requests",
                "40",
                "--warmup",
                "0s",
                "--file",
                SEVEN,
                "--plot",
                plot.to_str().unwrap(),
            ];
            let ended = run(&[&common[..], pace].concat());
            assert_eq!(ended.status.code(), Some(0), "{}", text(&ended.stderr));
            let report = json(&ended);
            assert_eq!(
                (&report["requests"], &report["failed"]),
                (&40.into(), &0.into()),
                "{report}"
            );
            let latency = |name: &str| report["latency_ms"][name].as_f64().unwrap();
            assert!(0.0 < latency("p50") && latency("p50") <= latency("p99"), "{report}");
            assert!(latency("p99") <= latency("max"), "{report}");
            assert!(report["mean_batch"].as_f64().unwrap() >= 1.0, "{report}");
            let drawn = std::fs::read_to_string(&plot).unwrap();
            assert!(drawn.starts_with("<svg") && drawn.contains("requests/s"));
            std::fs::remove_file(&plot).unwrap();
        }
    }

    /// Without a server: the figures must follow from the options alone.
    #[test]
    fn simulate_plays_a_policy_and_equal_options_give_equal_figures() {
        let options = ["--json", "simulate", "-n", "2000", "--high-share", "0.2", "--seed", "3"];
        let once = run(&options);
        assert_eq!(once.status.code(), Some(0), "{}", text(&once.stderr));
        assert_eq!(once.stdout, run(&options).stdout);
        let report = json(&once);
        assert_eq!((&report["requests"], &report["answered"]), (&2000.into(), &2000.into()));
        let priorities = report["priorities"].as_array().unwrap();
        let came: u64 = priorities.iter().map(|of| of["requests"].as_u64().unwrap()).sum();
        assert_eq!((priorities.len(), came), (2, 2000), "{report}");
        let other = json(&run(&[&options[..7], &["4"]].concat()));
        assert_ne!(report, other, "another seed");
    }

    #[test]
    fn simulate_reads_traces_and_follows_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        // Ten milliseconds a batch of two: the first runs alone, the last two share a batch, in
        // which the higher is; the one between is late when the first has run.
        let lines = [("0", 0, ""), ("0.001", 0, "0.005"), ("0.002", 0, ""), ("0.003", 7, "")];
        let csv = lines.map(|(at, priority, deadline)| format!("{at},{priority},{deadline}\n"));
        let csv = format!("at,priority,deadline\n{}", csv.concat());
        let object = |(at, priority, deadline): (&str, u8, &str)| match deadline {
            "" => format!("{{\"at\": {at}, \"priority\": {priority}}}\n"),
            _ => format!("{{\"at\": {at}, \"priority\": {priority}, \"deadline\": {deadline}}}\n"),
        };
        for (name, content) in [("trace.csv", csv), ("trace.jsonl", lines.map(object).concat())] {
            std::fs::write(path(name), content).unwrap();
            let ended = run(&[
                "--json",
                "simulate",
                "--arrivals",
                &path(name),
                "--curve",
                "1:10ms",
                "--max-batch",
                "2",
                "--max-wait",
                "0",
            ]);
            assert_eq!(ended.status.code(), Some(0), "{}", text(&ended.stderr));
            let report = json(&ended);
            assert_eq!(report["shed"], serde_json::json!({ "expired": 1 }), "{name}: {report}");
            assert_eq!(report["sizes"], serde_json::json!([0, 1, 1]), "{name}: {report}");
            let high = &report["priorities"][1];
            assert_eq!(high["priority"], 7);
            // Came at 3, began at 10, done at 20.
            let latency = high["latency_ms"]["max"].as_f64().unwrap();
            assert!((latency - 17.0).abs() < 1e-9, "{latency}");
        }
    }

    #[test]
    fn simulate_plays_what_a_server_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let recording = folder.path().join("recording.jsonl");
        let recording = recording.to_str().unwrap();
        let server = Server::start(&["--record", recording]);
        for _ in 0..3 {
            let asked = run(&["infer", "digits", SEVEN, "--url", server.url()]);
            assert_eq!(asked.status.code(), Some(0), "{}", text(&asked.stderr));
        }
        server.signal("TERM");
        assert!(server.wait().success());
        let ended = run(&["--json", "simulate", "--arrivals", recording, "--model", "digits"]);
        assert_eq!(ended.status.code(), Some(0), "{}", text(&ended.stderr));
        let report = json(&ended);
        assert_eq!((&report["requests"], &report["answered"]), (&3.into(), &3.into()), "{report}");
    }

    #[test]
    fn simulate_compares_and_draws() {
        let folder = tempfile::tempdir().unwrap();
        let plot = folder.path().join("policy.svg");
        let plot = plot.to_str().unwrap();
        let options = ["simulate", "-n", "2000", "--shapes", "2", "--compare", "--plot", plot];
        let people = run(&options);
        let printed = text(&people.stdout);
        assert_eq!(people.status.code(), Some(0), "{}", text(&people.stderr));
        for name in ["tensorforge", "triton", "tensorflow serving", "fixed window"] {
            assert!(printed.lines().any(|line| line.starts_with(name)), "{name}: {printed}");
        }
        assert!(!printed.contains('\x1b'), "no colours into a pipe: {printed:?}");
        let drawn = std::fs::read_to_string(plot).unwrap();
        assert!(drawn.starts_with("<svg") && drawn.contains("triton"));
        let programs = json(&run(&[&["--json"], &options[..]].concat()));
        assert_eq!(programs["reports"].as_array().map(Vec::len), Some(4));
        let scenarios = json(&run(&["--json", "simulate", "--scenarios", "-n", "500"]));
        let scenarios = scenarios["scenarios"].as_array().unwrap();
        assert_eq!(scenarios.len(), 6);
        for scenario in scenarios {
            assert_eq!(scenario["batchers"].as_array().map(Vec::len), Some(4), "{scenario}");
        }
    }

    #[test]
    fn each_failure_has_its_exit_code_and_names_what_failed() {
        let server = Server::start(&[]);
        let url = server.url();
        // Port 1 is reserved and nothing here listens on it.
        let nobody = "http://127.0.0.1:1";
        for (arguments, code, words) in [
            (&["infer", "nothing", SEVEN, "--url", url][..], 1, "unknown model 'nothing'"),
            (&["load", "nothing", "--url", url], 1, "unknown model 'nothing'"),
            (&["infer", "digits", "--url", url], 2, "<FILE>"),
            (&["load", "digits", "--rate", "0"], 2, "--rate"),
            (&["models", "--url", "https://a"], 2, "only http://"),
            (&["infer", "digits", SEVEN, "--url", nobody], 3, nobody),
            (&["models", "--url", nobody], 3, nobody),
            (&["load", "digits", "--url", nobody], 3, nobody),
            (&["infer", "digits", "/nowhere.json", "--url", url], 4, "/nowhere.json"),
            (&["infer", "digits", "README.md", "--url", url], 4, "README.md"),
            (&["load", "digits", "--file", "/nowhere.json", "--url", url], 4, "/nowhere.json"),
        ] {
            let ended = run(arguments);
            let complaint = text(&ended.stderr);
            assert_eq!(ended.status.code(), Some(code), "{arguments:?}: {complaint}");
            assert!(complaint.contains(words), "{arguments:?}: {complaint}");
            let for_programs = run(&[&["--json"], arguments].concat());
            assert_eq!(for_programs.status.code(), Some(code), "{arguments:?}");
            if code != 2 {
                let object = json(&for_programs);
                assert!(object["error"].as_str().unwrap().contains(words), "{object}");
            }
        }
    }

    #[test]
    fn doctor_says_which_runtime_is_chosen() {
        let report = json(&run(&["--json", "doctor"]));
        let runtimes = report["runtimes"].as_array().unwrap();
        assert_eq!(runtimes.iter().filter(|runtime| runtime["chosen"] == true).count(), 1);
        assert!(text(&run(&["doctor"]).stdout).contains("tract"));
    }
}
