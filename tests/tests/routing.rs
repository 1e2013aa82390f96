//! `cargo test routing`: a gateway in front of servers that die, stop and are slow, as running programs.

#![allow(
    clippy::unwrap_used,
    reason = "clippy sees tests in #[test] functions, not in their helpers"
)]

mod routing {
    use serde_json::Value;
    use std::fmt::Write as _;
    use std::process::Command;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};
    use tensorforge_tests::program::{Server, python, root, run};
    use tensorforge_tests::raw_http;

    const BACKEND: [&str; 2] = ["--backend", "tract"];

    fn image() -> Vec<u8> {
        std::fs::read(root().join("models/digits/requests/seven.json")).unwrap()
    }

    /// A table of these servers, and what its one model says beside.
    fn table(servers: &[(&str, &Server)], model: &str) -> tempfile::NamedTempFile {
        let mut text = String::new();
        for (name, server) in servers {
            writeln!(text, "[[endpoints]]\nname = \"{name}\"\nurl = \"{}\"", server.url()).unwrap();
        }
        writeln!(text, "[[models]]\nname = \"digits\"\n{model}").unwrap();
        let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    /// A gateway that has no models of its own.
    fn gateway(table: &tempfile::NamedTempFile) -> Server {
        gateway_with(table, &[])
    }

    fn gateway_with(table: &tempfile::NamedTempFile, more: &[&str]) -> Server {
        let file = table.path().to_str().unwrap();
        let nothing = ["--models", "/nonexistent", "--attempt-timeout", "1s", "--routes", file];
        Server::start(&[&nothing, more].concat())
    }

    fn answered(server: &Server) -> u64 {
        let stats = raw_http::get(server.address(), "/v2/models/digits/stats").json();
        stats["model_stats"][0]["inference_stats"]["success"]["count"].as_u64().unwrap()
    }

    fn post(server: &Server, body: &[u8]) -> raw_http::Answer {
        raw_http::post(server.address(), "/v2/models/digits/infer", "", body)
    }

    #[test]
    fn no_request_fails_that_a_healthy_endpoint_could_answer() {
        let slow = Server::start(&[&BACKEND[..], &["--max-wait", "50ms"]].concat());
        let (dies, stops) = (Server::start(&BACKEND), Server::start(&BACKEND));
        let table = table(&[("dies", &dies), ("stops", &stops), ("slow", &slow)], "");
        let gateway = gateway(&table);
        let image = image();
        let (over, wrong) = (AtomicBool::new(false), Mutex::new(Vec::new()));
        let sent = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..6)
                .map(|_| {
                    scope.spawn(|| {
                        let mut sent = 0;
                        while !over.load(Ordering::Relaxed) {
                            let answer = post(&gateway, &image);
                            sent += 1;
                            if answer.status != 200 || answer.json()["outputs"][1]["data"][0] != 7 {
                                wrong.lock().unwrap().push(answer.error());
                            }
                        }
                        sent
                    })
                })
                .collect();
            // Each is in the middle of its work when it happens, and the others go on for a while.
            let work_on = |server: &Server, requests: u64| {
                let enough = answered(server) + requests;
                while answered(server) < enough {
                    std::thread::yield_now();
                }
            };
            work_on(&dies, 50);
            dies.signal("KILL");
            work_on(&stops, 50);
            stops.signal("STOP");
            work_on(&slow, 100);
            stops.signal("CONT");
            work_on(&stops, 20);
            over.store(true, Ordering::Relaxed);
            clients.into_iter().map(|client| client.join().unwrap()).sum::<u64>()
        });
        let wrong = wrong.into_inner().unwrap();
        assert!(wrong.is_empty(), "{} of {sent} failed, such as: {}", wrong.len(), wrong[0]);
    }

    #[test]
    fn when_all_are_down_an_earlier_answer_is_given_and_marked_and_else_an_error() {
        let server = Server::start(&BACKEND);
        let table = table(&[("only", &server)], "");
        let gateway = gateway(&table);
        let fresh = post(&gateway, &image());
        assert_eq!(fresh.status, 200);
        server.signal("KILL");
        let stale = post(&gateway, &image());
        assert_eq!(stale.status, 200);
        assert_eq!(stale.json()["outputs"], fresh.json()["outputs"]);
        let marks = &stale.json()["parameters"];
        assert!(marks["route_stale_ms"].is_u64() && marks["tensorforge_cached_age_ms"].is_u64());

        // Another image was never answered.
        let other =
            std::fs::read_to_string(root().join("models/digits/requests/seven.json")).unwrap();
        let mut other: Value = serde_json::from_str(&other).unwrap();
        other["inputs"][0]["data"] = vec![0.25; 64].into();
        let answer = post(&gateway, other.to_string().as_bytes());
        assert_eq!(answer.status, 503);
        let error = answer.error();
        assert!(error.contains("no endpoint is left for model 'digits': only"), "{error}");
    }

    #[test]
    fn a_table_that_changes_is_followed() {
        let (old, new) = (Server::start(&BACKEND), Server::start(&BACKEND));
        let first = table(&[("old", &old)], "");
        let gateway = gateway(&first);
        let by = || {
            let answer = post(&gateway, &image());
            assert_eq!(answer.status, 200, "{}", answer.error());
            answer.json()["parameters"]["route_endpoint"].as_str().unwrap().to_owned()
        };
        assert_eq!(by(), "old");
        let second = table(&[("new", &new)], "");
        std::fs::copy(second.path(), first.path()).unwrap();
        while by() != "new" {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_gateway_of_gateways_works_and_a_circle_is_refused() {
        let server = Server::start(&BACKEND);
        let inner = gateway(&table(&[("server", &server)], ""));
        let outer = gateway(&table(&[("inner", &inner)], ""));
        let answer = post(&outer, &image());
        assert_eq!(answer.status, 200, "{}", answer.error());
        assert_eq!(answer.json()["parameters"]["route_endpoint"], "inner");
        // A gateway whose only endpoint is itself.
        let nowhere = table(&[], "");
        let file = nowhere.path().to_str().unwrap();
        let round = Server::start(&["--models", "/nonexistent", "--routes", file, "--admin"]);
        let circle = table(&[("itself", &round)], "");
        let publish = ["routes", "publish", circle.path().to_str().unwrap(), "--url", round.url()];
        assert!(run(&publish).status.success());
        let answer = post(&round, &image());
        assert_eq!(answer.status, 508);
        assert!(answer.error().contains("circle"), "{}", answer.error());
        // Questions about the model count their steps as well.
        for (question, status) in [("", 508), ("/config", 508), ("/stats", 508), ("/ready", 503)] {
            let path = format!("/v2/models/digits{question}");
            let answer = raw_http::get(round.address(), &path);
            assert_eq!(answer.status, status, "{path}: {}", answer.error());
        }
    }

    #[test]
    fn a_table_is_changed_and_rolled_back_over_http_where_that_is_allowed() {
        let (old, new) = (Server::start(&BACKEND), Server::start(&BACKEND));
        let (first, second) = (table(&[("old", &old)], ""), table(&[("new", &new)], ""));
        let file = first.path().to_str().unwrap();
        let closed = gateway(&first);
        let open = Server::start(&["--models", "/nonexistent", "--routes", file, "--admin"]);
        let routes = |server: &Server, words: &[&str]| {
            run(&[&["--json", "routes"][..], words, &["--url", server.url()]].concat())
        };
        let publish = ["publish", second.path().to_str().unwrap()];
        let refused = routes(&closed, &publish);
        assert_eq!(refused.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("--admin"));

        let by = |server: &Server| {
            let answer = post(server, &image());
            answer.json()["parameters"]["route_endpoint"].as_str().unwrap().to_owned()
        };
        assert_eq!((by(&closed), by(&open)), ("old".into(), "old".into()));
        let told: Value = serde_json::from_slice(&routes(&open, &publish).stdout).unwrap();
        assert_eq!((by(&open), &told["version"]), ("new".to_owned(), &2.into()));
        assert!(routes(&open, &["rollback", "1"]).status.success());
        assert_eq!(by(&open), "old");
        let shown: Value = serde_json::from_slice(&routes(&open, &["show"]).stdout).unwrap();
        assert_eq!(shown["version"], 3);
        assert_eq!(shown["routes"]["endpoints"][0]["url"], old.url());
        let missing = routes(&open, &["rollback", "77"]);
        assert!(String::from_utf8_lossy(&missing.stderr).contains("version 77 is not kept"));
    }

    #[test]
    fn a_server_is_replaced_by_another_without_losing_a_request() {
        let (old, new) = (Server::start(&BACKEND), Server::start(&BACKEND));
        let table = table(&[("old", &old)], "");
        let file = table.path().to_str().unwrap();
        let gateway = Server::start(&["--models", "/nonexistent", "--routes", file, "--admin"]);
        let routes = |arguments: &[&str]| {
            let all = [&["--json", "routes"], arguments, &["--url", gateway.url()]].concat();
            let ran = run(&all);
            assert!(ran.status.success(), "{ran:?}");
            serde_json::from_slice::<Value>(&ran.stdout).unwrap()
        };
        let (over, failed) = (AtomicBool::new(false), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        let answer = post(&gateway, &image());
                        if answer.status != 200 {
                            failed.lock().unwrap().push(answer.error());
                        }
                    }
                });
            }
            let work_on = |server: &Server| {
                let enough = answered(server) + 20;
                while answered(server) < enough {
                    std::thread::yield_now();
                }
            };
            work_on(&old);
            routes(&["join", "new", new.url()]);
            work_on(&new);
            let drained = routes(&["drain", "old", "--wait", "30s"]);
            let standing = &drained["standings"][0];
            assert_eq!((&standing["name"], &standing["drained"]), (&"old".into(), &true.into()));
            let last = answered(&old);
            work_on(&new);
            assert_eq!(answered(&old), last, "nothing went there after it was drained");
            let left = routes(&["leave", "old"]);
            assert_eq!(left["routes"]["endpoints"].as_array().unwrap().len(), 1);
            old.signal("KILL");
            work_on(&new);
            over.store(true, Ordering::Relaxed);
        });
        let failed = failed.into_inner().unwrap();
        assert!(failed.is_empty(), "{} failed, such as: {}", failed.len(), failed[0]);

        let split = routes(&["split", "digits", "1=99.99", "2=0.01"]);
        let parts = &split["routes"]["models"][0]["split"];
        assert_eq!(
            (&parts[0]["basis_points"], &parts[1]["basis_points"]),
            (&9_999.0.into(), &1.0.into())
        );
        let wrong = run(&["routes", "split", "digits", "1=60", "--url", gateway.url()]);
        assert!(String::from_utf8_lossy(&wrong.stderr).contains("digits"), "{wrong:?}");
        let old_version =
            run(&["routes", "publish", file, "--if-version", "1", "--url", gateway.url()]);
        assert!(String::from_utf8_lossy(&old_version.stderr).contains("not 1"), "{old_version:?}");
    }

    #[test]
    fn one_waits_for_a_full_endpoint_and_more_are_429_with_when_to_come_again() {
        let slow = Server::start(&[&BACKEND[..], &["--max-wait", "50ms"]].concat());
        let table = table(&[("slow", &slow)], "");
        let text = std::fs::read_to_string(table.path()).unwrap();
        let limited = text.replace("[[models]]", "limit = 1\n[[models]]");
        std::fs::write(table.path(), limited).unwrap();
        let gateway = gateway_with(&table, &["--max-waiting", "1"]);
        let sample: Value = serde_json::from_slice(&image()).unwrap();
        let (over, waited) = (AtomicBool::new(false), AtomicBool::new(false));
        let refused = Mutex::new(None);
        std::thread::scope(|scope| {
            for client in 0..4_u32 {
                let (mut sample, gateway) = (sample.clone(), &gateway);
                let (over, waited, refused) = (&over, &waited, &refused);
                scope.spawn(move || {
                    let mut turn = 0;
                    while !over.load(Ordering::Relaxed) {
                        // Each is new, so that no earlier answer stands in for it.
                        turn += 1;
                        sample["inputs"][0]["data"] = vec![client * 1_000 + turn; 64].into();
                        let answer = post(gateway, sample.to_string().as_bytes());
                        if answer.status != 200 {
                            over.store(waited.load(Ordering::Relaxed), Ordering::Relaxed);
                            *refused.lock().unwrap() = Some(answer);
                        } else if answer.json()["parameters"]["route_waited_ms"].is_f64() {
                            waited.store(true, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let answer = refused.into_inner().unwrap().unwrap();
        assert_eq!(answer.status, 429, "{}", answer.error());
        assert!(answer.head.to_ascii_lowercase().contains("retry-after: "), "{}", answer.head);
        assert!(answer.error().contains("slow is full"), "{}", answer.error());
        let explained = run(&["routes", "explain", "digits", "--url", gateway.url()]);
        let explained = String::from_utf8(explained.stdout).unwrap();
        assert!(explained.contains("goes to slow") && explained.contains("healthy"), "{explained}");
    }

    #[test]
    fn nobody_is_asked_for_a_model_that_he_has_not() {
        let has = Server::start(&BACKEND);
        // A gateway is ready for the models of others, and this one knows none.
        let no_routes = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        let lacks = gateway(&no_routes);
        let table = table(&[("lacks", &lacks), ("has", &has)], "policy = \"round_robin\"");
        let gateway = gateway(&table);
        let explain = || {
            let told = run(&["--json", "routes", "explain", "digits", "--url", gateway.url()]);
            serde_json::from_slice::<Value>(&told.stdout).unwrap()
        };
        while explain()["candidates"][0]["loaded"] == true {
            std::thread::yield_now();
        }
        assert_eq!(explain()["candidates"][0]["excluded"], "not_loaded");
        for _ in 0..20 {
            let answer = post(&gateway, &image());
            let marks = &answer.json()["parameters"];
            assert_eq!(
                (&marks["route_endpoint"], &marks["route_attempts"]),
                (&"has".into(), &1.into())
            );
        }
    }

    #[test]
    fn requests_go_to_the_version_of_a_split_that_answers() {
        let server = Server::start(&BACKEND);
        // Nobody has version 9.
        let model = "split = [{ version = \"1\", basis_points = 5000 }, \
                     { version = \"9\", basis_points = 5000 }]\n\
                     bandit = { floor_percent = 5, update_every_ms = 10 }";
        let table = table(&[("only", &server)], model);
        let gateway = gateway(&table);
        let asked = |words: &[&str]| {
            let told = run(&[&["--json", "routes"], words, &["--url", gateway.url()]].concat());
            serde_json::from_slice::<Value>(&told.stdout).unwrap()
        };
        let mut requests = 0;
        // Parts stay for what moves less than 1 % of the requests.
        while asked(&["bandits"])[0]["versions"][0]["percent"].as_f64() < Some(94.0) {
            for _ in 0..50 {
                post(&gateway, &image());
            }
            requests += 50;
            assert!(requests < 5_000, "{}", asked(&["bandits"]));
        }
        let parts = &asked(&["explain", "digits"])["parts"]["versions"];
        assert_eq!(parts[1]["version"], "9");
        let part = parts[1]["percent"].as_f64().unwrap();
        assert!((5.0..=6.0).contains(&part), "its floor: {part}");
        let text = run(&["routes", "bandits", "--url", gateway.url()]);
        let text = String::from_utf8(text.stdout).unwrap();
        assert!(text.contains("WORTH") && text.contains("0.0000"), "{text}");
    }

    #[test]
    fn explain_shows_the_candidates_and_check_names_the_mistake() {
        let (a, b) = (Server::start(&BACKEND), Server::start(&BACKEND));
        let table = table(&[("a", &a), ("b", &b)], "policy = \"round_robin\"");
        let gateway = gateway(&table);
        let explained = run(&["--json", "routes", "explain", "digits", "--url", gateway.url()]);
        assert!(explained.status.success(), "{explained:?}");
        let explained: Value = serde_json::from_slice(&explained.stdout).unwrap();
        assert_eq!(explained["policy"], "round_robin");
        assert_eq!(explained["candidates"].as_array().unwrap().len(), 2);

        let wrong = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        std::fs::write(wrong.path(), "[[models]]\nname = \"digits\"\npolicy = \"best\"\n").unwrap();
        let checked = run(&["routes", "check", wrong.path().to_str().unwrap()]);
        assert_eq!(checked.status.code(), Some(4));
        let said = String::from_utf8(checked.stderr).unwrap();
        assert!(said.contains("unknown variant `best`") && said.contains("line 3"), "{said}");
    }

    #[test]
    fn tritonclient_asks_a_gateway_about_a_model_that_others_have() {
        let (a, b) = (Server::start(&BACKEND), Server::start(&BACKEND));
        let table = table(&[("a", &a), ("b", &b)], "policy = \"round_robin\"");
        let gateway = gateway(&table);
        let output = Command::new(python())
            .arg(root().join("tests/python/gateway_client.py"))
            .args([&gateway.address().to_string(), "20"])
            .output()
            .expect("python starts");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the client went through: {complaint}");
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        for (name, ready) in [
            ("ready", true),
            ("ready_version", true),
            ("unknown_version_ready", false),
            ("unknown_ready", false),
        ] {
            assert_eq!(report[name], ready, "{name}");
        }
        let own = raw_http::get(a.address(), "/v2/models/digits/config").json();
        assert_eq!(report["config"], own, "as whoever runs it says");
        assert_eq!(report["config_version"], own);
        assert_eq!(report["config_unknown"]["status"], "404", "{report}");
        let figures = &report["statistics"]["model_stats"];
        assert_eq!(figures.as_array().unwrap().len(), 1);
        let success = &figures[0]["inference_stats"]["success"]["count"];
        assert_eq!(*success, answered(&a) + answered(&b));
        assert!(answered(&a) > 0 && answered(&b) > 0, "both had their turns");
        assert_eq!(report["statistics_version"]["model_stats"][0]["version"], "1");
        // Once nobody who may be asked is there, it is ready no more.
        a.signal("KILL");
        b.signal("KILL");
        assert_ne!(raw_http::get(gateway.address(), "/v2/models/digits/ready").status, 200);
    }
}
