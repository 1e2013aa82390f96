//! One process in front of many: requests go to this process's own service or to other servers, by the
//! routes that are published.
//!
//! [`Gateway::infer`] finds the version (what the request names, a rule, a split), lets the model's policy
//! choose an endpoint, asks it, and asks another where that can help: after a failure, within a budget, and
//! before an answer where that is late (hedging). When nobody is left it asks the fallback models, then
//! gives up with a reason that says who was left out and why. Shadows get their copies after the answer is
//! there, from a budget of their own, so that they cannot delay it.
//!
//! What a request brings beside its tensors, as parameters or headers: where it comes from ([`PLACE`]), whose it
//! is ([`TENANT`]), what it belongs to ([`STICKY`]), its `priority`, and its `timeout`, which bounds every
//! attempt. Probes say which endpoints have which model; those that have not are asked only where nobody has it.
//! An endpoint that has a limit never has more requests at once; while all are full, requests wait in one
//! line, by priority, for whichever has room first, an endpoint that joins included.
//!
//! A gateway in front of a gateway counts its steps in the request parameter
//! [`HOPS`], and those of questions about models in the header [`HOPS_HEADER`]: more than [`MAX_HOPS`] are a
//! circle, and are refused.

mod agreement;
mod answers;
mod attempt;
mod bandit;
mod change;
mod deadline;
mod ending;
mod endpoint;
mod experiments;
mod explain;
mod figures;
mod hedging;
mod hints;
mod line;
mod member;
mod plan;
mod presence;
mod probe;
mod rest;
mod route;
#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod routing_tests;
mod shadows;
mod signature;
mod told;
mod versions;
mod waiting;

pub use bandit::{BanditFigures, VersionFigures};
pub use change::{EndpointStanding, TableChangeError};
pub use endpoint::{Answer, Endpoint, EndpointError, LocalEndpoint};
pub use experiments::{ArmFigures, ExperimentFigures};
pub use explain::{Explained, Explanation};
pub use hints::Hints;
pub use plan::PlanError;
pub use route::RouteTaken;
pub use shadows::ShadowFigures;
pub use told::Inquiry;

use crate::clock::Clock;
use crate::concurrency::lock;
use crate::contracts::{InferRequest, InferResponse, is_shadow};
use crate::routing::{
    self, AnswerCacheConfig, AnswerCacheError, AnswerCacheFigures, CheckedRoutes, CurrentTable,
    RouteTable, Routes, TableVersion,
};
use answers::Answers;
use arc_swap::ArcSwap;
use deadline::Deadline;
use figures::{GatewayCounters, ModelCounters};
use line::{Line, Stopped};
use member::Member;
use plan::{Lasting, Plan};
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tensorforge_core::route::{HealthConfig, stable_hash};

/// The request parameter that counts the gateways on a request's way.
pub const HOPS: &str = "route_hops";

/// The header that counts the gateways on the way of a question about a model, which has no parameters.
pub const HOPS_HEADER: &str = "x-tensorforge-hops";

/// Most gateways on a request's way.
pub const MAX_HOPS: u64 = 4;

/// The request parameter, and the header `x-tensorforge-sticky-key`, whose value keeps requests together: a
/// user, a session.
pub const STICKY: &str = "sticky_key";

/// The request parameter, and the header `x-tensorforge-place`, that name the one of the table's
/// [places](crate::routing::Routes::places) which a request comes from, where that is another one than the
/// gateway's own. A place that the table does not know is dropped and counted.
pub const PLACE: &str = "place";

/// The request parameter, and the header `x-tensorforge-tenant`, that name whose request it is.
pub const TENANT: &str = "tenant";

/// The longest annotation that is looked at, in bytes; what is longer is dropped and counted.
pub const MAX_ANNOTATION: usize = 1024;

/// How a gateway asks.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct GatewayOptions {
    /// How long one endpoint has for one request.
    pub attempt_timeout: Duration,
    /// How long a request has altogether.
    pub timeout: Duration,
    /// Whether a second endpoint is asked where the first is later than 95 of 100.
    pub hedging: bool,
    /// How often endpoints are probed.
    pub probe_every: Duration,
    /// How endpoints are judged.
    pub health: HealthConfig,
    /// Which answers are kept for when no route is left; `None` keeps none.
    pub answers: Option<AnswerCacheConfig>,
    /// How many requests may wait for endpoints that are full, over all models; with 0 such a request is
    /// refused at once. None waits longer than its time and nine tenths of [`timeout`](Self::timeout), nor
    /// where its model has fallbacks.
    pub max_waiting: usize,
}

