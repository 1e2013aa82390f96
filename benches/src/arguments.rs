//! The command line of benches that have no options of their own.

use std::process::exit;

/// What was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Arguments {
    /// A smoke of a second: does it still run; its figures mean little.
    pub quick: bool,
    /// One JSON object instead of the tables.
    pub json: bool,
}

impl Arguments {
    /// Reads the command line of the bench `name`, of which `what` tells what it measures; on a mistake, says so
    /// and ends the program.
    #[must_use]
    pub fn read(name: &str, what: &str) -> Self {
        let mut read = Self::default();
        for argument in std::env::args().skip(1) {
            match argument.as_str() {
                "--bench" => {} // cargo's
                "--quick" | "--test" => read.quick = true,
                "--json" => read.json = true,
                "--help" | "-h" => {
                    println!(
                        "{what}\n\n\
                         cargo bench --bench {name} -- [OPTIONS]\n\n  \
                         --quick        a smoke of a second: does it still run; its figures mean little\n  \
                         --json         one JSON object instead of the tables\n  \
                         --help         this\n\n\
                         The exit status is 0 whatever the figures are; missed targets are listed at the end."
                    );
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
