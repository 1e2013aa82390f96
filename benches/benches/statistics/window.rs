//! The window over the last values: insertions, each of which evicts the oldest, then queries.

use std::hint::black_box;

use crate::race::{Against, Cell, Race, Unit, lap};
use crate::rivals::{PlainWindow, SortedWindow};
use crate::sketch::asked;
use crate::values::Shape;
use crate::{Outcome, check, ours};

const INSERT_NS: f64 = 3.0;
const QUERY_NS: f64 = 50.0;

const LENGTHS: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// A longer one takes the sorted window all day.
const LONGEST_SORTED: usize = 100_000;
const QUERIED: [f64; 3] = [0.5, 0.95, 0.99];
/// Insertions between two queries, where there are some.
const BETWEEN: usize = 16;

pub(crate) fn measure(quick: bool, outcome: &mut Outcome) {
    let rounds = if quick { 3 } else { 9 };
    let lengths = if quick { &LENGTHS[..3] } else { &LENGTHS[..] };
    // Longer than any window and no multiple of one: else every insertion would evict its equal.
    let count = if quick { 130_007 } else { 1_300_007 };
    for shape in Shape::ALL {
        outcome.add(insertions(shape, &shape.values(count), lengths, quick, rounds));
    }
    let values = Shape::Lognormal.values(count);
    for quantile in QUERIED {
        outcome.add(queries(quantile, &values, quick, rounds));
    }
}

/// Ours, full of the last of `values`.
fn filled(length: usize, values: &[f64]) -> ours::Window {
    let mut window = ours::Window::new(length);
    values.iter().for_each(|&value| window.insert(value));
    let last = check::sorted(&values[values.len() - length..]);
    for quantile in QUERIED {
        let what = format!("the window of {length}");
        check::quantile(&what, &last, quantile, window.quantile(quantile), check::ONE_PERCENT);
    }
    window
}

fn insertions(shape: Shape, values: &[f64], lengths: &[usize], quick: bool, rounds: usize) -> Cell {
    let title = format!("window, {} values, each insertion evicts", shape.name());
    let unit = Unit { item: "insert", rate: None };
    let mut race = Race::new("window", title, unit, &["insert x"]);
    let mut places = vec![];
    for &length in lengths {
        let mut window = filled(length, values);
        places.push(race.ours(format!("tensorforge, N = {length}"), Some(INSERT_NS), move || {
            lap(values.len(), || {
                black_box(values).iter().for_each(|&value| window.insert(value));
                black_box(&mut window);
            })
        }));
    }
    for (&length, ours) in lengths.iter().zip(places) {
        if length > LONGEST_SORTED || shape != Shape::Lognormal {
            continue;
        }
        let mut window = SortedWindow::of(&values[values.len() - length..]);
        let some = &values[..if quick { 200 } else { 2_000 }];
        let against = [Against { ours, wanted: None }];
        race.rival(format!("VecDeque and sorted Vec, N = {length}"), &against, move || {
            lap(some.len(), || some.iter().for_each(|&value| window.insert(value)))
        });
    }
    let mut cell = race.run(rounds);
    cell.spread = Some("N");
    cell
}

fn queries(quantile: f64, values: &[f64], quick: bool, rounds: usize) -> Cell {
    let length = LONGEST_SORTED;
    let last = &values[values.len() - length..];
    let window = filled(length, values);
    let mut inserted = filled(length, values);
    let sorted = SortedWindow::of(last);
    let mut plain = PlainWindow::of(last);
    assert_eq!(sorted.quantile(quantile).to_bits(), plain.quantile(quantile).to_bits());

    let title = format!("window, p{} of the last {length} lognormal values", quantile * 100.0);
    let mut race = Race::new("window", title, Unit { item: "query", rate: None }, &["query x"]);
    let times = if quick { 1_000 } else { 100_000 };
    let ours = race.ours("tensorforge", Some(QUERY_NS), || {
        asked(times, quantile, |quantile| window.quantile(quantile))
    });
    let against = [Against { ours, wanted: None }];
    let between = format!("tensorforge, {BETWEEN} insertions between");
    race.rival(between, &against, || between_insertions(&mut inserted, values, quantile));
    race.rival("VecDeque and sorted Vec", &against, || {
        asked(times, quantile, |quantile| sorted.quantile(quantile))
    });
    race.rival("copied, and select_nth_unstable", &against, || {
        asked(if quick { 2 } else { 20 }, quantile, |quantile| plain.quantile(quantile))
    });
    race.run(rounds)
}

/// What a query takes when its window has changed since the last and the processor has seen to
/// other things. By difference, so less sharp than the figure for queries alone.
fn between_insertions(window: &mut ours::Window, values: &[f64], quantile: f64) -> f64 {
    let values = black_box(&values[..values.len().min(100_000)]);
    let groups = values.chunks_exact(BETWEEN);
    let queries = groups.len();
    let alone = lap(queries, || {
        for group in groups.clone() {
            group.iter().for_each(|&value| window.insert(value));
            black_box(&mut *window);
        }
    });
    let both = lap(queries, || {
        for group in groups {
            group.iter().for_each(|&value| window.insert(value));
            black_box(window.quantile(black_box(quantile)));
        }
    });
    both - alone
}
