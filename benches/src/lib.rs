//! What benches share: a command line, a clock, figures of several rounds, what was asked of them, and the report.

pub mod arguments;
pub mod clock;
pub mod report;
pub mod target;

/// The median of `figures`; the machine's bad moments do not move it.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn median(mut figures: Vec<f64>) -> f64 {
    assert!(!figures.is_empty(), "a median needs a figure");
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// `text` as an SVG picture may contain it.
#[must_use]
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
