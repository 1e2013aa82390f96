//! The command line.

use std::path::PathBuf;
use std::process::exit;

const HELP: &str = "\
The priority queue and the limiter against their rivals, in one run.

cargo bench --bench queue -- [OPTIONS]

  --quick        a smoke of some seconds: does it still run; its figures mean little
  --only PART    cells, stopped or limiter; may be given several times
  --json         one JSON object instead of the tables
  --plot PATH    writes the ratios of throughput as an SVG picture
  --help         this

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
                    if !["cells", "stopped", "limiter"].contains(&part.as_str()) {
                        mistake(&format!("--only {part}: cells, stopped or limiter"));
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
        if read.plot.is_some() && !read.wants("cells") {
            mistake("--plot draws the cells, which --only leaves out");
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
