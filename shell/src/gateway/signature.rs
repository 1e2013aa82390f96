//! What a model takes and gives, as endpoints tell it, and whether answers are of that kind.
//!
//! Probes ask each endpoint whether it has a model, and so what that is; about its versions only when they
//! come, after the endpoint could not be reached, when an answer speaks of another version or does not fit, and
//! every [`ASK_EVERY`] probes in any case. Requests only read what is known.

use super::Gateway;
use super::endpoint::EndpointError;
use super::member::{Member, Seat};
use super::probe::PROBE_TIMEOUT;
use super::versions::AtVersion;
use crate::concurrency::lock;
use crate::config::Version;
use crate::contracts::{InferRequest, InferResponse, ModelMetadata};
use crate::models::TensorSpec;
use arc_swap::ArcSwap;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tensorforge_core::route::EndpointId;

/// How many probes later an endpoint is asked about a version again, though nothing speaks for a change.
pub(super) const ASK_EVERY: u32 = 10;

/// Versions at endpoints that are asked about with one probe, the others with the next.
const ASKED_A_ROUND: usize = 256;

/// A model's inputs and outputs in one version.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Signature {
    /// `None` where the endpoint does not say.
    pub(super) version: Option<String>,
    /// By name, as the outputs.
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
}

/// A version, and whether inputs and outputs are told.
pub(super) type Kind<'a> = (Option<&'a str>, bool, bool);

impl Signature {
    /// What it can be compared with: the same version, as far told. Servers may leave tensors out of their
    /// metadata.
    pub(super) fn kind(&self) -> Kind<'_> {
        (self.version.as_deref(), !self.inputs.is_empty(), self.has_outputs())
    }

    /// Whether answers can be held to it.
    pub(super) const fn has_outputs(&self) -> bool {
        !self.outputs.is_empty()
    }
}

/// A signature, and what else an endpoint told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Told {
    pub(super) signature: Signature,
    /// All versions that it has, the newest last.
    versions: Vec<String>,
    /// Whether the first dimension of inputs and outputs is that of a batch.
    batches: bool,
}

impl Told {
    /// In whatever order it was told: that says nothing.
    pub(super) fn new(metadata: ModelMetadata, batches: bool) -> Self {
        let ModelMetadata { mut versions, mut inputs, mut outputs, .. } = metadata;
        versions.sort_by_cached_key(|text| (text.parse::<Version>().ok(), text.clone()));
        for specs in [&mut inputs, &mut outputs] {
            specs.sort_by(|one, other| one.name.cmp(&other.name));
        }
        let signature = Signature { version: versions.last().cloned(), inputs, outputs };
        Self { signature, versions, batches }
    }

    /// Whether it may be the same program.
    fn is_same_model(&self, other: &Self) -> bool {
        (&self.signature, &self.versions) == (&other.signature, &other.versions)
    }

    /// Whether an answer that says to be of `version` is held to this.
    fn is_of(&self, version: &str) -> bool {
        version.is_empty() || self.signature.version.as_deref().is_none_or(|own| own == version)
    }

    /// Rows of a request, where the model batches and all inputs have as many.
    fn rows(&self, request: &InferRequest) -> Option<usize> {
        let specs = self.batches.then_some(&self.signature.inputs)?;
        let mut rows = request.inputs.iter().filter_map(|input| {
            let spec = specs.iter().find(|spec| spec.name == input.name())?;
            is_open(spec).then(|| input.shape().first().copied())?
        });
        let first = rows.next()?;
        rows.all(|other| other == first).then_some(first)
    }

