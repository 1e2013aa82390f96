//! The stopped thread's section: each subject's outcomes, and the table of them.

use serde_json::{Value, json};
use tensorforge_benches::target::Target;

use crate::load::Priorities;
use crate::stop::{Outcome, Plan};
use crate::subject::Kind;

const WANTED: f64 = 0.8;

/// One load, every subject in turn.
pub(crate) struct Stopped {
    plan: Plan,
    rows: Vec<(Kind, Outcome)>,
}

impl Stopped {
    pub(crate) fn measure(plan: Plan) -> Self {
        let kinds: &[Kind] = match plan.load.priorities {
            Priorities::EightLevels => &Kind::FEW_LEVELS,
            Priorities::FullRange => &Kind::GENERAL,
        };
        let rows = kinds.iter().map(|&kind| (kind, kind.build(plan.load.capacity(), plan)));
        Self { plan, rows: rows.collect() }
    }

    pub(crate) fn title(&self) -> String {
        let load = self.plan.load;
        format!(
            "one thread stopped inside, {} others, {} k prefill, {}",
            load.threads,
            load.prefill / 1000,
            load.priorities.name()
        )
    }

    pub(crate) fn targets(&self) -> Vec<Target> {
        let (_, ours) = &self.rows[0];
        let what =
            format!("the others' worst window / undisturbed (by noise alone: {:.2})", ours.noise);
        vec![Target::at_least(what, WANTED, ours.worst)]
    }

    pub(crate) fn print(&self) {
        let window = self.plan.window.as_millis();
        println!("\n{} (windows of {window} ms)", self.title());
        println!(
            "  {:<30} {:>5} {:>6} {:>7} {:>6} {:>6} {:>7}  longest stop, window by window",
            "", "stops", "places", "median", "worst", "noise", "MiB up"
        );
        for (kind, outcome) in &self.rows {
            let long: Vec<String> =
                outcome.long.iter().map(|ratio| format!("{ratio:.2}")).collect();
            println!(
                "  {:<30} {:>5} {:>6} {:>7.2} {:>6.2} {:>6.2} {:>7.0}  {}",
                kind.name(),
                outcome.stops,
                outcome.positions,
                outcome.median,
                outcome.worst,
                outcome.noise,
                outcome.grown_mib,
                long.join(" "),
            );
            if outcome.missed > 0 {
                println!("  {} times it could not be caught inside", outcome.missed);
            }
        }
        self.targets().iter().for_each(|target| println!("  {}", target.line()));
    }

    pub(crate) fn json(&self) -> Value {
        let row = |(kind, outcome): &(Kind, Outcome)| {
            json!({
                "name": kind.name(),
                "stops": outcome.stops,
                "not_caught": outcome.missed,
                "places": outcome.positions,
                "median": outcome.median,
                "worst": outcome.worst,
                "noise": outcome.noise,
                "long_stop": outcome.long,
                "long_stop_grown_mib": outcome.grown_mib,
            })
        };
        json!({
            "others": self.plan.load.threads,
            "prefill": self.plan.load.prefill,
            "priorities": self.plan.load.priorities.name(),
            "window_ms": self.plan.window.as_millis() as u64,
            "subjects": self.rows.iter().map(row).collect::<Vec<_>>(),
            "targets": self.targets().iter().map(Target::json).collect::<Vec<_>>(),
        })
    }
}
