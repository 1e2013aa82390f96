//! What benches share: figures of several rounds, and a table of them.

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