impl Default for GatewayOptions {
    fn default() -> Self {
        Self {
            attempt_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(30),
            hedging: true,
            probe_every: Duration::from_secs(1),
            health: HealthConfig::DEFAULT,
            answers: Some(AnswerCacheConfig::default()),
            max_waiting: 1024,
        }
    }
}

/// Makes the endpoint of an address.
pub type Connect = dyn Fn(&str) -> Result<Arc<dyn Endpoint>, String> + Send + Sync;

/// Why a table is not published.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// An endpoint's address is none.
    #[error("endpoint '{name}': {problem}")]
    Endpoint {
        /// The endpoint.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A model's routes cannot be served.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The table makes no sense.
    #[error(transparent)]
    Table(#[from] routing::PublishError),
    /// There is no such version to go back to.
    #[error(transparent)]
    Rollback(#[from] routing::RollbackError),
}

/// Why a request was not answered.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// No routes and no endpoint has the model.
    #[error("no route for model '{0}'")]
    UnknownModel(String),
    /// It has come through too many gateways.
    #[error("the request came through {0} gateways: they send it round in a circle")]
    Loop(u64),
    /// Nobody could be asked, or everyone who was failed.
    #[error("no endpoint is left for model '{model}': {}", why(.taken))]
    NoEndpoint {
        /// The model.
        model: String,
        /// What was tried.
        taken: Box<RouteTaken>,
    },
    /// An endpoint refused it, and another would do the same.
    #[error("{error}")]
    Endpoint {
        /// What it said.
        error: Box<EndpointError>,
        /// What was tried.
        taken: Box<RouteTaken>,
    },
    /// Everyone who could have answered is full: as many requests are there as an endpoint may have, what
    /// room is left is kept for higher priorities, or they say themselves that they have too much to do. It
    /// has waited as long as it may, or as many wait already as may.
    #[error("the endpoints of model '{model}' are full: {}", why(.taken))]
    Overloaded {
        /// The model.
        model: String,
        /// When it may be otherwise: when the first of them said, or about when a request that is there ends.
        retry_after: Duration,
        /// What was tried.
        taken: Box<RouteTaken>,
    },
    /// There was no answer in time.
    #[error("no endpoint answered for model '{model}' within {after:?}")]
    TimedOut {
        /// The model.
        model: String,
        /// The time there was.
        after: Duration,
    },
}

fn why(taken: &RouteTaken) -> String {
    let failed = taken.failed.iter().map(|(name, error)| format!("{name} failed: {error}"));
    let excluded = taken.excluded.iter().map(|(name, why)| format!("{name} is {why}"));
    let all: Vec<String> = failed.chain(excluded).collect();
    if all.is_empty() { "it has none".into() } else { all.join("; ") }
}

/// Routes requests to endpoints. Any number of tasks may call it; a table is swapped whole, under requests
/// that are on their way by the one before.
pub struct Gateway {
    clock: Clock,
    options: GatewayOptions,
    local: Arc<dyn Endpoint>,
    connect: Box<Connect>,
    table: RouteTable,
    plan: ArcSwap<Plan>,
    /// Held while a table is published, which is seldom.
    publishing: Mutex<()>,
    random: AtomicU64,
    dropped_annotations: AtomicU64,
    /// Which model at which endpoint is asked about next.
    next_asked: AtomicUsize,
    lasting: Lasting,
    figures: GatewayCounters,
    answers: Option<Answers>,
    waiting: Arc<Line>,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.plan.load();
        f.debug_struct("Gateway")
            .field("table", &plan.version)
            .field("members", &plan.members)
            .finish_non_exhaustive()
    }
}

impl Gateway {
    /// A gateway without routes: everything goes to `local`. `connect` makes endpoints of addresses.
    ///
    /// # Errors
    /// [`AnswerCacheError`] when the bounds of the answers to keep are at odds.
    pub fn new(
        clock: Clock,
        options: GatewayOptions,
        local: Arc<dyn Endpoint>,
        connect: Box<Connect>,
    ) -> Result<Self, AnswerCacheError> {
        // Different in each process, so that gateways side by side do not draw the same.
        let seed = stable_hash(&Clock::unix_millis().to_le_bytes());
        let answers = options.answers.map(Answers::new).transpose()?;
        Ok(Self {
            clock,
            options,
            local,
            connect,
            table: RouteTable::new(),
            plan: ArcSwap::default(),
            publishing: Mutex::new(()),
            random: AtomicU64::new(seed),
            dropped_annotations: AtomicU64::new(0),
            next_asked: AtomicUsize::new(0),
            lasting: Lasting::default(),
            figures: GatewayCounters::default(),
            answers,
            waiting: Arc::new(Line::new(options.max_waiting)),
        })
    }

