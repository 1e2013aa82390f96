//! What a gateway and the servers behind it tell at `/metrics` and in their statistics, as running programs.

#![allow(
    clippy::unwrap_used,
    reason = "clippy sees tests in #[test] functions, not in their helpers"
)]

mod routing {
    use serde_json::Value;
    use std::fmt::Write as _;
    use tensorforge::clock::Clock;
    use tensorforge_core::{Duration, Instant};
    use tensorforge_tests::onnx;
    use tensorforge_tests::program::Server;
    use tensorforge_tests::prometheus::{self, Metrics};
    use tensorforge_tests::raw_http;

    /// A folder of models that look four values up; an index beyond them fails while it runs.
    fn lookups(models: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in models {
            let version = folder.path().join(name).join("1");
            std::fs::create_dir_all(&version).unwrap();
            std::fs::write(version.join("model.onnx"), onnx::lookup()).unwrap();
        }
        folder
    }

    fn serve(models: &tempfile::TempDir, more: &[&str]) -> Server {
        let path = models.path().to_str().unwrap();
        Server::start(&[&["--models", path, "--backend", "tract"], more].concat())
    }

    /// The strict reader has read all of it.
    fn metrics(server: &Server) -> Metrics {
        let answer = raw_http::get(server.address(), "/metrics");
        assert_eq!(answer.status, 200, "{}", answer.head);
        prometheus::parse(std::str::from_utf8(&answer.body).unwrap()).unwrap()
    }

    fn statistics(server: &Server, model: &str) -> Value {
        let path = format!("/v2/models/{model}/stats");
        raw_http::get(server.address(), &path).json()["model_stats"][0].take()
    }

