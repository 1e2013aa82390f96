//! Asking endpoints whether they are there, without waiting for a request to find out.

use super::Gateway;
use std::sync::Arc;
use std::time::Duration;

/// How long an endpoint has for a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

impl Gateway {
    /// Probes every endpoint once, all at the same time.
    pub async fn probe(&self) {
        let members = self.plan.load().members.clone();
        let probes: Vec<_> = members
            .into_iter()
            .map(|member| {
                let clock = self.clock;
                tokio::spawn(async move {
                    let answer = tokio::time::timeout(PROBE_TIMEOUT, member.endpoint.is_ready());
                    let is_ready = answer.await.unwrap_or(false);
                    if let Some(reachable) = member.health.probed(is_ready, clock.now()) {
                        let (name, url) = (&member.name, &member.url);
                        tracing::warn!(name, ?url, reachable, "an endpoint changed by its probes");
                    }
                })
            })
            .collect();
        for probe in probes {
            // One that panicked has told nothing.
            let _ = probe.await;
        }
    }

    /// Probes again and again, for ever.
    pub async fn keep_probing(self: Arc<Self>) {
        loop {
            self.probe().await;
            tokio::time::sleep(self.options.probe_every).await;
        }
    }
}