    /// Replaces the table by `routes`, and says which version it is now. Endpoints that were there before
    /// keep what is known of them.
    ///
    /// # Errors
    /// [`PublishError`]; the table before stays.
    pub fn publish(&self, routes: Routes) -> Result<TableVersion, PublishError> {
        let _alone = lock(&self.publishing);
        self.publish_alone(routes)
    }

    /// The same, for whoever holds `publishing`.
    fn publish_alone(&self, routes: Routes) -> Result<TableVersion, PublishError> {
        let checked = routes.check().map_err(routing::PublishError::from)?;
        let members = self.members(&checked)?;
        let before = self.table.version();
        let version = self.table.publish(routes)?;
        self.put_in_force(&members).inspect_err(|_| {
            // As it was. That version is kept: it was the last one.
            let _ = self.table.rollback(before);
        })?;
        Ok(version)
    }

    /// Makes a version that is kept the current one again, and says under which number.
    ///
    /// # Errors
    /// [`PublishError`]; the table before stays.
    pub fn rollback(&self, version: TableVersion) -> Result<TableVersion, PublishError> {
        let _alone = lock(&self.publishing);
        let before = self.table.version();
        let version = self.table.rollback(version)?;
        let members = self.members(self.table.current().routes());
        members.and_then(|members| Ok(self.put_in_force(&members)?)).inspect_err(|_| {
            let _ = self.table.rollback(before);
        })?;
        Ok(version)
    }

    fn put_in_force(&self, members: &[Arc<Member>]) -> Result<(), PlanError> {
        let (table, now) = (self.table.current(), self.clock.now());
        let before = self.plan.load_full();
        let plan = Plan::new(&table, members, &before, &self.lasting, &self.options, now)?;
        let plan = Arc::new(plan);
        self.plan.store(Arc::clone(&plan));
        plan.take_leave(&before);
        // Who waits goes by the new table.
        self.waiting.tell_all();
        self.lasting.retain(&plan);
        drop(before);
        self.lasting.forget_unused();
        Ok(())
    }

    /// The endpoints of a table: those that are known already, and new ones.
    fn members(&self, routes: &CheckedRoutes) -> Result<Vec<Arc<Member>>, PublishError> {
        let before = self.plan.load_full();
        let now = self.clock.now();
        let mut members = Vec::new();
        for entry in routes.endpoints() {
            let known = before
                .members
                .iter()
                .find(|member| member.name == entry.name && member.url == entry.url);
            if let Some(known) = known {
                members.push(Arc::clone(known));
                continue;
            }
            let wrong =
                |problem: String| PublishError::Endpoint { name: entry.name.clone(), problem };
            let endpoint = match &entry.url {
                None => Arc::clone(&self.local),
                Some(url) => (self.connect)(url).map_err(wrong)?,
            };
            let member = Member::new(entry, endpoint, self.options.health, now);
            members.push(Arc::new(member.map_err(|error| wrong(error.to_string()))?));
        }
        Ok(members)
    }

    /// Forgets the answers that were kept of a model, as another one stands behind its versions now. Nor are
    /// those kept that are under way.
    pub fn forget_answers(&self, model: &str) {
        if let Some(answers) = &self.answers {
            answers.forget(model);
        }
    }

    /// The table in force.
    #[must_use]
    pub fn table(&self) -> CurrentTable {
        self.table.current()
    }

    /// The versions of the table that can be rolled back to, the oldest first.
    #[must_use]
    pub fn versions(&self) -> Vec<TableVersion> {
        self.table.versions()
    }

    /// Runs a request by the routes of its model.
    ///
    /// # Errors
    /// [`GatewayError`] says what was tried.
    pub async fn infer(
        &self,
        model: &str,
        version: Option<&str>,
        mut request: InferRequest,
        hints: &Hints,
    ) -> Result<(InferResponse, RouteTaken), GatewayError> {
        let hops = request.parameters.get(HOPS).and_then(serde_json::Value::as_u64).unwrap_or(0);
        if hops >= MAX_HOPS {
            self.figures.looped();
            return Err(GatewayError::Loop(hops));
        }
        request.parameters.insert(HOPS.to_owned(), (hops + 1).into());
        let plan = self.plan.load_full();
        let (is_copy, came) = (is_shadow(&request.parameters), self.clock.now());
        let figures = plan.models.get(model).map(|model| Arc::clone(&model.figures));
        let counters = figures.as_ref().map(|figures| figures.requests.of(is_copy));
        // Counted in any case: as given up if this future is dropped.
        let counted = counters.map(ModelCounters::coming);
        let deadline = Deadline::of(&request, self.options.timeout, came);
        let work = self.infer_by(plan, model, version, request, hints, deadline);
        let result = tokio::time::timeout(self.options.timeout, work).await;
        let result = result.unwrap_or_else(|_| {
            Err(GatewayError::TimedOut { model: model.to_owned(), after: self.options.timeout })
        });
        match counted {
            Some(counted) => counted.ended(&result, self.clock.now().since(came)),
            None => self.figures.unrouted(is_copy),
        }
        result
    }

