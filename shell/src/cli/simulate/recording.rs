//! What a server recorded (`serve --record`), as arrivals: to try another policy on what really came.

use super::trace::{MOST, SHAPES, Wrong};
use crate::simulation::Arrival;
use crate::trace::{Call, Event, Line, Served, Setting};
use std::collections::{BTreeMap, BTreeSet};
use tensorforge_core::Instant;
use tensorforge_core::batch::LEVELS;

/// Whether this is how a recording begins.
pub(super) fn is_recording(first_line: &str) -> bool {
    matches!(serde_json::from_str(first_line), Ok(Line::Begin(_)))
}

/// The requests of one model, the first of them at 0; of `wanted` (`name` or `name/version`), where
/// there are several models. Shapes are numbered as they come.
pub(in crate::cli) fn arrivals(text: &str, wanted: Option<&str>) -> Result<Vec<Arrival>, Wrong> {
    // A number may be another model's later, and a model may get another number.
    let mut names: BTreeMap<u32, String> = BTreeMap::new();
    let mut all_names = BTreeSet::new();
    let mut by_model: BTreeMap<String, Recorded> = BTreeMap::new();
    let mut last = 0;
    for (number, line) in (1..).zip(text.lines()) {
        last = number;
        let line = serde_json::from_str(line).map_err(|error| (number, error.to_string()))?;
        match line {
            Line::Set(Setting::Model(served)) => {
                let Served { model, name, .. } = *served;
                all_names.insert(name.clone());
                names.insert(model, name);
            }
            Line::Call(Call {
                at,
                event: Event::Arrived { model, signature, items, priority, deadline, .. },
                ..
            }) if is_wanted(names.get(&model), wanted) => {
                // The index and the place in time are given when it is added.
                let request = Arrival {
                    index: 0,
                    at: nanos(at),
                    shape: signature,
                    priority,
                    items,
                    deadline: deadline.map(nanos),
                };
                let name = names.get(&model).cloned().unwrap_or_default();
                by_model.entry(name).or_default().add(request).map_err(|what| (number, what))?;
            }
            _ => {}
        }
    }
    let known = || all_names.into_iter().collect::<Vec<_>>().join(", ");
    let mut models = by_model.into_values();
    match (models.next(), models.next()) {
        (Some(only), None) => Ok(only.arrivals),
        (Some(_), Some(_)) => Err((
            last,
            format!("it has requests of several models: choose with --model from {}", known()),
        )),
        (None, _) if wanted.is_some() => {
            Err((last, format!("it has no requests of that --model; its models are {}", known())))
        }
        (None, _) => Err((last, "it has no requests".to_owned())),
    }
}

/// Whether `wanted` is, or may be, the model of this name.
pub(in crate::cli) fn is_wanted(name: Option<&String>, wanted: Option<&str>) -> bool {
    let Some(wanted) = wanted else { return true };
    let without_version = |name: &String| name.rsplit_once('/').map(|(name, _)| name.to_owned());
    name.is_some_and(|name| name == wanted || without_version(name).as_deref() == Some(wanted))
}

fn nanos(time: u64) -> Instant {
    Instant::from_nanos(time)
}

/// The requests of one model so far.
#[derive(Default)]
struct Recorded {
    arrivals: Vec<Arrival>,
    /// The shape of each of the server's numbers.
    shapes: BTreeMap<u32, u32>,
    /// When the first came, by the server's clock.
    start: Instant,
}

