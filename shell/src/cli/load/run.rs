//! The load itself: connections that send, a clock that counts.

use super::super::CliError;
use super::summary::{MAX_SAMPLES, Report, Sample};
use crate::client::{Client, ClientError, Url, infer_path, model_path};
use crate::clock::Clock;
use crate::contracts::StatisticsResponse;
use crate::contracts::rest::Body;
use hyper::Method;
use indicatif::{ProgressBar, ProgressStyle};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::rc::Rc;
use tensorforge_core::{Duration, Instant};

/// When requests are sent.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Pace {
    /// Each connection at once after its last answer.
    Closed,
    /// So many a second, evenly spaced.
    Open(f64),
}

/// What to do.
pub(super) struct Load {
    pub(super) url: Url,
    pub(super) model: String,
    pub(super) version: Option<String>,
    pub(super) bodies: Vec<Body>,
    pub(super) connections: usize,
    pub(super) pace: Pace,
    pub(super) warmup: Duration,
    pub(super) duration: Duration,
    pub(super) most: u64,
}

/// What the connections share. All run on one thread.
struct Shared {
    clock: Clock,
    /// Requests handed out for sending, the warm-up's included.
    sent: u64,
    /// Requests handed out since the measurement began.
    counted: u64,
    measure_from: Instant,
    until: Instant,
    samples: Vec<Sample>,
    succeeded: u64,
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
        client.decode(&first)?;

        let clock = Clock::start();
        let measure_from = clock.now() + self.warmup;
        let shared = Rc::new(RefCell::new(Shared {
            clock,
            sent: 0,
            counted: 0,
            measure_from,
            until: measure_from + self.duration,
            samples: Vec::new(),
            succeeded: 0,
            errors: BTreeMap::new(),
            first_error: None,
            last_answer: measure_from,
        }));
        let load = Rc::new(self);
        let connections: Vec<_> = (0..load.connections)
            .map(|_| {
                let connection = Connection {
                    client: Client::new(load.url.clone()),
                    path: path.clone(),
                    load: Rc::clone(&load),
                    shared: Rc::clone(&shared),
                };
                tokio::task::spawn_local(connection.run())
            })
            .collect();

        tokio::time::sleep(load.warmup.into()).await;
        let before = load.statistics(client).await?;
        let progress = Progress::new(show_progress && load.is_shown(), &load);
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
        progress.bar.finish_and_clear();
        let after = load.statistics(client).await?;

        let mut shared = shared.borrow_mut();
        let ended = shared.last_answer.since(measure_from);
        let executions = after.executions.saturating_sub(before.executions);
        let items = after.items.saturating_sub(before.items);
        Ok(Report {
            title: load.title(),
            duration: ended,
            samples: std::mem::take(&mut shared.samples),
            succeeded: shared.succeeded,
            errors: std::mem::take(&mut shared.errors),
            first_error: shared.first_error.take(),
            executions,
            mean_batch: (executions > 0).then(|| items as f64 / executions as f64),
        })
    }

    fn title(&self) -> String {
        let pace = match self.pace {
            Pace::Closed => format!("{} connections", self.connections),
            Pace::Open(rate) => format!("{rate} requests a second"),
        };
        format!("{} at {}, {pace}", self.model, self.url)
    }

    fn is_shown(&self) -> bool {
        std::io::stderr().is_terminal()
    }

    async fn statistics(&self, client: &mut Client) -> Result<Counts, CliError> {
        let path = model_path(&self.model, self.version.as_deref()) + "/stats";
        match client.get::<StatisticsResponse>(&path).await {
            Ok(response) => Ok(Counts {
                items: response.model_stats.iter().map(|model| model.inference_count).sum(),
                executions: response.model_stats.iter().map(|model| model.execution_count).sum(),
            }),
            // Another server may have no statistics; everything else is measured here.
            Err(ClientError::Refused { .. } | ClientError::Protocol { .. }) => {
                Ok(Counts { items: 0, executions: 0 })
            }
            Err(error) => Err(error.into()),
        }
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
}

impl Connection {
    async fn run(mut self) {
        while let Some((number, due)) = self.next() {
            let clock = self.shared.borrow().clock;
            let wait = due.since(clock.now());
            let start = if wait > Duration::ZERO {
                tokio::time::sleep(wait.into()).await;
                // The timer's own lateness is not the server's.
                clock.now()
            } else if self.load.pace == Pace::Closed {
                clock.now()
            } else {
                due
            };
            let body = &self.load.bodies[number as usize % self.load.bodies.len()];
            let answer = self.client.send(Method::POST, &self.path, Some(body)).await;
            let broken =
                matches!(answer, Err(ClientError::Unreachable { .. } | ClientError::Broken { .. }));
            self.shared.borrow_mut().record(start, answer.map(drop));
            if broken {
                // A server that is gone answers at once with "refused": do not spin on it.
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
    }

    /// The next request's number and when it is due.
    fn next(&self) -> Option<(u64, Instant)> {
        let mut shared = self.shared.borrow_mut();
        let number = shared.sent;
        let due = match self.load.pace {
            Pace::Closed => Instant::ZERO,
            Pace::Open(rate) => Instant::from_nanos((number as f64 / rate * 1e9) as u64),
        };
        let now = shared.clock.now();
        let start = if due > now { due } else { now };
        if start >= shared.until || shared.counted >= self.load.most {
            return None;
        }
        shared.sent += 1;
        if start >= shared.measure_from {
            shared.counted += 1;
        }
        Some((number, due))
    }
}

impl Shared {
    fn record(&mut self, start: Instant, answer: Result<(), ClientError>) {
        if start < self.measure_from {
            return;
        }
        let now = self.clock.now();
        self.last_answer = now;
        match answer {
            Ok(()) => {
                self.succeeded += 1;
                if self.samples.len() < MAX_SAMPLES {
                    let at = now.since(self.measure_from);
                    self.samples.push(Sample::new(at, now.since(start)));
                }
            }
            Err(error) => {
                let kind = match &error {
                    ClientError::Refused { status, .. } => status.as_u16().to_string(),
                    _ => "no answer".to_owned(),
                };
                *self.errors.entry(kind).or_default() += 1;
                self.first_error.get_or_insert_with(|| error.to_string());
            }
        }
    }
}

/// A bar on a terminal, nothing elsewhere.
struct Progress {
    bar: ProgressBar,
    duration: Duration,
}

impl Progress {
    fn new(shown: bool, load: &Load) -> Self {
        let millis = load.duration.as_nanos() / 1_000_000;
        let bar = if shown { ProgressBar::new(millis) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{msg:>14} {wide_bar:.cyan} {percent:>3} % {eta}")
            .expect("a template that is right");
        bar.set_style(style);
        Self { bar, duration: load.duration }
    }

    /// Moves the bar as long as it is polled; never ends.
    async fn show(&self, shared: &RefCell<Shared>) {
        if self.bar.is_hidden() {
            return std::future::pending().await;
        }
        let mut before = (Instant::ZERO, 0);
        loop {
            {
                let shared = shared.borrow();
                let now = shared.clock.now();
                let passed = now.since(shared.measure_from).as_nanos() / 1_000_000;
                self.bar.set_position(passed.min(self.duration.as_nanos() / 1_000_000));
                let seconds = now.since(before.0).as_nanos() as f64 / 1e9;
                let rate = (shared.succeeded - before.1) as f64 / seconds;
                self.bar.set_message(format!("{rate:.0} req/s"));
                before = (now, shared.succeeded);
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }
}