    /// Whether an answer has only outputs that the model gives, each of its type and shape, and where the model
    /// batches with as many rows as came. Which of them must be there is for the request to say; but none at
    /// all is no answer.
    ///
    /// # Errors
    /// Which output does not fit, what was expected and what came.
    pub(super) fn check(
        &self,
        request: &InferRequest,
        response: &InferResponse,
    ) -> Result<(), String> {
        let specs = &self.signature.outputs;
        // Servers may leave them out of their metadata.
        if specs.is_empty() {
            return Ok(());
        }
        if response.outputs.is_empty() {
            return Err("has no outputs".into());
        }
        let rows = self.rows(request);
        for output in &response.outputs {
            let name = output.name();
            let Some(spec) = specs.iter().find(|spec| spec.name == name) else {
                let known: Vec<_> = specs.iter().map(|spec| format!("'{}'", spec.name)).collect();
                let known = known.join(", ");
                return Err(format!("has an output '{name}', but the model's are {known}"));
            };
            let expected = rows.filter(|_| is_open(spec)).and_then(|rows| i64::try_from(rows).ok());
            let mut wanted = spec.clone();
            if let (Some(rows), Some(first)) = (expected, wanted.shape.first_mut()) {
                *first = rows;
            }
            if output.datatype() != wanted.datatype || !wanted.accepts_shape(output.shape()) {
                let (want, got) = (wanted.datatype, output.datatype());
                let (shape, came) = (&wanted.shape, output.shape());
                return Err(format!(
                    "has output '{name}' as {got} {came:?}, but {want} {shape:?} (-1: any) is expected"
                ));
            }
        }
        Ok(())
    }
}

fn is_open(spec: &TensorSpec) -> bool {
    spec.shape.first().is_some_and(|&first| first < 0)
}

/// What is known of a version at an endpoint.
pub(super) struct Known {
    is_of_version: bool,
    told: Mutex<State>,
    /// What answers are held to, by the version that they say to be of; empty while nothing is known.
    expected: ArcSwap<Vec<Arc<Told>>>,
    /// It is to be asked with the next probe.
    ask: AtomicBool,
    /// An answer did not fit what it told, since it was asked last.
    is_misfit: AtomicBool,
    /// It is not what the other endpoints say: another model of that name.
    is_odd: AtomicBool,
}

#[derive(Default)]
struct State {
    told: Option<Arc<Told>>,
    /// Not since it was told could another program have come into its place.
    is_current: bool,
    /// Its configuration has said whether it batches, or is not to be had.
    knows_batches: bool,
    probes_since: u32,
}

impl Known {
    /// Nothing yet; whether it is of one version alone, or of what requests get that name none.
    pub(super) fn nothing(is_of_version: bool) -> Self {
        Self {
            is_of_version,
            told: Mutex::default(),
            expected: ArcSwap::default(),
            ask: AtomicBool::new(true),
            is_misfit: AtomicBool::new(false),
            is_odd: AtomicBool::new(false),
        }
    }

    pub(super) fn is_odd(&self) -> bool {
        self.is_odd.load(Ordering::Relaxed)
    }

    /// It may be another one: what it told counts no more, and it is asked again.
    pub(super) fn doubt(&self) {
        lock(&self.told).is_current = false;
        self.ask.store(true, Ordering::Relaxed);
    }

    /// What it told, unless that is in doubt.
    pub(super) fn current(&self) -> Option<Arc<Told>> {
        let state = lock(&self.told);
        state.told.clone().filter(|_| state.is_current)
    }

    /// How much it is to be asked with this probe, if at all: what there is a cause for comes before what is only
    /// asked from time to time, and of either what has waited longest.
    fn urgency(&self) -> Option<u32> {
        let mut state = lock(&self.told);
        state.probes_since = state.probes_since.saturating_add(1);
        let cause = if self.ask.load(Ordering::Relaxed) { ASK_EVERY } else { 0 };
        let urgency = state.probes_since.saturating_add(cause);
        (urgency >= ASK_EVERY).then_some(urgency)
    }

    fn is_misfit(&self) -> bool {
        self.is_misfit.load(Ordering::Relaxed)
    }

    /// Whether it was odd before.
    pub(super) fn set_odd(&self, is_odd: bool) -> bool {
        self.is_odd.swap(is_odd, Ordering::Relaxed)
    }

