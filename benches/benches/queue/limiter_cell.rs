//! One cell of the limiters: all of them in alternating rounds, and the table of it.

use serde_json::{Value, json};
use tensorforge_benches::median;
use tensorforge_benches::target::Target;

use crate::limiter::{Answer, Checked, Checks};
use crate::limiters::LimiterKind;

pub(crate) struct LimiterCell {
    answer: Answer,
    checks: Checks,
    /// Ours first.
    rows: Vec<(LimiterKind, Vec<Checked>)>,
}

/// Nanoseconds per check over all threads together.
fn cost(checked: &Checked) -> f64 {
    1e3 / checked.speed.mops.max(f64::MIN_POSITIVE)
}

impl LimiterCell {
    pub(crate) fn measure(answer: Answer, checks: Checks, rounds: usize) -> Self {
        let mut rows: Vec<_> = LimiterKind::ALL.into_iter().map(|kind| (kind, vec![])).collect();
        for _ in 0..rounds {
            for (kind, checked) in &mut rows {
                checked.push(kind.build(answer.quota(), checks));
            }
        }
        Self { answer, checks, rows }
    }

    /// How many times as many checks ours does, by the median of the rounds.
    fn speedup(&self, over: LimiterKind) -> f64 {
        let of = |wanted| {
            let row = self.rows.iter().find(|(kind, _)| *kind == wanted);
            &row.expect("every kind is measured").1
        };
        let pairs = of(LimiterKind::Ours).iter().zip(of(over));
        median(pairs.map(|(ours, other)| cost(other) / cost(ours)).collect())
    }

    pub(crate) fn title(&self) -> String {
        let threads = self.checks.threads;
        let plural = if threads == 1 { "" } else { "s" };
        format!("limiter, {}, {threads} thread{plural}", self.answer.name())
    }

    pub(crate) fn targets(&self) -> Vec<Target> {
        let rival = LimiterKind::GovernorFakeClock;
        let wanted = if self.checks.threads == 1 { 1.5 } else { 1.0 };
        let what = format!("checks a second / {}", rival.name());
        vec![Target::at_least(what, wanted, self.speedup(rival))]
    }

    pub(crate) fn print(&self) {
        println!("\n{}", self.title());
        println!(
            "  {:<30} {:>8} {:>6} {:>10} {:>6} {:>6} {:>5}",
            "", "ns/check", "ours x", "admitted %", "least", "most", "Jain"
        );
        for (kind, rounds) in &self.rows {
            let middle = |figure: fn(&Checked) -> f64| median(rounds.iter().map(figure).collect());
            let speedup = match kind {
                LimiterKind::Ours => String::new(),
                _ => format!("{:.2}", self.speedup(*kind)),
            };
            println!(
                "  {:<30} {:>8.2} {speedup:>6} {:>10.1} {:>6.2} {:>6.2} {:>5.2}",
                kind.name(),
                middle(cost),
                middle(|checked| checked.admitted * 100.0),
                middle(|checked| checked.speed.smallest),
                middle(|checked| checked.speed.largest),
                middle(|checked| checked.speed.jain),
            );
        }
        self.targets().iter().for_each(|target| println!("  {}", target.line()));
    }

    pub(crate) fn json(&self) -> Value {
        let row = |(kind, rounds): &(LimiterKind, Vec<Checked>)| {
            json!({
                "name": kind.name(),
                "ns_per_check": median(rounds.iter().map(cost).collect()),
                "ours_times_as_fast": self.speedup(*kind),
                "admitted": median(rounds.iter().map(|checked| checked.admitted).collect()),
                "jain": median(rounds.iter().map(|checked| checked.speed.jain).collect()),
            })
        };
        json!({
            "answer": self.answer.name(),
            "threads": self.checks.threads,
            "subjects": self.rows.iter().map(row).collect::<Vec<_>>(),
            "targets": self.targets().iter().map(Target::json).collect::<Vec<_>>(),
        })
    }
}