    async fn infer_by(
        &self,
        mut plan: Arc<Plan>,
        model: &str,
        version: Option<&str>,
        request: InferRequest,
        hints: &Hints,
        deadline: Deadline,
    ) -> Result<(InferResponse, RouteTaken), GatewayError> {
        let epoch = self.answers.as_ref().map_or(0, |answers| answers.epoch(model));
        let first =
            self.infer_on_newest(&mut plan, model, version, &request, hints, deadline).await;
        let Some(first) = first else {
            return self.infer_locally(model, version, request).await;
        };
        if let (Ok((response, taken)), Some(answers)) = (&first, &self.answers) {
            if is_shadow(&request.parameters) {
                return first;
            }
            let given = (request, response);
            answers.keep(taken.version.as_deref(), given, epoch, self.clock.now());
            return first;
        }
        let Err(GatewayError::NoEndpoint { taken, .. } | GatewayError::Overloaded { taken, .. }) =
            &first
        else {
            return first;
        };
        // First what this model answered itself, a while ago; then what another would say.
        let kept = match &self.answers {
            Some(answers) => {
                let version = taken.version.as_deref();
                answers.lookup(model, version, &request, self.clock.now()).await
            }
            None => None,
        };
        if let Some((response, age)) = kept {
            let taken = RouteTaken { stale_ms: Some(age), ..(**taken).clone() };
            return Ok((response, taken));
        }
        let routes = plan.models.get(model).map(Arc::clone);
        for fallback in routes.iter().flat_map(|routes| &routes.fallbacks) {
            if deadline.is_past(self.clock.now()) {
                break;
            }
            let answered =
                self.infer_on_newest(&mut plan, fallback, None, &request, hints, deadline).await;
            if let Some(Ok((response, mut taken))) = answered {
                taken.fallback_of = Some(model.to_owned());
                return Ok((response, taken));
            }
        }
        first
    }

    /// Runs a request by the routes of a model, and if the table changes while it waits, by those that are new.
    /// `None` where it has none.
    async fn infer_on_newest(
        &self,
        plan: &mut Arc<Plan>,
        model: &str,
        version: Option<&str>,
        request: &InferRequest,
        hints: &Hints,
        mut deadline: Deadline,
    ) -> Option<Result<(InferResponse, RouteTaken), GatewayError>> {
        loop {
            let routes = Arc::clone(plan.models.get(model)?);
            match self.infer_on(plan, &routes, version, request, hints, deadline).await {
                Ok(answered) => return Some(Ok(answered)),
                Err(Stopped::Failed(error)) => return Some(Err(error)),
                Err(Stopped::Moved) => {
                    *plan = self.plan.load_full();
                    deadline = deadline.after_waiting();
                }
            }
        }
    }

    /// A model without routes: as without a gateway.
    async fn infer_locally(
        &self,
        model: &str,
        version: Option<&str>,
        request: InferRequest,
    ) -> Result<(InferResponse, RouteTaken), GatewayError> {
        let taken = RouteTaken {
            model: model.to_owned(),
            version: version.map(str::to_owned),
            policy: "none",
            reason: "only",
            attempts: 1,
            ..RouteTaken::default()
        };
        match self.local.infer(model, version, request).await {
            Ok(response) => Ok((response, taken)),
            Err(error) => {
                let (error, taken) = (Box::new(error), Box::new(taken));
                Err(GatewayError::Endpoint { error, taken })
            }
        }
    }

    /// Annotations that were too long to be looked at, and places that the table does not know.
    #[must_use]
    pub fn dropped_annotations(&self) -> u64 {
        self.dropped_annotations.load(Ordering::Relaxed)
    }

    /// What became of answers that are kept for when no route is left; `None` where none are.
    #[must_use]
    pub fn kept_answers(&self) -> Option<AnswerCacheFigures> {
        self.answers.as_ref().map(Answers::figures)
    }

    /// Answers that were not kept, as too many waited for that: they go before what is kept of them.
    #[must_use]
    pub fn dropped_answers(&self) -> u64 {
        self.answers.as_ref().map_or(0, Answers::dropped)
    }

    /// What shadows answered beside their primaries, by model and shadow.
    #[must_use]
    pub fn shadows(&self) -> Vec<ShadowFigures> {
        self.lasting.shadows.figures()
    }

    /// 64 bits that no other request has.
    fn draw(&self) -> u64 {
        let turn = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        stable_hash(&turn.to_le_bytes())
    }
}
