//! The workflow engine against one behind a single lock, interleaved in one run, and what a validator
//! and an audit add to a transition.
//!
//! `cargo bench --bench workflow`, about half a minute; `-- --help` names the options.

#[path = "workflow/engines.rs"]
mod engines;
#[path = "workflow/load.rs"]
mod load;
#[path = "workflow/one_lock.rs"]
mod one_lock;

use serde_json::json;
use std::time::Duration;
use tensorforge_benches::arguments::Arguments;
use tensorforge_benches::median;
use tensorforge_benches::report::Report;
use tensorforge_benches::target::Target;

use engines::{Kind, Row};
use load::Load;

const THREADS: [usize; 4] = [1, 2, 4, 8];
const ENTITIES: usize = 10_000;

fn main() {
    let arguments = Arguments::read(
        "workflow",
        "The workflow engine against one behind a single lock, in one run.",
    );
    let (rounds, millis) = if arguments.quick { (1, 20) } else { (7, 150) };
    let mut report = Report::default();
    if !arguments.json {
        println!(
            "{} processors; {ENTITIES} entities; medians of {rounds} interleaved rounds; x: ours over \
             it in the same round, median",
            std::thread::available_parallelism().map_or(0, usize::from)
        );
        if arguments.quick {
            println!("a smoke: one short round, not for quoting");
        }
    }
    for threads in THREADS {
        let load = Load { threads, entities: ENTITIES, duration: Duration::from_millis(millis) };
        let mut rows: Vec<Row> = Kind::ALL.into_iter().map(Row::new).collect();
        for _ in 0..rounds {
            rows.iter_mut().for_each(|row| row.measure(load));
        }
        cell(load, &rows, &mut report, arguments.json);
    }
    report.insert("quick", arguments.quick.into());
    report.finish(arguments.json);
}

/// The table of one number of threads, its targets and its JSON.
fn cell(load: Load, rows: &[Row], report: &mut Report, json: bool) {
    let threads = load.threads;
    let title = format!("{threads} {}", if threads == 1 { "thread" } else { "threads" });
    let ratio = |row: &Row| {
        let of = rows[0].speeds.iter().zip(&row.speeds).map(|(ours, other)| ours / other);
        median(of.collect())
    };
    let mut targets = vec![];
    if let Some(one_lock) = rows.iter().find(|row| row.kind == Kind::OneLock) {
        let wanted = match threads {
            1 => Some(1.0),
            8 => Some(3.0),
            _ => None,
        };
        let what = format!("transitions a second / {}", one_lock.kind.name());
        targets.extend(wanted.map(|wanted| Target::at_least(what, wanted, ratio(one_lock))));
    }
    if !json {
        println!("\n{title}");
        println!("  {:<44} {:>8} {:>8} {:>6} {:>9}", "", "M/s", "ns each", "x", "refused %");
        for row in rows {
            let speed = median(row.speeds.clone());
            println!(
                "  {:<44} {:>8.2} {:>8.0} {:>6.2} {:>9.1}",
                row.kind.name(),
                speed / 1e6,
                1e9 * threads.min(processors()) as f64 / speed,
                ratio(row),
                100.0 * median(row.refused.clone())
            );
        }
        targets.iter().for_each(|target| println!("  {}", target.line()));
    }
    let figures = rows.iter().map(|row| {
        json!({
            "engine": row.kind.name(),
            "per_second": median(row.speeds.clone()),
            "ours_over_it": ratio(row),
            "refused": median(row.refused.clone()),
        })
    });
    let figures = json!({ "threads": threads, "rows": figures.collect::<Vec<_>>() });
    report.add("cells", &title, targets, figures);
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