impl Recorded {
    /// Adds a request as the server has it.
    fn add(&mut self, request: Arrival) -> Result<(), String> {
        let index = u32::try_from(self.arrivals.len()).unwrap_or(u32::MAX);
        if index >= MOST {
            return Err(format!("there are more than {MOST} requests"));
        }
        if usize::from(request.priority) >= LEVELS {
            return Err(format!("priority is {}, and must be below {LEVELS}", request.priority));
        }
        if index == 0 {
            self.start = request.at;
        }
        let next = u32::try_from(self.shapes.len()).unwrap_or(u32::MAX);
        let shape = *self.shapes.entry(request.shape).or_insert(next);
        if shape >= SHAPES {
            return Err(format!("there are more than {SHAPES} shapes"));
        }
        let since_start = |time: Instant| Instant::ZERO + time.since(self.start);
        let at = since_start(request.at);
        if self.arrivals.last().is_some_and(|before| at < before.at) {
            return Err("it is out of order: the request before came later".to_owned());
        }
        let deadline = request.deadline.map(since_start);
        let items = request.items.max(1);
        self.arrivals.push(Arrival { index, at, shape, items, deadline, ..request });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ModelConfig;
    use crate::trace::Begin;

    fn begin() -> Line {
        let version = "0".to_owned();
        Line::Begin(Begin { format: 1, version, requests: 8, groups: 8, models: 2 })
    }

    fn model(model: u32, name: &str) -> Line {
        let config = ModelConfig::default();
        let name = name.to_owned();
        let served = Served { model, name, batches: true, sizes: vec![], memory: None, config };
        Line::Set(Setting::Model(Box::new(served)))
    }

    fn arrived(at: u64, model: u32, signature: u32, deadline: Option<u64>) -> Line {
        let (items, priority, bytes, shadow) = (2, 3, 9, false);
        let event = Event::Arrived { model, signature, items, priority, bytes, deadline, shadow };
        Line::Call(Call { at, event, judged: vec![], decided: vec![], wake: None })
    }

    fn text(lines: &[Line]) -> String {
        lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect()
    }

    #[test]
    fn requests_come_as_they_came() {
        let tick = Line::Call(Call {
            at: 150,
            event: Event::Tick,
            judged: vec![],
            decided: vec![],
            wake: None,
        });
        let recording = text(&[
            begin(),
            model(0, "digits/1"),
            arrived(100, 0, 7, None),
            tick,
            arrived(160, 0, 5, Some(400)),
            arrived(170, 0, 7, None),
        ]);
        assert!(is_recording(recording.lines().next().unwrap()));
        let came = arrivals(&recording, None).unwrap();
        let expected = |index, at, shape, deadline: Option<u64>| Arrival {
            index,
            at: nanos(at),
            shape,
            priority: 3,
            items: 2,
            deadline: deadline.map(nanos),
        };
        assert_eq!(
            came,
            [expected(0, 0, 0, None), expected(1, 60, 1, Some(300)), expected(2, 70, 0, None)]
        );
    }

    #[test]
    fn of_several_models_one_has_to_be_chosen() {
        let recording = text(&[
            begin(),
            model(0, "digits/1"),
            model(1, "words/2"),
            arrived(100, 0, 0, None),
            arrived(160, 1, 0, None),
        ]);
        let (line, what) = arrivals(&recording, None).unwrap_err();
        assert!(line == 5 && what.contains("--model from digits/1, words/2"), "{line}: {what}");
        for name in ["words", "words/2"] {
            let came = arrivals(&recording, Some(name)).unwrap();
            assert_eq!((came.len(), came[0].at), (1, nanos(0)), "{name}");
        }
        let (_, what) = arrivals(&recording, Some("words/1")).unwrap_err();
        assert!(what.contains("its models are digits/1, words/2"), "{what}");
    }

    #[test]
    fn a_number_that_was_used_again_is_another_model() {
        let recording = text(&[
            begin(),
            model(0, "digits/1"),
            arrived(100, 0, 0, None),
            Line::Set(Setting::Forget(0)),
            model(0, "words/2"),
            model(1, "digits/1"),
            arrived(160, 0, 0, None),
            arrived(170, 1, 0, None),
        ]);
        assert_eq!(arrivals(&recording, Some("digits")).unwrap().len(), 2);
        assert_eq!(arrivals(&recording, Some("words")).unwrap().len(), 1);
        let (_, what) = arrivals(&recording, None).unwrap_err();
        assert!(what.contains("--model from digits/1, words/2"), "{what}");
    }

    #[test]
    fn a_recording_that_makes_no_sense_is_named_with_its_line() {
        let mut priority = arrived(5, 0, 0, None);
        if let Line::Call(Call { event: Event::Arrived { priority, .. }, .. }) = &mut priority {
            *priority = 8;
        }
        let back =
            [begin(), arrived(5, 0, 0, None), arrived(8, 0, 0, None), arrived(7, 0, 0, None)];
        for (recording, at, complaint) in [
            (text(&[begin()]), 1, "no requests"),
            (text(&[begin()]) + "{}\n", 2, "expected"),
            (text(&[begin(), priority]), 2, "priority is 8"),
            (text(&back), 4, "out of order"),
        ] {
            let (line, what) = arrivals(&recording, None).unwrap_err();
            assert!(line == at && what.contains(complaint), "{line}: {what}");
        }
    }
}
