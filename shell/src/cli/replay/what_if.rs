//! What a recorded server would have done with other settings: its requests again, in virtual time.

use crate::cli::CliError;
use crate::cli::output::table;
use crate::cli::simulate::recording;
use crate::config::ModelConfig;
use crate::simulation::{Curve, Limits, Ours, Report, Service, run};
use crate::trace::{Call, Decision, Event, Line, Served, Setting};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use tensorforge_core::Duration;
use tensorforge_core::batch::{LatencyTuner, Sizes};
use tensorforge_core::quantile::Sketch;

/// `KEY=VALUE` of a model's configuration.
#[derive(Clone, Debug)]
pub(super) struct Assignment {
    key: String,
    value: String,
}

/// Reads `KEY=VALUE`.
///
/// # Errors
/// Says what is missing.
pub(super) fn assignment(text: &str) -> Result<Assignment, String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok(Assignment { key: key.trim().into(), value: value.trim().into() })
        }
        _ => Err("write KEY=VALUE, such as max_wait=2ms or priority.7.max_wait=0s".into()),
    }
}

/// The requests of one model as they were recorded, and as they come out under its own and other settings.
pub(super) struct WhatIf {
    model: String,
    changes: String,
    recorded: Seen,
    again: Report,
    changed: Report,
}

impl WhatIf {
    /// Plays the requests of `model` (or of the only one) that `text` has, twice.
    ///
    /// # Errors
    /// [`CliError`] names the line or the setting that makes no sense.
    pub(super) fn play(
        text: &str,
        model: Option<&str>,
        changes: &[Assignment],
    ) -> Result<Self, CliError> {
        let bad_line = |(line, what): (usize, String)| {
            CliError::unusable(format!("line {line}: {what}"))
                .help("name the file that `tensorforge serve --record FILE` wrote")
        };
        let arrivals = recording::arrivals(text, model).map_err(bad_line)?;
        let recorded = Seen::read(text, model).map_err(bad_line)?;
        let service = recorded.service()?;
        let served = &recorded.served;
        let changed = with(served, changes)?;
        let play = |served: &Served| {
            let limits = limits(served, recorded.max_running);
            let mut ours = ours(served, &recorded)?;
            run(&arrivals, &mut ours, &service, &limits).map_err(|violation| {
                CliError::failed(format!("the simulation broke its own rules: {violation}"))
                    .help("please report it, with the trace")
            })
        };
        let (again, changed) = (play(served)?, play(&changed)?);
        let changes: Vec<String> =
            changes.iter().map(|change| format!("{}={}", change.key, change.value)).collect();
        Ok(Self {
            model: served.name.clone(),
            changes: changes.join(" "),
            recorded,
            again,
            changed,
        })
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let Seen { latencies, batches, items, shed, length, .. } = &self.recorded;
        let head = ["", "PRIORITY", "P50", "P99", "REQUESTS/S", "MEAN BATCH", "SHED"];
        let mut rows = vec![head.map(str::to_owned)];
        let mut add =
            |name: &str, throughput: f64, mean: f64, shed: u64, levels: &Quantiles<'_>| {
                let millis =
                    |value: Option<f64>| value.map_or("-".into(), |it| format!("{it:.2} ms"));
                for (place, &level) in latencies.keys().enumerate() {
                    // What is of all priorities stands beside the first.
                    let of_all = |text: String| if place == 0 { text } else { String::new() };
                    rows.push([
                        of_all(name.to_owned()),
                        level.to_string(),
                        millis(levels(level, 0.5)),
                        millis(levels(level, 0.99)),
                        of_all(format!("{throughput:.0}")),
                        of_all(format!("{mean:.1}")),
                        of_all(shed.to_string()),
                    ]);
                }
            };
        let answered: u64 = latencies.values().map(Sketch::count).sum();
        let throughput = answered as f64 * 1e9 / (*length).max(1) as f64;
        let mean = *items as f64 / (*batches).max(1) as f64;
        add("as recorded", throughput, mean, *shed, &|level, q| {
            latencies.get(&level)?.quantile(q).map(|estimate| estimate.value())
        });
        for (name, report) in
            [("the same, simulated", &self.again), (&*self.changes, &self.changed)]
        {
            let (throughput, mean) = (report.throughput(), report.mean_batch());
            add(name, throughput, mean, report.shed_total(), &|level, q| report.latency(level, q));
        }
        let model = &self.model;
        format!("{model}, from arrival in the scheduler to answer:\n\n{}", table(&rows))
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let Seen { latencies, batches, items, shed, .. } = &self.recorded;
        let latencies: Vec<Value> = latencies
            .iter()
            .map(|(level, sketch)| {
                let at = |q| sketch.quantile(q).map(|estimate| estimate.value());
                serde_json::json!({
                    "priority": level, "answered": sketch.count(),
                    "latency_ms": { "p50": at(0.5), "p95": at(0.95), "p99": at(0.99) },
                })
            })
            .collect();
        serde_json::json!({
            "model": self.model,
            "set": self.changes,
            "recorded": {
                "batches": batches, "items": items, "shed": shed, "priorities": latencies,
            },
            "simulated": self.again.json(),
            "changed": self.changed.json(),
        })
    }
}

