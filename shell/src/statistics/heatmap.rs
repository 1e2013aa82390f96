//! Where on a grid how much happened.

/// Something that happened at a place, and how much it counts.
#[derive(Clone, Debug, PartialEq)]
pub struct HeatmapEvent {
    /// How far to the right, in columns.
    pub x: f64,
    /// How far down, in rows.
    pub y: f64,
    /// What it adds to its cell.
    pub weight: f64,
}

/// A place on the grid, and the weights of its events added up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeatmapCell {
    /// Counted from the top, from 0.
    pub row: usize,
    /// Counted from the left, from 0.
    pub col: usize,
    /// The sum of the weights.
    pub value: f64,
}

/// Adds events up by the cell that they fall in: one cell for each place of a grid of `rows` by `cols`,
/// row by row.
///
/// An event at `(x, y)` falls in column `⌊x⌋` of row `⌊y⌋`; outside the grid, in the nearest cell of its
/// edge. One with a coordinate that is NaN, or a weight that is infinite or NaN, is left out. No cells for
/// no rows or columns, or for more of them than there is memory. O(events + cells).
///
/// ```
/// use tensorforge::statistics::{HeatmapEvent, generate_heatmap};
///
/// let at = |x, y| HeatmapEvent { x, y, weight: 1.0 };
/// let cells = generate_heatmap(&[at(0.5, 0.5), at(1.2, 0.0), at(99.0, -5.0)], 2, 2);
/// let values: Vec<f64> = cells.iter().map(|cell| cell.value).collect();
/// assert_eq!(values, [1.0, 2.0, 0.0, 0.0]);
/// ```
#[must_use]
pub fn generate_heatmap(events: &[HeatmapEvent], rows: usize, cols: usize) -> Vec<HeatmapCell> {
    let mut cells: Vec<HeatmapCell> = Vec::new();
    let count = rows.saturating_mul(cols);
    if count == 0 || cells.try_reserve_exact(count).is_err() {
        return cells;
    }
    let places = (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col)));
    cells.extend(places.map(|(row, col)| HeatmapCell { row, col, value: 0.0 }));
    for HeatmapEvent { x, y, weight } in events {
        if x.is_nan() || y.is_nan() || !weight.is_finite() {
            continue;
        }
        // The conversion rounds down, and stops at 0 and at the largest.
        let (row, col) = ((*y as usize).min(rows - 1), (*x as usize).min(cols - 1));
        let value = &mut cells[row * cols + col].value;
        *value = (*value + weight).clamp(f64::MIN, f64::MAX);
    }
    cells
}
