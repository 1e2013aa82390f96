//! Pictures: one self-contained SVG with panels below each other, which reads well on light and dark
//! pages.

use super::CliError;
use std::fmt::Write;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

const WIDTH: f64 = 960.0;
const PANEL: f64 = 190.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 130.0;
const TOP: f64 = 96.0;
const GAP: f64 = 72.0;
const PLOT: f64 = WIDTH - LEFT - RIGHT;

/// From one line of text to the next.
const LINE: f64 = 15.0;

const STYLE: &str = "\
.page{fill:#ffffff}.frame{fill:none;stroke:#cbd2d9}.grid{stroke:#e4e7eb}\
text{font:12px ui-sans-serif,system-ui,\"DejaVu Sans\",sans-serif;fill:#52606d}\
.title{font-weight:600;fill:#1f2933}.head{font-weight:600;fill:#1f2933}\
.end{text-anchor:end}.middle{text-anchor:middle}\
.line{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}\
.a{stroke:#2680c2}.b{stroke:#de911d}.at{fill:#2680c2}.bt{fill:#b7791f}\
.c{stroke:#3f9142}.d{stroke:#9446ed}.ct{fill:#3f9142}.dt{fill:#9446ed}.bar{fill:#2680c2}\
.area{fill:#2680c2;opacity:.12}.mark{stroke:#9aa5b1;stroke-dasharray:3 3}\
@media(prefers-color-scheme:dark){.page{fill:#14191f}.frame{stroke:#3e4c59}.grid{stroke:#27313b}\
text{fill:#9aa5b1}.title,.head{fill:#e4e7eb}.a{stroke:#62b0e8}.at{fill:#62b0e8}\
.b,.bt{stroke:#f0b429}.bt{fill:#f0b429;stroke:none}.area,.bar{fill:#62b0e8}\
.c{stroke:#7bc47f}.ct{fill:#7bc47f}.d{stroke:#c6a4f5}.dt{fill:#c6a4f5}.mark{stroke:#616e7c}}";

/// Begins a picture of so many panels; ends with `</svg>`, which is the caller's.
pub(super) fn open(name: &str, title: &str, summary: &str, panels: u8) -> String {
    let height = TOP + f64::from(panels) * (PANEL + GAP) - GAP + 56.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n<title>{name}</title>\n\
         <style>{STYLE}</style>\n<rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
         <text class=\"title\" style=\"font-size:{size:.1}px\" x=\"{LEFT}\" y=\"34\">{title}</text>\n\
         <text x=\"{LEFT}\" y=\"56\">{summary}</text>\n",
        name = escape(name),
        // A long title shrinks until it fits, as far as it can be read.
        size = (17.0 * 82.0 / title.chars().count().max(1) as f64).clamp(9.0, 17.0),
        title = escape(title),
        summary = escape(summary),
    )
}

/// A picture's file, opened before the work that it is a picture of.
pub(super) struct PlotFile<'a> {
    path: &'a Path,
    file: File,
}

impl<'a> PlotFile<'a> {
    pub(super) fn create(path: &'a Path) -> Result<Self, CliError> {
        // A picture from before stays until there is a new one.
        let file = File::options().create(true).truncate(false).write(true).open(path);
        let file = file.map_err(|error| Self::cannot_write(path, &error))?;
        Ok(Self { path, file })
    }

    /// Its name, once it is written.
    pub(super) fn write(mut self, svg: &str) -> Result<std::path::Display<'a>, CliError> {
        let written = self.file.set_len(0).and_then(|()| self.file.write_all(svg.as_bytes()));
        written.map_err(|error| Self::cannot_write(self.path, &error).printed())?;
        Ok(self.path.display())
    }

    fn cannot_write(path: &Path, error: &std::io::Error) -> CliError {
        CliError::unusable(format!("cannot write {}: {error}", path.display()))
    }
}

/// A scale from zero to a round end, with round steps.
pub(super) struct Axis {
    pub(super) end: f64,
    step: f64,
    unit: &'static str,
    name: &'static str,
}