/// A quantile of the latency at a priority, in milliseconds.
type Quantiles<'a> = dyn Fn(u8, f64) -> Option<f64> + 'a;

/// What a trace says of one model.
struct Seen {
    served: Served,
    max_running: u32,
    fairness: (u16, u64),
    /// From arrival to the end of the batch, in milliseconds, by priority.
    latencies: BTreeMap<u8, Sketch>,
    batches: u64,
    items: u64,
    shed: u64,
    /// From the first arrival to the last answer, in nanoseconds.
    length: u64,
    /// Execution times by rows, in nanoseconds.
    times: BTreeMap<u32, Vec<u64>>,
}

impl Seen {
    fn read(text: &str, wanted: Option<&str>) -> Result<Self, (usize, String)> {
        let mut served: BTreeMap<u32, Rc<Served>> = BTreeMap::new();
        let (mut max_running, mut fairness) = (u32::MAX, (0, 0));
        let (mut latencies, mut times) = (BTreeMap::new(), BTreeMap::new());
        let (mut batches, mut items, mut shed, mut first, mut last) = (0, 0, 0, None, 0);
        let mut model = None;
        // What waits or runs: when it came, its priority, its rows.
        let mut requests: HashMap<u64, (u64, u8, u32)> = HashMap::new();
        let mut running: HashMap<u64, (u32, Vec<u64>)> = HashMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = serde_json::from_str(line).map_err(|error| (number, error.to_string()))?;
            let Call { at, event, decided, .. } = match line {
                Line::Call(call) => call,
                Line::Set(setting) => {
                    match setting {
                        Setting::Model(model) => drop(served.insert(model.model, Rc::new(*model))),
                        Setting::MaxRunning(batches) => max_running = batches,
                        Setting::Fairness { min_share, starve_after } => {
                            fairness = (min_share, starve_after);
                        }
                        _ => {}
                    }
                    continue;
                }
                _ => continue,
            };
            let mut came = None;
            match event {
                Event::Arrived { model: its, priority, items, .. } => {
                    // The number may be another model's later.
                    let its = served.get(&its);
                    if recording::is_wanted(its.map(|served| &served.name), wanted) {
                        model = its.map(Rc::clone);
                        first.get_or_insert(at);
                        came = Some((at, priority, items));
                    }
                }
                Event::Finished { batch, took, .. } => {
                    if let Some((rows, its)) = running.remove(&batch) {
                        times.entry(rows).or_insert_with(Vec::new).push(took);
                        batches += 1;
                        last = at;
                        for (came, priority, rows) in
                            its.iter().filter_map(|one| requests.remove(one))
                        {
                            items += u64::from(rows);
                            let latency = at.saturating_sub(came) as f64 / 1e6;
                            latencies.entry(priority).or_insert_with(sketch).insert(latency);
                        }
                    }
                }
                Event::Failed { batch, .. } => drop(running.remove(&batch)),
                _ => {}
            }
            for decision in decided {
                match decision {
                    Decision::Queued(number) => {
                        if let Some(came) = came.take() {
                            requests.insert(number, came);
                        }
                    }
                    Decision::Refused(_) => shed += u64::from(came.take().is_some()),
                    Decision::Released { request, why } => {
                        let was_there = requests.remove(&request).is_some();
                        shed += u64::from(was_there && why != "Cancelled");
                    }
                    Decision::Dispatched { batch, padded, requests: its, .. } => {
                        if its.iter().any(|one| requests.contains_key(one)) {
                            running.insert(batch, (padded, its));
                        }
                    }
                    Decision::Noticed(_) => {}
                }
            }
        }
        let served = model.ok_or_else(|| (1, "it has no requests of that model".to_owned()))?;
        let served = Rc::unwrap_or_clone(served);
        let length = last.saturating_sub(first.unwrap_or(0));
        Ok(Self { served, max_running, fairness, latencies, batches, items, shed, length, times })
    }

    /// How long batches take: the median of each size that ran.
    fn service(&self) -> Result<Service, CliError> {
        let mut longest = 0;
        let points: Vec<(f64, Duration)> = self
            .times
            .iter()
            .map(|(&rows, times)| {
                let mut times = times.clone();
                let middle = times.len() / 2;
                // More rows never take less time: a size that seldom ran says little.
                longest = longest.max(*times.select_nth_unstable(middle).1);
                (f64::from(rows), Duration::from_nanos(longest))
            })
            .collect();
        let curve = Curve::through(&points).map_err(|error| {
            CliError::unusable(format!("its execution times make no curve: {error}"))
                .help("record a server for longer, until batches have run")
        })?;
        Ok(Service::new(curve))
    }
}

