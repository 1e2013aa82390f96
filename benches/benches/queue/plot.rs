//! The picture: ours over each rival's throughput, a panel for each prefill and range, bars on a
//! logarithmic scale from the line of equality.

use std::fmt::Write;

use tensorforge_benches::escaped;

use crate::cell::Cell;
use crate::subject::Kind;

const PANEL: (f64, f64) = (430.0, 210.0);
const MARGIN: (f64, f64) = (60.0, 64.0);
/// The ratios at the panel's lower and upper edge.
const RANGE: (f64, f64) = (0.125, 8.0);
const RIVALS: [(Kind, &str); 4] = [
    (Kind::StdHeap, "#3b6ea5"),
    (Kind::ParkingLotHeap, "#7fb0d8"),
    (Kind::SkipMap, "#d98a3d"),
    (Kind::LevelDeques, "#8a8a8a"),
];

/// The height of `ratio` in a panel that begins at `top`.
fn height(top: f64, ratio: f64) -> f64 {
    let (low, high) = RANGE;
    let part = (ratio.clamp(low, high) / low).log2() / (high / low).log2();
    PANEL.1.mul_add(1.0 - part, top)
}

pub(crate) fn svg(cells: &[Cell]) -> String {
    let mut panels: Vec<Vec<&Cell>> = vec![];
    let of = |cell: &Cell| (cell.load.prefill, cell.load.priorities);
    for cell in cells {
        match panels.iter_mut().find(|panel| of(panel[0]) == of(cell)) {
            Some(panel) => panel.push(cell),
            None => panels.push(vec![cell]),
        }
    }
    let rows = panels.len().div_ceil(2) as f64;
    let (width, tall) = (2.0 * (PANEL.0 + MARGIN.0) + 20.0, rows.mul_add(PANEL.1 + MARGIN.1, 66.0));
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {tall}' \
         font-family='sans-serif' font-size='12'>\n<rect width='100%' height='100%' fill='white'/>\n\
         <text x='16' y='24' font-size='14'>Throughput of {} over each rival's in the same \
         run (log scale; dashes: the ratio wanted to std's heap)</text>\n",
        escaped(Kind::Ours.name())
    );
    for (index, (kind, colour)) in RIVALS.into_iter().enumerate() {
        let x = 225.0f64.mul_add(index as f64, 16.0);
        let _ = writeln!(
            svg,
            "<rect x='{x}' y='36' width='12' height='12' fill='{colour}'/>\
             <text x='{}' y='46'>{}</text>",
            x + 17.0,
            escaped(kind.name())
        );
    }
    for (index, panel) in panels.iter().enumerate() {
        let left = (PANEL.0 + MARGIN.0).mul_add((index % 2) as f64, MARGIN.0);
        let top = (PANEL.1 + MARGIN.1).mul_add((index / 2) as f64, 92.0);
        draw(&mut svg, panel, left, top);
    }
    svg + "</svg>\n"
}

fn draw(svg: &mut String, panel: &[&Cell], left: f64, top: f64) {
    let (right, title) = (left + PANEL.0, panel[0].title());
    let title = title.rsplit_once(',').map_or(title.as_str(), |(load, _)| load);
    let _ = writeln!(svg, "<text x='{left}' y='{}' font-weight='bold'>{title}</text>", top - 8.0);
    for ratio in [0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0] {
        let (y, colour) = (height(top, ratio), if ratio == 1.0 { "#000" } else { "#ddd" });
        let _ = writeln!(
            svg,
            "<line x1='{left}' x2='{right}' y1='{y:.1}' y2='{y:.1}' stroke='{colour}'/>\
             <text x='{}' y='{:.1}' text-anchor='end'>{ratio}</text>",
            left - 6.0,
            y + 4.0
        );
    }
    let group = PANEL.0 / panel.len() as f64;
    let bar = group / (RIVALS.len() as f64 + 1.0);
    for (index, cell) in panel.iter().enumerate() {
        let start = group.mul_add(index as f64, left + bar / 2.0);
        let rivals =
            RIVALS.into_iter().filter(|(kind, _)| cell.rows.iter().any(|row| row.kind == *kind));
        for (place, (kind, colour)) in rivals.enumerate() {
            let ratio = cell.throughput_ratio(kind);
            let (from, to) = (height(top, 1.0), height(top, ratio));
            let _ = writeln!(
                svg,
                "<rect x='{:.1}' y='{:.1}' width='{:.1}' height='{:.1}' fill='{colour}'>\
                 <title>{}: {ratio:.2}</title></rect>",
                bar.mul_add(place as f64, start),
                from.min(to),
                bar - 1.5,
                (from - to).abs().max(1.0),
                escaped(kind.name())
            );
        }
        let wanted = height(top, cell.wanted_throughput());
        let threads = cell.load.threads;
        let _ = writeln!(
            svg,
            "<line x1='{start:.1}' x2='{:.1}' y1='{wanted:.1}' y2='{wanted:.1}' stroke='#b00' \
             stroke-dasharray='4 2'/><text x='{:.1}' y='{:.1}' text-anchor='middle'>{threads} \
             thread{}</text>",
            start + bar,
            bar.mul_add(2.0, start),
            top + PANEL.1 + 16.0,
            if threads == 1 { "" } else { "s" }
        );
    }
}
