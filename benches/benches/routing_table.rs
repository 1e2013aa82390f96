//! The routing table while it is read by eight threads: as it is, and while it is swapped a thousand times
//! a second; beside the same table behind std's `RwLock`, interleaved in one run.
//!
//! `cargo bench --bench routing_table`, about twelve seconds; `-- --help` names the options.

#[path = "routing_table/load.rs"]
mod load;

use serde_json::json;
use std::time::Duration;
use tensorforge_benches::arguments::Arguments;
use tensorforge_benches::median;
use tensorforge_benches::report::Report;
use tensorforge_benches::target::Target;

use load::{Figures, Table, Writer};

const READERS: usize = 8;
/// What was asked: reads while the table is swapped, over reads while it is not.
const WANTED: f64 = 0.95;

fn main() {
    let arguments = Arguments::read(
        "routing_table",
        "The routing table under eight readers, quiet and swapped a thousand times a second.",
    );
    let (rounds, millis) = if arguments.quick { (1, 30) } else { (30, 60) };
    let duration = Duration::from_millis(millis);
    let cases: Vec<(Table, Writer)> = Table::ALL
        .into_iter()
        .flat_map(|table| Writer::ALL.into_iter().map(move |writer| (table, writer)))
        .collect();
    let mut measured: Vec<Vec<Figures>> = vec![vec![]; cases.len()];
    for round in 0..rounds {
        // Nobody is always the first one.
        for at in (0..cases.len()).map(|at| (at + round) % cases.len()) {
            let (table, writer) = cases[at];
            measured[at].push(load::measure(table, writer, READERS, duration));
        }
    }

    let mut report = Report::default();
    if !arguments.json {
        println!(
            "{} processors; {READERS} readers, {} channels and endpoints; medians of {rounds} interleaved \
             rounds; x: reads over those of the same table that nobody changes, in the same round",
            std::thread::available_parallelism().map_or(0, usize::from),
            load::ENDPOINTS
        );
        if arguments.quick {
            println!("a smoke: one short round, not for quoting");
        }
        println!("\n  {:<44} {:>8} {:>9} {:>6}", "", "M reads/s", "swaps/s", "x");
    }
    for (at, (table, writer)) in cases.iter().enumerate() {
        let quiet = at - at % Writer::ALL.len();
        let ratios = measured[at].iter().zip(&measured[quiet]);
        let ratio = median(ratios.map(|(case, quiet)| case.reads / quiet.reads).collect());
        let reads = median(measured[at].iter().map(|figures| figures.reads).collect());
        let swaps = median(measured[at].iter().map(|figures| figures.swaps).collect());
        let title = format!("{}, {}", table.name(), writer.name());
        // Checking what is published takes a part of the processors, which readers then do not have.
        let is_asked = *table == Table::Ours && *writer == Writer::Swaps;
        let targets = if is_asked {
            vec![Target::at_least("reads / reads without swapping".to_owned(), WANTED, ratio)]
        } else {
            vec![]
        };
        if !arguments.json {
            println!("  {title:<44} {:>9.2} {swaps:>9.0} {ratio:>6.3}", reads / 1e6);
            targets.iter().for_each(|target| println!("    {}", target.line()));
        }
        let figures = json!({
            "table": table.name(),
            "writer": writer.name(),
            "reads_per_second": reads,
            "swaps_per_second": swaps,
            "over_quiet": ratio,
        });
        report.add("cells", &title, targets, figures);
    }
    report.insert("quick", arguments.quick.into());
    report.finish(arguments.json);
}
