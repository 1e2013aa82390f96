//! What endpoints say of a model beside answers to requests: what it takes and gives, how it is served, how much
//! it has done, whether it is ready.

use super::endpoint::{Answer, Endpoint, EndpointError};
use super::member::{Member, Seat, View};
use super::plan::ModelPlan;
use super::probe::PROBE_TIMEOUT;
use super::{Gateway, GatewayError, MAX_HOPS, RouteTaken};
use crate::contracts::{
    BatchStatistics, DurationStatistic, InferStatistics, ModelMetadata, ModelStatistics,
};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use tensorforge_core::route::{Candidates, Health};
use tokio::task::JoinSet;

impl Gateway {
    /// Questions that came over `hops` gateways, of which none is this one. In a circle each would ask the next
    /// without end.
    ///
    /// # Errors
    /// [`GatewayError::Loop`] where there are as many as [`MAX_HOPS`].
    pub fn inquiry(&self, hops: u64) -> Result<Inquiry<'_>, GatewayError> {
        if hops >= MAX_HOPS {
            self.figures.looped();
            return Err(GatewayError::Loop(hops));
        }
        Ok(Inquiry { gateway: self, hops })
    }

    /// As [`Inquiry::metadata`], asked here first.
    ///
    /// # Errors
    /// [`GatewayError`], as for a request.
    pub async fn metadata(
        &self,
        model: &str,
        version: Option<&str>,
    ) -> Result<ModelMetadata, GatewayError> {
        self.inquiry(0)?.metadata(model, version).await
    }

    /// As [`Inquiry::config`], asked here first.
    ///
    /// # Errors
    /// [`GatewayError`], as for a request.
    pub async fn config(
        &self,
        model: &str,
        version: Option<&str>,
    ) -> Result<serde_json::Value, GatewayError> {
        self.inquiry(0)?.config(model, version).await
    }

    /// As [`Inquiry::statistics`], asked here first.
    ///
    /// # Errors
    /// [`GatewayError`] where nobody tells.
    pub async fn statistics(
        &self,
        model: &str,
        version: Option<&str>,
    ) -> Result<Vec<ModelStatistics>, GatewayError> {
        self.inquiry(0)?.statistics(model, version).await
    }

    /// As [`Inquiry::model_ready`], asked here first.
    ///
    /// # Errors
    /// [`GatewayError::NoEndpoint`] says why not.
    pub async fn model_ready(
        &self,
        model: &str,
        version: Option<&str>,
    ) -> Result<(), GatewayError> {
        self.inquiry(0)?.model_ready(model, version).await
    }
}

/// Questions about models that came over so many gateways.
///
/// ```
/// # use tensorforge::gateway::{Gateway, GatewayError};
/// # async fn ask(gateway: &Gateway) -> Result<(), GatewayError> {
/// // As the header `x-tensorforge-hops` says.
/// let metadata = gateway.inquiry(2)?.metadata("digits", None).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Inquiry<'a> {
    gateway: &'a Gateway,
    hops: u64,
}