    /// From now on answers are held to this.
    pub(super) fn hold_to(&self, expected: Vec<Arc<Told>>) {
        if **self.expected.load() != expected {
            self.expected.store(Arc::new(expected));
        }
    }

    /// Whether the model batches, where it is the one that is known from before and has answered as told.
    fn batches(&self, told: &Told) -> Option<bool> {
        let state = lock(&self.told);
        let before = state.told.as_ref().filter(|_| state.is_current && state.knows_batches)?;
        let is_as_before = before.is_same_model(told) && !self.is_misfit();
        is_as_before.then_some(before.batches)
    }

    /// What it told when it was asked, and whether its configuration was read; whether that is another than
    /// before.
    fn set(&self, told: Result<(Told, bool), EndpointError>) -> bool {
        let mut state = lock(&self.told);
        state.probes_since = 0;
        self.is_misfit.store(false, Ordering::Relaxed);
        match told {
            Ok((told, knows_batches)) => {
                let changed =
                    state.told.as_deref().is_some_and(|before| !before.is_same_model(&told));
                if !knows_batches {
                    self.ask.store(true, Ordering::Relaxed);
                }
                *state = State {
                    told: Some(Arc::new(told)),
                    is_current: true,
                    knows_batches,
                    probes_since: 0,
                };
                changed
            }
            // It is gone there, which is a change as well. Triton says 400 of what it has not.
            Err(error)
                if error.is_unknown()
                    || matches!(error, EndpointError::Status { status: 400, .. }) =>
            {
                state.told.take().is_some()
            }
            Err(_) => {
                self.ask.store(true, Ordering::Relaxed);
                false
            }
        }
    }

    /// Holds an answer to a request for version `named` to what is known of the version that it says to be of. It
    /// fits if any that this may be tells such answers.
    ///
    /// # Errors
    /// [`EndpointError::WrongAnswer`].
    pub(super) fn check(
        &self,
        model: &str,
        named: Option<&str>,
        request: &InferRequest,
        response: &InferResponse,
    ) -> Result<(), EndpointError> {
        let said = &response.model_version;
        // A version without a place of its own may be any but the one that is known here.
        let is_any_other = named.is_some() && !self.is_of_version;
        let expected = self.expected.load();
        if expected.is_empty() {
            return Ok(());
        }
        let mut problem = None;
        for told in expected.iter() {
            let may_be = told.is_of(said)
                && !(is_any_other && (said.is_empty() || told.signature.version.is_none()));
            match may_be.then(|| told.check(request, response)) {
                Some(Ok(())) => return Ok(()),
                Some(Err(other)) => {
                    problem.get_or_insert(other);
                }
                None => {}
            }
        }
        let Some(problem) = problem else {
            // Newer, most likely. It gives what it likes until it was asked.
            self.ask.store(true, Ordering::Relaxed);
            return Ok(());
        };
        // What is known may be of a model that is there no more, or is configured in another way.
        self.ask.store(true, Ordering::Relaxed);
        self.is_misfit.store(true, Ordering::Relaxed);
        Err(EndpointError::WrongAnswer(format!("its answer for model '{model}' {problem}")))
    }
}

/// What one endpoint is to be asked of, by model and version.
type Questions = Vec<(String, Option<String>, Arc<AtVersion>)>;

