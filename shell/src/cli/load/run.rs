//! The load itself: connections that send, a clock that counts.

use super::super::CliError;
use super::pace::{Next, Pace, Schedule, Span, Turn, release_turns};
use super::progress::Progress;
use super::summary::{MAX_SAMPLES, Report, Sample};
use crate::client::{Client, ClientError, Url, infer_path, model_path};
use crate::clock::Clock;
use crate::contracts::StatisticsResponse;
use crate::contracts::rest::Body;
use crate::models::{Tensor, TensorSpec};
use hyper::Method;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use tensorforge_core::{Duration, Instant};
use tokio::sync::Semaphore;

/// How far behind its time a request counts as sent late.
const LATE: Duration = Duration::from_millis(1);

/// What to do.
pub(super) struct Load {
    pub(super) url: Url,
    pub(super) model: String,
    pub(super) version: Option<String>,
    pub(super) bodies: Vec<Body>,
    pub(super) binary: bool,
    pub(super) connections: usize,
    pub(super) pace: Pace,
    pub(super) warmup: Duration,
    pub(super) duration: Duration,
    pub(super) most: u64,
    pub(super) timeout: std::time::Duration,
}

/// What the connections share. All run on one thread.
pub(super) struct Shared {
    pub(super) clock: Clock,
    pub(super) span: Span,
    schedule: Schedule,
    samples: Vec<Sample>,
    pub(super) succeeded: u64,
    late: u64,
    errors: BTreeMap<String, u64>,
    first_error: Option<String>,
    last_answer: Instant,
}

