//! Answers that are given again when no route is left.

mod key;
mod lru;

#[cfg(test)]
mod tests;

pub use key::AnswerKey;

use crate::contracts::InferResponse;
use crate::models::{DataType, Tensor};
use bytes::Bytes;
use half::{bf16, f16};
use lru::Lru;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tensorforge_core::{Duration, Instant};

/// The response parameter that marks an answer from the cache: its age in milliseconds.
pub const CACHED_AGE_PARAMETER: &str = "tensorforge_cached_age_ms";
/// The response parameter that says whether that age is still `fresh`, or `stale`.
pub const CACHED_PARAMETER: &str = "tensorforge_cached";

/// What an answer counts for beside its content: the table's own places for it.
const ENTRY_BYTES: usize = 256;
/// What an output counts for beside its name, shape and data.
const OUTPUT_BYTES: usize = 128;

/// Bounds of an [`AnswerCache`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AnswerCacheConfig {
    /// Most bytes that all answers may take. With 0, none is kept.
    pub max_bytes: usize,
    /// Most bytes that one answer may take.
    pub max_answer_bytes: usize,
    /// Up to which age an answer is as good as a new one.
    pub fresh_for: Duration,
    /// Up to which age it is given at all, marked as stale.
    pub max_age: Duration,
    /// Keeps answers with NaN or infinity in them as well. They are refused otherwise: most models give them
    /// only when something went wrong, and one would go on being given long after that.
    pub keep_non_finite: bool,
}

impl Default for AnswerCacheConfig {
    /// 64 MiB, an answer 1 MiB; fresh for a second, given for five minutes.
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            max_answer_bytes: 1 << 20,
            fresh_for: Duration::from_secs(1),
            max_age: Duration::from_secs(300),
            keep_non_finite: false,
        }
    }
}

/// Why there is no such cache.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerCacheError {
    /// An answer would be fresh for longer than it is given at all.
    #[error("fresh_for is {fresh_for}, more than max_age, {max_age}; make it that or less")]
    FreshAfterMaxAge {
        /// How long it would be fresh.
        fresh_for: Duration,
        /// How long it would be given.
        max_age: Duration,
    },
    /// One answer may take more than all together.
    #[error(
        "max_answer_bytes is {max_answer_bytes}, more than max_bytes, {max_bytes}; make it that or less"
    )]
    AnswerAboveAll {
        /// Bytes of one.
        max_answer_bytes: usize,
        /// Bytes of all.
        max_bytes: usize,
    },
}

/// Why an answer is not kept. One that was kept for the same request stays.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotKept {
    /// It takes more bytes than one answer may.
    #[error("the answer takes {bytes} bytes; at most {most} are kept")]
    TooLarge {
        /// What it takes.
        bytes: usize,
        /// What one may take.
        most: usize,
    },
    /// It is of another model or version than the key.
    #[error("the answer is of model '{model}' version '{version}', not of what was asked")]
    OtherModel {
        /// Its model.
        model: String,
        /// Its version.
        version: String,
    },
    /// It came from a cache: kept again, it would never grow old.
    #[error("the answer came from a cache itself")]
    FromCache,
    /// It has no outputs.
    #[error("the answer has no outputs")]
    Empty,
    /// An output has NaN or infinity in it.
    #[error("output '{output}' of the answer has NaN or infinity in it")]
    NotFinite {
        /// The output.
        output: String,
    },
}

/// How good a kept answer is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Freshness {
    /// As good as a new one.
    Fresh,
    /// Better than none.
    Stale,
}

/// An answer that was kept.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct CachedAnswer {
    /// As it was kept, with the id of the request that it was first given to.
    pub answer: Arc<InferResponse>,
    /// How long ago that was.
    pub age: Duration,
    /// Whether that is still good.
    pub freshness: Freshness,
}

impl CachedAnswer {
    /// The answer for a request of this id, marked with [`CACHED_PARAMETER`] and [`CACHED_AGE_PARAMETER`].
    #[must_use]
    pub fn marked(&self, id: &str) -> InferResponse {
        let mut answer = InferResponse::clone(&self.answer);
        answer.id = id.to_owned();
        let word = match self.freshness {
            Freshness::Fresh => "fresh",
            Freshness::Stale => "stale",
        };
        answer.parameters.insert(CACHED_PARAMETER.to_owned(), word.into());
        let millis = self.age.as_nanos() / 1_000_000;
        answer.parameters.insert(CACHED_AGE_PARAMETER.to_owned(), millis.into());
        answer
    }
}

