//! What the server tells of its batches: `/metrics` and the statistics, read back strictly.

#![allow(
    clippy::unwrap_used,
    reason = "clippy sees tests in #[test] functions, not in their helpers"
)]

mod batch_scheduler {
    use proptest::prelude::*;
    use serde_json::Value;
    use std::collections::BTreeMap;
    use std::io::Write;
    use tensorforge::clock::Clock;
    use tensorforge::telemetry::prometheus::{CONTENT_TYPE, ServerFigures, render};
    use tensorforge::telemetry::{
        BatchRecord, ExecutionTimes, FailReason, ModelRecorder, RequestRecord, collect,
    };
    use tensorforge_core::{ClosingReason, Duration, Instant};
    use tensorforge_tests::onnx;
    use tensorforge_tests::program::Server;
    use tensorforge_tests::prometheus::{self, Metrics};
    use tensorforge_tests::raw_http;

    const SERVER: ServerFigures<'_> =
        ServerFigures { version: "1.2.3-\"\\", uptime: 1.5, ready_models: 2, queued: 3 };

    fn record(recorder: &ModelRecorder, priority: u8, micros: u64) {
        let total = Duration::from_micros(micros);
        let times = ExecutionTimes { infer: total, ..Default::default() };
        let batch = BatchRecord {
            now: Instant::ZERO,
            priority,
            items: 3,
            copied: 0,
            padded: 4,
            max_items: 6,
            reason: ClosingReason::MaxWait,
            times,
        };
        let request = RequestRecord { priority, items: 3, queue: Duration::ZERO, total };
        recorder.batch(&batch, &[request]);
    }

    #[test]
    fn the_text_says_what_was_recorded() {
        let (busy, idle) = (ModelRecorder::default(), ModelRecorder::default());
        for micros in [10, 11, 2_000, 200_000_000] {
            record(&busy, 2, micros);
        }
        busy.failed(2, Duration::from_secs(1), FailReason::Timeout);
        busy.batch_failed(2);
        let _pending = busy.pending();
        // The order that they are given in does not matter.
        let series = collect([("z", 1, &idle), ("a", 10, &busy), ("a", 9, &idle)], Instant::ZERO);
        let text = render(&SERVER, &series);
        let metrics = prometheus::parse(&text).unwrap();

        let model = [("model", "a"), ("version", "10")];
        let level = [&model[..], &[("priority", "2")]].concat();
        let value = |name: &str, more: &[(&str, &str)]| {
            metrics.value(&format!("tensorforge_{name}"), &[&level, more].concat())
        };
        assert_eq!(value("requests_total", &[("outcome", "success")]), 4.0);
        assert_eq!(value("requests_total", &[("outcome", "timeout")]), 1.0);
        assert_eq!(value("requests_total", &[("outcome", "canceled")]), 0.0);
        assert_eq!(value("items_total", &[]), 12.0);
        for (bound, held) in [("0.00001", 1.0), ("0.000025", 2.0), ("100", 3.0), ("+Inf", 4.0)] {
            assert_eq!(value("request_duration_seconds_bucket", &[("le", bound)]), held, "{bound}");
        }
        let sum = value("request_duration_seconds_sum", &[]);
        assert!((sum - 200.002_021).abs() < 1e-9, "{sum}");
        let p50 = value("request_duration_quantile_seconds", &[("quantile", "0.5")]);
        assert!((p50 - 11e-6).abs() <= 11e-6 / 129.0, "{p50}");
        assert_eq!(value("queue_duration_seconds_bucket", &[("le", "0.00001")]), 4.0);
        assert_eq!(value("batches_total", &[("reason", "max_wait")]), 4.0);
        assert_eq!(value("batches_total", &[("reason", "full")]), 0.0);
        assert_eq!(value("batch_size_items_bucket", &[("le", "2")]), 0.0);
        assert_eq!(value("batch_size_items_bucket", &[("le", "4")]), 4.0);
        assert_eq!(value("batch_size_items_sum", &[]), 12.0);
        assert_eq!(value("batch_capacity_items_total", &[]), 24.0);
        assert_eq!(value("batch_fill_ratio", &[]), 0.5);
        assert_eq!(value("batch_padded_items_total", &[]), 4.0);
        assert_eq!(value("batch_padding_ratio", &[]), 0.25);
        assert_eq!(value("failed_batches_total", &[]), 1.0);
        assert_eq!(metrics.value("tensorforge_pending_requests", &model), 1.0);
        assert_eq!(metrics.value("tensorforge_fairness_ratio", &model), 1.0);
        assert_eq!(metrics.value("tensorforge_build_info", &[("version", SERVER.version)]), 1.0);
        assert_eq!(metrics.value("tensorforge_uptime_seconds", &[]), 1.5);
        assert_eq!(metrics.value("tensorforge_models_ready", &[]), 2.0);
        assert_eq!(metrics.value("tensorforge_queued_requests", &[]), 3.0);

        // Level 0 has its counters, at 0, before its first request; and no quantile.
        let unused = [&model[..], &[("priority", "0"), ("reason", "full")]].concat();
        assert_eq!(metrics.value("tensorforge_batches_total", &unused), 0.0);
        let idle = [("model", "z"), ("priority", "0"), ("outcome", "success")];
        assert_eq!(metrics.value("tensorforge_requests_total", &idle), 0.0);
        let quantiles = &metrics.0["tensorforge_request_duration_quantile_seconds"].samples;
        assert!(quantiles.iter().all(|(_, labels, _)| labels["version"] == "10"));
        // Versions as numbers: 9 before 10.
        let order: Vec<_> = metrics.0["tensorforge_pending_requests"]
            .samples
            .iter()
            .map(|(_, labels, _)| (&*labels["model"], &*labels["version"]))
            .collect();
        assert_eq!(order, [("a", "9"), ("a", "10"), ("z", "1")]);
    }

