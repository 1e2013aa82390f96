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