/// What became of answers and questions so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct AnswerCacheFigures {
    /// Answers that are kept now.
    pub answers: usize,
    /// Bytes that they take now.
    pub bytes: usize,
    /// Answers that were kept.
    pub kept: u64,
    /// Answers that were refused.
    pub refused: u64,
    /// Answers that made room for others.
    pub evicted: u64,
    /// Answers that grew too old.
    pub expired: u64,
    /// Questions that were answered with a fresh one.
    pub fresh: u64,
    /// Questions that were answered with a stale one.
    pub stale: u64,
    /// Questions without an answer.
    pub missed: u64,
}

/// Answers by model, version and the exact content of the request, for when no route is left.
///
/// **Bounds:** never more bytes than [`AnswerCacheConfig::max_bytes`]: tensors, names and parameters, and
/// 256 for each answer and 128 for each output for the table itself. The answer that was not kept or asked
/// for the longest makes room. None is given that is older than [`AnswerCacheConfig::max_age`].
///
/// **No false hits:** the [key](AnswerKey) holds the SHA-256 of all that the answer may depend on. Whatever
/// looks wrong is [refused](NotKept).
///
/// **Time:** one hash of the request for a key; O(log n) for a question; for an answer also a copy of its
/// tensors, which are slices of whole batches otherwise and would keep those in memory. **Progress:** one
/// lock, within which no tensor is copied or looked at.
///
/// ```
/// use tensorforge::contracts::{InferRequest, InferResponse};
/// use tensorforge::models::Tensor;
/// use tensorforge::routing::{AnswerCache, AnswerCacheConfig, AnswerKey, Freshness};
/// use tensorforge_core::{Duration, Instant};
///
/// let cache = AnswerCache::new(AnswerCacheConfig::default()).unwrap();
/// let image = Tensor::from_f32("image", vec![1, 2], &[0.5, 1.0]);
/// let request = InferRequest { inputs: vec![image], ..Default::default() };
/// let response = InferResponse {
///     model_name: "digits".into(),
///     model_version: "1".into(),
///     id: "first".into(),
///     parameters: Default::default(),
///     outputs: vec![Tensor::from_f32("label", vec![1], &[7.0])],
/// };
/// let key = AnswerKey::of("digits", "1", &request);
/// cache.keep(key.clone(), &response, Instant::ZERO).unwrap();
///
/// let after = |seconds| Instant::ZERO + Duration::from_secs(seconds);
/// assert_eq!(cache.lookup(&key, after(1)).unwrap().freshness, Freshness::Fresh);
/// let stale = cache.lookup(&key, after(60)).unwrap();
/// assert_eq!((stale.freshness, stale.age), (Freshness::Stale, Duration::from_secs(60)));
/// assert_eq!(stale.marked("second").parameters["tensorforge_cached_age_ms"], 60_000);
/// assert!(cache.lookup(&key, after(301)).is_none());
/// ```
#[derive(Debug)]
pub struct AnswerCache {
    config: AnswerCacheConfig,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    answers: Lru,
    figures: AnswerCacheFigures,
}

impl AnswerCache {
    /// An empty cache within these bounds.
    ///
    /// # Errors
    /// [`AnswerCacheError`] names the two bounds that are at odds.
    pub fn new(config: AnswerCacheConfig) -> Result<Self, AnswerCacheError> {
        let AnswerCacheConfig { max_bytes, max_answer_bytes, fresh_for, max_age, .. } = config;
        if fresh_for > max_age {
            return Err(AnswerCacheError::FreshAfterMaxAge { fresh_for, max_age });
        }
        if max_answer_bytes > max_bytes {
            return Err(AnswerCacheError::AnswerAboveAll { max_answer_bytes, max_bytes });
        }
        Ok(Self { config, state: Mutex::default() })
    }

    /// Keeps an answer that was given at `now`, in place of the one kept for the same request.
    ///
    /// # Errors
    /// [`NotKept`] says why it is not.
    pub fn keep(
        &self,
        key: AnswerKey,
        answer: &InferResponse,
        now: Instant,
    ) -> Result<(), NotKept> {
        let bytes = match self.check(&key, answer) {
            Ok(bytes) => bytes,
            Err(refused) => {
                self.state().figures.refused += 1;
                return Err(refused);
            }
        };
        let copy = Arc::new(with_data_of_its_own(answer));
        let mut state = self.state();
        state.answers.remove(&key);
        // One answer is never more than all may be.
        let room = self.config.max_bytes - bytes;
        while state.answers.bytes() > room && state.answers.remove_oldest() {
            state.figures.evicted += 1;
        }
        state.answers.insert(key, copy, bytes, now);
        state.figures.kept += 1;
        Ok(())
    }