    proptest! {
        #[test]
        fn any_name_comes_back_from_the_text(
            name in "[\\\\\"\n{},= a-zäλ\u{1F980}]{0,12}",
            priorities in proptest::collection::vec((0..8_u8, 0..400_000_000_u64), 0..12),
        ) {
            let recorder = ModelRecorder::default();
            priorities.iter().for_each(|&(priority, micros)| record(&recorder, priority, micros));
            let series = collect([(&*name, 1, &recorder)], Instant::ZERO);
            let text = render(&SERVER, &series);
            let metrics = prometheus::parse(&text).map_err(TestCaseError::fail)?;
            prop_assert_eq!(metrics.value("tensorforge_pending_requests", &[("model", &name)]), 0.0);
            let batches = metrics.sum("tensorforge_batch_size_items_count", &[("model", &name)]);
            prop_assert_eq!(batches, priorities.len() as f64);
        }
    }

    #[test]
    fn the_reader_refuses_what_breaks_a_rule() {
        let good = "# HELP a_total h\n# TYPE a_total counter\na_total{b=\"c\\\\\"} 1\n";
        prometheus::parse(good).unwrap();
        let histogram = |lines: &str| format!("# HELP h x\n# TYPE h histogram\n{lines}");
        prometheus::parse(&histogram("h_bucket{le=\"+Inf\"} 1\nh_sum 2\nh_count 1\n")).unwrap();
        for bad in [
            "a_total 1\n",
            "# HELP a h\na 1\n",
            "# HELP a h\n# TYPE a counter\na 1\n",
            "# HELP a h\n# TYPE a gauge\nb 1\n",
            "# HELP a h\n# TYPE a gauge\na 1\na 1\n",
            "# HELP a h\n# TYPE a gauge\na 1",
            "# HELP a h\n# TYPE a gauge\na inf\n",
            "# HELP a h\n# TYPE a gauge\na{b=\"c\"d\"} 1\n",
            "# HELP a h\n# TYPE a gauge\na{b=\"c\\d\"} 1\n",
            &histogram("h_bucket{le=\"1\"} 1\nh_sum 2\nh_count 1\n"),
            &histogram("h_bucket{le=\"+Inf\"} 2\nh_sum 2\nh_count 1\n"),
            &histogram("h_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 1\nh_sum 2\nh_count 1\n"),
            &histogram(
                "h_bucket{le=\"2\"} 1\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 1\nh_sum 2\nh_count 1\n",
            ),
        ] {
            assert!(prometheus::parse(bad).is_err(), "{bad}");
        }
    }

    fn metrics(server: &Server) -> Metrics {
        let answer = raw_http::get(server.address(), "/metrics");
        assert_eq!(answer.status, 200, "{}", answer.head);
        let content_type = format!("content-type: {CONTENT_TYPE}");
        assert!(answer.head.to_lowercase().contains(&content_type), "{}", answer.head);
        prometheus::parse(std::str::from_utf8(&answer.body).unwrap()).unwrap()
    }

    fn figures(server: &Server, model: &str) -> Value {
        let path = format!("/v2/models/{}/stats", in_path(model));
        raw_http::get(server.address(), &path).json()["model_stats"][0].take()
    }

