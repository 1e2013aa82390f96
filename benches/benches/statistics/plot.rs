//! The picture: how many times as long as ours each rival took, where that was asked for, a panel
//! for each section, bars on a logarithmic scale from the line of equality.

use std::fmt::Write;

use tensorforge_benches::escaped;

use crate::ours;
use crate::race::{Against, Cell, Row};

const PANEL: (f64, f64) = (640.0, 210.0);
const MARGIN: (f64, f64) = (60.0, 64.0);
/// The ratios at the panel's lower and upper edge.
const RANGE: (f64, f64) = (0.5, 32.0);
const COLOURS: [&str; 8] =
    ["#3b6ea5", "#7fb0d8", "#d98a3d", "#8a8a8a", "#5f9e6e", "#b55d60", "#857aab", "#c1b37f"];

/// A bar: a rival against one of ours.
struct Bar<'a> {
    rival: &'a Row,
    ours: &'a Row,
    ratio: f64,
    wanted: f64,
}

fn bars(cell: &Cell) -> Vec<Bar<'_>> {
    let bar = |rival, against: &Against| {
        let ours = &cell.rows[against.ours];
        against.wanted.map(|wanted| Bar { rival, ours, ratio: cell.ratio(rival, *against), wanted })
    };
    cell.rows.iter().flat_map(|row| row.against.iter().filter_map(move |it| bar(row, it))).collect()
}

/// The height of `ratio` in a panel that begins at `top`.
fn height(top: f64, ratio: f64) -> f64 {
    let (low, high) = RANGE;
    let part = (ratio.clamp(low, high) / low).log2() / (high / low).log2();
    PANEL.1.mul_add(1.0 - part, top)
}

pub(crate) fn svg(cells: &[Cell]) -> String {
    let mut panels: Vec<Vec<&Cell>> = vec![];
    let mut rivals: Vec<&str> = vec![];
    for cell in cells {
        let bars = bars(cell);
        if bars.is_empty() {
            continue;
        }
        for bar in bars {
            if !rivals.contains(&bar.rival.name.as_str()) {
                rivals.push(&bar.rival.name);
            }
        }
        match panels.iter_mut().find(|panel| panel[0].section == cell.section) {
            Some(panel) => panel.push(cell),
            None => panels.push(vec![cell]),
        }
    }
    let legend = rivals.len().div_ceil(3) as f64 * 18.0;
    let width = PANEL.0 + MARGIN.0 + 20.0;
    let tall = (panels.len() as f64).mul_add(PANEL.1 + MARGIN.1, 50.0 + legend);
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {tall}' \
         font-family='sans-serif' font-size='12'>\n<rect width='100%' height='100%' fill='white'/>\n\
         <text x='16' y='24' font-size='14'>Times as long as {} in the same run (log scale; dashes: \
         what is wanted)</text>\n",
        escaped(ours::NAME)
    );
    for (index, rival) in rivals.iter().enumerate() {
        let x = 225.0f64.mul_add((index % 3) as f64, 16.0);
        let y = 18.0f64.mul_add((index / 3) as f64, 36.0);
        let _ = writeln!(
            svg,
            "<rect x='{x}' y='{y}' width='12' height='12' fill='{}'/><text x='{}' y='{}'>{}</text>",
            COLOURS[index % COLOURS.len()],
            x + 17.0,
            y + 10.0,
            escaped(rival)
        );
    }
    for (index, panel) in panels.iter().enumerate() {
        let top = (PANEL.1 + MARGIN.1).mul_add(index as f64, 66.0 + legend);
        draw(&mut svg, panel, &rivals, MARGIN.0, top);
    }
    svg + "</svg>\n"
}

fn draw(svg: &mut String, panel: &[&Cell], rivals: &[&str], left: f64, top: f64) {
    let (right, columns) = (left + PANEL.0, panel[0].columns);
    let several = if columns.len() > 1 { &format!(": {}", columns.join(", ")) } else { "" };
    let _ = writeln!(
        svg,
        "<text x='{left}' y='{}'><tspan font-weight='bold'>{}</tspan>{}</text>",
        top - 8.0,
        escaped(panel[0].section),
        escaped(several)
    );
    for ratio in [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0] {
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
    for (index, cell) in panel.iter().enumerate() {
        let bars = bars(cell);
        let bar = (group / (bars.len() as f64 + 1.0)).min(40.0);
        let middle = group.mul_add(index as f64 + 0.5, left);
        let start = middle - bar * bars.len() as f64 / 2.0;
        for (place, Bar { rival, ours, ratio, wanted }) in bars.iter().enumerate() {
            let colour = rivals.iter().position(|name| *name == rival.name).unwrap_or(0);
            let (from, to, wanted) = (height(top, 1.0), height(top, *ratio), height(top, *wanted));
            let x = bar.mul_add(place as f64, start);
            let _ = writeln!(
                svg,
                "<rect x='{x:.1}' y='{:.1}' width='{:.1}' height='{:.1}' fill='{}'>\
                 <title>{} / {}: {ratio:.2}</title></rect>\
                 <line x1='{x:.1}' x2='{:.1}' y1='{wanted:.1}' y2='{wanted:.1}' stroke='#b00' \
                 stroke-dasharray='4 2'/>",
                from.min(to),
                bar - 1.5,
                (from - to).abs().max(1.0),
                COLOURS[colour % COLOURS.len()],
                escaped(&rival.name),
                escaped(&ours.name),
                x + bar - 1.5,
            );
        }
        // The panel's heading says what stands before the comma.
        let label = cell.title.split_once(", ").map_or(cell.title.as_str(), |(_, load)| load);
        let _ = writeln!(
            svg,
            "<text x='{middle:.1}' y='{:.1}' text-anchor='middle' font-size='11'>{}</text>",
            top + PANEL.1 + 16.0,
            escaped(label)
        );
    }
}
