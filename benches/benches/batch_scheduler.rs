//! What a decision of the engine costs, at few and at a million requests waiting, and how many requests
//! it plans in a second.
//!
//! `cargo bench --bench batch_scheduler`, about a quarter of a minute; `-- --help` names the options.

#[path = "batch_scheduler/load.rs"]
mod load;

use load::{Decisions, Load};
use serde_json::json;
use std::process::exit;
use tensorforge_benches::median;
use tensorforge_benches::report::Report;
use tensorforge_benches::target::Target;

const HELP: &str = "\
What a decision of the engine costs, and how many requests it plans in a second.

cargo bench --bench batch_scheduler -- [OPTIONS]

  --quick        a smoke of a second: does it still run; its figures mean little
  --json         one JSON object instead of the tables
  --help         this

The exit status is 0 whatever the figures are; missed targets are listed at the end.";

const DEPTHS: [usize; 3] = [1 << 10, 1 << 16, 1 << 20];

fn main() {
    let (mut quick, mut json) = (false, false);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--bench" => {} // cargo's
            "--quick" | "--test" => quick = true,
            "--json" => json = true,
            "--help" | "-h" => return println!("{HELP}"),
            _ => {
                eprintln!("{argument} is no option; see --help");
                exit(2);
            }
        }
    }
    let (rounds, requests) = if quick { (1, 50_000) } else { (5, 1_000_000) };
    let mut report = Report::default();
    if !json {
        println!("one thread; batches of 32, 16 keys, 4 priorities; medians of {rounds} rounds");
        println!(
            "  {:>9} {:>9} {:>9} {:>9} {:>9}",
            "waiting", "M/s", "p50 ns", "p99 ns", "p99.9 ns"
        );
    }
    // Depths in turn, so that a noisy moment of the machine meets all of them.
    let mut cells: Vec<(Load, Vec<Decisions>)> =
        DEPTHS.map(|depth| (Load::new(depth), Vec::new())).into();
    for _ in 0..rounds {
        for (load, decisions) in &mut cells {
            decisions.push(load.run(requests));
        }
    }
    let of = |decisions: &[Decisions], figure: fn(&Decisions) -> f64| {
        median(decisions.iter().map(figure).collect())
    };
    let shallow = of(&cells[0].1, |decisions| decisions.p99);
    for (depth, (_, decisions)) in DEPTHS.into_iter().zip(&cells) {
        let per_second = of(decisions, |decisions| decisions.per_second);
        let [p50, p99, p999]: [fn(&Decisions) -> f64; 3] =
            [|decisions| decisions.p50, |decisions| decisions.p99, |decisions| decisions.p999];
        let [p50, p99, p999] = [p50, p99, p999].map(|figure| of(decisions, figure));
        let mut targets = vec![Target::at_least(
            "millions of requests planned in a second".into(),
            1.0,
            per_second / 1e6,
        )];
        if depth == DEPTHS[0] {
            targets.push(Target::at_most("p99 of a decision, ns".into(), 5_000.0, p99));
        } else {
            let what = format!("p99 of a decision / that at {} waiting", DEPTHS[0]);
            targets.push(Target::at_most(what, 2.0, p99 / shallow));
        }
        if !json {
            println!("  {depth:>9} {:>9.2} {p50:>9.0} {p99:>9.0} {p999:>9.0}", per_second / 1e6);
            targets.iter().for_each(|target| println!("  {}", target.line()));
        }
        let figures = json!({
            "waiting": depth, "per_second": per_second, "p50": p50, "p99": p99, "p999": p999,
        });
        report.add("cells", &format!("{depth} waiting"), targets, figures);
    }
    report.insert("quick", quick.into());
    report.finish(json);
}
