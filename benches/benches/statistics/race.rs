//! A race: subjects take turns round by round, and the cell tells what each took.
//!
//! A ratio is the median over the rounds of the other's time divided by ours of the same round,
//! which the machine's slow moments hit alike; so it need not be the quotient of two medians.

use serde_json::{Value, json};
use tensorforge_benches::target::Target;
use tensorforge_benches::{clock, median};

/// Nanoseconds an item took in `work`, which handles `items` of them.
pub(crate) fn lap(items: usize, work: impl FnOnce()) -> f64 {
    let start = clock::now();
    work();
    start.elapsed().as_nanos() as f64 / items as f64
}

/// What an item is, and what the work on one comes to.
#[derive(Clone, Copy)]
pub(crate) struct Unit {
    pub(crate) item: &'static str,
    /// As a thousand million a second: `("GB/s", bytes an item has)`.
    pub(crate) rate: Option<(&'static str, f64)>,
}

/// One of ours that a rival is compared with, and how many times as long the rival should take.
#[derive(Clone, Copy)]
pub(crate) struct Against {
    /// Its place among the runners.
    pub(crate) ours: usize,
    pub(crate) wanted: Option<f64>,
}

pub(crate) struct Race<'a> {
    cell: Cell,
    laps: Vec<Box<dyn FnMut() -> f64 + 'a>>,
}

impl<'a> Race<'a> {
    /// `columns` names the ratios: a rival has as many as it has opponents among ours.
    pub(crate) fn new(
        section: &'static str,
        title: String,
        unit: Unit,
        columns: &'static [&'static str],
    ) -> Self {
        Self {
            cell: Cell { section, title, unit, columns, rows: vec![], spread: None },
            laps: vec![],
        }
    }

    /// Adds one of ours, which may take `at_most` nanoseconds an item; `lap` times it. Returns its
    /// place.
    pub(crate) fn ours(
        &mut self,
        name: impl Into<String>,
        at_most: Option<f64>,
        lap: impl FnMut() -> f64 + 'a,
    ) -> usize {
        self.add(Row { name: name.into(), ours: true, at_most, against: vec![], laps: vec![] }, lap)
    }

    pub(crate) fn rival(
        &mut self,
        name: impl Into<String>,
        against: &[Against],
        lap: impl FnMut() -> f64 + 'a,
    ) {
        let against = against.to_vec();
        self.add(Row { name: name.into(), ours: false, at_most: None, against, laps: vec![] }, lap);
    }

    fn add(&mut self, row: Row, lap: impl FnMut() -> f64 + 'a) -> usize {
        self.cell.rows.push(row);
        self.laps.push(Box::new(lap));
        self.laps.len() - 1
    }

    pub(crate) fn run(mut self, rounds: usize) -> Cell {
        for _ in 0..rounds {
            for (row, lap) in self.cell.rows.iter_mut().zip(&mut self.laps) {
                row.laps.push(lap());
            }
        }
        self.cell
    }
}

pub(crate) struct Cell {
    pub(crate) section: &'static str,
    pub(crate) title: String,
    unit: Unit,
    /// The names of a row's ratios.
    pub(crate) columns: &'static [&'static str],
    pub(crate) rows: Vec<Row>,
    /// What the rows of ours differ in, where their times should be the same.
    pub(crate) spread: Option<&'static str>,
}

pub(crate) struct Row {
    pub(crate) name: String,
    ours: bool,
    at_most: Option<f64>,
    pub(crate) against: Vec<Against>,
    /// Nanoseconds an item took, round by round.
    laps: Vec<f64>,
}

impl Row {
    fn time(&self) -> f64 {
        median(self.laps.clone())
    }
}

impl Cell {
    /// How many times as long as that of ours `row` took.
    pub(crate) fn ratio(&self, row: &Row, against: Against) -> f64 {
        let ours = self.rows[against.ours].laps.iter();
        median(row.laps.iter().zip(ours).map(|(other, ours)| other / ours).collect())
    }

    /// The largest time over the smallest of those that should be the same.
    fn spread(&self) -> f64 {
        let times = self.rows.iter().filter(|row| row.ours).map(Row::time);
        let (least, most) = times.fold((f64::INFINITY, 0.0_f64), |(least, most), time| {
            (least.min(time), most.max(time))
        });
        most / least
    }

    pub(crate) fn targets(&self) -> Vec<Target> {
        let mut targets = vec![];
        for row in &self.rows {
            if let Some(at_most) = row.at_most {
                let what = format!("ns/{}: {}", self.unit.item, row.name);
                targets.push(Target::at_most(what, at_most, row.time()));
            }
            for &against in &row.against {
                if let Some(wanted) = against.wanted {
                    let what = format!("{} / {}", row.name, self.rows[against.ours].name);
                    targets.push(Target::at_least(what, wanted, self.ratio(row, against)));
                }
            }
        }
        targets
    }

    pub(crate) fn print(&self) {
        println!("\n{}", self.title);
        let rate = self.unit.rate.map_or(String::new(), |(rate, _)| format!(" {rate:>8}"));
        let columns: String = self.columns.iter().map(|column| format!(" {column:>12}")).collect();
        println!("  {:<44} {:>12}{rate}{columns}", "", format!("ns/{}", self.unit.item));
        for row in &self.rows {
            let time = row.time();
            let rate =
                self.unit.rate.map_or(String::new(), |(_, each)| format!(" {:>8.2}", each / time));
            let ratio = |&against| format!(" {:>12.2}", self.ratio(row, against));
            let ratios: String = row.against.iter().map(ratio).collect();
            println!("  {:<44} {time:>12.2}{rate}{ratios}", row.name);
        }
        if let Some(over) = self.spread {
            println!("  largest / smallest of ours over {over}: {:.2}", self.spread());
        }
        self.targets().iter().for_each(|target| println!("  {}", target.line()));
    }

    pub(crate) fn json(&self) -> Value {
        let row = |row: &Row| {
            let ratio = |&against: &Against| {
                json!({
                    "ours": self.rows[against.ours].name,
                    "times_as_long": self.ratio(row, against),
                    "wanted": against.wanted,
                })
            };
            json!({
                "name": row.name,
                "ours": row.ours,
                "ns": row.time(),
                "ns_of_rounds": row.laps,
                "ratios": row.against.iter().map(ratio).collect::<Vec<_>>(),
            })
        };
        json!({
            "title": self.title,
            "item": self.unit.item,
            "rate": self.unit.rate.map(|(rate, each)| json!({ "unit": rate, "an_item": each })),
            "subjects": self.rows.iter().map(row).collect::<Vec<_>>(),
            "largest_over_smallest": self.spread.map(|_| self.spread()),
            "targets": self.targets().iter().map(Target::json).collect::<Vec<_>>(),
        })
    }
}
