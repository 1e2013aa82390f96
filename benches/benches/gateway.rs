//! What a gateway costs, end to end: the same server asked directly and through one, and through one whose
//! requests are copied to a shadow, in alternating rounds of one run.
//!
//! `cargo bench --bench gateway`, or one short round with `-- --quick` (or `--test`, as cargo's own harness
//! calls it).

use serde_json::Value;
use std::io::Write as _;
use tensorforge_benches::median;
use tensorforge_tests::program::{Server, run};

/// What a way took: requests a second, p50 and p99 in milliseconds.
#[derive(Default)]
struct Cell {
    throughput: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
}

impl Cell {
    fn measure(&mut self, server: &Server, duration: &str) {
        let load = [
            "--json",
            "load",
            "digits",
            "--url",
            server.url(),
            "--concurrency",
            "8",
            "--duration",
            duration,
            "--warmup",
            "300ms",
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
    }

    fn medians(self, name: &str) -> [f64; 3] {
        let [throughput, p50, p99] = [median(self.throughput), median(self.p50), median(self.p99)];
        println!("{name:<24} {throughput:>10.0} {p50:>8.2} {p99:>8.2}");
        [throughput, p50, p99]
    }
}

/// A gateway without models, in front of `server`; `model` is what its table says of the model besides.
fn gateway(server: &Server, model: &str) -> (Server, tempfile::NamedTempFile) {
    let mut table = tempfile::Builder::new().suffix(".toml").tempfile().expect("a file");
    let url = server.url();
    write!(
        table,
        "[[endpoints]]\nname = \"server\"\nurl = \"{url}\"\n[[models]]\nname = \"digits\"\n{model}\n"
    )
    .expect("writable");
    let file = table.path().to_str().expect("a name in UTF-8").to_owned();
    (Server::start(&["--models", "/nonexistent", "--routes", &file]), table)
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick" || argument == "--test");
    let (rounds, duration) = if quick { (1, "1s") } else { (5, "3s") };
    let server = Server::start(&["--backend", "tract"]);
    let (plain, _plain_table) = gateway(&server, "");
    let shadows = "shadows = [{ version = \"1\", percent = 20, answers = \"compare\" }]";
    let (shadowed, _shadowed_table) = gateway(&server, shadows);
    let [mut direct, mut through, mut copied] = [(); 3].map(|()| Cell::default());
    for _ in 0..rounds {
        direct.measure(&server, duration);
        through.measure(&plain, duration);
        copied.measure(&shadowed, duration);
    }
    println!("digits on tract, 8 connections, {rounds} rounds of {duration}, medians\n");
    println!("way                           req/s   p50 ms   p99 ms");
    let direct = direct.medians("directly");
    let through = through.medians("through a gateway");
    let copied = copied.medians("and 20 % to a shadow");
    println!(
        "\ngateway / directly: p50 {:.2} x, p99 {:.2} x, throughput {:.2} x",
        through[1] / direct[1],
        through[2] / direct[2],
        through[0] / direct[0]
    );
    println!(
        "shadow / none: p50 {:.2} x, p99 {:.2} x (the shadow runs on the same processors)",
        copied[1] / through[1],
        copied[2] / through[2]
    );
}
