//! Answers that are given again when no route is left.

use crate::concurrency::lock;
use crate::contracts::{InferRequest, InferResponse};
use crate::routing::{
    AnswerCache, AnswerCacheConfig, AnswerCacheError, AnswerCacheFigures, AnswerKey,
};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tensorforge_core::Instant;

/// From this many bytes of inputs on, their hash is left to another thread.
const LARGE: usize = 64 << 10;

/// Models, and versions asked of them, whose last answering version is remembered. More are not: their
/// answers are given again only to who names the version.
const MOST_NAMES: usize = 4096;

type LastVersions = HashMap<(String, Option<String>), String>;

/// The cache, and which version answered last.
#[derive(Clone)]
pub(super) struct Answers {
    cache: Arc<AnswerCache>,
    /// By model and the version that was asked for, which may be none or a label.
    versions: Arc<Mutex<LastVersions>>,
}

impl Answers {
    pub(super) fn new(config: AnswerCacheConfig) -> Result<Self, AnswerCacheError> {
        Ok(Self { cache: Arc::new(AnswerCache::new(config)?), versions: Arc::default() })
    }

    /// Keeps an answer, after it was given.
    pub(super) fn keep(
        &self,
        asked: Option<&str>,
        request: InferRequest,
        response: &InferResponse,
        now: Instant,
    ) {
        let (model, version) = (response.model_name.clone(), response.model_version.clone());
        let name = (model.clone(), asked.map(str::to_owned));
        let mut versions = lock(&self.versions);
        if versions.len() < MOST_NAMES || versions.contains_key(&name) {
            versions.insert(name, version.clone());
        }
        drop(versions);
        let (cache, response) = (Arc::clone(&self.cache), response.clone());
        let large = request.inputs.iter().map(|input| input.data().len()).sum::<usize>() >= LARGE;
        let work = move || {
            let key = AnswerKey::of(&model, &version, &request);
            if let Err(why) = cache.keep(key, &response, now) {
                tracing::debug!(model, %why, "an answer is not kept");
            }
        };
        if large {
            // Nobody waits for it.
            drop(tokio::task::spawn_blocking(work));
        } else {
            work();
        }
    }

    pub(super) fn figures(&self) -> AnswerCacheFigures {
        self.cache.figures()
    }

    /// Forgets the answers of a model: another one may stand behind its versions now.
    pub(super) fn forget(&self, model: &str) {
        self.cache.forget_model(model, None);
    }

    /// The answer that was given to an equal request, and its age in milliseconds.
    pub(super) fn lookup(
        &self,
        model: &str,
        asked: Option<&str>,
        request: &InferRequest,
        now: Instant,
    ) -> Option<(InferResponse, u64)> {
        let name = (model.to_owned(), asked.map(str::to_owned));
        let last = lock(&self.versions).get(&name).cloned();
        let version = last.or_else(|| asked.map(str::to_owned))?;
        let kept = self.cache.lookup(&AnswerKey::of(model, &version, request), now)?;
        Some((kept.marked(&request.id), kept.age.as_nanos() / 1_000_000))
    }
}
