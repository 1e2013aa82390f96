//! The sketch of everything inserted: insertions, then queries.

use std::hint::black_box;

use crate::race::{Against, Race, Unit, lap};
use crate::rivals::{Dd, Hdr};
use crate::values::Shape;
use crate::{Outcome, check, ours};

const INSERT_NS: f64 = 1.0;
const INSERT_RATIO: f64 = 2.0;

const CHECKED: [f64; 5] = [0.01, 0.5, 0.95, 0.99, 0.999];
const QUERIED: [f64; 3] = [0.5, 0.95, 0.99];

/// Everybody, with the same values inserted once.
struct Subjects {
    shape: Shape,
    values: Vec<f64>,
    microseconds: Vec<u64>,
    each: ours::Sketch,
    all: ours::Sketch,
    three_digits: Hdr,
    two_digits: Hdr,
    dd: Dd,
}

pub(crate) fn measure(quick: bool, outcome: &mut Outcome) {
    let (count, passes, rounds) = if quick { (50_000, 1, 3) } else { (1_000_000, 5, 9) };
    for shape in Shape::ALL {
        let mut subjects = Subjects::new(shape, count);
        subjects.check();
        outcome.add(subjects.insertions(passes).run(rounds));
        if shape == Shape::Lognormal {
            let queries = if quick { 100 } else { 2_000 };
            for quantile in QUERIED {
                outcome.add(subjects.queries(quantile, queries).run(rounds));
            }
        }
    }
}

impl Subjects {
    fn new(shape: Shape, count: usize) -> Self {
        let values = shape.values(count);
        let microseconds = Hdr::microseconds(&values);
        let (mut each, mut all) = (ours::Sketch::new(), ours::Sketch::new());
        let (mut three_digits, mut two_digits) = (Hdr::new(3), Hdr::new(2));
        let mut dd = Dd::new();
        each.insert_each(&values);
        all.insert_all(&values);
        three_digits.insert_each(&microseconds);
        two_digits.insert_each(&microseconds);
        dd.insert_each(&values);
        Self { shape, values, microseconds, each, all, three_digits, two_digits, dd }
    }

    fn check(&self) {
        let sorted = check::sorted(&self.values);
        let name = self.shape.name();
        for quantile in CHECKED {
            let of = |who: &str, got, tolerance| {
                check::quantile(&format!("{who}, {name}"), &sorted, quantile, got, tolerance);
            };
            of("insert", self.each.quantile(quantile), check::ONE_PERCENT);
            of("insert_all", self.all.quantile(quantile), check::ONE_PERCENT);
            of("hdrhistogram 3", self.three_digits.quantile(quantile), check::THREE_DIGITS);
            of("hdrhistogram 2", self.two_digits.quantile(quantile), check::ONE_PERCENT);
            of("DDSketch", self.dd.quantile(quantile), check::ONE_PERCENT);
        }
        for sketch in [&self.each, &self.all] {
            assert_eq!(sketch.count(), self.values.len() as u64, "every value of {name} counts");
        }
    }

    fn insertions(&mut self, passes: usize) -> Race<'_> {
        let Self { shape, values, microseconds, each, all, three_digits, two_digits, dd } = self;
        let (values, microseconds) = (&values[..], &microseconds[..]);
        let title = format!("sketch, {} {} values", values.len(), shape.name());
        let unit = Unit { item: "insert", rate: None };
        let mut race = Race::new("sketch", title, unit, &["insert x", "insert_all x"]);
        let items = values.len() * passes;
        let each = race.ours("tensorforge insert", Some(INSERT_NS), move || {
            lap(items, || (0..passes).for_each(|_| each.insert_each(black_box(values))))
        });
        let all = race.ours("tensorforge insert_all", Some(INSERT_NS), move || {
            lap(items, || (0..passes).for_each(|_| all.insert_all(black_box(values))))
        });
        let against = [each, all].map(|ours| Against { ours, wanted: Some(INSERT_RATIO) });
        for (digits, histogram) in [("3 digits", three_digits), ("2 digits", two_digits)] {
            race.rival(format!("hdrhistogram, {digits}"), &against, move || {
                lap(items, || {
                    (0..passes).for_each(|_| histogram.insert_each(black_box(microseconds)));
                })
            });
        }
        race.rival("sketches-ddsketch, 1 %", &against, move || {
            lap(items, || (0..passes).for_each(|_| dd.insert_each(black_box(values))))
        });
        race
    }

    fn queries(&self, quantile: f64, queries: usize) -> Race<'_> {
        let percent = quantile * 100.0;
        let title =
            format!("sketch, p{percent} of {} {} values", self.values.len(), self.shape.name());
        let mut race = Race::new("sketch", title, Unit { item: "query", rate: None }, &["query x"]);
        let ours = race.ours("tensorforge", None, move || {
            asked(queries, quantile, |quantile| self.each.quantile(quantile))
        });
        let against = [Against { ours, wanted: None }];
        race.rival("hdrhistogram, 3 digits", &against, move || {
            asked(queries, quantile, |quantile| self.three_digits.quantile(quantile))
        });
        race.rival("hdrhistogram, 2 digits", &against, move || {
            asked(queries, quantile, |quantile| self.two_digits.quantile(quantile))
        });
        race.rival("sketches-ddsketch, 1 %", &against, move || {
            asked(queries, quantile, |quantile| self.dd.quantile(quantile))
        });
        race
    }
}

/// Nanoseconds for one of so many queries in a row.
pub(crate) fn asked(queries: usize, quantile: f64, mut query: impl FnMut(f64) -> f64) -> f64 {
    lap(queries, || {
        for _ in 0..queries {
            black_box(query(black_box(quantile)));
        }
    })
}
