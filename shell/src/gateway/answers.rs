//! Answers that are given again when no route is left.
//!
//! What an answer depends on is hashed, which takes longer than anything else here. So a request with more than a
//! few kilobytes pays for a place in a queue only, and one task at a time works the queue off on a thread that no
//! request waits for; less is hashed sooner than that thread is woken. Questions
//! go the same way, behind the answers that were given before, so that whoever asks finds them.

use crate::concurrency::lock;
use crate::contracts::{InferRequest, InferResponse};
use crate::routing::{
    AnswerCache, AnswerCacheConfig, AnswerCacheError, AnswerCacheFigures, AnswerKey,
};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use tensorforge_core::Instant;
use tokio::sync::oneshot;

/// Answers that wait to be kept. More are not kept.
const MOST_WAITING: usize = 1024;

/// Bytes of inputs and outputs that wait with them, and are held in memory for so long.
const MOST_WAITING_BYTES: usize = 32 << 20;

/// Bytes up to which an answer is kept at once where nothing waits before it: to hash them takes less than to
/// wake a thread for it.
const SMALL: usize = 4 << 10;

/// Models, and versions asked of them, whose last answering version is remembered. More are not: their
/// answers are given again only to who names the version.
const MOST_NAMES: usize = 4096;

/// The cache, and what waits to be put into it. What waits goes with it.
pub(super) struct Answers(Arc<Inner>);

struct Inner {
    cache: AnswerCache,
    /// By model and the version that was asked for, which may be none or a label: which version answered last.
    versions: Mutex<HashMap<(String, Option<String>), String>>,
    /// How often the answers of a model were forgotten. Held while one is kept, so that none slips in between.
    epochs: RwLock<HashMap<String, u64>>,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Job>,
    answers: usize,
    bytes: usize,
    /// Somebody works it off.
    is_served: bool,
    dropped: u64,
}

enum Job {
    Keep(Box<Given>),
    Lookup(Box<Question>),
}

/// An answer that was given.
struct Given {
    asked: Option<String>,
    request: InferRequest,
    response: InferResponse,
    /// When, and in which [epoch](Answers::epoch) the request came.
    now: Instant,
    epoch: u64,
}

/// Whether there is one for a request.
struct Question {
    model: String,
    asked: Option<String>,
    request: InferRequest,
    now: Instant,
    reply: oneshot::Sender<Option<(InferResponse, u64)>>,
}

impl Given {
    fn bytes(&self) -> usize {
        let tensors = self.request.inputs.iter().chain(&self.response.outputs);
        tensors.map(|tensor| tensor.data().len()).fold(0, usize::saturating_add)
    }
}

impl Answers {
    pub(super) fn new(config: AnswerCacheConfig) -> Result<Self, AnswerCacheError> {
        Ok(Self(Arc::new(Inner {
            cache: AnswerCache::new(config)?,
            versions: Mutex::default(),
            epochs: RwLock::default(),
            queue: Mutex::default(),
        })))
    }

    /// The number of the model's epoch, for a request that begins: an answer to it is kept only if the model's
    /// were not forgotten meanwhile, as it may be the former model that gave it.
    pub(super) fn epoch(&self, model: &str) -> u64 {
        let epochs = self.0.epochs.read().unwrap_or_else(PoisonError::into_inner);
        epochs.get(model).copied().unwrap_or(0)
    }

    /// Keeps an answer: at once if it is small and none waits, else some time soon, or not at all if too many wait
    /// for that.
    pub(super) fn keep(
        &self,
        asked: Option<&str>,
        (request, response): (InferRequest, &InferResponse),
        epoch: u64,
        now: Instant,
    ) {
        let (asked, response) = (asked.map(str::to_owned), response.clone());
        let given = Given { asked, request, response, now, epoch };
        let bytes = given.bytes();
        let mut queue = lock(&self.0.queue);
        if bytes <= SMALL && !queue.is_served {
            drop(queue);
            self.0.keep(given);
            return;
        }
        // One that is larger than all that may wait is larger than what is kept, most likely.
        if queue.answers >= MOST_WAITING || queue.bytes.saturating_add(bytes) > MOST_WAITING_BYTES {
            queue.dropped += 1;
            return;
        }
        queue.answers += 1;
        queue.bytes += bytes;
        self.push(&mut queue, Job::Keep(Box::new(given)));
    }

