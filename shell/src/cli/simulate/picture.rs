//! Reports as text for a terminal.

use crate::cli::output::table;
use crate::simulation::{Best, HIGH, Report};

/// The longest bar, in letters.
const BAR: usize = 40;

/// Rows of the batches' sizes.
const ROWS: usize = 8;

/// One run: figures by priority, latency and batch sizes as bars.
pub(super) fn text(report: &Report) -> String {
    let text = |text: &str| text.to_owned();
    let head = ["PRIORITY", "REQUESTS", "ANSWERED", "MEAN MS", "P50 MS", "P99 MS", "MAX MS"];
    let mut rows = vec![head.map(text)];
    for (priority, level) in report.levels.iter().rev() {
        rows.push([
            priority.to_string(),
            level.arrived.to_string(),
            level.latency.count().to_string(),
            millis(level.latency.mean()),
            millis(report.latency(*priority, 0.5)),
            millis(report.latency(*priority, 0.99)),
            millis(level.latency.max()),
        ]);
    }
    let mut out = table(&rows);
    let share = |part: u64| 100.0 * part as f64 / report.batches.max(1) as f64;
    let mut reasons: Vec<_> = report.reasons.iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let closed: Vec<String> =
        reasons.iter().map(|(why, count)| format!("{why} {:.0} %", share(**count))).collect();
    out += &format!(
        "\n\n{:.0} requests/s in {:.1} s; {} batches of {:.1} on average, {:.0} % full; busy {:.0} %",
        report.throughput(),
        report.length.as_nanos() as f64 / 1e9,
        report.batches,
        report.mean_batch(),
        100.0 * report.fill(),
        100.0 * report.utilisation(),
    );
    out += &format!("\nclosed: {}", if closed.is_empty() { text("-") } else { closed.join(", ") });
    if report.shed_total() > 0 {
        let shed: Vec<String> =
            report.shed.iter().map(|(why, count)| format!("{} {count}", why.name())).collect();
        out += &format!("\nnot answered: {}", shed.join(", "));
    }
    if report.late > 0 {
        out += &format!("\nanswered after their deadline: {}", report.late);
    }
    out + "\n" + &latencies(report) + &sizes(report)
}

fn millis(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"))
}

fn bar(value: f64, largest: f64) -> String {
    let letters = if largest > 0.0 { value / largest * BAR as f64 } else { 0.0 };
    // What is there at all is seen.
    let least = usize::from(value > 0.0);
    "█".repeat((letters.round() as usize).clamp(least, BAR))
}

fn latencies(report: &Report) -> String {
    let quantiles = [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9")];
    let largest = report.levels.keys().filter_map(|priority| report.latency(*priority, 0.999));
    let largest = largest.fold(0.0, f64::max);
    let mut out = String::new();
    for priority in report.levels.keys().rev() {
        out += &format!("\nlatency of priority {priority}\n");
        for (q, name) in quantiles {
            let Some(latency) = report.latency(*priority, q) else { continue };
            out += &format!("{name:>9}  {:BAR$}  {latency:.2} ms\n", bar(latency, largest));
        }
    }
    out
}

/// Up to eight rows, each for as many sizes.
fn sizes(report: &Report) -> String {
    let most = report.sizes.len().saturating_sub(1).max(1);
    let width = most.div_ceil(ROWS);
    let counts: Vec<u64> =
        report.sizes[1..].chunks(width).map(|sizes| sizes.iter().sum()).collect();
    let largest = counts.iter().copied().max().unwrap_or(0) as f64;
    let mut out = "\nbatches by items\n".to_owned();
    for (row, &count) in counts.iter().enumerate() {
        let (first, last) = (row * width + 1, ((row + 1) * width).min(most));
        let name = if first == last { first.to_string() } else { format!("{first}-{last}") };
        let bar = bar(count as f64, largest);
        let share = 100.0 * count as f64 / report.batches.max(1) as f64;
        out += &format!("{name:>9}  {bar:BAR$}  {share:.1} %\n");
    }
    out.trim_end().to_owned()
}

/// Batchers side by side.
pub(super) fn comparison(reports: &[Report]) -> String {
    let mut rows =
        vec![["BATCHER", "REQUESTS/S", "P99 HIGH", "P99 LOW", "FILL", "SHED"].map(str::to_owned)];
    rows.extend(reports.iter().map(|report| {
        let [throughput, high, low, fill, shed] = figures(report);
        [report.name.to_owned(), throughput, high, low, fill, shed]
    }));
    table(&rows)
}

/// The same for several scenarios.
pub(super) fn scenarios(all: &[(&str, Vec<Best>)]) -> String {
    let head = ["SCENARIO", "BATCHER", "WAIT", "REQUESTS/S", "P99 HIGH", "P99 LOW", "FILL", "SHED"];
    let mut rows = vec![head.map(str::to_owned)];
    for (name, best) in all {
        for (place, Best { wait, report }) in best.iter().enumerate() {
            let name = if place == 0 { (*name).to_owned() } else { String::new() };
            let wait = format!("{} ms", wait.as_nanos() / 1_000_000);
            let [throughput, high, low, fill, shed] = figures(report);
            rows.push([name, report.name.to_owned(), wait, throughput, high, low, fill, shed]);
        }
    }
    table(&rows)
}

fn figures(report: &Report) -> [String; 5] {
    let p99 = |priorities: &mut dyn Iterator<Item = &u8>| {
        let worst = priorities.filter_map(|priority| report.latency(*priority, 0.99));
        worst.reduce(f64::max).map_or_else(|| "-".to_owned(), |worst| format!("{worst:.1} ms"))
    };
    let shed = 100.0 * report.shed_total() as f64 / report.arrived.max(1) as f64;
    [
        format!("{:.0}", report.throughput()),
        p99(&mut report.levels.keys().filter(|&&priority| priority == HIGH)),
        p99(&mut report.levels.keys().filter(|&&priority| priority != HIGH)),
        format!("{:.0} %", 100.0 * report.fill()),
        format!("{shed:.1} %"),
    ]
}
