//! What dynamic batching brings, over the whole path: the same server and load with batching on
//! and off, in alternating rounds of one run, for each runtime on this machine.
//!
//! Once over REST, by the program's own load generator, and once in process, through
//! `tensorforge::service::Service`.
//!
//! `cargo bench --bench serving`, or one short round with `-- --quick` (or `--test`, as cargo's own
//! harness calls it).

use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use tensorforge::batch_scheduler::BatchScheduler;
use tensorforge::clock::Clock;
use tensorforge::contracts::InferRequest;
use tensorforge::device::cpu::{self, Backend, CpuOptions};
use tensorforge::models::Tensor;
use tensorforge::registry::{Registry, RegistryOptions};
use tensorforge::service::Service;
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

/// Requests that each of so many clients sends, one after the other.
const CLIENTS: usize = 32;

/// Answers a second of the library in this process.
fn in_process(backend: Backend, max_batch: u32, requests: usize) -> f64 {
    let registry = Registry::open(
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../models")),
        move |file, config| {
            let batch_sizes = config.batch_sizes().into_iter().map(|size| size as usize).collect();
            cpu::load(file, &CpuOptions { backend, batch_sizes, ..Default::default() })
        },
        move |config| {
            config.max_batch = max_batch;
            config.batch_sizes = None;
        },
        RegistryOptions::default(),
    )
    .expect("the models are there");
    let clock = Clock::start();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let scheduler = BatchScheduler::start(clock, workers).expect("threads");
    let service = Arc::new(Service::new(clock, registry, scheduler).expect("models"));
    let runtime = tokio::runtime::Builder::new_multi_thread().build().expect("a runtime");
    runtime.block_on(async {
        let send = |requests: usize| {
            let clients = (0..CLIENTS).map(|_| {
                let service = Arc::clone(&service);
                tokio::spawn(async move {
                    for _ in 0..requests {
                        let image = Tensor::from_f32("image", vec![1, 64], &[0.5; 64]);
                        let request = InferRequest { inputs: vec![image], ..Default::default() };
                        service.infer("digits", None, request).await.expect("an answer");
                    }
                })
            });
            let clients: Vec<_> = clients.collect();
            async {
                for client in clients {
                    client.await.expect("a client");
                }
            }
        };
        send(requests / 10).await;
        let started = clock.now();
        send(requests).await;
        (CLIENTS * requests) as f64 * 1e9 / clock.now().since(started).as_nanos() as f64
    })
}

fn print_in_process(rounds: usize, requests: usize, backend: Backend) {
    let (mut on, mut off) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        on.push(in_process(backend, 32, requests));
        off.push(in_process(backend, 1, requests));
    }
    let (on, off) = (median(on), median(off));
    let ratio = on / off;
    println!(
        "{backend:<12} in process: on {on:.0} req/s, off {off:.0} req/s, on/off {ratio:.2} x\n"
    );
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
             {WANTED_SPEEDUP} x and {WANTED_MEAN_BATCH} {reached}"
        );
        let requests = if quick { 100 } else { 2_000 };
        print_in_process(rounds, requests, backend.parse().expect("doctor's names"));
    }
}
