//! The command line.

use std::path::PathBuf;
use std::process::exit;

const PARTS: [&str; 4] = ["sketch", "window", "moments", "matrix"];

const HELP: &str = "\
Quantiles, moments and covariance against their rivals, in one run.

cargo bench --bench statistics -- [OPTIONS]

  --quick        a smoke of some seconds: does it still run; its figures mean little
  --only PART    sketch, window, moments or matrix; may be given several times
  --json         one JSON object instead of the tables
  --plot PATH    writes the ratios that were asked for as an SVG picture
  --help         this

numpy is timed in a process of the Python that TENSORFORGE_PYTHON names, else of $VIRTUAL_ENV, else
of .venv (./ci.sh setup), else of python3; where that has none, its rows are left out and named at
the end. The largest matrix takes 4 GB of memory, most of it numpy's.

The exit status is 0 whatever the figures are; missed targets are listed at the end.";

#[derive(Default)]
pub(crate) struct Arguments {
    pub(crate) quick: bool,
    pub(crate) json: bool,
    pub(crate) plot: Option<PathBuf>,
    only: Vec<String>,
}

impl Arguments {
    /// Reads the command line; on a mistake, says so and ends the program.
    pub(crate) fn read() -> Self {
        let mut read = Self::default();
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments.next().unwrap_or_else(|| mistake(&format!("{argument} wants a value")))
            };
            match argument.as_str() {
                "--bench" => {} // cargo's
                "--quick" | "--test" => read.quick = true,
                "--json" => read.json = true,
                "--plot" => read.plot = Some(value().into()),
                "--only" => {
                    let part = value();
                    if !PARTS.contains(&part.as_str()) {
                        mistake(&format!("--only {part}: sketch, window, moments or matrix"));
                    }
                    read.only.push(part);
                }
                "--help" | "-h" => {
                    println!("{HELP}");
                    exit(0);
                }
                _ => mistake(&format!("{argument} is no option; see --help")),
            }
        }
        let drawn = ["sketch", "moments", "matrix"];
        if read.plot.is_some() && !drawn.iter().any(|part| read.wants(part)) {
            mistake("--plot draws ratios, and the windows alone have none that were asked for");
        }
        read
    }

    pub(crate) fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == part)
    }
}

fn mistake(what: &str) -> ! {
    eprintln!("{what}");
    exit(2)
}