fn sketch() -> Sketch {
    Sketch::starting_at(1e-3).unwrap_or_else(|_| Sketch::new())
}

fn limits(served: &Served, max_running: u32) -> Limits {
    let lane = served.lane();
    Limits {
        max_items: lane.max_items,
        max_wait: lane.levels.map(|level| level.max_wait),
        level_items: lane.levels.map(|level| level.max_items),
        max_queued: lane.max_queued,
        executors: lane.instances.min(max_running),
    }
}

fn ours(served: &Served, seen: &Seen) -> Result<Ours, CliError> {
    let mut lane = served.lane();
    lane.instances = lane.instances.min(seen.max_running).max(1);
    let (min_share, starve_after) = seen.fairness;
    let ours = Ours::on(lane).map_err(|error| CliError::usage(error.to_string()))?;
    let ours = ours.with_fairness(min_share, Duration::from_nanos(starve_after));
    Ok(match served.config.target_p99 {
        Some(target) => ours.with_rule(Box::new(LatencyTuner::new(target.into()))),
        None => ours,
    })
}

/// The model as it would be served with these changes.
fn with(served: &Served, changes: &[Assignment]) -> Result<Served, CliError> {
    let mut config = served.config.clone();
    for change in changes {
        config = changed(&config, change)?;
    }
    config.check().map_err(|error| CliError::usage(format!("--set: {error}")))?;
    let sizes = if served.sizes.is_empty() { Vec::new() } else { config.batch_sizes() };
    let sizes = Sizes::new(&sizes).map(|_| sizes).unwrap_or_default();
    Ok(Served { config, sizes, ..served.clone() })
}