impl Inquiry<'_> {
    /// The endpoint, which is told how far the question came.
    fn endpoint(&self, member: &Member) -> Arc<dyn Endpoint> {
        member.endpoint.after(self.hops).unwrap_or_else(|| Arc::clone(&member.endpoint))
    }

    /// What a model takes and gives, by the first of its endpoints that says so.
    ///
    /// # Errors
    /// [`GatewayError`], as for a request.
    pub async fn metadata(
        &self,
        model: &str,
        version: Option<&str>,
    ) -> Result<ModelMetadata, GatewayError> {
        self.first_told(model, version, |it, model, version| it.metadata(model, version)).await
    }

    /// How a model is served, in Triton's form, by the first of its endpoints that says so. Each may serve it
    /// in another way.
    ///
    /// # Errors
    /// [`GatewayError`], as for a request.
    pub async fn config(
        &self,
        model: &str,
        version: Option<&str>,
    ) -> Result<serde_json::Value, GatewayError> {
        self.first_told(model, version, |it, model, version| it.config(model, version)).await
    }

    /// What a model's endpoints have done, added up version by version: counts and times. Who does not tell, or
    /// not in time, is left out, so figures may fall when an endpoint goes. What cannot be added up, the object
    /// `tensorforge` with its quantiles, is there only where one endpoint alone has the version.
    ///
    /// Endpoints count every request that reached them: retries, hedges and shadows of this gateway too, and
    /// what others sent. Entries of one address count once.
    ///
    /// # Errors
    /// [`GatewayError`] where nobody tells.
    pub async fn statistics(
        &self,
        model: &str,
        version: Option<&str>,
    ) -> Result<Vec<ModelStatistics>, GatewayError> {
        let plan = self.gateway.plan.load_full();
        let Some(routes) = plan.models.get(model) else {
            let figures = self.gateway.local.statistics(model, version).await;
            return figures.map_err(|error| told(model, error));
        };
        let mut work = JoinSet::new();
        let mut addresses = HashSet::new();
        for seat in routes.seats.iter().filter(|seat| addresses.insert(seat.member.url.clone())) {
            let (endpoint, limit) =
                (self.endpoint(&seat.member), self.gateway.options.attempt_timeout);
            let (model, version) = (model.to_owned(), version.map(str::to_owned));
            work.spawn(async move {
                let figures = endpoint.statistics(&model, version.as_deref());
                let figures = tokio::time::timeout(limit, figures).await;
                figures.unwrap_or(Err(EndpointError::TimedOut(limit)))
            });
        }
        let (mut sums, mut last) = (BTreeMap::new(), None);
        while let Some(figures) = work.join_next().await {
            match figures {
                Ok(Ok(figures)) => figures.into_iter().for_each(|it| add(&mut sums, it)),
                Ok(Err(error)) => last = Some(error),
                // One that panicked has told nothing.
                Err(_) => {}
            }
        }
        match last {
            Some(error) if sums.is_empty() => Err(told(model, error)),
            None if sums.is_empty() => Err(told(model, nobody())),
            _ => Ok(sums.into_values().collect()),
        }
    }

    /// Whether somebody who may be asked has the model ready.
    ///
    /// # Errors
    /// [`GatewayError::NoEndpoint`] says why not.
    pub async fn model_ready(
        &self,
        model: &str,
        version: Option<&str>,
    ) -> Result<(), GatewayError> {
        let plan = self.gateway.plan.load_full();
        let Some(routes) = plan.models.get(model) else {
            let ready = self.gateway.local.metadata(model, version).await;
            return ready.map(|_| ()).map_err(|error| told(model, error));
        };
        let now = self.gateway.clock.now();
        let seats = Arc::clone(&routes.by_version.of(version, &self.gateway.lasting, now).seats);
        let view = View::new(seats, &routes.sought(version), now);
        let (mut work, mut excluded) = (JoinSet::new(), Vec::new());
        for (seat, candidate) in view.seats.iter().zip((0..).map_while(|at| view.candidate(at))) {
            let may_be_asked = matches!(candidate.health, Health::Healthy | Health::Recovering);
            if !may_be_asked || candidate.weight == 0 {
                excluded.push((seat.member.name.clone(), "not to be asked"));
                continue;
            }
            let (endpoint, name) = (self.endpoint(&seat.member), seat.member.name.clone());
            let (model, version) = (model.to_owned(), version.map(str::to_owned));
            work.spawn(async move {
                let ready = endpoint.is_model_ready(&model, version.as_deref());
                let ready = tokio::time::timeout(PROBE_TIMEOUT, ready).await;
                (name, ready.unwrap_or(false))
            });
        }
        while let Some(asked) = work.join_next().await {
            match asked {
                // The others are left, as the set goes.
                Ok((_, true)) => return Ok(()),
                Ok((name, false)) => excluded.push((name, "not ready with it")),
                Err(_) => {}
            }
        }
        excluded.sort();
        let taken = RouteTaken { model: model.to_owned(), excluded, ..RouteTaken::default() };
        Err(GatewayError::NoEndpoint { model: model.to_owned(), taken: Box::new(taken) })
    }

    /// The first of a model's endpoints that tells; those first that look well.
    async fn first_told<T>(
        &self,
        model: &str,
        version: Option<&str>,
        ask: impl for<'a> Fn(
            &'a dyn Endpoint,
            &'a str,
            Option<&'a str>,
        ) -> Answer<'a, Result<T, EndpointError>>,
    ) -> Result<T, GatewayError> {
        let plan = self.gateway.plan.load_full();
        let Some(routes) = plan.models.get(model) else {
            return ask(&*self.gateway.local, model, version)
                .await
                .map_err(|error| told(model, error));
        };
        let limit = self.gateway.options.attempt_timeout;
        let mut last = nobody();
        for seat in self.well_first(routes) {
            let endpoint = self.endpoint(&seat.member);
            match tokio::time::timeout(limit, ask(&*endpoint, model, version)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => last = error,
                Err(_) => last = EndpointError::TimedOut(limit),
            }
        }
        Err(told(model, last))
    }

    /// A model's endpoints, those first that may be asked.
    fn well_first(&self, routes: &ModelPlan) -> Vec<Seat> {
        let view =
            View::new(Arc::clone(&routes.seats), &routes.sought(None), self.gateway.clock.now());
        let is_ill = |at: usize| {
            view.candidate(at).is_none_or(|it| it.health != Health::Healthy || it.weight == 0)
        };
        let (ill, well): (Vec<usize>, Vec<usize>) = (0..view.count()).partition(|&at| is_ill(at));
        well.into_iter().chain(ill).filter_map(|at| view.seats.get(at).cloned()).collect()
    }
}

