//! A load's course as a picture: throughput and latency over time, and the latencies' spread.
//!
//! One self-contained SVG that reads well on light and dark pages.

use super::summary::{Latency, Report, percentile};
use std::fmt::Write;

const WIDTH: f64 = 960.0;
const PANEL: f64 = 190.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 130.0;
const TOP: f64 = 96.0;
const GAP: f64 = 72.0;
const HEIGHT: f64 = TOP + 3.0 * PANEL + 2.0 * GAP + 56.0;
const PLOT: f64 = WIDTH - LEFT - RIGHT;

/// From one line of text to the next.
const LINE: f64 = 15.0;

/// Points of a curve over time at most.
const BUCKETS: usize = 120;

const STYLE: &str = "\
.page{fill:#ffffff}.frame{fill:none;stroke:#cbd2d9}.grid{stroke:#e4e7eb}\
text{font:12px ui-sans-serif,system-ui,\"DejaVu Sans\",sans-serif;fill:#52606d}\
.title{font-weight:600;fill:#1f2933}.head{font-weight:600;fill:#1f2933}\
.end{text-anchor:end}.middle{text-anchor:middle}\
.line{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}\
.a{stroke:#2680c2}.b{stroke:#de911d}.at{fill:#2680c2}.bt{fill:#b7791f}\
.area{fill:#2680c2;opacity:.12}.mark{stroke:#9aa5b1;stroke-dasharray:3 3}\
@media(prefers-color-scheme:dark){.page{fill:#14191f}.frame{stroke:#3e4c59}.grid{stroke:#27313b}\
text{fill:#9aa5b1}.title,.head{fill:#e4e7eb}.a{stroke:#62b0e8}.at{fill:#62b0e8}\
.b,.bt{stroke:#f0b429}.bt{fill:#f0b429;stroke:none}.area{fill:#62b0e8}.mark{stroke:#616e7c}}";

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
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\">\n<title>Load on {title}</title>\n\
         <style>{STYLE}</style>\n<rect class=\"page\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n\
         <text class=\"title\" style=\"font-size:{size:.1}px\" x=\"{LEFT}\" y=\"34\">{title}</text>\n\
         <text x=\"{LEFT}\" y=\"56\">{summary}</text>\n",
        title = escape(&report.title),
        // A long name shrinks until it fits, as far as it can be read.
        size = (17.0 * 82.0 / report.title.chars().count().max(1) as f64).clamp(9.0, 17.0),
    );
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
    let y = Axis { end: 100.0, step: 25.0, ..Axis::new(100.0, "", "") };
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

/// A scale from zero to a round end, with round steps.
struct Axis {
    end: f64,
    step: f64,
    unit: &'static str,
    name: &'static str,
}

impl Axis {
    fn new(largest: f64, unit: &'static str, name: &'static str) -> Self {
        let largest = if largest > 0.0 && largest.is_finite() { largest } else { 1.0 };
        let magnitude = 10f64.powf((largest / 5.0).log10().floor());
        let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|factor| factor * magnitude);
        let step = steps.into_iter().find(|step| largest / step <= 5.0).unwrap_or(steps[4]);
        Self { end: (largest / step).ceil() * step, step, unit, name }
    }

    fn ending_at(self, end: f64) -> Self {
        if end > 0.0 { Self { end, ..self } } else { self }
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        // A measurement that ended a moment early keeps its last tick.
        let count = (self.end / self.step + 0.01).floor() as u32;
        let step = self.step;
        (0..=count).map(move |tick| f64::from(tick) * step)
    }

    fn label(&self, value: f64) -> String {
        let decimals = (-self.step.log10().floor()).clamp(0.0, 6.0) as usize;
        // A step of 2.5 needs one digit more than its size tells.
        let whole = (self.step * 10f64.powi(decimals as i32)).fract() < 1e-9;
        let decimals = if whole { decimals } else { decimals + 1 };
        format!("{value:.decimals$}")
    }
}

struct Panel {
    top: f64,
    title: &'static str,
    unit: &'static str,
}

impl Panel {
    fn at(index: u8, title: &'static str, unit: &'static str) -> Self {
        Self { top: TOP + f64::from(index) * (PANEL + GAP), title, unit }
    }

    fn x(axis: &Axis, value: f64) -> f64 {
        LEFT + value / axis.end * PLOT
    }

    fn y(&self, axis: &Axis, value: f64) -> f64 {
        self.top + PANEL - value / axis.end * PANEL
    }