impl Axis {
    pub(super) fn new(largest: f64, unit: &'static str, name: &'static str) -> Self {
        let largest = if largest > 0.0 && largest.is_finite() { largest } else { 1.0 };
        let magnitude = 10f64.powf((largest / 5.0).log10().floor());
        let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|factor| factor * magnitude);
        let step = steps.into_iter().find(|step| largest / step <= 5.0).unwrap_or(steps[4]);
        Self { end: (largest / step).ceil() * step, step, unit, name }
    }

    /// From 0 to 100.
    pub(super) fn percent() -> Self {
        Self { end: 100.0, step: 25.0, unit: "", name: "" }
    }

    pub(super) fn ending_at(self, end: f64) -> Self {
        if end > 0.0 { Self { end, ..self } } else { self }
    }

    pub(super) fn ticks(&self) -> impl Iterator<Item = f64> {
        // A measurement that ended a moment early keeps its last tick.
        let count = (self.end / self.step + 0.01).floor() as u32;
        let step = self.step;
        (0..=count).map(move |tick| f64::from(tick) * step)
    }

    pub(super) fn label(&self, value: f64) -> String {
        let decimals = (-self.step.log10().floor()).clamp(0.0, 6.0) as usize;
        // A step of 2.5 needs one digit more than its size tells.
        let whole = (self.step * 10f64.powi(decimals as i32)).fract() < 1e-9;
        let decimals = if whole { decimals } else { decimals + 1 };
        format!("{value:.decimals$}")
    }
}

pub(super) struct Panel {
    top: f64,
    title: &'static str,
    unit: &'static str,
}

impl Panel {
    pub(super) fn at(index: u8, title: &'static str, unit: &'static str) -> Self {
        Self { top: TOP + f64::from(index) * (PANEL + GAP), title, unit }
    }

    fn x(axis: &Axis, value: f64) -> f64 {
        LEFT + value / axis.end * PLOT
    }

    fn y(&self, axis: &Axis, value: f64) -> f64 {
        self.top + PANEL - value / axis.end * PANEL
    }

    pub(super) fn axes(&self, out: &mut String, x: &Axis, y: &Axis) {
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

    pub(super) fn curve(
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
    pub(super) fn labels(
        &self,
        out: &mut String,
        y: &Axis,
        curves: [(&str, &str, Option<f64>); 2],
    ) {
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

    /// Names curves in a row above the frame, at its right end: classes of the texts, and names.
    pub(super) fn legend(&self, out: &mut String, curves: &[(&str, &str)]) {
        let mut right = LEFT + PLOT;
        for (class, name) in curves.iter().rev() {
            let (y, name) = (self.top - 10.0, escape(name));
            push(
                out,
                format_args!(
                    "<text class=\"end {class}\" x=\"{right:.0}\" y=\"{y}\">{name}</text>"
                ),
            );
            // Seven pixels a letter, and a gap.
            right -= 7.0 * name.chars().count() as f64 + 16.0;
        }
    }

    /// Upright bars, each as wide as one step of `x`: where it begins, and how high it is.
    pub(super) fn bars(
        &self,
        out: &mut String,
        bars: &[(f64, f64)],
        width: f64,
        x: &Axis,
        y: &Axis,
    ) {
        for &(at, value) in bars {
            let (left, right) = (Self::x(x, at), Self::x(x, at + width));
            let (top, bottom) = (self.y(y, value.min(y.end)), self.top + PANEL);
            let gap = if right - left > 3.0 { 1.0 } else { 0.0 };
            push(
                out,
                format_args!(
                    "<rect class=\"bar\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
                    right - left - gap,
                    bottom - top,
                ),
            );
        }
    }

    /// A vertical line at `value`, its name in the given row from the bottom.
    pub(super) fn mark(&self, out: &mut String, x: &Axis, value: f64, name: &str, row: f64) {
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

pub(super) fn push(out: &mut String, element: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{element}");
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

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
