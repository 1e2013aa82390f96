//! A run as a picture: latency by priority, how full batches were, and the rivals' latency.

use crate::cli::svg::{self, Axis, Panel};
use crate::simulation::Report;
use tensorforge_core::quantile::Sketch;

/// Curves and their names, one after the other.
const CLASSES: [(&str, &str); 4] = [("a", "at"), ("b", "bt"), ("c", "ct"), ("d", "dt")];

/// Draws the run, and beside it what the others did.
pub(super) fn svg(report: &Report, rivals: &[Report]) -> String {
    let summary = format!(
        "{:.0} requests/s · {} batches of {:.1} on average · busy {:.0} % · {} of {} requests not answered",
        report.throughput(),
        report.batches,
        report.mean_batch(),
        100.0 * report.utilisation(),
        report.shed_total(),
        report.arrived,
    );
    let panels = if rivals.is_empty() { 2 } else { 3 };
    let mut out = svg::open("A simulated policy", "Simulation", &summary, panels);
    let levels: Vec<(String, Vec<&Sketch>)> = report
        .levels
        .iter()
        .rev()
        .map(|(priority, level)| (format!("priority {priority}"), vec![&*level.latency]))
        .collect();
    spread(&mut out, &Panel::at(0, "Requests answered within", "% of each priority"), &levels);

    let panel = Panel::at(1, "Batches by items", "% of batches");
    let most = report.sizes.len().saturating_sub(1).max(1) as f64;
    let share = |count: u64| 100.0 * count as f64 / report.batches.max(1) as f64;
    let bars = (0u32..).zip(&report.sizes).skip(1);
    let bars: Vec<(f64, f64)> =
        bars.map(|(items, &count)| (f64::from(items) - 0.5, share(count))).collect();
    let x = Axis::new(most, "items", "size").ending_at(most + 0.5);
    let y = Axis::new(bars.iter().map(|bar| bar.1).fold(0.0, f64::max), "", "");
    panel.axes(&mut out, &x, &y);
    panel.bars(&mut out, &bars, 1.0, &x, &y);

    if !rivals.is_empty() {
        let batchers: Vec<(String, Vec<&Sketch>)> = std::iter::once(report)
            .chain(rivals)
            .map(|report| {
                let levels = report.levels.values().map(|level| &*level.latency);
                (report.name.to_owned(), levels.collect())
            })
            .collect();
        spread(&mut out, &Panel::at(2, "Beside others", "% of requests answered"), &batchers);
    }
    out.push_str("</svg>\n");
    out
}

/// The spread of latencies, a curve for each name.
fn spread(out: &mut String, panel: &Panel, named: &[(String, Vec<&Sketch>)]) {
    let curves: Vec<Vec<(f64, f64)>> = named.iter().map(|(_, sketches)| curve(sketches)).collect();
    // The slowest requests of all would squeeze the rest into a corner.
    let largest = |points: &Vec<(f64, f64)>| {
        points.iter().rfind(|(_, percent)| *percent <= 99.9).map_or(0.0, |point| point.0)
    };
    // One that is hopelessly late would too.
    let mut ends: Vec<f64> = curves.iter().map(largest).filter(|&end| end > 0.0).collect();
    ends.sort_unstable_by(f64::total_cmp);
    let end =
        ends.first().map_or(0.0, |least| ends.iter().copied().fold(0.0, f64::max).min(5.0 * least));
    let (x, y) = (Axis::new(end, "ms", "latency"), Axis::percent());
    panel.axes(out, &x, &y);
    for (points, (class, _)) in curves.into_iter().zip(CLASSES.iter().cycle()) {
        let points = points.into_iter().take_while(|point| point.0 <= x.end).collect();
        panel.curve(out, class, &[points], &x, &y, false);
    }
    let legend: Vec<(&str, &str)> = named
        .iter()
        .zip(CLASSES.iter().cycle())
        .map(|((name, _), (_, class))| (*class, name.as_str()))
        .collect();
    panel.legend(out, &legend);
}

/// Latency and the percentage of requests that took no longer.
fn curve(sketches: &[&Sketch]) -> Vec<(f64, f64)> {
    let Some((first, others)) = sketches.split_first() else { return Vec::new() };
    let mut all = Box::new((*first).clone());
    for other in others {
        // They are all made alike.
        let _ = all.merge(other);
    }
    let at = |tenth: u32| {
        let value = all.quantile(f64::from(tenth) / 1000.0)?.value();
        Some((value, f64::from(tenth) / 10.0))
    };
    let mut points: Vec<(f64, f64)> = (0..=1000).filter_map(at).collect();
    // Of one bucket's many requests only the last: a line without stairs that nobody climbed.
    points.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 = next.1;
        }
        same
    });
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::{
        Curve, Limits, Ours, Process, Service, Shapes, Workload, compare, run,
    };
    use tensorforge_core::Duration;

    #[test]
    fn any_number_of_requests_gives_a_picture_of_numbers() {
        let service = Service::new(Curve::linear(Duration::from_millis(2), Duration::ZERO));
        for (requests, max_items) in [(1, 1), (2, 3), (3000, 1000)] {
            let limits = Limits::new(max_items, Duration::ZERO);
            let workload = Workload {
                high_share: 0.5,
                shapes: Shapes::Alternating(2),
                ..Workload::new(Process::Poisson { rate: 1000.0 }, 1)
            };
            let arrivals = workload.arrivals(requests).unwrap();
            let report = run(&arrivals, &mut Ours::new(&limits).unwrap(), &service, &limits);
            let rivals = compare(&arrivals, &service, &limits, &mut |_| {}).unwrap();
            for rivals in [&[][..], &rivals[1..]] {
                let svg = svg(report.as_ref().unwrap(), rivals);
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{requests}");
                assert!(svg.ends_with("</svg>\n"));
                assert_eq!(svg.contains("triton"), !rivals.is_empty());
            }
        }
    }
}
