//! What dynamic batching brings, over the whole path: the same server and load with batching on
//! and off, in alternating rounds of one run, for each runtime on this machine.
//!
//! `cargo bench --bench serving`, or one short round with `-- --quick` (or `--test`, as cargo's own
//! harness calls it).

use serde_json::Value;
use tensorforge_benches::median;
use tensorforge_tests::program::{Server, run};

/// What the first end-to-end issue asks of batching at 32 connections.
const WANTED_MEAN_BATCH: f64 = 4.0;
const WANTED_SPEEDUP: f64 = 2.0;

struct Cell {
    throughput: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    mean_batch: Vec<f64>,
}

impl Cell {
    const fn new() -> Self {
        Self { throughput: vec![], p50: vec![], p99: vec![], mean_batch: vec![] }
    }

    fn measure(&mut self, backend: &str, batching: &[&str], duration: &str) {
        let server = Server::start(&[&["--backend", backend][..], batching].concat());
        let url = server.url();
        let load = [
            "--json",
            "load",
            "digits",
            "--url",
            url,
            "--concurrency",
            "32",
            "--duration",
            duration,
            "--warmup",
            "500ms",
            "--file",
            "models/digits/requests/seven.json",
        ];
        let ended = run(&load);
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        let report: Value = serde_json::from_slice(&ended.stdout).expect("load speaks JSON");
        let figure = |pointer: &str| {
            report
                .pointer(pointer)
                .and_then(Value::as_f64)
                .unwrap_or_else(|| panic!("{pointer}: {report}"))
        };
        self.throughput.push(figure("/throughput"));
        self.p50.push(figure("/latency_ms/p50"));
        self.p99.push(figure("/latency_ms/p99"));
        self.mean_batch.push(figure("/mean_batch"));
    }

    fn print(self, backend: &str, batching: &str) -> (f64, f64) {
        let (throughput, mean_batch) = (median(self.throughput), median(self.mean_batch));
        let (p50, p99) = (median(self.p50), median(self.p99));
        println!(
            "{backend:<12} {batching:<4} {throughput:>10.0} {p50:>8.2} {p99:>8.2} {mean_batch:>11.1}"
        );
        (throughput, mean_batch)
    }
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick" || argument == "--test");
    let (rounds, duration) = if quick { (1, "1s") } else { (5, "4s") };
    let doctor: Value =
        serde_json::from_slice(&run(&["--json", "doctor"]).stdout).expect("doctor speaks JSON");
    let runtimes = doctor["runtimes"].as_array().expect("doctor lists runtimes");
    println!("digits, 32 connections, {rounds} rounds of {duration}, medians\n");
    println!("runtime      batching    req/s   p50 ms   p99 ms  mean batch");
    for runtime in runtimes {
        let backend = runtime["name"].as_str().expect("a name");
        if runtime["available"] != true {
            println!("{backend:<12} not on this machine: {}", runtime["problem"]);
            continue;
        }
        let (mut on, mut off) = (Cell::new(), Cell::new());
        for _ in 0..rounds {
            on.measure(backend, &[], duration);
            off.measure(backend, &["--max-batch", "1"], duration);
        }
        let (on, mean_batch) = on.print(backend, "on");
        let (off, _) = off.print(backend, "off");
        let speedup = on / off;
        let reached = if speedup > WANTED_SPEEDUP && mean_batch > WANTED_MEAN_BATCH {
            "reached"
        } else {
            "NOT reached"
        };
        println!(
            "{backend:<12} on/off {speedup:.2} x, mean batch {mean_batch:.1}: \
             {WANTED_SPEEDUP} x and {WANTED_MEAN_BATCH} {reached}\n"
        );
    }
}
