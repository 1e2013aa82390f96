//! The command line.

use std::process::exit;

const HELP: &str = "\
The routing table under eight readers, quiet and swapped a thousand times a second.

cargo bench --bench routing_table -- [OPTIONS]

  --quick        a smoke of a second: does it still run; its figures mean little
  --json         one JSON object instead of the tables
  --help         this

The exit status is 0 whatever the figures are; missed targets are listed at the end.";

#[derive(Default)]
pub(crate) struct Arguments {
    pub(crate) quick: bool,
    pub(crate) json: bool,
}

impl Arguments {
    /// Reads the command line; on a mistake, says so and ends the program.
    pub(crate) fn read() -> Self {
        let mut read = Self::default();
        for argument in std::env::args().skip(1) {
            match argument.as_str() {
                "--bench" => {} // cargo's
                "--quick" | "--test" => read.quick = true,
                "--json" => read.json = true,
                "--help" | "-h" => {
                    println!("{HELP}");
                    exit(0);
                }
                _ => {
                    eprintln!("{argument} is no option; see --help");
                    exit(2);
                }
            }
        }
        read
    }
}