fn nobody() -> EndpointError {
    EndpointError::Unreachable("it has no endpoints".into())
}

fn told(model: &str, error: EndpointError) -> GatewayError {
    let taken = RouteTaken { model: model.to_owned(), ..RouteTaken::default() };
    GatewayError::Endpoint { error: Box::new(error), taken: Box::new(taken) }
}

/// Adds one endpoint's figures of a version to those of the others.
fn add(sums: &mut BTreeMap<(String, String), ModelStatistics>, one: ModelStatistics) {
    let key = (one.name.clone(), one.version.clone());
    let Some(sum) = sums.get_mut(&key) else {
        sums.insert(key, one);
        return;
    };
    sum.last_inference = sum.last_inference.max(one.last_inference);
    for (count, other) in [
        (&mut sum.inference_count, one.inference_count),
        (&mut sum.execution_count, one.execution_count),
        (&mut sum.pending, one.pending),
    ] {
        *count = count.saturating_add(other);
    }
    let InferStatistics {
        success,
        fail,
        queue,
        compute_input,
        compute_infer,
        compute_output,
        cache_hit,
        cache_miss,
    } = &mut sum.inference_stats;
    let other = one.inference_stats;
    for (time, other) in [
        (success, other.success),
        (fail, other.fail),
        (queue, other.queue),
        (compute_input, other.compute_input),
        (compute_infer, other.compute_infer),
        (compute_output, other.compute_output),
        (cache_hit, other.cache_hit),
        (cache_miss, other.cache_miss),
    ] {
        add_time(time, other);
    }
    for batch in one.batch_stats {
        match sum.batch_stats.iter_mut().find(|it| it.batch_size == batch.batch_size) {
            Some(BatchStatistics { compute_input, compute_infer, compute_output, .. }) => {
                add_time(compute_input, batch.compute_input);
                add_time(compute_infer, batch.compute_infer);
                add_time(compute_output, batch.compute_output);
            }
            None => sum.batch_stats.push(batch),
        }
    }
    sum.batch_stats.sort_by_key(|batch| batch.batch_size);
    sum.tensorforge = None;
}

fn add_time(time: &mut DurationStatistic, other: DurationStatistic) {
    time.count = time.count.saturating_add(other.count);
    time.ns = time.ns.saturating_add(other.ns);
}
