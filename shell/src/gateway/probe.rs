//! Asking endpoints whether they are there, without waiting for a request to find out.

use super::Gateway;
use super::member::Signature;
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
                        member.forget_signatures();
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
        self.compare_signatures().await;
    }

    /// Asks what each model takes and gives where that is not known yet, and leaves out endpoints whose
    /// model is another one: not what most of those say that have the same version, or, where no answer has
    /// more, what the first says.
    async fn compare_signatures(&self) {
        let plan = self.plan.load_full();
        for (name, model) in &plan.models {
            for seat in model.seats.iter().filter(|seat| seat.model.signature().is_none()) {
                let asked = seat.member.endpoint.metadata(name, None);
                if let Ok(Ok(metadata)) = tokio::time::timeout(PROBE_TIMEOUT, asked).await {
                    seat.model.set_signature(metadata);
                }
            }
            let told: Vec<_> = model.seats.iter().map(|seat| seat.model.signature()).collect();
            let all = || told.iter().flatten();
            for (seat, signature) in model.seats.iter().zip(&told) {
                let Some(signature) = signature else { continue };
                // Another version may take and give what it likes.
                let peers = || all().filter(|it| it.version == signature.version);
                let count = |of: &Signature| peers().filter(|it| ***it == *of).count();
                // Of several with the most, the first.
                let most = peers()
                    .map(|it| (count(it), it))
                    .collect::<Vec<_>>()
                    .into_iter()
                    .rev()
                    .max_by_key(|(count, _)| *count);
                let is_odd = most.is_some_and(|(_, most)| most != signature);
                if seat.model.set_odd(is_odd) {
                    let endpoint = &seat.member.name;
                    tracing::warn!(
                        model = name,
                        endpoint,
                        is_odd,
                        "compared with the others' model"
                    );
                }
            }
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