    fn ask(server: &Server, model: &str, index: i64, parameters: &str) -> u16 {
        let input = format!(r#""name":"index","datatype":"INT64","shape":[1,1],"data":[{index}]"#);
        let body = format!(r#"{{"parameters":{{{parameters}}},"inputs":[{{{input}}}]}}"#);
        let path = format!("/v2/models/{model}/infer");
        raw_http::post(server.address(), &path, "", body.as_bytes()).status
    }

    fn until(so: impl Fn() -> bool) {
        let (clock, minute) = (Clock::start(), Duration::from_secs(60));
        while !so() {
            assert!(clock.now().since(Instant::ZERO) < minute, "it never comes to that");
            std::thread::yield_now();
        }
    }

    /// All that the text escapes, in the name of an endpoint.
    const WEIRD: &str = "tw\\\\o \\\"2\\\" {le=1,}";

    #[test]
    fn a_gateway_and_its_servers_agree_and_no_copy_looks_like_a_users_request() {
        let (users, tried) = (lookups(&["m"]), lookups(&["next"]));
        let (one, two) = (serve(&users, &[]), serve(&users, &[]));
        let shadow = serve(&tried, &[]);
        let here = lookups(&["here"]);
        let mut table = String::new();
        let (urls, local) = ([one.url(), two.url(), shadow.url()], "local");
        for (name, url) in [("one", urls[0]), (WEIRD, urls[1]), ("tried", urls[2]), ("here", local)]
        {
            writeln!(table, "[[endpoints]]\nname = \"{name}\"\nurl = \"{url}\"").unwrap();
        }
        let shadows = ["next", "here"]
            .map(|name| format!("{{ model = \"{name}\", percent = 100, answers = \"compare\" }}"));
        writeln!(
            table,
            "[[models]]\nname = \"m\"\npolicy = \"round_robin\"\nendpoints = [\"one\", \"{WEIRD}\"]\n\
             shadows = [{}]\n\
             [[models]]\nname = \"next\"\nendpoints = [\"tried\"]\n\
             [[models]]\nname = \"here\"\nendpoints = [\"here\"]",
            shadows.join(", ")
        )
        .unwrap();
        let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        std::fs::write(file.path(), table).unwrap();
        let gateway = serve(&here, &["--routes", file.path().to_str().unwrap()]);
        let of = |metrics: &Metrics, name: &str, labels: &[(&str, &str)]| {
            metrics.value(&format!("tensorforge_route_{name}"), labels)
        };
        let before = metrics(&gateway);
        assert_eq!(of(&before, "table_version", &[]), 1.0);
        assert_eq!(before.sum("tensorforge_route_attempts_total", &[]), 0.0);

        const ANSWERED: u64 = 40;
        for index in 0..ANSWERED {
            assert_eq!(ask(&gateway, "m", index as i64 % 4, r#""priority":5"#), 200);
        }
        // Nobody can look that up, and neither can any other.
        assert_eq!(ask(&gateway, "m", 99, ""), 503);
        assert_eq!(ask(&gateway, "nothing", 0, ""), 404);

        let told = metrics(&gateway);
        let m = [("model", "m")];
        let outcome = |outcome| [("model", "m"), ("outcome", outcome)];
        assert_eq!(of(&told, "requests_total", &outcome("answered")), ANSWERED as f64);
        assert_eq!(of(&told, "requests_total", &outcome("failed")), 1.0);
        assert_eq!(told.sum("tensorforge_route_requests_total", &[]), ANSWERED as f64 + 1.0);
        assert_eq!(of(&told, "unrouted_requests_total", &[]), 1.0);
        let kinds = ["first_attempts_total", "retries_total", "hedges_total"];
        let attempts: f64 = kinds.iter().map(|kind| of(&told, kind, &m)).sum();
        assert_eq!(told.sum("tensorforge_route_attempts_total", &m), attempts);
        // What each endpoint was asked is what the server there was asked.
        for (name, server) in [("one", &one), ("tw\\o \"2\" {le=1,}", &two)] {
            let labels = [("model", "m"), ("endpoint", name)];
            let ended = told.sum("tensorforge_route_attempts_total", &labels);
            let seen = metrics(server).sum("tensorforge_requests_total", &m);
            assert!(ended >= seen && seen > 0.0, "{name}: {ended} attempts, {seen} requests");
            let answered = [&labels[..], &[("outcome", "answered")]].concat();
            let answered = of(&told, "attempts_total", &answered);
            assert_eq!(of(&told, "attempt_duration_seconds_count", &labels), answered);
            assert_eq!(told.sum("tensorforge_route_endpoint_health", &labels), 1.0);
        }

        // The copies of both shadows, in the end.
        let copies = |shadow: &str| {
            let labels = [("model", "m"), ("shadow", shadow)];
            let told = metrics(&gateway);
            let count = |name: &str| of(&told, &format!("shadow_{name}_total"), &labels);
            let [sent, shed] = ["copies", "shed"].map(count);
            assert_eq!(sent + shed, ANSWERED as f64);
            (count("answered") + count("failed") == sent).then_some((sent, count("agreed")))
        };
        for (name, server) in [("next", &shadow), ("here", &gateway)] {
            until(|| copies(name).is_some());
            let (sent, agreed) = copies(name).unwrap();
            assert!(sent > 0.0 && agreed == sent, "{name}: {agreed} of {sent} agree");
            let told = metrics(server);
            let series = told.samples("tensorforge_requests_total", &[("model", name)]);
            let (of_copies, of_users): (Vec<_>, Vec<_>) =
                series.iter().partition(|(labels, _)| labels.contains_key("shadow"));
            assert!(of_users.iter().all(|(_, count)| *count == 0.0), "{of_users:?}");
            for (labels, count) in of_copies {
                let success = labels["outcome"] == "success" && labels["priority"] == "0";
                assert_eq!(count, if success { sent } else { 0.0 }, "{labels:?}");
            }
            let stats = statistics(server, name);
            assert_eq!(
                (&stats["inference_count"], &stats["execution_count"]),
                (&0.into(), &0.into())
            );
            assert_eq!(stats["inference_stats"]["success"]["count"], 0);
            assert_eq!(stats["tensorforge"]["levels"], Value::Array(vec![]));
            let levels = &stats["tensorforge"]["shadow"]["levels"];
            assert_eq!(levels[0]["success"].as_f64(), Some(sent));
            assert_eq!(levels[0]["priority"], 0, "whatever the user's was");
        }
        let primaries = [&one, &two].map(metrics);
        for told in &primaries {
            let families = told.0.values().flat_map(|family| &family.samples);
            assert!(families.clone().all(|(_, labels, _)| !labels.contains_key("shadow")));
        }
    }

    #[test]
    fn who_says_to_be_a_copy_gains_nothing_by_it() {
        let models = lookups(&["m"]);
        let server = serve(&models, &[]);
        assert_eq!(ask(&server, "m", 0, r#""priority":3"#), 200);
        let claim = r#""route_shadow":true,"priority":7"#;
        assert_eq!(ask(&server, "m", 0, claim), 200);
        assert_eq!(ask(&server, "m", 99, claim), 500);
        assert_eq!(ask(&server, "m", 0, r#""route_shadow":true,"priority":"high""#), 400);
        // Only a plain `true` is such a claim.
        assert_eq!(ask(&server, "m", 0, r#""route_shadow":"true","priority":3"#), 200);

        let told = metrics(&server);
        let count = |labels: &[(&str, &str)]| told.sum("tensorforge_requests_total", labels);
        let copies =
            |outcome| count(&[("shadow", "true"), ("priority", "0"), ("outcome", outcome)]);
        assert_eq!(["success", "backend", "invalid"].map(copies), [1.0; 3]);
        assert_eq!(count(&[("shadow", "true")]), 3.0);
        assert_eq!(count(&[("priority", "3"), ("outcome", "success")]), 2.0);
        assert_eq!(count(&[("priority", "7")]), 0.0);
        let stats = statistics(&server, "m");
        assert_eq!(stats["inference_stats"]["success"]["count"], 2);
        assert_eq!(stats["inference_stats"]["fail"]["count"], 0);
        assert_eq!((&stats["inference_count"], &stats["execution_count"]), (&2.into(), &2.into()));
    }
}