    #[test]
    fn what_is_not_a_get_is_refused() {
        let server = Server::start(&["--backend", "tract"]);
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            let head = format!(
                "{method} /metrics HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            );
            let answer = raw_http::exchange(server.address(), head.as_bytes());
            assert_eq!(answer.status, 405, "{}", answer.head);
            assert!(answer.error().contains(method), "{}", answer.error());
            let allow = answer.head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("allow").then_some(value)
            });
            assert!(allow.unwrap().split(',').any(|method| method == "GET"), "{}", answer.head);
        }
    }

    /// A folder of models that look four values up; an index beyond them fails while it runs.
    fn lookups(models: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, config) in models {
            let version = folder.path().join(name).join("1");
            std::fs::create_dir_all(&version).unwrap();
            std::fs::write(version.join("model.onnx"), onnx::lookup()).unwrap();
            std::fs::write(folder.path().join(name).join("config.toml"), config).unwrap();
        }
        folder
    }

    fn serve(models: &tempfile::TempDir) -> Server {
        let path = models.path().to_str().unwrap();
        Server::start(&["--models", path, "--backend", "tract"])
    }

    /// Every byte but letters and digits as `%XX`.
    fn in_path(name: &str) -> String {
        let encoded = name.bytes().map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        });
        encoded.collect()
    }

    fn body(rows: &[i64], parameters: &str) -> Vec<u8> {
        let (count, data) = (rows.len(), serde_json::to_string(rows).unwrap());
        let input =
            format!(r#""name":"index","datatype":"INT64","shape":[{count},1],"data":{data}"#);
        format!(r#"{{"parameters":{{{parameters}}},"inputs":[{{{input}}}]}}"#).into_bytes()
    }

    fn ask(server: &Server, model: &str, rows: &[i64], parameters: &str) -> u16 {
        let path = format!("/v2/models/{}/infer", in_path(model));
        raw_http::post(server.address(), &path, "", &body(rows, parameters)).status
    }

    /// Asks until it is so.
    fn until(so: impl Fn() -> bool) {
        let (clock, minute) = (Clock::start(), Duration::from_secs(60));
        while !so() {
            assert!(clock.now().since(Instant::ZERO) < minute, "it never comes to that");
            std::thread::yield_now();
        }
    }

    fn until_queued(server: &Server, count: f64) {
        until(|| metrics(server).value("tensorforge_queued_requests", &[]) == count);
    }

    /// Requests by level and by what became of them; what is 0 is left out.
    type Outcomes = BTreeMap<(u8, String), u64>;

    fn outcomes<const N: usize>(expected: [((u8, &str), u64); N]) -> Outcomes {
        expected.into_iter().map(|((of, what), count)| ((of, what.to_owned()), count)).collect()
    }

    fn outcomes_in_text(metrics: &Metrics, model: &str) -> Outcomes {
        let samples = metrics.samples("tensorforge_requests_total", &[("model", model)]);
        let used = samples.into_iter().filter(|&(_, count)| count != 0.0);
        let named = used.map(|(labels, count)| {
            ((labels["priority"].parse().unwrap(), labels["outcome"].clone()), count as u64)
        });
        named.collect()
    }

    fn outcomes_in_json(told: &Value) -> Outcomes {
        let mut outcomes = Outcomes::new();
        for level in told["tensorforge"]["levels"].as_array().unwrap() {
            let priority = level["priority"].as_u64().unwrap() as u8;
            let failures = level["failures"].as_object().unwrap().iter();
            let failures = failures.map(|(why, failed)| (why.as_str(), &failed["count"]));
            for (what, count) in failures.chain([("success", &level["success"])]) {
                outcomes.insert((priority, what.to_owned()), count.as_u64().unwrap());
            }
        }
        outcomes.retain(|_, count| *count != 0);
        outcomes
    }

    /// Both tell the same outcomes, and Triton's own figures agree with them. Gives them back.
    fn check_outcomes(server: &Server, model: &str, expected: &Outcomes) -> (Metrics, Value) {
        let (metrics, told) = (metrics(server), figures(server, model));
        assert_eq!(&outcomes_in_text(&metrics, model), expected);
        assert_eq!(&outcomes_in_json(&told), expected);
        let count = |success: bool| {
            let fitting = expected.iter().filter(|((_, what), _)| (what == "success") == success);
            fitting.map(|(_, &count)| count).sum::<u64>()
        };
        let ours = &told["inference_stats"];
        assert_eq!(ours["success"]["count"], count(true));
        assert_eq!(ours["fail"]["count"], count(false));
        for phase in ["queue", "compute_input", "compute_infer", "compute_output"] {
            assert_eq!(ours[phase]["count"], count(true), "{phase}");
        }
        (metrics, told)
    }

    #[test]
    fn requests_one_by_one_are_told_exactly() {
        // All that the text escapes, all that its lines are made of, and a letter of two bytes.
        const NAME: &str = "we\"ird\\n\nmodel {le=\"1\",} λ";
        let models = lookups(&[(NAME, "max_batch = 16\nmax_queued = 2"), ("idle", "")]);
        let server = serve(&models);
        assert_eq!(outcomes_in_text(&metrics(&server), NAME), Outcomes::new());

        let (mut batches, mut items, mut padded) = ([0; 8], [0; 8], [0; 8]);
        for (priority, rows) in [(0, 1), (5, 3), (5, 4), (7, 16), (7, 5), (5, 9)] {
            let parameters = format!(r#""priority":{priority}"#);
            assert_eq!(ask(&server, NAME, &vec![1; rows], &parameters), 200);
            batches[priority] += 1;
            items[priority] += rows;
            // Sizes are powers of two unless the configuration says otherwise.
            padded[priority] += rows.next_power_of_two() - rows;
        }
        // Too large for one batch, it runs in two.
        assert_eq!(ask(&server, NAME, &[1; 20], r#""priority":7"#), 200);
        (batches[7], items[7]) = (batches[7] + 2, items[7] + 20);
        assert_eq!(ask(&server, NAME, &[1], ""), 200);
        (batches[0], items[0]) = (batches[0] + 1, items[0] + 1);
        assert_eq!(ask(&server, NAME, &[99], r#""priority":2"#), 500);
        // More rows than may wait, priorities that there are not, and a wrong input.
        assert_eq!(ask(&server, NAME, &[1; 33], r#""priority":3"#), 400);
        assert_eq!(ask(&server, NAME, &[1], r#""priority":8"#), 400);
        assert_eq!(ask(&server, NAME, &[1], r#""priority":"high""#), 400);
        let unfit = br#"{"parameters":{"priority":4},"inputs":[{"name":"index","datatype":"FP32","shape":[1,1],"data":[0]}]}"#;
        let path = format!("/v2/models/{}/infer", in_path(NAME));
        assert_eq!(raw_http::post(server.address(), &path, "", unfit).status, 400);
        // Nobody's.
        assert_eq!(ask(&server, "nothing", &[1], ""), 404);

        let expected = outcomes([
            ((0, "success"), 2),
            ((0, "invalid"), 2),
            ((2, "backend"), 1),
            ((3, "invalid"), 1),
            ((4, "invalid"), 1),
            ((5, "success"), 3),
            ((7, "success"), 3),
        ]);
        let (metrics, told) = check_outcomes(&server, NAME, &expected);
        for priority in 0..8_usize {
            if ![0, 2, 3, 4, 5, 7].contains(&priority) {
                let labels = [("model", NAME), ("priority", &*priority.to_string())];
                assert!(metrics.samples("tensorforge_batches_total", &labels).is_empty());
                continue;
            }
            let of = priority.to_string();
            let labels = [("model", NAME), ("version", "1"), ("priority", &*of)];
            let value = |name: &str| metrics.value(&format!("tensorforge_{name}"), &labels);
            let (count, items) = (batches[priority] as f64, items[priority] as f64);
            let padded = padded[priority] as f64;
            assert_eq!(metrics.sum("tensorforge_batches_total", &labels), count);
            assert_eq!(value("batch_size_items_count"), count);
            assert_eq!(value("batch_size_items_sum"), items);
            assert_eq!(value("items_total"), items);
            assert_eq!(value("batch_padded_items_total"), padded);
            assert_eq!(value("batch_capacity_items_total"), 16.0 * count);
            assert_eq!(value("failed_batches_total"), if priority == 2 { 1.0 } else { 0.0 });

            let levels = told["tensorforge"]["levels"].as_array().unwrap();
            let level = levels.iter().find(|level| level["priority"] == priority).unwrap();
            let batches = &level["batches"];
            assert_eq!(batches["count"].as_f64(), Some(count));
            assert_eq!(batches["items"].as_f64(), Some(items));
            assert_eq!(batches["padded"].as_f64(), Some(padded));
            if count > 0.0 {
                assert_eq!(value("batch_fill_ratio"), items / (16.0 * count));
                assert_eq!(value("batch_padding_ratio"), padded / (items + padded));
                assert_eq!(batches["mean_items"].as_f64(), Some(items / count));
            } else {
                assert_eq!(
                    (&batches["mean_items"], &batches["fill_rate"]),
                    (&Value::Null, &Value::Null)
                );
            }
        }
        let sums = |of: &[usize]| of.iter().sum::<usize>() as u64;
        assert_eq!(told["execution_count"], sums(&batches));
        assert_eq!(told["inference_count"], sums(&items));
        let sizes = told["batch_stats"].as_array().unwrap().iter();
        let sizes = sizes.map(|size| {
            (size["batch_size"].as_u64().unwrap(), size["compute_infer"]["count"].as_u64().unwrap())
        });
        let expected = [(1, 2), (3, 1), (4, 2), (5, 1), (9, 1), (16, 2)];
        assert_eq!(sizes.collect::<Vec<_>>(), expected);
        // Everyone who wanted a turn got one.
        assert_eq!(metrics.value("tensorforge_fairness_ratio", &[("model", NAME)]), 1.0);
        assert_eq!(outcomes_in_text(&metrics, "idle"), Outcomes::new());
        let all = raw_http::get(server.address(), "/v2/models/stats").json();
        let all = all["model_stats"].as_array().unwrap();
        let same = all.iter().find(|one| one["name"] == NAME).unwrap();
        assert_eq!(outcomes_in_json(same), outcomes_in_json(&told));
        assert_eq!(all.len(), 2);
    }

    #[test]
    fn what_waits_in_vain_says_why() {
        let config = "max_batch = 4\nmax_wait = \"1h\"\nmax_queued = 1\ndisplace = true";
        let models = lookups(&[("waits", config)]);
        let server = serve(&models);
        assert_eq!(ask(&server, "waits", &[1], r#""priority":6,"timeout":1000"#), 504);
        std::thread::scope(|scope| {
            let low = scope.spawn(|| ask(&server, "waits", &[1], r#""priority":1"#));
            until_queued(&server, 1.0);
            let text = body(&[2], r#""priority":3"#);
            let head = format!(
                "POST /v2/models/waits/infer HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n",
                text.len()
            );
            let mut high = std::net::TcpStream::connect(server.address()).unwrap();
            high.write_all(&[head.as_bytes(), &text].concat()).unwrap();
            assert_eq!(low.join().unwrap(), 429, "the higher took its place");
            assert_eq!(ask(&server, "waits", &[1], r#""priority":2"#), 429, "and keeps it");
            drop(high);
            until_queued(&server, 0.0);
        });
        until(|| figures(&server, "waits")["pending"] == 0);
        // As many as a batch holds run at once.
        assert_eq!(ask(&server, "waits", &[0, 1, 2, 3], r#""priority":1"#), 200);

        let expected = outcomes([
            ((1, "displaced"), 1),
            ((1, "success"), 1),
            ((2, "queue_full"), 1),
            ((3, "canceled"), 1),
            ((6, "timeout"), 1),
        ]);
        let (metrics, told) = check_outcomes(&server, "waits", &expected);
        let full = [("priority", "1"), ("reason", "full")];
        assert_eq!(metrics.value("tensorforge_batches_total", &full), 1.0);
        assert_eq!(metrics.sum("tensorforge_batches_total", &[]), 1.0);
        // Shares of 1/2, 0, 0 and 0: (1/2)² / (4 × 1/4).
        assert_eq!(metrics.value("tensorforge_fairness_ratio", &[]), 0.25);
        assert_eq!(told["tensorforge"]["fairness"], 0.25);
    }

    /// The quantiles agree with the histogram of the same times, and these with the count.
    fn check_times(metrics: &Metrics, kind: &str, labels: &[(&str, &str)], count: f64) {
        let name = |suffix: &str| format!("tensorforge_{kind}_duration{suffix}");
        assert_eq!(metrics.value(&name("_seconds_count"), labels), count);
        let mut before = 0.0;
        for (quantile, share) in [("0.5", 0.5), ("0.95", 0.95), ("0.99", 0.99)] {
            let of = [labels, &[("quantile", quantile)]].concat();
            let told = metrics.value(&name("_quantile_seconds"), &of);
            assert!(told >= before, "{kind} {labels:?}: {quantile} is {told}, after {before}");
            before = told;
            // How many were no longer than the true one, at least.
            let rank = (count * share).ceil();
            let buckets = metrics.samples(&name("_seconds_bucket"), labels);
            assert_eq!(buckets.len(), 23);
            for (of, held) in buckets {
                let bound =
                    if of["le"] == "+Inf" { f64::INFINITY } else { of["le"].parse().unwrap() };
                if bound >= told * (1.0 + 1.0 / 128.0) {
                    assert!(held >= rank, "{kind} {labels:?}: {quantile} {told}, {bound} {held}");
                } else if bound < told * (1.0 - 1.0 / 128.0) {
                    assert!(held < rank, "{kind} {labels:?}: {quantile} {told}, {bound} {held}");
                }
            }
        }
    }

    #[test]
    fn requests_all_at_once_add_up() {
        const CLIENTS: u64 = 8;
        const EACH: u64 = 60;
        let models = lookups(&[("busy", "max_queued = 3\nmax_batch = 8\ndisplace = true")]);
        let server = serve(&models);
        let mut expected = Outcomes::new();
        let mut rows_answered = 0;
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let server = &server;
                    scope.spawn(move || {
                        let ask = |i| {
                            let (priority, rows) = ((client + i) % 8, 1 + i % 3);
                            let index = if i % 10 == 9 { 99 } else { 0 };
                            let parameters = format!(r#""priority":{priority}"#);
                            let rows = vec![index; rows as usize];
                            let path = "/v2/models/busy/infer";
                            let body = body(&rows, &parameters);
                            let answer = raw_http::post(server.address(), path, "", &body);
                            (priority as u8, rows.len() as u64, answer)
                        };
                        (0..EACH).map(ask).collect::<Vec<_>>()
                    })
                })
                .collect();
            for (priority, rows, answer) in clients.into_iter().flat_map(|c| c.join().unwrap()) {
                let outcome = match answer.status {
                    200 => "success",
                    429 if answer.error().contains("higher priority") => "displaced",
                    429 => "queue_full",
                    500 => "backend",
                    other => panic!("{other}: {}", answer.error()),
                };
                rows_answered += if answer.status == 200 { rows } else { 0 };
                *expected.entry((priority, outcome.to_owned())).or_default() += 1;
            }
        });
        assert_eq!(expected.values().sum::<u64>(), CLIENTS * EACH);

        let (metrics, told) = check_outcomes(&server, "busy", &expected);
        assert_eq!(told["inference_count"], rows_answered);
        assert_eq!(metrics.sum("tensorforge_items_total", &[]), rows_answered as f64);
        assert_eq!(metrics.sum("tensorforge_batch_size_items_sum", &[]), rows_answered as f64);
        let executions = told["execution_count"].as_f64().unwrap();
        assert_eq!(metrics.sum("tensorforge_batches_total", &[]), executions);
        assert_eq!(told["tensorforge"]["batches"]["count"].as_f64(), Some(executions));
        let capacity = metrics.sum("tensorforge_batch_capacity_items_total", &[]);
        assert_eq!(capacity, 8.0 * executions);
        let failed = metrics.sum("tensorforge_failed_batches_total", &[]);
        let at_fault = expected.iter().filter(|((_, what), _)| what == "backend");
        assert!(failed >= at_fault.map(|(_, &count)| count).sum::<u64>() as f64, "each ran alone");
        let fairness = metrics.value("tensorforge_fairness_ratio", &[("model", "busy")]);
        assert!((0.125..=1.0).contains(&fairness), "{fairness}");
        for ((of, outcome), &count) in &expected {
            if outcome != "success" {
                continue;
            }
            let priority = of.to_string();
            let labels = [("model", "busy"), ("priority", &*priority)];
            for kind in ["request", "queue", "execution"] {
                check_times(&metrics, kind, &labels, count as f64);
            }
            let sum = |kind: &str| {
                metrics.value(&format!("tensorforge_{kind}_duration_seconds_sum"), &labels)
            };
            let levels = told["tensorforge"]["levels"].as_array().unwrap();
            let level = levels.iter().find(|level| level["priority"] == *of);
            for (quantile, key) in [("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99")] {
                let of = [&labels[..], &[("quantile", quantile)]].concat();
                let text = metrics.value("tensorforge_request_duration_quantile_seconds", &of);
                assert_eq!(level.unwrap()["total"][key].as_f64(), Some(text), "{quantile}");
            }
            // What is waited for and what runs are parts of the whole; rounding aside.
            assert!(sum("request") * (1.0 + 1e-12) >= sum("queue") + sum("execution"));
        }
    }
}
