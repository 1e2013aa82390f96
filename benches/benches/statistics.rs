//! Quantiles, moments and covariance against what people use today, interleaved in one run, with
//! the ratios and whether they reach what was asked.
//!
//! `cargo bench --bench statistics`, about a minute; `-- --help` names the options. Before anything
//! is timed its answer is compared with the exact one, everybody's with the tolerance that
//! `check` states. What is ours is named in `ours` alone.

#[path = "statistics/arguments.rs"]
mod arguments;
#[path = "statistics/check.rs"]
mod check;
#[path = "statistics/matrix.rs"]
mod matrix;
#[path = "statistics/moments.rs"]
mod moments;
#[path = "statistics/numpy.rs"]
mod numpy;
#[path = "statistics/ours.rs"]
mod ours;
#[path = "statistics/plot.rs"]
mod plot;
#[path = "statistics/race.rs"]
mod race;
#[path = "statistics/rivals.rs"]
mod rivals;
#[path = "statistics/sketch.rs"]
mod sketch;
#[path = "statistics/sums.rs"]
mod sums;
#[path = "statistics/values.rs"]
mod values;
#[path = "statistics/window.rs"]
mod window;

use tensorforge_benches::report::Report;

use arguments::Arguments;
use numpy::Numpy;
use race::Cell;

/// Where the sections put their cells.
struct Outcome {
    cells: Vec<Cell>,
    json: bool,
    /// Cells that lack a row because there is no numpy.
    without_numpy: Vec<String>,
}

impl Outcome {
    fn add(&mut self, cell: Cell) {
        if !self.json {
            cell.print();
        }
        self.cells.push(cell);
    }
}

fn main() {
    let arguments = Arguments::read();
    let numpy_wanted = arguments.wants("moments") || arguments.wants("matrix");
    let mut numpy = if numpy_wanted { Numpy::start() } else { Err(String::new()) };
    if !arguments.json {
        println!(
            "{}; plain sums with {}; medians of interleaved rounds; x: how many times as long as \
             ours it took in the same round, median",
            numpy.as_ref().map_or("no numpy", Numpy::name),
            sums::instructions()
        );
        if arguments.quick {
            println!("a smoke: small inputs and few rounds, not for quoting");
        }
    }
    let (quick, json) = (arguments.quick, arguments.json);
    let mut outcome = Outcome { cells: vec![], json, without_numpy: vec![] };
    if arguments.wants("sketch") {
        sketch::measure(quick, &mut outcome);
    }
    if arguments.wants("window") {
        window::measure(quick, &mut outcome);
    }
    if arguments.wants("moments") {
        moments::measure(quick, numpy.as_mut().ok(), &mut outcome);
    }
    if arguments.wants("matrix") {
        matrix::measure(quick, numpy.as_mut().ok(), &mut outcome);
    }
    if let Some(path) = &arguments.plot
        && let Err(problem) = std::fs::write(path, plot::svg(&outcome.cells))
    {
        eprintln!("{}: {problem}", path.display());
    }
    finish(outcome, &numpy, &arguments);
}

fn finish(outcome: Outcome, numpy: &Result<Numpy, String>, arguments: &Arguments) {
    let mut report = Report::default();
    for cell in &outcome.cells {
        report.add(cell.section, &cell.title, cell.targets(), cell.json());
    }
    report.insert("ours", ours::NAME.into());
    report.insert("quick", arguments.quick.into());
    report.insert("numpy", numpy.as_ref().map(Numpy::name).ok().into());
    report.insert("sums", sums::instructions().into());
    report.insert("without_numpy", outcome.without_numpy.clone().into());
    report.finish(arguments.json);
    if let (Err(why), false) = (numpy, outcome.without_numpy.is_empty()) {
        eprintln!("\nnumpy's rows are left out, and the targets they decide: {why}");
        eprintln!("`./ci.sh setup` installs it in .venv; or name a Python in TENSORFORGE_PYTHON");
        outcome.without_numpy.iter().for_each(|title| eprintln!("  left out: {title}"));
    }
}