impl Gateway {
    /// Asks what versions take and give where that is due, all endpoints at the same time.
    pub(super) async fn ask_about_versions(&self) {
        let plan = self.plan.load_full();
        let now = self.clock.now();
        let mut due = Vec::new();
        for (model, routes) in &plan.models {
            // Whoever has answered otherwise than told is not waited for until its turn comes.
            let unversioned = routes.by_version.unversioned().everyone();
            let misfits = unversioned.filter(|seat| seat.version.known.is_misfit());
            let misfits = misfits.map(|seat| (None, seat.clone()));
            let versioned = routes.by_version.in_use(now);
            let versioned = versioned.iter().flat_map(|(version, seating)| {
                seating.everyone().map(|seat| (Some(version.clone()), seat.clone()))
            });
            for (version, Seat { member, version: at, .. }) in misfits.chain(versioned) {
                if !member.is_unreachable(now)
                    && let Some(urgency) = at.known.urgency()
                {
                    due.push((urgency, member, (model.clone(), version, at)));
                }
            }
        }
        due.sort_by_key(|(urgency, ..)| Reverse(*urgency));
        let mut asked: HashMap<EndpointId, (Arc<Member>, Questions)> = HashMap::new();
        for (_, member, question) in due.into_iter().take(ASKED_A_ROUND) {
            let (_, questions) = asked.entry(member.id).or_insert_with(|| (member, Vec::new()));
            questions.push(question);
        }
        let mut work = tokio::task::JoinSet::new();
        for (member, questions) in asked.into_values() {
            work.spawn(async move { ask(&member, questions).await });
        }
        while let Some(changed) = work.join_next().await {
            // One that panicked has told nothing.
            self.forget_changed(changed.unwrap_or_default());
        }
    }

    /// Forgets the answers of models that endpoints have changed.
    pub(super) fn forget_changed(&self, models: Vec<String>) {
        for model in models {
            tracing::warn!(model, "an endpoint has another model now");
            self.forget_answers(&model);
        }
    }
}

/// Asks one endpoint all that is due; the models of which it tells something else than before.
async fn ask(member: &Member, questions: Questions) -> Vec<String> {
    let mut changed = Vec::new();
    let mut is_there = true;
    for (model, version, at) in questions {
        // What requests find out from now on is a cause to ask again.
        at.known.ask.store(false, Ordering::Relaxed);
        // One that hangs would only hold up the probes of the others.
        let answer = if is_there {
            let asked = member.endpoint.metadata(&model, version.as_deref());
            tokio::time::timeout(PROBE_TIMEOUT, asked).await.ok()
        } else {
            None
        };
        is_there = answer.is_some();
        let answer = answer.unwrap_or(Err(EndpointError::TimedOut(PROBE_TIMEOUT)));
        if learn(member, &model, version.as_deref(), &at.known, answer).await {
            changed.push(model);
        }
    }
    changed.dedup();
    changed
}

/// Learns what an endpoint told of a model; whether that is another than before. Metadata do not say whether
/// the model batches, so where that is not known its configuration is read as well, if the endpoint has one.
pub(super) async fn learn(
    member: &Member,
    model: &str,
    version: Option<&str>,
    known: &Known,
    answer: Result<ModelMetadata, EndpointError>,
) -> bool {
    let metadata = match answer {
        Ok(metadata) => metadata,
        Err(error) => return known.set(Err(error)),
    };
    let mut told = Told::new(metadata, false);
    let batches = match known.batches(&told) {
        Some(batches) => Some(batches),
        None => {
            let config = member.endpoint.config(model, version);
            match tokio::time::timeout(PROBE_TIMEOUT, config).await {
                Ok(Ok(config)) => Some(batches(&config)),
                Ok(Err(error)) if has_none(&error) => Some(false),
                Ok(Err(_)) | Err(_) => None,
            }
        }
    };
    told.batches = batches.unwrap_or(false);
    known.set(Ok((told, batches.is_some())))
}

/// Whether an endpoint that says this of a configuration has none, and is not asked again.
const fn has_none(error: &EndpointError) -> bool {
    match error {
        EndpointError::Status { status, .. } => matches!(status, 400..=407 | 409..=428 | 501),
        EndpointError::Unsupported(_)
        | EndpointError::Service(_)
        | EndpointError::WrongAnswer(_) => true,
        _ => false,
    }
}

/// Whether a model batches that is configured so, in Triton's form.
fn batches(config: &serde_json::Value) -> bool {
    config["max_batch_size"].as_u64().is_some_and(|most| most > 0)
}