    fn axes(&self, out: &mut String, x: &Axis, y: &Axis) {
        let Self { top, title, unit } = self;
        let (bottom, right) = (top + PANEL, LEFT + PLOT);
        for tick in y.ticks() {
            let (at, label) = (self.y(y, tick), y.label(tick));
            push(
                out,
                format_args!(
                    "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text class=\"end\" x=\"{}\" y=\"{:.1}\">{label}</text>",
                    LEFT - 8.0,
                    at + 4.0,
                ),
            );
        }
        for tick in x.ticks() {
            let (at, label) = (Self::x(x, tick), x.label(tick));
            push(
                out,
                format_args!(
                    "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{top}\" y2=\"{bottom}\"/>\
                 <text class=\"middle\" x=\"{at:.1}\" y=\"{}\">{label}</text>",
                    bottom + 18.0,
                ),
            );
        }
        push(
            out,
            format_args!(
                "<rect class=\"frame\" x=\"{LEFT}\" y=\"{top}\" width=\"{PLOT}\" height=\"{PANEL}\"/>\
             <text class=\"head\" x=\"{LEFT}\" y=\"{}\">{title}, {unit}</text>\
             <text x=\"{}\" y=\"{}\">{}, {}</text>",
                top - 10.0,
                right + 26.0,
                bottom + 18.0,
                x.name,
                x.unit,
            ),
        );
    }

    fn curve(
        &self,
        out: &mut String,
        class: &str,
        stretches: &[Vec<(f64, f64)>],
        x: &Axis,
        y: &Axis,
        area: bool,
    ) {
        for points in stretches {
            self.stretch(out, class, points, x, y, area);
        }
    }

    fn stretch(
        &self,
        out: &mut String,
        class: &str,
        points: &[(f64, f64)],
        x: &Axis,
        y: &Axis,
        area: bool,
    ) {
        let (Some(&(first, _)), Some(&(last, _))) = (points.first(), points.last()) else { return };
        let mut path = String::new();
        for &(at, value) in points {
            let letter = if path.is_empty() { 'M' } else { 'L' };
            let (at, value) = (Self::x(x, at), self.y(y, value.min(y.end)));
            let _ = write!(path, "{letter}{at:.1} {value:.1}");
        }
        if points.len() == 1 {
            // A line of no length is a dot under the round ends of the style.
            path.push_str("h0");
        }
        if area {
            let bottom = self.top + PANEL;
            let (first, last) = (Self::x(x, first), Self::x(x, last));
            push(
                out,
                format_args!(
                    "<path class=\"area\" d=\"{path}L{last:.1} {bottom}L{first:.1} {bottom}z\"/>"
                ),
            );
        }
        push(out, format_args!("<path class=\"line {class}\" d=\"{path}\"/>"));
    }

    /// Names curves at their right end, apart from each other.
    fn labels(&self, out: &mut String, y: &Axis, curves: [(&str, &str, Option<f64>); 2]) {
        let [upper, lower] = curves.map(|(.., end)| self.y(y, end.unwrap_or(0.0)) + 4.0);
        // Clear of each other, and of the axis' name below.
        let lower = lower.max(upper + LINE).min(self.top + PANEL);
        let places = [upper.min(lower - LINE), lower];
        for ((class, name, _), at) in curves.into_iter().zip(places) {
            let x = LEFT + PLOT + 12.0;
            push(
                out,
                format_args!("<text class=\"{class}\" x=\"{x}\" y=\"{at:.1}\">{name}</text>"),
            );
        }
    }

    /// A vertical line at `value`, its name in the given row from the bottom.
    fn mark(&self, out: &mut String, x: &Axis, value: f64, name: &str, row: f64) {
        let at = Self::x(x, value.min(x.end));
        let (top, bottom) = (self.top, self.top + PANEL);
        // Near the right edge the name stands on the left of its line.
        let (class, text) =
            if at > LEFT + PLOT - 90.0 { ("end", at - 5.0) } else { ("", at + 5.0) };
        push(
            out,
            format_args!(
                "<line class=\"mark\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{top}\" y2=\"{bottom}\"/>\
             <text class=\"{class}\" x=\"{text:.1}\" y=\"{}\">{name} {value:.2}</text>",
                bottom - 8.0 - row * LINE,
            ),
        );
    }
}

fn push(out: &mut String, element: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{element}");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
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

    #[test]
    fn axes_have_few_round_steps_and_room_for_the_largest_value() {
        for largest in [0.0, 1e-3, 0.9, 1.0, 7.0, 24.0, 26.0, 99.0, 12_345.0, 1e9] {
            let axis = Axis::new(largest, "", "");
            let ticks: Vec<f64> = axis.ticks().collect();
            assert!((3..=6).contains(&ticks.len()), "{largest}: {ticks:?}");
            assert!(axis.end >= largest, "{largest}: {}", axis.end);
            let labels: Vec<f64> =
                ticks.iter().map(|&tick| axis.label(tick).parse().unwrap()).collect();
            for (tick, label) in ticks.iter().zip(labels) {
                assert!((tick - label).abs() <= axis.step * 1e-6, "{largest}: {tick} {label}");
            }
        }
    }
}
