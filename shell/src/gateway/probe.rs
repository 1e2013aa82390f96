//! Asking endpoints whether they are there, and which models they have, without waiting for a request to find
//! out.

use super::Gateway;
use super::member::Seat;
use super::signature::learn;
use crate::concurrency::lock;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;

/// How long an endpoint has for a probe.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Models at endpoints that are asked about after each other's probes, the others the next time.
const ASKED_A_ROUND: usize = 256;

/// Of those, how many at the same time.
const ASKED_AT_ONCE: usize = 32;

impl Gateway {
    /// Probes every endpoint once, all at the same time, and asks about models and versions what is due.
    pub async fn probe(&self) {
        self.probe_endpoints().await;
        self.ask_what_is_due().await;
    }

    /// Whether each endpoint is there; true if that changed for one.
    async fn probe_endpoints(&self) -> bool {
        let members = self.plan.load().members.clone();
        let probes: Vec<_> = members
            .into_iter()
            .map(|member| {
                let clock = self.clock;
                tokio::spawn(async move {
                    let answer = tokio::time::timeout(PROBE_TIMEOUT, member.endpoint.is_ready());
                    let is_ready = answer.await.unwrap_or(false);
                    let changed = member.health.probed(is_ready, clock.now());
                    if let Some(reachable) = changed {
                        member.forget_signatures();
                        let (name, url) = (&member.name, &member.url);
                        tracing::warn!(name, ?url, reachable, "an endpoint changed by its probes");
                    }
                    changed.is_some()
                })
            })
            .collect();
        let mut changed = false;
        for probe in probes {
            // One that panicked has told nothing.
            changed |= probe.await.unwrap_or(false);
        }
        changed
    }

    /// What models and versions are at the endpoints, as far as that is due.
    async fn ask_what_is_due(&self) {
        self.ask_about_models().await;
        self.ask_about_versions().await;
        self.compare_signatures();
    }

    /// Asks whether each model is where the table says, and what it takes and gives there; with very many,
    /// some each time.
    async fn ask_about_models(&self) {
        let plan = self.plan.load_full();
        let all: Vec<(&String, &Seat)> = plan
            .models
            .iter()
            .flat_map(|(name, model)| {
                model.by_version.unversioned().everyone().map(move |seat| (name, seat))
            })
            .collect();
        let asked = all.len().min(ASKED_A_ROUND);
        let first = self.next_asked.fetch_add(asked, Ordering::Relaxed);
        let questions = (0..asked).filter_map(|at| {
            let (name, seat) = all.get(first.wrapping_add(at) % all.len())?;
            Some(((*name).clone(), (*seat).clone()))
        });
        let questions = Arc::new(Mutex::new(questions.collect::<Vec<_>>().into_iter()));
        let askers: Vec<_> = (0..asked.min(ASKED_AT_ONCE))
            .map(|_| {
                let (questions, clock) = (Arc::clone(&questions), self.clock);
                tokio::spawn(async move {
                    let mut changed = Vec::new();
                    loop {
                        let next = lock(&questions).next();
                        let Some((name, seat)) = next else { break changed };
                        if !seat.member.is_unreachable(clock.now())
                            && ask_about_model(&name, &seat).await
                        {
                            changed.push(name);
                        }
                    }
                })
            })
            .collect();
        for asker in askers {
            self.forget_changed(asker.await.unwrap_or_default());
        }
    }

    /// Probes again and again, for ever. Questions about models have a loop of their own: an endpoint that
    /// hangs with those delays no probe.
    pub async fn keep_probing(self: Arc<Self>) {
        let (every, changed) = (self.options.probe_every, Notify::new());
        let probing = async {
            loop {
                if self.probe_endpoints().await {
                    changed.notify_one();
                }
                tokio::time::sleep(every).await;
            }
        };
        let asking = async {
            loop {
                self.ask_what_is_due().await;
                // At once where another program may have come into an endpoint's place.
                let _ = tokio::time::timeout(every, changed.notified()).await;
            }
        };
        tokio::join!(probing, asking);
    }
}

/// Whether it tells another model than before.
async fn ask_about_model(name: &str, seat: &Seat) -> bool {
    let answer = seat.member.endpoint.metadata(name, None);
    let Ok(answer) = tokio::time::timeout(PROBE_TIMEOUT, answer).await else { return false };
    if seat.model.presence.told(&answer) {
        let (endpoint, is_there) = (&seat.member.name, answer.is_ok());
        tracing::warn!(model = name, endpoint, is_there, "a model came or went");
    }
    learn(&seat.member, name, None, &seat.version.known, answer).await
}