    /// The answer that is kept for a request, unless it is older than it may be.
    ///
    /// One that was kept later than `now`, which a clock that steps back makes possible, has no age.
    #[must_use]
    pub fn lookup(&self, key: &AnswerKey, now: Instant) -> Option<CachedAnswer> {
        let mut state = self.state();
        let Some((answer, kept_at)) = state.answers.touch(key) else {
            state.figures.missed += 1;
            return None;
        };
        let age = now.since(kept_at);
        if age > self.config.max_age {
            state.answers.remove(key);
            state.figures.expired += 1;
            state.figures.missed += 1;
            return None;
        }
        let freshness =
            if age <= self.config.fresh_for { Freshness::Fresh } else { Freshness::Stale };
        match freshness {
            Freshness::Fresh => state.figures.fresh += 1,
            Freshness::Stale => state.figures.stale += 1,
        }
        Some(CachedAnswer { answer, age, freshness })
    }

    /// Forgets what is too old at `now`. Nobody is given that anyway; this frees its memory. O(n).
    pub fn forget_old(&self, now: Instant) {
        let mut state = self.state();
        let max_age = self.config.max_age;
        let forgotten = state.answers.retain(|_, kept_at| now.since(kept_at) <= max_age);
        state.figures.expired += forgotten;
    }

    /// Forgets all answers of a model, or of one of its versions, for it has changed. O(n).
    pub fn forget_model(&self, model: &str, version: Option<&str>) {
        self.state().answers.retain(|key, _| {
            key.model() != model || version.is_some_and(|version| key.version() != version)
        });
    }

    /// What became of answers and questions so far.
    #[must_use]
    pub fn figures(&self) -> AnswerCacheFigures {
        let state = self.state();
        let (answers, bytes) = (state.answers.len(), state.answers.bytes());
        AnswerCacheFigures { answers, bytes, ..state.figures }
    }

    /// What an answer takes, if it may be kept.
    fn check(&self, key: &AnswerKey, answer: &InferResponse) -> Result<usize, NotKept> {
        if (answer.model_name.as_str(), answer.model_version.as_str())
            != (key.model(), key.version())
        {
            let (model, version) = (answer.model_name.clone(), answer.model_version.clone());
            return Err(NotKept::OtherModel { model, version });
        }
        if answer.parameters.contains_key(CACHED_PARAMETER) {
            return Err(NotKept::FromCache);
        }
        if answer.outputs.is_empty() {
            return Err(NotKept::Empty);
        }
        let (bytes, most) = (bytes_of(key, answer), self.config.max_answer_bytes);
        if bytes > most {
            return Err(NotKept::TooLarge { bytes, most });
        }
        let is_poisoned = |output: &&Tensor| !self.config.keep_non_finite && !is_finite(output);
        if let Some(output) = answer.outputs.iter().find(is_poisoned) {
            return Err(NotKept::NotFinite { output: output.name().to_owned() });
        }
        Ok(bytes)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that runs within the lock panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an answer counts for.
fn bytes_of(key: &AnswerKey, answer: &InferResponse) -> usize {
    let names = key.model().len() + key.version().len();
    let own = answer.model_name.len() + answer.model_version.len() + answer.id.len();
    let parameters = answer.parameters.iter().map(|(name, value)| {
        // A place of the map; parameters are strings, numbers and truths.
        ENTRY_BYTES + name.len() + value.as_str().map_or(0, str::len)
    });
    let outputs = answer.outputs.iter().map(|output| {
        let shape = size_of_val(output.shape());
        OUTPUT_BYTES + output.name().len() + shape + output.data().len()
    });
    let parts = parameters.chain(outputs);
    parts.fold(ENTRY_BYTES + names + own, usize::saturating_add)
}

fn is_finite(output: &Tensor) -> bool {
    let data = output.data();
    match output.datatype() {
        DataType::Fp16 => {
            data.as_chunks().0.iter().all(|bytes| f16::from_le_bytes(*bytes).is_finite())
        }
        DataType::Bf16 => {
            data.as_chunks().0.iter().all(|bytes| bf16::from_le_bytes(*bytes).is_finite())
        }
        DataType::Fp32 => {
            data.as_chunks().0.iter().all(|bytes| f32::from_le_bytes(*bytes).is_finite())
        }
        DataType::Fp64 => {
            data.as_chunks().0.iter().all(|bytes| f64::from_le_bytes(*bytes).is_finite())
        }
        _ => true,
    }
}

/// A copy that keeps no batch in memory.
fn with_data_of_its_own(answer: &InferResponse) -> InferResponse {
    let outputs = answer.outputs.iter().map(|output| {
        let data = Bytes::copy_from_slice(output.data());
        Tensor::new(output.name(), output.datatype(), output.shape().to_vec(), data)
            .expect("the same data fits the same type and shape")
    });
    InferResponse {
        model_name: answer.model_name.clone(),
        model_version: answer.model_version.clone(),
        id: answer.id.clone(),
        parameters: answer.parameters.clone(),
        outputs: outputs.collect(),
    }
}
