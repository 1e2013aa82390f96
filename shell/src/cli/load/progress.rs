//! How far the measurement is, on a terminal only.

use super::run::Shared;
use indicatif::{ProgressBar, ProgressStyle};
use std::cell::RefCell;
use std::io::IsTerminal;
use tensorforge_core::{Duration, Instant};

const STEPS: u64 = 1000;

/// A bar on a terminal, nothing elsewhere.
pub(super) struct Progress {
    bar: ProgressBar,
    duration: Duration,
    most: u64,
}

impl Progress {
    pub(super) fn new(wanted: bool, duration: Duration, most: u64) -> Self {
        let shown = wanted && std::io::stderr().is_terminal();
        let bar = if shown { ProgressBar::new(STEPS) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{msg:>14} {wide_bar:.cyan} {percent:>3} % {eta}")
            .expect("a template that is right");
        bar.set_style(style);
        Self { bar, duration, most }
    }

    /// Moves the bar as long as it is polled; never ends.
    pub(super) async fn show(&self, shared: &RefCell<Shared>) {
        if self.bar.is_hidden() {
            return std::future::pending().await;
        }
        let mut before: Option<(Instant, u64)> = None;
        loop {
            {
                let shared = shared.borrow();
                let now = shared.clock.now();
                let passed = now.since(shared.span.measure_from);
                let by_time = passed.as_nanos() as f64 / self.duration.as_nanos().max(1) as f64;
                let by_number = shared.done() as f64 / self.most.max(1) as f64;
                let share = by_time.max(by_number).min(1.0);
                self.bar.set_position((share * STEPS as f64) as u64);
                if let Some((then, succeeded)) = before {
                    let seconds = now.since(then).as_nanos().max(1) as f64 / 1e9;
                    let rate = (shared.succeeded - succeeded) as f64 / seconds;
                    self.bar.set_message(format!("{rate:.0} req/s"));
                }
                before = Some((now, shared.succeeded));
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }

    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