fn changed(config: &ModelConfig, change: &Assignment) -> Result<ModelConfig, CliError> {
    let Assignment { key, value } = change;
    let text = Value::String(value.clone());
    // A number, a list or a word of JSON where that fits, else a text.
    let candidates = serde_json::from_str(value).into_iter().chain([text]);
    let mut wrong = String::new();
    for candidate in candidates {
        let mut all = serde_json::to_value(config).map_err(|error| {
            CliError::failed(format!("the recorded configuration cannot be written: {error}"))
        })?;
        let mut place = &mut all;
        for part in key.split('.') {
            let Value::Object(fields) = place else {
                return Err(CliError::usage(format!("--set: '{key}' is no key of a model")));
            };
            place = fields.entry(part).or_insert_with(|| Value::Object(serde_json::Map::new()));
        }
        *place = candidate;
        match serde_json::from_value(all) {
            Ok(config) => return Ok(config),
            Err(error) => wrong = error.to_string(),
        }
    }
    Err(CliError::usage(format!("--set: {key}={value}: {wrong}"))
        .help("keys are those of a model's config.toml; README.md lists them"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod batch_scheduler {
    use super::*;
    use crate::trace::Begin;

    /// Three requests at once, alone in their batches of 1 ms, and one that is refused.
    fn text() -> String {
        let config = ModelConfig { max_batch: 1, ..Default::default() };
        let served = Served {
            model: 0,
            name: "digits/1".into(),
            batches: true,
            sizes: vec![],
            memory: None,
            config,
        };
        let begin = Begin { format: 1, version: "0".into(), requests: 8, groups: 8, models: 1 };
        let call = |at, event, decided| {
            Line::Call(Call { at, event, judged: vec![], decided, wake: None })
        };
        let arrived = || Event::Arrived {
            model: 0,
            signature: 0,
            items: 1,
            priority: 0,
            bytes: 1,
            deadline: None,
            shadow: false,
        };
        let run = |number| Decision::Dispatched {
            batch: number,
            reason: "max_wait".into(),
            padded: 1,
            requests: vec![number],
        };
        let done = |batch| Event::Finished { batch, took: 1_000_000, memory: None };
        let ms = 1_000_000;
        let lines = [
            Line::Begin(begin),
            Line::Set(Setting::Model(Box::new(served))),
            call(0, arrived(), vec![Decision::Queued(0), run(0)]),
            call(0, arrived(), vec![Decision::Queued(1)]),
            call(0, arrived(), vec![Decision::Queued(2)]),
            call(0, arrived(), vec![Decision::Refused("Empty".into())]),
            call(ms, done(0), vec![run(1)]),
            call(2 * ms, done(1), vec![run(2)]),
            call(3 * ms, done(2), vec![]),
        ];
        lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect()
    }

    #[test]
    fn what_was_recorded_is_told_and_what_would_have_been() {
        let changes = [assignment("max_batch=4").unwrap(), assignment("max_wait=5ms").unwrap()];
        let what_if = WhatIf::play(&text(), None, &changes).unwrap();
        let seen = &what_if.recorded;
        assert_eq!((seen.batches, seen.items, seen.shed, seen.length), (3, 3, 1, 3_000_000));
        // The last one waits for two others: 3 ms, within the sketch's error.
        let close = |value: f64, wanted: f64| (value - wanted).abs() <= 0.01 * wanted;
        assert!(close(seen.latencies[&0].quantile(0.99).unwrap().value(), 3.0));
        // All four come at once and fill a batch, which takes 1 ms as far as is known.
        assert_eq!((what_if.changed.batches, what_if.changed.answered), (1, 4));
        assert!(close(what_if.changed.latency(0, 0.99).unwrap(), 1.0));
        assert!(what_if.text().contains("max_batch=4 max_wait=5ms"), "{}", what_if.text());
    }

    #[test]
    fn a_setting_that_makes_no_sense_is_named() {
        for (text_of, complaint) in [
            ("max_bach=4", "unknown field `max_bach`"),
            ("max_batch=many", "invalid type: string \"many\""),
            ("max_batch=0", "max_batch: must be at least 1"),
            ("max_wait=soon", "'soon' is not a length of time"),
            ("priority.9.max_wait=1s", "priority.9: priorities are numbers from 0 to 7"),
            ("max_batch.size=4", "'max_batch.size' is no key of a model"),
        ] {
            let change = assignment(text_of).unwrap();
            let Err(error) = WhatIf::play(&text(), None, &[change]) else { panic!("{text_of}") };
            let error = format!("{error:?}");
            assert!(error.contains(&complaint.replace('"', "\\\"")), "{text_of}: {error}");
        }
        for wrong in ["max_batch", "=4", ""] {
            assert!(assignment(wrong).unwrap_err().contains("write KEY=VALUE"), "{wrong}");
        }
    }
}
