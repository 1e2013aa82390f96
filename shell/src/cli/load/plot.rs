//! A load's course as a picture: throughput and latency over time, and the latencies' spread.
//!
//! One self-contained SVG that reads well on light and dark pages.

use super::super::svg::{self, Axis, Panel};
use super::summary::{Latency, Report, percentile};

/// Points of a curve over time at most.
const BUCKETS: usize = 120;

/// Draws the report.
pub(super) fn svg(report: &Report) -> String {
    let sorted = report.sorted_latencies();
    let latency = Latency::of(&sorted);
    let unsent = match report.unsent {
        0 => String::new(),
        unsent => format!(", {unsent} unsent"),
    };
    let summary = format!(
        "{:.0} requests/s · p50 {:.2} ms · p99 {:.2} ms · mean batch {} · {} requests in {:.1} s, \
         {} failed{unsent}",
        report.throughput(),
        latency.p50,
        latency.p99,
        report.mean_batch.map_or_else(|| "unknown".to_owned(), |mean| format!("{mean:.1}")),
        report.requests(),
        report.seconds(),
        report.failed(),
    );
    let mut out = svg::open(&format!("Load on {}", report.title), &report.title, &summary, 3);
    let course = Course::of(report);
    // Time ends where the measurement ended, not at the next round number.
    let seconds = Axis::new(course.seconds, "s", "time").ending_at(course.seconds);

    let mut panel = Panel::at(0, "Throughput", "requests/s");
    let y = Axis::new(max(&course.throughput), "", "");
    panel.axes(&mut out, &seconds, &y);
    panel.curve(&mut out, "a", &[course.points(&course.throughput)], &seconds, &y, true);

    panel = Panel::at(1, "Latency over time", "ms");
    let y = Axis::new(max(course.p99.iter().flatten()), "", "");
    panel.axes(&mut out, &seconds, &y);
    panel.curve(&mut out, "a", &course.stretches(&course.p50), &seconds, &y, false);
    panel.curve(&mut out, "b", &course.stretches(&course.p99), &seconds, &y, false);
    panel.labels(
        &mut out,
        &y,
        [("bt", "p99", last(&course.p99)), ("at", "p50", last(&course.p50))],
    );

    panel = Panel::at(2, "Requests answered within", "% of requests");
    // The slowest requests of all would squeeze the rest into a corner.
    let x = Axis::new(percentile(&sorted, 99.9), "ms", "latency");
    let y = Axis::percent();
    panel.axes(&mut out, &x, &y);
    let spread: Vec<(f64, f64)> = (0..=1000)
        .filter(|_| !sorted.is_empty())
        .map(|tenth| f64::from(tenth) / 10.0)
        .map(|percent| (percentile(&sorted, percent).min(x.end), percent))
        .collect();
    panel.curve(&mut out, "a", &[spread], &x, &y, true);
    for (row, name, percent) in [(0.0, "p50", 50.0), (1.0, "p99", 99.0)] {
        if !sorted.is_empty() {
            panel.mark(&mut out, &x, percentile(&sorted, percent), name, row);
        }
    }
    out.push_str("</svg>\n");
    out
}

/// Throughput and latency in equal slices of time.
struct Course {
    seconds: f64,
    throughput: Vec<f64>,
    /// `None` where no answer came: a server that stalls has no latency then, least of all none.
    p50: Vec<Option<f64>>,
    p99: Vec<Option<f64>>,
}

