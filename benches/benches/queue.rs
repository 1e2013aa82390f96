//! The priority queue and the limiter against what people use today, interleaved in one run, with
//! the ratios and whether they reach what was asked.
//!
//! `cargo bench --bench queue`, four to six minutes; `-- --help` names the options. To compare
//! another queue, implement `Subject` for it and name it in `Kind`.

#[path = "queue/arguments.rs"]
mod arguments;
#[path = "queue/cell.rs"]
mod cell;
#[path = "queue/histogram.rs"]
mod histogram;
#[path = "queue/limiter.rs"]
mod limiter;
#[path = "queue/limiter_cell.rs"]
mod limiter_cell;
#[path = "queue/limiters.rs"]
mod limiters;
#[path = "queue/load.rs"]
mod load;
#[path = "queue/machine.rs"]
mod machine;
#[path = "queue/ours.rs"]
mod ours;
#[path = "queue/ours_limiter.rs"]
mod ours_limiter;
#[path = "queue/plot.rs"]
mod plot;
#[path = "queue/rivals.rs"]
mod rivals;
#[cfg(target_os = "linux")]
#[path = "queue/signal.rs"]
mod signal;
#[cfg(target_os = "linux")]
#[path = "queue/stop.rs"]
mod stop;
#[cfg(target_os = "linux")]
#[path = "queue/stopped.rs"]
mod stopped;
#[path = "queue/subject.rs"]
mod subject;

use std::time::Duration;

use serde_json::json;
use tensorforge_benches::report::Report;

use arguments::Arguments;
use cell::Cell;
use limiter::{Answer, Checks};
use limiter_cell::LimiterCell;
use load::{Load, Priorities};
use subject::{KeepsOrder, Kind};

const PREFILLS: [usize; 2] = [1_000, 64_000];
const RANGES: [Priorities; 2] = [Priorities::EightLevels, Priorities::FullRange];
const THREADS: [usize; 4] = [1, 2, 4, 8];

fn main() {
    let arguments = Arguments::read();
    for kind in Kind::FEW_LEVELS {
        assert!(kind.build(KeepsOrder::CAPACITY, KeepsOrder), "{} keeps order", kind.name());
    }
    let mut report = Report::default();
    if !arguments.json {
        println!(
            "{} processors; medians of interleaved rounds; ours/: ours over it in the same round, \
             median; least, most: a thread's part of an even share, worst round; latency in rounds \
             of its own, every eighth operation timed",
            std::thread::available_parallelism().map_or(0, usize::from)
        );
        if arguments.quick {
            println!("a smoke: one short round, not for quoting");
        }
    }
    if arguments.wants("cells") {
        cells(&arguments, &mut report);
    }
    if arguments.wants("stopped") {
        stopped_threads(&arguments, &mut report);
    }
    if arguments.wants("limiter") {
        limiters(&arguments, &mut report);
    }
    report.insert("ours", json!([ours::NAME, ours_limiter::NAME]));
    report.insert("quick", arguments.quick.into());
    report.finish(arguments.json);
}

fn cells(arguments: &Arguments, report: &mut Report) {
    let (rounds, duration) = if arguments.quick { (1, 20) } else { (5, 200) };
    let duration = Duration::from_millis(duration);
    let mut cells = vec![];
    for prefill in PREFILLS {
        for priorities in RANGES {
            for threads in THREADS {
                let load = Load { priorities, prefill, threads, duration };
                let cell = Cell::measure(load, rounds);
                if !arguments.json {
                    cell.print();
                }
                report.add("cells", &cell.title(), cell.targets(), cell.json());
                cells.push(cell);
            }
        }
    }
    if let Some(path) = &arguments.plot
        && let Err(problem) = std::fs::write(path, plot::svg(&cells))
    {
        eprintln!("{}: {problem}", path.display());
    }
}

#[cfg(target_os = "linux")]
fn stopped_threads(arguments: &Arguments, report: &mut Report) {
    for threads in [2, 4] {
        for (prefill, priorities) in PREFILLS.into_iter().zip(RANGES) {
            let (window, short_stops, long_stops, long_windows) =
                if arguments.quick { (25, 2, 1, 4) } else { (100, 9, 1, 20) };
            let window = Duration::from_millis(window);
            let load = Load { priorities, prefill, threads, duration: Duration::ZERO };
            let plan = stop::Plan { load, window, short_stops, long_stops, long_windows };
            let stopped = stopped::Stopped::measure(plan);
            if !arguments.json {
                stopped.print();
            }
            report.add("stopped", &stopped.title(), stopped.targets(), stopped.json());
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn stopped_threads(_: &Arguments, _: &mut Report) {
    eprintln!("the stopped thread is not measured on this system");
}

fn limiters(arguments: &Arguments, report: &mut Report) {
    let (rounds, duration) = if arguments.quick { (1, 20) } else { (5, 100) };
    let duration = Duration::from_millis(duration);
    for answer in [Answer::Admitted, Answer::Denied] {
        for threads in THREADS {
            let cell = LimiterCell::measure(answer, Checks { threads, duration }, rounds);
            if !arguments.json {
                cell.print();
            }
            report.add("limiter", &cell.title(), cell.targets(), cell.json());
        }
    }
}