    /// Forgets the answers of a model, those included that are under way: another one may stand behind its
    /// versions now.
    pub(super) fn forget(&self, model: &str) {
        let mut epochs = self.0.epochs.write().unwrap_or_else(PoisonError::into_inner);
        *epochs.entry(model.to_owned()).or_default() += 1;
        self.0.cache.forget_model(model, None);
        lock(&self.0.versions).retain(|(name, _), _| name != model);
    }

    /// The answer that was given to an equal request, and its age in milliseconds.
    pub(super) async fn lookup(
        &self,
        model: &str,
        asked: Option<&str>,
        request: &InferRequest,
        now: Instant,
    ) -> Option<(InferResponse, u64)> {
        let (reply, answer) = oneshot::channel();
        let (model, asked, request) = (model.to_owned(), asked.map(str::to_owned), request.clone());
        let question = Question { model, asked, request, now, reply };
        // Without a limit: whoever asks waits.
        self.push(&mut lock(&self.0.queue), Job::Lookup(Box::new(question)));
        answer.await.ok().flatten()
    }

    fn push(&self, queue: &mut Queue, job: Job) {
        queue.waiting.push_back(job);
        if !std::mem::replace(&mut queue.is_served, true) {
            let inner = Arc::downgrade(&self.0);
            drop(tokio::task::spawn_blocking(move || work_off(&inner)));
        }
    }

    /// Whether nothing waits to be kept, or is being.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        !lock(&self.0.queue).is_served
    }

    /// What became of answers and questions so far.
    pub(super) fn figures(&self) -> AnswerCacheFigures {
        self.0.cache.figures()
    }

    /// Answers that were not kept as too many waited for that.
    pub(super) fn dropped(&self) -> u64 {
        lock(&self.0.queue).dropped
    }
}

/// Works the queue off, as long as it belongs to anybody: a program that ends waits for one answer at most.
fn work_off(inner: &Weak<Inner>) {
    while inner.upgrade().is_some_and(|inner| inner.serve_next()) {}
}

/// Gives up the queue when a job panics, so that the next one finds somebody.
struct Serving<'a>(&'a Inner);

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            lock(&self.0.queue).is_served = false;
        }
    }
}

impl Inner {
    /// Whether there was something to do.
    fn serve_next(&self) -> bool {
        let mut queue = lock(&self.queue);
        let Some(job) = queue.waiting.pop_front() else {
            queue.is_served = false;
            return false;
        };
        if let Job::Keep(given) = &job {
            queue.answers -= 1;
            queue.bytes -= given.bytes();
        }
        drop(queue);
        let _serving = Serving(self);
        match job {
            Job::Keep(given) => self.keep(*given),
            Job::Lookup(question) => {
                let is_waiting = !question.reply.is_closed();
                let answer = is_waiting.then(|| self.find(&question)).flatten();
                // Whoever asked may have gone.
                let _ = question.reply.send(answer);
            }
        }
        true
    }

    fn keep(&self, given: Given) {
        let Given { asked, request, response, now, epoch } = given;
        let (model, version) = (&response.model_name, &response.model_version);
        let key = AnswerKey::of(model, version, &request);
        let epochs = self.epochs.read().unwrap_or_else(PoisonError::into_inner);
        if epochs.get(model).copied().unwrap_or(0) != epoch {
            return;
        }
        let name = (model.clone(), asked);
        let mut versions = lock(&self.versions);
        if versions.len() < MOST_NAMES || versions.contains_key(&name) {
            versions.insert(name, version.clone());
        }
        drop(versions);
        if let Err(why) = self.cache.keep(key, &response, now) {
            tracing::debug!(model, %why, "an answer is not kept");
        }
    }

    fn find(&self, question: &Question) -> Option<(InferResponse, u64)> {
        let Question { model, asked, request, now, .. } = question;
        let last = lock(&self.versions).get(&(model.clone(), asked.clone())).cloned();
        let version = last.or_else(|| asked.clone())?;
        let kept = self.cache.lookup(&AnswerKey::of(model, &version, request), *now)?;
        Some((kept.marked(&request.id), kept.age.as_nanos() / 1_000_000))
    }
}