impl Course {
    fn of(report: &Report) -> Self {
        let last = report.samples.last().map_or(0.0, |sample| sample.at_seconds());
        let seconds = report.seconds().max(last);
        // At least 50 ms and some requests each, or single requests make the curve jump.
        let count = ((seconds / 0.05) as usize).min(report.samples.len() / 20).clamp(1, BUCKETS);
        let width = seconds / count as f64;
        let mut slices: Vec<Vec<f64>> = vec![Vec::new(); count];
        for sample in &report.samples {
            let slice = if width > 0.0 { (sample.at_seconds() / width) as usize } else { 0 };
            slices[slice.min(count - 1)].push(sample.latency_ms());
        }
        slices.iter_mut().for_each(|slice| slice.sort_unstable_by(f64::total_cmp));
        let rate = |slice: &Vec<f64>| if width > 0.0 { slice.len() as f64 / width } else { 0.0 };
        let one = |slice: &Vec<f64>, percent| {
            if slice.is_empty() { None } else { Some(percentile(slice, percent)) }
        };
        let each = |percent| slices.iter().map(|slice| one(slice, percent)).collect();
        Self {
            seconds,
            throughput: slices.iter().map(rate).collect(),
            p50: each(50.0),
            p99: each(99.0),
        }
    }

    /// Each slice's value at the middle of its time.
    fn points(&self, values: &[f64]) -> Vec<(f64, f64)> {
        let width = self.seconds / values.len().max(1) as f64;
        let middle = |(slice, &value)| ((f64::from(slice) + 0.5) * width, value);
        (0u32..).zip(values).map(middle).collect()
    }

    /// The same, in stretches without a gap.
    fn stretches(&self, values: &[Option<f64>]) -> Vec<Vec<(f64, f64)>> {
        let width = self.seconds / values.len().max(1) as f64;
        let mut stretches = vec![Vec::new()];
        for (slice, value) in (0u32..).zip(values) {
            let current = stretches.last_mut().expect("one from the start");
            match value {
                Some(value) => current.push(((f64::from(slice) + 0.5) * width, *value)),
                None if current.is_empty() => {}
                None => stretches.push(Vec::new()),
            }
        }
        stretches
    }
}

fn max<'a>(values: impl IntoIterator<Item = &'a f64>) -> f64 {
    values.into_iter().copied().fold(0.0, f64::max)
}

fn last(values: &[Option<f64>]) -> Option<f64> {
    values.iter().copied().flatten().next_back()
}

#[cfg(test)]
mod tests {
    use super::super::summary::Sample;
    use super::*;
    use tensorforge_core::Duration;

    fn report(latencies_us: &[u64]) -> Report {
        let sample = |(i, &latency): (usize, &u64)| {
            Sample::new(Duration::from_millis(i as u64), Duration::from_micros(latency))
        };
        Report {
            title: "<digits> & \"others\"".into(),
            answer: vec![],
            duration: Duration::from_millis(latencies_us.len() as u64),
            samples: latencies_us.iter().enumerate().map(sample).collect(),
            succeeded: latencies_us.len() as u64,
            late: 0,
            unsent: 0,
            errors: Default::default(),
            first_error: None,
            executions: None,
            mean_batch: None,
        }
    }

    #[test]
    fn any_number_of_samples_gives_a_picture_of_numbers() {
        for latencies in [&[][..], &[0], &[5], &[7; 3000], &[1, 1_000_000]] {
            let svg = svg(&report(latencies));
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{latencies:?}");
            assert!(svg.contains("&lt;digits&gt; &amp; &quot;others&quot;"));
            assert!(svg.ends_with("</svg>\n"));
        }
    }

    #[test]
    fn a_stall_is_a_gap_and_not_a_latency_of_zero() {
        // Answers in the first and the last of three seconds.
        let early = (0..1000).map(|i| (i, 5));
        let late = (2000..3000).map(|i| (i, 5));
        let sample =
            |(at, latency)| Sample::new(Duration::from_millis(at), Duration::from_millis(latency));
        let report = Report {
            duration: Duration::from_secs(3),
            samples: early.chain(late).map(sample).collect(),
            ..report(&[])
        };
        let course = Course::of(&report);
        let stretches = course.stretches(&course.p50);
        assert_eq!(stretches.len(), 2);
        assert!(stretches.iter().flatten().all(|&(_, latency)| latency == 5.0));
        assert!(course.throughput.contains(&0.0), "the throughput does fall to zero");
    }
}