impl Load {
    /// Sends until time or number is reached, or Ctrl-C; then reports what was measured.
    pub(super) async fn run(
        self,
        client: &mut Client,
        show_progress: bool,
    ) -> Result<Report, CliError> {
        let path = infer_path(&self.model, self.version.as_deref());
        // The first request tells whether the others can work at all.
        let first = client.send(Method::POST, &path, self.bodies.first()).await?;
        let answer = client.decode(&first)?.outputs.iter().map(spec).collect();

        let clock = Clock::start();
        let start = clock.now();
        let measure_from = start + self.warmup;
        let until = measure_from + self.duration;
        let span = Span { start, measure_from, until, most: self.most };
        let shared = Rc::new(RefCell::new(Shared {
            clock,
            span,
            schedule: Schedule::new(self.pace, span),
            samples: Vec::new(),
            succeeded: 0,
            late: 0,
            errors: BTreeMap::new(),
            first_error: None,
            last_answer: measure_from,
        }));
        let turns = match self.pace {
            Pace::Closed => None,
            Pace::Open(rate) => {
                let turns = Arc::new(Semaphore::new(0));
                let released = Arc::clone(&turns);
                std::thread::spawn(move || release_turns(clock, start, rate, released));
                Some(turns)
            }
        };
        let load = Rc::new(self);
        let connections: Vec<_> = (0..load.connections)
            .map(|_| {
                let connection = Connection {
                    client: Client::new(load.url.clone()).timeout(load.timeout),
                    path: path.clone(),
                    load: Rc::clone(&load),
                    shared: Rc::clone(&shared),
                    turns: turns.clone(),
                };
                tokio::task::spawn_local(connection.run())
            })
            .collect();

        tokio::time::sleep(load.warmup.into()).await;
        let before = load.statistics(client).await?;
        let progress = Progress::new(show_progress, load.duration, load.most);
        let finished = async {
            for connection in connections {
                connection.await.expect("a connection's loop does not panic");
            }
        };
        tokio::select! {
            () = finished => {}
            () = progress.show(&shared) => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        if let Some(turns) = &turns {
            turns.close();
        }
        progress.clear();
        let ended = clock.now();
        // A server that died has no statistics, but what it did until then was measured.
        let after = load.statistics(client).await.ok().flatten();

        let mut shared = shared.borrow_mut();
        let batches = before.zip(after).map(|(before, after)| Counts {
            items: after.items.saturating_sub(before.items),
            executions: after.executions.saturating_sub(before.executions),
        });
        let executions = batches.as_ref().map(|batches| batches.executions);
        Ok(Report {
            title: load.title(),
            answer,
            duration: shared.last_answer.since(measure_from),
            samples: std::mem::take(&mut shared.samples),
            succeeded: shared.succeeded,
            late: shared.late,
            unsent: shared.schedule.unsent(ended),
            errors: std::mem::take(&mut shared.errors),
            first_error: shared.first_error.take(),
            executions,
            mean_batch: batches
                .filter(|batches| batches.executions > 0)
                .map(|batches| batches.items as f64 / batches.executions as f64),
        })
    }

    fn title(&self) -> String {
        let connections = match self.connections {
            1 => "1 connection".to_owned(),
            many => format!("{many} connections"),
        };
        let pace = match self.pace {
            Pace::Closed => connections,
            Pace::Open(rate) => format!("{rate} requests/s over {connections}"),
        };
        let form = if self.binary { "" } else { ", JSON tensors" };
        format!("{} at {}: {pace}{form}", self.model, self.url)
    }

    /// The server's own counts; `None` when it keeps none.
    async fn statistics(&self, client: &mut Client) -> Result<Option<Counts>, CliError> {
        let path = model_path(&self.model, self.version.as_deref()) + "/stats";
        match client.get::<StatisticsResponse>(&path).await {
            Ok(response) if response.model_stats.is_empty() => Ok(None),
            Ok(response) => Ok(Some(Counts {
                items: response.model_stats.iter().map(|model| model.inference_count).sum(),
                executions: response.model_stats.iter().map(|model| model.execution_count).sum(),
            })),
            // Another server may have no statistics; everything else is measured here.
            Err(ClientError::Refused { .. } | ClientError::Protocol { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn spec(tensor: &Tensor) -> TensorSpec {
    let shape = tensor.shape().iter().map(|&size| i64::try_from(size).unwrap_or(i64::MAX));
    TensorSpec {
        name: tensor.name().to_owned(),
        datatype: tensor.datatype(),
        shape: shape.collect(),
    }
}

struct Counts {
    items: u64,
    executions: u64,
}

struct Connection {
    client: Client,
    path: String,
    load: Rc<Load>,
    shared: Rc<RefCell<Shared>>,
    /// With a fixed rate, a permit for each turn that has fallen due.
    turns: Option<Arc<Semaphore>>,
}

impl Connection {
    async fn run(mut self) {
        while let Some(turn) = self.turn().await {
            let body = &self.load.bodies[turn.number as usize % self.load.bodies.len()];
            let answer = self.client.send(Method::POST, &self.path, Some(body)).await;
            let failure = match answer {
                Ok(answer) if answer.body.is_empty() => Some(ClientError::Protocol {
                    url: self.load.url.clone(),
                    message: "an answer without outputs".to_owned(),
                }),
                Ok(_) => None,
                Err(error) => Some(error),
            };
            let broken = matches!(
                failure,
                Some(ClientError::Unreachable { .. } | ClientError::Broken { .. })
            );
            self.shared.borrow_mut().record(turn, failure);
            if broken {
                // A server that is gone answers at once with "refused": do not spin on it.
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
        if let Some(turns) = &self.turns {
            turns.close();
        }
    }

    async fn turn(&self) -> Option<Turn> {
        loop {
            if let Some(turns) = &self.turns {
                turns.acquire().await.ok()?.forget();
            }
            let mut shared = self.shared.borrow_mut();
            let now = shared.clock.now();
            match shared.schedule.turn(now) {
                Next::Send(turn) => {
                    shared.late += u64::from(turn.measured && now.since(turn.due) > LATE);
                    return Some(turn);
                }
                Next::Stale => {}
                Next::Over => return None,
            }
        }
    }
}

impl Shared {
    fn record(&mut self, turn: Turn, failure: Option<ClientError>) {
        if !turn.measured {
            return;
        }
        let now = self.clock.now();
        self.last_answer = now;
        match failure {
            None => {
                self.succeeded += 1;
                if self.samples.len() < MAX_SAMPLES {
                    let at = now.since(self.span.measure_from);
                    self.samples.push(Sample::new(at, now.since(turn.due)));
                }
            }
            Some(error) => {
                let kind = match &error {
                    ClientError::Refused { status, .. } => status.as_u16().to_string(),
                    ClientError::TimedOut { .. } => "timed out".to_owned(),
                    ClientError::Protocol { .. } => "not an answer".to_owned(),
                    _ => "no answer".to_owned(),
                };
                *self.errors.entry(kind).or_default() += 1;
                self.first_error.get_or_insert_with(|| error.to_string());
            }
        }
    }

    /// Requests answered or failed since the measurement began.
    pub(super) fn done(&self) -> u64 {
        self.succeeded + self.errors.values().sum::<u64>()
    }
}

#[cfg(test)]
mod tests;
