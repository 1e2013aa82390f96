//! One cell: every subject under the same load, in alternating rounds, and the table of it.
//!
//! A ratio is the median over the rounds of ours divided by the other's figure of the same round,
//! which the machine's slow moments hit alike; so it need not be the quotient of two medians.

use serde_json::{Value, json};
use tensorforge_benches::median;
use tensorforge_benches::target::Target;

use crate::load::{Latency, Load, Priorities, Quantiles, Speed, Throughput};
use crate::machine;
use crate::subject::Kind;

pub(crate) struct Cell {
    pub(crate) load: Load,
    /// Ours first.
    pub(crate) rows: Vec<Row>,
    /// Nanoseconds a cache line took to another processor and back, in the median round.
    round_trip: f64,
}

pub(crate) struct Row {
    pub(crate) kind: Kind,
    speeds: Vec<Speed>,
    quantiles: Vec<Quantiles>,
}

impl Row {
    fn speed(&self, figure: impl Fn(&Speed) -> f64) -> f64 {
        median(self.speeds.iter().map(figure).collect())
    }

    fn time(&self, figure: impl Fn(&Quantiles) -> f64) -> f64 {
        median(self.quantiles.iter().map(figure).collect())
    }

    /// The poorest thread's part of an even share in the worst round.
    fn smallest_share(&self) -> f64 {
        self.speeds.iter().map(|speed| speed.smallest).fold(f64::INFINITY, f64::min)
    }

    fn largest_share(&self) -> f64 {
        self.speeds.iter().map(|speed| speed.largest).fold(0.0, f64::max)
    }

    fn max(&self) -> f64 {
        self.quantiles.iter().map(|quantiles| quantiles.max).fold(0.0, f64::max)
    }
}

fn ratio(of: impl Iterator<Item = f64>, to: impl Iterator<Item = f64>) -> f64 {
    median(of.zip(to).map(|(of, to)| of / to.max(f64::MIN_POSITIVE)).collect())
}

impl Cell {
    pub(crate) fn measure(load: Load, rounds: usize) -> Self {
        let kinds: &[Kind] = match load.priorities {
            Priorities::EightLevels => &Kind::FEW_LEVELS,
            Priorities::FullRange => &Kind::GENERAL,
        };
        let row = |&kind| Row { kind, speeds: vec![], quantiles: vec![] };
        let mut rows: Vec<Row> = kinds.iter().map(row).collect();
        let mut round_trips = vec![];
        for _ in 0..rounds {
            round_trips.push(machine::round_trip());
            for row in &mut rows {
                row.speeds.push(row.kind.build(load.capacity(), Throughput(load)));
            }
            for row in &mut rows {
                row.quantiles.push(row.kind.build(load.capacity(), Latency(load)));
            }
        }
        Self { load, rows, round_trip: median(round_trips) }
    }

    /// Ours divided by `kind`'s throughput.
    pub(crate) fn throughput_ratio(&self, kind: Kind) -> f64 {
        let mops = |row: &Row| row.speeds.iter().map(|speed| speed.mops).collect::<Vec<_>>();
        ratio(mops(&self.rows[0]).into_iter(), mops(self.row(kind)).into_iter())
    }

    /// Ours divided by `kind`'s 99.9th percentile.
    fn tail_ratio(&self, kind: Kind) -> f64 {
        let tails = |row: &Row| row.quantiles.iter().map(|times| times.p999).collect::<Vec<_>>();
        ratio(tails(&self.rows[0]).into_iter(), tails(self.row(kind)).into_iter())
    }

    fn row(&self, kind: Kind) -> &Row {
        self.rows.iter().find(|row| row.kind == kind).expect("the cell measures this kind")
    }

    pub(crate) fn title(&self) -> String {
        let Load { prefill, priorities, threads, .. } = self.load;
        let threads = if threads == 1 { "1 thread".into() } else { format!("{threads} threads") };
        format!("{} k prefill, {}, {threads}", prefill / 1000, priorities.name())
    }

    pub(crate) const fn wanted_throughput(&self) -> f64 {
        match (self.load.threads, self.load.priorities) {
            (1, _) => 0.7,
            (_, Priorities::EightLevels) => 1.5,
            (_, Priorities::FullRange) => 1.0,
        }
    }

    pub(crate) fn targets(&self) -> Vec<Target> {
        let std = Kind::StdHeap;
        let what = format!("throughput / {}", std.name());
        let mut targets =
            vec![Target::at_least(what, self.wanted_throughput(), self.throughput_ratio(std))];
        if self.load.threads == 8 {
            let tail = |kind: Kind| format!("p99.9 / {}", kind.name());
            match self.load.priorities {
                Priorities::EightLevels => {
                    targets.push(Target::at_most(tail(std), 0.1, self.tail_ratio(std)));
                }
                Priorities::FullRange => targets.extend(
                    self.rows[1..]
                        .iter()
                        .map(|row| Target::at_most(tail(row.kind), 1.0, self.tail_ratio(row.kind))),
                ),
            }
        }
        targets
    }

    pub(crate) fn print(&self) {
        let round_trip = self.round_trip;
        println!("\n{} (processor to processor and back: {round_trip:.0} ns)", self.title());
        println!(
            "  {:<30} {:>7} {:>6} {:>8} {:>8} {:>9} {:>9} {:>6} {:>6} {:>6} {:>5}",
            "",
            "Mops/s",
            "ours/",
            "p50 µs",
            "p99 µs",
            "p99.9 µs",
            "max µs",
            "ours/",
            "least",
            "most",
            "Jain"
        );
        for (index, row) in self.rows.iter().enumerate() {
            let (speedup, tail) = if index == 0 {
                (String::new(), String::new())
            } else {
                let (speedup, tail) = (self.throughput_ratio(row.kind), self.tail_ratio(row.kind));
                (format!("{speedup:.2}"), format!("{tail:.2}"))
            };
            println!(
                "  {:<30} {:>7.2} {speedup:>6} {:>8.3} {:>8.3} {:>9.2} {:>9.0} {tail:>6} \
                 {:>6.2} {:>6.2} {:>5.2}",
                row.kind.name(),
                row.speed(|speed| speed.mops),
                row.time(|times| times.p50),
                row.time(|times| times.p99),
                row.time(|times| times.p999),
                row.max(),
                row.smallest_share(),
                row.largest_share(),
                row.speed(|speed| speed.jain),
            );
        }
        self.targets().iter().for_each(|target| println!("  {}", target.line()));
    }

    pub(crate) fn json(&self) -> Value {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                let rounds: Vec<f64> = row.speeds.iter().map(|speed| speed.mops).collect();
                json!({
                    "name": row.kind.name(),
                    "mops": row.speed(|speed| speed.mops),
                    "mops_of_rounds": rounds,
                    "ours_over_it": self.throughput_ratio(row.kind),
                    "p50_us": row.time(|times| times.p50),
                    "p99_us": row.time(|times| times.p99),
                    "p999_us": row.time(|times| times.p999),
                    "max_us": row.max(),
                    "ours_p999_over_its": self.tail_ratio(row.kind),
                    "smallest_share": row.smallest_share(),
                    "largest_share": row.largest_share(),
                    "jain": row.speed(|speed| speed.jain),
                })
            })
            .collect();
        json!({
            "prefill": self.load.prefill,
            "priorities": self.load.priorities.name(),
            "threads": self.load.threads,
            "processor_round_trip_ns": self.round_trip,
            "subjects": rows,
            "targets": self.targets().iter().map(Target::json).collect::<Vec<_>>(),
        })
    }
}
